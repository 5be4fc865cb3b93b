// Files that try what a reader may have forgotten: names that end early, numbers that only look small, and
// errors that should say which file they are about.
#include "support.hpp"

#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/resource.h>
#include <csignal>
#endif

#include <attend/io/config.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/json/json.hpp>
#include <attend/model/causal_families.hpp>
#include <attend/model/modernbert.hpp>
#include <attend/model/seq2seq_families.hpp>
#include <attend/model/translator.hpp>
#include <attend/text/character_vocabulary.hpp>
#include <attend/text/tokenizer.hpp>

namespace {
namespace fs = std::filesystem;
using namespace attend;
using attend_test::error_of;
using testing::HasSubstr;

class Folder {
 public:
  Folder() { fs::create_directories(path_); }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const fs::path& path() const { return path_; }
  fs::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }
  fs::path write_tensors(const std::string& name, std::string header) const {
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const std::uint64_t size = header.size();
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &size, 8);
    return write(name, bytes + header);
  }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path_), fs::directory_iterator()));
  }

 private:
  fs::path path_ = fs::temp_directory_path() /
                   ("attend_hostile_" + std::to_string(reinterpret_cast<std::uintptr_t>(this)) + "_" +
                    testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST(HostileFiles, ANameDoesNotEndAtANul) {
  const Folder folder;
  const fs::path good = folder.write("a.json", "{}");
  EXPECT_TRUE(read_json(good).empty());
  EXPECT_THAT(error_of([&] { read_json(fs::path(good.string() + std::string("\0.txt", 5))); }),
              HasSubstr("NUL"));
  folder.write_tensors("a.safetensors", R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})");
  const fs::path index =
      folder.write("model.safetensors.index.json", R"({"weight_map": {"a": "a.safetensors\u0000b"}})");
  EXPECT_THAT(error_of([&] { SafeTensors file(index); }),
              HasSubstr("index.json: shard 'a.safetensors?b' is not the"));
}

TEST(HostileFiles, ATensorOfNoElementsHasOtherSizesThatFitToo) {
  const Folder folder;
  const auto tensor = [&](const std::string& shape) {
    return folder.write_tensors("a.safetensors",
                                R"({"a":{"dtype":"F32","shape":[)" + shape + R"(],"data_offsets":[0,0]}})");
  };
  const std::string most = std::to_string((std::numeric_limits<Index>::max)());
  for (const std::string& shape : {"0," + most + "," + most, most + ",0," + most, most + "," + most + ",0"})
    EXPECT_THAT(error_of([&] { SafeTensors file(tensor(shape)); }), HasSubstr("a.safetensors: byte 12"));
  const SafeTensors file(tensor("268435456,0,268435456"));
  EXPECT_TRUE((file.view<float, 3>("a").empty()));
  EXPECT_TRUE((file.read<float, 3>("a").empty()));
}

TEST(HostileFiles, ErrorsOfConfigsNameTheFileAndTheKey) {
  const auto config = [](const char* text) { return Config(text, "folder/config.json"); };
  const std::string llama =
      R"({"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
          "num_attention_heads": 2, )";
  EXPECT_THAT(error_of([&] {
                read_causal_family(config((llama + R"("rope_scaling": {"rope_type": "magic"}})").c_str()));
              }),
              HasSubstr("folder/config.json: 'rope_scaling.rope_type' \"magic\""));
  EXPECT_THAT(error_of([&] {
                read_seq2seq_family(config(R"({"model_type": "t5", "d_model": 8, "num_heads": 2, "d_kv": 4,
                  "d_ff": 8, "num_layers": 1, "vocab_size": 8, "feed_forward_proj": "gated-magic"})"));
              }),
              HasSubstr("folder/config.json: 'feed_forward_proj' \"gated-magic\""));
}

TEST(HostileFiles, AModelOfTooManyLayersIsRefusedAtOnce) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(
      error_of([&] {
        read_modernbert_options(Config(R"({"model_type": "modernbert", "vocab_size": 8, "hidden_size": 8,
                      "intermediate_size": 8, "num_hidden_layers": 2147483647, "num_attention_heads": 2})",
                                       "config.json"));
      }),
      HasSubstr("config.json: 2147483647 layers"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

TEST(HostileFiles, AnAddedTokenThatGrowsTooFarIsNamed) {
  const Folder folder;
  const fs::path file = folder.write("tokenizer.json", R"({"model": {"type": "WordLevel", "vocab": {"a": 0}},
      "normalizer": {"type": "Replace", "pattern": {"String": "x"}, "content": "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"},
      "added_tokens": [{"id": 1, "content": "b"}, {"id": 2, "content": "xxxxxxxxxxxx"}]})");
  EXPECT_THAT(error_of([&] { text::Tokenizer::open(file); }),
              HasSubstr("tokenizer.json.added_tokens[1]: tokenizer: a text grows"));
}

TEST(HostileFiles, ATranslatorReadsNothingOutsideItsFolder) {
  const Folder folder;
  for (const std::string name : {"/etc/hostname", "../x.json", "", ".", "a\\\\b"}) {
    folder.write("config.json",
                 R"({"model_type": "attend", "tokenizer": {"kind": "characters", "source_vocabulary": ")" +
                     name +
                     R"(", "target_vocabulary": "t.json", "target_start": "<s>", "target_end": "</s>"}})");
    EXPECT_THAT(error_of([&] { Translator::open(folder.path()); }),
                HasSubstr("is not the name of a file in the same folder"))
        << name;
  }
}

TEST(HostileFiles, ALongTokenDoesNotMakeACharacterVocabularySlow) {
  const Folder folder;
  const fs::path file =
      folder.write("v.json", "[\"<unk>\", \"ab\", \"a\", \"" + std::string(200'000, 'a') + "b\"]");
  const attend::text::CharacterVocabulary vocabulary(file, "<unk>");
  EXPECT_EQ(vocabulary.encode("abaxxa"), (std::vector<std::int32_t>{1, 2, 0, 0, 2}));
  const auto begin = std::chrono::steady_clock::now();
  vocabulary.encode(std::string(3'000, 'a') + "b");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

#if defined(__linux__)
TEST(SafeTensorsWriter, LeavesNothingBehindWhereItsConstructorFails) {
  const Folder folder;
  std::vector<SafeTensorsWriter::Info> infos;
  for (int i = 0; i < 5000; ++i) infos.push_back({"tensor" + std::to_string(i), DType::F32, {0}});
  const auto open_files = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  const auto before = open_files();
  const auto ignore = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{8192, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error =
      error_of([&] { SafeTensorsWriter writer(folder.path() / "a.safetensors", infos); });
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, ignore);
  EXPECT_THAT(error, HasSubstr("a.safetensors: cannot write"));
  EXPECT_EQ(folder.files(), 0u);
  EXPECT_EQ(open_files(), before);
}
#endif

TEST(SafeTensorsWriter, IsDoneAfterItsCommit) {
  const Folder folder;
  SafeTensorsWriter writer(folder.path() / "a.safetensors", {});
  writer.commit();
  EXPECT_THAT(error_of([&] { writer.commit(); }), HasSubstr("is written already"));
  EXPECT_EQ(SafeTensors(folder.path() / "a.safetensors").entries().size(), 0u);
}

}  // namespace
