// Rotary position embeddings: pairs of features of queries and keys turn by angles that grow with the
// position.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <attend/core/context.hpp>
#include <attend/detail/backend.hpp>
#include <attend/rows.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// How frequencies are stretched beyond the context that a model was trained with. `none` is Hugging Face's
/// "default".
enum class RopeType { none, linear, dynamic, yarn, llama3, longrope };

/// By the name in a config.json: "default", "linear", … Error for another name.
inline RopeType rope_type_from_string(std::string_view name) {
  if (name == "default") return RopeType::none;
  if (name == "linear") return RopeType::linear;
  if (name == "dynamic") return RopeType::dynamic;
  if (name == "yarn") return RopeType::yarn;
  if (name == "llama3") return RopeType::llama3;
  if (name == "longrope" || name == "su") return RopeType::longrope;
  throw_error("rope_type '", name, "' is not supported");
}

/// Named as in a Hugging Face config.json. What names a rope_type is of that alone: an error with others.
struct RotaryOptions {
  Index head_dim = 0;                // features of a head; even
  double partial_rotary_factor = 1;  // how much of each head turns, from its front
  Index rotary_dim = 0;       // the same as a number; 0: int(head_dim * partial_rotary_factor), rounded
                              // up to an even number, though frequencies are those of the odd one
  bool interleaved = false;   // pairs are neighbours (2 i, 2 i + 1) instead of (i, i + rotary_dim / 2)
  double rope_theta = 10000;  // base of the wavelengths
  RopeType rope_type = RopeType::none;  // how wavelengths are stretched
  /// Of all rope_types but none. Default: max_position_embeddings / original_max_position_embeddings, or 1.
  std::optional<double> factor = {};
  Index max_position_embeddings = 2048;              // tokens that the model was trained for
  Index original_max_position_embeddings = 0;        // 0: max_position_embeddings
  std::optional<double> attention_factor = {};       // yarn, longrope: multiplies cosines and sines
  double beta_fast = 32, beta_slow = 1;              // yarn
  double mscale = 0, mscale_all_dim = 0;             // yarn
  bool truncate = true;                              // yarn: the ramp begins and ends at whole dimensions
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  std::vector<double> short_factor = {}, long_factor = {};  // longrope [rotary_dim / 2]
  /// Positions whose cosines and sines are kept; those of others are computed each time, to the same bits.
  Index table_positions = 4096;
};

namespace detail {
/// Rotates every head of every token; row(b, t, worker) gives the token's {cosines, sines}. x [B, H, T, D].
template <class Scalar, class Row>
void rotate_tokens(Context& context, const TensorView<Scalar, 4>& x, Index pairs, bool interleaved,
                   int workers, Row&& row) {
  if (x.size(3) > 1 && x.stride(3) != 1) throw_error("rotary: the last axis must be contiguous");
  check_apart(context, "rotary", {"x", x}, {});
  constexpr Index kTokens = 16;  // of an item
  const Index T = x.size(2), blocks = (T + kTokens - 1) / kTokens;
  context.parallel(x.size(0) * blocks, workers, [&](Index item, int worker) {
    const Index b = item / blocks, t0 = item % blocks * kTokens;
    for (Index t = t0; t < (std::min)(T, t0 + kTokens); ++t) {
      const auto [cosine, sine] = row(b, t, worker);
      for (Index h = 0; h < x.size(1); ++h)
        Backend<Scalar>::rotate(&x(b, h, t, 0), cosine, sine, pairs, interleaved);
    }
  });
}
template <class Scalar>
int rotary_workers(const Context& context, const TensorView<Scalar, 4>& x) {
  return context.workers(x.size(0) * ((x.size(2) + 15) / 16), 2.0 * static_cast<double>(x.numel()));
}
}  // namespace detail

/// Rotates by the caller's cosines and sines, one row for each token. x [B, H, T, D] in place, cosine and
/// sine [B or 1, T, R / 2]: the first R <= D features of each head turn (onnx.ai RotaryEmbedding without
/// position_ids).
template <class Scalar>
void rotate(Context& context, TensorView<Scalar, 4> x,
            TensorView<const std::type_identity_t<Scalar>, 3> cosine,
            TensorView<const std::type_identity_t<Scalar>, 3> sine, bool interleaved = false) {
  detail::check_shape("rotate (sine)", cosine.shape(), sine.shape());
  const Index pairs = cosine.size(2);
  if ((cosine.size(0) != x.size(0) && cosine.size(0) != 1) || cosine.size(1) != x.size(2) ||
      pairs > x.size(3) / 2)
    detail::fail_shape("rotate (cosine)", to_string(Shape<3>{x.size(0), x.size(2), x.size(3) / 2}),
                       cosine.shape());
  if (x.empty() || pairs == 0) return;
  detail::check_apart(context, "rotate", {"x", x}, {{"cosine", cosine}, {"sine", sine}});
  if (pairs > 1 && (cosine.stride(2) != 1 || sine.stride(2) != 1))
    throw_error("rotate: the last axis must be contiguous");
  detail::rotate_tokens(context, x, pairs, interleaved, detail::rotary_workers(context, x),
                        [&](Index b, Index t, int) {
                          const Index row = cosine.size(0) == 1 ? 0 : b;
                          return std::pair(&cosine(row, t, 0), &sine(row, t, 0));
                        });
}
ATTEND_COMPILED_LAYER(void rotate<float>(Context&, TensorView<float, 4>, TensorView<const float, 3>,
                                         TensorView<const float, 3>, bool));

/// The same from tables over all positions: cosine and sine [max_position, R / 2], positions [B or 1, T].
/// Error where a position is not in the tables.
template <class Scalar, std::integral Position>
void rotate(Context& context, TensorView<Scalar, 4> x,
            TensorView<const std::type_identity_t<Scalar>, 2> cosine,
            TensorView<const std::type_identity_t<Scalar>, 2> sine, TensorView<const Position, 2> positions,
            bool interleaved = false) {
  detail::check_shape("rotate (sine)", cosine.shape(), sine.shape());
  const Index pairs = cosine.size(1);
  if (pairs > x.size(3) / 2)
    detail::fail_shape("rotate (cosine)", "[..., at most " + std::to_string(x.size(3) / 2) + "]",
                       cosine.shape());
  if ((positions.size(0) != x.size(0) && positions.size(0) != 1) || positions.size(1) != x.size(2))
    detail::fail_shape("rotate (positions)", to_string(Shape<2>{x.size(0), x.size(2)}), positions.shape());
  if (x.empty() || pairs == 0) return;
  detail::check_apart(context, "rotate", {"x", x},
                      {{"cosine", cosine}, {"sine", sine}, {"positions", positions}});
  if (pairs > 1 && (cosine.stride(1) != 1 || sine.stride(1) != 1))
    throw_error("rotate: the last axis must be contiguous");
  if (!context.measuring())
    positions.for_each([&](const Position& p) {
      if (std::cmp_less(p, 0) || std::cmp_greater_equal(p, cosine.size(0)))
        throw_error("rotate: position ", p, " is not in [0, ", cosine.size(0), ")");
    });
  detail::rotate_tokens(context, x, pairs, interleaved, detail::rotary_workers(context, x),
                        [&](Index b, Index t, int) {
                          const Index p = static_cast<Index>(positions(positions.size(0) == 1 ? 0 : b, t));
                          return std::pair(&cosine(p, 0), &sine(p, 0));
                        });
}

/// Rotary position embeddings, for queries and keys alike (arXiv:2104.09864). Immutable: one serves all
/// layers and threads. Angles are computed in double.
template <class Scalar>
class Rotary {
  static_assert(detail::check_scalar<Scalar>());

 public:
  Rotary() = default;
  explicit Rotary(const RotaryOptions& options);

  const RotaryOptions& options() const { return options_; }
  /// Radians per position of each pair, for sequences within the original context. [rotary_dim / 2]
  std::span<const double> inverse_frequencies() const { return inverse_frequencies_; }
  /// What cosines and sines are multiplied by: 1 but for yarn and longrope.
  double attention_factor() const { return scale_; }

  /// Whether the frequencies of sequences beyond the original context are others than those within it.
  bool depends_on_length() const {
    return options_.rope_type == RopeType::dynamic || options_.rope_type == RopeType::longrope;
  }

  /// Rotates x [B, H, T, D] in place; token t of each batch has position start + t, which may be any number.
  /// Where frequencies depend on the length of the sequence (dynamic, longrope) it is `sequence_length`, or
  /// if 0 its last position + 1.
  void apply(Context& context, TensorView<Scalar, 4> x, Index start = 0, Index sequence_length = 0) const;
  /// The same where batch b begins at starts[b]. [B]
  void apply(Context& context, TensorView<Scalar, 4> x, std::span<const Index> starts,
             Index sequence_length = 0) const;
  /// The same where each token says its position. [B or 1, T]
  template <std::integral Position>
  void apply(Context& context, TensorView<Scalar, 4> x, TensorView<const Position, 2> positions,
             Index sequence_length = 0) const;

 private:
  void apply_at(Context& context, const TensorView<Scalar, 4>& x,
                detail::FunctionRef<Index(Index b, Index t)> position, Index sequence_length) const;
  void angles(const double* inverse, Index position, Scalar* cosine, Scalar* sine) const;
  /// Errors of what the rope_type does not read.
  static void check_type(const RotaryOptions& o);
  double attention_scale() const;
  /// Radians per position of each pair for a sequence of this length.
  void frequencies(Index sequence_length, double* out) const;

  RotaryOptions options_;
  double scale_ = 1, dim_ = 0;  // of the frequencies: rotary_dim, unless that was rounded up
  std::vector<double> inverse_frequencies_;
  Tensor<Scalar, 2> cosine_, sine_;  // [table_positions, rotary_dim / 2]
};

template <class Scalar>
Rotary<Scalar>::Rotary(const RotaryOptions& options) : options_(options) {
  RotaryOptions& o = options_;
  detail::check_size("Rotary", "head_dim", o.head_dim);
  if (!(o.partial_rotary_factor >= 0 && o.partial_rotary_factor <= 1))
    throw_error("Rotary: partial_rotary_factor is ", o.partial_rotary_factor, ", expected 0 to 1");
  if (o.table_positions < 0)
    throw_error("Rotary: table_positions is ", o.table_positions, ", expected 0 or more");
  const Index part = o.partial_rotary_factor == 1
                         ? o.head_dim  // a double does not hold every Index
                         : static_cast<Index>(static_cast<double>(o.head_dim) * o.partial_rotary_factor);
  const Index even = o.partial_rotary_factor == 1 ? part : part + part % 2;
  if (o.rotary_dim != 0 && o.partial_rotary_factor != 1 && o.rotary_dim != even)
    throw_error("Rotary: rotary_dim ", o.rotary_dim, ", but partial_rotary_factor says ", even);
  dim_ = static_cast<double>(o.rotary_dim != 0 && o.partial_rotary_factor == 1 ? o.rotary_dim : part);
  if (o.rotary_dim == 0) o.rotary_dim = even;
  check_type(o);
  if (o.rotary_dim < 0 || o.rotary_dim > o.head_dim || o.rotary_dim % 2 != 0)
    throw_error("Rotary: rotary_dim ", o.rotary_dim, " of head_dim ", o.head_dim,
                " (an even number is needed)");
  detail::check_size("Rotary", "max_position_embeddings", o.max_position_embeddings);
  if (o.original_max_position_embeddings == 0) o.original_max_position_embeddings = o.max_position_embeddings;
  if (!o.factor)
    o.factor = static_cast<double>(o.max_position_embeddings) /
               static_cast<double>(o.original_max_position_embeddings);
  detail::check_size("Rotary", "original_max_position_embeddings", o.original_max_position_embeddings);
  constexpr double kMost = 1e300;
  if (!(o.rope_theta > 0 && o.rope_theta<kMost&& * o.factor> 0 && *o.factor < kMost))
    throw_error("Rotary: rope_theta is ", o.rope_theta, " and factor ", *o.factor,
                ", expected numbers above 0");
  if (o.attention_factor && !(*o.attention_factor > -kMost && *o.attention_factor < kMost))
    throw_error("Rotary: attention_factor is ", *o.attention_factor);
  const std::size_t pairs = static_cast<std::size_t>(o.rotary_dim / 2);
  if (o.rope_type == RopeType::longrope && (o.short_factor.size() != pairs || o.long_factor.size() != pairs))
    throw_error("Rotary: expected ", pairs, " entries in short_factor and long_factor, got ",
                o.short_factor.size(), " and ", o.long_factor.size());
  detail::FloatEnvironment environment;
  scale_ = attention_scale();
  cosine_ = Tensor<Scalar, 2>({o.table_positions, o.rotary_dim / 2});
  sine_ = cosine_;
  inverse_frequencies_.resize(pairs);
  frequencies(0, inverse_frequencies_.data());
  for (Index p = 0; pairs > 0 && p < cosine_.size(0); ++p)
    angles(inverse_frequencies_.data(), p, &cosine_(p, 0), &sine_(p, 0));
}
template <class Scalar>
void Rotary<Scalar>::apply(Context& context, TensorView<Scalar, 4> x, Index start,
                           Index sequence_length) const {
  apply_at(
      context, x, [start](Index, Index t) { return detail::saturating_add(start, t); }, sequence_length);
}
template <class Scalar>
void Rotary<Scalar>::apply(Context& context, TensorView<Scalar, 4> x, std::span<const Index> starts,
                           Index sequence_length) const {
  detail::check_shape("Rotary (starts)", Shape<1>{x.size(0)}, Shape<1>{static_cast<Index>(starts.size())});
  apply_at(
      context, x,
      [starts](Index b, Index t) { return detail::saturating_add(starts[static_cast<std::size_t>(b)], t); },
      sequence_length);
}
template <class Scalar>
template <std::integral Position>
void Rotary<Scalar>::apply(Context& context, TensorView<Scalar, 4> x, TensorView<const Position, 2> positions,
                           Index sequence_length) const {
  if ((positions.size(0) != x.size(0) && positions.size(0) != 1) || positions.size(1) != x.size(2))
    detail::fail_shape("Rotary (positions)", to_string(Shape<2>{x.size(0), x.size(2)}), positions.shape());
  apply_at(
      context, x,
      [positions](Index b, Index t) {
        return static_cast<Index>(positions(positions.size(0) == 1 ? 0 : b, t));
      },
      sequence_length);
}
template <class Scalar>
void Rotary<Scalar>::apply_at(Context& context, const TensorView<Scalar, 4>& x,
                              detail::FunctionRef<Index(Index b, Index t)> position,
                              Index sequence_length) const {
  if (x.size(3) != options_.head_dim)
    detail::fail_shape("Rotary", "[..., " + std::to_string(options_.head_dim) + "]", x.shape());
  const Index pairs = options_.rotary_dim / 2;
  if (x.empty() || pairs == 0) return;
  if (inverse_frequencies_.empty()) throw_error("Rotary: it was moved from");
  const Index B = depends_on_length() ? x.size(0) : 0;
  const int workers = detail::rotary_workers(context, x);
  Frame frame(context.workspace());
  double* own = frame.take<double>(B * pairs);  // of sequences beyond the original context
  Index* lengths = frame.take<Index>(B);
  const TensorView<Scalar, 2> scratch = frame.tensor<Scalar>({workers, 2 * pairs});
  if (context.measuring()) return;
  if (B > 0)
    context.parallel(B, 1, [&](Index b, int) {
      lengths[b] = sequence_length;
      for (Index t = 0; sequence_length == 0 && t < x.size(2); ++t)
        lengths[b] = (std::max)(lengths[b], detail::saturating_add(position(b, t), 1));
      if (lengths[b] > options_.original_max_position_embeddings) frequencies(lengths[b], own + b * pairs);
    });
  detail::rotate_tokens(context, x, pairs, options_.interleaved, workers, [&](Index b, Index t, int worker) {
    const Index p = position(b, t);
    const bool longer = B > 0 && lengths[b] > options_.original_max_position_embeddings;
    if (!longer && p >= 0 && p < cosine_.size(0)) return std::pair(&cosine_(p, 0), &sine_(p, 0));
    Scalar* row = &scratch(worker, 0);
    angles(longer ? own + b * pairs : inverse_frequencies_.data(), p, row, row + pairs);
    return std::pair<const Scalar*, const Scalar*>(row, row + pairs);
  });
}
template <class Scalar>
void Rotary<Scalar>::angles(const double* inverse, Index position, Scalar* cosine, Scalar* sine) const {
  for (Index i = 0; i < options_.rotary_dim / 2; ++i) {
    const double angle = static_cast<double>(position) * inverse[i];
    cosine[i] = static_cast<Scalar>(std::cos(angle) * scale_);
    sine[i] = static_cast<Scalar>(std::sin(angle) * scale_);
  }
}
template <class Scalar>
void Rotary<Scalar>::check_type(const RotaryOptions& o) {
  const RotaryOptions defaults;
  const bool yarn = o.rope_type == RopeType::yarn, llama3 = o.rope_type == RopeType::llama3;
  const bool longrope = o.rope_type == RopeType::longrope;
  if (o.factor && o.rope_type == RopeType::none) throw_error("Rotary: a factor, but rope_type is none");
  if (o.attention_factor && !yarn && !longrope)
    throw_error("Rotary: attention_factor is of yarn and longrope");
  if (!yarn && (o.beta_fast != defaults.beta_fast || o.beta_slow != defaults.beta_slow ||
                o.mscale != defaults.mscale || o.mscale_all_dim != defaults.mscale_all_dim ||
                o.truncate != defaults.truncate))
    throw_error("Rotary: beta_fast, beta_slow, mscale, mscale_all_dim and truncate are of yarn");
  if (!llama3 &&
      (o.low_freq_factor != defaults.low_freq_factor || o.high_freq_factor != defaults.high_freq_factor))
    throw_error("Rotary: low_freq_factor and high_freq_factor are of llama3");
  if (llama3 && !(o.low_freq_factor > 0 && o.low_freq_factor < o.high_freq_factor))
    throw_error("Rotary: low_freq_factor is not between 0 and high_freq_factor");
  if (!longrope && !(o.short_factor.empty() && o.long_factor.empty()))
    throw_error("Rotary: short_factor and long_factor are of longrope");
}
template <class Scalar>
double Rotary<Scalar>::attention_scale() const {
  const RotaryOptions& o = options_;
  if (o.rope_type != RopeType::yarn && o.rope_type != RopeType::longrope) return 1;
  if (o.attention_factor) return *o.attention_factor;
  if (*o.factor <= 1) return 1;
  if (o.rope_type == RopeType::longrope)
    return std::sqrt(1 +
                     std::log(*o.factor) / std::log(static_cast<double>(o.original_max_position_embeddings)));
  const auto magnitude = [&](double mscale) { return 0.1 * mscale * std::log(*o.factor) + 1; };
  return o.mscale != 0 && o.mscale_all_dim != 0 ? magnitude(o.mscale) / magnitude(o.mscale_all_dim)
                                                : magnitude(1);
}
template <class Scalar>
void Rotary<Scalar>::frequencies(Index sequence_length, double* out) const {
  constexpr double kTwoPi = 6.283185307179586476925;
  const RotaryOptions& o = options_;
  const Index pairs = o.rotary_dim / 2;
  const double dim = dim_, factor = *o.factor;
  const double context = static_cast<double>(o.original_max_position_embeddings);
  const bool longer = sequence_length > o.original_max_position_embeddings;
  double theta = o.rope_theta;
  if (o.rope_type == RopeType::dynamic && longer)
    theta *=
        std::pow(factor * static_cast<double>(sequence_length) / context - (factor - 1), dim / (dim - 2));
  // yarn: pairs that turn often keep their frequency, those that turn little are slowed down, with a ramp
  // between.
  const auto pair_of_turns = [&](double turns) {
    return dim * std::log(context / (turns * kTwoPi)) / (2 * std::log(o.rope_theta));
  };
  double low = pair_of_turns(o.beta_fast), high = pair_of_turns(o.beta_slow);
  if (o.truncate) low = std::floor(low), high = std::ceil(high);
  low = (std::max)(low, 0.0), high = (std::min)(high, dim - 1);
  if (low == high) high += 0.001;

  for (Index i = 0; i < pairs; ++i) {
    double inverse = std::pow(theta, -2 * static_cast<double>(i) / dim);
    switch (o.rope_type) {
      case RopeType::none:
      case RopeType::dynamic:
        break;
      case RopeType::linear:
        inverse /= factor;
        break;
      case RopeType::yarn: {
        const double slowed = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        inverse = inverse / factor * slowed + inverse * (1 - slowed);
        break;
      }
      case RopeType::llama3: {
        const double turns = context * inverse / kTwoPi;  // within the original context
        const double kept = (turns - o.low_freq_factor) / (o.high_freq_factor - o.low_freq_factor);
        if (turns < o.low_freq_factor)
          inverse /= factor;
        else if (turns <= o.high_freq_factor)
          inverse = (1 - kept) * inverse / factor + kept * inverse;
        break;
      }
      case RopeType::longrope:
        inverse /= (longer ? o.long_factor : o.short_factor)[static_cast<std::size_t>(i)];
        break;
    }
    out[i] = inverse;
  }
}
ATTEND_COMPILED_LAYER(class Rotary<float>);

}  // namespace attend::inline ATTEND_ABI
