// Memory on cache-line borders: tensors, packed weights and workspaces start on 64 bytes.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>

namespace attend {

inline constexpr std::size_t kAlignment = 64;

/// A standard allocator whose blocks start on 64-byte borders.
template <class T>
struct AlignedAllocator {
  using value_type = T;

  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) noexcept {}

  T* allocate(std::size_t n) {
    if (n > std::numeric_limits<std::ptrdiff_t>::max() / sizeof(T)) throw_bad_alloc();
    return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(alignment)));
  }
  void deallocate(T* p, std::size_t) noexcept { ::operator delete(p, std::align_val_t(alignment)); }

  friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) noexcept { return true; }

 private:
  static constexpr std::size_t alignment = alignof(T) > kAlignment ? alignof(T) : kAlignment;
  [[noreturn]] static void throw_bad_alloc() {
#if defined(__cpp_exceptions)
    throw std::bad_alloc();
#else
    std::abort();
#endif
  }
};

}  // namespace attend
