#include <backward.hpp>

#define COMPUTE compute_native
#include "compute.inl"
