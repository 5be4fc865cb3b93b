// Methods, functions, filters and tests of templates.
#pragma once

#include <algorithm>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/jinja_format.inl>
#include <attend/text/jinja_letters.inl>

namespace attend::inline ATTEND_ABI::text::jinja {

/// isalpha, isdigit and so on: all characters are of that kind, and there is one.
inline bool is_of_kind(const std::string& name, std::string_view text) {
  if (name == "isupper" || name == "islower")
    return uppercase(text) != lowercase(text) &&
           text == (name == "isupper" ? uppercase(text) : lowercase(text));
  bool all = !text.empty();
  for_each_code_point(text, [&](char32_t c, std::string_view) {
    const auto kind = category(c);
    const bool letter = kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
    const bool digit = kind == UTF8PROC_CATEGORY_ND;
    all = all && (name == "isspace"   ? is_space(c)
                  : name == "isdigit" ? digit
                                      : letter || (digit && name == "isalnum"));
  });
  return all;
}

inline Value Evaluation::call_method(const Node& node, const std::string& name, const Value& self,
                                     Arguments& given) {
  if (self.text()) return text_method(node, name, *self.text(), given);
  if (self.sequence()) {  // count and index
    const auto values = bind(node, name, given, {"value"});
    if (!values[0]) refuse(node, name, " needs a value");
    std::int64_t count = 0, at = 0;
    for (const Value& one : self.sequence()->items) {
      const bool found = same(node, one, *values[0]);
      if (found && name == "index") return at;
      count += found, ++at;
    }
    if (name == "index") refuse(node, "index: the list does not have it");
    return count;
  }
  const Mapping& map = *self.mapping();
  if (name == "copy") return bind(node, name, given, {}), self;
  if (name == "get") {
    auto values = bind(node, name, given, {"key", "default"});
    if (!values[0]) refuse(node, "get needs a key");
    work(node, 8 * map.items.size());
    if (const Value* found = map.find(*values[0])) return *found;
    return values[1].value_or(NoValue());
  }
  bind(node, name, given, {});
  std::vector<Value> all;
  for (const auto& [key, value] : map.items)
    all.push_back(name == "keys"     ? key
                  : name == "values" ? value
                                     : made_list(node, {key, value}, Sequence::tuple));
  return made_list(node, std::move(all), Sequence::view);
}

inline std::string Evaluation::replaced(const Node& node, const std::string& text, const std::string& from,
                                        const std::string& to, std::int64_t most) {
  std::string out;
  std::size_t at = 0;
  search_work(node, text, from);
  for (std::int64_t n = 0; most < 0 || n < most; ++n) {
    if (from.empty() && at >= text.size() && n > 0) break;
    const std::size_t found = text.find(from, at);
    if (found == text.npos) break;
    work(node, to.size());
    out.append(text, at, found - at).append(to);
    at = found + from.size();
    if (!from.empty()) continue;
    const std::size_t step = at < text.size() ? decode_utf8(text, at).size : 0;  // between any two characters
    out.append(text, at, step);
    at += step;
    if (step == 0) break;
    if (at == text.size() && (most < 0 || n + 1 < most)) {
      out += to;
      break;
    }
  }
  return out.append(text, (std::min)(at, text.size()));
}

inline Value Evaluation::split(const Node& node, const std::string& text, const Value* separator,
                               std::int64_t most, bool from_right) {
  std::vector<Value> out;
  std::string_view rest = text;
  const auto left = [&] { return most < 0 || std::ssize(out) < most; };
  if (separator && !separator->is_none()) {
    const std::string& by = text_of(node, "split", *separator);
    if (by.empty()) refuse(node, "split by an empty text");
    search_work(node, text, by);
    for (std::size_t at; left() && (at = from_right ? rest.rfind(by) : rest.find(by)) != rest.npos;) {
      work(node, 8);
      out.emplace_back(std::string(from_right ? rest.substr(at + by.size()) : rest.substr(0, at)));
      rest = from_right ? rest.substr(0, at) : rest.substr(at + by.size());
    }
    out.emplace_back(std::string(rest));
  } else {
    if (from_right && most >= 0) refuse(node, "rsplit by white space a number of times is not supported");
    for (rest = strip(rest, true, false, is_space); !rest.empty();
         rest = strip(rest, true, false, is_space)) {
      std::size_t at = 0;
      while (left() && at < rest.size() && !is_space(decode_utf8(rest, at).value))
        at += decode_utf8(rest, at).size;
      if (!left()) at = rest.size(), rest = strip(rest, false, false, is_space);
      work(node, 8);
      out.emplace_back(std::string(rest.substr(0, at)));
      rest.remove_prefix(at);
    }
  }
  if (from_right) std::reverse(out.begin(), out.end());
  work(node, text.size());
  return made_list(node, std::move(out));
}

inline Value Evaluation::text_method(const Node& node, const std::string& name, const std::string& text,
                                     Arguments& given) {
  work(node, text.size());
  const auto needed = [&](const std::optional<Value>& value) -> const std::string& {
    if (!value) refuse(node, name, " needs a text");
    return text_of(node, name, *value);
  };
  if (name == "format") return placed(node, text, given);
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const auto values = bind(node, name, given, {"chars"});
    const bool left = name != "rstrip", right = name != "lstrip";
    if (!values[0] || values[0]->is_none())
      return made_text(node, std::string(strip(text, left, right, is_space)));
    std::u32string drop;
    for_each_code_point(needed(values[0]), [&](char32_t c, std::string_view) { drop += c; });
    work(node, text.size() * (drop.size() / 8 + 1));
    return made_text(
        node, std::string(strip(text, left, right, [&](char32_t c) { return drop.find(c) != drop.npos; })));
  }
  if (name == "split" || name == "rsplit") {
    const auto values = bind(node, name, given, {"sep", "maxsplit"});
    return split(node, text, values[0] ? &*values[0] : nullptr,
                 values[1] ? whole(node, name, *values[1]) : -1, name == "rsplit");
  }
  if (name == "startswith" || name == "endswith") {
    const auto values = bind(node, name, given, {"prefix"});
    const auto holds = [&](const std::string& end) {
      return name == "startswith" ? text.starts_with(end) : text.ends_with(end);
    };
    if (!values[0] || !values[0]->sequence() || values[0]->sequence()->kind != Sequence::tuple)
      return holds(needed(values[0]));
    for (const Value& end : items(node, *values[0]))
      if (holds(text_of(node, name, end))) return true;
    return false;
  }
  if (name == "replace") {
    const auto values = bind(node, name, given, {"old", "new", "count"});
    return made_text(node, replaced(node, text, needed(values[0]), needed(values[1]),
                                    values[2] ? whole(node, name, *values[2]) : -1));
  }
  if (name == "removeprefix" || name == "removesuffix") {
    const auto values = bind(node, name, given, {"affix"});
    const std::string& end = needed(values[0]);
    if (name == "removeprefix")
      return made_text(node, text.starts_with(end) ? text.substr(end.size()) : text);
    return made_text(node, text.ends_with(end) ? text.substr(0, text.size() - end.size()) : text);
  }
  if (is_one_of(name, " find rfind index count partition rpartition ")) {
    const auto values = bind(node, name, given, {"sub"});
    const std::string& wanted = needed(values[0]);
    search_work(node, text, wanted);
    const bool from_right = name.starts_with('r');
    std::size_t at = from_right ? text.rfind(wanted) : text.find(wanted);
    if (name == "count") {
      if (wanted.empty()) return static_cast<std::int64_t>(count_code_points(text) + 1);
      std::int64_t count = 0;
      for (; at != text.npos; at = text.find(wanted, at + wanted.size())) ++count;
      return count;
    }
    if (name.ends_with("partition")) {
      if (wanted.empty()) refuse(node, name, " by an empty text");
      std::vector<Value> parts(3, Value(std::string()));
      if (at == text.npos) {
        parts[from_right ? 2 : 0] = text;
      } else {
        parts = {Value(text.substr(0, at)), Value(wanted), Value(text.substr(at + wanted.size()))};
      }
      return made_list(node, std::move(parts), Sequence::tuple);
    }
    if (at == text.npos && name == "index") refuse(node, "index: the text does not have it");
    if (at == text.npos) return std::int64_t{-1};
    return static_cast<std::int64_t>(count_code_points(std::string_view(text).substr(0, at)));
  }
  if (name == "join") {
    const auto values = bind(node, name, given, {"iterable"});
    if (!values[0]) refuse(node, "join needs a list");
    std::string out;
    bool first = true;
    for (const Value& item : items(node, *values[0])) {
      work(node, text.size());
      if (!std::exchange(first, false)) out += text;
      out += text_of(node, name, item);
    }
    return made_text(node, std::move(out));
  }
  bind(node, name, given, {});
  if (name == "splitlines") return made_list(node, lines_of(text));
  if (name.starts_with("is")) return is_of_kind(name, text);
  if (name == "upper") return made_text(node, uppercase(text));
  if (name == "lower") return made_text(node, lowered(text));
  return made_text(node, capitalized(text, name == "title"));
}

inline Value Evaluation::call_function(const Node& node, std::string_view name, Arguments& given) {
  if (name == "namespace" || name == "dict") {
    const std::size_t plain = given.values.size() - given.keywords.size();
    if (plain > 1) refuse(node, name, " takes one mapping");
    Mapping map;
    if (plain == 1) {
      if (!given.values[0].mapping()) refuse(node, name, " of ", given.values[0].type(), " is not supported");
      map = *given.values[0].mapping();
    }
    for (std::size_t i = 0; i < given.keywords.size(); ++i)
      put(node, map, given.keywords[i], given.values[plain + i]);
    if (name == "dict") return made(node, std::move(map));
    work(node, 400);
    Namespace& names = namespaces_.emplace_back();
    for (auto& [key, value] : map.items) set_member(node, names, text_of(node, name, key), std::move(value));
    return &names;
  }
  if (name == "range") {
    const auto values = bind(node, name, given, {"start", "stop", "step"});
    if (!values[0]) refuse(node, "range needs a number");
    const std::int64_t begin = values[1] ? whole(node, name, *values[0]) : 0;
    const std::int64_t end = whole(node, name, values[1] ? *values[1] : *values[0]);
    const std::int64_t step = values[2] ? whole(node, name, *values[2]) : 1;
    if (step == 0) refuse(node, "range of step 0");
    std::vector<Value> out;
    for (double at = static_cast<double>(begin);
         step > 0 ? at < static_cast<double>(end) : at > static_cast<double>(end);
         at += static_cast<double>(step)) {
      if (out.size() >= 100000) refuse(node, "range of more than 100000 numbers");
      work(node, 8);
      out.emplace_back(static_cast<std::int64_t>(at));
    }
    return made_list(node, std::move(out), Sequence::range);
  }
  const auto values = bind(node, name, given, {name == "strftime_now" ? "format" : "message"});
  if (!values[0]) refuse(node, name, " needs a text");
  if (name == "strftime_now") return made_text(node, strftime(node, text_of(node, name, *values[0])));
  refuse(node, as_text(node, *values[0]));
}

/// The local time in English, whatever the program's locale is.
inline std::string Evaluation::strftime(const Node& node, const std::string& format) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now_);
  std::tm t{};
#if defined(_WIN32)
  localtime_s(&t, &seconds);
#else
  localtime_r(&seconds, &t);
#endif
  static constexpr const char *kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                          "Thursday", "Friday", "Saturday"},
                              *kMonths[] = {"January",   "February", "March",    "April",
                                            "May",       "June",     "July",     "August",
                                            "September", "October",  "November", "December"};
  bool padded = true;
  const auto number = [&](int value, int width, char fill = '0') {
    const std::string digits = std::to_string(value);
    const std::ptrdiff_t missing = padded ? width - std::ssize(digits) : 0;
    return std::string(static_cast<std::size_t>(std::max<std::ptrdiff_t>(missing, 0)), fill) + digits;
  };
  const auto part = [&](char c) -> std::string {
    switch (c) {
      case 'Y':
        return number(t.tm_year + 1900, 0);
      case 'y':
        return number(t.tm_year % 100, 2);
      case 'm':
        return number(t.tm_mon + 1, 2);
      case 'd':
        return number(t.tm_mday, 2);
      case 'e':
        return number(t.tm_mday, 2, ' ');
      case 'H':
        return number(t.tm_hour, 2);
      case 'I':
        return number(t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12, 2);
      case 'M':
        return number(t.tm_min, 2);
      case 'S':
        return number(t.tm_sec, 2);
      case 'j':
        return number(t.tm_yday + 1, 3);
      case 'w':
        return number(t.tm_wday, 1);
      case 'p':
        return t.tm_hour < 12 ? "AM" : "PM";
      case 'A':
        return kDays[t.tm_wday];
      case 'a':
        return std::string(kDays[t.tm_wday], 3);
      case 'B':
        return kMonths[t.tm_mon];
      case 'b':
      case 'h':
        return std::string(kMonths[t.tm_mon], 3);
      case 'F':
        return strftime(node, "%Y-%m-%d");
      case 'T':
        return strftime(node, "%H:%M:%S");
      case 'R':
        return strftime(node, "%H:%M");
      case 'D':
        return strftime(node, "%m/%d/%y");
      case '%':
        return "%";
      default:
        refuse(node, "strftime_now: format %", std::string(1, c), " is not supported");
    }
  };
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    work(node, 8);
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    padded = !(i + 1 < format.size() && format[i + 1] == '-');
    i += padded ? 1 : 2;
    out += part(i < format.size() ? format[i] : ' ');
  }
  return out;
}

}  // namespace attend::inline ATTEND_ABI::text::jinja
