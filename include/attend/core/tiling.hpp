// The fixed sizes on which the bits of float attention and of row sums depend: kernels and reference share them.
#pragma once

#include <attend/core/shape.hpp>

namespace attend {

/// Keys are taken in tiles of this many, counted from absolute position 0.
inline constexpr Index kKeyTile = 96;
/// A span is this many tiles. Spans are summed each for itself, from nothing, and merged in order.
inline constexpr Index kSpanTiles = 16;
/// Sums across a row run in this many lanes (lane j takes elements j, j + 16, …), added in one fixed tree.
inline constexpr Index kLanes = 16;

}  // namespace attend
