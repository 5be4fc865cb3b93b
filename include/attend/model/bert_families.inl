// Bodies of bert_families.hpp.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <attend/model/bert_families.hpp>
#include <attend/model/hugging_face.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
/// Names of encoder.layers.N.* in a checkpoint, whose layers are called `layer`, from the names of its parts.
struct BertLayerNames {
  std::string query, key, value, output, norm1, linear1, linear2, norm2;
};
inline std::vector<NameMap::Rule> bert_layer_rules(const std::string& layer, const BertLayerNames& n) {
  const std::string ours = "encoder.layers.*.";
  return {
      {ours + "self_attn.in_proj_*", {layer + n.query + ".*", layer + n.key + ".*", layer + n.value + ".*"}},
      {ours + "self_attn.out_proj.*", {layer + n.output + ".*"}},
      {ours + "linear1.*", {layer + n.linear1 + ".*"}},
      {ours + "linear2.*", {layer + n.linear2 + ".*"}},
      {ours + "norm1.weight", {layer + n.norm1 + ".(weight|gamma)"}},
      {ours + "norm1.bias", {layer + n.norm1 + ".(bias|beta)"}},
      {ours + "norm2.weight", {layer + n.norm2 + ".(weight|gamma)"}},
      {ours + "norm2.bias", {layer + n.norm2 + ".(bias|beta)"}}};
}

inline BertHead read_bert_head(const Config& config) {
  const auto architectures = config.get<std::vector<std::string>>("architectures", {});
  if (architectures.empty()) return BertHead::none;
  const std::string& name = architectures[0];
  if (name.ends_with("ForSequenceClassification")) return BertHead::sequence_classification;
  if (name.ends_with("ForTokenClassification")) return BertHead::token_classification;
  if (name.ends_with("ForMaskedLM")) return BertHead::masked_lm;
  return BertHead::none;  // the base model, whatever else the file has
}
}  // namespace detail

ATTEND_INLINE BertFamily read_bert_family(const Config& config) {
  BertFamily family;
  BertOptions& o = family.options;
  const std::string type = config.get<std::string>("model_type", "bert");
  const bool roberta = type == "roberta" || type == "xlm-roberta" || type == "camembert";
  const bool distil = type == "distilbert";
  if (type != "bert" && !roberta && !distil)
    throw_error(config.file(), ": model_type '", type, "' is not a BERT that is supported");
  o.head = detail::read_bert_head(config);
  if (config.has("id2label")) o.num_labels = static_cast<Index>(config.size("id2label"));
  o.num_labels = positive_size(config, config.get<Index>("num_labels", o.num_labels), "num_labels");
  o.vocab_size = get_size(config, {"vocab_size"});
  o.hidden_size = get_size(config, {"hidden_size", "dim"});
  o.num_hidden_layers = get_size(config, {"num_hidden_layers", "n_layers"});
  o.num_attention_heads = get_size(config, {"num_attention_heads", "n_heads"});
  o.intermediate_size = get_size(config, {"intermediate_size", "hidden_dim"});
  o.hidden_act = get_activation(config, distil ? "activation" : "hidden_act", "gelu");
  o.max_position_embeddings = get_size(config, {"max_position_embeddings"}, 512);
  o.layer_norm_eps = get_epsilon(config, "layer_norm_eps", 1e-12);
  o.type_vocab_size = distil ? 0 : get_size(config, {"type_vocab_size"}, 2);
  if (config.has("pad_token_id")) o.pad_token_id = config.get<std::int32_t>("pad_token_id");
  o.positions_after_padding = roberta;
  if (roberta && (o.pad_token_id < 0 || o.pad_token_id >= o.max_position_embeddings - 1))
    throw_error(config.file(), ": 'pad_token_id' ", o.pad_token_id, " leaves none of ",
                o.max_position_embeddings, " positions");
  if (distil) o.pooler_act = Activation::relu;
  config.allow("position_embedding_type", "absolute", nullptr);
  config.allow("is_decoder", false);
  config.allow("add_cross_attention", false);
  config.allow("sinusoidal_pos_embds", false, true);  // says how the table was made; it is in the file
  config.ignore({"dropout", "qa_dropout", "seq_classif_dropout", "pooler_fc_size",
                 "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head",
                 "pooler_type"});
  ignore_bookkeeping(config);

  const std::string base = distil ? "(distilbert.|)" : roberta ? "(roberta.|)" : "(bert.|)";
  std::vector<NameMap::Rule> rules = {
      {"embeddings.LayerNorm.weight", {base + "embeddings.LayerNorm.(weight|gamma)"}},
      {"embeddings.LayerNorm.bias", {base + "embeddings.LayerNorm.(bias|beta)"}},
      {"embeddings.*.weight", {base + "embeddings.*.weight"}}};
  const auto layers =
      distil ? detail::bert_layer_rules(
                   base + "transformer.layer.*.",
                   {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
                    "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"})
             : detail::bert_layer_rules(base + "encoder.layer.*.",
                                        {"attention.self.query", "attention.self.key", "attention.self.value",
                                         "attention.output.dense", "attention.output.LayerNorm",
                                         "intermediate.dense", "output.dense", "output.LayerNorm"});
  rules.insert(rules.end(), layers.begin(), layers.end());
  // heads: sequence classifier dense.*, classifier.*; masked language model transform.*, head_norm.*,
  // decoder.bias
  const auto add = [&](const std::string& ours, const std::string& theirs) {
    rules.push_back({ours, {theirs}});
  };
  add("dense.*", distil ? "pre_classifier.*" : roberta ? "classifier.dense.*" : base + "pooler.dense.*");
  add("classifier.*",
      roberta && o.head == BertHead::sequence_classification ? "classifier.out_proj.*" : "classifier.*");
  add("transform.*", distil    ? "vocab_transform.*"
                     : roberta ? "lm_head.dense.*"
                               : "cls.predictions.transform.dense.*");
  add("head_norm.weight", distil    ? "vocab_layer_norm.weight"
                          : roberta ? "lm_head.layer_norm.weight"
                                    : "cls.predictions.transform.LayerNorm.(weight|gamma)");
  add("head_norm.bias", distil    ? "vocab_layer_norm.bias"
                        : roberta ? "lm_head.layer_norm.bias"
                                  : "cls.predictions.transform.LayerNorm.(bias|beta)");
  add("decoder.bias", distil ? "vocab_projector.bias" : roberta ? "lm_head.bias" : "cls.predictions.bias");
  for (NameMap::Rule& rule : rules) family.names.add(std::move(rule));
  family.leftovers = {"position_ids",
                      "pooler.dense.*",
                      "cls.*",
                      "cls.predictions.decoder.*",
                      "cls.seq_relationship.*",
                      "cls.predictions.*",
                      "cls.predictions.transform.*.*",
                      "lm_head.*",
                      "lm_head.*.*",
                      "vocab_projector.*",
                      "vocab_transform.*",
                      "vocab_layer_norm.*"};
  if (o.head != BertHead::sequence_classification && o.head != BertHead::token_classification)
    family.leftovers.insert(family.leftovers.end(), {"classifier.*", "classifier.*.*", "pre_classifier.*"});
  return family;
}

}  // namespace attend::inline ATTEND_ABI
