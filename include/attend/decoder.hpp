// DecoderBlock and Decoder: Block and Stack with cross-attention, under the names of PyTorch's decoder.
#pragma once

#include <span>
#include <vector>

#include <attend/encoder.hpp>

namespace attend::inline ATTEND_ABI {

/// Named as PyTorch's TransformerDecoderLayer.
struct DecoderBlockOptions {
  Index embed_dim = 0;
  Index num_heads = 1;
  Index num_kv_heads = 0;  // 0: num_heads
  Index head_dim = 0;      // 0: embed_dim / num_heads
  Index memory_dim = 0;    // features of the encoder's output; 0: embed_dim
  Index dim_feedforward = 2048;
  Activation activation = Activation::relu;
  bool gated = false;       // see FeedForward
  bool norm_first = false;  // x + f(norm(x)) instead of norm(x + f(x))
  NormKind norm = NormKind::layer;
  double layer_norm_eps = 1e-5;
  bool bias = true;  // of the linear layers, and of the norms where they are LayerNorms
  WeightType weights = WeightType::float32;
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights

  operator BlockOptions() const {
    BlockOptions block = detail::block_options(*this);
    block.multihead_attn = block.self_attn;
    block.multihead_attn->kdim = block.multihead_attn->vdim = memory_dim;
    return block;
  }
};

/// Parameters: self_attn.*, multihead_attn.* (cross-attention), linear1.*, linear2.*, norm1.*, norm2.*,
/// norm3.*. See Block. https://pytorch.org/docs/stable/generated/torch.nn.TransformerDecoderLayer.html
template <class Scalar>
class DecoderBlock : public Block<Scalar> {
 public:
  DecoderBlock() : Block<Scalar>("DecoderBlock") {}
  explicit DecoderBlock(const DecoderBlockOptions& options) : Block<Scalar>(options, "DecoderBlock") {}
};

/// Of a Decoder: its blocks, and how many.
struct DecoderOptions {
  DecoderBlockOptions block = {};
  Index num_layers = 1;
  bool final_norm = false;
};

/// Keys and values of every layer of a decoder: of the targets so far, and of the memory.
template <class Scalar>
struct DecoderCache {
  std::vector<KVCache<Scalar>> targets, memory;  // one of each layer

  /// Tokens of the longest sequence so far.
  Index length() const { return targets.empty() ? 0 : targets[0].max_length(); }
  /// Sequence i becomes what parents[i] was (beam search); their number may change.
  void reorder(std::span<const Index> parents) {
    detail::CacheGroup<Scalar>::reorder({targets, memory}, parents);
  }
};

/// Parameters: layers.N.* of each DecoderBlock, and norm.* where final_norm. See Stack.
/// https://pytorch.org/docs/stable/generated/torch.nn.TransformerDecoder.html
template <class Scalar>
class Decoder : public Stack<Scalar> {
 public:
  Decoder() : Stack<Scalar>("Decoder") {}
  explicit Decoder(const DecoderOptions& options)
      : Stack<Scalar>(detail::stack_options("Decoder", options), "Decoder", "DecoderBlock"),
        options_(options) {}

  const DecoderOptions& options() const { return options_; }

  /// A cache with the keys and values of a memory [B, S, memory_dim], of which sequence b has lengths[b]
  /// tokens (all where empty), and no targets yet. forward takes it as {.caches = cache.targets,
  /// .memory_caches = cache.memory}; .self usually has .mask = causal(Corner::bottom_right).
  DecoderCache<Scalar> make_cache(Context& context, TensorView<const Scalar, 3> memory,
                                  std::span<const Index> lengths = {}) const {
    return {this->make_caches(memory.size(0)), this->make_memory_caches(context, memory, lengths)};
  }

 private:
  DecoderOptions options_;
};

}  // namespace attend::inline ATTEND_ABI
