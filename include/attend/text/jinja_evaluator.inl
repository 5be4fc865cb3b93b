// The text that a template makes of values: statements and expressions, within bounds of depth and work.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <attend/core/function_ref.hpp>
#include <attend/text/jinja_parser.inl>
#include <attend/text/jinja_writer.inl>

namespace attend::inline ATTEND_ABI::text::jinja {

/// Names that were set in a body, and those around it.
struct Scope {
  Scope* around = nullptr;
  std::vector<std::pair<std::string_view, Value>> names = {};
  bool kept = false;  // a macro goes on to use it

  Value* find(std::string_view name) {
    for (auto& [key, value] : names)
      if (key == name) return &value;
    return nullptr;
  }
  void set(std::string_view name, Value value) {
    if (Value* found = find(name))
      *found = std::move(value);
    else
      names.emplace_back(name, std::move(value));
  }
};

struct Arguments {
  std::vector<Value> values;              // first those without a name
  std::span<const std::string> keywords;  // of the last ones
};

class Evaluation {
 public:
  using Time = std::chrono::system_clock::time_point;
  Evaluation(const Source& source, Time now, std::size_t work) : source_(source), now_(now), work_(work) {}

  std::string run(const Node& root, const Mapping& variables) {
    Scope given, top{.around = &given};
    for (const auto& [name, value] : variables.items) given.set(*name.text(), value);
    for (std::string_view name : OwnNames(root).names) top.set(name, Value::undefined(in_quotes(name)));
    execute(root, top);
    return std::move(out_);
  }

 private:
  static constexpr int kMaxDepth = 250, kMaxValueDepth = 100;
  enum class Flow { next, break_, continue_ };

  template <class... Parts>
  [[noreturn]] void refuse(const Node& node, const Parts&... parts) const {
    source_.refuse(node.at, parts...);
  }
  /// Pays for a step that goes through so many bytes or values.
  void work(const Node& node, std::size_t size = 0) {
    const std::size_t cost = 1 + size / 8;
    if (cost > work_) refuse(node, "the template takes too long, or makes too long a text");
    work_ -= cost;
  }
  /// Pays for a search, which may compare the whole of what is looked for at each place.
  void search_work(const Node& node, std::string_view text, std::string_view wanted) {
    work(node, text.size() + text.size() / 64 * wanted.size());
  }
  struct Deeper {
    Deeper(Evaluation& e, const Node& node) : evaluation(e) {
      evaluation.work(node);
      if (++evaluation.depth_ > kMaxDepth) evaluation.refuse(node, "more than ", kMaxDepth, " levels deep");
    }
    ~Deeper() { --evaluation.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Evaluation& evaluation;
  };
  struct Grow {
    Evaluation* evaluation;
    const Node* node;
    void operator()(std::size_t bytes) const { evaluation->work(*node, bytes); }
    [[noreturn]] void refuse(const std::string& text) const { evaluation->refuse(*node, text); }
  };
  Writer<Grow> writer(const Node& node) { return Writer<Grow>(Grow{this, &node}); }

  template <class Collection>
  Value made(const Node& node, Collection collection) {
    work(node, 8 * collection.items.size());
    Value out(std::move(collection));
    if (out.depth() > kMaxValueDepth)
      refuse(node, "a value of more than ", kMaxValueDepth, " lists in one another");
    return out;
  }
  Value made_list(const Node& node, std::vector<Value> items, Sequence::Kind kind = Sequence::list) {
    return made(node, Sequence{kind, std::move(items)});
  }
  Value made_text(const Node& node, std::string text) {
    work(node, text.size());
    return text;
  }
  bool same(const Node& node, const Value& a, const Value& b) {
    const bool out = equal(a, b, work_);
    work(node);
    return out;
  }
  std::string as_text(const Node& node, const Value& value) {
    Writer<Grow> to = writer(node);
    to.text(value);
    return to.take();
  }
  void need_defined(const Node& node, const Value& value) const {
    if (value.is_undefined()) refuse(node, *value.get<Undefined>()->what, " is undefined");
  }

  /// What a for loop gets of a value: characters, items, keys.
  std::vector<Value> items(const Node& node, const Value& value) {
    std::vector<Value> out;
    if (const std::string* text = value.text()) {
      work(node, 8 * text->size());
      for_each_code_point(*text,
                          [&](char32_t, std::string_view bytes) { out.emplace_back(std::string(bytes)); });
    } else if (const Sequence* list = value.sequence()) {
      work(node, 8 * list->items.size());
      if (!list->spent) out = list->items;
      list->spent = list->kind == Sequence::generator;
    } else if (const Mapping* map = value.mapping()) {
      work(node, 8 * map->items.size());
      for (const auto& [key, item] : map->items) out.push_back(key);
    } else if (!value.is_undefined()) {
      refuse(node, value.type(), " has no items");
    }
    return out;
  }

  // ---- statements
  Flow execute(const Node& node, Scope& scope) {
    const Deeper deeper(*this, node);
    switch (node.kind) {
      case Node::block:
        for (const NodePtr& child : node.children)
          if (const Flow flow = execute(*child, scope); flow != Flow::next) return flow;
        return Flow::next;
      case Node::data:
        work(node, node.text.size());
        out_ += node.text;
        return Flow::next;
      case Node::output:
        out_ += as_text(node, evaluate(*node.children[0], scope));
        return Flow::next;
      case Node::branch:
        return branch(node, scope);
      case Node::loop:
        return loop(node, scope);
      case Node::set:
        assign(*node.children[0], evaluate(*node.children[1], scope), scope);
        return Flow::next;
      case Node::set_block:
        return capture(node, scope), Flow::next;
      case Node::with:
        return within(&scope, [&](Scope& inner) {
          for (std::size_t i = 0; i + 1 < node.children.size(); i += 2)
            assign(*node.children[i], evaluate(*node.children[i + 1], scope), inner);
          return execute(*node.children.back(), inner);
        });
      case Node::macro:
        for (Scope* s = &scope; s; s = s->around) s->kept = true;
        scope.set(node.text, Macro{&node, &scope});
        return Flow::next;
      case Node::scope:
        return within(&scope, [&](Scope& inner) { return execute(*node.children[0], inner); });
      default:
        return node.kind == Node::break_ ? Flow::break_ : Flow::continue_;
    }
  }
  /// Runs something in a scope of its own, which goes unless a macro keeps it.
  template <class Run>
  std::invoke_result_t<Run, Scope&> within(Scope* around, Run&& run) {
    const auto inner = scopes_.insert(scopes_.end(), Scope{.around = around});
    struct Leave {
      std::list<Scope>& all;
      std::list<Scope>::iterator scope;
      ~Leave() {
        if (!scope->kept) all.erase(scope);
      }
    } const leave{scopes_, inner};
    return run(*inner);
  }
  /// What something writes.
  template <class Run>
  Value captured(const Node& node, Run&& run, Scope* around) {
    std::string before = std::exchange(out_, {});
    within(around, run);
    return made_text(node, std::exchange(out_, std::move(before)));
  }
  Flow branch(const Node& node, Scope& scope) {
    std::size_t i = 0;
    for (; i + 1 < node.children.size(); i += 2)
      if (evaluate(*node.children[i], scope).truth()) return execute(*node.children[i + 1], scope);
    return i < node.children.size() ? execute(*node.children[i], scope) : Flow::next;
  }
  Flow loop(const Node& node, Scope& scope) {
    std::vector<Value> all = items(node, evaluate(*node.children[1], scope));
    if (const Node* condition = node.children[2].get()) {
      std::vector<Value> some;
      for (Value& item : all)
        within(&scope, [&](Scope& inner) {
          assign(*node.children[0], item, inner);
          if (evaluate(*condition, inner).truth()) some.push_back(std::move(item));
        });
      all = std::move(some);
    }
    if (all.empty()) {
      if (!node.children[4]) return Flow::next;
      return within(&scope, [&](Scope& inner) { return execute(*node.children[4], inner); });
    }
    const auto shared = std::make_shared<const std::vector<Value>>(std::move(all));
    for (std::size_t i = 0; i < shared->size(); ++i) {
      work(node, 64);
      const Flow flow = within(&scope, [&](Scope& inner) {
        inner.set("loop", std::make_shared<const Loop>(Loop{shared, i}));
        assign(*node.children[0], (*shared)[i], inner);
        return execute(*node.children[3], inner);
      });
      if (flow == Flow::break_) break;
    }
    return Flow::next;
  }
  void capture(const Node& node, Scope& scope);
  void assign(const Node& target, Value value, Scope& scope) {
    work(target, 8 * scope.names.size());
    if (target.kind == Node::name) return scope.set(target.text, std::move(value));
    if (target.kind == Node::member) {
      const Value holder = evaluate(*target.children[0], scope);
      const auto* names = holder.get<Namespace*>();
      if (!names) refuse(target, "a member can be set of a namespace alone, not of ", holder.type());
      return set_member(target, **names, target.text, std::move(value));
    }
    std::vector<Value> all = items(target, value);
    if (all.size() != target.children.size())
      refuse(target, all.size(), " values for ", target.children.size(), " names");
    for (std::size_t i = 0; i < all.size(); ++i) assign(*target.children[i], std::move(all[i]), scope);
  }
  void set_member(const Node& node, Namespace& names, const std::string& name, Value value) {
    if (name.starts_with('_')) refuse(node, "a namespace cannot have ", in_quotes(name));
    work(node, 8 * names.members.size());
    if (Value* found = names.find(name))
      *found = std::move(value);
    else
      names.members.emplace_back(name, std::move(value));
  }

  // ---- expressions
  Value evaluate(const Node& node, Scope& scope) {
    const Deeper deeper(*this, node);
    const auto part = [&](std::size_t i) { return evaluate(*node.children[i], scope); };
    switch (node.kind) {
      case Node::constant:
        return node.value;
      case Node::name:
        return look_up(node, scope);
      case Node::list:
      case Node::tuple: {
        std::vector<Value> all;
        for (const NodePtr& child : node.children) all.push_back(evaluate(*child, scope));
        return made_list(node, std::move(all), node.kind == Node::list ? Sequence::list : Sequence::tuple);
      }
      case Node::mapping: {
        Mapping map;
        for (std::size_t i = 0; i < node.children.size(); i += 2) put(node, map, part(i), part(i + 1));
        return made(node, std::move(map));
      }
      case Node::member:
        return member(node, part(0), node.text);
      case Node::item:
        return node.children[1]->kind == Node::slice ? sliced(*node.children[1], part(0), scope)
                                                     : item(node, part(0), part(1));
      case Node::call:
        return call(node, scope);
      case Node::filter:
        return filter(node, node.text, part(0), arguments(node, scope));
      case Node::test:
        return test(node, node.text, part(0), arguments(node, scope));
      case Node::not_:
        return !part(0).truth();
      case Node::and_: {
        Value left = part(0);
        return left.truth() ? part(1) : left;
      }
      case Node::or_: {
        Value left = part(0);
        return left.truth() ? left : part(1);
      }
      case Node::negative:
      case Node::positive:
        return signed_number(node, part(0));
      case Node::compare:
        return comparison(node, scope);
      case Node::arithmetic: {
        const Value left = part(0);
        return arithmetic(node, node.text, left, part(1));
      }
      case Node::concat: {
        std::string all;
        for (const NodePtr& child : node.children) all += as_text(node, evaluate(*child, scope));
        return made_text(node, std::move(all));
      }
      case Node::choice:
        if (part(0).truth()) return part(1);
        return node.children[2] ? part(2) : Value::undefined("the value of an if without else");
      default:
        refuse(node, "a slice stands outside of a subscript");
    }
  }
  void put(const Node& node, Mapping& map, Value key, Value value);
  Value look_up(const Node& node, Scope& scope);
  Arguments arguments(const Node& node, Scope& scope) {
    Arguments out{{}, node.names};
    for (std::size_t i = 1; i < node.children.size(); ++i)
      out.values.push_back(evaluate(*node.children[i], scope));
    return out;
  }
  Value call(const Node& node, Scope& scope) {
    const Value callee = evaluate(*node.children[0], scope);
    Arguments given = arguments(node, scope);
    if (const auto* method = callee.get<Method>())
      return call_method(node, method->name, *method->self, given);
    if (const auto* function = callee.get<Function>()) return call_function(node, function->name, given);
    if (const auto* macro = callee.get<Macro>()) return call_macro(node, *macro, given);
    need_defined(node, callee);
    refuse(node, callee.type(), " cannot be called");
  }
  Value call_macro(const Node& node, const Macro& called, Arguments& given);
  /// The arguments in the order of a function's names.
  std::vector<std::optional<Value>> bind(const Node& node, std::string_view what, Arguments& given,
                                         std::span<const std::string_view> names);
  std::vector<std::optional<Value>> bind(const Node& node, std::string_view what, Arguments& given,
                                         std::initializer_list<std::string_view> names) {
    return bind(node, what, given, std::span(names.begin(), names.size()));
  }

  Value member(const Node& node, const Value& value, const std::string& name);
  Value item(const Node& node, const Value& value, const Value& key);
  Value method_or_undefined(const Node& node, const Value& value, const std::string& name);
  Value sliced(const Node& node, const Value& value, Scope& scope);
  Value signed_number(const Node& node, const Value& value);
  Value comparison(const Node& node, Scope& scope);
  bool contains(const Node& node, const Value& all, const Value& one);
  bool less(const Node& node, const Value& a, const Value& b, bool or_equal);
  Value arithmetic(const Node& node, const std::string& sign, const Value& a, const Value& b);
  Value joined(const Node& node, const Value& a, const Value& b);
  Value repeated(const Node& node, const Value& value, std::int64_t times);

  Value call_method(const Node& node, const std::string& name, const Value& self, Arguments& given);
  Value text_method(const Node& node, const std::string& name, const std::string& text, Arguments& given);
  Value formatted(const Node& node, const std::string& text, const Value& given);
  Value placed(const Node& node, const std::string& text, const Arguments& given);
  Value split(const Node& node, const std::string& text, const Value* separator, std::int64_t most,
              bool from_right);
  std::string replaced(const Node& node, const std::string& text, const std::string& from,
                       const std::string& to, std::int64_t most);
  Value call_function(const Node& node, std::string_view name, Arguments& given);
  std::string strftime(const Node& node, const std::string& format);
  Value filter(const Node& node, const std::string& name, const Value& value, Arguments given);
  std::optional<Value> filter_numbers(const Node& node, const std::string& name, const Value& value,
                                      Arguments& given);
  std::optional<Value> filter_lists(const Node& node, const std::string& name, const Value& value,
                                    Arguments& given);
  Value select(const Node& node, const std::string& name, const Value& value, Arguments& given);
  Value map(const Node& node, const Value& value, Arguments& given);
  Value attribute(const Node& node, Value value, const Value& path, const Value* otherwise = nullptr);
  std::string json(const Node& node, const Value& value, Arguments& given);
  bool test(const Node& node, const std::string& name, const Value& value, Arguments given);
  std::int64_t whole(const Node& node, std::string_view what, const Value& value);
  const std::string& text_of(const Node& node, std::string_view what, const Value& value);

  const Source& source_;
  Time now_;
  std::size_t work_;
  int depth_ = 0;
  std::string out_;
  std::deque<Namespace> namespaces_;
  std::list<Scope> scopes_;
};

}  // namespace attend::inline ATTEND_ABI::text::jinja
