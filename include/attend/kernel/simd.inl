// The SIMD vocabulary: 16 floats (vf), 16 int32 (vi) and 16 truth values (vm) on every ISA, in as many native
// registers as that takes. Included once per ISA by dispatch.hpp, inside its target region and namespace,
// with ATTEND_SIMD = 512, 256 or 128 (bits of a register). Add, subtract and multiply are vector operators,
// not intrinsics: clang folds the latter under the caller's -Ofast.

constexpr int kRegs = 512 / ATTEND_SIMD;
constexpr int kWidth = 16 / kRegs;

typedef float freg __attribute__((vector_size(ATTEND_SIMD / 8)));
typedef int ireg __attribute__((vector_size(ATTEND_SIMD / 8)));
// A typedef, not an alias: clang 14 drops the alignment of an alias and then emits aligned moves.
typedef float freg_unaligned __attribute__((vector_size(ATTEND_SIMD / 8), aligned(4), may_alias));
typedef int ireg_unaligned __attribute__((vector_size(ATTEND_SIMD / 8), aligned(4), may_alias));

struct vf {
  freg r[kRegs];
};
struct vi {
  ireg r[kRegs];
};
#if ATTEND_SIMD == 512
typedef __mmask16 vm;
#else
struct vm {
  ireg r[kRegs];
};
#endif

#define ATTEND_EACH for (int i = 0; i < kRegs; ++i)

ATTEND_INLINED freg broadcast_reg(float x) {
#if ATTEND_SIMD == 512
  return (freg)_mm512_set1_ps(x);
#elif ATTEND_SIMD == 256
  return (freg)_mm256_set1_ps(x);
#else
  return freg{x, x, x, x};
#endif
}

ATTEND_INLINED vf set1(float x) {
  vf v;
  ATTEND_UNROLL ATTEND_EACH v.r[i] = broadcast_reg(x);
  return v;
}
ATTEND_INLINED vi set1i(int x) {
  vi v;
  ATTEND_UNROLL ATTEND_EACH v.r[i] = (ireg{}) + x;
  return v;
}
ATTEND_INLINED vf load(const float* p) {
  vf v;
  ATTEND_UNROLL ATTEND_EACH v.r[i] = *(const freg_unaligned*)(p + i * kWidth);
  return v;
}
ATTEND_INLINED void store(float* p, vf v) {
  ATTEND_UNROLL ATTEND_EACH*(freg_unaligned*)(p + i * kWidth) = v.r[i];
}

#define ATTEND_BINARY(name, type, expression)      \
  ATTEND_INLINED type name(type a, type b) {       \
    ATTEND_UNROLL ATTEND_EACH a.r[i] = expression; \
    return a;                                      \
  }
ATTEND_BINARY(add, vf, a.r[i] + b.r[i])
ATTEND_BINARY(sub, vf, a.r[i] - b.r[i])
ATTEND_BINARY(mul, vf, a.r[i] * b.r[i])
ATTEND_BINARY(div, vf, a.r[i] / b.r[i])
ATTEND_BINARY(addi, vi, a.r[i] + b.r[i])
ATTEND_BINARY(subi, vi, a.r[i] - b.r[i])
ATTEND_BINARY(andi, vi, a.r[i] & b.r[i])
ATTEND_BINARY(ori, vi, a.r[i] | b.r[i])
ATTEND_BINARY(xori, vi, a.r[i] ^ b.r[i])
// maskz, since the plain forms of GCC 12 warn of an undefined operand
#if ATTEND_SIMD == 512
ATTEND_BINARY(max_of, vf, (freg)_mm512_maskz_max_ps((__mmask16)0xffff, (__m512)a.r[i], (__m512)b.r[i]))
ATTEND_BINARY(min_of, vf, (freg)_mm512_maskz_min_ps((__mmask16)0xffff, (__m512)a.r[i], (__m512)b.r[i]))
#elif ATTEND_SIMD == 256
ATTEND_BINARY(max_of, vf, (freg)_mm256_max_ps((__m256)a.r[i], (__m256)b.r[i]))
ATTEND_BINARY(min_of, vf, (freg)_mm256_min_ps((__m256)a.r[i], (__m256)b.r[i]))
#elif defined(__SSE2__)
ATTEND_BINARY(max_of, vf, (freg)_mm_max_ps((__m128)a.r[i], (__m128)b.r[i]))
ATTEND_BINARY(min_of, vf, (freg)_mm_min_ps((__m128)a.r[i], (__m128)b.r[i]))
#else  // x86's rule, so that every ISA gives the same bits: the second operand where one is NaN or both are 0
ATTEND_BINARY(max_of, vf, (freg)(((a.r[i] > b.r[i]) & (ireg)a.r[i]) | (~(a.r[i] > b.r[i]) & (ireg)b.r[i])))
ATTEND_BINARY(min_of, vf, (freg)(((a.r[i] < b.r[i]) & (ireg)a.r[i]) | (~(a.r[i] < b.r[i]) & (ireg)b.r[i])))
#endif
#undef ATTEND_BINARY

/// a * b + c, rounded once where the machine has FMA.
ATTEND_INLINED freg fma_reg(freg a, freg b, freg c) {
#if ATTEND_SIMD == 512 && \
    defined(__clang__)  // builtins, since the header's functions carry the caller's fast-math
  return (freg)__builtin_ia32_vfmaddps512_mask((__v16sf)a, (__v16sf)b, (__v16sf)c, (__mmask16)-1,
                                               _MM_FROUND_CUR_DIRECTION);
#elif ATTEND_SIMD == 256 && defined(__clang__)
  return (freg)__builtin_ia32_vfmaddps256((__v8sf)a, (__v8sf)b, (__v8sf)c);
#elif ATTEND_SIMD == 512
  return (freg)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif ATTEND_SIMD == 256
  return (freg)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (freg)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}
ATTEND_INLINED vf fma(vf a, vf b, vf c) {
  ATTEND_UNROLL ATTEND_EACH c.r[i] = fma_reg(a.r[i], b.r[i], c.r[i]);
  return c;
}
/// c - a * b.
ATTEND_INLINED vf fnma(vf a, vf b, vf c) {
  ATTEND_UNROLL ATTEND_EACH c.r[i] = fma_reg(-a.r[i], b.r[i], c.r[i]);
  return c;
}
/// v itself, as a product that feeds an addition: under the caller's -Ofast clang would make one multiply-add
/// of the two, whatever the region says.
ATTEND_INLINED vf opaque(vf v) {
#if defined(__x86_64__) && ATTEND_SIMD == 512
  ATTEND_UNROLL ATTEND_EACH asm("" : "+v"(v.r[i]));
#elif defined(__x86_64__)
  ATTEND_UNROLL ATTEND_EACH asm("" : "+x"(v.r[i]));
#elif defined(__aarch64__)
  ATTEND_UNROLL ATTEND_EACH asm("" : "+w"(v.r[i]));
#endif
  return v;
}
/// Correctly rounded. An instruction by name: clang makes an estimate of a square root under the caller's
/// -Ofast, whatever the region says.
ATTEND_INLINED float square_root(float x) {
#if defined(__x86_64__) && ATTEND_SIMD > 128
  asm("vsqrtss %1, %1, %0" : "=x"(x) : "x"(x));
#elif defined(__x86_64__)
  asm("sqrtss %1, %0" : "=x"(x) : "x"(x));
#elif defined(__aarch64__)
  asm("fsqrt %s0, %s1" : "=w"(x) : "w"(x));
#else
  x = __builtin_sqrtf(x);
#endif
  return x;
}

ATTEND_INLINED vi as_int(vf a) {
  vi v;
  ATTEND_UNROLL ATTEND_EACH v.r[i] = (ireg)a.r[i];
  return v;
}
ATTEND_INLINED vf as_float(vi a) {
  vf v;
  ATTEND_UNROLL ATTEND_EACH v.r[i] = (freg)a.r[i];
  return v;
}
ATTEND_INLINED vf abs(vf a) { return as_float(andi(as_int(a), set1i(0x7fffffff))); }
template <int K>
ATTEND_INLINED vi shl(vi a) {
  ATTEND_UNROLL ATTEND_EACH a.r[i] = a.r[i] << K;
  return a;
}
template <int K>
ATTEND_INLINED vi sra(vi a) {
  ATTEND_UNROLL ATTEND_EACH a.r[i] = a.r[i] >> K;
  return a;
}
template <int K>
ATTEND_INLINED vi srl(vi a) {
  typedef unsigned ureg __attribute__((vector_size(ATTEND_SIMD / 8)));
  ATTEND_UNROLL ATTEND_EACH a.r[i] = (ireg)((ureg)a.r[i] >> K);
  return a;
}

#if ATTEND_SIMD == 512
ATTEND_INLINED vm lt(vf a, vf b) { return _mm512_cmp_ps_mask((__m512)a.r[0], (__m512)b.r[0], _CMP_LT_OQ); }
ATTEND_INLINED vm le(vf a, vf b) { return _mm512_cmp_ps_mask((__m512)a.r[0], (__m512)b.r[0], _CMP_LE_OQ); }
ATTEND_INLINED vm eq(vf a, vf b) { return _mm512_cmp_ps_mask((__m512)a.r[0], (__m512)b.r[0], _CMP_EQ_OQ); }
ATTEND_INLINED vm unordered(vf a) { return _mm512_cmp_ps_mask((__m512)a.r[0], (__m512)a.r[0], _CMP_UNORD_Q); }
ATTEND_INLINED vm gti(vi a, vi b) { return _mm512_cmpgt_epi32_mask((__m512i)a.r[0], (__m512i)b.r[0]); }
ATTEND_INLINED vm eqi(vi a, vi b) { return _mm512_cmpeq_epi32_mask((__m512i)a.r[0], (__m512i)b.r[0]); }
ATTEND_INLINED vf select(vm m, vf a, vf b) {
#if defined(__clang__)
  return vf{{(freg)__builtin_ia32_selectps_512(m, (__v16sf)a.r[0], (__v16sf)b.r[0])}};
#else
  return vf{{(freg)_mm512_mask_blend_ps(m, (__m512)b.r[0], (__m512)a.r[0])}};
#endif
}
/// Lane i is bit i.
ATTEND_INLINED vm from_bits(unsigned bits) { return (vm)bits; }
ATTEND_INLINED bool any(vm m) { return m != 0; }
#else
#define ATTEND_COMPARE(name, type, expression)             \
  ATTEND_INLINED vm name(type a, type b) {                 \
    vm m;                                                  \
    ATTEND_UNROLL ATTEND_EACH m.r[i] = (ireg)(expression); \
    return m;                                              \
  }
ATTEND_COMPARE(lt, vf, a.r[i] < b.r[i])
ATTEND_COMPARE(le, vf, a.r[i] <= b.r[i])
ATTEND_COMPARE(eq, vf, a.r[i] == b.r[i])
ATTEND_COMPARE(gti, vi, a.r[i] > b.r[i])
ATTEND_COMPARE(eqi, vi, a.r[i] == b.r[i])
#undef ATTEND_COMPARE
ATTEND_INLINED vm unordered(vf a) {
  vm m;
  ATTEND_UNROLL ATTEND_EACH m.r[i] = (ireg)(a.r[i] != a.r[i]);
  return m;
}
ATTEND_INLINED vf select(vm m, vf a, vf b) {
#if ATTEND_SIMD == 256
  ATTEND_UNROLL ATTEND_EACH a.r[i] = (freg)_mm256_blendv_ps((__m256)b.r[i], (__m256)a.r[i], (__m256)m.r[i]);
#else
  ATTEND_UNROLL ATTEND_EACH a.r[i] = (freg)((m.r[i] & (ireg)a.r[i]) | (~m.r[i] & (ireg)b.r[i]));
#endif
  return a;
}
ATTEND_INLINED vm from_bits(unsigned bits) {
  static const int lane_bits[16] = {1 << 0, 1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                                    1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
  vm m;
  ATTEND_UNROLL ATTEND_EACH {
    const ireg lane = *(const ireg_unaligned*)(lane_bits + i * kWidth);
    m.r[i] = (ireg)((((ireg{}) + (int)bits) & lane) == lane);
  }
  return m;
}
ATTEND_INLINED bool any(vm m) {
  ireg all = m.r[0];
  ATTEND_UNROLL for (int i = 1; i < kRegs; ++i) all |= m.r[i];
#if ATTEND_SIMD == 256
  return !_mm256_testz_si256((__m256i)all, (__m256i)all);
#elif defined(__SSE2__)
  return _mm_movemask_epi8((__m128i)all) != 0;
#else
  return (all[0] | all[1] | all[2] | all[3]) != 0;
#endif
}
#endif
ATTEND_INLINED vm gt(vf a, vf b) { return lt(b, a); }

/// The first n (0 … 16) floats; the others are 0 and not read.
ATTEND_INLINED vf load_n(const float* p, int n) {
#if ATTEND_SIMD == 512
  return vf{{(freg)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p)}};
#else
  vf v;
  ATTEND_UNROLL ATTEND_EACH {  // floats gathered in memory would be a wait for their stores
    const float* from = p + i * kWidth;
    const int left = n - i * kWidth;
    if (left >= kWidth) {
      v.r[i] = *(const freg_unaligned*)from;
    } else if (left <= 0) {
      v.r[i] = freg{};
    } else {
#if ATTEND_SIMD == 256
      v.r[i] = (freg)_mm256_maskload_ps(from, (__m256i)(ireg{0, 1, 2, 3, 4, 5, 6, 7} < (ireg{} + left)));
#else
      v.r[i] = freg{from[0], left > 1 ? from[1] : 0.0f, left > 2 ? from[2] : 0.0f, 0.0f};
#endif
    }
  }
  return v;
#endif
}
ATTEND_INLINED void store_n(float* p, vf v, int n) {
#if ATTEND_SIMD == 512
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)v.r[0]);
#else
  ATTEND_UNROLL ATTEND_EACH {
    const int left = n - i * kWidth;
    if (left >= kWidth) {
      *(freg_unaligned*)(p + i * kWidth) = v.r[i];
    } else if (left > 0) {
      float lanes[kWidth];
      *(freg_unaligned*)lanes = v.r[i];
      for (int j = 0; j < left; ++j) p[i * kWidth + j] = lanes[j];
    }
  }
#endif
}

// Reductions: one fixed tree (lane j with j + 8, then + 4, + 2, + 1), the same bits on every ISA.
typedef float half_t __attribute__((vector_size(32)));
typedef float quad_t __attribute__((vector_size(16)));
#if ATTEND_SIMD == 512
#define ATTEND_TO_QUADS(v)                                                                           \
  const __m256 low = _mm512_castps512_ps256((__m512)v.r[0]);                                         \
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd((__m512)v.r[0]), 1)); \
  const quad_t q0 = (quad_t)_mm256_castps256_ps128(low), q1 = (quad_t)_mm256_extractf128_ps(low, 1); \
  const quad_t q2 = (quad_t)_mm256_castps256_ps128(high), q3 = (quad_t)_mm256_extractf128_ps(high, 1);
#elif ATTEND_SIMD == 256
#define ATTEND_TO_QUADS(v)                                            \
  const quad_t q0 = (quad_t)_mm256_castps256_ps128((__m256)v.r[0]),   \
               q1 = (quad_t)_mm256_extractf128_ps((__m256)v.r[0], 1); \
  const quad_t q2 = (quad_t)_mm256_castps256_ps128((__m256)v.r[1]),   \
               q3 = (quad_t)_mm256_extractf128_ps((__m256)v.r[1], 1);
#else
#define ATTEND_TO_QUADS(v) const quad_t q0 = v.r[0], q1 = v.r[1], q2 = v.r[2], q3 = v.r[3];
#endif
ATTEND_INLINED float reduce_sum(vf v) {
  ATTEND_TO_QUADS(v)
  const quad_t a = q0 + q2, b = q1 + q3;
  const quad_t c = a + b;
  const float x = c[0] + c[2], y = c[1] + c[3];
  return x + y;
}
ATTEND_INLINED float reduce_max(vf v) {
  ATTEND_TO_QUADS(v)
#if defined(__SSE2__)
  __m128 m = _mm_max_ps(_mm_max_ps((__m128)q0, (__m128)q2), _mm_max_ps((__m128)q1, (__m128)q3));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
#else
  float best = q0[0];
  for (int i = 0; i < 4; ++i) {
    const float m = q0[i] > q2[i] ? q0[i] : q2[i], n = q1[i] > q3[i] ? q1[i] : q3[i];
    best = m > best ? m : best;
    best = n > best ? n : best;
  }
  return best;
#endif
}
#undef ATTEND_TO_QUADS

/// dst[d * row + j] = src[j * stride + d] for d < 16, j < rows; columns j >= rows become 0.
ATTEND_NOINLINE void transpose_16x16(const float* src, ptrdiff_t stride, int rows, float* dst,
                                     ptrdiff_t row) {
#if ATTEND_SIMD == 512
  __m512 t[16], u[16];
  ATTEND_UNROLL for (int i = 0; i < 16; ++i) t[i] =
      i < rows ? (__m512)load(src + i * stride).r[0] : _mm512_setzero_ps();
  ATTEND_UNROLL for (int i = 0; i < 8; ++i) {
    u[2 * i] = _mm512_unpacklo_ps(t[2 * i], t[2 * i + 1]);
    u[2 * i + 1] = _mm512_unpackhi_ps(t[2 * i], t[2 * i + 1]);
  }
  // t[4 q + c]: rows 4 q … 4 q + 3, columns c + 4 L in 128-bit lane L
  ATTEND_UNROLL for (int q = 0; q < 4; ++q) {
    t[4 * q + 0] =
        _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(u[4 * q]), _mm512_castps_pd(u[4 * q + 2])));
    t[4 * q + 1] =
        _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(u[4 * q]), _mm512_castps_pd(u[4 * q + 2])));
    t[4 * q + 2] =
        _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(u[4 * q + 1]), _mm512_castps_pd(u[4 * q + 3])));
    t[4 * q + 3] =
        _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(u[4 * q + 1]), _mm512_castps_pd(u[4 * q + 3])));
  }
  ATTEND_UNROLL for (int c = 0; c < 4; ++c) {
    const __m512 a = _mm512_shuffle_f32x4(t[c], t[4 + c], 0x88),
                 b = _mm512_shuffle_f32x4(t[c], t[4 + c], 0xdd);
    const __m512 e = _mm512_shuffle_f32x4(t[8 + c], t[12 + c], 0x88),
                 f = _mm512_shuffle_f32x4(t[8 + c], t[12 + c], 0xdd);
    _mm512_storeu_ps(dst + row * c, _mm512_shuffle_f32x4(a, e, 0x88));
    _mm512_storeu_ps(dst + row * (4 + c), _mm512_shuffle_f32x4(b, f, 0x88));
    _mm512_storeu_ps(dst + row * (8 + c), _mm512_shuffle_f32x4(a, e, 0xdd));
    _mm512_storeu_ps(dst + row * (12 + c), _mm512_shuffle_f32x4(b, f, 0xdd));
  }
#elif ATTEND_SIMD == 256
  for (int j = 0; j < 16; j += 8) {
    for (int d = 0; d < 16; d += 8) {
      if (j >= rows) {
        ATTEND_UNROLL for (int i = 0; i < 8; ++i)
            _mm256_storeu_ps(dst + row * (d + i) + j, _mm256_setzero_ps());
        continue;
      }
      __m256 t[8], u[8];
      ATTEND_UNROLL for (int i = 0; i < 8; ++i) t[i] =
          j + i < rows ? _mm256_loadu_ps(src + (j + i) * stride + d) : _mm256_setzero_ps();
      ATTEND_UNROLL for (int i = 0; i < 4; ++i) {
        u[2 * i] = _mm256_unpacklo_ps(t[2 * i], t[2 * i + 1]);
        u[2 * i + 1] = _mm256_unpackhi_ps(t[2 * i], t[2 * i + 1]);
      }
      ATTEND_UNROLL for (int q = 0; q < 2; ++q) {
        t[4 * q + 0] = _mm256_shuffle_ps(u[4 * q], u[4 * q + 2], 0x44);
        t[4 * q + 1] = _mm256_shuffle_ps(u[4 * q], u[4 * q + 2], 0xee);
        t[4 * q + 2] = _mm256_shuffle_ps(u[4 * q + 1], u[4 * q + 3], 0x44);
        t[4 * q + 3] = _mm256_shuffle_ps(u[4 * q + 1], u[4 * q + 3], 0xee);
      }
      ATTEND_UNROLL for (int c = 0; c < 4; ++c) {
        _mm256_storeu_ps(dst + row * (d + c) + j, _mm256_permute2f128_ps(t[c], t[4 + c], 0x20));
        _mm256_storeu_ps(dst + row * (d + 4 + c) + j, _mm256_permute2f128_ps(t[c], t[4 + c], 0x31));
      }
    }
  }
#else
  for (int j = 0; j < 16; j += 4)
    for (int d = 0; d < 16; d += 4) {
      if (j >= rows) {
        ATTEND_UNROLL for (int i = 0; i < 4; ++i) * (freg_unaligned*)(dst + row * (d + i) + j) = freg{};
        continue;
      }
      freg t[4];
      ATTEND_UNROLL for (int i = 0; i < 4; ++i) t[i] =
          j + i < rows ? *(const freg_unaligned*)(src + (j + i) * stride + d) : freg{};
      const freg a = __builtin_shufflevector(t[0], t[1], 0, 4, 1, 5),
                 b = __builtin_shufflevector(t[2], t[3], 0, 4, 1, 5);
      const freg c = __builtin_shufflevector(t[0], t[1], 2, 6, 3, 7),
                 e = __builtin_shufflevector(t[2], t[3], 2, 6, 3, 7);
      float* to = dst + d * row + j;
      *(freg_unaligned*)to = __builtin_shufflevector(a, b, 0, 1, 4, 5);
      *(freg_unaligned*)(to + row) = __builtin_shufflevector(a, b, 2, 3, 6, 7);
      *(freg_unaligned*)(to + 2 * row) = __builtin_shufflevector(c, e, 0, 1, 4, 5);
      *(freg_unaligned*)(to + 3 * row) = __builtin_shufflevector(c, e, 2, 3, 6, 7);
    }
#endif
}

#undef ATTEND_EACH
