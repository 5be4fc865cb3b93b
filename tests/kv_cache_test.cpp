// KVCache: what goes in comes out, sharing and copying of pages, and attention over it.

#include <cmath>
#include <vector>

#include <attend/attend.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::normal_tensor;

/// Every token of sequence b, against the tensors [B', G, T, D] that its tokens came from.
template <class S>
void check_tokens(const KVCache<S>& cache, Index b, const Tensor<S, 4>& key, const Tensor<S, 4>& value,
                  Index source, Index first, Index count) {
  std::vector<S> k(static_cast<std::size_t>(key.size(3))), v(static_cast<std::size_t>(value.size(3)));
  for (Index h = 0; h < key.size(1); ++h)
    for (Index t = first; t < first + count; ++t) {
      cache.read(b, h, t, k, v);
      for (Index d = 0; d < key.size(3); ++d) EXPECT_EQ(k[static_cast<std::size_t>(d)], key(source, h, t, d));
      for (Index d = 0; d < value.size(3); ++d)
        EXPECT_EQ(v[static_cast<std::size_t>(d)], value(source, h, t, d));
    }
}

template <class T>
class KvCacheOf : public testing::Test {};
TYPED_TEST_SUITE(KvCacheOf, attend_test::Scalars);

TYPED_TEST(KvCacheOf, GivesBackTokensAppendedInPieces) {
  using S = TypeParam;
  const auto key = normal_tensor<S, 4>({2, 3, 250, 5}, 1), value = normal_tensor<S, 4>({2, 3, 250, 7}, 2);
  KVCache<S> cache({.batch = 2, .num_kv_heads = 3, .head_dim = 5, .value_dim = 7});
  for (Index t = 0, n = 1; t < 250; t += n, n = std::min<Index>(2 * n + 1, 250 - t))
    cache.append(key.slice(2, t, t + n), value.slice(2, t, t + n));
  EXPECT_EQ(cache.length(0), 250);
  for (Index b : {0, 1}) check_tokens(cache, b, key, value, b, 0, 250);
}

TEST(KvCache, GoesOnFromWhereItWasTruncated) {
  const auto key = normal_tensor<float, 4>({1, 2, 200, 8}, 3),
             value = normal_tensor<float, 4>({1, 2, 200, 8}, 4);
  for (Index length : {0, 1, 95, 96, 97, 192, 200}) {
    KVCache<float> cache({.num_kv_heads = 2, .head_dim = 8});
    cache.append(key, value);
    cache.truncate(0, length);
    EXPECT_EQ(cache.length(0), length);
    cache.append(value.slice(2, length, 200),
                 key.slice(2, length, 200));  // the other way round, to tell them apart
    check_tokens(cache, 0, key, value, 0, 0, length);
    check_tokens(cache, 0, value, key, 0, length, 200 - length);
  }
}

TEST(KvCache, ForksShareTheirBeginningAndThenDiffer) {
  const auto key = normal_tensor<float, 4>({1, 1, 300, 4}, 5),
             other = normal_tensor<float, 4>({1, 1, 300, 4}, 6);
  KVCache<float> cache({.head_dim = 4});
  cache.append(key.slice(2, 0, 100), key.slice(2, 0, 100));
  const Index fork = cache.fork(0);
  EXPECT_EQ(fork, 1);
  cache.append(0, key[0].slice(1, 100, 120), key[0].slice(1, 100, 120));
  cache.append(1, other[0].slice(1, 100, 130), other[0].slice(1, 100, 130));
  check_tokens(cache, 0, key, key, 0, 0, 120);
  check_tokens(cache, 1, key, key, 0, 0, 100);
  check_tokens(cache, 1, other, other, 0, 100, 30);
}

TEST(KvCache, ReorderLeavesEachSequenceItsOwnPages) {
  const auto key = normal_tensor<float, 4>({3, 2, 150, 4}, 7);
  KVCache<float> cache({.batch = 3, .num_kv_heads = 2, .head_dim = 4});
  cache.append(key, key);
  const std::vector<Index> parents{2, 0, 2, 1};
  cache.reorder(parents);
  ASSERT_EQ(cache.batch(), 4);
  for (std::size_t i = 0; i < parents.size(); ++i)
    check_tokens(cache, static_cast<Index>(i), key, key, parents[i], 0, 150);
  const auto more = normal_tensor<float, 4>({4, 2, 10, 4}, 8);
  cache.append(more, more);  // sequences 0 and 2 shared a page: each writes to its own
  for (Index b = 0; b < 4; ++b) {
    check_tokens(cache, b, key, key, parents[static_cast<std::size_t>(b)], 0, 150);
    std::vector<float> k(4), v(4);
    cache.read(b, 1, 155, k, v);
    EXPECT_EQ(k[2], more(b, 1, 5, 2));
  }
}

TEST(KvCache, WithAWindowDropsPagesAndGivesTheBitsOfTheWhole) {
  const Index T = 500, W = 40;
  const auto q = normal_tensor<float, 4>({1, 4, T, 8}, 9), k = normal_tensor<float, 4>({1, 2, T, 8}, 10),
             v = normal_tensor<float, 4>({1, 2, T, 8}, 11);
  Tensor<float, 4> whole({1, 4, T, 8}), one({1, 4, 1, 8});
  Context context;
  scaled_dot_product_attention<float>(context, q, k, v, {.mask = sliding_window(W - 1, 0)}, whole.view());
  KVCache<float> cache({.num_kv_heads = 2, .head_dim = 8, .window = W});
  for (Index t = 0; t < T; ++t) {
    cache.append(k.slice(2, t, t + 1), v.slice(2, t, t + 1));
    scaled_dot_product_attention<float>(context, q.slice(2, t, t + 1), cache,
                                        {.mask = sliding_window(W - 1, 0, Corner::bottom_right)}, one.view());
    ASSERT_TRUE(attend_test::same_bits(one, whole.view().slice(2, t, t + 1)));
  }
  EXPECT_EQ(cache.tables()[0][0], nullptr);
  EXPECT_EQ(cache.tables()[0][2], nullptr);
  EXPECT_NE(cache.tables()[0][5], nullptr);
  EXPECT_EQ(cache.first_token(0), 384);
  EXPECT_EQ(error_of([&] {
              scaled_dot_product_attention<float>(context, q.slice(2, 0, 1), cache,
                                                  {.mask = causal(Corner::bottom_right)}, one.view());
            }),
            "scaled_dot_product_attention: the mask sees tokens before 384, which a cache with a window of "
            "40 has let go of");
}

TEST(KvCache, ResumedAfterWhatItsWindowEvictedGoesOnAsTheCacheThatSawAll) {
  const Index T = 500, W = 40;
  const auto q = normal_tensor<float, 4>({2, 4, 1, 8}, 12), k = normal_tensor<float, 4>({2, 2, T, 8}, 13),
             v = normal_tensor<float, 4>({2, 2, T, 8}, 14);
  const auto attended = [&](const KVCache<float>& cache) {
    Context context;
    Tensor<float, 4> out(q.shape());
    scaled_dot_product_attention<float>(context, q, cache,
                                        {.mask = sliding_window(W - 1, 0, Corner::bottom_right)}, out);
    return out;
  };
  KVCache<float> whole({.batch = 2, .num_kv_heads = 2, .head_dim = 8, .window = W}), resumed = whole;
  whole.append(k.slice(2, 0, 450), v.slice(2, 0, 450));
  resumed.append(1, k[1].slice(1, 0, 450), v[1].slice(1, 0, 450));
  resumed.resume(0, 384, k[0].slice(1, 384, 450), v[0].slice(1, 384, 450));
  EXPECT_EQ(resumed.first_token(0), 384);
  EXPECT_TRUE(attend_test::same_bits(attended(resumed), attended(whole)));
  for (KVCache<float>* cache : {&whole, &resumed}) cache->append(k.slice(2, 450, T), v.slice(2, 450, T));
  EXPECT_TRUE(attend_test::same_bits(attended(resumed), attended(whole)));
  check_tokens(resumed, 0, k, v, 0, 480, 20);
}

TEST(KvCache, ResumesOnlyAnEmptySequenceWhereItsWindowWouldStand) {
  const auto k = normal_tensor<float, 3>({2, 66, 8}, 15);
  KVCache<float> cache({.batch = 2, .num_kv_heads = 2, .head_dim = 8, .window = 40}),
      all({.num_kv_heads = 2, .head_dim = 8});
  EXPECT_EQ(error_of([&] { all.resume(0, 96, k, k); }),
            "KVCache: resume at token 96 of 162 with a window of 0, where sequence 0 has 0");
  cache.append(1, k, k);
  EXPECT_EQ(error_of([&] { cache.resume(1, 96, k, k); }),
            "KVCache: resume at token 96 of 162 with a window of 40, where sequence 1 has 66");
  for (const Index first : {-96, 95, 97})
    EXPECT_THAT(error_of([&] { cache.resume(0, first, k, k); }), testing::HasSubstr("resume at token "));
  EXPECT_THAT(error_of([&] {
                cache.resume(0, 96, k.slice(1, 0, 20), k.slice(1, 0, 20));
              }),  // begins behind its window
              testing::HasSubstr("resume at token 96 of 116"));
  EXPECT_THAT(error_of([&] { cache.resume(0, 96, k.slice(1, 0, 0), k.slice(1, 0, 0)); }),
              testing::HasSubstr("resume at token 96 of 96"));
  EXPECT_THAT(error_of([&] { cache.resume(2, 96, k, k); }), testing::HasSubstr("KVCache"));
  EXPECT_THAT(cache.lengths(), testing::ElementsAre(0, 66));
}

TEST(KvCache, DoesNotReadWhatIsLeftOfAPage) {
  const auto k = normal_tensor<double, 4>({2, 1, 120, 6}, 12),
             v = normal_tensor<double, 4>({2, 1, 120, 6}, 13), q = normal_tensor<double, 4>({2, 2, 1, 6}, 14);
  const auto run = [&](auto zero, double tolerance) {
    using S = decltype(zero);
    Tensor<S, 4> ks(k.shape()), vs(v.shape()), qs(q.shape()), out(q.shape()),
        bad({2, 1, 96, 6}, std::numeric_limits<S>::quiet_NaN());
    copy(k.view(), ks.view()), copy(v.view(), vs.view()), copy(q.view(), qs.view());
    KVCache<S> cache({.batch = 2, .head_dim = 6});
    cache.append(bad, bad);
    cache.clear();  // the pages are used again, NaN and all
    cache.append(0, ks[0].slice(1, 0, 10), vs[0].slice(1, 0, 10));
    cache.append(1, ks[1], vs[1]);
    Context context;
    scaled_dot_product_attention<S>(context, qs, cache, {.mask = causal(Corner::bottom_right)}, out.view());
    for (Index b = 0; b < 2; ++b) {
      const Index n = b == 0 ? 10 : 120;
      const auto alone = scaled_dot_product_attention(
          q.slice(0, b, b + 1), k.slice(0, b, b + 1).slice(2, 0, n), v.slice(0, b, b + 1).slice(2, 0, n));
      for (Index h = 0; h < 2; ++h)
        for (Index d = 0; d < 6; ++d)
          EXPECT_LE(std::abs(static_cast<double>(out(b, h, 0, d)) - alone(0, h, 0, d)), tolerance);
    }
  };
  run(0.0f, 2e-6);
  run(0.0, 1e-14);
}

TEST(KvCache, ErrorsNameExpectedAndGot) {
  KVCache<float> cache({.batch = 2, .num_kv_heads = 2, .head_dim = 4});
  const Tensor<float, 4> wrong({2, 3, 1, 4}), q({2, 4, 1, 5});
  EXPECT_EQ(error_of([&] { cache.append(wrong, wrong); }),
            "KVCache (key): expected [2, 2, 1, 4], got [2, 3, 1, 4]");
  EXPECT_EQ(error_of([&] { cache.truncate(0, 1); }), "KVCache: truncate to 1 of 0 tokens");
  EXPECT_EQ(error_of([&] { cache.length(2); }), "KVCache: sequence 2 of 2");
  Context context;
  Tensor<float, 4> out({2, 4, 1, 4});
  EXPECT_EQ(error_of([&] { scaled_dot_product_attention<float>(context, q, cache, {}, out.view()); }),
            "scaled_dot_product_attention (query, with a cache): expected [2, 4, 1, 4], got [2, 4, 1, 5]");
}

}  // namespace
