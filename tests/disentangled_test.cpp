// Disentangled attention against its definition, written out in double.

#include <cmath>
#include <limits>
#include <map>
#include <type_traits>
#include <vector>

#include <attend/attend.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using namespace attend_test;
using testing::HasSubstr;

constexpr Index E = 24, H = 4, D = 6;

/// Row r of x times rows [first, first + n) of a weight, plus its bias.
std::vector<double> project(const std::vector<double>& x, Index r, const std::vector<double>& weight,
                            const std::vector<double>& bias, Index first, Index n) {
  std::vector<double> y(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i) {
    double sum = bias[static_cast<std::size_t>(first + i)];
    for (Index e = 0; e < E; ++e)
      sum += x[static_cast<std::size_t>(r * E + e)] * weight[static_cast<std::size_t>((first + i) * E + e)];
    y[static_cast<std::size_t>(i)] = sum;
  }
  return y;
}
double head_product(const std::vector<double>& a, Index head_a, const std::vector<double>& b, Index head_b) {
  double sum = 0;
  for (Index d = 0; d < D; ++d)
    sum += a[static_cast<std::size_t>(head_a * D + d)] * b[static_cast<std::size_t>(head_b * D + d)];
  return sum;
}

/// One sequence, its tokens in rows of x.
std::vector<double> by_definition(const MultiHeadAttentionOptions& o, const Values& v,
                                  const std::vector<double>& x, const std::vector<double>& embeddings,
                                  const RelativeEmbeddingOptions& relative) {
  const Index T = static_cast<Index>(x.size()) / E, G = o.num_kv_heads > 0 ? o.num_kv_heads : H;
  const auto &w = v.at("in_proj_weight"), &b = v.at("in_proj_bias");
  std::vector<std::vector<double>> q, k, value, pos_key, pos_query;
  for (Index t = 0; t < T; ++t) {
    q.push_back(project(x, t, w, b, 0, H * D));
    k.push_back(project(x, t, w, b, H * D, G * D));
    value.push_back(project(x, t, w, b, (H + G) * D, G * D));
  }
  const bool own = o.disentangled.own_projections;
  for (Index r = 0; r < 2 * relative.span; ++r) {
    if (o.disentangled.content_to_position)
      pos_key.push_back(
          own ? project(embeddings, r, v.at("pos_key_proj.weight"), v.at("pos_key_proj.bias"), 0, G * D)
              : project(embeddings, r, w, b, H * D, G * D));
    if (o.disentangled.position_to_content)
      pos_query.push_back(
          own ? project(embeddings, r, v.at("pos_query_proj.weight"), v.at("pos_query_proj.bias"), 0, H * D)
              : project(embeddings, r, w, b, 0, H * D));
  }
  const double scale = o.attention.scale.value_or(1 / std::sqrt(static_cast<double>(D)));
  std::vector<double> mixed(static_cast<std::size_t>(T * H * D), 0.0);
  for (Index h = 0; h < H; ++h)
    for (Index i = 0; i < T; ++i) {
      const Index g = h / (H / G);
      const std::size_t query = static_cast<std::size_t>(i);
      std::vector<double> weights;
      double total = 0;
      for (Index j = 0; j < T; ++j) {
        const std::size_t key = static_cast<std::size_t>(j),
                          row = static_cast<std::size_t>(relative_embedding_row(i - j, relative));
        double score = head_product(q[query], h, k[key], g);
        if (!pos_key.empty()) score += head_product(q[query], h, pos_key[row], g);
        if (!pos_query.empty()) score += head_product(pos_query[row], h, k[key], g);
        weights.push_back(std::exp(score * scale));
        total += weights.back();
      }
      for (Index j = 0; j < T; ++j)
        for (Index d = 0; d < D; ++d)
          mixed[static_cast<std::size_t>(i * H * D + h * D + d)] +=
              weights[static_cast<std::size_t>(j)] / total *
              value[static_cast<std::size_t>(j)][static_cast<std::size_t>(g * D + d)];
    }
  std::vector<double> out;
  for (Index t = 0; t < T; ++t)
    for (double y : project(mixed, t, v.at("out_proj.weight"), v.at("out_proj.bias"), 0, E)) out.push_back(y);
  return out;
}

template <class Scalar>
std::vector<double> some_rows(const Tensor<Scalar, 2>& x, Index begin, Index end) {
  std::vector<double> rows;
  for (Index t = begin; t < end; ++t)
    for (Index e = 0; e < x.size(1); ++e) rows.push_back(static_cast<double>(x(t, e)));
  return rows;
}

const RelativeEmbeddingOptions kLogarithmic{.embed_dim = E, .span = 4, .max_distance = 12},
    kPlain{.embed_dim = E, .span = 5};
MultiHeadAttentionOptions layer_options(DisentangledAttentionOptions disentangled, Index kv_heads = H) {
  return {.embed_dim = E,
          .num_heads = H,
          .num_kv_heads = kv_heads,
          .attention = {.scale = 0.3},
          .disentangled = disentangled};
}

template <class Scalar>
void expect_definition(double tolerance) {
  const std::vector<Index> offsets{0, 19, 20, 20, 27};
  const auto x = normal_tensor<Scalar, 2>({27, E}, 3);
  for (const RelativeEmbeddingOptions& relative : {kLogarithmic, kPlain})
    for (const Index kv_heads : {H, Index{2}})
      for (const DisentangledAttentionOptions& kind : std::vector<DisentangledAttentionOptions>{
               {true, true, false}, {true, false, false}, {false, true, true}, {true, true, true}}) {
        const MultiHeadAttentionOptions o = layer_options(kind, kv_heads);
        MultiHeadAttention<Scalar> layer(o);
        RelativeEmbedding<Scalar> embedding(relative);
        fill_parameters<Scalar>(layer);
        fill_parameters<Scalar>(embedding, 2, 1.0);
        const Values values = values_of(layer);
        const std::vector<double> table = values_of(embedding).at("weight");
        for (const int threads : {1, 2}) {
          Context context(threads);
          Frame frame(context.workspace());
          const RelativePositions<Scalar> positions = embedding.positions(context, frame, 19);
          Tensor<Scalar, 3> out({1, 27, E});
          layer.forward(context, x,
                        {.query_offsets = offsets, .key_offsets = offsets, .relative = &positions}, out);
          for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
            const Index begin = offsets[b], end = offsets[b + 1];
            const std::vector<double> expected =
                by_definition(o, values, some_rows(x, begin, end), table, relative);
            for (Index t = begin; t < end; ++t)
              for (Index e = 0; e < E; ++e)
                ASSERT_NEAR(static_cast<double>(out(0, t, e)),
                            expected[static_cast<std::size_t>((t - begin) * E + e)], tolerance);
            if (begin == end) continue;
            // A sequence of its own gives the same bits, whatever stands beside it.
            Tensor<Scalar, 3> alone({1, end - begin, E});
            layer.forward(context, x.view().slice(0, begin, end), {.relative = &positions}, alone);
            if constexpr (std::is_same_v<Scalar, float>) {
              EXPECT_TRUE(same_bits(alone.view()[0], out.view()[0].slice(0, begin, end)));
            }
          }
        }
      }
}

}  // namespace

TEST(Disentangled, AttentionIsThatOfItsDefinition) { expect_definition<float>(2e-5); }
TEST(Disentangled, AttentionOfDoublesIsThatOfItsDefinition) { expect_definition<double>(1e-12); }

TEST(Disentangled, AttentionOfABatchIsThatOfItsSequences) {
  MultiHeadAttention<float> layer(layer_options({true, true}));
  RelativeEmbedding<float> embedding({.embed_dim = E, .span = 4, .max_distance = 12, .norm_eps = 1e-5});
  fill_parameters<float>(layer);
  fill_parameters<float>(embedding, 2);
  const auto x = normal_tensor<float, 3>({3, 7, E}, 1);
  Context context;
  Frame frame(context.workspace());
  const RelativePositions<float> positions = embedding.positions(context, frame, 7);
  Tensor<float, 3> out(x.shape()), one({1, 7, E});
  layer.forward(context, x, {.relative = &positions}, out);
  for (Index b = 0; b < 3; ++b) {
    layer.forward(context, x.view().slice(0, b, b + 1), {.relative = &positions}, one);
    EXPECT_TRUE(same_bits(one, out.view().slice(0, b, b + 1)));
  }
}

// Values of make_log_bucket_position of transformers 5.24, cut at the ends of the table.
TEST(Disentangled, RowsAreThoseOfTransformers) {
  const RelativeEmbeddingOptions base{.embed_dim = 1, .span = 256, .max_distance = 512},
      tiny{.embed_dim = 1, .span = 4, .max_distance = 9};
  for (const auto& [distance, row] : std::map<Index, Index>{{0, 256},
                                                            {1, 257},
                                                            {-1, 255},
                                                            {127, 383},
                                                            {128, 384},
                                                            {129, 385},
                                                            {-130, 126},
                                                            {150, 399},
                                                            {200, 425},
                                                            {-300, 49},
                                                            {400, 489},
                                                            {510, 511},
                                                            {-511, 1},
                                                            {512, 511},
                                                            {600, 511},
                                                            {-600, 0},
                                                            {5000, 511},
                                                            {-5000, 0}})
    EXPECT_EQ(relative_embedding_row(distance, base), row) << distance;
  std::vector<Index> rows;
  for (Index distance = -9; distance <= 5; ++distance) rows.push_back(relative_embedding_row(distance, tiny));
  EXPECT_THAT(rows, testing::ElementsAre(0, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7));
}

TEST(Disentangled, WhatDoesNotFitIsAnError) {
  MultiHeadAttention<float> layer(layer_options({true, true}));
  RelativeEmbedding<float> embedding(kPlain);
  fill_parameters<float>(layer);
  const auto x = normal_tensor<float, 3>({1, 3, E}, 1);
  Tensor<float, 3> out(x.shape());
  Context context;
  Frame frame(context.workspace());
  EXPECT_THAT(error_of([&] { embedding.positions(context, frame, 3); }), HasSubstr("RelativeEmbedding"));
  fill_parameters<float>(embedding);
  const RelativePositions<float> positions = embedding.positions(context, frame, 2);
  EXPECT_THAT(error_of([&] { layer.forward(context, x, {}, out); }), HasSubstr("relative"));
  EXPECT_THAT(error_of([&] { layer.forward(context, x, {.relative = &positions}, out); }),
              HasSubstr("made for 2 tokens, the sequence has 3"));
  KVCache<float> cache = layer.make_cache(1);
  EXPECT_THAT(error_of([&] { layer.forward(context, x, cache, {.relative = &positions}, out); }),
              HasSubstr("a cache together with"));
  EXPECT_EQ(cache.length(0), 0);
  const MultiHeadAttention<float> plain =
      attend_test::filled<float>(MultiHeadAttention<float>(layer_options({})));
  EXPECT_THAT(error_of([&] { plain.forward(context, x, {.relative = &positions}, out); }),
              HasSubstr("MultiHeadAttention"));
  MultiHeadAttentionOptions o = layer_options({true, true});
  o.alibi = true;
  EXPECT_THAT(error_of([&] { MultiHeadAttention<float> l(o); }), HasSubstr("disentangled"));
  EXPECT_THAT(error_of([&] { RelativeEmbedding<float> e({.embed_dim = 4, .span = 0}); }), HasSubstr("span"));
  EXPECT_THAT(error_of([&] { RelativeEmbedding<float> e({.embed_dim = 4, .span = 8, .max_distance = 5}); }),
              HasSubstr("a maximum distance of 5"));
  constexpr Index kMost = std::numeric_limits<Index>::max();
  EXPECT_THAT(error_of([&] { embedding.positions(context, frame, kMost); }), HasSubstr("tokens"));
  EXPECT_THAT(error_of([] { relative_embedding_row(5, {}); }), HasSubstr("span"));
  EXPECT_EQ(relative_embedding_row(kMost, kPlain), 2 * kPlain.span - 1);
  EXPECT_EQ(relative_embedding_row(-kMost - 1, kPlain), 0);
}
