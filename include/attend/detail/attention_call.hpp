// A checked call of attention: its options and outputs, bound to its sizes.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include <attend/attention_options.hpp>
#include <attend/attention_outputs.hpp>
#include <attend/attention_sizes.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// Tokens of the longest of several sequences, whose tokens lie one after the other: b is [offsets[b],
/// offsets[b + 1]). Error where the offsets don't go from 0 up to all tokens.
inline Index longest_sequence(const char* who, std::span<const Index> offsets, Index tokens) {
  if (offsets.empty()) throw_error(who, ": expected 0 ... ", tokens, ", got none");
  if (offsets.front() != 0 || offsets.back() != tokens)
    throw_error(who, ": expected 0 ... ", tokens, ", got ", offsets.front(), " ... ", offsets.back());
  Index most = 0;
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
    if (offsets[b + 1] < offsets[b]) throw_error(who, ": decrease from ", offsets[b], " to ", offsets[b + 1]);
    most = (std::max)(most, offsets[b + 1] - offsets[b]);
  }
  return most;
}

/// A checked call: options and outputs bound to its sizes. Lives on the stack while the call runs, and refers
/// to both.
template <class Scalar>
struct AttentionCall {
  const AttentionOptions<Scalar>& options;
  const AttentionOutputs<Scalar>& outputs;
  AttentionSizes sizes;
  Index kv_heads = 0;
  double scale = 1;
  Mask mask;
  bool folded =
      true;  // nothing but masks touches the products, and the scale is a usable factor of an exponent

  static constexpr double kTooLarge = 1e38;  // also for float

  AttentionCall(const AttentionOptions<Scalar>& o, const AttentionOutputs<Scalar>& wanted,
                const AttentionSizes& s, Index kv, Index head_dim)
      : options(o), outputs(wanted), sizes(s), kv_heads(kv), mask(o.mask) {
    const Index tokens = s.query_offsets != nullptr ? s.query_offsets[s.batch] : s.queries;
    if (kv < 1 || s.heads % kv != 0)
      throw_error("scaled_dot_product_attention: ", s.heads, " query heads are not a multiple of ", kv,
                  " key/value heads");
    if (!options.sinks.empty() && static_cast<Index>(options.sinks.size()) != s.heads)
      fail_shape("scaled_dot_product_attention (sinks)", to_string(Shape<1>{s.heads}),
                 Shape<1>{static_cast<Index>(options.sinks.size())});
    if (!options.key_lengths.empty()) {
      if (static_cast<Index>(options.key_lengths.size()) != s.batch)
        fail_shape("scaled_dot_product_attention (key_lengths)", to_string(Shape<1>{s.batch}),
                   Shape<1>{static_cast<Index>(options.key_lengths.size())});
      for (Index n : options.key_lengths)
        if (n < 0 || n > s.keys)
          throw_error("scaled_dot_product_attention: a key length of ", n, " with ", s.keys, " keys");
      if (s.key_counts != nullptr || s.key_offsets != nullptr)
        throw_error(
            "scaled_dot_product_attention: key_lengths together with a cache or offsets, which have their "
            "own");
      sizes.key_counts = options.key_lengths.data();
    }
    if (!(options.softcap >= 0 && options.softcap < kTooLarge))
      throw_error("scaled_dot_product_attention: softcap is ", options.softcap);
    if (options.scale && !(*options.scale > -kTooLarge && *options.scale < kTooLarge))
      throw_error("scaled_dot_product_attention: scale is ", *options.scale);
    options.modifier.check_sizes(s);
    options.weight_modifier.check_sizes(s);
    if (outputs.scores_stage != ScoreStage::masked && outputs.scores.data() == nullptr)
      throw_error("scaled_dot_product_attention: a scores_stage, but no scores are asked for");
    if (outputs.log_sum_exp.data() != nullptr)
      check_shape("scaled_dot_product_attention (log_sum_exp)",
                  Shape<3>{s.query_offsets != nullptr ? 1 : s.batch, s.heads, tokens},
                  outputs.log_sum_exp.shape());
    if (outputs.introspection.asks()) check_introspection(outputs.introspection, s);
    for (const TensorView<Scalar, 4>* square : {&outputs.weights, &outputs.scores}) {
      if (square->data() == nullptr) continue;
      if (s.query_offsets != nullptr)
        throw_error("scaled_dot_product_attention: weights of a ragged batch are not given out");
      check_shape("scaled_dot_product_attention (weights)", Shape<4>{s.batch, s.heads, s.queries, s.keys},
                  square->shape());
    }
    scale = options.scale.has_value() ? *options.scale
                                      : (head_dim > 0 ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1);
    sizes.scalar = &scalar_name<Scalar>;
    mask.bind(sizes);
    folded = scale > 1e-30 && !(options.softcap > 0) && !modifies();
  }
  /// Of the products, as if every query saw every key; `dims` are those of a key and a value together.
  double operations(Index dims) const {
    double pairs = 0;
    for (Index b = 0; b < sizes.batch; ++b)
      pairs += static_cast<double>(sizes.query_count(b)) * static_cast<double>(sizes.key_count(b));
    return 2.0 * pairs * static_cast<double>(sizes.heads * dims);
  }
  bool modifies() const { return options.modifier || mask.adds(); }
  /// The modifier and the numbers of the mask, on 16 scores: see ScoreModifier.
  void modify(Scalar* scores, Index b, Index h, Index q, Index k0, Index keys) const {
    options.modifier(scores, b, h, q, k0, keys);
    mask.add(scores, b, h, q, k0, keys);
  }
  AttentionCall(const AttentionCall&) = delete;
  AttentionCall& operator=(const AttentionCall&) = delete;
};

/// Where keys and values come from: tensors, or the pages of a cache.
template <class Scalar>
struct KeyValueSource {
  TensorView<const Scalar, 4> key = {},
                              value = {};  // [B, H_kv, Tk, D], [B, H_kv, Tk, Dv], or of a ragged batch [1, …]
  /// Of each sequence the pages [H_kv][…], laid out as Backend::Page says; null where one is
  /// evicted.
  const Scalar* const* const* pages = nullptr;
};

}  // namespace attend::inline ATTEND_ABI::detail
