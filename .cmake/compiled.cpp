// The kernels of all ISAs, once for a program whose units define ATTEND_COMPILED.
#define ATTEND_IMPLEMENTATION
#include <attend/kernel/dispatch.hpp>
