// Lines of texts, and texts with places for values: Python's "%s" % value, and "{}".format(value).
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/jinja_operators.inl>

namespace attend::inline ATTEND_ABI::text::jinja {

/// What stands between % and the letter of the conversion.
struct Conversion {
  std::string flags = {};
  std::int64_t width = 0, precision = -1;
  char letter = 's';

  bool has(char flag) const { return flags.find(flag) != std::string::npos; }
  /// With blanks or zeros up to the width. `digits_at`: where the digits begin, behind sign and 0x.
  std::string padded(std::string text, std::size_t digits_at = std::string::npos) const {
    const std::int64_t size = static_cast<std::int64_t>(count_code_points(text));
    if (size >= width) return text;
    const std::size_t more = static_cast<std::size_t>(width - size);
    if (has('-')) return text + std::string(more, ' ');
    const bool zeros = has('0') && digits_at != std::string::npos;
    return text.insert(zeros ? digits_at : 0, more, zeros ? '0' : ' ');
  }
  std::string sign(bool negative) const { return negative ? "-" : has('+') ? "+" : has(' ') ? " " : ""; }
};

/// 12 as %d, %x, %o and so on have it.
inline std::string whole_number_text(const Conversion& how, std::int64_t value) {
  const int base = how.letter == 'x' || how.letter == 'X' ? 16 : how.letter == 'o' ? 8 : 10;
  char digits[24];
  const std::uint64_t size =
      value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  std::string all(digits, std::to_chars(digits, digits + sizeof digits, size, base).ptr);
  if (std::ssize(all) < how.precision)
    all.insert(0, static_cast<std::size_t>(how.precision) - all.size(), '0');
  std::string front = how.sign(value < 0);
  if (how.has('#') && base != 10) front += base == 16 ? "0x" : "0o";
  const std::size_t digits_at = front.size();
  all = front + all;
  if (how.letter == 'X')
    for (char& c : all) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return how.padded(std::move(all), digits_at);
}

/// 0.5 as %f, %e and %g have it.
inline std::string real_number_text(const Conversion& how, double value) {
  const char kind = static_cast<char>(how.letter | 32);
  std::string all = std::isnan(value) ? "nan" : "inf";
  if (std::isfinite(value)) {
    const auto format = kind == 'e'   ? std::chars_format::scientific
                        : kind == 'f' ? std::chars_format::fixed
                                      : std::chars_format::general;
    char digits[500];
    const int precision = how.precision < 0 ? 6 : static_cast<int>(how.precision);
    const auto end = std::to_chars(digits, digits + sizeof digits, std::abs(value), format, precision);
    all.assign(digits, end.ptr);
  }
  if (how.letter != kind)
    for (char& c : all) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  const std::string front = how.sign(std::signbit(value) && !std::isnan(value));
  return how.padded(front + all, front.size());
}

/// What Python takes for lines.
inline std::vector<Value> lines_of(const std::string& text) {
  std::vector<Value> out;
  std::size_t begin = 0, at = 0;
  for_each_code_point(text, [&](char32_t c, std::string_view bytes) {
    const bool inside = c == '\n' && at > 0 && text[at - 1] == '\r';
    const bool ends =
        (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (ends && !inside) out.emplace_back(text.substr(begin, at - begin));
    at += bytes.size();
    if (ends) begin = at;
  });
  if (begin < text.size()) out.emplace_back(text.substr(begin));
  return out;
}

/// text % given: a tuple has one for each place, a mapping is asked by name.
inline Value Evaluation::formatted(const Node& node, const std::string& text, const Value& given) {
  const Sequence* list = given.sequence();
  const std::vector<Value> values =
      list && list->kind == Sequence::tuple ? list->items : std::vector<Value>{given};
  std::string out;
  std::size_t used = 0, at = 0;
  const auto next = [&]() -> char {
    if (at == text.size()) refuse(node, "formatting by %: a place that does not end");
    return text[at++];
  };
  const auto number = [&](std::int64_t otherwise) {
    if (at == text.size() || text[at] < '0' || text[at] > '9') return otherwise;
    std::int64_t value = 0;
    std::from_chars(text.data() + at, text.data() + text.size(), value);
    while (text[at] >= '0' && text[at] <= '9') ++at;
    return std::min<std::int64_t>(value, 1 << 20);
  };
  while (at < text.size()) {
    const std::size_t place = text.find('%', at);
    out.append(text, at, place - at);
    if (place == text.npos) break;
    at = place + 1;
    Conversion how;
    std::optional<Value> value;
    if (at < text.size() && text[at] == '(') {
      const std::size_t end = text.find(')', at);
      if (end == text.npos || !given.mapping()) refuse(node, "formatting by %: a name needs a mapping");
      value = item(node, given, text.substr(at + 1, end - at - 1));
      need_defined(node, *value);
      at = end + 1;
    }
    while (at < text.size() && std::string_view("-+ 0#").find(text[at]) != std::string_view::npos)
      how.flags += text[at++];
    how.width = number(0);
    if (at < text.size() && text[at] == '.') ++at, how.precision = number(0);
    how.letter = next();
    if (how.letter == '%') {
      out += '%';
      continue;
    }
    if (std::string_view("srdiuxXofFeEgG").find(how.letter) == std::string_view::npos || how.precision > 60 ||
        (how.letter != 's' && how.letter != 'r' && how.has('#')))
      refuse(node, "formatting by % of this kind is not supported");
    if (!value) {
      if (used == values.size()) refuse(node, "formatting by %: more places than values");
      value = values[used++];
    }
    work(node, static_cast<std::size_t>(how.width));
    if (how.letter == 's' || how.letter == 'r') {
      Writer<Grow> to = writer(node);
      how.letter == 's' ? to.text(*value) : to.repr(*value);
      std::string all = to.take();
      if (how.precision >= 0) {
        std::string_view rest = all;
        std::size_t end = 0;
        for (std::int64_t n = 0; n < how.precision && end < rest.size(); ++n)
          end += decode_utf8(rest, end).size;
        all.resize(end);
      }
      out += how.padded(std::move(all));
    } else if (std::string_view("fFeEgG").find(how.letter) != std::string_view::npos) {
      if (!value->number())
        refuse(node, "formatting by %", how.letter, " needs a number, got ", value->type());
      out += real_number_text(how, *value->number());
    } else {
      const double* real = value->get<double>();
      const bool decimal = std::string_view("diu").find(how.letter) != std::string_view::npos;
      if (real && decimal && std::abs(*real) < 9.2e18)
        out += whole_number_text(how, static_cast<std::int64_t>(*real));
      else
        out += whole_number_text(how, whole(node, "formatting by %", *value));
    }
  }
  if (used < values.size() && !given.mapping()) refuse(node, "formatting by %: more values than places");
  return made_text(node, std::move(out));
}

/// "{} {1} {name}".format(...): values as texts, without a specification behind a colon.
inline Value Evaluation::placed(const Node& node, const std::string& text, const Arguments& given) {
  const std::size_t plain = given.values.size() - given.keywords.size();
  std::string out;
  std::size_t next = 0;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    const bool twice = at + 1 < text.size() && text[at + 1] == c;
    if ((c != '{' && c != '}') || twice) {
      out += c;
      at += c == '{' || c == '}' ? 2 : 1;
      continue;
    }
    const std::size_t end = text.find('}', at);
    if (c == '}' || end == text.npos) refuse(node, "format: a brace without its other");
    const std::string name = text.substr(at + 1, end - at - 1);
    at = end + 1;
    if (name.find_first_of(":!.[{") != name.npos)
      refuse(node, "format: a place such as {", name, "} is not supported");
    const bool number = !name.empty() && name.size() < 9 && name.find_first_not_of("0123456789") == name.npos;
    std::size_t i = name.empty() ? next++ : number ? static_cast<std::size_t>(std::stol(name)) : plain;
    if (!name.empty() && !number)
      while (i < given.values.size() && given.keywords[i - plain] != name) ++i;
    if (i >= given.values.size() || ((name.empty() || number) && i >= plain))
      refuse(node, "format: no value for {", name, "}");
    out += as_text(node, given.values[i]);
  }
  return made_text(node, std::move(out));
}

}  // namespace attend::inline ATTEND_ABI::text::jinja
