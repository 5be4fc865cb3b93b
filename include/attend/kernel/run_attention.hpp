// A call of attention on the kernels: its split into blocks of rows, and packing.
//
//   MultiHeadAttention, ScaledDotProductAttention    shapes, overlap, options joined: whatever can be refused
//     detail::AttentionCall                          options and outputs bound to the sizes of the call
//     detail::Backend<float>                         as raw pointers and strides: kernel::Attention
//       run_attention                                the plan: blocks of rows × heads, spans of keys, threads
//         AttentionKernels::pack_page                keys and values into tiles, for several blocks of rows
//         AttentionKernels::span, merge, finish      the rows of a block: attention.inl
//     detail::Backend<double>, …                     GenericAttention: the same tiles for any scalar
#pragma once

#include <algorithm>
#include <limits>

#include <attend/core/context.hpp>
#include <attend/kernel/dispatch.hpp>

#if ATTEND_HAS_KERNELS
namespace attend::inline ATTEND_ABI::kernel {

/// Runs a float call whose operands are set in `t`. Work is split over (batch, key/value head, rows), for few
/// rows and many keys also over spans; never over a sum. `weights`, where its data is not null, takes the
/// attention weights; `look` the rows that it wants.
inline void run_attention(Context& context, Attention t, Index batch, Heads<float> weights = {},
                          const RowsFunctions& look = {}) {
  const AttentionKernels& kernels = entry<&Kernels::attention>();
  const Index group = t.heads / t.kv_heads, tiles = (t.keys + kKeyTile - 1) / kKeyTile;
  const Index spans = std::max<Index>(1, (tiles + kSpanTiles - 1) / kSpanTiles);
  // A block of rows: 48 queries of a head, or where queries are few, those of several heads of a group.
  const Index block_queries = (std::min)(t.queries, kQueryRows);
  const Index block_heads =
      t.queries >= kQueryRows ? 1 : (std::min)(group, kQueryRows / std::max<Index>(1, t.queries));
  const Index query_blocks = (t.queries + kQueryRows - 1) / kQueryRows;
  const Index head_blocks = (group + block_heads - 1) / block_heads, blocks = query_blocks * head_blocks;
  if (batch == 0 || t.heads == 0 || blocks == 0) return;
  const double operations = 4.0 * static_cast<double>(batch * t.heads) * static_cast<double>(t.queries) *
                            static_cast<double>(t.keys) * static_cast<double>(t.head_dim + t.value_dim) / 2;
  const bool cached = t.pages != nullptr;
  t.values_in_place = !cached && t.value_dim % 16 == 0 && (blocks == 1 || t.keys <= 512);

  const Index state_floats = AttentionState::floats(t.value_stride());
  const bool by_span =
      spans > 1 && context.threads() > 1 && batch * t.kv_heads * blocks < 2 * context.threads();
  // By span the output is written by the pass that joins the states, so each span has to leave one.
  t.output_alone = !by_span && t.sinks == nullptr && t.log_sum_exp == nullptr && weights.data == nullptr &&
                   look.object == nullptr;
  // Where the order of a head's rows counts, one worker takes all its blocks.
  const bool in_order = look.in_order;
  const Index parts = in_order ? 1 : blocks;
  const int workers = context.workers(batch * t.kv_heads * parts * (by_span ? spans : 1), operations);
  Frame frame(context.workspace());
  const Index looked_floats = look.object != nullptr ? kQueryRows * t.keys : 0;
  const Index scratch_floats = attention_scratch_floats(t) + 2 * state_floats + looked_floats;
  float* scratch = frame.take<float>(workers * scratch_floats);

  const auto rows_of_block = [&](Index b, Index kv_head, Index block) {
    const Index g = block / query_blocks * block_heads, q = block % query_blocks * kQueryRows;
    return QueryRows{b,
                     kv_head,
                     kv_head * group + g,
                     (std::min)(block_heads, group - g),
                     q,
                     (std::min)(block_queries, t.query_count(b) - q)};
  };
  const bool nothing_else =
      look.object != nullptr && t.value_dim == 0 && t.log_sum_exp == nullptr && weights.data == nullptr;
  const auto looked_at = [&](const QueryRows& rows) {
    bool wanted = false;
    for (Index h = 0; look.object != nullptr && h < rows.heads; ++h)
      wanted =
          wanted || look.wants(look.object, rows.batch, rows.head + h, rows.query, rows.query + rows.queries);
    return wanted;
  };
  const auto finish = [&](const QueryRows& rows, AttentionState total, bool seen, float* memory) {
    if (!seen) std::fill_n(total.maximum, kQueryRows, -std::numeric_limits<float>::infinity());
    kernels.finish(t, rows, total);
    if (weights.data != nullptr) kernels.weights(t, rows, &total, weights, memory);
    if (!looked_at(rows)) return;
    float* looked = memory + attention_scratch_floats(t);  // [heads][queries][keys]
    const Index head_floats = rows.queries * t.keys;
    kernels.weights(t, rows, &total,
                    {looked - rows.head * head_floats - rows.query * t.keys, 0, head_floats, t.keys}, memory);
    for (Index h = 0; h < rows.heads; ++h)
      for (Index q = 0; q < rows.queries; ++q)
        look.take(look.object, rows.batch, rows.head + h, rows.query + q,
                  looked + h * head_floats + q * t.keys);
  };
  const auto attend_block = [&](Index b, Index kv_head, Index block, int worker) {
    const QueryRows rows = rows_of_block(b, kv_head, block);
    if (rows.queries <= 0 || (nothing_else && !looked_at(rows))) return;
    float* memory = scratch + worker * scratch_floats + 2 * state_floats;
    const auto total = AttentionState::at(scratch + worker * scratch_floats);
    const auto next = AttentionState::at(scratch + worker * scratch_floats + state_floats);
    bool seen = false;
    for (Index span = 0; span < spans; ++span) {
      if (context.stopping()) return;
      const SpanResult result = kernels.span(t, rows, span, seen ? next : total, memory);
      if (result == SpanResult::finished) return;
      if (result == SpanResult::nothing) continue;
      if (seen) kernels.merge(t, rows, total, next);
      seen = true;
    }
    finish(rows, total, seen, memory);
  };
  /// One of a head's blocks, the last first (causal: the longest rows), or all of them in order.
  const auto attend_part = [&](Index b, Index kv_head, Index part, int worker) {
    if (!in_order) return attend_block(b, kv_head, blocks - 1 - part, worker);
    for (Index block = 0; block < blocks; ++block) attend_block(b, kv_head, block, worker);
  };

  if (by_span) {
    const Index units = batch * t.kv_heads * blocks;
    float* states = frame.take<float>(units * spans * state_floats);
    bool* seen = frame.take<bool>(units * spans);
    context.parallel(units * spans, workers, [&](Index item, int worker) {
      const Index unit = item / spans, block = unit % blocks, head = unit / blocks;
      const QueryRows rows = rows_of_block(head / t.kv_heads, head % t.kv_heads, block);
      float* memory = scratch + worker * scratch_floats + 2 * state_floats;
      seen[item] = rows.queries > 0 &&
                   kernels.span(t, rows, item % spans, AttentionState::at(states + item * state_floats),
                                memory) == SpanResult::state;
    });
    const auto join = [&](Index unit, int worker) {
      const QueryRows rows =
          rows_of_block(unit / blocks / t.kv_heads, unit / blocks % t.kv_heads, unit % blocks);
      if (rows.queries <= 0) return;
      Index first = unit * spans;
      const Index end = first + spans;
      while (first + 1 < end && !seen[first]) ++first;
      const auto total = AttentionState::at(states + first * state_floats);
      for (Index i = first + 1; i < end; ++i)
        if (seen[i]) kernels.merge(t, rows, total, AttentionState::at(states + i * state_floats));
      finish(rows, total, seen[first], scratch + worker * scratch_floats + 2 * state_floats);
    };
    context.parallel(batch * t.kv_heads * parts, workers, [&](Index item, int worker) {
      for (Index unit = item * (blocks / parts); unit < (item + 1) * (blocks / parts); ++unit)
        join(unit, worker);
    });
    return;
  }
  const bool one_key =
      t.keys == 1 && blocks == 1 && t.folded && t.output_alone && t.weight_modifier.apply == nullptr;
  if (cached || blocks == 1) {
    context.parallel(batch * t.kv_heads * parts, workers, [&](Index item, int worker) {
      const Index head = item / parts;
      if (one_key && kernels.one_key(t, head / t.kv_heads, head % t.kv_heads)) return;
      attend_part(head / t.kv_heads, head % t.kv_heads, item % parts, worker);
    });
    return;
  }
  // Pack keys (and values) once for all blocks of rows, for as many heads at a time as a cache holds: a few
  // heads of one batch, or several whole batches.
  const Index tile_floats = t.page().floats(), head_bytes = std::max<Index>(1, tiles * tile_floats * 4);
  const Index budget = std::max<Index>(context.threads(), context.threads() * (512 << 10) / head_bytes);
  const Index head_step = (std::min)(budget, t.kv_heads);
  const Index batch_step = (std::min)(batch, std::max<Index>(1, budget / t.kv_heads));
  float* packed = frame.take<float>(batch_step * tiles * head_step * tile_floats);
  const float** pages = frame.take<const float*>(batch_step * tiles);
  const float* const** page_tables = frame.take<const float* const*>(batch);
  for (Index b0 = 0; b0 < batch; b0 += batch_step)
    for (Index g0 = 0; g0 < t.kv_heads; g0 += head_step) {
      const Index batches = (std::min)(batch_step, batch - b0),
                  heads = (std::min)(head_step, t.kv_heads - g0);
      context.parallel(batches * heads * tiles, workers, [&](Index item, int) {
        const Index tile = item % tiles, g = item / tiles % heads, i = item / tiles / heads;
        if (tile * kKeyTile < t.key_count(b0 + i))
          kernels.pack_page(t, b0 + i, g0 + g, tile,
                            packed + ((i * tiles + tile) * head_step + g) * tile_floats);
      });
      context.parallel(1, 1, [&](Index, int) {
        for (Index i = 0; i < batches; ++i) {
          for (Index tile = 0; tile < tiles; ++tile)
            pages[i * tiles + tile] =
                packed + (i * tiles + tile) * head_step * tile_floats - g0 * tile_floats;
          page_tables[b0 + i] = pages + i * tiles;
        }
      });
      t.pages = page_tables;
      context.parallel(batches * heads * parts, workers, [&](Index item, int worker) {
        const Index head = item / parts;
        attend_part(b0 + head / heads, g0 + head % heads, item % parts, worker);
      });
      t.pages = nullptr;
    }
}

/// The scores of a call, -inf where masked, into out.
inline void run_scores(Context& context, const Attention& t, Index batch, Heads<float> out) {
  const Index blocks = (t.queries + kQueryRows - 1) / kQueryRows,
              scratch_floats = attention_scratch_floats(t);
  const int workers = context.workers(batch * t.heads * blocks, 1e9);
  Frame frame(context.workspace());
  float* scratch = frame.take<float>(workers * scratch_floats);
  context.parallel(batch * t.heads * blocks, workers, [&](Index item, int worker) {
    const Index q = item % blocks * kQueryRows, h = item / blocks % t.heads, b = item / blocks / t.heads;
    entry<&Kernels::attention>().weights(
        t, {b, h / (t.heads / t.kv_heads), h, 1, q, (std::min)(kQueryRows, t.queries - q)}, nullptr, out,
        scratch + worker * scratch_floats);
  });
}

}  // namespace attend::inline ATTEND_ABI::kernel
#endif
