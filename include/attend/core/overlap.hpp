// Where the elements of a view lie: whether its rows are evenly spaced, and whether two views share an element.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <attend/core/shape.hpp>

namespace attend::detail {

/// The leading axes of a view as one: `count` rows that begin `stride` elements apart. Axes of size 1 take no part,
/// and a stride of 0 (a broadcast) is a spacing like any other.
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
  if (rows.count == 0 || shape.back() == 0) rows.even = true;  // nothing to read
  return rows;
}

/// The memory of a view, for the time of a check.
struct Layout {
  const void* data;
  std::span<const Index> shape, strides;
  Index element;  // bytes

  template <class View>
    requires(requires(const View& v) { v.strides(); })
  Layout(const View& view)
      : data(view.data()), shape(view.shape()), strides(view.strides()), element(sizeof(typename View::Element)) {}
};

/// The bytes [begin, end) from the first element of a view to its last; nothing of a view without elements or data.
struct ByteRange {
  std::intptr_t begin = 0, end = 0;
};
inline ByteRange byte_range(const Layout& view) {
  if (view.data == nullptr) return {};
  std::intptr_t begin = reinterpret_cast<std::intptr_t>(view.data), end = begin + view.element;
  for (std::size_t i = 0; i < view.shape.size(); ++i) {
    if (view.shape[i] == 0) return {};
    const Index reach = (view.shape[i] - 1) * view.strides[i] * view.element;
    (reach < 0 ? begin : end) += reach;
  }
  return {begin, end};
}

/// Axes of a view that lead to different elements, the shortest stride (in bytes, without its sign) first.
struct SortedAxes {
  static constexpr std::size_t kMost = 8;
  std::array<Index, kMost> size, stride;
  std::size_t count = 0;

  explicit SortedAxes(const Layout& view) {
    for (std::size_t i = 0; i < view.shape.size() && count < kMost; ++i) {
      if (view.shape[i] == 1) continue;
      const Index bytes = (view.strides[i] < 0 ? -view.strides[i] : view.strides[i]) * view.element;
      std::size_t at = count++;
      for (; at > 0 && stride[at - 1] > bytes; --at) size[at] = size[at - 1], stride[at] = stride[at - 1];
      size[at] = view.shape[i], stride[at] = bytes;
    }
  }
};

/// Whether an element of the view is another one of it, too: an axis steps by less than those inside it reach.
inline bool overlaps_itself(const Layout& view) {
  Index reach = 1;
  bool in_order = true;  // as axes mostly are, which spares sorting them
  for (std::size_t i = view.shape.size(); i-- > 0;) {
    if (view.shape[i] == 0) return false;
    if (view.shape[i] == 1) continue;
    in_order = in_order && view.strides[i] >= reach;
    reach += (view.shape[i] - 1) * view.strides[i];
  }
  if (in_order) return false;
  const SortedAxes axes(view);
  reach = view.element;
  for (std::size_t i = 0; i < axes.count; ++i) {
    if (axes.stride[i] < reach) return true;
    reach += (axes.size[i] - 1) * axes.stride[i];
  }
  return false;
}

/// Rows of `width` bytes that begin `stride` bytes apart: exactly the memory of a view whose axes merge into such rows
/// (columns of a buffer, heads of such columns), else all of its range.
struct ByteRows {
  std::intptr_t begin;
  Index count = 1, stride = 0, width;

  explicit ByteRows(const Layout& view) : begin(byte_range(view).begin), width(view.element) {
    const SortedAxes axes(view);
    std::size_t i = 0;
    for (; i < axes.count && axes.stride[i] <= width; ++i) width += (axes.size[i] - 1) * axes.stride[i];
    if (i < axes.count) count = axes.size[i], stride = axes.stride[i], ++i;
    for (; i < axes.count; ++i) {
      if (axes.stride[i] != stride * count) {
        *this = ByteRows(byte_range(view));
        return;
      }
      count *= axes.size[i];
    }
  }

 private:
  explicit ByteRows(const ByteRange& range) : begin(range.begin), width(range.end - range.begin) {}
};

/// Whether low < k * stride < high for a k in [first, last]. stride >= 0.
inline bool multiple_between(Index first, Index last, Index stride, Index low, Index high) {
  if (stride == 0) return low < 0 && 0 < high && first <= last;
  const Index above = low >= 0 ? low / stride + 1 : -((-low + stride - 1) / stride) + 1;  // the least k beyond low
  const Index k = std::max(first, above);
  return k <= last && k * stride < high;
}

/// Whether two views share a byte: exact for evenly spaced rows, by range for views that are not.
inline bool overlap(const Layout& a, const Layout& b) {
  const ByteRange of_a = byte_range(a), of_b = byte_range(b);
  if (of_a.end <= of_b.begin || of_b.end <= of_a.begin || of_a.begin == of_a.end || of_b.begin == of_b.end) return false;
  ByteRows few(a), many(b);
  if (few.count > many.count) std::swap(few, many);
  // Rows [f, f + v) and [m, m + w) meet where f - m - w < 0 < f - m + v. Row j of `many` begins j strides behind m; where
  // `few` has the same stride, only how much j is ahead of its row's number matters.
  const Index apart = static_cast<Index>(few.begin - many.begin);
  if (few.stride == many.stride)
    return multiple_between(1 - few.count, many.count - 1, many.stride, apart - many.width, apart + few.width);
  for (Index i = 0; i < few.count; ++i)
    if (multiple_between(0, many.count - 1, many.stride, apart + i * few.stride - many.width, apart + i * few.stride + few.width))
      return true;
  return false;
}

/// Whether two views of one shape have each element at the same place.
inline bool same_places(const Layout& a, const Layout& b) {
  bool same = a.data == b.data && a.element == b.element;
  for (std::size_t i = 0; same && i < a.shape.size(); ++i)
    same = a.shape[i] == b.shape[i] && (a.shape[i] == 1 || a.strides[i] == b.strides[i]);
  return same;
}

}  // namespace attend::detail
