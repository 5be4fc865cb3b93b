// Elementwise activations, as functions of a scalar and of whole tensors.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include <attend/core/context.hpp>
#include <attend/core/scalar.hpp>
#include <attend/kernel/dispatch.hpp>
#include <attend/tensor.hpp>

namespace attend {

namespace detail {
/// Whether a scalar takes the tuned kernels; the others take Eigen's products and the scalar's own functions.
template <class Scalar>
inline constexpr bool has_kernels = ATTEND_HAS_KERNELS && std::is_same_v<Scalar, float>;
}  // namespace detail

/// The name that PyTorch and Hugging Face configs give: relu, gelu, gelu_new, gelu_pytorch_tanh, silu, swish, …
inline Activation activation_from_string(std::string_view name) {
  struct Name {
    std::string_view text;
    Activation activation;
  };
  static constexpr Name names[] = {
      {"identity", Activation::identity}, {"linear", Activation::identity},
      {"relu", Activation::relu},         {"gelu", Activation::gelu},
      {"gelu_python", Activation::gelu},  {"gelu_new", Activation::gelu_tanh},
      {"gelu_fast", Activation::gelu_tanh}, {"gelu_tanh", Activation::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"silu", Activation::silu},         {"swish", Activation::silu},
      {"sigmoid", Activation::sigmoid},   {"tanh", Activation::tanh},
  };
  for (const Name& n : names)
    if (n.text == name) return n.activation;
  fail("activation '" + std::string(name) + "' is not supported");
}

/// activation(x) of one scalar, by the scalar's own exp, erf and tanh: the path of every type but float.
template <class Scalar>
Scalar activate(Activation activation, const Scalar& x) {
  static_assert(detail::check_scalar<Scalar>() && detail::check_scalar_has_erf<Scalar>());
  using std::erf, std::exp, std::tanh;
  const auto sigmoid = [](const Scalar& v) -> Scalar { return Scalar(1) / (Scalar(1) + exp(-v)); };
  switch (activation) {
    case Activation::relu: return x < Scalar(0) ? Scalar(0) : x;
    case Activation::gelu: return Scalar(0.5) * x * (Scalar(1) + erf(x * Scalar(0.70710678118654752440)));
    case Activation::gelu_tanh:
      return Scalar(0.5) * x *
             (Scalar(1) + tanh(Scalar(0.79788456080286535588) * (x + Scalar(0.044715) * x * x * x)));
    case Activation::silu: return x * sigmoid(x);
    case Activation::sigmoid: return sigmoid(x);
    case Activation::tanh: return tanh(x);
    case Activation::exp: return exp(x);
    case Activation::erf: return erf(x);
    case Activation::identity: break;
  }
  return x;
}

/// out = activation(x), element by element; out may be x. Rows are contiguous.
template <class Scalar>
void activate(Context& context, Activation activation, TensorView<const std::type_identity_t<Scalar>, 2> x,
              TensorView<Scalar, 2> out) {  // [rows, N] -> [rows, N]
  static_assert(detail::check_scalar<Scalar>());
  check_shape("activate", x.shape(), out.shape());
  const Index rows = x.size(0), n = x.size(1);
  if (n > 1 && (x.stride(1) != 1 || out.stride(1) != 1)) fail("activate: the last axis must be contiguous");
  context.parallel(rows, context.workers(rows, 20.0 * static_cast<double>(rows) * static_cast<double>(n)),
                   [&](Index r, int) {
                     if constexpr (detail::has_kernels<Scalar>) {
                       kernel::kernels().activate(activation, &x(r, 0), &out(r, 0), n);
                     } else {
                       for (Index i = 0; i < n; ++i) out(r, i) = activate(activation, x(r, i));
                     }
                   });
}

/// activation(x) as a new tensor of the same shape.
template <TensorLike X>
Tensor<typename X::Scalar, X::rank> activate(Activation activation, const X& x) {
  Tensor<typename X::Scalar, X::rank> out{const_view(x)};  // whatever its strides are
  if (out.numel() > 0) activate<typename X::Scalar>(default_context(), activation, out.view().rows(), out.view().rows());
  return out;
}

namespace detail {
/// out[i] = x[i] σ(alpha x[i]), times value[i] where `value` is not null; out may be either of them.
template <class Scalar>
void swish_row(const Scalar* x, const Scalar& alpha, const Scalar* value, Scalar* out, Index n) {
  static_assert(check_scalar<Scalar>());
  if constexpr (has_kernels<Scalar>) {
    float block[256];
    for (Index i = 0; i < n; i += 256) {
      const Index m = std::min<Index>(256, n - i);
      if (alpha == 1.0f) {
        kernel::kernels().activate(Activation::silu, x + i, block, m);
      } else {
        for (Index j = 0; j < m; ++j) block[j] = alpha * x[i + j];
        kernel::kernels().activate(Activation::sigmoid, block, block, m);
        kernel::kernels().multiply(x + i, block, m);
      }
      if (value != nullptr) kernel::kernels().multiply(value + i, block, m);
      std::copy(block, block + m, out + i);
    }
  } else {
    for (Index i = 0; i < n; ++i) {
      const Scalar y = x[i] * activate(Activation::sigmoid, Scalar(alpha * x[i]));
      out[i] = value != nullptr ? Scalar(y * value[i]) : y;
    }
  }
}
}  // namespace detail

/// x σ(alpha x) as a new tensor; alpha 1 is silu.
template <TensorLike X>
Tensor<typename X::Scalar, X::rank> swish(const X& x, double alpha = 1) {
  using Scalar = typename X::Scalar;
  Tensor<Scalar, X::rank> out{const_view(x)};
  default_context().parallel(
      1, 1, [&](Index, int) { detail::swish_row<Scalar>(out.data(), Scalar(alpha), nullptr, out.data(), out.numel()); });
  return out;
}
/// swish(gate) ⊙ value as a new tensor, both of one shape (arXiv:2002.05202).
template <TensorLike X, TensorLike Y>
Tensor<typename X::Scalar, X::rank> swiglu(const X& gate, const Y& value, double alpha = 1) {
  using Scalar = typename X::Scalar;
  check_shape("swiglu (value)", gate.shape(), value.shape());
  Tensor<Scalar, X::rank> out{const_view(gate)};
  const Tensor<Scalar, X::rank> factor{const_view(value)};
  default_context().parallel(1, 1, [&](Index, int) {
    detail::swish_row<Scalar>(out.data(), Scalar(alpha), factor.data(), out.data(), out.numel());
  });
  return out;
}

}  // namespace attend
