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
constexpr Index kNumbers[] = {kLeast, kLeast + 1, kLeast / 2, -200,      -3,         -1,        0,
                              1,      2,          97,         kMost / 2, kMost - 98, kMost - 1, kMost};
__extension__ using Wide = __int128;

/// Whether attention sees exactly the keys that `truth` names, by its weights, in each scalar.
template <class Scalar, class Truth>
void expect_sees(const Mask& mask, Index queries, Index keys, Truth&& truth, const std::string& name) {
  const Tensor<Scalar, 4> q({1, 1, queries, 4}), k({1, 1, keys, 4});
  Tensor<Scalar, 4> weights({1, 1, queries, keys}), out({1, 1, queries, 4});
  Context context;
  scaled_dot_product_attention<Scalar>(context, q, k, k, {.mask = mask}, out.view(),
                                       {.weights = weights.view()});
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
                "sliding_window(" + std::to_string(left) + ", " + std::to_string(right) + ", start " +
                    std::to_string(start) + ")");
          }
}

TEST(Masks, WindowsWithoutEndAreNoWindows) {
  const auto all = [](Index, Index) { return true; };
  const auto behind = [](Index i, Index j) { return j >= i - 1; };
  expect_sees(sliding_window(1, kMost), 3, 100, behind, "sliding_window(1, max)");
  expect_sees(sliding_window(kMost, kMost), 3, 100, all, "sliding_window(max, max)");
  expect_sees(
      sliding_window(kMost, 0), 3, 100, [](Index i, Index j) { return j <= i; }, "sliding_window(max, 0)");
}

TEST(Masks, CausalFromAnyPosition) {
  for (Index position : kNumbers)
    expect_sees(
        causal_from(position), 3, 100, [&](Index i, Index j) { return Wide{j} <= Wide{i} + position; },
        "causal_from(" + std::to_string(position) + ")");
}

TEST(Masks, PrefixOfAnyLength) {
  for (Index length : kNumbers)
    expect_sees(
        prefix(length), 3, 100, [&](Index, Index j) { return j < length; },
        "prefix(" + std::to_string(length) + ")");
}

TEST(Masks, BlocksWiderThanAllTokens) {
  const Tensor<std::uint8_t, 2> one({1, 1}, std::uint8_t{1});
  for (Index size : {Index{100}, kMost / 2, kMost - 1, kMost})
    expect_sees(
        blocks(one.view(), size), 3, 100, [](Index, Index) { return true; },
        "blocks of " + std::to_string(size));
}

TEST(Positions, AlibiOfAnyStart) {
  const std::vector<double> slopes{0.5};
  for (Index start : kNumbers)
    for (bool symmetric : {false, true}) {
      double distance = static_cast<double>(Wide{start} + 3 - 70);
      if (symmetric) distance = std::abs(distance);
      EXPECT_DOUBLE_EQ(alibi<double>(slopes, start, symmetric)(1.0, 0, 0, 3, 70), 1 - 0.5 * distance)
          << start;
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
          // every pair has the length that it had, and the first turns by its position (in radians, where
          // nothing is stretched)
          EXPECT_NEAR(std::hypot((*y)(0, 0, t, 0), (*y)(0, 0, t, 2)), std::sqrt(2.0), 1e-12) << start;
          if (type == RopeType::none || start + 0.0 < 2000) {
            const double angle = static_cast<double>(positions(0, t));
            EXPECT_NEAR((*y)(0, 0, t, 0), std::cos(angle) - std::sin(angle), 1e-9) << start;
          }
        }
      for (std::size_t i = 0; i < x.span().size(); ++i)
        EXPECT_EQ(x.span()[i], from_starts.span()[i]) << start;
    }
}

/// The text of the error by which attention with these options leaves, in each scalar; it must write nothing.
template <class Scalar>
std::string refusal(const AttentionOptions<Scalar>& options, Index B = 2, Index H = 2, Index Tq = 3,
                    Index Tk = 5) {
  const Tensor<Scalar, 4> q({B, H, Tq, 4}), k({B, H, Tk, 4});
  Tensor<Scalar, 4> out({B, H, Tq, 4}, Scalar(7));
  Context context;
  const std::string text = attend_test::error_of(
      [&] { scaled_dot_product_attention<Scalar>(context, q, k, k, options, out.view()); });
  for (const Scalar& x : out.span()) EXPECT_EQ(x, Scalar(7)) << text;
  return text;
}
std::string refusal(const Mask& mask) {
  EXPECT_EQ(refusal<float>({.mask = mask}), refusal<double>({.mask = mask}));
  EXPECT_EQ(refusal<float>({.mask = mask & causal()}),
            refusal<float>({.mask = causal() | mask}));  // in compositions too
  return refusal<float>({.mask = mask});
}

TEST(Masks, LengthsAreThoseOfTheBatchAndItsKeys) {
  const auto of = [](std::vector<Index> numbers) { return refusal(Mask(lengths(numbers))); };
  EXPECT_EQ(of({5}), "lengths: expected [2], got [1]");
  EXPECT_EQ(of({}), "lengths: expected [2], got [0]");
  EXPECT_EQ(of({5, 5, 5}), "lengths: expected [2], got [3]");
  EXPECT_EQ(of({5, -1}), "lengths: sequence 1 has length -1, expected 0 to 5 keys");
  EXPECT_EQ(of({6, 5}), "lengths: sequence 0 has length 6, expected 0 to 5 keys");
  EXPECT_EQ(of({kMost, 5}), "lengths: sequence 0 has length 9223372036854775807, expected 0 to 5 keys");
  EXPECT_EQ(of({kLeast, 5}), "lengths: sequence 0 has length -9223372036854775808, expected 0 to 5 keys");
}

TEST(Masks, PaddingHasTheShapeOfTheKeys) {
  for (const Shape<2>& shape : {Shape<2>{2, 4}, {2, 6}, {1, 5}, {3, 5}, {0, 0}, {5, 2}}) {
    const Tensor<bool, 2> padding(shape);
    EXPECT_EQ(refusal(Mask(key_padding_mask(padding.view()))),
              "key_padding_mask: expected [2, 5], got " + to_string(shape));
  }
}

TEST(Masks, PaddingHidesWhatItNames) {
  Tensor<std::uint8_t, 2> padding({1, 40});
  for (Index k = 30; k < 40; ++k) padding(0, k) = 1;
  expect_sees(
      key_padding_mask(padding.view()), 3, 40, [](Index, Index k) { return k < 30; }, "key_padding_mask");
}

TEST(Masks, SegmentsHaveTheShapeOfTheTokens) {
  const Tensor<std::int32_t, 2> queries({2, 3}), keys({2, 5}), few({2, 2}), many({3, 5}), none({0, 0});
  EXPECT_EQ(refusal(Mask(segments(few.view(), keys.view()))),
            "segments (queries): expected [2, 3], got [2, 2]");
  EXPECT_EQ(refusal(Mask(segments(queries.view(), many.view()))),
            "segments (keys): expected [2, 5], got [3, 5]");
  EXPECT_EQ(refusal(Mask(segments(none.view()))), "segments (queries): expected [2, 3], got [0, 0]");
}

TEST(Masks, BooleanBroadcastsToTheCall) {
  const Tensor<bool, 2> wide({3, 6}), narrow({3, 4}), none({0, 0});
  for (const Tensor<bool, 2>* truth : {&wide, &narrow, &none})
    EXPECT_THAT(refusal(Mask(boolean(truth->view()))),
                testing::HasSubstr("mask: expected a shape that broadcasts to [2, 2, 3, 5], got [1, 1, "));
  const Tensor<bool, 4> heads({2, 3, 3, 5});
  EXPECT_THAT(refusal(Mask(boolean(heads.view()))), testing::HasSubstr("got [2, 3, 3, 5]"));
}

TEST(Masks, BlocksHaveASizeAndCoverTheCall) {
  const Tensor<bool, 2> visible({2, 3});
  for (Index size : {Index{0}, Index{-1}, kLeast})
    EXPECT_EQ(attend_test::error_of([&] { blocks(visible.view(), size); }),
              "blocks: a size of " + std::to_string(size) + ", expected 1 or more");
  EXPECT_EQ(refusal(Mask(blocks(visible.view(), 3))), "blocks: expected [1, 2], got [2, 3]");
  EXPECT_EQ(refusal(Mask(blocks(visible.view(), kMost))), "blocks: expected [1, 1], got [2, 3]");
}

TEST(ScoreModifiers, AlibiHasASlopeForEachHead) {
  for (Index n : {1, 3, 8}) {
    const std::vector<float> slopes(static_cast<std::size_t>(n), 0.5f);
    const std::string text = "alibi (slopes): expected [2], got [" + std::to_string(n) + "]";
    EXPECT_EQ(refusal<float>({.modifier = alibi<float>(slopes)}), text);
    const auto same = [](float s, Index, Index, Index, Index) { return s; };
    EXPECT_EQ(refusal<float>({.modifier = chain(alibi<float>(slopes), same)}), text);
    EXPECT_EQ(refusal<float>({.modifier = chain(same, chain(same, alibi<float>(slopes)))}), text);
  }
  EXPECT_EQ(attend_test::error_of([] { alibi<float>(std::span<const float>()); }),
            "alibi: no slopes, expected one for each head");
  for (Index n : {Index{0}, Index{-1}, kMost, kLeast})
    EXPECT_EQ(attend_test::error_of([&] { alibi_slopes<float>(n); }),
              "alibi_slopes: num_heads is " + std::to_string(n) + ", expected 1 to 65536");
}

TEST(ScoreModifiers, RelativeBiasHasTheHeadsOfTheCall) {
  for (Index n : {1, 3}) {
    const auto bias = attend_test::filled<double>(RelativeBias<double>({.num_heads = n}));
    EXPECT_EQ(refusal<double>({.modifier = bias.modifier()}),
              "RelativeBias (num_heads): expected [2], got [" + std::to_string(n) + "]");
  }
  const RelativeBias<float> none;
  EXPECT_EQ(attend_test::error_of([&] { none.modifier(); }),
            "RelativeBias: made without options, it has no weight");
}

/// A modifier of the user's own may look at the sizes, too.
struct OnlyEvenQueries {
  float operator()(float s, Index, Index, Index, Index) const { return s; }
  void check_sizes(const AttentionSizes& sizes) const {
    if (sizes.queries % 2 != 0) throw_error("OnlyEvenQueries: got ", sizes.queries);
  }
};
TEST(ScoreModifiers, OnesOwnIsAskedBeforeTheCall) {
  EXPECT_EQ(refusal<float>({.modifier = OnlyEvenQueries{}}), "OnlyEvenQueries: got 3");
  EXPECT_EQ(refusal<float>({.weight_modifier = OnlyEvenQueries{}}), "OnlyEvenQueries: got 3");
}

TEST(ScoreModifiers, DropoutIsAProbability) {
  const auto keep = [](Index, Index, Index, Index) { return true; };
  for (double p : {-0.1, 1.0, 2.0, std::nan(""), HUGE_VAL})
    EXPECT_THAT(attend_test::error_of([&] { dropout<float>(p, keep); }),
                testing::HasSubstr("dropout: p is "));
}

TEST(Attention, ScaleAndSoftcapAreNumbers) {
  for (double odd : {std::nan(""), HUGE_VAL, -HUGE_VAL, 1e300}) {
    EXPECT_THAT(refusal<float>({.scale = odd}),
                testing::HasSubstr("scaled_dot_product_attention: scale is "));
    EXPECT_THAT(refusal<float>({.softcap = odd}),
                testing::HasSubstr("scaled_dot_product_attention: softcap is "));
  }
  EXPECT_THAT(refusal<double>({.softcap = -1}), testing::HasSubstr("softcap is -1"));
}

TEST(Positions, OptionsThatMakeNoSenseAreErrors) {
  using attend_test::error_of;
  EXPECT_EQ(error_of([] { Rotary<float>(RotaryOptions{}); }), "Rotary: head_dim is 0, expected 1 or more");
  for (Index n : {Index{-8}, kLeast}) {
    EXPECT_THAT(error_of([&] { Rotary<float>({.head_dim = n}); }),
                testing::HasSubstr("Rotary: head_dim is " + std::to_string(n)));
    EXPECT_THAT(error_of([&] { Rotary<float>({.head_dim = 8, .table_positions = n}); }),
                testing::HasSubstr("Rotary: table_positions is "));
    EXPECT_THAT(error_of([&] { Rotary<float>({.head_dim = 8, .max_position_embeddings = n}); }),
                testing::HasSubstr("Rotary: max_position_embeddings is "));
    EXPECT_THAT(error_of([&] { Rotary<float>({.head_dim = 8, .original_max_position_embeddings = n}); }),
                testing::HasSubstr("Rotary: original_max_position_embeddings is "));
    EXPECT_THAT(error_of([&] { sinusoidal_positions<float>(n, 8); }),
                testing::HasSubstr("sinusoidal_positions: positions is "));
    EXPECT_THAT(error_of([&] { sinusoidal_positions<float>(8, n); }),
                testing::HasSubstr("sinusoidal_positions: embed_dim is "));
    EXPECT_THAT(error_of([&] { RelativeBias<float>({.num_heads = n}); }),
                testing::HasSubstr("RelativeBias: num_heads is "));
    EXPECT_THAT(error_of([&] { RelativeBias<float>({.relative_attention_num_buckets = n}); }),
                testing::HasSubstr("RelativeBias: " + std::to_string(n) + " buckets"));
    EXPECT_THAT(error_of([&] { window_relative_position_index(n, 2); }),
                testing::HasSubstr("window_relative_position_index: a window of ["));
    EXPECT_THAT(error_of([&] {
                  window_relative_bias<float>(Tensor<float, 2>({1, 1}), n, n);
                }),
                testing::HasSubstr("a window of ["));
  }
  EXPECT_THAT(error_of([&] { Rotary<float>({.head_dim = kMost - 1}); }),
              testing::HasSubstr("Tensor: shape ["));
  EXPECT_THAT(error_of([&] { sinusoidal_positions<float>(kMost, kMost); }),
              testing::HasSubstr("Tensor: shape ["));
  EXPECT_THAT(error_of([&] { RelativeBias<float>({.relative_attention_max_distance = kMost}); }),
              testing::HasSubstr("maximum distance of 9223372036854775807"));
  EXPECT_THAT(error_of([&] { relative_position_bucket(3, {.relative_attention_num_buckets = 1}); }),
              testing::HasSubstr("RelativeBias: 1 buckets"));
  EXPECT_THAT(error_of([&] { window_relative_position_index(kMost / 2 + 2, kMost / 2); }),
              testing::HasSubstr("a window of ["));
  for (double odd : {std::nan(""), HUGE_VAL, 0.0, -1.0}) {
    EXPECT_THAT(error_of([&] { Rotary<float>({.head_dim = 8, .rope_theta = odd}); }),
                testing::HasSubstr("Rotary: rope_theta is "));
    EXPECT_THAT(error_of([&] { sinusoidal_positions<float>(8, 8, {.max_timescale = odd}); }),
                testing::HasSubstr("max_timescale is "));
    if (odd == 0.0) continue;
    EXPECT_THAT(error_of([&] { Rotary<float>({.head_dim = 8, .partial_rotary_factor = odd}); }),
                testing::HasSubstr("partial_rotary_factor is "));
  }
}

TEST(Positions, RotationByTablesKnowsTheirPositions) {
  Context context;
  Tensor<float, 4> x({1, 1, 2, 4}, 1.0f);
  const Tensor<float, 2> cosine({3, 2}), sine({3, 2});
  for (Index odd : {Index{-1}, Index{3}, kMost, kLeast}) {
    const Tensor<Index, 2> positions({1, 2}, std::vector<Index>{0, odd});
    EXPECT_EQ(
        attend_test::error_of([&] { rotate<float, Index>(context, x.view(), cosine, sine, positions); }),
        "rotate: position " + std::to_string(odd) + " is not in [0, 3)");
    for (float v : x.span()) EXPECT_EQ(v, 1.0f);
  }
}

TEST(Masks, HaveAPicture) {
  EXPECT_EQ(to_string(causal(), {.queries = 3, .keys = 5}), "#....\n##...\n###..\n");
  EXPECT_EQ(
      to_string(causal(Corner::bottom_right) & lengths({5, 4}), {.batch = 2, .queries = 2, .keys = 5}, 1),
      "####.\n####.\n");
  const auto second = [](Index, Index head, Index query, Index key) { return head == 1 && key == query; };
  EXPECT_EQ(to_string(Mask(second), {.heads = 2, .queries = 2, .keys = 2}, 0, 1), "#.\n.#\n");
  EXPECT_EQ(to_string(Mask(), {.queries = 1, .keys = 3}), "###\n");
  EXPECT_EQ(attend_test::error_of([] { to_string(causal(), {.queries = 1, .keys = 1}, 1); }),
            "mask: batch 1 and head 0 of 1 and 1");
}

}  // namespace
