// Expressions of templates as trees, by Jinja's grammar.
#pragma once

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/jinja_lexer.inl>
#include <attend/text/jinja_value.inl>

namespace attend::inline ATTEND_ABI::text::jinja {

/// Children by kind: block: statements; branch: condition, block, …, and the last block of else; loop:
/// target, items, condition or none, block, block of else or none; macro: defaults, block (names:
/// parameters); set_block: target or none (it is written, then), block, filters of kCaptured or none; with:
/// target, value, …, block; call, filter, test: operand, arguments (names: keywords of the last ones);
/// compare: operands (names: signs); choice: condition, then, else or none; slice: three or none; mapping:
/// key, value, …; the others as they are written.
struct Node {
  enum Kind {
    block,
    data,
    output,
    branch,
    loop,
    set,
    set_block,
    with,
    macro,
    scope,
    break_,
    continue_,
    constant,
    name,
    list,
    tuple,
    mapping,
    member,
    item,
    slice,
    call,
    filter,
    test,
    not_,
    negative,
    positive,
    and_,
    or_,
    compare,
    arithmetic,
    concat,
    choice
  };
  Kind kind;
  std::size_t at;
  std::string text = {};
  Value value = {};
  std::vector<std::unique_ptr<Node>> children = {};
  std::vector<std::string> names = {};
  int depth = 1;
};
using NodePtr = std::unique_ptr<Node>;
/// What a block writes, by a name that no template can write.
inline constexpr const char* kCaptured = " captured";

/// What statements are made of.
class ExpressionParser {
 protected:
  explicit ExpressionParser(const Source& source) : source_(source), tokens_(Lexer(source).run()) {}

  static constexpr int kMaxNesting = 100, kMaxDepth = 250;
  static constexpr std::size_t kMaxArguments = 200;

  // ---- tokens
  const Token& now() const { return tokens_[at_]; }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool is(Token::Kind kind, std::string_view value) const {
    return now().kind == kind && now().value == value;
  }
  bool is_sign(std::string_view value) const { return is(Token::sign, value); }
  bool is_name(std::string_view value) const { return is(Token::name, value); }
  bool take_sign(std::string_view value) { return is_sign(value) && (next(), true); }
  bool take_name(std::string_view value) { return is_name(value) && (next(), true); }
  [[noreturn]] void unexpected(const std::string& wanted) const {
    static constexpr const char* kNames[] = {"the end", "text", "{{", "}}", "{%", "%}"};
    source_.refuse(now().at, "expected ", wanted, ", got ",
                   now().kind < Token::name ? kNames[now().kind] : in_quotes(now().value));
  }
  void expect_sign(std::string_view value) {
    if (!take_sign(value)) unexpected(in_quotes(value));
  }
  std::string expect_name() {
    if (now().kind != Token::name) unexpected("a name");
    return next().value;
  }
  void end_block() {
    if (now().kind != Token::close_block) unexpected("%}");
    next();
  }

  /// Items with commas between, and one behind the last where the template has it.
  template <class Item>
  void list_up_to(std::string_view end, Item&& item) {
    for (bool first = true; !take_sign(end); first = false) {
      if (!first) {
        expect_sign(",");
        if (take_sign(end)) return;
      }
      item();
    }
  }

  template <class... Children>
  NodePtr make(Node::Kind kind, std::size_t at, std::string text = {}, Children... children) {
    NodePtr node = std::make_unique<Node>(Node{kind, at, std::move(text)});
    (add(*node, std::move(children)), ...);
    return node;
  }
  void add(Node& parent, NodePtr child) {
    if (child) parent.depth = (std::max)(parent.depth, child->depth + 1);
    if (parent.depth > kMaxDepth)
      source_.refuse(parent.at, "more than ", kMaxDepth, " operations in one another");
    parent.children.push_back(std::move(child));
  }
  NodePtr constant(std::size_t at, Value value) {
    NodePtr node = make(Node::constant, at);
    node->value = std::move(value);
    return node;
  }
  struct Nested {
    explicit Nested(ExpressionParser& p) : parser(p) {
      if (++parser.nesting_ > kMaxNesting)
        parser.source_.refuse(parser.now().at, "nested more than ", kMaxNesting, " deep");
    }
    ~Nested() { --parser.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;
    ExpressionParser& parser;
  };

  // ---- expressions, from the weakest operator to the strongest
  bool tuple_ends() const {
    return now().kind == Token::close_output || now().kind == Token::close_block || is_sign(")");
  }
  /// One expression, or a tuple of those that commas part.
  NodePtr tuple(bool choices = true, bool in_brackets = false) {
    const std::size_t at = now().at;
    if (in_brackets && is_sign(")")) return make(Node::tuple, at);
    NodePtr first = choices ? expression() : or_();
    if (!is_sign(",")) return first;
    NodePtr out = make(Node::tuple, at, {}, std::move(first));
    while (take_sign(",") && !tuple_ends()) add(*out, choices ? expression() : or_());
    return out;
  }
  NodePtr expression() {
    const Nested nested(*this);
    NodePtr out = or_();
    while (is_name("if")) {
      const std::size_t at = next().at;
      NodePtr condition = or_();
      NodePtr otherwise = take_name("else") ? expression() : nullptr;
      out = make(Node::choice, at, {}, std::move(condition), std::move(out), std::move(otherwise));
    }
    return out;
  }
  template <class Operand>
  NodePtr joined_by(std::string_view word, Node::Kind kind, Operand&& operand) {
    NodePtr out = operand();
    while (is_name(word)) {
      const std::size_t at = next().at;
      out = make(kind, at, {}, std::move(out), operand());
    }
    return out;
  }
  NodePtr or_() {
    return joined_by("or", Node::or_, [&] { return and_(); });
  }
  NodePtr and_() {
    return joined_by("and", Node::and_, [&] { return not_(); });
  }
  NodePtr not_() {
    const Nested nested(*this);
    if (!is_name("not")) return compare();
    const std::size_t at = next().at;
    return make(Node::not_, at, {}, not_());
  }
  NodePtr compare() {
    NodePtr out = sum();
    NodePtr all;
    for (;;) {
      std::string sign;
      const std::size_t at = now().at;
      static constexpr std::string_view kSigns[] = {"==", "!=", "<", "<=", ">", ">="};
      if (now().kind == Token::sign &&
          std::find(std::begin(kSigns), std::end(kSigns), now().value) != std::end(kSigns))
        sign = next().value;
      else if (take_name("in"))
        sign = "in";
      else if (is_name("not") && tokens_[at_ + 1].kind == Token::name && tokens_[at_ + 1].value == "in")
        next(), next(), sign = "not in";
      else
        return all ? std::move(all) : std::move(out);
      if (!all) all = make(Node::compare, at, {}, std::move(out));
      all->names.push_back(sign);
      add(*all, sum());
    }
  }
  template <class Operand>
  NodePtr arithmetic(std::initializer_list<std::string_view> signs, Operand&& operand) {
    NodePtr out = operand();
    while (now().kind == Token::sign && std::find(signs.begin(), signs.end(), now().value) != signs.end()) {
      const Token token = next();
      out = make(Node::arithmetic, token.at, token.value, std::move(out), operand());
    }
    return out;
  }
  NodePtr sum() {
    return arithmetic({"+", "-"}, [&] { return concat(); });
  }
  NodePtr concat() {
    NodePtr out = product();
    if (!is_sign("~")) return out;
    out = make(Node::concat, now().at, {}, std::move(out));
    while (take_sign("~")) add(*out, product());
    return out;
  }
  NodePtr product() {
    return arithmetic({"*", "/", "//", "%"}, [&] { return arithmetic({"**"}, [&] { return unary(true); }); });
  }
  NodePtr unary(bool filters) {
    const Nested nested(*this);
    const std::size_t at = now().at;
    NodePtr out;
    if (take_sign("-"))
      out = make(Node::negative, at, {}, unary(false));
    else if (take_sign("+"))
      out = make(Node::positive, at, {}, unary(false));
    else
      out = primary();
    out = postfix(std::move(out));
    while (filters) {
      if (is_sign("|"))
        out = filter(std::move(out));
      else if (is_name("is"))
        out = test(std::move(out));
      else if (is_sign("("))
        out = call(std::move(out));
      else
        break;
    }
    return out;
  }
  NodePtr primary() {
    const Token token = now();
    if (token.kind == Token::name) {
      next();
      if (token.value == "true" || token.value == "True") return constant(token.at, true);
      if (token.value == "false" || token.value == "False") return constant(token.at, false);
      if (token.value == "none" || token.value == "None") return constant(token.at, NoValue());
      return make(Node::name, token.at, token.value);
    }
    if (token.kind == Token::text) {
      std::string all;
      while (now().kind == Token::text) all += next().value;
      return constant(token.at, std::move(all));
    }
    if (token.kind == Token::integer || token.kind == Token::number) return number(next());
    if (take_sign("(")) {
      NodePtr out = tuple(true, true);
      expect_sign(")");
      return out;
    }
    if (take_sign("[")) {
      NodePtr out = make(Node::list, token.at);
      list_up_to("]", [&] { add(*out, expression()); });
      return out;
    }
    if (take_sign("{")) {
      NodePtr out = make(Node::mapping, token.at);
      list_up_to("}", [&] {
        add(*out, expression());
        expect_sign(":");
        add(*out, expression());
      });
      return out;
    }
    unexpected("an expression");
  }
  NodePtr number(const Token& token) {
    const char *begin = token.value.data(), *end = begin + token.value.size();
    if (token.kind == Token::integer) {
      std::int64_t value = 0;
      if (std::from_chars(begin, end, value).ec != std::errc())
        source_.refuse(token.at, "an integer beyond 64 bits");
      return constant(token.at, value);
    }
    double value = 0;
    if (std::from_chars(begin, end, value).ec != std::errc())
      source_.refuse(token.at, "a number beyond range");
    return constant(token.at, value);
  }
  NodePtr postfix(NodePtr out) {
    for (;;) {
      const std::size_t at = now().at;
      if (take_sign(".")) {
        if (now().kind == Token::integer)
          out = make(Node::item, at, {}, std::move(out), number(next()));
        else
          out = make(Node::member, at, expect_name(), std::move(out));
      } else if (take_sign("[")) {
        out = make(Node::item, at, {}, std::move(out), subscript());
        if (is_sign(",")) source_.refuse(now().at, "a subscript of several parts is not supported");
        expect_sign("]");
      } else if (is_sign("(")) {
        out = call(std::move(out));
      } else {
        return out;
      }
    }
  }
  NodePtr subscript() {
    const std::size_t at = now().at;
    const auto part = [&] { return is_sign(":") || is_sign("]") ? nullptr : expression(); };
    NodePtr begin = part();
    if (!take_sign(":")) {
      if (!begin) unexpected("an expression");
      return begin;
    }
    NodePtr end = part();
    NodePtr step = take_sign(":") ? part() : nullptr;
    return make(Node::slice, at, {}, std::move(begin), std::move(end), std::move(step));
  }
  void arguments(Node& out) {
    expect_sign("(");
    list_up_to(")", [&] {
      if (is_sign("*") || is_sign("**")) source_.refuse(now().at, "arguments of a list are not supported");
      const Token& behind = tokens_[(std::min)(at_ + 1, tokens_.size() - 1)];
      if (now().kind == Token::name && behind.kind == Token::sign && behind.value == "=") {
        const std::string name = next().value;
        if (std::find(out.names.begin(), out.names.end(), name) != out.names.end())
          source_.refuse(now().at, "argument ", in_quotes(name), " is given twice");
        out.names.push_back(name);
        next();
      } else if (!out.names.empty()) {
        source_.refuse(now().at, "an argument without a name behind one that has one");
      }
      add(out, expression());
      if (out.children.size() > kMaxArguments)
        source_.refuse(out.at, "more than ", kMaxArguments, " arguments");
    });
  }
  NodePtr call(NodePtr callee) {
    NodePtr out = make(Node::call, now().at, {}, std::move(callee));
    arguments(*out);
    return out;
  }
  NodePtr filter(NodePtr operand, bool behind_bar = true) {
    if (behind_bar) next();
    const std::size_t at = now().at;
    NodePtr out = make(Node::filter, at, expect_name(), std::move(operand));
    if (is_sign("(")) arguments(*out);
    return out;
  }
  NodePtr test(NodePtr operand) {
    next();
    const bool negated = take_name("not");
    const std::size_t at = now().at;
    NodePtr out = make(Node::test, at, expect_name(), std::move(operand));
    const bool more = now().kind == Token::name || now().kind == Token::text ||
                      now().kind == Token::integer || now().kind == Token::number || is_sign("[") ||
                      is_sign("{");
    if (is_sign("(")) {
      arguments(*out);
    } else if (more && !is_name("else") && !is_name("or") && !is_name("and")) {
      if (is_name("is")) source_.refuse(now().at, "tests cannot be chained");
      add(*out, postfix(primary()));
    }
    return negated ? make(Node::not_, at, {}, std::move(out)) : std::move(out);
  }

  const Source& source_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace attend::inline ATTEND_ABI::text::jinja
