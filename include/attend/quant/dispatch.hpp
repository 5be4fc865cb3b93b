// The choice among the kernels of reduced weights.
#pragma once

#include <attend/quant/regions.hpp>
#include <attend/quant/tier.hpp>

#if ATTEND_HAS_KERNELS
namespace attend::inline ATTEND_ABI::quant {

inline namespace ATTEND_FLAGS {
/// Whether the program has a tier's kernels, and this machine runs them.
inline bool has(Tier tier) { return defined_tables[static_cast<int>(tier)] != nullptr && runs(tier); }
/// The best that there is, no better than the ISA that the other kernels run on.
inline Tier tier() {
  if (forced_tier() && has(*forced_tier())) return *forced_tier();
  const Tier most = isa() == Isa::baseline ? Tier::neon_dot : isa() == Isa::avx2 ? Tier::avx_vnni : Tier::amx;
  int best = static_cast<int>(most);
  while (best > 0 && !has(static_cast<Tier>(best))) --best;
  if (defined_tables[best] == nullptr)
    throw_error(
        "attend: the program was compiled for one ISA, whose products of reduced weights this processor "
        "does not run");
  return static_cast<Tier>(best);
}
inline const Table& kernels() { return *defined_tables[static_cast<int>(tier())]; }
}  // namespace ATTEND_FLAGS

}  // namespace attend::inline ATTEND_ABI::quant
#endif  // ATTEND_HAS_KERNELS
