// The vocabulary of the regions, of kernel/ and of quant/. regions_end.inl takes it back.

#if defined(__aarch64__)
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
#define ATTEND_PRAGMA(...) _Pragma(#__VA_ARGS__)
#define ATTEND_EXPANDED_PRAGMA(...) ATTEND_PRAGMA(__VA_ARGS__)
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
#if defined(__wasm__)
#pragma GCC diagnostic ignored "-Wignored-pragmas"  // float_control: compile without -ffast-math there
#endif
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuseless-cast"
#pragma GCC diagnostic ignored "-Wsign-conversion"  // of an int that is the size of an array
#endif
