// Where the time of a model goes: a table by layer.
#pragma once

#include <vector>

#include "models.hpp"

namespace bench {

/// Prints, of some of the problems, each layer's part of the time, its rate, and its share of what the
/// processor can do, as the layers tell a Context's hook.
void profile(const std::vector<ModelProblem>& problems, int threads);

}  // namespace bench
