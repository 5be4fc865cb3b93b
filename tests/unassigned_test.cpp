// A layer whose parameters were not all given says which one is missing, instead of computing with zeros; a
// layer whose options are missing is not built.
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <attend/attend.hpp>
#include <attend/causal_block.hpp>
#include <attend/model/seq2seq.hpp>
#include <attend/quant.hpp>

#include "support.hpp"

namespace {

using namespace attend;
using attend_test::error_of;
using attend_test::fill_parameters;
using attend_test::random_tensor;
using testing::AnyOf;
using testing::HasSubstr;

constexpr Index B = 2, T = 3, E = 8;
const Tensor<float, 3> x = random_tensor<float, 3>({B, T, E});

/// Gives values to all parameters but `name`, of which the rows in [begin, end) stay without.
template <class Layer>
void fill_all_but(Layer& layer, const std::string& name, Index begin = 0, Index end = 1 << 20) {
  layer.parameters([&](const std::string& its_name, Parameter<float> parameter) {
    const Tensor<float, 1> values({parameter.numel()}, 0.25f);
    for (Index i = 0; i < parameter.rows(); ++i)
      if (its_name != name || i < begin || i >= end) parameter.assign(i, i + 1, values.data());
  });
}
template <class Layer>
std::vector<std::string> names_of(Layer& layer) {
  std::vector<std::string> names;
  layer.parameters([&](const std::string& name, const Parameter<float>&) { names.push_back(name); });
  return names;
}

/// Each parameter is missed by name in a layer of its own; norms start with weights of 1 and biases of 0, as
/// PyTorch's do.
template <class Layer>
void expect_each_is_missed(const char* who, const std::function<Layer()>& make,
                           const std::function<void(const Layer&)>& forward) {
  SCOPED_TRACE(who);
  Layer named = make();
  for (const std::string& name : names_of(named)) {
    const bool has_a_value = name.find("norm") != std::string::npos;
    SCOPED_TRACE(name);
    Layer layer = make();
    fill_all_but(layer, name);
    if (has_a_value) {
      forward(layer);
      continue;
    }
    EXPECT_EQ(error_of([&] { forward(layer); }),
              std::string(who) + ": parameter " + name + " was never assigned");
    layer.parameters([&](const std::string& its_name, Parameter<float> parameter) {
      const Tensor<float, 1> values({parameter.numel()}, 0.25f);
      if (its_name == name) parameter.assign(0, parameter.rows(), values.data());
    });
    forward(layer);
    const Layer copied = layer;
    forward(copied);
    const Layer moved = std::move(layer);
    forward(moved);
  }
  EXPECT_THAT(error_of([&] { forward(make()); }), HasSubstr("was never assigned"));
}

TEST(Unassigned, EveryLayerNamesTheParameter) {
  Tensor<float, 3> out(x.shape());
  Context context;
  expect_each_is_missed<Linear<float>>(
      "Linear", [] { return Linear<float>({.in_features = E, .out_features = E}); },
      [&](const auto& layer) { layer.forward(context, x, out); });
  expect_each_is_missed<Embedding<float>>(
      "Embedding", [] { return Embedding<float>({.num_embeddings = 4, .embedding_dim = E}); },
      [&](const auto& layer) {
        layer.forward(context, Tensor<int, 2>({B, T}), out);
      });
  for (const bool gated : {false, true})
    expect_each_is_missed<FeedForward<float>>(
        "FeedForward",
        [=] { return FeedForward<float>({.embed_dim = E, .dim_feedforward = 20, .gated = gated}); },
        [&](const auto& layer) { layer.forward(context, x, out); });
  for (const bool bias_kv : {false, true})
    for (const Index memory_dim : {E, E / 2})
      expect_each_is_missed<MultiHeadAttention<float>>(
          "MultiHeadAttention",
          [=] {
            return MultiHeadAttention<float>({.embed_dim = E,
                                              .num_heads = 2,
                                              .kdim = memory_dim,
                                              .vdim = memory_dim,
                                              .bias_kv = bias_kv,
                                              .qk_norm = 1e-6});
          },
          [&, memory_dim](const auto& layer) {
            const auto memory = x.slice(2, 0, memory_dim);
            layer.forward(context, x, memory, memory, {}, out);
          });
  expect_each_is_missed<MultiHeadAttention<float>>(
      "MultiHeadAttention", [] { return MultiHeadAttention<float>({.embed_dim = E, .num_heads = 2}); },
      [&](const auto& layer) {
        KVCache<float> cache({.batch = B, .num_kv_heads = 2, .head_dim = E / 2}), memory = cache;
        layer.append_memory(context, x, memory);
        layer.forward_cross(context, x, memory, {}, out);
        layer.forward(context, x, cache, {}, out);
      });
  expect_each_is_missed<EncoderBlock<float>>(
      "EncoderBlock",
      [] { return EncoderBlock<float>({.embed_dim = E, .num_heads = 2, .dim_feedforward = 20}); },
      [&](const auto& layer) { layer.forward(context, x, {}, out); });
  expect_each_is_missed<DecoderBlock<float>>(
      "DecoderBlock",
      [] { return DecoderBlock<float>({.embed_dim = E, .num_heads = 2, .dim_feedforward = 20}); },
      [&](const auto& layer) { layer.forward(context, x, {.memory = x}, out); });
  expect_each_is_missed<Encoder<float>>(
      "Encoder",
      [] {
        return Encoder<float>(
            {.block = {.embed_dim = E, .num_heads = 2, .dim_feedforward = 20}, .num_layers = 2});
      },
      [&](const auto& layer) { layer.forward(context, x, {}, out); });
  expect_each_is_missed<Decoder<float>>(
      "Decoder",
      [] {
        return Decoder<float>(
            {.block = {.embed_dim = E, .num_heads = 2, .dim_feedforward = 20}, .num_layers = 2});
      },
      [&](const auto& layer) { layer.forward(context, x, {.memory = x}, out); });
}

TEST(Unassigned, Seq2SeqNamesTheParameter) {
  const Tensor<std::int32_t, 2> ids({B, T}, 2);
  for (const PositionKind positions : {PositionKind::learned, PositionKind::relative})
    for (const bool tied : {false, true}) {
      Seq2SeqOptions o{.source_vocab_size = 5,
                       .target_vocab_size = 5,
                       .shared_embeddings = tied,
                       .tied_output = tied,
                       .positions = positions,
                       .max_position_embeddings = 8,
                       .relative = {.num_heads = 2}};
      o.encoder.block = {.embed_dim = E, .num_heads = 2, .dim_feedforward = 12};
      o.decoder.block = {.embed_dim = E, .num_heads = 2, .dim_feedforward = 12};
      Context context;
      expect_each_is_missed<Seq2Seq<float>>(
          "Seq2Seq", [o] { return Seq2Seq<float>(o); },
          [&](const auto& model) {
            auto cache = model.make_cache(context, model.encode(context, ids));
            model.decode(context, ids, cache);
          });
    }
}
TEST(Unassigned, RelativeBiasHasNoModifierWithoutItsWeight) {
  RelativeBias<float> bias({.num_heads = 2});
  EXPECT_EQ(error_of([&] { bias.modifier(); }), "RelativeBias: parameter weight was never assigned");
  fill_parameters<float>(bias);
  EXPECT_NO_THROW(bias.modifier());
}

TEST(Unassigned, AFailedForwardLeavesTheCacheAlone) {
  MultiHeadAttention<float> layer({.embed_dim = E, .num_heads = 2});
  fill_all_but(layer, "out_proj.bias");
  KVCache<float> cache({.batch = B, .num_kv_heads = 2, .head_dim = E / 2});
  Tensor<float, 3> out(x.shape());
  Context context;
  EXPECT_THAT(error_of([&] { layer.forward(context, x, cache, {}, out); }),
              HasSubstr("parameter out_proj.bias"));
  EXPECT_EQ(cache.length(0), 0);
  CausalBlock<float> block({.embed_dim = E, .num_heads = 2, .dim_feedforward = 20});
  fill_all_but(block, "linear2.weight");
  EXPECT_THAT(error_of([&] { block.forward(context, out, {.cache = &cache}, out); }),
              HasSubstr("CausalBlock: parameter linear2.weight"));
  EXPECT_EQ(cache.length(0), 0);
}

TEST(Unassigned, RowsCountInAnyOrderAndNumberOfPieces) {
  const std::vector<float> values(20 * E, 0.5f);
  Linear<float> layer({.in_features = E, .out_features = 20, .bias = false});
  Tensor<float, 3> out({B, T, 20});
  Context context;
  const auto assign = [&](Index begin, Index end) {
    layer.parameters(
        [&](const std::string&, Parameter<float> parameter) { parameter.assign(begin, end, values.data()); });
  };
  const auto error = [&] { return error_of([&] { layer.forward(context, x, out); }); };
  assign(10, 20);
  assign(10, 20);  // the same half twice is no whole
  EXPECT_EQ(error(), "Linear: parameter weight was never assigned in 10 of its 20 rows");
  assign(5, 5);
  assign(0, 9);
  EXPECT_EQ(error(), "Linear: parameter weight was never assigned in 1 of its 20 rows");
  const Linear<float> half = layer;
  assign(9, 10);
  layer.forward(context, x, out);
  EXPECT_EQ(error_of([&] { half.forward(context, x, out); }),
            "Linear: parameter weight was never assigned in 1 of its 20 rows");
}

TEST(Unassigned, RowsOutOfRangeAreAnError) {
  Linear<float> layer({.in_features = E, .out_features = 4, .bias = false});
  std::vector<float> values(5 * E);
  layer.parameters([&](const std::string&, Parameter<float> parameter) {
    for (const auto& [begin, end] : {std::pair<Index, Index>{-1, 1}, {0, 5}, {3, 2}, {5, 5}}) {
      EXPECT_THAT(error_of([&, b = begin, e = end] { parameter.assign(b, e, values.data()); }),
                  HasSubstr("of shape [4, 8]"));
      EXPECT_THAT(error_of([&, b = begin, e = end] { parameter.copy_to(b, e, values.data()); }),
                  HasSubstr("of shape [4, 8]"));
    }
  });
}

TEST(Unassigned, LayersOfOnesOwnNeedNotTakeNote) {
  float weight[6] = {};
  Parameter<float> parameter({2, 3}, weight);
  EXPECT_EQ(parameter.unassigned_rows(), 0);
  parameter.assign(1, 2, std::vector<float>{1, 2, 3}.data());
  EXPECT_EQ(weight[5], 3.0f);
}

TEST(Unassigned, DefaultMadeAndMovedFromLayersAreErrors) {
  Tensor<float, 3> out(x.shape());
  Context context;
  EXPECT_THAT(error_of([&] { Linear<float>().forward(context, x, out); }), HasSubstr("Linear"));
  EXPECT_THAT(error_of([&] { Linear<float>()(Tensor<float, 2>({3, 0})); }), HasSubstr("Linear"));
  EXPECT_THAT(error_of([&] { FeedForward<float>().forward(context, x, out); }), HasSubstr("FeedForward"));
  EXPECT_THAT(error_of([&] {
                Embedding<float>().forward(context, Tensor<int, 2>({B, T}), out);
              }),
              HasSubstr("Embedding"));
  EXPECT_THAT(error_of([&] { MultiHeadAttention<float>().forward(context, x, out); }),
              HasSubstr("MultiHeadAttention"));
  EXPECT_THAT(error_of([&] { EncoderBlock<float>().forward(context, x, {}, out); }),
              HasSubstr("EncoderBlock"));
  EXPECT_THAT(error_of([&] { DecoderBlock<float>().forward(context, x, {.memory = x}, out); }),
              HasSubstr("DecoderBlock"));
  EXPECT_THAT(error_of([&] { Encoder<float>().forward(context, x, {}, out); }), HasSubstr("Encoder"));
  EXPECT_THAT(error_of([&] { Decoder<float>().forward(context, x, {.memory = x}, out); }),
              HasSubstr("Decoder"));

  const auto moved_from = [&](auto layer, auto forward) {
    fill_parameters<float>(layer);
    forward(layer);
    auto taken = std::move(layer);
    EXPECT_THAT(error_of([&] { forward(layer); }),
                AnyOf(HasSubstr("was never assigned"), HasSubstr("was moved from")));
    layer.parameters([](const std::string& name, Parameter<float> parameter) {
      if (parameter.rows() == 0) return;
      std::vector<float> row(static_cast<std::size_t>(parameter.row_size()));
      EXPECT_THAT(error_of([&] { parameter.copy_to(0, 1, row.data()); }), HasSubstr("was moved from"))
          << name;
      EXPECT_THAT(error_of([&] { parameter.assign(0, 1, row.data()); }), HasSubstr("was moved from")) << name;
    });
    forward(taken);
    layer = std::move(taken);
    forward(layer);
  };
  moved_from(Linear<float>({.in_features = E, .out_features = E}),
             [&](const auto& layer) { layer.forward(context, x, out); });
  moved_from(FeedForward<float>({.embed_dim = E, .dim_feedforward = 9}),
             [&](const auto& layer) { layer.forward(context, x, out); });
  moved_from(MultiHeadAttention<float>({.embed_dim = E, .num_heads = 2}),
             [&](const auto& layer) { layer.forward(context, x, out); });
  moved_from(MultiHeadAttention<float>({.embed_dim = E, .num_heads = 2, .kdim = E / 2}),
             [&](const auto& layer) { layer.forward(context, x, x.slice(2, 0, E / 2), x, {}, out); });
  moved_from(LayerNorm<float>({.normalized_shape = E}),
             [&](const auto& layer) { layer.forward(context, x, out); });
  moved_from(RMSNorm<float>({.normalized_shape = E}),
             [&](const auto& layer) { layer.forward(context, x, out); });
  for (const WeightType type : {WeightType::float32, WeightType::int8}) {
    moved_from(Embedding<float>({.num_embeddings = 4, .embedding_dim = E, .weights = type}),
               [&](const auto& layer) {
                 layer.forward(context, Tensor<int, 2>({B, T}), out);
               });
    moved_from(Linear<float>({.in_features = E, .out_features = E, .weights = type}),
               [&](const auto& layer) { layer.forward(context, x, out); });
  }
  Rotary<float> rotary({.head_dim = 4});
  const Rotary<float> taken = std::move(rotary);
  Tensor<float, 4> heads({1, 1, 2, 4});
  EXPECT_THAT(error_of([&] { rotary.apply(context, heads, 0); }), HasSubstr("was moved from"));
  taken.apply(context, heads, 0);
}

TEST(Options, AMissingOrNegativeSizeIsNamed) {
  EXPECT_THAT(error_of([] { Linear<float>({.out_features = 4}); }), HasSubstr("Linear: in_features is 0"));
  EXPECT_THAT(error_of([] { Linear<float>({.in_features = 4}); }), HasSubstr("Linear: out_features is 0"));
  EXPECT_THAT(error_of([] { Linear<float>({.in_features = -4, .out_features = 4}); }),
              HasSubstr("Linear: in_features is -4"));
  EXPECT_THAT(error_of([] { FeedForward<float>({.dim_feedforward = 4}); }),
              HasSubstr("FeedForward: embed_dim is 0"));
  EXPECT_THAT(error_of([] { FeedForward<float>({.embed_dim = 4}); }),
              HasSubstr("FeedForward: dim_feedforward is 0"));
  EXPECT_THAT(error_of([] { MultiHeadAttention<float>({.num_heads = 2}); }),
              HasSubstr("MultiHeadAttention: embed_dim is 0"));
  EXPECT_THAT(error_of([] { EncoderBlock<float>({.num_heads = 2}); }), HasSubstr("embed_dim is 0"));
  EXPECT_THAT(error_of([] { Encoder<float>(EncoderOptions{}); }), HasSubstr("embed_dim is 0"));
  EXPECT_THAT(error_of([] { Encoder<float>({.block = {.embed_dim = 4}, .num_layers = -1}); }),
              HasSubstr("num_layers is -1"));
  EXPECT_THAT(error_of([] { Decoder<float>({.block = {.embed_dim = 4}, .num_layers = -1}); }),
              HasSubstr("num_layers is -1"));
}

TEST(Options, ProductsThatOverflowAreAnError) {
  constexpr Index kMax = std::numeric_limits<Index>::max();
  for (const Index huge : {kMax, kMax / 2, kMax / 4, Index{1} << 40})
    for (const Index other : {huge, Index{1} << 25}) {
      EXPECT_THAT(error_of([=] { Linear<float>({.in_features = huge, .out_features = other}); }),
                  HasSubstr("more elements"));
      EXPECT_THAT(error_of([=] { Linear<float>({.in_features = other, .out_features = huge}); }),
                  HasSubstr("more elements"));
      EXPECT_THAT(
          error_of([=] { FeedForward<float>({.embed_dim = other, .dim_feedforward = huge, .gated = true}); }),
          HasSubstr("more elements"));
      EXPECT_THAT(error_of([=] {
                    MultiHeadAttention<float>({.embed_dim = 4, .num_heads = huge, .head_dim = other});
                  }),
                  HasSubstr("more elements"));
    }
}

TEST(Unassigned, NoRowsNeedNoValues) {
  Linear<float> layer({.in_features = E, .out_features = 4});
  fill_parameters<float>(layer);
  EXPECT_TRUE(layer(Tensor<float, 3>({B, 0, E})).empty());
  EXPECT_TRUE(layer(Tensor<float, 3>({0, T, E})).empty());
}

// A stack without layers gives its input back: one that has lost them is none such.
TEST(Unassigned, WhatWasMovedFromIsNoStackOfNoLayers) {
  const auto made = attend_test::filled<float>(
      Decoder<float>({.block = {.embed_dim = 8, .num_heads = 2, .dim_feedforward = 8}, .num_layers = 2}));
  const Tensor<float, 3> x({1, 2, 8}, 1.0f);
  Tensor<float, 3> out(x.shape());
  Context context;
  Decoder<float> from = made;
  const Decoder<float> to = std::move(from);
  EXPECT_THAT(error_of([&] { from.forward(context, x, {.memory = x}, out); }),
              HasSubstr("Decoder: the layer"));
  to.forward(context, x, {.memory = x}, out);
  from = made;
  from.forward(context, x, {.memory = x}, out);
  const Decoder<float> none(
      {.block = {.embed_dim = 8, .num_heads = 2, .dim_feedforward = 8}, .num_layers = 0});
  none.forward(context, x, {}, out);
  EXPECT_TRUE(out == x);
}

}  // namespace
