// Folders from before tokenizer.json: each is translated to the tokenizer.json that it stands for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/added_tokens.hpp>
#include <attend/text/bpe.hpp>
#include <attend/text/byte_level.hpp>
#include <attend/text/fairseq_files.hpp>
#include <attend/text/file.hpp>
#include <attend/text/folder_config.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/sentencepiece.hpp>
#include <attend/text/subword_model.hpp>
#include <attend/text/vocabulary.hpp>
#include <attend/text/wordpiece.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

/// What stands for a tokenizer.json: the model itself, the other parts as a tokenizer.json would have them,
/// and the added tokens, which need both.
struct OldTokenizer {
  SubwordModel model;
  std::shared_ptr<const Json> parts;
  FolderConfig config;
  FolderConfig::Specials specials;
  std::optional<std::string> end_of_text =
      std::nullopt;  // comes behind the last id where no token is added otherwise

  AddedTokens added_tokens(const Normalizer& normalizer) const {
    const Vocabulary& vocabulary = model.vocabulary();
    AddedTokens out = config.added_tokens(vocabulary, normalizer, specials);
    if (!out.empty() || !end_of_text) return out;
    return config.added_tokens(vocabulary, normalizer, {},
                               {{*end_of_text, static_cast<std::int32_t>(vocabulary.size())}});
  }
};

inline std::string in_json(const Json& value) {
  return value.dump(-1, ' ', true, Json::error_handler_t::replace);
}
/// The member of a tokenizer.json that surrounds texts with two tokens.
inline std::string post_processor(const char* type, const std::string& cls, std::int32_t cls_id,
                                  const std::string& sep, std::int32_t sep_id) {
  return std::string(", \"post_processor\": {\"type\": \"") + type + "\", \"cls\": [" + in_json(cls) + ", " +
         in_json(cls_id) + "], \"sep\": [" + in_json(sep) + ", " + in_json(sep_id) + "]}";
}

/// BERT's vocab.txt; the folder (or none) says whether it is lower case.
inline OldTokenizer describe_wordpiece(const Location& path, const Location& folder) {
  const FolderConfig config(folder);
  const std::string unk = config.token("unk_token", "[UNK]"), cls = config.token("cls_token", "[CLS]"),
                    sep = config.token("sep_token", "[SEP]"), pad = config.token("pad_token", "[PAD]"),
                    mask = config.token("mask_token", "[MASK]");
  SubwordModel model(WordPieceModel(Vocabulary::from_lines(path), {.unk_token = unk}));
  std::string parts = R"({"pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece"},
                          "normalizer": {"type": "BertNormalizer", "lowercase": )";
  parts += in_json(config.part().boolean("do_lower_case", true));
  parts += ", \"handle_chinese_chars\": " + in_json(config.part().boolean("tokenize_chinese_chars", true));
  if (config.part().has("strip_accents"))
    parts += ", \"strip_accents\": " + in_json(config.part().boolean("strip_accents", false));
  parts += "}";
  const auto cls_id = model.vocabulary().id(cls), sep_id = model.vocabulary().id(sep);
  if (cls_id && sep_id) parts += post_processor("BertProcessing", cls, *cls_id, sep, *sep_id);
  return {std::move(model),
          share_json(parts + "}", path.string()),
          config,
          {{pad, false}, {unk, false}, {cls, false}, {sep, false}, {mask, false}}};
}

/// vocab.json and merges.txt of GPT-2, RoBERTa, BART or Qwen2. Without a tokenizer_class to tell, a
/// vocabulary with `<s>`, `</s>` and `<mask>` is RoBERTa's.
inline OldTokenizer describe_bpe(const Location& vocab_path, const Location& merges_path,
                                 const Location& folder) {
  const FolderConfig config(folder);
  SubwordModel model(BpeModel(Vocabulary::from_json(vocab_path), BpeModel::Options(), merges_path));
  const Vocabulary& vocabulary = model.vocabulary();

  const std::string name = config.tokenizer_class({{"gpt2", "GPT2Tokenizer"},
                                                   {"roberta", "RobertaTokenizer"},
                                                   {"bart", "BartTokenizer"},
                                                   {"qwen2", "Qwen2Tokenizer"},
                                                   {"qwen3", "Qwen2Tokenizer"}});
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  const bool roberta =
      is({"RobertaTokenizer", "BartTokenizer", "LongformerTokenizer", "LEDTokenizer"}) ||
      (name.empty() && vocabulary.id("<s>") && vocabulary.id("</s>") && vocabulary.id("<mask>"));
  const bool qwen = is({"Qwen2Tokenizer"});
  if (!roberta && !qwen && !name.empty() && !is({"GPT2Tokenizer", "CodeGenTokenizer"}))
    config.part().error("tokenizer_class " + name + " needs a tokenizer.json");

  const std::string byte_level = R"({"type": "ByteLevel", "add_prefix_space": )" +
                                 in_json(config.part().boolean("add_prefix_space", false));
  std::string parts = R"({"decoder": {"type": "ByteLevel"}, "pre_tokenizer": )";
  if (qwen)
    parts += R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "behavior": "Isolated", "pattern":
                  {"Regex": )" +
             in_json(qwen2_pattern) + "}}, " + byte_level +
             R"(, "use_regex": false}]}, "normalizer": {"type": "NFC"})";
  else
    parts += byte_level + "}";
  FolderConfig::Specials specials;
  if (roberta) {
    const std::string cls = config.token("cls_token", "<s>"), sep = config.token("sep_token", "</s>");
    const auto cls_id = vocabulary.id(cls), sep_id = vocabulary.id(sep);
    if (!cls_id || !sep_id) throw_error(vocab_path.string(), ": no ", cls, " or no ", sep);
    parts += post_processor("RobertaProcessing", cls, *cls_id, sep, *sep_id);
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
  std::optional<std::string> end_of_text;
  if (qwen) end_of_text = specials[1].first;  // which its vocab.json does not have
  return {std::move(model), share_json(parts + "}", vocab_path.string()), config, std::move(specials),
          end_of_text};
}

/// Marian's source.spm, target.spm and vocab.json; M2M100's sentencepiece.bpe.model and vocab.json; the first
/// of these alone of XLM-RoBERTa, CamemBERT and mBART; or tokenizer.model, spiece.model, sentencepiece.model.
/// Which of them have a start or an end token is not in these files, but in the tokenizer's class.
inline SentencePieceFolder find_sentencepiece(const Location& folder) {
  const auto has = [&](const char* name) { return (folder / name).exists(); };
  if (has("source.spm")) {
    for (const char* name : {"target.spm", "vocab.json"})
      if (!has(name)) throw_error((folder / name).string(), ": is missing beside source.spm");
    if (has("target_vocab.json"))
      throw_error((folder / "target_vocab.json").string(),
                  ": a vocabulary of the target's own is not supported");
    return {.model = folder / "source.spm",
            .decode_with = folder / "target.spm",
            .vocabulary = Vocabulary::from_json(folder / "vocab.json"),
            .add_eos = true};
  }
  if (has("sentencepiece.bpe.model")) return find_fairseq(folder);
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.model"}) {
    if (!has(name)) continue;
    const FolderConfig config(folder);
    const std::string kind = config.tokenizer_class({{"llama", "LlamaTokenizer"},
                                                     {"mistral", "LlamaTokenizer"},
                                                     {"gemma2", "GemmaTokenizer"},
                                                     {"t5", "T5Tokenizer"},
                                                     {"mt5", "T5Tokenizer"}});
    const bool llama = kind == "LlamaTokenizer" || kind == "GemmaTokenizer";
    const bool t5 = kind == "T5Tokenizer" || kind == "PegasusTokenizer";
    if (!kind.empty() && !llama && !t5)
      config.part().error("tokenizer_class " + kind + " needs a tokenizer.json");
    SentencePieceFolder out{.model = folder / name};
    out.add_bos = config.part().boolean("add_bos_token", llama);
    out.add_eos = config.part().boolean("add_eos_token", t5);
    if (kind == "T5Tokenizer")
      out.extra_ids = config.part().has("extra_ids")
                          ? static_cast<std::uint64_t>(config.part().integer("extra_ids"))
                          : 100;
    return out;
  }
  if (has("vocab.json")) throw_error((folder / "merges.txt").string(), ": is missing beside vocab.json");
  throw_error(folder.string(),
              ": no tokenizer.json, vocab.txt, vocab.json with merges.txt, or SentencePiece model");
}

/// The added tokens of such a folder: the file's control symbols and unknown token, which are found in a text
/// as they are in a tokenizer.json, T5's extra ids, Marian's target languages (>>fra<<), and what the
/// folder's files list.
inline AddedTokens sentencepiece_added_tokens(const Location& folder, const SentencePieceFolder& files,
                                              const SentencePiece& file) {
  const FolderConfig config(folder);
  const Vocabulary& vocabulary = file.model.vocabulary();
  FolderConfig::Specials specials;
  const auto add_known = [&](std::int32_t id) { specials.emplace_back(vocabulary.token(id), false); };
  // An added token takes far more memory than its piece in the file; published files have some hundreds at
  // most.
  if (file.control.size() > 1024 + vocabulary.size() / 32)
    throw_error(files.model.string(), ": ", file.control.size(), " control symbols among ", vocabulary.size(),
                " pieces");
  for (std::int32_t id : file.control) add_known(id);
  for (const auto& id : {file.bos, file.eos, file.unk})
    if (id) add_known(*id);
  if (const auto pad = vocabulary.id(config.token("pad_token", "<pad>"))) add_known(*pad);
  if (files.decode_with)
    for (std::int32_t id = 0; id < static_cast<std::int32_t>(vocabulary.size()); ++id)
      if (vocabulary.contains(id) && vocabulary.token(id).starts_with(">>") &&
          vocabulary.token(id).ends_with("<<"))
        add_known(id);
  // A model with fewer rows has no use for them.
  std::vector<std::pair<std::string, std::int32_t>> more;
  const std::size_t pieces = vocabulary.size(), extra = static_cast<std::size_t>(files.extra_ids);
  if (extra < 10000 && (config.model_vocab_size() == 0 || pieces + extra <= config.model_vocab_size()))
    for (std::size_t i = 0; i < extra; ++i)
      more.emplace_back("<extra_id_" + std::to_string(i) + ">",
                        static_cast<std::int32_t>(pieces + extra - 1 - i));
  for (const std::string& token : files.behind)
    more.emplace_back(token, static_cast<std::int32_t>(pieces + more.size()));
  return config.added_tokens(vocabulary, {}, specials, more);
}

}  // namespace attend::inline ATTEND_ABI::text::detail
