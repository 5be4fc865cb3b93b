// A call of attention in the kernels' terms: raw pointers and strides instead of views and options.
#pragma once

#include <attend/detail/attention_call.hpp>
#include <attend/introspection.hpp>
#include <attend/kernel/calls.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// Of a view without data all heads lie at the same null.
template <class T>
kernel::Heads<T> kernel_heads(const TensorView<T, 4>& x) {
  if (x.data() == nullptr) return {};
  return {x.data(), x.stride(0), x.stride(1), x.stride(2)};
}

/// Refers to `look`.
inline kernel::RowsFunctions kernel_rows(const IntrospectionRows<float>& look) {
  if (!look.wanted.any()) return {};
  using Look = const IntrospectionRows<float>;
  return {&look, look.in_order(),
          [](const void* object, Index b, Index h, Index q0, Index q1) {
            return static_cast<Look*>(object)->wants(b, h, q0, q1);
          },
          [](const void* object, Index b, Index h, Index q, const float* weights) {
            static_cast<Look*>(object)->take(b, h, q, weights);
          }};
}

/// Refers to `call` and `source`.
inline kernel::Attention kernel_call(const AttentionCall<float>& call, const KeyValueSource<float>& source,
                                     const TensorView<const float, 4>& query,
                                     const TensorView<float, 4>& out) {
  const AttentionOptions<float>& options = call.options;
  constexpr double kLog2E = 1.4426950408889634074;
  kernel::Attention t;
  t.query = kernel_heads(query), t.out = kernel_heads(out);
  t.head_dim = query.size(3), t.value_dim = out.size(3);
  t.pages = source.pages;
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
    t.modifier = {&call,
                  [](const void* object, float* scores, Index b, Index h, Index q, Index k0, Index keys) {
                    static_cast<const AttentionCall<float>*>(object)->modify(scores, b, h, q, k0, keys);
                  }};
  if (options.weight_modifier)
    t.weight_modifier = {&options.weight_modifier, [](const void* object, float* weights, Index b, Index h,
                                                      Index q, Index k0, Index keys) {
                           (*static_cast<const ScoreModifier<float>*>(object))(weights, b, h, q, k0, keys);
                         }};
  t.sinks = options.sinks.empty() ? nullptr : options.sinks.data();
  t.log_sum_exp = call.outputs.log_sum_exp.data();
  t.log_sum_exp_queries = call.outputs.log_sum_exp.size(2);
  return t;
}

/// The call whose masked scores are the scores at `stage`.
inline kernel::Attention at_stage(kernel::Attention t, ScoreStage stage) {
  t.folded = false;
  if (stage == ScoreStage::scaled) t.softcap = 0;
  if (stage != ScoreStage::masked) t.mask = {}, t.modifier = {};
  return t;
}

}  // namespace attend::inline ATTEND_ABI::detail
