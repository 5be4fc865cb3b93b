// Bodies of seq2seq.hpp, of any scalar.
#pragma once

#include <algorithm>
#include <utility>

#include <attend/model/seq2seq.hpp>

namespace attend::inline ATTEND_ABI {

template <class Scalar>
Seq2Seq<Scalar>::Seq2Seq(const Seq2SeqOptions& o)
    : options_(checked(o)),
      encoder_(o.encoder),
      decoder_(o.decoder),
      output_({.in_features = o.decoder.block.embed_dim,
               .out_features = o.target_vocab_size,
               .bias = o.output_bias,
               .weights = o.weights,
               .activations = o.activations}) {
  const Index E = o.encoder.block.embed_dim;
  if (!o.tied_output) target_embedding_ = Embedding<Scalar>({o.target_vocab_size, E, o.weights});
  if (!o.shared_embeddings) source_embedding_ = Embedding<Scalar>({o.source_vocab_size, E, o.weights});
  if (o.logits_bias) logits_bias_ = Tensor<Scalar, 2>({1, o.target_vocab_size});
  for (Side* side : {&source_, &target_}) {
    if (o.positions == PositionKind::learned)
      side->positions =
          Embedding<Scalar>({detail::saturating_add(o.max_position_embeddings, o.position_offset), E});
    if (o.embedding_norm)
      side->norm = Norm<Scalar>({E, o.encoder.block.layer_norm_eps, NormKind::layer, true, true});
  }
  if (o.positions == PositionKind::relative) {
    RelativeBiasOptions relative = o.relative;
    source_.relative = RelativeBias<Scalar>(relative);
    relative.bidirectional = false;
    target_.relative = RelativeBias<Scalar>(relative);
  }
}
template <class Scalar>
void Seq2Seq<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  if (!options_.shared_embeddings) source_embedding_.parameters(prefixed("source_embedding", visit));
  if (!options_.tied_output) target_embedding_.parameters(prefixed("target_embedding", visit));
  output_.parameters([&](const std::string& name, Parameter<Scalar> parameter) {
    visit((options_.tied_output && name == "weight" ? "target_embedding." : "output.") + name,
          std::move(parameter));
  });
  if (options_.logits_bias)
    visit("final_logits_bias", Parameter<Scalar>({1, options_.target_vocab_size}, logits_bias_.data()));
  for (Side* side : {&source_, &target_}) {
    const std::string name = side == &source_ ? "encoder" : "decoder";
    if (options_.positions == PositionKind::learned)
      side->positions.parameters(prefixed(name + "_positions", visit));
    if (options_.positions == PositionKind::relative)
      side->relative.parameters(prefixed(name + "_relative_bias", visit));
    if (options_.embedding_norm) side->norm.parameters(prefixed(name + "_embedding_norm", visit));
  }
  encoder_.parameters(prefixed("encoder", visit));
  decoder_.parameters(prefixed("decoder", visit));
}
template <class Scalar>
bool Seq2Seq<Scalar>::assigned() const {
  const auto side = [this](const Side& s) {
    return (options_.positions != PositionKind::learned || s.positions.assigned()) &&
           (options_.positions != PositionKind::relative || s.relative.assigned());
  };
  return (options_.shared_embeddings || source_embedding_.assigned()) &&
         (options_.tied_output || target_embedding_.assigned()) && output_.assigned() && side(source_) &&
         side(target_) && encoder_.assigned() && decoder_.assigned();
}
template <class Scalar>
void Seq2Seq<Scalar>::encode(Context& context, TensorView<const std::int32_t, 2> ids,
                             std::span<const Index> lengths, TensorView<Scalar, 3> out,
                             std::span<const BlockOutputs<Scalar>> outputs) const {
  detail::check_assigned(context, "Seq2Seq", *this);
  Rows<Scalar>(out).check_output("Seq2Seq", ids.shape(), options_.encoder.block.embed_dim);
  embed(context, source_, options_.shared_embeddings ? target_embedding_ : source_embedding_, ids, 0, out);
  StackInputs<Scalar> in{.self = {.scale = options_.attention_scale, .key_lengths = lengths}};
  if (options_.positions == PositionKind::relative) in.self.modifier = source_.relative.modifier();
  encoder_.forward(context, out, in, out, outputs);
}
template <class Scalar>
void Seq2Seq<Scalar>::decode(Context& context, TensorView<const std::int32_t, 2> ids,
                             DecoderCache<Scalar>& cache, TensorView<Scalar, 3> logits,
                             std::span<const BlockOutputs<Scalar>> outputs) const {
  const Index B = ids.size(0), T = ids.size(1), V = options_.target_vocab_size;
  const Index start = cache.length();
  detail::check_assigned(context, "Seq2Seq", *this);
  Rows<Scalar>(logits).check_output("Seq2Seq", ids.shape(), V);
  detail::Appending<Scalar> appending("Seq2Seq", cache.targets, context.measuring());
  Frame frame(context.workspace());
  const TensorView<Scalar, 3> x = frame.tensor<Scalar>(Shape<3>{B, T, options_.decoder.block.embed_dim});
  embed(context, target_, target_embedding_, ids, start, x);
  StackInputs<Scalar> in{.self = {.mask = causal(Corner::bottom_right), .scale = options_.attention_scale},
                         .cross = {.scale = options_.attention_scale},
                         .caches = cache.targets,
                         .memory_caches = cache.memory};
  if (options_.positions == PositionKind::relative) in.self.modifier = target_.relative.modifier(start);
  decoder_.forward(context, x, in, x, outputs);
  context.parallel(options_.output_scale != 1 ? 1 : 0, 1, [&](Index, int) {
    for (Index i = 0; i < x.numel(); ++i)
      x.data()[i] = x.data()[i] * static_cast<Scalar>(options_.output_scale);
  });
  output_.forward(context, x, logits);
  context.parallel(options_.logits_bias ? B : 0, 1, [&](Index b, int) {
    for (Index t = 0; t < T; ++t)
      for (Index v = 0; v < V; ++v) logits(b, t, v) += logits_bias_.data()[v];
  });
  appending.keep();
}
template <class Scalar>
const Seq2SeqOptions& Seq2Seq<Scalar>::checked(const Seq2SeqOptions& o) {
  const char* who = "Seq2Seq";
  detail::check_size(who, "source_vocab_size", o.source_vocab_size);
  detail::check_size(who, "target_vocab_size", o.target_vocab_size);
  detail::check_size(who, "encoder.block.embed_dim", o.encoder.block.embed_dim);
  if (o.decoder.block.embed_dim != o.encoder.block.embed_dim)
    throw_error("Seq2Seq: decoder.block.embed_dim is ", o.decoder.block.embed_dim, ", expected ",
                o.encoder.block.embed_dim, " as of the encoder");
  if (o.shared_embeddings && o.source_vocab_size != o.target_vocab_size)
    throw_error("Seq2Seq: shared embeddings of ", o.source_vocab_size, " and ", o.target_vocab_size,
                " tokens");
  detail::check_count(who, "max_position_embeddings", o.max_position_embeddings);
  if (o.positions == PositionKind::learned)
    detail::check_size(who, "max_position_embeddings", o.max_position_embeddings);
  detail::check_count(who, "position_offset", o.position_offset);
  detail::check_number(who, "embedding_scale", o.embedding_scale, -1e38);
  detail::check_number(who, "output_scale", o.output_scale, -1e38);
  return o;
}
template <class Scalar>
void Seq2Seq<Scalar>::embed(Context& context, const Side& side, const Embedding<Scalar>& words,
                            TensorView<const std::int32_t, 2> ids, Index start,
                            TensorView<Scalar, 3> out) const {
  const Index T = ids.size(1);
  if (options_.max_position_embeddings > 0 && start + T > options_.max_position_embeddings)
    throw_error("Seq2Seq: ", start + T, " tokens, the model takes ", options_.max_position_embeddings);
  Frame frame(context.workspace());
  TensorView<Scalar, 2> sinusoids;  // of these tokens alone, and a row of zeros
  if (options_.positions == PositionKind::sinusoidal) {
    SinusoidalOptions sinusoidal = options_.sinusoidal;
    sinusoidal.first = detail::saturating_add(sinusoidal.first, start);
    sinusoids = frame.tensor<Scalar>(Shape<2>{T + 1, out.size(2)});
    context.parallel(1, 1, [&](Index, int) {
      sinusoidal_positions<Scalar>(sinusoidal, sinusoids.slice(0, 0, T));
      std::fill_n(&sinusoids(T, 0), sinusoids.size(1), Scalar(0));
    });
  }
  const bool learned = options_.positions == PositionKind::learned;
  const auto row = [&](Index b, Index t) {  // of the table
    if (learned) return start + options_.position_offset + t;
    if (!options_.unplaced_id) return t;
    if (ids(b, t) == *options_.unplaced_id) return T;
    Index placed = 0;
    for (Index i = 0; i < t; ++i) placed += ids(b, i) == *options_.unplaced_id ? 0 : 1;
    return placed;
  };
  detail::embed_tokens<Scalar>(
      context,
      {words,
       output_,
       options_.embedding_scale,
       {},
       learned ? side.positions.weight() : TensorView<const Scalar, 2>(sinusoids)},
      ids, [](Index, Index) { return Index{0}; }, row, out);
  if (options_.embedding_norm) side.norm.forward(context, out, out);
}

ATTEND_COMPILED_MODEL(class Seq2Seq<float>);

}  // namespace attend::inline ATTEND_ABI
