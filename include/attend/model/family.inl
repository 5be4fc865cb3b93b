// Bodies of family.hpp.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include <attend/model/family.hpp>

namespace attend::inline ATTEND_ABI {

ATTEND_INLINE std::string rounded_tensors(std::span<const LoadedTensor> tensors) {
  std::map<WeightType, std::map<DType, Index>> counts;
  for (const LoadedTensor& tensor : tensors)
    if (tensor.rounded) ++counts[tensor.kept][tensor.stored];
  std::string out;
  for (const auto& [kept, of_type] : counts) {
    std::size_t left = of_type.size();
    for (const auto& [stored, count] : of_type) {
      out += out.empty() ? "" : left == of_type.size() ? "; " : left == 1 ? " and " : ", ";
      out += std::to_string(count) + (left == of_type.size() ? " tensors of " : " of ");
      out += to_string(stored);
      --left;
    }
    out += std::string(" are rounded to ") + to_string(kept);
  }
  return out;
}

namespace detail {

ATTEND_INLINE void check_sizes(const Location& config, const SafeTensors& file, const Tables& tables) {
  Index stored = 0;
  for (const SafeTensors::Entry& entry : file.entries())
    stored += (std::max)(static_cast<Index>(entry.size), entry.numel());  // with less than a byte for a value
  for (const auto& [rows, columns] : tables)
    if (rows > stored / std::max<Index>(columns, 1))
      throw_error(config.string(), ": the sizes are beyond what ", file.path(), " holds");
}

ATTEND_INLINE std::vector<const SafeTensors::Entry*> entries_of(const SafeTensors& file, const NameMap& names,
                                                                const std::string& parameter) {
  std::vector<const SafeTensors::Entry*> out;
  const Source source = has_own_names(file) ? Source{.names = {parameter}} : names(parameter);
  for (const std::string& either : source.names)
    for (const std::string& name : expand_alternatives(either))
      if (const SafeTensors::Entry* entry = file.find(name)) {
        out.push_back(entry);
        break;
      }
  return out;
}

ATTEND_INLINE std::vector<LoadedTensor> loaded_tensors(
    const SafeTensors& file, const NameMap& names, std::span<const std::pair<std::string, WeightType>> kept) {
  std::vector<LoadedTensor> out;
  std::set<const SafeTensors::Entry*> seen;
  for (const auto& [parameter, type] : kept)
    for (const SafeTensors::Entry* entry : entries_of(file, names, parameter))
      if (seen.insert(entry).second)
        out.push_back(
            {entry->name, entry->dtype, type, type != WeightType::float32 && type != entry->type()});
  return out;
}

ATTEND_INLINE const SafeTensors::Entry* find_parameter(const SafeTensors& file, const NameMap& names,
                                                       const std::string& parameter) {
  const auto entries = entries_of(file, names, parameter);
  return entries.empty() ? nullptr : entries[0];
}

ATTEND_INLINE bool stored_apart(const SafeTensors& file, const NameMap& names, const std::string& one,
                                const std::string& other) {
  const SafeTensors::Entry *a = find_parameter(file, names, one), *b = find_parameter(file, names, other);
  if (a == nullptr || b == nullptr || a == b || a->shape != b->shape) return false;
  return a->dtype != b->dtype || a->size != b->size || std::memcmp(a->data, b->data, a->size) != 0;
}

ATTEND_INLINE bool has_own_names(const SafeTensors& file) {
  const auto found = file.metadata().find("attend.names");
  return found != file.metadata().end() && found->second == "parameters";
}

ATTEND_INLINE WeightType weights_of(const SafeTensors& file) {
  std::map<WeightType, Index> elements;
  for (const SafeTensors::Entry& entry : file.entries()) {
    const bool other_blocks = is_in_blocks(entry.dtype) && entry.type() == WeightType::float32;
    elements[other_blocks ? WeightType::int8 : entry.type()] += entry.numel();
  }
  WeightType most = WeightType::float32;
  for (const auto& [type, count] : elements)
    if (count > elements[most]) most = type;
  return most;
}

ATTEND_INLINE WeightType weights_of(const SafeTensors& file, const OpenOptions& open) {
  if (open.weights) return *open.weights;
  const WeightType type = weights_of(file);
  const bool half = type == WeightType::bfloat16 || type == WeightType::float16;
  return half && !open.keep_halves ? WeightType::float32 : type;
}

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI
