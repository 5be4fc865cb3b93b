// The classes of tokenizers of transformers, which take the vocabulary of a tokenizer.json and make anew what
// stands around it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <attend/core/shape.hpp>
#include <attend/text/byte_level.hpp>
#include <attend/text/class_of_folder.hpp>
#include <attend/text/file.hpp>
#include <attend/text/folder_config.hpp>
#include <attend/text/languages.hpp>
#include <attend/text/steps.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

/// What a class makes of a tokenizer.json; of a model alone, whose vocabulary is not in the file, there is a
/// `usual` one.
class TokenizerClass {
 public:
  TokenizerClass(const FolderConfig& config, const Json& json, const char* usual = nullptr,
                 const Vocabulary* vocabulary = nullptr)
      : config_(config), json_(json), vocabulary_(vocabulary), name_(class_of_folder(config, json)) {
    if (usual && is({"", "PreTrainedTokenizer", "TokenizersBackend"})) name_ = usual;
    const Json& added = json_member(json, "added_tokens");
    if (!config.part().has("added_tokens_decoder") && !added.is_null()) added_ = &added;
    const Json& model = json_member(json, "model");
    if (!model.is_object()) return;
    word_piece();
    bpe();
    unigram();
    const Json& type = json_member(model, "type");
    const bool same = type.is_null() || json_is(type, type_);
    if (usual && !same) config_.part().error("tokenizer_class " + name_ + " needs a tokenizer.json");
    if (!same && type_ == "Unigram") parts_ = model_ = specials_ = JsonMembers();
    if (parts_.empty()) return;
    if (!same) take_other_model();
    parts_["added_tokens"] = json_text(*added_);
    parts_.try_emplace("post_processor", json_text(json_member(json, "post_processor")));
    if (usual && parts_["post_processor"].text == "null") surround_by_flags();
  }

  /// Null where it is not one of them: the file is then taken as it is.
  std::shared_ptr<const Json> parts() const { return parts_.empty() ? nullptr : shared(parts_); }
  /// The file's model as the class has it, or null where it is so: large vocabularies are not copied.
  std::shared_ptr<const Json> model() const {
    const auto own = shared(model_);
    const auto& wanted = own->get_ref<const Json::object_t&>();
    const Json& given = json_["model"];
    if (std::all_of(wanted.begin(), wanted.end(),
                    [&](const auto& item) { return json_member(given, item.first) == item.second; }))
      return nullptr;
    JsonMembers changed = model_;
    for (const char* name : {"type", "vocab", "merges"})
      if (given.contains(name) && (*name != 'm' || json_member(*own, "type").is_null() || type_ == "BPE"))
        changed.try_emplace(name, json_text(given[name]));
    return shared(changed);
  }
  /// Its special tokens where no file names others.
  std::shared_ptr<const Json> specials() const { return shared(specials_); }

 private:
  std::shared_ptr<const Json> shared(const JsonMembers& members) const {
    return share_json(members.text(), name_);
  }
  bool is(std::initializer_list<std::string_view> names) const {
    return std::find(names.begin(), names.end(), name_) != names.end();
  }
  bool flag(const char* key, bool otherwise) const { return config_.part().boolean(key, otherwise); }
  std::string token(const char* key) const {
    const auto usual = specials_.find(key);
    return config_.token(key, usual == specials_.end()
                                  ? std::string()
                                  : share_json(usual->second.text, name_)->get<std::string>());
  }

  /// The id of a token in the file, or nothing.
  std::optional<std::int32_t> id_in_file(const std::string& content) const {
    for (const Json& added : *added_)
      if (json_is(json_member(added, "content"), content) && json_member(added, "id").is_number())
        return added["id"].get<std::int32_t>();
    return vocabulary_ ? vocabulary_->id(content) : id_in_vocabulary(json_, content);
  }
  /// The same, or what it becomes as one of those that are added.
  std::int32_t id(const std::string& content) const {
    if (const auto found = id_in_file(content)) return *found;
    auto next = static_cast<std::int32_t>(vocabulary_ ? vocabulary_->count() : vocabulary_of(json_).size());
    for (const Json& added : *added_)
      if (json_member(added, "id").is_number()) next = (std::max)(next, added["id"].get<std::int32_t>() + 1);
    std::vector<std::string> before;
    for (const AddedToken& token : config_.beside_tokenizer_json(*specials())) {
      if (token.content == content) break;
      if (!id_in_file(token.content) &&
          std::find(before.begin(), before.end(), token.content) == before.end())
        before.push_back(token.content);
    }
    return next + static_cast<std::int32_t>(before.size());
  }

  using Tokens = std::vector<std::string>;
  /// `first` A `last`, and of two texts with as many of `last` between them, and `first` `again`; the second
  /// of type `second`.
  void surround(const Tokens& first, const Tokens& last, int between, int second, bool again = false) {
    std::vector<JsonText> single;
    JsonMembers tokens;
    const auto put = [&](std::vector<JsonText>& to, const Tokens& these, int type) {
      for (const std::string& token : these) {
        to.push_back({{"SpecialToken", {{"id", token}, {"type_id", type}}}});
        tokens[token] = {{"id", token}, {"ids", json_list({id(token)})}, {"tokens", json_list({token})}};
      }
    };
    put(single, first, 0);
    single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    std::vector<JsonText> pair = single;
    put(single, last, 0);
    for (int i = 0; i < between; ++i) put(pair, last, 0);
    if (again) put(pair, first, second);
    pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", second}}}});
    put(pair, last, second);
    parts_["post_processor"] = {{"type", "TemplateProcessing"},
                                {"single", json_list(single)},
                                {"pair", json_list(pair)},
                                {"special_tokens", tokens}};
  }
  /// As add_bos_token and add_eos_token say, which count beside a model alone.
  void surround_by_flags() {
    const auto end = [&](const char* flag_name, const char* name) {
      return flag(flag_name, false) && !token(name).empty() ? Tokens{token(name)} : Tokens();
    };
    surround(end("add_bos_token", "bos_token"), end("add_eos_token", "eos_token"), 1, 1, true);
  }
  /// The language of the texts before them, or behind their end.
  void surround_by_language(const char* otherwise, bool behind) {
    const std::string language = config_.part().string("src_lang", otherwise), end = token("eos_token");
    const std::vector<AddedToken> beside = config_.beside_tokenizer_json(*specials());
    if (!id_in_file(language) && std::none_of(beside.begin(), beside.end(), [&](const AddedToken& known) {
          return known.content == language;
        }))
      config_.part().error("no token \"" + language + "\", the src_lang");
    behind ? surround({}, {end, language}, 0, 0) : surround({language}, {end}, 0, 0);
  }
  void surround_as_roberta(bool trim_offsets, bool add_prefix_space) {
    const std::string cls = token("cls_token"), sep = token("sep_token");
    parts_["post_processor"] = {{"type", "RobertaProcessing"},
                                {"sep", json_list({sep, id(sep)})},
                                {"cls", json_list({cls, id(cls)})},
                                {"trim_offsets", trim_offsets},
                                {"add_prefix_space", add_prefix_space}};
  }

  /// Its own kind of model with the tokens of one of another kind.
  void take_other_model() {
    model_["type"] = type_;
    if (type_ == "BPE") model_["merges"] = json_list({});
    if (vocabulary_of(json_).is_array()) model_["vocab"] = ids_of_pieces(vocabulary_of(json_));
  }

  void word_piece() {
    const bool mpnet = is({"MPNetTokenizer"});
    if (!mpnet && !is({"BertTokenizer"})) return;
    specials_ = {{"unk_token", "[UNK]"},
                 {"sep_token", "[SEP]"},
                 {"pad_token", "[PAD]"},
                 {"cls_token", "[CLS]"},
                 {"mask_token", "[MASK]"}};
    if (mpnet) specials_ = fairseqs_tokens(), specials_["unk_token"] = "[UNK]";
    type_ = "WordPiece";
    const bool strips = config_.part().has("strip_accents");
    parts_ = {{"normalizer",
               {{"type", "BertNormalizer"},
                {"clean_text", true},
                {"handle_chinese_chars", flag("tokenize_chinese_chars", true)},
                {"strip_accents", strips ? JsonText(flag("strip_accents", false)) : JsonText()},
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
    const JsonText bytes = {
        {"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"trim_offsets", true}, {"use_regex", !qwen2}};
    const char* end = "<|endoftext|>";
    specials_ = {{"bos_token", end}, {"eos_token", end}, {"unk_token", end}};
    if (neox) specials_["pad_token"] = "<|padding|>";
    if (qwen2) specials_ = {{"eos_token", end}, {"unk_token", end}, {"pad_token", end}};
    if (roberta) specials_ = fairseqs_tokens();
    parts_ = {{"pre_tokenizer", bytes}, {"decoder", bytes}};
    model_ = {{"unk_token", nullptr}, {"continuing_subword_prefix", ""}, {"end_of_word_suffix", ""},
              {"fuse_unk", false},    {"byte_fallback", false},          {"ignore_merges", false}};
    if (neox || qwen2) parts_["normalizer"] = {{"type", "NFC"}};
    if (neox) parts_["post_processor"] = nullptr;
    if (roberta) surround_as_roberta(trim, prefix);
    if (qwen2)
      parts_["pre_tokenizer"] = {{"type", "Sequence"},
                                 {"pretokenizers", json_list({{{"type", "Split"},
                                                               {"pattern", {{"Regex", qwen2_pattern}}},
                                                               {"behavior", "Isolated"},
                                                               {"invert", false}},
                                                              bytes})}};
  }

  void llama() {
    const bool code = is({"CodeLlamaTokenizer"}), prefix = flag("add_prefix_space", true);
    const char* scheme = !prefix ? "never" : !code && flag("legacy", false) ? "always" : "first";
    std::vector<JsonText> decoders = blanks_and_bytes();
    if (prefix || code) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    specials_ = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}};
    parts_ = {{"pre_tokenizer", metaspace(scheme, false)},
              {"decoder", {{"type", "Sequence"}, {"decoders", json_list(decoders)}}}};
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
              {"decoder", {{"type", "Sequence"}, {"decoders", json_list(blanks_and_bytes())}}}};
    model_ = {{"unk_token", token("unk_token")},
              {"fuse_unk", true},
              {"byte_fallback", true},
              {"ignore_merges", false}};
  }

  void nllb() {
    take_fairseqs_tokens(kNllbLanguages);
    specials_["mask_token"] = {{"content", "<mask>"}, {"lstrip", true}, {"normalized", true}};
    const std::vector<JsonText> table = precompiled_of(json_);
    parts_ = {{"normalizer", table.empty() ? JsonText() : single_blanks(table)},
              {"pre_tokenizer", metaspace("always")},
              {"decoder", metaspace("always")}};
    model_ = {{"unk_token", token("unk_token")},
              {"fuse_unk", true},
              {"byte_fallback", false},
              {"ignore_merges", false}};
    surround_by_language("eng_Latn", flag("legacy_behaviour", false));
  }

  void take_fairseqs_tokens(std::string_view languages, std::string_view more = {}) {
    specials_ = fairseqs_tokens();
    specials_["mask_token"] = {{"content", "<mask>"}, {"lstrip", true}};
    Tokens words;
    for (std::string_view some : {languages, more}) add_words(words, some);
    specials_["additional_special_tokens"] = json_list(words);
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
    specials_ = fairseqs_tokens();
    if (camembert) {
      specials_["mask_token"] = {{"content", "<mask>"}, {"lstrip", true}};
      specials_["additional_special_tokens"] = json_list({"<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"});
    }
    if (t5) {
      specials_ = {{"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}};
      Tokens extra;
      const Index count = config_.part().has("extra_ids") ? config_.part().integer("extra_ids") : 100;
      for (Index i = 0; i < (std::min)(count, Index{1000}); ++i)
        extra.push_back("<extra_id_" + std::to_string(i) + ">");
      specials_["additional_special_tokens"] = json_list(extra);
    }
    if (albert || deberta) {
      for (const char* name : {"bos_token", "cls_token"}) specials_[name] = "[CLS]";
      for (const char* name : {"eos_token", "sep_token"}) specials_[name] = "[SEP]";
      specials_["mask_token"] = "[MASK]";
    }
    if (deberta) specials_["unk_token"] = "[UNK]", specials_["pad_token"] = "[PAD]";
    const bool prefix = t5 || flag("add_prefix_space", true);
    const JsonText blanks = metaspace(prefix ? "always" : deberta ? "first" : "never");
    const std::vector<JsonText> table = precompiled_of(json_);
    parts_ = {{"normalizer", table.empty() ? JsonText() : table[0]}, {"decoder", blanks}};
    std::vector<JsonText> before;
    if (!deberta) before.push_back({{"type", "WhitespaceSplit"}});
    if (deberta && flag("split_by_punct", false))
      before.push_back({{"type", "Punctuation"}, {"behavior", "Isolated"}});
    before.push_back(blanks);
    parts_["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", json_list(before)}};
    if (albert || deberta) {
      std::vector<JsonText> steps;
      if (albert) {
        steps.push_back(replace("String", "``", "\""));
        steps.push_back(replace("String", "''", "\""));
        if (!flag("keep_accents", false))
          for (const char* step : {"NFKD", "StripAccents"}) steps.push_back({{"type", step}});
      }
      if (flag("do_lower_case", albert)) steps.push_back({{"type", "Lowercase"}});
      if (albert) steps.insert(steps.end(), table.begin(), table.end());
      if (deberta) {
        steps.push_back(replace("Regex", R"(\s{2,}|[\n\r\t])", " "));
        steps.push_back({{"type", "NFC"}});
        steps.push_back({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}});
      }
      parts_["normalizer"] = {{"type", "Sequence"}, {"normalizers", json_list(steps)}};
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
    if (albert && json_member(json_, "post_processor").is_null())
      surround({token("cls_token")}, {token("sep_token")}, 1, 1);
    if (xlm_roberta || camembert) surround({token("bos_token")}, {token("eos_token")}, 2, 0);
    if (deberta) surround({token("cls_token")}, {token("sep_token")}, 1, 1);
  }

  void mbart() {
    const bool many = is({"MBart50Tokenizer"});
    take_fairseqs_tokens(kMBartLanguages, many ? kMBart50Languages : std::string_view());
    if (many) {
      specials_.erase("bos_token");
      Tokens known;
      add_words(known, kMBartLanguages);
      add_words(known, kMBart50Languages);
      if (std::none_of(known.begin(), known.end(),
                       [&](const std::string& code) { return id_in_vocabulary(json_, code).has_value(); }))
        config_.part().error("MBart50Tokenizer without languages in the vocabulary is not supported");
    }
    const JsonText blanks = metaspace("always");
    parts_ = {{"normalizer", nullptr}, {"decoder", blanks}, {"pre_tokenizer", blanks}};
    if (many)
      parts_["normalizer"] = single_blanks(precompiled_of(json_));
    else
      parts_["pre_tokenizer"] = {{"type", "Sequence"},
                                 {"pretokenizers", json_list({{{"type", "WhitespaceSplit"}}, blanks})}};
    model_ = {{"unk_id", 3}, {"byte_fallback", false}};
    surround_by_language("en_XX", !many);
  }

  void pegasus() {
    specials_ = {
        {"pad_token", "<pad>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"mask_token", "<mask_2>"}};
    Tokens extra{config_.part().string("mask_token_sent", "<mask_1>")};
    const Index offset = config_.part().has("offset") ? config_.part().integer("offset") : 103;
    for (Index i = 2; i < (std::min)(offset, Index{1000}); ++i)
      extra.push_back("<unk_" + std::to_string(i) + ">");
    specials_["additional_special_tokens"] = json_list(extra);
    std::vector<JsonText> table = precompiled_of(json_);
    if (table.empty()) table.push_back(replace("Regex", "\\n", " "));
    parts_ = {{"normalizer", single_blanks(table)},
              {"pre_tokenizer", metaspace("always")},
              {"decoder", metaspace("always")}};
    const auto unknown = id_in_vocabulary(json_, token("unk_token"));
    if (!unknown) config_.part().error("no token \"" + token("unk_token") + "\" in the vocabulary");
    model_ = {{"unk_id", *unknown}, {"byte_fallback", false}};
    surround({}, {token("eos_token")}, 0, 0);
  }

  const FolderConfig& config_;
  const Json& json_;
  const Vocabulary* vocabulary_;
  std::string name_, type_;
  const Json none_ = Json::array(), *added_ = &none_;  // what the file adds, unless it stands beside it
  JsonMembers parts_, model_, specials_;
};

}  // namespace attend::inline ATTEND_ABI::text::detail
