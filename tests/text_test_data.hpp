// What the tests of tokenizers share: scratch folders, and where the published data lies.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <attend/core/error.hpp>
#include <attend/text/file.hpp>

#ifndef ATTEND_CONFORMANCE_DIR
#define ATTEND_CONFORMANCE_DIR ""
#endif

namespace text_test {

namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

struct Folder {
  fs::path path =
      fs::temp_directory_path() / ("attend_text_" + std::to_string(reinterpret_cast<std::uintptr_t>(this)));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  fs::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path / name, std::ios::binary) << bytes;
    return path / name;
  }
};

inline std::string slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// Published data, or an empty path, after saying so, where it is absent.
inline fs::path published(const std::string& name) {
  const fs::path path = fs::path(ATTEND_CONFORMANCE_DIR) / name;
  if (fs::exists(path)) return path;
  MESSAGE("skipped: no conformance material at " << path.string());
  return {};
}

/// The text of the attend::Error that f throws, or nothing.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const attend::Error& error) {
    return error.what();
  }
  return {};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Calls f(file, verdict) for the published malformed files of one folder; returns how many there are.
template <class F>
int for_each_malformed(const std::string& folder, F&& f) {
  const fs::path root = published("malformed");
  if (root.empty()) return 0;
  std::ifstream manifest(root / "manifest.tsv");
  int count = 0;
  for (std::string line; std::getline(manifest, line);) {
    std::istringstream fields(line);
    std::string name, verdict;
    std::getline(fields, name, '\t');
    std::getline(fields, verdict, '\t');
    if (!name.starts_with(folder + "/")) continue;
    CAPTURE(name);
    REQUIRE(fs::exists(root / name));
    f(root / name, verdict);
    ++count;
  }
  CHECK(count > 0);
  return count;
}

}  // namespace text_test
