// Runs what must have the same bits on every instruction set that has FMA.
#pragma once

#include <gtest/gtest.h>

#include <attend/kernel/dispatch.hpp>

namespace attend_test {

/// Whether the ISA in use has FMA, so that its bits are those of the others that do.
inline bool bits_are_promised() {
#if ATTEND_HAS_KERNELS && defined(__x86_64__)
  return attend::isa() != attend::Isa::baseline;
#else
  return ATTEND_HAS_KERNELS;
#endif
}

/// f(), with set_isa at each one that this machine runs and whose bits are promised. Without kernels,
/// nothing.
template <class F>
void on_each_isa([[maybe_unused]] F&& f) {
#if ATTEND_HAS_KERNELS
  const attend::Isa chosen = attend::isa();
#if defined(__aarch64__)
  const attend::Isa with_fma[] = {attend::Isa::baseline};
#else
  const attend::Isa with_fma[] = {attend::Isa::avx2, attend::Isa::avx512};
#endif
  for (attend::Isa isa : with_fma) {
    if (!attend::kernel::runs(isa)) continue;
    SCOPED_TRACE(attend::to_string(isa));
    attend::set_isa(isa);
    f();
  }
  attend::set_isa(chosen);
#endif
}

}  // namespace attend_test
