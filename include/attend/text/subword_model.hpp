// The "model" of tokenizer.json: from words to ids.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/aligned_text.hpp>
#include <attend/text/bpe.hpp>
#include <attend/text/file.hpp>
#include <attend/text/unigram.hpp>
#include <attend/text/vocabulary.hpp>
#include <attend/text/wordpiece.hpp>

namespace attend::inline ATTEND_ABI::text {

/// Each word is a token or unknown.
class WordLevelModel {
 public:
  /// What is unknown is `unk_token`; without such a token it is an error of `tokenize`.
  WordLevelModel(Vocabulary vocabulary, std::string unk_token)
      : vocabulary_(std::move(vocabulary)), unk_token_(std::move(unk_token)) {}

  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::optional<std::int32_t> unknown_id() const { return vocabulary_.id(unk_token_); }

  /// As SubwordModel::tokenize.
  void tokenize(std::string_view word, std::vector<std::int32_t>& ids,
                std::vector<ByteRange>* ranges = nullptr) const {
    auto id = vocabulary_.id(word);
    if (!id) id = vocabulary_.id(unk_token_);
    if (!id)
      throw_error("WordLevel: the word \"", word.substr(0, 64), "\" is unknown, and so is \"", unk_token_,
                  '"');
    ids.push_back(*id);
    if (ranges) ranges->push_back({0, word.size()});
  }

 private:
  Vocabulary vocabulary_;
  std::string unk_token_;
};

/// Any of the models. Its copies share one immutable vocabulary.
class SubwordModel {
 public:
  /// Shares what it is made of with its copies.
  template <class Model>
  explicit SubwordModel(Model model) {
    const auto shared = std::make_shared<const Model>(std::move(model));
    vocabulary_ = std::shared_ptr<const Vocabulary>(shared, &shared->vocabulary());
    unknown_id_ = shared->unknown_id();
    unknown_is_text_ = std::same_as<Model, UnigramModel>;
    if constexpr (requires { shared->options().continuing_subword_prefix; })
      has_continuing_prefix_ = !shared->options().continuing_subword_prefix.empty();
    tokenize_ = [shared](std::string_view word, std::vector<std::int32_t>& ids,
                         std::vector<ByteRange>* ranges) { shared->tokenize(word, ids, ranges); };
  }

  const Vocabulary& vocabulary() const { return *vocabulary_; }
  std::optional<std::int32_t> unknown_id() const { return unknown_id_; }
  /// Whether tokens inside of a word are marked, as "##" does.
  bool has_continuing_prefix() const { return has_continuing_prefix_; }
  /// Whether an unknown token stands for its text, not for the name that the vocabulary has for it.
  bool unknown_is_text() const { return unknown_is_text_; }
  /// Appends the ids of a word and, where asked for, which of its bytes each of them is.
  void tokenize(std::string_view word, std::vector<std::int32_t>& ids,
                std::vector<ByteRange>* ranges = nullptr) const {
    tokenize_(word, ids, ranges);
  }

 private:
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::optional<std::int32_t> unknown_id_;
  bool has_continuing_prefix_ = false, unknown_is_text_ = false;
  std::function<void(std::string_view, std::vector<std::int32_t>&, std::vector<ByteRange>*)> tokenize_;
};

namespace detail {

inline std::string_view text_of(const Json& string) { return string.get_ref<const std::string&>(); }

inline BpeModel::Options read_bpe_options(const Part& part) {
  part.allow({"vocab", "merges", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
              "fuse_unk", "byte_fallback", "ignore_merges"});
  if (part.has("dropout") && part.at("dropout") != Json(0))
    part.error("dropout is for training, and not supported");
  BpeModel::Options options;
  if (part.has("unk_token")) options.unk_token = part.string("unk_token");
  options.continuing_subword_prefix = part.string("continuing_subword_prefix", "");
  options.end_of_word_suffix = part.string("end_of_word_suffix", "");
  options.fuse_unk = part.boolean("fuse_unk", false);
  options.byte_fallback = part.boolean("byte_fallback", false);
  options.ignore_merges = part.boolean("ignore_merges", false);
  if (options.byte_fallback && !(options.continuing_subword_prefix + options.end_of_word_suffix).empty())
    part.error("byte_fallback of tokens that have a prefix or a suffix is not supported");
  return options;
}
inline BpeModel read_bpe_model(const Part& part) {
  BpeModel::Options options = read_bpe_options(part);
  const Json& merges = part.array("merges");
  const std::string where = part.where() + ".merges";
  BpeModel model(Vocabulary::from_json(part.at("vocab"), part.where() + ".vocab"), std::move(options),
                 merges.size());
  std::size_t i = 0;
  for (const Json& merge : merges) {
    if (merge.is_string()) {
      const auto [left, right] =
          BpeModel::split_merge(text_of(merge), [&] { return where + "[" + std::to_string(i) + "]"; });
      model.add_merge(left, right, where);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      model.add_merge(text_of(merge[0]), text_of(merge[1]), where);
    } else {
      throw_error(where, "[", i, "]: expected two tokens");
    }
    ++i;
  }
  return model;
}

inline UnigramModel read_unigram_model(const Part& part) {
  part.allow({"vocab", "unk_id", "byte_fallback"});
  Vocabulary vocabulary;
  std::vector<double> scores;
  const Json& entries = part.array("vocab");
  scores.reserve(entries.size());
  const std::string where = part.where() + ".vocab";
  for (const Json& entry : entries) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      throw_error(where, "[", scores.size(), "]: expected [token, score]");
    vocabulary.add(text_of(entry[0]), static_cast<std::int32_t>(scores.size()), where);
    scores.push_back(entry[1].get<double>());
  }
  std::optional<std::int32_t> unk_id;
  if (part.has("unk_id")) {
    unk_id = part.integer("unk_id");
    if (!vocabulary.contains(*unk_id))
      part.error("unk_id " + std::to_string(*unk_id) + " is not in the vocabulary");
  }
  return UnigramModel(std::move(vocabulary), std::move(scores), unk_id, part.boolean("byte_fallback", false));
}

inline SubwordModel read_subword_model(const Part& part) {
  // Files of tokenizers before 0.9 leave the type out.
  const std::string type =
      part.string("type", part.has("merges")                                 ? "BPE"
                          : part.has("continuing_subword_prefix")            ? "WordPiece"
                          : part.has("vocab") && part.at("vocab").is_array() ? "Unigram"
                                                                             : "WordLevel");
  if (type == "WordPiece") {
    WordPieceModel::Options options = read_wordpiece_options(part);
    return SubwordModel(
        WordPieceModel(Vocabulary::from_json(part.at("vocab"), part.where() + ".vocab"), std::move(options)));
  }
  if (type == "BPE") return SubwordModel(read_bpe_model(part));
  if (type == "Unigram") return SubwordModel(read_unigram_model(part));
  if (type == "WordLevel") {
    part.allow({"vocab", "unk_token"});
    return SubwordModel(WordLevelModel(Vocabulary::from_json(part.at("vocab"), part.where() + ".vocab"),
                                       part.string("unk_token", "<unk>")));
  }
  part.error("unknown model \"" + type + '"');
}

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI::text
