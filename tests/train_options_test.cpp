// bias_kv, add_zero_attn and dropout, against values of PyTorch 2.13 in float64
// (torch.nn.MultiheadAttention(4, 2, add_bias_kv=…, add_zero_attn=…), every parameter sin(1 + i) / 2 over its
// own elements, x = cos(i)) and by definition.

#include <cmath>
#include <string>
#include <vector>

#include <attend/attend.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;

template <class S>
Tensor<S, 3> run(bool bias_kv, bool add_zero_attn, const Mask& mask, Tensor<S, 3>* weights = nullptr) {
  MultiHeadAttention<S> layer(
      {.embed_dim = 4, .num_heads = 2, .bias_kv = bias_kv, .add_zero_attn = add_zero_attn});
  layer.parameters([](const std::string&, Parameter<S> p) {
    std::vector<S> values(static_cast<std::size_t>(p.numel()));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<S>(std::sin(1.0 + static_cast<double>(i)) / 2);
    p.assign(0, p.rows(), values.data());
  });
  Tensor<S, 3> x({2, 3, 4});
  for (std::size_t i = 0; i < x.span().size(); ++i)
    x.span()[i] = static_cast<S>(std::cos(static_cast<double>(i)));
  Tensor<S, 3> out(x.shape());
  layer.forward(default_context(), x, {.mask = mask}, out.view(),
                {.average_weights = weights != nullptr ? weights->view() : TensorView<S, 3>()});
  return out;
}
const std::vector<double> kBias = {
    0.5896633407786904,  0.1879585466258731,  0.2502728081898998,    -0.3466473369203432, 0.5933266042799746,
    -0.0138061893932705, 0.5103740099169033,  -0.4849095834768303,   0.4992053217767854,  0.06802882690054735,
    0.497513419692645,   -0.5499321142493934, 0.5702377956751157,    0.2774061427106545,  0.1527646521286697,
    -0.3086237646219315, 0.5162586018972832,  -0.005660162288816606, 0.5767928149951779,  -0.57988406707088,
    0.448011184507147,   0.2532229271250155,  0.3066056724956833,    -0.4855549522163874};
const std::vector<double> kZero = {
    0.4463983455092718,  0.3045962967122674,  0.2410587608676066,  -0.4512396804976329, 0.4351811189271158,
    0.08569585813980429, 0.5384417380040376,  -0.6211042138424847, 0.3471891058321622,  0.1732676954586305,
    0.5119522054374778,  -0.6740466231977293, 0.4177131787125107,  0.4115648339256484,  0.1299053236990911,
    -0.4128987474264849, 0.3883278415176887,  0.0797174621530497,  0.5931104962129423,  -0.6865935879833016,
    0.2933076194762738,  0.3652566421444464,  0.314848991238351,   -0.6083650526575985};
const std::vector<double> kBothCausal = {
    0.5612371922214665,  0.288636866492895,   0.1470834736664335,   -0.3124275562825151, 0.5675750883982527,
    0.05140633769563063, 0.4508740211345138,  -0.4723385343476008,  0.4843873424509366,  0.1420061727701327,
    0.4156217585863427,  -0.5168535363508603, 0.5668521694549279,   0.2434706946296797,  0.2005136566674127,
    -0.3371099809796307, 0.6330090253053363,  0.007907864003880438, 0.4423050839192625,  -0.4176379983591909,
    0.4413711916115323,  0.2899777961977686,  0.2651964939811333,   -0.4681761305266643};

template <class S>
void check(const Tensor<S, 3>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.span().size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_LE(std::abs(static_cast<double>(got.span()[i]) - expected[i]),
              64 * static_cast<double>(std::numeric_limits<S>::epsilon()));
}

template <class T>
class ExtraKeys : public testing::Test {};
TYPED_TEST_SUITE(ExtraKeys, attend_test::Scalars);

TYPED_TEST(ExtraKeys, GiveTheValuesOfPyTorch) {
  using S = TypeParam;
  check(run<S>(true, false, {}), kBias);
  check(run<S>(false, true, {}), kZero);
  check(run<S>(true, true, causal()), kBothCausal);
  Tensor<S, 3> weights({2, 3, 5});
  check(run<S>(true, true, causal(), &weights), kBothCausal);
  for (Index b = 0; b < 2; ++b) {
    EXPECT_EQ(weights(b, 0, 1), 0);  // the future
    EXPECT_GT(weights(b, 0, 3), 0);  // the learned key
    EXPECT_GT(weights(b, 0, 4), 0);  // the zero key
  }
}

TYPED_TEST(ExtraKeys, AreNotMasked) {
  using S = TypeParam;
  Tensor<S, 2> causal_numbers({3, 3});
  for (Index q = 0; q < 3; ++q)
    for (Index k = q + 1; k < 3; ++k) causal_numbers(q, k) = -std::numeric_limits<S>::infinity();
  check(run<S>(true, true, additive(causal_numbers.view())), kBothCausal);

  MultiHeadAttention<S> layer(
      {.embed_dim = 4, .num_heads = 2, .bias = false, .bias_kv = true, .add_zero_attn = true});
  layer.parameters([](const std::string&, Parameter<S> p) {
    std::vector<S> values(static_cast<std::size_t>(p.numel()));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<S>(std::cos(static_cast<double>(i)));
    p.assign(0, p.rows(), values.data());
  });
  Tensor<S, 3> x({1, 3, 4}, S(0.5));
  for (std::size_t i = 0; i < x.span().size(); ++i)
    x.span()[i] += static_cast<S>(std::sin(static_cast<double>(i)));
  Tensor<S, 2> numbers({3, 3});
  for (std::size_t i = 0; i < numbers.span().size(); ++i) numbers.span()[i] = static_cast<S>(i) / 4;
  const auto with_mask = layer(x, {.mask = additive(numbers.view())});
  const auto with_modifier = layer(x, {.modifier = [n = numbers.data()](S s, Index, Index, Index q, Index k) {
                                     return k < 3 ? s + n[q * 3 + k] : s;
                                   }});
  const auto without = layer(x);
  for (std::size_t i = 0; i < x.span().size(); ++i) EXPECT_EQ(with_mask.span()[i], with_modifier.span()[i]);
  EXPECT_GT(std::abs(with_mask.span()[0] - without.span()[0]), S(1e-4));
}

TEST(BiasKv, RefusesLengthsAndCaches) {
  MultiHeadAttention<float> layer({.embed_dim = 4, .num_heads = 2, .bias_kv = true});
  const Tensor<float, 3> x({1, 3, 4});
  const std::vector<Index> lengths{2};
  EXPECT_THROW(layer(x, {.key_lengths = lengths}), attend::Error);
  KVCache<float> cache({.num_kv_heads = 2, .head_dim = 2});
  Tensor<float, 3> out(x.shape());
  EXPECT_THROW(layer.forward(default_context(), x, cache, {}, out.view()), attend::Error);
}

template <class T>
class Dropout : public testing::Test {};
TYPED_TEST_SUITE(Dropout, attend_test::Scalars);

TYPED_TEST(Dropout, TakesOutWeightsAndScalesTheRest) {
  using S = TypeParam;
  Tensor<S, 4> q({2, 2, 50, 6}), k({2, 2, 110, 6}), v({2, 2, 110, 5}), weights({2, 2, 50, 110}),
      dropped({2, 2, 50, 110});
  for (auto* t : {&q, &k, &v})
    for (std::size_t i = 0; i < t->span().size(); ++i)
      t->span()[i] = static_cast<S>(std::sin(0.37 * static_cast<double>(i)));
  const auto keep = [](Index b, Index h, Index i, Index j) { return (b + 2 * h + 3 * i + 7 * j) % 4 != 0; };
  scaled_dot_product_attention(q, k, v, AttentionOptions<S>{.mask = causal()}, {.weights = weights.view()});
  const auto out = scaled_dot_product_attention(
      q, k, v, AttentionOptions<S>{.mask = causal(), .weight_modifier = dropout<S>(0.25, keep)},
      {.weights = dropped.view()});
  const double tolerance = 200 * static_cast<double>(std::numeric_limits<S>::epsilon());
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 2; ++h)
      for (Index i = 0; i < 50; ++i)
        for (Index d = 0; d < 5; ++d) {
          double sum = 0;
          for (Index j = 0; j < 110; ++j) {
            const double w = keep(b, h, i, j) ? static_cast<double>(weights(b, h, i, j)) / 0.75 : 0;
            EXPECT_LE(std::abs(static_cast<double>(dropped(b, h, i, j)) - w), tolerance);
            sum += w * static_cast<double>(v(b, h, j, d));
          }
          EXPECT_LE(std::abs(static_cast<double>(out(b, h, i, d)) - sum), tolerance);
        }
  EXPECT_EQ(error_of([&] { dropout<S>(1.0, keep); }), "dropout: p is 1.000000, expected 0 <= p < 1");
}

}  // namespace
