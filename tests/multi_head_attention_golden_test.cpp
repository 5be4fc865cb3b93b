// MultiHeadAttention against PyTorch (see golden/check.hpp), with its weights and their mean over the heads.

#include <algorithm>

#include <attend/multi_head_attention.hpp>

#include "golden/masks.hpp"
#include "golden/parameters.hpp"
#include "support.hpp"

namespace {
using namespace golden;

template <class T>
class MultiHeadAttentionGolden : public testing::Test {};
TYPED_TEST_SUITE(MultiHeadAttentionGolden, attend_test::Scalars);

TYPED_TEST(MultiHeadAttentionGolden, GivesTheValuesOfPyTorch) {
  using S = TypeParam;
  for_each_case("multi_head_attention", [](const Case& c) {
    const Index B = c.size("B"), Tq = c.size("Tq"), Tk = c.size("Tk"), E = c.size("E"),
                heads = c.size("heads");
    const Index kdim = c.size("kdim", E), vdim = c.size("vdim", E), kv_heads = c.size("kv_heads", heads);
    const bool cross = c.flag("cross"), weighted = results().contains(c.path("weights"));
    attend::MultiHeadAttention<S> layer({.embed_dim = E,
                                         .num_heads = heads,
                                         .num_kv_heads = kv_heads,
                                         .kdim = kdim,
                                         .vdim = vdim,
                                         .bias = c.flag("bias")});
    fill<S>(c, layer);
    const Tensor<S, 3> q = data<S, 3>(c.path("query"), {B, Tq, E});
    const Tensor<S, 3> k = cross ? data<S, 3>(c.path("key"), {B, Tk, kdim}) : q;
    const Tensor<S, 3> v = cross ? data<S, 3>(c.path("value"), {B, Tk, vdim}) : q;
    const Masks masks(c, "", "mask", Tq, Tk);
    const attend::AttentionOptions<S> options{.mask = masks.mask()};
    Tensor<S, 4> weights({B, heads, Tq, Tk});
    Tensor<S, 3> average({B, Tq, Tk});
    const Tensor<S, 3> y = cross ? layer(q, k, v, options) : layer(q, options);
    if (weighted) {
      Tensor<S, 3> again(y.shape());
      layer.forward(attend::default_context(), q, k, v, options, again,
                    {.weights = weights, .average_weights = average});
      EXPECT_TRUE(std::equal(again.span().begin(), again.span().end(), y.span().begin()));
      Tensor<S, 3> average_alone({B, Tq, Tk});
      layer.forward(attend::default_context(), q, k, v, options, again, {.average_weights = average_alone});
      EXPECT_TRUE(std::equal(average.span().begin(), average.span().end(), average_alone.span().begin()));
    }

    Parameters<double> parameters(c);
    const auto plain = parameters.attention("", E, heads, c.flag("bias"), kdim, vdim, kv_heads);
    const auto reference = ref::multi_head_attention<double>(widened(q), widened(k), widened(v), plain,
                                                             {.mask = masks.function()});
    const double width = static_cast<double>(E + std::max(kdim, vdim));
    check_values<S>(c, y.span(), reference.output.span(),
                    of_greatest(reference.output.span(), kComposed * width));
    if (!weighted) return;
    const auto bound = of_greatest(reference.weights.span(), kComposed * width);
    check_values<S>(c, weights.span(), reference.weights.span(), bound, "weights");
    check_near<S>(c, average.span(), golden_values(c, "average_weights"),
                  [&](std::size_t i) { return kEps<S> * bound(i); });
  });
}

}  // namespace
