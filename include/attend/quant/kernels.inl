// Products of reduced weights, and the quantising of their inputs: the functions of one tier. regions.hpp
// includes this once per tier, behind kernel/simd.inl, with ATTEND_SIMD and ATTEND_VNNI = 0 or 1, whether
// products of four bytes are added up by one instruction.
//
// An element is y = fma(float(sum), s d, y) over the groups in ascending order: sum, the exact integer of 32
// products of codes, does not depend on how it is added up; s and d are the scales of input and weight.

// --- The vocabulary ---

ATTEND_INLINED vi load_bytes(const std::byte* p) {
  vi v;
  ATTEND_UNROLL for (int i = 0; i < kRegs; ++i) v.r[i] = *(const ireg_unaligned*)(p + i * kWidth * 4);
  return v;
}
ATTEND_INLINED vi broadcast_int(const std::byte* p) {
  int x;
  __builtin_memcpy(&x, p, 4);
  return set1i(x);
}
ATTEND_INLINED vf broadcast_float(const std::byte* p) {
  float x;
  __builtin_memcpy(&x, p, 4);
  return set1(x);
}

/// sum + a.lo * b.lo + a.hi * b.hi of the signed 16-bit halves of each lane.
ATTEND_INLINED ireg dot_pairs(ireg sum, ireg a, ireg b) {
#if ATTEND_SIMD == 512 && ATTEND_VNNI
  return (ireg)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif ATTEND_SIMD == 512
  return sum + (ireg)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif ATTEND_SIMD == 256 && ATTEND_VNNI
  return (ireg)_mm256_dpwssd_avx_epi32((__m256i)sum, (__m256i)a, (__m256i)b);
#elif ATTEND_SIMD == 256
  return sum + (ireg)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return sum + (ireg)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
  return sum + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}
#if ATTEND_VNNI
/// Where the bytes of weights are signed, those of codes of 8 bits are taken less their offset.
constexpr bool kSignedBytes = ATTEND_SIMD == 128;
/// sum + the four products of bytes of w, which are not negative unless kSignedBytes, and signed ones of a.
ATTEND_INLINED ireg dot_quads(ireg sum, ireg w, ireg a) {
#if ATTEND_SIMD == 512
  return (ireg)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)a);
#elif ATTEND_SIMD == 256
  return (ireg)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)w, (__m256i)a);
#else  // clang 14 has the intrinsic only where the whole unit is for that instruction
  asm("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(w), "w"(a));
  return sum;
#endif
}
#else
constexpr bool kSignedBytes = false;
#if ATTEND_SIMD == 256
/// The same in 16 bits, a half each of two products: the 16 in a group of 4-bit codes are 16 15 127 < 2^15.
ATTEND_INLINED ireg dot_quads(ireg sum, ireg w, ireg a) {
  return (ireg)_mm256_add_epi16((__m256i)sum, _mm256_maddubs_epi16((__m256i)w, (__m256i)a));
}
#endif
#endif
/// Inputs of 8 bits are kept as bytes for weights of at most so many.
constexpr int kByteBits = ATTEND_VNNI ? 8 : ATTEND_SIMD == 256 ? 4 : 0;

ATTEND_INLINED vf int_to_float(vi a) {  // to nearest, exact here below 2^24
  vf v;
  ATTEND_UNROLL for (int i = 0; i < kRegs; ++i) {
#if ATTEND_SIMD == 512
    v.r[i] = (freg)_mm512_maskz_cvtepi32_ps((__mmask16)0xffff, (__m512i)a.r[i]);
#elif ATTEND_SIMD == 256
    v.r[i] = (freg)_mm256_cvtepi32_ps((__m256i)a.r[i]);
#elif defined(__SSE2__)
    v.r[i] = (freg)_mm_cvtepi32_ps((__m128i)a.r[i]);
#else
    v.r[i] = __builtin_convertvector(a.r[i], freg);
#endif
  }
  return v;
}

/// 16 values of IEEE binary16, exact; NaN stays NaN.
ATTEND_INLINED vf load_halves(const std::byte* p) {
  vf v;
#if ATTEND_SIMD == 512
  v.r[0] = (freg)_mm512_maskz_cvtph_ps((__mmask16)0xffff, _mm256_loadu_si256((const __m256i*)p));
#elif ATTEND_SIMD == 256
  ATTEND_UNROLL for (int i = 0; i < kRegs; ++i) v.r[i] =
      (freg)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 16 * i)));
#else
  // As a float of exponent e - 15 + 15, times 2^112; a subnormal half is a subnormal float until then.
  const vf scale = set1(0x1p112f);
  vi bits;
  for (int i = 0; i < 16; ++i) {
    std::uint16_t h;
    __builtin_memcpy(&h, p + 2 * i, 2);
    bits.r[i / kWidth][i % kWidth] = h;
  }
  const vi magnitude = andi(bits, set1i(0x7fff)), sign = shl<16>(andi(bits, set1i(0x8000)));
  const vf finite = mul(as_float(shl<13>(magnitude)), scale);
  const vf special = as_float(ori(shl<13>(magnitude), set1i(0x7f800000)));
  v = select(gti(magnitude, set1i(0x7bff)), special, finite);
  v = as_float(ori(as_int(v), sign));
#endif
  return v;
}
/// Halves of a panel that are summed at once.
constexpr int kHalves = ATTEND_SIMD == 512 ? 2 : 1;

/// H times 16 of one k of a panel of 16-bit weights, from `half` on.
template <bool BFloat, int H>
ATTEND_INLINED void load_wide(const std::byte* p, int half, vf* out) {
  ATTEND_UNROLL for (int h = 0; h < H; ++h) {
    if constexpr (BFloat) {
      const vi both = load_bytes(p);
      out[h] = as_float(half + h == 0 ? shl<16>(both) : andi(both, set1i(-65536)));
    } else {
      out[h] = load_halves(p + 32 * (half + h));
    }
  }
}

// --- Inputs ---

ATTEND_INLINED int sum_of(vi a, vi b) {
  ATTEND_UNROLL for (int i = 0; i < kRegs; ++i) a.r[i] += b.r[i];
#if ATTEND_SIMD == 512
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256((__m512i)a.r[0]),
                                        _mm512_extracti64x4_epi64((__m512i)a.r[0], 1));
#elif ATTEND_SIMD == 256
  const __m256i half = (__m256i)(a.r[0] + a.r[1]);
#endif
#if ATTEND_SIMD >= 256
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
#else
  const ireg four = a.r[0] + a.r[1] + a.r[2] + a.r[3];
  return four[0] + four[1] + four[2] + four[3];
#endif
}

/// 16 codes to 16 bits each, every four in the order 0, 2, 1, 3.
ATTEND_INLINED void store_pairs(std::byte* p, vi codes) {
#if ATTEND_SIMD == 512
  const __m256i words = _mm512_maskz_cvtepi32_epi16((__mmask16)0xffff, (__m512i)codes.r[0]);
  _mm256_storeu_si256((__m256i*)p, _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(words, 0xd8), 0xd8));
#elif ATTEND_SIMD == 256
  __m256i words = _mm256_packs_epi32((__m256i)codes.r[0], (__m256i)codes.r[1]);
  words = _mm256_permute4x64_epi64(words, 0xd8);
  _mm256_storeu_si256((__m256i*)p, _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(words, 0xd8), 0xd8));
#else
  for (int i = 0; i < 16; ++i) {
    const std::int16_t code = static_cast<std::int16_t>(codes.r[i / kWidth][i % kWidth]);
    const int to = i % 4 == 1 ? i + 1 : i % 4 == 2 ? i - 1 : i;
    __builtin_memcpy(p + 2 * to, &code, 2);
  }
#endif
}
ATTEND_INLINED void store_bytes(std::byte* p, vi codes) {
#if ATTEND_SIMD == 512
  _mm_storeu_si128((__m128i*)p, _mm512_maskz_cvtepi32_epi8((__mmask16)0xffff, (__m512i)codes.r[0]));
#elif ATTEND_SIMD == 256
  const __m256i words = _mm256_packs_epi32((__m256i)codes.r[0], (__m256i)codes.r[1]);
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
  _mm_storeu_si128((__m128i*)p,
                   _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1)));
#else
  for (int i = 0; i < 16; ++i)
    p[i] = static_cast<std::byte>(static_cast<std::uint8_t>(codes.r[i / kWidth][i % kWidth]));
#endif
}

/// s = max|x| / limit, codes = rne(x limit / max|x|): |code| <= limit without a clamp, since limit / max|x|
/// and the product are each off by at most one part in 2^24.
ATTEND_NOINLINE void quantize(const float* x, Index k, InputGroup group, Index m, int limit,
                              std::int32_t offset, std::byte* groups) {
  const vf magic =
      set1(12582912.0f);  // 3 · 2^22: what is added to it is rounded to an integer, in its low bits
  const float top = (float)limit;
  for (; k > 0; k -= kGroup, x += kGroup, groups += group.size()) {
    vf v[2];
    for (int h = 0; h < 2; ++h) {
      const Index left = k - 16 * h;
      v[h] = left >= 16 ? load(x + 16 * h) : left > 0 ? load_n(x + 16 * h, (int)left) : set1(0.0f);
    }
    // Of non-negative floats the order is that of their bits, NaN and infinity the greatest.
    const vi a = as_int(abs(v[0])), b = as_int(abs(v[1]));
    const vf greater = select(gti(a, b), abs(v[0]), abs(v[1]));
    const bool finite = !any(gti(as_int(greater), set1i(0x7f7fffff)));
    const float most = reduce_max(greater);
    float scale = 0;
    vi codes[2] = {set1i(0), set1i(0)};
    if (!finite) {
      const std::uint32_t nan = 0x7fc00000u;
      __builtin_memcpy(&scale, &nan, 4);
    } else if (most >= 0x1p-100f) {
      scale = most / top;
      const vf inverse = set1(top / most);
      for (int h = 0; h < 2; ++h)
        codes[h] = subi(as_int(add(opaque(mul(v[h], inverse)), magic)), as_int(magic));
    }
    const std::int32_t start = -offset * sum_of(codes[0], codes[1]);
    __builtin_memcpy(groups + group.scales() + 4 * m, &scale, 4);
    __builtin_memcpy(groups + group.starts() + 4 * m, &start, 4);
    std::byte* to = groups + m * group.codes();
    for (int h = 0; h < 2; ++h) {
      if (group.bytes)
        store_bytes(to + 16 * h, codes[h]);
      else
        store_pairs(to + 32 * h, codes[h]);
    }
  }
}

// --- Products of codes ---

/// Most rows of a block: as registers hold.
constexpr int kMostRows = ATTEND_SIMD == 512 ? 6 : ATTEND_SIMD == 256 || kSignedBytes ? 4 : 2;

/// What one row is multiplied by is fetched so many bytes ahead: smaller weights lie on small pages, at whose
/// ends the processor's own fetching stops.
constexpr Index kAhead = ATTEND_SIMD == 512 ? 8704 : 1088;
/// Whether blocks of MR rows fetch what follows.
template <int MR>
constexpr bool kFetches = MR == 1 || ATTEND_SIMD == 256;
/// Panels that one row is multiplied by at a time. Memory gives more to several streams, read line by line in
/// turn: a Zen 3 gave a loop over 64 MB 10 GB/s as one stream, and 15 as four.
constexpr int kStreams = ATTEND_SIMD == 256 ? 4 : 1;

template <int MR, int H>
struct GroupSums {
  vi at[MR][H];
};
/// What the sums of a group of one row start with, and what they come to; start = -offset times the codes.
template <bool Bytes, int Bits>
ATTEND_INLINED vi first_sum(const std::byte* start) {
  const bool none = Bytes && (!ATTEND_VNNI || (Bits == 8 && kSignedBytes));
  return none ? set1i(0) : broadcast_int(start);
}
template <bool Bytes>
ATTEND_INLINED vi whole_sum(vi sum, [[maybe_unused]] const std::byte* start) {
  if constexpr (Bytes && !ATTEND_VNNI) {
    const vi first = broadcast_int(start), ones = set1i(0x00010001);
    ATTEND_UNROLL for (int r = 0; r < kRegs; ++r) sum.r[r] = dot_pairs(first.r[r], sum.r[r], ones.r[r]);
  }
  return sum;
}

/// sums += the products of four of k, whose codes of the weights `w` are in the low `Bits` of each byte.
template <bool Bytes, int Bits, int MR, int H>
ATTEND_INLINED void add_four(GroupSums<MR, H>& sums, const std::byte* a, Index k, const vi (&w)[H]) {
  vi even[H], odd[H];
  ATTEND_UNROLL for (int h = 0; h < H; ++h) {
    const vi mask = set1i(Bits == 8 ? 0x00ff00ff : 0x000f000f);
    even[h] = !Bytes         ? andi(w[h], mask)
              : Bits == 4    ? andi(w[h], set1i(0x0f0f0f0f))
              : kSignedBytes ? xori(w[h], set1i((int)0x80808080))
                             : w[h];
    odd[h] = Bytes ? w[h] : andi(srl<8>(w[h]), mask);
  }
  ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
    const std::byte* x = a + i * InputGroup{Bytes, 0}.codes() + k * (Bytes ? 1 : 2);
    const vi first = broadcast_int(x);
#if ATTEND_VNNI || ATTEND_SIMD == 256
    if constexpr (Bytes) {
      ATTEND_UNROLL for (int h = 0; h < H; ++h) {
        ATTEND_UNROLL for (int r = 0; r < kRegs; ++r) sums.at[i][h].r[r] =
            dot_quads(sums.at[i][h].r[r], even[h].r[r], first.r[0]);
      }
      continue;
    }
#endif
    const vi second = broadcast_int(x + 4);
    ATTEND_UNROLL for (int h = 0; h < H; ++h) {
      ATTEND_UNROLL for (int r = 0; r < kRegs; ++r) {
        sums.at[i][h].r[r] = dot_pairs(sums.at[i][h].r[r], first.r[0], even[h].r[r]);
        sums.at[i][h].r[r] = dot_pairs(sums.at[i][h].r[r], second.r[0], odd[h].r[r]);
      }
    }
  }
}

/// Columns [n, n + 16) of row m, with what follows the sums.
template <class Call>
ATTEND_INLINED void finish_columns(const Call& t, Index m, Index n, vf y) {
  const int count = t.n - n < 16 ? (int)(t.n - n) : 16;
  if (t.bias != nullptr) y = add(y, load(t.bias + n));
  if (t.residual != nullptr) y = add(y, load_n(t.residual + m * t.ldr + n, count));
  store_n(t.c + m * t.ldc + n, y, count);
}

/// y[i][h] = fma(float(sum), s d, y[i][h]) of a group of MR rows, codes from `a` and scales from `s` on, and
/// of H times 16 columns, `stride` bytes apart: codes from `w` and scales from `d` on, those `d_stride`
/// apart. What lies `ahead` of the codes is fetched.
template <bool Bytes, int Bits, int MR, int H>
ATTEND_INLINED void add_group(const std::byte* a, const std::byte* s, Index rows, const std::byte* w,
                              Index stride, const std::byte* d, Index d_stride, Index ahead, vf (&y)[MR][H]) {
  const std::byte* start = s + 4 * rows;
  GroupSums<MR, H> sums;
  ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
    ATTEND_UNROLL for (int h = 0; h < H; ++h) sums.at[i][h] = first_sum<Bytes, Bits>(start + 4 * i);
  }
  for (int j = 0; j < Bits; ++j, w += 64) {
    vi four[H];
    ATTEND_UNROLL for (int h = 0; h < H; ++h) four[h] = load_bytes(w + h * stride);
    if constexpr (kFetches<MR>) {
      ATTEND_UNROLL for (int h = 0; h < H; ++h) __builtin_prefetch(w + h * stride + ahead);
    }
    add_four<Bytes, Bits>(sums, a, 4 * j, four);
    if constexpr (Bits == 4) {
      ATTEND_UNROLL for (int h = 0; h < H; ++h) four[h] = srl<4>(four[h]);
      add_four<Bytes, Bits>(sums, a, 4 * (j + 4), four);
    }
  }
  ATTEND_UNROLL for (int h = 0; h < H; ++h) {
    const vf scales = load_halves(d + h * d_stride);
    ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
      const vf sum = int_to_float(whole_sum<Bytes>(sums.at[i][h], start + 4 * i));
      y[i][h] = fma(sum, mul(broadcast_float(s + 4 * i), scales), y[i][h]);
    }
  }
}

/// Rows [m, m + MR) of panel p.
template <int MR, bool Bytes, int Bits>
ATTEND_NOINLINE void run(const Product& t, Index m, Index p, Index ahead) {
  constexpr Codes kCodes{Bits};
  const InputGroup input{Bytes, t.rows};
  for (int half = 0; half < 2; half += kHalves) {
    if (p * kColumns + half * 16 >= t.n) break;
    vf y[MR][kHalves];
    ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
      ATTEND_UNROLL for (int h = 0; h < kHalves; ++h) y[i][h] = set1(0.0f);
    }
    const std::byte *a = t.a + m * input.codes(), *s = t.a + input.scales() + 4 * m;
    const std::byte* w = t.w + p * t.groups * kCodes.group();
    for (Index g = 0; g < t.groups; ++g, w += kCodes.group(), a += input.size(), s += input.size())
      add_group<Bytes, Bits>(a, s, t.rows, w + half * kCodes.half(), kCodes.half(),
                             w + 2 * kCodes.half() + half * 32, 32, ahead, y);
    for (int h = 0; h < kHalves; ++h) {
      const Index n = p * kColumns + (half + h) * 16;
      if (n >= t.n) break;
      for (int i = 0; i < MR; ++i) finish_columns(t, m + i, n, y[i][h]);
    }
  }
}

/// Row m of panels [p, p + kStreams), group by group.
template <bool Bytes, int Bits>
ATTEND_NOINLINE void run_row(const Product& t, Index m, Index p) {
  constexpr Codes kCodes{Bits};
  const InputGroup input{Bytes, t.rows};
  const Index panel = t.groups * kCodes.group();
  vf y[2][1][kStreams];  // of the halves
  for (int q = 0; q < kStreams; ++q) y[0][0][q] = y[1][0][q] = set1(0.0f);
  const std::byte *a = t.a + m * input.codes(), *s = t.a + input.scales() + 4 * m, *w = t.w + p * panel;
  for (Index g = 0; g < t.groups; ++g, w += kCodes.group(), a += input.size(), s += input.size())
    for (int half = 0; half < 2; ++half)
      add_group<Bytes, Bits>(a, s, t.rows, w + half * kCodes.half(), panel, w + 2 * kCodes.half() + half * 32,
                             panel, kAhead, y[half]);
  for (Index b = 0, n = p * kColumns; b < 2 * kStreams && n < t.n; ++b, n += 16)
    finish_columns(t, m, n, y[b % 2][0][b / 2]);
}

template <bool Bytes, int Bits>
ATTEND_INLINED void sweep(const Product& t, Index m0, Index m1, Index p0, Index p1) {
  if constexpr (kStreams > 1)
    if (m1 - m0 == 1)
      for (; p0 + kStreams <= p1; p0 += kStreams) run_row<Bytes, Bits>(t, m0, p0);
  // The first rows of a panel fetch the next one.
  const Index next = ATTEND_SIMD == 512 ? kAhead : t.groups * Codes{Bits}.group();
  for (Index p = p0; p < p1; ++p) {
    Index m = m0, ahead = next;
    // 8 = 4 + 4: the last 2 of 6 + 2 would have too few sums to hide the latency of a product
    for (; m + kMostRows <= m1 && !(kMostRows == 6 && m1 - m == 8); m += kMostRows, ahead = 0)
      run<kMostRows, Bytes, Bits>(t, m, p, ahead);
    if constexpr (kMostRows > 4)
      for (; m + 4 <= m1; m += 4, ahead = 0) run<4, Bytes, Bits>(t, m, p, ahead);
    if constexpr (kMostRows > 2)
      if (m + 2 <= m1) run<2, Bytes, Bits>(t, m, p, ahead), m += 2, ahead = 0;
    for (; m < m1; ++m, ahead = 0) run<1, Bytes, Bits>(t, m, p, ahead);
  }
}
ATTEND_NOINLINE void product(const Product& t, Index bits, [[maybe_unused]] bool bytes, Index m0, Index m1,
                             Index p0, Index p1) {
  if constexpr (kByteBits == 8)
    if (bytes && bits == 8) return sweep<true, 8>(t, m0, m1, p0, p1);
  if constexpr (kByteBits >= 4)
    if (bytes) return sweep<true, 4>(t, m0, m1, p0, p1);
  bits == 8 ? sweep<false, 8>(t, m0, m1, p0, p1) : sweep<false, 4>(t, m0, m1, p0, p1);
}

#include <attend/quant/half_products.inl>

inline constexpr Table table = {
    kByteBits, kMostRows > 4 ? 6 : 4, quantize, product, ATTEND_SIMD == 512 ? 64 : 24, half_product, widen};
