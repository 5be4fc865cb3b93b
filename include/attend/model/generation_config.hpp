// generation_config.json: how a folder says that its model generates.
#pragma once

#include <attend/io/config.hpp>
#include <attend/model/sampling.hpp>

namespace attend::inline ATTEND_ABI {

/// What a generation_config.json says; of lengths that it does not say, `otherwise` counts. Without do_sample
/// the temperature is 0, and the rest is there for whoever sets one. Error that names the key for one that
/// would change what is generated and is not supported, or that is not known.
GenerationOptions read_generation_options(const Config& config, GenerationOptions otherwise = {});

/// That of a folder: of its generation_config.json or, where it has none, as old ones do, of config.json,
/// whose other keys do not count.
GenerationOptions open_generation_options(const Location& folder, const GenerationOptions& otherwise = {});

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/generation_config.inl>
#endif
