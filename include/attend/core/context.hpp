// Context: the workspace and threads of one calling thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>
#include <version>

#if defined(__cpp_lib_jthread)
#include <stop_token>
#endif

#include <attend/core/function_ref.hpp>
#include <attend/core/threads.hpp>
#include <attend/core/workspace.hpp>

namespace attend::inline ATTEND_ABI {

/// std::stop_token; where the standard library has none (libc++ before its version 20), one that never stops.
#if defined(__cpp_lib_jthread)
using StopToken = std::stop_token;
#else
struct StopToken {
  bool stop_requested() const { return false; }  // Never: this standard library has no std::stop_token.
};
#endif

/// Of a Context: how many threads, and whose.
struct ContextOptions {
  /// Threads that a call may use, the calling one included.
  int threads = 1;
  /// The caller's own threads instead of a pool; `threads` says how many of its tasks may run at once.
  Executor executor = {};
  /// Where the workspace comes from; null: as MemoryScope says. Only the threads of a pool are the system's.
  MemoryResource* memory = nullptr;
};

/// A layer has run: what a LayerHook gets when it has ended, layers within it first.
struct LayerTime {
  std::string_view name;           // "Linear"
  Index number = -1;               // of a block in its stack
  int depth = 0;                   // of layers that it runs in
  std::span<const Index> in, out;  // shapes of its input and its output
  double operations = 0;  // of its products, a multiplication and an addition each; 0: none of its own
  std::uint64_t nanoseconds = 0;  // from the begin of the call to its end
};
/// Who gets the times: see Context::set_layer_hook.
using LayerHook = std::function<void(const LayerTime&)>;

/// What a call scribbles on and runs on. One per calling thread; layers are shared, contexts are not: a
/// second thread that comes while a call has workspace or threads of it gets an Error. What callables of a
/// call throw (masks, modifiers, the executor) reaches the caller once all threads have left the call; the
/// context can be used again at once. The outputs' bits depend neither on the number of threads nor on what
/// ran before.
class Context {
 public:
  Context() = default;
  /// Errors: a number of threads below 1 or beyond reason; threads that the system does not give.
  explicit Context(ContextOptions options)
      : Context(std::move(options),
                MemoryScope(options.memory != nullptr ? options.memory : MemoryScope::current())) {}
  /// Of so many threads, 1 to 4096, with no other options.
  explicit Context(AnyIndex threads)
      : Context(
            ContextOptions{.threads = detail::checked_threads("Context", threads.value), .executor = {}}) {}
  /// Leaves a context of one thread behind. Error where one of the two is in use.
  Context(Context&& other) : Context() { swap(other); }
  Context& operator=(Context&& other) {
    Context moved(std::move(other));
    swap(moved);
    return *this;
  }

  int threads() const { return threads_; }  // On how many threads calls run, the caller's among them.
  /// What calls scribble on: a layer of one's own takes memory from it, through a Frame.
  Workspace& workspace() { return workspace_; }

  /// Once a stop is requested, from whatever thread, a call that runs ends within milliseconds, and the next
  /// ones at once, by the error Stopped: caches are as before it. (Without exceptions the program ends.)
  void set_stop_token(StopToken token) { stop_ = std::move(token); }
  const StopToken& stop_token() const { return stop_; }  // The one that was set last.
  /// What long items ask between their parts, to leave early: `parallel` then says so to its caller.
  bool stopping() const { return stop_.stop_requested(); }
  /// Error where a stop is requested.
  void check_stop() const {
    if (stopping()) throw_stopped();
  }

  /// Called on the calling thread at the end of each layer, of one that failed too. May not throw, or use
  /// this context.
  void set_layer_hook(LayerHook hook) { hook_ = std::move(hook); }
  /// Whether there is one: the numbers that it gets cost something.
  bool timed() const { return static_cast<bool>(hook_); }

  /// In a run of `measure`: no tensor may be touched.
  bool measuring() const { return workspace_.measuring_; }

  /// How many workers `parallel` would take for so many items of so many operations in all, in units of a
  /// product's: what runs shorter than a few microseconds stays on the calling thread.
  int workers(Index items, double operations) const {
    if (threads_ == 1 || items < 1 || operations < kWorthAThread) return 1;
    return static_cast<int>(items < threads_ ? items : threads_);
  }

  /// Calls item(i, worker) once for each i in [0, items), on up to `workers` threads at once (no more than
  /// threads(), no less than one), each with a number below `workers` of its own. Items write to places of
  /// their own, so their order does not matter. After an exception the items that have not begun are left
  /// out. An item may use this context where that has one thread; with more it is an Error, on whichever
  /// thread the item runs.
  void parallel(Index items, int workers, detail::FunctionRef<void(Index item, int worker)> item) {
    if (workspace_.measuring_) return;
    const auto alone = [&] {
      detail::FloatEnvironment environment;
      for (Index i = 0; i < items && !stopping(); ++i) item(i, 0);
    };
    if (threads_ == 1) {
      workspace_.look();
      alone();
      return check_stop();
    }
    const Workspace::Visit visit(workspace_, true);
    workers = (std::min)(workers, threads_);
    if (workers <= 1) {
      alone();
      return check_stop();
    }
    // Each worker has a range of its own, so that from one call to the next it finds its rows in its cache,
    // and then helps the others.
    const Index each = items / workers, longer = items % workers;
    const auto first = [&](Index worker) { return each * worker + (std::min)(worker, longer); };
    for (Index w = 0; w < workers; ++w)
      next_[static_cast<std::size_t>(w)].item.store(first(w), std::memory_order_relaxed);
    const auto body = [&](Index worker) {
      detail::FloatEnvironment environment;
      LeaveOut rest{next_};
      for (Index k = 0; k < workers; ++k) {
        const Index owner = (worker + k) % workers, end = first(owner + 1);
        std::atomic<Index>& next = next_[static_cast<std::size_t>(owner)].item;
        for (Index i; !stopping() && (i = next.fetch_add(1, std::memory_order_relaxed)) < end;)
          item(i, static_cast<int>(worker));
      }
      rest.done = true;
    };
    run_(runner_.get(), workers, body);
    check_stop();
  }

  /// Bytes of workspace that f(context) takes, found by a run in which no kernel runs and no tensor is
  /// touched.
  template <class F>
  static std::size_t measure(int threads, F&& f) {
    Context context;
    context.threads_ = detail::checked_threads("Context", threads);
    context.workspace_.measuring_ = true;
    f(context);
    return context.workspace_.peak_bytes();
  }

 private:
  friend Context& default_context();
  friend class LayerTimer;
  static constexpr double kWorthAThread =
      3e5;  // 3 µs of one AVX-512 core; no product of a tiny model (E 64, T 8)

  struct alignas(64) Next {
    std::atomic<Index> item{0};
  };
  using Counters = std::vector<Next, detail::Allocator<Next>>;
  /// Where a worker leaves by an exception, no other begins an item any more.
  struct LeaveOut {
    Counters& next;
    bool done = false;
    ~LeaveOut() {
      if (done) return;
      for (Next& n : next) n.item.store((std::numeric_limits<Index>::max)() / 2, std::memory_order_relaxed);
    }
  };

  [[noreturn]] ATTEND_COLD static void throw_stopped() {
    detail::throw_message<Stopped>("stopped by the stop token of the context");
  }
  /// In the scope of its memory.
  Context(ContextOptions&& options, const MemoryScope&)
      : threads_(detail::checked_threads("Context", options.threads)) {
    if (threads_ == 1) return;
    next_ = Counters(static_cast<std::size_t>(threads_));
    if (options.executor)
      run_on<detail::ExecutorTasks>(std::move(options.executor), threads_);
    else
      run_on<detail::ThreadPool>(threads_);
  }
  template <class Runner, class... Args>
  void run_on(Args&&... args) {
    runner_ = std::allocate_shared<Runner>(detail::Allocator<Runner>(), std::forward<Args>(args)...);
    run_ = [](void* runner, Index tasks, detail::FunctionRef<void(Index)> task) {
      static_cast<Runner*>(runner)->run(tasks, task);
    };
  }
  void swap(Context& other) {
    workspace_.swap(other.workspace_);
    std::swap(threads_, other.threads_);
    std::swap(next_, other.next_);
    std::swap(runner_, other.runner_);
    std::swap(run_, other.run_);
    std::swap(stop_, other.stop_);
    std::swap(hook_, other.hook_);
  }
  /// At the end of the thread whose default context this is: threads and memory go, the context stays.
  void retire() {
    if (workspace_.visits_ > 0) return;  // std::exit from within a call
    std::destroy_at(this);
    ::new (static_cast<void*>(this)) Context();
    workspace_.passing_ = true;
  }

  int threads_ = 1;
  Counters next_;  // of each worker
  /// A ThreadPool or ExecutorTasks. What makes no context of several threads does not compile them.
  std::shared_ptr<void> runner_;
  void (*run_)(void* runner, Index tasks, detail::FunctionRef<void(Index)> task) = nullptr;
  StopToken stop_;
  LayerHook hook_;
  int depth_ = 0;  // of layers that run, as the hook sees them
  Workspace workspace_;
};

/// Of a layer's call: tells the hook at its end, where there is one.
class LayerTimer {
 public:
  /// Starts the clock where a hook is set. Names and shapes have to live until the end.
  LayerTimer(Context& context, const char* name, std::span<const Index> in, std::span<const Index> out,
             double operations = 0, Index number = -1) {
    if (context.timed()) [[unlikely]]
      begin(context, {name, number, 0, in, out, operations});
  }
  ~LayerTimer() {
    if (layer_) [[unlikely]]
      end();
  }
  LayerTimer(const LayerTimer&) = delete;
  LayerTimer& operator=(const LayerTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  struct Layer {
    Context& context;
    LayerTime time;
    Clock::time_point begin;
  };

  ATTEND_COLD void begin(Context& context, const LayerTime& time) {
    if (context.measuring()) return;
    layer_.emplace(Layer{context, time, Clock::now()});
    layer_->time.depth = context.depth_++;
  }
  ATTEND_COLD void end() {
    const std::chrono::nanoseconds passed = Clock::now() - layer_->begin;
    layer_->time.nanoseconds = static_cast<std::uint64_t>(passed.count());
    --layer_->context.depth_;
    layer_->context.hook_(layer_->time);
  }

  std::optional<Layer> layer_;
};

/// The context of calls that name none: one thread, a workspace per calling thread. Destructors of statics
/// and thread_locals may use it, too: it outlives them, and after the thread's end keeps no memory.
inline Context& default_context() {
  alignas(Context) static thread_local std::byte memory[sizeof(Context)];
  static thread_local Context* context = nullptr;  // never destroyed
  if (context != nullptr) return *context;
  const MemoryScope heap(nullptr);
  context = ::new (static_cast<void*>(memory)) Context();
  struct AtExit {
    ~AtExit() { context->retire(); }
  };
  static thread_local AtExit at_exit;
  static_cast<void>(&at_exit);  // a use, which makes it
  return *context;
}

/// Bytes of workspace that layer.forward(context, inputs…, out) takes, exactly. Only the shapes of the views
/// matter; their data may be null. Caches stay as they are.
template <class Layer, class... Inputs>
std::size_t workspace_bytes(const Layer& layer, int threads, Inputs&&... views) {
  return Context::measure(threads, [&](Context& context) { layer.forward(context, views...); });
}

}  // namespace attend::inline ATTEND_ABI
