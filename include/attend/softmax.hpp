// softmax and log_softmax over any axis of a tensor.
#pragma once

#include <type_traits>

#include <attend/activation.hpp>
#include <attend/core/context.hpp>
#include <attend/detail/backend.hpp>
#include <attend/rows.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
template <class Scalar, int Rank>
void softmax_over(Context& context, TensorView<const Scalar, Rank> x, Index axis,
                  TensorView<Scalar, Rank> out, bool log_of_it) {
  static_assert(Rank >= 1);
  static_assert(check_scalar<Scalar>());
  check_shape("softmax (output)", x.shape(), out.shape());
  if (axis < -Rank || axis >= Rank) throw_error("softmax: axis ", axis, " of shape ", x.shape());
  check_in_place(context, "softmax", out, x);
  if (x.empty()) return;
  // The axis goes last, and the others before it in their order: row r is the r-th of what is left.
  for (Index a = axis < 0 ? axis + Rank : axis; a + 1 < Rank; ++a)
    x = x.transpose(a, a + 1), out = out.transpose(a, a + 1);
  const Index n = x.size(Rank - 1), rows = x.numel() / n;
  const int workers = context.workers(rows, 20.0 * static_cast<double>(x.numel()));
  Frame frame(context.workspace());
  const TensorView<Scalar, 2> scratch = frame.tensor<Scalar>({out.stride(Rank - 1) == 1 ? 0 : workers, n});
  context.parallel(rows, workers, [&](Index r, int worker) {
    const Scalar* from = x.data();
    Scalar* to = out.data();
    for (int a = Rank - 2; a >= 0; r /= x.size(a), --a) {
      from += r % x.size(a) * x.stride(a);
      to += r % x.size(a) * out.stride(a);
    }
    const bool contiguous = out.stride(Rank - 1) == 1;
    Scalar* row = contiguous ? to : &scratch(worker, 0);
    for (Index i = 0; i < n; ++i) row[i] = from[i * x.stride(Rank - 1)];
    Backend<Scalar>::softmax(row, n, log_of_it);
    if (contiguous) return;
    for (Index i = 0; i < n; ++i) to[i * out.stride(Rank - 1)] = row[i];
  });
}
}  // namespace detail

/// out = e^x / sum(e^x) along `axis`, which counts from the end where negative. A row of nothing but -inf
/// gives 0; NaN or +inf anywhere in a row gives NaN. x [...] -> out [...], any strides; out may be x, but not
/// overlap it otherwise. https://pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html
template <TensorLike X>
void softmax(Context& context, const X& x, AnyIndex axis,
             std::type_identity_t<TensorView<typename X::Scalar, X::rank>> out) {
  detail::softmax_over<typename X::Scalar, X::rank>(context, x, axis, out, false);
}
/// Its logarithm, which keeps its digits where the softmax is near 0. A row of nothing but -inf stays so.
template <TensorLike X>
void log_softmax(Context& context, const X& x, AnyIndex axis,
                 std::type_identity_t<TensorView<typename X::Scalar, X::rank>> out) {
  detail::softmax_over<typename X::Scalar, X::rank>(context, x, axis, out, true);
}

/// The same as a new tensor.
template <TensorLike X>
Tensor<typename X::Scalar, X::rank> softmax(const X& x, AnyIndex axis = -1) {
  Tensor<typename X::Scalar, X::rank> out(x.shape());
  softmax(default_context(), x, axis, out);
  return out;
}
/// The same as a new tensor.
template <TensorLike X>
Tensor<typename X::Scalar, X::rank> log_softmax(const X& x, AnyIndex axis = -1) {
  Tensor<typename X::Scalar, X::rank> out(x.shape());
  log_softmax(default_context(), x, axis, out);
  return out;
}

}  // namespace attend::inline ATTEND_ABI
