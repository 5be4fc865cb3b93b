// Models and generation with caches: what is rewound, forked or copied gives the bits of a fresh run, and a
// call that fails leaves caches that a retry goes on from.
#include <memory>
#include <vector>

#include <attend/model/generation.hpp>
#include <attend/model/seq2seq.hpp>
#include <attend/model/translator.hpp>

#include "support.hpp"
#include "tiny_models.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::fill_parameters;
using ::testing::HasSubstr;
using Ids = std::vector<std::int32_t>;

constexpr Index kVocabulary = 40;

/// Two layers, the second with a window if there is one.
std::shared_ptr<const CausalLM<float>> make_model(Index window = 0, bool learned_positions = false) {
  CausalBlockOptions block{
      .embed_dim = 32, .num_heads = 4, .num_kv_heads = 2, .head_dim = 8, .dim_feedforward = 64};
  CausalLMOptions o{
      .vocab_size = kVocabulary, .embed_dim = 32, .max_position_embeddings = 2000, .blocks = {block, block}};
  o.blocks[1].sliding_window = window;
  o.blocks[0].alibi = !learned_positions;
  o.learned_positions = learned_positions;
  if (!learned_positions) o.rotary = RotaryOptions{.head_dim = 8};
  CausalLM<float> model(o);
  fill_parameters<float>(model, 3, 0.4);
  return std::make_shared<const CausalLM<float>>(std::move(model));
}

Ids some_ids(Index n, int seed = 1) {
  Ids ids;
  for (Index t = 0; t < n; ++t)
    ids.push_back(static_cast<std::int32_t>((t * t * 7 + t * 3 + seed * 11) % kVocabulary));
  return ids;
}
/// Logits after ids[begin, end), which the cache takes.
std::vector<float> run(Context& context, const CausalLM<float>& model, const Ids& ids, std::size_t begin,
                       std::size_t end, CausalCache<float>& cache) {
  std::vector<float> logits(kVocabulary);
  model.forward(context, {ids.data() + begin, {1, static_cast<Index>(end - begin)}}, cache,
                {logits.data(), {1, 1, kVocabulary}});
  return logits;
}
std::vector<float> fresh(const CausalLM<float>& model, const Ids& ids) {
  Context context;
  CausalCache<float> cache = model.make_cache();
  return run(context, model, ids, 0, ids.size(), cache);
}

struct Failing {
  struct Stop {};
  std::shared_ptr<int> left;
  void operator()(Index n, detail::FunctionRef<void(Index)> task) {
    if ((*left)-- == 0) throw Stop{};
    for (Index i = 0; i < n; ++i) task(i);
  }
};
template <class F>
bool fails_at(int n, F&& f) {
  Context context(ContextOptions{.threads = 2, .executor = Failing{std::make_shared<int>(n)}});
  try {
    f(context);
  } catch (const Failing::Stop&) {
    return true;
  }
  return false;
}

// ---- CausalCache
// ---------------------------------------------------------------------------------------------------

TEST(CausalCache, RewoundForkedOrCopiedGivesTheBitsOfAFreshRun) {
  Context context;
  const Ids ids = some_ids(500), other = some_ids(300, 2);
  for (Index window : {0, 30, 120}) {
    const auto model = make_model(window);
    CausalCache<float> cache = model->make_cache();
    run(context, *model, ids, 0, 500, cache);
    for (Index length : {499, 450, 400, 385, 384, 300, 97, 96, 95, 1, 0}) {
      CausalCache<float> copied = cache, forked = model->make_cache(0);
      const Index kept = copied.rewind(0, length);
      EXPECT_TRUE(kept == length || (window > 0 && kept == 0));
      EXPECT_EQ(copied.length(0), kept);
      for (const KVCache<float>& layer : copied.layers()) EXPECT_EQ(layer.length(0), kept);
      forked.fork(copied, 0);
      CausalCache<float> third = copied;

      Ids mine(ids.begin(), ids.begin() + kept);
      mine.insert(mine.end(), other.begin(), other.end());
      Ids theirs(ids.begin(), ids.begin() + kept);
      theirs.insert(theirs.end(), other.begin() + 100, other.end());
      const auto a = run(context, *model, mine, static_cast<std::size_t>(kept), mine.size(), copied);
      const auto b = run(context, *model, theirs, static_cast<std::size_t>(kept), theirs.size(), forked);
      const auto c = run(context, *model, mine, static_cast<std::size_t>(kept),
                         static_cast<std::size_t>(kept) + 5, third);
      EXPECT_EQ(a, fresh(*model, mine)) << window << " " << length;
      EXPECT_EQ(b, fresh(*model, theirs)) << window << " " << length;
      EXPECT_EQ(c, fresh(*model, Ids(mine.begin(), mine.begin() + kept + 5))) << window << " " << length;
    }
    EXPECT_EQ(cache.length(0), 500);
    Ids longer = ids;
    longer.push_back(3);
    EXPECT_EQ(run(context, *model, longer, 500, 501, cache), fresh(*model, longer));
  }
}

TEST(CausalCache, OfNoLayersOrOfOthersIsAnError) {
  const auto model = make_model();
  CausalCache<float> none, one = model->make_cache(1);
  EXPECT_EQ(none.batch(), 0);
  EXPECT_EQ(error_of([&] { static_cast<void>(none.length(0)); }), "CausalCache: sequence 0 of 0");
  EXPECT_EQ(error_of([&] { static_cast<void>(one.length(1)); }), "CausalCache: sequence 1 of 1");
  EXPECT_EQ(error_of([&] { none.rewind(0, 0); }), "CausalCache: sequence 0 of 0");
  EXPECT_THAT(error_of([&] { one.rewind(0, 1); }), HasSubstr("truncate to 1 of 0"));
  EXPECT_EQ(error_of([&] { none.fork(one, 0); }), "CausalCache: fork of a cache of 2 layers, expected 0");
  EXPECT_EQ(error_of([&] { one.fork(none, 0); }), "CausalCache: fork of a cache of 0 layers, expected 2");
  EXPECT_EQ(error_of([&] { one.fork(one, 1); }), "CausalCache: sequence 1 of 1");
  EXPECT_EQ(error_of([&] { none.fork(none, 0); }), "CausalCache: sequence 0 of 0");
  EXPECT_EQ(error_of([&] { none.reorder(std::vector<Index>{0}); }), "CausalCache: sequence 0 of 0");
  EXPECT_EQ(error_of([&] { one.reorder(std::vector<Index>{0, 3}); }), "CausalCache: sequence 3 of 1");
  EXPECT_EQ(one.batch(), 1);
  EXPECT_THAT(error_of([&] { model->make_cache(-1); }), HasSubstr("KVCache: batch -1"));
  Context context;
  EXPECT_THAT(error_of([&] { run(context, *model, some_ids(3), 0, 3, none); }),
              HasSubstr("CausalLM: a cache of 0 layers"));
  CausalCache<float> moved = std::move(one);
  EXPECT_THAT(error_of([&] { run(context, *model, some_ids(3), 0, 3, one); }),
              HasSubstr("CausalLM: a cache of 0 layers"));
  moved.layers()[1] = KVCache<float>({.batch = 1, .num_kv_heads = 2, .head_dim = 4});
  EXPECT_THAT(error_of([&] { run(context, *model, some_ids(3), 0, 3, moved); }),
              HasSubstr("MultiHeadAttention (a cache's"));
  EXPECT_EQ(moved.length(0), 0);  // the layer before has given its tokens back
  // a fork that fits the first layer but not the second changes neither
  CausalCache<float> right = model->make_cache(1);
  EXPECT_THAT(error_of([&] { right.fork(moved, 0); }), HasSubstr("KVCache: fork of another cache"));
  EXPECT_EQ(right.layers()[0].batch(), 1);
  EXPECT_EQ(right.layers()[1].batch(), 1);
}

TEST(CausalLM, AFailedCallKeepsThePiecesThatWereDone) {
  const Ids ids = some_ids(900);
  for (Index window : {0, 100}) {
    const auto model = make_model(window);
    const std::vector<float> expected = fresh(*model, ids),
                             shorter = fresh(*model, Ids(ids.begin(), ids.begin() + 40));
    int failures = 0;
    for (bool failed = true; failed; ++failures) {
      CausalCache<float> cache = model->make_cache();
      Context context;
      EXPECT_EQ(run(context, *model, ids, 0, 40, cache), shorter);
      std::vector<float> logits;
      failed =
          fails_at(failures, [&](Context& failing) { logits = run(failing, *model, ids, 40, 900, cache); });
      const Index kept = cache.length(0);
      for (const KVCache<float>& layer : cache.layers()) ASSERT_EQ(layer.length(0), kept);
      if (failed) {
        ASSERT_EQ(kept, 40);  // whatever piece it was
        logits = run(context, *model, ids, static_cast<std::size_t>(kept), 900, cache);
      }
      ASSERT_EQ(logits, expected) << failures;
    }
    EXPECT_GT(failures, 3 * 2 * 3);  // pieces, layers, and more than one region of each
  }
}

TEST(CausalLM, WorkspaceIsExactForPromptsInPiecesAndLongPasts) {
  for (Index window : {0, 100})
    for (std::size_t past : {0, 30, 1590}) {
      const auto model = make_model(window);
      const Ids ids = some_ids(1990);
      CausalCache<float> cache = model->make_cache();
      Context once;
      if (past > 0) run(once, *model, ids, 0, past, cache);
      for (std::size_t end : {past + 1, past + 200, past + 400})
        for (int threads : {1, 2, 5}) {
          CausalCache<float> mine = cache;
          const auto f = [&](Context& context) { run(context, *model, ids, past, end, mine); };
          const std::size_t foretold = Context::measure(threads, f);
          ASSERT_EQ(mine.length(0), static_cast<Index>(past));
          Context context(threads);
          f(context);
          ASSERT_EQ(context.workspace().peak_bytes(), foretold)
              << past << " to " << end << ", threads " << threads;
        }
    }
}

// ---- generation
// ----------------------------------------------------------------------------------------------------

GenerationOptions greedy(Index tokens) {
  GenerationOptions o{.max_new_tokens = tokens};
  o.temperature = 0;
  o.eos_token_ids.emplace();
  return o;
}

TEST(Generator, ReusedPromptsAndCopiesGiveTheTokensOfAFreshOne) {
  Context context;
  for (Index window : {0, 50}) {
    const auto model = make_model(window);
    Generator generator(model);
    const Ids base = some_ids(420);
    for (std::size_t common : {420, 400, 300, 100, 96, 1, 0}) {
      Ids prompt(base.begin(), base.begin() + static_cast<std::ptrdiff_t>(common));
      const Ids tail = some_ids(30, 5);
      prompt.insert(prompt.end(), tail.begin(), tail.end());
      generator.generate(context, base, greedy(3));
      Generator copy = generator;
      const Ids expected = Generator(model).generate(context, prompt, greedy(20)).ids;
      EXPECT_EQ(generator.generate(context, prompt, greedy(20)).ids, expected) << common;
      Ids last = base;
      last.back() = 1;
      EXPECT_EQ(copy.generate(context, last, greedy(20)).ids,
                Generator(model).generate(context, last, greedy(20)).ids);
      GenerationOptions beams = greedy(8);
      beams.num_beams = 3;
      EXPECT_EQ(copy.generate(context, prompt, beams).ids,
                Generator(model).generate(context, prompt, beams).ids);
      EXPECT_EQ(copy.generate(context, prompt, greedy(20)).ids, expected);
    }
  }
}

TEST(Generator, ACallThatFailsAtAnyPointLeavesOneThatWorks) {
  const auto model = make_model(50);
  const Ids first = some_ids(100), prompt = [&] {
    Ids ids(first.begin(), first.begin() + 90);
    const Ids tail = some_ids(410, 4);
    ids.insert(ids.end(), tail.begin(), tail.end());
    return ids;
  }();
  const std::vector<Ids> prompts{prompt, first};
  for (int kind : {0, 1, 2}) {
    GenerationOptions options = greedy(4);
    if (kind == 1) options.num_beams = 3;
    const auto call = [&](Context& context, Generator& generator) {
      if (kind == 2) return generator.generate(context, prompts, options)[0].ids;
      return generator.generate(context, prompt, options).ids;
    };
    Context context;
    Generator reference(model);
    const Ids expected = call(context, reference);
    Generator used(model);
    used.generate(context, first, greedy(2));
    bool failed = true;
    int failures = 0;
    for (; failed; failures += failures < 10 ? 1 : 7) {
      Generator generator = used;
      Ids got;
      failed = fails_at(failures, [&](Context& failing) { got = call(failing, generator); });
      if (failed) got = call(context, generator);
      ASSERT_EQ(got, expected) << "kind " << kind << ", failure " << failures;
    }
    EXPECT_GT(failures, 20);
  }
}

TEST(Generator, ACallbackThatThrowsLeavesOneThatWorks) {
  const auto model = make_model();
  const Ids prompt = some_ids(50);
  Context context;
  const Ids expected = Generator(model).generate(context, prompt, greedy(10)).ids;
  for (int at = 0; at < 10; ++at) {
    Generator generator(model);
    int tokens = 0;
    EXPECT_THROW(
        generator.generate(context, prompt, greedy(10),
                           [&](Index, std::int32_t) -> bool { return tokens++ == at ? throw 5 : true; }),
        int);
    EXPECT_EQ(generator.cached().size(), static_cast<std::size_t>(50 + at));
    EXPECT_EQ(generator.generate(context, prompt, greedy(10)).ids, expected);
  }
}

TEST(Generator, WithoutAModelIsAnError) {
  EXPECT_EQ(error_of([] { Generator(std::shared_ptr<const CausalLM<float>>()); }), "Generator: no model");
  Generator generator(make_model());
  Generator moved = std::move(generator);
  Context context;
  EXPECT_EQ(error_of([&] { generator.generate(context, some_ids(3)); }), "Generator: it was moved from");
  EXPECT_EQ(error_of([&] { generator.beams(context, some_ids(3), {}); }), "Generator: it was moved from");
  EXPECT_EQ(moved.generate(context, some_ids(3), greedy(2)).ids.size(), 2u);
}

// ---- encoder-decoder
// -----------------------------------------------------------------------------------------------

TEST(Seq2Seq, AFailedStepLeavesTheCacheAsItWas) {
  Seq2SeqOptions o{.source_vocab_size = kVocabulary, .target_vocab_size = kVocabulary};
  o.encoder = {.block = {.embed_dim = 64, .num_heads = 2, .dim_feedforward = 64}, .num_layers = 1};
  o.decoder = {.block = {.embed_dim = 64, .num_heads = 2, .dim_feedforward = 64}, .num_layers = 2};
  o.positions = PositionKind::sinusoidal;
  o.eos_token_ids = {39};
  Seq2Seq<float> model(o);
  fill_parameters<float>(model);
  Context context;
  const Ids source = some_ids(60), target = some_ids(120, 2);
  const Tensor<float, 3> states = model.encode(context, {source.data(), {1, 60}});
  DecoderCache<float> cache = model.make_cache(context, states);
  model.decode(context, {target.data(), {1, 20}}, cache);
  DecoderCache<float> other = cache;
  const Tensor<float, 3> expected = model.decode(context, {target.data() + 20, {1, 100}}, other);
  int failures = 0;
  Tensor<float, 3> got;
  while (fails_at(failures, [&](Context& failing) {
    got = model.decode(failing, {target.data() + 20, {1, 100}}, cache);
  })) {
    ++failures;
    for (const KVCache<float>& layer : cache.targets) ASSERT_EQ(layer.length(0), 20);
  }
  EXPECT_GT(failures, 5);
  EXPECT_TRUE(
      std::equal(got.span().begin(), got.span().end(), expected.span().begin(), expected.span().end()));
  const Ids unknown{kVocabulary};
  EXPECT_NE(error_of([&] { model.decode(context, {unknown.data(), {1, 1}}, cache); }), "");
  EXPECT_EQ(cache.length(), 120);
  EXPECT_THAT(error_of([&] { model.make_cache(context, states, std::vector<Index>{61}); }),
              HasSubstr("Decoder: a length of 61"));
  EXPECT_EQ(error_of([&] {
              Seq2SeqOptions negative = o;
              negative.decoder.num_layers = -1;
              Seq2Seq<float>{negative};
            }),
            "Decoder: num_layers is -1, expected 0 to 10000");
  GenerationOptions beams = greedy(12);
  beams.num_beams = 3;
  const Ids translated = generate(context, model, std::span<const std::int32_t>(source), beams);
  EXPECT_EQ(generate(context, model, std::span<const std::int32_t>(source), beams), translated);
}

#if defined(__SSE2__)
TEST(Models, GiveTheSameBitsWhereTheCallerFlushesSubnormals) {
  const std::vector<std::int32_t> ids = attend_test::random_ids(12, 40);
  const TensorView<const std::int32_t, 2> batch(ids.data(), {2, 6});
  Seq2SeqOptions o = attend_test::tiny_seq2seq(PositionKind::sinusoidal).options();
  o.output_scale = 1e-39;
  Seq2Seq<float> model(o);
  fill_parameters<float>(model);
  Context context;
  const auto run = [&] {
    DecoderCache<float> cache = model.make_cache(context, model.encode(context, batch));
    return model.decode(context, batch, cache);
  };
  const Tensor<float, 3> expected = run();
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040u);
  const Tensor<float, 3> got = run();
  _mm_setcsr(before);
  EXPECT_TRUE(attend_test::same_bits(got, expected));
  EXPECT_NE(got(0, 0, 0), 0);
}
#endif

}  // namespace
