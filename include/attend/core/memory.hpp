// Memory of the caller: a std::pmr::memory_resource instead of the heap.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

#if __has_include(<memory_resource>)
#include <memory_resource>
#endif

#include <attend/core/error.hpp>

namespace attend::inline ATTEND_ABI {

/// std::pmr::memory_resource, or its like where the standard library has none (libc++ before its version 16).
#if __has_include(<memory_resource>)
using MemoryResource = std::pmr::memory_resource;
#else
class MemoryResource {
 public:
  virtual ~MemoryResource() = default;
  /// As std::pmr's: `alignment` is a power of two; deallocate gets what allocate got. @{
  void* allocate(std::size_t bytes, std::size_t alignment) { return do_allocate(bytes, alignment); }
  void deallocate(void* block, std::size_t bytes, std::size_t alignment) {
    do_deallocate(block, bytes, alignment);
  }
  /// @}

 private:
  virtual void* do_allocate(std::size_t bytes, std::size_t alignment) = 0;
  virtual void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) = 0;
};
#endif

/// While one lives, what is made on its thread takes its memory from the resource and keeps to it: tensors
/// and packed weights (of a model that is opened, for example), caches and contexts. Null is the heap. Scopes
/// nest. The resource outlives what it gave to, and is as safe for threads as those who use it need. One that
/// has no more, by an exception or a null pointer, is an Error, and what failed is as it was.
class MemoryScope {
 public:
  /// Null: what `operator new` gives.
  explicit MemoryScope(MemoryResource* memory) : outer_(std::exchange(innermost(), memory)) {}
  ~MemoryScope() { innermost() = outer_; }
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

  /// Of the innermost scope of this thread; null is the heap.
  static MemoryResource* current() { return innermost(); }

 private:
  static MemoryResource*& innermost() {
    static thread_local MemoryResource* memory = nullptr;
    return memory;
  }
  MemoryResource* outer_;
};

namespace detail {

inline constexpr std::size_t kAlignment = 64;

[[noreturn]] inline void throw_bad_alloc() {
#if defined(__cpp_exceptions)
  throw std::bad_alloc();
#else
  std::abort();
#endif
}

/// Null where the resource, or the heap, has no more.
inline void* try_allocate(MemoryResource* memory, std::size_t bytes, std::size_t alignment) {
  if (memory == nullptr) return ::operator new(bytes, std::align_val_t(alignment), std::nothrow);
#if defined(__cpp_exceptions)
  try {
    return memory->allocate(bytes, alignment);
  } catch (...) {
    return nullptr;
  }
#else
  return memory->allocate(bytes, alignment);
#endif
}
[[noreturn]] ATTEND_COLD inline void throw_used_up(MemoryResource* memory, std::size_t bytes) {
  if (memory == nullptr) throw_bad_alloc();
  throw_error("memory: ", bytes, " bytes more are not in the caller's memory resource");
}
inline void* allocate(MemoryResource* memory, std::size_t bytes, std::size_t alignment) {
  void* const block = try_allocate(memory, bytes, alignment);
  if (block == nullptr) throw_used_up(memory, bytes);
  return block;
}
inline void deallocate(MemoryResource* memory, void* block, std::size_t bytes,
                       std::size_t alignment) noexcept {
  if (memory == nullptr)
    ::operator delete(block, std::align_val_t(alignment));
  else
    memory->deallocate(block, bytes, alignment);
}

/// A standard allocator of blocks on 64-byte borders, from the memory of the scope in which it was made. A
/// container takes it along when it is moved or swapped.
template <class T>
struct Allocator {
  using value_type = T;
  using propagate_on_container_copy_assignment = std::true_type;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;

  MemoryResource* memory = MemoryScope::current();

  Allocator() = default;
  template <class U>
  Allocator(const Allocator<U>& other) noexcept : memory(other.memory) {}

  T* allocate(std::size_t n) {
    if (n > (std::numeric_limits<std::ptrdiff_t>::max)() / sizeof(T)) throw_bad_alloc();
    return static_cast<T*>(detail::allocate(memory, n * sizeof(T), alignment));
  }
  void deallocate(T* p, std::size_t n) noexcept { detail::deallocate(memory, p, n * sizeof(T), alignment); }

  friend bool operator==(const Allocator& a, const Allocator& b) noexcept { return a.memory == b.memory; }

 private:
  static constexpr std::size_t alignment = alignof(T) > kAlignment ? alignof(T) : kAlignment;
};

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI
