// Folders of models that come from fairseq: a SentencePiece file whose pieces have other ids, and languages
// behind them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <attend/text/folder_config.hpp>
#include <attend/text/languages.hpp>
#include <attend/text/sentencepiece_file.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

/// Which files a folder of SentencePiece has, and what its class makes of them.
struct SentencePieceFolder {
  Location model;
  std::optional<Location> decode_with = {};
  std::optional<Vocabulary> vocabulary = {};  // ids of the pieces, where they are not the file's own
  bool add_bos = false, add_eos = false;
  std::uint64_t extra_ids = 0;           // T5's <extra_id_0>, … behind the pieces, the first one last
  std::vector<std::string> behind = {};  // other tokens there, in the order of their ids
  std::string language = {};             // that of them which stands in front of a text,
  bool language_last = false;            // or behind its end
  bool two_between = false;              // ends between two texts
};

/// Pieces by fairseq's ids: its own special tokens, then the file's but for the first `skip`.
inline Vocabulary fairseq_pieces(const Location& model, std::initializer_list<std::string_view> front,
                                 std::int32_t skip) {
  const SentencePieceFile file(model);
  Vocabulary out;
  std::int32_t id = 0;
  for (std::string_view token : front) out.add(token, id++, model.string());
  for (std::int32_t i = skip; i < static_cast<std::int32_t>(file.pieces.size()); ++i)
    out.add(file.pieces.token(i), id++, model.string());
  return out;
}

/// A folder with sentencepiece.bpe.model.
inline SentencePieceFolder find_fairseq(const Location& folder) {
  const FolderConfig config(folder);
  const std::string kind = config.tokenizer_class({{"m2m_100", "M2M100Tokenizer"},
                                                   {"mbart", "MBartTokenizer"},
                                                   {"camembert", "CamembertTokenizer"},
                                                   {"xlm-roberta", "XLMRobertaTokenizer"}});
  SentencePieceFolder out{.model = folder / "sentencepiece.bpe.model", .add_eos = true};
  const bool first = kind == "MBartTokenizer", many = kind == "MBart50Tokenizer";
  if (kind == "M2M100Tokenizer") {
    const Location vocabulary = folder / "vocab.json";
    if (!vocabulary.exists()) throw_error(vocabulary.string(), ": is missing beside sentencepiece.bpe.model");
    if (config.part().string("language_codes", "m2m100") != "m2m100")
      config.part().error("language_codes other than m2m100 need a tokenizer.json");
    out.vocabulary = Vocabulary::from_json(vocabulary);
    add_words(out.behind, kM2M100Languages, "__");
    out.language = "__" + config.part().string("src_lang", "en") + "__";
    return out;
  }
  if (kind == "CamembertTokenizer")
    out.vocabulary =
        fairseq_pieces(out.model, {"<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"}, 1);
  else if (kind == "XLMRobertaTokenizer" || first || many)
    out.vocabulary = fairseq_pieces(out.model, {"<s>", "<pad>", "</s>", "<unk>"}, 3);
  else
    config.part().error("tokenizer_class " + kind + " needs a tokenizer.json");
  if (first || many) {
    add_words(out.behind, kMBartLanguages);
    if (many) add_words(out.behind, kMBart50Languages);
    out.language = config.part().string("src_lang", "en_XX");
    out.language_last = first;
  } else {
    out.add_bos = out.two_between = true;
  }
  out.behind.push_back(config.token("mask_token", "<mask>"));
  return out;
}

}  // namespace attend::inline ATTEND_ABI::text::detail
