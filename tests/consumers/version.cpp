// The least that a program can do with attend: its headers are found, and Eigen's.
#include <cstdio>

#include <attend/core/version.hpp>
#include <attend/tensor.hpp>

int main() {
  attend::Tensor<float, 2> t({2, 2}, 1.0f);
  if ((t.matrix() * t.matrix())(1, 1) != 2) return 1;
  std::puts("attend " ATTEND_VERSION);
}
