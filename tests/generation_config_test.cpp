// generation_config.json: what it says is what is generated, as transformers does it; what is not supported
// is an error that names it.
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/generation.hpp>
#include <attend/model/generation_config.hpp>
#include <attend/model/seq2seq_families.hpp>
#include <attend/model/translator.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::model_folder;
using testing::HasSubstr;
using Ids = std::vector<std::int32_t>;

GenerationOptions read(const std::string& json, const GenerationOptions& otherwise = {}) {
  return read_generation_options(Config(json, "generation_config.json"), otherwise);
}
std::string error(const std::string& json) {
  return error_of([&] { read(json); });
}

// Made with transformers 5.24 in float32 from the tiny models: random settings, prompt and result.
TEST(GenerationConfig, IdsAreThoseOfTransformers) {
  Context context;
  const Json cases = read_json(std::filesystem::path(ATTEND_SOURCE_DIR) / "tests/generation/cases.json");
  ASSERT_GT(cases.size(), 30u);
  for (const Json& item : cases) {
    SCOPED_TRACE(item.dump());
    const std::filesystem::path folder = model_folder(item["model"]);
    const GenerationOptions options = read(item["config"].dump());
    const Ids prompt = item["ids"], expected = item["expected"];
    if (read_json(folder / "config.json").value("is_encoder_decoder", false)) {
      EXPECT_EQ(generate(context, open_seq2seq<float>(folder), prompt, options), expected);
    } else {
      EXPECT_EQ(Generator(CausalLM<float>::open(folder)).generate(context, prompt, options).ids, expected);
    }
  }
}

TEST(GenerationConfig, SamplesOnlyWhereItSaysSo) {
  EXPECT_EQ(read(R"({"temperature": 0.6, "top_p": 0.9})").temperature, 0);
  const GenerationOptions o = read(R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9})");
  EXPECT_EQ(o.temperature, 0.6);
  EXPECT_EQ(o.top_p, 0.9);
  EXPECT_EQ(o.top_k, 50);  // transformers' own
  EXPECT_EQ(read(R"({"do_sample": true})").temperature, 1);
}

TEST(GenerationConfig, LengthsThatItDoesNotSayAreTheCallers) {
  EXPECT_EQ(read("{}", {.max_new_tokens = 77}).max_new_tokens, 77);
  const GenerationOptions total = read(R"({"max_length": 9})", {.max_new_tokens = 77});
  EXPECT_EQ(total.max_length, 9);
  EXPECT_GT(total.max_new_tokens, 77);
  const GenerationOptions both = read(R"({"max_length": 9, "max_new_tokens": 5})");
  EXPECT_EQ(both.max_length, 0);
  EXPECT_EQ(both.max_new_tokens, 5);
}

TEST(GenerationConfig, ALeastLengthDoesNotCountBesideLeastNewTokens) {
  EXPECT_EQ(read(R"({"min_length": 9})").min_length, 9);
  const GenerationOptions both = read(R"({"min_length": 9, "min_new_tokens": 0})");
  EXPECT_EQ(both.min_length, 0);
  EXPECT_EQ(both.min_new_tokens, 0);
}

TEST(GenerationConfig, NamesWhatItDoesNotSupport) {
  for (const char* member :
       {R"("typical_p": 0.9)", R"("encoder_no_repeat_ngram_size": 3)", R"("num_beam_groups": 2)",
        R"("sequence_bias": [[[1], 2.0]])", R"("guidance_scale": 2)", R"("num_return_sequences": 2)",
        R"("stop_strings": ["x"])", R"("penalty_alpha": 0.5)", R"("early_stopping": "soon")",
        R"("tempratur": 0.5)", R"("token_healing": true)", R"("max_length": -1)", R"("bad_words_ids": [[]])",
        R"("max_length": 0)"}) {
    const std::string text(member), name = text.substr(1, text.find('"', 1) - 1);
    EXPECT_THAT(error("{" + text + "}"),
                testing::AllOf(HasSubstr("generation_config.json"), HasSubstr(name)));
  }
  EXPECT_THAT(error(R"({"do_sample": true, "num_beams": 3})"), HasSubstr("num_beams"));
  EXPECT_THAT(error(R"({"do_sample": true, "temperature": 0.0})"), HasSubstr("temperature"));
  EXPECT_THAT(error(R"({"suppress_tokens": [3], "forced_bos_token_id": 3})"), HasSubstr("suppress_tokens"));
  EXPECT_EQ(read(R"({"typical_p": 1.0, "num_return_sequences": 1, "unheard_of": null, "use_cache": true,
                     "transformers_version": "5.24.0", "diversity_penalty": 0.0})")
                .temperature,
            0);
}

TEST(GenerationConfig, OldFoldersSayItInConfigJson) {
  attend_test::Folder folder;
  folder.write("config.json",
               R"({"model_type": "bart", "num_beams": 4, "bad_words_ids": [[58100]], "max_length": 512,
                                  "bos_token_id": 7, "force_bos_token_to_be_generated": true, "eos_token_id": 3, "d_model": 16})");
  GenerationOptions o = open_generation_options(folder.path);
  EXPECT_EQ(o.num_beams, 4);
  EXPECT_EQ(o.max_length, 512);
  EXPECT_EQ(o.bad_words_ids, (std::vector<Ids>{{58100}}));
  EXPECT_EQ(o.forced_bos_token_id, 7);
  EXPECT_EQ(o.eos_token_ids, Ids{3});
  folder.write("generation_config.json", R"({"num_beams": 2})");
  o = open_generation_options(folder.path);
  EXPECT_EQ(o.num_beams, 2);
  EXPECT_TRUE(o.bad_words_ids.empty());
  EXPECT_EQ(o.eos_token_ids, Ids{});  // ends by length alone, as in transformers
}

TEST(Generation, EndsWhereMaxLengthSays) {
  Context context;
  Generator generator(CausalLM<float>::open(model_folder("llama")));
  const Ids prompt{5, 6, 7};
  GenerationOptions options{.max_new_tokens = 20, .eos_token_ids = Ids{}, .max_length = 8};
  EXPECT_EQ(generator.generate(context, prompt, options).ids.size(), 5u);
  options.max_length = 3;
  EXPECT_THAT(error_of([&] { generator.generate(context, prompt, options); }),
              HasSubstr("the prompt has 3 tokens, max_length is 3"));
}

TEST(Generation, LogProbabilitiesAreThoseOfTheModelWhateverIsChosen) {
  Context context;
  Generator generator(CausalLM<float>::open(model_folder("llama")));
  const Ids prompt{5, 6, 7};
  for (const GenerationOptions& how :
       {GenerationOptions{}, GenerationOptions{.temperature = 2, .top_k = 5, .repetition_penalty = 2},
        GenerationOptions{.num_beams = 3}}) {
    GenerationOptions options = how;
    options.max_new_tokens = 6;
    options.eos_token_ids.emplace();
    options.logprobs = 4;
    const Generation got = generator.generate(context, prompt, options);
    Ids all = prompt;
    all.insert(all.end(), got.ids.begin(), got.ids.end());
    const Tensor<float, 3> logits =
        generator.model().logits(context, {all.data(), {1, static_cast<Index>(all.size())}});
    ASSERT_EQ(got.logprobs.size(), 6u);
    for (std::size_t i = 0; i < 6; ++i) {
      const auto row = logits.view()[0][static_cast<Index>(i) + 2].span();
      double sum = 0;
      for (float x : row) sum += std::exp(static_cast<double>(x));
      const TokenLogprob& token = got.logprobs[i];
      EXPECT_EQ(token.id, got.ids[i]);
      EXPECT_NEAR(token.logprob, row[static_cast<std::size_t>(token.id)] - std::log(sum), 1e-5);
      ASSERT_EQ(token.top.size(), 4u);
      EXPECT_NEAR(token.top[0].second, *std::max_element(row.begin(), row.end()) - std::log(sum), 1e-5);
      for (std::size_t k = 1; k < 4; ++k) EXPECT_GE(token.top[k - 1].second, token.top[k].second);
      EXPECT_EQ(row[static_cast<std::size_t>(token.top[0].first)], *std::max_element(row.begin(), row.end()));
    }
    const auto scored = generator.score(context, all, 3, 4);
    ASSERT_EQ(scored.size(), 6u);
    for (std::size_t i = 0; i < 6; ++i) {
      EXPECT_EQ(scored[i].logprob, got.logprobs[i].logprob);
      EXPECT_EQ(scored[i].top, got.logprobs[i].top);
    }
  }
  EXPECT_EQ(generator.score(context, prompt).size(), 2u);
  EXPECT_THROW(generator.score(context, Ids{}), Error);
  EXPECT_THROW(generator.score(context, prompt, 0), Error);
}

TEST(Generation, InvalidLogitsAreReplacedWhereAsked) {
  Context context;
  const float infinity = std::numeric_limits<float>::infinity(),
              nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> logits{-1, nan, -infinity, -2};
  const GenerationOptions options{.remove_invalid_values = true};
  EXPECT_EQ(Sampler(options)(context, Ids{}, logits), 1);  // NaN counts as 0
  EXPECT_EQ(logits[2], -(std::numeric_limits<float>::max)());
}

}  // namespace
