// Products of codes by matrix instructions (AMX), which sum a group of 16 rows and 16 columns at a time;
// included behind kernels.inl in the tier that has VNNI, whose products are those of fewer rows.
//
// Assembler, as compilers of today have intrinsics for it only where a whole function is for that ISA.

constexpr Index kTileRows = 16;
/// Most groups of a panel that are decoded at once.
constexpr Index kDecoded = 32;

/// 16 columns of so many groups: signed codes, [8][16][4] of each group, and the scales.
struct alignas(64) DecodedColumns {
  std::byte codes[kDecoded][512];
  float scales[kDecoded][16];
};

template <int Bits>
ATTEND_INLINED void decode_columns(const std::byte* w, int half, Index groups, DecodedColumns& out) {
  constexpr Codes kCodes{Bits};
  for (Index g = 0; g < groups; ++g, w += kCodes.group()) {
    const std::byte* codes = w + half * kCodes.half();
    for (int j = 0; j < Bits; ++j) {
      const __m512i bytes = _mm512_loadu_si512(codes + 64 * j);
      if constexpr (Bits == 8) {
        _mm512_store_si512(out.codes[g] + 64 * j, _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)));
      } else {
        const __m512i low = _mm512_set1_epi8(15), offset = _mm512_set1_epi8((char)kCodes.offset());
        const __m512i high = _mm512_and_si512((__m512i)srl<4>(vi{{(ireg)bytes}}).r[0], low);
        _mm512_store_si512(out.codes[g] + 64 * j, _mm512_sub_epi8(_mm512_and_si512(bytes, low), offset));
        _mm512_store_si512(out.codes[g] + 64 * (j + 4), _mm512_sub_epi8(high, offset));
      }
    }
    store(out.scales[g], load_halves(w + 2 * kCodes.half() + half * 32));
  }
}

/// sums [kTileRows][16] = the products of kTileRows rows of a group and decoded codes.
ATTEND_INLINED void sum_tile(const std::byte* a, const std::byte* codes, std::int32_t* sums) {
  asm volatile(
      "tilezero %%tmm0\n\ttileloadd (%0,%4,1), %%tmm1\n\ttileloadd (%1,%3,1), %%tmm2\n\t"
      "tdpbssd %%tmm2, %%tmm1, %%tmm0\n\ttilestored %%tmm0, (%2,%3,1)"
      :
      : "r"(a), "r"(codes), "r"(sums), "r"(Index{64}), "r"(InputGroup{true, 0}.codes())
      : "memory");
}

/// Rows [m, m + kTileRows) of 16 columns from n on: groups [g, g + groups) of all.
ATTEND_NOINLINE void run_tile(const Product& t, Index m, Index n, Index g, Index groups,
                              const DecodedColumns& columns) {
  alignas(64) std::int32_t sums[4][kTileRows * 16];  // of groups ahead: a sum takes long
  const InputGroup input{true, t.rows};
  const std::byte *a = t.a + g * input.size() + m * input.codes(),
                  *s = t.a + g * input.size() + input.scales() + 4 * m;
  const int count = t.n - n < 16 ? (int)(t.n - n) : 16;
  vf y[kTileRows];
  ATTEND_UNROLL for (int i = 0; i < kTileRows; ++i) y[i] = set1(0.0f);
  if (g > 0) {
    ATTEND_UNROLL for (int i = 0; i < kTileRows; ++i) y[i] = load_n(t.c + (m + i) * t.ldc + n, count);
  }
  for (Index j = 0; j < 2 && j < groups; ++j) sum_tile(a + j * input.size(), columns.codes[j], sums[j]);
  for (Index j = 0; j < groups; ++j, a += input.size(), s += input.size()) {
    if (j + 2 < groups) sum_tile(a + 2 * input.size(), columns.codes[j + 2], sums[(j + 2) % 4]);
    const vf d = load(columns.scales[j]);
    const std::int32_t* sum = sums[j % 4];
    ATTEND_UNROLL for (int i = 0; i < kTileRows; ++i) {
      y[i] = fma(int_to_float(load_bytes((const std::byte*)(sum + 16 * i))),
                 mul(broadcast_float(s + 4 * i), d), y[i]);
    }
  }
  // What is indexed in a loop is in memory, and y has to be in registers.
  ATTEND_UNROLL for (int i = 0; i < kTileRows; ++i) store((float*)(sums[0] + 16 * i), y[i]);
  const bool last = g + groups == t.groups;
  for (int i = 0; i < kTileRows; ++i) {
    float* c = t.c + (m + i) * t.ldc + n;
    const vf result = load((const float*)(sums[0] + 16 * i));
    if (!last)
      store_n(c, result, count);
    else
      finish_columns(result, c, t.bias == nullptr ? nullptr : t.bias + n,
                     t.residual == nullptr ? nullptr : t.residual + (m + i) * t.ldr + n, t.n - n);
  }
}

template <int Bits>
ATTEND_NOINLINE void sweep_tiles(const Product& t, Index m0, Index m1, Index p0, Index p1) {
  struct alignas(64) {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 32, 64};
    std::uint8_t rows[16] = {kTileRows, kTileRows, 8};
  } config;
  asm volatile("ldtilecfg %0" : : "m"(config));
  DecodedColumns columns;
  for (Index n = p0 * kColumns; n < p1 * kColumns && n < t.n; n += 16)
    for (Index g = 0; g < t.groups; g += kDecoded) {
      const Index groups = t.groups - g < kDecoded ? t.groups - g : kDecoded;
      const std::byte* w = t.w + (n / kColumns * t.groups + g) * Codes{Bits}.group();
      decode_columns<Bits>(w, (int)(n % kColumns / 16), groups, columns);
      for (Index m = m0; m < m1; m += kTileRows) run_tile(t, m, n, g, groups, columns);
    }
  asm volatile("tilerelease");
}
ATTEND_NOINLINE void tile_product(const Product& t, Index bits, bool bytes, Index m0, Index m1, Index p0,
                                  Index p1) {
  const Index m = bytes ? m1 - (m1 - m0) % kTileRows : m0;
  if (m > m0) bits == 8 ? sweep_tiles<8>(t, m0, m, p0, p1) : sweep_tiles<4>(t, m0, m, p0, p1);
  if (m < m1) product(t, bits, bytes, m, m1, p0, p1);
}

inline constexpr Table tile_table = {true,           kTileRows,    quantize, tile_product,
                                     table.few_rows, half_product, widen};
