// Each layer in float and double against PyTorch's results in float64 (tests/golden) and against the plain loops of
// reference/; and in float against reference/exact.hpp, bit by bit, on each ISA with FMA and with threads.
//
// Inputs and parameters are numbers that float holds, so what is compared is arithmetic alone. Tolerances are bounds:
// - a product of length K: (K + 2) eps (Σ|x||w| + |b|), which holds for any order of its sum;
// - a norm over n: the same for its sums, times what they are divided by (see norm_bound);
// - feed-forward and attention: these bounds carried through the next operation to first order;
// - what is composed of more: kComposed (E + F) eps max|output| for each block, where E and F are its widths. The
//   products of a block have bounds of (K + 2) eps, and its norms divide by deviations that are not small here.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <deque>

#include <attend/attend.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/reference/blocks.hpp>
#include <attend/reference/exact.hpp>

#include "golden/golden.hpp"

namespace ref = attend::reference;
using attend::Activation;
using attend::Context;
using attend::Index;
using attend::Shape;
using attend::Tensor;
using attend::TensorView;
using golden::Case;

namespace {

constexpr double kComposed = 16;
const std::string kFolder = std::string(ATTEND_SOURCE_DIR) + "/tests/golden/";

template <class S>
constexpr double kEps = static_cast<double>(std::numeric_limits<S>::epsilon());

const attend::SafeTensors& results() {
  static const attend::SafeTensors file(kFolder + "golden.safetensors");
  return file;
}
std::vector<double> golden_values(const Case& c, const std::string& tensor = "output") {
  const auto& entry = results().at(c.path(tensor));
  std::vector<double> values(static_cast<std::size_t>(entry.numel()));
  results().read_elements(entry, 0, entry.numel(), values.data());
  return values;
}

template <class S, int Rank>
Tensor<double, Rank> widened(const Tensor<S, Rank>& x) {
  Tensor<double, Rank> wide(x.shape());
  attend::copy(x.view(), wide.view());
  return wide;
}
template <int Rank>
Tensor<double, Rank> magnitudes(TensorView<const double, Rank> x) {
  Tensor<double, Rank> m(x);
  for (double& value : m.span()) value = std::abs(value);
  return m;
}
double greatest(std::span<const double> values) {
  double most = 0;
  for (double v : values) most = std::max(most, std::abs(v));
  return most;
}

/// |got - expected| <= bound(i) for each element; says which one is furthest out.
template <class S, class Bound>
void check_near(const Case& c, std::span<const S> got, std::span<const double> expected, Bound&& bound) {
  REQUIRE_MESSAGE(got.size() == expected.size(), c.name);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - expected[i]);
    if (error <= bound(i) || (std::isinf(expected[i]) && static_cast<double>(got[i]) == expected[i])) continue;
    FAIL_CHECK(c.name << " in " << (sizeof(S) == 4 ? "float" : "double") << ": element " << i << " is " << got[i]
                      << ", expected " << expected[i] << ", off by " << error << ", bound " << bound(i));
    return;
  }
  CHECK(true);
}
/// Against PyTorch, and against reference/, which in turn must agree with PyTorch. Bounds are for eps 1.
template <class S>
void check_values(const Case& c, std::span<const S> got, std::span<const double> reference, auto&& bound,
                  const std::string& tensor = "output") {
  const std::vector<double> expected = golden_values(c, tensor);
  const auto within = [&](double eps) { return [&bound, eps](std::size_t i) { return eps * bound(i); }; };
  check_near<double>(c, reference, expected, within(2 * kEps<double>));  // both are off, each by its own
  check_near<S>(c, got, expected, within(kEps<S> + kEps<double>));
  check_near<S>(c, got, reference, within(kEps<S> + kEps<double>));
}
/// A bound of the composed layers.
auto of_greatest(std::span<const double> reference, double multiple) {
  return [most = greatest(reference), multiple](std::size_t) { return multiple * most; };
}

template <int Rank>
void check_same_bits(const Case& c, const Tensor<float, Rank>& got, const Tensor<float, Rank>& expected) {
  REQUIRE(got.shape() == expected.shape());
  for (std::size_t i = 0; i < got.span().size(); ++i) {
    if (std::bit_cast<std::uint32_t>(got.span()[i]) == std::bit_cast<std::uint32_t>(expected.span()[i])) continue;
    FAIL_CHECK(c.name << ": element " << i << " is " << got.span()[i] << " and not, in each bit, " << expected.span()[i]);
    return;
  }
  CHECK(true);
}

/// Runs f(context) on each ISA whose bits are promised, with one thread and with three.
template <class F>
void on_each_isa([[maybe_unused]] F&& f) {
#if ATTEND_HAS_KERNELS
  const attend::Isa chosen = attend::isa();
#if defined(__aarch64__)
  const attend::Isa with_fma[] = {attend::Isa::baseline};
#else
  const attend::Isa with_fma[] = {attend::Isa::avx2, attend::Isa::avx512};
#endif
  for (attend::Isa isa : with_fma) {
    if (!attend::kernel::runs(isa)) continue;
    attend::set_isa(isa);
    for (int threads : {1, 3}) {
      CAPTURE(attend::to_string(isa));
      CAPTURE(threads);
      Context context(threads);
      f(context);
    }
  }
  attend::set_isa(chosen);
#endif
}

/// The parameters of a case for reference/, by name. Views live as long as this.
template <class S>
class Parameters {
 public:
  explicit Parameters(const Case& c) : case_(c) {}
  TensorView<const S, 2> matrix(const std::string& name, Index rows, Index columns) {
    return matrices_.emplace_back(golden::parameter<S, 2>(case_.path(name), {rows, columns}));
  }
  TensorView<const S, 1> vector(const std::string& name, Index size) {
    return vectors_.emplace_back(golden::parameter<S, 1>(case_.path(name), {size}));
  }
  ref::Linear<S> linear(const std::string& prefix, Index out, Index in, bool bias) {
    ref::Linear<S> layer{.weight = matrix(prefix + ".weight", out, in)};
    if (bias) layer.bias = vector(prefix + ".bias", out);
    return layer;
  }
  ref::Norm<S> norm(const std::string& prefix, Index size, bool bias, double eps) {
    ref::Norm<S> norm{.weight = vector(prefix + ".weight", size), .eps = static_cast<S>(eps)};
    if (bias) norm.bias = vector(prefix + ".bias", size);
    return norm;
  }
  /// prefix is empty or ends in a dot.
  ref::MultiHeadAttention<S> attention(const std::string& prefix, Index E, Index heads, bool bias, Index kdim,
                                       Index vdim, Index kv_heads) {
    const Index rows = E + 2 * (E / heads * kv_heads);
    const TensorView<const S, 1> in_bias = bias ? vector(prefix + "in_proj_bias", rows) : TensorView<const S, 1>();
    const ref::Linear<S> out = linear(prefix + "out_proj", E, E, bias);
    if (kdim == E && vdim == E)
      return ref::MultiHeadAttention<S>::from_in_proj(matrix(prefix + "in_proj_weight", rows, E), in_bias, out, heads, kv_heads);
    ref::MultiHeadAttention<S> layer{.output = out, .num_heads = heads, .num_kv_heads = heads};
    layer.query.weight = matrix(prefix + "q_proj_weight", E, E);
    layer.key.weight = matrix(prefix + "k_proj_weight", E, kdim);
    layer.value.weight = matrix(prefix + "v_proj_weight", E, vdim);
    if (bias) {
      layer.query.bias = in_bias.slice(0, 0, E);
      layer.key.bias = in_bias.slice(0, E, 2 * E);
      layer.value.bias = in_bias.slice(0, 2 * E, 3 * E);
    }
    return layer;
  }

 private:
  Case case_;
  std::deque<Tensor<S, 2>> matrices_;
  std::deque<Tensor<S, 1>> vectors_;
};

/// The mask of a case (settings with `prefix` before their names), as attend takes it and as reference/ does.
class Masks {
 public:
  Masks(const Case& c, const std::string& prefix, const std::string& tensor, Index queries, Index keys)
      : queries_(queries), keys_(keys) {
    if (c.has(prefix + "causal")) {
      causal_ = true;
      corner_ = c.text(prefix + "causal") == "top_left" ? attend::Corner::top_left : attend::Corner::bottom_right;
    }
    if (c.has(prefix + "lengths")) {
      std::istringstream numbers(c.text(prefix + "lengths"));
      for (std::string number; std::getline(numbers, number, ',');) lengths_.push_back(std::stoll(number));
    }
    if (c.flag(prefix + "bool")) {
      visible_ = Tensor<std::uint8_t, 2>({queries, keys});
      const Tensor<double, 2> values = golden::data<double, 2>(c.path(tensor), {queries, keys});
      for (std::size_t i = 0; i < values.span().size(); ++i) visible_.span()[i] = values.span()[i] > -0.75;
    }
  }
  attend::Mask mask() const {
    const bool bits = !visible_.empty(), padded = !lengths_.empty();
    const attend::masks::Band causal = causal_ ? attend::causal(corner_) : attend::sliding_window(-1, -1);
    const attend::masks::Lengths lengths = padded ? attend::lengths(lengths_) : attend::prefix(keys_);
    if (bits && (causal_ || padded)) return causal & lengths & attend::boolean(visible_.view());
    if (bits) return attend::boolean(visible_.view());
    if (causal_ && padded) return causal & lengths;
    if (causal_) return causal;
    if (padded) return lengths;
    return {};
  }
  std::function<bool(Index, Index, Index, Index)> function() const {
    return [this](Index b, Index, Index q, Index k) {
      const Index position = q + (corner_ == attend::Corner::bottom_right ? keys_ - queries_ : 0);
      return (!causal_ || k <= position) && (lengths_.empty() || k < lengths_[static_cast<std::size_t>(b)]) &&
             (visible_.empty() || visible_(q, k) != 0);
    };
  }

 private:
  Index queries_, keys_;
  bool causal_ = false;
  attend::Corner corner_ = attend::Corner::top_left;
  std::vector<Index> lengths_;
  Tensor<std::uint8_t, 2> visible_;
};

template <class S>
ref::Elementwise<S> function_of(Activation activation) {
  switch (activation) {
    case Activation::relu: return ref::relu<S>;
    case Activation::gelu: return ref::gelu<S>;
    case Activation::gelu_tanh: return ref::gelu_tanh<S>;
    case Activation::silu: return ref::silu<S>;
    case Activation::sigmoid: return ref::sigmoid<S>;
    case Activation::tanh: return ref::tanh<S>;
    default: throw std::logic_error("no such case");
  }
}

std::function<float(float)> exact_function_of(Activation activation) {
  switch (activation) {
    case Activation::gelu: return ref::exact::gelu;
    case Activation::gelu_tanh: return ref::exact::gelu_tanh;
    case Activation::silu: return ref::exact::silu;
    case Activation::sigmoid: return ref::exact::sigmoid;
    case Activation::tanh: return ref::exact::tanh;
    default: return ref::relu<float>;
  }
}

/// Σ|x||w| + |b|, times K + 2: the bound of a product, for eps 1.
Tensor<double, 2> product_bound(TensorView<const double, 2> x, const ref::Linear<double>& layer) {
  Tensor<double, 1> bias(Shape<1>{layer.bias.size(0)});
  if (!layer.bias.empty()) bias = magnitudes<1>(layer.bias);
  Tensor<double, 2> bound = ref::linear<double>(magnitudes<2>(x), magnitudes<2>(layer.weight), bias);
  for (double& b : bound.span()) b *= static_cast<double>(x.size(1)) + 2;
  return bound;
}

template <class S>
void linear(const Case& c) {
  const Index N = c.size("N"), K = c.size("K"), M = c.size("M");
  attend::Linear<S> layer({.in_features = K, .out_features = M, .bias = c.flag("bias")});
  golden::fill<S>(c, layer);
  const Tensor<S, 2> x = golden::data<S, 2>(c.path("x"), {N, K});
  const Tensor<S, 2> y = layer(x);

  Parameters<double> parameters(c);
  ref::Linear<double> plain{.weight = parameters.matrix("weight", M, K)};
  if (c.flag("bias")) plain.bias = parameters.vector("bias", M);
  const Tensor<double, 2> reference = ref::linear<double>(widened(x), plain), bound = product_bound(widened(x), plain);
  check_values<S>(c, y.span(), reference.span(), [&](std::size_t i) { return bound.span()[i]; });

  if constexpr (std::is_same_v<S, float>) {
    Parameters<float> narrow(c);
    TensorView<const float, 1> bias;
    if (c.flag("bias")) bias = narrow.vector("bias", M);
    const Tensor<float, 2> residual = golden::data<float, 2>(c.path("residual"), {N, M});
    const TensorView<const float, 2> weight = narrow.matrix("weight", M, K);
    const Tensor<float, 2> plain_bits = ref::exact::linear(x, weight, bias);
    Tensor<float, 2> full_bits = ref::exact::linear(x, weight, bias, residual);
    for (float& value : full_bits.span()) value = ref::exact::gelu(value);
    on_each_isa([&](Context& context) {
      Tensor<float, 2> out({N, M});
      layer.forward(context, x, out);
      check_same_bits(c, out, plain_bits);
      layer.forward(context, x, out, {Activation::gelu, residual});
      check_same_bits(c, out, full_bits);
    });
  }
}

template <class S>
void embedding(const Case& c) {
  const Index V = c.size("V"), E = c.size("E");
  attend::Embedding<S> layer({.num_embeddings = V, .embedding_dim = E});
  golden::fill<S>(c, layer);
  const std::vector<Index> ids = golden::ids(c.path("ids"), c.size("N"), V);
  const Tensor<S, 2> y = layer(Tensor<Index, 1>({c.size("N")}, ids));
  Parameters<double> parameters(c);
  const Tensor<double, 2> reference =
      ref::embedding<double>(std::span<const Index>(ids), parameters.matrix("weight", V, E));
  check_values<S>(c, y.span(), reference.span(), [](std::size_t) { return 0.0; });
}

/// With d = x - mean of greatest magnitude X about its row: sums of n terms are off by (n + 8) eps of their terms'
/// magnitudes, so d by (n + 8) eps max|x|, and d / deviation by that over the deviation and by its own multiple.
std::vector<double> norm_bound(const Tensor<double, 2>& x, const Tensor<double, 2>& y, TensorView<const double, 1> weight,
                               double eps, bool centred) {
  std::vector<double> bound;
  for (Index r = 0; r < x.size(0); ++r) {
    const double n = static_cast<double>(x.size(1)), most = greatest(x[r].span());
    double mean = 0, variance = 0;
    for (Index e = 0; e < x.size(1) && centred; ++e) mean += x(r, e) / n;
    for (Index e = 0; e < x.size(1); ++e) variance += (x(r, e) - mean) * (x(r, e) - mean) / n;
    const double inverse = 1 / std::sqrt(variance + eps);
    for (Index e = 0; e < x.size(1); ++e) {
      const double w = weight.empty() ? 1 : std::abs(weight(e)), v = std::abs(x(r, e) - mean) * inverse;
      // of |d| / deviation: from d itself, and, times itself, from all the d in the deviation
      const double from_mean = centred ? most * inverse * (1 + v) : 0;
      bound.push_back((n + 8) * (w * (v + from_mean) + std::abs(y(r, e))));
    }
  }
  return bound;
}

template <class S>
void norm(const Case& c) {
  const bool centred = c.op == "layer_norm";
  const Index N = c.size("N"), E = c.size("E");
  const double eps = c.number("eps");
  const bool weighted = !centred || c.text("affine") != "none", bias = centred && c.text("affine") == "bias";
  attend::Norm<S> layer;
  if (centred)
    layer = attend::LayerNorm<S>({.normalized_shape = E, .eps = eps, .elementwise_affine = weighted, .bias = bias});
  else
    layer = attend::RMSNorm<S>({.normalized_shape = E, .eps = eps});
  golden::fill<S>(c, layer);
  const Tensor<S, 2> x = golden::data<S, 2>(c.path("x"), {N, E}, 2, centred ? c.number("offset") : 0);
  const Tensor<S, 2> y = layer(x);

  const auto views = [&](auto& parameters) {
    return std::pair(weighted ? parameters.vector("weight", E) : decltype(parameters.vector("", 0)){},
                     bias ? parameters.vector("bias", E) : decltype(parameters.vector("", 0)){});
  };
  Parameters<double> parameters(c);
  const auto [weight, shift] = views(parameters);
  const Tensor<double, 2> reference = centred ? ref::layer_norm<double>(widened(x), weight, shift, eps)
                                              : ref::rms_norm<double>(widened(x), weight, eps);
  const std::vector<double> bound = norm_bound(widened(x), reference, weight, eps, centred);
  check_values<S>(c, y.span(), reference.span(), [&](std::size_t i) { return bound[i]; });

  if constexpr (std::is_same_v<S, float>) {
    Parameters<float> narrow(c);
    const auto [w, b] = views(narrow);
    const Tensor<float, 2> bits = centred ? ref::exact::layer_norm(x, w, b, static_cast<float>(eps))
                                          : ref::exact::rms_norm(x, w, static_cast<float>(eps));
    on_each_isa([&](Context& context) {
      Tensor<float, 2> out({N, E});
      layer.forward(context, x, out);
      check_same_bits(c, out, bits);
    });
  }
}

template <class S>
void activation(const Case& c) {
  const Activation activation = attend::activation_from_string(c.text("function"));
  const Tensor<S, 2> x = golden::data<S, 2>(c.path("x"), {c.size("N"), 3}, c.number("range"));
  const Tensor<S, 2> y = attend::activate(activation, x);
  const Tensor<double, 2> reference = ref::apply<double>(function_of<double>(activation), widened(x));
  // Four operations, on values of at most max(1, |x|).
  check_values<S>(c, y.span(), reference.span(),
                  [&](std::size_t i) { return 4 * std::max(1.0, std::abs(static_cast<double>(x.span()[i]))); });
  if constexpr (std::is_same_v<S, float>)
    on_each_isa([&](Context& context) {
      Tensor<float, 2> out(x.shape());
      attend::activate(context, activation, x, out);
      check_same_bits(c, out, ref::apply<float>(exact_function_of(activation), x));
    });
}

/// No layer of its own: reference/ alone.
template <class S>
void softmax(const Case& c) {
  const Tensor<S, 2> x = golden::data<S, 2>(c.path("x"), {c.size("N"), c.size("E")}, c.number("range"));
  const Tensor<S, 2> y = ref::softmax<S>(x);
  const double n = static_cast<double>(c.size("E"));
  check_values<S>(c, y.span(), ref::softmax<double>(widened(x)).span(),
                  [&](std::size_t) { return n + 4 + 2 * c.number("range"); });
}

template <class S>
void feed_forward(const Case& c) {
  const Index N = c.size("N"), E = c.size("E"), F = c.size("F");
  const bool gated = c.flag("gated"), bias = c.flag("bias");
  const Activation activation = attend::activation_from_string(c.text("activation"));
  attend::FeedForward<S> layer(
      {.embed_dim = E, .dim_feedforward = F, .activation = activation, .gated = gated, .bias = bias});
  golden::fill<S>(c, layer);
  const Tensor<S, 2> x = golden::data<S, 2>(c.path("x"), {N, E});
  const Tensor<S, 2> y = layer(x);

  Parameters<double> parameters(c);
  const ref::Linear<double> stacked = parameters.linear("linear1", gated ? 2 * F : F, E, bias);
  const ref::Linear<double> down = parameters.linear("linear2", E, F, bias);
  const auto part = [&](Index begin) {
    ref::Linear<double> layer{.weight = stacked.weight.slice(0, begin, begin + F)};
    if (bias) layer.bias = stacked.bias.slice(0, begin, begin + F);
    return layer;
  };
  const ref::Linear<double> up = part(gated ? F : 0), gate = gated ? part(0) : ref::Linear<double>{};
  const Tensor<double, 2> wide = widened(x);
  const Tensor<double, 2> reference = ref::feed_forward<double>(wide, up, function_of<double>(activation), down, gate);

  // First order: each activation has a slope of at most 1.2 and is itself off by 4 eps max(1, |v|).
  const Tensor<double, 2> first = ref::linear<double>(wide, gated ? gate : up);
  const Tensor<double, 2> second = ref::linear<double>(wide, up);
  const Tensor<double, 2> first_bound = product_bound(wide, gated ? gate : up), second_bound = product_bound(wide, up);
  Tensor<double, 2> hidden = ref::apply<double>(function_of<double>(activation), first), hidden_bound(hidden.shape());
  for (std::size_t i = 0; i < hidden.span().size(); ++i) {
    double& h = hidden.span()[i];
    double& b = hidden_bound.span()[i];
    b = 1.2 * first_bound.span()[i] + 4 * std::max(1.0, std::abs(first.span()[i]));
    if (!gated) continue;
    b = b * std::abs(second.span()[i]) + std::abs(h) * (second_bound.span()[i] + std::abs(second.span()[i]));
    h *= second.span()[i];
  }
  const Tensor<double, 2> carried = ref::linear<double>(hidden_bound, magnitudes<2>(down.weight));
  const Tensor<double, 2> own = product_bound(hidden, down);
  check_values<S>(c, y.span(), reference.span(),
                  [&](std::size_t i) { return 1.01 * (carried.span()[i] + own.span()[i]); });
}

template <class S>
void attention(const Case& c) {
  const Index B = c.size("B"), H = c.size("H"), G = c.size("Hkv"), Tq = c.size("Tq"), Tk = c.size("Tk");
  const Index D = c.size("D"), Dv = c.size("Dv");
  const Tensor<S, 4> q = golden::data<S, 4>(c.path("query"), {B, H, Tq, D});
  const Tensor<S, 4> k = golden::data<S, 4>(c.path("key"), {B, G, Tk, D});
  const Tensor<S, 4> v = golden::data<S, 4>(c.path("value"), {B, G, Tk, Dv});
  const bool additive = c.flag("additive");
  const Tensor<S, 3> bias = golden::data<S, 3>(c.path("additive_mask"), additive ? Shape<3>{H, Tq, Tk} : Shape<3>{});
  const Masks masks(c, "", "mask", Tq, Tk);

  attend::AttentionOptions<S> options{.mask = masks.mask()};
  ref::AttentionOptions<double> plain{.mask = masks.function()};
  ref::AttentionOptions<S> plain_narrow{.mask = masks.function()};
  if (c.has("scale")) {
    options.scale = plain.scale = c.number("scale");
    plain_narrow.scale = static_cast<S>(c.number("scale"));
  }
  if (additive) {
    options.mask = options.mask & attend::additive(bias.view());
    plain.additive_mask = [&](Index, Index h, Index i, Index j) { return static_cast<double>(bias(h, i, j)); };
    plain_narrow.additive_mask = [&](Index, Index h, Index i, Index j) { return bias(h, i, j); };
  }
  Tensor<S, 3> log_sum_exp({B, H, Tq});
  Tensor<S, 4> weights({B, H, Tq, Tk});
  options.log_sum_exp = log_sum_exp;
  options.weights = weights;
  const Tensor<S, 4> y = attend::scaled_dot_product_attention(q, k, v, options);

  const Tensor<double, 4> wide_q = widened(q), wide_k = widened(k), wide_v = widened(v);
  const auto reference = ref::scaled_dot_product_attention<double>(wide_q, wide_k, wide_v, plain);
  // With scores off by s eps, a weight is off by 2 s eps of itself (it and the sum), and a sum over keys by
  // (Tk + 16) eps of its terms' magnitudes.
  const double scale = std::abs(ref::attention_scale(plain, D)), terms = static_cast<double>(Tk) + 16;
  std::vector<double> score_bound, output_bound;  // [B, H, Tq], [B, H, Tq, Dv]
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h)
      for (Index i = 0; i < Tq; ++i) {
        double s = 0;
        for (Index j = 0; j < Tk; ++j) {
          double magnitude = 0;
          for (Index d = 0; d < D; ++d) magnitude += std::abs(wide_q(b, h, i, d) * wide_k(b, h / (H / G), j, d));
          s = std::max(s, (static_cast<double>(D) + 6) * scale * magnitude + (additive ? 4 : 0));
        }
        score_bound.push_back(s);
        for (Index d = 0; d < Dv; ++d) {
          double sum = 0;
          for (Index j = 0; j < Tk; ++j)
            sum += reference.weights(b, h, i, j) * std::abs(wide_v(b, h / (H / G), j, d));
          output_bound.push_back((2 * s + 2 * terms) * sum);
        }
      }
  check_values<S>(c, y.span(), reference.output.span(), [&](std::size_t i) { return output_bound[i]; });
  check_near<S>(c, log_sum_exp.span(), reference.log_sum_exp.span(), [&](std::size_t i) {
    return 2 * kEps<S> * (score_bound[i] + terms + std::abs(reference.log_sum_exp.span()[i]));
  });
  check_near<S>(c, weights.span(), reference.weights.span(), [&](std::size_t i) {
    const double s = score_bound[i / static_cast<std::size_t>(Tk)];
    return 2 * kEps<S> * (2 * s + 2 * terms) * reference.weights.span()[i] + 1e-37;  // float may underflow
  });

  if constexpr (std::is_same_v<S, float>) {
    const auto bits = ref::exact::scaled_dot_product_attention(q, k, v, plain_narrow);
    on_each_isa([&](Context& context) {
      Tensor<float, 4> out({B, H, Tq, Dv});
      attend::AttentionOptions<float> without = options;
      without.weights = {};
      attend::scaled_dot_product_attention<float>(context, q, k, v, without, out);
      check_same_bits(c, out, bits.output);
      for (std::size_t i = 0; i < log_sum_exp.span().size(); ++i) {
        const float expected = bits.log_sum_exp.span()[i];  // its logarithm is another, within a rounding
        CHECK((log_sum_exp.span()[i] == expected ||
               std::abs(log_sum_exp.span()[i] - expected) <= kEps<float> * std::abs(expected)));
      }
    });
  }
}

template <class S>
void multi_head_attention(const Case& c) {
  const Index B = c.size("B"), Tq = c.size("Tq"), Tk = c.size("Tk"), E = c.size("E"), heads = c.size("heads");
  const Index kdim = c.size("kdim", E), vdim = c.size("vdim", E), kv_heads = c.size("kv_heads", heads);
  const bool cross = c.flag("cross"), weighted = results().contains(c.path("weights"));
  attend::MultiHeadAttention<S> layer(
      {.embed_dim = E, .num_heads = heads, .num_kv_heads = kv_heads, .kdim = kdim, .vdim = vdim, .bias = c.flag("bias")});
  golden::fill<S>(c, layer);
  const Tensor<S, 3> q = golden::data<S, 3>(c.path("query"), {B, Tq, E});
  const Tensor<S, 3> k = cross ? golden::data<S, 3>(c.path("key"), {B, Tk, kdim}) : q;
  const Tensor<S, 3> v = cross ? golden::data<S, 3>(c.path("value"), {B, Tk, vdim}) : q;
  const Masks masks(c, "", "mask", Tq, Tk);
  attend::AttentionOptions<S> options{.mask = masks.mask()};
  Tensor<S, 4> weights({B, heads, Tq, Tk});
  Tensor<S, 3> average({B, Tq, Tk});
  const Tensor<S, 3> y = cross ? layer(q, k, v, options) : layer(q, options);
  if (weighted) {
    options.weights = weights;
    options.average_weights = average;
    const Tensor<S, 3> again = layer(q, k, v, options);
#if ATTEND_HAS_KERNELS  // whose promise this is
    CHECK(std::equal(again.span().begin(), again.span().end(), y.span().begin()));
#endif
    options.weights = {};
    Tensor<S, 3> average_alone({B, Tq, Tk});
    options.average_weights = average_alone;
    layer(q, k, v, options);
    CHECK(std::equal(average.span().begin(), average.span().end(), average_alone.span().begin()));
  }

  Parameters<double> parameters(c);
  const auto plain = parameters.attention("", E, heads, c.flag("bias"), kdim, vdim, kv_heads);
  const auto reference =
      ref::multi_head_attention<double>(widened(q), widened(k), widened(v), plain, {.mask = masks.function()});
  const double width = static_cast<double>(E + std::max(kdim, vdim));
  check_values<S>(c, y.span(), reference.output.span(), of_greatest(reference.output.span(), kComposed * width));
  if (!weighted) return;
  const auto bound = of_greatest(reference.weights.span(), kComposed * width);
  check_values<S>(c, weights.span(), reference.weights.span(), bound, "weights");
  check_near<S>(c, average.span(), golden_values(c, "average_weights"), [&](std::size_t i) { return kEps<S> * bound(i); });
}

template <class S>
ref::EncoderBlock<S> encoder_block(Parameters<S>& parameters, const Case& c, const std::string& prefix) {
  const Index E = c.size("E"), F = c.size("F"), heads = c.size("heads");
  const bool bias = c.flag("bias", true);
  const double eps = c.has("eps") ? c.number("eps") : 1e-5;
  ref::EncoderBlock<S> block;
  block.self_attn = parameters.attention(prefix + "self_attn.", E, heads, bias, E, E, heads);
  block.linear1 = parameters.linear(prefix + "linear1", F, E, bias);
  block.linear2 = parameters.linear(prefix + "linear2", E, F, bias);
  block.norm1 = parameters.norm(prefix + "norm1", E, bias, eps);
  block.norm2 = parameters.norm(prefix + "norm2", E, bias, eps);
  block.activation = function_of<S>(attend::activation_from_string(c.text("activation")));
  block.norm_first = c.flag("norm_first");
  return block;
}

/// Options of a block, encoder's or decoder's.
template <class Options>
Options block_options(const Case& c) {
  Options o;
  o.embed_dim = c.size("E");
  o.num_heads = c.size("heads");
  o.dim_feedforward = c.size("F");
  o.activation = attend::activation_from_string(c.text("activation"));
  o.norm_first = c.flag("norm_first");
  if (c.has("eps")) o.layer_norm_eps = c.number("eps");
  o.bias = c.flag("bias", true);
  return o;
}

double composed_bound(const Case& c) {
  return kComposed * static_cast<double>(c.size("layers", 1)) * static_cast<double>(c.size("E") + c.size("F"));
}
std::string block_prefix(const Case& c, Index i) {
  return c.has("layers") ? "layers." + std::to_string(i) + "." : "";
}

template <class S>
void encoder(const Case& c) {
  const Index B = c.size("B"), T = c.size("T"), E = c.size("E");
  const Tensor<S, 3> x = golden::data<S, 3>(c.path("x"), {B, T, E});
  const Masks masks(c, "", "mask", T, T);
  const attend::AttentionOptions<S> options{.mask = masks.mask()};
  const auto block = block_options<attend::EncoderBlockOptions>(c);
  Tensor<S, 3> y;
  const auto run = [&](auto layer) {
    golden::fill<S>(c, layer);
    y = layer(x, options);
  };
  if (c.has("layers"))
    run(attend::Encoder<S>({.block = block, .num_layers = c.size("layers"), .final_norm = c.flag("final_norm")}));
  else
    run(attend::EncoderBlock<S>(block));

  Parameters<double> parameters(c);
  std::vector<ref::EncoderBlock<double>> blocks;
  for (Index i = 0; i < c.size("layers", 1); ++i)
    blocks.push_back(encoder_block(parameters, c, block_prefix(c, i)));
  ref::Norm<double> final_norm;
  if (c.flag("final_norm")) final_norm = parameters.norm("norm", E, true, block.layer_norm_eps);
  const Tensor<double, 3> reference =
      ref::encoder<double>(widened(x), blocks, final_norm, {.mask = masks.function()});
  check_values<S>(c, y.span(), reference.span(), of_greatest(reference.span(), composed_bound(c)));
}

template <class S>
void decoder(const Case& c) {
  const Index B = c.size("B"), T = c.size("T"), memory_T = c.size("S"), E = c.size("E");
  const Tensor<S, 3> x = golden::data<S, 3>(c.path("x"), {B, T, E});
  const Tensor<S, 3> memory = golden::data<S, 3>(c.path("memory"), {B, memory_T, E});
  const Masks masks(c, "", "mask", T, T), memory_masks(c, "memory_", "memory/mask", T, memory_T);
  const attend::AttentionOptions<S> self{.mask = masks.mask()}, cross{.mask = memory_masks.mask()};
  const auto block = block_options<attend::DecoderBlockOptions>(c);
  Tensor<S, 3> y;
  const auto run = [&](auto layer) {
    golden::fill<S>(c, layer);
    y = layer(x, memory, self, cross);
  };
  if (c.has("layers"))
    run(attend::Decoder<S>({.block = block, .num_layers = c.size("layers"), .final_norm = c.flag("final_norm")}));
  else
    run(attend::DecoderBlock<S>(block));

  Parameters<double> parameters(c);
  std::vector<ref::DecoderBlock<double>> blocks;
  for (Index i = 0; i < c.size("layers", 1); ++i) {
    const std::string prefix = block_prefix(c, i);
    ref::DecoderBlock<double> plain;
    static_cast<ref::EncoderBlock<double>&>(plain) = encoder_block(parameters, c, prefix);
    plain.multihead_attn =
        parameters.attention(prefix + "multihead_attn.", E, c.size("heads"), block.bias, E, E, c.size("heads"));
    plain.norm3 = parameters.norm(prefix + "norm3", E, block.bias, block.layer_norm_eps);
    blocks.push_back(plain);
  }
  ref::Norm<double> final_norm;
  if (c.flag("final_norm")) final_norm = parameters.norm("norm", E, true, block.layer_norm_eps);
  const Tensor<double, 3> reference = ref::decoder<double>(
      widened(x), widened(memory), blocks, final_norm, {.mask = masks.function()}, {.mask = memory_masks.function()});
  check_values<S>(c, y.span(), reference.span(), of_greatest(reference.span(), composed_bound(c)));
}

template <class S>
void run_cases(const std::string& op, void (*run)(const Case&)) {
  int count = 0;
  for (const Case& c : golden::read_cases(kFolder + "cases.txt"))
    if (c.op == op) {
      ++count;
      CAPTURE(c.name);
      run(c);
    }
  CHECK(count > 0);
}

}  // namespace

TEST_CASE_TEMPLATE("Linear", S, float, double) { run_cases<S>("linear", linear<S>); }
TEST_CASE_TEMPLATE("Embedding", S, float, double) { run_cases<S>("embedding", embedding<S>); }
TEST_CASE_TEMPLATE("LayerNorm", S, float, double) { run_cases<S>("layer_norm", norm<S>); }
TEST_CASE_TEMPLATE("RMSNorm", S, float, double) { run_cases<S>("rms_norm", norm<S>); }
TEST_CASE_TEMPLATE("activations", S, float, double) { run_cases<S>("activation", activation<S>); }
TEST_CASE_TEMPLATE("softmax of the reference", S, float, double) { run_cases<S>("softmax", softmax<S>); }
TEST_CASE_TEMPLATE("FeedForward", S, float, double) { run_cases<S>("feed_forward", feed_forward<S>); }
TEST_CASE_TEMPLATE("scaled_dot_product_attention", S, float, double) { run_cases<S>("attention", attention<S>); }
TEST_CASE_TEMPLATE("MultiHeadAttention", S, float, double) {
  run_cases<S>("multi_head_attention", multi_head_attention<S>);
}
TEST_CASE_TEMPLATE("Encoder", S, float, double) { run_cases<S>("encoder", encoder<S>); }
TEST_CASE_TEMPLATE("Decoder", S, float, double) { run_cases<S>("decoder", decoder<S>); }

// What PyTorch's function has no argument for, against reference/ alone; over two tiles and grouped heads.
TEST_CASE("soft cap, score modifier, sinks, -inf in a bias, and NaN behind a mask") {
  const Index B = 2, H = 4, G = 2, Tq = 5, Tk = 131, D = 7, Dv = 18;
  const Case c{"attention options", "attention", {}};
  const auto q = golden::data<float, 4>("q", {B, H, Tq, D});
  auto k = golden::data<float, 4>("k", {B, G, Tk, D});
  auto v = golden::data<float, 4>("v", {B, G, Tk, Dv});
  const auto sinks = golden::data<float, 1>("sinks", {H}, 4);
  auto bias = golden::data<float, 4>("bias", {1, H, Tq, Tk});
  for (Index h = 0; h < H; ++h)
    for (Index i = 0; i < Tq; ++i)
      for (Index j = 0; j < Tk; j += 1 + i) bias(0, h, i, j) = -std::numeric_limits<float>::infinity();
  // Key 40 is hidden from all, query 3 of batch 1 sees nothing, and 100 only shows itself to queries 0 and 1.
  const auto visible = [](Index b, Index, Index i, Index j) {
    return j != 40 && !(b == 1 && i == 3) && (j != 100 || i < 2);
  };
  const auto slope = [](float score, Index, Index h, Index i, Index j) {
    return score - 0.125f * static_cast<float>((h + 1) * std::abs(i - j)) / 64;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (int choice = 0; choice < 32; ++choice) {
    CAPTURE(choice);
    const bool poisoned = (choice & 16) != 0;
    for (Index b = 0; b < B; ++b)
      for (Index g = 0; g < G; ++g) {
        for (Index d = 0; d < D; ++d) k(b, g, 40, d) = poisoned ? nan : 1;
        for (Index d = 0; d < Dv; ++d) v(b, g, 40, d) = poisoned ? std::numeric_limits<float>::infinity() : 1;
      }
    attend::AttentionOptions<float> options{.mask = visible};
    ref::AttentionOptions<float> narrow{.mask = visible};
    ref::AttentionOptions<double> wide{.mask = visible};
    const Tensor<double, 1> wide_sinks = widened(sinks);
    if (choice & 1) {
      options.softcap = wide.softcap = 1.5;
      narrow.softcap = 1.5f;
    }
    if (choice & 2) {
      options.modifier = slope;
      narrow.modifier = slope;
      wide.modifier = [&](double score, Index b, Index h, Index i, Index j) {
        return score + static_cast<double>(slope(0, b, h, i, j));
      };
    }
    if (choice & 4) {
      options.sinks = sinks.span();
      narrow.sinks = sinks;
      wide.sinks = wide_sinks;
    }
    if (choice & 8) {
      options.mask = options.mask & attend::additive(bias.view());
      narrow.additive_mask = [&](Index, Index h, Index i, Index j) { return bias(0, h, i, j); };
      wide.additive_mask = [&](Index, Index h, Index i, Index j) { return static_cast<double>(bias(0, h, i, j)); };
    }
    const auto expected = ref::scaled_dot_product_attention<double>(widened(q), widened(k), widened(v), wide);
    const auto bits = ref::exact::scaled_dot_product_attention(q, k, v, narrow);
    // |scores| < 16 and |v| <= 2; the bound is that of the golden cases.
    const double bound = kEps<float> * (2 * 16 * (D + 6) + 2 * (Tk + 16)) * 2;
    check_near<float>(c, bits.output.span(), expected.output.span(), [&](std::size_t) { return bound; });
    check_near<float>(c, bits.log_sum_exp.span(), expected.log_sum_exp.span(), [&](std::size_t) { return bound; });
    on_each_isa([&](Context& context) {
      Tensor<float, 4> out({B, H, Tq, Dv});
      attend::scaled_dot_product_attention<float>(context, q, k, v, options, out);
      check_same_bits(c, out, bits.output);
    });
    for (Index h = 0; h < H; ++h) {
      CHECK(expected.log_sum_exp(1, h, 3) == -std::numeric_limits<double>::infinity());
      for (Index d = 0; d < Dv; ++d) CHECK(bits.output(1, h, 3, d) == 0);
    }
    // The double path of the library, its weights and log-sum-exp.
    const Tensor<double, 4> wide_bias = widened(bias);
    attend::AttentionOptions<double> options64{.mask = visible, .softcap = options.softcap};
    if (choice & 2)
      options64.modifier = [slope](double score, Index b, Index h, Index i, Index j) {
        return score + static_cast<double>(slope(0, b, h, i, j));
      };
    if (choice & 4) options64.sinks = wide_sinks.span();
    if (choice & 8) options64.mask = options64.mask & attend::additive(wide_bias.view());
    Tensor<double, 4> weights({B, H, Tq, Tk});
    Tensor<double, 3> log_sum_exp({B, H, Tq});
    options64.weights = weights;
    options64.log_sum_exp = log_sum_exp;
    const auto out = attend::scaled_dot_product_attention(widened(q), widened(k), widened(v), options64);
    const double bound64 = bound * kEps<double> / kEps<float>;
    check_near<double>(c, out.span(), expected.output.span(), [&](std::size_t) { return bound64; });
    check_near<double>(c, weights.span(), expected.weights.span(), [&](std::size_t) { return bound64; });
    check_near<double>(c, log_sum_exp.span(), expected.log_sum_exp.span(), [&](std::size_t) { return bound64; });
  }
}

TEST_CASE("bits of attention over several spans, in prefill and in decoding") {
  for (const Shape<3>& heads : {Shape<3>{2, 1, 19}, Shape<3>{8, 2, 1}, Shape<3>{3, 3, 50}}) {
    const Index H = heads[0], G = heads[1], Tq = heads[2];
    const Index B = 2, Tk = 3300, D = 3, Dv = 21;
    const Case c{"spans of " + std::to_string(Tq), "attention", {}};
    const auto q = golden::data<float, 4>("q", {B, H, Tq, D}, 4);
    const auto k = golden::data<float, 4>("k", {B, G, Tk, D});
    const auto v = golden::data<float, 4>("v", {B, G, Tk, Dv});
    for (bool causal : {false, true}) {
      const auto corner = attend::Corner::bottom_right;
      const attend::AttentionOptions<float> options{.mask = causal ? attend::Mask(attend::causal(corner)) : attend::Mask()};
      ref::AttentionOptions<float> plain;
      if (causal) plain.mask = [=](Index, Index, Index i, Index j) { return j <= i + Tk - Tq; };
      const auto bits = ref::exact::scaled_dot_product_attention(q, k, v, plain);
      on_each_isa([&](Context& context) {
        Tensor<float, 4> out({B, H, Tq, Dv});
        attend::scaled_dot_product_attention<float>(context, q, k, v, options, out);
        check_same_bits(c, out, bits.output);
      });
    }
  }
}

TEST_CASE("every case of the file is of a kind that is tested") {
  const std::vector<std::string> known = {"linear",       "embedding", "layer_norm",           "rms_norm", "activation", "softmax",
                                          "feed_forward", "attention", "multi_head_attention", "encoder",  "decoder"};
  for (const Case& c : golden::read_cases(kFolder + "cases.txt"))
    CHECK(std::find(known.begin(), known.end(), c.op) != known.end());
}
