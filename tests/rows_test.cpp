// Rows: which tensors and views a row-wise layer takes, and that it reads them where they lie.

#include <Eigen/Core>

#include <attend/rows.hpp>

#include "support.hpp"

namespace {

using namespace attend;
using attend_test::error_of;
using attend_test::random_tensor;
using testing::AllOf;
using testing::HasSubstr;

static_assert(std::is_convertible_v<Tensor<float, 3>&, Rows<float>>);
static_assert(std::is_convertible_v<Tensor<float, 3>&, Rows<const float>>);
static_assert(std::is_convertible_v<const Tensor<float, 3>&, Rows<const float>>);
static_assert(std::is_convertible_v<TensorView<float, 5>, Rows<const float>>);
static_assert(std::is_convertible_v<TensorView<float, 1>, Rows<float>>);
static_assert(std::is_convertible_v<Rows<float>, Rows<const float>>);
static_assert(!std::is_convertible_v<const Tensor<float, 3>&, Rows<float>>);
static_assert(!std::is_convertible_v<Tensor<float, 3>, Rows<float>>);
static_assert(!std::is_convertible_v<TensorView<const float, 2>, Rows<float>>);
static_assert(!std::is_convertible_v<Rows<const float>, Rows<float>>);
static_assert(!std::is_convertible_v<Tensor<double, 2>&, Rows<const float>>);
static_assert(!std::is_convertible_v<TensorView<float, 0>, Rows<float>>);
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
// Expressions of Eigen's in memory can be written to where they are of what can; a matrix without a name
// cannot.
using Transposed = decltype(std::declval<Eigen::MatrixXf&>().transpose());
static_assert(std::is_convertible_v<Transposed, Rows<float>>);
static_assert(std::is_convertible_v<decltype(std::declval<Matrix&>().topRows(1)), Rows<float>>);
static_assert(std::is_convertible_v<Eigen::Map<Matrix>, Rows<float>>);
static_assert(
    !std::is_convertible_v<decltype(std::declval<const Eigen::MatrixXf&>().transpose()), Rows<float>>);
static_assert(!std::is_convertible_v<Eigen::Map<const Matrix>&, Rows<float>>);
static_assert(!std::is_convertible_v<const Transposed, Rows<float>>);
static_assert(!std::is_convertible_v<Matrix, Rows<float>>);
static_assert(std::is_convertible_v<Matrix, Rows<const float>>);
static_assert(std::is_convertible_v<const Matrix&, Rows<const float>> &&
              std::is_convertible_v<Matrix&, Rows<float>>);
static_assert(!std::is_convertible_v<const Matrix&, Rows<float>>);

/// The elements as rows and as the view has them.
template <int Rank>
void expect_rows(const TensorView<const float, Rank>& view) {
  const Rows<const float> rows(view);
  rows.check_input("test", view.size(Rank - 1));
  ASSERT_EQ(rows.count() * rows.width(), view.numel());
  EXPECT_TRUE(std::equal(view.shape().begin(), view.shape().end(), rows.shape().begin(), rows.shape().end()));
  const TensorView<const float, 2> matrix = view.rows();
  Index i = 0;
  view.for_each([&](const float& element) {
    EXPECT_EQ(&element, rows.row(i / rows.width()) + i % rows.width());
    EXPECT_EQ(&element, &matrix(i / rows.width(), i % rows.width()));
    ++i;
  });
}

TEST(Rows, AreTheElementsOfEveryEvenlySpacedView) {
  const Tensor<float, 4> t = random_tensor<float, 4>({3, 4, 5, 6});
  expect_rows<4>(t);
  expect_rows<4>(t.slice(3, 1, 4));
  expect_rows<4>(t.slice(0, 1, 3));
  expect_rows<4>(t.slice(0, 1, 2).slice(1, 1, 3));
  expect_rows<4>(t.slice(1, 1, 2).slice(0, 1, 2));
  expect_rows<4>(t.slice(2, 4, 5).slice(1, 0, 4));
  expect_rows<3>(t[2]);
  expect_rows<1>(t[2][1][3]);
  expect_rows<2>(t[2][1].slice(0, 0, 1));
  expect_rows<4>(t.view().slice(0, 0, 1).transpose(0, 1));
  for (const Shape<2>& empty : {Shape<2>{0, 6}, Shape<2>{3, 0}, Shape<2>{0, 0}})
    expect_rows<2>(TensorView<const float, 2>(t.data(), empty, {7, 1}));
}

TEST(Rows, BroadcastsAndNegativeStridesAreSpacings) {
  const Tensor<float, 1> t = random_tensor<float, 1>({400});
  expect_rows<3>(TensorView<const float, 3>(t.data(), {2, 5, 32}, {0, 0, 1}));
  expect_rows<3>(TensorView<const float, 3>(t.data(), {1, 5, 32}, {99, 0, 1}));
  expect_rows<3>(TensorView<const float, 3>(t.data(), {2, 1, 32}, {0, 7, 1}));
  expect_rows<2>(TensorView<const float, 2>(t.data(), {5, 32}, {3, 1}));
  expect_rows<3>(TensorView<const float, 3>(t.data() + 360, {2, 5, 32}, {-180, -36, 1}));
  expect_rows<3>(TensorView<const float, 3>(t.data(), {2, 5, 1}, {50, 10, 77}));
}

TEST(Rows, UnevenSpacingIsAnErrorThatSaysHowToCopy) {
  const Tensor<float, 3> t({4, 5, 32});
  const auto text_of = [](auto view) {
    return error_of([&] { Rows<const float>(view).check_input("Layer", 32); });
  };
  const auto is_refused = AllOf(HasSubstr("Layer"), HasSubstr("evenly spaced"), HasSubstr("Tensor(view)"),
                                HasSubstr("attend::copy"));
  for (const Shape<3>& strides :
       {Shape<3>{32, 0, 1}, Shape<3>{0, 32, 1}, Shape<3>{0, 1, 1}, Shape<3>{-160, 32, 1}}) {
    const TensorView<const float, 3> view(t.data() + 160, {2, 5, 32}, strides);
    EXPECT_THAT(text_of(view), is_refused);
    EXPECT_THAT(error_of([&] { view.rows(); }), AllOf(HasSubstr("evenly spaced"), HasSubstr("attend::copy")));
  }
  EXPECT_THAT(text_of(t.view().transpose(0, 1)), AllOf(is_refused, HasSubstr("[5, 4, 32]")));
  EXPECT_THAT(text_of(t.slice(1, 1, 3)), AllOf(is_refused, HasSubstr("[4, 2, 32]")));
  EXPECT_THAT(
      error_of([&] { Rows<const float>(t.view().transpose(1, 2)).check_input("Layer", 5); }),
      AllOf(HasSubstr("Layer"), HasSubstr("last axis must be contiguous"), HasSubstr("attend::copy")));
  EXPECT_THAT(text_of(t.slice(2, 0, 31)), AllOf(HasSubstr("Layer: expected [..., 32], got [4, 5, 31]")));
  Rows<const float>(t.slice(1, 1, 1)).check_input("Layer", 32);  // of nothing
  EXPECT_THAT(error_of([&] { Rows<const float>().check_input("Layer", 0); }), HasSubstr("Layer"));
}

TEST(Rows, OfAnOutputDoNotOverlapEachOther) {
  Tensor<float, 1> t({400});
  const Rows<const float> x(TensorView<const float, 2>(t.data(), {5, 8}));
  const auto check = [&](const Shape<2>& shape, const Shape<2>& strides) {
    Rows<float>(TensorView<float, 2>(t.data() + 200, shape, strides)).check_output("Layer", x.leading(), 32);
  };
  check({5, 32}, {32, 1});
  check({5, 32}, {40, 1});
  check({5, 32}, {-32, 1});
  for (const Index stride : {0, 1, 31, -31}) {
    EXPECT_THAT(error_of([&] {
                  check({5, 32}, {stride, 1});
                }),
                AllOf(HasSubstr("Layer"), HasSubstr("overlap each other")));
  }
  EXPECT_THAT(error_of([&] {
                check({4, 32}, {32, 1});
              }),
              HasSubstr("Layer (output): expected [5, 32], got [4, 32]"));
  EXPECT_THAT(error_of([&] {
                check({5, 31}, {32, 1});
              }),
              HasSubstr("Layer (output): expected [5, 32], got [5, 31]"));
  const TensorView<float, 3> deeper(t.data(), {1, 5, 32});
  EXPECT_THAT(error_of([&] { Rows<float>(deeper).check_output("Layer", x.leading(), 32); }),
              HasSubstr("expected [5, 32], got [1, 5, 32]"));
  const Rows<const float> one(TensorView<const float, 1>(t.data(), {8}));
  Rows<float>(TensorView<float, 1>(t.data(), {32})).check_output("Layer", one.leading(), 32);
  Rows<float>(TensorView<float, 2>(t.data(), {1, 32}, {0, 1})).check_output("Layer", Shape<1>{1}, 32);
}

TEST(Rows, TakeEigensRowMajorMatrices) {
  Matrix m = Matrix::Random(4, 6);
  EXPECT_EQ(Rows<float>(m).row(2), &m(2, 0));
  const auto block = m.middleCols(1, 3);
  EXPECT_EQ(Rows<const float>(block).row(3), &m(3, 1));
  const Eigen::MatrixXf columns = m;
  EXPECT_THAT(error_of([&] { Rows<const float>(columns).check_input("Layer", 6); }), HasSubstr("contiguous"));
}

}  // namespace
