// MultiHeadAttention: projections, attention of all heads, output projection; self and cross.
#pragma once

#include <string>

#include <attend/linear.hpp>
#include <attend/scaled_dot_product_attention.hpp>

namespace attend {

struct MultiHeadAttentionOptions {
  Index embed_dim = 0;
  Index num_heads = 1;
  Index num_kv_heads = 0;  // 0: num_heads. Fewer: grouped (multi) query attention
  Index head_dim = 0;      // 0: embed_dim / num_heads
  Index kdim = 0;          // features of the keys' input; 0: embed_dim
  Index vdim = 0;          // features of the values' input; 0: embed_dim
  bool bias = true;        // of all projections
};

/// Parameters, as torch.nn.MultiheadAttention names them: in_proj_weight [(H + 2 H_kv) D, E] and in_proj_bias, the
/// rows of Q, K and V in this order; where kdim or vdim differ from embed_dim, q_proj_weight, k_proj_weight and
/// v_proj_weight instead of in_proj_weight; out_proj.weight [E, H D], out_proj.bias.
/// https://pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html
template <class Scalar>
class MultiHeadAttention {
 public:
  MultiHeadAttention() = default;
  explicit MultiHeadAttention(const MultiHeadAttentionOptions& options) : options_(complete(options)) {
    const Index queries = options_.num_heads * options_.head_dim, keys = options_.num_kv_heads * options_.head_dim;
    if (fused()) {
      in_proj_ = Weight<Scalar>({queries, keys, keys}, options_.embed_dim);
      if (options_.bias) in_bias_ = Bias<Scalar>(in_proj_);
    } else {
      q_proj_ = Weight<Scalar>({queries}, options_.embed_dim);
      k_proj_ = Weight<Scalar>({keys}, options_.kdim);
      v_proj_ = Weight<Scalar>({keys}, options_.vdim);
      if (options_.bias) in_bias_ = Bias<Scalar>(Weight<Scalar>({queries, keys, keys}, 0));
    }
    out_proj_ = Linear<Scalar>({.in_features = queries, .out_features = options_.embed_dim, .bias = options_.bias});
  }

  const MultiHeadAttentionOptions& options() const { return options_; }

  template <class Visitor>
  void parameters(Visitor&& visit) {
    if (fused()) {
      visit("in_proj_weight", in_proj_.parameter());
    } else {
      visit("q_proj_weight", q_proj_.parameter());
      visit("k_proj_weight", k_proj_.parameter());
      visit("v_proj_weight", v_proj_.parameter());
    }
    if (options_.bias) visit("in_proj_bias", in_bias_.parameter());
    out_proj_.parameters(prefixed("out_proj", visit));
  }

  /// Self-attention. x [B, T, E] -> out [B, T, E]. `epilogue` follows in the output projection's pass.
  void forward(Context& context, TensorView<const Scalar, 3> x, const AttentionOptions<Scalar>& options,
               TensorView<Scalar, 3> out, const Epilogue<Scalar>& epilogue = {}) const {
    forward(context, x, x, x, options, out, epilogue);
  }
  void forward(Context& context, TensorView<const Scalar, 3> x, TensorView<Scalar, 3> out) const {
    forward(context, x, x, x, {}, out);
  }
  /// query [B, Tq, E], key [B, Tk, kdim], value [B, Tk, vdim] -> out [B, Tq, E].
  void forward(Context& context, TensorView<const Scalar, 3> query, TensorView<const Scalar, 3> key,
               TensorView<const Scalar, 3> value, const AttentionOptions<Scalar>& options, TensorView<Scalar, 3> out,
               const Epilogue<Scalar>& epilogue = {}) const {
    const Index B = query.size(0), Tq = query.size(1), Tk = key.size(1);
    check_shape("MultiHeadAttention (query)", Shape<3>{B, Tq, options_.embed_dim}, query.shape());
    check_shape("MultiHeadAttention (key)", Shape<3>{B, Tk, options_.kdim}, key.shape());
    check_shape("MultiHeadAttention (value)", Shape<3>{B, Tk, options_.vdim}, value.shape());
    check_shape("MultiHeadAttention (output)", query.shape(), out.shape());
    if (out.empty()) return;
    const Index H = options_.num_heads, G = options_.num_kv_heads, D = options_.head_dim;
    const bool same_kv = key.data() == value.data() && options_.kdim == options_.vdim;
    const bool self = same_kv && query.data() == key.data() && Tq == Tk && query.strides() == key.strides();

    Frame frame(context.workspace());
    const Slots at = slots();
    const detail::Scratch<Scalar, 2> q(frame, {B * Tq, self && fused() ? at.end : at.key});
    const detail::Scratch<Scalar, 2> kv(frame, {self && fused() ? 0 : B * Tk, at.end - at.key});
    TensorView<Scalar, 2> keys = kv.view(), values = kv.view();  // columns from `key_at` and `value_at`
    Index key_at = 0, value_at = at.value - at.key;
    if (fused() && self) {
      project(context, query, in_proj_, 0, at.end, q.view());
      keys = values = q.view();
      key_at = at.key, value_at = at.value;
    } else if (fused()) {
      project(context, query, in_proj_, 0, at.key, q.view());
      if (same_kv) {
        project(context, key, in_proj_, at.key, at.end, kv.view());
      } else {
        project(context, key, in_proj_, at.key, at.value, kv.view().slice(1, 0, value_at));
        project(context, value, in_proj_, at.value, at.end, kv.view().slice(1, value_at, at.end - at.key));
      }
    } else {
      project(context, query, q_proj_, 0, q_proj_.width(), q.view(), 0);
      project(context, key, k_proj_, 0, k_proj_.width(), kv.view().slice(1, 0, value_at), at.key);
      project(context, value, v_proj_, 0, v_proj_.width(), kv.view().slice(1, value_at, at.end - at.key), at.value);
    }

    const detail::Scratch<Scalar, 3> mixed(frame, {B, Tq, H * D});
    AttentionOptions<Scalar> inner = options;
    inner.average_weights = {};
    const bool average = options.average_weights.data() != nullptr;
    const detail::Scratch<Scalar, 4> all_weights(frame, {average && options.weights.data() == nullptr ? B : 0, H, Tq, Tk});
    if (average) {
      check_shape("MultiHeadAttention (average_weights)", Shape<3>{B, Tq, Tk}, options.average_weights.shape());
      if (options.weights.data() == nullptr) inner.weights = all_weights.view();
    }
    scaled_dot_product_attention<Scalar>(context, head_view(q.view(), 0, B, H, Tq, D), head_view(keys, key_at, B, G, Tk, D),
                                         head_view(values, value_at, B, G, Tk, D), inner, heads(mixed.view(), H));
    if (average) {
      context.parallel(1, 1, [&](Index, int) { average_over_heads(inner.weights, options.average_weights); });
    }
    out_proj_.template forward<2>(context, mixed.view().rows(), out.rows(), epilogue);
  }

  Tensor<Scalar, 3> operator()(TensorView<const Scalar, 3> x, const AttentionOptions<Scalar>& options = {}) const {
    return (*this)(x, x, x, options);
  }
  Tensor<Scalar, 3> operator()(TensorView<const Scalar, 3> query, TensorView<const Scalar, 3> key,
                               TensorView<const Scalar, 3> value, const AttentionOptions<Scalar>& options = {}) const {
    Tensor<Scalar, 3> out(query.shape());
    forward(default_context(), query, key, value, options, out.view());
    return out;
  }

 private:
  struct Slots {
    Index key, value, end;  // columns of the projections, those of Q from 0 on
  };
  static MultiHeadAttentionOptions complete(MultiHeadAttentionOptions o) {
    if (o.num_kv_heads == 0) o.num_kv_heads = o.num_heads;
    if (o.num_heads < 1 || o.num_kv_heads < 1 || o.num_heads % o.num_kv_heads != 0)
      fail("MultiHeadAttention: num_heads " + std::to_string(o.num_heads) + " is not a multiple of num_kv_heads " +
           std::to_string(o.num_kv_heads));
    if (o.head_dim == 0) {
      if (o.embed_dim % o.num_heads != 0)
        fail("MultiHeadAttention: embed_dim " + std::to_string(o.embed_dim) + " is not divisible by num_heads " +
             std::to_string(o.num_heads));
      o.head_dim = o.embed_dim / o.num_heads;
    }
    if (o.kdim == 0) o.kdim = o.embed_dim;
    if (o.vdim == 0) o.vdim = o.embed_dim;
    return o;
  }
  bool fused() const { return options_.kdim == options_.embed_dim && options_.vdim == options_.embed_dim; }
  Slots slots() const {
    if (fused()) return {in_proj_.offset(1), in_proj_.offset(2), in_proj_.width()};
    return {q_proj_.width(), q_proj_.width() + k_proj_.width(), q_proj_.width() + k_proj_.width() + v_proj_.width()};
  }
  /// Columns [begin, end) of one weight; its bias begins `bias_at` slots later.
  void project(Context& context, TensorView<const Scalar, 3> x, const Weight<Scalar>& weight, Index begin, Index end,
               TensorView<Scalar, 2> out, Index bias_at = 0) const {
    detail::product<Scalar>(context, detail::rows_of("MultiHeadAttention", x.rows()), weight, begin, end, in_bias_, {}, out,
                            bias_at);
  }
  static TensorView<const Scalar, 4> head_view(TensorView<Scalar, 2> rows, Index column, Index B, Index H, Index T, Index D) {
    return {rows.data() + column, {B, H, T, D}, {T * rows.stride(0), D, rows.stride(0), 1}};
  }
  static void average_over_heads(TensorView<Scalar, 4> weights, TensorView<Scalar, 3> out) {
    const Index H = weights.size(1);
    for (Index b = 0; b < weights.size(0); ++b)
      for (Index q = 0; q < weights.size(2); ++q)
        for (Index k = 0; k < weights.size(3); ++k) {
          Scalar sum(0);
          for (Index h = 0; h < H; ++h) sum = sum + weights(b, h, q, k);
          out(b, q, k) = sum / Scalar(static_cast<double>(H));
        }
  }

  MultiHeadAttentionOptions options_;
  Weight<Scalar> in_proj_, q_proj_, k_proj_, v_proj_;
  Bias<Scalar> in_bias_;
  Linear<Scalar> out_proj_;
};

}  // namespace attend
