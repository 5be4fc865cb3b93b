// LayerNorm of rows far from 0, against the exact result of the same inputs, and to the bit against
// reference/exact.hpp.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include <attend/norm.hpp>
#include <attend/reference/exact.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::random_tensor;

constexpr Index kSizes[] = {1, 2, 3, 7, 15, 16, 17, 33, 64, 130, 384, 768, 1024, 4096};
constexpr double kOffsets[] = {0, 1, -30, 1e3, 1e4, -1e4, 3e4, 1e5, -1e5};

template <class S>
struct Layer {
  Norm<S> norm;
  Tensor<S, 1> weight, bias;
  Layer(Index n, double eps, bool affine = true)
      : norm({n, eps, NormKind::layer, affine}), weight({n}), bias({n}) {
    if (affine) attend_test::fill_parameters<S>(norm, static_cast<std::uint64_t>(n), 1.0);
    norm.parameters([&](const std::string& name, Parameter<S> p) {
      p.copy_to(0, n, name == "weight" ? weight.data() : bias.data());
    });
  }
};

/// The normalised value of each element, and mean and inverse deviation, in long double.
struct Exact {
  std::vector<long double> y;
  long double mean = 0, inverse = 0;
  template <class S>
  Exact(TensorView<const S, 1> x, double eps) {
    const Index n = x.size(0);
    long double squares = 0;
    std::vector<long double> distances;  // from the first, which are exact
    for (Index i = 0; i < n; ++i)
      distances.push_back(static_cast<long double>(x[i]) - static_cast<long double>(x[0]));
    for (long double d : distances) mean += d / static_cast<long double>(n);
    for (long double d : distances) squares += (d - mean) * (d - mean) / static_cast<long double>(n);
    inverse = 1 / std::sqrt(squares + static_cast<long double>(static_cast<S>(eps)));
    for (long double d : distances) y.push_back((d - mean) * inverse);
    mean += static_cast<long double>(x[0]);
  }
};

/// The greatest error in units of 2e-6 + 1e-5 |y|, of a row without weight.
double error_of(const Tensor<float, 2>& x, double eps = 1e-5) {
  const Norm<float> norm({x.size(1), eps, NormKind::layer, false});
  Context context;
  Tensor<float, 2> y(x.shape());
  Tensor<float, 1> mean({x.size(0)}), inverse({x.size(0)});
  norm.forward(context, x, y.view(), mean.view(), inverse.view());
  double worst = 0;
  for (Index r = 0; r < x.size(0); ++r) {
    const Exact exact(x.view()[r], eps);
    for (Index i = 0; i < x.size(1); ++i) {
      const double want = static_cast<double>(exact.y[static_cast<std::size_t>(i)]);
      worst = std::max(worst, std::abs(static_cast<double>(y(r, i)) - want) / (2e-6 + 1e-5 * std::abs(want)));
    }
    EXPECT_NEAR(
        mean(r), static_cast<double>(exact.mean),
        1.2e-7 * std::abs(static_cast<double>(exact.mean)) + 1e-6 / static_cast<double>(exact.inverse));
    EXPECT_NEAR(inverse(r) / static_cast<double>(exact.inverse), 1, 2e-6);
  }
  return worst;
}

TEST(LayerNorm, RowsFarFromZeroAreAsExactAsOthers) {
  for (Index n : kSizes)
    for (double offset : kOffsets)
      for (double spread : {1.0, 10.0, 0.05, 0.3}) {
        const Tensor<float, 2> x =
            random_tensor<float, 2>({20, n}, static_cast<std::uint64_t>(n), offset - spread, offset + spread);
        EXPECT_LE(error_of(x), 1) << "n " << n << ", offset " << offset << ", spread " << spread;
      }
}

TEST(LayerNorm, OneElementFarFromTheOthersIsNoHarm) {
  for (Index n : {Index{2}, Index{17}, Index{384}, Index{1024}})
    for (Index at : {Index{0}, n / 2, n - 1})
      for (float far : {100.0f, 1e4f, 1e6f, -1e9f}) {
        Tensor<float, 2> x = random_tensor<float, 2>({3, n}, 9);
        for (Index r = 0; r < 3; ++r) x(r, at) = far;
        EXPECT_LE(error_of(x), 1) << "n " << n << ", " << far << " at " << at;
      }
}

TEST(LayerNorm, NeighbouringFloatsAreToldApart) {
  for (Index n : {Index{2}, Index{5}, Index{64}, Index{1000}})
    for (float base : {1e5f, -1e4f, 3.0f})
      for (Index other : {Index{0}, n - 1}) {
        Tensor<float, 2> x({1, n}, base);
        x(0, other) = std::nextafter(base, 1e9f);
        EXPECT_LE(error_of(x, 1e-12), 1) << n << " of " << base;
      }
}

template <class S>
void expect_bias_of_constant_rows() {
  for (Index n : {Index{1}, Index{2}, Index{3}, Index{16}, Index{37}, Index{384}, Index{1023}, Index{20000}})
    for (double value : {0.0, 1.0, -0.1, 1e4 / 3, -1e5 / 7, 1e30, 3e38, 1e-40}) {
      const Layer<S> layer(n, 1e-5);
      const Norm<S> plain({n, 1e-5, NormKind::layer, false});
      const Tensor<S, 1> x({n}, static_cast<S>(value));
      const Tensor<S, 1> y = layer.norm(x), z = plain(x);
      Index wrong = 0;
      for (Index i = 0; i < n; ++i) wrong += y(i) != layer.bias(i) || z(i) != 0 ? 1 : 0;
      EXPECT_EQ(wrong, 0) << "n " << n << ", " << value;
    }
}
TEST(LayerNorm, ConstantRowsGiveTheBias) { expect_bias_of_constant_rows<float>(); }
TEST(LayerNorm, ConstantRowsGiveTheBiasInDouble) { expect_bias_of_constant_rows<double>(); }

TEST(LayerNorm, OtherScalarsAreAsSound) {
  for (Index n : kSizes)
    for (double offset : {0.0, 1e6, -1e10}) {
      const Tensor<double, 2> x = random_tensor<double, 2>({3, n}, 5, offset - 1, offset + 1);
      const Tensor<double, 2> y = Norm<double>({n, 1e-5, NormKind::layer, false})(x);
      for (Index r = 0; r < 3; ++r) {
        const Exact exact(x.view()[r], 1e-5);
        for (Index i = 0; i < n; ++i) {
          const double want = static_cast<double>(exact.y[static_cast<std::size_t>(i)]);
          ASSERT_NEAR(y(r, i), want, 1e-13 * (1 + std::abs(want))) << n << ", " << offset;
        }
      }
    }
}

TEST(LayerNorm, BitsAreThoseOfTheReference) {
  for (Index n : kSizes)
    for (double offset : kOffsets)
      for (bool affine : {false, true}) {
        const Layer<float> layer(n, 1e-5, affine);
        const Tensor<float, 2> x = random_tensor<float, 2>({4, n}, 11, offset - 1, offset + 1);
        const Tensor<float, 2> expected =
            affine ? reference::exact::layer_norm(x, layer.weight, layer.bias, 1e-5f)
                   : reference::exact::layer_norm(x, {}, {}, 1e-5f);
        Tensor<float, 2> y = layer.norm(x);
#if ATTEND_HAS_KERNELS && defined(__x86_64__)
        if (isa() == Isa::baseline) return;  // SSE2 has no FMA: other bits
#elif !ATTEND_HAS_KERNELS
        return;
#endif
        EXPECT_EQ(std::memcmp(y.data(), expected.data(), static_cast<std::size_t>(y.numel()) * 4), 0)
            << n << ", " << offset;
        Context context;
        Tensor<float, 2> in_place = x;
        layer.norm.forward(context, in_place, in_place.view());
        EXPECT_EQ(std::memcmp(in_place.data(), expected.data(), static_cast<std::size_t>(y.numel()) * 4), 0)
            << n << ", " << offset;
      }
}

TEST(LayerNorm, VarianceBeyondFloatGivesTheBiasAsPyTorchDoes) {
  const Layer<float> layer(40, 1e-5);
  for (float scale : {1e25f, 1e30f}) {
    Tensor<float, 1> x = random_tensor<float, 1>({40}, 3);
    for (float& v : x.span()) v *= scale;
    const Tensor<float, 1> y = layer.norm(x);
    for (Index i = 0; i < 40; ++i) EXPECT_EQ(y(i), layer.bias(i));
  }
}

TEST(LayerNorm, NanAndInfinityStayInTheirRow) {
  for (float odd : {std::nanf(""), HUGE_VALF, -HUGE_VALF})
    for (Index at : {Index{0}, Index{20}, Index{39}}) {
      Tensor<float, 2> x = random_tensor<float, 2>({2, 40}, 3);
      x(0, at) = odd;
      const Tensor<float, 2> y = Norm<float>({40, 1e-5, NormKind::layer, false})(x);
      for (Index i = 0; i < 40; ++i) EXPECT_TRUE(std::isnan(y(0, i)) && std::isfinite(y(1, i)));
    }
}

}  // namespace
