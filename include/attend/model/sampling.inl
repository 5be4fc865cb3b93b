// Bodies of sampling.hpp.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <attend/core/function_ref.hpp>
#include <attend/model/sampling.hpp>
#include <attend/softmax.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

ATTEND_INLINE void check_options(const GenerationOptions& o, const std::string& who) {
  const auto need = [&](bool good, const char* name, double value, const char* what) {
    if (!good) throw_error(who, ": ", name, " is ", value, ", expected ", what);
  };
  for (const auto& [name, value] :
       {std::pair("max_new_tokens", o.max_new_tokens), std::pair("max_length", o.max_length),
        std::pair("min_new_tokens", o.min_new_tokens), std::pair("min_length", o.min_length),
        std::pair("no_repeat_ngram_size", o.no_repeat_ngram_size), std::pair("top_k", o.top_k),
        std::pair("logprobs", o.logprobs.value_or(0))})
    need(value >= 0, name, static_cast<double>(value), "0 or more");
  need(o.temperature >= 0, "temperature", o.temperature, "0 or more");
  need(o.top_p > 0 && o.top_p <= 1, "top_p", o.top_p, "more than 0 and at most 1");
  need(o.min_p >= 0 && o.min_p <= 1, "min_p", o.min_p, "0 to 1");
  need(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), "repetition_penalty",
       o.repetition_penalty, "more than 0");
  need(std::isfinite(o.length_penalty), "length_penalty", o.length_penalty, "a finite number");
  const auto suppressed = [&](std::int32_t id) {
    return std::find(o.suppress_tokens.begin(), o.suppress_tokens.end(), id) != o.suppress_tokens.end();
  };
  if ((o.forced_bos_token_id && suppressed(*o.forced_bos_token_id)) ||
      (!o.forced_eos_token_id.empty() &&
       std::all_of(o.forced_eos_token_id.begin(), o.forced_eos_token_id.end(), suppressed)))
    throw_error(who, ": suppress_tokens has what forced_bos_token_id or forced_eos_token_id forces");
  // So many times the number of end tokens are candidates in each step.
  need(o.num_beams >= 1 && o.num_beams <= 65536, "num_beams", static_cast<double>(o.num_beams), "1 to 65536");
  if (o.num_beams > 1 && o.temperature > 0)
    throw_error(who, ": temperature ", o.temperature, " together with num_beams ", o.num_beams,
                " is not supported; set temperature to 0 or num_beams to 1");
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

ATTEND_INLINE Index room(const char* name, std::size_t given, Index most, const GenerationOptions& options) {
  const Index size = static_cast<Index>(given);
  Index out = options.max_new_tokens;
  if (options.max_length > 0 && size >= options.max_length)
    throw_error("generate: the ", name, " has ", given, " tokens, max_length is ", options.max_length);
  if (options.max_length > 0) out = (std::min)(out, options.max_length - size);
  return most > 0 ? (std::min)(out, most - size) : out;
}

ATTEND_INLINE TokenLogprob log_probability(Context& context, std::span<const float> logits, std::int32_t id,
                                           Index top) {
  Tensor<float, 1> values({static_cast<Index>(logits.size())},
                          std::vector<float>(logits.begin(), logits.end()));
  log_softmax(context, values.view(), -1, values.view());
  TokenLogprob out{id, values(id)};
  std::vector<std::uint64_t> ranks(logits.size());
  for (std::size_t i = 0; i < ranks.size(); ++i) ranks[i] = ranked(logits[i], i);
  const auto end = ranks.begin() + (std::min)(top, std::ssize(ranks));
  std::partial_sort(ranks.begin(), end, ranks.end(), std::greater<>());
  for (auto at = ranks.begin(); at != end; ++at) out.top.emplace_back(id_of(*at), values(id_of(*at)));
  return out;
}

/// The tokens that would complete what was there before, `size` tokens in a row.
inline void forbid_repeated(std::span<const std::int32_t> ids, std::size_t size,
                            FunctionRef<void(std::int32_t)> forbid) {
  if (ids.size() < size) return;
  const auto newest = ids.last(size - 1);
  for (std::size_t at = 0; at + size <= ids.size(); ++at)
    if (std::equal(newest.begin(), newest.end(), ids.begin() + static_cast<std::ptrdiff_t>(at)))
      forbid(ids[at + size - 1]);
}
inline void forbid_bad_words(const GenerationOptions& o, std::span<const std::int32_t> eos,
                             std::span<const std::int32_t> ids, FunctionRef<void(std::int32_t)> forbid) {
  for (const std::vector<std::int32_t>& word : o.bad_words_ids) {
    if (word.empty() || word.size() > ids.size() + 1) continue;
    if (word.size() == 1 && std::find(eos.begin(), eos.end(), word[0]) != eos.end()) continue;
    if (std::equal(word.begin(), word.end() - 1, ids.end() - std::ssize(word) + 1)) forbid(word.back());
  }
}
/// NaN is 0, and infinities are the largest numbers there are. By their bits, which no flag of a compiler
/// explains away.
inline void remove_invalid(std::span<float> logits) {
  for (float& logit : logits) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(logit);
    if ((bits & 0x7f800000u) != 0x7f800000u) continue;
    const std::uint32_t most = 0x7f7fffffu | (bits & 0x80000000u);
    logit = (bits & 0x7fffffu) != 0 ? 0.0f : std::bit_cast<float>(most);
  }
}

ATTEND_INLINE void process(const GenerationOptions& o, const GenerationBounds& bounds,
                           std::span<const std::int32_t> ids, std::span<float> logits) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const auto forbid = [&](std::int32_t id) {
    if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) logits[static_cast<std::size_t>(id)] = kNone;
  };
  const auto only = [&](const char* name, std::span<const std::int32_t> tokens) {
    std::fill(logits.begin(), logits.end(), kNone);
    for (std::int32_t id : tokens) {
      if (id < 0 || static_cast<std::size_t>(id) >= logits.size())
        throw_error("generate: ", name, " ", id, " is not in [0, ", logits.size(), ")");
      logits[static_cast<std::size_t>(id)] = 0;
    }
  };
  const auto forbid_all = [&](std::span<const std::int32_t> tokens) {
    for (std::int32_t id : tokens) forbid(id);
  };
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
  if (o.no_repeat_ngram_size > 0)
    forbid_repeated(ids, static_cast<std::size_t>(o.no_repeat_ngram_size), forbid);
  forbid_bad_words(o, bounds.eos_token_ids, ids, forbid);
  if (static_cast<Index>(ids.size()) < o.min_length ||
      ids.size() - bounds.prompt < static_cast<std::size_t>(o.min_new_tokens))
    forbid_all(bounds.eos_token_ids);
  if (o.forced_bos_token_id && ids.size() == 1) only("forced_bos_token_id", {&*o.forced_bos_token_id, 1});
  if (!o.forced_eos_token_id.empty() && ids.size() + 1 == bounds.longest)
    only("forced_eos_token_id", o.forced_eos_token_id);
  if (o.remove_invalid_values) remove_invalid(logits);
  forbid_all(o.suppress_tokens);
  if (ids.size() == bounds.prompt + (bounds.prompt <= 1 && o.forced_bos_token_id ? 1 : 0))
    forbid_all(o.begin_suppress_tokens);
  for (const LogitsProcessor& processor : o.logits_processors) processor(ids, logits);
}
}  // namespace detail

ATTEND_INLINE std::int32_t Sampler::operator()(Context& context, std::span<const std::int32_t> ids,
                                               std::span<float> logits) {
  const detail::FloatEnvironment environment;
  const GenerationOptions& o = *options_;
  detail::process(o, bounds_, ids, logits);
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
  // The largest is subtracted first, so that a small temperature overflows to -inf only; and a large one
  // multiplies no infinity by 0.
  const float inverse = static_cast<float>(1 / (std::max)(options_->temperature, 1e-6));
  const float most = logits[static_cast<std::size_t>(best)];
  context.parallel(1, 1, [&](Index, int) {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const float below = logits[static_cast<std::size_t>(detail::id_of(candidates_[i].rank))] - most;
      values_[i] = (std::max)(below, std::numeric_limits<float>::lowest()) * inverse;
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
