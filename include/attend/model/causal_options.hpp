// What a decoder-only model consists of.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <attend/causal_block.hpp>
#include <attend/model/family.hpp>
#include <attend/rotary.hpp>

namespace attend::inline ATTEND_ABI {

/// Of a CausalLM, as its folder's config.json says.
struct CausalLMOptions {
  Index vocab_size = 0, embed_dim = 0;
  Index max_position_embeddings = 0;               // tokens that a sequence can have; 0: any number
  std::vector<CausalBlockOptions> blocks = {};     // one of each layer
  std::optional<RotaryOptions> rotary = {};        // rotary positions; none where not given
  std::optional<RotaryOptions> local_rotary = {};  // of layers with a window, where it differs (Gemma 3)
  bool reruns_longer =
      false;  // generation computes all tokens anew where the rotary frequencies change (Phi-3)
  bool learned_positions = false;    // a table of positions is added to the embeddings
  Index position_offset = 0;         // row of position 0 in their table (OPT)
  Index embed_width = 0;             // of the embeddings, where project_in leads from it (OPT); 0: embed_dim
  bool embed_norm = false;           // a norm after the embeddings (BLOOM)
  bool final_norm = true;            // a norm before the head
  double embed_scale = 1;            // multiplies the embeddings (Gemma)
  double logit_scale = 1;            // multiplies the logits (Granite)
  double logit_softcap = 0;          // cap * tanh(logits / cap); 0: none
  bool tie_word_embeddings = false;  // the head's weight is the table of tokens
  std::optional<std::int32_t> bos_token_id = {};  // a token that texts begin with
  std::vector<std::int32_t> eos_token_ids = {};
  WeightType weights = WeightType::float32;           // of the token table and the output layer
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights

  /// Of all, the blocks included.
  void set_weights(WeightType type, ActivationType input) {
    weights = type, activations = input;
    for (CausalBlockOptions& block : blocks) block.weights = type, block.activations = input;
  }
};

/// A folder that a CausalLM is made of.
using CausalFamily = ModelFamily<CausalLMOptions>;

}  // namespace attend::inline ATTEND_ABI
