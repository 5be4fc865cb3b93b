// Generation: greedy, sampling, beams, batches, stop texts, reuse of the cache.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/beam_search.hpp>
#include <attend/model/text_generator.hpp>
#include <attend/softmax.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::bytes_of;
using attend_test::model_folder;
namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

GenerationOptions without_end(GenerationOptions options) {
  options.eos_token_ids.emplace();
  return options;
}

// ---- Sampler
// -------------------------------------------------------------------------------------------------------

/// How often each of the tokens is drawn.
std::vector<double> frequencies(const GenerationOptions& options, const std::vector<float>& logits,
                                const Ids& before = {}) {
  Context context;
  Sampler sampler(options);
  std::vector<double> counts(logits.size());
  const int draws = 20000;
  for (int i = 0; i < draws; ++i) {
    std::vector<float> scratch = logits;
    counts[static_cast<std::size_t>(sampler(context, before, scratch))] += 1.0 / draws;
  }
  return counts;
}
std::vector<double> softmax_of(const std::vector<double>& logits) {
  std::vector<double> p;
  for (double x : logits) p.push_back(std::exp(x));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}
void check_close(const std::vector<double>& got, const std::vector<double>& expected) {
  for (std::size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_LT(std::abs(got[i] - expected[i]), 0.015);  // four standard deviations of 20,000 draws
    if (expected[i] == 0) {
      EXPECT_EQ(got[i], 0);
    }
  }
}

TEST(Sampler, DrawsTokensAsOftenAsItShould) {
  const float none = -std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> logits{1.0f, 3.0f, none, 2.0f, 2.5f, nan, -1.0f};
  const double no = -1e300;
  check_close(frequencies({.temperature = 1}, logits), softmax_of({1, 3, no, 2, 2.5, no, -1}));
  check_close(frequencies({.temperature = 2, .seed = 5}, logits),
              softmax_of({0.5, 1.5, no, 1, 1.25, no, -0.5}));
  check_close(frequencies({.temperature = 1, .top_k = 2}, logits), softmax_of({no, 3, no, no, 2.5, no, no}));
  // probabilities 0.48, 0.29, 0.18, 0.065, 0.009: 0.7 is reached by two, 0.9 by three
  check_close(frequencies({.temperature = 1, .top_p = 0.7}, logits),
              softmax_of({no, 3, no, no, 2.5, no, no}));
  check_close(frequencies({.temperature = 1, .top_p = 0.9}, logits), softmax_of({no, 3, no, 2, 2.5, no, no}));
  check_close(frequencies({.temperature = 1, .top_k = 3, .top_p = 0.4}, logits),
              softmax_of({no, 3, no, no, no, no, no}));
  // 0.3 of the likeliest: above e^-1.2
  check_close(frequencies({.temperature = 1, .min_p = 0.3}, logits), softmax_of({no, 3, no, 2, 2.5, no, no}));
  check_close(frequencies({.temperature = 1, .repetition_penalty = 2}, logits, {1, 6, 1}),
              softmax_of({1, 1.5, no, 2, 2.5, no, -2}));
  check_close(frequencies({.temperature = 1e-3}, logits), {0, 1, 0, 0, 0, 0, 0});
  check_close(frequencies({}, logits), {0, 1, 0, 0, 0, 0, 0});
  check_close(frequencies({}, {1, 7, 7, 7}), {0, 1, 0, 0});  // the smallest id of equals
  check_close(frequencies({.temperature = 1}, {1, std::numeric_limits<float>::infinity(), 0}), {0, 1, 0});
  EXPECT_THROW(frequencies({}, {none, nan}), Error);
}

TEST(Sampler, AnyTemperatureGoesWithAnyFiniteLogits) {
  const float most = (std::numeric_limits<float>::max)();
  for (const double temperature : {1e-300, 1.0, 1e38, 1e300, std::numeric_limits<double>::infinity()})
    for (const bool cut : {false, true}) {
      const auto got = frequencies({.temperature = temperature, .top_p = cut ? 0.9 : 1}, {most, -most});
      EXPECT_NEAR(got[0] + got[1], 1, 1e-9) << temperature;
      if (temperature <= 1) {
        EXPECT_EQ(got[1], 0);
      }
    }
}

TEST(Sampler, TheSameSeedDrawsTheSameTokens) {
  const std::vector<float> logits{0.5f, 0.25f, -0.125f, 1.0f, 0.75f, 0.0f, -1.0f, 0.375f};
  const auto draw = [&](std::uint64_t seed, std::uint64_t stream) {
    Context context;
    const GenerationOptions options{.temperature = 0.75, .top_p = 0.95, .seed = seed};
    Sampler sampler(options, stream);
    Ids ids;
    for (int i = 0; i < 24; ++i) {
      std::vector<float> scratch = logits;
      ids.push_back(sampler(context, ids, scratch));
    }
    return ids;
  };
  EXPECT_EQ(draw(7, 0), draw(7, 0));
  EXPECT_NE(draw(7, 0), draw(8, 0));
  EXPECT_NE(draw(7, 0), draw(7, 1));
}

TEST(Random, IsEvenlyDistributed) {
  // the first numbers of SplitMix64 from state 0, as its authors' program prints them
  std::uint64_t state = 0;
  const auto reference = [&] {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  };
  EXPECT_EQ(reference(), 0xe220a8397b1dcdaf);
  detail::Random random(1);
  double mean = 0;
  for (int i = 0; i < 30000; ++i) mean += static_cast<double>(random.below(3)) / 30000;
  EXPECT_LT(std::abs(mean - 1), 0.02);
}

TEST(GenerationOptions, OutOfRangeAreErrors) {
  for (const GenerationOptions& o :
       {GenerationOptions{.max_new_tokens = -1}, GenerationOptions{.temperature = -1},
        GenerationOptions{.temperature = std::nan("")}, GenerationOptions{.top_k = -1},
        GenerationOptions{.top_p = 0}, GenerationOptions{.top_p = 1.5}, GenerationOptions{.min_p = -0.1},
        GenerationOptions{.repetition_penalty = 0}, GenerationOptions{.num_beams = 0},
        GenerationOptions{.temperature = 1, .num_beams = 2}})
    EXPECT_THROW(check_options(o), Error);
}

// ---- Beams
// ---------------------------------------------------------------------------------------------------------

/// A model of 5 tokens whose logits are a function of the two newest ones; token 4 ends a text.
float toy_logit(std::int32_t before, std::int32_t last, std::int32_t next) {
  return static_cast<float>((before * 31 + last * 17 + next * 7 + last * next * 5 + before * next * 3) % 23) /
         6;
}
std::vector<Hypothesis> toy_beams(const GenerationOptions& options, const Ids& start = {2, 1}) {
  Context context;
  std::vector<Ids> beams{start};
  std::vector<float> memory(5 * static_cast<std::size_t>(options.num_beams));
  const auto logits = [&] {
    for (std::size_t b = 0; b < beams.size(); ++b)
      for (std::int32_t v = 0; v < 5; ++v)
        memory[b * 5 + static_cast<std::size_t>(v)] =
            toy_logit(beams[b][beams[b].size() - 2], beams[b].back(), v);
    return TensorView<float, 2>(memory.data(), {static_cast<Index>(beams.size()), 5});
  };
  const Ids prompt = beams[0], end{4};
  return beam_search(context, options, end, prompt, logits(),
                     [&](std::span<const Index> parents, std::span<const std::int32_t> ids) {
                       std::vector<Ids> next;
                       for (std::size_t i = 0; i < parents.size(); ++i) {
                         next.push_back(beams[static_cast<std::size_t>(parents[i])]);
                         next.back().push_back(ids[i]);
                       }
                       beams = next;
                       return logits();
                     });
}
/// Every text of up to `most` tokens, by its score.
void enumerate(Ids ids, double sum, std::size_t prompt, std::size_t most, double penalty,
               std::vector<Hypothesis>& all) {
  const std::size_t length = ids.size() - prompt;
  if (length > 0 && (ids.back() == 4 || length == most)) {
    all.push_back({Ids(ids.begin() + static_cast<std::ptrdiff_t>(prompt), ids.end()),
                   sum / std::pow(static_cast<double>(length), penalty), ids.back() == 4});
    return;
  }
  std::vector<double> logits;
  for (std::int32_t v = 0; v < 5; ++v) logits.push_back(toy_logit(ids[ids.size() - 2], ids.back(), v));
  const std::vector<double> p = softmax_of(logits);
  for (std::int32_t v = 0; v < 5; ++v) {
    ids.push_back(v);
    enumerate(ids, sum + std::log(p[static_cast<std::size_t>(v)]), prompt, most, penalty, all);
    ids.pop_back();
  }
}

TEST(BeamSearch, ThatIsWideEnoughFindsTheBestOfAllTexts) {
  for (double penalty : {0.0, 1.0, 2.0}) {
    std::vector<Hypothesis> all;
    enumerate({2, 1}, 0, 2, 5, penalty, all);
    std::sort(all.begin(), all.end(),
              [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
    const auto found = toy_beams({.max_new_tokens = 5, .num_beams = 1000, .length_penalty = penalty});
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(found[i].ids, all[i].ids);
      EXPECT_LT(std::abs(found[i].score - all[i].score), 1e-5);
      EXPECT_EQ(found[i].ended, all[i].ended);
    }
    // a narrow one finds texts that exist, with their scores, best first
    for (EarlyStopping early : {EarlyStopping::no, EarlyStopping::yes, EarlyStopping::never}) {
      const auto narrow = toy_beams(
          {.max_new_tokens = 5, .num_beams = 3, .length_penalty = penalty, .early_stopping = early});
      ASSERT_EQ(narrow.size(), 3);
      for (std::size_t i = 0; i < 3; ++i) {
        const auto same =
            std::find_if(all.begin(), all.end(), [&](const Hypothesis& h) { return h.ids == narrow[i].ids; });
        ASSERT_NE(same, all.end());
        EXPECT_LT(std::abs(same->score - narrow[i].score), 1e-5);
        if (i > 0) {
          EXPECT_GE(narrow[i - 1].score, narrow[i].score);
        }
      }
    }
  }
}

TEST(BeamSearch, OfOneBeamIsGreedy) {
  for (std::int32_t before = 0; before < 4; ++before)
    for (std::int32_t last = 0; last < 4; ++last)
      for (EarlyStopping early : {EarlyStopping::no, EarlyStopping::yes}) {
        Ids greedy{before, last};
        while (greedy.size() < 8 && greedy.back() != 4) {
          std::int32_t best = 0;
          for (std::int32_t v = 1; v < 5; ++v)
            if (toy_logit(greedy[greedy.size() - 2], greedy.back(), v) >
                toy_logit(greedy[greedy.size() - 2], greedy.back(), best))
              best = v;
          greedy.push_back(best);
        }
        const auto found =
            toy_beams({.max_new_tokens = 6, .num_beams = 1, .early_stopping = early}, {before, last});
        EXPECT_EQ(found[0].ids, Ids(greedy.begin() + 2, greedy.end()));
      }
}

// ---- Generator
// -----------------------------------------------------------------------------------------------------

/// A model of the family.
class GeneratorOf : public testing::TestWithParam<const char*> {
 protected:
  const std::shared_ptr<const CausalLM<float>> model =
      std::make_shared<const CausalLM<float>>(CausalLM<float>::open(model_folder(GetParam())));
  Context one{1}, three{3};
  const std::vector<Ids> prompts{{5, 6, 7, 8, 9, 10, 11}, {42}, {5, 6, 7, 20}, {5, 6, 7, 8, 9, 10, 11}};
  const GenerationOptions greedy = without_end({.max_new_tokens = 8});
};
INSTANTIATE_TEST_SUITE_P(Families, GeneratorOf, testing::Values("mistral", "gpt2", "bloom", "gemma2"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(GeneratorOf, GivesABatchTheTextsOfItsPromptsAlone) {
  for (double temperature : {0.0, 1.5}) {
    const GenerationOptions options =
        without_end({.max_new_tokens = 12, .temperature = temperature, .top_p = 0.9, .seed = 3});
    const auto together = Generator(model).generate(one, prompts, options);
    EXPECT_EQ(together[2].reused, 0);  // 42 came between
    EXPECT_EQ(together[3].reused, 3);  // shares 5 6 7 with the prompt before it
    const auto threaded = Generator(model).generate(three, prompts, options);
    for (std::size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(together[i].ids, threaded[i].ids);
    // alone, the first draws the same numbers
    EXPECT_EQ(Generator(model).generate(one, prompts[0], options).ids, together[0].ids);
    EXPECT_EQ((together[0].ids == together[3].ids), (temperature == 0));
    if (temperature == 0) {
      for (std::size_t i = 0; i < prompts.size(); ++i)
        EXPECT_EQ(Generator(model).generate(one, prompts[i], options).ids, together[i].ids);
    }
  }
}

TEST_P(GeneratorOf, GoesOnFromTheTokensThatItsCacheHas) {
  // The second prompt goes on from the first text.
  Generator session(model);
  const Generation first = session.generate(one, prompts[0], greedy);
  EXPECT_EQ(first.reused, 0);
  Ids longer = prompts[0];
  longer.insert(longer.end(), first.ids.begin(), first.ids.end());
  longer.push_back(3);
  const Generation second = session.generate(one, longer, greedy);
  EXPECT_EQ(second.reused,
            static_cast<Index>(longer.size()) - 2);  // all but the last of the first text and 3
  EXPECT_EQ(second.ids, Generator(model).generate(one, longer, greedy).ids);
  longer[2] = 50;
  const Generation third = session.generate(one, longer, greedy);
  EXPECT_EQ(third.reused, 2);
  EXPECT_EQ(third.ids, Generator(model).generate(one, longer, greedy).ids);
  EXPECT_EQ(session.generate(one, longer, greedy).reused, static_cast<Index>(longer.size()) - 1);
}

TEST_P(GeneratorOf, EndsEachTextOfABatchOnItsOwn) {
  const auto free = Generator(model).generate(one, prompts, greedy);
  GenerationOptions ending = greedy;
  ending.eos_token_ids = Ids{free[1].ids[4]};
  Index calls = 0;
  const auto ended = Generator(model).generate(one, prompts, ending, [&](Index i, std::int32_t) {
    if (i == 0) ++calls;
    return i != 0 || calls < 3;
  });
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto at = std::find(free[i].ids.begin(), free[i].ids.end(), free[1].ids[4]);
    Ids expected(free[i].ids.begin(), at == free[i].ids.end() ? at : at + 1);
    const bool by_callback =
        i == 0 && expected.size() >= 3 && !(expected.size() == 3 && at != free[i].ids.end());
    if (i == 0 && expected.size() > 3) expected.resize(3);
    EXPECT_EQ(ended[i].ids, expected);
    EXPECT_EQ(ended[i].reason, (by_callback               ? FinishReason::stopped
                                : at != free[i].ids.end() ? FinishReason::eos
                                                          : FinishReason::length));
  }
}

TEST_P(GeneratorOf, AppliesLogitsProcessors) {
  const auto free = Generator(model).generate(one, prompts, greedy);
  GenerationOptions forbidding = greedy;
  forbidding.logits_processors.push_back([&](std::span<const std::int32_t> ids, std::span<float> logits) {
    EXPECT_GE(ids.size(), prompts[0].size());
    logits[static_cast<std::size_t>(free[0].ids[0])] = -std::numeric_limits<float>::infinity();
  });
  const Ids other = Generator(model).generate(one, prompts[0], forbidding).ids;
  EXPECT_EQ(std::find(other.begin(), other.end(), free[0].ids[0]), other.end());
}

TEST_P(GeneratorOf, GivesBeamsAtLeastAsLikelyAsGreedyText) {
  const auto free = Generator(model).generate(one, prompts, greedy);
  const auto beams =
      Generator(model).beams(one, prompts[0], without_end({.max_new_tokens = 8, .num_beams = 4}));
  ASSERT_EQ(beams.size(), 4);
  const auto greedy_beam =
      Generator(model).beams(one, prompts[0], without_end({.max_new_tokens = 8, .num_beams = 1}));
  EXPECT_EQ(greedy_beam[0].ids, free[0].ids);
  const Generation best =
      Generator(model).generate(three, prompts[0], without_end({.max_new_tokens = 8, .num_beams = 4}));
  EXPECT_EQ(best.ids, beams[0].ids);
  // its score is that of its tokens
  Ids all = prompts[0];
  all.insert(all.end(), best.ids.begin(), best.ids.end());
  const Tensor<float, 3> log_p = log_softmax(
      model->logits(one, TensorView<const std::int32_t, 2>(all.data(), {1, static_cast<Index>(all.size())})));
  double score = 0;
  for (std::size_t t = 0; t < best.ids.size(); ++t)
    score += static_cast<double>(log_p(0, static_cast<Index>(prompts[0].size() + t) - 1, best.ids[t]));
  EXPECT_LT(std::abs(best.score - score / 8), 1e-5);
}

TEST(Generator, StopsAtTheEndOfTheContext) {
  Generator generator(CausalLM<float>::open(model_folder("gpt2")));
  Context context;
  const GenerationOptions options = without_end({.max_new_tokens = 100});
  EXPECT_EQ(generator.generate(context, Ids(36, 5), options).ids.size(), 4);
  EXPECT_TRUE(generator.generate(context, Ids(40, 5), options).ids.empty());
  EXPECT_THROW(generator.generate(context, Ids(41, 5), options), Error);
  EXPECT_THROW(generator.generate(context, Ids(), options), Error);
  EXPECT_THROW(generator.generate(context, Ids{53}, options), Error);
  EXPECT_TRUE(generator.generate(context, Ids{5}, without_end({.max_new_tokens = 0})).ids.empty());
  GenerationOptions beams = options;
  beams.num_beams = 3;
  EXPECT_EQ(generator.generate(context, Ids(36, 5), beams).ids.size(), 4);
  EXPECT_TRUE(generator.generate(context, Ids(40, 5), beams).ids.empty());
}

TEST(Generator, DoesNotGoBackToTokensThatAWindowDropped) {
  const auto original = CausalLM<float>::open(model_folder("mistral"));
  CausalLMOptions options = original.options();
  options.max_position_embeddings = 4096;
  CausalLM<float> longer(options);
  std::map<std::string, Parameter<float>> theirs;
  const_cast<CausalLM<float>&>(original).parameters(
      [&](const std::string& name, Parameter<float> p) { theirs.emplace(name, p); });
  longer.parameters([&](const std::string& name, Parameter<float> p) {
    std::vector<float> values(static_cast<std::size_t>(p.numel()));
    theirs.at(name).copy_to(0, p.rows(), values.data());
    p.assign(0, p.rows(), values.data());
  });
  const auto model = std::make_shared<const CausalLM<float>>(std::move(longer));
  Context context;
  Ids prompt;
  for (int i = 0; i < 1000; ++i) prompt.push_back((i * i + 7 * i) % 53);
  const GenerationOptions greedy = without_end({.max_new_tokens = 5});
  Generator session(model);
  (void)session.generate(context, prompt, greedy);
  for (std::size_t keep : {990u, 700u, 500u, 100u}) {
    SCOPED_TRACE("keeps " + std::to_string(keep));
    Ids other(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(keep));
    other.push_back(1);
    const Generation result = session.generate(context, other, greedy);
    EXPECT_EQ(result.ids, Generator(model).generate(context, other, greedy).ids);
    EXPECT_TRUE(result.reused == 0 || result.reused == static_cast<Index>(keep));
    if (keep == 990u) {
      EXPECT_EQ(result.reused, 990);
    }
  }
}

// ---- Text
// ----------------------------------------------------------------------------------------------------------

TEST(StopFilter, HoldsBackWhatMayBecomeAStopText) {
  const auto run = [](std::vector<std::string> stops, std::vector<std::string> pieces) {
    StopFilter filter(std::move(stops));
    std::string out;
    for (const std::string& piece : pieces) out += filter.push(piece) + "|";
    return out + filter.finish();
  };
  EXPECT_EQ(run({"END"}, {"abE", "N", "Dxyz", "more"}), "ab||||");
  EXPECT_EQ(run({"END"}, {"abE", "N", "xE"}), "ab||ENx|E");
  EXPECT_EQ(run({"b", "abc"}, {"a", "bc"}), "|a|");  // the one that is complete first
  EXPECT_EQ(run({"b", "abc"}, {"abc"}), "a|");
  EXPECT_EQ(run({"aab"}, {"aa", "ab"}), "|a|");
  EXPECT_EQ(run({}, {"a", "b"}), "a|b|");
  EXPECT_THROW(StopFilter({""}), Error);
  EXPECT_NO_THROW(StopFilter(std::vector<std::string>(256, std::string(1024, 'x'))));
  EXPECT_THROW(StopFilter(std::vector<std::string>(257, "x")),
               Error);  // every piece would be compared with all
  EXPECT_THROW(StopFilter({std::string(1025, 'x')}), Error);
}

/// A model with a tokenizer, what follows some texts, and the "story" that follows the empty one.
class Stories : public testing::Test {
 protected:
  const Json cases = read_json(model_folder("stories") / "cases.json");
  const std::string whole = cases.at(0).at("decoded").get<std::string>();
  TextGenerator generator = TextGenerator::open(model_folder("stories"));
  Context context;
};

TEST_F(Stories, GreedyTextAndItsPiecesAreThoseOfTransformers) {
  for (int threads : {1, 2}) {
    Context context(threads);
    std::string streamed;
    const TextGeneration story =
        generator.generate(context, "", without_end({.max_new_tokens = 64}), [&](std::string_view piece) {
          streamed += piece;
          return true;
        });
    EXPECT_EQ(streamed, whole);
    EXPECT_EQ(story.text, streamed);
    EXPECT_EQ(story.ids.size(), 64);
  }
}

TEST_F(Stories, AConversationKeepsWhatWasSaid) {
  TextGenerator with_template(
      generator.tokenizer(), Generator(CausalLM<float>::open(model_folder("stories"))),
      {.max_new_tokens = 9, .eos_token_ids = Ids{}},
      text::ChatTemplate("{% for m in messages %}{{ m.role[0] }}: {{ m.content }}\n{% endfor %}"
                         "{% if add_generation_prompt %}a: {% endif %}"));
  std::vector<ChatMessage> messages{{"user", "Once upon a time"}};
  const TextGeneration first = with_template.chat(context, messages);
  EXPECT_EQ(first.reused, 0);
  EXPECT_EQ(first.ids.size(), 9u);
  EXPECT_EQ(first.prompt_ids,
            with_template.tokenizer().encode("u: Once upon a time\na: ", {.add_special_tokens = false}));
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[1].role, "assistant");
  EXPECT_EQ(messages[1].content, first.text);
  messages.push_back({"user", "Then"});
  std::vector<ChatMessage> again = messages;
  std::string streamed;
  const TextGeneration second = with_template.chat(context, messages, with_template.generation_options(), {},
                                                   [&](std::string_view piece) {
                                                     streamed += piece;
                                                     return true;
                                                   });
  EXPECT_GE(second.reused, static_cast<Index>(first.prompt_ids.size()));
  EXPECT_EQ(streamed, second.text);
  EXPECT_EQ(messages.size(), 4u);
  with_template.generate(context, "something else");  // takes the cache
  const TextGeneration anew = with_template.chat(context, again);
  EXPECT_LT(anew.reused, second.reused);
  EXPECT_EQ(anew.ids, second.ids);
  EXPECT_EQ(again.back().content, second.text);
  again.resize(3);
  EXPECT_EQ(with_template.chat(again).ids, second.ids);  // on the context of its own
  EXPECT_EQ(with_template.generate("Once").ids, with_template.generate(context, "Once").ids);
  EXPECT_EQ(with_template.score("Once upon").logprob, with_template.score(context, "Once upon").logprob);
  // without a template, and where the template raises, nothing is added
  EXPECT_THROW(generator.chat(context, messages), Error);
  EXPECT_EQ(messages.size(), 4u);
}

TEST_F(Stories, TheScoreOfATextIsThatOfItsTokens) {
  const TextScore score = generator.score(context, "Once upon a time", 2);
  EXPECT_EQ(score.ids, generator.encode("Once upon a time"));
  ASSERT_EQ(score.logprobs.size(), score.ids.size() - 1);
  double sum = 0;
  for (std::size_t i = 0; i < score.logprobs.size(); ++i) {
    EXPECT_EQ(score.logprobs[i].id, score.ids[i + 1]);
    EXPECT_EQ(score.logprobs[i].top.size(), 2u);
    sum += static_cast<double>(score.logprobs[i].logprob);
  }
  EXPECT_EQ(score.logprob, sum);
  EXPECT_DOUBLE_EQ(score.perplexity, std::exp(-sum / static_cast<double>(score.logprobs.size())));
  // of more tokens than are computed at once, the same as those of its beginning
  const TextScore all = generator.score(context, whole + whole), part = generator.score(context, whole);
  ASSERT_GT(all.ids.size(), 100u);
  for (std::size_t i = 0; i + 2 < part.logprobs.size(); ++i)
    EXPECT_EQ(all.logprobs[i].logprob, part.logprobs[i].logprob);
}

TEST_F(Stories, IdsAndTextsAreThoseOfTransformersAloneAndInABatch) {
  std::vector<std::string> texts;
  for (const Json& c : cases) {
    const Ids ids = c.at("ids").get<Ids>();
    const Ids all = c.at("greedy").get<Ids>();
    texts.push_back(c.at("text").get<std::string>());
    SCOPED_TRACE(texts.back());
    EXPECT_EQ(generator.encode(texts.back()), ids);
    Ids got = ids;
    const TextGeneration result =
        generator.generate(context, texts.back(), without_end({.max_new_tokens = 64}));
    got.insert(got.end(), result.ids.begin(), result.ids.end());
    EXPECT_EQ(got, all);
    EXPECT_EQ(generator.tokenizer().decode(all), c.at("decoded").get<std::string>());
    // with what the prompt says in front it is the whole text
    EXPECT_EQ(generator.tokenizer().decode(ids) + result.text, c.at("decoded").get<std::string>());
  }
  const auto batch = generator.generate(context, texts, without_end({.max_new_tokens = 64}));
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Ids got = batch[i].prompt_ids;
    got.insert(got.end(), batch[i].ids.begin(), batch[i].ids.end());
    EXPECT_EQ(got, cases[i].at("greedy").get<Ids>());
  }
}

TEST_F(Stories, EndBeforeAStopText) {
  const std::string stop = whole.substr(50, 7);
  const TextGeneration stopped =
      generator.generate(context, "", without_end({.max_new_tokens = 64, .stop = {stop, "nowhere"}}));
  EXPECT_EQ(stopped.text, whole.substr(0, whole.find(stop)));
  EXPECT_EQ(stopped.reason, FinishReason::stopped);
}

TEST_F(Stories, EndWhereTheCallbackSaysSo) {
  std::string seen;
  const TextGeneration ended =
      generator.generate(context, "", without_end({.max_new_tokens = 64}), [&](std::string_view piece) {
        seen += piece;
        return seen.size() < 50;
      });
  EXPECT_EQ(ended.reason, FinishReason::stopped);
  EXPECT_EQ(ended.text, seen);
  EXPECT_TRUE(whole.starts_with(seen));
  EXPECT_LT(seen.size(), 70);
}

TEST_F(Stories, TheSameSeedGivesTheSameText) {
  const GenerationOptions sampled{.max_new_tokens = 60, .temperature = 1, .top_p = 0.9, .seed = 11};
  Context two(2);
  const std::string once = generator.generate(context, "the cat", sampled).text;
  EXPECT_EQ(generator.generate(two, "the cat", sampled).text, once);
  GenerationOptions reseeded = sampled;
  reseeded.seed = 12;
  EXPECT_NE(generator.generate(context, "the cat", reseeded).text, once);
}

TEST_F(Stories, PromptsThatAreTooLongAreErrors) {
  EXPECT_THROW(generator.generate(context, std::string(5000, 'x')), Error);
}

}  // namespace
