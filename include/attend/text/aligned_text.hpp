// Text on its way to the model, whose bytes know where they come from if somebody asks for it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/encoding.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI::text {

/// As tokenizers' NormalizedString: what stands in place of a character comes from all of that character, and
/// what is inserted from the one before.
class AlignedText {
 public:
  AlignedText() = default;
  /// Without knowledge of where it comes from.
  AlignedText(std::string text) : bytes(std::move(text)) {}
  /// The text with U+FFFD in place of whatever is not UTF-8.
  static AlignedText tracked(std::string_view given) {
    AlignedText out;
    std::size_t at = 0;
    for_each_code_point(given, [&](char32_t c, std::string_view from) {
      append_utf8(out.bytes, c);
      out.origin_.resize(out.bytes.size(), {at, at + from.size()});
      at += from.size();
    });
    return out;
  }

  std::string bytes;  // UTF-8, as it is now

  bool is_tracked() const { return !origin_.empty(); }  // Whether it knows where its bytes come from.
  /// Where bytes [begin, end) come from; of no bytes, where they stand.
  ByteRange range(std::size_t begin, std::size_t end) const {
    if (!is_tracked()) return {};
    const std::size_t first = begin < origin_.size() ? origin_[begin].begin : origin_.back().end;
    return {first, begin < end ? origin_[end - 1].end : first};
  }
  /// Bytes [begin, end), with where they come from.
  AlignedText slice(std::size_t begin, std::size_t end) const {
    AlignedText out(bytes.substr(begin, end - begin));
    if (is_tracked())
      out.origin_.assign(origin_.begin() + static_cast<std::ptrdiff_t>(begin),
                         origin_.begin() + static_cast<std::ptrdiff_t>(end));
    return out;
  }

  /// f(before, put) writes the text anew: put(more, at) appends what stands in place of the byte `at` of the
  /// text before, or in front of it all where that is npos.
  template <class F>
  void rewrite(F&& f) {
    AlignedText out;
    out.bytes.reserve(bytes.size() + bytes.size() / 8);
    f(std::string_view(bytes), [&](std::string_view more, std::size_t at) {
      out.bytes += more;
      if (!is_tracked()) return;
      const ByteRange front{origin_[0].begin, origin_[0].begin};
      out.origin_.resize(out.bytes.size(), at == std::string::npos ? front : origin_[at]);
    });
    *this = std::move(out);
  }
  /// Each character becomes what f(out, c) appends to `out`.
  template <class F>
  void map(F&& f) {
    AlignedText out;
    out.bytes.reserve(bytes.size() + bytes.size() / 8);
    if (!is_tracked()) {
      for_each_code_point(bytes, [&](char32_t c, std::string_view) { f(out.bytes, c); });
      return bytes.swap(out.bytes);
    }
    std::size_t at = 0;
    for_each_code_point(bytes, [&](char32_t c, std::string_view from) {
      f(out.bytes, c);
      out.origin_.resize(out.bytes.size(), origin_[at]);
      at += from.size();
    });
    *this = std::move(out);
  }
  /// A character of one byte becomes a text.
  void replace(char from, std::string_view to) {
    if (!is_tracked()) {
      bytes = replace_all(bytes, std::string_view(&from, 1), to);
      return;
    }
    map([&](std::string& out, char32_t c) {
      c == static_cast<unsigned char>(from) ? void(out += to) : append_utf8(out, c);
    });
  }
  /// The characters for which f(c) holds.
  template <class F>
  void keep(F&& f) {
    map([&](std::string& out, char32_t c) {
      if (f(c)) append_utf8(out, c);
    });
  }
  /// All of it comes from what was the first character.
  void prepend(std::string_view prefix) {
    rewrite([&](std::string_view before, auto&& put) {
      put(prefix, 0);
      const std::size_t first = before.empty() ? 0 : decode_utf8(before, 0).size;
      put(before.substr(0, first), 0);
      for (std::size_t i = first; i < before.size(); ++i) put(before.substr(i, 1), i);
    });
  }

  /// Characters in place of the old ones, one by one: a `change` of 1 is inserted, one of -n takes the n
  /// characters behind its own along.
  struct Change {
    char32_t c;  // what stands there
    int change;  // how many characters it is more than there were
  };
  /// One change for each character that is to be there.
  void transform(std::span<const Change> changes) {
    rewrite([&](std::string_view before, auto&& put) {
      std::size_t at = 0;
      std::string out;
      const auto advance = [&] { at += at < before.size() ? decode_utf8(before, at).size : 0; };
      for (const auto& [c, change] : changes) {
        out.clear();
        append_utf8(out, c);
        put(out, change > 0 ? at - (at > 0) : (std::min)(at, before.size() - 1));
        for (int i = change; i <= 0; ++i) advance();
      }
    });
  }

 private:
  std::vector<ByteRange> origin_;  // of each byte, or none
};

/// Each character in lower case, in place.
inline void lowercase(AlignedText& text) { text.map(append_lowercase); }

/// In a normal form, in place.
inline void normalize(AlignedText& text, NormalForm form) {
  if (!text.is_tracked() || is_ascii(text.bytes)) {
    text.bytes = normalize(text.bytes, form);
    return;
  }
  const std::string normal = normalize(text.bytes, form);
  std::vector<AlignedText::Change> changes;
  std::vector<DecomposedCharacter> parts =
      decompose(text.bytes, form == NormalForm::nfkc || form == NormalForm::nfkd);
  if (form == NormalForm::nfd || form == NormalForm::nfkd) {
    for (const DecomposedCharacter& part : parts) changes.push_back({part.c, part.inserted ? 1 : 0});
    return text.transform(changes);
  }
  // Which of the parts a character of the result is made of: the first that is left, and of those behind it
  // what the character consists of.
  std::vector<bool> used(parts.size());
  std::size_t first = 0;
  for_each_code_point(normal, [&](char32_t c, std::string_view bytes) {
    int change = 1;
    std::size_t at = first;
    for (const DecomposedCharacter& own : decompose(bytes, false)) {
      while (at < parts.size() && (used[at] || parts[at].c != own.c)) ++at;
      if (at == parts.size()) break;
      used[at] = true;
      change += (parts[at].inserted ? 1 : 0) - 1;
    }
    while (first < parts.size() && used[first]) ++first;
    changes.push_back({c, change});
  });
  text.transform(changes);
}

}  // namespace attend::inline ATTEND_ABI::text
