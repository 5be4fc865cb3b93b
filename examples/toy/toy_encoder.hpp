// The model of examples/toy_encoder.cpp: words in, an answer and the attention of every head out.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <attend/attend.hpp>
#include <attend/io/config.hpp>
#include <attend/io/state_dict.hpp>
#include <attend/model/hugging_face.hpp>

namespace toy {

using attend::Index;
using attend::Tensor;

/// Lower case, split at white space; each sign of punctuation is a word of its own, an apostrophe a letter.
inline std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned char c = static_cast<unsigned char>(text[i]);
    if (text.substr(i, 3) == "\u2019") c = '\'', i += 2;  // the typographic apostrophe
    const bool letter =
        c >= 0x80 || c == '\'' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter || (c > 0x20 && c < 0x7f)) {
      if (!inside || !letter) words.emplace_back();
      words.back() += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    inside = letter;
  }
  return words;
}

/// What the model makes of one sentence.
struct Reading {
  std::vector<std::string> words;    // T
  std::vector<std::string> unknown;  // those of them that the model does not know
  std::string answer;
  float probability = 0;           // of that answer
  Tensor<float, 1> probabilities;  // of each of ToyEncoder::labels()
  Tensor<float, 1> summary;        // [embed_dim]: the mean of what the encoder gives for each word
  Tensor<float, 4> attention;      // [layers, heads, T, T]
};

/// Word and position embeddings, encoder, mean over the words, linear classifier. Built from one file, which
/// train_toy_encoder.py writes: parameters, vocabulary and configuration.
class ToyEncoder {
 public:
  explicit ToyEncoder(const std::string& path) {
    const attend::SafeTensors file(path);
    configure(file);
    attend::load(*this, file);
  }

  /// Called by attend::load: each parameter under the name that it has in the file.
  void parameters(attend::ParameterVisitor<float> visit) {
    embedding_.parameters(attend::prefixed("embedding", visit));
    position_.parameters(attend::prefixed("position", visit));
    encoder_.parameters(visit);
    classifier_.parameters(attend::prefixed("classifier", visit));
  }
  void parameters(attend::ParameterVisitor<const float> visit) const {
    attend::detail::const_parameters(*this, visit);
  }

  /// A scale of 0 makes all scores of attention equal: then each head takes the plain average of the words.
  Reading read(attend::Context& context, std::string_view text, std::optional<double> scale = {}) const {
    Reading reading;
    reading.words = split_words(text);
    const Index length = static_cast<Index>(reading.words.size());
    if (length == 0) attend::throw_error("the sentence has no words");
    if (length > position_.options().num_embeddings)
      attend::throw_error("the sentence has ", length, " words and signs, the model reads at most ",
                          position_.options().num_embeddings);

    Tensor<int, 2> ids({1, length}), positions({1, length});
    for (Index t = 0; t < length; ++t) {
      const std::string& word = reading.words[static_cast<std::size_t>(t)];
      const auto found = ids_.find(word);
      if (found == ids_.end() &&
          std::find(reading.unknown.begin(), reading.unknown.end(), word) == reading.unknown.end())
        reading.unknown.push_back(word);
      ids(0, t) = found != ids_.end() ? found->second : ids_.at(kUnknown);
      positions(0, t) = static_cast<int>(t);
    }
    Tensor<float, 3> x = embedding_(ids);  // [1, T, E]
    x += position_(positions);

    const std::size_t layers = encoder_.layers().size();
    reading.attention =
        Tensor<float, 4>({static_cast<Index>(layers), encoder_.options().block.num_heads, length, length});
    std::vector<attend::BlockOutputs<float>> outputs(layers);
    for (std::size_t i = 0; i < layers; ++i)
      outputs[i].self.weights = reading.attention.slice(0, static_cast<Index>(i), static_cast<Index>(i) + 1);
    encoder_.forward(context, x, {.self = {.scale = scale}}, x, outputs);

    reading.summary = Tensor<float, 1>({x.size(2)});
    reading.summary.matrix() = x.matrix(0).colwise().mean();
    const Tensor<float, 1> logits = classifier_(reading.summary);
    const Index best = std::max_element(logits.data(), logits.data() + logits.numel()) - logits.data();
    float sum = 0;
    for (float logit : logits.span()) sum += std::exp(logit - logits(best));
    reading.probability = 1 / sum;
    reading.probabilities = Tensor<float, 1>({logits.numel()});
    for (Index i = 0; i < logits.numel(); ++i)
      reading.probabilities(i) = std::exp(logits(i) - logits(best)) / sum;
    reading.answer = labels_[static_cast<std::size_t>(best)];
    return reading;
  }

  const std::vector<std::string>& labels() const { return labels_; }
  /// The head whose attention tells a reader most.
  Index shown_layer() const { return shown_layer_; }
  Index shown_head() const { return shown_head_; }
  Index parameter_count() const { return attend::count_parameters(*this); }

 private:
  static constexpr const char* kUnknown = "<unk>";

  /// Builds the layers that the file's metadata describes.
  void configure(const attend::SafeTensors& file) {
    const auto text = [&](const std::string& key) {
      const auto found = file.metadata().find(key);
      if (found == file.metadata().end())
        attend::throw_error(file.path(), ": has no ", key, " in its metadata");
      return found->second;
    };
    const std::string source = file.path() + ": config";
    const attend::Config config(text("config"), source);
    const auto number = [&](const std::string& key, Index least, Index most) {
      const Index value = config.get<Index>(key);
      if (value < least || value > most)
        attend::throw_error(source, ": ", key, " ", value, " is not in ", least, " to ", most);
      return value;
    };
    config.allow("pooling", "mean");
    config.ignore({"dropout"});  // of training
    const Index width = number("embed_dim", 1, 4096);
    attend::EncoderOptions encoder;
    encoder.num_layers = number("num_layers", 1, 64);
    encoder.final_norm = true;
    encoder.block.embed_dim = width;
    encoder.block.num_heads = number("num_heads", 1, width);
    encoder.block.dim_feedforward = number("ffn_dim", 1, 65536);
    const std::string activation = config.get<std::string>("activation");
    encoder.block.norm_first = config.get<bool>("norm_first");
    encoder.block.layer_norm_eps = config.get<double>("norm_eps");
    const auto build = [&] {
      encoder.block.activation = attend::activation_from_string(activation);
      encoder_ = attend::Encoder<float>(encoder);
    };
#if defined(__cpp_exceptions)
    try {
      build();
    } catch (const attend::Error& error) {
      attend::throw_error(source, ": ", error.what());
    }
#else
    build();
#endif
    shown_layer_ = number("shown_layer", 0, encoder.num_layers - 1);
    shown_head_ = number("shown_head", 0, encoder.block.num_heads - 1);

    std::istringstream vocabulary(text("vocabulary"));
    int words = 0;
    for (std::string word; std::getline(vocabulary, word); ++words) ids_.emplace(word, words);
    if (!ids_.contains(kUnknown)) attend::throw_error(file.path(), ": vocabulary: has no ", kUnknown);
    number("vocab_size", words, words);
    embedding_ = attend::Embedding<float>({.num_embeddings = words, .embedding_dim = width});
    position_ = attend::Embedding<float>(
        {.num_embeddings = number("max_position", 1, 65536), .embedding_dim = width});

    labels_ = config.get<std::vector<std::string>>("labels");
    if (labels_.empty()) attend::throw_error(source, ": labels is empty");
    classifier_ =
        attend::Linear<float>({.in_features = width, .out_features = static_cast<Index>(labels_.size())});
    config.finish();
  }

  std::map<std::string, int> ids_;
  std::vector<std::string> labels_;
  attend::Embedding<float> embedding_, position_;
  attend::Encoder<float> encoder_;
  attend::Linear<float> classifier_;
  Index shown_layer_ = 0, shown_head_ = 0;
};

}  // namespace toy
