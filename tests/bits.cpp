// One digest over the bits of a fixed set of calls. It is pinned: the same for every ISA with FMA, compiler,
// optimisation level and number of threads, a row alone or in a batch, prefill or step by step.
// tests/CMakeLists.txt builds this file several times, with -O0, -O2, -O3 -march=native and -Ofast.
//
// Exit code 0 and "digest …" where all agree; a line for each that does not.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <attend/attend.hpp>
#include <attend/quant.hpp>

namespace {

using namespace attend;

constexpr std::uint64_t kPinned = 0x4c3b7eed09a7cc3aull;
constexpr std::uint64_t kPinnedWeights = 0xf5ff2664e0053859ull;  // of weights in fewer bits

/// Numbers built from bits, since fast-math and flush-to-zero change what arithmetic would give: magnitudes
/// from 2^-6 to 1, times 2^scale; every 97th is subnormal.
class Numbers {
 public:
  float next(int scale) {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    const std::uint32_t random = static_cast<std::uint32_t>(state_ >> 32);
    const std::uint32_t exponent =
        ++count_ % 97 == 0 ? 0 : static_cast<std::uint32_t>(126 + scale) - random % 7;
    const std::uint32_t bits = (random & 0x80000000u) | exponent << 23 | (random >> 3 & 0x7fffffu);
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
  }
  template <int Rank>
  Tensor<float, Rank> tensor(const Shape<Rank>& shape, int scale = 0) {
    Tensor<float, Rank> t(shape);
    for (float& x : t.span()) x = next(scale);
    return t;
  }
  template <class Layer>
  Layer filled(Layer layer, int scale) {
    layer.parameters([&](const std::string&, Parameter<float> p) {
      std::vector<float> values(static_cast<std::size_t>(p.numel()));
      for (float& v : values) v = next(scale);
      p.assign(0, p.rows(), values.data());
    });
    return layer;
  }

 private:
  std::uint64_t state_ = 42;
  int count_ = 0;
};

/// FNV-1a over the bits of floats.
class Digest {
 public:
  void add(std::span<const float> values) {
    for (const float& v : values) {
      std::uint32_t bits;
      std::memcpy(&bits, &v, 4);
      for (int i = 0; i < 4; ++i, bits >>= 8) value_ = (value_ ^ (bits & 0xffu)) * 0x100000001b3ull;
    }
  }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325ull;
};

/// Rows of a batch one at a time, if `alone`: what the layers give must not show it.
template <class F>
void by_batch(bool alone, Index batch, F&& f) {
  if (!alone) return f(Index{0}, batch);
  for (Index b = 0; b < batch; ++b) f(b, b + 1);
}

std::uint64_t digest(Context& context, bool alone) {
  Numbers numbers;
  Digest d;

  for (const Shape<3> s :
       {Shape<3>{1, 5, 3}, {7, 33, 47}, {13, 600, 100}, {97, 64, 16}, {3, 1100, 200}, {50, 17, 129}}) {
    const auto linear = numbers.filled(Linear<float>({.in_features = s[1], .out_features = s[2]}), -1);
    const auto x = numbers.tensor<2>({s[0], s[1]});
    Tensor<float, 2> y({s[0], s[2]});
    by_batch(alone, s[0], [&](Index b, Index e) {
      linear.forward(context, x.slice(0, b, e), y.slice(0, b, e), {.activation = Activation::gelu});
    });
    d.add(y.span());
    for (NormKind kind : {NormKind::layer, NormKind::rms}) {
      const auto norm = numbers.filled(Norm<float>({s[2], 1e-5, kind}), 0);
      Tensor<float, 2> z(y.shape());
      by_batch(alone, s[0],
               [&](Index b, Index e) { norm.forward(context, y.slice(0, b, e), z.slice(0, b, e)); });
      d.add(z.span());
    }
  }
  for (Activation a : {Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu,
                       Activation::sigmoid, Activation::tanh, Activation::exp, Activation::erf}) {
    const auto x = numbers.tensor<2>({3, 77}, 4);
    Tensor<float, 2> y(x.shape());
    activate(context, a, x, y.view());
    d.add(y.span());
  }

  struct Case {
    Index B, H, KV, Tq, Tk, D, Dv;
    Mask mask;
    double softcap = 0;
    std::optional<double> scale = {};
  };
  const std::vector<Case> cases = {
      {1, 2, 1, 5, 7, 8, 8, {}},
      {2, 4, 2, 97, 97, 32, 32, causal()},
      {2, 2, 2, 100, 250, 17, 23, causal(Corner::bottom_right)},
      {1, 3, 1, 60, 200, 64, 64, sliding_window(40, 7)},
      {2, 2, 1, 50, 193, 33, 16,
       visible_if([](Index b, Index h, Index q, Index k) { return (b + 3 * h + 5 * q + 7 * k) % 4 != 0; })},
      {1, 2, 2, 55, 130, 16, 64, causal() | prefix(20), 3.0},
      {1, 2, 2, 3, 70, 40, 40, {}, 0, -0.5},
      {1, 2, 1, 2, 1700, 16, 16, {}},                             // two spans
      {1, 1, 1, 50, 1650, 16, 48, causal(Corner::bottom_right)},  // two spans, packed
  };
  for (const Case& c : cases) {
    const auto q = numbers.tensor<4>({c.B, c.H, c.Tq, c.D}, 2),
               k = numbers.tensor<4>({c.B, c.KV, c.Tk, c.D}, 2);
    const auto v = numbers.tensor<4>({c.B, c.KV, c.Tk, c.Dv});
    Tensor<float, 4> out({c.B, c.H, c.Tq, c.Dv});
    Tensor<float, 3> lse({c.B, c.H, c.Tq});
    if (c.B > 1 && c.mask && c.Tk == 193) {  // the callable names the batch
      scaled_dot_product_attention<float>(context, q, k, v, {.mask = c.mask}, out.view(),
                                          {.log_sum_exp = lse});
    } else {
      by_batch(alone, c.B, [&](Index b, Index e) {
        scaled_dot_product_attention<float>(context, q.slice(0, b, e), k.slice(0, b, e), v.slice(0, b, e),
                                            {.mask = c.mask, .scale = c.scale, .softcap = c.softcap},
                                            out.slice(0, b, e), {.log_sum_exp = lse.slice(0, b, e)});
      });
    }
    d.add(out.span());
    d.add(lse.span());
  }

  for (const Shape<2> s : {Shape<2>{1, 1}, {5, 1}, {20, 40}, {60, 300}}) {  // one key, one tile, more
    const Index B = 2, H = 4, KV = 2, D = 24, Dv = 40;
    const auto q = numbers.tensor<4>({B, H, s[0], D}, 1), k = numbers.tensor<4>({B, KV, s[1], D}, 1);
    const auto v = numbers.tensor<4>({B, KV, s[1], Dv}), bias = numbers.tensor<4>({1, H, s[0], s[1]});
    const auto sinks = numbers.tensor<1>({H});
    Tensor<float, 4> plain({B, H, s[0], Dv}), out(plain.shape()), weights({B, H, s[0], s[1]});
    by_batch(alone, B, [&](Index b, Index e) {
      scaled_dot_product_attention<float>(context, q.slice(0, b, e), k.slice(0, b, e), v.slice(0, b, e), {},
                                          plain.slice(0, b, e));
      scaled_dot_product_attention<float>(
          context, q.slice(0, b, e), k.slice(0, b, e), v.slice(0, b, e),
          {.mask = sliding_window(30, 2) & additive(bias.view()),
           .modifier =
               [](float x, Index, Index h, Index i, Index j) {
                 return x - 0.25f * static_cast<float>((h + 1) * (i > j ? i - j : j - i));
               },
           .sinks = sinks.span()},
          out.slice(0, b, e), {.weights = weights.slice(0, b, e)});
    });
    d.add(plain.span());
    d.add(out.span());
    d.add(weights.span());
  }

  {  // decoding: token by token, or in pieces, over a cache; past a tile and a span
    const Index H = 2, KV = 1, D = 8, T = 1560;
    const auto q = numbers.tensor<4>({1, H, T, D}, 1), k = numbers.tensor<4>({1, KV, T, D}, 1),
               v = numbers.tensor<4>({1, KV, T, D});
    KVCache<float> cache({.batch = 1, .num_kv_heads = KV, .head_dim = D});
    Tensor<float, 4> out({1, H, T, D});
    for (Index t = 0; t < T;) {
      const Index n = alone && t > 1500 ? 1 : std::min<Index>(T - t, alone ? 500 : T);
      cache.append(k.slice(2, t, t + n), v.slice(2, t, t + n));
      scaled_dot_product_attention<float>(context, q.slice(2, t, t + n), cache,
                                          {.mask = causal(Corner::bottom_right)}, out.slice(2, t, t + n));
      t += n;
    }
    d.add(out.span());
  }
  for (bool norm_first : {false, true}) {
    const auto encoder = numbers.filled(Encoder<float>({.block = {.embed_dim = 48,
                                                                  .num_heads = 3,
                                                                  .dim_feedforward = 100,
                                                                  .activation = Activation::gelu,
                                                                  .norm_first = norm_first},
                                                        .num_layers = 2,
                                                        .final_norm = norm_first}),
                                        -2);
    const auto x = numbers.tensor<3>({3, 29, 48});
    Tensor<float, 3> y(x.shape());
    by_batch(alone, 3,
             [&](Index b, Index e) { encoder.forward(context, x.slice(0, b, e), {}, y.slice(0, b, e)); });
    d.add(y.span());
  }
  {
    const auto decoder = numbers.filled(Decoder<float>({.block = {.embed_dim = 40,
                                                                  .num_heads = 4,
                                                                  .num_kv_heads = 2,
                                                                  .dim_feedforward = 64,
                                                                  .activation = Activation::silu,
                                                                  .gated = true,
                                                                  .norm = NormKind::rms}}),
                                        -2);
    const auto x = numbers.tensor<3>({2, 21, 40}), memory = numbers.tensor<3>({2, 11, 40});
    Tensor<float, 3> y(x.shape());
    by_batch(alone, 2, [&](Index b, Index e) {
      decoder.forward(context, x.slice(0, b, e),
                      {.self = {.mask = causal()}, .memory = memory.slice(0, b, e)}, y.slice(0, b, e));
    });
    d.add(y.span());
  }
  return d.value();
}

std::uint64_t weights_digest(Context& context, bool alone) {
  Numbers numbers;
  Digest d;
  struct Format {
    WeightType type;
    ActivationType activations = ActivationType::int8;
  };
  for (const Format f : {Format{WeightType::bfloat16},
                         {WeightType::float16},
                         {WeightType::int8},
                         {WeightType::int4},
                         {WeightType::int8, ActivationType::int16},
                         {WeightType::int4, ActivationType::int16}}) {
    for (const Shape<3> s : {Shape<3>{1, 5, 3}, {7, 33, 47}, {30, 600, 100}}) {
      const auto linear = numbers.filled(
          Linear<float>(
              {.in_features = s[1], .out_features = s[2], .weights = f.type, .activations = f.activations}),
          -1);
      const auto x = numbers.tensor<2>({s[0], s[1]}, 3);
      Tensor<float, 2> y({s[0], s[2]});
      by_batch(alone, s[0], [&](Index b, Index e) {
        linear.forward(context, x.slice(0, b, e), y.slice(0, b, e), {.activation = Activation::gelu});
      });
      d.add(y.span());
      linear.parameters([&](const std::string&, Parameter<const float> p) {
        std::vector<float> rows(static_cast<std::size_t>(p.numel()));
        p.copy_to(0, p.rows(), rows.data());
        d.add(rows);
      });
    }
    const auto block = numbers.filled(EncoderBlock<float>({.embed_dim = 48,
                                                           .num_heads = 3,
                                                           .dim_feedforward = 100,
                                                           .activation = Activation::gelu,
                                                           .weights = f.type,
                                                           .activations = f.activations}),
                                      -2);
    const auto x = numbers.tensor<3>({3, 29, 48});
    Tensor<float, 3> y(x.shape());
    by_batch(alone, 3,
             [&](Index b, Index e) { block.forward(context, x.slice(0, b, e), {}, y.slice(0, b, e)); });
    d.add(y.span());
  }
  return d.value();
}

}  // namespace

int main() {
#if !ATTEND_HAS_KERNELS
  std::printf("skipped: built without kernels, whose bits these are\n");
  return 0;
#else
  int failed = 0, ran = 0;
  const auto check = [&](const char* isa_name, int threads, bool alone, bool flush, std::uint64_t value,
                         std::uint64_t pinned = kPinned) {
    ++ran;
    if (value == pinned) return;
    ++failed;
    std::printf("%s, %d threads%s%s: digest %016llx, pinned %016llx\n", isa_name, threads,
                alone ? ", rows alone" : "", flush ? ", caller flushes subnormals" : "",
                static_cast<unsigned long long>(value), static_cast<unsigned long long>(pinned));
  };
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
#if defined(__x86_64__)
    if (isa == Isa::baseline) continue;  // SSE2 has no FMA: other bits, its own promise
#endif
    if (!kernel::runs(isa)) continue;
    set_isa(isa);
    for (int threads : {1, 2, 3, 8}) {
      Context context(threads);
      check(to_string(isa), threads, false, false, digest(context, false));
      if (threads > 2) continue;
      check(to_string(isa), threads, true, false, digest(context, true));
#if defined(__SSE2__)
      _mm_setcsr(0x9fc0);  // flush to zero, subnormals are zero
      check(to_string(isa), threads, false, true, digest(context, false));
      const bool kept = (_mm_getcsr() & 0xffc0u) == 0x9fc0;  // the low bits say what happened
      _mm_setcsr(0x1f80);
      if (!kept)
        ++failed,
            std::printf("%s: the caller's floating-point environment was not restored\n", to_string(isa));
#endif
    }
  }
  for (int t = 0; t < quant::kTiers; ++t) {
    const quant::Tier tier = static_cast<quant::Tier>(t);
#if defined(__x86_64__)
    if (tier == quant::Tier::baseline) continue;
#endif
    if (!quant::runs(tier)) continue;
    quant::forced_tier() = tier;
    for (int threads : {1, 2}) {
      Context context(threads);
      for (bool alone : {false, true})
        check(quant::to_string(tier), threads, alone, false, weights_digest(context, alone), kPinnedWeights);
    }
#if defined(__SSE2__)
    _mm_setcsr(0x9fc0);
    Context context;
    check(quant::to_string(tier), 1, false, true, weights_digest(context, false), kPinnedWeights);
    _mm_setcsr(0x1f80);
#endif
  }
  if (ran == 0) std::printf("skipped: this machine has no FMA\n");
  if (failed == 0 && ran > 0) std::printf("digest %016llx\n", static_cast<unsigned long long>(kPinned));
  return failed == 0 ? 0 : 1;
#endif
}
