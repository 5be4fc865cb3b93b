// Callables on scores and weights: modifiers, and dropout.
#pragma once

#include <concepts>
#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include <attend/attention_sizes.hpp>
#include <attend/core/error.hpp>
#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

/// A callable (score, batch, head, query, key) -> score, held without heap; applied to the scaled (and soft
/// capped) score, before the mask. A member `void check_sizes(const AttentionSizes&) const` of it, where
/// there is one, is called before each attention: it fails where the sizes are not those that the callable is
/// for.
template <class Scalar>
class ScoreModifier {
 public:
  ScoreModifier() {}  // not = default: {} would set its memory, too
  /// Any callable (score, batch, head, query, key) -> score of plain values and pointers, up to 256 bytes.
  template <class F>
  requires(!std::same_as<F, ScoreModifier> &&
           std::is_invocable_r_v<Scalar, const F&, Scalar, Index, Index, Index, Index>) ScoreModifier(F f)
      : apply_([](const void* object, Scalar* scores, Index b, Index h, Index q, Index k0, Index keys) {
          const F& modify = *static_cast<const F*>(object);
          for (Index j = 0; j < 16 && k0 + j < keys; ++j) scores[j] = modify(scores[j], b, h, q, k0 + j);
        }) {
    if constexpr (requires(const F& modify, const AttentionSizes& sizes) { modify.check_sizes(sizes); })
      check_ = [](const void* object, const AttentionSizes& sizes) {
        static_cast<const F*>(object)->check_sizes(sizes);
      };
    static_assert(sizeof(F) <= sizeof(memory_), "what the modifier captures is too large to be held");
    static_assert(alignof(F) <= alignof(std::max_align_t),
                  "what the modifier captures is aligned too strictly to be held");
    static_assert(std::is_trivially_copyable_v<F>,
                  "a score modifier captures plain values and pointers only");
    ::new (static_cast<void*>(memory_)) F(std::move(f));
  }
  explicit operator bool() const { return apply_ != nullptr; }  // Whether there is one.
  /// Asks the callable's `check_sizes`, if it has one.
  void check_sizes(const AttentionSizes& sizes) const {
    if (check_ != nullptr) check_(memory_, sizes);
  }
  /// Of the 16 keys from k0 on, as far as they are below `keys`.
  void operator()(Scalar* scores, Index b, Index h, Index q, Index k0, Index keys) const {
    if (apply_ != nullptr) apply_(memory_, scores, b, h, q, k0, keys);
  }

 private:
  alignas(std::max_align_t) std::byte memory_[256];
  void (*apply_)(const void*, Scalar*, Index, Index, Index, Index, Index) = nullptr;
  void (*check_)(const void*, const AttentionSizes&) = nullptr;
};

/// Dropout of attention weights, for training alone: {.weight_modifier = dropout<float>(p, keep)}.
/// keep(batch, head, query, key) -> bool is the caller's generator, true with probability 1 - p, and says the
/// same each time it is asked.
template <class Scalar, class Keep>
auto dropout(double p, Keep keep) {
  if (!(p >= 0 && p < 1)) throw_error("dropout: p is ", p, ", expected 0 <= p < 1");
  return [scale = Scalar(1 / (1 - p)), keep](Scalar weight, Index b, Index h, Index q, Index k) {
    return keep(b, h, q, k) ? weight * scale : Scalar(0);
  };
}

namespace detail {
template <class F, class G>
struct Chain {
  F first;
  G second;
  auto operator()(auto score, Index b, Index h, Index q, Index k) const {
    return second(first(score, b, h, q, k), b, h, q, k);
  }
  void check_sizes(const AttentionSizes& sizes) const {
    const auto check_one = [&](const auto& modify) {
      if constexpr (requires { modify.check_sizes(sizes); }) modify.check_sizes(sizes);
    };
    check_one(first);
    check_one(second);
  }
};
}  // namespace detail

/// One modifier after the other.
template <class F, class G>
auto chain(F first, G second) {
  return detail::Chain<F, G>{first, second};
}

}  // namespace attend::inline ATTEND_ABI
