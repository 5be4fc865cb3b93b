// Which class of transformers opens a folder that has a tokenizer.json.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <attend/json/fields.hpp>
#include <attend/json/text.hpp>
#include <attend/text/file.hpp>
#include <attend/text/folder_config.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

/// Of classes that make what stands around a vocabulary anew, in ways of their own.
inline constexpr std::string_view kOtherClasses =
    " Barthez BertJapanese Bertweet BigBird Blenderbot CLIP CodeGen Cohere Deberta Esmc Funnel Herbert Lasr "
    "LayoutLMv2 LayoutLMv3 LayoutXLM Luke MarkupLM MLuke Nougat OpenAIGPT Phobert Qwen3_5 Reformer RemBert "
    "SeamlessM4T Siglip2 Splinter Tipsv2 Udop VideoPrism Whisper XGLM XLNet ";

/// The class by which AutoTokenizer opens a folder, or nothing where it takes tokenizer.json as it is: the
/// one that is named, unless that of the model says otherwise.
inline std::string class_of_folder(const FolderConfig& config, const Json& json) {
  const auto supported = [&](std::string name) {
    for (const char* alias :
         {"DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "SqueezeBertTokenizer"})
      if (name == alias) name = "BertTokenizer";
    for (const char* alias : {"BartTokenizer", "LEDTokenizer", "LongformerTokenizer", "MvpTokenizer"})
      if (name == alias) name = "RobertaTokenizer";
    constexpr std::string_view kind = "Tokenizer";
    if (name.ends_with(kind) &&
        kOtherClasses.find(" " + name.substr(0, name.size() - kind.size()) + " ") != std::string_view::npos)
      config.part().error("tokenizer_class " + name +
                          " is not supported; TokenizersBackend takes tokenizer.json as it is");
    return name;
  };
  static constexpr std::pair<std::string_view, std::string_view> of_models[] = {
      {"albert", "AlbertTokenizer"},
      {"bart", "RobertaTokenizer"},
      {"bert", "BertTokenizer"},
      {"camembert", "CamembertTokenizer"},
      {"deberta-v2", "DebertaV2Tokenizer"},
      {"distilbert", "BertTokenizer"},
      {"electra", "BertTokenizer"},
      {"gemma2", "GemmaTokenizer"},
      {"gemma3", "GemmaTokenizer"},
      {"gemma3_text", "GemmaTokenizer"},
      {"gpt2", "GPT2Tokenizer"},
      {"gpt_neox", "GPTNeoXTokenizer"},
      {"granite", ""},
      {"m2m_100", "M2M100Tokenizer"},
      {"marian", "MarianTokenizer"},
      {"mbart", "MBartTokenizer"},
      {"mistral", ""},
      {"modernbert", ""},
      {"mpnet", "MPNetTokenizer"},
      {"mt5", "T5Tokenizer"},
      {"olmo2", ""},
      {"opt", "GPT2Tokenizer"},
      {"pegasus", "PegasusTokenizer"},
      {"phi3", ""},
      {"qwen2", "Qwen2Tokenizer"},
      {"qwen3", "Qwen2Tokenizer"},
      {"roberta", "RobertaTokenizer"},
      {"t5", "T5Tokenizer"},
      {"xlm-roberta", "XLMRobertaTokenizer"}};
  const std::string named = config.named_class(), model = config.model_type();
  const auto step = [&](const char* name) {
    return attend::detail::json_dump(attend::detail::json_member(json, name));
  };
  if (model == "qwen2") return "Qwen2Tokenizer";  // whatever is named, as many folders name a wrong one
  if (named == "LlamaTokenizer" &&
      (step("pre_tokenizer") + step("decoder")).find("\"ByteLevel\"") != std::string::npos)
    return {};
  for (const auto& [type, name] : of_models)
    if (model == type)
      return name.empty() ? std::string() : supported(named.empty() ? std::string(name) : named);
  return supported(named);
}

/// Whether the class reads files of SentencePiece that are there, whatever a tokenizer.json says.
inline bool reads_sentencepiece(const Location& folder, std::string_view name) {
  return (name == "MarianTokenizer" && (folder / "source.spm").exists()) ||
         (name == "M2M100Tokenizer" && (folder / "sentencepiece.bpe.model").exists());
}

}  // namespace attend::inline ATTEND_ABI::text::detail
