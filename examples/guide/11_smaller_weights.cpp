// # Smaller weights
//
// A layer's or model's option `weights` keeps its matrices in fewer bits; <attend/quant.hpp> brings what that takes. Names and
// files stay: load rounds what it reads.
//
//     WeightType          bytes of a number     what it does to a result
//     ------------------- --------------------- ----------------------------------------------------------------------
//     float32             4                     nothing
//     bfloat16, float16   2                     nothing, where the file has 16 bits: they are widened exactly
//     int8                1.06                  sentence vectors of MiniLM: cosine to float32 0.9995 in the mean
//     int4                0.56                  0.96; for large models, which take it better
//
// int8 and int4 round the inputs, too, in groups of 32 along a row. A result is still a function of its own inputs alone, and
// the same bits on every processor with FMA. Decoding reads each weight once for each token, so fewer bytes are less time.
//
// A GGUF file is opened in the type of most of its matrices: Q8_0 is int8 and Q4_0 int4, both as they are; Q4_1, Q5_0, Q5_1,
// Q4_K, Q5_K and Q6_K are rounded to int8, with groups of their own. What was rounded without having been asked for, the
// programs say on standard error; a program of yours asks:
//
//     options.report = [](const std::string& file, std::span<const LoadedTensor> tensors) {
//       std::cerr << file << ": " << rounded_tensors(tensors) << '\n';
//     };                       // "model.gguf: 169 tensors of Q4_K and 29 of Q6_K are rounded to int8"
#include <cmath>
#include <cstdio>
#include <vector>

#include <attend/attend.hpp>
#include <attend/quant.hpp>

using namespace attend;

/// The same weights, kept in another way.
Linear<float> made(WeightType weights) {
  Linear<float> layer({.in_features = 256, .out_features = 64, .weights = weights});
  layer.parameters([i = 0](const std::string&, Parameter<float> p) mutable {
    std::vector<float> values(static_cast<std::size_t>(p.numel()));
    for (float& v : values) v = (1 + std::sin(static_cast<float>(++i))) / 16;
    p.assign(0, p.rows(), values.data());
  });
  return layer;
}

int main() {
  Tensor<float, 2> x({1, 256});
  for (Index i = 0; i < 256; ++i) x(0, i) = 1 + std::cos(static_cast<float>(7 * i));
  const Tensor<float, 2> exact = made(WeightType::float32)(x);
  for (WeightType type : {WeightType::bfloat16, WeightType::float16, WeightType::int8, WeightType::int4}) {
    const Tensor<float, 2> y = made(type)(x);
    double error = 0, size = 0;
    for (Index i = 0; i < 64; ++i) {
      const double d = static_cast<double>(y(0, i)) - static_cast<double>(exact(0, i));
      error += d * d, size += static_cast<double>(exact(0, i)) * static_cast<double>(exact(0, i));
    }
    const double relative = std::sqrt(error / size);
    std::printf("%s: off by %s\n", to_string(type),
                relative < 0.001  ? "less than 0.1 %"
                : relative < 0.01 ? "less than 1 %"
                : relative < 0.1  ? "less than 10 %"
                                  : "more");
  }
}
// Prints:
// bfloat16: off by less than 0.1 %
// float16: off by less than 0.1 %
// int8: off by less than 0.1 %
// int4: off by less than 1 %
