// What counts as a scalar. tests/project/refused.py has those that are refused with a message.
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <Eigen/Core>
#include <unsupported/Eigen/AutoDiff>

#include <attend/attend.hpp>

#include "support.hpp"

namespace {
using namespace attend;

struct WithoutLimits : Eigen::half {
  using Eigen::half::half;
};
static_assert(ScalarType<float> && ScalarType<double> && ScalarType<long double> && ScalarType<Eigen::half>);
static_assert(ScalarType<Eigen::AutoDiffScalar<Eigen::Vector2d>>);
static_assert(!ScalarType<int> && !ScalarType<std::uint8_t> && !ScalarType<bool> && !ScalarType<void*> &&
              !ScalarType<WithoutLimits>);

TEST(Scalars, AutomaticDerivativesGoThroughAttentionAndSoftmax) {
  using Dual = Eigen::AutoDiffScalar<Eigen::Vector2d>;
  Tensor<Dual, 4> q({1, 1, 1, 1}, Dual(0.5, 2, 0)), k({1, 1, 2, 1}), v({1, 1, 2, 1});
  const double keys[] = {-0.25, -1.0}, values[] = {3.0, 5.0};
  for (Index i = 0; i < 2; ++i) k(0, 0, i, 0) = Dual(keys[i]), v(0, 0, i, 0) = Dual(values[i]);
  for (Dual* x : {k.data(), v.data()})
    for (Index i = 0; i < 2; ++i) x[i].derivatives() = Eigen::Vector2d::Zero();
  v(0, 0, 1, 0).derivatives()[1] = 1;
  // scores 0.5 · k; all of them are negative: the mask's -infinity must not be 0
  const Tensor<Dual, 4> y = scaled_dot_product_attention(q, k, v, AttentionOptions<Dual>{.scale = 1.0});
  const double w = 1 / (1 + std::exp(0.5 * (keys[1] - keys[0])));  // weight of the first key
  EXPECT_NEAR(y(0, 0, 0, 0).value(), w * 3 + (1 - w) * 5, 1e-14);
  EXPECT_NEAR(y(0, 0, 0, 0).derivatives()[0], w * (1 - w) * (keys[0] - keys[1]) * (3 - 5.0), 1e-14);  // by q
  EXPECT_NEAR(y(0, 0, 0, 0).derivatives()[1], 1 - w, 1e-14);  // by the second value
}

/// Every layer once, on the same numbers.
template <class Scalar>
std::vector<double> outputs_of_layers() {
  const auto filled = [](auto layer) {
    int i = 0;
    layer.parameters([&](const std::string& name, Parameter<Scalar> p) {
      std::vector<Scalar> values(static_cast<std::size_t>(p.numel()));
      const double around = name.find("norm") != std::string::npos && name.ends_with("weight") ? 1 : 0;
      for (Scalar& v : values) v = Scalar(around + 0.4 * std::sin(1.7 * ++i));
      p.assign(0, p.rows(), values.data());
    });
    return layer;
  };
  std::vector<double> all;
  const auto keep = [&](const auto& tensor) {
    for (const Scalar& v : tensor) {
      if constexpr (requires { v.value(); })
        all.push_back(v.value());
      else
        all.push_back(static_cast<double>(v));
    }
  };
  const auto embedding = filled(Embedding<Scalar>({.num_embeddings = 7, .embedding_dim = 8}));
  Tensor<Scalar, 3> x = embedding(Tensor<int, 2>({2, 5}, {1, 6, 2, 4, 3, 0, 3, 5, 4, 1}));
  const Tensor<Scalar, 2> positions = sinusoidal_positions<Scalar>(5, 8);
  x[0] += positions;
  for (Activation activation :
       {Activation::gelu, Activation::gelu_tanh, Activation::silu, Activation::relu}) {
    const auto decoder = filled(Decoder<Scalar>(
        {.block = {.embed_dim = 8, .num_heads = 2, .dim_feedforward = 6, .activation = activation},
         .num_layers = 2}));
    keep(decoder(x, {.self = {.mask = causal()}, .memory = x}));
  }
  keep(filled(RMSNorm<Scalar>({.normalized_shape = 8}))(x));
  keep(softmax(x));
  keep(log_softmax(x, 1));
  auto attention = filled(MultiHeadAttention<Scalar>({.embed_dim = 8, .num_heads = 2}));
  attention.set_rotary(std::make_shared<Rotary<Scalar>>(RotaryOptions{.head_dim = 4}));
  KVCache<Scalar> cache({.batch = 2, .num_kv_heads = 2, .head_dim = 4});
  Tensor<Scalar, 3> y(x.shape());
  attention.forward(default_context(), x, cache, {.mask = sliding_window(2, 1), .softcap = 3}, y);
  keep(y);
  return all;
}

/// What they give for long double, to which double is compared elsewhere.
template <class Scalar>
void expect_layers_within(double tolerance) {
  const std::vector<double> expected = outputs_of_layers<long double>(), got = outputs_of_layers<Scalar>();
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], tolerance) << i;
}
TEST(Scalars, AutomaticDerivativesGoThroughEveryLayer) {
  expect_layers_within<Eigen::AutoDiffScalar<Eigen::Vector2d>>(1e-13);
}
TEST(Scalars, HalvesGoThroughEveryLayerAsExactAsTheyAre) { expect_layers_within<Eigen::half>(0.02); }

/// Of a scalar that has no erf: in each region of it, and at its ends.
TEST(Scalars, GeluOfAutomaticDerivativesIsThatOfDoubles) {
  using Dual = Eigen::AutoDiffScalar<Eigen::Vector2d>;
  for (double x = -9; x <= 9; x += 0.0625) {
    const Dual y = activate(Activation::gelu, Dual(x, 2, 0)), e = activate(Activation::erf, Dual(x, 2, 0));
    EXPECT_NEAR(y.value(), activate(Activation::gelu, x), 2e-15 * (1 + std::abs(x))) << x;
    EXPECT_NEAR(e.value(), std::erf(x), 2e-15) << x;
    const double density = std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0));
    EXPECT_NEAR(y.derivatives()[0], (1 + std::erf(x / std::sqrt(2.0))) / 2 + x * density, 2e-15 * (1 + x * x))
        << x;
  }
}

}  // namespace
