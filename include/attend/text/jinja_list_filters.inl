// Filters of templates that sort, choose and count.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/jinja_builtins.inl>

namespace attend::inline ATTEND_ABI::text::jinja {

/// Whole numbers and others, of texts too; nothing where the filter is none of them.
inline std::optional<Value> Evaluation::filter_numbers(const Node& node, const std::string& name,
                                                       const Value& value, Arguments& given) {
  const auto read = [](std::string_view given_text, auto& out) {
    std::string text(strip(given_text, true, true, is_space));
    const auto is_digit = [&](std::size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
    for (std::size_t i = 1; i < text.size(); ++i)  // 1_000
      if (text[i] == '_' && is_digit(i - 1) && is_digit(i + 1)) text.erase(i, 1);
    if (text.starts_with('+')) text.erase(0, 1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc() && end == text.data() + text.size();
  };
  if (name == "int") {
    const auto values = bind(node, name, given, {"default", "base"});
    if (values[1]) refuse(node, "int of another base is not supported");
    if (value.integer()) return *value.integer();
    std::int64_t whole_number = 0;
    if (value.text() && read(*value.text(), whole_number)) return whole_number;
    double real = value.number().value_or(1e300);
    if (value.text() && !read(*value.text(), real)) real = 1e300;
    if (std::abs(real) < 9.2e18) return static_cast<std::int64_t>(real);
    return values[0].value_or(std::int64_t{0});
  }
  if (name == "float") {
    const auto values = bind(node, name, given, {"default"});
    if (value.number()) return *value.number();
    double real = 0;
    if (value.text() && read(*value.text(), real)) return real;
    return values[0].value_or(0.0);
  }
  if (name == "abs") {
    bind(node, name, given, {});
    if (value.integer() && *value.integer() != (std::numeric_limits<std::int64_t>::min)())
      return std::abs(*value.integer());
    if (!value.number()) refuse(node, "abs needs a number, got ", value.type());
    return std::abs(*value.number());
  }
  if (name == "round") {
    const auto values = bind(node, name, given, {"precision", "method"});
    const std::int64_t digits = values[0] ? whole(node, name, *values[0]) : 0;
    const std::string method = values[1] ? text_of(node, name, *values[1]) : "common";
    if (!value.number()) refuse(node, "round needs a number, got ", value.type());
    if (digits < 0 || digits > 30) refuse(node, "round to ", digits, " digits is not supported");
    if (method == "common") {
      if (value.integer()) return *value.integer();
      char digits_of[400];
      const auto end = std::to_chars(digits_of, digits_of + sizeof digits_of, *value.number(),
                                     std::chars_format::fixed, static_cast<int>(digits));
      double out = *value.number();
      std::from_chars(digits_of, end.ptr, out);
      return out;
    }
    if (method != "ceil" && method != "floor")
      refuse(node, "round by ", in_quotes(method), " is not supported");
    const double scale = std::pow(10.0, static_cast<double>(digits)), scaled = *value.number() * scale;
    return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
  }
  return std::nullopt;
}

/// By an order or by equality; nothing where the filter is none of them.
inline std::optional<Value> Evaluation::filter_lists(const Node& node, const std::string& name,
                                                     const Value& value, Arguments& given) {
  const auto flag = [](const std::optional<Value>& found) { return found && found->truth(); };
  const auto folded = [](const Value& found, bool as_it_is) {
    return found.text() && !as_it_is ? Value(lowercase(*found.text())) : found;
  };
  const auto sort = [&](auto& all, bool reverse, auto&& key) {
    for (std::size_t i = 0; i < all.size(); ++i) work(node, 64 + all.size());
    std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) {
      return reverse ? less(node, key(b), key(a), false) : less(node, key(a), key(b), false);
    });
  };
  if (name == "dictsort") {
    const auto values = bind(node, name, given, {"case_sensitive", "by", "reverse"});
    const bool by_value = values[1] && text_of(node, name, *values[1]) == "value";
    if (!value.mapping()) refuse(node, "dictsort needs a mapping, got ", value.type());
    auto all = value.mapping()->items;
    sort(all, flag(values[2]), [&](const std::pair<Value, Value>& item) {
      return folded(by_value ? item.second : item.first, flag(values[0]));
    });
    std::vector<Value> out;
    for (auto& [first, second] : all) out.push_back(made_list(node, {first, second}, Sequence::tuple));
    return made_list(node, std::move(out));
  }
  if (is_one_of(name, " sort unique min max ")) {
    std::vector<std::optional<Value>> values =
        name == "sort" ? bind(node, name, given, {"reverse", "case_sensitive", "attribute"})
                       : bind(node, name, given, {"case_sensitive", "attribute"});
    const bool reverse = name == "sort" && flag(values[0]);
    if (name == "sort") values.erase(values.begin());
    std::vector<Value> all = items(node, value);
    const bool by_attribute = values[1] && !values[1]->is_none();
    const auto keyed = [&](const Value& path) {
      std::vector<std::pair<Value, Value>> keys;
      for (const Value& one : all)
        keys.emplace_back(folded(by_attribute ? attribute(node, one, path) : one, flag(values[0])), one);
      return keys;
    };
    if (name == "sort") {  // by the last of several attributes first
      std::string paths = by_attribute && values[1]->text() ? *values[1]->text() : std::string();
      for (bool more = true; more;) {
        const std::size_t comma = paths.rfind(',');
        more = comma != paths.npos;
        const std::string path = more ? paths.substr(comma + 1) : paths;
        auto keys = keyed(by_attribute && values[1]->text() ? Value(path) : values[1].value_or(NoValue()));
        sort(keys, reverse, [](const auto& key) -> const Value& { return key.first; });
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = std::move(keys[i].second);
        if (more) paths.resize(comma);
      }
      return made_list(node, std::move(all));
    }
    const auto keys = keyed(values[1].value_or(NoValue()));
    std::vector<Value> out;
    if (name == "unique") {
      std::vector<Value> seen;
      for (const auto& [key, one] : keys) {
        bool known = false;
        for (const Value& other : seen) known = known || same(node, other, key);
        if (known) continue;
        seen.push_back(key);
        out.push_back(one);
      }
      return made_list(node, std::move(out), Sequence::generator);
    }
    if (all.empty()) return Value::undefined("the " + name + " of none");
    std::size_t best = 0;
    for (std::size_t i = 1; i < keys.size(); ++i)
      if (name == "min" ? less(node, keys[i].first, keys[best].first, false)
                        : less(node, keys[best].first, keys[i].first, false))
        best = i;
    return all[best];
  }
  if (name == "sum") {
    const auto values = bind(node, name, given, {"attribute", "start"});
    Value out = values[1].value_or(std::int64_t{0});
    for (const Value& one : items(node, value))
      out = arithmetic(node, "+", out,
                       values[0] && !values[0]->is_none() ? attribute(node, one, *values[0]) : one);
    return out;
  }
  if (name == "groupby") {
    const auto values = bind(node, name, given, {"attribute", "default", "case_sensitive"});
    if (!values[0]) refuse(node, "groupby needs an attribute");
    std::vector<std::pair<Value, Value>> all;  // what they are grouped by, and they
    for (Value& one : items(node, value)) {
      Value key =
          attribute(node, one, *values[0], values[1] && !values[1]->is_none() ? &*values[1] : nullptr);
      all.emplace_back(std::move(key), std::move(one));
    }
    const auto key = [&](const auto& item) { return folded(item.first, flag(values[2])); };
    sort(all, false, key);
    std::vector<Value> out;
    for (std::size_t begin = 0, end; begin < all.size(); begin = end) {
      std::vector<Value> group;
      for (end = begin; end < all.size() && same(node, key(all[end]), key(all[begin])); ++end)
        group.push_back(all[end].second);
      Sequence both{Sequence::tuple, {all[begin].first, made_list(node, std::move(group))}};
      both.is_group = true;
      out.push_back(made(node, std::move(both)));
    }
    return made_list(node, std::move(out));
  }
  if (name == "batch") {
    const auto values = bind(node, name, given, {"linecount", "fill_with"});
    if (!values[0]) refuse(node, "batch needs a number");
    const std::int64_t size = whole(node, name, *values[0]);
    if (size < 1 || size > 100000) refuse(node, "batch of ", size);
    std::vector<Value> out, row;
    for (Value& one : items(node, value)) {
      if (std::ssize(row) == size) out.push_back(made_list(node, std::exchange(row, {})));
      row.push_back(std::move(one));
    }
    while (!row.empty() && values[1] && !values[1]->is_none() && std::ssize(row) < size) {
      work(node, 8);
      row.push_back(*values[1]);
    }
    if (!row.empty()) out.push_back(made_list(node, std::move(row)));
    return made_list(node, std::move(out), Sequence::generator);
  }
  return std::nullopt;
}

}  // namespace attend::inline ATTEND_ABI::text::jinja
