// Backend<Scalar>: the arithmetic of the layers. The primary template is Eigen and std, for any scalar, and
// the readable one; Backend<float> calls the kernels, where there are any.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include <attend/core/config.hpp>
#include <attend/core/context.hpp>
#include <attend/core/flags.hpp>
#include <attend/core/scalar.hpp>
#include <attend/core/tiling.hpp>
#include <attend/detail/attention_call.hpp>
#include <attend/detail/generic_attention.hpp>
#include <attend/detail/generic_product.hpp>
#include <attend/detail/kernel_call.hpp>
#include <attend/introspection.hpp>
#include <attend/kernel/run_attention.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// activation(x) of one scalar, by the scalar's own exp, tanh and erf.
template <class Scalar>
Scalar activate(Activation activation, const Scalar& x) {
  static_assert(detail::check_scalar<Scalar>());
  using detail::functions::error_function;
  using std::exp, std::tanh;
  const auto sigmoid = [](const Scalar& v) -> Scalar { return Scalar(1) / (Scalar(1) + exp(-v)); };
  switch (activation) {
    case Activation::relu:
      return x < Scalar(0) ? Scalar(0) : x;
    case Activation::gelu:
      return Scalar(0.5) * x * (Scalar(1) + error_function<Scalar>(x * Scalar(0.70710678118654752440)));
    case Activation::gelu_tanh:
      return Scalar(0.5) * x *
             (Scalar(1) + tanh(Scalar(0.79788456080286535588) * (x + Scalar(0.044715) * x * x * x)));
    case Activation::silu:
      return x * sigmoid(x);
    case Activation::sigmoid:
      return sigmoid(x);
    case Activation::tanh:
      return tanh(x);
    case Activation::exp:
      return exp(x);
    case Activation::erf:
      return error_function(x);
    case Activation::identity:
      break;
  }
  return x;
}

namespace detail {
inline namespace ATTEND_FLAGS {
template <class Scalar>
struct Backend;
}  // namespace ATTEND_FLAGS

/// What a product does to its rows at the end. It brings the function along: a program that never names an
/// activation does not compile them.
template <class Scalar>
struct RowActivation {
  Activation function = Activation::identity;
  void (*apply)(Activation, const Scalar* x, Scalar* y, Index n) = nullptr;

  RowActivation() = default;
  RowActivation(Activation f) : function(f), apply(Backend<Scalar>::activation()) {}
  operator Activation() const { return function; }
};

/// out = activation(x Wᵀ + bias + residual); `out` overlaps no other operand. Rows are contiguous.
template <class Scalar>
struct ProductCall {
  TensorView<const Scalar, 2> x = {};  // [rows, K]
  const Scalar* weight = nullptr;  // [N, K] in panels of Backend::kPanel rows: [ceil(N / panel)][K][panel]
  const Scalar* bias = nullptr;    // [N] up to the end of its last panel, or null
  TensorView<const Scalar, 2> residual = {};  // [rows, N], or empty
  RowActivation<Scalar> activation = {};
  TensorView<Scalar, 2> out = {};  // [rows, N]
};

inline namespace ATTEND_FLAGS {

template <class Scalar>
struct Backend {
  static_assert(check_scalar<Scalar>());

  /// Rows of a panel of a packed weight.
  static constexpr Index kPanel = kGenericPanel;

  /// Where keys and values lie in a page of a cache: keys [96][D], then values [96][Dv].
  struct Page {
    Index head_dim = 0, value_stride = 0;
    Index key(Index slot, Index d) const { return slot * head_dim + d; }
    Index value(Index slot, Index d) const { return kKeyTile * head_dim + slot * value_stride + d; }
  };
  static Page page(Index head_dim, Index value_dim) { return {head_dim, value_dim}; }

  static void product(Context& context, const ProductCall<Scalar>& call) {
    const Index rows = call.out.size(0), N = call.out.size(1), K = call.x.size(1);
    const int workers =
        context.workers(N, 2.0 * static_cast<double>(rows) * static_cast<double>(K) * static_cast<double>(N));
    // An item is about 8 M multiplications, two milliseconds of double, since a call is stopped between
    // items: rows of x that stay in the L2 cache, times a share of the panels.
    const Index panels = (N + kPanel - 1) / kPanel, most = 8'000'000 / std::max<Index>(1, K) / kPanel;
    const Index block = std::max<Index>(1, (std::min)({rows, Index(96), most}));
    const Index share = std::max<Index>(1, (std::min)((panels + workers - 1) / workers, most / block));
    const Index shares = (panels + share - 1) / share;
    context.parallel((rows + block - 1) / block * shares, workers, [&](Index item, int) {
      const Index m = item / shares * block, last = (std::min)(rows, m + block);
      const Index begin = item % shares * share, end = (std::min)(panels, begin + share);
      for (Index p = begin; p < end; ++p)
        panel_product(call.x.slice(0, m, last), call.weight + p * kPanel * K,
                      [&](Index r, Index j, Scalar y) {
                        const Index n = p * kPanel + j;
                        if (n >= N) return;
                        if (call.bias != nullptr) y = y + call.bias[n];
                        if (call.residual.data() != nullptr) y = y + call.residual(m + r, n);
                        call.out(m + r, n) = attend::activate(call.activation, y);
                      });
    });
  }

  /// y = activation(x), of n elements; y may be x.
  static void activate(Activation activation, const Scalar* x, Scalar* y, Index n) {
    for (Index i = 0; i < n; ++i) y[i] = attend::activate(activation, x[i]);
  }
  static auto activation() { return &activate; }
  /// y = x ⊙ y.
  static void multiply(const Scalar* x, Scalar* y, Index n) {
    for (Index i = 0; i < n; ++i) y[i] = y[i] * x[i];
  }

  /// One row; y may be x, weight and bias may be null. statistics: mean and 1 / sqrt(variance + eps).
  static void layer_norm(const Scalar* x, const Scalar* weight, const Scalar* bias, double eps, Scalar* y,
                         Index n, Scalar* statistics) {
    const Scalar count =
        static_cast<Scalar>(static_cast<double>(n));  // see layer_norm of kernel/elementwise.inl
    const Scalar centre = x[0] + sum(n, [x](Index i) { return Scalar(x[i] - x[0]); }) / count;
    const Scalar rest = sum(n, [&](Index i) { return Scalar(x[i] - centre); }) / count;
    normalize(x, centre, rest, weight, bias, eps, y, n, statistics + 1);
    statistics[0] = centre + rest;
  }
  /// The same; statistic: 1 / sqrt(mean(x²) + eps).
  static void rms_norm(const Scalar* x, const Scalar* weight, double eps, Scalar* y, Index n,
                       Scalar* statistic) {
    normalize(x, Scalar(0), Scalar(0), weight, nullptr, eps, y, n, statistic);
  }

  /// One row in place, or where `log` the logarithm of it.
  static void softmax(Scalar* y, Index n, bool log_of_it) {
    using std::exp, std::log;
    const Scalar none = -std::numeric_limits<Scalar>::infinity();
    Scalar maximum = none, sum(0);
    for (Index i = 0; i < n; ++i)
      if (y[i] > maximum) maximum = y[i];
    if (maximum == none) maximum = Scalar(0);  // -inf - -inf would be NaN
    for (Index i = 0; i < n; ++i) sum = sum + exp(y[i] - maximum);
    const bool empty = sum == Scalar(0);
    for (Index i = 0; i < n; ++i) {
      if (log_of_it)
        y[i] = empty ? none : y[i] - maximum - log(sum);
      else
        y[i] = empty ? Scalar(0) : exp(y[i] - maximum) / sum;
    }
  }

  /// (a, b) -> (a c - b s, b c + a s) for each pair of one row, in place.
  static void rotate(Scalar* x, const Scalar* cosine, const Scalar* sine, Index pairs, bool interleaved) {
    for (Index i = 0; i < pairs; ++i) {
      Scalar &first = x[interleaved ? 2 * i : i], &second = x[interleaved ? 2 * i + 1 : pairs + i];
      const Scalar a = first, b = second;
      first = a * cosine[i] - b * sine[i];
      second = b * cosine[i] + a * sine[i];
    }
  }

  /// A checked call, with all that it gives. query [B, H, Tq, D] -> out [B, H, Tq, Dv].
  static void attention(Context& context, const AttentionCall<Scalar>& call,
                        const KeyValueSource<Scalar>& source, const TensorView<const Scalar, 4>& query,
                        const TensorView<Scalar, 4>& out) {
    const AttentionSizes& sizes = call.sizes;
    const IntrospectionRows<Scalar> look{call.outputs.introspection, sizes};
    context.parallel(1, 1, [&](Index, int) { look.begin(); });
    // An item is kRows queries of a head, or all of them where their order counts.
    constexpr Index kRows = GenericAttention<Scalar>::kRows;
    const Index each = look.in_order() ? std::max<Index>(1, sizes.queries) : kRows;
    const Index blocks = (sizes.queries + each - 1) / each, items = sizes.batch * sizes.heads * blocks;
    const int workers = context.workers(items, 1e9);
    Frame frame(context.workspace());
    const GenericAttention<Scalar> generic(context, frame, workers, call, source, query, out);
    context.parallel(items, workers, [&](Index item, int worker) {
      const Index h = item / blocks % sizes.heads, b = item / blocks / sizes.heads;
      const Index begin = item % blocks * each, end = (std::min)(sizes.query_count(b), begin + each);
      for (Index q = begin; q < end; q += kRows) generic.rows(worker, b, h, q, (std::min)(end, q + kRows));
    });
  }

 private:
  /// f(0) + … + f(n - 1), as the kernels do in 16 sums, whose rounding errors grow with n / 16 only.
  template <class F>
  static Scalar sum(Index n, F&& f) {
    Scalar sums[16];
    for (Index j = 0; j < 16; ++j) sums[j] = Scalar(0);
    for (Index i = 0; i < n; ++i) sums[i % 16] = sums[i % 16] + f(i);
    for (Index width = 8; width > 0; width /= 2)
      for (Index j = 0; j < width; ++j) sums[j] = sums[j] + sums[j + width];
    return sums[0];
  }

  /// y = (x - centre - rest) / sqrt(variance + eps) · weight + bias. The mean is centre + rest.
  static void normalize(const Scalar* x, const Scalar& centre, const Scalar& rest, const Scalar* weight,
                        const Scalar* bias, double eps, Scalar* y, Index n, Scalar* inverse_deviation) {
    using std::sqrt;
    Scalar variance = sum(n, [&](Index i) { return Scalar((x[i] - centre) * (x[i] - centre)); }) /
                      Scalar(static_cast<double>(n));
    if (variance < std::numeric_limits<Scalar>::infinity()) variance = variance - rest * rest;
    if (variance < Scalar(0)) variance = Scalar(0);
    const Scalar inverse = Scalar(1) / sqrt(variance + Scalar(eps));
    for (Index i = 0; i < n; ++i) {
      Scalar v = (x[i] - centre - rest) * inverse;
      if (weight != nullptr) v = v * weight[i];
      if (bias != nullptr) v = v + bias[i];
      y[i] = v;
    }
    *inverse_deviation = inverse;
  }
};

#if ATTEND_HAS_KERNELS
template <>
struct Backend<float> {
  static constexpr Index kPanel = 16;

  using Page = PageLayout;
  static Page page(Index head_dim, Index value_dim) { return {head_dim, (value_dim + 15) / 16 * 16}; }

  static void product(Context& context, const ProductCall<float>& call) {
    const Index rows = call.out.size(0), N = call.out.size(1), K = call.x.size(1);
    kernel::Product p;
    p.a = call.x.data(), p.lda = call.x.stride(0), p.k = K;
    p.w = call.weight;
    p.c = call.out.data(), p.ldc = call.out.stride(0), p.n = N;
    p.bias = call.bias;
    p.residual = call.residual.data(), p.ldr = call.residual.stride(0);
    p.activation = call.activation, p.activate = call.activation.apply;
    const int workers =
        context.workers(N, 2.0 * static_cast<double>(rows) * static_cast<double>(K) * static_cast<double>(N));
    // An item is at most 96 rows, whose part of x stays in the L2 cache, times all panels, or for several
    // threads an eighth of a thread's share of them: even, so that no thread waits for long. It takes a
    // millisecond or two at most, since a call is stopped between items; what reads B for fewer than 20 rows
    // takes as long as for 20.
    const Index panels = (N + 15) / 16;
    const Index most_rows = K <= 40000 ? 96 : std::max<Index>(8, 4'000'000 / K / 8 * 8);
    const Index row_blocks = most_rows == 96 ? (rows + 95) / 96 : (rows + most_rows - 1) / most_rows;
    const Index block = ((rows + row_blocks - 1) / row_blocks + 7) / 8 * 8;
    Index share = workers == 1 ? panels : std::max<Index>(3, (panels / (workers * 4) + 2) / 3 * 3);
    const Index cost = std::max<Index>(20, (std::min)(rows, block)) * K;  // of a panel
    if (share * cost > 3'000'000) share = (std::min)(share, std::max<Index>(3, 3'000'000 / cost / 12 * 12));
    const Index shares = (panels + share - 1) / share;
    context.parallel(row_blocks * shares, workers, [&](Index item, int) {
      const Index m = item / shares * block, q = item % shares * share;
      kernel::entry<&kernel::Kernels::product>()(p, m, (std::min)(rows, m + block), q,
                                                 (std::min)(panels, q + share));
    });
  }

  static void activate(Activation activation, const float* x, float* y, Index n) {
    kernel::entry<&kernel::Kernels::activate>()(activation, x, y, n);
  }
  static auto activation() { return kernel::entry<&kernel::Kernels::activate>(); }
  static void multiply(const float* x, float* y, Index n) {
    kernel::entry<&kernel::Kernels::multiply>()(x, y, n);
  }
  static void layer_norm(const float* x, const float* weight, const float* bias, double eps, float* y,
                         Index n, float* statistics) {
    kernel::entry<&kernel::Kernels::layer_norm>()(x, weight, bias, static_cast<float>(eps), y, n, statistics);
  }
  static void rms_norm(const float* x, const float* weight, double eps, float* y, Index n, float* statistic) {
    kernel::entry<&kernel::Kernels::rms_norm>()(x, weight, static_cast<float>(eps), y, n, statistic);
  }
  static void softmax(float* y, Index n, bool log_of_it) {
    kernel::entry<&kernel::Kernels::softmax>()(y, y, n, log_of_it);
  }
  static void rotate(float* x, const float* cosine, const float* sine, Index pairs, bool interleaved) {
    kernel::entry<&kernel::Kernels::rotate>()(x, cosine, sine, pairs, interleaved);
  }

  static void attention(Context& context, const AttentionCall<float>& call,
                        const KeyValueSource<float>& source, const TensorView<const float, 4>& query,
                        const TensorView<float, 4>& out) {
    const AttentionOutputs<float>& outputs = call.outputs;
    for (const TensorView<float, 4>* square : {&outputs.weights, &outputs.scores})
      if (square->data() != nullptr && square->size(3) > 1 && square->stride(3) != 1)
        throw_error("scaled_dot_product_attention: the last axis of weights and scores must be contiguous");
    if (outputs.log_sum_exp.data() != nullptr && !outputs.log_sum_exp.is_contiguous())
      throw_error("scaled_dot_product_attention: log_sum_exp must be contiguous");
    const kernel::Attention t = kernel_call(call, source, query, out);
    const IntrospectionRows<float> look{outputs.introspection, call.sizes};
    if (outputs.introspection.any()) context.parallel(1, 1, [&](Index, int) { look.begin(); });
    kernel::run_attention(context, t, call.sizes.batch, kernel_heads(outputs.weights), kernel_rows(look));
    if (outputs.scores.data() != nullptr)
      kernel::run_scores(context, at_stage(t, outputs.scores_stage), call.sizes.batch,
                         kernel_heads(outputs.scores));
  }
};
#endif  // ATTEND_HAS_KERNELS

}  // namespace ATTEND_FLAGS
}  // namespace detail
}  // namespace attend::inline ATTEND_ABI
