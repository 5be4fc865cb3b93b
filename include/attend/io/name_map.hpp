// Names in foreign checkpoints: which tensors of a file make up a parameter of a layer.
#pragma once

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

/// Where a parameter comes from. Rows are slices at one first index, as in Parameter.
struct Source {
  /// Tensors of the file, joined along axis 0. "(a|b)" in a name stands for a or, where that is not in the
  /// file, b: "(bert.|)pooler.dense.weight", "LayerNorm.(weight|gamma)".
  std::vector<std::string> names = {};
  /// The tensors are matrices stored as [in, out] (GPT-2's Conv1D): each is transposed, then joined.
  bool transpose = false;
  /// Row i of the parameter is row `row(i)` of the joined tensor; empty: row i.
  std::function<Index(Index)> row = {};
  /// Added to each value (Gemma stores the weight of a norm less 1).
  double add = 0;
  /// The parameter is part number `part` of `parts` equal cuts along axis 0 of all this.
  Index part = 0, parts = 1;
};

/// A source whose matrices are stored as [in, out].
inline Source transposed(std::vector<std::string> names) {
  return {.names = std::move(names), .transpose = true};
}

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

/// Whether the pattern matches the name or what follows one of its dots: "position_ids" matches
/// "embeddings.position_ids".
inline bool match_name_end(std::string_view pattern, std::string_view name) {
  for (;;) {
    if (match_name(pattern, name)) return true;
    const std::size_t dot = name.find('.');
    if (dot == std::string_view::npos) return false;
    name.remove_prefix(dot + 1);
  }
}

/// "x(a|b)y" as {"xay", "xby"}.
inline std::vector<std::string> expand_alternatives(const std::string& name) {
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

}  // namespace detail

/// Maps parameter names of a layer to sources by patterns; the first that matches counts, and a name without
/// one maps to itself. Each '*' stands for text without a dot and stands for the same in the source:
///   NameMap{{"layers.*.norm1.*", "encoder.layer.*.attention.output.LayerNorm.*"},
///           {"layers.*.self_attn.in_proj_*", {"encoder.layer.*.attention.self.query.*",
///                                             "encoder.layer.*.attention.self.key.*",
///                                             "encoder.layer.*.attention.self.value.*"}},
///           {"layers.*.linear1.weight", transposed({"h.*.mlp.c_fc.weight"})}}
class NameMap {
 public:
  struct Rule {
    Rule(std::string its_pattern, std::string name)
        : pattern(std::move(its_pattern)), source{.names = {std::move(name)}} {}
    Rule(std::string its_pattern, std::initializer_list<std::string> names)
        : pattern(std::move(its_pattern)), source{.names = names} {}
    Rule(std::string its_pattern, Source its_source)
        : pattern(std::move(its_pattern)), source(std::move(its_source)) {}

    std::string pattern;
    Source source;
  };

  NameMap() = default;
  NameMap(std::initializer_list<Rule> rules) : rules_(rules) {}
  void add(Rule rule) { rules_.push_back(std::move(rule)); }

  Source operator()(const std::string& name) const {
    for (const Rule& rule : rules_) {
      std::vector<std::string> stars;
      if (!detail::match_name(rule.pattern, name, &stars)) continue;
      Source source = rule.source;
      for (std::string& text : source.names) text = fill(text, stars);
      return source;
    }
    return {.names = {name}};
  }

 private:
  static std::string fill(const std::string& text, const std::vector<std::string>& stars) {
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

  std::vector<Rule> rules_;
};

}  // namespace attend::inline ATTEND_ABI
