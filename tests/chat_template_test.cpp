// Chat templates: what they make of conversations is what transformers makes of them; what is not supported
// is an error that names it; and no template takes more than its share of time, memory and stack.
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/text/chat_template.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::bytes_of;
using attend_test::error_of;
using testing::AllOf;
using testing::HasSubstr;
using text::ChatTemplate;
namespace fs = std::filesystem;

std::string render(const std::string& source, const std::string& variables = "{}",
                   const std::string& messages = R"([{"role": "user", "content": "hi"}])") {
  return ChatTemplate(source).render(messages, {.add_generation_prompt = false, .variables = variables});
}
std::string error(const std::string& source) {
  return error_of([&] { render(source); });
}

// Eleven templates in the manner of published ones; make.py beside them asks transformers.
TEST(ChatTemplate, GivesWhatTransformersGives) {
  const fs::path folder = fs::path(ATTEND_SOURCE_DIR) / "tests/chat_templates";
  const std::string conversations_text = bytes_of(folder / "conversations.json");
  // The members' order counts, which Json does not keep: each conversation is a line, and its parts are cut
  // out.
  const auto part = [](const std::string& line, const std::string& name) {
    const std::size_t at = line.find("\"" + name + "\": ");
    if (at == std::string::npos) return std::string();
    std::size_t begin = at + name.size() + 4, end = begin;
    for (int depth = 0, quoted = 0;; ++end) {
      if (line[end] == '\\') ++end;
      if (line[end] == '"') quoted ^= 1;
      if (!quoted) depth += (line[end] == '[' || line[end] == '{') - (line[end] == ']' || line[end] == '}');
      if (depth == 0) return line.substr(begin, end + 1 - begin);
    }
  };
  std::vector<std::string> conversations;
  for (std::size_t at = 0; (at = conversations_text.find("{\"messages\"", at)) != std::string::npos; ++at) {
    const std::size_t next = conversations_text.find("{\"messages\"", at + 1);
    conversations.push_back(conversations_text.substr(at, next - at));
  }
  std::tm time{};
  time.tm_year = 125, time.tm_mon = 2, time.tm_mday = 7, time.tm_hour = 16, time.tm_min = 5, time.tm_sec = 9;
  time.tm_isdst = -1;
  const auto now = std::chrono::system_clock::from_time_t(std::mktime(&time));
  attend_test::Folder opened;
  opened.write(
      "tokenizer_config.json",
      R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": "<pad>", "unk_token": null})");
  const Json cases = read_json(folder / "expected.json");
  ASSERT_EQ(cases.size(), 220u);
  for (const Json& item : cases) {
    const std::string name = item["template"];
    const std::size_t index = item["conversation"];
    SCOPED_TRACE(name + " " + std::to_string(index));
    opened.write("chat_template.jinja", bytes_of(folder / (name + ".jinja")));
    const std::string& line = conversations.at(index);
    const ChatOptions options{.add_generation_prompt = item["add_generation_prompt"],
                              .tools = part(line, "tools"),
                              .documents = part(line, "documents"),
                              .variables = part(line, "variables"),
                              .now = now};
    const auto text = [&] { return ChatTemplate::open(opened.path).render(part(line, "messages"), options); };
    if (item["text"].is_null())
      EXPECT_THAT(error_of(text), HasSubstr(": line "));
    else
      EXPECT_EQ(text(), item["text"].get<std::string>());
  }
}

// Filters, blocks and methods, a few a line.
TEST(ChatTemplate, SmallTemplatesGiveWhatTransformersGives) {
  const fs::path folder = fs::path(ATTEND_SOURCE_DIR) / "tests/chat_templates";
  const Json expected = read_json(folder / "small.json");
  std::ifstream lines(folder / "small.txt");
  std::string variables, line;
  std::getline(lines, variables);
  std::size_t count = 0;
  for (; std::getline(lines, line); ++count) {
    SCOPED_TRACE(line);
    EXPECT_EQ(render(line, variables), expected.at(count).get<std::string>());
  }
  EXPECT_EQ(count, expected.size());
  EXPECT_GT(count, 25u);
}

TEST(ChatTemplate, MessagesAreObjectsOrJson) {
  const ChatTemplate t(
      "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ m.name }};{% endfor %}{{ add_generation_prompt "
      "}}");
  const std::vector<ChatMessage> messages{{"user", "a\"b"}, {"tool", "", R"({"name": "f", "content": [1]})"}};
  EXPECT_EQ(t.render(messages), "user:a\"b;tool:[1]f;True");
  EXPECT_EQ(t.render(R"([{"role": "x", "content": null}])"), "x:;True");
  EXPECT_THAT(error_of([&] { t.render("[]"); }), HasSubstr("messages"));
  EXPECT_THAT(error_of([&] { t.render("[1]"); }), HasSubstr("a message is an object"));
  EXPECT_THAT(error_of([&] { t.render("[{]"); }), HasSubstr("messages: byte 2"));
  EXPECT_THAT(error_of([&] { t.render(messages, {.variables = "[]"}); }), HasSubstr("variables"));
}

TEST(ChatTemplate, FoldersHaveOneOrSeveral) {
  attend_test::Folder folder;
  EXPECT_TRUE(ChatTemplate::open(folder.path).empty());
  EXPECT_THAT(error_of([&] { ChatTemplate::open(folder.path).render("[{}]"); }),
              HasSubstr("no chat template"));
  folder.write("tokenizer_config.json", R"({"chat_template": "one {{ bos_token }}", "bos_token": "<b>"})");
  EXPECT_EQ(ChatTemplate::open(folder.path).render("[{}]"), "one <b>");
  folder.write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "plain"},
                                                             {"name": "tool_use", "template": "{{ tools|length }} tools"}]})");
  EXPECT_EQ(ChatTemplate::open(folder.path).render("[{}]"), "plain");
  EXPECT_EQ(ChatTemplate::open(folder.path).render("[{}]", {.tools = "[{}, {}]"}), "2 tools");
  folder.write("chat_template.jinja", "file");
  EXPECT_EQ(ChatTemplate::open(folder.path).render("[{}]", {.tools = "[{}]"}), "file");
  folder.write("chat_template.jinja", "a\n{{ x.y.z }}");
  EXPECT_THAT(error_of([&] { ChatTemplate::open(folder.path).render("[{}]"); }),
              AllOf(HasSubstr("chat_template.jinja: line 2, column 5"), HasSubstr("'x' is undefined")));
}

TEST(ChatTemplate, WhiteSpaceGoesAsInJinja) {
  EXPECT_EQ(render("  {% if true %}\n  yes\n  {% endif %}\n no\n"), "  yes\n no");
  EXPECT_EQ(render("a {%- if true -%} b {%- endif -%} c"), "abc");
  EXPECT_EQ(render("a {%+ if true %} b{% endif +%}\nc"), "a  b\nc");
  EXPECT_EQ(render("  {# note #}\nx{#- y -#}  z"), "xz");
  EXPECT_EQ(render("{% raw %}{{ x }}{% endraw %}\r\ny\r"), "{{ x }}y");
  EXPECT_EQ(render("{{ 'a' -}}\n\n {{- 'b' }}\n"), "ab");
}

TEST(ChatTemplate, WritesAsPython) {
  EXPECT_EQ(
      render("{{ x }}", R"({"x": [1, 2.0, 1e16, 1e-5, true, null, "it's", "\"'\n", {"b": 1, "a": []}]})"),
      "[1, 2.0, 1e+16, 1e-05, True, None, \"it's\", '\"\\'\\n', {'b': 1, 'a': []}]");
  EXPECT_EQ(render("{{ x|tojson }}", R"({"x": {"b": "\u00e9\u0001<", "a": [1.5, {}]}})"),
            "{\"b\": \"\u00e9\\u0001<\", \"a\": [1.5, {}]}");
  EXPECT_EQ(render("{{ x|tojson(indent=1) }}", R"({"x": [1, {"a": 2}]})"), "[\n 1,\n {\n  \"a\": 2\n }\n]");
  EXPECT_EQ(
      render("{{ -7 // 2 }} {{ -7 % 3 }} {{ 4 / 2 }} {{ 2 ** 3 ** 2 }} {{ 1 == true }} {{ 'a' ~ none ~ x }}"),
      "-4 2 2.0 64 True aNone");
  EXPECT_EQ(render("{{ x[1:-1] }}{{ x[::-1] }}{{ x[-1] }}{{ x|length }}", R"({"x": "a\u00e9\u4f60z"})"),
            "\u00e9\u4f60z\u4f60\u00e9az4");
}

// As Python's str and Unicode's special cases have them.
TEST(ChatTemplate, LettersChangeAsInPython) {
  EXPECT_EQ(
      render("{{ 'ŉ ﬁ ᾳ ǆ'|upper }} {{ 'ﬁx ǆa ŉb ßx'.title() }} {{ 'ŉ'|title }} {{ 'ﬂ'.capitalize() }}"),
      "ʼN FI ΑΙ Ǆ Fix ǅa ʼNb Ssx ʼN Fl");
  EXPECT_EQ(render("{{ 'ΟΔΟΣ ΣΑΣ. Σ ΑΣ’Α'|lower }} {{ 'ΟΔΟΣ'.lower() }} {{ 'ΟΔΟΣ'|capitalize }}"),
            "οδος σας. σ ασ’α οδος Οδος");
}

TEST(ChatTemplate, RangesAndGroupsAreNoLists) {
  EXPECT_EQ(render("{{ range(4)[1] }}{{ range(5)[1:3]|list }}{{ range(2) == [0, 1] }}{{ 1 in range(2) }}"),
            "1[1, 2]FalseTrue");
  EXPECT_THAT(error("{{ range(3) }}"), HasSubstr("a range cannot be written"));
  EXPECT_THAT(error("{{ range(3) + [1] }}"), HasSubstr("a range + a list"));
  const char* const given = R"({"x": [{"a": 2, "b": "z"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}]})";
  EXPECT_EQ(render("{{ x|groupby('a')|map(attribute='grouper')|list }}", given), "[1, 2]");
  EXPECT_EQ(render("{{ x|sort(attribute='a,b')|map(attribute='b')|join }}", given), "yxz");
  EXPECT_EQ(render("{{ x|sort(attribute='a,b', reverse=true)|map(attribute='b')|join }}", given), "zxy");
  EXPECT_EQ(render("{{ x|map(attribute='c.d', default=0)|list }}", given), "[0, 0, 0]");
}

// + writes the rest in HTML's form, as MarkupSafe has it, and ~ does not.
TEST(ChatTemplate, MarkedTextsJoinOthersAsInPython) {
  EXPECT_EQ(
      render("{{ '<a>'|safe }}{{ '<' ~ ('<b>'|safe) ~ '&' }}{{ ('&'|safe) + '<\"' }}{{ '<' + ('>'|safe) }}"),
      "<a><<b>&&&lt;&#34;&lt;>");
  EXPECT_EQ(render("{{ ['a'|safe] }}{{ 'a'|safe == 'a' }}{{ ('<'|safe)|tojson }}{{ ('ab'|safe)|length }}"),
            "[Markup('a')]True\"<\"2");
  EXPECT_EQ(render("{{ ('<a>'|safe|upper) + '<' }}{{ ('<a>'|safe|replace('a', 'b')) + '<' }}"),
            "<A>&lt;<b><");
  EXPECT_THAT(error("{{ ('a'|safe).upper() }}"), HasSubstr("method 'upper' of a text that is marked safe"));
}

TEST(ChatTemplate, NamesWhatIsNotSupported) {
  EXPECT_THAT(error("ab\n  {% include 'x' %}"),
              HasSubstr("chat_template: line 2, column 6: statement 'include'"));
  for (const auto& [source, name] : std::vector<std::pair<std::string, std::string>>{
           {"{{ 1|nonesuch }}", "filter 'nonesuch'"},
           {"{{ 1|urlencode }}", "filter 'urlencode' is not supported"},
           {"{{ 1|groupby('a') }}", "an integer has no items"},
           {"{{ 1 is nonesuch }}", "test 'nonesuch'"},
           {"{{ nonesuch() }}", "'nonesuch'"},
           {"{{ 'a'.zfill(3) }}", "'zfill'"},
           {"{{ messages.append(1) }}", "'append'"},
           {"{{ ''.__class__ }}", "'__class__'"},
           {"{{ '%c' % 1 }}", "formatting by % of this kind"},
           {"{{ '%s' % () }}", "more places than values"},
           {"{{ 'x' % 1 }}", "more values than places"},
           {"{{ '%d' % 'x' }}", "needs an integer, got a text"},
           {"{{ '{:>3}'.format(1) }}", "a place such as {:>3} is not supported"},
           {"{{ cycler(1) }}", "'cycler'"},
           {"{{ range(*messages) }}", "arguments of a list"},
           {"{% for x in y recursive %}{% endfor %}", "recursive"},
           {"{{ strftime_now('%Q') }}", "%Q"},
           {"{{ raise_exception('as I say') }}", "as I say"},
           {"{% break %}", "'break' outside of a loop"},
           {"{{ 9223372036854775808 }}", "64 bits"},
           {"{{ 4611686018427387904 * 4 }}", "64 bits"},
           {"{{ 1 / 0 }}", "division by zero"},
           {"{{ 0 ** -1 }}", "division by zero"},
           {"{% macro m() %}{% endmacro %}{{ m.name }}", "member 'name' of a macro is not supported"},
           {"{{ (1).real }}", "member 'real' of an integer is not supported"},
           {"{{ none + 'a' }}", "none + a text"},
           {"{% if x %}", "expected endif, got the end"},
           {"{{ 'a", "does not end"},
           {"\xff", "not UTF-8"}})
    EXPECT_THAT(error(source), HasSubstr(name)) << source;
}

TEST(ChatTemplate, HostileOnesEndInTime) {
  const auto repeated = [](const std::string& text, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += text;
    return out;
  };
  for (const std::string& source :
       {"{{ " + repeated("(", 50000) + "1",
        "{{ " + repeated("not ", 50000) + "1 }}",
        "{{ " + repeated("-", 50000) + "1 }}",
        "{{ 1" + repeated(" + 1", 50000) + " }}",
        "{{ x" + repeated(".x", 50000) + " }}",
        "{{ x" + repeated("|trim", 50000) + " }}",
        "{{ 1" + repeated(" if 1 else 1", 50000) + " }}",
        repeated("{% if 1 %}", 50000),
        repeated("{% with %}", 50000),
        "{% filter trim" + repeated("|trim", 50000) + " %}{% endfilter %}",
        std::string("{% set s = 'a' * 60000 %}{% for i in range(9999) %}{{ s.count('a' * 30000 ~ 'b') }}{% "
                    "endfor %}"),
        std::string("{% for i in range(999) %}{{ range(99999)|unique|list }}{% endfor %}"),
        "{{ " + repeated("[", 50000) + repeated("]", 50000) + " }}",
        std::string("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
        std::string(
            "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}"),
        std::string(
            "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}"),
        std::string("{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% "
                    "endfor %}{{ n.x }}"),
        std::string("{% set n = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}"
                    "{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}"),
        std::string("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
        std::string(
            "{% set s = 'a ' * 50000 %}{% for i in range(9999) %}{% if s.split() %}{% endif %}{% endfor %}"),
        std::string(
            "{% set s = 'a' * 60000 %}{% for i in range(9999) %}{{ s.find('a' * 30000 ~ 'b') }}{% endfor %}"),
        "{{ dict(" + repeated("a=1, ", 50000) + ") }}",
        "{% macro f(" + repeated("a, ", 50000) + ") %}{% endmacro %}",
        std::string("{{ 'ab' * 999999999999 }}"),
        std::string("{{ [1] * 999999999999 }}"),
        std::string("{{ 'a' * 9999999 * 9999999 }}"),
        std::string("{{ range(9999999) }}"),
        std::string("{% set n = namespace() %}{% set n.n = n %}{{ n }}")})
    EXPECT_THAT(error(source), HasSubstr("chat_template:")) << source.substr(0, 100);
  std::string names;  // each of which is looked for among all
  for (int i = 0; i < 60000; ++i) names += "{{ a" + std::to_string(i) + " }}";
  EXPECT_EQ(render(names), "");
  // deep, but not too deep
  EXPECT_EQ(render("{{ " + repeated("(", 20) + "1" + repeated(")", 20) + " }}"), "1");
  EXPECT_EQ(render("{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(15) }}")
                .size(),
            22u);
}

TEST(ChatTemplate, MacrosKeepWhatTheyWereDefinedAmong) {
  EXPECT_EQ(
      render("{% set n = namespace(f=none) %}{% for i in range(3) %}{% macro f(a, b=i) %}{{ a }}{{ b }}{% "
             "endmacro %}"
             "{% if i == 1 %}{% set n.f = f %}{% endif %}{% endfor %}{{ n.f('x') }}{{ (n.f)(b=5, a=4) }}"),
      "x145");
  EXPECT_EQ(render("{% set a = 1 %}{% for i in range(2) %}{% set a = a + 1 %}{{ a }}{% endfor %}{{ a }}"),
            "221");
  // what the template sets itself is not there before, but for what it read or may not set
  EXPECT_EQ(render("{% for i in [1] %}{{ x }}{% endfor %}{% set x = 2 %}{{ x }}", R"({"x": 1})"), "2");
  EXPECT_EQ(render("{{ x }}{% for i in [1] %}{{ x }}{% endfor %}{% set x = 2 %}{{ x }}", R"({"x": 1})"),
            "112");
  EXPECT_EQ(render("{% for i in [1] %}{{ x }}{% endfor %}{% if false %}{% set x = 2 %}{% endif %}{{ x }}",
                   R"({"x": 1})"),
            "11");
  EXPECT_EQ(render("{% macro f() %}{{ late }}{% endmacro %}{% set late = 3 %}{{ f() }}"), "3");
}

}  // namespace
