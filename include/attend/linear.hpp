// Linear: y = x Wᵀ + b, with the weight packed for the kernels when it is loaded.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <attend/activation.hpp>
#include <attend/core/context.hpp>
#include <attend/core/flags.hpp>
#include <attend/core/parameter.hpp>
#include <attend/core/scalar.hpp>
#include <attend/kernel/dispatch.hpp>
#include <attend/tensor.hpp>

namespace attend {

/// A weight matrix [N, K] of one or more sections stacked along N, as the products take it: for float in panels of
/// 16 rows, each section starting a panel of its own; for other scalars in rows. There is no second copy.
/// `offset(s)` and `width()` are columns of the product's output, padding of sections included.
template <class Scalar>
class Weight {
  static_assert(detail::check_scalar<Scalar>());
  static constexpr Index kPanel = detail::has_kernels<Scalar> ? 16 : 1;

 public:
  Weight() : Weight(std::vector<Index>{0}, 0) {}
  Weight(std::vector<Index> sections, Index in_features) : sections_(std::move(sections)), in_(in_features) {
    offsets_.push_back(0);
    for (Index rows : sections_) offsets_.push_back(offsets_.back() + (rows + kPanel - 1) / kPanel * kPanel);
    data_ = Tensor<Scalar, 1>({checked_numel(Shape<2>{width(), in_}, sizeof(Scalar))});
  }

  Index in_features() const { return in_; }
  Index rows() const {
    Index n = 0;
    for (Index s : sections_) n += s;
    return n;
  }
  Index width() const { return offsets_.back(); }
  Index offset(std::size_t section) const { return offsets_[section]; }
  const Scalar* data() const { return data_.data(); }

  /// Row i of the state dict is column slot(i) of the output.
  Index slot(Index row) const {
    std::size_t s = 0;
    for (; s + 1 < sections_.size() && row >= sections_[s]; ++s) row -= sections_[s];
    return offsets_[s] + row;
  }
  /// Rows [begin, end) of [N, K], row-major.
  void assign(Index begin, Index end, const Scalar* rows) {
    for (Index i = begin; i < end; ++i, rows += in_) {
      Scalar* to = first(slot(i));
      for (Index k = 0; k < in_; ++k) to[k * kPanel] = rows[k];
    }
  }
  void copy_to(Index begin, Index end, Scalar* rows) const {
    for (Index i = begin; i < end; ++i, rows += in_) {
      const Scalar* from = const_cast<Weight*>(this)->first(slot(i));
      for (Index k = 0; k < in_; ++k) rows[k] = from[k * kPanel];
    }
  }
  Parameter<Scalar> parameter() {
    return Parameter<Scalar>(
        {rows(), in_}, this,
        [](void* weight, Index begin, Index end, const Scalar* rows) { static_cast<Weight*>(weight)->assign(begin, end, rows); },
        [](const void* weight, Index begin, Index end, Scalar* rows) {
          static_cast<const Weight*>(weight)->copy_to(begin, end, rows);
        });
  }

 private:
  Scalar* first(Index slot) { return data_.data() + slot / kPanel * kPanel * in_ + slot % kPanel; }

  std::vector<Index> sections_;
  std::vector<Index> offsets_;
  Index in_;
  Tensor<Scalar, 1> data_;
};

/// A bias in the slots of its weight.
template <class Scalar>
class Bias {
 public:
  Bias() = default;
  explicit Bias(const Weight<Scalar>& weight) : weight_rows_(weight.rows()), data_({weight.width()}) {
    for (Index i = 0; i < weight_rows_; ++i) slots_.push_back(weight.slot(i));
  }
  bool empty() const { return weight_rows_ == 0; }
  const Scalar* data() const { return empty() ? nullptr : data_.data(); }
  Parameter<Scalar> parameter() {
    return Parameter<Scalar>(
        {weight_rows_}, this,
        [](void* object, Index begin, Index end, const Scalar* values) {
          Bias& bias = *static_cast<Bias*>(object);
          for (Index i = begin; i < end; ++i) bias.data_.data()[bias.slots_[static_cast<std::size_t>(i)]] = values[i - begin];
        },
        [](const void* object, Index begin, Index end, Scalar* values) {
          const Bias& bias = *static_cast<const Bias*>(object);
          for (Index i = begin; i < end; ++i) values[i - begin] = bias.data_.data()[bias.slots_[static_cast<std::size_t>(i)]];
        });
  }

 private:
  Index weight_rows_ = 0;
  std::vector<Index> slots_;
  Tensor<Scalar, 1> data_;
};

/// What follows a product while its result is still in the cache: activation(x Wᵀ + b + residual).
template <class Scalar>
struct Epilogue {
  Activation activation = Activation::identity;
  TensorView<const Scalar, 2> residual = {};  // [rows, out_features], or empty
};

namespace detail {
ATTEND_FLAGS_BEGIN
/// The same by Eigen, for every scalar: y = x · w[begin, end)ᵀ.
template <class Scalar>
void eigen_product(const TensorView<const Scalar, 2>& x, const Weight<Scalar>& weight, Index begin, Index end,
                   const TensorView<Scalar, 2>& out) {
  const Eigen::Map<const RowMajorMatrix<Scalar>> w(weight.data() + begin * weight.in_features(), end - begin,
                                                   weight.in_features());
  out.matrix().noalias() = x.matrix() * w.transpose();
}
ATTEND_FLAGS_END

/// out = epilogue(x · w[begin, end)ᵀ + bias): slots [begin, end) of the weight, at the same columns of `out`
/// counted from `begin`; the bias of slot i is its slot bias_at + i. x [rows, K], out [rows, end - begin], neither overlapping the other; rows contiguous.
template <class Scalar>
void product(Context& context, TensorView<const std::type_identity_t<Scalar>, 2> x, const Weight<Scalar>& weight,
             Index begin, Index end, const Bias<Scalar>& bias, const Epilogue<Scalar>& epilogue,
             TensorView<std::type_identity_t<Scalar>, 2> out, Index bias_at = 0) {
  const Index rows = x.size(0), K = weight.in_features(), N = end - begin;
  if (rows == 0 || N == 0) return;
  const double operations = 2.0 * static_cast<double>(rows) * static_cast<double>(K) * static_cast<double>(N);
  const int workers = context.workers(N, operations);
  if constexpr (has_kernels<Scalar>) {
    kernel::Product p;
    p.a = x.data(), p.lda = x.stride(0), p.k = K;
    p.w = weight.data() + begin * K;
    p.c = out.data(), p.ldc = out.stride(0), p.n = N;
    p.bias = bias.empty() ? nullptr : bias.data() + bias_at + begin;
    p.residual = epilogue.residual.data(), p.ldr = epilogue.residual.stride(0);
    p.activation = epilogue.activation;
    // An item is at most 96 rows, whose part of x stays in the L2 cache, times all panels, or for several threads an
    // eighth of a thread's share of them: even, so that no thread waits for long.
    const Index panels = (N + 15) / 16, row_blocks = (rows + 95) / 96;
    const Index block = ((rows + row_blocks - 1) / row_blocks + 7) / 8 * 8;
    const Index share = workers == 1 ? panels : std::max<Index>(3, (panels / (workers * 4) + 2) / 3 * 3);
    const Index shares = (panels + share - 1) / share;
    context.parallel(row_blocks * shares, workers, [&](Index item, int) {
      const Index m = item / shares * block, q = item % shares * share;
      kernel::kernels().product(p, m, std::min(rows, m + block), q, std::min(panels, q + share));
    });
  } else {
    const Index share = (N + workers - 1) / workers;
    context.parallel((N + share - 1) / share, workers, [&](Index item, int) {
      const Index n0 = item * share, n1 = std::min(N, n0 + share);
      eigen_product<Scalar>(x, weight, begin + n0, begin + n1, out.slice(1, n0, n1));
      for (Index r = 0; r < rows; ++r)
        for (Index n = n0; n < n1; ++n) {
          Scalar y = out(r, n);
          if (!bias.empty()) y = y + bias.data()[bias_at + begin + n];
          if (epilogue.residual.data() != nullptr) y = y + epilogue.residual(r, n);
          out(r, n) = activate(epilogue.activation, y);
        }
    });
  }
}

/// A temporary tensor of a forward pass: of the workspace for scalars with kernels, else of its own.
template <class Scalar, int Rank>
class Scratch {
 public:
  Scratch(Frame& frame, const Shape<Rank>& shape) {
    if constexpr (has_kernels<Scalar>) {
      view_ = {frame.take<Scalar>(shape), shape};
    } else {
      owned_ = Tensor<Scalar, Rank>(shape);
      view_ = owned_.view();
    }
  }
  TensorView<Scalar, Rank> view() const { return view_; }

 private:
  TensorView<Scalar, Rank> view_;
  Tensor<Scalar, Rank> owned_;
};

/// What every layer asks of inputs and outputs: elements of a row follow each other.
template <class T>
TensorView<T, 2> rows_of(const char* who, TensorView<T, 2> view) {
  if (view.size(1) > 1 && view.stride(1) != 1) fail(std::string(who) + ": the last axis must be contiguous");
  return view;
}
}  // namespace detail

struct LinearOptions {
  Index in_features = 0;
  Index out_features = 0;
  bool bias = true;
};

/// y = x Wᵀ + b. Parameters: weight [out_features, in_features], bias [out_features].
/// https://pytorch.org/docs/stable/generated/torch.nn.Linear.html
template <class Scalar>
class Linear {
 public:
  Linear() = default;
  explicit Linear(const LinearOptions& options)
      : options_(options), weight_({options.out_features}, options.in_features) {
    if (options.bias) bias_ = Bias<Scalar>(weight_);
  }

  const LinearOptions& options() const { return options_; }
  const Weight<Scalar>& weight() const { return weight_; }

  template <class Visitor>
  void parameters(Visitor&& visit) {
    visit("weight", weight_.parameter());
    if (options_.bias) visit("bias", bias_.parameter());
  }

  /// x [..., in_features] -> out [..., out_features]. `epilogue` says what follows in the same pass.
  template <int Rank>
  void forward(Context& context, TensorView<const Scalar, Rank> x, TensorView<Scalar, Rank> out,
               const Epilogue<Scalar>& epilogue = {}) const {
    if (x.size(Rank - 1) != options_.in_features)
      fail_shape("Linear", "[..., " + std::to_string(options_.in_features) + "]", x.shape());
    Shape<Rank> expected = x.shape();
    expected[Rank - 1] = options_.out_features;
    check_shape("Linear (output)", expected, out.shape());
    if (out.empty()) return;
    const TensorView<Scalar, 2> rows = detail::rows_of("Linear", out.rows());
    if (epilogue.residual.data() != nullptr) check_shape("Linear (residual)", rows.shape(), epilogue.residual.shape());
    detail::product<Scalar>(context, detail::rows_of("Linear", x.rows()), weight_, 0, options_.out_features, bias_, epilogue,
                            rows);
  }
  template <TensorLike X>
  Tensor<Scalar, X::rank> operator()(const X& x) const {
    Shape<X::rank> shape = x.shape();
    shape[X::rank - 1] = options_.out_features;
    Tensor<Scalar, X::rank> out(shape);
    forward<X::rank>(default_context(), const_view(x), out.view());
    return out;
  }

 private:
  LinearOptions options_;
  Weight<Scalar> weight_;
  Bias<Scalar> bias_;
};

}  // namespace attend
