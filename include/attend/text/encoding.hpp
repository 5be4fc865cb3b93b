// What a tokenizer is asked for, and what it gives besides ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <attend/core/config.hpp>

namespace attend::inline ATTEND_ABI::text {

/// Which text of a pair gets shorter.
enum class Truncation { longest_first, only_first, only_second };

/// Of one call that makes ids of text.
struct EncodeOptions {
  bool add_special_tokens = true;                        // those that the model expects around a text
  std::optional<std::size_t> max_length = std::nullopt;  ///< at most so many ids, special tokens included
  Truncation truncation = Truncation::longest_first;     // which text of a pair is cut
  bool truncate_left = false;                            ///< what goes is the front of a text, not its end
  bool offsets = false;                                  ///< say where each token stands
};

/// Bytes [begin, end) of a text.
struct ByteRange {
  /// Of the first byte, and behind the last.
  std::size_t begin = 0, end = 0;
  bool operator==(const ByteRange&) const = default;  // The same bytes.
};

/// Of one call that makes text of ids.
struct DecodeOptions {
  bool skip_special_tokens = true;  // leaves out [CLS] and its like
};

/// What encoding gives besides ids; all are of one length.
struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> type_ids;  ///< BERT's token_type_ids
  std::vector<bool> special;           ///< put around the text, and not found in it
  /// With EncodeOptions::offsets: the bytes of its text that a token came from, none of a special one. As in
  /// tokenizers, but that it counts in characters; of a SentencePiece file as in its library.
  std::vector<ByteRange> offsets;
};

}  // namespace attend::inline ATTEND_ABI::text
