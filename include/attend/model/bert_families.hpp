// What config.json and the checkpoints of BERT, RoBERTa and XLM-RoBERTa, DistilBERT, MPNet, ELECTRA, ALBERT
// and DeBERTa-v2 and v3 say.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <attend/activation.hpp>
#include <attend/convolution.hpp>
#include <attend/disentangled.hpp>
#include <attend/io/config.hpp>
#include <attend/model/family.hpp>
#include <attend/position.hpp>

namespace attend::inline ATTEND_ABI {

/// What a model has behind its encoder.
enum class BertHead { none, sequence_classification, token_classification, masked_lm };

/// Where the sum of embeddings is brought from embedding_size to hidden_size: not at all, behind its norm, or
/// before it (then without bias).
enum class EmbeddingProjection { none, after_norm, before_norm };

/// Of a BertModel, as its folder's config.json says.
struct BertOptions {
  /// Tokens; positions that have an embedding.
  Index vocab_size = 0, max_position_embeddings = 512;
  Index type_vocab_size = 2;  // 0: no token types
  /// As config.json names them: E, layers, heads, features between a layer's two linear layers.
  Index hidden_size = 0, num_hidden_layers = 0, num_attention_heads = 1, intermediate_size = 0;
  Activation hidden_act = Activation::gelu;  // of the layers
  double layer_norm_eps = 1e-12;
  /// RoBERTa counts positions from pad_token_id + 1 on, past the tokens that are padding.
  bool positions_after_padding = false;
  std::int32_t pad_token_id = 0;  // the token of padding

  Index embedding_size = 0;                                    // of the tables; 0: hidden_size
  EmbeddingProjection projection = EmbeddingProjection::none;  // where it happens
  std::vector<Index> layer_order = {};  // see StackOptions: ALBERT's layers share their weights
  bool absolute_positions = true;       // a table of positions is added to the words
  std::optional<RelativeBiasOptions> relative_bias = {};            // of all layers (MPNet)
  std::optional<RelativeEmbeddingOptions> relative_embedding = {};  // of all layers (DeBERTa), for
  DisentangledAttentionOptions disentangled = {};                   // as each layer's attention takes it
  std::optional<ConvolutionOptions> convolution = {};               // beside the first layer
  std::optional<double> attention_scale = {};                       // 1 / sqrt(head size) where not given

  BertHead head = BertHead::none;
  Index num_labels = 2;
  Activation pooler_act = Activation::tanh;  // between the two layers of a sequence classifier
  Activation head_act = Activation::gelu;    // of a masked language model
  bool tied_output = true;                   // of a masked language model: its weight is the table of words
  WeightType weights = WeightType::float32;  // of the layers and the table of words
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights

  void set_weights(WeightType type, ActivationType input) { weights = type, activations = input; }
};

/// A folder that a BertModel is made of.
using BertFamily = ModelFamily<BertOptions>;

/// Error for a model_type, or a setting that changes the arithmetic, that is not supported.
BertFamily read_bert_family(const Config& config);

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/bert_families.inl>
#endif
