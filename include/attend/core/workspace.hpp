// Scratch memory of a Context: a stack that grows in the first call and never after.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <attend/core/aligned.hpp>
#include <attend/core/shape.hpp>

namespace attend {

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
  ~Frame() { workspace_.release(mark_); }
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

 private:
  Workspace& workspace_;
  std::size_t mark_;
};

}  // namespace attend
