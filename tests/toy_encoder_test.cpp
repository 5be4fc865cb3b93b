// The trained encoder of examples/: right on sentences it was not trained on, and not without attention.

#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "../examples/attention_page.hpp"
#include "../examples/toy/toy_page.hpp"
#include "support.hpp"

using attend::Index;
using attend_test::error_of;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using toy::Reading;

namespace {

const std::string kFolder = ATTEND_SOURCE_DIR "/examples/toy/";

const toy::ToyEncoder& model() {
  static const toy::ToyEncoder model(kFolder + "toy_encoder.safetensors");
  return model;
}

Reading read(const std::string& text, std::optional<double> scale = {}) {
  return model().read(attend::default_context(), text, scale);
}

struct Case {
  std::string text, label;
};
std::vector<Case> test_sentences() {
  std::vector<Case> cases;
  std::ifstream file(kFolder + "test_sentences.tsv");
  for (std::string line; std::getline(file, line);) {
    const std::size_t tab = line.find('\t');
    EXPECT_NE(tab, std::string::npos) << line;
    cases.push_back({line.substr(0, tab), line.substr(tab + 1)});
  }
  return cases;
}

double accuracy(std::optional<double> scale) {
  const std::vector<Case> cases = test_sentences();
  EXPECT_GE(cases.size(), 300);
  int right = 0;
  for (const Case& c : cases) right += read(c.text, scale).answer == c.label;
  return right / static_cast<double>(cases.size());
}

std::string error_of_file(const std::string& path) {
  return attend_test::error_of([&] { toy::ToyEncoder encoder(path); });
}

}  // namespace

TEST(ToyEncoder, IsRightOnSentencesItWasNotTrainedOn) {
  const double right = accuracy({});
  EXPECT_GE(right, 0.95);
}

TEST(ToyEncoder, GuessesWhereAttentionIsReplacedByAveraging) {
  const double right = accuracy(0.0);
  EXPECT_LT(right, 0.75);
  const Reading reading = read("the soup was good .", 0.0);
  for (float w : reading.attention.span()) EXPECT_FLOAT_EQ(w, 0.2f);
}

TEST(ToyEncoder, AnswersByTheOrderOfTheWords) {
  EXPECT_EQ(read("the soup was sour but the bread was wonderful . how was the bread ?").answer, "positive");
  EXPECT_EQ(read("the bread was sour but the soup was wonderful . how was the bread ?").answer, "negative");
}

TEST(ToyEncoder, ShownHeadLooksFromTheWordAskedAboutToTheOpinion) {
  const Reading reading = read("The waiter with the fresh bread was terrible. How was the waiter?");
  const Index length = static_cast<Index>(reading.words.size());
  ASSERT_EQ(length, 14);
  ASSERT_THAT(reading.attention.shape(), ElementsAre(2, 4, length, length));
  for (Index layer = 0; layer < 2; ++layer)
    for (Index head = 0; head < 4; ++head)
      for (Index q = 0; q < length; ++q) {
        float sum = 0;
        for (Index k = 0; k < length; ++k) {
          EXPECT_GE(reading.attention(layer, head, q, k), 0);
          sum += reading.attention(layer, head, q, k);
        }
        EXPECT_NEAR(sum, 1, 1e-6);
      }
  EXPECT_EQ(reading.answer, "negative");
  ASSERT_EQ(reading.words[7], "terrible");
  ASSERT_EQ(reading.words[12], "waiter");
  EXPECT_GT(reading.attention(model().shown_layer(), model().shown_head(), 12, 7), 0.5f);
}

TEST(ToyEncoder, ThreadsChangeNoBit) {
  attend::Context two(2);
  const Case c = test_sentences().front();
  EXPECT_EQ(model().read(two, c.text).probability, read(c.text).probability);
}

TEST(ToyEncoder, SplitsTextIntoWordsAndSigns) {
  EXPECT_THAT(toy::split_words("The soup wasn’t bad, was it?\t\n"),
              ElementsAre("the", "soup", "wasn't", "bad", ",", "was", "it", "?"));
  EXPECT_THAT(toy::split_words("crème\nbrûlée..."), ElementsAre("crème", "brûlée", ".", ".", "."));
  EXPECT_THAT(toy::split_words("a\x7f\x1b[0m"), ElementsAre("a", "[", "0m"));
}

TEST(ToyEncoder, ReadsWordsThatItDoesNotKnow) {
  const Reading reading = read("The pizza was awful but the waiter was kind. How was the pizza?");
  EXPECT_THAT(reading.unknown, ElementsAre("pizza"));
  EXPECT_EQ(reading.answer, "negative");
}

TEST(ToyEncoder, RefusesSentencesWithoutWordsAndOfTooMany) {
  EXPECT_EQ(error_of([&] { read("  \t "); }), "the sentence has no words");
  std::string longest = "the";
  for (int i = 1; i < 20; ++i) longest += " the";
  EXPECT_NO_THROW(read(longest));
  EXPECT_EQ(error_of([&] { read(longest + " ."); }),
            "the sentence has 21 words and signs, the model reads at most 20");
}

TEST(ToyEncoder, RefusesFilesOfOtherModelsInOneLine) {
  EXPECT_THAT(error_of_file(kFolder + "missing.safetensors"), HasSubstr("missing.safetensors"));
  EXPECT_THAT(error_of_file(kFolder + "test_sentences.tsv"), HasSubstr("test_sentences.tsv"));

  // The true file with one word of its header exchanged for another of the same length.
  const std::string bytes = attend_test::bytes_of(kFolder + "toy_encoder.safetensors");
  const attend_test::Folder folder;
  const std::string changed = (folder / "changed.safetensors").string();
  const auto error_with = [&](const std::string& from, const std::string& to) {
    std::string copy = bytes;
    const std::size_t at = copy.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) copy.replace(at, from.size(), to);
    std::ofstream(changed, std::ios::binary) << copy;
    return error_of_file(changed);
  };
  EXPECT_THAT(error_with("vocabulary", "vocabulory"), HasSubstr("has no vocabulary in its metadata"));
  for (const std::string& error :
       {error_with("num_heads\\\": 4", "num_heads\\\": 5"), error_with("gelu", "golu")})
    EXPECT_THAT(error, HasSubstr(".safetensors: config: "));
  EXPECT_THAT(error_with("num_heads\\\": 4", "num_heads\\\": 5"), HasSubstr("not divisible"));
  EXPECT_THAT(error_with("num_heads\\\": 4", "num_heads\\\": x"), HasSubstr("config: byte"));
  EXPECT_THAT(error_with("shown_layer\\\": 1", "shown_layer\\\": 2"),
              HasSubstr("shown_layer 2 is not in 0 to 1"));
  EXPECT_THAT(error_with("norm_first\\\": true", "norm_first\\\": 1234"),
              HasSubstr("'norm_first' expected true or false"));
  EXPECT_THAT(error_with("num_layers\\\": 2", "num_layers\\\": 3"), HasSubstr("missing 'layers.2."));
  EXPECT_THAT(error_with("embed_dim\\\": 32", "embed_dim\\\": 64"), HasSubstr("mis-shaped"));
  EXPECT_THAT(error_with("\\n<unk>", "\\n<ukn>"), HasSubstr("vocabulary: has no <unk>"));
}

TEST(AttentionPage, HasEveryWeightTheStrongestFirstAndEndsNoScript) {
  const Reading reading = read("the soup </script> & \"bread\" was good .");
  const attention_page::Page page = toy::page_of(model(), reading);
  const Index T = static_cast<Index>(reading.words.size());
  ASSERT_EQ(page.layers.size(), 2u);
  for (Index l = 0; l < 2; ++l) {
    const attention_page::Layer& layer = page.layers[static_cast<std::size_t>(l)];
    ASSERT_THAT(layer.keys.shape(), ElementsAre(1, 4, T, T));
    for (Index h = 0; h < 4; ++h)
      for (Index q = 0; q < T; ++q)
        for (Index i = 0; i < T; ++i) {
          EXPECT_EQ(layer.weights(0, h, q, i), reading.attention(l, h, q, layer.keys(0, h, q, i)));
          if (i > 0) {
            EXPECT_LE(layer.weights(0, h, q, i), layer.weights(0, h, q, i - 1));
          }
        }
  }
  const std::string json = attention_page::to_json(page);
  EXPECT_EQ(json.find('<'), std::string::npos);
  const attend::Json parsed = attend::Json::parse(json);
  EXPECT_EQ(parsed["tokens"].get<std::vector<std::string>>(), reading.words);
  EXPECT_EQ(parsed["layers"][1]["keys"].get<std::string>().size(), 4 * 4 * static_cast<std::size_t>(T * T));
  EXPECT_EQ(parsed["answers"][1][1].get<float>(), reading.probabilities(1));
  std::ostringstream out;
  attention_page::write(out, "a </script> heading", {&page, 1});
  std::string text = out.str();
  EXPECT_THAT(text, Not(HasSubstr("a </script>")));
  for (const std::string at = "http://www.w3.org/2000/svg"; text.find(at) != std::string::npos;)
    text.erase(text.find(at), at.size());  // a name, and no address
  EXPECT_THAT(text, Not(HasSubstr("http")));
}

TEST(AttentionPage, SaysWhatAHeadLooksAt) {
  attend::Tensor<float, 3> weights({2, 3, 3});
  weights.view().fill(0);
  weights(0, 0, 0) = weights(0, 1, 0) = weights(0, 2, 1) = 1;  // the token before
  for (Index q = 0; q < 3; ++q)
    for (Index k = 0; k < 3; ++k) weights(1, q, k) = 1 / 3.0f;
  const attention_page::Layer layer = attention_page::all_keys(weights);
  EXPECT_THAT(attention_page::patterns(layer, 0, 3), ElementsAre(0.667f, 0.667f, 0.333f, 0));
  EXPECT_THAT(attention_page::patterns(layer, 1, 3), ElementsAre(0.222f, 0.333f, 0.333f, 1));
}

TEST(AttentionPage, PacksAKeyAndItsWeightInFourDigits) {
  attention_page::Layer layer{attend::Tensor<float, 3>({1, 1, 3}), attend::Tensor<Index, 4>({1, 1, 3, 2}),
                              attend::Tensor<float, 4>({1, 1, 3, 2})};
  const Index keys[] = {0, -1, 1, 0, 2, 1};
  const float weights[] = {1, 0, 0.25f, 0.0625f, 0, 0};
  std::copy_n(keys, 6, layer.keys.data());
  std::copy_n(weights, 6, layer.weights.data());
  EXPECT_EQ(attention_page::packed(layer, 3), "P///wAAAYAAAEAAAgAAAQAAA");
}
