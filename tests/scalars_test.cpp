// What counts as a scalar. tests/project/refused.py has those that are refused with a message.
#include <cstdint>

#include <Eigen/Core>
#include <unsupported/Eigen/AutoDiff>

#include <attend/scaled_dot_product_attention.hpp>
#include <attend/softmax.hpp>

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

}  // namespace
