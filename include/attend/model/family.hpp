// What opening the folder of any model has in common: its options, the names of its parameters, its weights.
#pragma once

#include <functional>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/core/location.hpp>
#include <attend/io/name_map.hpp>
#include <attend/io/state_dict.hpp>
#include <attend/model/golden.hpp>
#include <attend/quant.hpp>

namespace attend::inline ATTEND_ABI {

/// A config.json as options, and the way from our names of parameters to the checkpoint's.
template <class Options>
struct ModelFamily {
  Options options;                          // of the layers
  NameMap names = {};                       // from our names to the checkpoint's
  std::vector<std::string> leftovers = {};  // tensors that files carry and nothing uses
};

/// A tensor of a file, and what a model that was opened from it keeps of its values.
struct LoadedTensor {
  std::string name;  // in the file
  DType stored;      // its type there
  WeightType kept;   // in the model
  bool rounded;      // to that; what is kept as float32 is not
};
/// "24 tensors of Q4_K and 3 of Q6_K are rounded to int8"; empty where none is rounded.
std::string rounded_tensors(std::span<const LoadedTensor> tensors);

/// How `open` keeps the weights of the layers, the token tables and the output layer; all else stays float.
struct OpenOptions {
  std::optional<WeightType> weights = {};  // none: as the file keeps most codes, and floats as float32
  bool keep_halves = false;                // none: bfloat16 and float16 as the file keeps them, too
  ActivationType activations = ActivationType::int8;  // of products with int8 and int4 weights
  bool base_only = false;                             // without the model's head
  bool verify =
      false;  // the folder's golden vectors have to be the model's, bit by bit: see Golden::check_against
  /// Called as the weights are read, with how many numbers of how many are in the model.
  std::function<void(Index done, Index all)> progress = {};
  /// Called once a file's tensors are in the model, with the file's name.
  std::function<void(const std::string& file, std::span<const LoadedTensor> tensors)> report = {};
};

namespace detail {

/// The type of most of a file's weights; float32 where it is none of ours, and int8 for blocks of GGUF's
/// other types.
WeightType weights_of(const SafeTensors& file);
/// What a model of the file's is opened with.
WeightType weights_of(const SafeTensors& file, const OpenOptions& open);

/// Whether the file has the parameters under our own names (`save` with kOwnNames), not its family's.
inline const Metadata kOwnNames{{"attend.names", "parameters"}};
bool has_own_names(const SafeTensors& file);

/// Rows and columns of tables that the weights must at least hold, each of them.
using Tables = std::vector<std::pair<Index, Index>>;
void check_sizes(const Location& config, const SafeTensors& file, const Tables& tables);

/// The tensors that a parameter is made of, as far as the file has them.
std::vector<const SafeTensors::Entry*> entries_of(const SafeTensors& file, const NameMap& names,
                                                  const std::string& parameter);
/// Each tensor once. `kept`: the model's parameters.
std::vector<LoadedTensor> loaded_tensors(const SafeTensors& file, const NameMap& names,
                                         std::span<const std::pair<std::string, WeightType>> kept);
/// The first tensor of a parameter of ours, or null.
const SafeTensors::Entry* find_parameter(const SafeTensors& file, const NameMap& names,
                                         const std::string& parameter);

/// Whether the file has a tensor of its own for each of two parameters, with other values: then transformers
/// does not tie them, whatever config.json says.
bool stored_apart(const SafeTensors& file, const NameMap& names, const std::string& one,
                  const std::string& other);

/// Model(options), where sizes that don't go together, or are beyond what memory holds, are errors that name
/// the config.
template <class Model, class Options>
Model make_as_config_says([[maybe_unused]] const Location& config, const Options& options) {
#if defined(__cpp_exceptions)
  try {
    return Model(options);
  } catch (const Error& error) {
    throw_error(config.string(), ": ", error.what());
  } catch (const std::bad_alloc&) {
    throw_error(config.string(), ": a model of these sizes does not fit into memory");
  }
#else
  return Model(options);
#endif
}

/// Error where the folder's golden vectors are not those of the model, or not comparable.
template <class Model>
void verify_golden(const Location& folder, const Model& model, WeightType weights, bool base_only) {
  if constexpr (HasGolden<Model>) {
    Context context;
    golden_of(context, model, base_only).check_against(folder, weights);
  } else {
    throw_error(folder.string(), ": golden vectors are of models in float");
  }
}

/// The model of a family, with its parameters from the folder's weights. `tables` is checked before memory is
/// taken for what config.json says.
template <class Model, class Options>
Model load_model(const Location& folder, ModelFamily<Options> family, const Tables& tables,
                 const OpenOptions& open = {}) {
  const SafeTensors file = SafeTensors::open_folder(folder);
  check_sizes(folder / "config.json", file, tables);
  const WeightType weights = weights_of(file, open);
  family.options.set_weights(weights, open.activations);
  Model model = make_as_config_says<Model>(folder / "config.json", family.options);
  if (has_own_names(file))
    load(model, file, "", {.strict = !open.base_only, .progress = open.progress});
  else
    load(model, file, "", {.ignore = family.leftovers, .names = family.names, .progress = open.progress});
  if (open.report) {
    std::vector<std::pair<std::string, WeightType>> kept;
    std::as_const(model).parameters(
        [&](const std::string& name, const auto& parameter) { kept.emplace_back(name, parameter.type()); });
    open.report(file.path(), loaded_tensors(file, family.names, kept));
  }
  if (open.verify) verify_golden(folder, model, weights, open.base_only);
  return model;
}

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/family.inl>
#endif
