// The cases of golden.safetensors, and the numbers from names that their inputs and parameters are made of:
// see make_golden.py, which has the same functions.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <attend/core/parameter.hpp>
#include <attend/tensor.hpp>

namespace golden {

using attend::Index;
using attend::Shape;
using attend::Tensor;

/// Fraction `index` of a name, in [-1, 1), in 16 bits.
class Fractions {
 public:
  explicit Fractions(const std::string& name) {
    for (unsigned char byte : name) state_ = (state_ ^ byte) * 0x100000001B3u;
  }
  double next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (static_cast<double>(z >> 48) - 32768) / 32768;
  }

 private:
  std::uint64_t state_ = 0xCBF29CE484222325u;
};

/// An input: in [-scale, scale), plus offset.
template <class S, int Rank>
Tensor<S, Rank> data(const std::string& name, const Shape<Rank>& shape, double scale = 2, double offset = 0) {
  Fractions fractions(name);
  Tensor<S, Rank> t(shape);
  for (S& x : t.span()) x = static_cast<S>(fractions.next() * scale + offset);
  return t;
}

/// A matrix is scaled by its columns, a weight vector (of a norm) lies around 1, other vectors around 0.
template <class S, int Rank>
Tensor<S, Rank> parameter(const std::string& name, const Shape<Rank>& shape) {
  if (Rank == 1) return data<S, Rank>(name, shape, 0.5, name.ends_with("weight") ? 1 : 0);
  double scale = 2;
  for (Index reach = 1; reach < shape.back(); reach *= 4) scale /= 2;
  return data<S, Rank>(name, shape, scale);
}

inline std::vector<Index> ids(const std::string& name, Index count, Index limit) {
  Fractions fractions(name);
  std::vector<Index> ids;
  for (Index i = 0; i < count; ++i)
    ids.push_back(static_cast<Index>(fractions.next() * 32768 + 32768) % limit);
  return ids;
}

/// One line of cases.txt.
struct Case {
  std::string name, op;
  std::map<std::string, std::string> settings;

  bool has(const std::string& key) const { return settings.contains(key); }
  std::string text(const std::string& key) const { return settings.at(key); }
  double number(const std::string& key) const { return std::stod(settings.at(key)); }
  Index size(const std::string& key) const { return std::stoll(settings.at(key)); }
  Index size(const std::string& key, Index otherwise) const { return has(key) ? size(key) : otherwise; }
  bool flag(const std::string& key, bool otherwise = false) const { return size(key, otherwise) != 0; }
  std::string path(const std::string& tensor) const { return name + "/" + tensor; }
};

inline std::vector<Case> read_cases(const std::string& path) {
  std::vector<Case> cases;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Case c;
    words >> c.name >> c.op;
    for (std::string word; words >> word;) {
      const std::size_t equals = word.find('=');
      c.settings[word.substr(0, equals)] = word.substr(equals + 1);
    }
    cases.push_back(c);
  }
  return cases;
}

/// Gives each parameter of a layer the values of its name.
template <class S, class Layer>
void fill(const Case& c, Layer& layer) {
  layer.parameters([&](const std::string& name, attend::Parameter<S> p) {
    Tensor<S, 1> values;
    if (p.shape().size() == 1) {
      values = parameter<S, 1>(c.path(name), {p.shape()[0]});
    } else {
      const Tensor<S, 2> matrix = parameter<S, 2>(c.path(name), {p.shape().at(0), p.shape().at(1)});
      values = Tensor<S, 1>({matrix.numel()}, matrix.span());
    }
    p.assign(0, p.rows(), values.data());
  });
}

}  // namespace golden
