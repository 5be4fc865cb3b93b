// softmax(Q Kᵀ · scale) V, streaming over key tiles: memory O(T), never T × T, unless the weights are asked for.
#pragma once

#include <algorithm>
#include <string>

#include <attend/attention_options.hpp>
#include <attend/core/context.hpp>
#include <attend/generic_attention.hpp>
#include <attend/kernel/run_attention.hpp>
#include <attend/kv_cache.hpp>
#include <attend/tensor.hpp>

namespace attend {

/// Heads as a view: [B, T, H * D] seen as [B, H, T, D].
template <class T>
TensorView<T, 4> heads(const TensorView<T, 3>& x, Index num_heads) {
  if (num_heads < 1 || x.size(2) % num_heads != 0)
    fail_shape("heads", "[..., a multiple of " + std::to_string(num_heads) + " heads]", x.shape());
  const Index dim = x.size(2) / num_heads;
  return {x.data(), {x.size(0), num_heads, x.size(1), dim}, {x.stride(0), dim * x.stride(2), x.stride(1), x.stride(2)}};
}

namespace detail {

#if ATTEND_HAS_KERNELS
inline kernel::Heads<float> kernel_heads(const TensorView<float, 4>& x) {
  return {x.data(), x.stride(0), x.stride(1), x.stride(2)};
}
inline kernel::Heads<const float> kernel_heads(const TensorView<const float, 4>& x) {
  return {x.data(), x.stride(0), x.stride(1), x.stride(2)};
}

/// A float call as the kernels take it. Refers to `call`, `options` and `source`.
inline kernel::Attention kernel_call(const AttentionCall<float>& call, const AttentionOptions<float>& options,
                                     const KeyValueSource<float>& source, const TensorView<const float, 4>& query,
                                     const TensorView<float, 4>& out) {
  constexpr double kLog2E = 1.4426950408889634074;
  kernel::Attention t;
  t.query = kernel_heads(query), t.out = kernel_heads(out);
  t.head_dim = query.size(3), t.value_dim = out.size(3);
  if (source.cache != nullptr)
    t.pages = source.cache->tables();
  else
    t.key = kernel_heads(source.key), t.value = kernel_heads(source.value);
  t.heads = call.sizes.heads, t.kv_heads = call.kv_heads;
  t.queries = call.sizes.queries, t.keys = call.sizes.keys;
  t.query_offsets = call.sizes.query_offsets, t.key_offsets = call.sizes.key_offsets;
  t.key_counts = call.sizes.key_counts;
  if (t.query_offsets != nullptr) t.query.batch = t.key.batch = t.value.batch = t.out.batch = 0;
  t.scale = static_cast<float>(call.scale);
  t.folded = call.folded;
  t.exponent = static_cast<float>(call.folded ? static_cast<double>(t.scale) * kLog2E : kLog2E);
  t.softcap = static_cast<float>(options.softcap);
  t.mask = call.mask.functions();
  if (call.modifies())
    t.modifier = {&call, [](const void* object, float* scores, Index b, Index h, Index q, Index k0, Index keys) {
                    static_cast<const AttentionCall<float>*>(object)->modify(scores, b, h, q, k0, keys);
                  }};
  if (options.weight_modifier)
    t.weight_modifier = {&options.weight_modifier, [](const void* object, float* weights, Index b, Index h, Index q, Index k0, Index keys) {
                           (*static_cast<const ScoreModifier<float>*>(object))(weights, b, h, q, k0, keys);
                         }};
  t.sinks = options.sinks.empty() ? nullptr : options.sinks.data();
  t.log_sum_exp = options.log_sum_exp.data();
  t.log_sum_exp_queries = options.log_sum_exp.size(2);
  return t;
}
/// The call whose masked scores are the scores at `stage`.
inline kernel::Attention at_stage(kernel::Attention t, ScoreStage stage) {
  t.folded = false;
  if (stage == ScoreStage::scaled) t.softcap = 0;
  if (stage != ScoreStage::masked) t.mask = {}, t.modifier = {};
  return t;
}
#endif

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
        fail("scaled_dot_product_attention: the mask sees tokens before " + std::to_string(gone) + ", which a cache with a window of " +
             std::to_string(cache.options().window) + " has let go of");
    }
  }
}

/// Both forms of the public function, once shapes are known to fit.
template <class Scalar>
void attend(Context& context, const TensorView<const Scalar, 4>& query, const KeyValueSource<Scalar>& source,
            const AttentionSizes& sizes, Index kv_heads, const AttentionOptions<Scalar>& options,
            const TensorView<Scalar, 4>& out) {
  const AttentionCall<Scalar> call(options, sizes, kv_heads, query.size(3));
  if (source.cache != nullptr && source.cache->options().window > 0 && !context.measuring()) check_window(call, *source.cache);
  if constexpr (has_kernels<Scalar>) {
    for (const TensorView<Scalar, 4>* square : {&options.weights, &options.scores})
      if (square->data() != nullptr && square->size(3) > 1 && square->stride(3) != 1)
        fail("scaled_dot_product_attention: the last axis of weights and scores must be contiguous");
    if (options.log_sum_exp.data() != nullptr && !options.log_sum_exp.is_contiguous())
      fail("scaled_dot_product_attention: log_sum_exp must be contiguous");
    const kernel::Attention t = kernel_call(call, options, source, query, out);
    kernel::run_attention(context, t, sizes.batch, kernel_heads(options.weights));
    if (options.scores.data() != nullptr)
      kernel::run_scores(context, at_stage(t, options.scores_stage), sizes.batch, kernel_heads(options.scores));
  } else {
    const Index blocks = (sizes.queries + 47) / 48, items = sizes.batch * sizes.heads * blocks;
    const GenericAttention<Scalar> generic{call, options, source, query, out};
    context.parallel(items, context.workers(items, 1e9), [&](Index item, int) {
      const Index q0 = item % blocks * 48, h = item / blocks % sizes.heads, b = item / blocks / sizes.heads;
      const Index q1 = std::min(sizes.query_count(b), q0 + 48);
      if (q0 < q1) generic.rows(b, h, q0, q1);
    });
  }
}

/// Sizes of a ragged batch, whose tokens are `query_tokens` and `key_tokens` in all.
inline AttentionSizes ragged_sizes(std::span<const Index> query_offsets, std::span<const Index> key_offsets, Index heads,
                                   Index query_tokens, Index key_tokens) {
  if (query_offsets.size() != key_offsets.size() || query_offsets.empty())
    fail_shape("scaled_dot_product_attention (key_offsets)", to_string(Shape<1>{static_cast<Index>(query_offsets.size())}),
               Shape<1>{static_cast<Index>(key_offsets.size())});
  AttentionSizes sizes{static_cast<Index>(query_offsets.size()) - 1, heads, 0, 0, query_offsets.data(), key_offsets.data(), {}};
  const auto longest = [](std::span<const Index> offsets, Index tokens, const char* who) {
    Index most = 0;
    if (offsets.front() != 0 || offsets.back() != tokens)
      fail(std::string("scaled_dot_product_attention (") + who + "): expected 0 ... " + std::to_string(tokens) + ", got " +
           std::to_string(offsets.front()) + " ... " + std::to_string(offsets.back()));
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
      if (offsets[b + 1] < offsets[b]) fail(std::string("scaled_dot_product_attention: ") + who + " decrease");
      most = std::max(most, offsets[b + 1] - offsets[b]);
    }
    return most;
  };
  sizes.queries = longest(query_offsets, query_tokens, "query_offsets");
  sizes.keys = longest(key_offsets, key_tokens, "key_offsets");
  return sizes;
}

template <class T>
void check_contiguous_rows(const char* who, const TensorView<T, 4>& x) {
  if (x.size(3) > 1 && x.stride(3) != 1) fail(std::string(who) + ": the last axis must be contiguous");
}
}  // namespace detail

/// out = softmax(scale · Q Kᵀ, as options say) V. Query head h attends to key/value head h / (H / H_kv). A row that
/// sees no key gives 0. query [B, H, Tq, D], key [B, H_kv, Tk, D], value [B, H_kv, Tk, Dv] -> out [B, H, Tq, Dv];
/// any strides over B, H and T. Errors: shapes that don't fit each other.
/// https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
template <class Scalar>
void scaled_dot_product_attention(Context& context, TensorView<const std::type_identity_t<Scalar>, 4> query,
                                  TensorView<const std::type_identity_t<Scalar>, 4> key,
                                  TensorView<const std::type_identity_t<Scalar>, 4> value,
                                  const std::type_identity_t<AttentionOptions<Scalar>>& options, TensorView<Scalar, 4> out) {
  const char* who = "scaled_dot_product_attention";
  const Shape<4>& q = query.shape();
  const Index batch = key.size(0);
  if (batch != q[0] || key.size(3) != q[3])
    fail_shape(std::string(who) + " (key)", to_string(Shape<4>{q[0], key.size(1), key.size(2), q[3]}), key.shape());
  check_shape("scaled_dot_product_attention (value)", Shape<4>{batch, key.size(1), key.size(2), value.size(3)}, value.shape());
  check_shape("scaled_dot_product_attention (output)", Shape<4>{q[0], q[1], q[2], value.size(3)}, out.shape());
  for (const auto* view : {&query, &key, &value}) detail::check_contiguous_rows(who, *view);
  detail::check_contiguous_rows(who, out);
  AttentionSizes sizes{q[0], q[1], q[2], key.size(2), nullptr, nullptr, nullptr};
  if (!options.query_offsets.empty() || !options.key_offsets.empty()) {
    if (batch != 1) fail_shape(std::string(who) + " (ragged query)", "[1, H, tokens, D]", q);
    sizes = detail::ragged_sizes(options.query_offsets, options.key_offsets, q[1], q[2], key.size(2));
  }
  if (options.average_weights.data() != nullptr) fail(std::string(who) + ": average_weights are MultiHeadAttention's");
  if (sizes.batch == 0 || q[1] == 0 || q[2] == 0) return;
  detail::attend<Scalar>(context, query, {key, value, nullptr}, sizes, key.size(1), options, out);
}

/// The same over the keys and values of a cache, to which those of these queries were appended before if they see
/// themselves: query i of sequence b has position length(b) - Tq + i, which masks with Corner::bottom_right take.
/// query [B, H, Tq, D] -> out [B, H, Tq, Dv].
template <class Scalar>
void scaled_dot_product_attention(Context& context, TensorView<const std::type_identity_t<Scalar>, 4> query,
                                  const KVCache<Scalar>& cache, const std::type_identity_t<AttentionOptions<Scalar>>& options,
                                  TensorView<Scalar, 4> out) {
  const char* who = "scaled_dot_product_attention";
  const KVCacheOptions& o = cache.options();
  check_shape("scaled_dot_product_attention (query, with a cache)",
              Shape<4>{cache.batch(), query.size(1), query.size(2), o.head_dim}, query.shape());
  check_shape("scaled_dot_product_attention (output)",
              Shape<4>{query.size(0), query.size(1), query.size(2), o.value_dim}, out.shape());
  if (!options.query_offsets.empty() || !options.key_offsets.empty())
    fail("scaled_dot_product_attention: offsets together with a cache, which has lengths of its own");
  if (options.average_weights.data() != nullptr) fail(std::string(who) + ": average_weights are MultiHeadAttention's");
  detail::check_contiguous_rows(who, query);
  detail::check_contiguous_rows(who, out);
  if (query.size(0) == 0 || query.size(1) == 0 || query.size(2) == 0) return;
  const AttentionSizes sizes{query.size(0), query.size(1),  query.size(2), cache.max_length(),
                             nullptr,       nullptr, cache.lengths().data()};
  detail::attend<Scalar>(context, query, {{}, {}, &cache}, sizes, o.num_kv_heads, options, out);
}

/// The same as a new tensor.
template <TensorLike Q, TensorLike K, TensorLike V>
Tensor<typename Q::Scalar, 4> scaled_dot_product_attention(const Q& query, const K& key, const V& value,
                                                           const AttentionOptions<typename Q::Scalar>& options = {}) {
  const auto q = const_view(query);
  Tensor<typename Q::Scalar, 4> out({q.size(0), q.size(1), q.size(2), const_view(value).size(3)});
  scaled_dot_product_attention<typename Q::Scalar>(default_context(), q, const_view(key), const_view(value), options,
                                                   out.view());
  return out;
}

}  // namespace attend
