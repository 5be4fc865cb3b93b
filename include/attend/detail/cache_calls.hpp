// Calls that change caches: of several layers, or not at all.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <attend/kv_cache.hpp>

namespace attend::inline ATTEND_ABI {
namespace detail {

/// What is done to the caches of several layers: to all of them, or where it fails to none.
template <class Scalar>
struct CacheGroup {
  /// Adds sequence b of others[i] to caches[i].
  static void fork(std::span<KVCache<Scalar>> caches, std::span<const KVCache<Scalar>> others, Index b);
  static void reorder(std::initializer_list<std::span<KVCache<Scalar>>> groups,
                      std::span<const Index> parents);
};

template <class Scalar>
void CacheGroup<Scalar>::fork(std::span<KVCache<Scalar>> caches, std::span<const KVCache<Scalar>> others,
                              Index b) {
  const MemoryScope scope(caches.empty() ? MemoryScope::current() : caches[0].options_.memory);
  std::vector<CachedSequence<Scalar>, Allocator<CachedSequence<Scalar>>> copies;
  copies.reserve(caches.size());
  for (std::size_t i = 0; i < caches.size(); ++i) copies.push_back(caches[i].copy_of(others[i], b));
  for (std::size_t i = 0; i < caches.size(); ++i)
    caches[i].add(std::move(copies[i]), others[i].lengths_[static_cast<std::size_t>(b)]);
}
template <class Scalar>
void CacheGroup<Scalar>::reorder(std::initializer_list<std::span<KVCache<Scalar>>> groups,
                                 std::span<const Index> parents) {
  const std::span<KVCache<Scalar>> first = *groups.begin();
  const MemoryScope scope(first.empty() ? MemoryScope::current() : first[0].options_.memory);
  std::vector<KVCache<Scalar>, Allocator<KVCache<Scalar>>> next;
  for (const std::span<KVCache<Scalar>> caches : groups)
    for (const KVCache<Scalar>& cache : caches) next.push_back(cache.reordered(parents));
  auto from = next.begin();
  for (const std::span<KVCache<Scalar>> caches : groups)
    for (KVCache<Scalar>& cache : caches) cache.become(std::move(*from++));
}
ATTEND_COMPILED_LAYER(struct CacheGroup<float>);

/// A call that appends the same number of tokens to each of some caches, once or, where it says so, in
/// pieces. What it has appended when it ends without `keep`, by an error, is taken back; so is what a run of
/// `measure` has counted.
template <class Scalar>
class Appending {
 public:
  /// Error where the caches do not have the same sequences.
  Appending(const char* who, std::span<KVCache<Scalar>> caches, bool measuring, bool in_pieces = false);
  Appending(const char* who, KVCache<Scalar>& cache, bool measuring);
  Appending(const Appending&) = delete;
  Appending& operator=(const Appending&) = delete;
  ~Appending();
  /// In a run of `measure`, where nothing is written: the lengths as if so many tokens were appended to all
  /// caches.
  void count(Index tokens);
  void keep() {
    if (!measuring_ && !caches_.empty()) start_ = length_of(caches_[0]);
    before_.clear();
  }

 private:
  static Index length_of(const KVCache<Scalar>& cache) {
    return cache.lengths_.empty() ? 0 : cache.lengths_[0];
  }

  std::span<KVCache<Scalar>> caches_;
  bool measuring_;
  Index start_ = 0;
  using Before = std::pair<KVCache<Scalar>*, KVCache<Scalar>>;
  std::vector<Before, Allocator<Before>> before_;  // whose windows evict between pieces
};

template <class Scalar>
Appending<Scalar>::Appending(const char* who, std::span<KVCache<Scalar>> caches, bool measuring,
                             bool in_pieces)
    : caches_(caches), measuring_(measuring) {
  for (const KVCache<Scalar>& cache : caches_)
    if (!std::equal(cache.lengths_.begin(), cache.lengths_.end(), caches_[0].lengths_.begin(),
                    caches_[0].lengths_.end()))
      throw_error(who, ": the caches of its layers have different lengths");
  if (!caches_.empty()) start_ = length_of(caches_[0]);
  if (!in_pieces || measuring_ || caches_.empty()) return;
  const MemoryScope scope(caches_[0].options_.memory);
  decltype(before_) before;
  for (KVCache<Scalar>& cache : caches_)
    if (cache.options_.window > 0) before.emplace_back(&cache, cache);
  before_.swap(before);
}
template <class Scalar>
Appending<Scalar>::Appending(const char* who, KVCache<Scalar>& cache, bool measuring)
    : Appending(who, std::span(&cache, 1), measuring) {}
template <class Scalar>
Appending<Scalar>::~Appending() {
  for (auto& [cache, before] : before_) cache->become(std::move(before));
  for (KVCache<Scalar>& cache : caches_) {
    const Index tokens = length_of(cache) - start_;
    for (Index b = 0; tokens > 0 && b < cache.batch(); ++b) {
      Index& length = cache.lengths_[static_cast<std::size_t>(b)];
      if (measuring_)
        length -= tokens;
      else
        cache.take_back(b, tokens);
    }
  }
}
template <class Scalar>
void Appending<Scalar>::count(Index tokens) {
  if (!measuring_) return;
  for (KVCache<Scalar>& cache : caches_)
    for (Index& each : cache.lengths_) each += tokens;
}
ATTEND_COMPILED_LAYER(class Appending<float>);

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI
