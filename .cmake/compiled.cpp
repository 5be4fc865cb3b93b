// attend::compiled: the kernels, and the layers of float, once for a program whose units define
// ATTEND_COMPILED.
#define ATTEND_IMPLEMENTATION
#include <attend/attend.hpp>
#include <attend/quant.hpp>
