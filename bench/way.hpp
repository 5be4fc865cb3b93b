// What attend is measured against: a table of plain functions, so that files of different flags share no
// code.
#pragma once

#include <cstddef>

namespace bench {

using Index = std::ptrdiff_t;

struct AttentionSizes {
  Index B, H, KV, T, D;
  Index window = 0;  // 0: all keys; else query i sees keys (i - window, i], so T and more is causal
};
/// As state dicts have them: weights [out_features, in_features].
struct MhaWeights {
  const float *in_proj_weight, *in_proj_bias, *out_proj_weight, *out_proj_bias;
};
struct EncoderWeights {
  MhaWeights self_attn;
  const float *linear1_weight, *linear1_bias, *linear2_weight, *linear2_bias;
  const float *norm1_weight, *norm1_bias, *norm2_weight, *norm2_bias;
};

/// All tensors contiguous, axes as in attend: x [M, K] -> y [M, N]; query [B, H, T, D];
/// x [B, T, E] -> y [B, T, E].
struct Way {
  void (*linear)(const float* x, const float* weight, const float* bias, float* y, Index M, Index K, Index N);
  void (*sdpa)(const float* query, const float* key, const float* value, float* out, const AttentionSizes&);
  void (*decode)(const float* query, const float* key, const float* value, float* out, Index H, Index KV,
                 Index S, Index D);
  void (*mha)(const MhaWeights&, const float* x, float* y, Index B, Index T, Index E, Index H);
  void (*encoder_block)(const EncoderWeights&, const float* x, float* y, Index B, Index T, Index E, Index H,
                        Index F);
};
extern const Way eigen, eigen_native;

}  // namespace bench
