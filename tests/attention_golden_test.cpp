// scaled_dot_product_attention against PyTorch (see golden/check.hpp); what PyTorch has no argument for,
// against reference/ alone.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <attend/mask.hpp>
#include <attend/reference/exact.hpp>
#include <attend/scaled_dot_product_attention.hpp>

#include "golden/masks.hpp"
#include "golden/parameters.hpp"
#include "support.hpp"

namespace {
using namespace golden;

template <class T>
class AttentionGolden : public testing::Test {};
TYPED_TEST_SUITE(AttentionGolden, attend_test::Scalars);

TYPED_TEST(AttentionGolden, GivesTheValuesOfPyTorch) {
  using S = TypeParam;
  for_each_case("attention", [](const Case& c) {
    const Index B = c.size("B"), H = c.size("H"), G = c.size("Hkv"), Tq = c.size("Tq"), Tk = c.size("Tk");
    const Index D = c.size("D"), Dv = c.size("Dv");
    const Tensor<S, 4> q = data<S, 4>(c.path("query"), {B, H, Tq, D});
    const Tensor<S, 4> k = data<S, 4>(c.path("key"), {B, G, Tk, D});
    const Tensor<S, 4> v = data<S, 4>(c.path("value"), {B, G, Tk, Dv});
    const bool additive = c.flag("additive");
    const Tensor<S, 3> bias =
        data<S, 3>(c.path("additive_mask"), additive ? Shape<3>{H, Tq, Tk} : Shape<3>{});
    const Masks masks(c, "", "mask", Tq, Tk);

    attend::AttentionOptions<S> options{.mask = masks.mask()};
    ref::AttentionOptions<double> plain{.mask = masks.function()};
    ref::AttentionOptions<S> plain_narrow{.mask = masks.function()};
    if (c.has("scale")) {
      options.scale = plain.scale = c.number("scale");
      plain_narrow.scale = static_cast<S>(c.number("scale"));
    }
    if (additive) {
      options.mask = options.mask & attend::additive(bias.view());
      plain.additive_mask = [&](Index, Index h, Index i, Index j) {
        return static_cast<double>(bias(h, i, j));
      };
      plain_narrow.additive_mask = [&](Index, Index h, Index i, Index j) { return bias(h, i, j); };
    }
    Tensor<S, 3> log_sum_exp({B, H, Tq});
    Tensor<S, 4> weights({B, H, Tq, Tk});
    const Tensor<S, 4> y = attend::scaled_dot_product_attention(
        q, k, v, options, {.log_sum_exp = log_sum_exp, .weights = weights});

    const Tensor<double, 4> wide_q = widened(q), wide_k = widened(k), wide_v = widened(v);
    const auto reference = ref::scaled_dot_product_attention<double>(wide_q, wide_k, wide_v, plain);
    // With scores off by s eps, a weight is off by 2 s eps of itself (it and the sum), and a sum over keys by
    // (Tk + 16) eps of its terms' magnitudes.
    const double scale = std::abs(ref::attention_scale(plain, D)), terms = static_cast<double>(Tk) + 16;
    std::vector<double> score_bound, output_bound;  // [B, H, Tq], [B, H, Tq, Dv]
    for (Index b = 0; b < B; ++b)
      for (Index h = 0; h < H; ++h)
        for (Index i = 0; i < Tq; ++i) {
          double s = 0;
          for (Index j = 0; j < Tk; ++j) {
            double magnitude = 0;
            for (Index d = 0; d < D; ++d)
              magnitude += std::abs(wide_q(b, h, i, d) * wide_k(b, h / (H / G), j, d));
            s = std::max(s, (static_cast<double>(D) + 6) * scale * magnitude + (additive ? 4 : 0));
          }
          score_bound.push_back(s);
          for (Index d = 0; d < Dv; ++d) {
            double sum = 0;
            for (Index j = 0; j < Tk; ++j)
              sum += reference.weights(b, h, i, j) * std::abs(wide_v(b, h / (H / G), j, d));
            output_bound.push_back((2 * s + 2 * terms) * sum);
          }
        }
    check_values<S>(c, y.span(), reference.output.span(), [&](std::size_t i) { return output_bound[i]; });
    check_near<S>(c, log_sum_exp.span(), reference.log_sum_exp.span(), [&](std::size_t i) {
      return 2 * kEps<S> * (score_bound[i] + terms + std::abs(reference.log_sum_exp.span()[i]));
    });
    check_near<S>(c, weights.span(), reference.weights.span(), [&](std::size_t i) {
      const double s = score_bound[i / static_cast<std::size_t>(Tk)];
      return 2 * kEps<S> * (2 * s + 2 * terms) * reference.weights.span()[i] + 1e-37;  // float may underflow
    });

    if constexpr (std::is_same_v<S, float>) {
      const auto bits = ref::exact::scaled_dot_product_attention(q, k, v, plain_narrow);
      on_each_isa_and_threads([&](Context& context) {
        Tensor<float, 4> out({B, H, Tq, Dv});
        attend::scaled_dot_product_attention<float>(context, q, k, v, options, out,
                                                    {.log_sum_exp = log_sum_exp});
        check_same_bits(c, out, bits.output);
        for (std::size_t i = 0; i < log_sum_exp.span().size(); ++i) {
          const float expected = bits.log_sum_exp.span()[i];  // its logarithm is another, within a rounding
          if (log_sum_exp.span()[i] != expected) {            // may be infinite
            EXPECT_NEAR(log_sum_exp.span()[i], expected, kEps<float> * std::abs(expected));
          }
        }
      });
    }
  });
}

// Over two tiles and grouped heads, with -inf in the bias and NaN behind the mask.
TEST(Attention, WithSoftcapModifierSinksAndBiasGivesTheBitsOfTheReference) {
  const Index B = 2, H = 4, G = 2, Tq = 5, Tk = 131, D = 7, Dv = 18;
  const Case c{"attention options", "attention", {}};
  const auto q = data<float, 4>("q", {B, H, Tq, D});
  auto k = data<float, 4>("k", {B, G, Tk, D});
  auto v = data<float, 4>("v", {B, G, Tk, Dv});
  const auto sinks = data<float, 1>("sinks", {H}, 4);
  auto bias = data<float, 4>("bias", {1, H, Tq, Tk});
  for (Index h = 0; h < H; ++h)
    for (Index i = 0; i < Tq; ++i)
      for (Index j = 0; j < Tk; j += 1 + i) bias(0, h, i, j) = -std::numeric_limits<float>::infinity();
  // Key 40 is hidden from all, query 3 of batch 1 sees nothing, and 100 only shows itself to queries 0 and 1.
  const auto visible = [](Index b, Index, Index i, Index j) {
    return j != 40 && !(b == 1 && i == 3) && (j != 100 || i < 2);
  };
  const auto slope = [](float score, Index, Index h, Index i, Index j) {
    return score - 0.125f * static_cast<float>((h + 1) * std::abs(i - j)) / 64;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (int choice = 0; choice < 32; ++choice) {
    SCOPED_TRACE("choice " + std::to_string(choice));
    const bool poisoned = (choice & 16) != 0;
    for (Index b = 0; b < B; ++b)
      for (Index g = 0; g < G; ++g) {
        for (Index d = 0; d < D; ++d) k(b, g, 40, d) = poisoned ? nan : 1;
        for (Index d = 0; d < Dv; ++d) v(b, g, 40, d) = poisoned ? std::numeric_limits<float>::infinity() : 1;
      }
    attend::AttentionOptions<float> options{.mask = visible};
    ref::AttentionOptions<float> narrow{.mask = visible};
    ref::AttentionOptions<double> wide{.mask = visible};
    const Tensor<double, 1> wide_sinks = widened(sinks);
    if (choice & 1) {
      options.softcap = wide.softcap = 1.5;
      narrow.softcap = 1.5f;
    }
    if (choice & 2) {
      options.modifier = slope;
      narrow.modifier = slope;
      wide.modifier = [&](double score, Index b, Index h, Index i, Index j) {
        return score + static_cast<double>(slope(0, b, h, i, j));
      };
    }
    if (choice & 4) {
      options.sinks = sinks.span();
      narrow.sinks = sinks;
      wide.sinks = wide_sinks;
    }
    if (choice & 8) {
      options.mask = options.mask & attend::additive(bias.view());
      narrow.additive_mask = [&](Index, Index h, Index i, Index j) { return bias(0, h, i, j); };
      wide.additive_mask = [&](Index, Index h, Index i, Index j) {
        return static_cast<double>(bias(0, h, i, j));
      };
    }
    const auto expected = ref::scaled_dot_product_attention<double>(widened(q), widened(k), widened(v), wide);
    const auto bits = ref::exact::scaled_dot_product_attention(q, k, v, narrow);
    // |scores| < 16 and |v| <= 2; the bound is that of the golden cases.
    const double bound = kEps<float> * (2 * 16 * (D + 6) + 2 * (Tk + 16)) * 2;
    check_near<float>(c, bits.output.span(), expected.output.span(), [&](std::size_t) { return bound; });
    check_near<float>(c, bits.log_sum_exp.span(), expected.log_sum_exp.span(),
                      [&](std::size_t) { return bound; });
    on_each_isa_and_threads([&](Context& context) {
      Tensor<float, 4> out({B, H, Tq, Dv});
      attend::scaled_dot_product_attention<float>(context, q, k, v, options, out);
      check_same_bits(c, out, bits.output);
    });
    for (Index h = 0; h < H; ++h) {
      EXPECT_EQ(expected.log_sum_exp(1, h, 3), -std::numeric_limits<double>::infinity());
      for (Index d = 0; d < Dv; ++d) EXPECT_EQ(bits.output(1, h, 3, d), 0);
    }
    // The double path of the library, its weights and log-sum-exp.
    const Tensor<double, 4> wide_bias = widened(bias);
    attend::AttentionOptions<double> options64{.mask = visible, .softcap = options.softcap};
    if (choice & 2)
      options64.modifier = [slope](double score, Index b, Index h, Index i, Index j) {
        return score + static_cast<double>(slope(0, b, h, i, j));
      };
    if (choice & 4) options64.sinks = wide_sinks.span();
    if (choice & 8) options64.mask = options64.mask & attend::additive(wide_bias.view());
    Tensor<double, 4> weights({B, H, Tq, Tk});
    Tensor<double, 3> log_sum_exp({B, H, Tq});
    const auto out = attend::scaled_dot_product_attention(widened(q), widened(k), widened(v), options64,
                                                          {.log_sum_exp = log_sum_exp, .weights = weights});
    const double bound64 = bound * kEps<double> / kEps<float>;
    check_near<double>(c, out.span(), expected.output.span(), [&](std::size_t) { return bound64; });
    check_near<double>(c, weights.span(), expected.weights.span(), [&](std::size_t) { return bound64; });
    check_near<double>(c, log_sum_exp.span(), expected.log_sum_exp.span(),
                       [&](std::size_t) { return bound64; });
  }
}

// In prefill and in decoding.
TEST(Attention, OverSeveralSpansGivesTheBitsOfTheReference) {
  for (const Shape<3>& heads : {Shape<3>{2, 1, 19}, Shape<3>{8, 2, 1}, Shape<3>{3, 3, 50}}) {
    const Index H = heads[0], G = heads[1], Tq = heads[2];
    const Index B = 2, Tk = 3300, D = 3, Dv = 21;
    const Case c{"spans of " + std::to_string(Tq), "attention", {}};
    const auto q = data<float, 4>("q", {B, H, Tq, D}, 4);
    const auto k = data<float, 4>("k", {B, G, Tk, D});
    const auto v = data<float, 4>("v", {B, G, Tk, Dv});
    for (bool causal : {false, true}) {
      const auto corner = attend::Corner::bottom_right;
      const attend::AttentionOptions<float> options{.mask = causal ? attend::Mask(attend::causal(corner))
                                                                   : attend::Mask()};
      ref::AttentionOptions<float> plain;
      if (causal) plain.mask = [=](Index, Index, Index i, Index j) { return j <= i + Tk - Tq; };
      const auto bits = ref::exact::scaled_dot_product_attention(q, k, v, plain);
      on_each_isa_and_threads([&](Context& context) {
        Tensor<float, 4> out({B, H, Tq, Dv});
        attend::scaled_dot_product_attention<float>(context, q, k, v, options, out);
        check_same_bits(c, out, bits.output);
      });
    }
  }
}

}  // namespace
