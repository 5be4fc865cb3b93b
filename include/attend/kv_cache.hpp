// KVCache: keys and values of the tokens so far, in pages of 96 tokens as the kernels want them.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <attend/core/tiling.hpp>
#include <attend/detail/backend.hpp>
#include <attend/tensor.hpp>

namespace attend {

struct KVCacheOptions {
  Index batch = 1;  // sequences
  Index num_kv_heads = 1;
  Index head_dim = 0;
  Index value_dim = 0;  // 0: head_dim
  /// Tokens that stay visible, for sliding windows: pages that lie wholly before them are let go of and used again.
  /// 0: all. Positions stay absolute. Pair it with a sliding_window mask that is no wider.
  Index window = 0;
};

/// The tokens of each sequence lie in pages; sequences that share a beginning share its pages, and a page is copied
/// when one of its sharers writes to it. A page is a key tile of attention: decoding reads it as it lies, and
/// prefill, in one piece or many, sees the same tiles, so that all of them give the same bits.
template <class Scalar>
class KVCache {
 public:
  KVCache() = default;
  explicit KVCache(const KVCacheOptions& o) : options_(o), sequences_(static_cast<std::size_t>(o.batch)) {
    if (options_.value_dim == 0) options_.value_dim = o.head_dim;
    lengths_.assign(static_cast<std::size_t>(o.batch), 0);
  }

  const KVCacheOptions& options() const { return options_; }
  Index batch() const { return static_cast<Index>(sequences_.size()); }
  Index length(Index b) const { return lengths_[check(b)]; }
  std::span<const Index> lengths() const { return lengths_; }
  Index max_length() const { return lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end()); }

  /// Makes room, so that appending up to so many more tokens to each sequence allocates nothing.
  void reserve(Index tokens) {
    const Index each = (options_.window > 0 ? std::min(tokens, options_.window) : tokens) / kKeyTile + 2;
    make_pages(each * batch() - static_cast<Index>(spare_.size()));
    for (std::size_t b = 0; b < sequences_.size(); ++b) {
      const std::size_t pages = static_cast<std::size_t>((lengths_[b] + tokens) / kKeyTile + 2);
      sequences_[b].pages.reserve(pages);
      sequences_[b].data.reserve(pages);
    }
    tables_.reserve(sequences_.size());
  }

  /// Adds T tokens to every sequence. key [B, H_kv, T, D], value [B, H_kv, T, Dv].
  void append(TensorView<const Scalar, 4> key, TensorView<const Scalar, 4> value) {
    check_shape("KVCache (key)", Shape<4>{batch(), options_.num_kv_heads, key.size(2), options_.head_dim}, key.shape());
    check_shape("KVCache (value)", Shape<4>{batch(), options_.num_kv_heads, key.size(2), options_.value_dim}, value.shape());
    for (Index b = 0; b < batch(); ++b) append(b, key[b], value[b]);
  }
  /// Adds T tokens to sequence b. key [H_kv, T, D], value [H_kv, T, Dv].
  void append(Index b, TensorView<const Scalar, 3> key, TensorView<const Scalar, 3> value) {
    Index& length = lengths_[check(b)];
    check_shape("KVCache (key)", Shape<3>{options_.num_kv_heads, key.size(1), options_.head_dim}, key.shape());
    check_shape("KVCache (value)", Shape<3>{options_.num_kv_heads, key.size(1), options_.value_dim}, value.shape());
    for (Index t = 0; t < key.size(1); ++t, ++length) {
      Scalar* page = writable_page(b, length / kKeyTile);
      for (Index h = 0; h < options_.num_kv_heads; ++h, page += page_size()) {
        const Index slot = length % kKeyTile;
        for (Index d = 0; d < options_.head_dim; ++d) page[key_at(slot, d)] = key(h, t, d);
        for (Index d = 0; d < options_.value_dim; ++d) page[value_at(slot, d)] = value(h, t, d);
      }
    }
    release_before(b, options_.window > 0 ? length - options_.window : 0);
  }
  /// Forgets the tokens from position `length` on.
  void truncate(Index b, Index length) {
    if (length < 0 || length > lengths_[check(b)])
      fail("KVCache: truncate to " + std::to_string(length) + " of " + std::to_string(lengths_[check(b)]) + " tokens");
    Sequence& sequence = sequences_[check(b)];
    const std::size_t pages = static_cast<std::size_t>((length + kKeyTile - 1) / kKeyTile);
    while (sequence.pages.size() > pages) {
      give_back(sequence.pages.back());
      sequence.pages.pop_back();
      sequence.data.pop_back();
    }
    lengths_[check(b)] = length;
  }
  void clear() {
    for (Index b = 0; b < batch(); ++b) truncate(b, 0);
  }
  /// A new sequence with the tokens of b, sharing its pages; returns its number.
  Index fork(Index b) { return fork(*this, b); }
  /// The same of sequence b of another cache, whose options differ in `batch` at most.
  Index fork(const KVCache& other, Index b) {
    sequences_.push_back(other.sequences_[other.check(b)]);
    lengths_.push_back(other.lengths_[other.check(b)]);
    return batch() - 1;
  }
  /// Sequence i becomes what parents[i] was (beam search); their number may change.
  void reorder(std::span<const Index> parents) {
    std::vector<Sequence> sequences;
    std::vector<Index> lengths;
    for (Index parent : parents) {
      sequences.push_back(sequences_[check(parent)]);
      lengths.push_back(lengths_[check(parent)]);
    }
    sequences_.swap(sequences);
    lengths_.swap(lengths);
    for (Sequence& dropped : sequences)
      for (Page& page : dropped.pages) give_back(page);
  }

  /// Keys and values of token t of sequence b, head h. t must not have left the window.
  void read(Index b, Index h, Index t, std::span<Scalar> key, std::span<Scalar> value) const {
    const Scalar* page = sequences_[check(b)].data[static_cast<std::size_t>(t / kKeyTile)] + h * page_size();
    for (std::size_t d = 0; d < key.size(); ++d) key[d] = page[key_at(t % kKeyTile, static_cast<Index>(d))];
    for (std::size_t d = 0; d < value.size(); ++d) value[d] = page[value_at(t % kKeyTile, static_cast<Index>(d))];
  }
  /// The first token of sequence b that a window has not let go of.
  Index first_token(Index b) const {
    const std::vector<const Scalar*>& pages = sequences_[check(b)].data;
    std::size_t i = 0;
    while (i < pages.size() && pages[i] == nullptr) ++i;
    return static_cast<Index>(i) * kKeyTile;
  }
  /// For each sequence its pages [H_kv][page_size()], null where let go of: what attention reads.
  const Scalar* const* const* tables() const {
    tables_.clear();
    for (const Sequence& sequence : sequences_) tables_.push_back(sequence.data.data());
    return tables_.data();
  }
  /// Scalars of one head of a page: as Backend::Page lays them out.
  Index page_size() const { return kKeyTile * (options_.head_dim + value_stride()); }
  Index value_stride() const { return layout().value_stride; }

 private:
  using Page = std::shared_ptr<Scalar>;
  struct Sequence {
    std::vector<Page> pages;
    std::vector<const Scalar*> data;  // of each page
  };

  std::size_t check(Index b) const {
    if (b < 0 || b >= batch()) fail("KVCache: sequence " + std::to_string(b) + " of " + std::to_string(batch()));
    return static_cast<std::size_t>(b);
  }
  Index key_at(Index slot, Index d) const {
    return layout().key(slot, d);
  }
  Index value_at(Index slot, Index d) const {
    return layout().value(slot, d);
  }
  Index page_scalars() const { return options_.num_kv_heads * page_size(); }
  auto layout() const { return detail::Backend<Scalar>::page(options_.head_dim, options_.value_dim); }
  /// Pages in one piece of memory, which lives as long as any of them.
  void make_pages(Index count) {
    if (count <= 0) return;
    const auto memory = std::make_shared<Tensor<Scalar, 2>>(Shape<2>{count, page_scalars()});
    for (Index i = count - 1; i >= 0; --i) spare_.emplace_back((*memory)[i].data(), [memory](Scalar*) {});
    made_ += count;
  }
  Page take_page() {
    if (spare_.empty()) {  // twice as many, so that much memory is in large pieces, but no more than 16 MB at once
      const Index most = (Index{16} << 20) / std::max<Index>(1, page_scalars() * static_cast<Index>(sizeof(Scalar)));
      make_pages(std::max<Index>(1, std::min(made_, most)));
    }
    Page page = std::move(spare_.back());
    spare_.pop_back();
    return page;
  }
  void give_back(Page& page) {
    if (page != nullptr && page.use_count() == 1) spare_.push_back(std::move(page));
    page.reset();
  }
  /// The page of a sequence as its only owner.
  Scalar* writable_page(Index b, Index index) {
    Sequence& sequence = sequences_[static_cast<std::size_t>(b)];
    const std::size_t i = static_cast<std::size_t>(index);
    if (i == sequence.pages.size()) {
      sequence.pages.push_back(take_page());
      sequence.data.push_back(sequence.pages[i].get());
    } else if (sequence.pages[i].use_count() > 1) {
      Page copy = take_page();
      std::copy_n(sequence.data[i], page_scalars(), copy.get());
      sequence.pages[i] = std::move(copy);
      sequence.data[i] = sequence.pages[i].get();
    }
    return sequence.pages[i].get();
  }
  void release_before(Index b, Index token) {
    Sequence& sequence = sequences_[static_cast<std::size_t>(b)];
    for (Index i = token / kKeyTile - 1; i >= 0 && sequence.pages[static_cast<std::size_t>(i)] != nullptr; --i) {
      give_back(sequence.pages[static_cast<std::size_t>(i)]);
      sequence.data[static_cast<std::size_t>(i)] = nullptr;
    }
  }

  KVCacheOptions options_;
  std::vector<Sequence> sequences_;
  std::vector<Index> lengths_;
  std::vector<Page> spare_;
  Index made_ = 0;  // pages
  mutable std::vector<const Scalar* const*> tables_;
};

}  // namespace attend
