// What math_test.cpp (a sample) and math_exhaustive.cpp (every float) share: the elementary functions of
// kernel/math.inl compiled for each ISA, what they should be, how far they may be off, and the measuring.
#pragma once

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

// Two functions have no entry in the table of kernels: their loops are added to each ISA's.
#define ATTEND_TEST_KERNELS                                                                           \
  __attribute__((noinline)) inline void map_exp2(const float* x, float, float* out, int n) {          \
    for (int i = 0; i < n; i += 16) store(out + i, exp2(load(x + i)));                                \
  }                                                                                                   \
  __attribute__((noinline)) inline void map_softmax_exp(const float* x, float c, float* out, int n) { \
    for (int i = 0; i < n; i += 16)                                                                   \
      store(out + i, softmax_exp(load(x + i), set1(c), softmax_lowest(set1(c))));                     \
  }
#include <attend/core/error.hpp>
#include <attend/kernel/dispatch.hpp>
#include <attend/reference/math.hpp>

// The measuring, and the rest of the file that includes this, means what it says under -ffast-math as well.
// What the standard library inlines does not: hence is_nan and is_negative.
#if defined(__clang__)
#pragma float_control(precise, on, push)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("no-fast-math", "fp-contract=off")
#endif
namespace check {

/// Subnormals are numbers, though -ffast-math linked a start-up file that flushes them; the library's own
/// calls set their environment themselves.
inline void keep_subnormals() {
#if defined(__SSE2__)
  _mm_setcsr(_mm_getcsr() & ~0x8040u);  // flush to zero, denormals are zero
#endif
}

inline bool is_nan(double x) { return (std::bit_cast<std::uint64_t>(x) << 1) > 0xffe0000000000000u; }
inline bool is_negative(double x) { return std::bit_cast<std::int64_t>(x) < 0; }
inline bool is_infinite(double x) { return (std::bit_cast<std::uint64_t>(x) << 1) == 0xffe0000000000000u; }
inline bool is_nan(float x) { return (std::bit_cast<std::uint32_t>(x) << 1) > 0xff000000u; }

using Map = void (*)(const float* x, float c, float* out, int n);

/// One ISA's loop over a function.
struct Compiled {
  attend::Isa isa;
  bool has_fma;
  Map map;
};

struct Function {
  std::string name;
  float c;                              // softmax_exp's factor; it is checked for y <= 0 alone
  double (*exact)(double x, double c);  // the definition
  float (*one_lane)(float x, float c);
  double lowest, highest;                 // its range
  double ulp, ulp_without_fma;            // a result may be this many ulp off,
  double absolute, absolute_without_fma;  // or this much
  std::vector<Compiled> compiled;         // for what this machine runs
};

// The definitions, with the limits at -inf.
inline double exact_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
inline double exact_silu(double x) {
  return is_infinite(x) ? (is_negative(x) ? -0.0 : x) : x * exact_sigmoid(x);
}
inline double exact_gelu(double x) {
  return is_infinite(x) ? (is_negative(x) ? -0.0 : x) : 0.5 * x * std::erfc(-x * 0.70710678118654752440);
}
inline double exact_gelu_tanh(double x) {
  return is_infinite(x)
             ? (is_negative(x) ? -0.0 : x)
             : x * exact_sigmoid(1.59576912160573071176 * (x + 0.044715 * x * x * x));  // 2 sqrt(2/pi)
}

inline std::vector<Compiled> compiled(Map baseline, Map avx2, Map avx512) {
  std::vector<Compiled> all;
#if ATTEND_HAS_KERNELS
#if defined(__aarch64__)
  const bool baseline_has_fma = true;
#else
  const bool baseline_has_fma = false;
#endif
  all.push_back({attend::Isa::baseline, baseline_has_fma, baseline});
  if (attend::kernel::runs(attend::Isa::avx2)) all.push_back({attend::Isa::avx2, true, avx2});
  if (attend::kernel::runs(attend::Isa::avx512)) all.push_back({attend::Isa::avx512, true, avx512});
#else
  static_cast<void>(baseline), static_cast<void>(avx2), static_cast<void>(avx512);
#endif
  return all;
}

/// The table's entry for an activation.
template <attend::Isa isa, attend::Activation activation>
void activate(const float* x, float, float* out, int n) {
#if ATTEND_HAS_KERNELS
  attend::kernel::entry<&attend::kernel::Kernels::activate>(isa)(activation, x, out, n);
#else
  static_cast<void>(x), static_cast<void>(out), static_cast<void>(n);
#endif
}
template <attend::Activation activation>
std::vector<Compiled> compiled() {
  return compiled(activate<attend::Isa::baseline, activation>, activate<attend::Isa::avx2, activation>,
                  activate<attend::Isa::avx512, activation>);
}

#if !ATTEND_HAS_KERNELS
#define CHECK_MAPPED(name) \
  {}
#elif defined(__x86_64__)
#define CHECK_MAPPED(name) \
  compiled(attend::kernel::baseline::name, attend::kernel::avx2::name, attend::kernel::avx512::name)
#else
#define CHECK_MAPPED(name) compiled(attend::kernel::baseline::name, nullptr, nullptr)
#endif

/// The bounds of kernel/math.inl, above (by less than 0.1 ulp) what math_exhaustive measured.
inline std::vector<Function> functions() {
  namespace mine = attend::reference::exact;
  using enum attend::Activation;
  const double inf = INFINITY;
  std::vector<Function> all = {
      {"exp2", 0, [](double x, double) { return std::exp2(x); }, [](float x, float) { return mine::exp2(x); },
       0, inf, 0.9, 1.2, 0, 0, CHECK_MAPPED(map_exp2)},
      {"exp", 0, [](double x, double) { return std::exp(x); }, [](float x, float) { return mine::exp(x); }, 0,
       inf, 0.9, 1.3, 0, 0, compiled<exp>()},
      {"erf", 0, [](double x, double) { return std::erf(x); }, [](float x, float) { return mine::erf(x); },
       -1, 1, 1.8, 2.1, 0, 0, compiled<erf>()},
      {"tanh", 0, [](double x, double) { return std::tanh(x); }, [](float x, float) { return mine::tanh(x); },
       -1, 1, 1.5, 1.5, 0, 0, compiled<tanh>()},
      {"sigmoid", 0, [](double x, double) { return exact_sigmoid(x); },
       [](float x, float) { return mine::sigmoid(x); }, 0, 1, 2.5, 2.6, 0, 0, compiled<sigmoid>()},
      {"silu", 0, [](double x, double) { return exact_silu(x); },
       [](float x, float) { return mine::silu(x); }, -0.3, inf, 3.4, 3.4, 1e-43, 1e-43, compiled<silu>()},
      {"gelu", 0, [](double x, double) { return exact_gelu(x); },
       [](float x, float) { return mine::gelu(x); }, -0.2, inf, 4, 4, 5e-8, 6e-8, compiled<gelu>()},
      {"gelu_tanh", 0, [](double x, double) { return exact_gelu_tanh(x); },
       [](float x, float) { return mine::gelu_tanh(x); }, -0.2, inf, 4, 4, 5e-8, 6e-8, compiled<gelu_tanh>()},
  };
  // Factors from a scale of 1 down to an eleventh, and extremes.
  for (float c : {1.44269504f, 0.180336880f, 0.127517432f, 23.0f, 1e-3f})
    all.push_back({"softmax_exp", c, [](double y, double factor) { return std::exp2(y * factor); },
                   [](float y, float factor) { return mine::softmax_exp(y, factor); }, 0, 1, 2, 3, FLT_MIN,
                   5e-8, CHECK_MAPPED(map_softmax_exp)});
  return all;
}
#undef CHECK_MAPPED

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
  double ulp = 0;       // the largest error in ulp of those above the absolute allowance
  double absolute = 0;  // the largest absolute error of those above the allowance in ulp
  float ulp_at = 0, absolute_at = 0;
  std::uint64_t wrong = 0;    // results beyond their bound or range, NaN where they should not be
  std::uint64_t unequal = 0;  // results whose bits differ from another ISA's
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
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (is_nan(a) && is_nan(b));
}

constexpr int kBlock = 1024;

/// Results for one x: judged against `exact`.
inline void judge(const Function& f, bool fma, float x, float got, double exact, Worst& worst) {
  if (is_nan(exact)) {
    if (!is_nan(got)) ++worst.wrong, worst.wrong_at = x;
    return;
  }
  const double ulp = ulps_off(got, exact);
  const double absolute = std::abs(static_cast<double>(got) - exact);
  const bool forgiven = absolute <= (fma ? f.absolute : f.absolute_without_fma);
  const bool in_ulp = ulp <= (fma ? f.ulp : f.ulp_without_fma);
  if (!forgiven && ulp > worst.ulp) worst.ulp = ulp, worst.ulp_at = x;
  if (!in_ulp && !is_nan(absolute) && !is_infinite(absolute) && absolute > worst.absolute)
    worst.absolute = absolute, worst.absolute_at = x;
  const bool sign_kept = exact == 0 || is_negative(got) == is_negative(exact);
  if (!(forgiven || in_ulp) || !(got >= f.lowest && got <= f.highest) || !sign_kept)
    ++worst.wrong, worst.wrong_at = x;
}

/// One error record for FMA machines (every ISA, and every `one_lane_step`-th input in scalar code, must
/// agree to the bit) and one for the baseline, which on x86 has no FMA.
struct Report {
  Worst fma, baseline;
};
inline void check_block(const Function& f, const float* x, int one_lane_step, Report& report) {
  keep_subnormals();
  float results[3][kBlock];
  const float* first = nullptr;  // of the ISAs with FMA
  for (std::size_t k = 0; k < f.compiled.size(); ++k) {
    f.compiled[k].map(x, f.c, results[k], kBlock);
    if (f.compiled[k].has_fma && first == nullptr) first = results[k];
  }
  for (int i = 0; i < kBlock; ++i) {
    if (f.c != 0 && x[i] > 0) continue;
    const double exact = f.exact(x[i], f.c);
    const bool one_lane = first == nullptr || i % one_lane_step == 0;
    const float got = one_lane ? f.one_lane(x[i], f.c) : first[i];
    judge(f, true, x[i], got, exact, report.fma);
    for (std::size_t k = 0; k < f.compiled.size(); ++k) {
      if (!f.compiled[k].has_fma)
        judge(f, false, x[i], results[k][i], exact, report.baseline);
      else if (!same(results[k][i], got))
        ++report.fma.unequal, report.fma.unequal_at = x[i];
    }
  }
}

inline void print(const Function& f, const char* machine, const Worst& w) {
  std::printf("%-11s %-5.3g %-8s max %.3f ulp at %a", f.name.c_str(), f.c, machine, w.ulp, w.ulp_at);
  if (w.absolute > 0) std::printf(", %.3g absolute at %a", w.absolute, w.absolute_at);
  if (w.wrong) std::printf(", %llu WRONG as at %a", static_cast<unsigned long long>(w.wrong), w.wrong_at);
  if (w.unequal)
    std::printf(", %llu UNEQUAL as at %a", static_cast<unsigned long long>(w.unequal), w.unequal_at);
  std::printf("\n");
}

}  // namespace check