// The header of a safetensors file: parsed and checked before anything else looks at the file.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/core/file.hpp>
#include <attend/core/shape.hpp>
#include <attend/io/dtype.hpp>
#include <attend/json/json.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// The format's own limit.
inline constexpr std::uint64_t kMaxHeaderSize = 100'000'000;
/// Beyond what any program writes: they keep the memory that a header takes below four times its size.
inline constexpr std::size_t kMaxAxes = 64, kMaxMetadata = 4096;

struct SafeTensorsHeader {
  struct Tensor {
    std::string name;
    DType dtype{};
    std::vector<Index> shape;
    std::uint64_t begin = 0, end = 0;  // bytes behind data_start
    std::size_t header_offset = 0;     // where the header speaks of it, for errors
  };
  std::deque<Tensor> tensors;  // in the order of their bytes, without holes or overlaps
  std::map<std::string, std::string> metadata;
  std::size_t data_start = 0;
};

/// Reads {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
///        "__metadata__": {"key": "value", ...}}.
/// Other keys of a tensor are skipped, as by the format's own reader.
class SafeTensorsHeaderReader final : public JsonReader {
 public:
  SafeTensorsHeaderReader(const std::string& source, std::string_view text, std::size_t origin,
                          SafeTensorsHeader& header)
      : JsonReader(source, text, origin), header_(header) {}

 private:
  // Depth 1 is the header, depth 2 a tensor or the metadata, depth 3 a list in a tensor.
  enum class Field { none, dtype, shape, data_offsets };

  bool in_list() const { return depth() == 3 && !skipping(); }
  bool in_tensor() const { return depth() == 2 && !in_metadata_; }
  /// Inside the value of a key that we do not know.
  bool skipping() const { return depth() >= 2 && !in_metadata_ && field_ == Field::none; }

  [[noreturn]] void unexpected(const char* what) const {
    if (depth() == 0) fail_here("the header is not a JSON object");
    if (in_metadata_) fail_here("__metadata__ holds something else than strings");
    fail_here("tensor " + in_quotes(tensor_.name) + ": unexpected " + what);
  }
  bool scalar(const char* what) {
    if (!skipping()) unexpected(what);
    return true;
  }
  bool null() override { return scalar("null"); }
  bool boolean(bool) override { return scalar("boolean"); }
  bool number_integer(number_integer_t) override { return scalar("negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return scalar("number that is not a 64-bit integer");
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!in_list()) return scalar("number");
    if (value > static_cast<std::uint64_t>((std::numeric_limits<Index>::max)()))
      unexpected("number beyond 2^63");
    if (field_ == Field::shape) {
      if (tensor_.shape.size() == kMaxAxes) unexpected("axis number 65");
      tensor_.shape.push_back(static_cast<Index>(value));
    } else {
      if (offset_count_ == 2) unexpected("third data_offset");
      (offset_count_++ == 0 ? tensor_.begin : tensor_.end) = value;
    }
    return true;
  }
  bool string(string_t& value) override {
    if (depth() == 2 && in_metadata_) {
      if (header_.metadata.size() == kMaxMetadata) fail_here("more than 4096 entries of __metadata__");
      header_.metadata.emplace(std::move(key_), std::move(value));
    } else if (in_tensor() && field_ == Field::dtype) {
      const std::optional<DType> type = dtype_from_string(value);
      if (!type || is_in_blocks(*type))
        fail_here("tensor " + in_quotes(tensor_.name) + ": unknown dtype " + in_quotes(value));
      tensor_.dtype = *type;
    } else {
      scalar("string");
    }
    return true;
  }
  bool start_object(std::size_t) override {
    if (depth() >= 2 && !skipping()) unexpected("object");
    enter();
    if (depth() == 2 && !in_metadata_) {
      seen_ = {};
      field_ = Field::none;
      offset_count_ = 0;
    }
    return true;
  }
  bool end_object() override {
    leave();
    if (depth() == 1 && !in_metadata_) {
      for (const char* key : {"dtype", "shape", "data_offsets"})
        if (std::find(seen_.begin(), seen_.end(), key) == seen_.end())
          fail_here("tensor " + in_quotes(tensor_.name) + ": has no " + key);
      header_.tensors.push_back(std::move(tensor_));
      tensor_ = {};
    }
    if (depth() == 1) in_metadata_ = false;
    return true;
  }
  bool start_array(std::size_t) override {
    const bool list = in_tensor() && (field_ == Field::shape || field_ == Field::data_offsets);
    if (!list && !skipping()) unexpected("list");
    enter();
    return true;
  }
  bool end_array() override {
    leave();
    if (in_tensor() && field_ == Field::data_offsets && offset_count_ != 2) unexpected("end of data_offsets");
    return true;
  }
  bool key(string_t& name) override {
    if (depth() == 1) {
      in_metadata_ = name == "__metadata__";
      if (in_metadata_ && std::exchange(had_metadata_, true)) fail_here("duplicate name " + in_quotes(name));
      tensor_.name = name;
      tensor_.header_offset = consumed();
    } else if (depth() == 2) {
      if (in_metadata_ ? header_.metadata.contains(name)
                       : std::find(seen_.begin(), seen_.end(), name) != seen_.end())
        fail_here("duplicate key " + in_quotes(name) + " in " + in_quotes(tensor_.name));
      if (!in_metadata_ && seen_.size() == kMaxAxes)
        fail_here("tensor " + in_quotes(tensor_.name) + ": too many fields");
      if (!in_metadata_) seen_.push_back(name);
      field_ = name == "dtype"          ? Field::dtype
               : name == "shape"        ? Field::shape
               : name == "data_offsets" ? Field::data_offsets
                                        : Field::none;
      key_ = name;
    }
    return true;
  }

  SafeTensorsHeader& header_;
  std::vector<std::string> seen_;  // fields of the tensor
  SafeTensorsHeader::Tensor tensor_;
  std::string key_;
  Field field_ = Field::none;
  int offset_count_ = 0;
  bool in_metadata_ = false, had_metadata_ = false;
};

/// Bytes of a tensor; nothing where they are no whole number or more than memory can hold.
inline std::optional<std::uint64_t> byte_count(const std::vector<Index>& shape, DType type) {
  const auto bits = static_cast<std::uint64_t>(bits_of(type));
  const std::uint64_t limit = static_cast<std::uint64_t>((std::numeric_limits<Index>::max)()) / bits;
  std::uint64_t product = 1;
  bool empty = false;
  for (Index size : shape) {
    if (size == 0) {
      empty = true;
      continue;
    }
    if (product > limit / static_cast<std::uint64_t>(size)) return std::nullopt;
    product *= static_cast<std::uint64_t>(size);
  }
  if (empty) return 0;
  if (product * bits % 8 != 0) return std::nullopt;
  return product * bits / 8;
}

inline SafeTensorsHeader read_safetensors_header(const MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  const auto fail_at = [&](std::uint64_t offset, const std::string& message) {
    throw_error(file.path(), ": byte ", offset, ": ", message);
  };
  if (bytes.size() < 8)
    fail_at(0, "a safetensors file starts with 8 bytes, this one has " + std::to_string(bytes.size()));
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  if (length > kMaxHeaderSize)
    fail_at(0, "header of " + std::to_string(length) + " bytes, more than 100000000");
  if (length > bytes.size() - 8)
    fail_at(0, "header of " + std::to_string(length) + " bytes in a file of " + std::to_string(bytes.size()));
  const std::string_view text =
      std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()).substr(8, length);
  if (text.empty() || text[0] != '{') fail_at(8, "the header does not begin with '{'");

  SafeTensorsHeader header;
  header.data_start = 8 + text.size();
  SafeTensorsHeaderReader(file.path(), text, 8, header).read();

  auto& tensors = header.tensors;
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.name, a.header_offset) < std::tie(b.name, b.header_offset);
  });
  const auto twice = std::adjacent_find(tensors.begin(), tensors.end(),
                                        [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != tensors.end())
    fail_at(8 + std::next(twice)->header_offset, "duplicate name " + in_quotes(twice->name));
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  const std::uint64_t data_size = bytes.size() - header.data_start;
  std::uint64_t covered = 0;
  for (const auto& tensor : tensors) {
    const auto fail_tensor = [&](const std::string& message) {
      fail_at(8 + tensor.header_offset, "tensor " + in_quotes(tensor.name) + ": " + message);
    };
    const std::string range =
        "data_offsets [" + std::to_string(tensor.begin) + ", " + std::to_string(tensor.end) + "]";
    if (tensor.begin > tensor.end) fail_tensor(range + " are reversed");
    if (tensor.end > data_size)
      fail_tensor(range + " reach beyond the " + std::to_string(data_size) + " bytes of data");
    const std::optional<std::uint64_t> size = byte_count(tensor.shape, tensor.dtype);
    if (!size || *size != tensor.end - tensor.begin)
      fail_tensor(
          "shape " + to_string(tensor.shape) + " of " + std::string(to_string(tensor.dtype)) + " is " +
          (size ? std::to_string(*size) + " bytes" : "no whole number of bytes, or too many for any memory") +
          ", " + range + " are " + std::to_string(tensor.end - tensor.begin));
    if (tensor.begin != covered)
      fail_tensor(range + (tensor.begin < covered ? " overlap the tensor before" : " leave a hole before"));
    covered = tensor.end;
  }
  if (covered != data_size)
    fail_at(header.data_start + covered, std::to_string(data_size - covered) + " bytes belong to no tensor");
  return header;
}

}  // namespace attend::inline ATTEND_ABI::detail
