// Folders from before tokenizer.json: each is translated to the tokenizer.json that it stands for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/bpe.hpp>
#include <attend/text/file.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::text::detail {

/// tokenizer_config.json and its companions, as far as a folder has them; an empty folder has none.
class FolderConfig {
 public:
  explicit FolderConfig(const std::filesystem::path& folder)
      : config_(read(folder, "tokenizer_config.json")),
        specials_(read(folder, "special_tokens_map.json")),
        added_(read(folder, "added_tokens.json")),
        where_((folder / "tokenizer_config.json").string()) {}

  Part part() const { return Part(config_, where_); }

  /// The class of the tokenizer without "Fast", or nothing.
  std::string tokenizer_class() const {
    std::string name = part().string("tokenizer_class", "");
    if (name.ends_with("Fast")) name.resize(name.size() - 4);
    return name;
  }

  /// The text of a special token such as "cls_token".
  std::string token(const char* name, std::string otherwise) const {
    for (const Json* source : {&config_, &specials_}) {
      const auto at = source->find(name);
      if (at == source->end() || at->is_null()) continue;
      if (at->is_string()) return at->get<std::string>();
      return Part(*at, where_ + "." + name).string("content");
    }
    return otherwise;
  }

  /// The "added_tokens" of a tokenizer.json: what the files list, and those of `specials` that exist.
  Json added_tokens(const Json& vocab, const std::vector<std::pair<std::string, bool>>& specials) const {
    Json out = Json::array();
    const auto add = [&](const std::string& content, std::uint64_t id, bool special, bool lstrip) {
      for (const Json& token : out)
        if (token.value("content", "") == content) return;
      out.push_back({{"id", id},
                     {"content", content},
                     {"special", special},
                     {"single_word", false},
                     {"lstrip", lstrip},
                     {"rstrip", false},
                     {"normalized", !special}});
    };
    if (part().has("added_tokens_decoder")) {
      const Part listed = part().part("added_tokens_decoder");
      for (const auto& [key, value] : listed.json().items()) {
        if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != std::string::npos)
          listed.error("\"" + key + "\" is not an id");
        Json token = value;
        if (!token.is_object()) listed.error("\"" + key + "\" is not an object");
        token["id"] = static_cast<std::uint64_t>(std::stoul(key));
        out.push_back(token);
      }
    }
    for (const auto& [content, lstrip] : specials)
      for (const Json* ids : {&vocab, &added_}) {
        const auto id = ids->contains(content) ? natural_number((*ids)[content]) : std::nullopt;
        if (id) add(content, *id, true, lstrip);
      }
    for (const auto& [content, value] : added_.items()) {
      const auto id = natural_number(value);
      if (!id) fail(where_ + ": added_tokens.json: \"" + content + "\" has no id");
      add(content, *id, false, false);
    }
    return out;
  }

 private:
  static Json read(const std::filesystem::path& folder, const char* name) {
    std::error_code ignored;
    const auto path = folder / name;
    if (folder.empty() || !std::filesystem::exists(path, ignored)) return Json::object();
    Json out = parse_json(read_text(path), path.string());
    if (!out.is_object()) fail(path.string() + ": expected an object");
    return out;
  }

  Json config_, specials_, added_;
  std::string where_;
};

/// BERT's vocab.txt; the folder (or none) says whether it is lower case.
inline Json describe_wordpiece(const std::filesystem::path& path, const std::filesystem::path& folder) {
  const FolderConfig config(folder);
  const Vocabulary vocabulary = Vocabulary::from_lines(path);
  Json vocab = Json::object();
  for (std::int32_t id = 0; id < static_cast<std::int32_t>(vocabulary.size()); ++id)
    if (vocabulary.id(vocabulary.token(id)) == id) vocab[vocabulary.token(id)] = id;
  const std::string unk = config.token("unk_token", "[UNK]"), cls = config.token("cls_token", "[CLS]"),
                    sep = config.token("sep_token", "[SEP]"), pad = config.token("pad_token", "[PAD]"),
                    mask = config.token("mask_token", "[MASK]");
  Json out = {
      {"model", {{"type", "WordPiece"}, {"vocab", vocab}, {"unk_token", unk}}},
      {"normalizer",
       {{"type", "BertNormalizer"},
        {"lowercase", config.part().boolean("do_lower_case", true)},
        {"handle_chinese_chars", config.part().boolean("tokenize_chinese_chars", true)}}},
      {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
      {"decoder", {{"type", "WordPiece"}}},
      {"added_tokens",
       config.added_tokens(vocab, {{pad, false}, {unk, false}, {cls, false}, {sep, false}, {mask, false}})}};
  if (config.part().has("strip_accents"))
    out["normalizer"]["strip_accents"] = config.part().boolean("strip_accents", false);
  if (vocab.contains(cls) && vocab.contains(sep))
    out["post_processor"] = {{"type", "BertProcessing"},
                             {"cls", Json::array({cls, vocab[cls]})},
                             {"sep", Json::array({sep, vocab[sep]})}};
  return out;
}

/// vocab.json and merges.txt of GPT-2, RoBERTa, BART or Qwen2. Without a tokenizer_class to tell, a
/// vocabulary with <s>, </s> and <mask> is RoBERTa's.
inline Json describe_bpe(const std::filesystem::path& vocab_path, const std::filesystem::path& merges_path,
                         const std::filesystem::path& folder) {
  const FolderConfig config(folder);
  const Json vocab = parse_json(read_text(vocab_path), vocab_path.string());
  if (!vocab.is_object()) fail(vocab_path.string() + ": expected an object of token: id");
  Json merges = Json::array();
  for (auto& [left, right] : BpeModel::read_merges(merges_path)) merges.push_back(Json::array({left, right}));

  const std::string name = config.tokenizer_class();
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  const bool roberta =
      is({"RobertaTokenizer", "BartTokenizer", "LongformerTokenizer", "LEDTokenizer"}) ||
      (name.empty() && vocab.contains("<s>") && vocab.contains("</s>") && vocab.contains("<mask>"));
  const bool qwen = is({"Qwen2Tokenizer"});
  if (!roberta && !qwen && !name.empty() && !is({"GPT2Tokenizer", "CodeGenTokenizer"}))
    config.part().error("tokenizer_class " + name + " needs a tokenizer.json");

  Json byte_level = {{"type", "ByteLevel"},
                     {"add_prefix_space", config.part().boolean("add_prefix_space", false)}};
  Json out = {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}},
              {"pre_tokenizer", byte_level},
              {"decoder", {{"type", "ByteLevel"}}}};
  std::vector<std::pair<std::string, bool>> specials;
  if (roberta) {
    const std::string cls = config.token("cls_token", "<s>"), sep = config.token("sep_token", "</s>");
    if (!vocab.contains(cls) || !vocab.contains(sep))
      fail(vocab_path.string() + ": no " + cls + " or no " + sep);
    out["post_processor"] = {{"type", "RobertaProcessing"},
                             {"cls", Json::array({cls, vocab[cls]})},
                             {"sep", Json::array({sep, vocab[sep]})}};
    specials = {{cls, false},
                {config.token("pad_token", "<pad>"), false},
                {sep, false},
                {config.token("unk_token", "<unk>"), false},
                {config.token("mask_token", "<mask>"), true}};
  } else {
    specials = {{config.token("bos_token", "<|endoftext|>"), false},
                {config.token("eos_token", "<|endoftext|>"), false},
                {config.token("unk_token", "<|endoftext|>"), false},
                {config.token("pad_token", "<|endoftext|>"), false}};
  }
  if (qwen) {
    byte_level["use_regex"] = false;
    const Json cut = {{"type", "Split"},
                      {"pattern",
                       {{"Regex", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
                                  R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
                      {"behavior", "Isolated"}};
    out["normalizer"] = {{"type", "NFC"}};
    out["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array({cut, byte_level})}};
  }
  out["added_tokens"] = config.added_tokens(vocab, specials);
  return out;
}

struct SentencePieceFolder {
  std::filesystem::path model, decode_with, vocabulary;
  bool add_bos = false, add_eos = false;
};

/// Marian's source.spm, target.spm and vocab.json; or tokenizer.model, spiece.model, sentencepiece.model.
inline SentencePieceFolder find_sentencepiece(const std::filesystem::path& folder) {
  std::error_code ignored;
  const auto has = [&](const char* name) { return std::filesystem::exists(folder / name, ignored); };
  if (has("source.spm") && has("target.spm") && has("vocab.json"))
    return {folder / "source.spm", folder / "target.spm", folder / "vocab.json", false, true};
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.model"}) {
    if (!has(name)) continue;
    const FolderConfig config(folder);
    const std::string kind = config.tokenizer_class();
    const bool llama = kind == "LlamaTokenizer" || kind == "GemmaTokenizer";
    const bool t5 = kind == "T5Tokenizer" || kind == "PegasusTokenizer";
    if (!kind.empty() && !llama && !t5)
      config.part().error("tokenizer_class " + kind + " needs a tokenizer.json");
    return {folder / name,
            {},
            {},
            config.part().boolean("add_bos_token", llama),
            config.part().boolean("add_eos_token", t5)};
  }
  fail(folder.string() +
       ": no tokenizer.json, vocab.txt, vocab.json with merges.txt, or SentencePiece model");
}

}  // namespace attend::text::detail
