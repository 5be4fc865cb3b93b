// Fingerprint: a hash that tells one model from another. Not for keeping secrets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <attend/core/location.hpp>

namespace attend::inline ATTEND_ABI {

/// Of bytes that come in pieces, which are part of it: 64 bits in four lanes, at the speed of memory.
class Fingerprint {
 public:
  /// Takes in more bytes; the result depends on their order, not on how they were cut. @{
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  template <class T>
  requires std::is_arithmetic_v<T>
  void add(std::span<const T> values) { add(std::as_bytes(values)); }
  /// @}

  /// 16 hexadecimal digits.
  std::string text() const;

 private:
  std::uint64_t lanes_[4] = {0xcbf29ce484222325, 0x9ae16a3b2f90404f, 0xc949d7c7509e6557, 0xff51afd7ed558ccd};
};

/// Of the name and the bytes of each file in a folder, and in the folders in it, that models are read from:
/// .json, .safetensors, .gguf, .txt, .model, .spm. Left out are one of the name `but` and what attend itself
/// puts there (attend_*), such as the golden vectors, which say what the others give. Of a model that is one
/// file, its bytes.
std::string folder_fingerprint(const Location& folder, std::string_view but = {});

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/io/fingerprint.inl>
#endif
