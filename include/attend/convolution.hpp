// Convolution over the tokens of each sequence.
#pragma once

#include <span>

#include <attend/linear.hpp>

namespace attend::inline ATTEND_ABI {

/// Named as PyTorch's Conv1d.
struct ConvolutionOptions {
  Index embed_dim = 0;
  Index kernel_size = 3;  // odd: a token and as many on both sides; beyond the ends of a sequence are zeros
  Activation activation = Activation::identity;  // of the result
};

/// y[t] = activation(sum over j of W[:, :, j] x[t + j - kernel_size / 2] + b). Parameters: weight [embed_dim,
/// embed_dim, kernel_size], bias [embed_dim].
/// https://pytorch.org/docs/stable/generated/torch.nn.Conv1d.html, with "same" padding
template <class Scalar>
class Convolution {
 public:
  Convolution() = default;
  explicit Convolution(const ConvolutionOptions& options);

  const ConvolutionOptions& options() const { return options_; }
  void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }
  /// Whether all parameters have values; forward takes none less.
  bool assigned() const { return product_.assigned(); }

  /// x [B, T, E] -> out [B, T, E], which does not overlap it. Of a ragged batch sequence b is tokens
  /// [offsets[b], offsets[b + 1]), as in AttentionOptions; else offsets is empty.
  void forward(Context& context, const Batched<const Scalar, 3>& x, std::span<const Index> offsets,
               const Batched<Scalar, 3>& out) const;

 private:
  ConvolutionOptions options_;
  Linear<Scalar> product_;  // of a token and its neighbours, in the order of the weight
};

template <class Scalar>
Convolution<Scalar>::Convolution(const ConvolutionOptions& o) : options_(o) {
  detail::check_size("Convolution", "embed_dim", o.embed_dim);
  detail::check_size("Convolution", "kernel_size", o.kernel_size);
  if (o.kernel_size % 2 == 0)
    throw_error("Convolution: kernel_size is ", o.kernel_size, ", expected an odd one");
  product_ = Linear<Scalar>({detail::checked_numel(Shape<2>{o.embed_dim, o.kernel_size}), o.embed_dim});
}
template <class Scalar>
void Convolution<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  product_.parameters([&](const std::string& name, Parameter<Scalar> parameter) {
    if (name == "weight")
      parameter =
          std::move(parameter).reshape({options_.embed_dim, options_.embed_dim, options_.kernel_size});
    visit(name, std::move(parameter));
  });
}

template <class Scalar>
void Convolution<Scalar>::forward(Context& context, const Batched<const Scalar, 3>& x,
                                  std::span<const Index> offsets, const Batched<Scalar, 3>& out) const {
  const char* who = "Convolution";
  const Index E = options_.embed_dim, K = options_.kernel_size, T = x.size(1);
  detail::check_assigned(context, who, *this);
  const Rows<const Scalar> in(x);
  in.check_input(who, E);
  Rows<Scalar>(out).check_output(who, in.leading(), E);
  detail::check_apart(context, who, {"out", out}, {{"x", x}});
  if (!offsets.empty()) {
    if (x.size(0) != 1) detail::fail_shape("Convolution (ragged)", "[1, tokens, E]", x.shape());
    detail::longest_sequence(who, offsets, T);
  }
  if (x.empty()) return;
  Frame frame(context.workspace());
  const TensorView<Scalar, 2> neighbours = frame.tensor<Scalar>(Shape<2>{in.count(), E * K});
  const Index sequences = offsets.empty() ? x.size(0) : static_cast<Index>(offsets.size()) - 1;
  context.parallel(sequences, context.workers(sequences, static_cast<double>(neighbours.numel())),
                   [&](Index b, int) {
                     const std::size_t i = static_cast<std::size_t>(b);
                     const Index begin = offsets.empty() ? b * T : offsets[i],
                                 end = offsets.empty() ? begin + T : offsets[i + 1];
                     for (Index t = begin; t < end && !context.stopping(); ++t)
                       for (Index j = 0; j < K; ++j) {
                         const Index from = t + j - K / 2;
                         const bool there = from >= begin && from < end;
                         const Scalar* row = there ? in.row(from) : nullptr;
                         for (Index e = 0; e < E; ++e) neighbours(t, e * K + j) = there ? row[e] : Scalar(0);
                       }
                   });
  product_.forward(context, neighbours, Rows<Scalar>(out).view(), {options_.activation, {}});
}
ATTEND_COMPILED_LAYER(class Convolution<float>);

}  // namespace attend::inline ATTEND_ABI
