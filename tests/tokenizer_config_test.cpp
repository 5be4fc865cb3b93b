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
