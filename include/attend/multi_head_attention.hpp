// MultiHeadAttention: projections, attention of all heads, output projection; self and cross.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <attend/detail/cache_calls.hpp>
#include <attend/disentangled.hpp>
#include <attend/kv_cache.hpp>
#include <attend/linear.hpp>
#include <attend/norm.hpp>
#include <attend/position.hpp>
#include <attend/rotary.hpp>
#include <attend/scaled_dot_product_attention.hpp>

namespace attend::inline ATTEND_ABI {

/// Named as PyTorch's MultiheadAttention.
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
      {};                           // eps of an RMSNorm over each head of Q and K (Qwen3), where there is one
  bool qk_norm_over_heads = false;  // that norm is one over all heads together (OLMo 2)
  ScaledDotProductAttentionOptions attention = {};    // of every call
  bool alibi = false;                                 // scores fall with the distance: see Alibi
  DisentangledAttentionOptions disentangled = {};     // of self-attention, of which each call has .relative
  WeightType weights = WeightType::float32;           // of all projections
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights
};

/// Parameters, as torch.nn.MultiheadAttention names them: in_proj_weight [(H + 2 H_kv) D, E] and
/// in_proj_bias, the rows of Q, K and V in this order; where kdim or vdim differ from embed_dim,
/// q_proj_weight, k_proj_weight and v_proj_weight instead of in_proj_weight; out_proj.weight [E, H D],
/// out_proj.bias; with qk_norm q_norm.weight and k_norm.weight [D], or over all heads [H D] and [H_kv D];
/// with bias_kv bias_k and bias_v [1, 1, H_kv D]; with own_projections of disentangled attention
/// pos_key_proj.* and pos_query_proj.*.
/// https://pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html
template <class Scalar>
class MultiHeadAttention {
 public:
  /// Of one call. @{
  using Options = AttentionOptions<Scalar>;
  using Outputs = AttentionOutputs<Scalar>;
  /// @}
  using Input = Batched<const Scalar, 3>;  // [B, T, E] or [T, E]
  using Output = Batched<Scalar, 3>;

  MultiHeadAttention() = default;
  ATTEND_COLD explicit MultiHeadAttention(const MultiHeadAttentionOptions& options);

  const MultiHeadAttentionOptions& options() const { return options_; }
  /// Queries and keys of self-attention are rotated by their positions; layers of a model share the tables.
  /// Error where they are of another head_dim.
  void set_rotary(std::shared_ptr<const Rotary<Scalar>> rotary);

  ATTEND_COLD void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }
  /// Whether all parameters have values; forward takes none less.
  bool assigned() const;

  /// Self-attention. x [B, T, E] -> out [B, T, E]. `epilogue` follows in the output projection's pass. In all
  /// forms, `out` and the outputs overlap neither each other nor an input nor the residual.
  void forward(Context& context, const Input& x, const Options& options, const Output& out,
               const Outputs& outputs = detail::no_outputs<Scalar>,
               const Epilogue<Scalar>& epilogue = {}) const {
    forward(context, x, x, x, options, out, outputs, epilogue);
  }
  void forward(Context& context, const Input& x, const Output& out) const { forward(context, x, {}, out); }
  /// query [B, Tq, E], key [B, Tk, kdim], value [B, Tk, vdim] -> out [B, Tq, E].
  void forward(Context& context, const Input& query, const Input& key, const Input& value,
               const Options& options, const Output& out, const Outputs& outputs = detail::no_outputs<Scalar>,
               const Epilogue<Scalar>& epilogue = {}) const;
  /// Self-attention of T more tokens of each sequence of a cache, which takes their keys and values.
  /// Positions go on from the cache's lengths; the mask is usually causal(Corner::bottom_right). x [B, T, E]
  /// -> out [B, T, E]. A call that fails leaves the cache as it was.
  void forward(Context& context, const Input& x, KVCache<Scalar>& cache, const Options& options,
               const Output& out, const Outputs& outputs = detail::no_outputs<Scalar>,
               const Epilogue<Scalar>& epilogue = {}) const;
  /// Cross-attention's keys and values of a memory into a cache, once for all queries to come. memory [B, S,
  /// kdim].
  void append_memory(Context& context, const Input& memory, KVCache<Scalar>& cache) const;
  /// Cross-attention to the keys and values of append_memory. x [B, T, E] -> out [B, T, E].
  void forward_cross(Context& context, const Input& x, const KVCache<Scalar>& cache, const Options& options,
                     const Output& out, const Outputs& outputs = detail::no_outputs<Scalar>,
                     const Epilogue<Scalar>& epilogue = {}) const;

  template <detail::LayerInput<Scalar> X, class = detail::Flags>
  detail::TensorOf<X> operator()(const X& x, const Options& options = {},
                                 const Outputs& outputs = detail::no_outputs<Scalar>) const {
    return detail::map_rows(x, options_.embed_dim, [&](const auto& rows, auto& out) {
      forward(default_context(), rows, options, out, outputs);
    });
  }
  template <detail::LayerInput<Scalar> X, class = detail::Flags>
  detail::TensorOf<X> operator()(const X& query, const Input& key, const Input& value,
                                 const Options& options = {},
                                 const Outputs& outputs = detail::no_outputs<Scalar>) const {
    return detail::map_rows(query, options_.embed_dim, [&](const auto& rows, auto& out) {
      forward(default_context(), rows, key, value, options, out, outputs);
    });
  }

  /// A cache of no tokens for self-attention (or the memory) of so many sequences, which keeps as many as the
  /// attention's window needs.
  KVCache<Scalar> make_cache(AnyIndex batch) const;

 private:
  friend struct RelativePositions<Scalar>;
  struct Slots {
    Index key, value, end;  // columns of the projections, those of Q from 0 on
  };
  /// A mask over the keys before the extra ones.
  struct BeforeExtra : masks::Expression {
    static constexpr bool adds = true;  // where that mask does
    Mask* mask;
    Index keys;
    void bind(AttentionSizes sizes) {
      sizes.keys = keys;
      mask->bind(sizes);
    }
    bool overlaps(const detail::Layout& written) const { return mask->overlaps(written); }
    bool operator()(Index b, Index h, Index q, Index k) const { return k >= keys || (*mask)(b, h, q, k); }
    void add(void* scores, Index b, Index h, Index q, Index k0, Index n) const {
      mask->add(scores, b, h, q, k0, (std::min)(n, keys));
    }
  };
  /// One call, once its shapes are known to fit.
  struct Call {
    Context& context;
    const Options& options;
    TensorView<Scalar, 3> out;
    const Outputs& outputs;
    const Epilogue<Scalar>& epilogue;
  };

  bool fused() const { return options_.kdim == options_.embed_dim && options_.vdim == options_.embed_dim; }
  Index extra_keys() const { return (options_.bias_kv ? 1 : 0) + (options_.add_zero_attn ? 1 : 0); }
  static MultiHeadAttentionOptions complete(MultiHeadAttentionOptions o) {
    detail::check_size("MultiHeadAttention", "embed_dim", o.embed_dim);
    detail::check_size("MultiHeadAttention", "num_heads", o.num_heads);
    for (const auto& [option, size] : {std::pair{"num_kv_heads", o.num_kv_heads},
                                       {"head_dim", o.head_dim},
                                       {"kdim", o.kdim},
                                       {"vdim", o.vdim}})
      if (size < 0) throw_error("MultiHeadAttention: ", option, " is ", size, ", expected 0 or more");
    if (o.qk_norm_over_heads && !o.qk_norm)
      throw_error("MultiHeadAttention: qk_norm_over_heads, but no qk_norm");
    if (o.num_kv_heads == 0) o.num_kv_heads = o.num_heads;
    if (o.num_heads % o.num_kv_heads != 0)
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
  /// Error where inputs are no rows, or something is written where it is read.
  void check_operands(const Call& call, TensorView<const Scalar, 3> query, TensorView<const Scalar, 3> key,
                      TensorView<const Scalar, 3> value) const {
    const char* who = "MultiHeadAttention";
    const Rows<const Scalar> x(query);
    const Rows<Scalar> y(call.out);
    x.check_input("MultiHeadAttention (query)", query.size(2));
    y.check_output(who, x.leading(), options_.embed_dim);
    detail::check_operands(call.context, who, x, call.epilogue.residual, y);
    if (!detail::same_places(query, key) || !detail::same_places(key, value)) {
      Rows<const Scalar>(key).check_input("MultiHeadAttention (key)", key.size(2));
      Rows<const Scalar>(value).check_input("MultiHeadAttention (value)", value.size(2));
      detail::check_apart(call.context, who, {"out", call.out}, {{"key", key}, {"value", value}});
    }
    detail::check_apart_from_options(call.context, who, call.options, "out", call.out);
    if (call.outputs.any())
      detail::check_outputs_apart(call.context, who, call.options, call.outputs,
                                  {{"query", query},
                                   {"key", key},
                                   {"value", value},
                                   {"the residual", call.epilogue.residual.view()},
                                   {"out", call.out}});
  }
  void check_cache(const KVCache<Scalar>& cache, TensorView<const Scalar, 3> x, const char* what,
                   Index width) const {
    const KVCacheOptions& o = cache.options();
    detail::check_shape(what, Shape<3>{cache.batch(), x.size(1), width}, x.shape());
    detail::check_shape("MultiHeadAttention (a cache's [num_kv_heads, head_dim, value_dim])",
                        Shape<3>{options_.num_kv_heads, options_.head_dim, options_.head_dim},
                        Shape<3>{o.num_kv_heads, o.head_dim, o.value_dim});
  }
  /// What a cache of cross-attention's keys and values cannot take in.
  void check_cross() const {
    if (extra_keys() > 0)
      throw_error("MultiHeadAttention: a cache together with bias_kv or add_zero_attn is not supported");
    if (rotary_ != nullptr) throw_error("MultiHeadAttention: rotary positions are of self-attention");
    if (options_.attention.is_causal || options_.attention.window > 0 || options_.alibi ||
        options_.disentangled.any())
      throw_error(
          "MultiHeadAttention: is_causal, window, alibi and disentangled attention say nothing of the tokens "
          "of a memory");
  }
  Slots columns() const {
    if (fused()) return {in_proj_.offset(1), in_proj_.offset(2), in_proj_.width()};
    return {q_proj_.width(), q_proj_.width() + k_proj_.width(),
            q_proj_.width() + k_proj_.width() + v_proj_.width()};
  }
  /// out = tokens, the learned one if there is one, zeros. [B, G, T, D] -> [B, G, T + extra, D].
  void append_extra(const TensorView<Scalar, 4>& tokens, const Tensor<Scalar, 1>& learned,
                    const TensorView<Scalar, 4>& out) const {
    const Index T = tokens.size(2), D = tokens.size(3);
    for (Index b = 0; b < out.size(0); ++b)
      for (Index g = 0; g < out.size(1); ++g)
        for (Index t = 0; t < out.size(2); ++t)
          for (Index d = 0; d < D; ++d)
            out(b, g, t, d) = t < T                        ? tokens(b, g, t, d)
                              : t == T && options_.bias_kv ? learned(g * D + d)
                                                           : Scalar(0);
  }
  /// Columns [begin, end) of the projections into out's from `column` on: of in_proj, or where there is none
  /// all of one of the three.
  ATTEND_OUT_OF_LINE void project(Context& context, TensorView<const Scalar, 3> x, const Weight<Scalar>& one,
                                  Index begin, Index end, TensorView<Scalar, 2> out, Index column = 0) const {
    detail::product<Scalar>(context, x.rows(), fused() ? in_proj_ : one, fused() ? begin : 0, in_bias_, {},
                            out.slice(1, column, column + end - begin), fused() ? 0 : begin);
  }
  /// qk_norm: RMSNorm of each head, or of all together, in place. x is a head_view.
  void normalize(Context& context, const Norm<Scalar>& norm, TensorView<Scalar, 4> x) const {
    if (!options_.qk_norm) return;
    const Index parts = options_.qk_norm_over_heads ? 1 : x.size(1), width = x.size(1) * x.size(3) / parts;
    const TensorView<Scalar, 2> rows(x.data(), {x.size(0) * x.size(2), parts * width}, {x.stride(2), 1});
    for (Index h = 0; h < parts; ++h) {
      const Rows<Scalar> part = rows.slice(1, h * width, (h + 1) * width);
      norm.forward(context, part, part);
    }
  }
  /// What disentangled attention adds to the scores of one call, from its projected queries and keys.
  ScoreModifier<Scalar> relative_scores(Context& context, Frame& frame, const Options& options,
                                        TensorView<const Scalar, 4> queries,
                                        TensorView<const Scalar, 4> keys) const;
  /// Attention into a buffer of all heads, the average of the weights, and the output projection.
  void finish(const Call& call, Frame& frame, Index keys,
              detail::FunctionRef<void(TensorView<Scalar, 4>, const Outputs&)> attend) const;
  ATTEND_OUT_OF_LINE static TensorView<Scalar, 4> head_view(const TensorView<Scalar, 2>& rows, Index column,
                                                            Index B, Index H, Index T, Index D) {
    return {rows.slice(1, column, column + H * D).data(),
            {B, H, T, D},
            {T * rows.stride(0), D, rows.stride(0), 1}};
  }
  /// The call's options joined to those of the layer, in `joined` where that takes a copy.
  const AttentionOptions<Scalar>& join(const Options& options, const KVCache<Scalar>* cache, Index tokens,
                                       Options& joined) const {
    const Options& all =
        attention_.join(options, cache != nullptr ? Corner::bottom_right : Corner::top_left, joined);
    if (slopes_.empty()) return all;
    if (options.modifier) throw_error("MultiHeadAttention: a modifier together with alibi is not supported");
    if (&all != &joined) joined = options;
    // A cache's lengths count the new tokens when this is called: query 0 is the first of them.
    joined.modifier = [slopes = slopes_.data(),
                       lengths = cache != nullptr ? cache->lengths().data() : nullptr,
                       tokens](const Scalar& score, Index b, Index h, Index q, Index k) {
      return Alibi<Scalar>{slopes, lengths != nullptr ? lengths[b] - tokens : 0}(score, b, h, q, k);
    };
    return joined;
  }

  MultiHeadAttentionOptions options_;
  ScaledDotProductAttention<Scalar> attention_;
  Weight<Scalar> in_proj_, q_proj_, k_proj_, v_proj_;
  Weight<Scalar> out_proj_;
  Bias<Scalar> in_bias_, out_bias_;
  Linear<Scalar> pos_key_proj_, pos_query_proj_;
  RMSNorm<Scalar> q_norm_, k_norm_;
  Tensor<Scalar, 1> bias_k_, bias_v_;
  detail::Assigned bias_k_assigned_, bias_v_assigned_;
  std::shared_ptr<const Rotary<Scalar>> rotary_;
  /// By positions from 0 on, of each sequence of a ragged batch or of each batch, or from `starts` on. A
  /// pointer, which set_rotary sets: what never calls that does not compile rotations.
  void (*rotate_)(const Rotary<Scalar>& by, Context& context, TensorView<Scalar, 4> x,
                  std::span<const Index> offsets, std::span<const Index> starts) = nullptr;
  std::vector<Scalar> slopes_;  // of ALiBi, or none
};

}  // namespace attend::inline ATTEND_ABI

#include <attend/multi_head_attention.inl>
