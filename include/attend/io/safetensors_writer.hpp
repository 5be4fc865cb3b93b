// Writes safetensors files: under a temporary name first, so that a failure loses nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <attend/core/shape.hpp>
#include <attend/io/dtype.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

using Metadata = std::map<std::string, std::string>;

/// Writes a file in pieces: the header from a list of tensors, then their bytes in the order of that list.
/// The file appears under its name, in place of an older one, at commit().
class SafeTensorsWriter {
 public:
  struct Info {
    std::string name;
    DType dtype;
    std::vector<Index> shape;
  };

  SafeTensorsWriter(const std::filesystem::path& path, const std::vector<Info>& tensors,
                    const Metadata& metadata = {});
  SafeTensorsWriter(const SafeTensorsWriter&) = delete;
  SafeTensorsWriter& operator=(const SafeTensorsWriter&) = delete;

  void write(std::span<const std::byte> bytes);
  void commit();

 private:
  /// Closed and removed, unless it has got its own name. A member, so that a constructor that fails leaves
  /// nothing behind either.
  struct Temporary {
    std::filesystem::path path;
    std::FILE* file = nullptr;
    Temporary() = default;
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    ~Temporary() {
      if (file != nullptr) std::fclose(file);
      std::error_code ignored;
      if (!path.empty()) std::filesystem::remove(path, ignored);
    }
  };

  [[noreturn]] void fail_system(const char* what) const;
  void open();
  std::string make_header(const std::vector<Info>& tensors, const Metadata& metadata);

  std::filesystem::path path_;
  Temporary temporary_;
  std::uint64_t remaining_ = 0;  // bytes that are still to be written
};

/// A tensor to be saved: its bytes in row-major order.
struct NamedTensor {
  std::string name;
  DType dtype;
  std::vector<Index> shape;
  std::span<const std::byte> bytes;

  NamedTensor(std::string its_name, DType its_dtype, std::vector<Index> its_shape,
              std::span<const std::byte> its_bytes)
      : name(std::move(its_name)), dtype(its_dtype), shape(std::move(its_shape)), bytes(its_bytes) {}
  template <class T, int Rank>
  NamedTensor(std::string its_name, const Tensor<T, Rank>& tensor)
      : NamedTensor(std::move(its_name), dtype_of<T>(), {tensor.shape().begin(), tensor.shape().end()},
                    std::as_bytes(tensor.span())) {}
};

/// Saves tensors: the widest elements first and then by name, so that the same tensors give the same file and
/// each lies aligned for its type.
void save_safetensors(const std::filesystem::path& path, std::vector<NamedTensor> tensors,
                      const Metadata& metadata = {});

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/io/safetensors_writer.inl>
#endif
