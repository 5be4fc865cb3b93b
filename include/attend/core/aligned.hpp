// Memory on cache-line borders: tensors, packed weights and workspaces start on 64 bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>

#include <attend/core/memory.hpp>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace attend::inline ATTEND_ABI::detail {

/// A fixed number of values from a 64-byte border on, value-initialised. (std::vector would do but for bool.)
/// Numbers come zeroed from the operating system where they are many: memory that is never written is never
/// there. 2 MB and more start on a border of 2 MB and ask for huge pages, from which what does not fit a
/// cache is read faster. From the memory of the scope in which it is made.
template <class T>
class AlignedArray {
  static constexpr bool kNumbers = std::is_arithmetic_v<T>;

 public:
  AlignedArray() = default;
  /// Numbers are 0, other elements have their default values.
  explicit AlignedArray(std::size_t size) : AlignedArray(size, kNumbers) {
    if constexpr (!kNumbers) std::uninitialized_value_construct_n(data_, size);
    size_ = size;
  }
  /// Copies the elements.
  AlignedArray(const AlignedArray& other) : AlignedArray(other.size_, false) {
    std::uninitialized_copy_n(other.data_, other.size_, data_);
    size_ = other.size_;
  }
  /// Leaves an empty one behind.
  AlignedArray(AlignedArray&& other) noexcept
      : memory_(other.memory_),
        block_(std::exchange(other.block_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  // Two, not one that takes a value and is noexcept: the implicit assignment of what holds an array would
  // then be noexcept, too, and end the program where the copy finds no memory.
  AlignedArray& operator=(const AlignedArray& other) { return *this = AlignedArray(other); }
  AlignedArray& operator=(AlignedArray&& other) noexcept {
    AlignedArray moved(std::move(other));
    std::swap(memory_, moved.memory_);
    std::swap(block_, moved.block_);
    std::swap(bytes_, moved.bytes_);
    std::swap(data_, moved.data_);
    std::swap(size_, moved.size_);
    return *this;
  }
  ~AlignedArray() {
    std::destroy_n(data_, size_);
    if (block_ != nullptr) give_back();
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  /// Element i; not checked. @{
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  /// @}

 private:
  ATTEND_OUT_OF_LINE AlignedArray(std::size_t size, bool zeroed) {  // memory without values yet
    if (size == 0) return;
    constexpr std::size_t kHugePage = std::size_t{2} << 20;
    if (size > ((std::numeric_limits<std::ptrdiff_t>::max)() - kHugePage) / sizeof(T)) throw_bad_alloc();
    if (memory_ != nullptr) {
      bytes_ = size * sizeof(T);
      block_ = allocate(memory_, bytes_, kBorder);
      data_ = static_cast<T*>(block_);
      if (zeroed) std::memset(block_, 0, bytes_);
      return;
    }
    const bool huge = size * sizeof(T) >= kHugePage;
    const std::size_t alignment = huge ? kHugePage : kBorder;
    const std::size_t bytes = size * sizeof(T) + alignment;
    block_ = zeroed ? std::calloc(bytes, 1) : std::malloc(bytes);
    if (block_ == nullptr) throw_bad_alloc();
    void* first = block_;
    std::size_t room = bytes;
    data_ = static_cast<T*>(std::align(alignment, size * sizeof(T), first, room));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (huge)
      madvise(data_, size * sizeof(T), MADV_HUGEPAGE);  // where the system has none, ordinary pages do
#endif
  }

  ATTEND_OUT_OF_LINE void give_back() noexcept {
    if (memory_ == nullptr)
      std::free(block_);
    else
      memory_->deallocate(block_, bytes_, kBorder);
  }

  static constexpr std::size_t kBorder = (std::max)(alignof(T), kAlignment);

  MemoryResource* memory_ = MemoryScope::current();
  void* block_ = nullptr;
  std::size_t bytes_ = 0;  // of block_, where a resource gave it
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace attend::inline ATTEND_ABI::detail
