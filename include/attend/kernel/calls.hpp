// What the kernels are called with: raw pointers and strides, no Eigen, and the table of a machine's kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include <attend/core/shape.hpp>
#include <attend/core/tiling.hpp>

namespace attend::inline ATTEND_ABI {

/// Elementwise functions: relu, gelu = x Φ(x), gelu_tanh = its tanh approximation (PyTorch's
/// approximate="tanh", arXiv:1606.08415), silu = x σ(x) (swish), sigmoid = σ(x) = 1 / (1 + e^-x), …
enum class Activation { identity, relu, gelu, gelu_tanh, silu, sigmoid, tanh, exp, erf };

/// baseline: what every machine of the architecture has (SSE2; NEON, which has FMA).
enum class Isa { baseline, avx2, avx512 };
/// "baseline", "avx2", "avx512": what the environment variable ATTEND_ISA may be.
inline const char* to_string(Isa isa) {
  return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "baseline";
}

namespace kernel {

/// C[M, N] = activation(A[M, K] · Wᵀ + bias + residual): see gemm.inl. `c` overlaps no other operand.
struct Product {
  const float* a = nullptr;  // [M, K], rows lda apart
  Index lda = 0;
  const float* w = nullptr;  // panels [ceil(N / 16)][K][16], zeros behind N
  Index k = 0;
  float* c = nullptr;  // [M, N], rows ldc apart
  Index ldc = 0;
  Index n = 0;
  const float* bias = nullptr;      // [ceil(N / 16) * 16] or null
  const float* residual = nullptr;  // [M, N], rows ldr apart, or null
  Index ldr = 0;
  Activation activation = Activation::identity;
  void (*activate)(Activation, const float* x, float* y, Index n) = nullptr;  // where there is one
};

/// Which of the keys [k0, k1) queries may see: none outside [begin, end), and all inside it where `full`.
struct Extent {
  Index begin = 0;
  Index end = 0;
  bool full = true;
};

/// A mask as the kernels see it; `object` is a mask of mask.hpp. Null functions: everything is visible.
struct MaskFunctions {
  const void* object = nullptr;
  /// Of a block of queries [q0, q1) as a whole.
  Extent (*block)(const void*, Index b, Index h, Index q0, Index q1, Index k0, Index k1) = nullptr;
  /// Of each query q0 … q0 + count - 1 for itself.
  void (*rows)(const void*, Index b, Index h, Index q0, Index count, Index k0, Index k1, Extent*) = nullptr;
  /// Bit j: key k0 + j is visible to q. Bits of keys from `keys` on are not looked at.
  std::uint32_t (*bits)(const void*, Index b, Index h, Index q, Index k0, Index keys) = nullptr;
};

/// Changes 16 scaled scores in place, of keys k0 … k0 + 15, of which those from `keys` on are not looked at.
struct ModifierFunctions {
  const void* object = nullptr;
  void (*apply)(const void*, float* scores, Index b, Index h, Index q, Index k0, Index keys) = nullptr;
};

/// Who looks at rows of weights, of keys [0, Attention::keys), before they are gone.
struct RowsFunctions {
  const void* object = nullptr;  // null: nobody
  bool in_order = false;         // the rows of a head come in the order of their queries
  /// Whether any of queries [q0, q1) of head h is wanted.
  bool (*wants)(const void*, Index b, Index h, Index q0, Index q1) = nullptr;
  void (*take)(const void*, Index b, Index h, Index q, const float* weights) = nullptr;
};

/// Where heads lie: element d of token t of head h of batch b at data[b * batch + h * head + t * token + d].
template <class T>
struct Heads {
  T* data = nullptr;
  Index batch = 0, head = 0, token = 0;
  T* at(Index b, Index h, Index t) const { return data + b * batch + h * head + t * token; }
};

/// One call of attention, all batches and heads. See attention.inl.
struct Attention {
  Heads<const float> query, key, value;  // [B, H, Tq, D], [B, H_kv, Tk, D], [B, H_kv, Tk, Dv]
  Heads<float> out;                      // [B, H, Tq, Dv]
  Index heads = 0, kv_heads = 0, head_dim = 0, value_dim = 0;
  /// Tokens, or null: then all batches have `queries` and `keys`. Ragged: batch b is tokens [offset[b],
  /// offset[b + 1]) of one sequence of all, and the stride over batches is 0.
  Index queries = 0, keys = 0;
  const Index* query_offsets = nullptr;
  const Index* key_offsets = nullptr;
  const Index* key_counts = nullptr;  // of each batch, where it is less than `keys`
  /// Packed tiles: pages[b][tile] points at [H_kv][page().floats()], or is null where it is evicted: those
  /// keys are not seen. Without pages, keys and values are packed on the way.
  const float* const* const* pages = nullptr;
  /// Nothing but the output is wanted, and nobody joins states: one tile may write the output by itself.
  bool output_alone = false;
  bool values_in_place = false;  // V is read as it lies, also where keys are packed

  float scale = 1;     // multiplies the products where they are not `folded`
  bool folded = true;  // nothing but masks touches the scores, so the scale is part of `exponent`
  float exponent = 1;  // p = 2^((score - maximum) * exponent)
  float softcap = 0;   // 0: none
  MaskFunctions mask;
  ModifierFunctions modifier;
  ModifierFunctions weight_modifier;  // of the weights, once they are summed: dropout
  const float* sinks = nullptr;       // [H]: a further score in each row's sum, of a key without value

  float* log_sum_exp = nullptr;  // [B, H, log_sum_exp_queries] or null
  Index log_sum_exp_queries = 0;

  Index value_stride() const { return (value_dim + 15) / 16 * 16; }
  PageLayout page() const { return {head_dim, value_stride()}; }
  Index query_begin(Index b) const { return query_offsets != nullptr ? query_offsets[b] : 0; }
  Index query_count(Index b) const {
    return query_offsets != nullptr ? query_offsets[b + 1] - query_offsets[b] : queries;
  }
  Index key_begin(Index b) const { return key_offsets != nullptr ? key_offsets[b] : 0; }
  Index key_count(Index b) const {
    return key_counts != nullptr    ? key_counts[b]
           : key_offsets != nullptr ? key_offsets[b + 1] - key_offsets[b]
                                    : keys;
  }
};

/// Up to kQueryRows rows that share a key/value head: queries [query, query + queries) of each of `heads`
/// heads.
struct QueryRows {
  Index batch = 0, kv_head = 0, head = 0, heads = 1, query = 0, queries = 0;
  Index count() const { return heads * queries; }
};
inline constexpr Index kQueryRows = 48;

/// The running softmax of kQueryRows rows: maximum [48], lanes of the sum [48][16], output
/// [48][value_stride].
struct AttentionState {
  float* maximum;
  float* lanes;
  float* output;
  static Index floats(Index value_stride) { return kQueryRows * (1 + kLanes + value_stride); }
  static AttentionState at(float* memory) {
    return {memory, memory + kQueryRows, memory + kQueryRows * (1 + kLanes)};
  }
};

/// What a span left behind: no row saw a key; a state; or the output itself, where nothing else was to come.
enum class SpanResult { nothing, state, finished };

/// Floats that attention_span scribbles on: scores, gathered queries, one page.
inline Index attention_scratch_floats(const Attention& t) {
  return kQueryRows * (kKeyTile + t.head_dim) + t.page().floats();
}

/// What attention calls. Ranges are half open.
struct AttentionKernels {
  /// Packs one tile of a key/value head into a page.
  void (*pack_page)(const Attention&, Index b, Index kv_head, Index tile, float* page);
  /// One span of keys for some rows, from nothing into `state`.
  SpanResult (*span)(const Attention&, const QueryRows&, Index span, AttentionState state, float* scratch);
  /// Joins the next span's state to the total.
  void (*merge)(const Attention&, const QueryRows&, AttentionState total, AttentionState next);
  /// Divides by the sum and writes output and log-sum-exp.
  void (*finish)(const Attention&, const QueryRows&, AttentionState total);
  /// After finish, whose total it takes: the weights of the rows over all keys; with a null total
  /// the scores, -inf where masked. Row r of the rows goes to out.at(batch, head, query), keys contiguous.
  void (*weights)(const Attention&, const QueryRows&, const AttentionState* total, Heads<float> out,
                  float* scratch);
  /// All rows of a key/value head that has one key; false, with nothing written, where the rows need the
  /// above.
  bool (*one_key)(const Attention&, Index b, Index kv_head);
};

/// The entries of one ISA: a program has those that it calls (dispatch.hpp). Panels are 16 columns.
struct Kernels {
  void (*product)(const Product&, Index row_begin, Index row_end, Index panel_begin, Index panel_end);
  void (*activate)(Activation, const float* x, float* y, Index n);
  void (*multiply)(const float* x, float* y, Index n);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, float* y, Index n,
                     float* statistics);
  void (*rms_norm)(const float* x, const float* weight, float eps, float* y, Index n, float* statistics);
  AttentionKernels attention;
  /// One row, or where `log` the logarithm of it.
  void (*softmax)(const float* x, float* y, Index n, bool log);
  /// One head of one token, in place: x[2 * pairs] by the angles whose cosines and sines these are.
  void (*rotate)(float* x, const float* cosine, const float* sine, Index pairs, bool interleaved);
};

}  // namespace kernel
}  // namespace attend::inline ATTEND_ABI
