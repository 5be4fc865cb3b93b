// Lines from standard input in the order of how well they answer a query, by a cross-encoder.

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/cross_encoder.hpp>

#include "command_line.hpp"
#include "progress.hpp"
#include "text_input.hpp"
#include "weights.hpp"

namespace {

constexpr std::size_t kAtATime = 64;  // texts

constexpr const char* kHelp = R"(usage: rerank --model DIR --query TEXT [options] < LINES

Prints the lines with their scores, those that answer the query best first.

  --model DIR      cross-encoder: config.json, model.safetensors, vocab.txt or tokenizer.json
  --query TEXT     what the lines are to answer
  --top N          only the best N lines
  --json           print {"line", "score", "text"} for each line; with several labels "score" is a list, and lines
                   stay in their order
  --weights TYPE   float32, bfloat16, float16, int8, int4, or file: as it has them
  --activations TYPE  of int8 and int4 weights: int8 or int16
  --threads N      threads to compute with (default: 1)
  --quiet          no progress and no remarks on standard error
  --help           show this

Example:
  rerank --model ms-marco-MiniLM-L6-v2 --query 'who wrote it?' --top 3 < lines.txt

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {"--json"},
                              {"--model", "--query", "--top", "--weights", "--activations", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  attend::Context context(arguments.threads());
  const std::string folder = arguments.required("--model"),
                    query = checked_utf8(arguments.required("--query"), "--query");
  const std::size_t most = static_cast<std::size_t>(arguments.integer("--top", 1000000000, 1, 1000000000));
  const auto encoder = attend::CrossEncoder::open(folder, open_options(arguments));
  std::vector<std::string> texts;
  LineReader lines(std::cin, "standard input");
  for (std::string line; lines.next(line);) texts.push_back(line);

  const std::span<const std::string> all(texts);
  attend::Tensor<float, 2> scores({static_cast<attend::Index>(all.size()), encoder.num_labels()});
  Progress progress("scoring", arguments.has("--quiet"));
  for (std::size_t begin = 0; begin < all.size(); begin += kAtATime) {
    const std::size_t count = std::min(kAtATime, all.size() - begin);
    const attend::Index first = static_cast<attend::Index>(begin);
    copy(encoder.score(context, query, all.subspan(begin, count)),
         scores.slice(0, first, first + static_cast<attend::Index>(count)));
    progress(begin + count, all.size());
  }
  progress.clear();
  std::vector<attend::Index> order(texts.size());
  std::iota(order.begin(), order.end(), attend::Index{0});
  if (encoder.num_labels() == 1)
    std::stable_sort(order.begin(), order.end(),
                     [&](attend::Index a, attend::Index b) { return scores(a, 0) > scores(b, 0); });
  order.resize(std::min(order.size(), most));
  for (attend::Index i : order) {
    const std::string& text = texts[static_cast<std::size_t>(i)];
    if (arguments.has("--json")) {
      attend::Json score = scores[i].span();
      if (encoder.num_labels() == 1) score = scores(i, 0);
      std::cout << attend::Json{{"line", i + 1}, {"score", score}, {"text", text}}.dump() << '\n';
      continue;
    }
    for (float score : scores[i].span()) std::printf("%6.3f  ", static_cast<double>(score));
    std::printf("%s\n", text.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("rerank", [&] { run(argc, argv); });
}
