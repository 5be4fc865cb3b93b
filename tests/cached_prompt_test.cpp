// Caches in files: the bits of a fresh prefill, and nothing of another model.
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <attend/io/fingerprint.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/model/generation_batch.hpp>

#include "support.hpp"
#include "tiny_models.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::random_ids;
using Ids = std::vector<std::int32_t>;
using testing::HasSubstr;
namespace fs = std::filesystem;

Tensor<float, 3> go_on(const CausalLM<float>& model, CausalCache<float>& cache, const Ids& ids) {
  Tensor<float, 3> logits({1, 1, model.options().vocab_size});
  model.forward(default_context(), {ids.data(), {1, static_cast<Index>(ids.size())}}, cache, logits.view());
  return logits;
}

TEST(CachedPrompt, GoesOnWithTheBitsOfAFreshPrefill) {
  const attend_test::Folder scratch;
  const fs::path file = scratch.path / "prompt.safetensors";
  const CausalLM<float> model = attend_test::tiny_causal_lm();  // with a window in one of its layers
  const std::string name = fingerprint(default_context(), model);
  const Ids more = random_ids(150, 50, 9);
  for (Index tokens : {1, 95, 96, 97, 115, 116, 117, 400, 700}) {
    SCOPED_TRACE(tokens);
    CachedPrompt made =
        CachedPrompt::compute(default_context(), model, random_ids(static_cast<std::size_t>(tokens), 50));
    made.save(file, name);
    CachedPrompt read = CachedPrompt::load(file, model, name);
    EXPECT_EQ(read.ids, made.ids);
    EXPECT_EQ(read.cache.length(0), tokens);
    EXPECT_TRUE(attend_test::same_bits(go_on(model, read.cache, more), go_on(model, made.cache, more)));
  }
}

TEST(CachedPrompt, StartsAGenerator) {
  const attend_test::Folder scratch;
  const fs::path file = scratch.path / "prompt.safetensors";
  const auto model = std::make_shared<const CausalLM<float>>(attend_test::tiny_causal_lm());
  const std::string name = fingerprint(default_context(), *model);
  const Ids system = random_ids(300, 50);
  Ids prompt = system;
  prompt.insert(prompt.end(), {1, 2, 3});
  Context context;
  const GenerationOptions options{.max_new_tokens = 12, .eos_token_ids = Ids{}};
  Generator fresh(model), other(model);
  const Generation expected = fresh.generate(context, prompt, options);
  CachedPrompt::compute(context, *model, system).save(file, name);
  other.set_cached_prompt(CachedPrompt::load(file, *model, name));
  EXPECT_EQ(std::vector(other.cached().begin(), other.cached().end()), system);
  const Generation got = other.generate(context, prompt, options);
  EXPECT_EQ(got.reused, 300);
  EXPECT_EQ(got.ids, expected.ids);
  other.cached_prompt().save(file, name);  // a conversation
  EXPECT_EQ(CachedPrompt::load(file, *model, name).ids.size(), prompt.size() + 11);

  CachedPrompt::compute(context, *model, system).save(file, name);
  GenerationBatch batch(model);
  batch.keep(CachedPrompt::load(file, *model, name));
  batch.join(prompt, options);
  std::vector<GenerationBatch::Ended> ended;
  while (ended.empty()) ended = batch.step(context);
  EXPECT_EQ(ended[0].generation.reused, 300);
  EXPECT_EQ(ended[0].generation.ids, expected.ids);
}

TEST(CachedPrompt, OfAnotherModelIsAnError) {
  const attend_test::Folder scratch;
  const fs::path file = scratch.path / "prompt.safetensors";
  CausalLM<float> model = attend_test::tiny_causal_lm();
  const std::string name = fingerprint(default_context(), model);
  EXPECT_EQ(name.size(), 16u);
  CachedPrompt::compute(default_context(), model, random_ids(40, 50)).save(file, name);
  // One weight, or an option that no weight shows.
  CausalLM<float> changed = model;
  bool first = true;
  changed.parameters([&](const std::string&, Parameter<float> parameter) {
    if (!std::exchange(first, false)) return;
    std::vector<float> row(static_cast<std::size_t>(parameter.row_size()));
    parameter.assign(parameter.rows() - 1, parameter.rows(), row.data());
  });
  CausalLMOptions options = model.options();
  options.rotary->rope_theta = 20000;
  CausalLM<float> turned(options);
  attend_test::fill_parameters<float>(turned);
  for (const CausalLM<float>* other : {&changed, &turned}) {
    const std::string its = fingerprint(default_context(), *other);
    EXPECT_NE(its, name);
    EXPECT_THAT(
        error_of([&] { CachedPrompt::load(file, *other, its); }),
        testing::AllOf(HasSubstr("of another model"), HasSubstr(name), HasSubstr("prompt.safetensors")));
  }
  EXPECT_EQ(fingerprint(default_context(), model), name);
}

TEST(CachedPrompt, OfOtherSizesIsNoneOfAGenerators) {
  CausalLMOptions options = attend_test::tiny_causal_lm().options();
  for (CausalBlockOptions& block : options.blocks) block.num_kv_heads = 4;
  CausalLM<float> wide(options);
  attend_test::fill_parameters<float>(wide);
  Generator generator(attend_test::tiny_causal_lm());
  const Ids prompt{1, 2, 3};
  const Ids expected = generator.generate(default_context(), prompt).ids;
  EXPECT_THAT(error_of([&] {
                generator.set_cached_prompt(CachedPrompt::compute(default_context(), wide, {1, 2, 3, 4}));
              }),
              HasSubstr("num_kv_heads"));
  EXPECT_EQ(generator.generate(default_context(), prompt).ids, expected);
}

TEST(CachedPrompt, ThatIsBrokenIsAnError) {
  const attend_test::Folder scratch;
  const fs::path file = scratch.path / "prompt.safetensors";
  const CausalLM<float> model = attend_test::tiny_causal_lm();
  const auto load = [&] { return error_of([&] { CachedPrompt::load(file, model, "it"); }); };
  const Metadata right{{"attend.cached_prompt", "1"}, {"attend.fingerprint", "it"}};
  const Tensor<std::int32_t, 1> ids({3}, {1, 2, 3}), wrong({3}, {1, 2, 50});
  const Tensor<float, 3> layer({2, 3, 8}), shorter({2, 2, 8}), none({2, 0, 8});
  const auto save = [&](const Tensor<std::int32_t, 1>& tokens, const Tensor<float, 3>& value,
                        const Metadata& metadata) {
    save_safetensors(file,
                     {{"ids", tokens},
                      {"layers.0.key", layer},
                      {"layers.0.value", layer},
                      {"layers.1.key", value},
                      {"layers.1.value", value}},
                     metadata);
  };
  save(ids, layer, right);
  EXPECT_EQ(CachedPrompt::load(file, model, "it").cache.length(0), 3);
  save(ids, layer, {});
  EXPECT_THAT(load(), HasSubstr("not a cached prompt"));
  save(wrong, layer, right);
  EXPECT_THAT(load(), HasSubstr("id 50"));
  save(ids, shorter, right);
  EXPECT_THAT(load(), HasSubstr("has 2 of 3 tokens"));
  save(ids, none, right);
  EXPECT_THAT(load(), HasSubstr("has 0 of 3 tokens"));
  save_safetensors(file, {{"ids", ids}}, right);
  EXPECT_THAT(load(), HasSubstr("layers.0.key"));
}

TEST(Fingerprint, OfAFolderLeavesOutWhatAttendPutsThere) {
  const attend_test::Folder scratch;
  const auto write = [&](const char* name, const char* text) {
    fs::create_directories((scratch.path / name).parent_path());
    std::ofstream(scratch.path / name) << text;
  };
  write("config.json", "{}");
  write("1_Pooling/config.json", "{}");
  const std::string before = folder_fingerprint(scratch.path);
  write("attend_golden.safetensors", "x");
  write("README.md", "x");
  write("index.safetensors", "x");
  EXPECT_EQ(folder_fingerprint(scratch.path, "index.safetensors"), before);
  EXPECT_NE(folder_fingerprint(scratch.path), before);
  write("index.safetensors", "y");
  EXPECT_EQ(folder_fingerprint(scratch.path, "index.safetensors"), before);
  write("1_Pooling/config.json", "{ }");
  EXPECT_NE(folder_fingerprint(scratch.path, "index.safetensors"), before);
}

}  // namespace
