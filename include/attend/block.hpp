// Block: attention to oneself, to a memory where there is one, and feed-forward, each with residual and norm.
// EncoderBlock, DecoderBlock and CausalBlock are one under PyTorch's names; Stack is several, one after the
// other.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <attend/convolution.hpp>
#include <attend/feed_forward.hpp>
#include <attend/multi_head_attention.hpp>
#include <attend/norm.hpp>

namespace attend::inline ATTEND_ABI {

/// How a part f (attention, feed-forward) is joined to what it comes from. The norms are each part's own.
enum class Residual {
  post,      // norm(x + f(x)) ("Attention Is All You Need")
  pre,       // x + f(norm(x)) (PyTorch's norm_first, GPT-2, Llama)
  parallel,  // x + attention(norm1(x)) + feed_forward(norm2(x)) (GPT-NeoX)
  sandwich,  // x + post_norm(f(norm(x))) (Gemma 2)
  inner      // x + norm(f(x)) (OLMo 2)
};

/// What a Block consists of. Names are those of its members.
struct BlockOptions {
  MultiHeadAttentionOptions self_attn = {};                      // its attention
  std::optional<MultiHeadAttentionOptions> multihead_attn = {};  // cross-attention, where there is one
  FeedForwardOptions feed_forward = {};                          // its two linear layers
  NormOptions norm = {};                                         // of each of the norms
  Residual residual = Residual::post;                            // where the norms stand
  bool first_norm = true;     // else x is normalised already, as in ModernBERT's first layer
  double residual_scale = 1;  // multiplies what each part adds to x (Granite)
  std::optional<ConvolutionOptions> convolution = {};  // norm(block(x) + convolution(x)) (DeBERTa-v2-xlarge)
};

/// What one call takes besides x. Without caches, `memory` is what cross-attention sees.
template <class Scalar>
struct BlockInputs {
  AttentionOptions<Scalar> self = {}, cross = {};
  TensorView<const Scalar, 3> memory = {};        // [B, S, memory_dim]
  KVCache<Scalar>* cache = nullptr;               // of x: holds the tokens so far, and takes these
  const KVCache<Scalar>* memory_cache = nullptr;  // what multihead_attn().append_memory made of a memory
};
/// What one call may give besides its output.
template <class Scalar>
struct BlockOutputs {
  AttentionOutputs<Scalar> self = {}, cross = {};
};

/// Parameters: self_attn.*, multihead_attn.* (cross-attention), linear1.*, linear2.*, and norm1.*, norm2.*,
/// norm3.* of attention, cross-attention (where there is one) and feed-forward, in this order; of a sandwich
/// likewise post_norm1.*, …; of a convolution convolution.*, convolution_norm.*.
template <class Scalar>
class Block {
 public:
  using Input = Batched<const Scalar, 3>;  // [B, T, E] or [T, E]
  using Output = Batched<Scalar, 3>;
  Block() = default;
  explicit Block(const BlockOptions& options, const char* name = "Block");

  const BlockOptions& options() const { return options_; }
  /// The self-attention: make_cache, projections.
  const MultiHeadAttention<Scalar>& self_attn() const { return self_attn_; }
  /// The cross-attention; Error in a call where there is none.
  const MultiHeadAttention<Scalar>& multihead_attn() const { return multihead_attn_; }
  /// Positions as rotations, which layers may share; null: none.
  void set_rotary(std::shared_ptr<const Rotary<Scalar>> rotary) { self_attn_.set_rotary(std::move(rotary)); }

  void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }
  /// Whether all parameters have values; forward takes none less.
  bool assigned() const;

  /// x [B, T, E] -> out [B, T, E]; out may be x, but not overlap it otherwise. A call that fails leaves the
  /// cache as it was.
  void forward(Context& context, const Input& x, const BlockInputs<Scalar>& inputs, const Output& out,
               const BlockOutputs<Scalar>& outputs = none) const;
  void forward(Context& context, const Input& x, const Output& out) const { forward(context, x, {}, out); }
  template <detail::LayerInput<Scalar> X, class = detail::Flags>
  detail::TensorOf<X> operator()(const X& x, const BlockInputs<Scalar>& inputs = {},
                                 const BlockOutputs<Scalar>& outputs = none) const {
    return detail::map_rows(x, options_.self_attn.embed_dim, [&](const auto& rows, auto& out) {
      forward(default_context(), rows, inputs, out, outputs);
    });
  }

  /// Of calls that give nothing besides: made once, not in every call.
  inline static const BlockOutputs<Scalar> none = {};

 protected:
  explicit Block(const char* name) : name_(name) {}

 private:
  struct Call {
    Context& context;
    const BlockInputs<Scalar>& inputs;
    const BlockOutputs<Scalar>& outputs;
  };
  Index norms() const { return options_.multihead_attn ? 3 : 2; }
  void check_operands(const Call& call, TensorView<const Scalar, 3> x, TensorView<Scalar, 3> out) const {
    const BlockInputs<Scalar>& in = call.inputs;
    detail::check_assigned(call.context, name_, *this);
    detail::check_rows_in_place<Scalar>(call.context, name_, x, out, options_.self_attn.embed_dim);
    if (!options_.multihead_attn && (in.memory.data() != nullptr || in.memory_cache != nullptr))
      throw_error(name_, ": a memory, but no cross-attention (multihead_attn)");
    if (options_.multihead_attn && in.memory.size(2) == 0 && in.memory_cache == nullptr)
      throw_error(name_, ": cross-attention (multihead_attn), but no memory");
    if (options_.convolution && (in.cache != nullptr || !in.self.key_lengths.empty()))
      throw_error(name_, ": a convolution together with a cache or key_lengths is not supported");
    if (in.memory.data() != nullptr)
      detail::check_apart(call.context, name_, {"out", out}, {{"memory", in.memory}});
    // One attention writes what the other, or that of the next block, still reads.
    for (const AttentionOptions<Scalar>* read : {&in.self, &in.cross}) {
      detail::check_apart_from_options(call.context, name_, *read, "out", out);
      for (const AttentionOutputs<Scalar>* outputs : {&call.outputs.self, &call.outputs.cross})
        if (outputs->any())
          detail::check_outputs_apart(call.context, name_, *read, *outputs,
                                      {{"x", x}, {"memory", in.memory}, {"out", out}});
    }
    if (call.outputs.self.any())
      detail::check_outputs_apart(call.context, name_, call.outputs.self, call.outputs.cross);
  }
  /// out = part `i` of x, in whose last product's pass the residual is added.
  void run_part(Index i, const Call& call, TensorView<const Scalar, 3> x, TensorView<Scalar, 3> out,
                const Epilogue<Scalar>& epilogue) const {
    const BlockInputs<Scalar>& in = call.inputs;
    if (i + 1 == norms())
      feed_forward_.forward(call.context, x, out, epilogue);
    else if (i == 0 && in.cache != nullptr)
      self_attn_.forward(call.context, x, *in.cache, in.self, out, call.outputs.self, epilogue);
    else if (i == 0)
      self_attn_.forward(call.context, x, in.self, out, call.outputs.self, epilogue);
    else if (in.memory_cache != nullptr)
      multihead_attn_.forward_cross(call.context, x, *in.memory_cache, in.cross, out, call.outputs.cross,
                                    epilogue);
    else
      multihead_attn_.forward(call.context, x, in.memory, in.memory, in.cross, out, call.outputs.cross,
                              epilogue);
  }
  /// out = x + residual_scale * y, of which y keeps the product; out may be x or y.
  void add(Context& context, const Rows<const Scalar>& x, const Rows<Scalar>& y,
           const Rows<Scalar>& out) const {
    context.parallel(x.count(), context.workers(x.count(), static_cast<double>(x.count() * x.width())),
                     [&](Index r, int) {
                       const Scalar* a = x.row(r);
                       Scalar *b = y.row(r), *to = out.row(r);
                       const Scalar scale = static_cast<Scalar>(options_.residual_scale);
                       for (Index i = 0; options_.residual_scale != 1 && i < x.width(); ++i)
                         b[i] = b[i] * scale;
                       for (Index i = 0; i < x.width(); ++i) to[i] = a[i] + b[i];
                     });
  }

  BlockOptions options_;
  const char* name_ = "Block";
  MultiHeadAttention<Scalar> self_attn_, multihead_attn_;
  FeedForward<Scalar> feed_forward_;
  Norm<Scalar> norms_[3], post_norms_[3];
  Convolution<Scalar> convolution_;
  Norm<Scalar> convolution_norm_;
};

template <class Scalar>
Block<Scalar>::Block(const BlockOptions& options, const char* name)
    : options_(options), name_(name), self_attn_(options.self_attn), feed_forward_(options.feed_forward) {
  const Index E = options.self_attn.embed_dim;
  if (options.feed_forward.embed_dim != E || options.norm.size != E)
    throw_error(name, ": a feed_forward of embed_dim ", options.feed_forward.embed_dim,
                " and a norm of size ", options.norm.size, ", expected ", E);
  if (options.multihead_attn && options.multihead_attn->embed_dim != E)
    throw_error(name, ": a multihead_attn of embed_dim ", options.multihead_attn->embed_dim, ", expected ",
                E);
  if (options.multihead_attn && options.residual == Residual::parallel)
    throw_error(name, ": a parallel residual together with cross-attention is not supported");
  if (!options.first_norm && (options.residual == Residual::post || options.residual == Residual::inner))
    throw_error(name, ": first_norm is of norms before attention");
  detail::check_number(name, "residual_scale", options.residual_scale, -1e38);
  if (options.multihead_attn) multihead_attn_ = MultiHeadAttention<Scalar>(*options.multihead_attn);
  for (Index i = 0; i < norms(); ++i) {
    if (i > 0 || options.first_norm) norms_[i] = Norm<Scalar>(options.norm);
    if (options.residual == Residual::sandwich) post_norms_[i] = Norm<Scalar>(options.norm);
  }
  if (!options.convolution) return;
  if (options.convolution->embed_dim != E || options.residual_scale != 1)
    throw_error(name, ": a convolution of embed_dim ", options.convolution->embed_dim, ", expected ", E,
                ", and a residual_scale of ", options.residual_scale, ", expected 1");
  convolution_ = Convolution<Scalar>(*options.convolution);
  convolution_norm_ = Norm<Scalar>(options.norm);
}

template <class Scalar>
void Block<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  self_attn_.parameters(prefixed("self_attn", visit));
  if (options_.multihead_attn) multihead_attn_.parameters(prefixed("multihead_attn", visit));
  feed_forward_.parameters(visit);
  for (Index i = options_.first_norm ? 0 : 1; i < norms(); ++i)
    norms_[i].parameters(prefixed("norm" + std::to_string(i + 1), visit));
  for (Index i = 0; options_.residual == Residual::sandwich && i < norms(); ++i)
    post_norms_[i].parameters(prefixed("post_norm" + std::to_string(i + 1), visit));
  if (!options_.convolution) return;
  convolution_.parameters(prefixed("convolution", visit));
  convolution_norm_.parameters(prefixed("convolution_norm", visit));
}
template <class Scalar>
bool Block<Scalar>::assigned() const {
  return self_attn_.assigned() && (!options_.multihead_attn || multihead_attn_.assigned()) &&
         feed_forward_.assigned() && (!options_.convolution || convolution_.assigned());
}

template <class Scalar>
void Block<Scalar>::forward(Context& context, const Input& x, const BlockInputs<Scalar>& inputs,
                            const Output& out, const BlockOutputs<Scalar>& outputs) const {
  const Call call{context, inputs, outputs};
  check_operands(call, x, out);
  if (x.empty()) return;
  std::optional<detail::Appending<Scalar>> appending;
  if (inputs.cache != nullptr) appending.emplace(name_, *inputs.cache, context.measuring());
  const Residual kind = options_.residual;
  const bool norm_after = kind == Residual::sandwich || kind == Residual::inner;
  const bool norm_before = kind != Residual::post && kind != Residual::inner;
  const bool in_one_pass = !norm_after && options_.residual_scale == 1;
  Frame frame(context.workspace());
  const TensorView<Scalar, 3> sum = frame.tensor<Scalar>(x.shape()), normed = frame.tensor<Scalar>(x.shape());
  TensorView<Scalar, 3> convolved;
  if (options_.convolution) {  // of x, which `out` may be
    convolved = frame.tensor<Scalar>(x.shape());
    convolution_.forward(context, x, inputs.self.query_offsets, convolved);
  }
  TensorView<const Scalar, 3> states = x;
  for (Index i = 0; i < norms(); ++i) {
    const bool last = i + 1 == norms();
    TensorView<const Scalar, 3> taken = kind == Residual::parallel ? TensorView<const Scalar, 3>(x) : states;
    if (norm_before && (i > 0 || options_.first_norm)) {
      norms_[i].forward(context, taken, normed);
      taken = normed;
    }
    TensorView<Scalar, 3> to = sum;
    if (i > 0 && norm_before && !norm_after)
      to = last ? TensorView<Scalar, 3>(out) : frame.tensor<Scalar>(x.shape());
    run_part(i, call, taken, to, in_one_pass ? Epilogue<Scalar>{{}, states} : Epilogue<Scalar>{});
    if (norm_after) {
      (kind == Residual::inner ? norms_ : post_norms_)[i].forward(context, to, normed);
      add(context, states, normed, out);
      to = out;
    } else if (!in_one_pass) {
      add(context, states, to, to);
    }
    if (kind == Residual::post) {
      const TensorView<Scalar, 3> sums = to;
      to = last ? TensorView<Scalar, 3>(out) : normed;
      norms_[i].forward(context, sums, to);
    }
    states = to;
  }
  if (options_.convolution) {
    add(context, states, convolved, convolved);
    convolution_norm_.forward(context, convolved, out);
  }
  if (appending) appending->keep();
}
ATTEND_COMPILED_LAYER(class Block<float>);

}  // namespace attend::inline ATTEND_ABI
