// ModernBertModel's members, which units of a program with compiled models instantiate for their own scalars
// alone.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include <attend/model/modernbert.hpp>
#include <attend/model/sequence_groups.hpp>
#include <attend/model/token_embedding.hpp>

namespace attend::inline ATTEND_ABI {

template <class Scalar>
ModernBertOptions ModernBertModel<Scalar>::checked(ModernBertOptions o) {
  const char* who = "ModernBertModel";
  detail::check_size(who, "vocab_size", o.vocab_size);
  detail::check_size(who, "hidden_size", o.hidden_size);
  detail::check_size(who, "num_attention_heads", o.num_attention_heads);
  detail::check_size(who, "intermediate_size", o.intermediate_size);
  detail::check_count(who, "local_attention", o.local_attention);
  if (o.head != BertHead::none) detail::check_size(who, "num_labels", o.num_labels);
  for (RotaryOptions* rotary : {&o.global_rotary, &o.local_rotary})  // without a head_dim: that of the heads
    if (rotary->head_dim == 0) rotary->head_dim = (std::max)(Index{1}, o.hidden_size / o.num_attention_heads);
  return o;
}

template <class Scalar>
ModernBertModel<Scalar>::ModernBertModel(const ModernBertOptions& options) : options_(checked(options)) {
  const ModernBertOptions& o = options_;
  const NormOptions norm{o.hidden_size, o.norm_eps, NormKind::layer, true, o.norm_bias};
  if (!tied()) embeddings_ = Embedding<Scalar>({o.vocab_size, o.hidden_size, o.weights});
  embedding_norm_ = Norm<Scalar>(norm);
  BlockOptions block{.self_attn = {.embed_dim = o.hidden_size,
                                   .num_heads = o.num_attention_heads,
                                   .bias = o.attention_bias,
                                   .weights = o.weights,
                                   .activations = o.activations},
                     .feed_forward = {o.hidden_size, o.intermediate_size, o.hidden_activation, true,
                                      o.mlp_bias, o.weights, o.activations},
                     .norm = norm,
                     .residual = Residual::pre,
                     .first_norm = false};  // the embeddings were normalised
  StackOptions stack{o.hidden_size, {}, norm};
  for (bool is_local : o.local) {
    block.self_attn.attention.window = is_local ? o.local_attention / 2 + 1 : 0;
    stack.blocks.push_back(block);
    block.first_norm = true;
  }
  layers_ = Stack<Scalar>(stack, "ModernBertModel");
  const auto global = std::make_shared<const Rotary<Scalar>>(o.global_rotary),
             local = std::make_shared<const Rotary<Scalar>>(o.local_rotary);
  for (std::size_t i = 0; i < o.local.size(); ++i)
    layers_.layers()[i].set_rotary(o.local[i] ? local : global);
  if (o.head == BertHead::none) return;
  const bool words = o.head == BertHead::masked_lm;
  dense_ = Linear<Scalar>({o.hidden_size, o.hidden_size, o.head_bias});
  head_norm_ = Norm<Scalar>(norm);
  if (words)
    output_ = Linear<Scalar>({o.hidden_size, o.vocab_size, o.decoder_bias, o.weights, o.activations});
  else
    output_ = Linear<Scalar>({o.hidden_size, o.num_labels});
}

template <class Scalar>
ModernBertModel<Scalar> ModernBertModel<Scalar>::open(const Location& folder, const OpenOptions& open) {
  const Config config(folder / "config.json");
  ModelFamily<ModernBertOptions> family{read_modernbert_options(config),
                                        {{"layers.*.self_attn.in_proj_*", "(model.|)layers.*.attn.Wqkv.*"},
                                         {"layers.*.self_attn.out_proj.*", "(model.|)layers.*.attn.Wo.*"},
                                         {"layers.*.linear1.*", "(model.|)layers.*.mlp.Wi.*"},
                                         {"layers.*.linear2.*", "(model.|)layers.*.mlp.Wo.*"},
                                         {"layers.*.norm1.*", "(model.|)layers.*.attn_norm.*"},
                                         {"layers.*.norm2.*", "(model.|)layers.*.mlp_norm.*"},
                                         {"embeddings.*.*", "(model.|)embeddings.*.*"},
                                         {"norm.*", "(model.|)final_norm.*"},
                                         {"head.*.*", "head.*.*"},
                                         {"classifier.*", "classifier.*"},
                                         {"decoder.*", "decoder.*"}},
                                        {"head.*.*", "decoder.*", "classifier.*"}};
  config.finish();
  ModernBertOptions& o = family.options;
  if (open.base_only) o.head = BertHead::none;
  if (o.head == BertHead::masked_lm && o.tied_output &&
      detail::stored_apart(SafeTensors::open_folder(folder), family.names, "embeddings.tok_embeddings.weight",
                           "decoder.weight"))
    o.tied_output = false;
  const Index layers = static_cast<Index>(o.local.size()), E = o.hidden_size;
  const bool classes = o.head != BertHead::none && o.head != BertHead::masked_lm;
  return detail::load_model<ModernBertModel>(folder, family,
                                             {{o.vocab_size, E},
                                              {layers * E, E},
                                              {layers, o.intermediate_size},
                                              {layers * o.intermediate_size, E},
                                              {classes ? o.num_labels : 0, E}},
                                             open);
}

template <class Scalar>
void ModernBertModel<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  if (!tied()) embeddings_.parameters(prefixed("embeddings.tok_embeddings", visit));
  embedding_norm_.parameters(prefixed("embeddings.norm", visit));
  layers_.parameters(visit);
  if (options_.head == BertHead::none) return;
  dense_.parameters(prefixed("head.dense", visit));
  head_norm_.parameters(prefixed("head.norm", visit));
  const std::string output = options_.head == BertHead::masked_lm ? "decoder." : "classifier.";
  output_.parameters([&](const std::string& name, Parameter<Scalar> parameter) {
    visit(tied() && name == "weight" ? "embeddings.tok_embeddings.weight" : output + name,
          std::move(parameter));
  });
}

template <class Scalar>
bool ModernBertModel<Scalar>::assigned() const {
  return (tied() || embeddings_.assigned()) && layers_.assigned() &&
         (options_.head == BertHead::none || (dense_.assigned() && output_.assigned()));
}

template <class Scalar>
void ModernBertModel<Scalar>::forward(Context& context, std::span<const std::int32_t> ids,
                                      std::span<const Index> offsets, TensorView<Scalar, 2> out,
                                      std::span<const BlockOutputs<Scalar>> outputs) const {
  const Index tokens = static_cast<Index>(ids.size()), E = options_.hidden_size;
  detail::check_assigned(context, "ModernBertModel", *this);
  Rows<Scalar>(out).check_output("ModernBertModel", Shape<1>{tokens}, E);
  detail::longest_sequence("ModernBertModel (offsets)", offsets, tokens);
  const TensorView<Scalar, 3> x(out.data(), {1, tokens, E}, {0, out.stride(0), 1});
  const auto none = [](Index, Index) -> Index { return 0; };
  detail::embed_tokens<Scalar>(context, {embeddings_, output_}, {ids.data(), {1, tokens}}, none, none, x);
  if (out.empty()) return;
  embedding_norm_.forward(context, x, x);
  detail::forward_in_groups<Scalar>(context, layers_, {}, offsets, x, outputs);
}

template <class Scalar>
Tensor<Scalar, 2> ModernBertModel<Scalar>::operator()(std::span<const std::int32_t> ids,
                                                      std::span<const Index> offsets) const {
  const Index whole[] = {0, static_cast<Index>(ids.size())};
  Tensor<Scalar, 2> out({whole[1], options_.hidden_size});
  forward(default_context(), ids, offsets.empty() ? whole : offsets, out);
  return out;
}

template <class Scalar>
Tensor<Scalar, 2> ModernBertModel<Scalar>::logits(Context& context, std::span<const std::int32_t> ids,
                                                  std::span<const Index> offsets) const {
  if (options_.head == BertHead::none) throw_error("ModernBertModel: a base model has no logits");
  const Index E = options_.hidden_size;
  Tensor<Scalar, 2> x({static_cast<Index>(ids.size()), E});
  forward(context, ids, offsets, x);
  if (options_.head == BertHead::sequence_classification) {
    const Index texts = static_cast<Index>(offsets.size()) - 1;
    context.parallel(texts, 1, [&](Index b, int) {  // one after the other
      const Index begin = offsets[static_cast<std::size_t>(b)],
                  end = offsets[static_cast<std::size_t>(b) + 1];
      if (begin == end) throw_error("ModernBertModel: text ", b, " has no tokens");
      if (begin != b) copy(const_view(x)[begin], x.view()[b]);  // row b is none that a later text needs
      if (!options_.mean_pooling) return;
      for (Index t = begin + 1; t < end; ++t)
        for (Index e = 0; e < E; ++e) x(b, e) = x(b, e) + x(t, e);
      for (Index e = 0; e < E; ++e) x(b, e) = x(b, e) / static_cast<Scalar>(end - begin);
    });
    x = Tensor<Scalar, 2>(const_view(x).slice(0, 0, texts));
  }
  Tensor<Scalar, 2> y(x.shape());
  dense_.forward(context, x, y, {options_.head_act, {}});
  head_norm_.forward(context, y, y);
  Tensor<Scalar, 2> out({y.size(0), output_.options().out_features});
  output_.forward(context, y, out);
  return out;
}

template <class Scalar>
Tensor<Scalar, 2> ModernBertModel<Scalar>::logits(std::span<const std::int32_t> ids,
                                                  std::span<const Index> offsets) const {
  const Index whole[] = {0, static_cast<Index>(ids.size())};
  return logits(default_context(), ids, offsets.empty() ? whole : offsets);
}

ATTEND_COMPILED_MODEL(class ModernBertModel<float>);

}  // namespace attend::inline ATTEND_ABI
