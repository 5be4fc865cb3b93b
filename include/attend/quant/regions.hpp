// The kernels of reduced weights, compiled once per tier whatever the program's flags are: regions as those
// of kernel/regions.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <attend/core/config.hpp>
#include <attend/core/flags.hpp>
#include <attend/core/weight_type.hpp>
#include <attend/io/gguf_blocks.hpp>
#include <attend/quant/calls.hpp>
#include <attend/quant/tier.hpp>

#include <attend/kernel/regions_begin.inl>

#include <attend/kernel/region_push.inl>
namespace attend::inline ATTEND_ABI::quant::inline ATTEND_FLAGS {
#include <attend/quant/codec.inl>
}  // namespace attend::inline ATTEND_ABI::quant::inline ATTEND_FLAGS
#include <attend/kernel/region_pop.inl>

#if ATTEND_HAS_KERNELS
#if !ATTEND_ONLY || defined(ATTEND_ONLY_BASELINE) || !defined(__x86_64__)
#define ATTEND_TIER baseline
#define ATTEND_SIMD 128
#define ATTEND_VNNI 0
#include <attend/quant/region.inl>
#endif

#if defined(__aarch64__)
#if defined(__clang__)
#define ATTEND_TARGET "dotprod"
#else
#define ATTEND_TARGET "arch=armv8.2-a+dotprod"
#endif
#define ATTEND_TIER neon_dot
#define ATTEND_SIMD 128
#define ATTEND_VNNI 1
#include <attend/quant/region.inl>
#endif

#if defined(__x86_64__) && (!ATTEND_ONLY || defined(ATTEND_ONLY_AVX2))
#define ATTEND_TARGET "avx2,fma,f16c"
#define ATTEND_TIER avx2
#define ATTEND_SIMD 256
#define ATTEND_VNNI 0
#define ATTEND_MANY_ROWS
#include <attend/quant/region.inl>
#define ATTEND_TARGET "avx2,fma,f16c,avxvnni"
#define ATTEND_TIER avx_vnni
#define ATTEND_SIMD 256
#define ATTEND_VNNI 1
#include <attend/quant/region.inl>
#endif

#if defined(__x86_64__) && (!ATTEND_ONLY || defined(ATTEND_ONLY_AVX512))
#define ATTEND_TARGET "avx512f,avx512bw,avx2,fma,f16c"
#define ATTEND_TIER avx512bw
#define ATTEND_SIMD 512
#define ATTEND_VNNI 0
#include <attend/quant/region.inl>
#define ATTEND_TARGET "avx512f,avx512bw,avx512vnni,avx2,fma,f16c"
#define ATTEND_TIER avx512_vnni
#define ATTEND_SIMD 512
#define ATTEND_VNNI 1
#define ATTEND_MANY_ROWS
#include <attend/quant/region.inl>
#endif
#endif  // ATTEND_HAS_KERNELS
#include <attend/kernel/regions_end.inl>

#if ATTEND_HAS_KERNELS
namespace attend::inline ATTEND_ABI::quant::inline ATTEND_FLAGS {

/// The kernels of a tier, or null where the program was compiled without them.
inline constexpr const Table* defined_tables[kTiers] = {
#if !ATTEND_ONLY || defined(ATTEND_ONLY_BASELINE) || !defined(__x86_64__)
    &baseline::table,
#else
    nullptr,
#endif
#if defined(__aarch64__)
    &neon_dot::table,
#else
    nullptr,
#endif
#if defined(__x86_64__) && (!ATTEND_ONLY || defined(ATTEND_ONLY_AVX2))
    &avx2::decoded_table,       &avx_vnni::table,
#else
    nullptr, nullptr,
#endif
#if defined(__x86_64__) && (!ATTEND_ONLY || defined(ATTEND_ONLY_AVX512))
    &avx512bw::table,           &avx512_vnni::table,
    &avx512_vnni::decoded_table
#else
    nullptr, nullptr,
    nullptr
#endif
};

}  // namespace attend::inline ATTEND_ABI::quant::inline ATTEND_FLAGS
#endif  // ATTEND_HAS_KERNELS
