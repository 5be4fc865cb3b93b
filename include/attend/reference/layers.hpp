// The layers as plain loops: the specification of what they compute. In double unless told otherwise.
//
// Matrices are row-major views; an empty view stands for a parameter that is left out. Sizes are trusted.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <type_traits>

#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI::reference {

/// An input. It doesn't deduce its scalar: linear(x, w) is in double, linear<float>(x, w) in float.
template <class S, int Rank>
using View = TensorView<const std::type_identity_t<S>, Rank>;

/// x [N, K] times weight [M, K] transposed, plus bias [M] → [N, M].
template <class S = double>
Tensor<S, 2> linear(View<S, 2> x, View<S, 2> weight, View<S, 1> bias = {}) {
  Tensor<S, 2> y({x.size(0), weight.size(0)});
  for (Index n = 0; n < y.size(0); ++n)
    for (Index m = 0; m < y.size(1); ++m) {
      S sum = 0;
      for (Index k = 0; k < x.size(1); ++k) sum += x(n, k) * weight(m, k);
      y(n, m) = bias.empty() ? sum : sum + bias(m);
    }
  return y;
}

/// Row ids[n] of the table [V, E], for each n → [N, E].
template <class S = double, std::integral Id>
Tensor<S, 2> embedding(std::span<const Id> ids, View<S, 2> table) {
  Tensor<S, 2> y({static_cast<Index>(ids.size()), table.size(1)});
  for (Index n = 0; n < y.size(0); ++n)
    for (Index e = 0; e < y.size(1); ++e)
      y(n, e) = table(static_cast<Index>(ids[static_cast<std::size_t>(n)]), e);
  return y;
}

/// Positions first … first + length - 1 of "Attention is all you need", 3.5: feature 2i of position t is
/// sin(t / 10000^(2i/E)), feature 2i + 1 the cosine of the same angle → [length, E].
template <class S = double>
Tensor<S, 2> sinusoidal_positions(Index length, Index embed_dim, Index first = 0) {
  Tensor<S, 2> y({length, embed_dim});
  for (Index t = 0; t < length; ++t)
    for (Index e = 0; e < embed_dim; ++e) {
      const double exponent = static_cast<double>(e - e % 2) / static_cast<double>(embed_dim);
      const double angle = static_cast<double>(first + t) / std::pow(10000.0, exponent);
      y(t, e) = static_cast<S>(e % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  return y;
}

/// Each row of x [N, E] to mean 0 and variance 1 (biased, eps added to it), times weight [E], plus bias [E].
template <class S = double>
Tensor<S, 2> layer_norm(View<S, 2> x, View<S, 1> weight = {}, View<S, 1> bias = {}, S eps = S(1e-5)) {
  Tensor<S, 2> y(x.shape());
  const S size = static_cast<S>(x.size(1));
  for (Index n = 0; n < x.size(0); ++n) {
    S mean = 0, variance = 0;
    for (Index e = 0; e < x.size(1); ++e) mean += x(n, e) / size;
    for (Index e = 0; e < x.size(1); ++e) variance += (x(n, e) - mean) * (x(n, e) - mean) / size;
    for (Index e = 0; e < x.size(1); ++e) {
      y(n, e) = (x(n, e) - mean) / std::sqrt(variance + eps);
      if (!weight.empty()) y(n, e) *= weight(e);
      if (!bias.empty()) y(n, e) += bias(e);
    }
  }
  return y;
}

/// Each row of x [N, E] over its root mean square (eps added to the mean square), times weight [E].
template <class S = double>
Tensor<S, 2> rms_norm(View<S, 2> x, View<S, 1> weight = {}, S eps = S(1e-5)) {
  Tensor<S, 2> y(x.shape());
  for (Index n = 0; n < x.size(0); ++n) {
    S mean_square = 0;
    for (Index e = 0; e < x.size(1); ++e) mean_square += x(n, e) * x(n, e) / static_cast<S>(x.size(1));
    for (Index e = 0; e < x.size(1); ++e) {
      y(n, e) = x(n, e) / std::sqrt(mean_square + eps);
      if (!weight.empty()) y(n, e) *= weight(e);
    }
  }
  return y;
}

template <class S>
S relu(S x) {
  return x < 0 ? S(0) : x;
}  // NaN stays NaN
template <class S>
S tanh(S x) {
  return std::tanh(x);
}
template <class S>
S sigmoid(S x) {
  return 1 / (1 + std::exp(-x));
}
/// x * factor(x) for a factor that goes to 0 at -inf faster than 1 / x.
template <class S>
S times(S x, S factor) {
  return x == -std::numeric_limits<S>::infinity() ? -S(0) : x * factor;
}
template <class S>
S silu(S x) {
  return times(x, sigmoid(x));
}
/// x Φ(x). Φ is taken from erfc, which keeps its digits where x is far below 0.
template <class S>
S gelu(S x) {
  return times(x, std::erfc(-x / std::sqrt(S(2))) / 2);
}
/// PyTorch's approximate="tanh", with 1 + tanh(u) written as 2 sigmoid(2 u), which keeps its digits below 0.
template <class S>
S gelu_tanh(S x) {
  const S twice_root = S(1.59576912160573071175978L);  // 2 sqrt(2 / pi)
  return times(x, sigmoid(twice_root * (x + S(0.044715L) * x * x * x)));
}

template <class S>
using Elementwise = std::function<S(S)>;

template <class S = double>
Tensor<S, 2> apply(const Elementwise<std::type_identity_t<S>>& function, View<S, 2> x) {
  Tensor<S, 2> y(x);
  for (S& value : y.span()) value = function(value);
  return y;
}

/// Over each row. A row of nothing but -inf becomes 0.
template <class S = double>
Tensor<S, 2> softmax(View<S, 2> x) {
  const S none = -std::numeric_limits<S>::infinity();
  Tensor<S, 2> y(x.shape());
  for (Index n = 0; n < x.size(0); ++n) {
    S maximum = none, sum = 0;
    for (Index e = 0; e < x.size(1); ++e) maximum = (std::max)(maximum, x(n, e));
    for (Index e = 0; e < x.size(1); ++e)
      if (x(n, e) != none) sum += y(n, e) = std::exp(x(n, e) - maximum);
    for (Index e = 0; e < x.size(1); ++e)
      if (x(n, e) != none) y(n, e) /= sum;
  }
  return y;
}

template <class S = double>
struct Linear {
  View<S, 2> weight = {};  // [out, in]
  View<S, 1> bias = {};    // [out], or empty
};
template <class S = double>
Tensor<S, 2> linear(View<S, 2> x, const Linear<std::type_identity_t<S>>& layer) {
  return linear<S>(x, layer.weight, layer.bias);
}

/// down(activation(up(x))), or with a gate (as SwiGLU) down(activation(gate(x)) * up(x)).
template <class S = double>
Tensor<S, 2> feed_forward(View<S, 2> x, const Linear<std::type_identity_t<S>>& up,
                          const Elementwise<std::type_identity_t<S>>& activation,
                          const Linear<std::type_identity_t<S>>& down,
                          const Linear<std::type_identity_t<S>>& gate = {}) {
  Tensor<S, 2> hidden = linear<S>(x, up);
  if (gate.weight.empty()) {
    hidden = apply<S>(activation, hidden);
  } else {
    const Tensor<S, 2> open = apply<S>(activation, linear<S>(x, gate));
    for (Index n = 0; n < hidden.size(0); ++n)
      for (Index m = 0; m < hidden.size(1); ++m) hidden(n, m) *= open(n, m);
  }
  return linear<S>(hidden, down);
}

}  // namespace attend::inline ATTEND_ABI::reference
