// attend_bench: attend, Eigen by hand, and the machine's limits, in one run. A name says all sizes, and
// stays, so that figures of later versions can be compared. Counters: GFLOPS, 10⁹ operations a second (2 M
// N K of a product, 4 D of each visible query-key pair); with few rows also GBps, 10⁹ bytes a second, of
// the `bytes` of weights, or of keys and values, read once. One thread is timed by its own CPU clock,
// several by the wall clock.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "machine.hpp"
#include "models.hpp"
#include "problems.hpp"
#include "profile.hpp"
#include "serve.hpp"

namespace bench {
namespace {

/// Set where Eigen's output is not attend's: then one of them is not worth measuring.
bool differs = false;
/// What stream_read is measured over: the `bytes` of all benchmarks, and whether by one or two threads.
std::set<std::pair<Index, int>> bytes_read;

/// Times step() and sets the counters.
template <class Step>
void measure(benchmark::State& state, const Cost& cost, int threads, Step&& step) {
  step();  // memory is touched, the workspace has its size
  const auto wall = std::chrono::steady_clock::now();
  const std::clock_t cpu = std::clock();
  for (auto _ : state) {
    step();
    benchmark::ClobberMemory();
  }
  const double seconds = threads == 1
                             ? static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC
                             : std::chrono::duration<double>(std::chrono::steady_clock::now() - wall).count();
  const double rate = 1e-9 * static_cast<double>(state.iterations()) / seconds;
  if (cost.operations > 0) state.counters["GFLOPS"] = cost.operations * rate;
  if (cost.bytes > 0) {
    state.counters["GBps"] = cost.bytes * rate;
    state.counters["bytes"] = cost.bytes;
  }
}

/// With one thread, or more, which the name then says.
std::string name_of(const std::string& name, int threads) {
  return name + (threads > 1 ? "/threads:" + std::to_string(threads) : "");
}
template <class Function>
void add(const std::string& name, int threads, Function function) {
  benchmark::RegisterBenchmark(name_of(name, threads).c_str(),
                               [=](benchmark::State& state) { function(state, threads); });
}

bool close(std::span<const float> a, std::span<const float> b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= 1e-3f)) return false;
  return true;
}

/// Problems with more operations are not given to Eigen. Its scores take memory as T², 1 GB at T 16384.
constexpr double kEigenOperations = 1e12 / 2;

/// A problem made of `sizes` in attend's way.
template <class Problem, class... Sizes>
void add_own(const std::string& name, int threads, Sizes... sizes) {
  const Cost cost = Problem::cost(sizes...);
  if (cost.bytes > 0) bytes_read.insert({static_cast<Index>(cost.bytes), threads});
  add(name, threads, [=](benchmark::State& state, int n) {
    Problem problem(sizes...);
    Context context(n);
    measure(state, cost, n, [&] { problem.run(context); });
  });
  offer(name_of(name, threads), [=] {
    const auto problem = std::make_shared<Problem>(sizes...);
    const auto context = std::make_shared<Context>(threads);
    return Job{[=] { problem->run(*context); }, [=] { return std::as_const(problem->out).span(); }};
  });
}
/// And in Eigen's, where there is one thread.
template <class Problem, class... Sizes>
void add_problem(const std::string& name, int threads, Sizes... sizes) {
  add_own<Problem>(name, threads, sizes...);
  const Cost cost = Problem::cost(sizes...);
  if (threads > 1 || cost.operations > kEigenOperations) return;
  for (const auto& [prefix, way] : {std::pair{"eigen_", &eigen}, std::pair{"eigen_native_", &eigen_native}})
    add(prefix + name, 1, [=, way = way](benchmark::State& state, int) {
      Problem problem(sizes...);
      problem.run(attend::default_context());
      const auto expected = problem.out;
      problem.out.view().fill(NAN);
      problem.run(*way);
      if (!close(expected.span(), problem.out.span())) {
        differs = true;
        state.SkipWithError("the output is not attend's");
        return;
      }
      measure(state, cost, 1, [&] { problem.run(*way); });
    });
}

/// "/M:128/K:768"
std::string sizes_of(std::initializer_list<std::pair<const char*, Index>> sizes) {
  std::string name;
  for (const auto& [key, value] : sizes) name += "/" + std::string(key) + ":" + std::to_string(value);
  return name;
}
std::string sizes_of(const AttentionSizes& s) {
  return sizes_of({{"B", s.B}, {"H", s.H}, {"KV", s.KV}, {"T", s.T}, {"D", s.D}});
}

void add_linear(Index M, Index K, Index N, int threads = 1) {
  add_problem<LinearProblem>("linear" + sizes_of({{"M", M}, {"K", K}, {"N", N}}), threads, M, K, N);
}
void add_reduced(Index M, Index K, Index N, int threads) {
  for (const WeightType type : kReduced)
    add_own<LinearProblem>("linear" + sizes_of({{"M", M}, {"K", K}, {"N", N}}) + suffix_of(type), threads, M,
                           K, N, type);
}
void add_sdpa(AttentionSizes s, bool causal, int threads = 1) {
  s.window = causal ? s.T : 0;
  add_problem<SdpaProblem>("sdpa" + sizes_of(s) + sizes_of({{"causal", causal}}), threads, s);
}
void add_window(const AttentionSizes& s, int threads = 1) {
  add_problem<SdpaProblem>("sdpa_window" + sizes_of(s) + sizes_of({{"W", s.window}}), threads, s);
}
void add_decode(Index H, Index KV, Index S, Index D, int threads = 1) {
  const std::string sizes = sizes_of({{"H", H}, {"KV", KV}, {"S", S}, {"D", D}});
  add_problem<DecodeProblem>("decode" + sizes, threads, H, KV, S, D);
}
void add_mha(Index E, Index H, Index B, Index T, int threads = 1) {
  add_problem<MhaProblem>("mha" + sizes_of({{"E", E}, {"H", H}, {"B", B}, {"T", T}}), threads, E, H, B, T);
}
std::string block_sizes(Index E, Index H, Index B, Index T) {
  return sizes_of({{"E", E}, {"H", H}, {"F", 4 * E}, {"B", B}, {"T", T}});
}
void add_encoder_block(Index E, Index H, Index B, Index T, int threads = 1) {
  add_problem<EncoderBlockProblem>("encoder_block" + block_sizes(E, H, B, T), threads, E, H, 4 * E, B, T);
}

void add_problems() {
  for (int threads : {1, 2}) {
    const std::pair<Index, Index> weights[] = {{16, 64},    {64, 256},   {256, 1024}, {768, 768},
                                               {768, 3072}, {3072, 768}, {1024, 4096}};
    for (const auto& [K, N] : weights)
      for (Index M : {1, 8, 128, 1024}) add_linear(M, K, N, threads);
    add_linear(16, 384, 384, threads);
    add_linear(512, 768, 3072, threads);
    add_linear(50, 300, 1000, threads);  // multiples of nothing
    for (const auto& [K, N] : {std::pair<Index, Index>{384, 1536}, {768, 768}, {768, 3072}, {3072, 768}})
      for (Index M : {1, 8, 128}) add_reduced(M, K, N, threads);

    for (bool causal : {false, true}) {
      for (Index T : {1, 8, 32, 128, 512, 1024, 2048, 4096}) add_sdpa({1, 12, 12, T, 64}, causal, threads);
      add_sdpa({1, 32, 8, 1024, 128}, causal, threads);
    }
    for (Index T : {16, 128}) add_sdpa({1, 12, 12, T, 32}, false, threads);
    add_sdpa({1, 12, 12, 16384, 64}, false, threads);  // the time of a pair stays what it is at T 1024
    add_sdpa({32, 12, 12, 128, 64}, false, threads);
    add_sdpa({1, 32, 8, 512, 128}, true, threads);
    add_window({1, 12, 12, 4096, 64, 256}, threads);
    add_decode(32, 8, 4096, 128, threads);

    struct Model {
      Index E, H;
    };
    for (const auto& [E, H] : {Model{16, 2}, Model{64, 4}, Model{256, 4}, Model{768, 12}, Model{1024, 16}})
      for (const auto& [B, T] :
           {std::pair<Index, Index>{1, 1}, {1, 8}, {1, 128}, {1, 512}, {8, 64}, {32, 1}, {32, 8}}) {
        add_mha(E, H, B, T, threads);
        add_encoder_block(E, H, B, T, threads);
      }
    add_encoder_block(32, 4, 1, 8, threads);
    for (Index T : {16, 128}) add_encoder_block(384, 12, 1, T, threads);
  }
  // With one window the time grows as T, not as T²: GFLOPS of visible pairs stay.
  for (const Index T : {512, 1024, 2048}) add_window({1, 12, 12, T, 64, 256});
  add_window({1, 32, 8, 2048, 128, 1024});
  for (Index S : {1, 128, 1024, 16384}) add_decode(32, 8, S, 128);
  add_decode(12, 12, 512, 64);
}

/// What a game or a server brings along: threads of its own that look for work all the time. They yield now
/// and then, as there may be fewer cores than threads.
class OwnThreads {
 public:
  explicit OwnThreads(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  }
  ~OwnThreads() {
    stop_ = true;
    for (std::thread& worker : workers_) worker.join();
  }
  /// Task 0 here, task i on worker i, those beyond here too.
  void operator()(Index n, attend::detail::FunctionRef<void(Index)> task) {
    const Index workers = static_cast<Index>(workers_.size());
    tasks_ = n, task_ = &task;
    busy_.store(workers, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    task(0);
    for (Index i = workers + 1; i < n; ++i) task(i);
    while (busy_.load(std::memory_order_acquire) > 0) std::this_thread::yield();
  }

 private:
  void work(Index i) {
    std::uint64_t done = 0;
    for (int spins = 0; !stop_; ++spins) {
      if (spins % 1000 == 999) std::this_thread::yield();
      const std::uint64_t round = round_.load(std::memory_order_acquire);
      if (round == done) continue;
      done = round;
      spins = 0;
      if (i < tasks_) (*task_)(i);
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::atomic<std::uint64_t> round_{0};
  std::atomic<Index> busy_{0};
  std::atomic<bool> stop_{false};
  Index tasks_ = 0;
  attend::detail::FunctionRef<void(Index)>* task_ = nullptr;
  std::vector<std::thread> workers_;
};

/// What two threads cost and give: attend's own, and the caller's by an executor.
void add_executors() {
  // Two items of no work: what a parallel region costs while its worker is awake.
  const auto fork_join = [](benchmark::State& state, Context& context) {
    measure(state, {}, context.threads(), [&] { context.parallel(2, 2, [](Index, int) {}); });
  };
  add("fork_join", 2, [=](benchmark::State& state, int n) {
    Context context(n);
    fork_join(state, context);
  });
  add("fork_join/executor", 2, [=](benchmark::State& state, int n) {
    OwnThreads own(n);
    Context context({.threads = n, .executor = std::ref(own)});
    fork_join(state, context);
  });
  const Index sizes[][2] = {{256, 4}, {768, 12}};
  for (const auto& [E, H] : sizes)
    add("encoder_block" + block_sizes(E, H, 1, 128) + "/executor", 2,
        [E = E, H = H](benchmark::State& state, int n) {
          OwnThreads own(n);
          Context context({.threads = n, .executor = std::ref(own)});
          EncoderBlockProblem problem(E, H, 4 * E, 1, 128);
          measure(state, EncoderBlockProblem::cost(E, H, 4 * E, 1, 128), n, [&] { problem.run(context); });
        });
}

void add_models(const std::string& folder) {
  for (const ModelProblem& p : model_problems(folder))
    for (int threads : {1, 2}) {
      if (p.cost.bytes > 0) bytes_read.insert({static_cast<Index>(p.cost.bytes), threads});
      add(p.name, threads, [=](benchmark::State& state, int n) {
        const Job job = p.make(n);
        measure(state, p.cost, n, job.run);
        state.counters["tokens_per_second"] = p.tokens * 1e9 * state.counters["GFLOPS"] / p.cost.operations;
      });
      offer(name_of(p.name, threads), [=] { return p.make(threads); });
    }
}

void add_machine() {
  constexpr Index kSteps = 100000;
  for (int threads : {1, 2}) {
    // Its output is the operations of a call.
    offer(name_of("fma_peak", threads), [threads] {
      const auto context = std::make_shared<Context>(threads);
      const auto out = std::make_shared<float>();
      return Job{[=] {
                   context->parallel(threads, threads, [&](Index i, int) {
                     const double operations = multiply_adds(kSteps) * static_cast<double>(kSteps * threads);
                     if (i == 0) *out = static_cast<float>(operations);
                   });
                 },
                 [=] { return std::span<const float>(out.get(), 1); }};
    });
    add("fma_peak", threads, [](benchmark::State& state, int n) {
      Context context(n);
      const Cost cost{multiply_adds(1) * static_cast<double>(kSteps * n), 0};
      measure(state, cost, n, [&] { context.parallel(n, n, [](Index, int) { multiply_adds(kSteps); }); });
    });
    for (const auto& [bytes, of_threads] : bytes_read) {
      if (of_threads != threads) continue;
      const std::string name = "stream_read/bytes:" + std::to_string(bytes);
      add(name, threads, [bytes = bytes](benchmark::State& state, int n) {
        const Index floats = bytes / 4, share = (floats / n + 15) / 16 * 16;
        const Tensor<float, 1> data = random<1>({floats});
        const ReadPlan plan = best_plan(data.data(), std::min(share, floats));
        Context context(n);
        measure(state, {0, static_cast<double>(bytes)}, n, [&] {
          context.parallel(n, n, [&](Index i, int) {
            const Index begin = std::min(floats, i * share), end = std::min(floats, begin + share);
            benchmark::DoNotOptimize(read(data.data() + begin, end - begin, plan));
          });
        });
        const std::string streams = std::to_string(plan.streams), ahead = std::to_string(plan.ahead);
        state.SetLabel(streams + " streams, " + ahead + " bytes ahead");
      });
    }
  }
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

void add_context() {
#if ATTEND_HAS_KERNELS
  benchmark::AddCustomContext("attend_isa", attend::to_string(attend::isa()));
#else
  benchmark::AddCustomContext("attend_isa", "none: Eigen's products");
#endif
  benchmark::AddCustomContext("cpu", cpu_model());
#if defined(__clang__)
  benchmark::AddCustomContext("compiler", __VERSION__);
#else
  benchmark::AddCustomContext("compiler", "GCC " __VERSION__);
#endif
  benchmark::AddCustomContext("flags", ATTEND_BENCH_FLAGS);
  benchmark::AddCustomContext("flags_of_eigen_native", ATTEND_BENCH_NATIVE_FLAGS);
}

/// --table: what a person reads. A table for each kind, a line for each problem: attend's time, its rates,
/// and how many times as long Eigen takes, compiled as attend is, and for this machine.
class Table : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      std::string name = run.benchmark_name();
      const std::string prefixes[] = {"eigen_native_", "eigen_"};
      std::size_t way = 0;  // of `others_`, or none of them
      while (way < 2 && name.rfind(prefixes[way], 0) != 0) ++way;
      if (way < 2) name = name.substr(prefixes[way].size());
      if (name != name_) {
        print();
        name_ = name;
      }
      if (run.error_occurred)
        error_ = run.error_message;
      else if (way < 2)
        others_[way] = run.GetAdjustedRealTime() / benchmark::GetTimeUnitMultiplier(run.time_unit);
      else
        run_ = run;
    }
  }
  void Finalize() override { print(); }

 private:
  static std::string time(double seconds) {
    const char* units[] = {"ns", "us", "ms", "s "};
    std::size_t unit = 0;
    for (seconds *= 1e9; seconds >= 1000 && unit < 3; ++unit) seconds /= 1000;
    char text[32];
    std::snprintf(text, sizeof text, "%.*f %s",
                  seconds < 10    ? 2
                  : seconds < 100 ? 1
                                  : 0,
                  seconds, units[unit]);
    return text;
  }
  /// The problem that all is there of.
  void print() {
    if (!run_ && error_.empty()) return;
    const std::size_t slash = name_.find('/');
    if (const std::string kind = name_.substr(0, slash); kind != kind_)
      std::printf("\n%-46s %10s %9s %8s %9s %9s\n", (kind_ = kind).c_str(), "attend", "GFLOP/s", "GB/s",
                  "Eigen", "native");
    std::string sizes = slash == name_.npos ? "" : name_.substr(slash + 1);
    std::replace(sizes.begin(), sizes.end(), '/', ' ');
    std::printf("  %-44s", sizes.c_str());
    if (run_) {
      const double seconds = run_->GetAdjustedRealTime() / benchmark::GetTimeUnitMultiplier(run_->time_unit);
      std::printf(" %10s", time(seconds).c_str());
      for (const auto& [counter, width] : {std::pair{"GFLOPS", 9}, std::pair{"GBps", 8}}) {
        const auto found = run_->counters.find(counter);
        found == run_->counters.end() ? std::printf(" %*s", width, "")
                                      : std::printf(" %*.1f", width, static_cast<double>(found->second));
      }
      for (const std::size_t way : {1, 0})
        others_[way] > 0 ? std::printf(" %8.2fx", others_[way] / seconds) : std::printf(" %9s", "");
      if (const auto found = run_->counters.find("tokens_per_second"); found != run_->counters.end())
        std::printf("  %.0f tokens/s", static_cast<double>(found->second));
    }
    std::printf("%s%s\n", error_.empty() ? "" : "  ", error_.c_str());
    std::fflush(stdout);
    run_.reset(), error_.clear(), others_ = {};
  }

  std::string kind_, name_, error_;
  std::optional<Run> run_;
  std::array<double, 2> others_ = {};  // seconds of Eigen for this machine, and as it is
};

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  std::string model;  // --model DIR: see models.hpp
  if (argc > 2 && argv[1] == std::string_view("--model")) {
    model = argv[2];
    argv[2] = argv[0];
    argv += 2, argc -= 2;
  }
  try {
    if (argc > 1 && argv[1] == std::string_view("--profile")) {  // [THREADS] [NAME…]: a table of their layers
      const int names = argc > 2 && argv[2][0] >= '1' && argv[2][0] <= '9' ? 3 : 2;
      bench::profile(bench::model_problems(model), names == 3 ? std::atoi(argv[2]) : 1,
                     {argv + std::min(argc, names), argv + argc});
      return 0;
    }
    bench::add_problems();
    bench::add_models(model);
  } catch (const attend::Error& error) {
    std::cerr << "attend_bench: " << error.what() << '\n';
    return 1;
  }
  bench::add_executors();
  bench::add_machine();
  if (argc == 2 && argv[1] == std::string_view("--serve")) return bench::serve(), 0;
  bench::add_context();
  const bool table = argc > 1 && argv[1] == std::string_view("--table");
  if (table) {
    argv[1] = argv[0];
    ++argv, --argc;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  bench::Table reporter;
  table ? benchmark::RunSpecifiedBenchmarks(&reporter) : benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return bench::differs ? 1 : 0;
}
