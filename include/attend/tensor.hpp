// Tensor (owning, row-major, 64-byte aligned) and TensorView (strided): Eigen maps, spans and lists in and
// out.
#pragma once

#include <algorithm>
#include <concepts>
#include <initializer_list>
#include <ostream>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include <Eigen/Core>

#include <attend/core/aligned.hpp>
#include <attend/core/flags.hpp>
#include <attend/core/overlap.hpp>
#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

template <class T, int Rank>
class TensorView;
template <class T>
class Rows;

namespace detail {
template <class T>
using RowMajorMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using MatrixLike =
    std::conditional_t<std::is_const_v<T>, const RowMajorMatrix<std::remove_const_t<T>>, RowMajorMatrix<T>>;

/// Nested initializer lists: NestedList<float, 2> is {{1, 2}, {3, 4}}.
template <class T, int Rank>
struct NestedList {
  using type = std::initializer_list<typename NestedList<T, Rank - 1>::type>;
};
template <class T>
struct NestedList<T, 0> {
  using type = T;
};
}  // namespace detail

/// Eigen's view of a matrix inside a tensor, with any strides.
template <class T>
using MatrixMap =
    Eigen::Map<detail::MatrixLike<T>, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;

/// A strided view that does not own its data. T may be const. Copying it copies the view.
/// Indices are not checked in operator() and operator[]; `at` checks them.
template <class T, int Rank>
class TensorView {
  static_assert(Rank >= 0);

 public:
  using Scalar = std::remove_const_t<T>;
  using Element = T;
  static constexpr int rank = Rank;

  TensorView() = default;
  /// Contiguous data of `shape`.
  TensorView(T* data, const Shape<Rank>& shape)
      : TensorView(data, (check_numel<Rank>(shape, sizeof(T)), shape), contiguous_strides<Rank>(shape),
                   Checked{}) {}
  /// Element (i, j, …) lies at data[i * strides[0] + j * strides[1] + …].
  TensorView(T* data, const Shape<Rank>& shape, const Shape<Rank>& strides)
      : TensorView(data, (check_numel<Rank>(shape), shape), strides, Checked{}) {}
  /// All of a span, seen as `shape`; error where the sizes differ.
  template <class U>
  requires std::convertible_to<U (*)[], T (*)[]> TensorView(std::span<U> data, const Shape<Rank>& shape)
      : TensorView(data.data(), shape) {
    if (static_cast<Index>(data.size()) != numel())
      fail_shape("TensorView", to_string(shape), Shape<1>{static_cast<Index>(data.size())});
  }
  /// A view of const elements from one of mutable elements.
  template <class U>
  requires(std::is_const_v<T>&& std::is_same_v<U, Scalar>) TensorView(const TensorView<U, Rank>& other)
      : TensorView(other.data(), other.shape(), other.strides(), Checked{}) {}
  /// A view of an Eigen matrix, map or block that has its elements in memory.
  template <class Derived>
  requires(Rank == 2 && std::is_same_v<typename Derived::Scalar, Scalar> &&
           (static_cast<int>(Derived::Flags) & Eigen::DirectAccessBit) != 0 && std::is_const_v<T>)
      TensorView(const Eigen::DenseBase<Derived>& m)
      : TensorView(m.derived().data(), {m.rows(), m.cols()}, eigen_strides(m)) {}
  template <class Derived>
  requires(Rank == 2 && std::is_same_v<typename Derived::Scalar, Scalar> &&
           (static_cast<int>(Derived::Flags) & Eigen::DirectAccessBit) != 0 && !std::is_const_v<T>)
      TensorView(Eigen::DenseBase<Derived>& m)
      : TensorView(m.derived().data(), {m.rows(), m.cols()}, eigen_strides(m)) {}

  T* data() const { return data_; }
  const Shape<Rank>& shape() const { return shape_; }
  const Shape<Rank>& strides() const { return strides_; }
  Index size(int axis) const { return shape_[check_axis(axis)]; }
  Index stride(int axis) const { return strides_[check_axis(axis)]; }
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

  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) T& operator()(Indices... i) const {
    return data_[offset(static_cast<Index>(i)...)];
  }
  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) T& at(Indices... i) const {
    const Shape<Rank> index{static_cast<Index>(i)...};
    for (std::size_t a = 0; a < index.size(); ++a)
      if (index[a] < 0 || index[a] >= shape_[a])
        throw_error("Tensor: index ", index, " is outside of shape ", shape_);
    return (*this)(i...);
  }
  /// Fixes the first index: the view of rank Rank - 1, or the element.
  decltype(auto) operator[](Index i) const requires(Rank >= 1) {
    if constexpr (Rank == 1) {
      return data_[i * strides_[0]];
    } else {
      Shape<Rank - 1> shape, strides;
      std::copy(shape_.begin() + 1, shape_.end(), shape.begin());
      std::copy(strides_.begin() + 1, strides_.end(), strides.begin());
      return TensorView<T, Rank - 1>(at_offset(i * strides_[0]), shape, strides, {});
    }
  }
  /// Elements [begin, end) along one axis.
  TensorView slice(int axis, Index begin, Index end) const {
    const std::size_t a = check_axis(axis);
    if (begin < 0 || end < begin || end > shape_[a])
      throw_error("Tensor: slice ", Shape<2>{begin, end}, " of axis ", axis, " is outside of shape ", shape_);
    Shape<Rank> shape = shape_;
    shape[a] = end - begin;
    return TensorView(at_offset(begin * strides_[a]), shape, strides_, Checked{});
  }
  /// The same data with two axes exchanged.
  TensorView transpose(int axis_a, int axis_b) const {
    Shape<Rank> shape = shape_, strides = strides_;
    std::swap(shape[check_axis(axis_a)], shape[check_axis(axis_b)]);
    std::swap(strides[check_axis(axis_a)], strides[check_axis(axis_b)]);
    return TensorView(data_, shape, strides, Checked{});
  }
  /// The same contiguous data under another shape. One size may be -1: it is what is left.
  template <int NewRank>
  TensorView<T, NewRank> reshape(Shape<NewRank> shape) const {
    if (!is_contiguous()) throw_error("Tensor: reshape of a view that is not contiguous, shape ", shape_);
    const Shape<NewRank> asked = shape;
    for (Index& unknown : shape)
      if (unknown == -1) {
        unknown = 1;
        const Index rest = checked_numel(shape);
        unknown = rest > 0 ? numel() / rest : 0;
        break;
      }
    if (checked_numel(shape) != numel()) throw_error("Tensor: cannot reshape ", shape_, " to ", asked);
    return TensorView<T, NewRank>(data_, shape);
  }
  /// All leading axes as one: [..., N] as [rows, N]. Error where they are not evenly spaced, which needs a
  /// copy.
  TensorView<T, 2> rows() const requires(Rank >= 1) {
    const detail::RowSpacing rows = detail::row_spacing(shape_, strides_);
    if (!rows.even)
      throw_error("Tensor: the leading axes of shape ", shape_, " with strides ", strides_,
                  " are not evenly spaced; copy the view first, by Tensor(view) or attend::copy");
    return {data_, {rows.count, shape_[Rank - 1]}, {rows.stride, strides_[Rank - 1]}, {}};
  }
  /// The last two axes at the leading indices, as an Eigen map. Rank 1 is one row.
  template <std::integral... Indices, class = detail::Flags>
  requires(Rank >= 1 && static_cast<int>(sizeof...(Indices)) ==
                            (Rank >= 2 ? Rank - 2 : 0)) MatrixMap<T> matrix(Indices... i)
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
  template <class>
  friend class Rows;

  struct Checked {};  // of a shape that is a view's already
  TensorView(T* data, const Shape<Rank>& shape, const Shape<Rank>& strides, Checked)
      : data_(data), shape_(shape), strides_(strides) {}

  template <class Derived>
  static Shape<2> eigen_strides(const Eigen::DenseBase<Derived>& m) {
    const Derived& d = m.derived();
    return Derived::IsRowMajor ? Shape<2>{d.outerStride(), d.innerStride()}
                               : Shape<2>{d.innerStride(), d.outerStride()};
  }
  std::size_t check_axis(int axis) const {
    if (axis < 0 || axis >= Rank) throw_error("Tensor: axis ", axis, " of shape ", shape_);
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

/// Owns its elements: row-major, contiguous, starting on a 64-byte border, zero when made.
template <class T, int Rank>
class Tensor {
 public:
  using Scalar = T;
  static constexpr int rank = Rank;
  using View = TensorView<T, Rank>;
  using ConstView = TensorView<const T, Rank>;

  Tensor() noexcept(Rank > 0) : Tensor(Shape<Rank>{}) {}
  explicit Tensor(const Shape<Rank>& shape)
      : data_(static_cast<std::size_t>(checked_numel(shape, sizeof(T)))), shape_(shape) {}
  Tensor(const Shape<Rank>& shape, const T& value) : Tensor(shape) {
    std::fill(data_.begin(), data_.end(), value);
  }
  /// Values in row-major order; error where their number is not that of the shape.
  Tensor(const Shape<Rank>& shape, std::span<const T> values) : Tensor(shape) {
    if (values.size() != data_.size())
      fail_shape("Tensor", to_string(shape), Shape<1>{static_cast<Index>(values.size())});
    std::copy(values.begin(), values.end(), data_.begin());
  }
  /// A copy of what the view shows.
  explicit Tensor(ConstView view) : Tensor(view.shape()) {
    std::size_t i = 0;
    view.for_each([&](const T& element) { data_[i++] = element; });
  }
  /// Nested lists, all of one length: Tensor<float, 2>::of({{1, 2}, {3, 4}}).
  static Tensor of(const typename detail::NestedList<T, Rank>::type& values) {
    Shape<Rank> shape{};
    measure<Rank>(values, shape);
    Tensor result(shape);
    std::size_t next = 0;
    result.template copy_nested<Rank>(values, next);
    return result;
  }
  template <class Derived, class = detail::Flags>
  requires(Rank == 2) explicit Tensor(const Eigen::DenseBase<Derived>& m) : Tensor({m.rows(), m.cols()}) {
    view().matrix() = m.derived();
  }

  Tensor(const Tensor&) = default;
  /// What is moved from is as if it had just been made.
  Tensor(Tensor&& other) noexcept(Rank > 0) : Tensor() { swap(other); }
  /// What fails on the way changes nothing.
  Tensor& operator=(const Tensor& other) { return *this = Tensor(other); }
  Tensor& operator=(Tensor&& other) noexcept(Rank > 0) {
    Tensor moved(std::move(other));
    swap(moved);
    return *this;
  }
  void swap(Tensor& other) noexcept {
    std::swap(shape_, other.shape_);
    std::swap(data_, other.data_);
  }

  View view() { return View(data(), shape_); }
  ConstView view() const { return ConstView(data(), shape_); }
  operator View() { return view(); }
  operator ConstView() const { return view(); }

  T* data() { return data_.data(); }
  const T* data() const { return data_.data(); }
  const Shape<Rank>& shape() const { return shape_; }
  Index size(int axis) const { return view().size(axis); }
  Index numel() const { return static_cast<Index>(data_.size()); }
  bool empty() const { return data_.empty(); }
  std::span<T> span() { return {data_.data(), data_.size()}; }
  std::span<const T> span() const { return {data_.data(), data_.size()}; }

  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) T& operator()(Indices... i) {
    return view()(i...);
  }
  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) const T& operator()(Indices... i) const {
    return view()(i...);
  }
  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) T& at(Indices... i) {
    return view().at(i...);
  }
  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) const T& at(Indices... i) const {
    return view().at(i...);
  }
  decltype(auto) operator[](Index i) { return view()[i]; }
  decltype(auto) operator[](Index i) const { return view()[i]; }
  View slice(int axis, Index begin, Index end) { return view().slice(axis, begin, end); }
  ConstView slice(int axis, Index begin, Index end) const { return view().slice(axis, begin, end); }
  template <int NewRank>
  TensorView<T, NewRank> reshape(const Shape<NewRank>& shape) {
    return view().template reshape<NewRank>(shape);
  }
  template <int NewRank>
  TensorView<const T, NewRank> reshape(const Shape<NewRank>& shape) const {
    return view().template reshape<NewRank>(shape);
  }
  template <std::integral... Indices, class = detail::Flags>
  auto matrix(Indices... i) {
    return view().matrix(i...);
  }
  template <std::integral... Indices, class = detail::Flags>
  auto matrix(Indices... i) const {
    return view().matrix(i...);
  }

 private:
  template <int Level, class List>
  static void measure(const List& list, Shape<Rank>& shape) {
    if constexpr (Level > 0) {
      shape[Rank - Level] = static_cast<Index>(list.size());
      if (list.size() > 0) measure<Level - 1>(*list.begin(), shape);
    }
  }
  template <int Level, class List>
  void copy_nested(const List& list, std::size_t& next) {
    if constexpr (Level == 0) {
      data_[next++] = list;
    } else {
      if (static_cast<Index>(list.size()) != shape_[Rank - Level])
        throw_error("Tensor: lists of different lengths: expected ", shape_[Rank - Level], ", got ",
                    list.size());
      for (const auto& inner : list) copy_nested<Level - 1>(inner, next);
    }
  }

  AlignedArray<T> data_;  // first: an assignment that finds no memory changes nothing
  Shape<Rank> shape_;
};

namespace detail {
template <class From, class To, int Rank>
void copy_elements(const TensorView<From, Rank>& from, const TensorView<To, Rank>& to) {
  if constexpr (Rank == 0) {
    *to.data() = static_cast<To>(*from.data());
  } else {
    for (Index i = 0; i < from.size(0); ++i) {
      if constexpr (Rank == 1)
        to[i] = static_cast<To>(from[i]);
      else
        copy_elements(from[i], to[i]);
    }
  }
}
}  // namespace detail

/// Copies between views of one shape; the scalars may differ. `to` may be `from`; error where they overlap
/// otherwise, or elements of `to` each other.
template <class From, class To, int Rank>
void copy(TensorView<From, Rank> from, TensorView<To, Rank> to) {
  check_shape("copy", to.shape(), from.shape());
  if (detail::overlaps_itself(to))
    throw_error("copy: elements of a destination of shape ", to.shape(), " overlap each other");
  if (!detail::same_places(from, to) && detail::overlap(from, to))
    throw_error("copy: source and destination overlap");
  detail::copy_elements(from, to);
}

/// What a layer accepts as input: a tensor or a view.
template <class X>
concept TensorLike = requires(const X& x) {
  {x.shape()};
  { X::rank } -> std::convertible_to<int>;
  typename X::Scalar;
};

/// The read-only view of a tensor or view.
template <TensorLike X>
TensorView<const typename X::Scalar, X::rank> const_view(const X& x) {
  return x;
}

/// Nested brackets; more than 8 entries along an axis show the first and last 3.
template <class T, int Rank>
std::ostream& operator<<(std::ostream& out, const TensorView<T, Rank>& t) {
  if constexpr (Rank == 0) {
    if constexpr (std::is_integral_v<T>) return out << +*t.data();  // bytes are numbers
    return out << *t.data();
  } else {
    out << '[';
    for (Index i = 0; i < t.size(0); ++i) {
      if (i > 0) out << (Rank == 1 ? ", " : ",\n");
      if (t.size(0) > 8 && i == 3) {
        out << "...";
        i = t.size(0) - 4;
        continue;
      }
      if constexpr (Rank == 1) {
        out << TensorView<T, 0>(&t[i], {});
      } else {
        out << t[i];
      }
    }
    return out << ']';
  }
}
template <class T, int Rank>
std::ostream& operator<<(std::ostream& out, const Tensor<T, Rank>& t) {
  return out << t.view();
}

}  // namespace attend::inline ATTEND_ABI
