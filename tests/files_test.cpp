// Files as they come: no folder, no file, a pipe, an empty one; and tokenizers' files that are damaged or
// made to hurt.
#include "support.hpp"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/stat.h>
#endif

#include <attend/core/file.hpp>
#include <attend/io/config.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/json/json.hpp>
#include <attend/text/byte_level.hpp>
#include <attend/text/sentencepiece.hpp>
#include <attend/text/streaming_decoder.hpp>
#include <attend/text/tokenizer.hpp>
#include <attend/text/vocabulary.hpp>

namespace {
namespace fs = std::filesystem;
using attend::Json;
using attend::text::Tokenizer;
using attend::text::Vocabulary;
using attend_test::error_of;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<std::int32_t>;

class Folder {
 public:
  Folder() { fs::create_directories(path_); }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const fs::path& path() const { return path_; }
  fs::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }

 private:
  fs::path path_ =
      fs::temp_directory_path() / ("attend_files_" + std::to_string(reinterpret_cast<std::uintptr_t>(this)) +
                                   "_" + testing::UnitTest::GetInstance()->current_test_info()->name());
};

/// Each reader of a file by its path.
std::vector<std::pair<std::string, std::function<void(const fs::path&)>>> readers() {
  const auto scratch = std::make_shared<Folder>();
  const fs::path vocab = scratch->write("v.json", R"({"a":0,"b":1,"ab":2})"),
                 merges = scratch->write("m.txt", "a b\n");
  return {{"Config", [](const fs::path& p) { attend::Config config(p); }},
          {"read_json", [](const fs::path& p) { attend::read_json(p); }},
          {"SafeTensors", [](const fs::path& p) { attend::SafeTensors file(p); }},
          {"tokenizer.json", [](const fs::path& p) { Tokenizer::open(p); }},
          {"vocab.json",
           [=](const fs::path& p) {
             Tokenizer::from_vocab_and_merges(p, merges);
             (void)scratch;
           }},
          {"merges.txt",
           [=](const fs::path& p) {
             Tokenizer::from_vocab_and_merges(vocab, p);
             (void)scratch;
           }},
          {"vocab.txt", [](const fs::path& p) { attend::text::Vocabulary::from_lines(p); }},
          {"pieces", [](const fs::path& p) { attend::text::read_sentencepiece(p); }}};
}

TEST(Files, AreNamedInTheErrorWhenTheyAreNotThere) {
  const Folder folder;
  for (const auto& [name, read] : readers()) {
    EXPECT_THAT(error_of([&, &read = read] { read(folder.path() / "absent"); }), HasSubstr("absent")) << name;
    EXPECT_THAT(error_of([&, &read = read] { read(folder.path() / "no_folder" / "absent"); }),
                HasSubstr("no_folder"))
        << name;
    EXPECT_THAT(error_of([&, &read = read] { read(""); }), testing::Not(testing::IsEmpty())) << name;
  }
  EXPECT_THAT(error_of([&] { Tokenizer::open(folder.path()); }), HasSubstr("no tokenizer.json"));
  EXPECT_THAT(error_of([&] { attend::SafeTensors::open_folder(folder.path() / "no_folder"); }),
              HasSubstr("no_folder"));
}

TEST(Files, ThatAreFoldersAreErrors) {
  const Folder folder;
  fs::create_directories(folder.path() / "inner");
  for (const auto& [name, read] : readers())
    EXPECT_THAT(error_of([&, &read = read] { read(folder.path() / "inner"); }), HasSubstr("inner")) << name;
  fs::create_directories(folder.path() / "tokenizer.json");
  EXPECT_THAT(error_of([&] { Tokenizer::open(folder.path()); }), HasSubstr("tokenizer.json"));
}

#if defined(__unix__) || defined(__APPLE__)
TEST(Files, ThatArePipesOrDevicesAreErrorsAndNotWaitedFor) {
  const Folder folder;
  const fs::path pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const auto& [name, read] : readers()) {
    EXPECT_THAT(error_of([&, &read = read] { read(pipe); }), HasSubstr("not a regular file")) << name;
    EXPECT_THAT(error_of([&, &read = read] { read("/dev/zero"); }), HasSubstr("not a regular file")) << name;
  }
}
#endif

TEST(Files, ThatAreEmptyAreErrorsExceptMerges) {
  const Folder folder;
  const fs::path empty = folder.write("empty", "");
  for (const auto& [name, read] : readers()) {
    if (name == "merges.txt")
      EXPECT_NO_THROW(read(empty));
    else
      EXPECT_THAT(error_of([&, &read = read] { read(empty); }), HasSubstr("empty")) << name;
  }
}

TEST(Files, LinesComeWholeWhateverTheirLength) {
  const Folder folder;
  std::string text;
  std::vector<std::string> expected;
  for (std::size_t size : {0, 1, 65'535, 65'536, 65'537, 200'000, 0, 3}) {
    expected.emplace_back(size, static_cast<char>('a' + expected.size()));
    text += expected.back() + "\n";
  }
  for (const bool final_newline : {true, false}) {
    const fs::path path = folder.write("lines", final_newline ? text : text.substr(0, text.size() - 1));
    std::vector<std::string> lines;
    std::size_t at = 0;
    attend::for_each_line(path, [&](std::string_view line, std::size_t offset) {
      EXPECT_EQ(offset, at);
      at += line.size() + 1;
      lines.emplace_back(line);
    });
    EXPECT_EQ(lines, expected);
  }
}

TEST(Vocabulary, KeepsTokensOfAnyLengthAndIdsInAnyOrder) {
  Vocabulary vocabulary;
  std::vector<std::string> tokens{
      "", "a", std::string("\0", 1), std::string(127, 'b'), std::string(128, 'c'), std::string(20'000, 'd')};
  for (int i = 0; i < 1000; ++i) tokens.push_back("token" + std::to_string(i));
  for (std::size_t i = tokens.size(); i-- > 0;)
    vocabulary.add(tokens[i], static_cast<std::int32_t>(3 * i), "here");
  EXPECT_EQ(vocabulary.size(), 3 * tokens.size() - 2);
  EXPECT_EQ(vocabulary.longest(), 20'000u);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    EXPECT_EQ(vocabulary.token(static_cast<std::int32_t>(3 * i)), tokens[i]);
    EXPECT_EQ(vocabulary.id(tokens[i]), static_cast<std::int32_t>(3 * i));
    EXPECT_FALSE(vocabulary.contains(static_cast<std::int32_t>(3 * i) + 1));
  }
  EXPECT_FALSE(vocabulary.id("token1000"));
  EXPECT_FALSE(Vocabulary().id(""));
  for (std::int32_t id : {-1, 1, 100'000, 2147483647})
    EXPECT_THAT(error_of([&] { vocabulary.token(id); }), HasSubstr(std::to_string(id)));
  EXPECT_THAT(error_of([&] { vocabulary.add("a", 7, "here"); }), HasSubstr("here: token \"a\" has two ids"));
  EXPECT_THAT(error_of([&] { vocabulary.add("new", 3, "here"); }), HasSubstr("one id, 3"));
  EXPECT_THAT(error_of([&] { vocabulary.add("new", -3, "here"); }), HasSubstr("-3"));
}

TEST(Vocabulary, OfEqualLinesTheLastCountsAndAllHaveTheirText) {
  const Folder folder;
  std::string text = "a\n\nb \r\na\n\n";
  for (int i = 0; i < 100; ++i) text += "x" + std::to_string(i % 10) + "\n";
  const Vocabulary vocabulary = Vocabulary::from_lines(folder.write("vocab.txt", text));
  EXPECT_EQ(vocabulary.size(), 105u);
  EXPECT_EQ(vocabulary.id("a"), 3);
  EXPECT_EQ(vocabulary.id(""), 4);
  EXPECT_EQ(vocabulary.id("b"), 2);
  EXPECT_EQ(vocabulary.id("x7"), 102);
  EXPECT_EQ(vocabulary.token(0), "a");
  EXPECT_EQ(vocabulary.token(5), "x0");
}

TEST(Bpe, OfAMergeThatIsThereTwiceTheLaterRankCounts) {
  const Folder folder;
  const fs::path vocab = folder.write("vocab.json", R"({"a":0,"b":1,"c":2,"ab":3,"bc":4})");
  EXPECT_EQ(Tokenizer::from_vocab_and_merges(vocab, folder.write("1", "a b\nb c\n")).encode("abc"),
            (Ids{3, 2}));
  EXPECT_EQ(Tokenizer::from_vocab_and_merges(vocab, folder.write("2", "a b\nb c\na b\n")).encode("abc"),
            (Ids{0, 4}));
}

/// A tokenizer of words a and b, with other parts.
Tokenizer words(const Json& parts, const Json& added = Json::array()) {
  Json json = {
      {"model", {{"type", "WordLevel"}, {"unk_token", "[UNK]"}, {"vocab", {{"a", 0}, {"[UNK]", 1}}}}},
      {"added_tokens", added}};
  json.update(parts);
  return Tokenizer::from_json(json.dump(), "tokenizer.json");
}
Json replace(const char* from, const std::string& to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

TEST(Tokenizer, ATextThatItsStepsGrowWithoutEndIsAnError) {
  const Json doubled = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  Json steps = doubled;
  for (int i = 0; i < 36; ++i) steps["normalizers"].push_back(replace("a", "aa"));
  const Json token = {{"id", 2}, {"content", "aaaa"}, {"normalized", true}};
  EXPECT_THAT(error_of([&] {
                words({{"normalizer", steps}}, Json::array({token}));
              }),
              HasSubstr("grows to more than"));
  const auto tokenizer = words({{"normalizer", steps}});
  EXPECT_THAT(error_of([&] { tokenizer.encode("a"); }), HasSubstr("grows to more than"));
  EXPECT_THAT(error_of([&] {
                words({{"normalizer", replace("a", std::string(100'000, 'b'))}}).encode("a");
              }),
              HasSubstr("grows"));
  Json bytes = {{"type", "Sequence"}, {"pretokenizers", Json::array()}};
  for (int i = 0; i < 40; ++i) bytes["pretokenizers"].push_back({{"type", "ByteLevel"}});
  EXPECT_THAT(error_of([&] { words({{"pre_tokenizer", bytes}}).encode("\xC3\xA9"); }), HasSubstr("grows"));
  Json decoders = {{"type", "Sequence"}, {"decoders", Json::array()}};
  for (int i = 0; i < 36; ++i) decoders["decoders"].push_back(replace("a", "aa"));
  EXPECT_THAT(error_of([&] { words({{"decoder", decoders}}).decode(Ids{0}); }), HasSubstr("grows"));
}

TEST(Tokenizer, WhatUnicodeItselfGrowsIsNoError) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "\uFDFA";  // 18 characters each
  EXPECT_NO_THROW(words({{"normalizer", {{"type", "NFKD"}}}}).encode(text));
}

TEST(Tokenizer, HasAtMost64StepsAndPatternsThatStaySmall) {
  Json many = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  for (int i = 0; i < 63; ++i) many["normalizers"].push_back({{"type", "NFC"}});
  EXPECT_NO_THROW(words({{"normalizer", many}}));
  many["normalizers"].push_back({{"type", "NFC"}});
  EXPECT_THAT(error_of([&] { words({{"normalizer", many}}); }), HasSubstr("more than 64 steps"));
  const auto split = [](const std::string& pattern) {
    return words({{"pre_tokenizer",
                   {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}}}});
  };
  for (const std::string& pattern :
       {std::string("(((ab){9}){9}){9}"), std::string(100'000, 'a'), std::string(100'000, '(')})
    EXPECT_THAT(error_of([&] { split(pattern); }), HasSubstr("pattern")) << pattern.substr(0, 20);
  EXPECT_THAT(error_of([&] { split("(a+)+$").encode(std::string(5000, 'a') + "b"); }), HasSubstr("gave up"));
}

TEST(Tokenizer, WrongTypesInTheFilesOfAFolderAreErrors) {
  const Folder folder;
  folder.write("vocab.json", R"({"a":0,"b":1,"ab":2})");
  folder.write("merges.txt", "a b\n");
  const auto error = [&](const char* name, const std::string& content) {
    folder.write(name, content);
    const std::string text = error_of([&] { Tokenizer::open(folder.path()); });
    fs::remove(folder.path() / name);
    return text;
  };
  EXPECT_THAT(error("tokenizer_config.json", R"({"added_tokens_decoder":{"0":{"content":5}}})"),
              HasSubstr("'content' expected a string, got 5"));
  EXPECT_THAT(error("tokenizer_config.json", R"({"added_tokens_decoder":{"0":5}})"),
              HasSubstr("expected an object"));
  EXPECT_THAT(error("tokenizer_config.json", R"({"added_tokens_decoder":{"x":{"content":"y"}}})"),
              HasSubstr("\"x\" is not an id"));
  EXPECT_THAT(error("tokenizer_config.json", R"({"added_tokens_decoder":[]})"),
              HasSubstr("expected an object"));
  EXPECT_THAT(error("tokenizer_config.json", R"({"bos_token":5})"),
              HasSubstr("'bos_token' expected a string"));
  EXPECT_THAT(error("tokenizer_config.json", R"({"bos_token":{"content":[]}})"),
              HasSubstr("'content' expected a string"));
  EXPECT_THAT(error("tokenizer_config.json", R"({"tokenizer_class":5})"),
              HasSubstr("'tokenizer_class' expected a string"));
  EXPECT_THAT(error("tokenizer_config.json", "[]"), HasSubstr("expected an object"));
  EXPECT_THAT(error("tokenizer_config.json", std::string(200'000, '[')), HasSubstr("nested more than 64"));
  EXPECT_THAT(error("added_tokens.json", R"({"<x>":"1"})"), HasSubstr("'<x>' expected an integer"));
  folder.write("added_tokens.json", R"({"<x>":4000000, "<y>":9})");  // their order, not their ids
  const Tokenizer added = Tokenizer::open(folder.path());
  EXPECT_EQ(*added.token_to_id("<x>"), *added.token_to_id("<y>") + 1);
  EXPECT_LT(*added.token_to_id("<x>"), 10);
  fs::remove(folder.path() / "added_tokens.json");
  EXPECT_THAT(error("special_tokens_map.json", "{}{}"), HasSubstr("special_tokens_map.json: byte"));
  EXPECT_THAT(error("config.json", R"({"model_type":[]})"), HasSubstr("'model_type' expected a string"));
}

TEST(Tokenizer, TextsOfAnyBytesEncodeAndIdsOfNoTokenAreErrors) {
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte)
    vocab[attend::text::bytes_to_characters(std::string(1, static_cast<char>(byte)))] = byte;
  const Json json = {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}},
                     {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                     {"decoder", {{"type", "ByteLevel"}}}};
  const auto tokenizer = Tokenizer::from_json(json.dump(), "x");
  EXPECT_TRUE(tokenizer.encode("").empty());
  EXPECT_EQ(tokenizer.decode({}), "");
  for (const std::string& text :
       {std::string("\0", 1), std::string("a\0b\0\0", 5), std::string("\xff\xfe"), std::string("\xe4\xbd"),
        std::string(1'000'000, 'a'), std::string(1'000'000, ' '), std::string(300'000, '\0')})
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), attend::text::to_valid_utf8(text)) << text.size();
  for (std::int32_t id : {-1, 256, 2147483647, -2147483647 - 1})
    EXPECT_THAT(error_of([&] { tokenizer.decode(Ids{0, id}); }), HasSubstr(std::to_string(id)));
}

TEST(SentencePiece, FilesThatAreNoneAreErrors) {
  const Folder folder;
  const auto error = [&](const std::string& bytes) {
    folder.write("x.spm", bytes);
    return error_of([&] { Tokenizer::open(folder.path() / "x.spm"); });
  };
  // A piece "a\0b"; a number, a length and a map of characters that are cut off; a map whose trie leads out
  // of itself.
  const std::string map("\x04\0\0\0\0\x04\x7f\0x\0", 10);
  for (const std::string& bytes : {std::string("\x0a\x05\x0a\x03"
                                               "a\0b",
                                               7),
                                   std::string("\x0a\xff"),
                                   std::string("\x0a\x7f"
                                               "a"),
                                   std::string("\x0b"),
                                   std::string("\x1a\x04\x12\x02"
                                               "ab"),
                                   "\x1a\x0c\x12\x0a" + map, std::string("\0", 1), std::string()})
    EXPECT_THAT(error(bytes), HasSubstr("not a SentencePiece model"));
}

TEST(SafeTensors, FieldsAreEachThereOnce) {
  const Folder folder;
  const auto error = [&](const std::string& header) {
    std::string bytes(8, '\0');
    for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
    folder.write("x.safetensors", bytes + header);
    return error_of([&] { attend::SafeTensors file(folder.path() / "x.safetensors"); });
  };
  const std::string empty = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  EXPECT_THAT(error(R"({"a":)" + empty + R"(,"b":)" + empty + R"(,"a":)" + empty + "}"),
              HasSubstr("duplicate name 'a'"));
  EXPECT_THAT(error(R"({"__metadata__":{},"a":)" + empty + R"(,"__metadata__":{}})"),
              HasSubstr("duplicate name '__metadata__'"));
  EXPECT_THAT(error(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
              HasSubstr("duplicate key 'dtype'"));
  std::string axes = "0";
  for (int i = 0; i < 64; ++i) axes += ",0";
  EXPECT_THAT(error(R"({"a":{"dtype":"U8","shape":[)" + axes + R"(],"data_offsets":[0,0]}})"),
              HasSubstr("axis number 65"));
}

}  // namespace
