// GGUF files as tables of tensors: their values, and what is said of broken ones. tests/gguf/make.py made the
// former.
#include "support.hpp"

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <attend/io/safetensors.hpp>
#include <attend/io/safetensors_writer.hpp>

#include "gguf_writer.hpp"

namespace {
using namespace attend;
using attend_test::bytes_of;
using attend_test::error_of;
using attend_test::Folder;
using attend_test::gguf;
using attend_test::GgufWriter;
using testing::HasSubstr;

/// What a program says that opens such a file.
std::string error_of_file(const GgufWriter& writer) {
  const Folder folder;
  return error_of([&] { SafeTensors file(folder.write("a.gguf", writer.bytes())); });
}

TEST(GgufFile, GivesTensorsOfEachTypeAsTheGgufPackageDoes) {
  const SafeTensors file(gguf("types"));
  int types = 0;
  for (const SafeTensors::Entry& entry : file.entries()) {
    if (entry.name.ends_with(".expected")) continue;
    const Tensor<float, 2> got = file.read<float, 2>(entry.name),
                           expected = file.read<float, 2>(entry.name + ".expected");
    EXPECT_EQ(std::string(to_string(entry.dtype)), entry.name);
    EXPECT_EQ(std::memcmp(got.data(), expected.data(), static_cast<std::size_t>(got.numel()) * 4), 0)
        << entry.name;
    std::vector<double> some(70);  // which begin and end inside of blocks
    if (got.numel() < 80) continue;
    file.read_elements(entry, 5, 70, some.data());
    for (Index i = 0; i < 70; ++i)
      EXPECT_EQ(some[static_cast<std::size_t>(i)], static_cast<double>(expected.data()[5 + i]));
    std::vector<std::int32_t> integers(70);
    EXPECT_THAT(error_of([&] { file.read_elements(entry, 0, 70, integers.data()); }),
                HasSubstr("do not fit"));
    EXPECT_THAT(error_of([&] { file.read_elements(entry, got.numel() - 1, 2, some.data()); }),
                HasSubstr("elements"));
    ++types;
  }
  EXPECT_EQ(types, 11);
}

TEST(GgufFile, SaysWhichByteIsWrong) {
  const auto f32 = [](std::uint64_t tensors = 1) { return GgufWriter().header(tensors, 0); };
  EXPECT_THAT(error_of_file(GgufWriter()), HasSubstr("a.gguf: byte 0: not a GGUF file"));
  EXPECT_THAT(error_of_file(GgufWriter().header(0, 0, 1)), HasSubstr("byte 4: GGUF version 1"));
  EXPECT_THAT(error_of_file(GgufWriter().header(0, 0, 0x03000000)), HasSubstr("big-endian"));
  EXPECT_THAT(error_of_file(GgufWriter().header(1, 0)), HasSubstr("byte 8: 1 tensors do not fit"));
  EXPECT_THAT(error_of_file(GgufWriter().header(~std::uint64_t{0}, 0)), HasSubstr("byte 8"));
  EXPECT_THAT(error_of_file(GgufWriter().header(0, 2).key("a", 5)), HasSubstr("byte 16: 2 keys"));
  EXPECT_THAT(error_of_file(GgufWriter().header(0, 1).text("a").number<std::uint32_t>(13).data(8)),
              HasSubstr("unknown type 13"));
  EXPECT_THAT(error_of_file(GgufWriter().header(0, 1).text("").number<std::uint32_t>(4).data(8)),
              HasSubstr("byte 24: an empty key"));
  EXPECT_THAT(error_of_file(GgufWriter().header(0, 2).key("a", 5).key("a", 6)), HasSubstr("twice"));
  EXPECT_THAT(
      error_of_file(GgufWriter().header(0, 1).text("a").number<std::uint32_t>(8).number(~std::uint64_t{0})),
      HasSubstr("byte 45: the file ends too early"));
  EXPECT_THAT(
      error_of_file(
          GgufWriter().header(0, 1).text("a").number<std::uint32_t>(9).number<std::uint32_t>(9).data(16)),
      HasSubstr("unknown type 9"));
  EXPECT_THAT(
      error_of_file(
          GgufWriter().header(0, 1).text("a").number<std::uint32_t>(9).number<std::uint32_t>(10).number(
              std::uint64_t{1} << 61)),
      HasSubstr("values do not fit"));
  EXPECT_THAT(error_of_file(GgufWriter().header(0, 1).key("general.alignment", 24)),
              HasSubstr("'general.alignment' is 24"));
  EXPECT_THAT(error_of_file(GgufWriter().header(0, 1).key("general.alignment", "8")),
              HasSubstr("is not a number"));
  EXPECT_THAT(error_of_file(GgufWriter().header(0, 1).key("split.count", 2)),
              HasSubstr("'split.count' is 2"));

  EXPECT_THAT(error_of_file(f32().tensor("a", {4}, 0).data(15)),
              HasSubstr("tensor 'a': its data end behind the file"));
  EXPECT_THAT(error_of_file(f32().tensor("", {4}, 0).data(16)), HasSubstr("without a name"));
  EXPECT_THAT(error_of_file(f32().tensor("a", {1, 1, 1, 1, 1}, 0).data(16)), HasSubstr("5 axes"));
  EXPECT_THAT(error_of_file(f32().tensor("a", {4}, 11).data(999)), HasSubstr("type Q3_K is not supported"));
  EXPECT_THAT(error_of_file(f32().tensor("a", {4}, 99).data(999)), HasSubstr("type 99 is not supported"));
  EXPECT_THAT(error_of_file(f32().tensor("a", {16}, 8).data(999)),
              HasSubstr("rows of 16 values of type Q8_0"));
  EXPECT_THAT(error_of_file(f32().tensor("a", {4}, 0, 32).data(99)),
              HasSubstr("begins at 32 of the data, expected 0"));
  EXPECT_THAT(error_of_file(f32(2).tensor("a", {4}, 0).tensor("b", {4}, 0, 16).data(99)),
              HasSubstr("expected 32"));
  EXPECT_THAT(error_of_file(f32(2).tensor("a", {4}, 0).tensor("a", {4}, 0, 32).data(99)),
              HasSubstr("two of this name"));
  const std::uint64_t most = ~std::uint64_t{0};
  for (const auto& sizes : {std::vector{most},
                            {most, most},
                            {std::uint64_t{1} << 32, std::uint64_t{1} << 32},
                            {most, 0},
                            {0, most}})
    EXPECT_THAT(error_of_file(f32().tensor("a", sizes, 0).data(99)), HasSubstr("its sizes are beyond"));
  // Each beginning of a file that is right is wrong.
  const Folder folder;
  const std::string whole = bytes_of(gguf("pieces"));
  for (std::size_t size = 0; size < whole.size() - 8; size += 97)
    EXPECT_THAT(error_of([&] { SafeTensors file(folder.write("a.gguf", whole.substr(0, size))); }),
                HasSubstr("a.gguf: byte "));
}

TEST(SafeTensors, OfBlocksAreNone) {
  const Folder folder;
  EXPECT_THAT(error_of([&] {
                SafeTensorsWriter writer(folder / "a.safetensors", {{"a", DType::Q8_0, {32}}});
              }),
              HasSubstr("Q8_0 is not supported"));
  std::string header = R"({"a":{"dtype":"Q8_0","shape":[32],"data_offsets":[0,34]}})";
  const std::uint64_t size = header.size();
  header.insert(0, reinterpret_cast<const char*>(&size), 8);
  EXPECT_THAT(
      error_of([&] { SafeTensors file(folder.write("b.safetensors", header + std::string(34, 'a'))); }),
      HasSubstr("unknown dtype 'Q8_0'"));
}

}  // namespace
