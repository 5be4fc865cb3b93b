// The tokenizer of a GGUF file's metadata, as the tokenizer.json that it stands for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/gguf/gguf.hpp>
#include <attend/text/added_tokens.hpp>
#include <attend/text/bpe.hpp>
#include <attend/text/byte_level.hpp>
#include <attend/text/file.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/subword_model.hpp>
#include <attend/text/utf8.hpp>
#include <attend/text/vocabulary.hpp>
#include <attend/text/vocabulary_files.hpp>
#include <attend/text/wordpiece.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

/// How texts are cut into words before byte-level BPE, by the names that llama.cpp's converter gives it
/// (tokenizer.ggml.pre). `split` is a pattern in front of ByteLevel, which then has none of its own.
struct GgufWords {
  std::initializer_list<std::string_view> names;
  const char* split = nullptr;
  bool digits = false;  ///< each digit is a word
  bool ignore_merges = false, nfc = false, bos = false;
};

inline constexpr const char* kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr const char* kTekkenWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr const char* kGpt4oWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

inline const GgufWords* find_gguf_words(std::string_view name) {
  static const GgufWords all[] = {
      {.names = {"gpt-2", "phi-2", "mpt", "olmo", "roberta-bpe", "jina-es", "jina-de", "jina-v2-es",
                 "jina-v2-de"}},
      {.names = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"},
       .digits = true},
      {.names = {"llama3", "llama-v3", "llama-bpe", "falcon3"},
       .split = kLlama3Words,
       .ignore_merges = true,
       .bos = true},
      {.names = {"dbrx", "smaug-bpe"}, .split = kLlama3Words},
      {.names = {"qwen2", "deepseek-r1-qwen", "stablelm2"}, .split = qwen2_pattern, .nfc = true},
      {.names = {"tekken"}, .split = kTekkenWords, .ignore_merges = true, .bos = true},
      {.names = {"gpt-4o"}, .split = kGpt4oWords}};
  for (const GgufWords& words : all)
    for (std::string_view known : words.names)
      if (known == name) return &words;
  return nullptr;
}

/// Tokens, their kinds and scores or merges, and what is around them; see Tokenizer::Parts::from_gguf.
class GgufTokenizer {
 public:
  explicit GgufTokenizer(const GgufFile& file) : file_(file) {
    kind_ = file.string("tokenizer.ggml.model").value_or("");
    const std::string_view pre = file.string("tokenizer.ggml.pre").value_or("");
    if (kind_ == "gpt2" && (words_ = find_gguf_words(pre)) == nullptr)
      file.refuse("tokenizer.ggml.pre", " ", attend::detail::in_quotes(pre), " is not supported");
    if (kind_ != "llama" && kind_ != "gpt2" && kind_ != "bert")
      file.refuse("tokenizer.ggml.model", " ", attend::detail::in_quotes(kind_), " is not supported");
    const std::size_t count = file.size("tokenizer.ggml.tokens");
    types_.reserve(count);
    file.for_each_number("tokenizer.ggml.token_type", [&](double type) {
      types_.push_back(type >= 1 && type <= 6 ? static_cast<Type>(type) : normal);
    });
    if (count == 0) file.refuse("tokenizer.ggml.tokens", " is missing or empty");
    if (!types_.empty() && types_.size() != count)
      file.refuse("tokenizer.ggml.token_type", " has ", types_.size(), " values for ", count, " tokens");
    types_.resize(count, normal);
    prefix_ = file.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
    if (kind_ == "bert") cased_ = has_capitals();
  }

  SubwordModel model() const {
    if (kind_ == "bert") return SubwordModel(WordPieceModel(vocabulary(), {.unk_token = text_of(unknown())}));
    if (kind_ == "llama") {
      BpeModel model(vocabulary(), {.unk_token = text_of(unknown()), .fuse_unk = true, .byte_fallback = true},
                     0);
      model.set_scores(scores());
      return SubwordModel(std::move(model));
    }
    BpeModel model(vocabulary(), {.ignore_merges = words_->ignore_merges},
                   file_.size("tokenizer.ggml.merges"));
    std::size_t i = 0;
    file_.for_each_string("tokenizer.ggml.merges", [&](std::string_view merge) {
      const auto [left, right] = BpeModel::split_merge(
          merge, [&] { return file_.path() + ": tokenizer.ggml.merges[" + std::to_string(i) + "]"; });
      model.add_merge(left, right, file_.path() + ": tokenizer.ggml.merges");
      ++i;
    });
    return SubwordModel(std::move(model));
  }

  /// The members of a tokenizer.json that are not tokens.
  std::string parts() const {
    if (kind_ == "bert") {
      const std::int32_t cls = *id_of({"cls", "bos"}, 101), sep = *id_of({"seperator", "eos"}, 102);
      return std::string(R"({"pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece"},
                             "normalizer": {"type": "BertNormalizer", "lowercase": )") +
             (cased_ ? "false}" : "true}") +
             post_processor("BertProcessing", text_of(cls), cls, text_of(sep), sep) + "}";
    }
    if (kind_ == "llama") {
      const std::string blank(kBlank), content = R"({"type": "Replace", "content": ")";
      return R"({"normalizer": {"type": "Sequence", "normalizers": [)" +
             (prefix_ ? R"({"type": "Prepend", "prepend": ")" + blank + R"("}, )" : "") + content + blank +
             R"(", "pattern": {"String": " "}}]}, "decoder": {"type": "Sequence", "decoders": [)" + content +
             R"( ", "pattern": {"String": ")" + blank + R"("}}, {"type": "ByteFallback"}, {"type": "Fuse"})" +
             (prefix_ ? R"(, {"type": "Strip", "content": " ", "start": 1, "stop": 0})" : "") + "]}}";
    }
    const char* byte_level = words_->split
                                 ? R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})"
                                 : R"({"type": "ByteLevel", "add_prefix_space": false})";
    std::string before;
    if (words_->split)
      before = R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": )" + in_json(words_->split) +
               "}}, ";
    if (words_->digits) before = R"({"type": "Digits", "individual_digits": true}, )";
    return R"({"decoder": {"type": "ByteLevel"}, )" +
           std::string(words_->nfc ? R"("normalizer": {"type": "NFC"}, )" : "") +
           R"("pre_tokenizer": {"type": "Sequence", "pretokenizers": [)" + before + byte_level + "]}}";
  }

  /// Control symbols and what a user defined; the latter of SentencePiece's kind without a prefix as they are
  /// in the normalised text.
  AddedTokens added_tokens(const Normalizer& normalizer, const Vocabulary& all) const {
    AddedTokens out;
    // Such a token takes some hundred bytes: more than a real file has are no reason to take that of a broken
    // one.
    std::size_t room = 2000 + file_.bytes() / 128;
    for_each_token([&](std::string_view token, std::int32_t id) {
      const Type type = type_of(id);
      if (token.empty() || (type != control && type != user_defined && type != unknown_token)) return;
      if (room-- == 0)
        throw_error(file_.path(), ": token ", id, ": too many special tokens for a file of this size");
      const bool special = type != user_defined, normalized = !special && kind_ == "llama" && !prefix_;
      out.add({.content = std::string(token), .special = special, .normalized = normalized}, id, all.size(),
              all, normalizer, [&] { return file_.path() + ": token " + std::to_string(id); });
    });
    out.finish();
    return out;
  }

  /// What stands before and behind every text, but for BERT's, of which parts() tells.
  std::optional<std::int32_t> bos() const {
    const bool otherwise = kind_ == "llama" || (words_ != nullptr && words_->bos);
    return kind_ != "bert" && file_.boolean("tokenizer.ggml.add_bos_token").value_or(otherwise)
               ? id_of({"bos"})
               : std::nullopt;
  }
  std::optional<std::int32_t> eos() const {
    return kind_ != "bert" && file_.boolean("tokenizer.ggml.add_eos_token").value_or(false) ? id_of({"eos"})
                                                                                            : std::nullopt;
  }

 private:
  static constexpr std::string_view kBlank = "\u2581";
  enum Type : std::uint8_t { normal = 1, unknown_token, control, user_defined, unused, byte };

  Type type_of(std::int32_t id) const { return types_[static_cast<std::size_t>(id)]; }

  /// Calls f(token, id) for each, as tokenizer.json has it.
  template <class F>
  void for_each_token(F&& f) const {
    std::int32_t id = 0;
    std::string text;
    file_.for_each_string("tokenizer.ggml.tokens", [&](std::string_view token) {
      if (find_malformed_utf8(token) != std::string_view::npos)
        throw_error(file_.path(), ": token ", id, " is not UTF-8");
      if (kind_ == "bert" &&
          type_of(id) != control) {  // "\u2581x" begins a word there, in ours what does not has "##"
        text = token.starts_with(kBlank) ? token.substr(kBlank.size()) : std::string("##").append(token);
        token = text;
      }
      f(token, id++);
    });
  }
  Vocabulary vocabulary() const {
    Vocabulary out;
    std::size_t bytes = 0;
    for_each_token([&](std::string_view token, std::int32_t) { bytes += token.size(); });
    out.reserve(types_.size(), bytes);
    for_each_token([&](std::string_view token, std::int32_t id) {
      out.add(token, id, file_.path() + ": tokenizer.ggml.tokens");
    });
    return out;
  }
  bool has_capitals() const {
    bool found = false;
    for_each_token([&](std::string_view token, std::int32_t id) {
      found = found || (type_of(id) == normal && !token.starts_with('[') &&
                        std::any_of(token.begin(), token.end(), [](char c) { return c >= 'A' && c <= 'Z'; }));
    });
    return found;
  }
  std::vector<float> scores() const {
    std::vector<float> out;
    out.reserve(types_.size());
    file_.for_each_number("tokenizer.ggml.scores",
                          [&](double score) { out.push_back(static_cast<float>(score)); });
    if (out.size() != types_.size())
      file_.refuse("tokenizer.ggml.scores", " has ", out.size(), " values for ", types_.size(), " tokens");
    for (std::size_t id = 0; id < out.size(); ++id)
      if (types_[id] != normal && types_[id] != user_defined)
        out[id] = -std::numeric_limits<float>::infinity();
    return out;
  }

  /// The first of these ids that the file has.
  std::optional<std::int32_t> id_of(std::initializer_list<const char*> names,
                                    std::optional<std::int32_t> otherwise = {}) const {
    for (const char* name : names) {
      const std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
      const auto id = file_.integer(key);
      if (!id) continue;
      if (*id < 0 || static_cast<std::size_t>(*id) >= types_.size())
        file_.refuse(key, " ", *id, " is no token");
      return static_cast<std::int32_t>(*id);
    }
    if (otherwise && static_cast<std::size_t>(*otherwise) >= types_.size())
      throw_error(file_.path(), ": no id of the token '", *names.begin(), "'");
    return otherwise;
  }
  std::int32_t unknown() const { return *id_of({"unknown"}, kind_ == "bert" ? 100 : 0); }
  std::string text_of(std::int32_t wanted) const {
    std::string out;
    for_each_token([&](std::string_view token, std::int32_t id) {
      if (id == wanted) out = token;
    });
    return out;
  }

  const GgufFile& file_;
  std::string_view kind_;
  const GgufWords* words_ = nullptr;
  std::vector<Type> types_;
  bool prefix_ = true, cased_ = false;
};

}  // namespace attend::inline ATTEND_ABI::text::detail
