// # double, autodiff scalars, and a gradient
//
// Every layer takes any scalar: float runs on kernels, all others on plain loops, with the same semantics. What a type
// of yours needs is the concept ScalarType. With Eigen's AutoDiffScalar a layer gives derivatives, forward: good for a
// handful of inputs, for tests, and to fit a few numbers. (Training a whole model is PyTorch's part: page 03.)
#include <cstdio>

#include <Eigen/Core>
#include <unsupported/Eigen/AutoDiff>

#include <attend/attend.hpp>

using Dual = Eigen::AutoDiffScalar<Eigen::Vector2d>;

/// One query, two keys: the score of each key is query * key, the result a mean of 3 and 5.
template <class Scalar>
Scalar look(const Scalar& query, const Scalar& key) {
  attend::Tensor<Scalar, 2> q({1, 1}, query), k({2, 1}, key), v({2, 1}, Scalar(3.0));
  k(1, 0) = Scalar(-1.0);
  v(1, 0) = Scalar(5.0);
  return attend::scaled_dot_product_attention(q, k, v, attend::AttentionOptions<Scalar>{})(0, 0);
}

int main() {
  const Dual y = look(Dual(0.5, 2, 0), Dual(-0.25, 2, 1));  // derivatives by the query (0) and the key (1)
  const double h = 1e-6;
  const double by_query = (look(0.5 + h, -0.25) - look(0.5 - h, -0.25)) / (2 * h);
  const double by_key = (look(0.5, -0.25 + h) - look(0.5, -0.25 - h)) / (2 * h);
  std::printf("%.6f, derivatives %.6f %.6f\n", y.value(), y.derivatives()[0], y.derivatives()[1]);
  std::printf("by differences %.6f %.6f\n", by_query, by_key);
}
// Prints:
// 3.814667, derivatives -0.362119 -0.241413
// by differences -0.362119 -0.241413
