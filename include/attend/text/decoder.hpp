// The "decoder" of tokenizer.json: from tokens back to text.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/byte_level.hpp>
#include <attend/text/file.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/pre_tokenizer.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/wordpiece.hpp>

namespace attend::inline ATTEND_ABI::text {

/// What a decoder has to know when tokens come one at a time: it sees a few of the last tokens, not all.
struct DecodeWindow {
  std::size_t context =
      0;              ///< so many tokens at the front were decoded before: no character spans the border
  bool open = false;  ///< more tokens may follow
  bool held = false;  ///< answer: what the last tokens mean depends on those that follow
  bool malformed =
      false;  ///< the tokens continue a run of bytes that is no text; answer: so do those to come
  std::size_t limit = std::string::npos;  ///< bytes that the text may grow to
};

/// Rewrites tokens; all of them, joined, are the text. It may be cut off inside a character, or hold
/// malformed UTF-8, which is for the caller to replace.
using Decoder = std::function<void(std::vector<std::string>&, DecodeWindow&)>;

namespace detail {

/// The value of "<0x0A>", or -1.
inline int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (char c : token.substr(3, 2)) {
    const char lower = static_cast<char>(c | 32);
    const int digit = c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

/// Is the text UTF-8 but for a character that its end cuts off?
inline bool ends_inside_character(std::string_view text) {
  const std::size_t bad = find_malformed_utf8(text);
  return bad != std::string_view::npos && decode_utf8(text, bad).status == CodePoint::incomplete;
}

// A run of byte tokens is a text if it is UTF-8 as a whole, else as many U+FFFD as it has bytes.
inline void decode_byte_fallback(std::vector<std::string>& tokens, DecodeWindow& window) {
  std::vector<std::string> out;
  std::string run;
  const auto flush = [&](bool may_continue) {
    const bool whole = !window.malformed && find_malformed_utf8(run) == std::string::npos;
    window.malformed = window.malformed || !(whole || ends_inside_character(run));
    window.held = may_continue && !whole && !window.malformed;
    if (whole)
      out.push_back(run);
    else if (!window.held)  // else it is left out for now
      out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
    run.clear();
  };
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i == window.context && !run.empty()) flush(false);
    const int byte = byte_of_token(tokens[i]);
    if (byte >= 0) {
      run += static_cast<char>(byte);
    } else {
      if (!run.empty()) flush(false);
      window.malformed = false;
      out.push_back(std::move(tokens[i]));
    }
  }
  if (!run.empty()) flush(window.open);
  tokens = std::move(out);
}

inline void fuse(std::vector<std::string>& tokens) {
  std::string all;
  for (const std::string& token : tokens) all += token;
  tokens.assign(1, std::move(all));
}

inline void decode_byte_level(std::vector<std::string>& tokens, DecodeWindow&) {
  for (std::string& token : tokens)
    if (auto bytes = characters_to_bytes(token)) token = *std::move(bytes);
  fuse(tokens);
}

inline Decoder read_decoder_step(const Part& part) {
  const std::string type = part.string("type");
  if (type == "Sequence") {
    part.allow({"decoders"});
    std::vector<Decoder> steps;
    for (std::size_t i = 0; i < part.array("decoders").size(); ++i)
      steps.push_back(read_decoder_step(part.element("decoders", i)));
    return [steps](std::vector<std::string>& tokens, DecodeWindow& window) {
      for (const Decoder& step : steps) step(tokens, window);
    };
  }
  if (type == "ByteLevel") {
    part.allow({"add_prefix_space", "trim_offsets", "use_regex"});
    return decode_byte_level;
  }
  if (type == "ByteFallback") {
    part.allow({});
    return decode_byte_fallback;
  }
  if (type == "Fuse") {
    part.allow({});
    return [](std::vector<std::string>& tokens, DecodeWindow&) { fuse(tokens); };
  }
  if (type == "WordPiece") {
    part.allow({"prefix", "cleanup"});
    return [prefix = part.string("prefix", "##"), cleanup = part.boolean("cleanup", true)](
               std::vector<std::string>& tokens, DecodeWindow&) {
      for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = decode_wordpiece(tokens[i], i == 0, prefix, cleanup);
    };
  }
  if (type == "Metaspace") {
    return [metaspace = Metaspace(part)](std::vector<std::string>& tokens, DecodeWindow&) {
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        const bool drop = i == 0 && metaspace.prepend != Metaspace::never;
        std::string out;
        for_each_code_point(tokens[i], [&](char32_t, std::string_view c) {
          if (c != metaspace.replacement)
            out += c;
          else if (!drop)
            out += ' ';
        });
        tokens[i] = std::move(out);
      }
    };
  }
  if (type == "Replace") {
    part.allow({"pattern", "content"});
    return [pattern = Pattern(part.object("pattern")), content = part.string("content")](
               std::vector<std::string>& tokens, DecodeWindow& window) {
      std::size_t left = window.limit;
      for (std::string& token : tokens) {
        token = pattern.replace(to_valid_utf8(token), content, left);
        left -= (std::min)(left, token.size());
      }
    };
  }
  if (type == "Strip") {
    part.allow({"content", "start", "stop"});
    const std::string content = part.string("content");
    if (count_code_points(content) != 1) part.error("\"content\" is not one character");
    return [content, start = part.integer("start"), stop = part.integer("stop")](
               std::vector<std::string>& tokens, DecodeWindow&) {
      for (std::string& token : tokens) {
        std::string_view rest = token;
        for (int i = 0; i < start && rest.starts_with(content); ++i) rest.remove_prefix(content.size());
        for (int i = 0; i < stop && rest.ends_with(content); ++i) rest.remove_suffix(content.size());
        token = std::string(rest);
      }
    };
  }
  if (type == "BPEDecoder") {
    part.allow({"suffix"});
    const std::string suffix = part.string("suffix", "</w>");
    if (suffix.empty()) part.error("\"suffix\" is empty");
    return [suffix](std::vector<std::string>& tokens, DecodeWindow&) {
      for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
    };
  }
  part.error("unknown decoder \"" + type + '"');
}

inline Decoder read_decoder(const Part& part) {
  check_steps(part, "decoders");
  return read_decoder_step(part);
}

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI::text
