// BertModel's members, which units of a program with compiled models instantiate for their own scalars alone.
#pragma once

#include <utility>

#include <attend/gguf/folder.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/sequence_groups.hpp>

namespace attend::inline ATTEND_ABI {

template <class Scalar>
BertOptions BertModel<Scalar>::checked(BertOptions o) {
  const char* who = "BertModel";
  detail::check_size(who, "vocab_size", o.vocab_size);
  detail::check_size(who, "max_position_embeddings", o.max_position_embeddings);
  detail::check_count(who, "type_vocab_size", o.type_vocab_size);
  detail::check_size(who, "hidden_size", o.hidden_size);
  detail::check_count(who, "num_hidden_layers", o.num_hidden_layers, detail::kMostLayers);
  detail::check_size(who, "num_attention_heads", o.num_attention_heads);
  detail::check_size(who, "intermediate_size", o.intermediate_size);
  if (o.embedding_size == 0) o.embedding_size = o.hidden_size;
  detail::check_size(who, "embedding_size", o.embedding_size);
  if (o.embedding_size != o.hidden_size && o.projection == EmbeddingProjection::none)
    throw_error(who, ": embedding_size ", o.embedding_size, " without a projection to hidden_size ",
                o.hidden_size);
  if (o.head == BertHead::sequence_classification || o.head == BertHead::token_classification)
    detail::check_size(who, "num_labels", o.num_labels);
  if (o.positions_after_padding)
    detail::check_count(who, "pad_token_id", o.pad_token_id, o.max_position_embeddings - 1);
  return o;
}

template <class Scalar>
StackOptions BertModel<Scalar>::stack_options(const BertOptions& o) {
  BlockOptions block = EncoderBlockOptions{.embed_dim = o.hidden_size,
                                           .num_heads = o.num_attention_heads,
                                           .dim_feedforward = o.intermediate_size,
                                           .activation = o.hidden_act,
                                           .layer_norm_eps = o.layer_norm_eps,
                                           .weights = o.weights,
                                           .activations = o.activations};
  block.self_attn.attention.scale = o.attention_scale;
  block.self_attn.disentangled = o.disentangled;
  std::vector<BlockOptions> blocks(static_cast<std::size_t>(o.num_hidden_layers), block);
  if (!blocks.empty()) blocks[0].convolution = o.convolution;
  return {o.hidden_size, std::move(blocks), {}, o.layer_order};
}

template <class Scalar>
BertModel<Scalar>::BertModel(const BertOptions& options)
    : options_(checked(options)), encoder_(stack_options(options_), "Encoder", "EncoderBlock") {
  const BertOptions& o = options_;
  const Index E = o.hidden_size, W = o.embedding_size;
  const auto layer_norm = [&](Index size) {
    return Norm<Scalar>({size, o.layer_norm_eps, NormKind::layer, true, true});
  };
  if (o.absolute_positions) position_ = Embedding<Scalar>({o.max_position_embeddings, W});
  if (o.type_vocab_size > 0) token_type_ = Embedding<Scalar>({o.type_vocab_size, W});
  norm_ = layer_norm(o.projection == EmbeddingProjection::before_norm ? E : W);
  if (o.projection != EmbeddingProjection::none)
    projection_ =
        Linear<Scalar>({W, E, o.projection == EmbeddingProjection::after_norm, o.weights, o.activations});
  if (o.relative_bias) relative_bias_ = RelativeBias<Scalar>(*o.relative_bias);
  if (o.relative_embedding) relative_embedding_ = RelativeEmbedding<Scalar>(*o.relative_embedding);
  if (!tied()) word_ = Embedding<Scalar>({o.vocab_size, W, o.weights});
  if (o.head == BertHead::masked_lm) {
    decoder_ = Linear<Scalar>({W, o.vocab_size, true, o.weights, o.activations});
    head_norm_ = layer_norm(W);
  }
  if (has_dense())
    dense_ = Linear<Scalar>({.in_features = E, .out_features = o.head == BertHead::masked_lm ? W : E});
  if (has_classes()) classifier_ = Linear<Scalar>({.in_features = E, .out_features = o.num_labels});
}

template <class Scalar>
BertModel<Scalar> BertModel<Scalar>::open(const Location& place, const OpenOptions& open) {
  const Location folder = detail::model_folder(place);
  const Config config(folder / "config.json");
  BertFamily family = read_bert_family(config);
  config.finish();
  if (open.base_only) {
    family.options.head = BertHead::none;
    family.leftovers.insert(family.leftovers.end(), {"classifier.*", "classifier.*.*", "pre_classifier.*"});
  }
  BertOptions& o = family.options;
  if (o.head == BertHead::masked_lm && o.tied_output &&
      detail::stored_apart(SafeTensors::open_folder(folder), family.names,
                           "embeddings.word_embeddings.weight", "decoder.weight"))
    o.tied_output = false;
  const Index E = o.hidden_size, W = o.embedding_size > 0 ? o.embedding_size : E;
  const bool classes =
      o.head == BertHead::sequence_classification || o.head == BertHead::token_classification;
  return detail::load_model<BertModel>(folder, family,
                                       {{o.vocab_size, W},
                                        {o.absolute_positions ? o.max_position_embeddings : 0, W},
                                        {o.type_vocab_size, W},
                                        {E, W},
                                        {o.relative_bias ? o.relative_bias->num_heads : 0, 1},
                                        {o.relative_embedding ? 2 * o.relative_embedding->span : 0, E},
                                        {o.num_hidden_layers, E},
                                        {o.num_hidden_layers * E, E},
                                        {o.num_hidden_layers, o.intermediate_size},
                                        {o.num_hidden_layers * o.intermediate_size, E},
                                        {o.convolution ? o.convolution->kernel_size : 0, E},
                                        {o.convolution ? E * o.convolution->kernel_size : 0, E},
                                        {classes ? o.num_labels : 0, E}},
                                       open);
}

template <class Scalar>
Index BertModel<Scalar>::max_length() const {
  if (!options_.absolute_positions) return Index{1} << 30;
  return options_.max_position_embeddings -
         (options_.positions_after_padding ? options_.pad_token_id + 1 : 0);
}

template <class Scalar>
void BertModel<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  if (!tied()) word_.parameters(prefixed("embeddings.word_embeddings", visit));
  if (options_.head == BertHead::masked_lm) {
    decoder_.parameters([&](const std::string& name, Parameter<Scalar> parameter) {
      visit(tied() && name == "weight" ? "embeddings.word_embeddings.weight" : "decoder." + name,
            std::move(parameter));
    });
    dense_.parameters(prefixed("transform", visit));
    head_norm_.parameters(prefixed("head_norm", visit));
  }
  if (options_.absolute_positions) position_.parameters(prefixed("embeddings.position_embeddings", visit));
  if (options_.type_vocab_size > 0)
    token_type_.parameters(prefixed("embeddings.token_type_embeddings", visit));
  norm_.parameters(prefixed("embeddings.LayerNorm", visit));
  if (projected()) projection_.parameters(prefixed("embeddings.projection", visit));
  if (options_.relative_bias) relative_bias_.parameters(prefixed("relative_bias", visit));
  if (options_.relative_embedding) relative_embedding_.parameters(prefixed("relative_embedding", visit));
  encoder_.parameters(prefixed("encoder", visit));
  if (options_.head == BertHead::sequence_classification) dense_.parameters(prefixed("dense", visit));
  if (has_classes()) classifier_.parameters(prefixed("classifier", visit));
}

template <class Scalar>
bool BertModel<Scalar>::assigned() const {
  const BertOptions& o = options_;
  return (tied() || word_.assigned()) && (o.head != BertHead::masked_lm || decoder_.assigned()) &&
         (!o.absolute_positions || position_.assigned()) &&
         (o.type_vocab_size == 0 || token_type_.assigned()) && (!projected() || projection_.assigned()) &&
         (!o.relative_bias || relative_bias_.assigned()) &&
         (!o.relative_embedding || relative_embedding_.assigned()) && encoder_.assigned() &&
         (!has_dense() || dense_.assigned()) && (!has_classes() || classifier_.assigned());
}

template <class Scalar>
void BertModel<Scalar>::count_positions(std::span<const std::int32_t> ids, std::span<const Index> offsets,
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

template <class Scalar>
void BertModel<Scalar>::embed(Context& context, std::span<const std::int32_t> ids,
                              std::span<const std::int32_t> type_ids, std::span<const Index> offsets,
                              TensorView<Scalar, 3> out) const {
  const Index tokens = static_cast<Index>(ids.size());
  Frame frame(context.workspace());
  const std::span<std::int32_t> numbers(frame.take<std::int32_t>(tokens), ids.size());
  context.parallel(1, 1, [&](Index, int) { count_positions(ids, offsets, numbers); });
  const TensorView<Scalar, 3> narrow =
      projected() ? frame.tensor<Scalar>(Shape<3>{1, tokens, options_.embedding_size}) : out;
  detail::embed_tokens<Scalar>(
      context, {word_, decoder_, 1, token_type_.weight(), position_.weight()}, {ids.data(), {1, tokens}},
      [&](Index, Index t) { return type_ids.empty() ? 0 : type_ids[static_cast<std::size_t>(t)]; },
      [&](Index, Index t) { return numbers[static_cast<std::size_t>(t)]; }, narrow);
  const bool norm_last = options_.projection == EmbeddingProjection::before_norm;
  if (!norm_last) norm_.forward(context, narrow, narrow);
  if (projected()) projection_.forward(context, narrow, out);
  if (norm_last) norm_.forward(context, out, out);
}

template <class Scalar>
void BertModel<Scalar>::forward(Context& context, std::span<const std::int32_t> ids,
                                std::span<const std::int32_t> type_ids, std::span<const Index> offsets,
                                TensorView<Scalar, 2> out,
                                std::span<const BlockOutputs<Scalar>> outputs) const {
  const Index tokens = static_cast<Index>(ids.size());
  detail::check_assigned(context, "BertModel", *this);
  Rows<Scalar>(out).check_output("BertModel", Shape<1>{tokens}, options_.hidden_size);
  const Index longest = detail::longest_sequence("BertModel (offsets)", offsets, tokens);
  if (!type_ids.empty() && type_ids.size() != ids.size())
    detail::fail_shape("BertModel (type_ids)", to_string(Shape<1>{tokens}),
                       Shape<1>{static_cast<Index>(type_ids.size())});
  const TensorView<Scalar, 3> x(out.data(), {1, tokens, options_.hidden_size}, {0, out.stride(0), 1});
  embed(context, ids, type_ids, offsets, x);
  if (tokens == 0) return;
  Frame frame(context.workspace());
  StackInputs<Scalar> in;
  RelativePositions<Scalar> relative;
  if (options_.relative_bias) in.self.modifier = relative_bias_.modifier();
  if (options_.relative_embedding) {
    relative = relative_embedding_.positions(context, frame, longest);
    if (options_.disentangled.any()) in.self.relative = &relative;
  }
  detail::forward_in_groups(context, encoder_, in, offsets, x, outputs);
}

template <class Scalar>
Tensor<Scalar, 2> BertModel<Scalar>::operator()(std::span<const std::int32_t> ids,
                                                std::span<const std::int32_t> type_ids,
                                                std::span<const Index> offsets) const {
  const Index whole[] = {0, static_cast<Index>(ids.size())};
  Tensor<Scalar, 2> out({whole[1], options_.hidden_size});
  forward(default_context(), ids, type_ids, offsets.empty() ? whole : offsets, out);
  return out;
}

template <class Scalar>
Tensor<Scalar, 2> BertModel<Scalar>::logits(std::span<const std::int32_t> ids,
                                            std::span<const std::int32_t> type_ids,
                                            std::span<const Index> offsets) const {
  const Index whole[] = {0, static_cast<Index>(ids.size())};
  return logits(default_context(), ids, type_ids, offsets.empty() ? whole : offsets);
}

template <class Scalar>
Tensor<Scalar, 2> BertModel<Scalar>::logits(Context& context, std::span<const std::int32_t> ids,
                                            std::span<const std::int32_t> type_ids,
                                            std::span<const Index> offsets) const {
  Tensor<Scalar, 2> states({static_cast<Index>(ids.size()), options_.hidden_size});
  forward(context, ids, type_ids, offsets, states);
  if (options_.head == BertHead::none) throw_error("BertModel: a base model has no logits");
  if (options_.head == BertHead::token_classification) return classifier_(states);
  if (options_.head == BertHead::masked_lm) {
    Tensor<Scalar, 2> transformed({states.size(0), options_.embedding_size});
    dense_.forward(context, states, transformed, {options_.head_act, {}});
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

ATTEND_COMPILED_MODEL(class BertModel<float>);

}  // namespace attend::inline ATTEND_ABI
