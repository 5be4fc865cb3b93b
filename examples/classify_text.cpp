// Lines from standard input to labels: by a sequence-classification folder, or by the nearest of labels given
// in words.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/softmax.hpp>

#include "command_line.hpp"
#include "text_input.hpp"

namespace {

constexpr const char* kHelp = R"(usage: classify_text --model DIR [options] < FILE

Reads one text per line and says which label it gets.

  --model DIR       a sequence-classification folder (BERT, RoBERTa, DistilBERT), or with --labels a sentence encoder
  --labels "A,B"    labels in words: the nearest in meaning is taken, with its similarity
  --json            print {"text", "label", "scores"} for each line
  --threads N       threads to compute with (default: 1)
  --help            show this
)";

struct Scores {
  std::vector<std::string> labels;
  std::vector<float> values;  // of each label: a probability, or a similarity
};

/// By the classifier that the folder carries.
class Classifier {
 public:
  explicit Classifier(const std::filesystem::path& folder)
      : model_(attend::BertModel<float>::open(folder)), tokenizer_(attend::text::Tokenizer::open(folder)) {
    const attend::BertOptions& o = model_.options();
    if (o.head != attend::BertHead::sequence_classification)
      attend::throw_error(
          folder.string(),
          ": not a sequence-classification model; give --labels to use it as a sentence encoder");
    if (static_cast<attend::Index>(tokenizer_.vocab_size()) > o.vocab_size)
      attend::throw_error(folder.string(), ": the tokenizer has ", tokenizer_.vocab_size(),
                          " tokens, the model ", o.vocab_size);
    const attend::Json config = attend::read_json(folder / "config.json");
    for (attend::Index i = 0; i < o.num_labels; ++i) {
      const std::string key = std::to_string(i);
      const bool named = config.contains("id2label") && config["id2label"].contains(key) &&
                         config["id2label"][key].is_string();
      labels_.push_back(named ? config["id2label"][key].get<std::string>() : "LABEL_" + key);
    }
  }
  Scores operator()(attend::Context& context, const std::string& text) const {
    const std::vector<std::int32_t> ids =
        tokenizer_.encode(text, {.max_length = static_cast<std::size_t>(model_.max_length())});
    const std::vector<attend::Index> offsets{0, static_cast<attend::Index>(ids.size())};
    const auto probabilities = attend::softmax(model_.logits(context, ids, {}, offsets), -1);
    return {labels_, {probabilities.span().begin(), probabilities.span().end()}};
  }

 private:
  attend::BertModel<float> model_;
  attend::text::Tokenizer tokenizer_;
  std::vector<std::string> labels_;
};

/// By the nearest label in the space of a sentence encoder.
class NearestLabel {
 public:
  NearestLabel(const std::filesystem::path& folder, attend::Context& context, const std::string& labels)
      : encoder_(attend::SentenceEncoder::open(folder)) {
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
    return {labels_, {similarity.span().begin(), similarity.span().end()}};
  }

 private:
  attend::SentenceEncoder encoder_;
  std::vector<std::string> labels_;
  attend::Tensor<float, 2> embeddings_;
};

template <class Classify>
void classify_lines(attend::Context& context, const Classify& classify, bool json) {
  LineReader lines(std::cin, "standard input");
  for (std::string line; lines.next(line);) {
    const Scores scores = classify(context, line);
    const std::size_t best = static_cast<std::size_t>(
        std::max_element(scores.values.begin(), scores.values.end()) - scores.values.begin());
    if (!json) {
      std::printf("%-16s %5.3f  %s\n", scores.labels[best].c_str(), static_cast<double>(scores.values[best]),
                  line.c_str());
      continue;
    }
    attend::Json all = attend::Json::object();
    for (std::size_t i = 0; i < scores.labels.size(); ++i) all[scores.labels[i]] = scores.values[i];
    std::cout << attend::Json{{"text", line}, {"label", scores.labels[best]}, {"scores", all}}.dump() << '\n';
  }
}

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {"--json"}, {"--model", "--labels", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  attend::Context context(arguments.threads());
  const std::string folder = arguments.required("--model");
  if (arguments.has("--labels"))
    classify_lines(context,
                   NearestLabel(folder, context, checked_utf8(arguments.text("--labels"), "--labels")),
                   arguments.has("--json"));
  else
    classify_lines(context, Classifier(folder), arguments.has("--json"));
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("classify_text", [&] { run(argc, argv); });
}
