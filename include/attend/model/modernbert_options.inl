// Bodies of modernbert_options.hpp.
#pragma once

#include <attend/model/hugging_face.hpp>
#include <attend/model/modernbert_options.hpp>

namespace attend::inline ATTEND_ABI {

ATTEND_INLINE ModernBertOptions read_modernbert_options(const Config& config) {
  ModernBertOptions o;
  config.allow("model_type", "modernbert");
  o.vocab_size = detail::get_size(config, {"vocab_size"});
  o.hidden_size = detail::get_size(config, {"hidden_size"});
  o.num_attention_heads = detail::get_size(config, {"num_attention_heads"});
  o.intermediate_size = detail::get_size(config, {"intermediate_size"});
  o.hidden_activation = detail::get_activation(config, "hidden_activation", "gelu");
  o.norm_eps = detail::get_epsilon(config, "norm_eps", 1e-5);
  o.norm_bias = config.get<bool>("norm_bias", false);
  o.attention_bias = config.get<bool>("attention_bias", false);
  o.mlp_bias = config.get<bool>("mlp_bias", false);
  o.local_attention = detail::get_size(config, {"local_attention"}, 128);
  o.head = detail::read_bert_head(config);
  o.num_labels = detail::read_num_labels(config);
  o.head_act = detail::get_activation(config, "classifier_activation", "gelu");
  o.head_bias = config.get<bool>("classifier_bias", false);
  config.allow("classifier_pooling", "cls", "mean");
  o.mean_pooling = config.get<std::string>("classifier_pooling", "cls") == "mean";
  o.decoder_bias = config.get<bool>("decoder_bias", true);
  o.tied_output = config.get<bool>("tie_word_embeddings", true);
  const Index layers = detail::get_size(config, {"num_hidden_layers"}, 22);
  if (layers > detail::kMostLayers) throw_error(config.file(), ": ", layers, " layers");
  const Index every = detail::get_size(config, {"global_attn_every_n_layers"}, 3);
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
  const Index positions = detail::get_size(config, {"max_position_embeddings"}, 8192);
  for (RotaryOptions* rotary : {&o.global_rotary, &o.local_rotary}) {
    const bool local = rotary == &o.local_rotary;
    rotary->head_dim = o.hidden_size / o.num_attention_heads;
    rotary->max_position_embeddings = positions;
    rotary->rope_theta = config.get<double>("global_rope_theta", 160000.0);
    if (local) rotary->rope_theta = config.get<double>("local_rope_theta", 10000.0);
    *rotary = detail::read_layer_rotary(config, local ? "sliding_attention" : "full_attention", true,
                                        std::move(*rotary));
  }
  config.ignore({"initializer_cutoff_factor", "embedding_dropout", "mlp_dropout", "deterministic_flash_attn",
                 "reference_compile", "repad_logits_with_grad", "sparse_pred_ignore_index",
                 "sparse_prediction", "position_embedding_type", "layer_norm_eps", "local_rope_theta"});
  detail::ignore_bookkeeping(config);
  return o;
}

}  // namespace attend::inline ATTEND_ABI
