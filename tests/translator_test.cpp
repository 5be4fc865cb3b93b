// Translators: languages by the tokenizer's tokens, texts longer than the model's positions, what the folder
// says.
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/seq2seq_families.hpp>
#include <attend/model/translator.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using attend_test::model_folder;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<std::int32_t>;

/// BART's tiny model, whose tokenizer knows letters and some languages; `place` is where that of a text
/// stands.
class Languages : public testing::Test {
 protected:
  void write(const std::vector<std::string>& languages, const Json& single,
             const std::string& generation = "{}") {
    for (const char* file : {"config.json", "model.safetensors"})
      folder.write(file, attend_test::bytes_of(model_folder("bart") / file));
    folder.write("generation_config.json", generation);
    folder.write("tokenizer_config.json", R"({"tokenizer_class": "TokenizersBackend"})");
    Json vocab = {{"<unk>", 0}, {"<s>", 1}, {"<pad>", 2}, {"</s>", 3}};
    for (char c = 'a'; c <= 'z'; ++c) vocab[std::string(1, c)] = 4 + c - 'a';
    Json added = Json::array({{{"id", 3}, {"content", "</s>"}, {"special", true}}});
    Json special = {{"</s>", {{"id", "</s>"}, {"ids", {3}}, {"tokens", {"</s>"}}}}};
    for (std::size_t i = 0; i < languages.size(); ++i) {
      added.push_back({{"id", 40 + i}, {"content", languages[i]}, {"special", true}});
      special[languages[i]] = {{"id", languages[i]}, {"ids", {40 + i}}, {"tokens", {languages[i]}}};
    }
    const Json pair = Json::array(
        {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "B"}, {"type_id", 0}}}}});
    folder.write(
        "tokenizer.json",
        Json{
            {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}, {"unk_token", "<unk>"}}},
            {"added_tokens", added},
            {"post_processor",
             {{"type", "TemplateProcessing"},
              {"single", single},
              {"pair", pair},
              {"special_tokens", special}}}}
            .dump());
  }
  static Json token(const char* name) { return {{"SpecialToken", {{"id", name}, {"type_id", 0}}}}; }
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  attend_test::Folder folder;
  Context context;
  const GenerationOptions options{.max_new_tokens = 8, .eos_token_ids = Ids{}};
};

TEST_F(Languages, StandInFrontOrBehindAndBeginTheTranslation) {
  for (const bool in_front : {true, false}) {
    write({"en_XX", "de_DE", "ro_RO"}, in_front ? Json::array({token("en_XX"), text, token("</s>")})
                                                : Json::array({text, token("</s>"), token("en_XX")}));
    const Translator translator = Translator::open(folder.path);
    EXPECT_THAT(translator.languages(), ElementsAre("de_DE", "en_XX", "ro_RO"));
    const auto source = [&](std::int32_t language) {
      return in_front ? Ids{language, 4, 5, 3} : Ids{4, 5, 3, language};
    };
    const auto expected = [&](std::int32_t from, std::int32_t to) {
      GenerationOptions forced = options;
      forced.forced_bos_token_id = to;
      return generate(context, translator.model(), source(from), forced);
    };
    for (const char* name : {"ro", "ro_RO"}) {
      const Translation got =
          translator.translate(context, "ab", options, {.source_language = name, .target_language = "de"});
      EXPECT_EQ(got.ids, expected(42, 41));
      EXPECT_EQ(got.ids[0], 41);
      EXPECT_EQ(got.text.find("de_DE"), std::string::npos);
    }
    EXPECT_EQ(translator.translate(context, "ab", options, {.target_language = "ro_RO"}).ids,
              expected(40, 42));
    EXPECT_NE(expected(40, 42), expected(41, 42));  // or it would not show
    const Translation begun =
        translator.translate(context, "ab", options, {.prefix = "xy", .target_language = "de"});
    EXPECT_EQ(Ids(begun.ids.begin(), begun.ids.begin() + 3), (Ids{41, 27, 28}));
    for (const char* name : {"fr", "EN", "de_", "e", ""}) {
      const TranslateOptions wrong{.source_language = name, .target_language = name};
      EXPECT_THAT(error_of([&] { translator.translate(context, "ab", options, wrong); }),
                  HasSubstr("translate: "));
    }
    EXPECT_THAT(error_of([&] { translator.translate(context, "ab", options, {.target_language = "fr"}); }),
                HasSubstr("'fr' is none of de_DE, en_XX, ro_RO"));
  }
}

TEST_F(Languages, OfNllbAndM2M100HaveOtherNames) {
  write({"eng_Latn", "zho_Hans", "zho_Hant", "deu_Latn"},
        Json::array({token("eng_Latn"), text, token("</s>")}));
  const Translator nllb = Translator::open(folder.path);
  for (const char* name : {"de", "deu", "deu_Latn"})
    EXPECT_EQ(nllb.translate(context, "ab", options, {.target_language = name}).ids[0], 43);
  EXPECT_THAT(error_of([&] { nllb.translate(context, "ab", options, {.target_language = "zh"}); }),
              HasSubstr("'zh' is one of zho_Hans, zho_Hant"));
  write({"__en__", "__de__", "__ast__"}, Json::array({token("__en__"), text, token("</s>")}));
  const Translator m2m = Translator::open(folder.path);
  EXPECT_EQ(m2m.translate(context, "ab", options, {.target_language = "ast"}).ids[0], 42);
  EXPECT_EQ(m2m.translate(context, "ab", options, {.target_language = "__de__"}).ids[0], 41);
}

TEST_F(Languages, OfTheFolderCountWhereNoneIsGiven) {
  const Json single = Json::array({text, token("</s>"), token("en_XX")});
  write({"en_XX", "de_DE"}, single, R"({"forced_bos_token_id": 41})");
  EXPECT_EQ(Translator::open(folder.path).translate(context, "ab", {.target_language = "en"}).ids[0], 40);
  EXPECT_EQ(Translator::open(folder.path).translate(context, "ab").ids[0], 41);
  EXPECT_EQ(Translator::open(folder.path).translate("ab").ids,
            Translator::open(folder.path).translate(context, "ab").ids);
  EXPECT_EQ(Translator::open(folder.path).translate("ab", options, {.target_language = "en"}).ids[0], 40);
  write({"en_XX", "de_DE"}, single, R"({"decoder_start_token_id": 41, "max_length": 5, "eos_token_id": 96})");
  EXPECT_EQ(Translator::open(folder.path).translate(context, "ab").ids.size(),
            4u);  // of five with the start token
  write({}, Json::array({text, token("</s>")}));
  EXPECT_THAT(
      error_of([&] { Translator::open(folder.path).translate(context, "ab", {.source_language = "en"}); }),
      HasSubstr("no tokens of languages"));
  write({"en_XX"}, Json::array({text, token("</s>")}));
  EXPECT_THAT(error_of([&] {
                Translator::open(folder.path)
                    .translate(context, "ab", {.source_language = "en", .target_language = "en"});
              }),
              HasSubstr("no token of a language around a text"));
}

TEST_F(Languages, TextsLongerThanThePositionsAreCut) {
  write({}, Json::array({text, token("</s>")}));
  const Translator translator = Translator::open(folder.path);
  const Index most = translator.model().options().max_position_embeddings;
  const std::string longest(static_cast<std::size_t>(most - 1), 'a');
  GenerationOptions endless{.max_new_tokens = 1000, .eos_token_ids = Ids{}};
  const Translation whole = translator.translate(context, longest, options),
                    cut = translator.translate(context, longest + "bcd", options);
  EXPECT_FALSE(whole.source_cut);
  EXPECT_TRUE(cut.source_cut);
  EXPECT_EQ(cut.ids, whole.ids);  // the end token stays
  EXPECT_FALSE(cut.cut);
  const Translation stopped = translator.translate(context, "ab", endless);
  EXPECT_TRUE(stopped.cut);
  EXPECT_EQ(stopped.reason, FinishReason::length);
  EXPECT_EQ(std::ssize(stopped.ids), most - 1);  // and the start token
  endless.num_beams = 2;
  EXPECT_TRUE(translator.translate(context, "ab", endless).cut);
  EXPECT_EQ(translator.translate(context, "", options).source_cut, false);
}

TEST_F(Languages, ATranslatorOfPartsIsThatOfItsFolder) {
  write({"en_XX", "de_DE"}, Json::array({token("en_XX"), text, token("</s>")}));
  const Translator whole = Translator::open(folder.path),
                   parts(open_seq2seq<float>(folder.path), text::Tokenizer::open(folder.path), options);
  const TranslateOptions german{.target_language = "de"};
  EXPECT_EQ(parts.languages(), whole.languages());
  EXPECT_EQ(parts.translate("abc", german).ids, whole.translate("abc", options, german).ids);
  const Ids source{4, 5, 3};
  EXPECT_EQ(generate(parts.model(), source, options), generate(context, parts.model(), source, options));
}

}  // namespace
