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

/// x * factor; + 0 makes -0 to +0: whether a masked 0 was added to a sum of -0 is not to be seen.
ATTEND_INLINED vf scaled(vf x, vf factor) { return add(mul(x, factor), set1(0.0f)); }

/// A row of the output as the caller gets it.
ATTEND_INLINED void write_row(const float* output, vf factor, float* out, Index width) {
  for (Index d = 0; d < width; d += 16)
    store_block(out + d, scaled(load(output + d), factor), static_cast<int>(width - d < 16 ? width - d : 16));
}

/// output[r] = output[r] * alpha[r] + weights[r] · values over keys [begin, end), for the panels of the
/// output.
struct ValuesOp {
  const float* weights;  // [48][96]
  Values values;
  float* output;  // [48][stride]
  Index stride;
  const float* alpha;  // [48], or null: the output starts from 0
  Index begin, end;
  const float* ahead;  // wanted next, as much as the values
  const float* factor =
      nullptr;  // [48], or null: `output` is the caller's, of `width` columns, and gets the products
  Index width = 0;

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
    const Index at = values.at(begin, p);
    accumulate(sums, weights + r * kKeyTile + begin, kKeyTile, values.data + at, 16, values.row(p),
               end - begin, (r == 0 ? ahead : values.data) + at);
    if (factor != nullptr) {
      const Index left = width - (p + NV - 1) * 16;
      const int tail = static_cast<int>(left < 16 ? left : 16);
      ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
        const vf f = set1(factor[r + i]);
        ATTEND_UNROLL for (int j = 0; j < NV - 1; ++j)
            store(o + i * stride + j * 16, scaled(sums.at[i][j], f));
        store_block(o + i * stride + (NV - 1) * 16, scaled(sums.at[i][NV - 1], f), tail);
      }
      return;
    }
    ATTEND_UNROLL for (int i = 0; i < MR; ++i) {
      ATTEND_UNROLL for (int j = 0; j < NV; ++j) store(o + i * stride + j * 16, sums.at[i][j]);
    }
  }
};

/// Blocks of output: 4 panels (a group of a page), or what is left of them.
ATTEND_INLINED void sweep_values(const ValuesOp& op, Index r0, Index r1, Index panels) {
  Index p = 0;
  constexpr int kWide = ATTEND_SIMD >= 256 ? PageLayout::kValues / 16 : 2;
  if (ATTEND_SIMD == 512 || r1 - r0 <= kRows<kWide>)
    for (; p + kWide <= panels; p += kWide) sweep_rows<kWide>(op, r0, r1, p);
  if constexpr (kPanels == 3) {
    if (p + 3 == panels) sweep_rows<3>(op, r0, r1, p), p += 3;
    for (; p + 2 <= panels; p += 2) sweep_rows<2>(op, r0, r1, p);
  }
  for (; p < panels; ++p) sweep_rows<1>(op, r0, r1, p);
}

/// Whether the values of keys [begin, end) are finite: then a weight of 0 keeps them out of a sum.
ATTEND_NOINLINE bool finite(const Values& values, Index begin, Index end, Index panels) {
  vf sum = set1(0.0f);
  for (Index k = begin; k < end; ++k)
    for (Index p = 0; p < panels; ++p) sum = fma(load(values.data + values.at(k, p)), set1(0.0f), sum);
  return !any(unordered(sum));
}

/// The output of a tile where not every row sees every key of [sight.begin, sight.end).
ATTEND_NOINLINE void masked_values(const Attention& t, const QueryRows& rows, ValuesOp op, Index first,
                                   Index keys, const Sight& sight, AttentionState state) {
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
    op.begin = e.begin;
    op.end = e.end;
    if (finite(op.values, e.begin, inner_begin, panels) && finite(op.values, inner_end, e.end, panels)) {
      sweep_values(op, r0, r1, panels);
      continue;
    }
    for (Index r = r0; r < r1; ++r) {  // 0 · NaN is NaN: add just what the row sees
      const Index h = rows.head + r / rows.queries, q = rows.query + r % rows.queries;
      const float one = 1.0f;
      ValuesOp single = op;
      single.output = state.output, single.stride = t.value_stride(), single.factor = nullptr;
      single.begin = single.end = 0;
      sweep_values(single, r, r + 1, panels);
      single.alpha = &one - r;
      for (Index k = e.begin; k < e.end; ++k) {
        const unsigned bits = visible_bits(t, sight.row[r], rows.batch, h, q, first, keys, k / 16);
        single.begin = k;
        single.end = k + 1;
        if ((bits >> (k % 16) & 1u) != 0) sweep_values(single, r, r + 1, panels);
      }
      if (op.factor != nullptr)
        write_row(single.output + r * single.stride, set1(op.factor[r]), op.output + r * op.stride, op.width);
    }
  }
}
