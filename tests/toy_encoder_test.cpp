// The trained encoder of examples/: right on sentences it was not trained on, and not without attention.

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "../examples/attention_html.hpp"
#include "../examples/toy/toy_encoder.hpp"
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

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
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

TEST(AttentionPage, HasEveryMapAndEscapesItsWords) {
  const Reading reading = read("the soup <script> & \"bread\" was good .");
  const attention_html::Picture picture{reading.words, reading.answer, "", reading.attention, 1, 0};
  std::ostringstream out;
  attention_html::write_page(out, "title", "lead", {&picture, 1});
  const std::string page = out.str();
  EXPECT_EQ(count(page, "<table>"), 1 + 2 * 4);
  EXPECT_EQ(count(page, "</table>"), 1 + 2 * 4);
  EXPECT_EQ(count(page, "<figcaption>layer 1, head 3</figcaption>"), 1);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, HasSubstr("&lt;"));
  EXPECT_THAT(page, Not(HasSubstr("http")));
  const std::size_t row = static_cast<std::size_t>(reading.words.size());
  // each row of each map has one cell a word; the first row an empty corner
  EXPECT_EQ(count(page, "<td"), static_cast<int>((1 + 2 * 4) * (row * row + 1)));
}
