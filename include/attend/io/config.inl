// Bodies of config.hpp.
#pragma once

#include <map>
#include <set>

#include <attend/core/error.hpp>
#include <attend/core/file.hpp>
#include <attend/io/config.hpp>
#include <attend/io/other_formats.hpp>
#include <attend/json/fields.hpp>
#include <attend/json/json.hpp>

namespace attend::inline ATTEND_ABI {

struct Config::Node {
  std::string file;
  std::string path;  // "rope_scaling." inside of an object
  std::shared_ptr<const Json> value;
  std::set<std::string> read = {};
  std::map<std::string, std::shared_ptr<Node>> children = {};

  static std::shared_ptr<const Json> read_settings(const Location& path) {
    detail::check_folder(path.parent());
    if (!path.exists()) throw_error(path.string(), ": is missing", detail::other_formats(path.parent()));
    return share_json(path);
  }
  static std::shared_ptr<Node> root(std::shared_ptr<const Json> value, std::string file) {
    if (!value->is_object()) throw_error(file, ": not a JSON object");
    return std::make_shared<Node>(Node{std::move(file), "", std::move(value)});
  }
  std::string where(const std::string& key) const { return file + ": " + detail::in_quotes(path + key); }
  /// Null where the key is missing.
  const Json* find(const std::string& key) const {
    const auto found = value->find(key);
    return found == value->end() ? nullptr : &*found;
  }
  /// Error where the key is missing.
  const Json& at(const std::string& key) {
    read.insert(key);
    const Json* found = find(key);
    if (found == nullptr) throw_error(where(key), " is missing");
    return *found;
  }
  void collect_unread(std::string& unknown) const {
    for (const auto& [key, member] : value->get_ref<const Json::object_t&>()) {
      if (read.contains(key) || member.is_null()) continue;  // null is absence
      if (unknown.size() > 2000) {
        if (!unknown.ends_with("...")) unknown += ", ...";
        return;
      }
      unknown +=
          (unknown.empty() ? "" : ", ") + detail::in_quotes(path + key) + " " + detail::json_excerpt(member);
    }
    for (const auto& [key, child] : children) child->collect_unread(unknown);
  }
};

ATTEND_INLINE Config::Config(const Location& path)
    : Config(Node::root(Node::read_settings(path), path.string())) {}
ATTEND_INLINE Config::Config(std::string_view json, std::string source)
    : Config(Node::root(share_json(json, source), source)) {}

ATTEND_INLINE const std::string& Config::file() const { return node_->file; }
ATTEND_INLINE bool Config::has(const std::string& key) const {
  const Json* found = node_->find(key);
  return found != nullptr && !found->is_null();
}
ATTEND_INLINE bool Config::is_null(const std::string& key) const {
  const Json* found = node_->find(key);
  return found != nullptr && found->is_null();
}
ATTEND_INLINE bool Config::is_list(const std::string& key) const {
  return has(key) && node_->find(key)->is_array();
}
ATTEND_INLINE bool Config::is_read(const std::string& key) const { return node_->read.contains(key); }
ATTEND_INLINE bool Config::is_string(const std::string& key) const {
  return has(key) && node_->find(key)->is_string();
}
ATTEND_INLINE std::vector<std::string> Config::keys() const {
  std::vector<std::string> out;
  for (const auto& [key, member] : node_->value->get_ref<const Json::object_t&>()) out.push_back(key);
  return out;
}
ATTEND_INLINE std::size_t Config::size(const std::string& key) const {
  return has(key) ? node_->find(key)->size() : 0;
}

template <ConfigValue T>
T Config::get(const std::string& key) const {
  return detail::json_as<T>(node_->at(key), node_->where(key));
}

ATTEND_INLINE Config Config::object(const std::string& key) const {
  const Json& value = node_->at(key);
  if (!value.is_object()) detail::fail_json_type(node_->where(key), "an object", value);
  std::shared_ptr<Node>& child = node_->children[key];
  if (child == nullptr)  // it shares the file's memory
    child = std::make_shared<Node>(
        Node{node_->file, node_->path + key + ".", std::shared_ptr<const Json>(node_->value, &value)});
  return Config(child);
}

ATTEND_INLINE void Config::ignore(std::initializer_list<const char*> keys) const {
  for (const char* key : keys) node_->read.insert(key);
}
ATTEND_INLINE void Config::allow_any(const std::string& key, std::initializer_list<Allowed> values) const {
  node_->read.insert(key);
  const Json* found = node_->find(key);
  if (found == nullptr) return;
  for (const Allowed& value : values)
    if (std::visit([&](const auto& allowed) { return *found == Json(allowed); }, value)) return;
  throw_error(node_->where(key), " ", detail::json_excerpt(*found), " is not supported");
}

ATTEND_INLINE void Config::finish() const {
  std::string unknown;
  node_->collect_unread(unknown);
  if (!unknown.empty()) throw_error(node_->file, ": not supported: ", unknown);
}

#if defined(ATTEND_COMPILED)
#define ATTEND_CONFIG_GET(T)                               \
  template T Config::get<T>(const std::string& key) const; \
  template std::vector<T> Config::get<std::vector<T>>(const std::string& key) const
ATTEND_CONFIG_GET(bool);
ATTEND_CONFIG_GET(int);
ATTEND_CONFIG_GET(long);
ATTEND_CONFIG_GET(long long);
ATTEND_CONFIG_GET(unsigned);
ATTEND_CONFIG_GET(unsigned long);
ATTEND_CONFIG_GET(unsigned long long);
ATTEND_CONFIG_GET(float);
ATTEND_CONFIG_GET(double);
ATTEND_CONFIG_GET(std::string);
#undef ATTEND_CONFIG_GET
template std::vector<std::vector<std::int32_t>> Config::get<std::vector<std::vector<std::int32_t>>>(
    const std::string& key) const;
#endif

}  // namespace attend::inline ATTEND_ABI
