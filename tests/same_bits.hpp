// Whether two results of one computation are the same. With kernels that is a promise about bits; Eigen's products, which
// take their place in a program without kernels, promise a tolerance.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>

#include <attend/core/config.hpp>
#include <attend/tensor.hpp>

namespace attend_test {

inline bool same_bits(const float* a, const float* b, attend::Index n) {
#if ATTEND_HAS_KERNELS
  return n == 0 || std::memcmp(a, b, static_cast<std::size_t>(n) * sizeof(float)) == 0;
#else
  static const int once = std::puts("skipped without kernels: bits are compared with a tolerance");
  static_cast<void>(once);
  for (attend::Index i = 0; i < n; ++i) {
    const bool close = std::abs(a[i] - b[i]) <= 1e-4f + 1e-4f * std::abs(a[i]) || a[i] == b[i];
    if (!close && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  }
  return true;
#endif
}
template <int Rank>
bool same_bits(const attend::Tensor<float, Rank>& a, const attend::Tensor<float, Rank>& b) {
  return a.shape() == b.shape() && same_bits(a.data(), b.data(), a.numel());
}

}  // namespace attend_test
