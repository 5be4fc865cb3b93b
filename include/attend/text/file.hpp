// Reading the files of a tokenizer: bytes, UTF-8 text, lines, and fields of JSON with errors that name the
// place.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <attend/core/error.hpp>
#include <attend/core/file.hpp>
#include <attend/json/fields.hpp>
#include <attend/json/json.hpp>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI::text {

using attend::Json;
using attend::parse_json;
using attend::read_json;
using Part = JsonObject;  ///< a part of tokenizer.json

/// What some files of UTF-8 begin with.
inline constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

/// The bytes of a file, without a UTF-8 byte order mark.
inline std::string read_file(const Location& path) {
  std::string bytes = attend::read_file(path);
  if (bytes.starts_with(byte_order_mark)) bytes.erase(0, byte_order_mark.size());
  return bytes;
}

/// read_file for a file that has to be UTF-8.
inline std::string read_text(const Location& path) {
  std::string text = text::read_file(path);
  const std::size_t bad = find_malformed_utf8(text);
  if (bad != std::string::npos) throw_error(path.string(), ": not UTF-8 at byte ", bad);
  return text;
}

/// attend::for_each_line for a file that has to be UTF-8; a byte order mark at its begin is left out.
template <class F>
void for_each_text_line(const Location& path, F&& f) {
  for_each_line(path, [&](std::string_view line, std::size_t offset) {
    const std::size_t bad = find_malformed_utf8(line);
    if (bad != std::string_view::npos) throw_error(path.string(), ": not UTF-8 at byte ", offset + bad);
    if (offset == 0 && line.starts_with(byte_order_mark)) line.remove_prefix(byte_order_mark.size());
    f(line);
  });
}

}  // namespace attend::inline ATTEND_ABI::text
