// The elementary functions: a sample of four million floats over all exponents, every ISA, and the edges.
// math_exhaustive.cpp takes every float.

#include <limits>

#include <gtest/gtest.h>

#include "math_check.hpp"

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
volatile std::uint32_t sign_bit = 0x80000000u;  // GCC turns a -0 it can see into +0 under -ffast-math
float minus_zero() { return std::bit_cast<float>(std::uint32_t{sign_bit}); }

/// A function's value by the one lane and by every ISA of the machine, which must be equal where there is
/// FMA.
std::vector<float> values(const check::Function& f, float x) {
  check::keep_subnormals();
  std::vector<float> all = {f.one_lane(x, f.c)};
  float in[16], out[16];
  std::fill(in, in + 16, x);
  for (const check::Compiled& c : f.compiled) {
    c.map(in, f.c, out, 16);
    all.insert(all.end(), out, out + 16);
  }
  return all;
}

void expect(const std::string& name, float x, float wanted) {
  for (const check::Function& f : check::functions())
    if (f.name == name) {
      for (float got : values(f, x))
        EXPECT_TRUE(check::same(got, wanted)) << name << "(" << x << ") = " << got;
    }
}

}  // namespace

TEST(MathFunctions, StayWithinTheirBoundsAndAgreeOnEachIsaWithFma) {
  // A stride that is odd and no near-power of two, so that mantissas differ from binade to binade.
  constexpr std::uint64_t stride = 1021;
  for (const check::Function& f : check::functions()) {
    check::Report report;
    float x[check::kBlock];
    for (std::uint64_t begin = 0; begin < std::uint64_t{1} << 32; begin += stride * check::kBlock) {
      for (std::uint64_t i = 0; i < check::kBlock; ++i)
        x[i] = std::bit_cast<float>(static_cast<std::uint32_t>(begin + i * stride));
      check::check_block(f, x, 4, report);
    }
    check::print(f, "fma", report.fma);
    if (report.baseline.ulp > 0) check::print(f, "baseline", report.baseline);
    EXPECT_EQ(report.fma.wrong, 0);
    EXPECT_EQ(report.fma.unequal, 0);
    EXPECT_EQ(report.baseline.wrong, 0);
    EXPECT_GT(report.fma.ulp, 0.5);  // the measure measures: no such function is exact everywhere
  }
}

TEST(UlpsOff, CountsInUnitsOfTheLastPlace) {
  EXPECT_EQ(check::ulps_off(1.0f, 1.0), 0);
  EXPECT_EQ(check::ulps_off(std::nextafter(1.0f, 2.0f), 1.0), 1);
  EXPECT_EQ(check::ulps_off(1.0f, 1.0 + 0x1p-24), 0.5);
  EXPECT_EQ(check::ulps_off(0x1p-149f, 0), 1);
  EXPECT_EQ(check::ulps_off(kInf, 0x1p130), 0);
  EXPECT_EQ(check::ulps_off(FLT_MAX, 0x1p130), 1);
}

TEST(MathFunctions, GiveNanForNan) {
  for (const check::Function& f : check::functions())
    for (std::uint32_t bits : {0x7fc00000u, 0xffc00000u, 0x7fc00001u, 0x7fffffffu, 0xffffffffu, 0x7f800001u})
      for (float got : values(f, std::bit_cast<float>(bits)))
        EXPECT_TRUE(check::is_nan(got)) << f.name << " of " << bits;
}

TEST(MathFunctions, HaveTheirLimitsAtTheEdges) {
  for (const char* name : {"exp2", "exp"}) {
    expect(name, 0.0f, 1.0f);
    expect(name, minus_zero(), 1.0f);
    expect(name, 0x1p-149f, 1.0f);
    expect(name, kInf, kInf);
    expect(name, -kInf, 0.0f);
    expect(name, FLT_MAX, kInf);
    expect(name, -FLT_MAX, 0.0f);
  }
  for (int n = -149; n < 128; ++n) expect("exp2", static_cast<float>(n), std::ldexp(1.0f, n));
  expect("exp2", 128.0f, kInf);
  expect("exp2", -150.0f, 0.0f);
  expect("exp", 88.8f, kInf);
  expect("exp", -103.5f, 0x1p-149f);
  expect("exp", -104.0f, 0.0f);
  for (const char* name : {"erf", "tanh"})
    for (float sign : {1.0f, -1.0f}) {
      expect(name, sign * 0.0f, sign * 0.0f);
      expect(name, sign * kInf, sign);
      expect(name, sign * FLT_MAX, sign);
    }
  for (int n = -149; n < -30; ++n) expect("tanh", std::ldexp(-1.0f, n), std::ldexp(-1.0f, n));
  expect("sigmoid", 0.0f, 0.5f);
  expect("sigmoid", kInf, 1.0f);
  expect("sigmoid", -kInf, 0.0f);
  for (const char* name : {"silu", "gelu", "gelu_tanh"}) {
    expect(name, 0.0f, 0.0f);
    expect(name, minus_zero(), minus_zero());
    expect(name, kInf, kInf);
    expect(name, -kInf, minus_zero());
    expect(name, -FLT_MAX, minus_zero());
    expect(name, FLT_MAX, FLT_MAX);
    expect(name, 0x1p-148f, 0x1p-149f);
  }
  expect("softmax_exp", 0.0f, 1.0f);
  expect("softmax_exp", minus_zero(), 1.0f);
  expect("softmax_exp", -kInf, 0.0f);
  expect("softmax_exp", -FLT_MAX, 0.0f);
  expect("softmax_exp", -1e9f, 0.0f);
}
