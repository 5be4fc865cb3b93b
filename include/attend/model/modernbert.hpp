// ModernBERT (arXiv:2412.13663): rotary positions, local and global layers, gated feed-forward.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <attend/embedding.hpp>
#include <attend/feed_forward.hpp>
#include <attend/io/config.hpp>
#include <attend/model/family.hpp>
#include <attend/multi_head_attention.hpp>
#include <attend/norm.hpp>

namespace attend::inline ATTEND_ABI {

struct ModernBertOptions {
  Index vocab_size = 0, hidden_size = 0, num_attention_heads = 1, intermediate_size = 0;
  Activation hidden_activation = Activation::gelu;
  double norm_eps = 1e-5;
  bool norm_bias = false, attention_bias = false, mlp_bias = false;
  std::vector<bool> local = {};  // of each layer: sees its window alone
  Index local_attention = 128;   // width of that window
  RotaryOptions global_rotary = {}, local_rotary = {};
};

ModernBertOptions read_modernbert_options(const Config& config);

/// Parameters: embeddings.tok_embeddings.weight, embeddings.norm.*, layers.N.{attn_norm (not of layer 0),
/// mlp_norm}.*, layers.N.attn.* as in MultiHeadAttention, layers.N.mlp.* as in FeedForward, final_norm.*.
template <class Scalar>
class ModernBertModel {
 public:
  ModernBertModel() = default;
  explicit ModernBertModel(const ModernBertOptions& options)
      : options_(checked(options)), embeddings_({options.vocab_size, options.hidden_size}) {
    const ModernBertOptions& o = options_;
    const NormOptions norm{o.hidden_size, o.norm_eps, NormKind::layer, true, o.norm_bias};
    embedding_norm_ = final_norm_ = Norm<Scalar>(norm);
    const auto global = std::make_shared<const Rotary<Scalar>>(o.global_rotary),
               local = std::make_shared<const Rotary<Scalar>>(o.local_rotary);
    layers_.reserve(o.local.size());
    for (bool is_local : o.local) {
      layers_.push_back(
          {Norm<Scalar>(norm), Norm<Scalar>(norm),
           MultiHeadAttention<Scalar>(
               {.embed_dim = o.hidden_size, .num_heads = o.num_attention_heads, .bias = o.attention_bias}),
           FeedForward<Scalar>({o.hidden_size, o.intermediate_size, o.hidden_activation, true, o.mlp_bias})});
      layers_.back().attention.set_rotary(is_local ? local : global);
    }
  }

  static ModernBertModel open(const std::filesystem::path& folder) {
    const Config config(folder / "config.json");
    const ModelFamily<ModernBertOptions> family{read_modernbert_options(config),
                                                {{"layers.*.attn.in_proj_*", "(model.|)layers.*.attn.Wqkv.*"},
                                                 {"layers.*.attn.out_proj.*", "(model.|)layers.*.attn.Wo.*"},
                                                 {"layers.*.mlp.linear1.*", "(model.|)layers.*.mlp.Wi.*"},
                                                 {"layers.*.mlp.linear2.*", "(model.|)layers.*.mlp.Wo.*"},
                                                 {"layers.*.*.*", "(model.|)layers.*.*.*"},
                                                 {"embeddings.*.*", "(model.|)embeddings.*.*"},
                                                 {"final_norm.*", "(model.|)final_norm.*"}},
                                                {"head.*.*", "decoder.*", "classifier.*"}};
    config.finish();
    const ModernBertOptions& o = family.options;
    const Index layers = static_cast<Index>(o.local.size()), E = o.hidden_size;
    return detail::load_model<ModernBertModel>(folder, family,
                                               {{o.vocab_size, E},
                                                {layers * E, E},
                                                {layers, o.intermediate_size},
                                                {layers * o.intermediate_size, E}});
  }

  const ModernBertOptions& options() const { return options_; }

  void parameters(ParameterVisitor<Scalar> visit) {
    embeddings_.parameters(prefixed("embeddings.tok_embeddings", visit));
    embedding_norm_.parameters(prefixed("embeddings.norm", visit));
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const std::string name = "layers." + std::to_string(i) + ".";
      if (i > 0) layers_[i].attn_norm.parameters(prefixed(name + "attn_norm", visit));
      layers_[i].attention.parameters(prefixed(name + "attn", visit));
      layers_[i].mlp_norm.parameters(prefixed(name + "mlp_norm", visit));
      layers_[i].mlp.parameters(prefixed(name + "mlp", visit));
    }
    final_norm_.parameters(prefixed("final_norm", visit));
  }
  void parameters(ParameterVisitor<const Scalar> visit) const { const_parameters(*this, visit); }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const {
    return embeddings_.assigned() && std::all_of(layers_.begin(), layers_.end(), [](const Layer& layer) {
             return layer.attention.assigned() && layer.mlp.assigned();
           });
  }

  /// Text b is tokens [offsets[b], offsets[b + 1]). ids [tokens] -> out [tokens, E].
  void forward(Context& context, std::span<const std::int32_t> ids, std::span<const Index> offsets,
               TensorView<Scalar, 2> out) const {
    const Index tokens = static_cast<Index>(ids.size()), E = options_.hidden_size;
    detail::check_assigned(context, "ModernBertModel", *this);
    Rows<Scalar>(out).check_output("ModernBertModel", Shape<1>{tokens}, E);
    detail::longest_sequence("ModernBertModel (offsets)", offsets, tokens);
    embeddings_.forward(context, TensorView<const std::int32_t, 1>(ids.data(), {tokens}), out);
    if (out.empty()) return;
    Frame frame(context.workspace());
    const TensorView<Scalar, 3> normed = frame.tensor<Scalar>({1, tokens, E}),
                                sum = frame.tensor<Scalar>({1, tokens, E});
    const TensorView<Scalar, 3> x(out.data(), {1, tokens, E}, {0, out.stride(0), 1});
    embedding_norm_.forward(context, x, x);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      AttentionOptions<Scalar> attention{.query_offsets = offsets, .key_offsets = offsets};
      if (options_.local[i])
        attention.mask = sliding_window(options_.local_attention / 2, options_.local_attention / 2);
      if (i > 0) layer.attn_norm.forward(context, x, normed);
      layer.attention.forward(context, i > 0 ? normed : x, attention, sum, Epilogue<Scalar>{{}, x});
      layer.mlp_norm.forward(context, sum, normed);
      layer.mlp.forward(context, normed, x, Epilogue<Scalar>{{}, sum});
    }
    final_norm_.forward(context, x, x);
  }

 private:
  /// Positions without a head_dim have that of the heads.
  static ModernBertOptions checked(ModernBertOptions o) {
    const char* who = "ModernBertModel";
    check_size(who, "vocab_size", o.vocab_size);
    check_size(who, "hidden_size", o.hidden_size);
    check_size(who, "num_attention_heads", o.num_attention_heads);
    check_size(who, "intermediate_size", o.intermediate_size);
    check_count(who, "local_attention", o.local_attention);
    for (RotaryOptions* rotary : {&o.global_rotary, &o.local_rotary})
      if (rotary->head_dim == 0) rotary->head_dim = std::max<Index>(1, o.hidden_size / o.num_attention_heads);
    return o;
  }
  struct Layer {
    Norm<Scalar> attn_norm, mlp_norm;
    MultiHeadAttention<Scalar> attention;
    FeedForward<Scalar> mlp;
  };

  ModernBertOptions options_;
  Embedding<Scalar> embeddings_;
  Norm<Scalar> embedding_norm_, final_norm_;
  std::vector<Layer> layers_;
};

ATTEND_COMPILED_MODEL(class ModernBertModel<float>);

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/modernbert.inl>
#endif
