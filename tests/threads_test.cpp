// What any number of threads may do at once. ThreadSanitizer sees what a plain run does not.
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <queue>
#include <thread>
#include <vector>

#include <attend/attend.hpp>

#include "at_once.hpp"
#include "support.hpp"

namespace {
using namespace attend;
using namespace attend_test;

TEST(Threads, MakeAndDestroyContextsAtOnce) {  // the first case: the kernels are chosen by many threads, too
  const auto q = random_tensor<float, 4>({1, 4, 60, 16}, 1);
  std::vector<Tensor<float, 4>> results(4);
  at_once(4, [&](int i) {
    for (int round = 0; round < 20; ++round) {
      Context context(1 + (i + round) % 3);
      Tensor<float, 4> out(q.shape());
      scaled_dot_product_attention<float>(context, q, q, q, {.mask = causal()}, out.view());
      const Tensor<float, 4> own = scaled_dot_product_attention(q, q, q, {.mask = causal()});
      EXPECT_THAT(out.span(), testing::ElementsAreArray(own.span()));
      results[static_cast<std::size_t>(i)] = out;
    }
  });
  for (const Tensor<float, 4>& result : results)
    EXPECT_THAT(result.span(), testing::ElementsAreArray(results[0].span()));
}

template <class Scalar>
void use_one_layer() {
  Encoder<Scalar> encoder({.block = {.embed_dim = 32, .num_heads = 4, .dim_feedforward = 64},
                           .num_layers = 2,
                           .final_norm = true});
  fill_parameters<Scalar>(encoder);
  const Encoder<Scalar>& layer = encoder;
  const auto x = random_tensor<Scalar, 3>({2, 50, 32});
  const Tensor<Scalar, 3> expected = layer(x, {.self = {.mask = causal()}});
  at_once(4, [&](int i) {
    Context context(1 + i % 2);
    for (int round = 0; round < 5; ++round) {
      Tensor<Scalar, 3> y(x.shape());
      layer.forward(context, x, {.self = {.mask = causal()}}, y.view());
      EXPECT_THAT(y.span(), testing::ElementsAreArray(expected.span()));
    }
  });
}
TEST(Threads, UseOneLayer) { use_one_layer<float>(); }
TEST(Threads, UseOneLayerOfDoubles) { use_one_layer<double>(); }

template <class Scalar>
void read_one_cache() {
  KVCache<Scalar> filled({.batch = 2, .num_kv_heads = 2, .head_dim = 16});
  const auto k = random_tensor<Scalar, 4>({2, 2, 120, 16});
  filled.append(k, k);
  const KVCache<Scalar>& cache = filled;
  const auto q = random_tensor<Scalar, 4>({2, 4, 20, 16});
  std::vector<Tensor<Scalar, 4>> results(4);
  at_once(4, [&](int i) {
    Context context(1 + i % 2);
    for (int round = 0; round < 10; ++round) {
      Tensor<Scalar, 4> out(q.shape());
      scaled_dot_product_attention<Scalar>(context, q, cache, {.mask = causal(Corner::bottom_right)},
                                           out.view());
      std::vector<Scalar> key(16), value(16);
      cache.read(1, 1, 100, key, value);
      EXPECT_EQ(key, value);
      results[static_cast<std::size_t>(i)] = out;
    }
  });
  for (const Tensor<Scalar, 4>& result : results)
    EXPECT_THAT(result.span(), testing::ElementsAreArray(results[0].span()));
}
TEST(Threads, ReadOneConstCache) { read_one_cache<float>(); }
TEST(Threads, ReadOneConstCacheOfDoubles) { read_one_cache<double>(); }

TEST(Threads, UseCachesForkedFromOnePrefix) {
  const auto prefix = random_tensor<float, 4>({1, 2, 130, 16});
  KVCache<float> shared({.num_kv_heads = 2, .head_dim = 16});
  shared.append(prefix, prefix);
  std::vector<KVCache<float>> caches(4, KVCache<float>({.batch = 0, .num_kv_heads = 2, .head_dim = 16}));
  for (KVCache<float>& cache : caches) cache.fork(shared, 0);
  const auto q = random_tensor<float, 4>({1, 4, 1, 16}), more = random_tensor<float, 4>({1, 2, 40, 16}, 3);
  std::vector<Tensor<float, 4>> results(4, Tensor<float, 4>(q.shape()));
  at_once(4, [&](int i) {
    Context context;
    KVCache<float>& cache = caches[static_cast<std::size_t>(i)];
    for (Index t = 0; t < 40; ++t) {
      cache.append(more.slice(2, t, t + 1), more.slice(2, t, t + 1));
      scaled_dot_product_attention<float>(context, q, cache, {.mask = causal(Corner::bottom_right)},
                                          results[static_cast<std::size_t>(i)].view());
    }
    KVCache<float> copy = cache;  // and one thread's copies, let go of again
    copy.truncate(0, 100);
    copy.append(more, more);
    cache.clear();
  });
  for (const Tensor<float, 4>& result : results)
    EXPECT_THAT(result.span(), testing::ElementsAreArray(results[0].span()));
  EXPECT_EQ(shared.length(0), 130);
}

// Each thread forks one const cache, lets go of its share of it while the others still read, and then changes
// its own sequences in every way.
TEST(Threads, ForkReorderAndTruncateWhatOthersLetGoOf) {
  const auto prefix = random_tensor<float, 4>({1, 2, 250, 16}),
             more = random_tensor<float, 4>({3, 2, 130, 16}, 3);
  const auto q = random_tensor<float, 4>({3, 4, 1, 16}, 5);
  for (Index window : {0, 150}) {
    const KVCacheOptions options{.num_kv_heads = 2, .head_dim = 16, .window = window};
    std::vector<std::shared_ptr<const KVCache<float>>> shares;
    {
      KVCache<float> cache(options);
      cache.append(prefix, prefix);
      shares.assign(4, std::make_shared<const KVCache<float>>(std::move(cache)));
    }
    const Mask mask = window > 0 ? Mask(sliding_window(window, 0, Corner::bottom_right))
                                 : Mask(causal(Corner::bottom_right));
    std::vector<Tensor<float, 4>> results(4, Tensor<float, 4>(q.shape()));
    at_once(4, [&](int i) {
      const auto number = static_cast<std::size_t>(i);
      Context context(1 + i % 2);
      KVCache<float> cache(options);
      for (int n = 0; n < 2; ++n) cache.fork(*shares[number], 0);
      shares[number].reset();
      const std::vector<Index> parents{2, 1, 1};
      cache.reorder(parents);
      for (Index t = 0; t < 130; t += 13) {
        cache.append(more.slice(2, t, t + 13), more.slice(2, t, t + 13));
        scaled_dot_product_attention<float>(context, q, cache, {.mask = mask}, results[number].view());
        if (t == 52) cache.reorder(std::vector<Index>{0, 2, 0});
        if (t == 78) cache.truncate(1, cache.length(1) - 5);
        if (t == 91) {
          KVCache<float> copy = cache;
          copy.append(more, more);
          cache = std::move(copy);
        }
      }
    });
    for (const Tensor<float, 4>& result : results)
      EXPECT_THAT(result.span(), testing::ElementsAreArray(results[0].span()));
  }
}

/// A job system that several contexts share.
class Jobs {
 public:
  explicit Jobs(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Jobs() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    there_is_work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  void run(Index n, detail::FunctionRef<void(Index)> task) {
    std::atomic<Index> left{n};
    {
      const std::lock_guard lock(mutex_);
      for (Index i = 1; i < n; ++i)
        jobs_.push([&left, task, i] {
          task(i);
          --left;
        });
    }
    there_is_work_.notify_all();
    task(0);
    --left;
    while (left > 0) std::this_thread::yield();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      there_is_work_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
      if (stop_) return;
      const std::function<void()> job = std::move(jobs_.front());
      jobs_.pop();
      lock.unlock();
      job();
      lock.lock();
    }
  }
  std::mutex mutex_;
  std::condition_variable there_is_work_;
  std::queue<std::function<void()>> jobs_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

TEST(Threads, ShareAnExecutor) {
  Jobs jobs(2);
  const auto q = random_tensor<float, 4>({1, 4, 60, 16}, 1);
  const Tensor<float, 4> expected = scaled_dot_product_attention(q, q, q);
  at_once(3, [&](int i) {
    Context context(ContextOptions{
        .threads = 3,
        .executor = [&](Index n, detail::FunctionRef<void(Index)> task) { jobs.run(n, task); }});
    for (int round = 0; round < 20; ++round) {
      Tensor<float, 4> out(q.shape());
      scaled_dot_product_attention<float>(context, q, q, q, {}, out.view());
      EXPECT_THAT(out.span(), testing::ElementsAreArray(expected.span()));
      if ((round + i) % 5 == 0) {
        EXPECT_THROW(
            scaled_dot_product_attention<float>(
                context, q, q, q,
                {.mask = [](Index, Index, Index, Index j) { return j < 50 ? true : throw 5; }}, out.view()),
            int);
      }
    }
  });
}

}  // namespace
