// Tensor and TensorView: where each element lies, conversions from and to Eigen, and the text of errors.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <complex>
#include <cstdint>
#include <numeric>

#include <attend/tensor.hpp>

using attend::Index;
using attend::Shape;
using attend::Tensor;
using attend::TensorView;

namespace {

/// 0, 1, 2, … in row-major order.
template <class T = float, std::size_t Rank>
Tensor<T, static_cast<int>(Rank)> counting(const std::array<Index, Rank>& shape) {
  Tensor<T, static_cast<int>(Rank)> t(shape);
  Index next = 0;
  for (T& x : t.span()) x = static_cast<T>(next++);
  return t;
}

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const attend::Error& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

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

TEST_CASE("a tensor is row-major, zero and aligned") {
  for (Index n : {1, 2, 3, 5, 16, 17, 100}) {
    const Tensor<float, 2> t({n, 3});
    CHECK(reinterpret_cast<std::uintptr_t>(t.data()) % 64 == 0);
    for (float x : t.span()) CHECK(x == 0.0f);
  }
  Tensor<double, 3> t = counting<double>(Shape<3>{2, 3, 4});
  CHECK(t.numel() == 24);
  CHECK(t.shape() == Shape<3>{2, 3, 4});
  CHECK(t.size(2) == 4);
  CHECK(t.view().strides() == Shape<3>{12, 4, 1});
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 3; ++j)
      for (Index k = 0; k < 4; ++k) {
        CHECK(t(i, j, k) == static_cast<double>((i * 3 + j) * 4 + k));
        CHECK(&t(i, j, k) == t.data() + (i * 3 + j) * 4 + k);
        CHECK(&t[i][j][k] == &t(i, j, k));
        CHECK(&t.at(i, j, k) == &t(i, j, k));
      }
  t(1, 2, 3) = -1;
  CHECK(t.span().back() == -1);
  CHECK(Tensor<int, 1>({3}, 7).span()[2] == 7);
}

TEST_CASE("rank 0 is one element") {
  Tensor<float, 0> t;
  CHECK(t.numel() == 1);
  t() = 5;
  CHECK(t.view()() == 5);
  CHECK(printed(t) == "5");
  CHECK(t.reshape<2>({1, 1})(0, 0) == 5);
}

TEST_CASE("copies and moves") {
  Tensor<float, 2> a = counting(Shape<2>{2, 2});
  Tensor<float, 2> b = a;
  b(0, 0) = 9;
  CHECK(a(0, 0) == 0);
  const float* data = b.data();
  Tensor<float, 2> c = std::move(b);
  CHECK(c.data() == data);
  a = c;
  CHECK(a(0, 0) == 9);
  CHECK(a.data() != c.data());
  TensorView<float, 2> view = a, same = view;
  same(1, 1) = 4;
  CHECK(a(1, 1) == 4);
}

TEST_CASE("default and moved-from tensors") {
  Tensor<float, 2> none;
  CHECK(none.empty());
  CHECK(none.numel() == 0);
  Tensor<float, 2> a = counting(Shape<2>{2, 2});
  const Tensor<float, 2> b = std::move(a);
  a = Tensor<float, 2>({3, 1});
  CHECK(a.shape() == Shape<2>{3, 1});
  CHECK(b(1, 1) == 3);
}

TEST_CASE("nested lists") {
  const auto t = Tensor<float, 2>::of({{1, 2, 3}, {4, 5, 6}});
  CHECK(t.shape() == Shape<2>{2, 3});
  CHECK(t(0, 2) == 3);
  CHECK(t(1, 0) == 4);
  const auto cube = Tensor<int, 3>::of({{{1}, {2}}, {{3}, {4}}, {{5}, {6}}});
  CHECK(cube.shape() == Shape<3>{3, 2, 1});
  CHECK(cube(2, 1, 0) == 6);
  CHECK(Tensor<int, 1>::of({}).shape() == Shape<1>{0});
  CHECK(Tensor<int, 2>::of({{}, {}}).shape() == Shape<2>{2, 0});
  CHECK(Tensor<double, 0>::of(2.5)() == 2.5);
  const std::string text = error_of([] { (void)Tensor<int, 2>::of({{1, 2}, {3}}); });
  CHECK(contains(text, "2"));
  CHECK(contains(text, "1"));
  CHECK_FALSE(error_of([] { (void)Tensor<int, 2>::of({{1}, {2, 3}}); }).empty());
  CHECK_FALSE(error_of([] { (void)Tensor<int, 3>::of({{{1}}, {{2}, {3}}}); }).empty());
}

TEST_CASE("from and to spans") {
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const Tensor<float, 2> t({2, 3}, values);
  CHECK(t(1, 0) == 4);
  const TensorView<const float, 2> view(std::span<const float>(values), {3, 2});
  CHECK(view(2, 1) == 6);
  CHECK(view.data() == values.data());
  std::vector<float> mutable_values = values;
  const TensorView<float, 1> writable(std::span<float>(mutable_values), {6});
  writable[3] = 0;
  CHECK(mutable_values[3] == 0);
  const TensorView<const float, 1> widened(std::span<float>(mutable_values), {6});
  CHECK(widened(0) == 1);
  CHECK(t.view().span().size() == 6);

  std::string text = error_of([&] { Tensor<float, 2>({2, 2}, values); });
  CHECK(contains(text, "[2, 2]"));
  CHECK(contains(text, "[6]"));
  text = error_of([&] { TensorView<const float, 2>(std::span<const float>(values), {7, 1}); });
  CHECK(contains(text, "[7, 1]"));
  CHECK(contains(text, "[6]"));
  // A shape whose product would wrap to 6 is no shape of 6 elements.
  CHECK_FALSE(error_of([&] {
                TensorView<const float, 3>(std::span<const float>(values), {Index{1} << 62, 4, 6});
              }).empty());
}

TEST_CASE_TEMPLATE("from and to Eigen", T, float, double, int, std::complex<double>) {
  using ColumnMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
  using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  ColumnMajor columns(4, 5);
  for (Index i = 0; i < 4; ++i)
    for (Index j = 0; j < 5; ++j) columns(i, j) = static_cast<T>(static_cast<double>(10 * i + j));
  RowMajor rows = columns;

  const auto check = [](const auto& view, auto&& expected) {
    REQUIRE(view.shape() == Shape<2>{expected.rows(), expected.cols()});
    for (Index i = 0; i < expected.rows(); ++i)
      for (Index j = 0; j < expected.cols(); ++j) CHECK(view(i, j) == expected(i, j));
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
  CHECK(of_columns.data() == columns.data());
  CHECK(of_columns.strides() == Shape<2>{1, 4});
  CHECK(of_rows.strides() == Shape<2>{5, 1});
  CHECK_FALSE(of_columns.is_contiguous());
  CHECK(of_rows.is_contiguous());
  of_columns(3, 4) = T(-7);
  CHECK(columns(3, 4) == T(-7));

  const ColumnMajor& fixed = columns;
  check(TensorView<const T, 2>(fixed), columns);
  check(TensorView<const T, 2>(fixed.block(1, 1, 3, 2)), ColumnMajor(columns.block(1, 1, 3, 2)));
  check(TensorView<const T, 2>(fixed.transpose()), ColumnMajor(columns.transpose()));
  auto row_block = rows.block(1, 2, 3, 3);
  TensorView<T, 2> writable_block(row_block);
  CHECK(writable_block.strides() == Shape<2>{5, 1});
  writable_block(0, 0) = T(99);
  CHECK(rows(1, 2) == T(99));
  Eigen::Map<ColumnMajor, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> spaced(
      columns.data(), 2, 2, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(8, 2));
  TensorView<T, 2> of_spaced(spaced);
  check(of_spaced, ColumnMajor(spaced));
  CHECK(of_spaced.strides() == Shape<2>{2, 8});

  // Back: maps of tensors and of strided views can be read and written.
  Tensor<T, 2> t(rows);
  CHECK(ColumnMajor(t.matrix()) == ColumnMajor(rows));
  t.matrix() *= T(2);
  CHECK(t(1, 2) == T(198));
  t.matrix().row(0) = columns.row(3);
  CHECK(t(0, 4) == T(-7));
  const Tensor<T, 2>& constant = t;
  CHECK(constant.matrix()(0, 4) == T(-7));
  CHECK(ColumnMajor(of_columns.matrix()) == columns);
  CHECK(ColumnMajor(of_columns.transpose(0, 1).matrix()) == ColumnMajor(columns.transpose()));
}

TEST_CASE("Eigen vectors and fixed-size matrices") {
  Eigen::Matrix<float, 2, 3> fixed;
  fixed << 1, 2, 3, 4, 5, 6;
  TensorView<float, 2> view(fixed);
  CHECK(view(1, 0) == 4);
  Eigen::VectorXf vector = Eigen::VectorXf::LinSpaced(5, 0, 4);
  TensorView<float, 2> column(vector);
  CHECK(column.shape() == Shape<2>{5, 1});
  CHECK(column(3, 0) == 3);
  Eigen::RowVectorXf row_vector = vector.transpose();
  TensorView<float, 2> row(row_vector);
  CHECK(row.shape() == Shape<2>{1, 5});
  CHECK(row(0, 3) == 3);
  CHECK(Tensor<float, 2>(Eigen::Matrix2f::Identity())(1, 1) == 1);
}

TEST_CASE("matrices inside tensors") {
  const Tensor<float, 4> t = counting(Shape<4>{2, 3, 4, 5});
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 3; ++h) {
      const auto m = t.matrix(b, h);
      REQUIRE(m.rows() == 4);
      REQUIRE(m.cols() == 5);
      for (Index i = 0; i < 4; ++i)
        for (Index j = 0; j < 5; ++j) CHECK(m(i, j) == t(b, h, i, j));
    }
  const auto heads = t.view().transpose(1, 2);  // [2, 4, 3, 5]
  CHECK(heads.matrix(1, 2)(1, 4) == t(1, 1, 2, 4));
  const Tensor<float, 1> line = counting(Shape<1>{6});
  CHECK(line.matrix().rows() == 1);
  CHECK(line.matrix()(0, 5) == 5);
  CHECK(t.view().slice(3, 1, 4).matrix(0, 1)(2, 2) == t(0, 1, 2, 3));
}

TEST_CASE("slices, transposed views and rows") {
  Tensor<int, 3> t = counting<int>(Shape<3>{3, 4, 5});
  const auto part = t.slice(1, 1, 3);
  CHECK(part.shape() == Shape<3>{3, 2, 5});
  CHECK(part(2, 1, 4) == t(2, 2, 4));
  CHECK_FALSE(part.is_contiguous());
  CHECK(t.slice(0, 1, 3).is_contiguous());
  CHECK(t.slice(0, 3, 3).empty());
  part(0, 0, 0) = 100;
  CHECK(t(0, 1, 0) == 100);

  const auto turned = t.view().transpose(0, 2);
  CHECK(turned.shape() == Shape<3>{5, 4, 3});
  CHECK(turned(4, 1, 2) == t(2, 1, 4));
  CHECK_FALSE(turned.is_contiguous());
  CHECK(turned.transpose(0, 2).is_contiguous());
  const Tensor<int, 3> owned(turned);
  CHECK(owned.view().is_contiguous());
  CHECK(owned(4, 1, 2) == t(2, 1, 4));
  CHECK(elements(turned[1]).front() == t(0, 0, 1));

  const auto rows = t.view().rows();
  CHECK(rows.shape() == Shape<2>{12, 5});
  CHECK(&rows(7, 3) == &t(1, 3, 3));
  const auto narrow = t.slice(2, 1, 4).rows();  // gaps between rows are no gaps between their beginnings
  CHECK(narrow.shape() == Shape<2>{12, 3});
  CHECK(&narrow(7, 0) == &t(1, 3, 1));
  CHECK(&t.view()[2].rows()(3, 1) == &t(2, 3, 1));
  CHECK(t.view()[1][2].rows().shape() == Shape<2>{1, 5});
  CHECK(&t.slice(1, 2, 3).rows()(2, 4) == &t(2, 2, 4));
  CHECK(&t.slice(0, 2, 3).rows()(3, 4) == &t(2, 3, 4));
  CHECK(&t.slice(0, 2, 3).slice(1, 1, 2).rows()(0, 4) == &t(2, 1, 4));
  const std::string text = error_of([&] { t.slice(1, 0, 2).rows(); });
  CHECK(contains(text, "[3, 2, 5]"));
  CHECK(contains(text, "[20, 5, 1]"));
  CHECK(t.slice(1, 0, 0).rows().shape() == Shape<2>{0, 5});
}

TEST_CASE("reshape") {
  Tensor<int, 3> t = counting<int>(Shape<3>{3, 4, 5});
  CHECK(t.reshape<2>({12, 5})(7, 3) == t(1, 3, 3));
  CHECK(t.reshape<4>({3, 2, 2, -1}).shape() == Shape<4>{3, 2, 2, 5});
  CHECK(t.reshape<1>({-1}).shape() == Shape<1>{60});
  CHECK(t.reshape<1>({-1}).data() == t.data());
  CHECK(t.slice(0, 1, 3).reshape<2>({-1, 10})(3, 9) == t(2, 3, 4));
  std::string text = error_of([&] { t.reshape<2>({7, 9}); });
  CHECK(contains(text, "[3, 4, 5]"));
  CHECK(contains(text, "[7, 9]"));
  CHECK(contains(error_of([&] { t.reshape<2>({7, -1}); }), "[7, -1]"));
  CHECK_FALSE(error_of([&] { t.reshape<2>({-1, -1}); }).empty());
  CHECK_FALSE(error_of([&] { t.reshape<2>({-2, -30}); }).empty());
  CHECK_FALSE(error_of([&] { t.reshape<2>({0, -1}); }).empty());
  CHECK_FALSE(error_of([&] { t.reshape<3>({Index{1} << 62, 4, 60}); }).empty());
  text = error_of([&] { t.view().transpose(0, 1).reshape<1>({60}); });
  CHECK(contains(text, "[4, 3, 5]"));
  Tensor<int, 2> none({0, 4});
  CHECK(none.reshape<3>({2, 0, 7}).empty());
  CHECK(none.reshape<2>({-1, 4}).shape() == Shape<2>{0, 4});
}

TEST_CASE("size 0") {
  for (const Shape<3>& shape : {Shape<3>{0, 2, 3}, Shape<3>{2, 0, 3}, Shape<3>{2, 3, 0}, Shape<3>{0, 0, 0}}) {
    const Tensor<float, 3> t(shape);
    CHECK(t.empty());
    CHECK(t.numel() == 0);
    CHECK(t.view().is_contiguous());
    CHECK(t.view().span().empty());
    CHECK(t.view().transpose(0, 1).is_contiguous());
    CHECK(t.view().rows().shape() == Shape<2>{shape[0] * shape[1], shape[2]});
    CHECK(elements(t.view()).empty());
    CHECK(Tensor<float, 3>(t.view()).shape() == shape);
  }
  CHECK(Tensor<float, 2>(Eigen::MatrixXf(0, 3)).shape() == Shape<2>{0, 3});
  CHECK(Tensor<float, 2>({3, 0}).matrix().rows() == 3);
}

TEST_CASE("sizes that are negative or don't fit") {
  const Index huge = Index{1} << 40;
  std::string text = error_of([] { Tensor<float, 2>({3, -1}); });
  CHECK(contains(text, "[3, -1]"));
  text = error_of([&] { Tensor<float, 2>({huge, huge}); });
  CHECK(contains(text, attend::to_string(Shape<2>{huge, huge})));
  // Elements that can be counted, but whose bytes cannot.
  CHECK_FALSE(error_of([] { Tensor<float, 1>({std::numeric_limits<Index>::max() / 2}); }).empty());
  CHECK_FALSE(error_of([&] { Tensor<float, 3>({huge, 0, huge}); }).empty());
  CHECK_FALSE(error_of([&] { TensorView<float, 2>(nullptr, {huge, huge}); }).empty());
  CHECK(attend::checked_numel(Shape<3>{2, 3, 4}) == 24);
  CHECK(attend::checked_numel(Shape<0>{}) == 1);
  CHECK(attend::checked_numel(Shape<1>{std::numeric_limits<Index>::max()}) == std::numeric_limits<Index>::max());
}

TEST_CASE("indices outside of the shape, where they are checked") {
  Tensor<float, 2> t({2, 3});
  CHECK(&t.at(1, 2) == &t(1, 2));
  for (const Shape<2>& index : {Shape<2>{2, 0}, Shape<2>{0, 3}, Shape<2>{-1, 0}, Shape<2>{0, -1}}) {
    const std::string text = error_of([&] { t.at(index[0], index[1]); });
    CHECK(contains(text, attend::to_string(index)));
    CHECK(contains(text, "[2, 3]"));
  }
  CHECK_FALSE(error_of([&] { (void)t.size(2); }).empty());
  CHECK_FALSE(error_of([&] { (void)t.size(-1); }).empty());
  CHECK_FALSE(error_of([&] { (void)t.view().stride(2); }).empty());
  CHECK_FALSE(error_of([&] { t.view().transpose(0, 2); }).empty());
  for (const Shape<2>& range : {Shape<2>{0, 4}, Shape<2>{-1, 2}, Shape<2>{2, 1}}) {
    const std::string text = error_of([&] { t.slice(1, range[0], range[1]); });
    CHECK(contains(text, attend::to_string(range)));
    CHECK(contains(text, "[2, 3]"));
  }
  CHECK_FALSE(error_of([&] { t.slice(2, 0, 1); }).empty());
  CHECK_FALSE(error_of([&] { t.slice(1, 0, 2).span(); }).empty());
}

TEST_CASE("copy between views") {
  const Tensor<double, 2> from = counting<double>(Shape<2>{3, 4});
  Tensor<float, 2> to({4, 3});
  attend::copy(from.view(), to.view().transpose(0, 1));
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 4; ++j) CHECK(to(j, i) == static_cast<float>(from(i, j)));
  Tensor<float, 0> scalar;
  attend::copy(Tensor<double, 0>(Shape<0>{}, 2.5).view(), scalar.view());
  CHECK(scalar() == 2.5f);
  const std::string text = error_of([&] { attend::copy(from.view(), to.view()); });
  CHECK(contains(text, "expected [4, 3], got [3, 4]"));
}

TEST_CASE("const views") {
  Tensor<float, 2> t = counting(Shape<2>{2, 2});
  const TensorView<const float, 2> view = t;
  const TensorView<const float, 2> from_mutable = t.view();
  CHECK(view.data() == from_mutable.data());
  CHECK(attend::const_view(t).data() == t.data());
  CHECK(attend::const_view(t.view()).shape() == t.shape());
  CHECK(attend::const_view(view)(1, 1) == 3);
  static_assert(!std::is_convertible_v<TensorView<const float, 2>, TensorView<float, 2>>);
  static_assert(!std::is_convertible_v<const Tensor<float, 2>&, TensorView<float, 2>>);
  static_assert(!std::is_constructible_v<TensorView<float, 2>, const Eigen::MatrixXf&>);
  static_assert(!std::is_constructible_v<TensorView<float, 2>, Eigen::MatrixXd&>);
  static_assert(attend::TensorLike<Tensor<float, 2>> && attend::TensorLike<TensorView<const double, 3>>);
}

TEST_CASE("fill and for_each go through any strides") {
  Tensor<int, 2> t({3, 4});
  t.slice(1, 1, 3).fill(5);
  CHECK(elements(t.view()) == std::vector<int>{0, 5, 5, 0, 0, 5, 5, 0, 0, 5, 5, 0});
  t = counting<int>(Shape<2>{2, 3});
  CHECK(elements(t.view().transpose(0, 1)) == std::vector<int>{0, 3, 1, 4, 2, 5});
}

TEST_CASE("printing") {
  CHECK(printed(Tensor<int, 1>::of({1, 2, 3})) == "[1, 2, 3]");
  CHECK(printed(Tensor<int, 2>::of({{1, 2}, {3, 4}})) == "[[1, 2],\n[3, 4]]");
  CHECK(printed(Tensor<int, 2>::of({{1, 2}, {3, 4}}).view().transpose(0, 1)) == "[[1, 3],\n[2, 4]]");
  CHECK(printed(counting<int>(Shape<1>{8})) == "[0, 1, 2, 3, 4, 5, 6, 7]");
  CHECK(printed(counting<int>(Shape<1>{9})) == "[0, 1, 2, ..., 6, 7, 8]");
  CHECK(printed(counting<int>(Shape<1>{200})) == "[0, 1, 2, ..., 197, 198, 199]");
  CHECK(printed(counting<int>(Shape<2>{9, 1})) == "[[0],\n[1],\n[2],\n...,\n[6],\n[7],\n[8]]");
  CHECK(printed(Tensor<int, 1>()) == "[]");
  CHECK(printed(Tensor<std::uint8_t, 1>::of({65, 7})) == "[65, 7]");
}

TEST_CASE("an error handler sees the text and may leave in its own way") {
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
  CHECK(contains(text, "[-4]"));
}
