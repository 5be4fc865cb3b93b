// What tokenizers ask of Unicode: classes of characters and normal forms, on top of utf8proc.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <utf8proc.h>

#include <attend/core/error.hpp>
#include <attend/text/unicode_since.hpp>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI::text {

/// Unicode's general category, by the version that utf8proc has.
inline utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

/// Unicode's White_Space property.
inline bool is_white_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

/// General category P* as of Unicode 8, and the ASCII symbols ($ + < = > ^ ` | ~) that tokenizers count as
/// punctuation.
inline bool is_punctuation(char32_t c) {
  if (c < 0x80) return c > 32 && c < 127 && !(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z');
  const auto kind = category(c);
  return (kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO) !=
         detail::is_in(detail::kPunctuationSince8, c);
}

/// General category N*.
inline bool is_numeric(char32_t c) {
  const auto kind = category(c);
  return kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO;
}

/// General category Mn, as of Unicode 8.
inline bool is_nonspacing_mark(char32_t c) {
  return c >= 0x300 && category(c) == UTF8PROC_CATEGORY_MN && !detail::is_in(detail::kMarksSince9, c) &&
         !detail::is_in(detail::kMarksOf9, c);
}

/// General category M*, as of Unicode 9.
inline bool is_mark(char32_t c) {
  const auto kind = category(c);
  return (kind >= UTF8PROC_CATEGORY_MN && kind <= UTF8PROC_CATEGORY_ME) !=
         detail::is_in(detail::kMarksSince9, c);
}

/// What regular expressions call `\w`: Alphabetic, M, Nd, Pc and the joiners. Alphabetic are the letters, the
/// letter numbers, and letters in circles and squares, which utf8proc counts as symbols.
inline bool is_word(char32_t c) {
  const auto kind = category(c);
  return (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_NL) || kind == UTF8PROC_CATEGORY_PC ||
         c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

/// Lower case of each character by itself (no final sigma). U+0130 is the one with a lower case of two.
inline void append_lowercase(std::string& out, char32_t c) {
  if (c == 0x130)
    out += "i\xCC\x87";
  else
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}
/// Each character of a text in lower case.
inline std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_code_point(text, [&](char32_t c, std::string_view) { append_lowercase(out, c); });
  return out;
}

/// Whether all bytes are below 0x80.
inline bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// Unicode's normal forms (Unicode Standard Annex 15).
enum class NormalForm { nfc, nfd, nfkc, nfkd };

/// A character of a normal form.
struct DecomposedCharacter {
  char32_t c;     // the character
  bool inserted;  // not the first that a character of the text became
};

/// Decomposed and with its marks in order, in O(n log n): utf8proc's own reordering is quadratic, so only the
/// decomposition of single characters is left to it.
inline std::vector<DecomposedCharacter> decompose(std::string_view text, bool compatible) {
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE |
                                                      (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<DecomposedCharacter> codes;
  codes.reserve(text.size());
  for_each_code_point(text, [&](char32_t c, std::string_view) {
    utf8proc_int32_t parts[32];
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, 32, options, &boundary);
    if (count < 0 || count > 32) throw_error("Unicode normalisation: ", utf8proc_errmsg(count));
    for (utf8proc_ssize_t i = 0; i < count; ++i) codes.push_back({static_cast<char32_t>(parts[i]), i > 0});
  });
  const auto combining_class = [](const DecomposedCharacter& code) {
    return utf8proc_get_property(static_cast<utf8proc_int32_t>(code.c))->combining_class;
  };
  for (auto at = codes.begin(); at != codes.end();) {
    if (combining_class(*at) == 0) {
      ++at;
      continue;
    }
    const auto end = std::find_if(at, codes.end(), [&](const auto& c) { return combining_class(c) == 0; });
    std::stable_sort(at, end,
                     [&](const auto& a, const auto& b) { return combining_class(a) < combining_class(b); });
    at = end;
  }
  return codes;
}

/// Unicode normal form; the (linear) composition is utf8proc's.
inline std::string normalize(std::string_view text, NormalForm form) {
  if (is_ascii(text)) return std::string(text);
  std::vector<utf8proc_int32_t> codes;
  for (const DecomposedCharacter& part :
       decompose(text, form == NormalForm::nfkc || form == NormalForm::nfkd))
    codes.push_back(static_cast<utf8proc_int32_t>(part.c));
  auto size = static_cast<utf8proc_ssize_t>(codes.size());
  codes.push_back(0);  // room that it asks for
  if (form == NormalForm::nfc || form == NormalForm::nfkc) {
    size = utf8proc_normalize_utf32(codes.data(), size,
                                    static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    if (size < 0) throw_error("Unicode normalisation: ", utf8proc_errmsg(size));
  }
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < size; ++i)
    append_utf8(out, static_cast<char32_t>(codes[static_cast<std::size_t>(i)]));
  return out;
}

}  // namespace attend::inline ATTEND_ABI::text
