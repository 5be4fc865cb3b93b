// Bodies of classifier.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include <attend/activation.hpp>
#include <attend/io/config.hpp>
#include <attend/json/fields.hpp>
#include <attend/json/json.hpp>
#include <attend/model/classifier.hpp>
#include <attend/model/sequence_groups.hpp>
#include <attend/softmax.hpp>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI {

ATTEND_INLINE Labels Labels::open(const Location& folder, Index num_labels) {
  const auto config = share_json(folder / "config.json");
  std::map<Index, std::string> names;
  const auto found = config->find("id2label");
  if (found != config->end() && found->is_object())
    for (const auto& [key, label] : found->get_ref<const Json::object_t&>()) {
      if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != std::string::npos)
        throw_error((folder / "config.json").string(), ": 'id2label' has the key ", detail::in_quotes(key),
                    ", which is no number");
      names[std::stoi(key)] = label.is_string() ? label.get<std::string>() : detail::json_excerpt(label);
    }
  // As in transformers, labels of another number than num_labels says are none.
  if (static_cast<Index>(names.size()) != num_labels) {
    names.clear();
    for (Index i = 0; i < num_labels; ++i) names[i] = "LABEL_" + std::to_string(i);
  }
  return Labels(std::move(names));
}

ATTEND_INLINE const std::string& Labels::operator[](Index i) const {
  const auto found = names_.find(i);
  if (found == names_.end()) throw_error("Labels: class ", i, " has no label");
  return found->second;
}

namespace detail {

inline void check_classifier(const char* who, const ClassifierModel& model, BertHead head,
                             const ClassifierOptions& options) {
  if (sizes_of(model).head != head) throw_error(who, ": the model has another head");
  if (options.max_length) check_size(who, "max_length", *options.max_length);
}
inline text::EncodeOptions encode_options(const ClassifierModel& model, const ClassifierOptions& options) {
  text::EncodeOptions out;
  if (options.max_length)
    out.max_length = static_cast<std::size_t>((std::min)(*options.max_length, sizes_of(model).max_length));
  return out;
}
inline void check_length(const char* who, std::size_t tokens, Index longest) {
  if (static_cast<Index>(tokens) > longest)
    throw_error(who, ": the text has ", tokens, " tokens, the model takes ", longest,
                "; say max_length where it shall be cut");
}

}  // namespace detail

// ---- Of texts

ATTEND_INLINE TextClassifier::TextClassifier(text::Tokenizer tokenizer, ClassifierModel model, Labels labels,
                                             ClassifierFunction function, const ClassifierOptions& options)
    : tokenizer_(std::move(tokenizer)),
      model_(std::move(model)),
      labels_(std::move(labels)),
      function_(function),
      options_(options) {
  detail::check_classifier("TextClassifier", model_, BertHead::sequence_classification, options_);
}

ATTEND_INLINE TextClassifier TextClassifier::open(const Location& folder, const ClassifierOptions& options,
                                                  const OpenOptions& weights) {
  ClassifierModel model = detail::open_classifier(folder, BertHead::sequence_classification, weights);
  const Index num_labels = detail::sizes_of(model).num_labels;
  const Config config(folder / "config.json");
  config.allow("problem_type", nullptr, "regression", "single_label_classification",
               "multi_label_classification");
  const std::string problem = config.get<std::string>("problem_type", std::string());
  const bool one = num_labels == 1;
  const ClassifierFunction function = problem == "regression" ? ClassifierFunction::none
                                      : one || problem == "multi_label_classification"
                                          ? ClassifierFunction::sigmoid
                                          : ClassifierFunction::softmax;
  Labels labels = Labels::open(folder, num_labels);
  return {text::Tokenizer::open(folder), std::move(model), std::move(labels), function, options};
}

ATTEND_INLINE Tensor<float, 2> TextClassifier::classify(Context& context,
                                                        std::span<const std::string> texts) const {
  Tensor<float, 2> out({static_cast<Index>(texts.size()), num_labels()});
  const auto encode = [&](std::size_t i) {
    text::Encoding one = tokenizer_.encode_single(texts[i], detail::encode_options(model_, options_));
    detail::check_length("TextClassifier", one.ids.size(), detail::sizes_of(model_).max_length);
    return one;
  };
  detail::run_in_groups(texts.size(), kGroup, encode, [&](const detail::TextGroup& group) {
    const Tensor<float, 2> logits = detail::logits_of(context, model_, group.ids, {}, group.offsets);
    const auto rows = out.view().slice(0, group.begin, group.end);
    if (function_ == ClassifierFunction::softmax)
      copy(softmax(logits, -1), rows);
    else
      activate(context, function_ == ClassifierFunction::sigmoid ? Activation::sigmoid : Activation::identity,
               logits, rows);
  });
  return out;
}

ATTEND_INLINE Tensor<float, 1> TextClassifier::classify(Context& context, std::string_view text) const {
  const std::string one(text);
  return Tensor<float, 1>(const_view(classify(context, std::span(&one, 1)))[0]);
}

// ---- Of words

ATTEND_INLINE TokenClassifier::TokenClassifier(text::Tokenizer tokenizer, ClassifierModel model,
                                               Labels labels, const ClassifierOptions& options)
    : tokenizer_(std::move(tokenizer)),
      model_(std::move(model)),
      labels_(std::move(labels)),
      options_(options) {
  detail::check_classifier("TokenClassifier", model_, BertHead::token_classification, options_);
}

ATTEND_INLINE TokenClassifier TokenClassifier::open(const Location& folder, const ClassifierOptions& options,
                                                    const OpenOptions& weights) {
  ClassifierModel model = detail::open_classifier(folder, BertHead::token_classification, weights);
  Labels labels = Labels::open(folder, detail::sizes_of(model).num_labels);
  ClassifierOptions all = options;
  if (const Location file = folder / "tokenizer_config.json"; !all.max_length && file.exists()) {
    // Some files have 1e30, as a number of 31 digits, for no limit.
    const double length = Config(file).get<double>("model_max_length", 0);
    if (length >= 1 && length < 1e9) all.max_length = static_cast<Index>(length);
  }
  return {text::Tokenizer::open(folder), std::move(model), std::move(labels), all};
}

namespace detail {

/// A token, or a word of several.
struct LabelledToken {
  std::vector<std::string> tokens;
  std::vector<double> scores;  // of each label
  text::ByteRange range;
  bool continues_word = false;

  Index best() const { return std::max_element(scores.begin(), scores.end()) - scores.begin(); }
  double score() const { return *std::max_element(scores.begin(), scores.end()); }
};

/// Joins the tokens of each word.
inline std::vector<LabelledToken> join_words(std::vector<LabelledToken> tokens, Aggregation aggregation) {
  std::vector<LabelledToken> words;
  std::size_t count = 0;  // tokens of the last word
  const auto finish = [&] {
    if (aggregation == Aggregation::average)
      for (double& score : words.back().scores) score /= static_cast<double>(count);
  };
  for (LabelledToken& token : tokens) {
    if (words.empty() || !token.continues_word) {
      if (!words.empty()) finish();
      words.push_back(std::move(token));
      count = 1;
      continue;
    }
    LabelledToken& word = words.back();
    word.tokens.insert(word.tokens.end(), token.tokens.begin(), token.tokens.end());
    word.range.end = token.range.end;
    ++count;
    if (aggregation == Aggregation::max && token.score() > word.score()) word.scores = token.scores;
    if (aggregation == Aggregation::average)
      for (std::size_t i = 0; i < word.scores.size(); ++i) word.scores[i] += token.scores[i];
  }
  if (!words.empty()) finish();
  return words;
}

/// "B-PER" is true, "PER"; what has no such beginning counts as inside.
inline std::pair<bool, std::string_view> split_tag(std::string_view label) {
  const bool tagged = label.starts_with("B-") || label.starts_with("I-");
  return {tagged && label[0] == 'B', tagged ? label.substr(2) : label};
}

}  // namespace detail

ATTEND_INLINE std::vector<TextEntity> TokenClassifier::classify(Context& context, std::string_view text,
                                                                const TokenClassifyOptions& options) const {
  text::EncodeOptions encode = detail::encode_options(model_, options_);
  encode.offsets = true;
  const text::Encoding encoding = tokenizer_.encode_single(text, encode);
  if (encoding.ids.empty()) return {};
  detail::check_length("TokenClassifier", encoding.ids.size(), detail::sizes_of(model_).max_length);
  const std::vector<Index> offsets{0, static_cast<Index>(encoding.ids.size())};
  const Tensor<float, 2> scores = softmax(detail::logits_of(context, model_, encoding.ids, {}, offsets), -1);

  std::vector<detail::LabelledToken> tokens;
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    if (encoding.special[i]) continue;
    const text::ByteRange range = encoding.offsets[i];
    const std::string_view there = text.substr(range.begin, range.end - range.begin);
    std::string token = tokenizer_.id_to_token(encoding.ids[i]);
    bool continues = false;
    if (tokenizer_.has_continuing_prefix())
      continues = text::count_code_points(token) != text::count_code_points(there);
    else  // no token says so: a word goes on where there is no blank
      continues = range.begin > 0 && text[range.begin - 1] != ' ' &&
                  (range.begin >= text.size() || text[range.begin] != ' ');
    if (encoding.ids[i] == tokenizer_.unknown_id()) token = there, continues = false;
    const auto row = scores.view()[static_cast<Index>(i)];
    tokens.push_back({{std::move(token)}, {}, range, continues});
    for (Index j = 0; j < row.size(0); ++j) tokens.back().scores.push_back(static_cast<double>(row[j]));
  }
  const bool words = options.aggregation != Aggregation::none && options.aggregation != Aggregation::simple;
  if (words) tokens = detail::join_words(std::move(tokens), options.aggregation);

  std::vector<TextEntity> out;
  for (std::size_t i = 0; i < tokens.size();) {
    const std::string& label = labels_[tokens[i].best()];
    std::vector<std::string> pieces;
    const auto add = [&](const detail::LabelledToken& token) {
      pieces.push_back(words ? tokenizer_.tokens_to_string(token.tokens) : token.tokens[0]);
      return token.score();
    };
    double sum = add(tokens[i]);
    std::size_t end = i + 1;
    while (options.aggregation != Aggregation::none && end < tokens.size()) {
      const auto [begins, tag] = detail::split_tag(labels_[tokens[end].best()]);
      if (begins || tag != detail::split_tag(labels_[tokens[end - 1].best()]).second) break;
      sum += add(tokens[end++]);
    }
    TextEntity entity{label,
                      static_cast<float>(sum / static_cast<double>(end - i)),
                      pieces[0],
                      {tokens[i].range.begin, tokens[end - 1].range.end}};
    if (options.aggregation != Aggregation::none) {
      entity.label = label.substr(label.find('-') + 1);  // npos + 1 is 0
      entity.word = tokenizer_.tokens_to_string(std::move(pieces));
    }
    const auto& ignore = options.ignore;
    if (std::find(ignore.begin(), ignore.end(), entity.label) == ignore.end())
      out.push_back(std::move(entity));
    i = end;
  }
  return out;
}

ATTEND_INLINE std::vector<std::vector<TextEntity>> TokenClassifier::classify(
    Context& context, std::span<const std::string> texts, const TokenClassifyOptions& options) const {
  std::vector<std::vector<TextEntity>> out;
  for (const std::string& text : texts) out.push_back(classify(context, std::string_view(text), options));
  return out;
}

}  // namespace attend::inline ATTEND_ABI
