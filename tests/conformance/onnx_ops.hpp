// The operators of the ONNX cases, each as a call of attend's public functions.
// Their definitions: https://onnx.ai/onnx/operators/
#pragma once

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include <attend/attend.hpp>
#include <attend/softmax.hpp>

#include "run.hpp"

namespace conformance::onnx {

// TensorProto's numbers of the types that softmax_precision and stash_type name.
inline constexpr Index kFloat = 1, kFloat16 = 10, kDouble = 11, kBfloat16 = 16;

/// A precision to compute in must be one that S has; S is double where an attribute asks for it. Inputs of 16
/// bits are computed in float, which is as good as any of the 16-bit types.
template <class S>
void check_precision(const Run& run, const std::string& name, Index type) {
  const bool short_inputs = run.any_input_of("float16") || run.any_input_of("bfloat16");
  if (type == kFloat || (type == kDouble && sizeof(S) == sizeof(double))) return;
  if (short_inputs && (type == kFloat16 || type == kBfloat16)) return;
  throw Skip{"attribute " + name + " " + std::to_string(type) + " is not supported for these inputs"};
}

inline Index product(const std::vector<Index>& shape, std::size_t begin, std::size_t end) {
  return std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(begin),
                         shape.begin() + static_cast<std::ptrdiff_t>(end), Index{1}, std::multiplies<>());
}
inline std::size_t axis_of(Index axis, const std::vector<Index>& shape) {
  const Index rank = static_cast<Index>(shape.size());
  if (axis < -rank || axis >= rank)
    attend::throw_error("axis ", axis, " of shape ", attend::to_string(shape));
  return static_cast<std::size_t>(axis < 0 ? axis + rank : axis);
}

// ---- Attention
// ----------------------------------------------------------------------------------------------------

/// [B, H, T, D], of a 3D input [B, T, H D] as a view.
template <class T, class A>
TensorView<T, 4> four_axes(A& array, Index num_heads, const char* who) {
  if (array.rank() == 4) {
    const TensorView<T, 4> view = array.template view<4>();
    if (num_heads > 0 && view.size(1) != num_heads)
      attend::detail::fail_shape(who, "[B, " + std::to_string(num_heads) + ", T, D]", array.shape);
    return view;
  }
  if (num_heads < 1) attend::throw_error(who, ": 3 axes, and no number of heads");
  const TensorView<T, 3> view = array.template view<3>();
  return attend::heads(view, num_heads);
}

/// A mask's shape with axes of 1 put before it, [B, H, Tq, Tk].
inline Shape<4> mask_shape(const std::vector<Index>& shape) {
  if (shape.empty() || shape.size() > 4) attend::detail::fail_shape("attn_mask", "1 to 4 axes", shape);
  Shape<4> result{1, 1, 1, 1};
  std::copy(shape.begin(), shape.end(), result.end() - static_cast<std::ptrdiff_t>(shape.size()));
  return result;
}

template <class S>
void attention(Run& run) {
  const Index q_num_heads = run.integer("q_num_heads", 0), kv_num_heads = run.integer("kv_num_heads", 0);
  const bool is_causal = run.flag("is_causal");
  const Index mode = run.integer("qk_matmul_output_mode", 0);
  attend::AttentionOptions<S> options;
  options.scale = run.real("scale");
  options.softcap = run.real("softcap", 0);
  check_precision<S>(run, "softmax_precision", run.integer("softmax_precision", kFloat));
  if (mode < 0 || mode > 3)
    throw Skip{"attribute qk_matmul_output_mode " + std::to_string(mode) + " is not known"};
  run.no_more_attributes();

  const Array<S> q = run.input<S>(0), k = run.input<S>(1), v = run.input<S>(2);
  const auto query = four_axes<const S>(q, q_num_heads, "Q"), key = four_axes<const S>(k, kv_num_heads, "K"),
             value = four_axes<const S>(v, kv_num_heads, "V");
  const Index B = query.size(0), H = query.size(1), Tq = query.size(2), G = key.size(1);
  const bool has_past = run.has_input(4);
  if (has_past != run.has_input(5)) attend::throw_error("one of past_key and past_value is missing");

  // With a past, its keys and values and then the new ones go through a cache.
  attend::KVCache<S> cache(
      {.batch = B, .num_kv_heads = G, .head_dim = key.size(3), .value_dim = value.size(3)});
  Index past = 0;
  if (has_past) {
    const Array<S> past_key = run.input<S>(4), past_value = run.input<S>(5);
    past = past_key.template view<4>().size(2);
    cache.append(past_key.template view<4>(), past_value.template view<4>());
    cache.append(key, value);
  }
  const Index Tk = past + key.size(2);

  std::vector<Index> key_lengths;
  if (run.has_input(6)) {
    if (has_past) throw Skip{"nonpad_kv_seqlen together with past_key has no meaning in ONNX"};
    const Array<std::int64_t> lengths = run.input<std::int64_t>(6);
    key_lengths.assign(lengths.span().begin(), lengths.span().end());
    options.key_lengths = key_lengths;
  }

  // Query i has position i behind the past; or with lengths, the last query that of the last key that counts.
  const auto band =
      run.has_input(6) ? attend::causal(attend::Corner::bottom_right) : attend::causal_from(past);
  const auto seen = [&](auto mask) { return is_causal ? attend::Mask(band & mask) : attend::Mask(mask); };
  if (is_causal) options.mask = band;
  std::optional<Array<S>> additive;
  std::optional<Array<std::uint8_t>> boolean;
  if (run.has_input(3) && run.dtype(3) == "bool") {
    boolean.emplace(run.input<std::uint8_t>(3));
    const TensorView<const std::uint8_t, 4> view(boolean->values.data(), mask_shape(boolean->shape));
    if (view.size(3) == Tk) {
      options.mask = seen(attend::boolean(view));
    } else {  // keys behind its end are masked
      options.mask = seen(attend::visible_if([view](Index b, Index h, Index i, Index j) {
        return j < view.size(3) &&
               view(view.size(0) == 1 ? 0 : b, view.size(1) == 1 ? 0 : h, view.size(2) == 1 ? 0 : i, j) != 0;
      }));
      if (view.size(3) > Tk || (view.size(0) != 1 && view.size(0) != B) ||
          (view.size(1) != 1 && view.size(1) != H) || (view.size(2) != 1 && view.size(2) != Tq))
        attend::detail::fail_shape("attn_mask",
                                   "a shape that broadcasts to " + attend::to_string(Shape<4>{B, H, Tq, Tk}),
                                   view.shape());
    }
  } else if (run.has_input(3)) {
    additive.emplace(run.input<S>(3));
    Shape<4> shape = mask_shape(additive->shape);
    if (shape[3] == 1 && Tk > 1) {  // one column is short too, where attend's would be the same for all keys
      shape[3] = 2;
      Array<S> wider({shape.begin(), shape.end()});
      for (Index i = 0; i < additive->values.numel(); ++i) {
        wider.values(2 * i) = additive->values(i);
        wider.values(2 * i + 1) = -std::numeric_limits<S>::infinity();
      }
      additive.emplace(std::move(wider));
    }
    options.mask = seen(attend::additive(TensorView<const S, 4>(additive->values.data(), shape)));
  }
  run.no_more_inputs();

  const auto attend_to = [&](const attend::AttentionOptions<S>& o, TensorView<S, 4> out,
                             const attend::AttentionOutputs<S>& more) {
    if (has_past)
      attend::scaled_dot_product_attention<S>(attend::default_context(), query, cache, o, out, more);
    else
      attend::scaled_dot_product_attention<S>(attend::default_context(), query, key, value, o, out, more);
  };
  const Index Dv = value.size(3);
  Array<S> y(q.rank() == 4 ? std::vector<Index>{B, H, Tq, Dv} : std::vector<Index>{B, Tq, H * Dv});
  const TensorView<S, 4> out = four_axes<S>(y, H, "Y");
  Tensor<S, 4> square(run.wants(3) ? Shape<4>{B, H, Tq, Tk} : Shape<4>{});
  Tensor<S, 3> log_sum_exp({B, H, Tq});
  attend::AttentionOutputs<S> outputs{.log_sum_exp = log_sum_exp};
  if (run.wants(3) && mode == 3) {
    outputs.weights = square;
  } else if (run.wants(3) && mode == 2) {
    outputs.scores = square;
    outputs.scores_stage = attend::ScoreStage::masked;
  } else if (run.wants(3)) {  // of all keys, those behind the lengths too
    Tensor<S, 4> unused({B, H, Tq, Dv});
    attend::AttentionOptions<S> plain;
    plain.scale = options.scale, plain.softcap = options.softcap;
    attend_to(plain, unused,
              {.scores = square,
               .scores_stage = mode == 0 ? attend::ScoreStage::scaled : attend::ScoreStage::softcapped});
  }
  attend_to(options, out, outputs);

  // Sources that divide by 0 where a row sees nothing expect NaN there.
  const auto unless_empty = [&](Index b, Index h, Index i) {
    return log_sum_exp(b, h, i) == -std::numeric_limits<S>::infinity() ? Nan::zero : Nan::stays;
  };
  run.give<S>(0, y.shape, y.span(), [&](Index i) {
    if (q.rank() == 4) return unless_empty(i / (H * Tq * Dv), i / (Tq * Dv) % H, i / Dv % Tq);
    return unless_empty(i / (Tq * H * Dv), i / Dv % H, i / (H * Dv) % Tq);
  });
  for (const bool of_key : {true, false}) {
    const Index slot = of_key ? 1 : 2, D = of_key ? key.size(3) : Dv;
    if (!run.wants(slot)) continue;
    Tensor<S, 4> present({B, G, Tk, D});
    if (!has_past) attend::copy(of_key ? key : value, present.view());
    for (Index b = 0; has_past && b < B; ++b)
      for (Index g = 0; g < G; ++g)
        for (Index t = 0; t < Tk; ++t) {
          const std::span<S> row(&present(b, g, t, 0), static_cast<std::size_t>(D));
          cache.read(b, g, t, of_key ? row : std::span<S>(), of_key ? std::span<S>() : row);
        }
    run.give<S>(slot, {B, G, Tk, D}, present.span());
  }
  if (run.wants(3))
    run.give<S>(3, {B, H, Tq, Tk}, square.span(), [&](Index i) {
      return mode == 3 ? unless_empty(i / (H * Tq * Tk), i / (Tq * Tk) % H, i / Tk % Tq) : Nan::stays;
    });
}

template <class S>
void flex_attention(Run& run) {
  attend::AttentionOptions<S> options;
  options.scale = run.real("scale");
  check_precision<S>(run, "softmax_precision", run.integer("softmax_precision", kFloat));
  run.no_more_attributes();
  const Array<S> q = run.input<S>(0), k = run.input<S>(1), v = run.input<S>(2);
  run.no_more_inputs();
  const Tensor<S, 4> y = attend::scaled_dot_product_attention(q.template view<4>(), k.template view<4>(),
                                                              v.template view<4>(), options);
  run.give<S>(0, {y.shape().begin(), y.shape().end()}, y.span());
}

// ---- Positions
// ------------------------------------------------------------------------------------------------------

template <class S>
void rotary_embedding(Run& run) {
  const bool interleaved = run.flag("interleaved");
  const Index num_heads = run.integer("num_heads", 0), rotary_dim = run.integer("rotary_embedding_dim", 0);
  run.no_more_attributes();
  Array<S> x = run.input<S>(0);
  const Array<S> cosine = run.input<S>(1), sine = run.input<S>(2);
  const TensorView<S, 4> heads = four_axes<S>(x, num_heads, "X");
  const Index pairs = (rotary_dim > 0 ? rotary_dim : heads.size(3)) / 2;
  if (cosine.shape.empty() || cosine.shape.back() != pairs)
    attend::detail::fail_shape("cos_cache", "[..., " + std::to_string(pairs) + "]", cosine.shape);
  attend::Context& context = attend::default_context();
  if (run.has_input(3)) {
    const Array<std::int64_t> positions = run.input<std::int64_t>(3);
    run.no_more_inputs();
    attend::rotate<S>(context, heads, cosine.template view<2>(), sine.template view<2>(),
                      positions.template view<2>(), interleaved);
  } else {
    run.no_more_inputs();
    attend::rotate<S>(context, heads, cosine.template view<3>(), sine.template view<3>(), interleaved);
  }
  run.give<S>(0, x.shape, x.span());
}

// ---- Norms
// ------------------------------------------------------------------------------------------------------------

/// `values` repeated along the axes of `shape` where it is 1 or has none. Error where it does not fit, and a
/// skip where it differs from row to row.
template <class S>
std::vector<S> broadcast_parameter(const Array<S>& values, const std::vector<Index>& shape) {
  std::vector<Index> own = values.shape;
  while (own.size() > shape.size()) {
    if (own.front() != 1) throw Skip{"a scale or bias that differs from row to row is not supported"};
    own.erase(own.begin());
  }
  own.insert(own.begin(), shape.size() - own.size(), 1);
  std::vector<S> result(static_cast<std::size_t>(product(shape, 0, shape.size())));
  for (std::size_t i = 0; i < result.size(); ++i) {
    Index rest = static_cast<Index>(i), at = 0, stride = 1;
    for (std::size_t a = shape.size(); a-- > 0; rest /= shape[a]) {
      if (own[a] != 1 && own[a] != shape[a])
        attend::detail::fail_shape("scale or bias", attend::to_string(shape), values.shape);
      if (own[a] != 1) at += rest % shape[a] * stride;
      stride *= own[a];
    }
    result[i] = values.values(at);
  }
  return result;
}

template <class S>
void norm(Run& run, attend::NormKind kind) {
  const Index axis_attribute = run.integer("axis", -1);
  const double eps = run.real("epsilon", 1e-5);
  check_precision<S>(run, "stash_type", run.integer("stash_type", kFloat));
  run.no_more_attributes();
  const Array<S> x = run.input<S>(0), scale = run.input<S>(1);
  const bool has_bias = kind == attend::NormKind::layer && run.has_input(2);
  const std::size_t axis = axis_of(axis_attribute, x.shape), rank = x.shape.size();
  const std::vector<Index> normalized(x.shape.begin() + static_cast<std::ptrdiff_t>(axis), x.shape.end());
  const Index rows = product(x.shape, 0, axis), n = product(x.shape, axis, rank);

  attend::Norm<S> layer({.size = n, .eps = eps, .kind = kind, .weight = true, .bias = has_bias});
  const std::vector<S> weight = broadcast_parameter(scale, normalized);
  const std::vector<S> bias = has_bias ? broadcast_parameter(run.input<S>(2), normalized) : std::vector<S>();
  layer.parameters([&](const std::string& name, attend::Parameter<S> parameter) {
    parameter.assign(0, n, name == "weight" ? weight.data() : bias.data());
  });
  run.no_more_inputs();

  Array<S> y(x.shape), mean({rows}), inverse_deviation({rows});
  layer.forward(attend::default_context(), TensorView<const S, 2>(x.values.data(), {rows, n}),
                TensorView<S, 2>(y.values.data(), {rows, n}),
                kind == attend::NormKind::layer ? mean.template view<1>() : TensorView<S, 1>(),
                inverse_deviation.template view<1>());
  std::vector<Index> reduced = x.shape;
  std::fill(reduced.begin() + static_cast<std::ptrdiff_t>(axis), reduced.end(), 1);
  run.give<S>(0, x.shape, y.span());
  for (Index slot = 1; slot <= 2; ++slot) {
    if (!run.wants(slot)) continue;
    if (run.output_name(slot) == "Mean" && kind == attend::NormKind::layer)
      run.give<S>(slot, reduced, mean.span());
    if (run.output_name(slot) == "InvStdDev") run.give<S>(slot, reduced, inverse_deviation.span());
  }
}

// ---- Softmax and elementwise functions
// --------------------------------------------------------------------------------

template <class S>
void softmax(Run& run, bool log_of_it) {
  const bool flattens = run.opset() < 13;  // then all axes from `axis` on are one
  const Index axis_attribute = run.integer("axis", flattens ? 1 : -1);
  run.no_more_attributes();
  const Array<S> x = run.input<S>(0);
  run.no_more_inputs();
  const std::size_t axis = axis_of(axis_attribute, x.shape), rank = x.shape.size();
  const Index before = product(x.shape, 0, axis);
  const Shape<3> shape = flattens ? Shape<3>{before, product(x.shape, axis, rank), 1}
                                  : Shape<3>{before, x.shape[axis], product(x.shape, axis + 1, rank)};
  const TensorView<const S, 3> view(x.values.data(), shape);
  const Tensor<S, 3> y = log_of_it ? attend::log_softmax(view, 1) : attend::softmax(view, 1);
  run.give<S>(0, x.shape, y.span());
}

template <class S>
void elementwise(Run& run, attend::Activation activation) {
  run.no_more_attributes();
  const Array<S> x = run.input<S>(0);
  run.no_more_inputs();
  run.give<S>(0, x.shape, attend::activate(activation, x.values));
}

template <class S>
void gelu(Run& run) {
  const std::string approximate = run.text("approximate", "none");
  if (approximate != "none" && approximate != "tanh")
    throw Skip{"attribute approximate '" + approximate + "' is not known"};
  elementwise<S>(run, approximate == "tanh" ? attend::Activation::gelu_tanh : attend::Activation::gelu);
}

template <class S>
void swish(Run& run) {
  const double alpha = run.real("alpha", 1);
  run.no_more_attributes();
  const Array<S> x = run.input<S>(0);
  run.no_more_inputs();
  run.give<S>(0, x.shape, attend::swish(x.values, alpha));
}

template <class S>
void swiglu(Run& run) {
  const double alpha = run.real("alpha", 1);
  run.no_more_attributes();
  const Array<S> gate = run.input<S>(0), value = run.input<S>(1);
  run.no_more_inputs();
  if (gate.shape != value.shape)
    attend::detail::fail_shape("SwiGLU (B)", attend::to_string(gate.shape), value.shape);
  run.give<S>(0, gate.shape, attend::swiglu(gate.values, value.values, alpha));
}

// -----------------------------------------------------------------------------------------------------------------------

template <class S>
void run_operator(Run& run) {
  using attend::Activation;
  static const std::map<std::string, void (*)(Run&)> operators = {
      {"Attention", attention<S>},
      {"FlexAttention", flex_attention<S>},
      {"RotaryEmbedding", rotary_embedding<S>},
      {"LayerNormalization", [](Run& r) { norm<S>(r, attend::NormKind::layer); }},
      {"RMSNormalization", [](Run& r) { norm<S>(r, attend::NormKind::rms); }},
      {"Softmax", [](Run& r) { softmax<S>(r, false); }},
      {"LogSoftmax", [](Run& r) { softmax<S>(r, true); }},
      {"Gelu", gelu<S>},
      {"Swish", swish<S>},
      {"SwiGLU", swiglu<S>},
      {"Relu", [](Run& r) { elementwise<S>(r, Activation::relu); }},
      {"Sigmoid", [](Run& r) { elementwise<S>(r, Activation::sigmoid); }},
      {"Tanh", [](Run& r) { elementwise<S>(r, Activation::tanh); }},
      {"Erf", [](Run& r) { elementwise<S>(r, Activation::erf); }},
  };
  const auto found = operators.find(run.op());
  if (found == operators.end()) throw Skip{"operator " + run.op() + " is not one of attend's"};
  const std::string& type = run.dtype(0);
  if (type != "float32" && type != "float64" && type != "float16" && type != "bfloat16")
    throw Skip{"elements of type " + type + " are not supported"};
  found->second(run);
}

/// Runs a case; the return says what is wrong, or nothing. Throws Skip, attend::Error.
inline std::string run_case(const Case& c) {
  if (c.domain != "" && c.domain != "ai.onnx" && c.domain != "ai.onnx.preview")
    throw Skip{"domain " + c.domain + " is not known"};
  Run run(c);
  const auto asks_for_double = [&](const char* name) {
    const auto attribute = c.attributes.find(name);
    return attribute != c.attributes.end() && attribute->second.text == std::to_string(kDouble);
  };
  if (run.any_input_of("float64") || asks_for_double("softmax_precision") || asks_for_double("stash_type"))
    run_operator<double>(run);
  else
    run_operator<float>(run);
  return run.problem();
}

}  // namespace conformance::onnx
