// EncoderBlock: self-attention and feed-forward, each with residual and norm, first or last.
#pragma once

#include <attend/feed_forward.hpp>
#include <attend/multi_head_attention.hpp>
#include <attend/norm.hpp>

namespace attend::inline ATTEND_ABI {

struct EncoderBlockOptions {
  Index embed_dim = 0;
  Index num_heads = 1;
  Index num_kv_heads = 0;  // 0: num_heads
  Index head_dim = 0;      // 0: embed_dim / num_heads
  Index dim_feedforward = 2048;
  Activation activation = Activation::relu;
  bool gated = false;       // see FeedForward
  bool norm_first = false;  // x + f(norm(x)) instead of norm(x + f(x))
  NormKind norm = NormKind::layer;
  double layer_norm_eps = 1e-5;
  bool bias = true;  // of the linear layers, and of the norms where they are LayerNorms
};

/// Parameters: self_attn.*, linear1.*, linear2.*, norm1.*, norm2.*.
/// https://pytorch.org/docs/stable/generated/torch.nn.TransformerEncoderLayer.html
template <class Scalar>
class EncoderBlock {
 public:
  EncoderBlock() = default;
  explicit EncoderBlock(const EncoderBlockOptions& o)
      : options_(o),
        self_attn_({.embed_dim = o.embed_dim,
                    .num_heads = o.num_heads,
                    .num_kv_heads = o.num_kv_heads,
                    .head_dim = o.head_dim,
                    .bias = o.bias}),
        feed_forward_({o.embed_dim, o.dim_feedforward, o.activation, o.gated, o.bias}),
        norm1_(detail::block_norm(o.embed_dim, o.layer_norm_eps, o.norm, o.bias)),
        norm2_(detail::block_norm(o.embed_dim, o.layer_norm_eps, o.norm, o.bias)) {}

  const EncoderBlockOptions& options() const { return options_; }

  template <class Visitor>
  void parameters(Visitor&& visit) {
    self_attn_.parameters(prefixed("self_attn", visit));
    feed_forward_.parameters(visit);
    norm1_.parameters(prefixed("norm1", visit));
    norm2_.parameters(prefixed("norm2", visit));
  }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const { return self_attn_.assigned() && feed_forward_.assigned(); }

  /// x [B, T, E] -> out [B, T, E]; out may be x, but not overlap it otherwise.
  void forward(Context& context, TensorView<const Scalar, 3> x, const AttentionOptions<Scalar>& attention,
               TensorView<Scalar, 3> out) const {
    detail::check_assigned(context, "EncoderBlock", *this);
    detail::check_rows_in_place<Scalar>(context, "EncoderBlock", x, out, options_.embed_dim);
    if (detail::gives_more(attention))
      detail::check_outputs_apart(context, "EncoderBlock", attention, {{"x", x}, {"out", out}});
    if (x.empty()) return;
    Frame frame(context.workspace());
    const TensorView<Scalar, 3> sum = frame.tensor<Scalar>(x.shape()),
                                normed = frame.tensor<Scalar>(x.shape());
    const auto plus = [](TensorView<const Scalar, 3> residual) { return Epilogue<Scalar>{{}, residual}; };
    if (options_.norm_first) {
      norm1_.forward(context, x, normed);
      self_attn_.forward(context, normed, attention, sum, plus(x));
      norm2_.forward(context, sum, normed);
      feed_forward_.forward(context, normed, out, plus(sum));
    } else {
      self_attn_.forward(context, x, attention, sum, plus(x));
      norm1_.forward(context, sum, normed);
      feed_forward_.forward(context, normed, sum, plus(normed));
      norm2_.forward(context, sum, out);
    }
  }
  Tensor<Scalar, 3> operator()(TensorView<const Scalar, 3> x,
                               const AttentionOptions<Scalar>& attention = {}) const {
    Tensor<Scalar, 3> out(x.shape());
    forward(default_context(), x, attention, out.view());
    return out;
  }

 private:
  EncoderBlockOptions options_;
  MultiHeadAttention<Scalar> self_attn_;
  FeedForward<Scalar> feed_forward_;
  Norm<Scalar> norm1_, norm2_;
};

}  // namespace attend::inline ATTEND_ABI
