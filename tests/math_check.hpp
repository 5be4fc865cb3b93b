// What math_test.cpp (a sample) and math_exhaustive.cpp (every float) share: the elementary functions of
// kernel/math.inl compiled for each ISA, what they should be, how far they may be off, and the measuring.
#pragma once

#include <algorithm>
#include <attend/reference/math.hpp>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define ATTEND_INLINE inline __attribute__((always_inline))
#define ATTEND_UNROLL _Pragma("GCC unroll 16")
#define ATTEND_MAP(name)                                                                        \
  __attribute__((noinline)) inline void map_##name(const float* x, float, float* out, int n) { \
    for (int i = 0; i < n; i += 16) store(out + i, name(load(x + i)));                          \
  }
#define ATTEND_MAPS                                                                                     \
  ATTEND_MAP(exp2)                                                                                      \
  ATTEND_MAP(exp)                                                                                       \
  ATTEND_MAP(erf)                                                                                       \
  ATTEND_MAP(tanh)                                                                                      \
  ATTEND_MAP(sigmoid)                                                                                   \
  ATTEND_MAP(silu)                                                                                      \
  ATTEND_MAP(gelu)                                                                                      \
  ATTEND_MAP(gelu_tanh)                                                                                 \
  __attribute__((noinline)) inline void map_softmax_exp(const float* x, float c, float* out, int n) {   \
    for (int i = 0; i < n; i += 16) store(out + i, softmax_exp(load(x + i), set1(c), softmax_lowest(set1(c)))); \
  }

#if defined(__clang__)
#pragma float_control(precise, on, push)
#pragma clang fp contract(off)
#else
#pragma GCC push_options
#pragma GCC optimize("O2", "no-fast-math", "fp-contract=off")
#endif
namespace baseline {
#define ATTEND_SIMD 128
#include <attend/kernel/simd.inl>
#include <attend/kernel/math.inl>
ATTEND_MAPS
#undef ATTEND_SIMD
}  // namespace baseline
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace avx2 {
#define ATTEND_SIMD 256
#include <attend/kernel/simd.inl>
#include <attend/kernel/math.inl>
ATTEND_MAPS
#undef ATTEND_SIMD
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#endif
namespace avx512 {
#define ATTEND_SIMD 512
#include <attend/kernel/simd.inl>
#include <attend/kernel/math.inl>
ATTEND_MAPS
#undef ATTEND_SIMD
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
#undef ATTEND_MAPS
#undef ATTEND_MAP
#undef ATTEND_UNROLL
#undef ATTEND_INLINE

namespace check {

using Map = void (*)(const float* x, float c, float* out, int n);

struct Function {
  std::string name;
  float c;                       // softmax_exp's factor; it is checked for y <= 0 alone
  double (*exact)(double x, double c);
  float (*one_lane)(float x, float c);
  double lowest, highest;        // its range
  double ulp, ulp_without_fma;   // a result may be this many ulp off,
  double absolute;               // or this much
  Map baseline, avx2, avx512;
};

// The definitions.
inline double exact_exp2(double x) { return std::exp2(x); }
inline double exact_exp(double x) { return std::exp(x); }
inline double exact_erf(double x) { return std::erf(x); }
inline double exact_tanh(double x) { return std::tanh(x); }
inline double exact_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
inline double exact_silu(double x) { return std::isinf(x) ? std::max(x, -0.0) : x * exact_sigmoid(x); }
inline double exact_gelu(double x) {
  return std::isinf(x) ? std::max(x, -0.0) : 0.5 * x * std::erfc(-x * 0.70710678118654752440);
}
inline double exact_gelu_tanh(double x) {
  return std::isinf(x) ? std::max(x, -0.0)
                       : x * exact_sigmoid(1.59576912160573071176 * (x + 0.044715 * x * x * x));  // 2 sqrt(2/pi)
}

#if defined(__x86_64__)
#define CHECK_MAPS(name) baseline::map_##name, avx2::map_##name, avx512::map_##name
#else
#define CHECK_MAPS(name) baseline::map_##name, nullptr, nullptr
#endif
#define CHECK_FUNCTION(name, lowest, highest, ulp, ulp_without_fma, absolute)                                    \
  Function {                                                                                                     \
    #name, 0, [](double x, double) { return exact_##name(x); },                                                    \
        [](float x, float) { return attend::reference::exact::name(x); }, lowest, highest, ulp, ulp_without_fma, absolute, \
        CHECK_MAPS(name)                                                                                         \
  }
inline std::vector<Function> functions() {
  std::vector<Function> all = {
      CHECK_FUNCTION(exp2, 0, INFINITY, 1, 2, 0),          CHECK_FUNCTION(exp, 0, INFINITY, 1, 2, 0),
      CHECK_FUNCTION(erf, -1, 1, 2, 4, 0),                 CHECK_FUNCTION(tanh, -1, 1, 2, 4, 0),
      CHECK_FUNCTION(sigmoid, 0, 1, 2.5, 4, 0),            CHECK_FUNCTION(silu, -0.3, INFINITY, 4, 5, 1e-43),
      CHECK_FUNCTION(gelu, -0.2, INFINITY, 4, 5, 1e-7),    CHECK_FUNCTION(gelu_tanh, -0.2, INFINITY, 4, 5, 1e-7),
  };
  for (float c : {1.44269504f, 1.44269504f / 8, 0.127517432f, 23.0f, 1e-3f})
    all.push_back({"softmax_exp", c,
                   [](double y, double c) { return std::exp2(y * c); },
                   [](float y, float c) { return attend::reference::exact::softmax_exp(y, c); },
                   0, 1, 2.5, 2.5, FLT_MIN, CHECK_MAPS(softmax_exp)});
  return all;
}
#undef CHECK_FUNCTION
#undef CHECK_MAPS

/// The machine's ISAs of this function; the first has no FMA where `has_fma` is false.
struct Isa {
  const char* name;
  Map map;
  bool has_fma;
};
inline std::vector<Isa> isas(const Function& f) {
#if defined(__aarch64__)
  return {{"neon", f.baseline, true}};
#else
  std::vector<Isa> all = {{"baseline", f.baseline, false}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back({"avx2", f.avx2, true});
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    all.push_back({"avx512", f.avx512, true});
#endif
  return all;
#endif
}

/// |got - exact| in units of the last place of exact rounded to float; an infinite float counts as 2^128.
inline double ulps_off(float got, double exact) {
  const double limit = 0x1p128;
  const std::uint32_t rounded = std::bit_cast<std::uint32_t>(static_cast<float>(exact));
  const std::uint64_t exponent = std::clamp<std::uint64_t>((rounded >> 23) & 255, 1, 254);
  const double per_ulp = std::bit_cast<double>((1023 + 150 - exponent) << 52);
  const double g = got > FLT_MAX ? limit : got < -FLT_MAX ? -limit : got;
  return std::abs(g - std::clamp(exact, -limit, limit)) * per_ulp;
}

struct Worst {
  double ulp = 0;            // the largest error in ulp of those above the absolute allowance
  double absolute = 0;       // the largest absolute error of those above the allowance in ulp
  float ulp_at = 0, absolute_at = 0;
  std::uint64_t wrong = 0;   // results beyond their bound or range, NaN where they should not be
  std::uint64_t unequal = 0; // results whose bits differ from another ISA's
  float wrong_at = 0, unequal_at = 0;

  void merge(const Worst& o) {
    if (o.ulp > ulp) ulp = o.ulp, ulp_at = o.ulp_at;
    if (o.absolute > absolute) absolute = o.absolute, absolute_at = o.absolute_at;
    if (o.wrong) wrong_at = o.wrong_at;
    if (o.unequal) unequal_at = o.unequal_at;
    wrong += o.wrong;
    unequal += o.unequal;
  }
};

inline bool same(float a, float b) {  // any NaN is the same NaN
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

constexpr int kBlock = 1024;

/// Results for one x: judged against `exact`.
inline void judge(const Function& f, double ulp_bound, float x, float got, double exact, Worst& worst) {
  if (std::isnan(exact)) {
    if (!std::isnan(got)) ++worst.wrong, worst.wrong_at = x;
    return;
  }
  const double ulp = ulps_off(got, exact);
  const double absolute = std::abs(static_cast<double>(got) - exact);
  const bool forgiven = absolute <= f.absolute, in_ulp = ulp <= ulp_bound;
  if (!forgiven && ulp > worst.ulp) worst.ulp = ulp, worst.ulp_at = x;
  if (!in_ulp && std::isfinite(absolute) && absolute > worst.absolute)
    worst.absolute = absolute, worst.absolute_at = x;
  const bool sign_kept = exact == 0 || std::signbit(got) == std::signbit(exact);
  if (!(forgiven || in_ulp) || !(got >= f.lowest && got <= f.highest) || !sign_kept) ++worst.wrong, worst.wrong_at = x;
}

/// One error record for FMA machines (every ISA, and every `one_lane_step`-th input in scalar code, must agree
/// to the bit) and one for the baseline, which on x86 has no FMA.
struct Report {
  Worst fma, baseline;
};
inline void check_block(const Function& f, const float* x, int one_lane_step, Report& report) {
  const std::vector<Isa> all = isas(f);
  float results[3][kBlock];
  for (std::size_t k = 0; k < all.size(); ++k) all[k].map(x, f.c, results[k], kBlock);
  const float* first = nullptr;
  for (std::size_t k = 0; k < all.size(); ++k)
    if (all[k].has_fma && !first) first = results[k];
  for (int i = 0; i < kBlock; ++i) {
    if (f.c != 0 && x[i] > 0) continue;
    const double exact = f.exact(x[i], f.c);
    for (std::size_t k = 0; k < all.size(); ++k)
      if (!all[k].has_fma) judge(f, f.ulp_without_fma, x[i], results[k][i], exact, report.baseline);
    float got;
    if (!first || i % one_lane_step == 0) {
      got = f.one_lane(x[i], f.c);
      if (first && !same(got, first[i])) ++report.fma.unequal, report.fma.unequal_at = x[i];
    }
    if (first) got = first[i];
    judge(f, f.ulp, x[i], got, exact, report.fma);
    for (std::size_t k = 0; k < all.size(); ++k)
      if (all[k].has_fma && !same(results[k][i], got)) ++report.fma.unequal, report.fma.unequal_at = x[i];
  }
}

inline void print(const Function& f, const char* machine, const Worst& w) {
  std::printf("%-11s %-5.3g %-8s max %.3f ulp at %a", f.name.c_str(), f.c, machine, w.ulp, w.ulp_at);
  if (w.absolute > 0) std::printf(", %.3g absolute at %a", w.absolute, w.absolute_at);
  if (w.wrong) std::printf(", %llu WRONG as at %a", static_cast<unsigned long long>(w.wrong), w.wrong_at);
  if (w.unequal) std::printf(", %llu UNEQUAL as at %a", static_cast<unsigned long long>(w.unequal), w.unequal_at);
  std::printf("\n");
}

}  // namespace check
