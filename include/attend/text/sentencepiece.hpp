// SentencePiece's own files (*.model, *.spm), through its library. That is optional: CMake defines
// ATTEND_WITH_SENTENCEPIECE where it is found.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#ifdef ATTEND_WITH_SENTENCEPIECE
#include <sentencepiece_processor.h>
#endif

#include <attend/core/error.hpp>
#include <attend/text/decoder.hpp>
#include <attend/text/file.hpp>
#include <attend/text/subword_model.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::text {

/// What a SentencePiece file says: whole texts to ids, tokens to text, and which pieces are control symbols.
struct SentencePiece {
  SubwordModel model;
  Decoder decoder;
  std::vector<std::int32_t> control;
  std::optional<std::int32_t> bos, eos, unk;
};

#ifdef ATTEND_WITH_SENTENCEPIECE

namespace detail {

inline std::shared_ptr<sentencepiece::SentencePieceProcessor> load_sentencepiece(
    const std::filesystem::path& path) {
  auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
  const auto status = processor->LoadFromSerializedProto(attend::read_file(path));
  if (!status.ok()) fail(path.string() + ": not a SentencePiece model: " + status.ToString());
  return processor;
}

class SentencePieceModel {
 public:
  SentencePieceModel(std::shared_ptr<sentencepiece::SentencePieceProcessor> processor, Vocabulary vocabulary,
                     std::optional<std::int32_t> unk)
      : processor_(std::move(processor)), vocabulary_(std::move(vocabulary)), unk_(unk) {}

  const Vocabulary& vocabulary() const { return vocabulary_; }

  void tokenize(std::string_view text, std::vector<std::int32_t>& ids) const {
    std::vector<std::string> pieces;
    const auto status = processor_->Encode(std::string(text), &pieces);
    if (!status.ok()) fail("SentencePiece: " + status.ToString());
    for (const std::string& piece : pieces) {
      const auto id = vocabulary_.id(piece);
      if (!id && !unk_) fail("SentencePiece: \"" + piece + "\" is unknown, and there is no unknown token");
      ids.push_back(id ? *id : *unk_);
    }
  }

 private:
  std::shared_ptr<sentencepiece::SentencePieceProcessor> processor_;
  Vocabulary vocabulary_;
  std::optional<std::int32_t> unk_;
};

}  // namespace detail

/// Opens a file. `vocabulary`, where given, numbers the pieces in place of the file's own order, and
/// `decode_with` is the file of the other language: Marian's way.
inline SentencePiece read_sentencepiece(const std::filesystem::path& path,
                                        std::optional<Vocabulary> vocabulary = std::nullopt,
                                        const std::filesystem::path& decode_with = {}) {
  const auto processor = detail::load_sentencepiece(path);
  const auto decoder = decode_with.empty() ? processor : detail::load_sentencepiece(decode_with);
  std::vector<std::int32_t> control;
  if (!vocabulary) {
    vocabulary.emplace();
    for (int id = 0; id < processor->GetPieceSize(); ++id) {
      vocabulary->add(processor->IdToPiece(id), id, path.string());
      if (processor->IsControl(id)) control.push_back(id);
    }
  }
  // A processor answers -1 for a symbol that the model goes without.
  const auto named = [&](int id) { return id < 0 ? std::nullopt : vocabulary->id(processor->IdToPiece(id)); };
  const auto bos = named(processor->bos_id()), eos = named(processor->eos_id()),
             unk = named(processor->unk_id());
  const Decoder decode = [decoder, two_files = decoder != processor](std::vector<std::string>& tokens, DecodeWindow& window) {
    // The bytes of a character that is not complete yet wait; the library would write U+FFFD for each.
    std::string tail;
    for (std::size_t i = tokens.size(); window.open && i > window.context && tail.size() < 4; --i) {
      const int byte = detail::byte_of_token(tokens[i - 1]);
      if (byte < 0) break;
      tail.insert(tail.begin(), static_cast<char>(byte));
      if (decode_utf8(tail, 0).status == CodePoint::incomplete && decode_utf8(tail, 0).size == tail.size()) {
        window.held = true;
        tokens.resize(i - 1);
        break;
      }
    }
    std::vector<std::string> out(1);
    const auto status = decoder->Decode(tokens, &out[0]);
    if (!status.ok()) fail("SentencePiece: " + status.ToString());
    // A piece that only the source's file has comes back as it is.
    constexpr std::string_view kBlank = "\u2581";
    if (two_files && out[0].starts_with(kBlank)) out[0].erase(0, kBlank.size());
    for (std::size_t at = 0; two_files && (at = out[0].find(kBlank, at)) != std::string::npos;)
      out[0].replace(at, kBlank.size(), " ");
    tokens = std::move(out);
  };
  return {SubwordModel(detail::SentencePieceModel(processor, *std::move(vocabulary), unk)),
          decode,
          control,
          bos,
          eos,
          unk};
}

#else

inline SentencePiece read_sentencepiece(const std::filesystem::path& path,
                                        std::optional<Vocabulary> = std::nullopt,
                                        const std::filesystem::path& = {}) {
  fail(path.string() +
       ": needs the SentencePiece library: install it (Debian: libsentencepiece-dev) and configure again, or "
       "build "
       "with -DATTEND_WITH_SENTENCEPIECE and -lsentencepiece; or convert the model to a tokenizer.json");
}

#endif

}  // namespace attend::text
