// Bodies of streaming_decoder.hpp.
#pragma once

#include <algorithm>
#include <utility>

#include <attend/text/decoder.hpp>
#include <attend/text/streaming_decoder.hpp>
#include <attend/text/tokenizer.inl>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI::text {

ATTEND_INLINE std::string StreamingDecoder::push(std::int32_t id) {
  std::string token = tokenizer_.id_to_token(id);
  if (options_.skip_special_tokens && tokenizer_.is_special(id)) return {};
  tokens_.push_back(std::move(token));
  DecodeWindow window{.context = context_, .open = true, .malformed = malformed_[0]};
  const std::string text = tokenizer_.parts_->join(tokens_, window);
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

ATTEND_INLINE std::string StreamingDecoder::finish() {
  DecodeWindow window{.context = context_, .malformed = malformed_[0]};
  const std::string text = tokenizer_.parts_->join(tokens_, window);
  std::string out = shown_ < text.size() ? to_valid_utf8(std::string_view(text).substr(shown_)) : "";
  tokens_.clear();
  context_ = shown_ = 0;
  malformed_[0] = malformed_[1] = false;
  return out;
}

// All is shown but `rest`, the begin of a character: the newest tokens become the context of those to come,
// and the older ones go. A decoder may treat the beginning of a text differently, so a context that shows
// nothing by itself would not do. `malformed`: the text ends in a run of bytes that is none.
ATTEND_INLINE void StreamingDecoder::forget(std::string_view rest, bool malformed) {
  std::vector<std::string> newest(tokens_.begin() + static_cast<std::ptrdiff_t>(context_), tokens_.end());
  DecodeWindow window{.open = true, .malformed = malformed_[1]};
  const std::string text = tokenizer_.parts_->join(newest, window);
  if (text.size() <= rest.size() || window.held || !text.ends_with(rest)) return;
  tokens_ = std::move(newest);
  context_ = tokens_.size();
  shown_ = text.size() - rest.size();
  malformed_[0] = malformed_[1];
  malformed_[1] = malformed;
}

}  // namespace attend::inline ATTEND_ABI::text
