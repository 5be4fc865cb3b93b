// Where the elements of a view lie: whether its rows are evenly spaced, and whether two views share an
// element.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// The leading axes of a view as one: `count` rows that begin `stride` elements apart. Axes of size 1 take no
/// part, and a stride of 0 (a broadcast) is a spacing like any other.
struct RowSpacing {
  Index count = 1;
  Index stride = 0;
  bool even = true;
};
inline RowSpacing row_spacing(std::span<const Index> shape, std::span<const Index> strides) {
  RowSpacing rows;
  bool known = false;
  for (std::size_t i = shape.size() - 1; i-- > 0;) {
    if (shape[i] == 1) continue;
    if (!known) rows.stride = strides[i];
    if (known && strides[i] != rows.stride * rows.count) rows.even = false;
    known = true;
    rows.count *= shape[i];
  }
  if (!known) rows.stride = shape.back();
  if (rows.count == 0 || shape.back() == 0) rows.even = true, rows.stride = 0;  // nothing to read
  return rows;
}

/// The memory of a view, for the time of a check. The bytes [begin, end) reach from its first element to its
/// last; they are none of a view without elements or data.
struct Layout {
  static constexpr std::size_t kMostAxes = 16;

  const void* data;
  std::span<const Index> shape, strides;
  Index element;  // bytes
  std::intptr_t begin, end;
  bool in_order = true;  // each axis steps over all that those behind it reach, as it mostly is

  template <class View>
  requires(requires(const View& v) { v.strides(); }) Layout(const View& view)
      : Layout(view.data(), view.shape(), view.strides(), sizeof(typename View::Element)) {
    static_assert(View::rank <= static_cast<int>(kMostAxes));
  }
  // Out of line: every check of operands makes some.
  ATTEND_OUT_OF_LINE Layout(const void* at, std::span<const Index> sizes, std::span<const Index> steps,
                            std::size_t bytes)
      : data(at),
        shape(sizes),
        strides(steps),
        element(static_cast<Index>(bytes)),
        begin(reinterpret_cast<std::intptr_t>(at)),
        end(begin) {
    if (at == nullptr) return;
    Index low = 0, high = 0;  // of the elements that were met so far
    bool empty = false;
    for (std::size_t i = shape.size(); i-- > 0;) {
      const Index size = shape[i], stride = strides[i];
      empty = empty || size == 0;
      in_order = in_order && (size == 1 || stride > high);
      (stride < 0 ? low : high) += (size - 1) * stride;
    }
    if (empty) return;
    begin += low * element, end += (high + 1) * element;
  }
};

/// Axes of a view that lead to different elements, the shortest stride (in bytes, without its sign) first.
struct SortedAxes {
  static constexpr std::size_t kMost = Layout::kMostAxes;
  std::array<Index, kMost> size, stride;
  std::size_t count = 0;

  explicit SortedAxes(const Layout& view) {
    for (std::size_t i = 0; i < view.shape.size(); ++i) {
      if (view.shape[i] == 1) continue;
      const Index bytes = (view.strides[i] < 0 ? -view.strides[i] : view.strides[i]) * view.element;
      std::size_t at = count++;
      for (; at > 0 && stride[at - 1] > bytes; --at) size[at] = size[at - 1], stride[at] = stride[at - 1];
      size[at] = view.shape[i], stride[at] = bytes;
    }
  }
};

/// Whether an element of the view is another one of it, too: an axis steps by less than those inside it
/// reach.
ATTEND_OUT_OF_LINE inline bool has_short_steps(const Layout& view) {
  const SortedAxes axes(view);
  Index reach = view.element;
  for (std::size_t i = 0; i < axes.count; ++i) {
    if (axes.stride[i] < reach) return true;
    reach += (axes.size[i] - 1) * axes.stride[i];
  }
  return false;
}
inline bool overlaps_itself(const Layout& view) {
  return !view.in_order && view.begin < view.end && has_short_steps(view);
}

/// Rows of `width` bytes that begin `stride` bytes apart: exactly the memory of a view whose axes merge into
/// such rows (columns of a buffer, heads of such columns), else all of its range.
struct ByteRows {
  std::intptr_t begin;
  Index count = 1, stride = 0, width;

  explicit ByteRows(const Layout& view) : begin(view.begin), width(view.element) {
    const SortedAxes axes(view);
    std::size_t i = 0;
    for (; i < axes.count && axes.stride[i] <= width; ++i) width += (axes.size[i] - 1) * axes.stride[i];
    if (i < axes.count) count = axes.size[i], stride = axes.stride[i], ++i;
    for (; i < axes.count; ++i) {
      if (axes.stride[i] != stride * count) {
        count = 1, stride = 0, width = view.end - view.begin;
        return;
      }
      count *= axes.size[i];
    }
  }
};

/// Whether low < k * stride < high for a k in [first, last]. stride >= 0.
inline bool multiple_between(Index first, Index last, Index stride, Index low, Index high) {
  if (stride == 0) return low < 0 && 0 < high && first <= last;
  const Index above =
      low >= 0 ? low / stride + 1 : -((-low + stride - 1) / stride) + 1;  // the least k beyond low
  const Index k = first > above ? first : above;
  return k <= last && k * stride < high;
}

/// Whether views whose ranges overlap share a byte.
ATTEND_OUT_OF_LINE inline bool rows_overlap(const Layout& a, const Layout& b) {
  ByteRows few(a), many(b);
  if (few.count > many.count) std::swap(few, many);
  // Rows [f, f + v) and [m, m + w) meet where f - m - w < 0 < f - m + v. Row j of `many` begins j strides
  // behind m; where `few` has the same stride, only how much j is ahead of its row's number matters.
  const Index apart = few.begin - many.begin;
  if (few.stride == many.stride)
    return multiple_between(1 - few.count, many.count - 1, many.stride, apart - many.width,
                            apart + few.width);
  for (Index i = 0; i < few.count; ++i)
    if (multiple_between(0, many.count - 1, many.stride, apart + i * few.stride - many.width,
                         apart + i * few.stride + few.width))
      return true;
  return false;
}

/// Whether two views share a byte: exact for evenly spaced rows, by range for views that are not.
inline bool overlap(const Layout& a, const Layout& b) {
  return a.begin < b.end && b.begin < a.end && a.begin < a.end && b.begin < b.end && rows_overlap(a, b);
}

/// Whether two views of one rank are the same elements at the same places.
template <class A, class B>
bool same_places(const A& a, const B& b) {
  bool same = static_cast<const void*>(a.data()) == static_cast<const void*>(b.data()) &&
              std::is_same_v<typename A::Scalar, typename B::Scalar>;
  for (std::size_t i = 0; i < a.shape().size(); ++i)
    same = same && a.shape()[i] == b.shape()[i] && (a.shape()[i] == 1 || a.strides()[i] == b.strides()[i]);
  return same;
}

}  // namespace attend::inline ATTEND_ABI::detail
