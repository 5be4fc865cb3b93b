// Attention whose keys are split into spans among threads: the bits of one thread, and of reference/, also
// where a sequence is so short that one tile or one span is all it has.
#include <cmath>
#include <string>
#include <vector>

#include <attend/attend.hpp>
#include <attend/reference/attention.hpp>
#include <attend/reference/exact.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::random_tensor;

constexpr Index kSpan = kSpanTiles * kKeyTile;  // keys

template <int Rank>
void expect_same_bits(TensorView<const float, Rank> a, TensorView<const float, Rank> b,
                      const std::string& what) {
  EXPECT_TRUE(attend_test::same_bits(Tensor<float, Rank>(a), Tensor<float, Rank>(b))) << what;
}

/// Everything that one call may give.
struct Results {
  Tensor<float, 4> output, weights;
  Tensor<float, 3> log_sum_exp;
};

/// One call, on tensors or over a cache of each sequence's first `lengths` tokens.
struct Case {
  std::string name;
  Index heads, kv_heads, queries, head_dim, value_dim;
  std::vector<Index> lengths;  // of each sequence
  Index keys = 0;              // of the tensors; 0: the longest of the lengths
  Mask mask = {};
  std::vector<float> sinks = {};
  bool modified = false;
  std::vector<Index> splits = {};  // sequence b sees no key of [splits[b], …): a mask beside the lengths

  Index batch() const { return static_cast<Index>(lengths.size()); }
  Index most() const { return std::max(keys, *std::max_element(lengths.begin(), lengths.end())); }
};

struct Inputs {
  Tensor<float, 4> query, key, value;
  explicit Inputs(const Case& c)
      : query(random_tensor<float, 4>({c.batch(), c.heads, c.queries, c.head_dim}, 1)),
        key(random_tensor<float, 4>({c.batch(), c.kv_heads, c.most(), c.head_dim}, 2)),
        value(random_tensor<float, 4>({c.batch(), c.kv_heads, c.most(), c.value_dim}, 3)) {
    for (Index b = 0; b < c.batch(); ++b)  // what does not exist is never looked at
      for (Index g = 0; g < c.kv_heads; ++g)
        for (Index t = c.lengths[static_cast<std::size_t>(b)]; t < c.most(); ++t)
          key[b][g][t].fill(std::nanf("")), value[b][g][t].fill(INFINITY);
  }
};

AttentionOptions<float> options_of(const Case& c) {
  AttentionOptions<float> o{.mask = c.mask, .sinks = c.sinks};
  if (c.modified)
    o.modifier = ScoreModifier<float>(
        [](float s, Index, Index, Index, Index k) { return s + 0.001f * static_cast<float>(k); });
  return o;
}

Results run(int threads, const Case& c, const Inputs& in, const KVCache<float>* cache, bool extras) {
  Context context(threads);
  const Index keys = cache != nullptr ? cache->max_length() : c.most();
  Results r{Tensor<float, 4>({c.batch(), c.heads, c.queries, c.value_dim}, 77.0f), {}, {}};
  AttentionOptions<float> o = options_of(c);
  AttentionOutputs<float> more;
  if (extras) {
    r.weights = Tensor<float, 4>({c.batch(), c.heads, c.queries, keys}, 77.0f);
    r.log_sum_exp = Tensor<float, 3>({c.batch(), c.heads, c.queries}, 77.0f);
    more.weights = r.weights.view(), more.log_sum_exp = r.log_sum_exp.view();
  }
  if (cache != nullptr) {
    scaled_dot_product_attention<float>(context, in.query, *cache, o, r.output.view(), more);
  } else {
    o.key_lengths = c.lengths;
    scaled_dot_product_attention<float>(context, in.query, in.key, in.value, o, r.output.view(), more);
  }
  return r;
}

/// The case at 1, 2, 3 and 8 threads, as tensors and as caches, with weights and log-sum-exp and without.
void check(const Case& c) {
  SCOPED_TRACE(c.name);
  const Inputs in(c);
  KVCache<float> cache(
      {.batch = c.batch(), .num_kv_heads = c.kv_heads, .head_dim = c.head_dim, .value_dim = c.value_dim});
  for (Index b = 0; b < c.batch(); ++b) {
    const Index n = c.lengths[static_cast<std::size_t>(b)];
    cache.append(b, in.key[b].slice(1, 0, n), in.value[b].slice(1, 0, n));
  }
  const Results one = run(1, c, in, nullptr, true);
  for (const KVCache<float>* source :
       {static_cast<const KVCache<float>*>(nullptr), static_cast<const KVCache<float>*>(&cache)})
    for (int threads : {1, 2, 3, 8})
      for (bool extras : {false, true}) {
        const std::string what = std::string(source != nullptr ? "cache" : "tensors") +
                                 (extras ? ", weights" : "") + ", threads " + std::to_string(threads);
        const Results got = run(threads, c, in, source, extras);
        expect_same_bits<4>(got.output.view(), one.output.view(), what);
        if (!extras) continue;
        expect_same_bits<3>(got.log_sum_exp.view(), one.log_sum_exp.view(), what);
        expect_same_bits<4>(got.weights.view(), one.weights.view().slice(3, 0, got.weights.size(3)), what);
      }

  reference::AttentionOptions<float> plain;
  Mask bound = c.mask;
  bound.bind({c.batch(), c.heads, c.queries, c.most(), nullptr, nullptr, c.lengths.data()});
  plain.mask = [&](Index b, Index h, Index q, Index k) {
    return k < c.lengths[static_cast<std::size_t>(b)] && (!c.mask || bound(b, h, q, k));
  };
  if (c.modified)
    plain.modifier = [](float s, Index, Index, Index, Index k) { return s + 0.001f * static_cast<float>(k); };
  const Tensor<float, 1> sinks({static_cast<Index>(c.sinks.size())}, c.sinks);
  if (!c.sinks.empty()) plain.sinks = sinks.view();
  const auto exact =
      reference::exact::scaled_dot_product_attention(in.query.view(), in.key.view(), in.value.view(), plain);
#if ATTEND_HAS_KERNELS
  const bool exact_bits = isa() != Isa::baseline;  // without FMA bits are others
#else
  const bool exact_bits = false;
#endif
  if (exact_bits) {
    expect_same_bits<4>(one.output.view(), exact.output.view(), "reference/");
  } else {
    for (std::size_t i = 0; i < one.output.span().size(); ++i)
      ASSERT_NEAR(one.output.span()[i], exact.output.span()[i], 1e-5f);
  }
  const auto slow =
      reference::scaled_dot_product_attention<float>(in.query.view(), in.key.view(), in.value.view(), plain);
  for (std::size_t i = 0; i < one.weights.span().size(); ++i)
    ASSERT_NEAR(one.weights.span()[i], slow.weights.span()[i], 1e-5f) << i;
  for (std::size_t i = 0; i < one.log_sum_exp.span().size(); ++i)
    if (slow.log_sum_exp.span()[i] == -INFINITY)
      ASSERT_EQ(one.log_sum_exp.span()[i], -INFINITY);
    else
      ASSERT_NEAR(one.log_sum_exp.span()[i], slow.log_sum_exp.span()[i], 1e-4f);
}

TEST(Spans, TheSmallestCaseOfShortLengthsAmongManyKeys) {
  const Tensor<float, 4> q({1, 1, 10, 32}, 0.5f), k({1, 1, kSpan + 1, 32}, 0.25f),
      v({1, 1, kSpan + 1, 32}, 3.0f);
  const std::vector<Index> lengths{50};
  for (int threads : {1, 2, 3}) {
    Context context(threads);
    Tensor<float, 4> out(q.shape());
    scaled_dot_product_attention<float>(context, q, k, v, {.key_lengths = lengths}, out.view());
    for (float x : out.span()) ASSERT_NEAR(x, 3.0f, 1e-5f) << threads;
  }
}

TEST(Spans, SequencesOfOneTileAmongLongOnes) {
  for (Index length : {0, 1, 15, 50, 95, 96, 97, 192, static_cast<int>(kSpan) - 1, static_cast<int>(kSpan),
                       static_cast<int>(kSpan) + 1})
    check({"length " + std::to_string(length), 2, 1, 1, 16, 16, {2000, length}});
  check({"one sequence alone", 1, 1, 10, 32, 32, {50}, kSpan + 1});
  check({"one key", 1, 1, 1, 32, 32, {1}, kSpan + 1});
  check({"one key of all, and none", 4, 2, 2, 16, 16, {1, 0, 1}});
  check({"three spans, short first", 1, 1, 7, 8, 24, {3, 3100, 1600}});
  check({"many queries", 1, 1, 60, 16, 16, {40, 1700}});
  check({"groups of heads", 6, 1, 3, 8, 8, {96, 1537}});
  check({"odd widths", 1, 1, 2, 5, 3, {2000, 50}});
  check({"no keys at all", 2, 1, 4, 16, 16, {0, 0}, 1600});
}

TEST(Spans, MasksThatLeaveOneTileOrNoneOfASpan) {
  for (const auto& [name, mask] : std::vector<std::pair<std::string, Mask>>{
           {"causal", causal(Corner::bottom_right)},
           {"top left: one tile of all keys", causal()},
           {"window within one tile", sliding_window(20, 0, Corner::bottom_right)},
           {"window across spans", sliding_window(1000, 0, Corner::bottom_right)},
           {"the second span alone", visible_if([](Index, Index, Index, Index k) { return k >= kSpan + 3; })},
           {"a key of the first span, a key of the second",
            visible_if([](Index, Index, Index, Index k) { return k == 40 || k == kSpan + 40; })},
           {"rows that see nothing",
            visible_if([](Index, Index, Index q, Index k) { return q % 2 == 0 && k % 5 == 0; })},
           {"one row sees the first span, one the second",
            visible_if([](Index, Index, Index q, Index k) { return (q % 2 == 0) == (k < kSpan); })},
           {"nothing for anyone", visible_if([](Index, Index, Index, Index) { return false; })}})
    for (Index queries : {1, 5})
      check({name + ", queries " + std::to_string(queries), 2, 1, queries, 16, 16, {2000, 50}, 0, mask});
}

TEST(Spans, SinksAndModifiersWithShortSequences) {
  check({"sinks", 2, 1, 3, 16, 16, {2000, 50}, 0, {}, {0.5f, 4.0f}});
  check({"sinks of empty sequences", 2, 1, 3, 16, 16, {2000, 0}, 0, {}, {0.5f, 4.0f}});
  check({"sinks and a window",
         2,
         2,
         3,
         16,
         16,
         {2000, 60},
         0,
         sliding_window(30, 0, Corner::bottom_right),
         {-1.0f, 1.0f}});
  check({"modifier", 2, 1, 3, 16, 16, {2000, 50}, 0, {}, {}, true});
}

TEST(Spans, RaggedBatchesOfShortAndLongSequences) {
  const std::vector<Index> query_offsets{0, 1, 1, 4, 5}, key_offsets{0, 50, 90, 2200, 2200};
  const auto q = random_tensor<float, 4>({1, 2, 5, 16}, 4), k = random_tensor<float, 4>({1, 1, 2200, 16}, 5),
             v = random_tensor<float, 4>({1, 1, 2200, 16}, 6);
  for (bool log_sum_exp : {false, true})
    for (int threads : {1, 2, 5}) {
      Context context(threads);
      Tensor<float, 4> out({1, 2, 5, 16}, 77.0f);
      Tensor<float, 3> lse({1, 2, 5}, 77.0f);
      AttentionOptions<float> o{.query_offsets = query_offsets, .key_offsets = key_offsets};
      AttentionOutputs<float> more;
      if (log_sum_exp) more.log_sum_exp = lse.view();
      scaled_dot_product_attention<float>(context, q, k, v, o, out.view(), more);
      for (std::size_t b = 0; b + 1 < query_offsets.size(); ++b) {
        const Index q0 = query_offsets[b], q1 = query_offsets[b + 1], k0 = key_offsets[b],
                    k1 = key_offsets[b + 1];
        if (q0 == q1) continue;
        Context one;
        Tensor<float, 4> alone({1, 2, q1 - q0, 16});
        Tensor<float, 3> alone_lse({1, 2, q1 - q0});
        scaled_dot_product_attention<float>(one, q.slice(2, q0, q1), k.slice(2, k0, k1), v.slice(2, k0, k1),
                                            {}, alone.view(), {.log_sum_exp = alone_lse.view()});
        const std::string what = "sequence " + std::to_string(b) + ", threads " + std::to_string(threads);
        expect_same_bits<4>(out.view().slice(2, q0, q1), alone.view(), what);
        if (log_sum_exp) expect_same_bits<3>(lse.view().slice(2, q0, q1), alone_lse.view(), what);
      }
    }
}

TEST(Spans, CrossAttentionToMemoriesOfDifferentLengths) {
  MultiHeadAttention<float> layer({.embed_dim = 32, .num_heads = 2});
  attend_test::fill_parameters<float>(layer);
  const auto x = random_tensor<float, 3>({2, 10, 32}, 7), memory = random_tensor<float, 3>({2, 2000, 32}, 8);
  const std::vector<Index> lengths{50, 1990};
  Tensor<float, 3> one(x.shape());
  for (int threads : {1, 2, 6}) {
    Context context(threads);
    Tensor<float, 3> out(x.shape());
    layer.forward(context, x, memory, memory, {.key_lengths = lengths}, out.view());
    if (threads == 1) one = out;
    expect_same_bits<3>(out.view(), one.view(), "threads " + std::to_string(threads));
  }
  for (Index b = 0; b < 2; ++b) {
    const Index n = lengths[static_cast<std::size_t>(b)];
    Tensor<float, 3> alone({1, 10, 32});
    Context context;
    layer.forward(context, x.slice(0, b, b + 1), memory.slice(0, b, b + 1).slice(1, 0, n),
                  memory.slice(0, b, b + 1).slice(1, 0, n), {}, alone.view());
    expect_same_bits<3>(one.view().slice(0, b, b + 1), alone.view(), "sequence " + std::to_string(b));
  }
}

}  // namespace
