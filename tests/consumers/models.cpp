// What a program with attend::models does: JSON, Unicode and regular expressions must all be there to link.
#include <cstdio>
#include <string>

#include <attend/text/regex.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/vocabulary.hpp>

int main() {
  using namespace attend::text;
  if (normalize("e\u0301", NormalForm::nfc) != "\u00e9") return 1;
  if (Vocabulary::from_json(parse_json(R"({"one": 0, "two": 1})", "here"), "here").token(1) != "two")
    return 2;
  std::string words;
  const std::string text = "ein Wort, zwei";
  Regex("\\p{L}+", "here").for_each_match(text, [&](std::size_t begin, std::size_t end) {
    words += text.substr(begin, end - begin) + "|";
  });
  if (words != "ein|Wort|zwei|") return 3;
  std::puts("models: ok");
}
