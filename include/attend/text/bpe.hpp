// Byte-pair encoding: merges the neighbours whose pair was learned first, until none is left.
// R. Sennrich et al., Neural Machine Translation of Rare Words with Subword Units, 2016.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/aligned_text.hpp>
#include <attend/text/file.hpp>
#include <attend/text/secret_hash.hpp>
#include <attend/text/utf8.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::inline ATTEND_ABI::text {

/// "<0x0A>", the token of a byte in models with byte fallback.
inline std::string byte_token(unsigned char byte) {
  static constexpr char digits[] = "0123456789ABCDEF";
  return std::string("<0x") + digits[byte >> 4] + digits[byte & 15] + '>';
}

/// Words as byte pairs, or pairs of characters, that were merged in the order of a list.
class BpeModel {
 public:
  /// Named as in tokenizer.json.
  struct Options {
    /// For a character that is no token; without it such characters are dropped.
    std::optional<std::string> unk_token = std::nullopt;
    bool fuse_unk = false;       ///< one unk_token for a run of them
    bool byte_fallback = false;  ///< their bytes as tokens <0x00>…<0xFF>, if those are there
    bool ignore_merges = false;  ///< a word that is a token is that token
    std::string continuing_subword_prefix = {};  ///< of characters that do not begin the word
    std::string end_of_word_suffix = {};         ///< of the character that ends it
  };
  /// Without merges yet, and with room for so many.
  BpeModel(Vocabulary vocabulary, Options options, std::size_t merges)
      : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
    merges_.reserve(merges);
    if (options_.unk_token) unknown_ = vocabulary_.id(*options_.unk_token);
    if (options_.byte_fallback)
      for (int byte = 0; byte < 256; ++byte)
        bytes_.push_back(vocabulary_.id(byte_token(static_cast<unsigned char>(byte))));
  }

  /// Merges by scores: any two neighbours whose union is a token may become one, those of the highest score
  /// first. Of a token that is never made of others it is -infinity. In place of a list of merges.
  void set_scores(const std::vector<float>& scores) {
    std::vector<std::int32_t> ids;
    for (std::size_t id = 0; id < scores.size(); ++id)
      if (scores[id] > -std::numeric_limits<float>::infinity()) ids.push_back(static_cast<std::int32_t>(id));
    std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
      return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
    });
    ranks_.assign(scores.size(), no_rank);
    merges_.reserve(ids.size());
    for (std::int32_t id : ids) {
      ranks_[static_cast<std::size_t>(id)] = static_cast<std::int32_t>(merges_.size());
      merges_.push_back({no_rank, no_rank, id});
    }
  }

  /// The next merge. Of a pair that was there before, this rank counts. Fails if a part or the result is no
  /// token.
  void add_merge(std::string_view left, std::string_view right, const std::string& where) {
    const auto id = [&](std::string_view token) {
      const auto found = vocabulary_.id(token);
      if (!found)
        throw_error(where, ": merge ", merges_.size(), ": \"", token, "\" is not in the vocabulary");
      return *found;
    };
    const std::string& prefix = options_.continuing_subword_prefix;
    const std::int32_t left_id = id(left), right_id = id(right);
    if (!right.starts_with(prefix))
      throw_error(where, ": merge ", merges_.size(), ": \"", right, "\" does not begin with \"", prefix, '"');
    const std::int32_t result = id(std::string(left).append(right.substr(prefix.size())));
    if (merges_.size() >= static_cast<std::size_t>((std::numeric_limits<std::int32_t>::max)()))
      throw_error(where, ": too many merges");
    const std::size_t slot = slot_for(left_id, right_id);
    distinct_ += table_[slot] == no_rank;
    table_[slot] = static_cast<std::int32_t>(merges_.size());
    merges_.push_back({left_id, right_id, result});
  }

  /// The two tokens of "left right"; where() names it in the error.
  template <class Where>
  static std::pair<std::string_view, std::string_view> split_merge(std::string_view line, Where&& where) {
    const std::size_t blank = line.find(' ');
    if (blank == 0 || blank == std::string_view::npos || blank + 1 == line.size() ||
        line.find(' ', blank + 1) != std::string_view::npos)
      throw_error(where(), ": expected two tokens with a blank between them");
    return {line.substr(0, blank), line.substr(blank + 1)};
  }

  /// The pairs of GPT-2's `merges.txt`: two tokens a line, after a first line "#version…".
  template <class F>
  static void for_each_merge(const Location& path, F&& f) {
    std::size_t number = 0;
    for_each_text_line(path, [&](std::string_view line) {
      ++number;
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.starts_with("#version") || line.empty()) return;
      const auto [left, right] =
          split_merge(line, [&] { return path.string() + ": line " + std::to_string(number); });
      f(left, right);
    });
  }

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const Options& options() const { return options_; }
  std::optional<std::int32_t> unknown_id() const { return unknown_; }

  /// Appends the ids of one word, in O(n log n) for n bytes.
  void tokenize(std::string_view word, std::vector<std::int32_t>& ids,
                std::vector<ByteRange>* ranges = nullptr) const {
    if (word.empty()) return;
    std::vector<Symbol> symbols;
    const auto whole = options_.ignore_merges ? vocabulary_.id(word) : std::nullopt;
    if (whole) {
      symbols.push_back({.id = *whole, .size = word.size()});
    } else {
      symbols = characters(word);
      merge(symbols);
    }
    std::size_t begin = 0;  // as tokenizers counts: characters that are no token at all do not
    for (const Symbol& s : symbols) {
      if (!s.alive) continue;
      ids.push_back(s.id);
      if (ranges) ranges->push_back({begin, begin + s.size});
      begin += s.size;
    }
  }

 private:
  struct Symbol {
    std::int32_t id;
    std::size_t size;  // bytes of the word
    bool alive = true;
    std::size_t previous = none, next = none;
  };
  struct Merge {
    std::int32_t left, right, id;
  };
  struct Candidate {
    std::int32_t rank;
    std::size_t at;
    bool operator<(const Candidate& other) const {  // std::priority_queue takes the greatest
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  static constexpr std::int32_t no_rank = -1;
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  std::vector<Symbol> characters(std::string_view word) const {
    std::vector<Symbol> symbols;
    symbols.reserve(word.size());
    std::optional<Symbol> unknown;  // waits for the next token, before which it stands; bytes do not wait
    const auto place_unknown = [&] {
      if (unknown) symbols.push_back(*std::exchange(unknown, {}));
    };
    std::string key;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t size = decode_utf8(word, at).size;
      std::string_view token = word.substr(at, size);
      const bool first = at == 0, last = at + size == word.size();
      at += size;
      if ((!first && !options_.continuing_subword_prefix.empty()) ||
          (last && !options_.end_of_word_suffix.empty())) {
        key = first ? "" : options_.continuing_subword_prefix;
        key += token;
        if (last) key += options_.end_of_word_suffix;
        token = key;
      }
      if (const auto id = vocabulary_.id(token)) {
        place_unknown();
        symbols.push_back({.id = *id, .size = size});
      } else if (!bytes_.empty() && all_bytes(token)) {
        for (char c : token) symbols.push_back({.id = *bytes_[static_cast<unsigned char>(c)], .size = 1});
      } else if (options_.unk_token) {
        if (!unknown_)
          throw_error("BPE: unknown character, and \"", *options_.unk_token, "\" is not in the vocabulary");
        if (unknown && options_.fuse_unk) {
          unknown->size += size;
        } else {
          place_unknown();
          unknown = Symbol{.id = *unknown_, .size = size};
        }
      }
    }
    place_unknown();
    return symbols;
  }

  bool all_bytes(std::string_view token) const {
    for (char c : token)
      if (!bytes_[static_cast<unsigned char>(c)]) return false;
    return true;
  }

  // Where the rank of a pair is, or would go: an open hash table, as in Vocabulary.
  std::size_t find_slot(std::int32_t left, std::int32_t right) const {
    detail::SecretHash hash(seed_);
    hash.add(static_cast<std::uint32_t>(left));
    hash.add(static_cast<std::uint32_t>(right));
    std::size_t slot = hash.slot(table_.size());
    for (; table_[slot] != no_rank; slot = slot + 1 == table_.size() ? 0 : slot + 1) {
      const Merge& merge = merges_[static_cast<std::size_t>(table_[slot])];
      if (merge.left == left && merge.right == right) break;
    }
    return slot;
  }
  // The same; makes room for one more first, by building the table anew.
  std::size_t slot_for(std::int32_t left, std::int32_t right) {
    if (4 * (distinct_ + 1) > 3 * table_.size()) {
      const std::size_t size = table_.size() + table_.size() / 2 + 16;
      table_ = {};  // before the larger one
      table_.assign(size, no_rank);
      for (std::size_t rank = 0; rank < merges_.size(); ++rank)
        table_[find_slot(merges_[rank].left, merges_[rank].right)] = static_cast<std::int32_t>(rank);
    }
    return find_slot(left, right);
  }
  ATTEND_OUT_OF_LINE std::int32_t rank_by_score(std::int32_t left, std::int32_t right) const {
    const auto id = vocabulary_.id(std::string(vocabulary_.token(left)).append(vocabulary_.token(right)));
    return id ? ranks_[static_cast<std::size_t>(*id)] : no_rank;
  }
  std::int32_t rank(std::int32_t left, std::int32_t right) const {
    if (!ranks_.empty()) return rank_by_score(left, right);
    return table_.empty() ? no_rank : table_[find_slot(left, right)];
  }

  // Candidates wait in a heap, least rank first, then leftmost. One whose symbols have since changed is
  // recognised when it comes up: its pair no longer gives the token that it promised.
  void merge(std::vector<Symbol>& symbols) const {
    std::priority_queue<Candidate> heap;
    const auto offer = [&](std::size_t at) {
      if (at == none || symbols[at].next == none) return;
      const std::int32_t found = rank(symbols[at].id, symbols[symbols[at].next].id);
      if (found != no_rank) heap.push({found, at});
    };
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      symbols[i].previous = i ? i - 1 : none;
      symbols[i].next = i + 1 < symbols.size() ? i + 1 : none;
    }
    for (std::size_t i = 0; i < symbols.size(); ++i) offer(i);
    while (!heap.empty()) {
      const Candidate best = heap.top();
      heap.pop();
      Symbol& left = symbols[best.at];
      if (!left.alive || left.next == none) continue;
      Symbol& right = symbols[left.next];
      const std::int32_t promised = merges_[static_cast<std::size_t>(best.rank)].id;
      const std::int32_t now = rank(left.id, right.id);
      if (now == no_rank || merges_[static_cast<std::size_t>(now)].id != promised) continue;
      left.id = promised;
      left.size += right.size;
      left.next = right.next;
      right.alive = false;
      if (left.next != none) symbols[left.next].previous = best.at;
      offer(left.previous);
      offer(best.at);
    }
  }

  Vocabulary vocabulary_;
  Options options_;
  std::uint64_t seed_ = detail::draw_seed();
  std::vector<Merge> merges_;        // by rank
  std::vector<std::int32_t> table_;  // ranks by their pair's hash; at least a quarter is no_rank
  std::vector<std::int32_t> ranks_;  // where merges have scores: of each id
  std::size_t distinct_ = 0;
  std::optional<std::int32_t> unknown_;
  std::vector<std::optional<std::int32_t>> bytes_;  // 256 with byte fallback, else empty
};

}  // namespace attend::inline ATTEND_ABI::text
