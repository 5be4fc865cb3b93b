// safetensors files: what is accepted and refused, element types, views, shards, writing.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <attend/io/safetensors.hpp>

#ifndef ATTEND_CONFORMANCE_DIR
#define ATTEND_CONFORMANCE_DIR ""
#endif

namespace fs = std::filesystem;
using attend::DType;
using attend::Index;
using attend::SafeTensors;
using attend::Tensor;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() /
                  ("attend_safetensors_" + std::to_string(reinterpret_cast<std::uintptr_t>(this)));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  fs::path operator/(const std::string& name) const { return path / name; }
};

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string with_header(const std::string& header, const std::string& data) {
  const std::uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
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

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Reads every byte of every tensor, so that the sanitizers see each access.
double touch(const SafeTensors& file) {
  double sum = 0;
  for (const SafeTensors::Entry& entry : file.entries()) {
    if (!attend::is_readable(entry.dtype)) {
      double value = 0;
      CHECK(contains(error_of([&] { file.read_rows(entry, 0, entry.rows(), &value); }),
                     std::string(to_string(entry.dtype))));
      continue;
    }
    std::vector<double> values(static_cast<std::size_t>(entry.numel()));
    file.read_rows(entry, 0, entry.rows(), values.data());
    sum = std::accumulate(values.begin(), values.end(), sum);
  }
  return sum;
}

template <class T>
void check_round_trip(const std::vector<T>& values) {
  const Folder folder;
  Tensor<T, 2> tensor({2, static_cast<Index>(values.size()) / 2}, std::span<const T>(values));
  attend::save_safetensors(folder / "a.safetensors", {{"t", tensor}});
  const SafeTensors file(folder / "a.safetensors");
  CHECK(file.at("t").dtype == attend::dtype_of<T>());
  CHECK(file.at("t").shape == std::vector<Index>{2, static_cast<Index>(values.size()) / 2});
  const auto back = file.read<T, 2>("t");
  CHECK(std::memcmp(back.data(), tensor.data(), values.size() * sizeof(T)) == 0);
  const auto view = file.view<T, 2>("t");
  CHECK(std::memcmp(view.data(), tensor.data(), values.size() * sizeof(T)) == 0);
}

}  // namespace

TEST_CASE("published malformed files") {
  const fs::path folder = fs::path(ATTEND_CONFORMANCE_DIR) / "malformed";
  std::ifstream manifest(folder / "manifest.tsv");
  if (!manifest) {
    MESSAGE("skipped: no conformance material at " << folder.string());
    return;
  }
  std::string line;
  int count = 0;
  while (std::getline(manifest, line)) {
    std::istringstream fields(line);
    std::string name, verdict;
    std::getline(fields, name, '\t');
    std::getline(fields, verdict, '\t');
    if (!name.starts_with("safetensors/")) continue;
    ++count;
    CAPTURE(line);
    REQUIRE(fs::exists(folder / name));
    const std::string error = error_of([&] { touch(SafeTensors(folder / name)); });
    if (verdict == "accept") CHECK(error == "");
    if (verdict == "reject") {
      CHECK(contains(error, (folder / name).string()));
      CHECK(contains(error, ": byte "));
      CHECK(!contains(error, "\n"));
    }
  }
  CHECK(count > 0);
}

TEST_CASE("header rules") {
  const Folder folder;
  const auto error_for = [&](const std::string& bytes) {
    write_bytes(folder / "x.safetensors", bytes);
    return error_of([&] { SafeTensors file(folder / "x.safetensors"); });
  };
  const std::string four(4, '\0');
  CHECK(error_for(with_header(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four)) == "");
  CHECK(error_for(with_header(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],)"
                              R"("x":{"a":[1,-2.5,null,{"shape":[true,""]}]}}})",
                              four)) == "");
  CHECK(error_for(with_header(R"({"__metadata__":{"shape":"a","dtype":"b"},)"
                              R"("t":{"shape":[1],"data_offsets":[0,4],"dtype":"F32"}})",
                              four)) == "");
  const std::vector<std::pair<std::string, std::string>> refused{
      {R"({"t":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "duplicate key 'dtype'"},
      {R"({"__metadata__":{"a":"b","a":"b"},"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       "duplicate key 'a'"},
      {R"({"__metadata__":{},"__metadata__":{},"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       "duplicate name"},
      {R"({"t":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", "unexpected list"},
      {R"({"t":{"dtype":"F32","shape":{},"data_offsets":[0,4]}})", "unexpected object"},
      {R"({"t":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", "unexpected number"},
      {R"({"t":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", "unexpected string"},
      {R"({"t":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}})", "unexpected list"},
      {R"({"t":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", "unexpected number"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "unexpected end of data_offsets"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[]}})", "unexpected end of data_offsets"},
      {R"({"t":{"dtype":"F32","data_offsets":[0,4]}})", "has no shape"},
      {R"({"t":{"shape":[1],"data_offsets":[0,4]}})", "has no dtype"},
      {R"({"t":{}})", "has no dtype"},
      {R"({"t":[1]})", "unexpected list"},
      {R"({"t":"F32"})", "unexpected string"},
      {R"({"__metadata__":null})", "__metadata__"},
      {R"({"__metadata__":{"a":["b"]}})", "__metadata__"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})", "not JSON"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}{})", "not JSON"},
      {R"({"t":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "negative"},
      {R"({"t":{"dtype":"F16","shape":[1],"data_offsets":[0,4]}})", "is 2 bytes"},
      {"{\"t\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "not JSON"},
      {"{\"x\":" + std::string(100, '[') + std::string(100, ']') + "}", "unexpected list"},
      {R"({"t":{"x":)" + std::string(100000, '['), "nested more than 64"},
      {R"({"t":{"dtype":"F4","shape":[8],"data_offsets":[0,5]}})", "reach beyond"},
      {R"({"t":{"dtype":"F6_E2M3","shape":[3],"data_offsets":[0,4]}})", "whole number"},
  };
  for (const auto& refusal : refused) {
    const std::string &header = refusal.first, &expected = refusal.second;
    CAPTURE(header);
    const std::string error = error_for(with_header(header, four));
    CAPTURE(error);
    CHECK(contains(error, expected));
    CHECK(contains(error, "x.safetensors: byte "));
  }
  // The cap on the header's length holds even where the file is long enough.
  {
    const std::uint64_t size = 100'000'001;
    write_bytes(folder / "x.safetensors", std::string(reinterpret_cast<const char*>(&size), 8) + "{");
    fs::resize_file(folder / "x.safetensors", size + 8);
    CHECK(contains(error_of([&] { SafeTensors file(folder / "x.safetensors"); }), "more than 100000000"));
  }
  CHECK(contains(error_of([&] { SafeTensors file(folder / "absent.safetensors"); }),
                 "absent.safetensors: cannot open"));
  CHECK(contains(error_of([&] { SafeTensors file(folder.path); }), "not a regular file"));
}

TEST_CASE("every truncation and every changed byte of a file is survived") {
  const Folder folder;
  attend::save_safetensors(
      folder / "good.safetensors",
      {{"a", Tensor<float, 2>::of({{1, 2}, {3, 4}})}, {"b", Tensor<std::int8_t, 1>::of({1, 2, 3})}},
      {{"format", "pt"}});
  const std::string good = attend::read_file(folder / "good.safetensors");
  for (std::size_t n = 0; n < good.size(); ++n) {
    write_bytes(folder / "bad.safetensors", good.substr(0, n));
    CHECK(error_of([&] { SafeTensors file(folder / "bad.safetensors"); }) != "");
  }
  std::uint32_t random = 1;
  for (int round = 0; round < 3000; ++round) {
    std::string bad = good;
    for (int change = 0; change <= round % 3; ++change) {
      random = random * 1664525u + 1013904223u;
      bad[(random >> 8) % bad.size()] = "0129[]{},:\"\\-.eF\xff"[random >> 24 & 15];
    }
    write_bytes(folder / "bad.safetensors", bad);
    error_of([&] { touch(SafeTensors(folder / "bad.safetensors")); });
  }
}

TEST_CASE("round trip of every element type") {
  using L8 = std::numeric_limits<std::int8_t>;
  using L64 = std::numeric_limits<std::int64_t>;
  check_round_trip<std::int8_t>({L8::min(), -1, 0, L8::max()});
  check_round_trip<std::uint8_t>({0, 1, 128, 255});
  check_round_trip<std::int16_t>({-32768, -1, 5, 32767});
  check_round_trip<std::uint16_t>({0, 1, 32768, 65535});
  check_round_trip<std::int32_t>({INT32_MIN, -1, 0, INT32_MAX});
  check_round_trip<std::uint32_t>({0, 1, 2, UINT32_MAX});
  check_round_trip<std::int64_t>({L64::min(), -1, 0, L64::max()});
  check_round_trip<std::uint64_t>({0, 1, 2, UINT64_MAX});
  check_round_trip<float>({-0.0f, std::nanf(""), INFINITY, 1e-45f});
  check_round_trip<double>({-0.0, std::nan(""), -INFINITY, 5e-324});
  check_round_trip<Eigen::half>(
      {Eigen::half(1.5f), Eigen::half(-0.0f), Eigen::half(65504.0f), Eigen::half(6e-8f)});
  check_round_trip<Eigen::bfloat16>(
      {Eigen::bfloat16(1.5f), Eigen::bfloat16(-0.0f), Eigen::bfloat16(3e38f), Eigen::bfloat16(1e-40f)});

  const Folder folder;
  const std::vector<std::byte> bits{std::byte{0}, std::byte{1}, std::byte{2}};
  attend::save_safetensors(folder / "b.safetensors", {{"b", DType::BOOL, {3}, bits}});
  const SafeTensors file(folder / "b.safetensors");
  CHECK(file.read<float, 1>("b")(2) == 1.0f);
  bool read[3] = {true, false, false};
  file.read_rows(file.at("b"), 0, 3, read);
  CHECK((!read[0] && read[1] && read[2]));
  CHECK(file.read<int, 1>("b")(1) == 1);
  CHECK(file.view<std::uint8_t, 1>("b")(2) == 2);
}

TEST_CASE("16-bit floats: all 65536 values") {
  const Folder folder;
  std::vector<std::uint16_t> all(65536);
  std::iota(all.begin(), all.end(), std::uint16_t{0});
  attend::save_safetensors(folder / "h.safetensors",
                           {{"half", DType::F16, {256, 256}, std::as_bytes(std::span(all))},
                            {"bf", DType::BF16, {65536}, std::as_bytes(std::span(all))}});
  const SafeTensors file(folder / "h.safetensors");
  const auto half = file.read<float, 2>("half");
  const auto half_double = file.read<double, 2>("half");
  const auto bf = file.read<float, 1>("bf");
  const auto bf_double = file.read<double, 1>("bf");
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    // From the definition of the formats: sign, exponent, fraction.
    const auto value = [&](int fraction_bits, int bias) {
      const int exponent = static_cast<int>(bits >> fraction_bits) & (bias * 2 + 1);
      const double fraction = static_cast<double>(bits & ((1u << fraction_bits) - 1)) / (1 << fraction_bits);
      const double sign = bits >> 15 ? -1.0 : 1.0;
      if (exponent == bias * 2 + 1) return fraction > 0 ? std::nan("") : sign * INFINITY;
      return sign *
             (exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias));
    };
    const auto same = [](double expected, double got) {
      return std::isnan(expected) ? std::isnan(got)
                                  : expected == got && std::signbit(expected) == std::signbit(got);
    };
    const Index i = static_cast<Index>(bits);
    wrong +=
        !same(value(10, 15), half(i / 256, i % 256)) + !same(value(10, 15), half_double(i / 256, i % 256));
    wrong += !same(value(7, 127), bf(i)) + !same(value(7, 127), bf_double(i));
    if (std::isnan(bf(i))) wrong += std::signbit(bf(i)) != (bits >> 15 != 0);
  }
  CHECK(wrong == 0);
}

TEST_CASE("conversions") {
  const Folder folder;
  attend::save_safetensors(folder / "c.safetensors",
                           {{"i", Tensor<std::int64_t, 2>::of({{1, -2}, {300, 1LL << 40}})},
                            {"d", Tensor<double, 1>::of({0.1, 1e300})},
                            {"s", Tensor<float, 0>({}, 7.5f)}});
  const SafeTensors file(folder / "c.safetensors");
  CHECK(file.read<float, 2>("i")(1, 1) == 1099511627776.0f);
  CHECK(file.read<std::int64_t, 2>("i")(0, 1) == -2);
  CHECK(contains(error_of([&] { file.read<std::int32_t, 2>("i"); }), "do not fit"));
  CHECK(contains(error_of([&] { file.read<std::uint64_t, 2>("i"); }), "do not fit"));
  CHECK(contains(error_of([&] { file.read<int, 1>("d"); }), "do not fit"));
  CHECK(file.read<float, 1>("d")(0) == 0.1f);
  CHECK(file.read<float, 1>("d")(1) == INFINITY);
  CHECK(file.read<float, 0>("s")() == 7.5f);
  CHECK(file.read<Eigen::half, 0>("s")() == Eigen::half(7.5f));
  CHECK(file.view<float, 0>("s")() == 7.5f);
  const auto& entry = file.at("i");
  std::int16_t row[2] = {};
  file.read_rows(entry, 0, 1, row);
  CHECK(row[1] == -2);
  file.read_rows(entry, 2, 2, row);  // nothing
  CHECK(contains(error_of([&] { file.read_rows(entry, 1, 3, row); }), "rows [1, 3] of shape [2, 2]"));
  CHECK(contains(error_of([&] { file.read_rows(entry, -1, 1, row); }), "rows"));
  CHECK(contains(error_of([&] { file.read_elements(entry, 3, 2, row); }), "elements [3, 2]"));
  CHECK(contains(error_of([&] { file.read_elements(entry, 1, std::numeric_limits<Index>::max(), row); }),
                 "elements"));
}

TEST_CASE("views are checked and do not copy") {
  const Folder folder;
  attend::save_safetensors(folder / "v.safetensors", {{"m", Tensor<float, 2>::of({{1, 2, 3}, {4, 5, 6}})}});
  const SafeTensors file(folder / "v.safetensors");
  const auto view = file.view<float, 2>("m");
  CHECK(view(1, 2) == 6);
  CHECK(reinterpret_cast<const std::byte*>(view.data()) == file.at("m").data);
  CHECK(contains(error_of([&] { file.view<double, 2>("m"); }),
                 "v.safetensors: tensor 'm': expected F64, got F32"));
  CHECK(
      contains(error_of([&] { file.view<float, 1>("m"); }), "tensor 'm': expected rank 1, got shape [2, 3]"));
  CHECK(contains(error_of([&] { file.view<float, 2>("n"); }), "has no tensor 'n'"));
  CHECK(file.find("n") == nullptr);
  CHECK(file.contains("m"));

  // A copy keeps the mapping alive.
  auto first = std::make_unique<SafeTensors>(file.path());
  const SafeTensors second = *first;
  const auto kept = second.view<float, 2>("m");
  first.reset();
  CHECK(kept(0, 0) == 1);

  const std::string header = R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                             R"("b":{"dtype":"F32","shape":[2],"data_offsets":[3,11]}})";
  const float numbers[2] = {1.5f, -2.5f};
  write_bytes(folder / "u.safetensors",
              with_header(header + std::string(8 - header.size() % 8, ' '),
                          "abc" + std::string(reinterpret_cast<const char*>(numbers), 8)));
  const SafeTensors unaligned(folder / "u.safetensors");
  CHECK(contains(error_of([&] { unaligned.view<float, 1>("b"); }), "not aligned for F32"));
  CHECK(unaligned.read<float, 1>("b")(1) == -2.5f);
  CHECK(unaligned.read<double, 1>("b")(0) == 1.5);
  CHECK(unaligned.view<std::uint8_t, 1>("a")(2) == 'c');
}

TEST_CASE("released pages can be read again") {
  const Folder folder;
  Tensor<float, 2> big({300, 1000});
  for (Index i = 0; i < big.numel(); ++i) big.data()[i] = static_cast<float>(i);
  attend::save_safetensors(folder / "r.safetensors", {{"big", big}, {"small", Tensor<float, 1>::of({5})}});
  const SafeTensors file(folder / "r.safetensors");
  for (int round = 0; round < 2; ++round) {
    const auto back = file.read<float, 2>("big");
    CHECK(std::memcmp(back.data(), big.data(), sizeof(float) * 300000) == 0);
    file.release(file.at("big"));
    file.release(file.at("small"));
  }
}

TEST_CASE("shards") {
  const Folder folder;
  attend::save_safetensors(folder / "m-1.safetensors", {{"a", Tensor<float, 1>::of({1})}},
                           {{"format", "pt"}});
  attend::save_safetensors(folder / "m-2.safetensors",
                           {{"b", Tensor<float, 1>::of({2})}, {"a", Tensor<float, 1>::of({9})}});
  const fs::path index = folder / "model.safetensors.index.json";
  write_bytes(index,
              R"({"metadata":{"total_size":8},"weight_map":{"b":"m-2.safetensors","a":"m-1.safetensors"}})");
  const SafeTensors file = SafeTensors::open_folder(folder.path);
  CHECK(file.names() == std::vector<std::string>{"a", "b"});
  CHECK(file.read<float, 1>("a")(0) == 1);  // the index decides
  CHECK(file.read<float, 1>("b")(0) == 2);
  CHECK(file.metadata().at("format") == "pt");

  const auto error_for = [&](const std::string& text) {
    write_bytes(index, text);
    return error_of([&] { SafeTensors::open_folder(folder.path); });
  };
  CHECK(contains(error_for(R"({"weight_map":{"a":"m-1.safetensors","b":"m-3.safetensors"}})"),
                 "shard 'm-3.safetensors' is missing"));
  CHECK(contains(error_for(R"({"weight_map":{"c":"m-1.safetensors"}})"), "tensor 'c' is not in its shard"));
  CHECK(contains(error_for(R"({"weight_map":{"a":"../m-1.safetensors"}})"), "not the name of a file"));
  CHECK(contains(error_for(R"({"weight_map":{"a":"m-1.safetensors","a":"m-2.safetensors"}})"),
                 "duplicate key 'a'"));
  CHECK(contains(error_for(R"({"weight_map":{"a":1}})"), "not a string"));
  CHECK(contains(error_for(R"({"weight_map":[]})"), "weight_map"));
  CHECK(contains(error_for(R"([])"), "weight_map"));
  fs::remove(index);
  CHECK(contains(error_of([&] { SafeTensors::open_folder(folder.path); }), "has neither"));
  fs::rename(folder / "m-1.safetensors", folder / "model.safetensors");
  CHECK(SafeTensors::open_folder(folder.path).names() == std::vector<std::string>{"a"});
}

TEST_CASE("writing") {
  const Folder folder;
  const Tensor<float, 1> f = Tensor<float, 1>::of({1, 2});
  const Tensor<std::int8_t, 1> i = Tensor<std::int8_t, 1>::of({1, 2, 3});
  const attend::Metadata metadata{{"line", "a\n\"b\"\\"}, {"greek", "αβγ"}};
  attend::save_safetensors(folder / "1", {{"i", i}, {"f\"\n", f}}, metadata);
  attend::save_safetensors(folder / "2", {{"f\"\n", f}, {"i", i}}, metadata);
  const std::string bytes = attend::read_file(folder / "1");
  CHECK(bytes == attend::read_file(folder / "2"));
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  CHECK(header % 8 == 0);
  CHECK(bytes.size() == 8 + header + 8 + 3);
  const SafeTensors file(folder / "1");
  CHECK(file.metadata() == metadata);
  CHECK(file.view<float, 1>("f\"\n")(1) == 2);
  CHECK(file.read<std::int8_t, 1>("i")(2) == 3);

  // A failure leaves the old file as it was and no other file behind.
  const std::vector<std::byte> three(3);
  CHECK(contains(error_of([&] {
                   attend::save_safetensors(folder / "1", {{"x", DType::F32, {1}, three}});
                 }),
                 "expected [1] of F32, got 3 bytes"));
  CHECK(contains(error_of([&] {
                   attend::save_safetensors(folder / "1", {{"x", f}, {"x", f}});
                 }),
                 "'x' is taken"));
  CHECK(contains(error_of([&] {
                   attend::save_safetensors(folder / "1", {{"__metadata__", f}});
                 }),
                 "is taken"));
  CHECK(contains(error_of([&] { attend::save_safetensors(folder / "1", {{"\xff", f}}); }), "not UTF-8"));
  CHECK(contains(error_of([&] {
                   attend::SafeTensorsWriter writer(folder / "1", {{"x", DType::F32, {2}}});
                   writer.write(std::as_bytes(f.span()).first(4));
                   writer.commit();
                 }),
                 "4 bytes less"));
  CHECK(contains(error_of([&] {
                   attend::SafeTensorsWriter writer(folder / "1", {{"x", DType::F32, {1}}});
                   writer.write(std::as_bytes(f.span()));
                 }),
                 "more bytes"));
  CHECK(contains(error_of([&] {
                   attend::save_safetensors(folder.path / "no" / "1", {{"x", f}});
                 }),
                 "cannot create"));
  CHECK(attend::read_file(folder / "1") == bytes);
  CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 2);
  attend::save_safetensors(folder / "1", {});
  CHECK(SafeTensors(folder / "1").entries().empty());
}
