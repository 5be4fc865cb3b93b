// A tiny model of each kind, made in memory, with random parameters.
#pragma once

#include <cstdint>
#include <vector>

#include <attend/model/bert.hpp>
#include <attend/model/causal_lm.hpp>
#include <attend/model/seq2seq.hpp>

#include "support.hpp"

namespace attend_test {

inline attend::BertModel<float> tiny_bert() {
  attend::BertModel<float> model({.vocab_size = 50,
                                  .max_position_embeddings = 64,
                                  .hidden_size = 32,
                                  .num_hidden_layers = 2,
                                  .num_attention_heads = 4,
                                  .intermediate_size = 64});
  fill_parameters<float>(model);
  return model;
}

/// All that BertModel has options for beside: narrow embeddings, shared layers, biases or embeddings of
/// distances.
inline attend::BertModel<float> tiny_bert_kin(bool disentangled) {
  attend::BertOptions options{.vocab_size = 50,
                              .max_position_embeddings = 64,
                              .type_vocab_size = 0,
                              .hidden_size = 32,
                              .num_hidden_layers = 2,
                              .num_attention_heads = 4,
                              .intermediate_size = 64,
                              .embedding_size = 12,
                              .projection = attend::EmbeddingProjection::after_norm,
                              .layer_order = {0, 1, 0}};
  if (disentangled) {
    options.projection = attend::EmbeddingProjection::before_norm;
    options.absolute_positions = false;
    options.relative_embedding = {.embed_dim = 32, .span = 8, .max_distance = 40, .norm_eps = 1e-7};
    options.disentangled = {.content_to_position = true, .position_to_content = true};
  } else {
    options.relative_bias = attend::RelativeBiasOptions{.num_heads = 4};
  }
  attend::BertModel<float> model(options);
  fill_parameters<float>(model);
  return model;
}

/// Grouped heads, rotary positions, a gated feed-forward, and in every second layer a sliding window.
inline attend::CausalLM<float> tiny_causal_lm(attend::WeightType weights = attend::WeightType::float32) {
  attend::CausalBlockOptions block{.embed_dim = 32,
                                   .num_heads = 4,
                                   .num_kv_heads = 2,
                                   .dim_feedforward = 64,
                                   .activation = attend::Activation::silu,
                                   .gated = true,
                                   .norm = attend::NormKind::rms};
  attend::CausalLMOptions options{
      .vocab_size = 50, .embed_dim = 32, .max_position_embeddings = 2048, .blocks = {block, block}};
  options.blocks[1].sliding_window = 20;
  options.rotary = attend::RotaryOptions{.head_dim = 8};
  options.set_weights(weights, attend::ActivationType::int8);
  attend::CausalLM<float> model(options);
  fill_parameters<float>(model);
  return model;
}

inline attend::Seq2Seq<float> tiny_seq2seq(attend::PositionKind positions = attend::PositionKind::learned) {
  attend::Seq2SeqOptions options{.source_vocab_size = 40, .target_vocab_size = 40};
  options.encoder = {.block = {.embed_dim = 32, .num_heads = 4, .dim_feedforward = 64}, .num_layers = 2};
  options.decoder = {.block = {.embed_dim = 32, .num_heads = 4, .dim_feedforward = 64}, .num_layers = 2};
  options.positions = positions;
  options.relative.num_heads = 4;
  options.max_position_embeddings = 64;
  options.eos_token_ids = {1};
  attend::Seq2Seq<float> model(options);
  fill_parameters<float>(model);
  return model;
}

/// Ids that a model of `vocabulary` tokens takes.
inline std::vector<std::int32_t> random_ids(std::size_t count, int vocabulary, std::uint64_t seed = 1) {
  std::vector<std::int32_t> ids(count);
  Random random(seed);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random.integer(2, vocabulary - 1));
  return ids;
}

}  // namespace attend_test
