// Everything of one ISA: dispatch.hpp includes this once per target region, inside its namespace.
// Each needs those before it.
// clang-format off
#include <attend/kernel/simd.inl>
#include <attend/kernel/math.inl>
#include <attend/kernel/elementwise.inl>
#include <attend/kernel/gemm.inl>
#include <attend/kernel/attention_scores.inl>
#include <attend/kernel/attention_values.inl>
#include <attend/kernel/attention.inl>
#include <attend/kernel/softmax.inl>
// clang-format on

#if defined(ATTEND_TEST_KERNELS)
ATTEND_TEST_KERNELS  // functions that a test adds to each ISA's
#endif

    inline constexpr AttentionKernels attention = {pack_page,        attention_span,    attention_merge,
                                                   attention_finish, attention_weights, attention_one_key};
inline constexpr Kernels table = {product,  activate,  multiply, layer_norm,
                                  rms_norm, attention, softmax,  rotate};
