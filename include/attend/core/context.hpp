// Context: the workspace and threads of one calling thread.
#pragma once

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include <attend/core/threads.hpp>
#include <attend/core/workspace.hpp>

namespace attend {

struct ContextOptions {
  /// Threads that a call may use, the calling one included.
  int threads = 1;
  /// The caller's own threads instead of a pool; `threads` says how many of its tasks may run at once.
  Executor executor = {};
};

/// What a call scribbles on and runs on. One per calling thread; layers are shared, contexts are not.
/// The outputs' bits depend neither on the number of threads nor on what ran before.
class Context {
 public:
  Context() = default;
  explicit Context(ContextOptions options) : threads_(options.threads), executor_(std::move(options.executor)) {
    if (threads_ < 1) fail("Context: expected at least 1 thread, got " + std::to_string(threads_));
    if (threads_ > 1) next_ = std::vector<Next>(static_cast<std::size_t>(threads_));
    if (threads_ > 1 && !executor_) pool_ = std::make_unique<ThreadPool>(threads_);
  }
  explicit Context(int threads) : Context(ContextOptions{.threads = threads, .executor = {}}) {}

  int threads() const { return threads_; }
  Workspace& workspace() { return workspace_; }
  /// In a run of `measure`: no tensor may be touched.
  bool measuring() const { return workspace_.measuring_; }

  /// How many workers `parallel` would take for so many items of so many operations in all, in units of a product's:
  /// what runs shorter than a few microseconds stays on the calling thread.
  int workers(Index items, double operations) const {
    if (threads_ == 1 || operations < kWorthAThread) return 1;
    return static_cast<int>(items < threads_ ? items : threads_);
  }

  /// Calls item(i, worker) once for each i in [0, items), on up to `workers` threads at once, each with a number
  /// below `workers` of its own. Items write to places of their own, so their order does not matter.
  template <class Item>
  void parallel(Index items, int workers, Item&& item) {
    if (workspace_.measuring_) return;
    if (workers <= 1) {
      FloatEnvironment environment;
      for (Index i = 0; i < items; ++i) item(i, 0);
      return;
    }
    // Each worker has a range of its own, so that from one call to the next it finds its rows in its cache, and then
    // helps the others.
    for (Index w = 0; w < workers; ++w)
      next_[static_cast<std::size_t>(w)].item.store(items * w / workers, std::memory_order_relaxed);
    const auto body = [&](Index worker) {
      FloatEnvironment environment;
      for (Index k = 0; k < workers; ++k) {
        const Index owner = (worker + k) % workers, end = items * (owner + 1) / workers;
        std::atomic<Index>& next = next_[static_cast<std::size_t>(owner)].item;
        for (Index i; (i = next.fetch_add(1, std::memory_order_relaxed)) < end;) item(i, static_cast<int>(worker));
      }
    };
    if (executor_)
      executor_(workers, body);
    else
      pool_->run(workers, body);
  }

  /// Bytes of workspace that f(context) takes, found by a run in which no kernel runs and no tensor is touched.
  template <class F>
  static std::size_t measure(int threads, F&& f) {
    Context context;
    context.threads_ = threads;
    context.workspace_.measuring_ = true;
    f(context);
    return context.workspace_.peak_bytes();
  }

 private:
  static constexpr double kWorthAThread = 3e5;  // 3 µs of one AVX-512 core; no product of a tiny model (E 64, T 8)

  struct alignas(64) Next {
    std::atomic<Index> item{0};
  };

  int threads_ = 1;
  std::vector<Next> next_;  // of each worker
  Executor executor_;
  std::unique_ptr<ThreadPool> pool_;
  Workspace workspace_;
};

/// The context of calls that name none: one thread, a workspace per calling thread.
inline Context& default_context() {
  thread_local Context context;
  return context;
}

/// Bytes of workspace that layer.forward(context, inputs…, out) takes, exactly. Only the shapes of the views
/// matter; their data may be null. Caches stay as they are.
template <class Layer, class... Inputs>
std::size_t workspace_bytes(const Layer& layer, int threads, Inputs&&... views) {
  return Context::measure(threads, [&](Context& context) { layer.forward(context, views...); });
}

}  // namespace attend
