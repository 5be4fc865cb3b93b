// attend_conformance PATH…: runs every case under the paths through attend's public functions. A case is a
// folder with case.txt or case.json, or a model folder with config.json and expected.safetensors, or one
// of sentence-transformers with expected.json. A line says
// of each that fails or is skipped why; the last line counts. Exit code 1 where any failed or none ran.
#include <cstdio>
#include <exception>
#include <set>
#include <string>

#include "conformance/models.hpp"
#include "conformance/onnx_ops.hpp"
#include "conformance/pytorch_cases.hpp"
#include "conformance/sentences.hpp"

namespace {

namespace fs = std::filesystem;
using conformance::Skip;

bool is_case(const fs::path& folder) {
  return fs::exists(folder / "case.txt") || fs::exists(folder / "case.json") ||
         (fs::exists(folder / "config.json") && fs::exists(folder / "expected.safetensors")) ||
         conformance::sentences::is_folder(folder);
}

/// What is wrong with a case, or nothing. Throws Skip, attend::Error.
std::string run(const fs::path& folder) {
  if (fs::exists(folder / "case.txt"))
    return conformance::onnx::run_case(conformance::detail::read_text(folder / "case.txt"));
  if (conformance::sentences::is_folder(folder)) return conformance::sentences::run_folder(folder);
  if (!fs::exists(folder / "case.json")) return conformance::models::run_folder(folder);
  const attend::Json json = attend::read_json(folder / "case.json");
  if (json.is_object() && json.contains("inputs") && json.at("inputs").is_object())
    return conformance::pytorch::run_case(folder, json);
  return conformance::onnx::run_case(conformance::detail::read_json_case(folder / "case.json", json));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: attend_conformance PATH...\n");
    return 1;
  }
  std::set<fs::path> folders;
  for (int i = 1; i < argc; ++i) {
    std::error_code error;
    fs::path path = argv[i];
    if (fs::is_regular_file(path)) path = path.parent_path();
    if (is_case(path)) folders.insert(path);
    for (fs::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error))
      if (it->is_directory() && is_case(it->path())) folders.insert(it->path());
    if (error) {
      std::fprintf(stderr, "%s: %s\n", argv[i], error.message().c_str());
      return 1;
    }
  }

  int passed = 0, failed = 0, skipped = 0;
  for (const fs::path& folder : folders) {
    std::string problem;
    try {
      problem = run(folder);
    } catch (const Skip& skip) {
      ++skipped;
      std::printf("SKIP %s: %s\n", folder.c_str(), skip.reason.c_str());
      continue;
    } catch (const std::exception& error) {
      problem = error.what();
    }
    if (problem.empty()) {
      ++passed;
    } else {
      ++failed;
      std::printf("FAIL %s: %s\n", folder.c_str(), problem.c_str());
    }
  }
  std::printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  return failed > 0 || passed == 0 ? 1 : 0;
}
