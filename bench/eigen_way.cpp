// Eigen with the flags of a user who asks for nothing but -O2.
#define ATTEND_BENCH_WAY eigen
#include "eigen_way.hpp"
