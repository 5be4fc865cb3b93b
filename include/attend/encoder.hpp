// Encoder: a stack of EncoderBlocks with an optional norm at the end.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <attend/encoder_block.hpp>

namespace attend::inline ATTEND_ABI {

struct EncoderOptions {
  EncoderBlockOptions block = {};
  Index num_layers = 1;
  bool final_norm = false;
};

/// Parameters: layers.N.* of each EncoderBlock, and norm.* where final_norm.
/// https://pytorch.org/docs/stable/generated/torch.nn.TransformerEncoder.html
template <class Scalar>
class Encoder {
 public:
  Encoder() = default;
  explicit Encoder(const EncoderOptions& o) : options_(o) {
    check_size("Encoder", "block.embed_dim", o.block.embed_dim);
    check_count("Encoder", "num_layers", o.num_layers, kMostLayers);
    for (Index i = 0; i < o.num_layers; ++i) layers_.emplace_back(o.block);
    if (o.final_norm)
      norm_ = Norm<Scalar>(
          detail::block_norm(o.block.embed_dim, o.block.layer_norm_eps, o.block.norm, o.block.bias));
  }

  const EncoderOptions& options() const { return options_; }
  const std::vector<EncoderBlock<Scalar>>& layers() const { return layers_; }
  const Norm<Scalar>& norm() const { return norm_; }

  template <class Visitor>
  void parameters(Visitor&& visit) {
    for (std::size_t i = 0; i < layers_.size(); ++i)
      layers_[i].parameters(prefixed("layers." + std::to_string(i), visit));
    if (options_.final_norm) norm_.parameters(prefixed("norm", visit));
  }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const {
    return std::all_of(layers_.begin(), layers_.end(),
                       [](const EncoderBlock<Scalar>& layer) { return layer.assigned(); });
  }

  /// x [B, T, E] -> out [B, T, E]; out may be x, but not overlap it otherwise. `attention` is that of every
  /// layer.
  void forward(Context& context, TensorView<const Scalar, 3> x, const AttentionOptions<Scalar>& attention,
               TensorView<Scalar, 3> out) const {
    detail::check_assigned(context, "Encoder", *this);
    detail::check_rows_in_place<Scalar>(context, "Encoder", x, out, options_.block.embed_dim);
    if (x.empty()) return;
    for (const EncoderBlock<Scalar>& layer : layers_) {
      layer.forward(context, x, attention, out);
      x = out;
    }
    if (options_.final_norm) {
      norm_.forward(context, x, out);
    } else if (layers_.empty()) {
      context.parallel(1, 1, [&](Index, int) { copy(x, out); });
    }
  }
  Tensor<Scalar, 3> operator()(TensorView<const Scalar, 3> x,
                               const AttentionOptions<Scalar>& attention = {}) const {
    Tensor<Scalar, 3> out(x.shape());
    forward(default_context(), x, attention, out.view());
    return out;
  }

 private:
  EncoderOptions options_;
  std::vector<EncoderBlock<Scalar>> layers_;
  Norm<Scalar> norm_;
};

}  // namespace attend::inline ATTEND_ABI
