// SentencePiece's own files (*.model, *.spm), through its library. That is optional: CMake defines
// ATTEND_WITH_SENTENCEPIECE where it is found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
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

namespace attend::inline ATTEND_ABI::text {

/// What a SentencePiece file says: whole texts to ids, tokens to text, and which pieces are control symbols.
struct SentencePiece {
  SubwordModel model;
  Decoder decoder;
  std::vector<std::int32_t> control;
  std::optional<std::int32_t> bos, eos, unk;
};

#ifdef ATTEND_WITH_SENTENCEPIECE

namespace detail {

/// What the library takes on trust: that pieces hold no NUL, and that the trie of its map of characters,
/// which it walks without looking at its end, leads nowhere else.
class SentencePieceCheck {
 public:
  SentencePieceCheck(std::string_view bytes, const Location& path) : path_(path) {
    for_each_field(bytes, [&](std::uint64_t field, std::string_view value) {
      if (field == 1)
        for_each_field(value, [&](std::uint64_t inner, std::string_view text) {
          if (inner == 1 && text.find('\0') != std::string_view::npos) give_up("a piece with a NUL byte");
        });
      if (field == 3 || field == 5)
        for_each_field(value, [&](std::uint64_t inner, std::string_view map) {
          if (inner == 2 && !map.empty()) check_map(map);
        });
    });
  }

 private:
  [[noreturn]] void give_up(const char* what) const {
    throw_error(path_.string(), ": not a SentencePiece model: ", what);
  }

  std::uint64_t varint(std::string_view& rest) const {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest[0]);
      rest.remove_prefix(1);
      value |= std::uint64_t{byte & 127u} << shift;
      if (byte < 128) return value;
    }
    give_up("a number is cut off");
  }

  /// Calls f(number, bytes) for each field of a protobuf message; of numbers the bytes are left out.
  template <class F>
  void for_each_field(std::string_view rest, F&& f) const {
    while (!rest.empty()) {
      const std::uint64_t tag = varint(rest), kind = tag & 7;
      std::uint64_t size = kind == 1 ? 8 : kind == 5 ? 4 : 0;
      if (kind == 0) varint(rest);
      if (kind == 2) size = varint(rest);
      if (kind != 0 && kind != 1 && kind != 2 && kind != 5) give_up("an unknown kind of field");
      if (size > rest.size()) give_up("a field is cut off");
      f(tag >> 3, kind == 2 ? rest.substr(0, size) : std::string_view());
      rest.remove_prefix(size);
    }
  }

  // As in CharacterMap: 32-bit size of the trie, its units, and the replacements that its values point to.
  void check_map(std::string_view map) const {
    const auto word = [&](std::size_t at) {
      std::uint32_t out = 0;
      for (std::size_t i = 0; i < 4; ++i)
        out |= std::uint32_t{static_cast<unsigned char>(map[at + i])} << (8 * i);
      return out;
    };
    const std::size_t size = map.size() < 4 ? 0 : word(0), units = size / 4;
    if (size == 0 || size % 4 != 0 || size >= map.size() - 4) give_up("its map of characters is cut off");
    const std::size_t replacements = map.size() - 4 - size;
    const auto unit = [&](std::size_t i) { return word(4 + 4 * i); };
    for (std::size_t i = 0; i < units; ++i) {
      const std::uint32_t u = unit(i);
      if (u >> 31) continue;  // a value
      const std::size_t next = i ^ (std::size_t{u >> 10} << ((u & 0x200) >> 6));
      if ((next | 0xFF) >= units) give_up("its map of characters leads out of itself");
      if ((u >> 8 & 1) && (unit(next) & 0x7FFFFFFFu) >= replacements)
        give_up("its map of characters leads out of itself");
    }
    if (map.back() != '\0') give_up("its map of characters has no end");
  }

  const Location& path_;
};

inline std::shared_ptr<sentencepiece::SentencePieceProcessor> load_sentencepiece(const Location& path) {
  const std::string bytes = attend::read_file(path);
  SentencePieceCheck(bytes, path);
  auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
  const auto load = [&] {
    const auto status = processor->LoadFromSerializedProto(bytes);
    if (!status.ok()) throw_error(path.string(), ": not a SentencePiece model: ", status.ToString());
  };
#if defined(__cpp_exceptions)
  try {
    load();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {  // of its trie
    throw_error(path.string(), ": not a SentencePiece model: ", error.what());
  }
#else
  load();
#endif
  return processor;
}

class SentencePieceModel {
 public:
  SentencePieceModel(std::shared_ptr<sentencepiece::SentencePieceProcessor> processor, Vocabulary vocabulary,
                     std::optional<std::int32_t> unk)
      : processor_(std::move(processor)), vocabulary_(std::move(vocabulary)), unk_(unk) {}

  const Vocabulary& vocabulary() const { return vocabulary_; }

  std::optional<std::int32_t> unknown_id() const { return unk_; }

  void tokenize(std::string_view text, std::vector<std::int32_t>& ids,
                std::vector<ByteRange>* ranges = nullptr) const {
    if (ranges) throw_error("SentencePiece: offsets need a tokenizer.json");
    std::vector<std::string> pieces;
    const auto status = processor_->Encode(std::string(text), &pieces);
    if (!status.ok()) throw_error("SentencePiece: ", status.ToString());
    for (const std::string& piece : pieces) {
      const auto id = vocabulary_.id(piece);
      if (!id && !unk_)
        throw_error("SentencePiece: \"", piece, "\" is unknown, and there is no unknown token");
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
inline SentencePiece read_sentencepiece(const Location& path,
                                        std::optional<Vocabulary> vocabulary = std::nullopt,
                                        const std::optional<Location>& decode_with = {}) {
  const auto processor = detail::load_sentencepiece(path);
  const auto decoder = decode_with ? detail::load_sentencepiece(*decode_with) : processor;
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
  const Decoder decode = [decoder, two_files = decoder != processor](std::vector<std::string>& tokens,
                                                                     DecodeWindow& window) {
    // The bytes of a character that is not complete yet wait; the library would write U+FFFD for each.
    std::string tail;
    for (std::size_t i = tokens.size(); window.open && i > window.context && tail.size() < 4; --i) {
      const int byte = detail::byte_of_token(tokens[i - 1]);
      if (byte < 0) break;
      tail = std::string(1, static_cast<char>(byte)).append(tail);
      if (decode_utf8(tail, 0).status == CodePoint::incomplete && decode_utf8(tail, 0).size == tail.size()) {
        window.held = true;
        tokens.resize(i - 1);
        break;
      }
    }
    std::vector<std::string> out(1);
    const auto status = decoder->Decode(tokens, &out[0]);
    if (!status.ok()) throw_error("SentencePiece: ", status.ToString());
    // A piece that only the source's file has comes back as it is.
    constexpr std::string_view kBlank = "\u2581";
    if (two_files && out[0].starts_with(kBlank)) out[0].erase(0, kBlank.size());
    if (two_files) out[0] = replace_all(out[0], kBlank, " ");
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

inline SentencePiece read_sentencepiece(const Location& path, std::optional<Vocabulary> = std::nullopt,
                                        const std::optional<Location>& = {}) {
  throw_error(
      path.string(),
      ": needs the SentencePiece library: install it (Debian: libsentencepiece-dev) and configure again, or "
      "build "
      "with -DATTEND_WITH_SENTENCEPIECE and -lsentencepiece; or convert the model to a tokenizer.json");
}

#endif

}  // namespace attend::inline ATTEND_ABI::text
