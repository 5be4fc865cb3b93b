// # Benchmarks
//
// build/bench/attend_bench measures layers against Eigen and against the machine's own limits; --help is Google Benchmark's.
//     taskset -c 1 python3 bench/summary.py --repetitions 5 'encoder_block'     share of the limit, and times Eigen
//     python3 bench/compare.py                                                  PyTorch, ONNX Runtime, OpenVINO, CTranslate2
//     python3 bench/cost.py --models                                            what including attend costs
//
// README.md's first table of speed is the medians of 5 interleaved repetitions by
//     taskset -c 1 python3 bench/summary.py --repetitions 5 --min-time 0.05 FILTER
// where FILTER is
//     '^linear/M:(1|128)/K:768/N:3072$|^sdpa/B:1/H:12/KV:12/T:(32|128|1024)/D:64/causal:.$|^decode/H:32/KV:8/S:4096/D:128$|
//      ^encoder_block/E:(32|384|768)/.*/B:1/T:(8|128)$'
// and its second one is
//     python3 -m venv venv
//     venv/bin/pip install torch numpy safetensors onnx onnxruntime openvino ctranslate2 transformers
//     taskset -c 1 venv/bin/python bench/compare.py --rounds 3 --filter minilm --model DIR --markdown compare.md --svg compare.svg
//
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
