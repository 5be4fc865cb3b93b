// Bodies of seq2seq_families.hpp: what each family's config.json says, and how its checkpoints name the
// parameters.
#pragma once

#include <cmath>
#include <string>

#include <attend/model/hugging_face.hpp>
#include <attend/model/seq2seq_families.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {

/// One size for encoder and decoder blocks.
inline void set_blocks(Seq2SeqOptions& o, const EncoderBlockOptions& block) {
  o.encoder.block = block;
  DecoderBlockOptions& d = o.decoder.block;
  d.embed_dim = block.embed_dim, d.num_heads = block.num_heads, d.head_dim = block.head_dim;
  d.dim_feedforward = block.dim_feedforward, d.activation = block.activation, d.gated = block.gated;
  d.norm_first = block.norm_first, d.norm = block.norm, d.layer_norm_eps = block.layer_norm_eps,
  d.bias = block.bias;
}

inline std::int32_t get_id(const Config& config, const char* key, std::int32_t otherwise) {
  return config.has(key) ? config.get<std::int32_t>(key) : (config.ignore({key}), otherwise);
}

/// T5 (arXiv:1910.10683) and its later versions.
inline Seq2SeqFamily read_t5(const Config& config) {
  Seq2SeqFamily family;
  Seq2SeqOptions& o = family.options;
  const bool is_t5 = config.get<std::string>("model_type") == "t5";
  const std::string projection = config.get<std::string>("feed_forward_proj", is_t5 ? "relu" : "gated-gelu");
  const bool gated = config.get<bool>("is_gated_act", projection.starts_with("gated-"));
  config.allow("feed_forward_proj", nullptr, "relu", "gelu", "gelu_new", "gelu_pytorch_tanh", "silu", "swish",
               "gated-relu", "gated-gelu", "gated-gelu_new", "gated-gelu_pytorch_tanh", "gated-silu",
               "gated-swish");
  const char* const activation =
      projection == "gated-gelu" ? "gelu_new" : projection.c_str() + projection.rfind('-') + 1;
  set_blocks(o, {.embed_dim = get_size(config, {"hidden_size", "d_model"}),
                 .num_heads = get_size(config, {"num_attention_heads", "num_heads"}),
                 .head_dim = get_size(config, {"head_dim", "d_kv"}),
                 .dim_feedforward = get_size(config, {"d_ff"}),
                 .activation = get_activation(config, "dense_act_fn", activation),
                 .gated = gated,
                 .norm_first = true,
                 .norm = NormKind::rms,
                 .layer_norm_eps = get_epsilon(config, "layer_norm_epsilon", 1e-6),
                 .bias = false});
  o.encoder.num_layers = get_size(config, {"num_hidden_layers", "num_layers"});
  o.decoder.num_layers = get_size(config, {"num_decoder_layers"}, o.encoder.num_layers);
  o.encoder.final_norm = o.decoder.final_norm = true;
  o.source_vocab_size = o.target_vocab_size = get_size(config, {"vocab_size"});
  o.shared_embeddings = true;
  o.tied_output = config.get<bool>("tie_word_embeddings", true);
  const bool scaled =
      detail::get_optional<bool>(config, "scale_decoder_outputs", o.tied_output).value_or(false);
  if (scaled && is_t5)  // mT5 ties without the scale
    o.output_scale = 1 / std::sqrt(static_cast<double>(o.encoder.block.embed_dim));
  o.attention_scale = 1.0;
  o.positions = PositionKind::relative;
  o.relative = {o.encoder.block.num_heads, get_size(config, {"relative_attention_num_buckets"}, 32),
                get_size(config, {"relative_attention_max_distance"}, 128), true};
  o.decoder_start_token_id = get_id(config, "decoder_start_token_id", get_id(config, "pad_token_id", 0));
  o.eos_token_ids = get_ids(config, "eos_token_id");
  config.ignore({"dropout_rate", "initializer_factor", "n_positions"});

  const std::string encoder = "encoder.block.*.layer.", decoder = "decoder.block.*.layer.";
  const auto projections = [](const std::string& layer) {
    return Source{.names = {layer + ".q.weight", layer + ".k.weight", layer + ".v.weight"}};
  };
  const auto first = [&](const std::string& layer) {
    return gated ? Source{.names = {layer + ".wi_0.weight", layer + ".wi_1.weight"}}
                 : Source{.names = {layer + ".wi.weight"}};
  };
  family.names =
      NameMap{{"target_embedding.weight",
               {o.tied_output ? "(decoder.embed_tokens|shared|lm_head).weight"
                              : "(decoder.embed_tokens|shared).weight"}},
              {"source_embedding.weight", {"(encoder.embed_tokens|shared).weight"}},
              {"output.weight", {"(lm_head|shared|decoder.embed_tokens).weight"}},
              {"encoder_relative_bias.weight",
               {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"}},
              {"decoder_relative_bias.weight",
               {"decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"}},
              {"encoder.layers.*.self_attn.in_proj_weight", projections(encoder + "0.SelfAttention")},
              {"encoder.layers.*.self_attn.out_proj.weight", {encoder + "0.SelfAttention.o.weight"}},
              {"encoder.layers.*.norm1.weight", {encoder + "0.layer_norm.weight"}},
              {"encoder.layers.*.linear1.weight", first(encoder + "1.DenseReluDense")},
              {"encoder.layers.*.linear2.weight", {encoder + "1.DenseReluDense.wo.weight"}},
              {"encoder.layers.*.norm2.weight", {encoder + "1.layer_norm.weight"}},
              {"encoder.norm.weight", {"encoder.final_layer_norm.weight"}},
              {"decoder.layers.*.self_attn.in_proj_weight", projections(decoder + "0.SelfAttention")},
              {"decoder.layers.*.self_attn.out_proj.weight", {decoder + "0.SelfAttention.o.weight"}},
              {"decoder.layers.*.norm1.weight", {decoder + "0.layer_norm.weight"}},
              {"decoder.layers.*.multihead_attn.in_proj_weight", projections(decoder + "1.EncDecAttention")},
              {"decoder.layers.*.multihead_attn.out_proj.weight", {decoder + "1.EncDecAttention.o.weight"}},
              {"decoder.layers.*.norm2.weight", {decoder + "1.layer_norm.weight"}},
              {"decoder.layers.*.linear1.weight", first(decoder + "2.DenseReluDense")},
              {"decoder.layers.*.linear2.weight", {decoder + "2.DenseReluDense.wo.weight"}},
              {"decoder.layers.*.norm3.weight", {decoder + "2.layer_norm.weight"}},
              {"decoder.norm.weight", {"decoder.final_layer_norm.weight"}}};
  family.leftovers = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "shared.weight",
                      "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"};
  if (o.tied_output) family.leftovers.push_back("lm_head.weight");
  return family;
}

/// BART (arXiv:1910.13461) and similar ones, which differ in positions and norms, and in what a config.json
/// that does not say it stands for.
struct BartKind {
  PositionKind positions = PositionKind::learned;
  bool pre_norm = false;  // and a norm behind the last block
  bool embedding_norm = false;
  bool logits_bias = true;
  const char* activation = "gelu";
  bool scale_embedding = false;
  std::int32_t decoder_start = 0;
};
inline BartKind bart_kind(const std::string& type) {
  if (type == "marian") return {.positions = PositionKind::sinusoidal, .decoder_start = 58100};
  if (type == "pegasus")  // arXiv:1912.08777
    return {.positions = PositionKind::sinusoidal, .pre_norm = true};
  if (type == "mbart") return {.pre_norm = true, .embedding_norm = true};  // arXiv:2001.08210
  if (type == "m2m_100")  // arXiv:2010.11125; NLLB is one, too
    return {.positions = PositionKind::sinusoidal,
            .pre_norm = true,
            .logits_bias = false,
            .activation = "relu",
            .scale_embedding = true,
            .decoder_start = 2};
  return {.embedding_norm = true, .decoder_start = 2};
}

inline Seq2SeqFamily read_bart(const Config& config, const std::string& type) {
  const BartKind kind = bart_kind(type);
  const bool marian = type == "marian", m2m = type == "m2m_100";
  Seq2SeqFamily family;
  Seq2SeqOptions& o = family.options;
  const Index embed_dim = get_size(config, {"hidden_size", "d_model"});
  set_blocks(o, {.embed_dim = embed_dim,
                 .num_heads = get_size(config, {"num_attention_heads", "encoder_attention_heads"}),
                 .dim_feedforward = get_size(config, {"encoder_ffn_dim"}),
                 .activation = get_activation(config, "activation_function", kind.activation),
                 .norm_first = kind.pre_norm});
  o.decoder.block.num_heads = get_size(config, {"decoder_attention_heads"}, o.encoder.block.num_heads);
  o.decoder.block.dim_feedforward = get_size(config, {"decoder_ffn_dim"}, o.encoder.block.dim_feedforward);
  o.encoder.num_layers = get_size(config, {"num_hidden_layers", "encoder_layers"});
  o.decoder.num_layers = get_size(config, {"decoder_layers"}, o.encoder.num_layers);
  o.encoder.final_norm = o.decoder.final_norm = kind.pre_norm;
  config.allow("normalize_before", kind.pre_norm);
  config.allow("add_final_layer_norm", kind.pre_norm);
  config.allow("add_bias_logits", false);
  config.allow("do_blenderbot_90_layernorm", false);
  config.allow("static_position_embeddings", kind.positions == PositionKind::sinusoidal);
  config.allow("normalize_embedding", kind.embedding_norm);
  o.source_vocab_size = get_size(config, {"vocab_size"});
  o.target_vocab_size =
      marian ? get_size(config, {"decoder_vocab_size"}, o.source_vocab_size) : o.source_vocab_size;
  o.tied_output = config.get<bool>("tie_word_embeddings", true);
  o.shared_embeddings = o.tied_output;
  if (marian) o.shared_embeddings &= config.get<bool>("share_encoder_decoder_embeddings", true);
  o.logits_bias = kind.logits_bias;
  if (config.get<bool>("scale_embedding", kind.scale_embedding))
    o.embedding_scale = std::sqrt(static_cast<double>(embed_dim));
  o.embedding_norm = kind.embedding_norm;
  o.positions = kind.positions;
  o.sinusoidal = {SinusoidalOptions::Layout::halves, 10000, 0};
  o.position_offset = o.positions == PositionKind::learned ? 2 : 0;
  o.max_position_embeddings = get_size(config, {"max_position_embeddings"}, 1024);
  if (m2m) {  // its table grows as the text does
    o.unplaced_id = get_id(config, "pad_token_id", 1);
    o.sinusoidal = {SinusoidalOptions::Layout::halves_inclusive, 10000, *o.unplaced_id + Index{1}, true};
    if (*o.unplaced_id < 0) throw_error(config.file(), ": 'pad_token_id' is ", *o.unplaced_id);
    o.max_position_embeddings = 0;
  }
  o.decoder_start_token_id =
      get_id(config, "decoder_start_token_id",
             type == "mbart" ? get_id(config, "bos_token_id", kind.decoder_start) : kind.decoder_start);
  o.eos_token_ids = get_ids(config, "eos_token_id");
  config.ignore({"dropout", "encoder_layerdrop", "decoder_layerdrop", "init_std", "num_hidden_layers",
                 "num_attention_heads", "classif_dropout", "force_bos_token_to_be_generated",
                 "extra_pos_embeddings", "mask_token"});

  const std::string base = "(model.|)", encoder = base + "encoder.layers.*.",
                    decoder = base + "decoder.layers.*.";
  const auto projections = [](const std::string& attention) {
    return Source{.names = {attention + ".q_proj.*", attention + ".k_proj.*", attention + ".v_proj.*"}};
  };
  const std::string shared = "model.shared|shared";
  family.names =
      NameMap{{"target_embedding.weight",
               {"(model.decoder.embed_tokens|decoder.embed_tokens|" + shared +
                (o.tied_output ? "|lm_head).weight" : ").weight")}},
              {"source_embedding.weight",
               {"(model.encoder.embed_tokens|encoder.embed_tokens|" + shared + ").weight"}},
              {"output.weight", {o.tied_output ? "(lm_head|" + shared + ").weight" : "lm_head.weight"}},
              {"encoder_positions.weight", {base + "encoder.embed_positions.weight"}},
              {"decoder_positions.weight", {base + "decoder.embed_positions.weight"}},
              {"encoder_embedding_norm.*", {base + "encoder.layernorm_embedding.*"}},
              {"decoder_embedding_norm.*", {base + "decoder.layernorm_embedding.*"}},
              {"encoder.layers.*.self_attn.in_proj_*", projections(encoder + "self_attn")},
              {"encoder.layers.*.self_attn.out_proj.*", {encoder + "self_attn.out_proj.*"}},
              {"encoder.layers.*.linear1.*", {encoder + "fc1.*"}},
              {"encoder.layers.*.linear2.*", {encoder + "fc2.*"}},
              {"encoder.layers.*.norm1.*", {encoder + "self_attn_layer_norm.*"}},
              {"encoder.layers.*.norm2.*", {encoder + "final_layer_norm.*"}},
              {"decoder.layers.*.self_attn.in_proj_*", projections(decoder + "self_attn")},
              {"decoder.layers.*.self_attn.out_proj.*", {decoder + "self_attn.out_proj.*"}},
              {"decoder.layers.*.multihead_attn.in_proj_*", projections(decoder + "encoder_attn")},
              {"decoder.layers.*.multihead_attn.out_proj.*", {decoder + "encoder_attn.out_proj.*"}},
              {"decoder.layers.*.linear1.*", {decoder + "fc1.*"}},
              {"decoder.layers.*.linear2.*", {decoder + "fc2.*"}},
              {"decoder.layers.*.norm1.*", {decoder + "self_attn_layer_norm.*"}},
              {"decoder.layers.*.norm2.*", {decoder + "encoder_attn_layer_norm.*"}},
              {"decoder.layers.*.norm3.*", {decoder + "final_layer_norm.*"}},
              {"encoder.norm.*", {base + "encoder.layer_norm.*"}},
              {"decoder.norm.*", {base + "decoder.layer_norm.*"}}};
  family.leftovers = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "shared.weight"};
  if (o.tied_output) family.leftovers.push_back("lm_head.weight");
  if (o.positions == PositionKind::sinusoidal)
    family.leftovers.insert(family.leftovers.end(),
                            {"encoder.embed_positions.*", "decoder.embed_positions.*"});
  return family;
}

ATTEND_INLINE Seq2SeqFamily read_native(const Config& config, Index source_vocab_size,
                                        Index target_vocab_size) {
  const FloatEnvironment environment;
  Seq2SeqFamily family;
  Seq2SeqOptions& o = family.options;
  config.allow("architecture", "encoder_decoder");
  set_blocks(o, {.embed_dim = get_size(config, {"embed_dim"}),
                 .num_heads = get_size(config, {"num_heads"}),
                 .dim_feedforward = get_size(config, {"feed_forward_dim", "dim_feedforward"}),
                 .activation = get_activation(config, "activation", "relu"),
                 .gated = config.get<bool>("gated", false),
                 .norm_first = config.get<bool>("norm_first", false),
                 .layer_norm_eps = get_epsilon(config, "layer_norm_eps", 1e-5),
                 .bias = config.get<bool>("bias", true)});
  o.encoder.num_layers = get_size(config, {"num_encoder_layers"});
  o.decoder.num_layers = get_size(config, {"num_decoder_layers"});
  o.encoder.final_norm = o.decoder.final_norm = config.get<bool>("final_norm", false);
  o.embedding_scale = config.get<double>("embedding_scale", 1);
  o.source_vocab_size = source_vocab_size;
  o.target_vocab_size = target_vocab_size;
  o.shared_embeddings = config.get<bool>("shared_embeddings", false);
  o.tied_output = config.get<bool>("tied_output", false);
  o.output_bias = config.get<bool>("output_bias", true);
  if (config.has("positions")) {
    const Config positions = config.object("positions");
    positions.allow("kind", "sinusoidal", "learned", "none");
    const std::string kind = positions.get<std::string>("kind");
    o.positions = kind == "sinusoidal" ? PositionKind::sinusoidal
                  : kind == "learned"  ? PositionKind::learned
                                       : PositionKind::none;
    using Order = SinusoidalOptions::Layout;
    positions.allow("layout", "interleaved", "halves", "sin_cos_halves");
    const std::string layout = positions.get<std::string>("layout", "interleaved");
    o.sinusoidal = {layout == "interleaved" ? Order::interleaved
                    : layout == "halves"    ? Order::halves
                                            : Order::halves_inclusive,
                    positions.get<double>("max_timescale", 10000), positions.get<Index>("first", 0)};
    if (!(o.sinusoidal.max_timescale > 0))
      throw_error(positions.file(), ": 'positions.max_timescale' is ", o.sinusoidal.max_timescale);
    o.max_position_embeddings = positions.get<Index>("max_positions", 0);
    if (kind == "learned") positive_size(positions, o.max_position_embeddings, "max_positions");
    positions.ignore({"note"});
  }
  return family;
}
}  // namespace detail

ATTEND_INLINE Seq2SeqFamily read_seq2seq_family(const Config& config) {
  const detail::FloatEnvironment environment;
  const std::string type = config.get<std::string>("model_type");
  config.allow("is_encoder_decoder", true, nullptr);
  config.allow("is_decoder", false, nullptr);
  detail::ignore_bookkeeping(config);
  Seq2SeqFamily family;
  if (type == "t5" || type == "mt5")
    family = detail::read_t5(config);
  else if (type == "bart" || type == "marian" || type == "mbart" || type == "pegasus" || type == "m2m_100")
    family = detail::read_bart(config, type);
  else
    throw_error(config.file(), ": model_type '", type, "' is not an encoder-decoder that is supported");
  config.finish();
  return family;
}

}  // namespace attend::inline ATTEND_ABI
