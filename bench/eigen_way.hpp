// The same work as attend's, as one would write it by hand in Eigen: row-major maps, one product per
// projection, a loop over heads, the softmax row by row. Compiled twice: by eigen_way.cpp with the flags of
// the other files, by eigen_way_native.cpp for this machine. Each defines ATTEND_BENCH_WAY, the name of the
// table at the end.

#include <cmath>

#include <Eigen/Core>

#include "way.hpp"

namespace {

using bench::AttentionSizes;
using bench::EncoderWeights;
using bench::Index;
using bench::MhaWeights;
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixMap = Eigen::Map<Matrix>;
using ConstMatrixMap = Eigen::Map<const Matrix>;
using ConstRow = Eigen::Map<const Eigen::RowVectorXf>;

void linear(const float* x, const float* weight, const float* bias, float* y, Index M, Index K, Index N) {
  MatrixMap out(y, M, N);
  out.noalias() = ConstMatrixMap(x, M, K) * ConstMatrixMap(weight, N, K).transpose();
  out.rowwise() += ConstRow(bias, N);
}

/// One head. Query i sees all keys, or with `window` above 0 the keys (i - window, i].
template <class Q, class K, class V, class Out>
void attend_head(const Q& query, const K& key, const V& value, Index window, Matrix& scores, Out&& out) {
  const float scale = 1 / std::sqrt(static_cast<float>(query.cols()));
  scores.noalias() = (scale * query) * key.transpose();
  for (Index i = 0; i < scores.rows(); ++i) {
    const Index begin = window > 0 && i >= window ? i - window + 1 : 0;
    const Index end = window > 0 ? i + 1 : scores.cols();
    auto seen = scores.row(i).segment(begin, end - begin).array();
    seen = (seen - seen.maxCoeff()).exp();
    seen /= seen.sum();
    scores.row(i).head(begin).setZero();
    scores.row(i).tail(scores.cols() - end).setZero();
  }
  out.noalias() = scores * value;
}

void sdpa(const float* query, const float* key, const float* value, float* out, const AttentionSizes& s) {
  Matrix scores(s.T, s.T);
  for (Index b = 0; b < s.B; ++b)
    for (Index h = 0; h < s.H; ++h) {
      const Index q = (b * s.H + h) * s.T * s.D, kv = (b * s.KV + h / (s.H / s.KV)) * s.T * s.D;
      attend_head(ConstMatrixMap(query + q, s.T, s.D), ConstMatrixMap(key + kv, s.T, s.D),
                  ConstMatrixMap(value + kv, s.T, s.D), s.window, scores, MatrixMap(out + q, s.T, s.D));
    }
}

/// One query per head: the query heads of a group are the rows of one product.
void decode(const float* query, const float* key, const float* value, float* out, Index H, Index KV, Index S,
            Index D) {
  const Index group = H / KV;
  Matrix scores(group, S);
  for (Index g = 0; g < KV; ++g)
    attend_head(ConstMatrixMap(query + g * group * D, group, D), ConstMatrixMap(key + g * S * D, S, D),
                ConstMatrixMap(value + g * S * D, S, D), 0, scores, MatrixMap(out + g * group * D, group, D));
}

void mha(const MhaWeights& w, const float* x, float* y, Index B, Index T, Index E, Index H) {
  const Index D = E / H;
  Matrix qkv(B * T, 3 * E), mixed(B * T, E), scores(T, T);
  linear(x, w.in_proj_weight, w.in_proj_bias, qkv.data(), B * T, E, 3 * E);
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h)
      attend_head(qkv.block(b * T, h * D, T, D), qkv.block(b * T, E + h * D, T, D),
                  qkv.block(b * T, 2 * E + h * D, T, D), 0, scores, mixed.block(b * T, h * D, T, D));
  linear(mixed.data(), w.out_proj_weight, w.out_proj_bias, y, B * T, E, E);
}

void layer_norm(Matrix& x, const float* weight, const float* bias) {
  const ConstRow w(weight, x.cols()), b(bias, x.cols());
  for (Index i = 0; i < x.rows(); ++i) {
    auto row = x.row(i).array();
    row -= row.mean();
    row = row * (1 / std::sqrt(row.square().mean() + 1e-5f)) * w.array() + b.array();
  }
}

void encoder_block(const EncoderWeights& w, const float* x, float* y, Index B, Index T, Index E, Index H,
                   Index F) {
  const Index M = B * T;
  Matrix normed(M, E), hidden(M, F), sum(M, E);
  mha(w.self_attn, x, normed.data(), B, T, E, H);
  normed += ConstMatrixMap(x, M, E);
  layer_norm(normed, w.norm1_weight, w.norm1_bias);
  linear(normed.data(), w.linear1_weight, w.linear1_bias, hidden.data(), M, E, F);
  hidden = hidden.cwiseMax(0.0f);
  linear(hidden.data(), w.linear2_weight, w.linear2_bias, sum.data(), M, F, E);
  sum += normed;
  layer_norm(sum, w.norm2_weight, w.norm2_bias);
  MatrixMap(y, M, E) = sum;
}

}  // namespace

const bench::Way bench::ATTEND_BENCH_WAY = {linear, sdpa, decode, mha, encoder_block};
