// BERT's tokenizer, and the Unicode below it.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "text_test_data.hpp"

#include <attend/text/unicode.hpp>
#include <attend/text/wordpiece.hpp>

using namespace text_test;
using attend::text::BertNormalizer;
using attend::text::CodePoint;
using attend::text::NormalForm;
using attend::text::Vocabulary;
using attend::text::WordPiece;

namespace {

const char* const small_vocab =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\nworld\n##s\n##ly\n,\n!\nun\n##aff\n##able\ncafe\n\xE4\xBD\xA0\n";

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> out;
  attend::text::for_each_bert_word(text, [&](std::string_view w) { out.emplace_back(w); });
  return out;
}

}  // namespace

TEST_CASE("UTF-8: every code point there and back, and what is not one") {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string bytes;
    attend::text::append_utf8(bytes, c);
    const CodePoint back = attend::text::decode_utf8(bytes, 0);
    if (back.value != c || back.size != bytes.size() || back.status != CodePoint::valid)
      FAIL("U+" << std::uint32_t{c});
    if (bytes.size() > 1) {
      const CodePoint cut = attend::text::decode_utf8(bytes.substr(0, bytes.size() - 1), 0);
      if (cut.status != CodePoint::incomplete || cut.size != bytes.size() - 1) FAIL("U+" << std::uint32_t{c});
    }
  }
  // Maximal subparts, as in table 3-11 of the Unicode standard and Python's errors="replace".
  const auto fixed = [](const std::string& s) { return attend::text::to_valid_utf8(s); };
  const std::string r = "\xEF\xBF\xBD";
  CHECK(fixed("a\xC0\xAF") == "a" + r + r);
  CHECK(fixed("\xE0\x80\xAF") == r + r + r);
  CHECK(fixed("\xED\xA0\x80") == r + r + r);
  CHECK(fixed("\xF4\x90\x80\x80") == r + r + r + r);
  CHECK(fixed("\xE4\xBD"
              "a") == r + "a");
  CHECK(fixed("\xF0\x9F\x98") == r);
  CHECK(fixed("\xFF\xFE") == r + r);
}

TEST_CASE("normal forms") {
  const auto form = [](const char* s, NormalForm f) { return attend::text::normalize(s, f); };
  CHECK(form("\u00e9\uac01", NormalForm::nfd) == "e\u0301\u1100\u1161\u11a8");
  CHECK(form("e\u0301\u1100\u1161\u11a8", NormalForm::nfc) == "\u00e9\uac01");
  CHECK(form("a\u0301\u0323", NormalForm::nfd) == "a\u0323\u0301");  // marks in the order of their classes
  CHECK(form("a\u0301\u0323", NormalForm::nfc) == "\u1ea1\u0301");
  CHECK(form("\ufb01\u00b2", NormalForm::nfkc) == "fi2");
  CHECK(form("\ufb01\u00b2", NormalForm::nfc) == "\ufb01\u00b2");
  CHECK(form("\u1e9b\u0323", NormalForm::nfkd) == "s\u0323\u0307");
  // 200,000 marks out of order: quadratic sorting would take minutes.
  std::string marks = "a", sorted = "a";
  for (int i = 0; i < 100'000; ++i) marks += "\u0301\u0323";
  for (int i = 0; i < 100'000; ++i) sorted += "\u0323";
  for (int i = 0; i < 100'000; ++i) sorted += "\u0301";
  CHECK(attend::text::normalize(marks, NormalForm::nfd) == sorted);
}

TEST_CASE("BERT's normaliser") {
  CHECK(BertNormalizer{}("H\u00e9LLo\t\u3000\x01W\u200d\ufffd") == "hello  w");
  CHECK(BertNormalizer{.lowercase = false}("H\u00e9LLo") == "H\u00e9LLo");
  CHECK(BertNormalizer{.lowercase = false, .strip_accents = true}("H\u00e9") == "He");
  CHECK(BertNormalizer{.strip_accents = false}("H\u00c9") == "h\u00e9");
  CHECK(BertNormalizer{}("a\u4f60\u597d") == "a \u4f60  \u597d ");
  CHECK(BertNormalizer{.handle_chinese_chars = false}("a\u4f60") == "a\u4f60");
  CHECK(BertNormalizer{.clean_text = false}("a\tb\x01") == "a\tb\x01");
  CHECK(BertNormalizer{.strip_accents = false}("\u0130") == "i\u0307");
}

TEST_CASE("words") {
  CHECK(words("Don't stop-it $5.\u3002x") ==
        std::vector<std::string>{"Don", "'", "t", "stop", "-", "it", "$", "5", ".", "\u3002", "x"});
  CHECK(words("  \t\n").empty());
  CHECK(words("").empty());
}

TEST_CASE("longest pieces first, unknown words whole") {
  const Folder folder;
  const auto t = WordPiece::from_vocab(folder.write("vocab.txt", small_vocab), {.lowercase = true});
  CHECK(t.vocab_size() == 15);
  CHECK(t.encode("Hello, WORLDS!") == Ids{4, 8, 5, 6, 9});
  CHECK(t.encode("unaffable unaffably") == Ids{10, 11, 12, 1});
  CHECK(t.encode("caf\u00e9 \u4f60\u4f60") == Ids{13, 14, 14});
  CHECK(t.encode("") == Ids{});
  CHECK(t.encode(std::string(94, 's') + "hello") == Ids{1});
  CHECK(t.decode(t.encode("Hello, worlds!")) == "hello, worlds!");
  CHECK(t.token_to_id("##ly") == 7);
  CHECK(!t.token_to_id("ly"));
  CHECK(t.id_to_token(7) == "##ly");
  CHECK(contains(error_of([&] { t.id_to_token(15); }), "15"));
  CHECK(contains(error_of([&] { t.id_to_token(-1); }), "-1"));
  const auto cased = WordPiece::from_vocab(folder.path / "vocab.txt", {.lowercase = false});
  CHECK(cased.encode("Hello hello") == Ids{1, 4});
}

TEST_CASE("the limit of a word is in characters") {
  const Folder folder;
  const auto path = folder.write("vocab.txt", "[UNK]\n\u00e4\n##\u00e4\n");
  std::string word;
  for (int i = 0; i < 100; ++i) word += "\u00e4";
  const auto t = WordPiece::from_vocab(path, {.lowercase = false});
  CHECK(t.encode(word).size() == 100);
  CHECK(t.encode(word + "\u00e4") == Ids{0});
  // A huge limit does not make the time quadratic.
  const auto generous =
      WordPiece::from_vocab(path, {.lowercase = false, .max_input_chars_per_word = 1'000'000});
  std::string longer;
  for (int i = 0; i < 100'000; ++i) longer += "\u00e4";
  CHECK(generous.encode(longer).size() == 100'000);
}

TEST_CASE("from a tokenizer.json") {
  const Folder folder;
  const std::string model =
      R"("model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
    "max_input_chars_per_word":100,"vocab":{"[UNK]":0,"ab":1,"##c":2,"A":3}})";
  const auto lower = WordPiece::from_tokenizer_json(folder.write(
      "a.json",
      R"({"normalizer":{"type":"BertNormalizer","lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},)" +
          model + "}"));
  CHECK(lower.encode("ABC A") == Ids{1, 2, 0});
  const auto other = folder.write(
      "b.json", R"({"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"BertPreTokenizer"},)" + model + "}");
  CHECK(contains(error_of([&] { WordPiece::from_tokenizer_json(other); }), "BertNormalizer"));
}

TEST_CASE("published BERT ids") {
  const fs::path folder = published("tokenizers");
  if (folder.empty()) return;
  const auto t = WordPiece::from_vocab(folder / "bert" / "vocab_uncased.txt", {.lowercase = true});
  int count = 0;
  for (const auto& c : attend::text::parse_json(slurp(folder / "cases.json"), "cases.json")) {
    CAPTURE(c["text"].get<std::string>());
    CHECK(t.encode(c["text"].get<std::string>()) == c["bert_uncased_ids"].get<Ids>());
    ++count;
  }
  CHECK(count > 20);
}

TEST_CASE("published malformed vocabularies") {
  for_each_malformed("tokenizers", [](const fs::path& file, const std::string& verdict) {
    if (file.extension() != ".txt" || !file.filename().string().starts_with("wp_")) return;
    const std::string error = error_of([&] {
      const auto t = WordPiece::from_vocab(file);
      for (std::size_t id = 0; id < t.vocab_size(); ++id) {
        const std::string& token = t.id_to_token(static_cast<std::int32_t>(id));
        CHECK(token.find('\r') == std::string::npos);
        CHECK(token.find("\uFEFF") == std::string::npos);
      }
      for (std::int32_t id : t.encode("hello hello zzz")) CHECK(id >= 0);
    });
    if (verdict == "reject") {
      CHECK(contains(error, file.string()));
      CHECK(contains(error, "byte 33"));
    }
    if (verdict == "accept") CHECK(error == "");
  });
}
