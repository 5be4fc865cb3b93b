// The sizes of an attention call, which masks and modifiers are checked against before it runs.
#pragma once

#include <string_view>

#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

/// Sizes of an attention call.
struct AttentionSizes {
  Index batch = 1, heads = 1, queries = 0, keys = 0;  // B, H, Tq, Tk
  const Index* query_offsets = nullptr;               // [B + 1] of a ragged batch, or null
  const Index* key_offsets = nullptr;                 // of the keys likewise
  const Index* key_counts = nullptr;                  // [B], or null: all `keys`
  const std::string_view* scalar = nullptr;           // name of the type of the scores, or null: not known

  /// Queries of sequence b.
  Index query_count(Index b) const {
    return query_offsets != nullptr ? query_offsets[b + 1] - query_offsets[b] : queries;
  }
  /// Keys of sequence b.
  Index key_count(Index b) const {
    return key_counts != nullptr    ? key_counts[b]
           : key_offsets != nullptr ? key_offsets[b + 1] - key_offsets[b]
                                    : keys;
  }
};

}  // namespace attend::inline ATTEND_ABI
