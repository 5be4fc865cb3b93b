// The macros that a program may set, and what follows from them. All files of a program set the same.
#pragma once

/// Whether `float` takes the kernels. Compilers without vector extensions take plain loops, as does a
/// program that defines ATTEND_NO_KERNELS.
#if defined(__GNUC__) && !defined(ATTEND_NO_KERNELS)
#define ATTEND_HAS_KERNELS 1
#else
#define ATTEND_HAS_KERNELS 0
#endif

/// GCC on Windows aligns the stack to 16 bytes, whatever a vector needs (its bug 54412): there the kernels
/// are those of 128 bits, which have no FMA, unless the program chooses others by ATTEND_ONLY_AVX2 at its own
/// risk.
#if defined(_WIN64) && defined(__GNUC__) && !defined(__clang__) && !defined(ATTEND_NO_KERNELS) && \
    !defined(ATTEND_ONLY_AVX2) && !defined(ATTEND_ONLY_AVX512) && !defined(ATTEND_ONLY_BASELINE)
#define ATTEND_ONLY_BASELINE
#endif

/// Whether the kernels are those of one ISA alone (ATTEND_ONLY_BASELINE, _AVX2 or _AVX512), which compile in
/// about half the time (bench/cost.py); a lesser processor is an error at the first use.
#if defined(ATTEND_ONLY_BASELINE) || defined(ATTEND_ONLY_AVX2) || defined(ATTEND_ONLY_AVX512)
#define ATTEND_ONLY 1
#else
#define ATTEND_ONLY 0
#endif

/// The inline namespace of all names: whether errors are exceptions, which kernels there are, and whether
/// they are compiled apart: with ATTEND_COMPILED they come from the one unit that also defines
/// ATTEND_IMPLEMENTATION. Units of a program that differ in it share nothing, where the linker would keep one
/// of two functions of the same name, and a catch of Error would become an abort; that a layer does not pass
/// between them is an error of linking. Other flags do not matter (core/flags.hpp).
#if defined(__cpp_exceptions)
#define ATTEND_ABI_ERRORS v0_exceptions
#else
#define ATTEND_ABI_ERRORS v0_no_exceptions
#endif
#if !ATTEND_HAS_KERNELS
#define ATTEND_ABI_KERNELS _no_kernels
#elif defined(ATTEND_ONLY_BASELINE)
#define ATTEND_ABI_KERNELS _only_baseline
#elif defined(ATTEND_ONLY_AVX2)
#define ATTEND_ABI_KERNELS _only_avx2
#elif defined(ATTEND_ONLY_AVX512)
#define ATTEND_ABI_KERNELS _only_avx512
#else
#define ATTEND_ABI_KERNELS
#endif
#if defined(ATTEND_COMPILED)
#define ATTEND_ABI_COMPILED _compiled
#else
#define ATTEND_ABI_COMPILED
#endif
#define ATTEND_ABI_JOIN(a, b, c) a##b##c
#define ATTEND_ABI_EXPAND(a, b, c) ATTEND_ABI_JOIN(a, b, c)
#define ATTEND_ABI ATTEND_ABI_EXPAND(ATTEND_ABI_ERRORS, ATTEND_ABI_KERNELS, ATTEND_ABI_COMPILED)

/// Whether this unit has the bodies of what the compiled variant holds: of the kernels and layers
/// (attend::compiled), and of files, tokenizers and models (attend::models_compiled). Header-only, each unit
/// has all; otherwise the one that defines ATTEND_IMPLEMENTATION, of which ATTEND_MODELS_IMPLEMENTATION is
/// the half that is not the kernels and layers.
#if !defined(ATTEND_COMPILED) || defined(ATTEND_IMPLEMENTATION)
#define ATTEND_HAS_BODIES 1
#else
#define ATTEND_HAS_BODIES 0
#endif
#if ATTEND_HAS_BODIES || defined(ATTEND_MODELS_IMPLEMENTATION)
#define ATTEND_HAS_MODEL_BODIES 1
#else
#define ATTEND_HAS_MODEL_BODIES 0
#endif

/// Of functions that are no templates and have their bodies in an .inl: in one unit, or in all.
#if defined(ATTEND_COMPILED)
#define ATTEND_INLINE
#else
#define ATTEND_INLINE inline
#endif

/// `ATTEND_COMPILED_LAYER(class Linear<float>);` behind the bodies of a template: in the compiled variant the
/// unit with the bodies instantiates its members, and no other does. Only those that are defined outside of
/// their class: what is defined in it is inlined everywhere.
#if !defined(ATTEND_COMPILED)
#define ATTEND_COMPILED_LAYER(...) static_assert(true)
#elif ATTEND_HAS_BODIES
#define ATTEND_COMPILED_LAYER(...) template __VA_ARGS__
#else
#define ATTEND_COMPILED_LAYER(...) extern template __VA_ARGS__
#endif
#if !defined(ATTEND_COMPILED)
#define ATTEND_COMPILED_MODEL(...) static_assert(true)
#elif ATTEND_HAS_MODEL_BODIES
#define ATTEND_COMPILED_MODEL(...) template __VA_ARGS__
#else
#define ATTEND_COMPILED_MODEL(...) extern template __VA_ARGS__
#endif

/// Before a name that goes away, with the text that says what takes its place. It stays for one minor
/// version.
#define ATTEND_DEPRECATED(text) [[deprecated("attend: " text)]]

/// Of functions that run when something is wrong, is made or is looked at: never inlined, short rather than
/// fast.
#if defined(__GNUC__)
#define ATTEND_COLD __attribute__((cold, noinline))
#define ATTEND_OUT_OF_LINE __attribute__((noinline))
#else
#define ATTEND_COLD
#define ATTEND_OUT_OF_LINE
#endif

/// A program that mixes units with and without ATTEND_COMPILED does not link, whatever their signatures say:
/// this is one name for both, and thread_local in one of them, which linkers refuse to join. Their message is
/// the name. Hidden, since only units that are linked into one file share anything.
#if defined(__ELF__) && defined(__GNUC__)
namespace attend {
#if defined(ATTEND_COMPILED)
[[gnu::used, gnu::visibility("hidden")]] inline thread_local char all_units_or_none_define_ATTEND_COMPILED =
    0;
#else
[[gnu::used, gnu::visibility("hidden")]] inline char all_units_or_none_define_ATTEND_COMPILED = 0;
#endif
}  // namespace attend
#endif
