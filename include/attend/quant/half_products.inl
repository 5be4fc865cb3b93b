// Products of 16-bit weights: chains of FMAs over k, as those of kernel/gemm.inl. Included by kernels.inl.

/// Most rows of a block: as many sums as registers hold, beside two of the weights and one of the inputs.
constexpr int kMostHalfRows = ATTEND_SIMD == 512 ? 12 : ATTEND_SIMD == 256 ? 6 : 2;

/// Rows [m, m + MR) of panels [p, p + NP), NP > 1 where one alone would have too few sums to hide the latency
/// of an FMA. Of one row both halves are summed at once, so that its weights are read once.
template <int MR, int NP, bool BFloat>
ATTEND_NOINLINE void run_half(const HalfProduct& t, Index m, Index p, Index ahead) {
  constexpr int H = MR == 1 ? 2 : kHalves;
  const Index panel = t.k * kColumns * 2;
  for (int half = 0; half < 2; half += H) {
    vf y[MR][NP * H];
    ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
      ATTEND_UNROLL for (int h = 0; h < NP * H; ++h) y[i][h] = set1(0.0f);
    }
    const float*
        a[(MR + 3) / 4];  // each of four rows: one for each row would be more than there are registers
    ATTEND_UNROLL for (int i = 0; i < (MR + 3) / 4; ++i) a[i] = t.a + (m + 4 * i) * t.lda;
    const std::byte* w = t.w + p * panel;
    ATTEND_UNROLL_BY(4) for (Index k = 0; k < t.k; ++k, w += 64) {
      vf b[NP * H];
      ATTEND_UNROLL for (int q = 0; q < NP; ++q) load_wide<BFloat, H>(w + q * panel, half, b + q * H);
      if constexpr (kFetches<MR>) {
        ATTEND_UNROLL for (int q = 0; q < NP; ++q) __builtin_prefetch(w + q * panel + ahead);
      }
      ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
        const vf x = set1(a[i / 4][i % 4 * t.lda]);
        ATTEND_UNROLL for (int h = 0; h < NP * H; ++h) y[i][h] = fma(x, b[h], y[i][h]);
      }
      ATTEND_UNROLL for (int i = 0; i < (MR + 3) / 4; ++i)++ a[i];
    }
    for (int h = 0; h < NP * H; ++h) {
      const Index n = (p + h / H) * kColumns + (half + h % H) * 16;
      for (int i = 0; i < MR && n < t.n; ++i) finish_columns(t, m + i, n, y[i][h]);
    }
  }
}
template <bool BFloat>
ATTEND_INLINED void sweep_half(const HalfProduct& t, Index m0, Index m1, Index p0, Index p1) {
  constexpr int R = kMostHalfRows;
  if (m1 - m0 == 1)
    for (; p0 + 2 <= p1; p0 += 2) run_half<1, 2, BFloat>(t, m0, p0, kAhead);
  const Index next = ATTEND_SIMD == 512 ? kAhead : t.k * kColumns * 2;
  for (Index p = p0; p < p1; ++p) {
    Index m = m0, ahead = next;
    for (; m + R <= m1; m += R, ahead = 0) run_half<R, 1, BFloat>(t, m, p, ahead);
    if constexpr (R > 8)
      for (; m + 8 <= m1; m += 8, ahead = 0) run_half<8, 1, BFloat>(t, m, p, ahead);
    if constexpr (R > 4)
      for (; m + 4 <= m1; m += 4, ahead = 0) run_half<4, 1, BFloat>(t, m, p, ahead);
    for (; m + 2 <= m1; m += 2, ahead = 0) run_half<2, 1, BFloat>(t, m, p, ahead);
    if (m < m1) run_half<1, 1, BFloat>(t, m, p, ahead);
  }
}
ATTEND_NOINLINE void half_product(const HalfProduct& t, bool bfloat, Index m0, Index m1, Index p0, Index p1) {
  bfloat ? sweep_half<true>(t, m0, m1, p0, p1) : sweep_half<false>(t, m0, m1, p0, p1);
}
ATTEND_NOINLINE void widen(const std::byte* panel, Index k, bool bfloat, float* out) {
  for (Index i = 0; i < k; ++i, panel += 64, out += 16) {
    vf wide[2];
    bfloat ? load_wide<true, 2>(panel, 0, wide) : load_wide<false, 2>(panel, 0, wide);
    ATTEND_UNROLL for (int h = 0; h < 2; ++h) store(out + h * k * 16, wide[h]);
  }
}
