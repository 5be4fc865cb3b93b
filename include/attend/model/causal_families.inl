// Bodies of causal_families.hpp: what each family's config.json says, and how its checkpoints name the
// parameters.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include <attend/model/causal_families.hpp>
#include <attend/model/hugging_face.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {

/// As many layers as the config says, all alike for now.
inline void add_layers(const Config& config, CausalLMOptions& o, const CausalBlockOptions& block,
                       Index layers) {
  if (layers > 1000) throw_error(config.file(), ": ", layers, " layers");
  o.blocks.assign(static_cast<std::size_t>(layers), block);
}
inline Index head_dim(const Config& config, Index embed_dim, Index heads) {
  if (embed_dim % heads != 0)
    throw_error(config.file(), ": hidden_size ", embed_dim, " is not divisible by ", heads, " heads");
  return embed_dim / heads;
}
/// The layers that layer_types calls sliding_attention get the window; without that key those that
/// `otherwise` picks.
inline void set_windows(const Config& config, CausalLMOptions& o, Index window,
                        const std::function<bool(Index)>& otherwise) {
  const auto types = config.get<std::vector<std::string>>("layer_types", {});
  if (!types.empty() && types.size() != o.blocks.size())
    throw_error(config.file(), ": 'layer_types' has ", types.size(), " entries for ", o.blocks.size(),
                " layers");
  for (std::size_t i = 0; i < o.blocks.size(); ++i) {
    if (!types.empty() && types[i] != "sliding_attention" && types[i] != "full_attention")
      throw_error(config.file(), ": 'layer_types' entry '", types[i], "' is not supported");
    const bool slides = types.empty() ? otherwise(static_cast<Index>(i)) : types[i] == "sliding_attention";
    o.blocks[i].sliding_window = slides ? window : 0;
  }
}

/// Row of a checkpoint's query_key_value [H][3][D] for each row of in_proj [3][H][D].
inline std::function<Index(Index)> rows_by_head(const CausalBlockOptions& o) {
  return [heads = o.num_heads, dim = o.head_dim](Index row) {
    const Index part = row / (heads * dim), head = row / dim % heads;
    return (head * 3 + part) * dim + row % dim;
  };
}

// ---- Llama and what grew out of it: Mistral, Qwen2, Qwen3, Gemma 2
// -------------------------------------------------

inline CausalFamily read_llama(const Config& config, const std::string& type) {
  const bool gemma = type == "gemma2", qwen = type == "qwen2" || type == "qwen3", mistral = type == "mistral";
  CausalLMOptions o;
  CausalBlockOptions b{.activation = Activation::silu, .gated = true, .norm = NormKind::rms};
  o.vocab_size = get_size(config, {"vocab_size"});
  o.embed_dim = b.embed_dim = get_size(config, {"hidden_size"});
  b.dim_feedforward = get_size(config, {"intermediate_size"});
  b.num_heads = get_size(config, {"num_attention_heads"});
  b.num_kv_heads = get_size(config, {"num_key_value_heads"}, b.num_heads);
  const bool wide = gemma || type == "qwen3";  // their head_dim does not follow from the other sizes
  b.head_dim = config.has("head_dim") || wide ? get_size(config, {"head_dim"})
                                              : head_dim(config, b.embed_dim, b.num_heads);
  config.ignore({"head_dim"});
  b.norm_eps = get_epsilon(config, "rms_norm_eps", 1e-6);
  b.activation = get_activation(config, gemma ? "hidden_activation" : "hidden_act",
                                gemma ? "gelu_pytorch_tanh" : "silu");
  const bool bias = config.get<bool>("attention_bias", false);
  b.qkv_bias = bias || type == "qwen2";
  b.out_bias = bias;
  b.mlp_bias = config.get<bool>("mlp_bias", false);
  b.qk_norm = type == "qwen3";
  if (gemma) {
    b.residual = Residual::sandwich;
    const double scalar = config.get<double>("query_pre_attn_scalar", 256);
    if (!(scalar > 0)) throw_error(config.file(), ": 'query_pre_attn_scalar' is ", scalar);
    b.scale = 1 / std::sqrt(scalar);
    b.softcap = get_optional<double>(config, "attn_logit_softcapping", 50.0).value_or(0);
    o.logit_softcap = get_optional<double>(config, "final_logit_softcapping", 30.0).value_or(0);
    if (!(b.softcap >= 0 && o.logit_softcap >= 0)) throw_error(config.file(), ": a softcapping below 0");
    o.embed_scale = std::sqrt(static_cast<double>(o.embed_dim));
    config.allow("use_bidirectional_attention", nullptr, false);
    config.ignore({"hidden_act"});  // of old files; hidden_activation counts
  }
  add_layers(config, o, b, get_size(config, {"num_hidden_layers"}));
  if (gemma || qwen || mistral) {
    Index window = positive_size(config, get_optional<Index>(config, "sliding_window", 4096).value_or(1),
                                 "sliding_window");
    if (!config.has("sliding_window") && config.is_null("sliding_window")) window = 0;
    if (qwen && !config.get<bool>("use_sliding_window", false)) window = 0;
    const Index first = qwen ? config.get<Index>("max_window_layers", 28) : 0;
    set_windows(config, o, window, [&](Index i) { return gemma ? i % 2 == 0 : i >= first; });
  }
  o.max_position_embeddings = get_size(config, {"max_position_embeddings"}, 2048);
  o.rotary = read_rotary_options(
      config, {.head_dim = b.head_dim, .max_position_embeddings = o.max_position_embeddings});
  if (o.rotary->rope_type ==
      RopeType::dynamic)  // which stretches what it was trained with as far as the factor says
    o.max_position_embeddings = static_cast<Index>(static_cast<double>(o.max_position_embeddings) *
                                                   std::clamp(o.rotary->factor.value_or(1), 1.0, 1e6));
  o.tie_word_embeddings = config.get<bool>("tie_word_embeddings", gemma);
  config.allow("rope_interleaved", false);
  config.allow("use_mrope", false);
  config.ignore({"pretraining_tp", "is_decoder", "is_llama_config", "sliding_window_size"});

  const std::string layer = "(model.|)layers.*.";
  const double add = gemma ? 1 : 0;
  const auto norm = [&](const std::string& name) { return Source{.names = {name}, .add = add}; };
  NameMap names{
      {"embed_tokens.weight", o.tie_word_embeddings ? "(model.embed_tokens|embed_tokens|lm_head).weight"
                                                    : "(model.|)embed_tokens.weight"},
      {"norm.weight", norm("(model.|)norm.weight")},
      {"layers.*.self_attn.in_proj_*",
       {layer + "self_attn.q_proj.*", layer + "self_attn.k_proj.*", layer + "self_attn.v_proj.*"}},
      {"layers.*.self_attn.out_proj.*", layer + "self_attn.o_proj.*"},
      {"layers.*.self_attn.*.weight", layer + "self_attn.*.weight"},
      {"layers.*.linear1.*", {layer + "mlp.gate_proj.*", layer + "mlp.up_proj.*"}},
      {"layers.*.linear2.*", layer + "mlp.down_proj.*"},
      {"layers.*.norm1.weight", norm(layer + "input_layernorm.weight")},
      {"layers.*.norm2.weight",
       norm(layer + (gemma ? "pre_feedforward_layernorm.weight" : "post_attention_layernorm.weight"))},
      {"layers.*.post_norm1.weight", norm(layer + "post_attention_layernorm.weight")},
      {"layers.*.post_norm2.weight", norm(layer + "post_feedforward_layernorm.weight")}};
  return {std::move(o), std::move(names), {"self_attn.rotary_emb.inv_freq"}};
}

// ---- GPT-2 (Radford et al. 2019)
// -----------------------------------------------------------------------------------

inline CausalFamily read_gpt2(const Config& config) {
  CausalLMOptions o;
  CausalBlockOptions b;
  o.vocab_size = get_size(config, {"vocab_size"});
  o.embed_dim = b.embed_dim = get_size(config, {"n_embd", "hidden_size"});
  o.max_position_embeddings = get_size(config, {"n_positions", "max_position_embeddings", "n_ctx"}, 1024);
  b.num_heads = b.num_kv_heads = get_size(config, {"n_head", "num_attention_heads"});
  b.head_dim = head_dim(config, b.embed_dim, b.num_heads);
  b.dim_feedforward = get_size(config, {"n_inner"}, 4 * b.embed_dim);
  b.activation = get_activation(config, "activation_function", "gelu_new");
  b.norm_eps = get_epsilon(config, "layer_norm_epsilon", 1e-5);
  b.scale = config.get<bool>("scale_attn_weights", true) ? 1 / std::sqrt(static_cast<double>(b.head_dim)) : 1;
  add_layers(config, o, b, get_size(config, {"n_layer", "num_hidden_layers"}));
  if (config.get<bool>("scale_attn_by_inverse_layer_idx", false))
    for (std::size_t i = 0; i < o.blocks.size(); ++i) *o.blocks[i].scale /= static_cast<double>(i + 1);
  o.learned_positions = true;
  o.tie_word_embeddings = config.get<bool>("tie_word_embeddings", true);
  config.allow("add_cross_attention", false);
  config.ignore({"reorder_and_upcast_attn", "is_decoder", "n_ctx", "n_special",
                 "predict_special_tokens"});  // the former is about half precision

  const std::string layer = "(transformer.|)h.*.";
  NameMap names{{"embed_tokens.weight", o.tie_word_embeddings ? "(transformer.wte|wte|lm_head).weight"
                                                              : "(transformer.|)wte.weight"},
                {"embed_positions.weight", "(transformer.|)wpe.weight"},
                {"norm.*", "(transformer.|)ln_f.*"},
                {"layers.*.self_attn.in_proj_weight", transposed({layer + "attn.c_attn.weight"})},
                {"layers.*.self_attn.in_proj_bias", layer + "attn.c_attn.bias"},
                {"layers.*.self_attn.out_proj.weight", transposed({layer + "attn.c_proj.weight"})},
                {"layers.*.self_attn.out_proj.bias", layer + "attn.c_proj.bias"},
                {"layers.*.linear1.weight", transposed({layer + "mlp.c_fc.weight"})},
                {"layers.*.linear1.bias", layer + "mlp.c_fc.bias"},
                {"layers.*.linear2.weight", transposed({layer + "mlp.c_proj.weight"})},
                {"layers.*.linear2.bias", layer + "mlp.c_proj.bias"},
                {"layers.*.norm1.*", layer + "ln_1.*"},
                {"layers.*.norm2.*", layer + "ln_2.*"}};
  return {std::move(o), std::move(names), {"attn.bias", "attn.masked_bias"}};
}

// ---- GPT-NeoX (arXiv:2204.06745) and BLOOM (arXiv:2211.05100)
// ------------------------------------------------------

/// What their layers have in common: queries, keys and values by head, and the names.
inline NameMap names_by_head(const CausalBlockOptions& b, const std::string& layer,
                             const std::string& attention) {
  return NameMap{{"layers.*.self_attn.in_proj_*",
                  Source{.names = {layer + attention + "query_key_value.*"}, .row = rows_by_head(b)}},
                 {"layers.*.self_attn.out_proj.*", layer + attention + "dense.*"},
                 {"layers.*.linear1.*", layer + "mlp.dense_h_to_4h.*"},
                 {"layers.*.linear2.*", layer + "mlp.dense_4h_to_h.*"},
                 {"layers.*.norm1.*", layer + "input_layernorm.*"},
                 {"layers.*.norm2.*", layer + "post_attention_layernorm.*"}};
}

inline CausalFamily read_gpt_neox(const Config& config) {
  CausalLMOptions o;
  CausalBlockOptions b;
  o.vocab_size = get_size(config, {"vocab_size"});
  o.embed_dim = b.embed_dim = get_size(config, {"hidden_size"});
  b.num_heads = b.num_kv_heads = get_size(config, {"num_attention_heads"});
  b.head_dim = head_dim(config, b.embed_dim, b.num_heads);
  b.dim_feedforward = get_size(config, {"intermediate_size"}, 4 * b.embed_dim);
  b.activation = get_activation(config, "hidden_act", "gelu");
  b.norm_eps = get_epsilon(config, "layer_norm_eps", 1e-5);
  b.qkv_bias = b.out_bias = config.get<bool>("attention_bias", true);
  if (config.get<bool>("use_parallel_residual", true)) b.residual = Residual::parallel;
  add_layers(config, o, b, get_size(config, {"num_hidden_layers"}));
  o.max_position_embeddings = get_size(config, {"max_position_embeddings"}, 2048);
  o.rotary = read_rotary_options(config, {.head_dim = b.head_dim,
                                          .partial_rotary_factor = 0.25,
                                          .max_position_embeddings = o.max_position_embeddings});
  o.tie_word_embeddings = config.get<bool>("tie_word_embeddings", false);
  config.ignore({"is_decoder"});

  NameMap names = names_by_head(b, "(gpt_neox.|)layers.*.", "attention.");
  names.add({"embed_tokens.weight", o.tie_word_embeddings ? "(gpt_neox.embed_in|embed_in|embed_out).weight"
                                                          : "(gpt_neox.|)embed_in.weight"});
  names.add({"norm.*", "(gpt_neox.|)final_layer_norm.*"});
  names.add({"lm_head.weight", "(embed_out|lm_head).weight"});
  return {std::move(o),
          std::move(names),
          {"attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq"}};
}

inline CausalFamily read_bloom(const Config& config) {
  CausalLMOptions o;
  CausalBlockOptions b;
  o.vocab_size = get_size(config, {"vocab_size"});
  o.embed_dim = b.embed_dim = get_size(config, {"hidden_size", "n_embed"});
  b.num_heads = b.num_kv_heads = get_size(config, {"n_head", "num_attention_heads"});
  b.head_dim = head_dim(config, b.embed_dim, b.num_heads);
  b.dim_feedforward = 4 * b.embed_dim;
  b.norm_eps = get_epsilon(config, "layer_norm_epsilon", 1e-5);
  b.alibi = true;
  add_layers(config, o, b, get_size(config, {"n_layer", "num_hidden_layers"}));
  o.embed_norm = true;
  o.tie_word_embeddings = config.get<bool>("tie_word_embeddings", true);
  config.allow("apply_residual_connection_post_layernorm", false);
  config.allow("n_inner", nullptr, b.dim_feedforward);
  config.allow("skip_bias_add_qkv", false);
  // seq_length is what it was trained with, not a limit; the rest says how the kernels of others work.
  config.ignore({"seq_length", "pretraining_tp", "slow_but_exact", "attention_softmax_in_fp32",
                 "bias_dropout_fusion", "masked_softmax_fusion", "offset_alibi", "skip_bias_add",
                 "is_decoder"});

  NameMap names = names_by_head(b, "(transformer.|)h.*.", "self_attention.");
  names.add({"embed_tokens.weight", o.tie_word_embeddings
                                        ? "(transformer.word_embeddings|word_embeddings|lm_head).weight"
                                        : "(transformer.|)word_embeddings.weight"});
  names.add({"embed_norm.*", "(transformer.|)word_embeddings_layernorm.*"});
  names.add({"norm.*", "(transformer.|)ln_f.*"});
  return {std::move(o), std::move(names), {}};
}

}  // namespace detail

ATTEND_INLINE bool is_causal_family(std::string_view type) {
  for (const char* name : {"gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gpt_neox", "bloom"})
    if (type == name) return true;
  return false;
}

ATTEND_INLINE CausalFamily read_causal_family(const Config& config) {
  const std::string type = config.get<std::string>("model_type");
  if (!is_causal_family(type))
    throw_error(config.file(), ": 'model_type' ", detail::in_quotes(type), " is not supported");
  config.allow("is_encoder_decoder", false);
  CausalFamily family = type == "gpt2"       ? detail::read_gpt2(config)
                        : type == "gpt_neox" ? detail::read_gpt_neox(config)
                        : type == "bloom"    ? detail::read_bloom(config)
                                             : detail::read_llama(config, type);
  CausalLMOptions& o = family.options;
  if (config.has("bos_token_id")) o.bos_token_id = config.get<std::int32_t>("bos_token_id");
  o.eos_token_ids = get_ids(config, "eos_token_id");
  if (o.tie_word_embeddings)
    family.leftovers.insert(family.leftovers.end(), {"lm_head.weight", "embed_out.weight"});
  ignore_bookkeeping(config);
  config.finish();
  return family;
}

ATTEND_INLINE CausalFamily detail::open_causal_family(const Location& folder) {
  const Config config(folder / "config.json");
  CausalFamily family = read_causal_family(config);
  const Location generation = folder / "generation_config.json";
  if (generation.exists())
    // What ends a text of an instructed model stands here; other settings are the caller's.
    if (auto ids = get_ids(Config(generation), "eos_token_id"); !ids.empty())
      family.options.eos_token_ids = std::move(ids);
  return family;
}

}  // namespace attend::inline ATTEND_ABI
