// Every error of the library leaves through attend::throw_error.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include <attend/core/config.hpp>

namespace attend::inline ATTEND_ABI {

/// What every function of the library throws on bad input: its text is one line that names the two shapes,
/// or the file (and byte offset) and what is wrong with it.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Called with the text before anything is thrown. It may log, abort, or leave by its own exception.
using ErrorHandler = void (*)(const char* message);

/// The handler in use; null (the default) means none. Under -fno-exceptions the program ends after it.
inline ErrorHandler& error_handler() noexcept {
  static ErrorHandler handler = nullptr;
  return handler;
}

/// "[2, 5, 512]".
inline std::string to_string(std::span<const std::ptrdiff_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

namespace detail {
/// A name from a file in quotes for an error line: control characters replaced, cut where it is long.
inline std::string in_quotes(std::string_view name) {
  std::string text = "'";
  for (char c : name.substr(0, 200)) text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return text + (name.size() > 200 ? "...'" : "'");
}

[[noreturn]] ATTEND_COLD inline void throw_message(std::string message) {
  for (char& c : message)  // names and texts of files are part of the line
    if (static_cast<unsigned char>(c) < 0x20) c = '?';
  if (ErrorHandler handler = error_handler()) handler(message.c_str());
#if defined(__cpp_exceptions)
  throw Error(message);
#else
  std::fprintf(stderr, "attend: %s\n", message.c_str());
  std::abort();
#endif
}

/// A part of a message as one of few types, so that there are few of the functions below.
template <class T>
auto message_part(const T& value) {
  if constexpr (std::is_convertible_v<const T&, std::string_view>)
    return std::string_view(value);
  else if constexpr (std::is_convertible_v<const T&, std::span<const std::ptrdiff_t>>)
    return std::span<const std::ptrdiff_t>(value);
  else if constexpr (std::is_floating_point_v<T>)
    return static_cast<double>(value);
  else if constexpr (std::is_unsigned_v<T>)
    return static_cast<unsigned long long>(value);
  else if constexpr (!std::is_same_v<T, char>)
    return static_cast<long long>(value);
  else
    return value;
}
template <class Part>
void append_part(std::string& text, Part part) {
  if constexpr (std::is_same_v<Part, std::string_view> || std::is_same_v<Part, char>)
    text += part;
  else if constexpr (std::is_arithmetic_v<Part>)
    text += std::to_string(part);
  else
    text += to_string(part);
}
template <class... Parts>
[[noreturn]] ATTEND_COLD void throw_parts(Parts... parts) {
  std::string message;
  (append_part(message, parts), ...);
  throw_message(message);
}
}  // namespace detail

/// Throws an Error of the parts one after the other: text, numbers and shapes. Out of line, so that checks
/// are small.
template <class... Parts>
[[noreturn]] void throw_error(const Parts&... parts) {
  detail::throw_parts(detail::message_part(parts)...);
}

}  // namespace attend::inline ATTEND_ABI
