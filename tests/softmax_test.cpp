// softmax and log_softmax over any axis, swish and swiglu: against plain loops in double, and bit by bit among ISAs,
// threads, strides and batches.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <attend/softmax.hpp>

#include "same_bits.hpp"

using attend::Context;
using attend::Index;
using attend::Shape;
using attend::Tensor;
using attend::TensorView;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

template <class S, int Rank>
Tensor<S, Rank> random_tensor(const Shape<Rank>& shape, unsigned seed, double scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0, scale);
  Tensor<S, Rank> x(shape);
  for (S& value : x.span()) value = static_cast<S>(static_cast<float>(normal(generator)));
  return x;
}
using attend_test::same_bits;
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
        CHECK(std::abs(static_cast<double>(soft(i, j, k)) - y) <= eps * (std::abs(distance) + 16) * y + 1e-44);
        CHECK(std::abs(static_cast<double>(logs(i, j, k)) - z) <= eps * (2 * std::abs(distance) + 16 + std::abs(z)));
      }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("each axis is that of the definition", S, float, double) {
  for (const Index n : {1, 3, 15, 16, 17, 100, 333})
    for (const double scale : {1.0, 20.0}) {
      const Tensor<S, 3> x = random_tensor<S, 3>({2, n, 5}, static_cast<unsigned>(n), scale);
      check_definition(x, attend::softmax(x, 1), attend::log_softmax(x, -2));
      const Tensor<S, 3> last(x.view().transpose(1, 2)), first(x.view().transpose(0, 1));
      check_definition(x, Tensor<S, 3>(attend::softmax(last).view().transpose(1, 2)),
                       Tensor<S, 3>(attend::log_softmax(first, 0).view().transpose(0, 1)));
    }
}

TEST_CASE("float gives the same bits over every axis, on each ISA, with threads, in place") {
  const Tensor<float, 3> x = random_tensor<float, 3>({7, 333, 31}, 1, 5);
  const Tensor<float, 3> soft = attend::softmax(x, 1), logs = attend::log_softmax(x, 1);
  CHECK(same_bits(soft, Tensor<float, 3>(attend::softmax(x.view().transpose(1, 2), 2).view().transpose(1, 2))));
  CHECK(same_bits(logs, Tensor<float, 3>(attend::log_softmax(x.view().transpose(0, 1), 0).view().transpose(0, 1))));
  const Tensor<float, 3> one(x.view().slice(0, 3, 4).slice(2, 8, 9));
  CHECK(same_bits(attend::softmax(one, 1), Tensor<float, 3>(soft.view().slice(0, 3, 4).slice(2, 8, 9))));
  Context three(3);
  for (const int axis : {0, 1, 2}) {
    Tensor<float, 3> out(x.shape()), place = x;
    attend::softmax(three, x.view(), axis, out.view());
    CHECK(same_bits(out, attend::softmax(x, axis)));
    attend::log_softmax(three, place.view(), axis, place.view());
    CHECK(same_bits(place, attend::log_softmax(x, axis)));
  }
#if ATTEND_HAS_KERNELS && defined(__x86_64__)
  const attend::Isa chosen = attend::isa();
  for (attend::Isa isa : {attend::Isa::avx2, attend::Isa::avx512}) {
    if (!attend::kernel::runs(isa) || chosen == attend::Isa::baseline) continue;
    attend::set_isa(isa);
    CHECK(same_bits(soft, attend::softmax(x, 1)));
    CHECK(same_bits(logs, attend::log_softmax(x, 1)));
  }
  if (chosen != attend::Isa::baseline) {  // without FMA the bits differ, the meaning does not
    attend::set_isa(attend::Isa::baseline);
    check_definition(x, attend::softmax(x, 1), attend::log_softmax(x, 1));
  }
  attend::set_isa(chosen);
#endif
}

TEST_CASE_TEMPLATE("infinities and NaN", S, float, double) {
  const S inf = std::numeric_limits<S>::infinity();
  for (const Index n : {1, 5, 16, 40}) {
    Tensor<S, 2> x({4, n}, -inf);
    x(1, n - 1) = S(3);
    x(2, 0) = std::numeric_limits<S>::quiet_NaN();
    x(3, n / 2) = inf;
    const Tensor<S, 2> soft = attend::softmax(x), logs = attend::log_softmax(x);
    for (Index j = 0; j < n; ++j) {
      CHECK(soft(0, j) == 0);  // never 0 / 0
      CHECK(logs(0, j) == -inf);
      CHECK(soft(1, j) == (j == n - 1 ? 1 : 0));
      CHECK(logs(1, j) == (j == n - 1 ? S(0) : -inf));
      CHECK(std::isnan(soft(2, j)));
      CHECK(std::isnan(logs(2, j)));
      CHECK(std::isnan(soft(3, n / 2)));
    }
  }
  Tensor<S, 1> large({3});
  large(0) = S(1e4), large(1) = S(-1e4), large(2) = S(1e4);
  CHECK(attend::softmax(large)(0) == S(0.5));
  CHECK(attend::log_softmax(large)(1) == doctest::Approx(-2e4 - std::log(2.0)));
}

TEST_CASE("errors and empty tensors") {
  const Tensor<float, 2> x({2, 3});
  CHECK_THROWS_AS(attend::softmax(x, 2), attend::Error);
  CHECK_THROWS_AS(attend::softmax(x, -3), attend::Error);
  Tensor<float, 2> out({3, 2});
  Context context;
  CHECK_THROWS_AS((attend::softmax(context, x.view(), 1, out.view())), attend::Error);
  CHECK(attend::softmax(Tensor<float, 2>({0, 3})).empty());
  CHECK(attend::softmax(Tensor<float, 2>({3, 0})).empty());
}

TEST_CASE_TEMPLATE("swish and swiglu", S, float, double) {
  const double eps = static_cast<double>(std::numeric_limits<S>::epsilon());
  const Tensor<S, 2> x = random_tensor<S, 2>({5, 123}, 3, 4), value = random_tensor<S, 2>({5, 123}, 4, 1);
  for (const double alpha : {1.0, 0.5, -2.0, 0.0}) {
    const Tensor<S, 2> y = attend::swish(x, alpha), z = attend::swiglu(x, value, alpha);
    for (std::size_t i = 0; i < x.span().size(); ++i) {
      const double v = static_cast<double>(x.span()[i]), swish = v / (1 + std::exp(-alpha * v));
      // alpha x is rounded, and so is multiplied the exponential of it
      const double bound = eps * (8 + std::abs(alpha * v)) * std::abs(swish);
      CHECK(std::abs(static_cast<double>(y.span()[i]) - swish) <= bound);
      CHECK(std::abs(static_cast<double>(z.span()[i]) - swish * static_cast<double>(value.span()[i])) <=
            (bound + eps * std::abs(swish)) * std::abs(static_cast<double>(value.span()[i])));
    }
  }
  CHECK_THROWS_AS(attend::swiglu(x, Tensor<S, 2>({5, 122})), attend::Error);
}
