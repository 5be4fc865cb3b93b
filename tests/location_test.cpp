// Location: a folder on disk and the same files in memory give the same objects, and errors that say what to
// do.
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <attend/core/file.hpp>
#include <attend/core/location.hpp>
#include <attend/io/safetensors_writer.hpp>
#include <attend/io/state_dict.hpp>
#include <attend/json/json.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/causal_lm.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/modernbert.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/seq2seq_families.hpp>
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

/// What `open` makes of a folder on disk and in memory is the same: names, values, and what `run` makes of
/// it.
template <class Open, class Run>
void expect_same(const fs::path& folder, Open&& open, Run&& run) {
  const attend_test::Folder scratch;
  const auto on_disk = open(Location(folder));
  const auto in_memory = open(Location(files_of(folder)));
  save(on_disk, scratch / "disk");
  save(in_memory, scratch / "memory");
  EXPECT_GT(bytes_of(scratch / "disk").size(), 1000u);
  EXPECT_EQ(bytes_of(scratch / "disk"), bytes_of(scratch / "memory"));
  const auto a = run(on_disk), b = run(in_memory);
  EXPECT_THAT(b.span(), testing::ElementsAreArray(a.span()));
}

TEST(Location, EveryModelFromMemoryIsThatFromDisk) {
  const std::vector<std::int32_t> ids{3, 5, 7, 4};
  const TensorView<const std::int32_t, 2> batch(ids.data(), {1, 4});
  Index count = 0;
  for (const auto& entry : fs::directory_iterator(model_folder(""))) {
    const fs::path& folder = entry.path();
    if (!fs::exists(folder / "about.json")) continue;
    SCOPED_TRACE(folder.string());
    ++count;
    const std::string kind = read_json(folder / "about.json")["kind"];
    if (folder.filename() == "modernbert") {
      expect_same(
          folder, [](const Location& at) { return ModernBertModel<float>::open(at); },
          [&](const auto& model) { return model(ids); });
    } else if (kind == "encoder" || kind == "classifier") {
      expect_same(
          folder, [](const Location& at) { return BertModel<float>::open(at); },
          [&](const auto& model) { return kind == "encoder" ? model(ids) : model.logits(ids); });
    } else if (kind == "decoder") {
      expect_same(
          folder, [](const Location& at) { return CausalLM<float>::open(at); },
          [&](const auto& model) { return model.logits(batch); });
    } else {
      ASSERT_EQ(kind, "seq2seq");
      expect_same(
          folder, [](const Location& at) { return open_seq2seq<float>(at); },
          [&](const auto& model) { return model.encode(batch); });
    }
  }
  EXPECT_GT(count, 35);
}

TEST(Location, EveryTokenizerAndGgufFileFromMemoryIsThatFromDisk) {
  const std::string text = "The Cat's \u00e9t\u00e9  12\n<s> \u65e5\u672c \xff";
  const auto expect_same_tokens = [&](const Location& disk, const Location& memory) {
    SCOPED_TRACE(disk.string());
    const auto a = text::Tokenizer::open(disk), b = text::Tokenizer::open(memory);
    const text::Encoding x = a.encode_pair(text, "a", {.offsets = true}),
                         y = b.encode_pair(text, "a", {.offsets = true});
    EXPECT_EQ(x.ids, y.ids);
    EXPECT_EQ(x.offsets, y.offsets);
    EXPECT_EQ(a.decode(x.ids), b.decode(y.ids));
  };
  for (const auto& entry : fs::directory_iterator(model_folder("tokenizers")))
    expect_same_tokens(entry.path(), files_of(entry.path()));
  for (const auto& entry : fs::directory_iterator(fs::path(ATTEND_SOURCE_DIR) / "tests/gguf")) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".gguf") continue;
    const Files files{{name, bytes_of(entry.path())}};
    const SafeTensors disk_file(entry.path()), memory_file(Location(files) / name);
    EXPECT_EQ(disk_file.names(), memory_file.names());
    for (const std::string& tensor : disk_file.names())
      EXPECT_EQ(
          std::memcmp(disk_file.at(tensor).data, memory_file.at(tensor).data, disk_file.at(tensor).size), 0);
    if (name != "stories.gguf" && name != "byte_level_bpe.gguf" && name != "pieces.gguf") continue;
    expect_same_tokens(entry.path(), Location(files) / name);
    if (name != "stories.gguf") continue;
    Context context;
    const std::string disk =
        TextGenerator::open(entry.path()).generate(context, "Once", {.max_new_tokens = 9}).text;
    EXPECT_EQ(
        TextGenerator::open(Location(files) / name).generate(context, "Once", {.max_new_tokens = 9}).text,
        disk);
    EXPECT_GT(disk.size(), 9u);
  }
}

TEST(Location, ATemplateSettingsAndShardsFromMemoryAreThoseFromDisk) {
  const attend_test::Folder folder;
  for (const auto& [name, bytes] : files_of(model_folder("stories"))) folder.write(name, bytes);
  fs::remove(folder / "model.safetensors");
  const SafeTensors whole(model_folder("stories") / "model.safetensors");
  Json map = Json::object();
  std::vector<NamedTensor> shards[2];
  for (const std::string& name : whole.names()) {
    const SafeTensors::Entry& entry = whole.at(name);
    std::vector<NamedTensor>& shard = shards[map.size() % 2];
    map[name] = &shard == shards ? "a.safetensors" : "b.safetensors";
    shard.emplace_back(name, entry.dtype, entry.shape, std::span(entry.data, entry.size));
  }
  save_safetensors(folder / "a.safetensors", shards[0]);
  save_safetensors(folder / "b.safetensors", shards[1]);
  folder.write("model.safetensors.index.json", Json{{"weight_map", map}}.dump());
  folder.write("chat_template.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
  folder.write("generation_config.json", R"({"max_new_tokens": 7, "repetition_penalty": 1.5})");
  const Files files = files_of(folder.path);
  Context context;
  auto disk = TextGenerator::open(folder.path), memory = TextGenerator::open(files);
  EXPECT_EQ(disk.generate(context, "Once").ids, memory.generate(context, "Once").ids);
  EXPECT_EQ(memory.generate(context, "Once").ids.size(), 7u);
  EXPECT_NE(
      memory.generate(context, "Once upon").ids,
      TextGenerator::open(model_folder("stories")).generate(context, "Once upon", {.max_new_tokens = 7}).ids);
  EXPECT_EQ(text::ChatTemplate::open(files).render(R"([{"content": "x"}])"), "x");
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
  for (const char* end : {"safetensors", "bin"})
    EXPECT_THAT(error({{"config.json", config}, {std::string("adapter_model.") + end, "x"}}),
                HasSubstr("peft"));
  EXPECT_THAT(error({{"config.json", config}, {"openvino/openvino_model.bin", "x"}}),
              AllOf(HasSubstr("openvino/openvino_model.bin is there"), HasSubstr("that this was made of")));
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
