// SentencePiece's own files (*.model, *.spm), which are a protocol buffer: its ModelProto.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/core/file.hpp>
#include <attend/text/bpe.hpp>
#include <attend/text/decoder.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/prefix_index.hpp>
#include <attend/text/utf8.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

inline constexpr std::string_view blank_piece = "\u2581", replacement_character = "\uFFFD";

/// Calls f(tag, value, bytes) for each field of a protocol buffer, where tag is 8 * number + kind: of kinds 0
/// and 5 (32 bits) the value, of kind 2 the bytes. refuse(what) is for those that are none.
template <class F, class Fail>
void for_each_field(std::string_view rest, Fail&& refuse, F&& f) {
  const auto take = [&](std::uint64_t size) {
    if (size > rest.size()) refuse("a field is cut off");
    const std::string_view taken = rest.substr(0, size);
    rest.remove_prefix(taken.size());
    return taken;
  };
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      if (shift > 63) refuse("a number is too long");
      value |= std::uint64_t{byte & 127u} << shift;
      if (byte < 128) return value;
    }
  };
  while (!rest.empty()) {
    const std::uint64_t tag = varint();
    std::uint64_t value = 0;
    std::string_view bytes;
    switch (tag & 7) {
      case 0:
        value = varint();
        break;
      case 1:
        bytes = take(8);
        break;
      case 2:
        bytes = take(varint());
        break;
      case 5:
        bytes = take(4);
        for (unsigned i = 0; i < 4; ++i)
          value |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
        break;
      default:
        refuse("an unknown kind of field");
    }
    f(tag, value, bytes);
  }
}

/// NormalizerSpec.
struct SentencePieceNormalizer {
  bool add_dummy_prefix = true, remove_extra_blanks = true, escape_blanks = true, blank_as_suffix = false;
  std::optional<CharacterMap> map = {};

  template <class Fail>
  void read(std::string_view spec, Fail&& refuse, const std::string& where) {
    for_each_field(spec, refuse, [&](std::uint64_t tag, std::uint64_t value, std::string_view bytes) {
      if (tag == 18 && !bytes.empty()) map.emplace(std::string(bytes), where);
      if (tag == 24) add_dummy_prefix = value != 0;
      if (tag == 32) remove_extra_blanks = value != 0;
      if (tag == 40) escape_blanks = value != 0;
    });
  }

  /// fixed(text) is the size of what must stay as it is at the begin of the text, 0 for nothing. `origin`
  /// gets where in the text each byte comes from, and where the last one's source ends.
  template <class Fixed>
  std::string operator()(std::string_view text, Fixed&& fixed,
                         std::vector<std::size_t>* origin = nullptr) const {
    const std::size_t limit = growth_limit(text.size()), whole = text.size();
    const std::string_view blank = escape_blanks ? blank_piece : " ";
    std::string out;
    std::size_t at = 0;  // in the text
    const auto follow = [&] {
      if (origin) origin->resize(out.size(), at);
    };
    bool after_blank = remove_extra_blanks, begun = false;
    while (!text.empty()) {
      auto [now, size] = next(text, fixed);
      at = whole - text.size();
      text.remove_prefix(size);
      if (!begun && remove_extra_blanks && now == " ") continue;
      if (!begun && add_dummy_prefix && !blank_as_suffix) out += blank;
      begun = true;
      while (after_blank && now.starts_with(' ')) now.remove_prefix(1);
      for (char c : now) c == ' ' ? out += blank : out += c;
      if (!now.empty()) after_blank = remove_extra_blanks && now.back() == ' ';
      Normalizer::check_growth(out.size(), limit);
      follow();
    }
    at = whole;
    while (remove_extra_blanks && out.ends_with(blank)) {
      out.resize(out.size() - blank.size());
      if (origin) at = (*origin)[out.size()];
    }
    follow();
    if (begun && add_dummy_prefix && blank_as_suffix) out += blank;
    follow();
    if (origin) origin->push_back(at);
    return out;
  }

 private:
  // What stands for the begin of the text, and the size of that.
  template <class Fixed>
  std::pair<std::string_view, std::size_t> next(std::string_view text, Fixed&& fixed) const {
    if (const std::size_t size = fixed(text)) return {text.substr(0, size), size};
    if (map)
      if (const auto found = map->longest(text)) return *found;
    const CodePoint c = decode_utf8(text, 0);
    if (c.status != CodePoint::valid) return {replacement_character, 1};
    return {text.substr(0, c.size), c.size};
  }
};

/// ModelProto: pieces, and how they are used. Memory is less than four times the file: two passes over it
/// tell how much is needed before anything is kept.
struct SentencePieceFile {
  enum Type { unigram = 1, bpe = 2, characters = 4 };
  enum class Kind : std::uint8_t {
    normal = 1,
    unknown = 2,
    control = 3,
    user_defined = 4,
    unused = 5,
    byte = 6
  };

  Type type = unigram;
  Vocabulary pieces;
  std::vector<float> scores;  // by id
  std::vector<Kind> kinds;    // by id
  SentencePieceNormalizer normalizer;
  std::optional<SentencePieceNormalizer> denormalizer;
  bool byte_fallback = false;
  std::int32_t unk = -1;
  std::string bos = "<s>", eos = "</s>", unk_surface = " \u2047 ";

  explicit SentencePieceFile(const Location& path) {
    const attend::detail::MappedFile file(path);
    const std::string where = path.string() + ": not a SentencePiece model";
    const std::string_view all(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
    const auto refuse = [&](const char* what) { throw_error(where, ": ", what); };
    const auto each = [&](std::string_view message, auto&& f) { for_each_field(message, refuse, f); };
    reserve(all, each, refuse);
    std::uint64_t number = unigram;
    each(all, [&](std::uint64_t tag, std::uint64_t, std::string_view message) {
      if (tag == 10) add_piece(message, each, where);
      if (tag == 26) normalizer.read(message, refuse, where);
      if (tag == 42) {
        if (!denormalizer) denormalizer.emplace();
        denormalizer->read(message, refuse, where);
      }
      if (tag != 18) return;
      each(message, [&](std::uint64_t inner, std::uint64_t value, std::string_view bytes) {
        if (inner == 24) number = value;
        if (inner == 192) normalizer.blank_as_suffix = value != 0;
        if (inner == 280) byte_fallback = value != 0;
        if (inner == 354) unk_surface = bytes;
        if (inner == 370 && !bytes.empty()) bos = bytes;
        if (inner == 378 && !bytes.empty()) eos = bytes;
      });
    });
    if (number != unigram && number != bpe && number != characters)
      refuse("its type is neither unigram, BPE nor char");
    type = static_cast<Type>(number);
    if (unk < 0) refuse("no piece is the unknown token");
    for (int byte = 0; byte_fallback && byte < 256; ++byte) {
      const auto id = pieces.id(byte_token(static_cast<unsigned char>(byte)));
      if (!id || kind(*id) != Kind::byte) refuse("a byte has no piece");
    }
  }

  Kind kind(std::int32_t id) const { return kinds[static_cast<std::size_t>(id)]; }
  float score(std::int32_t id) const { return scores[static_cast<std::size_t>(id)]; }
  /// May it be a piece of a text?
  bool is_text(std::int32_t id) const {
    return kind(id) == Kind::normal || kind(id) == Kind::user_defined || kind(id) == Kind::unused;
  }
  std::optional<std::int32_t> control(std::string_view piece) const {
    const auto id = pieces.id(piece);
    return id && kind(*id) == Kind::control ? id : std::nullopt;
  }

 private:
  template <class Each, class Fail>
  void reserve(std::string_view all, Each&& each, Fail&& refuse) {
    std::size_t count = 0, size = 0;
    each(all, [&](std::uint64_t tag, std::uint64_t, std::string_view message) {
      if (tag != 10) return;
      std::string_view text;
      each(message, [&](std::uint64_t inner, std::uint64_t, std::string_view bytes) {
        if (inner == 10) text = bytes;
      });
      if (text.empty() || text.find('\0') != std::string_view::npos)
        refuse("a piece that is empty or has a NUL byte");
      ++count, size += text.size();
    });
    pieces.reserve(count, size);
    scores.reserve(count);
    kinds.reserve(count);
  }

  template <class Each>
  void add_piece(std::string_view message, Each&& each, const std::string& where) {
    std::string_view text;
    float value = 0;
    Kind type_of = Kind::normal;
    each(message, [&](std::uint64_t tag, std::uint64_t number, std::string_view bytes) {
      if (tag == 10) text = bytes;
      if (tag == 21) value = std::bit_cast<float>(static_cast<std::uint32_t>(number));
      if (tag == 24 && number >= 1 && number <= 6) type_of = static_cast<Kind>(number);
    });
    const auto id = static_cast<std::int32_t>(kinds.size());
    if (type_of == Kind::unknown && unk >= 0) throw_error(where, ": two unknown tokens");
    if (type_of == Kind::byte && byte_of_token(text) < 0) throw_error(where, ": a byte piece that is none");
    if (type_of == Kind::unknown) unk = id;
    pieces.add(text, id, where);
    scores.push_back(value);
    kinds.push_back(type_of);
  }
};

}  // namespace attend::inline ATTEND_ABI::text::detail
