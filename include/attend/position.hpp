// Positions: sinusoidal. Learned ones are an Embedding.
#pragma once

#include <cmath>

#include <attend/tensor.hpp>

namespace attend {

struct SinusoidalOptions {
  /// interleaved: sin, cos, sin, cos, … with angle p / max_timescale^(2 i / E) ("Attention Is All You Need", 3.5).
  /// halves: all sin, then all cos, angle p · max_timescale^(-i / (E / 2)) (Marian).
  /// halves_inclusive: likewise, but the last frequency is 1 / max_timescale: i / (E / 2 - 1) (tensor2tensor).
  enum class Layout { interleaved, halves, halves_inclusive };
  Layout layout = Layout::interleaved;
  double max_timescale = 10000;
  Index first = 0;  // position of row 0
};

/// Table [positions, embed_dim] of sines and cosines, computed in double.
template <class Scalar>
Tensor<Scalar, 2> sinusoidal_positions(Index positions, Index embed_dim, const SinusoidalOptions& options = {}) {
  using Layout = SinusoidalOptions::Layout;
  Tensor<Scalar, 2> table({positions, embed_dim});
  const Index pairs = (embed_dim + 1) / 2;
  const bool halves = options.layout != Layout::interleaved;
  for (Index i = 0; i < pairs; ++i) {
    const double steps = options.layout == Layout::halves_inclusive ? static_cast<double>(pairs > 1 ? pairs - 1 : 1)
                                                                    : static_cast<double>(embed_dim) / 2;
    const double frequency = std::exp(-static_cast<double>(i) * std::log(options.max_timescale) / steps);
    const Index sine = halves ? i : 2 * i, cosine = halves ? pairs + i : 2 * i + 1;
    for (Index p = 0; p < positions; ++p) {
      const double angle = static_cast<double>(options.first + p) * frequency;
      table(p, sine) = static_cast<Scalar>(std::sin(angle));
      if (cosine < embed_dim) table(p, cosine) = static_cast<Scalar>(std::cos(angle));
    }
  }
  return table;
}

}  // namespace attend
