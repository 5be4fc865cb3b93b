// A block of a model in each block of audio: a fixed deadline, no allocation, and a histogram of how late it
// was.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <attend/attend.hpp>

#include "command_line.hpp"
#include "progress.hpp"

#if defined(__linux__)
#include <sched.h>
#include <sys/mman.h>
#include <time.h>
#endif

namespace {
std::atomic<long> allocations{0};
}  // namespace

// All that operator new gives is counted, whoever asks for it. (Out of line: GCC takes a free for a mistake
// where it sees one.)
[[gnu::noinline]] void* operator new(std::size_t n) {
  ++allocations;
  if (void* p = std::malloc(n)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t n, std::align_val_t a) {
  ++allocations;
  if (void* p = std::aligned_alloc(
          static_cast<std::size_t>(a),
          (n + static_cast<std::size_t>(a) - 1) / static_cast<std::size_t>(a) * static_cast<std::size_t>(a)))
    return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {
using attend::Index;
using Clock = std::chrono::steady_clock;

constexpr const char* kHelp = R"(usage: realtime_loop [options]

Runs a causal model as an audio callback does: a token for every block of samples goes through blocks that see the last
second of tokens. Prints how long that takes and how late each block was done, and fails where the loop has allocated.
With the right to it the thread is SCHED_FIFO, its memory locked.

  --seconds N    how long (default: 5)
  --frames N     samples of a block (default: 128)
  --rate N       samples a second (default: 48000)
  --layers N     blocks of the model (default: 4)
  --quiet        no progress and no remarks on standard error
  --help         show this

Example:
  realtime_loop --seconds 10 --frames 256

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

/// How many values lie below each power of two, in microseconds.
void print_histogram(const char* name, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) {
    return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
  };
  std::printf("%s: median %.1f us, 99 %% %.1f us, 99.9 %% %.1f us, most %.1f us\n", name, at(0.5), at(0.99),
              at(0.999), at(1));
  for (double low = 0, high = 1; low <= values.back(); low = high, high *= 2) {
    const auto count = std::lower_bound(values.begin(), values.end(), high) -
                       std::lower_bound(values.begin(), values.end(), low);
    if (count > 0)
      std::printf(
          "%8.0f us |%-50s %td\n", high,
          std::string(static_cast<std::size_t>(1 + 49 * count / static_cast<std::ptrdiff_t>(values.size())),
                      '#')
              .c_str(),
          count);
  }
}

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {}, {"--seconds", "--frames", "--rate", "--layers"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  const std::chrono::nanoseconds period(1'000'000'000L * arguments.integer("--frames", 128, 1, 1 << 20) /
                                        arguments.integer("--rate", 48000, 1, 1000000));
  const Index blocks =
      std::max<Index>(1, arguments.integer("--seconds", 5, 1, 3600) * 1'000'000'000L / period.count());
  const Index E = 64, window = std::max<Index>(2, 1'000'000'000L / period.count());

  std::vector<attend::CausalBlock<float>> layers;
  std::vector<attend::KVCache<float>> caches;
  for (long i = 0; i < arguments.integer("--layers", 4, 1, 1000); ++i) {
    layers.emplace_back(attend::CausalBlockOptions{
        .embed_dim = E, .num_heads = 4, .dim_feedforward = 4 * E, .sliding_window = window});
    layers.back().parameters([](const std::string& name, attend::Parameter<float> parameter) {
      std::vector<float> values(static_cast<std::size_t>(parameter.numel()));
      for (std::size_t j = 0; j < values.size(); ++j)
        values[j] = name.find("norm") != std::string::npos ? 1.0f : 0.1f * std::sin(static_cast<float>(j));
      parameter.assign(0, parameter.rows(), values.data());
    });
    caches.push_back(layers.back().self_attn().make_cache(1));
    caches.back().reserve(blocks + 1);  // all that the loop will need; a window uses its pages again
  }
  attend::Context context;
  attend::Tensor<float, 3> token({1, 1, E}, 0.5f);
  const auto block = [&] {
    for (std::size_t i = 0; i < layers.size(); ++i)
      layers[i].forward(context, token, {.cache = &caches[i]}, token);
  };
  block();  // the workspace has its size

  // Another thread says how far it is, which the loop has no time for.
  std::atomic<std::size_t> done{0};
  std::jthread teller([&](std::stop_token stop) {
    Progress progress("blocks", arguments.has("--quiet"));
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      progress(done.load(std::memory_order_relaxed), static_cast<std::size_t>(blocks));
    }
  });
#if defined(__linux__)
  const sched_param priority{.sched_priority = 50};
  const bool fifo = sched_setscheduler(0, SCHED_FIFO, &priority) == 0 && mlockall(MCL_CURRENT) == 0;
  std::printf("%s\n", fifo ? "SCHED_FIFO, memory locked" : "an ordinary thread: SCHED_FIFO is not permitted");
#endif

  std::vector<double> late(static_cast<std::size_t>(blocks)), took(late.size());
  const long before = allocations;
  Clock::time_point due = Clock::now() + period;
  long missed = 0;
  for (std::size_t i = 0; i < late.size(); ++i, due += period) {
#if defined(__linux__)
    const auto ns = due.time_since_epoch() / std::chrono::nanoseconds(1);
    const timespec until{.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
    }
#else
    while (Clock::now() < due) {
    }
#endif
    const Clock::time_point begin = Clock::now();
    block();
    const Clock::time_point end = Clock::now();
    took[i] = std::chrono::duration<double, std::micro>(end - begin).count();
    late[i] = std::chrono::duration<double, std::micro>(begin - due).count();
    missed += end > due + period;
    done.store(i + 1, std::memory_order_relaxed);
  }
  const long allocated = allocations - before;
  teller.request_stop();
  teller.join();
  std::printf("%td blocks of %.0f us, deadlines missed: %ld, allocations: %ld\n", blocks,
              std::chrono::duration<double, std::micro>(period).count(), missed, allocated);
  print_histogram("wakes late by", late);
  print_histogram("takes", took);
  if (allocated > 0) attend::throw_error("the loop has allocated");
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("realtime_loop", [&] { run(argc, argv); });
}
