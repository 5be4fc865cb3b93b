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

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// GCC's sanitizers take minutes for the kernels, and watch every register that goes through an inlined
// function: a program that is built with them leaves the kernels out, unless it defines
// ATTEND_SANITIZE_KERNELS.
#if defined(__clang__) || defined(ATTEND_SANITIZE_KERNELS)
#define ATTEND_UNWATCHED
#else
#define ATTEND_UNWATCHED __attribute__((no_sanitize("address", "undefined")))
#endif
#define ATTEND_INLINED inline ATTEND_UNWATCHED __attribute__((always_inline))
#define ATTEND_NOINLINE inline ATTEND_UNWATCHED __attribute__((noinline))
#define ATTEND_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define ATTEND_UNROLL ATTEND_PRAGMA(clang loop unroll(full))
#define ATTEND_UNROLL_BY(n) ATTEND_PRAGMA(clang loop unroll_count(n))
#else
#define ATTEND_UNROLL ATTEND_PRAGMA(GCC unroll 64)
#define ATTEND_UNROLL_BY(n) ATTEND_PRAGMA(GCC unroll n)
#endif

#if defined(__aarch64__) || defined(__AVX512F__)
#define ATTEND_WIDE_BASELINE true
#else
#define ATTEND_WIDE_BASELINE false
#endif

// Casts are the vocabulary of vector types and of intrinsics, and types are one for one ISA and two for
// another.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuseless-cast"
#pragma GCC diagnostic ignored "-Wsign-conversion"  // of an int that is the size of an array
#endif

#if !ATTEND_ONLY || defined(ATTEND_ONLY_BASELINE) || !defined(__x86_64__)
#if defined(__clang__)
#pragma float_control(precise, on, push)
#else
#pragma GCC push_options
#pragma GCC optimize("O2", "no-fast-math", "fp-contract=off")
#endif
namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::baseline {
constexpr bool kWideRegisterFile = ATTEND_WIDE_BASELINE;
#define ATTEND_SIMD 128
#include <attend/kernel/isa.inl>
#undef ATTEND_SIMD
}  // namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::baseline
#if defined(__clang__)
#pragma float_control(pop)
#else
#pragma GCC pop_options
#endif
#endif  // baseline

#if defined(__x86_64__)
#if !ATTEND_ONLY || defined(ATTEND_ONLY_AVX2)
#if defined(__clang__)
#pragma float_control(precise, on, push)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#pragma GCC optimize("O2", "no-fast-math", "fp-contract=off")
#endif
namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::avx2 {
constexpr bool kWideRegisterFile = false;
#define ATTEND_SIMD 256
#include <attend/kernel/isa.inl>
#undef ATTEND_SIMD
}  // namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma float_control(pop)
#else
#pragma GCC pop_options
#endif
#endif  // avx2

#if !ATTEND_ONLY || defined(ATTEND_ONLY_AVX512)
#if defined(__clang__)
#pragma float_control(precise, on, push)
#pragma clang attribute push(__attribute__((target("avx512f,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC diagnostic push  // intrinsics of GCC 12 with an operand that is undefined, and unused
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx512f,avx2,fma")
#pragma GCC optimize("O2", "no-fast-math", "fp-contract=off")
#endif
namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::avx512 {
constexpr bool kWideRegisterFile = true;
#define ATTEND_SIMD 512
#include <attend/kernel/isa.inl>
#undef ATTEND_SIMD
}  // namespace attend::inline ATTEND_ABI::kernel::inline ATTEND_FLAGS::avx512
#if defined(__clang__)
#pragma clang attribute pop
#pragma float_control(pop)
#else
#pragma GCC diagnostic pop
#pragma GCC pop_options
#endif
#endif  // avx512
#endif  // x86-64
#pragma GCC diagnostic pop

#undef ATTEND_INLINED
#undef ATTEND_NOINLINE
#undef ATTEND_UNWATCHED
#undef ATTEND_UNROLL
#undef ATTEND_UNROLL_BY
#undef ATTEND_PRAGMA
#undef ATTEND_WIDE_BASELINE

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
