// Bodies of tokenizer.hpp, and what a tokenizer is made of.
#pragma once

#include <algorithm>
#include <utility>

#include <attend/core/error.hpp>
#include <attend/text/added_tokens.hpp>
#include <attend/text/aligned_text.hpp>
#include <attend/text/decoder.hpp>
#include <attend/text/file.hpp>
#include <attend/text/gguf_tokenizer.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/post_processor.hpp>
#include <attend/text/pre_tokenizer.hpp>
#include <attend/text/sentencepiece.hpp>
#include <attend/text/subword_model.hpp>
#include <attend/text/tokenizer.hpp>
#include <attend/text/tokenizer_class.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/vocabulary_files.hpp>

namespace attend::inline ATTEND_ABI::text {

struct Tokenizer::Parts {
  SubwordModel model;
  AddedTokens added_tokens = {};
  Normalizer normalizer = {};
  PreTokenizer pre_tokenizer = {};
  bool first_counts = false;  // it asks for what a text begins with, which the normaliser may change
  Template surround = {};
  Decoder decoder = {};
  std::vector<std::int32_t> control = {};  // sorted; SentencePiece's special tokens

  static Parts open(const Location& path) {
    if (path.stands_for() != nullptr || (path.extension() == ".gguf" && !path.is_folder()))
      return from_gguf(path.stands_for() != nullptr ? *path.stands_for() : path);
    if (!path.is_folder()) {
      const std::string extension = path.extension();
      if (extension == ".model" || extension == ".spm")
        return from_sentencepiece(read_sentencepiece(path), false, false);
      if (extension == ".txt") return from_files(detail::ModelFiles(path), FileMap(), path.string());
      return from_json(*share_json(path), path.string());
    }
    if (const Location file = path / "tokenizer.json"; file.exists()) {
      const detail::FolderConfig config(path);
      const auto json = share_json(file);
      if (!detail::reads_sentencepiece(path, detail::class_of_folder(config, *json)))
        return from_json(*json, file.string(), &config);
      return from_sentencepiece_folder(path);
    }
    if (const Location file = path / "vocab.txt"; file.exists())
      return from_files(detail::ModelFiles(file), path, file.string());
    if (const Location file = path / "vocab.json"; (path / "merges.txt").exists())
      return from_files(detail::ModelFiles(file, path / "merges.txt"), path, file.string());
    return from_sentencepiece_folder(path);
  }

  /// `beside`: what the folder says of it.
  static Parts from_json(const Json& json, const std::string& where,
                         const detail::FolderConfig* beside = nullptr) {
    const Part root(json, where);
    root.allow({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "model",
                "post_processor", "decoder"});
    if (root.string("version", "1.0") != "1.0") root.error("unknown version " + root.string("version"));
    if (!beside) return from_parts(detail::read_subword_model(root.object("model")), root, {});
    return from_class(detail::TokenizerClass(*beside, json), *beside, root, detail::read_subword_model);
  }
  /// As a class of transformers has the parts of a file.
  template <class MakeModel>
  static Parts from_class(const detail::TokenizerClass& by, const detail::FolderConfig& beside,
                          const Part& root, MakeModel&& make_model) {
    const Part model = root.object("model");
    const auto parts = by.parts(), changed = by.model();
    return from_parts(make_model(changed ? Part(*changed, model.where()) : model),
                      parts ? Part(*parts, root.where()) : root,
                      beside.beside_tokenizer_json(*by.specials()));
  }
  static Parts from_parts(SubwordModel model, const Part& parts, const std::vector<AddedToken>& beside_them) {
    Parts out{std::move(model)};
    out.read_parts(parts,
                   [&] { return AddedTokens(parts, out.model.vocabulary(), out.normalizer, beside_them); });
    return out;
  }

  /// A model alone, and the folder that it is from. Where nothing names a class, words are BERT's, and pairs
  /// RoBERTa's where these have its tokens, or else GPT-2's.
  static Parts from_files(detail::ModelFiles files, const Location& folder, const std::string& where) {
    const detail::FolderConfig config(folder);
    const Vocabulary& vocab = files.vocabulary;
    const bool roberta = vocab.id("<s>") && vocab.id("</s>") && vocab.id("<mask>");
    const auto json = files.json(where);
    const char* usual = !files.merges ? "BertTokenizer" : roberta ? "RobertaTokenizer" : "GPT2Tokenizer";
    return from_class(detail::TokenizerClass(config, *json, usual, &vocab), config, Part(*json, where),
                      [&](const Part& part) { return files.model(part); });
  }

  static Parts from_gguf(const Location& path) {
    const attend::detail::MappedFile mapped(path);
    const GgufFile file(mapped);
    const detail::GgufTokenizer described(file);
    Parts out{described.model()};
    out.read_parts(Part(*share_json(described.parts(), path.string()), path.string()),
                   [&] { return described.added_tokens(out.normalizer, out.model.vocabulary()); });
    out.surround_by(described.bos(), described.eos());
    return out;
  }

  template <class ReadAdded>
  void read_parts(const Part& root, ReadAdded&& read_added) {
    if (root.has("normalizer")) normalizer = detail::read_normalizer(root.object("normalizer"));
    if (root.has("pre_tokenizer")) {
      const Part part = root.object("pre_tokenizer");
      pre_tokenizer = detail::read_pre_tokenizer(part);
      first_counts = normalizer && detail::in_json(part.json()).find("\"first\"") != std::string::npos;
    }
    if (root.has("post_processor")) surround = detail::read_post_processor(root.object("post_processor"));
    if (root.has("decoder")) decoder = detail::read_decoder(root.object("decoder"));
    added_tokens = read_added();
    for (const auto* items : {&surround.single, &surround.pair})
      for (const Template::Item& item : *items)
        if (item.sequence < 0 && !contains(item.id))
          root.error("the post-processor uses the id " + std::to_string(item.id) + ", which no token has");
  }

  static Parts from_sentencepiece(SentencePiece file, bool add_bos, bool add_eos) {
    Parts out{std::move(file.model)};
    out.decoder = std::move(file.decoder);
    out.control = std::move(file.control);
    for (const auto* end : {&file.bos, &file.eos})
      if (*end) out.control.push_back(**end);
    std::sort(out.control.begin(), out.control.end());
    out.surround_by(add_bos ? file.bos : std::nullopt, add_eos ? file.eos : std::nullopt);
    return out;
  }

  /// A token before all texts, and one behind them.
  void surround_by(std::optional<std::int32_t> bos, std::optional<std::int32_t> eos) {
    for (auto* items : {&surround.single, &surround.pair}) {
      if (bos) items->insert(items->begin(), {-1, *bos, 0});
      if (eos) items->push_back({-1, *eos, 0});
    }
  }

  static Parts from_sentencepiece_folder(const Location& folder) {
    const detail::SentencePieceFolder found = detail::find_sentencepiece(folder);
    SentencePiece file = read_sentencepiece(found.model, found.vocabulary, found.decode_with);
    AddedTokens added = detail::sentencepiece_added_tokens(folder, found, file);
    Parts out = from_sentencepiece(std::move(file), found.add_bos, found.add_eos);
    out.added_tokens = std::move(added);
    if (!found.language.empty()) {
      const std::int32_t id = out.added_tokens.id(found.language);
      if (id < 0) throw_error(folder.string(), ": no token ", found.language);
      for (auto* items : {&out.surround.single, &out.surround.pair})
        items->insert(found.language_last ? items->end() : items->begin(), {-1, id, 0});
    }
    if (found.two_between) {  // <s> A </s> </s> B </s>, of one type
      out.surround.pair = out.surround.single;
      const Template::Item end = out.surround.single.back();
      for (const Template::Item& item : {end, Template::Item{1, 0, 0}, end})
        out.surround.pair.push_back(item);
    }
    return out;
  }

  bool contains(std::int32_t id) const { return added_tokens.find(id) || model.vocabulary().contains(id); }

  /// Tokens of a text; ranges are none or one of each.
  struct Tokens {
    std::vector<std::int32_t> ids;
    std::vector<ByteRange> ranges = {};

    void erase(std::size_t first, std::size_t last) {
      const auto cut = [&](auto& list) {
        if (last <= list.size())
          list.erase(list.begin() + static_cast<std::ptrdiff_t>(first),
                     list.begin() + static_cast<std::ptrdiff_t>(last));
      };
      cut(ids);
      cut(ranges);
    }
  };

  // The tokens of one text, without what surrounds it.
  Tokens sequence(std::string_view given, bool track) const {
    const AlignedText whole =
        track || first_counts ? AlignedText::tracked(given) : AlignedText(to_valid_utf8(given));
    const std::string_view text = whole.bytes;
    Tokens out;
    const auto placed = [&](ByteRange range, std::string_view token, std::size_t i) {
      return surround.trim_offsets ? trimmed(range, token, i == 0, given) : range;
    };
    const auto add_whole = [&](std::int32_t id, ByteRange range, std::string_view token) {
      out.ids.push_back(id);
      if (track) out.ranges.push_back(placed(range, token, out.ranges.size()));
    };
    for (const auto& raw : added_tokens.split_raw(text)) {
      const auto begin = static_cast<std::size_t>(raw.text.data() - text.data());
      if (raw.id >= 0) {
        add_whole(raw.id, whole.range(begin, begin + raw.text.size()), raw.text);
        continue;
      }
      AlignedText normal = whole.slice(begin, begin + raw.text.size());
      if (normalizer) normalizer(normal, growth_limit(normal.bytes.size()));
      for (const auto& stretch : added_tokens.split_normalized(normal.bytes)) {
        const auto at = static_cast<std::size_t>(stretch.text.data() - normal.bytes.data());
        if (stretch.id >= 0) {
          add_whole(stretch.id, normal.range(at, at + stretch.text.size()), stretch.text);
          continue;
        }
        const std::size_t end = at + stretch.text.size();
        // What a normaliser has dropped stands before the text that is left.
        const bool first =
            begin == 0 && at == 0 && (!normal.is_tracked() || normal.range(at, end).begin == 0);
        std::vector<Piece> pieces{{normal.slice(at, end), first}};
        if (pre_tokenizer) pre_tokenizer(pieces);
        for (const Piece& piece : pieces) {
          const std::size_t before = out.ids.size();
          model.tokenize(piece.text.bytes, out.ids, track ? &out.ranges : nullptr);
          for (std::size_t i = before; i < out.ranges.size(); ++i) {
            const auto [from, to] = out.ranges[i];
            const bool as_written = model.unknown_is_text() && out.ids[i] == model.unknown_id();
            out.ranges[i] = placed(piece.text.range(from, to),
                                   as_written ? std::string_view(piece.text.bytes).substr(from, to - from)
                                              : model.vocabulary().token(out.ids[i]),
                                   i);
          }
        }
      }
    }
    return out;
  }

  // What ByteLevel means by trim_offsets.
  ByteRange trimmed(ByteRange range, std::string_view token, bool is_first, std::string_view given) const {
    std::size_t blanks[2] = {};  // at its begin, at its end
    bool leading = true;
    for_each_code_point(token, [&](char32_t c, std::string_view) {
      const bool blank = c == 0x120 || is_white_space(c);
      leading = leading && blank;
      blanks[0] += leading;
      blanks[1] = blank ? blanks[1] + 1 : 0;
    });
    auto& [begin, end] = range;
    if (blanks[0] == 1 && (is_first || begin == 0) && surround.add_prefix_space) blanks[0] = 0;
    for (; blanks[0] > 0 && begin < end; --blanks[0]) begin += decode_utf8(given, begin).size;
    for (; blanks[1] > 0 && begin < end; --blanks[1]) do
        --end;
      while (begin < end && (static_cast<unsigned char>(given[end]) & 0xC0) == 0x80);
    return range;
  }

  std::string_view text_of(std::int32_t id) const {
    const AddedToken* added = added_tokens.find(id);
    return added ? std::string_view(added->text) : model.vocabulary().token(id);
  }

  void truncate(Tokens& a, Tokens* b, const EncodeOptions& options) const {
    if (!options.max_length) return;
    if (static_cast<std::ptrdiff_t>(*options.max_length) < 0)  // a number that went below 0 on its way
      throw_error("Tokenizer: max_length is ", static_cast<std::ptrdiff_t>(*options.max_length));
    const auto& items = b ? surround.pair : surround.single;
    std::size_t special = 0;
    for (const Template::Item& item : items) special += options.add_special_tokens && item.sequence < 0;
    if (*options.max_length < special)
      throw_error("Tokenizer: max_length ", *options.max_length, " is less than the ", special,
                  " special tokens");
    const std::size_t room = *options.max_length - special, total = a.ids.size() + (b ? b->ids.size() : 0);
    if (total <= room) return;
    const auto shorten = [&](Tokens& tokens, std::size_t size) {
      const std::size_t excess = tokens.ids.size() - (std::min)(size, tokens.ids.size());
      options.truncate_left ? tokens.erase(0, excess)
                            : tokens.erase(tokens.ids.size() - excess, tokens.ids.size());
    };
    if (!b) return shorten(a, room);
    if (options.truncation != Truncation::longest_first) {
      auto& target = options.truncation == Truncation::only_first ? a : *b;
      const std::size_t excess = total - room;
      if (target.ids.size() <= excess)
        throw_error("Tokenizer: the text to truncate has ", target.ids.size(), " ids, and ", excess,
                    " would have to go");
      return shorten(target, target.ids.size() - excess);
    }
    // The longer text gives way until both are equal; then each gets half, the second one id more if odd.
    auto& shorter = a.ids.size() <= b->ids.size() ? a : *b;
    auto& longer = &shorter == &a ? *b : a;
    std::size_t keep = shorter.ids.size();
    std::size_t keep_longer = keep > room ? keep : (std::max)(keep, room - keep);
    if (keep + keep_longer > room) {
      keep = room / 2;
      keep_longer = room - keep;
    }
    shorten(shorter, keep);
    shorten(longer, keep_longer);
  }

  static Encoding assemble(const std::vector<Template::Item>& items, const Tokens& a, const Tokens& b,
                           const EncodeOptions& options) {
    Encoding out;
    for (const Template::Item& item : items) {
      if (item.sequence >= 0) {
        const Tokens& tokens = item.sequence ? b : a;
        out.ids.insert(out.ids.end(), tokens.ids.begin(), tokens.ids.end());
        out.offsets.insert(out.offsets.end(), tokens.ranges.begin(), tokens.ranges.end());
      } else if (options.add_special_tokens) {
        out.ids.push_back(item.id);
        if (options.offsets) out.offsets.emplace_back();
      }
      out.type_ids.resize(out.ids.size(), item.type_id);
      out.special.resize(out.ids.size(), item.sequence < 0);
    }
    return out;
  }

  std::string join(std::vector<std::string> tokens, DecodeWindow& window) const {
    std::size_t size = 0;
    for (const std::string& token : tokens) size += token.size();
    window.limit = growth_limit(size);
    if (decoder && !tokens.empty()) decoder(tokens, window);
    std::string out;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (!decoder && i) out += ' ';
      out += tokens[i];
    }
    return out;
  }
};

ATTEND_INLINE Tokenizer::Tokenizer(Parts parts) : parts_(std::make_shared<const Parts>(std::move(parts))) {}

ATTEND_INLINE Tokenizer Tokenizer::open(const Location& path) { return Tokenizer(Parts::open(path)); }
ATTEND_INLINE Tokenizer Tokenizer::from_vocab_and_merges(const Location& vocab, const Location& merges) {
  return Tokenizer(Parts::from_files(detail::ModelFiles(vocab, merges), FileMap(),
                                     vocab.string() + " and " + merges.name()));
}
ATTEND_INLINE Tokenizer Tokenizer::from_json(std::string_view json, const std::string& where) {
  return Tokenizer(Parts::from_json(*share_json(json, where), where));
}

ATTEND_INLINE Tokenizer Tokenizer::lowercased() const {
  Parts parts = *parts_;
  parts.normalizer = [then = parts.normalizer](AlignedText& text, std::size_t limit) {
    lowercase(text);
    then(text, limit);
  };
  return Tokenizer(std::move(parts));
}

ATTEND_INLINE std::vector<std::int32_t> Tokenizer::encode(std::string_view text,
                                                          const EncodeOptions& options) const {
  return encode_single(text, options).ids;
}
ATTEND_INLINE Encoding Tokenizer::encode_single(std::string_view text, const EncodeOptions& options) const {
  Parts::Tokens tokens = parts_->sequence(text, options.offsets);
  parts_->truncate(tokens, nullptr, options);
  return Parts::assemble(parts_->surround.single, tokens, {}, options);
}
ATTEND_INLINE Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second,
                                              const EncodeOptions& options) const {
  Parts::Tokens a = parts_->sequence(first, options.offsets), b = parts_->sequence(second, options.offsets);
  parts_->truncate(a, &b, options);
  return Parts::assemble(parts_->surround.pair, a, b, options);
}

ATTEND_INLINE std::string Tokenizer::decode(std::span<const std::int32_t> ids,
                                            const DecodeOptions& options) const {
  std::vector<std::string> tokens;
  for (std::int32_t id : ids) {
    std::string token = id_to_token(id);
    if (!(options.skip_special_tokens && is_special(id))) tokens.push_back(std::move(token));
  }
  return tokens_to_string(std::move(tokens));
}
ATTEND_INLINE std::string Tokenizer::tokens_to_string(std::vector<std::string> tokens) const {
  DecodeWindow window;
  return to_valid_utf8(parts_->join(std::move(tokens), window));
}

ATTEND_INLINE std::size_t Tokenizer::vocab_size() const {
  return (std::max)(parts_->model.vocabulary().size(), parts_->added_tokens.size());
}
ATTEND_INLINE std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const std::int32_t added = parts_->added_tokens.id(token);
  return added >= 0 ? std::optional(added) : parts_->model.vocabulary().id(token);
}
ATTEND_INLINE std::string Tokenizer::id_to_token(std::int32_t id) const {
  return std::string(parts_->text_of(id));
}
ATTEND_INLINE bool Tokenizer::contains(std::int32_t id) const { return parts_->contains(id); }
ATTEND_INLINE std::optional<std::int32_t> Tokenizer::unknown_id() const { return parts_->model.unknown_id(); }
ATTEND_INLINE bool Tokenizer::has_continuing_prefix() const { return parts_->model.has_continuing_prefix(); }
ATTEND_INLINE bool Tokenizer::is_special(std::int32_t id) const {
  const AddedToken* added = parts_->added_tokens.find(id);
  return added ? added->is_left_out()
               : std::binary_search(parts_->control.begin(), parts_->control.end(), id);
}

}  // namespace attend::inline ATTEND_ABI::text
