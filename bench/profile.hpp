// Where the time of a model goes: a table by layer.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "models.hpp"

namespace bench {

/// Prints, of the problems of these names or, where there are none, of one of each kind, each layer's part of
/// the time, its rate, and its share of what the processor can do, as the layers tell a Context's hook.
void profile(const std::vector<ModelProblem>& problems, int threads, const std::set<std::string>& names);

}  // namespace bench
