// What stands beside a tokenizer.json counts as far as transformers lets it. The ids are AutoTokenizer's
// (5.24).
#include <map>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/text/tokenizer.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::bytes_of;
using attend_test::error_of;
using attend_test::model_folder;
using testing::ElementsAre;
using testing::HasSubstr;
using Files = std::map<std::string, std::string>;

/// A tokenizer of tests/models with files beside it.
text::Tokenizer with(const char* name, Files files) {
  files["tokenizer.json"] = bytes_of(model_folder("tokenizers") / name / "tokenizer.json");
  return text::Tokenizer::open(files);
}
text::Tokenizer llama(const std::string& more = "", const char* model = "llama") {
  return with(
      "byte_fallback_bpe",
      {{"tokenizer_config.json",
        R"({"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "eos_token": "</s>")" + more + "}"},
       {"config.json", R"({"model_type": ")" + std::string(model) + R"("})"}});
}

TEST(TokenizerConfig, ALlamaTokenizerPutsABlankBeforeTheFirstWordAlone) {
  const std::string_view text = "the<s>cat  a";
  EXPECT_THAT(llama().encode(text), ElementsAre(1, 305, 1, 278, 306, 301, 304));
  EXPECT_THAT(llama(R"(, "legacy": true)").encode(text), ElementsAre(1, 305, 1, 323, 301, 304));
  EXPECT_THAT(llama(R"(, "add_prefix_space": false)").encode(text),
              ElementsAre(1, 292, 302, 1, 278, 306, 301, 304));
  // Other models of that class take the file as it is.
  EXPECT_THAT(llama("", "mistral").encode(text), ElementsAre(1, 305, 1, 323, 301, 304));
  EXPECT_THAT(with("byte_level_bpe", {{"tokenizer_config.json",
                                       R"({"tokenizer_class": "LlamaTokenizer", "bos_token": "<new>"})"}})
                  .encode("a <new>the"),
              ElementsAre(64, 220, 331, 272));
  EXPECT_EQ(llama().decode(llama().encode("  the</s> cat")), " the cat");
  EXPECT_EQ(llama(R"(, "add_prefix_space": false)").decode(llama().encode("  the</s> cat")), "  the cat");
}

// Classes of transformers make anew what stands around a vocabulary, by the flags that stand beside it.
TEST(TokenizerConfig, AClassTakesTheVocabularyAlone) {
  struct Case {
    const char *tokenizer, *config, *model;
    std::vector<std::int32_t> ids;
  };
  const Case cases[] = {
      {"wordpiece",
       R"({"tokenizer_class": "BertTokenizer", "do_lower_case": false})",
       "bert",
       {2, 1, 1, 7, 32, 1, 1, 28, 40, 39, 46, 1, 11, 55, 3}},
      {"wordpiece",
       R"({"do_lower_case": false, "strip_accents": true})",
       "electra",
       {2, 1, 1, 7, 32, 1, 1, 28, 40, 39, 46, 1, 11, 55, 3}},
      {"wordpiece",
       R"({"tokenizer_class": "BertTokenizerFast", "strip_accents": false})",
       "",
       {2, 63, 70, 7, 32, 1, 1, 28, 40, 39, 46, 1, 11, 55, 3}},
      {"wordpiece",
       R"({"tokenizer_class": "MPNetTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]"})",
       "mpnet",
       {2, 63, 70, 7, 32, 21, 43, 47, 93, 11, 55, 3}},
      {"wordpiece",
       R"({"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": false})",
       "bert",
       {2, 63, 70, 7, 32, 21, 43, 47, 1, 28, 40, 39, 46, 1, 11, 55, 3}},
      {"byte_level_bpe",
       R"({"tokenizer_class": "TokenizersBackend"})",
       "qwen2",
       {293, 220, 322, 314, 220, 220, 127, 231, 83, 302, 220, 27, 76, 64, 82, 74, 29, 198, 16, 17}},
      {"byte_level_bpe",
       R"({"tokenizer_class": "TokenizersBackend"})",
       "qwen3",
       {293, 220, 322, 314, 220, 220, 36, 136, 223, 83, 302, 220, 27, 76, 64, 82, 74, 29, 198, 318}},
      {"byte_level_bpe",
       R"({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true})",
       "gpt2",
       {305, 220, 322, 314, 220, 220, 36, 136, 223, 83, 302, 220, 27, 76, 64, 82, 74, 29, 198, 318}},
      {"byte_level_bpe",
       R"({"tokenizer_class": "RobertaTokenizer", "cls_token": "<|endoftext|>", "sep_token": "<|endoftext|>"})",
       "roberta",
       {330, 293, 220, 322, 314, 220, 220, 36, 136, 223, 83, 302, 220, 335, 198, 318, 330}},
      {"byte_level_bpe",
       R"({"tokenizer_class": "GPTNeoXTokenizer"})",
       "gpt_neox",
       {293, 220, 322, 314, 220, 220, 127, 231, 83, 302, 220, 27, 76, 64, 82, 74, 29, 198, 318}},
      {"byte_fallback_bpe",
       R"({"tokenizer_class": "GemmaTokenizer"})",
       "gemma2",
       {1, 339, 301, 272, 306, 261, 291, 301, 301, 72, 207, 132, 292, 299, 301, 362, 13, 265, 266}},
      {"unigram",
       R"({"tokenizer_class": "XLMRobertaTokenizer"})",
       "bert",
       {1, 259, 289, 285, 259, 323, 275, 277, 267, 259, 3, 344, 291, 351, 259, 325, 278, 2}},
      {"unigram", R"({})", "t5", {259, 289, 285, 259, 323, 275, 277, 267, 259, 2,   344, 291,
                                  259, 2,   328, 346, 267, 279, 2,   259, 325, 278, 2}},
      {"unigram",
       R"({"tokenizer_class": "AlbertTokenizer", "keep_accents": true, "cls_token": "<s>", "sep_token": "</s>"})",
       "albert",
       {262, 288, 277, 267, 259, 264, 1, 344, 291, 259, 1, 328, 346, 267, 279, 1, 259, 325, 278, 2}},
      {"unigram",
       R"({"tokenizer_class": "CamembertTokenizer"})",
       "camembert",
       {1, 259, 289, 285, 259, 323, 275, 277, 267, 259, 0, 344, 291, 351, 259, 325, 278, 2}},
      {"unigram",
       R"({"tokenizer_class": "DebertaV2Tokenizer", "split_by_punct": true, "add_prefix_space": false})",
       "deberta-v2",
       {350, 259, 289, 285, 259, 323, 275, 277, 267, 259, 1,   344,
        291, 259, 1,   328, 346, 267, 279, 1,   259, 325, 278, 351}},
  };
  for (const Case& c : cases) {
    Files files{{"tokenizer_config.json", c.config}};
    if (*c.model) files["config.json"] = R"({"model_type": ")" + std::string(c.model) + R"("})";
    EXPECT_EQ(with(c.tokenizer, files).encode("The Cat's  E\u0301t\u00e9 <mask>\n12"), c.ids)
        << c.config << " " << c.model;
  }
}

TEST(TokenizerConfig, TheModelsClassCountsWhereNothingElseIsSaid) {
  const std::string text = "The Cat's  E\u0301t\u00e9 <mask>\n12";
  const auto of = [&](const char* tokenizer, const std::string& model) {
    return with(tokenizer, {{"config.json", R"({"model_type": ")" + model + R"("})"}}).encode(text);
  };
  EXPECT_THAT(of("wordpiece", "bert"),
              ElementsAre(2, 63, 70, 7, 32, 21, 43, 47, 1, 28, 40, 39, 46, 1, 11, 55, 3));
  EXPECT_THAT(of("byte_level_bpe", "gpt_neox"), ElementsAre(293, 220, 322, 314, 220, 220, 127, 231, 83, 302,
                                                            220, 27, 76, 64, 82, 74, 29, 198, 318));
  EXPECT_THAT(of("unigram", "mbart"), ElementsAre(259, 289, 285, 259, 323, 275, 277, 267, 259, 3, 344, 291,
                                                  351, 259, 325, 278, 2, 355));
  EXPECT_THAT(of("byte_fallback_bpe", "llama"),  // which has none: the file counts
              ElementsAre(1, 351, 301, 272, 306, 261, 291, 301, 301, 72, 207, 132, 292, 299, 301, 63, 287,
                          276, 291, 285, 65, 13, 265, 266));
}

TEST(TokenizerConfig, ClassesOfTranslatorsPutTheLanguageOfTheirSource) {
  const std::string text = "The Cat's  E\u0301t\u00e9 <mask>\n12";
  const auto of = [&](const char* tokenizer, const std::string& config) {
    return with(tokenizer, {{"tokenizer_config.json", R"({"tokenizer_class": )" + config + "}"}});
  };
  const auto mbart = of("unigram", R"("MBartTokenizer", "src_lang": "de_DE")");
  EXPECT_THAT(mbart.encode(text), ElementsAre(259, 289, 285, 259, 323, 275, 277, 267, 259, 3, 344, 291, 351,
                                              259, 325, 278, 2, 354));
  EXPECT_THAT(mbart.encode_pair("a", "a").ids, ElementsAre(271, 271, 2, 354));
  const auto nllb = of("byte_fallback_bpe", R"("NllbTokenizer")");
  EXPECT_THAT(nllb.encode(text), ElementsAre(407, 351, 301, 272, 306, 261, 291, 301, 301, 0, 292, 299, 360,
                                             301, 0, 265, 266, 2));
  EXPECT_THAT(nllb.encode_pair("a", "a").ids, ElementsAre(407, 304, 304, 2));
  EXPECT_EQ(of("byte_fallback_bpe", R"("NllbTokenizer", "legacy_behaviour": true, "src_lang": "deu_Latn")")
                .encode(text)
                .back(),
            402);
  EXPECT_THAT(error_of([&] { of("byte_fallback_bpe", R"("NllbTokenizer", "src_lang": "x")"); }),
              HasSubstr("no token \"x\", the src_lang"));
  EXPECT_THAT(error_of([&] { of("unigram", R"("MBart50Tokenizer")"); }),
              HasSubstr("MBart50Tokenizer without"));

  Json json = read_json(model_folder("tokenizers") / "unigram" / "tokenizer.json");
  Json& vocab = json["model"]["vocab"];
  json["added_tokens"] = Json::array();
  for (const char* language : {"en_XX", "de_DE", "gl_ES"}) vocab.push_back({language, 0.0});
  const auto edited = [&](const char* config) {
    return text::Tokenizer::open(Files{{"tokenizer.json", json.dump()}, {"tokenizer_config.json", config}});
  };
  const auto many = edited(R"({"tokenizer_class": "MBart50TokenizerFast", "src_lang": "de_DE"})");
  EXPECT_THAT(many.encode(text), ElementsAre(351, 259, 289, 285, 259, 323, 275, 277, 267, 259, 3, 344, 291,
                                             354, 259, 3, 325, 278, 2));
  EXPECT_THAT(many.encode_pair("a", "a").ids, ElementsAre(351, 271, 271, 2));
}

TEST(TokenizerConfig, PegasusHasItsMasksAndOneBlankForSeveral) {
  Json json = read_json(model_folder("tokenizers") / "unigram" / "tokenizer.json");
  Json vocab = Json::array();
  for (const char* piece : {"<pad>", "</s>", "<unk>"}) vocab.push_back(Json::array({piece, 0.0}));
  for (const Json& piece : json["model"]["vocab"])
    if (piece[0].get<std::string>()[0] != '<') vocab.push_back(piece);
  json["model"]["vocab"] = vocab;
  json["model"]["unk_id"] = 2;
  json["added_tokens"] = Json::array();
  json["post_processor"] = nullptr;
  const auto pegasus = text::Tokenizer::open(
      Files{{"tokenizer.json", json.dump()}, {"config.json", R"({"model_type": "pegasus"})"}});
  EXPECT_THAT(pegasus.encode("a <mask_1> <unk_5>  b\nc"), ElementsAre(15, 3, 95, 3, 99, 3, 20, 51, 1));
  EXPECT_THAT(pegasus.encode("The Cat's  E\u0301t\u00e9 <mask>\n12"),
              ElementsAre(3, 33, 29, 3, 67, 19, 21, 11, 3, 2, 88, 35, 3, 2, 72, 90, 11, 23, 2, 3, 69, 22, 1));
  EXPECT_THAT(pegasus.encode_pair("a", "a").ids, ElementsAre(15, 15, 1));
}

TEST(TokenizerConfig, WhatIsListedTakesThePlaceOfWhatAClassOrAFileAdds) {
  EXPECT_THAT(
      with("unigram", {{"tokenizer_config.json",
                        R"({"tokenizer_class": "T5Tokenizer", "extra_special_tokens": ["the", "<new>"]})"},
                       {"config.json", R"({"model_type": "t5"})"}})
          .encode("the <extra_id_3> x<new>"),
      ElementsAre(351, 259, 2, 264, 2, 344, 343, 346, 2, 306, 261, 2, 324, 2, 259, 2, 352, 2));
  EXPECT_THAT(
      with("byte_level_bpe", {{"tokenizer_config.json",
                               R"({"tokenizer_class": "GPT2Tokenizer", "additional_special_tokens": ["<a>"],
                                           "added_tokens_decoder": {"335": {"content": "<new>", "lstrip": true,
                                                                            "special": true}}})"}})
          .encode("the <new><a> x"),
      ElementsAre(272, 330, 332, 220, 87));
}

TEST(TokenizerConfig, ATokenizerJsonSaysWhatStandsAroundATextWhateverTheFlags) {
  for (const char* flags : {R"(, "add_bos_token": false, "add_eos_token": true)",
                            R"(, "add_bos_token": true, "add_eos_token": false)"})
    EXPECT_EQ(llama(flags).encode("the cat"), llama().encode("the cat"));
  EXPECT_EQ(llama().encode("the").front(), 1);
}

TEST(TokenizerConfig, SpecialTokensAreAddedBehindTheLast) {
  const std::string_view text = "a <new>the <x> cat<pad>";
  const auto a = with(
      "byte_level_bpe",
      {{"tokenizer_config.json", R"({"bos_token": "<new>", "additional_special_tokens": ["<x>", "the"]})"}});
  EXPECT_THAT(a.encode(text), ElementsAre(64, 220, 331, 272, 220, 332, 278, 27, 79, 294, 29));
  EXPECT_EQ(a.decode(a.encode(text)), "a   cat<pad>");
  EXPECT_EQ(a.vocab_size(), 333u);
  // Of the older file; a token that takes the blanks before it along.
  const Files older{
      {"tokenizer_config.json", R"({"bos_token": "<new>"})"},
      {"special_tokens_map.json",
       R"({"pad_token": "<pad>", "eos_token": {"content": "<x>", "lstrip": true, "normalized": true}})"}};
  const auto b = with("byte_level_bpe", older);
  EXPECT_THAT(b.encode(text), ElementsAre(64, 220, 331, 272, 332, 278, 333));
  EXPECT_EQ(b.decode(b.encode(text)), "a the cat");
  // Which is not read where the tokens are listed; the ids of the list do not count.
  const auto c = with(
      "byte_level_bpe",
      {{"tokenizer_config.json",
        R"({"added_tokens_decoder": {"900": {"content": "<x>", "lstrip": true, "normalized": false}}, "eos_token": "<new>"})"},
       {"special_tokens_map.json", R"({"pad_token": "<pad>"})"}});
  EXPECT_THAT(c.encode(text), ElementsAre(64, 220, 332, 272, 331, 278, 27, 79, 294, 29));
  EXPECT_EQ(c.decode(c.encode(text)), "a the<x> cat<pad>");
}

TEST(TokenizerConfig, WhatIsNoTokenIsNamed) {
  const auto error = [](const char* config) {
    return error_of([&] { with("byte_level_bpe", {{"tokenizer_config.json", config}}); });
  };
  EXPECT_THAT(error(R"({"bos_token": 7})"), HasSubstr("'bos_token'"));
  EXPECT_THAT(error(R"({"added_tokens_decoder": {"x": {"content": "a"}}})"), HasSubstr("\"x\" is not an id"));
  EXPECT_THAT(error(R"({"extra_special_tokens": [1]})"), HasSubstr("'extra_special_tokens'"));
}

}  // namespace
