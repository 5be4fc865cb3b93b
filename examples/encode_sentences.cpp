// Sentences from standard input to vectors, by all-MiniLM-L6-v2 or another sentence encoder of its kind.

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include <attend/io/json.hpp>
#include <attend/model/sentence_encoder.hpp>

#include "command_line.hpp"

namespace {

constexpr const char* kHelp = R"(usage: encode_sentences --model DIR [options] < FILE

Reads one sentence per line and prints the pairs that are most alike.

  --model DIR    Hugging Face folder: config.json, model.safetensors, vocab.txt
  --json         print [{"text", "ids", "embedding"}, ...] instead
  --threads N    threads to compute with (default: 1)
  --help         show this
)";

void print_json(const std::vector<std::string>& texts, const attend::SentenceEncoder& encoder,
                const attend::Tensor<float, 2>& embeddings) {
  attend::Json array = attend::Json::array();
  for (std::size_t i = 0; i < texts.size(); ++i)
    array.push_back({{"text", texts[i]},
                     {"ids", encoder.encode_ids(texts[i])},
                     {"embedding", embeddings[static_cast<attend::Index>(i)].span()}});
  std::cout << array.dump(-1, ' ', false, attend::Json::error_handler_t::replace) << '\n';
}

void print_pairs(const std::vector<std::string>& texts, const attend::Tensor<float, 2>& embeddings) {
  struct Pair {
    float similarity;
    std::size_t a, b;
  };
  std::vector<Pair> pairs;
  for (std::size_t a = 0; a < texts.size(); ++a) {
    const Eigen::VectorXf similarities = embeddings.matrix() * embeddings.matrix().row(static_cast<attend::Index>(a)).transpose();
    for (std::size_t b = a + 1; b < texts.size(); ++b) pairs.push_back({similarities[static_cast<attend::Index>(b)], a, b});
  }
  const std::size_t shown = std::min<std::size_t>(pairs.size(), 10);
  std::partial_sort(pairs.begin(), pairs.begin() + static_cast<std::ptrdiff_t>(shown), pairs.end(), [](const Pair& x, const Pair& y) {
    return x.similarity != y.similarity ? x.similarity > y.similarity : std::pair(x.a, x.b) < std::pair(y.a, y.b);
  });
  for (std::size_t i = 0; i < shown; ++i)
    std::printf("%6.3f  %s  |  %s\n", static_cast<double>(pairs[i].similarity), texts[pairs[i].a].c_str(), texts[pairs[i].b].c_str());
}

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {"--json"}, {"--model", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  const auto encoder = attend::SentenceEncoder::open(arguments.required("--model"));
  attend::Context context(arguments.threads());
  std::vector<std::string> texts;
  for (std::string line; std::getline(std::cin, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    texts.push_back(line);
  }
  const attend::Tensor<float, 2> embeddings = encoder.encode(context, texts);
  if (arguments.has("--json"))
    print_json(texts, encoder, embeddings);
  else
    print_pairs(texts, embeddings);
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("encode_sentences", [&] { run(argc, argv); });
}
