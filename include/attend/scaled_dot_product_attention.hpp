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

/// Heads as a view: [B, T, H * D] seen as [B, H, T, D].
template <class T>
TensorView<T, 4> heads(const TensorView<T, 3>& x, Index num_heads) {
  if (num_heads < 1 || x.size(2) % num_heads != 0)
    fail_shape("heads", "[..., a multiple of " + std::to_string(num_heads) + " heads]", x.shape());
  const Index dim = x.size(2) / num_heads;
  return {x.data(),
          {x.size(0), num_heads, x.size(1), dim},
          {x.stride(0), dim * x.stride(2), x.stride(1), x.stride(2)}};
}

namespace detail {

/// Error where the mask sees tokens that the cache's window has let go of.
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
void check_contiguous_rows(const char* who, const TensorView<T, 4>& x) {
  if (x.size(3) > 1 && x.stride(3) != 1) throw_error(who, ": the last axis must be contiguous");
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
    fail_shape(std::string(who) + " (key)", to_string(Shape<4>{q[0], key.size(1), key.size(2), q[3]}),
               key.shape());
  check_shape("scaled_dot_product_attention (value)",
              Shape<4>{batch, key.size(1), key.size(2), value.size(3)}, value.shape());
  check_shape("scaled_dot_product_attention (output)", Shape<4>{q[0], q[1], q[2], value.size(3)},
              out.shape());
  for (const auto* view : {&query, &key, &value}) check_contiguous_rows(who, *view);
  check_contiguous_rows(who, out);
  AttentionSizes sizes{q[0], q[1], q[2], key.size(2), nullptr, nullptr, nullptr};
  if (!options.query_offsets.empty() || !options.key_offsets.empty()) {
    if (batch != 1) fail_shape(std::string(who) + " (ragged query)", "[1, H, tokens, D]", q);
    sizes = ragged_sizes(options.query_offsets, options.key_offsets, q[1], q[2], key.size(2));
  }
  if (outputs.average_weights.data() != nullptr)
    throw_error(who, ": average_weights are MultiHeadAttention's");
  if (sizes.batch == 0 || q[1] == 0) return;
  const AttentionCall<Scalar> call(options, outputs, sizes, key.size(1), q[3]);
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
  check_contiguous_rows(who, query);
  check_contiguous_rows(who, out);
  if (query.size(0) == 0 || query.size(1) == 0) return;
  const AttentionSizes sizes{query.size(0), query.size(1), query.size(2),         cache.max_length(),
                             nullptr,       nullptr,       cache.lengths().data()};
  const AttentionCall<Scalar> call(options, outputs, sizes, o.num_kv_heads, o.head_dim);
  if (o.window > 0 && query.size(2) > 0 && !context.measuring()) check_window(call, cache);
  Backend<Scalar>::attention(context, call, {{}, {}, cache.tables()}, query, out);
}
}  // namespace detail

/// out = softmax(scale · Q Kᵀ, as options say) V. Query head h attends to key/value head h / (H / H_kv). A
/// row that sees no key gives 0. query [B, H, Tq, D], key [B, H_kv, Tk, D], value [B, H_kv, Tk, Dv] -> out
/// [B, H, Tq, Dv]; any strides over B, H and T. Errors: shapes that don't fit each other; outputs that share
/// an element with an input or with each other (columns of one buffer do not).
/// https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
template <class Scalar>
void scaled_dot_product_attention(
    Context& context, TensorView<const std::type_identity_t<Scalar>, 4> query,
    TensorView<const std::type_identity_t<Scalar>, 4> key,
    TensorView<const std::type_identity_t<Scalar>, 4> value,
    const std::type_identity_t<AttentionOptions<Scalar>>& options, TensorView<Scalar, 4> out,
    const std::type_identity_t<AttentionOutputs<Scalar>>& outputs = detail::no_outputs<Scalar>) {
  const TensorView<const Scalar, 1> sinks(options.sinks.data(), {static_cast<Index>(options.sinks.size())});
  const char* who = "scaled_dot_product_attention";
  const detail::Operand written{"out", out};
  detail::check_apart(context, who, written,
                      {{"query", query}, {"key", key}, {"value", value}, {"sinks", sinks}});
  detail::check_apart_from_mask(context, who, options, written);
  detail::check_outputs_apart(
      context, who, options, outputs,
      {{"query", query}, {"key", key}, {"value", value}, {"sinks", sinks}, {"out", out}});
  detail::scaled_dot_product_attention<Scalar>(context, query, key, value, options, out, outputs);
}

/// The same over the keys and values of a cache, to which those of these queries were appended before if they
/// see themselves: query i of sequence b has position length(b) - Tq + i, which masks with
/// Corner::bottom_right take. query [B, H, Tq, D] -> out [B, H, Tq, Dv].
template <class Scalar>
void scaled_dot_product_attention(
    Context& context, TensorView<const std::type_identity_t<Scalar>, 4> query, const KVCache<Scalar>& cache,
    const std::type_identity_t<AttentionOptions<Scalar>>& options, TensorView<Scalar, 4> out,
    const std::type_identity_t<AttentionOutputs<Scalar>>& outputs = detail::no_outputs<Scalar>) {
  const TensorView<const Scalar, 1> sinks(options.sinks.data(), {static_cast<Index>(options.sinks.size())});
  const char* who = "scaled_dot_product_attention";
  const detail::Operand written{"out", out};
  detail::check_apart(context, who, written, {{"query", query}, {"sinks", sinks}});
  detail::check_apart_from_mask(context, who, options, written);
  detail::check_outputs_apart(context, who, options, outputs,
                              {{"query", query}, {"sinks", sinks}, {"out", out}});
  detail::scaled_dot_product_attention<Scalar>(context, query, cache, options, out, outputs);
}

/// The same as a new tensor.
template <TensorLike Q, TensorLike K, TensorLike V>
Tensor<typename Q::Scalar, 4> scaled_dot_product_attention(
    const Q& query, const K& key, const V& value, const AttentionOptions<typename Q::Scalar>& options = {},
    const AttentionOutputs<typename Q::Scalar>& outputs = {}) {
  const auto q = const_view(query);
  Tensor<typename Q::Scalar, 4> out({q.size(0), q.size(1), q.size(2), const_view(value).size(3)});
  scaled_dot_product_attention<typename Q::Scalar>(default_context(), q, const_view(key), const_view(value),
                                                   options, out.view(), outputs);
  return out;
}

/// Fills what `out` asks for from the weights that scaled_dot_product_attention(query, key, …, options) uses,
/// without values. Holds 48 rows of weights per thread at a time. query [B, H, Tq, D], key [B, H_kv, Tk, D].
template <class Scalar>
void introspect(Context& context, TensorView<const std::type_identity_t<Scalar>, 4> query,
                TensorView<const std::type_identity_t<Scalar>, 4> key,
                const std::type_identity_t<AttentionOptions<Scalar>>& options,
                const Introspection<Scalar>& out) {
  const Index B = query.size(0), H = query.size(1);
  const TensorView<const Scalar, 4> no_value(nullptr, {B, key.size(1), key.size(2), 0});
  scaled_dot_product_attention<Scalar>(context, query, key, no_value, options,
                                       TensorView<Scalar, 4>(nullptr, {B, H, query.size(2), 0}),
                                       {.introspection = out});
}

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
  ScaledDotProductAttention() = default;
  explicit ScaledDotProductAttention(const ScaledDotProductAttentionOptions& options);

  const ScaledDotProductAttentionOptions& options() const { return options_; }

  /// query [B, H, Tq, D], key [B, H_kv, Tk, D], value [B, H_kv, Tk, Dv] -> out [B, H, Tq, Dv].
  void forward(Context& context, TensorView<const Scalar, 4> query, TensorView<const Scalar, 4> key,
               TensorView<const Scalar, 4> value, const AttentionOptions<Scalar>& options,
               TensorView<Scalar, 4> out,
               const AttentionOutputs<Scalar>& outputs = detail::no_outputs<Scalar>) const;
  void forward(Context& context, TensorView<const Scalar, 4> query, TensorView<const Scalar, 4> key,
               TensorView<const Scalar, 4> value, TensorView<Scalar, 4> out) const;
  /// Over a cache's keys and values. query [B, H, Tq, D] -> out [B, H, Tq, Dv].
  void forward(Context& context, TensorView<const Scalar, 4> query, const KVCache<Scalar>& cache,
               const AttentionOptions<Scalar>& options, TensorView<Scalar, 4> out,
               const AttentionOutputs<Scalar>& outputs = detail::no_outputs<Scalar>) const;
  Tensor<Scalar, 4> operator()(TensorView<const Scalar, 4> query, TensorView<const Scalar, 4> key,
                               TensorView<const Scalar, 4> value,
                               const AttentionOptions<Scalar>& options = {}) const;

  /// A call's options joined to the layer's, in `joined` where that takes a copy; `corner` says which keys
  /// the queries' positions are among.
  const AttentionOptions<Scalar>& join(const AttentionOptions<Scalar>& options, Corner corner,
                                       AttentionOptions<Scalar>& joined) const;

 private:
  ScaledDotProductAttentionOptions options_;
};

template <class Scalar>
ScaledDotProductAttention<Scalar>::ScaledDotProductAttention(const ScaledDotProductAttentionOptions& options)
    : options_(options) {
  check_count("ScaledDotProductAttention", "window", options.window);
  check_number("ScaledDotProductAttention", "softcap", options.softcap, 0);
  if (options.scale) check_number("ScaledDotProductAttention", "scale", *options.scale, -1e38);
}
template <class Scalar>
const AttentionOptions<Scalar>& ScaledDotProductAttention<Scalar>::join(
    const AttentionOptions<Scalar>& options, Corner corner, AttentionOptions<Scalar>& joined) const {
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
void ScaledDotProductAttention<Scalar>::forward(Context& context, TensorView<const Scalar, 4> query,
                                                TensorView<const Scalar, 4> key,
                                                TensorView<const Scalar, 4> value,
                                                const AttentionOptions<Scalar>& options,
                                                TensorView<Scalar, 4> out,
                                                const AttentionOutputs<Scalar>& outputs) const {
  AttentionOptions<Scalar> joined;
  scaled_dot_product_attention<Scalar>(context, query, key, value, join(options, Corner::top_left, joined),
                                       out, outputs);
}
template <class Scalar>
void ScaledDotProductAttention<Scalar>::forward(Context& context, TensorView<const Scalar, 4> query,
                                                TensorView<const Scalar, 4> key,
                                                TensorView<const Scalar, 4> value,
                                                TensorView<Scalar, 4> out) const {
  forward(context, query, key, value, {}, out);
}
template <class Scalar>
void ScaledDotProductAttention<Scalar>::forward(Context& context, TensorView<const Scalar, 4> query,
                                                const KVCache<Scalar>& cache,
                                                const AttentionOptions<Scalar>& options,
                                                TensorView<Scalar, 4> out,
                                                const AttentionOutputs<Scalar>& outputs) const {
  AttentionOptions<Scalar> joined;
  scaled_dot_product_attention<Scalar>(context, query, cache, join(options, Corner::bottom_right, joined),
                                       out, outputs);
}
template <class Scalar>
Tensor<Scalar, 4> ScaledDotProductAttention<Scalar>::operator()(
    TensorView<const Scalar, 4> query, TensorView<const Scalar, 4> key, TensorView<const Scalar, 4> value,
    const AttentionOptions<Scalar>& options) const {
  Tensor<Scalar, 4> out({query.size(0), query.size(1), query.size(2), value.size(3)});
  forward(default_context(), query, key, value, options, out.view());
  return out;
}

}  // namespace attend::inline ATTEND_ABI
