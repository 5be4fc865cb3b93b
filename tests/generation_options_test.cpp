// Options of generation that no model could follow are errors before anything runs.
#include "support.hpp"

#include <cstdint>
#include <limits>
#include <vector>

#include <attend/model/beam_search.hpp>

namespace {
using namespace attend;
using attend_test::error_of;
using testing::HasSubstr;

TEST(GenerationOptions, AbsurdOnesAreErrors) {
  const double infinity = std::numeric_limits<double>::infinity(),
               nan = std::numeric_limits<double>::quiet_NaN();
  const Index most = (std::numeric_limits<Index>::max)();
  const auto error = [](const GenerationOptions& options) {
    return error_of([&] { check_options(options); });
  };
  for (const Index beams : {Index{0}, Index{-1}, most, most / 2 + 1, Index{65537}})
    EXPECT_THAT(error({.num_beams = beams}), HasSubstr("generate: num_beams is"));
  for (const double penalty : {nan, infinity, -infinity}) {
    EXPECT_THAT(error({.length_penalty = penalty}), HasSubstr("generate: length_penalty is"));
    EXPECT_THAT(error({.repetition_penalty = penalty}), HasSubstr("generate: repetition_penalty is"));
  }
}

// 2^62 beams times three end tokens and one are 0 candidates in 64 bits, of which the worst was then read.
TEST(BeamSearch, ACountOfBeamsThatWrapsIsAnError) {
  Context context;
  Tensor<float, 2> logits({1, 4});
  const std::vector<std::int32_t> eos{1, 2, 3}, prompt{0};
  EXPECT_THAT(error_of([&] {
                beam_search(context, {.num_beams = Index{1} << 62}, eos, prompt, logits.view(),
                            [&](auto, auto) { return logits.view(); });
              }),
              HasSubstr("generate: num_beams is"));
}

}  // namespace
