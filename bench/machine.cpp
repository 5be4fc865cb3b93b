#include "machine.hpp"

#include <chrono>
#include <limits>

#include <benchmark/benchmark.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <attend/kernel/dispatch.hpp>

namespace bench {
namespace {

constexpr double kChains = 12;

// Each ISA once, from the size of its vectors and two multiply-adds. The accumulators are variables, not
// an array, which GCC's -O2 would keep in memory, and start apart, or it would merge them. Twelve hide a
// latency of four cycles at three a cycle, and leave of 16 registers what else is needed.
#define ATTEND_BENCH_ISA(name, attribute, Bytes, Step)                                             \
  namespace name {                                                                                 \
  typedef float V __attribute__((vector_size(Bytes), may_alias));                                  \
  constexpr std::ptrdiff_t kFloats = Bytes / 4;                                                    \
  attribute __attribute__((noinline)) void multiply_adds(std::ptrdiff_t steps, float x, float y,   \
                                                         float* out) {                             \
    const V a = x - V{}, b = y - V{};                                                              \
    V s0 = a, s1 = a + 1, s2 = a + 2, s3 = a + 3, s4 = a + 4, s5 = a + 5;                          \
    V s6 = a + 6, s7 = a + 7, s8 = a + 8, s9 = a + 9, s10 = a + 10, s11 = a + 11;                  \
    for (; steps > 0; --steps) {                                                                   \
      Step(s0, s1) Step(s2, s3) Step(s4, s5) Step(s6, s7) Step(s8, s9) Step(s10, s11)              \
    }                                                                                              \
    const V sum = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11 + b;                 \
    *out = 0;                                                                                      \
    for (std::ptrdiff_t i = 0; i < kFloats; ++i) *out += sum[i];                                   \
  }                                                                                                \
  /* Eight vectors a round, vector j from data[start_j + i]; `ahead` in floats. */                 \
  template <bool Ahead>                                                                            \
  attribute __attribute__((noinline)) float read(const float* data, std::ptrdiff_t n, int streams, \
                                                 std::ptrdiff_t ahead) {                           \
    const std::ptrdiff_t round = 8 / streams * kFloats, length = n / (8 * kFloats) * round;        \
    const auto start = [&](int j) { return data + j % streams * length + j / streams * kFloats; }; \
    const float *p0 = start(0), *p1 = start(1), *p2 = start(2), *p3 = start(3);                    \
    const float *p4 = start(4), *p5 = start(5), *p6 = start(6), *p7 = start(7);                    \
    V s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{};                                              \
    for (std::ptrdiff_t i = 0; i < length; i += round) {                                           \
      if (Ahead) {                                                                                 \
        __builtin_prefetch(p0 + i + ahead), __builtin_prefetch(p1 + i + ahead);                    \
        __builtin_prefetch(p2 + i + ahead), __builtin_prefetch(p3 + i + ahead);                    \
        __builtin_prefetch(p4 + i + ahead), __builtin_prefetch(p5 + i + ahead);                    \
        __builtin_prefetch(p6 + i + ahead), __builtin_prefetch(p7 + i + ahead);                    \
      }                                                                                            \
      s0 += *(const V*)(p0 + i), s1 += *(const V*)(p1 + i), s2 += *(const V*)(p2 + i);             \
      s3 += *(const V*)(p3 + i), s4 += *(const V*)(p4 + i), s5 += *(const V*)(p5 + i);             \
      s6 += *(const V*)(p6 + i), s7 += *(const V*)(p7 + i);                                        \
    }                                                                                              \
    const V sum = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7));                               \
    float total = 0;                                                                               \
    for (std::ptrdiff_t i = 0; i < kFloats; ++i) total += sum[i];                                  \
    for (std::ptrdiff_t i = length * streams; i < n; ++i) total += data[i];                        \
    return total;                                                                                  \
  }                                                                                                \
  }

#if defined(__x86_64__)
#define ATTEND_BENCH_FMA512(s, t)                          \
  s = (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)s); \
  t = (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)t);
#define ATTEND_BENCH_FMA256(s, t)                          \
  s = (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)s); \
  t = (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)t);
ATTEND_BENCH_ISA(avx512, __attribute__((target("avx512f,avx2,fma"))), 64, ATTEND_BENCH_FMA512)
ATTEND_BENCH_ISA(avx2, __attribute__((target("avx2,fma"))), 32, ATTEND_BENCH_FMA256)
#endif
#if defined(__aarch64__)
#define ATTEND_BENCH_BASELINE(s, t)                                 \
  s = (V)vfmaq_f32((float32x4_t)s, (float32x4_t)a, (float32x4_t)b); \
  t = (V)vfmaq_f32((float32x4_t)t, (float32x4_t)a, (float32x4_t)b);
#else
// Without FMA a multiplication and an addition. The empty asm, volatile, keeps the products, which are all
// the same, from being taken out of the loop or made one.
#if defined(__SSE2__)
#define ATTEND_BENCH_HIDE(v) asm volatile("" : "+x"(v))
#else
#define ATTEND_BENCH_HIDE(v) benchmark::DoNotOptimize(v)
#endif
#define ATTEND_BENCH_BASELINE(s, t) \
  {                                 \
    V u = a, v = a;                 \
    ATTEND_BENCH_HIDE(u);           \
    ATTEND_BENCH_HIDE(v);           \
    s += u * b, t += v * b;         \
  }
#endif
ATTEND_BENCH_ISA(baseline, , 16, ATTEND_BENCH_BASELINE)

}  // namespace

double multiply_adds(std::ptrdiff_t steps) {
  float x = 1e-9f, y = 1, sum = 0;  // opaque, and such that nothing overflows or becomes subnormal
  benchmark::DoNotOptimize(x);
  benchmark::DoNotOptimize(y);
  double operations = kChains * baseline::kFloats * 2;
#if ATTEND_HAS_KERNELS && defined(__x86_64__)
  if (attend::isa() == attend::Isa::avx512)
    avx512::multiply_adds(steps, x, y, &sum), operations = kChains * avx512::kFloats * 2;
  else if (attend::isa() == attend::Isa::avx2)
    avx2::multiply_adds(steps, x, y, &sum), operations = kChains * avx2::kFloats * 2;
  else
#endif
    baseline::multiply_adds(steps, x, y, &sum);
  benchmark::DoNotOptimize(sum);
  return operations;
}

float read(const float* data, std::ptrdiff_t n, ReadPlan plan) {
  const std::ptrdiff_t ahead = plan.ahead / 4;
#if ATTEND_HAS_KERNELS && defined(__x86_64__)
  if (attend::isa() == attend::Isa::avx512)
    return (ahead > 0 ? avx512::read<true> : avx512::read<false>)(data, n, plan.streams, ahead);
  if (attend::isa() == attend::Isa::avx2)
    return (ahead > 0 ? avx2::read<true> : avx2::read<false>)(data, n, plan.streams, ahead);
#endif
  return (ahead > 0 ? baseline::read<true> : baseline::read<false>)(data, n, plan.streams, ahead);
}

ReadPlan best_plan(const float* data, std::ptrdiff_t n) {
  using Clock = std::chrono::steady_clock;
  const std::ptrdiff_t calls = 1 + (1 << 16) / (n + 1);
  ReadPlan best;
  double best_time = std::numeric_limits<double>::infinity();
  for (int round = 0; round < 3; ++round)
    for (int streams : {1, 2, 4, 8})
      for (int ahead : {0, 512, 1024, 2048, 4096}) {
        const ReadPlan plan{streams, ahead};
        const auto begin = Clock::now();
        for (std::ptrdiff_t i = 0; i < calls; ++i) benchmark::DoNotOptimize(read(data, n, plan));
        const double time = std::chrono::duration<double>(Clock::now() - begin).count();
        if (time < best_time) best_time = time, best = plan;
      }
  return best;
}

}  // namespace bench
