// MultiHeadAttention: projections, attention of all heads, output projection; self and cross.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <attend/detail/cache_calls.hpp>
#include <attend/kv_cache.hpp>
#include <attend/linear.hpp>
#include <attend/norm.hpp>
#include <attend/rotary.hpp>
#include <attend/scaled_dot_product_attention.hpp>

namespace attend::inline ATTEND_ABI {

struct MultiHeadAttentionOptions {
  Index embed_dim = 0;
  Index num_heads = 1;
  Index num_kv_heads = 0;      // 0: num_heads. Fewer: grouped (multi) query attention
  Index head_dim = 0;          // 0: embed_dim / num_heads
  Index kdim = 0;              // features of the keys' input; 0: embed_dim
  Index vdim = 0;              // features of the values' input; 0: embed_dim
  bool bias = true;            // of all projections
  bool bias_kv = false;        // one more key and value, learned, behind all others: PyTorch's add_bias_kv
  bool add_zero_attn = false;  // one more key and value of zeros, behind that
  std::optional<bool> out_bias = {};  // of the output projection, where it differs
  std::optional<double> qk_norm =
      {};  // eps of an RMSNorm over each head of Q and K (Qwen3), where there is one
};

/// Parameters, as torch.nn.MultiheadAttention names them: in_proj_weight [(H + 2 H_kv) D, E] and
/// in_proj_bias, the rows of Q, K and V in this order; where kdim or vdim differ from embed_dim,
/// q_proj_weight, k_proj_weight and v_proj_weight instead of in_proj_weight; out_proj.weight [E, H D],
/// out_proj.bias; with qk_norm q_norm.weight and k_norm.weight [D]; with bias_kv bias_k and bias_v [1, 1,
/// H_kv D]. https://pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html
template <class Scalar>
class MultiHeadAttention {
 public:
  MultiHeadAttention() = default;
  explicit MultiHeadAttention(const MultiHeadAttentionOptions& options) : options_(complete(options)) {
    const Index queries = checked_numel(Shape<2>{options_.num_heads, options_.head_dim}, sizeof(Scalar));
    const Index keys = checked_numel(Shape<2>{options_.num_kv_heads, options_.head_dim}, sizeof(Scalar));
    if (fused()) {
      in_proj_ = Weight<Scalar>({queries, keys, keys}, options_.embed_dim);
      if (options_.bias) in_bias_ = Bias<Scalar>(in_proj_);
    } else {
      q_proj_ = Weight<Scalar>({queries}, options_.embed_dim);
      k_proj_ = Weight<Scalar>({keys}, options_.kdim);
      v_proj_ = Weight<Scalar>({keys}, options_.vdim);
      if (options_.bias) in_bias_ = Bias<Scalar>(Weight<Scalar>({queries, keys, keys}, 0));
    }
    out_proj_ = Weight<Scalar>({options_.embed_dim}, queries);
    options_.out_bias = options_.out_bias.value_or(options_.bias);
    if (*options_.out_bias) out_bias_ = Bias<Scalar>(out_proj_);
    if (options_.bias_kv)
      bias_k_ = bias_v_ = Tensor<Scalar, 1>({keys}),
      bias_k_assigned_ = bias_v_assigned_ = detail::Assigned(1);
    if (options_.qk_norm)
      for (Norm<Scalar>* norm : {&q_norm_, &k_norm_})
        *norm = Norm<Scalar>({options_.head_dim, *options_.qk_norm, NormKind::rms, true, false});
  }

  const MultiHeadAttentionOptions& options() const { return options_; }
  /// Queries and keys of self-attention are rotated by their positions; layers of a model share the tables.
  /// Error where they are of another head_dim.
  void set_rotary(std::shared_ptr<const Rotary<Scalar>> rotary) {
    if (rotary != nullptr && rotary->options().head_dim != options_.head_dim)
      throw_error("MultiHeadAttention: rotary positions of head_dim ", rotary->options().head_dim,
                  ", expected ", options_.head_dim);
    rotary_ = std::move(rotary);
  }

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
    if (options_.bias_kv) {
      visit("bias_k", Parameter<Scalar>({1, 1, bias_k_.numel()}, bias_k_.data(), &bias_k_assigned_));
      visit("bias_v", Parameter<Scalar>({1, 1, bias_v_.numel()}, bias_v_.data(), &bias_v_assigned_));
    }
    visit("out_proj.weight", out_proj_.parameter());
    if (options_.out_bias.value_or(true)) visit("out_proj.bias", out_bias_.parameter());
    if (options_.qk_norm) {
      q_norm_.parameters(prefixed("q_norm", visit));
      k_norm_.parameters(prefixed("k_norm", visit));
    }
  }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const {
    const bool weights =
        fused() ? in_proj_.assigned() : q_proj_.assigned() && k_proj_.assigned() && v_proj_.assigned();
    const bool extra = !options_.bias_kv || (bias_k_assigned_.all() && bias_v_assigned_.all());
    return weights && (!options_.bias || in_bias_.assigned()) && extra && out_proj_.assigned() &&
           (!options_.out_bias.value_or(true) || out_bias_.assigned());
  }

  /// Self-attention. x [B, T, E] -> out [B, T, E]. `epilogue` follows in the output projection's pass. In all
  /// forms, `out` and what the options ask for overlap neither each other nor an input nor the residual.
  void forward(Context& context, TensorView<const Scalar, 3> x, const AttentionOptions<Scalar>& options,
               TensorView<Scalar, 3> out, const Epilogue<Scalar>& epilogue = {}) const {
    forward(context, x, x, x, options, out, epilogue);
  }
  void forward(Context& context, TensorView<const Scalar, 3> x, TensorView<Scalar, 3> out) const {
    forward(context, x, x, x, {}, out);
  }
  /// query [B, Tq, E], key [B, Tk, kdim], value [B, Tk, vdim] -> out [B, Tq, E].
  void forward(Context& context, TensorView<const Scalar, 3> query, TensorView<const Scalar, 3> key,
               TensorView<const Scalar, 3> value, const AttentionOptions<Scalar>& options,
               TensorView<Scalar, 3> out, const Epilogue<Scalar>& epilogue = {}) const {
    const Index B = query.size(0), Tq = query.size(1), Tk = key.size(1);
    detail::check_assigned(context, "MultiHeadAttention", *this);
    check_shape("MultiHeadAttention (query)", Shape<3>{B, Tq, options_.embed_dim}, query.shape());
    check_shape("MultiHeadAttention (key)", Shape<3>{B, Tk, options_.kdim}, key.shape());
    check_shape("MultiHeadAttention (value)", Shape<3>{B, Tk, options_.vdim}, value.shape());
    check_operands(context, query, key, value, options, epilogue, out);
    if (out.empty()) return;
    const Index H = options_.num_heads, G = options_.num_kv_heads, D = options_.head_dim;
    const bool same_kv = detail::same_places(key, value), self = same_kv && detail::same_places(query, key);

    Frame frame(context.workspace());
    const Slots at = columns();
    const TensorView<Scalar, 2> q = frame.tensor<Scalar>({B * Tq, self && fused() ? at.end : at.key});
    const TensorView<Scalar, 2> kv = frame.tensor<Scalar>({self && fused() ? 0 : B * Tk, at.end - at.key});
    TensorView<Scalar, 2> keys = kv, values = kv;  // columns from `key_at` and `value_at`
    Index key_at = 0, value_at = at.value - at.key;
    if (fused() && self) {
      project(context, query, in_proj_, 0, q);
      keys = values = q;
      key_at = at.key, value_at = at.value;
    } else if (fused()) {
      project(context, query, in_proj_, 0, q);
      if (same_kv) {
        project(context, key, in_proj_, at.key, kv);
      } else {
        project(context, key, in_proj_, at.key, kv.slice(1, 0, value_at));
        project(context, value, in_proj_, at.value, kv.slice(1, value_at, at.end - at.key));
      }
    } else {
      project(context, query, q_proj_, 0, q, 0);
      project(context, key, k_proj_, 0, kv.slice(1, 0, value_at), at.key);
      project(context, value, v_proj_, 0, kv.slice(1, value_at, at.end - at.key), at.value);
    }

    const auto query_heads = head_view(q, 0, B, H, Tq, D), key_heads = head_view(keys, key_at, B, G, Tk, D);
    normalize(context, q_norm_, query_heads);
    normalize(context, k_norm_, key_heads);
    if (rotary_ != nullptr) {
      if (!self) throw_error("MultiHeadAttention: rotary positions are of self-attention");
      rotate(context, query_heads, options.query_offsets, {});
      rotate(context, key_heads, options.key_offsets, {});
    }
    const auto value_heads = head_view(values, value_at, B, G, Tk, D);
    if (extra_keys() == 0)
      return finish(context, frame, Tk, options, out, epilogue,
                    [&](const AttentionOptions<Scalar>& inner, TensorView<Scalar, 4> mixed) {
                      detail::scaled_dot_product_attention<Scalar>(context, query_heads, key_heads,
                                                                   value_heads, inner, mixed);
                    });
    // The extra keys are visible to all, whatever the mask says of the others.
    if (!options.key_lengths.empty() || !options.key_offsets.empty())
      throw_error(
          "MultiHeadAttention: key_lengths and offsets are not supported together with bias_kv or "
          "add_zero_attn");
    const Shape<4> more{B, G, Tk + extra_keys(), D};
    const TensorView<Scalar, 4> more_keys = frame.tensor<Scalar>(more),
                                more_values = frame.tensor<Scalar>(more);
    context.parallel(1, 1, [&](Index, int) {
      append_extra(key_heads, bias_k_, more_keys);
      append_extra(value_heads, bias_v_, more_values);
    });
    AttentionOptions<Scalar> with_extra = options;
    Mask mask = options.mask;
    if (mask.adds())
      with_extra.mask = BeforeExtra<true>{{}, &mask, Tk};
    else if (mask)
      with_extra.mask = BeforeExtra<false>{{}, &mask, Tk};
    finish(context, frame, Tk + extra_keys(), with_extra, out, epilogue,
           [&](const AttentionOptions<Scalar>& inner, TensorView<Scalar, 4> mixed) {
             detail::scaled_dot_product_attention<Scalar>(context, query_heads, more_keys, more_values, inner,
                                                          mixed);
           });
  }

  /// Self-attention of T more tokens of each sequence of a cache, which takes their keys and values.
  /// Positions go on from the cache's lengths; the mask is usually causal(Corner::bottom_right). x [B, T, E]
  /// -> out [B, T, E]. A call that fails leaves the cache as it was.
  void forward(Context& context, TensorView<const Scalar, 3> x, KVCache<Scalar>& cache,
               const AttentionOptions<Scalar>& options, TensorView<Scalar, 3> out,
               const Epilogue<Scalar>& epilogue = {}) const {
    const Index B = x.size(0), T = x.size(1), G = options_.num_kv_heads, D = options_.head_dim;
    detail::check_assigned(context, "MultiHeadAttention", *this);
    check_shape("MultiHeadAttention (with a cache)", Shape<3>{cache.batch(), T, options_.embed_dim},
                x.shape());
    check_operands(context, x, x, x, options, epilogue, out);
    if (!fused() || extra_keys() > 0)
      throw_error(
          "MultiHeadAttention: a cache together with kdim, vdim, bias_kv or add_zero_attn is not supported");
    check_sizes(cache);
    if (out.empty()) return;
    Frame frame(context.workspace());
    const Slots at = columns();
    const TensorView<Scalar, 2> qkv = frame.tensor<Scalar>({B * T, at.end});
    project(context, x, in_proj_, 0, qkv);
    const auto query = head_view(qkv, 0, B, options_.num_heads, T, D),
               key = head_view(qkv, at.key, B, G, T, D);
    normalize(context, q_norm_, query);
    normalize(context, k_norm_, key);
    if (rotary_ != nullptr) {
      rotate(context, query, {}, cache.lengths());
      rotate(context, key, {}, cache.lengths());
    }
    detail::Appending<Scalar> appending("MultiHeadAttention", cache, context.measuring());
    if (!context.measuring()) cache.append(key, head_view(qkv, at.value, B, G, T, D));
    appending.count(T);
    finish(context, frame, cache.max_length(), options, out, epilogue,
           [&](const AttentionOptions<Scalar>& inner, TensorView<Scalar, 4> mixed) {
             detail::scaled_dot_product_attention<Scalar>(context, query, cache, inner, mixed);
           });
    appending.keep();
  }

  /// Cross-attention's keys and values of a memory into a cache, once for all queries to come. memory [B, S,
  /// kdim].
  void append_memory(Context& context, TensorView<const Scalar, 3> memory, KVCache<Scalar>& cache) const {
    const Index B = memory.size(0), S = memory.size(1), G = options_.num_kv_heads, D = options_.head_dim;
    check_cross();
    if (options_.kdim != options_.vdim)
      throw_error("MultiHeadAttention: keys and values of one memory, but kdim is ", options_.kdim,
                  " and vdim ", options_.vdim);
    detail::check_assigned(context, "MultiHeadAttention", *this);
    check_shape("MultiHeadAttention (memory)", Shape<3>{cache.batch(), S, options_.kdim}, memory.shape());
    Rows<const Scalar>(memory).check_input("MultiHeadAttention (memory)", options_.kdim);
    check_sizes(cache);
    if (memory.empty()) return;
    Frame frame(context.workspace());
    const Slots at = columns();
    const TensorView<Scalar, 2> kv = frame.tensor<Scalar>({B * S, at.end - at.key});
    if (fused()) {
      project(context, memory, in_proj_, at.key, kv);
    } else {
      project(context, memory, k_proj_, 0, kv.slice(1, 0, at.value - at.key), at.key);
      project(context, memory, v_proj_, 0, kv.slice(1, at.value - at.key, at.end - at.key), at.value);
    }
    const auto key = head_view(kv, 0, B, G, S, D);
    normalize(context, k_norm_, key);
    if (!context.measuring()) cache.append(key, head_view(kv, at.value - at.key, B, G, S, D));
  }
  /// Cross-attention to the keys and values of append_memory. x [B, T, E] -> out [B, T, E].
  void forward_cross(Context& context, TensorView<const Scalar, 3> x, const KVCache<Scalar>& cache,
                     const AttentionOptions<Scalar>& options, TensorView<Scalar, 3> out,
                     const Epilogue<Scalar>& epilogue = {}) const {
    const Index B = x.size(0), T = x.size(1), D = options_.head_dim;
    check_cross();
    detail::check_assigned(context, "MultiHeadAttention", *this);
    check_shape("MultiHeadAttention (with a memory)", Shape<3>{cache.batch(), T, options_.embed_dim},
                x.shape());
    check_sizes(cache);
    check_operands(context, x, x, x, options, epilogue, out);
    if (out.empty()) return;
    Frame frame(context.workspace());
    const TensorView<Scalar, 2> q = frame.tensor<Scalar>({B * T, columns().key});
    project(context, x, fused() ? in_proj_ : q_proj_, 0, q);
    const auto query = head_view(q, 0, B, options_.num_heads, T, D);
    normalize(context, q_norm_, query);
    finish(context, frame, cache.max_length(), options, out, epilogue,
           [&](const AttentionOptions<Scalar>& inner, TensorView<Scalar, 4> mixed) {
             detail::scaled_dot_product_attention<Scalar>(context, query, cache, inner, mixed);
           });
  }

  Tensor<Scalar, 3> operator()(TensorView<const Scalar, 3> x,
                               const AttentionOptions<Scalar>& options = {}) const {
    return (*this)(x, x, x, options);
  }
  Tensor<Scalar, 3> operator()(TensorView<const Scalar, 3> query, TensorView<const Scalar, 3> key,
                               TensorView<const Scalar, 3> value,
                               const AttentionOptions<Scalar>& options = {}) const {
    Tensor<Scalar, 3> out(query.shape());
    forward(default_context(), query, key, value, options, out.view());
    return out;
  }

 private:
  struct Slots {
    Index key, value, end;  // columns of the projections, those of Q from 0 on
  };
  /// A mask over the keys before the extra ones.
  template <bool Adds>
  struct BeforeExtra : masks::Expression {
    static constexpr bool adds = Adds;
    Mask* mask;
    Index keys;
    void bind(AttentionSizes sizes) {
      sizes.keys = keys;
      mask->bind(sizes);
    }
    bool operator()(Index b, Index h, Index q, Index k) const { return k >= keys || (*mask)(b, h, q, k); }
    void add(void* scores, Index b, Index h, Index q, Index k0, Index n) const {
      mask->add(scores, b, h, q, k0, (std::min)(n, keys));
    }
  };
  /// Error where inputs are no rows, or something is written where it is read.
  void check_operands(const Context& context, TensorView<const Scalar, 3> query,
                      TensorView<const Scalar, 3> key, TensorView<const Scalar, 3> value,
                      const AttentionOptions<Scalar>& options, const Epilogue<Scalar>& epilogue,
                      TensorView<Scalar, 3> out) const {
    const char* who = "MultiHeadAttention";
    const Rows<const Scalar> x(query);
    const Rows<Scalar> y(out);
    x.check_input("MultiHeadAttention (query)", query.size(2));
    y.check_output(who, x.leading(), options_.embed_dim);
    detail::check_operands(context, who, x, epilogue.residual, y);
    if (!detail::same_places(query, key) || !detail::same_places(key, value)) {
      Rows<const Scalar>(key).check_input("MultiHeadAttention (key)", key.size(2));
      Rows<const Scalar>(value).check_input("MultiHeadAttention (value)", value.size(2));
      detail::check_apart(context, who, {"out", out}, {{"key", key}, {"value", value}});
    }
    if (!options.sinks.empty())
      detail::check_apart(context, who, {"out", out},
                          {{"sinks", TensorView<const Scalar, 1>(
                                         options.sinks.data(), {static_cast<Index>(options.sinks.size())})}});
    if (!detail::gives_more(options)) return;
    detail::check_outputs_apart(context, who, options,
                                {{"query", query},
                                 {"key", key},
                                 {"value", value},
                                 {"the residual", epilogue.residual.view()},
                                 {"out", out}});
  }
  void check_sizes(const KVCache<Scalar>& cache) const {
    const KVCacheOptions& o = cache.options();
    check_shape("MultiHeadAttention (a cache's [num_kv_heads, head_dim, value_dim])",
                Shape<3>{options_.num_kv_heads, options_.head_dim, options_.head_dim},
                Shape<3>{o.num_kv_heads, o.head_dim, o.value_dim});
  }
  /// What a cache of cross-attention's keys and values cannot take in.
  void check_cross() const {
    if (extra_keys() > 0)
      throw_error("MultiHeadAttention: a cache together with bias_kv or add_zero_attn is not supported");
    if (rotary_ != nullptr) throw_error("MultiHeadAttention: rotary positions are of self-attention");
  }
  Index extra_keys() const { return (options_.bias_kv ? 1 : 0) + (options_.add_zero_attn ? 1 : 0); }
  /// out = tokens, the learned one if there is one, zeros. [B, G, T, D] -> [B, G, T + extra, D].
  void append_extra(TensorView<const Scalar, 4> tokens, const Tensor<Scalar, 1>& learned,
                    TensorView<Scalar, 4> out) const {
    const Index T = tokens.size(2), D = tokens.size(3);
    for (Index b = 0; b < out.size(0); ++b)
      for (Index g = 0; g < out.size(1); ++g)
        for (Index t = 0; t < out.size(2); ++t)
          for (Index d = 0; d < D; ++d)
            out(b, g, t, d) = t < T                        ? tokens(b, g, t, d)
                              : t == T && options_.bias_kv ? learned(g * D + d)
                                                           : Scalar(0);
  }
  static MultiHeadAttentionOptions complete(MultiHeadAttentionOptions o) {
    for (Index size : {o.embed_dim, o.num_kv_heads, o.head_dim, o.kdim, o.vdim})
      if (size < 0) throw_error("MultiHeadAttention: a size of ", size);
    check_size("MultiHeadAttention", "embed_dim", o.embed_dim);
    if (o.num_kv_heads == 0) o.num_kv_heads = o.num_heads;
    if (o.num_heads < 1 || o.num_kv_heads < 1 || o.num_heads % o.num_kv_heads != 0)
      throw_error("MultiHeadAttention: num_heads ", o.num_heads, " is not a multiple of num_kv_heads ",
                  o.num_kv_heads);
    if (o.head_dim == 0) {
      if (o.embed_dim % o.num_heads != 0)
        throw_error("MultiHeadAttention: embed_dim ", o.embed_dim, " is not divisible by num_heads ",
                    o.num_heads);
      o.head_dim = o.embed_dim / o.num_heads;
    }
    if (o.kdim == 0) o.kdim = o.embed_dim;
    if (o.vdim == 0) o.vdim = o.embed_dim;
    return o;
  }
  bool fused() const { return options_.kdim == options_.embed_dim && options_.vdim == options_.embed_dim; }
  Slots columns() const {
    if (fused()) return {in_proj_.offset(1), in_proj_.offset(2), in_proj_.width()};
    return {q_proj_.width(), q_proj_.width() + k_proj_.width(),
            q_proj_.width() + k_proj_.width() + v_proj_.width()};
  }
  /// The columns of one weight from `begin` on; its bias begins `bias_at` slots later.
  void project(Context& context, TensorView<const Scalar, 3> x, const Weight<Scalar>& weight, Index begin,
               TensorView<Scalar, 2> out, Index bias_at = 0) const {
    detail::product<Scalar>(context, x.rows(), weight, begin, in_bias_, {}, out, bias_at);
  }
  /// qk_norm: RMSNorm of each head, in place.
  void normalize(Context& context, const Norm<Scalar>& norm, TensorView<Scalar, 4> x) const {
    if (!options_.qk_norm) return;
    for (Index b = 0; b < x.size(0); ++b)
      for (Index h = 0; h < x.size(1); ++h) norm.forward(context, x[b][h], x[b][h]);
  }
  /// By positions from 0 on, of each sequence of a ragged batch or of each batch, or from `starts` on.
  void rotate(Context& context, TensorView<Scalar, 4> x, std::span<const Index> offsets,
              std::span<const Index> starts) const {
    if (!starts.empty()) return rotary_->apply(context, x, starts);
    if (offsets.empty()) return rotary_->apply(context, x);
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b)
      rotary_->apply(context, x.slice(2, offsets[b], offsets[b + 1]));
  }
  /// Attention into a buffer of all heads, the average of the weights, and the output projection.
  template <class Attend>
  void finish(Context& context, Frame& frame, Index keys, const AttentionOptions<Scalar>& options,
              TensorView<Scalar, 3> out, const Epilogue<Scalar>& epilogue, Attend&& attend) const {
    const Index B = out.size(0), T = out.size(1), H = options_.num_heads;
    const bool average = options.average_weights.data() != nullptr;
    const TensorView<Scalar, 3> mixed = frame.tensor<Scalar>({B, T, H * options_.head_dim});
    if (!average) {
      attend(options, heads(mixed, H));
    } else {
      check_shape("MultiHeadAttention (average_weights)", Shape<3>{B, T, keys},
                  options.average_weights.shape());
      const TensorView<Scalar, 4> all_weights =
          frame.tensor<Scalar>({options.weights.data() == nullptr ? B : 0, H, T, keys});
      AttentionOptions<Scalar> inner = options;
      inner.average_weights = {};
      if (options.weights.data() == nullptr) inner.weights = all_weights;
      attend(inner, heads(mixed, H));
      context.parallel(1, 1, [&](Index, int) { average_over_heads(inner.weights, options.average_weights); });
    }
    detail::product<Scalar>(context, mixed.rows(), out_proj_, 0, out_bias_, epilogue, out.rows());
  }
  static TensorView<Scalar, 4> head_view(TensorView<Scalar, 2> rows, Index column, Index B, Index H, Index T,
                                         Index D) {
    return {rows.slice(1, column, column + H * D).data(),
            {B, H, T, D},
            {T * rows.stride(0), D, rows.stride(0), 1}};
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
  Weight<Scalar> out_proj_;
  Bias<Scalar> in_bias_, out_bias_;
  Norm<Scalar> q_norm_, k_norm_;
  Tensor<Scalar, 1> bias_k_, bias_v_;
  detail::Assigned bias_k_assigned_, bias_v_assigned_;
  std::shared_ptr<const Rotary<Scalar>> rotary_;
};

}  // namespace attend::inline ATTEND_ABI
