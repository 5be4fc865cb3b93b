// No layer writes where it reads: outputs apart from inputs, residuals and each other, wherever the
// documentation does not say that they may be one.
#include <attend/attend.hpp>

#include "support.hpp"

namespace {

using namespace attend;
using attend_test::error_of;
using attend_test::fill_parameters;
using attend_test::random_tensor;
using testing::AllOf;
using testing::HasSubstr;

template <class S>
class OverlapOfLayers : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(OverlapOfLayers, Scalars);

constexpr Index B = 2, T = 6, H = 2, D = 16, E = H * D;

template <class S, int Rank>
void expect_equal(TensorView<const S, Rank> a, TensorView<const S, Rank> b) {
  const Tensor<S, Rank> x(a), y(b);
  ASSERT_EQ(x.shape(), y.shape());
  EXPECT_TRUE(std::equal(x.span().begin(), x.span().end(), y.span().begin()));
}

TYPED_TEST(OverlapOfLayers, AttentionOutIsNoInput) {
  using S = TypeParam;
  Tensor<S, 4> q = random_tensor<S, 4>({B, H, T, D}, 1), k = random_tensor<S, 4>({B, H, T, D}, 2),
               v = random_tensor<S, 4>({B, H, T, D}, 3);
  const Tensor<S, 4> before[] = {q, k, v};
  Context context;
  for (Tensor<S, 4>* out : {&q, &k, &v})
    EXPECT_THAT(error_of([&] { scaled_dot_product_attention<S>(context, q, k, v, {}, out->view()); }),
                AllOf(HasSubstr("scaled_dot_product_attention"), HasSubstr("out overlaps")));
  Tensor<S, 4> room({B, H, T + 1, D});
  const auto upper = room.slice(2, 0, T), lower = room.slice(2, 1, T + 1);
  EXPECT_THAT(error_of([&] { scaled_dot_product_attention<S>(context, q, k, upper, {}, lower); }),
              HasSubstr("out overlaps value"));
  for (const Shape<4>& strides : {Shape<4>{0, T * D, D, 1}, Shape<4>{H * T * D, 0, D, 1},
                                  Shape<4>{H * T * D, T * D, 0, 1}, Shape<4>{H * T * D, T * D, D - 1, 1}})
    EXPECT_THAT(error_of([&] {
                  scaled_dot_product_attention<S>(context, q, k, v, {},
                                                  TensorView<S, 4>(room.data(), {B, H, T, D}, strides));
                }),
                HasSubstr("overlap each other"));
  expect_equal<S, 4>(q, before[0]), expect_equal<S, 4>(k, before[1]), expect_equal<S, 4>(v, before[2]);
}

TYPED_TEST(OverlapOfLayers, NumbersOfAMaskAreAnInput) {
  using S = TypeParam;
  const auto q = random_tensor<S, 4>({B, H, T, D}, 1), k = random_tensor<S, 4>({B, H, D, D}, 2);
  Tensor<S, 4> numbers = random_tensor<S, 4>({B, H, T, D}, 3), out(q.shape());
  const Tensor<S, 4> before = numbers;
  const auto plain = additive(TensorView<const S, 4>(numbers));
  const auto row = additive(TensorView<const S, 1>(numbers.view()[1][1][2]));
  Context context;
  KVCache<S> cache({.batch = B, .num_kv_heads = H, .head_dim = D});
  cache.append(k, k);
  for (const Mask& mask : {Mask(plain), Mask(row), Mask(causal() | plain), Mask(plain) & Mask(causal())}) {
    const auto who = [](const char* written) {
      return HasSubstr(std::string(written) + " overlaps the mask");
    };
    EXPECT_THAT(
        error_of([&] { scaled_dot_product_attention<S>(context, q, k, k, {.mask = mask}, numbers.view()); }),
        who("out"));
    EXPECT_THAT(
        error_of([&] { scaled_dot_product_attention<S>(context, q, cache, {.mask = mask}, numbers.view()); }),
        who("out"));
    EXPECT_THAT(error_of([&] {
                  scaled_dot_product_attention<S>(context, q, k, k, {.mask = mask}, out.view(),
                                                  {.scores = numbers.view()});
                }),
                who("scores"));
    const TensorView<S, 3> totals(&numbers(1, 1, 2, 0), {B, H, D}, {D * H, D, 1});
    EXPECT_THAT(error_of([&] { introspect<S>(context, q, k, {.mask = mask}, {.key_totals = totals}); }),
                who("key_totals"));
    scaled_dot_product_attention<S>(context, q, k, k, {.mask = mask}, out.view());
  }
  expect_equal<S, 4>(numbers, before);
}

TYPED_TEST(OverlapOfLayers, ColumnsOfOneBufferAreApart) {
  using S = TypeParam;
  Tensor<S, 3> memory = random_tensor<S, 3>({B, T, 4 * E}, 4);
  const Tensor<S, 3> before = memory;
  const auto column = [](auto&& tensor, Index c) { return heads(tensor.slice(2, c * E, (c + 1) * E), H); };
  Tensor<S, 4> expected({B, H, T, D}), weights({B, H, T, T});
  Context context;
  scaled_dot_product_attention<S>(context, column(before, 0), column(before, 1), column(before, 2),
                                  {.mask = causal()}, expected.view());
  scaled_dot_product_attention<S>(context, column(memory, 0), column(memory, 1), column(memory, 2),
                                  {.mask = causal()}, column(memory, 3), {.weights = weights});
  expect_equal<S, 4>(expected, column(memory, 3));
  expect_equal<S, 3>(before.slice(2, 0, 3 * E), memory.slice(2, 0, 3 * E));
}

TYPED_TEST(OverlapOfLayers, WhatAttentionGivesBesideIsApart) {
  using S = TypeParam;
  const Tensor<S, 4> q = random_tensor<S, 4>({B, H, T, D}, 1);
  Tensor<S, 4> k = random_tensor<S, 4>({B, H, T, D}, 2), out({B, H, T, D}), square({B, H, T, T});
  const auto square_in = [](Tensor<S, 4>& room) { return TensorView<S, 4>(room.data(), {B, H, T, T}); };
  const auto lines_in = [](Tensor<S, 4>& room) { return TensorView<S, 3>(room.data(), {B, H, T}); };
  Context context;
  const auto error = [&](const AttentionOutputs<S>& outputs) {
    return error_of([&] { scaled_dot_product_attention<S>(context, q, k, q, {}, out.view(), outputs); });
  };
  EXPECT_THAT(error({.weights = square_in(k)}), HasSubstr("weights overlaps key"));
  EXPECT_THAT(error({.weights = square_in(out)}), HasSubstr("weights overlaps out"));
  EXPECT_THAT(error({.scores = square_in(out)}), HasSubstr("scores overlaps out"));
  EXPECT_THAT(error({.log_sum_exp = lines_in(out)}), HasSubstr("log_sum_exp overlaps out"));
  EXPECT_THAT(error({.weights = square, .scores = square}), HasSubstr("weights overlaps scores"));
  EXPECT_THAT(error({.log_sum_exp = lines_in(square), .weights = square}),
              HasSubstr("log_sum_exp overlaps weights"));
  EXPECT_THAT(error({.weights = TensorView<S, 4>(square.data(), {B, H, T, T}, {T * T, 0, T, 1})}),
              HasSubstr("overlap each other"));
  EXPECT_THAT(error({.log_sum_exp = TensorView<S, 3>(square.data(), {B, H, T}, {0, T, 1})}),
              HasSubstr("overlap each other"));
  const std::vector<S> sinks(H, S(1));
  EXPECT_THAT(error_of([&] {
                scaled_dot_product_attention<S>(context, q, k, q,
                                                {.sinks = std::span<const S>(out.data(), H)}, out.view());
              }),
              HasSubstr("out overlaps sinks"));
  KVCache<S> cache({.batch = B, .num_kv_heads = H, .head_dim = D});
  cache.append(k, k);
  EXPECT_THAT(error_of([&] { scaled_dot_product_attention<S>(context, out, cache, {}, out.view()); }),
              HasSubstr("out overlaps query"));
  EXPECT_THAT(error_of([&] {
                scaled_dot_product_attention<S>(context, q, cache, {}, out.view(),
                                                {.weights = square_in(out)});
              }),
              HasSubstr("weights overlaps out"));
}

TYPED_TEST(OverlapOfLayers, OfMultiHeadAttentionAndBlocksToo) {
  using S = TypeParam;
  MultiHeadAttention<S> attention({.embed_dim = E, .num_heads = H});
  DecoderBlock<S> block({.embed_dim = E, .num_heads = H, .dim_feedforward = 20});
  EncoderBlock<S> encoder({.embed_dim = E, .num_heads = H, .dim_feedforward = 20});
  Decoder<S> decoder({.block = {.embed_dim = E, .num_heads = H, .dim_feedforward = 20}, .num_layers = 2});
  fill_parameters<S>(attention), fill_parameters<S>(block), fill_parameters<S>(encoder),
      fill_parameters<S>(decoder);
  const Tensor<S, 3> x = random_tensor<S, 3>({B, T, E}, 1);
  Tensor<S, 3> out({B, T, E}), average({B, T, T}), memory = random_tensor<S, 3>({B, T, E}, 2);
  Tensor<S, 4> weights({B, H, T, T});
  Context context;
  EXPECT_THAT(error_of([&] { attention.forward(context, memory, x, x, {}, memory); }),
              HasSubstr("out overlaps"));
  EXPECT_THAT(error_of([&] { attention.forward(context, x, memory, x, {}, memory); }),
              HasSubstr("MultiHeadAttention: out overlaps key"));
  EXPECT_THAT(error_of([&] { attention.forward(context, x, x, memory, {}, memory); }),
              HasSubstr("MultiHeadAttention: out overlaps value"));
  EXPECT_THAT(error_of([&] { attention.forward(context, x, {}, out, {}, {.residual = out}); }),
              HasSubstr("out overlaps the residual"));
  const TensorView<S, 3> average_in_out(out.data(), {B, T, T}), average_in_weights(weights.data(), {B, T, T});
  EXPECT_THAT(error_of([&] { attention.forward(context, x, {}, out, {.average_weights = average_in_out}); }),
              HasSubstr("average_weights overlaps out"));
  EXPECT_THAT(error_of([&] {
                attention.forward(context, x, {}, out,
                                  {.weights = weights, .average_weights = average_in_weights});
              }),
              HasSubstr("weights overlaps average_weights"));
  EXPECT_THAT(
      error_of([&] { encoder.forward(context, x, {}, out, {.self = {.average_weights = average_in_out}}); }),
      HasSubstr("EncoderBlock: average_weights overlaps out"));
  EXPECT_THAT(error_of([&] { block.forward(context, x, {.memory = memory}, memory); }),
              HasSubstr("DecoderBlock: out overlaps memory"));
  EXPECT_THAT(error_of([&] { decoder.forward(context, x, {.memory = memory}, memory); }),
              HasSubstr("Decoder: out overlaps memory"));
  EXPECT_THAT(error_of([&] {
                block.forward(context, x, {.memory = memory}, out,
                              {.cross = {.average_weights = average_in_out}});
              }),
              HasSubstr("average_weights overlaps out"));
  Tensor<S, 3> expected({B, T, E});
  block.forward(context, x, {.memory = memory}, expected);
  out = x;
  block.forward(context, out, {.memory = memory}, out);
  expect_equal<S, 3>(expected, out);
  decoder.forward(context, x, {.memory = memory}, expected);
  out = x;
  decoder.forward(context, out, {.memory = memory}, out);
  expect_equal<S, 3>(expected, out);
}

// A stack's second layer would read what its first has written, and cross-attention what came before it.
TYPED_TEST(OverlapOfLayers, NumbersOfAMaskAreReadByAllLayers) {
  using S = TypeParam;
  Encoder<S> encoder({.block = {.embed_dim = E, .num_heads = H, .dim_feedforward = 20}, .num_layers = 2});
  Decoder<S> decoder({.block = {.embed_dim = E, .num_heads = H, .dim_feedforward = 20}, .num_layers = 2});
  fill_parameters<S>(encoder), fill_parameters<S>(decoder);
  const Tensor<S, 3> x = random_tensor<S, 3>({B, T, E}, 1);
  Tensor<S, 3> out = random_tensor<S, 3>({B, T, E}, 2), average({B, T, T});
  const Tensor<S, 3> before = out;
  const TensorView<const S, 2> numbers(out.data() + 3, {T, T}), averages(average.data(), {T, T});
  const std::span<const S> sinks(out.data() + 5, H);
  Context context;
  const auto says = [](const char* what) { return HasSubstr(what); };
  EXPECT_THAT(error_of([&] { encoder.forward(context, x, {.self = {.mask = additive(numbers)}}, out); }),
              says("out overlaps the mask"));
  EXPECT_THAT(error_of([&] { encoder.forward(context, x, {.self = {.sinks = sinks}}, out); }),
              says("out overlaps sinks"));
  EXPECT_THAT(error_of([&] {
                decoder.forward(context, x, {.cross = {.mask = additive(numbers)}, .memory = x}, out);
              }),
              says("out overlaps the mask"));
  EXPECT_THAT(error_of([&] {
                decoder.layers()[0].forward(context, x, {.cross = {.mask = additive(averages)}, .memory = x},
                                            out, {.self = {.average_weights = average}});
              }),
              says("average_weights overlaps the mask"));
  EXPECT_THAT(error_of([&] {
                encoder.layers()[0].self_attn().forward(context, x, {.mask = additive(numbers)}, out);
              }),
              says("MultiHeadAttention: out overlaps the mask"));
  expect_equal<S, 3>(before, out);
  EXPECT_THAT(error_of([&] {
                sinusoidal_positions<S>({}, TensorView<S, 2>(out.data(), {T, E}, {0, 1}));
              }),
              says("overlap each other"));
}

TYPED_TEST(OverlapOfLayers, ResidualsAndStatistics) {
  using S = TypeParam;
  Linear<S> linear({.in_features = E, .out_features = E});
  FeedForward<S> feed_forward({.embed_dim = E, .dim_feedforward = 20});
  fill_parameters<S>(linear), fill_parameters<S>(feed_forward);
  const Tensor<S, 3> x = random_tensor<S, 3>({B, T, E}, 1);
  Tensor<S, 3> out({B, T, E}), wide({B, T, 2 * E});
  Context context;
  EXPECT_THAT(error_of([&] { linear.forward(context, x, out, {.residual = out}); }),
              HasSubstr("Linear: out overlaps the residual"));
  EXPECT_THAT(error_of([&] { feed_forward.forward(context, x, out, {.residual = out}); }),
              HasSubstr("FeedForward: out overlaps the residual"));
  EXPECT_THAT(error_of([&] { linear.forward(context, x, out, {.residual = wide.slice(2, 0, E - 1)}); }),
              HasSubstr("Linear (residual): expected [2, 6, 32]"));
  EXPECT_THAT(error_of([&] { linear.forward(context, x, out, {.residual = x.view().rows()}); }),
              HasSubstr("Linear (residual): expected [2, 6, 32]"));
  linear.forward(context, x, wide.slice(2, 0, E), {.residual = wide.slice(2, E, 2 * E)});
  const TensorView<const S, 3> broadcast(x.data(), {B, T, E}, {0, 0, 1});
  Tensor<S, 3> by_copy({B, T, E});
  linear.forward(context, x, out, {.residual = broadcast});
  linear.forward(context, x, by_copy, {.residual = Tensor<S, 3>(broadcast)});
  expect_equal<S, 3>(by_copy, out);

  const LayerNorm<S> norm({.normalized_shape = E});
  Tensor<S, 1> mean({B * T}), deviation({B * T});
  const TensorView<S, 1> in_out(out.data() + 3, {B * T});
  EXPECT_THAT(error_of([&] { norm.forward(context, x, out, in_out); }),
              HasSubstr("LayerNorm: mean overlaps out"));
  EXPECT_THAT(error_of([&] { norm.forward(context, x, out, {}, in_out); }),
              HasSubstr("inverse_deviation overlaps out"));
  EXPECT_THAT(error_of([&] { norm.forward(context, out, by_copy, in_out); }), HasSubstr("mean overlaps x"));
  EXPECT_THAT(error_of([&] { norm.forward(context, x, out, mean, mean); }),
              HasSubstr("mean overlaps inverse_deviation"));
  EXPECT_THAT(error_of([&] { norm.forward(context, x, out, TensorView<S, 1>(mean.data(), {B * T}, {0})); }),
              HasSubstr("overlap each other"));
  norm.forward(context, x, out, mean, deviation);
}

TYPED_TEST(OverlapOfLayers, RotaryAndIntrospection) {
  using S = TypeParam;
  Context context;
  Tensor<S, 4> x = random_tensor<S, 4>({B, H, T, D}, 1);
  const Rotary<S> rotary({.head_dim = D});
  EXPECT_THAT(error_of([&] {
                rotary.apply(context, TensorView<S, 4>(x.data(), {B, H, T, D}, {H * T * D, 0, D, 1}));
              }),
              HasSubstr("overlap each other"));
  const TensorView<const S, 3> angles(x.data(), {1, T, D / 2});
  EXPECT_THAT(error_of([&] { rotate(context, x.view(), angles, angles); }),
              HasSubstr("rotate: x overlaps cosine"));
  const Tensor<S, 4> query = x;
  const TensorView<S, 3> in_x(x.data(), {B, H, T});
  EXPECT_THAT(error_of([&] { introspect(context, x, x, {}, Introspection<S>{.entropy = in_x}); }),
              HasSubstr("scaled_dot_product_attention: entropy overlaps query"));
  EXPECT_THAT(error_of([&] {
                introspect(context, query, query, {}, Introspection<S>{.key_totals = in_x, .entropy = in_x});
              }),
              HasSubstr("scaled_dot_product_attention: key_totals overlaps entropy"));
}

TYPED_TEST(OverlapOfLayers, KeysAndValuesOfOneBufferWithOtherStridesAreTwo) {
  using S = TypeParam;
  const Tensor<S, 1> memory = random_tensor<S, 1>({2000}, 7);
  const TensorView<const S, 3> key(memory.data(), {1, T, E}, {2 * E * T, E, 1}),
      value(memory.data(), {1, T, E}, {2 * E * T, 2 * E, 1});
  for (const bool rows_differ : {false, true}) {
    const TensorView<const S, 3> query = rows_differ ? value : key;
    MultiHeadAttention<S> attention({.embed_dim = E, .num_heads = H});
    fill_parameters<S>(attention);
    const Tensor<S, 3> expected = attention(Tensor<S, 3>(query), Tensor<S, 3>(key), Tensor<S, 3>(value));
    expect_equal<S, 3>(expected, attention(query, key, value));
  }
}

}  // namespace
