#include <forward.hpp>

#define COMPUTE compute_plain
#include "compute.inl"

#include <cstdio>
#include <cstring>

std::vector<float> compute_native();

int main() {
  const std::vector<float> plain = compute_plain(), native = compute_native();
  if (plain.empty() || plain.size() != native.size()) return 1;
  if (std::memcmp(plain.data(), native.data(), plain.size() * sizeof(float)) != 0) return 2;
  std::puts("two units: the same bits");
}
