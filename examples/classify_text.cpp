// Lines from standard input to labels: by a sequence-classification folder, by a token-classification folder
// (--tokens), or by the nearest of labels given in words.

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/classifier.hpp>
#include <attend/model/sentence_encoder.hpp>

#include "command_line.hpp"
#include "progress.hpp"
#include "text_input.hpp"
#include "weights.hpp"

namespace {

constexpr const char* kHelp = R"(usage: classify_text --model DIR [options] < FILE

Reads one text per line and says which label it gets, and the label's score: a probability, or the number of a
regression.

  --model DIR          a sequence-classification folder (BERT, RoBERTa, DistilBERT and their kin), with --tokens a
                       token-classification folder, with --labels a sentence encoder
  --tokens             print the words that have labels, with label, score and where they stand (bytes of the line)
  --aggregation HOW    how --tokens joins tokens: none, simple (default), first, average or max
  --labels "A,B"       labels in words: the nearest in meaning is taken, with its similarity
  --max-length N       cut texts at N tokens
  --json               print {"text", "label", "scores": [{"label", "score"}]} for each line, with --tokens {"text", "entities"}
  --weights TYPE       float32, bfloat16, float16, int8 or int4, or file: as it has them (default: float32, or
                       codes as the file has them)
  --activations TYPE   what inputs of int8 and int4 weights are rounded to, int8 or int16 (default: int8)
  --threads N          threads to compute with (default: 1)
  --quiet              no progress and no remarks on standard error
  --help               show this

Example:
  classify_text --model distilbert-sst2 < reviews.txt

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

struct Scores {
  std::vector<std::string> labels;
  attend::Tensor<float, 1> values;  // of each label: a probability, a number, or a similarity
};

/// By the nearest label in the space of a sentence encoder.
class NearestLabel {
 public:
  NearestLabel(const std::string& folder, std::optional<attend::Index> max_length, attend::Context& context,
               const std::string& labels)
      : encoder_(attend::SentenceEncoder::open(folder, max_length)) {
    std::istringstream list(labels);
    for (std::string label; std::getline(list, label, ',');) {
      label.erase(0, label.find_first_not_of(' '));
      label.erase(label.find_last_not_of(' ') + 1);
      if (!label.empty()) labels_.push_back(label);
    }
    if (labels_.empty()) attend::throw_error("--labels needs words with commas between them");
    embeddings_ = encoder_.encode(context, labels_);
  }
  Scores operator()(attend::Context& context, const std::string& text) const {
    const auto embedding = encoder_.encode(context, std::span(&text, 1));
    const auto similarity = encoder_.similarity(embedding, embeddings_);
    return {labels_, attend::Tensor<float, 1>(similarity.view()[0])};
  }

 private:
  attend::SentenceEncoder encoder_;
  std::vector<std::string> labels_;
  attend::Tensor<float, 2> embeddings_;
};

template <class Classify>
void classify_lines(attend::Context& context, const Classify& classify, bool json, Progress& progress) {
  LineReader lines(std::cin, "standard input");
  std::size_t done = 0;
  for (std::string line; lines.next(line); progress(++done)) {
    const Scores scores = classify(context, line);
    const auto values = scores.values.span();
    const auto best =
        static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
    if (!json) {
      std::printf("%-16s %5.3f  %s\n", scores.labels[best].c_str(), static_cast<double>(values[best]),
                  line.c_str());
      continue;
    }
    attend::Json all = attend::Json::array();
    for (std::size_t i = 0; i < scores.labels.size(); ++i)
      all.push_back({{"label", scores.labels[i]}, {"score", values[i]}});
    std::cout << attend::Json{{"text", line}, {"label", scores.labels[best]}, {"scores", all}}.dump() << '\n';
  }
}

void classify_tokens(attend::Context& context, const attend::TokenClassifier& classifier,
                     const attend::TokenClassifyOptions& options, bool json, Progress& progress) {
  LineReader lines(std::cin, "standard input");
  std::size_t done = 0;
  for (std::string line; lines.next(line); progress(++done)) {
    attend::Json entities = attend::Json::array();
    for (const attend::TextEntity& e : classifier.classify(context, line, options)) {
      if (json)
        entities.push_back({{"label", e.label},
                            {"score", e.score},
                            {"word", e.word},
                            {"begin", e.range.begin},
                            {"end", e.range.end}});
      else
        std::printf("%-8s %5.3f  %zu-%zu  %s\n", e.label.c_str(), static_cast<double>(e.score), e.range.begin,
                    e.range.end, e.word.c_str());
    }
    if (json)
      std::cout << attend::Json{{"text", line}, {"entities", entities}}.dump() << '\n';
    else
      std::printf("\n");  // behind what belongs to a line
  }
}

attend::Aggregation aggregation_from(const std::string& name) {
  const std::vector<std::string> names{"none", "simple", "first", "average", "max"};
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) attend::throw_error("--aggregation: '", name, "' is unknown, see --help");
  return static_cast<attend::Aggregation>(found - names.begin());
}

void run(int argc, char** argv) {
  const CommandLine arguments(
      argc, argv, {"--json", "--tokens"},
      {"--model", "--labels", "--aggregation", "--max-length", "--weights", "--activations", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  attend::Context context(arguments.threads());
  const std::string folder = arguments.required("--model");
  const bool json = arguments.has("--json");
  Progress progress("lines", arguments.has("--quiet") || is_terminal(stdout));  // where answers show it
  std::optional<attend::Index> max_length;
  if (arguments.has("--max-length")) max_length = arguments.integer("--max-length", 1, 1, 1 << 30);
  if (arguments.has("--tokens")) {
    const attend::TokenClassifyOptions options{
        .aggregation = aggregation_from(arguments.text("--aggregation", "simple"))};
    return classify_tokens(
        context, attend::TokenClassifier::open(folder, {.max_length = max_length}, open_options(arguments)),
        options, json, progress);
  }
  if (arguments.has("--labels"))
    return classify_lines(
        context,
        NearestLabel(folder, max_length, context, checked_utf8(arguments.text("--labels"), "--labels")), json,
        progress);
  const auto classifier =
      attend::TextClassifier::open(folder, {.max_length = max_length}, open_options(arguments));
  const auto classify = [&](attend::Context& c, const std::string& text) {
    Scores scores{{}, classifier.classify(c, text)};
    const auto values = scores.values.span();
    const auto best = std::max_element(values.begin(), values.end()) - values.begin();
    static_cast<void>(classifier.labels()[best]);  // other classes may go without a label
    for (attend::Index i = 0; i < classifier.num_labels(); ++i)
      scores.labels.push_back(classifier.labels().contains(i) ? classifier.labels()[i] : "");
    return scores;
  };
  classify_lines(context, classify, json, progress);
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("classify_text", [&] { run(argc, argv); });
}
