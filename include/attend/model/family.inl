// Bodies of family.hpp.
#pragma once

#include <algorithm>

#include <attend/model/family.hpp>

namespace attend::inline ATTEND_ABI::detail {

ATTEND_INLINE void check_sizes(const Location& config, const SafeTensors& file, const Tables& tables) {
  Index stored = 0;
  for (const SafeTensors::Entry& entry : file.entries()) stored += static_cast<Index>(entry.size);
  for (const auto& [rows, columns] : tables)
    if (rows > stored / std::max<Index>(columns, 1))
      throw_error(config.string(), ": the sizes are beyond what ", file.path(), " holds");
}

}  // namespace attend::inline ATTEND_ABI::detail
