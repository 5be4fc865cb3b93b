// FeedForward: two linear layers with an activation between, plain or gated.
#pragma once

#include <vector>

#include <attend/linear.hpp>

namespace attend::inline ATTEND_ABI {

/// Of a FeedForward: two linear layers and what is between them.
struct FeedForwardOptions {
  Index embed_dim = 0;
  Index dim_feedforward = 0;
  Activation activation = Activation::relu;
  bool gated = false;  // activation(x Wgᵀ) ⊙ (x W1ᵀ) instead of activation(x W1ᵀ): SwiGLU, GeGLU, …
  bool bias = true;
  WeightType weights = WeightType::float32;
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights
};

/// y = activation(x W1ᵀ + b1) W2ᵀ + b2. Parameters: linear1.*, linear2.* as PyTorch's TransformerEncoderLayer
/// names them; gated: linear1.* is [gate; up] stacked, [2 dim_feedforward, embed_dim] (arXiv:2002.05202).
template <class Scalar>
class FeedForward {
 public:
  FeedForward() = default;
  explicit FeedForward(const FeedForwardOptions& o);

  const FeedForwardOptions& options() const { return options_; }

  void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const;

  /// x [..., embed_dim] -> out [..., embed_dim], which overlaps neither x nor the residual. `epilogue`
  /// follows in the last product's pass.
  void forward(Context& context, const Rows<const Scalar>& x, const Rows<Scalar>& out,
               const Epilogue<Scalar>& epilogue = {}) const;
  template <detail::LayerInput<Scalar> X, class = detail::Flags>
  detail::TensorOf<X> operator()(const X& x) const {
    return detail::map_rows(x, options_.embed_dim,
                            [this](const auto& rows, auto& out) { forward(default_context(), rows, out); });
  }

 private:
  /// hidden[:, gate] = activation(hidden[:, gate]) * hidden[:, up].
  void gate(Context& context, TensorView<Scalar, 2> hidden) const;

  FeedForwardOptions options_;
  Weight<Scalar> weight1_;
  Weight<Scalar> weight2_;
  Bias<Scalar> bias1_, bias2_;
};

template <class Scalar>
FeedForward<Scalar>::FeedForward(const FeedForwardOptions& o) : options_(o) {
  detail::check_size("FeedForward", "embed_dim", o.embed_dim);
  detail::check_size("FeedForward", "dim_feedforward", o.dim_feedforward);
  const detail::WeightFormat format{o.weights, o.activations};
  weight1_ = Weight<Scalar>(std::vector<Index>(o.gated ? 2 : 1, o.dim_feedforward), o.embed_dim, format);
  weight2_ = Weight<Scalar>({o.embed_dim}, o.dim_feedforward, format);
  if (o.bias) bias1_ = Bias<Scalar>(weight1_), bias2_ = Bias<Scalar>(weight2_);
}
template <class Scalar>
void FeedForward<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  visit("linear1.weight", weight1_.parameter());
  if (options_.bias) visit("linear1.bias", bias1_.parameter());
  visit("linear2.weight", weight2_.parameter());
  if (options_.bias) visit("linear2.bias", bias2_.parameter());
}
template <class Scalar>
bool FeedForward<Scalar>::assigned() const {
  return weight1_.assigned() && weight2_.assigned() &&
         (!options_.bias || (bias1_.assigned() && bias2_.assigned()));
}
template <class Scalar>
void FeedForward<Scalar>::forward(Context& context, const Rows<const Scalar>& x, const Rows<Scalar>& out,
                                  const Epilogue<Scalar>& epilogue) const {
  detail::check_assigned(context, "FeedForward", *this);
  x.check_input("FeedForward", options_.embed_dim);
  out.check_output("FeedForward", x.leading(), options_.embed_dim);
  detail::check_operands(context, "FeedForward", x, epilogue.residual, out);
  const LayerTimer timer(context, "FeedForward", x.shape(), out.shape());
  Frame frame(context.workspace());
  const TensorView<Scalar, 2> hidden = frame.tensor<Scalar>({x.count(), weight1_.width()});
  detail::product<Scalar>(context, x.view(), weight1_, 0, bias1_,
                          {options_.gated ? Activation::identity : options_.activation, {}}, hidden);
  if (options_.gated) gate(context, hidden);
  detail::product<Scalar>(context, hidden.slice(1, 0, options_.dim_feedforward), weight2_, 0, bias2_,
                          epilogue, out.view());
}
template <class Scalar>
void FeedForward<Scalar>::gate(Context& context, TensorView<Scalar, 2> hidden) const {
  const Index rows = hidden.size(0), F = options_.dim_feedforward, up = weight1_.offset(1);
  context.parallel(rows, context.workers(rows, 20.0 * static_cast<double>(rows * F)), [&](Index r, int) {
    Scalar* g = &hidden(r, 0);
    detail::Backend<Scalar>::activate(options_.activation, g, g, F);
    detail::Backend<Scalar>::multiply(g + up, g, F);
  });
}
ATTEND_COMPILED_LAYER(class FeedForward<float>);

}  // namespace attend::inline ATTEND_ABI
