// EncoderBlock and Encoder: Block and Stack under the names of PyTorch's encoder.
#pragma once

#include <attend/stack.hpp>

namespace attend::inline ATTEND_ABI {

/// Named as PyTorch's TransformerEncoderLayer.
struct EncoderBlockOptions {
  Index embed_dim = 0;
  Index num_heads = 1;
  Index num_kv_heads = 0;  // 0: num_heads
  Index head_dim = 0;      // 0: embed_dim / num_heads
  Index dim_feedforward = 2048;
  Activation activation = Activation::relu;
  bool gated = false;       // see FeedForward
  bool norm_first = false;  // x + f(norm(x)) instead of norm(x + f(x))
  NormKind norm = NormKind::layer;
  double layer_norm_eps = 1e-5;
  bool bias = true;  // of the linear layers, and of the norms where they are LayerNorms
  WeightType weights = WeightType::float32;
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights

  operator BlockOptions() const { return detail::block_options(*this); }
};

/// Parameters: self_attn.*, linear1.*, linear2.*, norm1.*, norm2.*. See Block.
/// https://pytorch.org/docs/stable/generated/torch.nn.TransformerEncoderLayer.html
template <class Scalar>
class EncoderBlock : public Block<Scalar> {
 public:
  EncoderBlock() : Block<Scalar>("EncoderBlock") {}
  explicit EncoderBlock(const EncoderBlockOptions& options) : Block<Scalar>(options, "EncoderBlock") {}
};

/// Of an Encoder: its blocks, and how many.
struct EncoderOptions {
  EncoderBlockOptions block = {};
  Index num_layers = 1;
  bool final_norm = false;
};

/// Parameters: layers.N.* of each EncoderBlock, and norm.* where final_norm. See Stack.
/// https://pytorch.org/docs/stable/generated/torch.nn.TransformerEncoder.html
template <class Scalar>
class Encoder : public Stack<Scalar> {
 public:
  Encoder() : Stack<Scalar>("Encoder") {}
  explicit Encoder(const EncoderOptions& options)
      : Stack<Scalar>(detail::stack_options("Encoder", options), "Encoder", "EncoderBlock"),
        options_(options) {}

  const EncoderOptions& options() const { return options_; }

 private:
  EncoderOptions options_;
};

}  // namespace attend::inline ATTEND_ABI
