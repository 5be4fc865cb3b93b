// The SIMD vocabulary: 16 floats (vf), 16 int32 (vi) and 16 truth values (vm) on every ISA, in as many native
// registers as that takes. Included once per ISA by dispatch.hpp, inside its target region and namespace,
// with ATTEND_SIMD = 512, 256 or 128 (bits of a register). Vector operators and builtins, not intrinsics:
// clang folds the latter under the caller's -Ofast, and <immintrin.h> takes a third as long as all of
// Eigen/Core.

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
typedef unsigned short vm;
#else
struct vm {
  ireg r[kRegs];
};
#endif

#define ATTEND_EACH for (int i = 0; i < kRegs; ++i)
#if ATTEND_SIMD == 512
constexpr vm kAllLanes = 0xffff;
constexpr int kRounding = 4;  // that of the thread
#endif

ATTEND_INLINED freg broadcast_reg(float x) {
#if ATTEND_SIMD == 512
  return freg{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#elif ATTEND_SIMD == 256
  return freg{x, x, x, x, x, x, x, x};
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
#if ATTEND_SIMD == 512 && defined(__clang__)
ATTEND_BINARY(max_of, vf, __builtin_ia32_maxps512(a.r[i], b.r[i], kRounding))
ATTEND_BINARY(min_of, vf, __builtin_ia32_minps512(a.r[i], b.r[i], kRounding))
#elif ATTEND_SIMD == 512
ATTEND_BINARY(max_of, vf, __builtin_ia32_maxps512_mask(a.r[i], b.r[i], freg{}, kAllLanes, kRounding))
ATTEND_BINARY(min_of, vf, __builtin_ia32_minps512_mask(a.r[i], b.r[i], freg{}, kAllLanes, kRounding))
#elif ATTEND_SIMD == 256
ATTEND_BINARY(max_of, vf, __builtin_ia32_maxps256(a.r[i], b.r[i]))
ATTEND_BINARY(min_of, vf, __builtin_ia32_minps256(a.r[i], b.r[i]))
#elif defined(__SSE2__)
ATTEND_BINARY(max_of, vf, __builtin_ia32_maxps(a.r[i], b.r[i]))
ATTEND_BINARY(min_of, vf, __builtin_ia32_minps(a.r[i], b.r[i]))
#else  // x86's rule, so that every ISA gives the same bits: the second operand where one is NaN or both are 0
ATTEND_BINARY(max_of, vf, (freg)(((a.r[i] > b.r[i]) & (ireg)a.r[i]) | (~(a.r[i] > b.r[i]) & (ireg)b.r[i])))
ATTEND_BINARY(min_of, vf, (freg)(((a.r[i] < b.r[i]) & (ireg)a.r[i]) | (~(a.r[i] < b.r[i]) & (ireg)b.r[i])))
#endif
#undef ATTEND_BINARY

/// a * b + c, rounded once where the machine has FMA.
ATTEND_INLINED freg fma_reg(freg a, freg b, freg c) {
#if ATTEND_SIMD == 512
  return __builtin_ia32_vfmaddps512_mask(a, b, c, kAllLanes, kRounding);
#elif ATTEND_SIMD == 256
  return __builtin_ia32_vfmaddps256(a, b, c);
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
ATTEND_INLINED vi srl(vi a) {
  typedef unsigned ureg __attribute__((vector_size(ATTEND_SIMD / 8)));
  ATTEND_UNROLL ATTEND_EACH a.r[i] = (ireg)((ureg)a.r[i] >> K);
  return a;
}

#if ATTEND_SIMD == 512
// By the number that the instruction has for the comparison.
#define ATTEND_COMPARE(name, type, builtin, ...) \
  ATTEND_INLINED vm name(type a, type b) { return builtin(a.r[0], b.r[0], __VA_ARGS__); }
ATTEND_COMPARE(eq, vf, __builtin_ia32_cmpps512_mask, 0, kAllLanes, kRounding)
ATTEND_COMPARE(lt, vf, __builtin_ia32_cmpps512_mask, 17, kAllLanes, kRounding)
ATTEND_COMPARE(le, vf, __builtin_ia32_cmpps512_mask, 18, kAllLanes, kRounding)
ATTEND_COMPARE(unordered, vf, __builtin_ia32_cmpps512_mask, 3, kAllLanes, kRounding)
ATTEND_COMPARE(eqi, vi, __builtin_ia32_cmpd512_mask, 0, kAllLanes)
ATTEND_COMPARE(gti, vi, __builtin_ia32_cmpd512_mask, 6, kAllLanes)
#undef ATTEND_COMPARE
ATTEND_INLINED vm unordered(vf a) { return unordered(a, a); }
ATTEND_INLINED vf select(vm m, vf a, vf b) {
#if defined(__clang__)
  return vf{{__builtin_ia32_selectps_512(m, a.r[0], b.r[0])}};
#else
  return vf{{__builtin_ia32_blendmps_512_mask(b.r[0], a.r[0], m)}};
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
  ATTEND_UNROLL ATTEND_EACH a.r[i] = __builtin_ia32_blendvps256(b.r[i], a.r[i], (freg)m.r[i]);
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
  typedef long long wide __attribute__((vector_size(32)));
  return !__builtin_ia32_ptestz256((wide)all, (wide)all);
#elif defined(__SSE2__)
  typedef char bytes __attribute__((vector_size(16)));
  return __builtin_ia32_pmovmskb128((bytes)all) != 0;
#else
  return (all[0] | all[1] | all[2] | all[3]) != 0;
#endif
}
#endif
ATTEND_INLINED vm gt(vf a, vf b) { return lt(b, a); }

/// The first n (0 … 16) floats; the others are 0 and not read.
ATTEND_INLINED vf load_n(const float* p, int n) {
#if ATTEND_SIMD == 512
  return vf{{__builtin_ia32_loadups512_mask(p, freg{}, (vm)((1u << n) - 1u))}};
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
      v.r[i] =
          __builtin_ia32_maskloadps256((const freg*)from, ireg{0, 1, 2, 3, 4, 5, 6, 7} < (ireg{} + left));
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
  __builtin_ia32_storeups512_mask(p, v.r[0], (vm)((1u << n) - 1u));
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
typedef float quad_t __attribute__((vector_size(16)));
#if ATTEND_SIMD == 512
#define ATTEND_QUAD(v, i) __builtin_ia32_extractf32x4_mask(v.r[0], i, quad_t{}, 0xff)
#elif ATTEND_SIMD == 256
#define ATTEND_QUAD(v, i) __builtin_ia32_vextractf128_ps256(v.r[i / 2], i % 2)
#else
#define ATTEND_QUAD(v, i) v.r[i]
#endif
ATTEND_INLINED float reduce_sum(vf v) {
  const quad_t q0 = ATTEND_QUAD(v, 0), q1 = ATTEND_QUAD(v, 1), q2 = ATTEND_QUAD(v, 2), q3 = ATTEND_QUAD(v, 3);
  const quad_t a = q0 + q2, b = q1 + q3;
  const quad_t c = a + b;
  const float x = c[0] + c[2], y = c[1] + c[3];
  return x + y;
}
ATTEND_INLINED float reduce_max(vf v) {
  const quad_t q0 = ATTEND_QUAD(v, 0), q1 = ATTEND_QUAD(v, 1), q2 = ATTEND_QUAD(v, 2), q3 = ATTEND_QUAD(v, 3);
#if defined(__SSE2__)
  quad_t m = __builtin_ia32_maxps(__builtin_ia32_maxps(q0, q2), __builtin_ia32_maxps(q1, q3));
  m = __builtin_ia32_maxps(m, __builtin_shufflevector(m, m, 2, 3, 2, 3));
  m = __builtin_ia32_maxps(m, __builtin_shufflevector(m, m, 1, 1, 1, 1));
  return m[0];
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
#undef ATTEND_QUAD

// Elements i, j, k, l of each 128 bits, those of b from kWidth on.
#undef ATTEND_IN_LANES
#undef ATTEND_OF_LANES
#if ATTEND_SIMD == 512
#define ATTEND_IN_LANES(a, b, i, j, k, l)                                                                   \
  __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4, i + 8, j + 8, k + 8, l + 8, i + 12, \
                          j + 12, k + 12, l + 12)
// 128 bits i and j of a, k and l of b.
#if defined(__clang__)
#define ATTEND_OF_LANES(a, b, i, j, k, l) __builtin_ia32_shuf_f32x4(a, b, i | j << 2 | k << 4 | l << 6)
#else
#define ATTEND_OF_LANES(a, b, i, j, k, l) \
  __builtin_ia32_shuf_f32x4_mask(a, b, i | j << 2 | k << 4 | l << 6, freg{}, kAllLanes)
#endif
#elif ATTEND_SIMD == 256
#define ATTEND_IN_LANES(a, b, i, j, k, l) \
  __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4)
#else
#define ATTEND_IN_LANES(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#endif

/// dst[d * row + j] = src[j * stride + d] for d < 16, j < rows; columns j >= rows become 0.
ATTEND_NOINLINE void transpose_16x16(const float* src, ptrdiff_t stride, int rows, float* dst,
                                     ptrdiff_t row) {
  constexpr int W = kWidth;
  for (int j = 0; j < 16; j += W)
    for (int d = 0; d < 16; d += W) {
      float* to = dst + d * row + j;
      if (j >= rows) {
        ATTEND_UNROLL for (int i = 0; i < W; ++i) * (freg_unaligned*)(to + i * row) = freg{};
        continue;
      }
      freg t[W];
      ATTEND_UNROLL for (int i = 0; i < W; ++i) t[i] =
          j + i < rows ? *(const freg_unaligned*)(src + (j + i) * stride + d) : freg{};
      // t[q + c]: rows q … q + 3, columns c + 4 L in lane L of 128 bits
      ATTEND_UNROLL for (int q = 0; q < W; q += 4) {
        const freg a = ATTEND_IN_LANES(t[q], t[q + 1], 0, W, 1, W + 1),
                   b = ATTEND_IN_LANES(t[q + 2], t[q + 3], 0, W, 1, W + 1),
                   c = ATTEND_IN_LANES(t[q], t[q + 1], 2, W + 2, 3, W + 3),
                   e = ATTEND_IN_LANES(t[q + 2], t[q + 3], 2, W + 2, 3, W + 3);
        t[q] = ATTEND_IN_LANES(a, b, 0, 1, W, W + 1);
        t[q + 1] = ATTEND_IN_LANES(a, b, 2, 3, W + 2, W + 3);
        t[q + 2] = ATTEND_IN_LANES(c, e, 0, 1, W, W + 1);
        t[q + 3] = ATTEND_IN_LANES(c, e, 2, 3, W + 2, W + 3);
      }
      ATTEND_UNROLL for (int c = 0; c < 4; ++c, to += row) {
#if ATTEND_SIMD == 512
        const freg a = ATTEND_OF_LANES(t[c], t[4 + c], 0, 2, 0, 2),
                   b = ATTEND_OF_LANES(t[c], t[4 + c], 1, 3, 1, 3),
                   e = ATTEND_OF_LANES(t[8 + c], t[12 + c], 0, 2, 0, 2),
                   f = ATTEND_OF_LANES(t[8 + c], t[12 + c], 1, 3, 1, 3);
        *(freg_unaligned*)to = ATTEND_OF_LANES(a, e, 0, 2, 0, 2);
        *(freg_unaligned*)(to + 4 * row) = ATTEND_OF_LANES(b, f, 0, 2, 0, 2);
        *(freg_unaligned*)(to + 8 * row) = ATTEND_OF_LANES(a, e, 1, 3, 1, 3);
        *(freg_unaligned*)(to + 12 * row) = ATTEND_OF_LANES(b, f, 1, 3, 1, 3);
#elif ATTEND_SIMD == 256
        *(freg_unaligned*)to = __builtin_shufflevector(t[c], t[4 + c], 0, 1, 2, 3, 8, 9, 10, 11);
        *(freg_unaligned*)(to + 4 * row) =
            __builtin_shufflevector(t[c], t[4 + c], 4, 5, 6, 7, 12, 13, 14, 15);
#else
        *(freg_unaligned*)to = t[c];
#endif
      }
    }
}

#undef ATTEND_EACH
