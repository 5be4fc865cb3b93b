// Decoder: a stack of DecoderBlocks with an optional norm at the end.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include <attend/decoder_block.hpp>

namespace attend::inline ATTEND_ABI {

struct DecoderOptions {
  DecoderBlockOptions block = {};
  Index num_layers = 1;
  bool final_norm = false;
};

/// Keys and values of every layer of a decoder: of the targets so far, and of the memory.
template <class Scalar>
struct DecoderCache {
  std::vector<KVCache<Scalar>> targets, memory;

  Index length() const { return targets.empty() ? 0 : targets[0].max_length(); }
  /// Sequence i becomes what parents[i] was (beam search); their number may change.
  void reorder(std::span<const Index> parents) {
    detail::CacheGroup<Scalar>::reorder({targets, memory}, parents);
  }
};

/// Parameters: layers.N.* of each DecoderBlock, and norm.* where final_norm.
/// https://pytorch.org/docs/stable/generated/torch.nn.TransformerDecoder.html
template <class Scalar>
class Decoder {
 public:
  Decoder() = default;
  explicit Decoder(const DecoderOptions& o) : options_(o) {
    check_size("Decoder", "block.embed_dim", o.block.embed_dim);
    check_count("Decoder", "num_layers", o.num_layers, kMostLayers);
    for (Index i = 0; i < o.num_layers; ++i) layers_.emplace_back(o.block);
    if (o.final_norm)
      norm_ = Norm<Scalar>(
          detail::block_norm(o.block.embed_dim, o.block.layer_norm_eps, o.block.norm, o.block.bias));
  }

  const DecoderOptions& options() const { return options_; }
  const std::vector<DecoderBlock<Scalar>>& layers() const { return layers_; }
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
                       [](const DecoderBlock<Scalar>& layer) { return layer.assigned(); });
  }

  /// x [B, T, E], memory [B, S, memory_dim] -> out [B, T, E]; out may be x, but not overlap it otherwise.
  void forward(Context& context, TensorView<const Scalar, 3> x, TensorView<const Scalar, 3> memory,
               const AttentionOptions<Scalar>& self, const AttentionOptions<Scalar>& cross,
               TensorView<Scalar, 3> out) const {
    detail::check_assigned(context, "Decoder", *this);
    detail::check_rows_in_place<Scalar>(context, "Decoder", x, out, options_.block.embed_dim);
    detail::check_apart(context, "Decoder", {"out", out}, {{"memory", memory}});
    if (x.empty()) return;
    for (const DecoderBlock<Scalar>& layer : layers_) {
      layer.forward(context, x, memory, self, cross, out);
      x = out;
    }
    finish(context, x, out);
  }
  /// A cache with the keys and values of a memory [B, S, memory_dim], of which sequence b has lengths[b]
  /// tokens (all where empty), and no targets yet.
  DecoderCache<Scalar> make_cache(Context& context, TensorView<const Scalar, 3> memory,
                                  std::span<const Index> lengths = {}) const {
    if (!lengths.empty() && static_cast<Index>(lengths.size()) != memory.size(0))
      fail_shape("Decoder (lengths of the memory)", to_string(Shape<1>{memory.size(0)}),
                 Shape<1>{static_cast<Index>(lengths.size())});
    for (Index length : lengths)
      if (length < 0 || length > memory.size(1))
        throw_error("Decoder: a length of ", length, " of a memory of ", memory.size(1), " tokens");
    DecoderCache<Scalar> cache;
    for (const DecoderBlock<Scalar>& layer : layers_) {
      const MultiHeadAttentionOptions& o = layer.multihead_attn().options();
      const KVCacheOptions options{
          .batch = memory.size(0), .num_kv_heads = o.num_kv_heads, .head_dim = o.head_dim};
      cache.targets.emplace_back(options);
      cache.memory.emplace_back(options);
      layer.multihead_attn().append_memory(context, memory, cache.memory.back());
      for (std::size_t b = 0; !context.measuring() && b < lengths.size(); ++b)
        cache.memory.back().truncate(static_cast<Index>(b), lengths[b]);
    }
    return cache;
  }
  /// T more targets of each sequence. `self` usually has .mask = causal(Corner::bottom_right). x, out [B, T,
  /// E]; out may be x. A call that fails leaves the cache as it was.
  void forward(Context& context, TensorView<const Scalar, 3> x, DecoderCache<Scalar>& cache,
               const AttentionOptions<Scalar>& self, const AttentionOptions<Scalar>& cross,
               TensorView<Scalar, 3> out) const {
    detail::check_assigned(context, "Decoder", *this);
    detail::check_rows_in_place<Scalar>(context, "Decoder", x, out, options_.block.embed_dim);
    if (cache.targets.size() != layers_.size() || cache.memory.size() != layers_.size())
      throw_error("Decoder: a cache of ", cache.targets.size(), " layers, and ", cache.memory.size(),
                  " of a memory, expected ", layers_.size());
    if (x.empty()) return;
    detail::Appending<Scalar> appending("Decoder", cache.targets, context.measuring());
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      layers_[i].forward(context, x, cache.targets[i], cache.memory[i], self, cross, out);
      x = out;
    }
    finish(context, x, out);
    appending.keep();
  }
  Tensor<Scalar, 3> operator()(TensorView<const Scalar, 3> x, TensorView<const Scalar, 3> memory,
                               const AttentionOptions<Scalar>& self = {},
                               const AttentionOptions<Scalar>& cross = {}) const {
    Tensor<Scalar, 3> out(x.shape());
    forward(default_context(), x, memory, self, cross, out.view());
    return out;
  }

 private:
  /// What follows the layers, whose output is x.
  void finish(Context& context, TensorView<const Scalar, 3> x, TensorView<Scalar, 3> out) const {
    if (options_.final_norm)
      norm_.forward(context, x, out);
    else if (layers_.empty())
      context.parallel(1, 1, [&](Index, int) { copy(x, out); });
  }

  DecoderOptions options_;
  std::vector<DecoderBlock<Scalar>> layers_;
  Norm<Scalar> norm_;
};

}  // namespace attend::inline ATTEND_ABI
