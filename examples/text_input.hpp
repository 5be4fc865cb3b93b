// Text that a user gives, in files and arguments: it has to be UTF-8.
#pragma once

#include <cstdio>
#include <string>
#include <utility>

#include <attend/core/error.hpp>
#include <attend/text/utf8.hpp>

/// The text itself; `where` names it in the error.
inline const std::string& checked_utf8(const std::string& text, const std::string& where) {
  if (const std::size_t at = attend::text::find_malformed_utf8(text); at < text.size())
    attend::throw_error(where, ": not UTF-8 at byte ", at);
  return text;
}

/// Lines of a stream, with or without a carriage return at their end; `name` names it in errors.
class LineReader {
 public:
  LineReader(std::istream& in, std::string name) : in_(in), name_(std::move(name)) {}

  /// False at the end.
  bool next(std::string& line) {
    if (!std::getline(in_, line)) {
      if (in_.bad() || (&in_ == &std::cin && std::ferror(stdin)))
        attend::throw_error(name_, ": cannot be read");
      return false;
    }
    if (!line.empty() && line.back() == '\r') line.pop_back();
    checked_utf8(line, name_ + ": line " + std::to_string(++number_));
    return true;
  }

 private:
  std::istream& in_;
  std::string name_;
  std::size_t number_ = 0;
};
