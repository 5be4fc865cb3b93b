// Tokenizers of SentencePiece's files: of one, or of Marian's two and their vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/core/location.hpp>
#include <attend/text/aligned_text.hpp>
#include <attend/text/decoder.hpp>
#include <attend/text/sentencepiece_model.hpp>
#include <attend/text/subword_model.hpp>
#include <attend/text/utf8.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::inline ATTEND_ABI::text {

/// What a SentencePiece file says: whole texts to ids, tokens to text, and which pieces are control symbols.
struct SentencePiece {
  SubwordModel model;                 // texts to ids
  Decoder decoder;                    // tokens to text
  std::vector<std::int32_t> control;  // symbols that no text has
  /// Where the file names them.
  std::optional<std::int32_t> bos, eos, unk;
};

namespace detail {

class SentencePieceModel {
 public:
  SentencePieceModel(std::shared_ptr<const SentencePieceCodec> codec, std::optional<Vocabulary> other)
      : codec_(std::move(codec)), other_(std::move(other)), unk_(renumbered(codec_->file().unk)) {}

  const Vocabulary& vocabulary() const { return other_ ? *other_ : codec_->file().pieces; }
  std::optional<std::int32_t> unknown_id() const { return unk_; }
  /// The id in the vocabulary of a piece of the file.
  std::optional<std::int32_t> renumbered(std::optional<std::int32_t> id) const {
    return id && other_ ? other_->id(codec_->file().pieces.token(*id)) : id;
  }

  void tokenize(std::string_view text, std::vector<std::int32_t>& ids,
                std::vector<ByteRange>* ranges = nullptr) const {
    codec_->for_each_piece(text, ranges != nullptr, [&](std::string_view piece, ByteRange range) {
      const auto id = vocabulary().id(piece);
      if (!id && !unk_)
        throw_error("SentencePiece: \"", piece, "\" is unknown, and there is no unknown token");
      ids.push_back(id ? *id : *unk_);
      if (ranges) ranges->push_back(range);
    });
  }

 private:
  std::shared_ptr<const SentencePieceCodec> codec_;
  std::optional<Vocabulary> other_;
  std::optional<std::int32_t> unk_;
};

// The bytes of a character that is not complete yet wait; decoded, each would be U+FFFD.
inline void hold_incomplete_character(std::vector<std::string>& tokens, DecodeWindow& window) {
  std::string tail;
  for (std::size_t i = tokens.size(); window.open && i > window.context && tail.size() < 4; --i) {
    const int byte = byte_of_token(tokens[i - 1]);
    if (byte < 0) break;
    tail = std::string(1, static_cast<char>(byte)).append(tail);
    const CodePoint c = decode_utf8(tail, 0);
    if (c.status == CodePoint::incomplete && c.size == tail.size()) {
      window.held = true;
      return tokens.resize(i - 1);
    }
  }
}

}  // namespace detail

/// Opens a file. `vocabulary`, where given, numbers the pieces in place of the file's own order, and
/// `decode_with` is the file of the other language: Marian's way.
inline SentencePiece read_sentencepiece(const Location& path,
                                        std::optional<Vocabulary> vocabulary = std::nullopt,
                                        const std::optional<Location>& decode_with = {}) {
  const auto codec = std::make_shared<const detail::SentencePieceCodec>(path);
  const auto other = decode_with ? std::make_shared<const detail::SentencePieceCodec>(*decode_with) : codec;
  const Decoder decode = [other, two_files = other != codec](std::vector<std::string>& tokens,
                                                             DecodeWindow& window) {
    detail::hold_incomplete_character(tokens, window);
    std::string out = other->decode(tokens);
    // A piece that only the source's file has comes back as it is.
    if (two_files && out.starts_with(detail::blank_piece)) out.erase(0, detail::blank_piece.size());
    if (two_files) out = replace_all(out, detail::blank_piece, " ");
    tokens.assign(1, std::move(out));
  };
  const detail::SentencePieceFile& file = codec->file();
  std::vector<std::int32_t> control;
  for (std::int32_t id = 0; !vocabulary && id < static_cast<std::int32_t>(file.pieces.size()); ++id)
    if (file.kind(id) == detail::SentencePieceFile::Kind::control) control.push_back(id);
  detail::SentencePieceModel model(codec, std::move(vocabulary));
  const auto bos = model.renumbered(file.control(file.bos)), eos = model.renumbered(file.control(file.eos)),
             unk = model.unknown_id();
  return {SubwordModel(std::move(model)), decode, std::move(control), bos, eos, unk};
}

}  // namespace attend::inline ATTEND_ABI::text
