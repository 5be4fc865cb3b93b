// Embedding against PyTorch (see golden/check.hpp): nothing is computed, so nothing may differ.

#include <vector>

#include <attend/embedding.hpp>

#include "golden/parameters.hpp"
#include "support.hpp"

namespace {
using namespace golden;

template <class T>
class EmbeddingGolden : public testing::Test {};
TYPED_TEST_SUITE(EmbeddingGolden, attend_test::Scalars);

TYPED_TEST(EmbeddingGolden, GivesTheValuesOfPyTorch) {
  using S = TypeParam;
  for_each_case("embedding", [](const Case& c) {
    const Index V = c.size("V"), E = c.size("E");
    attend::Embedding<S> layer({.num_embeddings = V, .embedding_dim = E});
    fill<S>(c, layer);
    const std::vector<Index> ids = golden::ids(c.path("ids"), c.size("N"), V);
    const Tensor<S, 2> y = layer(Tensor<Index, 1>({c.size("N")}, ids));
    Parameters<double> parameters(c);
    const Tensor<double, 2> reference =
        ref::embedding<double>(std::span<const Index>(ids), parameters.matrix("weight", V, E));
    check_values<S>(c, y.span(), reference.span(), [](std::size_t) { return 0.0; });
  });
}

}  // namespace
