// Regular expressions of tokenizer.json, run by PCRE2.
#pragma once

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <pcre2.h>

#include <attend/core/error.hpp>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI::text {

/// A compiled pattern in the syntax that Hugging Face's tokenizers use (Oniguruma's, Ruby flavour), as far as
/// PCRE2 can say the same; fails on what it cannot. Immutable, shared by its copies, safe among threads.
class Regex {
 public:
  Regex(std::string_view pattern, const std::string& where) : where_(where) {
    const std::string translated = translate(pattern);
    const std::unique_ptr<pcre2_compile_context_8, decltype(&pcre2_compile_context_free_8)> context(
        pcre2_compile_context_create_8(nullptr), pcre2_compile_context_free_8);
    if (!context) throw_error(where_, ": out of memory");
    pcre2_set_newline_8(context.get(), PCRE2_NEWLINE_LF);
    if (translated.size() > max_pattern) throw_error(where_, ": a pattern of ", pattern.size(), " bytes");
    int error = 0;
    std::size_t at = 0;
    // \C, which may stop inside a character, is the one thing that could break UTF-8 apart.
    constexpr std::uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    code_.reset(pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(translated.data()), translated.size(), options,
                                &error, &at, context.get()),
                pcre2_code_free_8);
    if (!code_) throw_error(where_, ": pattern ", pattern, ": ", message(error));
    // "(ab){9}{9}{9}{9}" becomes 40 KB. Real patterns stay below a hundredth of that.
    std::size_t size = 0;
    pcre2_pattern_info_8(code_.get(), PCRE2_INFO_SIZE, &size);
    if (size > 4096 + 32 * pattern.size())
      throw_error(where_, ": pattern ", pattern, " becomes ", size, " bytes");
    pcre2_jit_compile_8(code_.get(), PCRE2_JIT_COMPLETE);  // without it matching is slower, that is all
  }

  /// Calls f(begin, end) for each match from left to right. The text must be UTF-8. Fails if the pattern
  /// backtracks without bound.
  template <class F>
  void for_each_match(std::string_view text, F&& f) const {
    const std::unique_ptr<pcre2_match_data_8, decltype(&pcre2_match_data_free_8)> data(
        pcre2_match_data_create_8(1, nullptr), pcre2_match_data_free_8);
    const std::unique_ptr<pcre2_match_context_8, decltype(&pcre2_match_context_free_8)> context(
        pcre2_match_context_create_8(nullptr), pcre2_match_context_free_8);
    if (!data || !context) throw_error(where_, ": out of memory");
    // Real patterns take a few steps for a byte, at worst where a run of white space is given back.
    pcre2_set_match_limit_8(context.get(), static_cast<std::uint32_t>(
                                               std::min<std::size_t>(1000 + 100 * text.size(), 10'000'000)));
    pcre2_set_heap_limit_8(context.get(), 256 * 1024);  // KiB
    const auto* subject = reinterpret_cast<PCRE2_SPTR8>(text.data() ? text.data() : "");
    for (std::size_t at = 0; at <= text.size();) {
      // The text is known to be UTF-8; a check at each match would make the whole quadratic.
      int count =
          pcre2_match_8(code_.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK, data.get(), context.get());
      if (count == PCRE2_ERROR_JIT_STACKLIMIT)  // the interpreter keeps its stack on the heap
        count = pcre2_match_8(code_.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                              data.get(), context.get());
      if (count == PCRE2_ERROR_NOMATCH) return;
      if (count < 0) throw_error(where_, ": pattern gave up at byte ", at, ": ", message(count));
      const std::size_t* bounds = pcre2_get_ovector_pointer_8(data.get());
      const std::size_t begin = bounds[0], end = bounds[1];
      if (begin < at || end < begin) throw_error(where_, ": pattern matches backwards");
      f(begin, end);
      at = end;
      if (begin == end) at += end < text.size() ? decode_utf8(text, end).size : 1;
    }
  }

 private:
  static std::string message(int error) {
    unsigned char text[256] = {};
    pcre2_get_error_message_8(error, text, sizeof text);
    return reinterpret_cast<const char*>(text);
  }

  // Where the flavours differ: \s is White_Space, \w includes marks, connectors and (but not inside [ ])
  // Latin-1's superscripts and fractions, \h is a hexadecimal digit; set operations ([a&&b], [a[b]]) PCRE2
  // does not have.
  std::string translate(std::string_view pattern) const {
    std::string out;
    bool in_class = false;
    const auto unsupported = [&](std::string_view what) {
      throw_error(where_, ": pattern ", pattern, ": ", what, " is not supported");
    };
    const auto set = [&](std::string_view members, bool negated) {
      if (in_class && negated) unsupported("a negated shorthand inside [ ]");
      out += in_class ? std::string(members) : (negated ? "[^" : "[") + std::string(members) + "]";
    };
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      const char c = pattern[i];
      const auto next_is = [&](std::string_view s) { return pattern.substr(i).starts_with(s); };
      if (c == '\\' && i + 1 < pattern.size()) {
        switch (const char kind = pattern[++i]) {
          case 's':
            out += "\\p{White_Space}";
            break;
          case 'S':
            out += "\\P{White_Space}";
            break;
          case 'w':
          case 'W':
            set(std::string("\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}") +
                    (in_class ? "" : "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"),
                kind == 'W');
            break;
          case 'h':
          case 'H':
            set("0-9a-fA-F", kind == 'H');
            break;
          default:
            (out += '\\') += kind;
        }
        continue;
      }
      if (in_class) {
        if (next_is("&&")) unsupported("the set operation &&");
        if (c == '[' && !next_is("[:")) unsupported("a set inside [ ]");
        if (c == '[') {
          const std::size_t end = pattern.find(":]", i);
          if (end == std::string_view::npos) unsupported("[: without :]");
          out += pattern.substr(i, end + 2 - i);
          i = end + 1;
          continue;
        }
        if (c == ']') in_class = false;
      } else if (c == '[') {
        in_class = true;
        out += c;
        if (next_is("[^")) out += pattern[++i];
        if (i + 1 < pattern.size() && pattern[i + 1] == ']') {
          out += "\\]";
          ++i;
        }
        continue;
      } else if (next_is("(?m")) {  // Ruby's m lets the dot match newlines
        out += "(?s";
        i += 2;
        continue;
      }
      out += c;
    }
    return out;
  }

  static constexpr std::size_t max_pattern = 16384;

  std::string where_;
  std::shared_ptr<pcre2_code_8> code_;
};

}  // namespace attend::inline ATTEND_ABI::text
