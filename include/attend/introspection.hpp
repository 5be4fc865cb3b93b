// Looking into attention without a T × T matrix: weights of chosen rows, totals per key, strongest keys,
// entropy.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include <attend/scaled_dot_product_attention.hpp>

namespace attend::inline ATTEND_ABI {

/// What `introspect` is to give; empty views are left out. H is the number of chosen heads.
template <class Scalar>
struct Introspection {
  TensorView<Scalar, 3> key_totals = {};  // [B, H, Tk] -> the weight that each key received, over all queries
  TensorView<Scalar, 3> entropy = {};     // [B, H, Tq] -> -sum w log w of each query's weights, in nats
  TensorView<Index, 4> top_keys = {};  // [B, H, Tq, n] -> the n strongest keys, first the strongest; -1: none
  TensorView<Scalar, 4> top_weights = {};  // [B, H, Tq, n] -> their weights
  std::span<const Index> rows = {};        // [R]: queries whose weights are wanted, ascending
  TensorView<Scalar, 4> row_weights = {};  // [B, H, R, Tk]
  std::span<const Index> heads = {};       // [H]: the query heads to look at, in this order; all where empty
};

namespace detail {

/// Entropy and strongest keys of one row of weights.
template <class Scalar>
Scalar entropy_of(const Scalar* w, Index keys) {
  using std::log;
  Scalar sum(0);
  for (Index k = 0; k < keys; ++k)
    if (w[k] > Scalar(0)) sum = sum - w[k] * log(w[k]);
  return sum;
}
template <class Scalar>
void strongest(const Scalar* w, Index keys, TensorView<Index, 1> index, TensorView<Scalar, 1> weight) {
  const Index n = index.size(0);
  for (Index i = 0; i < n; ++i) index[i] = -1, weight[i] = Scalar(0);
  for (Index k = 0; k < keys; ++k) {
    if (!(w[k] > Scalar(0)) || (index[n - 1] >= 0 && !(w[k] > weight[n - 1]))) continue;
    Index i = n - 1;  // insertion from behind; of equal weights the first key stays before
    for (; i > 0 && (index[i - 1] < 0 || w[k] > weight[i - 1]); --i)
      index[i] = index[i - 1], weight[i] = weight[i - 1];
    index[i] = k;
    weight[i] = w[k];
  }
}
}  // namespace detail

/// Fills what `out` asks for, from the weights that scaled_dot_product_attention(query, key, …, options)
/// uses. Holds 48 rows of weights per thread at a time. query [B, H, Tq, D], key [B, H_kv, Tk, D].
template <class Scalar>
void introspect(Context& context, TensorView<const std::type_identity_t<Scalar>, 4> query,
                TensorView<const std::type_identity_t<Scalar>, 4> key,
                const std::type_identity_t<AttentionOptions<Scalar>>& options,
                const Introspection<Scalar>& out) {
  const Index B = query.size(0), Tq = query.size(2), Tk = key.size(2);
  const Index H = out.heads.empty() ? query.size(1) : static_cast<Index>(out.heads.size());
  check_shape("introspect (key)", Shape<4>{B, key.size(1), Tk, query.size(3)}, key.shape());
  detail::check_contiguous_rows("introspect (query)", query);
  detail::check_contiguous_rows("introspect (key)", key);
  if (!options.query_offsets.empty() || !options.key_offsets.empty())
    throw_error("introspect: ragged batches are not supported");
  if (options.log_sum_exp.data() || options.weights.data() || options.scores.data() ||
      options.average_weights.data())
    throw_error("introspect: log_sum_exp, weights and scores are given out by scaled_dot_product_attention");
  if (!out.top_keys.data() != !out.top_weights.data())
    throw_error("introspect: one of top_keys and top_weights without the other");
  if (B * Tk > 0 && out.rows.empty() != !out.row_weights.data())
    throw_error("introspect: one of rows and row_weights without the other");
  for (Index h : out.heads)
    if (h < 0 || h >= query.size(1))
      throw_error("introspect: head ", h, " is not in [0, ", query.size(1), ")");
  if (out.key_totals.data())
    check_shape("introspect (key_totals)", Shape<3>{B, H, Tk}, out.key_totals.shape());
  if (out.entropy.data()) check_shape("introspect (entropy)", Shape<3>{B, H, Tq}, out.entropy.shape());
  if (out.top_keys.data()) {
    check_shape("introspect (top_keys)", Shape<4>{B, H, Tq, out.top_keys.size(3)}, out.top_keys.shape());
    check_shape("introspect (top_weights)", out.top_keys.shape(), out.top_weights.shape());
    if (out.top_keys.size(3) < 1) throw_error("introspect: top_keys of no keys");
  }
  if (out.row_weights.data())
    check_shape("introspect (row_weights)", Shape<4>{B, H, static_cast<Index>(out.rows.size()), Tk},
                out.row_weights.shape());
  for (std::size_t i = 0; i < out.rows.size(); ++i)
    if (out.rows[i] < 0 || out.rows[i] >= Tq || (i > 0 && out.rows[i] <= out.rows[i - 1]))
      throw_error("introspect: row ", out.rows[i], " is out of order or not in [0, ", Tq, ")");
  const detail::Operand outputs[] = {{"key_totals", out.key_totals},
                                     {"entropy", out.entropy},
                                     {"top_keys", out.top_keys},
                                     {"top_weights", out.top_weights},
                                     {"row_weights", out.row_weights}};
  for (const detail::Operand* output = outputs; output != std::end(outputs); ++output) {
    detail::check_apart(context, "introspect", *output, {{"query", query}, {"key", key}});
    detail::check_apart_from_mask(context, "introspect", options, *output);
    for (const detail::Operand* other = output + 1; other != std::end(outputs); ++other)
      detail::check_apart(context, "introspect", *output, {*other});
  }
  const AttentionSizes sizes{.batch = B, .heads = query.size(1), .queries = Tq, .keys = Tk};
  const detail::AttentionCall<Scalar> call(options, sizes, key.size(1), query.size(3));
  const TensorView<const Scalar, 4> no_values(nullptr, {B, key.size(1), Tk, 0});
  const detail::KeyValueSource<Scalar> source{key, no_values};

  constexpr Index kRows = 48;
  using Backend = detail::Backend<Scalar>;
  const Index each = kRows * Tk + Backend::attention_weights_scratch(query.size(3));
  const int workers = context.workers(B * H, 1e9);
  const bool every_row = out.key_totals.data() || out.entropy.data() || out.top_keys.data();
  Frame frame(context.workspace());
  const TensorView<Scalar, 1> memory = frame.tensor<Scalar>({workers * each});
  // A unit is a head: its totals are summed over the queries in order, whatever the number of threads.
  context.parallel(B * H, workers, [&](Index unit, int worker) {
    const Index b = unit / H, h = unit % H;
    const Index head = out.heads.empty() ? h : out.heads[static_cast<std::size_t>(h)];
    Scalar* w = memory.data() + worker * each;
    if (out.key_totals.data())
      for (Index k = 0; k < Tk; ++k) out.key_totals(b, h, k) = Scalar(0);
    std::size_t next_row = 0;
    Index n = 0;
    for (Index q0 = 0; q0 < Tq; q0 += n) {
      n = (std::min)(kRows, Tq - q0);
      if (!every_row) {  // on to the next chosen one, up to the last one of those that fit
        if (next_row == out.rows.size()) break;
        q0 = out.rows[next_row];
        std::size_t end = next_row + 1;
        while (end < out.rows.size() && out.rows[end] < q0 + kRows) ++end;
        n = out.rows[end - 1] + 1 - q0;
      }
      Backend::attention_weights(call, options, source, query, b, head, q0, n, w, w + kRows * Tk);
      for (Index r = 0; r < n; ++r) {
        const Scalar* row = w + r * Tk;
        if (out.key_totals.data())
          for (Index k = 0; k < Tk; ++k) out.key_totals(b, h, k) = out.key_totals(b, h, k) + row[k];
        if (out.entropy.data()) out.entropy(b, h, q0 + r) = detail::entropy_of(row, Tk);
        if (out.top_keys.data())
          detail::strongest(row, Tk, out.top_keys[b][h][q0 + r], out.top_weights[b][h][q0 + r]);
        if (out.row_weights.data() && next_row < out.rows.size() && out.rows[next_row] == q0 + r) {
          for (Index k = 0; k < Tk; ++k) out.row_weights(b, h, static_cast<Index>(next_row), k) = row[k];
          ++next_row;
        }
      }
    }
  });
}

}  // namespace attend::inline ATTEND_ABI
