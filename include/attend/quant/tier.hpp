// The instructions that products of reduced weights take.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include <attend/kernel/dispatch.hpp>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace attend::inline ATTEND_ABI::quant {

/// All give the same bits.
enum class Tier { baseline, neon_dot, avx2, avx_vnni, avx512bw, avx512_vnni, amx };
inline constexpr int kTiers = 7;
constexpr const char* to_string(Tier tier) {
  constexpr const char* names[] = {"baseline", "neon_dot",    "avx2", "avx_vnni",
                                   "avx512bw", "avx512_vnni", "amx"};
  return names[static_cast<int>(tier)];
}

#if ATTEND_HAS_KERNELS
/// The system keeps the tiles of a process that asks for them.
inline bool may_use_tiles() {
#if defined(__linux__) && defined(__x86_64__) && defined(SYS_arch_prctl)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
inline bool machine_runs(Tier tier) {
#if defined(__x86_64__)
  // Asked of cpuid itself, of which compilers of today do not know all.
  const auto bit = [](unsigned leaf, unsigned subleaf, int reg, int number) {
    unsigned r[4] = {};
    return __get_cpuid_count(leaf, subleaf, &r[0], &r[1], &r[2], &r[3]) != 0 && (r[reg] >> number & 1) != 0;
  };
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && bit(1, 0, 2, 29);  // F16C
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512bw");
  switch (tier) {
    case Tier::avx2:
      return avx2;
    case Tier::avx_vnni:
      return avx2 && bit(7, 1, 0, 4);
    case Tier::avx512bw:
      return avx512;
    case Tier::avx512_vnni:
      return avx512 && bit(7, 0, 2, 11);
    case Tier::amx:
      return avx512 && bit(7, 0, 2, 11) && bit(7, 0, 3, 24) && bit(7, 0, 3, 25) && may_use_tiles();
    default:
      return tier == Tier::baseline;
  }
#elif defined(__ARM_FEATURE_DOTPROD)
  return tier <= Tier::neon_dot;
#elif defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  return tier == Tier::baseline || (tier == Tier::neon_dot && (::getauxval(AT_HWCAP) & kDotProducts) != 0);
#else
  return tier == Tier::baseline;
#endif
}
/// Whether this machine (and its operating system) runs a tier.
inline bool runs(Tier tier) {
  static const auto known = [] {
    std::array<bool, kTiers> all{};
    for (int t = 0; t < kTiers; ++t) all[static_cast<std::size_t>(t)] = machine_runs(static_cast<Tier>(t));
    return all;
  }();
  return known[static_cast<std::size_t>(tier)];
}

/// Another than the best, where the program has it: for tests and benchmarks, while nothing else runs.
inline std::optional<Tier>& forced_tier() {
  static std::optional<Tier> tier;
  return tier;
}
#endif

}  // namespace attend::inline ATTEND_ABI::quant
