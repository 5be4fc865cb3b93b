// Positions: sinusoidal tables, rotary embeddings (rotary.hpp), ALiBi, relative biases (T5, Swin). Learned
// ones are an Embedding.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include <attend/attention_sizes.hpp>
#include <attend/core/parameter.hpp>
#include <attend/core/scalar.hpp>
#include <attend/rotary.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// Of sinusoidal_positions.
struct SinusoidalOptions {
  /// interleaved: sin, cos, sin, cos, … with angle p / max_timescale^(2 i / E) ("Attention Is All You
  /// Need", 3.5). halves: all sin, then all cos, angle p · max_timescale^(-i / (E / 2)) (Marian).
  /// halves_inclusive: likewise, but the last frequency is 1 / max_timescale: i / (E / 2 - 1), and the last
  /// column of an odd E is 0 (tensor2tensor).
  enum class Layout { interleaved, halves, halves_inclusive };
  Layout layout = Layout::interleaved;  // sines and cosines take turns, or come in halves
  double max_timescale = 10000;         // the longest wavelength, divided by 2 π
  Index first = 0;                      // position of row 0
  /// Frequencies and angles are rounded to single precision, as the tables were that M2M100 learned with.
  bool single_precision = false;
};

/// Table [positions, embed_dim] of sines and cosines, computed in double but for single_precision. Errors: an
/// embed_dim below 1, a max_timescale that is not above 0.
template <class Scalar>
void sinusoidal_positions(const SinusoidalOptions& options, TensorView<Scalar, 2> out) {
  static_assert(detail::check_scalar<Scalar>());
  using Layout = SinusoidalOptions::Layout;
  const Index positions = out.size(0), embed_dim = out.size(1);
  detail::check_size("sinusoidal_positions", "embed_dim", embed_dim);
  if (!(options.max_timescale > 0 && options.max_timescale < 1e300))
    throw_error("sinusoidal_positions: max_timescale is ", options.max_timescale,
                ", expected a number above 0");
  if (detail::overlaps_itself(out))
    throw_error("sinusoidal_positions: elements of a table of shape ", out.shape(), " overlap each other");
  const detail::FloatEnvironment environment;
  const bool halves = options.layout != Layout::interleaved,
             inclusive = options.layout == Layout::halves_inclusive;
  const Index pairs = embed_dim / 2 + (inclusive ? 0 : embed_dim % 2);
  const auto rounded = [&](double x) {
    return options.single_precision ? static_cast<double>(static_cast<float>(x)) : x;
  };
  for (Index p = 0; inclusive && p < positions; ++p) out(p, embed_dim - 1) = Scalar(0);
  for (Index i = 0; i < pairs; ++i) {
    const double steps =
        inclusive ? static_cast<double>(pairs > 1 ? pairs - 1 : 1) : static_cast<double>(embed_dim) / 2;
    const double exponent =
        options.single_precision
            ? rounded(-static_cast<double>(i) * rounded(std::log(options.max_timescale) / steps))
            : -static_cast<double>(i) * std::log(options.max_timescale) / steps;
    const double frequency = rounded(std::exp(exponent));
    const Index sine = halves ? i : 2 * i, cosine = halves ? pairs + i : 2 * i + 1;
    for (Index p = 0; p < positions; ++p) {
      const double angle = rounded((static_cast<double>(options.first) + static_cast<double>(p)) * frequency);
      out(p, sine) = static_cast<Scalar>(std::sin(angle));
      if (cosine < embed_dim) out(p, cosine) = static_cast<Scalar>(std::cos(angle));
    }
  }
}
/// The same as a tensor. Error: a negative number of positions, too.
template <class Scalar>
Tensor<Scalar, 2> sinusoidal_positions(AnyIndex positions, AnyIndex embed_dim,
                                       const SinusoidalOptions& options = {}) {
  detail::check_size("sinusoidal_positions", "embed_dim", embed_dim);
  if (positions < 0) throw_error("sinusoidal_positions: positions is ", positions, ", expected 0 or more");
  Tensor<Scalar, 2> table({positions, embed_dim});
  sinusoidal_positions<Scalar>(options, table.view());
  return table;
}
ATTEND_COMPILED_LAYER(Tensor<float, 2> sinusoidal_positions<float>(AnyIndex, AnyIndex,
                                                                   const SinusoidalOptions&));

// ---- ALiBi

/// Slope of each head: 2^(-8 i / n) for i = 1 … n, n the power of two below num_heads, and the rest from
/// every other one of 2 n heads (arXiv:2108.12409).
template <class Scalar>
ATTEND_COLD std::vector<Scalar> alibi_slopes(AnyIndex num_heads) {
  static_assert(detail::check_scalar<Scalar>());
  if (num_heads < 1 || num_heads > 65536)
    throw_error("alibi_slopes: num_heads is ", num_heads, ", expected 1 to 65536");
  Index n = 1;
  while (n <= num_heads / 2) n *= 2;
  const detail::FloatEnvironment environment;
  std::vector<Scalar> slopes;
  for (Index i = 1; i <= n; ++i)
    slopes.push_back(Scalar(std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(n))));
  for (Index i = 1; static_cast<Index>(slopes.size()) < num_heads; i += 2)
    slopes.push_back(Scalar(std::exp2(-4.0 * static_cast<double>(i) / static_cast<double>(n))));
  return slopes;
}
ATTEND_COMPILED_LAYER(std::vector<float> alibi_slopes<float>(AnyIndex));

/// A score modifier (see score_modifier.hpp): score - slope · distance, where the distance of a key is how
/// far it lies before the query. For float it is computed in double, where the product is exact: the same
/// bits on every machine.
template <class Scalar>
struct Alibi {
  const Scalar* slopes = nullptr;  // [H]
  Index start = 0;                 // position of query 0 among the keys
  bool symmetric = false;          // keys behind the query are as far as those before it
  Index heads = 0;                 // of `slopes`; 0: not known

  /// Error where the call has another number of heads.
  void check_sizes(const AttentionSizes& sizes) const {
    if (heads != 0 && heads != sizes.heads)
      detail::fail_shape("alibi (slopes)", to_string(Shape<1>{sizes.heads}), Shape<1>{heads});
  }
  /// The score less the distance of key and query times the head's slope.
  Scalar operator()(const Scalar& score, Index, Index head, Index query, Index key) const {
    Index distance = detail::saturating_add(start, query - key);
    if (symmetric && distance < 0) distance = detail::saturating_sub(0, distance);
    using Wide = std::conditional_t<std::is_same_v<Scalar, float>, double, Scalar>;
    return static_cast<Scalar>(Wide(score) - Wide(slopes[head]) * Wide(static_cast<double>(distance)));
  }
};
/// {.modifier = alibi<float>(slopes)}; the slopes, one for each head of the call, must live until it returns.
template <class Scalar>
Alibi<Scalar> alibi(std::span<const std::type_identity_t<Scalar>> slopes, Index start = 0,
                    bool symmetric = false) {
  if (slopes.empty()) throw_error("alibi: no slopes, expected one for each head");
  return {slopes.data(), start, symmetric, static_cast<Index>(slopes.size())};
}

// ---- Relative biases

/// Of a RelativeBias: T5's buckets of distances.
struct RelativeBiasOptions {
  Index num_heads = 1;
  Index relative_attention_num_buckets = 32;    // rows of the table
  Index relative_attention_max_distance = 128;  // farther tokens share the last row
  bool bidirectional = true;                    // false: all keys behind the query share a bucket
  Index spare_buckets = 0;  // further rows of the weight, which no distance takes (MPNet may have some)
};

namespace detail {
inline void check_options(const RelativeBiasOptions& o) {
  check_size("RelativeBias", "num_heads", o.num_heads);
  const Index exact = o.relative_attention_num_buckets / (o.bidirectional ? 4 : 2),
              farthest = o.relative_attention_max_distance;
  constexpr Index kMost = Index{1} << 24;  // of a table of all distances
  check_count("RelativeBias", "spare_buckets", o.spare_buckets, kMost);
  if (exact < 1 || farthest <= exact || o.relative_attention_num_buckets > kMost || farthest > kMost)
    throw_error("RelativeBias: ", o.relative_attention_num_buckets, " buckets with a maximum distance of ",
                farthest);
}
}  // namespace detail

/// T5's bucket of key - query: one for each small distance, then logarithmically wider ones up to the maximum
/// distance. In float, as the published models compute it (arXiv:1910.10683).
inline Index relative_position_bucket(Index relative_position, const RelativeBiasOptions& options) {
  detail::check_options(options);
  Index buckets = options.relative_attention_num_buckets, first = 0,
        distance = detail::saturating_sub(0, relative_position);
  if (options.bidirectional) {
    buckets /= 2;
    if (distance < 0) first = buckets, distance = detail::saturating_sub(0, distance);
  }
  distance = std::max<Index>(distance, 0);
  const Index exact = buckets / 2;
  if (distance < exact) return first + distance;
  const detail::FloatEnvironment environment;
  const float ratio =
      std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
      static_cast<float>(std::log(static_cast<double>(options.relative_attention_max_distance) /
                                  static_cast<double>(exact)));
  const Index step = static_cast<Index>(ratio * static_cast<float>(buckets - exact));
  return first + (std::min)(exact + step, buckets - 1);
}

/// A learned bias for each head and bucket of distance. Parameters: weight [num_buckets + spare_buckets,
/// num_heads], T5's relative_attention_bias.
template <class Scalar>
class RelativeBias {
  static_assert(detail::check_scalar<Scalar>());

 public:
  RelativeBias() = default;
  explicit RelativeBias(const RelativeBiasOptions& options);

  const RelativeBiasOptions& options() const { return options_; }
  void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }

  /// Whether the weight has its values; `modifier` takes none less.
  bool assigned() const { return assigned_.all(); }

  /// A score modifier: score + weight[bucket(key - query), head]. It refers to this object.
  struct Modifier {
    const Scalar* weight;        // [buckets, heads]
    const std::int32_t* bucket;  // of distance 0
    /// Heads, the distance that farther ones share, the position of query 0.
    Index heads, farthest, start;
    /// Error where the call has another number of heads.
    void check_sizes(const AttentionSizes& sizes) const {
      if (heads != sizes.heads)
        detail::fail_shape("RelativeBias (num_heads)", to_string(Shape<1>{sizes.heads}), Shape<1>{heads});
    }
    /// The score plus the head's number for the distance's bucket.
    Scalar operator()(const Scalar& score, Index, Index head, Index query, Index key) const {
      const Index relative = std::clamp(detail::saturating_sub(key - query, start), -farthest, farthest);
      return score + weight[bucket[relative] * heads + head];
    }
  };
  /// `start` is the position of query 0 among the keys. Error at the call where its heads are not num_heads.
  Modifier modifier(Index start = 0) const {
    if (bucket_.empty()) throw_error("RelativeBias: made without options, it has no weight");
    if (!assigned()) throw_error("RelativeBias: parameter weight was never assigned");
    const Index farthest = options_.relative_attention_max_distance;
    return {weight_.data(), bucket_.data() + farthest, options_.num_heads, farthest, start};
  }

 private:
  RelativeBiasOptions options_;
  Tensor<Scalar, 2> weight_;
  detail::Assigned assigned_;
  std::vector<std::int32_t> bucket_;  // of distances -max … max; beyond them it stays the same
};

template <class Scalar>
RelativeBias<Scalar>::RelativeBias(const RelativeBiasOptions& options) : options_(options) {
  const Index farthest = options.relative_attention_max_distance;
  detail::check_options(options);
  weight_ =
      Tensor<Scalar, 2>({options.relative_attention_num_buckets + options.spare_buckets, options.num_heads});
  assigned_ = detail::Assigned(weight_.size(0));
  for (Index d = -farthest; d <= farthest; ++d)
    bucket_.push_back(static_cast<std::int32_t>(relative_position_bucket(d, options)));
}
template <class Scalar>
void RelativeBias<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  visit("weight", Parameter<Scalar>({weight_.size(0), options_.num_heads}, weight_.data(), &assigned_));
}
ATTEND_COMPILED_LAYER(class RelativeBias<float>);

namespace detail {
/// Tokens of a window; numbers of their pairs fit std::int32_t.
inline Index check_window(Index height, Index width) {
  for (Index side : {height, width})
    if (side < 1 || side > 16384)
      throw_error("window_relative_position_index: a window of ", Shape<2>{height, width},
                  ", expected sides of 1 to 16384");
  return height * width;
}
}  // namespace detail

/// Row of Swin's table for each pair of tokens of a window of height × width (tokens in row-major order):
/// (dy + height - 1) (2 width - 1) + dx + width - 1, d = query - key (arXiv:2103.14030). -> [N, N], N =
/// height width.
inline Tensor<std::int32_t, 2> window_relative_position_index(AnyIndex height, AnyIndex width) {
  const Index n = detail::check_window(height, width);
  Tensor<std::int32_t, 2> index({n, n});
  for (Index q = 0; q < n; ++q)
    for (Index k = 0; k < n; ++k)
      index(q, k) = static_cast<std::int32_t>((q / width - k / width + height - 1) * (2 * width - 1) +
                                              q % width - k % width + width - 1);
  return index;
}
/// The bias of a window's attention: {.mask = additive(bias.view())} with bias =
/// window_relative_bias<float>(table, 7, 7). table [(2 height - 1) (2 width - 1), H] -> [1, H, N, N], N =
/// height width.
template <class Scalar>
Tensor<Scalar, 4> window_relative_bias(TensorView<const std::type_identity_t<Scalar>, 2> table, Index height,
                                       Index width) {
  const Index n = detail::check_window(height, width);
  detail::check_shape("window_relative_bias", Shape<2>{(2 * height - 1) * (2 * width - 1), table.size(1)},
                      table.shape());
  const Tensor<std::int32_t, 2> index = window_relative_position_index(height, width);
  Tensor<Scalar, 4> bias({1, table.size(1), n, n});
  for (Index h = 0; h < table.size(1); ++h)
    for (Index q = 0; q < n; ++q)
      for (Index k = 0; k < n; ++k) bias(0, h, q, k) = table(index(q, k), h);
  return bias;
}
ATTEND_COMPILED_LAYER(Tensor<float, 4> window_relative_bias<float>(TensorView<const float, 2>, Index, Index));

}  // namespace attend::inline ATTEND_ABI
