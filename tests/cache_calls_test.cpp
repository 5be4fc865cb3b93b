// Layers with a cache: windows, calls that fail and leave no trace, and the workspace they take.
#include <cstring>
#include <string>
#include <vector>

#include <attend/attend.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::fill_parameters;
using attend_test::random_tensor;
using attend_test::same_bits;
using ::testing::HasSubstr;

/// All that can be seen of a cache.
struct State {
  std::vector<Index> lengths, first_tokens, shortest;  // to which it can be truncated, but for 0
  std::vector<float> numbers;
  std::vector<bool> there;  // pages
  bool operator==(const State&) const = default;
};
State state_of(const KVCache<float>& cache) {
  State s;
  const KVCacheOptions& o = cache.options();
  std::vector<float> key(static_cast<std::size_t>(o.head_dim)), value(static_cast<std::size_t>(o.value_dim));
  for (Index b = 0; b < cache.batch(); ++b) {
    s.lengths.push_back(cache.length(b));
    s.first_tokens.push_back(cache.first_token(b));
    s.shortest.push_back(1);
    while (s.shortest.back() < cache.length(b) && !cache.can_truncate(b, s.shortest.back()))
      ++s.shortest.back();
    for (Index i = 0; i * kKeyTile < cache.length(b); ++i) s.there.push_back(cache.tables()[b][i] != nullptr);
    for (Index t = cache.first_token(b); t < cache.length(b); ++t)
      for (Index h = 0; h < o.num_kv_heads; ++h) {
        cache.read(b, h, t, key, value);
        s.numbers.insert(s.numbers.end(), key.begin(), key.end());
        s.numbers.insert(s.numbers.end(), value.begin(), value.end());
      }
  }
  return s;
}

/// The caller's own threads, which fail at one of their calls.
struct Failing {
  struct Stop {};
  int left;
  void operator()(Index n, detail::FunctionRef<void(Index)> task) {
    if (left-- == 0) throw Stop{};
    for (Index i = 0; i < n; ++i) task(i);
  }
};
/// Whether f(context) ends by the failure of the n-th parallel region.
template <class F>
bool fails_at(int n, F&& f) {
  Context context(ContextOptions{.threads = 2, .executor = Failing{n}});
  try {
    f(context);
  } catch (const Failing::Stop&) {
    return true;
  }
  return false;
}

// ---- windows
// -------------------------------------------------------------------------------------------------------

TEST(CacheWindows, CallsOfAnyNumberOfTokensGiveTheBitsOfTheWholeCache) {
  const Index T = 700;
  const auto q = random_tensor<float, 4>({1, 4, T, 8}, 1), k = random_tensor<float, 4>({1, 2, T, 8}, 2),
             v = random_tensor<float, 4>({1, 2, T, 8}, 3);
  Context context;
  for (Index window : {1, 40, 95, 96, 97, 128, 300})
    for (Index left : {window, window - 1}) {
      Tensor<float, 4> whole({1, 4, T, 8});
      scaled_dot_product_attention<float>(context, q, k, v, {.mask = sliding_window(left, 0)}, whole.view());
      for (const std::vector<Index>& calls : std::vector<std::vector<Index>>{
               {500, 200}, {1}, {96}, {97, 1, 1, 300}, {700}, {13, 500, 1, 1, 1}}) {
        KVCache<float> cache({.num_kv_heads = 2, .head_dim = 8, .window = window});
        std::size_t call = 0;
        for (Index t = 0; t < T; ++call) {
          const Index n = std::min(T - t, calls[call % calls.size()]);
          cache.append(k.slice(2, t, t + n), v.slice(2, t, t + n));
          Tensor<float, 4> out({1, 4, n, 8});
          scaled_dot_product_attention<float>(context, q.slice(2, t, t + n), cache,
                                              {.mask = sliding_window(left, 0, Corner::bottom_right)},
                                              out.view());
          ASSERT_TRUE(same_bits(TensorView<float, 4>(out.view()), whole.slice(2, t, t + n)))
              << "window " << window << ", tokens " << t << " to " << t + n;
          // what is held is what the first token of this call sees, in whole pages
          ASSERT_EQ(cache.first_token(0), std::max<Index>(0, t - window) / kKeyTile * kKeyTile);
          t += n;
        }
      }
    }
}

TEST(CacheWindows, SequencesOfDifferentLengthsEvictEachForItself) {
  KVCache<float> cache({.batch = 2, .head_dim = 4, .window = 100});
  const auto k = random_tensor<float, 3>({1, 1000, 4}, 1);
  cache.append(0, k, k);
  cache.append(1, k.slice(1, 0, 10), k.slice(1, 0, 10));
  const auto both = random_tensor<float, 4>({2, 1, 5, 4}, 2);
  cache.append(both, both);
  EXPECT_EQ(cache.first_token(0), 864);
  EXPECT_EQ(cache.first_token(1), 0);
}

TEST(CacheWindows, AMaskThatLooksBackFurtherIsAnErrorThatChangesNothing) {
  MultiHeadAttention<float> layer({.embed_dim = 16, .num_heads = 2});
  fill_parameters<float>(layer);
  const auto x = random_tensor<float, 3>({1, 700, 16}, 1);
  KVCache<float> cache({.num_kv_heads = 2, .head_dim = 8, .window = 100});
  KVCache<float> whole({.num_kv_heads = 2, .head_dim = 8});
  Context context;
  Tensor<float, 3> out({1, 300, 16}), expected({1, 300, 16});
  const AttentionOptions<float> window{.mask = sliding_window(100, 0, Corner::bottom_right)},
      wide{.mask = causal(Corner::bottom_right)};
  for (Index t : {0, 300}) {
    const Index n = t == 0 ? 300 : 300;
    layer.forward(context, x.slice(1, t, t + n), whole, window, expected.view());
    if (t > 0) {
      const State before = state_of(cache);
      for (int i = 0; i < 2; ++i)
        EXPECT_THAT(error_of([&] { layer.forward(context, x.slice(1, t, t + n), cache, wide, out.view()); }),
                    HasSubstr("has let go of"));
      EXPECT_TRUE(state_of(cache) == before);  // with the pages that the call evicted first
    }
    layer.forward(context, x.slice(1, t, t + n), cache, window, out.view());
    EXPECT_TRUE(same_bits(TensorView<float, 3>(out.view()), TensorView<float, 3>(expected.view())));
  }
}

// What the call before has evicted can still be seen by truncation, also behind a call that failed.
TEST(FailedCalls, LeaveWhatTheCallBeforeHasEvicted) {
  MultiHeadAttention<float> layer({.embed_dim = 16, .num_heads = 2});
  fill_parameters<float>(layer);
  const auto x = random_tensor<float, 3>({1, 400, 16}, 1);
  KVCache<float> cache({.num_kv_heads = 2, .head_dim = 8, .window = 100});
  Context context;
  const AttentionOptions<float> right{.mask = sliding_window(100, 0, Corner::bottom_right)},
      throwing{.mask = Mask([](Index, Index, Index, Index) -> bool { throw 5; })};
  Tensor<float, 3> out(x.shape());
  for (int i = 0; i < 4; ++i) {
    layer.forward(context, x, cache, right, out.view());
    const State before = state_of(cache);
    KVCache<float> copy = cache;
    for (int j = 0; j < 3; ++j) {
      EXPECT_THROW(layer.forward(context, x, cache, throwing, out.view()), int);
      EXPECT_TRUE(state_of(cache) == before);
    }
    EXPECT_TRUE(cache.can_truncate(0, 400 * i));
    cache.truncate(0, 400 * i + 1);
    copy.truncate(0, 400 * i + 1);
    EXPECT_TRUE(state_of(cache) == state_of(copy));
    layer.forward(context, x.slice(1, 1, 400), cache, right, out.slice(1, 1, 400));
    EXPECT_TRUE(state_of(cache).numbers == before.numbers);
  }
}

TEST(CacheWindows, PagesAreUsedAgain) {
  KVCache<float> cache({.head_dim = 4, .window = 200});
  const auto one = random_tensor<float, 4>({1, 1, 1, 4}, 1);
  std::vector<const float*> seen;
  for (Index t = 0; t < 5000; ++t) {
    cache.append(one, one);
    if (t % kKeyTile == 0) seen.push_back(cache.tables()[0][t / kKeyTile]);
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_LE(std::unique(seen.begin(), seen.end()) - seen.begin(), 8);
}

// ---- calls that fail
// -----------------------------------------------------------------------------------------------

TEST(FailedCalls, AttentionWithWrongOptionsLeavesTheCacheAsItWas) {
  MultiHeadAttention<float> layer({.embed_dim = 16, .num_heads = 4, .num_kv_heads = 2});
  fill_parameters<float>(layer);
  const auto x = random_tensor<float, 3>({2, 4, 16}, 1), more = random_tensor<float, 3>({2, 4, 16}, 2);
  KVCache<float> cache({.batch = 2, .num_kv_heads = 2, .head_dim = 4});
  Context context;
  Tensor<float, 3> out({2, 4, 16}), expected({2, 4, 16}), average({2, 4, 7});
  Tensor<float, 4> weights({2, 4, 4, 7});
  const std::vector<Index> lengths{4, 4}, offsets{0, 4};
  const std::vector<float> sinks(3);
  const Tensor<std::uint8_t, 2> truth({4, 9}, std::uint8_t{1});
  const Tensor<float, 2> numbers({3, 8});
  const AttentionOptions<float> right{.mask = causal(Corner::bottom_right)};
  layer.forward(context, x, cache, right, out.view());
  KVCache<float> other = cache;
  const State before = state_of(cache);
  for (const AttentionOptions<float>& wrong :
       std::vector<AttentionOptions<float>>{{.mask = boolean(truth.view())},
                                            {.mask = additive(numbers.view())},
                                            {.softcap = -1},
                                            {.sinks = sinks},
                                            {.key_lengths = lengths},
                                            {.query_offsets = offsets, .key_offsets = offsets}}) {
    EXPECT_NE(error_of([&] { layer.forward(context, more, cache, wrong, out.view()); }), "");
    EXPECT_TRUE(state_of(cache) == before);
  }
  for (const AttentionOutputs<float>& wrong :
       std::vector<AttentionOutputs<float>>{{.log_sum_exp = average.view()},
                                            {.weights = weights.view()},
                                            {.scores = weights.view()},
                                            {.scores_stage = ScoreStage::scaled},
                                            {.average_weights = average.view()},
                                            {.introspection = {.key_totals = average.view()}},
                                            {.introspection = {.entropy = average.view()}}}) {
    EXPECT_NE(error_of([&] { layer.forward(context, more, cache, right, out.view(), wrong); }), "");
    EXPECT_TRUE(state_of(cache) == before);
  }
  // shapes of the input, and of caches
  KVCache<float> three({.batch = 3, .num_kv_heads = 2, .head_dim = 4}),
      narrow({.batch = 2, .num_kv_heads = 1, .head_dim = 4}),
      wide({.batch = 2, .num_kv_heads = 2, .head_dim = 4, .value_dim = 8}), none;
  for (KVCache<float>* each : {&three, &narrow, &wide, &none}) {
    EXPECT_THAT(error_of([&] { layer.forward(context, more, *each, right, out.view()); }),
                HasSubstr("MultiHeadAttention"));
    EXPECT_THAT(error_of([&] { layer.forward_cross(context, more, *each, right, out.view()); }),
                HasSubstr("MultiHeadAttention"));
    EXPECT_THAT(error_of([&] { layer.append_memory(context, x, *each); }), HasSubstr("MultiHeadAttention"));
    EXPECT_EQ(each->max_length(), 0);
  }
  layer.forward(context, more, cache, right, out.view());  // a retry is a first try
  layer.forward(context, more, other, right, expected.view());
  EXPECT_TRUE(same_bits(TensorView<float, 3>(out.view()), TensorView<float, 3>(expected.view())));
  EXPECT_EQ(cache.length(0), 8);
}

TEST(FailedCalls, ACallableThatThrowsLeavesTheCacheAsItWas) {
  MultiHeadAttention<float> layer({.embed_dim = 16, .num_heads = 2});
  fill_parameters<float>(layer);
  const auto x = random_tensor<float, 3>({2, 100, 16}, 1), more = random_tensor<float, 3>({2, 100, 16}, 2);
  for (Index window : {0, 60})
    for (int what : {0, 1, 2, 3}) {
      KVCache<float> cache({.batch = 2, .num_kv_heads = 2, .head_dim = 8, .window = window});
      const Index left = window > 0 ? window : 1000;
      Context context;
      Tensor<float, 3> out({2, 100, 16}), expected({2, 100, 16});
      const Mask seen = sliding_window(left, 0, Corner::bottom_right);
      layer.forward(context, x, cache, {.mask = seen}, out.view());
      KVCache<float> other = cache;
      const State before = state_of(cache);
      AttentionOptions<float> throwing{.mask = seen};
      if (what == 0)
        throwing.mask = seen & visible_if([](Index b, Index, Index q, Index) -> bool {
                          return b == 1 && q == 50 ? throw 5 : true;
                        });
      if (what == 1)
        throwing.modifier = [](float s, Index b, Index, Index, Index) { return b == 1 ? throw 5 : s; };
      if (what == 2)
        throwing.weight_modifier = [](float s, Index b, Index, Index, Index) { return b == 1 ? throw 5 : s; };
      if (what == 3)
        throwing.mask = Mask([](Index b, Index, Index, Index) -> bool { return b == 1 ? throw 5 : true; });
      for (int i = 0; i < 2; ++i) {
        EXPECT_THROW(layer.forward(context, more, cache, throwing, out.view()), int);
        EXPECT_TRUE(state_of(cache) == before) << what;
      }
      layer.forward(context, more, cache, {.mask = seen}, out.view());
      layer.forward(context, more, other, {.mask = seen}, expected.view());
      EXPECT_TRUE(same_bits(TensorView<float, 3>(out.view()), TensorView<float, 3>(expected.view()))) << what;
    }
}

TEST(FailedCalls, ADecoderThatFailsHalfWayLeavesAllItsCachesAsTheyWere) {
  for (bool norm_first : {false, true}) {
    Decoder<float> decoder(
        {.block = {.embed_dim = 64, .num_heads = 2, .dim_feedforward = 128, .norm_first = norm_first},
         .num_layers = 3,
         .final_norm = true});
    fill_parameters<float>(decoder);
    const auto memory = random_tensor<float, 3>({2, 50, 64}, 1), x = random_tensor<float, 3>({2, 50, 64}, 2),
               more = random_tensor<float, 3>({2, 100, 64}, 3);
    const auto with = [](DecoderCache<float>& c) -> StackInputs<float> {
      return {.self = {.mask = causal(Corner::bottom_right)}, .caches = c.targets, .memory_caches = c.memory};
    };
    Context context;
    DecoderCache<float> cache = decoder.make_cache(context, memory, std::vector<Index>{50, 30});
    Tensor<float, 3> first({2, 50, 64}), out({2, 100, 64}), expected({2, 100, 64});
    decoder.forward(context, x, with(cache), first.view());
    DecoderCache<float> other = cache;
    decoder.forward(context, more, with(other), expected.view());
    std::vector<State> before;
    for (const auto* caches : {&cache.targets, &cache.memory})
      for (const auto& each : *caches) before.push_back(state_of(each));
    int failures = 0;
    while (fails_at(failures,
                    [&](Context& failing) { decoder.forward(failing, more, with(cache), out.view()); })) {
      ++failures;
      std::vector<State> after;
      for (const auto* caches : {&cache.targets, &cache.memory})
        for (const auto& each : *caches) after.push_back(state_of(each));
      ASSERT_TRUE(after == before) << failures;
    }
    EXPECT_GT(failures, 10);
    EXPECT_TRUE(same_bits(TensorView<float, 3>(out.view()), TensorView<float, 3>(expected.view())));
    EXPECT_EQ(cache.length(), 150);

    // A layer whose cache does not fit, behind one whose does.
    cache.targets[1] = KVCache<float>({.batch = 2, .num_kv_heads = 2, .head_dim = 16});
    EXPECT_THAT(error_of([&] { decoder.forward(context, x, with(cache), first.view()); }),
                HasSubstr("different lengths"));
    cache.targets[0].clear(), cache.targets[2].clear();
    EXPECT_THAT(error_of([&] { decoder.forward(context, x, with(cache), first.view()); }),
                HasSubstr("MultiHeadAttention"));
    EXPECT_EQ(cache.targets[0].max_length(), 0);
  }
}

TEST(FailedCalls, ABlockThatFailsBehindItsAttentionLeavesItsCacheAsItWas) {
  DecoderBlock<float> block({.embed_dim = 64, .num_heads = 2, .dim_feedforward = 128});
  fill_parameters<float>(block);
  const auto x = random_tensor<float, 3>({1, 100, 64}, 1);
  KVCache<float> targets({.num_kv_heads = 2, .head_dim = 32}), memory({.num_kv_heads = 2, .head_dim = 32}),
      wrong({.batch = 2, .num_kv_heads = 2, .head_dim = 32});
  Context context;
  Tensor<float, 3> out(x.shape());
  block.multihead_attn().append_memory(context, x, memory);
  EXPECT_NE(
      error_of([&] { block.forward(context, x, {.cache = &targets, .memory_cache = &wrong}, out.view()); }),
      "");
  EXPECT_NE(error_of([&] {
              block.forward(context, x,
                            {.cross = {.softcap = -1}, .cache = &targets, .memory_cache = &memory},
                            out.view());
            }),
            "");
  EXPECT_EQ(targets.max_length(), 0);
}

TEST(DecoderCaches, OfNoLayersOrWrongSizes) {
  const auto memory = random_tensor<float, 3>({2, 5, 16}, 1), x = random_tensor<float, 3>({2, 3, 16}, 2);
  Context context;
  Decoder<float> none({.block = {.embed_dim = 16, .num_heads = 2}, .num_layers = 0});
  DecoderCache<float> cache = none.make_cache(context, memory);
  Tensor<float, 3> out(x.shape(), 7.0f);
  none.forward(context, x, {.caches = cache.targets, .memory_caches = cache.memory}, out.view());
  EXPECT_TRUE(same_bits(TensorView<const float, 3>(out.view()), TensorView<const float, 3>(x.view())));

  EXPECT_EQ(error_of([] { Decoder<float>({.block = {.embed_dim = 4}, .num_layers = -1}); }),
            "Decoder: num_layers is -1, expected 0 to 10000");
  EXPECT_EQ(error_of([] { Encoder<float>({.block = {.embed_dim = 4}, .num_layers = -1}); }),
            "Encoder: num_layers is -1, expected 0 to 10000");
  Decoder<float> decoder({.block = {.embed_dim = 16, .num_heads = 2}, .num_layers = 2});
  fill_parameters<float>(decoder);
  for (const std::vector<Index>& lengths : std::vector<std::vector<Index>>{{5}, {5, 5, 5}, {5, 6}, {-1, 5}})
    EXPECT_THAT(error_of([&] { decoder.make_cache(context, memory, lengths); }), HasSubstr("Decoder"));
  EXPECT_THAT(error_of([&] {
                decoder.forward(context, x, {.caches = cache.targets, .memory_caches = cache.memory},
                                out.view());
              }),
              HasSubstr("Decoder: caches of 0 layers, expected 2"));
  cache = decoder.make_cache(context, memory);
  cache.memory.pop_back();
  EXPECT_THAT(error_of([&] {
                decoder.forward(context, x, {.caches = cache.targets, .memory_caches = cache.memory},
                                out.view());
              }),
              HasSubstr("Decoder: caches of a memory of 1 layers, expected 2"));
  cache = decoder.make_cache(context, memory);
  cache.memory[1] = KVCache<float>({.batch = 3, .num_kv_heads = 2, .head_dim = 8});
  EXPECT_THAT(error_of([&] { cache.reorder(std::vector<Index>{2}); }), HasSubstr("KVCache: sequence 2 of 2"));
  EXPECT_EQ(cache.targets[0].batch(), 2);
  EXPECT_EQ(cache.memory[0].batch(), 2);
}

// ---- one tensor or two
// ---------------------------------------------------------------------------------------------

TEST(MultiHeadAttention, KeyAndValueOfOneBufferWithOtherStridesAreTwoTensors) {
  MultiHeadAttention<float> layer({.embed_dim = 8, .num_heads = 2});
  fill_parameters<float>(layer);
  const auto buffer = random_tensor<float, 1>({400}, 1);
  const auto view = [&](const Shape<3>& strides) {
    return TensorView<const float, 3>(buffer.data(), {2, 4, 8}, strides);
  };
  const Shape<3> dense{32, 8, 1}, wide{64, 16, 1}, batches{100, 8, 1};
  for (const Shape<3>& query : {dense, wide, batches})
    for (const Shape<3>& key : {dense, wide, batches})
      for (const Shape<3>& value : {dense, wide, batches}) {
        if (query == batches || key == batches || value == batches)
          continue;  // not evenly spaced: refused as rows
        const Tensor<float, 3> q(view(query)), k(view(key)), v(view(value));
        EXPECT_TRUE(same_bits(layer(view(query), view(key), view(value)), layer(q, k, v)));
      }
}

// ---- workspace
// -----------------------------------------------------------------------------------------------------

/// The bytes that were foretold are those that a run takes; measuring leaves caches as they were.
template <class F>
void check_workspace(const std::string& what, const std::vector<KVCache<float>*>& caches, F&& f) {
  for (int threads : {1, 2, 7}) {
    std::vector<State> before;
    for (KVCache<float>* cache : caches) before.push_back(state_of(*cache));
    const std::size_t foretold = Context::measure(threads, f);
    for (std::size_t i = 0; i < caches.size(); ++i) ASSERT_TRUE(state_of(*caches[i]) == before[i]) << what;
    Context context(threads);
    f(context);
    ASSERT_EQ(context.workspace().peak_bytes(), foretold) << what << ", threads " << threads;
  }
}

TEST(Workspace, OfCallsWithCachesIsExact) {
  MultiHeadAttention<float> layer({.embed_dim = 32, .num_heads = 4, .num_kv_heads = 2});
  fill_parameters<float>(layer);
  for (Index window : {0, 130})
    for (Index before : {0, 50, 1600})
      for (Index T : {1, 100}) {
        KVCache<float> cache({.batch = 2, .num_kv_heads = 2, .head_dim = 8, .window = window});
        const auto past = random_tensor<float, 4>({2, 2, before, 8}, 1);
        cache.append(past, past);
        cache.append(1, past[1].slice(1, 0, before / 2), past[1].slice(1, 0, before / 2));
        const auto x = random_tensor<float, 3>({2, T, 32}, 2);
        Tensor<float, 3> out(x.shape());
        const Mask mask = window > 0 ? Mask(sliding_window(window, 0, Corner::bottom_right))
                                     : Mask(causal(Corner::bottom_right));
        for (int extra : {0, 1, 2, 3}) {
          const std::string what = "window " + std::to_string(window) + ", before " + std::to_string(before) +
                                   ", T " + std::to_string(T) + ", extra " + std::to_string(extra);
          check_workspace(what, {&cache}, [&](Context& context) {
            const Index keys = cache.max_length() + T;
            Tensor<float, 3> average({2, T, keys}), log_sum_exp({2, 4, T});
            Tensor<float, 4> weights({2, 4, T, keys});
            AttentionOutputs<float> o;
            if (extra == 1) o.average_weights = average.view();
            if (extra == 2) o.weights = weights.view(), o.average_weights = average.view();
            if (extra == 3) o.log_sum_exp = log_sum_exp.view();
            layer.forward(context, x, cache, {.mask = mask}, out.view(), o);
          });
          if (!::testing::Test::HasFatalFailure()) {
            check_workspace("cross, " + what, {&cache}, [&](Context& context) {
              Tensor<float, 3> average({2, T, cache.max_length()});
              AttentionOutputs<float> o;
              if (extra == 1) o.average_weights = average.view();
              layer.forward_cross(context, x, cache, {.mask = mask}, out.view(), o);
            });
          }
        }
      }
}

TEST(Workspace, OfLayersWithCachesAndRaggedBatchesIsExact) {
  Decoder<float> decoder(
      {.block = {.embed_dim = 32, .num_heads = 2, .dim_feedforward = 64}, .num_layers = 2});
  fill_parameters<float>(decoder);
  const auto memory = random_tensor<float, 3>({2, 1600, 32}, 1), x = random_tensor<float, 3>({2, 70, 32}, 2);
  Context once;
  const std::vector<Index> lengths{1600, 20};
  check_workspace("make_cache", {}, [&](Context& context) { decoder.make_cache(context, memory, lengths); });
  DecoderCache<float> cache = decoder.make_cache(once, memory, lengths);
  Tensor<float, 3> out(x.shape());
  const StackInputs<float> inputs{
      .self = {.mask = causal(Corner::bottom_right)}, .caches = cache.targets, .memory_caches = cache.memory};
  check_workspace("decoder", {&cache.targets[0], &cache.targets[1], &cache.memory[0]},
                  [&](Context& context) { decoder.forward(context, x, inputs, out.view()); });
  EXPECT_EQ(workspace_bytes(decoder, 2, x.view(), inputs, out.view()),
            Context::measure(2, [&](Context& context) { decoder.forward(context, x, inputs, out.view()); }));

  MultiHeadAttention<float> layer({.embed_dim = 32, .num_heads = 2});
  fill_parameters<float>(layer);
  const auto tokens = random_tensor<float, 3>({1, 1800, 32}, 3);
  Tensor<float, 3> to(tokens.shape());
  for (const std::vector<Index>& offsets :
       std::vector<std::vector<Index>>{{0, 1800}, {0, 50, 1800}, {0, 3, 3, 900, 1800}})
    check_workspace("ragged", {}, [&](Context& context) {
      layer.forward(context, tokens, {.mask = causal(), .query_offsets = offsets, .key_offsets = offsets},
                    to.view());
    });
}

}  // namespace
