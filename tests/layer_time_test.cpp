// The hook of a context that layers tell their times.
#include <cstdint>
#include <string>
#include <vector>

#include <attend/attend.hpp>
#include <attend/model/causal_lm.hpp>

#include "support.hpp"
#include "tiny_models.hpp"

namespace {
using namespace attend;
using testing::ElementsAre;

struct Seen {
  std::string name;
  Index number;
  int depth;
  std::vector<Index> in, out;
  double operations;
  std::uint64_t nanoseconds;
};
LayerHook into(std::vector<Seen>& seen) {
  return [&seen](const LayerTime& t) {
    seen.push_back({std::string(t.name),
                    t.number,
                    t.depth,
                    {t.in.begin(), t.in.end()},
                    {t.out.begin(), t.out.end()},
                    t.operations,
                    t.nanoseconds});
  };
}

TEST(LayerTime, SaysNameShapesAndOperations) {
  const auto linear = attend_test::filled<float>(Linear<float>({.in_features = 8, .out_features = 12}));
  std::vector<Seen> seen;
  Context context;
  context.set_layer_hook(into(seen));
  const Tensor<float, 3> x({2, 5, 8}, 1.0f);
  Tensor<float, 3> y({2, 5, 12});
  linear.forward(context, x, y.view());
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].name, "product");
  EXPECT_EQ(seen[0].depth, 1);
  EXPECT_EQ(seen[0].operations, 2.0 * 10 * 8 * 12);
  EXPECT_EQ(seen[1].name, "Linear");
  EXPECT_EQ(seen[1].depth, 0);
  EXPECT_THAT(seen[1].in, ElementsAre(2, 5, 8));
  EXPECT_THAT(seen[1].out, ElementsAre(2, 5, 12));
  EXPECT_GE(seen[1].nanoseconds, seen[0].nanoseconds);
  context.set_layer_hook({});
  linear.forward(context, x, y.view());
  EXPECT_EQ(seen.size(), 2u);
}

TEST(LayerTime, OfAModelAddsUp) {
  const auto model = attend_test::tiny_causal_lm();
  std::vector<Seen> seen;
  Context context(2);
  context.set_layer_hook(into(seen));
  CausalCache<float> cache = model.make_cache();
  const std::vector<std::int32_t> ids = attend_test::random_ids(100, 50);
  Tensor<float, 3> logits({1, 1, 50});
  const TensorView<const std::int32_t, 2> row(ids.data(), {1, 100});
  model.forward(context, row, cache, logits.view());
  std::vector<Index> blocks;
  double operations = 0;
  std::vector<std::uint64_t> inner(10);  // nanoseconds at each depth, within the layer that is still open
  for (const Seen& s : seen) {
    if (s.name == "Block") blocks.push_back(s.number);
    operations += s.operations;
    const std::size_t depth = static_cast<std::size_t>(s.depth);
    EXPECT_LE(inner[depth + 1], s.nanoseconds) << s.name;
    inner[depth + 1] = 0;
    inner[depth] += s.nanoseconds;
  }
  EXPECT_THAT(blocks, ElementsAre(0, 1));
  const double layer = 2.0 * 100 * 32 * (32 + 2 * 16 + 32 + 3 * 64) + 4.0 * 100 * 100 * 32;
  EXPECT_DOUBLE_EQ(operations, 2 * layer + 2.0 * 32 * 50);
  const std::size_t calls = seen.size();
  Context::measure(1, [&](Context& measuring) {
    measuring.set_layer_hook(into(seen));
    model.forward(measuring, row, cache, logits.view());
  });
  EXPECT_EQ(seen.size(), calls);
}

}  // namespace
