// A stretch of a text.
#pragma once

#include <cstddef>

#include <attend/core/config.hpp>

namespace attend::inline ATTEND_ABI::text {

/// Bytes [begin, end) of a text.
struct ByteRange {
  std::size_t begin = 0, end = 0;
  bool operator==(const ByteRange&) const = default;
};

}  // namespace attend::inline ATTEND_ABI::text
