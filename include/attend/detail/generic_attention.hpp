// Attention of any scalar: streaming over key tiles as the kernels do, readable.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include <attend/core/context.hpp>
#include <attend/core/flags.hpp>
#include <attend/core/tiling.hpp>
#include <attend/detail/attention_call.hpp>
#include <attend/detail/generic_product.hpp>
#include <attend/introspection.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI::detail::inline ATTEND_FLAGS {

/// One call, for up to kRows rows of one head at a time.
template <class Scalar>
struct GenericAttention {
  static constexpr Index kRows = 48;
  using Row = Eigen::Map<Eigen::Matrix<Scalar, 1, Eigen::Dynamic, Eigen::RowMajor>>;

  const Context& context;
  const AttentionCall<Scalar>& call;
  const KeyValueSource<Scalar>& source;
  TensorView<const Scalar, 4> query;
  TensorView<Scalar, 4> out;
  // Of each worker: some keys as a panel; of each row its scores of a tile, output, maximum and sum; and a
  // row of weights of all keys, where they are asked for.
  TensorView<Scalar, 2> packed, weights;
  TensorView<Scalar, 3> scores, output, sums;

  GenericAttention(const Context& c, Frame& frame, Index workers, const AttentionCall<Scalar>& a,
                   const KeyValueSource<Scalar>& from, const TensorView<const Scalar, 4>& q,
                   const TensorView<Scalar, 4>& to)
      : context(c), call(a), source(from), query(q), out(to) {
    const bool square =
        a.outputs.weights.size(3) > 0 || a.outputs.introspection.any();  // null in a measuring run
    packed = frame.tensor<Scalar>({workers, kGenericPanel * q.size(3)});
    weights = frame.tensor<Scalar>({workers, square ? a.sizes.keys : 0});
    scores = frame.tensor<Scalar>({workers, kRows, kKeyTile});
    output = frame.tensor<Scalar>({workers, kRows, to.size(3)});
    sums = frame.tensor<Scalar>({workers, kRows, Index(2)});
  }

  /// Keys (or values) [first, first + count) of head g; no rows where they are evicted.
  MatrixMap<const Scalar> tile(bool of_keys, Index b, Index g, Index first, Index count) const {
    using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
    if (source.pages != nullptr) {  // of each head keys [96][D], then values [96][Dv]
      const Scalar* page = source.pages[b][first / kKeyTile];
      const Index D = query.size(3), width = of_keys ? D : out.size(3);
      if (page == nullptr) return MatrixMap<const Scalar>(nullptr, 0, width, Strides(width, 1));
      page += kKeyTile * (g * (D + out.size(3)) + (of_keys ? 0 : D));
      return MatrixMap<const Scalar>(page, count, width, Strides(width, 1));
    }
    const TensorView<const Scalar, 4>& x = of_keys ? source.key : source.value;
    const Index* offsets = call.sizes.key_offsets;
    const Index batch = offsets != nullptr ? 0 : b, begin = offsets != nullptr ? offsets[b] : 0;
    return x[batch][g].slice(0, begin + first, begin + first + count).matrix();
  }

  /// Products of queries and keys of one tile, to `scores` of a worker.
  void products(Index worker, const TensorView<const Scalar, 2>& queries,
                const MatrixMap<const Scalar>& key) const {
    const Index D = query.size(3);
    for (Index first = 0; first < key.rows(); first += kGenericPanel) {
      Scalar* panel = packed[worker].data();
      for (Index d = 0; d < D; ++d)
        for (Index j = 0; j < kGenericPanel; ++j)
          panel[d * kGenericPanel + j] = first + j < key.rows() ? key(first + j, d) : Scalar(0);
      panel_product(queries, panel,
                    [&](Index r, Index j, const Scalar& y) { scores(worker, r, first + j) = y; });
    }
  }

  static constexpr Scalar none() { return -std::numeric_limits<Scalar>::infinity(); }

  /// Scores of one row and tile, brought to a stage; -inf where masked. The return says whether any is
  /// visible.
  bool finish_scores(Scalar* row, Index count, ScoreStage stage, Index b, Index h, Index q,
                     Index first) const {
    using std::tanh;
    const double softcap = call.options.softcap;
    for (Index k = 0; k < count; ++k) {
      row[k] = row[k] * Scalar(call.scale);
      if (softcap > 0 && stage != ScoreStage::scaled)
        row[k] = Scalar(softcap) * tanh(row[k] / Scalar(softcap));
    }
    if (stage != ScoreStage::masked) return true;
    for (Index k = 0; k < count; k += 16) call.modify(row + k, b, h, q, first + k, first + count);
    const Extent e = call.mask.row(b, h, q, first, first + count);
    bool any = false;
    for (Index k = 0; k < count; ++k) {
      const bool visible =
          first + k >= e.begin && first + k < e.end && (e.full || call.mask(b, h, q, first + k));
      if (!visible) row[k] = none();
      any = any || visible;
    }
    return any;
  }

  void rows(Index worker, Index b, Index h, Index q0, Index q1) const {
    using std::exp, std::log;
    const AttentionSizes& sizes = call.sizes;
    const AttentionOptions<Scalar>& options = call.options;
    const AttentionOutputs<Scalar>& outputs = call.outputs;
    const IntrospectionRows<Scalar> look{outputs.introspection, sizes};
    const Index n = q1 - q0, g = h / (sizes.heads / call.kv_heads), keys = sizes.key_count(b);
    const Index batch = sizes.query_offsets != nullptr ? 0 : b;
    const Index begin = sizes.query_offsets != nullptr ? sizes.query_offsets[b] : 0;
    const auto queries = query[batch][h].slice(0, begin + q0, begin + q1);
    const auto so_far = [&](Index r) { return Row(&output(worker, r, 0), out.size(3)); };
    for (Index r = 0; r < n; ++r) {
      output[worker][r].fill(Scalar(0));
      sums(worker, r, 0) = none(), sums(worker, r, 1) = Scalar(0);
    }

    for (Index first = 0; first < keys && !context.stopping(); first += kKeyTile) {
      const Index count = (std::min)(kKeyTile, keys - first);
      const auto key = tile(true, b, g, first, count), value = tile(false, b, g, first, count);
      if (key.rows() == 0) continue;
      products(worker, queries, key);
      for (Index r = 0; r < n; ++r) {
        Scalar *row = &scores(worker, r, 0), &m = sums(worker, r, 0), &s = sums(worker, r, 1);
        if (!finish_scores(row, count, ScoreStage::masked, b, h, q0 + r, first)) continue;
        Scalar best = m;
        for (Index k = 0; k < count; ++k)
          if (row[k] > best || row[k] != row[k]) best = row[k];  // NaN stays
        if (best == none()) continue;
        const Scalar alpha = m == none() ? Scalar(0) : exp(m - best);
        m = best;
        s = s * alpha;
        so_far(r) *= alpha;
        for (Index k = 0; k < count; ++k) {
          if (row[k] == none()) continue;  // also keeps NaN of masked values out
          Scalar p = exp(row[k] - best);
          s = s + p;
          options.weight_modifier(&p, b, h, q0 + r, first + k, first + k + 1);
          if (value.cols() > 0) so_far(r) += p * value.row(k);
        }
      }
    }
    for (Index r = 0; r < n; ++r) {
      Scalar &m = sums(worker, r, 0), &s = sums(worker, r, 1);
      Scalar shift = Scalar(1);
      const bool empty = m == none();
      if (!options.sinks.empty() && !empty) {
        const Scalar sink = options.sinks[static_cast<std::size_t>(h)];
        if (sink > m) {
          shift = exp(m - sink);
          m = sink;
        }
        s = s * shift + exp(sink - m);
      }
      for (Index d = 0; d < out.size(3); ++d)
        out(batch, h, begin + q0 + r, d) = empty ? Scalar(0) : output(worker, r, d) * shift / s;
      if (outputs.log_sum_exp.data() != nullptr)
        outputs.log_sum_exp(batch, h, begin + q0 + r) = empty ? none() : m + log(s);
      const bool looks = look.wants(b, h, q0 + r, q0 + r + 1);
      if (looks || outputs.weights.data() != nullptr) {
        give_scores(worker, weights[worker], ScoreStage::masked, b, h, q0 + r);
        for (Index k = 0; k < sizes.keys; ++k) {
          Scalar& w = weights(worker, k);
          w = w == none() ? Scalar(0) : exp(w - m) / s;
          options.weight_modifier(&w, b, h, q0 + r, k, k + 1);
          if (outputs.weights.data() != nullptr) outputs.weights(b, h, q0 + r, k) = w;
        }
        if (looks) look.take(b, h, q0 + r, weights[worker].data());
      }
      if (outputs.scores.data() != nullptr)
        give_scores(worker, outputs.scores[b][h][q0 + r], outputs.scores_stage, b, h, q0 + r);
    }
  }

  /// The scores of one row over all keys.
  void give_scores(Index worker, TensorView<Scalar, 1> to, ScoreStage stage, Index b, Index h,
                   Index q) const {
    to.fill(none());
    const AttentionSizes& sizes = call.sizes;
    const Index g = h / (sizes.heads / call.kv_heads), keys = sizes.key_count(b);
    const Index at = (sizes.query_offsets != nullptr ? sizes.query_offsets[b] : 0) + q;
    const auto row = query[sizes.query_offsets != nullptr ? 0 : b][h].slice(0, at, at + 1);
    for (Index first = 0; first < keys; first += kKeyTile) {
      const Index count = (std::min)(kKeyTile, keys - first);
      const auto key = tile(true, b, g, first, count);
      if (key.rows() == 0) continue;
      products(worker, row, key);
      finish_scores(&scores(worker, 0, 0), count, stage, b, h, q, first);
      for (Index k = 0; k < count; ++k) to[first + k] = scores(worker, 0, k);
    }
  }
};

}  // namespace attend::inline ATTEND_ABI::detail::inline ATTEND_FLAGS
