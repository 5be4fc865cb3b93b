// A cache when memory runs out: each allocation of each call fails once, and leaves what was there.
#include <atomic>
#include <new>
#include <vector>

#include <attend/model/causal_lm.hpp>

#include "counted_malloc.hpp"
#include "support.hpp"

namespace {
std::atomic<long> left{-1};  // allocations until one fails; below 0: none does
[[maybe_unused]] const bool ready = [] {
  attend_test::may_allocate = [] { return left.load() < 0 || left.fetch_sub(1) != 0; };
  return true;
}();
}  // namespace

namespace {
using namespace attend;
using attend_test::random_tensor;

/// Calls f, whose n-th allocation fails, for n = 0, 1, … until it succeeds; `check` after each failure. The
/// number of failures.
template <class F, class Check>
int run_out(F&& f, Check&& check) {
  for (int n = 0;; ++n) {
    bool failed = false;
    left = n;
    try {
      f();
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    left = -1;
    if (!failed) return n;
    check();
    if (::testing::Test::HasFatalFailure()) return n;
  }
}

/// Lengths, and that all tokens are those of `key`, whose sequence all of the cache's sequences begin with.
void check_cache(const KVCache<float>& cache, const Tensor<float, 4>& key,
                 const std::vector<Index>& lengths) {
  ASSERT_EQ(std::vector<Index>(cache.lengths().begin(), cache.lengths().end()), lengths);
  ASSERT_EQ(cache.batch(), static_cast<Index>(lengths.size()));
  std::vector<float> k(static_cast<std::size_t>(key.size(3)));
  for (Index b = 0; b < cache.batch(); ++b)
    for (Index t = 0; t < cache.length(b); ++t) {
      cache.read(b, 0, t, k, {});
      ASSERT_EQ(k[1], key(0, 0, t, 1)) << b << " " << t;
      ASSERT_NE(cache.tables()[b][t / kKeyTile], nullptr);
    }
}

TEST(CacheAllocation, ACallThatRunsOutOfMemoryChangesNothing) {
  if (!ATTEND_TEST_COUNTS) GTEST_SKIP() << "malloc is not ours";
  const auto key = random_tensor<float, 4>({1, 1, 2000, 4}, 1);
  KVCache<float> cache({.batch = 2, .head_dim = 4});
  for (Index b : {0, 1}) cache.append(b, key[0].slice(1, 0, 100), key[0].slice(1, 0, 100));
  KVCache<float> sharer = cache;  // so that pages are copied, too
  std::vector<Index> lengths{100, 100};
  const auto unchanged = [&] { check_cache(cache, key, lengths); };
  int failures = 0;

  const TensorView<const float, 4> both(&key(0, 0, 100, 0), {2, 1, 500, 4}, {0, 0, 4, 1});
  failures += run_out([&] { cache.append(both, both); }, unchanged);
  lengths = {600, 600};
  unchanged();
  failures += run_out([&] { cache.reserve(1000); }, unchanged);
  failures += run_out([&] { cache.fork(1); }, unchanged);
  lengths.push_back(600);
  unchanged();
  failures += run_out([&] { cache.fork(sharer, 0); }, unchanged);
  lengths.push_back(100);
  unchanged();
  const std::vector<Index> parents{3, 0, 0, 2, 1};
  failures += run_out([&] { cache.reorder(parents); }, unchanged);
  lengths = {100, 600, 600, 600, 600};
  unchanged();
  failures += run_out([&] { KVCache<float> copy = cache; }, unchanged);
  failures += run_out([&] { sharer = cache; }, [&] { check_cache(sharer, key, {100, 100}); });
  check_cache(sharer, key, lengths);
  failures += run_out([&] { KVCache<float> other({.batch = 7, .head_dim = 4}); }, unchanged);
  EXPECT_GT(failures, 25);
}

TEST(CacheAllocation, TheLayersOfAModelStayTogether) {
  if (!ATTEND_TEST_COUNTS) GTEST_SKIP() << "malloc is not ours";
  const CausalBlockOptions block{.embed_dim = 16, .num_heads = 2, .head_dim = 8, .dim_feedforward = 16};
  CausalLM<float> model({.vocab_size = 10, .embed_dim = 16, .blocks = {block, block, block}});
  attend_test::fill_parameters<float>(model);
  Context context;
  CausalCache<float> cache = model.make_cache(2);
  Tensor<std::int32_t, 2> ids({2, 120}, 3);
  Tensor<float, 3> logits({2, 1, 10}), expected({2, 1, 10});
  const auto all_have = [&](Index batch, Index length) {
    return [&cache, batch, length] {
      for (const KVCache<float>& layer : cache.layers()) {
        ASSERT_EQ(layer.batch(), batch);
        for (Index n : layer.lengths()) ASSERT_EQ(n, length);
      }
    };
  };
  int failures = run_out([&] { model.forward(context, ids, cache, logits.view()); }, all_have(2, 0));
  CausalCache<float> other = model.make_cache(2);
  model.forward(context, ids, other, expected.view());
  EXPECT_TRUE(std::equal(logits.span().begin(), logits.span().end(), expected.span().begin()));
  failures += run_out([&] { cache.fork(other, 1); }, all_have(2, 120));
  failures += run_out([&] { cache.reorder(std::vector<Index>{2, 2, 0, 1}); }, all_have(3, 120));
  all_have(4, 120)();
  EXPECT_GT(failures, 20);
}

TEST(CacheAllocation, AppendingWithinWhatIsReservedAllocatesNothing) {
  if (!ATTEND_TEST_COUNTS) GTEST_SKIP() << "malloc is not ours";
  for (Index window : {0, 1, 100, 500})
    for (const std::vector<Index>& calls :
         std::vector<std::vector<Index>>{{1}, {1000}, {500, 1, 400}, {95, 97}}) {
      const auto key = random_tensor<float, 4>({2, 1, 1000, 4}, 1);
      KVCache<float> cache({.batch = 2, .head_dim = 4, .window = window});
      cache.append(key.slice(2, 0, 50), key.slice(2, 0, 50));
      const std::vector<Index> parents{0, 0};
      cache.reorder(parents);  // two sequences that share their last page
      cache.reserve(1000);
      left = 0;
      std::size_t call = 0;
      for (Index t = 0; t < 1000; ++call) {
        const Index n = std::min(1000 - t, calls[call % calls.size()]);
        cache.append(key.slice(2, t, t + n), key.slice(2, t, t + n));
        t += n;
      }
      const bool none = left == 0;
      left = -1;
      EXPECT_TRUE(none) << window;
    }
}

}  // namespace
