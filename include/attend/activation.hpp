// Elementwise activations, as functions of a scalar and of whole tensors.
#pragma once

#include <algorithm>
#include <string_view>

#include <attend/core/context.hpp>
#include <attend/detail/backend.hpp>
#include <attend/rows.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// By the names of PyTorch and of Hugging Face's configs: relu, gelu, gelu_new, gelu_pytorch_tanh, silu,
/// swish, … Error for another name.
inline Activation activation_from_string(std::string_view name) {
  struct Name {
    std::string_view text;
    Activation activation;
  };
  static constexpr Name names[] = {
      {"identity", Activation::identity},
      {"linear", Activation::identity},
      {"relu", Activation::relu},
      {"gelu", Activation::gelu},
      {"gelu_python", Activation::gelu},
      {"gelu_new", Activation::gelu_tanh},
      {"gelu_fast", Activation::gelu_tanh},
      {"gelu_accurate", Activation::gelu_tanh},
      {"gelu_tanh", Activation::gelu_tanh},
      {"gelu_python_tanh", Activation::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"silu", Activation::silu},
      {"swish", Activation::silu},
      {"sigmoid", Activation::sigmoid},
      {"tanh", Activation::tanh},
  };
  for (const Name& n : names)
    if (n.text == name) return n.activation;
  throw_error("activation '", name, "' is not supported");
}

/// out = activation(x), element by element. out may be x, but not overlap it otherwise. x [..., N] -> out
/// [..., N].
template <class Out, class Scalar = typename std::remove_cvref_t<Out>::Scalar>
void activate(Context& context, Activation activation, const std::type_identity_t<Rows<const Scalar>>& x,
              Out&& to) {
  static_assert(detail::check_scalar<Scalar>());
  const Rows<Scalar> out(to);
  detail::check_rows_in_place<Scalar>(context, "activate", x, out, x.width());
  const Index rows = x.count(), n = x.width();
  context.parallel(
      rows, context.workers(rows, 20.0 * static_cast<double>(rows) * static_cast<double>(n)),
      [&](Index r, int) { detail::Backend<Scalar>::activate(activation, x.row(r), out.row(r), n); });
}

/// activation(x) as a new tensor of the same shape.
template <TensorLike X>
Tensor<typename X::Scalar, X::rank> activate(Activation activation, const X& x) {
  Tensor<typename X::Scalar, X::rank> out{const_view(x)};  // whatever its strides are
  activate(default_context(), activation, out, out);
  return out;
}

namespace detail {
/// out[i] = x[i] σ(alpha x[i]), times value[i] where `value` is not null; out may be either of them.
template <class Scalar>
void swish_row(const Scalar* x, const Scalar& alpha, const Scalar* value, Scalar* out, Index n) {
  using Backend = Backend<Scalar>;
  Scalar block[256];
  for (Index i = 0; i < n; i += 256) {
    const Index m = std::min<Index>(256, n - i);
    if (alpha == Scalar(1)) {
      Backend::activate(Activation::silu, x + i, block, m);
    } else {
      for (Index j = 0; j < m; ++j) block[j] = alpha * x[i + j];
      Backend::activate(Activation::sigmoid, block, block, m);
      Backend::multiply(x + i, block, m);
    }
    if (value != nullptr) Backend::multiply(value + i, block, m);
    std::copy(block, block + m, out + i);
  }
}
}  // namespace detail

/// x σ(alpha x) as a new tensor; alpha 1 is silu.
template <TensorLike X>
Tensor<typename X::Scalar, X::rank> swish(const X& x, double alpha = 1) {
  using Scalar = typename X::Scalar;
  Tensor<Scalar, X::rank> out{const_view(x)};
  default_context().parallel(1, 1, [&](Index, int) {
    detail::swish_row<Scalar>(out.data(), Scalar(alpha), nullptr, out.data(), out.numel());
  });
  return out;
}
/// swish(gate) ⊙ value as a new tensor, both of one shape (arXiv:2002.05202).
template <TensorLike X, TensorLike Y>
Tensor<typename X::Scalar, X::rank> swiglu(const X& gate, const Y& value, double alpha = 1) {
  using Scalar = typename X::Scalar;
  detail::check_shape("swiglu (value)", gate.shape(), value.shape());
  Tensor<Scalar, X::rank> out{const_view(gate)};
  const Tensor<Scalar, X::rank> factor{const_view(value)};
  default_context().parallel(1, 1, [&](Index, int) {
    detail::swish_row<Scalar>(out.data(), Scalar(alpha), factor.data(), out.data(), out.numel());
  });
  return out;
}

}  // namespace attend::inline ATTEND_ABI
