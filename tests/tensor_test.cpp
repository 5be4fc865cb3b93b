// Tensor and TensorView: where each element lies, conversions from and to Eigen, and the text of errors.

#include <complex>
#include <cstdint>

#include <attend/tensor.hpp>

#include "support.hpp"

using attend::Index;
using attend::Shape;
using attend::Tensor;
using attend::TensorView;
using attend_test::error_of;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

/// 0, 1, 2, … in row-major order.
template <class T = float, std::size_t Rank>
Tensor<T, static_cast<int>(Rank)> counting(const std::array<Index, Rank>& shape) {
  Tensor<T, static_cast<int>(Rank)> t(shape);
  Index next = 0;
  for (T& x : t.span()) x = static_cast<T>(next++);
  return t;
}

template <class T, int Rank>
auto elements(const TensorView<T, Rank>& view) {
  std::vector<std::remove_const_t<T>> all;
  view.for_each([&](const T& x) { all.push_back(x); });
  return all;
}

template <class T>
std::string printed(const T& x) {
  std::ostringstream out;
  out << x;
  return out.str();
}

}  // namespace

TEST(Tensor, IsRowMajorZeroAndAligned) {
  for (Index n : {1, 2, 3, 5, 16, 17, 100}) {
    const Tensor<float, 2> t({n, 3});
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.data()) % 64, 0u);
    for (float x : t.span()) EXPECT_EQ(x, 0.0f);
  }
  Tensor<double, 3> t = counting<double>(Shape<3>{2, 3, 4});
  EXPECT_EQ(t.numel(), 24);
  EXPECT_THAT(t.shape(), ElementsAre(2, 3, 4));
  EXPECT_EQ(t.size(2), 4);
  EXPECT_THAT(t.view().strides(), ElementsAre(12, 4, 1));
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 3; ++j)
      for (Index k = 0; k < 4; ++k) {
        EXPECT_EQ(t(i, j, k), static_cast<double>((i * 3 + j) * 4 + k));
        EXPECT_EQ(&t(i, j, k), t.data() + (i * 3 + j) * 4 + k);
        EXPECT_EQ(&t[i][j][k], &t(i, j, k));
        EXPECT_EQ(&t.at(i, j, k), &t(i, j, k));
      }
  t(1, 2, 3) = -1;
  EXPECT_EQ(t.span().back(), -1);
  EXPECT_EQ((Tensor<int, 1>({3}, 7)[2]), 7);
}

TEST(Tensor, OfRankZeroIsOneElement) {
  Tensor<float, 0> t;
  EXPECT_EQ(t.numel(), 1);
  t() = 5;
  EXPECT_EQ(t.view()(), 5);
  EXPECT_EQ(printed(t), "5");
  EXPECT_EQ(t.reshape<2>({1, 1})(0, 0), 5);
}

TEST(Tensor, CopiesOwnTheirElementsAndMovesKeepThem) {
  Tensor<float, 2> a = counting(Shape<2>{2, 2});
  Tensor<float, 2> b = a;
  b(0, 0) = 9;
  EXPECT_EQ(a(0, 0), 0);
  const float* data = b.data();
  Tensor<float, 2> c = std::move(b);
  EXPECT_EQ(c.data(), data);
  a = c;
  EXPECT_EQ(a(0, 0), 9);
  EXPECT_NE(a.data(), c.data());
  TensorView<float, 2> view = a, same = view;
  same(1, 1) = 4;
  EXPECT_EQ(a(1, 1), 4);
}

TEST(Tensor, DefaultAndMovedFromTensorsCanBeAssigned) {
  Tensor<float, 2> none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.numel(), 0);
  Tensor<float, 2> a = counting(Shape<2>{2, 2});
  const Tensor<float, 2> b = std::move(a);
  a = Tensor<float, 2>({3, 1});
  EXPECT_THAT(a.shape(), ElementsAre(3, 1));
  EXPECT_EQ(b(1, 1), 3);
}

TEST(Tensor, IsMadeOfNestedLists) {
  const auto t = Tensor<float, 2>::of({{1, 2, 3}, {4, 5, 6}});
  EXPECT_THAT(t.shape(), ElementsAre(2, 3));
  EXPECT_EQ(t(0, 2), 3);
  EXPECT_EQ(t(1, 0), 4);
  const auto cube = Tensor<int, 3>::of({{{1}, {2}}, {{3}, {4}}, {{5}, {6}}});
  EXPECT_THAT(cube.shape(), ElementsAre(3, 2, 1));
  EXPECT_EQ(cube(2, 1, 0), 6);
  EXPECT_THAT((Tensor<int, 1>::of({}).shape()), ElementsAre(0));
  EXPECT_THAT((Tensor<int, 2>::of({{}, {}}).shape()), ElementsAre(2, 0));
  EXPECT_EQ((Tensor<double, 0>::of(2.5)()), 2.5);
  const std::string text = error_of([] { (void)Tensor<int, 2>::of({{1, 2}, {3}}); });
  EXPECT_THAT(text, HasSubstr("2"));
  EXPECT_THAT(text, HasSubstr("1"));
  EXPECT_THROW(((void)Tensor<int, 2>::of({{1}, {2, 3}})), attend::Error);
  EXPECT_THROW(((void)Tensor<int, 3>::of({{{1}}, {{2}, {3}}})), attend::Error);
}

TEST(Tensor, IsMadeOfSpansOfItsSize) {
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const Tensor<float, 2> t({2, 3}, values);
  EXPECT_EQ(t(1, 0), 4);
  const TensorView<const float, 2> view(std::span<const float>(values), {3, 2});
  EXPECT_EQ(view(2, 1), 6);
  EXPECT_EQ(view.data(), values.data());
  std::vector<float> mutable_values = values;
  const TensorView<float, 1> writable(std::span<float>(mutable_values), {6});
  writable[3] = 0;
  EXPECT_EQ(mutable_values[3], 0);
  const TensorView<const float, 1> widened(std::span<float>(mutable_values), {6});
  EXPECT_EQ(widened(0), 1);
  EXPECT_EQ(t.view().span().size(), 6);

  std::string text = error_of([&] { Tensor<float, 2>({2, 2}, values); });
  EXPECT_THAT(text, HasSubstr("[2, 2]"));
  EXPECT_THAT(text, HasSubstr("[6]"));
  text = error_of([&] { TensorView<const float, 2>(std::span<const float>(values), {7, 1}); });
  EXPECT_THAT(text, HasSubstr("[7, 1]"));
  EXPECT_THAT(text, HasSubstr("[6]"));
  // A shape whose product would wrap to 6 is no shape of 6 elements.
  EXPECT_THROW((TensorView<const float, 3>(std::span<const float>(values), {Index{1} << 62, 4, 6})),
               attend::Error);
}

template <class T>
class TensorAndEigen : public testing::Test {};
using EigenScalars = testing::Types<float, double, int, std::complex<double>>;
TYPED_TEST_SUITE(TensorAndEigen, EigenScalars);

TYPED_TEST(TensorAndEigen, ConvertToEachOther) {
  using T = TypeParam;
  using ColumnMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
  using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  ColumnMajor columns(4, 5);
  for (Index i = 0; i < 4; ++i)
    for (Index j = 0; j < 5; ++j) columns(i, j) = static_cast<T>(static_cast<double>(10 * i + j));
  RowMajor rows = columns;

  const auto check = [](const auto& view, auto&& expected) {
    ASSERT_THAT(view.shape(), ElementsAre(expected.rows(), expected.cols()));
    for (Index i = 0; i < expected.rows(); ++i)
      for (Index j = 0; j < expected.cols(); ++j) EXPECT_EQ(view(i, j), expected(i, j));
  };
  // Owned copies, of matrices and of expressions.
  check(Tensor<T, 2>(columns), columns);
  check(Tensor<T, 2>(rows), columns);
  check(Tensor<T, 2>(columns.transpose()), ColumnMajor(columns.transpose()));
  check(Tensor<T, 2>(columns.block(1, 2, 2, 3)), ColumnMajor(columns.block(1, 2, 2, 3)));
  check(Tensor<T, 2>(columns + columns), ColumnMajor(columns + columns));

  // Views: nothing is copied.
  TensorView<T, 2> of_columns(columns), of_rows(rows);
  check(of_columns, columns);
  check(of_rows, columns);
  EXPECT_EQ(of_columns.data(), columns.data());
  EXPECT_THAT(of_columns.strides(), ElementsAre(1, 4));
  EXPECT_THAT(of_rows.strides(), ElementsAre(5, 1));
  EXPECT_FALSE(of_columns.is_contiguous());
  EXPECT_TRUE(of_rows.is_contiguous());
  of_columns(3, 4) = T(-7);
  EXPECT_EQ(columns(3, 4), T(-7));

  const ColumnMajor& fixed = columns;
  check(TensorView<const T, 2>(fixed), columns);
  check(TensorView<const T, 2>(fixed.block(1, 1, 3, 2)), ColumnMajor(columns.block(1, 1, 3, 2)));
  check(TensorView<const T, 2>(fixed.transpose()), ColumnMajor(columns.transpose()));
  auto row_block = rows.block(1, 2, 3, 3);
  TensorView<T, 2> writable_block(row_block);
  EXPECT_THAT(writable_block.strides(), ElementsAre(5, 1));
  writable_block(0, 0) = T(99);
  EXPECT_EQ(rows(1, 2), T(99));
  Eigen::Map<ColumnMajor, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> spaced(
      columns.data(), 2, 2, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(8, 2));
  TensorView<T, 2> of_spaced(spaced);
  check(of_spaced, ColumnMajor(spaced));
  EXPECT_THAT(of_spaced.strides(), ElementsAre(2, 8));

  // Back: maps of tensors and of strided views can be read and written.
  Tensor<T, 2> t(rows);
  EXPECT_EQ(ColumnMajor(t.matrix()), ColumnMajor(rows));
  t.matrix() *= T(2);
  EXPECT_EQ(t(1, 2), T(198));
  t.matrix().row(0) = columns.row(3);
  EXPECT_EQ(t(0, 4), T(-7));
  const Tensor<T, 2>& constant = t;
  EXPECT_EQ(constant.matrix()(0, 4), T(-7));
  EXPECT_EQ(ColumnMajor(of_columns.matrix()), columns);
  EXPECT_EQ(ColumnMajor(of_columns.transpose(0, 1).matrix()), ColumnMajor(columns.transpose()));
}

TEST(TensorView, SeesEigenVectorsAndFixedSizeMatrices) {
  Eigen::Matrix<float, 2, 3> fixed;
  fixed << 1, 2, 3, 4, 5, 6;
  TensorView<float, 2> view(fixed);
  EXPECT_EQ(view(1, 0), 4);
  Eigen::VectorXf vector = Eigen::VectorXf::LinSpaced(5, 0, 4);
  TensorView<float, 2> column(vector);
  EXPECT_THAT(column.shape(), ElementsAre(5, 1));
  EXPECT_EQ(column(3, 0), 3);
  Eigen::RowVectorXf row_vector = vector.transpose();
  TensorView<float, 2> row(row_vector);
  EXPECT_THAT(row.shape(), ElementsAre(1, 5));
  EXPECT_EQ(row(0, 3), 3);
  EXPECT_EQ((Tensor<float, 2>(Eigen::Matrix2f::Identity())(1, 1)), 1);
}

TEST(TensorView, GivesMatricesOfItsLastTwoAxes) {
  const Tensor<float, 4> t = counting(Shape<4>{2, 3, 4, 5});
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 3; ++h) {
      const auto m = t.matrix(b, h);
      ASSERT_EQ(m.rows(), 4);
      ASSERT_EQ(m.cols(), 5);
      for (Index i = 0; i < 4; ++i)
        for (Index j = 0; j < 5; ++j) EXPECT_EQ(m(i, j), t(b, h, i, j));
    }
  const auto heads = t.view().transpose(1, 2);  // [2, 4, 3, 5]
  EXPECT_EQ(heads.matrix(1, 2)(1, 4), t(1, 1, 2, 4));
  const Tensor<float, 1> line = counting(Shape<1>{6});
  EXPECT_EQ(line.matrix().rows(), 1);
  EXPECT_EQ(line.matrix()(0, 5), 5);
  EXPECT_EQ(t.view().slice(3, 1, 4).matrix(0, 1)(2, 2), t(0, 1, 2, 3));
}

TEST(TensorView, SlicesSeeTheElementsOfTheirRange) {
  Tensor<int, 3> t = counting<int>(Shape<3>{3, 4, 5});
  const auto part = t.slice(1, 1, 3);
  EXPECT_THAT(part.shape(), ElementsAre(3, 2, 5));
  EXPECT_EQ(part(2, 1, 4), t(2, 2, 4));
  EXPECT_FALSE(part.is_contiguous());
  EXPECT_TRUE(t.slice(0, 1, 3).is_contiguous());
  EXPECT_TRUE(t.slice(0, 3, 3).empty());
  part(0, 0, 0) = 100;
  EXPECT_EQ(t(0, 1, 0), 100);
}

TEST(TensorView, TransposeSwapsShapeAndStrides) {
  const Tensor<int, 3> t = counting<int>(Shape<3>{3, 4, 5});
  const auto turned = t.view().transpose(0, 2);
  EXPECT_THAT(turned.shape(), ElementsAre(5, 4, 3));
  EXPECT_EQ(turned(4, 1, 2), t(2, 1, 4));
  EXPECT_FALSE(turned.is_contiguous());
  EXPECT_TRUE(turned.transpose(0, 2).is_contiguous());
  const Tensor<int, 3> owned(turned);
  EXPECT_TRUE(owned.view().is_contiguous());
  EXPECT_EQ(owned(4, 1, 2), t(2, 1, 4));
  EXPECT_EQ(elements(turned[1]).front(), t(0, 0, 1));
}

TEST(TensorView, RowsJoinAllAxesButTheLast) {
  Tensor<int, 3> t = counting<int>(Shape<3>{3, 4, 5});
  const auto rows = t.view().rows();
  EXPECT_THAT(rows.shape(), ElementsAre(12, 5));
  EXPECT_EQ(&rows(7, 3), &t(1, 3, 3));
  const auto narrow = t.slice(2, 1, 4).rows();  // gaps between rows are no gaps between their beginnings
  EXPECT_THAT(narrow.shape(), ElementsAre(12, 3));
  EXPECT_EQ(&narrow(7, 0), &t(1, 3, 1));
  EXPECT_EQ(&t.view()[2].rows()(3, 1), &t(2, 3, 1));
  EXPECT_THAT(t.view()[1][2].rows().shape(), ElementsAre(1, 5));
  EXPECT_EQ(&t.slice(1, 2, 3).rows()(2, 4), &t(2, 2, 4));
  EXPECT_EQ(&t.slice(0, 2, 3).rows()(3, 4), &t(2, 3, 4));
  EXPECT_EQ(&t.slice(0, 2, 3).slice(1, 1, 2).rows()(0, 4), &t(2, 1, 4));
  const std::string text = error_of([&] { t.slice(1, 0, 2).rows(); });
  EXPECT_THAT(text, HasSubstr("[3, 2, 5]"));
  EXPECT_THAT(text, HasSubstr("[20, 5, 1]"));
  EXPECT_THAT(t.slice(1, 0, 0).rows().shape(), ElementsAre(0, 5));
}

TEST(TensorView, ReshapeKeepsTheOrderOfElements) {
  Tensor<int, 3> t = counting<int>(Shape<3>{3, 4, 5});
  EXPECT_EQ(t.reshape<2>({12, 5})(7, 3), t(1, 3, 3));
  EXPECT_THAT(t.reshape<4>({3, 2, 2, -1}).shape(), ElementsAre(3, 2, 2, 5));
  EXPECT_THAT(t.reshape<1>({-1}).shape(), ElementsAre(60));
  EXPECT_EQ(t.reshape<1>({-1}).data(), t.data());
  EXPECT_EQ(t.slice(0, 1, 3).reshape<2>({-1, 10})(3, 9), t(2, 3, 4));
  std::string text = error_of([&] { t.reshape<2>({7, 9}); });
  EXPECT_THAT(text, HasSubstr("[3, 4, 5]"));
  EXPECT_THAT(text, HasSubstr("[7, 9]"));
  EXPECT_THAT(error_of([&] { t.reshape<2>({7, -1}); }), HasSubstr("[7, -1]"));
  EXPECT_THROW(t.reshape<2>({-1, -1}), attend::Error);
  EXPECT_THROW(t.reshape<2>({-2, -30}), attend::Error);
  EXPECT_THROW(t.reshape<2>({0, -1}), attend::Error);
  EXPECT_THROW(t.reshape<3>({Index{1} << 62, 4, 60}), attend::Error);
  text = error_of([&] { t.view().transpose(0, 1).reshape<1>({60}); });
  EXPECT_THAT(text, HasSubstr("[4, 3, 5]"));
  Tensor<int, 2> none({0, 4});
  EXPECT_TRUE(none.reshape<3>({2, 0, 7}).empty());
  EXPECT_THAT(none.reshape<2>({-1, 4}).shape(), ElementsAre(0, 4));
}

TEST(Tensor, MayHaveNoElements) {
  for (const Shape<3>& shape : {Shape<3>{0, 2, 3}, Shape<3>{2, 0, 3}, Shape<3>{2, 3, 0}, Shape<3>{0, 0, 0}}) {
    const Tensor<float, 3> t(shape);
    EXPECT_TRUE(t.empty());
    EXPECT_EQ(t.numel(), 0);
    EXPECT_TRUE(t.view().is_contiguous());
    EXPECT_TRUE(t.view().span().empty());
    EXPECT_TRUE(t.view().transpose(0, 1).is_contiguous());
    EXPECT_THAT(t.view().rows().shape(), ElementsAre(shape[0] * shape[1], shape[2]));
    EXPECT_TRUE(elements(t.view()).empty());
    EXPECT_EQ((Tensor<float, 3>(t.view()).shape()), shape);
  }
  EXPECT_THAT((Tensor<float, 2>(Eigen::MatrixXf(0, 3)).shape()), ElementsAre(0, 3));
  const Tensor<float, 2> none({3, 0});
  EXPECT_EQ(none.matrix().rows(), 3);
}

// No address comes of null and an offset: undefined behaviour, and what is not null would be read.
TEST(TensorView, PartsOfAViewWithoutDataHaveNone) {
  const TensorView<float, 3> none(nullptr, {5, 4, 3});
  EXPECT_EQ(none[2].data(), nullptr);
  EXPECT_EQ(none[2][1].data(), nullptr);
  EXPECT_EQ(none.slice(1, 2, 4).data(), nullptr);
  EXPECT_EQ(none.matrix(3).data(), nullptr);
  const Tensor<float, 3> empty({2, 5, 0});
  EXPECT_EQ(empty.view()[1].data(), nullptr);
  EXPECT_EQ(empty.view().slice(1, 2, 4).data(), nullptr);
  EXPECT_EQ(empty.view().rows().stride(0), 0);
}

TEST(Tensor, RefusesSizesThatAreNegativeOrDoNotFit) {
  const Index huge = Index{1} << 40;
  std::string text = error_of([] { Tensor<float, 2>({3, -1}); });
  EXPECT_THAT(text, HasSubstr("[3, -1]"));
  text = error_of([&] { Tensor<float, 2>({huge, huge}); });
  EXPECT_THAT(text, HasSubstr(attend::to_string(Shape<2>{huge, huge})));
  // Elements that can be counted, but whose bytes cannot.
  EXPECT_THROW((Tensor<float, 1>({std::numeric_limits<Index>::max() / 2})), attend::Error);
  EXPECT_THROW((Tensor<float, 3>({huge, 0, huge})), attend::Error);
  EXPECT_THROW((TensorView<float, 2>(nullptr, {huge, huge})), attend::Error);
  EXPECT_EQ(attend::detail::checked_numel(Shape<3>{2, 3, 4}), 24);
  EXPECT_EQ(attend::detail::checked_numel(Shape<0>{}), 1);
  EXPECT_EQ(attend::detail::checked_numel(Shape<1>{std::numeric_limits<Index>::max()}),
            std::numeric_limits<Index>::max());
}

TEST(TensorView, NamesIndicesOutsideOfItsShape) {
  Tensor<float, 2> t({2, 3});
  EXPECT_EQ(&t.at(1, 2), &t(1, 2));
  for (const Shape<2>& index : {Shape<2>{2, 0}, Shape<2>{0, 3}, Shape<2>{-1, 0}, Shape<2>{0, -1}}) {
    const std::string text = error_of([&] { t.at(index[0], index[1]); });
    EXPECT_THAT(text, HasSubstr(attend::to_string(index)));
    EXPECT_THAT(text, HasSubstr("[2, 3]"));
  }
  EXPECT_THROW((void)t.size(2), attend::Error);
  EXPECT_THROW((void)t.size(-1), attend::Error);
  EXPECT_THROW((void)t.view().stride(2), attend::Error);
  EXPECT_THROW(t.view().transpose(0, 2), attend::Error);
  for (const Shape<2>& range : {Shape<2>{0, 4}, Shape<2>{-1, 2}, Shape<2>{2, 1}}) {
    const std::string text = error_of([&] { t.slice(1, range[0], range[1]); });
    EXPECT_THAT(text, HasSubstr(attend::to_string(range)));
    EXPECT_THAT(text, HasSubstr("[2, 3]"));
  }
  EXPECT_THROW(t.slice(2, 0, 1), attend::Error);
  EXPECT_THROW(t.slice(1, 0, 2).span(), attend::Error);
}

TEST(TensorView, CopyConvertsAndFollowsStrides) {
  const Tensor<double, 2> from = counting<double>(Shape<2>{3, 4});
  Tensor<float, 2> to({4, 3});
  attend::copy(from.view(), to.view().transpose(0, 1));
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 4; ++j) EXPECT_EQ(to(j, i), static_cast<float>(from(i, j)));
  Tensor<float, 0> scalar;
  attend::copy(Tensor<double, 0>(Shape<0>{}, 2.5), scalar);
  EXPECT_EQ(scalar(), 2.5f);
  const std::string text = error_of([&] { attend::copy(from.view(), to.view()); });
  EXPECT_THAT(text, HasSubstr("expected [4, 3], got [3, 4]"));
}

TEST(TensorView, OfConstElementsIsNotConvertedBack) {
  Tensor<float, 2> t = counting(Shape<2>{2, 2});
  const TensorView<const float, 2> view = t;
  const TensorView<const float, 2> from_mutable = t.view();
  EXPECT_EQ(view.data(), from_mutable.data());
  EXPECT_EQ(attend::const_view(t).data(), t.data());
  EXPECT_EQ(attend::const_view(t.view()).shape(), t.shape());
  EXPECT_EQ(attend::const_view(view)(1, 1), 3);
  static_assert(!std::is_convertible_v<TensorView<const float, 2>, TensorView<float, 2>>);
  static_assert(!std::is_convertible_v<const Tensor<float, 2>&, TensorView<float, 2>>);
  static_assert(!std::is_constructible_v<TensorView<float, 2>, const Eigen::MatrixXf&>);
  static_assert(!std::is_constructible_v<TensorView<float, 2>, Eigen::MatrixXd&>);
  static_assert(attend::TensorLike<Tensor<float, 2>> && attend::TensorLike<TensorView<const double, 3>>);
}

TEST(TensorView, FillAndForEachFollowStrides) {
  Tensor<int, 2> t({3, 4});
  t.slice(1, 1, 3).fill(5);
  EXPECT_THAT(elements(t.view()), ElementsAre(0, 5, 5, 0, 0, 5, 5, 0, 0, 5, 5, 0));
  t = counting<int>(Shape<2>{2, 3});
  EXPECT_THAT(elements(t.view().transpose(0, 1)), ElementsAre(0, 3, 1, 4, 2, 5));
}

TEST(Tensor, PrintsAsNestedListsAndShortensLongOnes) {
  EXPECT_EQ(printed(Tensor<int, 1>::of({1, 2, 3})), "[1, 2, 3]");
  EXPECT_EQ(printed(Tensor<int, 2>::of({{1, 2}, {3, 4}})), "[[1, 2],\n[3, 4]]");
  const auto square = Tensor<int, 2>::of({{1, 2}, {3, 4}});
  EXPECT_EQ(printed(square.transpose(0, 1)), "[[1, 3],\n[2, 4]]");
  EXPECT_EQ(printed(counting<int>(Shape<1>{8})), "[0, 1, 2, 3, 4, 5, 6, 7]");
  EXPECT_EQ(printed(counting<int>(Shape<1>{9})), "[0, 1, 2, ..., 6, 7, 8]");
  EXPECT_EQ(printed(counting<int>(Shape<1>{200})), "[0, 1, 2, ..., 197, 198, 199]");
  EXPECT_EQ(printed(counting<int>(Shape<2>{9, 1})), "[[0],\n[1],\n[2],\n...,\n[6],\n[7],\n[8]]");
  EXPECT_EQ(printed(Tensor<int, 1>()), "[]");
  EXPECT_EQ(printed(Tensor<std::uint8_t, 1>::of({65, 7})), "[65, 7]");
}

TEST(ErrorHandler, SeesTheTextAndMayLeaveInItsOwnWay) {
  struct Mine {
    std::string text;
  };
  attend::error_handler() = [](const char* message) { throw Mine{message}; };
  std::string text;
  try {
    Tensor<float, 1>({-4});
  } catch (const Mine& mine) {
    text = mine.text;
  }
  attend::error_handler() = nullptr;
  EXPECT_THAT(text, HasSubstr("[-4]"));
}
