// What SentencePiece does to a text, and to pieces.
// T. Kudo, J. Richardson, SentencePiece: A simple and language independent subword tokenizer, 2018.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

#include <attend/text/encoding.hpp>
#include <attend/text/prefix_index.hpp>
#include <attend/text/sentencepiece_file.hpp>
#include <attend/text/unigram.hpp>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

/// A file with the indexes that it is asked by. Texts and pieces are those of SentencePiece's own library.
class SentencePieceCodec {
 public:
  using Kind = SentencePieceFile::Kind;

  explicit SentencePieceCodec(const Location& path) : file_(path) {
    const auto indexed = [&](Kind kind) {
      return kind == Kind::user_defined || (kind == Kind::normal && file_.type == SentencePieceFile::unigram);
    };
    index_.reserve(static_cast<std::size_t>(std::count_if(file_.kinds.begin(), file_.kinds.end(), indexed)));
    for (std::int32_t id = 0; id < static_cast<std::int32_t>(file_.kinds.size()); ++id) {
      if (indexed(file_.kind(id))) index_.add(id);
      if (file_.kind(id) == Kind::user_defined) any_fixed_ = true;
      if (file_.kind(id) != Kind::normal) continue;
      least_ = (std::min)(least_, file_.score(id));
      most_ = (std::max)(most_, file_.score(id));
    }
    index_.finish(Key{file_.pieces});
  }

  const SentencePieceFile& file() const { return file_; }

  /// Calls f(piece, range) for each piece of the text: one that is there, or a run of characters that are
  /// none; `range` is what it comes from, where `track` asks for that.
  template <class F>
  void for_each_piece(std::string_view text, bool track, F&& f) const {
    std::vector<std::size_t> origin;
    const std::string normal = file_.normalizer(
        text, [&](std::string_view rest) { return fixed(rest); }, track ? &origin : nullptr);
    const auto of = [&](std::string_view piece) {
      if (!track) return ByteRange();
      const auto at = static_cast<std::size_t>(piece.data() - normal.data());
      return ByteRange{origin[at], origin[at + piece.size()]};
    };
    std::string_view unknown;
    const auto give = [&](std::string_view piece, bool known) {
      if (!known && !file_.byte_fallback) {
        unknown = {unknown.empty() ? piece.data() : unknown.data(), unknown.size() + piece.size()};
        return;
      }
      if (!unknown.empty()) f(unknown, of(unknown));
      unknown = {};
      if (known) return f(piece, of(piece));
      for (char c : piece) f(byte_token(static_cast<unsigned char>(c)), of(piece));
    };
    file_.type == SentencePieceFile::unigram ? cut(normal, give) : merge(normal, give);
    if (!unknown.empty()) f(unknown, of(unknown));
  }

  std::string decode(const std::vector<std::string>& tokens) const {
    std::string out, bytes;
    const auto flush = [&] {  // U+FFFD for each byte that is part of no character
      for (std::size_t at = 0; at < bytes.size();) {
        const CodePoint c = decode_utf8(bytes, at);
        const bool valid = c.status == CodePoint::valid;
        out += valid ? std::string_view(bytes).substr(at, c.size) : replacement_character;
        at += valid ? c.size : 1;
      }
      bytes.clear();
    };
    const SentencePieceNormalizer& rules = file_.normalizer;
    bool at_begin = true, blank_seen = false;
    for (const std::string& token : tokens) {
      const std::int32_t id = file_.pieces.id(token).value_or(file_.unk);
      if (file_.kind(id) == Kind::byte) {
        bytes += static_cast<char>(byte_of_token(token));
        continue;
      }
      flush();
      at_begin = at_begin && !blank_seen && out.empty();
      blank_seen = false;
      if (file_.kind(id) == Kind::control) continue;
      if (file_.kind(id) == Kind::unknown) {
        out += file_.pieces.token(id) == token ? file_.unk_surface : token;
        continue;
      }
      std::string_view piece = token;
      if (at_begin && (rules.add_dummy_prefix || rules.remove_extra_blanks) &&
          piece.starts_with(blank_piece)) {
        piece.remove_prefix(blank_piece.size());
        blank_seen = !rules.remove_extra_blanks;
      }
      out += replace_all(piece, blank_piece, " ");
    }
    flush();
    return file_.denormalizer && file_.denormalizer->map
               ? (*file_.denormalizer)(out, [](std::string_view) { return std::size_t{0}; })
               : out;
  }

 private:
  struct Key {
    const Vocabulary& pieces;
    std::string_view operator()(std::int32_t id) const { return pieces.token(id); }
  };
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  // The size of the longest piece that the user defined, of those that the text begins with.
  std::size_t fixed(std::string_view text) const {
    std::size_t longest = 0;
    if (any_fixed_)
      index_.for_each_prefix(text, Key{file_.pieces}, [&](std::size_t size, std::int32_t id) {
        if (file_.kind(id) == Kind::user_defined) longest = size;
      });
    return longest;
  }

  template <class Give>
  void cut(std::string_view text, Give&& give) const {
    // In float, as the library does it: equals are common. What a user defined is next to always taken.
    const auto each_prefix = [&](std::string_view rest, auto&& offer) {
      index_.for_each_prefix(rest, Key{file_.pieces}, [&](std::size_t length, std::int32_t id) {
        offer(length, id,
              file_.kind(id) == Kind::user_defined ? 0.1f * static_cast<float>(length - 1) : file_.score(id));
      });
    };
    const auto cuts = best_cut<float>(text, least_ - 10.0f, each_prefix);
    for (std::size_t i = cuts.size(); i-- > 0;)
      give(text.substr(cuts[i].first, (i ? cuts[i - 1].first : text.size()) - cuts[i].first),
           cuts[i].second >= 0);
  }

  // The neighbours whose union has the highest score become one, the leftmost of equals first. One that is
  // unused falls apart again.
  template <class Give>
  void merge(std::string_view text, Give&& give) const {
    struct Symbol {
      std::size_t begin, size, previous, next;
      bool fixed;
    };
    struct Candidate {
      float score;
      std::size_t left, size;
      bool operator<(const Candidate& other) const {
        return score != other.score ? score < other.score : left > other.left;
      }
    };
    std::vector<Symbol> symbols;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t stays = fixed(text.substr(at)), i = symbols.size();
      const std::size_t size = stays ? stays : decode_utf8(text, at).size;
      symbols.push_back({at, size, i ? i - 1 : none, i + 1, stays > 0});
      at += size;
    }
    if (symbols.empty()) return;
    symbols.back().next = none;
    std::priority_queue<Candidate> heap;
    std::map<std::string_view, std::size_t> unused;  // and the size of the left part
    const auto offer = [&](std::size_t at) {
      if (file_.type != SentencePieceFile::bpe || at == none || symbols[at].next == none) return;
      const Symbol &left = symbols[at], &right = symbols[left.next];
      if (left.fixed || right.fixed) return;
      const std::string_view both = text.substr(left.begin, left.size + right.size);
      const auto id = file_.pieces.id(both);
      if (!id || !file_.is_text(*id)) return;
      heap.push({file_.score(*id), at, both.size()});
      if (file_.kind(*id) == Kind::unused) unused[both] = left.size;
    };
    for (std::size_t i = 0; i < symbols.size(); ++i) offer(i);
    while (!heap.empty()) {
      const Candidate best = heap.top();
      heap.pop();
      Symbol& left = symbols[best.left];
      if (left.size == 0 || left.next == none) continue;
      Symbol& right = symbols[left.next];
      if (left.size + right.size != best.size) continue;
      left.size = best.size;
      right.size = 0;
      left.next = right.next;
      if (left.next != none) symbols[left.next].previous = best.left;
      offer(left.previous);
      offer(best.left);
    }
    std::vector<std::string_view> open;
    for (std::size_t i = 0; i != none; i = symbols[i].next)
      for (open.push_back(text.substr(symbols[i].begin, symbols[i].size)); !open.empty();) {
        const std::string_view piece = open.back();
        open.pop_back();
        const auto id = file_.pieces.id(piece);
        const auto parts = id && file_.kind(*id) == Kind::unused ? unused.find(piece) : unused.end();
        if (parts == unused.end()) {
          give(piece, id && file_.is_text(*id) && file_.kind(*id) != Kind::unused);
        } else {
          open.push_back(piece.substr(parts->second));
          open.push_back(piece.substr(0, parts->second));
        }
      }
  }

  SentencePieceFile file_;
  float least_ = (std::numeric_limits<float>::max)(), most_ = (std::numeric_limits<float>::min)();
  bool any_fixed_ = false;
  SortedStrings<std::int32_t> index_;  // what a text is cut into, and what a user defined
};

}  // namespace attend::inline ATTEND_ABI::text::detail
