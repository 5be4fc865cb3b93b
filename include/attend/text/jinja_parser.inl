// Templates as trees, by Jinja's grammar.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/jinja_expressions.inl>

namespace attend::inline ATTEND_ABI::text::jinja {

class Parser : ExpressionParser {
 public:
  explicit Parser(const Source& source) : ExpressionParser(source) {}
  NodePtr run() { return block({}); }

 private:
  /// Up to a tag that begins by one of `ends`, which is left to the caller; to the end where there are none.
  NodePtr block(std::initializer_list<std::string_view> ends) {
    const Nested nested(*this);
    NodePtr out = make(Node::block, now().at);
    for (;;) {
      const Token token = next();
      if (token.kind == Token::end) {
        if (ends.size() == 0) return out;
        source_.refuse(token.at, "expected ", *(ends.end() - 1), ", got the end");
      } else if (token.kind == Token::data) {
        add(*out, make(Node::data, token.at, token.value));
      } else if (token.kind == Token::open_output) {
        add(*out, make(Node::output, token.at, {}, tuple()));
        if (now().kind != Token::close_output) unexpected("}}");
        next();
      } else {
        if (now().kind == Token::name && std::find(ends.begin(), ends.end(), now().value) != ends.end())
          return out;
        add(*out, statement());
        end_block();
      }
    }
  }
  NodePtr body(std::string_view end) {
    end_block();
    NodePtr out = block({end});
    next();
    return out;
  }
  NodePtr statement() {
    const std::size_t at = now().at;
    if (now().kind != Token::name) unexpected("a statement");
    const std::string name = next().value;
    if (name == "if") return branch(at);
    if (name == "for") return loop(at);
    if (name == "set") return set(at);
    if (name == "filter") return filtered(at, nullptr, false);
    if (name == "with") return with(at);
    if (name == "macro") return macro(at);
    if (name == "generation") return make(Node::scope, at, {}, body("endgeneration"));
    if (name == "break" || name == "continue") {
      if (loops_ == 0) source_.refuse(at, in_quotes(name), " outside of a loop");
      return make(name == "break" ? Node::break_ : Node::continue_, at);
    }
    source_.refuse(at, "statement ", in_quotes(name), " is not supported");
  }
  NodePtr branch(std::size_t at) {
    NodePtr out = make(Node::branch, at);
    for (;;) {
      add(*out, tuple(false));
      end_block();
      add(*out, block({"elif", "else", "endif"}));
      const std::string end = next().value;
      if (end == "elif") continue;
      if (end == "else") add(*out, body("endif"));
      return out;
    }
  }
  NodePtr loop(std::size_t at) {
    NodePtr target = targets(false);
    if (!take_name("in")) unexpected("'in'");
    NodePtr items = tuple(false);
    NodePtr condition = take_name("if") ? expression() : nullptr;
    if (is_name("recursive")) source_.refuse(now().at, "a recursive loop is not supported");
    end_block();
    ++loops_;
    NodePtr inner = block({"else", "endfor"});
    --loops_;
    NodePtr otherwise = next().value == "else" ? body("endfor") : nullptr;
    return make(Node::loop, at, {}, std::move(target), std::move(items), std::move(condition),
                std::move(inner), std::move(otherwise));
  }
  NodePtr set(std::size_t at) {
    NodePtr target = targets(true);
    if (take_sign("=")) return make(Node::set, at, {}, std::move(target), tuple());
    return filtered(at, std::move(target), true);
  }
  /// The block of a set or of a filter, which is named without a bar in front.
  NodePtr filtered(std::size_t at, NodePtr target, bool set) {
    NodePtr value = make(Node::name, now().at, kCaptured);
    for (bool first = !set; first || is_sign("|"); first = false) value = filter(std::move(value), !first);
    NodePtr block = body(set ? "endset" : "endfilter");
    return make(Node::set_block, at, {}, std::move(target), std::move(block), std::move(value));
  }
  NodePtr with(std::size_t at) {
    NodePtr out = make(Node::with, at);
    while (now().kind != Token::close_block) {
      if (!out->children.empty()) expect_sign(",");
      add(*out, target(false));
      expect_sign("=");
      add(*out, expression());
    }
    add(*out, body("endwith"));
    return out;
  }
  NodePtr macro(std::size_t at) {
    NodePtr out = make(Node::macro, at, expect_name());
    expect_sign("(");
    list_up_to(")", [&] {
      out->names.push_back(expect_name());
      if (out->names.size() > kMaxArguments) source_.refuse(at, "more than ", kMaxArguments, " parameters");
      if (take_sign("="))
        add(*out, expression());
      else if (!out->children.empty())
        source_.refuse(now().at, "a parameter without a default behind one that has one");
    });
    const int loops = std::exchange(loops_, 0);
    add(*out, body("endmacro"));
    loops_ = loops;
    return out;
  }
  NodePtr target(bool members) {
    const std::size_t at = now().at;
    if (take_sign("(")) {
      NodePtr out = targets(members);
      expect_sign(")");
      return out;
    }
    const std::string name = expect_name();
    static constexpr std::string_view kFixed[] = {"true", "false", "none", "True", "False", "None"};
    if (std::find(std::begin(kFixed), std::end(kFixed), name) != std::end(kFixed))
      source_.refuse(at, in_quotes(name), " cannot be set");
    NodePtr out = make(Node::name, at, name);
    if (members && take_sign(".")) return make(Node::member, at, expect_name(), std::move(out));
    return out;
  }
  NodePtr targets(bool members) {
    const Nested nested(*this);
    const std::size_t at = now().at;
    NodePtr first = target(members);
    if (!is_sign(",")) return first;
    NodePtr out = make(Node::tuple, at, {}, std::move(first));
    while (take_sign(",") && (now().kind == Token::name ? !is_name("in") : is_sign("(")))
      add(*out, target(members));
    return out;
  }

  int loops_ = 0;  // around what is read
};

/// Names that a template sets at its top before it reads them there. Jinja counts them as its own from the
/// start: what is read of them before, in the body of a loop or a macro, is undefined, whatever was given by
/// that name.
class OwnNames {
 public:
  explicit OwnNames(const Node& root) { statements(root, false); }
  std::vector<std::string_view> names;

 private:
  void read(const Node* node) {
    if (node == nullptr) return;
    if (node->kind == Node::name) seen_.insert(node->text);
    for (const NodePtr& child : node->children) read(child.get());
  }
  /// In a branch what is set may also not be set, so that what was given counts.
  void set(std::string_view name, bool in_branch) {
    if (seen_.insert(name).second && !in_branch) names.push_back(name);
  }
  void set(const Node& target, bool in_branch) {
    if (target.kind == Node::name) return set(target.text, in_branch);
    if (target.kind == Node::member) return read(&target);
    for (const NodePtr& child : target.children) set(*child, in_branch);
  }
  void statements(const Node& block, bool in_branch) {
    for (const NodePtr& statement : block.children) {
      const Node& node = *statement;
      if (node.kind == Node::output) read(&node);
      if (node.kind == Node::loop) read(node.children[1].get());
      if (node.kind == Node::set) read(node.children[1].get());
      if (node.kind == Node::set_block) read(node.children[2].get());
      for (std::size_t i = 1; node.kind == Node::with && i < node.children.size(); i += 2)
        read(node.children[i].get());
      if ((node.kind == Node::set || node.kind == Node::set_block) && node.children[0])
        set(*node.children[0], in_branch);
      if (node.kind == Node::macro) set(node.text, in_branch);
      for (std::size_t i = 0; node.kind == Node::branch && i < node.children.size(); ++i)
        i % 2 == 0 && i + 1 < node.children.size() ? read(node.children[i].get())
                                                   : statements(*node.children[i], true);
    }
  }

  std::set<std::string_view> seen_;
};

}  // namespace attend::inline ATTEND_ABI::text::jinja
