// The activations against PyTorch (see golden/check.hpp), and the softmax of reference/, by which others are
// judged.

#include <algorithm>
#include <cmath>
#include <functional>

#include <attend/activation.hpp>
#include <attend/reference/exact.hpp>

#include "golden/parameters.hpp"
#include "support.hpp"

namespace {
using namespace golden;

std::function<float(float)> exact_function_of(Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return ref::exact::gelu;
    case Activation::gelu_tanh:
      return ref::exact::gelu_tanh;
    case Activation::silu:
      return ref::exact::silu;
    case Activation::sigmoid:
      return ref::exact::sigmoid;
    case Activation::tanh:
      return ref::exact::tanh;
    default:
      return ref::relu<float>;
  }
}

template <class T>
class ActivationGolden : public testing::Test {};
TYPED_TEST_SUITE(ActivationGolden, attend_test::Scalars);

TYPED_TEST(ActivationGolden, GivesTheValuesOfPyTorch) {
  using S = TypeParam;
  for_each_case("activation", [](const Case& c) {
    const Activation activation = attend::activation_from_string(c.text("function"));
    const Tensor<S, 2> x = data<S, 2>(c.path("x"), {c.size("N"), 3}, c.number("range"));
    const Tensor<S, 2> y = attend::activate(activation, x);
    const Tensor<double, 2> reference = ref::apply<double>(function_of<double>(activation), widened(x));
    // Four operations, on values of at most max(1, |x|).
    check_values<S>(c, y.span(), reference.span(), [&](std::size_t i) {
      return 4 * std::max(1.0, std::abs(static_cast<double>(x.span()[i])));
    });
    if constexpr (std::is_same_v<S, float>)
      on_each_isa_and_threads([&](Context& context) {
        Tensor<float, 2> out(x.shape());
        attend::activate(context, activation, x, out);
        check_same_bits(c, out, ref::apply<float>(exact_function_of(activation), x));
      });
  });
}

template <class T>
class ReferenceSoftmaxGolden : public testing::Test {};
TYPED_TEST_SUITE(ReferenceSoftmaxGolden, attend_test::Scalars);

TYPED_TEST(ReferenceSoftmaxGolden, GivesTheValuesOfPyTorch) {
  using S = TypeParam;
  for_each_case("softmax", [](const Case& c) {
    const Tensor<S, 2> x = data<S, 2>(c.path("x"), {c.size("N"), c.size("E")}, c.number("range"));
    const Tensor<S, 2> y = ref::softmax<S>(x);
    const double n = static_cast<double>(c.size("E"));
    const Tensor<double, 2> wide = ref::softmax<double>(widened(x));
    check_values<S>(c, y.span(), wide.span(), [&](std::size_t) { return n + 4 + 2 * c.number("range"); });
  });
}

}  // namespace
