// Tensors that were moved from, assigned to themselves or failed to be made; sizes that a view refuses.
#include <limits>
#include <new>
#include <sstream>
#include <type_traits>
#include <utility>

#include <attend/tensor.hpp>

#include "support.hpp"

namespace {

using namespace attend;
using attend_test::error_of;
using testing::HasSubstr;

template <class T, int Rank, class... I>
concept HasElement = requires(Tensor<T, Rank>& t, const Tensor<T, Rank>& c, TensorView<T, Rank> v, I... i) {
  t.at(i...);
  c.at(i...);
  t(i...);
  v.at(i...);
};
static_assert(HasElement<float, 2, int, long> && !HasElement<float, 2, int> &&
              !HasElement<float, 2, int, int, int>);
static_assert(std::is_nothrow_move_constructible_v<Tensor<float, 2>> &&
              std::is_nothrow_move_assignable_v<Tensor<float, 2>>);

TEST(TensorMove, MovedFromIsEmpty) {
  Tensor<float, 2> a({2, 3}, 1.0f);
  const Tensor<float, 2> b = std::move(a);
  EXPECT_EQ(a.shape(), (Shape<2>{0, 0}));
  EXPECT_TRUE(a.empty() && a.view().empty());
  EXPECT_EQ(a.numel(), 0);
  EXPECT_TRUE((Tensor<float, 2>(a.view()).empty()));
  EXPECT_TRUE((Tensor<float, 2>(a)).empty());
  std::ostringstream text;
  text << a;
  EXPECT_EQ(text.str(), "[]");
  EXPECT_EQ(b.shape(), (Shape<2>{2, 3}));
  EXPECT_EQ(b(1, 2), 1.0f);
}

TEST(TensorMove, MovedFromTakesNewValues) {
  Tensor<float, 2> a({2, 3}, 1.0f), b;
  b = std::move(a);
  EXPECT_EQ(a.shape(), (Shape<2>{0, 0}));
  a = Tensor<float, 2>({1, 4}, 2.0f);
  EXPECT_EQ(a(0, 3), 2.0f);
  EXPECT_EQ(b(1, 2), 1.0f);
}

TEST(TensorMove, ScalarTensorKeepsAnElement) {
  Tensor<float, 0> a({}, 3.0f);
  const Tensor<float, 0> b = std::move(a);
  EXPECT_EQ(b(), 3.0f);
  EXPECT_EQ(a.numel(), 1);
  EXPECT_EQ(a(), 0.0f);
}

TEST(TensorMove, SelfAssignmentChangesNothing) {
  Tensor<float, 2> a({2, 3}, 1.0f);
  Tensor<float, 2>& same = a;
  a = std::move(same);
  EXPECT_EQ(a.shape(), (Shape<2>{2, 3}));
  a = same;
  EXPECT_EQ(a(1, 2), 1.0f);
}

/// Throws when it is copied for the time of `armed`.
struct Fragile {
  static inline int armed = -1;
  int value = 0;
  Fragile() = default;
  explicit Fragile(int v) : value(v) {}
  Fragile(const Fragile& other) : value(other.value) {
    if (armed >= 0 && armed-- == 0) throw std::bad_alloc();
  }
  Fragile& operator=(const Fragile&) = default;
};

TEST(TensorMove, FailedAssignmentChangesNothing) {
  Tensor<Fragile, 1> a({3}, Fragile(1));
  const Tensor<Fragile, 1> b({5}, Fragile(2));
  Fragile::armed = 2;
  EXPECT_THROW(a = b, std::bad_alloc);
  Fragile::armed = -1;
  EXPECT_EQ(a.shape(), (Shape<1>{3}));
  EXPECT_EQ(a(2).value, 1);
}

TEST(TensorViewSizes, NegativeOrTooLargeIsAnError) {
  float data[8] = {};
  constexpr Index kMax = std::numeric_limits<Index>::max();
  EXPECT_THAT(error_of([&] {
                TensorView<float, 2>(data, {-1, 2});
              }),
              HasSubstr("negative size in shape [-1, 2]"));
  EXPECT_THAT(error_of([&] {
                TensorView<float, 2>(data, {2, -1}, {1, 1});
              }),
              HasSubstr("negative size in shape [2, -1]"));
  EXPECT_THAT(error_of([&] { TensorView<float, 2>(data, {kMax, 2}, {0, 1}); }), HasSubstr("more elements"));
  EXPECT_THAT(error_of([&] {
                TensorView<float, 1>(data, {8}).reshape<2>({kMax, kMax});
              }),
              HasSubstr("more elements"));
  EXPECT_THAT(error_of([&] {
                TensorView<float, 1>(data, {8}).reshape<2>({-1, -1});
              }),
              HasSubstr("negative size"));
  EXPECT_THAT(error_of([&] {
                TensorView<float, 1>(data, {8}).reshape<2>({-2, -4});
              }),
              HasSubstr("negative size"));
  EXPECT_THAT(error_of([&] { TensorView<float, 1>(data, {8}).slice(0, 2, kMax); }), HasSubstr("slice"));
  EXPECT_THAT(error_of([&] { TensorView<float, 1>(data, {8}).slice(0, -kMax, 2); }), HasSubstr("slice"));
  EXPECT_THAT(error_of([] {
                const Tensor<float, 3> none;
                none.slice(3, 0, 0);
              }),
              HasSubstr("axis 3"));
  EXPECT_EQ((Tensor<float, 3>().size(0)), 0);
}

}  // namespace
