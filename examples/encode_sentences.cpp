// Sentences from standard input to vectors, by all-MiniLM-L6-v2 or another sentence encoder.

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/sentence_encoder.hpp>

#include "command_line.hpp"
#include "progress.hpp"
#include "sentence_map.hpp"
#include "text_input.hpp"
#include "weights.hpp"

namespace {

constexpr std::size_t kAtATime = 64;  // texts

constexpr const char* kHelp = R"(usage: encode_sentences --model DIR [options] < FILE

Reads one sentence per line and prints the pairs that are most alike.

  --model DIR       folder of sentence-transformers: config.json, model.safetensors, vocab.txt or tokenizer.json,
                    modules.json and what it names; or a GGUF file of a BERT
  --prompt NAME     the folder's prompt of that name before each sentence: query, document, ... (default: as it says)
  --dimensions N    the first N values of each vector
  --map FILE        write a page instead: the sentences as points, with their nearest neighbours
  --write-golden    instead write the model's golden vectors into the folder, which opening it with .verify checks
  --json            print [{"text", "ids", "embedding"}, ...] instead
  --weights TYPE    float32, bfloat16, float16, int8, int4, or file: as it has them
  --activations TYPE  of int8 and int4 weights: int8 or int16
  --threads N       threads to compute with (default: 1)
  --quiet           no progress and no remarks on standard error
  --help            show this

Example:
  printf 'It rains.\nIt is wet outside.\n' | encode_sentences --model all-MiniLM-L6-v2

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

void print_json(const std::vector<std::string>& texts, const attend::SentenceEncoder& encoder,
                const std::string& prompt, const attend::Tensor<float, 2>& embeddings) {
  for (std::size_t i = 0; i < texts.size();
       ++i)  // one at a time: as JSON a vector takes ten times its memory
    std::cout << (i > 0 ? ",\n" : "[")
              << attend::Json{{"text", texts[i]},
                              {"ids", encoder.encode_ids(texts[i], {.prompt_name = prompt})},
                              {"embedding", embeddings[static_cast<attend::Index>(i)].span()}};
  std::cout << (texts.empty() ? "[]\n" : "]\n");
}

void print_pairs(const std::vector<std::string>& texts, const attend::SentenceEncoder& encoder,
                 const attend::Tensor<float, 2>& embeddings) {
  struct Pair {
    float similarity;
    std::size_t a, b;
  };
  constexpr std::size_t kShown = 10;
  const auto before = [](const Pair& x, const Pair& y) {
    return x.similarity != y.similarity ? x.similarity > y.similarity
                                        : std::pair(x.a, x.b) < std::pair(y.a, y.b);
  };
  std::vector<Pair> best;  // a heap with the least of them in front
  for (std::size_t a = 0; a < texts.size(); ++a) {
    const attend::Index row = static_cast<attend::Index>(a);
    const attend::Tensor<float, 2> similarities =
        encoder.similarity(embeddings.view().slice(0, row, row + 1), embeddings);
    for (std::size_t b = a + 1; b < texts.size(); ++b) {
      const Pair pair{similarities(0, static_cast<attend::Index>(b)), a, b};
      if (best.size() == kShown && !before(pair, best.front())) continue;
      best.push_back(pair);
      std::push_heap(best.begin(), best.end(), before);
      if (best.size() <= kShown) continue;
      std::pop_heap(best.begin(), best.end(), before);
      best.pop_back();
    }
  }
  std::sort_heap(best.begin(), best.end(), before);
  for (const Pair& pair : best)
    std::printf("%6.3f  %s  |  %s\n", static_cast<double>(pair.similarity), texts[pair.a].c_str(),
                texts[pair.b].c_str());
}

void run(int argc, char** argv) {
  const CommandLine arguments(
      argc, argv, {"--json", "--write-golden"},
      {"--model", "--prompt", "--dimensions", "--map", "--weights", "--activations", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  if (const std::string folder = arguments.required("--model"); arguments.has("--write-golden"))
    return attend::write_sentence_golden(folder, open_options(arguments));
  attend::Context context(arguments.threads());
  const auto encoder = attend::SentenceEncoder::open(arguments.required("--model"), open_options(arguments));
  const std::string prompt = arguments.text("--prompt");
  const attend::Index dimensions = arguments.integer("--dimensions", 0, 1, 1000000);
  std::vector<std::string> texts;
  LineReader lines(std::cin, "standard input");
  for (std::string line; lines.next(line);) texts.push_back(line);
  const std::span<const std::string> all(texts);
  attend::Tensor<float, 2> embeddings;
  Progress progress("embedding", arguments.has("--quiet"));
  for (std::size_t begin = 0; begin < all.size(); begin += kAtATime) {
    const std::size_t count = std::min(kAtATime, all.size() - begin);
    const attend::Index first = static_cast<attend::Index>(begin);
    const attend::Tensor<float, 2> some =
        encoder.encode(context, all.subspan(begin, count), {.prompt_name = prompt, .dimensions = dimensions});
    if (begin == 0)
      embeddings = attend::Tensor<float, 2>({static_cast<attend::Index>(all.size()), some.size(1)});
    copy(some, embeddings.slice(0, first, first + static_cast<attend::Index>(count)));
    progress(begin + count, all.size());
  }
  progress.clear();
  if (arguments.has("--map")) {
    std::ofstream page(arguments.text("--map"), std::ios::binary);
    sentence_map::write(page, texts, embeddings);
    if (!page.flush()) attend::throw_error(arguments.text("--map"), ": cannot be written");
  } else if (arguments.has("--json")) {
    print_json(texts, encoder, prompt, embeddings);
  } else {
    print_pairs(texts, encoder, embeddings);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("encode_sentences", [&] { run(argc, argv); });
}
