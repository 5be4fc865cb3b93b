// Calls that are stopped from another thread: soon, by an error of their own kind, and with nothing changed.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <attend/attend.hpp>
#include <attend/model/generation.hpp>
#include <attend/quant.hpp>

#include "support.hpp"
#include "tiny_models.hpp"

namespace {
using namespace attend;
using attend_test::filled;
using attend_test::random_ids;
using attend_test::random_tensor;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Milliseconds from the request until the call has ended, or less than 0 where it was not stopped.
double stopped_after(Context& context, milliseconds begin, const std::function<void(Context&)>& call) {
  std::stop_source source;
  context.set_stop_token(source.get_token());
  Clock::time_point asked;
  std::thread other([&] {
    std::this_thread::sleep_for(begin);
    asked = Clock::now();
    source.request_stop();
  });
  bool stopped = false;
  try {
    call(context);
  } catch (const Stopped&) {
    stopped = true;
  }
  const Clock::time_point ended = Clock::now();
  other.join();
  context.set_stop_token({});
  return stopped ? std::chrono::duration<double, std::milli>(ended - asked).count() : -1;
}

/// At one of a few moments of a call that takes far longer. On a machine that others use, the least of some.
void expect_stops(const std::function<void(Context&)>& call) {
  for (int threads : {1, 2}) {
    Context context(threads);
    context.set_stop_token({});
    double least = 1e9;
    for (int attempt = 0; attempt < 12 && (attempt < 4 || least > 10); ++attempt) {
      const double after = stopped_after(context, milliseconds(5 + 17 * attempt), call);
      ASSERT_GE(after, 0) << "it was not stopped";
      if (attempt > 0) least = (std::min)(least, after);  // the first makes the workspace
    }
    testing::Test::RecordProperty("least_ms", std::to_string(least));
#if !ATTEND_TEST_SANITIZED
    EXPECT_LE(least, 10) << "threads: " << threads;
#endif
  }
}

TEST(Stop, AnUnsetTokenStopsNothing) {
  Context context;
  EXPECT_FALSE(context.stopping());
  EXPECT_FALSE(context.stop_token().stop_possible());
  context.check_stop();
}

TEST(Stop, IsAnErrorOfItsOwnKind) {
  std::stop_source source;
  for (int threads : {1, 2}) {
    Context context(threads);
    context.set_stop_token(source.get_token());
    std::atomic<int> items{0};
    const auto run = [&] { context.parallel(100, threads, [&](Index, int) { ++items; }); };
    run();
    EXPECT_EQ(items, 100);
    items = 0;
    source.request_stop();
    EXPECT_THROW(run(), Stopped);
    EXPECT_EQ(items, 0);
    EXPECT_EQ(attend_test::error_of(run), "stopped by the stop token of the context");
    context.set_stop_token({});
    run();  // and goes on
    EXPECT_EQ(items, 100);
    source = {};
  }
}

TEST(Stop, GoesAlongWithAMove) {
  std::stop_source source;
  Context context;
  context.set_stop_token(source.get_token());
  Context moved(std::move(context));
  source.request_stop();
  EXPECT_TRUE(moved.stopping());
  EXPECT_FALSE(context.stopping());
}

TEST(Stop, EndsALargeProduct) {
  const auto linear = filled<float>(Linear<float>({.in_features = 2048, .out_features = 12000}));
  const Tensor<float, 2> x({6000, 2048}, 0.5f);
  Tensor<float, 2> y({6000, 12000});
  expect_stops([&](Context& context) { linear.forward(context, x, y.view()); });
}

TEST(Stop, EndsAProductOfVeryLongRows) {
  const auto linear = filled<float>(Linear<float>({.in_features = 60000, .out_features = 600}));
  const Tensor<float, 2> x({400, 60000}, 0.5f);
  Tensor<float, 2> y({400, 600});
  expect_stops([&](Context& context) {
    for (int i = 0; i < 100; ++i) linear.forward(context, x, y.view());
  });
}

TEST(Stop, EndsAProductOfWeightsInFewerBits) {
  const Tensor<float, 2> x({2000, 30000}, 0.5f);
  Tensor<float, 2> y({2000, 320});
  for (const WeightType type : {WeightType::bfloat16, WeightType::int8}) {
    const auto linear =
        filled<float>(Linear<float>({.in_features = 30000, .out_features = 320, .weights = type}));
    expect_stops([&](Context& context) {
      for (int i = 0; i < 10; ++i) linear.forward(context, x, y.view());
    });
  }
}

TEST(Stop, EndsWhatIsComputedByEigen) {
  const auto linear = filled<double>(Linear<double>({.in_features = 1500, .out_features = 1500}));
  const Tensor<double, 2> x({3000, 1500}, 0.5);
  Tensor<double, 2> y({3000, 1500});
  expect_stops([&](Context& context) { linear.forward(context, x, y.view()); });
  const Tensor<double, 4> q({1, 4, 100, 64}, 0.01), k({1, 1, 60000, 64}, 0.01);
  Tensor<double, 4> out(q.shape());
  expect_stops([&](Context& context) { scaled_dot_product_attention(context, q, k, k, {}, out.view()); });
}

TEST(Stop, EndsAttentionOverManyKeys) {
  const Tensor<float, 4> q({1, 2, 20000, 128}, 0.01f), k({1, 1, 60000, 128}, 0.01f);
  Tensor<float, 4> out(q.shape());
  expect_stops([&](Context& context) { scaled_dot_product_attention(context, q, k, k, {}, out.view()); });
}

TEST(Stop, EndsALayerWithACacheAsItWas) {
  const auto attention =
      filled<float>(MultiHeadAttention<float>({.embed_dim = 512, .num_heads = 8}), 1, 0.05);
  const auto x = random_tensor<float, 3>({1, 24000, 512});
  Tensor<float, 3> y(x.shape());
  KVCache<float> cache = attention.make_cache(1);
  attention.forward(default_context(), x.slice(1, 0, 100), cache, {}, y.slice(1, 0, 100));
  const Tensor<float, 3> before(y.slice(1, 90, 100));
  expect_stops([&](Context& context) {
    EXPECT_EQ(cache.length(0), 100);
    attention.forward(context, x, cache, {.mask = causal(Corner::bottom_right)}, y.view());
  });
  cache.truncate(0, 90);
  attention.forward(default_context(), x.slice(1, 90, 100), cache, {}, y.slice(1, 90, 100));
  EXPECT_TRUE(attend_test::same_bits(before, y.slice(1, 90, 100)));
}

/// At each of the places where a call asks.
TEST(Stop, LeavesCachesOfAModelAsTheyWere) {
  const auto model = std::make_shared<const CausalLM<float>>(attend_test::tiny_causal_lm());
  const std::vector<std::int32_t> ids = random_ids(1000, 50);
  const TensorView<const std::int32_t, 2> past(ids.data(), {1, 60}), prompt(ids.data() + 60, {1, 940});
  const auto run = [&](Context& context, CausalCache<float>& cache, TensorView<const std::int32_t, 2> part) {
    Tensor<float, 3> logits({1, 1, 50});
    model->forward(context, part, cache, logits.view());
    return logits;
  };
  CausalCache<float> whole = model->make_cache();
  run(default_context(), whole, past);
  const Tensor<float, 3> expected = run(default_context(), whole, prompt);

  CausalCache<float> cache = model->make_cache();
  run(default_context(), cache, past);
  bool stopped = true;
  int stops = 0;
  for (int regions = 0; stopped; regions += 1 + regions / 8) {
    std::stop_source source;
    int left = regions;
    // An executor is asked at each region.
    Context context({.threads = 2, .executor = [&](Index n, detail::FunctionRef<void(Index)> task) {
                       if (left-- == 0) source.request_stop();
                       for (Index i = 0; i < n; ++i) task(i);
                     }});
    context.set_stop_token(source.get_token());
    stopped = false;
    CausalCache<float> mine = cache;
    Tensor<float, 3> logits;
    try {
      logits = run(context, mine, prompt);
    } catch (const Stopped&) {
      stopped = true;
      ++stops;
      for (const KVCache<float>& layer : mine.layers()) ASSERT_EQ(layer.length(0), 60);
      logits = run(default_context(), mine, prompt);
    }
    ASSERT_TRUE(attend_test::same_bits(logits, expected)) << regions;
  }
  EXPECT_GT(stops, 10);
}

TEST(Stop, EndsAGenerationThatGoesOnAfterwards) {
  Generator generator(attend_test::tiny_causal_lm());
  const std::vector<std::int32_t> prompt = random_ids(700, 50);
  const GenerationOptions options{.max_new_tokens = 20, .eos_token_ids = std::vector<std::int32_t>{}};
  Context context;
  const std::vector<std::int32_t> expected = generator.generate(context, prompt, options).ids;
  std::stop_source source;
  context.set_stop_token(source.get_token());
  int tokens = 0;
  const auto stop = [&](Index, std::int32_t) {
    if (++tokens == 5) source.request_stop();
    return true;
  };
  EXPECT_THROW(generator.generate(context, prompt, options, stop), Stopped);
  EXPECT_EQ(tokens, 5);
  context.set_stop_token({});
  const Generation again = generator.generate(context, prompt, options);
  EXPECT_EQ(again.ids, expected);
  EXPECT_GE(again.reused, 699);
}

}  // namespace
