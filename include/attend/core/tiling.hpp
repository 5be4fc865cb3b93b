// The fixed sizes on which the bits of float attention and of row sums depend: kernels and reference share
// them.
#pragma once

#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

/// Keys are taken in tiles of this many, counted from absolute position 0.
inline constexpr Index kKeyTile = 96;
/// A span is this many tiles. Spans are summed each for itself, from nothing, and merged in order.
inline constexpr Index kSpanTiles = 16;
/// Sums across a row run in this many lanes (lane j takes elements j, j + 16, …), added in one fixed tree.
inline constexpr Index kLanes = 16;

/// Where keys and values lie in a page, which is a tile of one key/value head as the kernels take it: keys as
/// [2][D][48], then values as [ceil(Dv / 64)][96][64], whose last group has but the columns of Dv rounded up
/// to 16. So few rows, as in decoding, read a page from its first byte to its last.
struct PageLayout {
  Index head_dim = 0, value_stride = 0;  // value_stride: Dv rounded up to 16

  static constexpr Index kKeys = 48, kValues = 64;
  Index key(Index slot, Index d) const { return slot / kKeys * kKeys * head_dim + d * kKeys + slot % kKeys; }
  Index value_row(Index d) const {  // from a token to the next
    const Index left = value_stride - d / kValues * kValues;
    return left < kValues ? left : kValues;
  }
  Index value(Index slot, Index d) const {
    return kKeyTile * (head_dim + d / kValues * kValues) + slot * value_row(d) + d % kValues;
  }
  Index floats() const { return kKeyTile * (head_dim + value_stride); }
};

}  // namespace attend::inline ATTEND_ABI
