// What config.json and the checkpoints of encoder-decoder families say: T5, Marian, BART, and attend's own
// form.
#pragma once

#include <attend/io/config.hpp>
#include <attend/model/family.hpp>
#include <attend/model/seq2seq.hpp>

namespace attend::inline ATTEND_ABI {

/// A folder that a Seq2Seq is made of.
using Seq2SeqFamily = ModelFamily<Seq2SeqOptions>;

/// Reads the config of a Hugging Face encoder-decoder folder; error for a model_type or a setting it does not
/// know.
Seq2SeqFamily read_seq2seq_family(const Config& config);

namespace detail {
/// attend's own form: the options by the names that the library uses, parameters by those of
/// torch.nn.Transformer. Vocabulary sizes are those of the tokenizer's files.
Seq2SeqFamily read_native(const Config& config, Index source_vocab_size, Index target_vocab_size);
}  // namespace detail

/// The model that a family's options describe, with its parameters from the folder's weights.
template <class Scalar>
Seq2Seq<Scalar> load_seq2seq(const Location& folder, Seq2SeqFamily family, const OpenOptions& open = {}) {
  Seq2SeqOptions& o = family.options;
  const SafeTensors file = SafeTensors::open_folder(folder);
  if (o.tied_output && detail::stored_apart(file, family.names, "target_embedding.weight", "output.weight"))
    o.tied_output = false;
  if (o.shared_embeddings &&
      detail::stored_apart(file, family.names, "target_embedding.weight", "source_embedding.weight"))
    o.shared_embeddings = false;
  if (!file.contains("final_logits_bias")) o.logits_bias = false;  // zeros, then
  if (o.max_position_embeddings > 0 && detail::find_parameter(file, family.names, "encoder_positions.weight"))
    o.positions = PositionKind::learned;  // the file's table counts, also where it was made of sinusoids
  const Index E = o.encoder.block.embed_dim;
  detail::Tables tables{
      {o.source_vocab_size, E},
      {o.target_vocab_size, E},
      {o.positions == PositionKind::learned ? o.max_position_embeddings : 0, E},
      {o.positions == PositionKind::relative ? o.relative.relative_attention_num_buckets : 0,
       o.relative.num_heads}};
  const auto add_layers = [&](Index layers, Index heads, Index head_dim, Index feed_forward) {
    tables.insert(tables.end(), {{layers, E},
                                 {layers, feed_forward},
                                 {layers * feed_forward, E},
                                 {heads, head_dim},
                                 {heads * head_dim, E},
                                 {layers * E, E}});
  };
  add_layers(o.encoder.num_layers, o.encoder.block.num_heads, o.encoder.block.head_dim,
             o.encoder.block.dim_feedforward);
  add_layers(o.decoder.num_layers, o.decoder.block.num_heads, o.decoder.block.head_dim,
             o.decoder.block.dim_feedforward);
  return detail::load_model<Seq2Seq<Scalar>>(folder, family, tables, open);
}

/// A Hugging Face folder: config.json and model.safetensors (or its shards).
template <class Scalar>
Seq2Seq<Scalar> open_seq2seq(const Location& folder, const OpenOptions& open = {}) {
  return load_seq2seq<Scalar>(folder, read_seq2seq_family(Config(folder / "config.json")), open);
}

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/seq2seq_families.inl>
#endif
