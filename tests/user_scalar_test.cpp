// Layers of a scalar that the library has never heard of: a number that carries its derivative, and has what
// ScalarType lists and no more. What a decoder gives is differentiated by it, and by differences of doubles.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace user {
struct Dual {
  double value = 0, slope = 0;
  Dual() = default;
  explicit Dual(int v) : value(v) {}
  explicit Dual(double v) : value(v) {}
  Dual(double v, double s) : value(v), slope(s) {}
  Dual& operator+=(const Dual& o) { return *this = *this + o; }
  Dual& operator*=(const Dual& o) { return *this = *this * o; }
  friend Dual operator+(const Dual& a, const Dual& b) { return {a.value + b.value, a.slope + b.slope}; }
  friend Dual operator-(const Dual& a, const Dual& b) { return {a.value - b.value, a.slope - b.slope}; }
  friend Dual operator-(const Dual& a) { return {-a.value, -a.slope}; }
  friend Dual operator*(const Dual& a, const Dual& b) {
    return {a.value * b.value, a.slope * b.value + a.value * b.slope};
  }
  friend Dual operator/(const Dual& a, const Dual& b) {
    return {a.value / b.value, (a.slope * b.value - a.value * b.slope) / (b.value * b.value)};
  }
  friend bool operator==(const Dual& a, const Dual& b) { return a.value == b.value; }
  friend bool operator<(const Dual& a, const Dual& b) { return a.value < b.value; }
  friend bool operator>(const Dual& a, const Dual& b) { return a.value > b.value; }
};
inline Dual exp(const Dual& x) { return {std::exp(x.value), std::exp(x.value) * x.slope}; }
inline Dual log(const Dual& x) { return {std::log(x.value), x.slope / x.value}; }
inline Dual sqrt(const Dual& x) { return {std::sqrt(x.value), x.slope / (2 * std::sqrt(x.value))}; }
inline Dual tanh(const Dual& x) {
  return {std::tanh(x.value), x.slope * (1 - std::tanh(x.value) * std::tanh(x.value))};
}
}  // namespace user

template <>
struct std::numeric_limits<user::Dual> : std::numeric_limits<double> {
  static user::Dual infinity() { return user::Dual(std::numeric_limits<double>::infinity()); }
};
#include <attend/attend.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using user::Dual;

template <class Scalar>
Decoder<Scalar> decoder(bool norm_first, bool gated) {
  Decoder<Scalar> layer({.block = {.embed_dim = 6,
                                   .num_heads = 3,
                                   .num_kv_heads = 1,
                                   .memory_dim = 4,
                                   .dim_feedforward = 7,
                                   .activation = Activation::gelu,
                                   .gated = gated,
                                   .norm_first = norm_first},
                         .num_layers = 2,
                         .final_norm = norm_first});
  int i = 0;
  layer.parameters([&](const std::string& name, Parameter<Scalar> p) {
    std::vector<Scalar> values(static_cast<std::size_t>(p.numel()));
    const bool norm = name.find("norm") != std::string::npos && name.ends_with("weight");
    for (Scalar& v : values) v = Scalar((norm ? 1.0 : 0.0) + 0.4 * std::sin(1.7 * ++i));
    p.assign(0, p.rows(), values.data());
  });
  return layer;
}

/// The derivative of the decoder's output in the direction of a change of its input.
TEST(UserScalar, GoesThroughEveryLayer) {
  for (bool norm_first : {false, true})
    for (bool gated : {false, true}) {
      const auto dual = decoder<Dual>(norm_first, gated);
      const auto plain = decoder<double>(norm_first, gated);
      const double step = 1e-5;
      Tensor<Dual, 3> x({1, 5, 6}), memory({1, 3, 4});
      Tensor<double, 3> up({1, 5, 6}), down({1, 5, 6}), plain_memory({1, 3, 4});
      for (Index i = 0; i < x.numel(); ++i) {
        const std::size_t at = static_cast<std::size_t>(i);
        const double value = std::cos(0.9 * static_cast<double>(i)),
                     slope = std::sin(2.3 * static_cast<double>(i));
        x.span()[at] = {value, slope};
        up.span()[at] = value + step * slope;
        down.span()[at] = value - step * slope;
      }
      for (Index i = 0; i < memory.numel(); ++i) {
        const double value = std::cos(0.4 * static_cast<double>(i));
        plain_memory.span()[static_cast<std::size_t>(i)] = value;
        memory.span()[static_cast<std::size_t>(i)] = Dual(value);
      }
      const auto y = dual(x, {.self = {.mask = causal()}, .memory = memory});
      const auto above = plain(up, {.self = {.mask = causal()}, .memory = plain_memory}),
                 below = plain(down, {.self = {.mask = causal()}, .memory = plain_memory});
      for (std::size_t i = 0; i < y.span().size(); ++i) {
        EXPECT_NEAR(y.span()[i].value, (above.span()[i] + below.span()[i]) / 2, 1e-6);
        EXPECT_NEAR(y.span()[i].slope, (above.span()[i] - below.span()[i]) / (2 * step), 1e-6);
      }
    }
}

TEST(UserScalar, GoesThroughSoftcapModifierAndBias) {
  Tensor<Dual, 4> q({1, 1, 2, 3}, Dual(0.5, 1.0)), k({1, 1, 4, 3}, Dual(0.25)), v({1, 1, 4, 2}, Dual(2.0)),
      bias({1, 1, 1, 4}, Dual(0.1));
  const auto y = scaled_dot_product_attention(
      q, k, v,
      AttentionOptions<Dual>{.mask = additive(bias.view()),
                             .softcap = 2,
                             .modifier = [](Dual s, Index, Index, Index, Index key) {
                               return s + Dual(0.1 * static_cast<double>(key));
                             }});
  for (const Dual& x : y.span()) {
    EXPECT_NEAR(x.value, 2.0, 1e-12);
    EXPECT_NEAR(x.slope, 0.0, 1e-12);  // weights sum to 1 whatever the query
  }
}

}  // namespace
