// Blocks against a plain composition of their layers, for each kind of residual; what attention layers keep
// by value against the same given with each call; and blocks with a cache, token by token.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <attend/attend.hpp>
#include <attend/causal_block.hpp>
#include <attend/quant.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using namespace attend_test;
using testing::HasSubstr;

template <class A, class B>
double distance(const A& a, const B& b) {
  const Tensor<typename A::Scalar, A::rank> x(const_view(a)), y(const_view(b));
  EXPECT_EQ(x.shape(), y.shape());
  double most = 0;
  for (std::size_t i = 0; i < x.span().size(); ++i)
    most = std::max(most, static_cast<double>(std::abs(x.span()[i] - y.span()[i])));
  return most;
}
template <class T>
constexpr double kNear = std::is_same_v<T, double> ? 1e-12 : 0;  // float's bits are promised

// ---- residuals

using X = Tensor<double, 3>;
X plus(const X& a, const X& b, double scale) {
  X sum = a;
  for (std::size_t i = 0; i < sum.span().size(); ++i) sum.span()[i] += scale * b.span()[i];
  return sum;
}

/// The block's layers, called one by one as the paper that its residual comes from does.
X compose(const Block<double>& block, const X& x, const BlockInputs<double>& in) {
  const BlockOptions& o = block.options();
  Values values = values_of(block);
  const auto norm = [&](const char* name, const X& y) {
    return with_values(Norm<double>(o.norm), values, name + std::string("."))(y);
  };
  const auto self = with_values(MultiHeadAttention<double>(o.self_attn), values, "self_attn.");
  const auto feed_forward = with_values(FeedForward<double>(o.feed_forward), values, "");
  std::optional<MultiHeadAttention<double>> cross;
  if (o.multihead_attn)
    cross = with_values(MultiHeadAttention<double>(*o.multihead_attn), values, "multihead_attn.");
  const auto attend_memory = [&](const X& y) { return (*cross)(y, in.memory, in.memory, in.cross); };
  const char* last = cross ? "norm3" : "norm2";
  X y = x;
  const auto add = [&](const X& a, const X& b) { return plus(a, b, o.residual_scale); };
  switch (o.residual) {
    case Residual::post:
      y = norm("norm1", add(y, self(y, in.self)));
      if (cross) y = norm("norm2", add(y, attend_memory(y)));
      y = norm(last, add(y, feed_forward(y)));
      break;
    case Residual::pre:
      y = add(y, self(o.first_norm ? norm("norm1", y) : y, in.self));
      if (cross) y = add(y, attend_memory(norm("norm2", y)));
      y = add(y, feed_forward(norm(last, y)));
      break;
    case Residual::parallel:
      y = add(add(y, self(o.first_norm ? norm("norm1", y) : y, in.self)), feed_forward(norm(last, y)));
      break;
    case Residual::sandwich:
      y = add(y, norm("post_norm1", self(o.first_norm ? norm("norm1", y) : y, in.self)));
      if (cross) y = add(y, norm("post_norm2", attend_memory(norm("norm2", y))));
      y = add(y, norm((std::string("post_") + last).c_str(), feed_forward(norm(last, y))));
      break;
    case Residual::inner:
      y = add(y, norm("norm1", self(y, in.self)));
      if (cross) y = add(y, norm("norm2", attend_memory(y)));
      y = add(y, norm(last, feed_forward(y)));
      break;
  }
  EXPECT_TRUE(values.empty()) << "a parameter that no layer takes: " << values.begin()->first;
  return y;
}

BlockOptions options_of(Residual residual, bool cross, NormKind norm, bool gated) {
  BlockOptions o{.self_attn = {.embed_dim = 24, .num_heads = 4, .num_kv_heads = 2},
                 .feed_forward = {24, 40, Activation::gelu, gated},
                 .norm = {.size = 24, .kind = norm},
                 .residual = residual};
  if (cross) o.multihead_attn = {.embed_dim = 24, .num_heads = 3, .kdim = 16, .vdim = 16};
  return o;
}

TEST(Blocks, EachResidualIsAPlainCompositionOfLayers) {
  const X x = normal_tensor<double, 3>({2, 9, 24}, 1), memory = normal_tensor<double, 3>({2, 7, 16}, 2);
  const std::vector<Index> lengths{7, 3};
  for (const Residual residual :
       {Residual::post, Residual::pre, Residual::parallel, Residual::sandwich, Residual::inner})
    for (const bool cross : {false, true})
      for (const bool first_norm : {true, false})
        for (const NormKind kind : {NormKind::layer, NormKind::rms}) {
          if (residual == Residual::parallel && cross) continue;
          if ((residual == Residual::post || residual == Residual::inner) && !first_norm) continue;
          SCOPED_TRACE("residual " + std::to_string(static_cast<int>(residual)) + (cross ? ", cross" : "") +
                       (first_norm ? "" : ", no first norm"));
          BlockOptions o = options_of(residual, cross, kind, kind == NormKind::rms);
          o.first_norm = first_norm;
          o.residual_scale = kind == NormKind::rms ? 0.6 : 1;
          Block<double> block(o);
          fill_parameters<double>(block);
          BlockInputs<double> in{.self = {.mask = causal()}};
          if (cross) in.memory = memory, in.cross.key_lengths = lengths;
          const X expected = compose(block, x, in);
          EXPECT_GT(distance(expected, x), 0.1);
          for (int threads : {1, 2}) {
            Context context(threads);
            X out(x.shape()), in_place = x;
            block.forward(context, x, in, out);
            EXPECT_LE(distance(out, expected), 1e-12);
            block.forward(context, in_place, in, in_place);
            EXPECT_TRUE(same_bits(in_place, out));
            if (!cross) continue;
            KVCache<double> cache = block.multihead_attn().make_cache(2);
            block.multihead_attn().append_memory(context, memory, cache);
            cache.truncate(1, 3);
            block.forward(context, x, {.self = in.self, .memory_cache = &cache}, out);
            EXPECT_LE(distance(out, expected), 1e-12);
          }
        }
}

TEST(Blocks, TheNormOfQueriesAndKeysIsOfEachHeadOrOverAll) {
  const X x = normal_tensor<double, 3>({2, 5, 24}, 1);
  for (const bool over_heads : {false, true}) {
    SCOPED_TRACE(over_heads);
    MultiHeadAttention<double> attention({.embed_dim = 24,
                                          .num_heads = 4,
                                          .num_kv_heads = 2,
                                          .qk_norm = 1e-6,
                                          .qk_norm_over_heads = over_heads});
    fill_parameters<double>(attention);
    Values values = values_of(attention);
    // The projections as linear layers, their rows normalised, and attention of what that gives.
    std::vector<X> parts;
    for (const auto& [first, rows, name] :
         {std::tuple(0, 24, "q_norm.weight"), {24, 12, "k_norm.weight"}, {36, 12, ""}}) {
      const auto take = [first = first, rows = rows](const std::vector<double>& all, Index width) {
        const auto begin = all.begin() + first * width;
        return std::vector<double>(begin, begin + rows * width);
      };
      Values own{{"weight", take(values["in_proj_weight"], 24)}, {"bias", take(values["in_proj_bias"], 1)}};
      X y = with_values(Linear<double>({.in_features = 24, .out_features = rows}), own, "")(x);
      if (*name != 0) {
        const std::vector<double>& weight = values[name];
        const Index size = static_cast<Index>(weight.size());
        EXPECT_EQ(size, over_heads ? rows : 6);
        Norm<double> norm({.size = size, .eps = 1e-6, .kind = NormKind::rms});
        norm.parameters(
            [&](const std::string&, Parameter<double> p) { p.assign(0, p.rows(), weight.data()); });
        const auto heads_of = y.view().reshape(2, 5, rows / size, size);
        Context context;
        norm.forward(context, heads_of, heads_of);
      }
      parts.push_back(y);
    }
    X mixed({2, 5, 24});
    Context context;
    scaled_dot_product_attention<double>(context, heads(parts[0], 4), heads(parts[1], 2), heads(parts[2], 2),
                                         {}, heads(mixed, 4));
    const X expected =
        with_values(Linear<double>({.in_features = 24, .out_features = 24}), values, "out_proj.")(mixed);
    EXPECT_LE(distance(attention(x), expected), 1e-12);
    KVCache<double> cache = attention.make_cache(2);
    X out(x.shape());
    for (Index t = 0; t < 5; ++t)
      attention.forward(context, x.slice(1, t, t + 1), cache, {}, out.slice(1, t, t + 1));
    EXPECT_LE(distance(out.slice(1, 4, 5), expected.slice(1, 4, 5)), 1e-12);
  }
  EXPECT_EQ(error_of([] { MultiHeadAttention<float>({.embed_dim = 8, .qk_norm_over_heads = true}); }),
            "MultiHeadAttention: qk_norm_over_heads, but no qk_norm");
}

TEST(Blocks, AStackIsItsBlocksAndANorm) {
  const X x = normal_tensor<double, 3>({2, 9, 24}, 1);
  StackOptions o{.embed_dim = 24,
                 .blocks = {options_of(Residual::sandwich, false, NormKind::rms, true),
                            options_of(Residual::parallel, false, NormKind::layer, false)},
                 .final_norm = NormOptions{.size = 24}};
  Stack<double> stack(o);
  fill_parameters<double>(stack);
  X y = compose(stack.layers()[1], compose(stack.layers()[0], x, {}), {});
  Values values = values_of(stack);
  y = with_values(Norm<double>(*o.final_norm), values, "norm.")(y);
  X in_place = x;
  Context context;
  stack.forward(context, in_place, in_place);
  EXPECT_LE(distance(in_place, y), 1e-12);
  EXPECT_TRUE(same_bits(stack(x), in_place));
}

TEST(Blocks, AStackRunsItsBlocksInTheirOrder) {
  const X x = normal_tensor<double, 3>({2, 9, 24}, 1);
  const BlockOptions block = options_of(Residual::post, false, NormKind::layer, false);
  Stack<double> stack({.embed_dim = 24, .blocks = {block, block}, .order = {1, 0, 1}});
  fill_parameters<double>(stack);
  const auto& layers = stack.layers();
  const X y = compose(layers[1], compose(layers[0], compose(layers[1], x, {}), {}), {});
  EXPECT_LE(distance(stack(x), y), 1e-12);

  // Each step has a cache of its own.
  std::vector<KVCache<double>> caches = stack.make_caches(2);
  ASSERT_EQ(caches.size(), 3u);
  Context context;
  const StackInputs<double> whole{.self = {.mask = causal()}},
      in{.self = {.mask = causal(Corner::bottom_right)}, .caches = caches};
  const X all = stack(x, whole);
  for (Index t = 0; t < 9; ++t) {
    X token(x.view().slice(1, t, t + 1));
    stack.forward(context, token, in, token);
    EXPECT_LE(distance(token, X(all.view().slice(1, t, t + 1))), 1e-12);
  }
  EXPECT_THAT(error_of([&] {
                Stack<double> s({.embed_dim = 24, .blocks = {block}, .order = {0, 1}});
              }),
              HasSubstr("Stack: block 1 in the order of 1"));
}

TEST(Blocks, WhatDoesNotFitIsAnError) {
  for (const Residual residual : {Residual::post, Residual::inner}) {
    BlockOptions unnormed = options_of(residual, false, NormKind::rms, false);
    unnormed.first_norm = false;
    EXPECT_EQ(error_of([&] { Block<float>(unnormed, "Part"); }),
              "Part: first_norm is of norms before attention");
  }
  BlockOptions o = options_of(Residual::pre, false, NormKind::layer, false);
  Block<float> block(o, "Part");
  fill_parameters<float>(block);
  const auto x = normal_tensor<float, 3>({1, 3, 24}, 1);
  Tensor<float, 3> out(x.shape());
  Context context;
  EXPECT_EQ(error_of([&] { block.forward(context, x, {.memory = x}, out); }),
            "Part: a memory, but no cross-attention (multihead_attn)");
  KVCache<float> cache = block.self_attn().make_cache(1);
  EXPECT_THAT(error_of([&] { block.forward(context, x, {.memory_cache = &cache}, out); }),
              HasSubstr("Part: a memory"));
  o.multihead_attn = o.self_attn;
  o.residual = Residual::parallel;
  EXPECT_THAT(error_of([&] { Block<float> b(o); }), HasSubstr("Block: a parallel residual"));
  o.residual = Residual::pre;
  o.multihead_attn->embed_dim = 12;
  EXPECT_THAT(error_of([&] { Block<float> b(o); }), HasSubstr("Block: a multihead_attn of embed_dim 12"));
  o.feed_forward.embed_dim = 8;
  EXPECT_THAT(error_of([&] { Block<float> b(o); }), HasSubstr("Block: a feed_forward of embed_dim 8"));

  o = options_of(Residual::pre, true, NormKind::layer, false);
  Block<float> decoder(o);
  fill_parameters<float>(decoder);
  EXPECT_EQ(error_of([&] { decoder.forward(context, x, out); }),
            "Block: cross-attention (multihead_attn), but no memory");
  KVCache<float> targets = decoder.self_attn().make_cache(1);
  EXPECT_NE(error_of([&] { decoder.forward(context, x, {.cache = &targets}, out); }), "");  // no memory
  EXPECT_EQ(targets.length(0), 0);
}

// ---- caches

/// Token by token, and in pieces, what the causal whole gives.
template <class Scalar>
void check_steps(const Block<Scalar>& block, const AttentionOptions<Scalar>& whole_options,
                 const AttentionOptions<Scalar>& step_options) {
  const Index B = 2, T = 130, E = block.options().self_attn.embed_dim;
  const auto x = normal_tensor<Scalar, 3>({B, T, E}, 1);
  Context context;
  Tensor<Scalar, 3> whole(x.shape());
  block.forward(context, x, {.self = whole_options}, whole);
  for (const Index step : {1, 50}) {
    KVCache<Scalar> cache = block.self_attn().make_cache(B);
    for (Index t = 0; t < T; t += step) {
      const Index end = std::min(T, t + step);
      Tensor<Scalar, 3> out(x.slice(1, t, end));
      block.forward(context, out, {.self = step_options, .cache = &cache}, out);
      ASSERT_LE(distance(out, whole.slice(1, t, end)), kNear<Scalar>) << "token " << t << ", step " << step;
    }
    EXPECT_EQ(cache.max_length(), T);
  }
}

template <class T>
class BlocksOf : public testing::Test {};
TYPED_TEST_SUITE(BlocksOf, attend_test::Scalars);

TYPED_TEST(BlocksOf, WithACacheGiveTokenByTokenWhatTheWholeGives) {
  using S = TypeParam;
  const auto rotary = std::make_shared<const Rotary<S>>(RotaryOptions{.head_dim = 8});
  for (const bool norm_first : {false, true}) {
    EncoderBlock<S> block({.embed_dim = 32,
                           .num_heads = 4,
                           .num_kv_heads = 2,
                           .dim_feedforward = 48,
                           .norm_first = norm_first});
    fill_parameters<S>(block);
    check_steps<S>(block, {.mask = causal()}, {.mask = causal(Corner::bottom_right)});
    block.set_rotary(rotary);
    check_steps<S>(block, {.mask = causal()}, {.mask = causal(Corner::bottom_right)});
  }
  for (const Residual residual : {Residual::post, Residual::pre, Residual::parallel, Residual::sandwich})
    for (const Index window : {0, 1, 20, 100})
      for (const bool alibi : {false, true}) {
        SCOPED_TRACE("window " + std::to_string(window));
        CausalBlock<S> block({.embed_dim = 32,
                              .num_heads = 4,
                              .num_kv_heads = 2,
                              .dim_feedforward = 48,
                              .gated = true,
                              .norm = NormKind::rms,
                              .qk_norm = true,
                              .residual = residual,
                              .scale = 0.3,
                              .softcap = 4,
                              .sliding_window = window,
                              .alibi = alibi});
        fill_parameters<S>(block);
        if (!alibi) block.set_rotary(rotary);
        check_steps<S>(block, {}, {});
      }
}

// ---- options by value

/// What a layer with options `o` sees, in the plainest words, where sequence b begins at position starts[b].
struct Rule {
  ScaledDotProductAttentionOptions o;
  Shape<2> starts;
  Mask mask() const {  // as long as this lives
    return [this](Index b, Index, Index q, Index k) {
      const Index position = starts[static_cast<std::size_t>(b)] + q;
      return (!o.is_causal || k <= position) && (o.window == 0 || std::abs(position - k) < o.window);
    };
  }
};
const std::vector<ScaledDotProductAttentionOptions> kKept{{},
                                                          {.scale = 0.7},
                                                          {.scale = 0.0},
                                                          {.softcap = 1.5},
                                                          {.is_causal = true},
                                                          {.window = 1},
                                                          {.window = 30},
                                                          {.is_causal = true, .window = 30},
                                                          {-0.4, 2.0, true, 7}};

TYPED_TEST(BlocksOf, OptionsThatAnAttentionLayerKeepsAreThoseOfEachCall) {
  using S = TypeParam;
  const Index T = 120;
  const auto q = normal_tensor<S, 4>({2, 4, T, 8}, 1), k = normal_tensor<S, 4>({2, 2, T, 8}, 2),
             v = normal_tensor<S, 4>({2, 2, T, 8}, 3);
  const auto numbers = normal_tensor<S, 2>({T, T}, 4);
  const std::vector<Index> key_lengths{T, 70};
  KVCache<S> cache({.batch = 2, .num_kv_heads = 2, .head_dim = 8});
  for (Index b = 0; b < 2; ++b) {
    const Index n = key_lengths[static_cast<std::size_t>(b)];
    cache.append(b, k[b].slice(1, 0, n), v[b].slice(1, 0, n));
  }
  const std::vector<AttentionOptions<S>> calls{
      {},
      {.mask = Mask([](Index, Index h, Index i, Index j) { return (h + i + j) % 3 != 0; })},
      {.mask = additive(numbers.view())},
      {.scale = 0.1},
      {.softcap = 0.5},
      {.modifier = [](const S& s, Index, Index, Index, Index j) {
        return s + S(0.01 * static_cast<double>(j));
      }}};
  Context context;
  for (std::size_t i = 0; i < kKept.size(); ++i)
    for (std::size_t j = 0; j < calls.size(); ++j) {
      SCOPED_TRACE("options " + std::to_string(i) + ", call " + std::to_string(j));
      const ScaledDotProductAttention<S> layer(kKept[i]);
      Tensor<S, 4> out(q.shape()), expected(q.shape()), weights({2, 4, T, T}), expected_weights({2, 4, T, T});
      const auto plain = [&](const Rule& rule) {
        AttentionOptions<S> o = calls[j];
        o.mask = rule.mask() & calls[j].mask;
        if (!o.scale) o.scale = kKept[i].scale;
        if (o.softcap == 0) o.softcap = kKept[i].softcap;
        return o;
      };
      const Rule from_first{kKept[i], {0, 0}}, from_last{kKept[i], {T - 5, 65}};
      layer.forward(context, q, k, v, calls[j], out, {.weights = weights.view()});
      scaled_dot_product_attention<S>(context, q, k, v, plain(from_first), expected.view(),
                                      {.weights = expected_weights.view()});
      EXPECT_TRUE(same_bits(out, expected));
      EXPECT_TRUE(same_bits(weights, expected_weights));
      EXPECT_TRUE(same_bits(layer(q, k, v, calls[j]), expected));
      if (j == 0) {
        layer.forward(context, q, k, v, out);
        EXPECT_TRUE(same_bits(out, expected));
      }
      // Over a cache the queries are each sequence's last tokens.
      Tensor<S, 4> of_cache({2, 4, 5, 8}), expected_of_cache({2, 4, 5, 8});
      AttentionOptions<S> call = calls[j], each = plain(from_last);
      if (j == 2) call.mask = {}, each.mask = from_last.mask();  // numbers of another number of queries
      layer.forward(context, q.slice(2, 0, 5), cache, call, of_cache);
      scaled_dot_product_attention<S>(context, q.slice(2, 0, 5), cache, each, expected_of_cache.view());
      EXPECT_TRUE(same_bits(of_cache, expected_of_cache));
    }
}

TYPED_TEST(BlocksOf, OptionsAndAlibiOfMultiHeadAttentionAreThoseOfEachCall) {
  using S = TypeParam;
  const Index T = 60;
  const auto x = normal_tensor<S, 3>({2, T, 32}, 1);
  const Mask holes([](Index, Index h, Index i, Index j) { return (h + i + j) % 3 != 0; });
  Context context;
  for (std::size_t i = 0; i < kKept.size(); ++i)
    for (const bool with_alibi : {false, true}) {
      SCOPED_TRACE("options " + std::to_string(i) + (with_alibi ? ", alibi" : ""));
      MultiHeadAttentionOptions o{.embed_dim = 32, .num_heads = 4};
      MultiHeadAttention<S> plain(o);
      o.attention = kKept[i];
      o.alibi = with_alibi;
      MultiHeadAttention<S> layer(o);
      fill_parameters<S>(plain), fill_parameters<S>(layer);
      const std::vector<S> slopes = alibi_slopes<S>(4);
      const Rule rules[] = {{kKept[i], {0, 0}}, {kKept[i], {40, 40}}};
      const auto options = [&](Index start) {
        AttentionOptions<S> each{.mask = rules[start == 0 ? 0 : 1].mask() & holes,
                                 .scale = kKept[i].scale,
                                 .softcap = kKept[i].softcap};
        if (with_alibi) each.modifier = alibi<S>(slopes, start);
        return each;
      };
      const Tensor<S, 3> expected = plain(x, options(0));
      EXPECT_TRUE(same_bits(layer(x, {.mask = holes}), expected));

      // A ragged batch, each of whose sequences begins at position 0.
      const std::vector<Index> offsets{0, 25, T};
      Tensor<S, 3> ragged({1, T, 32});
      layer.forward(context, x.slice(0, 0, 1),
                    {.mask = holes, .query_offsets = offsets, .key_offsets = offsets}, ragged);
      for (std::size_t b = 0; b < 2; ++b) {
        const auto part = x.slice(0, 0, 1).slice(1, offsets[b], offsets[b + 1]);
        const Tensor<S, 3> alone = plain(part, options(0));
        EXPECT_LE(distance(ragged.slice(1, offsets[b], offsets[b + 1]), alone), kNear<S>);
      }

      // With a cache, in two calls.
      KVCache<S> cache = plain.make_cache(2), own = layer.make_cache(2);
      for (Index t : {0, 40}) {
        const Index n = t == 0 ? 40 : 20;
        const Tensor<S, 3> tokens(x.slice(1, t, t + n));
        Tensor<S, 3> out(tokens.shape()), each(tokens.shape());
        layer.forward(context, tokens, own, {.mask = holes}, out);
        plain.forward(context, tokens, cache, options(t), each);
        EXPECT_TRUE(same_bits(out, each));
      }
      if (with_alibi) {
        EXPECT_THAT(error_of([&] { layer(x, options(0)); }), HasSubstr("a modifier together with alibi"));
      }
    }
}

TEST(Blocks, OptionsOutOfRangeAreErrors) {
  EXPECT_THAT(error_of([] { ScaledDotProductAttention<float>({.window = -1}); }),
              HasSubstr("ScaledDotProductAttention: window is -1"));
  EXPECT_THAT(error_of([] { ScaledDotProductAttention<float>({.softcap = -1}); }),
              HasSubstr("ScaledDotProductAttention: softcap is -1"));
  EXPECT_THAT(error_of([] { ScaledDotProductAttention<float>({.scale = std::nan("")}); }),
              HasSubstr("ScaledDotProductAttention: scale is "));
  EXPECT_THAT(error_of([] {
                MultiHeadAttention<float>({.embed_dim = 8, .num_heads = 2, .attention = {.window = -1}});
              }),
              HasSubstr("window is -1"));
}

// ---- stacks of random options

/// Two blocks of whatever may stand together, their inputs, and the call that all others have to agree with.
struct RandomStack {
  Index E, B, T;
  bool cached = true;  // or with a convolution, extra keys or embeddings of distances, which take no cache
  BlockOptions block;
  Stack<float> stack;
  std::optional<RelativeEmbedding<float>> distances;
  Tensor<float, 3> x, memory;

  explicit RandomStack(Random& random) {
    const Index H = random.integer(1, 4), D = 2 * random.integer(1, 9);
    E = random.one_in(2) ? H * D : 2 * random.integer(1, 30);
    MultiHeadAttentionOptions a{.embed_dim = E, .num_heads = H, .head_dim = D, .bias = !random.one_in(4)};
    a.num_kv_heads = H % 2 == 0 && random.one_in(2) ? H / 2 : H;
    const Index kind = random.integer(0, 8);
    a.alibi = kind == 1;
    if (kind == 2) a.qk_norm = 1e-6, a.qk_norm_over_heads = random.one_in(2);
    a.bias_kv = kind == 3, a.add_zero_attn = kind == 4;
    if (kind == 5) a.attention.window = random.integer(1, 20);
    if (kind == 6) a.disentangled = {random.one_in(2), true, random.one_in(2)};
    block.self_attn = a;
    block.feed_forward = {E, random.integer(1, 70), Activation::silu, random.one_in(2), random.one_in(2)};
    block.norm = {.size = E, .kind = random.one_in(2) ? NormKind::layer : NormKind::rms};
    block.residual = static_cast<Residual>(random.integer(0, 4));
    if (block.residual != Residual::parallel && random.one_in(3))
      block.multihead_attn = MultiHeadAttentionOptions{.embed_dim = E, .num_heads = H, .head_dim = D};
    if (block.residual != Residual::post && block.residual != Residual::inner)
      block.first_norm = !random.one_in(4);
    if (kind == 7)
      block.convolution = ConvolutionOptions{E, 2 * random.integer(0, 3) + 1, Activation::tanh};
    else if (random.one_in(4))
      block.residual_scale = 0.25;
    cached = kind != 3 && kind != 4 && kind != 6 && kind != 7;
    if (random.one_in(2)) {  // weights in fewer bits: every layer of its own kind
      const auto draw = [&](auto& o) {
        o.weights = static_cast<WeightType>(random.integer(0, 4));
        o.activations = static_cast<ActivationType>(random.integer(0, 1));
      };
      draw(block.self_attn), draw(block.feed_forward);
      if (block.multihead_attn) draw(*block.multihead_attn);
    }
    StackOptions options{E, {block, block}};
    if (random.one_in(2)) options.final_norm = block.norm;
    if (random.one_in(2)) options.order = {1, 0, 1};
    stack = filled<float>(Stack<float>(options), random.bits());
    if (kind == 8) stack.set_rotary(std::make_shared<const Rotary<float>>(RotaryOptions{.head_dim = D}));
    if (kind == 6)
      distances = filled<float>(RelativeEmbedding<float>({.embed_dim = E, .span = random.integer(4, 9)}));
    B = random.integer(1, 3);
    T = random.one_in(3) ? random.integer(60, 130) : random.integer(1, 12);
    x = random_tensor<float, 3>({B, T, E}, random.bits());
    memory = random_tensor<float, 3>({B, random.integer(1, 20), E}, random.bits());
  }
  void forward(Context& context, const Batched<const float, 3>& in, StackInputs<float> inputs,
               const Batched<float, 3>& out) const {
    Frame frame(context.workspace());
    RelativePositions<float> positions;
    if (distances) {
      positions = distances->positions(context, frame, in.size(1));
      inputs.self.relative = &positions;
    }
    inputs.self.mask = causal(Corner::bottom_right);
    if (!block.multihead_attn)
      inputs.memory = {};
    else if (!inputs.memory_caches && inputs.memory.data() == nullptr)
      inputs.memory = memory;
    stack.forward(context, in, inputs, out);
  }
};

TEST(Stack, OfRandomOptionsGivesTheSameBitsInEachWayToCallIt) {
  Context one(1), two(2);
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    const RandomStack s(random);
    const Index B = s.B, T = s.T, E = s.E;
    Tensor<float, 3> whole(s.x.shape()), out(s.x.shape()), wide({B, T, E + 3}, 9.0f);
    s.forward(one, s.x, {}, whole);
    s.forward(two, s.x, {}, out);
    ASSERT_TRUE(same_bits(out, whole));
    out = s.x;
    s.forward(two, out, {}, out);
    ASSERT_TRUE(same_bits(out, whole));  // in place
    s.forward(two, s.x, {}, wide.view().slice(2, 1, E + 1));
    ASSERT_TRUE(same_bits(wide.view().slice(2, 1, E + 1), whole));
    for (Index b = 0; b < B; ++b)
      for (Index t = 0; t < T; ++t)
        ASSERT_EQ((std::vector{wide(b, t, 0), wide(b, t, E + 1), wide(b, t, E + 2)}), std::vector(3, 9.0f));
    for (Index b = 0; b < B; ++b) {
      Tensor<float, 3> alone({1, T, E});
      s.forward(one, s.x.slice(0, b, b + 1), {.memory = s.memory.slice(0, b, b + 1)}, alone);
      ASSERT_TRUE(same_bits(alone, whole.slice(0, b, b + 1)));
    }
    if (!s.block.multihead_attn && !s.block.self_attn.bias_kv && !s.block.self_attn.add_zero_attn) {
      const std::vector<Index> offsets{0, 0, T / 3, T / 3, T};
      Tensor<float, 3> ragged({1, T, E});
      s.forward(two, s.x.slice(0, 0, 1), {.self = {.query_offsets = offsets, .key_offsets = offsets}},
                ragged);
      for (std::size_t i = 0; i < 4; ++i) {
        const Index begin = offsets[i], end = offsets[i + 1];
        if (begin == end) continue;
        Tensor<float, 3> alone({1, end - begin, E});
        s.forward(one, s.x.slice(0, 0, 1).slice(1, begin, end), {}, alone);
        ASSERT_TRUE(same_bits(alone, ragged.slice(1, begin, end)));
      }
    }
    if (!s.cached) continue;
    std::vector<KVCache<float>> caches = s.stack.make_caches(B), memories;
    if (s.block.multihead_attn) memories = s.stack.make_memory_caches(one, s.memory);
    StackInputs<float> inputs{.caches = caches};
    if (s.block.multihead_attn) inputs.memory_caches = std::span<const KVCache<float>>(memories);
    for (Index t = 0, n = 0; t < T; t += n) {
      n = (std::min)(T - t, random.integer(1, random.one_in(3) ? 70 : 3));
      const Tensor<float, 3> piece(s.x.slice(1, t, t + n));
      Tensor<float, 3> given(piece.shape());
      StackInputs<float> wrong = inputs;
      wrong.self.softcap = -1;
      ASSERT_NE(error_of([&] { s.forward(two, piece, wrong, given); }), "");
      for (const KVCache<float>& cache : caches)
        for (Index b = 0; b < B; ++b) ASSERT_EQ(cache.length(b), t);  // a call that fails changes nothing
      s.forward(random.one_in(2) ? one : two, piece, inputs, given);
      ASSERT_TRUE(same_bits(given, whole.slice(1, t, t + n)));
    }
  }
}

}  // namespace
