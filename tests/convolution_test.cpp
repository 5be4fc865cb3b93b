// Convolution against its definition, by itself and beside a block.

#include <vector>

#include <attend/attend.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using namespace attend_test;
using testing::HasSubstr;

constexpr Index E = 6;

/// relu of torch.nn.Conv1d with weight [E, E, K] and padding K / 2, of tokens [begin, end) of x [1, T, E].
template <class Scalar>
std::vector<double> by_definition(const Convolution<Scalar>& layer, const Tensor<Scalar, 3>& x, Index begin,
                                  Index end) {
  const Index K = layer.options().kernel_size;
  Values values = values_of(layer);
  const std::vector<double>&weight = values["weight"], &bias = values["bias"];
  std::vector<double> out;
  for (Index t = begin; t < end; ++t)
    for (Index o = 0; o < E; ++o) {
      double sum = bias[static_cast<std::size_t>(o)];
      for (Index i = 0; i < E; ++i)
        for (Index j = 0; j < K; ++j) {
          const Index from = t + j - K / 2;
          if (from >= begin && from < end)
            sum += weight[static_cast<std::size_t>((o * E + i) * K + j)] * static_cast<double>(x(0, from, i));
        }
      out.push_back(std::max(sum, 0.0));
    }
  return out;
}

template <class Scalar>
void expect_definition(double tolerance) {
  const std::vector<Index> offsets{0, 9, 9, 10, 12};
  const auto x = normal_tensor<Scalar, 3>({1, 12, E}, 1);
  for (const Index kernel : {1, 3, 5}) {
    Convolution<Scalar> layer({.embed_dim = E, .kernel_size = kernel, .activation = Activation::relu});
    fill_parameters<Scalar>(layer);
    for (const int threads : {1, 2}) {
      Context context(threads);
      Tensor<Scalar, 3> out(x.shape());
      const auto expect = [&](Index begin, Index end) {
        const std::vector<double> expected = by_definition(layer, x, begin, end);
        for (std::size_t i = 0; i < expected.size(); ++i)
          EXPECT_NEAR(static_cast<double>(out.data()[static_cast<std::size_t>(begin * E) + i]), expected[i],
                      tolerance);
      };
      layer.forward(context, x, {}, out);
      expect(0, 12);
      layer.forward(context, x, offsets, out);
      for (std::size_t b = 0; b + 1 < offsets.size(); ++b) expect(offsets[b], offsets[b + 1]);
    }
  }
}

}  // namespace

TEST(Convolution, IsThatOfItsDefinition) { expect_definition<float>(1e-5); }
TEST(Convolution, OfDoublesIsThatOfItsDefinition) { expect_definition<double>(1e-13); }

TEST(Convolution, StandsBesideABlock) {
  BlockOptions plain{.self_attn = {.embed_dim = E, .num_heads = 2},
                     .feed_forward = {.embed_dim = E, .dim_feedforward = 8},
                     .norm = {.size = E}};
  BlockOptions beside = plain;
  beside.convolution = {.embed_dim = E, .activation = Activation::tanh};
  Block<double> with(beside);
  fill_parameters<double>(with, 3);
  Values values = values_of(with);
  const auto convolution = with_values(Convolution<double>(*beside.convolution), values, "convolution.");
  const auto norm = with_values(Norm<double>(beside.norm), values, "convolution_norm.");
  const auto without = with_values(Block<double>(plain), values, "");
  const auto x = normal_tensor<double, 3>({2, 5, E}, 1);
  Context context;
  Tensor<double, 3> expected(x.shape()), more(x.shape()), in_place = x;
  without.forward(context, x, expected);
  convolution.forward(context, x, {}, more);
  for (std::size_t i = 0; i < more.span().size(); ++i) more.span()[i] += expected.span()[i];
  norm.forward(context, more, expected);
  with.forward(context, in_place, in_place);
  for (std::size_t i = 0; i < expected.span().size(); ++i)
    EXPECT_NEAR(in_place.span()[i], expected.span()[i], 1e-12);
  EXPECT_TRUE(same_bits(with(x), in_place));

  KVCache<double> cache = with.self_attn().make_cache(2);
  EXPECT_THAT(error_of([&] { with.forward(context, x, {.cache = &cache}, more); }),
              HasSubstr("a convolution together with a cache"));
  EXPECT_THAT(error_of([&] {
                with.forward(context, x, {.self = {.key_lengths = {5, 3}}}, more);
              }),
              HasSubstr("key_lengths"));  // whose padding it would see
  EXPECT_THAT(error_of([&] { Convolution<float> c({.embed_dim = 4, .kernel_size = 2}); }),
              HasSubstr("kernel_size"));
  beside.convolution->embed_dim = 4;
  EXPECT_THAT(error_of([&] { Block<float> b(beside); }), HasSubstr("a convolution of embed_dim 4"));
}
