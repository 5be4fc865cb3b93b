// CausalBlock: a Block as decoder-only language models have it.
#pragma once

#include <optional>

#include <attend/block.hpp>

namespace attend::inline ATTEND_ABI {

/// Of a block of a decoder-only model (GPT-2, Llama).
struct CausalBlockOptions {
  Index embed_dim = 0;
  Index num_heads = 1;
  Index num_kv_heads = 0;  // 0: num_heads
  Index head_dim = 0;      // 0: embed_dim / num_heads
  Index dim_feedforward = 0;
  Activation activation = Activation::gelu_tanh;
  bool gated = false;  // see FeedForward
  NormKind norm = NormKind::layer;
  double norm_eps = 1e-5;
  bool norm_weight = true;  // norms have a weight, and LayerNorms a bias
  /// Biases of the projections of queries, keys and values, of the output projection, of the feed-forward.
  bool qkv_bias = true, out_bias = true, mlp_bias = true;
  bool qk_norm = false;               // an RMSNorm of each head of queries and keys
  bool qk_norm_over_heads = false;    // that is one over all heads together
  Residual residual = Residual::pre;  // where the norms stand
  double residual_scale = 1;          // see BlockOptions
  std::optional<double> scale = {};   // of scores; 1 / sqrt(head_dim) where not given
  double softcap = 0;                 // of scores; 0: none
  Index sliding_window = 0;           // a token sees itself and so many before it, less one; 0: all
  bool alibi = false;                 // scores fall with the distance
  bool is_causal = true;              // else tokens see those that follow them, too, of the same call
  bool rotary = true;                 // takes part where a model has rotary positions
  WeightType weights = WeightType::float32;
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights

  operator BlockOptions() const {
    detail::check_count("CausalBlock", "sliding_window", sliding_window);
    return {.self_attn = {.embed_dim = embed_dim,
                          .num_heads = num_heads,
                          .num_kv_heads = num_kv_heads,
                          .head_dim = head_dim,
                          .bias = qkv_bias,
                          .out_bias = out_bias,
                          .qk_norm = qk_norm ? std::optional(norm_eps) : std::nullopt,
                          .qk_norm_over_heads = qk_norm_over_heads,
                          .attention = {scale, softcap, is_causal, sliding_window},
                          .alibi = alibi,
                          .weights = weights,
                          .activations = activations},
            .feed_forward = {embed_dim, dim_feedforward, activation, gated, mlp_bias, weights, activations},
            .norm = {embed_dim, norm_eps, norm, norm_weight},
            .residual = residual,
            .residual_scale = residual_scale};
  }
};

/// Parameters: see Block.
template <class Scalar>
class CausalBlock : public Block<Scalar> {
 public:
  CausalBlock() : Block<Scalar>("CausalBlock") {}
  explicit CausalBlock(const CausalBlockOptions& options) : Block<Scalar>(options, "CausalBlock") {}
};

}  // namespace attend::inline ATTEND_ABI
