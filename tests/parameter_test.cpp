// Parameters of layers, as visitors of any kind see them.
#include <attend/embedding.hpp>
#include <attend/feed_forward.hpp>
#include <attend/linear.hpp>
#include <attend/norm.hpp>

#include "support.hpp"

using namespace attend;

namespace {

std::vector<std::string> seen;
void note(const std::string& name, Parameter<float>) { seen.push_back(name); }
void note_const(std::string name, const Parameter<const float>&) { seen.push_back("const " + name); }

template <class P>
concept Assignable = requires(P parameter, const float* values) {
  parameter.assign(0, 1, values);
};

TEST(Parameters, AreHandedToFunctionsAndLambdas) {
  Linear<float> linear({.in_features = 3, .out_features = 2});
  seen.clear();
  linear.parameters(note);
  linear.parameters(note_const);
  linear.parameters(
      [](std::string name, auto parameter) { seen.push_back(name + " " + to_string(parameter.shape())); });
  EXPECT_THAT(seen, testing::ElementsAre("weight", "bias", "const weight", "const bias", "weight [2, 3]",
                                         "bias [2]"));
}

TEST(Parameters, OfConstLayersAreReadOnly) {
  static_assert(Assignable<Parameter<float>> && !Assignable<Parameter<const float>>);
  Linear<float> linear({.in_features = 3, .out_features = 2});
  const float values[] = {1, 2, 3, 4, 5, 6};
  linear.parameters([&](const std::string&, Parameter<float> p) { p.assign(0, p.rows(), values); });
  std::vector<float> read;
  std::as_const(linear).parameters([&](const std::string&, auto parameter) {
    static_assert(std::is_same_v<decltype(parameter), Parameter<const float>>);
    const std::size_t before = read.size();
    read.resize(before + static_cast<std::size_t>(parameter.numel()));
    parameter.copy_to(0, parameter.rows(), read.data() + before);
    EXPECT_EQ(parameter.unassigned_rows(), 0);
  });
  EXPECT_THAT(read, testing::ElementsAre(1, 2, 3, 4, 5, 6, 1, 2));
}

template <class Layer>
std::vector<std::string> names(Layer& layer) {
  std::vector<std::string> all;
  layer.parameters([&](const std::string& name, const auto& parameter) {
    all.push_back(name + " " + to_string(parameter.shape()));
  });
  return all;
}

TEST(Parameters, OfConstLayersAreThoseOfTheLayer) {
  const auto check = [](const auto& layer) {
    auto copy = layer;
    EXPECT_FALSE(names(layer).empty());
    EXPECT_EQ(names(layer), names(copy));
  };
  check(Embedding<float>({.num_embeddings = 3, .embedding_dim = 2}));
  check(Norm<double>({.size = 3}));
  check(FeedForward<double>({.embed_dim = 4, .dim_feedforward = 8}));
}

TEST(Parameters, OfSublayersAreNamedByTheirPath) {
  struct Pair {
    Linear<float> first{{.in_features = 2, .out_features = 2, .bias = false}};
    FeedForward<float> second{{.embed_dim = 2, .dim_feedforward = 2, .bias = false}};
    void parameters(ParameterVisitor<float> visit) {
      first.parameters(prefixed("first", visit));
      second.parameters(prefixed("", visit));
    }
    void parameters(ParameterVisitor<const float> visit) const { detail::const_parameters(*this, visit); }
  };
  const Pair pair;
  EXPECT_THAT(names(pair),
              testing::ElementsAre("first.weight [2, 2]", "linear1.weight [2, 2]", "linear2.weight [2, 2]"));
}

}  // namespace
