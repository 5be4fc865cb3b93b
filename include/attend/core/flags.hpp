// An inline namespace that names the compile flags that Eigen's code depends on: functions in it, compiled in two
// files with different flags, stay two functions.
#pragma once

#if defined(__AVX512F__)
#define ATTEND_FLAGS_SIMD avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define ATTEND_FLAGS_SIMD avx2_fma
#elif defined(__AVX__)
#define ATTEND_FLAGS_SIMD avx
#else
#define ATTEND_FLAGS_SIMD baseline
#endif
#if defined(__FAST_MATH__)
#define ATTEND_FLAGS_MATH fast_math
#else
#define ATTEND_FLAGS_MATH precise
#endif

#define ATTEND_FLAGS_BEGIN           \
  inline namespace ATTEND_FLAGS_SIMD { \
  inline namespace ATTEND_FLAGS_MATH {
#define ATTEND_FLAGS_END \
  }                      \
  }
