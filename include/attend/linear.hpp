// Linear: y = x Wᵀ + b, with the weight packed for its backend when it is loaded.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <attend/activation.hpp>
#include <attend/core/context.hpp>
#include <attend/core/parameter.hpp>
#include <attend/core/weight_type.hpp>
#include <attend/detail/backend.hpp>
#include <attend/rows.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// A weight matrix [N, K] of one or more sections stacked along N, as the products take it: for float in
/// panels of 16 rows, each section starting a panel of its own; for other scalars in rows; in fewer bits in
/// panels of 32 (float alone). There is no second copy. `offset(s)` and `width()` are columns of the
/// product's output, padding of sections included.
template <class Scalar>
class Weight {
  static_assert(detail::check_scalar<Scalar>());

 public:
  using Format = detail::WeightFormat;  // what the weight is kept in, and how its inputs are rounded
  Weight() = default;
  /// Sections of so many rows each, as in_proj's three; no values yet. Error where a size is negative.
  Weight(std::vector<Index> sections, Index in_features, Format format = {});

  Index in_features() const { return in_; }  // K, columns of the state dict's weight.
  Format format() const { return format_; }  // What it is kept in.
  Index rows() const;                        // N, rows of the state dict's weight: those of all sections.
  /// Columns of the product's output, padding included.
  Index width() const { return offsets_.empty() ? 0 : offsets_.back(); }
  Index offset(std::size_t section) const { return offsets_[section]; }  // First column of a section.
  /// Panels of float; of another format `packed`.
  const Scalar* data() const { return data_.data(); }
  /// Panels of the other formats.
  const std::byte* packed() const { return reinterpret_cast<const std::byte*>(data_.data()); }

  /// Row i of the state dict is column slot(i) of the output.
  Index slot(Index row) const;
  /// Rows [begin, end) of [N, K], row-major. Error where the format cannot hold a value.
  void assign(Index begin, Index end, const Scalar* rows);
  /// Gives rows [begin, end) as float would read them.
  void copy_to(Index begin, Index end, Scalar* rows) const;
  /// The same rows as files keep them, in the weight's own format.
  void assign_encoded(Index begin, Index end, const std::byte* rows);
  /// Gives the same rows as assign_encoded takes them.
  void copy_encoded(Index begin, Index end, std::byte* rows) const;
  Parameter<Scalar> parameter();  // For a layer's `parameters`. The weight stays where it is meanwhile.
  bool assigned() const { return assigned_.all(); }  // Whether each row has its values.

 private:
  bool plain() const { return format_.weights == WeightType::float32; }
  Index panel() const { return plain() ? detail::Backend<Scalar>::kPanel : detail::WeightKernels::kSlots; }
  Index first(Index slot) const { return slot / panel() * panel() * in_ + slot % panel(); }
  std::byte* packed() { return reinterpret_cast<std::byte*>(data_.data()); }

  std::vector<Index> sections_;
  std::vector<Index> offsets_;
  Index in_ = 0;
  Format format_;
  Tensor<Scalar, 1> data_;
  detail::Assigned assigned_;
};

template <class Scalar>
ATTEND_COLD Weight<Scalar>::Weight(std::vector<Index> sections, Index in_features, Format format)
    : sections_(std::move(sections)), in_(in_features), format_(format) {
  offsets_.push_back(0);
  for (Index rows : sections_) detail::checked_numel(Shape<2>{rows, std::max<Index>(in_, 1)}, sizeof(Scalar));
  for (Index rows : sections_) offsets_.push_back(offsets_.back() + (rows + panel() - 1) / panel() * panel());
  Index size = detail::checked_numel(Shape<2>{width(), in_}, sizeof(Scalar));
  if (!plain()) {
    if (!std::is_same_v<Scalar, float>)
      throw_error("Weight: ", to_string(format.weights), " is for layers of float");
    // Whole groups take less than a float for each of their columns.
    detail::checked_numel(Shape<2>{width(), detail::saturating_add(in_, panel())}, sizeof(Scalar));
    size = static_cast<Index>(detail::kernels_of(format.weights).packed_bytes(format.weights, width(), in_) /
                              sizeof(Scalar));
  }
  data_ = Tensor<Scalar, 1>({size});
  assigned_ = detail::Assigned(data_.empty() ? 0 : this->rows());
}
template <class Scalar>
Index Weight<Scalar>::rows() const {
  Index n = 0;
  for (Index s : sections_) n += s;
  return n;
}
template <class Scalar>
Index Weight<Scalar>::slot(Index row) const {
  std::size_t s = 0;
  for (; s + 1 < sections_.size() && row >= sections_[s]; ++s) row -= sections_[s];
  return offsets_[s] + row;
}
template <class Scalar>
void Weight<Scalar>::assign(Index begin, Index end, const Scalar* rows) {
  if constexpr (std::is_same_v<Scalar, float>) {
    if (!plain()) {
      const detail::WeightKernels& kernels = detail::kernels_of(format_.weights);
      std::vector<std::byte> row(kernels.row_bytes(format_.weights, in_));
      for (Index i = begin; i < end; ++i, rows += in_) {
        if (!kernels.encode(format_.weights, rows, in_, row.data()))
          throw_error("Weight: row ", i, " of ", Shape<2>{this->rows(), in_}, " has a value that ",
                      to_string(format_.weights), " cannot hold");
        assign_encoded(i, i + 1, row.data());
      }
      return;
    }
  }
  for (Index i = begin; i < end; ++i, rows += in_) {
    Scalar* to = data_.data() + first(slot(i));
    for (Index k = 0; k < in_; ++k) to[k * panel()] = rows[k];
  }
}
template <class Scalar>
void Weight<Scalar>::copy_to(Index begin, Index end, Scalar* rows) const {
  if constexpr (std::is_same_v<Scalar, float>) {
    if (!plain()) {
      const detail::WeightKernels& kernels = detail::kernels_of(format_.weights);
      for (Index i = begin; i < end; ++i, rows += in_)
        kernels.row(format_.weights, packed(), slot(i), in_, rows);
      return;
    }
  }
  for (Index i = begin; i < end; ++i, rows += in_) {
    const Scalar* from = data_.data() + first(slot(i));
    for (Index k = 0; k < in_; ++k) rows[k] = from[k * panel()];
  }
}
template <class Scalar>
void Weight<Scalar>::assign_encoded(Index begin, Index end, const std::byte* rows) {
  const detail::WeightKernels& kernels = detail::kernels_of(format_.weights);
  for (Index i = begin; i < end; ++i, rows += kernels.row_bytes(format_.weights, in_))
    kernels.pack(format_.weights, rows, in_, packed(), slot(i));
}
template <class Scalar>
void Weight<Scalar>::copy_encoded(Index begin, Index end, std::byte* rows) const {
  const detail::WeightKernels& kernels = detail::kernels_of(format_.weights);
  for (Index i = begin; i < end; ++i, rows += kernels.row_bytes(format_.weights, in_))
    kernels.unpack(format_.weights, packed(), slot(i), in_, rows);
}
template <class Scalar>
Parameter<Scalar> Weight<Scalar>::parameter() {
  Parameter<Scalar> parameter(
      {rows(), in_}, this,
      [](void* weight, Index begin, Index end, const Scalar* rows) {
        static_cast<Weight*>(weight)->assign(begin, end, rows);
      },
      [](const void* weight, Index begin, Index end, Scalar* rows) {
        static_cast<const Weight*>(weight)->copy_to(begin, end, rows);
      },
      &assigned_);
  if (!plain())
    parameter.set_encoded({format_.weights,
                           [](void* weight, Index begin, Index end, const std::byte* rows) {
                             static_cast<Weight*>(weight)->assign_encoded(begin, end, rows);
                           },
                           [](const void* weight, Index begin, Index end, std::byte* rows) {
                             static_cast<const Weight*>(weight)->copy_encoded(begin, end, rows);
                           }});
  return parameter;
}
ATTEND_COMPILED_LAYER(class Weight<float>);

/// A bias in the slots of its weight.
template <class Scalar>
class Bias {
 public:
  Bias() = default;
  explicit Bias(const Weight<Scalar>& weight);      // As many numbers as the weight has rows, no values yet.
  bool empty() const { return weight_rows_ == 0; }  // Whether there is none.
  /// In the order of the product's columns; null where there is none.
  const Scalar* data() const { return empty() ? nullptr : data_.data(); }
  Parameter<Scalar> parameter();                     // For a layer's `parameters`.
  bool assigned() const { return assigned_.all(); }  // Whether each number has its value.

 private:
  Index weight_rows_ = 0;
  std::vector<Index> slots_;
  Tensor<Scalar, 1> data_;
  detail::Assigned assigned_;
};

template <class Scalar>
ATTEND_COLD Bias<Scalar>::Bias(const Weight<Scalar>& weight)
    : weight_rows_(weight.rows()), data_({weight.width()}) {
  for (Index i = 0; i < weight_rows_; ++i) slots_.push_back(weight.slot(i));
  assigned_ = detail::Assigned(weight_rows_);
}
template <class Scalar>
Parameter<Scalar> Bias<Scalar>::parameter() {
  return Parameter<Scalar>(
      {weight_rows_}, this,
      [](void* object, Index begin, Index end, const Scalar* values) {
        Bias& bias = *static_cast<Bias*>(object);
        for (Index i = begin; i < end; ++i)
          bias.data_.data()[bias.slots_[static_cast<std::size_t>(i)]] = values[i - begin];
      },
      [](const void* object, Index begin, Index end, Scalar* values) {
        const Bias& bias = *static_cast<const Bias*>(object);
        for (Index i = begin; i < end; ++i)
          values[i - begin] = bias.data_.data()[bias.slots_[static_cast<std::size_t>(i)]];
      },
      &assigned_);
}
ATTEND_COMPILED_LAYER(class Bias<float>);

/// What follows a product while its result is still in the cache: activation(x Wᵀ + b + residual).
template <class Scalar>
struct Epilogue {
  detail::RowActivation<Scalar> activation = {};  // of the sum: an Activation
  Rows<const Scalar> residual = {};               // of the output's shape, or none
};

namespace detail {
/// out = epilogue(x · wᵀ + bias), of as many slots of the weight as `out` has columns, from `begin` on; the
/// bias of slot i is its slot bias_at + i. x [rows, K], out [rows, N], neither overlapping the other; rows
/// contiguous.
template <class Scalar>
void product(Context& context, TensorView<const std::type_identity_t<Scalar>, 2> x,
             const Weight<Scalar>& weight, Index begin, const Bias<Scalar>& bias,
             const Epilogue<Scalar>& epilogue, TensorView<std::type_identity_t<Scalar>, 2> out,
             Index bias_at = 0) {
  if (out.empty()) return;
  const LayerTimer timer(
      context, "product", x.shape(), out.shape(),
      context.timed() ? 2.0 * static_cast<double>(out.numel()) * static_cast<double>(x.size(1)) : 0);
  ProductCall<Scalar> call{.x = x,
                           .bias = bias.empty() ? nullptr : bias.data() + bias_at + begin,
                           .residual = epilogue.residual.view(),
                           .activation = epilogue.activation,
                           .out = out};
  if constexpr (std::is_same_v<Scalar, float>)
    if (const WeightFormat format = weight.format(); format.weights != WeightType::float32)
      return kernels_of(format.weights).product(context, format, weight.packed(), begin, call);
  call.weight = weight.data() + begin * weight.in_features();
  Backend<Scalar>::product(context, call);
}

[[noreturn]] ATTEND_COLD inline void fail_residual(const char* who, std::span<const Index> expected,
                                                   std::span<const Index> got) {
  throw_error(who, " (residual): expected ", expected, ", got ", got);
}
/// Error where the residual is not of the output's shape, or the output overlaps it or x.
template <class Scalar>
void check_operands(const Context& context, const char* who, const Rows<const Scalar>& x,
                    const Rows<const Scalar>& residual, const Rows<Scalar>& out) {
  if (!residual.shape().empty()) {
    if (!same_sizes(residual.shape(), out.shape())) fail_residual(who, out.shape(), residual.shape());
    residual.check_input(who, out.width());
  }
  check_apart(context, who, {"out", out.view()}, {{"x", x.view()}, {"the residual", residual.view()}});
}
}  // namespace detail

/// Named as PyTorch's Linear.
struct LinearOptions {
  Index in_features = 0;   // K
  Index out_features = 0;  // N
  bool bias = true;
  WeightType weights = WeightType::float32;
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights
};

/// y = x Wᵀ + b. Parameters: weight [out_features, in_features], bias [out_features].
/// https://pytorch.org/docs/stable/generated/torch.nn.Linear.html
template <class Scalar>
class Linear {
 public:
  Linear() = default;
  explicit Linear(const LinearOptions& options);

  const LinearOptions& options() const { return options_; }
  const Weight<Scalar>& weight() const { return weight_; }  // The weight, as products read it.

  void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }

  /// Whether all parameters have values; forward takes none less.
  bool assigned() const { return weight_.assigned() && (!options_.bias || bias_.assigned()); }

  /// x [..., in_features] -> out [..., out_features], which overlaps neither x nor the residual. `epilogue`
  /// says what follows in the same pass.
  void forward(Context& context, const Rows<const Scalar>& x, const Rows<Scalar>& out,
               const Epilogue<Scalar>& epilogue = {}) const;
  template <detail::LayerInput<Scalar> X, class = detail::Flags>
  detail::TensorOf<X> operator()(const X& x) const {
    return detail::map_rows(x, options_.out_features,
                            [this](const auto& rows, auto& out) { forward(default_context(), rows, out); });
  }

 private:
  LinearOptions options_;
  Weight<Scalar> weight_;
  Bias<Scalar> bias_;
};

template <class Scalar>
ATTEND_COLD Linear<Scalar>::Linear(const LinearOptions& options) : options_(options) {
  detail::check_size("Linear", "in_features", options.in_features);
  detail::check_size("Linear", "out_features", options.out_features);
  weight_ =
      Weight<Scalar>({options.out_features}, options.in_features, {options.weights, options.activations});
  if (options.bias) bias_ = Bias<Scalar>(weight_);
}
template <class Scalar>
ATTEND_COLD void Linear<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  detail::visit_part<Scalar>(visit, "weight", weight_);
  if (options_.bias) detail::visit_part<Scalar>(visit, "bias", bias_);
}
template <class Scalar>
void Linear<Scalar>::forward(Context& context, const Rows<const Scalar>& x, const Rows<Scalar>& out,
                             const Epilogue<Scalar>& epilogue) const {
  detail::check_assigned(context, "Linear", *this);
  x.check_input("Linear", options_.in_features);
  out.check_output("Linear", x.leading(), options_.out_features);
  detail::check_operands(context, "Linear", x, epilogue.residual, out);
  const LayerTimer timer(context, "Linear", x.shape(), out.shape());
  detail::product<Scalar>(context, x.view(), weight_, 0, bias_, epilogue, out.view());
}
ATTEND_COMPILED_LAYER(class Linear<float>);

}  // namespace attend::inline ATTEND_ABI
