// What is measured: inputs, attend's way and Eigen's way to the same output, and what has to be done at
// least.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>

#include <attend/attend.hpp>
#include <attend/quant.hpp>

#include "way.hpp"

namespace bench {

using attend::Context;
using attend::Shape;
using attend::Tensor;
using attend::WeightType;

/// Uniform in [-scale, scale), the same in every run.
template <int Rank>
Tensor<float, Rank> random(const Shape<Rank>& shape, float scale = 1) {
  Tensor<float, Rank> tensor(shape);
  std::uint32_t state = 12345;
  for (float& x : tensor.span()) {
    state = state * 1664525u + 1013904223u;
    x = (static_cast<float>(state >> 8) / 8388608.0f - 1.0f) * scale;
  }
  return tensor;
}

/// Gives a layer random parameters and keeps them as the state dict has them, which is how Eigen takes them.
class StateDict {
 public:
  template <class Layer>
  explicit StateDict(Layer& layer) {
    layer.parameters([&](const std::string& name, attend::Parameter<float> parameter) {
      const float scale = 1 / std::sqrt(static_cast<float>(parameter.row_size()));
      const auto& values = values_[name] = random<1>({parameter.numel()}, scale);
      parameter.assign(0, parameter.rows(), values.data());
    });
  }
  const float* operator[](const std::string& name) const { return values_.at(name).data(); }

 private:
  std::map<std::string, Tensor<float, 1>> values_;
};

/// Fewer rows than this may run at the speed of memory instead of the multiply-adds'.
inline constexpr Index kFewRows = 16;

/// Of a number of a weight, scales included.
inline double bytes_of(WeightType type) {
  return type == WeightType::float32 ? 4
         : type == WeightType::int8  ? 34.0 / 32
         : type == WeightType::int4  ? 18.0 / 32
                                     : 2;
}
/// What a name ends with.
inline std::string suffix_of(WeightType type) {
  return type == WeightType::float32 ? "" : std::string("/weights:") + to_string(type);
}
inline constexpr WeightType kReduced[] = {WeightType::bfloat16, WeightType::float16, WeightType::int8,
                                          WeightType::int4};

/// What a call has to do at least.
struct Cost {
  double operations = 0;
  double bytes = 0;  // weights, or keys and values, read once; 0 where the multiply-adds take longer by far

  /// Products of some rows with weights of so many elements.
  static Cost of_weights(Index rows, Index elements, WeightType type = WeightType::float32) {
    const double n = static_cast<double>(elements);
    return {2 * n * static_cast<double>(rows), rows <= kFewRows ? bytes_of(type) * n : 0};
  }
};

struct LinearProblem {
  Index M, K, N;
  WeightType type;
  attend::Linear<float> layer{{.in_features = K, .out_features = N, .weights = type}};
  StateDict weights{layer};
  Tensor<float, 2> x = random<2>({M, K}), out{{M, N}};

  LinearProblem(Index m, Index k, Index n, WeightType weight = WeightType::float32)
      : M(m), K(k), N(n), type(weight) {}
  static Cost cost(Index M, Index K, Index N, WeightType type = WeightType::float32) {
    return Cost::of_weights(M, K * N, type);
  }
  void run(Context& context) { layer.forward(context, x, out); }
  void run(const Way& way) { way.linear(x.data(), weights["weight"], weights["bias"], out.data(), M, K, N); }
};

struct SdpaProblem {
  AttentionSizes s;
  Tensor<float, 4> query = random<4>({s.B, s.H, s.T, s.D}), key = random<4>({s.B, s.KV, s.T, s.D}, 0.9f),
                   value = random<4>({s.B, s.KV, s.T, s.D}, 0.8f), out{query.shape()};
  attend::AttentionOptions<float> options;

  explicit SdpaProblem(const AttentionSizes& sizes) : s(sizes) {
    if (s.window >= s.T) options.mask = attend::causal();
    if (s.window > 0 && s.window < s.T) options.mask = attend::sliding_window(s.window - 1, 0);
  }
  static Cost cost(const AttentionSizes& s) {
    double pairs = 0;
    for (Index i = 0; i < s.T; ++i)
      pairs += static_cast<double>(s.window > 0 ? std::min(i + 1, s.window) : s.T);
    return {4 * pairs * static_cast<double>(s.D * s.B * s.H), 0};
  }
  void run(Context& context) {
    attend::scaled_dot_product_attention<float>(context, query.view(), key.view(), value.view(), options,
                                                out.view());
  }
  void run(const Way& way) { way.sdpa(query.data(), key.data(), value.data(), out.data(), s); }
};

/// One new token that sees the S tokens of a cache.
struct DecodeProblem {
  Index H, KV, S, D;
  Tensor<float, 4> query = random<4>({1, H, 1, D}), key = random<4>({1, KV, S, D}, 0.9f),
                   value = random<4>({1, KV, S, D}, 0.8f), out{query.shape()};
  attend::KVCache<float> cache{{.num_kv_heads = KV, .head_dim = D}};

  DecodeProblem(Index h, Index kv, Index s, Index d) : H(h), KV(kv), S(s), D(d) { cache.append(key, value); }
  static Cost cost(Index H, Index KV, Index S, Index D) {
    return {4 * static_cast<double>(H * S * D), 2 * 4 * static_cast<double>(KV * S * D)};
  }
  void run(Context& context) {
    attend::scaled_dot_product_attention<float>(context, query.view(), cache, {}, out.view());
  }
  void run(const Way& way) { way.decode(query.data(), key.data(), value.data(), out.data(), H, KV, S, D); }
};

inline MhaWeights mha_weights(const StateDict& weights, const std::string& prefix = "") {
  return {weights[prefix + "in_proj_weight"], weights[prefix + "in_proj_bias"],
          weights[prefix + "out_proj.weight"], weights[prefix + "out_proj.bias"]};
}

struct MhaProblem {
  Index E, H, B, T;
  attend::MultiHeadAttention<float> layer{{.embed_dim = E, .num_heads = H}};
  StateDict weights{layer};
  Tensor<float, 3> x = random<3>({B, T, E}), out{x.shape()};

  MhaProblem(Index e, Index h, Index b, Index t) : E(e), H(h), B(b), T(t) {}
  static Cost cost(Index E, Index /*H*/, Index B, Index T) {
    Cost cost = Cost::of_weights(B * T, 4 * E * E);
    cost.operations += 4 * static_cast<double>(B * T * T * E);
    return cost;
  }
  void run(Context& context) { layer.forward(context, x, out); }
  void run(const Way& way) { way.mha(mha_weights(weights), x.data(), out.data(), B, T, E, H); }
};

struct EncoderBlockProblem {
  Index E, H, F, B, T;
  attend::EncoderBlock<float> layer{{.embed_dim = E, .num_heads = H, .dim_feedforward = F}};
  StateDict weights{layer};
  Tensor<float, 3> x = random<3>({B, T, E}), out{x.shape()};

  EncoderBlockProblem(Index e, Index h, Index f, Index b, Index t) : E(e), H(h), F(f), B(b), T(t) {}
  static Cost cost(Index E, Index /*H*/, Index F, Index B, Index T) {
    Cost cost = Cost::of_weights(B * T, 4 * E * E + 2 * E * F);
    cost.operations += 4 * static_cast<double>(B * T * T * E);
    return cost;
  }
  void run(Context& context) { layer.forward(context, x, {}, out); }
  void run(const Way& way) {
    const StateDict& w = weights;
    const EncoderWeights all{mha_weights(w, "self_attn."),
                             w["linear1.weight"],
                             w["linear1.bias"],
                             w["linear2.weight"],
                             w["linear2.bias"],
                             w["norm1.weight"],
                             w["norm1.bias"],
                             w["norm2.weight"],
                             w["norm2.bias"]};
    way.encoder_block(all, x.data(), out.data(), B, T, E, H, F);
  }
};

}  // namespace bench
