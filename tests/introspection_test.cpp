// Introspection against what the whole matrix of weights says, through every door that attention has.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include <attend/attend.hpp>

#include "support.hpp"
#include "tiny_models.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::fill_parameters;
using attend_test::normal_tensor;
using attend_test::random_tensor;
using attend_test::same_bits;

/// To the bit in float, whose bits are a promise, else nearly.
template <class Scalar>
bool same(Scalar a, Scalar b) {
  return std::is_same_v<Scalar, float> ? a == b
                                       : std::abs(a - b) <= 64 * std::numeric_limits<Scalar>::epsilon();
}

/// Room for all that there is to see, full of other numbers.
template <class Scalar>
struct Look {
  static constexpr Index n = 4;
  std::vector<Index> rows, heads;
  Tensor<Scalar, 3> totals, entropy;
  Tensor<Index, 4> top;
  Tensor<Scalar, 4> top_weights, row_weights;

  /// Of H heads, or of the chosen ones; `longest` of a ragged batch are the keys of a row.
  Look(Index B, Index H, Index Tq, Index Tk, std::vector<Index> which_rows, std::vector<Index> which = {},
       Index longest = -1)
      : rows(std::move(which_rows)), heads(std::move(which)) {
    const Index N = heads.empty() ? H : static_cast<Index>(heads.size());
    const Scalar other(77);
    totals = Tensor<Scalar, 3>({B, N, Tk}, other), entropy = Tensor<Scalar, 3>({B, N, Tq}, other);
    top = Tensor<Index, 4>({B, N, Tq, n}, Index{77}), top_weights = Tensor<Scalar, 4>({B, N, Tq, n}, other);
    row_weights =
        Tensor<Scalar, 4>({B, N, static_cast<Index>(rows.size()), longest < 0 ? Tk : longest}, other);
  }
  Introspection<Scalar> wanted() { return {totals, entropy, top, top_weights, rows, row_weights, heads}; }
  Introspection<Scalar> only_rows() {
    return {.rows = rows, .row_weights = row_weights.view(), .heads = heads};
  }
  /// The same without the sums whose order counts, so that a head's rows may be taken in any.
  Introspection<Scalar> in_any_order() {
    Introspection<Scalar> w = wanted();
    w.key_totals = {};
    return w;
  }
  Index head(Index i) const { return heads.empty() ? i : heads[static_cast<std::size_t>(i)]; }
};

template <class Scalar>
void expect_same(const Look<Scalar>& a, const Look<Scalar>& b, const std::string& what) {
  EXPECT_TRUE(same_bits(a.totals, b.totals)) << what;
  EXPECT_TRUE(same_bits(a.entropy, b.entropy)) << what;
  EXPECT_TRUE(std::ranges::equal(a.top.span(), b.top.span())) << what;
  EXPECT_TRUE(same_bits(a.top_weights, b.top_weights)) << what;
  EXPECT_TRUE(same_bits(a.row_weights, b.row_weights)) << what;
}

/// What was seen, against all weights [B, H, Tq, Tk].
template <class Scalar>
void expect_seen(const Look<Scalar>& look, TensorView<const Scalar, 4> weights) {
  const Index B = weights.size(0), N = look.totals.size(1), Tq = weights.size(2), Tk = weights.size(3);
  const double eps = static_cast<double>(std::numeric_limits<Scalar>::epsilon());
  for (Index b = 0; b < B; ++b)
    for (Index i = 0; i < N; ++i) {
      const TensorView<const Scalar, 2> all = weights[b][look.head(i)];
      for (Index key = 0; key < Tk; ++key) {
        double sum = 0;
        for (Index q = 0; q < Tq; ++q) sum += static_cast<double>(all(q, key));
        ASSERT_NEAR(static_cast<double>(look.totals(b, i, key)), sum,
                    static_cast<double>(Tq) * eps * std::max(1.0, sum));
      }
      for (Index q = 0; q < Tq; ++q) {
        double want = 0;
        for (Index key = 0; key < Tk; ++key)
          if (const double w = static_cast<double>(all(q, key)); w > 0) want -= w * std::log(w);
        ASSERT_LE(std::abs(static_cast<double>(look.entropy(b, i, q)) - want),
                  8 * static_cast<double>(Tk) * eps);
        // The strongest, of equal ones the first; those without weight are none.
        std::vector<Index> order(static_cast<std::size_t>(Tk));
        std::iota(order.begin(), order.end(), Index{0});
        std::ranges::stable_sort(order, [&](Index j, Index k) { return all(q, j) > all(q, k); });
        for (Index j = 0; j < look.n; ++j) {
          const Index key = j < Tk && all(q, order[static_cast<std::size_t>(j)]) > 0
                                ? order[static_cast<std::size_t>(j)]
                                : -1;
          ASSERT_TRUE(same(look.top_weights(b, i, q, j), key < 0 ? Scalar(0) : all(q, key)));
          if (std::is_same_v<Scalar, float> || key < 0)
            ASSERT_EQ(look.top(b, i, q, j), key);
          else  // nearly equal weights may change places
            ASSERT_TRUE(same(all(q, look.top(b, i, q, j)), all(q, key)));
        }
      }
      for (std::size_t r = 0; r < look.rows.size(); ++r)
        for (Index key = 0; key < Tk; ++key)
          ASSERT_TRUE(same(look.row_weights(b, i, static_cast<Index>(r), key), all(look.rows[r], key)));
    }
}

std::vector<Index> first_and_last(Index n) {
  return n > 1 ? std::vector<Index>{0, n - 1} : std::vector<Index>{0};
}

/// Everything that introspect gives, alone and from a call that gives its output and its weights, too.
template <class Scalar>
void check(Index B, Index H, Index G, Index Tq, Index Tk, Index D, const AttentionOptions<Scalar>& options,
           int threads, const std::vector<Index>& rows, const std::vector<Index>& which = {}) {
  SCOPED_TRACE(std::to_string(Tq) + " queries, " + std::to_string(Tk) + " keys, threads " +
               std::to_string(threads));
  const auto q = normal_tensor<Scalar, 4>({B, H, Tq, D}, 1), k = normal_tensor<Scalar, 4>({B, G, Tk, D}, 2);
  const Tensor<Scalar, 4> v({B, G, Tk, 3}, Scalar(1));
  Tensor<Scalar, 4> weights({B, H, Tq, Tk});
  const Tensor<Scalar, 4> expected = scaled_dot_product_attention(q, k, v, options);
  Look<Scalar> look(B, H, Tq, Tk, rows, which), beside = look, rest = look, chosen = look;
  Tensor<Scalar, 4> out({B, H, Tq, 3});
  Context context(threads);
  introspect<Scalar>(context, q, k, options, look.wanted());
  scaled_dot_product_attention<Scalar>(context, q, k, v, options, out.view(),
                                       {.weights = weights.view(), .introspection = beside.wanted()});
  introspect<Scalar>(context, q, k, options, rest.in_any_order());
  introspect<Scalar>(context, q, k, options, chosen.only_rows());
  EXPECT_TRUE(same_bits(out, expected));
  expect_seen<Scalar>(look, weights);
  expect_same(beside, look, "beside the output");
  rest.totals = look.totals;
  expect_same(rest, look, "without the sums");
  EXPECT_TRUE(same_bits(chosen.row_weights, look.row_weights));
  EXPECT_TRUE(std::ranges::all_of(chosen.entropy.span(), [](Scalar x) { return x == Scalar(77); }));
}

TEST(Introspection, AgreesWithTheWholeMatrixOfWeights) {
  for (int threads : {1, 2, 3, 4}) {
    check<float>(2, 4, 2, 5, 7, 8, {}, threads, {0, 4});
    check<float>(1, 2, 1, 101, 130, 16, {.mask = causal()}, threads, {0, 100});
    check<float>(1, 2, 2, 3, 1700, 8, {}, threads, {0, 2});  // two spans
    check<float>(1, 6, 2, 2, 3200, 8, {.softcap = 2}, threads, {1}, {5, 0, 5});
    check<float>(1, 2, 1, 100, 1600, 8, {.mask = causal(Corner::bottom_right)}, threads, {50});
    check<double>(2, 2, 1, 50, 100, 5, {.mask = causal(Corner::bottom_right)}, threads, {0, 49});
  }
}

TEST(Introspection, OfSinksLengthsAndModifiedScoresAndWeights) {
  const std::vector<float> sinks{1, -1};
  const std::vector<Index> key_lengths{130, 17, 0};
  for (int threads : {1, 2}) {
    check<float>(3, 2, 1, 50, 130, 8, {.sinks = sinks, .key_lengths = key_lengths}, threads, {3, 49});
    check<double>(3, 2, 1, 50, 130, 8, {.key_lengths = key_lengths}, threads, {3, 49});
    check<float>(1, 2, 1, 50, 130, 8,
                 {.scale = -0.5,
                  .modifier = [](float s, Index, Index h, Index,
                                 Index k) { return s + 0.01f * static_cast<float>(h * k); },
                  .weight_modifier =
                      dropout<float>(0.25, [](Index, Index, Index q, Index k) { return (q + k) % 4 != 0; })},
                 threads, {0, 1, 2});
  }
}

TEST(Introspection, OfARowThatSeesNothingIsZero) {
  for (int threads : {1, 2})
    check<float>(1, 1, 1, 4, 2, 8,
                 {.mask = Mask([](Index, Index, Index q, Index k) { return q != 2 && k == 1; })}, threads,
                 {0, 3});
}

TEST(Introspection, OfNoQueriesTotalsAreZero) {
  const Tensor<float, 4> q({1, 2, 0, 4}), k({1, 2, 5, 4});
  Tensor<float, 3> totals({1, 2, 5}, 77.0f);
  Context context;
  introspect<float>(context, q, k, {}, {.key_totals = totals.view()});
  EXPECT_THAT(totals.span(), testing::Each(0.0f));
}

template <class T>
class IntrospectionOf : public testing::Test {};
TYPED_TEST_SUITE(IntrospectionOf, attend_test::Scalars);

TYPED_TEST(IntrospectionOf, ChosenHeadsAndRowsComeInTheOrderAskedFor) {
  const auto numbers = normal_tensor<TypeParam, 3>({4, 1, 130}, 3);
  const Mask mask = causal(Corner::bottom_right) & additive(numbers.view());
  for (int threads : {1, 2, 4}) {
    check<TypeParam>(2, 4, 2, 101, 130, 8, {.mask = mask}, threads, {0, 1, 47, 48, 49, 96, 100}, {3, 0, 2});
    check<TypeParam>(2, 4, 2, 101, 130, 8, {.mask = mask}, threads, {60}, {1});
    check<TypeParam>(2, 4, 2, 3, 130, 8, {.mask = mask}, threads, {2}, {2, 2});
    check<TypeParam>(2, 4, 1, 3, 130, 8, {.mask = mask}, threads, {0, 2}, {2, 0, 3, 0, 2});
  }
}

TEST(Introspection, IsTheSameAtAnyNumberOfThreads) {
  for (const auto& [H, G, Tq, Tk] : std::vector<Shape<4>>{
           {4, 2, 300, 300}, {2, 1, 2, 1700}, {8, 1, 1, 5000}, {6, 2, 9, 3100}, {1, 1, 200, 3300}}) {
    const auto q = normal_tensor<float, 4>({1, H, Tq, 8}, 1), k = normal_tensor<float, 4>({1, G, Tk, 8}, 2);
    const AttentionOptions<float> options{.mask = causal(Corner::bottom_right)};
    Look<float> one(1, H, Tq, Tk, {Tq / 2}), in_any_order = one;
    Context single;
    introspect<float>(single, q, k, options, one.wanted());
    introspect<float>(single, q, k, options, in_any_order.in_any_order());
    for (int threads : {2, 3, 4}) {
      Context context(threads);
      Look<float> look(1, H, Tq, Tk, {Tq / 2}), more = look;
      introspect<float>(context, q, k, options, look.wanted());
      introspect<float>(context, q, k, options, more.in_any_order());
      const std::string what = std::to_string(Tk) + " keys, threads " + std::to_string(threads);
      expect_same(look, one, what);
      expect_same(more, in_any_order, what);
    }
  }
}

// ---- ragged batches and caches

/// Sequence b of a look into a ragged batch, against the look at it alone.
template <class Scalar>
void expect_part(const Look<Scalar>& look, const Look<Scalar>& alone, Index q0, Index k0) {
  const Index N = alone.totals.size(1), Tq = alone.entropy.size(2), Tk = alone.totals.size(2);
  for (Index i = 0; i < N; ++i) {
    for (Index k = 0; k < Tk; ++k) ASSERT_TRUE(same(look.totals(0, i, k0 + k), alone.totals(0, i, k)));
    for (Index q = 0; q < Tq; ++q) {
      ASSERT_TRUE(same(look.entropy(0, i, q0 + q), alone.entropy(0, i, q)));
      for (Index j = 0; j < look.n; ++j) {
        ASSERT_EQ(look.top(0, i, q0 + q, j), alone.top(0, i, q, j));
        ASSERT_TRUE(same(look.top_weights(0, i, q0 + q, j), alone.top_weights(0, i, q, j)));
      }
      const auto row = std::ranges::find(look.rows, q0 + q);
      const auto own = std::ranges::find(alone.rows, q);
      ASSERT_EQ(row != look.rows.end(), own != alone.rows.end());
      if (row == look.rows.end()) continue;
      const Index r = row - look.rows.begin(), s = own - alone.rows.begin();
      for (Index k = 0; k < look.row_weights.size(3); ++k)
        ASSERT_TRUE(same(look.row_weights(0, i, r, k), k < Tk ? alone.row_weights(0, i, s, k) : Scalar(0)));
    }
  }
}

/// A ragged batch of sequences with so many queries and keys, at several numbers of threads.
template <class Scalar>
void check_ragged(const std::vector<Index>& queries, const std::vector<Index>& keys,
                  const std::vector<Index>& which) {
  std::vector<Index> query_offsets{0}, key_offsets{0}, rows;
  for (std::size_t b = 0; b < queries.size(); ++b) {
    if (queries[b] > 0) rows.push_back(query_offsets.back() + queries[b] / 2);
    query_offsets.push_back(query_offsets.back() + queries[b]);
    key_offsets.push_back(key_offsets.back() + keys[b]);
  }
  const Index H = 4, G = 2, D = 8, Tq = query_offsets.back(), Tk = key_offsets.back();
  const auto q = normal_tensor<Scalar, 4>({1, H, Tq, D}, 1), k = normal_tensor<Scalar, 4>({1, G, Tk, D}, 2);
  for (int threads : {1, 2, 3, 4}) {
    SCOPED_TRACE(threads);
    Context context(threads), single;
    Look<Scalar> look(1, H, Tq, Tk, rows, which, *std::ranges::max_element(keys));
    introspect<Scalar>(
        context, q, k,
        {.mask = causal(Corner::bottom_right), .query_offsets = query_offsets, .key_offsets = key_offsets},
        look.wanted());
    for (std::size_t b = 0; b < queries.size(); ++b) {
      SCOPED_TRACE("sequence " + std::to_string(b));
      const Index q0 = query_offsets[b], k0 = key_offsets[b], n = queries[b];
      Look<Scalar> alone(1, H, n, keys[b], n > 0 ? std::vector<Index>{n / 2} : std::vector<Index>{}, which);
      Introspection<Scalar> wanted = alone.wanted();
      if (n == 0) wanted.row_weights = {};
      introspect<Scalar>(single, q.slice(2, q0, q0 + n), k.slice(2, k0, k0 + keys[b]),
                         {.mask = causal(Corner::bottom_right)}, wanted);
      expect_part(look, alone, q0, k0);
    }
  }
}

TYPED_TEST(IntrospectionOf, ARaggedBatchIsThatOfEachSequence) {
  check_ragged<TypeParam>({3, 0, 50, 1, 101}, {3, 7, 50, 20, 101}, {});
  check_ragged<TypeParam>({3, 0, 50, 1, 101}, {3, 7, 50, 20, 101}, {3, 1, 3});
  check_ragged<TypeParam>({1, 2, 5}, {1700, 30, 3100}, {2, 0});
}

/// A cache of sequences of several lengths, as the tensors and key_lengths that it holds.
template <class Scalar>
void check_cache(Index window, Index most, Index Tq, const std::vector<Index>& which) {
  const Index B = 2, H = 4, G = 2, D = 8;
  const std::vector<Index> lengths{most, most / 3 + Tq};
  const auto q = normal_tensor<Scalar, 4>({B, H, Tq, D}, 1), k = normal_tensor<Scalar, 4>({B, G, most, D}, 2);
  KVCache<Scalar> cache({.batch = B, .num_kv_heads = G, .head_dim = D, .window = window});
  for (Index b = 0; b < B; ++b) {
    const Index n = lengths[static_cast<std::size_t>(b)];
    cache.append(b, k[b].slice(1, 0, n - Tq), k[b].slice(1, 0, n - Tq));
    cache.append(b, k[b].slice(1, n - Tq, n), k[b].slice(1, n - Tq, n));
  }
  ASSERT_EQ(cache.first_token(0) > 0, window > 0);
  const Mask mask = sliding_window(window > 0 ? window - 1 : -1, 0, Corner::bottom_right);
  Context single;
  Look<Scalar> expected(B, H, Tq, most, first_and_last(Tq), which);
  introspect<Scalar>(single, q, k, {.mask = mask, .key_lengths = lengths}, expected.wanted());
  for (int threads : {1, 2, 3, 4}) {
    SCOPED_TRACE(threads);
    Context context(threads);
    Look<Scalar> look(B, H, Tq, most, first_and_last(Tq), which);
    Tensor<Scalar, 4> out({B, H, Tq, D}), weights({B, H, Tq, most});
    scaled_dot_product_attention<Scalar>(context, q, cache, {.mask = mask}, out.view(),
                                         {.weights = weights.view(), .introspection = look.wanted()});
    expect_seen<Scalar>(look, weights);
    EXPECT_TRUE(std::ranges::equal(look.top.span(), expected.top.span()));
    for (const auto& [a, b] : {std::pair{&look.totals, &expected.totals}, {&look.entropy, &expected.entropy}})
      EXPECT_TRUE(std::ranges::equal(a->span(), b->span(), same<Scalar>));
    for (const auto& [a, b] :
         {std::pair{&look.top_weights, &expected.top_weights}, {&look.row_weights, &expected.row_weights}})
      EXPECT_TRUE(std::ranges::equal(a->span(), b->span(), same<Scalar>));
  }
}

TYPED_TEST(IntrospectionOf, ACacheIsThatOfItsTensors) {
  for (const std::vector<Index>& which : std::vector<std::vector<Index>>{{}, {3, 0, 3}}) {
    check_cache<TypeParam>(0, 150, 60, which);
    check_cache<TypeParam>(0, 1700, 1, which);
    check_cache<TypeParam>(0, 3200, 3, which);
    check_cache<TypeParam>(100, 700, 1, which);
    check_cache<TypeParam>(100, 700, 60, which);
    check_cache<TypeParam>(100, 3300, 2, which);
  }
}

// ---- layers and models

TYPED_TEST(IntrospectionOf, MultiHeadAttentionSeesItsWeights) {
  using S = TypeParam;
  MultiHeadAttention<S> layer({.embed_dim = 32, .num_heads = 4, .num_kv_heads = 2});
  fill_parameters<S>(layer);
  const auto x = normal_tensor<S, 3>({2, 70, 32}, 1), memory = normal_tensor<S, 3>({2, 90, 32}, 2);
  Context context(2);
  Tensor<S, 3> out(x.shape()), average({2, 70, 70});
  Tensor<S, 4> weights({2, 4, 70, 70}), over_memory({2, 4, 70, 90});
  Look<S> look(2, 4, 70, 70, {5, 69}, {2, 1}), with_average = look, cached = look;
  layer.forward(context, x, {.mask = causal()}, out,
                {.weights = weights.view(), .introspection = look.wanted()});
  expect_seen<S>(look, weights);
  EXPECT_TRUE(same_bits(out, layer(x, {.mask = causal()})));
  layer.forward(context, x, {.mask = causal()}, out,
                {.average_weights = average.view(), .introspection = with_average.wanted()});
  expect_same(with_average, look, "with an average");

  Look<S> cross(2, 4, 70, 90, {0}), of_cache = cross;
  layer.forward(context, x, memory, memory, {}, out,
                {.weights = over_memory.view(), .introspection = cross.wanted()});
  expect_seen<S>(cross, over_memory);
  KVCache<S> cache = layer.make_cache(2), memory_cache = layer.make_cache(2);
  layer.append_memory(context, memory, memory_cache);
  layer.forward_cross(context, x, memory_cache, {}, out,
                      {.weights = over_memory.view(), .introspection = of_cache.wanted()});
  expect_seen<S>(of_cache, over_memory);
  layer.forward(context, x, cache, {.mask = causal()}, out,
                {.weights = weights.view(), .introspection = cached.wanted()});
  expect_seen<S>(cached, weights);
}

TEST(Introspection, OfExtraKeysCountsThem) {
  MultiHeadAttention<float> layer({.embed_dim = 16, .num_heads = 2, .bias_kv = true, .add_zero_attn = true});
  fill_parameters<float>(layer);
  const auto x = normal_tensor<float, 3>({1, 10, 16}, 1);
  Context context;
  Tensor<float, 3> out(x.shape());
  Tensor<float, 4> weights({1, 2, 10, 12});
  Look<float> look(1, 2, 10, 12, {9});
  layer.forward(context, x, {.mask = causal()}, out,
                {.weights = weights.view(), .introspection = look.wanted()});
  expect_seen<float>(look, weights);
  EXPECT_GT(look.totals(0, 0, 11), 0);
}

TEST(Introspection, OfEveryLayerOfAnEncoderAndADecoder) {
  const auto x = normal_tensor<float, 3>({2, 30, 32}, 1), memory = normal_tensor<float, 3>({2, 40, 32}, 2);
  Encoder<float> encoder(
      {.block = {.embed_dim = 32, .num_heads = 4, .dim_feedforward = 64}, .num_layers = 3});
  Decoder<float> decoder(
      {.block = {.embed_dim = 32, .num_heads = 4, .dim_feedforward = 64, .norm_first = true},
       .num_layers = 3});
  fill_parameters<float>(encoder), fill_parameters<float>(decoder);
  std::vector<Look<float>> self(3, Look<float>(2, 4, 30, 30, {3}, {1})), cross(3, {2, 4, 30, 40, {3}});
  std::vector<Tensor<float, 4>> weights(3, Tensor<float, 4>({2, 4, 30, 30})),
      cross_weights(3, Tensor<float, 4>({2, 4, 30, 40}));
  std::vector<BlockOutputs<float>> outputs(3);
  for (std::size_t i = 0; i < 3; ++i) {
    outputs[i].self = {.weights = weights[i].view(), .introspection = self[i].wanted()};
    outputs[i].cross = {.weights = cross_weights[i].view(), .introspection = cross[i].wanted()};
  }
  Context context(2);
  Tensor<float, 3> out(x.shape());
  decoder.forward(context, x, {.self = {.mask = causal()}, .memory = memory}, out, outputs);
  EXPECT_TRUE(same_bits(out, decoder(x, {.self = {.mask = causal()}, .memory = memory})));
  for (std::size_t i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    expect_seen<float>(self[i], weights[i]);
    expect_seen<float>(cross[i], cross_weights[i]);
    if (i > 0) {
      EXPECT_FALSE(same_bits(self[i].entropy, self[i - 1].entropy));
    }
  }
  encoder.forward(context, x, {.self = {.mask = causal()}}, out, outputs);
  EXPECT_TRUE(same_bits(out, encoder(x, {.self = {.mask = causal()}})));

  // Layer by layer the blocks say the same.
  Tensor<float, 3> y = x;
  for (std::size_t i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    expect_seen<float>(self[i], weights[i]);
    Look<float> alone(2, 4, 30, 30, {3}, {1});
    encoder.layers()[i].forward(context, y, {.self = {.mask = causal()}}, y.view(),
                                {.self = {.introspection = alone.wanted()}});
    expect_same(alone, self[i], "block");
  }
  outputs.pop_back();
  EXPECT_EQ(error_of([&] { encoder.forward(context, x, {}, out, outputs); }),
            "Encoder: outputs of 2 layers, expected 3");
}

TEST(Introspection, OfModels) {
  const auto ids = attend_test::random_ids(40, 50);
  const std::vector<Index> offsets{0, 15, 40};
  const auto bert = attend_test::tiny_bert();
  Context context(2);
  std::vector<Look<float>> all(2, Look<float>(1, 4, 40, 40, {3, 20}, {}, 25));
  std::vector<BlockOutputs<float>> outputs(2);
  for (std::size_t i = 0; i < 2; ++i) outputs[i].self.introspection = all[i].wanted();
  Tensor<float, 2> states({40, 32}), plain({40, 32});
  bert.forward(context, ids, {}, offsets, plain);
  bert.forward(context, ids, {}, offsets, states, outputs);
  EXPECT_TRUE(same_bits(states, plain));
  for (Index text : {0, 1}) {
    const Index q0 = offsets[static_cast<std::size_t>(text)], n = text == 0 ? 15 : 25;
    std::vector<Look<float>> alone(2, Look<float>(1, 4, n, n, {text == 0 ? 3 : 5}));
    for (std::size_t i = 0; i < 2; ++i) outputs[i].self.introspection = alone[i].wanted();
    bert.forward(context, std::span(ids).subspan(static_cast<std::size_t>(q0), static_cast<std::size_t>(n)),
                 {}, std::vector<Index>{0, n}, states.slice(0, q0, q0 + n), outputs);
    for (std::size_t i = 0; i < 2; ++i) expect_part(all[i], alone[i], q0, q0);
  }

  // A language model, all at once and after a prompt, whose second layer has a window.
  const auto lm = attend_test::tiny_causal_lm();
  CausalCache<float> cache = lm.make_cache(1), whole = lm.make_cache(1);
  Tensor<float, 3> logits({1, 1, 50}), expected({1, 1, 50});
  std::vector<Look<float>> of_whole(2, Look<float>(1, 4, 400, 400, {399})),
      of_last(2, Look<float>(1, 4, 1, 400, {0}));
  std::vector<std::int32_t> text = attend_test::random_ids(400, 50);
  for (std::size_t i = 0; i < 2; ++i) outputs[i].self.introspection = of_whole[i].wanted();
  lm.forward(context, {text.data(), {1, 400}}, whole, expected.view(), outputs);
  lm.forward(context, {text.data(), {1, 399}}, cache, logits.view());
  for (std::size_t i = 0; i < 2; ++i) outputs[i].self.introspection = of_last[i].wanted();
  lm.forward(context, {text.data() + 399, {1, 1}}, cache, logits.view(), outputs);
  EXPECT_TRUE(same_bits(logits, expected));
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(same_bits(of_last[i].row_weights, of_whole[i].row_weights));
    EXPECT_TRUE(same_bits(of_last[i].entropy, of_whole[i].entropy.slice(2, 399, 400)));
    EXPECT_TRUE(same_bits(of_last[i].top_weights, of_whole[i].top_weights.slice(2, 399, 400)));
    for (Index h = 0; h < 4; ++h)
      EXPECT_EQ(of_last[i].row_weights(0, h, 0, 379) > 0, i == 0);  // the window has 20 tokens
  }
}

TEST(Introspection, ErrorsNameExpectedAndGotShapes) {
  Tensor<float, 4> q({1, 2, 3, 4}), k({1, 1, 5, 4}), some({1, 2, 3, 2}), row({1, 2, 1, 5});
  Tensor<float, 3> totals({1, 2, 4}), entropy({1, 2, 5});
  Tensor<Index, 4> top({1, 2, 3, 2}), none({1, 2, 3, 0});
  Tensor<float, 4> none_weights({1, 2, 3, 0});
  Context context;
  const auto error = [&](const Introspection<float>& wanted) {
    return error_of([&] { introspect<float>(context, q, k, {}, wanted); });
  };
  const std::vector<Index> heads{1}, no_head{2}, rows{1}, no_row{3}, falling{1, 0}, twice{1, 1};
  EXPECT_EQ(error({.key_totals = totals.view()}),
            "introspection (key_totals): expected [1, 2, 5], got [1, 2, 4]");
  EXPECT_EQ(error({.key_totals = totals.view(), .heads = heads}),
            "introspection (key_totals): expected [1, 1, 5], got [1, 2, 4]");
  EXPECT_EQ(error({.entropy = entropy.view()}), "introspection (entropy): expected [1, 2, 3], got [1, 2, 5]");
  EXPECT_EQ(error({.top_keys = top.view()}),
            "introspection: one of top_keys and top_weights without the other");
  EXPECT_EQ(error({.top_keys = top.view(), .top_weights = row.view()}),
            "introspection (top_weights): expected [1, 2, 3, 2], got [1, 2, 1, 5]");
  EXPECT_EQ(error({.top_keys = top.view(), .top_weights = some.view(), .heads = no_head}),
            "introspection: head 2 is not in [0, 2)");
  EXPECT_EQ(error({.rows = rows}), "introspection: one of rows and row_weights without the other");
  EXPECT_EQ(error({.row_weights = row.view()}),
            "introspection: one of rows and row_weights without the other");
  EXPECT_EQ(error({.rows = rows, .row_weights = some.view()}),
            "introspection (row_weights): expected [1, 2, 1, 5], got [1, 2, 3, 2]");
  EXPECT_EQ(error({.rows = no_row, .row_weights = row.view()}),
            "introspection: row 3 is out of order or not in [0, 3)");
  EXPECT_THAT(error({.rows = falling, .row_weights = row.view()}),
              testing::HasSubstr("expected [1, 2, 2, 5]"));
  Tensor<float, 4> two({1, 2, 2, 5});
  for (const auto* wrong : {&falling, &twice})
    EXPECT_THAT(error({.rows = *wrong, .row_weights = two.view()}), testing::HasSubstr("is out of order"));
}

}  // namespace
