// Transformer blocks and stacks: PyTorch's nn.TransformerEncoderLayer and nn.TransformerDecoderLayer.
#pragma once

#include <vector>

#include <attend/reference/attention.hpp>

namespace attend::inline ATTEND_ABI::reference {

template <class S = double>
struct Norm {
  View<S, 1> weight = {}, bias = {};  // [E]
  S eps = S(1e-5);
};

/// x [B, T, E].
template <class S = double>
Tensor<S, 3> layer_norm(View<S, 3> x, const Norm<std::type_identity_t<S>>& norm) {
  return Tensor<S, 3>(x.shape(), layer_norm<S>(View<S, 2>(x.rows()), norm.weight, norm.bias, norm.eps));
}

template <class S = double>
Tensor<S, 3> add(View<S, 3> a, View<S, 3> b) {
  Tensor<S, 3> sum(a);
  Index i = 0;
  b.for_each([&](const S& value) { sum.span()[static_cast<std::size_t>(i++)] += value; });
  return sum;
}

/// x + f(norm(x)) where the norm comes first, else norm(x + f(x)).
template <class S, class F>
Tensor<S, 3> residual(const Tensor<S, 3>& x, const Norm<S>& norm, bool norm_first, F&& f) {
  if (norm_first) return add<S>(x, f(layer_norm<S>(x, norm)));
  return layer_norm<S>(add<S>(x, f(x)), norm);
}

template <class S = double>
struct EncoderBlock {
  MultiHeadAttention<S> self_attn = {};
  Linear<S> linear1 = {}, linear2 = {};
  Norm<S> norm1 = {}, norm2 = {};
  Elementwise<S> activation = relu<S>;
  bool norm_first = false;
};

/// The block's feed-forward of each row.
template <class S>
Tensor<S, 3> feed_forward(const Tensor<S, 3>& x, const EncoderBlock<S>& block) {
  return Tensor<S, 3>(x.shape(),
                      feed_forward<S>(View<S, 3>(x).rows(), block.linear1, block.activation, block.linear2));
}

template <class S = double>
Tensor<S, 3> encoder_block(View<S, 3> x, const EncoderBlock<std::type_identity_t<S>>& block,
                           const AttentionOptions<std::type_identity_t<S>>& options = {}) {
  Tensor<S, 3> y(x);
  y = residual(y, block.norm1, block.norm_first, [&](const Tensor<S, 3>& z) {
    return multi_head_attention<S>(z, z, z, block.self_attn, options).output;
  });
  return residual(y, block.norm2, block.norm_first,
                  [&](const Tensor<S, 3>& z) { return feed_forward<S>(z, block); });
}

/// An encoder block with an attention to the memory, `multihead_attn`, between its two parts.
template <class S = double>
struct DecoderBlock : EncoderBlock<S> {
  MultiHeadAttention<S> multihead_attn = {};
  Norm<S> norm3 = {};
};

template <class S = double>
Tensor<S, 3> decoder_block(View<S, 3> x, View<S, 3> memory,
                           const DecoderBlock<std::type_identity_t<S>>& block,
                           const AttentionOptions<std::type_identity_t<S>>& options = {},
                           const AttentionOptions<std::type_identity_t<S>>& memory_options = {}) {
  Tensor<S, 3> y(x);
  y = residual(y, block.norm1, block.norm_first, [&](const Tensor<S, 3>& z) {
    return multi_head_attention<S>(z, z, z, block.self_attn, options).output;
  });
  y = residual(y, block.norm2, block.norm_first, [&](const Tensor<S, 3>& z) {
    return multi_head_attention<S>(z, memory, memory, block.multihead_attn, memory_options).output;
  });
  return residual(y, block.norm3, block.norm_first,
                  [&](const Tensor<S, 3>& z) { return feed_forward<S>(z, block); });
}

/// Blocks one after the other, then the final norm where there is one (its weight is not empty).
template <class S = double>
Tensor<S, 3> encoder(View<S, 3> x, const std::vector<EncoderBlock<S>>& blocks, const Norm<S>& norm = {},
                     const AttentionOptions<S>& options = {}) {
  Tensor<S, 3> y(x);
  for (const EncoderBlock<S>& block : blocks) y = encoder_block<S>(y, block, options);
  return norm.weight.empty() ? y : layer_norm<S>(y, norm);
}

template <class S = double>
Tensor<S, 3> decoder(View<S, 3> x, View<S, 3> memory, const std::vector<DecoderBlock<S>>& blocks,
                     const Norm<S>& norm = {}, const AttentionOptions<S>& options = {},
                     const AttentionOptions<S>& memory_options = {}) {
  Tensor<S, 3> y(x);
  for (const DecoderBlock<S>& block : blocks) y = decoder_block<S>(y, memory, block, options, memory_options);
  return norm.weight.empty() ? y : layer_norm<S>(y, norm);
}

}  // namespace attend::inline ATTEND_ABI::reference
