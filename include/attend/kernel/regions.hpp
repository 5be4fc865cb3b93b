// The kernels themselves, compiled once per ISA whatever the program's flags are.
//
// Each ISA is a region: `#pragma GCC target` or `#pragma clang attribute` around the same .inl files in a
// namespace of its own, inside the one that names the unit's flags. Under GCC a region is optimised even in a
// debug build, and fast-math and contraction are off in it on both compilers, since the bits are a promise.
#pragma once

#include <cstddef>
#include <cstdint>

#include <attend/core/config.hpp>
#include <attend/core/flags.hpp>
#include <attend/kernel/calls.hpp>

#include <attend/kernel/regions_begin.inl>

#if !ATTEND_ONLY || defined(ATTEND_ONLY_BASELINE) || !defined(__x86_64__)
#include <attend/kernel/region_push.inl>
namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::baseline {
constexpr bool kWideRegisterFile = ATTEND_WIDE_BASELINE;
#define ATTEND_SIMD 128
#include <attend/kernel/isa.inl>
#undef ATTEND_SIMD
}  // namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::baseline
#include <attend/kernel/region_pop.inl>
#endif

#if defined(__x86_64__) && (!ATTEND_ONLY || defined(ATTEND_ONLY_AVX2))
#define ATTEND_TARGET "avx2,fma"
#include <attend/kernel/region_push.inl>
namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::avx2 {
constexpr bool kWideRegisterFile = false;
#define ATTEND_SIMD 256
#include <attend/kernel/isa.inl>
#undef ATTEND_SIMD
}  // namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::avx2
#include <attend/kernel/region_pop.inl>
#endif

#if defined(__x86_64__) && (!ATTEND_ONLY || defined(ATTEND_ONLY_AVX512))
#define ATTEND_TARGET "avx512f,avx2,fma"
#include <attend/kernel/region_push.inl>
namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::avx512 {
constexpr bool kWideRegisterFile = true;
#define ATTEND_SIMD 512
#include <attend/kernel/isa.inl>
#undef ATTEND_SIMD
}  // namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::avx512
#include <attend/kernel/region_pop.inl>
#endif

#include <attend/kernel/regions_end.inl>

namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS {

/// The kernels of an ISA, or null where the program was compiled without them. (A unit that is compiled by
/// other flags has kernels of its own, to the same bits: those of baseline depend on flags, and a compiler
/// adds the unit's instructions to those of a region.)
constexpr const Kernels* defined_table(Isa isa) {
#if defined(__x86_64__) && (!ATTEND_ONLY || defined(ATTEND_ONLY_AVX512))
  if (isa == Isa::avx512) return &avx512::table;
#endif
#if defined(__x86_64__) && (!ATTEND_ONLY || defined(ATTEND_ONLY_AVX2))
  if (isa == Isa::avx2) return &avx2::table;
#endif
#if !defined(__x86_64__) || !ATTEND_ONLY || defined(ATTEND_ONLY_BASELINE)
  if (isa == Isa::baseline) return &baseline::table;
#endif
  return nullptr;
}
inline constexpr const Kernels* defined_tables[] = {defined_table(Isa::baseline), defined_table(Isa::avx2),
                                                    defined_table(Isa::avx512)};

}  // namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS
