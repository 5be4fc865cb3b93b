// Sizes that a caller gives, of layers and models: each that makes no sense is an error that names it.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <attend/attend.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/causal_lm.hpp>
#include <attend/model/modernbert.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/seq2seq.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::fill_parameters;
using attend_test::random_tensor;
using testing::HasSubstr;

constexpr Index kMost = std::numeric_limits<Index>::max(), kLeast = std::numeric_limits<Index>::min();

/// make(options) fails with a text that names the option, where the member has one of these values.
template <class Options, class T, class Make>
void expect_refused(const Options& good, T Options::*member, std::vector<T> values, const std::string& text,
                    Make&& make) {
  make(good);
  for (const T& value : values) {
    Options bad = good;
    bad.*member = value;
    EXPECT_THAT(error_of([&] { make(bad); }), HasSubstr(text + std::to_string(value)));
  }
}
const std::vector<Index> kBelowOne{0, -1, kLeast}, kNegative{-1, kLeast};
const std::vector<double> kNoNumbers{std::nan(""), HUGE_VAL, -HUGE_VAL, 1e300};

TEST(Sizes, Norms) {
  const auto norm = [](const NormOptions& o) { Norm<float>{o}; };
  expect_refused({.size = 4}, &NormOptions::size, kBelowOne, "LayerNorm: size is ", norm);
  expect_refused({.size = 4, .kind = NormKind::rms}, &NormOptions::size, kBelowOne, "RMSNorm: size is ",
                 norm);
  expect_refused({.size = 4}, &NormOptions::eps, kNoNumbers, "LayerNorm: eps is ", norm);
  expect_refused({.size = 4}, &NormOptions::eps, {-1e-9}, "LayerNorm: eps is ", norm);
  expect_refused({.normalized_shape = 4}, &LayerNormOptions::normalized_shape, kBelowOne,
                 "LayerNorm: normalized_shape is ", [](const LayerNormOptions& o) { LayerNorm<float>{o}; });
  expect_refused({.normalized_shape = 4}, &RMSNormOptions::normalized_shape, kBelowOne,
                 "RMSNorm: normalized_shape is ", [](const RMSNormOptions& o) { RMSNorm<double>{o}; });
  EXPECT_THAT(error_of([] { LayerNorm<float>({.normalized_shape = kMost}); }),
              HasSubstr("more elements than memory can hold"));
}

TEST(Sizes, Embeddings) {
  const auto make = [](const EmbeddingOptions& o) { Embedding<float>{o}; };
  expect_refused({3, 4}, &EmbeddingOptions::num_embeddings, kBelowOne, "Embedding: num_embeddings is ", make);
  expect_refused({3, 4}, &EmbeddingOptions::embedding_dim, kBelowOne, "Embedding: embedding_dim is ", make);
  EXPECT_THAT(error_of([] {
                Embedding<float>({kMost / 2, kMost / 2});
              }),
              HasSubstr("more elements than memory can hold"));

  Embedding<float> embedding({3, 4});
  fill_parameters<float>(embedding);
  for (Index odd : {Index{-1}, Index{3}, kMost, kLeast}) {
    const Tensor<Index, 1> ids({2}, std::vector<Index>{1, odd});
    Tensor<float, 2> out({2, 4}, 7.0f);
    Context context;
    EXPECT_EQ(error_of([&] { embedding.forward(context, ids, out); }),
              "Embedding: id " + std::to_string(odd) + " is not in [0, 3)");
    for (float v : out.span()) EXPECT_EQ(v, 7.0f);
  }
}

TEST(Sizes, Stacks) {
  const auto encoder = [](const EncoderOptions& o) { Encoder<float>{o}; };
  const auto decoder = [](const DecoderOptions& o) { Decoder<float>{o}; };
  const std::vector<Index> layers{-1, kLeast, kMost};
  expect_refused({.block = {.embed_dim = 4, .dim_feedforward = 4}}, &EncoderOptions::num_layers, layers,
                 "Encoder: num_layers is ", encoder);
  expect_refused({.block = {.embed_dim = 4, .dim_feedforward = 4}}, &DecoderOptions::num_layers, layers,
                 "Decoder: num_layers is ", decoder);
  for (Index layers_of : {0, 1}) {
    EXPECT_EQ(error_of([&] { encoder({.num_layers = layers_of}); }),
              "Encoder: block.embed_dim is 0, expected 1 or more");
    EXPECT_EQ(error_of([&] { decoder({.num_layers = layers_of}); }),
              "Decoder: block.embed_dim is 0, expected 1 or more");
  }
  EXPECT_THAT(error_of([&] { encoder({.block = {.embed_dim = 4, .layer_norm_eps = std::nan("")}}); }),
              HasSubstr("LayerNorm: eps is nan"));
}

TEST(Sizes, StacksWithoutLayersGiveTheirInput) {
  const auto x = random_tensor<float, 3>({2, 3, 4}, 1), memory = random_tensor<float, 3>({2, 5, 4}, 2);
  Context context;
  for (bool final_norm : {false, true}) {
    const Tensor<float, 3> expected = final_norm ? LayerNorm<float>({.normalized_shape = 4})(x) : x;
    const Encoder<float> encoder({.block = {.embed_dim = 4}, .num_layers = 0, .final_norm = final_norm});
    const Decoder<float> decoder({.block = {.embed_dim = 4}, .num_layers = 0, .final_norm = final_norm});
    Tensor<float, 3> encoded(x.shape(), 7.0f), decoded(x.shape(), 7.0f), cached(x.shape(), 7.0f);
    encoder.forward(context, x, {}, encoded.view());
    decoder.forward(context, x, {.memory = memory}, decoded.view());
    DecoderCache<float> cache = decoder.make_cache(context, memory);
    decoder.forward(context, x, {.caches = cache.targets, .memory_caches = cache.memory}, cached.view());
    for (const Tensor<float, 3>* y : {&encoded, &decoded, &cached})
      for (std::size_t i = 0; i < x.span().size(); ++i) EXPECT_EQ(y->span()[i], expected.span()[i]);
    EXPECT_THAT(error_of([&] {
                  encoder(random_tensor<float, 3>({2, 3, 5}));
                }),
                HasSubstr("Encoder: expected"));
  }
}

BertOptions small_bert() {
  return {.vocab_size = 9,
          .max_position_embeddings = 8,
          .hidden_size = 4,
          .num_hidden_layers = 1,
          .num_attention_heads = 2,
          .intermediate_size = 6};
}

TEST(Sizes, BertOptions) {
  const auto make = [](const BertOptions& o) { BertModel<float>{o}; };
  expect_refused(small_bert(), &BertOptions::vocab_size, kBelowOne, "BertModel: vocab_size is ", make);
  expect_refused(small_bert(), &BertOptions::max_position_embeddings, kBelowOne,
                 "BertModel: max_position_embeddings is ", make);
  expect_refused(small_bert(), &BertOptions::type_vocab_size, kNegative, "BertModel: type_vocab_size is ",
                 make);
  expect_refused(small_bert(), &BertOptions::hidden_size, kBelowOne, "BertModel: hidden_size is ", make);
  expect_refused(small_bert(), &BertOptions::num_hidden_layers, {-1, kLeast, kMost},
                 "BertModel: num_hidden_layers is ", make);
  expect_refused(small_bert(), &BertOptions::num_attention_heads, kBelowOne,
                 "BertModel: num_attention_heads is ", make);
  expect_refused(small_bert(), &BertOptions::intermediate_size, kBelowOne, "BertModel: intermediate_size is ",
                 make);
  expect_refused(small_bert(), &BertOptions::layer_norm_eps, kNoNumbers, "LayerNorm: eps is ", make);
  BertOptions classifier = small_bert();
  classifier.head = BertHead::sequence_classification;
  expect_refused(classifier, &BertOptions::num_labels, kBelowOne, "BertModel: num_labels is ", make);
  BertOptions roberta = small_bert();
  roberta.positions_after_padding = true;
  expect_refused(roberta, &BertOptions::pad_token_id, {-1, 8}, "BertModel: pad_token_id is ", make);
  BertOptions without_types = small_bert();
  without_types.type_vocab_size = 0;
  make(without_types);
}

/// forward(ids, offsets, out) of 3 ids refuses offsets that are not those of texts, and writes nothing.
void expect_offsets_are_checked(
    const std::string& who,
    const std::function<void(std::span<const Index>, TensorView<float, 2>)>& forward) {
  const std::vector<std::pair<std::vector<Index>, std::string>> wrong = {
      {{0, 100000}, "expected 0 ... 3, got 0 ... 100000"},
      {{}, "expected 0 ... 3, got none"},
      {{0}, "expected 0 ... 3, got 0 ... 0"},
      {{3}, "expected 0 ... 3, got 3 ... 3"},
      {{1, 3}, "expected 0 ... 3, got 1 ... 3"},
      {{0, 2}, "expected 0 ... 3, got 0 ... 2"},
      {{0, 2, 1, 3}, "decrease from 2 to 1"},
      {{0, 100, 3}, "decrease from 100 to 3"},
      {{0, -5, 3}, "decrease from 0 to -5"},
      {{0, kMost}, "expected 0 ... 3, got 0 ... 9223372036854775807"},
      {{0, kMost, kLeast, 3}, "decrease from 9223372036854775807 to -9223372036854775808"}};
  for (const auto& pair : wrong) {
    const std::vector<Index>& offsets = pair.first;
    Tensor<float, 2> out({3, 4}, 7.0f);
    EXPECT_EQ(error_of([&] { forward(offsets, out.view()); }), who + " (offsets): " + pair.second);
    for (float v : out.span()) EXPECT_EQ(v, 7.0f);
  }
  const std::vector<Index> empty_texts{0, 0, 2, 2, 3, 3};
  Tensor<float, 2> out({3, 4}, 7.0f);
  forward(empty_texts, out.view());
}

TEST(Sizes, OffsetsOfBertAreThoseOfTexts) {
  Context context;
  const std::vector<std::int32_t> ids{1, 2, 3};
  BertModel<float> bert(small_bert());
  fill_parameters<float>(bert);
  expect_offsets_are_checked("BertModel", [&](std::span<const Index> offsets, TensorView<float, 2> out) {
    bert.forward(context, ids, {}, offsets, out);
  });
  Tensor<float, 2> none({0, 4});
  const std::vector<Index> no_texts{0};
  bert.forward(context, {}, {}, no_texts, none.view());

  ModernBertOptions options{
      .vocab_size = 9, .hidden_size = 4, .num_attention_heads = 2, .intermediate_size = 6};
  options.local = {false, true};
  ModernBertModel<float> modern(options);
  fill_parameters<float>(modern);
  expect_offsets_are_checked("ModernBertModel",
                             [&](std::span<const Index> offsets, TensorView<float, 2> out) {
                               modern.forward(context, ids, offsets, out);
                             });

  // a text of more tokens than there are positions, ids and types that there are none of
  const std::vector<std::int32_t> nine(9, 1), high{1, 9}, low{1, -1}, types{0, 2};
  const std::vector<Index> one{0, 9}, two{0, 2};
  Tensor<float, 2> long_out({9, 4}), short_out({2, 4});
  EXPECT_THAT(error_of([&] { bert.forward(context, nine, {}, one, long_out.view()); }),
              HasSubstr("Embedding: the text is too long: its position 8 is beyond the model's 8"));
  for (const auto& odd : {high, low}) {
    EXPECT_THAT(error_of([&] { bert.forward(context, odd, {}, two, short_out.view()); }),
                HasSubstr("is not in [0, 9)"));
    EXPECT_THAT(error_of([&] { modern.forward(context, odd, two, short_out.view()); }),
                HasSubstr("is not in [0, 9)"));
  }
  EXPECT_THAT(error_of([&] {
                bert.forward(context, std::vector<std::int32_t>{1, 1}, types, two, short_out.view());
              }),
              HasSubstr("is not in [0, 2)"));
}

TEST(Sizes, ModernBertOptions) {
  const auto make = [](const ModernBertOptions& o) { ModernBertModel<float>{o}; };
  const ModernBertOptions good{
      .vocab_size = 9, .hidden_size = 4, .num_attention_heads = 2, .intermediate_size = 6, .local = {true}};
  expect_refused(good, &ModernBertOptions::vocab_size, kBelowOne, "ModernBertModel: vocab_size is ", make);
  expect_refused(good, &ModernBertOptions::hidden_size, kBelowOne, "ModernBertModel: hidden_size is ", make);
  expect_refused(good, &ModernBertOptions::num_attention_heads, kBelowOne,
                 "ModernBertModel: num_attention_heads is ", make);
  expect_refused(good, &ModernBertOptions::intermediate_size, kBelowOne,
                 "ModernBertModel: intermediate_size is ", make);
  expect_refused(good, &ModernBertOptions::local_attention, kNegative, "ModernBertModel: local_attention is ",
                 make);
  expect_refused(good, &ModernBertOptions::norm_eps, kNoNumbers, "LayerNorm: eps is ", make);
}

TEST(Sizes, CausalLMOptions) {
  const auto make = [](const CausalLMOptions& o) { CausalLM<float>{o}; };
  const CausalLMOptions good{.vocab_size = 9,
                             .embed_dim = 4,
                             .max_position_embeddings = 8,
                             .blocks = {{.embed_dim = 4, .dim_feedforward = 6}},
                             .learned_positions = true};
  expect_refused(good, &CausalLMOptions::vocab_size, kBelowOne, "CausalLM: vocab_size is ", make);
  expect_refused(good, &CausalLMOptions::embed_dim, kBelowOne, "CausalLM: embed_dim is ", make);
  expect_refused(good, &CausalLMOptions::max_position_embeddings, kBelowOne,
                 "CausalLM: max_position_embeddings is ", make);
  expect_refused(good, &CausalLMOptions::embed_scale, kNoNumbers, "CausalLM: embed_scale is ", make);
  expect_refused(good, &CausalLMOptions::logit_softcap, kNoNumbers, "CausalLM: logit_softcap is ", make);
  CausalLMOptions other = good;
  other.blocks.push_back({.embed_dim = 8, .dim_feedforward = 6});
  EXPECT_EQ(error_of([&] { make(other); }), "CausalLM: a block of embed_dim 8, expected 4");
  other.blocks.clear();
  EXPECT_EQ(error_of([&] { make(other); }), "CausalLM: no layers");
  expect_refused(good.blocks[0], &CausalBlockOptions::sliding_window, kNegative,
                 "CausalBlock: sliding_window is ",
                 [](const CausalBlockOptions& o) { CausalBlock<float>{o}; });
}

TEST(Sizes, Seq2SeqOptions) {
  const auto make = [](const Seq2SeqOptions& o) { Seq2Seq<float>{o}; };
  const Seq2SeqOptions good{.source_vocab_size = 9,
                            .target_vocab_size = 9,
                            .encoder = {.block = {.embed_dim = 4, .dim_feedforward = 6}},
                            .decoder = {.block = {.embed_dim = 4, .dim_feedforward = 6}},
                            .positions = PositionKind::learned,
                            .max_position_embeddings = 8};
  expect_refused(good, &Seq2SeqOptions::source_vocab_size, kBelowOne, "Seq2Seq: source_vocab_size is ", make);
  expect_refused(good, &Seq2SeqOptions::target_vocab_size, kBelowOne, "Seq2Seq: target_vocab_size is ", make);
  expect_refused(good, &Seq2SeqOptions::max_position_embeddings, kBelowOne,
                 "Seq2Seq: max_position_embeddings is ", make);
  expect_refused(good, &Seq2SeqOptions::position_offset, kNegative, "Seq2Seq: position_offset is ", make);
  expect_refused(good, &Seq2SeqOptions::embedding_scale, kNoNumbers, "Seq2Seq: embedding_scale is ", make);
  expect_refused(good, &Seq2SeqOptions::output_scale, kNoNumbers, "Seq2Seq: output_scale is ", make);
  Seq2SeqOptions bad = good;
  bad.position_offset = kMost;
  EXPECT_THAT(error_of([&] { make(bad); }), HasSubstr("more elements than memory can hold"));
  bad = good, bad.decoder.block.embed_dim = 8;
  EXPECT_THAT(error_of([&] { make(bad); }), HasSubstr("Seq2Seq: decoder.block.embed_dim is 8, expected 4"));
  bad = good, bad.encoder.num_layers = -1;
  EXPECT_THAT(error_of([&] { make(bad); }), HasSubstr("Encoder: num_layers is -1"));

  Seq2Seq<float> model(good);
  fill_parameters<float>(model);
  Context context;
  EXPECT_THAT(error_of([&] {
                model.encode(context, Tensor<std::int32_t, 2>({1, 9}));
              }),
              HasSubstr("9 tokens, the model takes 8"));
}

/// A folder of sentence-transformers with weights of zeros.
class SentenceFolder {
 public:
  SentenceFolder()
      : path_(std::filesystem::temp_directory_path() /
              ("attend_sizes_" + std::to_string(testing::UnitTest::GetInstance()->random_seed()))) {
    std::filesystem::create_directories(path_);
    std::ofstream(path_ / "vocab.txt") << "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n";
    std::ofstream(path_ / "config.json")
        << R"({"model_type": "bert", "vocab_size": 7, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
      "intermediate_size": 4, "max_position_embeddings": 8, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12})";
    std::vector<std::pair<std::string, std::vector<Index>>> tensors = {
        {"embeddings.word_embeddings.weight", {7, 4}},
        {"embeddings.position_embeddings.weight", {8, 4}},
        {"embeddings.token_type_embeddings.weight", {2, 4}}};
    const std::string layer = "encoder.layer.0.";
    for (const std::string norm : {"embeddings.LayerNorm", "encoder.layer.0.attention.output.LayerNorm",
                                   "encoder.layer.0.output.LayerNorm"})
      for (const char* part : {".weight", ".bias"}) tensors.push_back({norm + part, {4}});
    for (const char* linear : {"attention.self.query", "attention.self.key", "attention.self.value",
                               "attention.output.dense", "intermediate.dense", "output.dense"}) {
      tensors.push_back({layer + linear + ".weight", {4, 4}});
      tensors.push_back({layer + linear + ".bias", {4}});
    }
    std::string header = "{";
    std::size_t at = 0;
    for (const auto& [name, shape] : tensors) {
      const std::size_t bytes = static_cast<std::size_t>(detail::checked_numel(shape)) * 4;
      header += (at > 0 ? ",\"" : "\"") + name + "\":{\"dtype\":\"F32\",\"shape\":" + to_string(shape) +
                ",\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(at + bytes) + "]}";
      at += bytes;
    }
    header += "}";
    std::ofstream file(path_ / "model.safetensors", std::ios::binary);
    for (std::size_t i = 0, n = header.size(); i < 8; ++i, n >>= 8) file.put(static_cast<char>(n & 0xff));
    file << header << std::string(at, '\0');
  }
  ~SentenceFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST(Sizes, SentenceEncoderGivesARowForEachText) {
  const SentenceFolder folder;
  for (Index length : kBelowOne)
    EXPECT_THAT(error_of([&] { SentenceEncoder::open(folder.path(), length); }),
                HasSubstr("SentenceEncoder: max_length is " + std::to_string(length)));
  const SentenceEncoder encoder = SentenceEncoder::open(folder.path());
  Context context;
  const std::vector<std::int32_t> ids{2, 5, 3};
  expect_offsets_are_checked(
      "SentenceEncoder", [&](std::span<const Index> offsets, TensorView<float, 2> out) {
        Tensor<float, 2> rows({std::max<Index>(1, static_cast<Index>(offsets.size()) - 1), 4});
        static_cast<void>(out);
        encoder.embed(context, ids, offsets, rows.view());
      });
  const std::vector<Index> offsets{0, 2, 3};
  for (const Shape<2>& shape : {Shape<2>{1, 4}, {3, 4}, {2, 5}, {1000, 4}, {0, 4}}) {
    Tensor<float, 2> out(shape, 7.0f);
    EXPECT_EQ(error_of([&] { encoder.embed(context, ids, offsets, out.view()); }),
              "SentenceEncoder (output): expected [2, 4], got " + to_string(shape));
    for (float v : out.span()) EXPECT_EQ(v, 7.0f);
  }
  Tensor<float, 2> out({2, 4});
  encoder.embed(context, ids, offsets, out.view());
}

}  // namespace
