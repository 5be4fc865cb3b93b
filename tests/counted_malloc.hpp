// Counts the allocations of a test's program, and what it holds at most: malloc and its kin, which operator
// new calls. For its one unit.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "support.hpp"

#if defined(__GLIBC__) && !ATTEND_TEST_SANITIZED
#define ATTEND_TEST_COUNTS 1
#else
#define ATTEND_TEST_COUNTS 0
#endif

namespace attend_test {
inline std::atomic<long> allocations{0};
inline std::atomic<std::size_t> allocated_bytes{0}, live_bytes{0}, peak_bytes{0};

/// Before each allocation; one for which it answers false fails.
inline bool (*may_allocate)() = [] { return true; };
inline bool counts(std::size_t bytes) { return ++allocations, allocated_bytes += bytes, may_allocate(); }
#if ATTEND_TEST_COUNTS
/// A block that is held from now on.
inline void* held(void* block) {
  const std::size_t live = live_bytes += malloc_usable_size(block);
  if (live > peak_bytes) peak_bytes = live;
  return block;
}
inline void* released(void* block) { return live_bytes -= malloc_usable_size(block), block; }
#endif
}  // namespace attend_test

#if ATTEND_TEST_COUNTS
extern "C" {
void __libc_free(void*);
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void* malloc(std::size_t n) { return attend_test::counts(n) ? attend_test::held(__libc_malloc(n)) : nullptr; }
void* calloc(std::size_t n, std::size_t size) {
  return attend_test::counts(n * size) ? attend_test::held(__libc_calloc(n, size)) : nullptr;
}
void* realloc(void* p, std::size_t n) {
  return attend_test::counts(n) ? attend_test::held(__libc_realloc(attend_test::released(p), n)) : nullptr;
}
void* memalign(std::size_t alignment, std::size_t n) {
  return attend_test::counts(n) ? attend_test::held(__libc_memalign(alignment, n)) : nullptr;
}
void free(void* p) { __libc_free(attend_test::released(p)); }
void* aligned_alloc(std::size_t alignment, std::size_t n) { return memalign(alignment, n); }
int posix_memalign(void** p, std::size_t alignment, std::size_t n) {
  return (*p = memalign(alignment, n)) != nullptr ? 0 : ENOMEM;
}
}
#endif
