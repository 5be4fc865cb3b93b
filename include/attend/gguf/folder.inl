// Bodies of folder.hpp.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/core/file.hpp>
#include <attend/gguf/folder.hpp>
#include <attend/gguf/gguf.hpp>
#include <attend/json/text.hpp>

namespace attend::inline ATTEND_ABI::detail {

// ---- Names of tensors

/// GGUF's names without "blk.N." and ".weight", and the others' without "model.layers.N.".
inline constexpr std::pair<std::string_view, std::string_view> kLlamaNames[] = {
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"}};
/// What comes before these.
inline constexpr std::pair<std::string_view, std::string_view> kGemmaNames[] = {
    {"post_attention_norm", "post_attention_layernorm"},
    {"ffn_norm", "pre_feedforward_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"}};
inline constexpr std::pair<std::string_view, std::string_view> kPhi3Names[] = {
    {"ffn_up", "mlp.gate_up_proj"}};
inline constexpr std::pair<std::string_view, std::string_view> kBertNames[] = {
    {"attn_q", "attention.self.query"},
    {"attn_k", "attention.self.key"},
    {"attn_v", "attention.self.value"},
    {"attn_output", "attention.output.dense"},
    {"attn_output_norm", "attention.output.LayerNorm"},
    {"ffn_up", "intermediate.dense"},
    {"ffn_down", "output.dense"},
    {"layer_output_norm", "output.LayerNorm"},
    {"token_embd", "embeddings.word_embeddings"},
    {"position_embd", "embeddings.position_embeddings"},
    {"token_types", "embeddings.token_type_embeddings"},
    {"token_embd_norm", "embeddings.LayerNorm"}};

ATTEND_INLINE std::string hugging_face_name(std::string_view architecture, std::string_view name) {
  const bool bert = architecture == "bert", gemma = architecture == "gemma2" || architecture == "gemma3";
  std::string_view middle = name, layer;
  if (middle.starts_with("blk.")) {
    middle.remove_prefix(4);
    layer = middle.substr(0, middle.find('.'));
    middle.remove_prefix((std::min)(layer.size() + 1, middle.size()));
  }
  const std::string_view end = middle.substr((std::min)(middle.rfind('.'), middle.size()));
  middle.remove_suffix(end.size());
  const auto find = [&](const auto& names) -> std::string_view {
    for (const auto& [ours, theirs] : names)
      if (ours == middle) return theirs;
    return {};
  };
  std::string_view found = bert                     ? find(kBertNames)
                           : gemma                  ? find(kGemmaNames)
                           : architecture == "phi3" ? find(kPhi3Names)
                                                    : std::string_view();
  if (found.empty() && !bert) found = find(kLlamaNames);
  if (found.empty()) return std::string(name);
  std::string out;
  if (!layer.empty()) out.append(bert ? "encoder.layer." : "model.layers.").append(layer) += '.';
  return out.append(found).append(end);
}

// ---- config.json

class GgufConfig {
 public:
  explicit GgufConfig(const GgufFile& file) : file_(file) {
    name_ = file.string("general.architecture").value_or("");
    const auto known = {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "bert"};
    if (std::find(known.begin(), known.end(), name_) == known.end())
      file.refuse("general.architecture", " ", in_quotes(name_), " is not supported");
    for (const char* key :
         {".expert_count", ".attention.clamp_kqv", ".logit_scale", ".residual_scale", ".embedding_scale"})
      if (file.number(name_ + key).value_or(0) != 0) file.refuse(name_ + key, " is not supported");
    if (file.number(key("rope.scale_linear")).value_or(1) != 1)
      file.refuse(key("rope.scale_linear"), " of old files is not supported");
  }

  std::string config() const {
    const bool bert = name_ == "bert";
    JsonMembers out;
    out["hidden_size"] = integer("embedding_length");
    out["num_hidden_layers"] = integer("block_count");
    out["intermediate_size"] = integer("feed_forward_length");
    out["num_attention_heads"] = integer("attention.head_count");
    out["max_position_embeddings"] = integer("context_length");
    out["vocab_size"] = rows("token_embd.weight");
    for (const char* token : {"bos", "eos"})
      if (const auto id = file_.integer(std::string("tokenizer.ggml.") + token + "_token_id"))
        out[std::string(token) + "_token_id"] = *id;
    bert ? add_bert(out) : add_decoder(out);
    return out.text();
  }

  /// How sentence-transformers would say what the pooling_type does, of a vector of unit length, as llama.cpp
  /// gives it.
  void add_modules(std::map<std::string, std::string>& files) const {
    const auto type = file_.integer(key("pooling_type"));
    if (!type || *type == 0) return;
    if (*type < 1 || *type > 3) file_.refuse(key("pooling_type"), " ", *type, " is not supported");
    const auto module = [](const std::string& number, const char* kind, const char* path) {
      return R"({"idx":)" + number + R"(,"name":")" + number + R"(","path":")" + path +
             R"(","type":"sentence_transformers.models.)" + kind + R"("})";
    };
    files["modules.json"] = "[" + module("0", "Transformer", "") + "," + module("1", "Pooling", "1_Pooling") +
                            "," + module("2", "Normalize", "2_Normalize") + "]";
    JsonMembers pooling;
    pooling["word_embedding_dimension"] = integer("embedding_length");
    pooling["pooling_mode_mean_tokens"] = *type == 1;
    pooling["pooling_mode_cls_token"] = *type == 2;
    pooling["pooling_mode_lasttoken"] = *type == 3;
    files["1_Pooling/config.json"] = pooling.text();
  }

 private:
  std::string key(const char* end) const { return name_ + "." + end; }
  Index integer(const char* end) const { return file_.at(key(end)); }
  bool has(const char* tensor) const { return file_.tensor(tensor).has_value(); }
  Index rows(const char* tensor) const {
    const auto found = file_.tensor(tensor);
    if (!found || found->rank != 2) throw_error(file_.path(), ": has no matrix ", in_quotes(tensor));
    return found->shape[0];
  }
  void copy(JsonMembers& out, const char* to, const char* from) const {
    if (const auto value = file_.number(key(from))) out[to] = *value;
  }
  void copy_integer(JsonMembers& out, const char* to, const char* from) const {
    if (const auto value = file_.integer(key(from))) out[to] = *value;
  }
  std::optional<std::string> factors(const char* tensor) const {
    const auto found = file_.tensor(tensor);
    if (!found) return std::nullopt;
    if (found->type != "F32" || found->size > 4096)
      throw_error(file_.path(), ": tensor ", in_quotes(tensor), " is no short list of type F32");
    std::vector<JsonText> out;
    for (std::size_t at = 0; at < found->size; at += sizeof(float)) {
      float value;
      std::memcpy(&value, file_.bytes(*found).data() + at, sizeof value);
      out.emplace_back() = decimal_of(value);
    }
    return json_list(out).text;
  }

  void add_bert(JsonMembers& out) const {
    out["model_type"] = "bert";
    out["architectures"].text = R"(["BertModel"])";
    out["max_position_embeddings"] = rows("position_embd.weight");
    out["type_vocab_size"] = rows("token_types.weight");
    copy(out, "layer_norm_eps", "attention.layer_norm_epsilon");
    if (file_.boolean(key("attention.causal")).value_or(false))
      file_.refuse(key("attention.causal"), " is not supported");
  }

  void add_decoder(JsonMembers& out) const {
    const bool llama = name_ == "llama", gemma = name_ == "gemma2" || name_ == "gemma3";
    const Index heads = integer("attention.head_count"), layers = integer("block_count");
    const Index window = file_.integer(key("attention.sliding_window")).value_or(0);
    out["model_type"] = llama && window > 0 ? "mistral" : name_ == "gemma3" ? "gemma3_text" : name_;
    out["architectures"].text = R"(["ForCausalLM"])";
    out["tie_word_embeddings"] = !has("output.weight");
    out["num_key_value_heads"] = file_.integer(key("attention.head_count_kv")).value_or(heads);
    copy(out, "rms_norm_eps", "attention.layer_norm_rms_epsilon");
    if (heads < 1) file_.refuse(key("attention.head_count"), " is ", heads);
    const Index head_dim =
        file_.integer(key("attention.key_length")).value_or(integer("embedding_length") / heads);
    if (file_.integer(key("attention.value_length")).value_or(head_dim) != head_dim)
      file_.refuse(key("attention.value_length"), " is not attention.key_length");
    out["head_dim"] = head_dim;
    out["attention_bias"] = has("blk.0.attn_output.bias");
    out["mlp_bias"] = has("blk.0.ffn_down.bias");
    if (window > 0) out["sliding_window"] = window;
    // The rows of queries and keys are those of neighbours that turn together; only this architecture's are.
    if (llama) out["gguf.rope_interleaved"] = true;
    if (gemma) add_gemma(out, head_dim, heads, layers);
    add_rotary(out, head_dim);
  }

  void add_gemma(JsonMembers& out, Index head_dim, Index heads, Index layers) const {
    out["gguf.norms_less_one"] = false;
    copy(out, "attn_logit_softcapping", "attn_logit_softcapping");
    copy(out, "final_logit_softcapping", "final_logit_softcapping");
    const auto scale = file_.number(key("attention.scale"));
    // What is said nowhere else: the largest of the family divide by another number.
    const bool largest = layers == (name_ == "gemma2" ? 46 : 62);
    out["query_pre_attn_scalar"] =
        scale     ? 1 / (*scale * *scale)
        : largest ? static_cast<double>(integer("embedding_length")) / static_cast<double>(heads)
                  : static_cast<double>(head_dim);
    const std::string pattern = key("attention.sliding_window_pattern");
    if (file_.size(pattern) > 1000) file_.refuse(pattern, " has ", file_.size(pattern), " values");
    if (file_.is_list(pattern)) {
      std::vector<JsonText> types;
      file_.for_each_number(pattern, [&](double slides) {
        types.emplace_back() = slides != 0 ? "sliding_attention" : "full_attention";
      });
      out["layer_types"] = json_list(types);
    } else if (const auto every = file_.integer(pattern); every && name_ == "gemma3") {
      out["sliding_window_pattern"] = *every;
    }
    if (name_ == "gemma3") copy(out, "rope_local_base_freq", "rope.freq_base_swa");
  }

  void add_rotary(JsonMembers& out, Index head_dim) const {
    copy(out, "rope_theta", "rope.freq_base");
    const Index turned = file_.integer(key("rope.dimension_count")).value_or(head_dim);
    if (turned < head_dim)  // so that the product with head_dim is rounded down to it
      out["partial_rotary_factor"] = (static_cast<double>(turned) + 0.5) / static_cast<double>(head_dim);
    const std::string type(file_.string(key("rope.scaling.type")).value_or("none"));
    const auto every = factors("rope_freqs.weight"), longer = factors("rope_factors_long.weight"),
               shorter = factors("rope_factors_short.weight");
    JsonMembers scaling;
    if (longer && shorter) {
      scaling["rope_type"] = "longrope";
      scaling["long_factor"].text = *longer;
      scaling["short_factor"].text = *shorter;
      copy_integer(out, "original_max_position_embeddings", "rope.scaling.original_context_length");
    } else if (every) {  // factors of frequencies, at any length (Llama 3)
      scaling["rope_type"] = "longrope";
      scaling["long_factor"].text = scaling["short_factor"].text = *every;
      scaling["attention_factor"] = 1.0;
      scaling["original_max_position_embeddings"] = integer("context_length");
    } else if (type == "linear" || type == "yarn") {
      scaling["rope_type"] = type;
      copy(scaling, "factor", "rope.scaling.factor");
      if (type == "yarn") {
        copy_integer(scaling, "original_max_position_embeddings", "rope.scaling.original_context_length");
        copy(scaling, "attention_factor", "rope.scaling.yarn_attn_factor");
        copy(scaling, "beta_fast", "rope.scaling.yarn_beta_fast");
        copy(scaling, "beta_slow", "rope.scaling.yarn_beta_slow");
      }
    } else if (type != "none") {
      file_.refuse(key("rope.scaling.type"), " ", in_quotes(type), " is not supported here");
    }
    if (!scaling.empty()) out["rope_scaling"].text = scaling.text();
  }

  const GgufFile& file_;
  std::string name_;
};

// ---- generation_config.json and tokenizer_config.json

inline std::string gguf_generation(const GgufFile& file) {
  std::set<Index> ends;
  for (const char* token : {"eos", "eot", "eom"})
    if (const auto id = file.integer(std::string("tokenizer.ggml.") + token + "_token_id")) ends.insert(*id);
  // What ends a turn is often said by the token's name alone.
  Index id = 0;
  if (file.has("tokenizer.chat_template"))
    file.for_each_string("tokenizer.ggml.tokens", [&](std::string_view token) {
      for (const char* end : {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"})
        if (token == end) ends.insert(id);
      ++id;
    });
  JsonMembers out;
  std::vector<JsonText> list;
  for (const Index end : ends) list.emplace_back() = end;
  if (!ends.empty()) out["eos_token_id"] = json_list(list);
  const double temperature = file.number("general.sampling.temp").value_or(0);
  if (!(temperature > 0)) return out.text();
  out["do_sample"] = true;
  out["temperature"] = temperature;
  for (const char* key : {"top_p", "min_p"})
    if (const auto value = file.number(std::string("general.sampling.") + key)) out[key] = *value;
  if (const auto value = file.integer("general.sampling.top_k")) out["top_k"] = *value;
  if (const auto value = file.number("general.sampling.penalty_repeat")) out["repetition_penalty"] = *value;
  return out.text();
}

inline std::string gguf_tokenizer_config(const GgufFile& file) {
  JsonMembers out;
  std::multimap<Index, std::string> names;  // of special tokens, by their ids
  for (const auto& [name, key] :
       {std::pair("bos", "bos"), std::pair("eos", "eos"), std::pair("unk", "unknown"),
        std::pair("sep", "seperator"), std::pair("pad", "padding"), std::pair("cls", "cls"),
        std::pair("mask", "mask")})
    if (const auto id = file.integer(std::string("tokenizer.ggml.") + key + "_token_id"))
      names.emplace(*id, std::string(name) + "_token");
  Index id = 0;
  file.for_each_string("tokenizer.ggml.tokens", [&](std::string_view text) {
    const auto [begin, end] = names.equal_range(id++);
    for (auto at = begin; at != end && text.size() < 1024; ++at) out[at->second] = std::string(text);
  });
  return out.text();
}

inline void add_chat_templates(const GgufFile& file, std::map<std::string, std::string>& files) {
  const std::string key = "tokenizer.chat_template";
  if (const auto text = file.string(key)) files["chat_template.jinja"] = std::string(*text);
  file.for_each_string(key + "s", [&](std::string_view given) {
    const std::string name(given);
    if (const auto text = file.string(key + "." + name); text && name.find('/') == std::string::npos)
      files["additional_chat_templates/" + name + ".jinja"] = std::string(*text);
  });
}

ATTEND_INLINE Location model_folder(const Location& place) {
  if (place.stands_for() != nullptr || place.extension() != ".gguf" || place.is_folder()) return place;
  const MappedFile mapped(place);
  const GgufFile file(mapped);
  const GgufConfig config(file);
  std::map<std::string, std::string> files;
  files["config.json"] = config.config();
  files["generation_config.json"] = gguf_generation(file);
  files["tokenizer_config.json"] = gguf_tokenizer_config(file);
  config.add_modules(files);
  add_chat_templates(file, files);
  return Location::made_of(place, std::move(files));
}

}  // namespace attend::inline ATTEND_ABI::detail
