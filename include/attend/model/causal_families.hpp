// The families of decoder-only models: what their config.json says, and how their checkpoints name the
// parameters.
#pragma once

#include <string_view>

#include <attend/io/config.hpp>
#include <attend/model/causal_options.hpp>

namespace attend::inline ATTEND_ABI {

/// Whether a model_type is that of a decoder.
bool is_causal_family(std::string_view type);

/// Reads the config.json of a decoder-only model. Error for a key that changes the arithmetic and is not
/// supported.
CausalFamily read_causal_family(const Config& config);

namespace detail {
/// That of a folder: of config.json, generation_config.json if there is one, and whether the weights have a
/// head of their own.
CausalFamily open_causal_family(const Location& folder);
}  // namespace detail

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/causal_families.inl>
#endif
