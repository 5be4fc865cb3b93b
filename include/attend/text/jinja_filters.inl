// Filters and tests of templates.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/jinja_list_filters.inl>

namespace attend::inline ATTEND_ABI::text::jinja {

inline Value Evaluation::filter(const Node& node, const std::string& name, const Value& value,
                                Arguments given) {
  const auto flag = [](const std::optional<Value>& found) { return found && found->truth(); };
  if (name == "default" || name == "d") {
    auto values = bind(node, name, given, {"default_value", "boolean"});
    const bool absent = value.is_undefined() || (flag(values[1]) && !value.truth());
    return absent ? values[0].value_or("") : value;
  }
  if (name == "tojson") return made_text(node, json(node, value, given));
  if (const auto* marked = value.get<Marked>(); marked && !is_one_of(name, " safe string length count ")) {
    Value out = filter(node, name, *marked->text, std::move(given));
    const bool stays = out.text() && is_one_of(name, " upper lower capitalize trim indent ");
    return stays ? Value(Marked{std::make_shared<const std::string>(*out.text())}) : out;
  }
  if (is_one_of(name, " map select reject selectattr rejectattr ")) {
    if (!value.truth()) return made_list(node, {}, Sequence::generator);
    return name == "map" ? map(node, value, given) : select(node, name, value, given);
  }
  if (name == "join") {
    const auto values = bind(node, name, given, {"d", "attribute"});
    const std::string between = values[0] ? as_text(node, *values[0]) : "";
    std::string out;
    bool first = true;
    for (const Value& item : items(node, value)) {
      work(node, between.size());
      if (!std::exchange(first, false)) out += between;
      out += as_text(node, values[1] ? attribute(node, item, *values[1]) : item);
    }
    return made_text(node, std::move(out));
  }
  if (name == "replace") {
    const auto values = bind(node, name, given, {"old", "new", "count"});
    if (!values[0] || !values[1]) refuse(node, "replace needs two texts");
    return made_text(
        node, replaced(node, as_text(node, value), as_text(node, *values[0]), as_text(node, *values[1]),
                       values[2] && !values[2]->is_none() ? whole(node, name, *values[2]) : -1));
  }
  if (name == "trim") {
    const auto values = bind(node, name, given, {"chars"});
    Arguments chars{{values[0].value_or(NoValue())}, {}};
    return text_method(node, "strip", as_text(node, value), chars);
  }
  if (name == "indent") {
    const auto values = bind(node, name, given, {"width", "first", "blank"});
    std::string by(4, ' ');
    if (values[0] && values[0]->text()) by = *values[0]->text();
    if (values[0] && !values[0]->text())
      by.assign(static_cast<std::size_t>(
                    std::clamp(whole(node, name, *values[0]), std::int64_t{0}, std::int64_t{1000})),
                ' ');
    Arguments none{{}, {}};
    const Value lines = text_method(node, "splitlines", text_of(node, name, value) + "\n", none);
    std::string out = flag(values[1]) ? by : "";
    for (std::size_t i = 0; i < lines.sequence()->items.size(); ++i) {
      const std::string& line = *lines.sequence()->items[i].text();
      work(node, by.size() + line.size());
      if (i) out += '\n';
      if (i && (flag(values[2]) || !line.empty())) out += by;
      out += line;
    }
    return made_text(node, std::move(out));
  }
  if (name == "format") {
    if (given.keywords.size() == given.values.size() && !given.keywords.empty()) {
      Mapping named;
      for (std::size_t i = 0; i < given.values.size(); ++i)
        put(node, named, given.keywords[i], given.values[i]);
      return formatted(node, as_text(node, value), made(node, std::move(named)));
    }
    if (!given.keywords.empty()) refuse(node, "format takes values or names, not both");
    return formatted(node, as_text(node, value), made_list(node, std::move(given.values), Sequence::tuple));
  }
  if (auto out = filter_lists(node, name, value, given)) return *std::move(out);
  if (auto out = filter_numbers(node, name, value, given)) return *std::move(out);
  static constexpr std::string_view plain =
      " length count first last list reverse items string safe title upper lower capitalize ";
  if (!is_one_of(name, plain)) refuse(node, "filter ", in_quotes(name), " is not supported");
  bind(node, name, given, {});
  if (name == "length" || name == "count") {
    if (value.any_text()) return static_cast<std::int64_t>(count_code_points(*value.any_text()));
    if (value.mapping()) return static_cast<std::int64_t>(value.mapping()->items.size());
    if (value.is_undefined()) return std::int64_t{0};
    if (!value.sequence() || value.sequence()->kind == Sequence::generator)
      refuse(node, value.type(), " has no length");
    return static_cast<std::int64_t>(value.sequence()->items.size());
  }
  if (name == "first" || name == "last") {
    if (name == "last" && value.sequence() && value.sequence()->kind == Sequence::generator)
      refuse(node, value.type(), " has no last one");
    const std::vector<Value> all = items(node, value);
    if (all.empty()) return Value::undefined("the " + name + " item of none");
    return name == "first" ? all.front() : all.back();
  }
  if (name == "list") return made_list(node, items(node, value));
  if (name == "reverse") {
    std::vector<Value> all = items(node, value);
    std::reverse(all.begin(), all.end());
    if (!value.text()) return made_list(node, std::move(all), Sequence::generator);
    std::string out;
    for (const Value& character : all) out += *character.text();
    return made_text(node, std::move(out));
  }
  if (name == "items") {
    if (value.is_undefined()) return made_list(node, {}, Sequence::generator);
    if (!value.mapping()) refuse(node, "items needs a mapping, got ", value.type());
    const Value all = call_method(node, "items", value, given);
    return made_list(node, items(node, all), Sequence::generator);
  }
  if (name == "string") return value.any_text() ? value : made_text(node, as_text(node, value));
  if (name == "safe") return Marked{std::make_shared<const std::string>(as_text(node, value))};
  if (name == "title") {
    std::string out;
    bool inside = false;
    for_each_code_point(with_final_sigmas(as_text(node, value)), [&](char32_t c, std::string_view bytes) {
      out += inside ? lowercase(bytes) : uppercase(bytes);
      inside = !(c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_space(c));
    });
    return made_text(node, std::move(out));
  }
  if (name == "upper") return made_text(node, uppercase(as_text(node, value)));
  if (name == "lower") return made_text(node, lowered(as_text(node, value)));
  return made_text(node, capitalized(as_text(node, value), false));
}

/// A path such as "function.name" or an index; `otherwise` stands for what is undefined on the way, too.
inline Value Evaluation::attribute(const Node& node, Value value, const Value& path, const Value* otherwise) {
  const auto defined = [&](Value found) { return found.is_undefined() && otherwise ? *otherwise : found; };
  if (path.integer()) return defined(item(node, value, path));
  std::string_view rest = text_of(node, "attribute", path);
  for (bool more = true; more;) {
    work(node);
    const std::size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    more = dot != rest.npos;
    if (more) rest.remove_prefix(dot + 1);
    std::int64_t index = 0;
    const bool digits =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == part.npos;
    if (digits) std::from_chars(part.data(), part.data() + part.size(), index);
    value = defined(item(node, value, digits ? Value(index) : Value(part)));
  }
  return value;
}

inline Value Evaluation::select(const Node& node, const std::string& name, const Value& value,
                                Arguments& given) {
  if (!given.keywords.empty()) refuse(node, name, ": arguments by name are not supported");
  const bool by_attribute = name.ends_with("attr"), wanted = name.starts_with("select");
  const std::size_t skip = by_attribute ? 1 : 0;
  if (given.values.size() < skip) refuse(node, name, " needs an attribute");
  std::vector<Value> out;
  for (Value& one : items(node, value)) {
    const Value seen = by_attribute ? attribute(node, one, given.values[0]) : one;
    bool holds = seen.truth();
    if (given.values.size() > skip)
      holds = test(node, text_of(node, name, given.values[skip]), seen,
                   {{given.values.begin() + static_cast<std::ptrdiff_t>(skip) + 1, given.values.end()}, {}});
    if (holds == wanted) out.push_back(std::move(one));
  }
  return made_list(node, std::move(out), Sequence::generator);
}

inline Value Evaluation::map(const Node& node, const Value& value, Arguments& given) {
  std::vector<Value> out;
  const bool by_name = !given.values.empty() && given.keywords.size() < given.values.size();
  std::vector<std::optional<Value>> values;
  if (!by_name) {
    values = bind(node, "map", given, {"attribute", "default"});
    if (!values[0]) refuse(node, "map needs a filter or an attribute");
  }
  for (const Value& one : items(node, value)) {
    if (by_name) {
      Arguments rest{{given.values.begin() + 1, given.values.end()}, given.keywords};
      out.push_back(filter(node, text_of(node, "map", given.values[0]), one, std::move(rest)));
    } else {
      const Value* otherwise = values[1] && !values[1]->is_none() ? &*values[1] : nullptr;
      out.push_back(attribute(node, one, *values[0], otherwise));
    }
  }
  return made_list(node, std::move(out), Sequence::generator);
}

inline std::string Evaluation::json(const Node& node, const Value& value, Arguments& given) {
  const auto values = bind(node, "tojson", given, {"ensure_ascii", "indent", "separators", "sort_keys"});
  Writer<Grow>::JsonStyle style;
  style.ascii = values[0] && values[0]->truth();
  style.sort_keys = values[3] && values[3]->truth();
  if (values[1] && !values[1]->is_none()) {
    style.item = ",";
    style.indent = values[1]->text()
                       ? *values[1]->text()
                       : std::string(static_cast<std::size_t>(std::clamp(whole(node, "tojson", *values[1]),
                                                                         std::int64_t{0}, std::int64_t{100})),
                                     ' ');
  }
  if (values[2] && !values[2]->is_none()) {
    const std::vector<Value> two = items(node, *values[2]);
    if (two.size() != 2) refuse(node, "tojson: separators are two texts");
    style.item = text_of(node, "tojson", two[0]);
    style.key = text_of(node, "tojson", two[1]);
  }
  Writer<Grow> to = writer(node);
  to.json(value, style);
  return to.take();
}

inline bool Evaluation::test(const Node& node, const std::string& name, const Value& value, Arguments given) {
  static constexpr std::pair<std::string_view, std::string_view> kOther[] = {
      {"equalto", "eq"}, {"==", "eq"}, {"!=", "ne"},          {"<", "lt"}, {"lessthan", "lt"},
      {"<=", "le"},      {">", "gt"},  {"greaterthan", "gt"}, {">=", "ge"}};
  std::string_view plain = name;
  for (const auto& [from, to] : kOther)
    if (name == from) plain = to;
  if (is_one_of(plain, " eq ne lt le gt ge in sameas divisibleby ")) {
    const auto values = bind(node, name, given,
                             {plain == "in"            ? "seq"
                              : plain == "divisibleby" ? "num"
                                                       : "other"});
    if (!values[0]) refuse(node, "test ", name, " needs a value");
    const Value& other = *values[0];
    if (plain == "eq") return same(node, value, other);
    if (plain == "ne") return !same(node, value, other);
    if (plain == "in") return contains(node, other, value);
    if (plain == "divisibleby") {
      if (whole(node, name, other) == 0) refuse(node, "division by zero");
      return whole(node, name, other) == -1 || whole(node, name, value) % whole(node, name, other) == 0;
    }
    if (plain == "sameas") {
      if (!value.get<bool>() && !value.is_none() && !other.get<bool>() && !other.is_none())
        refuse(node, "test sameas of ", value.type(), " is not supported");
      return value.index() == other.index() && same(node, value, other);
    }
    return plain[0] == 'l' ? less(node, value, other, plain == "le")
                           : less(node, other, value, plain == "ge");
  }
  bind(node, name, given, {});
  const Sequence* list = value.sequence();
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return value.is_none();
  if (name == "string") return value.any_text() != nullptr;
  if (name == "mapping") return value.mapping() != nullptr;
  if (name == "boolean") return value.get<bool>() != nullptr;
  if (name == "true") return value.get<bool>() && *value.get<bool>();
  if (name == "false") return value.get<bool>() && !*value.get<bool>();
  if (name == "integer") return value.get<std::int64_t>() != nullptr;
  if (name == "float") return value.get<double>() != nullptr;
  if (name == "number") return value.number().has_value();
  if (name == "iterable") return value.any_text() || list || value.mapping() || value.is_undefined();
  if (name == "sequence")
    return value.any_text() || (list && list->kind <= Sequence::range) || value.mapping() ||
           value.is_undefined();
  if (name == "callable")
    return value.get<Method>() || value.get<Function>() || value.get<Macro>() || value.is_undefined();
  if (name == "odd" || name == "even") {
    if (!value.number()) refuse(node, "test ", name, " needs a number, got ", value.type());
    const double rest = std::fmod(std::abs(*value.number()), 2);
    return rest == (name == "odd" ? 1 : 0);
  }
  if (name == "upper" || name == "lower") return is_of_kind("is" + name, as_text(node, value));
  refuse(node, "test ", in_quotes(name), " is not supported");
}

}  // namespace attend::inline ATTEND_ABI::text::jinja
