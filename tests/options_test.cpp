// Options that contradict each other, or have no effect, are errors; what no option says is none.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <attend/attend.hpp>
#include <attend/causal_block.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;

struct Contradiction {
  std::string error;  // its text
  std::function<void()> run;
};
void check(const std::vector<Contradiction>& all) {
  for (const Contradiction& c : all) EXPECT_EQ(error_of(c.run), c.error);
}

Rotary<float> rotary(RopeType type, const std::function<void(RotaryOptions&)>& change) {
  RotaryOptions o{.head_dim = 8, .rope_type = type};
  change(o);
  return Rotary<float>(o);
}

TEST(LayerOptions, ThatContradictEachOtherAreErrors) {
  using Mha = MultiHeadAttention<float>;
  check({
      {"RMSNorm: a bias, which it has none of",
       [] { Norm<float>({.size = 4, .kind = NormKind::rms, .bias = true}); }},
      {"LayerNorm: a bias without weight (elementwise_affine)",
       [] { Norm<float>({.size = 4, .weight = false, .bias = true}); }},
      {"LayerNorm: a bias without weight (elementwise_affine)",
       [] { LayerNorm<float>({.normalized_shape = 4, .elementwise_affine = false, .bias = true}); }},
      {"RMSNorm: a mean, which it does not compute",
       [] {
         Tensor<float, 2> x({3, 4});
         Tensor<float, 1> mean({3});
         RMSNorm<float>({.normalized_shape = 4}).forward(default_context(), x.view(), x.view(), mean.view());
       }},
      {"MultiHeadAttention: embed_dim 10 is not divisible by num_heads 4",
       [] { Mha({.embed_dim = 10, .num_heads = 4}); }},
      {"MultiHeadAttention: num_heads 4 is not a multiple of num_kv_heads 3",
       [] { Mha({.embed_dim = 8, .num_heads = 4, .num_kv_heads = 3}); }},
      {"MultiHeadAttention: num_heads is 0, expected 1 or more",
       [] { Mha({.embed_dim = 8, .num_heads = 0}); }},
      {"MultiHeadAttention: head_dim is -2, expected 0 or more",
       [] { Mha({.embed_dim = 8, .num_heads = 4, .head_dim = -2}); }},
      {"MultiHeadAttention: rotary positions of head_dim 8, expected 4",
       [] {
         Mha({.embed_dim = 8, .num_heads = 2})
             .set_rotary(std::make_shared<const Rotary<float>>(RotaryOptions{.head_dim = 8}));
       }},
      {"Rotary: rotary_dim 6, but partial_rotary_factor says 4",
       [] { rotary(RopeType::none, [](auto& o) { o.rotary_dim = 6, o.partial_rotary_factor = 0.5; }); }},
      {"Rotary: a factor, but rope_type is none",
       [] { rotary(RopeType::none, [](auto& o) { o.factor = 2; }); }},
      {"Rotary: attention_factor is of yarn and longrope",
       [] { rotary(RopeType::linear, [](auto& o) { o.factor = 2, o.attention_factor = 1.5; }); }},
      {"Rotary: beta_fast, beta_slow, mscale, mscale_all_dim and truncate are of yarn",
       [] { rotary(RopeType::dynamic, [](auto& o) { o.factor = 2, o.beta_slow = 2; }); }},
      {"Rotary: beta_fast, beta_slow, mscale, mscale_all_dim and truncate are of yarn",
       [] { rotary(RopeType::none, [](auto& o) { o.truncate = false; }); }},
      {"Rotary: low_freq_factor and high_freq_factor are of llama3",
       [] { rotary(RopeType::yarn, [](auto& o) { o.factor = 2, o.high_freq_factor = 8; }); }},
      {"Rotary: low_freq_factor is not between 0 and high_freq_factor",
       [] { rotary(RopeType::llama3, [](auto& o) { o.factor = 2, o.low_freq_factor = 4; }); }},
      {"Rotary: short_factor and long_factor are of longrope",
       [] { rotary(RopeType::none, [](auto& o) {
              o.long_factor = {1, 1, 1, 1};
            }); }},
  });
}

TEST(CrossAttentionCache, TakesOnlyWhatItsLayerIsMadeFor) {
  const Tensor<float, 3> memory({1, 3, 4});
  Tensor<float, 3> out({1, 3, 4});
  KVCache<float> cache({.num_kv_heads = 2, .head_dim = 2});
  const auto append = [&](const MultiHeadAttention<float>& layer) {
    layer.append_memory(default_context(), memory, cache);
  };
  const auto cross = [&](const MultiHeadAttention<float>& layer) {
    layer.forward_cross(default_context(), memory, cache, {}, out.view());
  };
  const std::string extra =
      "MultiHeadAttention: a cache together with bias_kv or add_zero_attn is not supported";
  const MultiHeadAttention<float> bias_kv({.embed_dim = 4, .num_heads = 2, .bias_kv = true});
  const MultiHeadAttention<float> zero({.embed_dim = 4, .num_heads = 2, .add_zero_attn = true});
  MultiHeadAttention<float> rotated({.embed_dim = 4, .num_heads = 2});
  rotated.set_rotary(std::make_shared<const Rotary<float>>(RotaryOptions{.head_dim = 2}));
  check({
      {extra, [&] { append(bias_kv); }},
      {extra, [&] { append(zero); }},
      {extra, [&] { cross(bias_kv); }},
      {extra, [&] { cross(zero); }},
      {"MultiHeadAttention: rotary positions are of self-attention", [&] { append(rotated); }},
      {"MultiHeadAttention: rotary positions are of self-attention", [&] { cross(rotated); }},
      {"MultiHeadAttention: keys and values of one memory, but kdim is 4 and vdim 6",
       [&] { append(MultiHeadAttention<float>({.embed_dim = 4, .num_heads = 2, .vdim = 6})); }},
  });
}

template <class T>
class AttentionOptionsOf : public testing::Test {};
TYPED_TEST_SUITE(AttentionOptionsOf, attend_test::Scalars);

TYPED_TEST(AttentionOptionsOf, ThatContradictEachOtherAreErrors) {
  using S = TypeParam;
  const Tensor<S, 4> q({1, 2, 3, 4}), k({1, 2, 5, 4});
  Tensor<S, 4> square({1, 2, 3, 5}), out({1, 2, 3, 4});
  Tensor<S, 3> average({1, 3, 5});
  const std::vector<Index> offsets{0, 3}, key_offsets{0, 5}, lengths{4};
  const std::vector<S> sinks(3);
  const auto attend_to = [&](const AttentionOptions<S>& o, const AttentionOutputs<S>& outputs = {}) {
    scaled_dot_product_attention<S>(default_context(), q.view(), k.view(), k.view(), o, out.view(), outputs);
  };
  KVCache<S> cache({.num_kv_heads = 2, .head_dim = 4});
  cache.append(k.view(), k.view());
  const auto attend_to_cache = [&](const AttentionOptions<S>& o) {
    scaled_dot_product_attention<S>(default_context(), q.view(), cache, o, out.view());
  };
  const auto look = [&](const AttentionOptions<S>& o, const Introspection<S>& wanted) {
    introspect<S>(default_context(), q.view(), k.view(), o, wanted);
  };
  Tensor<Index, 4> top({1, 2, 3, 2});
  const std::vector<Index> rows{1}, heads{0, 2};
  check({
      {"scaled_dot_product_attention: a scores_stage, but no scores are asked for",
       [&] { attend_to({}, {.scores_stage = ScoreStage::scaled}); }},
      {"scaled_dot_product_attention: average_weights are MultiHeadAttention's",
       [&] { attend_to({}, {.average_weights = average.view()}); }},
      {"scaled_dot_product_attention: softcap is -1.000000", [&] { attend_to({.softcap = -1}); }},
      {"scaled_dot_product_attention (sinks): expected [2], got [3]", [&] { attend_to({.sinks = sinks}); }},
      {"scaled_dot_product_attention (key_offsets): expected [2], got [0]",
       [&] { attend_to({.query_offsets = offsets}); }},
      {"scaled_dot_product_attention: key_lengths together with a cache or offsets, which have their own",
       [&] { attend_to({.key_lengths = lengths, .query_offsets = offsets, .key_offsets = key_offsets}); }},
      {"scaled_dot_product_attention: key_lengths together with a cache or offsets, which have their own",
       [&] { attend_to_cache({.key_lengths = lengths}); }},
      {"scaled_dot_product_attention: offsets together with a cache, which has lengths of its own",
       [&] { attend_to_cache({.query_offsets = offsets, .key_offsets = key_offsets}); }},
      {"scaled_dot_product_attention: weights of a ragged batch are not given out",
       [&] {
         attend_to({.query_offsets = offsets, .key_offsets = key_offsets}, {.weights = square.view()});
       }},
      {"introspection: one of top_keys and top_weights without the other",
       [&] { look({}, {.top_keys = top.view()}); }},
      {"introspection: one of rows and row_weights without the other", [&] { look({}, {.rows = rows}); }},
      {"introspection: head 2 is not in [0, 2)", [&] { look({}, {.heads = heads}); }},
  });
  EXPECT_NO_THROW(attend_to({}));
  EXPECT_NO_THROW(attend_to_cache({}));
  EXPECT_NO_THROW(look({}, {}));
}

TEST(LayerOptions, DefaultsAreNoError) {
  EXPECT_NO_THROW(Norm<float>({.size = 4}));
  EXPECT_NO_THROW(Norm<float>({.size = 4, .kind = NormKind::rms}));
  EXPECT_NO_THROW(Norm<float>({.size = 4, .weight = false}));
  EXPECT_NO_THROW(LayerNorm<float>({.normalized_shape = 4}));
  EXPECT_NO_THROW(LayerNorm<float>({.normalized_shape = 4, .elementwise_affine = false}));
  EXPECT_NO_THROW(RMSNorm<float>({.normalized_shape = 4}));
  EXPECT_NO_THROW(MultiHeadAttention<float>({.embed_dim = 4}));
  EXPECT_NO_THROW(FeedForward<float>({.embed_dim = 4, .dim_feedforward = 4}));
  EXPECT_NO_THROW(CausalBlock<float>({.embed_dim = 4, .dim_feedforward = 4}));
  EXPECT_NO_THROW(Rotary<float>({.head_dim = 4}));
  EXPECT_NO_THROW(RelativeBias<float>(RelativeBiasOptions{}));
  EXPECT_NO_THROW(Embedding<float>({.num_embeddings = 4, .embedding_dim = 4}));
  EXPECT_NO_THROW(KVCache<float>(KVCacheOptions{}));
  for (NormKind kind : {NormKind::layer, NormKind::rms}) {
    // A block's `bias` speaks of its norms where they may have one: 2 weights, and of a LayerNorm 2 biases.
    EncoderBlock<float> block({.embed_dim = 4, .norm = kind});
    Index names = 0, biases = 0;
    block.parameters([&](const std::string& name, const Parameter<float>&) {
      names += name.starts_with("norm");
      biases += name.starts_with("norm") && name.ends_with(".bias");
    });
    EXPECT_EQ(biases, (kind == NormKind::layer ? 2 : 0));
    EXPECT_EQ(names, 2 + biases);
    EXPECT_NO_THROW(Encoder<float>({.block = {.embed_dim = 4, .norm = kind}, .final_norm = true}));
    EXPECT_NO_THROW(Decoder<float>({.block = {.embed_dim = 4, .norm = kind}, .final_norm = true}));
  }
}

}  // namespace
