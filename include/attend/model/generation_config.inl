// Bodies of generation_config.hpp.
#pragma once

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/gguf/folder.hpp>
#include <attend/model/generation_config.hpp>
#include <attend/model/hugging_face.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {

/// What a config says of generation, by all keys that are supported.
inline GenerationOptions read_generation_keys(const Config& config, GenerationOptions o) {
  const auto count = [&](const char* key, Index otherwise) { return config.get<Index>(key, otherwise); };
  if (config.has("max_length") || config.has("max_new_tokens")) {  // the second counts where both are there
    const bool both = config.has("max_new_tokens");
    o.max_length = both ? 0 : config.get<Index>("max_length");
    o.max_new_tokens = count("max_new_tokens", (std::numeric_limits<Index>::max)());
    if (!both && o.max_length < 1)
      throw_error(config.file(), ": 'max_length' is ", o.max_length, ", expected 1 or more");
  }
  config.ignore({"max_length", "max_new_tokens"});
  o.min_new_tokens = count("min_new_tokens", o.min_new_tokens);
  const Index min_length = count("min_length", o.min_length);
  o.min_length = config.has("min_new_tokens") ? 0 : min_length;  // which does not count beside the other
  const bool sample = config.get<bool>("do_sample", false);
  const double temperature = config.get<double>("temperature", 1);
  if (sample && !(temperature > 0))
    throw_error(config.file(), ": 'temperature' is ", temperature, " with 'do_sample'");
  o.temperature = sample ? temperature : 0;
  o.top_k = count("top_k", 50);
  o.top_p = config.get<double>("top_p", 1);
  o.min_p = config.get<double>("min_p", 0);
  o.repetition_penalty = config.get<double>("repetition_penalty", 1);
  o.no_repeat_ngram_size = count("no_repeat_ngram_size", 0);
  o.num_beams = count("num_beams", 1);
  if (sample && o.num_beams > 1)
    throw_error(config.file(), ": 'do_sample' together with 'num_beams' ", o.num_beams, " is not supported");
  o.length_penalty = config.get<double>("length_penalty", 1);
  config.allow("early_stopping", nullptr, true, false, "never");
  if (config.has("early_stopping"))
    o.early_stopping = config.is_string("early_stopping")   ? EarlyStopping::never
                       : config.get<bool>("early_stopping") ? EarlyStopping::yes
                                                            : EarlyStopping::no;
  if (config.has("eos_token_id")) o.eos_token_ids = get_ids(config, "eos_token_id");
  config.ignore({"eos_token_id", "bad_words_ids", "forced_bos_token_id", "decoder_start_token_id"});
  if (config.has("bad_words_ids"))
    o.bad_words_ids = config.get<std::vector<std::vector<std::int32_t>>>("bad_words_ids");
  for (const auto& word : o.bad_words_ids)
    if (word.empty()) throw_error(config.file(), ": 'bad_words_ids' has an empty list");
  o.suppress_tokens = get_ids(config, "suppress_tokens");
  o.begin_suppress_tokens = get_ids(config, "begin_suppress_tokens");
  o.forced_eos_token_id = get_ids(config, "forced_eos_token_id");
  for (const auto& [key, id] : {std::pair("forced_bos_token_id", &o.forced_bos_token_id),
                                std::pair("decoder_start_token_id", &o.decoder_start_token_id)})
    if (config.has(key)) *id = config.get<std::int32_t>(key);
  o.remove_invalid_values = config.get<bool>("remove_invalid_values", false);
  o.renormalize_logits = config.get<bool>("renormalize_logits", false);

  // Of what is not supported, values that change nothing.
  for (const char* key : {"encoder_repetition_penalty", "typical_p", "guidance_scale", "num_return_sequences",
                          "num_beam_groups"})
    config.allow(key, nullptr, 1, 1.0);
  for (const char* key :
       {"encoder_no_repeat_ngram_size", "epsilon_cutoff", "eta_cutoff", "penalty_alpha", "diversity_penalty"})
    config.allow(key, nullptr, 0, 0.0);
  for (const char* key :
       {"exponential_decay_length_penalty", "sequence_bias", "watermarking_config", "constraints",
        "force_words_ids", "dola_layers", "top_h", "max_time", "stop_strings", "forced_decoder_ids"})
    config.allow(key, nullptr);
  for (const char* key : {"token_healing", "low_memory"}) config.allow(key, nullptr, false);
  check_options(o, config.file());
  return o;
}

}  // namespace detail

ATTEND_INLINE GenerationOptions read_generation_options(const Config& config, GenerationOptions otherwise) {
  GenerationOptions o = detail::read_generation_keys(config, std::move(otherwise));
  // How the loop, its cache and its outputs are made, drafts that are checked, and whose names these are.
  config.ignore({"_from_model_config", "_commit_hash", "transformers_version", "_original_object_hash",
                 "use_cache", "use_mtp", "cache_implementation", "cache_config", "max_cache_len",
                 "return_legacy_cache"});
  config.ignore({"prefill_chunk_size", "output_attentions", "output_hidden_states", "output_scores",
                 "output_logits", "return_dict_in_generate", "pad_token_id", "bos_token_id", "is_assistant",
                 "num_assistant_tokens"});
  config.ignore({"num_assistant_tokens_schedule", "assistant_confidence_threshold",
                 "prompt_lookup_num_tokens", "max_matching_ngram_size", "assistant_early_exit",
                 "assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight", "speculation_type",
                 "compile_config"});
  config.ignore({"disable_compile", "continuous_batching_config", "attn_implementation", "trust_remote_code",
                 "chat_format", "max_window_size", "user_token_id", "assistant_token_id"});
  for (const std::string& key : config.keys())
    if (config.is_null(key)) config.ignore({key.c_str()});
  config.finish();
  return o;
}

ATTEND_INLINE GenerationOptions open_generation_options(const Location& place,
                                                        const GenerationOptions& otherwise) {
  const Location folder = detail::model_folder(place);
  const Location file = folder / "generation_config.json";
  if (file.exists()) {
    GenerationOptions o = read_generation_options(Config(file), otherwise);
    if (!o.eos_token_ids) o.eos_token_ids.emplace();  // config.json's do not count beside the file
    return o;
  }
  const Config config(folder / "config.json");
  GenerationOptions o = detail::read_generation_keys(config, otherwise);
  if (config.has("force_bos_token_to_be_generated") && config.get<bool>("force_bos_token_to_be_generated") &&
      config.has("bos_token_id"))
    o.forced_bos_token_id = config.get<std::int32_t>("bos_token_id");  // BART's old way to say it
  return o;
}

}  // namespace attend::inline ATTEND_ABI
