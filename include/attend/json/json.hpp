// JSON as untrusted files need it: bounded depth and memory, no duplicate keys, nothing behind the value, and
// errors with file and byte offset. Every JSON file of the library is read here.
#pragma once

#include <cfenv>
#include <cstddef>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <attend/core/error.hpp>
#include <attend/core/file.hpp>
#include <attend/core/threads.hpp>

namespace attend::inline ATTEND_ABI {

using Json = nlohmann::json;

namespace detail {

/// Feeds text to the parser and shows where it has got to.
class JsonInput {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  JsonInput(const char* at, const char** position) : at_(at), position_(position) {}
  reference operator*() const { return *at_; }
  JsonInput& operator++() {
    *position_ = ++at_;
    return *this;
  }
  JsonInput operator++(int) {
    JsonInput before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const JsonInput& a, const JsonInput& b) { return a.at_ == b.at_; }
  friend bool operator!=(const JsonInput& a, const JsonInput& b) { return a.at_ != b.at_; }

 private:
  const char* at_;
  const char** position_;
};

/// That of a new thread, all of it: glibc's strtod rounds as the x87 unit is told to, which FloatEnvironment
/// leaves alone.
class StandardEnvironment {
 public:
  StandardEnvironment() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~StandardEnvironment() { std::fesetenv(&saved_); }
  StandardEnvironment(const StandardEnvironment&) = delete;
  StandardEnvironment& operator=(const StandardEnvironment&) = delete;

 private:
  std::fenv_t saved_;
};

/// What every reader of JSON events shares: the depth limit and the error line.
class JsonReader : public nlohmann::json_sax<Json> {
 public:
  static constexpr int kMaxDepth = 64;

  /// `origin` is the offset of the text in its file.
  JsonReader(std::string source, std::string_view text, std::size_t origin)
      : source_(std::move(source)), text_(text), origin_(origin), position_(text.data()) {}

  /// Reads the whole text: one value and white space.
  void read() {
    const std::size_t nul = text_.find('\0');  // which the parser takes for the end of its input
    if (nul != std::string_view::npos) fail_at(nul, "JSON with a NUL byte");
    const char* end = text_.data() + text_.size();
    const StandardEnvironment rounding;  // of numbers
    const FloatEnvironment subnormals;
    Json::sax_parse(JsonInput(text_.data(), &position_), JsonInput(end, &position_),
                    static_cast<nlohmann::json_sax<Json>*>(this));
  }

 protected:
  /// Error at the byte that was read last.
  [[noreturn]] void fail_here(const std::string& message) const {
    fail_at(consumed() > 0 ? consumed() - 1 : 0, message);
  }
  [[noreturn]] void fail_at(std::size_t offset, const std::string& message) const {
    throw_error(source_, ": byte ", origin_ + offset, ": ", message);
  }
  /// Offset in the text behind what was read last.
  std::size_t consumed() const { return static_cast<std::size_t>(position_ - text_.data()); }
  void enter() {
    if (++depth_ > kMaxDepth) fail_here("JSON nested more than " + std::to_string(kMaxDepth) + " deep");
  }
  void leave() { --depth_; }
  int depth() const { return depth_; }

 private:
  bool binary(binary_t&) override { return false; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    std::string what = error.what();
    for (char& c : what)
      if (static_cast<unsigned char>(c) < 0x20) c = ' ';
    const std::size_t start = what.find("] ");  // behind the parser's own error number
    fail_here("not JSON: " + what.substr(start == std::string::npos ? 0 : start + 2, 300));
  }

  std::string source_;
  std::string_view text_;
  std::size_t origin_;
  const char* position_;
  int depth_ = 0;
};

/// Empties a value from the inside. Json's own destructor takes memory to unwind nested values: as much again
/// as they have, at a place where running out of it ends the program.
inline void dismantle(Json& value) noexcept {
  if (value.is_array()) {
    Json::array_t& array = value.get_ref<Json::array_t&>();
    for (Json& element : array) dismantle(element);
    array.clear();
  } else if (value.is_object()) {
    Json::object_t& object = value.get_ref<Json::object_t&>();
    for (auto& [name, member] : object) dismantle(member);
    object.clear();
  }
}

class JsonDocument final : public JsonReader {
 public:
  using JsonReader::JsonReader;
  /// Reads the whole text.
  std::shared_ptr<const Json> share() {
    read();
    return {root_, &root_->value};
  }
  Json take() {
    read();
    return std::move(root_->value);
  }

 private:
  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    const auto [at, is_new] = open_.back()->get_ref<Json::object_t&>().emplace(name, nullptr);
    if (!is_new) fail_here("duplicate key " + in_quotes(name));
    slot_ = &at->second;
    return true;
  }

  Json* place(Json value) {
    if (open_.empty()) return &(root_->value = std::move(value));
    if (!open_.back()->is_array()) return &(*slot_ = std::move(value));
    // Only the innermost array grows, so the pointers to those around it stay good. By doubling it would need
    // more than 32 bytes for a byte of "[{},{},...".
    Json::array_t& array = open_.back()->get_ref<Json::array_t&>();
    if (array.size() == array.capacity()) array.reserve(array.size() + array.size() / 4 + 1);
    return &array.emplace_back(std::move(value));
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    enter();
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    leave();
    open_.pop_back();
    return true;
  }

  struct Root {
    Json value = nullptr;
    Root() = default;
    ~Root() { dismantle(value); }
    Root(const Root&) = delete;
    Root& operator=(const Root&) = delete;
  };
  std::shared_ptr<Root> root_ = std::make_shared<Root>();
  std::vector<Json*> open_;  // from the root to the innermost container
  Json* slot_ = nullptr;     // where the next value of the innermost object goes
};

}  // namespace detail

/// Parses one JSON value; `source` names the file in errors. It takes less than 32 bytes of memory for a byte
/// of text. The value is the caller's, and nlohmann's destructor takes memory again, and ends the program
/// where there is none: the library itself uses share_json alone.
inline Json parse_json(std::string_view text, const std::string& source) {
  return detail::JsonDocument(source, text, 0).take();
}
inline Json read_json(const Location& path) { return parse_json(read_file(path), path.string()); }

/// The same as a value that nobody changes any more. It goes without taking memory, as Json's own destructor
/// does, and so is what the library itself reads files into.
inline std::shared_ptr<const Json> share_json(std::string_view text, const std::string& source) {
  return detail::JsonDocument(source, text, 0).share();
}
inline std::shared_ptr<const Json> share_json(const Location& path) {
  return share_json(read_file(path), path.string());
}

}  // namespace attend::inline ATTEND_ABI
