// How a layer hands out its parameters: by name, as rows that can be written and read in pieces.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <attend/core/function_ref.hpp>
#include <attend/core/shape.hpp>
#include <attend/core/threads.hpp>
#include <attend/core/weight_type.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
/// Which rows of a parameter were given values, in any order and number of pieces. What is made without rows,
/// or moved from, belongs to no parameter and never was.
class Assigned {
 public:
  Assigned() = default;
  explicit Assigned(Index rows) : rows_(rows), missing_(rows) {}
  Assigned(const Assigned&) = default;
  Assigned(Assigned&& other) noexcept : Assigned() { swap(other); }
  Assigned& operator=(const Assigned& other) { return *this = Assigned(other); }
  Assigned& operator=(Assigned&& other) noexcept {
    Assigned moved(std::move(other));
    swap(moved);
    return *this;
  }

  bool all() const { return missing_ == 0; }
  Index rows() const { return rows_; }
  Index missing() const { return missing_; }
  void mark(Index begin, Index end) {
    if (missing_ == 0 || begin == end) return;
    if (end - begin < rows_) {
      if (given_.empty()) given_ = std::string(static_cast<std::size_t>(rows_), '\0');
      for (Index i = begin; i < end; ++i) {
        if (given_[static_cast<std::size_t>(i)] == 0) --missing_;
        given_[static_cast<std::size_t>(i)] = 1;
      }
      if (missing_ > 0) return;
    }
    missing_ = 0;
    given_ = {};
  }

 private:
  void swap(Assigned& other) noexcept {
    std::swap(rows_, other.rows_);
    std::swap(missing_, other.missing_);
    given_.swap(other.given_);
  }

  Index rows_ = 0, missing_ = 1;
  std::string given_;  // 1 for each row that is, while some are: a byte, since a load counts its memory
};

/// Rows in and out of a parameter that is kept in another type than float, as files keep them.
struct EncodedRows {
  WeightType type = WeightType::float32;
  void (*write)(void* object, Index begin, Index end, const std::byte* rows) = nullptr;
  void (*read)(const void* object, Index begin, Index end, std::byte* rows) = nullptr;
};
}  // namespace detail

/// One parameter of a layer, wherever and however the layer keeps it (a weight may be packed for the
/// kernels). Data goes in and out as rows of the state dict's row-major layout: row i is the slice at first
/// index i, of `row_size()` elements. A whole second copy never exists, and a file is read in pieces. A
/// Parameter<const Scalar> can only be read; every other one converts to it.
template <class T>
class Parameter {
 public:
  using Scalar = std::remove_const_t<T>;
  /// How a layer takes or gives rows [begin, end) of what it keeps in an order of its own. @{
  using Write = void (*)(void* object, Index begin, Index end, const Scalar* rows);
  using Read = void (*)(const void* object, Index begin, Index end, Scalar* rows);
  /// @}

  /// `given`, where there is one, takes note of what was assigned.
  Parameter(std::vector<Index> shape, void* object, Write write, Read read, detail::Assigned* given = nullptr)
      : shape_(std::move(shape)), object_(object), write_(write), read_(read), given_(given) {}
  /// A parameter that lies contiguous in memory.
  Parameter(std::vector<Index> shape, Scalar* data, detail::Assigned* given = nullptr)
      : shape_(std::move(shape)), object_(data), given_(given) {}
  /// One that can be read only.
  template <class Mutable>
  requires std::is_same_v<T, const Mutable> Parameter(Parameter<Mutable> other)
      : shape_(std::move(other.shape_)),
        object_(other.object_),
        write_(other.write_),
        read_(other.read_),
        encoded_(other.encoded_),
        given_(other.given_) {}
  /// How rows are kept that are no Scalars.
  void set_encoded(const detail::EncodedRows& encoded) { encoded_ = encoded; }
  /// What rows are kept as: float32 where the layer has Scalars.
  WeightType type() const { return encoded_.type; }

  const std::vector<Index>& shape() const { return shape_; }
  Index numel() const { return detail::checked_numel(shape_); }  // Number of elements.
  Index rows() const { return shape_.empty() ? 1 : shape_[0]; }  // Size of the first axis; 1 of a scalar.
  /// Elements of a row.
  Index row_size() const {
    Index n = 1;
    for (std::size_t i = 1; i < shape_.size(); ++i) n *= shape_[i];
    return n;
  }
  /// How many rows have no value yet. A parameter that has a value from the start, as a norm's, has none
  /// such.
  Index unassigned_rows() const { return given_ == nullptr ? 0 : given_->missing(); }
  /// The same, its rows seen in another shape: [N, A B] as [N, A, B].
  Parameter reshape(std::vector<Index> shape) && {
    if (shape.empty() || shape[0] != rows() || detail::checked_numel(shape) != numel())
      throw_error("Parameter: shape ", shape, " of one of ", shape_);
    shape_ = std::move(shape);
    return std::move(*this);
  }
  /// Sets rows [begin, end) from (end - begin) * row_size() elements.
  void assign(Index begin, Index end, const Scalar* values) requires(!std::is_const_v<T>) {
    check_range(begin, end);
    const detail::FloatEnvironment environment;
    if (write_ != nullptr) {
      write_(object_, begin, end, values);
    } else {
      Scalar* data = static_cast<Scalar*>(object_) + begin * row_size();
      for (Index i = 0; i < (end - begin) * row_size(); ++i) data[i] = values[i];
    }
    if (given_ != nullptr) given_->mark(begin, end);
  }
  /// Gives rows [begin, end).
  void copy_to(Index begin, Index end, Scalar* values) const {
    check_range(begin, end);
    const detail::FloatEnvironment environment;
    if (read_ != nullptr) return read_(object_, begin, end, values);
    const Scalar* data = static_cast<const Scalar*>(object_) + begin * row_size();
    for (Index i = 0; i < (end - begin) * row_size(); ++i) values[i] = data[i];
  }

  /// Rows [begin, end) in the encoding of `type()`, which is not float32: GGUF's blocks, or 16-bit floats.
  void assign_encoded(Index begin, Index end, const std::byte* rows) requires(!std::is_const_v<T>) {
    check_encoded(begin, end);
    encoded_.write(object_, begin, end, rows);
    if (given_ != nullptr) given_->mark(begin, end);
  }
  /// Gives rows [begin, end) in that encoding.
  void copy_encoded(Index begin, Index end, std::byte* rows) const {
    check_encoded(begin, end);
    encoded_.read(object_, begin, end, rows);
  }

 private:
  friend Parameter<const Scalar>;

  void check_encoded(Index begin, Index end) const {
    check_range(begin, end);
    if (encoded_.read == nullptr) throw_error("Parameter: of shape ", shape_, " is kept in no encoding");
  }
  void check_range(Index begin, Index end) const {
    if (begin < 0 || end < begin || end > rows())
      throw_error("Parameter: rows [", begin, ", ", end, ") of shape ", shape_);
    if (begin < end && (object_ == nullptr || (given_ != nullptr && given_->rows() == 0)))
      throw_error("Parameter: its layer was moved from");
  }

  std::vector<Index> shape_;
  void* object_;
  Write write_ = nullptr;
  Read read_ = nullptr;
  detail::EncodedRows encoded_;
  detail::Assigned* given_ = nullptr;
};

/// What `layer.parameters(visitor)` takes: any callable visit(const std::string& name, Parameter<Scalar>
/// parameter), by reference. That of a const layer takes a ParameterVisitor<const Scalar>.
template <class Scalar>
using ParameterVisitor = detail::FunctionRef<void(const std::string& name, Parameter<Scalar> parameter)>;

namespace detail {
ATTEND_COLD inline std::string dotted(const std::string& prefix, const std::string& name) {
  std::string all = prefix;
  if (!prefix.empty()) all.push_back('.');
  return all.append(name);
}
}  // namespace detail

/// A visitor's view of a sub-layer: `layer.parameters(prefixed("self_attn", visit))` puts "self_attn." before
/// every name.
template <class Visitor>
auto prefixed(std::string prefix, Visitor& visit) {
  return [prefix = std::move(prefix), &visit](const std::string& name, auto parameter) {
    visit(detail::dotted(prefix, name), std::move(parameter));
  };
}

namespace detail {
/// visit(name, the parameter of a weight or bias), and of numbers that lie in a layer. Out of line: names are
/// strings.
template <class Scalar, class Part>
ATTEND_COLD void visit_part(ParameterVisitor<Scalar> visit, const char* name, Part& part) {
  visit(name, part.parameter());
}
template <class Scalar>
ATTEND_COLD void visit_part(ParameterVisitor<Scalar> visit, const char* name, std::vector<Index> shape,
                            Scalar* data, Assigned* given = nullptr) {
  visit(name, Parameter<Scalar>(std::move(shape), data, given));
}

/// The parameters of a const layer: its own list of them, of which nothing is written.
template <class Layer, class Scalar>
void const_parameters(const Layer& layer, ParameterVisitor<const Scalar> visit) {
  const_cast<Layer&>(layer).parameters(
      [&](const std::string& name, Parameter<Scalar> parameter) { visit(name, std::move(parameter)); });
}
}  // namespace detail

}  // namespace attend::inline ATTEND_ABI
