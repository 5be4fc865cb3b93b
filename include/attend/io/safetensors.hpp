// Reads safetensors files, one or several shards, without copying them.
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/core/file.hpp>
#include <attend/core/shape.hpp>
#include <attend/io/dtype.hpp>
#include <attend/io/safetensors_header.hpp>
#include <attend/io/safetensors_writer.hpp>
#include <attend/json/json.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// The tensors of a safetensors file or of a set of shards, memory-mapped. Copies share the mapping; it lives
/// as long as the last copy, and views and entries live as long as it. Any number of threads may read.
class SafeTensors {
 public:
  struct Entry {
    std::string name;
    DType dtype;
    std::vector<Index> shape;
    const MappedFile* file;
    const std::byte* data;  // no alignment is promised
    std::size_t size;       // bytes

    Index numel() const { return checked_numel(shape); }
    /// Rows as in Parameter: slices at one first index. A scalar is one row of one element.
    Index rows() const { return shape.empty() ? 1 : shape[0]; }
    Index row_size() const { return shape.empty() ? 1 : checked_numel(std::span(shape).subspan(1)); }
  };

  /// Opens a .safetensors file, or a .safetensors.index.json with the shards beside it.
  explicit SafeTensors(const std::filesystem::path& path) : state_(std::make_shared<State>()) {
    state_->path = path.string();
    if (path.extension() == ".json")
      open_shards(path);
    else
      add_file(path, nullptr);
    std::sort(state_->entries.begin(), state_->entries.end(),
              [](const Entry& a, const Entry& b) { return a.name < b.name; });
  }

  /// Opens model.safetensors in a folder, or the shards that model.safetensors.index.json names.
  static SafeTensors open_folder(const std::filesystem::path& folder) {
    for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
      std::error_code ignored;
      if (std::filesystem::exists(folder / name, ignored)) return SafeTensors(folder / name);
    }
    throw_error(folder.string(), ": has neither model.safetensors nor model.safetensors.index.json");
  }

  /// The file or index that was opened.
  const std::string& path() const { return state_->path; }
  /// The header's __metadata__; of shards, all of theirs (the first to name a key wins).
  const std::map<std::string, std::string>& metadata() const { return state_->metadata; }
  /// All tensors, by name.
  const std::vector<Entry>& entries() const { return state_->entries; }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const Entry& entry : entries()) names.push_back(entry.name);
    return names;
  }
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// Null where there is no such tensor.
  const Entry* find(std::string_view name) const {
    const auto found =
        std::lower_bound(entries().begin(), entries().end(), name,
                         [](const Entry& entry, std::string_view key) { return entry.name < key; });
    return found != entries().end() && found->name == name ? &*found : nullptr;
  }
  const Entry& at(std::string_view name) const {
    const Entry* entry = find(name);
    if (entry == nullptr) throw_error(path(), ": has no tensor ", in_quotes(name));
    return *entry;
  }

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
      fail_entry(entry, "lies at byte " + std::to_string(entry.data - entry.file->bytes().data()) +
                            ", which is not aligned for " + std::string(to_string(entry.dtype)) +
                            " (read() copies it)");
    return TensorView<const T, Rank>(reinterpret_cast<const T*>(entry.data), shape);
  }

  /// Copies `count` elements in row-major order, from element `first` on, converted to Scalar.
  template <class Scalar>
  void read_elements(const Entry& entry, Index first, Index count, Scalar* out) const {
    if (!is_readable(entry.dtype))
      fail_entry(entry, std::string(to_string(entry.dtype)) + " is not supported");
    const Index element_size = bits_of(entry.dtype) / 8;
    const Index total = static_cast<Index>(entry.size) / element_size;
    if (first < 0 || count < 0 || first > total || count > total - first)
      fail_entry(entry, "elements " + to_string(Shape<2>{first, count}) + " (first, count) of " +
                            std::to_string(total));
    if (!convert(entry.dtype, entry.data + first * element_size, count, out))
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
  void release(const Entry& entry) const { entry.file->release(entry.data, entry.size); }
  /// The same of rows [begin, end).
  void release_rows(const Entry& entry, Index begin, Index end) const {
    const std::size_t row = entry.rows() > 0 ? entry.size / static_cast<std::size_t>(entry.rows()) : 0;
    entry.file->release(entry.data + static_cast<std::size_t>(begin) * row,
                        static_cast<std::size_t>(end - begin) * row);
  }

 private:
  struct State {
    std::string path;
    std::vector<std::unique_ptr<MappedFile>> files;
    std::vector<Entry> entries;
    std::map<std::string, std::string> metadata;
  };

  [[noreturn]] static void fail_entry(const Entry& entry, const std::string& message) {
    throw_error(entry.file->path(), ": tensor ", in_quotes(entry.name), ": ", message);
  }
  template <int Rank>
  static Shape<Rank> shape_of(const Entry& entry) {
    Shape<Rank> shape{};
    if (entry.shape.size() != shape.size())
      fail_entry(entry, "expected rank " + std::to_string(Rank) + ", got shape " + to_string(entry.shape));
    for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = entry.shape[i];
    return shape;
  }

  /// Adds the tensors of one file: all, or those in `wanted`, each of which must be there and is taken out.
  void add_file(const std::filesystem::path& path, std::set<std::string>* wanted) {
    const MappedFile& file = *state_->files.emplace_back(std::make_unique<MappedFile>(path));
    detail::SafeTensorsHeader header = detail::read_safetensors_header(file);
    if (wanted == nullptr) state_->entries.reserve(header.tensors.size());
    for (; !header.tensors.empty(); header.tensors.pop_front()) {
      auto& tensor = header.tensors.front();
      if (wanted != nullptr && wanted->erase(tensor.name) == 0) continue;
      state_->entries.push_back({std::move(tensor.name), tensor.dtype, std::move(tensor.shape), &file,
                                 file.bytes().data() + header.data_start + tensor.begin,
                                 std::size_t{tensor.end - tensor.begin}});
    }
    state_->metadata.merge(header.metadata);
    if (wanted != nullptr && !wanted->empty())
      throw_error(state_->path, ": tensor ", in_quotes(*wanted->begin()), " is not in its shard ",
                  file.path());
  }

  /// The index decides which tensor is read from which shard; shards lie beside it.
  void open_shards(const std::filesystem::path& index_path) {
    const auto json = share_json(index_path);
    const auto map = json->find("weight_map");
    if (map == json->end() || !map->is_object()) throw_error(state_->path, ": has no object 'weight_map'");
    std::map<std::string, std::set<std::string>> shards;
    for (const auto& [name, shard] : map->get_ref<const Json::object_t&>()) {
      if (!shard.is_string())
        throw_error(state_->path, ": the shard of ", in_quotes(name), " is not a string");
      shards[shard.get<std::string>()].insert(name);
    }
    for (auto& [shard, names] : shards) {
      const std::filesystem::path path =
          file_in_folder(index_path.parent_path(), shard, state_->path + ": shard");
      std::error_code ignored;
      if (!std::filesystem::exists(path, ignored))
        throw_error(state_->path, ": shard ", in_quotes(shard), " is missing");
      add_file(path, &names);
    }
  }

  std::shared_ptr<State> state_;
};

}  // namespace attend::inline ATTEND_ABI
