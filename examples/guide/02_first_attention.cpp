// # The first attention, in ten lines
//
// A tensor has a scalar and a rank, and lies in memory row by row. An attention has queries, keys and values of shape
// [batch, heads, tokens, width of a head]; leading sizes may be left out. Here two tokens look at three.
//
// Whoever calls a function without a Context gets a new tensor. With a Context, and an output that is there already,
// nothing is allocated once the context has been used: page 07.
//
// A function of yours takes a TensorView<const float, 3> to read and a TensorView<float, 3> to write: tensors, slices and
// transposes become these where they are passed. y(t, 0) and y[t] do not check their indices; y.at(t, 0) and slice do.
#include <cstdio>

#include <attend/attend.hpp>

int main() {
  const auto query = attend::Tensor<float, 2>::of({{1, 0}, {0, 9}});  // [tokens, width]
  const auto key = attend::Tensor<float, 2>::of({{9, 0}, {0, 9}, {0, 0}});
  const auto value = attend::Tensor<float, 2>::of({{1, 10}, {2, 20}, {3, 30}});
  const attend::Tensor<float, 2> y = attend::scaled_dot_product_attention(query, key, value, {});
  for (attend::Index t = 0; t < y.size(0); ++t) std::printf("%.3f %.3f\n", y(t, 0), y(t, 1));
}
// Prints:
// 1.005 10.051
// 2.000 20.000
