// Every layer reads and writes its rows where they lie: broadcast, strided, backwards, with an offset; as it
// does those of contiguous tensors, bit by bit, and touches nothing between them.
#include <functional>
#include <map>
#include <memory>

#include <attend/attend.hpp>

#include "each_isa.hpp"
#include "support.hpp"

namespace {

using namespace attend;
using attend_test::error_of;
using attend_test::fill_parameters;
using attend_test::on_each_isa;
using attend_test::random_tensor;
using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;

constexpr Index B = 2, T = 5, E = 32, kWide = 48;

// What a user writes compiles, for tensors and views, mutable and const, of any rank, and forward is no
// template.
template <class Layer>
concept TakesRows = requires(const Layer& layer, Context& context, Tensor<float, 2>& tensor,
                             const Tensor<float, 3>& constant, Tensor<float, 3>& out,
                             TensorView<float, 1> view, TensorView<const float, 4> deep,
                             TensorView<float, 4> deep_out) {
  layer.forward(context, tensor, tensor);
  layer.forward(context, constant, out);
  layer.forward(context, view, view);
  layer.forward(context, deep, deep_out);
  layer(tensor);
  layer(constant);
  layer(view);
};
static_assert(TakesRows<Linear<float>> && TakesRows<FeedForward<float>> && TakesRows<Norm<float>> &&
              TakesRows<RMSNorm<float>>);
static_assert(!TakesRows<Linear<double>>);
[[maybe_unused]] void (Linear<float>::*const kNoTemplate)(Context&, const Rows<const float>&,
                                                          const Rows<float>&, const Epilogue<float>&) const =
    &Linear<float>::forward;

template <class S>
using Run = std::function<void(Context&, TensorView<const S, 3>, TensorView<S, 3>)>;
template <class S>
struct Case {
  Index width;  // of the output
  Run<S> run;
};

template <class S, class Layer>
std::shared_ptr<Layer> filled(Layer layer) {
  fill_parameters<S>(layer, 3, 0.3);
  return std::make_shared<Layer>(std::move(layer));
}

/// A case of each layer, with or without a residual of the shape of the output.
template <class S>
std::map<std::string, Case<S>> cases() {
  std::map<std::string, Case<S>> all;
  const auto add = [&](const std::string& name, Index width, Run<S> run) {
    all[name] = {width, std::move(run)};
  };
  const auto linear = filled<S>(Linear<S>({.in_features = E, .out_features = kWide}));
  add("Linear", kWide, [=](Context& c, auto x, auto out) { linear->forward(c, x, out); });
  const auto square = filled<S>(Linear<S>({.in_features = E, .out_features = E}));
  add("Linear with a residual", E, [=](Context& c, auto x, auto out) {
    square->forward(c, x, out, {.activation = Activation::gelu, .residual = x});
  });
  for (const bool gated : {false, true}) {
    const auto layer = filled<S>(FeedForward<S>(
        {.embed_dim = E, .dim_feedforward = 40, .activation = Activation::silu, .gated = gated}));
    add(gated ? "FeedForward, gated" : "FeedForward", E,
        [=](Context& c, auto x, auto out) { layer->forward(c, x, out); });
  }
  const auto layer_norm = filled<S>(LayerNorm<S>({.normalized_shape = E}));
  add("LayerNorm", E, [=](Context& c, auto x, auto out) { layer_norm->forward(c, x, out); });
  const auto rms_norm = filled<S>(RMSNorm<S>({.normalized_shape = E}));
  add("RMSNorm", E, [=](Context& c, auto x, auto out) { rms_norm->forward(c, x, out); });
  add("activate", E, [](Context& c, auto x, auto out) { activate(c, Activation::tanh, x, out); });
  add("softmax", E, [](Context& c, auto x, auto out) { softmax(c, x, -1, out); });
  add("log_softmax of axis 1", E, [](Context& c, auto x, auto out) { log_softmax(c, x, 1, out); });
  const auto attention = filled<S>(MultiHeadAttention<S>({.embed_dim = E, .num_heads = 4}));
  add("MultiHeadAttention", E,
      [=](Context& c, auto x, auto out) { attention->forward(c, x, {.mask = causal()}, out); });
  add("MultiHeadAttention, cross", E,
      [=](Context& c, auto x, auto out) { attention->forward(c, x, x.slice(0, 0, B), x, {}, out); });
  add("MultiHeadAttention with a cache", E, [=](Context& c, auto x, auto out) {
    KVCache<S> cache({.batch = B, .num_kv_heads = 4, .head_dim = E / 4});
    attention->forward(c, x, cache, {.mask = causal(Corner::bottom_right)}, out);
  });
  add("scaled_dot_product_attention", E, [](Context& c, auto x, auto out) {
    scaled_dot_product_attention<S>(c, heads(x, 4), heads(x, 4), heads(x, 4), {}, heads(out, 4));
  });
  for (const bool norm_first : {false, true}) {
    const std::string order = norm_first ? ", norm first" : "";
    const auto encoder = filled<S>(
        EncoderBlock<S>({.embed_dim = E, .num_heads = 4, .dim_feedforward = 40, .norm_first = norm_first}));
    add("EncoderBlock" + order, E, [=](Context& c, auto x, auto out) { encoder->forward(c, x, {}, out); });
    const auto decoder = filled<S>(
        DecoderBlock<S>({.embed_dim = E, .num_heads = 4, .dim_feedforward = 40, .norm_first = norm_first}));
    add("DecoderBlock" + order, E,
        [=](Context& c, auto x, auto out) { decoder->forward(c, x, {.memory = x}, out); });
  }
  const auto encoder = filled<S>(Encoder<S>({.block = {.embed_dim = E, .num_heads = 4, .dim_feedforward = 40},
                                             .num_layers = 2,
                                             .final_norm = true}));
  add("Encoder", E, [=](Context& c, auto x, auto out) { encoder->forward(c, x, {}, out); });
  const auto decoder = filled<S>(Decoder<S>({.block = {.embed_dim = E, .num_heads = 4, .dim_feedforward = 40},
                                             .num_layers = 2,
                                             .final_norm = true}));
  add("Decoder", E, [=](Context& c, auto x, auto out) { decoder->forward(c, x, {.memory = x}, out); });
  const auto embedding = filled<S>(Embedding<S>({.num_embeddings = 9, .embedding_dim = E}));
  add("Embedding", E, [=](Context& c, TensorView<const S, 3>, TensorView<S, 3> out) {
    embedding->forward(c, Tensor<std::int32_t, 2>({B, T}, 7), out);
  });
  return all;
}

template <class S>
class RowLayers : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(RowLayers, Scalars);

template <class S>
void expect_same(const Tensor<S, 3>& expected, TensorView<const S, 3> got) {
  const Tensor<S, 3> values(got);
  for (Index i = 0; i < expected.numel(); ++i) {
    if constexpr (std::is_same_v<S, float>)
      ASSERT_EQ(expected.data()[i], values.data()[i]) << "at " << i;
    else
      ASSERT_NEAR(expected.data()[i], values.data()[i], 1e-12) << "at " << i;
  }
}

TYPED_TEST(RowLayers, ReadViewsAsTheirCopies) {
  using S = TypeParam;
  const Tensor<S, 1> memory = random_tensor<S, 1>({2000}, 5);
  struct Layout {
    Index offset;
    Shape<3> strides;
  };
  const Layout layouts[] = {{0, {T * E, E, 1}}, {3, {T * 50, 50, 1}},      {7, {0, 0, 1}},
                            {1, {T * 3, 3, 1}}, {1900, {-T * 64, -64, 1}}, {1000, {-T, -1, 1}}};
  for (const auto& each : cases<S>())
    for (const Layout& layout : layouts) {
      const std::string& name = each.first;
      const Case<S>& c = each.second;
      SCOPED_TRACE(name + " of strides " + to_string(layout.strides));
      const TensorView<const S, 3> x(memory.data() + layout.offset, {B, T, E}, layout.strides);
      const Tensor<S, 3> copied(x);
      Tensor<S, 3> expected({B, T, c.width}), out({B, T, c.width});
      Context context;
      c.run(context, copied, expected);
      c.run(context, x, out);
      expect_same<S>(expected, out);
    }
}

TYPED_TEST(RowLayers, WriteTheirRowsAndNothingBetweenThem) {
  using S = TypeParam;
  const Tensor<S, 3> x = random_tensor<S, 3>({B, T, E}, 6);
  for (const auto& each : cases<S>())
    for (const Index stride : {Index{53}, Index{-53}}) {
      const std::string& name = each.first;
      const Case<S>& c = each.second;
      SCOPED_TRACE(name + " to rows " + std::to_string(stride) + " apart");
      Tensor<S, 3> expected({B, T, c.width});
      Tensor<S, 1> memory({700}, S(77));
      const TensorView<S, 3> out(memory.data() + (stride > 0 ? 5 : 600), {B, T, c.width},
                                 {T * stride, stride, 1});
      Context context;
      c.run(context, x, expected);
      c.run(context, x, out);
      expect_same<S>(expected, out);
      out.fill(S(77));
      for (const S& element : memory.span()) ASSERT_EQ(element, S(77));
    }
}

/// Layers that take any strides are asked for none of this.
bool takes_any_strides(const std::string& name) {
  return name.find("softmax") != std::string::npos || name.find("scaled_dot") == 0;
}

TYPED_TEST(RowLayers, RefuseRowsThatAreNotEvenlySpaced) {
  using S = TypeParam;
  const Tensor<S, 3> time_major = random_tensor<S, 3>({T, B, E}, 6), x = random_tensor<S, 3>({B, T, E}, 7);
  for (const auto& each : cases<S>()) {
    const std::string& name = each.first;
    const Case<S>& c = each.second;
    if (takes_any_strides(name)) continue;
    SCOPED_TRACE(name);
    Context context;
    Tensor<S, 3> out({B, T, c.width}), steps({B, 2 * T, c.width});
    const auto says_how_to_copy = AllOf(HasSubstr("evenly spaced"), HasSubstr("attend::copy"),
                                        HasSubstr(name.substr(0, name.find_first_of(", "))));
    if (name != "Embedding") {
      EXPECT_THAT(error_of([&] { c.run(context, time_major.view().transpose(0, 1), out); }),
                  says_how_to_copy);
      EXPECT_THAT(error_of([&] {
                    c.run(context, TensorView<const S, 3>(x.data(), {B, T, E}, {E, 0, 1}), out);
                  }),
                  says_how_to_copy);
      EXPECT_THAT(error_of([&] {
                    c.run(context, TensorView<const S, 3>(x.data(), {B, T, E}, {0, E, 1}), out);
                  }),
                  says_how_to_copy);
      EXPECT_THAT(error_of([&] {
                    c.run(context, TensorView<const S, 3>(x.data(), {B, T, E}, {T * E / 2, E / 2, 2}), out);
                  }),
                  HasSubstr("contiguous"));
    }
    EXPECT_THAT(error_of([&] { c.run(context, x, steps.slice(1, 1, T + 1)); }), says_how_to_copy);
  }
}

TYPED_TEST(RowLayers, RefuseOutputsWhoseRowsOverlap) {
  using S = TypeParam;
  const Tensor<S, 3> x = random_tensor<S, 3>({B, T, E}, 6);
  for (const auto& each : cases<S>())
    for (const Index stride : {Index{0}, Index{1}, each.second.width - 1, 1 - each.second.width}) {
      const std::string& name = each.first;
      const Case<S>& c = each.second;
      SCOPED_TRACE(name + " to rows " + std::to_string(stride) + " apart");
      Tensor<S, 1> memory({1000}, S(77));
      const TensorView<S, 3> out(memory.data() + 500, {B, T, c.width}, {T * stride, stride, 1});
      Context context;
      EXPECT_THAT(error_of([&] { c.run(context, x, out); }), HasSubstr("overlap each other"));
      for (const S& element : memory.span()) ASSERT_EQ(element, S(77));
    }
}

/// The layers whose documentation says that `out` may be x.
bool works_in_place(const std::string& name) {
  for (const char* some : {"LayerNorm", "RMSNorm", "activate", "softmax", "log_softmax of axis 1",
                           "EncoderBlock", "EncoderBlock, norm first", "Encoder"})
    if (name == some) return true;
  return false;
}

TYPED_TEST(RowLayers, WorkInPlaceOrRefuseIt) {
  using S = TypeParam;
  for (const auto& each : cases<S>()) {
    const std::string& name = each.first;
    const Case<S>& c = each.second;
    if (c.width != E || name == "Embedding") continue;
    SCOPED_TRACE(name);
    Tensor<S, 3> x = random_tensor<S, 3>({B, T, E}, 6), expected(x.shape());
    const Tensor<S, 3> before = x;
    Context context;
    c.run(context, before, expected);
    if (works_in_place(name)) {
      c.run(context, x, x);
      expect_same<S>(expected, x);
    } else {
      EXPECT_THAT(error_of([&] { c.run(context, x, x); }), HasSubstr("overlap"));
      expect_same<S>(before, x);
    }
  }
}

TYPED_TEST(RowLayers, RefuseAPartialOverlapAndTakeColumnsOfOneBuffer) {
  using S = TypeParam;
  for (const auto& each : cases<S>()) {
    const std::string& name = each.first;
    const Case<S>& c = each.second;
    if (name == "Embedding") continue;
    SCOPED_TRACE(name);
    Context context;
    Tensor<S, 3> memory = random_tensor<S, 3>({B + 1, T, 100}, 6);
    const Tensor<S, 3> before = memory;
    const auto x_of = [](auto& buffer) {
      return TensorView<const S, 3>(buffer.data(), {B, T, E}, {T * 100, 100, 1});
    };
    const auto out_at = [&](Index offset) {
      return TensorView<S, 3>(memory.data() + offset, {B, T, c.width}, {T * 100, 100, 1});
    };
    for (const Index offset : {Index{100}, Index{1}, E - 1, 100 - c.width + 1, 100 * T})
      EXPECT_THAT(error_of([&] { c.run(context, x_of(memory), out_at(offset)); }), HasSubstr("overlap"))
          << offset;
    expect_same<S>(before, memory);
    Tensor<S, 3> expected({B, T, c.width});
    c.run(context, x_of(before), expected);
    c.run(context, x_of(memory), out_at(E));
    expect_same<S>(expected, out_at(E));
  }
}

// More of k than is taken at a time, of a width whose last panel is cut, with a residual: the chains of rows
// that go in parts are those of one row, which goes as a whole.
TEST(Linear, ACutPanelGoesOnWithItsChains) {
  const Linear<float> linear = [] {
    Linear<float> layer({.in_features = 2100, .out_features = 42});
    fill_parameters<float>(layer, 3);
    return layer;
  }();
  const Tensor<float, 2> x = random_tensor<float, 2>({13, 2100}, 4),
                         residual = random_tensor<float, 2>({13, 42}, 5);
  on_each_isa([&] {
    Context context;
    Tensor<float, 2> together({13, 42}), alone({13, 42});
    linear.forward(context, x, together, {.residual = residual});
    for (Index i = 0; i < 13; ++i)
      linear.forward(context, x.slice(0, i, i + 1), alone.slice(0, i, i + 1),
                     {.residual = residual.slice(0, i, i + 1)});
    EXPECT_TRUE(together == alone);
  });
}

}  // namespace
