// softmax and log_softmax over any axis, swish and swiglu: against plain loops in double, and bit by bit
// among ISAs, threads, strides and batches.

#include <cmath>
#include <limits>

#include <attend/softmax.hpp>

#include "each_isa.hpp"
#include "support.hpp"

using attend::Context;
using attend::Index;
using attend::Shape;
using attend::Tensor;
using attend::TensorView;
using attend_test::normal_tensor;
using attend_test::same_bits;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

/// Both by the definition, over the middle axis of x [before, n, after].
template <class S>
void check_definition(const Tensor<S, 3>& x, const Tensor<S, 3>& soft, const Tensor<S, 3>& logs) {
  const double eps = static_cast<double>(std::numeric_limits<S>::epsilon());
  for (Index i = 0; i < x.size(0); ++i)
    for (Index k = 0; k < x.size(2); ++k) {
      double maximum = -kInf, sum = 0;
      for (Index j = 0; j < x.size(1); ++j) maximum = std::max(maximum, static_cast<double>(x(i, j, k)));
      for (Index j = 0; j < x.size(1); ++j) sum += std::exp(static_cast<double>(x(i, j, k)) - maximum);
      for (Index j = 0; j < x.size(1); ++j) {
        const double distance = static_cast<double>(x(i, j, k)) - maximum;
        const double y = std::exp(distance) / sum, z = distance - std::log(sum);
        // Rounding of the distance, which the exponential multiplies; exp; the sum's few steps; the quotient.
        EXPECT_LE(std::abs(static_cast<double>(soft(i, j, k)) - y),
                  eps * (std::abs(distance) + 16) * y + 1e-44);
        EXPECT_LE(std::abs(static_cast<double>(logs(i, j, k)) - z),
                  eps * (2 * std::abs(distance) + 16 + std::abs(z)));
      }
    }
}

}  // namespace

template <class T>
class SoftmaxOf : public testing::Test {};
TYPED_TEST_SUITE(SoftmaxOf, attend_test::Scalars);

TYPED_TEST(SoftmaxOf, IsThatOfTheDefinitionOverEachAxis) {
  using S = TypeParam;
  for (const Index n : {1, 3, 15, 16, 17, 100, 333})
    for (const double scale : {1.0, 20.0}) {
      const Tensor<S, 3> x = normal_tensor<S, 3>({2, n, 5}, 1, scale);
      check_definition(x, attend::softmax(x, 1), attend::log_softmax(x, -2));
      const Tensor<S, 3> last(x.view().transpose(1, 2)), first(x.view().transpose(0, 1));
      const Tensor<S, 3> soft = attend::softmax(last), logs = attend::log_softmax(first, 0);
      check_definition(x, Tensor<S, 3>(soft.transpose(1, 2)), Tensor<S, 3>(logs.transpose(0, 1)));
    }
}

TEST(Softmax, GivesTheSameBitsHoweverItIsCalled) {
  const Tensor<float, 3> x = normal_tensor<float, 3>({7, 333, 31}, 1, 5);
  const Tensor<float, 3> soft = attend::softmax(x, 1), logs = attend::log_softmax(x, 1);
  const Tensor<float, 3> turned = attend::softmax(x.transpose(1, 2), 2),
                         turned_logs = attend::log_softmax(x.transpose(0, 1), 0);
  EXPECT_TRUE(same_bits(soft, Tensor<float, 3>(turned.transpose(1, 2))));
  EXPECT_TRUE(same_bits(logs, Tensor<float, 3>(turned_logs.transpose(0, 1))));
  const Tensor<float, 3> one(x.view().slice(0, 3, 4).slice(2, 8, 9));
  EXPECT_TRUE(
      same_bits(attend::softmax(one, 1), Tensor<float, 3>(soft.view().slice(0, 3, 4).slice(2, 8, 9))));
  Context three(3);
  for (const int axis : {0, 1, 2}) {
    Tensor<float, 3> out(x.shape()), place = x;
    attend::softmax(three, x.view(), axis, out.view());
    EXPECT_TRUE(same_bits(out, attend::softmax(x, axis)));
    attend::log_softmax(three, place.view(), axis, place.view());
    EXPECT_TRUE(same_bits(place, attend::log_softmax(x, axis)));
  }
  if (!attend_test::bits_are_promised()) return;
  attend_test::on_each_isa([&] {
    EXPECT_TRUE(same_bits(soft, attend::softmax(x, 1)));
    EXPECT_TRUE(same_bits(logs, attend::log_softmax(x, 1)));
  });
#if ATTEND_HAS_KERNELS
  const attend::Isa chosen = attend::isa();
  if (!attend::kernel::runs(attend::Isa::baseline)) return;
  attend::set_isa(attend::Isa::baseline);  // without FMA the bits differ, the meaning does not
  check_definition(x, attend::softmax(x, 1), attend::log_softmax(x, 1));
  attend::set_isa(chosen);
#endif
}

TYPED_TEST(SoftmaxOf, OfInfinitiesIsNeverZeroOverZero) {
  using S = TypeParam;
  const S inf = std::numeric_limits<S>::infinity();
  for (const Index n : {1, 5, 16, 40}) {
    Tensor<S, 2> x({4, n}, -inf);
    x(1, n - 1) = S(3);
    x(2, 0) = std::numeric_limits<S>::quiet_NaN();
    x(3, n / 2) = inf;
    const Tensor<S, 2> soft = attend::softmax(x), logs = attend::log_softmax(x);
    for (Index j = 0; j < n; ++j) {
      EXPECT_EQ(soft(0, j), 0);  // never 0 / 0
      EXPECT_EQ(logs(0, j), -inf);
      EXPECT_EQ(soft(1, j), (j == n - 1 ? 1 : 0));
      EXPECT_EQ(logs(1, j), (j == n - 1 ? S(0) : -inf));
      EXPECT_TRUE(std::isnan(soft(2, j)));
      EXPECT_TRUE(std::isnan(logs(2, j)));
      EXPECT_TRUE(std::isnan(soft(3, n / 2)));
    }
  }
  Tensor<S, 1> large({3});
  large(0) = S(1e4), large(1) = S(-1e4), large(2) = S(1e4);
  EXPECT_EQ(attend::softmax(large)(0), S(0.5));
  EXPECT_NEAR(attend::log_softmax(large)(1), -2e4 - std::log(2.0), 2e-3);
}

TEST(Softmax, RefusesWrongAxesAndTakesEmptyTensors) {
  const Tensor<float, 2> x({2, 3});
  EXPECT_THROW(attend::softmax(x, 2), attend::Error);
  EXPECT_THROW(attend::softmax(x, -3), attend::Error);
  Tensor<float, 2> out({3, 2});
  Context context;
  EXPECT_THROW((attend::softmax(context, x.view(), 1, out.view())), attend::Error);
  EXPECT_TRUE(attend::softmax(Tensor<float, 2>({0, 3})).empty());
  EXPECT_TRUE(attend::softmax(Tensor<float, 2>({3, 0})).empty());
}

template <class T>
class SwishOf : public testing::Test {};
TYPED_TEST_SUITE(SwishOf, attend_test::Scalars);

TYPED_TEST(SwishOf, IsThatOfItsDefinitionAndSwigluToo) {
  using S = TypeParam;
  const double eps = static_cast<double>(std::numeric_limits<S>::epsilon());
  const Tensor<S, 2> x = normal_tensor<S, 2>({5, 123}, 3, 4), value = normal_tensor<S, 2>({5, 123}, 4, 1);
  for (const double alpha : {1.0, 0.5, -2.0, 0.0}) {
    const Tensor<S, 2> y = attend::swish(x, alpha), z = attend::swiglu(x, value, alpha);
    for (std::size_t i = 0; i < x.span().size(); ++i) {
      const double v = static_cast<double>(x.span()[i]), swish = v / (1 + std::exp(-alpha * v));
      // alpha x is rounded, and so is multiplied the exponential of it
      const double bound = eps * (8 + std::abs(alpha * v)) * std::abs(swish);
      EXPECT_LE(std::abs(static_cast<double>(y.span()[i]) - swish), bound);
      EXPECT_LE(std::abs(static_cast<double>(z.span()[i]) - swish * static_cast<double>(value.span()[i])),
                (bound + eps * std::abs(swish)) * std::abs(static_cast<double>(value.span()[i])));
    }
  }
  EXPECT_THROW(attend::swiglu(x, Tensor<S, 2>({5, 122})), attend::Error);
}
