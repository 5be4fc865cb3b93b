// KVCache: keys and values of the tokens so far, in pages of 96 tokens as the kernels want them.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <attend/core/tiling.hpp>
#include <attend/detail/backend.hpp>
#include <attend/detail/cache_pages.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
template <class Scalar>
struct CacheGroup;
template <class Scalar>
class Appending;
}  // namespace detail

/// Of a KVCache; layers make theirs by make_cache.
struct KVCacheOptions {
  Index batch = 1;         // sequences
  Index num_kv_heads = 1;  // heads of keys and values
  Index head_dim = 0;      // features of a head's key
  Index value_dim = 0;     // 0: head_dim
  /// For sliding windows: how many tokens before a new one stay visible to it; 0: all. Pair it with a mask
  /// that looks back no further, sliding_window(window, 0, Corner::bottom_right) at most. A call that appends
  /// any number of tokens first evicts the pages that its first token no longer sees, which are used again.
  /// Positions stay absolute.
  Index window = 0;
  /// Where all its memory comes from; null: as MemoryScope says. What it shares with another cache stays in
  /// that one's.
  MemoryResource* memory = nullptr;
};

/// The tokens of each sequence lie in pages; sequences that share a beginning share its pages, in one cache
/// or in copies of it, and a page is copied when one of its sharers writes to it. A page is a key tile of
/// attention: decoding reads it as it lies, and prefill, in one piece or many, sees the same tiles, so that
/// all of them give the same bits.
///
/// A const cache may be read and copied by many threads at once; caches that share pages need nothing of each
/// other. Errors, and allocations that fail, leave a cache as it was.
template <class Scalar>
class KVCache {
 public:
  /// No sequences.
  KVCache() {
    options_.batch = 0;
    options_.memory = MemoryScope::current();
  }
  explicit KVCache(const KVCacheOptions& o) : KVCache(checked(o), MemoryScope(checked(o).memory)) {}
  /// Shares the pages of the other, but not the room that it has reserved.
  KVCache(const KVCache& other);
  /// Leaves a cache without sequences behind.
  KVCache(KVCache&& other) noexcept : KVCache() { swap(other); }
  ~KVCache();
  KVCache& operator=(const KVCache& other) { return *this = KVCache(other); }
  KVCache& operator=(KVCache&& other) noexcept {
    KVCache moved(std::move(other));
    swap(moved);
    return *this;
  }

  /// So many sequences of no tokens, and the spare pages of this cache: each takes what the other gave back.
  /// The two are used by one thread at a time.
  KVCache sibling(AnyIndex batch = 0);

  const KVCacheOptions& options() const { return options_; }
  Index batch() const { return static_cast<Index>(sequences_.size()); }  // Number of sequences.
  /// Tokens of sequence b so far, evicted ones included.
  Index length(AnyIndex b) const { return lengths_[checked(b)]; }
  std::span<const Index> lengths() const { return lengths_; }  // The same of all of them. [B]
  Index max_length() const;  // Of the longest sequence; 0 where there is none.

  /// Makes room, so that appending up to so many more tokens to each sequence, in any number of calls,
  /// allocates nothing.
  void reserve(AnyIndex tokens);

  /// Adds T tokens to every sequence. key [B, H_kv, T, D], value [B, H_kv, T, Dv].
  void append(TensorView<const Scalar, 4> key, TensorView<const Scalar, 4> value);
  /// The same on a context's threads, as a part of its call.
  void append(Context& context, TensorView<const Scalar, 4> key, TensorView<const Scalar, 4> value);
  /// Adds T tokens to sequence b. key [H_kv, T, D], value [H_kv, T, Dv].
  void append(AnyIndex b, TensorView<const Scalar, 3> key, TensorView<const Scalar, 3> value);
  /// As append to sequence b, which has no tokens, at position `first`: the window has evicted those before
  /// it, so that first_token(b) is `first`.
  void resume(AnyIndex b, AnyIndex first, TensorView<const Scalar, 3> key, TensorView<const Scalar, 3> value);
  /// Forgets the tokens from position `length` on. Error where can_truncate says no.
  void truncate(AnyIndex b, AnyIndex length);
  /// Whether the window of a token at position `length` is still there. It is for each that the last call
  /// appended, and for 0.
  bool can_truncate(AnyIndex b, AnyIndex length) const;
  void clear();  // Forgets all tokens; sequences and pages stay.
  /// A new sequence with the tokens of b, sharing its pages; returns its number.
  Index fork(AnyIndex b) { return fork(*this, b); }
  /// The same of sequence b of another cache, whose options differ in `batch` at most.
  Index fork(const KVCache& other, AnyIndex b);
  /// Sequence i becomes what parents[i] was (beam search); their number may change.
  void reorder(std::span<const Index> parents) { become(reordered(parents)); }

  /// Keys and values of token t of sequence b, head h, or the first of them. Error where t is not there or
  /// evicted.
  void read(AnyIndex b, AnyIndex h, AnyIndex t, std::span<Scalar> key, std::span<Scalar> value) const;
  /// The first token of sequence b that no window has evicted.
  Index first_token(AnyIndex b) const { return sequences_[checked(b)].evicted * kKeyTile; }
  /// For each sequence its pages [H_kv][page_size()], null where evicted: what attention reads. Valid until
  /// the cache changes.
  const Scalar* const* const* tables() const { return tables_.data(); }
  /// Scalars of one head of a page: as Backend::Page lays them out.
  Index page_size() const { return kKeyTile * (options_.head_dim + value_stride()); }
  /// Features of a value, rounded up as pages keep them.
  Index value_stride() const { return layout().value_stride; }

 private:
  friend struct detail::CacheGroup<Scalar>;
  friend class detail::Appending<Scalar>;
  using Sequence = detail::CachedSequence<Scalar>;

  template <class T>
  using Vector = std::vector<T, detail::Allocator<T>>;

  KVCache(const KVCacheOptions& checked_options, const MemoryScope&);
  static KVCacheOptions checked(KVCacheOptions o);
  void swap(KVCache& other) noexcept;

  static std::size_t at(Index i) { return static_cast<std::size_t>(i); }
  std::size_t checked(Index b) const;
  /// Error where so many sequences of so many tokens more are beyond what an Index counts.
  void check_room(Index tokens, Index sequences) const;
  Index key_at(Index slot, Index d) const { return layout().key(slot, d); }
  Index value_at(Index slot, Index d) const { return layout().value(slot, d); }
  Index page_scalars() const { return std::max<Index>(1, options_.num_kv_heads * page_size()); }
  auto layout() const { return detail::Backend<Scalar>::page(options_.head_dim, options_.value_dim); }
  /// The first page that a token at a position sees.
  Index first_page_seen(Index position) const {
    return options_.window > 0 ? std::max<Index>(0, position - options_.window) / kKeyTile : 0;
  }

  /// Room for so many pages of sequence b.
  void make_room(Index b, Index pages);
  /// Pages that T more tokens take from the pool, less those that they give back before.
  Index pages_needed(Index b, Index tokens) const;
  /// T tokens behind each of the sequences from `first` on. key [N, H_kv, T, D], value [N, H_kv, T, Dv].
  void write(Context& context, Index first, const TensorView<const Scalar, 4>& key,
             const TensorView<const Scalar, 4>& value);
  Index spare_pages() const { return pool_ != nullptr ? pool_->spare() : 0; }
  void make_pages(Index count, bool more = true);
  /// One owner less; the last one's page is spare again.
  void give_back(detail::Page<Scalar>*& page) noexcept;
  /// Before tokens are appended: the pages that the first of them does not see.
  void evict(Index b) noexcept;
  /// Makes a page of a sequence its alone. There is room, and spare pages as pages_needed says.
  void writable_page(Index b, Index i);
  /// Forgets the tokens from `length` on, and shows what the last call has evicted, as before that call.
  void drop_from(Index b, Index length) noexcept;
  /// A call that appended `tokens` last has failed: as before it.
  void take_back(Index b, Index tokens) noexcept {
    drop_from(b, lengths_[at(b)] - tokens);
    sequences_[at(b)].kept = sequences_[at(b)].released;
  }

  /// Sequence b of another cache, for which there is room then.
  Sequence copy_of(const KVCache& other, Index b);
  void add(Sequence&& sequence, Index length) noexcept;
  /// A cache of the parents, and this one as that one, whose spare pages stay and get those of the sequences
  /// that are left out.
  KVCache reordered(std::span<const Index> parents) const;
  void become(KVCache&& next) noexcept;

  KVCacheOptions options_;
  Vector<Sequence> sequences_;
  Vector<Index> lengths_;
  Vector<const Scalar* const*> tables_;             // the data of each sequence
  std::shared_ptr<detail::PagePool<Scalar>> pool_;  // null: none spare so far
};

}  // namespace attend::inline ATTEND_ABI

#include <attend/kv_cache.inl>
