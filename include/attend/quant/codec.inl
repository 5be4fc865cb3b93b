// A row of a weight as files keep it: GGUF's Q8_0 and Q4_0 blocks, or 16-bit floats. In plain C++, inside a
// region of its own, so that the bytes do not depend on flags.

ATTEND_INLINED std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits;
}
ATTEND_INLINED float of_bits(std::uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
ATTEND_INLINED bool is_finite(float x) { return (bits_of(x) & 0x7f800000u) != 0x7f800000u; }

/// To the nearest, ties to even; infinity from 65520 on. NaN stays one.
ATTEND_NOINLINE std::uint16_t to_half(float x) {
  const std::uint32_t sign = bits_of(x) >> 16 & 0x8000u, a = bits_of(x) & 0x7fffffffu;
  std::uint32_t h;
  if (a > 0x7f800000u) {
    h = 0x7e00u | (a >> 13 & 0x3ffu);
  } else if (a >= 0x47800000u) {
    h = 0x7c00u;
  } else {
    // Subnormal halves are multiples of 2^-24: the fraction with its leading one is shifted that far down.
    const bool normal = a >= 0x38800000u;
    const std::uint32_t shift = normal ? 13 : a < 0x33000000u ? 25 : 126 - (a >> 23);
    const std::uint32_t value = normal ? a - (112u << 23) : (a & 0x7fffffu) | 0x800000u;
    const std::uint32_t half_way = 1u << (shift - 1), low = value & ((1u << shift) - 1);
    h = value >> shift;
    if (low > half_way || (low == half_way && (h & 1) != 0)) ++h;
  }
  return static_cast<std::uint16_t>(sign | h);
}
/// A NaN keeps its sign and its upper bits.
ATTEND_INLINED std::uint16_t to_bfloat(float x) {
  const std::uint32_t bits = bits_of(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
/// x to the nearest integer, ties to even; |x| < 2^22.
ATTEND_INLINED int to_int(float x) {
  return static_cast<int>(bits_of(x + 12582912.0f)) - static_cast<int>(bits_of(12582912.0f));
}

/// A group of 32 codes in [low, high], of which -low or high stand for the element of greatest magnitude;
/// false where it has one that is not finite, or its scale is beyond a half.
ATTEND_INLINED bool encode_group(const float* x, Index n, bool eight, std::uint16_t* scale, int* codes) {
  float most = 0;
  for (Index i = 0; i < n; ++i) {
    if (!is_finite(x[i])) return false;
    if ((bits_of(x[i]) & 0x7fffffffu) > (bits_of(most) & 0x7fffffffu)) most = x[i];
  }
  *scale = to_half(eight ? of_bits(bits_of(most) & 0x7fffffffu) / 127.0f : most / -8.0f);
  if ((*scale & 0x7c00u) == 0x7c00u) return false;
  const float d = detail::half_to_float(*scale);
  const int low = eight ? -127 : -8, high = eight ? 127 : 7;
  for (Index i = 0; i < kGroup; ++i) {
    int q = i < n && d != 0 ? to_int(x[i] / d) : 0;
    q = q < low ? low : q;
    codes[i] = q > high ? high : q;
  }
  return true;
}

ATTEND_NOINLINE bool encode(WeightType type, const float* row, Index in, std::byte* to) {
  if (type == WeightType::bfloat16 || type == WeightType::float16) {
    for (Index k = 0; k < in; ++k, to += 2) {
      const std::uint16_t bits = type == WeightType::float16 ? to_half(row[k]) : to_bfloat(row[k]);
      if (type == WeightType::float16 && (bits & 0x7fffu) == 0x7c00u && is_finite(row[k])) return false;
      __builtin_memcpy(to, &bits, 2);
    }
    return true;
  }
  for (; in > 0; in -= kGroup, row += kGroup) {
    std::uint16_t scale;
    int codes[kGroup];
    if (!encode_group(row, in < kGroup ? in : kGroup, type == WeightType::int8, &scale, codes)) return false;
    __builtin_memcpy(to, &scale, 2);
    to += 2;
    if (type == WeightType::int8)
      for (Index i = 0; i < kGroup; ++i) *to++ = static_cast<std::byte>(codes[i] & 0xff);
    else
      for (Index i = 0; i < kGroup / 2; ++i)
        *to++ = static_cast<std::byte>((codes[i] + 8) | (codes[i + kGroup / 2] + 8) << 4);
  }
  return true;
}

ATTEND_NOINLINE void decode(WeightType type, const std::byte* from, Index in, float* row) {
  if (type == WeightType::bfloat16 || type == WeightType::float16) {
    for (Index k = 0; k < in; ++k, from += 2) {
      std::uint16_t bits;
      __builtin_memcpy(&bits, from, 2);
      row[k] = type == WeightType::float16 ? detail::half_to_float(bits) : detail::bfloat16_to_float(bits);
    }
    return;
  }
  const bool eight = type == WeightType::int8;
  for (; in > 0; in -= kGroup, row += kGroup, from += eight ? 34 : 18) {
    float values[kGroup];
    detail::read_block(eight ? DType::Q8_0 : DType::Q4_0, from, values);
    for (Index i = 0; i < kGroup && i < in; ++i) row[i] = values[i];
  }
}
