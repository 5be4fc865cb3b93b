// What a program with attend::attend does: one layer, and a result that is known without running it.
#include <cstdio>

#include <attend/attend.hpp>

int main() {
  const auto x = attend::Tensor<float, 2>::of({{1, 2, 3}, {4, 5, 6}});
  if (x.shape() != attend::Shape<2>{2, 3} || x(1, 2) != 6) return 1;
  std::puts("layers: ok");
}
