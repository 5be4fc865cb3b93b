// Strict reading of JSON settings such as Hugging Face's config.json: what is not understood is an error.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/json/fields.hpp>
#include <attend/json/json.hpp>

namespace attend::inline ATTEND_ABI {

/// A JSON object whose keys are read by name and type. It remembers what was read, and finish() makes an
/// error of every other key, so that no setting that changes the arithmetic is overlooked. Copies share what
/// they remember. A null counts as absent for has() and for get() with a default.
class Config {
 public:
  explicit Config(const std::filesystem::path& path) : Config(share_json(path), path.string()) {}
  /// Settings that are not a file of their own; `source` names them in errors.
  Config(Json value, std::string source)
      : Config(std::make_shared<const Json>(std::move(value)), std::move(source)) {}
  Config(std::shared_ptr<const Json> value, std::string source)
      : node_(std::make_shared<Node>(Node{std::move(source), "", std::move(value), {}, {}})) {
    if (!node_->value->is_object()) throw_error(node_->file, ": not a JSON object");
  }

  /// The file, or what was said to name it: how an error begins.
  const std::string& file() const { return node_->file; }

  /// Whether the key is there and not null. Does not count as reading it.
  bool has(const std::string& key) const {
    const Json* found = find(key);
    return found != nullptr && !found->is_null();
  }

  /// Whether the key is there and null, where that differs from being absent.
  bool is_null(const std::string& key) const {
    const Json* found = find(key);
    return found != nullptr && found->is_null();
  }

  /// A bool, integer, floating-point number, std::string, std::vector of these, or Json (anything). Error
  /// where the key is missing, of another type (1 is no bool, 1.0 no integer; an integer is a number), or
  /// beyond T's range.
  template <class T>
  T get(const std::string& key) const {
    return detail::json_as<T>(at(key), where(key));
  }
  template <class T>
  T get(const std::string& key, std::type_identity_t<T> otherwise) const {
    node_->read.insert(key);
    return has(key) ? get<T>(key) : otherwise;
  }

  /// The object under a key; finish() of this one looks into it too.
  Config object(const std::string& key) const {
    const Json& value = at(key);
    if (!value.is_object()) detail::fail_json_type(where(key), "an object", value);
    std::shared_ptr<Node>& child = node_->children[key];
    if (child == nullptr)  // it shares the file's memory
      child = std::make_shared<Node>(Node{
          node_->file, node_->path + key + ".", std::shared_ptr<const Json>(node_->value, &value), {}, {}});
    return Config(child);
  }
  /// The value of a key as it stands in the file, for as long as this or a copy lives. Error where it is
  /// missing.
  const Json& at(const std::string& key) const {
    node_->read.insert(key);
    const Json* found = find(key);
    if (found == nullptr) throw_error(where(key), " is missing");
    return *found;
  }

  /// Keys that change nothing here.
  void ignore(std::initializer_list<const char*> keys) const {
    for (const char* key : keys) node_->read.insert(key);
  }
  /// A key that may be absent, but where it is there has to have one of these values (nullptr is null).
  template <class... Values>
  void allow(const std::string& key, const Values&... values) const {
    node_->read.insert(key);
    const Json* found = find(key);
    if (found == nullptr || ((*found == Json(values)) || ...)) return;
    throw_error(where(key), " ", detail::json_excerpt(*found), " is not supported");
  }

  /// Error that names every key which was neither read, allowed nor ignored.
  void finish() const {
    std::string unknown;
    collect(*node_, unknown);
    if (!unknown.empty()) throw_error(node_->file, ": not supported: ", unknown);
  }

 private:
  struct Node {
    std::string file;
    std::string path;  // "rope_scaling." inside of an object
    std::shared_ptr<const Json> value;
    std::set<std::string> read;
    std::map<std::string, std::shared_ptr<Node>> children;
  };
  explicit Config(std::shared_ptr<Node> node) : node_(std::move(node)) {}

  static void collect(const Node& node, std::string& unknown) {
    for (const auto& [key, value] : node.value->get_ref<const Json::object_t&>()) {
      if (node.read.contains(key)) continue;
      if (unknown.size() > 2000) {
        if (!unknown.ends_with("...")) unknown += ", ...";
        return;
      }
      unknown +=
          (unknown.empty() ? "" : ", ") + in_quotes(node.path + key) + " " + detail::json_excerpt(value);
    }
    for (const auto& [key, child] : node.children) collect(*child, unknown);
  }
  std::string where(const std::string& key) const {
    return node_->file + ": " + in_quotes(node_->path + key);
  }
  /// Null where the key is missing.
  const Json* find(const std::string& key) const {
    const auto found = node_->value->find(key);
    return found == node_->value->end() ? nullptr : &*found;
  }

  std::shared_ptr<Node> node_;
};

}  // namespace attend::inline ATTEND_ABI
