// An encoder's layers over a ragged batch, some sequences at a time.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include <attend/stack.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// x [1, tokens, E] -> x, through the blocks of `stack`; sequence b is tokens [offsets[b], offsets[b + 1]),
/// which are checked. A group of whole sequences of about 512 tokens for each thread takes all blocks before
/// the next one does, so that what one layer writes lies in the cache when the next one reads it. One group
/// is all where `outputs` are asked for, or where what every call of a block begins with costs as much as a
/// group (disentangled attention).
template <class Scalar>
void forward_in_groups(Context& context, const Stack<Scalar>& stack, StackInputs<Scalar> in,
                       std::span<const Index> offsets, TensorView<Scalar, 3> x,
                       std::span<const BlockOutputs<Scalar>> outputs) {
  constexpr std::size_t kMostSequences = 256;
  const Index tokens = x.size(1), most = 512 * context.threads();
  const bool whole = tokens <= most || !outputs.empty() || in.self.relative != nullptr;
  const Index groups = whole ? 1 : (tokens + most - 1) / most, share = (tokens + groups - 1) / groups;
  const auto forward = [&](std::span<const Index> of_group, TensorView<Scalar, 3> rows) {
    in.self.query_offsets = in.self.key_offsets = of_group;
    stack.forward(context, rows, in, rows, outputs);
  };
  if (whole) return forward(offsets, x);
  std::array<Index, kMostSequences + 1> own;
  for (std::size_t b = 0, n; b + 1 < offsets.size(); b += n) {
    const std::span<const Index> rest = offsets.subspan(b);
    for (n = 0; n < rest.size() && n < own.size() && (n < 2 || rest[n] - rest[0] <= share); ++n)
      own[n] = rest[n] - rest[0];
    --n;
    forward({own.data(), n + 1}, x.slice(1, rest[0], rest[n]));
  }
}

}  // namespace attend::inline ATTEND_ABI::detail
