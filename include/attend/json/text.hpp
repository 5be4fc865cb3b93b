// JSON that is written.
#pragma once

#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <attend/json/json.hpp>

namespace attend::inline ATTEND_ABI::detail {

inline std::string json_dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// A value as its text, which is what the library makes JSON of: an initializer list of nlohmann's leaks
/// where memory runs out, and a value of its that holds others takes memory to go away, and ends the program
/// where there is none.
struct JsonText {
  std::string text = "null";

  JsonText() = default;
  template <class T>
  requires(std::is_arithmetic_v<T> || std::same_as<T, std::nullptr_t> ||
           (std::convertible_to<const T&, std::string_view> && !std::same_as<T, Json>))
      JsonText(const T& scalar) {
    const FloatEnvironment environment;  // a subnormal float becomes a double
    if constexpr (std::is_arithmetic_v<T>)
      text = json_dump(Json(scalar));
    else if constexpr (!std::same_as<T, std::nullptr_t>)
      text = json_dump(Json(std::string(std::string_view(scalar))));
  }
  /// {{"name", value}, …}
  JsonText(std::initializer_list<std::pair<const std::string, JsonText>> members);
  JsonText(const struct JsonMembers& members);
};
inline JsonText json_text(std::string text) {
  JsonText out;
  out.text = std::move(text);
  return out;
}
inline JsonText json_text(const Json& value) { return json_text(json_dump(value)); }

/// An object, by the names of its members.
struct JsonMembers : std::map<std::string, JsonText> {
  using map::map;
  std::string text() const {
    std::string out;
    for (const auto& [name, value] : *this)
      out += (out.empty() ? "{" : ",") + JsonText(name).text + ":" + value.text;
    return out.empty() ? "{}" : out + "}";
  }
};
inline JsonText::JsonText(const JsonMembers& members) : text(members.text()) {}
inline JsonText::JsonText(std::initializer_list<std::pair<const std::string, JsonText>> members)
    : JsonText(JsonMembers(members)) {}

template <class Values = std::initializer_list<JsonText>>
JsonText json_list(const Values& values) {
  std::string out;
  for (const auto& value : values) out += (out.empty() ? "[" : ",") + JsonText(value).text;
  return json_text(out.empty() ? "[]" : out + "]");
}

}  // namespace attend::inline ATTEND_ABI::detail
