// FeedForward: two linear layers with an activation between, plain or gated.
#pragma once

#include <vector>

#include <attend/linear.hpp>

namespace attend {

struct FeedForwardOptions {
  Index embed_dim = 0;
  Index dim_feedforward = 0;
  Activation activation = Activation::relu;
  bool gated = false;  // activation(x Wgᵀ) ⊙ (x W1ᵀ) instead of activation(x W1ᵀ): SwiGLU, GeGLU, …
  bool bias = true;
};

/// y = activation(x W1ᵀ + b1) W2ᵀ + b2. Parameters: linear1.*, linear2.* as PyTorch's TransformerEncoderLayer names
/// them; gated: linear1.* is [gate; up] stacked, [2 dim_feedforward, embed_dim] (arXiv:2002.05202).
template <class Scalar>
class FeedForward {
 public:
  FeedForward() = default;
  explicit FeedForward(const FeedForwardOptions& o)
      : options_(o),
        weight1_(o.gated ? std::vector<Index>{o.dim_feedforward, o.dim_feedforward} : std::vector<Index>{o.dim_feedforward},
                 o.embed_dim),
        linear2_({.in_features = o.dim_feedforward, .out_features = o.embed_dim, .bias = o.bias}) {
    if (o.bias) bias1_ = Bias<Scalar>(weight1_);
  }

  const FeedForwardOptions& options() const { return options_; }

  template <class Visitor>
  void parameters(Visitor&& visit) {
    visit("linear1.weight", weight1_.parameter());
    if (options_.bias) visit("linear1.bias", bias1_.parameter());
    linear2_.parameters(prefixed("linear2", visit));
  }

  /// x [..., embed_dim] -> out [..., embed_dim]. `epilogue` follows in the last product's pass.
  template <int Rank>
  void forward(Context& context, TensorView<const Scalar, Rank> x, TensorView<Scalar, Rank> out,
               const Epilogue<Scalar>& epilogue = {}) const {
    if (x.size(Rank - 1) != options_.embed_dim)
      fail_shape("FeedForward", "[..., " + std::to_string(options_.embed_dim) + "]", x.shape());
    check_shape("FeedForward (output)", x.shape(), out.shape());
    if (x.empty()) return;
    const auto from = detail::rows_of("FeedForward", x.rows());
    const Index rows = from.size(0), F = options_.dim_feedforward;
    Frame frame(context.workspace());
    const TensorView<Scalar, 2> hidden = frame.tensor<Scalar>({rows, weight1_.width()});
    detail::product<Scalar>(context, from, weight1_, 0, bias1_,
                            {options_.gated ? Activation::identity : options_.activation, {}}, hidden);
    if (options_.gated) gate(context, hidden);
    linear2_.template forward<2>(context, hidden.slice(1, 0, F), out.rows(), epilogue);
  }
  template <TensorLike X>
  Tensor<Scalar, X::rank> operator()(const X& x) const {
    Tensor<Scalar, X::rank> out(x.shape());
    forward<X::rank>(default_context(), const_view(x), out.view());
    return out;
  }

 private:
  /// hidden[:, gate] = activation(hidden[:, gate]) * hidden[:, up].
  void gate(Context& context, TensorView<Scalar, 2> hidden) const {
    const Index rows = hidden.size(0), F = options_.dim_feedforward, up = weight1_.offset(1);
    context.parallel(rows, context.workers(rows, 20.0 * static_cast<double>(rows * F)), [&](Index r, int) {
      Scalar* g = &hidden(r, 0);
      detail::Backend<Scalar>::activate(options_.activation, g, g, F);
      detail::Backend<Scalar>::multiply(g + up, g, F);
    });
  }

  FeedForwardOptions options_;
  Weight<Scalar> weight1_;
  Bias<Scalar> bias1_;
  Linear<Scalar> linear2_;
};

}  // namespace attend
