// BERT (arXiv:1810.04805) and its kin RoBERTa and DistilBERT: base model and heads.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <attend/encoder.hpp>
#include <attend/linear.hpp>
#include <attend/model/bert_families.hpp>
#include <attend/model/token_embedding.hpp>
#include <attend/norm.hpp>

namespace attend::inline ATTEND_ABI {

/// Tokens of several texts lie one after the other, without padding. Parameters: embeddings.{word,position,
/// token_type}_embeddings.weight, embeddings.LayerNorm.*, encoder.layers.N.* as in EncoderBlock; of a
/// sequence classifier dense.*, classifier.*; of a token classifier classifier.*; of a masked language model
/// transform.*, head_norm.* and decoder.bias: its packed weight is the table of words.
template <class Scalar>
class BertModel {
 public:
  BertModel() = default;
  explicit BertModel(const BertOptions& o)
      : options_(checked(o)),
        position_({o.max_position_embeddings, o.hidden_size}),
        token_type_(o.type_vocab_size > 0 ? Embedding<Scalar>({o.type_vocab_size, o.hidden_size})
                                          : Embedding<Scalar>()),
        norm_({o.hidden_size, o.layer_norm_eps, NormKind::layer, true, true}),
        encoder_({.block = {.embed_dim = o.hidden_size,
                            .num_heads = o.num_attention_heads,
                            .dim_feedforward = o.intermediate_size,
                            .activation = o.hidden_act,
                            .layer_norm_eps = o.layer_norm_eps},
                  .num_layers = o.num_hidden_layers,
                  .final_norm = false}) {
    const Index E = o.hidden_size;
    if (o.head == BertHead::masked_lm) {
      decoder_ = Linear<Scalar>({.in_features = E, .out_features = o.vocab_size});
      head_norm_ = Norm<Scalar>({E, o.layer_norm_eps, NormKind::layer, true, true});
    } else {
      word_ = Embedding<Scalar>({o.vocab_size, E});
    }
    if (o.head == BertHead::sequence_classification || o.head == BertHead::masked_lm)
      dense_ = Linear<Scalar>({.in_features = E, .out_features = E});
    if (o.head == BertHead::sequence_classification || o.head == BertHead::token_classification)
      classifier_ = Linear<Scalar>({.in_features = E, .out_features = o.num_labels});
  }

  /// From a Hugging Face folder: config.json and model.safetensors (or its shards). With `base_only` without
  /// its head.
  static BertModel open(const Location& folder, bool base_only = false) {
    const Config config(folder / "config.json");
    BertFamily family = read_bert_family(config);
    config.finish();
    if (base_only) {
      family.options.head = BertHead::none;
      family.leftovers.insert(family.leftovers.end(), {"classifier.*", "classifier.*.*", "pre_classifier.*"});
    }
    const BertOptions& o = family.options;
    const Index E = o.hidden_size;
    return detail::load_model<BertModel>(
        folder, family,
        {{o.vocab_size, E},
         {o.max_position_embeddings, E},
         {o.type_vocab_size, E},
         {o.num_hidden_layers, E},
         {o.num_hidden_layers * E, E},
         {o.num_hidden_layers, o.intermediate_size},
         {o.num_hidden_layers * o.intermediate_size, E},
         {o.head == BertHead::sequence_classification || o.head == BertHead::token_classification
              ? o.num_labels
              : 0,
          E}});
  }

  const BertOptions& options() const { return options_; }
  /// Tokens that a text can have.
  Index max_length() const {
    return options_.max_position_embeddings -
           (options_.positions_after_padding ? options_.pad_token_id + 1 : 0);
  }

  void parameters(ParameterVisitor<Scalar> visit) {
    const bool masked = options_.head == BertHead::masked_lm;
    if (masked) {
      decoder_.parameters([&](const std::string& name, Parameter<Scalar> parameter) {
        visit(name == "weight" ? "embeddings.word_embeddings.weight" : "decoder." + name,
              std::move(parameter));
      });
      dense_.parameters(prefixed("transform", visit));
      head_norm_.parameters(prefixed("head_norm", visit));
    } else {
      word_.parameters(prefixed("embeddings.word_embeddings", visit));
    }
    position_.parameters(prefixed("embeddings.position_embeddings", visit));
    if (options_.type_vocab_size > 0)
      token_type_.parameters(prefixed("embeddings.token_type_embeddings", visit));
    norm_.parameters(prefixed("embeddings.LayerNorm", visit));
    encoder_.parameters(prefixed("encoder", visit));
    if (options_.head == BertHead::sequence_classification) dense_.parameters(prefixed("dense", visit));
    if (options_.head == BertHead::sequence_classification || options_.head == BertHead::token_classification)
      classifier_.parameters(prefixed("classifier", visit));
  }
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const {
    const bool masked = options_.head == BertHead::masked_lm,
               sequence = options_.head == BertHead::sequence_classification;
    const bool words = masked ? decoder_.assigned() : word_.assigned();
    const bool types = options_.type_vocab_size == 0 || token_type_.assigned();
    const bool classes =
        !(sequence || options_.head == BertHead::token_classification) || classifier_.assigned();
    return words && position_.assigned() && types && encoder_.assigned() &&
           (!(masked || sequence) || dense_.assigned()) && classes;
  }

  /// Hidden states of the last layer. Text b is tokens [offsets[b], offsets[b + 1]). ids, type_ids (or empty:
  /// all 0) [tokens] -> out [tokens, E]. `outputs` has one of each layer, or none.
  void forward(Context& context, std::span<const std::int32_t> ids, std::span<const std::int32_t> type_ids,
               std::span<const Index> offsets, TensorView<Scalar, 2> out,
               std::span<const BlockOutputs<Scalar>> outputs = {}) const {
    const Index tokens = static_cast<Index>(ids.size());
    detail::check_assigned(context, "BertModel", *this);
    Rows<Scalar>(out).check_output("BertModel", Shape<1>{tokens}, options_.hidden_size);
    detail::longest_sequence("BertModel (offsets)", offsets, tokens);
    if (!type_ids.empty() && type_ids.size() != ids.size())
      detail::fail_shape("BertModel (type_ids)", to_string(Shape<1>{tokens}),
                         Shape<1>{static_cast<Index>(type_ids.size())});
    Frame frame(context.workspace());
    const std::span<std::int32_t> numbers(frame.take<std::int32_t>(tokens), ids.size());
    context.parallel(1, 1, [&](Index, int) { count_positions(ids, offsets, numbers); });
    const TensorView<Scalar, 3> x(out.data(), {1, tokens, options_.hidden_size}, {0, out.stride(0), 1});
    detail::embed_tokens<Scalar>(
        context, {word_, decoder_, 1, token_type_.weight(), position_.weight()}, {ids.data(), {1, tokens}},
        [&](Index, Index t) { return type_ids.empty() ? 0 : type_ids[static_cast<std::size_t>(t)]; },
        [&](Index, Index t) { return numbers[static_cast<std::size_t>(t)]; }, x);
    norm_.forward(context, x, x);
    encoder_.forward(context, x, {.self = {.query_offsets = offsets, .key_offsets = offsets}}, x, outputs);
  }

  /// Of a model with a head: logits [texts, labels] of a sequence classifier, [tokens, labels] of a token
  /// classifier, [tokens, vocab_size] of a masked language model.
  Tensor<Scalar, 2> logits(Context& context, std::span<const std::int32_t> ids,
                           std::span<const std::int32_t> type_ids, std::span<const Index> offsets) const {
    Tensor<Scalar, 2> states({static_cast<Index>(ids.size()), options_.hidden_size});
    forward(context, ids, type_ids, offsets, states);
    if (options_.head == BertHead::none) throw_error("BertModel: a base model has no logits");
    if (options_.head == BertHead::token_classification) return classifier_(states);
    if (options_.head == BertHead::masked_lm) {
      Tensor<Scalar, 2> transformed(states.shape());
      dense_.forward(context, states, transformed, {options_.hidden_act, {}});
      head_norm_.forward(context, transformed, transformed);
      Tensor<Scalar, 2> out({states.size(0), options_.vocab_size});
      decoder_.forward(context, transformed, out);
      return out;
    }
    const Index texts = static_cast<Index>(offsets.size()) - 1;
    Tensor<Scalar, 2> first({texts, options_.hidden_size}), pooled(first.shape());
    for (Index b = 0; b < texts; ++b) {
      if (offsets[static_cast<std::size_t>(b)] == offsets[static_cast<std::size_t>(b) + 1])
        throw_error("BertModel: text ", b, " has no tokens");
      copy(states.view()[offsets[static_cast<std::size_t>(b)]], first.view()[b]);
    }
    dense_.forward(context, first, pooled, {options_.pooler_act, {}});
    return classifier_(pooled);
  }

 private:
  static const BertOptions& checked(const BertOptions& o) {
    const char* who = "BertModel";
    detail::check_size(who, "vocab_size", o.vocab_size);
    detail::check_size(who, "max_position_embeddings", o.max_position_embeddings);
    detail::check_count(who, "type_vocab_size", o.type_vocab_size);
    detail::check_size(who, "hidden_size", o.hidden_size);
    detail::check_count(who, "num_hidden_layers", o.num_hidden_layers, detail::kMostLayers);
    detail::check_size(who, "num_attention_heads", o.num_attention_heads);
    detail::check_size(who, "intermediate_size", o.intermediate_size);
    if (o.head == BertHead::sequence_classification || o.head == BertHead::token_classification)
      detail::check_size(who, "num_labels", o.num_labels);
    if (o.positions_after_padding)
      detail::check_count(who, "pad_token_id", o.pad_token_id, o.max_position_embeddings - 1);
    return o;
  }
  void count_positions(std::span<const std::int32_t> ids, std::span<const Index> offsets,
                       std::span<std::int32_t> positions) const {
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
      std::int32_t next = options_.positions_after_padding ? options_.pad_token_id + 1 : 0;
      for (std::size_t t = static_cast<std::size_t>(offsets[b]); t < static_cast<std::size_t>(offsets[b + 1]);
           ++t)
        positions[t] = options_.positions_after_padding && ids[t] == options_.pad_token_id
                           ? options_.pad_token_id
                           : next++;
    }
  }

  BertOptions options_;
  Embedding<Scalar> word_, position_, token_type_;
  Norm<Scalar> norm_;
  Encoder<Scalar> encoder_;
  Linear<Scalar> dense_, classifier_, decoder_;
  Norm<Scalar> head_norm_;
};

ATTEND_COMPILED_MODEL(class BertModel<float>);

}  // namespace attend::inline ATTEND_ABI
