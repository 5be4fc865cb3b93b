// Bodies of beam_search.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <attend/model/beam_search.hpp>
#include <attend/softmax.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
struct BeamCandidate {
  double score;
  std::size_t beam;
  std::int32_t id;
};
/// The best `count` continuations of all beams, best first; of equal ones the earlier beam, then the smaller
/// id.
inline std::vector<BeamCandidate> best_continuations(std::span<const Hypothesis> beams,
                                                     TensorView<float, 2> log_probabilities,
                                                     std::size_t count) {
  std::vector<BeamCandidate> best;
  const auto better = [](const BeamCandidate& a, const BeamCandidate& b) { return a.score > b.score; };
  for (std::size_t b = 0; b < beams.size(); ++b)
    for (Index v = 0; v < log_probabilities.size(1); ++v) {
      const double score = beams[b].score + static_cast<double>(log_probabilities(static_cast<Index>(b), v));
      if (!(score >= -(std::numeric_limits<double>::max)())) continue;  // forbidden, or not a number
      if (best.size() == count && score <= best.back().score) continue;
      const BeamCandidate candidate{score, b, static_cast<std::int32_t>(v)};
      best.insert(std::upper_bound(best.begin(), best.end(), candidate, better), candidate);
      if (best.size() > count) best.pop_back();
    }
  return best;
}
}  // namespace detail

ATTEND_INLINE std::vector<Hypothesis> beam_search(
    Context& context, const GenerationOptions& options, std::span<const std::int32_t> eos_token_ids,
    std::span<const std::int32_t> prompt, TensorView<float, 2> logits,
    detail::FunctionRef<TensorView<float, 2>(std::span<const Index>, std::span<const std::int32_t>)>
        advance) {
  const detail::FloatEnvironment environment;
  check_options(options);
  const std::size_t beams = static_cast<std::size_t>(options.num_beams);
  const std::size_t candidates = beams * std::max<std::size_t>(2, 1 + eos_token_ids.size());
  const auto per_length = [&](Index length) {
    return std::pow(static_cast<double>(length), options.length_penalty);
  };
  const GenerationBounds bounds{prompt.size(),
                                prompt.size() + static_cast<std::size_t>(options.max_new_tokens),
                                {eos_token_ids.begin(), eos_token_ids.end()}};
  std::vector<Hypothesis> running(1), finished;
  std::vector<Index> parents;
  std::vector<std::int32_t> ids;
  if (options.max_new_tokens == 0) return running;
  for (Index length = 1;; ++length) {
    log_softmax(context, logits, -1, logits);
    for (std::size_t b = 0; b < running.size(); ++b) {
      ids.assign(prompt.begin(), prompt.end());
      ids.insert(ids.end(), running[b].ids.begin(), running[b].ids.end());
      detail::process(options, bounds, ids, logits[static_cast<Index>(b)].span());
    }
    if (options.renormalize_logits) log_softmax(context, logits, -1, logits);
    std::vector<Hypothesis> next;
    parents.clear();
    ids.clear();
    const auto best = detail::best_continuations(running, logits, candidates);
    if (best.empty()) throw_error("generate: no token has a logit above -inf");
    for (std::size_t rank = 0; rank < best.size(); ++rank) {
      const auto& [score, beam, id] = best[rank];
      Hypothesis longer{running[beam].ids, score,
                        std::find(eos_token_ids.begin(), eos_token_ids.end(), id) != eos_token_ids.end()};
      longer.ids.push_back(id);
      if (!longer.ended && length < options.max_new_tokens) {
        if (next.size() == beams) continue;
        next.push_back(std::move(longer));
        parents.push_back(static_cast<Index>(beam));
        ids.push_back(id);
      } else if (rank < beams) {  // further candidates are there to keep enough beams running
        longer.score /= per_length(length);
        finished.insert(
            std::upper_bound(finished.begin(), finished.end(), longer,
                             [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; }),
            std::move(longer));
        if (finished.size() > beams) finished.pop_back();
      }
    }
    if (next.empty()) return finished;
    if (finished.size() == beams) {
      const bool longest = options.early_stopping == EarlyStopping::never && options.length_penalty > 0;
      const double hope = next.front().score / per_length(longest ? options.max_new_tokens : length);
      if (options.early_stopping == EarlyStopping::yes || hope <= finished.back().score) return finished;
    }
    running = std::move(next);
    logits = advance(parents, ids);
  }
}

}  // namespace attend::inline ATTEND_ABI
