// What masks are made of: expressions that say of (batch, head, query, key) whether it takes part, and may
// add a number to its score. mask.hpp has the functions that make them.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

#include <attend/attention_sizes.hpp>
#include <attend/core/index_list.hpp>
#include <attend/core/scalar.hpp>
#include <attend/kernel/calls.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

using kernel::Extent;

namespace detail {
template <class Scalar>
constexpr std::string_view find_scalar_name() {
#if defined(__GNUC__)
  std::string_view name = __PRETTY_FUNCTION__;  // … [with Scalar = float; …] or … [Scalar = float]
  name.remove_prefix(name.find("Scalar = ") + 9);
  return name.substr(0, name.find_first_of(";]"));
#else
  return __FUNCSIG__;
#endif
}
template <class Scalar>
inline constexpr std::string_view scalar_name = find_scalar_name<Scalar>();
}  // namespace detail

/// Which corner of the [queries, keys] rectangle the diagonal of a causal mask or window starts from, where
/// the two differ. top_left: query i has position i. bottom_right: the last query has the position of the
/// last key, as when the first keys come from a cache.
enum class Corner { top_left, bottom_right };

class Mask;

namespace masks {

/// Base of every mask expression: the answers of one that knows nothing beforehand.
struct Expression {
  static constexpr bool adds = false;  // whether `add` does anything
  /// Adds to 16 scores, of keys k0 … k0 + 15, of which those from `keys` on are not looked at. They are of
  /// the type that `bind` was told.
  void add(void* /*scores*/, Index, Index, Index, Index /*k0*/, Index /*keys*/) const {}
  /// Gets the sizes at the start of each call: here is an expression to check them, by throw_error.
  void bind(const AttentionSizes&) {}
  /// Whether numbers that it adds lie where a call writes.
  bool overlaps(const detail::Layout&) const { return false; }
  /// Which keys in [k0, k1) any query in [q0, q1) sees, as an interval, and whether all of them see all of
  /// it.
  Extent block(Index, Index, Index, Index, Index k0, Index k1) const { return {k0, k1, false}; }
  /// Which keys in [k0, k1) one query sees.
  Extent row(Index, Index, Index, Index k0, Index k1) const { return {k0, k1, false}; }
};

template <class M>
concept Maskable = std::derived_from<M, Expression>;

/// [begin, end) as far as it lies in [k0, k1).
inline Extent clip(Index begin, Index end, Index k0, Index k1) {
  begin = (std::max)(begin, k0);
  end = (std::min)(end, k1);
  return begin < end ? Extent{begin, end, true} : Extent{k0, k0, true};
}

struct All : Expression {
  bool operator()(Index, Index, Index, Index) const { return true; }
  Extent block(Index, Index, Index, Index, Index k0, Index k1) const { return {k0, k1, true}; }
  Extent row(Index, Index, Index, Index k0, Index k1) const { return {k0, k1, true}; }
};

/// Keys from position - left to position + right; a negative bound means no bound. Any number may be given:
/// what lies beyond the keys is beyond them by however much.
struct Band : Expression {
  Index left = -1, right = -1;
  Corner corner = Corner::top_left;
  Index start = 0;  // position of query 0 under top_left
  AttentionSizes sizes = {};

  void bind(const AttentionSizes& s) { sizes = s; }
  bool operator()(Index b, Index, Index q, Index k) const { return k >= begin(b, q) && k < end(b, q); }
  ATTEND_OUT_OF_LINE Extent row(Index b, Index, Index q, Index k0, Index k1) const {
    return clip(begin(b, q), end(b, q), k0, k1);
  }
  std::uint32_t bits(Index b, Index h, Index q, Index k0, Index keys) const {
    const Extent seen = row(b, h, q, k0, (std::min)(k0 + 16, keys));
    return (1u << (seen.end - k0)) - (1u << (seen.begin - k0));
  }
  Extent block(Index b, Index h, Index q0, Index q1, Index k0, Index k1) const {
    const Extent first = row(b, h, q0, k0, k1), last = row(b, h, q1 - 1, k0, k1);
    const bool same = first.begin == last.begin && first.end == last.end && first.begin < first.end;
    Extent all = clip(begin(b, q0), end(b, q1 - 1), k0, k1);
    all.full = same;
    return all;
  }

 private:
  /// Of the query among the keys where `start` is 0. It is small, and so what saturates stays beyond all
  /// keys.
  Index position(Index b, Index q) const {
    return q + (corner == Corner::bottom_right ? sizes.key_count(b) - sizes.query_count(b) : 0);
  }
  Index begin(Index b, Index q) const {
    if (left < 0) return (std::numeric_limits<Index>::min)();
    return detail::saturating_add(position(b, q), detail::saturating_sub(start, left));
  }
  Index end(Index b, Index q) const {
    if (right < 0) return (std::numeric_limits<Index>::max)();
    return detail::saturating_add(
        detail::saturating_add(position(b, q), detail::saturating_add(start, right)), 1);
  }
};

/// Keys below a number: of each batch, or of all (none where it is negative).
struct Lengths : Expression {
  IndexList lengths;
  bool each = false;  // batch has its own
  Index same = 0;     // that of all, else

  void bind(const AttentionSizes& s) {
    if (!each) return;
    const Index count = static_cast<Index>(lengths.size());
    if (count != s.batch) detail::fail_shape("lengths", to_string(Shape<1>{s.batch}), Shape<1>{count});
    for (Index b = 0; b < count; ++b)
      if (length(b) < 0 || length(b) > s.keys)
        throw_error("lengths: sequence ", b, " has length ", length(b), ", expected 0 to ", s.keys, " keys");
  }
  Index length(Index b) const { return each ? lengths[static_cast<std::size_t>(b)] : same; }
  bool operator()(Index b, Index, Index, Index k) const { return k < length(b); }
  Extent row(Index b, Index, Index, Index k0, Index k1) const { return clip(k0, length(b), k0, k1); }
  Extent block(Index b, Index, Index, Index, Index k0, Index k1) const { return clip(k0, length(b), k0, k1); }
};

/// Queries and keys of the same segment.
struct Segments : Expression {
  TensorView<const std::int32_t, 2> query_segments, key_segments;  // [B or 1, Tq], [B or 1, Tk]

  void bind(const AttentionSizes& s) {
    check_ids(query_segments, s.batch, s.queries, "segments (queries)");
    check_ids(key_segments, s.batch, s.keys, "segments (keys)");
  }
  bool operator()(Index b, Index, Index q, Index k) const {
    return query_segments(query_segments.size(0) == 1 ? 0 : b, q) ==
           key_segments(key_segments.size(0) == 1 ? 0 : b, k);
  }

 private:
  static void check_ids(const TensorView<const std::int32_t, 2>& ids, Index batch, Index tokens,
                        const char* who) {
    if ((ids.size(0) != batch && ids.size(0) != 1) || ids.size(1) != tokens)
      detail::fail_shape(who, to_string(Shape<2>{batch, tokens}), ids.shape());
  }
};

/// Keys that are not padding.
template <class T>
struct KeyPadding : Expression {
  TensorView<const T, 2> padding;  // [B, Tk]

  void bind(const AttentionSizes& s) {
    detail::check_shape("key_padding_mask", Shape<2>{s.batch, s.keys}, padding.shape());
  }
  bool operator()(Index b, Index, Index, Index k) const { return !padding(b, k); }
};

/// A tensor of truth values of any shape that broadcasts to [B, H, Tq, Tk].
template <class T>
struct Boolean : Expression {
  const T* data = nullptr;
  Shape<4> shape{1, 1, 1, 1};
  Shape<4> strides{};

  void bind(const AttentionSizes& s) {
    const Shape<4> full{s.batch, s.heads, s.queries, s.keys};
    for (std::size_t i = 0; i < 4; ++i) {
      if (shape[i] != full[i] && shape[i] != 1)
        detail::fail_shape("mask", "a shape that broadcasts to " + to_string(full), shape);
      if (shape[i] == 1) strides[i] = 0;
    }
  }
  bool operator()(Index b, Index h, Index q, Index k) const {
    return static_cast<bool>(data[b * strides[0] + h * strides[1] + q * strides[2] + k * strides[3]]);
  }
};

/// A tensor of numbers of any shape that broadcasts to [B, H, Tq, Tk]. A last axis shorter than the keys (but
/// of more than one) hides those behind its end.
template <class T>
struct Additive : Expression {
  static_assert(detail::check_scalar<T>());
  static constexpr bool adds = true;
  const T* data = nullptr;
  Shape<4> shape{1, 1, 1, 1};
  Shape<4> strides{};
  Index end = 0;  // keys that have a number

  void bind(const AttentionSizes& s) {
    if (s.scalar != nullptr && *s.scalar != detail::scalar_name<T>)
      throw_error("additive mask of ", detail::scalar_name<T>, " in an attention of ", *s.scalar);
    const Shape<4> full{s.batch, s.heads, s.queries, s.keys};
    for (std::size_t i = 0; i < 4; ++i) {
      const Index n = shape[i];
      if (n != 1 && (i == 3 ? n > full[i] : n != full[i]))
        detail::fail_shape("additive mask", "a shape that broadcasts to " + to_string(full), shape);
      if (n == 1) strides[i] = 0;
    }
    end = shape[3] == 1 ? s.keys : shape[3];
  }
  bool overlaps(const detail::Layout& written) const {
    return detail::overlap(TensorView<const T, 4>(data, shape, strides), written);
  }
  bool operator()(Index b, Index h, Index q, Index k) const {
    return k < end && !hides(at(b, h, q)[k * strides[3]]);
  }
  void add(void* scores, Index b, Index h, Index q, Index k0, Index keys) const {
    T* s = static_cast<T*>(scores);
    const T* numbers = at(b, h, q) + k0 * strides[3];
    if (strides[3] == 1 && k0 + 16 <= (std::min)(keys, end)) {
      for (Index j = 0; j < 16; ++j) s[j] = s[j] + (hides(numbers[j]) ? T(0) : numbers[j]);
    } else {
      for (Index j = 0; j < 16 && k0 + j < (std::min)(keys, end); ++j)
        if (!hides(numbers[j * strides[3]])) s[j] = s[j] + numbers[j * strides[3]];
    }
  }
  /// Exact: numbers that are all finite, or -inf just at the ends, cost no question key by key.
  Extent row(Index b, Index h, Index q, Index k0, Index k1) const {
    const T* numbers = at(b, h, q);
    const Index last = (std::min)(k1, end);
    Index hidden = count_hidden(numbers, k0, last), first = k0, behind = last;
    if (hidden == std::max<Index>(last - k0, 0)) return {k0, k0, true};
    for (; hides(numbers[first * strides[3]]); ++first) --hidden;
    for (; hides(numbers[(behind - 1) * strides[3]]); --behind) --hidden;
    return {first, behind, hidden == 0};
  }
  /// Just whether the block is empty, which its first rows tell where it is not; or all where they are one.
  Extent block(Index b, Index h, Index q0, Index q1, Index k0, Index k1) const {
    if (strides[2] == 0) return row(b, h, q0, k0, k1);
    for (Index q = q0; q < q1; ++q)
      if (const Extent e = row(b, h, q, k0, k1); e.begin < e.end) return {k0, (std::min)(k1, end), false};
    return {k0, k0, true};
  }

 private:
  static bool hides(const T& number) { return number == -std::numeric_limits<T>::infinity(); }
  const T* at(Index b, Index h, Index q) const {
    return data + b * strides[0] + h * strides[1] + q * strides[2];
  }
  Index count_hidden(const T* numbers, Index k0, Index k1) const {
    Index k = k0, hidden = 0;
    if (strides[3] == 1)
      for (; k + 16 <= k1; k += 16) {
        std::int32_t some = 0;
        for (Index j = 0; j < 16; ++j) some += hides(numbers[k + j]) ? 1 : 0;
        hidden += some;
      }
    for (; k < k1; ++k) hidden += hides(numbers[k * strides[3]]) ? 1 : 0;
    return hidden;
  }
};

/// Pairs of blocks that see each other: entry (q / size, k / size).
template <class T>
struct Blocks : Expression {
  TensorView<const T, 2> visible;  // [ceil(Tq / size), ceil(Tk / size)]
  Index size = 1;

  void bind(const AttentionSizes& s) {
    const auto count = [this](Index tokens) { return tokens / size + (tokens % size != 0 ? 1 : 0); };
    detail::check_shape("blocks", Shape<2>{count(s.queries), count(s.keys)}, visible.shape());
  }
  bool operator()(Index, Index, Index q, Index k) const {
    return static_cast<bool>(visible(q / size, k / size));
  }
  Extent row(Index b, Index h, Index q, Index k0, Index k1) const { return block(b, h, q, q + 1, k0, k1); }
  Extent block(Index, Index, Index q0, Index q1, Index k0, Index k1) const {
    Extent all{k1, k0, true};
    for (Index i = q0 / size; i * size < q1; ++i)
      for (Index j = k0 / size; j * size < k1; ++j) {
        if (!visible(i, j)) {
          all.full = false;
        } else {
          all.begin = (std::min)(all.begin, (std::max)(k0, j * size));
          all.end = (std::max)(all.end, (std::min)(k1, (j + 1) * size));
        }
      }
    return all.begin < all.end ? all : Extent{k0, k0, true};
  }
};

template <class F>
struct Predicate : Expression {
  [[no_unique_address]] F visible;
  explicit Predicate(F f) : visible(std::move(f)) {}
  bool operator()(Index b, Index h, Index q, Index k) const { return visible(b, h, q, k); }
};

/// What two masks, of which each says an extent, say together: keys that both see.
inline Extent both(const Extent& x, const Extent& y, Index k0) {
  const Index begin = (std::max)(x.begin, y.begin), end = (std::min)(x.end, y.end);
  return begin < end ? Extent{begin, end, x.full && y.full} : Extent{k0, k0, true};
}
/// The same of keys that one of them sees.
inline Extent either(const Extent& x, const Extent& y) {
  if (x.begin >= x.end) return y;
  if (y.begin >= y.end) return x;
  const Extent all{(std::min)(x.begin, y.begin), (std::max)(x.end, y.end), false};
  const auto covers = [&](const Extent& e) { return e.full && e.begin == all.begin && e.end == all.end; };
  const bool joined = x.full && y.full && x.begin <= y.end && y.begin <= x.end;
  return {all.begin, all.end, covers(x) || covers(y) || joined};
}

/// The one or the other.
ATTEND_OUT_OF_LINE inline Extent join(bool conjunction, const Extent& x, const Extent& y, Index k0) {
  return conjunction ? both(x, y, k0) : either(x, y);
}

/// a & b, or a | b.
template <Maskable A, Maskable B, bool Conjunction>
struct Joined : Expression {
  static constexpr bool adds = A::adds || B::adds;
  A a;
  B b;
  Joined(A x, B y) : a(x), b(y) {}
  void bind(const AttentionSizes& s) { a.bind(s), b.bind(s); }
  bool overlaps(const detail::Layout& written) const { return a.overlaps(written) || b.overlaps(written); }
  void add(void* scores, Index batch, Index h, Index q, Index k0, Index keys) const {
    a.add(scores, batch, h, q, k0, keys), b.add(scores, batch, h, q, k0, keys);
  }
  bool operator()(Index batch, Index h, Index q, Index k) const {
    return Conjunction ? a(batch, h, q, k) && b(batch, h, q, k) : a(batch, h, q, k) || b(batch, h, q, k);
  }
  Extent row(Index batch, Index h, Index q, Index k0, Index k1) const {
    return join(Conjunction, a.row(batch, h, q, k0, k1), b.row(batch, h, q, k0, k1), k0);
  }
  Extent block(Index batch, Index h, Index q0, Index q1, Index k0, Index k1) const {
    return join(Conjunction, a.block(batch, h, q0, q1, k0, k1), b.block(batch, h, q0, q1, k0, k1), k0);
  }
};

/// What both see.
template <Maskable A, Maskable B>
requires(!std::same_as<A, Mask> && !std::same_as<B, Mask>) Joined<A, B, true>
operator&(const A& a, const B& b) { return {a, b}; }
/// What one of them sees.
template <Maskable A, Maskable B>
requires(!std::same_as<A, Mask> && !std::same_as<B, Mask>) Joined<A, B, false>
operator|(const A& a, const B& b) { return {a, b}; }

}  // namespace masks

}  // namespace attend::inline ATTEND_ABI
