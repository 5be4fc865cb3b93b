// Strict reading of JSON settings such as Hugging Face's config.json: what is not understood is an error.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/io/json.hpp>

namespace attend {

/// A JSON object whose keys are read by name and type. It remembers what was read, and finish() makes an
/// error of every other key, so that no setting that changes the arithmetic is overlooked. Copies share what
/// they remember. A null counts as absent for has() and for get() with a default.
class Config {
 public:
  explicit Config(const std::filesystem::path& path) : Config(read_json(path), path.string()) {}
  /// Settings that are not a file of their own; `source` names them in errors.
  Config(Json value, std::string source)
      : node_(std::make_shared<Node>(Node{std::move(source), "", std::move(value), {}, {}})) {
    if (!node_->value.is_object()) fail(node_->file + ": not a JSON object");
  }

  /// The file, or what was said to name it: how an error begins.
  const std::string& file() const { return node_->file; }

  /// Whether the key is there and not null. Does not count as reading it.
  bool has(const std::string& key) const {
    const auto found = node_->value.find(key);
    return found != node_->value.end() && !found->is_null();
  }

  /// Whether the key is there and null, where that differs from being absent.
  bool is_null(const std::string& key) const {
    const auto found = node_->value.find(key);
    return found != node_->value.end() && found->is_null();
  }

  /// A bool, integer, floating-point number, std::string, std::vector of these, or Json (anything). Error
  /// where the key is missing, of another type (1 is no bool, 1.0 no integer; an integer is a number), or
  /// beyond T's range.
  template <class T>
  T get(const std::string& key) const {
    node_->read.insert(key);
    const auto found = node_->value.find(key);
    if (found == node_->value.end()) fail(where(key) + " is missing");
    return convert<T>(*found, key);
  }
  template <class T>
  T get(const std::string& key, std::type_identity_t<T> otherwise) const {
    node_->read.insert(key);
    return has(key) ? get<T>(key) : otherwise;
  }

  /// The object under a key; finish() of this one looks into it too.
  Config object(const std::string& key) const {
    const Json value = get<Json>(key);
    if (!value.is_object()) fail_type(key, "an object", value);
    std::shared_ptr<Node>& child = node_->children[key];
    if (child == nullptr)
      child = std::make_shared<Node>(Node{node_->file, node_->path + key + ".", value, {}, {}});
    return Config(child);
  }

  /// Keys that change nothing here.
  void ignore(std::initializer_list<const char*> keys) const {
    for (const char* key : keys) node_->read.insert(key);
  }
  /// A key that may be absent, but where it is there has to have one of these values (nullptr is null).
  template <class... Values>
  void allow(const std::string& key, const Values&... values) const {
    node_->read.insert(key);
    const auto found = node_->value.find(key);
    if (found == node_->value.end() || ((*found == Json(values)) || ...)) return;
    fail(where(key) + " " + text_of(*found) + " is not supported");
  }

  /// Error that names every key which was neither read, allowed nor ignored.
  void finish() const {
    std::string unknown;
    collect(*node_, unknown);
    if (!unknown.empty()) fail(node_->file + ": not supported: " + unknown);
  }

 private:
  struct Node {
    std::string file;
    std::string path;  // "rope_scaling." inside of an object
    Json value;
    std::set<std::string> read;
    std::map<std::string, std::shared_ptr<Node>> children;
  };
  explicit Config(std::shared_ptr<Node> node) : node_(std::move(node)) {}

  static void collect(const Node& node, std::string& unknown) {
    for (const auto& [key, value] : node.value.items())
      if (!node.read.contains(key))
        unknown += (unknown.empty() ? "" : ", ") + in_quotes(node.path + key) + " " + text_of(value);
    for (const auto& [key, child] : node.children) collect(*child, unknown);
  }
  static std::string text_of(const Json& value) {
    const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
    return text.size() > 80 ? text.substr(0, 80) + "..." : text;
  }
  std::string where(const std::string& key) const {
    return node_->file + ": " + in_quotes(node_->path + key);
  }
  [[noreturn]] void fail_type(const std::string& key, const char* expected, const Json& got) const {
    fail(where(key) + " expected " + expected + ", got " + text_of(got));
  }

  template <class T>
  T convert(const Json& value, const std::string& key) const {
    if constexpr (std::same_as<T, Json>) {
      return value;
    } else if constexpr (std::same_as<T, bool>) {
      if (!value.is_boolean()) fail_type(key, "true or false", value);
      return value.get<bool>();
    } else if constexpr (std::integral<T>) {
      if (!value.is_number_integer()) fail_type(key, "an integer", value);
      const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<std::uint64_t>())
                                                   : std::in_range<T>(value.get<std::int64_t>());
      if (!fits) fail_type(key, "an integer within range", value);
      return value.get<T>();
    } else if constexpr (std::floating_point<T>) {
      if (!value.is_number()) fail_type(key, "a number", value);
      const double number = value.get<double>();
      if (!(std::abs(number) <= static_cast<double>(std::numeric_limits<T>::max())))
        fail_type(key, "a number within range", value);
      return static_cast<T>(number);
    } else if constexpr (std::same_as<T, std::string>) {
      if (!value.is_string()) fail_type(key, "a string", value);
      return value.get<std::string>();
    } else {
      if (!value.is_array()) fail_type(key, "a list", value);
      T list;
      for (const Json& item : value) list.push_back(convert<typename T::value_type>(item, key));
      return list;
    }
  }

  std::shared_ptr<Node> node_;
};

}  // namespace attend
