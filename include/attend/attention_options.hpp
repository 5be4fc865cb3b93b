// The options of an attention call, and their check against its shapes.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include <attend/core/index_list.hpp>
#include <attend/core/scalar.hpp>
#include <attend/mask.hpp>
#include <attend/rows.hpp>
#include <attend/score_modifier.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// What a score has been through where it is given out: scaled; soft capped; modified and masked (-inf).
enum class ScoreStage { scaled, softcapped, masked };

/// Options of one attention call, and what it may give beside its output. Order of operations on a score:
/// scale, softcap, modifier, numbers of the mask (additive), its truth (onnx.ai Attention-24, PyTorch's
/// scaled_dot_product_attention).
template <class Scalar>
struct AttentionOptions {
  static_assert(detail::check_scalar<Scalar>());

  Mask mask = {};
  std::optional<double> scale = {};  // 1 / sqrt(D) where not given
  double softcap = 0;                // softcap * tanh(score / softcap) where above 0
  ScoreModifier<Scalar> modifier = {};
  /// Changes a weight once the softmax has summed it, for training: dropout(p, keep). A 0 has to stay 0.
  ScoreModifier<Scalar> weight_modifier = {};
  std::span<const Scalar> sinks = {};  // [H]: a further score in each row's sum, of a key without value
  IndexList key_lengths = {};          // [B]: only the first so many keys of each batch exist
  /// A ragged batch: tokens of all sequences one after the other, as [1, H, tokens, D], sequence b being
  /// tokens [offsets[b], offsets[b + 1]). Both or neither. [B + 1]
  std::span<const Index> query_offsets = {}, key_offsets = {};

  TensorView<Scalar, 3> log_sum_exp =
      {};                              // [B, H, Tq] -> log of the sum of exp(score); -inf if nothing is seen
  TensorView<Scalar, 4> weights = {};  // [B, H, Tq, Tk] -> the attention weights
  TensorView<Scalar, 4> scores = {};   // [B, H, Tq, Tk] -> the scores at a stage
  ScoreStage scores_stage = ScoreStage::masked;
  TensorView<Scalar, 3> average_weights =
      {};  // [B, Tq, Tk] -> their average over the heads (MultiHeadAttention)
};

namespace detail {

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

template <class Scalar>
bool gives_more(const AttentionOptions<Scalar>& o) {
  return o.log_sum_exp.data() != nullptr || o.weights.data() != nullptr || o.scores.data() != nullptr ||
         o.average_weights.data() != nullptr;
}
/// Error where the call writes into numbers of its mask.
template <class Scalar>
void check_apart_from_mask(const Context& context, const char* who, const AttentionOptions<Scalar>& o,
                           const Operand& written) {
  if (!context.measuring() && o.mask.overlaps(written.layout)) fail_overlap(who, written.name, "the mask");
}
/// Error where what a call gives beside its output overlaps an operand, or itself.
template <class Scalar>
void check_outputs_apart(const Context& context, const char* who, const AttentionOptions<Scalar>& o,
                         std::initializer_list<Operand> operands) {
  const Operand outputs[] = {{"log_sum_exp", o.log_sum_exp},
                             {"weights", o.weights},
                             {"scores", o.scores},
                             {"average_weights", o.average_weights}};
  for (const Operand* output = outputs; output != std::end(outputs); ++output) {
    if (output->layout.data == nullptr) continue;
    check_apart(context, who, *output, operands);
    check_apart_from_mask(context, who, o, *output);
    for (const Operand* other = output + 1; other != std::end(outputs); ++other)
      check_apart(context, who, *output, {*other});
  }
}

/// A checked call: options bound to its sizes. Lives on the stack while the call runs.
template <class Scalar>
struct AttentionCall {
  AttentionSizes sizes;
  Index kv_heads = 0;
  double scale = 1;
  Mask mask;
  const ScoreModifier<Scalar>* modifier = nullptr;
  bool folded =
      true;  // nothing but masks touches the products, and the scale is a usable factor of an exponent

  static constexpr double kTooLarge = 1e38;  // also for float

  AttentionCall(const AttentionOptions<Scalar>& options, const AttentionSizes& s, Index kv, Index head_dim)
      : sizes(s), kv_heads(kv), mask(options.mask), modifier(&options.modifier) {
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
    if (options.scores_stage != ScoreStage::masked && options.scores.data() == nullptr)
      throw_error("scaled_dot_product_attention: a scores_stage, but no scores are asked for");
    if (options.log_sum_exp.data() != nullptr)
      check_shape("scaled_dot_product_attention (log_sum_exp)",
                  Shape<3>{s.query_offsets != nullptr ? 1 : s.batch, s.heads, tokens},
                  options.log_sum_exp.shape());
    for (const TensorView<Scalar, 4>* square : {&options.weights, &options.scores}) {
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
  bool modifies() const { return *modifier || mask.adds(); }
  /// The modifier and the numbers of the mask, on 16 scores: see ScoreModifier.
  void modify(Scalar* scores, Index b, Index h, Index q, Index k0, Index keys) const {
    (*modifier)(scores, b, h, q, k0, keys);
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
  /// Of each sequence the pages [H_kv][…], laid out as Backend::Page says; null where the cache let go of
  /// one.
  const Scalar* const* const* pages = nullptr;
};

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI
