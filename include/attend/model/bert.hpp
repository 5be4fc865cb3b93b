// BERT (arXiv:1810.04805) and similar models, see bert_families.hpp: base model and heads.
#pragma once

#include <span>

#include <attend/disentangled.hpp>
#include <attend/encoder.hpp>
#include <attend/linear.hpp>
#include <attend/model/bert_families.hpp>
#include <attend/model/token_embedding.hpp>
#include <attend/norm.hpp>

namespace attend::inline ATTEND_ABI {

/// Tokens of several texts lie one after the other, without padding. Parameters: embeddings.{word,position,
/// token_type}_embeddings.weight, embeddings.LayerNorm.*, encoder.layers.N.* as in EncoderBlock; as far as
/// the options have them embeddings.projection.*, relative_bias.weight, relative_embedding.*; of a sequence
/// classifier dense.*, classifier.*; of a token classifier classifier.*; of a masked language model
/// transform.*, head_norm.* and decoder.bias: its packed weight is the table of words, or decoder.weight
/// where that is not tied.
template <class Scalar>
class BertModel {
 public:
  BertModel() = default;
  explicit BertModel(const BertOptions& options);

  /// From a Hugging Face folder: config.json and model.safetensors (or its shards). With `base_only` without
  /// its head.
  static BertModel open(const Location& place, const OpenOptions& open = {});

  const BertOptions& options() const { return options_; }
  /// Tokens that a text can have: as many as there are positions, if the model has a table of them.
  Index max_length() const;

  void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }
  /// Whether all parameters have values; forward takes none less.
  bool assigned() const;

  /// Hidden states of the last layer. Text b is tokens [offsets[b], offsets[b + 1]). ids, type_ids (or empty:
  /// all 0) [tokens] -> out [tokens, E]. `outputs` has one of each layer, or none.
  void forward(Context& context, std::span<const std::int32_t> ids, std::span<const std::int32_t> type_ids,
               std::span<const Index> offsets, TensorView<Scalar, 2> out,
               std::span<const BlockOutputs<Scalar>> outputs = {}) const;
  /// The same as a new tensor; without offsets the ids are one text.
  Tensor<Scalar, 2> operator()(std::span<const std::int32_t> ids, std::span<const std::int32_t> type_ids = {},
                               std::span<const Index> offsets = {}) const;

  /// Of a model with a head: logits [texts, labels] of a sequence classifier, [tokens, labels] of a token
  /// classifier, [tokens, vocab_size] of a masked language model.
  Tensor<Scalar, 2> logits(Context& context, std::span<const std::int32_t> ids,
                           std::span<const std::int32_t> type_ids, std::span<const Index> offsets) const;
  Tensor<Scalar, 2> logits(std::span<const std::int32_t> ids, std::span<const std::int32_t> type_ids = {},
                           std::span<const Index> offsets = {}) const;

 private:
  static BertOptions checked(BertOptions o);
  static StackOptions stack_options(const BertOptions& o);
  bool has_dense() const {
    return options_.head == BertHead::sequence_classification || options_.head == BertHead::masked_lm;
  }
  bool has_classes() const {
    return options_.head == BertHead::sequence_classification ||
           options_.head == BertHead::token_classification;
  }
  /// Whether the output layer's weight is the table of words.
  bool tied() const { return options_.head == BertHead::masked_lm && options_.tied_output; }
  bool projected() const { return projection_.options().in_features > 0; }
  void count_positions(std::span<const std::int32_t> ids, std::span<const Index> offsets,
                       std::span<std::int32_t> positions) const;
  /// What precedes the layers. ids [tokens] -> out [1, tokens, E].
  void embed(Context& context, std::span<const std::int32_t> ids, std::span<const std::int32_t> type_ids,
             std::span<const Index> offsets, TensorView<Scalar, 3> out) const;

  BertOptions options_;
  Embedding<Scalar> word_, position_, token_type_;
  Norm<Scalar> norm_;
  Linear<Scalar> projection_;
  RelativeBias<Scalar> relative_bias_;
  RelativeEmbedding<Scalar> relative_embedding_;
  Stack<Scalar> encoder_;
  Linear<Scalar> dense_, classifier_, decoder_;
  Norm<Scalar> head_norm_;
};

}  // namespace attend::inline ATTEND_ABI

#include <attend/model/bert.inl>
