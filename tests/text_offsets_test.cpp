// Where tokens stand in their text: the values are those of Hugging Face's tokenizers 0.23, in bytes.
#include <initializer_list>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <attend/text/tokenizer.hpp>

#include "support.hpp"

namespace {

using attend::text::ByteRange;
using attend::text::Encoding;
using attend::text::Tokenizer;

const std::string kTexts[] = {"Hello, wörld!", "Été 你好", "  two  spaces ", "ﬁne İ½", "a <mask> b😀"};

std::string offsets_of(const Tokenizer& tokenizer, const std::string& text) {
  const Encoding encoding = tokenizer.encode_single(text, {.offsets = true});
  EXPECT_EQ(encoding.ids, tokenizer.encode(text));
  EXPECT_EQ(encoding.offsets.size(), encoding.ids.size());
  std::string out;
  for (const ByteRange& range : encoding.offsets)
    out += (out.empty() ? "" : " ") + std::to_string(range.begin) + "-" + std::to_string(range.end);
  return out;
}

void expect_offsets(const Tokenizer& tokenizer, const std::vector<std::string>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(offsets_of(tokenizer, kTexts[i]), expected[i]) << kTexts[i];
}

Tokenizer folder(const char* name) { return Tokenizer::open(attend_test::model_folder("tokenizers") / name); }

TEST(Offsets, OfWordPieceGoThroughCleaningAndAccents) {
  expect_offsets(folder("wordpiece"), {"0-0 0-1 1-2 2-3 3-4 4-5 5-6 7-8 8-10 10-11 11-13 13-14 0-0",
                                       "0-0 0-1 3-4 4-5 8-11 11-14 0-0", "0-0 2-3 3-4 4-5 7-13 0-0",
                                       "0-0 0-5 6-10 0-0", "0-0 0-1 2-3 3-4 4-5 5-6 6-7 7-8 9-14 0-0"});
}

TEST(Offsets, OfBytesAreThoseOfTheirCharacter) {
  expect_offsets(folder("byte_level_bpe"),
                 {"0-1 1-2 2-4 4-5 5-6 6-7 7-8 8-10 8-10 10-11 11-13 13-14",
                  "0-1 1-3 1-3 3-4 4-5 5-7 5-7 7-8 8-11 8-11 8-11 11-14 11-14 11-14",
                  "0-1 1-3 3-4 4-5 5-6 6-8 8-9 9-10 10-11 11-12 12-13 13-14",
                  "0-3 0-3 0-3 3-4 4-5 5-6 6-8 6-8 8-10 8-10",
                  "0-1 1-2 2-3 3-4 4-5 5-6 6-7 7-8 8-9 9-10 10-14 10-14 10-14 10-14"});
}

TEST(Offsets, OfMetaspaceAreThoseOfTheFirstCharacter) {
  expect_offsets(folder("unigram"),
                 {"0-1 0-1 1-2 2-3 3-4 4-5 5-6 6-7 7-8 8-10 8-10 10-11 11-12 12-13 13-14 0-0",
                  "0-1 0-1 0-1 3-4 4-5 7-8 8-14 8-14 8-14 8-14 8-14 8-14 0-0",
                  "1-3 3-4 4-5 6-8 8-9 9-10 10-11 11-12 12-13 13-14 0-0",
                  "0-3 0-3 0-4 4-5 5-6 6-8 6-8 8-10 8-10 8-10 8-10 8-10 0-0",
                  "0-1 1-2 2-3 3-4 4-5 5-6 6-7 7-8 8-9 9-10 10-14 10-14 10-14 10-14 0-0"});
}

TEST(Offsets, OfByteTokensAreThoseOfTheirCharacter) {
  expect_offsets(folder("byte_fallback_bpe"),
                 {"0-0 0-1 0-1 1-2 2-4 4-5 5-6 6-7 7-8 8-10 8-10 10-11 11-13 13-14",
                  "0-0 0-1 0-1 1-3 1-3 3-4 4-5 5-7 5-7 7-8 8-11 8-11 8-11 11-14 11-14 11-14",
                  "0-0 0-1 0-1 1-3 3-4 4-5 5-6 6-8 8-9 9-10 10-11 11-12 12-13 13-14",
                  "0-0 0-3 0-3 0-3 0-3 3-4 4-5 5-6 6-8 6-8 8-10 8-10",
                  "0-0 0-1 1-2 2-3 3-4 4-5 5-6 6-7 7-8 8-9 9-10 10-14 10-14 10-14 10-14"});
}

TEST(Offsets, GoThroughCompositionReplacementAndStrippedTokens) {
  const Tokenizer tokenizer = Tokenizer::from_json(
      R"json({"version": "1.0", "added_tokens": [{"id": 24, "content": "<mask>", "single_word": false, "lstrip": true, "rstrip": false, "normalized": false, "special": true}], "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Replace", "pattern": {"String": "o"}, "content": "en"}]}, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}, "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<mask>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {"<mask>": {"id": "<mask>", "ids": [24], "tokens": ["<mask>"]}}}, "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "vocab": {"<unk>": 0, "a": 1, "b": 2, "d": 3, "e": 4, "f": 5, "g": 6, "h": 7, "i": 8, "l": 9, "n": 10, "o": 11, "p": 12, "r": 13, "s": 14, "t": 15, "u": 16, "w": 17, "1": 18, "2": 19, "▁": 20, "!": 21, ",": 22, "́": 23}, "merges": []}})json",
      "composed");
  expect_offsets(tokenizer,
                 {"0-0 0-1 0-1 1-2 2-3 3-4 4-5 4-5 5-6 6-7 7-8 8-10 10-11 11-12 12-13 13-14",
                  "0-0 0-1 0-1 3-4 4-5 7-8 8-14",
                  "0-0 0-1 1-2 2-3 3-4 4-5 4-5 5-6 6-7 7-8 8-9 9-10 10-11 11-12 12-13 13-14",
                  "0-0 0-3 0-3 0-3 3-4 4-5 5-6 6-8 6-8 8-10 8-10 8-10", "0-0 0-1 0-1 1-8 8-9 9-10 10-14"});
}

TEST(Offsets, OfAPairAreEachInItsOwnTextAndStayWithTheirIdsWhenTextsAreCut) {
  const Tokenizer tokenizer = folder("wordpiece");
  const Encoding pair = tokenizer.encode_pair("Hello", "a b c", {.max_length = 7, .offsets = true});
  EXPECT_EQ(pair.offsets.size(), pair.ids.size());
  EXPECT_EQ(pair.offsets.front(), ByteRange());
  const Encoding all = tokenizer.encode_single("one two", {.offsets = true}),
                 left = tokenizer.encode_single("one two",
                                                {.max_length = 3, .truncate_left = true, .offsets = true});
  EXPECT_EQ(left.offsets[1], all.offsets[all.offsets.size() - 2]);
  EXPECT_TRUE(left.special[0] && !left.special[1] && left.special[2]);
  EXPECT_THAT(tokenizer.encode_single("one").offsets, testing::IsEmpty());
}

TEST(Offsets, OfMalformedTextAreThoseOfItsBytes) {
  const Tokenizer tokenizer = folder("byte_level_bpe");
  const Encoding encoding = tokenizer.encode_single("a\xE4\xBD!", {.offsets = true});
  EXPECT_EQ(encoding.offsets.front(), (ByteRange{0, 1}));
  EXPECT_EQ(encoding.offsets[1], (ByteRange{1, 3}));
  EXPECT_EQ(encoding.offsets.back(), (ByteRange{3, 4}));
}

/// A unigram model of a few letters, whose other parts are as given.
Tokenizer unigram(const std::string& parts, bool byte_fallback = false) {
  std::string vocab = R"(["<unk>", 0])";
  double score = -1;
  for (const char* piece : {"a", "b", "c", "d", "e", "f", "g", "h", "\u2581", "\u0120"})
    vocab += std::string(", [\"") + piece + "\", " + std::to_string(score -= 0.125) + "]";
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256 && byte_fallback; ++byte)
    vocab += std::string(", [\"<0x") + kDigits[byte / 16] + kDigits[byte % 16] + ">\", -9]";
  return Tokenizer::from_json(R"({"model": {"type": "Unigram", "unk_id": 0, "byte_fallback": )" +
                                  std::string(byte_fallback ? "true" : "false") + R"(, "vocab": [)" + vocab +
                                  "]}" + parts + "}",
                              "unigram");
}

TEST(Offsets, OfUnknownTokensAreTrimmedByTheirText) {
  const Tokenizer bytes = unigram(
      R"(, "normalizer": {"type": "ByteLevel"}, "post_processor": {"type": "ByteLevel", "add_prefix_space": false})");
  EXPECT_EQ(offsets_of(bytes, "ab xy z"), "0-1 1-2 3-3 3-5 6-6 6-7");
  EXPECT_EQ(offsets_of(bytes, "x  a"), "0-1 2-2 3-3 3-4");
  EXPECT_EQ(offsets_of(bytes, "\u00E9 a"), "0-2 3-3 3-4");
}

TEST(Offsets, OfATextWhoseFirstCharactersGoHaveNoFirstWord) {
  const Tokenizer tokenizer = unigram(
      R"(, "normalizer": {"type": "BertNormalizer"},
           "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"})");
  EXPECT_EQ(offsets_of(tokenizer, "\u00ADab"), "2-3 3-4");
  EXPECT_EQ(tokenizer.encode("\u00ADab"), (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(tokenizer.encode("ab"), (std::vector<std::int32_t>{9, 1, 2}));
  EXPECT_EQ(offsets_of(tokenizer, "ab"), "0-1 0-1 1-2");
  EXPECT_EQ(offsets_of(tokenizer, "\x01 ab"), "1-2 2-3 3-4");
  EXPECT_EQ(offsets_of(tokenizer, "a\u00AD b"), "0-1 0-1 3-4 4-5");
}

TEST(Offsets, OfTheUnknownTokensOwnNameInATextAreThatTokens) {
  const Tokenizer tokenizer = unigram("", true);
  EXPECT_EQ(tokenizer.encode("a<unk>b"), (std::vector<std::int32_t>{1, 0, 2}));
  EXPECT_EQ(offsets_of(tokenizer, "a<unk>b"), "0-1 1-6 6-7");
  EXPECT_EQ(tokenizer.encode("x<unk>"), (std::vector<std::int32_t>{131, 71, 128, 121, 118, 73}));
  EXPECT_EQ(tokenizer.encode("<unk><unk>").size(), 10u);
}

TEST(Offsets, CharactersAreWhatTheyWereInTheUnicodeOfTokenizers) {
  const auto with = [](const std::string& parts) {
    return Tokenizer::from_json(
        R"({"model": {"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0, "a": 1}})" + parts + "}",
        "words");
  };
  const Tokenizer words = with(R"(, "pre_tokenizer": {"type": "BertPreTokenizer"})");
  for (const auto& [text, count] : std::initializer_list<std::pair<const char*, std::size_t>>{
           {"a\u2E42b", 3}, {"a\u2E43b", 1}, {"a\u166Db", 3}, {"a\U00010EADb", 1}, {"a\u061Db", 1}})
    EXPECT_EQ(words.encode(text).size(), count) << text;
  const Tokenizer
      strip = with(R"(, "normalizer": {"type": "StripAccents"})"),
      bert = with(R"(, "normalizer": {"type": "BertNormalizer", "strip_accents": true, "lowercase": false})");
  const auto is_a = [](const Tokenizer& tokenizer, const char* text) {
    return tokenizer.encode(text)[0] == 1;
  };
  for (const auto& [text, by_strip, by_bert] :
       std::initializer_list<std::tuple<const char*, bool, bool>>{{"a\u0301", true, true},
                                                                  {"a\u1ABF", false, false},
                                                                  {"a\u08D4", true, false},
                                                                  {"a\u1CF2", true, false},
                                                                  {"a\u0890", false, false},
                                                                  {"a\U0002B820", false, false}}) {
    EXPECT_EQ(is_a(strip, text), by_strip) << text;
    EXPECT_EQ(is_a(bert, text), by_bert) << text;
  }
}

}  // namespace
