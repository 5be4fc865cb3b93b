// Location: a folder on disk and the same files in memory give the same objects, and errors that say what to
// do.
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <attend/core/file.hpp>
#include <attend/core/location.hpp>
#include <attend/io/state_dict.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/text_generator.hpp>
#include <attend/model/translator.hpp>

#include "support.hpp"

namespace {

using namespace attend;
using attend_test::bytes_of;
using attend_test::error_of;
using attend_test::model_folder;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
using testing::UnorderedElementsAre;
namespace fs = std::filesystem;

using attend_test::Files, attend_test::files_of;

TEST(Location, ReadsBytesOfAMapWhereTheyLie) {
  const Files files{{"a.txt", "one\ntwo"}, {"./sub//b.bin", "\x01\x02"}, {"sub/deep/c", ""}};
  const Location root(files);
  EXPECT_EQ(read_file(root / "a.txt"), "one\ntwo");
  EXPECT_EQ(detail::MappedFile(root / "a.txt").bytes().data(),
            reinterpret_cast<const std::byte*>(files.at("a.txt").data()));
  EXPECT_EQ(read_file(root / "sub" / "b.bin"), "\x01\x02");
  EXPECT_EQ(read_file(root / "sub/./b.bin"), "\x01\x02");
  EXPECT_EQ(read_file((root / "sub" / "b.bin").parent() / "deep" / "c"), "");
  std::vector<std::string> lines;
  for_each_line(root / "a.txt", [&](std::string_view line, std::size_t) { lines.emplace_back(line); });
  EXPECT_THAT(lines, testing::ElementsAre("one", "two"));
  EXPECT_TRUE((root / "").is_folder());
  EXPECT_TRUE((root / "sub").is_folder());
  EXPECT_TRUE((root / "sub/deep").exists());
  EXPECT_FALSE((root / "su").exists());
  EXPECT_FALSE((root / "a.txt").is_folder());
  EXPECT_THAT((root / "sub").names(), UnorderedElementsAre("b.bin"));
  EXPECT_THAT(error_of([&] { read_file(root / "no"); }), StartsWith("no: is not among the files in memory"));
  const std::map<std::string, std::vector<std::byte>> others{{"x", {std::byte{7}}}};
  EXPECT_EQ(read_file(Location(others) / "x"), "\x07");
}

TEST(Location, SentenceEncoderFromMemoryIsThatFromDisk) {
  for (const auto& entry : fs::directory_iterator(model_folder("sentence_transformers"))) {
    if (entry.path().filename().string().starts_with("cross_encoder")) continue;
    SCOPED_TRACE(entry.path().string());
    const std::vector<std::string> texts{"the cat", "a dog sat there"};
    const auto on_disk = SentenceEncoder::open(entry.path());
    const auto in_memory = [&] {
      const Files files = files_of(entry.path());  // may go once it is open
      return SentenceEncoder::open(files);
    }();
    const Tensor<float, 2> a = on_disk.encode(texts), b = in_memory.encode(texts);
    EXPECT_THAT(b.span(), testing::ElementsAreArray(a.span()));
  }
}

TEST(Location, CrossEncoderAndGeneratorFromMemoryAreThoseFromDisk) {
  const fs::path folder = model_folder("sentence_transformers") / "cross_encoder";
  EXPECT_EQ(CrossEncoder::open(files_of(folder)).score("the cat", "a dog")[0],
            CrossEncoder::open(folder).score("the cat", "a dog")[0]);
  const fs::path stories = model_folder("stories");
  Context context;
  EXPECT_EQ(TextGenerator::open(files_of(stories)).generate(context, "Once", {.max_new_tokens = 20}).text,
            TextGenerator::open(stories).generate(context, "Once", {.max_new_tokens = 20}).text);
}

TEST(Location, ShardsAreReadFromMemory) {
  const attend_test::Folder folder;
  Linear<float> layer({.in_features = 2, .out_features = 2});
  attend_test::fill_parameters<float>(layer);
  save(layer, folder / "one.safetensors");
  const Files files{{"one.safetensors", bytes_of(folder / "one.safetensors")},
                    {"model.safetensors.index.json",
                     R"({"weight_map": {"weight": "one.safetensors", "bias": "one.safetensors"}})"}};
  Linear<float> loaded({.in_features = 2, .out_features = 2});
  load(loaded, SafeTensors::open_folder(files));
  const Tensor<float, 2> x({1, 2}, {1, 2});
  const Tensor<float, 2> a = layer(x), b = loaded(x);
  EXPECT_THAT(b.span(), testing::ElementsAreArray(a.span()));
  EXPECT_THAT(error_of([&] {
                SafeTensors::open_folder(Files{{"a", ""}});
              }),
              HasSubstr("files in memory: has neither model.safetensors nor"));
}

TEST(Location, ErrorsSayWhatIsWrongWithAFolder) {
  const attend_test::Folder folder;
  const std::string there = folder.path.string();
  EXPECT_THAT(error_of([&] { BertModel<float>::open(folder / "no"); }),
              AllOf(StartsWith(there), HasSubstr("/no: there is no such folder")));
  const fs::path file = folder.write("config.json", "{}");
  for (const auto& open : std::vector<std::function<void()>>{
           [&] { BertModel<float>::open(file); }, [&] { SentenceEncoder::open(file); },
           [&] { CrossEncoder::open(file); }, [&] { TextGenerator::open(file); },
           [&] { Translator::open(file); }})
    EXPECT_THAT(error_of(open), HasSubstr("config.json: a file, where a folder is expected"));
}

TEST(Location, OtherFormatsAreNamedWithTheWayToConvertThem) {
  const std::string config = bytes_of(model_folder("bert") / "config.json");
  const auto error = [&](const Files& files) { return error_of([&] { BertModel<float>::open(files); }); };
  EXPECT_THAT(error({{"config.json", config}, {"pytorch_model.bin", "x"}}),
              AllOf(HasSubstr("neither model.safetensors nor"), HasSubstr("pytorch_model.bin is there"),
                    HasSubstr("save_pretrained")));
  EXPECT_THAT(
      error({{"config.json", config}, {"onnx/model.onnx", "x"}}),
      AllOf(HasSubstr("onnx/model.onnx is there"), HasSubstr("needs the folder that this was made of")));
  EXPECT_THAT(error({{"config.json", config}, {"adapter_model.safetensors", "x"}}), HasSubstr("peft"));
  EXPECT_THAT(
      error({{"README.md", ""}, {"tiny.Q8_0.gguf", "x"}}),
      AllOf(HasSubstr("config.json: is missing"), HasSubstr("tiny.Q8_0.gguf is there: open that file")));
  EXPECT_THAT(error({{"README.md", ""}}), testing::EndsWith("config.json: is missing"));
}

TEST(Location, AGitLfsPointerIsNamedAsOne) {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 90868376\n";
  const attend_test::Folder folder;
  for (const char* name : {"config.json", "model.safetensors", "vocab.txt", "tokenizer.model"}) {
    const fs::path file = folder.write(name, pointer);
    const Files files{{name, pointer}};
    for (const Location& one : {Location(file), Location(files) / name})
      EXPECT_THAT(error_of([&] { detail::InputFile opened(one); }),
                  AllOf(HasSubstr(name), HasSubstr("Git-LFS pointer"), HasSubstr("git lfs pull")));
  }
  Files files = files_of(model_folder("bert"));
  files["model.safetensors"] = pointer;
  EXPECT_THAT(error_of([&] { BertModel<float>::open(files); }), HasSubstr("Git-LFS pointer"));
  EXPECT_EQ(read_file(folder.write("short.txt", "version 1")), "version 1");
}

}  // namespace
