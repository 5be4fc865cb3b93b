// What the kernels of reduced weights are called with, how their operands lie, and the table of a tier's.
#pragma once

#include <cstddef>
#include <cstdint>

#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI::quant {

/// Inputs are quantised, and weights have a scale, by groups of this many along k.
inline constexpr Index kGroup = 32;
/// Columns of a panel of a packed weight.
inline constexpr Index kColumns = 32;

/// A packed weight of codes is panels of 32 columns, each a run of groups, each read from its first byte to
/// its last: for each 16 columns the codes, then 32 halves, the columns' scales. A code is kept plus
/// `offset`, so that it is unsigned. Codes of 16 columns come as [8][16][4], the four of k next to each
/// other: of 8 bits, or of 4, where the low half of byte (j, c, i) is k = 4 j + i, and the high half k = 4 (j
/// + 4) + i.
struct Codes {
  Index bits;
  Index half() const { return kGroup * 16 * bits / 8; }      // bytes of 16 columns of a group
  Index group() const { return 2 * half() + 2 * kColumns; }  // bytes
  std::int32_t offset() const { return bits == 8 ? 128 : 8; }
};

/// A group of all rows of an input, quantised: each row's codes, as bytes where the tier multiplies bytes
/// (`bytes`), else as 16 bits, each four in the order 0, 2, 1, 3; then each row's scale; then -offset times
/// the sum of each row's codes.
struct InputGroup {
  bool bytes;
  Index rows;  // with those that fill up a line of the cache
  constexpr Index codes() const { return kGroup * (bytes ? 1 : 2); }  // bytes of a row
  constexpr Index scales() const { return rows * codes(); }           // where they are
  constexpr Index starts() const { return scales() + rows * 4; }
  constexpr Index size() const { return starts() + rows * 4; }
};

/// C = bias + residual + A · Wᵀ, of inputs and weights in groups.
struct Product {
  const std::byte* a = nullptr;  // [groups] of InputGroup
  Index rows = 0, groups = 0;
  const std::byte* w = nullptr;  // the first panel
  float* c = nullptr;            // [M, N], rows ldc apart
  Index ldc = 0, n = 0;
  const float* bias = nullptr;      // [ceil(N / 32) 32], or null
  const float* residual = nullptr;  // [M, N], rows ldr apart, or null
  Index ldr = 0;
};

/// C = bias + residual + A · Wᵀ, of 16-bit weights: panels [K][32], of bfloat16 with column j beside j + 16.
struct HalfProduct {
  const float* a = nullptr;  // [M, K], rows lda apart
  Index lda = 0, k = 0;
  const std::byte* w = nullptr;
  float* c = nullptr;
  Index ldc = 0, n = 0;
  const float* bias = nullptr;
  const float* residual = nullptr;
  Index ldr = 0;
};

/// The entries of one tier. Ranges are half open; panels are 32 columns.
struct Table {
  int byte_bits;  // inputs of 8 bits are kept as bytes for weights of at most so many
  Index rows;     // that products of codes take at a time
  /// Row m [k] of an input; codes in [-limit, limit].
  void (*quantize)(const float* x, Index k, InputGroup group, Index m, int limit, std::int32_t offset,
                   std::byte* groups);
  void (*product)(const Product&, Index bits, bool bytes, Index m0, Index m1, Index p0, Index p1);
  /// Better than `widen` and the products of float for at most `few_rows` rows.
  Index few_rows;
  void (*half_product)(const HalfProduct&, bool bfloat, Index m0, Index m1, Index p0, Index p1);
  /// One panel of 16-bit weights as float, in two panels [k][16] of 16 columns.
  void (*widen)(const std::byte* panel, Index k, bool bfloat, float* out);
};

}  // namespace attend::inline ATTEND_ABI::quant
