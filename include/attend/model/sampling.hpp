// Choosing the next token: what generation may be told, and a sampler whose draws are the same on every
// machine.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <attend/core/context.hpp>

namespace attend::inline ATTEND_ABI {

/// Changes the logits of the next token in place. `ids` are those so far, the prompt's included; an -inf
/// forbids a token. In beam search the values are log-probabilities.
using LogitsProcessor = std::function<void(std::span<const std::int32_t> ids, std::span<float> logits)>;

/// When beam search with all its hypotheses finished ends: `yes` at once; `no` when the best running beam, at
/// its present length, is behind them; `never` when it would be behind at any length.
enum class EarlyStopping { no, yes, never };

/// Why a text ended: max_new_tokens or the model's context was reached; an end token came; the callback or a
/// stop text ended it.
enum class FinishReason { length, eos, stopped };

/// Named as in Hugging Face's generation_config.json, and applied in the order of its generate.
struct GenerationOptions {
  Index max_new_tokens = 20;  // tokens of a continuation, the end token included
  double temperature = 0;     // 0: always the likeliest token (greedy)
  Index top_k = 0;            // only the k likeliest; 0: all
  double top_p = 1;           // only the likeliest that together reach this probability
  double min_p = 0;           // only those of at least this share of the likeliest one's probability
  double repetition_penalty =
      1;  // divides a positive logit of a token that was there before, multiplies a negative one
  std::uint64_t seed = 0;     // of random numbers: the same seed, the same text
  Index num_beams = 1;        // more than 1: beam search
  double length_penalty = 1;  // a hypothesis scores its log-probability / length^length_penalty
  EarlyStopping early_stopping = EarlyStopping::no;             // when beams are enough
  std::optional<std::vector<std::int32_t>> eos_token_ids = {};  // that end a text; default: the model's
  std::vector<std::string> stop = {};  // texts that end a text and are not part of it (TextGenerator)
  std::vector<LogitsProcessor> logits_processors = {};  // more rules, behind these
  Index max_length =
      0;  // tokens of prompt and continuation (of the target, with its start token); 0: any number
  /// Tokens with the prompt, and without it, before which no end token comes.
  Index min_length = 0, min_new_tokens = 0;
  Index no_repeat_ngram_size = 0;  // no such number of tokens in a row comes twice; 0: may
  std::vector<std::vector<std::int32_t>> bad_words_ids = {};  // never come, one behind the other
  std::vector<std::int32_t> suppress_tokens = {};             // never come
  std::vector<std::int32_t> begin_suppress_tokens = {};       // do not come first
  std::optional<std::int32_t> forced_bos_token_id = {};  // follows a single token, such as a target's start
  /// One of them is the last of a longest text: the smallest in beam search, where they score alike.
  std::vector<std::int32_t> forced_eos_token_id = {};
  std::optional<std::int32_t> decoder_start_token_id = {};  // of a target; default: the model's
  bool remove_invalid_values = false;                       // NaN counts as 0, what is infinite as finite
  bool renormalize_logits = false;  // probabilities of beams sum to 1 again after all this
  std::optional<Index> logprobs =
      {};  // gives log-probabilities of the tokens and of the likeliest n (Generator)
};

/// Error that begins with `who` where a value is out of range.
void check_options(const GenerationOptions& o, const std::string& who = "generate");

/// A token's log-probability as the model gives it, before the options change it; and of the likeliest ones.
struct TokenLogprob {
  std::int32_t id = 0;                                   // the token
  float logprob = 0;                                     // natural logarithm
  std::vector<std::pair<std::int32_t, float>> top = {};  // likeliest first, of equal ones the smaller id
};

/// What those of the rules go by that count tokens.
struct GenerationBounds {
  std::size_t prompt = 0;                        // tokens that were given
  std::size_t longest = 0;                       // tokens of the longest text with its prompt; 0: not known
  std::vector<std::int32_t> eos_token_ids = {};  // that the rules hold back
};

namespace detail {
/// SplitMix64 (Steele, Lea, Flood 2014): a sequence of its own for each seed and stream.
class Random {
 public:
  /// Of one of 2^64 streams of a seed.
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) : state_(mix(seed) + mix(stream ^ kGolden)) {}
  std::uint64_t operator()() { return mix(state_ += kGolden); }  // The next 64 random bits.
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

/// All that changes the logits, or log-probabilities, of the token that follows `ids`.
void process(const GenerationOptions& o, const GenerationBounds& bounds, std::span<const std::int32_t> ids,
             std::span<float> logits);
/// How many tokens may follow the `given` ones of a text (named so) in a model that takes `most` (0: any
/// number). Error where max_length leaves no room for one.
Index room(const char* name, std::size_t given, Index most, const GenerationOptions& options);
/// Of token `id` and of the likeliest `top`, by the logits.
TokenLogprob log_probability(Context& context, std::span<const float> logits, std::int32_t id, Index top);
}  // namespace detail

/// Chooses tokens of one sequence. Probabilities come from the library's softmax and are drawn from as
/// integers: the same logits, seed and stream give the same tokens on every machine and with any flags and
/// number of threads.
class Sampler {
 public:
  /// The options must outlive the sampler.
  explicit Sampler(const GenerationOptions& options, std::uint64_t stream = 0, GenerationBounds bounds = {})
      : options_(&options), bounds_(std::move(bounds)), random_(options.seed, stream) {
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
  GenerationBounds bounds_;
  detail::Random random_;
  std::vector<Candidate> candidates_;
  std::vector<float> values_;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/sampling.inl>
#endif
