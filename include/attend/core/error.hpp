// Every error of the library leaves through attend::fail.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace attend {

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

[[noreturn]] inline void fail(std::string message) {
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

}  // namespace attend
