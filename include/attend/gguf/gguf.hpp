// The header of a GGUF file: the metadata and the tensors of a model, in one file.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <attend/core/file.hpp>
#include <attend/core/function_ref.hpp>
#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

/// All that stands before the data of a file, checked once; nothing of it is copied but where the keys are,
/// so that the file must live as long. Versions 2 and 3, little-endian. Errors name the byte.
class GgufFile {
 public:
  /// A tensor where it lies: `type` is the format's name of it ("F32", "Q8_0"), and shape has the axes in
  /// PyTorch's order, the contiguous one last. Of types with blocks each row is whole blocks.
  struct Tensor {
    std::string_view name, type;    // of the tensor, of its encoding
    std::array<Index, 4> shape;     // those behind `rank` are 1
    std::size_t rank, begin, size;  // begin: its byte in the file; size: in bytes
  };

  /// Checks the header; Error where it is malformed. The file has to live as long.
  explicit GgufFile(const detail::MappedFile& file);

  const std::string& path() const { return file_.path(); }    // How errors name it.
  std::size_t bytes() const { return file_.bytes().size(); }  ///< of all of it

  /// Whether the metadata have the key.
  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// The value of a key; nothing where it is missing, an error where it is of another kind. A number is any
  /// integer or floating-point number. @{
  std::optional<std::string_view> string(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<Index> integer(std::string_view key) const;
  /// @}
  /// An integer that has to be there.
  Index at(std::string_view key) const;
  bool is_list(std::string_view key) const;  // Whether it is there and a list.
  /// How many values a list has; 0 where it is missing.
  std::size_t size(std::string_view key) const;
  /// Calls f for each value of a list of strings; not at all where it is missing.
  void for_each_string(std::string_view key, detail::FunctionRef<void(std::string_view)> f) const;
  /// Likewise of a list of numbers, or of booleans (1 and 0).
  void for_each_number(std::string_view key, detail::FunctionRef<void(double)> f) const;

  /// Calls f for each tensor, in the order of the file.
  void for_each_tensor(detail::FunctionRef<void(const Tensor&)> f) const;
  std::size_t tensors() const { return tensor_count_; }       // Number of tensors.
  std::optional<Tensor> tensor(std::string_view name) const;  // The tensor of that name, if there is one.
  /// Its bytes, where they lie.
  std::span<const std::byte> bytes(const Tensor& tensor) const {
    return file_.bytes().subspan(tensor.begin, tensor.size);
  }

  /// "path: 'key' …", for what a value says.
  template <class... Parts>
  [[noreturn]] void refuse(std::string_view key, const Parts&... parts) const {
    throw_error(path(), ": ", detail::in_quotes(key), parts...);
  }

 private:
  struct Cursor;
  struct Value {
    std::string_view key;
    std::uint32_t type, element;  // element: of a list
    std::uint64_t count;          // of a list
    std::size_t at;               // its first byte
  };

  const Value* find(std::string_view key) const;
  const Value* find_list(std::string_view key, bool strings) const;
  double number_of(const Value& value, std::uint32_t type, std::size_t at) const;

  const detail::MappedFile& file_;
  std::vector<Value> values_;  // by key
  std::size_t tensors_at_ = 0, data_at_ = 0;
  std::uint64_t tensor_count_ = 0, alignment_ = 32;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/gguf/gguf.inl>
#endif
