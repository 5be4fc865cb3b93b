// Views whose last axis is not contiguous, or whose rows lie apart: the right values, or an error.
#include <vector>

#include <attend/causal_block.hpp>
#include <attend/introspection.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/modernbert.hpp>
#include <attend/norm.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::fill_parameters;
using attend_test::random_tensor;
using testing::HasSubstr;

template <class S>
void expect_introspect_refuses() {
  const auto q = random_tensor<S, 4>({1, 2, 8, 3}, 1), k = random_tensor<S, 4>({1, 2, 3, 8}, 2);
  const Tensor<S, 4> straight_k({1, 2, 3, 8}, k.span());
  Tensor<S, 3> entropy({1, 2, 3});
  Context context;
  const TensorView<const S, 4> turned = q.view().transpose(2, 3);  // [1, 2, 3, 8], its last axis 3 apart
  EXPECT_THAT(error_of([&] { introspect<S>(context, turned, straight_k, {}, {.entropy = entropy.view()}); }),
              HasSubstr("(query): the last axis must be contiguous"));
  EXPECT_THAT(error_of([&] { introspect<S>(context, straight_k, turned, {}, {.entropy = entropy.view()}); }),
              HasSubstr("(key): the last axis must be contiguous"));
  const Tensor<S, 4> copied(turned);
  introspect<S>(context, copied, straight_k, {}, {.entropy = entropy.view()});
  EXPECT_GT(entropy(0, 0, 0), S(0));
}
TEST(UnitStride, IntrospectionRefusesQueriesAndKeysThatAreNotContiguous) {
  expect_introspect_refuses<float>();
  expect_introspect_refuses<double>();
}

TEST(UnitStride, IntrospectionGivesIntoAnyStrides) {
  const auto q = random_tensor<float, 4>({1, 2, 5, 8}, 1), k = random_tensor<float, 4>({1, 2, 7, 8}, 2);
  Tensor<float, 3> totals({1, 2, 7}), entropy({1, 2, 5}), turned_totals({7, 2, 1}), turned_entropy({5, 2, 1});
  Context context;
  introspect<float>(context, q, k, {}, {.key_totals = totals.view(), .entropy = entropy.view()});
  introspect<float>(
      context, q, k, {},
      {.key_totals = turned_totals.view().transpose(0, 2), .entropy = turned_entropy.view().transpose(0, 2)});
  for (Index h = 0; h < 2; ++h) {
    for (Index i = 0; i < 7; ++i) EXPECT_EQ(totals(0, h, i), turned_totals(i, h, 0));
    for (Index i = 0; i < 5; ++i) EXPECT_EQ(entropy(0, h, i), turned_entropy(i, h, 0));
  }
}

TEST(UnitStride, ActivationsOfAnyStrides) {
  const auto x = random_tensor<float, 3>({4, 3, 6}, 1);
  const Tensor<float, 3> straight = activate(Activation::gelu, Tensor<float, 3>(x.view().transpose(0, 2)));
  const Tensor<float, 3> turned = activate(Activation::gelu, x.view().transpose(0, 2));
  for (std::size_t i = 0; i < straight.span().size(); ++i) EXPECT_EQ(straight.span()[i], turned.span()[i]);

  Context context;
  Tensor<float, 2> a({4, 6}), b({6, 4});
  EXPECT_THAT(error_of([&] { activate(context, Activation::relu, a.view(), b.view().transpose(0, 1)); }),
              HasSubstr("the last axis must be contiguous"));
  EXPECT_THAT(error_of([&] { activate(context, Activation::relu, b.view().transpose(0, 1), a.view()); }),
              HasSubstr("the last axis must be contiguous"));
}

TEST(UnitStride, StatisticsOfANormIntoAnyStrides) {
  const auto x = random_tensor<float, 2>({5, 8}, 1);
  const LayerNorm<float> norm({.normalized_shape = 8});
  Tensor<float, 2> out(x.shape()), apart({5, 3});
  Tensor<float, 1> mean({5}), inverse({5});
  Context context;
  norm.forward(context, x, out.view(), mean.view(), inverse.view());
  norm.forward(context, x, out.view(), apart.view().transpose(0, 1)[0], apart.view().transpose(0, 1)[2]);
  for (Index i = 0; i < 5; ++i) {
    EXPECT_EQ(mean(i), apart(i, 0));
    EXPECT_EQ(apart(i, 1), 0);
    EXPECT_EQ(inverse(i), apart(i, 2));
  }
}

/// forward(out) fills rows of a wider buffer as it fills a tensor of its own, and nothing beside them.
template <class Forward>
void expect_same_in_wider_rows(Index rows, Index width, Forward&& forward) {
  Tensor<float, 2> own({rows, width}), wide({rows, width + 5}, -7.0f), turned({width, rows});
  forward(own.view());
  forward(wide.view().slice(1, 2, 2 + width));
  for (Index r = 0; r < rows; ++r)
    for (Index e = 0; e < width + 5; ++e)
      EXPECT_EQ(wide(r, e), e >= 2 && e < 2 + width ? own(r, e - 2) : -7.0f) << r << ", " << e;
  EXPECT_THAT(error_of([&] { forward(turned.view().transpose(0, 1)); }),
              HasSubstr("the last axis must be contiguous"));
}

TEST(UnitStride, ModelsWriteIntoRowsOfAWiderBuffer) {
  Context context;
  const std::vector<std::int32_t> ids{1, 5, 2, 0, 3};
  const std::vector<Index> offsets{0, 3, 5};
  for (BertHead head : {BertHead::none, BertHead::masked_lm}) {
    BertModel<float> bert({.vocab_size = 9,
                           .max_position_embeddings = 8,
                           .hidden_size = 8,
                           .num_hidden_layers = 1,
                           .num_attention_heads = 2,
                           .intermediate_size = 12,
                           .head = head});
    fill_parameters<float>(bert);
    expect_same_in_wider_rows(
        5, 8, [&](TensorView<float, 2> out) { bert.forward(context, ids, {}, offsets, out); });
  }
  ModernBertOptions options{
      .vocab_size = 9, .hidden_size = 8, .num_attention_heads = 2, .intermediate_size = 12};
  options.local = {false, true};
  options.global_rotary.head_dim = options.local_rotary.head_dim = 4;
  ModernBertModel<float> modern(options);
  fill_parameters<float>(modern);
  expect_same_in_wider_rows(5, 8,
                            [&](TensorView<float, 2> out) { modern.forward(context, ids, offsets, out); });
}

TEST(UnitStride, CausalBlockInRowsOfAWiderBuffer) {
  Context context;
  for (Residual residual : {Residual::pre, Residual::sandwich}) {
    CausalBlock<float> block({.embed_dim = 8, .num_heads = 2, .dim_feedforward = 12, .residual = residual});
    fill_parameters<float>(block);
    const auto x = random_tensor<float, 2>({5, 8}, 3);
    expect_same_in_wider_rows(5, 8, [&](TensorView<float, 2> out) {
      copy(x.view(), out);
      const TensorView<float, 3> in_place(out.data(), {1, 5, 8},
                                          {5 * out.stride(0), out.stride(0), out.stride(1)});
      KVCache<float> cache = block.self_attn().make_cache(1);
      block.forward(context, in_place, {.cache = &cache}, in_place);
    });
  }
}

}  // namespace
