// GenerationBatch: requests that come and go while others run, as one batch.
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <attend/model/generation.hpp>

namespace attend::inline ATTEND_ABI {

/// Of a GenerationBatch.
struct GenerationBatchOptions {
  Index max_running = 16;    // requests that run at once; others wait, first come, first served
  Index prompt_piece = 128;  // tokens of prompts that a step computes at most, beside one of each that runs
  Index kept_prompts = 4;    // ended requests whose tokens stay, for those that begin as they did; 0: none
};

/// Called in a step with each new token of a request, the end token included, and its log-probability where
/// the options ask for it (else 0); false ends it.
using RequestCallback = std::function<bool(const TokenLogprob& token)>;

/// Continuous batching: each step computes one more token of each request that runs, and a piece of the
/// prompts of those that have come. A request gets, to the bit, the tokens that Generator gives it alone:
/// whatever runs beside it, and whenever it came. What prompts have in common is computed once and shares its
/// pages. For one thread at a time.
class GenerationBatch {
 public:
  using Ticket = std::uint64_t;  // a request's number
  /// A request that has ended.
  struct Ended {
    Ticket ticket = 0;              // which one
    Generation generation = {};     // all of it
    std::exception_ptr error = {};  // what its callback or its sampling threw, alone
  };

  /// Shares the model. Error where an option is below what it can be.
  explicit GenerationBatch(std::shared_ptr<const CausalLM<float>> model, GenerationBatchOptions options = {});

  const CausalLM<float>& model() const {
    check_model();
    return *model_;
  }
  /// Requests that wait, that run, and whether there is nothing to do or to fetch.
  /// @{
  Index waiting() const { return static_cast<Index>(waiting_.size()); }
  Index running() const { return static_cast<Index>(filling_.size() + running_.size()); }
  bool idle() const { return waiting() + running() == 0 && ended_.empty(); }
  /// @}

  /// A request, which the next step may begin; a callback may join more. Errors: as of Generator::generate;
  /// an id out of the vocabulary; beam search, which is not of a batch.
  Ticket join(std::vector<std::int32_t> prompt, GenerationOptions options = {},
              RequestCallback callback = {});
  /// Keeps a prompt, such as one from a file, for requests that begin with it: as the last of kept_prompts.
  void keep(CachedPrompt prompt);
  /// Gives up a request, whose place is free then; nothing more is said of it. False where there is none.
  bool leave(Ticket ticket);

  /// One token of each request that runs. Returns those that have ended. A step that fails, as where the
  /// context is stopped, or memory is used up, loses nothing: the next one goes on.
  std::vector<Ended> step(Context& context);

 private:
  struct Request {
    Ticket ticket;
    GenerationOptions options;
    RequestCallback callback;
    detail::GrowingText text;
    CausalCache<float> cache = {};  // while the prompt is computed: one sequence, or before none
    std::exception_ptr error = {};
    bool done = false, left = false;

    Request(Ticket number, const CausalLM<float>& model, std::vector<std::int32_t> prompt,
            GenerationOptions its_options, RequestCallback its_callback)
        : ticket(number),
          options(std::move(its_options)),
          callback(std::move(its_callback)),
          text(model, std::move(prompt), options) {}
  };
  using Requests = std::deque<std::unique_ptr<Request>>;
  void check_model() const;
  std::span<float> row_of_logits(std::size_t i);
  /// Goes on from another one's tokens, where more of them are this request's than it has computed.
  void share(Request& request);
  void fill(Context& context);
  void advance(Context& context);
  void sample(Context& context, Request& request, std::span<float> logits);
  /// Those that are done leave.
  void compact();

  std::shared_ptr<const CausalLM<float>> model_;
  GenerationBatchOptions options_;
  CausalCache<float> cache_;  // sequence i is running_[i]'s: all of its ids but the last
  Requests waiting_, filling_, running_;
  std::deque<CachedPrompt> kept_;
  std::vector<Ended> ended_;
  std::vector<float> logits_;  // [running, V]
  Ticket next_ticket_ = 1;
  bool stepping_ = false;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/generation_batch.inl>
#endif
