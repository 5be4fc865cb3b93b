// safetensors files: what is accepted and refused, element types, views, shards, writing.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <attend/core/file.hpp>
#include <attend/io/safetensors.hpp>

#include "support.hpp"

namespace fs = std::filesystem;
using attend::DType;
using attend::Index;
using attend::SafeTensors;
using attend::Tensor;
using attend_test::error_of;
using attend_test::error_or_none;
using attend_test::Folder;
using attend_test::kUnpublished;
using attend_test::Malformed;
using attend_test::malformed_files;
using attend_test::published;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

namespace {

std::string with_header(const std::string& header, const std::string& data) {
  const std::uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

/// Reads every byte of every tensor, so that the sanitizers see each access.
double touch(const SafeTensors& file) {
  double sum = 0;
  for (const SafeTensors::Entry& entry : file.entries()) {
    if (!attend::detail::is_readable(entry.dtype)) {
      double value = 0;
      EXPECT_THAT(error_of([&] { file.read_rows(entry, 0, entry.rows(), &value); }),
                  HasSubstr(std::string(to_string(entry.dtype))));
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
  EXPECT_EQ(file.at("t").dtype, attend::dtype_of<T>());
  EXPECT_THAT(file.at("t").shape, ElementsAre(2, static_cast<Index>(values.size()) / 2));
  const auto back = file.read<T, 2>("t");
  EXPECT_EQ(std::memcmp(back.data(), tensor.data(), values.size() * sizeof(T)), 0);
  const auto view = file.view<T, 2>("t");
  EXPECT_EQ(std::memcmp(view.data(), tensor.data(), values.size() * sizeof(T)), 0);
}

}  // namespace

TEST(SafeTensors, AcceptsAndRefusesThePublishedMalformedFiles) {
  if (published("malformed").empty()) GTEST_SKIP() << kUnpublished;
  for (const Malformed& sample : malformed_files("safetensors")) {
    SCOPED_TRACE(sample.file.string());
    const std::string error = error_or_none([&] { touch(SafeTensors(sample.file)); });
    if (sample.verdict == "accept") {
      EXPECT_EQ(error, "");
    }
    if (sample.verdict == "reject") {
      EXPECT_THAT(error, AllOf(HasSubstr(sample.file.string()), HasSubstr(": byte "), Not(HasSubstr("\n"))));
    }
  }
}

class SafeTensorsHeader : public testing::Test {
 protected:
  /// Of a file with these bytes; nothing where it opens.
  std::string error_for(const std::string& bytes) {
    folder_.write("x.safetensors", bytes);
    return error_or_none([&] { SafeTensors file(folder_ / "x.safetensors"); });
  }
  const std::string four_ = std::string(4, '\0');
  Folder folder_;
};

TEST_F(SafeTensorsHeader, MayHoldUnknownKeysAndMetadataInAnyOrder) {
  EXPECT_EQ(error_for(with_header(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four_)), "");
  EXPECT_EQ(error_for(with_header(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],)"
                                  R"("x":{"a":[1,-2.5,null,{"shape":[true,""]}]}}})",
                                  four_)),
            "");
  EXPECT_EQ(error_for(with_header(R"({"__metadata__":{"shape":"a","dtype":"b"},)"
                                  R"("t":{"shape":[1],"data_offsets":[0,4],"dtype":"F32"}})",
                                  four_)),
            "");
}

TEST_F(SafeTensorsHeader, ErrorsNameTheByteAndWhatIsWrong) {
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
    SCOPED_TRACE(header);
    const std::string error = error_for(with_header(header, four_));
    EXPECT_THAT(error, HasSubstr(expected));
    EXPECT_THAT(error, HasSubstr("x.safetensors: byte "));
  }
}

// The cap holds even where the file is long enough.
TEST_F(SafeTensorsHeader, IsCappedInLength) {
  const std::uint64_t size = 100'000'001;
  folder_.write("x.safetensors", std::string(reinterpret_cast<const char*>(&size), 8) + "{");
  fs::resize_file(folder_ / "x.safetensors", size + 8);
  EXPECT_THAT(error_of([&] { SafeTensors file(folder_ / "x.safetensors"); }),
              HasSubstr("more than 100000000"));
}

TEST(SafeTensors, AreRegularFilesThatExist) {
  const Folder folder;
  EXPECT_THAT(error_of([&] { SafeTensors file(folder / "absent.safetensors"); }),
              HasSubstr("absent.safetensors: cannot open"));
  EXPECT_THAT(error_of([&] { SafeTensors file(folder.path); }), HasSubstr("not a regular file"));
}

TEST(SafeTensors, SurvivesEveryTruncationAndChangedByte) {
  const Folder folder;
  attend::save_safetensors(
      folder / "good.safetensors",
      {{"a", Tensor<float, 2>::of({{1, 2}, {3, 4}})}, {"b", Tensor<std::int8_t, 1>::of({1, 2, 3})}},
      {{"format", "pt"}});
  const std::string good = attend::read_file(folder / "good.safetensors");
  for (std::size_t n = 0; n < good.size(); ++n) {
    folder.write("bad.safetensors", good.substr(0, n));
    EXPECT_NE(error_or_none([&] { SafeTensors file(folder / "bad.safetensors"); }), "") << n;
  }
  std::uint32_t random = 1;
  for (int round = 0; round < 3000; ++round) {
    std::string bad = good;
    for (int change = 0; change <= round % 3; ++change) {
      random = random * 1664525u + 1013904223u;
      bad[(random >> 8) % bad.size()] = "0129[]{},:\"\\-.eF\xff"[random >> 24 & 15];
    }
    folder.write("bad.safetensors", bad);
    error_or_none([&] { touch(SafeTensors(folder / "bad.safetensors")); });
  }
}

TEST(SafeTensors, KeepsEveryElementType) {
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
}

TEST(SafeTensors, ReadsBooleans) {
  const Folder folder;
  const std::vector<std::byte> bits{std::byte{0}, std::byte{1}, std::byte{2}};
  attend::save_safetensors(folder / "b.safetensors", {{"b", DType::BOOL, {3}, bits}});
  const SafeTensors file(folder / "b.safetensors");
  EXPECT_EQ((file.read<float, 1>("b")(2)), 1.0f);
  bool read[3] = {true, false, false};
  file.read_rows(file.at("b"), 0, 3, read);
  EXPECT_TRUE(!read[0] && read[1] && read[2]);
  EXPECT_EQ((file.read<int, 1>("b")(1)), 1);
  EXPECT_EQ((file.view<std::uint8_t, 1>("b")(2)), 2);
}

TEST(SafeTensors, ReadsAll16BitFloats) {
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
  EXPECT_EQ(wrong, 0);
}

TEST(SafeTensors, ConvertsValuesThatFit) {
  const Folder folder;
  attend::save_safetensors(folder / "c.safetensors",
                           {{"i", Tensor<std::int64_t, 2>::of({{1, -2}, {300, 1LL << 40}})},
                            {"d", Tensor<double, 1>::of({0.1, 1e300})},
                            {"s", Tensor<float, 0>({}, 7.5f)}});
  const SafeTensors file(folder / "c.safetensors");
  EXPECT_EQ((file.read<float, 2>("i")(1, 1)), 1099511627776.0f);
  EXPECT_EQ((file.read<std::int64_t, 2>("i")(0, 1)), -2);
  EXPECT_THAT(error_of([&] { file.read<std::int32_t, 2>("i"); }), HasSubstr("do not fit"));
  EXPECT_THAT(error_of([&] { file.read<std::uint64_t, 2>("i"); }), HasSubstr("do not fit"));
  EXPECT_THAT(error_of([&] { file.read<int, 1>("d"); }), HasSubstr("do not fit"));
  EXPECT_EQ((file.read<float, 1>("d")(0)), 0.1f);
  EXPECT_EQ((file.read<float, 1>("d")(1)), INFINITY);
  EXPECT_EQ((file.read<float, 0>("s")()), 7.5f);
  EXPECT_EQ((file.read<Eigen::half, 0>("s")()), Eigen::half(7.5f));
  EXPECT_EQ((file.view<float, 0>("s")()), 7.5f);
  const auto& entry = file.at("i");
  std::int16_t row[2] = {};
  file.read_rows(entry, 0, 1, row);
  EXPECT_EQ(row[1], -2);
  file.read_rows(entry, 2, 2, row);  // nothing
  EXPECT_THAT(error_of([&] { file.read_rows(entry, 1, 3, row); }), HasSubstr("rows [1, 3] of shape [2, 2]"));
  EXPECT_THAT(error_of([&] { file.read_rows(entry, -1, 1, row); }), HasSubstr("rows"));
  EXPECT_THAT(error_of([&] { file.read_elements(entry, 3, 2, row); }), HasSubstr("elements [3, 2]"));
  EXPECT_THAT(error_of([&] { file.read_elements(entry, 1, std::numeric_limits<Index>::max(), row); }),
              HasSubstr("elements"));
}

TEST(SafeTensors, ViewsAreCheckedAndDoNotCopy) {
  const Folder folder;
  attend::save_safetensors(folder / "v.safetensors", {{"m", Tensor<float, 2>::of({{1, 2, 3}, {4, 5, 6}})}});
  const SafeTensors file(folder / "v.safetensors");
  const auto view = file.view<float, 2>("m");
  EXPECT_EQ(view(1, 2), 6);
  EXPECT_EQ(reinterpret_cast<const std::byte*>(view.data()), file.at("m").data);
  EXPECT_THAT(error_of([&] { file.view<double, 2>("m"); }),
              HasSubstr("v.safetensors: tensor 'm': expected F64, got F32"));
  EXPECT_THAT(error_of([&] { file.view<float, 1>("m"); }),
              HasSubstr("tensor 'm': expected rank 1, got shape [2, 3]"));
  EXPECT_THAT(error_of([&] { file.view<float, 2>("n"); }), HasSubstr("has no tensor 'n'"));
  EXPECT_EQ(file.find("n"), nullptr);
  EXPECT_TRUE(file.contains("m"));
}

TEST(SafeTensors, CopyKeepsTheMappingAlive) {
  const Folder folder;
  attend::save_safetensors(folder / "v.safetensors", {{"m", Tensor<float, 2>::of({{1, 2, 3}, {4, 5, 6}})}});
  auto first = std::make_unique<SafeTensors>(folder / "v.safetensors");
  const SafeTensors second = *first;
  const auto kept = second.view<float, 2>("m");
  first.reset();
  EXPECT_EQ(kept(0, 0), 1);
}

TEST(SafeTensors, ReadsUnalignedDataAndRefusesViewsOfIt) {
  const Folder folder;
  const std::string header = R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                             R"("b":{"dtype":"F32","shape":[2],"data_offsets":[3,11]}})";
  const float numbers[2] = {1.5f, -2.5f};
  folder.write("u.safetensors", with_header(header + std::string(8 - header.size() % 8, ' '),
                                            "abc" + std::string(reinterpret_cast<const char*>(numbers), 8)));
  const SafeTensors unaligned(folder / "u.safetensors");
  EXPECT_THAT(error_of([&] { unaligned.view<float, 1>("b"); }), HasSubstr("not aligned for F32"));
  EXPECT_EQ((unaligned.read<float, 1>("b")(1)), -2.5f);
  EXPECT_EQ((unaligned.read<double, 1>("b")(0)), 1.5);
  EXPECT_EQ((unaligned.view<std::uint8_t, 1>("a")(2)), 'c');
}

TEST(SafeTensors, ReleasedPagesCanBeReadAgain) {
  const Folder folder;
  Tensor<float, 2> big({300, 1000});
  for (Index i = 0; i < big.numel(); ++i) big.data()[i] = static_cast<float>(i);
  attend::save_safetensors(folder / "r.safetensors", {{"big", big}, {"small", Tensor<float, 1>::of({5})}});
  const SafeTensors file(folder / "r.safetensors");
  for (int round = 0; round < 2; ++round) {
    const auto back = file.read<float, 2>("big");
    EXPECT_EQ(std::memcmp(back.data(), big.data(), sizeof(float) * 300000), 0);
    file.release(file.at("big"));
    file.release(file.at("small"));
  }
}

// The one tensor that is missing comes last: to look for each among all the others would take minutes.
TEST(SafeTensors, NamesTheTensorThatAShardLacksAmongMany) {
  const Folder folder;
  std::string header = "{", index = R"({"weight_map":{)";
  for (int i = 100'000; i < 250'000; ++i) {
    const std::string name = '"' + std::to_string(i) + '"';
    header += name + R"(:{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)";
    index += name + R"(:"m.safetensors",)";
  }
  header.back() = '}';
  folder.write("m.safetensors", with_header(header, ""));
  folder.write("model.safetensors.index.json", index + R"("250000":"m.safetensors"}})");
  EXPECT_THAT(error_of([&] { SafeTensors::open_folder(folder.path); }),
              HasSubstr("'250000' is not in its shard"));
}

TEST(SafeTensors, ReadsAFolderOfShardsAsOneFile) {
  const Folder folder;
  attend::save_safetensors(folder / "m-1.safetensors", {{"a", Tensor<float, 1>::of({1})}},
                           {{"format", "pt"}});
  attend::save_safetensors(folder / "m-2.safetensors",
                           {{"b", Tensor<float, 1>::of({2})}, {"a", Tensor<float, 1>::of({9})}});
  const fs::path index = folder / "model.safetensors.index.json";
  folder.write("model.safetensors.index.json",
               R"({"metadata":{"total_size":8},"weight_map":{"b":"m-2.safetensors","a":"m-1.safetensors"}})");
  const SafeTensors file = SafeTensors::open_folder(folder.path);
  EXPECT_THAT(file.names(), ElementsAre("a", "b"));
  EXPECT_EQ((file.read<float, 1>("a")(0)), 1);  // the index decides
  EXPECT_EQ((file.read<float, 1>("b")(0)), 2);
  EXPECT_EQ(file.metadata().at("format"), "pt");

  const auto error_for = [&](const std::string& text) {
    folder.write("model.safetensors.index.json", text);
    return error_of([&] { SafeTensors::open_folder(folder.path); });
  };
  EXPECT_THAT(error_for(R"({"weight_map":{"a":"m-1.safetensors","b":"m-3.safetensors"}})"),
              HasSubstr("shard 'm-3.safetensors' is missing"));
  EXPECT_THAT(error_for(R"({"weight_map":{"c":"m-1.safetensors"}})"),
              HasSubstr("tensor 'c' is not in its shard"));
  EXPECT_THAT(error_for(R"({"weight_map":{"a":"../m-1.safetensors"}})"), HasSubstr("not the name of a file"));
  EXPECT_THAT(error_for(R"({"weight_map":{"a":"m-1.safetensors","a":"m-2.safetensors"}})"),
              HasSubstr("duplicate key 'a'"));
  EXPECT_THAT(error_for(R"({"weight_map":{"a":1}})"), HasSubstr("not a string"));
  EXPECT_THAT(error_for(R"({"weight_map":[]})"), HasSubstr("weight_map"));
  EXPECT_THAT(error_for(R"([])"), HasSubstr("has no object 'weight_map'"));
  fs::remove(index);
  EXPECT_THAT(error_of([&] { SafeTensors::open_folder(folder.path); }), HasSubstr("has neither"));
  fs::rename(folder / "m-1.safetensors", folder / "model.safetensors");
  EXPECT_THAT(SafeTensors::open_folder(folder.path).names(), ElementsAre("a"));
}

class SavedSafeTensors : public testing::Test {
 protected:
  Folder folder;
  const Tensor<float, 1> f = Tensor<float, 1>::of({1, 2});
  const Tensor<std::int8_t, 1> i = Tensor<std::int8_t, 1>::of({1, 2, 3});
  const attend::Metadata metadata{{"line", "a\n\"b\"\\"}, {"greek", "αβγ"}};
};

TEST_F(SavedSafeTensors, DoNotDependOnTheOrderGiven) {
  attend::save_safetensors(folder / "1", {{"i", i}, {"f\"\n", f}}, metadata);
  attend::save_safetensors(folder / "2", {{"f\"\n", f}, {"i", i}}, metadata);
  const std::string bytes = attend::read_file(folder / "1");
  EXPECT_EQ(bytes, attend::read_file(folder / "2"));
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0);
  EXPECT_EQ(bytes.size(), 8 + header + 8 + 3);
  const SafeTensors file(folder / "1");
  EXPECT_EQ(file.metadata(), metadata);
  EXPECT_EQ((file.view<float, 1>("f\"\n")(1)), 2);
  EXPECT_EQ((file.read<std::int8_t, 1>("i")(2)), 3);
}

TEST_F(SavedSafeTensors, AreLeftAsTheyWereByAFailure) {
  attend::save_safetensors(folder / "1", {{"i", i}, {"f\"\n", f}}, metadata);
  const std::string bytes = attend::read_file(folder / "1");
  // A failure leaves the old file as it was and no other file behind.
  const std::vector<std::byte> three(3);
  EXPECT_THAT(error_of([&] {
                attend::save_safetensors(folder / "1", {{"x", DType::F32, {1}, three}});
              }),
              HasSubstr("expected [1] of F32, got 3 bytes"));
  EXPECT_THAT(error_of([&] {
                attend::save_safetensors(folder / "1", {{"x", f}, {"x", f}});
              }),
              HasSubstr("'x' is taken"));
  EXPECT_THAT(error_of([&] {
                attend::save_safetensors(folder / "1", {{"__metadata__", f}});
              }),
              HasSubstr("is taken"));
  EXPECT_THAT(error_of([&] {
                attend::save_safetensors(folder / "1", {{"\xff", f}});
              }),
              HasSubstr("not UTF-8"));
  EXPECT_THAT(error_of([&] {
                attend::SafeTensorsWriter writer(folder / "1", {{"x", DType::F32, {2}}});
                writer.write(std::as_bytes(f.span()).first(4));
                writer.commit();
              }),
              HasSubstr("4 bytes less"));
  EXPECT_THAT(error_of([&] {
                attend::SafeTensorsWriter writer(folder / "1", {{"x", DType::F32, {1}}});
                writer.write(std::as_bytes(f.span()));
              }),
              HasSubstr("more bytes"));
  EXPECT_THAT(error_of([&] {
                attend::save_safetensors(folder.path / "no" / "1", {{"x", f}});
              }),
              HasSubstr("cannot create"));
  EXPECT_EQ(attend::read_file(folder / "1"), bytes);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()), 1);
}

TEST_F(SavedSafeTensors, MayHoldNoTensors) {
  attend::save_safetensors(folder / "1", {});
  EXPECT_TRUE(SafeTensors(folder / "1").entries().empty());
}
