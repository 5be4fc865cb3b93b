// A GGUF file as the folder that Hugging Face would have of the model.
#pragma once

#include <string>
#include <string_view>

#include <attend/core/location.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// The place itself, or, of a file that is called *.gguf, a folder in memory with the config.json,
/// generation_config.json and tokenizer_config.json that its metadata stand for (and modules.json, where they
/// say how texts become vectors). Weights and tokens stay in the file: see Location::stands_for. Error for an
/// architecture or a setting that is not supported.
Location model_folder(const Location& place);

/// What a tensor is called in Hugging Face's checkpoints; its own name where there is no other.
std::string hugging_face_name(std::string_view architecture, std::string_view name);

}  // namespace attend::inline ATTEND_ABI::detail

#if ATTEND_HAS_MODEL_BODIES
#include <attend/gguf/folder.inl>
#endif
