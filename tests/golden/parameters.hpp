// The parameters and functions of a case for reference/.
#pragma once

#include <deque>
#include <stdexcept>
#include <string>

#include <attend/activation.hpp>
#include <attend/reference/blocks.hpp>

#include "check.hpp"

namespace golden {

namespace ref = attend::reference;
using attend::Activation;

/// The parameters of a case for reference/, by name. Views live as long as this.
template <class S>
class Parameters {
 public:
  explicit Parameters(const Case& c) : case_(c) {}
  TensorView<const S, 2> matrix(const std::string& name, Index rows, Index columns) {
    return matrices_.emplace_back(parameter<S, 2>(case_.path(name), {rows, columns}));
  }
  TensorView<const S, 1> vector(const std::string& name, Index size) {
    return vectors_.emplace_back(parameter<S, 1>(case_.path(name), {size}));
  }
  ref::Linear<S> linear(const std::string& prefix, Index out, Index in, bool bias) {
    ref::Linear<S> layer{.weight = matrix(prefix + ".weight", out, in)};
    if (bias) layer.bias = vector(prefix + ".bias", out);
    return layer;
  }
  ref::Norm<S> norm(const std::string& prefix, Index size, bool bias, double eps) {
    ref::Norm<S> norm{.weight = vector(prefix + ".weight", size), .eps = static_cast<S>(eps)};
    if (bias) norm.bias = vector(prefix + ".bias", size);
    return norm;
  }
  /// prefix is empty or ends in a dot.
  ref::MultiHeadAttention<S> attention(const std::string& prefix, Index E, Index heads, bool bias, Index kdim,
                                       Index vdim, Index kv_heads) {
    const Index rows = E + 2 * (E / heads * kv_heads);
    const TensorView<const S, 1> in_bias =
        bias ? vector(prefix + "in_proj_bias", rows) : TensorView<const S, 1>();
    const ref::Linear<S> out = linear(prefix + "out_proj", E, E, bias);
    if (kdim == E && vdim == E)
      return ref::MultiHeadAttention<S>::from_in_proj(matrix(prefix + "in_proj_weight", rows, E), in_bias,
                                                      out, heads, kv_heads);
    ref::MultiHeadAttention<S> layer{.output = out, .num_heads = heads, .num_kv_heads = heads};
    layer.query.weight = matrix(prefix + "q_proj_weight", E, E);
    layer.key.weight = matrix(prefix + "k_proj_weight", E, kdim);
    layer.value.weight = matrix(prefix + "v_proj_weight", E, vdim);
    if (bias) {
      layer.query.bias = in_bias.slice(0, 0, E);
      layer.key.bias = in_bias.slice(0, E, 2 * E);
      layer.value.bias = in_bias.slice(0, 2 * E, 3 * E);
    }
    return layer;
  }

 private:
  Case case_;
  std::deque<Tensor<S, 2>> matrices_;
  std::deque<Tensor<S, 1>> vectors_;
};

template <class S>
ref::Elementwise<S> function_of(Activation activation) {
  switch (activation) {
    case Activation::relu:
      return ref::relu<S>;
    case Activation::gelu:
      return ref::gelu<S>;
    case Activation::gelu_tanh:
      return ref::gelu_tanh<S>;
    case Activation::silu:
      return ref::silu<S>;
    case Activation::sigmoid:
      return ref::sigmoid<S>;
    case Activation::tanh:
      return ref::tanh<S>;
    default:
      throw std::logic_error("no such case");
  }
}

/// Σ|x||w| + |b|, times K + 2: the bound of a product, for eps 1.
inline Tensor<double, 2> product_bound(TensorView<const double, 2> x, const ref::Linear<double>& layer) {
  Tensor<double, 1> bias(Shape<1>{layer.bias.size(0)});
  if (!layer.bias.empty()) bias = magnitudes<1>(layer.bias);
  Tensor<double, 2> bound = ref::linear<double>(magnitudes<2>(x), magnitudes<2>(layer.weight), bias);
  for (double& b : bound.span()) b *= static_cast<double>(x.size(1)) + 2;
  return bound;
}

}  // namespace golden
