// softmax(Q Kᵀ · scale) V, streaming over key tiles: memory O(T), never T × T, unless the weights are asked for.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

#include <attend/core/context.hpp>
#include <attend/core/flags.hpp>
#include <attend/core/tiling.hpp>
#include <attend/kernel/dispatch.hpp>
#include <attend/linear.hpp>
#include <attend/mask.hpp>
#include <attend/tensor.hpp>

namespace attend {

/// Options of one attention call, and what it may give beside its output. Order of operations on a score:
/// scale, softcap, modifier, bias, mask (onnx.ai Attention-24, PyTorch's scaled_dot_product_attention).
template <class Scalar>
struct AttentionOptions {
  Mask mask = {};
  std::optional<double> scale = {};          // 1 / sqrt(D) where not given
  double softcap = 0;                        // softcap * tanh(score / softcap) where above 0
  ScoreModifier<Scalar> modifier = {};
  /// Added to the scores; a size of 1 broadcasts. -inf masks; keys behind its end are masked.
  TensorView<const Scalar, 4> bias = {};     // [B, H, Tq, Tk]
  std::span<const Scalar> sinks = {};        // [H]: a further score in each row's sum, of a key without value
  std::span<const Index> key_lengths = {};   // [B]: only the first so many keys of each batch exist
  TensorView<Scalar, 3> log_sum_exp = {};    // [B, H, Tq] -> log of the sum of exp(score); -inf if nothing is seen
  TensorView<Scalar, 4> weights = {};        // [B, H, Tq, Tk] -> the attention weights
  TensorView<Scalar, 3> average_weights = {};  // [B, Tq, Tk] -> their average over the heads (MultiHeadAttention)
};

/// Heads as a view: [B, T, H * D] seen as [B, H, T, D].
template <class T>
TensorView<T, 4> heads(const TensorView<T, 3>& x, Index num_heads) {
  if (num_heads < 1 || x.size(2) % num_heads != 0)
    fail_shape("heads", "[..., a multiple of " + std::to_string(num_heads) + " heads]", x.shape());
  const Index dim = x.size(2) / num_heads;
  return {x.data(), {x.size(0), num_heads, x.size(1), dim}, {x.stride(0), dim * x.stride(2), x.stride(1), x.stride(2)}};
}

namespace detail {

template <class Scalar>
TensorView<const Scalar, 4> broadcast_bias(const AttentionOptions<Scalar>& options, const AttentionSizes& sizes) {
  TensorView<const Scalar, 4> bias = options.bias;
  if (bias.data() == nullptr) return bias;
  const Shape<4> full{sizes.batch, sizes.heads, sizes.queries, sizes.keys};
  Shape<4> strides = bias.strides();
  for (std::size_t i = 0; i < 4; ++i) {
    const Index n = bias.shape()[i];
    if (n != 1 && (i == 3 ? n > full[i] : n != full[i]))
      fail_shape("scaled_dot_product_attention (bias)", "a shape that broadcasts to " + to_string(full), bias.shape());
    if (n == 1 && full[i] != 1) strides[i] = 0;
  }
  Shape<4> shape = full;
  if (bias.size(3) != 1) shape[3] = bias.size(3);
  return {bias.data(), shape, strides};
}

/// The caller's mask, and of an additive bias its -inf and what lies behind its end.
template <class Scalar>
struct MaskAndBias : masks::Expression {
  const Mask* mask = nullptr;
  TensorView<const Scalar, 4> bias;

  bool operator()(Index b, Index h, Index q, Index k) const {
    return k < bias.size(3) && bias(b, h, q, k) != -std::numeric_limits<Scalar>::infinity() && (*mask)(b, h, q, k);
  }
  Extent row(Index b, Index h, Index q, Index k0, Index k1) const { return inexact(mask->row(b, h, q, k0, k1)); }
  Extent block(Index b, Index h, Index q0, Index q1, Index k0, Index k1) const {
    return inexact(mask->block(b, h, q0, q1, k0, k1));
  }

 private:
  static Extent inexact(Extent e) {
    e.full = e.full && e.begin >= e.end;
    return e;
  }
};

/// The caller's modifier, then the bias.
template <class Scalar>
struct ModifierAndBias {
  const ScoreModifier<Scalar>* modifier = nullptr;
  TensorView<const Scalar, 4> bias;

  void operator()(Scalar* scores, Index b, Index h, Index q, Index k0, Index keys) const {
    (*modifier)(scores, b, h, q, k0, keys);
    if (bias.data() != nullptr)
      for (Index j = 0; j < 16 && k0 + j < std::min(keys, bias.size(3)); ++j) scores[j] = scores[j] + bias(b, h, q, k0 + j);
  }
};

/// A checked call: options bound to its sizes. Lives on the stack while the call runs.
template <class Scalar>
struct AttentionCall {
  AttentionSizes sizes;
  Index kv_heads = 0;
  double scale = 1;
  Mask mask;      // the caller's
  Mask with_bias; // that, with the bias
  ModifierAndBias<Scalar> modifier;
  bool folded = true;  // nothing but masks touches the products, and the scale is a usable factor of an exponent

  AttentionCall(const AttentionOptions<Scalar>& options, const AttentionSizes& s, Index kv, Index head_dim)
      : sizes(s), kv_heads(kv), mask(options.mask) {
    if (kv < 1 || s.heads % kv != 0)
      fail("scaled_dot_product_attention: " + std::to_string(s.heads) + " query heads are not a multiple of " +
           std::to_string(kv) + " key/value heads");
    if (!options.sinks.empty() && static_cast<Index>(options.sinks.size()) != s.heads)
      fail_shape("scaled_dot_product_attention (sinks)", to_string(Shape<1>{s.heads}),
                 Shape<1>{static_cast<Index>(options.sinks.size())});
    if (!options.key_lengths.empty()) {
      if (static_cast<Index>(options.key_lengths.size()) != s.batch)
        fail_shape("scaled_dot_product_attention (key_lengths)", to_string(Shape<1>{s.batch}),
                   Shape<1>{static_cast<Index>(options.key_lengths.size())});
      for (Index n : options.key_lengths)
        if (n < 0 || n > s.keys)
          fail("scaled_dot_product_attention: a key length of " + std::to_string(n) + " with " + std::to_string(s.keys) +
               " keys");
      sizes.key_counts = options.key_lengths.data();
    }
    if (options.softcap < 0) fail("scaled_dot_product_attention: softcap is " + std::to_string(options.softcap));
    if (options.log_sum_exp.data() != nullptr)
      check_shape("scaled_dot_product_attention (log_sum_exp)", Shape<3>{s.batch, s.heads, s.queries},
                  options.log_sum_exp.shape());
    if (options.weights.data() != nullptr)
      check_shape("scaled_dot_product_attention (weights)", Shape<4>{s.batch, s.heads, s.queries, s.keys},
                  options.weights.shape());
    scale = options.scale.has_value() ? *options.scale
                                      : (head_dim > 0 ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1);
    mask.bind(sizes);
    modifier = {&options.modifier, broadcast_bias(options, s)};
    with_bias = mask;
    if (modifier.bias.data() != nullptr) {
      MaskAndBias<Scalar> both;
      both.mask = &mask;
      both.bias = modifier.bias;
      with_bias = both;
    }
    folded = scale > 1e-30 && !(options.softcap > 0) && !options.modifier && modifier.bias.data() == nullptr;
  }
  AttentionCall(const AttentionCall&) = delete;
  AttentionCall& operator=(const AttentionCall&) = delete;
};

#if ATTEND_HAS_KERNELS
/// A float call as the kernels take it, operands still to be set. Refers to `call` and `options`.
inline kernel::Attention kernel_call(const AttentionCall<float>& call, const AttentionOptions<float>& options) {
  constexpr double kLog2E = 1.4426950408889634074;
  kernel::Attention t;
  t.heads = call.sizes.heads, t.kv_heads = call.kv_heads;
  t.queries = call.sizes.queries, t.keys = call.sizes.keys;
  t.query_offsets = call.sizes.query_offsets, t.key_offsets = call.sizes.key_offsets;
  t.key_counts = call.sizes.key_counts;
  t.scale = static_cast<float>(call.scale);
  t.folded = call.folded;
  t.exponent = static_cast<float>(call.folded ? static_cast<double>(t.scale) * kLog2E : kLog2E);
  t.softcap = static_cast<float>(options.softcap);
  t.mask = call.with_bias.functions();
  if (*call.modifier.modifier || call.modifier.bias.data() != nullptr)
    t.modifier = {&call.modifier, [](const void* object, float* scores, Index b, Index h, Index q, Index k0, Index keys) {
                    (*static_cast<const ModifierAndBias<float>*>(object))(scores, b, h, q, k0, keys);
                  }};
  t.sinks = options.sinks.empty() ? nullptr : options.sinks.data();
  t.log_sum_exp = options.log_sum_exp.data();
  if (options.log_sum_exp.data() != nullptr && !options.log_sum_exp.is_contiguous())
    fail("scaled_dot_product_attention: log_sum_exp must be contiguous");
  t.weights = options.weights.data();
  if (t.weights != nullptr) {
    if (options.weights.size(3) > 1 && options.weights.stride(3) != 1)
      fail("scaled_dot_product_attention: the last axis of the weights must be contiguous");
    t.weights_batch = options.weights.stride(0), t.weights_head = options.weights.stride(1);
    t.weights_query = options.weights.stride(2);
  }
  return t;
}

/// Runs a float call whose operands are set in `t`. Work is split over (batch, key/value head, rows), for few rows
/// and many keys also over spans; never over a sum.
inline void run_attention(Context& context, kernel::Attention t, Index batch) {
  const kernel::Kernels& kernels = kernel::kernels();
  const Index group = t.heads / t.kv_heads, tiles = (t.keys + kKeyTile - 1) / kKeyTile;
  const Index spans = std::max<Index>(1, (tiles + kSpanTiles - 1) / kSpanTiles);
  // A block of rows: 48 queries of a head, or where queries are few, those of several heads of a group.
  const Index block_queries = std::min(t.queries, kernel::kQueryRows);
  const Index block_heads =
      t.queries >= kernel::kQueryRows ? 1 : std::min(group, kernel::kQueryRows / std::max<Index>(1, t.queries));
  const Index query_blocks = (t.queries + kernel::kQueryRows - 1) / kernel::kQueryRows;
  const Index head_blocks = (group + block_heads - 1) / block_heads, blocks = query_blocks * head_blocks;
  if (batch == 0 || t.heads == 0 || blocks == 0) return;
  const double operations = 4.0 * static_cast<double>(batch * t.heads) * static_cast<double>(t.queries) *
                            static_cast<double>(t.keys) * static_cast<double>(t.head_dim + t.value_dim) / 2;
  const bool cached = t.pages != nullptr;
  t.values_in_place = !cached && t.value_dim % 16 == 0 && (blocks == 1 || t.keys <= 512);

  const Index state_floats = kernel::AttentionState::floats(t.value_stride());
  const bool by_span = spans > 1 && context.threads() > 1 && batch * t.kv_heads * blocks < 2 * context.threads();
  const int workers = context.workers(batch * t.kv_heads * blocks * (by_span ? spans : 1), operations);
  Frame frame(context.workspace());
  const Index scratch_floats = kernel::attention_scratch_floats(t) + 2 * state_floats;
  float* scratch = frame.take<float>(workers * scratch_floats);

  const auto rows_of_block = [&](Index b, Index kv_head, Index block) {
    const Index g = block / query_blocks * block_heads, q = block % query_blocks * kernel::kQueryRows;
    return kernel::QueryRows{b, kv_head * group + g, std::min(block_heads, group - g), q,
                             std::min(block_queries, t.query_count(b) - q)};
  };
  const auto finish = [&](const kernel::QueryRows& rows, kernel::AttentionState total, bool seen, float* memory) {
    if (!seen) std::fill_n(total.maximum, kernel::kQueryRows, -std::numeric_limits<float>::infinity());
    kernels.attention_finish(t, rows, total);
    if (t.weights != nullptr) kernels.attention_weights(t, rows, total, memory);
  };
  const auto attend_block = [&](Index b, Index kv_head, Index block, int worker) {
    const kernel::QueryRows rows = rows_of_block(b, kv_head, block);
    if (rows.queries <= 0) return;
    float* memory = scratch + worker * scratch_floats + 2 * state_floats;
    const auto total = kernel::AttentionState::at(scratch + worker * scratch_floats);
    const auto next = kernel::AttentionState::at(scratch + worker * scratch_floats + state_floats);
    bool seen = false;
    for (Index span = 0; span < spans; ++span) {
      if (!seen)
        seen = kernels.attention_span(t, rows, span, total, memory);
      else if (kernels.attention_span(t, rows, span, next, memory))
        kernels.attention_merge(t, rows, total, next);
    }
    finish(rows, total, seen, memory);
  };

  if (by_span) {
    const Index units = batch * t.kv_heads * blocks;
    float* states = frame.take<float>(units * spans * state_floats);
    bool* seen = frame.take<bool>(units * spans);
    context.parallel(units * spans, workers, [&](Index item, int worker) {
      const Index unit = item / spans, block = unit % blocks, head = unit / blocks;
      const kernel::QueryRows rows = rows_of_block(head / t.kv_heads, head % t.kv_heads, block);
      float* memory = scratch + worker * scratch_floats + 2 * state_floats;
      seen[item] = rows.queries > 0 &&
                   kernels.attention_span(t, rows, item % spans, kernel::AttentionState::at(states + item * state_floats), memory);
    });
    context.parallel(units, workers, [&](Index unit, int worker) {
      const kernel::QueryRows rows = rows_of_block(unit / blocks / t.kv_heads, unit / blocks % t.kv_heads, unit % blocks);
      if (rows.queries <= 0) return;
      Index first = unit * spans;
      const Index end = first + spans;
      while (first + 1 < end && !seen[first]) ++first;
      const auto total = kernel::AttentionState::at(states + first * state_floats);
      for (Index i = first + 1; i < end; ++i)
        if (seen[i]) kernels.attention_merge(t, rows, total, kernel::AttentionState::at(states + i * state_floats));
      finish(rows, total, seen[first], scratch + worker * scratch_floats + 2 * state_floats);
    });
    return;
  }
  if (cached || blocks == 1) {
    context.parallel(batch * t.kv_heads * blocks, workers, [&](Index item, int worker) {
      const Index head = item / blocks;
      attend_block(head / t.kv_heads, head % t.kv_heads, item % blocks, worker);
    });
    return;
  }
  // Pack keys (and values) once for all blocks of rows, for as many heads at a time as a cache holds: a few heads
  // of one batch, or several whole batches.
  const Index tile_floats = t.page_floats(), head_bytes = std::max<Index>(1, tiles * tile_floats * 4);
  const Index budget = std::max<Index>(context.threads(), context.threads() * (512 << 10) / head_bytes);
  const Index head_step = std::min(budget, t.kv_heads);
  const Index batch_step = std::min(batch, std::max<Index>(1, budget / t.kv_heads));
  float* packed = frame.take<float>(batch_step * tiles * head_step * tile_floats);
  const float** pages = frame.take<const float*>(batch_step * tiles);
  const float* const** tables = frame.take<const float* const*>(batch);
  for (Index b0 = 0; b0 < batch; b0 += batch_step)
    for (Index g0 = 0; g0 < t.kv_heads; g0 += head_step) {
      const Index batches = std::min(batch_step, batch - b0), heads = std::min(head_step, t.kv_heads - g0);
      context.parallel(batches * heads * tiles, workers, [&](Index item, int) {
        const Index tile = item % tiles, g = item / tiles % heads, i = item / tiles / heads;
        if (tile * kKeyTile < t.key_count(b0 + i))
          kernels.pack_page(t, b0 + i, g0 + g, tile, packed + ((i * tiles + tile) * head_step + g) * tile_floats);
      });
      context.parallel(1, 1, [&](Index, int) {
        for (Index i = 0; i < batches; ++i) {
          for (Index tile = 0; tile < tiles; ++tile)
            pages[i * tiles + tile] = packed + (i * tiles + tile) * head_step * tile_floats - g0 * tile_floats;
          tables[b0 + i] = pages + i * tiles;
        }
      });
      t.pages = tables;
      context.parallel(batches * heads * blocks, workers, [&](Index item, int worker) {
        const Index block = blocks - 1 - item % blocks, head = item / blocks;  // causal: the longest rows first
        attend_block(b0 + head / heads, g0 + head % heads, block, worker);
      });
      t.pages = nullptr;
    }
}
#endif

ATTEND_FLAGS_BEGIN
/// Rows [q0, q1) of a head for any scalar, by Eigen's products: the same streaming, tile by tile.
template <class Scalar>
void attend_rows(const AttentionCall<Scalar>& call, const AttentionOptions<Scalar>& options,
                 const TensorView<const Scalar, 4>& query, const TensorView<const Scalar, 4>& key,
                 const TensorView<const Scalar, 4>& value, const TensorView<Scalar, 4>& out, Index b, Index h, Index q0,
                 Index q1) {
  using std::exp, std::log, std::tanh, std::isfinite;
  using Matrix = RowMajorMatrix<Scalar>;
  const Index rows = q1 - q0, g = h / (call.sizes.heads / call.kv_heads), keys = call.sizes.key_count(b);
  const Scalar none = -std::numeric_limits<Scalar>::infinity();
  const auto queries = query.matrix(b, h).middleRows(q0, rows);
  Matrix output = Matrix::Zero(rows, value.size(3));
  std::vector<Scalar> maximum(static_cast<std::size_t>(rows), none), sum(static_cast<std::size_t>(rows), Scalar(0));
  std::vector<bool> visible(static_cast<std::size_t>(kKeyTile));

  // scores of a tile, -inf where masked; row_visible(r) says which keys of it row r sees
  const auto see = [&](Index r, Index first, Index count) {
    const Extent e = call.with_bias.row(b, h, q0 + r, first, first + count);
    for (Index k = 0; k < count; ++k)
      visible[static_cast<std::size_t>(k)] =
          first + k >= e.begin && first + k < e.end && (e.full || call.with_bias(b, h, q0 + r, first + k));
  };
  const auto score_row = [&](Matrix& scores, Index r, Index first) {
    for (Index k = 0; k < scores.cols(); ++k) {
      Scalar s = scores(r, k) * Scalar(call.scale);
      if (options.softcap > 0) s = Scalar(options.softcap) * tanh(s / Scalar(options.softcap));
      scores(r, k) = s;
    }
    for (Index k = 0; k < scores.cols(); k += 16)
      call.modifier(&scores(r, k), b, h, q0 + r, first + k, first + scores.cols());
    for (Index k = 0; k < scores.cols(); ++k)
      if (!visible[static_cast<std::size_t>(k)]) scores(r, k) = none;
  };

  for (Index first = 0; first < keys; first += kKeyTile) {
    const Index count = std::min(kKeyTile, keys - first);
    const auto values = value.matrix(b, g).middleRows(first, count);
    Matrix scores = queries * key.matrix(b, g).middleRows(first, count).transpose();
    for (Index r = 0; r < rows; ++r) {
      const std::size_t i = static_cast<std::size_t>(r);
      see(r, first, count);
      score_row(scores, r, first);
      Scalar best = maximum[i];
      bool seen = false;
      for (Index k = 0; k < count; ++k) {
        seen = seen || visible[static_cast<std::size_t>(k)];
        if (visible[static_cast<std::size_t>(k)] && (scores(r, k) > best || scores(r, k) != scores(r, k))) best = scores(r, k);
      }
      if (!seen || best == none) continue;
      const Scalar alpha = maximum[i] == none ? Scalar(0) : exp(maximum[i] - best);
      maximum[i] = best;
      sum[i] = sum[i] * alpha;
      output.row(r) *= alpha;
      for (Index k = 0; k < count; ++k) {
        if (!visible[static_cast<std::size_t>(k)]) continue;  // also keeps NaN of masked values out
        const Scalar p = exp(scores(r, k) - best);
        sum[i] = sum[i] + p;
        output.row(r) += p * values.row(k);
      }
    }
  }
  for (Index r = 0; r < rows; ++r) {
    const std::size_t i = static_cast<std::size_t>(r);
    Scalar all = sum[i], shift = Scalar(1);
    if (!options.sinks.empty() && maximum[i] != none) {
      const Scalar sink = options.sinks[static_cast<std::size_t>(h)];
      if (sink > maximum[i]) {
        shift = exp(maximum[i] - sink);
        maximum[i] = sink;
      }
      all = all * shift + exp(sink - maximum[i]);
    }
    const bool empty = maximum[i] == none;
    for (Index d = 0; d < value.size(3); ++d) out(b, h, q0 + r, d) = empty ? Scalar(0) : output(r, d) * shift / all;
    if (options.log_sum_exp.data() != nullptr)
      options.log_sum_exp(b, h, q0 + r) = empty ? none : maximum[i] + log(all);
    sum[i] = all;
  }
  if (options.weights.data() == nullptr) return;
  for (Index r = 0; r < rows; ++r) {
    const std::size_t i = static_cast<std::size_t>(r);
    for (Index k = 0; k < call.sizes.keys; ++k) options.weights(b, h, q0 + r, k) = Scalar(0);
    if (maximum[i] == none) continue;
    for (Index first = 0; first < keys; first += kKeyTile) {
      Matrix scores = queries.row(r) * key.matrix(b, g).middleRows(first, std::min(kKeyTile, keys - first)).transpose();
      const Index q = q0;
      q0 += r;  // score_row and see count rows from q0; `scores` has just this one
      see(0, first, scores.cols());
      score_row(scores, 0, first);
      q0 = q;
      for (Index k = 0; k < scores.cols(); ++k)
        if (visible[static_cast<std::size_t>(k)])
          options.weights(b, h, q0 + r, first + k) = exp(scores(0, k) - maximum[i]) / sum[i];
    }
  }
}
ATTEND_FLAGS_END

}  // namespace detail

/// out = softmax(scale · Q Kᵀ, as options say) V. Query head h attends to key/value head h / (H / H_kv). A row that
/// sees no key gives 0. query [B, H, Tq, D], key [B, H_kv, Tk, D], value [B, H_kv, Tk, Dv] -> out [B, H, Tq, Dv];
/// any strides over B, H and T. Errors: shapes that don't fit each other.
/// https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
template <class Scalar>
void scaled_dot_product_attention(Context& context, TensorView<const std::type_identity_t<Scalar>, 4> query,
                                  TensorView<const std::type_identity_t<Scalar>, 4> key,
                                  TensorView<const std::type_identity_t<Scalar>, 4> value,
                                  const std::type_identity_t<AttentionOptions<Scalar>>& options, TensorView<Scalar, 4> out) {
  const char* who = "scaled_dot_product_attention";
  const Shape<4>& q = query.shape();
  if (key.size(0) != q[0] || key.size(3) != q[3])
    fail_shape(std::string(who) + " (key)", to_string(Shape<4>{q[0], key.size(1), key.size(2), q[3]}), key.shape());
  check_shape("scaled_dot_product_attention (value)",
              Shape<4>{q[0], key.size(1), key.size(2), value.size(3)}, value.shape());
  check_shape("scaled_dot_product_attention (output)", Shape<4>{q[0], q[1], q[2], value.size(3)}, out.shape());
  const AttentionSizes sizes{q[0], q[1], q[2], key.size(2), nullptr, nullptr, nullptr};
  if (out.empty() && options.log_sum_exp.empty() && options.weights.empty()) return;
  const detail::AttentionCall<Scalar> call(options, sizes, key.size(1), q[3]);
  if constexpr (detail::has_kernels<Scalar>) {
    for (const auto* view : {&query, &key, &value})
      if (view->size(3) > 1 && view->stride(3) != 1) fail(std::string(who) + ": the last axis must be contiguous");
    kernel::Attention t = detail::kernel_call(call, options);
    t.query = {query.data(), query.stride(0), query.stride(1), query.stride(2)};
    t.key = {key.data(), key.stride(0), key.stride(1), key.stride(2)};
    t.value = {value.data(), value.stride(0), value.stride(1), value.stride(2)};
    t.out = {out.data(), out.stride(0), out.stride(1), out.stride(2)};
    t.head_dim = q[3];
    t.value_dim = value.size(3);
    detail::run_attention(context, t, sizes.batch);
  } else {
    const Index blocks = (q[2] + 47) / 48;
    context.parallel(q[0] * q[1] * blocks, context.workers(q[0] * q[1] * blocks, 1e9), [&](Index item, int) {
      const Index q0 = item % blocks * 48, h = item / blocks % q[1], b = item / blocks / q[1];
      detail::attend_rows<Scalar>(call, options, query, key, value, out, b, h, q0, std::min(q[2], q0 + 48));
    });
  }
}

/// The same as a new tensor.
template <TensorLike Q, TensorLike K, TensorLike V>
Tensor<typename Q::Scalar, 4> scaled_dot_product_attention(const Q& query, const K& key, const V& value,
                                                           const AttentionOptions<typename Q::Scalar>& options = {}) {
  const auto q = const_view(query);
  Tensor<typename Q::Scalar, 4> out({q.size(0), q.size(1), q.size(2), const_view(value).size(3)});
  scaled_dot_product_attention<typename Q::Scalar>(default_context(), q, const_view(key), const_view(value), options,
                                                   out.view());
  return out;
}

}  // namespace attend
