// Temporary tensors of a forward pass: where they lie, and what becomes of scalars that are objects.
#include <cstdint>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <attend/core/context.hpp>
#include <attend/tensor.hpp>

namespace {
using namespace attend;

struct Counted {
  static inline int alive = 0, made = 0, throws_at = 0;
  std::string text = "a text that is too long to be held in place";
  Counted() {
    if (++made == throws_at) throw std::runtime_error("no more");
    ++alive;
  }
  ~Counted() { --alive; }
};
void start_counting(int throws_at = 0) {
  Counted::alive = 0, Counted::made = 0, Counted::throws_at = throws_at;
}

TEST(Frame, TensorOfNumbersLiesInTheWorkspace) {
  Workspace workspace;
  for (int i = 0; i < 2; ++i) {
    Frame frame(workspace);
    const TensorView<float, 2> a = frame.tensor<float>({3, 5});
    const TensorView<double, 1> b = frame.tensor<double>(Shape<1>{7});
    EXPECT_EQ(a.shape(), (Shape<2>{3, 5}));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.data()) % detail::kAlignment, 0u);
    a.fill(1);
    b.fill(2);
    EXPECT_EQ(a(2, 4), 1);
  }
  EXPECT_EQ(workspace.peak_bytes(), 64u + 64u);
}

TEST(Frame, ConstructsAndDestroysObjects) {
  start_counting();
  Workspace workspace;
  for (int i = 0; i < 2; ++i) {  // from the heap, and then from the workspace
    {
      Frame outer(workspace);
      const TensorView<Counted, 1> a = outer.tensor<Counted>({2});
      {
        Frame inner(workspace);
        const TensorView<Counted, 2> b = inner.tensor<Counted>({2, 3});
        EXPECT_EQ(b(1, 2).text, a[0].text);
        EXPECT_EQ(Counted::alive, 8);
      }
      EXPECT_EQ(Counted::alive, 2);
      EXPECT_TRUE(outer.tensor<Counted>({0, 3}).empty());
    }
    EXPECT_EQ(Counted::alive, 0);
  }
}

#if defined(__cpp_exceptions)
TEST(Frame, DestroysWhatWasMadeWhereAConstructorThrows) {
  start_counting(6);
  Workspace workspace;
  {
    Frame frame(workspace);
    const TensorView<Counted, 1> first = frame.tensor<Counted>({3});
    EXPECT_THROW(frame.tensor<Counted>({4}), std::runtime_error);
    EXPECT_EQ(Counted::alive, 3);
    EXPECT_EQ(first[2].text, first[0].text);
  }
  EXPECT_EQ(Counted::alive, 0);
}
#endif

TEST(Frame, MeasuresObjectsWithoutMakingThem) {
  start_counting();
  const auto use = [](Context& context) {
    Frame frame(context.workspace());
    const TensorView<Counted, 1> a = frame.tensor<Counted>({5});
    EXPECT_EQ(a.data() == nullptr, context.measuring());
  };
  const std::size_t measured = Context::measure(1, use);
  EXPECT_EQ(Counted::made, 0);
  Context context;
  use(context);
  EXPECT_EQ(measured, context.workspace().peak_bytes());
}

struct Zeroed {
  std::int64_t value = 7;
};

TEST(Frame, ValueInitialisesWhatHasAConstructorAlone) {
  Workspace workspace;
  for (int i = 0; i < 2; ++i) {
    Frame frame(workspace);
    const TensorView<Zeroed, 1> a = frame.tensor<Zeroed>({9});
    for (Index j = 0; j < 9; ++j) EXPECT_EQ(a[j].value, 7);
    a.fill({3});
  }
}
}  // namespace
