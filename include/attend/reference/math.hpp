// Elementary functions of one float by the very formulas of kernel/math.inl, in scalar code with std::fma:
// the bits of every kernel on a machine with FMA.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace attend::inline ATTEND_ABI::reference::exact {

// Signs of zero, NaN and the order of additions matter here, whatever the user's flags.
#if defined(__clang__)
#pragma float_control(precise, on, push)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("no-fast-math", "fp-contract=off")
#endif

#pragma push_macro("ATTEND_INLINED")
#undef ATTEND_INLINED
#define ATTEND_INLINED inline

/// The vocabulary of kernel/simd.inl on a single lane, as much of it as math.inl speaks.
namespace one_lane {

struct vf {
  float value;
};
struct vi {
  std::int32_t value;
};
struct vm {
  bool value;
};

inline vf set1(float a) { return {a}; }
inline vi set1i(std::int32_t a) { return {a}; }
inline vf add(vf a, vf b) { return {a.value + b.value}; }
inline vf sub(vf a, vf b) { return {a.value - b.value}; }
inline vf mul(vf a, vf b) { return {a.value * b.value}; }
inline vf div(vf a, vf b) { return {a.value / b.value}; }
inline vf fma(vf a, vf b, vf c) { return {std::fma(a.value, b.value, c.value)}; }
inline vf min_of(vf a, vf b) { return a.value < b.value ? a : b; }
inline vf max_of(vf a, vf b) { return a.value > b.value ? a : b; }
inline vf abs(vf a) { return {std::fabs(a.value)}; }
inline vi as_int(vf a) { return {std::bit_cast<std::int32_t>(a.value)}; }
inline vf as_float(vi a) { return {std::bit_cast<float>(a.value)}; }
inline std::uint32_t bits(vi a) { return static_cast<std::uint32_t>(a.value); }
inline vi from_bits(std::uint32_t a) { return {static_cast<std::int32_t>(a)}; }
inline vi subi(vi a, vi b) { return from_bits(bits(a) - bits(b)); }
inline vi andi(vi a, vi b) { return {a.value & b.value}; }
inline vi ori(vi a, vi b) { return {a.value | b.value}; }
template <int k>
inline vi shl(vi a) {
  return from_bits(bits(a) << k);
}
template <int k>
inline vi srl(vi a) {
  return from_bits(bits(a) >> k);
}
inline vm lt(vf a, vf b) { return {a.value < b.value}; }
inline vf select(vm m, vf if_true, vf if_false) { return m.value ? if_true : if_false; }

#include <attend/kernel/math.inl>

}  // namespace one_lane

#pragma pop_macro("ATTEND_INLINED")

inline float exp2(float x) { return one_lane::exp2({x}).value; }
inline float exp(float x) { return one_lane::exp({x}).value; }
inline float erf(float x) { return one_lane::erf({x}).value; }
inline float tanh(float x) { return one_lane::tanh({x}).value; }
inline float sigmoid(float x) { return one_lane::sigmoid({x}).value; }
inline float silu(float x) { return one_lane::silu({x}).value; }
inline float gelu(float x) { return one_lane::gelu({x}).value; }
inline float gelu_tanh(float x) { return one_lane::gelu_tanh({x}).value; }
/// 2^(y c) for y <= 0 < c, as the softmax takes it.
inline float softmax_exp(float y, float c) {
  return one_lane::softmax_exp({y}, {c}, one_lane::softmax_lowest({c})).value;
}

#if defined(__clang__)
#pragma float_control(pop)
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif

}  // namespace attend::inline ATTEND_ABI::reference::exact
