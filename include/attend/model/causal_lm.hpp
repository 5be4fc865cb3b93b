// CausalLM: decoder-only language models (GPT-2, Llama, Mistral, Qwen, Gemma 2, GPT-NeoX, BLOOM), see
// causal_families.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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
  explicit CausalCache(std::vector<KVCache<Scalar>> layers) : layers_(std::move(layers)) {}

  Index batch() const { return layers_.empty() ? 0 : layers_[0].batch(); }
  /// Tokens of sequence b.
  Index length(Index b) const {
    if (b < 0 || b >= batch()) throw_error("CausalCache: sequence ", b, " of ", batch());
    return layers_[0].length(b);
  }
  std::vector<KVCache<Scalar>>& layers() { return layers_; }
  const std::vector<KVCache<Scalar>>& layers() const { return layers_; }

  /// Adds sequence b of another cache of the same model, sharing its memory.
  void fork(const CausalCache& other, Index b) {
    if (layers_.size() != other.layers_.size())
      throw_error("CausalCache: fork of a cache of ", other.layers_.size(), " layers, expected ",
                  layers_.size());
    static_cast<void>(other.length(b));  // there is such a sequence
    detail::CacheGroup<Scalar>::fork(layers_, other.layers_, b);
  }
  /// Sequence i becomes what parents[i] was; their number may change.
  void reorder(std::span<const Index> parents) {
    for (Index parent : parents) static_cast<void>(length(parent));
    detail::CacheGroup<Scalar>::reorder({layers_}, parents);
  }
  /// Forgets all but the first `length` tokens of sequence b, or all of them where a sliding window has let
  /// go of what the next token would have to see. Returns how many are left.
  Index rewind(Index b, Index length) {
    static_cast<void>(this->length(b));
    for (const KVCache<Scalar>& layer : layers_)
      if (!layer.can_truncate(b, length)) length = 0;
    for (KVCache<Scalar>& layer : layers_) layer.truncate(b, length);
    return length;
  }

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
  explicit CausalLM(const CausalLMOptions& o)
      : options_(checked(o)),
        lm_head_({.in_features = state_dim(), .out_features = o.vocab_size, .bias = false}) {
    const CausalBlockOptions& block = o.blocks[0];
    if (!o.tie_word_embeddings) embed_tokens_ = Embedding<Scalar>({o.vocab_size, state_dim()});
    if (o.learned_positions)
      embed_positions_ = Embedding<Scalar>(
          {detail::saturating_add(o.max_position_embeddings, o.position_offset), o.embed_dim});
    if (projects()) {
      project_in_ = Linear<Scalar>({.in_features = state_dim(), .out_features = o.embed_dim, .bias = false});
      project_out_ = Linear<Scalar>({.in_features = o.embed_dim, .out_features = state_dim(), .bias = false});
    }
    layers_ = Stack<Scalar>({o.embed_dim, {o.blocks.begin(), o.blocks.end()}}, "CausalLM", "CausalBlock");
    const NormOptions norm{o.embed_dim, block.norm_eps, block.norm, block.norm_weight};
    if (o.final_norm) norm_ = Norm<Scalar>(norm);
    if (o.embed_norm) embed_norm_ = Norm<Scalar>(norm);
    set_rotary();
  }

  /// From a Hugging Face folder: config.json, model.safetensors (or its shards), generation_config.json if
  /// there is one. With `base_only` the weights need no head: it is then that of tied embeddings.
  static CausalLM open(const std::filesystem::path& folder, bool base_only = false) {
    CausalFamily family = detail::open_causal_family(folder);
    if (base_only) {
      family.options.tie_word_embeddings = true;
      family.leftovers.insert(family.leftovers.end(), {"lm_head.weight", "embed_out.weight"});
    }
    const CausalLMOptions& o = family.options;
    const CausalBlockOptions& b = o.blocks[0];
    const Index layers = static_cast<Index>(o.blocks.size()), E = o.embed_dim;
    return detail::load_model<CausalLM>(folder, family,
                                        {{o.vocab_size, E},
                                         {b.dim_feedforward, E},
                                         {b.head_dim, E},
                                         {b.num_heads, b.head_dim},
                                         {b.num_kv_heads, b.head_dim},
                                         {b.num_heads * b.head_dim, E},
                                         {layers, b.dim_feedforward},
                                         {layers * b.dim_feedforward, E},
                                         {o.learned_positions ? o.max_position_embeddings : 0, E}});
  }

  const CausalLMOptions& options() const { return options_; }
  /// Tokens that a sequence can have; 0: any number.
  Index max_length() const { return options_.max_position_embeddings; }
  /// Values of a state: embed_dim, or the embeddings' width.
  Index state_dim() const { return options_.embed_width > 0 ? options_.embed_width : options_.embed_dim; }
  /// What is computed of a token depends on those before it alone, in sequences of up to so many tokens. It
  /// is less than any number where rotary frequencies change with the length, and 0 where tokens see those
  /// that follow.
  Index stable_length() const { return stable_length_; }

  void parameters(ParameterVisitor<Scalar> visit) {
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
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const {
    return (options_.tie_word_embeddings || embed_tokens_.assigned()) &&
           (!options_.learned_positions || embed_positions_.assigned()) && layers_.assigned() &&
           (!projects() || (project_in_.assigned() && project_out_.assigned())) && lm_head_.assigned();
  }

  CausalCache<Scalar> make_cache(AnyIndex batch = 1) const {
    return CausalCache<Scalar>(layers_.make_caches(batch));
  }

  /// Continues every sequence of the cache by T tokens. ids [B, T] -> logits [B, T, V] of the token that
  /// follows each, or [B, 1, V] of the one that follows the last. Long inputs run in pieces, to the same
  /// bits, which bounds the workspace. Errors: an id out of the vocabulary, more tokens than max_length():
  /// all before anything is computed. A call that fails later keeps the pieces that were done:
  /// cache.length(b) says how many tokens are there, and all layers have as many. `outputs` has one of each
  /// layer, or none; where there are any, all tokens run as one piece.
  void forward(Context& context, TensorView<const std::int32_t, 2> ids, CausalCache<Scalar>& cache,
               TensorView<Scalar, 3> logits, std::span<const BlockOutputs<Scalar>> outputs = {}) const {
    const Index B = ids.size(0), T = ids.size(1), E = options_.embed_dim;
    const bool last_only = logits.size(1) == 1;
    detail::check_shape("CausalLM (logits)", Shape<3>{B, last_only ? 1 : T, options_.vocab_size},
                        logits.shape());
    continue_by(context, ids, cache, {"logits", logits}, outputs,
                [&](TensorView<Scalar, 3> x, Index begin, Index end) {
                  const Index n = end - begin;
                  if (!last_only)
                    for (Index b = 0; b < B; ++b) head(context, x[b], logits[b].slice(0, begin, end));
                  else if (end == T)
                    head(context, {x.data() + (n - 1) * E, {B, E}, {n * E, 1}}, logits.rows());
                });
  }

  /// The same, up to the states that the head takes: the last layer's, behind the norm. out [B, T,
  /// state_dim()].
  void states(Context& context, TensorView<const std::int32_t, 2> ids, CausalCache<Scalar>& cache,
              TensorView<Scalar, 3> out) const {
    detail::check_shape("CausalLM (states)", Shape<3>{ids.size(0), ids.size(1), state_dim()}, out.shape());
    continue_by(context, ids, cache, {"states", out}, {},
                [&](TensorView<Scalar, 3> x, Index begin, Index end) {
                  for (Index b = 0; b < x.size(0); ++b)
                    last_states(context, x[b], out[b].slice(0, begin, end));
                });
  }

  /// Logits of the token that follows each, of sequences without a past. ids [B, T] -> [B, T, V].
  Tensor<Scalar, 3> logits(Context& context, TensorView<const std::int32_t, 2> ids) const {
    Tensor<Scalar, 3> out({ids.size(0), ids.size(1), options_.vocab_size});
    CausalCache<Scalar> cache = make_cache(ids.size(0));
    if (!out.empty()) forward(context, ids, cache, out.view());
    return out;
  }

 private:
  static const CausalLMOptions& checked(const CausalLMOptions& o) {
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
  bool projects() const { return state_dim() != options_.embed_dim; }
  void set_rotary() {
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
  /// forward() without its head: `use` gets the states of tokens [begin, end) of all sequences.
  template <class Use>
  void continue_by(Context& context, TensorView<const std::int32_t, 2> ids, CausalCache<Scalar>& cache,
                   const std::pair<const char*, TensorView<Scalar, 3>>& result,
                   std::span<const BlockOutputs<Scalar>> outputs, const Use& use) const {
    const auto& [name, to] = result;
    const Index B = ids.size(0), T = ids.size(1), E = options_.embed_dim;
    detail::Appending<Scalar> appending("CausalLM", cache.layers(), context.measuring());
    if (cache.layers().size() != layers_.layers().size() || cache.batch() != B)
      throw_error("CausalLM: a cache of ", cache.layers().size(), " layers and ", cache.batch(),
                  " sequences, expected ", layers_.layers().size(), " and ", B);
    if (T == 0) detail::fail_shape("CausalLM (ids)", "[..., 1 or more]", ids.shape());
    detail::check_assigned(context, "CausalLM", *this);
    if (to.size(2) > 1 && to.stride(2) != 1)
      throw_error("CausalLM (", name, "): the last axis must be contiguous");
    detail::check_apart(context, "CausalLM", {name, to}, {{"ids", ids}});
    if (to.empty()) return;
    check_tokens(context, ids, cache);
    const bool stable = cache.layers()[0].max_length() + T <= stable_length_;
    const Index piece = outputs.empty() && stable ? 384 : T;
    for (Index begin = 0; begin < T; begin += piece) {
      const Index end = (std::min)(T, begin + piece);
      Frame frame(context.workspace());
      const TensorView<Scalar, 3> x = frame.tensor<Scalar>({B, end - begin, E});
      embed(context, ids.slice(1, begin, end), cache, x);
      layers_.forward(context, x, {.caches = cache.layers()}, x, outputs);
      use(x, begin, end);
      appending.count(end - begin);
      appending.keep();
    }
  }
  void check_tokens(const Context& context, TensorView<const std::int32_t, 2> ids,
                    const CausalCache<Scalar>& cache) const {
    if (context.measuring()) return;
    ids.for_each([&](std::int32_t id) {
      if (id < 0 || id >= options_.vocab_size)
        throw_error("CausalLM: id ", id, " is not in [0, ", options_.vocab_size, ")");
    });
    const Index longest = cache.layers()[0].max_length() + ids.size(1);
    if (max_length() > 0 && longest > max_length())
      throw_error("CausalLM: ", longest, " tokens are more than the context of ", max_length());
  }

  /// ids [B, n] -> x [B, n, E].
  void embed(Context& context, TensorView<const std::int32_t, 2> ids, const CausalCache<Scalar>& cache,
             TensorView<Scalar, 3> x) const {
    Frame frame(context.workspace());
    const Index B = ids.size(0), T = ids.size(1);
    const TensorView<Scalar, 3> words = projects() ? frame.tensor<Scalar>({B, T, state_dim()}) : x;
    const TensorView<const Scalar, 2> positions = embed_positions_.weight();
    const auto position = [&](Index b, Index t) { return cache.length(b) + t + options_.position_offset; };
    detail::embed_tokens<Scalar>(
        context,
        {embed_tokens_,
         lm_head_,
         options_.embed_scale,
         {},
         projects() ? TensorView<const Scalar, 2>() : positions},
        ids, [](Index, Index) { return Index{0}; }, position, words);
    if (projects()) {
      project_in_.forward(context, words, x);
      if (!positions.empty())
        context.parallel(B * T, 1, [&](Index item, int) {
          const Scalar* row = &positions(position(item / T, item % T), 0);
          Scalar* to = &x(item / T, item % T, 0);
          for (Index e = 0; e < x.size(2); ++e) to[e] = to[e] + row[e];
        });
    }
    if (options_.embed_norm) embed_norm_.forward(context, x, x);
  }

  /// The last layer's states [rows, E] -> what the head takes [rows, state_dim()].
  void last_states(Context& context, TensorView<const Scalar, 2> states, TensorView<Scalar, 2> out) const {
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

  /// States [rows, E] -> logits [rows, V].
  void head(Context& context, TensorView<const Scalar, 2> states, TensorView<Scalar, 2> logits) const {
    Frame frame(context.workspace());
    const TensorView<Scalar, 2> last = frame.tensor<Scalar>({states.size(0), state_dim()});
    last_states(context, states, last);
    lm_head_.forward(context, last, logits);
    const bool capped = options_.logit_softcap > 0;
    if (!capped && options_.logit_scale == 1) return;
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

  CausalLMOptions options_;
  Embedding<Scalar> embed_tokens_, embed_positions_;
  Norm<Scalar> embed_norm_;
  Stack<Scalar> layers_;
  Norm<Scalar> norm_;
  Linear<Scalar> lm_head_, project_in_, project_out_;
  Index stable_length_ = (std::numeric_limits<Index>::max)();
};

ATTEND_COMPILED_MODEL(class CausalCache<float>);
ATTEND_COMPILED_MODEL(class CausalLM<float>);

}  // namespace attend::inline ATTEND_ABI
