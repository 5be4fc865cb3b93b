// Linear against PyTorch (see golden/check.hpp), with and without bias, activation and residual.

#include <string>
#include <vector>

#include <attend/linear.hpp>
#include <attend/reference/exact.hpp>

#include "golden/parameters.hpp"
#include "support.hpp"

namespace {
using namespace golden;

template <class T>
class LinearGolden : public testing::Test {};
TYPED_TEST_SUITE(LinearGolden, attend_test::Scalars);

TYPED_TEST(LinearGolden, GivesTheValuesOfPyTorch) {
  using S = TypeParam;
  for_each_case("linear", [](const Case& c) {
    const Index N = c.size("N"), K = c.size("K"), M = c.size("M");
    attend::Linear<S> layer({.in_features = K, .out_features = M, .bias = c.flag("bias")});
    fill<S>(c, layer);
    const Tensor<S, 2> x = data<S, 2>(c.path("x"), {N, K});
    const Tensor<S, 2> y = layer(x);

    Parameters<double> parameters(c);
    ref::Linear<double> plain{.weight = parameters.matrix("weight", M, K)};
    if (c.flag("bias")) plain.bias = parameters.vector("bias", M);
    const Tensor<double, 2> reference = ref::linear<double>(widened(x), plain),
                            bound = product_bound(widened(x), plain);
    check_values<S>(c, y.span(), reference.span(), [&](std::size_t i) { return bound.span()[i]; });

    if constexpr (std::is_same_v<S, float>) {
      Parameters<float> narrow(c);
      TensorView<const float, 1> bias;
      if (c.flag("bias")) bias = narrow.vector("bias", M);
      const Tensor<float, 2> residual = data<float, 2>(c.path("residual"), {N, M});
      const TensorView<const float, 2> weight = narrow.matrix("weight", M, K);
      const Tensor<float, 2> plain_bits = ref::exact::linear(x, weight, bias);
      Tensor<float, 2> full_bits = ref::exact::linear(x, weight, bias, residual);
      for (float& value : full_bits.span()) value = ref::exact::gelu(value);
      on_each_isa_and_threads([&](Context& context) {
        Tensor<float, 2> out({N, M});
        layer.forward(context, x, out);
        check_same_bits(c, out, plain_bits);
        layer.forward(context, x, out, {Activation::gelu, residual});
        check_same_bits(c, out, full_bits);
      });
    }
  });
}

TEST(GoldenCases, AreAllOfAKindThatIsTested) {
  const std::vector<std::string> known = {
      "linear",       "embedding", "layer_norm",           "rms_norm", "activation", "softmax",
      "feed_forward", "attention", "multi_head_attention", "encoder",  "decoder"};
  for (const Case& c : read_cases(kFolder + "cases.txt"))
    EXPECT_THAT(known, testing::Contains(c.op)) << c.name;
}

}  // namespace
