// ModernBERT (arXiv:2412.13663): rotary positions, local and global layers, gated feed-forward; base model
// and heads.
#pragma once

#include <span>

#include <attend/embedding.hpp>
#include <attend/linear.hpp>
#include <attend/model/modernbert_options.hpp>
#include <attend/norm.hpp>
#include <attend/stack.hpp>

namespace attend::inline ATTEND_ABI {

/// Tokens of several texts lie one after the other, without padding. Parameters:
/// embeddings.tok_embeddings.weight, embeddings.norm.*, layers.N.* as in Block (layer 0 has no norm1),
/// norm.*; of a model with a head head.dense.*, head.norm.*, then classifier.*, or of a masked language model
/// decoder.bias (and decoder.weight, where that is not the table of words).
template <class Scalar>
class ModernBertModel {
 public:
  ModernBertModel() = default;
  explicit ModernBertModel(const ModernBertOptions& options);

  /// From a Hugging Face folder: config.json and model.safetensors (or its shards). With `base_only` without
  /// its head.
  static ModernBertModel open(const Location& folder, const OpenOptions& open = {});

  const ModernBertOptions& options() const { return options_; }
  /// Tokens that a text can have: there is no table of positions that bounds them.
  Index max_length() const { return Index{1} << 30; }

  void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const;

  /// Text b is tokens [offsets[b], offsets[b + 1]). ids [tokens] -> out [tokens, E]. `outputs` has one of
  /// each layer, or none.
  void forward(Context& context, std::span<const std::int32_t> ids, std::span<const Index> offsets,
               TensorView<Scalar, 2> out, std::span<const BlockOutputs<Scalar>> outputs = {}) const;
  /// The same as a new tensor; without offsets the ids are one text.
  Tensor<Scalar, 2> operator()(std::span<const std::int32_t> ids, std::span<const Index> offsets = {}) const;

  /// Of a model with a head: logits [texts, labels] of a sequence classifier, [tokens, labels] of a token
  /// classifier, [tokens, vocab_size] of a masked language model.
  Tensor<Scalar, 2> logits(Context& context, std::span<const std::int32_t> ids,
                           std::span<const Index> offsets) const;
  Tensor<Scalar, 2> logits(std::span<const std::int32_t> ids, std::span<const Index> offsets = {}) const;

 private:
  static ModernBertOptions checked(ModernBertOptions o);
  bool tied() const { return options_.head == BertHead::masked_lm && options_.tied_output; }

  ModernBertOptions options_;
  Embedding<Scalar> embeddings_;
  Norm<Scalar> embedding_norm_, head_norm_;
  Stack<Scalar> layers_;
  Linear<Scalar> dense_, output_;  // of the head: output_ gives the logits
};

}  // namespace attend::inline ATTEND_ABI

#include <attend/model/modernbert.inl>
