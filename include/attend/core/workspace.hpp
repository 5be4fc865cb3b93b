// Scratch memory of a Context: a stack that grows in the first call and never after.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include <attend/core/aligned.hpp>
#include <attend/core/shape.hpp>

namespace attend {

template <class T, int Rank>
class TensorView;

/// A stack of blocks on 64-byte borders. What does not fit is taken from the heap for the moment, and once the
/// stack is empty again it is made as large as the most that was ever in use: a repeated call allocates nothing.
class Workspace {
 public:
  /// The most bytes that were in use at once.
  std::size_t peak_bytes() const { return peak_; }
  /// Gives the memory back; the next call allocates again.
  void clear() {
    if (used_ == 0) memory_ = {};
  }

 private:
  friend class Frame;
  friend class Context;
  using Memory = std::vector<std::byte, AlignedAllocator<std::byte>>;

  void* take(std::size_t bytes) {
    bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    const std::size_t begin = used_;
    used_ += bytes;
    peak_ = std::max(peak_, used_);
    if (measuring_) return nullptr;
    if (used_ <= memory_.size()) return memory_.data() + begin;
    overflow_.push_back({begin, Memory(bytes)});
    return overflow_.back().memory.data();
  }
  void release(std::size_t mark) {
    used_ = mark;
    while (!overflow_.empty() && overflow_.back().begin >= mark) overflow_.pop_back();
    if (mark > 0 || measuring_ || memory_.size() >= peak_) return;
    memory_ = {};
    memory_ = Memory(peak_);
  }

  struct Overflow {
    std::size_t begin;
    Memory memory;
  };
  Memory memory_;
  std::vector<Overflow> overflow_;  // in the order of their beginnings
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
  bool measuring_ = false;
};

/// Blocks taken through a frame are released, all together, at its end. Frames nest as scopes do.
class Frame {
 public:
  explicit Frame(Workspace& workspace) : workspace_(workspace), mark_(workspace.used_) {}
  ~Frame() {
    for (; values_ != nullptr; values_ = values_->next) values_->destroy(*values_);
    workspace_.release(mark_);
  }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  /// Room for the values of a tensor, or for n, of a trivial type, with arbitrary contents.
  template <class T>
  T* take(std::span<const Index> shape) {
    return static_cast<T*>(workspace_.take(static_cast<std::size_t>(checked_numel(shape, sizeof(T))) * sizeof(T)));
  }
  template <class T>
  T* take(Index n) {
    return take<T>(std::span<const Index>(&n, 1));
  }

  /// A tensor of any scalar that lives as long as the frame: of arbitrary contents where the scalar is trivial, else of
  /// value-initialised ones. Null in a run of `measure`.
  template <class T, std::size_t Rank>
  TensorView<T, static_cast<int>(Rank)> tensor(const std::array<Index, Rank>& shape) {
    static_assert(alignof(T) <= kAlignment);
    constexpr bool destroyed = !std::is_trivially_destructible_v<T>;
    Values* values = destroyed ? take<Values>(1) : nullptr;
    T* data = take<T>(shape);
    if constexpr (destroyed || !std::is_trivially_default_constructible_v<T>) {
      const Index n = checked_numel(shape, sizeof(T));
      if (data != nullptr) std::uninitialized_value_construct_n(data, n);
      if (destroyed && data != nullptr)
        values_ = ::new (values) Values{data, n, [](const Values& v) { std::destroy_n(static_cast<T*>(v.data), v.size); }, values_};
    }
    return {data, shape};
  }
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

  Workspace& workspace_;
  std::size_t mark_;
  Values* values_ = nullptr;
};

}  // namespace attend
