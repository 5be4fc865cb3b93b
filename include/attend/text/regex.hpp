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
#include <utility>
#include <vector>

#include <pcre2.h>

#include <attend/core/error.hpp>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI::text {

/// A compiled pattern in the syntax that Hugging Face's tokenizers use (Oniguruma's, Ruby flavour), as far as
/// PCRE2 can say the same; fails on what it cannot. Immutable, shared by its copies, safe among threads.
class Regex {
 public:
  Regex(std::string_view pattern, const std::string& where) : where_(where) {
    const std::string translated = Translation(pattern, where_)();
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
  // Latin-1's superscripts and fractions, \h is a hexadecimal digit; sets have sets inside of them and
  // intersections ([a[b]], [a&&b]); {,n} begins at 0, and what follows a counted repetition repeats it again
  // (a{1,3}+, a{2}?), where PCRE2 would have it possessive or lazy.
  class Translation {
   public:
    Translation(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

    std::string operator()() {
      for (bool quantified = false; at_ < pattern_.size();) {
        const char c = pattern_[at_];
        if (std::string_view("?*+").find(c) != std::string_view::npos || interval() > 0) {
          quantify(std::exchange(quantified, true));
          continue;
        }
        quantified = false;
        if (c == ')' && !groups_.empty()) {
          atom_ = groups_.back();
          groups_.pop_back();
          out_ += pattern_[at_++];
          continue;
        }
        atom_ = out_.size();
        if (c == '(') {
          groups_.push_back(atom_);
          const bool dot_all = next_is("(?m");  // Ruby's m lets the dot match newlines
          out_ += dot_all ? "(?s" : "(";
          at_ += dot_all ? 3 : 1;
          while (next_is("?") || next_is("<") || next_is("=") || next_is("!") || next_is(":") || next_is(">"))
            out_ += pattern_[at_++];  // no quantifiers
        } else if (c == '[') {
          out_ += set(0);
        } else if (c == '\\' && at_ + 1 < pattern_.size()) {
          out_ += escape(false);
        } else {
          const std::size_t size = decode_utf8(pattern_, at_).size;
          out_ += pattern_.substr(at_, size);
          at_ += size;
        }
      }
      return std::move(out_);
    }

   private:
    [[noreturn]] void unsupported(std::string_view what) const {
      throw_error(where_, ": pattern ", pattern_, ": ", what, " is not supported");
    }
    bool next_is(std::string_view s) const { return pattern_.substr(at_).starts_with(s); }

    /// Bytes of the {n}, {n,}, {,m} or {n,m} that comes next; 0: none does.
    std::size_t interval() const {
      std::size_t i = at_, digits = 0;
      if (!next_is("{")) return 0;
      for (++i; i < pattern_.size() && (pattern_[i] == ',' || is_digit(pattern_[i])); ++i)
        digits += is_digit(pattern_[i]);
      const std::string_view all = pattern_.substr(at_, i - at_);
      const bool one_comma = std::count(all.begin(), all.end(), ',') <= 1;
      return i < pattern_.size() && pattern_[i] == '}' && digits > 0 && one_comma ? i + 1 - at_ : 0;
    }
    static bool is_digit(char c) { return c >= '0' && c <= '9'; }

    /// Repeats the last atom; one that is repeated already, as a whole.
    void quantify(bool again) {
      const auto wrap = [&] { out_.insert(atom_, "(?:").append(")"); };
      if (again) wrap();
      const std::size_t size = interval();
      if (size == 0) {
        out_ += pattern_[at_++];
        if (next_is("?") || next_is("+")) out_ += pattern_[at_++];  // lazy, possessive
        return;
      }
      std::string count(pattern_.substr(at_, size));
      at_ += size;
      if (count[1] == ',') count.insert(1, "0");
      out_ += count;
      if (next_is("?") && count.find(',') != std::string::npos) out_ += pattern_[at_++];
    }

    static std::string_view word() { return "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"; }

    /// What an escape is in PCRE2; in a set, members of it, or (a whole [^…]) what a set of its own is.
    std::string escape(bool in_set) {
      const char kind = pattern_[at_ + 1];
      at_ += 2;
      const auto members = [&](std::string_view list, bool negated) {
        if (in_set && !negated) return std::string(list);
        return (negated ? "[^" : "[") + std::string(list) + "]";
      };
      if (kind == 's') return "\\p{White_Space}";
      if (kind == 'S') return "\\P{White_Space}";
      if (kind == 'w' || kind == 'W')
        return members(std::string(word()) + (in_set ? "" : "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"),
                       kind == 'W');
      if (kind == 'h' || kind == 'H') return members("0-9a-fA-F", kind == 'H');
      if (kind == 'u' && at_ + 4 <= pattern_.size()) {
        at_ += 4;
        return "\\x{" + std::string(pattern_.substr(at_ - 4, 4)) + "}";
      }
      const std::size_t size = decode_utf8(pattern_, at_ - 1).size;
      std::string out = "\\" + std::string(pattern_.substr(at_ - 1, size));
      at_ += size - 1;
      if ((kind == 'p' || kind == 'P' || kind == 'x') && next_is("{")) {
        const std::size_t end = (std::min)(pattern_.find('}', at_), pattern_.size() - 1);
        out += pattern_.substr(at_, end + 1 - at_);
        at_ = end + 1;
      }
      return out;
    }

    /// A set as what matches one character of it.
    std::string set(int depth) {
      if (depth > 20) unsupported("a set that is nested so deep");
      ++at_;
      const bool negated = next_is("^");
      at_ += negated;
      std::vector<std::string> operands, parts;  // between &&; of one operand, beside its plain members
      std::string plain;
      if (next_is("]")) plain = "\\]", ++at_;
      const auto finish_operand = [&] {
        if (!plain.empty()) parts.push_back("[" + plain + "]");
        std::string all;
        for (const std::string& part : parts) all += (all.empty() ? "" : "|") + part;
        operands.push_back(parts.empty() ? "(?!)" : parts.size() > 1 ? "(?:" + all + ")" : all);
        parts.clear();
        plain.clear();
      };
      for (;;) {
        if (at_ >= pattern_.size()) unsupported("[ without ]");
        const char c = pattern_[at_];
        if (c == ']') break;
        if (next_is("&&")) {
          finish_operand();
          at_ += 2;
        } else if (next_is("[:")) {
          const std::size_t end = pattern_.find(":]", at_);
          if (end == std::string_view::npos) unsupported("[: without :]");
          plain += pattern_.substr(at_, end + 2 - at_);
          at_ = end + 2;
        } else if (c == '[') {
          parts.push_back(set(depth + 1));
        } else if (c == '\\' && at_ + 1 < pattern_.size()) {
          std::string one = escape(true);
          one.starts_with('[') ? parts.push_back(std::move(one)) : void(plain += one);
        } else {
          if (c == '^' || c == '.' || c == '=' || c == ':') plain += '\\';
          plain += c;
          ++at_;
        }
      }
      ++at_;
      const bool is_plain = operands.empty() && parts.empty() && !plain.empty();
      if (is_plain) return (negated ? "[^" : "[") + plain + "]";
      finish_operand();
      std::string all = operands.back();
      for (std::size_t i = 0; i + 1 < operands.size(); ++i) all = "(?=" + operands[i] + ")" + all;
      if (negated) return "(?:(?!" + all + ")(?s:.))";
      return operands.size() > 1 ? "(?:" + all + ")" : all;
    }

    std::string_view pattern_;
    const std::string& where_;
    std::string out_ = {};
    std::size_t at_ = 0, atom_ = 0;         // atom_: where in out_ what a quantifier repeats begins
    std::vector<std::size_t> groups_ = {};  // where in out_ the open ones begin
  };

  static constexpr std::size_t max_pattern = 16384;

  std::string where_;
  std::shared_ptr<pcre2_code_8> code_;
};

}  // namespace attend::inline ATTEND_ABI::text
