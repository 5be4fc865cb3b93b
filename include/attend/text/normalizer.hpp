// The "normalizer" of tokenizer.json: what happens to text before it is split.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <attend/text/aligned_text.hpp>
#include <attend/text/byte_level.hpp>
#include <attend/text/file.hpp>
#include <attend/text/regex.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/wordpiece.hpp>

namespace attend::inline ATTEND_ABI::text {

/// Bytes that the steps of a tokenizer may grow a text to: 36 times "a" -> "aa" would never end. Unicode's
/// own forms reach 11 bytes for one.
inline std::size_t growth_limit(std::size_t size) {
  return 4096 + 64 * (std::min)(size, (std::numeric_limits<std::size_t>::max)() / 128);
}

/// From UTF-8 to UTF-8. An empty one is the identity.
class Normalizer {
 public:
  Normalizer() = default;
  /// f(text, limit), which changes the text, or f(text) where the result is never much longer than the text.
  template <class F>
  requires(!std::same_as<std::remove_cvref_t<F>, Normalizer>) Normalizer(F f, std::size_t patterns = 0)
      : patterns_(patterns) {
    if constexpr (std::invocable<const F&, AlignedText&, std::size_t>)
      step_ = std::move(f);
    else
      step_ = [f = std::move(f)](AlignedText& text, std::size_t) { f(text); };
  }

  explicit operator bool() const { return static_cast<bool>(step_); }  // Whether it does anything.
  /// How many of its steps match regular expressions, which is what may take long.
  std::size_t patterns() const { return patterns_; }

  /// Fails if the text grows beyond `limit` bytes on the way.
  void operator()(AlignedText& text, std::size_t limit) const {
    if (step_) step_(text, limit);
    check_growth(text.bytes.size(), limit);
  }

  /// Error where `size` is more.
  static void check_growth(std::size_t size, std::size_t limit) {
    if (size > limit) throw_error("tokenizer: a text grows to more than ", limit, " bytes");
  }

 private:
  std::function<void(AlignedText&, std::size_t)> step_;
  std::size_t patterns_ = 0;
};

namespace detail {

/// Bounds recursion, time and memory on a hostile file: a Sequence (whose steps are in `list`) may be 16 deep
/// and have 64 steps in all.
inline void check_steps(const Part& root, const char* list) {
  constexpr std::size_t max_steps = 64;
  constexpr int max_nesting = 16;
  std::vector<std::pair<const Json*, int>> open{{&root.json(), 0}};
  for (std::size_t count = 1; !open.empty(); ++count) {
    const auto [step, depth] = open.back();
    open.pop_back();
    if (depth > max_nesting) root.error("nested too deeply");
    if (!step->is_object()) continue;
    const auto steps = step->find(list);
    if (steps == step->end() || !steps->is_array()) continue;
    if (count + open.size() + steps->size() > max_steps)
      root.error("more than " + std::to_string(max_steps) + " steps");
    for (const Json& inner : *steps) open.emplace_back(&inner, depth + 1);
  }
}

/// {"String": literal} or {"Regex": pattern}, which Replace and Split have.
class Pattern {
 public:
  explicit Pattern(const Part& part) {
    part.allow({"String", "Regex"});
    if (part.has("String"))
      literal_ = part.string("String");
    else
      regex_.emplace(part.string("Regex"), part.where());
  }

  bool is_regex() const { return regex_.has_value(); }

  /// Calls f(begin, end) for each match.
  template <class F>
  void for_each_match(std::string_view text, F&& f) const {
    if (regex_) return regex_->for_each_match(text, f);
    if (literal_.empty()) return;
    for (std::size_t at = 0; (at = text.find(literal_, at)) != std::string_view::npos; at += literal_.size())
      f(at, at + literal_.size());
  }

  /// As in tokenizers, the content comes from the last character of a match.
  void replace(AlignedText& text, std::string_view content, std::size_t limit) const {
    text.rewrite([&](std::string_view before, auto&& put) {
      std::size_t done = 0, size = 0;
      const auto copy_to = [&](std::size_t end) {
        if (text.is_tracked())
          for (; done < end; ++done) put(before.substr(done, 1), done);
        else if (done < end)
          put(before.substr(done, end - done), done);
      };
      for_each_match(before, [&](std::size_t begin, std::size_t end) {
        size += (begin - done) + content.size();
        Normalizer::check_growth(size, limit);
        copy_to(begin);
        put(content, end - 1);  // npos where nothing in front is matched
        done = end;
      });
      copy_to(before.size());
    });
  }
  std::string replace(std::string text, std::string_view content, std::size_t limit) const {
    AlignedText out(std::move(text));
    replace(out, content, limit);
    return std::move(out.bytes);
  }

 private:
  std::string literal_;
  std::optional<Regex> regex_;
};

inline void strip_white_space(AlignedText& text, bool left, bool right) {
  std::size_t begin = text.bytes.size(), end = 0, at = 0;
  for_each_code_point(text.bytes, [&](char32_t c, std::string_view bytes) {
    if (!is_white_space(c)) {
      begin = (std::min)(begin, at);
      end = at + bytes.size();
    }
    at += bytes.size();
  });
  if (!left) begin = 0;
  if (!right) end = text.bytes.size();
  text = begin < end ? text.slice(begin, end) : AlignedText();
}

// The cleaning of SentencePiece's "nmt" rules: control characters go, odd white space becomes a blank.
inline void normalize_nmt(AlignedText& text) {
  text.map([](std::string& out, char32_t c) {
    const bool drop =
        (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
    const bool blank = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    if (!drop) append_utf8(out, blank ? U' ' : c);
  });
}

/// SentencePiece's "precompiled_charsmap": 32-bit size of a double-array trie (Darts), the trie, and the
/// replacements it points to, each ended by a zero byte.
class CharacterMap {
 public:
  CharacterMap(std::string bytes, const std::string& where) : text_(std::move(bytes)) {
    const std::size_t size = text_.size() < 4 ? 0 : word(0);
    if (text_.size() < 4 || size % 4 || size > text_.size() - 4) throw_error(where, ": the trie is cut off");
    units_.reserve(size / 4);
    for (std::size_t at = 4; at < 4 + size; at += 4) units_.push_back(word(at));
    text_.erase(0, 4 + size);
  }

  /// What stands for the longest key that a text begins with, and the size of that key: SentencePiece's own
  /// way.
  std::optional<std::pair<std::string_view, std::size_t>> longest(std::string_view text) const {
    std::optional<std::pair<std::string_view, std::size_t>> out;
    for_each_key(text, [&](std::size_t size, std::string_view replacement) {
      out.emplace(replacement, size);
      return true;
    });
    return out;
  }

  /// tokenizers' way: whole grapheme clusters (of less than 6 bytes) are looked up first, then single
  /// characters.
  void operator()(AlignedText& aligned, std::size_t limit) const {
    const std::string_view text = aligned.bytes;
    std::string out;
    std::vector<AlignedText::Change> changes;
    // As tokenizers counts: what is more is inserted, what is less goes with the last.
    const auto replace = [&](std::string_view from, std::string_view to) {
      out += to;
      if (!aligned.is_tracked()) return;
      const auto old_count = static_cast<int>(count_code_points(from)),
                 count = static_cast<int>(count_code_points(to));
      int n = 0;
      for_each_code_point(to, [&](char32_t c, std::string_view) {
        changes.push_back({c, n++ < old_count ? 0 : 1});
      });
      if (count < old_count && !changes.empty()) changes.back().change += count - old_count;
    };
    for (std::size_t begin = 0; begin < text.size();) {
      Normalizer::check_growth(out.size(), limit);
      std::size_t end = begin;
      utf8proc_int32_t state = 0;
      char32_t before = 0;
      while (end < text.size()) {
        const CodePoint c = decode_utf8(text, end);
        if (end > begin && utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(before),
                                                            static_cast<utf8proc_int32_t>(c.value), &state))
          break;
        before = c.value;
        end += c.size;
      }
      const std::string_view cluster = text.substr(begin, end - begin);
      const auto whole = cluster.size() < 6 ? find(cluster) : std::nullopt;
      if (whole)
        replace(cluster, *whole);
      else
        for_each_code_point(cluster, [&](char32_t, std::string_view c) {
          Normalizer::check_growth(out.size(), limit);
          replace(c, find(c).value_or(c));
        });
      begin = end;
    }
    if (aligned.is_tracked())
      aligned.transform(changes);
    else
      aligned.bytes = std::move(out);
  }

 private:
  std::uint32_t word(std::size_t at) const {
    std::uint32_t out = 0;
    for (std::size_t i = 0; i < 4; ++i)
      out |= std::uint32_t{static_cast<unsigned char>(text_[at + i])} << (8 * i);
    return out;
  }

  // The replacement of the shortest key that `key` begins with, which is how tokenizers reads the map.
  std::optional<std::string_view> find(std::string_view key) const {
    std::optional<std::string_view> out;
    for_each_key(key, [&](std::size_t, std::string_view replacement) { return out = replacement, false; });
    return out;
  }

  // Calls f(length, replacement) for each key that the text begins with, shortest first, until it says no.
  template <class F>
  void for_each_key(std::string_view text, F&& f) const {
    const auto offset = [](std::uint32_t unit) -> std::size_t {
      return (unit >> 10) << ((unit & 0x200) >> 6);
    };
    if (units_.empty()) return;
    text = text.substr(0, 256);  // longer than any key is, should the trie of a hostile file be a circle
    std::size_t node = offset(units_[0]);
    for (std::size_t i = 0; i < text.size(); ++i) {
      const std::uint32_t byte = static_cast<unsigned char>(text[i]);
      node ^= byte;
      if (byte == 0 || node >= units_.size() || (units_[node] & 0x800000FFu) != byte) return;
      const bool leaf = units_[node] >> 8 & 1;
      node ^= offset(units_[node]);
      if (!leaf) continue;
      const std::size_t at = node < units_.size() ? units_[node] & 0x7FFFFFFFu : text_.size();
      if (at >= text_.size()) return;
      const std::size_t end = (std::min)(text_.find('\0', at), text_.size());
      if (!f(i + 1, std::string_view(text_).substr(at, end - at))) return;
    }
  }

  std::vector<std::uint32_t> units_;
  std::string text_;
};

inline std::string decode_base64(std::string_view text, const std::string& where) {
  static constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t digit = digits.find(text[i]);
    if (digit == std::string_view::npos) throw_error(where, ": not base64 at character ", i);
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if (i % 4) out += static_cast<char>(bits >> (6 - 2 * (i % 4)) & 0xFF);
  }
  return out;
}

/// Each byte as a character, which comes from the character that the byte was part of.
inline void byte_level(AlignedText& text) {
  if (!text.is_tracked()) return void(text.bytes = bytes_to_characters(text.bytes));
  text.map([](std::string& out, char32_t c) {
    std::string bytes;
    append_utf8(bytes, c);
    append_byte_characters(out, bytes);
  });
}

inline Normalizer read_normalizer_step(const Part& part) {
  const std::string type = part.string("type");
  const auto plain = [&](Normalizer f) {
    part.allow({});
    return f;
  };
  if (type == "Sequence") {
    part.allow({"normalizers"});
    std::vector<Normalizer> steps;
    std::size_t patterns = 0;
    for (std::size_t i = 0; i < part.array("normalizers").size(); ++i)
      patterns += steps.emplace_back(read_normalizer_step(part.element("normalizers", i))).patterns();
    const auto all = [steps](AlignedText& text, std::size_t limit) {
      for (const Normalizer& step : steps) step(text, limit);
    };
    return Normalizer(all, patterns);
  }
  if (type == "BertNormalizer") return read_bert_normalizer(part);
  if (type == "Lowercase") return plain([](AlignedText& text) { lowercase(text); });
  if (type == "NFC") return plain([](AlignedText& text) { normalize(text, NormalForm::nfc); });
  if (type == "NFD") return plain([](AlignedText& text) { normalize(text, NormalForm::nfd); });
  if (type == "NFKC") return plain([](AlignedText& text) { normalize(text, NormalForm::nfkc); });
  if (type == "NFKD") return plain([](AlignedText& text) { normalize(text, NormalForm::nfkd); });
  if (type == "StripAccents")
    return plain([](AlignedText& text) { text.keep([](char32_t c) { return !is_mark(c); }); });
  if (type == "Nmt") return plain(normalize_nmt);
  if (type == "ByteLevel") return plain(byte_level);
  if (type == "Strip") {
    part.allow({"strip_left", "strip_right"});
    const bool left = part.boolean("strip_left", true), right = part.boolean("strip_right", true);
    return [=](AlignedText& text) { strip_white_space(text, left, right); };
  }
  if (type == "Prepend") {
    part.allow({"prepend"});
    return [prefix = part.string("prepend")](AlignedText& text) {
      if (!text.bytes.empty()) text.prepend(prefix);
    };
  }
  if (type == "Replace") {
    part.allow({"pattern", "content"});
    const Pattern pattern(part.object("pattern"));
    const auto replace = [pattern, content = part.string("content")](AlignedText& text, std::size_t limit) {
      pattern.replace(text, content, limit);
    };
    return Normalizer(replace, pattern.is_regex());
  }
  if (type == "Precompiled") {
    part.allow({"precompiled_charsmap"});
    std::string map = decode_base64(part.string("precompiled_charsmap", ""), part.where());
    if (map.empty()) return [](AlignedText&) {};
    return [shared = std::make_shared<const CharacterMap>(std::move(map), part.where())](
               AlignedText& text, std::size_t limit) { (*shared)(text, limit); };
  }
  part.error("unknown normalizer \"" + type + '"');
}

inline Normalizer read_normalizer(const Part& part) {
  check_steps(part, "normalizers");
  return read_normalizer_step(part);
}

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI::text
