// Element types of safetensors and GGUF files, and their conversion to a scalar of the caller's choice.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include <Eigen/Core>

#include <attend/core/error.hpp>
#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

static_assert(std::endian::native == std::endian::little,
              "safetensors files are read on little-endian machines only");

/// Every element type of the safetensors format, and those of GGUF that are read, under the formats' own
/// names.
enum class DType : std::uint8_t {
  BOOL,
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  U64,
  I64,
  F16,
  BF16,
  F32,
  F64,
  // Listed, and refused by name when read:
  F8_E5M2,
  F8_E4M3,
  F8_E8M0,
  F8_E5M2FNUZ,
  F8_E4M3FNUZ,
  F6_E2M3,
  F6_E3M2,
  F4,
  C64,
  // Of GGUF files: blocks of several values, see gguf_blocks.hpp.
  Q4_0,
  Q4_1,
  Q5_0,
  Q5_1,
  Q8_0,
  Q4_K,
  Q5_K,
  Q6_K,
};

namespace detail {
struct DTypeInfo {
  std::string_view name;
  int bits;          // of a block
  int elements = 1;  // of a block
};
/// In the order of DType.
inline constexpr std::array<DTypeInfo, 30> kDTypes{{
    {"BOOL", 8},       {"U8", 8},          {"I8", 8},           {"U16", 16},         {"I16", 16},
    {"U32", 32},       {"I32", 32},        {"U64", 64},         {"I64", 64},         {"F16", 16},
    {"BF16", 16},      {"F32", 32},        {"F64", 64},         {"F8_E5M2", 8},      {"F8_E4M3", 8},
    {"F8_E8M0", 8},    {"F8_E5M2FNUZ", 8}, {"F8_E4M3FNUZ", 8},  {"F6_E2M3", 6},      {"F6_E3M2", 6},
    {"F4", 4},         {"C64", 64},        {"Q4_0", 144, 32},   {"Q4_1", 160, 32},   {"Q5_0", 176, 32},
    {"Q5_1", 192, 32}, {"Q8_0", 272, 32},  {"Q4_K", 1152, 256}, {"Q5_K", 1408, 256}, {"Q6_K", 1680, 256},
}};
}  // namespace detail

/// The name that files have for it: "F32", "Q8_0".
inline std::string_view to_string(DType type) { return detail::kDTypes[static_cast<std::size_t>(type)].name; }
namespace detail {
inline int bits_of(DType type) { return kDTypes[static_cast<std::size_t>(type)].bits; }
inline int elements_of(DType type) { return kDTypes[static_cast<std::size_t>(type)].elements; }
inline bool is_in_blocks(DType type) { return type >= DType::Q4_0; }

/// Whether elements of this type can be read at all.
inline bool is_readable(DType type) { return type <= DType::F64 || is_in_blocks(type); }
}  // namespace detail

/// Nothing where there is no type of that name.
inline std::optional<DType> dtype_from_string(std::string_view name) {
  for (std::size_t i = 0; i < detail::kDTypes.size(); ++i)
    if (detail::kDTypes[i].name == name) return static_cast<DType>(i);
  return std::nullopt;
}

/// The element type that a C++ type is stored as.
template <class T>
requires std::is_arithmetic_v<T> || std::same_as<T, Eigen::half> || std::same_as<T, Eigen::bfloat16>
constexpr DType dtype_of() {
  if constexpr (std::same_as<T, bool>) {
    return DType::BOOL;
  } else if constexpr (std::same_as<T, Eigen::half>) {
    return DType::F16;
  } else if constexpr (std::same_as<T, Eigen::bfloat16>) {
    return DType::BF16;
  } else if constexpr (std::is_floating_point_v<T>) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "no element type for long double");
    return sizeof(T) == 4 ? DType::F32 : DType::F64;
  } else if constexpr (std::is_signed_v<T>) {
    return sizeof(T) == 1   ? DType::I8
           : sizeof(T) == 2 ? DType::I16
           : sizeof(T) == 4 ? DType::I32
                            : DType::I64;
  } else {
    return sizeof(T) == 1   ? DType::U8
           : sizeof(T) == 2 ? DType::U16
           : sizeof(T) == 4 ? DType::U32
                            : DType::U64;
  }
}

namespace detail {
/// std::bit_cast, which emscripten of Debian 12 does not have.
template <class To, class From>
constexpr To bit_cast(const From& from) {
  return __builtin_bit_cast(To, from);
}

/// IEEE 754 binary16 as float, exact; NaN keeps its payload. Never touches a subnormal float, so
/// flush-to-zero cannot change the result.
inline float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t rest = half & 0x7fffu;
  constexpr std::uint32_t two_to_minus_14 = 113u << 23;
  const std::uint32_t normal = (rest << 13) + (112u << 23);
  const std::uint32_t special = (rest << 13) + (224u << 23);  // exponent 31 becomes 255
  const float subnormal = bit_cast<float>((rest << 13) + two_to_minus_14) - bit_cast<float>(two_to_minus_14);
  const std::uint32_t magnitude = rest < 0x400u     ? bit_cast<std::uint32_t>(subnormal)
                                  : rest >= 0x7c00u ? special
                                                    : normal;
  return bit_cast<float>(sign | magnitude);
}

/// A bfloat16 is the upper half of a float.
inline float bfloat16_to_float(std::uint16_t bits) {
  return bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// One stored value as Scalar. An integral Scalar takes only what it can hold: false where it cannot.
template <class Scalar, class T>
bool assign_converted(T value, Scalar& out) {
  if constexpr (std::integral<Scalar> && !std::same_as<Scalar, bool>) {
    if constexpr (std::same_as<T, bool>) {
      out = static_cast<Scalar>(value);
      return true;
    } else if constexpr (std::integral<T>) {
      out = static_cast<Scalar>(value);
      return std::in_range<Scalar>(value);
    } else {
      return false;
    }
  } else if constexpr (std::same_as<Scalar, bool>) {
    if constexpr (std::same_as<T, bool>) out = value;
    return std::same_as<T, bool>;
  } else if constexpr (std::is_arithmetic_v<Scalar>) {
    out = static_cast<Scalar>(value);
    return true;
  } else {
    out = static_cast<Scalar>(static_cast<double>(value));  // 16-bit floats, autodiff types
    return true;
  }
}

/// Reads n values of stored type `Stored` that lie anywhere in memory; `decode` makes them a C++ number.
template <class Stored, class Scalar, class Decode>
bool convert_each(const std::byte* in, Index n, Scalar* out, Decode decode) {
  if constexpr (std::same_as<decltype(decode(Stored{})), Scalar> && std::same_as<Stored, Scalar>) {
    if (n > 0) std::memcpy(out, in, static_cast<std::size_t>(n) * sizeof(Stored));
    return true;
  } else {
    bool good = true;
    for (Index i = 0; i < n; ++i) {
      Stored value;
      std::memcpy(&value, in + static_cast<std::size_t>(i) * sizeof(Stored), sizeof(Stored));
      good &= assign_converted(decode(value), out[i]);
    }
    return good;
  }
}

/// Converts n elements of a readable type, which need no alignment. Floating-point scalars take every type
/// (rounded where they are narrower); integral ones take integers only. False where a value does not fit.
template <class Scalar>
bool convert(DType type, const std::byte* in, Index n, Scalar* out) {
  const auto same = [](auto value) { return value; };
  switch (type) {
    case DType::BOOL:
      return convert_each<std::uint8_t>(in, n, out, [](std::uint8_t value) { return value != 0; });
    case DType::U8:
      return convert_each<std::uint8_t>(in, n, out, same);
    case DType::I8:
      return convert_each<std::int8_t>(in, n, out, same);
    case DType::U16:
      return convert_each<std::uint16_t>(in, n, out, same);
    case DType::I16:
      return convert_each<std::int16_t>(in, n, out, same);
    case DType::U32:
      return convert_each<std::uint32_t>(in, n, out, same);
    case DType::I32:
      return convert_each<std::int32_t>(in, n, out, same);
    case DType::U64:
      return convert_each<std::uint64_t>(in, n, out, same);
    case DType::I64:
      return convert_each<std::int64_t>(in, n, out, same);
    case DType::F16:
      return convert_each<std::uint16_t>(in, n, out, half_to_float);
    case DType::BF16:
      return convert_each<std::uint16_t>(in, n, out, bfloat16_to_float);
    case DType::F32:
      return convert_each<float>(in, n, out, same);
    case DType::F64:
      return convert_each<double>(in, n, out, same);
    default:
      return false;
  }
}
}  // namespace detail

}  // namespace attend::inline ATTEND_ABI
