// Bodies of gguf.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include <attend/core/error.hpp>
#include <attend/core/threads.hpp>
#include <attend/gguf/gguf.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {

struct GgufType {
  std::string_view name;
  std::uint64_t elements, bytes;  // of a block; bytes 0: not supported
};
/// By the number that the format gives them.
inline constexpr GgufType kGgufTypes[] = {
    {"F32", 1, 4},     {"F16", 1, 2},       {"Q4_0", 32, 18},   {"Q4_1", 32, 20},    {"Q4_2", 32, 0},
    {"Q4_3", 32, 0},   {"Q5_0", 32, 22},    {"Q5_1", 32, 24},   {"Q8_0", 32, 34},    {"Q8_1", 32, 0},
    {"Q2_K", 256, 0},  {"Q3_K", 256, 0},    {"Q4_K", 256, 144}, {"Q5_K", 256, 176},  {"Q6_K", 256, 210},
    {"Q8_K", 256, 0},  {"IQ2_XXS", 256, 0}, {"IQ2_XS", 256, 0}, {"IQ3_XXS", 256, 0}, {"IQ1_S", 256, 0},
    {"IQ4_NL", 32, 0}, {"IQ3_S", 256, 0},   {"IQ2_S", 256, 0},  {"IQ4_XS", 256, 0},  {"I8", 1, 1},
    {"I16", 1, 2},     {"I32", 1, 4},       {"I64", 1, 8},      {"F64", 1, 8},       {"IQ1_M", 256, 0},
    {"BF16", 1, 2}};

/// Kinds of metadata.
enum GgufKind : std::uint32_t {
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  F32,
  boolean,
  string,
  list,
  U64,
  I64,
  F64,
  kinds
};
inline constexpr std::size_t kGgufSizes[kinds] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/// The number of fewest decimals that is this float: what was meant by 1e-6, which as a float
/// is 9.99999997e-7.
inline double decimal_of(float value) {
  const double exact = static_cast<double>(value);
  if (!std::isfinite(exact) || exact == 0) return exact;
  const FloatEnvironment environment;
  const int magnitude = static_cast<int>(std::floor(std::log10(std::abs(exact))));
  for (int digits = 1; digits < 9; ++digits) {
    const int shift = digits - 1 - magnitude;
    const double scale = std::pow(10.0, std::abs(shift));
    const double rounded = std::round(shift > 0 ? exact * scale : exact / scale);
    const double decimal = shift > 0 ? rounded / scale : rounded * scale;
    if (static_cast<float>(decimal) == value) return decimal;
  }
  return exact;
}

}  // namespace detail

/// Reads on from a byte; what would lie behind the end is an error.
struct GgufFile::Cursor {
  const detail::MappedFile& file;
  std::size_t at;

  [[noreturn]] void refuse(std::size_t byte, const std::string& message) const {
    throw_error(file.path(), ": byte ", byte, ": ", message);
  }
  const std::byte* take(std::uint64_t size) {
    if (size > file.bytes().size() - at) refuse(at, "the file ends too early");
    const std::byte* taken = file.bytes().data() + at;
    at += size;
    return taken;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)), sizeof(T));
    return value;
  }
  std::string_view string() {
    const auto size = number<std::uint64_t>();
    const std::byte* begin = take(size);
    return {reinterpret_cast<const char*>(begin), static_cast<std::size_t>(size)};
  }
  /// A number of things of at least `least` bytes each.
  std::uint64_t count(std::uint64_t least, const char* what) {
    const std::size_t begin = at;
    const auto n = number<std::uint64_t>();
    if (n > (file.bytes().size() - at) / least)
      refuse(begin, std::to_string(n) + " " + what + " do not fit into the file");
    return n;
  }

  Value value() {
    const std::size_t begin = at;
    Value out{.key = string(), .type = number<std::uint32_t>(), .element = 0, .count = 0, .at = 0};
    const auto check_type = [&](std::uint32_t type, bool in_list) {
      if (type >= detail::kinds || (in_list && type == detail::list))
        refuse(at - 4, "key " + detail::in_quotes(out.key) + ": unknown type " + std::to_string(type));
    };
    if (out.key.empty()) refuse(begin, "an empty key");
    check_type(out.type, false);
    if (out.type == detail::list) {
      out.element = number<std::uint32_t>();
      check_type(out.element, true);
      const std::size_t size = detail::kGgufSizes[out.element];
      out.count = count(size > 0 ? size : 8, "values");
      out.at = at;
      if (size > 0)
        take(out.count * size);
      else
        for (std::uint64_t i = 0; i < out.count; ++i) string();
    } else {
      out.at = at;
      out.type == detail::string ? static_cast<void>(string())
                                 : static_cast<void>(take(detail::kGgufSizes[out.type]));
    }
    return out;
  }

  /// `data` is where the data begin, and next where among them the tensor has to.
  Tensor tensor(std::size_t data, std::uint64_t next) {
    const std::size_t begin = at;
    Tensor out{};
    out.name = string();
    const auto fail_tensor = [&](std::size_t byte, const std::string& message) {
      refuse(byte, "tensor " + detail::in_quotes(out.name) + ": " + message);
    };
    out.rank = number<std::uint32_t>();
    if (out.name.empty()) refuse(begin, "a tensor without a name");
    if (out.rank > out.shape.size()) fail_tensor(at - 4, std::to_string(out.rank) + " axes");
    std::uint64_t elements = 1;
    bool empty = false;
    for (std::size_t i = out.rank; i-- > 0;) {
      const auto size = number<std::uint64_t>();
      empty = empty || size == 0;
      if (size > std::uint64_t{1} << 48 ||
          elements > (std::uint64_t{1} << 48) / (std::max<std::uint64_t>)(size, 1))
        fail_tensor(at - 8, "its sizes are beyond 2^48");
      elements *= (std::max<std::uint64_t>)(size, 1);
      out.shape[i] = static_cast<Index>(size);
    }
    const auto type = number<std::uint32_t>();
    const std::size_t types = std::size(detail::kGgufTypes);
    if (type >= types || detail::kGgufTypes[type].bytes == 0)
      fail_tensor(at - 4,
                  "type " +
                      (type < types ? std::string(detail::kGgufTypes[type].name) : std::to_string(type)) +
                      " is not supported");
    const detail::GgufType& known = detail::kGgufTypes[type];
    out.type = known.name;
    const Index row = out.rank > 0 ? out.shape[out.rank - 1] : 1;
    if (row % static_cast<Index>(known.elements) != 0)
      fail_tensor(at - 4, "rows of " + std::to_string(row) + " values of type " + std::string(known.name));
    const auto offset = number<std::uint64_t>();
    if (offset != next)
      fail_tensor(at - 8,
                  "begins at " + std::to_string(offset) + " of the data, expected " + std::to_string(next));
    const std::uint64_t size = empty ? 0 : elements / known.elements * known.bytes,
                        room = file.bytes().size();
    if (data == 0) return out.size = static_cast<std::size_t>(size), out;  // not known yet
    const std::uint64_t from = data + offset;
    if (size > 0 && (from > room || size > room - from)) fail_tensor(at - 8, "its data end behind the file");
    out.begin = static_cast<std::size_t>((std::min)(from, room));
    out.size = static_cast<std::size_t>(size);
    return out;
  }
};

ATTEND_INLINE GgufFile::GgufFile(const detail::MappedFile& file) : file_(file) {
  Cursor cursor{file, 0};
  if (file.bytes().size() < 4 || std::memcmp(cursor.take(4), "GGUF", 4) != 0)
    cursor.refuse(0, "not a GGUF file");
  const auto version = cursor.number<std::uint32_t>();
  if (version != 2 && version != 3)
    cursor.refuse(4, version > 0xFFFF ? "a big-endian GGUF file is not supported"
                                      : "GGUF version " + std::to_string(version) + " is not supported");
  tensor_count_ = cursor.count(24, "tensors");
  const std::uint64_t count = cursor.count(14, "keys");
  values_.reserve(static_cast<std::size_t>(count));
  for (std::uint64_t i = 0; i < count; ++i) values_.push_back(cursor.value());
  std::sort(values_.begin(), values_.end(), [](const Value& a, const Value& b) { return a.key < b.key; });
  const auto same = std::adjacent_find(values_.begin(), values_.end(),
                                       [](const Value& a, const Value& b) { return a.key == b.key; });
  if (same != values_.end())
    cursor.refuse(same->at, "the key " + detail::in_quotes(same->key) + " is there twice");
  if (const auto alignment = integer("general.alignment")) {
    if (*alignment < 1 || *alignment > 1 << 20 || (*alignment & (*alignment - 1)) != 0)
      refuse("general.alignment", " is ", *alignment);
    alignment_ = static_cast<std::uint64_t>(*alignment);
  }
  tensors_at_ = cursor.at;
  std::uint64_t next = 0;
  const auto aligned = [&](std::uint64_t n) { return (n + alignment_ - 1) / alignment_ * alignment_; };
  for (std::uint64_t i = 0; i < tensor_count_; ++i) {
    next += aligned(cursor.tensor(0, next).size);
    if (next > std::uint64_t{1} << 56) cursor.refuse(cursor.at, "tensors of more than 2^56 bytes");
  }
  data_at_ = aligned(cursor.at);
  for_each_tensor([](const Tensor&) {});  // whose data have to be there
  if (const auto parts = integer("split.count"); parts && *parts > 1)
    refuse("split.count", " is ", *parts,
           ": files in parts are not supported (llama.cpp's llama-gguf-split --merge joins them)");
}

ATTEND_INLINE void GgufFile::for_each_tensor(detail::FunctionRef<void(const Tensor&)> f) const {
  Cursor cursor{file_, tensors_at_};
  std::uint64_t next = 0;
  for (std::uint64_t i = 0; i < tensor_count_; ++i) {
    const Tensor tensor = cursor.tensor(data_at_, next);
    next += (tensor.size + alignment_ - 1) / alignment_ * alignment_;
    f(tensor);
  }
}
ATTEND_INLINE std::optional<GgufFile::Tensor> GgufFile::tensor(std::string_view name) const {
  std::optional<Tensor> out;
  for_each_tensor([&](const Tensor& tensor) {
    if (tensor.name == name) out = tensor;
  });
  return out;
}

ATTEND_INLINE const GgufFile::Value* GgufFile::find(std::string_view key) const {
  const auto found = std::lower_bound(values_.begin(), values_.end(), key,
                                      [](const Value& value, std::string_view k) { return value.key < k; });
  return found != values_.end() && found->key == key ? &*found : nullptr;
}

ATTEND_INLINE std::optional<std::string_view> GgufFile::string(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != detail::string) refuse(key, " is not a string");
  return Cursor{file_, value->at}.string();
}
ATTEND_INLINE std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != detail::boolean) refuse(key, " is not a boolean");
  return Cursor{file_, value->at}.number<std::uint8_t>() != 0;
}

ATTEND_INLINE double GgufFile::number_of(const Value& value, std::uint32_t type, std::size_t at) const {
  Cursor cursor{file_, at};
  const auto as = [&](auto zero) { return static_cast<double>(cursor.number<decltype(zero)>()); };
  switch (type) {
    case detail::U8:
    case detail::boolean:
      return as(std::uint8_t{});
    case detail::I8:
      return as(std::int8_t{});
    case detail::U16:
      return as(std::uint16_t{});
    case detail::I16:
      return as(std::int16_t{});
    case detail::U32:
      return as(std::uint32_t{});
    case detail::I32:
      return as(std::int32_t{});
    case detail::F32:
      return as(float{});
    case detail::U64:
      return as(std::uint64_t{});
    case detail::I64:
      return as(std::int64_t{});
    case detail::F64:
      return as(double{});
    default:
      refuse(value.key, " is not a number");
  }
}
ATTEND_INLINE std::optional<double> GgufFile::number(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type == detail::boolean) refuse(key, " is not a number");
  if (value->type == detail::F32) return detail::decimal_of(Cursor{file_, value->at}.number<float>());
  return number_of(*value, value->type, value->at);
}
ATTEND_INLINE std::optional<Index> GgufFile::integer(std::string_view key) const {
  const std::optional<double> value = number(key);
  if (!value) return std::nullopt;
  if (!(std::abs(*value) < 9e15) || *value != std::floor(*value)) refuse(key, " is ", *value, ", no integer");
  return static_cast<Index>(*value);
}
ATTEND_INLINE Index GgufFile::at(std::string_view key) const {
  const std::optional<Index> value = integer(key);
  if (!value) refuse(key, " is missing");
  return *value;
}

ATTEND_INLINE bool GgufFile::is_list(std::string_view key) const {
  const Value* value = find(key);
  return value != nullptr && value->type == detail::list;
}
ATTEND_INLINE std::size_t GgufFile::size(std::string_view key) const {
  return is_list(key) ? static_cast<std::size_t>(find(key)->count) : 0;
}
ATTEND_INLINE const GgufFile::Value* GgufFile::find_list(std::string_view key, bool strings) const {
  const Value* value = find(key);
  if (value != nullptr && (value->type != detail::list || (value->element == detail::string) != strings))
    refuse(key, strings ? " is not a list of strings" : " is not a list of numbers");
  return value;
}
ATTEND_INLINE void GgufFile::for_each_string(std::string_view key,
                                             detail::FunctionRef<void(std::string_view)> f) const {
  const Value* value = find_list(key, true);
  if (value == nullptr) return;
  Cursor cursor{file_, value->at};
  for (std::uint64_t i = 0; i < value->count; ++i) f(cursor.string());
}
ATTEND_INLINE void GgufFile::for_each_number(std::string_view key,
                                             detail::FunctionRef<void(double)> f) const {
  const Value* value = find_list(key, false);
  for (std::uint64_t i = 0; value != nullptr && i < value->count; ++i)
    f(number_of(*value, value->element, value->at + i * detail::kGgufSizes[value->element]));
}

}  // namespace attend::inline ATTEND_ABI
