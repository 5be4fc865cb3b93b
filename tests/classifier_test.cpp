// TextClassifier and TokenClassifier: what the folder says becomes of the numbers, and where labelled words
// stand.
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/classifier.hpp>
#include <attend/softmax.hpp>

#include "tiny_models.hpp"

namespace {

using namespace attend;
using namespace attend_test;
using testing::HasSubstr;

text::Tokenizer wordpiece() { return text::Tokenizer::open(model_folder("tokenizers") / "wordpiece"); }

BertModel<float> model_of(BertHead head, Index labels) {
  BertModel<float> model({.vocab_size = static_cast<Index>(wordpiece().vocab_size()),
                          .max_position_embeddings = 16,
                          .hidden_size = 16,
                          .num_hidden_layers = 1,
                          .num_attention_heads = 2,
                          .intermediate_size = 16,
                          .head = head,
                          .num_labels = labels});
  fill_parameters<float>(model);
  return model;
}

Labels names(std::map<Index, std::string> labels) { return Labels(std::move(labels)); }

TEST(TextClassifier, AppliesItsFunctionToEachText) {
  const std::vector<std::string> texts{"one two", "a", "three"};
  const auto classifier = [](Index labels, ClassifierFunction function) {
    return TextClassifier(wordpiece(), model_of(BertHead::sequence_classification, labels), {}, function);
  };
  const Tensor<float, 2> raw = classifier(3, ClassifierFunction::none).classify(texts),
                         each = classifier(3, ClassifierFunction::sigmoid).classify(texts),
                         shares = classifier(3, ClassifierFunction::softmax).classify(texts);
  for (Index i = 0; i < 3; ++i) {
    double sum = 0;
    for (Index j = 0; j < 3; ++j) sum += std::exp(static_cast<double>(raw(i, j)));
    for (Index j = 0; j < 3; ++j) {
      const double x = static_cast<double>(raw(i, j));
      EXPECT_NEAR(static_cast<double>(each(i, j)), 1 / (1 + std::exp(-x)), 1e-6);
      EXPECT_NEAR(static_cast<double>(shares(i, j)), std::exp(x) / sum, 1e-6);
    }
  }
  const TextClassifier one = classifier(1, ClassifierFunction::sigmoid);
  const Tensor<float, 1> score = one.classify("a");
  EXPECT_LT(score[0], 1.0f);
  EXPECT_EQ(score[0], one.classify(texts)(1, 0));
}

TEST(TextClassifier, ReadsItsFunctionAndLabelsFromTheFolder) {
  std::map<std::string, std::string> files{
      {"tokenizer.json", bytes_of(model_folder("tokenizers") / "wordpiece" / "tokenizer.json")},
      {"model.safetensors", bytes_of(model_folder("bert_classifier") / "model.safetensors")}};
  const Json config = read_json(model_folder("bert_classifier") / "config.json");
  const auto open = [&](const char* key, const Json& value) {
    Json changed = config;
    if (key != nullptr) changed[key] = value;
    files["config.json"] = changed.dump();
    return TextClassifier::open(files);
  };
  EXPECT_EQ(open(nullptr, {}).function(), ClassifierFunction::softmax);
  EXPECT_EQ(open("problem_type", "regression").function(), ClassifierFunction::none);
  EXPECT_EQ(open("problem_type", "multi_label_classification").function(), ClassifierFunction::sigmoid);
  EXPECT_THAT(error_of([&] { open("problem_type", "other"); }), HasSubstr("problem_type"));
  const Index n = open(nullptr, {}).num_labels();
  Json labels = Json::object();
  for (Index i = 0; i < n; ++i) labels[std::to_string(i == 1 ? n : i)] = i == 0 ? Json(7) : Json("same");
  const TextClassifier gap = open("id2label", labels);
  EXPECT_EQ(gap.labels()[0], "7");
  EXPECT_EQ(gap.labels()[n], "same");
  EXPECT_THAT(error_of([&] { static_cast<void>(gap.labels()[1]); }), HasSubstr("class 1 has no label"));
}

TEST(TextClassifier, TextsThatAreTooLongAreCutOnlyWhereItIsSaid) {
  const BertModel<float> model = model_of(BertHead::sequence_classification, 2);
  const std::string text = "a a a a a a a a a a a a a a a a a a a a";
  EXPECT_THAT(
      error_of([&] { TextClassifier(wordpiece(), model, {}, ClassifierFunction::none).classify(text); }),
      HasSubstr("the text has 22 tokens, the model takes 16; say max_length"));
  const TextClassifier cut(wordpiece(), model, {}, ClassifierFunction::none, {.max_length = 8});
  EXPECT_EQ(cut.classify(text)[0], cut.classify("a a a a a a")[0]);
  EXPECT_THAT(error_of([&] { TokenClassifier(wordpiece(), model, {}); }), HasSubstr("another head"));
}

TEST(TokenClassifier, JoinsTokensOfOneLabelAndSaysWhereTheyStand) {
  const std::string text = "One, two and three";
  const BertModel<float> model = model_of(BertHead::token_classification, 2);
  const TokenClassifier apart(wordpiece(), model, names({{0, "B-X"}, {1, "B-Y"}})),
      together(wordpiece(), model, names({{0, "I-X"}, {1, "X"}}));
  const auto tokens = apart.classify(text, {.aggregation = Aggregation::none});
  const text::Encoding encoding = wordpiece().encode_single(text, {.offsets = true});
  ASSERT_EQ(tokens.size(), encoding.ids.size() - 2);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    EXPECT_EQ(tokens[i].range, encoding.offsets[i + 1]);
    EXPECT_EQ(tokens[i].label.substr(0, 2), "B-");
  }
  EXPECT_EQ(apart.classify(text).size(), tokens.size());  // each begins one
  const auto all = together.classify(text);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].label, "X");
  EXPECT_EQ(all[0].range, (text::ByteRange{0, text.size()}));
  const auto words = apart.classify(text, {.aggregation = Aggregation::first});
  EXPECT_LE(words.size(), tokens.size());
  EXPECT_THAT(apart.classify(text, {.ignore = {"X", "Y"}}), testing::IsEmpty());
  EXPECT_THAT(apart.classify(""), testing::IsEmpty());
}

}  // namespace
