// The trained encoder of examples/: right on sentences it was not trained on, and not without attention.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "../examples/attention_html.hpp"
#include "../examples/toy/toy_encoder.hpp"

using attend::Index;
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
    REQUIRE(tab != std::string::npos);
    cases.push_back({line.substr(0, tab), line.substr(tab + 1)});
  }
  return cases;
}

double accuracy(std::optional<double> scale) {
  const std::vector<Case> cases = test_sentences();
  REQUIRE(cases.size() >= 300);
  int right = 0;
  for (const Case& c : cases) right += read(c.text, scale).answer == c.label;
  return right / static_cast<double>(cases.size());
}

std::string error_of(const std::string& path) {
  try {
    toy::ToyEncoder encoder(path);
  } catch (const attend::Error& error) {
    return error.what();
  }
  return "";
}

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

}  // namespace

TEST_CASE("right on sentences it was not trained on") {
  const double right = accuracy({});
  MESSAGE("with attention: " << 100 * right << " %");
  CHECK(right >= 0.95);
}

TEST_CASE("guesses where attention is replaced by plain averaging") {
  const double right = accuracy(0.0);
  MESSAGE("with averaging: " << 100 * right << " %");
  CHECK(right < 0.75);
  const Reading reading = read("the soup was good .", 0.0);
  for (float w : reading.attention.span()) CHECK(w == doctest::Approx(0.2));
}

TEST_CASE("the same words in another order have the other answer") {
  CHECK(read("the soup was sour but the bread was wonderful . how was the bread ?").answer == "positive");
  CHECK(read("the bread was sour but the soup was wonderful . how was the bread ?").answer == "negative");
}

TEST_CASE("the shown head looks from the word asked about to the opinion on it") {
  const Reading reading = read("The waiter with the fresh bread was terrible. How was the waiter?");
  const Index length = static_cast<Index>(reading.words.size());
  REQUIRE(length == 14);
  REQUIRE(reading.attention.shape() == attend::Shape<4>{2, 4, length, length});
  for (Index layer = 0; layer < 2; ++layer)
    for (Index head = 0; head < 4; ++head)
      for (Index q = 0; q < length; ++q) {
        float sum = 0;
        for (Index k = 0; k < length; ++k) {
          CHECK(reading.attention(layer, head, q, k) >= 0);
          sum += reading.attention(layer, head, q, k);
        }
        CHECK(sum == doctest::Approx(1));
      }
  CHECK(reading.answer == "negative");
  REQUIRE(reading.words[7] == "terrible");
  REQUIRE(reading.words[12] == "waiter");
  CHECK(reading.attention(model().shown_layer(), model().shown_head(), 12, 7) > 0.5f);
}

TEST_CASE("threads change no bit") {
  attend::Context two(2);
  const Case c = test_sentences().front();
  CHECK(model().read(two, c.text).probability == read(c.text).probability);
}

TEST_CASE("words of one's own") {
  CHECK(toy::split_words("The soup wasn’t bad, was it?\t\n") ==
        std::vector<std::string>{"the", "soup", "wasn't", "bad", ",", "was", "it", "?"});
  CHECK(toy::split_words("crème\nbrûlée...") == std::vector<std::string>{"crème", "brûlée", ".", ".", "."});
  CHECK(toy::split_words("a\x7f\x1b[0m") == std::vector<std::string>{"a", "[", "0m"});
  const Reading reading = read("The pizza was awful but the waiter was kind. How was the pizza?");
  CHECK(reading.unknown == std::vector<std::string>{"pizza"});
  CHECK(reading.answer == "negative");
  CHECK_THROWS_WITH_AS(read("  \t "), "the sentence has no words", attend::Error);
  std::string longest = "the";
  for (int i = 1; i < 20; ++i) longest += " the";
  CHECK_NOTHROW(read(longest));
  CHECK_THROWS_WITH_AS(read(longest + " ."),
                       "the sentence has 21 words and signs, the model reads at most 20", attend::Error);
}

TEST_CASE("a file that is no such model is an error of one line") {
  CHECK(error_of(kFolder + "missing.safetensors").find("missing.safetensors") != std::string::npos);
  CHECK(error_of(kFolder + "test_sentences.tsv").find("test_sentences.tsv") != std::string::npos);

  // The true file with one word of its header exchanged for another of the same length.
  std::ifstream in(kFolder + "toy_encoder.safetensors", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  const std::string changed =
      (std::filesystem::temp_directory_path() / "attend_toy_encoder_test.safetensors").string();
  const auto error_with = [&](const std::string& from, const std::string& to) {
    std::string copy = bytes;
    const std::size_t at = copy.find(from);
    REQUIRE(at != std::string::npos);
    copy.replace(at, from.size(), to);
    std::ofstream(changed, std::ios::binary) << copy;
    return error_of(changed);
  };
  CHECK(error_with("vocabulary", "vocabulory").find("has no vocabulary in its metadata") !=
        std::string::npos);
  for (const std::string& error : {error_with("num_heads\\\": 4", "num_heads\\\": 5"), error_with("gelu", "golu")})
    CHECK(error.find(".safetensors: config: ") != std::string::npos);
  CHECK(error_with("num_heads\\\": 4", "num_heads\\\": 5").find("not divisible") != std::string::npos);
  CHECK(error_with("num_heads\\\": 4", "num_heads\\\": x").find("config: byte") != std::string::npos);
  CHECK(error_with("shown_layer\\\": 1", "shown_layer\\\": 2").find("shown_layer 2 is not in 0 to 1") !=
        std::string::npos);
  CHECK(error_with("norm_first\\\": true", "norm_first\\\": 1234")
            .find("'norm_first' expected true or false") != std::string::npos);
  CHECK(error_with("num_layers\\\": 2", "num_layers\\\": 3").find("missing 'layers.2.") != std::string::npos);
  CHECK(error_with("embed_dim\\\": 32", "embed_dim\\\": 64").find("mis-shaped") != std::string::npos);
  CHECK(error_with("\\n<unk>", "\\n<ukn>").find("vocabulary: has no <unk>") != std::string::npos);
  std::filesystem::remove(changed);
}

TEST_CASE("the page has every map and escapes its words") {
  const Reading reading = read("the soup <script> & \"bread\" was good .");
  const attention_html::Picture picture{reading.words, reading.answer, "", reading.attention, 1, 0};
  std::ostringstream out;
  attention_html::write_page(out, "title", "lead", {&picture, 1});
  const std::string page = out.str();
  CHECK(count(page, "<table>") == 1 + 2 * 4);
  CHECK(count(page, "</table>") == 1 + 2 * 4);
  CHECK(count(page, "<figcaption>layer 1, head 3</figcaption>") == 1);
  CHECK(page.find("<script") == std::string::npos);
  CHECK(page.find("&lt;") != std::string::npos);
  CHECK(page.find("http") == std::string::npos);
  const std::size_t row = static_cast<std::size_t>(reading.words.size());
  // each row of each map has one cell a word; the first row an empty corner
  CHECK(count(page, "<td") == static_cast<int>((1 + 2 * 4) * (row * row + 1)));
}
