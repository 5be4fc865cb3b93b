// Products: C[M, N] = A[M, K] · B[K, N], every element one chain of FMAs over k from 0 up. Linear layers,
// scores and values of attention are all this one loop nest.
//
// B lies in panels of 16 columns: element (k, 16 p + j) at b[p * panel + k * row + j]. A packed weight has
// panel = 16 K, row = 16; the rows of V in attention, as they lie, have panel = 16, row = their stride.
// Blocks of MR rows × NV panels keep their sums in registers: that block is all of the tuning.

/// Most rows of a block of NV panels: as many sums as registers hold, beside NV of B and one of A; of one or
/// two panels fewer, which hide the latency of an FMA as well.
template <int NV>
constexpr int kRows = ATTEND_SIMD == 512                        ? (NV <= 3 ? 8 : 6)
                      : ATTEND_SIMD == 256 || kWideRegisterFile ? (NV == 1 ? 6 : 1)
                                                                : (NV == 1 ? 2 : 1);
/// Panels of a block when there are many rows, and the most, for so few that B is read once, from memory.
constexpr int kPanels = ATTEND_SIMD == 512 ? 3 : 1;
constexpr int kMostPanels = ATTEND_SIMD >= 256 ? 4 : 3;

template <int MR, int NV>
struct Sums {
  vf at[MR][NV];
};

/// x * factor; + 0 makes -0 to +0: whether a masked 0 was added to a sum of -0 is not to be seen.
ATTEND_INLINED vf scaled(vf x, vf factor) { return add(mul(x, factor), set1(0.0f)); }

struct Block {
  const float* a = nullptr;  // element (m, k) at a[m * lda + k]
  Index lda = 0;
  const float* b = nullptr;  // element (k, 16 p + j) at b[p * panel + k * row + j]
  Index panel = 0, row = 0, depth = 0;
  float* c = nullptr;  // element (m, n) at c[m * ldc + n], n < width
  Index ldc = 0, width = 0;
  bool resumes = false;          // the chains go on from C, each row of it times
  const float* alpha = nullptr;  // [M], or null: 1
  const float* ahead = nullptr;  // wanted next, as much as b; null: the panels that follow
  // What becomes of the sums at the end of their chains, in this order.
  const float* bias = nullptr;      // [N]
  const float* residual = nullptr;  // [M, N], rows ldr apart
  Index ldr = 0;
  const float* factor = nullptr;  // [M]
  float* maximum = nullptr;       // [M][16], the greatest of each row so far; what it holds counts
  bool first = true;              // unless this is the first
  Activation activation = Activation::identity;
  void (*activate)(Activation, const float* x, float* y, Index n) = nullptr;

  /// Rows [m, m + MR) of panels [p, p + NV).
  template <int MR, int NV>
  void run(Index m, Index p) const;
  void run_cut(Index m, Index p, Index rows, Index panels, void (Block::*whole)(Index, Index) const) const;
};

/// sums[i][16 j …] += a[i] * b[16 j …] for one k, and on to the next; the lines of `ahead` that lie as b's do
/// are fetched into the L2 cache, but for one row, which the machine's own prefetching serves better.
template <int MR, int NV>
ATTEND_INLINED void accumulate(Sums<MR, NV>& sums, const float** a, Index lda, const float*& b, Index panel,
                               const float*& ahead, Index row) {
  vf w[NV];
  ATTEND_UNROLL for (int j = 0; j < NV; ++j) w[j] = load(b + j * panel);
  if constexpr (MR > 1) {
    ATTEND_UNROLL for (int j = 0; j < NV; ++j) __builtin_prefetch(ahead + j * panel, 0, 2);
  }
  ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
    const vf x = set1(a[i / 4][i % 4 * lda]);
    ATTEND_UNROLL for (int j = 0; j < NV; ++j) sums.at[i][j] = fma(x, w[j], sums.at[i][j]);
  }
  ATTEND_UNROLL for (int i = 0; i < (MR + 3) / 4; ++i)++ a[i];
  b += row, ahead += row;
}

ATTEND_NOINLINE void copy_rows(const float* from, Index from_row, float* to, Index to_row, Index rows,
                               Index columns) {
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < columns; j += 16) {
      const int n = static_cast<int>(columns - j < 16 ? columns - j : 16);
      store_block(to + i * to_row + j, load_block(from + i * from_row + j, n), n);
    }
}

#if ATTEND_SIMD < 512
/// n columns of each row of a panel.
ATTEND_NOINLINE void store_parts(const float* from, float* to, Index ldc, int rows, int n) {
  for (int i = 0; i < rows; ++i) store_n(to + i * ldc, load(from + i * 16), n);
}
#endif

/// The same where the last panel is cut and `whole` would read of C or the residual beyond it: on copies.
ATTEND_NOINLINE void Block::run_cut(Index m, Index p, Index rows, Index panels,
                                    void (Block::*whole)(Index, Index) const) const {
  alignas(64) float sums[24 * 16] = {}, added[24 * 16] = {};  // the most that a block has; zeros behind a row
  const Index columns = width - p * 16;
  float* to = c + m * ldc + p * 16;
  if (resumes) copy_rows(to, ldc, sums, panels * 16, rows, columns);
  Block block = *this;
  block.a += m * lda;
  block.b += p * panel;
  block.c = sums;
  block.ldc = block.ldr = block.width = panels * 16;
  block.first = first && p == 0;
  if (m > 0) block.ahead = block.b;
  if (m == 0 && ahead != nullptr) block.ahead += p * panel;
  if (alpha != nullptr) block.alpha += m;
  if (bias != nullptr) block.bias += p * 16;
  if (factor != nullptr) block.factor += m;
  if (maximum != nullptr) block.maximum += m * 16;
  if (residual != nullptr) {
    copy_rows(residual + m * ldr + p * 16, ldr, added, panels * 16, rows, columns);
    block.residual = added;
  }
  (block.*whole)(0, 0);
  copy_rows(sums, panels * 16, to, ldc, rows, columns);
}

/// n columns of the last panel.
template <int MR, int NV>
ATTEND_INLINED void store_cut(const Sums<MR, NV>& sums, float* to, Index ldc, int n) {
  to += (NV - 1) * 16;
#if ATTEND_SIMD == 512
  ATTEND_UNROLL for (int i = 0; i < MR; ++i) store_n(to + i * ldc, sums.at[i][NV - 1], n);
#else
  alignas(vf) float rows[MR * 16];
  ATTEND_UNROLL for (int i = 0; i < MR; ++i) store(rows + i * 16, sums.at[i][NV - 1]);
  store_parts(rows, to, ldc, MR, n);
#endif
}

template <int MR, int NV>
ATTEND_NOINLINE void Block::run(Index m, Index p) const {
  const Index columns = width - p * 16 < NV * 16 ? width - p * 16 : NV * 16;
  if (columns < NV * 16 && (resumes || residual != nullptr))
    return run_cut(m, p, MR, NV, &Block::run<MR, NV>);
  Sums<MR, NV> sums;
  float* to = c + m * ldc + p * 16;
  ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
    ATTEND_UNROLL for (int j = 0; j < NV; ++j) sums.at[i][j] = set1(0.0f);
  }
  if (resumes) {
    ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
      const vf x = set1(alpha != nullptr ? alpha[m + i] : 1.0f);
      ATTEND_UNROLL for (int j = 0; j < NV; ++j) sums.at[i][j] = mul(load(to + i * ldc + j * 16), x);
    }
  }
  // Each pointer is of four rows: one for each of them would be more than there are registers.
  const float* x[(MR + 3) / 4];
  ATTEND_UNROLL for (int i = 0; i < (MR + 3) / 4; ++i) {
    x[i] = a + (m + i * 4) * lda;
    asm("" : "+r"(x[i]));
  }
  const float* w = b + p * panel;
  const float* next = m > 0 ? w : ahead != nullptr ? ahead + p * panel : w + NV * panel;
  if constexpr (MR <= 4) {  // b comes from memory, and each load has the same stride as b: caches see that
    for (Index k = 0; k < depth; ++k) accumulate(sums, x, lda, w, panel, next, row);
  } else {
    ATTEND_UNROLL_BY(4)
    for (Index k = 0; k < depth; ++k) accumulate(sums, x, lda, w, panel, next, row);
  }
  if (bias != nullptr) {
    ATTEND_UNROLL for (int j = 0; j < NV; ++j) {
      const vf v = load(bias + (p + j) * 16);
      ATTEND_UNROLL for (int i = 0; i < MR; ++i) sums.at[i][j] = add(sums.at[i][j], v);
    }
  }
  if (residual != nullptr) {
    const float* from = residual + m * ldr + p * 16;
    ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
      ATTEND_UNROLL for (int j = 0; j < NV; ++j) sums.at[i][j] =
          add(sums.at[i][j], load(from + i * ldr + j * 16));
    }
  }
  if (factor != nullptr) {
    ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
      const vf f = set1(factor[m + i]);
      ATTEND_UNROLL for (int j = 0; j < NV; ++j) sums.at[i][j] = scaled(sums.at[i][j], f);
    }
  }
  if (maximum != nullptr) {
    ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
      vf best = sums.at[i][0];
      ATTEND_UNROLL for (int j = 1; j < NV; ++j) best = max_of(best, sums.at[i][j]);
      float* lanes = maximum + (m + i) * 16;
      store(lanes, p == 0 && first ? best : max_of(best, load(lanes)));
    }
  }
  const bool cut = columns < NV * 16;
  ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
    ATTEND_UNROLL for (int j = 0; j < NV - 1; ++j) store(to + i * ldc + j * 16, sums.at[i][j]);
    if (!cut) store(to + i * ldc + (NV - 1) * 16, sums.at[i][NV - 1]);
  }
  if (cut) store_cut(sums, to, ldc, static_cast<int>(columns - (NV - 1) * 16));
  if (activation != Activation::identity)
    for (int i = 0; i < MR; ++i) activate(activation, to + i * ldc, to + i * ldc, columns);
}

/// Rows [0, rows) of the NV panels from p on.
template <int NV>
ATTEND_INLINED void sweep_rows(const Block& block, Index rows, Index p) {
  constexpr int R = kRows<NV>;
  Index m = 0;
  // 8 = 4 + 4: the last 2 of 6 + 2 would have too few sums to hide the latency of an FMA
  for (; m + R <= rows && !(R == 6 && rows - m == 8); m += R) block.run<R, NV>(m, p);
  if constexpr (R > 4) {
    for (; m + 4 <= rows; m += 4) block.run<4, NV>(m, p);
  }
  if constexpr (R > 2) {
    if (m + 2 <= rows) block.run<2, NV>(m, p), m += 2;
  }
  if constexpr (R > 1) {
    for (; m < rows; ++m) block.run<1, NV>(m, p);
  }
}

/// All of it: rows [0, rows) × panels [0, panels), as `wide` as can be where there are few rows.
ATTEND_NOINLINE void sweep(const Block& block, Index rows, Index panels, bool wide) {
  Index p = 0;
  if (wide)
    for (; p + kMostPanels <= panels; p += kMostPanels) sweep_rows<kMostPanels>(block, rows, p);
  if constexpr (kPanels == 3) {
    // 4 = 2 + 2: a last lone panel would have too few sums to hide the latency of an FMA
    for (; p + 3 <= panels && panels - p != 4; p += 3) sweep_rows<3>(block, rows, p);
    for (; p + 2 <= panels; p += 2) sweep_rows<2>(block, rows, p);
  } else if (rows == 1) {
    if (p + 3 <= panels) sweep_rows<3>(block, rows, p), p += 3;
    if (p + 2 <= panels) sweep_rows<2>(block, rows, p), p += 2;
  }
  for (; p < panels; ++p) sweep_rows<1>(block, rows, p);
}

/// Rows [m0, m1) × panels [p0, p1) of a product. 1024 of k at a time keep a block's part of A near the L1
/// cache; the next of k reload the sums and go on with the same chain, 12 panels at a time, so that the sums
/// come from the L2 cache. One block of rows reads its B but once, as one stream.
ATTEND_NOINLINE void product(const Product& t, Index m0, Index m1, Index p0, Index p1) {
  const Index rows = m1 - m0, depth = rows <= kRows<1> ? t.k : 1024;
  const Index most = t.k <= depth ? p1 - p0 : 12;
  for (Index p = p0; p < p1; p += most) {
    Index k0 = 0;
    do {
      const Index k1 = t.k - k0 > depth ? k0 + depth : t.k;
      Block block{.a = t.a + m0 * t.lda + k0,
                  .lda = t.lda,
                  .b = t.w + (p * t.k + k0) * 16,
                  .panel = t.k * 16,
                  .row = 16,
                  .depth = k1 - k0,
                  .c = t.c + m0 * t.ldc + p * 16,
                  .ldc = t.ldc,
                  .width = t.n - p * 16,
                  .resumes = k0 > 0};
      if (k1 == t.k) {
        block.bias = t.bias == nullptr ? nullptr : t.bias + p * 16;
        block.residual = t.residual == nullptr ? nullptr : t.residual + m0 * t.ldr + p * 16;
        block.ldr = t.ldr;
        block.activation = t.activation, block.activate = t.activate;
      }
      sweep(block, rows, p + most < p1 ? most : p1 - p, rows <= kRows<kMostPanels>);
      k0 = k1;
    } while (k0 < t.k);
  }
}
