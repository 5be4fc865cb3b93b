// Streaming attention: for up to 48 query rows, one key tile after the other with a running maximum and sum.
//
//                     keys of a sequence, from position 0
//            |-- tile: 96 --|--------------|--------------| …  |--------------|--
//            |<------------ span: 16 tiles, 1536 keys --------------->|<- span …
//   48 rows  |    scores    | one after the other: add_tile           |
//   of one   |   48 × 96    |   maximum, lanes of the sum, output     | state
//   head     |              |                                         |
//                                                      attention_merge joins the states, in ascending order
//
// A tile lies packed in a page, its own or one of a KVCache, for one key/value head each:
//   page     | keys [2][D][48] | values [Dv / 64][96][64] |      see PageLayout
//
// The bits of a row depend on its own query, keys and values alone: keys go in tiles counted from position 0
// and spans of tiles, whatever the rows beside it, and a key that a row doesn't see takes part in no sum of
// it. reference/exact.hpp is the same order of operations as plain loops.

/// The sum of each row and its inverse; false where a row saw nothing.
ATTEND_NOINLINE bool sum_rows(const float* maximum, AttentionState state, Index count, float* sums,
                              float* inverses) {
  bool all = true;
  for (Index r = 0; r < count; r += 16) {
    const vf sum = reduce_rows(state.lanes + r * kLanes, count - r, Total{});
    store(sums + r, sum);
    store(inverses + r, div(set1(1.0f), sum));
    for (Index i = r; i < r + 16 && i < count; ++i) all = all && maximum[i] != kNone;
  }
  return all;
}

/// Weights, sums and output of one tile, whose scores and maxima lie ready; writes the weights over the
/// scores. True where the output, the caller's, is finished: of rows that see this tile `alone`, and nothing
/// but their output wanted.
ATTEND_NOINLINE bool add_tile(const Attention& t, const QueryRows& rows, float* scores,
                              const float* tile_maximum, const Values& values, Index first, Index keys,
                              const Sight& sight, AttentionState state, bool start, bool alone,
                              const float* ahead) {
  alignas(64) float alpha[kQueryRows], sums[kQueryRows];
  const vf exponent = set1(t.exponent), lowest = softmax_lowest(exponent);
  const Index tile_p0 = sight.begin / 16, tile_p1 = (sight.end + 15) / 16;
  const Index count = rows.count();
  const ModifierFunctions modifier = t.weight_modifier;
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
  // Decoding fetches the first of the next keys meanwhile, or memory would idle.
  const Index wanted = t.pages != nullptr && count <= 8 ? t.page().floats() - 128 : -1;
  Index fetched = 0;
  for (Index r = 0; r < count; ++r) {
    float* s = scores + r * kKeyTile;
    Index p0 = tile_p0, p1 = tile_p1;
    if (tile_maximum[r] == kNone) {
      p1 = p0;
    } else if (!sight.all) {
      p0 = sight.row[r].begin / 16;
      p1 = (sight.row[r].end + 15) / 16;
    }
    for (Index p = tile_p0; p < p0; ++p) store(s + p * 16, set1(0.0f));
    for (Index p = p1; p < tile_p1; ++p) store(s + p * 16, set1(0.0f));
    const vf maximum = set1(state.maximum[r]);
    vf sum = set1(0.0f);
    for (Index p = p0; p < p1; ++p) {
      const vf w = softmax_exp(sub(load(s + p * 16), maximum), exponent, lowest);
      store(s + p * 16, w);
      sum = add(sum, w);
      if (fetched <= wanted) {
        ATTEND_UNROLL for (int j = 0; j < 8; ++j) __builtin_prefetch(ahead + fetched + j * 16, 0, 2);
        fetched += 128;
      }
    }
    if (modifier.apply != nullptr)
      for (Index p = p0; p < p1; ++p)
        modifier.apply(modifier.object, s + p * 16, rows.batch, rows.head + r / rows.queries,
                       rows.query + r % rows.queries, first + p * 16, first + keys);
    if (!start) sum = fma(load(state.lanes + r * kLanes), set1(alpha[r]), sum);
    store(state.lanes + r * kLanes, sum);
  }
  const Index width = t.value_stride();
  ValueProducts products{scores, values, ahead, state.output, width, width, !start, start ? nullptr : alpha};
  if (alone && t.output_alone && (rows.heads == 1 || rows.queries == 1) &&
      sum_rows(tile_maximum, state, count, sums, alpha)) {
    products.output = t.out.at(rows.batch, rows.head, t.query_begin(rows.batch) + rows.query);
    products.stride = rows.heads == 1 ? t.out.token : t.out.head;
    products.factor = alpha;
    products.width = t.value_dim;
  }
  if (sight.all)
    products.run(0, count, sight.begin, sight.end);
  else
    masked_values(t, rows, products, first, keys, sight, state);
  return products.factor != nullptr;
}

ATTEND_NOINLINE SpanResult attention_span(const Attention& t, const QueryRows& rows, Index span,
                                          AttentionState state, float* scratch) {
  float* scores = scratch;
  Index query_stride;
  const float* query = gather_queries(t, rows, scratch + kQueryRows * kKeyTile, query_stride);
  const Index kv_head = rows.kv_head, b = rows.batch;
  const Index keys_of_batch = t.key_count(b);
  bool seen = false;
  alignas(64) float tile_maximum[kQueryRows];
  Sight sight;
  // Tiles of the span that any row sees a key of: a window costs its own width, not that of all keys.
  Index tile = span * kSpanTiles, tile_end = (span + 1) * kSpanTiles;
  if (tile_end * kKeyTile > keys_of_batch) tile_end = (keys_of_batch + kKeyTile - 1) / kKeyTile;
  if (tile >= tile_end) return SpanResult::nothing;
  if (t.mask.block != nullptr) {
    const Index last = tile_end * kKeyTile < keys_of_batch ? tile_end * kKeyTile : keys_of_batch;
    Index begin = last, end = 0;
    for (Index g = 0; g < rows.heads; ++g) {
      const Extent e = t.mask.block(t.mask.object, b, rows.head + g, rows.query, rows.query + rows.queries,
                                    tile * kKeyTile, last);
      if (e.begin >= e.end) continue;
      if (e.begin < begin) begin = e.begin;
      if (e.end > end) end = e.end;
    }
    if (begin >= end) return SpanResult::nothing;
    tile = begin / kKeyTile;
    tile_end = (end + kKeyTile - 1) / kKeyTile;
  }
  const bool alone = tile_end - tile == 1 && keys_of_batch <= kSpanTiles * kKeyTile;
  for (; tile < tile_end; ++tile) {
    const Index first = tile * kKeyTile;
    const Index keys = keys_of_batch - first < kKeyTile ? keys_of_batch - first : kKeyTile;
    if (!look(t, rows, first, keys, sight)) continue;
    const float* page = page_of(t, rows, tile, scratch);
    if (page == nullptr) continue;
    const bool last = first + kKeyTile >= keys_of_batch;
    const float* next =
        t.pages == nullptr ? nullptr : t.pages[b][last ? 0 : tile + 1];  // last: of the next head
    next = next != nullptr ? next + (kv_head + last) * t.page().floats() : page;
    Values values{page + t.page().value(0, 0), t.page(), 0};
    if (t.values_in_place) {
      values = {t.value.at(b, kv_head, t.key_begin(b) + first), {}, t.value.token};
      next = last ? values.data : values.data + kKeyTile * t.value.token;
    }
    tile_scores(t, rows, query, query_stride, page, first, keys, sight, scores, tile_maximum);
    if (add_tile(t, rows, scores, tile_maximum, values, first, keys, sight, state, !seen, alone, next))
      return SpanResult::finished;
    seen = true;
  }
  return seen ? SpanResult::state : SpanResult::nothing;
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
    alignas(64) float e[16] = {before - maximum, after - maximum};
    store(e, softmax_exp(load(e), exponent, lowest));
    const vf a = set1(empty ? 0.0f : e[0]), n = set1(e[1]);
    total.maximum[r] = maximum;
    store(lanes, fma(load(next.lanes + r * kLanes), n, mul(load(lanes), a)));
    for (Index d = 0; d < stride; d += 16)
      store(output + d, fma(load(next.output + r * stride + d), n, mul(load(output + d), a)));
  }
}

/// log(x) for x > 0, within 1e-15: atanh's series on the mantissa, so that no libm decides a bit.
ATTEND_INLINED double log_of(float x) {
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
  const double natural = static_cast<double>(t.exponent) / log2e;  // the scale, or 1
  const float *sinks = t.sinks, *maxima = total.maximum;
  float* const log_sum_exp = t.log_sum_exp;
  alignas(64) float sums[kQueryRows], inverses[kQueryRows];
  sum_rows(maxima, total, rows.count(), sums, inverses);
  for (Index g = 0, r = 0; g < rows.heads; ++g) {
    const Index h = rows.head + g;
    float* out = t.out.at(rows.batch, h, begin + rows.query);
    for (Index i = 0; i < rows.queries; ++i, ++r, out += t.out.token) {
      float* output = total.output + r * stride;
      const bool none = maxima[r] == kNone;
      float sum = sums[r], inverse = none ? 0.0f : inverses[r];
      if (sinks != nullptr && !none) {
        float* lanes = total.lanes + r * kLanes;
        const float sink = t.folded ? sinks[h] / t.scale : sinks[h];  // in the units of the scores
        const bool greater = sink > maxima[r];
        const vf a = softmax_exp(set1(greater ? maxima[r] - sink : sink - maxima[r]), exponent, lowest);
        if (greater) {
          sum = reduce_sum(opaque(mul(load(lanes), a)));
          for (Index d = 0; d < stride; d += 16) store(output + d, mul(load(output + d), a));
          total.maximum[r] = sink;
          sum += 1.0f;
        } else {
          alignas(64) float e[16];
          store(e, a);
          sum += e[0];
        }
        inverse = 1.0f / sum;
      }
      total.lanes[r * kLanes] = inverse;  // what attention_weights multiplies by
      if (none)                           // the state may hold anything
        for (Index d = 0; d < t.value_dim; ++d) out[d] = 0.0f;
      else
        write_row(output, set1(inverse), out, t.value_dim);
      if (log_sum_exp != nullptr) {
        const Index batch =
            t.query_offsets != nullptr ? 0 : rows.batch;  // ragged: one sequence of all tokens
        const Index row = (batch * t.heads + h) * t.log_sum_exp_queries + begin + rows.query + i;
        log_sum_exp[row] =
            none ? kNone
                 : static_cast<float>(__builtin_fma(static_cast<double>(maxima[r]), natural, log_of(sum)));
      }
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
    const float* page =
        keys > 0 && look(t, rows, first, keys, sight) ? page_of(t, rows, first / kKeyTile, scratch) : nullptr;
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
          v = mul(softmax_exp(sub(v, set1(total->maximum[r])), exponent, lowest),
                  set1(total->lanes[r * kLanes]));
        store_block(w + p * 16, v, static_cast<int>(width - p * 16 < 16 ? width - p * 16 : 16));
        if (total != nullptr && t.weight_modifier.apply != nullptr)
          t.weight_modifier.apply(t.weight_modifier.object, w + p * 16, rows.batch,
                                  rows.head + r / rows.queries, rows.query + r % rows.queries, first + p * 16,
                                  first + keys);
      }
    }
  }
}

/// The sum of |x| · |y|, elements of y `stride` apart.
ATTEND_INLINED float sum_of_magnitudes(const float* x, const float* y, Index n, Index stride) {
  vf lanes = set1(0.0f);
  Index i = 0;
  if (stride == 1)
    for (; i < n; i += 16) {
      const int m = static_cast<int>(n - i < 16 ? n - i : 16);
      lanes = add(lanes, abs(mul(load_block(x + i, m), load_block(y + i, m))));
    }
  float sums[4] = {};  // short chains
  for (; i + 4 <= n; i += 4)
    ATTEND_UNROLL for (int j = 0; j < 4; ++j) sums[j] += __builtin_fabsf(x[i + j] * y[(i + j) * stride]);
  for (; i < n; ++i) sums[0] += __builtin_fabsf(x[i] * y[i * stride]);
  return reduce_sum(lanes) + ((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

/// Of where there is one key and nothing but masks touches its score: the softmax of one finite score is 1,
/// and the output the value. False, with nothing written, where a score may not be finite: no partial sum of
/// q · k is greater than the sum of magnitudes.
ATTEND_NOINLINE bool attention_one_key(const Attention& t, Index b, Index kv_head) {
  const Index D = t.head_dim, group = t.heads / t.kv_heads, queries = t.query_count(b),
              begin = t.query_begin(b);
  const bool paged = t.pages != nullptr;
  if (t.key_count(b) != 1) return false;  // one without keys has no pages
  const float* page = paged ? t.pages[b][0] : nullptr;
  if (paged && page == nullptr) return false;
  page += paged ? kv_head * t.page().floats() : 0;
  const float* key = paged ? page + t.page().key(0, 0) : t.key.at(b, kv_head, t.key_begin(b));
  for (Index h = kv_head * group; h < (kv_head + 1) * group; ++h)
    for (Index q = 0; q < queries; ++q)
      if (!(sum_of_magnitudes(t.query.at(b, h, begin + q), key, D, paged ? PageLayout::kKeys : 1) < 1e37f))
        return false;
  const Values values = paged ? Values{page + t.page().value(0, 0), t.page(), 0}
                              : Values{t.value.at(b, kv_head, t.key_begin(b)), {}, t.value.token};
  for (Index h = kv_head * group; h < (kv_head + 1) * group; ++h)
    for (Index q = 0; q < queries; ++q) {
      Extent e{0, 1, true};
      if (t.mask.rows != nullptr) t.mask.rows(t.mask.object, b, h, q, 1, 0, 1, &e);
      const bool seen = e.begin < e.end && (e.full || (t.mask.bits(t.mask.object, b, h, q, 0, 1) & 1u) != 0);
      float* out = t.out.at(b, h, begin + q);
      for (Index d = 0; d < t.value_dim; d += 16) {
        const int n = static_cast<int>(t.value_dim - d < 16 ? t.value_dim - d : 16);
        store_block(out + d,
                    seen ? scaled(load_block(values.data + values.at(0, d / 16), n), set1(1.0f)) : set1(0.0f),
                    n);
      }
    }
  return true;
}
