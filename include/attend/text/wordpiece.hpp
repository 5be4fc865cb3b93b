// BERT's tokenizer: clean and split the text into words, then cut each word into the longest pieces that the
// vocabulary has. J. Devlin et al., BERT, 2018; M. Schuster and K. Nakajima, 2012.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/aligned_text.hpp>
#include <attend/text/file.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::inline ATTEND_ABI::text {

/// What BERT does to text before it splits it.
struct BertNormalizer {
  bool clean_text = true;            ///< drop control characters, make every white space a blank
  bool handle_chinese_chars = true;  ///< set off each ideograph as a word
  bool lowercase = true;             // letters become small ones
  std::optional<bool> strip_accents = std::nullopt;  ///< unless said, as lowercase

  /// A text of UTF-8 as BERT sees it, in place.
  void operator()(AlignedText& text) const {
    text.map([&](std::string& out, char32_t c) {
      if (clean_text) {
        if (c == 0 || c == 0xFFFD || is_control(c)) return;
        if (is_white_space(c)) c = ' ';
      }
      if (handle_chinese_chars && is_ideograph(c)) {
        out += ' ';
        append_utf8(out, c);
        out += ' ';
      } else {
        append_utf8(out, c);
      }
    });
    if (strip_accents.value_or(lowercase)) {
      normalize(text, NormalForm::nfd);
      text.keep([](char32_t c) { return !is_nonspacing_mark(c); });
    }
    if (lowercase) text::lowercase(text);
  }

 private:
  static bool is_control(char32_t c) {
    if (c == '\t' || c == '\n' || c == '\r') return false;
    const auto kind = category(c);
    return kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CO ||
           (kind == UTF8PROC_CATEGORY_CF && !detail::is_in(detail::kFormatSince8, c));
  }
  static bool is_ideograph(char32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
           (c >= 0x2F800 && c <= 0x2FA1F);
  }
};

/// Cuts words into the longest pieces that the vocabulary has.
class WordPieceModel {
 public:
  /// Named as in tokenizer.json.
  struct Options {
    std::string unk_token = "[UNK]";               // for words that cannot be cut
    std::string continuing_subword_prefix = "##";  // of pieces that do not begin a word
    std::size_t max_input_chars_per_word = 100;    ///< a longer word is unk_token
  };

  /// Takes the vocabulary.
  WordPieceModel(Vocabulary vocabulary, Options options)
      : vocabulary_(std::move(vocabulary)),
        options_(std::move(options)),
        unknown_(vocabulary_.id(options_.unk_token)) {}

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const Options& options() const { return options_; }
  std::optional<std::int32_t> unknown_id() const { return unknown_; }

  /// Appends the ids of one word, and which of its bytes they are. Time is at most the word's length times
  /// that of the longest token.
  void tokenize(std::string_view word, std::vector<std::int32_t>& ids,
                std::vector<ByteRange>* ranges = nullptr) const {
    if (word.empty()) return;
    const std::size_t before = ids.size();
    const auto give_up = [&] {
      ids.resize(before);
      ids.push_back(unknown(word));
      if (ranges) ranges->resize(before), ranges->push_back({0, word.size()});
    };
    if (count_code_points(word) > options_.max_input_chars_per_word) return give_up();
    for (std::size_t begin = 0; begin < word.size();) {
      // Tokens are UTF-8, so that none ends inside a character.
      const auto [id, size] = vocabulary_.longest_beginning(
          begin ? options_.continuing_subword_prefix : std::string_view(), word.substr(begin));
      if (size == 0) return give_up();
      ids.push_back(id);
      if (ranges) ranges->push_back({begin, begin + size});
      begin += size;
    }
  }

 private:
  std::int32_t unknown(std::string_view word) const {
    if (!unknown_)
      throw_error("WordPiece: the word \"", word.substr(0, 64), "\" is unknown, and so is \"",
                  options_.unk_token, "\"");
    return *unknown_;
  }

  Vocabulary vocabulary_;
  Options options_;
  std::optional<std::int32_t> unknown_;
};

/// One token of a WordPiece text: glued on if it has the prefix (which goes), else after a blank. `cleanup`
/// takes away the blank before punctuation and English contractions.
inline std::string decode_wordpiece(std::string_view token, bool first, std::string_view prefix,
                                    bool cleanup) {
  std::string out;
  if (!first && !token.starts_with(prefix)) out = ' ';
  out += !first && token.starts_with(prefix) ? token.substr(prefix.size()) : token;
  if (!cleanup) return out;
  static constexpr std::string_view rules[][2] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : rules)
    if (out.find(from) != std::string::npos) out = replace_all(out, from, to);
  return out;
}

namespace detail {

inline BertNormalizer read_bert_normalizer(const Part& part) {
  part.allow({"clean_text", "handle_chinese_chars", "strip_accents", "lowercase"});
  BertNormalizer out;
  out.clean_text = part.boolean("clean_text", true);
  out.handle_chinese_chars = part.boolean("handle_chinese_chars", true);
  out.lowercase = part.boolean("lowercase", true);
  if (part.has("strip_accents")) out.strip_accents = part.boolean("strip_accents", false);
  return out;
}

inline WordPieceModel::Options read_wordpiece_options(const Part& part) {
  part.allow({"vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word"});
  WordPieceModel::Options options;
  options.unk_token = part.string("unk_token", options.unk_token);
  options.continuing_subword_prefix =
      part.string("continuing_subword_prefix", options.continuing_subword_prefix);
  if (part.has("max_input_chars_per_word"))
    options.max_input_chars_per_word = static_cast<std::size_t>(part.integer("max_input_chars_per_word"));
  return options;
}

}  // namespace detail

}  // namespace attend::inline ATTEND_ABI::text
