// UTF-8: one step through a text, and what follows from it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <attend/core/config.hpp>

namespace attend::inline ATTEND_ABI::text {

/// One step through UTF-8. `incomplete` is a well-formed beginning of a character that the text cuts off.
struct CodePoint {
  enum Validity { valid, malformed, incomplete };  // of the bytes there
  char32_t value;                                  ///< U+FFFD unless valid
  std::size_t size;                                ///< bytes taken, at least 1
  Validity status;                                 // of the bytes there
};

/// Decodes the character at byte `at` < text.size(). A malformed sequence takes its longest well-formed
/// beginning (Unicode 15, section 3.9, the practice of Python's errors="replace"), and at least one byte.
inline CodePoint decode_utf8(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return {lead, 1, CodePoint::valid};
  if (lead < 0xC2 || lead > 0xF4) return {0xFFFD, 1, CodePoint::malformed};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte is what excludes overlong forms, surrogates and values above U+10FFFF.
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t value = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (at + i == text.size()) return {0xFFFD, i, CodePoint::incomplete};
    const unsigned char next = byte(at + i);
    if (next < low || next > high) return {0xFFFD, i, CodePoint::malformed};
    value = value << 6 | (next & 0x3Fu);
    low = 0x80, high = 0xBF;
  }
  return {value, length, CodePoint::valid};
}

/// Appends a character as UTF-8.
inline void append_utf8(std::string& text, char32_t c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
    return;
  }
  if (c < 0x800) {
    text += static_cast<char>(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      text += static_cast<char>(0xE0 | c >> 12);
    } else {
      text += static_cast<char>(0xF0 | c >> 18);
      text += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    }
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
  }
  text += static_cast<char>(0x80 | (c & 0x3F));
}

/// Calls f(char32_t, its bytes) for each character; malformed bytes come as U+FFFD.
template <class F>
void for_each_code_point(std::string_view text, F&& f) {
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    f(c.value, text.substr(at, c.size));
    at += c.size;
  }
}

/// Characters of a text; each malformed sequence is one.
inline std::size_t count_code_points(std::string_view text) {
  std::size_t count = 0;
  for_each_code_point(text, [&](char32_t, std::string_view) { ++count; });
  return count;
}

/// Byte offset of the first sequence that is not UTF-8, or npos.
inline std::size_t find_malformed_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    if (c.status != CodePoint::valid) return at;
    at += c.size;
  }
  return std::string_view::npos;
}

/// The text with U+FFFD in place of whatever is not UTF-8.
inline std::string to_valid_utf8(std::string_view text) {
  const std::size_t first = find_malformed_utf8(text);
  if (first == std::string_view::npos) return std::string(text);
  std::string out(text.substr(0, first));
  for_each_code_point(text.substr(first), [&](char32_t c, std::string_view) { append_utf8(out, c); });
  return out;
}

/// The text with `to` in place of each `from`, which is not empty.
inline std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (std::size_t at; (at = text.find(from)) != std::string_view::npos; text.remove_prefix(at + from.size()))
    out.append(text.substr(0, at)).append(to);
  return out.append(text);
}

}  // namespace attend::inline ATTEND_ABI::text
