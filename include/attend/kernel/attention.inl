// Streaming attention: for up to 48 query rows, one key tile after the other with a running maximum and sum.
//
// The bits of a row depend on its own query, keys and values alone: keys go in tiles counted from position 0 and
// spans of tiles, whatever the rows beside it, and a key that a row doesn't see takes part in no sum of it.
// reference/exact.hpp is the same order of operations as plain loops.

/// output[r] = output[r] * alpha[r] + weights[r] · values over keys [begin, end), for the panels of the output.
struct ValuesOp {
  const float* weights;  // [48][96]
  const float* values;
  Index value_row;
  float* output;  // [48][stride]
  Index stride;
  const float* alpha;  // [48], or null: the output starts from 0
  Index begin, end;
  const float* ahead;  // wanted next

  template <int MR, int NV>
  ATTEND_NOINLINE void run(Index r, Index p) const {
    Sums<MR, NV> sums;
    float* o = output + r * stride + p * 16;
    if (alpha == nullptr) {
      set_zero(sums);
    } else {
      ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
        const vf a = set1(alpha[r + i]);
        ATTEND_UNROLL for (int j = 0; j < NV; ++j) sums.at[i][j] = mul(load(o + i * stride + j * 16), a);
      }
    }
    const float* v = values + begin * value_row + p * 16;
    accumulate(sums, weights + r * kKeyTile + begin, kKeyTile, v, 16, value_row, end - begin,
               {r == 0 ? ahead + p * kKeyTile * 16 : v, kKeyTile * 16});
    ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
      ATTEND_UNROLL for (int j = 0; j < NV; ++j) store(o + i * stride + j * 16, sums.at[i][j]);
    }
  }
};

/// Blocks of output: 4 panels (D 64, 128), else 2, else 1.
ATTEND_INLINE void sweep_values(const ValuesOp& op, Index r0, Index r1, Index panels) {
  Index p = 0;
  if constexpr (kPanels == 3) {
    if (r1 - r0 <= kRows<kPanelsFewRows>)
      for (; p + kPanelsFewRows <= panels; p += kPanelsFewRows) sweep_rows<kPanelsFewRows>(op, r0, r1, p);
    for (; p + 4 <= panels; p += 4) sweep_rows<4>(op, r0, r1, p);
    if (p + 3 == panels) sweep_rows<3>(op, r0, r1, p), p += 3;
    for (; p + 2 <= panels; p += 2) sweep_rows<2>(op, r0, r1, p);
  } else {
    if (r1 - r0 <= kRows<kPanelsFewRows>)
      for (; p + kPanelsFewRows <= panels; p += kPanelsFewRows) sweep_rows<kPanelsFewRows>(op, r0, r1, p);
  }
  for (; p < panels; ++p) sweep_rows<1>(op, r0, r1, p);
}

/// Whether the values of keys [begin, end) are finite: then a weight of 0 keeps them out of a sum.
ATTEND_NOINLINE bool finite(const float* values, Index value_row, Index begin, Index end, Index panels) {
  vf sum = set1(0.0f);
  for (Index k = begin; k < end; ++k)
    for (Index p = 0; p < panels; ++p) sum = fma(load(values + k * value_row + p * 16), set1(0.0f), sum);
  return !any(unordered(sum));
}

/// The output of a tile where not every row sees every key of [sight.begin, sight.end).
ATTEND_NOINLINE void masked_values(const Attention& t, const QueryRows& rows, ValuesOp op, Index first, Index keys,
                                   const Sight& sight, Index panels) {
  constexpr Index kBlock = ATTEND_SIMD == 512 ? 12 : 6;
  for (Index r0 = 0; r0 < rows.count(); r0 += kBlock) {
    const Index r1 = r0 + kBlock < rows.count() ? r0 + kBlock : rows.count();
    const Extent e = span_of(sight, r0, r1);
    // inside [inner_begin, inner_end) every row of the block sees every key
    Index inner_begin = e.begin, inner_end = e.end;
    for (Index r = r0; r < r1; ++r) {
      if (!sight.row[r].full) inner_end = inner_begin = e.end;
      if (sight.row[r].begin > inner_begin) inner_begin = sight.row[r].begin;
      if (sight.row[r].end < inner_end) inner_end = sight.row[r].end;
    }
    if (inner_begin > inner_end) inner_begin = inner_end = e.end;
    op.begin = e.begin;
    op.end = e.end;
    if (finite(op.values, op.value_row, e.begin, inner_begin, panels) &&
        finite(op.values, op.value_row, inner_end, e.end, panels)) {
      sweep_values(op, r0, r1, panels);
      continue;
    }
    for (Index r = r0; r < r1; ++r) {  // 0 · NaN is NaN: add just what the row sees
      const Index h = rows.head + r / rows.queries, q = rows.query + r % rows.queries;
      op.begin = op.end = 0;
      sweep_values(op, r, r + 1, panels);
      for (Index k = e.begin; k < e.end; ++k) {
        const unsigned bits = visible_bits(t, sight.row[r], rows.batch, h, q, first, keys, k / 16);
        op.begin = k;
        op.end = k + 1;
        const float one = 1.0f;
        ValuesOp single = op;
        single.alpha = &one - r;
        if ((bits >> (k % 16) & 1u) != 0) sweep_values(single, r, r + 1, panels);
      }
    }
  }
}

/// Weights, sums and output of one tile, whose scores and maxima lie ready; writes the weights over the scores.
ATTEND_NOINLINE void add_tile(const Attention& t, const QueryRows& rows, float* scores, const float* tile_maximum,
                              const float* values, Index value_row, Index first, Index keys, const Sight& sight,
                              AttentionState state, bool start, const float* ahead) {
  alignas(64) float alpha[kQueryRows];
  const vf exponent = set1(t.exponent), lowest = softmax_lowest(exponent);
  const Index tile_p0 = sight.begin / 16, tile_p1 = (sight.end + 15) / 16;
  const Index count = rows.count();
  for (Index r = 0; r < count; r += 16) {
    const vf tile = load(tile_maximum + r), none = set1(kNone);
    vf now = tile;
    if (!start) {
      const vf before = load(state.maximum + r);
      now = select(gt(tile, before), tile, select(unordered(tile), tile, before));
      // a row that sees nothing of this tile stays as it is
      const vf factor = softmax_exp(sub(before, select(eq(now, none), set1(0.0f), now)), exponent, lowest);
      store(alpha + r, select(eq(tile, none), set1(1.0f), factor));
    }
    store(state.maximum + r, now);
  }
  for (Index r = 0; r < count; ++r) {
    const Extent e = sight.all ? Extent{sight.begin, sight.end, true} : sight.row[r];
    float* s = scores + r * kKeyTile;
    if (e.begin >= e.end || tile_maximum[r] == kNone) {
      for (Index p = tile_p0; p < tile_p1; ++p) store(s + p * 16, set1(0.0f));
      if (start) store(state.lanes + r * kLanes, set1(0.0f));
      continue;
    }
    const Index p0 = e.begin / 16, p1 = (e.end + 15) / 16;
    for (Index p = tile_p0; p < p0; ++p) store(s + p * 16, set1(0.0f));
    for (Index p = p1; p < tile_p1; ++p) store(s + p * 16, set1(0.0f));
    const vf maximum = set1(state.maximum[r]);
    vf sum = set1(0.0f);
    for (Index p = p0; p < p1; ++p) {
      const vf w = softmax_exp(sub(load(s + p * 16), maximum), exponent, lowest);
      store(s + p * 16, w);
      sum = add(sum, w);
    }
    if (t.weight_modifier.apply != nullptr)
      for (Index p = p0; p < p1; ++p)
        t.weight_modifier.apply(t.weight_modifier.object, s + p * 16, rows.batch, rows.head + r / rows.queries,
                                rows.query + r % rows.queries, first + p * 16, first + keys);
    if (!start) sum = fma(load(state.lanes + r * kLanes), set1(alpha[r]), sum);
    store(state.lanes + r * kLanes, sum);
  }
  const Index panels = t.value_stride() / 16;
  const ValuesOp op{scores,     values,    value_row, state.output, t.value_stride(), start ? nullptr : alpha,
                    sight.begin, sight.end, ahead};
  if (sight.all)
    sweep_values(op, 0, count, panels);
  else
    masked_values(t, rows, op, first, keys, sight, panels);
}

ATTEND_NOINLINE bool attention_span(const Attention& t, const QueryRows& rows, Index span, AttentionState state,
                                    float* scratch) {
  float* scores = scratch;
  Index query_stride;
  const float* query = gather_queries(t, rows, scratch + kQueryRows * kKeyTile, query_stride);
  const Index kv_head = rows.head / (t.heads / t.kv_heads), b = rows.batch;
  const Index keys_of_batch = t.key_count(b);
  bool seen = false;
  alignas(64) float tile_maximum[kQueryRows];
  Sight sight;
  // Tiles of the span that any row sees a key of: a window costs its own width, not that of all keys.
  Index tile = span * kSpanTiles, tile_end = (span + 1) * kSpanTiles;
  if (tile_end * kKeyTile > keys_of_batch) tile_end = (keys_of_batch + kKeyTile - 1) / kKeyTile;
  if (tile >= tile_end) return false;
  if (t.mask.block != nullptr) {
    const Index last = tile_end * kKeyTile < keys_of_batch ? tile_end * kKeyTile : keys_of_batch;
    Index begin = last, end = 0;
    for (Index g = 0; g < rows.heads; ++g) {
      const Extent e = t.mask.block(t.mask.object, b, rows.head + g, rows.query, rows.query + rows.queries, tile * kKeyTile, last);
      if (e.begin >= e.end) continue;
      if (e.begin < begin) begin = e.begin;
      if (e.end > end) end = e.end;
    }
    if (begin >= end) return false;
    tile = begin / kKeyTile;
    tile_end = (end + kKeyTile - 1) / kKeyTile;
  }
  for (; tile < tile_end; ++tile) {
    const Index first = tile * kKeyTile;
    const Index keys = keys_of_batch - first < kKeyTile ? keys_of_batch - first : kKeyTile;
    if (!look(t, rows, first, keys, sight)) continue;
    const float* page = page_of(t, rows, tile, scratch);
    if (page == nullptr) continue;
    const float* values =
        t.values_in_place ? t.value.at(b, kv_head, t.key_begin(b) + first) : page + kKeyTile * t.head_dim;
    const float* next = t.pages != nullptr && first + kKeyTile < keys_of_batch ? t.pages[b][tile + 1] : nullptr;
    const float* ahead = next != nullptr ? next + kv_head * t.page_floats() : page;
    tile_scores(t, rows, query, query_stride, page, first, keys, sight, scores, tile_maximum);
    add_tile(t, rows, scores, tile_maximum, values, t.values_in_place ? t.value.token : t.value_stride(), first, keys,
             sight, state, !seen, ahead);
    seen = true;
  }
  return seen;
}

ATTEND_NOINLINE void attention_merge(const Attention& t, const QueryRows& rows, AttentionState total,
                                     AttentionState next) {
  const vf exponent = set1(t.exponent), lowest = softmax_lowest(exponent);
  const Index stride = t.value_stride();
  for (Index r = 0; r < rows.count(); ++r) {
    float* lanes = total.lanes + r * kLanes;
    float* output = total.output + r * stride;
    const float before = total.maximum[r], after = next.maximum[r];
    if (after == kNone) continue;
    const bool empty = before == kNone;
    const float maximum = empty || after > before || after != after ? after : before;
    const vf a = empty ? set1(0.0f) : softmax_exp(set1(before - maximum), exponent, lowest);
    const vf n = softmax_exp(set1(after - maximum), exponent, lowest);
    total.maximum[r] = maximum;
    store(lanes, fma(load(next.lanes + r * kLanes), n, mul(load(lanes), a)));
    for (Index d = 0; d < stride; d += 16)
      store(output + d, fma(load(next.output + r * stride + d), n, mul(load(output + d), a)));
  }
}

/// log(x) for x > 0, within 1e-15: atanh's series on the mantissa, so that no libm decides a bit.
ATTEND_INLINE double log_of(float x) {
  if (!(x > 0.0f && x < __builtin_inff())) return x == 0.0f ? kNone : x;
  int exponent = 0;
  double m = x;
  while (m >= 1.5) m *= 0.5, ++exponent;
  while (m < 0.75) m *= 2.0, --exponent;
  const double u = (m - 1.0) / (m + 1.0), u2 = u * u;
  double sum = 0.0;
  for (int k = 25; k >= 1; k -= 2) sum = __builtin_fma(sum, u2, 1.0 / k);
  return __builtin_fma(static_cast<double>(exponent), 0.69314718055994530942, 2.0 * u * sum);
}

ATTEND_NOINLINE void attention_finish(const Attention& t, const QueryRows& rows, AttentionState total) {
  const vf exponent = set1(t.exponent), lowest = softmax_lowest(exponent);
  const Index stride = t.value_stride(), begin = t.query_begin(rows.batch);
  const double log2e = 1.4426950408889634;
  alignas(64) float sums[kQueryRows], inverses_of[kQueryRows];
  for (Index r = 0; r < rows.count(); r += 16) {
    const vf sum = reduce_rows(total.lanes + r * kLanes, Total{});
    store(sums + r, sum);
    store(inverses_of + r, div(set1(1.0f), sum));
  }
  for (Index r = 0; r < rows.count(); ++r) {
    const Index h = rows.head + r / rows.queries, q = rows.query + r % rows.queries;
    float* out = t.out.at(rows.batch, h, begin + q);
    float* lanes = total.lanes + r * kLanes;
    float* output = total.output + r * stride;
    float maximum = total.maximum[r];
    float sum = sums[r], inverse = maximum == kNone ? 0.0f : inverses_of[r];
    if (t.sinks != nullptr && maximum != kNone) {
      const float sink = t.folded ? t.sinks[h] / t.scale : t.sinks[h];  // in the units of the scores
      if (sink > maximum) {
        const vf a = softmax_exp(set1(maximum - sink), exponent, lowest);
        sum = reduce_sum(mul(load(lanes), a));
        for (Index d = 0; d < stride; d += 16) store(output + d, mul(load(output + d), a));
        total.maximum[r] = maximum = sink;
        sum += 1.0f;
      } else {
        alignas(64) float e[16];
        store(e, softmax_exp(set1(sink - maximum), exponent, lowest));
        sum += e[0];
      }
      inverse = 1.0f / sum;
    }
    lanes[0] = inverse;  // what attention_weights multiplies by
    const vf inverses = set1(inverse);
    for (Index d = 0; d < t.value_dim; d += 16) {
      // + 0 makes -0 to +0: whether a masked 0 was added to a sum of -0 is not to be seen
      const vf v = maximum == kNone ? set1(0.0f) : add(mul(load(output + d), inverses), set1(0.0f));
      if (t.value_dim - d >= 16)
        store(out + d, v);
      else
        store_n(out + d, v, static_cast<int>(t.value_dim - d));
    }
    if (t.log_sum_exp != nullptr) {
      const Index batch = t.query_offsets != nullptr ? 0 : rows.batch;  // ragged: one sequence of all tokens
      const Index row = (batch * t.heads + h) * t.log_sum_exp_queries + begin + q;
      const double natural = static_cast<double>(t.exponent) / log2e;  // the scale, or 1
      t.log_sum_exp[row] =
          maximum == kNone ? kNone
                           : static_cast<float>(__builtin_fma(static_cast<double>(maximum), natural, log_of(sum)));
    }
  }
}

ATTEND_NOINLINE void attention_weights(const Attention& t, const QueryRows& rows, const AttentionState* total,
                                       Heads<float> out, float* scratch) {
  const vf exponent = set1(t.exponent), lowest = softmax_lowest(exponent);
  float* scores = scratch;
  Index query_stride;
  const float* query = gather_queries(t, rows, scratch + kQueryRows * kKeyTile, query_stride);
  alignas(64) float tile_maximum[kQueryRows];
  Sight sight;
  for (Index first = 0; first < t.keys; first += kKeyTile) {
    const Index width = t.keys - first < kKeyTile ? t.keys - first : kKeyTile;
    const Index left = t.key_count(rows.batch) - first, keys = left < width ? left : width;
    const float* page = keys > 0 && look(t, rows, first, keys, sight) ? page_of(t, rows, first / kKeyTile, scratch) : nullptr;
    if (page != nullptr)
      tile_scores(t, rows, query, query_stride, page, first, keys, sight, scores, tile_maximum);
    for (Index r = 0; r < rows.count(); ++r) {
      float* w = out.at(rows.batch, rows.head + r / rows.queries, rows.query + r % rows.queries) + first;
      for (Index k = 0; k < width; ++k) w[k] = total != nullptr ? 0.0f : kNone;
      if (page == nullptr || (total != nullptr && tile_maximum[r] == kNone)) continue;
      const Extent e = sight.all ? Extent{sight.begin, sight.end, true} : sight.row[r];
      if (e.begin >= e.end) continue;
      for (Index p = e.begin / 16; p * 16 < e.end; ++p) {
        vf v = load(scores + r * kKeyTile + p * 16);
        if (total != nullptr)
          v = mul(softmax_exp(sub(v, set1(total->maximum[r])), exponent, lowest), set1(total->lanes[r * kLanes]));
        store_n(w + p * 16, v, static_cast<int>(width - p * 16 < 16 ? width - p * 16 : 16));
        if (total != nullptr && t.weight_modifier.apply != nullptr)
          t.weight_modifier.apply(t.weight_modifier.object, w + p * 16, rows.batch, rows.head + r / rows.queries,
                                  rows.query + r % rows.queries, first + p * 16, first + keys);
      }
    }
  }
}
