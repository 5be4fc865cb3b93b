// softmax(Q Kᵀ · scale) V, streaming over key tiles: memory O(T), never T × T, unless the weights are asked
// for.
#pragma once

#include <algorithm>
#include <string>

#include <attend/attention_options.hpp>
#include <attend/attention_outputs.hpp>
#include <attend/core/context.hpp>
#include <attend/detail/attention_call.hpp>
#include <attend/detail/backend.hpp>
#include <attend/kv_cache.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// Heads as a view: [B, T, H * D] seen as [B, H, T, D], or [T, H * D] as [H, T, D].
template <class X>
requires(!detail::TemporaryTensor<X> && detail::ViewOf<X>::rank >= 2) auto heads(X&& x, AnyIndex num_heads) {
  const auto view = detail::view_of(x);
  constexpr std::size_t kAxes = detail::ViewOf<X>::rank;
  const Index width = view.shape().back(), stride = view.strides().back();
  if (num_heads < 1 || width % num_heads != 0)
    detail::fail_shape("heads", "[..., a multiple of " + std::to_string(num_heads) + " heads]", view.shape());
  Shape<kAxes + 1> shape, strides;
  std::copy(view.shape().begin(), view.shape().end(), shape.begin());
  std::copy(view.strides().begin(), view.strides().end(), strides.begin());
  shape[kAxes - 1] = num_heads, shape[kAxes] = width / num_heads;
  strides[kAxes - 1] = shape[kAxes] * stride, strides[kAxes] = stride;
  return TensorView<typename detail::ViewOf<X>::Element, kAxes + 1>(view.data(), shape, strides)
      .transpose(kAxes - 2, kAxes - 1);
}
/// Not of a temporary, whose elements would be gone.
template <detail::TemporaryTensor X>
void heads(X&&, AnyIndex) = delete;

namespace detail {

template <class Named, class X>
struct NamedScalar {
  using type = Named;
};
template <class X>
struct NamedScalar<void, X> {
  using type = typename X::Scalar;
};
/// The scalar that a caller names, or that of x.
template <class Named, class X>
using NamedOr = typename NamedScalar<Named, X>::type;

/// Error where the mask sees tokens that the cache has evicted.
template <class Scalar>
void check_window(const AttentionCall<Scalar>& call, const KVCache<Scalar>& cache) {
  const AttentionSizes& sizes = call.sizes;
  for (Index b = 0; b < sizes.batch; ++b) {
    const Index gone = cache.first_token(b);
    for (Index h = 0; gone > 0 && h < sizes.heads; ++h) {
      const Extent e = call.mask.block(b, h, 0, sizes.queries, 0, gone);
      bool seen = e.begin < e.end && e.full;
      for (Index q = 0; !e.full && q < sizes.queries; ++q)
        for (Index k = e.begin; k < e.end; ++k) seen = seen || call.mask(b, h, q, k);
      if (seen)
        throw_error("scaled_dot_product_attention: the mask sees tokens before ", gone,
                    ", which a cache with a window of ", cache.options().window, " has let go of");
    }
  }
}

/// Sizes of a ragged batch, whose tokens are `query_tokens` and `key_tokens` in all.
inline AttentionSizes ragged_sizes(std::span<const Index> query_offsets, std::span<const Index> key_offsets,
                                   Index heads, Index query_tokens, Index key_tokens) {
  if (query_offsets.size() != key_offsets.size() || query_offsets.empty())
    fail_shape("scaled_dot_product_attention (key_offsets)",
               to_string(Shape<1>{static_cast<Index>(query_offsets.size())}),
               Shape<1>{static_cast<Index>(key_offsets.size())});
  AttentionSizes sizes{static_cast<Index>(query_offsets.size()) - 1,
                       heads,
                       0,
                       0,
                       query_offsets.data(),
                       key_offsets.data(),
                       {}};
  sizes.queries =
      longest_sequence("scaled_dot_product_attention (query_offsets)", query_offsets, query_tokens);
  sizes.keys = longest_sequence("scaled_dot_product_attention (key_offsets)", key_offsets, key_tokens);
  return sizes;
}

template <class T>
void check_contiguous_rows(const char* name, const TensorView<T, 4>& x) {
  if (x.size(3) > 1 && x.stride(3) != 1)
    throw_error("scaled_dot_product_attention (", name, "): the last axis must be contiguous");
}

/// The public functions, for operands that are known to be apart: layers call these on tensors of their own.
template <class Scalar>
void scaled_dot_product_attention(Context& context, TensorView<const Scalar, 4> query,
                                  TensorView<const Scalar, 4> key, TensorView<const Scalar, 4> value,
                                  const AttentionOptions<Scalar>& options, TensorView<Scalar, 4> out,
                                  const AttentionOutputs<Scalar>& outputs) {
  const char* who = "scaled_dot_product_attention";
  const Shape<4>& q = query.shape();
  const Index batch = key.size(0);
  if (batch != q[0] || key.size(3) != q[3])
    fail_shape("scaled_dot_product_attention (key)", Shape<4>{q[0], key.size(1), key.size(2), q[3]},
               key.shape());
  check_shape("scaled_dot_product_attention (value)",
              Shape<4>{batch, key.size(1), key.size(2), value.size(3)}, value.shape());
  check_shape("scaled_dot_product_attention (output)", Shape<4>{q[0], q[1], q[2], value.size(3)},
              out.shape());
  check_contiguous_rows("query", query);
  check_contiguous_rows("key", key);
  check_contiguous_rows("value", value);
  check_contiguous_rows("output", out);
  AttentionSizes sizes{q[0], q[1], q[2], key.size(2), nullptr, nullptr, nullptr};
  if (!options.query_offsets.empty() || !options.key_offsets.empty()) {
    if (batch != 1) throw_error(who, " (ragged query): expected [1, H, tokens, D], got ", q);
    sizes = ragged_sizes(options.query_offsets, options.key_offsets, q[1], q[2], key.size(2));
  }
  if (outputs.average_weights.data() != nullptr)
    throw_error(who, ": average_weights are MultiHeadAttention's");
  if (options.relative != nullptr)
    throw_error(who, ": relative embeddings are MultiHeadAttention's, of self-attention without a cache");
  if (sizes.batch == 0 || q[1] == 0) return;
  const FloatEnvironment environment;  // of the scale, too
  const AttentionCall<Scalar> call(options, outputs, sizes, key.size(1), q[3]);
  const LayerTimer timer(context, who, query.shape(), out.shape(),
                         context.timed() ? call.operations(q[3] + out.size(3)) : 0);
  Backend<Scalar>::attention(context, call, {key, value}, query, out);
}
template <class Scalar>
void scaled_dot_product_attention(Context& context, TensorView<const Scalar, 4> query,
                                  const KVCache<Scalar>& cache, const AttentionOptions<Scalar>& options,
                                  TensorView<Scalar, 4> out, const AttentionOutputs<Scalar>& outputs) {
  const char* who = "scaled_dot_product_attention";
  const KVCacheOptions& o = cache.options();
  check_shape("scaled_dot_product_attention (query, with a cache)",
              Shape<4>{cache.batch(), query.size(1), query.size(2), o.head_dim}, query.shape());
  check_shape("scaled_dot_product_attention (output)",
              Shape<4>{query.size(0), query.size(1), query.size(2), o.value_dim}, out.shape());
  if (!options.query_offsets.empty() || !options.key_offsets.empty())
    throw_error("scaled_dot_product_attention: offsets together with a cache, which has lengths of its own");
  if (outputs.average_weights.data() != nullptr)
    throw_error(who, ": average_weights are MultiHeadAttention's");
  if (options.relative != nullptr)
    throw_error(who, ": relative embeddings are MultiHeadAttention's, of self-attention without a cache");
  check_contiguous_rows("query", query);
  check_contiguous_rows("output", out);
  if (query.size(0) == 0 || query.size(1) == 0) return;
  const AttentionSizes sizes{query.size(0), query.size(1), query.size(2),         cache.max_length(),
                             nullptr,       nullptr,       cache.lengths().data()};
  const FloatEnvironment environment;
  const AttentionCall<Scalar> call(options, outputs, sizes, o.num_kv_heads, o.head_dim);
  if (o.window > 0 && query.size(2) > 0 && !context.measuring()) check_window(call, cache);
  const LayerTimer timer(context, who, query.shape(), out.shape(),
                         context.timed() ? call.operations(o.head_dim + o.value_dim) : 0);
  Backend<Scalar>::attention(context, call, {{}, {}, cache.tables()}, query, out);
}
}  // namespace detail

/// What a ScaledDotProductAttention does in every call.
struct ScaledDotProductAttentionOptions {
  std::optional<double> scale = {};  // 1 / sqrt(D) where not given
  double softcap = 0;                // softcap * tanh(score / softcap) where above 0
  bool is_causal = false;            // a query sees no key behind its own position
  Index window = 0;  // a query sees the keys less than so many positions away, in both directions; 0: all
};

/// scaled_dot_product_attention with options kept by value. A call's mask is joined to them by &, its scale
/// and softcap replace them where given. Query i has position i; with a cache it is among the last Tq keys.
template <class Scalar>
class ScaledDotProductAttention {
 public:
  /// Of one call. @{
  using Options = AttentionOptions<Scalar>;
  using Outputs = AttentionOutputs<Scalar>;
  /// @}

  ScaledDotProductAttention() = default;
  explicit ScaledDotProductAttention(const ScaledDotProductAttentionOptions& options);

  const ScaledDotProductAttentionOptions& options() const { return options_; }

  /// query [B, H, Tq, D], key [B, H_kv, Tk, D], value [B, H_kv, Tk, Dv] -> out [B, H, Tq, Dv].
  void forward(Context& context, const Batched<const Scalar, 4>& query, const Batched<const Scalar, 4>& key,
               const Batched<const Scalar, 4>& value, const Options& options, const Batched<Scalar, 4>& out,
               const Outputs& outputs = detail::no_outputs<Scalar>) const;
  /// The same without a mask or other inputs.
  void forward(Context& context, const Batched<const Scalar, 4>& query, const Batched<const Scalar, 4>& key,
               const Batched<const Scalar, 4>& value, const Batched<Scalar, 4>& out) const {
    forward(context, query, key, value, {}, out);
  }
  /// Over a cache's keys and values. query [B, H, Tq, D] -> out [B, H, Tq, Dv].
  void forward(Context& context, const Batched<const Scalar, 4>& query, const KVCache<Scalar>& cache,
               const Options& options, const Batched<Scalar, 4>& out,
               const Outputs& outputs = detail::no_outputs<Scalar>) const;
  /// As a new tensor, of the query's rank.
  template <TensorLike Q>
  Tensor<Scalar, Q::rank> operator()(const Q& query, const Batched<const Scalar, 4>& key,
                                     const Batched<const Scalar, 4>& value, const Options& options = {},
                                     const Outputs& outputs = detail::no_outputs<Scalar>) const {
    Shape<Q::rank> shape = query.shape();
    shape[Q::rank - 1] = value.size(3);
    Tensor<Scalar, Q::rank> out(shape);
    forward(default_context(), query, key, value, options, out, outputs);
    return out;
  }

  /// A call's options joined to the layer's, in `joined` where that takes a copy. At Corner::bottom_right the
  /// queries are the last ones of the keys.
  const Options& join(const Options& options, Corner corner, Options& joined) const;

 private:
  ScaledDotProductAttentionOptions options_;
};

template <class Scalar>
ScaledDotProductAttention<Scalar>::ScaledDotProductAttention(const ScaledDotProductAttentionOptions& options)
    : options_(options) {
  detail::check_count("ScaledDotProductAttention", "window", options.window);
  detail::check_number("ScaledDotProductAttention", "softcap", options.softcap, 0);
  if (options.scale) detail::check_number("ScaledDotProductAttention", "scale", *options.scale, -1e38);
}

template <class Scalar>
const AttentionOptions<Scalar>& ScaledDotProductAttention<Scalar>::join(const Options& options, Corner corner,
                                                                        Options& joined) const {
  const ScaledDotProductAttentionOptions& o = options_;
  if (!o.scale && o.softcap == 0 && !o.is_causal && o.window == 0) return options;
  joined = options;
  if (!joined.scale) joined.scale = o.scale;
  if (joined.softcap == 0) joined.softcap = o.softcap;
  if (o.is_causal || o.window > 0)
    joined.mask = Mask(sliding_window(o.window - 1, o.is_causal ? 0 : o.window - 1, corner)) & options.mask;
  return joined;
}

template <class Scalar>
void ScaledDotProductAttention<Scalar>::forward(Context& context, const Batched<const Scalar, 4>& query,
                                                const Batched<const Scalar, 4>& key,
                                                const Batched<const Scalar, 4>& value, const Options& options,
                                                const Batched<Scalar, 4>& out, const Outputs& outputs) const {
  const char* who = "scaled_dot_product_attention";
  const detail::Operand written{"out", out};
  detail::check_apart(context, who, written, {{"query", query}, {"key", key}, {"value", value}});
  detail::check_apart_from_options(context, who, options, "out", out);
  if (outputs.any())
    detail::check_outputs_apart(context, who, options, outputs,
                                {{"query", query}, {"key", key}, {"value", value}, {"out", out}});
  Options joined;
  detail::scaled_dot_product_attention<Scalar>(context, query, key, value,
                                               join(options, Corner::top_left, joined), out, outputs);
}
template <class Scalar>
void ScaledDotProductAttention<Scalar>::forward(Context& context, const Batched<const Scalar, 4>& query,
                                                const KVCache<Scalar>& cache, const Options& options,
                                                const Batched<Scalar, 4>& out, const Outputs& outputs) const {
  const char* who = "scaled_dot_product_attention";
  const detail::Operand written{"out", out};
  detail::check_apart(context, who, written, {{"query", query}});
  detail::check_apart_from_options(context, who, options, "out", out);
  if (outputs.any())
    detail::check_outputs_apart(context, who, options, outputs, {{"query", query}, {"out", out}});
  Options joined;
  detail::scaled_dot_product_attention<Scalar>(context, query, cache,
                                               join(options, Corner::bottom_right, joined), out, outputs);
}
ATTEND_COMPILED_LAYER(class ScaledDotProductAttention<float>);

/// out = softmax(scale · Q Kᵀ, as options say) V. Query head h attends to key/value head h / (H / H_kv). A
/// row that sees no key gives 0. query [B, H, Tq, D], key [B, H_kv, Tk, D], value [B, H_kv, Tk, Dv] -> out
/// [B, H, Tq, Dv], or all without B, or without B and H; any strides over B, H and T. The scalar is the
/// query's, where it is not named. Errors: shapes that don't fit each other; outputs that share an element
/// with an input or with each other (columns of one buffer do not).
/// https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
template <class Named = void, class Q, class Scalar = detail::NamedOr<Named, Q>>
void scaled_dot_product_attention(
    Context& context, const Q& query, const std::type_identity_t<Batched<const Scalar, 4>>& key,
    const std::type_identity_t<Batched<const Scalar, 4>>& value,
    const std::type_identity_t<AttentionOptions<Scalar>>& options,
    const std::type_identity_t<Batched<Scalar, 4>>& out,
    const std::type_identity_t<AttentionOutputs<Scalar>>& outputs = detail::no_outputs<Scalar>) {
  ScaledDotProductAttention<Scalar>().forward(context, query, key, value, options, out, outputs);
}

/// The same over the keys and values of a cache, to which those of these queries were appended before if they
/// see themselves: query i of sequence b has position length(b) - Tq + i, which masks with
/// Corner::bottom_right take. query [B, H, Tq, D] -> out [B, H, Tq, Dv].
template <class Named = void, class Q, class Scalar = detail::NamedOr<Named, Q>>
void scaled_dot_product_attention(
    Context& context, const Q& query, const std::type_identity_t<KVCache<Scalar>>& cache,
    const std::type_identity_t<AttentionOptions<Scalar>>& options,
    const std::type_identity_t<Batched<Scalar, 4>>& out,
    const std::type_identity_t<AttentionOutputs<Scalar>>& outputs = detail::no_outputs<Scalar>) {
  ScaledDotProductAttention<Scalar>().forward(context, query, cache, options, out, outputs);
}

/// The same as a new tensor, of the query's rank.
template <TensorLike Q, class K, class V>
Tensor<typename Q::Scalar, Q::rank> scaled_dot_product_attention(
    const Q& query, const K& key, const V& value, const AttentionOptions<typename Q::Scalar>& options = {},
    const AttentionOutputs<typename Q::Scalar>& outputs = {}) {
  return ScaledDotProductAttention<typename Q::Scalar>()(query, key, value, options, outputs);
}

/// Fills what `out` asks for from the weights that scaled_dot_product_attention(query, key, …, options) uses,
/// without values. Holds 48 rows of weights per thread at a time. query [B, H, Tq, D], key [B, H_kv, Tk, D].
template <class Named = void, class Q, class Scalar = detail::NamedOr<Named, Q>>
void introspect(Context& context, const Q& query, const std::type_identity_t<Batched<const Scalar, 4>>& key,
                const std::type_identity_t<AttentionOptions<Scalar>>& options,
                const std::type_identity_t<Introspection<Scalar>>& out) {
  const Batched<const Scalar, 4> q(query);
  const TensorView<const Scalar, 4> no_value(nullptr, {key.size(0), key.size(1), key.size(2), 0});
  ScaledDotProductAttention<Scalar>().forward(
      context, q, key, no_value, options,
      TensorView<Scalar, 4>(nullptr, {q.size(0), q.size(1), q.size(2), 0}), {.introspection = out});
}

}  // namespace attend::inline ATTEND_ABI
