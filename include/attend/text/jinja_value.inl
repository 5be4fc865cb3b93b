// Values of templates, as Python has them.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <attend/core/config.hpp>

namespace attend::inline ATTEND_ABI::text::jinja {

class Value;
struct Node;
struct Scope;
struct Sequence;
struct Mapping;
struct Namespace;
struct NoValue {};
struct Undefined {
  std::shared_ptr<const std::string> what;  // how errors call it
};
struct Method {
  std::string name;
  std::shared_ptr<const Value> self;
};
struct Function {
  std::string_view name;
};
struct Macro {
  const Node* node;
  Scope* scope;
};
/// A text that `safe` marks: + writes others beside it in HTML's form.
struct Marked {
  std::shared_ptr<const std::string> text;
};
struct Loop {
  std::shared_ptr<const std::vector<Value>> items;
  std::size_t index = 0;
};

class Value {
 public:
  using Text = std::shared_ptr<const std::string>;
  using Any = std::variant<Undefined, NoValue, bool, std::int64_t, double, Text,
                           std::shared_ptr<const Sequence>, std::shared_ptr<const Mapping>, Method, Function,
                           Macro, Namespace*, std::shared_ptr<const Loop>, Marked>;

  Value() : any_(NoValue()) {}
  template <class T>
  requires std::constructible_from<Any, T> Value(T value) : any_(std::move(value)) {}
  Value(std::string text) : any_(std::make_shared<const std::string>(std::move(text))) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(Sequence sequence);
  Value(Mapping mapping);
  static Value undefined(std::string what) {
    return Undefined{std::make_shared<const std::string>(std::move(what))};
  }

  template <class T>
  const T* get() const {
    return std::get_if<T>(&any_);
  }
  bool is_undefined() const { return get<Undefined>() != nullptr; }
  bool is_none() const { return get<NoValue>() != nullptr; }
  const std::string* text() const {
    const Text* found = get<Text>();
    return found ? found->get() : nullptr;
  }
  /// Marked or not.
  const std::string* any_text() const {
    const Marked* marked = get<Marked>();
    return marked ? marked->text.get() : text();
  }
  const Sequence* sequence() const {
    const auto* found = get<std::shared_ptr<const Sequence>>();
    return found ? found->get() : nullptr;
  }
  const Mapping* mapping() const {
    const auto* found = get<std::shared_ptr<const Mapping>>();
    return found ? found->get() : nullptr;
  }
  /// Of a whole number; true and false are 1 and 0.
  std::optional<std::int64_t> integer() const {
    if (const auto* number = get<std::int64_t>()) return *number;
    if (const bool* truth = get<bool>()) return *truth ? 1 : 0;
    return std::nullopt;
  }
  std::optional<double> number() const {
    if (const double* found = get<double>()) return *found;
    if (const auto found = integer()) return static_cast<double>(*found);
    return std::nullopt;
  }
  /// How many lists and mappings are in one another.
  int depth() const;
  bool truth() const;
  const char* type() const;
  std::size_t index() const { return any_.index(); }

 private:
  Any any_;
};

/// A list, a tuple, a range, what a mapping's items(), keys() or values() gives, or a filter, which can be
/// walked once.
struct Sequence {
  enum Kind { list, tuple, range, view, generator };
  Kind kind = list;
  std::vector<Value> items = {};
  int depth = 1;
  mutable bool spent = false;
  bool is_group = false;  // a tuple of groupby: its key is its `grouper`, its items its `list`
};
/// In the order in which the keys came.
struct Mapping {
  std::vector<std::pair<Value, Value>> items = {};
  int depth = 1;
  const Value* find(const Value& key) const;
};
/// What a template may change; the evaluation owns it.
struct Namespace {
  std::vector<std::pair<std::string, Value>> members;
  Value* find(std::string_view name);
};

inline Value::Value(Sequence sequence) {
  for (const Value& item : sequence.items) sequence.depth = (std::max)(sequence.depth, 1 + item.depth());
  any_ = std::make_shared<const Sequence>(std::move(sequence));
}
inline Value::Value(Mapping mapping) {
  for (const auto& [key, item] : mapping.items)
    mapping.depth = (std::max)({mapping.depth, 1 + key.depth(), 1 + item.depth()});
  any_ = std::make_shared<const Mapping>(std::move(mapping));
}
inline int Value::depth() const { return sequence() ? sequence()->depth : mapping() ? mapping()->depth : 0; }

inline bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (const auto found = number()) return *found != 0;
  if (any_text()) return !any_text()->empty();
  if (sequence()) return sequence()->kind == Sequence::generator || !sequence()->items.empty();
  if (mapping()) return !mapping()->items.empty();
  return true;
}
inline const char* Value::type() const {
  static constexpr const char* kNames[] = {"undefined",     "none",
                                           "a truth value", "an integer",
                                           "a number",      "a text",
                                           "a list",        "a mapping",
                                           "a method",      "a function",
                                           "a macro",       "a namespace",
                                           "a loop",        "a text that is marked safe"};
  if (!sequence()) return kNames[any_.index()];
  static constexpr const char* kLists[] = {"a list", "a tuple", "a range", "a view of a mapping",
                                           "a filter's items"};
  return kLists[sequence()->kind];
}

/// Python's ==. `steps` counts what was compared, and stops it where there are none left.
inline bool equal(const Value& a, const Value& b, std::size_t& steps) {
  if (steps == 0) return false;
  --steps;
  const auto all = [&](const auto& x, const auto& y, const auto& same) {
    return x.size() == y.size() && std::equal(x.begin(), x.end(), y.begin(), same);
  };
  if (a.get<std::int64_t>() && b.get<std::int64_t>()) return *a.integer() == *b.integer();
  if (a.number() && b.number()) return *a.number() == *b.number();
  if (a.any_text() && b.any_text()) {
    steps -= (std::min)(steps, a.any_text()->size() / 16);
    return *a.any_text() == *b.any_text();
  }
  if (a.index() != b.index()) return false;
  if (a.sequence())
    return a.sequence() == b.sequence() ||
           (a.sequence()->kind == b.sequence()->kind && a.sequence()->kind != Sequence::generator &&
            all(a.sequence()->items, b.sequence()->items,
                [&](const Value& x, const Value& y) { return equal(x, y, steps); }));
  if (a.mapping())
    return all(a.mapping()->items, b.mapping()->items, [&](const auto& x, const auto&) {
      for (const auto& [key, value] : b.mapping()->items)
        if (equal(key, x.first, steps)) return equal(value, x.second, steps);
      return false;
    });
  if (const auto* names = a.get<Namespace*>()) return *names == *b.get<Namespace*>();
  return a.is_none() || a.is_undefined();
}
inline const Value* Mapping::find(const Value& key) const {
  for (const auto& [name, value] : items) {
    std::size_t steps = 1000;
    if (equal(name, key, steps)) return &value;
  }
  return nullptr;
}
inline Value* Namespace::find(std::string_view name) {
  for (auto& [key, value] : members)
    if (key == name) return &value;
  return nullptr;
}

}  // namespace attend::inline ATTEND_ABI::text::jinja
