// How a layer hands out its parameters: by name, as rows that can be written and read in pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <attend/core/shape.hpp>

namespace attend {

/// One parameter of a layer, wherever and however the layer keeps it (a weight may be packed for the kernels).
/// Data goes in and out as rows of the state dict's row-major layout: row i is the slice at first index i, of
/// `row_size()` elements. A whole second copy never exists, and a file is read in pieces.
template <class Scalar>
class Parameter {
 public:
  using Write = void (*)(void* object, Index begin, Index end, const Scalar* rows);
  using Read = void (*)(const void* object, Index begin, Index end, Scalar* rows);

  Parameter(std::vector<Index> shape, void* object, Write write, Read read)
      : shape_(std::move(shape)), object_(object), write_(write), read_(read) {}
  /// A parameter that lies contiguous in memory.
  Parameter(std::vector<Index> shape, Scalar* data) : shape_(std::move(shape)), object_(data) {}

  const std::vector<Index>& shape() const { return shape_; }
  Index numel() const { return checked_numel(shape_); }
  Index rows() const { return shape_.empty() ? 1 : shape_[0]; }
  Index row_size() const {
    Index n = 1;
    for (std::size_t i = 1; i < shape_.size(); ++i) n *= shape_[i];
    return n;
  }
  /// Sets rows [begin, end) from (end - begin) * row_size() elements.
  void assign(Index begin, Index end, const Scalar* values) {
    if (write_ != nullptr) return write_(object_, begin, end, values);
    Scalar* data = static_cast<Scalar*>(object_) + begin * row_size();
    for (Index i = 0; i < (end - begin) * row_size(); ++i) data[i] = values[i];
  }
  /// Gives rows [begin, end).
  void copy_to(Index begin, Index end, Scalar* values) const {
    if (read_ != nullptr) return read_(object_, begin, end, values);
    const Scalar* data = static_cast<const Scalar*>(object_) + begin * row_size();
    for (Index i = 0; i < (end - begin) * row_size(); ++i) values[i] = data[i];
  }

 private:
  std::vector<Index> shape_;
  void* object_;
  Write write_ = nullptr;
  Read read_ = nullptr;
};

/// A visitor's view of a sub-layer: `layer.parameters(prefixed("self_attn", visit))` puts "self_attn." before
/// every name. A visitor is called as visit(std::string name, Parameter<Scalar> parameter).
template <class Visitor>
auto prefixed(std::string prefix, Visitor& visit) {
  return [prefix = std::move(prefix), &visit](const std::string& name, auto parameter) {
    visit(prefix.empty() ? name : prefix + "." + name, std::move(parameter));
  };
}

}  // namespace attend
