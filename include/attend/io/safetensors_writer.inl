// Bodies of safetensors_writer.hpp.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include <attend/core/error.hpp>
#include <attend/io/safetensors_writer.hpp>
#include <attend/json/json.hpp>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#elif defined(_WIN32)
#include <attend/core/windows_map.hpp>
#endif

namespace attend::inline ATTEND_ABI {

ATTEND_INLINE SafeTensorsWriter::SafeTensorsWriter(const std::filesystem::path& path,
                                                   const std::vector<Info>& tensors, const Metadata& metadata)
    : path_(path) {
  const std::string header = make_header(tensors, metadata);
  open();
  const std::uint64_t length = header.size();
  remaining_ += 8 + length;
  write(std::as_bytes(std::span(&length, 1)));
  write(std::as_bytes(std::span(header)));
}

ATTEND_INLINE void SafeTensorsWriter::write(std::span<const std::byte> bytes) {
  if (bytes.size() > remaining_)
    throw_error(detail::utf8_text(path_), ": more bytes written than the header says");
  remaining_ -= bytes.size();
  if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), temporary_.file) != bytes.size())
    fail_system("cannot write");
}

ATTEND_INLINE void SafeTensorsWriter::commit() {
  if (remaining_ != 0)
    throw_error(detail::utf8_text(path_), ": ", remaining_, " bytes less written than the header says");
  if (temporary_.file == nullptr) throw_error(detail::utf8_text(path_), ": is written already");
  bool good = std::ferror(temporary_.file) == 0 && std::fflush(temporary_.file) == 0;
#if defined(__unix__) || defined(__APPLE__)
  // The new file is on the disk before the old one is gone.
  good = good && ::fsync(::fileno(temporary_.file)) == 0;
#endif
  good = (std::fclose(std::exchange(temporary_.file, nullptr)) == 0) && good;
  if (!good) fail_system("cannot write");
  std::error_code error;
  std::filesystem::rename(detail::any_length(temporary_.path), detail::any_length(path_), error);
  if (error) throw_error(detail::utf8_text(path_), ": cannot replace: ", error.message());
  temporary_.path.clear();
}

[[noreturn]] ATTEND_INLINE void SafeTensorsWriter::fail_system(const char* what) const {
  throw_error(detail::utf8_text(path_), ": ", what, ": ", std::strerror(errno));
}
ATTEND_INLINE void SafeTensorsWriter::open() {
  for (int attempt = 0; temporary_.file == nullptr && attempt < 100; ++attempt) {
    std::filesystem::path name = path_;
    name += ".tmp" + std::to_string(attempt);
#if defined(_WIN32)
    temporary_.file = detail::create_file(name);
#else
    temporary_.file = std::fopen(name.c_str(), "wbx");  // x: never somebody else's file
#endif
    if (temporary_.file != nullptr)
      temporary_.path = std::move(name);
    else if (errno != EEXIST)
      break;
  }
  if (temporary_.file == nullptr) fail_system("cannot create a file beside it");
}
ATTEND_INLINE std::string SafeTensorsWriter::make_header(const std::vector<Info>& tensors,
                                                         const Metadata& metadata) {
  const auto text = [&](const std::string& value) {
    std::string escaped = Json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
    // Replacing would merge names that differ; a safetensors header has to be UTF-8.
    if (share_json(escaped, detail::utf8_text(path_))->get_ref<const std::string&>() != value)
      throw_error(detail::utf8_text(path_), ": ", detail::in_quotes(value), " is not UTF-8");
    return escaped;
  };
  std::string header = "{", comma;
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata)
      header += std::exchange(comma, ",") + text(key) + ":" + text(value);
    header += "}";
  }
  std::set<std::string> names;
  for (const Info& tensor : tensors) {
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second)
      throw_error(detail::utf8_text(path_), ": the name ", detail::in_quotes(tensor.name), " is taken");
    if (detail::bits_of(tensor.dtype) % 8 != 0 || detail::is_in_blocks(tensor.dtype))
      throw_error(detail::utf8_text(path_), ": ", to_string(tensor.dtype), " is not supported");
    const auto element_size = static_cast<std::size_t>(detail::bits_of(tensor.dtype) / 8);
    const std::uint64_t size =
        static_cast<std::uint64_t>(detail::checked_numel(tensor.shape, element_size)) * element_size;
    header += header.size() > 1 ? "," : "";
    header += text(tensor.name) + ":{\"dtype\":\"" + std::string(to_string(tensor.dtype)) + "\",\"shape\":[";
    for (std::size_t i = 0; i < tensor.shape.size(); ++i)
      header += (i > 0 ? "," : "") + std::to_string(tensor.shape[i]);
    header +=
        "],\"data_offsets\":[" + std::to_string(remaining_) + "," + std::to_string(remaining_ + size) + "]}";
    remaining_ += size;
  }
  header += "}";
  if (header.size() > 100'000'000)
    throw_error(detail::utf8_text(path_), ": the header would be longer than 100000000 bytes");
  header.append((8 - header.size() % 8) % 8, ' ');  // so that the data start on a border of 8 bytes
  return header;
}

ATTEND_INLINE void save_safetensors(const std::filesystem::path& path, std::vector<NamedTensor> tensors,
                                    const Metadata& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const NamedTensor& a, const NamedTensor& b) {
    return std::pair(-detail::bits_of(a.dtype), std::string_view(a.name)) <
           std::pair(-detail::bits_of(b.dtype), std::string_view(b.name));
  });
  std::vector<SafeTensorsWriter::Info> infos;
  for (const NamedTensor& tensor : tensors) {
    const auto element_size = static_cast<std::size_t>(detail::bits_of(tensor.dtype)) / 8;
    if (static_cast<std::size_t>(detail::checked_numel(tensor.shape, element_size)) * element_size !=
        tensor.bytes.size())
      throw_error(detail::utf8_text(path), ": tensor ", detail::in_quotes(tensor.name), ": expected ",
                  tensor.shape, " of ", to_string(tensor.dtype), ", got ", tensor.bytes.size(), " bytes");
    infos.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  SafeTensorsWriter writer(path, infos, metadata);
  for (const NamedTensor& tensor : tensors) writer.write(tensor.bytes);
  writer.commit();
}

}  // namespace attend::inline ATTEND_ABI
