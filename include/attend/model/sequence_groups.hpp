// Texts and sequences in groups: as many at a time as run well together.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <attend/stack.hpp>
#include <attend/text/encoding.hpp>

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

/// Texts [begin, end) of several, one after the other.
struct TextGroup {
  Index begin = 0, end = 0;
  std::vector<std::int32_t> ids = {}, type_ids = {};
  std::vector<Index> offsets = {0};  // text b of the group is ids [offsets[b], offsets[b + 1])
};
/// run(group) for groups of whole texts of at most `most` tokens, or of one longer text. encode(i) is text i.
template <class Encode, class Run>
void run_in_groups(std::size_t texts, std::size_t most, Encode&& encode, Run&& run) {
  TextGroup group;
  for (std::size_t i = 0; i < texts; ++i) {
    const text::Encoding more = encode(i);
    if (!group.ids.empty() && group.ids.size() + more.ids.size() > most) {
      run(group);
      group = {.begin = group.end, .end = group.end};
    }
    group.ids.insert(group.ids.end(), more.ids.begin(), more.ids.end());
    group.type_ids.insert(group.type_ids.end(), more.type_ids.begin(), more.type_ids.end());
    group.offsets.push_back(static_cast<Index>(group.ids.size()));
    ++group.end;
  }
  if (texts > 0) run(group);
}

}  // namespace attend::inline ATTEND_ABI::detail
