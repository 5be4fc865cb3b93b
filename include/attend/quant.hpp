// Weights in fewer bits, wherever a layer's or a model's options say a WeightType: including this is what
// brings them. DESIGN: the arithmetic is that of reference/weights.hpp, bit for bit, on any processor that
// has FMA, for any number of threads and rows.
#pragma once

#include <attend/core/config.hpp>
#include <attend/core/flags.hpp>
#include <attend/core/weight_type.hpp>
#include <attend/quant/tier.hpp>

#if ATTEND_HAS_BODIES
#include <attend/quant/weights.hpp>
#endif

namespace attend::inline ATTEND_ABI {
#if defined(ATTEND_COMPILED)
namespace quant {
extern const detail::WeightKernels compiled_weights;
#if ATTEND_HAS_BODIES
const detail::WeightKernels compiled_weights = weight_kernels;
#endif
}  // namespace quant
#endif

namespace detail::inline ATTEND_FLAGS {
/// Done once in each unit, before main.
#if defined(ATTEND_COMPILED)
inline const bool weights_are_known = (weight_kernels = &quant::compiled_weights) != nullptr;
#else
inline const bool weights_are_known = (weight_kernels = &quant::weight_kernels) != nullptr;
#endif
}  // namespace detail::inline ATTEND_FLAGS
}  // namespace attend::inline ATTEND_ABI
