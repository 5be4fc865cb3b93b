// TextClassifier and TokenClassifier: labels of texts, and of words in a text, as the pipelines of
// transformers give them.
#pragma once

#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <attend/core/location.hpp>
#include <attend/model/classifier_model.hpp>
#include <attend/model/family.hpp>
#include <attend/text/tokenizer.hpp>

namespace attend::inline ATTEND_ABI {

/// Names of classes by their number. Folders have gaps, and one name twice.
class Labels {
 public:
  Labels() = default;
  explicit Labels(std::map<Index, std::string> names) : names_(std::move(names)) {}  // Of label numbers.
  /// What config.json says: id2label, or LABEL_0, LABEL_1, ….
  static Labels open(const Location& folder, Index num_labels);

  bool contains(Index i) const { return names_.contains(i); }  // Whether label i has a name.
  /// Error where the class has no name.
  const std::string& operator[](Index i) const;

 private:
  std::map<Index, std::string> names_;
};

/// Of how a classifier is opened.
struct ClassifierOptions {
  /// Longer texts are cut at so many tokens, special ones included; without it they are an error, but that a
  /// TokenClassifier cuts them where its tokenizer says.
  std::optional<Index> max_length = {};
};

/// What becomes of the numbers that a classifier gives: probabilities that sum to 1, each label's own, or
/// nothing.
enum class ClassifierFunction { softmax, sigmoid, none };

/// A folder of a sequence classifier.
class TextClassifier {
 public:
  /// Tokens that run together.
  static constexpr std::size_t kGroup = 1024;

  /// Softmax, or as problem_type says: sigmoid for several labels at once, and for a single label; the number
  /// as it is for a regression.
  static TextClassifier open(const Location& folder, const ClassifierOptions& options = {},
                             const OpenOptions& weights = {});
  static TextClassifier open(const Location& folder, const OpenOptions& weights) {
    return open(folder, ClassifierOptions(), weights);
  }
  /// Of parts. Error where the model is no classifier of texts.
  TextClassifier(text::Tokenizer tokenizer, ClassifierModel model, Labels labels, ClassifierFunction function,
                 const ClassifierOptions& options = {});

  Index num_labels() const { return detail::sizes_of(model_).num_labels; }
  const Labels& labels() const { return labels_; }
  ClassifierFunction function() const { return function_; }  // What makes scores of logits.

  /// Scores [texts, num_labels]; that of one text does not depend on the others.
  Tensor<float, 2> classify(Context& context, std::span<const std::string> texts) const;
  Tensor<float, 2> classify(std::span<const std::string> texts) const {
    return classify(default_context(), texts);
  }
  /// {"one text", "another"}, or {text}
  Tensor<float, 2> classify(Context& context, std::initializer_list<std::string_view> texts) const {
    return classify(context, std::vector<std::string>(texts.begin(), texts.end()));
  }
  Tensor<float, 2> classify(std::initializer_list<std::string_view> texts) const {
    return classify(default_context(), texts);
  }
  /// Of one text: [num_labels].
  Tensor<float, 1> classify(Context& context, std::string_view text) const;
  Tensor<float, 1> classify(std::string_view text) const { return classify(default_context(), text); }

 private:
  text::Tokenizer tokenizer_;
  ClassifierModel model_;
  Labels labels_;
  ClassifierFunction function_;
  ClassifierOptions options_;
};

/// What tokens of one label that follow each other are joined to. `simple`: each token has its own label.
/// Else tokens of a word have one: the label of its first, of the mean of their scores, or of the token that
/// is surest. `none` joins nothing.
enum class Aggregation { none, simple, first, average, max };

/// Of one call of a TokenClassifier.
struct TokenClassifyOptions {
  Aggregation aggregation = Aggregation::simple;  // how tokens become stretches
  std::vector<std::string> ignore = {"O"};        ///< labels that are left out
};

/// A stretch of a text with its label, without "B-" and "I-" where tokens are joined.
struct TextEntity {
  std::string label;      // its name
  float score;            // probability of the label; of several tokens their mean
  std::string word;       // the tokens as text
  text::ByteRange range;  ///< of the text's bytes
};

/// A folder of a token classifier.
class TokenClassifier {
 public:
  /// From a Hugging Face folder. Error where the model is no classifier of tokens.
  static TokenClassifier open(const Location& folder, const ClassifierOptions& options = {},
                              const OpenOptions& weights = {});
  static TokenClassifier open(const Location& folder, const OpenOptions& weights) {
    return open(folder, ClassifierOptions(), weights);
  }
  /// Of parts. Error where the model is no classifier of tokens.
  TokenClassifier(text::Tokenizer tokenizer, ClassifierModel model, Labels labels,
                  const ClassifierOptions& options = {});

  const Labels& labels() const { return labels_; }

  /// The stretches of a text that have a label, in their order.
  std::vector<TextEntity> classify(Context& context, std::string_view text,
                                   const TokenClassifyOptions& options = {}) const;
  std::vector<TextEntity> classify(std::string_view text, const TokenClassifyOptions& options = {}) const {
    return classify(default_context(), text, options);
  }
  /// Of each of several texts.
  std::vector<std::vector<TextEntity>> classify(Context& context, std::span<const std::string> texts,
                                                const TokenClassifyOptions& options = {}) const;
  std::vector<std::vector<TextEntity>> classify(std::span<const std::string> texts,
                                                const TokenClassifyOptions& options = {}) const {
    return classify(default_context(), texts, options);
  }
  std::vector<std::vector<TextEntity>> classify(Context& context,
                                                std::initializer_list<std::string_view> texts,
                                                const TokenClassifyOptions& options = {}) const {
    return classify(context, std::vector<std::string>(texts.begin(), texts.end()), options);
  }
  std::vector<std::vector<TextEntity>> classify(std::initializer_list<std::string_view> texts,
                                                const TokenClassifyOptions& options = {}) const {
    return classify(default_context(), texts, options);
  }

 private:
  text::Tokenizer tokenizer_;
  ClassifierModel model_;
  Labels labels_;
  ClassifierOptions options_;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/classifier.inl>
#endif
