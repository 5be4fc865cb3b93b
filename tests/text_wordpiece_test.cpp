// BERT's tokenizer, and the Unicode below it.

#include <attend/json/json.hpp>
#include <attend/text/pre_tokenizer.hpp>
#include <attend/text/tokenizer.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/vocabulary.hpp>
#include <attend/text/wordpiece.hpp>

#include "support.hpp"

using Ids = std::vector<std::int32_t>;
using attend::text::BertNormalizer;
using attend::text::CodePoint;
using attend::text::NormalForm;
using attend::text::Tokenizer;
using attend::text::Vocabulary;
using attend::text::WordPieceModel;
using attend_test::bytes_of;
using attend_test::error_of;
using attend_test::error_or_none;
using attend_test::Folder;
using attend_test::kUnpublished;
using attend_test::Malformed;
using attend_test::malformed_files;
using attend_test::published;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

namespace {

const char* const small_vocab =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\nworld\n##s\n##ly\n,\n!\nun\n##aff\n##able\ncafe\n\xE4\xBD\xA0\n";

std::vector<std::string> words(const std::string& text) {
  std::vector<attend::text::Piece> pieces{{attend::text::AlignedText(text), true}};
  const attend::Json step = attend::Json::parse(R"({"type": "BertPreTokenizer"})");
  attend::text::detail::read_pre_tokenizer(attend::text::Part(step, "step"))(pieces);
  std::vector<std::string> out;
  for (const attend::text::Piece& piece : pieces) out.push_back(piece.text.bytes);
  return out;
}

std::string normalized(const BertNormalizer& normalizer, std::string text) {
  attend::text::AlignedText out(std::move(text));
  normalizer(out);
  return out.bytes;
}

/// BERT's normalizer, words and model, without what Tokenizer does around them.
struct WordPiece {
  BertNormalizer normalizer;
  WordPieceModel model;

  explicit WordPiece(const std::filesystem::path& vocab, BertNormalizer its_normalizer = {},
                     WordPieceModel::Options options = {})
      : normalizer(its_normalizer), model(Vocabulary::from_lines(vocab), options) {}
  Ids encode(const std::string& text) const {
    Ids ids;
    for (const std::string& word : words(normalized(normalizer, text))) model.tokenize(word, ids);
    return ids;
  }
};

}  // namespace

TEST(Utf8, EncodesAndDecodesEveryCodePoint) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string bytes;
    attend::text::append_utf8(bytes, c);
    const CodePoint back = attend::text::decode_utf8(bytes, 0);
    if (back.value != c || back.size != bytes.size() || back.status != CodePoint::valid)
      FAIL() << "U+" << std::uint32_t{c};
    if (bytes.size() > 1) {
      const CodePoint cut = attend::text::decode_utf8(bytes.substr(0, bytes.size() - 1), 0);
      if (cut.status != CodePoint::incomplete || cut.size != bytes.size() - 1)
        FAIL() << "U+" << std::uint32_t{c};
    }
  }
}

TEST(Utf8, MalformedBytesBecomeReplacementCharacters) {
  // Maximal subparts, as in table 3-11 of the Unicode standard and Python's errors="replace".
  const auto fixed = [](const std::string& s) { return attend::text::to_valid_utf8(s); };
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(fixed("a\xC0\xAF"), "a" + r + r);
  EXPECT_EQ(fixed("\xE0\x80\xAF"), r + r + r);
  EXPECT_EQ(fixed("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(fixed("\xF4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(fixed("\xE4\xBD"
                  "a"),
            r + "a");
  EXPECT_EQ(fixed("\xF0\x9F\x98"), r);
  EXPECT_EQ(fixed("\xFF\xFE"), r + r);
}

TEST(NormalForm, IsThatOfUnicode) {
  const auto form = [](const char* s, NormalForm f) { return attend::text::normalize(s, f); };
  EXPECT_EQ(form("\u00e9\uac01", NormalForm::nfd), "e\u0301\u1100\u1161\u11a8");
  EXPECT_EQ(form("e\u0301\u1100\u1161\u11a8", NormalForm::nfc), "\u00e9\uac01");
  EXPECT_EQ(form("a\u0301\u0323", NormalForm::nfd), "a\u0323\u0301");  // marks in the order of their classes
  EXPECT_EQ(form("a\u0301\u0323", NormalForm::nfc), "\u1ea1\u0301");
  EXPECT_EQ(form("\ufb01\u00b2", NormalForm::nfkc), "fi2");
  EXPECT_EQ(form("\ufb01\u00b2", NormalForm::nfc), "\ufb01\u00b2");
  EXPECT_EQ(form("\u1e9b\u0323", NormalForm::nfkd), "s\u0323\u0307");
}

TEST(NormalForm, SortsMarksInLinearTime) {
  // 200,000 marks out of order: quadratic sorting would take minutes.
  std::string marks = "a", sorted = "a";
  for (int i = 0; i < 100'000; ++i) marks += "\u0301\u0323";
  for (int i = 0; i < 100'000; ++i) sorted += "\u0323";
  for (int i = 0; i < 100'000; ++i) sorted += "\u0301";
  EXPECT_EQ(attend::text::normalize(marks, NormalForm::nfd), sorted);
}

TEST(BertNormalizer, DoesWhatItsOptionsSay) {
  EXPECT_EQ(normalized(BertNormalizer{}, "H\u00e9LLo\t\u3000\x01W\u200d\ufffd"), "hello  w");
  EXPECT_EQ(normalized(BertNormalizer{.lowercase = false}, "H\u00e9LLo"), "H\u00e9LLo");
  EXPECT_EQ((normalized(BertNormalizer{.lowercase = false, .strip_accents = true}, "H\u00e9")), "He");
  EXPECT_EQ(normalized(BertNormalizer{.strip_accents = false}, "H\u00c9"), "h\u00e9");
  EXPECT_EQ(normalized(BertNormalizer{}, "a\u4f60\u597d"), "a \u4f60  \u597d ");
  EXPECT_EQ(normalized(BertNormalizer{.handle_chinese_chars = false}, "a\u4f60"), "a\u4f60");
  EXPECT_EQ(normalized(BertNormalizer{.clean_text = false}, "a\tb\x01"), "a\tb\x01");
  EXPECT_EQ(normalized(BertNormalizer{.strip_accents = false}, "\u0130"), "i\u0307");
}

TEST(BertWords, AreCutAtBlanksAndPunctuation) {
  EXPECT_THAT(words("Don't stop-it $5.\u3002x"),
              ElementsAre("Don", "'", "t", "stop", "-", "it", "$", "5", ".", "\u3002", "x"));
  EXPECT_TRUE(words("  \t\n").empty());
  EXPECT_TRUE(words("").empty());
}

TEST(WordPiece, TakesTheLongestPieceAndUnknownWordsWhole) {
  const Folder folder;
  const auto path = folder.write("vocab.txt", small_vocab);
  const WordPiece t(path);
  EXPECT_EQ(t.model.vocabulary().size(), 15);
  EXPECT_THAT(t.encode("Hello, WORLDS!"), ElementsAre(4, 8, 5, 6, 9));
  EXPECT_THAT(t.encode("unaffable unaffably"), ElementsAre(10, 11, 12, 1));
  EXPECT_THAT(t.encode("caf\u00e9 \u4f60\u4f60"), ElementsAre(13, 14, 14));
  EXPECT_THAT(t.encode(""), IsEmpty());
  EXPECT_THAT(t.encode(std::string(94, 's') + "hello"), ElementsAre(1));
  const Tokenizer whole = Tokenizer::open(path);
  EXPECT_EQ(whole.decode(whole.encode("Hello, worlds!")), "hello, worlds!");
  EXPECT_EQ(whole.token_to_id("##ly"), 7);
  EXPECT_FALSE(whole.token_to_id("ly"));
  EXPECT_EQ(whole.id_to_token(7), "##ly");
  EXPECT_THAT(error_of([&] { whole.id_to_token(100); }), HasSubstr("100"));
  EXPECT_THAT(error_of([&] { whole.id_to_token(-1); }), HasSubstr("-1"));
  const WordPiece cased(path, {.lowercase = false});
  EXPECT_THAT(cased.encode("Hello hello"), ElementsAre(1, 4));
}

TEST(WordPiece, LimitsWordsInCharacters) {
  const Folder folder;
  const auto path = folder.write("vocab.txt", "[UNK]\n\u00e4\n##\u00e4\n");
  std::string word;
  for (int i = 0; i < 100; ++i) word += "\u00e4";
  const WordPiece t(path, {.lowercase = false});
  EXPECT_EQ(t.encode(word).size(), 100);
  EXPECT_THAT(t.encode(word + "\u00e4"), ElementsAre(0));
}

TEST(WordPiece, TakesLinearTimeForAHugeLimit) {
  const Folder folder;
  const auto path = folder.write("vocab.txt", "[UNK]\n\u00e4\n##\u00e4\n");
  const WordPiece generous(path, {.lowercase = false}, {.max_input_chars_per_word = 1'000'000});
  std::string longer;
  for (int i = 0; i < 100'000; ++i) longer += "\u00e4";
  EXPECT_EQ(generous.encode(longer).size(), 100'000);
}

// A candidate costs as much as its last byte: to hash each from its begin would take minutes.
TEST(WordPiece, LooksForLongTokensByteByByte) {
  const Folder folder;
  const std::string as(10'000, 'a');
  const auto path = folder.write("vocab.txt", "[UNK]\na\n##a\n##" + as + "b\naaa\n##aa\n");
  const WordPiece generous(path, {}, {.max_input_chars_per_word = 1'000'000});
  EXPECT_EQ(generous.encode(as).size(), 1 + 4999);
  EXPECT_THAT(generous.encode("aaa" + as + "b"), ElementsAre(4, 3));
}

TEST(WordPiece, IsReadFromATokenizerJsonOfBert) {
  const Folder folder;
  const std::string model =
      R"("model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
    "max_input_chars_per_word":100,"vocab":{"[UNK]":0,"ab":1,"##c":2,"A":3}})";
  const auto lower = Tokenizer::open(folder.write(
      "a.json",
      R"({"normalizer":{"type":"BertNormalizer","lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},)" +
          model + "}"));
  EXPECT_THAT(lower.encode("ABC A"), ElementsAre(1, 2, 0));
}

TEST(WordPiece, GivesThePublishedIds) {
  const std::filesystem::path folder = published("tokenizers");
  if (folder.empty()) GTEST_SKIP() << kUnpublished;
  const WordPiece t(folder / "bert" / "vocab_uncased.txt");
  int count = 0;
  for (const auto& c : attend::text::parse_json(bytes_of(folder / "cases.json"), "cases.json")) {
    SCOPED_TRACE(c["text"].get<std::string>());
    EXPECT_EQ(t.encode(c["text"].get<std::string>()), c["bert_uncased_ids"].get<Ids>());
    ++count;
  }
  EXPECT_GT(count, 20);
}

TEST(WordPiece, AcceptsAndRefusesThePublishedVocabularies) {
  if (published("malformed").empty()) GTEST_SKIP() << kUnpublished;
  for (const Malformed& sample : malformed_files("tokenizers")) {
    SCOPED_TRACE(sample.file.string());
    if (sample.file.extension() != ".txt" || !sample.file.filename().string().starts_with("wp_")) continue;
    const std::string error = error_or_none([&] {
      const WordPiece t(sample.file);
      for (std::size_t id = 0; id < t.model.vocabulary().size(); ++id) {
        const std::string token(t.model.vocabulary().token(static_cast<std::int32_t>(id)));
        EXPECT_THAT(token, Not(HasSubstr("\r")));
        EXPECT_THAT(token, Not(HasSubstr("\uFEFF")));
      }
      for (std::int32_t id : t.encode("hello hello zzz")) EXPECT_GE(id, 0);
    });
    if (sample.verdict == "reject") {
      EXPECT_THAT(error, HasSubstr(sample.file.string()));
      EXPECT_THAT(error, HasSubstr("byte 33"));
    }
    if (sample.verdict == "accept") {
      EXPECT_EQ(error, "");
    }
  }
}
