// FeedForward against PyTorch (see golden/check.hpp), plain and gated.

#include <algorithm>
#include <cmath>

#include <attend/feed_forward.hpp>

#include "golden/parameters.hpp"
#include "support.hpp"

namespace {
using namespace golden;

template <class T>
class FeedForwardGolden : public testing::Test {};
TYPED_TEST_SUITE(FeedForwardGolden, attend_test::Scalars);

TYPED_TEST(FeedForwardGolden, GivesTheValuesOfPyTorch) {
  using S = TypeParam;
  for_each_case("feed_forward", [](const Case& c) {
    const Index N = c.size("N"), E = c.size("E"), F = c.size("F");
    const bool gated = c.flag("gated"), bias = c.flag("bias");
    const Activation activation = attend::activation_from_string(c.text("activation"));
    attend::FeedForward<S> layer(
        {.embed_dim = E, .dim_feedforward = F, .activation = activation, .gated = gated, .bias = bias});
    fill<S>(c, layer);
    const Tensor<S, 2> x = data<S, 2>(c.path("x"), {N, E});
    const Tensor<S, 2> y = layer(x);

    Parameters<double> parameters(c);
    const ref::Linear<double> stacked = parameters.linear("linear1", gated ? 2 * F : F, E, bias);
    const ref::Linear<double> down = parameters.linear("linear2", E, F, bias);
    const auto part = [&](Index begin) {
      ref::Linear<double> layer{.weight = stacked.weight.slice(0, begin, begin + F)};
      if (bias) layer.bias = stacked.bias.slice(0, begin, begin + F);
      return layer;
    };
    const ref::Linear<double> up = part(gated ? F : 0), gate = gated ? part(0) : ref::Linear<double>{};
    const Tensor<double, 2> wide = widened(x);
    const Tensor<double, 2> reference =
        ref::feed_forward<double>(wide, up, function_of<double>(activation), down, gate);

    // First order: each activation has a slope of at most 1.2 and is itself off by 4 eps max(1, |v|).
    const Tensor<double, 2> first = ref::linear<double>(wide, gated ? gate : up);
    const Tensor<double, 2> second = ref::linear<double>(wide, up);
    const Tensor<double, 2> first_bound = product_bound(wide, gated ? gate : up),
                            second_bound = product_bound(wide, up);
    Tensor<double, 2> hidden = ref::apply<double>(function_of<double>(activation), first),
                      hidden_bound(hidden.shape());
    for (std::size_t i = 0; i < hidden.span().size(); ++i) {
      double& h = hidden.span()[i];
      double& b = hidden_bound.span()[i];
      b = 1.2 * first_bound.span()[i] + 4 * std::max(1.0, std::abs(first.span()[i]));
      if (!gated) continue;
      b = b * std::abs(second.span()[i]) +
          std::abs(h) * (second_bound.span()[i] + std::abs(second.span()[i]));
      h *= second.span()[i];
    }
    const Tensor<double, 2> carried = ref::linear<double>(hidden_bound, magnitudes<2>(down.weight));
    const Tensor<double, 2> own = product_bound(hidden, down);
    check_values<S>(c, y.span(), reference.span(),
                    [&](std::size_t i) { return 1.01 * (carried.span()[i] + own.span()[i]); });
  });
}

}  // namespace
