// Bodies of causal_lm.hpp, of any scalar.
#pragma once

#include <attend/gguf/folder.hpp>
#include <attend/model/causal_lm.hpp>

namespace attend::inline ATTEND_ABI {

template <class Scalar>
Index CausalCache<Scalar>::length(Index b) const {
  if (b < 0 || b >= batch()) throw_error("CausalCache: sequence ", b, " of ", batch());
  return layers_[0].length(b);
}
template <class Scalar>
CausalCache<Scalar> CausalCache<Scalar>::sibling(AnyIndex batch) {
  CausalCache other;
  for (KVCache<Scalar>& layer : layers_) other.layers_.push_back(layer.sibling(batch));
  return other;
}
template <class Scalar>
void CausalCache<Scalar>::fork(const CausalCache& other, Index b) {
  if (layers_.size() != other.layers_.size())
    throw_error("CausalCache: fork of a cache of ", other.layers_.size(), " layers, expected ",
                layers_.size());
  static_cast<void>(other.length(b));  // there is such a sequence
  detail::CacheGroup<Scalar>::fork(layers_, other.layers_, b);
}
template <class Scalar>
void CausalCache<Scalar>::reorder(std::span<const Index> parents) {
  for (Index parent : parents) static_cast<void>(length(parent));
  detail::CacheGroup<Scalar>::reorder({layers_}, parents);
}
template <class Scalar>
Index CausalCache<Scalar>::rewind(Index b, Index length) {
  static_cast<void>(this->length(b));
  for (const KVCache<Scalar>& layer : layers_)
    if (!layer.can_truncate(b, length)) length = 0;
  for (KVCache<Scalar>& layer : layers_) layer.truncate(b, length);
  return length;
}

template <class Scalar>
CausalLM<Scalar>::CausalLM(const CausalLMOptions& o)
    : options_(checked(o)), lm_head_({state_dim(), o.vocab_size, false, o.weights, o.activations}) {
  const CausalBlockOptions& block = o.blocks[0];
  if (!o.tie_word_embeddings) embed_tokens_ = Embedding<Scalar>({o.vocab_size, state_dim(), o.weights});
  if (o.learned_positions)
    embed_positions_ = Embedding<Scalar>(
        {detail::saturating_add(o.max_position_embeddings, o.position_offset), o.embed_dim});
  if (projects()) {
    project_in_ = Linear<Scalar>({state_dim(), o.embed_dim, false, o.weights, o.activations});
    project_out_ = Linear<Scalar>({o.embed_dim, state_dim(), false, o.weights, o.activations});
  }
  layers_ = Stack<Scalar>({o.embed_dim, {o.blocks.begin(), o.blocks.end()}}, "CausalLM", "CausalBlock");
  const NormOptions norm{o.embed_dim, block.norm_eps, block.norm, block.norm_weight};
  if (o.final_norm) norm_ = Norm<Scalar>(norm);
  if (o.embed_norm) embed_norm_ = Norm<Scalar>(norm);
  set_rotary();
}

template <class Scalar>
const CausalLMOptions& CausalLM<Scalar>::checked(const CausalLMOptions& o) {
  const char* who = "CausalLM";
  detail::check_size(who, "vocab_size", o.vocab_size);
  detail::check_size(who, "embed_dim", o.embed_dim);
  detail::check_count(who, "max_position_embeddings", o.max_position_embeddings);
  if (o.learned_positions) detail::check_size(who, "max_position_embeddings", o.max_position_embeddings);
  detail::check_count(who, "position_offset", o.position_offset);
  detail::check_count(who, "embed_width", o.embed_width);
  if (o.local_rotary && !o.rotary) throw_error("CausalLM: local_rotary, but no rotary");
  detail::check_number(who, "embed_scale", o.embed_scale, -1e38);
  detail::check_number(who, "logit_scale", o.logit_scale, -1e38);
  detail::check_number(who, "logit_softcap", o.logit_softcap, 0);
  if (o.blocks.empty()) throw_error("CausalLM: no layers");
  for (const CausalBlockOptions& block : o.blocks)
    if (block.embed_dim != o.embed_dim)
      throw_error("CausalLM: a block of embed_dim ", block.embed_dim, ", expected ", o.embed_dim);
  return o;
}

template <class Scalar>
void CausalLM<Scalar>::set_rotary() {
  const auto make = [&](const std::optional<RotaryOptions>& options) {
    if (!options) return std::shared_ptr<const Rotary<Scalar>>();
    const auto rotary = std::make_shared<const Rotary<Scalar>>(*options);
    if (rotary->depends_on_length())
      stable_length_ = (std::min)(stable_length_, rotary->options().original_max_position_embeddings);
    return rotary;
  };
  const auto rotary = make(options_.rotary);
  const auto local = options_.local_rotary ? make(options_.local_rotary) : rotary;
  for (std::size_t i = 0; i < options_.blocks.size(); ++i) {
    const CausalBlockOptions& block = options_.blocks[i];
    if (block.rotary) layers_.layers()[i].set_rotary(block.sliding_window > 0 ? local : rotary);
    if (!block.is_causal) stable_length_ = 0;
  }
}

template <class Scalar>
CausalLM<Scalar> CausalLM<Scalar>::open(const Location& place, const OpenOptions& open) {
  const Location folder = detail::model_folder(place);
  CausalFamily family = detail::open_causal_family(folder);
  if (open.base_only) {
    family.options.tie_word_embeddings = true;
    family.leftovers.insert(family.leftovers.end(), {"lm_head.weight", "embed_out.weight"});
  }
  const CausalLMOptions& o = family.options;
  const CausalBlockOptions& b = o.blocks[0];
  const Index layers = static_cast<Index>(o.blocks.size()), E = o.embed_dim;
  const Index width = o.embed_width > 0 ? o.embed_width : E;
  return detail::load_model<CausalLM>(folder, family,
                                      {{o.vocab_size, width},
                                       {E, width},
                                       {b.dim_feedforward, E},
                                       {b.head_dim, E},
                                       {b.num_heads, b.head_dim},
                                       {b.num_kv_heads, b.head_dim},
                                       {b.num_heads * b.head_dim, E},
                                       {layers, b.dim_feedforward},
                                       {layers * b.dim_feedforward, E},
                                       {o.learned_positions ? o.max_position_embeddings : 0, E}},
                                      open);
}

template <class Scalar>
void CausalLM<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  if (options_.tie_word_embeddings)
    lm_head_.parameters(prefixed("embed_tokens", visit));
  else
    embed_tokens_.parameters(prefixed("embed_tokens", visit));
  if (options_.learned_positions) embed_positions_.parameters(prefixed("embed_positions", visit));
  if (options_.embed_norm) embed_norm_.parameters(prefixed("embed_norm", visit));
  if (projects()) project_in_.parameters(prefixed("project_in", visit));
  layers_.parameters(visit);
  if (options_.final_norm) norm_.parameters(prefixed("norm", visit));
  if (projects()) project_out_.parameters(prefixed("project_out", visit));
  if (!options_.tie_word_embeddings) lm_head_.parameters(prefixed("lm_head", visit));
}

template <class Scalar>
bool CausalLM<Scalar>::assigned() const {
  return (options_.tie_word_embeddings || embed_tokens_.assigned()) &&
         (!options_.learned_positions || embed_positions_.assigned()) && layers_.assigned() &&
         (!projects() || (project_in_.assigned() && project_out_.assigned())) && lm_head_.assigned();
}

template <class Scalar>
void CausalLM<Scalar>::check_tokens(const Context& context, TensorView<const std::int32_t, 2> ids,
                                    Index longest) const {
  if (context.measuring()) return;
  ids.for_each([&](std::int32_t id) {
    if (id < 0 || id >= options_.vocab_size)
      throw_error("CausalLM: id ", id, " is not in [0, ", options_.vocab_size, ")");
  });
  if (max_length() > 0 && longest > max_length())
    throw_error("CausalLM: ", longest, " tokens are more than the context of ", max_length());
}

template <class Scalar>
void CausalLM<Scalar>::forward(Context& context, TensorView<const std::int32_t, 2> ids,
                               CausalCache<Scalar>& cache, TensorView<Scalar, 3> logits,
                               std::span<const BlockOutputs<Scalar>> outputs) const {
  detail::check_assigned(context, "CausalLM", *this);
  const Index B = ids.size(0), T = ids.size(1), E = options_.embed_dim;
  const bool last_only = logits.size(1) == 1;
  detail::check_shape("CausalLM (logits)", Shape<3>{B, last_only ? 1 : T, options_.vocab_size},
                      logits.shape());
  if (cache.layers().size() != layers_.layers().size() || cache.batch() != B)
    throw_error("CausalLM: a cache of ", cache.layers().size(), " layers and ", cache.batch(),
                " sequences, expected ", layers_.layers().size(), " and ", B);
  if (T == 0) detail::fail_shape("CausalLM (ids)", "[..., 1 or more]", ids.shape());
  if (logits.size(2) > 1 && logits.stride(2) != 1)
    throw_error("CausalLM (logits): the last axis must be contiguous");
  detail::check_apart(context, "CausalLM", {"logits", logits}, {{"ids", ids}});
  if (logits.empty()) return;
  const Index longest = cache.layers()[0].max_length() + T;
  check_tokens(context, ids, longest);
  const Index piece = outputs.empty() && longest <= stable_length_ ? 384 : T;
  detail::Appending<Scalar> appending("CausalLM", cache.layers(), context.measuring(), T > piece);
  for (Index begin = 0; begin < T; begin += piece) {
    const Index end = (std::min)(T, begin + piece), n = end - begin;
    Frame frame(context.workspace());
    const TensorView<Scalar, 3> x = frame.tensor<Scalar>({B, n, E});
    embed(
        context, ids.slice(1, begin, end), [&](Index b, Index t) { return cache.length(b) + t; }, x);
    layers_.forward(context, x, {.caches = cache.layers()}, x, outputs);
    if (!last_only)
      for (Index b = 0; b < B; ++b) head(context, x[b], logits[b].slice(0, begin, end));
    else if (end == T)
      head(context, {x.data() + (n - 1) * E, {B, E}, {n * E, 1}}, logits.rows());
    appending.count(n);
  }
  appending.keep();
}

template <class Scalar>
Tensor<Scalar, 3> CausalLM<Scalar>::logits(Context& context, TensorView<const std::int32_t, 2> ids) const {
  detail::check_assigned(context, "CausalLM", *this);
  Tensor<Scalar, 3> out({ids.size(0), ids.size(1), options_.vocab_size});
  CausalCache<Scalar> cache = make_cache(ids.size(0));
  if (!out.empty()) forward(context, ids, cache, out.view());
  return out;
}

template <class Scalar>
Tensor<Scalar, 2> CausalLM<Scalar>::sequence_logits(Context& context,
                                                    std::span<const std::int32_t> ids) const {
  detail::check_assigned(context, "CausalLM", *this);
  const Index T = static_cast<Index>(ids.size());
  CausalCache<Scalar> cache = make_cache(1);
  Tensor<Scalar, 2> out({T, options_.vocab_size});
  if (T > 0) forward(context, {ids.data(), {1, T}}, cache, out.view().reshape(1, T, options_.vocab_size));
  return out;
}

template <class Scalar>
void CausalLM<Scalar>::states(Context& context, std::span<const std::int32_t> ids,
                              std::span<const Index> offsets, TensorView<Scalar, 2> out) const {
  const Index tokens = static_cast<Index>(ids.size());
  const TensorView<const std::int32_t, 2> row(ids.data(), {1, tokens});
  detail::check_assigned(context, "CausalLM", *this);
  Rows<Scalar>(out).check_output("CausalLM (states)", Shape<1>{tokens}, state_dim());
  check_tokens(context, row, detail::longest_sequence("CausalLM (offsets)", offsets, tokens));
  if (out.empty()) return;
  Frame frame(context.workspace());
  const TensorView<Scalar, 3> x = frame.tensor<Scalar>({1, tokens, options_.embed_dim});
  const auto position = [&](Index, Index t) {
    return t - *(std::upper_bound(offsets.begin(), offsets.end(), t) - 1);
  };
  embed(context, row, position, x);
  layers_.forward(context, x, {.self = {.query_offsets = offsets, .key_offsets = offsets}}, x);
  last_states(context, x[0], out);
}

template <class Scalar>
void CausalLM<Scalar>::embed(Context& context, TensorView<const std::int32_t, 2> ids, Position position,
                             TensorView<Scalar, 3> x) const {
  const Index B = ids.size(0), T = ids.size(1);
  const auto row = [&](Index b, Index t) { return position(b, t) + options_.position_offset; };
  const TensorView<const Scalar, 2> positions = embed_positions_.weight();
  detail::TokenTables<Scalar> tables{embed_tokens_, lm_head_, options_.embed_scale, {}, positions};
  const auto no_type = [](Index, Index) { return Index{0}; };
  if (!projects()) {
    detail::embed_tokens<Scalar>(context, tables, ids, no_type, row, x);
  } else {  // positions are of the layers' width
    Frame frame(context.workspace());
    const TensorView<Scalar, 3> words = frame.tensor<Scalar>({B, T, state_dim()});
    tables.positions = {};
    detail::embed_tokens<Scalar>(context, tables, ids, no_type, row, words);
    project_in_.forward(context, words, x);
    context.parallel(positions.empty() ? 0 : B * T, 1, [&](Index item, int) {
      const Scalar* more = &positions(row(item / T, item % T), 0);
      Scalar* to = &x(item / T, item % T, 0);
      for (Index e = 0; e < x.size(2); ++e) to[e] = to[e] + more[e];
    });
  }
  if (options_.embed_norm) embed_norm_.forward(context, x, x);
}

template <class Scalar>
void CausalLM<Scalar>::last_states(Context& context, TensorView<const Scalar, 2> states,
                                   TensorView<Scalar, 2> out) const {
  Frame frame(context.workspace());
  TensorView<const Scalar, 2> normed = states;
  if (options_.final_norm) {
    const TensorView<Scalar, 2> to = projects() ? frame.tensor<Scalar>(states.shape()) : out;
    norm_.forward(context, states, to);
    normed = to;
  }
  if (projects())
    project_out_.forward(context, normed, out);
  else if (!options_.final_norm)
    context.parallel(1, 1, [&](Index, int) { copy(states, out); });
}

template <class Scalar>
void CausalLM<Scalar>::head(Context& context, TensorView<const Scalar, 2> states,
                            TensorView<Scalar, 2> logits) const {
  Frame frame(context.workspace());
  const TensorView<Scalar, 2> last = frame.tensor<Scalar>({states.size(0), state_dim()});
  last_states(context, states, last);
  lm_head_.forward(context, last, logits);
  const bool capped = options_.logit_softcap > 0;
  if (!capped && options_.logit_scale == 1) return;
  const detail::FloatEnvironment environment;
  const Scalar cap = static_cast<Scalar>(options_.logit_softcap),
               scale = static_cast<Scalar>(options_.logit_scale / (capped ? options_.logit_softcap : 1));
  context.parallel(logits.size(0),
                   context.workers(logits.size(0), 20.0 * static_cast<double>(logits.numel())),
                   [&](Index r, int) {
                     Scalar* row = &logits(r, 0);
                     const Index V = logits.size(1);
                     for (Index v = 0; v < V; ++v) row[v] = row[v] * scale;
                     if (!capped) return;
                     detail::Backend<Scalar>::activate(Activation::tanh, row, row, V);
                     for (Index v = 0; v < V; ++v) row[v] = row[v] * cap;
                   });
}

ATTEND_COMPILED_MODEL(class CausalCache<float>);
ATTEND_COMPILED_MODEL(class CausalLM<float>);

}  // namespace attend::inline ATTEND_ABI
