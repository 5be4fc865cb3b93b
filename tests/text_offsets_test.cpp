// Where tokens stand in their text: the values are those of Hugging Face's tokenizers 0.23, in bytes.
#include <string>
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

}  // namespace
