// Fields of JSON objects by name and type. Whatever a file says wrong, its error begins with the place and
// goes on in the same words: "config.json: 'rope_scaling.factor' expected a number, got true".
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <attend/core/error.hpp>
#include <attend/json/json.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {

/// A value for an error line, cut where it is long.
inline std::string json_excerpt(const Json& value) {
  if (value.is_structured() && value.size() > 40) return value.is_array() ? "a long list" : "a large object";
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 80 ? text.substr(0, 80) + "..." : text;
}

[[noreturn]] inline void fail_json_type(const std::string& where, const char* expected, const Json& got) {
  throw_error(where, " expected ", expected, ", got ", json_excerpt(got));
}

/// A member of an object, or null.
inline const Json& json_member(const Json& value, std::string_view name) {  // GCC 13 warns of a `const &`
  static const Json none;
  const auto found = value.find(std::string(name));
  return found == value.end() ? none : *found;
}

/// Whether it is that text. Json's own comparison with a literal takes memory, and ends the program where
/// there is none.
inline bool json_is(const Json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}

/// A bool, integer, floating-point number, std::string, container of these, or Json (anything). Error where
/// the value is of another type (1 is no bool, 1.0 no integer; an integer is a number) or beyond T's range.
template <class T>
T json_as(const Json& value, const std::string& where) {
  if constexpr (std::same_as<T, Json>) {
    return value;
  } else if constexpr (std::same_as<T, bool>) {
    if (!value.is_boolean()) fail_json_type(where, "true or false", value);
    return value.get<bool>();
  } else if constexpr (std::integral<T>) {
    if (!value.is_number_integer()) fail_json_type(where, "an integer", value);
    const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<std::uint64_t>())
                                                 : std::in_range<T>(value.get<std::int64_t>());
    if (!fits) fail_json_type(where, "an integer within range", value);
    return value.get<T>();
  } else if constexpr (std::floating_point<T>) {
    if (!value.is_number()) fail_json_type(where, "a number", value);
    const double number = value.get<double>();
    if (!(std::abs(number) <= static_cast<double>((std::numeric_limits<T>::max)())))
      fail_json_type(where, "a number within range", value);
    return static_cast<T>(number);
  } else if constexpr (std::same_as<T, std::string>) {
    if (!value.is_string()) fail_json_type(where, "a string", value);
    return value.get<std::string>();
  } else {
    if (!value.is_array()) fail_json_type(where, "a list", value);
    T list;
    for (const Json& item : value) list.push_back(json_as<typename T::value_type>(item, where));
    return list;
  }
}

/// The value of an integer that is not negative (whose type says so only if it was parsed); else nothing.
inline std::optional<std::uint64_t> natural_number(const Json& value) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0) return std::nullopt;
  return static_cast<std::uint64_t>(value.get<std::int64_t>());
}

/// An integer in [0, 2^31), which is what ids and counts of a file are.
inline std::int32_t json_natural(const Json& value, const std::string& where) {
  const std::optional<std::uint64_t> number = natural_number(value);
  if (!number || !std::in_range<std::int32_t>(*number))
    fail_json_type(where, "an integer from 0 to 2^31 - 1", value);
  return static_cast<std::int32_t>(*number);
}

}  // namespace detail

/// One object inside a JSON file, with its place in words ("tokenizer.json.normalizer[0]"). It refers to the
/// value, and fails, with that place, on a field that is missing, of the wrong type, or unknown. A null
/// counts as absent.
class JsonObject {
 public:
  JsonObject(const Json& value, std::string where) : value_(&value), where_(std::move(where)) {
    if (!value.is_object()) error("expected an object, got " + detail::json_excerpt(value));
  }

  [[noreturn]] void error(const std::string& text) const { throw_error(where_, ": ", text); }
  const std::string& where() const { return where_; }
  /// The place of a field, as errors name it.
  std::string where(std::string_view name) const { return where_ + ": " + detail::in_quotes(name); }
  const Json& json() const { return *value_; }

  bool has(std::string_view name) const { return find(name) != nullptr; }
  const Json& at(std::string_view name) const {
    const Json* found = find(name);
    if (found == nullptr) throw_error(where(name), " is missing");
    return *found;
  }
  std::string string(std::string_view name) const {
    return detail::json_as<std::string>(at(name), where(name));
  }
  std::string string(std::string_view name, std::string otherwise) const {
    return has(name) ? string(name) : std::move(otherwise);
  }
  bool boolean(std::string_view name, bool otherwise) const {
    return has(name) ? detail::json_as<bool>(at(name), where(name)) : otherwise;
  }
  /// An integer in [0, 2^31).
  std::int32_t integer(std::string_view name) const { return detail::json_natural(at(name), where(name)); }
  const Json& array(std::string_view name) const {
    const Json& value = at(name);
    if (!value.is_array()) detail::fail_json_type(where(name), "a list", value);
    return value;
  }
  JsonObject object(std::string_view name) const {
    return JsonObject(at(name), where_ + "." + std::string(name));
  }
  JsonObject element(std::string_view name, std::size_t i) const {
    const Json& list = array(name);
    if (i >= list.size()) throw_error(where(name), " has no element ", i);
    return JsonObject(list[i], where_ + "." + std::string(name) + "[" + std::to_string(i) + "]");
  }

  /// Fails if there is a field besides "type" and these: one that we don't know might change what is
  /// computed.
  void allow(std::initializer_list<std::string_view> names) const {
    for (const auto& [key, unused] : value_->get_ref<const Json::object_t&>()) {
      bool known = key == "type";
      for (std::string_view name : names) known = known || key == name;
      if (!known) error("unknown field " + detail::in_quotes(key));
    }
  }

 private:
  const Json* find(std::string_view name) const {
    const auto at = value_->find(name);
    return at == value_->end() || at->is_null() ? nullptr : &*at;
  }

  const Json* value_;
  std::string where_;
};

}  // namespace attend::inline ATTEND_ABI
