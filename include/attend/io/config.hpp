// Strict reading of JSON settings such as Hugging Face's config.json: what is not understood is an error.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <attend/core/config.hpp>
#include <attend/core/location.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
template <class T, class... Types>
concept OneOf = (std::same_as<T, Types> || ...);
template <class T>
concept Setting = OneOf<T, bool, int, long, long long, unsigned, unsigned long, unsigned long long, float,
                        double, std::string>;
}  // namespace detail

/// What a setting may be read as: a bool, an integer, a floating-point number, a std::string, or a
/// std::vector of these, and a list of lists of ids.
template <class T>
concept ConfigValue =
    detail::Setting<T> || std::same_as<T, std::vector<std::vector<std::int32_t>>> || requires {
  requires detail::Setting<typename T::value_type>;
  requires std::same_as<T, std::vector<typename T::value_type>>;
};

/// A JSON object whose keys are read by name and type. It remembers what was read, and finish() makes an
/// error of every other key that is not null, so that no setting that changes the arithmetic is overlooked.
/// Copies share what they remember, so that all of them are for one thread at a time. A null counts as absent
/// for has() and for get() with a default.
class Config {
 public:
  Config(const Config&) = default;  // without moves, so that none is ever empty
  Config& operator=(const Config&) = default;

  explicit Config(const Location& path);  // Opens a file. Error where it is no JSON object.
  /// Settings that are not a file of their own; `source` names them in errors.
  Config(std::string_view json, std::string source);

  /// The file, or what was said to name it: how an error begins.
  const std::string& file() const;

  /// Whether the key is there and not null. Does not count as reading it.
  bool has(const std::string& key) const;
  /// Whether the key is there and null, where that differs from being absent.
  bool is_null(const std::string& key) const;
  /// Whether the key is there and of that kind. Does not count as reading it. @{
  bool is_list(const std::string& key) const;
  /// Whether it was read, allowed or ignored before.
  bool is_read(const std::string& key) const;
  bool is_string(const std::string& key) const;
  /// @}
  /// All keys there are, in the order of their letters.
  std::vector<std::string> keys() const;

  /// Error where the key is missing, of another type (1 is no bool, 1.0 no integer; an integer is a number),
  /// or beyond T's range.
  template <ConfigValue T>
  T get(const std::string& key) const;
  /// The same, but `otherwise` where the key is missing or null.
  template <ConfigValue T>
  T get(const std::string& key, std::type_identity_t<T> otherwise) const {
    ignore({key.c_str()});
    return has(key) ? get<T>(key) : std::move(otherwise);
  }

  /// The object under a key; finish() of this one looks into it too.
  Config object(const std::string& key) const;
  /// How many values the list or object under a key has; 0 where it is missing. Does not count as reading it.
  std::size_t size(const std::string& key) const;

  /// Keys that change nothing here.
  void ignore(std::initializer_list<const char*> keys) const;

  /// nullptr is null
  using Allowed = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string_view>;
  /// A key that may be absent, but where it is there has to have one of these values (nullptr is null).
  template <class... Values>
  void allow(const std::string& key, const Values&... values) const {
    allow_any(key, {Allowed(values)...});
  }

  /// Error that names every key which was neither read, allowed nor ignored.
  void finish() const;

 private:
  struct Node;
  explicit Config(std::shared_ptr<Node> node) : node_(std::move(node)) {}
  void allow_any(const std::string& key, std::initializer_list<Allowed> values) const;

  std::shared_ptr<Node> node_;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/io/config.inl>
#endif
