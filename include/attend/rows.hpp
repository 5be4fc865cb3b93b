// Rows: what every layer that works row by row takes, and the checks at the boundary of a layer.
#pragma once

#include <array>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include <attend/core/context.hpp>
#include <attend/core/flags.hpp>
#include <attend/core/overlap.hpp>
#include <attend/core/parameter.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
/// What Rows are but for their data: one for all scalars.
class RowsShape {
 public:
  static constexpr std::size_t kMaxRank = 8;  // axes that it takes

  Index count() const { return count_; }    // Number of rows.
  Index width() const { return width_; }    // Elements of a row.
  Index stride() const { return stride_; }  // Elements from a row to the next.
  bool empty() const { return count_ == 0 || width_ == 0; }
  /// The shape that the rows came with.
  std::span<const Index> shape() const { return {shape_.data(), rank_}; }
  /// All of it but the last size.
  std::span<const Index> leading() const { return {shape_.data(), rank_ > 0 ? rank_ - 1 : 0}; }

  /// Error of `who` where the view was none of rows of `width` elements.
  void check_input(const char* who, Index width) const {
    if (width_ != width || rank_ == 0) fail_width(who, width);
    if (fault_ != Fault::none) fail_fault(who);
  }
  /// The same of an output, whose shape is [leading…, width] and whose rows do not overlap each other.
  ATTEND_OUT_OF_LINE void check_output(const char* who, std::span<const Index> leading_sizes,
                                       Index width) const {
    bool fits = width_ == width && rank_ == leading_sizes.size() + 1;
    for (std::size_t i = 0; fits && i + 1 < rank_; ++i) fits = shape_[i] == leading_sizes[i];
    if (!fits) fail_output(who, leading_sizes, width);
    if (fault_ != Fault::none) fail_fault(who);
    if (count_ > 1 && (stride_ < 0 ? -stride_ : stride_) < width_) fail_rows(who);
  }

 protected:
  RowsShape() = default;
  ATTEND_OUT_OF_LINE RowsShape(const Index* shape, const Index* strides, std::size_t rank)
      : width_(shape[rank - 1]), rank_(rank) {
    for (std::size_t i = 0; i < rank; ++i) shape_[i] = shape[i];
    const RowSpacing rows = row_spacing({shape, rank}, {strides, rank});
    count_ = rows.count, stride_ = rows.stride;
    const bool contiguous = width_ <= 1 || strides[rank - 1] == 1 || count_ == 0;
    const bool turned = rank == 2 && strides[0] == 1;  // a column-major matrix
    fault_ = !contiguous ? (turned ? Fault::turned : Fault::gaps) : !rows.even ? Fault::uneven : Fault::none;
  }

 private:
  enum class Fault : unsigned char { none, gaps, turned, uneven };

  [[noreturn]] ATTEND_COLD void fail_width(const char* who, Index width) const {
    throw_error(who, ": expected [..., ", width, "], got ", shape());
  }
  [[noreturn]] ATTEND_COLD void fail_fault(const char* who) const {
    const char* const kCopy = "; copy it first, by Tensor(view) or attend::copy";
    const char* const kView = ": in a view of shape ";
    if (fault_ == Fault::turned)
      throw_error(who, kView, shape(),
                  " the last axis must be contiguous, but the matrix is column-major: copy it, by "
                  "Tensor(matrix), or pass matrix.transpose() where its columns are the rows that are meant");
    if (fault_ == Fault::gaps) throw_error(who, kView, shape(), " the last axis must be contiguous", kCopy);
    throw_error(who, kView, shape(), " the leading axes are not evenly spaced", kCopy);
  }
  [[noreturn]] ATTEND_COLD void fail_output(const char* who, std::span<const Index> leading_sizes,
                                            Index width) const {
    std::vector<Index> expected(leading_sizes.begin(), leading_sizes.end());
    expected.push_back(width);
    throw_error(who, " (output): expected ", expected, ", got ", shape());
  }
  [[noreturn]] ATTEND_COLD void fail_rows(const char* who) const {
    throw_error(who, ": rows of shape ", shape(), " overlap each other: they are ", stride_,
                " elements apart");
  }

  Index count_ = 0, width_ = 0, stride_ = 0;
  std::size_t rank_ = 0;
  Fault fault_ = Fault::none;
  std::array<Index, kMaxRank> shape_{};
};
}  // namespace detail

/// [..., width] as rows of `width` elements that follow each other, `stride` elements from one row to the
/// next: implicit from tensors and views of any rank up to 8 (one axis is one row) and from Eigen's row-major
/// matrices; T may be const. It refers to their data. The shape stays what it was. Which views are rows is
/// checked by the layer that takes them: the last axis is contiguous and the leading ones are evenly spaced
/// (0, a broadcast, is a spacing of inputs).
template <class T>
class Rows : public detail::RowsShape {
 public:
  using Scalar = std::remove_const_t<T>;

  Rows() = default;
  /// The rows of a tensor, a view or a row-major matrix of Eigen's; Error where they are not evenly spaced.
  template <detail::Viewable<T> X>
  requires(detail::ViewOf<X>::rank >= 1 && detail::ViewOf<X>::rank <= static_cast<int>(kMaxRank)) Rows(X&& x)
      : Rows(detail::view_of(std::forward<X>(x)), 0) {}
  /// The same, for reading.
  Rows(const Rows<Scalar>& other) requires std::is_const_v<T> : RowsShape(other), data_(other.data()) {}

  T* data() const { return data_; }
  T* row(Index r) const { return data_ + r * stride(); }  // Row r; not checked.
  /// The rows as a matrix, without the shape that they came with. [count, width]
  TensorView<T, 2> view() const { return {data_, {count(), width()}, {stride(), 1}, {}}; }

 private:
  template <class U, int Rank>
  Rows(const TensorView<U, Rank>& view, int)
      : RowsShape(view.shape().data(), view.strides().data(), Rank), data_(view.data()) {}

  T* data_ = nullptr;
};

/// [B, T, E], or whatever Rank says, and what has fewer leading axes down to [T, E], which count as 1:
/// PyTorch's layers take a sequence without a batch. Implicit from tensors, views and Eigen's matrices; T may
/// be const.
template <class T, int Rank>
class Batched : public TensorView<T, Rank> {
 public:
  using TensorView<T, Rank>::TensorView;
  /// A tensor, a view or a matrix of Eigen's, with leading axes of size 1 where it has fewer than Rank.
  template <detail::Viewable<T> X>
  requires(detail::ViewOf<X>::rank >= 2 && detail::ViewOf<X>::rank <= Rank) Batched(X&& x)
      : TensorView<T, Rank>(with_leading_axes(detail::view_of(std::forward<X>(x)))) {}

 private:
  template <class U, int Given>
  static TensorView<T, Rank> with_leading_axes(const TensorView<U, Given>& view) {
    Shape<Rank> shape, strides;
    constexpr std::size_t missing = Rank - Given;
    for (std::size_t a = 0; a < shape.size(); ++a) {
      shape[a] = a < missing ? 1 : view.shape()[a - missing];
      strides[a] = a < missing ? 0 : view.strides()[a - missing];
    }
    return {view.data(), shape, strides};
  }
};

namespace detail {
/// What an operator() takes: a tensor, a view or an expression of Eigen's, with elements of type Scalar.
template <class X, class Scalar>
concept LayerInput = (TensorLike<X> ||
                      std::is_base_of_v<Eigen::EigenBase<X>, X>)&&std::is_same_v<typename X::Scalar, Scalar>;
/// The tensor that holds it.
template <class X>
using TensorOf = decltype(Tensor(std::declval<const X&>()));

inline namespace ATTEND_FLAGS {
/// f(view of x), or of a copy where x is no rows: a column-major matrix, an expression, an unevenly spaced
/// view.
template <class X, class F>
auto with_rows(const X& x, const F& f) {
  if constexpr (Viewable<const X&, const typename X::Scalar>) {
    const auto view = view_of(x);
    const bool contiguous = view.empty() || view.shape().back() == 1 || view.strides().back() == 1;
    if (contiguous && row_spacing(view.shape(), view.strides()).even) return f(const_view(view));
  }
  const TensorOf<X> copy(x);
  return f(copy.view());
}
/// A layer's operator(): the new tensor [..., width] that forward(x, out) fills, of x [..., N].
template <class X, class Forward>
TensorOf<X> map_rows(const X& x, Index width, const Forward& forward) {
  return with_rows(x, [&](const auto& rows) {
    auto shape = rows.shape();
    shape.back() = width;
    TensorOf<X> out(shape);
    forward(rows, out);
    return out;
  });
}
}  // namespace ATTEND_FLAGS

/// A view under the name that an error gives it.
struct Operand {
  const char* name;
  Layout layout;
};
[[noreturn]] ATTEND_COLD inline void fail_overlap(const char* who, const char* out, const char* other) {
  if (other == nullptr) throw_error(who, ": elements of ", out, " overlap each other");
  throw_error(who, ": ", out, " overlaps ", other);
}
/// Error where `out` shares an element with an operand, or its elements with each other. Views without data
/// share none.
ATTEND_OUT_OF_LINE inline void check_apart(const Context& context, const char* who, const Operand& out,
                                           std::initializer_list<Operand> others) {
  if (context.measuring() || out.layout.data == nullptr) return;
  if (overlaps_itself(out.layout)) fail_overlap(who, out.name, nullptr);
  for (const Operand& other : others)
    if (overlap(out.layout, other.layout)) fail_overlap(who, out.name, other.name);
}
/// Error where `out` shares an element with x, and is not x itself, or its elements with each other.
ATTEND_OUT_OF_LINE inline void check_in_place(const Context& context, const char* who, const Layout& out,
                                              const Layout& x, bool same) {
  if (context.measuring()) return;
  if (overlaps_itself(out)) fail_overlap(who, "out", nullptr);
  if (!same && overlap(out, x)) fail_overlap(who, "out", "x, which it is not");
}
template <class Out, class X>
void check_in_place(const Context& context, const char* who, const Out& out, const X& x) {
  check_in_place(context, who, out, x, same_places(out, x));
}

/// What layers ask that may write over their input: x [..., width] -> out [..., width], the same view or
/// apart from it.
template <class Scalar>
void check_rows_in_place(const Context& context, const char* who, const Rows<const Scalar>& x,
                         const Rows<Scalar>& out, Index width) {
  x.check_input(who, width);
  out.check_output(who, x.leading(), width);
  check_in_place(context, who, out.view(), x.view());
}

struct FailUnassigned {
  const char* who;
  template <class T>
  ATTEND_COLD void operator()(const std::string& name, const Parameter<T>& parameter) const {
    const Index missing = parameter.unassigned_rows(), rows = parameter.rows();
    if (missing > 0 && missing < rows)
      throw_error(who, ": parameter ", name, " was never assigned in ", missing, " of its ", rows, " rows");
    if (missing > 0) throw_error(who, ": parameter ", name, " was never assigned");
  }
};
/// Error of a layer that has parameters without values.
template <class Layer>
void check_assigned(const Context& context, const char* who, const Layer& layer) {
  if (layer.assigned() || context.measuring()) return;
  const_cast<Layer&>(layer).parameters(FailUnassigned{who});  // which writes nothing
  throw_error(who, ": the layer was made without options, or was moved from");
}
}  // namespace detail

}  // namespace attend::inline ATTEND_ABI
