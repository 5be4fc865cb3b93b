// Callbacks of generation run on the caller's thread and may throw: what comes after is as if the call had
// not been.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <attend/model/generation.hpp>
#include <attend/model/translator.hpp>

#include "support.hpp"
#include "tiny_models.hpp"

namespace {
using namespace attend;
using namespace attend_test;

struct Thrown {};

using Ids = std::vector<std::int32_t>;

Ids ids_of(const std::vector<Generation>& generations) {
  Ids all;
  for (const Generation& g : generations) all.insert(all.end(), g.ids.begin(), g.ids.end());
  return all;
}

class GenerationCallbacks : public testing::TestWithParam<int> {
 protected:
  GenerationCallbacks() : context_(GetParam()) {}

  /// A call that fails with `broken` options or callback leaves the generator so that `good` gives what a new
  /// one gives.
  void check(std::span<const Ids> prompts, const GenerationOptions& good, const GenerationOptions& broken,
             const TokenCallback& callback) {
    Generator fresh(model_);
    const Ids expected = ids_of(fresh.generate(context_, prompts, good));
    Generator generator(model_);
    generator.generate(context_, prompts.first(1), good);  // a conversation so far
    for (int round = 0; round < 3; ++round) {
      EXPECT_THROW(generator.generate(context_, prompts, broken, callback), Thrown);
      EXPECT_EQ(ids_of(generator.generate(context_, prompts, good)), expected);
    }
    EXPECT_EQ(static_cast<Index>(generator.cached().size()) > 0, true);
  }

  std::shared_ptr<const CausalLM<float>> model_ = std::make_shared<const CausalLM<float>>(tiny_causal_lm());
  Context context_;
};

TEST_P(GenerationCallbacks, ThatThrowLeaveTheConversationUsable) {
  const std::vector<Ids> prompts{random_ids(30, 50), random_ids(25, 50, 2), random_ids(41, 50, 3)};
  for (GenerationOptions options :
       {GenerationOptions{.max_new_tokens = 8}, GenerationOptions{.max_new_tokens = 8, .temperature = 1},
        GenerationOptions{.max_new_tokens = 5, .num_beams = 3}}) {
    options.eos_token_ids.emplace();
    for (const std::size_t count : {std::size_t{1}, prompts.size()})
      for (const int at : {0, 3}) {
        int calls = 0;
        check(std::span(prompts).first(count), options, options,
              [&](Index, std::int32_t) { return calls++ % 4 == at ? throw Thrown() : true; });
      }
    GenerationOptions broken = options;
    int calls = 0;
    broken.logits_processors = {
        [&](std::span<const std::int32_t>, std::span<float>) { calls++ % 4 == 3 ? throw Thrown() : void(); }};
    check(prompts, options, broken, {});
  }
}

TEST_P(GenerationCallbacks, ThatThrowLeaveAnEncoderDecoderUsable) {
  const Seq2Seq<float> model = tiny_seq2seq();
  const Ids source = random_ids(12, 40);
  for (const Index beams : {1, 3}) {
    GenerationOptions options{.max_new_tokens = 6, .num_beams = beams}, broken = options;
    const Ids expected = generate(context_, model, source, options);
    int calls = 0;
    broken.logits_processors = {
        [&](std::span<const std::int32_t>, std::span<float>) { calls++ == 2 ? throw Thrown() : void(); }};
    EXPECT_THROW(generate(context_, model, source, broken), Thrown);
    EXPECT_EQ(generate(context_, model, source, options), expected);
  }
}

TEST_P(GenerationCallbacks, MayUseTheContext) {
  const Ids prompt = random_ids(10, 50);
  Generator generator(model_), other(model_);
  GenerationOptions options{.max_new_tokens = 5};
  const Ids expected = generator.generate(context_, prompt, options).ids;
  const Ids nested = generator
                         .generate(context_, prompt, options,
                                   [&](Index, std::int32_t) {
                                     return other.generate(context_, prompt, options).ids == expected;
                                   })
                         .ids;
  EXPECT_EQ(nested, expected);
}

TEST_P(GenerationCallbacks, MayNotCallTheirOwnGenerator) {
  const Ids prompt = random_ids(10, 50);
  Generator generator(model_);
  const GenerationOptions options{.max_new_tokens = 5};
  const Ids expected = generator.generate(context_, prompt, options).ids;
  EXPECT_THAT(error_of([&] {
                generator.generate(context_, prompt, options, [&](Index, std::int32_t) {
                  generator.generate(context_, prompt, options);
                  return true;
                });
              }),
              testing::HasSubstr("generate"));
  EXPECT_EQ(generator.generate(context_, prompt, options).ids, expected);
}

INSTANTIATE_TEST_SUITE_P(Threads, GenerationCallbacks, testing::Values(1, 2));

}  // namespace
