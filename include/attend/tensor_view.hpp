// TensorView: a strided view of any rank, with Eigen's matrices and maps in and out.
#pragma once

#include <array>
#include <concepts>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include <attend/core/flags.hpp>
#include <attend/core/overlap.hpp>
#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

template <class T, int Rank>
class Tensor;
template <class T>
class Rows;

namespace detail {
template <class T>
using RowMajorMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using MatrixLike =
    std::conditional_t<std::is_const_v<T>, const RowMajorMatrix<std::remove_const_t<T>>, RowMajorMatrix<T>>;

/// An Eigen matrix, map or block that has elements of type T in memory.
template <class Derived, class T>
concept EigenInMemory = std::is_same_v<typename Derived::Scalar, T> &&
                        (static_cast<int>(Derived::Flags) & Eigen::DirectAccessBit) != 0;

// One for all ranks.
[[noreturn]] ATTEND_COLD inline void fail_axis(Index axis, std::span<const Index> shape) {
  throw_error("Tensor: axis ", axis, " of shape ", shape);
}
[[noreturn]] ATTEND_COLD inline void fail_slice(Index begin, Index end, std::size_t axis,
                                                std::span<const Index> shape) {
  throw_error("Tensor: slice ", Shape<2>{begin, end}, " of axis ", axis, " is outside of shape ", shape);
}
[[noreturn]] ATTEND_COLD inline void fail_rows(std::span<const Index> shape, std::span<const Index> strides) {
  throw_error("Tensor: the leading axes of shape ", shape, " with strides ", strides,
              " are not evenly spaced; copy the view first, by Tensor(view) or attend::copy");
}

template <int Rank, int... Axes>
concept EachAxisOnce = sizeof...(Axes) == Rank && ((Axes >= 0 && Axes < Rank) && ...) &&
                       ((1ULL << Axes) | ... | 0) == (1ULL << Rank) - 1;
/// Indices of the one matrix among those that the last two axes are; a tensor of rank 1 or 2 is one itself.
template <int Rank, class... Indices>
concept IndicesOfMatrix = Rank >= 1 && sizeof...(Indices) == (Rank > 2 ? Rank - 2 : 0);
}  // namespace detail

/// Eigen's view of a matrix inside a view, with any strides.
template <class T>
using MatrixMap =
    Eigen::Map<detail::MatrixLike<T>, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
/// The same inside a tensor, whose rows follow each other.
template <class T>
using ContiguousMatrixMap = Eigen::Map<detail::MatrixLike<T>>;

/// A strided view that does not own its data. T may be const. Copying it copies the view.
/// Indices are not checked in operator() and operator[]; `at` checks them.
template <class T, int Rank>
class TensorView {
  static_assert(Rank >= 0);

 public:
  using Scalar = std::remove_const_t<T>;
  using Element = T;  // const where the view only reads
  static constexpr int rank = Rank;

  TensorView() = default;
  TensorView(const TensorView&) = default;  // Shows the same elements.
  TensorView& operator=(const TensorView&) & = default;
  /// t[0] = u[0] would let a view that is gone at once see something else: copy(u[0], t[0]) copies elements.
  void operator=(const TensorView&) && = delete;
  /// Contiguous data of `shape`.
  TensorView(T* data, const Shape<Rank>& shape)
      : TensorView(data, (detail::check_numel<Rank>(shape, sizeof(T)), shape),
                   detail::contiguous_strides<Rank>(shape), Checked{}) {}
  /// Element (i, j, …) lies at data[i * strides[0] + j * strides[1] + …].
  TensorView(T* data, const Shape<Rank>& shape, const Shape<Rank>& strides)
      : TensorView(data, (detail::check_numel<Rank>(shape), shape), strides, Checked{}) {}
  /// All of a span, seen as `shape`; error where the sizes differ.
  template <class U>
  requires std::convertible_to<U (*)[], T (*)[]> TensorView(std::span<U> data, const Shape<Rank>& shape)
      : TensorView(data.data(), shape) {
    if (static_cast<Index>(data.size()) != numel())
      detail::fail_shape("TensorView", to_string(shape), Shape<1>{static_cast<Index>(data.size())});
  }
  /// A view of const elements from one of mutable elements.
  template <class U>
  requires(std::is_const_v<T>&& std::is_same_v<U, Scalar>) TensorView(const TensorView<U, Rank>& other)
      : TensorView(other.data(), other.shape(), other.strides(), Checked{}) {}
  /// A view of an Eigen matrix, map or block that has its elements in memory.
  template <detail::EigenInMemory<Scalar> Derived>
  requires(Rank == 2 && std::is_const_v<T>) TensorView(const Eigen::DenseBase<Derived>& m)
      : TensorView(m.derived().data(), {m.rows(), m.cols()}, eigen_strides(m)) {}
  /// A matrix of Eigen's, where it lies; its strides may be those of columns.
  template <detail::EigenInMemory<Scalar> Derived>
  requires(Rank == 2 && !std::is_const_v<T>) TensorView(Eigen::DenseBase<Derived>& m)
      : TensorView(m.derived().data(), {m.rows(), m.cols()}, eigen_strides(m)) {}

  /// Where element (0, 0, …) lies.
  T* data() const { return data_; }
  const Shape<Rank>& shape() const { return shape_; }
  /// Elements from one index of each axis to the next.
  const Shape<Rank>& strides() const { return strides_; }
  /// Of one axis; error where it is not one of 0 … rank - 1.
  Index size(AnyIndex axis) const { return shape_[check_axis(axis)]; }
  /// Of one axis; error where it is not one of 0 … rank - 1.
  Index stride(AnyIndex axis) const { return strides_[check_axis(axis)]; }
  /// Number of elements.
  Index numel() const {
    Index n = 1;
    for (Index s : shape_) n *= s;
    return n;
  }
  bool empty() const { return numel() == 0; }
  /// Row-major without gaps.
  bool is_contiguous() const {
    Index expected = 1;
    for (std::size_t i = Rank; i-- > 0;) {
      if (shape_[i] != 1 && strides_[i] != expected) return empty();
      expected *= shape_[i];
    }
    return true;
  }

  /// The element at the indices, which are not checked.
  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) T& operator()(Indices... i) const {
    return data_[offset(static_cast<Index>(i)...)];
  }
  /// The same; error where an index is outside of the shape.
  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) T& at(Indices... i) const {
    const Shape<Rank> index{static_cast<Index>(i)...};
    for (std::size_t a = 0; a < index.size(); ++a)
      if (index[a] < 0 || index[a] >= shape_[a])
        throw_error("Tensor: index ", index, " is outside of shape ", shape_);
    return (*this)(i...);
  }
  /// Fixes the first index: the view of rank Rank - 1, or the element.
  decltype(auto) operator[](AnyIndex i) const requires(Rank >= 1) {
    if constexpr (Rank == 1) {
      return data_[i * strides_[0]];
    } else {
      Shape<Rank - 1> shape, strides;
      for (std::size_t a = 0; a < shape.size(); ++a) shape[a] = shape_[a + 1], strides[a] = strides_[a + 1];
      return TensorView<T, Rank - 1>(at_offset(i * strides_[0]), shape, strides, {});
    }
  }
  /// Elements [begin, end) along one axis.
  TensorView slice(AnyIndex axis, AnyIndex begin, AnyIndex end) const {
    const std::size_t a = check_axis(axis);
    if (begin < 0 || end < begin || end > shape_[a]) detail::fail_slice(begin, end, a, shape_);
    Shape<Rank> shape = shape_;
    shape[a] = end - begin;
    return TensorView(at_offset(begin * strides_[a]), shape, strides_, Checked{});
  }
  /// The same data with two axes exchanged.
  TensorView transpose(AnyIndex axis_a, AnyIndex axis_b) const {
    Shape<Rank> shape = shape_, strides = strides_;
    std::swap(shape[check_axis(axis_a)], shape[check_axis(axis_b)]);
    std::swap(strides[check_axis(axis_a)], strides[check_axis(axis_b)]);
    return TensorView(data_, shape, strides, Checked{});
  }
  /// The same data with its axes in another order: axis i of the result is axis Axes[i] of this.
  template <int... Axes>
  requires detail::EachAxisOnce<Rank, Axes...> TensorView permute()
  const { return TensorView(data_, {shape_[Axes]...}, {strides_[Axes]...}, Checked{}); }
  /// The same contiguous data under another shape. One size may be -1: it is what is left.
  template <std::integral... Sizes>
  auto reshape(Sizes... sizes) const {
    return reshape(Shape<static_cast<int>(sizeof...(Sizes))>{static_cast<Index>(sizes)...});
  }
  /// The same elements in another shape; -1 of one axis is what is left. Error where it is not contiguous.
  template <std::size_t Axes>
  TensorView<T, static_cast<int>(Axes)> reshape(std::array<Index, Axes> shape) const {
    constexpr int NewRank = static_cast<int>(Axes);
    if (!is_contiguous())
      throw_error("Tensor: reshape of a view that is not contiguous, shape ", shape_,
                  ": copy it first, by Tensor(view)");
    const std::array<Index, Axes> asked = shape;
    for (Index& unknown : shape)
      if (unknown == -1) {
        unknown = 1;
        const Index rest = detail::checked_numel(shape);
        unknown = rest > 0 ? numel() / rest : 0;
        break;
      }
    if (detail::checked_numel(shape) != numel())
      throw_error("Tensor: cannot reshape ", shape_, " to ", asked);
    return TensorView<T, NewRank>(data_, shape);
  }
  /// All leading axes as one: [..., N] as [rows, N]. Error where they are not evenly spaced, which needs a
  /// copy.
  TensorView<T, 2> rows() const requires(Rank >= 1) {
    const detail::RowSpacing rows = detail::row_spacing(shape_, strides_);
    if (!rows.even) detail::fail_rows(shape_, strides_);
    return {data_, {rows.count, shape_[Rank - 1]}, {rows.stride, strides_[Rank - 1]}, {}};
  }
  /// The last two axes at the leading indices, as an Eigen map. Rank 1 is one row.
  template <std::integral... Indices, class = detail::Flags>
  requires detail::IndicesOfMatrix<Rank, Indices...> MatrixMap<T> matrix(Indices... i)
  const {
    using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
    if constexpr (Rank == 1) {
      return MatrixMap<T>(data_, 1, shape_[0], Strides(shape_[0], strides_[0]));
    } else {
      return MatrixMap<T>(at_offset(offset(static_cast<Index>(i)...)), shape_[Rank - 2], shape_[Rank - 1],
                          Strides(strides_[Rank - 2], strides_[Rank - 1]));
    }
  }
  /// The elements as a span; error where they are not contiguous.
  std::span<T> span() const {
    if (!is_contiguous()) throw_error("Tensor: a span of a view that is not contiguous, shape ", shape_);
    return {data_, static_cast<std::size_t>(numel())};
  }
  /// The elements in row-major order.
  std::vector<Scalar> to_vector() const {
    std::vector<Scalar> elements;
    elements.reserve(static_cast<std::size_t>(numel()));
    for_each([&](const T& element) { elements.push_back(element); });
    return elements;
  }
  /// Sets each element.
  void fill(const Scalar& value) const {
    for_each([&](T& element) { element = value; });
  }
  /// Calls f on every element in row-major order.
  template <class F>
  void for_each(F&& f) const {
    if constexpr (Rank == 0) {
      f(*data_);
    } else {
      for (Index i = 0; i < shape_[0]; ++i) {
        if constexpr (Rank == 1)
          f((*this)[i]);
        else
          (*this)[i].for_each(f);
      }
    }
  }

 private:
  template <class, int>
  friend class TensorView;
  template <class, int>
  friend class Tensor;
  template <class>
  friend class Rows;
  friend class Frame;

  struct Checked {};  // of a shape that is a view's already
  TensorView(T* data, const Shape<Rank>& shape, const Shape<Rank>& strides, Checked)
      : data_(data), shape_(shape), strides_(strides) {}

  template <class Derived>
  static Shape<2> eigen_strides(const Eigen::DenseBase<Derived>& m) {
    const Derived& d = m.derived();
    return Derived::IsRowMajor ? Shape<2>{d.outerStride(), d.innerStride()}
                               : Shape<2>{d.innerStride(), d.outerStride()};
  }
  std::size_t check_axis(Index axis) const {
    if (axis < 0 || axis >= Rank) detail::fail_axis(axis, shape_);
    return static_cast<std::size_t>(axis);
  }
  /// Null where there is no data: of an empty tensor, or in a run of `measure`.
  T* at_offset(Index n) const { return data_ == nullptr ? nullptr : data_ + n; }
  template <class... Indices>
  Index offset(Indices... i) const {
    std::size_t axis = 0;
    Index result = 0;
    ((result += i * strides_[axis++]), ...);
    return result;
  }

  T* data_ = nullptr;
  Shape<Rank> shape_{};
  Shape<Rank> strides_{};
};

}  // namespace attend::inline ATTEND_ABI
