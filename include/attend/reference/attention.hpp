// Attention as plain loops over (batch, head, query, key): the specification of masks, grouped heads and
// weights.
#pragma once

#include <limits>
#include <optional>
#include <vector>

#include <attend/reference/layers.hpp>

namespace attend::inline ATTEND_ABI::reference {

/// What happens to the score of one (query, key) pair, in this order: times scale; softcap * tanh(· /
/// softcap); modifier; plus additive_mask; mask. A key that ends at -inf is not there: its value is never
/// looked at.
template <class S = double>
struct AttentionOptions {
  std::optional<S> scale = {};  // 1 / sqrt(D)
  S softcap = 0;                // 0: none
  std::function<S(S score, Index b, Index h, Index q, Index k)> modifier = {};
  std::function<S(Index b, Index h, Index q, Index k)> additive_mask = {};
  std::function<bool(Index b, Index h, Index q, Index k)> mask = {};  // true: take part
  View<S, 1> sinks = {};  // [H]: one more score per head, which takes weight and has no value
};

template <class S = double>
struct AttentionResult {
  Tensor<S, 4> output;       // [B, H, Tq, Dv]
  Tensor<S, 4> weights;      // [B, H, Tq, Tk]
  Tensor<S, 3> log_sum_exp;  // [B, H, Tq], of the scores (and the sink)
};

/// The final score of one pair, from the product of query and key.
template <class S, class Tanh>
S attention_score(S product, const AttentionOptions<S>& options, S scale, Tanh&& tanh_of, Index b, Index h,
                  Index q, Index k) {
  const S masked = -std::numeric_limits<S>::infinity();
  if (options.mask && !options.mask(b, h, q, k)) return masked;
  // fma(x, y, -0) is the rounded product, also where a compiler would fuse it with the addition that follows.
  S score = std::fma(product, scale, -S(0));
  if (options.softcap > 0) score = std::fma(options.softcap, tanh_of(score / options.softcap), -S(0));
  if (options.modifier) score = options.modifier(score, b, h, q, k);
  if (options.additive_mask) {
    const S bias = options.additive_mask(b, h, q, k);
    score = bias == masked ? masked : score + bias;
  }
  return score;
}

template <class S>
S attention_scale(const AttentionOptions<S>& options, Index head_dim) {
  return options.scale ? *options.scale : static_cast<S>(1 / std::sqrt(static_cast<double>(head_dim)));
}

/// query [B, H, Tq, D], key [B, Hkv, Tk, D], value [B, Hkv, Tk, Dv]; query head h reads key/value head
/// h / (H / Hkv). A query that sees no key gives output 0, weights 0, log-sum-exp -inf.
template <class S = double>
AttentionResult<S> scaled_dot_product_attention(
    View<S, 4> query, View<S, 4> key, View<S, 4> value,
    const AttentionOptions<std::type_identity_t<S>>& options = {}) {
  const Index B = query.size(0), H = query.size(1), Tq = query.size(2), D = query.size(3);
  const Index Tk = key.size(2), Dv = value.size(3);
  const S scale = attention_scale(options, D), none = -std::numeric_limits<S>::infinity();
  AttentionResult<S> result{Tensor<S, 4>({B, H, Tq, Dv}), Tensor<S, 4>({B, H, Tq, Tk}),
                            Tensor<S, 3>({B, H, Tq}, none)};
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h)
      for (Index q = 0; q < Tq; ++q) {
        const Index g = h / (H / key.size(1));
        std::vector<S> scores(static_cast<std::size_t>(Tk));
        S maximum = options.sinks.empty() ? none : options.sinks(h);
        bool visible = false;
        for (Index k = 0; k < Tk; ++k) {
          S product = 0;
          for (Index d = 0; d < D; ++d) product += query(b, h, q, d) * key(b, g, k, d);
          S& score = scores[static_cast<std::size_t>(k)];
          score = attention_score(product, options, scale, tanh<S>, b, h, q, k);
          visible = visible || score != none;
          maximum = (std::max)(maximum, score);
        }
        if (!visible) continue;
        S sum = options.sinks.empty() ? S(0) : std::exp(options.sinks(h) - maximum);
        for (const S& score : scores) sum += score == none ? S(0) : std::exp(score - maximum);
        result.log_sum_exp(b, h, q) = maximum + std::log(sum);
        for (Index k = 0; k < Tk; ++k) {
          const S score = scores[static_cast<std::size_t>(k)];
          if (score == none) continue;
          const S weight = result.weights(b, h, q, k) = std::exp(score - maximum) / sum;
          for (Index d = 0; d < Dv; ++d) result.output(b, h, q, d) += weight * value(b, g, k, d);
        }
      }
  return result;
}

/// [B, T, H * D] seen as [B, H, T, D]: head h is features h * D … h * D + D - 1.
template <class S>
TensorView<S, 4> split_heads(TensorView<S, 3> x, Index num_heads) {
  const Index D = num_heads > 0 ? x.size(2) / num_heads : 0;
  return TensorView<S, 4>(x.data(), {x.size(0), num_heads, x.size(1), D},
                          {x.stride(0), D * x.stride(2), x.stride(1), x.stride(2)});
}

/// x [B, T, in] through a linear layer → [B, T, out].
template <class S = double>
Tensor<S, 3> linear(View<S, 3> x, const Linear<std::type_identity_t<S>>& layer) {
  const Tensor<S, 2> y = linear<S>(View<S, 2>(x.rows()), layer);
  return Tensor<S, 3>({x.size(0), x.size(1), y.size(1)}, y.span());
}

template <class S = double>
struct MultiHeadAttention {
  Linear<S> query = {}, key = {}, value = {}, output = {};
  Index num_heads = 1, num_kv_heads = 1;

  /// From PyTorch's parameters: in_proj_weight [(H + 2 H_kv) D, E] is query, key and value one below the
  /// other.
  static MultiHeadAttention from_in_proj(View<S, 2> in_proj_weight, View<S, 1> in_proj_bias, Linear<S> output,
                                         Index num_heads, Index num_kv_heads) {
    MultiHeadAttention layer{.output = output, .num_heads = num_heads, .num_kv_heads = num_kv_heads};
    Linear<S>* parts[] = {&layer.query, &layer.key, &layer.value};
    const Index head_dim = in_proj_weight.size(0) / (num_heads + 2 * num_kv_heads);
    Index begin = 0;
    for (Linear<S>* part : parts) {
      const Index end = begin + head_dim * (part == &layer.query ? num_heads : num_kv_heads);
      part->weight = in_proj_weight.slice(0, begin, end);
      if (!in_proj_bias.empty()) part->bias = in_proj_bias.slice(0, begin, end);
      begin = end;
    }
    return layer;
  }
};

template <class S = double>
struct MultiHeadResult {
  Tensor<S, 3> output;   // [B, Tq, out]
  Tensor<S, 4> weights;  // [B, H, Tq, Tk]
};

/// query [B, Tq, E], key [B, Tk, kdim], value [B, Tk, vdim].
template <class S = double>
MultiHeadResult<S> multi_head_attention(View<S, 3> query, View<S, 3> key, View<S, 3> value,
                                        const MultiHeadAttention<std::type_identity_t<S>>& layer,
                                        const AttentionOptions<std::type_identity_t<S>>& options = {}) {
  const Tensor<S, 3> q = linear<S>(query, layer.query);
  const Tensor<S, 3> k = linear<S>(key, layer.key);
  const Tensor<S, 3> v = linear<S>(value, layer.value);
  AttentionResult<S> attention = scaled_dot_product_attention<S>(
      split_heads(q.view(), layer.num_heads), split_heads(k.view(), layer.num_kv_heads),
      split_heads(v.view(), layer.num_kv_heads), options);
  Tensor<S, 3> joined({q.size(0), q.size(1), layer.num_heads * attention.output.size(3)});
  copy(attention.output.view(), split_heads(joined.view(), layer.num_heads));
  return {linear<S>(joined, layer.output), std::move(attention.weights)};
}

}  // namespace attend::inline ATTEND_ABI::reference
