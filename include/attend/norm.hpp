// LayerNorm and RMSNorm over the last axis.
#pragma once

#include <cmath>
#include <optional>
#include <string>

#include <attend/core/context.hpp>
#include <attend/core/parameter.hpp>
#include <attend/core/scalar.hpp>
#include <attend/linear.hpp>
#include <attend/tensor.hpp>

namespace attend {

enum class NormKind { layer, rms };

struct NormOptions {
  Index size = 0;  // of the normalised axis
  double eps = 1e-5;
  NormKind kind = NormKind::layer;
  bool weight = true;
  std::optional<bool> bias = {};  // not given: that of a LayerNorm with weight; an error of any other
};

/// layer: y = (x - mean) / sqrt(variance + eps) * weight + bias, the variance biased.
/// rms:   y = x / sqrt(mean(x²) + eps) * weight.
/// Parameters: weight [size], bias [size]. Sums run in 16 lanes (see core/tiling.hpp).
/// A row far from 0 is as exact as one around it, and a constant one gives the bias. As in PyTorch, a row whose variance is
/// beyond the scalar's range gives the bias, too.
/// https://pytorch.org/docs/stable/generated/torch.nn.LayerNorm.html, …/torch.nn.RMSNorm.html
template <class Scalar>
class Norm {
  static_assert(detail::check_scalar<Scalar>());

 public:
  Norm() = default;
  explicit Norm(const NormOptions& options) : options_(options) {
    const bool may_have_bias = options.weight && options.kind == NormKind::layer;
    if (options.bias.value_or(false) && !may_have_bias)
      fail(options.weight ? "RMSNorm: a bias, which it has none of" : "LayerNorm: a bias without weight (elementwise_affine)");
    options_.bias = has_bias_ = options.bias.value_or(may_have_bias);
    if (options_.weight) weight_ = Tensor<Scalar, 1>({options.size}, Scalar(1));
    if (has_bias_) bias_ = Tensor<Scalar, 1>({options.size});
  }

  const NormOptions& options() const { return options_; }

  template <class Visitor>
  void parameters(Visitor&& visit) {
    if (options_.weight) visit("weight", Parameter<Scalar>({options_.size}, weight_.data()));
    if (has_bias_) visit("bias", Parameter<Scalar>({options_.size}, bias_.data()));
  }

  /// x [..., size] -> out [..., size]; out may be x. Optional: mean [rows] (of a LayerNorm) and
  /// inverse_deviation [rows], the 1 / sqrt(…) of each row.
  template <int Rank>
  void forward(Context& context, TensorView<const Scalar, Rank> x, TensorView<Scalar, Rank> out,
               TensorView<Scalar, 1> mean = {}, TensorView<Scalar, 1> inverse_deviation = {}) const {
    const char* who = options_.kind == NormKind::layer ? "LayerNorm" : "RMSNorm";
    if (x.size(Rank - 1) != options_.size) fail_shape(who, "[..., " + std::to_string(options_.size) + "]", x.shape());
    check_shape(who, x.shape(), out.shape());
    if (x.empty()) return;
    const TensorView<const Scalar, 2> from = detail::rows_of(who, x.rows());
    const TensorView<Scalar, 2> to = detail::rows_of(who, out.rows());
    const Index rows = from.size(0), n = options_.size;
    if (mean.data() != nullptr && options_.kind == NormKind::rms) fail("RMSNorm: a mean, which it does not compute");
    if (mean.data() != nullptr) check_shape(who, Shape<1>{rows}, mean.shape());
    if (inverse_deviation.data() != nullptr) check_shape(who, Shape<1>{rows}, inverse_deviation.shape());
    // an item is 16 rows, so that few rows make few items
    context.parallel((rows + 15) / 16, context.workers((rows + 15) / 16, 40.0 * static_cast<double>(rows * n)),
                     [&](Index item, int) {
                       for (Index r = item * 16; r < std::min(rows, item * 16 + 16); ++r) {
                         Scalar statistics[2] = {Scalar(0), Scalar(0)};
                         normalize(&from(r, 0), &to(r, 0), statistics);
                         if (mean.data() != nullptr) mean(r) = statistics[0];
                         if (inverse_deviation.data() != nullptr) inverse_deviation(r) = statistics[1];
                       }
                     });
  }
  template <TensorLike X>
  Tensor<Scalar, X::rank> operator()(const X& x) const {
    Tensor<Scalar, X::rank> out(x.shape());
    forward<X::rank>(default_context(), const_view(x), out.view());
    return out;
  }

 private:
  void normalize(const Scalar* x, Scalar* y, Scalar (&statistics)[2]) const {
    const Index n = options_.size;
    const Scalar* weight = options_.weight ? weight_.data() : nullptr;
    const Scalar* bias = has_bias_ ? bias_.data() : nullptr;
    if constexpr (detail::has_kernels<Scalar>) {
      const float eps = static_cast<float>(options_.eps);
      if (options_.kind == NormKind::layer)
        kernel::kernels().layer_norm(x, weight, bias, eps, y, n, statistics);
      else
        kernel::kernels().rms_norm(x, weight, eps, y, n, statistics + 1);
    } else {
      using std::sqrt;
      const Scalar count(static_cast<double>(n));
      Scalar centre(0), rest(0), squares(0);  // of an RMSNorm distances from 0
      if (options_.kind == NormKind::layer) {  // see layer_norm of kernel/elementwise.inl
        for (Index i = 0; i < n; ++i) centre = centre + (x[i] - x[0]);
        centre = x[0] + centre / count;
        for (Index i = 0; i < n; ++i) rest = rest + (x[i] - centre);
        rest = rest / count;
      }
      for (Index i = 0; i < n; ++i) squares = squares + (x[i] - centre) * (x[i] - centre);
      Scalar variance = squares / count - rest * rest;
      if (variance < Scalar(0)) variance = Scalar(0);
      const Scalar inverse = Scalar(1) / sqrt(variance + Scalar(options_.eps));
      for (Index i = 0; i < n; ++i) {
        Scalar v = (x[i] - centre - rest) * inverse;
        if (weight != nullptr) v = v * weight[i];
        if (bias != nullptr) v = v + bias[i];
        y[i] = v;
      }
      statistics[0] = centre + rest;
      statistics[1] = inverse;
    }
  }

  NormOptions options_;
  bool has_bias_ = false;
  Tensor<Scalar, 1> weight_, bias_;
};

namespace detail {
/// The norms of a block, whose `bias` speaks of its linear layers, and of LayerNorms.
inline NormOptions block_norm(Index size, double eps, NormKind kind, bool bias) {
  return {size, eps, kind, true, bias && kind == NormKind::layer};
}
}  // namespace detail

struct LayerNormOptions {
  Index normalized_shape = 0;
  double eps = 1e-5;
  bool elementwise_affine = true;
  std::optional<bool> bias = {};  // not given: as elementwise_affine
};

template <class Scalar>
class LayerNorm : public Norm<Scalar> {
 public:
  LayerNorm() = default;
  explicit LayerNorm(const LayerNormOptions& o)
      : Norm<Scalar>({o.normalized_shape, o.eps, NormKind::layer, o.elementwise_affine, o.bias}) {}
};

struct RMSNormOptions {
  Index normalized_shape = 0;
  double eps = 1e-6;
  bool elementwise_affine = true;
};

template <class Scalar>
class RMSNorm : public Norm<Scalar> {
 public:
  RMSNorm() = default;
  explicit RMSNorm(const RMSNormOptions& o)
      : Norm<Scalar>({o.normalized_shape, o.eps, NormKind::rms, o.elementwise_affine, false}) {}
};

}  // namespace attend
