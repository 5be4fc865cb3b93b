// After its first call, forward of every layer allocates nothing, and workspace_bytes is exact. Counted in
// malloc and its kin, which operator new calls.

#include <cstdlib>
#include <string>

#include <attend/attend.hpp>
#include <attend/quant.hpp>

#include "counted_malloc.hpp"
#include "support.hpp"

namespace {
using namespace attend;
using attend_test::allocations;
using attend_test::filled;

/// f(context) twice: the second time must not allocate, and must need the bytes that were foretold.
template <class F>
void check_steady(const char* what, F&& f) {
  for (int threads : {1, 2}) {
    SCOPED_TRACE(std::string(what) + " with threads: " + std::to_string(threads));
    const std::size_t foretold = Context::measure(threads, f);
    Context context(threads);
    f(context);
    EXPECT_EQ(context.workspace().peak_bytes(), foretold);
    const long before = allocations;
    f(context);
    f(context);
    EXPECT_EQ(allocations - before, 0);
  }
}

TEST(Allocations, AreCounted) {
  if (!ATTEND_TEST_COUNTS) GTEST_SKIP() << "malloc is not ours";
  const long before = allocations;
  int* volatile number = new int;
  delete number;
  void* volatile block = std::malloc(1);
  std::free(block);
  EXPECT_GE(allocations - before, 2);
}

TEST(Forward, AllocatesNothingAfterTheFirstCall) {
  // large enough for two threads, and small
  for (const Index T : {Index{7}, Index{300}}) {
    const Tensor<float, 3> x({2, T, 48}, 0.5f), memory({2, T + 3, 48}, 0.25f);
    Tensor<float, 3> y(x.shape());
    const auto linear = filled<float>(Linear<float>({.in_features = 48, .out_features = 48}));
    check_steady("Linear",
                 [&](Context& c) { linear.forward(c, x, y.view(), {.activation = Activation::gelu}); });
    for (const WeightType type : {WeightType::float16, WeightType::int8, WeightType::int4}) {
      const auto reduced =
          filled<float>(Linear<float>({.in_features = 48, .out_features = 48, .weights = type}));
      check_steady(to_string(type), [&](Context& c) { reduced.forward(c, x, y.view()); });
    }
    const auto norm = filled<float>(LayerNorm<float>({.normalized_shape = 48}));
    check_steady("LayerNorm", [&](Context& c) { norm.forward(c, x, y.view()); });
    const auto feed_forward = filled<float>(FeedForward<float>({.embed_dim = 48, .dim_feedforward = 200}));
    check_steady("FeedForward", [&](Context& c) { feed_forward.forward(c, x, y.view()); });
    const auto gated = filled<float>(FeedForward<float>({48, 200, Activation::silu, true}));
    check_steady("gated FeedForward", [&](Context& c) { gated.forward(c, x, y.view()); });
    const auto embedding = filled<float>(Embedding<float>({.num_embeddings = 9, .embedding_dim = 48}));
    const Tensor<std::int32_t, 2> ids({2, T}, 3);
    check_steady("Embedding", [&](Context& c) { embedding.forward(c, const_view(ids), y.view()); });

    Tensor<float, 4> q({2, 4, T, 12}, 0.1f), k({2, 2, T + 3, 12}, 0.2f), v({2, 2, T + 3, 16}, 0.3f),
        out({2, 4, T, 16});
    Tensor<float, 4> weights({2, 4, T, T + 3});
    for (const Mask& mask : {Mask(), Mask(causal(Corner::bottom_right)),
                             Mask([](Index, Index, Index i, Index j) { return (i + j) % 3 != 0; })})
      check_steady("attention", [&](Context& c) {
        scaled_dot_product_attention<float>(c, q, k, v, {.mask = mask}, out.view(), {.weights = weights});
      });
    const Tensor<float, 4> one({2, 4, 1, 12}, 0.1f);
    Tensor<float, 4> one_out({2, 4, 1, 12});
    KVCache<float> cache({.batch = 2, .num_kv_heads = 2, .head_dim = 12});
    cache.reserve(T + 3 + 20);
    cache.append(k, k);
    check_steady("decoding", [&](Context& c) {
      if (!c.measuring()) cache.append(k.slice(2, 0, 1), k.slice(2, 0, 1));
      scaled_dot_product_attention<float>(c, one, cache, {.mask = causal(Corner::bottom_right)},
                                          one_out.view());
    });

    for (bool norm_first : {false, true}) {
      const auto attention =
          filled<float>(MultiHeadAttention<float>({.embed_dim = 48, .num_heads = 4, .num_kv_heads = 2}));
      check_steady("MultiHeadAttention",
                   [&](Context& c) { attention.forward(c, x, {.mask = causal()}, y.view()); });
      check_steady("cross attention",
                   [&](Context& c) { attention.forward(c, x, memory, memory, {}, y.view()); });
      const auto encoder = filled<float>(Encoder<float>(
          {.block = {.embed_dim = 48, .num_heads = 4, .dim_feedforward = 100, .norm_first = norm_first},
           .num_layers = 2,
           .final_norm = true}));
      check_steady("Encoder", [&](Context& c) { encoder.forward(c, x, {}, y.view()); });
      const auto decoder = filled<float>(Decoder<float>(
          {.block = {.embed_dim = 48, .num_heads = 4, .dim_feedforward = 100, .norm_first = norm_first},
           .num_layers = 2}));
      check_steady("Decoder", [&](Context& c) {
        decoder.forward(c, x, {.self = {.mask = causal()}, .memory = memory}, y.view());
      });
    }
  }
}

TEST(WorkspaceBytes, NeedsNoData) {
  const auto encoder =
      filled<float>(Encoder<float>({.block = {.embed_dim = 32, .num_heads = 4, .dim_feedforward = 64}}));
  const TensorView<float, 3> shape_only(nullptr, {1, 40, 32});
  const std::size_t bytes = workspace_bytes(encoder, 1, shape_only, StackInputs<float>{}, shape_only);
  Context context;
  const Tensor<float, 3> x({1, 40, 32});
  Tensor<float, 3> y(x.shape());
  encoder.forward(context, x, {}, y.view());
  EXPECT_EQ(bytes, context.workspace().peak_bytes());
}

}  // namespace
