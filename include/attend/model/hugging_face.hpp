// What the config.json files of Hugging Face models have in common.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <attend/activation.hpp>
#include <attend/io/config.hpp>
#include <attend/rotary.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// Marks keys of config.json as read that say nothing of the arithmetic: names, dropout and initialisation of
/// training, defaults for generation, and what old files of every family carry.
inline void ignore_bookkeeping(const Config& config) {
  config.ignore({"_name_or_path", "_commit_hash", "architectures", "auto_map", "dtype", "torch_dtype",
                 "transformers_version", "attn_implementation", "_attn_implementation",
                 "_attn_implementation_internal", "base_model_name_or_path", "model_name"});
  config.ignore({"_attn_implementation_autoset", "_flash_attn_2_enabled", "transformers.js_config",
                 "unsloth_version", "sentence_transformers", "sbert_ce_default_activation_function",
                 "unsloth_fixed", "tie_weights_", "xla_device", "use_bfloat16", "torchscript",
                 "tf_legacy_loss"});
  config.ignore({"chunk_size_feed_forward", "return_dict", "output_hidden_states", "output_attentions",
                 "output_past", "use_cache", "gradient_checkpointing", "language", "license",
                 "model_max_length"});
  config.ignore({"id2label", "label2id", "num_labels", "_num_labels", "problem_type", "finetuning_task",
                 "task_specific_params", "classifier_dropout", "summary_activation", "summary_first_dropout",
                 "summary_proj_to_labels", "summary_type", "summary_use_proj"});
  config.ignore({"attention_probs_dropout_prob", "hidden_dropout_prob", "attention_dropout", "hidden_dropout",
                 "activation_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "initializer_range",
                 "directionality"});
  config.ignore({"bos_token_id", "eos_token_id", "eos_token_ids", "pad_token_id", "unk_token_id",
                 "sep_token_id", "cls_token_id", "mask_token_id", "tokenizer_class", "prefix"});
  config.ignore({"tie_word_embeddings", "max_length", "min_length", "do_sample", "early_stopping",
                 "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k"});
  config.ignore({"top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
                 "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores",
                 "return_dict_in_generate"});
  config.ignore({"forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
                 "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
                 "cache_implementation"});
  if (config.size("pruned_heads") == 0) config.ignore({"pruned_heads"});
  // What these would switch on is not there; off they say nothing.
  for (const char* key : {"is_decoder", "is_encoder_decoder", "add_cross_attention", "tie_encoder_decoder",
                          "output_router_logits", "use_flash_attn", "use_flash_attention"})
    if (!config.is_read(key)) config.allow(key, nullptr, false);
  config.allow("cross_attention_hidden_size", nullptr);
}

/// A key whose null means something else than its absence: an optional number, absent `otherwise`.
template <class T>
std::optional<T> get_optional(const Config& config, const std::string& key, std::optional<T> otherwise) {
  if (config.has(key)) return config.get<T>(key);
  config.ignore({key.c_str()});
  return config.is_null(key) ? std::nullopt : otherwise;
}

/// The first of several names of one setting that is there (old files and new); all of them count as read.
template <class T>
T get_any(const Config& config, std::initializer_list<const char*> keys) {
  config.ignore(keys);
  for (const char* key : keys)
    if (config.has(key)) return config.get<T>(key);
  return config.get<T>(*keys.begin());
}
template <class T>
T get_any(const Config& config, std::initializer_list<const char*> keys, std::type_identity_t<T> otherwise) {
  config.ignore(keys);
  for (const char* key : keys)
    if (config.has(key)) return config.get<T>(key);
  return otherwise;
}

/// A size: at least 1, and small enough that products of two do not wrap.
inline Index positive_size(const Config& config, Index size, const char* name) {
  if (size < 1 || size > 2147483647) throw_error(config.file(), ": '", name, "' is ", size);
  return size;
}
inline const char* key_of(const Config& config, std::initializer_list<const char*> keys) {
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const char* key) { return config.has(key); });
  return found == keys.end() ? *keys.begin() : *found;
}
inline Index get_size(const Config& config, std::initializer_list<const char*> keys) {
  return positive_size(config, get_any<Index>(config, keys), key_of(config, keys));
}
inline Index get_size(const Config& config, std::initializer_list<const char*> keys, Index otherwise) {
  return positive_size(config, get_any<Index>(config, keys, otherwise), key_of(config, keys));
}

/// What is added to a variance: 0 to 1.
inline double get_epsilon(const Config& config, const char* key, double otherwise) {
  const double epsilon = config.get<double>(key, otherwise);
  if (!(epsilon >= 0 && epsilon <= 1)) throw_error(config.file(), ": '", key, "' is ", epsilon);
  return epsilon;
}

/// The name of an activation; error that names the key where it is none.
inline Activation get_activation(const Config& config, const char* key, const char* otherwise) {
  config.allow(key, nullptr, "relu", "gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_accurate",
               "gelu_tanh", "gelu_python_tanh", "gelu_pytorch_tanh", "silu", "swish", "sigmoid", "tanh",
               "linear");
  return activation_from_string(config.get<std::string>(key, otherwise));
}

/// One id or a list of ids; none where the key is absent.
inline std::vector<std::int32_t> get_ids(const Config& config, const std::string& key) {
  if (!config.has(key)) return config.ignore({key.c_str()}), std::vector<std::int32_t>{};
  if (config.is_list(key)) return config.get<std::vector<std::int32_t>>(key);
  return {config.get<std::int32_t>(key)};
}

/// Adds what a rope_parameters or rope_scaling object says to the options. `added`: to a rope_type that
/// there is already, which the old name of it does not change.
inline void read_rope_parameters(const Config& rope, RotaryOptions& o, bool added = false) {
  for (const char* key : {"rope_type", "type"})
    rope.allow(key, nullptr, "default", "linear", "dynamic", "yarn", "llama3", "longrope", "su");
  if (!added || rope.has("rope_type"))
    o.rope_type = rope_type_from_string(get_any<std::string>(rope, {"rope_type", "type"}, "default"));
  o.rope_theta = rope.get<double>("rope_theta", o.rope_theta);
  o.partial_rotary_factor = rope.get<double>("partial_rotary_factor", o.partial_rotary_factor);
  o.original_max_position_embeddings =
      rope.get<Index>("original_max_position_embeddings", o.original_max_position_embeddings);
  // What the type does not read is not an error of a file: transformers passes it by.
  const bool yarn = o.rope_type == RopeType::yarn, longrope = o.rope_type == RopeType::longrope;
  if (rope.has("factor") && o.rope_type != RopeType::none) o.factor = rope.get<double>("factor");
  if (rope.has("attention_factor") && (yarn || longrope))
    o.attention_factor = rope.get<double>("attention_factor");
  if (yarn) {
    o.beta_fast = rope.get<double>("beta_fast", o.beta_fast);
    o.beta_slow = rope.get<double>("beta_slow", o.beta_slow);
    o.mscale = rope.get<double>("mscale", o.mscale);
    o.mscale_all_dim = rope.get<double>("mscale_all_dim", o.mscale_all_dim);
    o.truncate = rope.get<bool>("truncate", o.truncate);
  }
  if (o.rope_type == RopeType::llama3) {
    o.low_freq_factor = rope.get<double>("low_freq_factor", o.low_freq_factor);
    o.high_freq_factor = rope.get<double>("high_freq_factor", o.high_freq_factor);
  }
  if (longrope) {
    o.short_factor = rope.get<std::vector<double>>("short_factor", o.short_factor);
    o.long_factor = rope.get<std::vector<double>>("long_factor", o.long_factor);
  }
  rope.ignore({"factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate",
               "low_freq_factor", "high_freq_factor", "short_factor", "long_factor"});
}

/// Error where a share is none. Tables go no further than the positions, and a length of training counts for
/// the types that read it.
inline RotaryOptions check_rotary_options(const Config& config, RotaryOptions o) {
  if (o.rope_type != RopeType::yarn && o.rope_type != RopeType::llama3 && o.rope_type != RopeType::longrope)
    o.original_max_position_embeddings = 0;
  if (!(o.partial_rotary_factor >= 0 && o.partial_rotary_factor <= 1))
    throw_error(config.file(), ": 'partial_rotary_factor' is ", o.partial_rotary_factor);
  o.table_positions = std::min<Index>(o.table_positions, o.max_position_embeddings);
  return o;
}

/// Rotary settings of a model, in new files under rope_parameters, in old ones rope_scaling, with rope_theta
/// and the like beside it by names of the family. What the file does not say stays as in `o`.
inline RotaryOptions read_rotary_options(const Config& config, RotaryOptions o,
                                         const char* theta = "rope_theta",
                                         const char* share = "partial_rotary_factor") {
  o.max_position_embeddings = config.get<Index>("max_position_embeddings", o.max_position_embeddings);
  o.rope_theta = config.get<double>(theta, o.rope_theta);
  o.partial_rotary_factor = config.get<double>(share, o.partial_rotary_factor);
  const Index original =
      config.get<Index>("original_max_position_embeddings", o.original_max_position_embeddings);
  config.ignore({"rope_scaling", "rope_parameters", "rope_theta", "partial_rotary_factor"});
  const char* key = config.size("rope_scaling") > 0 ? "rope_scaling" : "rope_parameters";
  if (config.has(key)) read_rope_parameters(config.object(key), o);
  if (original != 0) o.original_max_position_embeddings = original;  // before what the object says
  return check_rotary_options(config, std::move(o));
}

/// Rotary settings of the layers of one kind ("full_attention", "sliding_attention"), which rope_parameters
/// has an object for. `scaled`: an old file's rope_scaling is theirs, too.
inline RotaryOptions read_layer_rotary(const Config& config, const char* kind, bool scaled, RotaryOptions o) {
  config.ignore({"rope_scaling", "rope_parameters"});
  if (config.has("rope_parameters")) {
    const Config all = config.object("rope_parameters");
    all.ignore({kind});
    if (all.has(kind)) read_rope_parameters(all.object(kind), o);
  }
  if (scaled && config.size("rope_scaling") > 0) read_rope_parameters(config.object("rope_scaling"), o, true);
  o.truncate = true;  // transformers does not look into the object for it
  return check_rotary_options(config, std::move(o));
}

}  // namespace attend::inline ATTEND_ABI::detail
