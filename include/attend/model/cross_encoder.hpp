// CrossEncoder: how well texts answer a query, by a classifier that reads both together.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <attend/model/classifier_model.hpp>
#include <attend/model/family.hpp>
#include <attend/model/sentence_modules.hpp>
#include <attend/text/tokenizer.hpp>

namespace attend::inline ATTEND_ABI {

/// A folder of a sequence classifier, as sentence-transformers has its cross-encoders (ms-marco-MiniLM and
/// their kind).
class CrossEncoder {
 public:
  /// Tokens that run together.
  static constexpr std::size_t kGroup = 1024;

  /// Pairs are cut at max_length tokens, special ones included, or where the folder says. What becomes of the
  /// classifier's number, too, is as the folder says: the sigmoid of a single one, if it says nothing.
  static CrossEncoder open(const Location& folder, std::optional<Index> max_length = {},
                           const OpenOptions& weights = {});
  static CrossEncoder open(const Location& folder, const OpenOptions& weights) {
    return open(folder, std::nullopt, weights);
  }

  /// From parts; the model has the head of a sequence classifier.
  CrossEncoder(text::Tokenizer tokenizer, ClassifierModel model, Activation activation,
               SentenceTextOptions options = {});

  /// Numbers that a pair gets.
  Index num_labels() const { return detail::sizes_of(model_).num_labels; }
  Activation activation() const { return activation_; }  // What makes scores of logits.
  const text::Tokenizer& tokenizer() const { return tokenizer_; }

  /// Scores [texts, num_labels]. Pairs run without padding in groups of at most kGroup tokens; the score of
  /// one does not depend on the others. A prompt stands before the query.
  Tensor<float, 2> score(Context& context, std::string_view query, std::span<const std::string> texts,
                         const SentencePrompt& prompt = {}) const;
  Tensor<float, 2> score(std::string_view query, std::span<const std::string> texts,
                         const SentencePrompt& prompt = {}) const {
    return score(default_context(), query, texts, prompt);
  }
  /// {"one text", "another"}, or {text}
  Tensor<float, 2> score(Context& context, std::string_view query,
                         std::initializer_list<std::string_view> texts,
                         const SentencePrompt& prompt = {}) const {
    return score(context, query, std::vector<std::string>(texts.begin(), texts.end()), prompt);
  }
  Tensor<float, 2> score(std::string_view query, std::initializer_list<std::string_view> texts,
                         const SentencePrompt& prompt = {}) const {
    return score(default_context(), query, texts, prompt);
  }
  /// Of one text: [num_labels].
  Tensor<float, 1> score(Context& context, std::string_view query, std::string_view text,
                         const SentencePrompt& prompt = {}) const;
  Tensor<float, 1> score(std::string_view query, std::string_view text,
                         const SentencePrompt& prompt = {}) const {
    return score(default_context(), query, text, prompt);
  }

 private:
  text::Tokenizer tokenizer_;
  ClassifierModel model_;
  Activation activation_;
  SentenceTextOptions options_;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/cross_encoder.inl>
#endif
