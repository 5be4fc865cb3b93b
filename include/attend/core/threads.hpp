// Threads of a Context: n tasks, the caller takes part, idle workers spin for 100 µs and then sleep.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include <attend/core/flags.hpp>
#include <attend/core/function_ref.hpp>
#include <attend/core/memory.hpp>
#include <attend/core/shape.hpp>

namespace attend::inline ATTEND_ABI {

/// The caller's own threads: runs task(0) … task(n - 1), each once, in any order and on any threads, and
/// returns when all are done. No task throws; what the executor itself throws reaches the caller of the
/// layer.
using Executor = std::function<void(Index n, detail::FunctionRef<void(Index)> task)>;

namespace detail::inline ATTEND_FLAGS {
/// The floating-point environment of every task, whatever the caller's is: round to nearest, subnormals kept.
/// Audio hosts and -Ofast flush them, and bits would depend on the thread. Restores the caller's at its end.
class FloatEnvironment {
 public:
#if defined(__SSE2__)
  FloatEnvironment() : saved_(_mm_getcsr()) {
    if (saved_ != kDefault) _mm_setcsr(kDefault);
  }
  ~FloatEnvironment() {
    if (saved_ != kDefault) _mm_setcsr(saved_);
  }

 private:
  static constexpr unsigned kDefault = 0x1f80;
  unsigned saved_;
#elif defined(__aarch64__) && defined(__GNUC__)
  FloatEnvironment() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    if (saved_ != 0) asm volatile("msr fpcr, %0" ::"r"(std::uint64_t{0}));
  }
  ~FloatEnvironment() {
    if (saved_ != 0) asm volatile("msr fpcr, %0" ::"r"(saved_));
  }

 private:
  std::uint64_t saved_;
#else
  FloatEnvironment() {}
  ~FloatEnvironment() {}
#endif
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;
};

/// Tells the processor that a thread spins.
inline void spin_pause() {
#if defined(__SSE2__)
  _mm_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  asm volatile("yield");
#endif
}
}  // namespace detail::inline ATTEND_FLAGS

namespace detail {
/// The most threads that a context takes: more is a mistake, and would take gigabytes of stacks.
inline constexpr int kMaxThreads = 4096;

inline int checked_threads(const char* who, Index threads) {
  if (threads < 1 || threads > kMaxThreads)
    throw_error(who, ": expected 1 to ", kMaxThreads, " threads, got ", threads);
  return static_cast<int>(threads);
}

/// The first exception that one of several tasks leaves by; it waits here until all are done.
class FirstException {
 public:
  /// Runs f, and keeps what it throws where it is the first. Any number of threads may call it.
  template <class F>
  void guard(F&& f) {
#if defined(__cpp_exceptions)
    try {
      f();
    } catch (...) {
      if (!caught_.exchange(true, std::memory_order_relaxed)) exception_ = std::current_exception();
    }
#else
    f();
#endif
  }
  /// Throws what was kept, if anything. All tasks have to be done.
  void rethrow() {
#if defined(__cpp_exceptions)
    if (!caught_.load(std::memory_order_relaxed)) return;
    caught_.store(false, std::memory_order_relaxed);
    std::rethrow_exception(std::exchange(exception_, nullptr));
#endif
  }

 private:
  std::atomic<bool> caught_{false};
  std::exception_ptr exception_;
};

/// `threads` - 1 workers that help the calling thread. Error where they cannot be had.
class ThreadPool {
 public:
  /// Starts threads - 1 of them; the caller's is the last. Error, and none is left, where one cannot be
  /// started.
  explicit ThreadPool(int threads) {
    workers_.reserve(static_cast<std::size_t>(checked_threads("ThreadPool", threads)));
#if defined(__cpp_exceptions)
    try {
      start(threads);
    } catch (const std::exception& error) {
      const std::size_t started = workers_.size() + 1;
      stop();
      throw_error("ThreadPool: ", started, " of ", threads, " threads could be had: ", error.what());
    }
#else
    start(threads);
#endif
  }
  ~ThreadPool() { stop(); }

  /// Runs task(0) … task(n - 1), and throws what the first of them threw once all are done. Never waits for a
  /// worker to wake up: what no worker took, the caller does. Error where it runs already.
  void run(Index n, FunctionRef<void(Index)> task) {
    if (n < 0 || n > (std::numeric_limits<std::uint32_t>::max)()) throw_error("ThreadPool: ", n, " tasks");
    if (running_.exchange(true, std::memory_order_acquire))
      throw_error("ThreadPool: run is called while it runs already");
    task_ = &task;
    count_ = n;
    pending_.store(n, std::memory_order_relaxed);
    const std::uint64_t round = (state_.load(std::memory_order_relaxed) >> 32) + 1;
    state_.store(round << 32 | static_cast<std::uint64_t>(n), std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) wake();
    while (take_one()) {
    }
    for (int i = 0; pending_.load(std::memory_order_acquire) > 0; ++i) {
      spin_pause();
      if (i > 10000) std::this_thread::yield();  // fewer cores than threads
    }
    running_.store(false, std::memory_order_release);
    first_exception_.rethrow();
  }

 private:
  // The high half of state_ counts rounds, the low half is the number of tasks that are still to be taken:
  // one compare-and-swap takes a task of this very round, so task_ and count_ can't change under a taker.
  bool take_one() {
    std::uint64_t state = state_.load(std::memory_order_acquire);
    while ((state & 0xffffffffu) != 0) {
      if (!state_.compare_exchange_weak(state, state - 1, std::memory_order_acq_rel)) continue;
      first_exception_.guard([&] { (*task_)(count_ - static_cast<Index>(state & 0xffffffffu)); });
      pending_.fetch_sub(1, std::memory_order_release);
      return true;
    }
    return false;
  }

  void start(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  void stop() {
    stop_.store(true, std::memory_order_relaxed);
    wake();
    for (std::thread& worker : workers_) worker.join();
  }

  void work() {
    using Clock = std::chrono::steady_clock;
    Clock::time_point idle_since = Clock::now();
    while (!stop_.load(std::memory_order_relaxed)) {
      if (take_one()) {
        idle_since = Clock::now();
        continue;
      }
      for (int i = 0; i < 64 && (state_.load(std::memory_order_relaxed) & 0xffffffffu) == 0; ++i)
        spin_pause();
      if (Clock::now() - idle_since < std::chrono::microseconds(100)) continue;
      const std::uint32_t call = calls_.load(std::memory_order_seq_cst);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      if ((state_.load(std::memory_order_seq_cst) & 0xffffffffu) == 0 && !stop_.load()) calls_.wait(call);
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
      idle_since = Clock::now();
    }
  }

  void wake() {
    calls_.fetch_add(1, std::memory_order_seq_cst);
    calls_.notify_all();
  }

  std::atomic<std::uint64_t> state_{0};
  std::atomic<Index> pending_{0};
  std::atomic<std::uint32_t> calls_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false}, running_{false};
  FirstException first_exception_;
  const FunctionRef<void(Index)>* task_ = nullptr;
  Index count_ = 0;
  std::vector<std::thread> workers_;
};

/// Tasks on the caller's own threads. Holds the executor to its word: whatever it does, no task runs twice or
/// after `run` has returned, and what it does wrong is an Error.
class ExecutorTasks {
 public:
  /// Takes up to `most` tasks.
  ExecutorTasks(Executor executor, int most)
      : executor_(std::move(executor)), taken_(static_cast<std::size_t>(most)) {
    for (std::atomic<bool>& taken : taken_) taken.store(true, std::memory_order_relaxed);
  }
  ExecutorTasks(const ExecutorTasks&) = delete;
  ExecutorTasks& operator=(const ExecutorTasks&) = delete;

  /// As ThreadPool's, for n up to `most`.
  void run(Index n, FunctionRef<void(Index)> task) {
    task_ = &task;
    finished_.store(0, std::memory_order_relaxed);
    wrong_.store(false, std::memory_order_relaxed);
    for (Index i = 0; i < n; ++i) taken_[static_cast<std::size_t>(i)].store(false, std::memory_order_release);
    first_exception_.guard([&] { executor_(n, *this); });
    Index begun = n;  // what has not begun by now never will
    for (Index i = 0; i < n; ++i)
      if (!taken_[static_cast<std::size_t>(i)].exchange(true, std::memory_order_acq_rel)) --begun;
    while (finished_.load(std::memory_order_acquire) < begun) std::this_thread::yield();
    first_exception_.rethrow();
    if (begun < n) throw_error("Context: the executor returned after ", begun, " of ", n, " tasks");
    if (wrong_.load(std::memory_order_relaxed))
      throw_error("Context: the executor ran a task twice, or one that it was not given");
  }
  /// What the executor calls.
  void operator()(Index i) {
    if (i < 0 || i >= static_cast<Index>(taken_.size()) ||
        taken_[static_cast<std::size_t>(i)].exchange(true, std::memory_order_acq_rel)) {
      wrong_.store(true, std::memory_order_relaxed);
      return;
    }
    first_exception_.guard([&] { (*task_)(i); });
    finished_.fetch_add(1, std::memory_order_release);
  }

 private:
  Executor executor_;
  std::vector<std::atomic<bool>, Allocator<std::atomic<bool>>>
      taken_;  // of each task: by a thread, or by `run` at its end
  std::atomic<Index> finished_{0};
  std::atomic<bool> wrong_{false};
  FirstException first_exception_;
  const FunctionRef<void(Index)>* task_ = nullptr;
};

}  // namespace detail

}  // namespace attend::inline ATTEND_ABI
