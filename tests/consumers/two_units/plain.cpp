#include <forward.hpp>

#define COMPUTE compute_plain
#define COMPUTE_DOUBLE compute_double_plain
#include "compute.inl"

#include <cstdio>

std::vector<std::uint32_t> compute_native();
std::vector<double> compute_double_native();

int main() {
  // float promises bits, other scalars a tolerance.
  const auto plain = compute_plain(), native = compute_native();
  if (plain.size() != 2 * 7 * 24 || plain != native) return 1;
  const auto plain_double = compute_double_plain(), native_double = compute_double_native();
  if (plain_double.size() != plain.size() || native_double.size() != plain.size()) return 2;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    if (!(std::abs(plain_double[i] - native_double[i]) <= 1e-12 * std::abs(plain_double[i]))) return 3;
    if (!(std::abs(plain_double[i] - std::bit_cast<float>(plain[i])) <= 1e-4 * std::abs(plain_double[i]))) return 4;
  }
  std::printf("two units: %zu equal values, %g first\n", plain.size(), plain_double[0]);
}
