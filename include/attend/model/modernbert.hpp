// ModernBERT (arXiv:2412.13663): rotary positions, local and global layers, gated feed-forward.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <attend/embedding.hpp>
#include <attend/io/config.hpp>
#include <attend/model/family.hpp>
#include <attend/stack.hpp>

namespace attend::inline ATTEND_ABI {

struct ModernBertOptions {
  Index vocab_size = 0, hidden_size = 0, num_attention_heads = 1, intermediate_size = 0;
  Activation hidden_activation = Activation::gelu;
  double norm_eps = 1e-5;
  bool norm_bias = false, attention_bias = false, mlp_bias = false;
  std::vector<bool> local = {};  // of each layer: sees its window alone
  Index local_attention = 128;   // width of that window
  RotaryOptions global_rotary = {}, local_rotary = {};
  WeightType weights = WeightType::float32;
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights

  void set_weights(WeightType type, ActivationType input) { weights = type, activations = input; }
};

ModernBertOptions read_modernbert_options(const Config& config);

/// Parameters: embeddings.tok_embeddings.weight, embeddings.norm.*, layers.N.* as in Block (layer 0 has no
/// norm1), norm.*.
template <class Scalar>
class ModernBertModel {
 public:
  ModernBertModel() = default;
  explicit ModernBertModel(const ModernBertOptions& options)
      : options_(checked(options)), embeddings_({options.vocab_size, options.hidden_size, options.weights}) {
    const ModernBertOptions& o = options_;
    const NormOptions norm{o.hidden_size, o.norm_eps, NormKind::layer, true, o.norm_bias};
    embedding_norm_ = Norm<Scalar>(norm);
    BlockOptions block{.self_attn = {.embed_dim = o.hidden_size,
                                     .num_heads = o.num_attention_heads,
                                     .bias = o.attention_bias,
                                     .weights = o.weights,
                                     .activations = o.activations},
                       .feed_forward = {o.hidden_size, o.intermediate_size, o.hidden_activation, true,
                                        o.mlp_bias, o.weights, o.activations},
                       .norm = norm,
                       .residual = Residual::pre,
                       .first_norm = false};  // the embeddings were normalised
    StackOptions stack{o.hidden_size, {}, norm};
    for (bool is_local : o.local) {
      block.self_attn.attention.window = is_local ? o.local_attention / 2 + 1 : 0;
      stack.blocks.push_back(block);
      block.first_norm = true;
    }
    layers_ = Stack<Scalar>(stack, "ModernBertModel");
    const auto global = std::make_shared<const Rotary<Scalar>>(o.global_rotary),
               local = std::make_shared<const Rotary<Scalar>>(o.local_rotary);
    for (std::size_t i = 0; i < o.local.size(); ++i)
      layers_.layers()[i].set_rotary(o.local[i] ? local : global);
  }

  static ModernBertModel open(const Location& folder, const OpenOptions& open = {}) {
    const Config config(folder / "config.json");
    const ModelFamily<ModernBertOptions> family{
        read_modernbert_options(config),
        {{"layers.*.self_attn.in_proj_*", "(model.|)layers.*.attn.Wqkv.*"},
         {"layers.*.self_attn.out_proj.*", "(model.|)layers.*.attn.Wo.*"},
         {"layers.*.linear1.*", "(model.|)layers.*.mlp.Wi.*"},
         {"layers.*.linear2.*", "(model.|)layers.*.mlp.Wo.*"},
         {"layers.*.norm1.*", "(model.|)layers.*.attn_norm.*"},
         {"layers.*.norm2.*", "(model.|)layers.*.mlp_norm.*"},
         {"embeddings.*.*", "(model.|)embeddings.*.*"},
         {"norm.*", "(model.|)final_norm.*"}},
        {"head.*.*", "decoder.*", "classifier.*"}};
    config.finish();
    const ModernBertOptions& o = family.options;
    const Index layers = static_cast<Index>(o.local.size()), E = o.hidden_size;
    return detail::load_model<ModernBertModel>(folder, family,
                                               {{o.vocab_size, E},
                                                {layers * E, E},
                                                {layers, o.intermediate_size},
                                                {layers * o.intermediate_size, E}},
                                               open);
  }

  const ModernBertOptions& options() const { return options_; }

  void parameters(ParameterVisitor<Scalar> visit) {
    embeddings_.parameters(prefixed("embeddings.tok_embeddings", visit));
    embedding_norm_.parameters(prefixed("embeddings.norm", visit));
    layers_.parameters(visit);
  }
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const { return embeddings_.assigned() && layers_.assigned(); }

  /// Text b is tokens [offsets[b], offsets[b + 1]). ids [tokens] -> out [tokens, E]. `outputs` has one of
  /// each layer, or none.
  void forward(Context& context, std::span<const std::int32_t> ids, std::span<const Index> offsets,
               TensorView<Scalar, 2> out, std::span<const BlockOutputs<Scalar>> outputs = {}) const {
    const Index tokens = static_cast<Index>(ids.size()), E = options_.hidden_size;
    detail::check_assigned(context, "ModernBertModel", *this);
    Rows<Scalar>(out).check_output("ModernBertModel", Shape<1>{tokens}, E);
    detail::longest_sequence("ModernBertModel (offsets)", offsets, tokens);
    embeddings_.forward(context, TensorView<const std::int32_t, 1>(ids.data(), {tokens}), out);
    if (out.empty()) return;
    const TensorView<Scalar, 3> x(out.data(), {1, tokens, E}, {0, out.stride(0), 1});
    embedding_norm_.forward(context, x, x);
    layers_.forward(context, x, {.self = {.query_offsets = offsets, .key_offsets = offsets}}, x, outputs);
  }

 private:
  /// Positions without a head_dim have that of the heads.
  static ModernBertOptions checked(ModernBertOptions o) {
    const char* who = "ModernBertModel";
    detail::check_size(who, "vocab_size", o.vocab_size);
    detail::check_size(who, "hidden_size", o.hidden_size);
    detail::check_size(who, "num_attention_heads", o.num_attention_heads);
    detail::check_size(who, "intermediate_size", o.intermediate_size);
    detail::check_count(who, "local_attention", o.local_attention);
    for (RotaryOptions* rotary : {&o.global_rotary, &o.local_rotary})
      if (rotary->head_dim == 0) rotary->head_dim = std::max<Index>(1, o.hidden_size / o.num_attention_heads);
    return o;
  }

  ModernBertOptions options_;
  Embedding<Scalar> embeddings_;
  Norm<Scalar> embedding_norm_;
  Stack<Scalar> layers_;
};

ATTEND_COMPILED_MODEL(class ModernBertModel<float>);

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/modernbert.inl>
#endif
