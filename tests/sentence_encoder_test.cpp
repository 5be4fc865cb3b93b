// SentenceEncoder and CrossEncoder: what a folder says is what a text becomes.
#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/sentence_encoder.hpp>

#include "tiny_models.hpp"

namespace {

using namespace attend;
using namespace attend_test;
using testing::HasSubstr;

/// Single letters between [CLS] and [SEP]: ids 2 and 3, a is 5.
text::Tokenizer letters(bool special = true) {
  Json vocab{{"[PAD]", 0}, {"[UNK]", 1}, {"[CLS]", 2}, {"[SEP]", 3}, {"[MASK]", 4}};
  for (int i = 0; i < 26; ++i) vocab[std::string(1, static_cast<char>('a' + i))] = 5 + i;
  Json json{
      {"version", "1.0"},
      {"added_tokens", Json::array()},
      {"pre_tokenizer", {{"type", "Whitespace"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}, {"unk_token", "[UNK]"}}}};
  for (const auto& [token, id] : vocab.items())
    if (token.size() > 1)
      json["added_tokens"].push_back({{"id", id},
                                      {"content", token},
                                      {"single_word", false},
                                      {"lstrip", false},
                                      {"rstrip", false},
                                      {"normalized", false},
                                      {"special", true}});
  if (special)
    json["post_processor"] = {
        {"type", "BertProcessing"}, {"sep", Json{"[SEP]", 3}}, {"cls", Json{"[CLS]", 2}}};
  return text::Tokenizer::from_json(json.dump(), "letters");
}

SentenceEncoder encoder_of(std::vector<SentenceModule> modules, SentenceEncoderOptions options = {}) {
  return {letters(), tiny_bert(), std::move(modules), std::move(options)};
}

/// The states of "abc def" with the first `prompt` tokens left out, as one mode makes them one vector.
std::vector<float> by_definition(PoolingMode mode, std::size_t prompt) {
  const std::vector<std::int32_t> ids = letters().encode("abc def");
  const std::vector<Index> offsets{0, static_cast<Index>(ids.size())};
  Context context;
  Tensor<float, 2> states({offsets[1], 32});
  tiny_bert().forward(context, ids, {}, offsets, states);
  std::vector<float> out;
  for (Index e = 0; e < 32; ++e) {
    double sum = 0, weighted = 0, weights = 0, most = -1e30;
    for (Index t = static_cast<Index>(prompt); t < offsets[1]; ++t) {
      const double x = static_cast<double>(states(t, e));
      sum += x, most = std::max(most, x);
      weighted += x * static_cast<double>(t + 1), weights += static_cast<double>(t + 1);
    }
    const double n = static_cast<double>(offsets[1]) - static_cast<double>(prompt);
    const double values[] = {static_cast<double>(states(static_cast<Index>(prompt), e)),
                             most,
                             sum / n,
                             sum / std::sqrt(n),
                             weighted / weights,
                             static_cast<double>(states(offsets[1] - 1, e))};
    out.push_back(static_cast<float>(values[static_cast<int>(mode)]));
  }
  return out;
}

TEST(SentenceEncoder, PoolingModesAreWhatTheirNamesSay) {
  for (int i = 0; i < 6; ++i)
    for (bool include : {true, false}) {
      const PoolingMode mode = static_cast<PoolingMode>(i);
      const SentenceEncoder encoder = encoder_of({Pooling{{mode, PoolingMode::cls}, include}});
      // "abc " is [CLS] a b c without its [SEP]
      const Tensor<float, 1> got = encoder.encode("def", {.prompt = "abc "});
      ASSERT_EQ(got.size(0), 64);
      const std::size_t prompt = include ? 0 : 4;
      const std::vector<float> want = by_definition(mode, prompt),
                               cls = by_definition(PoolingMode::cls, prompt);
      for (Index e = 0; e < 32; ++e) {
        EXPECT_NEAR(got[e], want[static_cast<std::size_t>(e)], 1e-6) << i << include;
        EXPECT_EQ(got[32 + e], cls[static_cast<std::size_t>(e)]) << i << include;
      }
    }
}

TEST(SentenceEncoder, ATextOfNothingButItsPromptHasFiniteValues) {
  for (int i = 0; i < 6; ++i) {
    const SentenceEncoder bare(letters(false), tiny_bert(), {Pooling{{static_cast<PoolingMode>(i)}, false}});
    for (const char* prompt : {"", "abc"}) {
      const Tensor<float, 1> got = bare.encode("", {.prompt = prompt});
      for (float x : got.span()) EXPECT_TRUE(std::isfinite(x)) << i << prompt;
    }
  }
}

TEST(SentenceEncoder, ModulesFollowEachOther) {
  Dense wide{.linear = filled<float>(Linear<float>({.in_features = 32, .out_features = 40}))};
  Dense narrow{
      .linear = filled<float>(Linear<float>({.in_features = 40, .out_features = 8, .bias = false})),
      .activation = Activation::identity,
      .use_residual = true,
      .residual = filled<float>(Linear<float>({.in_features = 40, .out_features = 8, .bias = false}), 2)};
  const SentenceEncoder plain = encoder_of({Pooling{}}),
                        encoder = encoder_of({Pooling{}, Normalize{}, wide, narrow, Normalize{}});
  EXPECT_EQ(encoder.embedding_dim(), 8);
  Tensor<float, 1> x = plain.encode("abc");
  const auto to_unit = [](Tensor<float, 1>& v) {
    double squares = 0;
    for (float a : v.span()) squares += static_cast<double>(a) * static_cast<double>(a);
    for (float& a : v.span()) a = static_cast<float>(static_cast<double>(a) / std::sqrt(squares));
  };
  to_unit(x);
  const Tensor<float, 1> y = activate(Activation::tanh, wide.linear(x));
  Tensor<float, 1> z = narrow.linear(y);
  const Tensor<float, 1> more = narrow.residual(y);
  for (Index e = 0; e < 8; ++e) z[e] += more[e];
  to_unit(z);
  const Tensor<float, 1> got = encoder.encode("abc");
  for (Index e = 0; e < 8; ++e) EXPECT_NEAR(got[e], z[e], 1e-6);
}

TEST(SentenceEncoder, PromptsStandBeforeTheText) {
  SentenceEncoderOptions options;
  options.text.prompts = {{"query", "q r "}, {"document", ""}};
  const SentenceEncoder encoder = encoder_of({Pooling{}}, options);
  const auto plain = encoder.encode("abc");
  EXPECT_TRUE(same_bits(encoder.encode("abc", {.prompt_name = "query"}), encoder.encode("q r abc")));
  EXPECT_TRUE(same_bits(encoder.encode("abc", {.prompt_name = "document"}), plain));
  EXPECT_EQ(encoder.encode_ids("abc", {.prompt_name = "query"}), encoder.encode_ids("q r abc"));
  EXPECT_THAT(error_of([&] { encoder.encode("abc", {.prompt_name = "passage"}); }),
              HasSubstr("'passage'; there are 'document', 'query'"));
  options.text.default_prompt_name = "query";
  const SentenceEncoder with_default = encoder_of({Pooling{}}, options);
  EXPECT_TRUE(same_bits(with_default.encode("abc"), encoder.encode("q r abc")));
  EXPECT_TRUE(same_bits(with_default.encode("abc", {.prompt = ""}), plain));
}

TEST(SentenceEncoder, ATextAloneIsWhatItIsAmongOthers) {
  const SentenceEncoder encoder = encoder_of({Pooling{}, Normalize{}});
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 60; ++i) texts.push_back(std::string(i, static_cast<char>('a' + i % 26)));
  Context context({.threads = 2});
  const Tensor<float, 2> all = encoder.encode(context, texts), few = encoder.encode(texts, {.dimensions = 5});
  ASSERT_EQ(few.shape(), (Shape<2>{60, 5}));
  for (Index i = 0; i < 60; ++i) {
    const Tensor<float, 1> alone = encoder.encode(context, texts[static_cast<std::size_t>(i)]);
    EXPECT_TRUE(same_bits(all[i], alone)) << i;
    EXPECT_TRUE(same_bits(few[i], alone.view().slice(0, 0, 5))) << i;
  }
  EXPECT_THAT(error_of([&] { encoder.encode(texts, {.dimensions = 33}); }), HasSubstr("33 dimensions of 32"));
  EXPECT_EQ(encoder.encode(std::vector<std::string>{}).shape(), (Shape<2>{0, 32}));
}

TEST(SentenceEncoder, CutsTheSideThatTheFolderNames) {
  SentenceEncoderOptions options{.text = {.max_seq_length = 5}};
  EXPECT_EQ(encoder_of({Pooling{}}, options).encode_ids("abcdef"),
            (std::vector<std::int32_t>{2, 5, 6, 7, 3}));
  options.text.truncate_left = true;
  EXPECT_EQ(encoder_of({Pooling{}}, options).encode_ids("abcdef"),
            (std::vector<std::int32_t>{2, 8, 9, 10, 3}));
}

TEST(SentenceEncoder, SimilarityIsThatOfItsName) {
  const Tensor<float, 2> a({1, 2}, std::vector<float>{3, 4}), b({2, 2}, std::vector<float>{1, 0, 0, 0});
  const float want[4][2] = {{0.6f, 0}, {3, 0}, {-std::sqrt(20.0f), -5}, {-6, -7}};
  for (int i = 0; i < 4; ++i) {
    const SentenceEncoder encoder =
        encoder_of({Pooling{}}, {.similarity = static_cast<SimilarityFunction>(i)});
    const Tensor<float, 2> got = encoder.similarity(a, b);
    EXPECT_NEAR(got(0, 0), want[i][0], 1e-6) << i;
    EXPECT_NEAR(got(0, 1), want[i][1], 1e-6) << i;
    EXPECT_THAT(error_of([&] { encoder.similarity(a, Tensor<float, 2>({1, 3})); }), HasSubstr("similarity"));
  }
}

TEST(SentenceEncoder, ADecoderGivesTheStateThatItsHeadTakes) {
  const CausalLM<float> model = tiny_causal_lm();
  const SentenceEncoder encoder(letters(), model, {Pooling{{PoolingMode::lasttoken}}});
  const std::vector<std::string> texts{"abc", "de", std::string(500, 'x')};
  const Tensor<float, 2> all = encoder.encode(texts);
  Context context;
  for (Index i = 0; i < 3; ++i) {
    const std::vector<std::int32_t> ids = encoder.encode_ids(texts[static_cast<std::size_t>(i)]);
    const Index n = static_cast<Index>(ids.size());
    const Index offsets[] = {0, n};
    Tensor<float, 2> states({n, 32});
    model.states(context, ids, offsets, states);
    EXPECT_TRUE(same_bits(all[i], states.view()[n - 1])) << i;
    // The head's product of it are the logits.
    const Tensor<float, 3> logits =
        model.logits(context, TensorView<const std::int32_t, 2>(ids.data(), {1, n}));
    Tensor<float, 2> head({50, 32});
    model.parameters([&](const std::string& name, Parameter<const float> parameter) {
      if (name == "lm_head.weight") parameter.copy_to(0, 50, head.data());
    });
    for (Index v = 0; v < 50; ++v) {
      double sum = 0;
      for (Index e = 0; e < 32; ++e) sum += static_cast<double>(head(v, e)) * static_cast<double>(all(i, e));
      EXPECT_NEAR(logits(0, n - 1, v), sum, 1e-4) << i;
    }
  }
}

/// A published folder with changes.
struct Changed : Folder {
  explicit Changed(const std::string& name) {
    std::filesystem::copy(published("sentence_transformers/" + name), path,
                          std::filesystem::copy_options::recursive);
  }
  /// Of a JSON file.
  void change(const std::string& file, const std::function<void(Json&)>& how) const {
    Json json = read_json(path / file);
    how(json);
    write(file, json.dump());
  }
  Tensor<float, 1> encode(const std::string& text = "The cat sat on the mat.") const {
    return SentenceEncoder::open(path).encode(text);
  }
  std::string error() const {
    return error_of([&] { SentenceEncoder::open(path); });
  }
};
#define NEEDS_PUBLISHED() \
  if (published("sentence_transformers").empty()) GTEST_SKIP() << kUnpublished

TEST(SentenceFolders, OldAndNewNamesMeanTheSame) {
  NEEDS_PUBLISHED();
  const Changed folder("two_poolings");
  folder.write("1_Pooling/config.json", R"({"embedding_dimension": 48, "pooling_mode": ["cls", "mean"]})");
  const Tensor<float, 1> want = folder.encode();
  folder.write("1_Pooling/config.json",
               R"({"word_embedding_dimension": 48, "pooling_mode_mean_tokens": true,
                   "pooling_mode_cls_token": true, "pooling_mode_max_tokens": false,
                   "pooling_mode_mean_sqrt_len_tokens": false})");
  folder.change("modules.json", [](Json& modules) {
    modules[0]["type"] = "sentence_transformers.models.Transformer";
    modules[1]["type"] = "sentence_transformers.models.Pooling";
    modules[2]["type"] = "sentence_transformers.models.Normalize";
  });
  folder.write("sentence_bert_config.json", R"({"max_seq_length": 48, "do_lower_case": false})");
  folder.write("config_sentence_transformers.json", R"({"__version__": {"pytorch": "1"}})");
  EXPECT_TRUE(same_bits(folder.encode(), want));
}

TEST(SentenceFolders, WithoutModulesTheMeanIsAll) {
  NEEDS_PUBLISHED();
  const Changed folder("no_normalize");
  const Tensor<float, 1> want = folder.encode();
  for (const char* file : {"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"})
    std::filesystem::remove(folder / file);
  EXPECT_TRUE(same_bits(folder.encode(), want));
}

TEST(SentenceFolders, WhatIsNotSupportedIsNamed) {
  NEEDS_PUBLISHED();
  const auto with = [](const std::string& file, const std::function<void(Json&)>& how) {
    const Changed folder("dense");
    folder.change(file, how);
    return folder.error();
  };
  EXPECT_THAT(
      with("modules.json", [](Json& j) { j[1]["type"] = "sentence_transformers.models.WordWeights"; }),
      HasSubstr("'WordWeights'"));
  EXPECT_THAT(with("modules.json", [](Json& j) { j[0]["type"] = "custom_st.Transformer"; }),
              HasSubstr("'custom_st.Transformer'"));
  EXPECT_THAT(with("modules.json", [](Json& j) { j[1]["path"] = "../1_Pooling"; }),
              HasSubstr("out of the folder"));
  EXPECT_THAT(with("modules.json", [](Json& j) { j.erase(1); }), HasSubstr("'Dense' before a 'Pooling'"));
  EXPECT_THAT(with("modules.json", [](Json& j) { j = Json::array(); }), HasSubstr("modules.json"));
  EXPECT_THAT(with("1_Pooling/config.json", [](Json& j) { j["pooling_mode"] = "median"; }),
              HasSubstr("'median'"));
  EXPECT_THAT(with("1_Pooling/config.json", [](Json& j) { j["more"] = 1; }), HasSubstr("'more'"));
  EXPECT_THAT(with("2_Dense/config.json", [](Json& j) { j["in_features"] = 47; }),
              HasSubstr("47 in_features"));
  EXPECT_THAT(with("2_Dense/config.json", [](Json& j) { j["out_features"] = 2000000000; }),
              HasSubstr("2_Dense/config.json"));
  EXPECT_THAT(with("2_Dense/config.json",
                   [](Json& j) { j["activation_function"] = "torch.nn.modules.activation.Mish"; }),
              HasSubstr("torch.nn.modules.activation.Mish"));
  EXPECT_THAT(with("2_Dense/config.json", [](Json& j) { j["module_input_name"] = "token_embeddings"; }),
              HasSubstr("module_input_name"));
  EXPECT_THAT(with("sentence_bert_config.json", [](Json& j) { j["max_seq_length"] = -1; }),
              HasSubstr("'max_seq_length' is -1"));
  EXPECT_THAT(with("sentence_bert_config.json", [](Json& j) { j["query_expansion"] = Json::object(); }),
              HasSubstr("query_expansion"));
  EXPECT_THAT(with("sentence_bert_config.json",
                   [](Json& j) {
                     j["modality_config"]["message"] = {{"method", "forward"}};
                   }),
              HasSubstr("modality_config.message"));
  const std::string settings = "config_sentence_transformers.json";
  EXPECT_THAT(with(settings, [](Json& j) { j["similarity_fn_name"] = "maxsim"; }), HasSubstr("maxsim"));
  EXPECT_THAT(with(settings, [](Json& j) { j["default_prompt_name"] = "nobody"; }), HasSubstr("'nobody'"));
  EXPECT_THAT(with(settings, [](Json& j) { j["model_type"] = "SparseEncoder"; }), HasSubstr("SparseEncoder"));
  EXPECT_THAT(with(settings, [](Json& j) { j["something"] = true; }), HasSubstr("'something'"));
}

TEST(SentenceFolders, LengthAndCaseAreAsTheySay) {
  NEEDS_PUBLISHED();
  const Changed folder("pool_mean");
  const auto longest = [&] { return SentenceEncoder::open(folder.path).options().text.max_seq_length; };
  EXPECT_EQ(longest(), 48);  // tokenizer_config.json's model_max_length
  folder.change("tokenizer_config.json", [](Json& j) { j["model_max_length"] = 1e30; });
  EXPECT_EQ(longest(), 64);  // the model's positions
  folder.change("sentence_bert_config.json", [](Json& j) { j["max_seq_length"] = 9; });
  EXPECT_EQ(longest(), 9);
  folder.change("sentence_bert_config.json", [](Json& j) { j["max_seq_length"] = nullptr; });
  EXPECT_EQ(longest(), 64);
  folder.change("sentence_bert_config.json", [](Json& j) { j["max_seq_length"] = 99; });
  EXPECT_EQ(longest(), 64);
  // Without a table of positions a folder may name more than config.json does.
  EXPECT_GT(ModernBertModel<float>::open(model_folder("modernbert")).max_length(), 1 << 20);
  EXPECT_GT(BertModel<float>::open(model_folder("deberta_v2")).max_length(), 1 << 20);

  folder.change("tokenizer_config.json", [](Json& j) { j["do_lower_case"] = false; });
  EXPECT_FALSE(same_bits(folder.encode("THE CAT"), folder.encode("the cat")));
  folder.change("sentence_bert_config.json", [](Json& j) { j["do_lower_case"] = true; });
  EXPECT_TRUE(same_bits(folder.encode("THE CAT"), folder.encode("the cat")));
}

TEST(CrossEncoder, TheActivationIsAsTheFolderSays) {
  NEEDS_PUBLISHED();
  const Changed folder("cross_one_label");
  const auto activation = [&] { return CrossEncoder::open(folder.path).activation(); };
  const std::string settings = "config_sentence_transformers.json", torch = "torch.nn.modules.activation.";
  EXPECT_EQ(activation(), Activation::sigmoid);
  folder.change(settings, [&](Json& j) { j["activation_fn"] = torch + "Tanh"; });
  EXPECT_EQ(activation(), Activation::tanh);
  for (const char* file : {"modules.json", "sentence_bert_config.json"})
    std::filesystem::remove(folder / file);
  EXPECT_EQ(activation(), Activation::sigmoid);  // of one label
  folder.change("config.json", [&](Json& j) { j["sbert_ce_default_activation_function"] = torch + "ReLU"; });
  EXPECT_EQ(activation(), Activation::relu);
  folder.change("config.json", [&](Json& j) {
    j["sentence_transformers"] = {{"activation_fn", "torch.nn.modules.linear.Identity"},
                                  {"version", "4.0.1"}};
  });
  EXPECT_EQ(activation(), Activation::identity);
  folder.change("config.json",
                [&](Json& j) { j["sentence_transformers"]["activation_fn"] = torch + "Mish"; });
  EXPECT_THAT(error_of([&] { activation(); }), HasSubstr("Mish"));
}

TEST(CrossEncoder, APairAloneIsWhatItIsAmongOthers) {
  NEEDS_PUBLISHED();
  const CrossEncoder encoder = CrossEncoder::open(published("sentence_transformers/cross_three_labels"));
  ASSERT_EQ(encoder.num_labels(), 3);
  std::vector<std::string> texts(100, "is it a new river?");
  texts[3] = "", texts[50] = std::string(3000, 'x'), texts[99] = "green tea";
  const Tensor<float, 2> all = encoder.score("x", texts);
  for (std::size_t i : {std::size_t{0}, std::size_t{3}, std::size_t{50}, std::size_t{98}, std::size_t{99}})
    EXPECT_TRUE(same_bits(all[static_cast<Index>(i)], encoder.score("x", texts[i]))) << i;
  EXPECT_TRUE(same_bits(encoder.score("x", "y", {.prompt = "a "}), encoder.score("a x", "y")));
  EXPECT_THAT(error_of([&] { CrossEncoder::open(published("sentence_transformers/pool_cls")); }),
              HasSubstr("SentenceTransformer"));
  EXPECT_THAT(error_of([&] { CrossEncoder::open(published("models/bert")); }), HasSubstr("classifier"));
}

}  // namespace
