// How a layer is compared with PyTorch's results in float64 (golden.safetensors) and with the plain loops of
// reference/; and in float with reference/exact.hpp, bit by bit, on each ISA with FMA and with threads.
//
// Inputs and parameters are numbers that float holds, so what is compared is arithmetic alone. Tolerances are
// bounds, for an eps of the scalar:
// - a product of length K: (K + 2) eps (Σ|x||w| + |b|), which holds for any order of its sum;
// - a norm over n: the same for its sums, times what they are divided by (norm_golden_test.cpp);
// - feed-forward and attention: these bounds carried through the next operation to first order;
// - what is composed of more: kComposed (E + F) eps max|output| for each block, where E and F are its widths.
//   The products of a block have bounds of (K + 2) eps, and its norms divide by deviations that are not
//   small.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <attend/core/context.hpp>
#include <attend/io/safetensors.hpp>

#include "../each_isa.hpp"
#include "golden.hpp"

namespace golden {

using attend::Context;
using attend::TensorView;

inline constexpr double kComposed = 16;
inline const std::string kFolder = std::string(ATTEND_SOURCE_DIR) + "/tests/golden/";

template <class S>
constexpr double kEps = static_cast<double>(std::numeric_limits<S>::epsilon());

inline const attend::SafeTensors& results() {
  static const attend::SafeTensors file(kFolder + "golden.safetensors");
  return file;
}
inline std::vector<double> golden_values(const Case& c, const std::string& tensor = "output") {
  const auto& entry = results().at(c.path(tensor));
  std::vector<double> values(static_cast<std::size_t>(entry.numel()));
  results().read_elements(entry, 0, entry.numel(), values.data());
  return values;
}

template <class S, int Rank>
Tensor<double, Rank> widened(const Tensor<S, Rank>& x) {
  Tensor<double, Rank> wide(x.shape());
  attend::copy(x.view(), wide.view());
  return wide;
}
template <int Rank>
Tensor<double, Rank> magnitudes(TensorView<const double, Rank> x) {
  Tensor<double, Rank> m(x);
  for (double& value : m.span()) value = std::abs(value);
  return m;
}
inline double greatest(std::span<const double> values) {
  double most = 0;
  for (double v : values) most = std::max(most, std::abs(v));
  return most;
}

/// |got - expected| <= bound(i) for each element; says which one is furthest out.
template <class S, class Bound>
void check_near(const Case& c, std::span<const S> got, std::span<const double> expected, Bound&& bound) {
  ASSERT_EQ(got.size(), expected.size()) << c.name;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - expected[i]);
    if (error <= bound(i) || (std::isinf(expected[i]) && static_cast<double>(got[i]) == expected[i]))
      continue;
    ADD_FAILURE() << c.name << " in " << (sizeof(S) == 4 ? "float" : "double") << ": element " << i << " is "
                  << got[i] << ", expected " << expected[i] << ", off by " << error << ", bound " << bound(i);
    return;
  }
}
/// Against PyTorch, and against reference/, which in turn must agree with PyTorch. Bounds are for eps 1.
template <class S>
void check_values(const Case& c, std::span<const S> got, std::span<const double> reference, auto&& bound,
                  const std::string& tensor = "output") {
  const std::vector<double> expected = golden_values(c, tensor);
  const auto within = [&](double eps) { return [&bound, eps](std::size_t i) { return eps * bound(i); }; };
  check_near<double>(c, reference, expected, within(2 * kEps<double>));  // both are off, each by its own
  check_near<S>(c, got, expected, within(kEps<S> + kEps<double>));
  check_near<S>(c, got, reference, within(kEps<S> + kEps<double>));
}
/// A bound of the composed layers.
inline auto of_greatest(std::span<const double> reference, double multiple) {
  return [most = greatest(reference), multiple](std::size_t) { return multiple * most; };
}

template <int Rank>
void check_same_bits(const Case& c, const Tensor<float, Rank>& got, const Tensor<float, Rank>& expected) {
  ASSERT_EQ(got.shape(), expected.shape());
  for (std::size_t i = 0; i < got.span().size(); ++i) {
    if (std::bit_cast<std::uint32_t>(got.span()[i]) == std::bit_cast<std::uint32_t>(expected.span()[i]))
      continue;
    ADD_FAILURE() << c.name << ": element " << i << " is " << got.span()[i] << " and not, in each bit, "
                  << expected.span()[i];
    return;
  }
}

/// Runs f(context) on each ISA whose bits are promised, with one thread and with three.
template <class F>
void on_each_isa_and_threads(F&& f) {
  attend_test::on_each_isa([&] {
    for (int threads : {1, 3}) {
      SCOPED_TRACE("threads: " + std::to_string(threads));
      Context context(threads);
      f(context);
    }
  });
}

/// The cases of the file for one operation, of which there must be some.
template <class F>
void for_each_case(const std::string& op, F&& run) {
  int count = 0;
  for (const Case& c : read_cases(kFolder + "cases.txt")) {
    if (c.op != op) continue;
    ++count;
    SCOPED_TRACE(c.name);
    run(c);
  }
  EXPECT_GT(count, 0);
}

}  // namespace golden
