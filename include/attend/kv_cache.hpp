// KVCache: keys and values of the tokens so far, in pages of 96 tokens as the kernels want them.
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <string>
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
  Index batch = 1;  // sequences
  Index num_kv_heads = 1;
  Index head_dim = 0;
  Index value_dim = 0;  // 0: head_dim
  /// For sliding windows: how many tokens before a new one stay visible to it; 0: all. Pair it with a mask
  /// that looks back no further, sliding_window(window, 0, Corner::bottom_right) at most. A call that appends
  /// any number of tokens first evicts the pages that its first token no longer sees, which are used again.
  /// Positions stay absolute.
  Index window = 0;
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
  KVCache() { options_.batch = 0; }
  explicit KVCache(const KVCacheOptions& o);
  /// Shares the pages of the other, but not the room that it has reserved.
  KVCache(const KVCache& other);
  /// Leaves a cache without sequences behind.
  KVCache(KVCache&& other) noexcept : KVCache() { swap(other); }
  KVCache& operator=(const KVCache& other) { return *this = KVCache(other); }
  KVCache& operator=(KVCache&& other) noexcept {
    KVCache moved(std::move(other));
    swap(moved);
    return *this;
  }

  const KVCacheOptions& options() const { return options_; }
  Index batch() const { return static_cast<Index>(sequences_.size()); }
  Index length(AnyIndex b) const { return lengths_[checked(b)]; }
  std::span<const Index> lengths() const { return lengths_; }
  Index max_length() const;

  /// Makes room, so that appending up to so many more tokens to each sequence, in any number of calls,
  /// allocates nothing.
  void reserve(AnyIndex tokens);

  /// Adds T tokens to every sequence. key [B, H_kv, T, D], value [B, H_kv, T, Dv].
  void append(TensorView<const Scalar, 4> key, TensorView<const Scalar, 4> value);
  /// Adds T tokens to sequence b. key [H_kv, T, D], value [H_kv, T, Dv].
  void append(AnyIndex b, TensorView<const Scalar, 3> key, TensorView<const Scalar, 3> value);
  /// Forgets the tokens from position `length` on. Error where can_truncate says no.
  void truncate(AnyIndex b, AnyIndex length);
  /// Whether the window of a token at position `length` is still there. It is for each that the last call
  /// appended, and for 0.
  bool can_truncate(AnyIndex b, AnyIndex length) const;
  void clear();
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
  Index value_stride() const { return layout().value_stride; }

 private:
  friend struct detail::CacheGroup<Scalar>;
  friend class detail::Appending<Scalar>;
  using Sequence = detail::CachedSequence<Scalar>;

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
  void write(Index first, const TensorView<const Scalar, 4>& key, const TensorView<const Scalar, 4>& value);
  /// Before tokens are appended: the pages that the first of them does not see.
  void evict(Index b) noexcept;
  /// A page of a sequence as its only owner. There is room, and spare pages as pages_needed says.
  Scalar* writable_page(Index b, Index i);
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
  std::vector<Sequence> sequences_;
  std::vector<Index> lengths_;
  std::vector<const Scalar* const*> tables_;  // the data of each sequence
  detail::PagePool<Scalar> pool_;
};

template <class Scalar>
KVCache<Scalar>::KVCache(const KVCacheOptions& o)
    : options_(checked(o)),
      sequences_(static_cast<std::size_t>(o.batch)),
      lengths_(static_cast<std::size_t>(o.batch)),
      tables_(static_cast<std::size_t>(o.batch)) {}
template <class Scalar>
KVCache<Scalar>::KVCache(const KVCache& other)
    : options_(other.options_),
      sequences_(other.sequences_),
      lengths_(other.lengths_),
      tables_(other.tables_) {
  for (std::size_t b = 0; b < tables_.size(); ++b) tables_[b] = sequences_[b].data.data();
}
template <class Scalar>
Index KVCache<Scalar>::max_length() const {
  return lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
}
template <class Scalar>
void KVCache<Scalar>::reserve(AnyIndex tokens) {
  if (tokens < 0) throw_error("KVCache: reserve of ", tokens, " tokens");
  check_room(tokens, batch());
  const Index missing = (tokens / kKeyTile + 2) * batch() - pool_.spare();
  if (missing > 0) pool_.make(missing, page_scalars(), false);
  for (Index b = 0; b < batch(); ++b) make_room(b, (lengths_[at(b)] + tokens) / kKeyTile + 2);
}
template <class Scalar>
void KVCache<Scalar>::append(TensorView<const Scalar, 4> key, TensorView<const Scalar, 4> value) {
  detail::check_shape("KVCache (key)",
                      Shape<4>{batch(), options_.num_kv_heads, key.size(2), options_.head_dim}, key.shape());
  detail::check_shape("KVCache (value)",
                      Shape<4>{batch(), options_.num_kv_heads, key.size(2), options_.value_dim},
                      value.shape());
  write(0, key, value);
}
template <class Scalar>
void KVCache<Scalar>::append(AnyIndex b, TensorView<const Scalar, 3> key, TensorView<const Scalar, 3> value) {
  checked(b);
  detail::check_shape("KVCache (key)", Shape<3>{options_.num_kv_heads, key.size(1), options_.head_dim},
                      key.shape());
  detail::check_shape("KVCache (value)", Shape<3>{options_.num_kv_heads, key.size(1), options_.value_dim},
                      value.shape());
  const auto as_batch = [](const TensorView<const Scalar, 3>& x) {
    return TensorView<const Scalar, 4>(x.data(), {1, x.size(0), x.size(1), x.size(2)},
                                       {0, x.stride(0), x.stride(1), x.stride(2)});
  };
  write(b, as_batch(key), as_batch(value));
}
template <class Scalar>
void KVCache<Scalar>::truncate(AnyIndex b, AnyIndex length) {
  if (!can_truncate(b, length))
    throw_error("KVCache: truncate to ", length, " tokens, but the window of ", options_.window,
                " has let go of those before ", sequences_[at(b)].kept * kKeyTile);
  drop_from(b, length);
}
template <class Scalar>
bool KVCache<Scalar>::can_truncate(AnyIndex b, AnyIndex length) const {
  if (length < 0 || length > lengths_[checked(b)])
    throw_error("KVCache: truncate to ", length, " of ", lengths_[checked(b)], " tokens");
  return length == 0 || first_page_seen(length) >= sequences_[at(b)].kept;
}
template <class Scalar>
void KVCache<Scalar>::clear() {
  for (Index b = 0; b < batch(); ++b) drop_from(b, 0);
}
template <class Scalar>
Index KVCache<Scalar>::fork(const KVCache& other, AnyIndex b) {
  Sequence copy = copy_of(other, b);
  add(std::move(copy), other.lengths_[at(b)]);
  return batch() - 1;
}
template <class Scalar>
void KVCache<Scalar>::read(AnyIndex b, AnyIndex h, AnyIndex t, std::span<Scalar> key,
                           std::span<Scalar> value) const {
  if (t < first_token(b) || t >= length(b))
    throw_error("KVCache: token ", t, " of sequence ", b, ", which has ", first_token(b), " to ",
                length(b) - 1);
  if (h < 0 || h >= options_.num_kv_heads) throw_error("KVCache: head ", h, " of ", options_.num_kv_heads);
  if (static_cast<Index>(key.size()) > options_.head_dim ||
      static_cast<Index>(value.size()) > options_.value_dim)
    throw_error("KVCache: read of a key of ", key.size(), " and a value of ", value.size(), ", expected ",
                options_.head_dim, " and ", options_.value_dim);
  const Scalar* page = sequences_[at(b)].data[at(t / kKeyTile)] + h * page_size();
  for (std::size_t d = 0; d < key.size(); ++d) key[d] = page[key_at(t % kKeyTile, static_cast<Index>(d))];
  for (std::size_t d = 0; d < value.size(); ++d)
    value[d] = page[value_at(t % kKeyTile, static_cast<Index>(d))];
}
template <class Scalar>
KVCacheOptions KVCache<Scalar>::checked(KVCacheOptions o) {
  if (o.value_dim == 0) o.value_dim = o.head_dim;
  // Half of what a piece of memory can have, so that no sum of two overflows; value_dim may be rounded up.
  constexpr Index kMost = (std::numeric_limits<Index>::max)() / static_cast<Index>(2 * sizeof(Scalar)) - 16;
  const Index most_dim = kMost / kKeyTile / std::max<Index>(1, o.num_kv_heads);
  if (o.batch < 0 || o.num_kv_heads < 1 || o.head_dim < 0 || o.value_dim < 0 || o.window < 0 ||
      o.head_dim > most_dim || o.value_dim > most_dim - 16 ||
      o.batch > kMost / static_cast<Index>(sizeof(Sequence)))
    throw_error("KVCache: batch ", o.batch, ", num_kv_heads ", o.num_kv_heads, ", head_dim ", o.head_dim,
                ", value_dim ", o.value_dim, ", window ", o.window,
                ": a negative size, no heads, or more than memory can hold");
  return o;
}
template <class Scalar>
void KVCache<Scalar>::swap(KVCache& other) noexcept {
  std::swap(options_, other.options_);
  sequences_.swap(other.sequences_);
  lengths_.swap(other.lengths_);
  tables_.swap(other.tables_);
  pool_.swap(other.pool_);
}
template <class Scalar>
std::size_t KVCache<Scalar>::checked(Index b) const {
  if (b < 0 || b >= batch()) throw_error("KVCache: sequence ", b, " of ", batch());
  return at(b);
}
template <class Scalar>
void KVCache<Scalar>::check_room(Index tokens, Index sequences) const {
  if (tokens >
      (std::numeric_limits<Index>::max)() / std::max<Index>(1, sequences) - max_length() - 2 * kKeyTile)
    throw_error("KVCache: ", tokens, " more tokens are more than memory can hold");
}
template <class Scalar>
void KVCache<Scalar>::make_room(Index b, Index pages) {
  Sequence& sequence = sequences_[at(b)];
  detail::make_room(sequence.pages, at(pages));
  detail::make_room(sequence.data, at(pages));
  tables_[at(b)] = sequence.data.data();
}
template <class Scalar>
Index KVCache<Scalar>::pages_needed(Index b, Index tokens) const {
  const Sequence& sequence = sequences_[at(b)];
  const Index first = lengths_[at(b)] / kKeyTile, end = (lengths_[at(b)] + tokens - 1) / kKeyTile + 1;
  Index needed = std::max<Index>(0, end - sequence.size());
  for (Index i = first; i < (std::min)(end, sequence.size()); ++i)
    needed += !sequence.page(i)->has_one_owner();
  for (Index i = sequence.released; i < sequence.kept; ++i) needed -= sequence.page(i)->has_one_owner();
  return needed;
}
template <class Scalar>
void KVCache<Scalar>::write(Index first, const TensorView<const Scalar, 4>& key,
                            const TensorView<const Scalar, 4>& value) {
  const Index end = first + key.size(0), tokens = key.size(2);
  if (tokens <= 0) return;
  // All that can fail comes first.
  check_room(tokens, key.size(0));
  Index missing = -pool_.spare();
  for (Index b = first; b < end; ++b) missing += pages_needed(b, tokens);
  if (missing > 0) pool_.make(missing, page_scalars());
  for (Index b = first; b < end; ++b) make_room(b, (lengths_[at(b)] + tokens - 1) / kKeyTile + 1);

  for (Index b = first; b < end; ++b) evict(b);
  for (Index b = first; b < end; ++b) {
    Index& length = lengths_[at(b)];
    for (Index t = 0; t < tokens;) {
      const Index slot = (length + t) % kKeyTile, n = (std::min)(kKeyTile - slot, tokens - t);
      Scalar* page = writable_page(b, (length + t) / kKeyTile);
      for (Index h = 0; h < options_.num_kv_heads; ++h, page += page_size())
        for (Index i = 0; i < n; ++i) {
          for (Index d = 0; d < options_.head_dim; ++d)
            page[key_at(slot + i, d)] = key(b - first, h, t + i, d);
          for (Index d = 0; d < options_.value_dim; ++d)
            page[value_at(slot + i, d)] = value(b - first, h, t + i, d);
        }
      t += n;
    }
    length += tokens;
  }
}
template <class Scalar>
void KVCache<Scalar>::evict(Index b) noexcept {
  Sequence& sequence = sequences_[at(b)];
  for (; sequence.released < sequence.kept; ++sequence.released)
    pool_.give_back(sequence.page(sequence.released));
  sequence.kept = sequence.evicted;
  for (; sequence.evicted < first_page_seen(lengths_[at(b)]); ++sequence.evicted)
    sequence.at(sequence.evicted) = nullptr;
}
template <class Scalar>
Scalar* KVCache<Scalar>::writable_page(Index b, Index i) {
  Sequence& sequence = sequences_[at(b)];
  if (i == sequence.size()) {
    sequence.pages.push_back(pool_.take());
    sequence.data.push_back(sequence.page(i)->data);
  } else if (!sequence.page(i)->has_one_owner()) {
    detail::Page<Scalar>* copy = pool_.take();
    std::copy_n(sequence.page(i)->data, page_scalars(), copy->data);
    pool_.give_back(sequence.page(i));
    sequence.page(i) = copy;
    sequence.at(i) = copy->data;
  }
  return sequence.page(i)->data;
}
template <class Scalar>
void KVCache<Scalar>::drop_from(Index b, Index length) noexcept {
  Sequence& sequence = sequences_[at(b)];
  for (const Index pages = (length + kKeyTile - 1) / kKeyTile; sequence.size() > pages;
       sequence.pages.pop_back(), sequence.data.pop_back())
    pool_.give_back(sequence.pages.back());
  for (Index* count : {&sequence.released, &sequence.kept, &sequence.evicted})
    *count = (std::min)(*count, sequence.size());
  for (; sequence.evicted > sequence.kept;
       sequence.at(sequence.evicted) = sequence.page(sequence.evicted)->data)
    --sequence.evicted;
  lengths_[at(b)] = length;
}
template <class Scalar>
typename KVCache<Scalar>::Sequence KVCache<Scalar>::copy_of(const KVCache& other, Index b) {
  const KVCacheOptions &o = options_, &p = other.options_;
  detail::check_shape("KVCache: fork of another cache ([num_kv_heads, head_dim, value_dim, window])",
                      Shape<4>{o.num_kv_heads, o.head_dim, o.value_dim, o.window},
                      Shape<4>{p.num_kv_heads, p.head_dim, p.value_dim, p.window});
  Sequence copy(other.sequences_[other.checked(b)]);
  detail::make_room(sequences_, sequences_.size() + 1);
  detail::make_room(lengths_, lengths_.size() + 1);
  detail::make_room(tables_, tables_.size() + 1);
  return copy;
}
template <class Scalar>
void KVCache<Scalar>::add(Sequence&& sequence, Index length) noexcept {
  sequences_.push_back(std::move(sequence));
  lengths_.push_back(length);
  tables_.push_back(sequences_.back().data.data());
}
template <class Scalar>
KVCache<Scalar> KVCache<Scalar>::reordered(std::span<const Index> parents) const {
  KVCache next;
  next.sequences_.reserve(parents.size());
  next.lengths_.reserve(parents.size());
  next.tables_.reserve(parents.size());
  for (Index parent : parents) {
    Sequence copy(sequences_[checked(parent)]);
    next.add(std::move(copy), lengths_[at(parent)]);
  }
  return next;
}
template <class Scalar>
void KVCache<Scalar>::become(KVCache&& next) noexcept {
  sequences_.swap(next.sequences_);
  lengths_.swap(next.lengths_);
  tables_.swap(next.tables_);
  for (Sequence& dropped : next.sequences_)
    for (detail::Page<Scalar>*& page : dropped.pages) pool_.give_back(page);
}
ATTEND_COMPILED_LAYER(class KVCache<float>);

}  // namespace attend::inline ATTEND_ABI
