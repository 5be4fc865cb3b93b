// # Numerics: what is exact, what is bounded
//
// Exact: a float output is a function of its own inputs alone. Not of the batch, the other rows, the threads, the way it
// came (at once or token by token), the compiler, its flags, nor the machine, where it has FMA: AVX2, AVX-512 and NEON
// give the same bits. Sums have one order; no library's exp is asked.
// Bounded: exp, erf and tanh, in ulp, tried for every float there is. Without FMA (plain SSE2), in types other than float,
// and in what callables of yours compute, results are right to a tolerance.
// Defined: a row that sees nothing is 0. NaN and infinity behind a mask do not leak. Softmax takes any finite score.
//
// float against double is a good test of a model: where they differ by far more than 1e-6, the model is ill-conditioned.
#include <cmath>
#include <cstdio>
#include <limits>

#include <attend/attend.hpp>

using namespace attend;

int main() {
  const Index T = 40, D = 16;
  Tensor<float, 2> q({T, D}), k({T, D}), v({T, D});
  for (Index i = 0; i < q.numel(); ++i) {
    const double x = static_cast<double>(i);
    q.data()[i] = static_cast<float>(std::sin(x)), k.data()[i] = static_cast<float>(std::cos(3 * x)),
    v.data()[i] = static_cast<float>(std::sin(2 * x));
  }
  const Tensor<float, 2> y = scaled_dot_product_attention(q, k, v, {.mask = causal()});
  const Tensor<float, 2> first = scaled_dot_product_attention(q.slice(0, 0, 7), k, v, {.mask = causal()});
  std::printf("7 of 40 queries: %s\n", first == y.slice(0, 0, 7) ? "the same bits" : "other bits");

  Tensor<double, 2> Q({T, D}), K({T, D}), V({T, D});
  copy(q, Q), copy(k, K), copy(v, V);
  const Tensor<double, 2> exact = scaled_dot_product_attention(Q, K, V, {.mask = causal()});
  double worst = 0;
  for (Index i = 0; i < y.numel(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(y.data()[i]) - exact.data()[i]));
  std::printf("float is double to 1e-6: %s\n", worst < 1e-6 ? "yes" : "no");

  v(39, 0) = std::numeric_limits<float>::quiet_NaN();
  const Tensor<float, 2> hidden = scaled_dot_product_attention(q, k, v, {.mask = causal()});
  std::printf("a NaN that row 38 does not see: %s\n",
              hidden.slice(0, 0, 39) == y.slice(0, 0, 39) ? "not there" : "leaks");
  const Tensor<float, 2> none = scaled_dot_product_attention(q, k, v, {.mask = prefix(0)});
  std::printf("nothing to see: %g\n", static_cast<double>(none(0, 0)));
}
// Prints:
// 7 of 40 queries: the same bits
// float is double to 1e-6: yes
// a NaN that row 38 does not see: not there
// nothing to see: 0
