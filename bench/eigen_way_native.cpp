// Eigen with -O3 -march=native (see CMakeLists.txt). Its templates get a namespace of their own: under one
// name the linker would keep one of the two compiled forms, and both ways would measure that one.
#include <cmath>
#include <complex>  // before the renaming: nothing of the standard library mentions Eigen, and nothing should

#define Eigen EigenNative
#define ATTEND_BENCH_WAY eigen_native
#include "eigen_way.hpp"
