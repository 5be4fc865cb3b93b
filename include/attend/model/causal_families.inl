// Bodies of causal_families.hpp: what each family's config.json says, and how its checkpoints name the
// parameters.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include <attend/model/causal_families.hpp>
#include <attend/model/hugging_face.hpp>
#include <attend/model/llama_families.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {

/// Row of a checkpoint's query_key_value [H][3][D] for each row of in_proj [3][H][D].
inline std::function<Index(Index)> rows_by_head(const CausalBlockOptions& o) {
  return [heads = o.num_heads, dim = o.head_dim](Index row) {
    const Index part = row / (heads * dim), head = row / dim % heads;
    return (head * 3 + part) * dim + row % dim;
  };
}

// ---- GPT-2 (Radford et al. 2019)

inline CausalFamily read_gpt2(const Config& config) {
  CausalLMOptions o;
  CausalBlockOptions b;
  o.vocab_size = get_size(config, {"vocab_size"});
  o.embed_dim = b.embed_dim = get_size(config, {"hidden_size", "n_embd"});
  o.max_position_embeddings = get_size(config, {"max_position_embeddings", "n_positions", "n_ctx"}, 1024);
  b.num_heads = b.num_kv_heads = get_size(config, {"num_attention_heads", "n_head"});
  b.head_dim = head_dim(config, b.embed_dim, b.num_heads);
  b.dim_feedforward = get_size(config, {"n_inner"}, 4 * b.embed_dim);
  b.activation = get_activation(config, "activation_function", "gelu_new");
  b.norm_eps = get_epsilon(config, "layer_norm_epsilon", 1e-5);
  b.scale = config.get<bool>("scale_attn_weights", true) ? 1 / std::sqrt(static_cast<double>(b.head_dim)) : 1;
  add_layers(config, o, b, get_size(config, {"num_hidden_layers", "n_layer"}));
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
  set_rotary(o, read_rotary_options(config,
                                    {.head_dim = b.head_dim,
                                     .partial_rotary_factor = 0.25,
                                     .max_position_embeddings = o.max_position_embeddings},
                                    "rotary_emb_base", "rotary_pct"));
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
  b.num_heads = b.num_kv_heads = get_size(config, {"num_attention_heads", "n_head"});
  b.head_dim = head_dim(config, b.embed_dim, b.num_heads);
  b.dim_feedforward = 4 * b.embed_dim;
  b.norm_eps = get_epsilon(config, "layer_norm_epsilon", 1e-5);
  b.alibi = true;
  add_layers(config, o, b, get_size(config, {"num_hidden_layers", "n_layer"}));
  o.embed_norm = true;
  o.tie_word_embeddings = config.get<bool>("tie_word_embeddings", true);
  config.allow("apply_residual_connection_post_layernorm", false);
  config.allow("n_inner", nullptr, b.dim_feedforward);
  config.allow("skip_bias_add_qkv", false);
  if (config.get<Index>("pretraining_tp", 1) > 1) config.allow("slow_but_exact", false);  // leaves biases out
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

// ---- OPT (arXiv:2205.01068)

inline CausalFamily read_opt(const Config& config) {
  CausalLMOptions o;
  CausalBlockOptions b;
  o.vocab_size = get_size(config, {"vocab_size"});
  o.embed_dim = b.embed_dim = get_size(config, {"hidden_size"});
  o.embed_width = get_size(config, {"word_embed_proj_dim"}, o.embed_dim);
  o.max_position_embeddings = get_size(config, {"max_position_embeddings"}, 2048);
  o.learned_positions = true;
  o.position_offset = 2;
  b.num_heads = b.num_kv_heads = get_size(config, {"num_attention_heads"});
  b.head_dim = head_dim(config, b.embed_dim, b.num_heads);
  b.dim_feedforward = get_size(config, {"ffn_dim"});
  b.activation = get_activation(config, "activation_function", "relu");
  b.norm_weight = config.get<bool>("layer_norm_elementwise_affine", true);
  b.qkv_bias = b.out_bias = b.mlp_bias = config.get<bool>("enable_bias", true);
  const bool before = config.get<bool>("do_layer_norm_before", true);
  b.residual = before ? Residual::pre : Residual::post;
  o.final_norm = !config.get<bool>("_remove_final_layer_norm", false) && before;
  add_layers(config, o, b, get_size(config, {"num_hidden_layers"}));
  o.tie_word_embeddings = config.get<bool>("tie_word_embeddings", true);
  config.allow("learned_embeddings", true);
  config.allow("scale_embeddings", false);
  config.ignore({"dropout", "layerdrop", "init_std"});

  const std::string base = "(model.|)decoder.", layer = base + "layers.*.";
  NameMap names{{"embed_tokens.weight",
                 o.tie_word_embeddings ? "(model.decoder.embed_tokens|decoder.embed_tokens|lm_head).weight"
                                       : base + "embed_tokens.weight"},
                {"embed_positions.weight", base + "embed_positions.weight"},
                {"project_in.weight", base + "project_in.weight"},
                {"project_out.weight", base + "project_out.weight"},
                {"norm.*", base + "final_layer_norm.*"},
                {"layers.*.self_attn.in_proj_*",
                 {layer + "self_attn.q_proj.*", layer + "self_attn.k_proj.*", layer + "self_attn.v_proj.*"}},
                {"layers.*.self_attn.out_proj.*", layer + "self_attn.out_proj.*"},
                {"layers.*.linear1.*", layer + "fc1.*"},
                {"layers.*.linear2.*", layer + "fc2.*"},
                {"layers.*.norm1.*", layer + "self_attn_layer_norm.*"},
                {"layers.*.norm2.*", layer + "final_layer_norm.*"}};
  return {std::move(o), std::move(names), {}};
}

struct CausalReader {
  const char* type;
  CausalFamily (*read)(const Config&);
};
inline constexpr CausalReader kCausalReaders[] = {
    {"bloom", read_bloom}, {"gemma2", read_gemma2},     {"gemma3_text", read_gemma3},
    {"gpt2", read_gpt2},   {"gpt_neox", read_gpt_neox}, {"granite", read_granite},
    {"llama", read_llama}, {"mistral", read_mistral},   {"olmo2", read_olmo2},
    {"opt", read_opt},     {"phi3", read_phi3},         {"qwen2", read_qwen2},
    {"qwen3", read_qwen3}, {"smollm3", read_smollm3}};

inline const CausalReader* causal_reader(std::string_view type) {
  for (const CausalReader& reader : kCausalReaders)
    if (type == reader.type) return &reader;
  return nullptr;
}

}  // namespace detail

ATTEND_INLINE bool is_causal_family(std::string_view type) { return detail::causal_reader(type) != nullptr; }

ATTEND_INLINE CausalFamily read_causal_family(const Config& config) {
  const detail::FloatEnvironment environment;
  const std::string type = config.get<std::string>("model_type");
  const detail::CausalReader* reader = detail::causal_reader(type);
  if (reader == nullptr)
    throw_error(config.file(), ": model_type ", detail::in_quotes(type),
                " is not a decoder that is supported");
  config.allow("is_encoder_decoder", false);
  CausalFamily family = reader->read(config);
  CausalLMOptions& o = family.options;
  if (config.has("bos_token_id")) o.bos_token_id = config.get<std::int32_t>("bos_token_id");
  o.eos_token_ids = detail::get_ids(config, "eos_token_id");
  if (o.tie_word_embeddings)
    family.leftovers.insert(family.leftovers.end(), {"lm_head.weight", "embed_out.weight"});
  detail::ignore_bookkeeping(config);
  config.finish();
  return family;
}

ATTEND_INLINE CausalFamily detail::open_causal_family(const Location& folder) {
  const Config config(folder / "config.json");
  CausalFamily family = read_causal_family(config);
  const Location generation = folder / "generation_config.json";
  if (generation.exists())
    // What ends a text of an instructed model stands here; other settings are the caller's.
    if (auto ids = detail::get_ids(Config(generation), "eos_token_id"); !ids.empty())
      family.options.eos_token_ids = std::move(ids);
  if (stored_apart(SafeTensors::open_folder(folder), family.names, "embed_tokens.weight", "lm_head.weight"))
    family.options.tie_word_embeddings = false;
  return family;
}

}  // namespace attend::inline ATTEND_ABI
