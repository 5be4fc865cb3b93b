// CachedPrompt: what a language model has computed of a text, which a file keeps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <attend/model/causal_lm.hpp>

namespace attend::inline ATTEND_ABI {

/// Tokens, and their keys and values of each layer: a cache of one sequence.
struct CachedPrompt {
  std::vector<std::int32_t> ids = {};  // its tokens
  CausalCache<float> cache = {};       // their keys and values, of every layer

  /// ids, all of them, as a model computes them.
  static CachedPrompt compute(Context& context, const CausalLM<float>& model, std::vector<std::int32_t> ids);
  /// From a file of `save`, at the time that reading takes: the bits that computing gives, with which
  /// generation goes on. Error that names the file where it is of another model, as `fingerprint` says, or
  /// broken.
  static CachedPrompt load(const Location& file, const CausalLM<float>& model,
                           const std::string& fingerprint);
  /// As a safetensors file: ids [T], layers.N.key [H_kv, T, D], layers.N.value [H_kv, T, Dv], of layers with
  /// a window the tokens that it still sees, and in its metadata the model's fingerprint.
  void save(const std::filesystem::path& file, const std::string& fingerprint) const;
};

/// Of all that a model's results depend on: its parameters, and what it gives for a few tokens. Reads all
/// weights once, so who needs it often keeps it.
std::string fingerprint(Context& context, const CausalLM<float>& model);

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/cached_prompt.inl>
#endif
