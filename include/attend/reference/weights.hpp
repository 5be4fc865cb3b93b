// Reduced weights as plain loops with std::fma: the specification of each bit of quant/'s results.
//
// Don't compile it with -ffast-math.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include <attend/core/weight_type.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI::reference {

/// The value of IEEE binary16 bits.
inline float half_value(std::uint16_t bits) {
  const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
}
/// The finite half that is nearest to |x| (of two, the even one) with the sign of x; none beyond the range.
inline std::optional<std::uint16_t> nearest_half(float x) {
  const double a = std::fabs(static_cast<double>(x));
  if (!(a < 65520.0)) return std::nullopt;
  std::uint16_t best = 0;  // halves are in the order of their bits
  for (int bit = 14; bit >= 0; --bit)
    if (const auto more = static_cast<std::uint16_t>(best | 1 << bit);
        more < 0x7c00 && static_cast<double>(half_value(more)) <= a)
      best = more;
  if (best < 0x7bff) {
    const auto next = static_cast<std::uint16_t>(best + 1);
    const double down = a - static_cast<double>(half_value(best)),
                 up = static_cast<double>(half_value(next)) - a;
    if (up < down || (up == down && best % 2 == 1)) best = next;
  }
  return static_cast<std::uint16_t>(best | (std::signbit(x) ? 0x8000 : 0));
}

/// Codes of a row in groups of 32, a scale for each.
struct QuantizedRow {
  std::vector<float> scales;
  std::vector<int> codes;
};

/// A row of a weight of int8 or int4; none where the type cannot hold it.
inline std::optional<QuantizedRow> quantize_weight(WeightType type, const std::vector<float>& row) {
  QuantizedRow out;
  const bool eight = type == WeightType::int8;
  for (std::size_t begin = 0; begin < row.size(); begin += 32) {
    const std::size_t end = (std::min)(row.size(), begin + 32);
    float most = 0;  // the first of greatest magnitude
    for (std::size_t k = begin; k < end; ++k) {
      if (!std::isfinite(row[k])) return std::nullopt;
      if (std::fabs(row[k]) > std::fabs(most)) most = row[k];
    }
    const std::optional<std::uint16_t> scale = nearest_half(eight ? std::fabs(most) / 127.0f : most / -8.0f);
    if (!scale) return std::nullopt;
    const float d = half_value(*scale);
    out.scales.push_back(d);
    for (std::size_t k = begin; k < begin + 32; ++k) {
      const float q = k < end && d != 0 ? std::nearbyint(row[k] / d) : 0.0f;
      out.codes.push_back(
          static_cast<int>(eight ? std::clamp(q, -127.0f, 127.0f) : std::clamp(q, -8.0f, 7.0f)));
    }
  }
  return out;
}

/// The codes and scales of a row as files keep it: blocks of a half and 32 codes, of 4 bits two in a byte, of
/// which the low ones come first. `out` is a QuantizedRow or the like; what it had before is gone.
template <class Row>
void weight_row(WeightType type, std::span<const std::byte> encoded, Row& out) {
  out.scales.clear(), out.codes.clear();
  const std::size_t codes = type == WeightType::int8 ? 32 : 16;
  for (std::size_t at = 0; at < encoded.size(); at += 2 + codes) {
    const auto byte = [&](std::size_t i) { return std::to_integer<int>(encoded[at + i]); };
    out.scales.push_back(half_value(static_cast<std::uint16_t>(byte(0) | byte(1) << 8)));
    for (std::size_t i = 0; i < 32; ++i)
      out.codes.push_back(codes == 32 ? (byte(2 + i) ^ 128) - 128
                                      : (byte(2 + i % 16) >> (i < 16 ? 0 : 4) & 15) - 8);
  }
}
inline QuantizedRow weight_row(WeightType type, std::span<const std::byte> encoded) {
  QuantizedRow out;
  weight_row(type, encoded, out);
  return out;
}

/// A row of an input, in codes of 8 or 15 bits.
template <class Row>
void quantize_input(ActivationType type, std::span<const float> row, Row& out) {
  out.scales.clear(), out.codes.clear();
  const float limit = type == ActivationType::int8 ? 127.0f : 16256.0f;
  for (std::size_t begin = 0; begin < row.size(); begin += 32) {
    const std::size_t end = (std::min)(row.size(), begin + 32);
    float most = 0;
    bool finite = true;
    for (std::size_t k = begin; k < end; ++k) {
      finite = finite && std::isfinite(row[k]);
      most = (std::max)(most, std::fabs(row[k]));
    }
    const bool zero = !finite || most < 0x1p-100f;
    out.scales.push_back(!finite ? std::numeric_limits<float>::quiet_NaN() : zero ? 0.0f : most / limit);
    for (std::size_t k = begin; k < begin + 32; ++k) {
      const float product = zero || k >= end ? 0.0f : row[k] * (limit / most);
      out.codes.push_back(static_cast<int>(std::clamp(std::nearbyint(product), -limit, limit)));
    }
  }
}
inline QuantizedRow quantize_input(ActivationType type, std::span<const float> row) {
  QuantizedRow out;
  quantize_input(type, row, out);
  return out;
}

/// Σ over groups, ascending: y = fma(float(Σ codes · codes), s d, y).
template <class Row>
float product(const Row& input, const Row& weight) {
  float y = 0;
  for (std::size_t g = 0; g < input.scales.size(); ++g) {
    std::int32_t sum = 0;
    for (std::size_t i = 32 * g; i < 32 * (g + 1); ++i) sum += input.codes[i] * weight.codes[i];
    const float scale = input.scales[g] * weight.scales[g];
    y = std::fma(static_cast<float>(sum), scale, y);
  }
  return y;
}

}  // namespace attend::inline ATTEND_ABI::reference
