// Byte-pair encoding: merges the neighbours whose pair was learned first, until none is left.
// R. Sennrich et al., Neural Machine Translation of Rare Words with Subword Units, 2016.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/file.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::text {

/// "<0x0A>", the token of a byte in models with byte fallback.
inline std::string byte_token(unsigned char byte) {
  static constexpr char digits[] = "0123456789ABCDEF";
  return std::string("<0x") + digits[byte >> 4] + digits[byte & 15] + '>';
}

class BpeModel {
 public:
  struct Options {
    /// For a character that is no token; without it such characters are dropped.
    std::optional<std::string> unk_token = std::nullopt;
    bool fuse_unk = false;       ///< one unk_token for a run of them
    bool byte_fallback = false;  ///< their bytes as tokens <0x00>…<0xFF>, if those are there
    bool ignore_merges = false;  ///< a word that is a token is that token
    std::string continuing_subword_prefix = {};  ///< of characters that do not begin the word
    std::string end_of_word_suffix = {};         ///< of the character that ends it
  };
  using Merges = std::vector<std::pair<std::string, std::string>>;

  /// Merges in the order of their rank. Fails if a part or the result of one is no token.
  BpeModel(Vocabulary vocabulary, const Merges& merges, Options options, const std::string& where)
      : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
    const auto id = [&](const std::string& token, std::size_t rank) {
      const auto found = vocabulary_.id(token);
      if (!found)
        fail(where + ": merge " + std::to_string(rank) + ": \"" + token + "\" is not in the vocabulary");
      return *found;
    };
    const std::string& prefix = options_.continuing_subword_prefix;
    for (std::size_t rank = 0; rank < merges.size(); ++rank) {
      const auto& [left, right] = merges[rank];
      const std::int32_t left_id = id(left, rank), right_id = id(right, rank);
      if (!right.starts_with(prefix))
        fail(where + ": merge " + std::to_string(rank) + ": \"" + right + "\" does not begin with \"" +
             prefix + '"');
      merges_[pair(left_id, right_id)] = {static_cast<std::int32_t>(rank),
                                          id(left + right.substr(prefix.size()), rank)};
    }
    if (options_.unk_token) unknown_ = vocabulary_.id(*options_.unk_token);
    if (options_.byte_fallback)
      for (int byte = 0; byte < 256; ++byte)
        bytes_.push_back(vocabulary_.id(byte_token(static_cast<unsigned char>(byte))));
  }

  /// GPT-2's `merges.txt`: two tokens a line, after a first line "#version…".
  static Merges read_merges(const std::filesystem::path& path) {
    const std::string text = read_text(path);
    Merges merges;
    std::size_t number = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      std::string_view line(text.data() + at, end - at);
      if (line.ends_with('\r')) line.remove_suffix(1);
      at = end + 1;
      ++number;
      if (line.starts_with("#version") || line.empty()) continue;
      merges.push_back(split_merge(line, path.string() + ": line " + std::to_string(number)));
    }
    return merges;
  }

  static std::pair<std::string, std::string> split_merge(std::string_view line, const std::string& where) {
    const std::size_t blank = line.find(' ');
    if (blank == 0 || blank >= line.size() - 1 || line.find(' ', blank + 1) != std::string_view::npos)
      fail(where + ": expected two tokens with a blank between them");
    return {std::string(line.substr(0, blank)), std::string(line.substr(blank + 1))};
  }

  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Appends the ids of one word, in O(n log n) for n bytes.
  void tokenize(std::string_view word, std::vector<std::int32_t>& ids) const {
    if (word.empty()) return;
    if (options_.ignore_merges)
      if (const auto id = vocabulary_.id(word)) return ids.push_back(*id);
    std::vector<Symbol> symbols = characters(word);
    merge(symbols);
    for (const Symbol& s : symbols)
      if (s.alive) ids.push_back(s.id);
  }

 private:
  struct Symbol {
    std::int32_t id;
    bool alive = true;
    std::size_t previous = none, next = none;
  };
  struct Merge {
    std::int32_t rank, id;
  };
  struct Candidate {
    Merge merge;
    std::size_t at;
    bool operator<(const Candidate& other) const {  // std::priority_queue takes the greatest
      return merge.rank != other.merge.rank ? merge.rank > other.merge.rank : at > other.at;
    }
  };
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  static std::uint64_t pair(std::int32_t left, std::int32_t right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }

  std::vector<Symbol> characters(std::string_view word) const {
    std::vector<Symbol> symbols;
    symbols.reserve(word.size());
    bool after_unknown = false;
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
        symbols.push_back({*id});
        after_unknown = false;
      } else if (!bytes_.empty() && all_bytes(token)) {
        for (char c : token) symbols.push_back({*bytes_[static_cast<unsigned char>(c)]});
      } else if (options_.unk_token) {
        if (!unknown_)
          fail("BPE: unknown character, and \"" + *options_.unk_token + "\" is not in the vocabulary");
        if (!(after_unknown && options_.fuse_unk)) symbols.push_back({*unknown_});
        after_unknown = true;
      }
    }
    return symbols;
  }

  bool all_bytes(std::string_view token) const {
    for (char c : token)
      if (!bytes_[static_cast<unsigned char>(c)]) return false;
    return true;
  }

  std::optional<Merge> find(std::int32_t left, std::int32_t right) const {
    const auto at = merges_.find(pair(left, right));
    return at == merges_.end() ? std::nullopt : std::optional(at->second);
  }

  // Candidates wait in a heap, least rank first, then leftmost. One whose symbols have since changed is
  // recognised when it comes up: its pair no longer gives the token that it promised.
  void merge(std::vector<Symbol>& symbols) const {
    std::priority_queue<Candidate> heap;
    const auto offer = [&](std::size_t at) {
      if (at == none || symbols[at].next == none) return;
      if (const auto m = find(symbols[at].id, symbols[symbols[at].next].id)) heap.push({*m, at});
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
      const auto now = find(left.id, right.id);
      if (!now || now->id != best.merge.id) continue;
      left.id = best.merge.id;
      left.next = right.next;
      right.alive = false;
      if (left.next != none) symbols[left.next].previous = best.at;
      offer(left.previous);
      offer(best.at);
    }
  }

  Vocabulary vocabulary_;
  Options options_;
  std::unordered_map<std::uint64_t, Merge> merges_;
  std::optional<std::int32_t> unknown_;
  std::vector<std::optional<std::int32_t>> bytes_;  // 256 with byte fallback, else empty
};

}  // namespace attend::text
