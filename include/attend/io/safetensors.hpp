// Reads safetensors files, one or several shards, and GGUF files, without copying them.
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <attend/core/location.hpp>
#include <attend/core/shape.hpp>
#include <attend/core/threads.hpp>
#include <attend/core/weight_type.hpp>
#include <attend/io/dtype.hpp>
#include <attend/io/gguf_blocks.hpp>
#include <attend/io/safetensors_writer.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
class MappedFile;
}  // namespace detail

/// The tensors of a safetensors file, of a set of shards or of a GGUF file, memory-mapped. Copies share the
/// mapping; it lives as long as the last copy, and views and entries live as long as it. Any number of
/// threads may read. A tensor of U8 of which a safetensors file's metadata says "encoding.NAME":
/// "int8 [64, 384]" (or int4) is one of that shape in rows of Q8_0 (Q4_0), as `save` writes them.
class SafeTensors {
 public:
  /// A tensor where it lies in a file.
  struct Entry {
    std::string name;                // as the file has it
    DType dtype;                     // of its elements
    std::vector<Index> shape;        // as the file has it; empty of a scalar
    const detail::MappedFile* file;  // the shard that it lies in
    const std::byte* data;           // no alignment is promised
    std::size_t size;                // bytes

    /// What its rows are an encoding of; float32 where they are none of ours.
    WeightType type() const {
      return dtype == DType::BF16   ? WeightType::bfloat16
             : dtype == DType::F16  ? WeightType::float16
             : dtype == DType::Q8_0 ? WeightType::int8
             : dtype == DType::Q4_0 ? WeightType::int4
                                    : WeightType::float32;
    }
    Index numel() const { return detail::checked_numel(shape); }  // Number of elements.
    /// Rows as in Parameter: slices at one first index. A scalar is one row of one element.
    Index rows() const { return shape.empty() ? 1 : shape[0]; }
    /// Elements of a row.
    Index row_size() const { return shape.empty() ? 1 : detail::checked_numel(std::span(shape).subspan(1)); }
  };

  SafeTensors(const SafeTensors&) = default;  // without moves, so that none is ever empty
  SafeTensors& operator=(const SafeTensors&) = default;

  /// Opens a .safetensors file, a .safetensors.index.json with the shards beside it, or a .gguf file, whose
  /// tensors get the names that they have in Hugging Face's checkpoints of that architecture.
  explicit SafeTensors(const Location& path);

  /// Opens model.safetensors in a folder, or the shards that model.safetensors.index.json names, or the GGUF
  /// file that stands for the folder.
  static SafeTensors open_folder(const Location& folder);

  /// The file or index that was opened.
  const std::string& path() const;
  /// The header's __metadata__; of shards, all of theirs (the first to name a key wins).
  const std::map<std::string, std::string>& metadata() const;
  /// All tensors, by name.
  const std::vector<Entry>& entries() const;
  std::vector<std::string> names() const;  // In the order of their letters.
  /// Whether there is a tensor of that name.
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// Null where there is no such tensor.
  const Entry* find(std::string_view name) const;
  /// Error where there is no such tensor.
  const Entry& at(std::string_view name) const;

  /// The tensor where it lies in the file. Error where it is of another type or rank, or not aligned for T.
  /// T is the stored type: float, double, Eigen::half, Eigen::bfloat16 or an integer (BOOL: uint8_t).
  template <class T, int Rank>
  TensorView<const T, Rank> view(std::string_view name) const {
    static_assert(!std::is_same_v<T, bool>, "a byte of a file need not be a bool: view it as std::uint8_t");
    const Entry& entry = at(name);
    const bool bytes = std::is_same_v<T, std::uint8_t> && entry.dtype == DType::BOOL;
    if (entry.dtype != dtype_of<T>() && !bytes)
      fail_entry(entry, "expected " + std::string(to_string(dtype_of<T>())) + ", got " +
                            std::string(to_string(entry.dtype)));
    const Shape<Rank> shape = shape_of<Rank>(entry);
    if (reinterpret_cast<std::uintptr_t>(entry.data) % alignof(T) != 0)
      fail_entry(entry, "lies at byte " + std::to_string(offset(entry)) + ", which is not aligned for " +
                            std::string(to_string(entry.dtype)) + " (read() copies it)");
    return TensorView<const T, Rank>(reinterpret_cast<const T*>(entry.data), shape);
  }

  /// Copies `count` elements in row-major order, from element `first` on, converted to Scalar.
  template <class Scalar>
  void read_elements(const Entry& entry, Index first, Index count, Scalar* out) const {
    const detail::FloatEnvironment environment;
    if (detail::is_in_blocks(entry.dtype) && entry.row_size() % detail::elements_of(entry.dtype) != 0) {
      const std::vector<float> values = decode(entry, first, count);
      for (const float value : values) *out++ = static_cast<Scalar>(value);
      return;
    }
    if (!detail::is_readable(entry.dtype))
      fail_entry(entry, std::string(to_string(entry.dtype)) + " is not supported");
    const Index block_size = detail::bits_of(entry.dtype) / 8;
    const Index total = static_cast<Index>(entry.size) / block_size * detail::elements_of(entry.dtype);
    if (first < 0 || count < 0 || first > total || count > total - first)
      fail_entry(entry, "elements " + to_string(Shape<2>{first, count}) + " (first, count) of " +
                            std::to_string(total));
    if (detail::is_in_blocks(entry.dtype)
            ? !detail::convert_blocks(entry.dtype, entry.data, first, count, out)
            : !detail::convert(entry.dtype, entry.data + first * block_size, count, out))
      fail_entry(entry, "values of type " + std::string(to_string(entry.dtype)) +
                            " do not fit the integer asked for");
  }
  /// Copies rows [begin, end), converted: (end - begin) * entry.row_size() elements. Floating-point scalars
  /// take every type of number, integral ones take integers that they can hold.
  template <class Scalar>
  void read_rows(const Entry& entry, Index begin, Index end, Scalar* out) const {
    if (begin < 0 || end < begin || end > entry.rows())
      fail_entry(entry, "rows " + to_string(Shape<2>{begin, end}) + " of shape " + to_string(entry.shape));
    read_elements(entry, begin * entry.row_size(), (end - begin) * entry.row_size(), out);
  }
  /// A converted copy of a whole tensor.
  template <class T, int Rank>
  Tensor<T, Rank> read(std::string_view name) const {
    const Entry& entry = at(name);
    Tensor<T, Rank> result(shape_of<Rank>(entry));
    read_elements(entry, 0, result.numel(), result.data());
    return result;
  }

  /// Tells the system that the tensor's pages are no longer needed; reading it again fetches them again.
  void release(const Entry& entry) const;
  /// The same of rows [begin, end).
  void release_rows(const Entry& entry, Index begin, Index end) const;

 private:
  struct State;

  /// Elements of rows whose last block is not full.
  static std::vector<float> decode(const Entry& entry, Index first, Index count);
  [[noreturn]] static void fail_entry(const Entry& entry, const std::string& message);
  static std::ptrdiff_t offset(const Entry& entry);  // in its file
  template <int Rank>
  static Shape<Rank> shape_of(const Entry& entry) {
    Shape<Rank> shape{};
    if (entry.shape.size() != shape.size())
      fail_entry(entry, "expected rank " + std::to_string(Rank) + ", got shape " + to_string(entry.shape));
    for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = entry.shape[i];
    return shape;
  }

  std::shared_ptr<State> state_;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/io/safetensors.inl>
#endif
