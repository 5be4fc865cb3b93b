// Rotary embeddings, ALiBi and relative biases: against values by transformers 5.23 (which computes
// frequencies in float, so 1e-6 of them), against plain loops, and the properties that they exist for.

#include <cmath>
#include <limits>
#include <vector>

#include <attend/position.hpp>
#include <attend/scaled_dot_product_attention.hpp>

#include "each_isa.hpp"
#include "support.hpp"

using attend::Context;
using attend::Index;
using attend::RopeType;
using attend::Rotary;
using attend::RotaryOptions;
using attend::Shape;
using attend::Tensor;
using attend::TensorView;
using attend_test::random_tensor;
using attend_test::same_bits;
using testing::ElementsAre;

namespace {

RotaryOptions yarn(double theta, double factor, Index original) {
  RotaryOptions o{.head_dim = 16};
  o.rope_theta = theta, o.rope_type = RopeType::yarn, o.factor = factor,
  o.original_max_position_embeddings = original;
  return o;
}
/// What x [B, H, T, D] becomes, written from the definition in double.
template <class S>
Tensor<double, 4> expected_rotation(const Rotary<double>& rotary, const Tensor<S, 4>& x, auto&& position) {
  Tensor<double, 4> y(x.shape());
  attend::copy(attend::const_view(x), y.view());
  const RotaryOptions& o = rotary.options();
  for (Index b = 0; b < x.size(0); ++b)
    for (Index h = 0; h < x.size(1); ++h)
      for (Index t = 0; t < x.size(2); ++t)
        for (Index i = 0; i < o.rotary_dim / 2; ++i) {
          const Index first = o.interleaved ? 2 * i : i,
                      second = o.interleaved ? 2 * i + 1 : i + o.rotary_dim / 2;
          const double angle =
              static_cast<double>(position(b, t)) * rotary.inverse_frequencies()[static_cast<std::size_t>(i)];
          const double a = x(b, h, t, first), c = x(b, h, t, second);
          y(b, h, t, first) = (a * std::cos(angle) - c * std::sin(angle)) * rotary.attention_factor();
          y(b, h, t, second) = (c * std::cos(angle) + a * std::sin(angle)) * rotary.attention_factor();
        }
  return y;
}
template <class S>
void check_near(const Tensor<S, 4>& got, const Tensor<double, 4>& expected, double tolerance) {
  ASSERT_EQ(got.shape(), expected.shape());
  double worst = 0;
  for (std::size_t i = 0; i < got.span().size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(got.span()[i]) - expected.span()[i]));
  EXPECT_LE(worst, tolerance);
}

}  // namespace

template <class T>
class SinusoidalPositions : public testing::Test {};
TYPED_TEST_SUITE(SinusoidalPositions, attend_test::Scalars);

TYPED_TEST(SinusoidalPositions, AreThoseOfTheirDefinition) {
  using S = TypeParam;
  using Layout = attend::SinusoidalOptions::Layout;
  for (const Index E : {1, 2, 6, 7, 64})
    for (const Index first : {0, 1000})
      for (const Layout layout : {Layout::interleaved, Layout::halves, Layout::halves_inclusive}) {
        const Tensor<S, 2> table =
            attend::sinusoidal_positions<S>(5, E, {.layout = layout, .max_timescale = 500, .first = first});
        ASSERT_THAT(table.shape(), ElementsAre(5, E));
        const bool padded = layout == Layout::halves_inclusive;  // the last column of an odd width is 0
        const Index pairs = padded ? E / 2 : (E + 1) / 2;
        for (Index p = 0; p < 5; ++p)
          for (Index e = 0; e < E; ++e) {
            if (padded && e == 2 * pairs) {
              EXPECT_EQ(table(p, e), S(0));
              continue;
            }
            const Index i = layout == Layout::interleaved ? e / 2 : e % pairs;
            const bool sine = layout == Layout::interleaved ? e % 2 == 0 : e < pairs;
            const double share =
                layout == Layout::halves_inclusive
                    ? (pairs > 1 ? static_cast<double>(i) / static_cast<double>(pairs - 1) : 0)
                    : 2.0 * static_cast<double>(i) / static_cast<double>(E);
            const double angle = static_cast<double>(first + p) / std::pow(500.0, share);
            // the angle is rounded a few times, and the result once
            EXPECT_LE(std::abs(static_cast<double>(table(p, e)) - (sine ? std::sin(angle) : std::cos(angle))),
                      static_cast<double>(std::numeric_limits<S>::epsilon()) +
                          8 * angle * std::numeric_limits<double>::epsilon());
          }
      }
}

TEST(Rotary, FrequenciesAreThoseOfTransformers) {
  struct Known {
    RotaryOptions options;
    double attention_factor;
    std::vector<double> frequencies;
  };
  RotaryOptions linear{.head_dim = 16};
  linear.rope_type = RopeType::linear, linear.factor = 4;
  RotaryOptions exact = yarn(150000, 32, 4096);
  exact.truncate = false;
  RotaryOptions scaled = yarn(10000, 40, 4096);
  scaled.mscale = 0.707, scaled.mscale_all_dim = 1;
  RotaryOptions implied = yarn(10000, 0, 1024);  // the factor follows from the two lengths
  implied.factor = {}, implied.max_position_embeddings = 4096;
  RotaryOptions llama3{.head_dim = 16};
  llama3.rope_theta = 500000, llama3.rope_type = RopeType::llama3, llama3.factor = 8;
  llama3.original_max_position_embeddings = 8192;
  RotaryOptions longrope{.head_dim = 16};
  longrope.rope_type = RopeType::longrope, longrope.factor = 32,
  longrope.original_max_position_embeddings = 4096;
  for (int i = 0; i < 8; ++i)
    longrope.short_factor.push_back(1 + 0.1 * i), longrope.long_factor.push_back(2 + 0.5 * i);

  const std::vector<double> yarn4 = {1.0,           0.316227764,    0.0812500045,   0.0197642371,
                                     0.00437500002, 0.000790569466, 0.000250000012, 7.90569466e-05};
  const Known known[] = {
      {{.head_dim = 16},
       1,
       {1.0, 0.316227764, 0.100000001, 0.0316227786, 0.00999999978, 0.00316227786, 0.00100000005,
        0.000316227786}},
      {linear,
       1,
       {0.25, 0.079056941, 0.0250000004, 0.00790569466, 0.00249999994, 0.000790569466, 0.000250000012,
        7.90569466e-05}},
      {yarn(10000, 4, 1024), 1.138629436111989, yarn4},
      {implied, 1.138629436111989, yarn4},
      {exact,
       1.3465735902799727,
       {1.0, 0.225418001, 0.0508132726, 0.00679495931, 0.000456483918, 1.8188337e-05, 4.09997847e-06,
        9.24208962e-07}},
      {scaled,
       0.9210423553163399,
       {1.0, 0.316227764, 0.100000001, 0.0239147246, 0.00512499968, 0.000849862176, 2.49999994e-05,
        7.90569447e-06}},
      {llama3,
       1,
       {1.0, 0.193922758, 0.0376060307, 0.00729266508, 0.000524846022, 3.42810235e-05, 6.64786967e-06,
        1.28917316e-06}},
      {longrope,
       1.1902380714238083,
       {1.0, 0.287479758, 0.0833333358, 0.0243252143, 0.00714285718, 0.00210818532, 0.000624999986,
        0.000186016332}},
  };
  for (const Known& k : known) {
    const Rotary<double> rotary(k.options);
    SCOPED_TRACE(static_cast<int>(k.options.rope_type));
    EXPECT_NEAR(rotary.attention_factor(), k.attention_factor, 1e-12);
    ASSERT_EQ(rotary.inverse_frequencies().size(), k.frequencies.size());
    for (std::size_t i = 0; i < k.frequencies.size(); ++i)
      EXPECT_LT(std::abs(rotary.inverse_frequencies()[i] / k.frequencies[i] - 1), 2e-6);
  }
}

TEST(Rotary, DynamicAndLongropeChangeBeyondTheOriginalContext) {
  RotaryOptions dynamic{.head_dim = 16};
  dynamic.rope_type = RopeType::dynamic, dynamic.factor = 2, dynamic.max_position_embeddings = 4096;
  RotaryOptions longrope{.head_dim = 16};
  longrope.rope_type = RopeType::longrope, longrope.factor = 32,
  longrope.original_max_position_embeddings = 4096;
  for (int i = 0; i < 8; ++i)
    longrope.short_factor.push_back(1 + 0.1 * i), longrope.long_factor.push_back(2 + 0.5 * i);
  struct Known {
    RotaryOptions options;
    Index length;
    std::vector<double> frequencies;
  };
  const Known known[] = {
      {dynamic,
       10000,
       {1.0, 0.260517091, 0.0678691566, 0.0176810753, 0.00460622227, 0.00119999971, 0.000312620425,
        8.14429659e-05}},
      {dynamic,
       4096,
       {1.0, 0.316227764, 0.100000001, 0.0316227786, 0.00999999978, 0.00316227786, 0.00100000005,
        0.000316227786}},
      {longrope,
       8000,
       {0.5, 0.126491114, 0.0333333351, 0.00903507881, 0.00249999994, 0.000702728401, 0.000199999995,
        5.74959558e-05}},
  };
  for (const Known& k : known) {
    const Rotary<double> rotary(k.options);
    // The first features become the cosine and the sine of the angle, so that one position tells the
    // frequency.
    Tensor<double, 4> x({1, 1, 1, 16});
    for (Index i = 0; i < 8; ++i) x(0, 0, 0, i) = 1;
    Context context;
    rotary.apply(context, x.view(), 1, k.length);
    for (Index i = 0; i < 8; ++i)
      EXPECT_LT(
          std::abs(std::atan2(x(0, 0, 0, 8 + i), x(0, 0, 0, i)) / k.frequencies[static_cast<std::size_t>(i)] -
                   1),
          2e-6);
  }
  // The length is the last position + 1 where it is not given.
  const Rotary<float> rotary(dynamic);
  Context context;
  Tensor<float, 4> given = random_tensor<float, 4>({1, 2, 3, 16}, 1), implied = given, shorter = given;
  rotary.apply(context, given.view(), 9997, 10000);
  rotary.apply(context, implied.view(), 9997);
  rotary.apply(context, shorter.view(), 9997, 100);
  EXPECT_TRUE(same_bits(given, implied));
  EXPECT_FALSE(same_bits(given, shorter));
}

template <class T>
class RotaryOf : public testing::Test {};
TYPED_TEST_SUITE(RotaryOf, attend_test::Scalars);

TYPED_TEST(RotaryOf, RotatesAsDefined) {
  using S = TypeParam;
  for (const bool interleaved : {false, true})
    for (const Index rotary_dim : {Index{0}, Index{6}, Index{40}})
      for (const Index start : {0, 5, 90}) {  // tables end at 92
        RotaryOptions o{.head_dim = 44};
        o.interleaved = interleaved, o.rotary_dim = rotary_dim, o.table_positions = 92;
        const Rotary<S> rotary(o);
        const Tensor<S, 4> x = random_tensor<S, 4>({2, 3, 37, 44}, 3);
        Tensor<S, 4> y = x;
        Context context;
        rotary.apply(context, y.view(), start);
        check_near(y, expected_rotation(Rotary<double>(o), x, [&](Index, Index t) { return start + t; }),
                   sizeof(S) == 4 ? 4e-7 : 1e-14);

        const std::vector<Index> starts = {start, 2};
        Tensor<std::int32_t, 2> positions({2, 37});
        for (Index b = 0; b < 2; ++b)
          for (Index t = 0; t < 37; ++t)
            positions(b, t) = static_cast<std::int32_t>(starts[static_cast<std::size_t>(b)] + t);
        Tensor<S, 4> from_starts = x, from_positions = x;
        rotary.apply(context, from_starts.view(), std::span<const Index>(starts));
        rotary.template apply<std::int32_t>(context, from_positions.view(), positions.view());
        check_near(
            from_starts,
            expected_rotation(Rotary<double>(o), x,
                              [&](Index b, Index t) { return starts[static_cast<std::size_t>(b)] + t; }),
            sizeof(S) == 4 ? 4e-7 : 1e-14);
        EXPECT_TRUE(
            std::equal(from_starts.span().begin(), from_starts.span().end(), from_positions.span().begin()));
      }
}

TEST(Rotary, GivesTheSameBitsHoweverItIsCalled) {
  for (const bool interleaved : {false, true}) {
    RotaryOptions o{.head_dim = 70};
    o.interleaved = interleaved, o.rotary_dim = 66;
    RotaryOptions bare = o;
    bare.table_positions = 0;
    const Rotary<float> rotary(o), without_tables(bare);
    const Tensor<float, 4> x = random_tensor<float, 4>({3, 4, 129, 70}, 5);
    Context context, three(3);
    Tensor<float, 4> all = x, other = x, threads = x;
    rotary.apply(context, all.view(), 11);
    without_tables.apply(context, other.view(), 11);
    rotary.apply(three, threads.view(), 11);
    EXPECT_TRUE(same_bits(all, other));
    EXPECT_TRUE(same_bits(all, threads));
    Tensor<float, 4> steps = x;
    for (Index t = 0; t < 129; ++t) rotary.apply(context, steps.view().slice(2, t, t + 1), 11 + t);
    EXPECT_TRUE(same_bits(all, steps));
    // [B, T, H, D] seen as [B, H, T, D].
    Tensor<float, 4> strided({3, 129, 4, 70});
    attend::copy(attend::const_view(x), strided.view().transpose(1, 2));
    rotary.apply(context, strided.view().transpose(1, 2), 11);
    EXPECT_TRUE(same_bits(all, Tensor<float, 4>(strided.view().transpose(1, 2))));
    if (!attend_test::bits_are_promised()) continue;
    attend_test::on_each_isa([&] {
      Tensor<float, 4> again = x;
      rotary.apply(context, again.view(), 11);
      EXPECT_TRUE(same_bits(all, again));
    });
  }
}

TEST(Rotary, ProductsDependOnTheDistanceAlone) {
  RotaryOptions o = yarn(10000, 4, 64);
  const Rotary<double> rotary(o);
  const Tensor<double, 4> q = random_tensor<double, 4>({1, 1, 1, 16}, 7),
                          k = random_tensor<double, 4>({1, 1, 1, 16}, 8);
  Context context;
  const auto score = [&](Index i, Index j) {
    Tensor<double, 4> a = q, b = k;
    rotary.apply(context, a.view(), i);
    rotary.apply(context, b.view(), j);
    double sum = 0;
    for (Index d = 0; d < 16; ++d) sum += a(0, 0, 0, d) * b(0, 0, 0, d);
    return sum;
  };
  EXPECT_NEAR(score(100, 93), score(7, 0), 1e-10);
  EXPECT_GT(std::abs(score(100, 93) - score(100, 92)), 1e-3);
}

TEST(Rotate, WithCallersCachesGivesTheBitsOfTheTables) {
  RotaryOptions o{.head_dim = 24};
  o.rotary_dim = 20;
  const Rotary<float> rotary(o);
  const Tensor<float, 4> x = random_tensor<float, 4>({2, 3, 9, 24}, 9);
  Tensor<float, 2> cosine({50, 10}), sine({50, 10});
  for (Index p = 0; p < 50; ++p)
    for (Index i = 0; i < 10; ++i) {
      const double angle = static_cast<double>(p) * rotary.inverse_frequencies()[static_cast<std::size_t>(i)];
      cosine(p, i) = static_cast<float>(std::cos(angle));
      sine(p, i) = static_cast<float>(std::sin(angle));
    }
  Tensor<std::int64_t, 2> positions({1, 9});
  for (Index t = 0; t < 9; ++t) positions(0, t) = 4 + 5 * t;
  Context context;
  Tensor<float, 4> own = x, cached = x, rows = x;
  rotary.apply<std::int64_t>(context, own.view(), positions.view());
  attend::rotate<float, std::int64_t>(context, cached.view(), cosine.view(), sine.view(), positions.view());
  EXPECT_TRUE(same_bits(own, cached));
  Tensor<float, 3> c({1, 9, 10}), s({1, 9, 10});
  for (Index t = 0; t < 9; ++t)
    for (Index i = 0; i < 10; ++i) c(0, t, i) = cosine(4 + 5 * t, i), s(0, t, i) = sine(4 + 5 * t, i);
  attend::rotate<float>(context, rows.view(), c.view(), s.view());
  EXPECT_TRUE(same_bits(own, rows));
  positions(0, 3) = 50;
  EXPECT_THROW((attend::rotate<float, std::int64_t>(context, cached.view(), cosine.view(), sine.view(),
                                                    positions.view())),
               attend::Error);
  positions(0, 3) = -1;
  EXPECT_THROW((attend::rotate<float, std::int64_t>(context, cached.view(), cosine.view(), sine.view(),
                                                    positions.view())),
               attend::Error);
}

TEST(Rotary, AnOddShareTurnsOneFeatureMoreAtFrequenciesOfTheOddNumber) {
  const Rotary<double> rotary({.head_dim = 6, .partial_rotary_factor = 0.5});  // 3 features
  EXPECT_EQ(rotary.options().rotary_dim, 4);
  const auto frequencies = rotary.inverse_frequencies();
  ASSERT_EQ(frequencies.size(), 2u);
  EXPECT_EQ(frequencies[0], 1);
  EXPECT_DOUBLE_EQ(frequencies[1], std::pow(10000.0, -2.0 / 3));
  EXPECT_THROW(Rotary<float>({.head_dim = 5}), attend::Error);  // which has no feature more
}

TEST(Rotary, FrequenciesThatDependOnTheLengthAreThoseOfEachSequence) {
  RotaryOptions o{.head_dim = 4, .max_position_embeddings = 64, .original_max_position_embeddings = 16};
  o.rope_type = RopeType::longrope;
  o.short_factor = {1, 1.5}, o.long_factor = {3, 7};
  const Rotary<float> rotary(o);
  const auto x = attend_test::normal_tensor<float, 4>({2, 3, 4, 4}, 1);
  Context context;
  Tensor<float, 4> together = x;
  rotary.apply(context, together.view(), std::vector<Index>{2, 30});
  for (Index b = 0; b < 2; ++b) {
    Tensor<float, 4> alone(x.view().slice(0, b, b + 1));
    rotary.apply(context, alone.view(), b == 0 ? 2 : 30);
    EXPECT_TRUE(same_bits(together.view().slice(0, b, b + 1), alone)) << b;
  }
}

TEST(Rotary, RefusesOptionsThatMakeNoSense) {
  EXPECT_THROW(Rotary<float>({.head_dim = 8, .rotary_dim = 10}), attend::Error);
  EXPECT_THROW(Rotary<float>({.head_dim = 8, .rotary_dim = 5}), attend::Error);
  RotaryOptions longrope{.head_dim = 8};
  longrope.rope_type = RopeType::longrope;
  EXPECT_THROW((Rotary<float>(longrope)), attend::Error);
  EXPECT_THROW(attend::rope_type_from_string("fancy"), attend::Error);
  EXPECT_EQ(attend::rope_type_from_string("llama3"), RopeType::llama3);
  Context context;
  Tensor<float, 4> x({2, 1, 3, 6});
  EXPECT_THROW(Rotary<float>({.head_dim = 8}).apply(context, x.view()), attend::Error);
  const std::vector<Index> starts = {1};
  EXPECT_THROW(Rotary<float>({.head_dim = 6}).apply(context, x.view(), std::span<const Index>(starts)),
               attend::Error);
}

TEST(Rotary, WithoutAPairTurnsNothing) {
  const attend::Rotary<float> none({.head_dim = 6, .partial_rotary_factor = 0, .table_positions = 4});
  attend::Tensor<float, 4> x({1, 2, 3, 6}, 1.5f);
  attend::Context context;
  none.apply(context, x.view(), 2);
  for (float value : x.span()) EXPECT_EQ(value, 1.5f);
}

TEST(Alibi, SlopesAreThoseOfTransformers) {
  const double twelve[] = {0.5,       0.25,       0.125,       0.0625,      0.03125,     0.015625,
                           0.0078125, 0.00390625, 0.707106781, 0.353553391, 0.176776695, 0.0883883476};
  const std::vector<double> slopes = attend::alibi_slopes<double>(12);
  ASSERT_EQ(slopes.size(), 12);
  for (std::size_t i = 0; i < 12; ++i) EXPECT_NEAR(slopes[i], twelve[i], 1e-9);
  EXPECT_EQ(attend::alibi_slopes<double>(1)[0], 1.0 / 256);
}

TEST(Alibi, ModifierGivesWhatTheBiasGives) {
  const auto q = random_tensor<float, 4>({1, 3, 20, 8}, 1), k = random_tensor<float, 4>({1, 3, 33, 8}, 2),
             v = random_tensor<float, 4>({1, 3, 33, 8}, 3);
  const std::vector<float> three = attend::alibi_slopes<float>(3);
  for (const bool symmetric : {false, true}) {
    Tensor<float, 4> bias({1, 3, 20, 33});
    for (Index h = 0; h < 3; ++h)
      for (Index i = 0; i < 20; ++i)
        for (Index j = 0; j < 33; ++j) {
          const Index distance = 13 + i - j;
          bias(0, h, i, j) = -three[static_cast<std::size_t>(h)] *
                             static_cast<float>(symmetric ? std::abs(distance) : distance);
        }
    attend::AttentionOptions<float> with_modifier, with_bias;
    with_modifier.modifier = attend::alibi<float>(three, 13, symmetric);
    with_bias.mask = attend::additive(bias.view());
    const auto y = attend::scaled_dot_product_attention(q, k, v, with_modifier);
    const auto expected = attend::scaled_dot_product_attention(q, k, v, with_bias);
    for (std::size_t i = 0; i < y.span().size(); ++i)
      EXPECT_LT(std::abs(y.span()[i] - expected.span()[i]), 2e-6);
  }
}

const attend::RelativeBiasOptions usual{.num_heads = 2};
const attend::RelativeBiasOptions few{.num_heads = 2,
                                      .relative_attention_num_buckets = 8,
                                      .relative_attention_max_distance = 20,
                                      .bidirectional = false};

TEST(RelativeBias, BucketsAreThoseOfTransformers) {
  const Index distances[] = {-200, -64, -32, -16, -9, -8, -7, -1, 0, 1, 8, 11, 12, 16, 23, 32, 127, 128};
  const Index both_ways[] = {15, 14, 12, 10, 8, 8, 7, 1, 0, 17, 24, 24, 25, 26, 27, 28, 31, 31};
  for (std::size_t i = 0; i < std::size(distances); ++i)
    EXPECT_EQ(attend::relative_position_bucket(distances[i], usual), both_ways[i]);
  const Index back[] = {-200, -19, -13, -9, -8, -6, -5, -4, -3, -1, 0, 1, 50};
  const Index one_way[] = {7, 7, 6, 6, 5, 5, 4, 4, 3, 1, 0, 0, 0};
  for (std::size_t i = 0; i < std::size(back); ++i)
    EXPECT_EQ(attend::relative_position_bucket(back[i], few), one_way[i]);
}

TEST(RelativeBias, ModifierAddsTheBiasOfTheBucket) {
  for (const attend::RelativeBiasOptions& options : {usual, few}) {
    attend::RelativeBias<float> relative(options);
    const auto table = random_tensor<float, 2>({options.relative_attention_num_buckets, 2}, 4);
    relative.parameters([&](const std::string& name, attend::Parameter<float> p) {
      EXPECT_EQ(name, "weight");
      p.assign(0, p.rows(), table.data());
    });
    const auto modifier = relative.modifier(100);
    for (Index i = 0; i < 5; ++i)
      for (Index j = 0; j < 400; ++j)
        for (Index h = 0; h < 2; ++h)
          EXPECT_EQ(modifier(0.25f, 0, h, i, j),
                    0.25f + table(attend::relative_position_bucket(j - 100 - i, options), h));
  }
}

TEST(RelativeBias, RefusesADistanceBelowTheExactBuckets) {
  EXPECT_THROW(attend::RelativeBias<float>({.relative_attention_max_distance = 8}), attend::Error);
}

TEST(WindowRelativeBias, IsThatOfSwin) {
  // Tokens 0 1 2 / 3 4 5 of a 2 x 3 window; query 0 with key 5 is (-1, -2), the first row of the table.
  const auto index = attend::window_relative_position_index(2, 3);
  EXPECT_EQ(index(0, 5), 0);
  EXPECT_EQ(index(5, 0), 3 * 5 - 1);
  EXPECT_EQ(index(4, 4), 1 * 5 + 2);
  EXPECT_EQ(index(3, 1), 2 * 5 + 1);
  const auto table = random_tensor<float, 2>({15, 4}, 6);
  const auto bias = attend::window_relative_bias<float>(table.view(), 2, 3);
  EXPECT_THAT(bias.shape(), ElementsAre(1, 4, 6, 6));
  EXPECT_EQ(bias(0, 2, 3, 1), table(11, 2));
  EXPECT_THROW(attend::window_relative_bias<float>(table.view(), 3, 3), attend::Error);
}
