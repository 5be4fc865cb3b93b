// Large and lower letters, as Python has them.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include <attend/text/unicode.hpp>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI::text::jinja {

/// The lower letters of a character that has no large one of its own, as "ss" of "ß".
inline std::u32string letters_of(char32_t c) {
  utf8proc_int32_t found[16];
  int boundary = 0;
  const utf8proc_ssize_t n =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), found, 16, UTF8PROC_CASEFOLD, &boundary);
  const bool several = n > 1 && category(c) != UTF8PROC_CATEGORY_LU;
  return several ? std::u32string(found, found + n) : std::u32string();
}
inline char32_t large(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}
inline std::string uppercase(std::string_view text) {
  std::string out;
  for_each_code_point(text, [&](char32_t c, std::string_view) {
    const std::u32string letters = letters_of(c);
    for (const char32_t letter : letters) append_utf8(out, large(letter));
    if (letters.empty()) append_utf8(out, large(c));
  });
  return out;
}
/// The first letter of a word.
inline std::string titlecase(char32_t c) {
  const char32_t one = static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
  std::u32string letters = c == 0xDF || one == c ? letters_of(c) : std::u32string();
  if (category(c) != UTF8PROC_CATEGORY_LL || letters.empty()) letters = one;
  if (letters.size() > 1 && letters.back() == 0x3B9) letters.back() = 0x345;  // the iota below it stays
  const auto lower =
      std::find_if(letters.begin(), letters.end(), [](char32_t letter) { return large(letter) != letter; });
  if (letters.size() > 1 && lower != letters.end()) *lower = large(*lower);
  std::string out;
  for (const char32_t letter : letters) append_utf8(out, letter);
  return out;
}
inline bool is_cased(char32_t c) {
  return category(c) >= UTF8PROC_CATEGORY_LU && category(c) <= UTF8PROC_CATEGORY_LT;
}
/// The sigma at a word's end is small in its own way.
inline std::string with_final_sigmas(std::string_view text) {
  static constexpr std::u32string_view kPassed = U"'.:^`\u00A8\u00AD\u00B7\u2019\u2027";
  std::u32string all;
  for_each_code_point(text, [&](char32_t c, std::string_view) { all += c; });
  std::string out;
  char32_t before = 0;  // the nearest that such a rule does not pass by
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto passed = [](char32_t c) {
      const auto kind = category(c);
      return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME || kind == UTF8PROC_CATEGORY_CF ||
             kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_SK || kPassed.find(c) != kPassed.npos;
    };
    std::size_t next = i + 1;
    if (all[i] == 0x3A3)
      while (next < all.size() && passed(all[next])) ++next;
    const bool last = next == all.size() || !is_cased(all[next]);
    append_utf8(out, all[i] == 0x3A3 && is_cased(before) && last ? 0x3C2 : all[i]);
    if (!passed(all[i])) before = all[i];
  }
  return out;
}
inline std::string lowered(std::string_view text) {
  return lowercase(text.find("\xCE\xA3") == text.npos ? std::string(text) : with_final_sigmas(text));
}
/// Each run of letters with a large one first, or the first character alone.
inline std::string capitalized(std::string_view text, bool each) {
  std::string out;
  bool inside = false;
  for_each_code_point(with_final_sigmas(text), [&](char32_t c, std::string_view bytes) {
    out += inside ? lowercase(bytes) : titlecase(c);
    inside = !each || is_cased(c);
  });
  return out;
}

}  // namespace attend::inline ATTEND_ABI::text::jinja
