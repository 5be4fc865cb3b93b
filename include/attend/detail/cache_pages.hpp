// The pages of a KVCache: where they come from, and who owns them, in one thread or in many.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// Memory that its owners read, and that an only owner may write.
template <class Scalar>
struct Page {
  Scalar* data = nullptr;
  std::shared_ptr<Tensor<Scalar, 2>> piece;  // of memory, which lives as long as any page in it
  MemoryResource* memory = nullptr;          // where this is from
  Page* next = nullptr;                      // in a pool
  std::atomic<Index> owners{0};

  /// The acquire makes all that former owners, in other threads too, did with the page happen before.
  bool has_one_owner() const { return owners.load(std::memory_order_acquire) == 1; }
  void add_owner() { owners.fetch_add(1, std::memory_order_relaxed); }
  /// True for the last one, who then disposes of the page.
  bool drop_owner() { return owners.fetch_sub(1, std::memory_order_acq_rel) == 1; }
  static void dispose(Page* page) noexcept {
    MemoryResource* const memory = page->memory;
    page->~Page();
    deallocate(memory, page, sizeof(Page), kAlignment);
  }
};

/// Spare pages, of one cache or of siblings, in the memory of the scope in which it is made.
template <class Scalar>
class PagePool {
 public:
  explicit PagePool(MemoryResource* memory = MemoryScope::current()) : memory_(memory) {}
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;
  ~PagePool();
  Index spare() const { return spare_; }
  /// Adds so many pages, or more: twice as many as there are, so that much memory is in large pieces, but
  /// then no more than 16 MB at once.
  void make(Index count, Index scalars, bool more = true);
  /// A spare page, of which there is one, for its first owner.
  Page<Scalar>* take() noexcept {
    Page<Scalar>* page = std::exchange(first_, first_->next);
    --spare_;
    page->add_owner();
    return page;
  }
  /// One owner less; the last one's page is spare again.
  void give_back(Page<Scalar>*& page) noexcept {
    if (page != nullptr && page->drop_owner()) put(page);
    page = nullptr;
  }

 private:
  void put(Page<Scalar>* page) noexcept {
    page->next = std::exchange(first_, page);
    ++spare_;
  }

  MemoryResource* memory_;
  Page<Scalar>* first_ = nullptr;
  Index spare_ = 0;
  Index made_ = 0;
};

template <class Scalar>
PagePool<Scalar>::~PagePool() {
  while (first_ != nullptr) Page<Scalar>::dispose(std::exchange(first_, first_->next));
}
template <class Scalar>
void PagePool<Scalar>::make(Index count, Index scalars, bool more) {
  const Index most = (Index{16} << 20) / std::max<Index>(1, scalars * static_cast<Index>(sizeof(Scalar)));
  if (more) count = (std::max)(count, (std::min)(made_, most));
  const MemoryScope scope(memory_);
  const auto piece =
      std::allocate_shared<Tensor<Scalar, 2>>(Allocator<Tensor<Scalar, 2>>(), Shape<2>{count, scalars});
  for (Index i = count - 1; i >= 0; --i, ++made_) {
    void* const room = allocate(memory_, sizeof(Page<Scalar>), kAlignment);
    put(::new (room) Page<Scalar>{piece->data() + i * scalars, piece, memory_});
  }
}
ATTEND_COMPILED_LAYER(class PagePool<float>);

/// The pages of one sequence, each of which it owns, alone or together with copies of it.
template <class Scalar>
struct CachedSequence {
  std::vector<Page<Scalar>*, Allocator<Page<Scalar>*>> pages;  // null where released
  std::vector<const Scalar*, Allocator<const Scalar*>>
      data;  // of each page, as attention reads them: null where evicted
  /// Pages [0, evicted) are behind the window, those from `kept` on since the call that appended last. It can
  /// be taken back, and so can a next one that fails: then the pages from `released` on are as they were.
  /// Those before are given back.
  Index evicted = 0, kept = 0, released = 0;

  CachedSequence() = default;
  CachedSequence(const CachedSequence& other);
  CachedSequence(CachedSequence&&) noexcept = default;
  CachedSequence& operator=(const CachedSequence& other) { return *this = CachedSequence(other); }
  CachedSequence& operator=(CachedSequence&& other) noexcept {
    CachedSequence moved(std::move(other));
    pages.swap(moved.pages);
    data.swap(moved.data);
    evicted = moved.evicted;
    kept = moved.kept;
    released = moved.released;
    return *this;
  }
  ~CachedSequence();

  Index size() const { return static_cast<Index>(pages.size()); }
  Page<Scalar>*& page(Index i) { return pages[static_cast<std::size_t>(i)]; }
  const Page<Scalar>* page(Index i) const { return pages[static_cast<std::size_t>(i)]; }
  const Scalar*& at(Index i) { return data[static_cast<std::size_t>(i)]; }
};

template <class Scalar>
CachedSequence<Scalar>::CachedSequence(const CachedSequence& other)
    : pages(other.pages),
      data(other.data),
      evicted(other.evicted),
      kept(other.kept),
      released(other.released) {
  for (Page<Scalar>* page : pages)
    if (page != nullptr) page->add_owner();
}
template <class Scalar>
CachedSequence<Scalar>::~CachedSequence() {
  for (Page<Scalar>* page : pages)
    if (page != nullptr && page->drop_owner()) Page<Scalar>::dispose(page);
}
ATTEND_COMPILED_LAYER(struct CachedSequence<float>);

/// Room for n elements, at least twice as many as before: a row of calls copies each element a few times at
/// most.
template <class Vector>
void make_room(Vector& elements, std::size_t n) {
  if (n > elements.capacity()) elements.reserve((std::max)(n, 2 * elements.capacity()));
}

}  // namespace attend::inline ATTEND_ABI::detail
