// One front door for tokenizers: a Hugging Face folder, a tokenizer.json, or the vocabulary files of old.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <attend/core/config.hpp>
#include <attend/core/location.hpp>
#include <attend/text/encoding.hpp>

namespace attend::inline ATTEND_ABI::text {

/// Text to ids and back. Immutable: any number of threads may share one; copies, and what was moved from, are
/// the same tokenizer.
///     const auto tokenizer = Tokenizer::open("bert-base-uncased");
///     std::vector<std::int32_t> ids = tokenizer.encode("Hello, world!");   // [CLS] hello , world ! [SEP]
/// Malformed UTF-8 in a text is read as U+FFFD. As in transformers, "truncation" and "padding" of a
/// tokenizer.json are what somebody last used, and not applied.
class Tokenizer {
 public:
  Tokenizer(const Tokenizer&) = default;  // without moves, so that none is ever empty
  Tokenizer& operator=(const Tokenizer&) = default;

  /// Opens a folder (tokenizer.json if there is one, else vocab.txt, vocab.json with merges.txt, or a
  /// SentencePiece model, read as tokenizer_config.json says) or one file: *.json, *.txt (WordPiece), *.model
  /// or *.spm, or *.gguf. Beside any of these but SentencePiece, a tokenizer_config.json counts as
  /// AutoTokenizer of transformers takes it: the steps around the vocabulary are those of the class that it
  /// names, or else config.json by its model_type, if that has its own (BertTokenizer, by do_lower_case), and
  /// special tokens are added. Fails if a part is unknown or contradicts another.
  static Tokenizer open(const Location& path);

  /// Byte-level BPE from GPT-2's, RoBERTa's or BART's two files.
  static Tokenizer from_vocab_and_merges(const Location& vocab, const Location& merges);

  /// From the text of a tokenizer.json; `where` names it in errors.
  static Tokenizer from_json(std::string_view json, const std::string& where);

  /// The same tokenizer for texts whose letters become small ones first.
  Tokenizer lowercased() const;

  /// The ids of a text.
  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;

  /// The same with what else there is to know of each token.
  Encoding encode_single(std::string_view text, const EncodeOptions& options = {}) const;

  /// Both texts with the special tokens around and between them, and which id belongs to which text.
  Encoding encode_pair(std::string_view first, std::string_view second,
                       const EncodeOptions& options = {}) const;

  /// Text of ids. Fails on an id that no token has.
  std::string decode(std::span<const std::int32_t> ids, const DecodeOptions& options = {}) const;

  /// One more than the largest id, added tokens included: the rows that an embedding table needs.
  std::size_t vocab_size() const;

  /// Nothing where there is no such token.
  std::optional<std::int32_t> token_to_id(std::string_view token) const;

  /// The text of tokens, special ones among them as they are written.
  std::string tokens_to_string(std::vector<std::string> tokens) const;

  /// Fails on an id that no token has.
  std::string id_to_token(std::int32_t id) const;

  bool contains(std::int32_t id) const;  // Whether a token has the id.

  bool is_special(std::int32_t id) const;  // Whether it is one that decode leaves out on request.

  /// What characters that no token covers become, if the model has such a token.
  std::optional<std::int32_t> unknown_id() const;
  /// Whether tokens that continue a word say so by how they begin ("##" of WordPiece).
  bool has_continuing_prefix() const;

 private:
  friend class StreamingDecoder;
  struct Parts;

  explicit Tokenizer(Parts parts);

  std::shared_ptr<const Parts> parts_;
};

}  // namespace attend::inline ATTEND_ABI::text

#if ATTEND_HAS_MODEL_BODIES
#include <attend/text/tokenizer.inl>
#endif
