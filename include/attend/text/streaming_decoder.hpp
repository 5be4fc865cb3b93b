// Text of a model's output while it is being generated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <attend/text/tokenizer.hpp>

namespace attend::inline ATTEND_ABI::text {

/// Text of ids that come one at a time. What push and finish return, joined, is what decode gives for all the
/// ids; no character is ever cut in two. (Where byte tokens are malformed, a character shown before stays
/// shown.) One text per decoder at a time.
class StreamingDecoder {
 public:
  /// The tokenizer outlives it.
  explicit StreamingDecoder(const Tokenizer& tokenizer, const DecodeOptions& options = {})
      : tokenizer_(tokenizer), options_(options) {}

  /// The text that is certain after this id; often none.
  std::string push(std::int32_t id);

  /// The rest, with U+FFFD for a character that never became whole. The decoder is then as new.
  std::string finish();

 private:
  void forget(std::string_view rest, bool malformed);

  Tokenizer tokenizer_;
  DecodeOptions options_;
  std::vector<std::string> tokens_;  // first those of the context
  std::size_t context_ = 0;
  std::size_t shown_ = 0;               // bytes of the text of tokens_
  bool malformed_[2] = {false, false};  // whether they, and those after the context, continue a malformed run
};

}  // namespace attend::inline ATTEND_ABI::text

#if ATTEND_HAS_MODEL_BODIES
#include <attend/text/streaming_decoder.inl>
#endif
