// Bodies of tokenizer.hpp, and what a tokenizer is made of.
#pragma once

#include <algorithm>
#include <utility>

#include <attend/core/error.hpp>
#include <attend/text/added_tokens.hpp>
#include <attend/text/decoder.hpp>
#include <attend/text/file.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/post_processor.hpp>
#include <attend/text/pre_tokenizer.hpp>
#include <attend/text/sentencepiece.hpp>
#include <attend/text/subword_model.hpp>
#include <attend/text/tokenizer.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/vocabulary_files.hpp>

namespace attend::inline ATTEND_ABI::text {

struct Tokenizer::Parts {
  SubwordModel model;
  AddedTokens added_tokens = {};
  Normalizer normalizer = {};
  PreTokenizer pre_tokenizer = {};
  Template surround = {};
  Decoder decoder = {};
  std::vector<std::int32_t> control = {};  // sorted; SentencePiece's special tokens

  static Parts open(const std::filesystem::path& path) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    if (!fs::is_directory(path, ignored)) {
      const auto extension = path.extension();
      if (extension == ".model" || extension == ".spm")
        return from_sentencepiece(read_sentencepiece(path), false, false);
      if (extension == ".txt") return from_old(detail::describe_wordpiece(path, {}), path.string());
      return from_json(*share_json(path), path.string());
    }
    if (fs::exists(path / "tokenizer.json", ignored)) return open(path / "tokenizer.json");
    if (fs::exists(path / "vocab.txt", ignored))
      return from_old(detail::describe_wordpiece(path / "vocab.txt", path), path.string());
    if (fs::exists(path / "merges.txt", ignored))
      return from_old(detail::describe_bpe(path / "vocab.json", path / "merges.txt", path), path.string());
    return from_sentencepiece_folder(path);
  }

  static Parts from_json(const Json& json, const std::string& where) {
    const Part root(json, where);
    root.allow({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "model",
                "post_processor", "decoder"});
    if (root.string("version", "1.0") != "1.0") root.error("unknown version " + root.string("version"));
    Parts out{detail::read_subword_model(root.object("model"))};
    out.read_parts(root, [&] { return AddedTokens(root, out.model.vocabulary(), out.normalizer); });
    return out;
  }

  static Parts from_old(const detail::OldTokenizer& old, const std::string& where) {
    Parts out{old.model};
    out.read_parts(Part(*old.parts, where), [&] { return old.added_tokens(out.normalizer); });
    return out;
  }

  template <class ReadAdded>
  void read_parts(const Part& root, ReadAdded&& read_added) {
    if (root.has("normalizer")) normalizer = detail::read_normalizer(root.object("normalizer"));
    if (root.has("pre_tokenizer")) pre_tokenizer = detail::read_pre_tokenizer(root.object("pre_tokenizer"));
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
    for (auto* items : {&out.surround.single, &out.surround.pair}) {
      if (add_bos && file.bos) items->insert(items->begin(), {-1, *file.bos, 0});
      if (add_eos && file.eos) items->push_back({-1, *file.eos, 0});
    }
    return out;
  }

  static Parts from_sentencepiece_folder(const std::filesystem::path& folder) {
    const detail::SentencePieceFolder found = detail::find_sentencepiece(folder);
    std::optional<Vocabulary> vocabulary;
    if (!found.vocabulary.empty()) vocabulary = Vocabulary::from_json(found.vocabulary);
    SentencePiece file = read_sentencepiece(found.model, std::move(vocabulary), found.decode_with);
    AddedTokens added = detail::sentencepiece_added_tokens(folder, found, file);
    Parts out = from_sentencepiece(std::move(file), found.add_bos, found.add_eos);
    out.added_tokens = std::move(added);
    if (!found.language.empty()) {
      const std::int32_t id = out.added_tokens.id(found.language);
      if (id < 0) throw_error(folder.string(), ": no token ", found.language);
      for (auto* items : {&out.surround.single, &out.surround.pair})
        items->insert(items->begin(), {-1, id, 0});
    }
    return out;
  }

  bool contains(std::int32_t id) const { return added_tokens.find(id) || model.vocabulary().contains(id); }

  // The ids of one text, without what surrounds it.
  std::vector<std::int32_t> sequence(std::string_view given) const {
    const std::string text = to_valid_utf8(given);
    std::vector<std::int32_t> ids;
    for (const auto& raw : added_tokens.split_raw(text)) {
      if (raw.id >= 0) {
        ids.push_back(raw.id);
        continue;
      }
      const bool first = raw.text.data() == text.data();
      const std::string normal = normalizer ? normalizer(std::string(raw.text)) : std::string(raw.text);
      for (const auto& stretch : added_tokens.split_normalized(normal)) {
        if (stretch.id >= 0) {
          ids.push_back(stretch.id);
          continue;
        }
        std::vector<Piece> pieces{{std::string(stretch.text), first && stretch.text.data() == normal.data()}};
        if (pre_tokenizer) pre_tokenizer(pieces);
        for (const Piece& piece : pieces) model.tokenize(piece.text, ids);
      }
    }
    return ids;
  }

  void truncate(std::vector<std::int32_t>& a, std::vector<std::int32_t>* b,
                const EncodeOptions& options) const {
    if (!options.max_length) return;
    const auto& items = b ? surround.pair : surround.single;
    std::size_t special = 0;
    for (const Template::Item& item : items) special += options.add_special_tokens && item.sequence < 0;
    if (*options.max_length < special)
      throw_error("Tokenizer: max_length ", *options.max_length, " is less than the ", special,
                  " special tokens");
    const std::size_t room = *options.max_length - special, total = a.size() + (b ? b->size() : 0);
    if (total <= room) return;
    const auto shorten = [&](std::vector<std::int32_t>& ids, std::size_t size) {
      if (options.truncate_left && size < ids.size())
        ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(size));
      ids.resize((std::min)(size, ids.size()));
    };
    if (!b) return shorten(a, room);
    if (options.truncation != Truncation::longest_first) {
      auto& target = options.truncation == Truncation::only_first ? a : *b;
      const std::size_t excess = total - room;
      if (target.size() <= excess)
        throw_error("Tokenizer: the text to truncate has ", target.size(), " ids, and ", excess,
                    " would have to go");
      return shorten(target, target.size() - excess);
    }
    // The longer text gives way until both are equal; then each gets half, the second one id more if odd.
    auto& shorter = a.size() <= b->size() ? a : *b;
    auto& longer = &shorter == &a ? *b : a;
    std::size_t keep = shorter.size();
    std::size_t keep_longer = keep > room ? keep : (std::max)(keep, room - keep);
    if (keep + keep_longer > room) {
      keep = room / 2;
      keep_longer = room - keep;
    }
    shorten(shorter, keep);
    shorten(longer, keep_longer);
  }

  static Encoding assemble(const std::vector<Template::Item>& items, const std::vector<std::int32_t>& a,
                           const std::vector<std::int32_t>& b, const EncodeOptions& options) {
    Encoding out;
    for (const Template::Item& item : items) {
      if (item.sequence >= 0) {
        const auto& ids = item.sequence ? b : a;
        out.ids.insert(out.ids.end(), ids.begin(), ids.end());
      } else if (options.add_special_tokens) {
        out.ids.push_back(item.id);
      }
      out.type_ids.resize(out.ids.size(), item.type_id);
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

ATTEND_INLINE Tokenizer Tokenizer::open(const std::filesystem::path& path) {
  return Tokenizer(Parts::open(path));
}
ATTEND_INLINE Tokenizer Tokenizer::from_vocab_and_merges(const std::filesystem::path& vocab,
                                                         const std::filesystem::path& merges) {
  return Tokenizer(Parts::from_old(detail::describe_bpe(vocab, merges, {}),
                                   vocab.string() + " and " + merges.filename().string()));
}
ATTEND_INLINE Tokenizer Tokenizer::from_json(std::string_view json, const std::string& where) {
  return Tokenizer(Parts::from_json(*share_json(json, where), where));
}

ATTEND_INLINE Tokenizer Tokenizer::lowercased() const {
  Parts parts = *parts_;
  parts.normalizer = [then = parts.normalizer](std::string text) {
    return then ? then(lowercase(text)) : lowercase(text);
  };
  return Tokenizer(std::move(parts));
}

ATTEND_INLINE std::vector<std::int32_t> Tokenizer::encode(std::string_view text,
                                                          const EncodeOptions& options) const {
  std::vector<std::int32_t> ids = parts_->sequence(text), none;
  parts_->truncate(ids, nullptr, options);
  return Parts::assemble(parts_->surround.single, ids, none, options).ids;
}
ATTEND_INLINE Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second,
                                              const EncodeOptions& options) const {
  std::vector<std::int32_t> a = parts_->sequence(first), b = parts_->sequence(second);
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
  if (const AddedToken* added = parts_->added_tokens.find(id)) return added->content;
  return std::string(parts_->model.vocabulary().token(id));
}
ATTEND_INLINE bool Tokenizer::contains(std::int32_t id) const { return parts_->contains(id); }
ATTEND_INLINE bool Tokenizer::is_special(std::int32_t id) const {
  const AddedToken* added = parts_->added_tokens.find(id);
  return added ? added->special : std::binary_search(parts_->control.begin(), parts_->control.end(), id);
}

}  // namespace attend::inline ATTEND_ABI::text
