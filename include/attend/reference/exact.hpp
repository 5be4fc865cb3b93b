// Products, norms and streaming attention in float with std::fma, in the order of operations that fixes each
// bit of the kernels' results. This file is the specification of that order.
//
// Don't compile it with -ffast-math. It is robust against contraction: no product here feeds an addition.
#pragma once

#include <array>
#include <cmath>
#include <limits>

#include <attend/core/tiling.hpp>
#include <attend/reference/attention.hpp>
#include <attend/reference/math.hpp>

namespace attend::inline ATTEND_ABI::reference::exact {

using Lanes = std::array<float, kLanes>;

/// Lane j and lane j + 8, then j + 4, j + 2, j + 1.
inline float tree_sum(Lanes lanes) {
  for (std::size_t width = lanes.size() / 2; width > 0; width /= 2)
    for (std::size_t j = 0; j < width; ++j) lanes[j] = lanes[j] + lanes[j + width];
  return lanes[0];
}

/// Sums f(lane, x) over a row: lane j takes x[j], x[j + 16], … in that order.
template <class F>
float row_sum(View<float, 1> x, F&& f) {
  Lanes lanes{};
  for (Index e = 0; e < x.size(0); ++e) {
    float& lane = lanes[static_cast<std::size_t>(e % kLanes)];
    lane = f(lane, x(e));
  }
  return tree_sum(lanes);
}

/// One chain of FMAs over k from +0; then the bias; then the residual [N, M].
inline Tensor<float, 2> linear(View<float, 2> x, View<float, 2> weight, View<float, 1> bias = {},
                               View<float, 2> residual = {}) {
  Tensor<float, 2> y({x.size(0), weight.size(0)});
  for (Index n = 0; n < y.size(0); ++n)
    for (Index m = 0; m < y.size(1); ++m) {
      float sum = 0;
      for (Index k = 0; k < x.size(1); ++k) sum = std::fma(x(n, k), weight(m, k), sum);
      if (!bias.empty()) sum = sum + bias(m);
      if (!residual.empty()) sum = sum + residual(n, m);
      y(n, m) = sum;
    }
  return y;
}

/// The mean is that of distances from the first element, corrected by the mean of the distances from it.
inline Tensor<float, 2> layer_norm(View<float, 2> x, View<float, 1> weight, View<float, 1> bias, float eps) {
  Tensor<float, 2> out(x.shape());
  const float size = static_cast<float>(x.size(1));
  for (Index n = 0; n < x.size(0); ++n) {
    const float first = x(n, 0);
    const float centre =
        first + row_sum(x[n], [first](float lane, float v) { return lane + (v - first); }) / size;
    const float rest = row_sum(x[n], [centre](float lane, float v) { return lane + (v - centre); }) / size;
    const float squares =
        row_sum(x[n], [centre](float lane, float v) { return std::fma(v - centre, v - centre, lane); });
    const float variance = std::fma(-rest, rest, squares / size);
    const float inverse = 1.0f / std::sqrt((variance < 0 ? 0.0f : variance) + eps);
    for (Index e = 0; e < x.size(1); ++e) {
      const float y = (x(n, e) - centre - rest) * inverse;
      out(n, e) = weight.empty() ? y : bias.empty() ? y * weight(e) : std::fma(y, weight(e), bias(e));
    }
  }
  return out;
}

inline Tensor<float, 2> rms_norm(View<float, 2> x, View<float, 1> weight, float eps) {
  Tensor<float, 2> out(x.shape());
  for (Index n = 0; n < x.size(0); ++n) {
    const float squares = row_sum(x[n], [](float lane, float v) { return std::fma(v, v, lane); });
    const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(x.size(1)) + eps);
    for (Index e = 0; e < x.size(1); ++e) {
      const float y = x(n, e) * inverse;
      out(n, e) = weight.empty() ? y : y * weight(e);
    }
  }
  return out;
}

/// A part of a softmax-weighted sum of values. Nothing was seen yet where maximum is -inf.
struct Partial {
  float maximum = -std::numeric_limits<float>::infinity();
  Lanes sum{};
  std::vector<float> output;

  explicit Partial(Index value_dim) : output(static_cast<std::size_t>(value_dim)) {}
  bool empty() const { return maximum == -std::numeric_limits<float>::infinity(); }
};

/// Joins the next span to the total. exponential(x) is softmax_exp(x, c).
template <class Exp>
void merge(Partial& total, const Partial& span, Exp&& exponential) {
  if (span.empty()) return;
  if (total.empty()) {
    total = span;
    return;
  }
  const float maximum = (std::max)(total.maximum, span.maximum);
  const float before = exponential(total.maximum - maximum), after = exponential(span.maximum - maximum);
  for (std::size_t j = 0; j < span.sum.size(); ++j)
    total.sum[j] = std::fma(span.sum[j], after, total.sum[j] * before);
  for (std::size_t d = 0; d < span.output.size(); ++d)
    total.output[d] = std::fma(span.output[d], after, total.output[d] * before);
  total.maximum = maximum;
}

/// Takes in one tile: scores of at most kKeyTile keys, -inf where masked, and their values [keys, Dv].
template <class Exp>
void add_tile(Partial& span, std::span<const float> scores, View<float, 2> values, Exp&& exponential) {
  const float none = -std::numeric_limits<float>::infinity();
  float maximum = span.maximum;
  bool visible = false;
  for (float score : scores) {
    visible = visible || score != none;
    maximum = (std::max)(maximum, score);
  }
  if (!visible) return;
  if (maximum == none) maximum = std::numeric_limits<float>::quiet_NaN();  // nothing but NaN is seen
  const float alpha = span.empty() ? 0.0f : exponential(span.maximum - maximum);
  std::array<float, kKeyTile> weights{};
  for (std::size_t k = 0; k < scores.size(); ++k)
    if (scores[k] != none) weights[k] = exponential(scores[k] - maximum);
  for (std::size_t j = 0; j < span.sum.size(); ++j) {
    float sum = weights[j];
    for (std::size_t k = j + kLanes; k < weights.size(); k += kLanes) sum = sum + weights[k];
    span.sum[j] = std::fma(span.sum[j], alpha, sum);
  }
  for (std::size_t d = 0; d < span.output.size(); ++d) {
    float& output = span.output[d];
    output = output * alpha;
    for (std::size_t k = 0; k < scores.size(); ++k)
      if (scores[k] != none)
        output = std::fma(weights[k], values(static_cast<Index>(k), static_cast<Index>(d)), output);
  }
  span.maximum = maximum;
}

struct AttentionResult {
  Tensor<float, 4> output;       // [B, H, Tq, Dv]
  Tensor<float, 3> log_sum_exp;  // [B, H, Tq]; its logarithm is libm's, so it is near, not equal in each bit
};

/// As reference::scaled_dot_product_attention, but streaming over key tiles, and without weights.
/// Weights are 2^((score - maximum) c). Where nothing but a mask touches the scores and the scale is
/// positive, the scale is folded into c and the scores stay plain products. A sink comes last.
inline AttentionResult scaled_dot_product_attention(View<float, 4> query, View<float, 4> key,
                                                    View<float, 4> value,
                                                    const AttentionOptions<float>& options = {}) {
  const Index B = query.size(0), H = query.size(1), Tq = query.size(2), D = query.size(3);
  const Index Tk = key.size(2), Dv = value.size(3);
  const double log2e = 1.4426950408889634074;
  const float scale = attention_scale(options, D);
  const bool folded = scale > 1e-30f && !(options.softcap > 0) && !options.modifier && !options.additive_mask;
  const float c = static_cast<float>(folded ? static_cast<double>(scale) * log2e : log2e);
  const float none = -std::numeric_limits<float>::infinity();
  const auto exponential = [&](float x) { return softmax_exp(x, c); };

  AttentionResult result{Tensor<float, 4>({B, H, Tq, Dv}), Tensor<float, 3>({B, H, Tq}, none)};
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h)
      for (Index q = 0; q < Tq; ++q) {
        const Index g = h / (H / key.size(1));
        Partial total(Dv);
        for (Index span_begin = 0; span_begin < Tk; span_begin += kSpanTiles * kKeyTile) {
          const Index span_end = (std::min)(Tk, span_begin + kSpanTiles * kKeyTile);
          Partial span(Dv);
          for (Index begin = span_begin; begin < span_end; begin += kKeyTile) {
            const Index end = (std::min)(span_end, begin + kKeyTile);
            std::vector<float> scores;
            for (Index k = begin; k < end; ++k) {
              float product = 0;
              for (Index d = 0; d < D; ++d) product = std::fma(query(b, h, q, d), key(b, g, k, d), product);
              scores.push_back(attention_score(product, options, folded ? 1.0f : scale, tanh, b, h, q, k));
            }
            add_tile(span, scores, value[b][g].slice(0, begin, end), exponential);
          }
          merge(total, span, exponential);
        }
        if (total.empty()) continue;
        float maximum = total.maximum, before = 1, sink_weight = 0;
        if (!options.sinks.empty()) {
          const float sink = folded ? options.sinks(h) / scale : options.sinks(h);  // in units of the scores
          if (sink > maximum) {
            before = exponential(maximum - sink);
            maximum = sink;
          }
          sink_weight = exponential(sink - maximum);
        }
        for (float& lane : total.sum) lane = lane * before;
        const float sum = tree_sum(total.sum) + sink_weight, inverse = 1.0f / sum;
        for (Index d = 0; d < Dv; ++d) {
          const float out = total.output[static_cast<std::size_t>(d)] * before * inverse;
          result.output(b, h, q, d) = out == 0 ? 0.0f : out;  // never -0
        }
        const double natural = static_cast<double>(c) / log2e;  // the scale, or 1
        result.log_sum_exp(b, h, q) = static_cast<float>(
            std::fma(static_cast<double>(maximum), natural, std::log(static_cast<double>(sum))));
      }
  return result;
}

}  // namespace attend::inline ATTEND_ABI::reference::exact
