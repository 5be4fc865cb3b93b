// Bodies of kv_cache.hpp, of any scalar.
#pragma once

#include <attend/kv_cache.hpp>

namespace attend::inline ATTEND_ABI {

template <class Scalar>
KVCache<Scalar>::KVCache(const KVCacheOptions& o, const MemoryScope&)
    : options_(o),
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
KVCache<Scalar>::~KVCache() {
  for (Sequence& sequence : sequences_)
    for (detail::Page<Scalar>*& page : sequence.pages) give_back(page);
}
template <class Scalar>
KVCache<Scalar> KVCache<Scalar>::sibling(AnyIndex batch) {
  if (pool_ == nullptr) make_pages(0, false);
  KVCacheOptions options = options_;
  options.batch = batch;
  KVCache other(options);
  other.pool_ = pool_;
  return other;
}
template <class Scalar>
Index KVCache<Scalar>::max_length() const {
  return lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
}
template <class Scalar>
void KVCache<Scalar>::reserve(AnyIndex tokens) {
  if (tokens < 0) throw_error("KVCache: reserve of ", tokens, " tokens");
  check_room(tokens, batch());
  const Index missing = (tokens / kKeyTile + 2) * batch() - spare_pages();
  if (missing > 0) make_pages(missing, false);
  for (Index b = 0; b < batch(); ++b) make_room(b, (lengths_[at(b)] + tokens) / kKeyTile + 2);
}
template <class Scalar>
void KVCache<Scalar>::append(TensorView<const Scalar, 4> key, TensorView<const Scalar, 4> value) {
  append(default_context(), key, value);
}
template <class Scalar>
void KVCache<Scalar>::append(Context& context, TensorView<const Scalar, 4> key,
                             TensorView<const Scalar, 4> value) {
  detail::check_shape("KVCache (key)",
                      Shape<4>{batch(), options_.num_kv_heads, key.size(2), options_.head_dim}, key.shape());
  detail::check_shape("KVCache (value)",
                      Shape<4>{batch(), options_.num_kv_heads, key.size(2), options_.value_dim},
                      value.shape());
  write(context, 0, key, value);
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
  write(default_context(), b, as_batch(key), as_batch(value));
}
template <class Scalar>
void KVCache<Scalar>::resume(AnyIndex b, AnyIndex first, TensorView<const Scalar, 3> key,
                             TensorView<const Scalar, 3> value) {
  const Index all = detail::saturating_add(first, key.size(1));
  if (length(b) > 0 || first < 0 || first % kKeyTile != 0 || first > first_page_seen(all) * kKeyTile ||
      key.size(1) < 1)
    throw_error("KVCache: resume at token ", first, " of ", all, " with a window of ", options_.window,
                ", where sequence ", b, " has ", length(b));
  Sequence& sequence = sequences_[at(b)];
  check_room(all, 1);
  make_room(b, first / kKeyTile);
  sequence.pages.resize(at(first / kKeyTile));
  sequence.data.resize(at(first / kKeyTile));
  sequence.evicted = sequence.kept = sequence.released = first / kKeyTile;
  lengths_[at(b)] = first;
  struct Undo {
    KVCache* cache;
    Index b;
    ~Undo() {
      if (cache != nullptr) cache->drop_from(b, 0);
    }
  } undo{this, b};
  append(b, key, value);
  undo.cache = nullptr;
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
  if (o.memory == nullptr) o.memory = MemoryScope::current();
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
void KVCache<Scalar>::make_pages(Index count, bool more) {
  const MemoryScope scope(options_.memory);
  if (pool_ == nullptr)
    pool_ = std::allocate_shared<detail::PagePool<Scalar>>(detail::Allocator<detail::PagePool<Scalar>>());
  if (count > 0) pool_->make(count, page_scalars(), more);
}
template <class Scalar>
void KVCache<Scalar>::give_back(detail::Page<Scalar>*& page) noexcept {
  if (pool_ != nullptr)
    pool_->give_back(page);
  else if (detail::Page<Scalar>* const last = std::exchange(page, nullptr);
           last != nullptr && last->drop_owner())
    detail::Page<Scalar>::dispose(last);
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
void KVCache<Scalar>::write(Context& context, Index first, const TensorView<const Scalar, 4>& key,
                            const TensorView<const Scalar, 4>& value) {
  const Index end = first + key.size(0), tokens = key.size(2);
  if (tokens <= 0) return;
  // All that can fail comes first.
  check_room(tokens, key.size(0));
  Index missing = -spare_pages();
  for (Index b = first; b < end; ++b) missing += pages_needed(b, tokens);
  if (missing > 0 || pool_ == nullptr) make_pages(missing);  // eviction may give what is taken
  for (Index b = first; b < end; ++b) make_room(b, (lengths_[at(b)] + tokens - 1) / kKeyTile + 1);

  struct Undo {  // where the context is stopped
    KVCache& cache;
    Index first, end, tokens;
    ~Undo() {
      for (; first < end; ++first) cache.take_back(first, tokens);
    }
  } undo{*this, first, end, tokens};
  for (Index b = first; b < end; ++b) evict(b);  // what one gives back another may take
  for (Index b = first; b < end; ++b) {
    for (Index i = lengths_[at(b)] / kKeyTile; i * kKeyTile < lengths_[at(b)] + tokens; ++i)
      writable_page(b, i);
    lengths_[at(b)] += tokens;
  }
  // An item is a page of a sequence.
  const Index pages = (tokens + kKeyTile - 2) / kKeyTile + 1, items = key.size(0) * pages;
  context.parallel(items, context.workers(items, static_cast<double>(key.numel() + value.numel())),
                   [&](Index item, int) {
                     const Index b = pages == 1 ? item : item / pages, i = item - b * pages;
                     const Index stop = lengths_[at(first + b)], start = stop - tokens;
                     const Index number = start / kKeyTile + i, begin = (std::max)(start, number * kKeyTile);
                     if (begin >= stop) return;
                     Scalar* page = sequences_[at(first + b)].page(number)->data;
                     for (Index h = 0; h < options_.num_kv_heads; ++h, page += page_size())
                       for (Index t = begin; t < (std::min)(stop, (number + 1) * kKeyTile); ++t) {
                         for (Index d = 0; d < options_.head_dim; ++d)
                           page[key_at(t % kKeyTile, d)] = key(b, h, t - start, d);
                         for (Index d = 0; d < options_.value_dim; ++d)
                           page[value_at(t % kKeyTile, d)] = value(b, h, t - start, d);
                       }
                   });
  undo.first = end;
}
template <class Scalar>
void KVCache<Scalar>::evict(Index b) noexcept {
  Sequence& sequence = sequences_[at(b)];
  for (; sequence.released < sequence.kept; ++sequence.released) give_back(sequence.page(sequence.released));
  sequence.kept = sequence.evicted;
  for (; sequence.evicted < first_page_seen(lengths_[at(b)]); ++sequence.evicted)
    sequence.at(sequence.evicted) = nullptr;
}
template <class Scalar>
void KVCache<Scalar>::writable_page(Index b, Index i) {
  Sequence& sequence = sequences_[at(b)];
  if (i == sequence.size()) {
    sequence.pages.push_back(pool_->take());
    sequence.data.push_back(sequence.page(i)->data);
  } else if (!sequence.page(i)->has_one_owner()) {
    detail::Page<Scalar>* copy = pool_->take();
    std::copy_n(sequence.page(i)->data, page_scalars(), copy->data);
    give_back(sequence.page(i));
    sequence.page(i) = copy;
    sequence.at(i) = copy->data;
  }
}
template <class Scalar>
void KVCache<Scalar>::drop_from(Index b, Index length) noexcept {
  Sequence& sequence = sequences_[at(b)];
  for (const Index pages = (length + kKeyTile - 1) / kKeyTile; sequence.size() > pages;
       sequence.pages.pop_back(), sequence.data.pop_back())
    give_back(sequence.pages.back());
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
  KVCacheOptions none = options_;
  none.batch = 0;
  KVCache next(none, MemoryScope(options_.memory));
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
    for (detail::Page<Scalar>*& page : dropped.pages) give_back(page);
}
ATTEND_COMPILED_LAYER(class KVCache<float>);

}  // namespace attend::inline ATTEND_ABI
