// A context in every hand: callables that throw, executors that do not keep their word, threads that cannot
// be had, two users at once, moves, and the default context at the end of a thread.
#include <atomic>
#include <cfenv>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <attend/attend.hpp>

#include "support.hpp"

// Under sanitizers, too, an allocation that cannot be is an exception.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::fill_parameters;
using attend_test::random_tensor;
using testing::HasSubstr;

/// Not a std::exception: what a caller throws is the caller's.
struct Thrown {
  int value = 0;
};

/// Throws when asked for the n-th time, and knows how many threads are inside.
struct Bomb {
  std::atomic<long> calls{0}, inside{0};
  std::atomic<long> explodes_at{-1};  // -1: never
  bool always = false;

  void tick() {
    struct Inside {
      std::atomic<long>& n;
      explicit Inside(std::atomic<long>& count) : n(count) { ++n; }
      ~Inside() { --n; }
    } in(inside);
    const long call = calls++;
    if (explodes_at >= 0 && (always ? call >= explodes_at : call == explodes_at))
      throw Thrown{static_cast<int>(call)};
  }
};

/// One thread for each task.
void run_on_threads(Index n, detail::FunctionRef<void(Index)> task) {
  std::vector<std::thread> threads;
  for (Index i = 0; i < n; ++i) threads.emplace_back([=] { task(i); });
  for (std::thread& thread : threads) thread.join();
}

/// Flushing subnormals, as audio hosts do: what a call must leave as it was.
class Flushing {
 public:
#if defined(__SSE2__)
  Flushing() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }
  ~Flushing() { _mm_setcsr(before_); }
  bool still() const { return _mm_getcsr() == (before_ | 0x8040u); }

 private:
  unsigned before_;
#else
  bool still() const { return true; }
#endif
};

/// A call with a callable of the caller's in it; gives back its outputs.
struct Case {
  const char* name;
  std::function<std::vector<float>(Context&, Bomb*)> run;
};

template <class S>
std::vector<float> values(const Tensor<S, 4>& t) {
  std::vector<float> out;
  for (S v : t.span()) out.push_back(static_cast<float>(v));
  return out;
}

template <class S>
std::vector<Case> attention_cases() {
  struct Data {
    Tensor<S, 4> q = random_tensor<S, 4>({1, 4, 60, 16}, 1), k = random_tensor<S, 4>({1, 2, 130, 16}, 2),
                 v = random_tensor<S, 4>({1, 2, 130, 16}, 3);
    Tensor<S, 4> few = random_tensor<S, 4>({1, 1, 1, 16}, 4);
    Tensor<S, 4> many_k = random_tensor<S, 4>({1, 1, 3200, 16}, 5),
                 many_v = random_tensor<S, 4>({1, 1, 3200, 16}, 6);
    KVCache<S> cache{{.batch = 1, .num_kv_heads = 2, .head_dim = 16}};
    MultiHeadAttention<S> mha{{.embed_dim = 32, .num_heads = 4}};
    Encoder<S> encoder{{.block = {.embed_dim = 32, .num_heads = 4, .dim_feedforward = 64}, .num_layers = 2}};
    Tensor<S, 3> x = random_tensor<S, 3>({1, 60, 32}, 7);
  };
  const auto data = std::make_shared<Data>();
  data->cache.append(data->k, data->v);
  fill_parameters<S>(data->mha);
  fill_parameters<S>(data->encoder);
  const auto attention = [data](Context& context, const AttentionOptions<S>& options,
                                const AttentionOutputs<S>& outputs = {}) {
    Tensor<S, 4> out({1, 4, 60, 16});
    scaled_dot_product_attention<S>(context, data->q, data->k, data->v, options, out.view(), outputs);
    return values(out);
  };
  const auto mask = [](Bomb* bomb) {
    return [bomb](Index, Index, Index i, Index j) { return bomb->tick(), (i + j) % 3 != 0; };
  };
  const auto modifier = [](Bomb* bomb) {
    return [bomb](S s, Index, Index, Index, Index) { return bomb->tick(), s + S(1); };
  };
  return {
      {"mask", [=](Context& c, Bomb* b) { return attention(c, {.mask = mask(b)}); }},
      {"mask in an expression",
       [=](Context& c, Bomb* b) {
         return attention(c, {.mask = causal(Corner::bottom_right) & Mask(mask(b))});
       }},
      {"modifier", [=](Context& c, Bomb* b) { return attention(c, {.modifier = modifier(b)}); }},
      {"weight_modifier",
       [=](Context& c, Bomb* b) { return attention(c, {.weight_modifier = modifier(b)}); }},
      {"dropout's keep",
       [=](Context& c, Bomb* b) {
         return attention(c, {.weight_modifier = dropout<S>(0.5, [b](Index, Index, Index i, Index j) {
                                return b->tick(), (i + j) % 2 == 0;
                              })});
       }},
      {"mask, with scores and weights",
       [=](Context& c, Bomb* b) {
         Tensor<S, 4> scores({1, 4, 60, 130}), weights({1, 4, 60, 130});
         attention(c, {.mask = mask(b)}, {.weights = weights.view(), .scores = scores.view()});
         return values(weights);
       }},
      {"mask, few queries and many keys",
       [=](Context& c, Bomb* b) {
         Tensor<S, 4> out({1, 1, 1, 16});
         scaled_dot_product_attention<S>(c, data->few, data->many_k, data->many_v, {.mask = mask(b)},
                                         out.view());
         return values(out);
       }},
      {"mask, over a cache",
       [=](Context& c, Bomb* b) {
         Tensor<S, 4> out({1, 4, 60, 16});
         scaled_dot_product_attention<S>(c, data->q, data->cache, {.mask = mask(b)}, out.view());
         return values(out);
       }},
      {"introspect",
       [=](Context& c, Bomb* b) {
         Tensor<S, 3> entropy({1, 4, 60});
         introspect<S>(c, data->q, data->k, {.mask = mask(b), .modifier = modifier(b)},
                       {.entropy = entropy.view()});
         return std::vector<float>(entropy.span().begin(), entropy.span().end());
       }},
      {"MultiHeadAttention",
       [=](Context& c, Bomb* b) {
         Tensor<S, 3> out({1, 60, 32}), average({1, 60, 60});
         data->mha.forward(c, data->x, {.mask = mask(b)}, out.view(), {.average_weights = average.view()});
         return std::vector<float>(out.span().begin(), out.span().end());
       }},
      {"Encoder",
       [=](Context& c, Bomb* b) {
         Tensor<S, 3> out({1, 60, 32});
         data->encoder.forward(c, data->x, {.self = {.mask = mask(b)}}, out.view());
         return std::vector<float>(out.span().begin(), out.span().end());
       }},
  };
}

/// The call explodes at different moments; each time the exception arrives, nobody is left inside, and the
/// context and the thread are as they were.
void explode(const Case& c, Context& context) {
  Bomb quiet;
  const std::vector<float> expected = c.run(context, &quiet);
  ASSERT_GT(quiet.calls, 0);
  const std::pair<long, bool> moments[] = {
      {0, true}, {quiet.calls / 2, false}, {quiet.calls / 2, true}, {quiet.calls - 1, false}};
  for (const auto& [at, always] : moments) {
    SCOPED_TRACE("at " + std::to_string(at) + (always ? " and after" : ""));
    Bomb bomb;
    bomb.explodes_at = at;
    bomb.always = always;
    {
      const Flushing flushing;
      EXPECT_THROW(c.run(context, &bomb), Thrown);
      EXPECT_TRUE(flushing.still());
    }
    EXPECT_EQ(bomb.inside, 0);
  }
  Bomb none;
  EXPECT_EQ(c.run(context, &none), expected);
}

template <class S>
void explode_everywhere() {
  for (const Case& c : attention_cases<S>()) {
    SCOPED_TRACE(c.name);
    for (const int threads : {1, 2, 4}) {
      SCOPED_TRACE(std::to_string(threads) + " threads");
      Context context(threads);
      explode(c, context);
    }
    SCOPED_TRACE("an executor");
    Context context(ContextOptions{.threads = 3, .executor = run_on_threads});
    explode(c, context);
  }
}
TEST(ContextExceptions, OfCallablesReachTheCallerOfFloatAttention) { explode_everywhere<float>(); }
TEST(ContextExceptions, OfCallablesReachTheCallerOfDoubleAttention) { explode_everywhere<double>(); }

TEST(ContextExceptions, ArriveOnceAllWorkersHaveLeft) {
  for (const bool own_threads : {false, true}) {
    Context context(
        ContextOptions{.threads = 4, .executor = own_threads ? Executor(run_on_threads) : Executor()});
    std::atomic<int> inside{0};
    EXPECT_THROW(context.parallel(4, 4,
                                  [&](Index i, int) {
                                    ++inside;
                                    if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
                                    --inside;
                                    if (i == 0) throw Thrown{};
                                  }),
                 Thrown);
    EXPECT_EQ(inside, 0);
  }
}

TEST(ContextExceptions, LeaveOutWhatHasNotBegun) {
  for (const bool own_threads : {false, true}) {
    Context context(
        ContextOptions{.threads = 2, .executor = own_threads ? Executor(run_on_threads) : Executor()});
    std::atomic<int> calls{0};
    std::atomic<bool> thrown{false};
    EXPECT_THROW(context.parallel(1000, 2,
                                  [&](Index i, int) {
                                    ++calls;
                                    if (i == 0) {
                                      thrown = true;
                                      throw Thrown{};
                                    }
                                    while (!thrown) std::this_thread::yield();
                                    std::this_thread::sleep_for(std::chrono::milliseconds(1));
                                  }),
                 Thrown);
    EXPECT_LT(calls, 1000);
    calls = 0;
    context.parallel(1000, 2, [&](Index, int) { ++calls; });
    EXPECT_EQ(calls, 1000);
  }
}

TEST(ContextExceptions, OfAnErrorHandlerOnAWorkerToo) {
  Context context(2);
  error_handler() = [](const char*) { throw Thrown{7}; };
  EXPECT_THROW(context.parallel(100, 2, [&](Index, int) { throw_error("on a worker"); }), Thrown);
  error_handler() = nullptr;
  EXPECT_EQ(error_of([&] { context.parallel(100, 2, [&](Index, int) { throw_error("on a worker"); }); }),
            "on a worker");
}

TEST(ThreadPool, ThrowsTheFirstExceptionOfItsTasksAndGoesOn) {
  detail::ThreadPool pool(3);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> inside{0}, calls{0};
    EXPECT_THROW(pool.run(20,
                          [&](Index i) {
                            ++inside, ++calls;
                            const std::unique_ptr<int, std::function<void(int*)>> leave(
                                new int, [&](int* p) { delete p, --inside; });
                            if (i % 3 == 1) throw Thrown{};
                          }),
                 Thrown);
    EXPECT_EQ(inside, 0);
    calls = 0;
    pool.run(20, [&](Index) { ++calls; });
    EXPECT_EQ(calls, 20);
  }
}

TEST(ThreadPool, IsAnErrorWhereItRunsAlready) {
  detail::ThreadPool pool(2);
  EXPECT_THAT(error_of([&] { pool.run(2, [&](Index) { pool.run(2, [](Index) {}); }); }),
              HasSubstr("runs already"));
  EXPECT_THAT(error_of([&] { pool.run(-1, [](Index) {}); }), HasSubstr("-1 tasks"));
  EXPECT_THAT(error_of([&] { pool.run(Index{1} << 32, [](Index) {}); }), HasSubstr("4294967296 tasks"));
  std::atomic<int> calls{0};
  pool.run(0, [&](Index) { ++calls; });
  pool.run(5, [&](Index) { ++calls; });
  EXPECT_EQ(calls, 5);
}

// Executors.

Context with_executor(int threads, Executor executor) {
  return Context(ContextOptions{.threads = threads, .executor = std::move(executor)});
}

/// One run of 100 items, each counted. Whatever the executor does, none runs twice.
std::string run_100(Context& context) {
  std::vector<std::atomic<int>> times(100);
  std::string error;
  try {
    context.parallel(100, context.threads(), [&](Index i, int) { ++times[static_cast<std::size_t>(i)]; });
  } catch (const Error& e) {
    error = e.what();
  }
  for (const std::atomic<int>& n : times) EXPECT_LE(n, 1);
  if (error.empty()) {
    for (const std::atomic<int>& n : times) EXPECT_EQ(n, 1);
  }
  return error;
}

TEST(Executor, ThatRunsInAnyOrderIsFine) {
  Context backwards = with_executor(4, [](Index n, detail::FunctionRef<void(Index)> task) {
    while (n > 0) task(--n);
  });
  EXPECT_EQ(run_100(backwards), "");
  Context threads = with_executor(4, run_on_threads);
  EXPECT_EQ(run_100(threads), "");
}

TEST(Executor, ThatThrowsIsHeardOnceItsTasksAreDone) {
  std::vector<std::thread> threads;
  std::atomic<int> inside{0};
  {
    Context context = with_executor(3, [&](Index n, detail::FunctionRef<void(Index)> task) {
      std::atomic<int> begun{0};
      for (Index i = 1; i < n; ++i)
        threads.emplace_back([&begun, task, i] {
          ++begun;
          task(i);
        });
      task(0);
      while (begun < 2) std::this_thread::yield();
      throw Thrown{};
    });
    EXPECT_THROW(context.parallel(30, 3,
                                  [&](Index, int) {
                                    ++inside;
                                    std::this_thread::sleep_for(std::chrono::milliseconds(1));
                                    --inside;
                                  }),
                 Thrown);
    EXPECT_EQ(inside, 0);
    for (std::thread& thread : threads) thread.join();
    threads.clear();
  }
  Context before = with_executor(3, [](Index, detail::FunctionRef<void(Index)>) { throw Thrown{}; });
  for (int i = 0; i < 2; ++i) EXPECT_THROW(before.parallel(30, 3, [](Index, int) {}), Thrown);
}

TEST(Executor, ThatDoesNotKeepItsWordIsAnError) {
  const auto context_of = [](auto tasks) {
    return with_executor(4, [=](Index n, detail::FunctionRef<void(Index)> task) { tasks(n, task); });
  };
  Context none = context_of([](Index, auto) {});
  EXPECT_THAT(run_100(none), HasSubstr("0 of 4 tasks"));
  Context fewer = context_of([](Index n, auto task) {
    for (Index i = 1; i < n; ++i) task(i);
  });
  EXPECT_THAT(run_100(fewer), HasSubstr("3 of 4 tasks"));
  Context twice = context_of([](Index n, auto task) {
    for (Index i = 0; i < 2 * n; ++i) task(i / 2);
  });
  EXPECT_THAT(run_100(twice), HasSubstr("twice"));
  Context at_once =
      context_of([](Index n, auto task) { run_on_threads(2 * n, [&](Index i) { task(i / 2); }); });
  EXPECT_THAT(run_100(at_once), HasSubstr("twice"));
  Context others = context_of([](Index n, auto task) {
    for (Index i = -1; i <= n; ++i) task(i);
  });
  EXPECT_THAT(run_100(others), HasSubstr("not given"));
  Context one_only = context_of([](Index n, auto task) {
    for (Index i = 0; i < n; ++i) task(0);
  });
  EXPECT_THAT(run_100(one_only), HasSubstr("1 of 4 tasks"));
}

TEST(Executor, ThatReturnsTooEarlyLeavesNoTaskBehind) {
  std::vector<std::thread> threads;
  std::atomic<bool> go{false};
  Context context = with_executor(3, [&](Index n, detail::FunctionRef<void(Index)> task) {
    for (Index i = 0; i < n; ++i)
      threads.emplace_back([&go, task, i] {
        while (!go) std::this_thread::yield();
        task(i);
      });
  });
  EXPECT_THAT(run_100(context), HasSubstr("0 of 3 tasks"));
  go = true;  // the items' places are gone
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  // Those that have begun are waited for; whether all have is a matter of time.
  for (int i = 0; i < 20; ++i) {
    run_100(context);
    for (std::thread& thread : threads) thread.join();
    threads.clear();
  }
}

// Numbers.

TEST(Context, ParallelRunsEachItemOnceWhateverTheNumberOfWorkers) {
  for (const int threads : {1, 2, 3}) {
    Context context(threads);
    for (const int workers :
         {-1000, -1, 0, 1, 2, 3, 4, 1000, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()})
      for (const Index items : {Index{-5}, Index{0}, Index{1}, Index{2}, Index{7}, Index{100}}) {
        std::vector<std::atomic<int>> times(100);
        context.parallel(items, workers, [&](Index i, int worker) {
          EXPECT_GE(worker, 0);
          EXPECT_LT(worker, threads);
          ++times[static_cast<std::size_t>(i)];
        });
        for (Index i = 0; i < 100; ++i) EXPECT_EQ(times[static_cast<std::size_t>(i)], i < items ? 1 : 0);
      }
    EXPECT_EQ(context.workers(-3, 1e9), 1);
    EXPECT_EQ(context.workers(0, 1e9), 1);
    EXPECT_EQ(context.workers(100, 1e9), threads);
  }
  // Ranges of workers do not overflow: the first item ends it.
  Context context(3);
  EXPECT_THROW(context.parallel(std::numeric_limits<Index>::max() / 2, 3,
                                [](Index i, int) {
                                  if (i >= 0) throw Thrown{};
                                }),
               Thrown);
}

TEST(Context, NumbersOfThreadsBeyondReasonAreErrors) {
  for (const int threads :
       {0, -1, std::numeric_limits<int>::min(), 4097, 1'000'000'000, std::numeric_limits<int>::max()}) {
    const std::string expected = "Context: expected 1 to 4096 threads, got " + std::to_string(threads);
    EXPECT_EQ(error_of([&] { Context context(threads); }), expected);
    EXPECT_EQ(error_of([&] { with_executor(threads, run_on_threads); }), expected);
    EXPECT_EQ(error_of([&] { Context::measure(threads, [](Context&) {}); }), expected);
    EXPECT_THAT(error_of([&] { detail::ThreadPool pool(threads); }),
                HasSubstr("ThreadPool: expected 1 to 4096 threads"));
  }
}

// Nested calls.

TEST(Context, NestedCallsRunWithOneThread) {
  Context context;
  const Tensor<float, 3> x({1, 3, 16}, 0.5f);
  Tensor<float, 3> y(x.shape());
  Linear<float> linear({.in_features = 16, .out_features = 16});
  fill_parameters<float>(linear);
  const Tensor<float, 3> expected = linear(x);
  int calls = 0;
  context.parallel(3, 3, [&](Index, int) {
    context.parallel(5, 2, [&](Index, int) { ++calls; });
    linear.forward(context, x, y.view());
  });
  EXPECT_EQ(calls, 15);
  EXPECT_THAT(y.span(), testing::ElementsAreArray(expected.span()));
}

TEST(Context, NestedCallsAreErrorsWithMoreThreads) {
  for (const bool own_threads : {false, true}) {
    Context context(
        ContextOptions{.threads = 2, .executor = own_threads ? Executor(run_on_threads) : Executor()});
    for (const int workers : {1, 2}) {
      EXPECT_THAT(error_of([&] {
                    context.parallel(4, workers,
                                     [&](Index, int) { context.parallel(4, workers, [](Index, int) {}); });
                  }),
                  HasSubstr("in use"));
      EXPECT_THAT(error_of([&] {
                    context.parallel(4, workers, [&](Index, int) { Frame frame(context.workspace()); });
                  }),
                  HasSubstr("in use"));
    }
    // On the worker alone, and on the caller alone.
    const std::thread::id caller = std::this_thread::get_id();
    for (const bool on_caller : {false, true}) {
      std::atomic<int> errors{0}, calls{0};
      context.parallel(1000, 2, [&](Index, int) {
        if ((std::this_thread::get_id() == caller) != on_caller) return;
        ++calls;
        try {
          context.parallel(1, 1, [](Index, int) {});
        } catch (const Error&) {
          ++errors;
        }
      });
      EXPECT_EQ(errors, calls);
    }
    EXPECT_EQ(run_100(context), "");
  }
}

TEST(Context, AMaskMayAskALayerThroughTheDefaultContext) {
  Linear<float> linear({.in_features = 4, .out_features = 1});
  fill_parameters<float>(linear);
  const auto q = random_tensor<float, 4>({1, 2, 60, 8}), k = random_tensor<float, 4>({1, 2, 60, 8}, 2);
  const auto sees = [&linear](Index, Index, Index i, Index j) {
    Tensor<float, 2> x({1, 4}, static_cast<float>(i - j));
    return linear(x)(0, 0) > 0;
  };
  Tensor<float, 4> two_threads({1, 2, 60, 8});
  Context context(2);
  scaled_dot_product_attention<float>(context, q, k, k, {.mask = sees}, two_threads.view());
  const Tensor<float, 4> nested = scaled_dot_product_attention(q, k, k, {.mask = sees});
  EXPECT_THAT(two_threads.span(), testing::ElementsAreArray(nested.span()));
}

// Two users.

TEST(Context, ASecondThreadIsAnErrorAndTheFirstGoesOn) {
  for (const int threads : {1, 2}) {
    Context context(threads);
    MultiHeadAttention<float> layer({.embed_dim = 32, .num_heads = 4});
    fill_parameters<float>(layer);
    const auto x = random_tensor<float, 3>({2, 60, 32});
    const Tensor<float, 3> expected = layer(x);
    // For certain: while one is inside.
    const auto others_fail = [&] {
      std::thread([&] {
        Tensor<float, 3> y(x.shape());
        EXPECT_THAT(error_of([&] { layer.forward(context, x, {}, y.view()); }), HasSubstr("in use already"));
        EXPECT_THAT(error_of([&] { context.parallel(1, 1, [](Index, int) {}); }), HasSubstr("in use"));
        EXPECT_THAT(error_of([&] { Frame frame(context.workspace()); }), HasSubstr("in use"));
        EXPECT_THAT(error_of([&] { context.workspace().clear(); }), HasSubstr("in use"));
        EXPECT_THAT(error_of([&] { Context stolen(std::move(context)); }), HasSubstr("in use"));
        EXPECT_THAT(error_of([&] { context = Context(); }), HasSubstr("in use"));
      }).join();
    };
    {
      const Frame frame(context.workspace());
      others_fail();
    }
    if (threads > 1) context.parallel(1, 1, [&](Index, int) { others_fail(); });
    // By chance: each call is right, or an Error.
    std::atomic<int> right{0}, errors{0};
    const auto user = [&] {
      Tensor<float, 3> y(x.shape());
      for (int i = 0; i < 200; ++i) try {
          layer.forward(context, x, {}, y.view());
          right += std::equal(y.span().begin(), y.span().end(), expected.span().begin());
        } catch (const Error&) {
          ++errors;
        }
    };
    std::thread a(user), b(user);
    a.join(), b.join();
    EXPECT_EQ(right + errors, 400);
    EXPECT_GT(right, 0);
    Tensor<float, 3> y(x.shape());
    layer.forward(context, x, {}, y.view());
    EXPECT_THAT(y.span(), testing::ElementsAreArray(expected.span()));
  }
}

// Moves.

TEST(Context, MovedFromIsAContextOfOneThread) {
  Context context(3);
  Context other(std::move(context));
  EXPECT_EQ(context.threads(), 1);
  EXPECT_EQ(other.threads(), 3);
  EXPECT_EQ(run_100(context), "");
  EXPECT_EQ(run_100(other), "");
  EXPECT_EQ(other.workers(100, 1e9), 3);
  EXPECT_EQ(context.workers(100, 1e9), 1);
  context = std::move(other);
  EXPECT_EQ(context.threads(), 3);
  EXPECT_EQ(other.threads(), 1);
  EXPECT_EQ(run_100(context), "");
  EXPECT_EQ(run_100(other), "");
  Context& same = context;
  context = std::move(same);
  EXPECT_EQ(context.threads(), 3);
  EXPECT_EQ(run_100(context), "");
  std::vector<Context> many;
  for (int i = 1; i < 5; ++i) many.emplace_back(i);
  for (Context& each : many) EXPECT_EQ(run_100(each), "");
}

TEST(Context, MovesItsWorkspace) {
  MultiHeadAttention<float> layer({.embed_dim = 32, .num_heads = 4});
  fill_parameters<float>(layer);
  const auto x = random_tensor<float, 3>({2, 60, 32});
  Tensor<float, 3> y(x.shape());
  Context context;
  layer.forward(context, x, {}, y.view());
  const std::size_t bytes = context.workspace().peak_bytes();
  EXPECT_EQ(bytes, workspace_bytes(layer, 1, x.view(), AttentionOptions<float>{}, y.view()));
  Context other(std::move(context));
  EXPECT_EQ(other.workspace().peak_bytes(), bytes);
  EXPECT_EQ(context.workspace().peak_bytes(), 0u);
  layer.forward(context, x, {}, y.view());
  EXPECT_EQ(context.workspace().peak_bytes(), bytes);
}

TEST(Context, DoesNotMoveWhileItIsInUse) {
  for (const int threads : {1, 2}) {
    Context context(threads), other;
    if (threads > 1)
      context.parallel(1, 1, [&](Index, int) {
        EXPECT_THAT(error_of([&] { other = std::move(context); }), HasSubstr("in use"));
        EXPECT_THAT(error_of([&] { context = Context(); }), HasSubstr("in use"));
      });
    Frame frame(context.workspace());
    float* memory = frame.take<float>(100);
    EXPECT_THAT(error_of([&] { Context stolen(std::move(context)); }), HasSubstr("in use"));
    memory[99] = 1;
    EXPECT_EQ(context.threads(), threads);
  }
}

TEST(AlignedArray, MovedFromIsEmpty) {
  detail::AlignedArray<int> a(5);
  a[4] = 3;
  detail::AlignedArray<int> b(std::move(a));
  EXPECT_EQ(a.size(), 0u);
  EXPECT_EQ(a.begin(), a.end());
  const detail::AlignedArray<int> c(a);
  EXPECT_TRUE(c.empty());
  a = b;
  EXPECT_EQ(a[4], 3);
  detail::AlignedArray<int>& same = a;
  a = std::move(same);
  EXPECT_EQ(a.size(), 5u);
  EXPECT_EQ(a[4], 3);
  a = same;
  EXPECT_EQ(a[4], 3);
}

// Memory.

TEST(Workspace, SizesBeyondMemoryChangeNothing) {
  Context context;
  const auto huge = [&] {
    Frame frame(context.workspace());
    frame.take<std::byte>(1000);
    EXPECT_THROW(frame.take<std::byte>(Index{1} << 60), std::bad_alloc);
    EXPECT_THROW(frame.take<std::byte>(std::numeric_limits<Index>::max()), std::bad_alloc);
    EXPECT_THAT(error_of([&] { frame.take<float>(std::numeric_limits<Index>::max()); }), HasSubstr("memory"));
    EXPECT_THAT(error_of([&] { frame.take<float>(-1); }), HasSubstr("negative"));
    std::byte* next = frame.take<std::byte>(64);
    next[63] = std::byte{1};
  };
  huge();
  huge();
  EXPECT_EQ(context.workspace().peak_bytes(), 1024u + 64u);
}

// The end of threads and of the program.

TEST(DefaultContext, OutlivesThreadLocals) {
  static std::atomic<int> right;
  right = 0;
  struct Late {
    ~Late() {
      const Tensor<float, 3> x({1, 60, 16}, 0.5f);
      for (int i = 0; i < 3; ++i) right += softmax(x, 1)(0, 3, 3) == softmax(x, 1)(0, 5, 5);
      Tensor<float, 4> q({1, 1, 60, 16}, 0.5f);
      right += scaled_dot_product_attention(q, q, q)(0, 0, 1, 1) == 0.5f;
    }
  };
  for (const bool before : {false, true})
    std::thread([=] {
      if (before) default_context();
      static thread_local Late late;  // its destructor runs after that of what is made later
      static_cast<void>(&late);
      default_context();
    }).join();
  EXPECT_EQ(right, 8);
}

TEST(DefaultContext, TakesAContextOfMoreThreads) {
  std::thread([] {
    default_context() = Context(3);
    EXPECT_EQ(run_100(default_context()), "");
  }).join();  // ends them
}

#if defined(__linux__)
/// Runs f in a process of its own; what it gives, or 128 and the signal that ended it.
template <class F>
int in_child(F&& f) {
  const pid_t child = fork();
  if (child == 0) _exit(f());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct UsesItLast {
  ~UsesItLast() {
    const Tensor<float, 2> x({2, 3}, 1.0f);
    if (softmax(x, -1)(0, 0) < 0.3f) _exit(1);
  }
};

TEST(DefaultContext, OutlivesStatics) {
  for (const bool used_before : {false, true})
    EXPECT_EQ(in_child([=] {
                if (used_before) default_context();
                static UsesItLast last;
                if (used_before) default_context().parallel(1, 1, [](Index, int) {});
                std::exit(0);
                return 2;
              }),
              0);
}

TEST(DefaultContext, MayBeInsideACallAtTheEnd) {
  EXPECT_EQ(in_child([] {
              const Tensor<float, 4> q({1, 1, 60, 16}, 0.5f);
              scaled_dot_product_attention(q, q, q, {.mask = [](Index, Index, Index, Index j) {
                                             return j == 59 ? (std::exit(0), true) : true;
                                           }});
              return 2;
            }),
            0);
}

TEST(Context, ThreadsThatCannotBeHadAreAnError) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need the memory that is taken away here";
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "sanitizers need the memory that is taken away here";
#endif
#endif
  // Stacks of 64 MB in an address space of 1 GB.
  EXPECT_EQ(in_child([] {
              const rlimit stack{64 << 20, 64 << 20}, space{1 << 30, 1 << 30};
              if (setrlimit(RLIMIT_STACK, &stack) != 0 || setrlimit(RLIMIT_AS, &space) != 0) return 3;
              for (int i = 0; i < 3; ++i) {  // those that could be had are gone each time
                try {
                  Context context(500);
                  return 4;
                } catch (const Error& error) {
                  if (std::string(error.what()).find("of 500 threads could be had") == std::string::npos)
                    return 5;
                }
                Context two(2);
                int calls = 0;
                two.parallel(1, 2, [&](Index, int) { ++calls; });
                if (calls != 1) return 6;
              }
              return 0;
            }),
            0);
}
#endif

/// f() by rounding to nearest: what a test draws.
template <class F>
auto drawn(F&& f) {
  const int before = std::fegetround();
  std::fesetround(FE_TONEAREST);
  auto values = f();
  std::fesetround(before);
  return values;
}

/// All that is computed outside of tasks: tables, scales, casts of options.
std::vector<float> values_beside_tasks() {
  std::vector<float> all;
  const auto take = [&](const auto& values) { all.insert(all.end(), values.begin(), values.end()); };
  take(alibi_slopes<float>(12));
  take(sinusoidal_positions<float>(40, 20));
  take(sinusoidal_positions<float>(40, 21,
                                   {.layout = SinusoidalOptions::Layout::halves, .single_precision = true}));
  for (Index distance = -300; distance < 300; ++distance) {
    all.push_back(static_cast<float>(relative_position_bucket(distance, {})));
    all.push_back(static_cast<float>(
        relative_embedding_row(distance, {.embed_dim = 4, .span = 256, .max_distance = 512})));
  }
  Context context;
  for (const RopeType type : {RopeType::none, RopeType::yarn, RopeType::llama3, RopeType::dynamic}) {
    RotaryOptions o{.head_dim = 12};
    o.rope_type = type, o.max_position_embeddings = 64, o.original_max_position_embeddings = 16;
    if (type != RopeType::none) o.factor = 4.3;
    Tensor<float, 4> x = drawn([&] { return random_tensor<float, 4>({1, 2, 40, 12}, 3); });
    Rotary<float>(o).apply(context, x, 0, 40);
    take(x);
  }
  for (const Index D : {3, 5, 6, 7, 10, 11, 24}) {
    const Tensor<float, 4> q = drawn([&] { return random_tensor<float, 4>({1, 2, 5, D}, 4); });
    const Tensor<float, 4> k = drawn([&] { return random_tensor<float, 4>({1, 2, 9, D}, 5); });
    Tensor<float, 4> out({1, 2, 5, D});
    for (const double softcap : {0.0, 1.7, 30.1}) {
      scaled_dot_product_attention<float>(context, q, k, k, {.softcap = softcap}, out);
      take(out);
      KVCache<float> cache({.batch = 1, .num_kv_heads = 2, .head_dim = D});
      cache.append(k, k);
      scaled_dot_product_attention<float>(context, q, cache, {.softcap = softcap}, out);
      take(out);
    }
    BlockOptions block;
    block.self_attn = MultiHeadAttentionOptions{.embed_dim = 2 * D, .num_heads = 2, .alibi = D % 2 == 0};
    block.self_attn.disentangled = {D == 7, D == 7, D == 7};
    block.feed_forward = {2 * D, 9, Activation::gelu_tanh};
    block.norm = {.size = 2 * D, .eps = 1e-5};
    block.residual_scale = 0.3;
    const Block<float> layer =
        drawn([layer = Block<float>(block)] { return attend_test::filled<float>(layer); });
    const RelativeEmbedding<float> distances =
        drawn([made = RelativeEmbedding<float>({.embed_dim = 2 * D, .span = 6, .max_distance = 40})] {
          return attend_test::filled<float>(made);
        });
    const Tensor<float, 3> x = drawn([&] { return random_tensor<float, 3>({1, 12, 2 * D}, 6, -1e-3, 1e-3); });
    Tensor<float, 3> y(x.shape());
    Frame frame(context.workspace());
    const RelativePositions<float> positions = distances.positions(context, frame, 12);
    BlockInputs<float> inputs;
    if (D == 7) inputs.self.relative = &positions;
    layer.forward(context, x, inputs, y);
    take(y);
  }
  return all;
}

TEST(FloatEnvironment, OfTheCallerChangesNoBit) {
  const std::vector<float> expected = values_beside_tasks();
  for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    std::fesetround(mode);
    const std::vector<float> got = values_beside_tasks();
    const bool kept = std::fegetround() == mode;
    std::fesetround(FE_TONEAREST);
    EXPECT_TRUE(kept);
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(got[i], expected[i]) << "number " << i << ", mode " << mode;
  }
  std::vector<float> flushed;
  {
    const Flushing flushing;
    flushed = values_beside_tasks();
    EXPECT_TRUE(flushing.still());
  }
  EXPECT_EQ(flushed, expected);
}

}  // namespace
