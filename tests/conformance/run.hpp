// One case while it runs: what its operator asks for is handed out, what nobody asked for is found out.
#pragma once

#include <cmath>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <attend/tensor.hpp>

#include "case.hpp"

namespace conformance {

using attend::Shape;
using attend::Tensor;
using attend::TensorView;

/// The case asks for what attend does not do; the text says what.
struct Skip {
  std::string reason;
};

struct Tolerance {
  double absolute, relative;
};
inline Tolerance tolerance_of(const std::string& dtype) {
  if (dtype == "float64") return {1e-12, 1e-11};
  if (dtype == "float16" || dtype == "bfloat16") return {2e-3, 4e-3};
  return {2e-6, 1e-5};
}

/// How a NaN is judged that a source expects at element i of an output.
enum class Nan {
  stays,   // NaN is right
  zero,    // everything is masked there, so that the library gives 0
  finite,  // what it gives follows from such zeros
};
using NanRule = std::function<Nan(Index i)>;

/// Says what the furthest element is, or nothing where all are within the tolerance.
template <class S>
std::string compare(std::span<const S> got, const std::vector<double>& expected, const Tolerance& tolerance,
                    const NanRule& nan_rule = {}) {
  if (got.size() != expected.size())
    return "expected " + std::to_string(expected.size()) + " elements, got " + std::to_string(got.size());
  std::size_t bad = 0, worst = 0;
  double worst_excess = -1;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double g = static_cast<double>(got[i]), e = expected[i];
    double excess = 0;  // how many tolerances it is off
    if (std::isnan(e)) {
      const Nan rule = nan_rule ? nan_rule(static_cast<Index>(i)) : Nan::stays;
      const bool right = rule == Nan::stays ? std::isnan(g) : rule == Nan::zero ? g == 0 : std::isfinite(g);
      excess = right ? 0 : INFINITY;
    } else if (std::isinf(e) || !std::isfinite(g)) {
      excess = g == e ? 0 : INFINITY;
    } else {
      excess = std::abs(g - e) / (tolerance.absolute + tolerance.relative * std::abs(e));
    }
    if (excess > 1) ++bad;
    if (excess > worst_excess) worst_excess = excess, worst = i;
  }
  if (bad == 0) return {};
  std::ostringstream text;
  text.precision(9);
  text << bad << " of " << got.size() << " elements are off, most of all element " << worst << ": expected "
       << expected[worst] << ", got " << static_cast<double>(got[worst]) << " (" << worst_excess
       << " tolerances)";
  return text.str();
}

inline std::vector<double> read_values(const fs::path& file) {
  const Npy npy = read_npy(file);
  std::vector<double> values(static_cast<std::size_t>(npy.numel()));
  npy.copy_to(values.data());
  return values;
}

/// A tensor of a rank that only the case knows.
template <class S>
struct Array {
  std::vector<Index> shape;
  Tensor<S, 1> values;

  explicit Array(std::vector<Index> s)
      : shape(std::move(s)), values({attend::detail::checked_numel(shape, sizeof(S))}) {}
  explicit Array(const Npy& npy) : Array(npy.shape) { npy.copy_to(values.data()); }

  int rank() const { return static_cast<int>(shape.size()); }
  std::span<const S> span() const { return values.span(); }
  /// As a view of that rank, which must be its own.
  template <int Rank>
  TensorView<const S, Rank> view() const {
    return {values.data(), fixed<Rank>()};
  }
  template <int Rank>
  TensorView<S, Rank> view() {
    return {values.data(), fixed<Rank>()};
  }

 private:
  template <int Rank>
  Shape<Rank> fixed() const {
    if (rank() != Rank) attend::detail::fail_shape("case", std::to_string(Rank) + " axes", shape);
    Shape<Rank> result;
    std::copy(shape.begin(), shape.end(), result.begin());
    return result;
  }
};

class Run {
 public:
  explicit Run(const Case& c) : case_(c) {}

  const std::string& op() const { return case_.op; }
  Index opset() const { return case_.opset; }

  // Attributes: each is asked for by type, with ONNX's default.
  Index integer(const std::string& name, Index otherwise) {
    const Attribute* a = attribute(name, "int");
    return a != nullptr ? detail::to_index(a->text, case_.name) : otherwise;
  }
  bool flag(const std::string& name) {
    const Index value = integer(name, 0);
    if (value != 0 && value != 1) throw Skip{"attribute " + name + " is " + std::to_string(value)};
    return value == 1;
  }
  std::optional<double> real(const std::string& name) {
    const Attribute* a = attribute(name, "float");
    if (a == nullptr) return {};
    char* end = nullptr;
    const double value = std::strtod(a->text.c_str(), &end);
    if (a->text.empty() || *end != '\0')
      attend::throw_error("attribute ", name, ": ", attend::detail::in_quotes(a->text), " is not a number");
    return value;
  }
  double real(const std::string& name, double otherwise) { return real(name).value_or(otherwise); }
  std::string text(const std::string& name, const std::string& otherwise) {
    const Attribute* a = attribute(name, "str");
    return a != nullptr ? a->text : otherwise;
  }
  /// To be called once the operator has asked for all attributes and inputs that it knows, before it
  /// computes.
  void no_more_attributes() const {
    for (const auto& [name, attribute] : case_.attributes)
      if (!asked_attributes_.contains(name))
        throw Skip{"attribute " + name + " (" + attribute.type + ") is not supported"};
  }
  void no_more_inputs() const {
    for (const Value& value : case_.inputs)
      if (value.dtype != "absent" && !asked_inputs_.contains(value.slot))
        throw Skip{"input " + value.name + " in slot " + std::to_string(value.slot) + " is not supported"};
  }

  // Inputs and outputs, by slot.
  bool has_input(Index slot) const { return find(case_.inputs, slot) != nullptr; }
  const std::string& dtype(Index slot) const { return required(case_.inputs, slot, "input").dtype; }
  bool any_input_of(const std::string& dtype) const {
    for (const Value& value : case_.inputs)
      if (value.dtype == dtype) return true;
    return false;
  }
  template <class S>
  Array<S> input(Index slot) {
    const Value& value = required(case_.inputs, slot, "input");
    asked_inputs_.insert(slot);
    return Array<S>(load(value));
  }
  bool wants(Index slot) const { return find(case_.outputs, slot) != nullptr; }
  const std::string& output_name(Index slot) const { return required(case_.outputs, slot, "output").name; }
  /// Compares what the library gave with what the case expects.
  template <class S>
  void give(Index slot, const std::vector<Index>& shape, std::span<const S> values,
            const NanRule& nan_rule = {}) {
    given_.insert(slot);
    const Value* value = find(case_.outputs, slot);
    if (value == nullptr) return;
    std::string problem;
    const Npy npy = load(*value);
    if (shape != npy.shape) {
      problem = "expected shape " + attend::to_string(npy.shape) + ", got " + attend::to_string(shape);
    } else {
      std::vector<double> expected(static_cast<std::size_t>(npy.numel()));
      npy.copy_to(expected.data());
      problem = compare<S>(values, expected, tolerance_of(value->dtype), nan_rule);
    }
    if (!problem.empty()) problem_ += (problem_.empty() ? "" : "; ") + value->name + ": " + problem;
  }

  /// What is wrong with the outputs so far, or nothing.
  std::string problem() const {
    for (const Value& value : case_.outputs)
      if (value.dtype != "absent" && !given_.contains(value.slot))
        throw Skip{"output " + value.name + " in slot " + std::to_string(value.slot) + " is not supported"};
    return problem_;
  }

 private:
  const Attribute* attribute(const std::string& name, const std::string& type) {
    asked_attributes_.insert(name);
    const auto found = case_.attributes.find(name);
    if (found == case_.attributes.end()) return nullptr;
    if (found->second.type != type && !(type == "float" && found->second.type == "int"))
      throw Skip{"attribute " + name + " is of type " + found->second.type + ", not " + type};
    return &found->second;
  }
  static const Value* find(const std::vector<Value>& values, Index slot) {
    for (const Value& value : values)
      if (value.slot == slot && value.dtype != "absent") return &value;
    return nullptr;
  }
  static const Value& required(const std::vector<Value>& values, Index slot, const char* kind) {
    const Value* value = find(values, slot);
    if (value == nullptr) attend::throw_error("the case has no ", kind, " in slot ", slot);
    return *value;
  }
  Npy load(const Value& value) const {
    const fs::path file = case_.folder / value.file;
    Npy npy = read_npy(file);
    if (npy.dtype != value.stored || npy.shape != value.shape)
      attend::throw_error(file.string(), ": byte 10: expected ", value.stored, " ",
                          attend::to_string(value.shape), ", got ", npy.dtype, " ",
                          attend::to_string(npy.shape));
    return npy;
  }

  const Case& case_;
  std::set<std::string> asked_attributes_;
  std::set<Index> asked_inputs_, given_;
  std::string problem_;
};

}  // namespace conformance
