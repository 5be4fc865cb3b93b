// CausalLM: decoder-only language models (GPT-2, Llama and similar ones), see causal_families.hpp.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <attend/core/function_ref.hpp>
#include <attend/linear.hpp>
#include <attend/model/causal_families.hpp>
#include <attend/model/token_embedding.hpp>
#include <attend/stack.hpp>

namespace attend::inline ATTEND_ABI {

/// Keys and values of all layers for a number of sequences.
template <class Scalar>
class CausalCache {
 public:
  CausalCache() = default;
  /// Of one cache for each layer, all of one length; make_cache makes it.
  explicit CausalCache(std::vector<KVCache<Scalar>> layers) : layers_(std::move(layers)) {}

  Index batch() const { return layers_.empty() ? 0 : layers_[0].batch(); }  // Number of sequences.
  /// Tokens of sequence b.
  Index length(Index b) const;
  /// One of each layer.
  /// @{
  std::vector<KVCache<Scalar>>& layers() { return layers_; }
  const std::vector<KVCache<Scalar>>& layers() const { return layers_; }
  /// @}

  /// So many sequences of no tokens, and the spare pages of this cache: see KVCache.
  CausalCache sibling(AnyIndex batch = 0);
  /// Adds sequence b of another cache of the same model, sharing its memory.
  void fork(const CausalCache& other, Index b);
  /// Sequence i becomes what parents[i] was; their number may change.
  void reorder(std::span<const Index> parents);
  /// Forgets all but the first `length` tokens of sequence b, or all of them where a sliding window has let
  /// go of what the next token would have to see. Returns how many are left.
  Index rewind(Index b, Index length);

 private:
  std::vector<KVCache<Scalar>> layers_;
};

/// Parameters: embed_tokens.weight [V, E], embed_positions.weight, embed_norm.*, layers.N.* as in
/// CausalBlock, norm.*, lm_head.weight [V, E]. With tie_word_embeddings there is no lm_head.weight: the
/// packed weight of the head is also the table of embeddings. With an embed_width W, that is E in these, and
/// there are project_in.weight [E, W] and project_out.weight [W, E].
template <class Scalar>
class CausalLM {
 public:
  CausalLM() = default;
  explicit CausalLM(const CausalLMOptions& options);

  /// From a Hugging Face folder: config.json, model.safetensors (or its shards), generation_config.json if
  /// there is one; or from a GGUF file. With `base_only` the weights need no head: it is then that of tied
  /// embeddings.
  static CausalLM open(const Location& place, const OpenOptions& open = {});

  const CausalLMOptions& options() const { return options_; }
  /// Tokens that a sequence can have; 0: any number.
  Index max_length() const { return options_.max_position_embeddings; }
  /// Values of a state: embed_dim, or the embeddings' width.
  Index state_dim() const { return options_.embed_width > 0 ? options_.embed_width : options_.embed_dim; }
  /// What is computed of a token depends on those before it alone, in sequences of up to so many tokens. It
  /// is less than any number where rotary frequencies change with the length, and 0 where tokens see those
  /// that follow.
  Index stable_length() const { return stable_length_; }

  void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const;

  /// An empty cache of so many sequences.
  CausalCache<Scalar> make_cache(AnyIndex batch = 1) const {
    return CausalCache<Scalar>(layers_.make_caches(batch));
  }

  /// Continues every sequence of the cache by T tokens. ids [B, T] -> logits [B, T, V] of the token that
  /// follows each, or [B, 1, V] of the one that follows the last. Long inputs run in pieces, to the same
  /// bits, which bounds the workspace. Errors: an id out of the vocabulary, more tokens than max_length():
  /// all before anything is computed. A call that fails later leaves the cache as it was, too. `outputs` has
  /// one of each layer, or none; where there are any, or a sequence is beyond stable_length(), all tokens run
  /// as one piece.
  void forward(Context& context, TensorView<const std::int32_t, 2> ids, CausalCache<Scalar>& cache,
               TensorView<Scalar, 3> logits, std::span<const BlockOutputs<Scalar>> outputs = {}) const;

  /// Logits of the token that follows each, of sequences without a past. ids [B, T] -> [B, T, V].
  Tensor<Scalar, 3> logits(Context& context, TensorView<const std::int32_t, 2> ids) const;
  Tensor<Scalar, 3> logits(TensorView<const std::int32_t, 2> ids) const {
    return logits(default_context(), ids);
  }
  /// Of one text: ids [T] -> [T, V].
  template <class Ids>
  requires(!TensorLike<Ids> && std::is_convertible_v<const Ids&, std::span<const std::int32_t>>)
      Tensor<Scalar, 2> logits(Context& context, const Ids& ids)
  const { return sequence_logits(context, ids); }
  /// Of one sequence, [T, vocab_size]. Error where an id is none of the vocabulary.
  template <class Ids>
  requires(!TensorLike<Ids> && std::is_convertible_v<const Ids&, std::span<const std::int32_t>>)
      Tensor<Scalar, 2> logits(const Ids& ids)
  const { return sequence_logits(default_context(), ids); }

  /// What the head takes, the last layer's states behind the norm, of texts without a past. Text b is tokens
  /// [offsets[b], offsets[b + 1]). ids [tokens] -> out [tokens, state_dim()].
  void states(Context& context, std::span<const std::int32_t> ids, std::span<const Index> offsets,
              TensorView<Scalar, 2> out) const;

 private:
  using Position = detail::FunctionRef<Index(Index b, Index t)>;

  Tensor<Scalar, 2> sequence_logits(Context& context, std::span<const std::int32_t> ids) const;
  static const CausalLMOptions& checked(const CausalLMOptions& o);
  bool projects() const { return state_dim() != options_.embed_dim; }
  void set_rotary();
  /// Errors of ids, and of a sequence that is longer than the context.
  void check_tokens(const Context& context, TensorView<const std::int32_t, 2> ids, Index longest) const;
  /// ids [B, n] at their positions -> x [B, n, E].
  void embed(Context& context, TensorView<const std::int32_t, 2> ids, Position position,
             TensorView<Scalar, 3> x) const;
  /// The last layer's states [rows, E] -> what the head takes [rows, state_dim()].
  void last_states(Context& context, TensorView<const Scalar, 2> states, TensorView<Scalar, 2> out) const;
  /// States [rows, E] -> logits [rows, V].
  void head(Context& context, TensorView<const Scalar, 2> states, TensorView<Scalar, 2> logits) const;

  CausalLMOptions options_;
  Embedding<Scalar> embed_tokens_, embed_positions_;
  Norm<Scalar> embed_norm_;
  Stack<Scalar> layers_;
  Norm<Scalar> norm_;
  Linear<Scalar> lm_head_, project_in_, project_out_;
  Index stable_length_ = (std::numeric_limits<Index>::max)();
};

}  // namespace attend::inline ATTEND_ABI

#include <attend/model/causal_lm.inl>
