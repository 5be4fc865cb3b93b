// Templates as tokens: text, and what stands between the braces, with white space as trim_blocks and
// lstrip_blocks leave it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI::text::jinja {

using attend::detail::in_quotes;

/// A template's text with "\n" for every end of a line, and without the last of them.
struct Source {
  std::string where, text;

  Source(std::string name, std::string_view given) : where(std::move(name)) {
    if (given.size() > (std::size_t{1} << 20)) throw_error(where, ": a template of more than 1 MiB");
    if (const std::size_t bad = find_malformed_utf8(given); bad < given.size())
      throw_error(where, ": not UTF-8 at byte ", bad);
    for (std::size_t i = 0; i < given.size(); ++i) {
      const bool carriage = given[i] == '\r';
      if (carriage && i + 1 < given.size() && given[i + 1] == '\n') ++i;
      text += carriage ? '\n' : given[i];
    }
    if (text.ends_with('\n')) text.pop_back();
  }

  template <class... Parts>
  [[noreturn]] void refuse(std::size_t at, const Parts&... parts) const {
    const std::string_view before = std::string_view(text).substr(0, at);
    const std::size_t start = before.rfind('\n') + 1;  // npos + 1 is 0
    std::size_t line = 1;
    for (char c : before) line += c == '\n';
    throw_error(where, ": line ", line, ", column ", count_code_points(before.substr(start)) + 1, ": ",
                parts...);
  }
};

/// What Python's strip() and the \s of its regular expressions take for white space.
inline bool is_space(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

/// The text, which is UTF-8, without what `drop` holds for at its ends. It looks no further than it has to.
template <class Drop>
std::string_view strip(std::string_view text, bool left, bool right, Drop&& drop) {
  while (left && !text.empty()) {
    const CodePoint c = decode_utf8(text, 0);
    if (!drop(c.value)) break;
    text.remove_prefix(c.size);
  }
  while (right && !text.empty()) {
    std::size_t at = text.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    if (!drop(decode_utf8(text, at).value)) break;
    text = text.substr(0, at);
  }
  return text;
}

struct Token {
  enum Kind {
    end,
    data,
    open_output,
    close_output,
    open_block,
    close_block,
    name,
    text,
    integer,
    number,
    sign
  };
  Kind kind;
  std::size_t at;
  std::string value = {};
};

class Lexer {
 public:
  explicit Lexer(const Source& source) : source_(source), all_(source.text) {}

  std::vector<Token> run() {
    while (at_ < all_.size()) {
      std::size_t open = at_;
      while ((open = all_.find('{', open)) != all_.npos &&
             (open + 1 == all_.size() || std::string_view("{%#").find(all_[open + 1]) == all_.npos))
        ++open;
      if (open == all_.npos) {
        add(Token::data, at_, std::string(all_.substr(at_)));
        break;
      }
      const char kind = all_[open + 1];
      const std::size_t begin = at_;
      at_ = open + 2;
      const char sign = at_ < all_.size() && (all_[at_] == '-' || all_[at_] == '+') ? all_[at_++] : ' ';
      add_data(begin, open, sign, kind != '{');
      if (kind == '#') {
        skip_comment(open);
      } else if (kind == '%' && starts_raw()) {
        raw(open);
      } else {
        add(kind == '{' ? Token::open_output : Token::open_block, open);
        inside(open, kind == '{');
      }
      line_start_ = all_[at_ - 1] == '\n';
    }
    add(Token::end, all_.size());
    return std::move(tokens_);
  }

 private:
  void add(Token::Kind kind, std::size_t at, std::string value = {}) {
    tokens_.push_back({kind, at, std::move(value)});
  }
  /// The text in front of a tag: without white space at its end by a minus, and without that of the tag's
  /// line before a block.
  void add_data(std::size_t begin, std::size_t end, char sign, bool block) {
    std::string_view data = all_.substr(begin, end - begin);
    if (sign == '-') {
      data = strip(data, false, true, is_space);
    } else if (sign != '+' && block) {
      const std::size_t line = data.rfind('\n') + 1;
      if ((line > 0 || line_start_) && strip(data.substr(line), false, true, is_space).empty())
        data = data.substr(0, line);
    }
    if (!data.empty()) add(Token::data, begin, std::string(data));
  }
  void skip_space() {
    while (at_ < all_.size()) {
      const CodePoint c = decode_utf8(all_, at_);
      if (!is_space(c.value)) break;
      at_ += c.size;
    }
  }
  /// Steps over the end of a tag; what it is preceded by says what white space goes with it.
  bool skip_end(std::string_view end, bool newline) {
    const std::string_view rest = all_.substr(at_);
    const char sign = !rest.empty() && (rest[0] == '-' || (rest[0] == '+' && newline)) ? rest[0] : ' ';
    if (!rest.substr(sign == ' ' ? 0 : 1).starts_with(end)) return false;
    at_ += end.size() + (sign == ' ' ? 0 : 1);
    if (sign == '-') skip_space();
    if (sign == ' ' && newline && at_ < all_.size() && all_[at_] == '\n') ++at_;
    return true;
  }
  void skip_comment(std::size_t open) {
    const std::size_t end = all_.find("#}", at_);
    if (end == all_.npos) source_.refuse(open, "a comment that does not end");
    at_ = end > at_ && (all_[end - 1] == '-' || all_[end - 1] == '+') ? end - 1 : end;
    skip_end("#}", true);
  }
  bool word(std::string_view word) {
    skip_space();
    if (!all_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    skip_space();
    return true;
  }
  bool starts_raw() {
    const std::size_t before = at_;
    if (word("raw") && skip_end("%}", false)) return true;
    at_ = before;
    return false;
  }
  void raw(std::size_t open) {
    line_start_ = all_[at_ - 1] == '\n';
    const std::size_t begin = at_;
    for (std::size_t end = at_; (end = all_.find("{%", end)) != all_.npos; ++end) {
      at_ = end + 2;
      const char sign = at_ < all_.size() && (all_[at_] == '-' || all_[at_] == '+') ? all_[at_++] : ' ';
      if (!word("endraw") || !skip_end("%}", true)) continue;
      return add_data(begin, end, sign, true);
    }
    source_.refuse(open, "raw that does not end");
  }

  void inside(std::size_t open, bool output) {
    std::string closing;  // of brackets that are open
    for (;;) {
      skip_space();
      const std::size_t at = at_;
      if (at == all_.size()) source_.refuse(open, output ? "{{ that does not end" : "{% that does not end");
      if (closing.empty() && skip_end(output ? "}}" : "%}", !output))
        return add(output ? Token::close_output : Token::close_block, at);
      const char c = all_[at];
      const auto letter = [](char x) { return (x | 32) >= 'a' && (x | 32) <= 'z'; };
      const auto digit = [](char x) { return x >= '0' && x <= '9'; };
      const auto run = [&](auto&& holds) {
        while (at_ < all_.size() && holds(all_[at_])) ++at_;
      };
      if (letter(c) || c == '_') {
        run([&](char x) { return letter(x) || digit(x) || x == '_'; });
        add(Token::name, at, std::string(all_.substr(at, at_ - at)));
      } else if (digit(c)) {
        number(at, run, digit);
      } else if (c == '"' || c == '\'') {
        string(at, c);
      } else {
        static constexpr std::string_view kPairs[] = {"//", "**", "==", "!=", ">=", "<="};
        std::string_view sign = all_.substr(at, 1);
        for (std::string_view pair : kPairs)
          if (all_.substr(at).starts_with(pair)) sign = pair;
        if (sign.size() == 1 && std::string_view("+-/*%~[](){}><=.:|,;").find(sign) == sign.npos)
          source_.refuse(at, "unexpected character ", in_quotes(all_.substr(at, decode_utf8(all_, at).size)));
        if (const std::size_t which = std::string_view("([{").find(c); which != sign.npos)
          closing += ")]}"[which];
        if (std::string_view(")]}").find(c) != sign.npos) {
          if (closing.empty() || closing.back() != c) source_.refuse(at, "unexpected ", in_quotes(sign));
          closing.pop_back();
        }
        at_ += sign.size();
        add(Token::sign, at, std::string(sign));
      }
    }
  }
  template <class Run, class Digit>
  void number(std::size_t at, Run&& run, Digit&& digit) {
    run(digit);
    bool real = false;
    const auto next_is_digit = [&](std::size_t i) { return i < all_.size() && digit(all_[i]); };
    if (at_ < all_.size() && all_[at_] == '.' && next_is_digit(at_ + 1) && (at == 0 || all_[at - 1] != '.')) {
      real = true;
      ++at_;
      run(digit);
    }
    if (at_ < all_.size() && (all_[at_] | 32) == 'e') {
      const bool sign = at_ + 1 < all_.size() && (all_[at_ + 1] == '+' || all_[at_ + 1] == '-');
      if (next_is_digit(at_ + 1 + sign)) {
        real = true;
        at_ += 1 + sign;
        run(digit);
      }
    }
    std::string digits(all_.substr(at, at_ - at));
    if (!real && digits.size() > 1 && digits[0] == '0')
      source_.refuse(at, "number ", digits, " is not supported");
    add(real ? Token::number : Token::integer, at, std::move(digits));
  }
  void string(std::size_t at, char quote) {
    std::string out;
    for (++at_;; ++at_) {
      if (at_ >= all_.size()) source_.refuse(at, "a text that does not end");
      if (all_[at_] == quote) break;
      if (all_[at_] != '\\') {
        out += all_[at_];
        continue;
      }
      if (++at_ >= all_.size()) source_.refuse(at, "a text that does not end");
      const char c = all_[at_];
      static constexpr std::string_view kFrom = "\\'\"abfnrtv", kTo = "\\'\"\a\b\f\n\r\t\v";
      if (const std::size_t which = kFrom.find(c); which != kFrom.npos)
        out += kTo[which];
      else if (c == 'x' || c == 'u' || c == 'U')
        append_utf8(out, hexadecimal(c == 'x' ? 2 : c == 'u' ? 4 : 8));
      else if ((c >= '0' && c <= '7') || c == 'N')
        source_.refuse(at_ - 1, "escape \\", std::string(1, c), " is not supported");
      else if (c != '\n')
        (out += '\\') += c;
    }
    ++at_;
    add(Token::text, at, std::move(out));
  }
  char32_t hexadecimal(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const char c = ++at_ < all_.size() ? all_[at_] : ' ';
      const std::size_t digit =
          std::string_view("0123456789abcdef").find(static_cast<char>(c >= 'A' ? c | 32 : c));
      if (digit == all_.npos)
        source_.refuse(at_ - static_cast<std::size_t>(i), "an escape of too few digits");
      value = value << 4 | static_cast<char32_t>(digit);
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
      source_.refuse(at_, "an escape that is no character");
    return value;
  }

  const Source& source_;
  std::string_view all_;
  std::size_t at_ = 0;
  bool line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace attend::inline ATTEND_ABI::text::jinja
