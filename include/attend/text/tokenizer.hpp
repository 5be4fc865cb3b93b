// One front door for tokenizers: a Hugging Face folder, a tokenizer.json, or the vocabulary files of old.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/added_tokens.hpp>
#include <attend/text/decoder.hpp>
#include <attend/text/file.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/post_processor.hpp>
#include <attend/text/pre_tokenizer.hpp>
#include <attend/text/sentencepiece.hpp>
#include <attend/text/subword_model.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/vocabulary_files.hpp>

namespace attend::inline ATTEND_ABI::text {

/// Which text of a pair gets shorter.
enum class Truncation { longest_first, only_first, only_second };

struct EncodeOptions {
  bool add_special_tokens = true;
  std::optional<std::size_t> max_length = std::nullopt;  ///< at most so many ids, special tokens included
  Truncation truncation = Truncation::longest_first;
};

struct DecodeOptions {
  bool skip_special_tokens = true;
};

/// What encoding a pair gives; both are of one length.
struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> type_ids;  ///< BERT's token_type_ids
};

/// Text to ids and back. Immutable: any number of threads may share one, and copies are cheap.
///     const auto tokenizer = Tokenizer::open("bert-base-uncased");
///     std::vector<std::int32_t> ids = tokenizer.encode("Hello, world!");   // [CLS] hello , world ! [SEP]
/// Malformed UTF-8 in a text is read as U+FFFD. As in transformers, "truncation" and "padding" of a
/// tokenizer.json are what somebody last used, and not applied.
class Tokenizer {
 public:
  /// Opens a folder (tokenizer.json if there is one, else vocab.txt, vocab.json with merges.txt, or a
  /// SentencePiece model, read as tokenizer_config.json says) or one file: *.json, *.txt (WordPiece), *.model
  /// or *.spm. Fails if a part of it is unknown or contradicts another.
  static Tokenizer open(const std::filesystem::path& path) {
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

  /// Byte-level BPE from GPT-2's, RoBERTa's or BART's two files.
  static Tokenizer from_vocab_and_merges(const std::filesystem::path& vocab,
                                         const std::filesystem::path& merges) {
    return from_old(detail::describe_bpe(vocab, merges, {}),
                    vocab.string() + " and " + merges.filename().string());
  }

  /// From the contents of a tokenizer.json; `where` names it in errors.
  static Tokenizer from_json(const Json& json, const std::string& where) {
    const Part root(json, where);
    root.allow({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "model",
                "post_processor", "decoder"});
    if (root.string("version", "1.0") != "1.0") root.error("unknown version " + root.string("version"));
    Tokenizer out(detail::read_subword_model(root.object("model")));
    out.read_parts(root, [&] { return AddedTokens(root, out.model_.vocabulary(), out.normalizer_); });
    return out;
  }

  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const {
    std::vector<std::int32_t> ids = sequence(text), none;
    truncate(ids, nullptr, options);
    return assemble(template_.single, ids, none, options).ids;
  }

  /// Both texts with the special tokens around and between them, and which id belongs to which text.
  Encoding encode_pair(std::string_view first, std::string_view second,
                       const EncodeOptions& options = {}) const {
    std::vector<std::int32_t> a = sequence(first), b = sequence(second);
    truncate(a, &b, options);
    return assemble(template_.pair, a, b, options);
  }

  /// Text of ids. Fails on an id that no token has.
  std::string decode(std::span<const std::int32_t> ids, const DecodeOptions& options = {}) const {
    std::vector<std::string> tokens;
    for (std::int32_t id : ids) {
      std::string token = id_to_token(id);
      if (!(options.skip_special_tokens && is_special(id))) tokens.push_back(std::move(token));
    }
    DecodeWindow window;
    return to_valid_utf8(join(std::move(tokens), window));
  }

  /// One more than the largest id, added tokens included: the rows that an embedding table needs.
  std::size_t vocab_size() const { return (std::max)(model_.vocabulary().size(), added_.size()); }

  std::optional<std::int32_t> token_to_id(std::string_view token) const {
    const std::int32_t added = added_.id(token);
    return added >= 0 ? std::optional(added) : model_.vocabulary().id(token);
  }

  /// Fails on an id that no token has.
  std::string id_to_token(std::int32_t id) const {
    if (const AddedToken* added = added_.find(id)) return added->content;
    return std::string(model_.vocabulary().token(id));
  }

  bool contains(std::int32_t id) const { return added_.find(id) || model_.vocabulary().contains(id); }

  bool is_special(std::int32_t id) const {
    const AddedToken* added = added_.find(id);
    return added ? added->special : std::binary_search(control_.begin(), control_.end(), id);
  }

 private:
  friend class StreamingDecoder;

  explicit Tokenizer(SubwordModel model) : model_(std::move(model)) {}

  static Tokenizer from_old(const detail::OldTokenizer& old, const std::string& where) {
    Tokenizer out(old.model);
    out.read_parts(Part(*old.parts, where), [&] { return old.added_tokens(out.normalizer_); });
    return out;
  }

  template <class ReadAdded>
  void read_parts(const Part& root, ReadAdded&& read_added) {
    if (root.has("normalizer")) normalizer_ = detail::read_normalizer(root.object("normalizer"));
    if (root.has("pre_tokenizer")) pre_tokenizer_ = detail::read_pre_tokenizer(root.object("pre_tokenizer"));
    if (root.has("post_processor")) template_ = detail::read_post_processor(root.object("post_processor"));
    if (root.has("decoder")) decoder_ = detail::read_decoder(root.object("decoder"));
    added_ = read_added();
    for (const auto* items : {&template_.single, &template_.pair})
      for (const Template::Item& item : *items)
        if (item.sequence < 0 && !contains(item.id))
          root.error("the post-processor uses the id " + std::to_string(item.id) + ", which no token has");
  }

  static Tokenizer from_sentencepiece(SentencePiece file, bool add_bos, bool add_eos) {
    Tokenizer out(std::move(file.model));
    out.decoder_ = std::move(file.decoder);
    out.control_ = std::move(file.control);
    for (const auto* end : {&file.bos, &file.eos})
      if (*end) out.control_.push_back(**end);
    std::sort(out.control_.begin(), out.control_.end());
    for (auto* items : {&out.template_.single, &out.template_.pair}) {
      if (add_bos && file.bos) items->insert(items->begin(), {-1, *file.bos, 0});
      if (add_eos && file.eos) items->push_back({-1, *file.eos, 0});
    }
    return out;
  }

  static Tokenizer from_sentencepiece_folder(const std::filesystem::path& folder) {
    const detail::SentencePieceFolder found = detail::find_sentencepiece(folder);
    std::optional<Vocabulary> vocabulary;
    if (!found.vocabulary.empty()) vocabulary = Vocabulary::from_json(found.vocabulary);
    SentencePiece file = read_sentencepiece(found.model, std::move(vocabulary), found.decode_with);
    AddedTokens added = detail::sentencepiece_added_tokens(folder, found, file);
    Tokenizer out = from_sentencepiece(std::move(file), found.add_bos, found.add_eos);
    out.added_ = std::move(added);
    return out;
  }

  // The ids of one text, without what surrounds it.
  std::vector<std::int32_t> sequence(std::string_view given) const {
    const std::string text = to_valid_utf8(given);
    std::vector<std::int32_t> ids;
    for (const auto& raw : added_.split_raw(text)) {
      if (raw.id >= 0) {
        ids.push_back(raw.id);
        continue;
      }
      const bool first = raw.text.data() == text.data();
      const std::string normal = normalizer_ ? normalizer_(std::string(raw.text)) : std::string(raw.text);
      for (const auto& stretch : added_.split_normalized(normal)) {
        if (stretch.id >= 0) {
          ids.push_back(stretch.id);
          continue;
        }
        std::vector<Piece> pieces{{std::string(stretch.text), first && stretch.text.data() == normal.data()}};
        if (pre_tokenizer_) pre_tokenizer_(pieces);
        for (const Piece& piece : pieces) model_.tokenize(piece.text, ids);
      }
    }
    return ids;
  }

  void truncate(std::vector<std::int32_t>& a, std::vector<std::int32_t>* b,
                const EncodeOptions& options) const {
    if (!options.max_length) return;
    const auto& items = b ? template_.pair : template_.single;
    std::size_t special = 0;
    for (const Template::Item& item : items) special += options.add_special_tokens && item.sequence < 0;
    if (*options.max_length < special)
      throw_error("Tokenizer: max_length ", *options.max_length, " is less than the ", special,
                  " special tokens");
    const std::size_t room = *options.max_length - special, total = a.size() + (b ? b->size() : 0);
    if (total <= room) return;
    if (!b) return a.resize(room);
    if (options.truncation != Truncation::longest_first) {
      auto& target = options.truncation == Truncation::only_first ? a : *b;
      const std::size_t excess = total - room;
      if (target.size() <= excess)
        throw_error("Tokenizer: the text to truncate has ", target.size(), " ids, and ", excess,
                    " would have to go");
      return target.resize(target.size() - excess);
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
    shorter.resize((std::min)(keep, shorter.size()));
    longer.resize((std::min)(keep_longer, longer.size()));
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
    if (decoder_ && !tokens.empty()) decoder_(tokens, window);
    std::string out;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (!decoder_ && i) out += ' ';
      out += tokens[i];
    }
    return out;
  }

  SubwordModel model_;
  AddedTokens added_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Template template_;
  Decoder decoder_;
  std::vector<std::int32_t> control_;  // sorted; SentencePiece's special tokens
};

}  // namespace attend::inline ATTEND_ABI::text
