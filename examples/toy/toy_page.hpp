// A reading of the toy encoder as a page of attention.
#pragma once

#include <string>

#include "../attention_page.hpp"
#include "toy_encoder.hpp"

namespace toy {

inline std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

inline attention_page::Page page_of(const ToyEncoder& model, const Reading& reading) {
  attention_page::Page page{
      .title = joined(reading.words, " "),
      .note = reading.unknown.empty() ? "" : "Not in the vocabulary: " + joined(reading.unknown, ", "),
      .tokens = reading.words,
      .layer = model.shown_layer(),
      .head = model.shown_head()};
  for (Index i = 0; i < reading.attention.size(0); ++i)
    page.layers.push_back(attention_page::all_keys(reading.attention[i]));
  for (std::size_t i = 0; i < model.labels().size(); ++i)
    page.answers.emplace_back(model.labels()[i], reading.probabilities(static_cast<Index>(i)));
  return page;
}

}  // namespace toy
