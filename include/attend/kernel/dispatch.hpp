// The choice among the kernels of the processor's instruction sets, by cpuid. regions.hpp has the kernels.
#pragma once

#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#include <attend/core/config.hpp>
#include <attend/core/flags.hpp>
#include <attend/kernel/calls.hpp>

#if ATTEND_HAS_KERNELS
#if !defined(ATTEND_COMPILED) || defined(ATTEND_IMPLEMENTATION)
#include <attend/kernel/regions.hpp>
#endif

namespace attend::inline ATTEND_ABI {
namespace kernel {

#if defined(ATTEND_COMPILED)
/// Of each ISA, or null where the program was compiled without it. The unit that defines
/// ATTEND_IMPLEMENTATION has them for all.
extern const Kernels* const tables[3];
#if defined(ATTEND_IMPLEMENTATION)
const Kernels* const tables[3] = {defined_tables[0], defined_tables[1], defined_tables[2]};
#endif
inline bool has(Isa isa) { return tables[static_cast<int>(isa)] != nullptr; }
#else
inline namespace ATTEND_FLAGS {
/// A member of each table. Who takes one refers to it alone: a program has the kernels that it may call.
template <auto Member>
inline constexpr auto entries = [] {
  std::array<std::remove_cvref_t<decltype(std::declval<Kernels>().*Member)>, 3> each{};
  for (std::size_t i = 0; i < 3; ++i)
    if (defined_tables[i] != nullptr) each[i] = defined_tables[i]->*Member;
  return each;
}();
inline constexpr auto there = [] {
  std::array<bool, 3> each{};
  for (std::size_t i = 0; i < 3; ++i) each[i] = defined_tables[i] != nullptr;
  return each;
}();
inline bool has(Isa isa) { return there[static_cast<std::size_t>(isa)]; }
}  // namespace ATTEND_FLAGS
#endif

/// Whether this machine (and its operating system) runs an ISA whose kernels are there.
inline bool runs(Isa isa) {
  if (!has(isa)) return false;
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
/// Kernels::product and so on: of the chosen ISA, or of another that is there.
template <auto Member>
const auto& entry(Isa isa = chosen()) {
#if defined(ATTEND_COMPILED)
  return tables[static_cast<int>(isa)]->*Member;
#else
  return entries<Member>[static_cast<std::size_t>(isa)];
#endif
}
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
