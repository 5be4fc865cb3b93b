// KVCache: who owns its pages. Copies, forks and moves, in one thread and in several, and what a cache
// refuses.
#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <attend/attend.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::Random;
using attend_test::random_tensor;
using ::testing::HasSubstr;

/// T tokens whose keys are all `mark` and whose values all -mark.
template <class S = float>
void append_marked(KVCache<S>& cache, Index b, Index tokens, double mark) {
  const KVCacheOptions& o = cache.options();
  const Tensor<S, 3> key({o.num_kv_heads, tokens, o.head_dim}, static_cast<S>(mark));
  const Tensor<S, 3> value({o.num_kv_heads, tokens, o.value_dim}, static_cast<S>(-mark));
  cache.append(b, key, value);
}
/// The mark of a token; NaN where its numbers are not of one mark.
template <class S = float>
double mark_of(const KVCache<S>& cache, Index b, Index token) {
  const KVCacheOptions& o = cache.options();
  std::vector<S> key(static_cast<std::size_t>(o.head_dim)), value(static_cast<std::size_t>(o.value_dim));
  double mark = 0;
  for (Index h = 0; h < o.num_kv_heads; ++h) {
    cache.read(b, h, token, key, value);
    if (h == 0) mark = static_cast<double>(key[0]);
    for (S x : key)
      if (static_cast<double>(x) != mark) return NAN;
    for (S x : value)
      if (static_cast<double>(x) != -mark) return NAN;
  }
  return mark;
}

TEST(KvCache, CopyDoesNotShareSparePages) {
  KVCache<float> a({.head_dim = 4});
  a.reserve(96);
  KVCache<float> b = a;
  append_marked(a, 0, 1, 1);
  append_marked(b, 0, 1, 2);
  EXPECT_EQ(mark_of(a, 0, 0), 1);
  EXPECT_EQ(mark_of(b, 0, 0), 2);
}

TEST(KvCache, CopyDoesNotShareWhatIsFreeInTheLastPage) {
  for (Index length : {0, 1, 50, 95, 96, 97, 191, 192, 300})
    for (Index left : {300, 299, 200, 96, 50, 1, 0}) {
      if (left > length) continue;
      KVCache<float> a({.num_kv_heads = 2, .head_dim = 3, .value_dim = 5});
      append_marked(a, 0, length, 7);
      a.truncate(0, left);
      KVCache<float> b = a, c({.num_kv_heads = 2, .head_dim = 3, .value_dim = 5});
      c = b;
      append_marked(a, 0, 100, 1);
      append_marked(b, 0, 100, 2);
      append_marked(c, 0, 100, 3);
      for (Index t = 0; t < left + 100; ++t) {
        ASSERT_EQ(mark_of(a, 0, t), t < left ? 7 : 1) << length << " " << left << " " << t;
        ASSERT_EQ(mark_of(b, 0, t), t < left ? 7 : 2) << length << " " << left << " " << t;
        ASSERT_EQ(mark_of(c, 0, t), t < left ? 7 : 3) << length << " " << left << " " << t;
      }
    }
}

TEST(KvCache, SelfAssignmentChangesNothingAndAMovedFromCacheIsEmpty) {
  KVCache<float> a({.batch = 2, .head_dim = 4});
  append_marked(a, 1, 100, 5);
  KVCache<float>& same = a;
  a = same;
  EXPECT_EQ(a.length(1), 100);
  EXPECT_EQ(mark_of(a, 1, 99), 5);
  a = std::move(same);
  EXPECT_EQ(mark_of(a, 1, 99), 5);

  KVCache<float> b = std::move(a);
  EXPECT_EQ(mark_of(b, 1, 99), 5);
  EXPECT_EQ(b.tables()[1][0] != nullptr, true);
  EXPECT_EQ(a.batch(), 0);
  EXPECT_EQ(a.max_length(), 0);
  EXPECT_TRUE(a.lengths().empty());
  a.clear();
  a.reserve(100);
  a.reorder({});
  EXPECT_EQ(error_of([&] { append_marked(a, 0, 1, 1); }), "KVCache: sequence 0 of 0");
  EXPECT_EQ(error_of([&] { a.truncate(0, 0); }), "KVCache: sequence 0 of 0");
  a = b;  // and can be used again
  append_marked(a, 1, 10, 6);
  EXPECT_EQ(mark_of(a, 1, 105), 6);
  EXPECT_EQ(b.length(1), 100);
}

/// What a cache should hold: of each sequence the marks of its tokens.
struct Expected {
  KVCache<float> cache;
  std::vector<std::vector<double>> marks;
};

void check(const Expected& e, const std::string& what) {
  ASSERT_EQ(e.cache.batch(), static_cast<Index>(e.marks.size())) << what;
  const Index window = e.cache.options().window;
  for (Index b = 0; b < e.cache.batch(); ++b) {
    const auto& marks = e.marks[static_cast<std::size_t>(b)];
    const Index length = static_cast<Index>(marks.size()), first = e.cache.first_token(b);
    ASSERT_EQ(e.cache.length(b), length) << what;
    ASSERT_EQ(e.cache.lengths()[static_cast<std::size_t>(b)], length) << what;
    ASSERT_TRUE(window > 0 || first == 0);
    ASSERT_LE(first, length);
    for (Index t = first; t < length; ++t)
      ASSERT_EQ(mark_of(e.cache, b, t), marks[static_cast<std::size_t>(t)])
          << what << ", sequence " << b << ", token " << t;
    for (Index i = 0; i * kKeyTile < length; ++i)
      ASSERT_EQ(e.cache.tables()[b][i] == nullptr, i * kKeyTile < first) << what;
  }
}

/// Any sequence of calls on several caches that share pages: each holds what went into it.
void random_calls(Index window, std::uint64_t seed) {
  Random random(seed);
  const KVCacheOptions options{
      .batch = 2, .num_kv_heads = 1, .head_dim = 1, .value_dim = 1, .window = window};
  std::vector<Expected> all(3);
  for (Expected& e : all) e = {KVCache<float>(options), std::vector<std::vector<double>>(2)};
  double mark = 0;
  for (int step = 0; step < 60; ++step) {
    Expected& e = all[static_cast<std::size_t>(random.integer(0, 2))];
    const Expected& other = all[static_cast<std::size_t>(random.integer(0, 2))];
    const Index batch = e.cache.batch(), call = random.integer(0, 10),
                b = batch > 0 ? random.integer(0, batch - 1) : 0;
    const std::string what =
        "seed " + std::to_string(seed) + ", step " + std::to_string(step) + ", call " + std::to_string(call);
    if (call == 0) {
      e.cache.reserve(random.integer(0, 300));
    } else if (call == 1) {
      Expected copy = other;
      e = std::move(copy);
    } else if (call == 2 && other.cache.batch() > 0 && batch < 5) {
      const Index from = random.integer(0, other.cache.batch() - 1);
      const auto marks = other.marks[static_cast<std::size_t>(from)];
      e.cache.fork(other.cache, from);
      e.marks.push_back(marks);
    } else if (call == 3 && batch > 0) {
      std::vector<Index> parents;
      std::vector<std::vector<double>> marks;
      for (Index n = random.integer(1, 4); n > 0; --n) {
        parents.push_back(random.integer(0, batch - 1));
        marks.push_back(e.marks[static_cast<std::size_t>(parents.back())]);
      }
      e.cache.reorder(parents);
      e.marks = marks;
    } else if (call == 4 && batch > 0) {
      auto& marks = e.marks[static_cast<std::size_t>(b)];
      const Index length =
          random.integer(0, 3) == 0 ? 0 : random.integer(0, static_cast<Index>(marks.size()));
      if (e.cache.can_truncate(b, length)) {
        e.cache.truncate(b, length);
        marks.resize(static_cast<std::size_t>(length));
      } else {
        ASSERT_GT(window, 0);
        error_of([&] { e.cache.truncate(b, length); });
      }
    } else if (call <= 7 && batch > 0) {  // one sequence
      const Index tokens = random.integer(0, 1) == 0 ? random.integer(1, 3) : random.integer(1, 250);
      append_marked(e.cache, b, tokens, ++mark);
      e.marks[static_cast<std::size_t>(b)].insert(e.marks[static_cast<std::size_t>(b)].end(),
                                                  static_cast<std::size_t>(tokens), mark);
    } else {  // all of them
      const Index tokens = random.integer(0, 1) == 0 ? random.integer(1, 3) : random.integer(1, 250);
      const Tensor<float, 4> key({batch, 1, tokens, 1}, static_cast<float>(++mark)),
          value({batch, 1, tokens, 1}, static_cast<float>(-mark));
      e.cache.append(key, value);
      for (auto& marks : e.marks) marks.insert(marks.end(), static_cast<std::size_t>(tokens), mark);
    }
    for (const Expected& each : all) ASSERT_NO_FATAL_FAILURE(check(each, what));
  }
}
TEST(KvCache, AnyCallsOnCachesThatSharePagesKeepThemApart) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed)
    for (Index window : {0, 1, 96, 150}) ASSERT_NO_FATAL_FAILURE(random_calls(window, seed));
}

TEST(KvCache, ForksOfOnePrefixAreUsedByAThreadEach) {
  const Index prefix = 150;
  const auto key = random_tensor<float, 4>({1, 2, 600, 16}, 1),
             value = random_tensor<float, 4>({1, 2, 600, 16}, 2);
  KVCache<float> shared({.num_kv_heads = 2, .head_dim = 16});
  shared.reserve(1000);
  shared.append(key.slice(2, 0, prefix), value.slice(2, 0, prefix));
  std::vector<KVCache<float>> forks(4, shared);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < forks.size(); ++i)
    threads.emplace_back([&, i, cache = &forks[i]] {
      const auto query = random_tensor<float, 4>({1, 4, 1, 16}, 3);
      Context context;
      Tensor<float, 4> out(query.shape());
      for (int round = 0; round < 5; ++round) {
        for (Index t = prefix + static_cast<Index>(i); t < prefix + 100; ++t) {
          cache->append(key.slice(2, t, t + 1), value.slice(2, t, t + 1));
          if (t % 20 == 0) scaled_dot_product_attention<float>(context, query, *cache, {}, out.view());
        }
        const KVCache<float> copy = *cache;  // made and dropped while others do the same
        cache->truncate(0, prefix - static_cast<Index>(i) * 20);
        cache->append(key.slice(2, 0, static_cast<Index>(i) * 20),
                      value.slice(2, 0, static_cast<Index>(i) * 20));
      }
    });
  for (std::thread& thread : threads) thread.join();
  std::vector<float> k(16), v(16);
  for (std::size_t i = 0; i < forks.size(); ++i) {
    const Index kept = prefix - static_cast<Index>(i) * 20;
    for (Index t = 0; t < prefix; ++t) {
      forks[i].read(0, 1, t, k, v);
      ASSERT_EQ(k[3], key(0, 1, t < kept ? t : t - kept, 3)) << i << " " << t;
      shared.read(0, 1, t, k, v);
      ASSERT_EQ(v[3], value(0, 1, t, 3));
    }
  }
}

TEST(KvCache, TheLastOwnerOfAPageWritesItAfterTheOthersHaveReadIt) {
  for (int round = 0; round < 20; ++round) {
    std::vector<KVCache<float>> forks(4);
    {
      KVCache<float> prefix({.num_kv_heads = 2, .head_dim = 16});
      append_marked(prefix, 0, 60, 1);
      for (KVCache<float>& fork : forks) fork = prefix;
    }
    std::vector<std::thread> threads;
    for (KVCache<float>& fork : forks)
      threads.emplace_back(
          [&fork, mark = static_cast<double>(&fork - forks.data() + 2)] { append_marked(fork, 0, 3, mark); });
    for (std::thread& thread : threads) thread.join();
    for (std::size_t i = 0; i < forks.size(); ++i)
      for (Index t = 0; t < 63; ++t)
        ASSERT_EQ(mark_of(forks[i], 0, t), t < 60 ? 1 : static_cast<double>(i + 2));
  }
}

TEST(KvCache, AConstCacheIsAttendedToAndCopiedByManyThreads) {
  const auto key = random_tensor<float, 4>({2, 1, 200, 8}, 1);
  KVCache<float> made({.batch = 2, .head_dim = 8});
  KVCache<double> wide({.batch = 2, .head_dim = 8});
  made.append(key, key);
  {
    Tensor<double, 4> k(key.shape());
    copy(key.view(), k.view());
    wide.append(k, k);
  }
  const KVCache<float>& cache = made;
  const KVCache<double>& wide_cache = wide;
  const auto query = random_tensor<float, 4>({2, 2, 3, 8}, 2);
  const auto wide_query = random_tensor<double, 4>({2, 2, 3, 8}, 2);
  std::vector<Tensor<float, 4>> outs(4, Tensor<float, 4>({2, 2, 3, 8}));
  std::vector<std::thread> threads;
  for (Tensor<float, 4>& out : outs)
    threads.emplace_back([&, to = &out] {
      Context context;
      Tensor<double, 4> wide_out({2, 2, 3, 8});
      for (int i = 0; i < 10; ++i) {
        scaled_dot_product_attention<float>(context, query, cache, {.mask = causal(Corner::bottom_right)},
                                            to->view());
        scaled_dot_product_attention<double>(context, wide_query, wide_cache, {}, wide_out.view());
        KVCache<float> mine = cache;
        append_marked(mine, i % 2, 1, i);
        mine.fork(cache, 1);
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const auto& out : outs)
    for (std::size_t i = 0; i < out.span().size(); ++i) ASSERT_EQ(out.span()[i], outs[0].span()[i]);
}

TEST(KvCache, SizesThatAreNegativeOrTooLargeAreErrors) {
  constexpr Index kMost = std::numeric_limits<Index>::max();
  for (const KVCacheOptions& o :
       std::vector<KVCacheOptions>{{.batch = -1, .head_dim = 4},
                                   {.num_kv_heads = -1, .head_dim = 4},
                                   {.num_kv_heads = 0, .head_dim = 4},
                                   {.head_dim = -4},
                                   {.head_dim = 4, .value_dim = -1},
                                   {.head_dim = 4, .window = -1},
                                   {.batch = kMost, .head_dim = 4},
                                   {.num_kv_heads = kMost, .head_dim = 4},
                                   {.head_dim = kMost},
                                   {.head_dim = 4, .value_dim = kMost},
                                   {.head_dim = kMost / 100, .value_dim = kMost / 100},
                                   {.num_kv_heads = kMost / 1000, .head_dim = 1000}})
    EXPECT_THAT(error_of([&] { KVCache<float> cache(o); }), HasSubstr("KVCache: batch ")) << o.head_dim;

  KVCache<float> cache({.batch = 2, .head_dim = 4});
  append_marked(cache, 0, 10, 1);
  EXPECT_EQ(error_of([&] { cache.reserve(-1); }), "KVCache: reserve of -1 tokens");
  EXPECT_THAT(error_of([&] { cache.reserve(kMost); }), HasSubstr("than memory can hold"));
  EXPECT_THAT(error_of([&] { cache.reserve(kMost / 2); }), HasSubstr("than memory can hold"));
  EXPECT_THAT(error_of([&] { cache.reserve(kMost / 40); }), HasSubstr("than memory can hold"));
  const float number = 1;  // a broadcast view of more tokens than there can be
  for (Index tokens : {kMost, kMost - 5, kMost / 2, kMost / 4}) {
    EXPECT_THAT(error_of([&] {
                  const TensorView<const float, 3> endless(&number, {1, tokens, 4}, {0, 0, 0});
                  cache.append(0, endless, endless);
                }),
                HasSubstr("than memory can hold"));
    EXPECT_THAT(error_of([&] {
                  const TensorView<const float, 4> twice(&number, {2, 1, tokens, 4}, {0, 0, 0, 0});
                  cache.append(twice, twice);
                }),
                HasSubstr("than memory can hold"));
  }
  EXPECT_EQ(cache.length(0), 10);
  EXPECT_EQ(cache.length(1), 0);
  append_marked(cache, 0, 10, 2);
  EXPECT_EQ(mark_of(cache, 0, 19), 2);
}

TEST(KvCache, ReadsAndTruncationsBeyondWhatIsThereAreErrors) {
  KVCache<float> cache({.batch = 1, .num_kv_heads = 2, .head_dim = 3, .window = 100});
  std::vector<float> three(3), four(4);
  EXPECT_THAT(error_of([&] { cache.read(0, 0, 0, three, three); }),
              HasSubstr("KVCache: token 0 of sequence 0"));
  for (int i = 0; i < 5; ++i) append_marked(cache, 0, 100, i);
  ASSERT_EQ(cache.first_token(0), 288);
  for (Index t : {-1, 0, 287, 500, 10000})
    EXPECT_THAT(error_of([&] { cache.read(0, 0, t, three, three); }),
                HasSubstr("of sequence 0, which has 288 to 499"));
  for (Index h : {-1, 2})
    EXPECT_THAT(error_of([&] { cache.read(0, h, 300, three, three); }), HasSubstr("KVCache: head "));
  for (Index b : {-1, 1})
    EXPECT_THAT(error_of([&] { cache.read(b, 0, 300, three, three); }), HasSubstr("KVCache: sequence "));
  EXPECT_THAT(error_of([&] { cache.read(0, 0, 300, four, three); }), HasSubstr("read of a key of 4"));
  EXPECT_THAT(error_of([&] { cache.read(0, 0, 300, three, four); }), HasSubstr("a value of 4"));
  cache.read(0, 0, 300, {}, three);

  EXPECT_EQ(error_of([&] { cache.truncate(0, 501); }), "KVCache: truncate to 501 of 500 tokens");
  EXPECT_EQ(error_of([&] { cache.truncate(0, -1); }), "KVCache: truncate to -1 of 500 tokens");
  for (Index length : {1, 10, 96, 100, 250, 291})
    EXPECT_THAT(error_of([&] { cache.truncate(0, length); }),
                HasSubstr("but the window of 100 has let go of those before 192"))
        << length;
  EXPECT_EQ(cache.length(0), 500);
  cache.truncate(0, 400);  // where the last call began
  append_marked(cache, 0, 1, 8);
  EXPECT_EQ(mark_of(cache, 0, 399), 3);
  EXPECT_EQ(mark_of(cache, 0, 400), 8);
  cache.truncate(0, 0);
  append_marked(cache, 0, 200, 9);
  EXPECT_EQ(mark_of(cache, 0, 0), 9);
}

TEST(KvCache, ForksOfOtherSizesAndBadParentsAreErrors) {
  KVCache<float> cache({.batch = 2, .num_kv_heads = 2, .head_dim = 4, .value_dim = 4, .window = 100});
  append_marked(cache, 1, 30, 3);
  for (const KVCacheOptions& o : std::vector<KVCacheOptions>{
           {.batch = 3, .num_kv_heads = 2, .head_dim = 5, .value_dim = 4, .window = 100},
           {.batch = 3, .num_kv_heads = 1, .head_dim = 4, .value_dim = 4, .window = 100},
           {.batch = 3, .num_kv_heads = 2, .head_dim = 4, .value_dim = 8, .window = 100},
           {.batch = 3, .num_kv_heads = 2, .head_dim = 4, .value_dim = 4, .window = 0}})
    EXPECT_THAT(error_of([&] { cache.fork(KVCache<float>(o), 0); }),
                HasSubstr("KVCache: fork of another cache"));
  EXPECT_THAT(error_of([&] { cache.fork(KVCache<float>(), 0); }),
              HasSubstr("KVCache: fork of another cache"));
  EXPECT_EQ(error_of([&] { cache.fork(2); }), "KVCache: sequence 2 of 2");
  EXPECT_EQ(error_of([&] { cache.fork(-1); }), "KVCache: sequence -1 of 2");
  for (const std::vector<Index>& parents : std::vector<std::vector<Index>>{{0, 2}, {-1}, {1, 0, 5}})
    EXPECT_THAT(error_of([&] { cache.reorder(parents); }), HasSubstr("KVCache: sequence "));
  EXPECT_EQ(cache.batch(), 2);
  EXPECT_EQ(cache.length(1), 30);
  EXPECT_EQ(mark_of(cache, 1, 29), 3);
  EXPECT_EQ(cache.fork(1), 2);
}

TEST(KvCache, AnAppendOfTheWrongShapeChangesNothing) {
  KVCache<float> cache({.batch = 2, .num_kv_heads = 2, .head_dim = 4});
  const Tensor<float, 4> right({2, 2, 3, 4}), batch({3, 2, 3, 4}), heads({2, 1, 3, 4}), width({2, 2, 3, 5}),
      tokens({2, 2, 2, 4});
  for (const Tensor<float, 4>* wrong : {&batch, &heads, &width})
    EXPECT_THAT(error_of([&] { cache.append(*wrong, right); }), HasSubstr("KVCache (key)"));
  for (const Tensor<float, 4>* wrong : {&batch, &heads, &width, &tokens})
    EXPECT_THAT(error_of([&] { cache.append(right, *wrong); }), HasSubstr("KVCache (value)"));
  EXPECT_THAT(error_of([&] { cache.append(2, right[0], right[0]); }), HasSubstr("KVCache: sequence 2 of 2"));
  EXPECT_EQ(cache.max_length(), 0);
}

TEST(KvCache, ADefaultCacheHasNoSequences) {
  KVCache<float> cache;
  EXPECT_EQ(cache.batch(), 0);
  EXPECT_EQ(cache.options().batch, 0);
  EXPECT_EQ(cache.max_length(), 0);
  cache.reserve(10);
  cache.clear();
  cache.append(Tensor<float, 4>({0, 1, 3, 0}), Tensor<float, 4>({0, 1, 3, 0}));
  EXPECT_EQ(error_of([&] { static_cast<void>(cache.length(0)); }), "KVCache: sequence 0 of 0");
  EXPECT_EQ(error_of([&] { cache.fork(0); }), "KVCache: sequence 0 of 0");
  EXPECT_EQ(error_of([&] { cache.reorder(std::vector<Index>{0}); }), "KVCache: sequence 0 of 0");
  Context context;
  const Tensor<float, 4> query({1, 1, 1, 4});
  Tensor<float, 4> out({1, 1, 1, 4});
  EXPECT_THAT(
      error_of([&] { scaled_dot_product_attention<float>(context, query.view(), cache, {}, out.view()); }),
      HasSubstr("with a cache"));
}

TEST(KvCache, TablesStayValidWhileOtherSequencesGrow) {
  KVCache<float> cache({.batch = 1, .head_dim = 4});
  append_marked(cache, 0, 100, 1);
  for (int i = 0; i < 20; ++i) {
    const Index b = cache.fork(0);
    append_marked(cache, b, 300, i);
    for (Index s = 0; s < cache.batch(); ++s)
      for (Index page = 0; page * kKeyTile < cache.length(s); ++page)
        ASSERT_NE(cache.tables()[s][page], nullptr);
  }
  for (Index s = 1; s < cache.batch(); ++s) ASSERT_EQ(mark_of(cache, s, 399), static_cast<double>(s - 1));
}

}  // namespace
