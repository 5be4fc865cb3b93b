// # Flags, exceptions, macros: several files in one program
//
// Files of one program may be compiled by different flags, and may pass layers, tensors and caches to each other. What
// depends on a flag in attend (the kernels, and what calls Eigen) is kept apart for each set of flags; all other inline
// functions, as those of any header and of Eigen itself, are there once, from the file that the linker takes first. So a
// program with a file that is compiled by -march=native needs that processor. It gains nothing by it: the kernels are
// chosen when the program runs.
//
// Exceptions are a choice of the file, too: what is compiled by -fno-exceptions (and -fno-rtti) ends the program with the
// text of an error, after attend::error_handler() has seen it. Files with and without exceptions may be in one program but
// have different types, since names lie in an inline namespace that says which. The same holds for these macros, which all
// files should set alike (else the linker finds no attend::v0_…):
//
//     ATTEND_ONLY_BASELINE, _AVX2, _AVX512   the kernels of one ISA alone, which compile faster; a lesser processor is an error
//     ATTEND_COMPILED                        kernels and layers of float come from attend::compiled, or from the one file that
//                                            also defines ATTEND_IMPLEMENTATION before it includes attend/attend.hpp
//     ATTEND_NO_KERNELS                      float takes plain loops like all other scalars, and promises a tolerance
//                                            instead of bits
//
// A program that mixes files with and without ATTEND_COMPILED does not link. To declare a type of attend without its header,
// include attend/fwd.hpp. Macros of Qt, <complex.h> and <windows.h> may be defined before attend is included.
//
// Without a build system there is also one header: python3 .cmake/single.py include attend_single.hpp writes the core (the
// build makes it as well), for a folder that has nothing else.
#include <attend/fwd.hpp>

int width(const attend::Linear<float>& linear);  // declared, not included

#include <cstdio>

#include <attend/attend.hpp>

int width(const attend::Linear<float>& linear) { return static_cast<int>(linear.options().out_features); }

int main() {
  // What every error passes through before it is thrown, or ends the program: a log of one's own.
  attend::error_handler() = [](const char* text) { std::printf("seen: %s\n", text); };
  const attend::Linear<float> linear({.in_features = 4, .out_features = 3});
  std::printf("width %d\n", width(linear));
#if defined(__cpp_exceptions)
  try {
    linear(attend::Tensor<float, 2>({1, 5}));
  } catch (const attend::Error& error) {
    std::printf("caught: %s\n", error.what());
  }
#endif
}
// Prints:
// width 3
// seen: Linear: parameter weight was never assigned
// caught: Linear: parameter weight was never assigned
