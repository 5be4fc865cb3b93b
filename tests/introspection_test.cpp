
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include <attend/attend.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::normal_tensor;

/// To the bit in float, whose bits are a promise, else nearly.
template <class Scalar>
bool same(Scalar a, Scalar b) {
  return std::is_same_v<Scalar, float> ? a == b
                                       : std::abs(a - b) <= 64 * std::numeric_limits<Scalar>::epsilon();
}

/// Everything that introspect gives, against the whole matrix of weights.
template <class Scalar>
void check(Index B, Index H, Index G, Index Tq, Index Tk, Index D, const Mask& mask, int threads) {
  const auto q = normal_tensor<Scalar, 4>({B, H, Tq, D}, 1), k = normal_tensor<Scalar, 4>({B, G, Tk, D}, 2);
  const Tensor<Scalar, 4> v({B, G, Tk, 3}, Scalar(1));
  Tensor<Scalar, 4> weights({B, H, Tq, Tk});
  scaled_dot_product_attention(q, k, v, AttentionOptions<Scalar>{.mask = mask, .weights = weights.view()});

  constexpr Index n = 4;
  Tensor<Scalar, 3> totals({B, H, Tk}), entropy({B, H, Tq});
  Tensor<Index, 4> top({B, H, Tq, n});
  Tensor<Scalar, 4> top_weights({B, H, Tq, n});
  std::vector<Index> rows{0};
  if (Tq > 1) rows.push_back(Tq - 1);
  Tensor<Scalar, 4> row_weights({B, H, static_cast<Index>(rows.size()), Tk});
  Context context(threads);
  introspect<Scalar>(context, q, k, {.mask = mask}, {totals, entropy, top, top_weights, rows, row_weights});

  const double eps = static_cast<double>(std::numeric_limits<Scalar>::epsilon());
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h) {
      for (Index key = 0; key < Tk; ++key) {
        double sum = 0;
        for (Index i = 0; i < Tq; ++i) sum += static_cast<double>(weights(b, h, i, key));
        EXPECT_NEAR(static_cast<double>(totals(b, h, key)), sum,
                    static_cast<double>(Tq) * eps * std::max(1.0, sum));
      }
      for (Index i = 0; i < Tq; ++i) {
        std::vector<Scalar> sorted;
        double want = 0;
        for (Index key = 0; key < Tk; ++key) {
          const Scalar w = weights(b, h, i, key);
          sorted.push_back(w);
          if (w > 0) want -= static_cast<double>(w) * std::log(static_cast<double>(w));
        }
        std::sort(sorted.rbegin(), sorted.rend());
        EXPECT_LE(std::abs(static_cast<double>(entropy(b, h, i)) - want), 8 * static_cast<double>(Tk) * eps);
        for (Index j = 0; j < n; ++j) {
          const bool some = j < Tk && sorted[static_cast<std::size_t>(j)] > 0;
          EXPECT_TRUE(same(top_weights(b, h, i, j), some ? sorted[static_cast<std::size_t>(j)] : Scalar(0)));
          if (some)
            EXPECT_TRUE(same(weights(b, h, i, top(b, h, i, j)), top_weights(b, h, i, j)));
          else
            EXPECT_EQ(top(b, h, i, j), -1);
        }
      }
      for (std::size_t r = 0; r < rows.size(); ++r)
        for (Index key = 0; key < Tk; ++key)
          EXPECT_TRUE(same(row_weights(b, h, static_cast<Index>(r), key), weights(b, h, rows[r], key)));
    }
}

TEST(Introspection, AgreesWithTheWholeMatrixOfWeights) {
  for (int threads : {1, 2}) {
    SCOPED_TRACE(threads);
    check<float>(2, 4, 2, 5, 7, 8, {}, threads);
    check<float>(1, 2, 1, 101, 130, 16, causal(), threads);
    check<float>(1, 2, 2, 3, 1700, 8, {}, threads);  // two spans
    check<double>(2, 2, 1, 50, 100, 5, causal(Corner::bottom_right), threads);
  }
}

TEST(Introspection, OfARowThatSeesNothingIsZero) {
  check<float>(
      1, 1, 1, 4, 2, 8, [](Index, Index, Index q, Index k) { return q != 2 && k == 1; }, 1);
  check<float>(
      1, 1, 1, 4, 2, 8, [](Index, Index, Index q, Index k) { return q != 2 && k == 1; }, 2);
}

/// Chosen heads and rows give what the whole matrix has there, in the order asked for.
template <class Scalar>
void check_choice(Index Tq, const std::vector<Index>& rows, const std::vector<Index>& heads) {
  const Index B = 2, H = 4, Tk = 130, D = 8, R = static_cast<Index>(rows.size()),
              N = static_cast<Index>(heads.size());
  const auto q = normal_tensor<Scalar, 4>({B, H, Tq, D}, 1), k = normal_tensor<Scalar, 4>({B, 2, Tk, D}, 2);
  const auto numbers = normal_tensor<Scalar, 3>({H, 1, Tk}, 3);
  Tensor<Scalar, 4> weights({B, H, Tq, Tk});
  const Mask mask = causal(Corner::bottom_right) & additive(numbers.view());
  scaled_dot_product_attention(q, k, Tensor<Scalar, 4>({B, 2, Tk, 3}),
                               AttentionOptions<Scalar>{.mask = mask, .weights = weights.view()});

  Tensor<Scalar, 4> row_weights({B, N, R, Tk}), only_rows({B, N, R, Tk}), top_weights({B, N, Tq, 1});
  Tensor<Scalar, 3> totals({B, N, Tk}), entropy({B, N, Tq});
  Tensor<Index, 4> top({B, N, Tq, 1});
  Context context(2);
  introspect<Scalar>(context, q, k, {.mask = mask},
                     {totals, entropy, top, top_weights, rows, row_weights, heads});
  introspect<Scalar>(context, q, k, {.mask = mask},
                     {.rows = rows, .row_weights = only_rows.view(), .heads = heads});
  const double eps = static_cast<double>(std::numeric_limits<Scalar>::epsilon());
  for (Index b = 0; b < B; ++b)
    for (Index n = 0; n < N; ++n) {
      const Index h = heads[static_cast<std::size_t>(n)];
      for (Index r = 0; r < R; ++r)
        for (Index key = 0; key < Tk; ++key) {
          EXPECT_TRUE(same(row_weights(b, n, r, key), weights(b, h, rows[static_cast<std::size_t>(r)], key)));
          EXPECT_TRUE(same(only_rows(b, n, r, key), weights(b, h, rows[static_cast<std::size_t>(r)], key)));
        }
      for (Index key = 0; key < Tk; ++key) {
        double sum = 0;
        for (Index i = 0; i < Tq; ++i) sum += static_cast<double>(weights(b, h, i, key));
        EXPECT_NEAR(static_cast<double>(totals(b, n, key)), sum,
                    static_cast<double>(Tq) * eps * std::max(1.0, sum));
      }
      for (Index i = 0; i < Tq; ++i) {
        double want = 0;
        Scalar best = 0;
        for (Index key = 0; key < Tk; ++key) {
          const Scalar w = weights(b, h, i, key);
          if (w > 0) want -= static_cast<double>(w) * std::log(static_cast<double>(w));
          best = std::max(best, w);
        }
        EXPECT_LE(std::abs(static_cast<double>(entropy(b, n, i)) - want), 8 * static_cast<double>(Tk) * eps);
        EXPECT_TRUE(same(top_weights(b, n, i, 0), best));
        EXPECT_TRUE(same(weights(b, h, i, top(b, n, i, 0)), best));
      }
    }
}

template <class T>
class IntrospectionOf : public testing::Test {};
TYPED_TEST_SUITE(IntrospectionOf, attend_test::Scalars);

TYPED_TEST(IntrospectionOf, ChosenHeadsAndRowsComeInTheOrderAskedFor) {
  using S = TypeParam;
  check_choice<S>(101, {0, 1, 47, 48, 49, 96, 100}, {3, 0, 2});
  check_choice<S>(101, {60}, {1});
  check_choice<S>(3, {2}, {2, 2});
}

TEST(Introspection, ErrorsNameExpectedAndGotShapes) {
  Tensor<float, 4> q({1, 2, 3, 4}), k({1, 1, 5, 4});
  Tensor<float, 3> totals({1, 2, 4});
  Context context;
  EXPECT_EQ(error_of([&] { introspect<float>(context, q, k, {}, {.key_totals = totals.view()}); }),
            "introspect (key_totals): expected [1, 2, 5], got [1, 2, 4]");
  const std::vector<Index> heads{1};
  EXPECT_EQ(
      error_of([&] { introspect<float>(context, q, k, {}, {.key_totals = totals.view(), .heads = heads}); }),
      "introspect (key_totals): expected [1, 1, 5], got [1, 2, 4]");
}

}  // namespace
