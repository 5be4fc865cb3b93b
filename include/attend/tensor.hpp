// Tensor: owns its elements, row-major from a 64-byte border on; copies, comparison and text of them.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <initializer_list>
#include <ostream>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include <attend/core/aligned.hpp>
#include <attend/core/flags.hpp>
#include <attend/core/overlap.hpp>
#include <attend/core/shape.hpp>
#include <attend/tensor_view.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
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

/// Owns its elements: row-major, contiguous, starting on a 64-byte border, zero when made.
template <class T, int Rank>
class Tensor {
 public:
  using Scalar = T;
  static constexpr int rank = Rank;
  using View = TensorView<T, Rank>;             // what functions take that write
  using ConstView = TensorView<const T, Rank>;  // what functions take that read

  Tensor() noexcept(Rank > 0) : Tensor(Shape<Rank>{}) {}
  /// Zeros. Error where a size is negative or all are too many.
  explicit Tensor(const Shape<Rank>& shape)
      : data_(static_cast<std::size_t>(detail::checked_numel(shape, sizeof(T)))), shape_(shape) {}
  /// Each element is `value`.
  Tensor(const Shape<Rank>& shape, const T& value) : Tensor(shape) {
    std::fill(data_.begin(), data_.end(), value);
  }
  /// Values in row-major order, copied; error where their number is not that of the shape.
  Tensor(const Shape<Rank>& shape, std::span<const T> values) : Tensor(shape) {
    if (values.size() != data_.size())
      detail::fail_shape("Tensor", to_string(shape), Shape<1>{static_cast<Index>(values.size())});
    std::copy(values.begin(), values.end(), data_.begin());
  }
  /// Row-major; Error where there are more or fewer values.
  Tensor(const Shape<Rank>& shape, std::initializer_list<T> values)
      : Tensor(shape, std::span<const T>(values.begin(), values.size())) {}
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
  /// A matrix of Eigen's or an expression, evaluated; element (i, j) stays element (i, j).
  template <class Derived, class = detail::Flags>
  requires(Rank == 2) explicit Tensor(const Eigen::DenseBase<Derived>& m) : Tensor({m.rows(), m.cols()}) {
    view().matrix() = m.derived();
  }

  Tensor(const Tensor&) = default;  // Copies the elements.
  /// What is moved from is as if it had just been made.
  Tensor(Tensor&& other) noexcept(Rank > 0) : Tensor() { swap(other); }
  /// What fails on the way changes nothing.
  Tensor& operator=(const Tensor& other) { return *this = Tensor(other); }
  Tensor& operator=(Tensor&& other) noexcept(Rank > 0) {
    Tensor moved(std::move(other));
    swap(moved);
    return *this;
  }
  /// A copy of what the view shows, which may be of this tensor, and its shape.
  template <class U>
  requires std::is_same_v<std::remove_const_t<U>, T> Tensor& operator=(const TensorView<U, Rank>& view) {
    return *this = Tensor(ConstView(view));
  }
  /// The elements change places, views stay with them.
  void swap(Tensor& other) noexcept {
    std::swap(shape_, other.shape_);
    std::swap(data_, other.data_);
  }

  /// All of it, as long as it lives and is not assigned to. @{
  View view() & { return View(data(), shape_, detail::contiguous_strides<Rank>(shape_), {}); }
  ConstView view() const& { return ConstView(data(), shape_, detail::contiguous_strides<Rank>(shape_), {}); }
  operator View() & { return view(); }
  operator ConstView() const { return view(); }
  /// @}

  /// The first element; the others follow in row-major order.
  T* data() { return data_.data(); }
  const T* data() const { return data_.data(); }
  const Shape<Rank>& shape() const { return shape_; }
  /// Of one axis; error where it is not one of 0 … rank - 1.
  Index size(AnyIndex axis) const { return view().size(axis); }
  /// Number of elements.
  Index numel() const { return static_cast<Index>(data_.size()); }
  bool empty() const { return data_.empty(); }
  /// The elements in row-major order.
  T* begin() & { return data_.begin(); }
  T* end() & { return data_.end(); }
  const T* begin() const& { return data_.begin(); }
  const T* end() const& { return data_.end(); }
  /// The elements in row-major order, where they lie. @{
  std::span<T> span() & { return {data_.data(), data_.size()}; }
  std::span<const T> span() const& { return {data_.data(), data_.size()}; }
  /// @}
  /// A copy of the elements, in row-major order.
  std::vector<T> to_vector() const { return {data_.begin(), data_.end()}; }

  /// One element, an index for each axis; not checked. @{
  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) T& operator()(Indices... i) {
    return view()(i...);
  }
  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) const T& operator()(Indices... i) const {
    return view()(i...);
    /// @}
  }
  /// One element; Error where an index is beyond its axis. @{
  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) T& at(Indices... i) {
    return view().at(i...);
  }
  template <std::integral... Indices>
  requires(sizeof...(Indices) == static_cast<std::size_t>(Rank)) const T& at(Indices... i) const {
    return view().at(i...);
  }
  /// @}

  /// What a view gives under these names. @{
  decltype(auto) operator[](AnyIndex i) & requires(Rank >= 1) { return view()[i]; }
  decltype(auto) operator[](AnyIndex i) const& requires(Rank >= 1) { return view()[i]; }
  View slice(AnyIndex axis, AnyIndex begin, AnyIndex end) & { return view().slice(axis, begin, end); }
  ConstView slice(AnyIndex axis, AnyIndex begin, AnyIndex end) const& {
    return view().slice(axis, begin, end);
  }
  View transpose(AnyIndex axis_a, AnyIndex axis_b) & { return view().transpose(axis_a, axis_b); }
  ConstView transpose(AnyIndex axis_a, AnyIndex axis_b) const& { return view().transpose(axis_a, axis_b); }
  template <int... Axes>
  requires detail::EachAxisOnce<Rank, Axes...> View permute()
  &{ return view().template permute<Axes...>(); }
  template <int... Axes>
  requires detail::EachAxisOnce<Rank, Axes...> ConstView permute()
  const& { return view().template permute<Axes...>(); }
  template <std::integral... Sizes>
  auto reshape(Sizes... sizes) & {
    return view().reshape(sizes...);
  }
  template <std::integral... Sizes>
  auto reshape(Sizes... sizes) const& {
    return view().reshape(sizes...);
  }
  template <std::size_t Axes>
  auto reshape(const std::array<Index, Axes>& shape) & {
    return view().reshape(shape);
  }
  template <std::size_t Axes>
  auto reshape(const std::array<Index, Axes>& shape) const& {
    return view().reshape(shape);
  }
  TensorView<T, 2> rows() & requires(Rank >= 1) { return view().rows(); }
  TensorView<const T, 2> rows() const& requires(Rank >= 1) { return view().rows(); }
  /// @}
  /// The last two axes at the leading indices, as an Eigen map without strides. Rank 1 is one row. @{
  template <std::integral... Indices, class = detail::Flags>
  requires detail::IndicesOfMatrix<Rank, Indices...> ContiguousMatrixMap<T> matrix(Indices... i)
  &{
    auto map = view().matrix(i...);
    return {map.data(), map.rows(), map.cols()};
  }
  template <std::integral... Indices, class = detail::Flags>
  requires detail::IndicesOfMatrix<Rank, Indices...> ContiguousMatrixMap<const T> matrix(Indices... i)
  const& {
    auto map = view().matrix(i...);
    return {map.data(), map.rows(), map.cols()};
  }
  /// @}

  /// None of a temporary, whose elements would be gone: give it a name first. (As an argument it is a view.)
  /// @{
  void view() const&& = delete;
  void begin() const&& = delete;
  void end() const&& = delete;
  void span() const&& = delete;
  T operator[](AnyIndex i) const&& requires(Rank == 1) { return data_[static_cast<std::size_t>(i.value)]; }
  void operator[](AnyIndex) const&& requires(Rank >= 2) = delete;
  void slice(AnyIndex, AnyIndex, AnyIndex) const&& = delete;
  void transpose(AnyIndex, AnyIndex) const&& = delete;
  template <int...>
  void permute() const&& = delete;
  template <std::integral... Sizes>
  void reshape(Sizes...) const&& = delete;
  template <std::size_t Axes>
  void reshape(const std::array<Index, Axes>&) const&& = delete;
  void rows() const&& = delete;
  template <std::integral... Indices>
  void matrix(Indices...) const&& = delete;
  /// @}

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

  detail::AlignedArray<T> data_;  // first: an assignment that finds no memory changes nothing
  Shape<Rank> shape_;
};

/// Scalar and rank are those of what it is made of. @{
template <class T, int Rank>
Tensor(TensorView<T, Rank>) -> Tensor<std::remove_const_t<T>, Rank>;
template <std::size_t Axes, class Values>
Tensor(std::array<Index, Axes>, const Values&)
    -> Tensor<std::remove_cvref_t<decltype(*std::declval<const Values&>().data())>, static_cast<int>(Axes)>;
template <class Derived>
Tensor(const Eigen::DenseBase<Derived>&) -> Tensor<typename Derived::Scalar, 2>;
/// @}

/// A tensor or a view.
template <class X>
concept TensorLike = requires(const X& x) {
  {x.shape()};
  { X::rank } -> std::convertible_to<int>;
  typename X::Scalar;
};

namespace detail {
template <class X>
inline constexpr bool is_tensor = false;
template <class T, int Rank>
inline constexpr bool is_tensor<Tensor<T, Rank>> = true;
/// X of an argument X&& that is a tensor without a name.
template <class X>
concept TemporaryTensor = is_tensor<std::remove_const_t<X>>;

/// The view of what functions take as a tensor: a view, a tensor, an Eigen matrix in memory. Elements of what
/// is const, or a temporary tensor, are const.
template <class T, int Rank>
TensorView<T, Rank> view_of(const TensorView<T, Rank>& view) {
  return view;
}
template <class T, int Rank>
TensorView<T, Rank> view_of(Tensor<T, Rank>& tensor) {
  return tensor;
}
template <class T, int Rank>
TensorView<const T, Rank> view_of(const Tensor<T, Rank>& tensor) {
  return tensor;
}
template <class M, class Matrix = std::remove_cvref_t<M>>  // of an expression, such as out.transpose(), too
requires EigenInMemory<Matrix, typename Matrix::Scalar>
auto view_of(M&& matrix) {
  constexpr bool lasts =
      std::is_lvalue_reference_v<M> || !std::is_base_of_v<Eigen::PlainObjectBase<Matrix>, Matrix>;
  constexpr bool writes =
      lasts && !std::is_const_v<std::remove_reference_t<M>> && (Matrix::Flags & Eigen::LvalueBit) != 0;
  using Scalar = typename Matrix::Scalar;
  return TensorView<std::conditional_t<writes, Scalar, const Scalar>, 2>(matrix);
}

template <class X>
using ViewOf = decltype(view_of(std::declval<X>()));
/// What has a view of elements of type T, or of mutable ones where T is const.
template <class X, class T>
concept Viewable = requires(X&& x) {
  view_of(std::forward<X>(x));
}
&&std::is_convertible_v<typename ViewOf<X>::Element (*)[], T (*)[]>;

/// Calls f(a, b) with elements at the same indices, in row-major order.
template <class A, class B, int Rank, class F>
void for_each_pair(const TensorView<A, Rank>& a, const TensorView<B, Rank>& b, const F& f) {
  if constexpr (Rank == 0) {
    f(*a.data(), *b.data());
  } else {
    for (Index i = 0; i < a.size(0); ++i) {
      if constexpr (Rank == 1)
        f(a[i], b[i]);
      else
        for_each_pair(a[i], b[i], f);
    }
  }
}
/// Error where `to`, which is written where `from` is read, is of another shape, or shares elements with it
/// that are not at the same indices, or with itself.
template <class From, class To, int Rank>
void check_copy(const char* who, const TensorView<From, Rank>& from, const TensorView<To, Rank>& to) {
  check_shape(who, to.shape(), from.shape());
  if (overlaps_itself(to))
    throw_error(who, ": elements of a destination of shape ", to.shape(), " overlap each other");
  if (!same_places(from, to) && overlap(from, to)) throw_error(who, ": source and destination overlap");
}
}  // namespace detail

/// The read-only view of a tensor or view.
template <TensorLike X>
TensorView<const typename X::Scalar, X::rank> const_view(const X& x) {
  return x;
}

/// Copies between tensors, views or Eigen's matrices of one shape; the scalars may differ. `to` may be
/// `from`; error where they overlap otherwise, or elements of `to` each other.
template <class From, class To>
requires(detail::ViewOf<const From&>::rank == detail::ViewOf<To>::rank) void copy(const From& from, To&& to) {
  using Scalar = typename detail::ViewOf<To>::Element;
  const auto source = detail::view_of(from);
  const auto destination = detail::view_of(std::forward<To>(to));
  detail::check_copy("copy", source, destination);
  detail::for_each_pair(source, destination, [](const auto& x, Scalar& y) { y = static_cast<Scalar>(x); });
}

/// to += from, element by element, of one shape. `from` may be `to`, but not overlap it otherwise.
template <class To, TensorLike From>
requires detail::Viewable<To, typename From::Scalar> To && operator+=(To&& to, const From& from) {
  const auto sum = detail::view_of(std::forward<To>(to));
  const auto summand = const_view(from);
  detail::check_copy("Tensor +=", summand, sum);
  detail::for_each_pair(summand, sum, [](const auto& x, auto& y) { y = y + x; });
  return std::forward<To>(to);
}

/// Whether all elements are equal, as their scalar says; false where the shapes differ.
template <TensorLike A, TensorLike B>
requires(A::rank == B::rank && std::is_same_v<typename A::Scalar, typename B::Scalar>) bool operator==(
    const A& a, const B& b) {
  bool equal = a.shape() == b.shape();
  if (equal)
    detail::for_each_pair(const_view(a), const_view(b),
                          [&](const auto& x, const auto& y) { equal = equal && x == y; });
  return equal;
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
/// The same of a tensor.
template <class T, int Rank>
std::ostream& operator<<(std::ostream& out, const Tensor<T, Rank>& t) {
  return out << t.view();
}

}  // namespace attend::inline ATTEND_ABI
