// GGUF files against the folders that they were made of, and broken ones. tests/gguf/make.py made them.
#include "support.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/gguf/gguf.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/json/json.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/text_generator.hpp>
#include <attend/text/byte_level.hpp>
#include <attend/text/chat_template.hpp>

namespace {
using namespace attend;
using attend_test::bytes_of;
using attend_test::error_of;
using attend_test::Folder;
using attend_test::model_folder;
using testing::HasSubstr;
namespace fs = std::filesystem;

fs::path gguf(const std::string& name) {
  return fs::path(ATTEND_SOURCE_DIR) / "tests" / "gguf" / (name + ".gguf");
}

/// Writes a file, with whatever is wrong with it.
class Writer {
 public:
  template <class T>
  Writer& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Writer& text(std::string_view text) {
    number<std::uint64_t>(text.size());
    bytes_ += text;
    return *this;
  }
  Writer& header(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
    bytes_ += "GGUF";
    return number(version).number(tensors).number(keys);
  }
  Writer& key(std::string_view name, std::string_view value) {
    return text(name).number<std::uint32_t>(8).text(value);
  }
  Writer& key(std::string_view name, std::uint32_t value) {
    return text(name).number<std::uint32_t>(4).number(value);
  }
  Writer& key(std::string_view name, const std::vector<std::string>& values) {
    text(name).number<std::uint32_t>(9).number<std::uint32_t>(8).number<std::uint64_t>(values.size());
    for (const std::string& value : values) text(value);
    return *this;
  }
  Writer& tensor(std::string_view name, const std::vector<std::uint64_t>& sizes, std::uint32_t type,
                 std::uint64_t offset = 0) {
    text(name).number(static_cast<std::uint32_t>(sizes.size()));
    for (std::uint64_t size : sizes) number(size);
    return number(type).number(offset);
  }
  Writer& data(std::size_t size) {
    bytes_.resize((bytes_.size() + 31) / 32 * 32 + size);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// What a program says that opens such a file.
std::string error_of_file(const Writer& writer) {
  const Folder folder;
  return error_of([&] { SafeTensors file(folder.write("a.gguf", writer.bytes())); });
}

TEST(GgufFile, GivesTensorsOfEachTypeAsTheGgufPackageDoes) {
  const SafeTensors file(gguf("types"));
  int types = 0;
  for (const SafeTensors::Entry& entry : file.entries()) {
    if (entry.name.ends_with(".expected")) continue;
    const Tensor<float, 2> got = file.read<float, 2>(entry.name),
                           expected = file.read<float, 2>(entry.name + ".expected");
    EXPECT_EQ(std::string(to_string(entry.dtype)), entry.name);
    EXPECT_EQ(std::memcmp(got.data(), expected.data(), static_cast<std::size_t>(got.numel()) * 4), 0)
        << entry.name;
    std::vector<double> some(70);  // which begin and end inside of blocks
    if (got.numel() < 80) continue;
    file.read_elements(entry, 5, 70, some.data());
    for (Index i = 0; i < 70; ++i)
      EXPECT_EQ(some[static_cast<std::size_t>(i)], static_cast<double>(expected.data()[5 + i]));
    std::vector<std::int32_t> integers(70);
    EXPECT_THAT(error_of([&] { file.read_elements(entry, 0, 70, integers.data()); }),
                HasSubstr("do not fit"));
    EXPECT_THAT(error_of([&] { file.read_elements(entry, got.numel() - 1, 2, some.data()); }),
                HasSubstr("elements"));
    ++types;
  }
  EXPECT_EQ(types, 11);
}

struct Family {
  const char *file, *folder;
  float allowed;  // 0: the same bits
};
class GgufFamily : public testing::TestWithParam<Family> {};
INSTANTIATE_TEST_SUITE_P(All, GgufFamily,
                         testing::Values(Family{"mistral", "mistral", 0}, Family{"qwen2", "qwen2", 0},
                                         Family{"qwen3", "qwen3", 0}, Family{"gemma2", "gemma2", 0},
                                         Family{"gemma3_text", "gemma3_text", 0},
                                         Family{"phi3_longrope", "phi3_longrope", 0},
                                         Family{"stories", "stories", 0},
                                         // Frequencies of the file are rounded to float.
                                         Family{"llama3_rope", "llama3_rope", 2e-5f}),
                         [](const auto& info) { return std::string(info.param.file); });

TEST_P(GgufFamily, GivesTheLogitsOfItsFolder) {
  const CausalLM<float> ours = CausalLM<float>::open(gguf(GetParam().file)),
                        theirs = CausalLM<float>::open(model_folder(GetParam().folder));
  Tensor<std::int32_t, 2> ids({2, 20});
  for (Index i = 0; i < 40; ++i) ids(i / 20, i % 20) = static_cast<std::int32_t>((i * i + 3 * i + 5) % 53);
  const Tensor<float, 3> got = ours.logits(default_context(), ids.view()),
                         expected = theirs.logits(default_context(), ids.view());
  float largest = 0;
  for (Index i = 0; i < got.numel(); ++i)
    largest = (std::max)(largest, std::abs(got.data()[i] - expected.data()[i]));
  EXPECT_LE(largest, GetParam().allowed);
  EXPECT_EQ(ours.max_length(), theirs.max_length());
}

TEST(Gguf, ASentenceEncoderIsThatOfItsFolder) {
  const SentenceEncoder ours = SentenceEncoder::open(gguf("pool_cls")),
                        theirs = SentenceEncoder::open(model_folder("sentence_transformers/pool_cls"));
  const std::vector<std::string> texts{"the cat sat on the mat.", "Older and Colder 2026", "",
                                       "[MASK] café [CLS]"};
  for (const std::string& text : texts) EXPECT_EQ(ours.encode_ids(text), theirs.encode_ids(text)) << text;
  const Tensor<float, 2> got = ours.encode(texts), expected = theirs.encode(texts);
  EXPECT_TRUE(
      std::equal(got.span().begin(), got.span().end(), expected.span().begin(), expected.span().end()));
  EXPECT_NO_THROW(BertModel<float>::open(gguf("pool_cls")));
}

TEST(Gguf, AGeneratorHasTokensTemplateAndSamplingOfItsFile) {
  TextGenerator generator = TextGenerator::open(gguf("stories"));
  const Json cases = read_json(model_folder("stories") / "cases.json");
  for (const Json& one : cases) {
    const auto ids = generator.tokenizer().encode(one["text"].get<std::string>());
    EXPECT_EQ(ids, one["ids"].get<std::vector<std::int32_t>>());
    EXPECT_EQ(generator.tokenizer().decode(one["greedy"].get<std::vector<std::int32_t>>()),
              one["decoded"].get<std::string>());
  }
  const GenerationOptions& options = generator.generation_options();
  EXPECT_EQ(options.temperature, 0.6);
  EXPECT_EQ(options.top_p, 0.95);
  EXPECT_EQ(options.top_k, 20);
  EXPECT_EQ(CausalLM<float>::open(gguf("stories")).options().eos_token_ids, std::vector<std::int32_t>{2});
  const std::vector<ChatMessage> messages{{"user", "the cat"}};
  EXPECT_EQ(generator.chat_template().render(messages), "<s>user: the cat\n");
}

TEST(Gguf, ByteLevelTokensAreThoseOfTheFolder) {
  const text::Tokenizer tokenizer = text::Tokenizer::open(gguf("byte_level_bpe"));
  for (const Json& one : read_json(model_folder("tokenizers/byte_level_bpe") / "cases.json")) {
    const auto ids = tokenizer.encode(one["text"].get<std::string>());
    EXPECT_EQ(ids, one["ids"].get<std::vector<std::int32_t>>()) << one["text"];
    EXPECT_EQ(tokenizer.decode(ids), one["decoded"].get<std::string>());
  }
  EXPECT_EQ(tokenizer.encode("a<|endoftext|>").back(), 330);
}

TEST(Gguf, TextsAreCutIntoWordsAsTheFileSays) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte)
    tokens.push_back(text::bytes_to_characters(std::string(1, static_cast<char>(byte))));
  for (const char* more : {"12", "123", "1234", "aB"}) tokens.emplace_back(more);
  struct {
    const char* pre;
    std::size_t digits, letters;  // how many tokens "1234" and "aB" are
  } const kinds[] = {{"gpt-2", 1, 1}, {"smollm", 4, 1}, {"llama-bpe", 2, 1}, {"dbrx", 2, 1},
                     {"qwen2", 4, 1}, {"tekken", 4, 2}, {"gpt-4o", 2, 2}};
  for (const auto& kind : kinds) {
    const Folder folder;
    Writer writer;
    writer.header(0, 4).key("tokenizer.ggml.model", "gpt2").key("tokenizer.ggml.pre", kind.pre);
    writer.key("tokenizer.ggml.tokens", tokens);
    writer.key("tokenizer.ggml.merges", std::vector<std::string>{"1 2", "12 3", "123 4", "a B"});
    const text::Tokenizer tokenizer = text::Tokenizer::open(folder.write("a.gguf", writer.bytes()));
    EXPECT_EQ(tokenizer.encode("1234").size(), kind.digits) << kind.pre;
    EXPECT_EQ(tokenizer.encode("aB").size(), kind.letters) << kind.pre;
    const std::string text = "Don't  na\u00EFve\r\n\n ?! 12345x\u65E5\t";
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << kind.pre;
  }
}

TEST(Gguf, PiecesAreThoseOfSentencePiece) {
  const text::Tokenizer tokenizer = text::Tokenizer::open(gguf("pieces"));
  for (const Json& one : read_json(gguf("pieces").replace_extension(".json"))) {
    const auto text = one["text"].get<std::string>();
    const auto ids = tokenizer.encode(text);
    EXPECT_EQ(ids, one["ids"].get<std::vector<std::int32_t>>()) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
}

TEST(Gguf, AFileInMemoryIsOneToo) {
  const std::map<std::string, std::string> files{{"a/stories.gguf", bytes_of(gguf("stories"))}};
  const Location file = Location(files) / "a/stories.gguf";
  EXPECT_EQ(CausalLM<float>::open(file).options().embed_dim, 18);
  EXPECT_EQ(text::Tokenizer::open(file).encode("the cat"),
            text::Tokenizer::open(gguf("stories")).encode("the cat"));
}

/// A Llama of one layer whose matrices are of a type, `bytes` a row of 32, each with the scale 1/64.
Writer blocks_of(std::uint32_t type, std::uint64_t bytes) {
  constexpr std::pair<const char*, std::uint64_t> matrices[] = {
      {"token_embd", 40},     {"output", 40},       {"blk.0.attn_q", 32},
      {"blk.0.attn_k", 32},   {"blk.0.attn_v", 32}, {"blk.0.attn_output", 32},
      {"blk.0.ffn_gate", 32}, {"blk.0.ffn_up", 32}, {"blk.0.ffn_down", 32}};
  constexpr const char* norms[] = {"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"};
  Writer out;
  out.header(12, 6)
      .key("general.architecture", "llama")
      .key("llama.context_length", 64)
      .key("llama.embedding_length", 32);
  out.key("llama.block_count", 1).key("llama.feed_forward_length", 32).key("llama.attention.head_count", 2);
  std::uint64_t at = 0;
  const auto add = [&](const std::string& name, const std::vector<std::uint64_t>& sizes,
                       std::uint32_t its_type, std::uint64_t size) {
    out.tensor(name + ".weight", sizes, its_type, at);
    at += (size + 31) / 32 * 32;
  };
  for (const auto& [name, rows] : matrices) add(name, {32, rows}, type, rows * bytes);
  for (const char* name : norms) add(name, {32}, 0, 128);
  out.data(0);
  unsigned number = 1;
  for (const auto& [name, rows] : matrices) {
    for (std::uint64_t row = 0; row < rows; ++row) {
      out.number<std::uint16_t>(0x2400);  // 1 / 64
      for (std::uint64_t i = 2; i < bytes; ++i)
        out.number(static_cast<std::uint8_t>((number = number * 1103515245u + 12345u) >> 20));
    }
    out.data(0);
  }
  for (std::size_t i = 0; i < 3; ++i)
    for (int e = 0; e < 32; ++e) out.number(1.0f);
  return out;
}

TEST(Gguf, BlocksOfQ8AndQ4AreKeptAsTheyAre) {
  for (const bool eight : {true, false}) {
    const std::size_t bytes = eight ? 34 : 18;
    const WeightType type = eight ? WeightType::int8 : WeightType::int4;
    const Folder folder;
    const fs::path path = folder.write("a.gguf", blocks_of(eight ? 8 : 2, bytes).bytes());
    const CausalLM<float> model = CausalLM<float>::open(path, {.weights = {}});
    const SafeTensors file(path);
    const auto encoded = [&](const std::string& name, const Parameter<const float>& parameter) {
      EXPECT_EQ(parameter.type(), type) << name;
      std::vector<std::byte> out(static_cast<std::size_t>(parameter.rows()) * bytes);
      if (parameter.type() == type) parameter.copy_encoded(0, parameter.rows(), out.data());
      return out;
    };
    int checked = 0;
    model.parameters([&](const std::string& name, const Parameter<const float>& parameter) {
      const bool down = name == "layers.0.linear2.weight",
                 queries = name == "layers.0.self_attn.in_proj_weight";
      if (!down && !queries) return;
      const std::vector<std::byte> got = encoded(name, parameter);
      const SafeTensors::Entry& entry =
          file.at(down ? "model.layers.0.mlp.down_proj.weight" : "model.layers.0.self_attn.q_proj.weight");
      for (std::size_t row = 0; row < 32; ++row) {  // heads of 16: row 1 of ours is row 2 of the file
        const std::size_t in_head = row % 16,
                          theirs = down ? row : row - in_head + in_head % 8 * 2 + in_head / 8;
        EXPECT_EQ(std::memcmp(got.data() + row * bytes, entry.data + theirs * bytes, bytes), 0)
            << name << row;
      }
      ++checked;
    });
    EXPECT_EQ(checked, 2);
    // Products with them are those of the same values in float, but for what inputs are rounded to.
    const CausalLM<float> wide = CausalLM<float>::open(path);
    const Tensor<std::int32_t, 2> ids({1, 4}, {3, 1, 4, 15});
    const Tensor<float, 3> a = model.logits(default_context(), ids.view()),
                           b = wide.logits(default_context(), ids.view());
    double ab = 0, aa = 0, bb = 0;
    for (Index i = 0; i < a.numel(); ++i) {
      const auto x = static_cast<double>(a.data()[i]), y = static_cast<double>(b.data()[i]);
      ab += x * y, aa += x * x, bb += y * y;
    }
    EXPECT_GT(ab / std::sqrt(aa * bb), 0.999);
  }
  // Other blocks go into int8.
  const Folder folder;
  const CausalLM<float> other =
      CausalLM<float>::open(folder.write("b.gguf", blocks_of(6, 22).bytes()), {.weights = {}});
  other.parameters([&](const std::string& name, const Parameter<const float>& parameter) {
    if (name.find("linear") != std::string::npos) {
      EXPECT_EQ(parameter.type(), WeightType::int8) << name;
    }
  });
}

TEST(GgufFile, SaysWhichByteIsWrong) {
  const auto f32 = [](std::uint64_t tensors = 1) { return Writer().header(tensors, 0); };
  EXPECT_THAT(error_of_file(Writer()), HasSubstr("a.gguf: byte 0: not a GGUF file"));
  EXPECT_THAT(error_of_file(Writer().header(0, 0, 1)), HasSubstr("byte 4: GGUF version 1"));
  EXPECT_THAT(error_of_file(Writer().header(0, 0, 0x03000000)), HasSubstr("big-endian"));
  EXPECT_THAT(error_of_file(Writer().header(1, 0)), HasSubstr("byte 8: 1 tensors do not fit"));
  EXPECT_THAT(error_of_file(Writer().header(~std::uint64_t{0}, 0)), HasSubstr("byte 8"));
  EXPECT_THAT(error_of_file(Writer().header(0, 2).key("a", 5)), HasSubstr("byte 16: 2 keys"));
  EXPECT_THAT(error_of_file(Writer().header(0, 1).text("a").number<std::uint32_t>(13).data(8)),
              HasSubstr("unknown type 13"));
  EXPECT_THAT(error_of_file(Writer().header(0, 1).text("").number<std::uint32_t>(4).data(8)),
              HasSubstr("byte 24: an empty key"));
  EXPECT_THAT(error_of_file(Writer().header(0, 2).key("a", 5).key("a", 6)), HasSubstr("twice"));
  EXPECT_THAT(
      error_of_file(Writer().header(0, 1).text("a").number<std::uint32_t>(8).number(~std::uint64_t{0})),
      HasSubstr("byte 45: the file ends too early"));
  EXPECT_THAT(error_of_file(
                  Writer().header(0, 1).text("a").number<std::uint32_t>(9).number<std::uint32_t>(9).data(16)),
              HasSubstr("unknown type 9"));
  EXPECT_THAT(
      error_of_file(Writer().header(0, 1).text("a").number<std::uint32_t>(9).number<std::uint32_t>(10).number(
          std::uint64_t{1} << 61)),
      HasSubstr("values do not fit"));
  EXPECT_THAT(error_of_file(Writer().header(0, 1).key("general.alignment", 24)),
              HasSubstr("'general.alignment' is 24"));
  EXPECT_THAT(error_of_file(Writer().header(0, 1).key("general.alignment", "8")),
              HasSubstr("is not a number"));
  EXPECT_THAT(error_of_file(Writer().header(0, 1).key("split.count", 2)), HasSubstr("'split.count' is 2"));

  EXPECT_THAT(error_of_file(f32().tensor("a", {4}, 0).data(15)),
              HasSubstr("tensor 'a': its data end behind the file"));
  EXPECT_THAT(error_of_file(f32().tensor("", {4}, 0).data(16)), HasSubstr("without a name"));
  EXPECT_THAT(error_of_file(f32().tensor("a", {1, 1, 1, 1, 1}, 0).data(16)), HasSubstr("5 axes"));
  EXPECT_THAT(error_of_file(f32().tensor("a", {4}, 11).data(999)), HasSubstr("type Q3_K is not supported"));
  EXPECT_THAT(error_of_file(f32().tensor("a", {4}, 99).data(999)), HasSubstr("type 99 is not supported"));
  EXPECT_THAT(error_of_file(f32().tensor("a", {16}, 8).data(999)),
              HasSubstr("rows of 16 values of type Q8_0"));
  EXPECT_THAT(error_of_file(f32().tensor("a", {4}, 0, 32).data(99)),
              HasSubstr("begins at 32 of the data, expected 0"));
  EXPECT_THAT(error_of_file(f32(2).tensor("a", {4}, 0).tensor("b", {4}, 0, 16).data(99)),
              HasSubstr("expected 32"));
  EXPECT_THAT(error_of_file(f32(2).tensor("a", {4}, 0).tensor("a", {4}, 0, 32).data(99)),
              HasSubstr("two of this name"));
  const std::uint64_t most = ~std::uint64_t{0};
  for (const auto& sizes : {std::vector{most},
                            {most, most},
                            {std::uint64_t{1} << 32, std::uint64_t{1} << 32},
                            {most, 0},
                            {0, most}})
    EXPECT_THAT(error_of_file(f32().tensor("a", sizes, 0).data(99)), HasSubstr("its sizes are beyond"));
  // Each beginning of a file that is right is wrong.
  const Folder folder;
  const std::string whole = bytes_of(gguf("pieces"));
  for (std::size_t size = 0; size < whole.size() - 8; size += 97)
    EXPECT_THAT(error_of([&] { SafeTensors file(folder.write("a.gguf", whole.substr(0, size))); }),
                HasSubstr("a.gguf: byte "));
}

TEST(GgufFile, ErrorsOfMetadataNameTheKey) {
  const Folder folder;
  const auto error = [&](const Writer& writer) {
    return error_of([&] { CausalLM<float>::open(folder.write("m.gguf", writer.bytes())); });
  };
  EXPECT_THAT(error(Writer().header(0, 0)), HasSubstr("m.gguf: 'general.architecture' '' is not supported"));
  EXPECT_THAT(error(Writer().header(0, 1).key("general.architecture", "mamba")),
              HasSubstr("'mamba' is not supported"));
  EXPECT_THAT(error(Writer().header(0, 1).key("general.architecture", "llama")),
              HasSubstr("'llama.embedding_length' is missing"));
  const auto tokens = [&](const Writer& writer) {
    return error_of([&] { text::Tokenizer::open(folder.write("t.gguf", writer.bytes())); });
  };
  EXPECT_THAT(tokens(Writer().header(0, 1).key("tokenizer.ggml.model", "rwkv")),
              HasSubstr("t.gguf: 'tokenizer.ggml.model' 'rwkv'"));
  EXPECT_THAT(
      tokens(Writer().header(0, 2).key("tokenizer.ggml.model", "gpt2").key("tokenizer.ggml.pre", "new")),
      HasSubstr("'tokenizer.ggml.pre' 'new'"));
  EXPECT_THAT(tokens(Writer().header(0, 1).key("tokenizer.ggml.model", "llama")),
              HasSubstr("'tokenizer.ggml.tokens' is missing"));
}

TEST(SafeTensors, OfBlocksAreNone) {
  const Folder folder;
  EXPECT_THAT(error_of([&] {
                SafeTensorsWriter writer(folder / "a.safetensors", {{"a", DType::Q8_0, {32}}});
              }),
              HasSubstr("Q8_0 is not supported"));
  std::string header = R"({"a":{"dtype":"Q8_0","shape":[32],"data_offsets":[0,34]}})";
  const std::uint64_t size = header.size();
  header.insert(0, reinterpret_cast<const char*>(&size), 8);
  EXPECT_THAT(
      error_of([&] { SafeTensors file(folder.write("b.safetensors", header + std::string(34, 'a'))); }),
      HasSubstr("unknown dtype 'Q8_0'"));
}

}  // namespace
