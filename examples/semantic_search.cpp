// A file of documents, one per line, searched by meaning: queries from standard input, answers with their
// scores.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <attend/core/file.hpp>
#include <attend/io/fingerprint.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/io/safetensors_writer.hpp>
#include <attend/json/json.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/sentence_encoder.hpp>

#include "command_line.hpp"
#include "progress.hpp"
#include "text_input.hpp"
#include "weights.hpp"

namespace {

using attend::Index;
using attend::Tensor;

constexpr const char* kHelp = R"(usage: semantic_search --model DIR --documents FILE [options] < QUERIES

Embeds every line of FILE once, keeps the vectors in an index beside it, and answers each query with the nearest lines.

  --model DIR         sentence encoder: config.json, model.safetensors, vocab.txt or tokenizer.json; or a GGUF file
  --documents FILE    one document per line, UTF-8
  --index FILE        where the vectors are kept (default: FILE.index.safetensors); made anew when the documents or
                      the model change
  --rerank DIR        cross-encoder that sorts the nearest lines, 10 times as many as are asked for, and scores them
  --top N             answers for each query (default: 5)
  --json              print {"query", "results": [{"line", "score", "text"}, ...]} for each query
  --weights TYPE      float32, bfloat16, float16, int8 or int4, or file: as it has them (default: float32, or
                      codes as the file has them)
  --activations TYPE  what inputs of int8 and int4 weights are rounded to, int8 or int16 (default: int8)
  --threads N         threads to compute with (default: 1)
  --quiet             no progress and no remarks on standard error
  --help              show this

Example:
  echo 'what to eat?' | semantic_search --model bge-small-en-v1.5 --documents recipes.txt

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

std::vector<std::string> read_lines(const std::string& file) {
  std::istringstream in(attend::read_file(file));
  std::vector<std::string> lines;
  LineReader reader(in, file);
  for (std::string line; reader.next(line);) lines.push_back(line);
  return lines;
}

/// The prompt of documents, as sentence-transformers chooses it.
std::string document_prompt(const attend::SentenceEncoder& encoder) {
  for (const char* name : {"document", "passage", "corpus"})
    if (const auto& prompts = encoder.options().text.prompts; prompts.contains(name)) return name;
  return {};
}

/// Of all that the vectors depend on: the documents, and every file of the model that is read; the index may
/// lie among them.
std::string fingerprint(const std::vector<std::string>& lines, const std::filesystem::path& model,
                        const std::filesystem::path& index) {
  attend::Fingerprint all;
  all.add(attend::folder_fingerprint(model, index.filename().string()));
  for (const std::string& line : lines) all.add(line);
  return all.text();
}

/// Vectors of all lines [lines, E]. Lines run in order of their length, a few thousand tokens at a time.
Tensor<float, 2> embed(const attend::SentenceEncoder& encoder, attend::Context& context,
                       const std::vector<std::string>& lines, bool quiet) {
  Tensor<float, 2> out({static_cast<Index>(lines.size()), encoder.embedding_dim()});
  std::vector<std::size_t> order(lines.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return lines[a].size() < lines[b].size(); });
  Progress progress("embedding", quiet);
  constexpr std::size_t kAtATime = 256;
  for (std::size_t begin = 0; begin < order.size(); begin += kAtATime) {
    const std::size_t end = std::min(order.size(), begin + kAtATime);
    std::vector<std::string> some;
    for (std::size_t i = begin; i < end; ++i) some.push_back(lines[order[i]]);
    const Tensor<float, 2> vectors = encoder.encode(context, some, {.prompt_name = document_prompt(encoder)});
    for (std::size_t i = begin; i < end; ++i)
      copy(vectors.view()[static_cast<Index>(i - begin)], out.view()[static_cast<Index>(order[i])]);
    progress(end, order.size());
  }
  return out;
}

/// The vectors of an index that was made of the same; nothing where it is another, broken or no index at all.
std::optional<Tensor<float, 2>> read_index(const std::string& file, const attend::Shape<2>& shape,
                                           const std::string& print) {
  try {
    const attend::SafeTensors index(file);
    const auto made_of = index.metadata().find("documents");
    if (made_of == index.metadata().end() || made_of->second != print) return {};
    Tensor<float, 2> vectors = index.read<float, 2>("embeddings");
    if (vectors.shape() == shape) return vectors;
  } catch (const attend::Error&) {
  }
  return {};
}

Tensor<float, 2> open_or_make_index(const std::string& file, const attend::SentenceEncoder& encoder,
                                    attend::Context& context, const std::vector<std::string>& lines,
                                    const std::string& print, bool quiet) {
  if (auto vectors = read_index(file, {static_cast<Index>(lines.size()), encoder.embedding_dim()}, print))
    return std::move(*vectors);
  Tensor<float, 2> vectors = embed(encoder, context, lines, quiet);
  attend::save_safetensors(file, {{"embeddings", vectors}}, {{"documents", print}});
  return vectors;
}

void run(int argc, char** argv) {
  const CommandLine arguments(
      argc, argv, {"--json"},
      {"--model", "--documents", "--index", "--rerank", "--top", "--weights", "--activations", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  const std::string model = arguments.required("--model"), documents = arguments.required("--documents");
  attend::Context context(arguments.threads());
  const std::size_t most = static_cast<std::size_t>(arguments.integer("--top", 5, 1, 1000000));
  const std::vector<std::string> lines = read_lines(documents);
  const auto encoder = attend::SentenceEncoder::open(model, open_options(arguments));
  std::optional<attend::CrossEncoder> judge;
  if (arguments.has("--rerank")) {
    judge = attend::CrossEncoder::open(arguments.text("--rerank"), open_options(arguments));
    if (judge->num_labels() != 1)
      attend::throw_error(arguments.text("--rerank"), ": --rerank needs a model of one score, this has ",
                          judge->num_labels());
  }
  const std::string index = arguments.text("--index", documents + ".index.safetensors");
  const Tensor<float, 2> vectors = open_or_make_index(
      index, encoder, context, lines,
      fingerprint(lines, model, index) + arguments.text("--weights") + arguments.text("--activations"),
      arguments.has("--quiet"));
  const std::size_t top = std::min(lines.size(), most), near = std::min(lines.size(), judge ? 10 * top : top);
  LineReader queries(std::cin, "standard input");
  for (std::string query; queries.next(query);) {
    const Tensor<float, 2> vector =
        encoder.encode(context, std::span<const std::string>(&query, 1), {.prompt_name = "query"});
    Tensor<float, 2> similarities = encoder.similarity(vector, vectors);
    const std::span<float> scores = similarities.span();
    std::vector<std::size_t> order(lines.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto sort_first = [&](std::size_t count, std::size_t of) {
      std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count),
                        order.begin() + static_cast<std::ptrdiff_t>(of), [&](std::size_t a, std::size_t b) {
                          return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
                        });
    };
    sort_first(near, order.size());
    if (judge) {
      std::vector<std::string> some;
      for (std::size_t i = 0; i < near; ++i) some.push_back(lines[order[i]]);
      const Tensor<float, 2> judged = judge->score(context, query, some);
      for (std::size_t i = 0; i < near; ++i) scores[order[i]] = judged(static_cast<Index>(i), 0);
      sort_first(top, near);
    }
    attend::Json results = attend::Json::array();
    for (std::size_t i = 0; i < top; ++i) {
      const std::size_t line = order[i];
      if (arguments.has("--json"))
        results.push_back({{"line", line + 1}, {"score", scores[line]}, {"text", lines[line]}});
      else
        std::printf("%6.3f  %s\n", static_cast<double>(scores[line]), lines[line].c_str());
    }
    if (arguments.has("--json"))
      std::cout << attend::Json{{"query", query}, {"results", results}}.dump() << std::endl;
    else
      std::printf("\n"), std::fflush(stdout);
    if (!std::cout || std::ferror(stdout)) attend::throw_error("standard output: cannot be written");
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("semantic_search", [&] { run(argc, argv); });
}
