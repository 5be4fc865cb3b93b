// Generator: continues token ids by a CausalLM, and remembers keys and values from one call to the next.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <attend/model/beam_search.hpp>
#include <attend/model/cached_prompt.hpp>
#include <attend/model/causal_lm.hpp>

namespace attend::inline ATTEND_ABI {

/// What a Generator made of one prompt.
struct Generation {
  std::vector<std::int32_t> ids;  // what follows the prompt, with the end token if there is one
  FinishReason reason = FinishReason::length;
  Index reused = 0;                         // tokens of the prompt whose keys and values were still there
  double score = 0;                         // of beam search
  std::vector<TokenLogprob> logprobs = {};  // of each of ids, where the options ask for them
};

/// Called with each new token of prompt number `prompt`, the end token included; false ends that text.
using TokenCallback = std::function<bool(Index prompt, std::int32_t id)>;

namespace detail {
/// One more token of each sequence of a cache, of which tokens(i) are all, this one included -> logits [n,
/// V].
void advance(Context& context, const CausalLM<float>& model, CausalCache<float>& cache,
             std::span<const std::int32_t> ids,
             FunctionRef<const std::vector<std::int32_t>&(std::size_t)> tokens, float* logits);
/// Errors of a prompt that a model cannot continue.
void check_prompt(const CausalLM<float>& model, std::span<const std::int32_t> prompt);
/// Those of `options`, or the model's.
const std::vector<std::int32_t>& end_tokens(const CausalLM<float>& model, const GenerationOptions& options);

/// A text that grows token by token. It refers to its options.
struct GrowingText {
  std::vector<std::int32_t> ids;  // the prompt, and what follows it
  Index room;                     // for new tokens
  Sampler sampler;
  Generation result = {};

  GrowingText(const CausalLM<float>& model, std::vector<std::int32_t> prompt,
              const GenerationOptions& options, std::uint64_t stream = 0);
  /// The next token, of logits [V], which are changed. Whether the text goes on: not behind an end token, a
  /// `go_on(token)` that is false, or the last token that there is room for.
  bool grow(Context& context, const CausalLM<float>& model, const GenerationOptions& options,
            std::span<float> logits, FunctionRef<bool(const TokenLogprob& token)> go_on);
};
}  // namespace detail

/// A conversation with a model, which any number of generators share. What a call's prompt has in common with
/// the tokens of the call before (a system prompt, earlier turns) is not computed again; the result is the
/// same to the bit. For one thread at a time.
class Generator {
 public:
  /// Shares the model, or takes it.
  /// @{
  explicit Generator(std::shared_ptr<const CausalLM<float>> model);
  explicit Generator(CausalLM<float> model)
      : Generator(std::make_shared<const CausalLM<float>>(std::move(model))) {}
  /// @}

  const CausalLM<float>& model() const {
    check_model();
    return *model_;
  }
  /// The model, to share it.
  const std::shared_ptr<const CausalLM<float>>& shared_model() const { return model_; }
  /// Tokens whose keys and values are there.
  std::span<const std::int32_t> cached() const { return ids_; }

  /// What cached() are, for CachedPrompt::save; and for the next call, whose prompt may begin with them.
  CachedPrompt cached_prompt() const { return {ids_, cache_}; }
  /// Begins where another generator, or a file, has stopped. Error where its shape is not this model's.
  void set_cached_prompt(CachedPrompt prompt);

  /// Continues one prompt. Errors: an empty prompt, one longer than the model's context, an unknown id.
  Generation generate(Context& context, std::span<const std::int32_t> prompt,
                      const GenerationOptions& options = {}, const TokenCallback& callback = {});
  Generation generate(std::span<const std::int32_t> prompt, const GenerationOptions& options = {},
                      const TokenCallback& callback = {}) {
    return generate(default_context(), prompt, options, callback);
  }

  /// Continues prompts of any lengths, which then run as one batch. A prompt's result depends on its own
  /// tokens and its number alone (which picks its random numbers). With beam search the callback is called
  /// when a prompt is done.
  std::vector<Generation> generate(Context& context, std::span<const std::vector<std::int32_t>> prompts,
                                   const GenerationOptions& options = {}, const TokenCallback& callback = {});
  std::vector<Generation> generate(std::span<const std::vector<std::int32_t>> prompts,
                                   const GenerationOptions& options = {},
                                   const TokenCallback& callback = {}) {
    return generate(default_context(), prompts, options, callback);
  }

  /// Log-probabilities of ids[given], ids[given + 1], …, each after those before it, and of the `top`
  /// likeliest tokens at each place. Errors: as of generate; `given` less than 1.
  std::vector<TokenLogprob> score(Context& context, std::span<const std::int32_t> ids, Index given = 1,
                                  Index top = 0) const;
  std::vector<TokenLogprob> score(std::span<const std::int32_t> ids, Index given = 1, Index top = 0) const {
    return score(default_context(), ids, given, top);
  }

  /// All hypotheses of a beam search, best first.
  std::vector<Hypothesis> beams(Context& context, std::span<const std::int32_t> prompt,
                                const GenerationOptions& options);
  std::vector<Hypothesis> beams(std::span<const std::int32_t> prompt, const GenerationOptions& options) {
    return beams(default_context(), prompt, options);
  }

 private:
  /// However a call ends, ids_ are the tokens that are cached.
  struct AsCached {
    Generator& generator;
    ~AsCached() { generator.ids_.resize(static_cast<std::size_t>(generator.cache_.length(0))); }
  };

  void check_model() const;
  /// Whether a call is at work, whose cache a callback must not change. Copies are at rest.
  struct AtWork {
    bool yes = false;
    AtWork() = default;
    AtWork(const AtWork&) {}
    AtWork& operator=(const AtWork&) { return *this; }
  };
  struct Running {
    AtWork& at_work;
    explicit Running(AtWork& a) : at_work(a) {
      if (a.yes) throw_error("generate: called by a callback of the same generator");
      a.yes = true;
    }
    ~Running() { at_work.yes = false; }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
  };

  Index room(std::size_t prompt, const GenerationOptions& options) const;
  std::span<float> row_of_logits(std::size_t i);

  /// Brings the own cache to the prompt; logits [V] of what follows it. Returns how many tokens were there
  /// already.
  Index prefill(Context& context, std::span<const std::int32_t> prompt, float* logits);
  std::vector<Hypothesis> beams(Context& context, std::span<const std::int32_t> prompt,
                                const GenerationOptions& options, Index* reused);
  Generation search(Context& context, std::span<const std::int32_t> prompt, const GenerationOptions& options);

  std::shared_ptr<const CausalLM<float>> model_;
  CausalCache<float> cache_;
  std::vector<std::int32_t> ids_;  // the tokens of cache_
  std::vector<float> logits_;      // [sequences, V]
  AtWork running_;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/generation.inl>
#endif
