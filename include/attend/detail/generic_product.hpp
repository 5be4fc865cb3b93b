// Products of any scalar. Each sum is one chain over k from 0 up, whatever the number of rows, and nothing is
// allocated: Eigen's own product of matrices keeps neither.
#pragma once

#include <algorithm>

#include <attend/core/flags.hpp>
#include <attend/tensor_view.hpp>

namespace attend::inline ATTEND_ABI::detail::inline ATTEND_FLAGS {

/// Rows of a panel of a packed weight [N, K]: [ceil(N / kGenericPanel)][K][kGenericPanel].
inline constexpr Index kGenericPanel = 8;

/// store(r, j, Σ x[r][k] panel[k][j]) for some rows of x [rows, K] and the columns j < kGenericPanel.
template <int Rows, class Scalar, class Store>
void panel_rows(const TensorView<const Scalar, 2>& x, Index r, const Scalar* panel, const Store& store) {
  using Row = Eigen::Matrix<Scalar, 1, kGenericPanel, Eigen::RowMajor>;
  using Column = Eigen::Map<const Eigen::Matrix<Scalar, Rows, 1>, 0, Eigen::InnerStride<>>;
  using Sums = Eigen::Matrix<Scalar, Rows, kGenericPanel, Eigen::RowMajor>;
  const Index K = x.size(1), step = x.stride(1);
  const Scalar* from = K > 0 ? &x(r, 0) : nullptr;
  Sums sums = Sums::Zero();
  for (Index k = 0; k < K; ++k, panel += kGenericPanel, from += step)
    sums += Column(from, Eigen::InnerStride<>(x.stride(0))).lazyProduct(Eigen::Map<const Row>(panel));
  for (int i = 0; i < Rows; ++i)
    for (Index j = 0; j < kGenericPanel; ++j) store(r + i, j, sums(i, j));
}

/// The same for all rows of x: of as many at once as a vector has scalars, so that the sums take eight
/// registers, enough to wait for no addition, and half of what the least of processors have.
template <class Scalar, class Store>
void panel_product(const TensorView<const Scalar, 2>& x, const Scalar* panel, const Store& store) {
  constexpr int kRows = std::clamp<int>(EIGEN_MAX_ALIGN_BYTES / static_cast<int>(sizeof(Scalar)), 1, 8);
  Index r = 0;
  for (; r + kRows <= x.size(0); r += kRows) panel_rows<kRows>(x, r, panel, store);
  for (; r < x.size(0); ++r) panel_rows<1>(x, r, panel, store);
}

}  // namespace attend::inline ATTEND_ABI::detail::inline ATTEND_FLAGS
