#include <forward.hpp>

#define COMPUTE compute_plain
#define COMPUTE_WITH compute_with_plain
#define COMPUTE_DOUBLE compute_double_plain
#include "compute.inl"

#include <cstdio>

std::vector<std::uint32_t> compute_native();
std::vector<std::uint32_t> compute_with_native(const attend::Linear<float>& linear,
                                               const attend::Tensor<float, 2>& x);
std::vector<double> compute_double_native();

int main() {
  // float promises bits, other scalars a tolerance.
  const auto plain = compute_plain(), native = compute_native();
  if (plain.size() != 2 * 7 * 24 || plain != native) return 1;
  attend::Linear<float> linear({.in_features = 40, .out_features = 50});
  linear.parameters([](const std::string&, auto parameter) {
    std::vector<float> values(static_cast<std::size_t>(parameter.numel()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1.0f / static_cast<float>(i % 97 + 1);
    parameter.assign(0, parameter.rows(), values.data());
  });
  attend::Tensor<float, 2> x({3, 40});
  for (attend::Index i = 0; i < x.numel(); ++i) x.data()[i] = 1.0f / static_cast<float>(i + 1);
  const auto here = compute_with_plain(linear, x);
  if (here.size() != 150 || here != compute_with_native(linear, x)) return 5;
#if ATTEND_HAS_KERNELS  // one choice of ISA for both, and no ISA's kernels are those of the other unit
  const attend::Isa best = attend::isa();
  attend::set_isa(attend::Isa::baseline);
  const auto plain_baseline = compute_with_plain(linear, x), native_baseline = compute_with_native(linear, x);
  for (std::size_t i = 0; i < here.size(); ++i) {
    const float a = std::bit_cast<float>(plain_baseline[i]), b = std::bit_cast<float>(native_baseline[i]);
    if (!(std::abs(a - b) <= 1e-5f * std::abs(a))) return 6;
  }
  attend::set_isa(best);
#endif
  const auto plain_double = compute_double_plain(), native_double = compute_double_native();
  if (plain_double.size() != plain.size() || native_double.size() != plain.size()) return 2;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    if (!(std::abs(plain_double[i] - native_double[i]) <= 1e-12 * std::abs(plain_double[i]))) return 3;
    if (!(std::abs(plain_double[i] - std::bit_cast<float>(plain[i])) <= 1e-4 * std::abs(plain_double[i])))
      return 4;
  }
  std::printf("two units: %zu equal values, %g first\n", plain.size(), plain_double[0]);
}
