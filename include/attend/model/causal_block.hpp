// CausalBlock: one layer of a decoder-only language model, with a cache of keys and values.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <attend/detail/cache_calls.hpp>
#include <attend/feed_forward.hpp>
#include <attend/kv_cache.hpp>
#include <attend/multi_head_attention.hpp>
#include <attend/norm.hpp>
#include <attend/position.hpp>

namespace attend::inline ATTEND_ABI {

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
  bool qkv_bias = true, out_bias = true, mlp_bias = true;
  bool qk_norm = false;              // an RMSNorm of each head of queries and keys
  bool parallel_residual = false;    // x + attention(norm1(x)) + mlp(norm2(x)) (GPT-NeoX)
  bool post_norms = false;           // what attention and mlp give is normalised before it is added (Gemma 2)
  std::optional<double> scale = {};  // of scores; 1 / sqrt(head_dim) where not given
  double softcap = 0;                // of scores; 0: none
  Index sliding_window = 0;          // a token sees itself and so many before it, less one; 0: all
  bool alibi = false;                // scores fall with the distance
};

/// Parameters: self_attn.* as in MultiHeadAttention, linear1.*, linear2.* as in FeedForward, norm1.*,
/// norm2.*; with post_norms post_norm1.*, post_norm2.*.
template <class Scalar>
class CausalBlock {
 public:
  CausalBlock() = default;
  explicit CausalBlock(const CausalBlockOptions& o)
      : options_(o),
        self_attn_({.embed_dim = o.embed_dim,
                    .num_heads = o.num_heads,
                    .num_kv_heads = o.num_kv_heads,
                    .head_dim = o.head_dim,
                    .bias = o.qkv_bias,
                    .out_bias = o.out_bias,
                    .qk_norm = o.qk_norm ? std::optional(o.norm_eps) : std::nullopt}),
        feed_forward_({o.embed_dim, o.dim_feedforward, o.activation, o.gated, o.mlp_bias}) {
    check_count("CausalBlock", "sliding_window", o.sliding_window);
    if (o.parallel_residual && o.post_norms)
      throw_error("CausalBlock: parallel_residual together with post_norms");
    for (Norm<Scalar>* norm : {&norm1_, &norm2_, &post_norm1_, &post_norm2_})
      *norm = Norm<Scalar>({o.embed_dim, o.norm_eps, o.norm});
    if (o.alibi) slopes_ = alibi_slopes<Scalar>(o.num_heads);
  }

  const CausalBlockOptions& options() const { return options_; }
  void set_rotary(std::shared_ptr<const Rotary<Scalar>> rotary) { self_attn_.set_rotary(std::move(rotary)); }

  template <class Visitor>
  void parameters(Visitor&& visit) {
    self_attn_.parameters(prefixed("self_attn", visit));
    feed_forward_.parameters(visit);
    norm1_.parameters(prefixed("norm1", visit));
    norm2_.parameters(prefixed("norm2", visit));
    if (!options_.post_norms) return;
    post_norm1_.parameters(prefixed("post_norm1", visit));
    post_norm2_.parameters(prefixed("post_norm2", visit));
  }

  KVCache<Scalar> make_cache(Index batch) const {
    const MultiHeadAttentionOptions& o = self_attn_.options();
    return KVCache<Scalar>({.batch = batch,
                            .num_kv_heads = o.num_kv_heads,
                            .head_dim = o.head_dim,
                            .window = options_.sliding_window});
  }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const { return self_attn_.assigned() && feed_forward_.assigned(); }

  /// T more tokens of each sequence of the cache, in place. x [B, T, E]. A call that fails leaves the cache
  /// as it was.
  void forward(Context& context, TensorView<Scalar, 3> x, KVCache<Scalar>& cache) const {
    detail::check_assigned(context, "CausalBlock", *this);
    detail::check_rows_in_place<Scalar>(context, "CausalBlock", x, x, options_.embed_dim);
    if (x.empty()) return;
    detail::Appending<Scalar> appending("CausalBlock", cache, context.measuring());
    Frame frame(context.workspace());
    const TensorView<Scalar, 3> sum = frame.tensor<Scalar>(x.shape()),
                                normed = frame.tensor<Scalar>(x.shape());
    const auto plus = [](TensorView<const Scalar, 3> residual) { return Epilogue<Scalar>{{}, residual}; };
    const AttentionOptions<Scalar> attention = attention_options(cache, x.size(1));
    norm1_.forward(context, x, normed);
    if (options_.post_norms) {
      self_attn_.forward(context, normed, cache, attention, sum);
      post_norm1_.forward(context, sum, normed);
      add(context, normed, x);
      norm2_.forward(context, x, normed);
      feed_forward_.forward(context, normed, sum);
      post_norm2_.forward(context, sum, normed);
      add(context, normed, x);
    } else {
      self_attn_.forward(context, normed, cache, attention, sum, plus(x));
      norm2_.forward(context, options_.parallel_residual ? x : sum, normed);
      feed_forward_.forward(context, normed, x, plus(sum));
    }
    appending.keep();
  }

 private:
  AttentionOptions<Scalar> attention_options(const KVCache<Scalar>& cache, Index tokens) const {
    AttentionOptions<Scalar> o{.scale = options_.scale, .softcap = options_.softcap};
    o.mask = options_.sliding_window > 0
                 ? sliding_window(options_.sliding_window - 1, 0, Corner::bottom_right)
                 : causal(Corner::bottom_right);
    if (options_.alibi)
      // The lengths count the new tokens when this is called: query 0 is the first of them.
      o.modifier = [slopes = slopes_.data(), lengths = cache.lengths().data(), tokens](
                       const Scalar& score, Index b, Index h, Index q, Index k) {
        return Alibi<Scalar>{slopes, lengths[b] - tokens}(score, b, h, q, k);
      };
    return o;
  }
  /// y += x.
  static void add(Context& context, const Rows<const Scalar>& x, const Rows<Scalar>& y) {
    context.parallel(x.count(), context.workers(x.count(), static_cast<double>(x.count() * x.width())),
                     [&](Index r, int) {
                       const Scalar* from = x.row(r);
                       Scalar* to = y.row(r);
                       for (Index i = 0; i < x.width(); ++i) to[i] = to[i] + from[i];
                     });
  }

  CausalBlockOptions options_;
  MultiHeadAttention<Scalar> self_attn_;
  FeedForward<Scalar> feed_forward_;
  Norm<Scalar> norm1_, norm2_, post_norm1_, post_norm2_;
  std::vector<Scalar> slopes_;
};

}  // namespace attend::inline ATTEND_ABI
