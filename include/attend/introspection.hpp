// Looking into attention without a T × T matrix: weights of chosen rows, totals per key, strongest keys,
// entropy.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include <attend/attention_sizes.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// What is wanted of the weights of chosen heads and rows; empty views are left out. H is the number of
/// chosen heads. Of a ragged batch B is 1, Tq and Tk of key_totals are tokens of all sequences, and keys are
/// counted from the first of their sequence.
template <class Scalar>
struct Introspection {
  TensorView<Scalar, 3> key_totals = {};  // [B, H, Tk] -> the weight that each key received, over all queries
  TensorView<Scalar, 3> entropy = {};     // [B, H, Tq] -> -sum w log w of each query's weights, in nats
  TensorView<Index, 4> top_keys = {};  // [B, H, Tq, n] -> the n strongest keys, first the strongest; -1: none
  TensorView<Scalar, 4> top_weights = {};  // [B, H, Tq, n] -> their weights
  std::span<const Index> rows = {};        // [R]: queries whose weights are wanted, ascending
  TensorView<Scalar, 4> row_weights = {};  // [B, H, R, keys of the longest sequence]
  std::span<const Index> heads = {};       // [H]: the query heads to look at, in this order; all where empty

  /// Whether anything is wanted, and of every row.
  bool any() const { return every_row() || row_weights.data() != nullptr; }
  /// Whether any member was set.
  bool asks() const { return any() || top_weights.data() != nullptr || !rows.empty() || !heads.empty(); }
  /// Whether what is wanted takes each row's weights.
  bool every_row() const {
    return key_totals.data() != nullptr || entropy.data() != nullptr || top_keys.data() != nullptr;
  }
};

namespace detail {

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

/// Error where an introspection does not fit the call's sizes, or asks for halves.
template <class Scalar>
ATTEND_COLD void check_introspection(const Introspection<Scalar>& o, const AttentionSizes& s) {
  const bool ragged = s.query_offsets != nullptr;
  const Index B = ragged ? 1 : s.batch, Tq = ragged ? s.query_offsets[s.batch] : s.queries;
  const Index Tk = ragged ? s.key_offsets[s.batch] : s.keys;
  const Index H = o.heads.empty() ? s.heads : static_cast<Index>(o.heads.size());
  if (!o.top_keys.data() != !o.top_weights.data())
    throw_error("introspection: one of top_keys and top_weights without the other");
  if (B * s.keys > 0 && o.rows.empty() != !o.row_weights.data())
    throw_error("introspection: one of rows and row_weights without the other");
  for (Index h : o.heads)
    if (h < 0 || h >= s.heads) throw_error("introspection: head ", h, " is not in [0, ", s.heads, ")");
  if (o.key_totals.data())
    check_shape("introspection (key_totals)", Shape<3>{B, H, Tk}, o.key_totals.shape());
  if (o.entropy.data()) check_shape("introspection (entropy)", Shape<3>{B, H, Tq}, o.entropy.shape());
  if (o.top_keys.data()) {
    check_shape("introspection (top_keys)", Shape<4>{B, H, Tq, o.top_keys.size(3)}, o.top_keys.shape());
    check_shape("introspection (top_weights)", o.top_keys.shape(), o.top_weights.shape());
    if (o.top_keys.size(3) < 1) throw_error("introspection: top_keys of no keys");
  }
  if (o.row_weights.data())
    check_shape("introspection (row_weights)", Shape<4>{B, H, static_cast<Index>(o.rows.size()), s.keys},
                o.row_weights.shape());
  for (std::size_t i = 0; i < o.rows.size(); ++i)
    if (o.rows[i] < 0 || o.rows[i] >= Tq || (i > 0 && o.rows[i] <= o.rows[i - 1]))
      throw_error("introspection: row ", o.rows[i], " is out of order or not in [0, ", Tq, ")");
}

/// Attention hands each row of weights to it once; those of one head in the order of their queries where
/// `in_order`, since the totals of keys are sums over queries.
template <class Scalar>
struct IntrospectionRows {
  const Introspection<Scalar>& wanted;
  const AttentionSizes& sizes;

  bool in_order() const { return wanted.key_totals.data() != nullptr; }
  /// Before the first row.
  void begin() const {
    if (in_order()) wanted.key_totals.fill(Scalar(0));
  }
  /// Whether rows of queries [q0, q1) of head h are wanted.
  ATTEND_COLD bool wants(Index b, Index h, Index q0, Index q1) const {
    if (!wanted.heads.empty() && std::find(wanted.heads.begin(), wanted.heads.end(), h) == wanted.heads.end())
      return false;
    if (wanted.every_row()) return q0 < q1;
    const auto row = std::lower_bound(wanted.rows.begin(), wanted.rows.end(), query_begin(b) + q0);
    return row != wanted.rows.end() && *row < query_begin(b) + q1;
  }
  /// The weights w [keys] of query q.
  void take(Index b, Index h, Index q, const Scalar* w) const {
    if (!wanted.heads.empty()) {
      for (std::size_t i = 0; i < wanted.heads.size(); ++i)
        if (wanted.heads[i] == h) take_as(static_cast<Index>(i), b, q, w);
    } else {
      take_as(h, b, q, w);
    }
  }

 private:
  Index query_begin(Index b) const { return sizes.query_offsets != nullptr ? sizes.query_offsets[b] : 0; }
  /// For head `h` of the chosen ones.
  void take_as(Index h, Index b, Index q, const Scalar* w) const {
    const Index keys = sizes.key_count(b), batch = sizes.query_offsets != nullptr ? 0 : b;
    const Index query = query_begin(b) + q, key = sizes.key_offsets != nullptr ? sizes.key_offsets[b] : 0;
    if (in_order())
      for (Index k = 0; k < keys; ++k)
        wanted.key_totals(batch, h, key + k) = wanted.key_totals(batch, h, key + k) + w[k];
    if (wanted.entropy.data()) wanted.entropy(batch, h, query) = entropy_of(w, keys);
    if (wanted.top_keys.data())
      strongest(w, keys, wanted.top_keys[batch][h][query], wanted.top_weights[batch][h][query]);
    if (!wanted.row_weights.data()) return;
    const auto row = std::lower_bound(wanted.rows.begin(), wanted.rows.end(), query);
    if (row == wanted.rows.end() || *row != query) return;
    const Index r = row - wanted.rows.begin();
    for (Index k = 0; k < sizes.keys; ++k) wanted.row_weights(batch, h, r, k) = w[k];
  }
};

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI
