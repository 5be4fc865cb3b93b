// Bodies of bert_families.hpp.
#pragma once

#include <cmath>
#include <string>
#include <utility>

#include <attend/core/shape.hpp>
#include <attend/model/bert_families.hpp>
#include <attend/model/hugging_face.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
/// Names of encoder.layers.N.* in a checkpoint, whose layers are called `layer`, from the names of its parts.
struct BertLayerNames {
  std::string query, key, value, output, norm1, linear1, linear2, norm2;
};
inline std::vector<NameMap::Rule> bert_layer_rules(const std::string& ours, const std::string& layer,
                                                   const BertLayerNames& n) {
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

/// Names in the checkpoints of one family, those of BERT where nothing else is said.
struct BertNames {
  std::string base = "(bert.|)";
  std::string layer = "encoder.layer.*.";
  BertLayerNames layers = {
      "attention.self.query",       "attention.self.key", "attention.self.value", "attention.output.dense",
      "attention.output.LayerNorm", "intermediate.dense", "output.dense",         "output.LayerNorm"};
  std::string projection = "";            // of embeddings
  std::string dense = "pooler.dense";     // the first layer of a sequence classifier
  std::string classifier = "classifier";  // its last; that of a token classifier is always called so
  std::string transform = "cls.predictions.transform.dense",
              head_norm = "cls.predictions.transform.LayerNorm";
  std::string decoder_weight = "cls.predictions.decoder.weight", decoder_bias = "cls.predictions.bias";
};
inline BertNames bert_names(const std::string& type) {
  BertNames names;
  if (type == "distilbert") {
    names = {.base = "(distilbert.|)", .layer = "transformer.layer.*.", .dense = "pre_classifier"};
    names.layers = {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
                    "sa_layer_norm",   "ffn.lin1",        "ffn.lin2",        "output_layer_norm"};
    names.transform = "vocab_transform", names.head_norm = "vocab_layer_norm";
    names.decoder_weight = "vocab_projector.weight", names.decoder_bias = "vocab_projector.bias";
  } else if (type == "electra") {
    names = {.base = "(electra.|)",
             .projection = "embeddings_project",
             .dense = "classifier.dense",
             .classifier = "classifier.out_proj"};
    names.transform = "generator_predictions.dense", names.head_norm = "generator_predictions.LayerNorm";
    names.decoder_weight = "generator_lm_head.weight", names.decoder_bias = "generator_lm_head.bias";
  } else if (type == "albert") {
    names = {.base = "(albert.|)", .projection = "encoder.embedding_hidden_mapping_in", .dense = "pooler"};
    names.layers = {"attention.query",     "attention.key", "attention.value", "attention.dense",
                    "attention.LayerNorm", "ffn",           "ffn_output",      "full_layer_layer_norm"};
    names.transform = "predictions.dense", names.head_norm = "predictions.LayerNorm";
    names.decoder_weight = "predictions.decoder.weight", names.decoder_bias = "predictions.bias";
  } else if (type == "deberta-v2") {
    names = {.base = "(deberta.|)", .projection = "embeddings.embed_proj"};
    names.layers.query = "attention.self.query_proj", names.layers.key = "attention.self.key_proj";
    names.layers.value = "attention.self.value_proj";
  } else if (type != "bert") {  // RoBERTa, and MPNet likewise
    names = {.base = type == "mpnet" ? "(mpnet.|)" : "(roberta.|)",
             .dense = "classifier.dense",
             .classifier = "classifier.out_proj"};
    if (type == "mpnet") {
      names.layers.query = "attention.attn.q", names.layers.key = "attention.attn.k";
      names.layers.value = "attention.attn.v", names.layers.output = "attention.attn.o";
      names.layers.norm1 = "attention.LayerNorm";
    }
    names.transform = "lm_head.dense", names.head_norm = "lm_head.layer_norm";
    names.decoder_weight = "lm_head.decoder.weight", names.decoder_bias = "lm_head.bias";
  }
  return names;
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

inline Index read_num_labels(const Config& config) {
  const Index named = config.has("id2label") ? static_cast<Index>(config.size("id2label")) : 2;
  return positive_size(config, config.get<Index>("num_labels", named), "num_labels");
}

/// MPNet (arXiv:2004.09297): T5's relative bias, always in 32 buckets, and RoBERTa's positions.
inline void read_mpnet(const Config& config, BertOptions& o) {
  const Index buckets = get_size(config, {"relative_attention_num_buckets"}, 32);
  if (buckets < 32)
    throw_error(config.file(), ": 'relative_attention_num_buckets' ", buckets, " is not supported");
  o.relative_bias = {o.num_attention_heads, 32, 128, true, buckets - 32};
  o.type_vocab_size = 0;
  o.positions_after_padding = true;
  o.pad_token_id = 1;  // whatever the tokenizer pads with
}

/// ELECTRA (arXiv:2003.10555): BERT with narrower embeddings.
inline void read_electra(const Config& config, BertOptions& o) {
  o.embedding_size = get_size(config, {"embedding_size"}, 128);
  if (o.embedding_size != o.hidden_size) o.projection = EmbeddingProjection::after_norm;
  o.pooler_act = o.head_act = Activation::gelu;
  config.ignore({"summary_last_dropout"});
}

/// ALBERT (arXiv:1909.11942): narrower embeddings, and layers that share their weights.
inline void read_albert(const Config& config, BertOptions& o) {
  o.embedding_size = get_size(config, {"embedding_size"}, 128);
  o.projection = EmbeddingProjection::after_norm;
  const Index steps = o.num_hidden_layers, groups = get_size(config, {"num_hidden_groups"}, 1),
              inner = get_size(config, {"inner_group_num"}, 1);
  if (steps > kMostLayers / inner || groups > kMostLayers / inner)
    throw_error(config.file(), ": ", steps, " layers in ", groups, " groups of ", inner);
  o.num_hidden_layers = groups * inner;
  for (Index i = 0; i < steps; ++i) {
    const Index group = static_cast<Index>(static_cast<double>(i) /
                                           (static_cast<double>(steps) / static_cast<double>(groups)));
    for (Index layer = 0; layer < inner; ++layer) o.layer_order.push_back(group * inner + layer);
  }
  config.ignore({"classifier_dropout_prob", "net_structure_type", "gap_size", "num_memory_blocks",
                 "down_scale_factor", "layers_to_keep"});
}

/// DeBERTa-v2 and v3 (arXiv:2006.03654, arXiv:2111.09543): disentangled attention.
inline void read_deberta(const Config& config, BertOptions& o) {
  o.embedding_size = get_size(config, {"embedding_size"}, o.hidden_size);
  if (o.embedding_size != o.hidden_size) o.projection = EmbeddingProjection::before_norm;
  o.absolute_positions = config.get<bool>("position_biased_input", true);
  o.pooler_act = get_activation(config, "pooler_hidden_act", "gelu");
  if (const Index size = get_size(config, {"pooler_hidden_size"}, o.hidden_size); size != o.hidden_size)
    throw_error(config.file(), ": 'pooler_hidden_size' ", size, " is not hidden_size");
  const Index head_size = get_size(config, {"attention_head_size"}, o.hidden_size / o.num_attention_heads);
  if (head_size * o.num_attention_heads != o.hidden_size)
    throw_error(config.file(), ": 'attention_head_size' ", head_size, " is not supported");
  if (const Index kernel = config.get<Index>("conv_kernel_size", 0); kernel > 0) {
    if (kernel % 2 == 0 || kernel > o.max_position_embeddings)
      throw_error(config.file(), ": 'conv_kernel_size' ", kernel, " is not supported");
    config.allow("conv_groups", 1);
    o.convolution = {o.hidden_size, kernel, get_activation(config, "conv_act", "tanh")};
  }
  config.ignore({"conv_act", "conv_groups", "pooler_dropout", "cls_dropout", "padding_idx"});

  std::vector<std::string> kinds;
  if (config.is_list("pos_att_type")) {
    kinds = config.get<std::vector<std::string>>("pos_att_type");
  } else {
    std::string kind;
    for (char c : config.get<std::string>("pos_att_type", "") + "|") {
      if (c == '|' && !kind.empty()) kinds.push_back(kind);
      if (c == '|') kind.clear();
      if (c != '|' && c != ' ') kind += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
  }
  DisentangledAttentionOptions used;
  for (const std::string& kind : kinds) {
    if (kind != "c2p" && kind != "p2c")
      throw_error(config.file(), ": 'pos_att_type' ", in_quotes(kind), " is not supported");
    (kind == "c2p" ? used.content_to_position : used.position_to_content) = true;
  }
  const int parts = 1 + (used.content_to_position ? 1 : 0) + (used.position_to_content ? 1 : 0);
  o.attention_scale = 1 / std::sqrt(static_cast<double>(head_size) * parts);
  used.own_projections = !config.get<bool>("share_att_key", false);

  Index longest = config.get<Index>("max_relative_positions", -1);
  const Index buckets = config.get<Index>("position_buckets", -1);
  if (longest < 1) longest = o.max_position_embeddings;
  const std::string norm = config.get<std::string>("norm_rel_ebd", "none");
  config.allow("norm_rel_ebd", "none", "layer_norm");
  if (!config.get<bool>("relative_attention", false) || !used.any()) return;
  o.disentangled = used;
  o.relative_embedding = {o.hidden_size, buckets > 0 ? buckets : longest, buckets > 0 ? longest : 0, {}};
  if (norm == "layer_norm") o.relative_embedding->norm_eps = o.layer_norm_eps;
}
}  // namespace detail

ATTEND_INLINE BertFamily read_bert_family(const Config& config) {
  const detail::FloatEnvironment environment;
  BertFamily family;
  BertOptions& o = family.options;
  const std::string type = config.get<std::string>("model_type", "bert");
  const bool roberta = type == "roberta" || type == "xlm-roberta" || type == "camembert";
  const bool distil = type == "distilbert", deberta = type == "deberta-v2", albert = type == "albert";
  const bool mpnet = type == "mpnet", electra = type == "electra";
  if (type != "bert" && !roberta && !distil && !mpnet && !electra && !albert && !deberta)
    throw_error(config.file(), ": model_type '", type, "' is not a BERT that is supported");
  o.head = detail::read_bert_head(config);
  o.num_labels = detail::read_num_labels(config);
  o.vocab_size = detail::get_size(config, {"vocab_size"});
  o.hidden_size = detail::get_size(config, {"hidden_size", "dim"});
  o.num_hidden_layers = detail::get_size(config, {"num_hidden_layers", "n_layers"});
  o.num_attention_heads = detail::get_size(config, {"num_attention_heads", "n_heads"});
  o.intermediate_size = detail::get_size(config, {"intermediate_size", "hidden_dim"});
  o.hidden_act =
      detail::get_activation(config, distil ? "activation" : "hidden_act", albert ? "gelu_new" : "gelu");
  o.head_act = roberta || mpnet ? Activation::gelu : o.hidden_act;
  o.tied_output = config.get<bool>("tie_word_embeddings", true);
  o.max_position_embeddings = detail::get_size(config, {"max_position_embeddings"}, 512);
  if (!distil) o.layer_norm_eps = detail::get_epsilon(config, "layer_norm_eps", deberta ? 1e-7 : 1e-12);
  o.type_vocab_size = distil || mpnet ? 0 : config.get<Index>("type_vocab_size", deberta ? 0 : 2);
  if (o.type_vocab_size != 0 || !deberta) {
    if (!distil && !mpnet) detail::positive_size(config, o.type_vocab_size, "type_vocab_size");
  }
  if (roberta) o.pad_token_id = 1;
  if (config.has("pad_token_id")) o.pad_token_id = config.get<std::int32_t>("pad_token_id");
  o.positions_after_padding = roberta;
  if (distil) o.pooler_act = Activation::relu;
  if (mpnet) detail::read_mpnet(config, o);
  if (electra) detail::read_electra(config, o);
  if (albert) detail::read_albert(config, o);
  if (deberta) detail::read_deberta(config, o);
  const bool legacy = !deberta || config.get<bool>("legacy", true);
  if (o.positions_after_padding && (o.pad_token_id < 0 || o.pad_token_id >= o.max_position_embeddings - 1))
    throw_error(config.file(), ": 'pad_token_id' ", o.pad_token_id, " leaves none of ",
                o.max_position_embeddings, " positions");
  config.allow("position_embedding_type", "absolute", nullptr);
  config.allow("is_decoder", false);
  config.allow("add_cross_attention", false);
  config.allow("sinusoidal_pos_embds", false, true);  // says how the table was made; it is in the file
  config.ignore({"layer_norm_eps", "dropout", "qa_dropout", "seq_classif_dropout", "pooler_fc_size",
                 "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head",
                 "pooler_type"});
  detail::ignore_bookkeeping(config);

  detail::BertNames names = detail::bert_names(type);
  if (!legacy) {
    names.transform = "lm_predictions.lm_head.dense", names.head_norm = "lm_predictions.lm_head.LayerNorm";
    names.decoder_bias = "lm_predictions.lm_head.bias";
    o.tied_output = true;  // it multiplies by the table itself
  }
  const std::string& base = names.base;
  const bool pooled = names.dense.starts_with("pooler") && !deberta;  // the pooler is the base model's
  const std::string decoder_bias = names.decoder_weight.substr(0, names.decoder_weight.size() - 6) +
                                   "bias";  // where it has one of its own
  std::vector<NameMap::Rule> rules = {
      {"embeddings.LayerNorm.weight", {base + "embeddings.LayerNorm.(weight|gamma)"}},
      {"embeddings.LayerNorm.bias", {base + "embeddings.LayerNorm.(bias|beta)"}},
      {"embeddings.projection.*", {base + names.projection + ".*"}},
      {"embeddings.*.weight", {base + "embeddings.*.weight"}},
      {"relative_bias.weight", {base + "encoder.relative_attention_bias.weight"}},
      {"relative_embedding.weight", {base + "encoder.rel_embeddings.weight"}},
      {"relative_embedding.norm.*", {base + "encoder.LayerNorm.*"}},
      {"encoder.layers.*.self_attn.pos_*.*", {base + "encoder.layer.*.attention.self.pos_*.*"}},
      {"encoder.layers.0.convolution.*", {base + "encoder.conv.conv.*"}},
      {"encoder.layers.0.convolution_norm.*", {base + "encoder.conv.LayerNorm.*"}},
      {"dense.*", {(pooled ? base : "") + names.dense + ".*"}},
      {"classifier.*",
       {o.head == BertHead::sequence_classification ? names.classifier + ".*" : "classifier.*"}},
      {"transform.*", {names.transform + ".*"}},
      {"head_norm.weight", {names.head_norm + ".(weight|gamma)"}},
      {"head_norm.bias", {names.head_norm + ".(bias|beta)"}},
      {"decoder.weight", {names.decoder_weight}},
      {"decoder.bias",
       {o.tied_output ? "(" + names.decoder_bias + "|" + decoder_bias + ")"
                      : "(" + decoder_bias + "|" + names.decoder_bias + ")"}}};
  const auto add_layers = [&](const std::string& ours, const std::string& theirs) {
    for (NameMap::Rule& rule : detail::bert_layer_rules(ours, base + theirs, names.layers))
      rules.push_back(std::move(rule));
  };
  if (albert) {  // a layer has two numbers
    const Index inner = detail::get_size(config, {"inner_group_num"}, 1);
    for (Index i = 0; i < o.num_hidden_layers; ++i)
      add_layers("encoder.layers." + std::to_string(i) + ".",
                 "encoder.albert_layer_groups." + std::to_string(i / inner) + ".albert_layers." +
                     std::to_string(i % inner) + ".");
  } else {
    add_layers("encoder.layers.*.", names.layer);
  }
  for (NameMap::Rule& rule : rules) family.names.add(std::move(rule));
  family.leftovers = {"position_ids",
                      "pooler.*",
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
                      "vocab_layer_norm.*",
                      "generator_lm_head.*",
                      "generator_predictions.*.*",
                      "discriminator_predictions.*.*",
                      "predictions.*",
                      "predictions.*.*",
                      "sop_classifier.classifier.*"};
  if (deberta)
    family.leftovers.insert(
        family.leftovers.end(),
        {"lm_predictions.lm_head.*", "lm_predictions.lm_head.*.*", "mask_predictions.*.*",
         "encoder.rel_embeddings.weight", "encoder.LayerNorm.*", "embeddings.position_embeddings.weight"});
  if (o.head != BertHead::sequence_classification && o.head != BertHead::token_classification)
    family.leftovers.insert(family.leftovers.end(), {"classifier.*", "classifier.*.*", "pre_classifier.*"});
  return family;
}

}  // namespace attend::inline ATTEND_ABI
