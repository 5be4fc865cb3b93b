// Attention, first half: what rows see of a key tile, its packing, and its scores as the softmax takes them.

constexpr float kNone = -__builtin_inff();

/// What each row sees of the tile at hand, relative to the tile's first key.
struct Sight {
  Index begin = 0, end = 0;  // of all rows together
  bool all = true;           // every row sees all of [begin, end)
  union {
    Extent row[kQueryRows];  // only where not `all`: not worth the time to set them
  };
  Sight() {}
};

/// Rows of several heads are segments of `queries` rows, each with a head of its own.
ATTEND_NOINLINE bool look(const Attention& t, const QueryRows& rows, Index first, Index keys, Sight& sight) {
  sight.begin = 0;
  sight.end = keys;
  sight.all = true;
  if (t.mask.block == nullptr) return true;
  sight.begin = keys;
  sight.end = 0;
  for (Index g = 0; g < rows.heads; ++g) {
    const Extent extent = t.mask.block(t.mask.object, rows.batch, rows.head + g, rows.query,
                                       rows.query + rows.queries, first, first + keys);
    if (extent.begin >= extent.end) {
      sight.all = sight.all && rows.heads == 1;
      continue;
    }
    const Index begin = extent.begin - first, end = extent.end - first;
    if (!extent.full || (g > 0 && (begin != sight.begin || end != sight.end))) sight.all = false;
    if (begin < sight.begin) sight.begin = begin;
    if (end > sight.end) sight.end = end;
  }
  if (sight.begin >= sight.end) return false;
  if (!sight.all) {
    for (Index g = 0; g < rows.heads; ++g)
      t.mask.rows(t.mask.object, rows.batch, rows.head + g, rows.query, rows.queries, first, first + keys,
                  sight.row + g * rows.queries);
    for (Index r = 0; r < rows.count(); ++r) {
      Extent& e = sight.row[r];
      e.begin -= first;
      e.end -= first;
      if (e.begin >= e.end) e = {sight.begin, sight.begin, true};
    }
  }
  return true;
}

/// Union of what rows [r0, r1) see.
ATTEND_INLINED Extent span_of(const Sight& sight, Index r0, Index r1) {
  if (sight.all) return {sight.begin, sight.end, true};
  Extent all = {sight.end, sight.begin, true};
  for (Index r = r0; r < r1; ++r) {
    const Extent& e = sight.row[r];
    if (e.begin >= e.end) continue;
    if (e.begin < all.begin) all.begin = e.begin;
    if (e.end > all.end) all.end = e.end;
  }
  if (all.begin > all.end) all = {sight.begin, sight.begin, true};
  return all;
}

/// f over the 16 lanes of each of up to 16 rows, lane r of the result being that of row r, in the tree of
/// reduce_sum: lane j with lane j + 8, then + 4, + 2, + 1. Lanes of the result from `rows` on are arbitrary.
template <class F>
ATTEND_INLINED vf reduce_rows(const float* lanes, Index rows, F f) {
  vf x[16];
#if ATTEND_SIMD == 512
  static_cast<void>(rows);
  // Each step halves the lanes of two vectors and joins them: rows 0 … 15 end in lanes 0 … 15.
  ATTEND_UNROLL for (int i = 0; i < 16; ++i) x[i] = load(lanes + i * 16);
  ATTEND_UNROLL for (int i = 0; i < 8; ++i) {
    const freg a = x[i / 4 * 8 + i % 4].r[0], b = x[i / 4 * 8 + i % 4 + 4].r[0];
    x[i / 4 * 8 + i % 4] =
        f(vf{{ATTEND_OF_LANES(a, b, 0, 1, 0, 1)}}, vf{{ATTEND_OF_LANES(a, b, 2, 3, 2, 3)}});
  }
  ATTEND_UNROLL for (int i = 0; i < 4; ++i) {
    const freg a = x[i].r[0], b = x[i + 8].r[0];
    x[i] = f(vf{{ATTEND_OF_LANES(a, b, 0, 2, 0, 2)}}, vf{{ATTEND_OF_LANES(a, b, 1, 3, 1, 3)}});
  }
  ATTEND_UNROLL for (int i = 0; i < 4; i += 2) {
    const freg a = x[i].r[0], b = x[i + 1].r[0];
    x[i] = f(vf{{ATTEND_IN_LANES(a, b, 0, 1, 16, 17)}}, vf{{ATTEND_IN_LANES(a, b, 2, 3, 18, 19)}});
  }
  const freg a = x[0].r[0], b = x[2].r[0];
  return f(vf{{ATTEND_IN_LANES(a, b, 0, 2, 16, 18)}}, vf{{ATTEND_IN_LANES(a, b, 1, 3, 17, 19)}});
#else
  alignas(64) float columns[256];
  transpose_16x16(lanes, 16, static_cast<int>(rows < 16 ? rows : 16), columns, 16);
  ATTEND_UNROLL for (int j = 0; j < 16; ++j) x[j] = load(columns + j * 16);
  ATTEND_UNROLL for (int width = 8; width > 0; width /= 2) {
    ATTEND_UNROLL for (int j = 0; j < width; ++j) x[j] = f(x[j], x[j + width]);
  }
  return x[0];
#endif
}
struct Maximum {
  ATTEND_INLINED vf operator()(vf a, vf b) const { return max_of(a, b); }
};
struct Total {
  ATTEND_INLINED vf operator()(vf a, vf b) const { return add(a, b); }
};

/// scores[r][k] = q_r · k, and where `maximum` is not null, the greatest of each row, in 16 lanes.
struct KeyProducts {
  const float* query;
  Index query_stride, head_dim;
  const float* page;   // keys [2][D][48]
  const float* ahead;  // wanted next, as much as the keys
  float* scores;       // [48][96]
  float* maximum;      // [48][16]

  /// Of rows [r0, r1), over the panels of keys [begin, end), each half of the page for itself.
  ATTEND_NOINLINE void run(Index r0, Index r1, Index begin, Index end) const {
    constexpr Index kHalf = PageLayout::kKeys;
    for (Index half = begin / kHalf * kHalf; half < end; half += kHalf) {
      const Index first = begin > half ? begin / 16 * 16 : half,
                  last = end < half + kHalf ? end : half + kHalf;
      const Index panels = (last - first + 15) / 16, at = PageLayout{head_dim}.key(first, 0);
      const Block block{.a = query + r0 * query_stride,
                        .lda = query_stride,
                        .b = page + at,
                        .panel = 16,
                        .row = kHalf,
                        .depth = head_dim,
                        .c = scores + r0 * kKeyTile + first,
                        .ldc = kKeyTile,
                        .width = panels * 16,
                        .ahead = (r0 == 0 ? ahead : page) + at,
                        .maximum = maximum,
                        .first = half <= begin};
      sweep(block, r1 - r0, panels, false);
    }
  }
};

/// Scale, softcap and modifier on one row's panels, where they are not folded into the exponent.
ATTEND_NOINLINE void modify_scores(const Attention& t, Index b, Index h, Index q, Index first, Index keys,
                                   Index p0, Index p1, float* scores) {
  const vf scale = set1(t.scale), cap = set1(t.softcap);
  for (Index p = p0; p < p1; ++p) {
    vf s = mul(load(scores + p * 16), scale);
    if (t.softcap > 0) s = mul(cap, tanh(div(s, cap)));
    store(scores + p * 16, s);
    if (t.modifier.apply != nullptr)
      t.modifier.apply(t.modifier.object, scores + p * 16, b, h, q, first + p * 16, first + keys);
  }
}

/// Bits of the 16 keys from panel p on that a row sees.
ATTEND_INLINED unsigned visible_bits(const Attention& t, const Extent& e, Index b, Index h, Index q,
                                     Index first, Index keys, Index p) {
  const Index low = e.begin - p * 16, high = e.end - p * 16;
  unsigned bits = 0xffffu;
  if (high < 16) bits = high <= 0 ? 0 : (1u << high) - 1u;
  if (low > 0) bits = low >= 16 ? 0 : bits & ~((1u << low) - 1u);
  if (!e.full && bits != 0) bits &= t.mask.bits(t.mask.object, b, h, q, first + p * 16, first + keys);
  return bits;
}

/// The scores of a tile as the softmax takes them: -inf where a row doesn't see the key. Row r is valid, and
/// masked, in the panels of the keys it sees, which `maximum` [48] is the greatest of (-inf: it sees none).
ATTEND_NOINLINE void tile_scores(const Attention& t, const QueryRows& rows, const float* query,
                                 Index query_stride, const float* page, Index first, Index keys,
                                 const Sight& sight, float* scores, float* maximum) {
  alignas(64) float lanes[kQueryRows * 16];
  // Whole panels, nothing to do to a score: the maximum is taken while the scores are in registers.
  const bool plain = sight.all && t.folded && sight.begin % 16 == 0 && sight.end % 16 == 0;
  const float* ahead = page + (t.values_in_place ? 0 : t.page().value(0, 0));
  const KeyProducts products{query, query_stride, t.head_dim, page, ahead, scores, plain ? lanes : nullptr};
  if (sight.all) {
    products.run(0, rows.count(), sight.begin, sight.end);
  } else {
    for (Index r = 0; r < rows.count(); r += 8) {
      const Index end = r + 8 < rows.count() ? r + 8 : rows.count();
      const Extent e = span_of(sight, r, end);
      if (e.begin < e.end) products.run(r, end, e.begin, e.end);
    }
  }
  Index h = rows.head, q = rows.query;
  for (Index r = 0; !plain && r < rows.count(); ++r, ++q) {
    if (q == rows.query + rows.queries) ++h, q = rows.query;
    const Extent e = sight.all ? Extent{sight.begin, sight.end, true} : sight.row[r];
    const Index p0 = e.begin / 16, p1 = e.begin < e.end ? (e.end + 15) / 16 : p0;
    float* s = scores + r * kKeyTile;
    if (!t.folded) modify_scores(t, rows.batch, h, q, first, keys, p0, p1, s);
    vf best = set1(kNone);
    for (Index p = p0; p < p1; ++p) {
      vf v = load(s + p * 16);
      if (!e.full || e.begin > p * 16 || e.end < p * 16 + 16) {
        v = select(from_bits(visible_bits(t, e, rows.batch, h, q, first, keys, p)), v, set1(kNone));
        store(s + p * 16, v);
      }
      best = max_of(best, v);
    }
    store(lanes + r * 16, best);
  }
  for (Index r0 = 0; r0 < rows.count(); r0 += 16) {
    const vf greatest_of = reduce_rows(lanes + r0 * 16, rows.count() - r0, Maximum{});
    store(maximum + r0, greatest_of);
    if (!any(eq(greatest_of, set1(kNone)))) continue;
    // a maximum passes NaN by: a row that sees nothing but NaN is not empty
    for (Index r = r0; r < r0 + 16 && r < rows.count(); ++r) {
      const Extent e = sight.all ? Extent{sight.begin, sight.end, true} : sight.row[r];
      if (maximum[r] != kNone || e.begin >= e.end) continue;
      for (Index p = e.begin / 16; p * 16 < e.end; ++p)
        if (any(unordered(load(scores + r * kKeyTile + p * 16)))) maximum[r] = __builtin_nanf("");
    }
  }
}

/// Tile `tile` of key/value head `kv_head` as a page: see PageLayout. Values are padded with 0.
ATTEND_NOINLINE void pack_page(const Attention& t, Index b, Index kv_head, Index tile, float* page) {
  const Index first = tile * kKeyTile, left = t.key_count(b) - first;
  const Index keys = left < kKeyTile ? left : kKeyTile, D = t.head_dim;
  const PageLayout layout = t.page();
  const float* key = t.key.at(b, kv_head, t.key_begin(b) + first);
  for (Index p = 0; p * 16 < keys; ++p) {
    const float* from = key + p * 16 * t.key.token;
    float* to = page + layout.key(p * 16, 0);
    const int rows = static_cast<int>(keys - p * 16 < 16 ? keys - p * 16 : 16);
    if (keys > (p + 1) * 16)  // the rows of the next panel, far apart as they may lie
      for (Index j = 0; j < 16 && (p + 1) * 16 + j < keys; ++j)
        for (Index d = 0; d < D; d += 16) __builtin_prefetch(from + (16 + j) * t.key.token + d);
    Index d = 0;
    for (; d + 16 <= D; d += 16)
      transpose_16x16(from + d, t.key.token, rows, to + d * layout.kKeys, layout.kKeys);
    if (d < D) {
      alignas(64) float rest[256], columns[256];
      for (int j = 0; j < rows; ++j)
        store(rest + j * 16, load_part(from + j * t.key.token + d, static_cast<int>(D - d)));
      transpose_16x16(rest, 16, rows, columns, 16);
      for (Index i = 0; d < D; ++i, ++d) store(to + d * layout.kKeys, load(columns + i * 16));
    }
  }
  if (t.values_in_place) return;
  const float* value = t.value.at(b, kv_head, t.key_begin(b) + first);
  for (Index k = 0; k < keys; ++k, value += t.value.token)
    for (Index d = 0; d < t.value_dim; d += 16) {
      const Index n = t.value_dim - d;
      store(page + layout.value(k, d), load_block(value + d, static_cast<int>(n < 16 ? n : 16)));
    }
}

/// Queries in rows of one stride: as they lie where they are of one head, else gathered into scratch.
ATTEND_INLINED const float* gather_queries(const Attention& t, const QueryRows& rows, float* scratch,
                                           Index& stride) {
  const float* query = t.query.at(rows.batch, rows.head, t.query_begin(rows.batch) + rows.query);
  stride = rows.heads == 1 ? t.query.token : t.query.head;
  if (rows.heads == 1 || rows.queries == 1) return query;
  stride = t.head_dim;
  for (Index r = 0; r < rows.count(); ++r) {
    const float* from = query + r / rows.queries * t.query.head + r % rows.queries * t.query.token;
    for (Index d = 0; d < t.head_dim; ++d) scratch[r * t.head_dim + d] = from[d];
  }
  return scratch;
}

/// The page of a tile: of the cache, or packed into scratch; null where it is evicted.
ATTEND_INLINED const float* page_of(const Attention& t, const QueryRows& rows, Index tile, float* scratch) {
  if (t.pages != nullptr) {
    const float* page = t.pages[rows.batch][tile];
    return page == nullptr ? nullptr : page + rows.kv_head * t.page().floats();
  }
  float* page = scratch + kQueryRows * (kKeyTile + t.head_dim);
  pack_page(t, rows.batch, rows.kv_head, tile, page);
  return page;
}
