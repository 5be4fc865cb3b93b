// Compiled with -fno-exceptions -fno-rtti.
#include "shared.hpp"

double sum_without_exceptions() { return sum_of_linear(); }
bool has_own_handler_without_exceptions() { return has_own_handler(); }
