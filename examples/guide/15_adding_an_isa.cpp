// # Adding an ISA
//
// Kernels are loops that are written once, in include/attend/kernel/*.inl, over a small vocabulary: load, store, fma,
// broadcast, max, and a few more. Each ISA is a region that includes them with a target attribute of its own, and a table of
// functions; one table is chosen by cpuid when the program starts. ATTEND_ISA=avx2 in the environment, or set_isa, choose a
// lesser one.
//   1. kernel/simd.inl: the vocabulary, where the compiler's vector types need help.
//   2. kernel/regions.hpp: the region: target, width of a vector, sizes of tiles.
//   3. kernel/dispatch.hpp: the table, and which processors take it.
//   4. tests: ATTEND_ISA=name build/tests/property_test compares it with reference/; tests/bits.cpp has one digest for all
//      that have FMA; bench/summary.py says how much of the machine it reaches.
// There is no other place: layers, masks and caches know nothing of ISAs. This program compares them.
#include <cstdio>
#include <vector>

#include <attend/attend.hpp>

using namespace attend;

int main() {
  Linear<float> linear({.in_features = 48, .out_features = 40});
  linear.parameters([i = 0](const std::string&, Parameter<float> p) mutable {
    std::vector<float> values(static_cast<std::size_t>(p.numel()));
    for (float& v : values) v = 1.0f / static_cast<float>(++i);
    p.assign(0, p.rows(), values.data());
  });
  const Tensor<float, 2> x({3, 48}, 0.3f), expected = linear(x);
  int other = 0;
  const Isa best = isa();
  for (Isa each : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (!kernel::runs(each)) continue;
    set_isa(each);
    // A weight is packed for the ISA that it is assigned under, so each gets a layer of its own.
    Linear<float> own(linear.options());
    std::vector<float> values;
    std::size_t at = 0;
    linear.parameters([&](const std::string&, Parameter<float> p) {
      values.resize(values.size() + static_cast<std::size_t>(p.numel()));
      p.copy_to(0, p.rows(), values.data() + values.size() - static_cast<std::size_t>(p.numel()));
    });
    own.parameters([&](const std::string&, Parameter<float> p) {
      p.assign(0, p.rows(), values.data() + at);
      at += static_cast<std::size_t>(p.numel());
    });
    const bool fma = each != Isa::baseline;  // on x86-64; NEON, the baseline of Arm, has it
    if (fma && own(x) != expected) ++other;
  }
  set_isa(best);
  std::printf("ISAs of other bits: %d\n", other);
}
// Prints:
// ISAs of other bits: 0
