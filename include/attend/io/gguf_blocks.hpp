// The values of GGUF's blocks, as ggml defines them: a scale of 16 bits (d) for 32 values, or in the K types
// one for 256 values in parts that have scales of 6 or 8 bits of their own; some have an offset (m) as well.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <attend/io/dtype.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// The bytes of a block and the numbers in them.
class GgufBlock {
 public:
  explicit GgufBlock(const std::byte* bytes) : bytes_(bytes) {}

  std::uint32_t operator[](std::size_t i) const { return static_cast<std::uint32_t>(bytes_[i]); }
  int signed_at(std::size_t i) const { return static_cast<std::int8_t>(bytes_[i]); }
  float half(std::size_t i) const {
    std::uint16_t bits;
    std::memcpy(&bits, bytes_ + i, 2);
    return half_to_float(bits);
  }
  /// Number i of those of 4 bits from a byte on, where each `half` bytes hold so many in their lower bits,
  /// and the next so many in their upper bits.
  std::uint32_t nibble(std::size_t from, std::size_t i, std::size_t half) const {
    return (*this)[from + i / (2 * half) * half + i % half] >> (i / half % 2 * 4) & 15;
  }
  std::uint32_t bit(std::size_t from, std::size_t i) const { return (*this)[from + i / 8] >> (i % 8) & 1; }

 private:
  const std::byte* bytes_;
};

/// Part i of the eight of Q4_K and Q5_K: scale and offset, 6 bits each, in 12 bytes.
inline std::array<float, 2> scale_and_offset(const GgufBlock& block, std::size_t i) {
  const auto at = [&](std::size_t j) { return block[4 + j]; };
  const std::uint32_t scale = i < 4 ? at(i) & 63 : (at(i + 4) & 15) | (at(i - 4) >> 6 << 4);
  const std::uint32_t offset = i < 4 ? at(i + 4) & 63 : at(i + 4) >> 4 | (at(i) >> 6 << 4);
  return {block.half(0) * static_cast<float>(scale), block.half(2) * static_cast<float>(offset)};
}

/// All values of one block. No product of a scale and a number of so few bits is rounded, and a sum is
/// rounded once, so that it makes no difference whether a compiler takes an FMA for it.
inline void read_block(DType type, const std::byte* bytes, float* out) {
  const GgufBlock b(bytes);
  const auto number = [](std::uint32_t q) { return static_cast<float>(static_cast<int>(q)); };
  // value(i, scale, offset) for the values of each part; of types without an offset scale_of gives -0, which
  // changes nothing.
  const auto each = [&](std::size_t parts, std::size_t size, auto&& scale_of, auto&& value) {
    for (std::size_t part = 0; part < parts; ++part) {
      const auto [scale, offset] = scale_of(part);
      for (std::size_t i = part * size; i < (part + 1) * size; ++i) *out++ = scale * value(i) + offset;
    }
  };
  const auto one_scale = [&](std::size_t) { return std::array<float, 2>{b.half(0), -0.0f}; };
  const auto with_offset = [&](std::size_t) { return std::array<float, 2>{b.half(0), b.half(2)}; };
  const auto of_part = [&](std::size_t part) {
    const auto [scale, offset] = scale_and_offset(b, part);
    return std::array<float, 2>{scale, -offset};
  };
  const auto of_sixteen = [&](std::size_t part) {
    return std::array<float, 2>{b.half(208) * static_cast<float>(b.signed_at(192 + part)), -0.0f};
  };
  switch (type) {
    case DType::Q8_0:
      return each(1, 32, one_scale, [&](std::size_t i) { return static_cast<float>(b.signed_at(2 + i)); });
    case DType::Q4_0:
      return each(1, 32, one_scale, [&](std::size_t i) { return number(b.nibble(2, i, 16)) - 8; });
    case DType::Q4_1:
      return each(1, 32, with_offset, [&](std::size_t i) { return number(b.nibble(4, i, 16)); });
    case DType::Q5_0:
      return each(1, 32, one_scale,
                  [&](std::size_t i) { return number(b.nibble(6, i, 16) | b.bit(2, i) << 4) - 16; });
    case DType::Q5_1:
      return each(1, 32, with_offset,
                  [&](std::size_t i) { return number(b.nibble(8, i, 16) | b.bit(4, i) << 4); });
    case DType::Q4_K:
      return each(8, 32, of_part, [&](std::size_t i) { return number(b.nibble(16, i, 32)); });
    case DType::Q5_K:
      return each(8, 32, of_part, [&](std::size_t i) {
        return number(b.nibble(48, i, 32) | (b[16 + i % 32] >> (i / 32) & 1) << 4);
      });
    case DType::Q6_K:
      return each(16, 16, of_sixteen, [&](std::size_t i) {
        const std::uint32_t high = b[128 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        return number(b.nibble(0, i, 64) | high << 4) - 32;
      });
    default:
      return;
  }
}

/// `count` values from number `first` on of a type in blocks. False where Scalar is an integer.
template <class Scalar>
bool convert_blocks(DType type, const std::byte* in, Index first, Index count, Scalar* out) {
  const DTypeInfo& info = kDTypes[static_cast<std::size_t>(type)];
  std::array<float, 256> values;
  bool good = true;
  for (Index i = first; i < first + count;) {
    const Index block = i / info.elements, end = (std::min)(first + count, (block + 1) * info.elements);
    read_block(type, in + block * (info.bits / 8), values.data());
    for (; i < end; ++i)
      good &= assign_converted(values[static_cast<std::size_t>(i - block * info.elements)], *out++);
  }
  return good;
}

}  // namespace attend::inline ATTEND_ABI::detail
