// Every float through every elementary function on every ISA of this machine: slow, some minutes per
// function.
//   math_exhaustive [function ...] [stride]
// prints the largest errors, which are the bounds stated in kernel/math.inl, and fails beyond them.
#include <cstdlib>
#include <cstring>
#include <thread>

#include "math_check.hpp"

int main(int argc, char** argv) {
  std::vector<std::string> names;
  std::uint64_t stride = 1;
  for (int i = 1; i < argc; ++i) {
    if (std::atoi(argv[i]) > 0)
      stride = static_cast<std::uint64_t>(std::atoi(argv[i]));
    else
      names.push_back(argv[i]);
  }
  int status = 0;
  for (const check::Function& f : check::functions()) {
    if (!names.empty() && std::find(names.begin(), names.end(), f.name) == names.end()) continue;
    const unsigned threads = std::max(1u, std::thread::hardware_concurrency());
    std::vector<check::Report> reports(threads);
    std::vector<std::thread> pool;
    const std::uint64_t block = check::kBlock * stride, end = std::uint64_t{1} << 32;
    for (unsigned t = 0; t < threads; ++t)
      pool.emplace_back([&, t] {
        float x[check::kBlock];
        for (std::uint64_t begin = t * block; begin < end; begin += threads * block) {
          for (std::uint64_t i = 0; i < check::kBlock; ++i)
            x[i] = std::bit_cast<float>(static_cast<std::uint32_t>(begin + i * stride));
          check::check_block(f, x, 8, reports[t]);
        }
      });
    for (std::thread& t : pool) t.join();
    for (unsigned t = 1; t < threads; ++t) {
      reports[0].fma.merge(reports[t].fma);
      reports[0].baseline.merge(reports[t].baseline);
    }
    check::print(f, "fma", reports[0].fma);
    check::print(f, "baseline", reports[0].baseline);
    std::fflush(stdout);
    if (reports[0].fma.wrong + reports[0].fma.unequal + reports[0].baseline.wrong > 0) status = 1;
  }
  return status;
}
