// What the tests share: random tensors and layers, and the texts of errors.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <attend/core/error.hpp>
#include <attend/core/parameter.hpp>
#include <attend/tensor.hpp>

namespace attend_test {

/// The same numbers on every machine, in [low, high).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint32_t bits() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>(state_ >> 33);
  }
  double uniform(double low = -1, double high = 1) { return low + (high - low) * bits() / 2147483648.0; }
  /// In [low, high].
  attend::Index integer(attend::Index low, attend::Index high) { return low + static_cast<attend::Index>(bits()) % (high - low + 1); }

 private:
  std::uint64_t state_;
};

template <class T, int Rank>
attend::Tensor<T, Rank> random_tensor(const attend::Shape<Rank>& shape, std::uint64_t seed = 1, double low = -1, double high = 1) {
  attend::Tensor<T, Rank> tensor(shape);
  Random random(seed);
  for (T& value : tensor.span()) value = static_cast<T>(random.uniform(low, high));
  return tensor;
}

/// Gives every parameter of a layer random values.
template <class Scalar, class Layer>
void fill_parameters(Layer& layer, std::uint64_t seed = 1, double scale = 0.5) {
  Random random(seed);
  layer.parameters([&](const std::string&, auto parameter) {
    std::vector<Scalar> values(static_cast<std::size_t>(parameter.numel()));
    for (Scalar& value : values) value = static_cast<Scalar>(random.uniform(-scale, scale));
    parameter.assign(0, parameter.rows(), values.data());
  });
}

/// The text of the attend::Error that f leaves by; a failure where it does not.
template <class F>
std::string error_of(F&& f) {
  try {
    std::forward<F>(f)();
  } catch (const attend::Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "not an attend::Error: " << error.what();
    return {};
  }
  ADD_FAILURE() << "no error";
  return {};
}

}  // namespace attend_test
