// LayerNorm and RMSNorm over the last axis.
#pragma once

#include <optional>

#include <attend/core/context.hpp>
#include <attend/core/parameter.hpp>
#include <attend/core/scalar.hpp>
#include <attend/linear.hpp>
#include <attend/rows.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// LayerNorm, RMSNorm.
enum class NormKind { layer, rms };

/// Of either kind of norm.
struct NormOptions {
  Index size = 0;  // of the normalised axis
  double eps = 1e-5;
  NormKind kind = NormKind::layer;  // the mean is taken away, or not
  bool weight = true;               // it has a weight, and a LayerNorm a bias
  std::optional<bool> bias = {};    // not given: that of a LayerNorm with weight; an error of any other
};

/// layer: y = (x - mean) / sqrt(variance + eps) * weight + bias, the variance biased.
/// rms:   y = x / sqrt(mean(x²) + eps) * weight.
/// Parameters: weight [size], bias [size]. Sums run in 16 lanes (see core/tiling.hpp).
/// A row far from 0 is as exact as one around it, and a constant one gives the bias. As in PyTorch, a row
/// whose variance is beyond the scalar's range gives the bias, too.
/// https://pytorch.org/docs/stable/generated/torch.nn.LayerNorm.html, …/torch.nn.RMSNorm.html
template <class Scalar>
class Norm {
  static_assert(detail::check_scalar<Scalar>());

 public:
  Norm() = default;
  explicit Norm(const NormOptions& options);

  const NormOptions& options() const { return options_; }

  ATTEND_COLD void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }

  /// Whether the parameters are there, which have values from the start: weights of 1 and biases of 0, as
  /// PyTorch's.
  bool assigned() const;

  /// x [..., size] -> out [..., size]; out may be x, but not overlap it otherwise. Optional: mean [rows] (of
  /// a LayerNorm) and inverse_deviation [rows], the 1 / sqrt(…) of each row.
  void forward(Context& context, const Rows<const Scalar>& x, const Rows<Scalar>& out,
               TensorView<Scalar, 1> mean = {}, TensorView<Scalar, 1> inverse_deviation = {}) const;
  template <detail::LayerInput<Scalar> X, class = detail::Flags>
  detail::TensorOf<X> operator()(const X& x) const {
    return detail::map_rows(x, options_.size,
                            [this](const auto& rows, auto& out) { forward(default_context(), rows, out); });
  }

 protected:
  /// Rows [begin, end). A pointer: a program without LayerNorms does not compile theirs.
  using SomeRows = void (*)(const Norm& norm, const Rows<const Scalar>& x, const Rows<Scalar>& out,
                            Index begin, Index end, const TensorView<Scalar, 1>& mean,
                            const TensorView<Scalar, 1>& inverse_deviation);
  /// Of rows of that kind.
  Norm(const NormOptions& options, SomeRows normalize);
  /// The rows of a kind.
  template <NormKind kind>
  static void rows_of(const Norm& norm, const Rows<const Scalar>& x, const Rows<Scalar>& out, Index begin,
                      Index end, const TensorView<Scalar, 1>& mean,
                      const TensorView<Scalar, 1>& inverse_deviation);

 private:
  NormOptions options_;
  SomeRows normalize_ = nullptr;
  bool has_bias_ = false;
  Tensor<Scalar, 1> weight_, bias_;
};

template <class Scalar>
Norm<Scalar>::Norm(const NormOptions& options)
    : Norm(options, options.kind == NormKind::layer ? rows_of<NormKind::layer> : rows_of<NormKind::rms>) {}
template <class Scalar>
ATTEND_COLD Norm<Scalar>::Norm(const NormOptions& options, SomeRows normalize)
    : options_(options), normalize_(normalize) {
  const char* who = options.kind == NormKind::layer ? "LayerNorm" : "RMSNorm";
  detail::check_size(who, "size", options.size);
  detail::check_number(who, "eps", options.eps, 0);
  const bool may_have_bias = options.weight && options.kind == NormKind::layer;
  if (options.bias.value_or(false) && !may_have_bias)
    throw_error(options.weight ? "RMSNorm: a bias, which it has none of"
                               : "LayerNorm: a bias without weight (elementwise_affine)");
  options_.bias = has_bias_ = options.bias.value_or(may_have_bias);
  if (options_.weight) weight_ = Tensor<Scalar, 1>({options.size}, Scalar(1));
  if (has_bias_) bias_ = Tensor<Scalar, 1>({options.size});
}
template <class Scalar>
ATTEND_COLD void Norm<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  if (options_.weight) detail::visit_part<Scalar>(visit, "weight", {options_.size}, weight_.data());
  if (has_bias_) detail::visit_part<Scalar>(visit, "bias", {options_.size}, bias_.data());
}
template <class Scalar>
bool Norm<Scalar>::assigned() const {
  return (!options_.weight || weight_.numel() == options_.size) &&
         (!has_bias_ || bias_.numel() == options_.size);
}
template <class Scalar>
void Norm<Scalar>::forward(Context& context, const Rows<const Scalar>& x, const Rows<Scalar>& out,
                           TensorView<Scalar, 1> mean, TensorView<Scalar, 1> inverse_deviation) const {
  const char* who = options_.kind == NormKind::layer ? "LayerNorm" : "RMSNorm";
  const Index rows = x.count(), n = options_.size;
  detail::check_assigned(context, who, *this);
  detail::check_rows_in_place(context, who, x, out, n);
  if (mean.data() != nullptr && options_.kind == NormKind::rms)
    throw_error("RMSNorm: a mean, which it does not compute");
  if (mean.data() != nullptr) detail::check_shape(who, Shape<1>{rows}, mean.shape());
  if (inverse_deviation.data() != nullptr)
    detail::check_shape(who, Shape<1>{rows}, inverse_deviation.shape());
  if (mean.data() != nullptr)
    detail::check_apart(context, who, {"mean", mean},
                        {{"x", x.view()}, {"out", out.view()}, {"inverse_deviation", inverse_deviation}});
  if (inverse_deviation.data() != nullptr)
    detail::check_apart(context, who, {"inverse_deviation", inverse_deviation},
                        {{"x", x.view()}, {"out", out.view()}});
  if (x.empty()) return;
  const LayerTimer timer(context, who, x.shape(), out.shape());
  // an item is 16 rows, so that few rows make few items
  context.parallel((rows + 15) / 16, context.workers((rows + 15) / 16, 40.0 * static_cast<double>(rows * n)),
                   [&](Index item, int) {
                     normalize_(*this, x, out, item * 16, (std::min)(rows, item * 16 + 16), mean,
                                inverse_deviation);
                   });
}
template <class Scalar>
template <NormKind kind>
void Norm<Scalar>::rows_of(const Norm& norm, const Rows<const Scalar>& x, const Rows<Scalar>& out,
                           Index begin, Index end, const TensorView<Scalar, 1>& mean,
                           const TensorView<Scalar, 1>& inverse_deviation) {
  const Index n = norm.options_.size;
  const double eps = norm.options_.eps;
  const Scalar* weight = norm.options_.weight ? norm.weight_.data() : nullptr;
  const Scalar* bias = norm.has_bias_ ? norm.bias_.data() : nullptr;
  for (Index r = begin; r < end; ++r) {
    Scalar statistics[2] = {Scalar(0), Scalar(0)};
    if constexpr (kind == NormKind::layer)
      detail::Backend<Scalar>::layer_norm(x.row(r), weight, bias, eps, out.row(r), n, statistics);
    else
      detail::Backend<Scalar>::rms_norm(x.row(r), weight, eps, out.row(r), n, statistics + 1);
    if (mean.data() != nullptr) mean(r) = statistics[0];
    if (inverse_deviation.data() != nullptr) inverse_deviation(r) = statistics[1];
  }
}
ATTEND_COMPILED_LAYER(class Norm<float>);

namespace detail {
/// The norms of a block, whose `bias` speaks of its linear layers, and of LayerNorms.
inline NormOptions block_norm(Index size, double eps, NormKind kind, bool bias) {
  return {size, eps, kind, true, bias && kind == NormKind::layer};
}
}  // namespace detail

/// Named as PyTorch's LayerNorm.
struct LayerNormOptions {
  Index normalized_shape = 0;
  double eps = 1e-5;
  bool elementwise_affine = true;
  std::optional<bool> bias = {};  // not given: as elementwise_affine
};

/// A Norm that takes the mean away. Parameters: weight and bias [normalized_shape].
/// https://pytorch.org/docs/stable/generated/torch.nn.LayerNorm.html
template <class Scalar>
class LayerNorm : public Norm<Scalar> {
 public:
  LayerNorm() = default;
  explicit LayerNorm(const LayerNormOptions& o)
      : Norm<Scalar>(
            {(detail::check_size("LayerNorm", "normalized_shape", o.normalized_shape), o.normalized_shape),
             o.eps, NormKind::layer, o.elementwise_affine, o.bias},
            Norm<Scalar>::template rows_of<NormKind::layer>) {}
};

/// Named as PyTorch's RMSNorm.
struct RMSNormOptions {
  Index normalized_shape = 0;
  double eps = 1e-6;
  bool elementwise_affine = true;
};

/// A Norm that leaves the mean. Parameters: weight [normalized_shape].
/// https://pytorch.org/docs/stable/generated/torch.nn.RMSNorm.html
template <class Scalar>
class RMSNorm : public Norm<Scalar> {
 public:
  RMSNorm() = default;
  explicit RMSNorm(const RMSNormOptions& o)
      : Norm<Scalar>(
            {(detail::check_size("RMSNorm", "normalized_shape", o.normalized_shape), o.normalized_shape),
             o.eps, NormKind::rms, o.elementwise_affine, false},
            Norm<Scalar>::template rows_of<NormKind::rms>) {}
};

}  // namespace attend::inline ATTEND_ABI
