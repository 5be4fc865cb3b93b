// Stack: Blocks one after the other, or in an order, with an optional norm at the end. Encoder and Decoder
// are one.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <attend/block.hpp>
#include <attend/detail/cache_calls.hpp>

namespace attend::inline ATTEND_ABI {

/// Of a Stack: its blocks, and what stands behind them.
struct StackOptions {
  Index embed_dim = 0;
  std::vector<BlockOptions> blocks = {};       // from the first to the last
  std::optional<NormOptions> final_norm = {};  // behind the last block
  std::vector<Index> order = {};  // blocks, each as often as it is to run (ALBERT); empty: each once
};

/// What one call takes besides x: options of every layer's attention, and without caches the memory that
/// cross-attention sees.
template <class Scalar>
struct StackInputs {
  AttentionOptions<Scalar> self = {}, cross = {};
  Batched<const Scalar, 3> memory = {};  // [B, S, memory_dim] or [S, memory_dim]
  // One of each step (a layer, where they have no order), where there are any at all: see BlockInputs.
  std::optional<std::span<KVCache<Scalar>>> caches = {};               // of what x's tokens see
  std::optional<std::span<const KVCache<Scalar>>> memory_caches = {};  // of memory, which then is none
};

/// Parameters: layers.N.* of each Block, and norm.* where final_norm.
template <class Scalar>
class Stack {
 public:
  using Input = Batched<const Scalar, 3>;  // [B, T, E] or [T, E]
  using Output = Batched<Scalar, 3>;
  Stack() = default;
  explicit Stack(const StackOptions& options, const char* name = "Stack", const char* block_name = "Block");

  /// How many blocks run, and which one runs in a step.
  std::size_t steps() const { return order_.empty() ? layers_.size() : order_.size(); }
  /// The block of step i.
  const Block<Scalar>& step(std::size_t i) const {
    return layers_[order_.empty() ? i : static_cast<std::size_t>(order_[i])];
  }

  /// Each block once, in the order of their parameters. @{
  const std::vector<Block<Scalar>>& layers() const { return layers_; }
  std::vector<Block<Scalar>>& layers() { return layers_; }
  /// @}
  const Norm<Scalar>& norm() const { return norm_; }  // The norm behind the last block.
  Index embed_dim() const { return embed_dim_; }      // E of input and output.
  /// Of all layers.
  void set_rotary(const std::shared_ptr<const Rotary<Scalar>>& rotary) {
    for (Block<Scalar>& layer : layers_) layer.set_rotary(rotary);
  }

  void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }
  /// Whether all parameters have values; forward takes none less.
  bool assigned() const;

  /// x [B, T, E] -> out [B, T, E]; out may be x, but not overlap it otherwise. `outputs` has one of each
  /// step, or none. A call that fails leaves the caches as they were.
  void forward(Context& context, const Input& x, const StackInputs<Scalar>& inputs, const Output& out,
               std::span<const BlockOutputs<Scalar>> outputs = {}) const;
  void forward(Context& context, const Input& x, const Output& out) const { forward(context, x, {}, out); }
  template <detail::LayerInput<Scalar> X, class = detail::Flags>
  detail::TensorOf<X> operator()(const X& x, const StackInputs<Scalar>& inputs = {},
                                 std::span<const BlockOutputs<Scalar>> outputs = {}) const {
    return detail::map_rows(x, embed_dim_, [&](const auto& rows, auto& out) {
      forward(default_context(), rows, inputs, out, outputs);
    });
  }

  /// Caches of no tokens for the self-attention of so many sequences, one of each step.
  std::vector<KVCache<Scalar>> make_caches(Index batch) const;
  /// Caches of cross-attention, one of each step, with the keys and values of a memory [B, S, memory_dim],
  /// of which sequence b has lengths[b] tokens (all where empty).
  std::vector<KVCache<Scalar>> make_memory_caches(Context& context, const Input& memory,
                                                  std::span<const Index> lengths = {}) const;

 protected:
  explicit Stack(const char* name) : name_(name) {}

 private:
  void check_layers(const char* what, std::size_t n) const {
    if (n != steps()) throw_error(name_, ": ", what, " of ", n, " layers, expected ", steps());
  }

  const char* name_ = "Stack";
  Index embed_dim_ = 0;
  std::vector<Block<Scalar>> layers_;
  std::vector<Index> order_;
  Norm<Scalar> norm_;
  detail::Assigned made_;  // of one row, that is there but in what was moved from
};

template <class Scalar>
Stack<Scalar>::Stack(const StackOptions& options, const char* name, const char* block_name)
    : name_(name), embed_dim_(options.embed_dim), order_(options.order) {
  detail::check_size(name, "embed_dim", options.embed_dim);
  layers_.reserve(options.blocks.size());
  for (const BlockOptions& block : options.blocks) {
    if (block.self_attn.embed_dim != embed_dim_)
      throw_error(name, ": a block of embed_dim ", block.self_attn.embed_dim, ", expected ", embed_dim_);
    layers_.emplace_back(block, block_name);
  }
  for (Index block : order_)
    if (block < 0 || block >= static_cast<Index>(layers_.size()))
      throw_error(name, ": block ", block, " in the order of ", layers_.size());
  if (options.final_norm) norm_ = Norm<Scalar>(*options.final_norm);
  made_ = detail::Assigned(1);
  made_.mark(0, 1);
}

template <class Scalar>
void Stack<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  for (std::size_t i = 0; i < layers_.size(); ++i)
    layers_[i].parameters(prefixed("layers." + std::to_string(i), visit));
  if (norm_.options().size > 0) norm_.parameters(prefixed("norm", visit));
}
template <class Scalar>
bool Stack<Scalar>::assigned() const {
  return made_.all() && std::all_of(layers_.begin(), layers_.end(),
                                    [](const Block<Scalar>& layer) { return layer.assigned(); });
}

template <class Scalar>
void Stack<Scalar>::forward(Context& context, const Input& x, const StackInputs<Scalar>& inputs,
                            const Output& out, std::span<const BlockOutputs<Scalar>> outputs) const {
  detail::check_assigned(context, name_, *this);
  detail::check_rows_in_place<Scalar>(context, name_, x, out, embed_dim_);
  if (inputs.memory.data() != nullptr)
    detail::check_apart(context, name_, {"out", out}, {{"memory", inputs.memory}});
  if (inputs.caches) check_layers("caches", inputs.caches->size());
  if (inputs.memory_caches) check_layers("caches of a memory", inputs.memory_caches->size());
  if (!outputs.empty()) check_layers("outputs", outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      for (const auto* one : {&outputs[i].self, &outputs[i].cross})
        for (const auto* other : {&outputs[j].self, &outputs[j].cross})
          detail::check_outputs_apart(context, name_, *one, *other);
  if (x.empty()) return;
  detail::Appending<Scalar> appending(name_, inputs.caches.value_or(std::span<KVCache<Scalar>>()),
                                      context.measuring());
  BlockInputs<Scalar> each{.self = inputs.self, .cross = inputs.cross, .memory = inputs.memory};
  TensorView<const Scalar, 3> states = x;
  for (std::size_t i = 0; i < steps(); ++i) {
    if (inputs.caches) each.cache = &(*inputs.caches)[i];
    if (inputs.memory_caches) each.memory_cache = &(*inputs.memory_caches)[i];
    const LayerTimer timer(context, "Block", states.shape(), out.shape(), 0, static_cast<Index>(i));
    step(i).forward(context, states, each, out, outputs.empty() ? Block<Scalar>::none : outputs[i]);
    states = out;
  }
  if (norm_.options().size > 0)
    norm_.forward(context, states, out);
  else if (steps() == 0)
    context.parallel(1, 1, [&](Index, int) { copy(states, out); });
  appending.keep();
}

template <class Scalar>
std::vector<KVCache<Scalar>> Stack<Scalar>::make_caches(Index batch) const {
  std::vector<KVCache<Scalar>> caches;
  for (std::size_t i = 0; i < steps(); ++i) caches.push_back(step(i).self_attn().make_cache(batch));
  return caches;
}
template <class Scalar>
std::vector<KVCache<Scalar>> Stack<Scalar>::make_memory_caches(Context& context, const Input& memory,
                                                               std::span<const Index> lengths) const {
  if (!lengths.empty() && static_cast<Index>(lengths.size()) != memory.size(0))
    detail::fail_shape(std::string(name_) + " (lengths of the memory)", to_string(Shape<1>{memory.size(0)}),
                       Shape<1>{static_cast<Index>(lengths.size())});
  for (Index length : lengths)
    if (length < 0 || length > memory.size(1))
      throw_error(name_, ": a length of ", length, " of a memory of ", memory.size(1), " tokens");
  std::vector<KVCache<Scalar>> caches;
  for (std::size_t i = 0; i < steps(); ++i) {
    caches.push_back(step(i).multihead_attn().make_cache(memory.size(0)));
    step(i).multihead_attn().append_memory(context, memory, caches.back());
    for (std::size_t b = 0; !context.measuring() && b < lengths.size(); ++b)
      caches.back().truncate(static_cast<Index>(b), lengths[b]);
  }
  return caches;
}
ATTEND_COMPILED_LAYER(class Stack<float>);

namespace detail {
/// What PyTorch's names for a layer of an encoder or decoder say.
template <class Options>
BlockOptions block_options(const Options& o) {
  return {.self_attn = {.embed_dim = o.embed_dim,
                        .num_heads = o.num_heads,
                        .num_kv_heads = o.num_kv_heads,
                        .head_dim = o.head_dim,
                        .bias = o.bias,
                        .weights = o.weights,
                        .activations = o.activations},
          .feed_forward = {o.embed_dim, o.dim_feedforward, o.activation, o.gated, o.bias, o.weights,
                           o.activations},
          .norm = block_norm(o.embed_dim, o.layer_norm_eps, o.norm, o.bias),
          .residual = o.norm_first ? Residual::pre : Residual::post};
}
/// And for the whole of it.
template <class Options>
StackOptions stack_options(const char* name, const Options& o) {
  check_size(name, "block.embed_dim", o.block.embed_dim);
  check_count(name, "num_layers", o.num_layers, kMostLayers);
  const BlockOptions block = o.block;
  StackOptions all{
      o.block.embed_dim, std::vector<BlockOptions>(static_cast<std::size_t>(o.num_layers), block), {}};
  if (o.final_norm) all.final_norm = block.norm;
  return all;
}
}  // namespace detail

}  // namespace attend::inline ATTEND_ABI
