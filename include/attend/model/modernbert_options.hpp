// What config.json says of a ModernBERT.
#pragma once

#include <vector>

#include <attend/activation.hpp>
#include <attend/io/config.hpp>
#include <attend/model/bert_families.hpp>
#include <attend/model/family.hpp>
#include <attend/rotary.hpp>

namespace attend::inline ATTEND_ABI {

/// Of a ModernBertModel, as its folder's config.json says.
struct ModernBertOptions {
  /// As config.json names them: tokens, E, heads, features between a layer's two linear layers.
  Index vocab_size = 0, hidden_size = 0, num_attention_heads = 1, intermediate_size = 0;
  Activation hidden_activation = Activation::gelu;  // of the layers
  double norm_eps = 1e-5;
  /// Which linear layers and norms have a bias.
  bool norm_bias = false, attention_bias = false, mlp_bias = false;
  std::vector<bool> local = {};  // of each layer: sees its window alone
  Index local_attention = 128;   // width of that window
  /// Of layers that see all, of those with a window.
  RotaryOptions global_rotary = {}, local_rotary = {};

  BertHead head = BertHead::none;
  Index num_labels = 2;
  Activation head_act = Activation::gelu;  // of the head
  bool head_bias = false;                  // its linear layer has a bias
  bool mean_pooling = false;  // of a sequence classifier: all tokens of a text count, else its first
  bool tied_output = true, decoder_bias = true;  // of a masked language model: as of BertModel

  WeightType weights = WeightType::float32;
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights

  void set_weights(WeightType type, ActivationType input) { weights = type, activations = input; }
};

/// Reads a config.json. Error for a setting that changes the arithmetic and is not supported.
ModernBertOptions read_modernbert_options(const Config& config);

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/modernbert_options.inl>
#endif
