// Reads .npy files of version 1.0: C order, little endian, of the types that the conformance data holds.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/core/file.hpp>
#include <attend/core/shape.hpp>
#include <attend/json/json.hpp>

namespace conformance {

using attend::Index;

/// A tensor as it lies in a file; `dtype` is float32, float64, int32, int64, uint8 or bool.
struct Npy {
  std::string dtype;
  std::vector<Index> shape;
  std::vector<std::uint8_t> bytes;

  Index numel() const { return attend::detail::checked_numel(shape); }

  /// Elements as S, converted by value.
  template <class S>
  void copy_to(S* to) const {
    if (dtype == "float32") return convert<float>(to);
    if (dtype == "float64") return convert<double>(to);
    if (dtype == "int32") return convert<std::int32_t>(to);
    if (dtype == "int64") return convert<std::int64_t>(to);
    return convert<std::uint8_t>(to);  // bool too
  }

 private:
  template <class T, class S>
  void convert(S* to) const {
    for (std::size_t i = 0; i * sizeof(T) < bytes.size(); ++i) {
      T value;
      std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
      to[i] = static_cast<S>(value);
    }
  }
};

namespace detail {
/// What follows "'key':" in the header, a Python dictionary.
inline std::string_view header_value(std::string_view header, std::string_view key, const std::string& file) {
  const std::string quoted = "'" + std::string(key) + "':";
  const std::size_t at = header.find(quoted);
  if (at == std::string_view::npos) attend::throw_error(file, ": byte 10: no ", key, " in the header");
  header.remove_prefix(at + quoted.size());
  while (!header.empty() && header.front() == ' ') header.remove_prefix(1);
  return header;
}
}  // namespace detail

inline Npy read_npy(const std::filesystem::path& path) {
  static_assert(std::endian::native == std::endian::little);
  const std::string file = path.string(), content = attend::read_file(path);
  const std::string_view all = content;
  if (all.size() < 10 || all.substr(0, 6) != "\x93NUMPY")
    attend::throw_error(file, ": byte 0: not an npy file");
  if (all[6] != 1 || all[7] != 0) attend::throw_error(file, ": byte 6: expected version 1.0");
  const std::size_t length = static_cast<std::uint8_t>(all[8]) + 256u * static_cast<std::uint8_t>(all[9]);
  if (length > all.size() - 10) attend::throw_error(file, ": byte 8: a header of ", length, " bytes");
  const std::string_view header = all.substr(10, length);

  struct Type {
    std::string_view descr, name;
    std::size_t size;
  };
  static constexpr Type types[] = {{"'<f4'", "float32", 4}, {"'<f8'", "float64", 8}, {"'<i4'", "int32", 4},
                                   {"'<i8'", "int64", 8},   {"'|u1'", "uint8", 1},   {"'|b1'", "bool", 1}};
  Npy npy;
  std::size_t size = 0;
  const std::string_view descr = detail::header_value(header, "descr", file);
  for (const Type& type : types)
    if (descr.substr(0, type.descr.size()) == type.descr) npy.dtype = type.name, size = type.size;
  if (size == 0)
    attend::throw_error(file, ": byte 10: element type ", attend::detail::in_quotes(descr.substr(0, 8)),
                        " is not supported");
  if (detail::header_value(header, "fortran_order", file).substr(0, 5) != "False")
    attend::throw_error(file, ": byte 10: not in C order");

  std::string_view shape = detail::header_value(header, "shape", file);
  if (shape.empty() || shape.front() != '(') attend::throw_error(file, ": byte 10: no shape");
  shape = shape.substr(1, shape.find(')') - 1);
  for (std::size_t i = 0; i < shape.size();) {
    if (shape[i] == ' ' || shape[i] == ',') {
      ++i;
      continue;
    }
    Index n = 0;
    const std::size_t begin = i;
    for (; i < shape.size() && shape[i] >= '0' && shape[i] <= '9' && i - begin < 18; ++i)
      n = n * 10 + (shape[i] - '0');
    if (i == begin || (i < shape.size() && shape[i] != ','))
      attend::throw_error(file, ": byte 10: a size that is not a number");
    npy.shape.push_back(n);
  }
  const std::size_t expected =
      static_cast<std::size_t>(attend::detail::checked_numel(npy.shape, size)) * size;
  const std::string_view data = all.substr(10 + length);
  if (data.size() != expected)
    attend::throw_error(file, ": byte ", 10 + length, ": expected ", expected, " bytes of data, got ",
                        data.size());
  npy.bytes.assign(data.begin(), data.end());
  return npy;
}

}  // namespace conformance
