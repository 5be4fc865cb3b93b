// A small encoder reads sentences: what was thought of the thing that each one asks about?
// "the soup was sour but the bread was wonderful . how was the bread ?" is answered by "positive", and one
// head of attention shows why: in the row of the last "bread", the column of "wonderful" is dark.
// The model and its training are in examples/toy/.

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include <Eigen/Core>

#include "attention_page.hpp"
#include "command_line.hpp"
#include "text_input.hpp"
#include "toy/toy_page.hpp"

#ifndef ATTEND_EXAMPLES_DIR
#define ATTEND_EXAMPLES_DIR "examples"
#endif

namespace {

using attend::Index;
using toy::Reading;

// None of these is among the sentences that the model was trained on. The first two have the same words.
const std::vector<std::string> kSentences = {
    "The soup was sour but the bread was wonderful. How was the bread?",
    "The bread was sour but the soup was wonderful. How was the bread?",
    "The driver was not rude but the guide was grumpy. How was the driver?",
    "The waiter with the fresh bread was terrible. How was the waiter?",
    "Anna hated the film but Tom loved it. Did she like it?",
    "The beach was awful, unlike the garden. How was the garden?",
    "We had the lovely soup and the horrible rice. How was the soup?",
    "How was the book? The book wasn't good while the film was clever.",
};

constexpr const char* kHelp = R"(usage: toy_encoder [options]

Reads sentences and says what was thought of the thing that each asks about, with the attention that led there.

  --sentence TEXT   read TEXT instead of the built-in sentences (may be repeated)
  --html FILE       also write a page with the attention of every layer and head
  --live FILE       script that makes the page of --html read what is typed there (the target toy_page makes it)
  --model FILE      safetensors file of the model (default: toy/toy_encoder.safetensors in the examples' source)
  --threads N       threads to compute with (default: 1)
  --quiet           no progress and no remarks on standard error
  --help            show this

Example:
  toy_encoder --sentence 'The soup was sour but the bread was good. How was the bread?' --html page.html

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

std::string percent(float probability) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f %%", 100.0 * static_cast<double>(probability));
  return text;
}

/// The other reading whose summary points most nearly the same way, and the cosine between the two.
std::string nearest(const Reading& reading, const std::vector<Reading>& readings) {
  const auto direction = [](const Reading& r) {
    return Eigen::Map<const Eigen::VectorXf>(r.summary.data(), r.summary.numel()).normalized().eval();
  };
  const Reading* best = nullptr;
  float best_cosine = 0;
  for (const Reading& other : readings) {
    if (other.words == reading.words) continue;
    const float cosine = direction(other).dot(direction(reading));
    if (best == nullptr || cosine > best_cosine) best = &other, best_cosine = cosine;
  }
  if (best == nullptr) return "none";
  char text[16];
  std::snprintf(text, sizeof text, " (%.2f)", static_cast<double>(best_cosine));
  return toy::joined(best->words, " ") + text;
}

/// Cut or filled with blanks to `width` characters (of UTF-8, not bytes).
std::string padded(const std::string& word, int width) {
  std::string text;
  int characters = 0;
  for (char c : word) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80 && ++characters > width) break;
    text += c;
  }
  return text + std::string(static_cast<std::size_t>(std::max(0, width - characters)), ' ');
}

/// One head as a map. Words are numbered: rows are the words that look, columns those looked at. Behind each
/// row stands the word that it looks at most.
void print_map(const std::vector<std::string>& words, attend::TensorView<const float, 2> weights) {
  constexpr const char* kShades[] = {"· ", "░░", "▒▒", "▓▓", "██"};
  const Index length = weights.size(0);
  std::string tens, ones;
  for (Index k = 1; k <= length; ++k) {
    tens += k >= 10 ? std::to_string(k / 10 % 10) + " " : "  ";
    ones += std::to_string(k % 10) + " ";
  }
  if (length >= 10) std::printf("  %16s%s\n", "", tens.c_str());
  std::printf("  %16s%s\n", "", ones.c_str());
  for (Index q = 0; q < length; ++q) {
    std::printf("  %2d %s", static_cast<int>(q + 1), padded(words[static_cast<std::size_t>(q)], 13).c_str());
    Index most = 0;
    for (Index k = 0; k < length; ++k) {
      const float w = weights(q, k);
      std::printf("%s", kShades[w < 0.1f ? 0 : w < 0.3f ? 1 : w < 0.5f ? 2 : w < 0.75f ? 3 : 4]);
      if (w > weights(q, most)) most = k;
    }
    std::printf(" %s %.0f %%\n", words[static_cast<std::size_t>(most)].c_str(),
                100.0 * static_cast<double>(weights(q, most)));
  }
}

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {}, {"--sentence", "--html", "--live", "--model", "--threads"});
  if (arguments.has("--help")) {
    std::printf("%s", kHelp);
    return;
  }
  const toy::ToyEncoder model(arguments.text("--model", ATTEND_EXAMPLES_DIR "/toy/toy_encoder.safetensors"));
  attend::Context context(arguments.threads());
  const std::vector<std::string> own = arguments.all("--sentence");
  // Sentences of one's own come first; the built-in ones are then there to be compared with.
  std::vector<Reading> readings;
  for (const std::string& text : own)
    readings.push_back(model.read(context, checked_utf8(text, "--sentence")));
  for (const std::string& text : kSentences) readings.push_back(model.read(context, text));
  const std::size_t shown = own.empty() ? readings.size() : own.size();
  const Index layer = model.shown_layer(), head = model.shown_head();

  std::printf(
      "An encoder of %d parameters. The maps show layer %d, head %d: rows look at columns,\n"
      "· below 10 %%   ░ below 30 %%   ▒ below 50 %%   ▓ below 75 %%   █ from 75 %% on\n",
      static_cast<int>(model.parameter_count()), static_cast<int>(layer), static_cast<int>(head));
  std::vector<attention_page::Page> pages;
  for (std::size_t i = 0; i < shown; ++i) {
    const Reading& reading = readings[i];
    const std::string answer = reading.answer + " (" + percent(reading.probability) + ")";
    std::printf("\n%s\n  answer   %s\n  nearest  %s\n", toy::joined(reading.words, " ").c_str(),
                answer.c_str(), nearest(reading, readings).c_str());
    if (!reading.unknown.empty())
      std::printf("  unknown  %s (read as <unk>)\n", toy::joined(reading.unknown, ", ").c_str());
    print_map(reading.words, reading.attention[layer][head]);
    pages.push_back(toy::page_of(model, reading));
  }

  if (arguments.has("--html")) {
    const std::string path = arguments.text("--html");
    std::ofstream file(path, std::ios::binary);
    attention_page::write(file, "What a small encoder attends to", pages,
                          arguments.has("--live") ? attend::read_file(arguments.text("--live")) : "");
    if (!file.flush()) attend::throw_error(path, ": cannot be written");
    std::printf("\nwrote %s\n", path.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("toy_encoder", [&] { run(argc, argv); });
}
