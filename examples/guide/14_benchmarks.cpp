// # Benchmarks
//
// build/bench/attend_bench measures layers against Eigen and against the machine's own limits; --help is Google Benchmark's.
//     taskset -c 1 python3 bench/summary.py --repetitions 5 'encoder_block'     share of the limit, and times Eigen
//     python3 bench/compare.py                                                  PyTorch, ONNX Runtime, OpenVINO, CTranslate2
//     python3 bench/cost.py --models                                            what including attend costs
// Measure in your own program as here: warm up; take the least or the median of many; one thread first, on a machine that
// does nothing else; compiled by -O2 (clang does not optimise kernels in a build of -O0). Count operations: a product of M
// rows, K -> N, is 2 M K N.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include <attend/attend.hpp>

int main() {
  attend::Linear<float> linear({.in_features = 256, .out_features = 256});
  linear.parameters([](const std::string&, attend::Parameter<float> p) {
    const std::vector<float> values(static_cast<std::size_t>(p.numel()), 0.01f);
    p.assign(0, p.rows(), values.data());
  });
  attend::Context context;
  attend::Tensor<float, 2> x({128, 256}, 1.0f), y({128, 256});
  double best = 1e9;
  for (int i = 0; i < 20; ++i) {
    const auto start = std::chrono::steady_clock::now();
    linear.forward(context, x, y);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  const double gflops = 2e-9 * 128 * 256 * 256 / best;
  std::fprintf(stderr, "%.0f GFLOP/s on %s\n", gflops, to_string(attend::isa()));
  std::printf("more than one GFLOP/s: %s\n", gflops > 1 ? "yes" : "no");
}
// Prints:
// more than one GFLOP/s: yes
