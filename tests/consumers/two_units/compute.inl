// The same work in both units, under the name COMPUTE: a layer of each path, and their results as bits.
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace {
template <class Scalar>
attend::Tensor<Scalar, 3> attend_to_itself() {
  // Numbers from integers, exact whatever the flags: a sum of products here would be contracted in one unit
  // only.
  std::uint32_t state = 1;
  const auto fill = [&state](Scalar* values, attend::Index n) {
    for (attend::Index i = 0; i < n; ++i) {
      state = state * 1664525u + 1013904223u;
      values[i] = Scalar(static_cast<int>(state >> 20) - 2048) / Scalar(4096);
    }
  };
  attend::MultiHeadAttention<Scalar> attention({.embed_dim = 24, .num_heads = 3});
  attention.parameters([&](const std::string&, auto parameter) {
    std::vector<Scalar> values(static_cast<std::size_t>(parameter.numel()));
    fill(values.data(), parameter.numel());
    parameter.assign(0, parameter.rows(), values.data());
  });
  attend::Tensor<Scalar, 3> x({2, 7, 24});
  fill(x.data(), x.numel());
  return attention(x);
}
}  // namespace

std::vector<std::uint32_t> COMPUTE() {
  std::vector<std::uint32_t> bits;
  const auto y = attend_to_itself<float>();
  for (const float value : y.span()) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

/// A layer and a tensor that the other unit made.
std::vector<std::uint32_t> COMPUTE_WITH(const attend::Linear<float>& linear,
                                        const attend::Tensor<float, 2>& x) {
  std::vector<std::uint32_t> bits;
  const attend::Tensor<float, 2> y = linear(x);
  for (const float value : y.span()) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

std::vector<double> COMPUTE_DOUBLE() {
  const auto y = attend_to_itself<double>();
  return {y.span().begin(), y.span().end()};
}
