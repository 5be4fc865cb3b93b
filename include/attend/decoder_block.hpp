// DecoderBlock: self-attention, cross-attention to an encoder's output, and feed-forward.
#pragma once

#include <attend/detail/cache_calls.hpp>
#include <attend/encoder_block.hpp>

namespace attend::inline ATTEND_ABI {

struct DecoderBlockOptions {
  Index embed_dim = 0;
  Index num_heads = 1;
  Index num_kv_heads = 0;  // 0: num_heads
  Index head_dim = 0;      // 0: embed_dim / num_heads
  Index memory_dim = 0;    // features of the encoder's output; 0: embed_dim
  Index dim_feedforward = 2048;
  Activation activation = Activation::relu;
  bool gated = false;
  bool norm_first = false;
  NormKind norm = NormKind::layer;
  double layer_norm_eps = 1e-5;
  bool bias = true;  // of the linear layers, and of the norms where they are LayerNorms
};

/// Parameters: self_attn.*, multihead_attn.* (cross-attention), linear1.*, linear2.*, norm1.*, norm2.*,
/// norm3.*. https://pytorch.org/docs/stable/generated/torch.nn.TransformerDecoderLayer.html
template <class Scalar>
class DecoderBlock {
 public:
  DecoderBlock() = default;
  explicit DecoderBlock(const DecoderBlockOptions& o)
      : options_(o),
        self_attn_({.embed_dim = o.embed_dim,
                    .num_heads = o.num_heads,
                    .num_kv_heads = o.num_kv_heads,
                    .head_dim = o.head_dim,
                    .bias = o.bias}),
        multihead_attn_({.embed_dim = o.embed_dim,
                         .num_heads = o.num_heads,
                         .num_kv_heads = o.num_kv_heads,
                         .head_dim = o.head_dim,
                         .kdim = o.memory_dim,
                         .vdim = o.memory_dim,
                         .bias = o.bias}),
        feed_forward_({o.embed_dim, o.dim_feedforward, o.activation, o.gated, o.bias}),
        norm1_(detail::block_norm(o.embed_dim, o.layer_norm_eps, o.norm, o.bias)),
        norm2_(detail::block_norm(o.embed_dim, o.layer_norm_eps, o.norm, o.bias)),
        norm3_(detail::block_norm(o.embed_dim, o.layer_norm_eps, o.norm, o.bias)) {}

  const DecoderBlockOptions& options() const { return options_; }

  template <class Visitor>
  void parameters(Visitor&& visit) {
    self_attn_.parameters(prefixed("self_attn", visit));
    multihead_attn_.parameters(prefixed("multihead_attn", visit));
    feed_forward_.parameters(visit);
    norm1_.parameters(prefixed("norm1", visit));
    norm2_.parameters(prefixed("norm2", visit));
    norm3_.parameters(prefixed("norm3", visit));
  }

  const MultiHeadAttention<Scalar>& self_attn() const { return self_attn_; }
  const MultiHeadAttention<Scalar>& multihead_attn() const { return multihead_attn_; }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const {
    return self_attn_.assigned() && multihead_attn_.assigned() && feed_forward_.assigned();
  }

  /// x [B, T, E], memory [B, S, memory_dim] -> out [B, T, E]; out may be x, but not overlap it otherwise.
  /// `self` is of the attention among the targets (usually {.mask = causal()}), `cross` of that to the
  /// memory.
  void forward(Context& context, TensorView<const Scalar, 3> x, TensorView<const Scalar, 3> memory,
               const AttentionOptions<Scalar>& self, const AttentionOptions<Scalar>& cross,
               TensorView<Scalar, 3> out) const {
    detail::check_apart(context, "DecoderBlock", {"out", out}, {{"memory", memory}});
    for (const AttentionOptions<Scalar>* options : {&self, &cross})
      if (detail::gives_more(*options))
        detail::check_outputs_apart(context, "DecoderBlock", *options,
                                    {{"x", x}, {"memory", memory}, {"out", out}});
    run(
        context, x, out,
        [&](TensorView<const Scalar, 3> from, TensorView<Scalar, 3> to, const Epilogue<Scalar>& epilogue) {
          self_attn_.forward(context, from, self, to, epilogue);
        },
        [&](TensorView<const Scalar, 3> from, TensorView<Scalar, 3> to, const Epilogue<Scalar>& epilogue) {
          multihead_attn_.forward(context, from, memory, memory, cross, to, epilogue);
        });
  }
  /// T more tokens of each sequence: `targets` holds what the tokens so far left, and takes these; `memory`
  /// is what multihead_attn().append_memory made of the encoder's output. A call that fails leaves them as
  /// they were.
  void forward(Context& context, TensorView<const Scalar, 3> x, KVCache<Scalar>& targets,
               const KVCache<Scalar>& memory, const AttentionOptions<Scalar>& self,
               const AttentionOptions<Scalar>& cross, TensorView<Scalar, 3> out) const {
    for (const AttentionOptions<Scalar>* options : {&self, &cross})
      if (detail::gives_more(*options))
        detail::check_outputs_apart(context, "DecoderBlock", *options, {{"x", x}, {"out", out}});
    detail::Appending<Scalar> appending("DecoderBlock", targets, context.measuring());
    run(
        context, x, out,
        [&](TensorView<const Scalar, 3> from, TensorView<Scalar, 3> to, const Epilogue<Scalar>& epilogue) {
          self_attn_.forward(context, from, targets, self, to, epilogue);
        },
        [&](TensorView<const Scalar, 3> from, TensorView<Scalar, 3> to, const Epilogue<Scalar>& epilogue) {
          multihead_attn_.forward_cross(context, from, memory, cross, to, epilogue);
        });
    appending.keep();
  }
  Tensor<Scalar, 3> operator()(TensorView<const Scalar, 3> x, TensorView<const Scalar, 3> memory,
                               const AttentionOptions<Scalar>& self = {},
                               const AttentionOptions<Scalar>& cross = {}) const {
    Tensor<Scalar, 3> out(x.shape());
    forward(default_context(), x, memory, self, cross, out.view());
    return out;
  }

 private:
  /// Norms and residuals around the two attentions and the feed-forward.
  template <class SelfAttention, class CrossAttention>
  void run(Context& context, TensorView<const Scalar, 3> x, TensorView<Scalar, 3> out,
           SelfAttention&& attend_self, CrossAttention&& attend_memory) const {
    detail::check_assigned(context, "DecoderBlock", *this);
    detail::check_rows_in_place<Scalar>(context, "DecoderBlock", x, out, options_.embed_dim);
    if (x.empty()) return;
    Frame frame(context.workspace());
    const TensorView<Scalar, 3> sum = frame.tensor<Scalar>(x.shape()),
                                normed = frame.tensor<Scalar>(x.shape());
    const auto plus = [](TensorView<const Scalar, 3> residual) { return Epilogue<Scalar>{{}, residual}; };
    if (options_.norm_first) {
      const TensorView<Scalar, 3> second = frame.tensor<Scalar>(x.shape());
      norm1_.forward(context, x, normed);
      attend_self(normed, sum, plus(x));
      norm2_.forward(context, sum, normed);
      attend_memory(normed, second, plus(sum));
      norm3_.forward(context, second, normed);
      feed_forward_.forward(context, normed, out, plus(second));
    } else {
      attend_self(x, sum, plus(x));
      norm1_.forward(context, sum, normed);
      attend_memory(normed, sum, plus(normed));
      norm2_.forward(context, sum, normed);
      feed_forward_.forward(context, normed, sum, plus(normed));
      norm3_.forward(context, sum, out);
    }
  }

  DecoderBlockOptions options_;
  MultiHeadAttention<Scalar> self_attn_, multihead_attn_;
  FeedForward<Scalar> feed_forward_;
  Norm<Scalar> norm1_, norm2_, norm3_;
};

}  // namespace attend::inline ATTEND_ABI
