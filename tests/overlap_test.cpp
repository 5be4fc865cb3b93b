// Views that share elements: exactly found where rows are evenly spaced, an error of every layer that would
// write where it reads.
#include <algorithm>
#include <set>

#include <attend/core/overlap.hpp>
#include <attend/tensor.hpp>

#include "support.hpp"

namespace {

using namespace attend;
using attend_test::error_of;
using attend_test::Random;
using attend_test::random_tensor;
using testing::HasSubstr;

template <int Rank>
std::multiset<const float*> places(const TensorView<float, Rank>& view) {
  std::multiset<const float*> result;
  view.for_each([&](float& element) { result.insert(&element); });
  return result;
}
template <int Rank>
bool share(const TensorView<float, Rank>& a, const TensorView<float, Rank>& b) {
  const auto of_a = places(a);
  bool any = false;
  b.for_each([&](float& element) { any = any || of_a.count(&element) > 0; });
  return any;
}

float buffer[4000];

TEST(Overlap, IsExactForEvenlySpacedRows) {
  Random random(1);
  int shared = 0, interleaved = 0;
  for (int round = 0; round < 20000; ++round) {
    const auto draw = [&] {
      const Index stride = round % 2 == 0 ? 12 : random.integer(-14, 14);
      return TensorView<float, 2>(buffer + 2000 + random.integer(0, 40),
                                  {random.integer(0, 5), random.integer(0, 7)}, {stride, 1});
    };
    const TensorView<float, 2> a = draw(), b = draw();
    const bool expected = share(a, b);
    ASSERT_EQ(detail::overlap(a, b), expected)
        << to_string(a.shape()) << to_string(a.strides()) << " at " << a.data() - buffer << ", "
        << to_string(b.shape()) << to_string(b.strides()) << " at " << b.data() - buffer;
    ASSERT_EQ(detail::overlap(b, a), expected);
    shared += expected;
    const detail::Layout x(a), y(b);
    interleaved += !expected && x.begin < y.end && y.begin < x.end;
  }
  EXPECT_GT(shared, 3000);
  EXPECT_GT(interleaved, 1000);
}

TEST(Overlap, MissesNothingOfOtherViews) {
  Random random(2);
  for (int round = 0; round < 20000; ++round) {
    const auto draw = [&] {
      Shape<4> shape, strides;
      for (Index& size : shape) size = random.integer(1, 3);
      for (Index& stride : strides) stride = random.integer(-9, 9) * (round % 3 == 0 ? 3 : 1);
      return TensorView<float, 4>(buffer + 2000 + random.integer(0, 30), shape, strides);
    };
    const TensorView<float, 4> a = draw(), b = draw();
    if (share(a, b)) {
      ASSERT_TRUE(detail::overlap(a, b));
    }
    const auto of_a = places(a);
    const bool twice = std::adjacent_find(of_a.begin(), of_a.end()) != of_a.end();
    if (twice) {
      ASSERT_TRUE(detail::overlaps_itself(a)) << to_string(a.shape()) << to_string(a.strides());
    }
  }
}

TEST(Overlap, HeadsOfColumnsOfOneBufferAreRows) {
  constexpr Index B = 2, T = 5, H = 3, D = 4, E = H * D;
  const auto heads_at = [](Index column) {
    return TensorView<float, 4>(buffer + column, {B, H, T, D}, {T * 4 * E, D, 4 * E, 1});
  };
  EXPECT_FALSE(detail::overlaps_itself(heads_at(0)));
  for (Index a = 0; a < 4; ++a)
    for (Index b = 0; b < 4; ++b) EXPECT_EQ(detail::overlap(heads_at(a * E), heads_at(b * E)), a == b);
  EXPECT_TRUE(detail::overlap(heads_at(0), heads_at(E - 1)));
}

TEST(Overlap, NothingIsSharedWithNothing) {
  const TensorView<float, 2> some(buffer, {4, 4}), none(buffer, {4, 0}, {4, 1}), null(nullptr, {4, 4});
  EXPECT_FALSE(detail::overlap(some, none));
  EXPECT_FALSE(detail::overlap(none, some));
  EXPECT_FALSE(detail::overlap(null, null));
  EXPECT_TRUE(detail::overlap(some, some));
}

TEST(Copy, RefusesWhatOverlaps) {
  Tensor<float, 2> t = random_tensor<float, 2>({6, 8});
  const Tensor<float, 2> before = t;
  EXPECT_THAT(error_of([&] { copy(t.slice(0, 0, 5), t.slice(0, 1, 6)); }),
              HasSubstr("copy: source and destination overlap"));
  EXPECT_THAT(error_of([&] { copy(t.slice(1, 0, 4), t.slice(1, 3, 7)); }), HasSubstr("overlap"));
  const TensorView<float, 2> square(t.data(), {6, 6}, {8, 1});
  EXPECT_THAT(error_of([&] { copy(square, square.transpose(0, 1)); }), HasSubstr("overlap"));
  EXPECT_THAT(error_of([&] {
                copy(TensorView<const float, 2>(before), TensorView<float, 2>(t.data(), {6, 8}, {0, 1}));
              }),
              HasSubstr("overlap each other"));
  EXPECT_EQ(std::vector<float>(t.span().begin(), t.span().end()),
            std::vector<float>(before.span().begin(), before.span().end()));
  copy(t.view(), t.view());
  copy(t.slice(1, 0, 4), t.slice(1, 4, 8));
  EXPECT_EQ(t(5, 7), before(5, 3));
  copy(TensorView<const float, 2>(before.data(), {6, 8}, {0, 1}), t.view());
  EXPECT_EQ(t(5, 7), before(0, 7));
}

}  // namespace
