// The unigram language model: of all ways to cut a text into tokens, the most probable one.
// T. Kudo, Subword Regularization, 2018.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/aligned_text.hpp>
#include <attend/text/bpe.hpp>
#include <attend/text/prefix_index.hpp>
#include <attend/text/utf8.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::inline ATTEND_ABI::text {

namespace detail {

/// The most probable way to cut a text: from the last part to the first, where each begins and its id, which
/// is -1 for a character that is no token. each_prefix(text, f) calls f(length, id, cost) for the tokens that
/// a text begins with, where the cost is what each adds to the sum, which is rounded to Sum at each step.
/// Time is at most the length of the text times that of the longest token.
template <class Sum, class EachPrefix>
std::vector<std::pair<std::size_t, std::int32_t>> best_cut(std::string_view text, Sum unknown_cost,
                                                           EachPrefix&& each_prefix) {
  struct Node {
    Sum sum = 0;
    std::size_t begin = std::string_view::npos;
    std::int32_t id = -1;
  };
  std::vector<Node> best(text.size() + 1);  // best[e]: the best cut of the first e bytes, by its last part
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = decode_utf8(text, at).size;
    const Sum before = best[at].sum;
    bool covered = false;
    const auto offer = [&](std::size_t length, std::int32_t id, auto cost) {
      const auto sum = cost + before;
      Node& node = best[at + length];
      if (node.begin == std::string_view::npos || sum > node.sum) node = {static_cast<Sum>(sum), at, id};
    };
    each_prefix(text.substr(at), [&](std::size_t length, std::int32_t id, auto cost) {
      offer(length, id, cost);
      covered = covered || length == size;
    });
    if (!covered) offer(size, -1, unknown_cost);
    at += size;
  }
  std::size_t count = 0;
  for (std::size_t end = text.size(); end > 0; end = best[end].begin) ++count;
  std::vector<std::pair<std::size_t, std::int32_t>> cuts;
  cuts.reserve(count);
  for (std::size_t end = text.size(); end > 0; end = best[end].begin)
    cuts.emplace_back(best[end].begin, best[end].id);
  return cuts;
}

}  // namespace detail

/// Words as the likeliest sequence of pieces that each have a score.
class UnigramModel {
 public:
  /// scores[id] is the log probability of the token. A character that no token covers costs 10 more than the
  /// least probable token and becomes `unk_id`, or its bytes if `byte_fallback` and the vocabulary has them.
  UnigramModel(Vocabulary vocabulary, std::vector<double> scores, std::optional<std::int32_t> unk_id,
               bool byte_fallback)
      : vocabulary_(std::move(vocabulary)),
        scores_(std::move(scores)),
        unk_id_(unk_id),
        byte_fallback_(byte_fallback) {
    std::size_t count = 0, bytes = 0;
    const auto for_each_token = [&](auto&& f) {
      for (std::int32_t id = 0; id < static_cast<std::int32_t>(vocabulary_.size()); ++id)
        if (vocabulary_.contains(id)) f(vocabulary_.token(id), id);
    };
    for_each_token([&](std::string_view token, std::int32_t) { ++count, bytes += token.size(); });
    index_ = PrefixIndex(count, bytes);
    for_each_token([&](std::string_view token, std::int32_t id) { index_.add(token, id); });
    index_.finish();
    if (scores_.size() < vocabulary_.size())
      throw_error("Unigram: ", vocabulary_.size(), " tokens, but ", scores_.size(), " scores");
    if (!scores_.empty()) unk_score_ = *std::min_element(scores_.begin(), scores_.end()) - 10.0;
  }

  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::optional<std::int32_t> unknown_id() const { return unk_id_; }

  /// Appends the ids of the text; a run of unknown characters is one token. Time is at most the length of the
  /// text times that of the longest token.
  void tokenize(std::string_view text, std::vector<std::int32_t>& ids,
                std::vector<ByteRange>* ranges = nullptr) const {
    const auto each_prefix = [&](std::string_view rest, auto&& offer) {
      index_.for_each_prefix(rest, [&](std::size_t length, std::int32_t id) {
        offer(length, id, scores_[static_cast<std::size_t>(id)]);
      });
    };
    const auto cuts = detail::best_cut<double>(text, unk_score_, each_prefix);
    for (std::size_t begin = 0, i = cuts.size(); i-- > 0;) {
      const std::int32_t id = cuts[i].second;
      while (is_unknown(id) && i > 0 && is_unknown(cuts[i - 1].second)) --i;  // a run as one
      const std::size_t end = i ? cuts[i - 1].first : text.size();
      if (!is_unknown(id))
        ids.push_back(id);
      else
        append_unknown(text.substr(begin, end - begin), ids);
      if (ranges) ranges->resize(ids.size(), {begin, end});
      begin = end;
    }
  }

 private:
  static constexpr std::int32_t unknown = -1;

  bool is_unknown(std::int32_t id) const { return id == unknown || (unk_id_ && id == *unk_id_); }

  void append_unknown(std::string_view run, std::vector<std::int32_t>& ids) const {
    if (const auto id = vocabulary_.id(run)) return ids.push_back(*id);  // as "<unk>" in a text
    if (byte_fallback_) {
      const std::size_t before = ids.size();
      for (char c : run)
        if (const auto id = vocabulary_.id(byte_token(static_cast<unsigned char>(c)))) ids.push_back(*id);
      if (ids.size() == before + run.size()) return;
      ids.resize(before);
    }
    if (!unk_id_) throw_error("Unigram: \"", run.substr(0, 64), "\" is unknown, and there is no unk_id");
    ids.push_back(*unk_id_);
  }

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  std::optional<std::int32_t> unk_id_;
  bool byte_fallback_;
  double unk_score_ = -10.0;
  PrefixIndex index_;
};

}  // namespace attend::inline ATTEND_ABI::text
