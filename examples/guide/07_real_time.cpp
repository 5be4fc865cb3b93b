// # Real time
//
// forward(context, …, out) allocates nothing, and takes no lock where the context has one thread, once a call of these
// shapes has run: warm up with the longest. workspace_bytes says what a call will take.
//   - Caches: reserve(tokens) first.
//   - Threads: workers of a context spin for 0.1 ms after a call, then they sleep. Priorities and pinning are the program's:
//     lend your own threads by an executor (page 06), or stay on one thread, where no other is ever waited for.
//   - Masks and modifiers hold a callable without heap; what it captures is yours.
//   - Float environment: audio hosts flush subnormals to zero. A call computes with them kept, on each of its threads, and
//     restores what it found, so that bits do not depend on the host.
//   - Errors are thrown before anything is computed, and only for what does not fit: they allocate. With -fno-exceptions
//     the program ends with the text; attend::error_handler() sees it first.
#include <cstdio>
#include <cstdlib>
#include <new>

#include <attend/attend.hpp>

static long allocations = 0;
void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

int main() {
  attend::MultiHeadAttention<float> attention({.embed_dim = 32, .num_heads = 4});
  attention.parameters([](const std::string&, attend::Parameter<float> p) {
    const std::vector<float> values(static_cast<std::size_t>(p.numel()), 0.01f);
    p.assign(0, p.rows(), values.data());
  });
  attend::Context context;
  attend::Tensor<float, 3> x({1, 64, 32}, 1.0f), y(x.shape());
  attention.forward(context, x, {.mask = attend::causal()}, y);  // warm: the longest call

  const long before = allocations;
  for (attend::Index t = 1; t <= 64; ++t)
    attention.forward(context, x.slice(1, 0, t), {.mask = attend::causal()}, y.slice(1, 0, t));
  std::printf("allocations in 64 calls: %ld\n", allocations - before);
}
// Prints:
// allocations in 64 calls: 0
