// The calls that a user writes in the first hour, as they are written, with an integer of any type; compiled
// with the warnings that such a user has (-Wconversion -Wsign-conversion -Werror). project/refused.py has
// those that must not compile.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include <attend/attend.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::fill_parameters;
using attend_test::filled;
using attend_test::random_tensor;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(FirstHour, TheVersionIsTextAndANumberThatGrows) {
  EXPECT_EQ(ATTEND_VERSION, std::to_string(ATTEND_VERSION_MAJOR) + "." +
                                std::to_string(ATTEND_VERSION_MINOR) + "." +
                                std::to_string(ATTEND_VERSION_PATCH));
  static_assert(ATTEND_VERSION_NUMBER ==
                ATTEND_VERSION_MAJOR * 10000 + ATTEND_VERSION_MINOR * 100 + ATTEND_VERSION_PATCH);
}

TEST(FirstHour, TensorsAreMadeOfListsSpansAndViews) {
  const Tensor<float, 2> a({2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(a, (Tensor<float, 2>::of({{1, 2}, {3, 4}})));
  EXPECT_EQ((Tensor<float, 1>({1}, {7})(0)), 7);
  EXPECT_THAT(error_of([] { Tensor<float, 2>({2, 2}, {1, 2, 3}); }), HasSubstr("expected [2, 2], got [3]"));

  std::vector<double> values{1, 2, 3, 4, 5, 6};
  const Tensor of_span(Shape<2>{2, 3}, std::span<const double>(values));
  static_assert(std::is_same_v<decltype(of_span), const Tensor<double, 2>>);
  values[0] = 9;
  EXPECT_EQ(of_span(0, 0), 1);
  EXPECT_EQ(Tensor(Shape<2>{2, 3}, values)(0, 0), 9);
  EXPECT_THAT(of_span.to_vector(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(of_span.transpose(0, 1).to_vector(), ElementsAre(1, 4, 2, 5, 3, 6));

  Tensor of_view(of_span[1]);
  static_assert(std::is_same_v<decltype(of_view), Tensor<double, 1>>);
  EXPECT_THAT(of_view.to_vector(), ElementsAre(4, 5, 6));
  of_view = of_span.transpose(0, 1)[0];
  EXPECT_THAT(of_view.to_vector(), ElementsAre(1, 4));
  of_view = of_view.slice(0, 1, 2);
  EXPECT_THAT(of_view.to_vector(), ElementsAre(4));
  const Tensor of_matrix(Eigen::MatrixXd::Identity(2, 2));
  static_assert(std::is_same_v<decltype(of_matrix), const Tensor<double, 2>>);
}

TEST(FirstHour, TensorsAreSeenInOtherShapes) {
  const Tensor<float, 3> t = random_tensor<float, 3>({2, 5, 4});
  EXPECT_THAT(t.reshape(10, -1).shape(), ElementsAre(10, 4));
  EXPECT_THAT(t.reshape(10u, std::size_t{4}).shape(), ElementsAre(10, 4));
  EXPECT_EQ(t.reshape(-1)(39), t(1, 4, 3));
  EXPECT_EQ(t.reshape(Shape<2>{4, 10})(3, 9), t(1, 4, 3));
  const auto turned = t.permute<2, 0, 1>();
  EXPECT_THAT(turned.shape(), ElementsAre(4, 2, 5));
  EXPECT_EQ(&turned(3, 1, 2), &t(1, 2, 3));
  EXPECT_EQ((&t.view().permute<0, 2, 1>()(1, 3, 2)), &t(1, 2, 3));
  EXPECT_EQ(&t.transpose(1, 2)(1, 3, 2), &t(1, 2, 3));
  EXPECT_EQ(&t.rows()(7, 3), &t(1, 2, 3));
  const std::size_t one = 1;
  const int four = 4;
  EXPECT_EQ(&t[one](2u, four - 1), &t(1, 2, 3));
  EXPECT_EQ(&t.slice(one, 2u, four)(1, 0, 3), &t(1, 2, 3));
  EXPECT_EQ(t.size(one), 5);
}

TEST(FirstHour, TensorsAreWalkedComparedAndAdded) {
  Tensor<float, 2> t({2, 3});
  float next = 0;
  for (float& v : t) v = next++;
  float sum = 0;
  for (float v : std::as_const(t)) sum += v;
  EXPECT_EQ(sum, 15);

  const Tensor<float, 2> same = t;
  EXPECT_TRUE(t == same);
  EXPECT_TRUE(t == same.view());
  EXPECT_FALSE(t == (Tensor<float, 2>({3, 2}, t.to_vector())));
  EXPECT_TRUE((Tensor<float, 1>({1}, {0.0f}) == Tensor<float, 1>({1}, {-0.0f})));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor<float, 1> none({1}, {nan});
  EXPECT_FALSE(none == none);

  t += same;
  t[0] += same[1];
  EXPECT_THAT(t.to_vector(), ElementsAre(3, 6, 9, 6, 8, 10));
  EXPECT_TRUE(t != same);
  t += t;
  EXPECT_EQ(t(1, 2), 20);
  EXPECT_THAT(error_of([&] { t += same.slice(1, 0, 2); }), HasSubstr("expected [2, 3], got [2, 2]"));
  Tensor<float, 2> square({2, 2});
  EXPECT_THAT(error_of([&] { square += square.transpose(0, 1); }), HasSubstr("overlap"));

  Tensor<double, 2> wide({2, 3});
  copy(t, wide);
  copy(same[0], wide[1]);
  EXPECT_THAT(wide.to_vector(), ElementsAre(6, 12, 18, 0, 1, 2));
}

TEST(FirstHour, MatricesOfATensorHaveNoStrides) {
  Tensor<float, 3> t = random_tensor<float, 3>({2, 5, 4});
  using Map = decltype(t.matrix(0));
  static_assert((Eigen::internal::evaluator<Map>::Flags & Eigen::PacketAccessBit) != 0);
  EXPECT_EQ(&t.matrix(std::size_t{1})(2, 3), &t(1, 2, 3));
  t.matrix(1) *= 2.0f;
  Tensor<float, 2> rows({10, 4});
  rows.matrix() = t.rows().matrix();
  EXPECT_EQ(rows, t.rows());
  Tensor<float, 2> sum(t.matrix(0) + t.matrix(1));
  EXPECT_EQ(sum(2, 3), t(0, 2, 3) + t(1, 2, 3));
  copy(t.matrix(0), sum);
  EXPECT_EQ(sum, t[0]);
}

TEST(FirstHour, FunctionsFillTensors) {
  Context context;
  const auto embedding = filled<float>(Embedding<float>({.num_embeddings = 9, .embedding_dim = 4}));
  const Tensor<std::int32_t, 2> ids({2, 3}, {1, 5, 2, 0, 8, 3});
  Tensor<float, 3> x({2, 3, 4}), y({2, 3, 4});
  embedding.forward(context, ids, x);
  EXPECT_EQ(x[1][1], embedding.weight()[8]);
  softmax(context, x, -1, y);
  EXPECT_EQ(y, softmax(x));
  log_softmax(context, x, 1u, y);
  activate(context, Activation::gelu, x, y);

  const Tensor<float, 3> residual = x;
  const auto linear = filled<float>(Linear<float>({.in_features = 4, .out_features = 4}));
  linear.forward(context, x, y);
  EXPECT_EQ(y, linear(x));
  EXPECT_EQ(linear(random_tensor<float, 2>({3, 4})).size(1), 4);  // of a temporary
  y += residual;
}

TEST(FirstHour, AttentionTakesTensorsAndHeadsOfThem) {
  Context context;
  const Tensor<float, 4> q = random_tensor<float, 4>({2, 4, 3, 8});
  Tensor<float, 4> out(q.shape());
  scaled_dot_product_attention(context, q, q, q, {.mask = causal()}, out);
  EXPECT_EQ(out, scaled_dot_product_attention(q, q, q, {.mask = causal()}));

  // Without a batch, and without heads.
  Tensor<float, 3> one({4, 3, 8});
  scaled_dot_product_attention(context, q[1], q[1], q[1], {.mask = causal()}, one);
  EXPECT_EQ(one, out[1]);
  const Tensor<float, 2> head = scaled_dot_product_attention(q[1][2], q[1][2], q[1][2], {.mask = causal()});
  EXPECT_EQ(head, out[1][2]);

  Tensor<float, 3> x = random_tensor<float, 3>({2, 3, 32}), y(x.shape());
  const std::size_t n = 4;
  EXPECT_EQ(&heads(x, n)(1, 2, 1, 7), &x(1, 1, 23));
  EXPECT_EQ(&heads(x[1], 4u)(2, 1, 7), &x(1, 1, 23));
  scaled_dot_product_attention(context, heads(x, n), heads(x, 4), heads(x, 4u), {}, heads(y, n));
  const Tensor<float, 4> mixed = scaled_dot_product_attention(heads(x, n), heads(x, n), heads(x, n));
  EXPECT_EQ(mixed, heads(y, n));

  KVCache<float> cache({.batch = 2, .num_kv_heads = 4, .head_dim = 8});
  cache.append(q, q);
  Tensor<float, 4> cached(q.shape());
  scaled_dot_product_attention(context, q, cache, {.mask = causal(Corner::bottom_right)}, cached);
  EXPECT_EQ(cached, out);
  const std::size_t second = 1;
  EXPECT_EQ(cache.length(second), 3);
  EXPECT_EQ(cache.length(cache.fork(second)), 3);
  cache.truncate(second, second);
  cache.append(second, q[second], q[second]);
  cache.reserve(n);
}

TEST(FirstHour, NumbersAreOfAnyIntegerType) {
  const unsigned threads = 2, positions = 3;
  const std::size_t width = 4;
  Context context(threads);
  EXPECT_EQ(context.threads(), 2);
  EXPECT_EQ(sinusoidal_positions<float>(positions, width).size(width - 3), 4);
  EXPECT_EQ(alibi_slopes<float>(width).size(), width);
  EXPECT_THAT(error_of([&] { Context none(std::size_t{0}); }), HasSubstr("got 0"));
}

TEST(FirstHour, ASequenceNeedsNoBatch) {
  Context context;
  const auto attention = filled<float>(MultiHeadAttention<float>({.embed_dim = 8, .num_heads = 2}));
  const auto block =
      filled<float>(EncoderBlock<float>({.embed_dim = 8, .num_heads = 2, .dim_feedforward = 16}));
  const Tensor<float, 3> x = random_tensor<float, 3>({2, 5, 8});
  const Tensor<float, 3> expected = attention(x, {.mask = causal()});
  Tensor<float, 2> y({5, 8});
  attention.forward(context, x[1], {.mask = causal()}, y);
  EXPECT_EQ(y, expected[1]);
  y = attention(x[1], {.mask = causal()});
  EXPECT_EQ(y, expected[1]);
  attention.forward(context, x[1], x[0], x[0], {}, y);
  EXPECT_EQ(y, attention(x[1], x[0], x[0]));
  const Eigen::MatrixXf columns = x.matrix(1);
  y = attention(columns, {.mask = causal()});
  EXPECT_EQ(y, expected[1]);
  const Tensor<float, 3> both = block(x);
  EXPECT_EQ(block(x[1]), both[1]);
}

TEST(FirstHour, MasksAreMadeOfTensorsAndNumbers) {
  Context context;
  const Tensor<double, 4> q = random_tensor<double, 4>({2, 1, 4, 8});
  const auto attend_by = [&](const Mask& mask) {
    return scaled_dot_product_attention(q, q, q, {.mask = mask});
  };
  const Tensor<bool, 2> lower({4, 4}, {true, false, false, false, true, true, false, false,  //
                                       true, true, true, false, true, true, true, true});
  Tensor<double, 2> numbers({4, 4});
  for (Index i = 0; i < 4; ++i)
    for (Index k = i + 1; k < 4; ++k) numbers(i, k) = -std::numeric_limits<double>::infinity();
  const Tensor<double, 4> expected = attend_by(causal());
  EXPECT_EQ(attend_by(boolean(lower)), expected);
  EXPECT_EQ(attend_by(additive(numbers)), expected);
  EXPECT_EQ(attend_by(blocks(lower, 1u)), expected);
  const Tensor<std::uint8_t, 2> padding({2, 4}, {0, 0, 0, 1, 0, 0, 1, 1}), pairs({2, 2}, {1, 0, 1, 1});
  const Tensor<double, 4> shorter = attend_by(key_padding_mask(padding));
  EXPECT_EQ(attend_by(lengths({3, 2})), shorter);
  EXPECT_EQ(attend_by(causal() & blocks(pairs, 2)), expected);
  const Tensor<std::int32_t, 2> documents({1, 4}, {0, 0, 1, 1});
  EXPECT_EQ(attend_by(segments(documents) & lengths({4u, std::size_t{4}})), attend_by(segments(documents)));
  const std::size_t two = 2;
  EXPECT_EQ(attend_by(prefix(two)), attend_by(lengths({two, 2})));
  EXPECT_EQ(attend_by(sliding_window(two, 0u)), attend_by(sliding_window(2, 0)));
  EXPECT_EQ(attend_by(causal_from(two)), attend_by(causal_from(2)));

  Tensor<double, 4> out(q.shape());
  scaled_dot_product_attention(context, q, q, q, {.key_lengths = {3, 2}}, out);
  EXPECT_EQ(out, shorter);
  const std::vector<Index> many{3, 2};
  EXPECT_EQ(scaled_dot_product_attention(q, q, q, {.key_lengths = many}), shorter);
  AttentionOptions<double> kept{.mask = lengths({3, 2}), .key_lengths = {3, 2}};
  const AttentionOptions<double> copied = kept;
  kept = {};
  EXPECT_EQ(scaled_dot_product_attention(q, q, q, copied), shorter);
}

TEST(FirstHour, ColumnMajorMatricesAreCopiedOrTheErrorNamesTheTranspose) {
  Context context;
  const auto linear = filled<float>(Linear<float>({.in_features = 4, .out_features = 3}));
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(5, 4);  // column-major
  const Tensor<float, 2> rows(x);
  EXPECT_EQ(linear(x), linear(rows));
  EXPECT_EQ(linear(x + x), linear(Tensor<float, 2>(x + x)));
  EXPECT_EQ(linear(rows.transpose(0, 1).transpose(0, 1)), linear(rows));
  const Tensor<float, 3> some = random_tensor<float, 3>({4, 3, 2});
  EXPECT_EQ(linear(some.transpose(0, 2)), linear(Tensor(some.transpose(0, 2))));

  Tensor<float, 2> y({5, 3});
  EXPECT_THAT(error_of([&] { linear.forward(context, x, y); }),
              AllOf(HasSubstr("Linear"), HasSubstr("column-major"), HasSubstr("transpose()")));
  const Eigen::MatrixXf columns = x.transpose();  // a column for each row that is meant
  linear.forward(context, columns.transpose(), y);
  EXPECT_EQ(y, linear(rows));
}

}  // namespace
