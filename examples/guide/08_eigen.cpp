// # Eigen, and column-major data
//
// tensor.matrix() is an Eigen map of a tensor of rank 2, tensor.matrix(b) of the last two axes at b: nothing is copied, and
// all of Eigen works on it. The other way, an Eigen matrix is an argument as it is; its rows are tokens. Eigen's own
// matrices are column-major: layer(matrix) copies such a one, forward(context, matrix, …) says that it would have to.
// A matrix whose columns are the tokens, [width, tokens], is passed as matrix.transpose(), without a copy, and so are outputs:
// transposes, blocks and maps are written where they lie.
#include <iostream>

#include <Eigen/Core>

#include <attend/attend.hpp>

int main() {
  attend::LayerNorm<float> norm({.normalized_shape = 4});

  Eigen::MatrixXf tokens(2, 4);  // column-major
  tokens << 1, 2, 3, 4, 4, 3, 2, 1;
  const attend::Tensor<float, 2> y = norm(tokens);  // copied
  std::cout << (10 * y.matrix().array()).round() << "\n\n";

  const Eigen::MatrixXf columns = tokens.transpose();  // [width, tokens]
  attend::Tensor<float, 2> z({2, 4});
  attend::Context context;
  norm.forward(context, columns.transpose(), z);  // not copied
  std::cout << "the same: " << (z == y) << '\n';

  Eigen::MatrixXf out(4, 2);
  norm.forward(context, columns.transpose(), out.transpose());
  std::cout << "the same: " << (out.transpose() == y.matrix()) << '\n';

  Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rows = tokens;
  norm.forward(context, rows, rows);  // in place
  std::cout << "the same: " << (rows == y.matrix()) << '\n';

  try {
    norm.forward(context, tokens, z);
  } catch (const attend::Error& error) {
    std::cout << error.what() << '\n';
  }

  attend::Tensor<float, 3> batch({2, 3, 4}, 1.0f);
  batch.matrix(1) *= 2.0f * Eigen::Matrix4f::Identity();  // the second of the batch
  std::cout << batch(0, 0, 0) << ' ' << batch(1, 0, 0) << '\n';
}
// Prints:
// -13  -4   4  13
//  13   4  -4 -13
//
// the same: 1
// the same: 1
// the same: 1
// LayerNorm: in a view of shape [2, 4] the last axis must be contiguous, but the matrix is column-major: copy it, by Tensor(matrix), or pass matrix.transpose() where its columns are the rows that are meant
// 1 2
