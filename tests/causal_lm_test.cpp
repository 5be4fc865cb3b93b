// Decoder-only models against the values of transformers, and configs that must be refused.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/generation.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_or_none;
using attend_test::Folder;
using attend_test::model_folder;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

/// A folder of each family.
class CausalLMOf : public testing::TestWithParam<const char*> {
 protected:
  const fs::path folder = model_folder(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Families, CausalLMOf,
                         testing::Values("bloom", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "gpt_neox_odd",
                                         "granite", "llama", "llama3_rope", "mistral", "olmo2", "opt",
                                         "opt_projected", "phi3", "phi3_longrope", "qwen2", "qwen3",
                                         "smollm3", "old_style/gpt2", "old_style/llama3_rope"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '/', '_');
                           return name;
                         });

Tensor<std::int32_t, 2> ids_of(const SafeTensors& file, const char* name) {
  const Tensor<std::int64_t, 2> wide = file.read<std::int64_t, 2>(name);
  Tensor<std::int32_t, 2> ids(wide.shape());
  copy(wide, ids);
  return ids;
}

template <class Scalar>
double largest_difference(const Tensor<Scalar, 3>& got, const Tensor<double, 3>& expected) {
  EXPECT_EQ(got.shape(), expected.shape());
  if (got.shape() != expected.shape()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (std::size_t i = 0; i < got.span().size(); ++i) {
    const double difference = std::abs(static_cast<double>(got.span()[i]) - expected.span()[i]);
    if (!(difference <= largest)) largest = difference;  // a NaN stays
  }
  return largest;
}

TEST_P(CausalLMOf, LogitsAndGreedyIdsAreThoseOfTransformers) {
  const double yardstick = read_json(folder / "about.json").at("float32_max_abs_difference").get<double>();
  const double allowed = std::max(4 * yardstick, 2e-6);
  const SafeTensors expected(folder / "expected.safetensors");
  const Tensor<std::int32_t, 2> ids = ids_of(expected, "input_ids"), greedy = ids_of(expected, "greedy");
  const Tensor<double, 3> logits = expected.read<double, 3>("logits");
  const CausalLM<float> model = CausalLM<float>::open(folder);
  for (int threads : {1, 2}) {
    Context context(threads);
    const double difference = largest_difference(model.logits(context, ids), logits);
    EXPECT_LE(difference, allowed);

    Generator generator(std::make_shared<const CausalLM<float>>(model));
    const auto prompt = ids[0].span();
    GenerationOptions options{.max_new_tokens = greedy.size(1) - ids.size(1)};
    options.eos_token_ids.emplace();
    const Generation result = generator.generate(context, prompt, options);
    std::vector<std::int32_t> all(prompt.begin(), prompt.end());
    all.insert(all.end(), result.ids.begin(), result.ids.end());
    EXPECT_EQ(all, std::vector<std::int32_t>(greedy.span().begin(), greedy.span().end()));
  }
}

// transformers keeps norms and angles in float32 even there, so that the values of the file are not quite
// exact.
TEST_P(CausalLMOf, InDoubleIsCloserStill) {
  const SafeTensors expected(folder / "expected.safetensors");
  const CausalLM<double> model = CausalLM<double>::open(folder);
  const double difference = largest_difference(model.logits(default_context(), ids_of(expected, "input_ids")),
                                               expected.read<double, 3>("logits"));
  EXPECT_LE(
      difference,
      std::max(1.5 * read_json(folder / "about.json").at("float32_max_abs_difference").get<double>(), 1e-6));
}

TEST_P(CausalLMOf, PiecesAndBatchesGiveTheBitsOfTheWhole) {
  Context context(2);
  const CausalLM<float> model = CausalLM<float>::open(folder);
  const Index V = model.options().vocab_size;
  Index T = std::min<Index>(model.stable_length(), 450);  // more than one piece
  if (model.max_length() > 0) T = std::min(model.max_length(), T);
  Tensor<std::int32_t, 2> ids({1, T});
  for (Index t = 0; t < T; ++t) ids(0, t) = static_cast<std::int32_t>((t * t + 3 * t + 5) % V);
  const Tensor<float, 3> whole = model.logits(context, ids);
  CausalCache<float> cache = model.make_cache();
  Tensor<float, 3> step({1, 1, V});
  bool same = true;
  for (Index t = 0; t < T; t += t < 20 ? 1 : 37) {
    const Index end = std::min(T, t + (t < 20 ? 1 : 37));
    model.forward(context, Tensor<std::int32_t, 2>(ids.slice(1, t, end)), cache, step.view());
    for (Index v = 0; v < V; ++v) same = same && step(0, 0, v) == whole(0, end - 1, v);
  }
  EXPECT_TRUE(same);
  // a second sequence of another length beside the first
  CausalCache<float> both = model.make_cache(0), other = model.make_cache();
  cache.rewind(0, 0);
  model.forward(context, Tensor<std::int32_t, 2>(ids.slice(1, 0, T - 1)), cache, step.view());
  model.forward(context, Tensor<std::int32_t, 2>(ids.slice(1, 0, 6)), other, step.view());
  both.fork(cache, 0);
  both.fork(other, 0);
  Tensor<std::int32_t, 2> next({2, 1});
  next(0, 0) = ids(0, T - 1), next(1, 0) = ids(0, 6);
  Tensor<float, 3> two({2, 1, V});
  model.forward(context, next, both, two.view());
  for (Index v = 0; v < V; ++v)
    same = same && two(0, 0, v) == whole(0, T - 1, v) && two(1, 0, v) == whole(0, 6, v);
  EXPECT_TRUE(same);
}

/// A copy of a folder's config with changes, beside links to its other files.
class Changed {
 public:
  Changed(const fs::path& original, const Json& changes, const std::vector<std::string>& removed = {}) {
    Json config = read_json(original / "config.json");
    config.update(changes);
    for (const std::string& key : removed) config.erase(key);
    std::ofstream(folder_ / "config.json") << config;
    fs::copy_file(original / "model.safetensors", folder_ / "model.safetensors",
                  fs::copy_options::overwrite_existing);
  }
  std::string error() const {
    return error_or_none([&] { CausalLM<float>::open(folder_.path); });
  }
  const fs::path& folder() const { return folder_.path; }

 private:
  Folder folder_;
};

TEST(CausalLM, RefusesConfigsThatItDoesNotUnderstand) {
  const fs::path llama = model_folder("llama"), gpt2 = model_folder("gpt2");
  const auto check_error = [](const fs::path& folder, const Json& changes,
                              std::initializer_list<const char*> parts) {
    const std::string error = Changed(folder, changes).error();
    SCOPED_TRACE(changes.dump());
    EXPECT_NE(error, "");
    EXPECT_THAT(error, Not(HasSubstr("\n")));
    for (const char* part : parts) EXPECT_THAT(error, HasSubstr(part));
  };
  EXPECT_EQ(Changed(llama, Json::object()).error(), "");
  check_error(llama, {{"model_type", "mamba"}}, {"model_type", "mamba", "config.json"});
  check_error(llama, {{"unheard_of", 3}}, {"unheard_of"});
  check_error(llama, {{"hidden_act", "quick_gelu"}}, {"hidden_act", "quick_gelu"});
  check_error(llama, {{"rope_parameters", {{"rope_type", "mrope"}}}}, {"rope_type", "mrope"});
  check_error(llama, {{"rope_parameters", {{"rope_type", "default"}, {"mrope_section", {1, 2}}}}},
              {"mrope_section"});
  check_error(llama, {{"quantization_config", {{"bits", 4}}}}, {"quantization_config"});
  check_error(llama, {{"hidden_size", 48}}, {"model.safetensors"});
  check_error(llama, {{"hidden_size", "18"}}, {"hidden_size"});
  check_error(llama, {{"hidden_size", 0}}, {"hidden_size"});
  check_error(llama, {{"num_hidden_layers", -1}}, {"num_hidden_layers"});
  check_error(llama, {{"num_hidden_layers", 3}}, {"layers.2"});
  check_error(llama, {{"num_hidden_layers", 1}}, {"layers.1"});
  check_error(llama, {{"num_attention_heads", 2}}, {"mis-shaped", "q_proj"});
  check_error(llama, {{"vocab_size", 1000000000}}, {"config.json", "model.safetensors"});
  check_error(llama, {{"intermediate_size", 2000000000}}, {"config.json"});
  check_error(llama, {{"head_dim", 2000000000}}, {"config.json"});
  check_error(llama, {{"num_key_value_heads", 2000000000}}, {"config.json"});
  check_error(llama, {{"num_hidden_layers", 2000000000}}, {"2000000000"});
  check_error(model_folder("bloom"), {{"slow_but_exact", true}, {"pretraining_tp", 2}}, {"slow_but_exact"});
  check_error(llama, {{"attention_bias", true}}, {"q_proj.bias"});
  check_error(gpt2, {{"n_positions", 39}}, {"wpe.weight"});
  check_error(gpt2, {{"add_cross_attention", true}}, {"add_cross_attention"});
  check_error(model_folder("bloom"), {{"apply_residual_connection_post_layernorm", true}},
              {"apply_residual_connection_post_layernorm"});
  check_error(model_folder("qwen3"), {{"layer_types", {"full_attention", "linear"}}},
              {"layer_types", "linear"});
  check_error(model_folder("qwen3"), {{"layer_types", {"full_attention"}}}, {"layer_types"});
  check_error(
      llama,
      {{"rope_parameters", {{"rope_type", "linear"}, {"factor", 2.0}, {"partial_rotary_factor", 0.5}}}},
      {"partial_rotary_factor"});
  check_error(model_folder("gemma2"), {{"use_bidirectional_attention", true}},
              {"use_bidirectional_attention"});
  check_error(model_folder("gemma3_text"), {{"rope_parameters", {{"rope_theta", 100.0}}}}, {"rope_theta"});
  check_error(model_folder("gemma3_text"), {{"final_logit_softcapping", -1.0}}, {"final_logit_softcapping"});
  check_error(model_folder("phi3"), {{"rope_parameters", {{"rope_type", "yarn"}, {"factor", 2.0}}}},
              {"rope_type"});
  check_error(model_folder("phi3"), {{"lm_head_bias", true}}, {"lm_head_bias"});
  check_error(model_folder("phi3_longrope"), {{"original_max_position_embeddings", -1}},
              {"original_max_position_embeddings"});
  check_error(model_folder("smollm3"), {{"no_rope_layers", {1}}}, {"no_rope_layers"});
  check_error(model_folder("granite"), {{"logits_scaling", 0.0}}, {"logit"});
  check_error(model_folder("opt"), {{"learned_embeddings", false}}, {"learned_embeddings"});
  check_error(model_folder("opt"), {{"scale_embeddings", true}}, {"scale_embeddings"});
  check_error(model_folder("opt"), {{"word_embed_proj_dim", 14}}, {"project_in"});
  EXPECT_THROW(CausalLM<float>::open(model_folder("no such folder")), Error);
}

std::vector<float> logits_of(const char* family, const Json& changes,
                             const std::vector<std::string>& removed = {}) {
  const fs::path original = model_folder(family);
  const Changed changed(original, changes, removed);
  const SafeTensors expected(original / "expected.safetensors");
  const auto y =
      CausalLM<float>::open(changed.folder()).logits(default_context(), ids_of(expected, "input_ids"));
  return std::vector<float>(y.span().begin(), y.span().end());
}

TEST(CausalLM, SettingsThatSayTheSameGiveTheSameLogits) {
  const Json old_rope = {{"rope_theta", 30.0},
                         {"rope_scaling",
                          {{"type", "llama3"},
                           {"factor", 8.0},
                           {"high_freq_factor", 4.0},
                           {"low_freq_factor", 1.0},
                           {"original_max_position_embeddings", 32}}}};
  EXPECT_EQ(logits_of("llama3_rope", old_rope, {"rope_parameters"}),
            logits_of("llama3_rope", Json::object()));
  EXPECT_EQ(logits_of("gpt_neox", {{"rotary_pct", 0.7}, {"rotary_emb_base", 10000}}, {"rope_parameters"}),
            logits_of("gpt_neox", Json::object()));
  EXPECT_EQ(logits_of("bloom", {{"n_embed", 18}, {"num_attention_heads", 3}, {"seq_length", 7}},
                      {"hidden_size", "n_head"}),
            logits_of("bloom", Json::object()));
  EXPECT_EQ(logits_of("gemma2", Json::object(), {"layer_types"}), logits_of("gemma2", Json::object()));
  EXPECT_EQ(logits_of("gemma3_text",
                      {{"rope_theta", 1000000.0},
                       {"rope_local_base_freq", 10000.0},
                       {"rope_scaling", nullptr},
                       {"sliding_window_pattern", 2}},
                      {"rope_parameters", "layer_types"}),
            logits_of("gemma3_text", Json::object()));
  EXPECT_EQ(logits_of("phi3_longrope",
                      {{"rope_theta", 100.0},
                       {"partial_rotary_factor", 0.7},
                       {"rope_scaling",
                        {{"type", "su"}, {"short_factor", {1.0, 1.5}}, {"long_factor", {3.0, 7.0}}}}},
                      {"rope_parameters"}),
            logits_of("phi3_longrope", Json::object()));
  EXPECT_EQ(logits_of("smollm3", {{"no_rope_layer_interval", 2}}, {"no_rope_layers"}),
            logits_of("smollm3", Json::object()));
  // Weights with a head of their own are not tied, whatever the config says.
  for (const char* family : {"llama", "gpt_neox"})
    EXPECT_EQ(logits_of(family, {{"tie_word_embeddings", true}}), logits_of(family, Json::object()));
  // A share that the family does not read, and a length of training beside the object, which counts.
  EXPECT_EQ(logits_of("llama", {{"partial_rotary_factor", 0.5}}), logits_of("llama", Json::object()));
  const auto llama3 = [](Index original) {
    return Json{{"rope_type", "llama3"},  {"factor", 8.0},
                {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0},
                {"rope_theta", 30.0},     {"original_max_position_embeddings", original}};
  };
  EXPECT_EQ(
      logits_of("llama3_rope", {{"rope_parameters", llama3(64)}, {"original_max_position_embeddings", 32}}),
      logits_of("llama3_rope", Json::object()));
  EXPECT_EQ(logits_of("llama3_rope", {{"rope_parameters", llama3(64)}, {"rope_scaling", llama3(32)}}),
            logits_of("llama3_rope", {{"rope_theta", 30.0}}));
  // Names that other families have for these.
  EXPECT_EQ(logits_of("gpt_neox", {{"rope_theta", 30.0}, {"partial_rotary_factor", 0.3}}),
            logits_of("gpt_neox", Json::object()));
  EXPECT_EQ(logits_of("mistral", {{"layer_types", {"full_attention", "full_attention"}}}),
            logits_of("mistral", Json::object()));
  // As transformers reads them: the old name of the type changes none that is there, and a ramp of one kind
  // of layers begins and ends at whole dimensions.
  const Json linear = {{"type", "linear"}, {"factor", 3.0}};
  EXPECT_EQ(logits_of("gemma3_text", {{"rope_scaling", linear}}, {"rope_parameters"}),
            logits_of("gemma3_text", Json::object(), {"rope_parameters"}));
  const auto yarn = [](bool truncate) {
    return Json{{"full_attention",
                 {{"rope_type", "yarn"},
                  {"factor", 4.0},
                  {"rope_theta", 30.0},
                  {"original_max_position_embeddings", 16},
                  {"truncate", truncate}}}};
  };
  EXPECT_EQ(logits_of("gemma3_text", {{"rope_parameters", yarn(false)}}),
            logits_of("gemma3_text", {{"rope_parameters", yarn(true)}}));
  // Qwen2 without layer_types: the layers from max_window_layers on slide
  EXPECT_EQ(
      logits_of("qwen2", {{"use_sliding_window", true}, {"sliding_window", 3}, {"max_window_layers", 1}},
                {"layer_types"}),
      logits_of("qwen2", {{"use_sliding_window", true},
                          {"sliding_window", 3},
                          {"layer_types", {"full_attention", "sliding_attention"}}}));
}

// As transformers, where one sets the other.
TEST(CausalLM, TheNameThatAllModelsHaveGoesBeforeTheFamilys) {
  const auto of = [](const char* type, const char* own, const char* common) {
    Json json = read_json(model_folder(type) / "config.json");
    json[own] = 2, json[common] = 1;
    return read_causal_family(Config(json.dump(), "config.json")).options;
  };
  for (const char* type : {"gpt2", "bloom"}) {
    EXPECT_EQ(of(type, "n_layer", "num_hidden_layers").blocks.size(), 1u) << type;
    EXPECT_EQ(of(type, "n_head", "num_attention_heads").blocks[0].num_heads, 1) << type;
  }
}

TEST(CausalLM, SettingsOfTheArithmeticChangeTheLogits) {
  struct Change {
    const char* family;
    Json changes;
  };
  for (const Change& c :
       {Change{"mistral", {{"sliding_window", nullptr}}},
        Change{"mistral", {{"sliding_window", 4}}},
        Change{"llama3_rope", {{"rope_parameters", {{"rope_theta", 30.0}}}}},
        Change{"gemma2", {{"attn_logit_softcapping", nullptr}}},
        Change{"gemma2", {{"final_logit_softcapping", nullptr}}},
        Change{"gemma2", {{"query_pre_attn_scalar", 8}}},
        Change{"gemma2", {{"sliding_window", 5}}},
        Change{"gpt2", {{"scale_attn_weights", false}}},
        Change{"gpt2", {{"scale_attn_by_inverse_layer_idx", true}}},
        Change{"gpt2", {{"activation_function", "gelu"}}},
        Change{"gpt_neox", {{"use_parallel_residual", false}}},
        Change{"qwen2",
               {{"use_sliding_window", true},
                {"sliding_window", 3},
                {"layer_types", {"full_attention", "sliding_attention"}}}},
        Change{"gemma3_text", {{"sliding_window", 4}}},
        Change{"gemma3_text", {{"use_bidirectional_attention", true}}},
        Change{"gemma3_text", {{"query_pre_attn_scalar", 8}}},
        Change{"gemma3_text", {{"rope_parameters", {{"full_attention", {{"rope_theta", 10000.0}}}}}}},
        Change{"gemma3_text", {{"rope_parameters", {{"sliding_attention", {{"rope_theta", 1000.0}}}}}}},
        Change{"gemma3_text", {{"layer_types", {"full_attention", "sliding_attention"}}}},
        Change{"gemma3_text", {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 3.0}}}}},
        Change{"granite", {{"attention_multiplier", 0.3}}},
        Change{"granite", {{"embedding_multiplier", 2.0}}},
        Change{"granite", {{"residual_multiplier", 1.0}}},
        Change{"granite", {{"logits_scaling", 1.0}}},
        Change{"opt", {{"activation_function", "gelu"}}},
        Change{"phi3", {{"sliding_window", 4}}},
        Change{"phi3_longrope", {{"original_max_position_embeddings", 8}}},
        Change{"smollm3", {{"no_rope_layers", {1, 1}}}},
        Change{"smollm3", {{"sliding_window", 4}, {"layer_types", {"sliding_attention", "full_attention"}}}},
        Change{"bloom", {{"layer_norm_epsilon", 0.1}}}}) {
    SCOPED_TRACE(c.family + (" with " + c.changes.dump()));
    EXPECT_NE(logits_of(c.family, c.changes), logits_of(c.family, Json::object()));
  }
}

TEST(CausalLM, LoadsNamesWithAndWithoutPrefixAndTiedHeads) {
  struct Variant {
    const char* family;
    const char* prefix;                                     // that goes
    std::vector<std::pair<std::string, std::string>> also;  // a copy of a tensor under another name
    std::string without;
  };
  for (const Variant& v :
       {Variant{"llama3_rope", "model.", {{"model.embed_tokens.weight", "lm_head.weight"}}, ""},
        Variant{"llama3_rope",
                "",
                {{"model.embed_tokens.weight", "lm_head.weight"}},
                "model.embed_tokens.weight"},
        Variant{"gemma2", "model.", {}, ""}, Variant{"gemma3_text", "model.", {}, ""},
        Variant{"opt_projected", "model.", {}, ""},
        Variant{"gpt2", "transformer.", {{"transformer.wte.weight", "lm_head.weight"}}, ""},
        Variant{"bloom", "transformer.", {{"transformer.word_embeddings.weight", "lm_head.weight"}}, ""},
        Variant{"gpt_neox",
                "gpt_neox.",
                {{"embed_out.weight", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"}},
                ""},
        Variant{
            "qwen3", "model.", {{"lm_head.weight", "model.layers.1.self_attn.rotary_emb.inv_freq"}}, ""}}) {
    const fs::path original = model_folder(v.family);
    SCOPED_TRACE(v.family);
    const Changed changed(original, Json::object());
    const SafeTensors file(original / "model.safetensors");
    std::vector<SafeTensorsWriter::Info> infos;
    std::vector<const SafeTensors::Entry*> entries;
    const auto add = [&](const SafeTensors::Entry& entry, std::string name) {
      if (name == v.without) return;
      if (name.starts_with(v.prefix)) name = name.substr(std::string(v.prefix).size());
      infos.push_back({name, entry.dtype, entry.shape});
      entries.push_back(&entry);
    };
    for (const SafeTensors::Entry& entry : file.entries()) add(entry, entry.name);
    for (const auto& [from, to] : v.also) add(file.at(from), to);
    SafeTensorsWriter writer(changed.folder() / "model.safetensors", infos, {});
    for (const SafeTensors::Entry* entry : entries) writer.write({entry->data, entry->size});
    writer.commit();
    const auto ids = ids_of(SafeTensors(original / "expected.safetensors"), "input_ids");
    const auto got = CausalLM<float>::open(changed.folder()).logits(default_context(), ids);
    const auto expected = CausalLM<float>::open(original).logits(default_context(), ids);
    EXPECT_TRUE(std::equal(got.span().begin(), got.span().end(), expected.span().begin()));
  }
}

// The frequencies of Phi-3's longrope change at 15 tokens, for all that came before, too.
TEST(CausalLM, WhatDependsOnTheLengthIsComputedAnewWhereItChanges) {
  const auto model =
      std::make_shared<const CausalLM<float>>(CausalLM<float>::open(model_folder("phi3_longrope")));
  EXPECT_EQ(model->stable_length(), 15);
  Context context;
  GenerationOptions options{.max_new_tokens = 9};
  options.eos_token_ids.emplace();
  const std::vector<std::vector<std::int32_t>> prompts{
      {9, 7, 11, 30, 4, 8, 21, 5, 17, 40, 3},
      {4, 6},
      {12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27}};
  std::vector<std::vector<std::int32_t>> alone;
  for (const auto& prompt : prompts) {
    const std::vector<std::int32_t> more = Generator(model).generate(context, prompt, options).ids;
    // Each token is the likeliest of a model that reads all before it at once.
    std::vector<std::int32_t> all = prompt;
    for (std::int32_t id : more) {
      const auto logits = model->logits(context, {all.data(), {1, static_cast<Index>(all.size())}});
      const auto last = logits.view()[0][static_cast<Index>(all.size()) - 1].span();
      EXPECT_EQ(id, std::max_element(last.begin(), last.end()) - last.begin()) << all.size();
      all.push_back(id);
    }
    alone.push_back(more);
  }
  Generator generator(model);
  const auto together = generator.generate(context, prompts, options);
  for (std::size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(together[i].ids, alone[i]);
  // A conversation that grows past the change, and one that goes back.
  std::vector<std::int32_t> longer = prompts[0];
  longer.insert(longer.end(), {2, 8, 19, 33, 7, 1});
  for (const auto& prompt : {prompts[0], longer, prompts[0]})
    EXPECT_EQ(generator.generate(context, prompt, options).ids,
              Generator(model).generate(context, prompt, options).ids);
}

TEST(CausalLM, WithoutOptionsOrMovedFromGivesNoLogits) {
  const auto refuses = [](const CausalLM<float>& model) {
    const Tensor<std::int32_t, 2> ids({1, 2});
    Context context;
    EXPECT_THAT(error_or_none([&] { model.logits(context, ids); }), HasSubstr("CausalLM"));
    EXPECT_THAT(error_or_none([&] {
                  auto cache = model.make_cache();
                  Tensor<float, 3> logits({1, 2, 8});
                  model.forward(context, ids, cache, logits);
                }),
                HasSubstr("CausalLM"));
  };
  refuses({});
  CausalLM<float> model = CausalLM<float>::open(model_folder("gpt2"));
  const CausalLM<float> moved = std::move(model);
  refuses(model);
  const Tensor<std::int32_t, 2> ids({1, 2});
  Context context;
  EXPECT_EQ(moved.logits(context, ids).size(1), 2);
}

TEST(CausalLM, RefusesCallsThatDoNotFit) {
  const CausalLM<float> model = CausalLM<float>::open(model_folder("gpt2"));
  Context context;
  EXPECT_THROW(model.logits(context, Tensor<std::int32_t, 2>({1, 2}, 53)), Error);
  EXPECT_THROW(model.logits(context, Tensor<std::int32_t, 2>({1, 2}, -1)), Error);
  EXPECT_THROW(model.logits(context, Tensor<std::int32_t, 2>({1, 41}, 1)), Error);
  EXPECT_EQ(model.logits(context, Tensor<std::int32_t, 2>({1, 40}, 1)).size(1), 40);
  CausalCache<float> cache = model.make_cache(2);
  Tensor<float, 3> logits({1, 1, 53});
  EXPECT_THROW(model.forward(context, Tensor<std::int32_t, 2>({1, 1}, 1), cache, logits.view()), Error);
}

}  // namespace
