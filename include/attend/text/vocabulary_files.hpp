// Folders from before tokenizer.json: of words, of pairs, or of a SentencePiece model.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/added_tokens.hpp>
#include <attend/text/bpe.hpp>
#include <attend/text/fairseq_files.hpp>
#include <attend/text/file.hpp>
#include <attend/text/folder_config.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/sentencepiece.hpp>
#include <attend/text/steps.hpp>
#include <attend/text/subword_model.hpp>
#include <attend/text/vocabulary.hpp>
#include <attend/text/wordpiece.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

inline std::string in_json(const Json& value) {
  return value.dump(-1, ' ', true, Json::error_handler_t::replace);
}
/// The member of a tokenizer.json that surrounds texts with two tokens.
inline std::string post_processor(const char* type, const std::string& cls, std::int32_t cls_id,
                                  const std::string& sep, std::int32_t sep_id) {
  return std::string(", \"post_processor\": {\"type\": \"") + type + "\", \"cls\": [" + in_json(cls) + ", " +
         in_json(cls_id) + "], \"sep\": [" + in_json(sep) + ", " + in_json(sep_id) + "]}";
}

/// A model alone, whose class makes the rest: BERT's vocab.txt, or GPT-2's vocab.json and merges.txt. Its
/// vocabulary is kept as it is read, in little more memory than the file.
struct ModelFiles {
  explicit ModelFiles(const Location& words) : vocabulary(Vocabulary::from_lines(words)) {}
  ModelFiles(const Location& vocab, const Location& merges_path)
      : vocabulary(Vocabulary::from_json(vocab)), merges(merges_path) {}

  Vocabulary vocabulary;
  std::optional<Location> merges = {};  // of words none

  /// The tokenizer.json that it would be part of, but for the vocabulary and the merges.
  std::shared_ptr<const Json> json(const std::string& where) const {
    const JsonMembers model = merges ? JsonMembers{{"type", "BPE"},
                                                   {"unk_token", nullptr},
                                                   {"continuing_subword_prefix", ""},
                                                   {"end_of_word_suffix", ""},
                                                   {"fuse_unk", false},
                                                   {"byte_fallback", false},
                                                   {"ignore_merges", false}}
                                     : JsonMembers{{"type", "WordPiece"},
                                                   {"unk_token", "[UNK]"},
                                                   {"continuing_subword_prefix", "##"},
                                                   {"max_input_chars_per_word", 100}};
    return share_json(JsonMembers{{"model", model}}.text(), where);
  }
  /// As `part` says, which takes the vocabulary.
  SubwordModel model(const Part& part) {
    if (!merges) return SubwordModel(WordPieceModel(std::move(vocabulary), read_wordpiece_options(part)));
    std::size_t count = 0;
    BpeModel::for_each_merge(*merges, [&](std::string_view, std::string_view) { ++count; });
    BpeModel out(std::move(vocabulary), read_bpe_options(part), count);
    BpeModel::for_each_merge(*merges, [&](std::string_view left, std::string_view right) {
      out.add_merge(left, right, merges->string());
    });
    return SubwordModel(std::move(out));
  }
};

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
