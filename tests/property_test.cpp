// Properties of attention over random shapes, strides, masks and modifiers. ATTEND_PROPERTY_CASES sets how
// many configurations (by default 2,000, and 500 where ATTEND_ISA chooses the kernels), ATTEND_PROPERTY_SEED
// where they start; a failure names its configuration's seed.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <attend/attend.hpp>
#include <attend/reference/attention.hpp>
#include <attend/reference/exact.hpp>
#include <attend/reference/math.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::Random;
using attend_test::same_bits;

Index environment(const char* name, Index otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::atol(text) : otherwise;
}

/// In [0, n).
Index upto(Random& random, Index n) { return random.integer(0, n - 1); }

/// Values [B, H, T, D] that lie with gaps, heads before or behind tokens.
struct Strided {
  std::vector<float> memory;
  TensorView<float, 4> view;

  Strided(Random& random, const Shape<4>& s, float scale) {
    const Index gap = upto(random, 3), row = s[3] + gap;
    const bool heads_inside = random.one_in(2);  // [B, T, H, D], as projections give them
    const Shape<4> strides = heads_inside ? Shape<4>{s[2] * s[1] * row + gap, row, s[1] * row, 1}
                                          : Shape<4>{s[1] * s[2] * row + gap, s[2] * row, row, 1};
    memory.assign(static_cast<std::size_t>(s[0] * strides[0] + 64), std::nanf(""));
    view = TensorView<float, 4>(memory.data(), s, strides);
    view.for_each([&](float& x) { x = static_cast<float>(random.normal()) * scale; });
  }
};

/// One random call. Masks and modifiers that need more than numbers refer to vectors of this object.
struct Configuration {
  using Truth = std::function<bool(Index, Index, Index, Index)>;

  Index B, H, G, Tq, Tk, D, Dv;
  Mask mask;
  ScoreModifier<float> modifier;
  std::optional<double> scale;
  double softcap = 0;
  bool sinks_used = false, only_causal = false;
  /// What the mask means, by its definition: whether a key takes part, and in order what is added to its
  /// score.
  Truth truth_of_mask = [](Index, Index, Index, Index) { return true; };
  std::vector<const Tensor<float, 4>*> added;
  std::string name;
  std::vector<Index> lengths;
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> truth;
  std::vector<float> sinks;
  std::deque<Tensor<float, 4>> numbers;

  explicit Configuration(Random& random) {
    B = random.integer(1, 2), G = random.integer(1, 2), H = G * random.integer(1, 3);
    D = random.one_in(3) ? 16 * random.integer(1, 2) : random.integer(1, 24);
    Dv = random.one_in(2) ? D : random.integer(1, 24);
    Tq = random.one_in(8) ? random.integer(49, 110) : random.integer(1, 20);
    Tk = random.integer(1, 60);
    if (random.one_in(3)) Tk = random.integer(90, 200);  // crosses tiles
    if (random.one_in(40))
      Tk = random.integer(1530, 1700), Tq = random.integer(1, 4), H = G = 1, B = 1;  // crosses spans
    choose_mask(random);
    if (random.one_in(4)) scale = random.one_in(3) ? 0.0 : random.normal();
    if (random.one_in(6)) softcap = 2.5;
    if (random.one_in(6)) {
      modifier = ScoreModifier<float>([](float s, Index, Index h, Index q, Index k) {
        return s - 0.125f * static_cast<float>(h + 1) * static_cast<float>(q > k ? q - k : k - q);
      });
      name += " +modifier";
    }
    if (random.one_in(8)) {
      sinks_used = true;
      for (Index h = 0; h < H; ++h) sinks.push_back(static_cast<float>(random.normal()));
      name += " +sinks";
    }
    name += " B " + std::to_string(B) + " H " + std::to_string(H) + "/" + std::to_string(G) + " T " +
            std::to_string(Tq) + "x" + std::to_string(Tk) + " D " + std::to_string(D) + "/" +
            std::to_string(Dv);
  }
  AttentionOptions<float> options() const {
    AttentionOptions<float> o{.mask = mask, .scale = scale, .softcap = softcap, .modifier = modifier};
    o.sinks = sinks;
    return o;
  }
  bool sees(Index b, Index h, Index q, Index k) const {
    Mask bound = mask;
    bound.bind({B, H, Tq, Tk, nullptr, nullptr, nullptr});
    const Extent e = bound.row(b, h, q, 0, Tk);
    return k >= e.begin && k < e.end && (e.full || bound(b, h, q, k));
  }
  template <class S>
  reference::AttentionOptions<S> reference_options() const {
    reference::AttentionOptions<S> o;
    if (scale) o.scale = static_cast<S>(*scale);
    o.softcap = static_cast<S>(softcap);
    if (mask) o.mask = truth_of_mask;
    if (modifier || !added.empty())
      o.modifier = [this](S s, Index b, Index h, Index q, Index k) {
        float x[16] = {static_cast<float>(s)};
        const float zero[16] = {0};
        if constexpr (std::is_same_v<S, float>) {
          modifier(x, b, h, q, k, k + 1);
          s = x[0];
        } else {
          std::copy(zero, zero + 16, x);
          modifier(x, b, h, q, k, k + 1);
          s = s + static_cast<S>(x[0]);  // this modifier only adds
        }
        for (const Tensor<float, 4>* each : added)
          if (const float number = number_at(*each, b, h, q, k); number != -INFINITY)
            s = s + static_cast<S>(number);
        return s;
      };
    return o;
  }

 private:
  static float number_at(const Tensor<float, 4>& x, Index b, Index h, Index q, Index k) {
    if (k >= x.size(3) && x.size(3) != 1) return -INFINITY;
    return x(x.size(0) == 1 ? 0 : b, x.size(1) == 1 ? 0 : h, x.size(2) == 1 ? 0 : q, x.size(3) == 1 ? 0 : k);
  }
  /// What a mask without numbers means is asked key by key, so that its rows and blocks are tested against
  /// that.
  Truth asked(Mask plain) const {
    plain.bind({B, H, Tq, Tk, nullptr, nullptr, nullptr});
    return [plain](Index b, Index h, Index q, Index k) { return plain(b, h, q, k); };
  }
  void join(const Mask& other, Truth truth, const std::vector<const Tensor<float, 4>*>& more,
            bool conjunction, bool in_front) {
    try {
      const Mask &first = in_front ? other : mask, &second = in_front ? mask : other;
      mask = conjunction ? first & second : first | second;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("too large to be held together"));
      return;
    }
    added.insert(in_front ? added.begin() : added.end(), more.begin(), more.end());
    truth_of_mask = [first = truth_of_mask, second = std::move(truth), conjunction](Index b, Index h, Index q,
                                                                                    Index k) {
      return conjunction ? first(b, h, q, k) && second(b, h, q, k) : first(b, h, q, k) || second(b, h, q, k);
    };
    name = "(" + name + (conjunction ? ") & " : ") | ");
    only_causal = false;
  }
  /// Numbers of a broadcast shape; -inf here and there, nowhere, or in long runs.
  const Tensor<float, 4>& make_numbers(Random& random) {
    Tensor<float, 4>& x = numbers.emplace_back(Shape<4>{random.one_in(2) ? B : 1, random.one_in(2) ? H : 1,
                                                        random.one_in(3) ? 1 : Tq,
                                                        random.one_in(6)   ? 1
                                                        : random.one_in(4) ? (Tk + 1) / 2
                                                                           : Tk});
    const Index kind = upto(random, 3), reach = random.integer(-20, 120);
    for (float& number : x.span())
      number = kind == 0 && random.one_in(5) ? -INFINITY : static_cast<float>(random.normal());
    for (Index q = 0; kind == 1 && q < x.size(2); ++q)
      for (Index k = std::max<Index>(0, q + reach); k < x.size(3); ++k)
        for (Index b = 0; b < x.size(0); ++b)
          for (Index h = 0; h < x.size(1); ++h) x(b, h, q, k) = -INFINITY;
    return x;
  }
  void choose_mask(Random& random) {
    choose_one(random);
    if (mask) truth_of_mask = asked(mask);
    if (mask && random.one_in(4)) {  // masks whose types are forgotten compose too
      const Mask other = random.one_in(2)
                             ? Mask(sliding_window(30, 20))
                             : Mask([](Index, Index h, Index q, Index k) { return (h + q + k) % 5 != 1; });
      join(other, asked(other), {}, random.one_in(2), random.one_in(2));
      name += "other";
    }
    for (Index n = random.one_in(4) ? random.integer(1, 3) : 0; n > 0; --n) {
      const Tensor<float, 4>& x = make_numbers(random);
      const Truth truth = [&x](Index b, Index h, Index q, Index k) {
        return number_at(x, b, h, q, k) != -INFINITY;
      };
      const bool conjunction = random.one_in(2), in_front = random.one_in(2);
      switch (upto(random, 4)) {  // alone, or in an expression whose types are known
        case 0: {
          const auto window = sliding_window(30, 20);
          const auto both = [truth, other = asked(window)](Index b, Index h, Index q, Index k) {
            return truth(b, h, q, k) && other(b, h, q, k);
          };
          join(additive(x.view()) & window, both, {&x}, conjunction, in_front);
          name += "(numbers & window)";
          break;
        }
        case 1: {
          const Tensor<float, 4>& y = make_numbers(random);
          const auto either = [truth, &y](Index b, Index h, Index q, Index k) {
            return truth(b, h, q, k) || number_at(y, b, h, q, k) != -INFINITY;
          };
          join(additive(x.view()) | additive(y.view()), either, {&x, &y}, conjunction, in_front);
          name += "(numbers | numbers)";
          break;
        }
        default:
          join(additive(x.view()), truth, {&x}, conjunction, in_front), name += "numbers";
      }
    }
  }
  void choose_one(Random& random) {
    switch (upto(random, 12)) {
      case 0:
      case 1:
        name = "no mask";
        return;
      case 2:
        name = "causal", mask = causal(), only_causal = true;
        return;
      case 3:
        name = "causal bottom right", mask = causal(Corner::bottom_right);
        return;
      case 4:
        name = "window", mask = sliding_window(upto(random, 40), upto(random, 40) - 1);
        return;
      case 5:
        name = "causal | prefix", mask = causal() | prefix(upto(random, Tk + 1));
        return;
      case 6:
        for (Index b = 0; b < B; ++b) lengths.push_back(upto(random, Tk + 1));
        name = "lengths", mask = attend::lengths(lengths);
        return;
      case 7: {
        const Index queries = Tq;
        for (Index i = 0; i < queries + Tk; ++i) ids.push_back(static_cast<std::int32_t>(upto(random, 3)));
        name = "segments", mask = segments(TensorView<const std::int32_t, 2>(ids.data(), {1, queries}),
                                           TensorView<const std::int32_t, 2>(ids.data() + queries, {1, Tk}));
        return;
      }
      case 8: {
        const Index size = random.integer(3, 40), rows = (Tq + size - 1) / size,
                    columns = (Tk + size - 1) / size;
        for (Index i = 0; i < rows * columns; ++i) truth.push_back(random.one_in(2));
        name = "blocks & window",
        mask = blocks(TensorView<const std::uint8_t, 2>(truth.data(), {rows, columns}), size) &
               sliding_window(50, 50);
        return;
      }
      case 9: {
        const Shape<4> shape{random.one_in(2) ? B : 1, random.one_in(2) ? H : 1, random.one_in(2) ? Tq : 1,
                             Tk};
        for (Index i = 0; i < shape[0] * shape[1] * shape[2] * shape[3]; ++i)
          truth.push_back(!random.one_in(3));
        name = "boolean", mask = boolean(TensorView<const std::uint8_t, 4>(truth.data(), shape));
        return;
      }
      case 10:
        name = "callable",
        mask = Mask([](Index b, Index h, Index q, Index k) { return (b * 5 + h * 3 + q * 7 + k) % 3 != 0; });
        return;
      default:
        name = "causal & callable",
        mask = causal(Corner::bottom_right) &
               visible_if([](Index, Index, Index, Index k) { return k % 7 != 3; });
    }
  }
};

Tensor<float, 4> attend_to(Context& context, TensorView<const float, 4> q, TensorView<const float, 4> k,
                           TensorView<const float, 4> v, AttentionOptions<float> options) {
  Tensor<float, 4> out({q.size(0), q.size(1), q.size(2), v.size(3)});
  scaled_dot_product_attention<float>(context, q, k, v, options, out.view());
  return out;
}

double largest_difference(const Tensor<float, 4>& a, const Tensor<double, 4>& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.span().size(); ++i) {
    const double d = std::abs(static_cast<double>(a.span()[i]) - b.span()[i]);
    most = d <= most ? most : d;  // NaN stays
  }
  return most;
}

/// Whether the bits are those of reference/: not without kernels, nor on the baseline of x86-64, which has no
/// FMA.
bool has_exact_bits() {
#if ATTEND_HAS_KERNELS
  return isa() != Isa::baseline;
#else
  return false;
#endif
}

TEST(AttentionProperties, HoldOnRandomConfigurations) {
  const Index cases = environment("ATTEND_PROPERTY_CASES", std::getenv("ATTEND_ISA") ? 500 : 2000),
              first = environment("ATTEND_PROPERTY_SEED", 1);
  const bool exact_bits = has_exact_bits();
  Context one(1), two(2), three(3);
  Index crossing = 0, adding = 0, causal_prefixes = 0;
  for (Index seed = first; seed < first + cases; ++seed) {
    Random random(static_cast<std::uint64_t>(seed) * 0x9e3779b97f4a7c15ull);
    const Configuration c(random);
    crossing += c.Tk > kKeyTile || c.Tq > 48;
    adding += c.mask.adds();
    causal_prefixes += c.only_causal;
    const std::string where = "seed " + std::to_string(seed) + ": " + c.name;
    SCOPED_TRACE(where);
    Strided q(random, {c.B, c.H, c.Tq, c.D}, 1), k(random, {c.B, c.G, c.Tk, c.D}, 1),
        v(random, {c.B, c.G, c.Tk, c.Dv}, 1);

    // What no query may see is NaN, in keys and in values.
    for (Index b = 0; b < c.B; ++b)
      for (Index g = 0; g < c.G; ++g)
        for (Index key = 0; key < c.Tk; ++key) {
          bool seen = false;
          for (Index h = g * (c.H / c.G); h < (g + 1) * (c.H / c.G); ++h)
            for (Index i = 0; i < c.Tq && !seen; ++i) seen = c.sees(b, h, i, key);
          if (!seen) k.view[b][g][key].fill(std::nanf("")), v.view[b][g][key].fill(INFINITY);
        }
    const Tensor<float, 4> out = attend_to(one, q.view, k.view, v.view, c.options());

    // reference/: in float with fma the very bits, in double the same value
    if (exact_bits && !c.sinks_used) {
      const auto exact = reference::exact::scaled_dot_product_attention(q.view, k.view, v.view,
                                                                        c.reference_options<float>());
      ASSERT_TRUE(same_bits(out.view(), exact.output.view()));
    }
    {
      Tensor<double, 4> dq(q.view.shape()), dk(k.view.shape()), dv(v.view.shape());
      copy(q.view, dq.view()), copy(k.view, dk.view()), copy(v.view, dv.view());
      auto options = c.reference_options<double>();
      const Tensor<double, 1> sinks({static_cast<Index>(c.sinks.size())},
                                    std::vector<double>(c.sinks.begin(), c.sinks.end()));
      if (c.sinks_used) options.sinks = sinks.view();
      const auto expected =
          reference::scaled_dot_product_attention<double>(dq.view(), dk.view(), dv.view(), options);
      // Scores differ by at most (D + 4) eps Σ|q k| (|Σ| < 60 here), weights by that relative to 1, values
      // are below 6.
      const double eps = 0x1p-24, score = static_cast<double>(c.D + 4) * eps * 60 *
                                          std::max(1.0, std::abs(c.scale.value_or(1)));
      ASSERT_LE(largest_difference(out, expected.output),
                6 * (2 * score + static_cast<double>(c.Tk + 16) * eps));
    }

    // any number of threads, and each batch alone, give the same bits
    ASSERT_TRUE(same_bits(out.view(), attend_to(two, q.view, k.view, v.view, c.options())));
    ASSERT_TRUE(same_bits(out.view(), attend_to(three, q.view, k.view, v.view, c.options())));
    if (c.only_causal) {
      const Index n = random.integer(1, c.Tq);  // a causal prefix does not depend on the future
      ASSERT_TRUE(same_bits(out.view().slice(2, 0, n),
                            attend_to(one, q.view.slice(2, 0, n), k.view, v.view, c.options())));
    }
    if (c.B > 1 && !c.mask) {
      for (Index b = 0; b < c.B; ++b)
        ASSERT_TRUE(same_bits(out.view().slice(0, b, b + 1),
                              attend_to(one, q.view.slice(0, b, b + 1), k.view.slice(0, b, b + 1),
                                        v.view.slice(0, b, b + 1), c.options())));
    }

    // a row alone gives the bits that it gives among others
    if (!c.mask.adds() && !c.modifier) {
      const Index i = upto(random, c.Tq);
      AttentionOptions<float> alone = c.options();
      Mask bound = c.mask;
      bound.bind({c.B, c.H, c.Tq, c.Tk, nullptr, nullptr, nullptr});
      if (c.mask)
        alone.mask = Mask([&bound, i](Index b, Index h, Index, Index key) { return bound(b, h, i, key); });
      ASSERT_TRUE(same_bits(out.view().slice(2, i, i + 1),
                            attend_to(one, q.view.slice(2, i, i + 1), k.view, v.view, alone)));
    }

    // values of ones give ones, or 0 where nothing is seen; without sinks
    if (!c.sinks_used) {
      Strided ones(random, {c.B, c.G, c.Tk, c.Dv}, 1);
      ones.view.fill(1.0f);
      const Tensor<float, 4> sums = attend_to(one, q.view, k.view, ones.view, c.options());
      for (float x : sums.span())
        ASSERT_TRUE(x == 0.0f || std::abs(x - 1.0f) <= static_cast<float>(c.Tk + 4) * 0x1p-24f);
    }
    // scale 0 gives the mean of the visible values
    if (seed % 4 == 0 && !c.mask.adds()) {
      AttentionOptions<float> flat{.mask = c.mask, .scale = 0.0};
      const Tensor<float, 4> mean = attend_to(one, q.view, k.view, v.view, flat);
      for (Index b = 0; b < c.B; ++b)
        for (Index h = 0; h < c.H; ++h)
          for (Index i = 0; i < c.Tq; ++i) {
            double sum = 0, n = 0;
            for (Index key = 0; key < c.Tk; ++key)
              if (c.sees(b, h, i, key)) sum += static_cast<double>(v.view(b, h / (c.H / c.G), key, 0)), ++n;
            ASSERT_LE(std::abs(static_cast<double>(mean(b, h, i, 0)) - (n > 0 ? sum / n : 0)),
                      (static_cast<double>(c.Tk) + 4) * 6 * 0x1p-24);
          }
    }
    // permuted keys, with their values, change nothing beyond rounding
    if (!c.mask.adds() && !c.modifier) {
      std::vector<Index> order(static_cast<std::size_t>(c.Tk));
      std::iota(order.begin(), order.end(), Index{0});
      for (std::size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[static_cast<std::size_t>(upto(random, static_cast<Index>(i)))]);
      Strided k2(random, k.view.shape(), 1), v2(random, v.view.shape(), 1);
      for (Index b = 0; b < c.B; ++b)
        for (Index g = 0; g < c.G; ++g)
          for (Index key = 0; key < c.Tk; ++key) {
            copy(k.view[b][g][order[static_cast<std::size_t>(key)]], k2.view[b][g][key]);
            copy(v.view[b][g][order[static_cast<std::size_t>(key)]], v2.view[b][g][key]);
          }
      AttentionOptions<float> permuted = c.options();
      Mask bound = c.mask;
      bound.bind({c.B, c.H, c.Tq, c.Tk, nullptr, nullptr, nullptr});
      if (c.mask)
        permuted.mask = Mask([&bound, from = order.data()](Index b, Index h, Index i, Index key) {
          return bound(b, h, i, from[key]);
        });
      const Tensor<float, 4> other = attend_to(one, q.view, k2.view, v2.view, permuted);
      for (std::size_t i = 0; i < out.span().size(); ++i)
        ASSERT_LE(std::abs(out.span()[i] - other.span()[i]), static_cast<float>(c.Tk + 16) * 12 * 0x1p-24f);
    }
    // large scores and values stay finite
    if (seed % 5 == 0) {
      Strided large_q(random, q.view.shape(), 300), large_v(random, v.view.shape(), 1e30f);
      Strided large_k(random, k.view.shape(), 30);
      const Tensor<float, 4> large = attend_to(one, large_q.view, large_k.view, large_v.view, c.options());
      for (float x : large.span()) ASSERT_TRUE(std::isfinite(x));
    }
  }
  EXPECT_GE(crossing * 4, cases);
  EXPECT_GE(adding * 6, cases);
  if (cases >= 200) {
    EXPECT_GE(causal_prefixes * 40, cases);
  }
}

TEST(AdditiveMask, OfTwoAxesIsTheSameForAllBatchesAndHeads) {
  Random random(5);
  Strided q(random, {2, 3, 4, 8}, 1), k(random, {2, 3, 5, 8}, 1), v(random, {2, 3, 5, 8}, 1);
  Tensor<float, 2> small({4, 5});
  Tensor<float, 4> large({2, 3, 4, 5});
  for (Index i = 0; i < 4; ++i)
    for (Index j = 0; j < 5; ++j) {
      small(i, j) = j > i ? -INFINITY : static_cast<float>(random.normal());
      for (Index b = 0; b < 2; ++b)
        for (Index h = 0; h < 3; ++h) large(b, h, i, j) = small(i, j);
    }
  EXPECT_TRUE(
      same_bits(scaled_dot_product_attention(q.view, k.view, v.view,
                                             AttentionOptions<float>{.mask = additive(small.view())}),
                scaled_dot_product_attention(q.view, k.view, v.view,
                                             AttentionOptions<float>{.mask = additive(large.view())})));
}

TEST(AdditiveMask, OfAnotherScalarOrShapeIsAnError) {
  Random random(6);
  Strided q(random, {1, 1, 4, 8}, 1), k(random, {1, 1, 5, 8}, 1), v(random, {1, 1, 5, 8}, 1);
  const Tensor<double, 2> wide({4, 5});
  const Tensor<float, 2> long_({4, 6}), other({3, 5});
  const auto with = [&](const Mask& mask) {
    return scaled_dot_product_attention(q.view, k.view, v.view, AttentionOptions<float>{.mask = mask});
  };
  EXPECT_EQ(error_of([&] { with(additive(wide.view())); }),
            "additive mask of double in an attention of float");
  EXPECT_EQ(error_of([&] { with(Mask(causal()) | additive(wide.view())); }),
            "additive mask of double in an attention of float");
  EXPECT_EQ(error_of([&] { with(additive(long_.view())); }),
            "additive mask: expected a shape that broadcasts to [1, 1, 4, 5], got [1, 1, 4, 6]");
  EXPECT_EQ(error_of([&] { with(additive(other.view())); }),
            "additive mask: expected a shape that broadcasts to [1, 1, 4, 5], got [1, 1, 3, 5]");
}

TEST(AdditiveMask, BehindManyOthersStillAdds) {
  Random random(6);
  Strided q(random, {1, 1, 4, 8}, 1), k(random, {1, 1, 5, 8}, 1), v(random, {1, 1, 5, 8}, 1);
  Tensor<float, 1> last({5});
  last.span()[4] = 100;  // takes all the weight
  const Mask mask = causal(Corner::bottom_right) | prefix(5);
  const Tensor<float, 4> out = scaled_dot_product_attention(
      q.view, k.view, v.view, AttentionOptions<float>{.mask = mask & additive(last.view())});
  for (Index i = 0; i < 4; ++i) EXPECT_EQ(out(0, 0, i, 0), v.view(0, 0, 4, 0));
}

TEST(Mask, ThatIsTooLargeToHoldIsAnError) {
  Mask mask = causal(Corner::bottom_right) | prefix(5);
  mask = mask & mask;  // there is room for some
  EXPECT_THROW(for (int i = 0; i < 8; ++i) mask = mask & mask, Error);
}

TEST(AttentionProperties, PiecesAndRaggedBatchesGiveTheBitsOfTheWhole) {
  const Index cases = environment("ATTEND_PROPERTY_CASES", 2000) / 20;
  Context one(1), two(2);
  for (Index seed = 1; seed <= cases; ++seed) {
    Random random(static_cast<std::uint64_t>(seed) * 0x2545f4914f6cdd1dull);
    const Index G = random.integer(1, 2), H = G * random.integer(1, 4), D = random.integer(1, 20);
    const Index T = seed % 25 == 0 ? random.integer(1537, 1600) : random.integer(1, 220);
    SCOPED_TRACE("seed " + std::to_string(seed));
    Strided q(random, {1, H, T, D}, 1), k(random, {1, G, T, D}, 1), v(random, {1, G, T, D}, 1);
    const bool window = random.one_in(3);
    const Index left = random.integer(1, 120);
    const auto mask = [&](Corner corner) {
      return window ? Mask(sliding_window(left, 0, corner)) : Mask(causal(corner));
    };
    Tensor<float, 4> whole({1, H, T, D}), pieces({1, H, T, D});
    scaled_dot_product_attention<float>(one, q.view, k.view, v.view, {.mask = mask(Corner::top_left)},
                                        whole.view());
    KVCache<float> cache(
        {.batch = 1, .num_kv_heads = G, .head_dim = D, .value_dim = D, .window = window ? left + 300 : 0});
    for (Index t = 0; t < T;) {
      const Index n = std::min(T - t, random.one_in(2) ? Index{1} : random.integer(1, 300));
      cache.append(k.view.slice(2, t, t + n), v.view.slice(2, t, t + n));
      scaled_dot_product_attention<float>(random.one_in(2) ? one : two, q.view.slice(2, t, t + n), cache,
                                          {.mask = mask(Corner::bottom_right)}, pieces.slice(2, t, t + n));
      t += n;
    }
    ASSERT_TRUE(same_bits(whole.view(), pieces.view()));

    // ragged: three sequences, one after the other, against each padded to the longest
    std::vector<Index> offsets{0};
    Index longest = 0;
    for (int b = 0; b < 3; ++b) {
      const Index n = upto(random, std::min<Index>(T, 130) + 1);
      offsets.push_back(offsets.back() + n);
      longest = std::max(longest, n);
    }
    const Index tokens = offsets.back();
    Strided rq(random, {1, H, tokens, D}, 1), rk(random, {1, G, tokens, D}, 1),
        rv(random, {1, G, tokens, D}, 1);
    Tensor<float, 4> ragged({1, H, tokens, D}), pq({3, H, longest, D}, NAN), pk({3, G, longest, D}, NAN),
        pv({3, G, longest, D}, NAN), padded({3, H, longest, D});
    std::vector<Index> lengths;
    for (Index b = 0; b < 3; ++b) {
      const Index begin = offsets[static_cast<std::size_t>(b)],
                  end = offsets[static_cast<std::size_t>(b) + 1];
      lengths.push_back(end - begin);
      copy(rq.view[0].slice(1, begin, end), pq[b].slice(1, 0, end - begin));
      copy(rk.view[0].slice(1, begin, end), pk[b].slice(1, 0, end - begin));
      copy(rv.view[0].slice(1, begin, end), pv[b].slice(1, 0, end - begin));
    }
    const Mask some = random.one_in(2) ? Mask(causal()) : Mask();
    scaled_dot_product_attention<float>(one, rq.view, rk.view, rv.view,
                                        {.mask = some, .query_offsets = offsets, .key_offsets = offsets},
                                        ragged.view());
    scaled_dot_product_attention<float>(two, pq, pk, pv, {.mask = some, .key_lengths = lengths},
                                        padded.view());
    for (Index b = 0; b < 3; ++b) {
      const Index begin = offsets[static_cast<std::size_t>(b)], n = lengths[static_cast<std::size_t>(b)];
      ASSERT_TRUE(same_bits(ragged.view().slice(2, begin, begin + n),
                            padded.view().slice(0, b, b + 1).slice(2, 0, n)));
    }
  }
}

TEST(AttentionProperties, ShortSequencesAmongLongOnesSplitIntoSpansGiveTheSameBits) {
  const Index cases = environment("ATTEND_PROPERTY_CASES", 2000) / 20;
  Context one(1), two(2), three(3), eight(8);
  Index short_ones = 0;
  for (Index seed = 1; seed <= cases; ++seed) {
    Random random(static_cast<std::uint64_t>(seed) * 0xd1342543de82ef95ull);
    const Index B = random.integer(1, 3), G = random.integer(1, 2), H = G * random.integer(1, 3),
                T = random.one_in(2) ? 1 : random.integer(1, 10);
    const Index D = random.one_in(2) ? 16 : random.integer(1, 20),
                Dv = random.one_in(2) ? D : random.integer(1, 20);
    const Index Tk = random.one_in(4) ? random.integer(1537, 3300) : random.integer(1537, 1800);
    SCOPED_TRACE(seed);
    std::vector<Index> lengths;
    for (Index b = 0; b < B; ++b)
      lengths.push_back(b == 0 && B > 1    ? Tk
                        : random.one_in(2) ? random.integer(0, 99)
                        : random.one_in(2) ? random.integer(0, 1599)
                                           : random.integer(0, Tk));
    short_ones += lengths.back() <= kKeyTile;
    Strided q(random, {B, H, T, D}, 1), k(random, {B, G, Tk, D}, 1), v(random, {B, G, Tk, Dv}, 1);
    KVCache<float> cache({.batch = B, .num_kv_heads = G, .head_dim = D, .value_dim = Dv});
    for (Index b = 0; b < B; ++b) {
      const Index n = lengths[static_cast<std::size_t>(b)];
      cache.append(b, k.view[b].slice(1, 0, n), v.view[b].slice(1, 0, n));
      k.view[b].slice(1, n, Tk).fill(std::nanf("")), v.view[b].slice(1, n, Tk).fill(INFINITY);
    }
    Mask mask;
    const Index gone = random.integer(0, Tk - 1);
    switch (random.integer(0, 3)) {
      case 0:
        mask = causal(Corner::bottom_right);
        break;
      case 1:
        mask = sliding_window(random.integer(0, 199), 0, Corner::bottom_right);
        break;
      case 2:
        mask = visible_if(
            [gone](Index, Index h, Index i, Index key) { return key >= gone || (key + h + i) % 700 == 3; });
        break;
      default:
        break;
    }
    std::vector<float> sinks;
    for (Index h = 0; h < H && seed % 5 == 0; ++h) sinks.push_back(random.normal());

    const auto from_tensors = [&](Context& context, bool extras) {
      Tensor<float, 4> out({B, H, T, Dv}, 77.0f), weights({B, H, T, Tk});
      AttentionOptions<float> o{.mask = mask, .sinks = sinks, .key_lengths = lengths};
      AttentionOutputs<float> more;
      if (extras) more.weights = weights.view();
      scaled_dot_product_attention<float>(context, q.view, k.view, v.view, o, out.view(), more);
      return out;
    };
    const auto from_cache = [&](Context& context, bool extras) {
      Tensor<float, 4> out({B, H, T, Dv}, 77.0f), weights({B, H, T, cache.max_length()});
      AttentionOutputs<float> more;
      if (extras) more.weights = weights.view();
      scaled_dot_product_attention<float>(context, q.view, cache, {.mask = mask, .sinks = sinks}, out.view(),
                                          more);
      return out;
    };
    const Tensor<float, 4> out = from_tensors(one, false);
    if (has_exact_bits() && sinks.empty()) {
      Mask bound = mask;
      bound.bind({B, H, T, Tk, nullptr, nullptr, lengths.data()});
      reference::AttentionOptions<float> plain;
      plain.mask = [&](Index b, Index h, Index i, Index key) {
        return key < lengths[static_cast<std::size_t>(b)] && (!mask || bound(b, h, i, key));
      };
      ASSERT_TRUE(same_bits(
          out.view(), reference::exact::scaled_dot_product_attention(q.view, k.view, v.view, plain).output));
    }
    for (Context* context : {&one, &two, &three, &eight})
      for (bool extras : {false, true}) {
        ASSERT_TRUE(same_bits(out.view(), from_tensors(*context, extras)));
        ASSERT_TRUE(same_bits(out.view(), from_cache(*context, extras)));
      }
  }
  if (cases >= 20) {
    EXPECT_GE(short_ones * 4, cases);
  }
}

}  // namespace
