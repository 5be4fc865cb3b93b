// Reading the files of a tokenizer: whole files, JSON, and fields of JSON with errors that name the place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <attend/core/error.hpp>
#include <attend/text/unicode.hpp>

namespace attend::text {

using Json = nlohmann::json;

/// The bytes of a file, without a UTF-8 byte order mark.
inline std::string read_file(const std::filesystem::path& path) {
  std::error_code ignored;
  std::ifstream in(path, std::ios::binary);
  if (!in || std::filesystem::is_directory(path, ignored)) fail(path.string() + ": cannot open the file");
  std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) fail(path.string() + ": cannot read the file");
  if (bytes.compare(0, 3, "\xEF\xBB\xBF") == 0) bytes.erase(0, 3);
  return bytes;
}

/// read_file for a file that has to be UTF-8.
inline std::string read_text(const std::filesystem::path& path) {
  std::string text = read_file(path);
  const std::size_t bad = find_malformed_utf8(text);
  if (bad != std::string::npos) fail(path.string() + ": not UTF-8 at byte " + std::to_string(bad));
  return text;
}

namespace detail {

// Takes every event and only remembers where the parser gave up. (A parse that throws would not compile
// with -fno-exceptions, and one that does not throw does not say where the error is.)
struct JsonErrorFinder : nlohmann::json_sax<Json> {
  std::size_t position = 0;
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t at, const std::string&, const Json::exception&) override {
    position = at;
    return false;
  }
};

}  // namespace detail

/// Parses JSON text; `where` names it in the error.
inline Json parse_json(std::string_view text, const std::string& where) {
  Json value = Json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded()) {
    detail::JsonErrorFinder finder;
    Json::sax_parse(text.begin(), text.end(), &finder);
    fail(where + ": not JSON at byte " + std::to_string(finder.position));
  }
  return value;
}

/// The value of an integer that is not negative (whose type says so only if it was parsed); else nothing.
inline std::optional<std::uint64_t> natural_number(const Json& value) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0) return std::nullopt;
  return static_cast<std::uint64_t>(value.get<std::int64_t>());
}

/// One object inside a JSON file, with its place in words ("tokenizer.json: normalizer[0]"). It fails, with
/// that place, on a field that is missing, of the wrong type, or unknown.
class Part {
 public:
  Part(const Json& value, std::string where) : value_(&value), where_(std::move(where)) {
    if (!value.is_object()) error("expected an object");
  }

  [[noreturn]] void error(const std::string& text) const { fail(where_ + ": " + text); }
  const std::string& where() const { return where_; }
  const Json& json() const { return *value_; }

  /// Present and not null.
  bool has(const char* name) const {
    const auto at = value_->find(name);
    return at != value_->end() && !at->is_null();
  }
  const Json& at(const char* name) const {
    if (!has(name)) error(std::string("no field \"") + name + '"');
    return *value_->find(name);
  }
  std::string string(const char* name) const {
    const Json& v = at(name);
    if (!v.is_string()) error(std::string("\"") + name + "\" is not a string");
    return v.get<std::string>();
  }
  std::string string(const char* name, std::string otherwise) const {
    return has(name) ? string(name) : std::move(otherwise);
  }
  bool boolean(const char* name, bool otherwise) const {
    if (!has(name)) return otherwise;
    const Json& v = at(name);
    if (!v.is_boolean()) error(std::string("\"") + name + "\" is not a boolean");
    return v.get<bool>();
  }
  /// An integer in [0, 2^31).
  std::int32_t integer(const char* name) const { return integer(at(name), name); }
  std::int32_t integer(const Json& v, const char* name) const {
    const auto value = natural_number(v);
    if (!value || *value > 0x7FFFFFFF)
      error(std::string("\"") + name + "\" is not an integer from 0 to 2^31 - 1");
    return static_cast<std::int32_t>(*value);
  }
  const Json& array(const char* name) const {
    const Json& v = at(name);
    if (!v.is_array()) error(std::string("\"") + name + "\" is not an array");
    return v;
  }
  Part part(const char* name) const { return Part(at(name), where_ + "." + name); }
  Part element(const char* name, std::size_t i) const {
    return Part(array(name)[i], where_ + "." + name + "[" + std::to_string(i) + "]");
  }

  /// Fails if there is a field besides "type" and these: one that we don't know might change the ids.
  void allow(std::initializer_list<std::string_view> names) const {
    for (const auto& [key, unused] : value_->items()) {
      bool known = key == "type";
      for (std::string_view name : names) known = known || key == name;
      if (!known) error("unknown field \"" + key + '"');
    }
  }

 private:
  const Json* value_;
  std::string where_;
};

}  // namespace attend::text
