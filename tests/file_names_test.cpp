// Names of files are UTF-8, on Windows as well, where a program's code page is another; what is read is
// mapped.
#include <filesystem>
#include <fstream>
#include <string>

#include <attend/core/file.hpp>
#include <attend/io/state_dict.hpp>
#include <attend/linear.hpp>

#include "support.hpp"

namespace {
using namespace attend;

const std::string kName = "n\u00e4hte \u0444\u0430\u0439\u043b \u6587\u4ef6";

struct FileNames : testing::Test {
  FileNames() { std::filesystem::create_directory(folder.path()); }
  attend_test::Folder scratch;
  Location folder = Location(scratch.path) / kName;
};

TEST_F(FileNames, AreUtf8WhereFilesAreWrittenAndMapped) {
  const auto linear = attend_test::filled<float>(Linear<float>({.in_features = 3, .out_features = 2}));
  const Location file = folder / (kName + ".safetensors");
  save(linear, file.path());
  save(linear, file.path());  // replaces it
  Linear<float> again({.in_features = 3, .out_features = 2});
  load(again, SafeTensors(file.string()));
  const Tensor<float, 2> x({1, 3}, 0.5f);
  EXPECT_EQ(again(x), linear(x));
  EXPECT_EQ(folder.names(), std::vector<std::string>{kName + ".safetensors"});
}

TEST_F(FileNames, PathsMayBeLongerThan260Characters) {
  std::filesystem::path deep = folder.path();
  for (char c : {'a', 'b', 'c', 'd', 'e'}) deep /= std::string(60, c);
  std::filesystem::create_directories(deep);
  std::ofstream(deep / "file") << "bytes";
  EXPECT_EQ(read_file(deep / "file"), "bytes");
  EXPECT_EQ(detail::MappedFile(deep / "file").bytes().size(), 5u);
  EXPECT_TRUE(Location(deep).is_folder());
  EXPECT_TRUE(Location(deep / "file").exists());
  EXPECT_FALSE(Location(deep / "none").exists());
  const auto linear = attend_test::filled<float>(Linear<float>({.in_features = 3, .out_features = 2}));
  const std::filesystem::path model = deep / "." / ".." / std::string(60, 'e') / "model.safetensors";
  save(linear, model);
  save(linear, model);
  Linear<float> again({.in_features = 3, .out_features = 2});
  load(again, SafeTensors(model));
#if defined(_WIN32)
  const std::wstring name = detail::any_length(deep).native();
  EXPECT_TRUE(name.starts_with(LR"(\\?\)") && name.find(L'/') == name.npos) << Location(deep).string();
  EXPECT_EQ(detail::any_length("a/b"), "a/b");
#endif
  std::filesystem::remove(deep / "file");  // one by one: MinGW lists no folder of such a length
  std::filesystem::remove(model);
  for (std::filesystem::path at = deep; at != folder.path(); at = at.parent_path())
    std::filesystem::remove(at);
}

TEST_F(FileNames, AreUtf8InErrors) {
  EXPECT_THAT(attend_test::error_of([&] { read_file(folder / kName); }), testing::HasSubstr(kName));
  EXPECT_THAT(attend_test::error_of([&] { detail::MappedFile(folder / kName / "none"); }),
              testing::HasSubstr(kName));
}

TEST_F(FileNames, OfAMapStayWhatTheyAre) {
  const std::map<std::string, std::string> files{{"./" + kName, "bytes"}};
  EXPECT_EQ(read_file(Location(files) / kName), "bytes");
  EXPECT_EQ(Location(files).names(), std::vector<std::string>{kName});
}

TEST_F(FileNames, AFileIsMappedAsItIs) {
  const Location file = folder / kName;
  std::ofstream(file.path(), std::ios::binary) << "line\r\n\x1a" << std::string(5000, 'x');
  const detail::MappedFile mapped(file);
  EXPECT_EQ(mapped.bytes().size(), 5007u);
  EXPECT_EQ(read_file(file), std::string(reinterpret_cast<const char*>(mapped.bytes().data()), 5007));
}

}  // namespace
