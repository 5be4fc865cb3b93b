// The machine's own limits, on the ISA that attend runs on.
#pragma once

#include <cstddef>

namespace bench {

/// Runs `steps` rounds of independent multiply-adds that stay in registers; returns the operations of a round
/// (a multiply-add counts as two).
double multiply_adds(std::ptrdiff_t steps);

/// One way of reading memory: in so many streams at once, prefetching so many bytes ahead (0: not at all).
struct ReadPlan {
  int streams = 1;
  int ahead = 0;
};
/// The sum of n floats, each read once.
float read(const float* data, std::ptrdiff_t n, ReadPlan plan);
/// The plan that reads these n floats fastest.
ReadPlan best_plan(const float* data, std::ptrdiff_t n);

}  // namespace bench
