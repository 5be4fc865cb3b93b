// Decoder: a stack of DecoderBlocks with an optional norm at the end.
#pragma once

#include <string>
#include <vector>

#include <attend/decoder_block.hpp>

namespace attend {

struct DecoderOptions {
  DecoderBlockOptions block = {};
  Index num_layers = 1;
  bool final_norm = false;
};

/// Parameters: layers.N.* of each DecoderBlock, and norm.* where final_norm.
/// https://pytorch.org/docs/stable/generated/torch.nn.TransformerDecoder.html
template <class Scalar>
class Decoder {
 public:
  Decoder() = default;
  explicit Decoder(const DecoderOptions& o) : options_(o) {
    for (Index i = 0; i < o.num_layers; ++i) layers_.emplace_back(o.block);
    if (o.final_norm) norm_ = Norm<Scalar>({o.block.embed_dim, o.block.layer_norm_eps, o.block.norm, true, o.block.bias});
  }

  const DecoderOptions& options() const { return options_; }
  const std::vector<DecoderBlock<Scalar>>& layers() const { return layers_; }
  const Norm<Scalar>& norm() const { return norm_; }

  template <class Visitor>
  void parameters(Visitor&& visit) {
    for (std::size_t i = 0; i < layers_.size(); ++i) layers_[i].parameters(prefixed("layers." + std::to_string(i), visit));
    if (options_.final_norm) norm_.parameters(prefixed("norm", visit));
  }

  /// x [B, T, E], memory [B, S, memory_dim] -> out [B, T, E]; out may be x.
  void forward(Context& context, TensorView<const Scalar, 3> x, TensorView<const Scalar, 3> memory,
               const AttentionOptions<Scalar>& self, const AttentionOptions<Scalar>& cross,
               TensorView<Scalar, 3> out) const {
    check_shape("Decoder (output)", x.shape(), out.shape());
    if (x.empty()) return;
    for (const DecoderBlock<Scalar>& layer : layers_) {
      layer.forward(context, x, memory, self, cross, out);
      x = out;
    }
    if (options_.final_norm) {
      norm_.template forward<3>(context, x, out);
    } else if (layers_.empty()) {
      context.parallel(1, 1, [&](Index, int) { copy(x, out); });
    }
  }
  Tensor<Scalar, 3> operator()(TensorView<const Scalar, 3> x, TensorView<const Scalar, 3> memory,
                               const AttentionOptions<Scalar>& self = {}, const AttentionOptions<Scalar>& cross = {}) const {
    Tensor<Scalar, 3> out(x.shape());
    forward(default_context(), x, memory, self, cross, out.view());
    return out;
  }

 private:
  DecoderOptions options_;
  std::vector<DecoderBlock<Scalar>> layers_;
  Norm<Scalar> norm_;
};

}  // namespace attend
