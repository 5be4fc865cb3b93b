// Characters of a game think once a frame: on the game's own jobs, in memory of a fixed budget, within a
// time.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <iostream>
#include <memory_resource>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <attend/attend.hpp>

#include "command_line.hpp"
#include "progress.hpp"

namespace {
using attend::Index;
using Clock = std::chrono::steady_clock;

constexpr const char* kHelp =
    R"(usage: game_loop [options]

Each frame characters have a model choose what they do, on the threads of the game's own jobs and in a budget of its
memory. What is not done in time is stopped: the frame goes on, and characters do what they did before.

  --frames N          how many (default: 120)
  --characters N      that choose (default: 8)
  --threads N         of the game's jobs (default: 2)
  --megabytes N       of memory, none beyond (default: 16)
  --milliseconds N    after which a frame's calls are stopped (default: 8)
  --quiet             no progress and no remarks on standard error
  --help              show this

Example:
  game_loop --frames 600 --characters 30 --milliseconds 4

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

/// The game's own jobs, which its other systems use as well.
class Jobs {
 public:
  explicit Jobs(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this](std::stop_token stop) { work(stop); });
  }
  /// task(0) … task(n - 1), with the help of this thread.
  void run(Index n, attend::detail::FunctionRef<void(Index)> task) {
    std::unique_lock lock(mutex_);
    task_ = &task, next_ = 0, count_ = n, left_ = n;
    changed_.notify_all();
    take(lock);
    changed_.wait(lock, [&] { return left_ == 0; });
    task_ = nullptr;
  }

 private:
  void take(std::unique_lock<std::mutex>& lock) {
    while (task_ != nullptr && next_ < count_) {
      const Index i = next_++;
      lock.unlock();
      (*task_)(i);
      lock.lock();
      if (--left_ == 0) changed_.notify_all();
    }
  }
  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (changed_.wait(lock, stop, [&] { return task_ != nullptr && next_ < count_; })) take(lock);
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  const attend::detail::FunctionRef<void(Index)>* task_ = nullptr;
  Index next_ = 0, count_ = 0, left_ = 0;
  std::vector<std::jthread> workers_;  // last: they use all the others
};

/// Stops a call when its time is over.
class Watch {
 public:
  std::stop_token until(Clock::time_point end) {
    const std::lock_guard lock(mutex_);
    source_ = {}, end_ = end;
    changed_.notify_all();
    return source_.get_token();
  }

 private:
  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      const Clock::time_point end = end_;
      changed_.wait_until(lock, stop, end, [&] { return end_ != end; });
      if (Clock::now() >= end_) source_.request_stop(), end_ = Clock::time_point::max();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::stop_source source_;
  Clock::time_point end_ = Clock::now() + std::chrono::hours(24);
  std::jthread worker_{[this](std::stop_token stop) { work(stop); }};
};

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {},
                              {"--frames", "--characters", "--threads", "--megabytes", "--milliseconds"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  const Index characters = arguments.integer("--characters", 8, 1, 10000), T = 32, E = 64, choices = 6;
  const int threads = static_cast<int>(arguments.integer("--threads", 2, 1, 999));
  const auto time = std::chrono::milliseconds(arguments.integer("--milliseconds", 8, 1, 1000));

  // All memory of the model: from one block, and an error where that is used up.
  std::vector<std::byte> block(static_cast<std::size_t>(arguments.integer("--megabytes", 16, 1, 100000))
                               << 20);
  std::pmr::monotonic_buffer_resource budget(block.data(), block.size(), std::pmr::null_memory_resource());
  std::pmr::synchronized_pool_resource memory(&budget);
  const attend::MemoryScope scope(&memory);

  attend::Encoder<float> encoder(
      {.block = {.embed_dim = E, .num_heads = 4, .dim_feedforward = 4 * E}, .num_layers = 4});
  attend::Linear<float> chooser({.in_features = E, .out_features = choices});
  const auto fill = [](const std::string&, attend::Parameter<float> parameter) {
    std::vector<float> values(static_cast<std::size_t>(parameter.numel()));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(i * 2654435761u % 2001) / 10000 - 0.1f;
    parameter.assign(0, parameter.rows(), values.data());
  };
  encoder.parameters(fill);
  chooser.parameters(fill);
  Jobs jobs(threads);
  Watch watch;
  attend::Context context(
      {.threads = threads,
       .executor = [&](Index n, attend::detail::FunctionRef<void(Index)> task) { jobs.run(n, task); },
       .memory = &memory});
  attend::Tensor<float, 3> seen({characters, T, E}), states(seen.shape()), wishes({characters, T, choices});
  std::vector<Index> deeds(static_cast<std::size_t>(characters));
  double most = 0, sum = 0;
  long stopped = 0;
  const long frames = arguments.integer("--frames", 120, 1, 1000000);
  Progress progress("frames", arguments.has("--quiet"));
  for (long frame = 0; frame < frames; ++frame) {
    progress(static_cast<std::size_t>(frame), static_cast<std::size_t>(frames));
    for (Index i = 0; i < seen.numel(); ++i)
      seen.data()[i] = static_cast<float>((frame * 31 + i * 17) % 101) / 50 - 1;
    const Clock::time_point begin = Clock::now();
    context.set_stop_token(watch.until(begin + time));
    try {
      encoder.forward(context, seen, states);
      chooser.forward(context, states, wishes);
      for (Index c = 0; c < characters; ++c) {
        const auto last = wishes[c][T - 1].span();
        deeds[static_cast<std::size_t>(c)] = std::max_element(last.begin(), last.end()) - last.begin();
      }
    } catch (const attend::Stopped&) {
      ++stopped;
    }
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    most = std::max(most, ms), sum += ms;
  }
  progress.clear();
  std::printf("%ld frames, %td characters: %.2f ms in the mean, %.2f ms at most; stopped: %ld\n", frames,
              characters, sum / static_cast<double>(frames), most, stopped);
  std::printf("workspace: %zu bytes; the last deeds:", context.workspace().peak_bytes());
  for (Index deed : deeds) std::printf(" %td", deed);
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("game_loop", [&] { run(argc, argv); });
}
