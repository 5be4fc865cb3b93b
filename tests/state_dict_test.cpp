// Loading and saving layers by name, name maps, and strict settings files.
#include <cstdint>
#include <string>
#include <vector>

#include <attend/io/config.hpp>
#include <attend/io/state_dict.hpp>

#include "support.hpp"

using attend::Index;
using attend::LoadOptions;
using attend::NameMap;
using attend::Parameter;
using attend::SafeTensors;
using attend::Source;
using attend::Tensor;
using attend_test::error_of;
using attend_test::Folder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

namespace {

/// A layer whose weight is kept transposed ("packed"), as a real one may.
template <class Scalar>
struct Dense {
  Index out, in;
  std::vector<Scalar> packed, bias;

  Dense(Index out, Index in)
      : out(out), in(in), packed(static_cast<std::size_t>(out * in)), bias(static_cast<std::size_t>(out)) {}
  Scalar& weight(Index row, Index column) { return packed[static_cast<std::size_t>(column * out + row)]; }

  void parameters(attend::ParameterVisitor<Scalar> visit) {
    const auto write = [](void* object, Index begin, Index end, const Scalar* rows) {
      auto& self = *static_cast<Dense*>(object);
      for (Index i = begin; i < end; ++i)
        for (Index k = 0; k < self.in; ++k) self.weight(i, k) = *rows++;
    };
    const auto read = [](const void* object, Index begin, Index end, Scalar* rows) {
      auto& self = *static_cast<Dense*>(const_cast<void*>(object));
      for (Index i = begin; i < end; ++i)
        for (Index k = 0; k < self.in; ++k) *rows++ = self.weight(i, k);
    };
    visit("weight", Parameter<Scalar>({out, in}, this, write, read));
    visit("bias", Parameter<Scalar>({out}, bias.data()));
  }
  void parameters(attend::ParameterVisitor<const Scalar> visit) const {
    attend::detail::const_parameters(*this, visit);
  }
};

template <class Scalar>
struct Block {
  Dense<Scalar> qkv{6, 2}, linear{3, 2};
  std::vector<Scalar> norm = std::vector<Scalar>(2);

  void parameters(attend::ParameterVisitor<Scalar> visit) {
    qkv.parameters([&](const std::string& name, auto p) { visit("self_attn.in_proj_" + name, p); });
    linear.parameters(attend::prefixed("linear1", visit));
    visit("norm1.weight", Parameter<Scalar>({2}, norm.data()));
  }
  void parameters(attend::ParameterVisitor<const Scalar> visit) const {
    attend::detail::const_parameters(*this, visit);
  }
};

template <class Scalar>
struct Model {
  std::vector<Block<Scalar>> layers = std::vector<Block<Scalar>>(2);
  Dense<Scalar> pooler{2, 2};

  void parameters(attend::ParameterVisitor<Scalar> visit) {
    for (std::size_t i = 0; i < layers.size(); ++i)
      layers[i].parameters(attend::prefixed("layers." + std::to_string(i), visit));
    pooler.parameters(attend::prefixed("pooler", visit));
  }
  void parameters(attend::ParameterVisitor<const Scalar> visit) const {
    attend::detail::const_parameters(*this, visit);
  }
};

template <class Layer>
std::vector<double> values_of(Layer& layer) {
  std::vector<double> all;
  auto visit = [&](const std::string&, auto parameter) {
    for (Index i = 0; i < parameter.rows(); ++i) {
      std::vector<std::remove_cvref_t<decltype(layer.bias[0])>> row(
          static_cast<std::size_t>(parameter.row_size()));
      parameter.copy_to(i, i + 1, row.data());
      all.insert(all.end(), row.begin(), row.end());
    }
  };
  layer.parameters(visit);
  return all;
}

Tensor<float, 2> counting(Index rows, Index columns, float start) {
  Tensor<float, 2> t({rows, columns});
  for (Index i = 0; i < t.numel(); ++i) t.data()[i] = start + static_cast<float>(i);
  return t;
}
Tensor<float, 1> counting(Index n, float start) {
  const Tensor<float, 2> row = counting(1, n, start);
  return Tensor<float, 1>(row[0]);
}

}  // namespace

TEST(StateDict, LoadsWhatItSaved) {
  const Folder folder;
  for (const auto& sizes : {std::pair<Index, Index>{3, 2}, {1, 1}, {0, 4}, {4, 0}, {700, 301}, {2, 70000}}) {
    const Index out = sizes.first, in = sizes.second;
    SCOPED_TRACE(std::to_string(out) + " x " + std::to_string(in));
    Dense<float> layer(out, in), other(out, in);
    for (Index i = 0; i < out; ++i)
      for (Index k = 0; k < in; ++k) layer.weight(i, k) = static_cast<float>(i * in + k);
    for (std::size_t i = 0; i < layer.bias.size(); ++i) layer.bias[i] = -static_cast<float>(i);
    const Dense<float>& constant = layer;
    attend::save(constant, folder / "d.safetensors", {{"who", "test"}});
    const SafeTensors file(folder / "d.safetensors");
    EXPECT_EQ(file.metadata().at("who"), "test");
    EXPECT_THAT(file.names(), ElementsAre("bias", "weight"));
    attend::load(other, file);
    EXPECT_EQ(other.packed, layer.packed);
    EXPECT_EQ(other.bias, layer.bias);
    Dense<double> wide(out, in);
    attend::load(wide, file);
    EXPECT_EQ(values_of(wide), values_of(layer));
    EXPECT_EQ(attend::count_parameters(constant), out * in + out);
  }
}

TEST(StateDict, LoadingTellsHowFarItIs) {
  const Folder folder;
  attend::save(Dense<float>(3, 2), folder / "d.safetensors");
  std::vector<std::pair<Index, Index>> told;
  const LoadOptions options{.progress = [&](Index done, Index all) { told.emplace_back(done, all); }};
  Dense<float> layer(3, 2), other(4, 2);
  attend::load(layer, SafeTensors(folder / "d.safetensors"), "", options);
  EXPECT_THAT(told, ElementsAre(std::pair<Index, Index>{6, 9}, std::pair<Index, Index>{9, 9}));
  error_of([&] { attend::load(other, SafeTensors(folder / "d.safetensors"), "", options); });
  EXPECT_EQ(told.size(), 2u);
}

TEST(StateDict, ReportsAllThatIsWrongAndAssignsNothing) {
  const Folder folder;
  const std::vector<std::byte> one(1);
  attend::save_safetensors(folder / "w.safetensors", {{"m.linear1.weight", counting(2, 3, 0)},
                                                      {"m.linear1.extra", counting(1, 3, 0)},
                                                      {"m.self_attn.in_proj_weight", counting(6, 2, 0)},
                                                      {"m.self_attn.in_proj_bias", counting(1, 6, 0)},
                                                      {"m.position_ids", counting(3, 0)},
                                                      {"m.norm1.weight", attend::DType::F8_E4M3, {1}, one},
                                                      {"mother", counting(2, 0)}});
  const SafeTensors file(folder / "w.safetensors");
  Block<float> block;
  const std::string error = error_of([&] { attend::load(block, file, "m", {.ignore = {"position_ids"}}); });
  EXPECT_THAT(error, HasSubstr("w.safetensors: missing 'm.linear1.bias' for 'linear1.bias' [3]; "));
  EXPECT_THAT(error, HasSubstr("unexpected 'm.linear1.extra' [1, 3]; "));
  EXPECT_THAT(error, HasSubstr("'linear1.weight' expected [3, 2], got 'm.linear1.weight' [2, 3]"));
  EXPECT_THAT(error,
              HasSubstr("'self_attn.in_proj_bias' expected [6], got 'm.self_attn.in_proj_bias' [1, 6]"));
  EXPECT_THAT(error, HasSubstr("unreadable 'm.norm1.weight' of type F8_E4M3"));
  EXPECT_THAT(error, Not(HasSubstr("position_ids")));
  EXPECT_THAT(error, Not(HasSubstr("mother")));
  EXPECT_THAT(error, Not(HasSubstr("in_proj_weight")));
  EXPECT_THAT(error, Not(HasSubstr("\n")));
  EXPECT_EQ(values_of(block.qkv), std::vector<double>(18, 0.0));
}

TEST(StateDict, StrictAndIgnoreDecideAboutWhatIsLeftOver) {
  const Folder folder;
  attend::save_safetensors(
      folder / "s.safetensors",
      {{"a.weight", counting(3, 2, 1)}, {"a.bias", counting(3, 1)}, {"a.old.masked_bias", counting(1, 0)}});
  const SafeTensors file(folder / "s.safetensors");
  Dense<float> layer(3, 2);
  EXPECT_THAT(error_of([&] { attend::load(layer, file, "a"); }), HasSubstr("unexpected 'a.old.masked_bias'"));
  EXPECT_THAT(error_of([&] {
                attend::load(layer, file, "a", {.ignore = {"bias", "sked_bias"}});
              }),
              HasSubstr("masked_bias"));
  attend::load(layer, file, "a", {.ignore = {"masked_bias"}});
  attend::load(layer, file, "a", {.ignore = {"old.masked_*"}});
  attend::load(layer, file, "a.", {.strict = false});
  EXPECT_EQ(layer.weight(2, 1), 6);
  EXPECT_THAT(error_of([&] { attend::load(layer, file, "", {.strict = false}); }),
              HasSubstr("missing 'weight'"));
  // A prefix may have alternatives.
  attend::load(layer, file, "(b|a|)", {.strict = false});
  EXPECT_THAT(error_of([&] { attend::load(layer, file, "(b|c)", {.strict = false}); }),
              HasSubstr("missing 'b.weight'"));
}

TEST(StateDict, SourcesAreJoinedTransposedPermutedAndCut) {
  const Folder folder;
  attend::save_safetensors(folder / "s.safetensors", {{"q", counting(1, 3, 0)},
                                                      {"k", counting(2, 3, 10)},
                                                      {"v", counting(3, 3, 20)},
                                                      {"qt", counting(3, 4, 0)},
                                                      {"kt", counting(3, 2, 100)},
                                                      {"b", counting(6, 0)}});
  const SafeTensors file(folder / "s.safetensors");
  const auto load = [&](Source weight) {
    Dense<float> layer(6, 3);
    attend::load(layer, file, "", {.strict = false, .names = [&](const std::string& name) {
                                     return name == "weight" ? weight : Source{.names = {"b"}};
                                   }});
    std::vector<double> all = values_of(layer);
    all.resize(18);
    return all;
  };
  const std::vector<double> joined{0, 1, 2, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25, 26, 27, 28};
  EXPECT_EQ(load({.names = {"q", "k", "v"}}), joined);
  EXPECT_THAT(load({.names = {"q", "k", "v"}, .row = [](Index i) { return 5 - i; }}),
              ElementsAre(26, 27, 28, 23, 24, 25, 20, 21, 22, 13, 14, 15, 10, 11, 12, 0, 1, 2));
  EXPECT_EQ(load({.names = {"q", "k", "v"}, .add = 0.5})[17], 28.5);
  EXPECT_THAT(load(attend::transposed({"qt", "kt"})),
              ElementsAre(0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, 100, 102, 104, 101, 103, 105));
  EXPECT_THAT(load({.names = {"kt", "qt"}, .transpose = true, .row = [](Index i) { return (i + 4) % 6; }}),
              ElementsAre(2, 6, 10, 3, 7, 11, 100, 102, 104, 101, 103, 105, 0, 4, 8, 1, 5, 9));
  EXPECT_EQ(load({.names = {"q", "k", "v", "q", "k", "v"}, .part = 1, .parts = 2}), joined);
  EXPECT_EQ(load({.names = {"q", "q", "k", "k", "v", "v"},
                  .row = [](Index i) { return i < 6 ? 11 - i : 0; },
                  .part = 0,
                  .parts = 2})[3],
            23);

  const auto error_for = [&](Source source) { return error_of([&] { load(std::move(source)); }); };
  EXPECT_THAT(error_for({.names = {"q", "k"}}),
              HasSubstr("'weight' expected [6, 3], got 'q' [1, 3] + 'k' [2, 3]"));
  EXPECT_THAT(error_for({.names = {"q", "k", "v"}, .row = [](Index i) { return i + 1; }}),
              HasSubstr("below 6, got 6"));
  EXPECT_THAT(error_for({.names = {"q", "k", "v"}, .row = [](Index i) { return i - 1; }}),
              HasSubstr("got -1"));
  EXPECT_THAT(error_for({.names = {"b"}, .transpose = true}),
              HasSubstr("expected [6, 3], got 'b' [6] transposed"));
  EXPECT_THAT(error_for({.names = {"qt", "kt"}}), HasSubstr("expected [6, 3]"));
  EXPECT_THAT(error_for({.names = {"q", "k", "v"}, .part = 2, .parts = 2}), HasSubstr("part 2 of 2"));
  EXPECT_THAT(error_for({.names = {"q", "nowhere", "(not|here)"}}),
              HasSubstr("missing 'nowhere' for 'weight' [6, 3], 'not' or 'here' for 'weight' [6, 3]"));
  EXPECT_THAT(error_for({}), HasSubstr("missing a source of 'weight'"));
}

TEST(StateDict, LargeTransposedWeightsGoInBlocks) {
  const Folder folder;
  const Index out = 500, in = 600;
  Tensor<float, 2> left({in, 200}), right({in, 300});
  const auto value = [&](Index row, Index column) { return static_cast<float>(row * in + column); };
  for (Index k = 0; k < in; ++k) {
    for (Index i = 0; i < 200; ++i) left(k, i) = value(i, k);
    for (Index i = 0; i < 300; ++i) right(k, i) = value(200 + i, k);
  }
  attend::save_safetensors(folder / "t.safetensors", {{"l", left}, {"r", right}, {"bias", counting(out, 0)}});
  const SafeTensors file(folder / "t.safetensors");
  const auto row = [](Index i) { return i / 5 + i % 5 * 100; };
  Dense<float> plain(out, in), permuted(out, in);
  attend::load(plain, file, "", {.names = NameMap{{"weight", attend::transposed({"l", "r"})}}});
  attend::load(permuted, file, "",
               {.names = NameMap{{"weight", Source{.names = {"l", "r"}, .transpose = true, .row = row}}}});
  int wrong = 0;
  for (Index i = 0; i < out; ++i)
    for (Index k = 0; k < in; ++k)
      wrong += (plain.weight(i, k) != value(i, k)) + (permuted.weight(i, k) != value(row(i), k));
  EXPECT_EQ(wrong, 0);
}

TEST(NameMap, OfAFewLinesLoadsABertCheckpoint) {
  const NameMap bert{
      {"layers.*.self_attn.in_proj_*",
       {"(bert.|)encoder.layer.*.attention.self.query.*", "(bert.|)encoder.layer.*.attention.self.key.*",
        "(bert.|)encoder.layer.*.attention.self.value.*"}},
      {"layers.*.linear1.*", "(bert.|)encoder.layer.*.intermediate.dense.*"},
      {"layers.*.norm1.weight", "(bert.|)encoder.layer.*.attention.output.LayerNorm.(weight|gamma)"},
      {"pooler.*", "(bert.|)pooler.dense.*"}};
  for (const std::string base : {"bert.", ""})
    for (const std::string norm : {"weight", "gamma"}) {
      const Folder folder;
      std::vector<std::pair<std::string, Tensor<float, 2>>> matrices;
      std::vector<std::pair<std::string, Tensor<float, 1>>> vectors;
      for (int layer = 0; layer < 2; ++layer) {
        const std::string prefix = base + "encoder.layer." + std::to_string(layer) + ".";
        float start = 100.0f * static_cast<float>(layer);
        for (const char* part : {"query", "key", "value"}) {
          matrices.emplace_back(prefix + "attention.self." + part + ".weight", counting(2, 2, start));
          vectors.emplace_back(prefix + "attention.self." + part + ".bias", counting(2, start += 10));
        }
        matrices.emplace_back(prefix + "intermediate.dense.weight", counting(3, 2, start));
        vectors.emplace_back(prefix + "intermediate.dense.bias", counting(3, start));
        vectors.emplace_back(prefix + "attention.output.LayerNorm." + norm, counting(2, start + 5));
      }
      matrices.emplace_back(base + "pooler.dense.weight", counting(2, 2, 7));
      vectors.emplace_back(base + "pooler.dense.bias", counting(2, 8));
      std::vector<attend::NamedTensor> tensors;
      for (const auto& [name, tensor] : matrices) tensors.emplace_back(name, tensor);
      for (const auto& [name, tensor] : vectors) tensors.emplace_back(name, tensor);
      attend::save_safetensors(folder / "model.safetensors", tensors);

      Model<float> model;
      attend::load(model, SafeTensors::open_folder(folder.path), "", {.names = bert});
      EXPECT_THAT(values_of(model.layers[1].qkv), ElementsAre(100, 101, 102, 103, 110, 111, 112, 113, 120,
                                                              121, 122, 123, 110, 111, 120, 121, 130, 131));
      EXPECT_THAT(model.layers[0].norm, ElementsAre(35, 36));
      EXPECT_THAT(model.pooler.bias, ElementsAre(8, 9));
    }
}

TEST(NameMap, ReplacesStarsAndAlternatives) {
  const NameMap map{
      {"a.*.b", "x.*"}, {"a.*.*", "y.*.z_*"}, {"n_*", {"p.*", "q.*"}}, {"w", attend::transposed({"t"})}};
  EXPECT_THAT(map("a.3.b").names, ElementsAre("x.3"));
  EXPECT_THAT(map("a.12.c").names, ElementsAre("y.12.z_c"));
  EXPECT_THAT(map("n_weight").names, ElementsAre("p.weight", "q.weight"));
  EXPECT_TRUE(map("w").transpose);
  EXPECT_THAT(map("a.b").names, ElementsAre("a.b"));          // no match: itself
  EXPECT_THAT(map("a.3.4.b").names, ElementsAre("a.3.4.b"));  // a star takes no dot
  EXPECT_THAT(map("a..b").names, ElementsAre("a..b"));        // and not nothing
  EXPECT_THAT(error_of([] { NameMap{{"a", "b.*"}}("a"); }), HasSubstr("more stars"));
  EXPECT_THAT(attend::detail::expand_alternatives("(a.|)b.(c|d)"),
              ElementsAre("a.b.c", "a.b.d", "b.c", "b.d"));
  EXPECT_THAT(error_of([] { attend::detail::expand_alternatives("(a|b"); }), HasSubstr("no ')'"));
}

const std::string kSettings = R"({"n": 12, "eps": 1e-5, "one": 1, "flag": true, "name": "gelu", "none": null,
      "list": [1, 2], "big": 3000000000, "negative": -1, "huge": 1e300,
      "rope": {"type": "linear", "factor": 2.0}, "real": 3.0})";

class ConfigFile : public testing::Test {
 protected:
  attend::Config config_of(const std::string& text) {
    return attend::Config(folder.write("config.json", text));
  }
  Folder folder;
};

TEST_F(ConfigFile, GivesSettingsOfTheTypeAskedFor) {
  const attend::Config config = config_of(kSettings);
  EXPECT_EQ(config.get<Index>("n"), 12);
  EXPECT_EQ(config.get<double>("eps"), 1e-5);
  EXPECT_EQ(config.get<float>("one"), 1.0f);
  EXPECT_TRUE(config.get<bool>("flag"));
  EXPECT_EQ(config.get<std::string>("name"), "gelu");
  EXPECT_EQ(config.get<std::string>("absent", "x"), "x");
  EXPECT_EQ(config.get<int>("none", 7), 7);
  EXPECT_EQ(config.get<int>("n", 7), 12);
  EXPECT_THAT(config.get<std::vector<int>>("list"), ElementsAre(1, 2));
  EXPECT_EQ(config.get<std::int64_t>("big"), 3000000000);
  EXPECT_EQ(config.get<int>("negative"), -1);
  EXPECT_TRUE(config.has("n"));
  EXPECT_FALSE(config.has("none"));
  EXPECT_FALSE(config.has("absent"));
}

TEST_F(ConfigFile, ErrorsNameTheSettingAndItsType) {
  const attend::Config config = config_of(kSettings);
  EXPECT_THAT(error_of([&] { config.get<int>("absent"); }), HasSubstr("config.json: 'absent' is missing"));
  EXPECT_THAT(error_of([&] { config.get<int>("name"); }),
              HasSubstr("config.json: 'name' expected an integer, got \"gelu\""));
  EXPECT_THAT(error_of([&] { config.get<int>("none"); }), HasSubstr("got null"));
  EXPECT_THAT(error_of([&] { config.get<int>("flag"); }), HasSubstr("expected an integer, got true"));
  EXPECT_THAT(error_of([&] { config.get<bool>("one"); }), HasSubstr("expected true or false, got 1"));
  EXPECT_THAT(error_of([&] { config.get<int>("real"); }), HasSubstr("expected an integer, got 3.0"));
  EXPECT_THAT(error_of([&] { config.get<int>("big"); }), HasSubstr("within range, got 3000000000"));
  EXPECT_THAT(error_of([&] { config.get<std::uint64_t>("negative"); }), HasSubstr("within range, got -1"));
  EXPECT_THAT(error_of([&] { config.get<float>("huge"); }), HasSubstr("within range"));
  EXPECT_THAT(error_of([&] { config.get<double>("flag"); }), HasSubstr("a number, got true"));
  EXPECT_THAT(error_of([&] { config.get<std::string>("n"); }), HasSubstr("a string, got 12"));
  EXPECT_THAT(error_of([&] { config.get<std::vector<int>>("n"); }), HasSubstr("a list, got 12"));
  EXPECT_THAT(error_of([&] { config.get<int>("name", 3); }), HasSubstr("an integer"));
  EXPECT_THAT(error_of([&] { config.object("n"); }), HasSubstr("an object, got 12"));
}

TEST_F(ConfigFile, GivesObjectsWhoseSettingsHaveTheirNamesInFront) {
  const attend::Config config = config_of(R"({"n": 12, "rope": {"type": "linear", "factor": 2.0}})");
  EXPECT_EQ(config.get<Index>("n"), 12);
  const attend::Config rope = config.object("rope");
  EXPECT_EQ(rope.get<double>("factor"), 2.0);
  EXPECT_THAT(error_of([&] { rope.get<int>("type"); }), HasSubstr("'rope.type' expected an integer"));
  config.object("rope").allow("type", "linear");
  config.finish();  // all has been read
}

TEST_F(ConfigFile, RefusesWhatWasNeitherReadNorIgnored) {
  const attend::Config other =
      config_of(R"({"hidden_act": "xyz", "a": 1, "b": 2, "c": {"d": 1, "e": 2}, "eps": 1})");
  EXPECT_THAT(error_of([&] { other.allow("hidden_act", "gelu", "relu"); }),
              HasSubstr("'hidden_act' \"xyz\" is not supported"));
  other.allow("eps", 1.0);
  other.allow("not_there", true);
  EXPECT_THAT(error_of([&] { other.allow("a", nullptr, true); }), HasSubstr("'a' 1 is not supported"));
  other.ignore({"a"});
  other.object("c").get<int>("e");
  EXPECT_EQ(error_of([&] { other.finish(); }),
            (folder / "config.json").string() + ": not supported: 'b' 2, 'c.d' 1");
  other.ignore({"b"});
  other.object("c").ignore({"d"});
  other.finish();
}

TEST_F(ConfigFile, IsStrictJson) {
  EXPECT_THAT(error_of([&] { config_of(R"({"a": 1, "a": 2})"); }),
              HasSubstr("config.json: byte 11: duplicate key 'a'"));
  EXPECT_THAT(error_of([&] { config_of("{\"a\": 1,\n}"); }), HasSubstr("config.json: byte 9: not JSON"));
  EXPECT_THAT(error_of([&] { config_of(""); }), HasSubstr("not JSON"));
  EXPECT_THAT(error_of([&] { config_of("[1]"); }), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_of([&] { config_of(std::string(1000000, '[')); }),
              HasSubstr("byte 64: JSON nested more than 64"));
  EXPECT_THAT(error_of([&] { config_of("{\"a\":" + std::string(64, '[') + std::string(64, ']') + "}"); }),
              HasSubstr("nested"));
  EXPECT_TRUE(config_of("{\"a\":" + std::string(63, '[') + std::string(63, ']') + "}").has("a"));
  EXPECT_THAT(error_of([&] { config_of(std::string("{}\0", 3)); }),
              HasSubstr("byte 2: JSON with a NUL byte"));
  EXPECT_THAT(error_of([&] { config_of("{\"a\": \"\\ud800\"}"); }), HasSubstr("not JSON"));
  EXPECT_THAT(error_of([&] { attend::Config(folder / "absent.json"); }),
              HasSubstr("absent.json: is missing"));
}
