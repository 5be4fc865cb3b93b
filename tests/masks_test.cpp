// Masks, modifiers and positions with any numbers that a caller may give: what they mean, or an error.
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <attend/mask.hpp>
#include <attend/position.hpp>
#include <attend/scaled_dot_product_attention.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::random_tensor;

constexpr Index kMost = std::numeric_limits<Index>::max(), kLeast = std::numeric_limits<Index>::min();
/// Numbers at which sums of positions wrap, and some at which they don't.
constexpr Index kNumbers[] = {kLeast, kLeast + 1, kLeast / 2, -200, -3, -1, 0, 1, 2, 97, kMost / 2, kMost - 98, kMost - 1, kMost};
__extension__ using Wide = __int128;

/// Whether attention sees exactly the keys that `truth` names, by its weights, in each scalar.
template <class Scalar, class Truth>
void expect_sees(const Mask& mask, Index queries, Index keys, Truth&& truth, const std::string& name) {
  const Tensor<Scalar, 4> q({1, 1, queries, 4}), k({1, 1, keys, 4});
  Tensor<Scalar, 4> weights({1, 1, queries, keys}), out({1, 1, queries, 4});
  Context context;
  scaled_dot_product_attention<Scalar>(context, q, k, k, {.mask = mask, .weights = weights.view()}, out.view());
  Index wrong = 0;
  for (Index i = 0; i < queries; ++i)
    for (Index j = 0; j < keys; ++j) wrong += (weights(0, 0, i, j) > 0) != truth(i, j) ? 1 : 0;
  EXPECT_EQ(wrong, 0) << name << ", " << queries << " queries, " << keys << " keys";
}
template <class Truth>
void expect_sees(const Mask& mask, Index queries, Index keys, Truth&& truth, const std::string& name) {
  expect_sees<float>(mask, queries, keys, truth, name);
  expect_sees<double>(mask, queries, keys, truth, name);
}

TEST(Masks, WindowsOfAnyNumbersSeeWhatTheyName) {
  for (const Shape<2>& sizes : {Shape<2>{3, 5}, {5, 3}, {2, 200}})
    for (Corner corner : {Corner::top_left, Corner::bottom_right})
      for (Index left : kNumbers)
        for (Index right : kNumbers)
          for (Index start : kNumbers) {
            const Index offset = corner == Corner::bottom_right ? sizes[1] - sizes[0] : 0;
            expect_sees<double>(
                sliding_window(left, right, corner, start), sizes[0], sizes[1],
                [&](Index i, Index j) {
                  const Wide position = Wide{i} + start + offset;
                  return (left < 0 || j >= position - left) && (right < 0 || j <= position + right);
                },
                "sliding_window(" + std::to_string(left) + ", " + std::to_string(right) + ", start " + std::to_string(start) + ")");
          }
}

TEST(Masks, WindowsWithoutEndAreNoWindows) {
  const auto all = [](Index, Index) { return true; };
  const auto behind = [](Index i, Index j) { return j >= i - 1; };
  expect_sees(sliding_window(1, kMost), 3, 100, behind, "sliding_window(1, max)");
  expect_sees(sliding_window(kMost, kMost), 3, 100, all, "sliding_window(max, max)");
  expect_sees(sliding_window(kMost, 0), 3, 100, [](Index i, Index j) { return j <= i; }, "sliding_window(max, 0)");
}

TEST(Masks, CausalFromAnyPosition) {
  for (Index position : kNumbers)
    expect_sees(causal_from(position), 3, 100, [&](Index i, Index j) { return Wide{j} <= Wide{i} + position; },
                "causal_from(" + std::to_string(position) + ")");
}

TEST(Masks, PrefixOfAnyLength) {
  for (Index length : kNumbers)
    expect_sees(prefix(length), 3, 100, [&](Index, Index j) { return j < length; }, "prefix(" + std::to_string(length) + ")");
}

TEST(Masks, BlocksWiderThanAllTokens) {
  const Tensor<std::uint8_t, 2> one({1, 1}, std::uint8_t{1});
  for (Index size : {Index{100}, kMost / 2, kMost - 1, kMost})
    expect_sees(blocks(one.view(), size), 3, 100, [](Index, Index) { return true; }, "blocks of " + std::to_string(size));
}

TEST(Positions, AlibiOfAnyStart) {
  const std::vector<double> slopes{0.5};
  for (Index start : kNumbers)
    for (bool symmetric : {false, true}) {
      double distance = static_cast<double>(Wide{start} + 3 - 70);
      if (symmetric) distance = std::abs(distance);
      EXPECT_DOUBLE_EQ(alibi<double>(slopes, start, symmetric)(1.0, 0, 0, 3, 70), 1 - 0.5 * distance) << start;
    }
}

TEST(Positions, RelativeBiasOfAnyStartAndDistance) {
  for (bool bidirectional : {false, true}) {
    const RelativeBiasOptions options{.num_heads = 1, .bidirectional = bidirectional};
    RelativeBias<float> bias(options);
    attend_test::fill_parameters<float>(bias);
    Tensor<float, 1> table({options.relative_attention_num_buckets});
    bias.parameters([&](const std::string&, Parameter<float> p) { p.copy_to(0, p.rows(), table.data()); });
    for (Index start : kNumbers) {
      const Wide distance = Wide{70} - 3 - start;
      const Index clamped = static_cast<Index>(std::max<Wide>(-128, std::min<Wide>(128, distance)));
      const Index bucket = relative_position_bucket(clamped, options);
      EXPECT_EQ(bias.modifier(start)(1.0f, 0, 0, 3, 70), 1.0f + table(bucket)) << start;
      if (distance >= kLeast && distance <= kMost) {
        EXPECT_EQ(relative_position_bucket(static_cast<Index>(distance), options), bucket) << start;
      }
    }
  }
}

TEST(Positions, SinusoidalFromAnyPosition) {
  for (Index first : kNumbers) {
    const Tensor<double, 2> table = sinusoidal_positions<double>(3, 4, {.first = first});
    EXPECT_EQ(table(2, 0), std::sin(static_cast<double>(first) + 2.0)) << first;
  }
}

TEST(Positions, RotaryFromAnyPosition) {
  Context context;
  for (RopeType type : {RopeType::none, RopeType::dynamic})
    for (Index start : kNumbers) {
      RotaryOptions options{.head_dim = 4, .rope_type = type};
      if (type == RopeType::dynamic) options.factor = 2;
      const Rotary<double> rotary(options);
      Tensor<double, 4> x({1, 1, 2, 4}, 1.0), from_starts = x, from_positions = x;
      rotary.apply(context, x.view(), start);
      rotary.apply(context, from_starts.view(), std::span<const Index>(&start, 1));
      const Tensor<Index, 2> positions({1, 2}, std::vector<Index>{start, start == kMost ? start : start + 1});
      rotary.apply<Index>(context, from_positions.view(), positions);
      const Wide last = std::min<Wide>(kMost, Wide{start} + 1);
      EXPECT_EQ(static_cast<Wide>(positions(0, 1)), last);
      for (const Tensor<double, 4>* y : {&x, &from_starts, &from_positions})
        for (Index t = 0; t < 2; ++t) {
          // every pair has the length that it had, and the first turns by its position (in radians, where nothing is stretched)
          EXPECT_NEAR(std::hypot((*y)(0, 0, t, 0), (*y)(0, 0, t, 2)), std::sqrt(2.0), 1e-12) << start;
          if (type == RopeType::none || start + 0.0 < 2000) {
            const double angle = static_cast<double>(positions(0, t));
            EXPECT_NEAR((*y)(0, 0, t, 0), std::cos(angle) - std::sin(angle), 1e-9) << start;
          }
        }
      for (std::size_t i = 0; i < x.span().size(); ++i) EXPECT_EQ(x.span()[i], from_starts.span()[i]) << start;
    }
}

}  // namespace
