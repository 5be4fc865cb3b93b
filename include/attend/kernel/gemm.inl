// Products: C[M, N] = A[M, K] · B[K, N], every element one chain of FMAs over k from 0 up.
//
// B lies in panels of 16 columns: element (k, 16 p + j) at b[p * panel + k * row + j]. A packed weight has
// panel = 16 K, row = 16; the rows of V in attention, as they lie, have panel = 16, row = their stride.
// Blocks of MR rows × NV panels keep their sums in registers: that block is all of the tuning.

/// Rows of a block of NV panels: as many sums as registers hold, beside NV of B and one of A.
template <int NV>
constexpr int kRows = ATTEND_SIMD == 512   ? (NV <= 2   ? 12
                                              : NV == 3 ? 8
                                              : NV == 4 ? 6
                                              : NV <= 6 ? 4
                                                        : 2)
                      : ATTEND_SIMD == 256 ? (NV == 1   ? 6
                                              : NV == 2 ? 3
                                                        : 1)
                      : kWideRegisterFile  ? (NV == 1   ? 6
                                              : NV == 2 ? 3
                                                        : 1)
                                           : (NV == 1 ? 2 : 1);
/// Panels of a block when there are many rows, and when there are at most two (then B is read once, from
/// memory).
constexpr int kPanels = ATTEND_SIMD == 512 ? 3 : 1;
constexpr int kPanelsFewRows = ATTEND_SIMD >= 256 ? 4 : 3;

template <int MR, int NV>
struct Sums {
  vf at[MR][NV];
};

template <int MR, int NV>
ATTEND_INLINED void set_zero(Sums<MR, NV>& sums) {
  ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
    ATTEND_UNROLL for (int j = 0; j < NV; ++j) sums.at[i][j] = set1(0.0f);
  }
}

/// sums[i][16 j …] += a[i] * b[16 j …] for one k; the lines of `ahead` that lie as b's do are fetched into
/// the L2 cache, but for one row, which the machine's own prefetching serves better.
template <int MR, int NV>
ATTEND_INLINED void accumulate_one(Sums<MR, NV>& sums, const float* a, Index lda, const float* b, Index panel,
                                   const float* ahead) {
  vf w[NV];
  ATTEND_UNROLL for (int j = 0; j < NV; ++j) w[j] = load(b + j * panel);
  if constexpr (MR > 1) {
    ATTEND_UNROLL for (int j = 0; j < NV; ++j) __builtin_prefetch(ahead + j * panel, 0, 2);
  }
  ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
    const vf x = set1(a[i * lda]);
    ATTEND_UNROLL for (int j = 0; j < NV; ++j) sums.at[i][j] = fma(x, w[j], sums.at[i][j]);
  }
}

/// sums[i][16 j …] += a[i][k] * b[k][16 j …] for k = 0 … depth - 1, in this order.
template <int MR, int NV>
ATTEND_INLINED void accumulate(Sums<MR, NV>& sums, const float* a, Index lda, const float* b, Index panel,
                               Index row, Index depth, const float* ahead) {
  if constexpr (MR <= 4) {  // b comes from memory, and each load has the same stride as b: caches see that
    for (Index k = 0; k < depth; ++k) accumulate_one(sums, a + k, lda, b + k * row, panel, ahead + k * row);
  } else {
    ATTEND_UNROLL_BY(4)
    for (Index k = 0; k < depth; ++k) accumulate_one(sums, a + k, lda, b + k * row, panel, ahead + k * row);
  }
}

/// Calls op.run<MR, NV>(m, p) over rows [m0, m1) of the NV panels from p on.
template <int NV, class Op>
ATTEND_INLINED void sweep_rows(const Op& op, Index m0, Index m1, Index p) {
  constexpr int R = kRows<NV>;
  Index m = m0;
  // 8 = 4 + 4: the last 2 of 6 + 2 would have too few sums to hide the latency of an FMA
  for (; m + R <= m1 && !(R == 6 && m1 - m == 8); m += R) op.template run<R, NV>(m, p);
  if constexpr (R > 8) {
    if (m + 8 <= m1) op.template run<8, NV>(m, p), m += 8;
  }
  if constexpr (R > 4) {
    for (; m + 4 <= m1; m += 4) op.template run<4, NV>(m, p);
  }
  if constexpr (R > 2) {
    if (m + 2 <= m1) op.template run<2, NV>(m, p), m += 2;
  }
  if constexpr (R > 1) {
    for (; m < m1; ++m) op.template run<1, NV>(m, p);
  }
}

/// Covers rows [m0, m1) × panels [p0, p1) with blocks, few rows with blocks of FEW panels.
template <int FEW = kPanelsFewRows, class Op>
ATTEND_INLINED void sweep(const Op& op, Index m0, Index m1, Index p0, Index p1) {
  Index p = p0;
  if (m1 - m0 <= kRows<FEW>)
    for (; p + FEW <= p1; p += FEW) sweep_rows<FEW>(op, m0, m1, p);
  if constexpr (kPanels == 3) {
    // 4 = 2 + 2: a last lone panel would have too few sums to hide the latency of an FMA
    for (; p + 3 <= p1 && p1 - p != 4; p += 3) sweep_rows<3>(op, m0, m1, p);
    for (; p + 2 <= p1; p += 2) sweep_rows<2>(op, m0, m1, p);
  }
  for (; p < p1; ++p) sweep_rows<1>(op, m0, m1, p);
}

/// One block of k of a product with its epilogue: see Product in calls.hpp.
struct ProductOp {
  const Product& t;
  Index k0, k1;

  template <int MR, int NV>
  ATTEND_NOINLINE void run(Index m, Index p) const {
    Sums<MR, NV> sums;
    float* c = t.c + m * t.ldc + p * 16;
    const int tail =
        static_cast<int>(t.n - (p + NV - 1) * 16 < 16 ? t.n - (p + NV - 1) * 16 : 16);  // of the last panel
    if (k0 == 0) {
      set_zero(sums);
    } else {
      ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
        ATTEND_UNROLL for (int j = 0; j < NV - 1; ++j) sums.at[i][j] = load(c + i * t.ldc + j * 16);
        sums.at[i][NV - 1] = load_n(c + i * t.ldc + (NV - 1) * 16, tail);
      }
    }
    accumulate(sums, t.a + m * t.lda + k0, t.lda, t.w + (p * t.k + k0) * 16, t.k * 16, 16, k1 - k0,
               t.w + ((p + (m < NV ? NV : 0)) * t.k + k0) * 16);
    if (k1 == t.k) {
      if (t.bias != nullptr) {
        ATTEND_UNROLL for (int j = 0; j < NV; ++j) {
          const vf bias = load(t.bias + (p + j) * 16);
          ATTEND_UNROLL for (int i = 0; i < MR; ++i) sums.at[i][j] = add(sums.at[i][j], bias);
        }
      }
      if (t.residual != nullptr) {
        const float* residual = t.residual + m * t.ldr + p * 16;
        ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
          ATTEND_UNROLL for (int j = 0; j < NV - 1; ++j) sums.at[i][j] =
              add(sums.at[i][j], load(residual + i * t.ldr + j * 16));
          sums.at[i][NV - 1] = add(sums.at[i][NV - 1], load_n(residual + i * t.ldr + (NV - 1) * 16, tail));
        }
      }
    }
    ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
      ATTEND_UNROLL for (int j = 0; j < NV - 1; ++j) store(c + i * t.ldc + j * 16, sums.at[i][j]);
      if (tail == 16)
        store(c + i * t.ldc + (NV - 1) * 16, sums.at[i][NV - 1]);
      else
        store_n(c + i * t.ldc + (NV - 1) * 16, sums.at[i][NV - 1], tail);
    }
    if (k1 == t.k && t.activation != Activation::identity)
      for (int i = 0; i < MR; ++i) activate(t.activation, c + i * t.ldc, c + i * t.ldc, (NV - 1) * 16 + tail);
  }
};

/// Rows [m0, m1) × panels [p0, p1) of a product. 1024 of k at a time keep a block's part of A near the L1
/// cache; the next of k reload the sums and go on with the same chain, 12 panels at a time, so that the sums
/// come from the L2 cache. One block of rows reads its B but once, as one stream.
ATTEND_NOINLINE void product(const Product& t, Index m0, Index m1, Index p0, Index p1) {
  const Index depth = m1 - m0 <= kRows<1> ? t.k : 1024;
  const Index width = t.k <= depth ? p1 - p0 : 12;
  for (Index p = p0; p < p1; p += width) {
    Index k0 = 0;
    do {
      const Index k1 = t.k - k0 > depth ? k0 + depth : t.k;
      sweep(ProductOp{t, k0, k1}, m0, m1, p, p + width < p1 ? p + width : p1);
      k0 = k1;
    } while (k0 < t.k);
  }
}
