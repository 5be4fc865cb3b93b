// What comes before the blocks of any model: for each token, rows of tables and their sum.
#pragma once

#include <cstdint>

#include <attend/core/context.hpp>
#include <attend/core/function_ref.hpp>
#include <attend/core/overlap.hpp>
#include <attend/embedding.hpp>
#include <attend/linear.hpp>

namespace attend::inline ATTEND_ABI::detail {

template <class Scalar>
struct TokenTables {
  const Embedding<Scalar>& words;                          // or, where that was made without rows,
  const Linear<Scalar>& tied;                              // the output layer's packed weight
  double scale = 1;                                        // of a word's row
  TensorView<const Scalar, 2> types = {}, positions = {};  // empty: none are added
};

/// out = scale * words[ids] + types[type] + positions[position]; type(b, t) and position(b, t) are rows of
/// their tables. ids [B, T] -> out [B, T, E]. Error, with nothing written, where a row is not in its table.
template <class Scalar>
void embed_tokens(Context& context, const TokenTables<Scalar>& tables, TensorView<const std::int32_t, 2> ids,
                  FunctionRef<Index(Index b, Index t)> type, FunctionRef<Index(Index b, Index t)> position,
                  TensorView<Scalar, 3> out) {
  const Index B = ids.size(0), T = ids.size(1), E = out.size(2);
  const Index own = tables.words.options().num_embeddings;
  check_apart(context, "Embedding", {"out", out}, {{"ids", ids}});
  if (context.measuring()) return;
  const LayerTimer timer(context, "Embedding", ids.shape(), out.shape());
  const auto check_id = [](Index id, Index rows) {
    if (id < 0 || id >= rows) throw_error("Embedding: id ", id, " is not in [0, ", rows, ")");
  };
  for (Index b = 0; b < B; ++b)
    for (Index t = 0; t < T; ++t) {
      check_id(ids(b, t), own > 0 ? own : tables.tied.options().out_features);
      if (!tables.types.empty()) check_id(type(b, t), tables.types.size(0));
      if (tables.positions.empty()) continue;
      if (const Index p = position(b, t), most = tables.positions.size(0); p < 0 || p >= most)
        throw_error("Embedding: the text is too long: its position ", p, " is beyond the model's ", most);
    }
  context.parallel(B * T, 1, [&](Index item, int) {
    const Scalar scale = static_cast<Scalar>(tables.scale);
    const Index b = item / T, t = item % T, id = ids(b, t);
    Scalar* row = &out(b, t, 0);
    const auto add = [&](const Scalar* more) {
      for (Index e = 0; e < E; ++e) row[e] = row[e] + more[e];
    };
    if (own > 0)
      tables.words.copy_row(id, row);
    else
      tables.tied.weight().copy_to(id, id + 1, row);
    if (tables.scale != 1)
      for (Index e = 0; e < E; ++e) row[e] = row[e] * scale;
    if (!tables.types.empty()) add(&tables.types(type(b, t), 0));
    if (!tables.positions.empty()) add(&tables.positions(position(b, t), 0));
  });
}

}  // namespace attend::inline ATTEND_ABI::detail
