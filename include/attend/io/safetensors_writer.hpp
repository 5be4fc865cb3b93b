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

/// strings by name, which the format keeps beside the tensors
using Metadata = std::map<std::string, std::string>;

/// Writes a file in pieces: the header from a list of tensors, then their bytes in the order of that list.
/// The file appears under its name, in place of an older one, at commit().
class SafeTensorsWriter {
 public:
  /// A tensor that is to be written.
  struct Info {
    std::string name;          // what readers ask for
    DType dtype;               // of its elements
    std::vector<Index> shape;  // row-major
  };

  /// Writes the header into a new file beside `path`. Error where a name is not UTF-8 or the disk refuses.
  SafeTensorsWriter(const std::filesystem::path& path, const std::vector<Info>& tensors,
                    const Metadata& metadata = {});
  SafeTensorsWriter(const SafeTensorsWriter&) = delete;
  SafeTensorsWriter& operator=(const SafeTensorsWriter&) = delete;

  /// The next bytes, in pieces of any size, of one tensor after the other, row-major, little-endian.
  void write(std::span<const std::byte> bytes);
  void commit();  // Gives the file its name. Error where bytes are missing.

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
  std::string name;                  // what readers ask for
  DType dtype;                       // of its elements
  std::vector<Index> shape;          // row-major
  std::span<const std::byte> bytes;  // which have to live until the file is written

  /// Bytes of any type, row-major, little-endian.
  NamedTensor(std::string its_name, DType its_dtype, std::vector<Index> its_shape,
              std::span<const std::byte> its_bytes)
      : name(std::move(its_name)), dtype(its_dtype), shape(std::move(its_shape)), bytes(its_bytes) {}
  /// A tensor, by its type and shape; it has to live as long.
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
