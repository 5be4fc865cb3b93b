// GGUF files for tests: those of tests/gguf, and others with whatever is wrong with them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace attend_test {

inline std::filesystem::path gguf(const std::string& name) {
  return std::filesystem::path(ATTEND_SOURCE_DIR) / "tests" / "gguf" / (name + ".gguf");
}

/// Writes a file, with whatever is wrong with it.
class GgufWriter {
 public:
  template <class T>
  GgufWriter& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufWriter& text(std::string_view text) {
    number<std::uint64_t>(text.size());
    bytes_ += text;
    return *this;
  }
  GgufWriter& header(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
    bytes_ += "GGUF";
    return number(version).number(tensors).number(keys);
  }
  GgufWriter& key(std::string_view name, std::string_view value) {
    return text(name).number<std::uint32_t>(8).text(value);
  }
  GgufWriter& key(std::string_view name, std::uint32_t value) {
    return text(name).number<std::uint32_t>(4).number(value);
  }
  GgufWriter& key(std::string_view name, const std::vector<std::string>& values) {
    text(name).number<std::uint32_t>(9).number<std::uint32_t>(8).number<std::uint64_t>(values.size());
    for (const std::string& value : values) text(value);
    return *this;
  }
  GgufWriter& tensor(std::string_view name, const std::vector<std::uint64_t>& sizes, std::uint32_t type,
                     std::uint64_t offset = 0) {
    text(name).number(static_cast<std::uint32_t>(sizes.size()));
    for (std::uint64_t size : sizes) number(size);
    return number(type).number(offset);
  }
  GgufWriter& data(std::size_t size) {
    bytes_.resize((bytes_.size() + 31) / 32 * 32 + size);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace attend_test
