// ATTEND_FLAGS: an inline namespace that names the compile flags on which source depends, by #if, by the
// sizes of blocks, or because it is Eigen's. What lies in it, compiled in two files with different flags,
// stays two functions, where the linker would keep one of them for both. No type of the public interface
// does: a Linear<float> passes between the files.
#pragma once

#include <attend/core/config.hpp>

#if defined(__AVX512DQ__)
#define ATTEND_FLAGS_SIMD flags_avx512dq
#elif defined(__AVX512F__)
#define ATTEND_FLAGS_SIMD flags_avx512f
#elif defined(__AVX2__)
#define ATTEND_FLAGS_SIMD flags_avx2
#elif defined(__AVX__)
#define ATTEND_FLAGS_SIMD flags_avx
#elif defined(__SSE4_2__)
#define ATTEND_FLAGS_SIMD flags_sse42
#elif defined(__SSE4_1__)
#define ATTEND_FLAGS_SIMD flags_sse41
#elif defined(__SSSE3__)
#define ATTEND_FLAGS_SIMD flags_ssse3
#elif defined(__SSE3__)
#define ATTEND_FLAGS_SIMD flags_sse3
#else
#define ATTEND_FLAGS_SIMD flags_baseline
#endif
#if defined(__FMA__)
#define ATTEND_FLAGS_FMA _fma
#else
#define ATTEND_FLAGS_FMA
#endif
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
#define ATTEND_FLAGS_MATH _fast_math
#else
#define ATTEND_FLAGS_MATH
#endif
#if defined(EIGEN_DONT_VECTORIZE)
#define ATTEND_FLAGS_EIGEN _scalar
#else
#define ATTEND_FLAGS_EIGEN
#endif
#define ATTEND_FLAGS_JOIN(a, b, c, d) a##b##c##d
#define ATTEND_FLAGS_EXPAND(a, b, c, d) ATTEND_FLAGS_JOIN(a, b, c, d)
#define ATTEND_FLAGS \
  ATTEND_FLAGS_EXPAND(ATTEND_FLAGS_SIMD, ATTEND_FLAGS_FMA, ATTEND_FLAGS_MATH, ATTEND_FLAGS_EIGEN)

namespace attend::inline ATTEND_ABI::detail::inline ATTEND_FLAGS {
/// Makes a member of a type that is not in ATTEND_FLAGS another function for each set of flags, as a template
/// argument that nobody gives.
struct Flags;
}  // namespace attend::inline ATTEND_ABI::detail::inline ATTEND_FLAGS
