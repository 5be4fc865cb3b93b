// Llama and the families that grew out of it: a page of each.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <attend/model/causal_options.hpp>
#include <attend/model/hugging_face.hpp>

namespace attend::inline ATTEND_ABI::detail {

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
/// The positions of all layers.
inline void set_rotary(CausalLMOptions& o, RotaryOptions rotary) {
  if (rotary.rope_type ==
      RopeType::dynamic)  // which stretches what it was trained with as far as the factor says
    o.max_position_embeddings = static_cast<Index>(static_cast<double>(o.max_position_embeddings) *
                                                   std::clamp(rotary.factor.value_or(1), 1.0, 1e6));
  o.rotary = std::move(rotary);
}

/// Where the families differ in what a config need not say.
struct LlamaDefaults {
  std::optional<Index> head_dim = {}, num_kv_heads = {};  // those that follow from the other sizes
  Index max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  const char* activation_key = "hidden_act";
  const char* activation = "silu";
  bool tie_word_embeddings = false;
  bool rope_interleaved = false;  // whether a GGUF file has the family so
};

/// What all have in common but for the layers, which are then to be added.
inline CausalBlockOptions read_llama_block(const Config& config, CausalLMOptions& o,
                                           const LlamaDefaults& defaults = {}) {
  CausalBlockOptions b{.gated = true, .norm = NormKind::rms};
  o.vocab_size = get_size(config, {"vocab_size"});
  o.embed_dim = b.embed_dim = get_size(config, {"hidden_size"});
  o.max_position_embeddings = get_size(config, {"max_position_embeddings"}, defaults.max_position_embeddings);
  o.tie_word_embeddings = config.get<bool>("tie_word_embeddings", defaults.tie_word_embeddings);
  b.dim_feedforward = get_size(config, {"intermediate_size"});
  b.num_heads = get_size(config, {"num_attention_heads"});
  b.num_kv_heads = positive_size(
      config, get_optional<Index>(config, "num_key_value_heads", defaults.num_kv_heads).value_or(b.num_heads),
      "num_key_value_heads");
  b.head_dim = config.has("head_dim") ? get_size(config, {"head_dim"})
               : defaults.head_dim    ? *defaults.head_dim
                                      : head_dim(config, b.embed_dim, b.num_heads);
  config.ignore({"head_dim"});
  b.norm_eps = get_epsilon(config, "rms_norm_eps", defaults.rms_norm_eps);
  b.activation = get_activation(config, defaults.activation_key, defaults.activation);
  b.qkv_bias = b.out_bias = config.get<bool>("attention_bias", false);
  b.mlp_bias = config.get<bool>("mlp_bias", false);
  if (!defaults.rope_interleaved) config.allow("gguf.rope_interleaved", false);
  config.allow("use_mrope", false);
  config.ignore({"pretraining_tp", "is_decoder", "is_llama_config", "sliding_window_size"});
  return b;
}
inline void add_layers(const Config& config, CausalLMOptions& o, const CausalBlockOptions& b) {
  add_layers(config, o, b, get_size(config, {"num_hidden_layers"}));
}
/// 0: none.
inline Index read_window(const Config& config, std::optional<Index> otherwise) {
  const auto window = get_optional<Index>(config, "sliding_window", otherwise);
  return window ? positive_size(config, *window, "sliding_window") : 0;
}
/// All layers slide, whatever layer_types says.
inline void set_window(const Config& config, CausalLMOptions& o, std::optional<Index> otherwise) {
  const Index window = read_window(config, otherwise);
  for (CausalBlockOptions& block : o.blocks) block.sliding_window = window;
  config.ignore({"layer_types"});
}
/// Positions that turn whole heads. As in transformers, where frequencies are those of the rope_type
/// "default" a share is passed by.
inline RotaryOptions of_whole_heads(const Config& config, RotaryOptions rotary) {
  if (rotary.rope_type != RopeType::none && rotary.partial_rotary_factor != 1)
    throw_error(config.file(), ": 'partial_rotary_factor' ", rotary.partial_rotary_factor,
                " is not supported together with a rope_type in this family");
  rotary.partial_rotary_factor = 1;
  return rotary;
}
inline void set_whole_rotary(const Config& config, CausalLMOptions& o, double theta = 10000) {
  set_rotary(o, of_whole_heads(config, read_rotary_options(
                                           config, {.head_dim = o.blocks[0].head_dim,
                                                    .rope_theta = theta,
                                                    .max_position_embeddings = o.max_position_embeddings})));
}

/// Row of a checkpoint of GGUF's Llama, whose pairs are neighbours, for each row of in_proj, whose
/// pairs are as far apart as half a head: so are GGUF's queries and keys of Llama.
inline std::function<Index(Index)> rows_of_pairs(const CausalBlockOptions& o) {
  return [turned = (o.num_heads + o.num_kv_heads) * o.head_dim, dim = o.head_dim](Index row) {
    const Index i = row % dim, half = dim / 2;
    return row >= turned ? row : row - i + (i < half ? 2 * i : 2 * (i - half) + 1);
  };
}

/// With the names of their checkpoints, of which `names` are other ones.
inline CausalFamily llama_family(const Config& config, CausalLMOptions o, NameMap names = {}) {
  const std::string layer = "(model.|)layers.*.";
  Source in_proj{
      .names = {layer + "self_attn.q_proj.*", layer + "self_attn.k_proj.*", layer + "self_attn.v_proj.*"}};
  if (config.get<bool>("gguf.rope_interleaved", false)) in_proj.row = rows_of_pairs(o.blocks[0]);
  for (const NameMap::Rule& rule : std::initializer_list<NameMap::Rule>{
           {"embed_tokens.weight", o.tie_word_embeddings ? "(model.embed_tokens|embed_tokens|lm_head).weight"
                                                         : "(model.|)embed_tokens.weight"},
           {"norm.weight", "(model.|)norm.weight"},
           {"layers.*.self_attn.in_proj_*", in_proj},
           {"layers.*.self_attn.out_proj.*", layer + "self_attn.o_proj.*"},
           {"layers.*.self_attn.*.weight", layer + "self_attn.*.weight"},
           {"layers.*.linear1.*", {layer + "mlp.gate_proj.*", layer + "mlp.up_proj.*"}},
           {"layers.*.linear2.*", layer + "mlp.down_proj.*"},
           {"layers.*.norm1.weight", layer + "input_layernorm.weight"},
           {"layers.*.norm2.weight", layer + "post_attention_layernorm.weight"}})
    names.add(rule);
  return {std::move(o),
          std::move(names),
          {"self_attn.rotary_emb.inv_freq", "rope_freqs.weight", "rope_factors_long.weight",
           "rope_factors_short.weight"}};
}

// ---- Llama (arXiv:2302.13971), Mistral (arXiv:2310.06825), Qwen2 and Qwen3 (arXiv:2407.10671, 2505.09388)

inline CausalFamily read_llama(const Config& config) {
  CausalLMOptions o;
  add_layers(config, o, read_llama_block(config, o, {.rope_interleaved = true}));
  set_whole_rotary(config, o);
  return llama_family(config, std::move(o));
}

inline CausalFamily read_mistral(const Config& config) {
  CausalLMOptions o;
  add_layers(config, o,
             read_llama_block(config, o, {.max_position_embeddings = 131072, .rope_interleaved = true}));
  set_window(config, o, 4096);
  set_whole_rotary(config, o);
  return llama_family(config, std::move(o));
}

inline CausalFamily read_qwen(const Config& config, bool third) {
  CausalLMOptions o;
  CausalBlockOptions b = read_llama_block(
      config, o,
      {.head_dim = third ? std::optional<Index>(128) : std::nullopt, .max_position_embeddings = 32768});
  b.qkv_bias = b.qkv_bias || !third;
  b.qk_norm = third;
  add_layers(config, o, b);
  const Index window = read_window(config, 4096), first = config.get<Index>("max_window_layers", 28);
  set_windows(config, o, config.get<bool>("use_sliding_window", false) ? window : 0,
              [&](Index i) { return i >= first; });
  set_whole_rotary(config, o);
  return llama_family(config, std::move(o));
}
inline CausalFamily read_qwen2(const Config& config) { return read_qwen(config, false); }
inline CausalFamily read_qwen3(const Config& config) { return read_qwen(config, true); }

// ---- Gemma 2 (arXiv:2408.00118) and Gemma 3 (arXiv:2503.19786)

/// All but windows and positions.
inline CausalBlockOptions read_gemma_block(const Config& config, CausalLMOptions& o, LlamaDefaults defaults,
                                           std::optional<double> softcap) {
  defaults.activation_key = "hidden_activation", defaults.activation = "gelu_pytorch_tanh";
  defaults.tie_word_embeddings = true;
  CausalBlockOptions b = read_llama_block(config, o, defaults);
  b.residual = Residual::sandwich;
  const double scalar = config.get<double>("query_pre_attn_scalar", 256);
  if (!(scalar > 0)) throw_error(config.file(), ": 'query_pre_attn_scalar' is ", scalar);
  b.scale = 1 / std::sqrt(scalar);
  o.logit_softcap = get_optional<double>(config, "final_logit_softcapping", softcap).value_or(0);
  if (!(o.logit_softcap >= 0)) throw_error(config.file(), ": 'final_logit_softcapping' is ", o.logit_softcap);
  o.embed_scale = std::sqrt(static_cast<double>(o.embed_dim));
  config.ignore({"hidden_act"});  // of old files; hidden_activation counts
  return b;
}
inline CausalFamily gemma_family(const Config& config, CausalLMOptions o) {
  const double add = config.get<bool>("gguf.norms_less_one", true) ? 1 : 0;  // GGUF has them whole
  const auto less_one = [&](const std::string& name) { return Source{.names = {name}, .add = add}; };
  const std::string layer = "(model.|)layers.*.";
  return llama_family(
      config, std::move(o),
      {{"norm.weight", less_one("(model.|)norm.weight")},
       {"layers.*.self_attn.q_norm.weight", less_one(layer + "self_attn.q_norm.weight")},
       {"layers.*.self_attn.k_norm.weight", less_one(layer + "self_attn.k_norm.weight")},
       {"layers.*.norm1.weight", less_one(layer + "input_layernorm.weight")},
       {"layers.*.norm2.weight", less_one(layer + "pre_feedforward_layernorm.weight")},
       {"layers.*.post_norm1.weight", less_one(layer + "post_attention_layernorm.weight")},
       {"layers.*.post_norm2.weight", less_one(layer + "post_feedforward_layernorm.weight")}});
}

inline CausalFamily read_gemma2(const Config& config) {
  CausalLMOptions o;
  CausalBlockOptions b = read_gemma_block(config, o, {.head_dim = 256, .max_position_embeddings = 8192}, 30);
  b.softcap = get_optional<double>(config, "attn_logit_softcapping", 50).value_or(0);
  if (!(b.softcap >= 0)) throw_error(config.file(), ": 'attn_logit_softcapping' is ", b.softcap);
  config.allow("use_bidirectional_attention", nullptr, false);
  add_layers(config, o, b);
  set_windows(config, o, read_window(config, 4096), [](Index i) { return i % 2 == 0; });
  set_whole_rotary(config, o);
  return gemma_family(config, std::move(o));
}

inline CausalFamily read_gemma3(const Config& config) {
  CausalLMOptions o;
  CausalBlockOptions b = read_gemma_block(
      config, o, {.head_dim = 256, .num_kv_heads = 4, .max_position_embeddings = 131072}, {});
  b.qk_norm = true;
  b.is_causal = !config.get<bool>("use_bidirectional_attention", false);
  add_layers(config, o, b);
  Index window = read_window(config, 4096);
  if (window == 0) throw_error(config.file(), ": 'sliding_window' null is not supported");
  if (!b.is_causal) window = window / 2 + 1;  // to each side, as transformers counts
  const Index pattern = get_size(config, {"sliding_window_pattern"}, 6);
  set_windows(config, o, window, [&](Index i) { return (i + 1) % pattern != 0; });
  // transformers passes the softcap of scores by in this family.
  config.ignore({"attn_logit_softcapping", "_sliding_window_pattern"});
  const auto rotary = [&](bool local, const char* layers, const char* theta_key, double theta) {
    RotaryOptions r{.head_dim = b.head_dim,
                    .rope_theta = config.get<double>(theta_key, theta),
                    .max_position_embeddings = o.max_position_embeddings};
    return of_whole_heads(config, read_layer_rotary(config, layers, !local, std::move(r)));
  };
  set_rotary(o, rotary(false, "full_attention", "rope_theta", 1000000));
  o.local_rotary = rotary(true, "sliding_attention", "rope_local_base_freq", 10000);
  return gemma_family(config, std::move(o));
}

// ---- Phi-3 and Phi-4-mini (arXiv:2404.14219, 2503.01743)

inline CausalFamily read_phi3(const Config& config) {
  CausalLMOptions o;
  const CausalBlockOptions b =
      read_llama_block(config, o, {.max_position_embeddings = 4096, .rms_norm_eps = 1e-5});
  add_layers(config, o, b);
  set_window(config, o, {});
  set_rotary(o, read_rotary_options(config, {.head_dim = b.head_dim,
                                             .max_position_embeddings = o.max_position_embeddings,
                                             .original_max_position_embeddings = 4096}));
  if (o.rotary->rope_type != RopeType::none && o.rotary->rope_type != RopeType::longrope)
    throw_error(config.file(), ": a rope_type other than 'default' and 'longrope' is not supported in phi3");
  o.reruns_longer = o.rotary->rope_type == RopeType::longrope;
  config.allow("lm_head_bias", false);
  config.ignore({"full_attn_mod", "interpolate_factor"});  // of other programs
  const std::string layer = "(model.|)layers.*.";
  return llama_family(config, std::move(o),
                      {{"layers.*.self_attn.in_proj_weight", layer + "self_attn.qkv_proj.weight"},
                       {"layers.*.linear1.weight", layer + "mlp.gate_up_proj.weight"}});
}

// ---- SmolLM3

inline CausalFamily read_smollm3(const Config& config) {
  CausalLMOptions o;
  add_layers(
      config, o,
      read_llama_block(config, o,
                       {.num_kv_heads = 4, .max_position_embeddings = 32768, .tie_word_embeddings = true}));
  // 1 in no_rope_layers is a layer with rotary positions.
  const auto turns = config.get<std::vector<Index>>("no_rope_layers", {});
  const Index every = get_size(config, {"no_rope_layer_interval"}, 4);
  if (!turns.empty() && turns.size() < o.blocks.size())
    throw_error(config.file(), ": 'no_rope_layers' has ", turns.size(), " entries for ", o.blocks.size(),
                " layers");
  for (std::size_t i = 0; i < o.blocks.size(); ++i)
    o.blocks[i].rotary = turns.empty() ? (static_cast<Index>(i) + 1) % every != 0 : turns[i] != 0;
  const Index window = read_window(config, {});
  const bool slides = config.get<bool>("use_sliding_window", false) && window > 0;
  set_windows(config, o, window,
              [&](Index i) { return slides && !o.blocks[static_cast<std::size_t>(i)].rotary; });
  set_whole_rotary(config, o, 2000000);
  config.ignore({"max_window_layers"});
  return llama_family(config, std::move(o));
}

// ---- OLMo 2 (arXiv:2501.00656)

inline CausalFamily read_olmo2(const Config& config) {
  CausalLMOptions o;
  CausalBlockOptions b = read_llama_block(config, o, {.rms_norm_eps = 1e-5});
  b.qk_norm = b.qk_norm_over_heads = true;
  b.residual = Residual::inner;
  add_layers(config, o, b);
  set_whole_rotary(config, o);
  const std::string layer = "(model.|)layers.*.";
  return llama_family(config, std::move(o),
                      {{"layers.*.norm1.weight", layer + "post_attention_layernorm.weight"},
                       {"layers.*.norm2.weight", layer + "post_feedforward_layernorm.weight"}});
}

// ---- Granite 3

inline CausalFamily read_granite(const Config& config) {
  CausalLMOptions o;
  CausalBlockOptions b = read_llama_block(config, o);
  b.scale = config.get<double>("attention_multiplier", 1);
  b.residual_scale = config.get<double>("residual_multiplier", 1);
  o.embed_scale = config.get<double>("embedding_multiplier", 1);
  o.logit_scale = 1 / config.get<double>("logits_scaling", 1);
  add_layers(config, o, b);
  set_whole_rotary(config, o);
  return llama_family(config, std::move(o));
}

}  // namespace attend::inline ATTEND_ABI::detail
