// Chat templates: what a folder says a conversation looks like to its model.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <attend/core/config.hpp>
#include <attend/core/location.hpp>

namespace attend::inline ATTEND_ABI {

/// One turn. `more` is a JSON object of further members (tool_calls, reasoning_content, …); what it says of
/// role and content goes before the other two.
struct ChatMessage {
  /// "system", "user", "assistant" or what the template knows; and the text.
  std::string role, content;
  std::string more = {};  // JSON of other fields of the message
};

/// What a template is given beside the messages.
struct ChatOptions {
  bool add_generation_prompt = true;  // the beginning of the answer
  std::string tools = {};             // a JSON list of functions
  std::string documents = {};         // a JSON list
  std::string variables = {};         // a JSON object of names, as {"enable_thinking": false}
  std::optional<std::chrono::system_clock::time_point> now = {};  // of strftime_now; default: the clock's
};

namespace text {

/// The templates of a folder in Jinja. What is not listed here is an error that names it with line and
/// column:
/// - statements: if, elif, else; for (with if, else, break, continue, unpacking); set (of several names, of
///   members of a namespace, as a block, with filters); with; filter; macro; generation; raw
/// - loop: index, index0, revindex, revindex0, first, last, length, previtem, nextitem
/// - expressions: literals, members, subscripts and slices, calls with keywords, + - * / // % ** ~, in, and,
///   or, not, if … else, comparisons, filters, tests
/// - filters: abs, batch, capitalize, count, d, default, dictsort, first, float, indent, int, items, join,
///   last, length, list, lower, map, max, min, reject, rejectattr, replace, reverse, round, safe,
///   select, selectattr, sort, string, sum, title, tojson, trim, unique, upper
/// - tests: boolean, callable, defined, divisibleby, even, false, float, in, integer, iterable, lower,
///   mapping, none, number, odd, sameas, sequence, string, true, undefined, upper, and comparisons by their
///   names
/// - methods of texts: capitalize, count, endswith, find, index, isalnum, isalpha, isdigit, islower, isspace,
///   isupper, join, lower, lstrip, partition, removeprefix, removesuffix, replace, rfind, rpartition, rsplit,
///   rstrip, split, splitlines, startswith, strip, title, upper; of mappings: copy, get, items, keys, values;
///   of lists: count, index
/// - functions: dict, namespace, raise_exception, range, strftime_now
/// Values are Python's, as is what is written of them. Nesting, steps and memory are bounded whatever a
/// template says.
class ChatTemplate {
 public:
  /// None: render() is an error.
  ChatTemplate() = default;
  /// One template; `where` names it in errors.
  explicit ChatTemplate(std::string source, std::string where = "chat_template");

  /// Those of chat_template.jinja and additional_chat_templates/*.jinja, or else of tokenizer_config.json,
  /// which also says what bos_token and the other special tokens are. A folder need not have any: empty()
  /// says so.
  static ChatTemplate open(const Location& folder);

  bool empty() const { return sources_.empty(); }

  /// The text of a conversation, as apply_chat_template of transformers makes it, by the template "tool_use"
  /// where there are tools and such a template, and else by "default". Errors: what the template does not
  /// support, or raises; no messages; broken JSON.
  std::string render(std::span<const ChatMessage> messages, const ChatOptions& options = {}) const;
  /// Of messages as a JSON list of objects.
  std::string render(std::string_view messages, const ChatOptions& options = {}) const;

 private:
  std::map<std::string, std::string> sources_, tokens_;
  std::string where_ = "chat_template";
};

}  // namespace text
}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/text/chat_template.inl>
#endif
