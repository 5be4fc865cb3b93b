// What may be seen: masks as values that compose with & and |.
//
// A mask answers for (batch, head, query, key); true = takes part. Besides that answer, a mask may know of a
// whole row or block of queries which keys are out of question, so that empty tiles cost nothing and full
// ones run unmasked. Masks of the library know it; a callable of yours is asked key by key, 16 at a time,
// inlined.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include <attend/mask_expressions.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// Any mask expression, held without heap. Views and pointers inside refer to the caller's data, which must
/// live until the call returns.
class Mask : public masks::Expression {
 public:
  Mask() {}  // not = default: {} would set its memory, too
  /// A mask without heap is copied without one.
  Mask(const Mask& other) : functions_(other.functions_), size_(other.size_) {
    std::memcpy(memory_, other.memory_, size_);
  }
  Mask& operator=(const Mask& other) {
    functions_ = other.functions_;
    size_ = other.size_;
    std::memmove(memory_, other.memory_, size_);
    return *this;
  }
  /// Of any expression: causal(), lengths(…), what & and | make of two, or a type derived from
  /// masks::Expression.
  template <masks::Maskable M>
  requires(!std::same_as<M, Mask>) Mask(const M& mask) : Mask(mask, M::adds) {}
  /// Any callable (batch, head, query, key) -> bool.
  template <class F>
  requires(!masks::Maskable<F> && std::is_invocable_r_v<bool, const F&, Index, Index, Index, Index>)
      Mask(F visible)
      : Mask(masks::Predicate<F>(std::move(visible))) {}

  /// Where one operand is a Mask already; error where the two are too large to be held together.
  friend Mask operator&(const Mask& a, const Mask& b) { return !a ? b : !b ? a : Mask(a, b, true); }
  friend Mask operator|(const Mask& a, const Mask& b) {
    if (a && b) return Mask(a, b, false);
    const Mask& rest = a ? a : b;  // all is seen, and numbers of the other side still add
    return rest.adds() ? Mask(Mask(masks::All{}), rest, false) : Mask();
  }

  /// Whether there is any mask at all.
  explicit operator bool() const { return functions_ != nullptr; }
  /// Whether it adds to scores.
  bool adds() const { return functions_ != nullptr && functions_->add != nullptr; }

  /// As masks::Expression says; an empty mask sees everything.
  /// @{
  void bind(const AttentionSizes& sizes) {
    if (functions_ != nullptr) functions_->bind(memory_, sizes);
  }
  bool overlaps(const detail::Layout& written) const {
    return adds() && functions_->overlaps(memory_, written);
  }
  bool operator()(Index b, Index h, Index q, Index k) const {
    return functions_ == nullptr || functions_->sees(memory_, b, h, q, k);
  }
  void add(void* scores, Index b, Index h, Index q, Index k0, Index keys) const {
    if (adds()) functions_->add(memory_, scores, b, h, q, k0, keys);
  }
  Extent block(Index b, Index h, Index q0, Index q1, Index k0, Index k1) const {
    return functions_ == nullptr ? Extent{k0, k1, true}
                                 : functions_->kernel.block(memory_, b, h, q0, q1, k0, k1);
  }
  Extent row(Index b, Index h, Index q, Index k0, Index k1) const {
    return functions_ == nullptr ? Extent{k0, k1, true} : functions_->row(memory_, b, h, q, k0, k1);
  }
  /// @}
  /// As the kernels take it; valid while this mask lives.
  kernel::MaskFunctions functions() const {
    if (functions_ == nullptr) return {};
    kernel::MaskFunctions functions = functions_->kernel;
    functions.object = memory_;
    return functions;
  }

 private:
  template <class Scalar>
  friend class MultiHeadAttention;

  static constexpr std::size_t kAlign = alignof(std::max_align_t);
  struct Functions {
    kernel::MaskFunctions kernel;
    void (*bind)(void*, const AttentionSizes&);
    bool (*overlaps)(const void*, const detail::Layout& written);
    void (*add)(const void*, void* scores, Index b, Index h, Index q, Index k0,
                Index keys);  // null: adds nothing

    bool sees(const void* m, Index b, Index h, Index q, Index k) const {
      return (kernel.bits(m, b, h, q, k, k + 1) & 1u) != 0;
    }
    Extent row(const void* m, Index b, Index h, Index q, Index k0, Index k1) const {
      Extent extent;
      kernel.rows(m, b, h, q, 1, k0, k1, &extent);
      return extent;
    }
  };
  /// Two masks whose types are not known any more. They lie behind this object, one after the other.
  struct alignas(kAlign) Pair : masks::Expression {
    static constexpr bool adds = true;  // where one of them does
    const Functions *a, *b;
    std::size_t offset;  // of the second behind the first
    bool conjunction;

    Pair(const Functions* x, const Functions* y, std::size_t second, bool both)
        : a(x), b(y), offset(second), conjunction(both) {}
    const std::byte* first() const { return reinterpret_cast<const std::byte*>(this) + sizeof(Pair); }
    const std::byte* second() const { return first() + offset; }
    void bind(const AttentionSizes& sizes) {
      std::byte* operands = reinterpret_cast<std::byte*>(this) + sizeof(Pair);
      a->bind(operands, sizes);
      b->bind(operands + offset, sizes);
    }
    bool overlaps(const detail::Layout& written) const {
      return a->overlaps(first(), written) || b->overlaps(second(), written);
    }
    /// The second is asked just of the keys that the first leaves open.
    std::uint32_t bits(Index batch, Index h, Index q, Index k0, Index keys) const {
      std::uint32_t seen = a->kernel.bits(first(), batch, h, q, k0, keys);
      for (Index j = 0; j < 16 && k0 + j < keys; ++j)
        if ((seen >> j & 1u) == (conjunction ? 1u : 0u) &&
            b->sees(second(), batch, h, q, k0 + j) != conjunction)
          seen ^= 1u << j;
      return seen;
    }
    void add(void* scores, Index batch, Index h, Index q, Index k0, Index keys) const {
      if (a->add != nullptr) a->add(first(), scores, batch, h, q, k0, keys);
      if (b->add != nullptr) b->add(second(), scores, batch, h, q, k0, keys);
    }
    Extent row(Index batch, Index h, Index q, Index k0, Index k1) const {
      return masks::join(conjunction, a->row(first(), batch, h, q, k0, k1),
                         b->row(second(), batch, h, q, k0, k1), k0);
    }
    Extent block(Index batch, Index h, Index q0, Index q1, Index k0, Index k1) const {
      return masks::join(conjunction, a->kernel.block(first(), batch, h, q0, q1, k0, k1),
                         b->kernel.block(second(), batch, h, q0, q1, k0, k1), k0);
    }
  };
  /// Of one that adds numbers just where `adds` says so.
  template <masks::Maskable M>
  requires(!std::same_as<M, Mask>) Mask(const M& mask, bool adds)
      : functions_(adds == M::adds ? &table<M> : &silent<M>), size_(std::is_empty_v<M> ? 0 : sizeof(M)) {
    static_assert(sizeof(M) <= sizeof(memory_),
                  "the mask (and what its callables capture) is too large to be held");
    static_assert(alignof(M) <= kAlign,
                  "what callables of a mask capture is aligned too strictly to be held");
    static_assert(std::is_trivially_copyable_v<M>,
                  "callables of a mask capture plain values and pointers only");
    ::new (static_cast<void*>(memory_)) M(mask);
  }
  Mask(const Mask& x, const Mask& y, bool conjunction) {
    const std::size_t offset = (x.size_ + kAlign - 1) / kAlign * kAlign;
    size_ = sizeof(Pair) + offset + y.size_;
    if (size_ > sizeof(memory_))
      throw_error("Mask: two masks of ", x.size_, " and ", y.size_,
                  " bytes are too large to be held together");
    ::new (static_cast<void*>(memory_)) Pair(x.functions_, y.functions_, offset, conjunction);
    functions_ = x.adds() || y.adds() ? &table<Pair> : &silent<Pair>;
    std::memcpy(memory_ + sizeof(Pair), x.memory_, x.size_);
    std::memcpy(memory_ + sizeof(Pair) + offset, y.memory_, y.size_);
  }
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
         if constexpr (requires { mask.bits(b, h, q, k0, keys); }) {
           bits = mask.bits(b, h, q, k0, keys);
         } else if (k0 + 16 <= keys) {
           for (Index j = 0; j < 16; ++j) bits |= static_cast<std::uint32_t>(mask(b, h, q, k0 + j)) << j;
         } else {
           for (Index j = 0; k0 + j < keys; ++j)
             bits |= static_cast<std::uint32_t>(mask(b, h, q, k0 + j)) << j;
         }
         return bits;
       }},
      [](void* m, const AttentionSizes& sizes) { static_cast<M*>(m)->bind(sizes); },
      [](const void* m, const detail::Layout& written) {
        return static_cast<const M*>(m)->overlaps(written);
      },
      M::adds ? [](const void* m, void* scores, Index b, Index h, Index q, Index k0,
                   Index keys) { static_cast<const M*>(m)->add(scores, b, h, q, k0, keys); }
              : static_cast<void (*)(const void*, void*, Index, Index, Index, Index, Index)>(nullptr)};

  /// Of an expression that adds nothing this time: the same functions but for `add`.
  template <class M>
  static constexpr Functions silent = {table<M>.kernel, table<M>.bind, table<M>.overlaps, nullptr};

  alignas(kAlign) std::byte memory_[1024];  // as many bytes are copied as are in use
  const Functions* functions_ = nullptr;
  std::size_t size_ = 0;  // of what memory_ holds
};

/// Keys up to the query's own position.
inline masks::Band causal(Corner corner = Corner::top_left) { return {{}, -1, 0, corner, 0, {}}; }
/// Causal where query 0 has this position among the keys (decoding with `position` cached tokens).
inline masks::Band causal_from(AnyIndex position) { return {{}, -1, 0, Corner::top_left, position, {}}; }
/// Keys from `left` before to `right` after the query's position; a negative number is no limit.
inline masks::Band sliding_window(AnyIndex left, AnyIndex right, Corner corner = Corner::top_left,
                                  AnyIndex start = 0) {
  return {{}, left, right, corner, start, {}};
}
/// The first `length` keys. `causal() | prefix(n)` is the mask of a prefix language model.
inline masks::Lengths prefix(AnyIndex length) { return {{}, {}, false, length}; }
/// The first lengths[b] keys of batch b: batches padded on the right. Error at the call where their number is
/// not that of its batches, or one of them is negative or more than its keys.
inline masks::Lengths lengths(const IndexList& lengths) { return {{}, lengths, true, 0}; }
/// Tokens of the same document. Both [B or 1, tokens].
inline masks::Segments segments(TensorView<const std::int32_t, 2> query_segments,
                                TensorView<const std::int32_t, 2> key_segments) {
  return {{}, query_segments, key_segments};
}
/// The same where queries and keys are the same tokens. [B or 1, tokens].
inline masks::Segments segments(TensorView<const std::int32_t, 2> ids) { return segments(ids, ids); }
/// Block-sparse attention: visible(i, j) says whether queries of block i see keys of block j. Blocks have
/// `size` tokens, 1 or more.
template <TensorLike X>
requires(X::rank == 2) masks::Blocks<typename X::Scalar> blocks(const X& visible, AnyIndex size) {
  if (size < 1) throw_error("blocks: a size of ", size.value, ", expected 1 or more");
  return {{}, const_view(visible), size};
}
namespace detail {
template <class M, class X>
M aligned_from_last(const X& tensor) {
  const auto view = const_view(tensor);
  M mask;
  mask.data = view.data();
  std::copy(view.shape().begin(), view.shape().end(), mask.shape.end() - X::rank);
  std::copy(view.strides().begin(), view.strides().end(), mask.strides.end() - X::rank);
  return mask;
}
}  // namespace detail

/// A tensor of truth values (bool or an integer) that broadcasts to [B, H, Tq, Tk]; axes are aligned from the
/// last one. true = takes part, as PyTorch's scaled_dot_product_attention has it; nn.MultiheadAttention means
/// the opposite.
template <TensorLike X>
requires(X::rank <= 4) masks::Boolean<typename X::Scalar> boolean(const X& visible) {
  return detail::aligned_from_last<masks::Boolean<typename X::Scalar>>(visible);
}
/// A tensor of numbers of the attention's own scalar, of any shape that broadcasts to [B, H, Tq, Tk]; axes
/// are aligned from the last one. It composes like any mask, for it is two things. A truth value: a finite
/// number takes part, -inf doesn't, nor do keys behind the end of a last axis that is shorter (but more than
/// one). And a number, added to the scores that stay visible after scale, softcap and modifier: & and | act
/// on the truth values, and the numbers of both sides add, where -inf adds nothing. Any number of them may be
/// in one mask. Error at the call where the scalar or the shape does not fit (onnx.ai Attention-24's
/// attn_mask).
template <TensorLike X>
requires(X::rank <= 4) masks::Additive<typename X::Scalar> additive(const X& numbers) {
  return detail::aligned_from_last<masks::Additive<typename X::Scalar>>(numbers);
}
/// PyTorch's key_padding_mask: [B, Tk], true = ignore this key.
template <TensorLike X>
requires(X::rank == 2) masks::KeyPadding<typename X::Scalar> key_padding_mask(const X& padding) {
  return {{}, const_view(padding)};
}
// Not of a temporary, whose elements would be gone before the call.
template <class Queries, class Keys>
requires(detail::TemporaryTensor<Queries> || detail::TemporaryTensor<Keys>) void segments(Queries&&,
                                                                                          Keys&&) = delete;
template <detail::TemporaryTensor X>
void segments(X&&) = delete;
template <detail::TemporaryTensor X>
void blocks(X&&, AnyIndex) = delete;
template <detail::TemporaryTensor X>
void boolean(X&&) = delete;
template <detail::TemporaryTensor X>
void additive(X&&) = delete;
template <detail::TemporaryTensor X>
void key_padding_mask(X&&) = delete;

/// The former name of key_padding_mask.
template <class X>
ATTEND_DEPRECATED("its name is key_padding_mask, as in PyTorch")
auto not_padding(X&& padding) {
  return key_padding_mask(std::forward<X>(padding));
}

/// A callable (batch, head, query, key) -> bool as a mask that composes.
template <class F>
requires std::is_invocable_r_v<bool, const F&, Index, Index, Index, Index> masks::Predicate<F> visible_if(
    F f) {
  return masks::Predicate<F>(std::move(f));
}

/// A picture of one head of one batch: a line for each query, '#' for each key that it sees and '.' for the
/// others. Errors: those of a call of these sizes; a batch or head that is not there.
inline std::string to_string(Mask mask, const AttentionSizes& sizes, AnyIndex batch = 0, AnyIndex head = 0) {
  if (batch < 0 || batch >= sizes.batch || head < 0 || head >= sizes.heads)
    throw_error("mask: batch ", batch, " and head ", head, " of ", sizes.batch, " and ", sizes.heads);
  mask.bind(sizes);
  std::string picture;
  for (Index q = 0; q < sizes.query_count(batch); ++q, picture += '\n')
    for (Index k = 0; k < sizes.key_count(batch); ++k) picture += mask(batch, head, q, k) ? '#' : '.';
  return picture;
}

}  // namespace attend::inline ATTEND_ABI
