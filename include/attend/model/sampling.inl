// Bodies of sampling.hpp.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <attend/model/sampling.hpp>
#include <attend/softmax.hpp>

namespace attend::inline ATTEND_ABI {

ATTEND_INLINE void check_options(const GenerationOptions& o) {
  const auto need = [](bool good, const char* name, double value, const char* what) {
    if (!good) throw_error("generate: ", name, " is ", value, ", expected ", what);
  };
  need(o.max_new_tokens >= 0, "max_new_tokens", static_cast<double>(o.max_new_tokens), "0 or more");
  need(o.temperature >= 0, "temperature", o.temperature, "0 or more");
  need(o.top_k >= 0, "top_k", static_cast<double>(o.top_k), "0 or more");
  need(o.top_p > 0 && o.top_p <= 1, "top_p", o.top_p, "more than 0 and at most 1");
  need(o.min_p >= 0 && o.min_p <= 1, "min_p", o.min_p, "0 to 1");
  need(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), "repetition_penalty",
       o.repetition_penalty, "more than 0");
  need(std::isfinite(o.length_penalty), "length_penalty", o.length_penalty, "a finite number");
  // So many times the number of end tokens are candidates in each step.
  need(o.num_beams >= 1 && o.num_beams <= 65536, "num_beams", static_cast<double>(o.num_beams), "1 to 65536");
  if (o.num_beams > 1 && o.temperature > 0)
    throw_error("generate: temperature together with num_beams is not supported");
}

namespace detail {
/// A token and its logit as one number, larger for a larger logit, and of equal ones for the smaller id. NaN
/// comes last. Integers, so that no compiler flag changes an order.
inline std::uint64_t ranked(float logit, std::size_t id) {
  std::uint32_t bits = std::bit_cast<std::uint32_t>(logit);
  if (bits == 0x80000000u) bits = 0;  // -0 is 0
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const std::uint32_t order = nan ? 0 : (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return std::uint64_t{order} << 32 | static_cast<std::uint32_t>(~id);
}
inline std::int32_t id_of(std::uint64_t rank) {
  return static_cast<std::int32_t>(~static_cast<std::uint32_t>(rank));
}
inline constexpr std::uint64_t kNothing =
    std::uint64_t{0x007fffff} << 32 | 0xffffffff;  // -inf and NaN are not above

ATTEND_INLINE void process(const GenerationOptions& o, std::span<const std::int32_t> ids,
                           std::span<float> logits) {
  if (o.repetition_penalty != 1) {
    std::vector<std::int32_t> seen(ids.begin(), ids.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    const float penalty = static_cast<float>(o.repetition_penalty),
                relief = static_cast<float>(1 / o.repetition_penalty);
    for (std::int32_t id : seen)
      if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) {
        float& logit = logits[static_cast<std::size_t>(id)];
        logit *= logit < 0 ? penalty : relief;
      }
  }
  for (const LogitsProcessor& processor : o.logits_processors) processor(ids, logits);
}
}  // namespace detail

ATTEND_INLINE std::int32_t Sampler::operator()(Context& context, std::span<const std::int32_t> ids,
                                               std::span<float> logits) {
  const GenerationOptions& o = *options_;
  detail::process(o, ids, logits);
  std::uint64_t best = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) best = (std::max)(best, detail::ranked(logits[i], i));
  if (best <= detail::kNothing) throw_error("generate: no token has a logit above -inf");
  if (o.temperature == 0 || best >= detail::ranked(std::numeric_limits<float>::infinity(), logits.size()))
    return detail::id_of(best);

  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (const std::uint64_t rank = detail::ranked(logits[i], i); rank > detail::kNothing)
      candidates_.push_back({rank, 0});
  if (o.top_k > 0 && static_cast<std::size_t>(o.top_k) < candidates_.size()) {
    const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(o.top_k);
    std::nth_element(candidates_.begin(), end, candidates_.end(), std::greater<>());
    candidates_.erase(end, candidates_.end());
    std::sort(candidates_.begin(), candidates_.end(), std::greater<>());
  }
  weigh(context, logits, detail::id_of(best));
  if (o.top_p < 1 || o.min_p > 0) keep_likeliest();
  std::uint64_t total = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  std::uint64_t at = random_.below(total);
  for (const Candidate& c : candidates_) {
    if (at < c.weight) return detail::id_of(c.rank);
    at -= c.weight;
  }
  return detail::id_of(best);  // not reached
}

ATTEND_INLINE void Sampler::weigh(Context& context, std::span<const float> logits, std::int32_t best) {
  values_.resize(candidates_.size());
  // The largest is subtracted first, so that a small temperature overflows to -inf only.
  const float inverse = static_cast<float>(1 / (std::max)(options_->temperature, 1e-6));
  const float most = logits[static_cast<std::size_t>(best)];
  context.parallel(1, 1, [&](Index, int) {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const float below = logits[static_cast<std::size_t>(detail::id_of(candidates_[i].rank))] - most;
      values_[i] = below * inverse;
    }
    detail::Backend<float>::softmax(values_.data(), static_cast<Index>(values_.size()), false);
    for (std::size_t i = 0; i < values_.size(); ++i)
      candidates_[i].weight = static_cast<std::uint64_t>(values_[i] * 0x1p40f);
  });
}

ATTEND_INLINE void Sampler::keep_likeliest() {
  std::uint64_t total = 0, most = 0, sum = 0;
  for (const Candidate& c : candidates_) total += c.weight, most = (std::max)(most, c.weight);
  const double enough = options_->top_p * static_cast<double>(total),
               least = options_->min_p * static_cast<double>(most);
  std::make_heap(candidates_.begin(), candidates_.end());
  auto end = candidates_.end();
  while (end != candidates_.begin()) {
    const Candidate& next = candidates_.front();
    const bool first = end == candidates_.end();
    if (!first && (static_cast<double>(sum) >= enough || static_cast<double>(next.weight) < least)) break;
    sum += next.weight;
    std::pop_heap(candidates_.begin(), end--);
  }
  candidates_.erase(candidates_.begin(), end);  // what is left lies behind `end`, the likeliest last
}

}  // namespace attend::inline ATTEND_ABI
