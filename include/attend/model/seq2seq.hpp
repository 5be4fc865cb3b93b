// Seq2Seq: encoder-decoder models (T5, BART and similar ones, and attend's own form), see
// seq2seq_families.hpp.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <attend/decoder.hpp>
#include <attend/encoder.hpp>
#include <attend/model/token_embedding.hpp>
#include <attend/position.hpp>
#include <attend/rows.hpp>

namespace attend::inline ATTEND_ABI {

/// What tells a model where a token stands: nothing, a table that is computed or learned, or a bias of
/// distances.
enum class PositionKind { none, sinusoidal, learned, relative };

/// Of an encoder-decoder, as its folder's config.json says.
struct Seq2SeqOptions {
  /// Tokens of source and target.
  Index source_vocab_size = 0, target_vocab_size = 0;
  EncoderOptions encoder = {};                 // its blocks
  DecoderOptions decoder = {};                 // its blocks
  double embedding_scale = 1;                  // multiplies the embeddings
  bool embedding_norm = false;                 // a LayerNorm after embedding and positions (BART)
  bool shared_embeddings = false;              // one table for source and target
  bool tied_output = false;                    // the output layer's weight is the target's table
  bool output_bias = false;                    // the output layer has a bias
  bool logits_bias = false;                    // final_logits_bias [1, V] of Marian and BART
  double output_scale = 1;                     // of the decoder's states before the output layer (T5)
  std::optional<double> attention_scale = {};  // 1 / sqrt(head_dim) where not given

  PositionKind positions = PositionKind::none;  // which kind of positions
  SinusoidalOptions sinusoidal = {};            // where they are of that kind
  Index max_position_embeddings = 0;            // 0: any number of tokens
  Index position_offset = 0;                    // row of position 0 in a learned table
  /// Tokens of this id take no sinusoid, and those behind them in one call count on without them (M2M100).
  std::optional<std::int32_t> unplaced_id = {};
  RelativeBiasOptions relative = {};  // of the encoder; the decoder's looks back only

  std::int32_t decoder_start_token_id = 0;  // what a target begins with
  std::vector<std::int32_t> eos_token_ids = {};
  WeightType weights = WeightType::float32;           // of the token tables and the output layer
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights

  /// Of all, the blocks included.
  void set_weights(WeightType type, ActivationType input) {
    weights = encoder.block.weights = decoder.block.weights = type;
    activations = encoder.block.activations = decoder.block.activations = input;
  }
};

/// Parameters: source_embedding.weight and target_embedding.weight (the second alone where shared),
/// output.weight (not where tied), output.bias, final_logits_bias, encoder.* and decoder.* as in Encoder and
/// Decoder, and of each side encoder_positions.weight, encoder_embedding_norm.*,
/// encoder_relative_bias.weight, …, as far as the options have them.
template <class Scalar>
class Seq2Seq {
 public:
  Seq2Seq() = default;
  explicit Seq2Seq(const Seq2SeqOptions& o);

  const Seq2SeqOptions& options() const { return options_; }

  void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }

  /// Whether all parameters have values; encode and decode take none less.
  bool assigned() const;

  /// States of the source. ids [B, S], of which row b has lengths[b] tokens, the rest being padding (none
  /// where lengths is empty) -> out [B, S, E]; rows of padding mean nothing. `outputs` has one of each layer,
  /// or none.
  void encode(Context& context, TensorView<const std::int32_t, 2> ids, std::span<const Index> lengths,
              TensorView<Scalar, 3> out, std::span<const BlockOutputs<Scalar>> outputs = {}) const;
  Tensor<Scalar, 3> encode(Context& context, TensorView<const std::int32_t, 2> ids,
                           std::span<const Index> lengths = {},
                           std::span<const BlockOutputs<Scalar>> outputs = {}) const {
    Tensor<Scalar, 3> states({ids.size(0), ids.size(1), options_.encoder.block.embed_dim});
    encode(context, ids, lengths, states.view(), outputs);
    return states;
  }
  Tensor<Scalar, 3> encode(TensorView<const std::int32_t, 2> ids, std::span<const Index> lengths = {}) const {
    return encode(default_context(), ids, lengths);
  }
  /// A cache for decoding from encoded states.
  DecoderCache<Scalar> make_cache(Context& context, TensorView<const Scalar, 3> states,
                                  std::span<const Index> lengths = {}) const {
    return decoder_.make_cache(context, states, lengths);
  }
  /// The same by the thread's default context.
  DecoderCache<Scalar> make_cache(TensorView<const Scalar, 3> states,
                                  std::span<const Index> lengths = {}) const {
    return make_cache(default_context(), states, lengths);
  }
  /// Continues every target by T tokens. ids [B, T] -> logits [B, T, V] of the token that follows each. A
  /// call that fails leaves the cache as it was.
  void decode(Context& context, TensorView<const std::int32_t, 2> ids, DecoderCache<Scalar>& cache,
              TensorView<Scalar, 3> logits, std::span<const BlockOutputs<Scalar>> outputs = {}) const;
  Tensor<Scalar, 3> decode(Context& context, TensorView<const std::int32_t, 2> ids,
                           DecoderCache<Scalar>& cache,
                           std::span<const BlockOutputs<Scalar>> outputs = {}) const {
    Tensor<Scalar, 3> logits({ids.size(0), ids.size(1), options_.target_vocab_size});
    decode(context, ids, cache, logits.view(), outputs);
    return logits;
  }
  Tensor<Scalar, 3> decode(TensorView<const std::int32_t, 2> ids, DecoderCache<Scalar>& cache) const {
    return decode(default_context(), ids, cache);
  }

 private:
  static const Seq2SeqOptions& checked(const Seq2SeqOptions& o);
  /// What precedes the blocks of one side.
  struct Side {
    Embedding<Scalar> positions;
    RelativeBias<Scalar> relative;
    Norm<Scalar> norm;
  };

  /// out = norm(scale * embedding + position), of tokens at positions from `start` on.
  void embed(Context& context, const Side& side, const Embedding<Scalar>& words,
             TensorView<const std::int32_t, 2> ids, Index start, TensorView<Scalar, 3> out) const;

  Seq2SeqOptions options_;
  Encoder<Scalar> encoder_;
  Decoder<Scalar> decoder_;
  Linear<Scalar> output_;
  Embedding<Scalar> source_embedding_, target_embedding_;
  Tensor<Scalar, 2> logits_bias_;
  Side source_, target_;
};

}  // namespace attend::inline ATTEND_ABI

#include <attend/model/seq2seq.inl>
