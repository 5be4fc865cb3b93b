// Loading and saving layers by name, name maps, and strict settings files.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <attend/io/config.hpp>
#include <attend/io/state_dict.hpp>

namespace fs = std::filesystem;
using attend::Index;
using attend::LoadOptions;
using attend::NameMap;
using attend::Parameter;
using attend::SafeTensors;
using attend::Source;
using attend::Tensor;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() /
                  ("attend_state_dict_" + std::to_string(reinterpret_cast<std::uintptr_t>(this)));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  fs::path operator/(const std::string& name) const { return path / name; }
};

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const attend::Error& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A layer whose weight is kept transposed ("packed"), as a real one may.
template <class Scalar>
struct Dense {
  Index out, in;
  std::vector<Scalar> packed, bias;

  Dense(Index out, Index in)
      : out(out), in(in), packed(static_cast<std::size_t>(out * in)), bias(static_cast<std::size_t>(out)) {}
  Scalar& weight(Index row, Index column) { return packed[static_cast<std::size_t>(column * out + row)]; }

  template <class Visitor>
  void parameters(Visitor&& visit) {
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
};

template <class Scalar>
struct Block {
  Dense<Scalar> qkv{6, 2}, linear{3, 2};
  std::vector<Scalar> norm = std::vector<Scalar>(2);

  template <class Visitor>
  void parameters(Visitor&& visit) {
    qkv.parameters([&](const std::string& name, auto p) { visit("self_attn.in_proj_" + name, p); });
    linear.parameters(attend::prefixed("linear1", visit));
    visit("norm1.weight", Parameter<Scalar>({2}, norm.data()));
  }
};

template <class Scalar>
struct Model {
  std::vector<Block<Scalar>> layers = std::vector<Block<Scalar>>(2);
  Dense<Scalar> pooler{2, 2};

  template <class Visitor>
  void parameters(Visitor&& visit) {
    for (std::size_t i = 0; i < layers.size(); ++i)
      layers[i].parameters(attend::prefixed("layers." + std::to_string(i), visit));
    pooler.parameters(attend::prefixed("pooler", visit));
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
Tensor<float, 1> counting(Index n, float start) { return Tensor<float, 1>(counting(1, n, start)[0]); }

}  // namespace

TEST_CASE("save and load give the same values, in blocks too") {
  const Folder folder;
  for (const auto& sizes : {std::pair<Index, Index>{3, 2}, {1, 1}, {0, 4}, {4, 0}, {700, 301}, {2, 70000}}) {
    const Index out = sizes.first, in = sizes.second;
    CAPTURE(out);
    CAPTURE(in);
    Dense<float> layer(out, in), other(out, in);
    for (Index i = 0; i < out; ++i)
      for (Index k = 0; k < in; ++k) layer.weight(i, k) = static_cast<float>(i * in + k);
    for (std::size_t i = 0; i < layer.bias.size(); ++i) layer.bias[i] = -static_cast<float>(i);
    const Dense<float>& constant = layer;
    attend::save(constant, folder / "d.safetensors", {{"who", "test"}});
    const SafeTensors file(folder / "d.safetensors");
    CHECK(file.metadata().at("who") == "test");
    CHECK(file.names() == std::vector<std::string>{"bias", "weight"});
    attend::load(other, file);
    CHECK(other.packed == layer.packed);
    CHECK(other.bias == layer.bias);
    Dense<double> wide(out, in);
    attend::load(wide, file);
    CHECK(values_of(wide) == values_of(layer));
    CHECK(attend::count_parameters(constant) == out * in + out);
  }
}

TEST_CASE("everything that is wrong is reported at once, and nothing is assigned") {
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
  CAPTURE(error);
  CHECK(contains(error, "w.safetensors: missing 'm.linear1.bias' for 'linear1.bias' [3]; "));
  CHECK(contains(error, "unexpected 'm.linear1.extra' [1, 3]; "));
  CHECK(contains(error, "'linear1.weight' expected [3, 2], got 'm.linear1.weight' [2, 3]"));
  CHECK(contains(error, "'self_attn.in_proj_bias' expected [6], got 'm.self_attn.in_proj_bias' [1, 6]"));
  CHECK(contains(error, "unreadable 'm.norm1.weight' of type F8_E4M3"));
  CHECK(!contains(error, "position_ids"));
  CHECK(!contains(error, "mother"));
  CHECK(!contains(error, "in_proj_weight"));
  CHECK(!contains(error, "\n"));
  CHECK(values_of(block.qkv) == std::vector<double>(18, 0.0));
}

TEST_CASE("strict and ignore") {
  const Folder folder;
  attend::save_safetensors(
      folder / "s.safetensors",
      {{"a.weight", counting(3, 2, 1)}, {"a.bias", counting(3, 1)}, {"a.old.masked_bias", counting(1, 0)}});
  const SafeTensors file(folder / "s.safetensors");
  Dense<float> layer(3, 2);
  CHECK(contains(error_of([&] { attend::load(layer, file, "a"); }), "unexpected 'a.old.masked_bias'"));
  CHECK(contains(error_of([&] {
                   attend::load(layer, file, "a", {.ignore = {"bias", "sked_bias"}});
                 }),
                 "masked_bias"));
  attend::load(layer, file, "a", {.ignore = {"masked_bias"}});
  attend::load(layer, file, "a", {.ignore = {"old.masked_*"}});
  attend::load(layer, file, "a.", {.strict = false});
  CHECK(layer.weight(2, 1) == 6);
  CHECK(contains(error_of([&] { attend::load(layer, file, "", {.strict = false}); }), "missing 'weight'"));
  // A prefix may have alternatives.
  attend::load(layer, file, "(b|a|)", {.strict = false});
  CHECK(contains(error_of([&] { attend::load(layer, file, "(b|c)", {.strict = false}); }),
                 "missing 'b.weight'"));
}

TEST_CASE("sources: joined, transposed, permuted, cut, added to") {
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
  CHECK(load({.names = {"q", "k", "v"}}) == joined);
  CHECK(load({.names = {"q", "k", "v"}, .row = [](Index i) { return 5 - i; }}) ==
        std::vector<double>{26, 27, 28, 23, 24, 25, 20, 21, 22, 13, 14, 15, 10, 11, 12, 0, 1, 2});
  CHECK(load({.names = {"q", "k", "v"}, .add = 0.5})[17] == 28.5);
  CHECK(load(attend::transposed({"qt", "kt"})) ==
        std::vector<double>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, 100, 102, 104, 101, 103, 105});
  CHECK(load({.names = {"kt", "qt"}, .transpose = true, .row = [](Index i) { return (i + 4) % 6; }}) ==
        std::vector<double>{2, 6, 10, 3, 7, 11, 100, 102, 104, 101, 103, 105, 0, 4, 8, 1, 5, 9});
  CHECK(load({.names = {"q", "k", "v", "q", "k", "v"}, .part = 1, .parts = 2}) == joined);
  CHECK(load({.names = {"q", "q", "k", "k", "v", "v"},
              .row = [](Index i) { return i < 6 ? 11 - i : 0; },
              .part = 0,
              .parts = 2})[3] == 23);

  const auto error_for = [&](Source source) { return error_of([&] { load(std::move(source)); }); };
  CHECK(contains(error_for({.names = {"q", "k"}}), "'weight' expected [6, 3], got 'q' [1, 3] + 'k' [2, 3]"));
  CHECK(contains(error_for({.names = {"q", "k", "v"}, .row = [](Index i) { return i + 1; }}),
                 "below 6, got 6"));
  CHECK(contains(error_for({.names = {"q", "k", "v"}, .row = [](Index i) { return i - 1; }}), "got -1"));
  CHECK(contains(error_for({.names = {"b"}, .transpose = true}), "expected [6, 3], got 'b' [6] transposed"));
  CHECK(contains(error_for({.names = {"qt", "kt"}}), "expected [6, 3]"));
  CHECK(contains(error_for({.names = {"q", "k", "v"}, .part = 2, .parts = 2}), "part 2 of 2"));
  CHECK(contains(error_for({.names = {"q", "nowhere", "(not|here)"}}),
                 "missing 'nowhere' for 'weight' [6, 3], 'not' or 'here' for 'weight' [6, 3]"));
  CHECK(contains(error_for({}), "missing a source of 'weight'"));
}

TEST_CASE("large transposed and permuted weights go in blocks") {
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
  CHECK(wrong == 0);
}

TEST_CASE("a BERT-like checkpoint by a name map of a few lines") {
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
      CHECK(values_of(model.layers[1].qkv) == std::vector<double>{100, 101, 102, 103, 110, 111, 112, 113, 120,
                                                                  121, 122, 123, 110, 111, 120, 121, 130,
                                                                  131});
      CHECK(model.layers[0].norm == std::vector<float>{35, 36});
      CHECK(model.pooler.bias == std::vector<float>{8, 9});
    }
}

TEST_CASE("name maps") {
  const NameMap map{
      {"a.*.b", "x.*"}, {"a.*.*", "y.*.z_*"}, {"n_*", {"p.*", "q.*"}}, {"w", attend::transposed({"t"})}};
  CHECK(map("a.3.b").names == std::vector<std::string>{"x.3"});
  CHECK(map("a.12.c").names == std::vector<std::string>{"y.12.z_c"});
  CHECK(map("n_weight").names == std::vector<std::string>{"p.weight", "q.weight"});
  CHECK(map("w").transpose);
  CHECK(map("a.b").names == std::vector<std::string>{"a.b"});          // no match: itself
  CHECK(map("a.3.4.b").names == std::vector<std::string>{"a.3.4.b"});  // a star takes no dot
  CHECK(map("a..b").names == std::vector<std::string>{"a..b"});        // and not nothing
  CHECK(contains(error_of([] { NameMap{{"a", "b.*"}}("a"); }), "more stars"));
  CHECK(attend::detail::expand_alternatives("(a.|)b.(c|d)") ==
        std::vector<std::string>{"a.b.c", "a.b.d", "b.c", "b.d"});
  CHECK(contains(error_of([] { attend::detail::expand_alternatives("(a|b"); }), "no ')'"));
}

TEST_CASE("settings are read strictly") {
  const Folder folder;
  const auto config_of = [&](const std::string& text) {
    std::ofstream(folder / "config.json", std::ios::binary) << text;
    return attend::Config(folder / "config.json");
  };
  const attend::Config config =
      config_of(R"({"n": 12, "eps": 1e-5, "one": 1, "flag": true, "name": "gelu", "none": null,
      "list": [1, 2], "big": 3000000000, "negative": -1, "huge": 1e300,
      "rope": {"type": "linear", "factor": 2.0}, "real": 3.0})");
  CHECK(config.get<Index>("n") == 12);
  CHECK(config.get<double>("eps") == 1e-5);
  CHECK(config.get<float>("one") == 1.0f);
  CHECK(config.get<bool>("flag"));
  CHECK(config.get<std::string>("name") == "gelu");
  CHECK(config.get<std::string>("absent", "x") == "x");
  CHECK(config.get<int>("none", 7) == 7);
  CHECK(config.get<int>("n", 7) == 12);
  CHECK(config.get<std::vector<int>>("list") == std::vector<int>{1, 2});
  CHECK(config.get<std::int64_t>("big") == 3000000000);
  CHECK(config.get<int>("negative") == -1);
  CHECK(config.has("n"));
  CHECK(!config.has("none"));
  CHECK(!config.has("absent"));
  const auto error = [&](auto f) { return error_of([&] { f(); }); };
  CHECK(contains(error([&] { config.get<int>("absent"); }), "config.json: 'absent' is missing"));
  CHECK(contains(error([&] { config.get<int>("name"); }),
                 "config.json: 'name' expected an integer, got \"gelu\""));
  CHECK(contains(error([&] { config.get<int>("none"); }), "got null"));
  CHECK(contains(error([&] { config.get<int>("flag"); }), "expected an integer, got true"));
  CHECK(contains(error([&] { config.get<bool>("one"); }), "expected true or false, got 1"));
  CHECK(contains(error([&] { config.get<int>("real"); }), "expected an integer, got 3.0"));
  CHECK(contains(error([&] { config.get<int>("big"); }), "within range, got 3000000000"));
  CHECK(contains(error([&] { config.get<std::uint64_t>("negative"); }), "within range, got -1"));
  CHECK(contains(error([&] { config.get<float>("huge"); }), "within range"));
  CHECK(contains(error([&] { config.get<double>("flag"); }), "a number, got true"));
  CHECK(contains(error([&] { config.get<std::string>("n"); }), "a string, got 12"));
  CHECK(contains(error([&] { config.get<std::vector<int>>("n"); }), "a list, got 12"));
  CHECK(contains(error([&] { config.get<int>("name", 3); }), "an integer"));
  CHECK(contains(error([&] { config.object("n"); }), "an object, got 12"));

  const attend::Config rope = config.object("rope");
  CHECK(rope.get<double>("factor") == 2.0);
  CHECK(contains(error([&] { rope.get<int>("type"); }), "'rope.type' expected an integer"));
  config.object("rope").allow("type", "linear");
  config.finish();

  const attend::Config other =
      config_of(R"({"hidden_act": "xyz", "a": 1, "b": 2, "c": {"d": 1, "e": 2}, "eps": 1})");
  CHECK(contains(error([&] { other.allow("hidden_act", "gelu", "relu"); }),
                 "'hidden_act' \"xyz\" is not supported"));
  other.allow("eps", 1.0);
  other.allow("not_there", true);
  CHECK(contains(error([&] { other.allow("a", nullptr, true); }), "'a' 1 is not supported"));
  other.ignore({"a"});
  other.object("c").get<int>("e");
  CHECK(error([&] { other.finish(); }) ==
        (folder / "config.json").string() + ": not supported: 'b' 2, 'c.d' 1");
  other.ignore({"b"});
  other.object("c").ignore({"d"});
  other.finish();

  CHECK(
      contains(error([&] { config_of(R"({"a": 1, "a": 2})"); }), "config.json: byte 11: duplicate key 'a'"));
  CHECK(contains(error([&] { config_of("{\"a\": 1,\n}"); }), "config.json: byte 9: not JSON"));
  CHECK(contains(error([&] { config_of(""); }), "not JSON"));
  CHECK(contains(error([&] { config_of("[1]"); }), "not a JSON object"));
  CHECK(contains(error([&] { config_of(std::string(1000000, '[')); }), "byte 64: JSON nested more than 64"));
  CHECK(contains(error([&] { config_of("{\"a\":" + std::string(64, '[') + std::string(64, ']') + "}"); }),
                 "nested"));
  CHECK(config_of("{\"a\":" + std::string(63, '[') + std::string(63, ']') + "}").has("a"));
  CHECK(contains(error([&] { config_of(std::string("{}\0", 3)); }), "byte 2: JSON with a NUL byte"));
  CHECK(contains(error([&] { config_of("{\"a\": \"\\ud800\"}"); }), "not JSON"));
  CHECK(contains(error([&] { attend::Config(folder / "absent.json"); }), "absent.json: cannot open"));
}
