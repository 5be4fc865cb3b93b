// Bodies of fingerprint.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include <attend/core/file.hpp>
#include <attend/io/fingerprint.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
inline std::uint64_t mixed(std::uint64_t lane, std::uint64_t value) {
  lane = (lane ^ value) * 0x9e3779b97f4a7c15;
  return lane ^ (lane >> 32);
}
}  // namespace detail

ATTEND_INLINE void Fingerprint::add(std::span<const std::byte> bytes) {
  lanes_[0] = detail::mixed(lanes_[0], bytes.size());
  while (!bytes.empty()) {
    std::uint64_t values[4] = {};
    const std::size_t n = (std::min)(bytes.size(), sizeof(values));
    std::memcpy(values, bytes.data(), n);
    for (int i = 0; i < 4; ++i) lanes_[i] = detail::mixed(lanes_[i], values[i]);
    bytes = bytes.subspan(n);
  }
}

ATTEND_INLINE std::string Fingerprint::text() const {
  std::uint64_t hash = 0;
  for (std::uint64_t lane : lanes_) hash = detail::mixed(detail::mixed(hash, lane), lane >> 32);
  std::string out(16, '0');
  for (std::size_t i = 0; i < 16; ++i) out[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
  return out;
}

namespace detail {
inline void add_folder(Fingerprint& fingerprint, const Location& folder, const std::string& prefix,
                       std::string_view but) {
  std::vector<std::string> names = folder.names();
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const Location file = folder / name;
    if (file.is_folder()) {
      add_folder(fingerprint, file, prefix + name + "/", but);
      continue;
    }
    constexpr std::array<std::string_view, 6> kRead{".json", ".safetensors", ".gguf",
                                                    ".txt",  ".model",       ".spm"};
    if (std::find(kRead.begin(), kRead.end(), file.extension()) == kRead.end() || name == but ||
        name.starts_with("attend_"))
      continue;
    fingerprint.add(prefix + name);
    fingerprint.add(MappedFile(file).bytes());
  }
}
}  // namespace detail

ATTEND_INLINE std::string folder_fingerprint(const Location& folder, std::string_view but) {
  Fingerprint fingerprint;
  if (folder.is_folder())
    detail::add_folder(fingerprint, folder, "", but);
  else
    fingerprint.add(detail::MappedFile(folder).bytes());
  return fingerprint.text();
}

}  // namespace attend::inline ATTEND_ABI
