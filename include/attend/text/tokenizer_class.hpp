// The classes of tokenizers of transformers, which take the vocabulary of a tokenizer.json and make anew what
// stands around it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/shape.hpp>
#include <attend/text/class_of_folder.hpp>
#include <attend/text/file.hpp>
#include <attend/text/folder_config.hpp>
#include <attend/text/languages.hpp>
#include <attend/text/steps.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

/// What a class makes of a tokenizer.json.
class TokenizerClass {
 public:
  TokenizerClass(const FolderConfig& config, const Json& json)
      : config_(config), json_(json), name_(class_of_folder(config, json)) {
    if (!config.part().has("added_tokens_decoder")) added_ = json.value("added_tokens", Json::array());
    if (!json.contains("model") || !json["model"].is_object()) return;
    word_piece();
    bpe();
    unigram();
    const bool same = json["model"].value("type", Json(type_)) == type_;
    if (!same && type_ == "Unigram") parts_ = nullptr, model_ = specials_ = Json::object();
    if (!parts_.is_object()) return;
    if (!same) take_other_model();
    parts_["added_tokens"] = added_;
    if (!parts_.contains("post_processor")) parts_["post_processor"] = json.value("post_processor", Json());
  }

  /// Null where it is not one of them: the file is then taken as it is.
  const Json& parts() const { return parts_; }
  /// Of the model all but what it takes from the file.
  const Json& model() const { return model_; }
  /// Its special tokens where no file names others.
  const Json& specials() const { return specials_; }

 private:
  bool is(std::initializer_list<std::string_view> names) const {
    return std::find(names.begin(), names.end(), name_) != names.end();
  }
  bool flag(const char* key, bool otherwise) const { return config_.part().boolean(key, otherwise); }
  std::string token(const char* key) const { return config_.token(key, specials_.value(key, "")); }

  /// The id of a token in the file, or nothing.
  std::optional<std::int32_t> id_in_file(const std::string& content) const {
    for (const Json& added : added_)
      if (added.is_object() && added.value("content", Json()) == content &&
          added.value("id", Json()).is_number())
        return added["id"].get<std::int32_t>();
    return in_vocabulary(content);
  }
  std::optional<std::int32_t> in_vocabulary(const std::string& content) const {
    const Json& vocab = vocabulary();
    if (vocab.is_object() && vocab.contains(content) && vocab[content].is_number())
      return vocab[content].get<std::int32_t>();
    for (std::size_t i = 0; vocab.is_array() && i < vocab.size(); ++i)
      if (vocab[i].is_array() && !vocab[i].empty() && vocab[i][0] == content)
        return static_cast<std::int32_t>(i);
    return {};
  }
  const Json& vocabulary() const {
    return json_["model"].contains("vocab") ? json_["model"]["vocab"] : json_["model"];
  }
  /// The same, or what it becomes as one of those that are added.
  std::int32_t id(const std::string& content) const {
    if (const auto found = id_in_file(content)) return *found;
    auto next = static_cast<std::int32_t>(vocabulary().size());
    for (const Json& added : added_)
      if (added.is_object() && added.value("id", Json()).is_number())
        next = (std::max)(next, added["id"].get<std::int32_t>() + 1);
    std::vector<std::string> before;
    for (const AddedToken& token : config_.beside_tokenizer_json(specials_)) {
      if (token.content == content) break;
      if (!id_in_file(token.content) &&
          std::find(before.begin(), before.end(), token.content) == before.end())
        before.push_back(token.content);
    }
    return next + static_cast<std::int32_t>(before.size());
  }

  using Tokens = std::vector<std::string>;
  /// `first` A `last`, and of two texts with as many of `last` between them; the second of type `second`.
  void surround(const Tokens& first, const Tokens& last, int between, int second) {
    Json single = Json::array(), tokens = Json::object();
    const auto put = [&](Json& to, const Tokens& these, int type) {
      for (const std::string& token : these) {
        to.push_back({{"SpecialToken", {{"id", token}, {"type_id", type}}}});
        tokens[token] = {{"id", token}, {"ids", {id(token)}}, {"tokens", {token}}};
      }
    };
    put(single, first, 0);
    single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    Json pair = single;
    put(single, last, 0);
    for (int i = 0; i < between; ++i) put(pair, last, 0);
    pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", second}}}});
    put(pair, last, second);
    parts_["post_processor"] = {
        {"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
  }
  /// The language of the texts before them, or behind their end.
  void surround_by_language(const char* otherwise, bool behind) {
    const std::string language = config_.part().string("src_lang", otherwise), end = token("eos_token");
    const std::vector<AddedToken> beside = config_.beside_tokenizer_json(specials_);
    if (!id_in_file(language) && std::none_of(beside.begin(), beside.end(), [&](const AddedToken& known) {
          return known.content == language;
        }))
      config_.part().error("no token \"" + language + "\", the src_lang");
    behind ? surround({}, {end, language}, 0, 0) : surround({language}, {end}, 0, 0);
  }
  void surround_as_roberta(bool trim_offsets, bool add_prefix_space) {
    const std::string cls = token("cls_token"), sep = token("sep_token");
    parts_["post_processor"] = {{"type", "RobertaProcessing"},
                                {"sep", {sep, id(sep)}},
                                {"cls", {cls, id(cls)}},
                                {"trim_offsets", trim_offsets},
                                {"add_prefix_space", add_prefix_space}};
  }

  /// Its own kind of model with the tokens of one of another kind.
  void take_other_model() {
    model_["type"] = type_;
    if (type_ == "BPE") model_["merges"] = Json::array();
    if (!vocabulary().is_array()) return;
    Json& tokens = model_["vocab"] = Json::object();
    std::int32_t next = 0;
    for (const Json& entry : vocabulary()) {
      if (entry.is_array() && !entry.empty() && entry[0].is_string())
        tokens[entry[0].get<std::string>()] = next;
      ++next;
    }
  }

  void word_piece() {
    const bool mpnet = is({"MPNetTokenizer"});
    if (!mpnet && !is({"BertTokenizer"})) return;
    specials_ = {{"unk_token", "[UNK]"},
                 {"sep_token", "[SEP]"},
                 {"pad_token", "[PAD]"},
                 {"cls_token", "[CLS]"},
                 {"mask_token", "[MASK]"}};
    if (mpnet)
      specials_ = {{"bos_token", "<s>"},    {"eos_token", "</s>"}, {"unk_token", "[UNK]"},
                   {"sep_token", "</s>"},   {"cls_token", "<s>"},  {"pad_token", "<pad>"},
                   {"mask_token", "<mask>"}};
    type_ = "WordPiece";
    const bool strips = config_.part().has("strip_accents");
    parts_ = {{"normalizer",
               {{"type", "BertNormalizer"},
                {"clean_text", true},
                {"handle_chinese_chars", flag("tokenize_chinese_chars", true)},
                {"strip_accents", strips ? Json(flag("strip_accents", false)) : Json()},
                {"lowercase", flag("do_lower_case", true)}}},
              {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
              {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}}};
    model_ = {{"unk_token", token("unk_token")},
              {"continuing_subword_prefix", "##"},
              {"max_input_chars_per_word", 100}};
    if (mpnet)
      surround_as_roberta(true, false);
    else
      surround({token("cls_token")}, {token("sep_token")}, 1, 1);
  }

  void bpe() {
    const bool roberta = is({"RobertaTokenizer"}), gpt2 = is({"GPT2Tokenizer"}),
               neox = is({"GPTNeoXTokenizer"}), qwen2 = is({"Qwen2Tokenizer"});
    const bool llamas = is({"LlamaTokenizer", "CodeLlamaTokenizer"}), gemmas = is({"GemmaTokenizer"}),
               nllbs = is({"NllbTokenizer"});
    if (!roberta && !gpt2 && !neox && !qwen2 && !llamas && !gemmas && !nllbs) return;
    type_ = "BPE";
    if (llamas) return llama();
    if (gemmas) return gemma();
    if (nllbs) return nllb();
    const bool prefix = flag("add_prefix_space", false), trim = flag("trim_offsets", true);
    const Json bytes = {
        {"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"trim_offsets", true}, {"use_regex", !qwen2}};
    const char* end = "<|endoftext|>";
    specials_ = {{"bos_token", end}, {"eos_token", end}, {"unk_token", end}};
    if (neox) specials_["pad_token"] = "<|padding|>";
    if (qwen2) specials_ = {{"eos_token", end}, {"unk_token", end}, {"pad_token", end}};
    if (roberta)
      specials_ = {{"bos_token", "<s>"},    {"eos_token", "</s>"}, {"unk_token", "<unk>"},
                   {"sep_token", "</s>"},   {"cls_token", "<s>"},  {"pad_token", "<pad>"},
                   {"mask_token", "<mask>"}};
    parts_ = {{"pre_tokenizer", bytes}, {"decoder", bytes}};
    model_ = {{"unk_token", nullptr}, {"continuing_subword_prefix", ""}, {"end_of_word_suffix", ""},
              {"fuse_unk", false},    {"byte_fallback", false},          {"ignore_merges", false}};
    if (neox || qwen2) parts_["normalizer"] = {{"type", "NFC"}};
    if (neox) parts_["post_processor"] = nullptr;
    if (roberta) surround_as_roberta(trim, prefix);
    if (qwen2)
      parts_["pre_tokenizer"] = {
          {"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"},
             {"pattern",
              {{"Regex",
                R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
             {"behavior", "Isolated"},
             {"invert", false}},
            bytes}}};
  }

  void llama() {
    const bool code = is({"CodeLlamaTokenizer"}), prefix = flag("add_prefix_space", true);
    const char* scheme = !prefix ? "never" : !code && flag("legacy", false) ? "always" : "first";
    Json decoders = blanks_and_bytes();
    if (prefix || code) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    specials_ = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}};
    parts_ = {{"pre_tokenizer", metaspace(scheme, false)},
              {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}}};
    model_ = {{"unk_token", nullptr}, {"fuse_unk", true}, {"byte_fallback", true}, {"ignore_merges", false}};
  }
  void gemma() {
    specials_ = {{"bos_token", "<bos>"},
                 {"eos_token", "<eos>"},
                 {"unk_token", "<unk>"},
                 {"pad_token", "<pad>"},
                 {"mask_token", "<mask>"}};
    parts_ = {{"normalizer", {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}},
              {"pre_tokenizer",
               {{"type", "Split"},
                {"pattern", {{"String", " "}}},
                {"behavior", "MergedWithPrevious"},
                {"invert", false}}},
              {"decoder", {{"type", "Sequence"}, {"decoders", blanks_and_bytes()}}}};
    model_ = {{"unk_token", token("unk_token")},
              {"fuse_unk", true},
              {"byte_fallback", true},
              {"ignore_merges", false}};
  }

  void nllb() {
    take_fairseqs_tokens(kNllbLanguages);
    specials_["mask_token"]["normalized"] = true;
    const Json table = precompiled();
    parts_ = {{"normalizer", table.is_null() ? table : single_blanks(Json::array({table}))},
              {"pre_tokenizer", metaspace("always")},
              {"decoder", metaspace("always")}};
    model_ = {{"unk_token", token("unk_token")},
              {"fuse_unk", true},
              {"byte_fallback", false},
              {"ignore_merges", false}};
    surround_by_language("eng_Latn", flag("legacy_behaviour", false));
  }

  void take_fairseqs_tokens(std::string_view languages, std::string_view more = {}) {
    specials_ = {{"bos_token", "<s>"},
                 {"eos_token", "</s>"},
                 {"unk_token", "<unk>"},
                 {"sep_token", "</s>"},
                 {"pad_token", "<pad>"},
                 {"cls_token", "<s>"},
                 {"mask_token", {{"content", "<mask>"}, {"lstrip", true}}}};
    Tokens words;
    for (std::string_view some : {languages, more}) add_words(words, some);
    specials_["additional_special_tokens"] = words;
  }

  /// The table of characters of the file's normaliser, or null.
  Json precompiled() const {
    const Json normalizer = json_.value("normalizer", Json());
    if (!normalizer.is_object()) return nullptr;
    const bool several = normalizer.value("type", Json()) == "Sequence";
    for (const Json& one :
         several ? normalizer.value("normalizers", Json::array()) : Json::array({normalizer}))
      if (one.is_object() && one.value("type", Json()) == "Precompiled") return one;
    return nullptr;
  }
  void unigram() {
    const bool albert = is({"AlbertTokenizer"}), camembert = is({"CamembertTokenizer"}),
               xlm_roberta = is({"XLMRobertaTokenizer"}), t5 = is({"T5Tokenizer"}),
               deberta = is({"DebertaV2Tokenizer"});
    const bool mbarts = is({"MBartTokenizer", "MBart50Tokenizer"}), pegasuses = is({"PegasusTokenizer"});
    if (!albert && !camembert && !xlm_roberta && !t5 && !deberta && !mbarts && !pegasuses) return;
    type_ = "Unigram";
    if (mbarts) return mbart();
    if (pegasuses) return pegasus();
    specials_ = {{"bos_token", "<s>"},    {"eos_token", "</s>"},  {"unk_token", "<unk>"},
                 {"sep_token", "</s>"},   {"pad_token", "<pad>"}, {"cls_token", "<s>"},
                 {"mask_token", "<mask>"}};
    if (camembert) {
      specials_["mask_token"] = {{"content", "<mask>"}, {"lstrip", true}};
      specials_["additional_special_tokens"] = {"<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"};
    }
    if (t5) {
      specials_ = {{"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}};
      Json& extra = specials_["additional_special_tokens"] = Json::array();
      const Index count = config_.part().has("extra_ids") ? config_.part().integer("extra_ids") : 100;
      for (Index i = 0; i < (std::min)(count, Index{1000}); ++i)
        extra.push_back("<extra_id_" + std::to_string(i) + ">");
    }
    if (albert || deberta) {
      for (const char* name : {"bos_token", "cls_token"}) specials_[name] = "[CLS]";
      for (const char* name : {"eos_token", "sep_token"}) specials_[name] = "[SEP]";
      specials_["mask_token"] = "[MASK]";
    }
    if (deberta) specials_["unk_token"] = "[UNK]", specials_["pad_token"] = "[PAD]";
    const bool prefix = t5 || flag("add_prefix_space", true);
    const Json blanks = metaspace(prefix ? "always" : deberta ? "first" : "never");
    const Json table = precompiled();
    parts_ = {{"normalizer", table}, {"decoder", blanks}};
    Json before = Json::array({{{"type", "WhitespaceSplit"}}});
    if (deberta) before = Json::array();
    if (deberta && flag("split_by_punct", false))
      before.push_back({{"type", "Punctuation"}, {"behavior", "Isolated"}});
    before.push_back(blanks);
    parts_["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", before}};
    if (albert || deberta) {
      Json steps = Json::array();
      if (albert) {
        steps.push_back(replace("String", "``", "\""));
        steps.push_back(replace("String", "''", "\""));
        if (!flag("keep_accents", false))
          for (const char* step : {"NFKD", "StripAccents"}) steps.push_back({{"type", step}});
      }
      if (flag("do_lower_case", albert)) steps.push_back({{"type", "Lowercase"}});
      if (albert && !table.is_null()) steps.push_back(table);
      if (deberta) {
        steps.push_back(replace("Regex", R"(\s{2,}|[\n\r\t])", " "));
        steps.push_back({{"type", "NFC"}});
        steps.push_back({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}});
      }
      parts_["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
    }
    const auto unknown = id_in_file(token("unk_token"));
    model_ = {{"unk_id", t5            ? 2
                         : albert      ? 1
                         : xlm_roberta ? 3
                         : camembert   ? unknown.value_or(0)
                                       : 1},
              {"byte_fallback", false}};
    if (deberta && unknown) model_["unk_id"] = *unknown;
    if (t5) surround({}, {token("eos_token")}, 1, 0);
    if (albert && json_.value("post_processor", Json()).is_null())
      surround({token("cls_token")}, {token("sep_token")}, 1, 1);
    if (xlm_roberta || camembert) surround({token("bos_token")}, {token("eos_token")}, 2, 0);
    if (deberta) surround({token("cls_token")}, {token("sep_token")}, 1, 1);
  }

  void mbart() {
    const bool many = is({"MBart50Tokenizer"});
    take_fairseqs_tokens(kMBartLanguages, many ? kMBart50Languages : std::string_view());
    if (many) {
      specials_.erase("bos_token");
      const Json& known = specials_["additional_special_tokens"];
      if (std::none_of(known.begin(), known.end(), [&](const Json& code) { return in_vocabulary(code); }))
        config_.part().error("MBart50Tokenizer without languages in the vocabulary is not supported");
    }
    const Json table = precompiled(), blanks = metaspace("always");
    parts_ = {{"normalizer", nullptr}, {"decoder", blanks}, {"pre_tokenizer", blanks}};
    if (many)
      parts_["normalizer"] = single_blanks(table.is_null() ? Json::array() : Json::array({table}));
    else
      parts_["pre_tokenizer"] = {{"type", "Sequence"},
                                 {"pretokenizers", {{{"type", "WhitespaceSplit"}}, blanks}}};
    model_ = {{"unk_id", 3}, {"byte_fallback", false}};
    surround_by_language("en_XX", !many);
  }

  void pegasus() {
    specials_ = {
        {"pad_token", "<pad>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"mask_token", "<mask_2>"}};
    Json& extra = specials_["additional_special_tokens"] = Json::array();
    extra.push_back(config_.part().string("mask_token_sent", "<mask_1>"));
    const Index offset = config_.part().has("offset") ? config_.part().integer("offset") : 103;
    for (Index i = 2; i < (std::min)(offset, Index{1000}); ++i)
      extra.push_back("<unk_" + std::to_string(i) + ">");
    const Json table = precompiled();
    parts_ = {
        {"normalizer", single_blanks(Json::array({table.is_null() ? replace("Regex", "\\n", " ") : table}))},
        {"pre_tokenizer", metaspace("always")},
        {"decoder", metaspace("always")}};
    const auto unknown = in_vocabulary(token("unk_token"));
    if (!unknown) config_.part().error("no token \"" + token("unk_token") + "\" in the vocabulary");
    model_ = {{"unk_id", *unknown}, {"byte_fallback", false}};
    surround({}, {token("eos_token")}, 0, 0);
  }

  const FolderConfig& config_;
  const Json& json_;
  std::string name_, type_;
  Json added_ = Json::array();  // what the file adds, unless it stands beside it
  Json parts_, model_ = Json::object(), specials_ = Json::object();
};

}  // namespace attend::inline ATTEND_ABI::text::detail
