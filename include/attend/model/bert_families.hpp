// What config.json and the checkpoints of BERT, RoBERTa and DistilBERT say.
#pragma once

#include <cstdint>

#include <attend/activation.hpp>
#include <attend/io/config.hpp>
#include <attend/model/family.hpp>

namespace attend::inline ATTEND_ABI {

/// What a model has behind its encoder.
enum class BertHead { none, sequence_classification, token_classification, masked_lm };

struct BertOptions {
  Index vocab_size = 0, max_position_embeddings = 512;
  Index type_vocab_size = 2;  // 0: no token types
  Index hidden_size = 0, num_hidden_layers = 0, num_attention_heads = 1, intermediate_size = 0;
  Activation hidden_act = Activation::gelu;
  double layer_norm_eps = 1e-12;
  /// RoBERTa counts positions from pad_token_id + 1 on, past the tokens that are padding.
  bool positions_after_padding = false;
  std::int32_t pad_token_id = 0;

  BertHead head = BertHead::none;
  Index num_labels = 2;
  Activation pooler_act = Activation::tanh;  // between the two layers of a sequence classifier
};

using BertFamily = ModelFamily<BertOptions>;

/// Error for a model_type, or a setting that changes the arithmetic, that is not supported.
BertFamily read_bert_family(const Config& config);

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/bert_families.inl>
#endif
