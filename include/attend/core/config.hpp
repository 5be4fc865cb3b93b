// The macros that a program may set, and what follows from them. All files of a program set the same.
#pragma once

/// Whether `float` takes the kernels. Compilers without vector extensions take Eigen's products, as does a program that
/// defines ATTEND_NO_KERNELS.
#if defined(__GNUC__) && !defined(ATTEND_NO_KERNELS)
#define ATTEND_HAS_KERNELS 1
#else
#define ATTEND_HAS_KERNELS 0
#endif

/// Whether the kernels are those of one ISA alone (ATTEND_ONLY_BASELINE, _AVX2 or _AVX512), which takes a third of the
/// time to compile; a lesser processor is an error at the first use.
#if defined(ATTEND_ONLY_BASELINE) || defined(ATTEND_ONLY_AVX2) || defined(ATTEND_ONLY_AVX512)
#define ATTEND_ONLY 1
#else
#define ATTEND_ONLY 0
#endif
