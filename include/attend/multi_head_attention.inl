// MultiHeadAttention's members, which units of a program with compiled layers instantiate for their own
// scalars alone.
#pragma once

#include <cmath>

#include <attend/multi_head_attention.hpp>

namespace attend::inline ATTEND_ABI {

template <class Scalar>
ATTEND_COLD MultiHeadAttention<Scalar>::MultiHeadAttention(const MultiHeadAttentionOptions& options)
    : options_(complete(options)), attention_(options.attention) {
  const Index queries =
      detail::checked_numel(Shape<2>{options_.num_heads, options_.head_dim}, sizeof(Scalar));
  const Index keys =
      detail::checked_numel(Shape<2>{options_.num_kv_heads, options_.head_dim}, sizeof(Scalar));
  const auto make = [&](Weight<Scalar>& weight, std::vector<Index> sections, Index in) {
    weight = Weight<Scalar>(std::move(sections), in, {options_.weights, options_.activations});
  };
  Weight<Scalar> rows;  // those of the three, for their biases
  if (fused()) {
    make(in_proj_, {queries, keys, keys}, options_.embed_dim);
  } else {
    make(q_proj_, {queries}, options_.embed_dim);
    make(k_proj_, {keys}, options_.kdim);
    make(v_proj_, {keys}, options_.vdim);
    make(rows, {queries, keys, keys}, 0);
  }
  if (options_.bias) in_bias_ = Bias<Scalar>(fused() ? in_proj_ : rows);
  make(out_proj_, {options_.embed_dim}, queries);
  options_.out_bias = options_.out_bias.value_or(options_.bias);
  if (*options_.out_bias) out_bias_ = Bias<Scalar>(out_proj_);
  if (options_.bias_kv)
    bias_k_ = bias_v_ = Tensor<Scalar, 1>({keys}), bias_k_assigned_ = bias_v_assigned_ = detail::Assigned(1);
  if (options_.qk_norm)
    for (const bool of_keys : {false, true})
      (of_keys ? k_norm_ : q_norm_) = RMSNorm<Scalar>({!options_.qk_norm_over_heads ? options_.head_dim
                                                       : of_keys                    ? keys
                                                                                    : queries,
                                                       *options_.qk_norm});
  if (options_.alibi) slopes_ = alibi_slopes<Scalar>(options_.num_heads);
  const DisentangledAttentionOptions& relative = options_.disentangled;
  if (relative.any() && (!fused() || extra_keys() > 0 || options_.alibi))
    throw_error(
        "MultiHeadAttention: disentangled attention together with kdim, vdim, bias_kv, add_zero_attn or "
        "alibi is not supported");
  if (relative.own_projections && relative.content_to_position)
    pos_key_proj_ =
        Linear<Scalar>({options_.embed_dim, keys, options_.bias, options_.weights, options_.activations});
  if (relative.own_projections && relative.position_to_content)
    pos_query_proj_ =
        Linear<Scalar>({options_.embed_dim, queries, options_.bias, options_.weights, options_.activations});
}

template <class Scalar>
void MultiHeadAttention<Scalar>::set_rotary(std::shared_ptr<const Rotary<Scalar>> rotary) {
  if (rotary != nullptr && rotary->options().head_dim != options_.head_dim)
    throw_error("MultiHeadAttention: rotary positions of head_dim ", rotary->options().head_dim,
                ", expected ", options_.head_dim);
  rotary_ = std::move(rotary);
  rotate_ = [](const Rotary<Scalar>& by, Context& context, TensorView<Scalar, 4> x,
               std::span<const Index> offsets, std::span<const Index> starts) {
    if (!starts.empty()) return by.apply(context, x, starts);
    if (offsets.empty()) return by.apply(context, x);
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b)
      by.apply(context, x.slice(2, offsets[b], offsets[b + 1]));
  };
}

template <class Scalar>
ATTEND_COLD void MultiHeadAttention<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  if (fused()) {
    detail::visit_part<Scalar>(visit, "in_proj_weight", in_proj_);
  } else {
    detail::visit_part<Scalar>(visit, "q_proj_weight", q_proj_);
    detail::visit_part<Scalar>(visit, "k_proj_weight", k_proj_);
    detail::visit_part<Scalar>(visit, "v_proj_weight", v_proj_);
  }
  if (options_.bias) detail::visit_part<Scalar>(visit, "in_proj_bias", in_bias_);
  if (options_.bias_kv) {
    detail::visit_part<Scalar>(visit, "bias_k", {1, 1, bias_k_.numel()}, bias_k_.data(), &bias_k_assigned_);
    detail::visit_part<Scalar>(visit, "bias_v", {1, 1, bias_v_.numel()}, bias_v_.data(), &bias_v_assigned_);
  }
  detail::visit_part<Scalar>(visit, "out_proj.weight", out_proj_);
  if (options_.out_bias.value_or(true)) detail::visit_part<Scalar>(visit, "out_proj.bias", out_bias_);
  if (options_.qk_norm) {
    q_norm_.parameters(prefixed("q_norm", visit));
    k_norm_.parameters(prefixed("k_norm", visit));
  }
  if (pos_key_proj_.options().in_features > 0) pos_key_proj_.parameters(prefixed("pos_key_proj", visit));
  if (pos_query_proj_.options().in_features > 0)
    pos_query_proj_.parameters(prefixed("pos_query_proj", visit));
}

template <class Scalar>
bool MultiHeadAttention<Scalar>::assigned() const {
  const bool weights =
      fused() ? in_proj_.assigned() : q_proj_.assigned() && k_proj_.assigned() && v_proj_.assigned();
  const bool extra = !options_.bias_kv || (bias_k_assigned_.all() && bias_v_assigned_.all());
  const auto own = [](const Linear<Scalar>& projection) {
    return projection.options().in_features == 0 || projection.assigned();
  };
  return weights && (!options_.bias || in_bias_.assigned()) && extra && own(pos_key_proj_) &&
         own(pos_query_proj_) && out_proj_.assigned() &&
         (!options_.out_bias.value_or(true) || out_bias_.assigned());
}

template <class Scalar>
KVCache<Scalar> MultiHeadAttention<Scalar>::make_cache(AnyIndex batch) const {
  return KVCache<Scalar>({.batch = batch,
                          .num_kv_heads = options_.num_kv_heads,
                          .head_dim = options_.head_dim,
                          .window = options_.attention.window});
}

template <class Scalar>
void MultiHeadAttention<Scalar>::forward(Context& context, const Input& query, const Input& key,
                                         const Input& value, const Options& options, const Output& out,
                                         const Outputs& outputs, const Epilogue<Scalar>& epilogue) const {
  const Index B = query.size(0), Tq = query.size(1), Tk = key.size(1);
  const Call call{context, options, out, outputs, epilogue};
  detail::check_assigned(context, "MultiHeadAttention", *this);
  detail::check_shape("MultiHeadAttention (query)", Shape<3>{B, Tq, options_.embed_dim}, query.shape());
  detail::check_shape("MultiHeadAttention (key)", Shape<3>{B, Tk, options_.kdim}, key.shape());
  detail::check_shape("MultiHeadAttention (value)", Shape<3>{B, Tk, options_.vdim}, value.shape());
  check_operands(call, query, key, value);
  if (out.empty() && !outputs.any()) return;
  const LayerTimer timer(context, "MultiHeadAttention", query.shape(), out.shape());
  const Index H = options_.num_heads, G = options_.num_kv_heads, D = options_.head_dim;
  const bool same_kv = detail::same_places(key, value), self = same_kv && detail::same_places(query, key);

  Frame frame(context.workspace());
  const Slots at = columns();
  const TensorView<Scalar, 2> q = frame.tensor<Scalar>({B * Tq, self && fused() ? at.end : at.key});
  const TensorView<Scalar, 2> kv = frame.tensor<Scalar>({self && fused() ? 0 : B * Tk, at.end - at.key});
  TensorView<Scalar, 2> keys = kv, values = kv;  // columns from `key_at` and `value_at`
  Index key_at = 0, value_at = at.value - at.key;
  project(context, query, q_proj_, 0, q.size(1), q);
  if (fused() && self) {
    keys = values = q;
    key_at = at.key, value_at = at.value;
  } else if (fused() && same_kv) {
    project(context, key, in_proj_, at.key, at.end, kv);
  } else {
    project(context, key, k_proj_, at.key, at.value, kv);
    project(context, value, v_proj_, at.value, at.end, kv, value_at);
  }

  const auto query_heads = head_view(q, 0, B, H, Tq, D), key_heads = head_view(keys, key_at, B, G, Tk, D);
  normalize(context, q_norm_, query_heads);
  normalize(context, k_norm_, key_heads);
  if (rotary_ != nullptr) {
    if (!self) throw_error("MultiHeadAttention: rotary positions are of self-attention");
    rotate_(*rotary_, context, query_heads, options.query_offsets, {});
    rotate_(*rotary_, context, key_heads, options.key_offsets, {});
  }
  const auto value_heads = head_view(values, value_at, B, G, Tk, D);
  Options changed;
  const Options* all = &join(options, nullptr, 0, changed);
  if ((options_.disentangled.any() || extra_keys() > 0) && all != &changed) changed = *all, all = &changed;
  if (options_.disentangled.any()) {
    if (!self) throw_error("MultiHeadAttention: disentangled attention is of self-attention");
    if (options.relative == nullptr)
      throw_error("MultiHeadAttention (relative): disentangled attention takes one, got none");
    changed.modifier = (this->*options.relative->scores)(context, frame, changed, query_heads, key_heads);
    changed.relative = nullptr;
  }
  TensorView<Scalar, 4> all_keys = key_heads, all_values = value_heads;
  Mask mask;
  if (extra_keys() > 0) {  // they are visible to all, whatever the mask says of the others
    if (!options.key_lengths.empty() || !options.key_offsets.empty())
      throw_error(
          "MultiHeadAttention: key_lengths and offsets are not supported together with bias_kv or "
          "add_zero_attn");
    all_keys = frame.tensor<Scalar>({B, G, Tk + extra_keys(), D});
    all_values = frame.tensor<Scalar>({B, G, Tk + extra_keys(), D});
    context.parallel(1, 1, [&](Index, int) {
      for (const bool of_keys : {true, false})
        append_extra(of_keys ? key_heads : value_heads, of_keys ? bias_k_ : bias_v_,
                     of_keys ? all_keys : all_values);
    });
    mask = changed.mask;
    if (mask) changed.mask = Mask(BeforeExtra{{}, &mask, Tk}, mask.adds());
  }
  finish(call, frame, Tk + extra_keys(), [&](TensorView<Scalar, 4> mixed, const Outputs& more) {
    detail::scaled_dot_product_attention<Scalar>(context, query_heads, all_keys, all_values, *all, mixed,
                                                 more);
  });
}

template <class Scalar>
ScoreModifier<Scalar> MultiHeadAttention<Scalar>::relative_scores(Context& context, Frame& frame,
                                                                  const Options& options,
                                                                  TensorView<const Scalar, 4> queries,
                                                                  TensorView<const Scalar, 4> keys) const {
  const char* who = "MultiHeadAttention (relative)";
  const detail::FloatEnvironment environment;
  const Index B = queries.size(0), T = queries.size(2), H = options_.num_heads, G = options_.num_kv_heads;
  if (options.modifier) throw_error(who, ": together with a modifier is not supported");
  const RelativePositions<Scalar>& relative = *options.relative;
  const Index R = relative.embeddings.size(0), D = options_.head_dim;
  detail::check_shape(who, Shape<2>{R, options_.embed_dim}, relative.embeddings.shape());
  const bool ragged = !options.query_offsets.empty();
  if (ragged && options.key_offsets.data() != options.query_offsets.data())
    throw_error(who, ": other key_offsets than query_offsets are not supported");
  const Index longest = ragged ? detail::longest_sequence(who, options.query_offsets, T) : T;
  if (longest > relative.longest)
    throw_error(who, ": made for ", relative.longest, " tokens, the sequence has ", longest);

  detail::RelativeScores<Scalar> scores{.tokens = {B * T, B * T}, .length = {T, T}, .row = relative.row};
  if (ragged) scores.offsets[0] = scores.offsets[1] = options.query_offsets.data();
  const double scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(D)));
  const DisentangledAttentionOptions& o = options_.disentangled;
  for (const bool of_queries : {true, false}) {  // each with the other side of the embeddings
    if (!(of_queries ? o.content_to_position : o.position_to_content)) continue;
    const Index heads = of_queries ? G : H;
    const TensorView<Scalar, 2> embeddings = frame.tensor<Scalar>(Shape<2>{R, heads * D});
    if (o.own_projections)
      (of_queries ? pos_key_proj_ : pos_query_proj_).forward(context, relative.embeddings, embeddings);
    else
      detail::product<Scalar>(context, relative.embeddings, in_proj_, of_queries ? columns().key : 0,
                              in_bias_, {}, embeddings);
    const TensorView<const Scalar, 4>& x = of_queries ? queries : keys;
    const TensorView<const Scalar, 2> rows(x.data(), {B * T, (of_queries ? H : G) * D}, {x.stride(2), 1});
    scores.tables[of_queries ? 0 : 1] = detail::head_products<Scalar>(
        context, frame, rows, of_queries ? H : G, embeddings, heads, scale, scores.width);
  }
  return scores;
}

template <class Scalar>
void MultiHeadAttention<Scalar>::forward(Context& context, const Input& x, KVCache<Scalar>& cache,
                                         const Options& options, const Output& out, const Outputs& outputs,
                                         const Epilogue<Scalar>& epilogue) const {
  const Index B = x.size(0), T = x.size(1), G = options_.num_kv_heads, D = options_.head_dim;
  const Call call{context, options, out, outputs, epilogue};
  detail::check_assigned(context, "MultiHeadAttention", *this);
  check_cache(cache, x, "MultiHeadAttention (with a cache)", options_.embed_dim);
  check_operands(call, x, x, x);
  if (!fused() || extra_keys() > 0 || options_.disentangled.any())
    throw_error(
        "MultiHeadAttention: a cache together with kdim, vdim, bias_kv, add_zero_attn or disentangled "
        "attention is not supported");
  if (out.empty() && !outputs.any()) return;
  const LayerTimer timer(context, "MultiHeadAttention", x.shape(), out.shape());
  Frame frame(context.workspace());
  const Slots at = columns();
  const TensorView<Scalar, 2> qkv = frame.tensor<Scalar>({B * T, at.end});
  project(context, x, in_proj_, 0, at.end, qkv);
  const auto query = head_view(qkv, 0, B, options_.num_heads, T, D), key = head_view(qkv, at.key, B, G, T, D);
  normalize(context, q_norm_, query);
  normalize(context, k_norm_, key);
  if (rotary_ != nullptr) {
    rotate_(*rotary_, context, query, {}, cache.lengths());
    rotate_(*rotary_, context, key, {}, cache.lengths());
  }
  detail::Appending<Scalar> appending("MultiHeadAttention", cache, context.measuring());
  if (!context.measuring()) cache.append(context, key, head_view(qkv, at.value, B, G, T, D));
  appending.count(T);
  Options joined;
  const Options& all = join(options, &cache, T, joined);
  finish(call, frame, cache.max_length(), [&](TensorView<Scalar, 4> mixed, const Outputs& more) {
    detail::scaled_dot_product_attention<Scalar>(context, query, cache, all, mixed, more);
  });
  appending.keep();
}

template <class Scalar>
void MultiHeadAttention<Scalar>::finish(
    const Call& call, Frame& frame, Index keys,
    detail::FunctionRef<void(TensorView<Scalar, 4>, const Outputs&)> attend) const {
  const Index B = call.out.size(0), T = call.out.size(1), H = options_.num_heads;
  const TensorView<Scalar, 3> average = call.outputs.average_weights;
  const TensorView<Scalar, 2> mixed = frame.tensor<Scalar>({B * T, H * options_.head_dim});
  const TensorView<Scalar, 4> mixed_heads = head_view(mixed, 0, B, H, T, options_.head_dim);
  if (average.data() == nullptr) {
    attend(mixed_heads, call.outputs);
  } else {
    detail::check_shape("MultiHeadAttention (average_weights)", Shape<3>{B, T, keys}, average.shape());
    Outputs inner = call.outputs;
    inner.average_weights = {};
    const TensorView<Scalar, 4> all =
        frame.tensor<Scalar>({inner.weights.data() == nullptr ? B : 0, H, T, keys});
    if (inner.weights.data() == nullptr) inner.weights = all;
    attend(mixed_heads, inner);
    call.context.parallel(1, 1, [&](Index, int) {
      for (Index b = 0; b < B; ++b)
        for (Index q = 0; q < T; ++q)
          for (Index k = 0; k < keys; ++k) {
            Scalar sum(0);
            for (Index h = 0; h < H; ++h) sum = sum + inner.weights(b, h, q, k);
            average(b, q, k) = sum / Scalar(static_cast<double>(H));
          }
    });
  }
  detail::product<Scalar>(call.context, mixed, out_proj_, 0, out_bias_, call.epilogue, call.out.rows());
}

template <class Scalar>
void MultiHeadAttention<Scalar>::append_memory(Context& context, const Input& memory,
                                               KVCache<Scalar>& cache) const {
  const Index B = memory.size(0), S = memory.size(1), G = options_.num_kv_heads, D = options_.head_dim;
  check_cross();
  if (options_.kdim != options_.vdim)
    throw_error("MultiHeadAttention: keys and values of one memory, but kdim is ", options_.kdim,
                " and vdim ", options_.vdim);
  detail::check_assigned(context, "MultiHeadAttention", *this);
  check_cache(cache, memory, "MultiHeadAttention (memory)", options_.kdim);
  Rows<const Scalar>(memory).check_input("MultiHeadAttention (memory)", options_.kdim);
  if (memory.empty()) return;
  Frame frame(context.workspace());
  const Slots at = columns();
  const TensorView<Scalar, 2> kv = frame.tensor<Scalar>({B * S, at.end - at.key});
  project(context, memory, k_proj_, at.key, fused() ? at.end : at.value, kv);
  if (!fused()) project(context, memory, v_proj_, at.value, at.end, kv, at.value - at.key);
  const auto key = head_view(kv, 0, B, G, S, D);
  normalize(context, k_norm_, key);
  if (!context.measuring()) cache.append(context, key, head_view(kv, at.value - at.key, B, G, S, D));
}

template <class Scalar>
void MultiHeadAttention<Scalar>::forward_cross(Context& context, const Input& x, const KVCache<Scalar>& cache,
                                               const Options& options, const Output& out,
                                               const Outputs& outputs,
                                               const Epilogue<Scalar>& epilogue) const {
  const Index B = x.size(0), T = x.size(1), D = options_.head_dim;
  const Call call{context, options, out, outputs, epilogue};
  check_cross();
  detail::check_assigned(context, "MultiHeadAttention", *this);
  check_cache(cache, x, "MultiHeadAttention (with a memory)", options_.embed_dim);
  check_operands(call, x, x, x);
  if (out.empty() && !outputs.any()) return;
  const LayerTimer timer(context, "MultiHeadAttention (cross)", x.shape(), out.shape());
  Frame frame(context.workspace());
  const TensorView<Scalar, 2> q = frame.tensor<Scalar>({B * T, columns().key});
  project(context, x, q_proj_, 0, q.size(1), q);
  const auto query = head_view(q, 0, B, options_.num_heads, T, D);
  normalize(context, q_norm_, query);
  Options joined;
  const Options& all = join(options, &cache, T, joined);
  finish(call, frame, cache.max_length(), [&](TensorView<Scalar, 4> mixed, const Outputs& more) {
    detail::scaled_dot_product_attention<Scalar>(context, query, cache, all, mixed, more);
  });
}

ATTEND_COMPILED_LAYER(class MultiHeadAttention<float>);
ATTEND_COMPILED_LAYER(class RelativeEmbedding<float>);  // which names the former's members

}  // namespace attend::inline ATTEND_ABI
