// Requests that come and go: each gets what it gets alone, whoever is there.
#include <atomic>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <memory_resource>
#include <set>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

#include <attend/model/generation_batch.hpp>

#include "support.hpp"
#include "tiny_models.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::Random;
using attend_test::random_ids;
using Ids = std::vector<std::int32_t>;
using Model = std::shared_ptr<const CausalLM<float>>;
using testing::HasSubstr;

Model tiny() { return std::make_shared<const CausalLM<float>>(attend_test::tiny_causal_lm()); }

/// Phi-3's kind: rotary frequencies change beyond 40 tokens, where all are computed anew.
Model tiny_longrope() {
  CausalLMOptions options{.vocab_size = 50,
                          .embed_dim = 32,
                          .max_position_embeddings = 160,
                          .blocks = {{.embed_dim = 32, .num_heads = 4, .dim_feedforward = 64}}};
  RotaryOptions rotary{.head_dim = 8};
  rotary.rope_type = RopeType::longrope;
  rotary.max_position_embeddings = 160;
  rotary.original_max_position_embeddings = 40;
  rotary.short_factor = {1, 1, 1, 1};
  rotary.long_factor = {1, 1.5, 2, 4};
  options.rotary = rotary;
  options.reruns_longer = true;
  CausalLM<float> model(options);
  attend_test::fill_parameters<float>(model);
  return std::make_shared<const CausalLM<float>>(std::move(model));
}

struct Request {
  Ids prompt;
  GenerationOptions options;
};
Request random_request(Random& random, Index longest) {
  const Ids common = random_ids(300, 50, 7);
  Request out;
  // Some prompts begin like others, to a page's border or not.
  if (random.one_in(2)) {
    out.prompt.assign(common.begin(), common.begin() + random.integer(1, std::min<Index>(longest, 299)));
  }
  const Ids own = random_ids(static_cast<std::size_t>(random.integer(1, longest / 4)), 50,
                             static_cast<std::uint64_t>(random.integer(1, 1000)));
  out.prompt.insert(out.prompt.end(), own.begin(), own.end());
  out.options.max_new_tokens = random.integer(1, 25);
  out.options.temperature = random.one_in(2) ? 0 : random.uniform(0.5, 1.5);
  out.options.top_k = random.one_in(2) ? 0 : random.integer(2, 30);
  out.options.seed = static_cast<std::uint64_t>(random.integer(0, 1000));
  out.options.repetition_penalty = random.one_in(3) ? 1.3 : 1;
  if (random.one_in(3)) out.options.logprobs = random.integer(0, 3);
  out.options.eos_token_ids = random.one_in(2) ? Ids{} : Ids{5, 17};
  return out;
}
void expect_same(const Generation& got, const Generation& alone) {
  EXPECT_EQ(got.ids, alone.ids);
  EXPECT_EQ(got.reason, alone.reason);
  ASSERT_EQ(got.logprobs.size(), alone.logprobs.size());
  for (std::size_t i = 0; i < got.logprobs.size(); ++i) {
    EXPECT_EQ(got.logprobs[i].logprob, alone.logprobs[i].logprob);
    EXPECT_EQ(got.logprobs[i].top, alone.logprobs[i].top);
  }
}

/// Memory that is used up behind `left` allocations, where it is not negative; `in_use` are bytes.
struct Budget : std::pmr::memory_resource {
  std::atomic<long> left = -1, in_use = 0;
  void* do_allocate(std::size_t n, std::size_t a) override {
    if (left >= 0 && left-- == 0) throw std::bad_alloc();
    in_use += static_cast<long>(n);
    return std::pmr::new_delete_resource()->allocate(n, a);
  }
  void do_deallocate(void* p, std::size_t n, std::size_t a) override {
    in_use -= static_cast<long>(n);
    std::pmr::new_delete_resource()->deallocate(p, n, a);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

/// Requests that come at random moments, some of which leave, on steps that are stopped, or without memory,
/// at random, and callbacks that throw.
void check_company(const Model& model, Index longest, std::uint64_t seed) {
  Random random(seed);
  SCOPED_TRACE(seed);
  Budget memory;
  const MemoryScope scope(&memory);
  GenerationBatch batch(model, {.max_running = random.integer(1, 6),
                                .prompt_piece = random.integer(1, 90),
                                .kept_prompts = random.integer(0, 3)});
  Context alone, context(static_cast<int>(random.integer(1, 2)));
  std::map<GenerationBatch::Ticket, Request> requests;
  std::map<GenerationBatch::Ticket, Ids> streamed;
  std::set<GenerationBatch::Ticket> faulty;
  Index reused = 0;
  for (int to_come = 12; to_come > 0 || !batch.idle();) {
    while (to_come > 0 && random.one_in(4)) {
      Request request = random_request(random, longest);
      const auto ticket = std::make_shared<GenerationBatch::Ticket>(0);
      *ticket = batch.join(request.prompt, request.options,
                           [&streamed, &faulty, ticket](const TokenLogprob& token) {
                             streamed[*ticket].push_back(token.id);
                             if (faulty.contains(*ticket)) throw std::runtime_error("a callback's own");
                             return true;
                           });
      if (random.one_in(8)) faulty.insert(*ticket);
      requests.emplace(*ticket, std::move(request));
      --to_come;
    }
    if (!requests.empty() && random.one_in(25)) {
      const auto gone = requests.begin()->first;
      EXPECT_TRUE(batch.leave(gone));
      EXPECT_FALSE(batch.leave(gone));
      requests.erase(gone);
    }
    const auto take = [&](const std::vector<GenerationBatch::Ended>& all) {
      for (const GenerationBatch::Ended& ended : all) {
        ASSERT_TRUE(requests.contains(ended.ticket));
        const Request& r = requests.at(ended.ticket);
        if (faulty.contains(ended.ticket)) {
          EXPECT_NE(ended.error, nullptr);
          EXPECT_EQ(streamed[ended.ticket].size(), 1u);
        } else {
          ASSERT_EQ(ended.error, nullptr);
          expect_same(ended.generation, Generator(model).generate(alone, r.prompt, r.options));
          EXPECT_EQ(streamed[ended.ticket], ended.generation.ids);
        }
        reused += ended.generation.reused;
        requests.erase(ended.ticket);
      }
    };
    if (random.one_in(6)) {  // a step that has no memory at some moment
      Context fresh;
      memory.left = random.integer(0, 12);
      std::vector<GenerationBatch::Ended> ended;
      try {
        ended = batch.step(fresh);
      } catch (const Error&) {
      }
      memory.left = -1;
      take(ended);
      continue;
    }
    if (random.one_in(6)) {  // a step that is stopped before it begins, or somewhere in it
      std::stop_source source;
      Index regions = random.integer(0, 60);
      Context stopped({.threads = 2, .executor = [&](Index n, detail::FunctionRef<void(Index)> task) {
                         if (regions-- == 0) source.request_stop();
                         for (Index i = 0; i < n; ++i) task(i);
                       }});
      stopped.set_stop_token(source.get_token());
      try {
        take(batch.step(stopped));
      } catch (const Stopped&) {
      }
      continue;
    }
    take(batch.step(context));
  }
  EXPECT_TRUE(requests.empty());
  testing::Test::RecordProperty("reused", std::to_string(reused));
}

TEST(GenerationBatch, GivesEachWhatItGetsAlone) {
  const Model model = tiny();
  for (std::uint64_t seed = 1; seed <= 8; ++seed) check_company(model, 260, seed);
}

TEST(GenerationBatch, GivesEachWhatItGetsAloneOfReducedWeights) {
  for (const WeightType weights : {WeightType::bfloat16, WeightType::int8, WeightType::int4}) {
    CausalLM<float> model(attend_test::tiny_causal_lm(weights));
    check_company(std::make_shared<const CausalLM<float>>(std::move(model)), 260,
                  100 + static_cast<std::uint64_t>(weights));
  }
}

TEST(GenerationBatch, GivesEachWhatItGetsAloneWhereFrequenciesChange) {
  const Model model = tiny_longrope();
  for (std::uint64_t seed = 1; seed <= 6; ++seed) check_company(model, 60, seed);
}

TEST(GenerationBatch, ComputesACommonPrefixOnce) {
  const Model model = tiny();
  const Ids common = random_ids(500, 50, 3);
  const auto with = [&](std::int32_t id) {
    Ids prompt = common;
    prompt.push_back(id);
    return prompt;
  };
  const GenerationOptions options{.max_new_tokens = 3, .eos_token_ids = Ids{}};
  Context context;
  GenerationBatch batch(model, {.kept_prompts = 1});
  std::map<GenerationBatch::Ticket, Index> reused;
  const auto run = [&] {
    while (!batch.idle())
      for (const auto& ended : batch.step(context)) reused[ended.ticket] = ended.generation.reused;
  };
  const auto first = batch.join(with(1), options);
  batch.step(context);  // it has a piece of its prompt
  const auto second = batch.join(with(2), options);
  run();
  EXPECT_EQ(reused.at(first) + reused.at(second), 500) << "in pieces, each by one of the two";
  const auto third = batch.join(with(1), options);  // as one that has ended
  run();
  EXPECT_EQ(reused.at(third), 500);
  const auto fourth = batch.join({7, 8, 9}, options);
  run();  // which leaves nothing of the others
  Index sum = 0;
  std::vector<GenerationBatch::Ticket> together;
  for (std::int32_t id : {3, 4, 5}) together.push_back(batch.join(with(id), options));
  run();
  for (GenerationBatch::Ticket ticket : together) sum += reused.at(ticket);
  EXPECT_EQ(sum, 2 * 500) << "of three that come at once";
  EXPECT_EQ(reused.at(fourth), 0);
}

TEST(GenerationBatch, AShortPromptIsNotHeldUpByALongOne) {
  Context context;
  GenerationBatch batch(tiny(), {.prompt_piece = 32});
  const GenerationOptions options{.max_new_tokens = 4, .eos_token_ids = Ids{}};
  const auto longer = batch.join(random_ids(1500, 50), options),
             shorter = batch.join(random_ids(9, 50, 2), options);
  std::vector<GenerationBatch::Ticket> order;
  int steps = 0;
  for (; order.empty(); ++steps)
    for (const auto& ended : batch.step(context)) order.push_back(ended.ticket);
  EXPECT_EQ(order[0], shorter);
  EXPECT_LE(steps, 8);
  EXPECT_TRUE(batch.leave(longer));
  while (!batch.idle()) EXPECT_TRUE(batch.step(context).empty());
}

TEST(GenerationBatch, AFaultOfOneIsItsOwn) {
  const Model model = tiny();
  Context context;
  GenerationBatch batch(model);
  const GenerationOptions options{.max_new_tokens = 6, .eos_token_ids = Ids{}};
  const Ids prompt = random_ids(20, 50);
  const auto bad =
      batch.join(prompt, options, [](const TokenLogprob&) -> bool { throw std::runtime_error("gone"); });
  GenerationOptions none = options;
  none.logits_processors.push_back([](std::span<const std::int32_t>, std::span<float> logits) {
    for (float& logit : logits) logit = -std::numeric_limits<float>::infinity();
  });
  const auto worse = batch.join(prompt, none);
  int tokens = 0;
  const auto stops = batch.join(prompt, options, [&](const TokenLogprob&) { return ++tokens < 3; });
  const auto good = batch.join(prompt, options);
  std::map<GenerationBatch::Ticket, GenerationBatch::Ended> ended;
  while (!batch.idle())
    for (auto& one : batch.step(context)) ended[one.ticket] = std::move(one);
  EXPECT_THROW(std::rethrow_exception(ended.at(bad).error), std::runtime_error);
  EXPECT_THROW(std::rethrow_exception(ended.at(worse).error), Error);
  EXPECT_EQ(ended.at(stops).generation.ids.size(), 3u);
  EXPECT_EQ(ended.at(stops).generation.reason, FinishReason::stopped);
  expect_same(ended.at(good).generation, Generator(model).generate(context, prompt, options));
}

TEST(GenerationBatch, ACallbackMayJoinAndLeave) {
  const Model model = tiny();
  Context context;
  GenerationBatch batch(model);
  const GenerationOptions options{.max_new_tokens = 4, .eos_token_ids = Ids{}};
  const Ids prompt = random_ids(20, 50);
  GenerationBatch::Ticket later = 0, filling = 0;
  bool left = false, itself = false;
  const auto first = batch.join(prompt, options, [&](const TokenLogprob&) {
    if (later != 0) return true;
    later = batch.join(prompt, options);
    left = batch.leave(filling);
    return true;
  });
  GenerationBatch::Ticket own = 0;
  own = batch.join(prompt, options, [&](const TokenLogprob&) { return itself = batch.leave(own); });
  filling = batch.join(random_ids(400, 50), options);
  std::map<GenerationBatch::Ticket, GenerationBatch::Ended> ended;
  while (!batch.idle())
    for (auto& one : batch.step(context)) ended[one.ticket] = std::move(one);
  EXPECT_TRUE(left);
  EXPECT_TRUE(itself);
  ASSERT_EQ(ended.size(), 2u);
  for (const auto ticket : {first, later})
    expect_same(ended.at(ticket).generation, Generator(model).generate(context, prompt, options));
}

TEST(GenerationBatch, SaysWhatIsWrongWithARequest) {
  GenerationBatch batch(tiny());
  EXPECT_THAT(error_of([&] { batch.join({}); }), HasSubstr("no tokens"));
  EXPECT_THAT(error_of([&] { batch.join({3, 50}); }), HasSubstr("id 50"));
  EXPECT_THAT(error_of([&] { batch.join(random_ids(2049, 50)); }), HasSubstr("2048"));
  EXPECT_THAT(error_of([&] { batch.join({1}, {.num_beams = 2}); }), HasSubstr("beam search"));
  EXPECT_THAT(error_of([&] { batch.join({1}, {.top_p = 2}); }), HasSubstr("top_p"));
  EXPECT_THAT(error_of([] { GenerationBatch(nullptr); }), HasSubstr("no model"));
  GenerationBatch moved = std::move(batch);
  Context context;
  EXPECT_THAT(error_of([&] { batch.join({3}); }), HasSubstr("moved from"));
  EXPECT_THAT(error_of([&] { batch.step(context); }), HasSubstr("moved from"));
  EXPECT_THAT(error_of([] { GenerationBatch(tiny(), {.max_running = 0}); }), HasSubstr("max_running"));
  EXPECT_TRUE(batch.idle());
  EXPECT_FALSE(batch.leave(1));
}

TEST(GenerationBatch, GoesOnWhereMemoryWasUsedUp) {
  Budget memory;
  const Model model = tiny();
  const GenerationOptions options{.max_new_tokens = 4, .eos_token_ids = Ids{}};
  const Ids prompts[] = {random_ids(20, 50, 1), random_ids(190, 50, 2), random_ids(100, 50, 2)};
  std::vector<Generation> expected;
  for (const Ids& prompt : prompts)
    expected.push_back(Generator(model).generate(default_context(), prompt, options));
  const MemoryScope scope(&memory);
  long failing = 0;
  for (bool failed = true; failed; ++failing) {
    SCOPED_TRACE(failing);
    Context context;
    GenerationBatch batch(model, {.max_running = 2, .prompt_piece = 50, .kept_prompts = 1});
    for (const Ids& prompt : prompts) batch.join(prompt, options);
    failed = false;
    memory.left = failing;
    std::map<GenerationBatch::Ticket, Ids> got;
    for (int steps = 0; !batch.idle() && steps < 100; ++steps) {
      try {
        for (const auto& ended : batch.step(context)) got[ended.ticket] = ended.generation.ids;
      } catch (const Error&) {
        failed = true;
      }
    }
    failed = failed || memory.left < 0;
    memory.left = -1;
    ASSERT_TRUE(batch.idle());
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(got[i + 1], expected[i].ids);
  }
  EXPECT_GT(failing, 20);
}

/// Pages come from one pool: what ended requests gave back is what later ones take.
TEST(GenerationBatch, TakesNoMoreMemoryInTheLongRun) {
  Budget memory;
  const Model model = tiny();
  const MemoryScope scope(&memory);
  Context context;
  GenerationBatch batch(model, {.max_running = 3, .kept_prompts = 1});
  long after_ten = 0;
  for (std::uint64_t i = 0; i < 60; ++i) {
    batch.join(random_ids(200, 50, i), {.max_new_tokens = 5, .eos_token_ids = Ids{}});
    if (i % 3 != 2) continue;
    while (!batch.idle()) batch.step(context);
    if (i == 11) after_ten = memory.in_use;
    if (i > 11) {
      EXPECT_LE(memory.in_use, after_ten + after_ten / 8) << i;
    }
  }
  EXPECT_GT(after_ten, 0);
}

}  // namespace
