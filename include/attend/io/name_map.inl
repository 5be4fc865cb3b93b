// Bodies of name_map.hpp, and the patterns of names.
#pragma once

#include <algorithm>

#include <attend/core/error.hpp>
#include <attend/io/name_map.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {

/// Matches a name with a pattern whose '*' stands for one or more characters without a dot, and collects what
/// the stars stand for.
inline bool match_name(std::string_view pattern, std::string_view name,
                       std::vector<std::string>* stars = nullptr) {
  while (!pattern.empty() && pattern[0] != '*') {
    if (name.empty() || name[0] != pattern[0]) return false;
    pattern.remove_prefix(1);
    name.remove_prefix(1);
  }
  if (pattern.empty()) return name.empty();
  for (std::size_t n = 1; n <= name.size() && name[n - 1] != '.'; ++n) {
    if (stars != nullptr) stars->emplace_back(name.substr(0, n));
    if (match_name(pattern.substr(1), name.substr(n), stars)) return true;
    if (stars != nullptr) stars->pop_back();
  }
  return false;
}

ATTEND_INLINE bool match_name_end(std::string_view pattern, std::string_view name) {
  for (;;) {
    if (match_name(pattern, name)) return true;
    const std::size_t dot = name.find('.');
    if (dot == std::string_view::npos) return false;
    name.remove_prefix(dot + 1);
  }
}

ATTEND_INLINE std::vector<std::string> expand_alternatives(const std::string& name) {
  const std::size_t open = name.find('(');
  if (open == std::string::npos) return {name};
  const std::size_t close = name.find(')', open);
  if (close == std::string::npos) throw_error("NameMap: '", name, "' has no ')'");
  std::vector<std::string> result;
  for (std::size_t begin = open + 1; begin <= close;) {
    const std::size_t end = (std::min)(name.find('|', begin), close);
    for (std::string& text :
         expand_alternatives(name.substr(0, open) + name.substr(begin, end - begin) + name.substr(close + 1)))
      result.push_back(std::move(text));
    begin = end + 1;
  }
  return result;
}

inline std::string fill_stars(const std::string& text, const std::vector<std::string>& stars) {
  std::string filled;
  std::size_t next = 0;
  for (char c : text) {
    if (c != '*') {
      filled += c;
    } else {
      if (next == stars.size()) throw_error("NameMap: '", text, "' has more stars than its pattern");
      filled += stars[next++];
    }
  }
  return filled;
}

}  // namespace detail

ATTEND_INLINE Source NameMap::operator()(const std::string& name) const {
  for (const Rule& rule : rules_) {
    std::vector<std::string> stars;
    if (!detail::match_name(rule.pattern, name, &stars)) continue;
    Source source = rule.source;
    for (std::string& text : source.names) text = detail::fill_stars(text, stars);
    return source;
  }
  return {.names = {name}};
}

}  // namespace attend::inline ATTEND_ABI
