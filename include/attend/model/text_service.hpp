// What a program that serves many clients at once needs: texts that stream to each, and calls that are
// gathered.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <attend/model/generation_batch.hpp>
#include <attend/model/text_generator.hpp>

namespace attend::inline ATTEND_ABI {

/// More is asked for than a service has room for.
struct Busy : Error {
  using Error::Error;
};
/// A request's time is over.
struct DeadlinePassed : Error {
  using Error::Error;
};

/// Of a TextService.
struct TextServiceOptions {
  ContextOptions context = {};        // of its thread
  GenerationBatchOptions batch = {};  // how many run at once
  Index max_waiting = 64;             // requests beside those that run; more are Busy
};

/// A language model as any number of threads use it at once: a thread of its own runs their requests as one
/// GenerationBatch, each with the text that TextGenerator gives it alone.
class TextService {
 public:
  /// What is asked for.
  struct Request {
    std::vector<std::int32_t> ids = {};  // the prompt
    GenerationOptions options = {};      // as of TextGenerator
    /// after it the stream ends by DeadlinePassed
    std::chrono::steady_clock::time_point deadline = (std::chrono::steady_clock::time_point::max)();
  };
  /// A token, and the text that is certain with it.
  struct Piece {
    std::string text = {};                    // may be empty
    std::optional<TokenLogprob> token = {};   // which it came with
    std::optional<FinishReason> reason = {};  // of the last piece, which has no token
    Index completion_tokens = 0, reused = 0;  // of the last piece: all tokens, and those not computed again
  };

  /// A request, for one thread. Destroyed before its end it is cancelled.
  class Stream {
   public:
    Stream(Stream&&) noexcept = default;  // Of what is left behind nothing may be asked.
    Stream& operator=(Stream&& other) noexcept {
      std::swap(state_, other.state_);
      return *this;
    }
    ~Stream();
    /// Whether `next` would give its answer at once, waited for at most that long.
    bool wait_for(std::chrono::milliseconds time);
    /// The next piece, waited for, or nothing behind the last. Errors: DeadlinePassed, and of what was asked
    /// for.
    std::optional<Piece> next();

   private:
    friend class TextService;
    struct State;
    explicit Stream(std::shared_ptr<State> state) : state_(std::move(state)) {}
    std::shared_ptr<State> state_;
  };

  /// Takes the generator and starts the thread.
  explicit TextService(TextGenerator generator, TextServiceOptions options = {});
  /// Gives up what runs.
  ~TextService();

  const TextGenerator& generator() const { return generator_; }
  /// Busy where too many wait, or the service is closed.
  Stream start(Request request);
  /// Takes no more, and returns when all that run have ended.
  void close();

  /// Requests that wait and that run, and all tokens so far; of any thread.
  /// @{
  Index waiting() const { return waiting_; }
  Index running() const { return running_; }
  std::uint64_t generated_tokens() const { return generated_; }
  /// @}

 private:
  using Shared = std::shared_ptr<Stream::State>;
  void work(std::stop_token stop);
  void begin(const Shared& state);

  TextGenerator generator_;
  TextServiceOptions options_;
  GenerationBatch batch_;
  Context context_;  // of the working thread
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<Shared> arrivals_;
  std::vector<Shared> live_;  // of the working thread
  std::atomic<Index> waiting_{0}, running_{0};
  std::atomic<std::uint64_t> generated_{0};
  bool closed_ = false;
  std::jthread worker_;
};

/// Calls of many threads as few: what comes while one runs waits, and is then run together. `run` takes all
/// items of some calls, up to `most` unless one call has more, and gives as many results, in their order; an
/// error where it gives another number.
template <class In, class Out>
class Gatherer {
 public:
  using Run = std::function<std::vector<Out>(std::vector<In> items)>;  // What runs items together.
  /// Calls beyond `most_waiting` that wait are Busy.
  explicit Gatherer(Run run, std::size_t most = 64, std::size_t most_waiting = 64)
      : run_(std::move(run)), most_(most), most_waiting_(most_waiting) {}

  /// Results of its own items. Busy where too many calls wait. Where `run` throws for several calls, each of
  /// them runs again alone, and gets the results or the error that are its own.
  std::vector<Out> operator()(std::vector<In> items);

 private:
  struct Call {
    std::vector<In> items;
    std::vector<Out> results = {};
    std::exception_ptr error = {};
    bool done = false;
  };
  void run_together(std::unique_lock<std::mutex>& lock);

  Run run_;
  std::size_t most_, most_waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Call*> calls_;
  bool running_ = false;
};

template <class In, class Out>
std::vector<Out> Gatherer<In, Out>::operator()(std::vector<In> items) {
  Call call{std::move(items)};
  std::unique_lock lock(mutex_);
  if (calls_.size() >= most_waiting_) detail::throw_message<Busy>("too many calls wait");
  calls_.push_back(&call);
  struct Leave {  // where there is no memory to run calls together: another one of them has to
    Gatherer& gatherer;
    Call* call;
    ~Leave() {
      if (std::erase(gatherer.calls_, call) > 0) gatherer.changed_.notify_all();
    }
  } leave{*this, &call};
  while (!call.done) {
    if (running_)
      changed_.wait(lock);
    else
      run_together(lock);  // one of those that wait does it for all
  }
  if (call.error != nullptr) std::rethrow_exception(call.error);
  return std::move(call.results);
}
template <class In, class Out>
void Gatherer<In, Out>::run_together(std::unique_lock<std::mutex>& lock) {
  std::size_t n = 0, count = 0;
  for (; n < calls_.size() && (n == 0 || count + calls_[n]->items.size() <= most_); ++n)
    count += calls_[n]->items.size();
  const auto end = calls_.begin() + static_cast<std::ptrdiff_t>(n);
  const std::vector<Call*> together(calls_.begin(), end);
  calls_.erase(calls_.begin(), end);
  running_ = true;
  lock.unlock();
  const auto run = [&](std::span<Call* const> calls) {
    std::vector<In> all;
    for (Call* call : calls) all.insert(all.end(), call->items.begin(), call->items.end());
    const std::size_t items = all.size();
    std::vector<Out> results = run_(std::move(all));
    if (results.size() != items) throw_error("Gatherer: ", results.size(), " results of ", items, " items");
    auto next = std::make_move_iterator(results.begin());
    for (Call* call : calls) {
      const auto last = next + std::ssize(call->items);
      call->results.assign(next, last);
      next = last;
    }
  };
#if defined(__cpp_exceptions)
  try {
    run(together);
  } catch (...) {  // whose fault it is shows when each runs alone
    for (Call* const& call : together) try {
        if (together.size() == 1) throw;
        run({&call, 1});
      } catch (...) {
        call->error = std::current_exception();
      }
  }
#else
  run(together);
#endif
  lock.lock();
  running_ = false;
  for (Call* call : together) call->done = true;
  changed_.notify_all();
}

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/text_service.inl>
#endif
