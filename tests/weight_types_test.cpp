// Weights in fewer bits: the kernels of each tier against the plain loops of reference/, bit for bit; what
// goes in and out of them; layers and models of them.
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <vector>

#include <attend/attend.hpp>
#include <attend/io/state_dict.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/causal_lm.hpp>
#include <attend/model/quantize.hpp>
#include <attend/quant.hpp>
#include <attend/reference/exact.hpp>
#include <attend/reference/weights.hpp>

#include "support.hpp"

namespace {

using namespace attend;
using namespace attend_test;
using ::testing::AllOf, ::testing::HasSubstr;

using FloatRows = std::vector<std::vector<float>>;

constexpr WeightType kCodes[] = {WeightType::int8, WeightType::int4};
constexpr WeightType kHalves[] = {WeightType::bfloat16, WeightType::float16};
constexpr WeightType kAll[] = {WeightType::bfloat16, WeightType::float16, WeightType::int8, WeightType::int4};

FloatRows random_rows(Index n, Index size, int seed) {
  FloatRows rows(static_cast<std::size_t>(n), std::vector<float>(static_cast<std::size_t>(size)));
  std::uint32_t state = static_cast<std::uint32_t>(seed) * 2654435761u + 1;
  for (std::vector<float>& row : rows)
    for (float& x : row) {
      state = state * 1664525u + 1013904223u;
      x = (static_cast<float>(state >> 8) / 8388608.0f - 1.0f) * (state % 7 == 0 ? 4.0f : 0.5f);
    }
  return rows;
}
std::vector<float> flat(const FloatRows& rows) {
  std::vector<float> all;
  for (const std::vector<float>& row : rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}
Linear<float> linear_of(const FloatRows& weight, WeightType type, ActivationType activations,
                        const std::vector<float>& bias = {}) {
  Linear<float> linear({.in_features = static_cast<Index>(weight[0].size()),
                        .out_features = static_cast<Index>(weight.size()),
                        .bias = !bias.empty(),
                        .weights = type,
                        .activations = activations});
  const std::vector<float> rows = flat(weight);
  linear.parameters([&](const std::string& name, Parameter<float> p) {
    p.assign(0, p.rows(), name == "bias" ? bias.data() : rows.data());
  });
  return linear;
}
bool same_float(float a, float b) { return std::memcmp(&a, &b, 4) == 0 || (std::isnan(a) && std::isnan(b)); }
bool has_fma() {
#if defined(__x86_64__) && ATTEND_HAS_KERNELS
  return isa() != Isa::baseline;
#else
  return true;
#endif
}

/// Runs f under each tier that the machine runs; without kernels once.
template <class F>
void each_tier(F&& f) {
#if ATTEND_HAS_KERNELS
  for (int t = 0; t < quant::kTiers; ++t) {
    const quant::Tier tier = static_cast<quant::Tier>(t);
    if (!quant::runs(tier)) continue;
    SCOPED_TRACE(quant::to_string(tier));
    quant::forced_tier() = tier;
    f();
  }
  quant::forced_tier() = {};
#else
  f();
#endif
}
/// SSE2 has no FMA: there a sum is off by its roundings.
bool exact_now() {
#if defined(__x86_64__) && ATTEND_HAS_KERNELS
  return quant::forced_tier() != quant::Tier::baseline;
#else
  return true;
#endif
}

void expect_products_of_the_reference(const std::vector<Index>& ks, const std::vector<Index>& ns,
                                      const std::vector<Index>& ms) {
  each_tier([&] {
    for (const WeightType type : kCodes)
      for (const ActivationType activations : {ActivationType::int8, ActivationType::int16})
        for (const Index K : ks)
          for (const Index N : ns)
            for (const Index M : ms) {
              const FloatRows weight = random_rows(N, K, 3), x = random_rows(M, K, 4);
              const std::vector<float> bias = flat(random_rows(1, N, 5));
              const Linear<float> linear = linear_of(weight, type, activations, bias);
              Tensor<float, 2> in({M, K}, flat(x)), out({M, N});
              Context context(static_cast<int>(M % 3 + 1));
              linear.forward(context, in, out);
              for (Index m = 0; m < M; ++m) {
                const auto input = reference::quantize_input(activations, x[static_cast<std::size_t>(m)]);
                for (Index n = 0; n < N; ++n) {
                  const auto row = reference::quantize_weight(type, weight[static_cast<std::size_t>(n)]);
                  const float expected = reference::product(input, *row) + bias[static_cast<std::size_t>(n)];
                  if (exact_now())
                    ASSERT_TRUE(same_float(out(m, n), expected)) << out(m, n) << " " << expected;
                  else
                    ASSERT_NEAR(out(m, n), expected, 1e-4);
                }
              }
            }
  });
}
TEST(WeightTypes, ProductsOfCodesAreThoseOfTheReference) {
  expect_products_of_the_reference({1, 31, 32, 33, 97, 160}, {1, 15, 16, 17, 33, 70}, {1, 2, 3, 5, 8, 13});
}
// One row takes several panels at a time.
TEST(WeightTypes, ProductsOfOneRowAndManyColumnsAreThoseOfTheReference) {
  expect_products_of_the_reference({33, 96}, {100, 128, 130, 290}, {1, 2});
}
// Tiles have 16 rows, and take a long row in parts.
TEST(WeightTypes, ProductsOfManyAndLongRowsAreThoseOfTheReference) {
  expect_products_of_the_reference({64, 1057}, {16, 45}, {16, 39});
}

TEST(WeightTypes, InputsAtTheEdgesAreThoseOfTheReference) {
  const float huge = (std::numeric_limits<float>::max)(), nan = std::nanf(""), inf = INFINITY;
  FloatRows x = random_rows(9, 70, 1);
  for (float& v : x[0]) v = 0;
  for (float& v : x[1]) v = -0.0f;
  for (float& v : x[2]) v = 0x1p-101f;  // below 2^-100: a group of zeros
  x[3][5] = 0x1p-100f, x[3][40] = -0x1p-100f;
  for (std::size_t k = 0; k < 32; ++k) x[3][k] = k == 5 ? 0x1p-100f : 0x1.8p-104f;
  x[4][69] = nan;
  x[5][0] = inf;
  x[6][33] = -inf;
  x[7][3] = huge, x[7][4] = -huge;
  x[8][10] = 1e4f;
  const FloatRows weight = random_rows(40, 70, 2);
  each_tier([&] {
    for (const WeightType type : kCodes)
      for (const ActivationType activations : {ActivationType::int8, ActivationType::int16}) {
        const Linear<float> linear = linear_of(weight, type, activations);
        const Tensor<float, 2> out = linear(Tensor<float, 2>({9, 70}, flat(x)));
        for (std::size_t m = 0; m < 9; ++m)
          for (std::size_t n = 0; n < 40; ++n) {
            const float expected = reference::product(reference::quantize_input(activations, x[m]),
                                                      *reference::quantize_weight(type, weight[n]));
            if (exact_now()) {
              EXPECT_TRUE(same_float(out(static_cast<Index>(m), static_cast<Index>(n)), expected))
                  << m << " " << n;
            } else if (std::isnan(expected)) {
              EXPECT_TRUE(std::isnan(out(static_cast<Index>(m), static_cast<Index>(n))));
            }
          }
      }
  });
}

// A group's sum is the greatest that there is, of either sign, with few rows and many.
TEST(WeightTypes, SumsOfTheGreatestCodesAreExact) {
  each_tier([&] {
    for (const WeightType type : kCodes)
      for (const ActivationType activations : {ActivationType::int8, ActivationType::int16})
        for (const Index M : {1, 2, 4, 30}) {
          FloatRows weight(130, std::vector<float>(64)),
              x(static_cast<std::size_t>(M), std::vector<float>(64));
          for (std::size_t n = 0; n < 130; ++n)  // of 4 bits the greatest code stands for -1
            for (std::size_t k = 0; k < 64; ++k)
              weight[n][k] = n % 3 == 0 ? -1.0f : n % 3 == 1 ? 1.0f : k % 2 ? -1.0f : 0.875f;
          for (std::size_t m = 0; m < x.size(); ++m) x[m].assign(64, m % 2 == 0 ? 1.0f : -1.0f);
          const Tensor<float, 2> out =
              linear_of(weight, type, activations)(Tensor<float, 2>({M, 64}, flat(x)));
          for (Index m = 0; m < M; ++m)
            for (Index n = 0; n < 130; ++n) {
              const float expected =
                  reference::product(reference::quantize_input(activations, x[static_cast<std::size_t>(m)]),
                                     *reference::quantize_weight(type, weight[static_cast<std::size_t>(n)]));
              if (exact_now())
                ASSERT_TRUE(same_float(out(m, n), expected)) << m << " " << n;
              else
                ASSERT_NEAR(out(m, n), expected, 1e-4);
            }
        }
  });
}

TEST(WeightTypes, SixteenBitsGiveTheBitsOfTheWidenedWeight) {
  each_tier([] {
    for (const WeightType type : kHalves)
      for (const Index K : {1, 7, 33, 100})
        for (const Index N : {1, 16, 33, 97})
          for (const Index M : {1, 2, 3, 7, 13, 25, 40}) {
            const Linear<float> half = linear_of(random_rows(N, K, 7), type, {}, flat(random_rows(1, N, 8)));
            Linear<float> wide({.in_features = K, .out_features = N});
            std::vector<float> rows(static_cast<std::size_t>(N * K));
            half.parameters([&](const std::string& name, Parameter<const float> from) {
              wide.parameters([&](const std::string& other, Parameter<float> to) {
                if (name != other) return;
                from.copy_to(0, from.rows(), rows.data());
                to.assign(0, to.rows(), rows.data());
              });
            });
            const Tensor<float, 2> x({M, K}, flat(random_rows(M, K, 9)));
            const Tensor<float, 2> residual({M, N}, flat(random_rows(M, N, 10)));
            Tensor<float, 2> a({M, N}), b({M, N});
            Context context;
            const Epilogue<float> epilogue{Activation::gelu, residual};
            half.forward(context, x, a, epilogue);
            wide.forward(context, x, b, epilogue);
            for (Index i = 0; i < M * N; ++i)
              if (ATTEND_HAS_KERNELS && has_fma() && exact_now())
                ASSERT_TRUE(same_float(a.data()[i], b.data()[i])) << M << " " << K << " " << N;
              else
                ASSERT_NEAR(a.data()[i], b.data()[i], 1e-4);
          }
  });
}

TEST(WeightTypes, EveryHalfIsWidenedExactly) {
  each_tier([] {
    for (const WeightType type : kHalves) {
      Weight<float> weight({65536}, 1, {type, {}});
      std::vector<std::uint16_t> bits(65536);
      for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
      weight.assign_encoded(0, 65536, reinterpret_cast<const std::byte*>(bits.data()));
      std::vector<float> rows(65536);
      weight.copy_to(0, 65536, rows.data());
      Tensor<float, 2> one({1, 1}, {1.0f}), out({1, 65536});
      Context context;
      detail::product<float>(context, one, weight, 0, {}, {}, out);
      for (std::size_t i = 0; i < bits.size(); ++i) {
        const float expected = type == WeightType::float16
                                   ? reference::half_value(bits[i])
                                   : std::bit_cast<float>(static_cast<std::uint32_t>(bits[i]) << 16);
        ASSERT_TRUE(same_float(rows[i], expected) || expected == 0) << i;
        ASSERT_TRUE(same_float(out.data()[i], std::fma(1.0f, expected, 0.0f)) || expected == 0) << i;
      }
    }
  });
}

TEST(WeightTypes, RowsAreEncodedAsTheReferenceSays) {
  for (const WeightType type : kCodes)
    for (int seed = 0; seed < 300; ++seed) {
      const Index K = 1 + seed % 70;
      FloatRows weight = random_rows(1, K, seed);
      const float scale =
          std::ldexp(1.0f, seed % 40 - 30);  // of which some scales are subnormal halves, or 0
      for (float& w : weight[0]) w *= scale;
      const auto expected = reference::quantize_weight(type, weight[0]);
      ASSERT_TRUE(expected);
      const Linear<float> linear = linear_of(weight, type, {});
      std::vector<std::byte> encoded(detail::kernels_of(type).row_bytes(type, K));
      linear.weight().copy_encoded(0, 1, encoded.data());
      const reference::QuantizedRow got = reference::weight_row(type, encoded);
      EXPECT_EQ(got.codes, expected->codes) << seed;
      ASSERT_EQ(got.scales.size(), expected->scales.size());
      for (std::size_t g = 0; g < got.scales.size(); ++g)
        EXPECT_EQ(got.scales[g], expected->scales[g]) << seed;
    }
}

TEST(WeightTypes, NearestHalvesAreThoseOfTheReference) {
  Weight<float> weight({1}, 1, {WeightType::float16, {}});
  const auto stored = [&](float x) {
    std::uint16_t bits;
    weight.assign(0, 1, &x);
    weight.copy_encoded(0, 1, reinterpret_cast<std::byte*>(&bits));
    return bits;
  };
  std::uint32_t state = 1;
  for (int i = 0; i < 20000; ++i) {
    state = state * 1664525u + 1013904223u;
    const float x = std::bit_cast<float>((state & 0x80000000u) | (96u + state % 50u) << 23 | (state >> 9));
    const auto expected = reference::nearest_half(x);
    if (!expected) continue;
    EXPECT_EQ(stored(x), *expected) << x;
    const float tie =
        reference::half_value(*expected) + (reference::half_value(static_cast<std::uint16_t>(*expected + 1)) -
                                            reference::half_value(*expected)) /
                                               2;
    if (const auto even = reference::nearest_half(tie)) {
      EXPECT_EQ(stored(tie), *even) << tie;
    }
  }
}

TEST(WeightTypes, ACodeOfMinus128Stays) {
  std::vector<std::byte> row(34);
  const std::uint16_t scale = 0x3c00;  // 1
  std::memcpy(row.data(), &scale, 2);
  for (std::size_t i = 2; i < 34; ++i) row[i] = std::byte{0x80};
  each_tier([&] {
    Weight<float> weight({1}, 32, {WeightType::int8, {}});
    weight.assign_encoded(0, 1, row.data());
    Tensor<float, 2> x({1, 32}), out({1, 1});
    for (float& v : x) v = -1;
    Context context;
    detail::product<float>(context, x, weight, 0, {}, {}, out);
    EXPECT_FLOAT_EQ(out(0, 0), 32 * 128.0f);
    std::vector<std::byte> again(34);
    weight.copy_encoded(0, 1, again.data());
    EXPECT_EQ(again, row);
  });
}

TEST(WeightTypes, ValuesThatATypeCannotHoldAreErrorsThatNameTheRow) {
  FloatRows weight = random_rows(5, 40, 1);
  weight[3][7] = INFINITY;
  for (const WeightType type : kCodes)
    EXPECT_THAT(error_of([&] { linear_of(weight, type, {}); }),
                AllOf(HasSubstr("row 3 of [5, 40]"), HasSubstr(to_string(type))));
  weight[3][7] = std::nanf("");
  for (const WeightType type : kCodes)
    EXPECT_THAT(error_of([&] { linear_of(weight, type, {}); }), HasSubstr("row 3"));
  weight[3][7] = 1e9f;  // a scale beyond a half
  for (const WeightType type : kCodes)
    EXPECT_THAT(error_of([&] { linear_of(weight, type, {}); }), HasSubstr("row 3"));
  EXPECT_THAT(error_of([&] { linear_of(weight, WeightType::float16, {}); }),
              AllOf(HasSubstr("row 3"), HasSubstr("float16")));
  EXPECT_NO_THROW(linear_of(weight, WeightType::bfloat16, {}));
  EXPECT_THAT(
      error_of([] { Linear<double>({.in_features = 4, .out_features = 4, .weights = WeightType::int8}); }),
      HasSubstr("int8 is for layers of float"));
}

TEST(WeightTypes, ABlockGivesEachTokenTheSameBitsAloneAndInABatch) {
  each_tier([] {
    for (const WeightType type : kAll) {
      const auto block = filled<float>(CausalBlock<float>(CausalBlockOptions{
          .embed_dim = 48, .num_heads = 3, .dim_feedforward = 80, .gated = true, .weights = type}));
      const Tensor<float, 3> x = random_tensor<float, 3>({3, 7, 48});
      Context one, two(2);
      Tensor<float, 3> all(x.shape()), alone(x.shape()), steps(x.shape());
      block.forward(two, x, all);
      for (Index b = 0; b < 3; ++b) block.forward(one, x.slice(0, b, b + 1), alone.slice(0, b, b + 1));
      KVCache<float> cache = block.self_attn().make_cache(3);
      for (Index t = 0; t < 7; ++t) {
        const Tensor<float, 3> token(x.slice(1, t, t + 1));
        Tensor<float, 3> out(token.shape());
        block.forward(one, token, {.cache = &cache}, out);
        for (Index b = 0; b < 3; ++b)
          for (Index e = 0; e < 48; ++e) steps(b, t, e) = out(b, 0, e);
      }
      EXPECT_TRUE(all == alone) << to_string(type);
      EXPECT_TRUE(all == steps) << to_string(type);
    }
  });
}

TEST(WeightTypes, EmbeddingsGiveRowsOfTheirWeight) {
  for (const WeightType type : kAll) {
    Embedding<float> table({.num_embeddings = 9, .embedding_dim = 37, .weights = type});
    const FloatRows weight = random_rows(9, 37, 2);
    EXPECT_FALSE(table.assigned());
    table.parameters([&](const std::string&, Parameter<float> p) { p.assign(0, 9, flat(weight).data()); });
    std::vector<float> rows(9 * 37);
    table.parameters([&](const std::string&, Parameter<const float> p) { p.copy_to(0, 9, rows.data()); });
    const Tensor<float, 2> out = table(Tensor<int, 1>({3}, {8, 0, 4}));
    for (Index e = 0; e < 37; ++e) {
      EXPECT_EQ(out(0, e), rows[static_cast<std::size_t>(8 * 37 + e)]);
      EXPECT_NEAR(out(1, e), weight[0][static_cast<std::size_t>(e)], type == WeightType::int4 ? 0.3 : 0.04);
    }
  }
}

TEST(WeightTypes, WhatIsSavedIsReadBackToTheSameBytes) {
  const Folder folder;
  const std::filesystem::path path = folder / "weights.safetensors";
  for (const WeightType type : kAll) {
    const EncoderBlockOptions options{
        .embed_dim = 40, .num_heads = 2, .dim_feedforward = 50, .weights = type};
    const auto block = filled<float>(EncoderBlock<float>(options));
    save(block, path, {{"made by", "a test"}});
    EncoderBlock<float> same(options), wide({.embed_dim = 40, .num_heads = 2, .dim_feedforward = 50});
    const SafeTensors file{path};
    load(same, file);
    load(wide, file);
    const Tensor<float, 3> x = random_tensor<float, 3>({2, 5, 40});
    EXPECT_TRUE(block(x) == same(x)) << to_string(type);
    EXPECT_EQ(file.at("linear1.weight").shape, (std::vector<Index>{50, 40}));
    EXPECT_EQ(file.metadata().at("made by"), "a test");
    block.parameters([&](const std::string& name, Parameter<const float> from) {
      wide.parameters([&](const std::string& other, Parameter<float> to) {
        if (name != other) return;
        std::vector<float> a(static_cast<std::size_t>(from.numel())), b(a);
        from.copy_to(0, from.rows(), a.data());
        to.copy_to(0, to.rows(), b.data());
        EXPECT_EQ(a, b) << name;
      });
    });
  }
}

TEST(WeightTypes, AnEncodingThatIsNotTheTensorsIsAnError) {
  const Folder folder;
  const std::filesystem::path path = folder / "encoding.safetensors";
  for (const char* encoding :
       {"int8 [2, 65]", "int8 [3, 40]", "int5 [2, 40]", "int8 [2, 40", "int8", "", "int8 [-2, 40]",
        "int8 [99999999999999999999]", "int8 [2,40]", "int8 [1111111111111111,", "int8 [1111111111111111, ",
        "int8 [0, 9223372036854775807]", "int4 [2, 4611686018427387903]"}) {
    SafeTensorsWriter writer(path, {{"w", DType::U8, {2, 68}}}, {{"encoding.w", encoding}});
    writer.write(std::vector<std::byte>(136));
    writer.commit();
    EXPECT_THAT(error_of([&] { SafeTensors{path}; }), HasSubstr("'w'")) << encoding;
  }
}

TEST(WeightTypes, SizesWhoseBytesOverflowAreErrors) {
  for (const WeightType type : kAll)
    for (const Index most : {Index{512409557603043100}, Index{1} << 60, (Index{1} << 62) + 1}) {
      EXPECT_THAT(error_of([&] { Linear<float>({.in_features = 1, .out_features = most, .weights = type}); }),
                  HasSubstr("more elements than memory can hold"))
          << to_string(type) << most;
      EXPECT_FALSE(error_of([&] {
                     Embedding<float>({.num_embeddings = 40, .embedding_dim = most, .weights = type});
                   }).empty());
    }
}

TEST(WeightTypes, ATinyModelOfAllTypesOpens) {
  const std::filesystem::path folder = model_folder("llama").string();
  const std::vector<std::int32_t> ids{3, 9, 4, 17, 25, 8};
  const Tensor<float, 2> expected = CausalLM<float>::open(folder).logits(ids);
  for (const WeightType type : kAll) {
    const Tensor<float, 2> got = CausalLM<float>::open(folder, {.weights = type}).logits(ids);
    double dot = 0, a = 0, b = 0;
    for (Index i = 0; i < got.numel(); ++i) {
      const double x = static_cast<double>(got.data()[i]), y = static_cast<double>(expected.data()[i]);
      dot += x * y, a += x * x, b += y * y;
    }
    EXPECT_GT(dot / std::sqrt(a * b), type == WeightType::int4 ? 0.9 : 0.999) << to_string(type);
  }
  // "As the file has it", of a file of float32, is float32.
  EXPECT_TRUE(CausalLM<float>::open(folder, {.weights = std::nullopt}).logits(ids) == expected);
}

class QuantizedFolder : public ::testing::TestWithParam<const char*> {};

TEST_P(QuantizedFolder, OpensAsItsOriginalDoesWithThatType) {
  const std::filesystem::path from = model_folder(GetParam());
  const std::vector<std::int32_t> ids{3, 9, 4, 17, 25, 8};
  for (const WeightType type : kAll) {
    const Folder scratch;
    const std::filesystem::path to = scratch / "quantized";
    const OpenOptions open{.weights = type};
    std::size_t reports = 0;
    quantize_folder(from.string(), to, open,
                    [&](const QuantizedParameter& p, std::size_t done, std::size_t all) {
                      EXPECT_EQ(++reports, done);
                      EXPECT_LE(done, all);
                      EXPECT_LT(p.error, p.type == WeightType::float32 ? 1e-30
                                         : p.type == WeightType::int4  ? 0.2
                                                                       : 0.02)
                          << p.name;
                    });
    EXPECT_GT(reports, 10u);
    // Halves are asked for; codes are what the file has.
    const OpenOptions as_it_is{.keep_halves = true};
    if (std::string(GetParam()) == "bert") {
      const std::vector<Index> offsets{0, 6};
      Tensor<float, 2> a({6, BertModel<float>::open(from.string()).options().hidden_size}), b(a.shape());
      BertModel<float>::open(from.string(), open).forward(default_context(), ids, {}, offsets, a);
      BertModel<float>::open(to.string(), as_it_is).forward(default_context(), ids, {}, offsets, b);
      EXPECT_TRUE(same_bits(a, b)) << to_string(type);
    } else {
      EXPECT_TRUE(same_bits(CausalLM<float>::open(from.string(), open).logits(ids),
                            CausalLM<float>::open(to.string(), as_it_is).logits(ids)))
          << to_string(type);
    }
    EXPECT_THAT(error_of([&] { quantize_folder(from.string(), to, open, [](const auto&...) {}); }),
                HasSubstr("has files already"));
  }
}
INSTANTIATE_TEST_SUITE_P(Models, QuantizedFolder, ::testing::Values("llama", "gpt2", "bert"),
                         [](const auto& info) { return std::string(info.param); });

TEST(WeightTypes, AFolderIsQuantizedIntoOneOfItsOwn) {
  const Folder scratch;
  const std::filesystem::path from = scratch / "model", to = from / "int8";
  std::filesystem::copy(model_folder("llama").string(), from);
  scratch.write("model/model-00002-of-00002.safetensors", "a shard");
  quantize_folder(from / "", to, {.weights = WeightType::int8}, [](const auto&...) {});
  EXPECT_FALSE(std::filesystem::exists(to / "model-00002-of-00002.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(to / "config.json"));
  EXPECT_FALSE(std::filesystem::exists(to / "int8"));
  const std::filesystem::path file = scratch.write("file", "");
  EXPECT_THAT(error_of([&] { quantize_folder(from, file / "in it", {}, [](const auto&...) {}); }),
              HasSubstr("in it"));
  const std::map<std::string, std::string> files{{"config.json", "{}"}};
  EXPECT_THAT(error_of([&] { quantize_folder(files, scratch / "x", {}, [](const auto&...) {}); }),
              HasSubstr("no folder"));
}

TEST(WeightTypes, TheWorkspaceIsWhatACallTakes) {
  for (const WeightType type : kAll) {
    const auto layer = filled<float>(
        FeedForward<float>(FeedForwardOptions{.embed_dim = 40, .dim_feedforward = 70, .weights = type}));
    const Tensor<float, 2> x = random_tensor<float, 2>({30, 40});
    Tensor<float, 2> out(x.shape());
    Context context;
    layer.forward(context, x, out);
    EXPECT_EQ(context.workspace().peak_bytes(), workspace_bytes(layer, 1, x, out)) << to_string(type);
  }
}

}  // namespace
