// Sizes of tensors: checked products, and their text in error messages.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string>

#include <attend/core/error.hpp>

namespace attend::inline ATTEND_ABI {

/// Signed, as Eigen's: sizes, strides and positions.
using Index = std::ptrdiff_t;

/// What functions take for a size, axis or position: any integer type, without a warning where it is called.
struct AnyIndex {
  Index value;  // the number
  /// Any integer converts; what Index cannot hold is cut off as by static_cast.
  template <std::integral Integer>
  constexpr AnyIndex(Integer number) : value(static_cast<Index>(number)) {}
  constexpr operator Index() const { return value; }  // Converts back without a word.
};

/// Elements along each axis.
template <int Rank>
using Shape = std::array<Index, static_cast<std::size_t>(Rank)>;

namespace detail {
/// Number of elements. Error where a size is negative or the product (in units of `element_size` bytes) does
/// not fit an Index. A zero anywhere makes the product 0, but the other factors must fit all the same.
inline Index checked_numel(std::span<const Index> shape, std::size_t element_size = 1) {
  constexpr Index kSurelyFits = sizeof(Index) == 8 ? Index{1} << 24 : 1;  // of both: spares two divisions
  Index product = 1;
  bool empty = false;
  for (Index size : shape) {
    if (size < 0) throw_error("Tensor: negative size in shape ", shape);
    if (size == 0) {
      empty = true;
      continue;
    }
    if ((product | size) >= kSurelyFits &&
        product > (std::numeric_limits<Index>::max)() /
                      static_cast<Index>(element_size > 0 ? element_size : 1) / size)
      throw_error("Tensor: shape ", shape, " has more elements than memory can hold");
    product *= size;
  }
  return empty ? 0 : product;
}

/// The same for a shape of fixed rank, without a call where all sizes are moderate.
template <int Rank>
void check_numel(const Shape<Rank>& shape, std::size_t element_size = 1) {
  constexpr Index kModerate = Index{1} << (sizeof(Index) == 8 ? 48 : 16) / (Rank > 0 ? Rank : 1);
  Index all = 0;
  for (Index size : shape) all |= size;
  if (all < 0 || all >= kModerate || element_size > 1024) checked_numel(shape, element_size);
}

/// Row-major strides, in elements.
template <int Rank>
Shape<Rank> contiguous_strides(const Shape<Rank>& shape) {
  Shape<Rank> strides{};
  Index stride = 1;
  for (int i = Rank - 1; i >= 0; --i) {
    strides[static_cast<std::size_t>(i)] = stride;
    stride *= shape[static_cast<std::size_t>(i)] > 0 ? shape[static_cast<std::size_t>(i)] : 1;
  }
  return strides;
}

/// a + b and a - b, but no further than an Index reaches: positions and bounds are the caller's numbers.
constexpr Index saturating_add(Index a, Index b) {
  constexpr Index least = (std::numeric_limits<Index>::min)(), most = (std::numeric_limits<Index>::max)();
  return b > 0 ? (a > most - b ? most : a + b) : (a < least - b ? least : a + b);
}
constexpr Index saturating_sub(Index a, Index b) {
  constexpr Index least = (std::numeric_limits<Index>::min)(), most = (std::numeric_limits<Index>::max)();
  return b > 0 ? (a < least + b ? least : a - b) : (a > most + b ? most : a - b);
}

/// The one form of a shape error: "Linear: expected [..., 768], got [2, 5, 512]".
[[noreturn]] ATTEND_COLD inline void fail_shape(const std::string& who, const std::string& expected,
                                                std::span<const Index> got) {
  throw_error(who, ": expected ", expected, ", got ", got);
}

inline bool same_sizes(std::span<const Index> a, std::span<const Index> b) {
  bool same = a.size() == b.size();
  for (std::size_t i = 0; same && i < a.size(); ++i) same = a[i] == b[i];
  return same;
}
[[noreturn]] ATTEND_COLD inline void fail_shape(const char* who, std::span<const Index> expected,
                                                std::span<const Index> got) {
  fail_shape(std::string(who), to_string(expected), got);
}
ATTEND_OUT_OF_LINE inline void check_shape(const char* who, std::span<const Index> expected,
                                           std::span<const Index> got) {
  if (!same_sizes(expected, got)) fail_shape(who, expected, got);
}

/// Error of a layer whose option is missing (0), or negative.
inline void check_size(const char* who, const char* option, Index size) {
  if (size < 1) throw_error(who, ": ", option, " is ", size, ", expected 1 or more");
}
/// Error of an option that is not in [0, most].
inline void check_count(const char* who, const char* option, Index count,
                        Index most = (std::numeric_limits<Index>::max)()) {
  if (count < 0 || count > most) throw_error(who, ": ", option, " is ", count, ", expected 0 to ", most);
}
/// Error of an option that is no number between `least` and 1e38, which float holds too.
inline void check_number(const char* who, const char* option, double value, double least) {
  if (!(value >= least && value <= 1e38))
    throw_error(who, ": ", option, " is ", value, ", expected a number", (least == 0 ? " from 0 on" : ""));
}
inline constexpr Index kMostLayers = 10000;

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI
