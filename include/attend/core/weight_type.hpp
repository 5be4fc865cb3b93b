// How a layer keeps its weight: in float, or in fewer bits. The layers know of the formats no more than this
// table, which quant/ fills.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include <attend/core/error.hpp>
#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

/// bfloat16, float16: widened exactly, so that weights which a file keeps in 16 bits give the bits that they
/// give in float. int8: groups of 32 along the inputs, each of an IEEE half d and 32 codes in [-127, 127]
/// (GGUF's Q8_0); int4: codes in [-8, 7] (Q4_0). All but float32 take <attend/quant.hpp>.
enum class WeightType : std::uint8_t { float32, bfloat16, float16, int8, int4 };

/// What products with int8 and int4 weights round their inputs to, each group of 32 of a row for itself: 8
/// bits, or 15 for models whose inputs have outliers.
enum class ActivationType : std::uint8_t { int8, int16 };

/// Its name: "float32", "int8".
constexpr const char* to_string(WeightType type) {
  constexpr const char* names[] = {"float32", "bfloat16", "float16", "int8", "int4"};
  return names[static_cast<std::size_t>(type)];
}

/// The type of that name; none where there is no such type.
constexpr std::optional<WeightType> weight_type_of(std::string_view name) {
  for (const WeightType type :
       {WeightType::float32, WeightType::bfloat16, WeightType::float16, WeightType::int8, WeightType::int4})
    if (name == to_string(type)) return type;
  return {};
}

class Context;

namespace detail {
template <class Scalar>
struct ProductCall;

struct WeightFormat {
  WeightType weights = WeightType::float32;
  ActivationType activations = ActivationType::int8;
};

/// What quant/ can do. A row [in] of a weight is encoded, in the bytes of `row_bytes`, as files keep it, or
/// it is a slot of a packed weight, as the products take it.
struct WeightKernels {
  std::size_t (*row_bytes)(WeightType type, Index in);
  /// False where the type cannot hold a value of the row.
  bool (*encode)(WeightType type, const float* row, Index in, std::byte* encoded);
  void (*decode)(WeightType type, const std::byte* encoded, Index in, float* row);

  /// Of `count` slots, a multiple of `kSlots`.
  std::size_t (*packed_bytes)(WeightType type, Index count, Index in);
  void (*pack)(WeightType type, const std::byte* encoded, Index in, std::byte* packed, Index slot);
  void (*unpack)(WeightType type, const std::byte* packed, Index slot, Index in, std::byte* encoded);
  /// A slot's row, decoded; allocates nothing.
  void (*row)(WeightType type, const std::byte* packed, Index slot, Index in, float* row);
  /// The call's weight is not looked at; the first column of its output is slot `begin`.
  void (*product)(Context& context, WeightFormat format, const std::byte* packed, Index begin,
                  const ProductCall<float>& call);

  static constexpr Index kSlots = 32;
};

/// Set where quant.hpp is included.
inline const WeightKernels* weight_kernels = nullptr;

/// Those of a type other than float32.
inline const WeightKernels& kernels_of(WeightType type) {
  if (weight_kernels == nullptr)
    throw_error("Weight: weights of ", to_string(type), " take #include <attend/quant.hpp>");
  return *weight_kernels;
}
}  // namespace detail

}  // namespace attend::inline ATTEND_ABI
