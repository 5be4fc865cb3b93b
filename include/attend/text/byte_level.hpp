// GPT-2's trick: each byte as a printable character, so that a vocabulary of text can hold any bytes.
// A. Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI::text {

/// How GPT-2 cuts text into words; what ByteLevel does unless told otherwise.
inline constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
/// How Qwen2 does.
inline constexpr const char* qwen2_pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace detail {

// Printable Latin-1 bytes stand for themselves; the others follow from U+0100 on.
inline const std::array<char32_t, 256>& byte_characters() {
  static const auto table = [] {
    std::array<char32_t, 256> out{};
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      out[byte] = printable ? byte : next++;
    }
    return out;
  }();
  return table;
}

}  // namespace detail

/// Each byte as the character that GPT-2 writes for it: " " is "Ġ".
inline void append_byte_characters(std::string& out, std::string_view bytes) {
  std::size_t at = out.size();
  out.resize(at + 2 * bytes.size());  // none of them takes more
  const auto& characters = detail::byte_characters();
  for (char byte : bytes) {
    const std::uint32_t c = characters[static_cast<unsigned char>(byte)];
    if (c >= 0x80) out[at++] = static_cast<char>(0xC0 | (c >> 6));
    out[at++] = static_cast<char>(c < 0x80 ? c : 0x80 | (c & 0x3F));
  }
  out.resize(at);
}
/// The same as a new text.
inline std::string bytes_to_characters(std::string_view bytes) {
  std::string out;
  append_byte_characters(out, bytes);
  return out;
}

/// The bytes that a token stands for; nothing if one of its characters stands for none.
inline std::optional<std::string> characters_to_bytes(std::string_view token) {
  static const auto bytes = [] {
    std::array<int, 0x144> out;
    out.fill(-1);
    for (int byte = 0; byte < 256; ++byte)
      out[detail::byte_characters()[static_cast<std::size_t>(byte)]] = byte;
    return out;
  }();
  std::string out;
  bool known = true;
  for_each_code_point(token, [&](char32_t c, std::string_view) {
    if (c < bytes.size() && bytes[c] >= 0)
      out += static_cast<char>(bytes[c]);
    else
      known = false;
  });
  return known ? std::optional(std::move(out)) : std::nullopt;
}

}  // namespace attend::inline ATTEND_ABI::text
