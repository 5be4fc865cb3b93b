// Choosing the next token: what generation may be told, and a sampler whose draws are the same on every
// machine.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <attend/core/context.hpp>
#include <attend/softmax.hpp>

namespace attend::inline ATTEND_ABI {

/// Changes the logits of the next token in place. `ids` are those so far, the prompt's included; an -inf
/// forbids a token. In beam search the values are log-probabilities.
using LogitsProcessor = std::function<void(std::span<const std::int32_t> ids, std::span<float> logits)>;

/// When beam search with all its hypotheses finished ends: `yes` at once; `no` when the best running beam, at
/// its present length, is behind them; `never` when it would be behind at any length.
enum class EarlyStopping { no, yes, never };

/// Named as in Hugging Face's generation_config.json.
struct GenerationOptions {
  Index max_new_tokens = 20;
  double temperature = 0;  // 0: always the likeliest token (greedy)
  Index top_k = 0;         // only the k likeliest; 0: all
  double top_p = 1;        // only the likeliest that together reach this probability
  double min_p = 0;        // only those of at least this share of the likeliest one's probability
  double repetition_penalty =
      1;  // divides a positive logit of a token that was there before, multiplies a negative one
  std::uint64_t seed = 0;
  Index num_beams = 1;        // more than 1: beam search
  double length_penalty = 1;  // a hypothesis scores its log-probability / length^length_penalty
  EarlyStopping early_stopping = EarlyStopping::no;
  std::optional<std::vector<std::int32_t>> eos_token_ids = {};  // that end a text; default: the model's
  std::vector<std::string> stop = {};  // texts that end a text and are not part of it (TextGenerator)
  std::vector<LogitsProcessor> logits_processors = {};
};

inline void check_options(const GenerationOptions& o) {
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

/// SplitMix64 (Steele, Lea, Flood 2014): a sequence of its own for each seed and stream.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) : state_(mix(seed) + mix(stream ^ kGolden)) {}
  std::uint64_t operator()() { return mix(state_ += kGolden); }
  /// A number in [0, n), each equally likely.
  std::uint64_t below(std::uint64_t n) {
    const std::uint64_t rest = (0 - n) % n;  // 2^64 mod n: so many numbers are too many
    for (;;)
      if (const std::uint64_t r = (*this)(); r >= rest) return r % n;
  }

 private:
  static constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15;
  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

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

/// repetition_penalty, then the caller's processors.
inline void process(const GenerationOptions& o, std::span<const std::int32_t> ids, std::span<float> logits) {
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

/// Chooses tokens of one sequence. Probabilities come from the library's softmax and are drawn from as
/// integers: the same logits, seed and stream give the same tokens on every machine and with any flags and
/// number of threads.
class Sampler {
 public:
  /// The options must outlive the sampler.
  explicit Sampler(const GenerationOptions& options, std::uint64_t stream = 0)
      : options_(&options), random_(options.seed, stream) {
    check_options(options);
  }

  /// The next token after `ids`. logits [vocab], which are changed. Error where none is above -inf.
  std::int32_t operator()(Context& context, std::span<const std::int32_t> ids, std::span<float> logits) {
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

 private:
  struct Candidate {
    std::uint64_t rank, weight;  // weight: the probability times 2^40
    auto operator<=>(const Candidate&) const = default;
  };

  void weigh(Context& context, std::span<const float> logits, std::int32_t best) {
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

  /// top_p, then min_p: both end a walk from the likeliest on.
  void keep_likeliest() {
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

  const GenerationOptions* options_;
  Random random_;
  std::vector<Candidate> candidates_;
  std::vector<float> values_;
};

}  // namespace attend::inline ATTEND_ABI
