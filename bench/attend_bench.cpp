// attend_bench: attend, Eigen by hand, and the machine's limits, in one run. A name says all sizes, and
// stays, so that figures of later versions can be compared. Counters: GFLOPS, 10⁹ operations a second (2 M
// N K of a product, 4 D of each visible query-key pair); with few rows also GBps, 10⁹ bytes a second, of
// the `bytes` of weights, or of keys and values, read once. One thread is timed by its own CPU clock,
// several by the wall clock.

#include <chrono>
#include <ctime>
#include <fstream>
#include <initializer_list>
#include <set>
#include <span>
#include <string>
#include <utility>

#include <benchmark/benchmark.h>

#include "machine.hpp"
#include "problems.hpp"

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
  const double seconds =
      threads == 1 ? static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC
                   : std::chrono::duration<double>(std::chrono::steady_clock::now() - wall).count();
  const double rate = 1e-9 * static_cast<double>(state.iterations()) / seconds;
  if (cost.operations > 0) state.counters["GFLOPS"] = cost.operations * rate;
  if (cost.bytes > 0) {
    state.counters["GBps"] = cost.bytes * rate;
    state.counters["bytes"] = cost.bytes;
  }
}

/// Registers a benchmark with one thread, or more, which its name then says.
template <class Function>
void add(const std::string& name, int threads, Function function) {
  benchmark::RegisterBenchmark((name + (threads > 1 ? "/threads:" + std::to_string(threads) : "")).c_str(),
                               [=](benchmark::State& state) { function(state, threads); });
}

bool close(std::span<const float> a, std::span<const float> b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= 1e-3f)) return false;
  return true;
}

/// A problem made of `sizes` in attend's way, and in Eigen's where there is one thread.
template <class Problem, class... Sizes>
void add_problem(const std::string& name, int threads, Sizes... sizes) {
  const Cost cost = Problem(sizes...).cost();
  if (cost.bytes > 0) bytes_read.insert({static_cast<Index>(cost.bytes), threads});
  add(name, threads, [=](benchmark::State& state, int n) {
    Problem problem(sizes...);
    Context context(n);
    measure(state, cost, n, [&] { problem.run(context); });
  });
  if (threads > 1) return;
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
void add_encoder_block(Index E, Index H, Index B, Index T, int threads = 1) {
  const Index F = 4 * E;
  const std::string sizes = sizes_of({{"E", E}, {"H", H}, {"F", F}, {"B", B}, {"T", T}});
  add_problem<EncoderBlockProblem>("encoder_block" + sizes, threads, E, H, F, B, T);
}

void add_problems() {
  const std::pair<Index, Index> weights[] = {{16, 64},    {64, 256},   {256, 1024}, {768, 768},
                                             {768, 3072}, {3072, 768}, {1024, 4096}};
  for (const auto& [K, N] : weights)
    for (Index M : {1, 8, 128, 1024}) add_linear(M, K, N);
  add_linear(50, 300, 1000);  // multiples of nothing
  for (int threads : {1, 2}) {
    if (threads > 1) add_linear(1, 768, 3072, threads), add_linear(128, 768, 3072, threads);
    for (bool causal : {false, true}) {
      if (threads == 1)
        for (Index T : {1, 8, 32, 128, 1024, 2048, 4096}) add_sdpa({1, 12, 12, T, 64}, causal);
      add_sdpa({1, 12, 12, 512, 64}, causal, threads);
    }
    add_window({1, 12, 12, 4096, 64, 256}, threads);
    add_decode(32, 8, 4096, 128, threads);
    add_mha(768, 12, 1, 128, threads);
    add_encoder_block(768, 12, 1, 128, threads);
  }
  add_sdpa({32, 12, 12, 128, 64}, false);
  add_sdpa({1, 32, 8, 512, 128}, true);
  // With one window the time grows as T, not as T²: GFLOPS of visible pairs stay.
  for (const Index T : {512, 1024, 2048}) add_window({1, 12, 12, T, 64, 256});
  add_window({1, 32, 8, 2048, 128, 1024});
  for (Index S : {1, 128, 1024, 16384}) add_decode(32, 8, S, 128);
  add_decode(12, 12, 512, 64);

  struct Model {
    Index E, H;
  };
  for (const auto& [E, H] : {Model{16, 2}, Model{64, 4}, Model{256, 4}, Model{768, 12}, Model{1024, 16}})
    for (const auto& [B, T] :
         {std::pair<Index, Index>{1, 1}, {1, 8}, {1, 128}, {1, 512}, {8, 64}, {32, 1}, {32, 8}}) {
      if (E == 768 && B == 1 && T == 128) continue;  // above
      add_mha(E, H, B, T);
      add_encoder_block(E, H, B, T);
    }
}

void add_machine() {
  for (int threads : {1, 2}) {
    add("fma_peak", threads, [](benchmark::State& state, int n) {
      constexpr Index kSteps = 100000;
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
  // Two items of no work: what a parallel region costs while its worker is awake.
  add("fork_join", 2, [](benchmark::State& state, int n) {
    Context context(n);
    measure(state, {}, n, [&] { context.parallel(n, n, [](Index, int) {}); });
  });
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

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  bench::add_problems();
  bench::add_machine();
  bench::add_context();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return bench::differs ? 1 : 0;
}
