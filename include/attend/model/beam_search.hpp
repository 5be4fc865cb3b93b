// Beam search over any model that gives the logits of the next token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <attend/core/function_ref.hpp>
#include <attend/model/sampling.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// One text of a beam search.
struct Hypothesis {
  std::vector<std::int32_t> ids;  // without the prompt, with the end token if there is one
  double score = 0;               // log-probability / length^length_penalty
  bool ended = false;             // by an end token
};

/// The best num_beams continuations of a prompt, best first. `logits` [1, V] are those after the prompt;
/// advance(parents, ids) makes running beam i what beam parents[i] was, followed by ids[i], and gives the
/// logits [beams, V] after it. Both are overwritten. Beams run, finish and end the search as in Hugging
/// Face's generate.
std::vector<Hypothesis> beam_search(Context& context, const GenerationOptions& options,
                                    std::span<const std::int32_t> eos_token_ids,
                                    std::span<const std::int32_t> prompt, TensorView<float, 2> logits,
                                    detail::FunctionRef<TensorView<float, 2>(
                                        std::span<const Index> parents, std::span<const std::int32_t> ids)>
                                        advance);

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/beam_search.inl>
#endif
