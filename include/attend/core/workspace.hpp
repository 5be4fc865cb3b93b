// Scratch memory of a Context: a stack that grows in the first call and never after.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <attend/core/aligned.hpp>
#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

template <class T, int Rank>
class TensorView;

/// A stack of blocks on 64-byte borders. What does not fit is taken from the heap for the moment, and once
/// the stack is empty again it is made as large as the most that was ever in use: a repeated call allocates
/// nothing. It serves one thread at a time: a second one that comes while a frame is open, or items run, gets
/// an Error.
class Workspace {
 public:
  /// Its memory is of the scope in which it is made.
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// The most bytes that were in use at once.
  std::size_t peak_bytes() const { return peak_; }
  /// Gives the memory back; the next call allocates again.
  void clear() {
    const Visit visit(*this);
    if (used_ == 0) memory_ = {}, size_ = 0;
  }

 private:
  friend class Frame;
  friend class Context;

  /// Being inside. The same thread may come in again, but not from an item of a context of several threads,
  /// of which other threads run items at the same time.
  class Visit {
   public:
    explicit Visit(Workspace& workspace, bool several_threads = false) : workspace_(workspace) {
      const void* const me = this_thread();
      const void* nobody = nullptr;
      if (workspace.owner_.load(std::memory_order_relaxed) != me) {
        if (!workspace.owner_.compare_exchange_strong(nobody, me, std::memory_order_acquire,
                                                      std::memory_order_relaxed))
          fail_in_use();
      } else if (workspace.several_threads_) {
        fail_in_use();
      }
      ++workspace.visits_;
      workspace.several_threads_ = several_threads;
    }
    ~Visit() {
      workspace_.several_threads_ = false;
      if (--workspace_.visits_ == 0) workspace_.owner_.store(nullptr, std::memory_order_release);
    }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

   private:
    Workspace& workspace_;
  };
  /// Error where another thread is inside. For what uses nothing of the workspace: the look alone is cheaper
  /// than a visit.
  void look() const {
    const void* const owner = owner_.load(std::memory_order_relaxed);
    if (owner != nullptr && owner != this_thread()) fail_in_use();
  }
  [[noreturn]] ATTEND_COLD static void fail_in_use() {
    throw_error(
        "Context: in use already, by another thread or by the call that this one is made from; it serves one "
        "call at a time");
  }
  /// An address that no other thread has at the same time.
  static const void* this_thread() {
#if defined(__linux__) && defined(__GNUC__)
    return __builtin_thread_pointer();
#else
    static thread_local const char here = 0;
    return &here;
#endif
  }

  struct Free {
    MemoryResource* memory;
    std::size_t bytes;
    void operator()(std::byte* p) const noexcept { detail::deallocate(memory, p, bytes, detail::kAlignment); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;
  struct Overflow {
    std::size_t begin;
    Memory memory;
  };
  /// With arbitrary contents; null where there is none.
  Memory allocate(std::size_t bytes) const {
    return Memory(static_cast<std::byte*>(detail::try_allocate(resource_, bytes, detail::kAlignment)),
                  Free{resource_, bytes});
  }

  void* take(std::size_t bytes) {
    bytes = (bytes + detail::kAlignment - 1) / detail::kAlignment * detail::kAlignment;
    const std::size_t begin = used_, end = begin + bytes;
    if (end < begin) detail::throw_bad_alloc();
    void* block = nullptr;
    if (end <= size_ && !measuring_)
      block = memory_.get() + begin;
    else if (!measuring_)
      block = overflow(begin, bytes);
    used_ = end;
    peak_ = (std::max)(peak_, used_);
    return block;
  }
  ATTEND_OUT_OF_LINE void* overflow(std::size_t begin, std::size_t bytes) {
    overflow_.push_back({begin, allocate(bytes)});
    if (overflow_.back().memory == nullptr) {
      overflow_.pop_back();
      detail::throw_used_up(resource_, bytes);
    }
    return overflow_.back().memory.get();
  }
  /// Never throws: where there is no memory to grow, the stack goes on overflowing.
  void release(std::size_t mark) noexcept {
    used_ = mark;
    if (!overflow_.empty() || (mark == 0 && size_ < peak_)) resize(mark);
  }
  ATTEND_OUT_OF_LINE void resize(std::size_t mark) noexcept {
    while (!overflow_.empty() && overflow_.back().begin >= mark) overflow_.pop_back();
    if (mark > 0 || measuring_ || size_ >= peak_) return;
    size_ = 0;
    memory_ = {};
    if (passing_) {  // nobody is left to give memory back
      decltype(overflow_)().swap(overflow_);
      return;
    }
    memory_ = allocate(peak_);
    if (memory_ != nullptr) size_ = peak_;
  }
  /// Error where one of them is in use.
  void swap(Workspace& other) {
    const Visit visit(*this), other_visit(other);
    if (visits_ > 1 || other.visits_ > 1) fail_in_use();
    std::swap(resource_, other.resource_);
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    std::swap(overflow_, other.overflow_);
    std::swap(peak_, other.peak_);
    std::swap(measuring_, other.measuring_);
  }

  MemoryResource* resource_ = MemoryScope::current();
  Memory memory_;
  std::size_t size_ = 0;                                         // of memory_
  std::vector<Overflow, detail::Allocator<Overflow>> overflow_;  // in the order of their beginnings
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
  bool measuring_ = false;
  bool passing_ = false;  // keeps no memory from one call to the next

  std::atomic<const void*> owner_{nullptr};  // who is inside; the rest is the owner's
  int visits_ = 0;
  bool several_threads_ = false;
};

/// Blocks taken through a frame are released, all together, at its end. Frames nest as scopes do.
class Frame {
 public:
  /// What is taken lives until this frame ends.
  explicit Frame(Workspace& workspace) : visit_(workspace), workspace_(workspace), mark_(workspace.used_) {}
  ~Frame() {
    for (; values_ != nullptr; values_ = values_->next) values_->destroy(*values_);
    workspace_.release(mark_);
  }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  /// Room for the values of a tensor, or for n, of a trivial type, with arbitrary contents.
  template <class T>
  T* take(std::span<const Index> shape) {
    return static_cast<T*>(take_elements(shape, sizeof(T)));
  }
  /// Room for n elements without values.
  template <class T>
  T* take(Index n) {
    return take<T>(std::span<const Index>(&n, 1));
  }

  /// A tensor of any scalar that lives as long as the frame: of arbitrary contents where the scalar is
  /// trivial, else of value-initialised ones. Null in a run of `measure`.
  template <class T, std::size_t Rank>
  TensorView<T, static_cast<int>(Rank)> tensor(const std::array<Index, Rank>& shape) {
    static_assert(alignof(T) <= detail::kAlignment);
    constexpr bool destroyed = !std::is_trivially_destructible_v<T>;
    Values* values = destroyed ? take<Values>(1) : nullptr;
    T* data = take<T>(shape);
    if constexpr (destroyed || !std::is_trivially_default_constructible_v<T>) {
      const Index n = detail::checked_numel(shape, sizeof(T));
      if (data != nullptr) std::uninitialized_value_construct_n(data, n);
      if (destroyed && data != nullptr)
        values_ = ::new (values) Values{
            data, n, [](const Values& v) { std::destroy_n(static_cast<T*>(v.data), v.size); }, values_};
    }
    return {data, shape, detail::contiguous_strides<static_cast<int>(Rank)>(shape), {}};
  }
  /// The same, of a shape in braces.
  template <class T, std::size_t Rank>
  TensorView<T, static_cast<int>(Rank)> tensor(const Index (&shape)[Rank]) {
    return tensor<T>(std::to_array(shape));
  }

 private:
  struct Values {  // what the end of the frame destroys
    void* data;
    Index size;
    void (*destroy)(const Values&);
    Values* next;
  };

  ATTEND_OUT_OF_LINE void* take_elements(std::span<const Index> shape, std::size_t bytes_each) {
    return workspace_.take(static_cast<std::size_t>(detail::checked_numel(shape, bytes_each)) * bytes_each);
  }

  Workspace::Visit visit_;
  Workspace& workspace_;
  std::size_t mark_;
  Values* values_ = nullptr;
};

}  // namespace attend::inline ATTEND_ABI
