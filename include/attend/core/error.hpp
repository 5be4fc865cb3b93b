// Every error of the library leaves through attend::throw_error.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <attend/core/config.hpp>

namespace attend::inline ATTEND_ABI {

/// What every function of the library throws on bad input: its text is one line that names the two shapes,
/// or the file (and byte offset) and what is wrong with it.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a call throws that a stop token has ended: see Context::set_stop_token.
struct Stopped : Error {
  using Error::Error;
};

/// Called with the text before anything is thrown. It may log, abort, or leave by its own exception.
using ErrorHandler = void (*)(const char* message);

/// The handler in use; null (the default) means none. Under -fno-exceptions the program ends after it.
inline ErrorHandler& error_handler() noexcept {
  static ErrorHandler handler = nullptr;
  return handler;
}

namespace detail {
ATTEND_COLD inline void append_shape(std::string& text, std::span<const std::ptrdiff_t> shape) {
  char number[24];
  text.push_back('[');
  for (std::size_t i = 0; i < shape.size(); ++i) {
    std::snprintf(number, sizeof(number), "%s%td", i > 0 ? ", " : "", shape[i]);
    text.append(number);
  }
  text.push_back(']');
}
}  // namespace detail

/// "[2, 5, 512]".
ATTEND_COLD inline std::string to_string(std::span<const std::ptrdiff_t> shape) {
  std::string text;
  detail::append_shape(text, shape);
  return text;
}

namespace detail {
/// A name from a file in quotes for an error line: control characters replaced, cut where it is long.
ATTEND_COLD inline std::string in_quotes(std::string_view name) {
  std::string text = "'";
  for (char c : name.substr(0, 200)) text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return text + (name.size() > 200 ? "...'" : "'");
}

template <class Kind = Error>
[[noreturn]] ATTEND_COLD void throw_message(std::string message) {
  for (char& c : message)  // names and texts of files are part of the line
    if (static_cast<unsigned char>(c) < 0x20) c = '?';
  if (ErrorHandler handler = error_handler()) handler(message.c_str());
#if defined(__cpp_exceptions)
  throw Kind(message);
#else
  std::fprintf(stderr, "attend: %s\n", message.c_str());
  std::abort();
#endif
}

/// A part of a message: text, a number or a shape.
struct MessagePart {
  enum class Kind { text, shape, character, whole, natural, real } kind;
  union {
    std::string_view text;
    std::span<const std::ptrdiff_t> shape;
    char character;
    long long whole;
    unsigned long long natural;
    double real;
  };

  MessagePart(const char* t) : kind(Kind::text), text(t) {}
  template <class T>
  requires std::is_convertible_v<const T&, std::string_view> MessagePart(const T& t)
      : kind(Kind::text), text(t) {}
  template <class T>
  requires std::is_convertible_v<const T&, std::span<const std::ptrdiff_t>> MessagePart(const T& t)
      : kind(Kind::shape), shape(t) {}
  MessagePart(char c) : kind(Kind::character), character(c) {}
  MessagePart(std::floating_point auto x) : kind(Kind::real), real(static_cast<double>(x)) {}
  MessagePart(std::unsigned_integral auto x) : kind(Kind::natural), natural(x) {}
  MessagePart(std::signed_integral auto x) : kind(Kind::whole), whole(x) {}
  template <class T>
  requires(std::is_class_v<T>&& std::is_convertible_v<const T&, std::ptrdiff_t>) MessagePart(const T& index)
      : MessagePart(static_cast<std::ptrdiff_t>(index)) {}

  ATTEND_COLD void append_to(std::string& message) const {
    char number[400] = "";
    switch (kind) {
      case Kind::text:
        message.append(text);
        return;
      case Kind::shape:
        append_shape(message, shape);
        return;
      case Kind::character:
        message.push_back(character);
        return;
      case Kind::whole:
        std::snprintf(number, sizeof(number), "%lld", whole);
        break;
      case Kind::natural:
        std::snprintf(number, sizeof(number), "%llu", natural);
        break;
      default:
        std::snprintf(number, sizeof(number), "%f", real);
    }
    message.append(number);
  }
};
[[noreturn]] ATTEND_COLD inline void throw_parts(std::initializer_list<MessagePart> parts) {
  std::string message;
  for (const MessagePart& part : parts) part.append_to(message);
  throw_message(std::move(message));
}
}  // namespace detail

/// Throws an Error of the parts one after the other: text, numbers and shapes. Out of line, so that checks
/// are small, and by value: one function for texts of all lengths, and no variable has to be in memory for
/// it.
template <class... Parts>
[[noreturn]] ATTEND_COLD void throw_error(Parts... parts) {
  detail::throw_parts({detail::MessagePart(parts)...});
}

}  // namespace attend::inline ATTEND_ABI
