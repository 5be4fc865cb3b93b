// Begins a region: functions for the instructions of ATTEND_TARGET, where it is defined. Under GCC they are
// optimised even in a debug build, and fast-math and contraction are off on both compilers. region_pop.inl
// ends it, and takes ATTEND_TARGET back.

#if defined(__clang__)
#pragma float_control(precise, on, push)
#if defined(ATTEND_TARGET)
ATTEND_EXPANDED_PRAGMA(clang attribute push(__attribute__((target(ATTEND_TARGET))), apply_to = function))
#endif
#else
#pragma GCC push_options
#pragma GCC diagnostic push  // intrinsics of GCC 12 with an operand that is undefined, and unused
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#if defined(ATTEND_TARGET)
ATTEND_EXPANDED_PRAGMA(GCC target(ATTEND_TARGET))
#endif
#pragma GCC optimize("O2", "no-fast-math", "fp-contract=off")
#endif
