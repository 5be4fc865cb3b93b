// Names in foreign checkpoints: which tensors of a file make up a parameter of a layer.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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
/// Whether the pattern matches the name or what follows one of its dots: "position_ids" matches
/// "embeddings.position_ids".
bool match_name_end(std::string_view pattern, std::string_view name);
/// "x(a|b)y" as {"xay", "xby"}.
std::vector<std::string> expand_alternatives(const std::string& name);
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
  /// A pattern and what it stands for.
  struct Rule {
    /// A pattern and what it stands for. @{
    Rule(std::string its_pattern, std::string name)
        : pattern(std::move(its_pattern)), source{.names = {std::move(name)}} {}
    Rule(std::string its_pattern, std::initializer_list<std::string> names)
        : pattern(std::move(its_pattern)), source{.names = names} {}
    Rule(std::string its_pattern, Source its_source)
        : pattern(std::move(its_pattern)), source(std::move(its_source)) {}
    /// @}

    std::string pattern;  // with '*' for text without a dot
    Source source;        // where it comes from
  };

  NameMap() = default;
  NameMap(std::initializer_list<Rule> rules) : rules_(rules) {}  // The first rule that matches counts.
  void add(Rule rule) { rules_.push_back(std::move(rule)); }     // One more, behind the others.

  /// Where the parameter of that name comes from: itself where no rule matches.
  Source operator()(const std::string& name) const;

 private:
  std::vector<Rule> rules_;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/io/name_map.inl>
#endif
