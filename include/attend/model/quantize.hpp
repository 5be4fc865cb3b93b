// A model's folder with its weights in another type.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <attend/core/function_ref.hpp>
#include <attend/core/location.hpp>
#include <attend/model/family.hpp>

namespace attend::inline ATTEND_ABI {

/// What became of one parameter.
struct QuantizedParameter {
  std::string name;                       // ours
  std::vector<Index> shape;               // of all of it
  WeightType type = WeightType::float32;  // what it is kept in now
  double bits = 32;                       // of each value, scales included
  double error = 0;                       // |kept - given| / |given|, in the Euclidean norm
};

/// Writes to `out`, a folder that is not there or empty, what opens as `folder` does when it is opened with
/// `open`: its files, and model.safetensors with the weights as they are kept (see `save`), under the names
/// that the library gives to parameters. `report(parameter, done, all)` is called for each of them. Errors: a
/// model_type that is not known, an `out` that has files, a weight that the type cannot hold, files that
/// cannot be read or written.
void quantize_folder(
    const Location& folder, const std::filesystem::path& out, const OpenOptions& open,
    detail::FunctionRef<void(const QuantizedParameter&, std::size_t done, std::size_t all)> report);

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/quantize.inl>
#endif
