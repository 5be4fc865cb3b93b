// Byte-pair encoding, byte level and byte fallback; what is published about GPT-2; broken vocabularies and
// texts.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "text_test_data.hpp"

#include <chrono>

#include <attend/text/bpe.hpp>
#include <attend/text/tokenizer.hpp>

using namespace text_test;
using attend::text::BpeModel;
using attend::text::Json;
using attend::text::Tokenizer;
using attend::text::Vocabulary;

namespace {

BpeModel model(const char* vocab, const BpeModel::Merges& merges, BpeModel::Options options = {}) {
  return BpeModel(Vocabulary::from_json(Json::parse(vocab), "vocab"), merges, options, "model");
}

Ids ids(const BpeModel& m, const std::string& word) {
  Ids out;
  m.tokenize(word, out);
  return out;
}

// The definition: look for the earliest learned pair, merge its leftmost occurrence, start over.
Ids slow_bpe(std::vector<std::string> symbols, const BpeModel::Merges& merges, const Vocabulary& vocabulary) {
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

TEST_CASE("merges go by rank, then from the left") {
  const char* vocab = R"({"a":0,"b":1,"c":2,"ab":3,"bc":4,"abc":5,"aa":6})";
  CHECK(ids(model(vocab, {{"b", "c"}, {"a", "b"}}), "abc") == Ids{0, 4});
  CHECK(ids(model(vocab, {{"a", "b"}, {"b", "c"}, {"ab", "c"}}), "abc") == Ids{5});
  CHECK(ids(model(vocab, {{"a", "a"}}), "aaaaa") == Ids{6, 6, 0});
  CHECK(ids(model(vocab, {}), "") == Ids{});
}

TEST_CASE("the heap agrees with the definition on random words") {
  const BpeModel::Merges merges{{"a", "b"},  {"b", "a"},  {"ab", "ab"},  {"a", "a"}, {"aa", "b"},
                                {"ba", "b"}, {"c", "ab"}, {"abab", "c"}, {"b", "b"}, {"bb", "a"}};
  Json vocab = Json::object();
  const auto add = [&](const std::string& s) {
    if (!vocab.contains(s)) vocab[s] = vocab.size();
  };
  for (const char* s : {"a", "b", "c"}) add(s);
  for (const auto& [l, r] : merges) add(l + r);
  const Vocabulary vocabulary = Vocabulary::from_json(vocab, "vocab");
  const BpeModel m(vocabulary, merges, {}, "model");
  std::uint32_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string word;
    std::vector<std::string> symbols;
    for (int i = 0; i < round % 40; ++i) {
      state = state * 1664525 + 1013904223;
      word += "aabbc"[(state >> 16) % 5];
      symbols.emplace_back(1, word.back());
    }
    CAPTURE(word);
    REQUIRE(ids(m, word) == slow_bpe(symbols, merges, vocabulary));
  }
}

TEST_CASE("unknown characters, prefix and suffix") {
  const char* vocab =
      R"({"<unk>":0,"a":1,"b":2,"<0xC3>":3,"<0xA9>":4,"##b":5,"a##b":6,"ab":7,"b</w>":8,"ab</w>":9})";
  CHECK(ids(model(vocab, {}, {.unk_token = "<unk>"}), "axxb") == Ids{1, 0, 0, 2});
  CHECK(ids(model(vocab, {}, {.unk_token = "<unk>", .fuse_unk = true}), "axxbx") == Ids{1, 0, 2, 0});
  CHECK(ids(model(vocab, {}), "axxb") == Ids{1, 2});
  CHECK(ids(model(vocab, {}, {.unk_token = "<unk>", .byte_fallback = true}), "\u00e9x") == Ids{3, 4, 0});
  CHECK(ids(model(vocab, {{"a", "##b"}}, {.continuing_subword_prefix = "##"}), "ab") == Ids{7});
  CHECK(ids(model(vocab, {{"a", "b</w>"}}, {.end_of_word_suffix = "</w>"}), "ab") == Ids{9});
  CHECK(ids(model(vocab, {}, {.ignore_merges = true}), "ab") == Ids{7});
  CHECK(ids(model(vocab, {}, {.ignore_merges = false}), "ab") == Ids{1, 2});
  CHECK(contains(error_of([&] { ids(model(vocab, {}, {.unk_token = "[UNK]"}), "x"); }), "[UNK]"));
  CHECK(contains(error_of([&] {
                   model(vocab, {{"a", "b"}}, {.continuing_subword_prefix = "##"});
                 }),
                 "merge 0"));
}

TEST_CASE("vocabularies and merges that contradict themselves") {
  const Folder f;
  const auto vocab = f.write("vocab.json", R"({"a":0,"b":1,"ab":2})");
  const auto error = [&](const char* v, const char* m) {
    return error_of([&] { Tokenizer::from_vocab_and_merges(f.write("v.json", v), f.write("m.txt", m)); });
  };
  const char* good = R"({"a":0,"b":1,"ab":2})";
  CHECK(error(good, "#version: 0.2\na b\n") == "");
  CHECK(error(good, "#version: 0.2\r\na b\r\n") == "");
  CHECK(contains(error(good, "#version: 0.2\na b\na  b\n"), "line 3"));
  CHECK(contains(error(good, "a z\n"), "\"z\""));
  CHECK(contains(error(good, "b a\n"), "\"ba\""));
  CHECK(contains(error(good, "a \n"), "line 1"));
  CHECK(contains(error(good, "a b\xff\n"), "not UTF-8"));
  CHECK(contains(error(R"({"a":-1})", ""), "-1"));
  CHECK(contains(error(R"({"a":0.5})", ""), "0.5"));
  CHECK(contains(error(R"({"a":"0"})", ""), "\"a\""));
  CHECK(contains(error(R"({"a":18446744073709551615})", ""), "18446744073709551615"));
  CHECK(contains(error(R"({"a":0,"b":0})", ""), "one id"));
  CHECK(contains(error(R"(["a"])", ""), "object"));
  CHECK(contains(error(R"({"a":0)", ""), "byte"));
  CHECK(contains(error_of([&] { Tokenizer::from_vocab_and_merges(f.path / "none.json", f.path / "m.txt"); }),
                 "none.json"));
}

TEST_CASE("published GPT-2 ids, and every text comes back") {
  const fs::path folder = published("tokenizers");
  if (folder.empty()) return;
  const auto t = Tokenizer::open(folder / "gpt2");
  CHECK(t.vocab_size() == 50257);
  CHECK(t.encode("<|endoftext|>") == Ids{50256});
  int count = 0;
  for (const auto& c : attend::text::parse_json(slurp(folder / "cases.json"), "cases.json")) {
    const auto text = c["text"].get<std::string>();
    CAPTURE(text);
    const Ids got = t.encode(text);
    CHECK(got == c["gpt2_ids"].get<Ids>());
    CHECK(t.decode(got) == text);
    ++count;
  }
  CHECK(count > 20);

  for_each_malformed("tokenizer_inputs", [&](const fs::path& file, const std::string& verdict) {
    const std::string text = slurp(file);
    const auto start = std::chrono::steady_clock::now();
    const Ids got = t.encode(text);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    CHECK(seconds.count() < 20);  // linear takes a tenth of a second; quadratic takes minutes
    CHECK(t.decode(got) == (verdict == "accept" ? text : attend::text::to_valid_utf8(text)));
  });
}

TEST_CASE("long texts of one kind take linear time") {
  const fs::path folder = published("tokenizers/gpt2");
  if (folder.empty()) return;
  const auto t = Tokenizer::open(folder);
  for (const char* unit :
       {" ", "\n", "a", "A", "1", "'", "\u00e9", "\U0001F600", " \n", "\u0301", "aB", "'s"}) {
    CAPTURE(unit);
    std::string text;
    while (text.size() < 300'000) text += unit;
    CHECK(t.decode(t.encode(text)) == text);
    CHECK(t.decode(t.encode(text + "x")) == text + "x");
  }
}

TEST_CASE("published malformed vocabularies") {
  const fs::path vocab = published("malformed/tokenizers/vocab_ok.json");
  if (vocab.empty()) return;
  const Folder f;
  const auto no_merges = f.write("merges.txt", "#version: 0.2\n");
  for_each_malformed("tokenizers", [&](const fs::path& file, const std::string& verdict) {
    const std::string name = file.filename().string();
    if (name.starts_with("wp_")) return;
    const std::string error = error_of([&] {
      const auto t = name.starts_with("vocab") ? Tokenizer::from_vocab_and_merges(file, no_merges)
                                               : Tokenizer::from_vocab_and_merges(vocab, file);
      for (std::int32_t id : t.encode("ab a")) CHECK(static_cast<std::size_t>(id) < t.vocab_size());
    });
    if (verdict == "reject") CHECK(contains(error, file.filename().string()));
    if (verdict == "accept") CHECK(error == "");
  });
}

TEST_CASE("published Llama-style ids") {
  const fs::path folder = published("weights/stories260K");
  if (folder.empty()) return;
  const auto t = Tokenizer::open(folder);
  CHECK(t.vocab_size() == 512);
  int count = 0;
  for (const auto& c : attend::text::parse_json(slurp(folder / "cases.json"), "cases.json")) {
    CAPTURE(c["text"].get<std::string>());
    CHECK(t.encode(c["text"].get<std::string>()) == c["ids"].get<Ids>());
    CHECK(t.decode(c["greedy_64"].get<Ids>()) == c["decoded"].get<std::string>());
    ++count;
  }
  CHECK(count > 2);
}
