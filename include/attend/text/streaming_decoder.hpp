// Text of a model's output while it is being generated.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/decoder.hpp>
#include <attend/text/tokenizer.hpp>
#include <attend/text/unicode.hpp>

namespace attend::inline ATTEND_ABI::text {

/// Text of ids that come one at a time. What push and finish return, joined, is what decode gives for all the
/// ids; no character is ever cut in two. (Where byte tokens are malformed, a character shown before stays
/// shown.) It refers to the tokenizer, which must outlive it; one text per decoder at a time.
class StreamingDecoder {
 public:
  explicit StreamingDecoder(const Tokenizer& tokenizer, const DecodeOptions& options = {})
      : tokenizer_(&tokenizer), options_(options) {}

  /// The text that is certain after this id; often none.
  std::string push(std::int32_t id) {
    std::string token = tokenizer_->id_to_token(id);
    if (options_.skip_special_tokens && tokenizer_->is_special(id)) return {};
    tokens_.push_back(std::move(token));
    DecodeWindow window{.context = context_, .open = true, .malformed = malformed_[0]};
    const std::string text = tokenizer_->join(tokens_, window);
    std::size_t end = shown_;
    while (end < text.size()) {
      const CodePoint c = decode_utf8(text, end);
      if (c.status == CodePoint::incomplete) break;
      end += c.size;
    }
    std::string out = end > shown_ ? to_valid_utf8(std::string_view(text).substr(shown_, end - shown_)) : "";
    shown_ = end;
    if (!window.held) forget(std::string_view(text).substr((std::min)(end, text.size())), window.malformed);
    return out;
  }

  /// The rest, with U+FFFD for a character that never became whole. The decoder is then as new.
  std::string finish() {
    DecodeWindow window{.context = context_, .malformed = malformed_[0]};
    const std::string text = tokenizer_->join(tokens_, window);
    std::string out = shown_ < text.size() ? to_valid_utf8(std::string_view(text).substr(shown_)) : "";
    tokens_.clear();
    context_ = shown_ = 0;
    malformed_[0] = malformed_[1] = false;
    return out;
  }

 private:
  // All is shown but `rest`, the begin of a character: the newest tokens become the context of those to come,
  // and the older ones go. A decoder may treat the beginning of a text differently, so a context that shows
  // nothing by itself would not do. `malformed`: the text ends in a run of bytes that is none.
  void forget(std::string_view rest, bool malformed) {
    std::vector<std::string> newest(tokens_.begin() + static_cast<std::ptrdiff_t>(context_), tokens_.end());
    DecodeWindow window{.open = true, .malformed = malformed_[1]};
    const std::string text = tokenizer_->join(newest, window);
    if (text.size() <= rest.size() || window.held || !text.ends_with(rest)) return;
    tokens_ = std::move(newest);
    context_ = tokens_.size();
    shown_ = text.size() - rest.size();
    malformed_[0] = malformed_[1];
    malformed_[1] = malformed;
  }

  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  std::vector<std::string> tokens_;  // first those of the context
  std::size_t context_ = 0;
  std::size_t shown_ = 0;               // bytes of the text of tokens_
  bool malformed_[2] = {false, false};  // whether they, and those after the context, continue a malformed run
};

}  // namespace attend::inline ATTEND_ABI::text
