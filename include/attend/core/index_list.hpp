// IndexList: a few numbers by value, or a reference to many.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>

#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

/// Numbers for an option or a mask: up to 16 in braces, which are kept in here, or a span (vector, tensor),
/// whose elements stay where they are and must outlive the list.
class IndexList {
 public:
  static constexpr std::size_t kMost = 16;  // numbers that it keeps itself

  constexpr IndexList() = default;
  /// Up to kMost numbers, which it keeps.
  template <std::integral... Integers>
  requires(sizeof...(Integers) > 0) constexpr IndexList(Integers... numbers) : size_(sizeof...(Integers)) {
    static_assert(sizeof...(Integers) <= kMost,
                  "attend: more than 16 numbers in braces, which are not kept: pass a span of them");
    if constexpr (sizeof...(Integers) <= kMost) kept_ = {static_cast<Index>(numbers)...};
  }
  /// Any number of them, in an array, a vector or a span that has to live as long.
  template <class Numbers>
  requires std::is_convertible_v<const Numbers&, std::span<const Index>>
  constexpr IndexList(const Numbers& numbers) : IndexList(std::span<const Index>(numbers), 0) {}
  /// Not of a temporary, whose numbers would be gone.
  template <class Numbers>
  requires(std::is_convertible_v<const Numbers&, std::span<const Index>> &&
           !std::ranges::enable_borrowed_range<Numbers>) IndexList(const Numbers&&)
  = delete;

  constexpr const Index* data() const { return elsewhere_ != nullptr ? elsewhere_ : kept_.data(); }
  constexpr std::size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }
  constexpr const Index* begin() const { return data(); }
  constexpr const Index* end() const { return data() + size_; }
  constexpr Index operator[](std::size_t i) const { return data()[i]; }  // Number i; not checked.

 private:
  constexpr IndexList(std::span<const Index> numbers, int)
      : elsewhere_(numbers.data()), size_(numbers.size()) {}

  std::array<Index, kMost> kept_{};
  const Index* elsewhere_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace attend::inline ATTEND_ABI
