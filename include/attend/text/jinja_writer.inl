// Values as text, as Python and its json write them; and JSON as values.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/text/jinja_value.inl>
#include <attend/text/unicode.hpp>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI::text::jinja {

/// As Python writes a float: the shortest digits that read back, with an exponent from 1e16 on and below
/// 1e-4.
inline std::string to_text(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, x, std::chars_format::scientific).ptr;
  const std::string_view all(digits, static_cast<std::size_t>(end - digits));
  int exponent = 0;
  std::from_chars(digits + all.find('e') + (all[all.find('e') + 1] == '+' ? 2 : 1), end, exponent);
  if (exponent >= -4 && exponent < 16) {
    char plain[64];
    std::string out(plain, std::to_chars(plain, plain + sizeof plain, x, std::chars_format::fixed).ptr);
    return out.find('.') == std::string::npos ? out + ".0" : out;
  }
  return std::string(all);
}

/// `grow(n)` is told of each piece of n bytes, and stops what gets too long; `grow.refuse(text)` is for what
/// cannot be written.
template <class Grow>
class Writer {
 public:
  explicit Writer(Grow grow) : grow_(std::move(grow)) {}
  std::string take() { return std::move(out_); }

  /// str() of Python.
  void text(const Value& value) {
    if (value.any_text())
      put(*value.any_text());
    else if (!value.is_undefined())
      repr(value);
  }
  /// repr() of Python.
  void repr(const Value& value) {
    if (value.text()) return quoted(*value.text());
    if (const auto* marked = value.get<Marked>()) return put("Markup("), quoted(*marked->text), put(")");
    if (value.is_none()) return put("None");
    if (value.is_undefined()) return put("Undefined");
    if (const bool* truth = value.get<bool>()) return put(*truth ? "True" : "False");
    if (const auto* number = value.get<std::int64_t>()) return put(std::to_string(*number));
    if (const double* number = value.get<double>()) return put(to_text(*number));
    if (const Sequence* list = value.sequence(); list && list->kind <= Sequence::tuple) {
      const bool tuple = list->kind == Sequence::tuple;
      put(tuple ? "(" : "[");
      for (std::size_t i = 0; i < list->items.size(); ++i) {
        if (i) put(", ");
        repr(list->items[i]);
      }
      return put(!tuple ? "]" : list->items.size() == 1 ? ",)" : ")");
    }
    if (const Mapping* map = value.mapping()) {
      put("{");
      for (std::size_t i = 0; i < map->items.size(); ++i) {
        if (i) put(", ");
        repr(map->items[i].first);
        put(": ");
        repr(map->items[i].second);
      }
      return put("}");
    }
    grow_.refuse(std::string(value.type()) + " cannot be written");
  }

  struct JsonStyle {
    bool ascii = false, sort_keys = false;
    std::optional<std::string> indent = {};
    std::string item = ", ", key = ": ";
  };
  /// json.dumps() of Python.
  void json(const Value& value, const JsonStyle& style, int level = 0) {
    const auto line = [&](int n) {
      if (!style.indent) return;
      put("\n");
      for (int i = 0; i < n; ++i) put(*style.indent);
    };
    if (value.any_text()) return json_text(*value.any_text(), style.ascii);
    if (value.is_none()) return put("null");
    if (const bool* truth = value.get<bool>()) return put(*truth ? "true" : "false");
    if (const double* x = value.get<double>(); x && !std::isfinite(*x))
      return put(std::isnan(*x) ? "NaN" : *x < 0 ? "-Infinity" : "Infinity");
    if (value.number()) return repr(value);
    if (const Sequence* list = value.sequence(); list && list->kind <= Sequence::tuple) {
      if (list->items.empty()) return put("[]");
      put("[");
      for (std::size_t i = 0; i < list->items.size(); ++i) {
        if (i) put(style.item);
        line(level + 1);
        json(list->items[i], style, level + 1);
      }
      line(level);
      return put("]");
    }
    if (const Mapping* map = value.mapping()) {
      if (map->items.empty()) return put("{}");
      std::vector<const std::pair<Value, Value>*> items;
      for (const auto& item : map->items) items.push_back(&item);
      const auto key_of = [&](const Value& key) {
        if (key.text()) return *key.text();
        Writer writer(grow_);
        if (!key.is_none() && !key.number())
          grow_.refuse(std::string(key.type()) + " cannot be a key of JSON");
        writer.json(key, {});
        return writer.take();
      };
      if (style.sort_keys)
        std::stable_sort(items.begin(), items.end(),
                         [&](const auto* a, const auto* b) { return key_of(a->first) < key_of(b->first); });
      put("{");
      for (std::size_t i = 0; i < items.size(); ++i) {
        if (i) put(style.item);
        line(level + 1);
        json_text(key_of(items[i]->first), style.ascii);
        put(style.key);
        json(items[i]->second, style, level + 1);
      }
      line(level);
      return put("}");
    }
    grow_.refuse("tojson: " + std::string(value.type()) + " is nothing of JSON");
  }

 private:
  void put(std::string_view piece) {
    grow_(piece.size());
    out_ += piece;
  }
  void escaped(char32_t c, const char* prefix, int digits) {
    std::string hex(static_cast<std::size_t>(digits), '0');
    for (auto at = hex.rbegin(); at != hex.rend(); ++at, c >>= 4) *at = "0123456789abcdef"[c & 15];
    put(prefix + hex);
  }
  void quoted(const std::string& text) {
    const bool twice = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
    put(twice ? "\"" : "'");
    for_each_code_point(text, [&](char32_t c, std::string_view bytes) {
      const auto kind = category(c);
      if (c == '\\' || (c == '\'' && !twice)) return put("\\" + std::string(bytes));
      if (c == '\n') return put("\\n");
      if (c == '\r') return put("\\r");
      if (c == '\t') return put("\\t");
      const bool printable = c == ' ' || (kind != UTF8PROC_CATEGORY_CN && kind < UTF8PROC_CATEGORY_ZS);
      if (printable) return put(bytes);
      c < 0x100 ? escaped(c, "\\x", 2) : c < 0x10000 ? escaped(c, "\\u", 4) : escaped(c, "\\U", 8);
    });
    put(twice ? "\"" : "'");
  }
  void json_text(const std::string& text, bool ascii) {
    put("\"");
    for_each_code_point(text, [&](char32_t c, std::string_view bytes) {
      static constexpr std::string_view kFrom = "\"\\\n\r\t\b\f", kTo = "\"\\nrtbf";
      if (const std::size_t at = c < 0x80 ? kFrom.find(static_cast<char>(c)) : kFrom.npos; at != kFrom.npos)
        return put(std::string("\\") + kTo[at]);
      if (c >= 0x10000 && ascii) {
        escaped(0xD800 + ((c - 0x10000) >> 10), "\\u", 4);
        return escaped(0xDC00 + ((c - 0x10000) & 0x3FF), "\\u", 4);
      }
      c < 0x20 || (ascii && c > 0x7e) ? escaped(c, "\\u", 4) : put(bytes);
    });
    put("\"");
  }

  Grow grow_;
  std::string out_;
};

/// JSON as values, with keys in the order of the file; of a key that comes twice the last counts, as in
/// Python.
class JsonValues final : public attend::detail::JsonReader {
 public:
  using JsonReader::JsonReader;
  Value take() {
    read();
    return std::move(root_);
  }

 private:
  bool null() override { return place(NoValue()); }
  bool boolean(bool value) override { return place(value); }
  bool number_integer(std::int64_t value) override { return place(value); }
  bool number_unsigned(std::uint64_t value) override {
    if (value > static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)()))
      fail_here("an integer beyond 64 bits");
    return place(static_cast<std::int64_t>(value));
  }
  bool number_float(double value, const std::string& digits) override {
    if (digits.find_first_of(".eE") == digits.npos) fail_here("an integer beyond 64 bits");
    return place(value);
  }
  bool string(std::string& value) override { return place(std::move(value)); }
  bool start_object(std::size_t) override { return open(false); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(true); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    open_.back().keys.push_back(std::move(name));
    return true;
  }

  struct Open {
    bool list;
    std::vector<std::string> keys = {};
    std::vector<Value> values = {};
  };
  bool open(bool list) {
    enter();
    open_.push_back({list});
    return true;
  }
  bool close() {
    leave();
    Open done = std::move(open_.back());
    open_.pop_back();
    if (done.list) return place(Sequence{.items = std::move(done.values)});
    Mapping map;
    std::map<std::string, std::size_t, std::less<>> places;
    for (std::size_t i = 0; i < done.keys.size(); ++i) {
      const auto [found, fresh] = places.emplace(done.keys[i], map.items.size());
      if (fresh)
        map.items.emplace_back(std::move(done.keys[i]), std::move(done.values[i]));
      else
        map.items[found->second].second = std::move(done.values[i]);
    }
    return place(std::move(map));
  }
  bool place(Value value) {
    (open_.empty() ? root_ : open_.back().values.emplace_back()) = std::move(value);
    return true;
  }

  std::vector<Open> open_;
  Value root_;
};

}  // namespace attend::inline ATTEND_ABI::text::jinja
