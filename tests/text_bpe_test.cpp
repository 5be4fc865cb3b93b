// Byte-pair encoding, byte level and byte fallback; what is published about GPT-2; broken vocabularies and
// texts.

#include <chrono>

#include <attend/json/json.hpp>
#include <attend/text/bpe.hpp>
#include <attend/text/tokenizer.hpp>
#include <attend/text/vocabulary.hpp>

#include "support.hpp"

using Ids = std::vector<std::int32_t>;
using attend::text::BpeModel;
using attend::text::Json;
using attend::text::Tokenizer;
using attend::text::Vocabulary;
using attend_test::bytes_of;
using attend_test::error_of;
using attend_test::error_or_none;
using attend_test::Folder;
using attend_test::kUnpublished;
using attend_test::Malformed;
using attend_test::malformed_files;
using attend_test::model_folder;
using attend_test::published;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

namespace {

using Merges = std::vector<std::pair<std::string, std::string>>;  // left and right of each

BpeModel model(Vocabulary vocabulary, const Merges& merges, BpeModel::Options options = {}) {
  BpeModel out(std::move(vocabulary), std::move(options), merges.size());
  for (const auto& [left, right] : merges) out.add_merge(left, right, "model");
  return out;
}
BpeModel model(const char* vocab, const Merges& merges, BpeModel::Options options = {}) {
  return model(Vocabulary::from_json(Json::parse(vocab), "vocab"), merges, std::move(options));
}

Ids ids(const BpeModel& m, const std::string& word) {
  Ids out;
  m.tokenize(word, out);
  return out;
}

// The definition: look for the earliest learned pair, merge its leftmost occurrence, start over.
Ids slow_bpe(std::vector<std::string> symbols, const Merges& merges, const Vocabulary& vocabulary) {
  for (;;) {
    std::size_t best = merges.size(), at = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
      for (std::size_t rank = 0; rank < best; ++rank)
        if (merges[rank].first == symbols[i] && merges[rank].second == symbols[i + 1]) best = rank, at = i;
    if (best == merges.size()) break;
    symbols[at] += symbols[at + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  Ids out;
  for (const auto& s : symbols) out.push_back(*vocabulary.id(s));
  return out;
}

}  // namespace

TEST(BpeModel, MergesByRankThenFromTheLeft) {
  const char* vocab = R"({"a":0,"b":1,"c":2,"ab":3,"bc":4,"abc":5,"aa":6})";
  EXPECT_THAT(ids(model(vocab, {{"b", "c"}, {"a", "b"}}), "abc"), ElementsAre(0, 4));
  EXPECT_THAT(ids(model(vocab, {{"a", "b"}, {"b", "c"}, {"ab", "c"}}), "abc"), ElementsAre(5));
  EXPECT_THAT(ids(model(vocab, {{"a", "a"}}), "aaaaa"), ElementsAre(6, 6, 0));
  EXPECT_THAT(ids(model(vocab, {}), ""), IsEmpty());
}

TEST(BpeModel, AgreesWithTheDefinitionOnRandomWords) {
  const Merges merges{{"a", "b"},  {"b", "a"},  {"ab", "ab"},  {"a", "a"}, {"aa", "b"},
                      {"ba", "b"}, {"c", "ab"}, {"abab", "c"}, {"b", "b"}, {"bb", "a"}};
  Json vocab = Json::object();
  const auto add = [&](const std::string& s) {
    if (!vocab.contains(s)) vocab[s] = vocab.size();
  };
  for (const char* s : {"a", "b", "c"}) add(s);
  for (const auto& [l, r] : merges) add(l + r);
  const Vocabulary vocabulary = Vocabulary::from_json(vocab, "vocab");
  const BpeModel m = model(vocabulary, merges);
  std::uint32_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string word;
    std::vector<std::string> symbols;
    for (int i = 0; i < round % 40; ++i) {
      state = state * 1664525 + 1013904223;
      word += "aabbc"[(state >> 16) % 5];
      symbols.emplace_back(1, word.back());
    }
    SCOPED_TRACE(word);
    ASSERT_EQ(ids(m, word), slow_bpe(symbols, merges, vocabulary));
  }
}

TEST(BpeModel, HandlesUnknownCharactersPrefixAndSuffix) {
  const char* vocab =
      R"({"<unk>":0,"a":1,"b":2,"<0xC3>":3,"<0xA9>":4,"##b":5,"a##b":6,"ab":7,"b</w>":8,"ab</w>":9})";
  EXPECT_THAT(ids(model(vocab, {}, {.unk_token = "<unk>"}), "axxb"), ElementsAre(1, 0, 0, 2));
  EXPECT_THAT(ids(model(vocab, {}, {.unk_token = "<unk>", .fuse_unk = true}), "axxbx"),
              ElementsAre(1, 0, 2, 0));
  EXPECT_THAT(ids(model(vocab, {}), "axxb"), ElementsAre(1, 2));
  EXPECT_THAT(ids(model(vocab, {}, {.unk_token = "<unk>", .byte_fallback = true}), "\u00e9x"),
              ElementsAre(3, 4, 0));
  // As in tokenizers, an unknown character waits for the next token, and bytes are none.
  EXPECT_THAT(ids(model(vocab, {}, {.unk_token = "<unk>", .byte_fallback = true}), "x\u00e9xb"),
              ElementsAre(3, 4, 0, 0, 2));
  EXPECT_THAT(ids(model(vocab, {{"a", "##b"}}, {.continuing_subword_prefix = "##"}), "ab"), ElementsAre(7));
  EXPECT_THAT(ids(model(vocab, {{"a", "b</w>"}}, {.end_of_word_suffix = "</w>"}), "ab"), ElementsAre(9));
  EXPECT_THAT(ids(model(vocab, {}, {.ignore_merges = true}), "ab"), ElementsAre(7));
  EXPECT_THAT(ids(model(vocab, {}, {.ignore_merges = false}), "ab"), ElementsAre(1, 2));
  EXPECT_THAT(error_of([&] { ids(model(vocab, {}, {.unk_token = "[UNK]"}), "x"); }), HasSubstr("[UNK]"));
  EXPECT_THAT(error_of([&] {
                model(vocab, {{"a", "b"}}, {.continuing_subword_prefix = "##"});
              }),
              HasSubstr("merge 0"));
}

// Pairs that a hash with a published key puts at one place: to walk over all of them for each takes minutes.
TEST(BpeModel, LoadsMergesThatWereChosenToCollide) {
  const std::string letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  std::vector<std::string> twos;
  for (char a : letters)
    for (char b : letters) twos.push_back({a, b});
  Vocabulary vocabulary;
  for (const std::string& two : twos)
    vocabulary.add(two, static_cast<std::int32_t>(vocabulary.size()), "twos");
  Merges merges;
  for (std::uint64_t left = 0; left < twos.size(); ++left)
    for (std::uint64_t right = 0; right < twos.size(); ++right) {
      const std::uint64_t pair = left << 32 | right;
      if ((pair ^ pair >> 31) * 0x9E3779B97F4A7C15u >> 32 > (1u << 26)) continue;
      merges.emplace_back(twos[left], twos[right]);
      vocabulary.add(twos[left] + twos[right], static_cast<std::int32_t>(vocabulary.size()), "fours");
    }
  EXPECT_GT(merges.size(), 150'000u);
  const std::size_t tokens = vocabulary.size();
  EXPECT_EQ(model(std::move(vocabulary), merges).vocabulary().size(), tokens);
}

TEST(BpeModel, RefusesVocabulariesAndMergesThatContradictThemselves) {
  const Folder f;
  const auto vocab = f.write("vocab.json", R"({"a":0,"b":1,"ab":2})");
  const auto error = [&](const char* v, const char* m) {
    return error_or_none(
        [&] { Tokenizer::from_vocab_and_merges(f.write("v.json", v), f.write("m.txt", m)); });
  };
  const char* good = R"({"a":0,"b":1,"ab":2})";
  EXPECT_EQ(error(good, "#version: 0.2\na b\n"), "");
  EXPECT_EQ(error(good, "#version: 0.2\r\na b\r\n"), "");
  EXPECT_THAT(error(good, "#version: 0.2\na b\na  b\n"), HasSubstr("line 3"));
  EXPECT_THAT(error(good, "a z\n"), HasSubstr("\"z\""));
  EXPECT_THAT(error(good, "b a\n"), HasSubstr("\"ba\""));
  EXPECT_THAT(error(good, "a \n"), HasSubstr("line 1"));
  EXPECT_THAT(error(good, "a b\xff\n"), HasSubstr("not UTF-8"));
  EXPECT_THAT(error(R"({"a":-1})", ""), HasSubstr("-1"));
  EXPECT_THAT(error(R"({"a":0.5})", ""), HasSubstr("0.5"));
  EXPECT_THAT(error(R"({"a":"0"})", ""), HasSubstr("\"a\""));
  EXPECT_THAT(error(R"({"a":18446744073709551615})", ""), HasSubstr("18446744073709551615"));
  EXPECT_THAT(error(R"({"a":0,"b":0})", ""), HasSubstr("one id"));
  EXPECT_THAT(error(R"(["a"])", ""), HasSubstr("object"));
  EXPECT_THAT(error(R"({"a":0)", ""), HasSubstr("byte"));
  EXPECT_THAT(error_of([&] { Tokenizer::from_vocab_and_merges(f.path / "none.json", f.path / "m.txt"); }),
              HasSubstr("none.json"));
}

TEST(Gpt2Tokenizer, GivesThePublishedIdsAndEveryTextBack) {
  const std::filesystem::path folder = published("tokenizers");
  if (folder.empty()) GTEST_SKIP() << kUnpublished;
  const auto t = Tokenizer::open(folder / "gpt2");
  EXPECT_EQ(t.vocab_size(), 50257);
  EXPECT_THAT(t.encode("<|endoftext|>"), ElementsAre(50256));
  int count = 0;
  for (const auto& c : attend::text::parse_json(bytes_of(folder / "cases.json"), "cases.json")) {
    const auto text = c["text"].get<std::string>();
    SCOPED_TRACE(text);
    const Ids got = t.encode(text);
    EXPECT_EQ(got, c["gpt2_ids"].get<Ids>());
    EXPECT_EQ(t.decode(got), text);
    ++count;
  }
  EXPECT_GT(count, 20);
}

TEST(Gpt2Tokenizer, TakesLinearTimeForMalformedTexts) {
  const std::filesystem::path folder = published("tokenizers/gpt2");
  if (folder.empty()) GTEST_SKIP() << kUnpublished;
  const auto t = Tokenizer::open(folder);
  for (const Malformed& sample : malformed_files("tokenizer_inputs")) {
    SCOPED_TRACE(sample.file.string());
    const std::string text = bytes_of(sample.file);
    const auto start = std::chrono::steady_clock::now();
    const Ids got = t.encode(text);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), 20);  // linear takes a tenth of a second; quadratic takes minutes
    EXPECT_EQ(t.decode(got), (sample.verdict == "accept" ? text : attend::text::to_valid_utf8(text)));
  }
}

TEST(ByteLevelTokenizer, TakesLinearTimeForLongTextsOfOneKind) {
  const auto t = Tokenizer::open(model_folder("tokenizers/byte_level_bpe"));
  for (const char* unit :
       {" ", "\n", "a", "A", "1", "'", "\u00e9", "\U0001F600", " \n", "\u0301", "aB", "'s"}) {
    SCOPED_TRACE(unit);
    std::string text;
    while (text.size() < 100'000) text += unit;
    EXPECT_EQ(t.decode(t.encode(text)), text);
    EXPECT_EQ(t.decode(t.encode(text + "x")), text + "x");
  }
}

TEST(BpeVocabulary, AcceptsAndRefusesThePublishedVocabularies) {
  const std::filesystem::path vocab = published("malformed/tokenizers/vocab_ok.json");
  if (vocab.empty()) GTEST_SKIP() << kUnpublished;
  const Folder f;
  const auto no_merges = f.write("merges.txt", "#version: 0.2\n");
  for (const Malformed& sample : malformed_files("tokenizers")) {
    SCOPED_TRACE(sample.file.string());
    const std::string name = sample.file.filename().string();
    if (name.starts_with("wp_")) continue;
    const std::string error = error_or_none([&] {
      const auto t = name.starts_with("vocab") ? Tokenizer::from_vocab_and_merges(sample.file, no_merges)
                                               : Tokenizer::from_vocab_and_merges(vocab, sample.file);
      for (std::int32_t id : t.encode("ab a")) EXPECT_LT(static_cast<std::size_t>(id), t.vocab_size());
    });
    if (sample.verdict == "reject") {
      EXPECT_THAT(error, HasSubstr(sample.file.filename().string()));
    }
    if (sample.verdict == "accept") {
      EXPECT_EQ(error, "");
    }
  }
}

TEST(LlamaTokenizer, GivesThePublishedIds) {
  const std::filesystem::path folder = published("weights/stories260K");
  if (folder.empty()) GTEST_SKIP() << kUnpublished;
  const auto t = Tokenizer::open(folder);
  EXPECT_EQ(t.vocab_size(), 512);
  int count = 0;
  for (const auto& c : attend::text::parse_json(bytes_of(folder / "cases.json"), "cases.json")) {
    SCOPED_TRACE(c["text"].get<std::string>());
    EXPECT_EQ(t.encode(c["text"].get<std::string>()), c["ids"].get<Ids>());
    EXPECT_EQ(t.decode(c["greedy_64"].get<Ids>()), c["decoded"].get<std::string>());
    ++count;
  }
  EXPECT_GT(count, 2);
}
