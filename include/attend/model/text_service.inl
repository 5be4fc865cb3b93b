// Bodies of text_service.hpp.
#pragma once

#include <algorithm>
#include <system_error>

#include <attend/model/text_service.hpp>

namespace attend::inline ATTEND_ABI {

/// Of a request: what the service's thread and the client's share, and what is the service's alone.
struct TextService::Stream::State {
  Request request;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Piece> pieces;
  std::exception_ptr error;
  bool ended = false, gone = false;

  GenerationBatch::Ticket ticket = 0;
  std::optional<TextStream> text;

  void push(Piece piece) {
    const std::lock_guard lock(mutex);
    ended = piece.reason.has_value();
    pieces.push_back(std::move(piece));
    changed.notify_all();
  }
  void refuse(std::exception_ptr e) {
    const std::lock_guard lock(mutex);
    error = e;
    ended = true;
    changed.notify_all();
  }
  /// f(), or a failure by what it throws: false then.
  template <class F>
  bool guard(F&& f) {
#if defined(__cpp_exceptions)
    try {
      f();
    } catch (...) {
      refuse(std::current_exception());
      return false;
    }
#else
    f();
#endif
    return true;
  }
  /// Fails by such an error, or where memory is used up by that.
  template <class Kind>
  void refuse(const char* what) {
    guard([&] { refuse(std::make_exception_ptr(Kind(what))); });
  }
  bool ready() const { return !pieces.empty() || ended; }  // under the lock
  bool is_gone() {
    const std::lock_guard lock(mutex);
    return gone;
  }
};

ATTEND_INLINE TextService::Stream::~Stream() {
  if (state_ == nullptr) return;
  const std::lock_guard lock(state_->mutex);
  state_->gone = true;
}

ATTEND_INLINE bool TextService::Stream::wait_for(std::chrono::milliseconds time) {
  if (state_ == nullptr) return true;
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, time, [&] { return state_->ready(); });
}

ATTEND_INLINE std::optional<TextService::Piece> TextService::Stream::next() {
  if (state_ == nullptr) return std::nullopt;
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return state_->ready(); });
  if (!state_->pieces.empty()) {
    Piece piece = std::move(state_->pieces.front());
    state_->pieces.pop_front();
    return piece;
  }
  if (state_->error != nullptr) std::rethrow_exception(std::exchange(state_->error, nullptr));
  return std::nullopt;
}

ATTEND_INLINE TextService::TextService(TextGenerator generator, TextServiceOptions options)
    : generator_(std::move(generator)),
      options_(std::move(options)),
      batch_(generator_.generator().shared_model(), options_.batch),
      context_(options_.context) {
  const auto start = [this] {
    worker_ = std::jthread([this](std::stop_token stop) { work(std::move(stop)); });
  };
#if defined(__cpp_exceptions)
  try {
    start();
  } catch (const std::system_error& error) {
    throw_error("TextService: no thread could be had: ", error.what());
  }
#else
  start();
#endif
}

ATTEND_INLINE TextService::~TextService() {
  worker_.request_stop();
  worker_.join();
  for (const std::vector<Shared>* states : {&live_, &arrivals_})
    for (const Shared& state : *states) state->refuse<Stopped>("the service has ended");
}

ATTEND_INLINE TextService::Stream TextService::start(Request request) {
  auto state = std::make_shared<Stream::State>();
  state->request = std::move(request);
  const std::lock_guard lock(mutex_);
  if (closed_) detail::throw_message<Busy>("the service is closed");
  if (waiting_ + running_ >= options_.max_waiting + options_.batch.max_running)  // some may just begin to run
    detail::throw_message<Busy>("too many requests wait");
  arrivals_.push_back(state);
  ++waiting_;
  changed_.notify_all();
  return Stream(std::move(state));
}

ATTEND_INLINE void TextService::close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  changed_.wait(lock, [&] { return waiting_ == 0 && running_ == 0; });
}

ATTEND_INLINE void TextService::begin(const Shared& state) {
  Request& request = state->request;
  state->text.emplace(generator_.tokenizer(), request.ids, request.options.stop,
                      detail::end_tokens(batch_.model(), request.options));
  state->ticket =
      batch_.join(request.ids, request.options, [this, s = state.get()](const TokenLogprob& token) {
        ++generated_;
        s->push({.text = s->text->push(token.id), .token = token});
        return !s->text->stopped() && !s->is_gone();
      });
}

ATTEND_INLINE void TextService::work(std::stop_token stop) {
  context_.set_stop_token(stop);
  while (!stop.stop_requested()) {
    std::vector<Shared> arrived;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [&] { return !arrivals_.empty() || !live_.empty() || !batch_.idle(); });
      arrived.swap(arrivals_);
    }
    for (const Shared& state : arrived)
      state->guard([&] {
        live_.reserve(live_.size() + 1);  // so that nothing fails behind `begin`
        begin(state);
        live_.push_back(state);
      });
    const auto now = std::chrono::steady_clock::now();
    std::erase_if(live_, [&](const Shared& state) {
      const bool late = now >= state->request.deadline;
      if (!late && !state->is_gone()) return false;
      batch_.leave(state->ticket);
      state->refuse<DeadlinePassed>("the deadline of the request has passed");
      return true;
    });
    std::vector<GenerationBatch::Ended> ended;
    const auto step = [&] { ended = batch_.step(context_); };
#if defined(__cpp_exceptions)
    try {
      step();
    } catch (const Stopped&) {
      break;
    } catch (...) {  // memory is used up: those that run last give theirs back
      if (!live_.empty()) {
        batch_.leave(live_.back()->ticket);
        live_.back()->refuse(std::current_exception());
        live_.pop_back();
      }
    }
#else
    step();
#endif
    for (GenerationBatch::Ended& one : ended) {
      const auto found = std::find_if(live_.begin(), live_.end(),
                                      [&](const Shared& state) { return state->ticket == one.ticket; });
      if (found == live_.end()) continue;
      const Shared state = *found;
      live_.erase(found);
      if (one.error != nullptr) {
        state->refuse(one.error);
        continue;
      }
      state->guard([&] {
        const bool stopped = state->text->stopped();
        state->push({.text = state->text->finish(),
                     .reason = stopped ? FinishReason::stopped : one.generation.reason,
                     .completion_tokens = static_cast<Index>(one.generation.ids.size()),
                     .reused = one.generation.reused});
      });
    }
    const std::lock_guard lock(mutex_);
    waiting_ = static_cast<Index>(arrivals_.size()) + batch_.waiting();
    running_ = batch_.running();
    changed_.notify_all();
  }
}

}  // namespace attend::inline ATTEND_ABI
