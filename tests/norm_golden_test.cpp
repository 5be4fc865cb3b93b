// LayerNorm and RMSNorm against PyTorch (see golden/check.hpp), also where the mean is far from 0.

#include <cmath>
#include <utility>
#include <vector>

#include <attend/norm.hpp>
#include <attend/reference/exact.hpp>

#include "golden/parameters.hpp"
#include "support.hpp"

namespace {
using namespace golden;

/// With d = x - mean of greatest magnitude X about its row: sums of n terms are off by (n + 8) eps of their
/// terms' magnitudes, so d by (n + 8) eps max|x|, and d / deviation by that over the deviation and by its own
/// multiple.
std::vector<double> norm_bound(const Tensor<double, 2>& x, const Tensor<double, 2>& y,
                               TensorView<const double, 1> weight, double eps, bool centred) {
  std::vector<double> bound;
  for (Index r = 0; r < x.size(0); ++r) {
    const double n = static_cast<double>(x.size(1)), most = greatest(x[r].span());
    double mean = 0, variance = 0;
    for (Index e = 0; e < x.size(1) && centred; ++e) mean += x(r, e) / n;
    for (Index e = 0; e < x.size(1); ++e) variance += (x(r, e) - mean) * (x(r, e) - mean) / n;
    const double inverse = 1 / std::sqrt(variance + eps);
    for (Index e = 0; e < x.size(1); ++e) {
      const double w = weight.empty() ? 1 : std::abs(weight(e)), v = std::abs(x(r, e) - mean) * inverse;
      // of |d| / deviation: from d itself, and, times itself, from all the d in the deviation
      const double from_mean = centred ? most * inverse * (1 + v) : 0;
      bound.push_back((n + 8) * (w * (v + from_mean) + std::abs(y(r, e))));
    }
  }
  return bound;
}

template <class S>
void check_norm(const Case& c) {
  const bool centred = c.op == "layer_norm";
  const Index N = c.size("N"), E = c.size("E");
  const double eps = c.number("eps");
  const bool weighted = !centred || c.text("affine") != "none", bias = centred && c.text("affine") == "bias";
  attend::Norm<S> layer;
  if (centred)
    layer = attend::LayerNorm<S>(
        {.normalized_shape = E, .eps = eps, .elementwise_affine = weighted, .bias = bias});
  else
    layer = attend::RMSNorm<S>({.normalized_shape = E, .eps = eps});
  fill<S>(c, layer);
  const Tensor<S, 2> x = data<S, 2>(c.path("x"), {N, E}, 2, centred ? c.number("offset") : 0);
  const Tensor<S, 2> y = layer(x);

  const auto views = [&](auto& parameters) {
    return std::pair(weighted ? parameters.vector("weight", E) : decltype(parameters.vector("", 0)){},
                     bias ? parameters.vector("bias", E) : decltype(parameters.vector("", 0)){});
  };
  Parameters<double> parameters(c);
  const auto [weight, shift] = views(parameters);
  const Tensor<double, 2> reference = centred ? ref::layer_norm<double>(widened(x), weight, shift, eps)
                                              : ref::rms_norm<double>(widened(x), weight, eps);
  const std::vector<double> bound = norm_bound(widened(x), reference, weight, eps, centred);
  check_values<S>(c, y.span(), reference.span(), [&](std::size_t i) { return bound[i]; });

  if constexpr (std::is_same_v<S, float>) {
    Parameters<float> narrow(c);
    const auto [w, b] = views(narrow);
    const Tensor<float, 2> bits = centred ? ref::exact::layer_norm(x, w, b, static_cast<float>(eps))
                                          : ref::exact::rms_norm(x, w, static_cast<float>(eps));
    on_each_isa_and_threads([&](Context& context) {
      Tensor<float, 2> out({N, E});
      layer.forward(context, x, out);
      check_same_bits(c, out, bits);
    });
  }
}

template <class T>
class NormGolden : public testing::Test {};
TYPED_TEST_SUITE(NormGolden, attend_test::Scalars);

TYPED_TEST(NormGolden, LayerNormGivesTheValuesOfPyTorch) {
  for_each_case("layer_norm", check_norm<TypeParam>);
}
TYPED_TEST(NormGolden, RmsNormGivesTheValuesOfPyTorch) { for_each_case("rms_norm", check_norm<TypeParam>); }

}  // namespace
