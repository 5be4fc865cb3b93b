// Memory of the caller: nothing goes round it, and where it is used up nothing is lost.
#include <array>
#include <cstddef>
#include <cstdlib>
#include <memory_resource>
#include <new>
#include <utility>
#include <vector>

#include <attend/attend.hpp>
#include <attend/io/state_dict.hpp>
#include <attend/model/causal_lm.hpp>
#include <attend/quant.hpp>

#include "counted_malloc.hpp"
#include "support.hpp"
#include "tiny_models.hpp"

namespace {
using namespace attend;
using attend_test::allocated_bytes;
using attend_test::allocations;
using attend_test::filled;
using attend_test::random_tensor;
using attend_test::same_bits;
using testing::HasSubstr;

/// Gives so many blocks and no more, of memory that is not counted as the program's.
class Budget : public std::pmr::memory_resource {
 public:
  long left = 1'000'000;  // blocks
  std::size_t in_use = 0, given = 0;
  bool gives_null = false;

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    if (left-- <= 0) {
      if (gives_null) return nullptr;
      throw std::bad_alloc();
    }
    in_use += bytes, given += bytes;
#if ATTEND_TEST_COUNTS
    return __libc_memalign(alignment, bytes);
#else
    return ::operator new(bytes, std::align_val_t(alignment));
#endif
  }
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override {
    in_use -= bytes;
#if ATTEND_TEST_COUNTS
    static_cast<void>(alignment);
    std::free(block);
#else
    ::operator delete(block, std::align_val_t(alignment));
#endif
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

MultiHeadAttention<float> some_attention(Index window = 0) {
  return filled<float>(MultiHeadAttention<float>(
      {.embed_dim = 32, .num_heads = 4, .attention = {.is_causal = true, .window = window}}));
}
KVCacheOptions options_of(const MultiHeadAttention<float>& attention, Budget& memory) {
  KVCacheOptions options = attention.make_cache(1).options();
  options.memory = &memory;
  return options;
}

TEST(Memory, NothingOfAContextOrACacheGoesRoundTheCallers) {
  const auto attention = some_attention();
  const auto x = random_tensor<float, 3>({1, 250, 32});
  const Tensor<float, 3> two({2, 1, 32}, 0.5f);
  Tensor<float, 3> y(x.shape()), next(two.shape());
  for (int threads : {1, 2}) {
    Budget memory;
    const KVCacheOptions cache_options = options_of(attention, memory);
    const long before = allocations;
    {
      Context context({.threads = threads,
                       .executor =
                           [](Index n, detail::FunctionRef<void(Index)> task) {
                             for (Index i = 0; i < n; ++i) task(i);
                           },
                       .memory = &memory});
      KVCache<float> cache(cache_options);
      attention.forward(context, x, cache, {}, y.view());
      cache.reserve(100);
      attention.forward(context, x.slice(1, 0, 50), cache, {}, y.slice(1, 0, 50));
      cache.fork(0);
      attention.forward(context, two, cache, {}, next.view());
      KVCache<float> copy = cache, moved = std::move(cache);
      const std::array<Index, 3> parents{1, 0, 1};
      copy.reorder(parents);
      moved.truncate(0, 7);
      cache = std::move(copy);
      cache.clear();
      const Context other = std::move(context);
      EXPECT_GT(memory.in_use, 0u);
    }
    EXPECT_EQ(allocations - before, 0) << "threads: " << threads;
    EXPECT_EQ(memory.in_use, 0u);
  }
}

TEST(Memory, OfAScopeIsOfWhatIsMadeInIt) {
  Budget outer, inner;
  {
    const MemoryScope scope(&outer);
    const Tensor<float, 2> a({100, 100});
    EXPECT_GE(outer.in_use, 40000u);
    EXPECT_EQ(a(99, 99), 0.0f);
    Tensor<float, 2> b;
    {
      const MemoryScope nested(&inner);
      b = Tensor<float, 2>({10, 10}, 3.0f);
      EXPECT_GE(inner.in_use, 400u);
    }
    EXPECT_GE(inner.in_use, 400u);  // moved, not copied
    b = a;
    EXPECT_EQ(inner.in_use, 0u);
    EXPECT_GE(outer.in_use, 80000u);
    {
      const MemoryScope heap(nullptr);
      const std::size_t so_far = outer.in_use;
      const Tensor<float, 1> c(Shape<1>{1000});
      EXPECT_EQ(outer.in_use, so_far);
    }
  }
  EXPECT_EQ(outer.in_use, 0u);
}

TEST(Memory, AModelsWeightsAndCachesAreOfItsScope) {
  const auto make = [] {
    return CausalLM<float>({.vocab_size = 20000,
                            .embed_dim = 32,
                            .max_position_embeddings = 64,
                            .blocks = {{.embed_dim = 32, .num_heads = 4, .dim_feedforward = 64}},
                            .learned_positions = true});
  };
  Budget memory;
  {
    const MemoryScope scope(&memory);
    const std::size_t before = allocated_bytes;
    const CausalLM<float> model = make();
    Index numbers = 0;
    model.parameters([&](const std::string&, auto parameter) { numbers += parameter.numel(); });
    EXPECT_GE(memory.in_use, static_cast<std::size_t>(numbers) * sizeof(float));
    EXPECT_LE(allocated_bytes - before, 100'000u);  // names and options
    EXPECT_EQ(model.make_cache().layers()[0].options().memory, &memory);
  }
  EXPECT_EQ(memory.in_use, 0u);
  for (long blocks : {0, 1, 3, 5}) {
    const MemoryScope scope(&memory);
    memory.left = blocks;
    EXPECT_THAT(attend_test::error_of(make), HasSubstr("not in the caller's memory resource"));
    EXPECT_EQ(memory.in_use, 0u);
  }
}

TEST(Memory, ReducedWeightsAreOfItsScope) {
  Budget memory;
  {
    const MemoryScope scope(&memory);
    const Embedding<float> table({.num_embeddings = 100, .embedding_dim = 64, .weights = WeightType::int8});
    EXPECT_GE(memory.in_use, 6800u);
    const std::size_t before = memory.in_use;
    const Linear<float> linear({.in_features = 64, .out_features = 96, .weights = WeightType::int4});
    EXPECT_GE(memory.in_use, before + 3456);
  }
  EXPECT_EQ(memory.in_use, 0u);
}

TEST(Memory, ThatIsUsedUpLeavesACacheThatWasToResumeEmpty) {
  const auto x = random_tensor<float, 3>({4, 30, 8});
  Budget memory;
  KVCacheOptions options{.num_kv_heads = 4, .head_dim = 8, .window = 20, .memory = &memory};
  int failures = 0;
  for (bool failed = true; failed; ++failures) {
    KVCache<float> cache(options);
    memory.left = failures;
    failed = !attend_test::error_or_none([&] { cache.resume(0, 9600, x, x); }).empty();
    memory.left = 1'000'000;
    if (failed) {
      EXPECT_EQ(cache.length(0), 0);
      cache.append(0, x, x);
      EXPECT_EQ(cache.first_token(0), 0);
    }
    std::vector<float> key(8);
    cache.read(0, 3, cache.length(0) - 1, key, {});
    EXPECT_EQ(key[7], x(3, 29, 7)) << failures;
  }
  EXPECT_GE(failures, 3);
}

TEST(Memory, ThatIsUsedUpIsAnErrorAndLosesNothing) {
  const auto x = random_tensor<float, 3>({1, 420, 32});
  for (Index window : {0, 30})
    for (bool gives_null : {false, true}) {
      const auto attention = some_attention(window);
      Tensor<float, 3> expected(x.shape()), y(x.shape());
      {
        KVCache<float> whole = attention.make_cache(1);
        attention.forward(default_context(), x, whole, {}, expected.view());
      }
      Budget memory;
      memory.gives_null = gives_null;
      int failures = 0;
      for (bool failed = true; failed; ++failures) {
        {
          Context context({.memory = &memory});
          KVCache<float> cache(options_of(attention, memory));
          attention.forward(context, x.slice(1, 0, 150), cache, {}, y.slice(1, 0, 150));
          const auto rest = [&] {
            attention.forward(context, x.slice(1, 150, 420), cache, {}, y.slice(1, 150, 420));
            const KVCache<float> copy = cache;
            cache.fork(0);
          };
          memory.left = failures;
          failed = false;
          try {
            rest();
          } catch (const Error& error) {
            failed = true;
            EXPECT_THAT(error.what(), HasSubstr("not in the caller's memory resource"));
          }
          memory.left = 1'000'000;
          if (failed && cache.length(0) == 150) rest();
          EXPECT_EQ(cache.length(0), 420);
          EXPECT_TRUE(same_bits(y, expected)) << failures;
        }
        ASSERT_EQ(memory.in_use, 0u);
      }
      EXPECT_GT(failures, 5);
    }
}

#if ATTEND_TEST_COUNTS
TEST(Memory, QuantisingALoadHoldsNoSecondCopy) {
  const auto make = [](WeightType type) {
    return EncoderBlock<float>({.embed_dim = 256, .num_heads = 8, .dim_feedforward = 1024, .weights = type});
  };
  const attend_test::Folder folder;
  const auto path = folder / "model.safetensors";
  save(filled<float>(make(WeightType::float32)), path);
  constexpr double kNumbers = 4 * 256 * 256 + 2 * 256 * 1024;
  const auto peak_of = [&](WeightType type) {
    const SafeTensors file(path);
    const std::size_t before = attend_test::live_bytes;
    attend_test::peak_bytes = before;
    auto layer = make(type);
    load(layer, file);
    return static_cast<double>(attend_test::peak_bytes - before);
  };
  const double rows = static_cast<double>(detail::block_rows(1024, 256, 4)) * 256 * 4;
  const std::pair<WeightType, double> types[] = {{WeightType::bfloat16, 2},
                                                 {WeightType::float16, 2},
                                                 {WeightType::int8, 34.0 / 32},
                                                 {WeightType::int4, 18.0 / 32}};
  for (const auto& [type, bytes] : types) {
    const double quantized = bytes * kNumbers;
    EXPECT_LE(peak_of(type), 1.1 * quantized + rows) << to_string(type);
    EXPECT_GE(peak_of(type), quantized) << to_string(type);
  }
}
#endif

}  // namespace
