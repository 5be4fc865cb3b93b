// The second product of attention: weights of a tile times its values.

/// The values of a tile: of a page, or as they lie.
struct Values {
  const float* data;
  PageLayout page;
  Index token;  // from a token to the next as they lie, or 0: of a page
  Index row(Index p) const { return token != 0 ? token : page.value_row(p * 16); }
  Index at(Index k, Index p) const {  // from the first value
    return token != 0 ? k * token + p * 16 : page.value(k, p * 16) - page.value(0, 0);
  }
};

/// A row of the output as the caller gets it.
ATTEND_INLINED void write_row(const float* output, vf factor, float* out, Index width) {
  for (Index d = 0; d < width; d += 16)
    store_block(out + d, scaled(load(output + d), factor), static_cast<int>(width - d < 16 ? width - d : 16));
}

/// output[r] = output[r] * alpha[r] + weights[r] · values.
struct ValueProducts {
  const float* weights;  // [48][96]
  Values values;
  const float* ahead;             // wanted next, as much as the values
  float* output;                  // [48][stride]
  Index stride, width;            // width: columns
  bool resumes = false;           // the output goes on, each row times
  const float* alpha = nullptr;   // [48], or null: 1
  const float* factor = nullptr;  // [48], or null: `output` is the caller's, and gets the products

  /// Of rows [r0, r1), over keys [begin, end), the columns of a group of the page at a time.
  ATTEND_NOINLINE void run(Index r0, Index r1, Index begin, Index end) const {
    const Index rows = r1 - r0;
    for (Index column = 0; column < width; column += PageLayout::kValues) {
      const Index p = column / 16, at = values.at(begin, p);
      const Index panels = (width - column + 15) / 16, most = PageLayout::kValues / 16;
      const Block block{.a = weights + r0 * kKeyTile + begin,
                        .lda = kKeyTile,
                        .b = values.data + at,
                        .panel = 16,
                        .row = values.row(p),
                        .depth = end - begin,
                        .c = output + r0 * stride + column,
                        .ldc = stride,
                        .width = width - column,
                        .resumes = resumes,
                        .alpha = alpha == nullptr ? nullptr : alpha + r0,
                        .ahead = (r0 == 0 ? ahead : values.data) + at,
                        .factor = factor == nullptr ? nullptr : factor + r0};
      sweep(block, rows, panels < most ? panels : most, ATTEND_SIMD == 512 || rows <= kRows<kMostPanels>);
    }
  }
};

/// Whether the values of keys [begin, end) are finite: then a weight of 0 keeps them out of a sum.
ATTEND_NOINLINE bool finite(const Values& values, Index begin, Index end, Index panels) {
  vf sum = set1(0.0f);
  for (Index k = begin; k < end; ++k)
    for (Index p = 0; p < panels; ++p) sum = fma(load(values.data + values.at(k, p)), set1(0.0f), sum);
  return !any(unordered(sum));
}

/// The output of a tile where not every row sees every key of [sight.begin, sight.end).
ATTEND_NOINLINE void masked_values(const Attention& t, const QueryRows& rows, const ValueProducts& products,
                                   Index first, Index keys, const Sight& sight, AttentionState state) {
  const Index panels = t.value_stride() / 16;
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
    if (finite(products.values, e.begin, inner_begin, panels) &&
        finite(products.values, inner_end, e.end, panels)) {
      products.run(r0, r1, e.begin, e.end);
      continue;
    }
    for (Index r = r0; r < r1; ++r) {  // 0 · NaN is NaN: add just what the row sees
      const Index h = rows.head + r / rows.queries, q = rows.query + r % rows.queries;
      ValueProducts single = products;
      single.output = state.output, single.stride = single.width = t.value_stride(), single.factor = nullptr;
      single.run(r, r + 1, e.begin, e.begin);
      single.resumes = true, single.alpha = nullptr;
      for (Index k = e.begin; k < e.end; ++k) {
        const unsigned bits = visible_bits(t, sight.row[r], rows.batch, h, q, first, keys, k / 16);
        if ((bits >> (k % 16) & 1u) != 0) single.run(r, r + 1, k, k + 1);
      }
      if (products.factor != nullptr)
        write_row(single.output + r * single.stride, set1(products.factor[r]),
                  products.output + r * products.stride, products.width);
    }
  }
}
