// ModernBERT (arXiv:2412.13663): rotary positions, local and global layers, gated feed-forward.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <attend/embedding.hpp>
#include <attend/io/state_dict.hpp>
#include <attend/model/hugging_face.hpp>
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
};

inline ModernBertOptions read_modernbert_options(const Config& config) {
  ModernBertOptions o;
  config.allow("model_type", "modernbert");
  o.vocab_size = get_size(config, {"vocab_size"});
  o.hidden_size = get_size(config, {"hidden_size"});
  o.num_attention_heads = get_size(config, {"num_attention_heads"});
  o.intermediate_size = get_size(config, {"intermediate_size"});
  o.hidden_activation = get_activation(config, "hidden_activation", "gelu");
  o.norm_eps = get_epsilon(config, "norm_eps", 1e-5);
  o.norm_bias = config.get<bool>("norm_bias", false);
  o.attention_bias = config.get<bool>("attention_bias", false);
  o.mlp_bias = config.get<bool>("mlp_bias", false);
  o.local_attention = get_size(config, {"local_attention"}, 128);
  const Index layers = get_size(config, {"num_hidden_layers"}, 22);
  if (layers > kMostLayers) throw_error(config.file(), ": ", layers, " layers");
  const Index every = get_size(config, {"global_attn_every_n_layers"}, 3);
  for (Index i = 0; i < layers; ++i) o.local.push_back(i % every != 0);
  if (config.has("layer_types")) {
    const auto types = config.get<std::vector<std::string>>("layer_types");
    o.local.clear();
    for (const std::string& type : types) {
      if (type != "sliding_attention" && type != "full_attention")
        throw_error(config.file(), ": layer type '", type, "' is not supported");
      o.local.push_back(type == "sliding_attention");
    }
  }
  if (config.has("num_hidden_layers") &&
      config.get<Index>("num_hidden_layers") != static_cast<Index>(o.local.size()))
    throw_error(config.file(), ": ", o.local.size(), " layer_types, but num_hidden_layers is ",
                config.get<Index>("num_hidden_layers"));
  const Index positions = get_size(config, {"max_position_embeddings"}, 8192);
  for (RotaryOptions* rotary : {&o.global_rotary, &o.local_rotary}) {
    const bool local = rotary == &o.local_rotary;
    rotary->head_dim = o.hidden_size / o.num_attention_heads;
    rotary->max_position_embeddings = positions;
    rotary->rope_theta = config.get<double>("global_rope_theta", 160000.0);
    if (local) rotary->rope_theta = config.get<double>("local_rope_theta", 10000.0);
    if (config.has("rope_parameters")) {
      const Config both = config.object("rope_parameters");
      const char* kind = local ? "sliding_attention" : "full_attention";
      if (both.has(kind)) read_rope_parameters(both.object(kind), *rotary);
    }
    rotary->table_positions = std::min<Index>(rotary->table_positions, positions);
  }
  config.ignore({"initializer_cutoff_factor", "embedding_dropout", "mlp_dropout", "classifier_activation",
                 "classifier_bias", "classifier_pooling", "decoder_bias", "deterministic_flash_attn",
                 "reference_compile", "repad_logits_with_grad", "sparse_pred_ignore_index",
                 "sparse_prediction", "position_embedding_type", "layer_norm_eps", "local_rope_theta"});
  ignore_bookkeeping(config);
  return o;
}

/// Parameters: embeddings.tok_embeddings.weight, embeddings.norm.*, layers.N.* as in Block (layer 0 has no
/// norm1), norm.*.
template <class Scalar>
class ModernBertModel {
 public:
  ModernBertModel() = default;
  explicit ModernBertModel(const ModernBertOptions& options)
      : options_(checked(options)), embeddings_({options.vocab_size, options.hidden_size}) {
    const ModernBertOptions& o = options_;
    const NormOptions norm{o.hidden_size, o.norm_eps, NormKind::layer, true, o.norm_bias};
    embedding_norm_ = Norm<Scalar>(norm);
    BlockOptions block{
        .self_attn = {.embed_dim = o.hidden_size,
                      .num_heads = o.num_attention_heads,
                      .bias = o.attention_bias},
        .feed_forward = {o.hidden_size, o.intermediate_size, o.hidden_activation, true, o.mlp_bias},
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

  static ModernBertModel open(const std::filesystem::path& folder) {
    const Config config(folder / "config.json");
    const ModernBertOptions options = read_modernbert_options(config);
    config.finish();
    const SafeTensors file = SafeTensors::open_folder(folder);
    const Index layers = static_cast<Index>(options.local.size()), E = options.hidden_size;
    check_sizes(folder / "config.json", file,
                {{options.vocab_size, E},
                 {layers * E, E},
                 {layers, options.intermediate_size},
                 {layers * options.intermediate_size, E}});
    ModernBertModel model =
        make_as_config_says(folder / "config.json", [&] { return ModernBertModel(options); });
    NameMap names{{"layers.*.self_attn.in_proj_*", "(model.|)layers.*.attn.Wqkv.*"},
                  {"layers.*.self_attn.out_proj.*", "(model.|)layers.*.attn.Wo.*"},
                  {"layers.*.linear1.*", "(model.|)layers.*.mlp.Wi.*"},
                  {"layers.*.linear2.*", "(model.|)layers.*.mlp.Wo.*"},
                  {"layers.*.norm1.*", "(model.|)layers.*.attn_norm.*"},
                  {"layers.*.norm2.*", "(model.|)layers.*.mlp_norm.*"},
                  {"embeddings.*.*", "(model.|)embeddings.*.*"},
                  {"norm.*", "(model.|)final_norm.*"}};
    load(model, file, "", {.ignore = {"head.*.*", "decoder.*", "classifier.*"}, .names = names});
    return model;
  }

  const ModernBertOptions& options() const { return options_; }

  void parameters(ParameterVisitor<Scalar> visit) {
    embeddings_.parameters(prefixed("embeddings.tok_embeddings", visit));
    embedding_norm_.parameters(prefixed("embeddings.norm", visit));
    layers_.parameters(visit);
  }
  void parameters(ParameterVisitor<const Scalar> visit) const { const_parameters(*this, visit); }

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
    check_size(who, "vocab_size", o.vocab_size);
    check_size(who, "hidden_size", o.hidden_size);
    check_size(who, "num_attention_heads", o.num_attention_heads);
    check_size(who, "intermediate_size", o.intermediate_size);
    check_count(who, "local_attention", o.local_attention);
    for (RotaryOptions* rotary : {&o.global_rotary, &o.local_rotary})
      if (rotary->head_dim == 0) rotary->head_dim = std::max<Index>(1, o.hidden_size / o.num_attention_heads);
    return o;
  }

  ModernBertOptions options_;
  Embedding<Scalar> embeddings_;
  Norm<Scalar> embedding_norm_;
  Stack<Scalar> layers_;
};

}  // namespace attend::inline ATTEND_ABI
