// The options of an attention call.
#pragma once

#include <optional>
#include <span>

#include <attend/core/index_list.hpp>
#include <attend/core/scalar.hpp>
#include <attend/mask.hpp>
#include <attend/rows.hpp>
#include <attend/score_modifier.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

template <class Scalar>
struct RelativePositions;

/// Options of one attention call; attention_outputs.hpp has what it may give besides its output. Order of
/// operations on a score: scale, softcap, modifier, numbers of the mask (additive), its truth (onnx.ai
/// Attention-24, PyTorch's scaled_dot_product_attention).
template <class Scalar>
struct AttentionOptions {
  static_assert(detail::check_scalar<Scalar>());

  Mask mask = {};                       // which keys a query sees
  std::optional<double> scale = {};     // 1 / sqrt(D) where not given
  double softcap = 0;                   // softcap * tanh(score / softcap) where above 0
  ScoreModifier<Scalar> modifier = {};  // changes scores after the softcap
  /// Changes a weight once the softmax has summed it, for training: dropout(p, keep). A 0 has to stay 0.
  ScoreModifier<Scalar> weight_modifier = {};
  std::span<const Scalar> sinks = {};  // [H]: a further score in each row's sum, of a key without value
  IndexList key_lengths = {};          // [B]: only the first so many keys of each batch exist
  /// A ragged batch: tokens of all sequences one after the other, as [1, H, tokens, D], sequence b being
  /// tokens [offsets[b], offsets[b + 1]). Both or neither. [B + 1]
  std::span<const Index> query_offsets = {}, key_offsets = {};
  /// Of a MultiHeadAttention that is `disentangled`: what RelativeEmbedding::positions gives.
  const RelativePositions<Scalar>* relative = nullptr;
};

}  // namespace attend::inline ATTEND_ABI
