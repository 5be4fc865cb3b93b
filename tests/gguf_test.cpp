// Models in GGUF files against the folders that they were made of (tests/gguf/make.py), and metadata that is
// wrong.
#include "support.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
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

#include "gguf_writer.hpp"

namespace {
using namespace attend;
using attend_test::bytes_of;
using attend_test::error_of;
using attend_test::Folder;
using attend_test::gguf;
using attend_test::GgufWriter;
using attend_test::model_folder;
using testing::HasSubstr;
namespace fs = std::filesystem;

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
    GgufWriter writer;
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

/// A type of the format, and where in a block its scales are.
struct Blocks {
  std::uint32_t type;
  std::uint64_t elements, bytes;
  std::vector<std::uint64_t> scales = {0};
};
/// A Llama of one layer, `width` wide, whose matrices are of a type, the values and the output of another
/// one, with arbitrary codes and scales of 1/64.
GgufWriter blocks_of(std::uint64_t width, const Blocks& most, const Blocks& some) {
  const std::pair<const char*, std::uint64_t> matrices[] = {
      {"token_embd", 40},        {"output", 40},          {"blk.0.attn_q", width},
      {"blk.0.attn_k", width},   {"blk.0.attn_v", width}, {"blk.0.attn_output", width},
      {"blk.0.ffn_gate", width}, {"blk.0.ffn_up", width}, {"blk.0.ffn_down", width}};
  constexpr const char* norms[] = {"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"};
  const auto type_of = [&](const std::string& name) -> const Blocks& {
    return name == "output" || name == "blk.0.attn_v" ? some : most;
  };
  GgufWriter out;
  out.header(12, 6)
      .key("general.architecture", "llama")
      .key("llama.context_length", 64)
      .key("llama.embedding_length", static_cast<std::uint32_t>(width));
  out.key("llama.block_count", 1)
      .key("llama.feed_forward_length", static_cast<std::uint32_t>(width))
      .key("llama.attention.head_count", 2);
  std::uint64_t at = 0;
  const auto add = [&](const std::string& name, const std::vector<std::uint64_t>& sizes, std::uint32_t type,
                       std::uint64_t size) {
    out.tensor(name + ".weight", sizes, type, at);
    at += (size + 31) / 32 * 32;
  };
  for (const auto& [name, rows] : matrices)
    add(name, {width, rows}, type_of(name).type, rows * width / type_of(name).elements * type_of(name).bytes);
  for (const char* name : norms) add(name, {width}, 0, 4 * width);
  out.data(0);
  unsigned number = 1;
  for (const auto& [name, rows] : matrices) {
    const Blocks& blocks = type_of(name);
    for (std::uint64_t block = 0; block < rows * width / blocks.elements; ++block)
      for (std::uint64_t i = 0; i < blocks.bytes; ++i) {
        number = number * 1103515245u + 12345u;
        std::uint8_t byte = static_cast<std::uint8_t>(number >> 20);
        for (const std::uint64_t scale : blocks.scales)
          if (i == scale || i == scale + 1) byte = i == scale ? 0 : 0x24;  // 1 / 64
        out.number(byte);
      }
    out.data(0);
  }
  for (std::size_t i = 0; i < 3; ++i)
    for (std::uint64_t e = 0; e < width; ++e) out.number(1.0f);
  return out;
}

TEST(Gguf, BlocksOfQ8AndQ4AreKeptAsTheyAre) {
  for (const bool eight : {true, false}) {
    const std::size_t bytes = eight ? 34 : 18;
    const WeightType type = eight ? WeightType::int8 : WeightType::int4;
    const Folder folder;
    const fs::path path = folder.write(
        "a.gguf", blocks_of(32, {eight ? 8u : 2u, 32, bytes}, {eight ? 8u : 2u, 32, bytes}).bytes());
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
}

// As in llama.cpp's Q4_K_M, which has some of Q6_K, and its Q5_1 and Q4_0 files with an output of more bits.
TEST(Gguf, OtherBlocksAreRoundedToInt8AndTheReportSaysWhich) {
  const Blocks q4_0{2, 32, 18}, q5_0{6, 32, 22}, q5_1{7, 32, 24, {0, 2}}, q4_k{12, 256, 144, {0, 2}},
      q6_k{14, 256, 210, {208}};
  struct Case {
    std::uint64_t width;
    Blocks most, some;
    WeightType kept;
    const char* rounded;
  };
  const Case cases[] = {
      {256, q4_k, q6_k, WeightType::int8, "7 tensors of Q4_K and 2 of Q6_K are rounded to int8"},
      {32, q5_1, q5_1, WeightType::int8, "9 tensors of Q5_1 are rounded to int8"},
      {32, q4_0, q5_0, WeightType::int4, "2 tensors of Q5_0 are rounded to int4"},
      {32, q4_0, q4_0, WeightType::int4, ""}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.rounded);
    const Folder folder;
    const fs::path path = folder.write("a.gguf", blocks_of(c.width, c.most, c.some).bytes());
    std::vector<LoadedTensor> tensors;
    std::string file;
    OpenOptions options;
    options.report = [&](const std::string& name, std::span<const LoadedTensor> all) {
      file = name;
      tensors.assign(all.begin(), all.end());
    };
    const CausalLM<float> model = CausalLM<float>::open(path, options);
    EXPECT_EQ(file, path.string());
    EXPECT_EQ(tensors.size(), 12u);
    EXPECT_EQ(rounded_tensors(tensors), c.rounded);
    for (const LoadedTensor& tensor : tensors) {
      EXPECT_EQ(tensor.kept, tensor.stored == DType::F32 ? WeightType::float32 : c.kept) << tensor.name;
      if (tensor.name == "model.layers.0.self_attn.v_proj.weight") {
        EXPECT_EQ(tensor.stored, SafeTensors(path).at(tensor.name).dtype);
      }
    }
    model.parameters([&](const std::string& name, const Parameter<const float>& parameter) {
      const bool norm = name.find("norm") != std::string::npos;
      EXPECT_EQ(parameter.type(), norm ? WeightType::float32 : c.kept) << name;
    });
    options.weights = WeightType::float32;
    CausalLM<float>::open(path, options);
    EXPECT_EQ(rounded_tensors(tensors), "");
  }
}

TEST(GgufFile, ErrorsOfMetadataNameTheKey) {
  const Folder folder;
  const auto error = [&](const GgufWriter& writer) {
    return error_of([&] { CausalLM<float>::open(folder.write("m.gguf", writer.bytes())); });
  };
  EXPECT_THAT(error(GgufWriter().header(0, 0)),
              HasSubstr("m.gguf: 'general.architecture' '' is not supported"));
  EXPECT_THAT(error(GgufWriter().header(0, 1).key("general.architecture", "mamba")),
              HasSubstr("'mamba' is not supported"));
  EXPECT_THAT(error(GgufWriter().header(0, 1).key("general.architecture", "llama")),
              HasSubstr("'llama.embedding_length' is missing"));
  const auto tokens = [&](const GgufWriter& writer) {
    return error_of([&] { text::Tokenizer::open(folder.write("t.gguf", writer.bytes())); });
  };
  EXPECT_THAT(tokens(GgufWriter().header(0, 1).key("tokenizer.ggml.model", "rwkv")),
              HasSubstr("t.gguf: 'tokenizer.ggml.model' 'rwkv'"));
  EXPECT_THAT(
      tokens(GgufWriter().header(0, 2).key("tokenizer.ggml.model", "gpt2").key("tokenizer.ggml.pre", "new")),
      HasSubstr("'tokenizer.ggml.pre' 'new'"));
  EXPECT_THAT(tokens(GgufWriter().header(0, 1).key("tokenizer.ggml.model", "llama")),
              HasSubstr("'tokenizer.ggml.tokens' is missing"));
}

}  // namespace
