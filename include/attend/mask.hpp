// What may be seen: masks as values that compose with & and |, and score modifiers.
//
// A mask answers for (batch, head, query, key); true = takes part. Besides that answer, a mask may know of a
// whole row or block of queries which keys are out of question, so that empty tiles cost nothing and full ones
// run unmasked. Masks of the library know it; a callable of yours is asked key by key, 16 at a time, inlined.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include <attend/kernel/calls.hpp>
#include <attend/tensor.hpp>

namespace attend {

using kernel::Extent;

/// Sizes of an attention call, which masks are bound to before it runs.
struct AttentionSizes {
  Index batch = 0, heads = 0, queries = 0, keys = 0;
  const Index* query_offsets = nullptr;  // [B + 1] of a ragged batch, or null
  const Index* key_offsets = nullptr;
  const Index* key_counts = nullptr;  // [B], or null: all `keys`

  Index query_count(Index b) const {
    return query_offsets != nullptr ? query_offsets[b + 1] - query_offsets[b] : queries;
  }
  Index key_count(Index b) const {
    return key_counts != nullptr ? key_counts[b] : key_offsets != nullptr ? key_offsets[b + 1] - key_offsets[b] : keys;
  }
};

/// Which corner of the [queries, keys] rectangle the diagonal of a causal mask or window starts from, where the
/// two differ. top_left: query i has position i. bottom_right: the last query has the position of the last key,
/// as when the first keys come from a cache.
enum class Corner { top_left, bottom_right };

class Mask;

namespace masks {

/// Base of every mask expression: the answers of one that knows nothing beforehand.
struct Expression {
  void bind(const AttentionSizes&) {}
  Extent block(Index, Index, Index, Index, Index k0, Index k1) const { return {k0, k1, false}; }
  Extent row(Index, Index, Index, Index k0, Index k1) const { return {k0, k1, false}; }
};

template <class M>
concept Maskable = std::derived_from<M, Expression>;

inline Extent clip(Index begin, Index end, Index k0, Index k1) {
  begin = std::max(begin, k0);
  end = std::min(end, k1);
  return begin < end ? Extent{begin, end, true} : Extent{k0, k0, true};
}

struct All : Expression {
  bool operator()(Index, Index, Index, Index) const { return true; }
  Extent block(Index, Index, Index, Index, Index k0, Index k1) const { return {k0, k1, true}; }
  Extent row(Index, Index, Index, Index k0, Index k1) const { return {k0, k1, true}; }
};

/// Keys from position - left to position + right; a negative bound means no bound.
struct Band : Expression {
  Index left = -1, right = -1;
  Corner corner = Corner::top_left;
  Index start = 0;  // position of query 0 under top_left
  AttentionSizes sizes = {};

  void bind(const AttentionSizes& s) { sizes = s; }
  Index position(Index b, Index q) const {
    return q + start + (corner == Corner::bottom_right ? sizes.key_count(b) - sizes.query_count(b) : 0);
  }
  bool operator()(Index b, Index, Index q, Index k) const {
    const Index p = position(b, q);
    return (left < 0 || k >= p - left) && (right < 0 || k <= p + right);
  }
  Extent row(Index b, Index, Index q, Index k0, Index k1) const {
    const Index p = position(b, q);
    return clip(left < 0 ? k0 : p - left, right < 0 ? k1 : p + right + 1, k0, k1);
  }
  Extent block(Index b, Index h, Index q0, Index q1, Index k0, Index k1) const {
    const Extent first = row(b, h, q0, k0, k1), last = row(b, h, q1 - 1, k0, k1);
    const bool same = first.begin == last.begin && first.end == last.end && first.begin < first.end;
    const Index p0 = position(b, q0), p1 = position(b, q1 - 1);
    Extent all = clip(left < 0 ? k0 : p0 - left, right < 0 ? k1 : p1 + right + 1, k0, k1);
    all.full = same;
    return all;
  }
};

/// Keys below a number: of each batch, or of all.
struct Lengths : Expression {
  const Index* lengths = nullptr;
  Index count = 0;  // of `lengths`
  Index same = 0;   // where `lengths` is null

  void bind(const AttentionSizes& s) {
    if (lengths != nullptr && count != s.batch)
      fail_shape("lengths", to_string(Shape<1>{s.batch}), Shape<1>{count});
  }
  Index length(Index b) const { return lengths != nullptr ? lengths[b] : same; }
  bool operator()(Index b, Index, Index, Index k) const { return k < length(b); }
  Extent row(Index b, Index, Index, Index k0, Index k1) const { return clip(k0, length(b), k0, k1); }
  Extent block(Index b, Index, Index, Index, Index k0, Index k1) const { return clip(k0, length(b), k0, k1); }
};

/// Queries and keys of the same segment.
struct Segments : Expression {
  TensorView<const std::int32_t, 2> query_segments, key_segments;  // [B or 1, Tq], [B or 1, Tk]

  void bind(const AttentionSizes& s) {
    check(query_segments, s.batch, s.queries, "segments (queries)");
    check(key_segments, s.batch, s.keys, "segments (keys)");
  }
  bool operator()(Index b, Index, Index q, Index k) const {
    return query_segments(query_segments.size(0) == 1 ? 0 : b, q) == key_segments(key_segments.size(0) == 1 ? 0 : b, k);
  }

 private:
  static void check(const TensorView<const std::int32_t, 2>& ids, Index batch, Index tokens, const char* who) {
    if ((ids.size(0) != batch && ids.size(0) != 1) || ids.size(1) != tokens)
      fail_shape(who, to_string(Shape<2>{batch, tokens}), ids.shape());
  }
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
      if (shape[i] != full[i] && shape[i] != 1) fail_shape("mask", "a shape that broadcasts to " + to_string(full), shape);
      if (shape[i] == 1) strides[i] = 0;
    }
  }
  bool operator()(Index b, Index h, Index q, Index k) const {
    return static_cast<bool>(data[b * strides[0] + h * strides[1] + q * strides[2] + k * strides[3]]);
  }
};

/// Pairs of blocks that see each other: entry (q / size, k / size).
template <class T>
struct Blocks : Expression {
  TensorView<const T, 2> visible;  // [ceil(Tq / size), ceil(Tk / size)]
  Index size = 1;

  void bind(const AttentionSizes& s) {
    const Shape<2> expected{(s.queries + size - 1) / size, (s.keys + size - 1) / size};
    check_shape("blocks", expected, visible.shape());
  }
  bool operator()(Index, Index, Index q, Index k) const { return static_cast<bool>(visible(q / size, k / size)); }
  Extent row(Index b, Index h, Index q, Index k0, Index k1) const { return block(b, h, q, q + 1, k0, k1); }
  Extent block(Index, Index, Index q0, Index q1, Index k0, Index k1) const {
    Extent all{k1, k0, true};
    for (Index i = q0 / size; i * size < q1; ++i)
      for (Index j = k0 / size; j * size < k1; ++j) {
        if (!visible(i, j)) {
          all.full = false;
        } else {
          all.begin = std::min(all.begin, std::max(k0, j * size));
          all.end = std::max(all.end, std::min(k1, (j + 1) * size));
        }
      }
    return all.begin < all.end ? all : Extent{k0, k0, true};
  }
};

template <class F>
struct Predicate : Expression {
  F visible;
  explicit Predicate(F f) : visible(std::move(f)) {}
  bool operator()(Index b, Index h, Index q, Index k) const { return visible(b, h, q, k); }
};

/// What two masks together say of keys, of which each says an extent: both must see, or either.
inline Extent both(const Extent& x, const Extent& y, Index k0) {
  const Index begin = std::max(x.begin, y.begin), end = std::min(x.end, y.end);
  return begin < end ? Extent{begin, end, x.full && y.full} : Extent{k0, k0, true};
}
inline Extent either(const Extent& x, const Extent& y) {
  if (x.begin >= x.end) return y;
  if (y.begin >= y.end) return x;
  const Extent all{std::min(x.begin, y.begin), std::max(x.end, y.end), false};
  const auto covers = [&](const Extent& e) { return e.full && e.begin == all.begin && e.end == all.end; };
  const bool joined = x.full && y.full && x.begin <= y.end && y.begin <= x.end;
  return {all.begin, all.end, covers(x) || covers(y) || joined};
}

template <Maskable A, Maskable B>
struct And : Expression {
  A a;
  B b;
  And(A x, B y) : a(x), b(y) {}
  void bind(const AttentionSizes& s) { a.bind(s), b.bind(s); }
  bool operator()(Index batch, Index h, Index q, Index k) const { return a(batch, h, q, k) && b(batch, h, q, k); }
  Extent row(Index batch, Index h, Index q, Index k0, Index k1) const {
    return both(a.row(batch, h, q, k0, k1), b.row(batch, h, q, k0, k1), k0);
  }
  Extent block(Index batch, Index h, Index q0, Index q1, Index k0, Index k1) const {
    return both(a.block(batch, h, q0, q1, k0, k1), b.block(batch, h, q0, q1, k0, k1), k0);
  }
};

template <Maskable A, Maskable B>
struct Or : Expression {
  A a;
  B b;
  Or(A x, B y) : a(x), b(y) {}
  void bind(const AttentionSizes& s) { a.bind(s), b.bind(s); }
  bool operator()(Index batch, Index h, Index q, Index k) const { return a(batch, h, q, k) || b(batch, h, q, k); }
  Extent row(Index batch, Index h, Index q, Index k0, Index k1) const {
    return either(a.row(batch, h, q, k0, k1), b.row(batch, h, q, k0, k1));
  }
  Extent block(Index batch, Index h, Index q0, Index q1, Index k0, Index k1) const {
    return either(a.block(batch, h, q0, q1, k0, k1), b.block(batch, h, q0, q1, k0, k1));
  }
};

template <Maskable A, Maskable B>
  requires(!std::same_as<A, Mask> && !std::same_as<B, Mask>)
And<A, B> operator&(const A& a, const B& b) { return {a, b}; }
template <Maskable A, Maskable B>
  requires(!std::same_as<A, Mask> && !std::same_as<B, Mask>)
Or<A, B> operator|(const A& a, const B& b) { return {a, b}; }

}  // namespace masks

/// Any mask expression, held without heap. Views and pointers inside refer to the caller's data, which must live
/// until the call returns.
class Mask : public masks::Expression {
 public:
  Mask() : Mask(masks::All{}) { functions_ = nullptr; }
  template <masks::Maskable M>
    requires(!std::same_as<M, Mask>)
  Mask(const M& mask) : functions_(&table<M>) {
    static_assert(sizeof(M) <= sizeof(memory_), "the mask (and what its callables capture) is too large to be held");
    static_assert(std::is_trivially_copyable_v<M>, "callables of a mask capture plain values and pointers only");
    ::new (static_cast<void*>(memory_)) M(mask);
  }
  /// Any callable (batch, head, query, key) -> bool.
  template <class F>
    requires(!masks::Maskable<F> && std::is_invocable_r_v<bool, const F&, Index, Index, Index, Index>)
  Mask(F visible) : Mask(masks::Predicate<F>(std::move(visible))) {}

  /// Where one operand is a Mask already; error where the two are too large to be held together.
  friend Mask operator&(const Mask& a, const Mask& b) { return !a ? b : !b ? a : Mask(Pair(a, b, true)); }
  friend Mask operator|(const Mask& a, const Mask& b) { return !a || !b ? Mask() : Mask(Pair(a, b, false)); }

  /// Whether there is any mask at all.
  explicit operator bool() const { return functions_ != nullptr; }

  void bind(const AttentionSizes& sizes) {
    if (functions_ != nullptr) functions_->bind(memory_, sizes);
  }
  bool operator()(Index b, Index h, Index q, Index k) const {
    return functions_ == nullptr || (functions_->kernel.bits(memory_, b, h, q, k, k + 1) & 1u) != 0;
  }
  Extent block(Index b, Index h, Index q0, Index q1, Index k0, Index k1) const {
    return functions_ == nullptr ? Extent{k0, k1, true} : functions_->kernel.block(memory_, b, h, q0, q1, k0, k1);
  }
  Extent row(Index b, Index h, Index q, Index k0, Index k1) const {
    Extent extent{k0, k1, true};
    if (functions_ != nullptr) functions_->kernel.rows(memory_, b, h, q, 1, k0, k1, &extent);
    return extent;
  }
  /// As the kernels take it; valid while this mask lives.
  kernel::MaskFunctions functions() const {
    if (functions_ == nullptr) return {};
    kernel::MaskFunctions functions = functions_->kernel;
    functions.object = memory_;
    return functions;
  }

 private:
  struct Functions {
    kernel::MaskFunctions kernel;
    void (*bind)(void*, const AttentionSizes&);
    std::size_t size;
  };
  /// Two masks whose types are not known any more, one behind the other.
  struct Pair : masks::Expression {
    const Functions *a, *b;
    std::size_t at_b;
    bool conjunction;
    alignas(std::max_align_t) std::byte memory[320];

    Pair(const Mask& x, const Mask& y, bool both) : a(x.functions_), b(y.functions_), conjunction(both) {
      at_b = (a->size + alignof(std::max_align_t) - 1) / alignof(std::max_align_t) * alignof(std::max_align_t);
      if (at_b + b->size > sizeof(memory)) fail("Mask: two masks of " + std::to_string(a->size) + " and " + std::to_string(b->size) + " bytes are too large to be held together");
      std::memcpy(memory, x.memory_, a->size);
      std::memcpy(memory + at_b, y.memory_, b->size);
    }
    void bind(const AttentionSizes& sizes) {
      a->bind(memory, sizes);
      b->bind(memory + at_b, sizes);
    }
    bool operator()(Index batch, Index h, Index q, Index k) const {
      const bool first = (a->kernel.bits(memory, batch, h, q, k, k + 1) & 1u) != 0;
      return first != conjunction ? first : (b->kernel.bits(memory + at_b, batch, h, q, k, k + 1) & 1u) != 0;
    }
    Extent join(const Extent& x, const Extent& y, Index k0) const {
      return conjunction ? masks::both(x, y, k0) : masks::either(x, y);
    }
    Extent row(Index batch, Index h, Index q, Index k0, Index k1) const {
      Extent x, y;
      a->kernel.rows(memory, batch, h, q, 1, k0, k1, &x);
      b->kernel.rows(memory + at_b, batch, h, q, 1, k0, k1, &y);
      return join(x, y, k0);
    }
    Extent block(Index batch, Index h, Index q0, Index q1, Index k0, Index k1) const {
      return join(a->kernel.block(memory, batch, h, q0, q1, k0, k1), b->kernel.block(memory + at_b, batch, h, q0, q1, k0, k1), k0);
    }
  };
  template <class M>
  static constexpr Functions table = {
      {nullptr,
       [](const void* m, Index b, Index h, Index q0, Index q1, Index k0, Index k1) {
         return static_cast<const M*>(m)->block(b, h, q0, q1, k0, k1);
       },
       [](const void* m, Index b, Index h, Index q0, Index count, Index k0, Index k1, Extent* rows) {
         for (Index i = 0; i < count; ++i) rows[i] = static_cast<const M*>(m)->row(b, h, q0 + i, k0, k1);
       },
       [](const void* m, Index b, Index h, Index q, Index k0, Index keys) {
         const M& mask = *static_cast<const M*>(m);
         std::uint32_t bits = 0;
         if (k0 + 16 <= keys) {
           for (Index j = 0; j < 16; ++j) bits |= static_cast<std::uint32_t>(mask(b, h, q, k0 + j)) << j;
         } else {
           for (Index j = 0; k0 + j < keys; ++j) bits |= static_cast<std::uint32_t>(mask(b, h, q, k0 + j)) << j;
         }
         return bits;
       }},
      [](void* m, const AttentionSizes& sizes) { static_cast<M*>(m)->bind(sizes); },
      sizeof(M)};

  alignas(std::max_align_t) std::byte memory_[384];
  const Functions* functions_ = nullptr;
};

/// Keys up to the query's own position.
inline masks::Band causal(Corner corner = Corner::top_left) { return {{}, -1, 0, corner, 0, {}}; }
/// Causal where query 0 has this position among the keys (decoding with `position` cached tokens).
inline masks::Band causal_from(Index position) { return {{}, -1, 0, Corner::top_left, position, {}}; }
/// Keys from `left` before to `right` after the query's position; a negative number is no limit.
inline masks::Band sliding_window(Index left, Index right, Corner corner = Corner::top_left, Index start = 0) {
  return {{}, left, right, corner, start, {}};
}
/// The first `length` keys. `causal() | prefix(n)` is the mask of a prefix language model.
inline masks::Lengths prefix(Index length) { return {{}, nullptr, 0, length}; }
/// The first lengths[b] keys of batch b: batches padded on the right.
inline masks::Lengths lengths(std::span<const Index> lengths) {
  return {{}, lengths.data(), static_cast<Index>(lengths.size()), 0};
}
/// Tokens of the same document. Both [B or 1, tokens].
inline masks::Segments segments(TensorView<const std::int32_t, 2> query_segments,
                                TensorView<const std::int32_t, 2> key_segments) {
  masks::Segments mask;
  mask.query_segments = query_segments;
  mask.key_segments = key_segments;
  return mask;
}
inline masks::Segments segments(TensorView<const std::int32_t, 2> ids) { return segments(ids, ids); }
/// Block-sparse attention: visible(i, j) says whether queries of block i see keys of block j.
template <class T>
masks::Blocks<T> blocks(TensorView<const T, 2> visible, Index size) {
  masks::Blocks<T> mask;
  mask.visible = visible;
  mask.size = size;
  return mask;
}
/// A tensor of truth values (bool or an integer; true = takes part) that broadcasts to [B, H, Tq, Tk]; axes are
/// aligned from the last one.
template <class T, int Rank>
  requires(Rank <= 4)
masks::Boolean<std::remove_const_t<T>> boolean(const TensorView<T, Rank>& visible) {
  masks::Boolean<std::remove_const_t<T>> mask;
  mask.data = visible.data();
  std::copy(visible.shape().begin(), visible.shape().end(), mask.shape.end() - Rank);
  std::copy(visible.strides().begin(), visible.strides().end(), mask.strides.end() - Rank);
  return mask;
}
/// Keys that a padding mask doesn't name: [B, Tk], true = ignore this key (PyTorch's key_padding_mask).
template <class T>
auto not_padding(const TensorView<T, 2>& padding) {
  return masks::Predicate([padding](Index b, Index, Index, Index k) { return !padding(b, k); });
}
/// A callable (batch, head, query, key) -> bool as a mask that composes.
template <class F>
  requires std::is_invocable_r_v<bool, const F&, Index, Index, Index, Index>
masks::Predicate<F> visible_if(F f) { return masks::Predicate<F>(std::move(f)); }

/// A callable (score, batch, head, query, key) -> score, held without heap; applied to the scaled (and soft
/// capped) score, before the mask.
template <class Scalar>
class ScoreModifier {
 public:
  ScoreModifier() = default;
  template <class F>
    requires(!std::same_as<F, ScoreModifier> && std::is_invocable_r_v<Scalar, const F&, Scalar, Index, Index, Index, Index>)
  ScoreModifier(F f) : apply_([](const void* object, Scalar* scores, Index b, Index h, Index q, Index k0, Index keys) {
      const F& modify = *static_cast<const F*>(object);
      for (Index j = 0; j < 16 && k0 + j < keys; ++j) scores[j] = modify(scores[j], b, h, q, k0 + j);
    }) {
    static_assert(sizeof(F) <= sizeof(memory_), "what the modifier captures is too large to be held");
    static_assert(std::is_trivially_copyable_v<F>, "a score modifier captures plain values and pointers only");
    ::new (static_cast<void*>(memory_)) F(std::move(f));
  }
  explicit operator bool() const { return apply_ != nullptr; }
  /// Of the 16 keys from k0 on, as far as they are below `keys`.
  void operator()(Scalar* scores, Index b, Index h, Index q, Index k0, Index keys) const {
    if (apply_ != nullptr) apply_(memory_, scores, b, h, q, k0, keys);
  }

 private:
  alignas(std::max_align_t) std::byte memory_[256];
  void (*apply_)(const void*, Scalar*, Index, Index, Index, Index, Index) = nullptr;
};

/// Dropout of attention weights, for training alone: {.weight_modifier = dropout<float>(p, keep)}. keep(batch, head,
/// query, key) -> bool is the caller's generator, true with probability 1 - p, and says the same each time it is asked.
template <class Scalar, class Keep>
auto dropout(double p, Keep keep) {
  if (!(p >= 0 && p < 1)) fail("dropout: p is " + std::to_string(p) + ", expected 0 <= p < 1");
  return [scale = Scalar(1 / (1 - p)), keep](Scalar weight, Index b, Index h, Index q, Index k) {
    return keep(b, h, q, k) ? weight * scale : Scalar(0);
  };
}

/// One modifier after the other.
template <class F, class G>
auto then(F first, G second) {
  return [first, second](auto score, Index b, Index h, Index q, Index k) {
    return second(first(score, b, h, q, k), b, h, q, k);
  };
}

}  // namespace attend
