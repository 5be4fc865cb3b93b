// Bodies of safetensors.hpp.
#pragma once

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include <attend/core/error.hpp>
#include <attend/core/file.hpp>
#include <attend/gguf/folder.hpp>
#include <attend/gguf/gguf.hpp>
#include <attend/io/other_formats.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/io/safetensors_header.hpp>
#include <attend/json/json.hpp>

namespace attend::inline ATTEND_ABI {

struct SafeTensors::State {
  std::string opened;  // the file or index
  std::vector<std::unique_ptr<detail::MappedFile>> files;
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  /// Adds the tensors of one file: all, or those in `wanted`, each of which must be there and is taken out.
  void add_file(const Location& path, std::set<std::string>* wanted) {
    const detail::MappedFile& file = *files.emplace_back(std::make_unique<detail::MappedFile>(path));
    detail::SafeTensorsHeader header = detail::read_safetensors_header(file);
    if (wanted == nullptr) entries.reserve(header.tensors.size());
    const std::size_t first = entries.size();
    for (; !header.tensors.empty(); header.tensors.pop_front()) {
      auto& tensor = header.tensors.front();
      if (wanted != nullptr && wanted->erase(tensor.name) == 0) continue;
      entries.push_back({std::move(tensor.name), tensor.dtype, std::move(tensor.shape), &file,
                         file.bytes().data() + header.data_start + tensor.begin,
                         static_cast<std::size_t>(tensor.end - tensor.begin)});
    }
    for (const auto& [key, value] : header.metadata)
      if (key.starts_with("encoding.")) find_encoding(key.substr(9), value, first);
    metadata.merge(header.metadata);
    if (wanted != nullptr && !wanted->empty())
      throw_error(opened, ": tensor ", detail::in_quotes(*wanted->begin()), " is not in its shard ",
                  file.path());
  }

  /// "encoding.NAME": "int8 [64, 384]" of one of the entries from `first` on.
  void find_encoding(const std::string& name, const std::string& value, std::size_t first) {
    const auto found = std::find_if(entries.begin() + static_cast<std::ptrdiff_t>(first), entries.end(),
                                    [&](const Entry& entry) { return entry.name == name; });
    if (found == entries.end()) return;  // of a tensor that is not wanted
    const std::size_t space = value.find(" [");
    const std::string type = value.substr(0, space);
    std::vector<Index> shape;
    for (std::size_t at = space; at < value.size() - 1 && value[at] != ']';) {
      const char* begin = value.data() + at + 2;  // behind " [" or ", "
      Index size = -1;
      const auto [end, error] = std::from_chars(begin, value.data() + value.size(), size);
      if (error != std::errc() || size < 0) break;
      shape.push_back(size);
      at = static_cast<std::size_t>(end - value.data());
    }
    const bool int8 = type == "int8";
    if ((!int8 && type != "int4") || found->dtype != DType::U8 || shape.empty() ||
        value != type + " " + to_string(shape))
      fail_entry(*found, "an encoding that is not known: " + detail::in_quotes(value));
    found->dtype = int8 ? DType::Q8_0 : DType::Q4_0;
    const Index rows = shape[0], row_size = detail::checked_numel(std::span(shape).subspan(1));
    const std::size_t row = detail::kernels_of(found->type()).row_bytes(found->type(), row_size);
    if (found->shape != std::vector<Index>{rows, static_cast<Index>(row)})
      fail_entry(*found, value + " takes shape " + to_string(Shape<2>{rows, static_cast<Index>(row)}) +
                             ", got " + to_string(found->shape));
    found->shape = shape;
  }

  void add_gguf(const Location& path) {
    const detail::MappedFile& file = *files.emplace_back(std::make_unique<detail::MappedFile>(path));
    const GgufFile header(file);
    const std::string_view architecture = header.string("general.architecture").value_or("");
    entries.reserve(header.tensors());
    header.for_each_tensor([&](const GgufFile::Tensor& tensor) {
      entries.push_back(
          {detail::hugging_face_name(architecture, tensor.name),
           *dtype_from_string(tensor.type),
           {tensor.shape.begin(), tensor.shape.begin() + static_cast<std::ptrdiff_t>(tensor.rank)},
           &file,
           file.bytes().data() + tensor.begin,
           tensor.size});
    });
  }

  /// The index decides which tensor is read from which shard; shards lie beside it.
  void open_shards(const Location& index_path) {
    const auto json = share_json(index_path);
    const auto map = json->find("weight_map");
    if (map == json->end() || !map->is_object()) throw_error(opened, ": has no object 'weight_map'");
    std::map<std::string, std::set<std::string>> shards;
    for (const auto& [name, shard] : map->get_ref<const Json::object_t&>()) {
      if (!shard.is_string())
        throw_error(opened, ": the shard of ", detail::in_quotes(name), " is not a string");
      shards[shard.get<std::string>()].insert(name);
    }
    for (auto& [shard, names] : shards) {
      const Location path = detail::file_in_folder(index_path.parent(), shard, opened + ": shard");
      if (!path.exists()) throw_error(opened, ": shard ", detail::in_quotes(shard), " is missing");
      add_file(path, &names);
    }
  }
};

ATTEND_INLINE SafeTensors::SafeTensors(const Location& path) : state_(std::make_shared<State>()) {
  state_->opened = path.string();
  if (path.extension() == ".json")
    state_->open_shards(path);
  else if (path.extension() == ".gguf")
    state_->add_gguf(path);
  else
    state_->add_file(path, nullptr);
  std::sort(state_->entries.begin(), state_->entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < state_->entries.size(); ++i)
    if (state_->entries[i - 1].name == state_->entries[i].name)
      fail_entry(state_->entries[i], "there are two of this name");
}

ATTEND_INLINE SafeTensors SafeTensors::open_folder(const Location& folder) {
  if (const Location* file = folder.stands_for()) return SafeTensors(*file);
  detail::check_folder(folder);
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    if ((folder / name).exists()) return SafeTensors(folder / name);
  }
  throw_error(folder.string(), ": has neither model.safetensors nor model.safetensors.index.json",
              detail::other_formats(folder));
}

ATTEND_INLINE const std::string& SafeTensors::path() const { return state_->opened; }
ATTEND_INLINE const std::map<std::string, std::string>& SafeTensors::metadata() const {
  return state_->metadata;
}
ATTEND_INLINE const std::vector<SafeTensors::Entry>& SafeTensors::entries() const { return state_->entries; }
ATTEND_INLINE std::vector<std::string> SafeTensors::names() const {
  std::vector<std::string> names;
  for (const Entry& entry : entries()) names.push_back(entry.name);
  return names;
}
ATTEND_INLINE const SafeTensors::Entry* SafeTensors::find(std::string_view name) const {
  const auto found =
      std::lower_bound(entries().begin(), entries().end(), name,
                       [](const Entry& entry, std::string_view key) { return entry.name < key; });
  return found != entries().end() && found->name == name ? &*found : nullptr;
}
ATTEND_INLINE const SafeTensors::Entry& SafeTensors::at(std::string_view name) const {
  const Entry* entry = find(name);
  if (entry == nullptr) throw_error(path(), ": has no tensor ", detail::in_quotes(name));
  return *entry;
}

ATTEND_INLINE std::vector<float> SafeTensors::decode(const Entry& entry, Index first, Index count) {
  const Index rows = entry.rows(), row_size = entry.row_size();
  if (first < 0 || count < 0 || first > rows * row_size || count > rows * row_size - first)
    fail_entry(entry, "elements " + to_string(Shape<2>{first, count}) + " (first, count) of " +
                          std::to_string(rows * row_size));
  std::vector<float> values;
  if (count == 0) return values;
  const Index begin = first / row_size, end = (first + count - 1) / row_size + 1;
  const std::size_t row = entry.size / static_cast<std::size_t>(rows);
  values.resize(static_cast<std::size_t>((end - begin) * row_size));
  for (Index i = begin; i < end; ++i)
    detail::kernels_of(entry.type())
        .decode(entry.type(), entry.data + static_cast<std::size_t>(i) * row, row_size,
                values.data() + (i - begin) * row_size);
  values.erase(values.begin(), values.begin() + (first - begin * row_size));
  values.resize(static_cast<std::size_t>(count));
  return values;
}

ATTEND_INLINE void SafeTensors::release(const Entry& entry) const {
  entry.file->release(entry.data, entry.size);
}
ATTEND_INLINE void SafeTensors::release_rows(const Entry& entry, Index begin, Index end) const {
  const std::size_t row = entry.rows() > 0 ? entry.size / static_cast<std::size_t>(entry.rows()) : 0;
  entry.file->release(entry.data + static_cast<std::size_t>(begin) * row,
                      static_cast<std::size_t>(end - begin) * row);
}

[[noreturn]] ATTEND_INLINE void SafeTensors::fail_entry(const Entry& entry, const std::string& message) {
  throw_error(entry.file->path(), ": tensor ", detail::in_quotes(entry.name), ": ", message);
}
ATTEND_INLINE std::ptrdiff_t SafeTensors::offset(const Entry& entry) {
  return entry.data - entry.file->bytes().data();
}

}  // namespace attend::inline ATTEND_ABI
