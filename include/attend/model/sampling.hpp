// Choosing the next token: what generation may be told, and a sampler whose draws are the same on every
// machine.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <attend/core/context.hpp>

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

void check_options(const GenerationOptions& o);

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
/// repetition_penalty, then the caller's processors.
void process(const GenerationOptions& o, std::span<const std::int32_t> ids, std::span<float> logits);
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
  std::int32_t operator()(Context& context, std::span<const std::int32_t> ids, std::span<float> logits);

 private:
  struct Candidate {
    std::uint64_t rank, weight;  // weight: the probability times 2^40
    auto operator<=>(const Candidate&) const = default;
  };

  void weigh(Context& context, std::span<const float> logits, std::int32_t best);

  /// top_p, then min_p: both end a walk from the likeliest on.
  void keep_likeliest();

  const GenerationOptions* options_;
  Random random_;
  std::vector<Candidate> candidates_;
  std::vector<float> values_;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/sampling.inl>
#endif
