// Macros, members, subscripts, arithmetic and comparisons of values, as Python's sandbox of Jinja has them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/jinja_evaluator.inl>

namespace attend::inline ATTEND_ABI::text::jinja {

inline bool is_one_of(std::string_view name, std::string_view words) {  // with a blank around each
  return words.find(" " + std::string(name) + " ") != words.npos;
}

/// Of a set or a filter block: what it writes, through its filters.
inline void Evaluation::capture(const Node& node, Scope& scope) {
  Value text = captured(
      node, [&](Scope& inner) { execute(*node.children[1], inner); }, &scope);
  text = within(&scope, [&](Scope& inner) {
    inner.set(kCaptured, std::move(text));
    return evaluate(*node.children[2], inner);
  });
  if (node.children[0])
    assign(*node.children[0], std::move(text), scope);
  else
    out_ += as_text(node, text);
}

inline void Evaluation::put(const Node& node, Mapping& map, Value key, Value value) {
  if (key.sequence() || key.mapping() || key.is_undefined() || key.get<Namespace*>())
    refuse(node, key.type(), " cannot be a key");
  work(node, 8 * map.items.size());
  for (auto& [name, old] : map.items)
    if (same(node, name, key)) return void(old = std::move(value));
  map.items.emplace_back(std::move(key), std::move(value));
}

inline Value Evaluation::look_up(const Node& node, Scope& scope) {
  for (Scope* s = &scope; s; s = s->around) {
    work(node, s->names.size());
    if (const Value* found = s->find(node.text)) return *found;
  }
  for (std::string_view name : {"dict", "namespace", "raise_exception", "range", "strftime_now"})
    if (node.text == name) return Function{name};
  for (std::string_view name : {"lipsum", "cycler", "joiner", "caller", "varargs", "kwargs"})
    if (node.text == name) refuse(node, in_quotes(name), " is not supported");
  return Value::undefined(in_quotes(node.text));
}

inline Value Evaluation::call_macro(const Node& node, const Macro& called, Arguments& given) {
  const Node& macro = *called.node;
  std::vector<std::string_view> names(macro.names.begin(), macro.names.end());
  std::vector<std::optional<Value>> values = bind(node, macro.text, given, names);
  const std::size_t without = names.size() + 1 - macro.children.size();  // parameters that have no default
  const auto run = [&](Scope& inner) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (values[i])
        inner.set(names[i], std::move(*values[i]));
      else if (i >= without)
        inner.set(names[i], evaluate(*macro.children[i - without], inner));
      else
        inner.set(names[i], Value::undefined("parameter " + in_quotes(names[i])));
    }
    execute(*macro.children.back(), inner);
  };
  return captured(node, run, called.scope);
}

inline std::vector<std::optional<Value>> Evaluation::bind(const Node& node, std::string_view what,
                                                          Arguments& given,
                                                          std::span<const std::string_view> names) {
  std::vector<std::optional<Value>> out(names.size());
  const std::size_t plain = given.values.size() - given.keywords.size();
  if (plain > names.size()) refuse(node, what, " takes ", names.size(), " arguments, got ", plain);
  for (std::size_t i = 0; i < given.values.size(); ++i) {
    std::size_t at = i;
    if (i >= plain) {
      const std::string& name = given.keywords[i - plain];
      at = static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
      if (at == names.size() || out[at]) refuse(node, what, ": unexpected argument ", in_quotes(name));
    }
    out[at] = std::move(given.values[i]);
  }
  return out;
}

/// What Python's class of a value has by that name, or nothing.
inline Value Evaluation::method_or_undefined(const Node& node, const Value& value, const std::string& name) {
  static constexpr std::string_view
      kText =
          " capitalize casefold center count encode endswith expandtabs find format format_map index "
          "isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace "
          "istitle isupper join ljust lower lstrip maketrans partition removeprefix removesuffix replace "
          "rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title "
          "translate upper zfill ",
      kOurText =
          " capitalize count endswith find format index isalnum isalpha isdigit islower isspace isupper "
          "join lower lstrip partition removeprefix removesuffix replace rfind rpartition rsplit rstrip "
          "split splitlines startswith strip title upper ",
      kMapping = " clear copy fromkeys get items keys pop popitem setdefault update values ",
      kOurMapping = " copy get items keys values ",
      kOthers[] =
          {"name",      "arguments", "catch_kwargs", "catch_varargs",    "caller",     "explicit_caller",
           "real",      "imag",      "numerator",    "denominator",      "conjugate",  "bit_length",
           "bit_count", "to_bytes",  "from_bytes",   "as_integer_ratio", "is_integer", "hex",
           "fromhex"},
      kList = " append clear copy count extend index insert pop remove reverse sort ",
      kOurList = " count index ";
  if (name.starts_with('_')) refuse(node, "member ", in_quotes(name), " is not open to templates");
  if (value.sequence() && value.sequence()->is_group && (name == "grouper" || name == "list"))
    return value.sequence()->items[name == "list"];
  const std::string_view all = value.any_text()   ? kText
                               : value.mapping()  ? kMapping
                               : value.sequence() ? kList
                                                  : "";
  const std::string_view ours = value.text()       ? kOurText
                                : value.mapping()  ? kOurMapping
                                : value.sequence() ? kOurList
                                                   : "";
  if (is_one_of(name, ours)) return Method{name, std::make_shared<const Value>(value)};
  if (is_one_of(name, all))
    refuse(node, "method ", in_quotes(name), " of ", value.type(), " is not supported");
  if (value.number() || value.get<Macro>() || value.get<Function>() || value.get<Method>())
    for (std::string_view known : kOthers)
      if (name == known) refuse(node, "member ", in_quotes(name), " of ", value.type(), " is not supported");
  return Value::undefined("member " + in_quotes(name) + " of " + value.type());
}

/// value.name: what the class has goes before what a mapping holds.
inline Value Evaluation::member(const Node& node, const Value& value, const std::string& name) {
  need_defined(node, value);
  if (const auto* names = value.get<Namespace*>()) {
    work(node, 8 * (*names)->members.size());
    if (const Value* found = (*names)->find(name)) return *found;
  }
  if (const auto* loop = value.get<std::shared_ptr<const Loop>>()) {
    const auto& [items, i] = **loop;
    const std::size_t n = items->size();
    const auto number = [](std::size_t x) { return Value(static_cast<std::int64_t>(x)); };
    if (name == "index") return number(i + 1);
    if (name == "index0") return number(i);
    if (name == "revindex") return number(n - i);
    if (name == "revindex0") return number(n - i - 1);
    if (name == "first") return i == 0;
    if (name == "last") return i + 1 == n;
    if (name == "length") return number(n);
    if (name == "previtem")
      return i > 0 ? (*items)[i - 1] : Value::undefined("loop.previtem of the first item");
    if (name == "nextitem")
      return i + 1 < n ? (*items)[i + 1] : Value::undefined("loop.nextitem of the last item");
    refuse(node, "loop.", name, " is not supported");
  }
  Value out = method_or_undefined(node, value, name);
  if (const Mapping* map = value.mapping(); map && out.is_undefined()) {
    work(node, 8 * map->items.size());
    if (const Value* found = map->find(name)) return *found;
  }
  return out;
}

/// value[key]: what a mapping holds goes before what the class has.
inline Value Evaluation::item(const Node& node, const Value& value, const Value& key) {
  need_defined(node, value);
  if (const Mapping* map = value.mapping()) {
    work(node, 8 * map->items.size());
    if (const Value* found = map->find(key)) return *found;
  }
  if (value.get<Marked>() && !key.text()) refuse(node, value.type(), " has no items");
  if (const auto index = key.integer(); index && !value.mapping()) {
    std::vector<Value> all;
    if (value.text() || (value.sequence() && value.sequence()->kind <= Sequence::range))
      all = items(node, value);
    const std::int64_t at = *index < 0 ? *index + std::ssize(all) : *index;
    if (at >= 0 && at < std::ssize(all)) return all[static_cast<std::size_t>(at)];
    return Value::undefined("item " + std::to_string(*index) + " of " + value.type());
  }
  if (!key.text()) return Value::undefined("item of " + std::string(value.type()));
  if (value.get<Namespace*>() || value.get<std::shared_ptr<const Loop>>())
    return member(node, value, *key.text());
  return method_or_undefined(node, value, *key.text());
}

inline Value Evaluation::sliced(const Node& node, const Value& value, Scope& scope) {
  need_defined(node, value);
  if (!value.text() && !(value.sequence() && value.sequence()->kind <= Sequence::range))
    refuse(node, value.type(), " has no slices");
  const std::vector<Value> all = items(node, value);
  const std::int64_t size = std::ssize(all);
  const auto bound = [&](std::size_t i, std::int64_t otherwise) {
    if (!node.children[i]) return otherwise;
    const Value found = evaluate(*node.children[i], scope);
    return found.is_none() ? otherwise : whole(node, "slice", found);
  };
  const std::int64_t step = bound(2, 1);
  if (step == 0) refuse(node, "a slice of step 0");
  const std::int64_t least = step < 0 ? -1 : 0, most = step < 0 ? size - 1 : size;
  const auto clamp = [&](std::int64_t at) { return std::clamp(at < 0 ? at + size : at, least, most); };
  const bool has_begin = node.children[0] != nullptr, has_end = node.children[1] != nullptr;
  constexpr std::int64_t kOpen = (std::numeric_limits<std::int64_t>::max)();
  const std::int64_t first = has_begin ? bound(0, kOpen) : kOpen, last = has_end ? bound(1, kOpen) : kOpen;
  std::int64_t at = first == kOpen ? (step < 0 ? most : least) : clamp(first);
  const std::int64_t end = last == kOpen ? (step < 0 ? least : most) : clamp(last);
  std::vector<Value> some;
  for (; step < 0 ? at > end : at < end;) {
    some.push_back(all[static_cast<std::size_t>(at)]);
    if (step > 0 ? step >= end - at : step <= end - at) break;
    at += step;
  }
  if (!value.text()) return made_list(node, std::move(some), value.sequence()->kind);
  std::string out;
  for (const Value& character : some) out += *character.text();
  return made_text(node, std::move(out));
}

inline std::int64_t Evaluation::whole(const Node& node, std::string_view what, const Value& value) {
  need_defined(node, value);
  const auto found = value.integer();
  if (!found) refuse(node, what, " needs an integer, got ", value.type());
  return *found;
}
inline const std::string& Evaluation::text_of(const Node& node, std::string_view what, const Value& value) {
  need_defined(node, value);
  if (!value.text()) refuse(node, what, " needs a text, got ", value.type());
  return *value.text();
}

inline Value Evaluation::signed_number(const Node& node, const Value& value) {
  need_defined(node, value);
  const bool negative = node.kind == Node::negative;
  if (const auto number = value.integer()) {
    if (*number == (std::numeric_limits<std::int64_t>::min)()) refuse(node, "an integer beyond 64 bits");
    return negative ? -*number : *number;
  }
  if (!value.number()) refuse(node, value.type(), " has no sign");
  return negative ? -*value.number() : *value.number();
}

/// One text behind the other; where one of them is marked, the other is written in HTML's form.
inline Value Evaluation::joined(const Node& node, const Value& a, const Value& b) {
  const auto is_marked = [](const Value& part) { return part.get<Marked>() != nullptr; };
  const bool marked = is_marked(a) || is_marked(b);
  std::string out;
  for (const Value* part : {&a, &b}) {
    std::string text = *part->any_text();
    if (marked && !is_marked(*part))
      for (const auto& [from, to] : std::initializer_list<std::pair<const char*, const char*>>{
               {"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}})
        text = replaced(node, text, from, to, -1);
    out += text;
  }
  work(node, out.size());
  return marked ? Value(Marked{std::make_shared<const std::string>(std::move(out))}) : Value(std::move(out));
}

inline Value Evaluation::repeated(const Node& node, const Value& value, std::int64_t times) {
  const std::size_t n = static_cast<std::size_t>((std::max)(times, std::int64_t{0}));
  const std::size_t size = value.text() ? value.text()->size() : 8 * value.sequence()->items.size();
  if (size > 0 && n > work_ * 8 / size + 8) work(node, (std::numeric_limits<std::size_t>::max)() / 2);
  work(node, size * n);
  if (value.text()) {
    std::string out;
    for (std::size_t i = 0; i < n && size > 0; ++i) out += *value.text();
    return out;
  }
  std::vector<Value> out;
  for (std::size_t i = 0; i < n && size > 0; ++i)
    out.insert(out.end(), value.sequence()->items.begin(), value.sequence()->items.end());
  return made_list(node, std::move(out), value.sequence()->kind);
}

inline Value Evaluation::arithmetic(const Node& node, const std::string& sign, const Value& a,
                                    const Value& b) {
  need_defined(node, a);
  if (sign != "%" || !a.text()) need_defined(node, b);
  if (a.number() && b.number()) {
    const double x = *a.number(), y = *b.number();
    const bool whole_numbers = a.integer() && b.integer();
    if (y == 0 && (sign == "/" || sign == "//" || sign == "%")) refuse(node, "division by zero");
    if (x == 0 && y < 0 && sign == "**") refuse(node, "division by zero");
    if (sign == "/") return x / y;
    if (!whole_numbers) {
      const double rest = std::fmod(x, y);
      if (sign == "%")
        return rest != 0 && (rest < 0) != (y < 0) ? rest + y : std::copysign(rest, rest != 0 ? rest : y);
      return sign == "+"    ? x + y
             : sign == "-"  ? x - y
             : sign == "*"  ? x * y
             : sign == "//" ? std::floor(x / y)
                            : std::pow(x, y);
    }
    const std::int64_t m = *a.integer(), n = *b.integer();
    if (sign == "**" && n < 0) return std::pow(x, y);
    const double about = sign == "+"    ? x + y
                         : sign == "-"  ? x - y
                         : sign == "*"  ? x * y
                         : sign == "**" ? std::pow(x, y)
                                        : x;
    if (!(std::abs(about) < 9.2e18) || !(std::abs(y) < 9.2e18)) refuse(node, "an integer beyond 64 bits");
    if (sign == "+") return m + n;
    if (sign == "-") return m - n;
    if (sign == "*") return m * n;
    if (sign == "**") {
      std::int64_t power = 1;
      for (std::int64_t i = 0; i < n && (m < -1 || m > 1); ++i) power *= m;
      return m >= -1 && m <= 1 ? (n == 0 || m == 1 ? 1
                                  : m == 0         ? 0
                                  : n % 2 == 0     ? 1
                                                   : -1) +
                                     std::int64_t{0}
                               : power;
    }
    const std::int64_t quotient = m / n, rest = m % n;
    const bool down = rest != 0 && (rest < 0) != (n < 0);
    return sign == "//" ? quotient - down : down ? rest + n : rest;
  }
  const auto lists = [](const Value& value) {
    return value.sequence() && value.sequence()->kind <= Sequence::tuple;
  };
  if (sign == "+" && a.any_text() && b.any_text()) return joined(node, a, b);
  if (sign == "+" && lists(a) && lists(b) && a.sequence()->kind == b.sequence()->kind) {
    std::vector<Value> all = items(node, a);
    const std::vector<Value> more = items(node, b);
    all.insert(all.end(), more.begin(), more.end());
    return made_list(node, std::move(all), a.sequence()->kind);
  }
  if (sign == "*" && (a.text() || lists(a)) && b.integer()) return repeated(node, a, *b.integer());
  if (sign == "*" && (b.text() || lists(b)) && a.integer()) return repeated(node, b, *a.integer());
  if (sign == "%" && a.text()) return formatted(node, *a.text(), b);
  refuse(node, a.type(), " ", sign, " ", b.type(), " is nothing");
}

inline bool Evaluation::contains(const Node& node, const Value& all, const Value& one) {
  if (all.text()) {
    const std::string& wanted = text_of(node, "in a text", one);
    search_work(node, *all.text(), wanted);
    return all.text()->find(wanted) != std::string::npos;
  }
  if (all.number() || all.is_none()) refuse(node, all.type(), " has no items");
  for (const Value& item : items(node, all))
    if (same(node, item, one)) return true;
  return false;
}

inline bool Evaluation::less(const Node& node, const Value& a, const Value& b, bool or_equal) {
  need_defined(node, a);
  need_defined(node, b);
  if (a.integer() && b.integer())
    return or_equal ? *a.integer() <= *b.integer() : *a.integer() < *b.integer();
  if (a.number() && b.number()) return or_equal ? *a.number() <= *b.number() : *a.number() < *b.number();
  if (a.text() && b.text()) {  // the order of bytes in UTF-8 is that of characters
    work(node, (std::min)(a.text()->size(), b.text()->size()));
    return or_equal ? *a.text() <= *b.text() : *a.text() < *b.text();
  }
  refuse(node, a.type(), " and ", b.type(), " have no order");
}

inline Value Evaluation::comparison(const Node& node, Scope& scope) {
  Value left = evaluate(*node.children[0], scope);
  for (std::size_t i = 0; i < node.names.size(); ++i) {
    Value right = evaluate(*node.children[i + 1], scope);
    const std::string& sign = node.names[i];
    const bool holds = sign == "=="       ? same(node, left, right)
                       : sign == "!="     ? !same(node, left, right)
                       : sign == "<"      ? less(node, left, right, false)
                       : sign == "<="     ? less(node, left, right, true)
                       : sign == ">"      ? less(node, right, left, false)
                       : sign == ">="     ? less(node, right, left, true)
                       : sign == "not in" ? !contains(node, right, left)
                                          : contains(node, right, left);
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

}  // namespace attend::inline ATTEND_ABI::text::jinja
