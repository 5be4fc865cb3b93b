// Headers that are included before attend's define macros of common words: Qt, <complex.h>, <windows.h>, test
// and assertion libraries. Whoever defined them before the standard library, Eigen or JSON would hurt these
// as well, so they come first, and what they leave is attend's to bear.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <ostream>
#include <queue>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#include <gtest/gtest.h>
#include <Eigen/Core>
#include <nlohmann/json.hpp>

// Qt
#define slots
#define signals public
#define emit
#define foreach(variable, container) for (variable : container)
#define forever for (;;)
// <complex.h>
#define I (__extension__ 1.0iF)
// <windows.h>
#define small char
#define near
#define far
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#define ERROR 0
#define NO_ERROR 0L
#define ABSOLUTE 1
#define RELATIVE 2
#define STRICT 1
#define THIS
#define PASCAL
#define Yield()
#define GetObject GetObjectA
#define SendMessage SendMessageA
#define GetMessage GetMessageA
#define LoadString LoadStringA
#define IN
#define OUT
#define interface struct
#define VOID void
#define CONST const
#define OPTIONAL
#define DELETE (0x00010000L)
#define TRUE 1
#define FALSE 0
// X11
#define None 0L
#define Status int
#define Unsorted 0
#define Complex 0
#define Convex 2
#define Above 0
#define Below 1
#define KeyPress 2
#define CurrentTime 0L
#define Bool int
#define True 1
#define False 0
#define Success 0
#define Always 2
// assertions and tests: a call of such a name would silently be theirs, so here it is an error
#define check(x) @
#define fail(x) @
#define verify(x) @
#define require(x) @
#define ensure(x) @
#define expect(x) @
#define assume(x) @
#define CHECK(x) @
#define REQUIRE(x) @
#define FAIL_IF(x) @
#define LOG(x) @
#define UNUSED(x) @

#include "every_header.hpp"  // made by CMakeLists.txt

namespace {

// Templates are looked at again where they are used.
TEST(Macros, OfOthersDoNotReachTheLibrary) {
  attend::MultiHeadAttention<double> attention({.embed_dim = 6, .num_heads = 2});
  attention.parameters([](const std::string&, auto parameter) {
    const std::vector<double> values(static_cast<std::size_t>(parameter.numel()), 0.5);
    parameter.assign(0, parameter.rows(), values.data());
  });
  const attend::Tensor<double, 3> y =
      attention(attend::Tensor<double, 3>({1, 3, 6}, 1.0), {.mask = attend::causal()});
  EXPECT_EQ(y.numel(), 18);
  attend::KVCache<double> cache({.num_kv_heads = 2, .head_dim = 3});
  cache.append(attend::Tensor<double, 4>({1, 2, 5, 3}), attend::Tensor<double, 4>({1, 2, 5, 3}));
  EXPECT_EQ(cache.length(0), 5);
  const attend::Tensor<double, 2> ones({2, 2}, 1.0);
  EXPECT_EQ(ones.matrix()(1, 1), 1);
}

}  // namespace
