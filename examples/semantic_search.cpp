// A file of documents, one per line, searched by meaning: queries from standard input, answers with their
// scores.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include <attend/io/safetensors.hpp>
#include <attend/io/safetensors_writer.hpp>
#include <attend/json/json.hpp>
#include <attend/model/sentence_encoder.hpp>

#include "command_line.hpp"
#include "progress.hpp"
#include "text_input.hpp"

namespace {

using attend::Index;
using attend::Tensor;

constexpr const char* kHelp = R"(usage: semantic_search --model DIR --documents FILE [options] < QUERIES

Embeds every line of FILE once, keeps the vectors in an index beside it, and answers each query with the nearest lines.

  --model DIR         sentence encoder: config.json, model.safetensors, vocab.txt or tokenizer.json
  --documents FILE    one document per line, UTF-8
  --index FILE        where the vectors are kept (default: FILE.index.safetensors); made anew when the documents change
  --top N             answers for each query (default: 5)
  --json              print {"query", "results": [{"line", "score", "text"}, ...]} for each query
  --threads N         threads to compute with (default: 1)
  --help              show this
)";

std::vector<std::string> read_lines(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) attend::throw_error(file, ": cannot be read");
  std::vector<std::string> lines;
  LineReader reader(in, file);
  for (std::string line; reader.next(line);) lines.push_back(line);
  return lines;
}

/// FNV-1a over all that the vectors depend on.
std::string fingerprint(const std::vector<std::string>& lines, const std::string& model) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  const auto add = [&](const std::string& text) {
    for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3ull;
    hash = (hash ^ 0xffu) * 0x100000001b3ull;  // a byte that UTF-8 does not have, between two texts
  };
  std::error_code error;
  const std::filesystem::path weights = std::filesystem::path(model) / "model.safetensors";
  add(std::to_string(std::filesystem::file_size(weights, error)));
  add(std::to_string(std::filesystem::last_write_time(weights, error).time_since_epoch().count()));
  for (const std::string& line : lines) add(line);
  return std::to_string(hash);
}

/// Vectors of all lines [lines, E]. Lines run in order of their length, a few thousand tokens at a time.
Tensor<float, 2> embed(const attend::SentenceEncoder& encoder, attend::Context& context,
                       const std::vector<std::string>& lines) {
  Tensor<float, 2> out({static_cast<Index>(lines.size()), encoder.embedding_dim()});
  std::vector<std::size_t> order(lines.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return lines[a].size() < lines[b].size(); });
  Progress progress("embedding");
  constexpr std::size_t kAtATime = 256;
  for (std::size_t begin = 0; begin < order.size(); begin += kAtATime) {
    const std::size_t end = std::min(order.size(), begin + kAtATime);
    std::vector<std::string> some;
    for (std::size_t i = begin; i < end; ++i) some.push_back(lines[order[i]]);
    const Tensor<float, 2> vectors = encoder.encode(context, some);
    for (std::size_t i = begin; i < end; ++i)
      copy(vectors.view()[static_cast<Index>(i - begin)], out.view()[static_cast<Index>(order[i])]);
    progress(end, order.size());
  }
  return out;
}

Tensor<float, 2> open_or_make_index(const std::string& file, const attend::SentenceEncoder& encoder,
                                    attend::Context& context, const std::vector<std::string>& lines,
                                    const std::string& print) {
  std::error_code error;
  if (std::filesystem::exists(file, error)) {
    const attend::SafeTensors index(file);
    const auto made_of = index.metadata().find("documents");
    if (made_of == index.metadata().end() || !index.contains("embeddings"))
      attend::throw_error(file, ": not an index of semantic_search");
    const Tensor<float, 2> vectors = index.read<float, 2>("embeddings");
    if (made_of->second == print &&
        vectors.shape() == attend::Shape<2>{static_cast<Index>(lines.size()), encoder.embedding_dim()})
      return vectors;
  }
  Tensor<float, 2> vectors = embed(encoder, context, lines);
  attend::save_safetensors(file, {{"embeddings", vectors}}, {{"documents", print}});
  return vectors;
}

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {"--json"},
                              {"--model", "--documents", "--index", "--top", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  const std::string model = arguments.required("--model"), documents = arguments.required("--documents");
  attend::Context context(arguments.threads());
  const std::size_t most = static_cast<std::size_t>(arguments.integer("--top", 5, 1, 1000000));
  const std::vector<std::string> lines = read_lines(documents);
  const auto encoder = attend::SentenceEncoder::open(model);
  const Tensor<float, 2> vectors =
      open_or_make_index(arguments.text("--index", documents + ".index.safetensors"), encoder, context, lines,
                         fingerprint(lines, model));
  const std::size_t top = std::min(lines.size(), most);
  LineReader queries(std::cin, "standard input");
  for (std::string query; queries.next(query);) {
    const Tensor<float, 2> vector = encoder.encode(context, std::span(&query, 1));
    const Eigen::VectorXf scores = vectors.matrix() * vector.matrix().transpose();
    std::vector<Index> order(lines.size());
    std::iota(order.begin(), order.end(), Index{0});
    std::partial_sort(
        order.begin(), order.begin() + static_cast<std::ptrdiff_t>(top), order.end(),
        [&](Index a, Index b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
    attend::Json results = attend::Json::array();
    for (std::size_t i = 0; i < top; ++i) {
      const std::size_t line = static_cast<std::size_t>(order[i]);
      if (arguments.has("--json"))
        results.push_back({{"line", line + 1}, {"score", scores[order[i]]}, {"text", lines[line]}});
      else
        std::printf("%6.3f  %s\n", static_cast<double>(scores[order[i]]), lines[line].c_str());
    }
    if (arguments.has("--json"))
      std::cout << attend::Json{{"query", query}, {"results", results}}.dump() << std::endl;
    else
      std::printf("\n"), std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("semantic_search", [&] { run(argc, argv); });
}
