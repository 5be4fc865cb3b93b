// The choice among the kernels of the processor's instruction sets, by cpuid. regions.hpp has the kernels.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string>

#include <attend/core/config.hpp>
#include <attend/core/flags.hpp>
#include <attend/kernel/calls.hpp>

#if ATTEND_HAS_KERNELS
#if !defined(ATTEND_COMPILED) || defined(ATTEND_IMPLEMENTATION)
#include <attend/kernel/regions.hpp>
#endif

namespace attend::inline ATTEND_ABI {
namespace kernel {

/// Of each ISA, or null where the program was compiled without it. Compiled apart (ATTEND_COMPILED), the unit
/// that defines ATTEND_IMPLEMENTATION has them for all.
#if defined(ATTEND_COMPILED)
extern const Kernels* const tables[3];
#if defined(ATTEND_IMPLEMENTATION)
const Kernels* const tables[3] = {defined_tables[0], defined_tables[1], defined_tables[2]};
#endif
#else
inline namespace ATTEND_FLAGS {
inline constexpr const auto& tables = defined_tables;
}  // namespace ATTEND_FLAGS
#endif
inline namespace ATTEND_FLAGS {
inline const Kernels* table_of(Isa isa) { return tables[static_cast<int>(isa)]; }
}  // namespace ATTEND_FLAGS

/// Whether this machine (and its operating system) runs an ISA whose kernels are there.
inline bool runs(Isa isa) {
  if (table_of(isa) == nullptr) return false;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::avx2) return avx2;
  if (isa == Isa::avx512) return avx2 && __builtin_cpu_supports("avx512f");
#endif
  return true;
}

/// The best that the machine runs, or what the environment variable ATTEND_ISA names (baseline, avx2,
/// avx512), as far as the machine runs it.
inline Isa default_isa() {
  const char* name = std::getenv("ATTEND_ISA");
  const Isa none = static_cast<Isa>(-1);
  Isa best = none;
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (!runs(isa)) continue;
    best = isa;
    if (name != nullptr && std::strcmp(name, to_string(isa)) == 0) break;
  }
  if (best == none)
    throw_error("attend: the program was compiled for one ISA, which this processor does not run");
  return best;
}

/// One choice for the whole program, whatever flags its units have.
inline Isa& chosen() {
  static Isa isa = default_isa();
  return isa;
}

inline namespace ATTEND_FLAGS {
inline const Kernels& kernels() { return *table_of(chosen()); }
}  // namespace ATTEND_FLAGS

}  // namespace kernel

/// The ISA that the kernels run on.
inline Isa isa() { return kernel::chosen(); }
/// Chooses another, for tests and benchmarks, while nothing else runs; error where the machine lacks it.
inline void set_isa(Isa isa) {
  if (!kernel::runs(isa)) throw_error("set_isa: this machine does not run ", to_string(isa));
  kernel::chosen() = isa;
}

}  // namespace attend::inline ATTEND_ABI
#endif  // ATTEND_HAS_KERNELS
