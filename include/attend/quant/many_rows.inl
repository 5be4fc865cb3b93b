// Products of codes for many rows: 16 columns of a weight are decoded once for all of them. Included behind
// kernels.inl, whose products are those of fewer rows, in two tiers: where there are matrix instructions
// (AMX), which sum a group of 16 rows and 16 columns at a time; and in AVX2 without VNNI, which multiplies
// pairs of 16 bits, or bytes by codes of 4 bits.
//
// The former in assembler, as compilers of today have intrinsics for it only where a whole function is for
// that ISA.

constexpr bool kTiles = ATTEND_SIMD == 512;
constexpr Index kDecodedRows = kTiles ? 16 : 6;
/// Of fewer rows than this a decoded weight is not worth its while.
constexpr Index kManyRows = kTiles ? 16 : 24;
/// Most groups of a panel that are decoded at once.
constexpr Index kDecoded = kTiles ? 32 : 16;

/// 16 columns of so many groups, and their scales: of each group codes of bytes, [8][16][4], signed for
/// tiles, or codes of 16 bits that are not signed, [16][16][2], each four in the order 0, 2, 1, 3.
struct alignas(64) DecodedColumns {
  std::byte codes[kDecoded][kTiles ? 512 : 1024];
  float scales[kDecoded][16];
};

template <bool Bytes, int Bits>
ATTEND_INLINED void decode_columns(const std::byte* w, int half, Index groups, DecodedColumns& out) {
  constexpr Codes kCodes{Bits};
  const auto put = [](std::byte* to, vi four, [[maybe_unused]] int offset) {
#if ATTEND_SIMD == 512
    _mm512_store_si512(to, _mm512_sub_epi8((__m512i)four.r[0], _mm512_set1_epi8((char)offset)));
#else
    if (Bytes) return store((float*)to, as_float(four));
    store((float*)to, as_float(andi(four, set1i(0x00ff00ff))));
    store((float*)(to + 64), as_float(andi(srl<8>(four), set1i(0x00ff00ff))));
#endif
  };
  constexpr int kFour = Bytes ? 64 : 128;  // bytes of four of k
  for (Index g = 0; g < groups; ++g, w += kCodes.group()) {
    const std::byte* codes = w + half * kCodes.half();
    for (int j = 0; j < Bits; ++j) {
      const vi four = load_bytes(codes + 64 * j), low = set1i(0x0f0f0f0f);
      put(out.codes[g] + kFour * j, Bits == 8 ? four : andi(four, low), kCodes.offset());
      if constexpr (Bits == 4) put(out.codes[g] + kFour * (j + 4), andi(srl<4>(four), low), kCodes.offset());
    }
    store(out.scales[g], load_halves(w + 2 * kCodes.half() + half * 32));
  }
}

#if ATTEND_SIMD == 512
/// sums [kDecodedRows][16] = the products of kDecodedRows rows of a group and decoded codes.
ATTEND_INLINED void sum_tile(const std::byte* a, const std::byte* codes, std::int32_t* sums) {
  asm volatile(
      "tilezero %%tmm0\n\ttileloadd (%0,%4,1), %%tmm1\n\ttileloadd (%1,%3,1), %%tmm2\n\t"
      "tdpbssd %%tmm2, %%tmm1, %%tmm0\n\ttilestored %%tmm0, (%2,%3,1)"
      :
      : "r"(a), "r"(codes), "r"(sums), "r"(Index{64}), "r"(InputGroup{true, 0}.codes())
      : "memory");
}

/// y[i] = fma(float(sum), s d, y[i]) of rows [m, m + kDecodedRows) over groups [g, g + groups) of all.
template <bool>
ATTEND_INLINED void add_groups(const Product& t, Index m, Index g, Index groups,
                               const DecodedColumns& columns, vf* y) {
  alignas(64) std::int32_t sums[4][kDecodedRows * 16];  // of groups ahead: a sum takes long
  const InputGroup input{true, t.rows};
  const std::byte *a = t.a + g * input.size() + m * input.codes(),
                  *s = t.a + g * input.size() + input.scales() + 4 * m;
  for (Index j = 0; j < 2 && j < groups; ++j) sum_tile(a + j * input.size(), columns.codes[j], sums[j]);
  for (Index j = 0; j < groups; ++j, a += input.size(), s += input.size()) {
    if (j + 2 < groups) sum_tile(a + 2 * input.size(), columns.codes[j + 2], sums[(j + 2) % 4]);
    const vf d = load(columns.scales[j]);
    const std::int32_t* sum = sums[j % 4];
    ATTEND_UNROLL for (int i = 0; i < kDecodedRows; ++i) y[i] = fma(
        int_to_float(load_bytes((const std::byte*)(sum + 16 * i))), mul(broadcast_float(s + 4 * i), d), y[i]);
  }
}
#else
/// The same by pairs of 16 bits, or by bytes.
template <bool Bytes>
ATTEND_INLINED void add_groups(const Product& t, Index m, Index g, Index groups,
                               const DecodedColumns& columns, vf* y) {
  const InputGroup input{Bytes, t.rows};
  const std::byte *a = t.a + g * input.size() + m * input.codes(),
                  *s = t.a + g * input.size() + input.scales() + 4 * m, *start = s + 4 * t.rows;
  for (Index j = 0; j < groups; ++j, a += input.size(), s += input.size(), start += input.size()) {
    vi sums[kDecodedRows];
    ATTEND_UNROLL for (int i = 0; i < kDecodedRows; ++i) sums[i] = first_sum<Bytes, 4>(start + 4 * i);
    const std::byte* w = columns.codes[j];
    for (Index at = 0; at < input.codes(); at += 4, w += 64) {
      const vi codes = load_bytes(w);
      ATTEND_UNROLL for (int i = 0; i < kDecodedRows; ++i) {
        const vi x = broadcast_int(a + i * input.codes() + at);
        ATTEND_UNROLL for (int r = 0; r < kRegs; ++r) sums[i].r[r] =
            Bytes ? dot_quads(sums[i].r[r], codes.r[r], x.r[0]) : dot_pairs(sums[i].r[r], codes.r[r], x.r[0]);
      }
    }
    const vf d = load(columns.scales[j]);
    ATTEND_UNROLL for (int i = 0; i < kDecodedRows; ++i) {
      const vf sum = int_to_float(whole_sum<Bytes>(sums[i], start + 4 * i));
      y[i] = fma(sum, mul(broadcast_float(s + 4 * i), d), y[i]);
    }
  }
}
#endif

/// Rows [m, m + kDecodedRows) of 16 columns from n on: groups [g, g + groups) of all.
template <bool Bytes>
ATTEND_NOINLINE void run_decoded(const Product& t, Index m, Index n, Index g, Index groups,
                                 const DecodedColumns& columns) {
  const int count = t.n - n < 16 ? (int)(t.n - n) : 16;
  vf y[kDecodedRows];
  ATTEND_UNROLL for (int i = 0; i < kDecodedRows; ++i) y[i] =
      g > 0 ? load_n(t.c + (m + i) * t.ldc + n, count) : set1(0.0f);
  add_groups<Bytes>(t, m, g, groups, columns, y);
  // What is indexed in a loop is in memory, and y has to be in registers.
  alignas(64) float out[kDecodedRows][16];
  ATTEND_UNROLL for (int i = 0; i < kDecodedRows; ++i) store(out[i], y[i]);
  const bool last = g + groups == t.groups;
  for (int i = 0; i < kDecodedRows; ++i)
    if (last)
      finish_columns(t, m + i, n, load(out[i]));
    else
      store_n(t.c + (m + i) * t.ldc + n, load(out[i]), count);
}

template <bool Bytes, int Bits>
ATTEND_NOINLINE void sweep_decoded(const Product& t, Index m0, Index m1, Index p0, Index p1) {
#if ATTEND_SIMD == 512
  struct alignas(64) {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 32, 64};
    std::uint8_t rows[16] = {kDecodedRows, kDecodedRows, 8};
  } config;
  asm volatile("ldtilecfg %0" : : "m"(config));
#endif
  DecodedColumns columns;
  constexpr Codes kCodes{Bits};
  for (Index n = p0 * kColumns; n < p1 * kColumns && n < t.n; n += 16)
    for (Index g = 0; g < t.groups; g += kDecoded) {
      const Index groups = t.groups - g < kDecoded ? t.groups - g : kDecoded;
      const std::byte* w = t.w + (n / kColumns * t.groups + g) * kCodes.group();
      decode_columns<Bytes, Bits>(w, (int)(n % kColumns / 16), groups, columns);
      // What is decoded next is fetched meanwhile, a share of it with each block of rows.
      const bool more = g + kDecoded < t.groups;
      const Index next = n + 16, share = (groups * kDecodedRows + m1 - m0 - 1) / (m1 - m0);
      const std::byte* fetched =
          more ? w + kDecoded * kCodes.group()
               : t.w + next / kColumns * t.groups * kCodes.group() + next % kColumns / 16 * kCodes.half();
      const std::byte* end = t.w + p1 * t.groups * kCodes.group();
      for (Index m = m0; m < m1; m += kDecodedRows) {
        for (Index i = 0; i < share && fetched < end; ++i, fetched += kCodes.group())
          for (Index line = 0; line < kCodes.half(); line += 64) __builtin_prefetch(fetched + line, 0, 2);
        run_decoded<Bytes>(t, m, n, g, groups, columns);
      }
    }
#if ATTEND_SIMD == 512
  asm volatile("tilerelease");
#endif
}
ATTEND_NOINLINE void decoded_product(const Product& t, Index bits, bool bytes, Index m0, Index m1, Index p0,
                                     Index p1) {
  const bool many = (!kTiles || bytes) && m1 - m0 >= kManyRows;
  const Index m = many ? m1 - (m1 - m0) % kDecodedRows : m0;
  if (m == m0) return product(t, bits, bytes, m0, m1, p0, p1);
  if constexpr (kByteBits == 8) {
    bits == 8 ? sweep_decoded<true, 8>(t, m0, m, p0, p1) : sweep_decoded<true, 4>(t, m0, m, p0, p1);
  } else if (bytes) {
    sweep_decoded<true, 4>(t, m0, m, p0, p1);
  } else {
    bits == 8 ? sweep_decoded<false, 8>(t, m0, m, p0, p1) : sweep_decoded<false, 4>(t, m0, m, p0, p1);
  }
  if (m < m1) product(t, bits, bytes, m, m1, p0, p1);
}

inline constexpr Table decoded_table = {table.byte_bits, kDecodedRows, quantize, decoded_product,
                                        table.few_rows,  half_product, widen};
