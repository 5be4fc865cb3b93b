#include <backward.hpp>

#define COMPUTE compute_native
#define COMPUTE_WITH compute_with_native
#define COMPUTE_DOUBLE compute_double_native
#include "compute.inl"
