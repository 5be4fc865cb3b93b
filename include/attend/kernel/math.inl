// Elementary functions of float on the vocabulary of simd.inl. Included once per ISA after it, in the same
// namespace and target region, and once more over a single lane by reference/math.hpp: each formula has one
// copy. Every multiply-add is an explicit fma and no other product feeds an addition, so all machines with
// FMA give the same bits under any compiler flag.
//
// Largest errors over every float, by tests/math_exhaustive.cpp, in ulp of the result (1 ulp is the last
// place of the exact value rounded to float). "or" means whichever is larger.
//
//                  with FMA               without FMA (SSE2)          what
//   exp2           0.88                   1.08                        2^x
//   exp            0.90                   1.18                        e^x
//   erf            1.72                   2.01
//   tanh           1.47                   1.46
//   sigmoid        2.41                   2.41                        1 / (1 + e^-x)
//   silu           3.35, or 1e-43         3.35, or 1e-43              x sigmoid(x)
//   gelu           4, or 5e-8             4, or 6e-8                  x Phi(x)
//   gelu_tanh      4, or 5e-8             4, or 6e-8
//   softmax_exp    1.95, or 2^-126        3, or 5e-8                  2^(y c), y <= 0 < c
//
// Where x >= 0, silu is within 1.6, gelu 3.8 and gelu_tanh 1.9 ulp; below 0 the exponentials of the latter
// two lose digits as they fall. softmax_exp without FMA is 45 ulp off far down, since y c is rounded there.
//
// All take every float: subnormal arguments and results are not flushed, NaN gives NaN (its sign and payload
// are unspecified), and at -inf gelu, gelu_tanh and silu give their limit -0 (PyTorch gives NaN there).
//
// Coefficients are weighted minimax fits (Remez, weight 1/ulp of the result) of our own: lower coefficients
// were rounded to float first and the others refitted, then all searched a few ulp around.
//
// Of the vocabulary this file asks that min(a, b) and max(a, b) are b when either is NaN, as minps and maxps.

// Adding such a constant to |v| < 2^22 rounds v to an integer n in the low bits of the sum. Their last nine
// are n + bias, so that shifted left by 23 they are the float 2^n for bias 127 (0 for n = -127).
inline constexpr float kRoundBias127 = 0x1.8p23f + 127.0f;
inline constexpr float kRoundBias254 = 0x1.8p23f + 254.0f;

/// 2^n from t = n + kRoundBias127, -127 <= n <= 127.
ATTEND_INLINED vf power_of_two(vf t) { return as_float(shl<23>(as_int(t))); }

/// p * 2^n from t = n + kRoundBias254, -254 <= n <= 254, rounded once though the result be subnormal: the two
/// factors are 2^floor(n/2) and 2^ceil(n/2), each from half of the doubled bias.
ATTEND_INLINED vf scale_by_power_of_two(vf p, vf t) {
  const vi twice = as_int(t);
  const vi half = srl<1>(twice);
  return mul(mul(p, as_float(shl<23>(half))), as_float(shl<23>(subi(twice, half))));
}

/// -|x|.
ATTEND_INLINED vf minus_abs(vf x) { return as_float(ori(as_int(x), set1i(INT32_MIN))); }

ATTEND_INLINED vf copysign(vf magnitude, vf sign) {
  return as_float(ori(andi(as_int(magnitude), set1i(INT32_MAX)), andi(as_int(sign), set1i(INT32_MIN))));
}

/// 2^f for |f| <= 1/2, approximated within 0.04 ulp before rounding; exactly 1 at 0.
ATTEND_INLINED vf exp2_reduced(vf f) {
  vf q = set1(0x1.40b262p-13f);
  q = fma(q, f, set1(0x1.5f095cp-10f));
  q = fma(q, f, set1(0x1.3b2f1ap-7f));
  q = fma(q, f, set1(0x1.c6af7ap-5f));
  q = fma(q, f, set1(0x1.ebfbdap-3f));
  q = fma(q, f, set1(0x1.62e430p-1f));
  return fma(q, f, set1(1.0f));
}

/// (e^r - 1 - r) / r^2 for |r| <= ln(2)/2: e^r = 1 + r + r^2 q is within 0.04 ulp before rounding.
ATTEND_INLINED vf exp_quotient(vf r) {
  vf q = set1(0x1.697bacp-10f);
  q = fma(q, r, set1(0x1.123980p-7f));
  q = fma(q, r, set1(0x1.5559fep-5f));
  q = fma(q, r, set1(0x1.555492p-3f));
  return fma(q, r, set1(0x1.fffffap-2f));
}

/// e^x, -104 <= x <= 89 or NaN. ln 2 is split so that n times its upper part is exact without FMA too.
ATTEND_INLINED vf exp_clamped(vf x) {
  const vf t = fma(x, set1(0x1.715476p0f), set1(kRoundBias254));
  const vf minus_n = sub(set1(kRoundBias254), t);
  vf r = fma(minus_n, set1(0x1.62e4p-1f), x);
  r = fma(minus_n, set1(0x1.7f7d1cp-20f), r);
  const vf q = exp_quotient(r);
  return scale_by_power_of_two(fma(fma(q, r, set1(1.0f)), r, set1(1.0f)), t);
}

/// e^x - 1, |x| <= 30 or NaN, without cancellation near 0.
ATTEND_INLINED vf exp_minus_one(vf x) {
  const vf t = fma(x, set1(0x1.715476p0f), set1(kRoundBias127));
  const vf minus_n = sub(set1(kRoundBias127), t);
  const vf r = fma(minus_n, set1(0x1.62e430p-1f), x);
  const vf m = fma(exp_quotient(r), mul(r, r), r);  // e^r - 1
  const vf s = power_of_two(t);
  return fma(s, m, sub(s, set1(1.0f)));
}

/// 2^x.
ATTEND_INLINED vf exp2(vf x) {
  x = max_of(set1(-151.0f), min_of(set1(128.0f), x));
  const vf t = add(x, set1(kRoundBias254));
  const vf minus_n = sub(set1(kRoundBias254), t);
  return scale_by_power_of_two(exp2_reduced(add(x, minus_n)), t);
}

/// e^x.
ATTEND_INLINED vf exp(vf x) { return exp_clamped(max_of(set1(-104.0f), min_of(set1(89.0f), x))); }

/// What softmax_exp clamps at: y * c is no less than -127. One division per row, not per element.
ATTEND_INLINED vf softmax_lowest(vf c) { return div(set1(-127.0f), c); }

/// 2^(y c) for y <= 0 < c, the softmax's exponential with scale * log2(e) folded into c: y c is exact in the
/// FMA. Exactly 1 at y = 0, exactly 0 for y c < -126.5 and at -inf. `lowest` is softmax_lowest(c).
/// 11 operations: 1 max, 1 sub, 7 fma, 1 shift, 1 mul. Degree 6 would cost a twelfth for 0.9 ulp.
ATTEND_INLINED vf softmax_exp(vf y, vf c, vf lowest) {
  y = max_of(lowest, y);
  const vf t = fma(y, c, set1(kRoundBias127));
  const vf minus_n = sub(set1(kRoundBias127), t);
  const vf f = fma(y, c, minus_n);
  vf q = set1(0x1.5aab6ep-10f);
  q = fma(q, f, set1(0x1.3cec48p-7f));
  q = fma(q, f, set1(0x1.c6babcp-5f));
  q = fma(q, f, set1(0x1.ebf9b6p-3f));
  q = fma(q, f, set1(0x1.62e424p-1f));
  return mul(fma(q, f, set1(1.0f)), power_of_two(t));
}

/// The error function: its magnitude is 1 - e^(u + u R(u)) in u = -|x|, where R(-t) = -log(erfc(t)) / t - 1.
/// From |x| = 4 on it is 1 in float.
ATTEND_INLINED vf erf(vf x) {
  const vf u = max_of(set1(-4.0f), minus_abs(x));
  vf r = set1(-0x1.387dd4p-17f);
  r = fma(r, u, set1(-0x1.effc2ap-14f));
  r = fma(r, u, set1(-0x1.4d2b22p-11f));
  r = fma(r, u, set1(-0x1.b68690p-10f));
  r = fma(r, u, set1(-0x1.5f16a8p-13f));
  r = fma(r, u, set1(0x1.39bab8p-6f));
  r = fma(r, u, set1(0x1.a4f8dap-4f));
  r = fma(r, u, set1(-0x1.45f300p-1f));
  r = fma(r, u, set1(0x1.06eba8p-3f));
  return copysign(exp_minus_one(fma(r, u, u)), x);
}

/// The hyperbolic tangent: an odd polynomial below 0.55, else 1 - 2 / (e^(2|x|) + 1), at least 1/2, which
/// hides the errors of the quotient. From |x| = 10 on it is 1 in float. The one formula m / (m + 2) in m =
/// e^(2|x|) - 1 is a quarter shorter, but 2.4 ulp off: three roundings, each at its worst.
ATTEND_INLINED vf tanh(vf x) {
  const vf a = min_of(set1(10.0f), abs(x));
  const vf square = mul(a, a);
  vf p = set1(-0x1.9c5822p-8f);
  p = fma(p, square, set1(0x1.597b2ap-6f));
  p = fma(p, square, set1(-0x1.b931aep-5f));
  p = fma(p, square, set1(0x1.110d6cp-3f));
  p = fma(p, square, set1(-0x1.55554cp-2f));
  const vf low = fma(mul(a, square), p, a);
  const vf quotient = div(set1(2.0f), add(exp_minus_one(add(a, a)), set1(2.0f)));
  return copysign(select(lt(a, set1(0.55f)), low, sub(set1(1.0f), quotient)), x);
}

/// 1 / (1 + e^-x), from e^-|x|, which cannot overflow.
ATTEND_INLINED vf sigmoid(vf x) {
  const vf e = exp_clamped(max_of(set1(-104.0f), minus_abs(x)));
  return div(select(lt(x, set1(0.0f)), e, set1(1.0f)), add(set1(1.0f), e));
}

/// x sigmoid(x).
ATTEND_INLINED vf silu(vf x) {
  const vf u = max_of(set1(-104.0f), minus_abs(x));
  const vf e = exp_clamped(u);
  return div(select(lt(x, set1(0.0f)), mul(u, e), x), add(set1(1.0f), e));
}

/// x Phi(x), Phi the normal distribution function, as relu(x) + u Phi(u) in u = -|x|, where
/// log2(Phi(u)) = -1 + u G(u): within 1e-8 of the result, 2 % of it in the far tail.
ATTEND_INLINED vf gelu(vf x) {
  const vf u = max_of(set1(-14.3f), minus_abs(x));
  vf g = set1(-0x1.539000p-32f);
  g = fma(g, u, set1(-0x1.46ab16p-26f));
  g = fma(g, u, set1(-0x1.0466e0p-21f));
  g = fma(g, u, set1(-0x1.bb8204p-18f));
  g = fma(g, u, set1(-0x1.aab7dep-15f));
  g = fma(g, u, set1(-0x1.962152p-13f));
  g = fma(g, u, set1(0x1.69af0ep-13f));
  g = fma(g, u, set1(0x1.d4b51ap-8f));
  g = fma(g, u, set1(0x1.aeb92cp-5f));
  g = fma(g, u, set1(-0x1.d631f6p-2f));
  g = fma(g, u, set1(0x1.26af22p+0f));
  const vf z = fma(g, u, set1(-1.0f));
  const vf t = add(z, set1(kRoundBias254));
  const vf minus_n = sub(set1(kRoundBias254), t);
  const vf phi = scale_by_power_of_two(exp2_reduced(add(z, minus_n)), t);
  // relu(x), -0 for a negative x and for -0. (Its select form is wrong at +0 as clang 14 compiles it.)
  return fma(u, phi, max_of(as_float(set1i(INT32_MIN)), x));
}

/// x / 2 (1 + tanh(v)) with v = sqrt(2/pi) (x + 0.044715 x^3), as x sigmoid(2 v) with a power of two for
/// e^-2|v|.
ATTEND_INLINED vf gelu_tanh(vf x) {
  const vf u = max_of(set1(-11.0f), minus_abs(x));
  const vf k = fma(mul(u, u), set1(0x1.a5a7d0p-4f), set1(0x1.26aec2p+1f));
  const vf t = fma(u, k, set1(kRoundBias254));
  const vf minus_n = sub(set1(kRoundBias254), t);
  const vf e = scale_by_power_of_two(exp2_reduced(fma(u, k, minus_n)), t);
  return div(select(lt(x, set1(0.0f)), mul(u, e), x), add(set1(1.0f), e));
}
