// Disentangled attention (DeBERTa, arXiv:2006.03654): beside query and key, a score has the query with an
// embedding of how far the key is away, and that embedding with the key.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include <attend/core/context.hpp>
#include <attend/embedding.hpp>
#include <attend/fwd.hpp>
#include <attend/norm.hpp>

namespace attend::inline ATTEND_ABI {

/// What MultiHeadAttention adds to its scores from the embeddings of a RelativeEmbedding, which go through
/// projections as queries and keys do.
struct DisentangledAttentionOptions {
  bool content_to_position = false;  // query · key of the embedding
  bool position_to_content = false;  // query of the embedding · key
  bool own_projections = false;      // of the embeddings: pos_key_proj, pos_query_proj; else in_proj's

  /// Whether scores get anything from the embeddings.
  bool any() const { return content_to_position || position_to_content; }
};

/// Of a RelativeEmbedding: DeBERTa's table of distances.
struct RelativeEmbeddingOptions {
  Index embed_dim = 0;
  Index span = 0;  // rows on each side; distances beyond share the last
  /// Above 0: from span / 2 on a row stands for logarithmically more distances, the last for this one.
  Index max_distance = 0;
  std::optional<double> norm_eps = {};  // of a LayerNorm of the rows, where there is one
};

namespace detail {
inline constexpr Index kFarthest = Index{1} << 30;  // distances beyond are that far

inline void check_distances(const RelativeEmbeddingOptions& o) {
  const char* who = "RelativeEmbedding";
  check_size(who, "span", o.span);
  check_count(who, "max_distance", o.max_distance);
  constexpr Index kMost = Index{1} << 24;
  const Index exact = o.span / 2;
  if (o.span > kMost || o.max_distance > kMost ||
      (o.max_distance > 0 && (exact < 1 || o.max_distance - 1 <= exact)))
    throw_error(who, ": a span of ", o.span, " with a maximum distance of ", o.max_distance);
}
}  // namespace detail

/// The row of a distance (query - key): span + distance, or with max_distance logarithmically less far away,
/// cut at the ends of the table. In float, as the published models compute it.
inline Index relative_embedding_row(Index distance, const RelativeEmbeddingOptions& options) {
  detail::check_distances(options);
  const Index exact = options.span / 2;
  const auto cut = [&](Index row) { return std::clamp<Index>(row, 0, 2 * options.span - 1); };
  distance = std::clamp<Index>(distance, -detail::kFarthest, detail::kFarthest);
  const Index away = distance < 0 ? -distance : distance;
  if (options.max_distance == 0 || away <= exact) return cut(options.span + distance);
  const detail::FloatEnvironment environment;
  const float farthest =
      static_cast<float>(static_cast<double>(options.max_distance - 1) / static_cast<double>(exact));
  const float steps = std::ceil(std::log(static_cast<float>(away) / static_cast<float>(exact)) /
                                std::log(farthest) * static_cast<float>(exact - 1));
  const Index bucket = static_cast<Index>(steps) + exact;
  return cut(options.span + (distance < 0 ? -bucket : bucket));
}

namespace detail {
template <class Scalar>
using RelativeScoring = ScoreModifier<Scalar> (MultiHeadAttention<Scalar>::*)(
    Context&, Frame&, const AttentionOptions<Scalar>&, TensorView<const Scalar, 4> queries,
    TensorView<const Scalar, 4> keys) const;
}  // namespace detail

/// What attention takes of a RelativeEmbedding in one call.
template <class Scalar>
struct RelativePositions {
  TensorView<const Scalar, 2> embeddings = {};  // [R, embed_dim]
  const std::int32_t* row = nullptr;            // of distance 0, query - key: a row of `embeddings`
  Index longest = 0;                            // tokens of the longest sequence, whose distances have rows
  /// What the layer makes of them. A pointer: what has no relative positions does not compile it.
  detail::RelativeScoring<Scalar> scores = &MultiHeadAttention<Scalar>::relative_scores;
};

/// Embeddings of distances, which the layers of a model share. Parameters: weight [2 span, embed_dim], and
/// norm.* with norm_eps.
template <class Scalar>
class RelativeEmbedding {
 public:
  RelativeEmbedding() = default;
  explicit RelativeEmbedding(const RelativeEmbeddingOptions& options);

  const RelativeEmbeddingOptions& options() const { return options_; }
  void parameters(ParameterVisitor<Scalar> visit);
  void parameters(ParameterVisitor<const Scalar> visit) const { detail::const_parameters(*this, visit); }
  /// Whether the weight has its values; `positions` takes none less.
  bool assigned() const { return table_.assigned(); }

  /// What sequences of up to so many tokens need: {.relative = &positions}. It lives as long as the frame.
  RelativePositions<Scalar> positions(Context& context, Frame& frame, Index longest) const;

 private:
  RelativeEmbeddingOptions options_;
  Embedding<Scalar> table_;
  Norm<Scalar> norm_;
};

template <class Scalar>
RelativeEmbedding<Scalar>::RelativeEmbedding(const RelativeEmbeddingOptions& options) : options_(options) {
  detail::check_size("RelativeEmbedding", "embed_dim", options.embed_dim);
  detail::check_distances(options);
  table_ = Embedding<Scalar>({2 * options.span, options.embed_dim});
  if (options.norm_eps)
    norm_ = Norm<Scalar>({options.embed_dim, *options.norm_eps, NormKind::layer, true, true});
}
template <class Scalar>
void RelativeEmbedding<Scalar>::parameters(ParameterVisitor<Scalar> visit) {
  table_.parameters(visit);
  if (options_.norm_eps) norm_.parameters(prefixed("norm", visit));
}
template <class Scalar>
RelativePositions<Scalar> RelativeEmbedding<Scalar>::positions(Context& context, Frame& frame,
                                                               Index longest) const {
  detail::check_assigned(context, "RelativeEmbedding", *this);
  detail::check_size("RelativeEmbedding", "longest", longest);
  if (longest > detail::kFarthest) throw_error("RelativeEmbedding: a sequence of ", longest, " tokens");
  const Index first = relative_embedding_row(1 - longest, options_),
              end = relative_embedding_row(longest - 1, options_) + 1;
  std::int32_t* const rows = frame.take<std::int32_t>(2 * longest - 1) + longest - 1;
  context.parallel(1, 1, [&](Index, int) {
    for (Index d = 1 - longest; d < longest; ++d)
      rows[d] = static_cast<std::int32_t>(relative_embedding_row(d, options_) - first);
  });
  const TensorView<const Scalar, 2> used = table_.weight().slice(0, first, end);
  if (!options_.norm_eps) return {used, rows, longest};
  const TensorView<Scalar, 2> normed = frame.tensor<Scalar>(used.shape());
  norm_.forward(context, used, normed);
  return {normed, rows, longest};
}

namespace detail {

/// A score modifier: score + content_to_position + position_to_content, each a table [H, tokens, width] of
/// products with the embeddings, or null.
template <class Scalar>
struct RelativeScores {
  const Scalar* tables[2] = {};  // of queries, of keys
  Index tokens[2] = {};          // in all
  Index length[2] = {};          // of each sequence, or of the ragged ones
  const Index* offsets[2] = {};  // where each begins
  const std::int32_t* row = nullptr;
  Index width = 0;

  Scalar operator()(const Scalar& score, Index b, Index h, Index q, Index k) const {
    Scalar sum = score;
    const Index token[2] = {q, k};
    for (int side = 0; side < 2; ++side) {
      if (tables[side] == nullptr) continue;
      const Index first = offsets[side] != nullptr ? offsets[side][b] : b * length[side];
      sum = sum + tables[side][(h * tokens[side] + first + token[side]) * width + row[q - k]];
    }
    return sum;
  }
};

/// Heads of x [tokens, H D] times heads of embeddings [R, G D], scaled -> [max(H, G), tokens, width], where
/// `width` becomes R filled up to whole panels; the fewer heads serve several of the others each.
template <class Scalar>
const Scalar* head_products(Context& context, Frame& frame, TensorView<const Scalar, 2> x, Index x_heads,
                            TensorView<const Scalar, 2> embeddings, Index embedding_heads, double scale,
                            Index& width) {
  constexpr Index kPanel = Backend<Scalar>::kPanel;
  const Index H = (std::max)(x_heads, embedding_heads), D = x.size(1) / x_heads, R = embeddings.size(0);
  const Index tokens = x.size(0);
  width = (R + kPanel - 1) / kPanel * kPanel;
  const TensorView<Scalar, 3> out = frame.tensor<Scalar>(Shape<3>{H, tokens, width}),
                              packed = frame.tensor<Scalar>(Shape<3>{embedding_heads, width, D});
  context.parallel(embedding_heads, 1, [&](Index g, int) {
    Scalar* to = packed.data() + g * width * D;
    for (Index r = 0; r < width; ++r)
      for (Index d = 0; d < D; ++d)
        to[r / kPanel * kPanel * D + d * kPanel + r % kPanel] =
            r < R ? embeddings(r, g * D + d) * static_cast<Scalar>(scale) : Scalar(0);
  });
  for (Index h = 0; h < H; ++h) {
    const Index column = h / (H / x_heads) * D, head = h / (H / embedding_heads);
    Backend<Scalar>::product(
        context, {.x = x.slice(1, column, column + D),
                  .weight = packed.data() + head * width * D,
                  .out = TensorView<Scalar, 2>(out.data() + h * tokens * width, {tokens, width})});
  }
  return out.data();
}

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI
