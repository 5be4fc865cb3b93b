// tokenizer.json, part by part; folders of old; the streaming decoder.

#include <attend/json/json.hpp>
#include <attend/text/decoder.hpp>
#include <attend/text/file.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/pre_tokenizer.hpp>
#include <attend/text/streaming_decoder.hpp>
#include <attend/text/tokenizer.hpp>

#include "support.hpp"

using Ids = std::vector<std::int32_t>;
using attend::text::DecodeOptions;
using attend::text::EncodeOptions;
using attend::text::Json;
using attend::text::StreamingDecoder;
using attend::text::Tokenizer;
using attend::text::Truncation;
using attend_test::bytes_of;
using attend_test::error_of;
using attend_test::error_or_none;
using attend_test::Folder;
using attend_test::model_folder;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

using Strings = std::vector<std::string>;

template <class Step>
std::string normalized(const Step& step, const std::string& text) {
  attend::text::AlignedText out(text);
  step(out, attend::text::growth_limit(text.size()));
  return out.bytes;
}
std::string normalized(const char* part, const std::string& text) {
  const Json json = Json::parse(part);
  return normalized(attend::text::detail::read_normalizer({json, "n"}), text);
}

Strings pieces(const char* part, const std::string& text, bool first = true) {
  const Json json = Json::parse(part);
  std::vector<attend::text::Piece> all{{text, first}};
  attend::text::detail::read_pre_tokenizer({json, "p"})(all);
  Strings out;
  for (const auto& p : all) out.push_back(p.text.bytes);
  return out;
}

std::string decoded(const char* part, Strings tokens) {
  const Json json = Json::parse(part);
  attend::text::DecodeWindow window;
  attend::text::detail::read_decoder({json, "d"})(tokens, window);
  std::string out;
  for (const auto& t : tokens) out += t;
  return out;
}

// Words a…h and five special tokens.
Json words() {
  return Json::parse(R"({"version":"1.0","model":{"type":"WordLevel","unk_token":"[UNK]",
    "vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2,"a":3,"b":4,"c":5,"d":6,"e":7,"f":8,"g":9,"h":10,"[":11,"]":12,"CLS":13}},
    "pre_tokenizer":{"type":"Whitespace"}})");
}

Json added(int id, const char* content, const Json& flags = Json::object()) {
  Json out = {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
  out.update(flags);
  return out;
}

Tokenizer make(const Json& json) { return Tokenizer::from_json(json.dump(), "tokenizer.json"); }

}  // namespace

TEST(Normalizer, EachTypeDoesWhatTokenizersDoes) {
  EXPECT_EQ(normalized(R"({"type":"Lowercase"})", "\u00c4\u0130\u03a3"), "\u00e4i\u0307\u03c3");
  EXPECT_EQ(normalized(R"({"type":"NFC"})", "e\u0301"), "\u00e9");
  EXPECT_EQ(normalized(R"({"type":"NFD"})", "\u00e9"), "e\u0301");
  EXPECT_EQ(normalized(R"({"type":"NFKC"})", "\uff21\ufb01"), "Afi");
  EXPECT_EQ(normalized(R"({"type":"NFKD"})", "\u00bd"), "1\u20442");
  EXPECT_EQ(normalized(R"({"type":"StripAccents"})", "e\u0301a\u20dd\u00e9"), "ea\u00e9");
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":true,"strip_right":false})", " \u3000a "), "a ");
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":false,"strip_right":true})", " a \n"), " a");
  EXPECT_EQ(normalized(R"({"type":"Strip"})", " \n"), "");
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":"_"})", "a"), "_a");
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":"_"})", ""), "");
  EXPECT_EQ(normalized(R"({"type":"Replace","pattern":{"String":"aa"},"content":"b"})", "aaaaa"), "bba");
  EXPECT_EQ(normalized(R"({"type":"Replace","pattern":{"Regex":"\\s{2,}"},"content":"-"})", "a \u3000b c"),
            "a-b c");
  EXPECT_EQ(normalized(R"({"type":"Nmt"})", "a\x01\u200b\u2581\nb"), "a   b");
  EXPECT_EQ(normalized(R"({"type":"ByteLevel"})", " \u00e9"), "\u0120\u00c3\u00a9");
  EXPECT_EQ(normalized(R"({"type":"BertNormalizer","lowercase":true})", "\u00c9\t\u4f60"), "e  \u4f60 ");
  EXPECT_EQ(
      normalized(
          R"({"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"},{"type":"Lowercase"}]})",
          "\u00c9"),
      "e");
  EXPECT_EQ(normalized(R"({"type":"Precompiled","precompiled_charsmap":""})", "\u00c9"), "\u00c9");
}

/// The bytes of a map with one key, "A", whose value 0 points to "xy": a double-array trie as Darts lays it
/// out.
constexpr std::size_t kUnits = 256;
std::string small_character_map() {
  std::string map;
  const auto put = [&](std::uint32_t v) {
    for (int i = 0; i < 4; ++i) map += static_cast<char>(v >> 8 * i & 0xFF);
  };
  put(kUnits * 4);
  for (std::uint32_t i = 0; i < kUnits; ++i)
    put(i == 0             ? 128u << 10                               // the children of the root: 128 ^ byte
        : i == (128 ^ 'A') ? ((128u ^ 'A' ^ 7u) << 10) | 0x100 | 'A'  // its value is at 7
        : i == 7           ? 0x80000000u
                           : 0u);
  return map + std::string("xy\0", 3);
}

TEST(CharacterMap, ReplacesTheShortestMatchOfACluster) {
  const attend::text::detail::CharacterMap apply(small_character_map(), "map");
  EXPECT_EQ(normalized(apply, "AbA\u4f60"), "xybxy\u4f60");
  EXPECT_EQ(normalized(apply, "A\u0301"), "xy");  // shortest match of the whole cluster, as tokenizers has it
}

TEST(CharacterMap, IsRefusedWhereItIsCutAndSurvivesAnyDamage) {
  const std::string map = small_character_map();
  for (std::size_t cut = 0; cut < 4 + kUnits * 4; cut += 101)
    EXPECT_THAT(error_of([&] { attend::text::detail::CharacterMap(map.substr(0, cut), "map"); }),
                HasSubstr("map: the trie"));
  for (std::size_t i = 4; i < map.size(); ++i) {  // any damage is harmless
    std::string bad = map;
    bad[i] = '\xFF';
    normalized(attend::text::detail::CharacterMap(bad, "map"), "AbA");
  }
}

TEST(Base64, IsDecodedWithItsPadding) {
  EXPECT_EQ(attend::text::detail::decode_base64("TWFu", "x"), "Man");
  EXPECT_EQ(attend::text::detail::decode_base64("TWE=", "x"), "Ma");
  EXPECT_EQ(attend::text::detail::decode_base64("TQ==", "x"), "M");
  EXPECT_THAT(error_of([] { attend::text::detail::decode_base64("T-Q=", "x"); }), HasSubstr("character 1"));
}

TEST(PreTokenizer, EachTypeCutsWhereTokenizersDoes) {
  EXPECT_THAT(pieces(R"({"type":"BertPreTokenizer"})", " a,b  \u3002"), ElementsAre("a", ",", "b", "\u3002"));
  EXPECT_THAT(pieces(R"({"type":"Whitespace"})", "a_1 b--c \u00e9!"),
              ElementsAre("a_1", "b", "--", "c", "\u00e9", "!"));
  EXPECT_THAT(pieces(R"({"type":"WhitespaceSplit"})", " a,b \u3000c"), ElementsAre("a,b", "c"));
  EXPECT_THAT(pieces(R"({"type":"Digits","individual_digits":true})", "a12b"),
              ElementsAre("a", "1", "2", "b"));
  EXPECT_THAT(pieces(R"({"type":"Digits","individual_digits":false})", "a12b"), ElementsAre("a", "12", "b"));
  EXPECT_THAT(pieces(R"({"type":"CharDelimiterSplit","delimiter":"-"})", "a--b"), ElementsAre("a", "b"));
  EXPECT_THAT(pieces(R"({"type":"Punctuation","behavior":"Isolated"})", "a!!b$"),
              ElementsAre("a", "!", "!", "b", "$"));
  EXPECT_THAT(pieces(R"({"type":"Punctuation","behavior":"Contiguous"})", "a!!b"),
              ElementsAre("a", "!!", "b"));
  EXPECT_THAT(pieces(R"({"type":"Punctuation","behavior":"Removed"})", "a!!b"), ElementsAre("a", "b"));
  EXPECT_THAT(pieces(R"({"type":"Punctuation","behavior":"MergedWithPrevious"})", "a!!b"),
              ElementsAre("a!", "!", "b"));
  EXPECT_THAT(pieces(R"({"type":"Punctuation","behavior":"MergedWithNext"})", "a!!b"),
              ElementsAre("a", "!", "!b"));
  EXPECT_THAT(pieces(R"({"type":"ByteLevel","add_prefix_space":true})", "a it's"),
              ElementsAre("\u0120a", "\u0120it", "'s"));
  EXPECT_THAT(pieces(R"({"type":"ByteLevel","add_prefix_space":false})", "a  b "),
              ElementsAre("a", "\u0120", "\u0120b", "\u0120"));
  EXPECT_THAT(pieces(R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})", "a b"),
              ElementsAre("a\u0120b"));
  EXPECT_THAT(pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"always"})", "a b"),
              ElementsAre("_a", "_b"));
  EXPECT_THAT(pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"always"})", " b"),
              ElementsAre("_b"));
  EXPECT_THAT(
      pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"never","split":false})", "a b"),
      ElementsAre("a_b"));
  EXPECT_THAT(pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first"})", "a", true),
              ElementsAre("_a"));
  EXPECT_THAT(pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first"})", "a", false),
              ElementsAre("a"));
  EXPECT_THAT(pieces(R"({"type":"Metaspace","replacement":"_","add_prefix_space":false})", "a b"),
              ElementsAre("a", "_b"));
  EXPECT_THAT(pieces(R"({"type":"Split","pattern":{"String":"ab"},"behavior":"Isolated"})", "xabaab"),
              ElementsAre("x", "ab", "a", "ab"));
  EXPECT_THAT(
      pieces(R"({"type":"Split","pattern":{"Regex":"\\p{N}{1,3}"},"behavior":"Isolated","invert":false})",
             "12345a"),
      ElementsAre("123", "45", "a"));
  EXPECT_THAT(
      pieces(R"({"type":"Split","pattern":{"Regex":"\\w+"},"behavior":"Removed","invert":true})", "ab cd!"),
      ElementsAre("ab", "cd"));
  EXPECT_THAT(
      pieces(
          R"({"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Digits","individual_digits":true}]})",
          "a1 2"),
      ElementsAre("a", "1", "2"));
  EXPECT_TRUE(pieces(R"({"type":"WhitespaceSplit"})", "").empty());
}

TEST(Pattern, SetsAndRepetitionsAreThoseOfOniguruma) {
  const auto split = [](const std::string& regex, const std::string& text) {
    const Json json = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}};
    return pieces(json.dump().c_str(), text);
  };
  EXPECT_THAT(split(R"( ?[^(\s|[.,!?…。，、।۔،])]+)", "a.b (c) d!"),  // BLOOM's
              ElementsAre("a", ".", "b", " (", "c", ")", " d", "!"));
  EXPECT_THAT(split(R"([a-c[x-z]]+)", "abcdxyz"), ElementsAre("abc", "d", "xyz"));
  EXPECT_THAT(split(R"([a-z&&[^aeiou]]+)", "hello"), ElementsAre("h", "e", "ll", "o"));
  EXPECT_THAT(split(R"([^a-d&&b-z]+)", "abcxe"), ElementsAre("a", "bc", "xe"));
  EXPECT_THAT(split(R"([\W&&[^ ]]+)", "a -- b"), ElementsAre("a ", "--", " b"));
  EXPECT_THAT(split(R"([\H]+)", "abg12 z"), ElementsAre("ab", "g", "12", " z"));
  EXPECT_THAT(split(R"([\u0061])", "ab"), ElementsAre("a", "b"));
  EXPECT_THAT(split(R"(a{1,3}+)", "aaaab"), ElementsAre("aaaa", "b"));
  EXPECT_THAT(split(R"((?:a|\p{N}){1,3}+)", "12a45b"), ElementsAre("12a45", "b"));
  EXPECT_THAT(split(R"(a{2}?)", "aaab"), ElementsAre("aa", "a", "b"));
  EXPECT_THAT(split(R"(a{,2}b)", "aaab"), ElementsAre("a", "aab"));
  EXPECT_THAT(split(R"(a{1,2}{2})", "aaaab"), ElementsAre("aaaa", "b"));
}

TEST(Pattern, IsReadAsOnigurumaReadsIt) {
  const auto split = [](const std::string& regex, const std::string& text) {
    const Json json = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}};
    return pieces(json.dump().c_str(), text);
  };
  EXPECT_THAT(split(R"(\s)", "a\u0085b\u180ec"), ElementsAre("a", "\u0085", "b\u180ec"));
  EXPECT_THAT(split(R"(\w+)", "\u00bd\u0301-a"), ElementsAre("\u00bd\u0301", "-", "a"));
  EXPECT_THAT(split(R"([\w-]+)", "\u0301-a b"), ElementsAre("\u0301-a", " ", "b"));
  EXPECT_THAT(split(R"([\w]+)", "a\u00b2"), ElementsAre("a", "\u00b2"));
  EXPECT_THAT(split(R"(\h+)", "xyzff0"), ElementsAre("xyz", "ff0"));
  EXPECT_THAT(split(R"(^a)", "ab\na"), ElementsAre("a", "b\n", "a"));
  EXPECT_THAT(split(R"([[:digit:]]+)", "a12"), ElementsAre("a", "12"));
  EXPECT_THAT(split(R"(a*+a|b)", "aab"), ElementsAre("aa", "b"));
  EXPECT_THAT(split(R"(x?)", "axb"), ElementsAre("a", "x", "b"));
  EXPECT_THAT(error_of([&] { split(R"([a[b])", "a"); }), HasSubstr("[ without ]"));
  EXPECT_THAT(error_of([&] { split("(a", "a"); }), HasSubstr("p.pattern"));
  EXPECT_THAT(error_of([&] { split(R"(\C)", "a"); }), HasSubstr("p.pattern"));
  EXPECT_THAT(error_of([&] { split(R"((a+)+$|(a|a)*c)", std::string(5000, 'a') + "b"); }),
              HasSubstr("gave up"));
}

TEST(Decoder, EachTypeJoinsAsTokenizersDoes) {
  EXPECT_EQ(
      decoded(R"({"type":"WordPiece","prefix":"##","cleanup":true})", {"hel", "##lo", ",", "do", "not", "!"}),
      "hello, do not!");
  EXPECT_EQ(decoded(R"({"type":"WordPiece","prefix":"##","cleanup":false})", {"##a", "##b", "."}), "##ab .");
  EXPECT_EQ(decoded(R"({"type":"ByteLevel"})", {"\u0120\u00c3", "\u00a9"}), " \u00e9");
  EXPECT_EQ(decoded(R"({"type":"ByteLevel"})", {"\u4f60", "a b"}),
            "\u4f60"
            "a b");
  EXPECT_EQ(decoded(R"({"type":"ByteFallback"})", {"a", "<0xC3>", "<0xA9>", "b"}),
            "a\u00e9"
            "b");
  EXPECT_EQ(decoded(R"({"type":"ByteFallback"})", {"<0x41>", "<0xC3>", "b", "<0xG1>"}),
            "\ufffd\ufffd"
            "b<0xG1>");
  EXPECT_EQ(decoded(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"always"})", {"_a", "_b_"}),
            "a b ");
  EXPECT_EQ(decoded(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"never"})", {"_a", "_b"}),
            " a b");
  EXPECT_EQ(decoded(R"({"type":"BPEDecoder","suffix":"</w>"})", {"a</w>", "b", "c</w>"}), "a bc");
  EXPECT_EQ(decoded(R"({"type":"Strip","content":" ","start":1,"stop":0})", {"  a ", " b"}), " a b");
  EXPECT_EQ(
      decoded(
          R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"_"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})",
          {"_a", "_b"}),
      "a b");
}

TEST(AddedTokens, MatchInOrderAndTakeBlanksAlong) {
  Json json = words();
  json["added_tokens"] = {added(1, "[CLS]"),
                          added(20, "<l>", {{"lstrip", true}}),
                          added(21, "<r>", {{"rstrip", true}}),
                          added(22, "one", {{"single_word", true}}),
                          added(23, "X", {{"normalized", true}, {"special", false}}),
                          added(24, "<l><r>"),
                          added(25, "Y")};
  json["normalizer"] = {{"type", "Lowercase"}};
  json["model"]["vocab"]["oneb"] = 14;
  json["model"]["vocab"]["y"] = 15;
  const auto t = make(json);
  EXPECT_EQ(t.vocab_size(), 26);
  EXPECT_THAT(t.encode("a[CLS]B"), ElementsAre(3, 1, 4));
  EXPECT_THAT(t.encode("[cls]"), ElementsAre(11, 0, 12));  // looked for before the text is made lower case
  EXPECT_THAT(t.encode("x a X"), ElementsAre(23, 3, 23));  // normalised: "X" is looked for as "x", after it
  EXPECT_THAT(t.encode("Y y"), ElementsAre(25, 15));
  EXPECT_THAT(t.encode("one oneb bone a.one"), ElementsAre(22, 14, 0, 3, 0, 22));
  EXPECT_THAT(t.encode("a <l><r> b"), ElementsAre(3, 24, 4));  // the longest
  Json spaces = json;  // without a pre-tokenizer that drops them, the blanks show
  spaces["pre_tokenizer"] = nullptr;
  spaces["model"]["vocab"][" "] = 16;
  spaces["model"]["vocab"]["a "] = 17;
  const auto s = make(spaces);
  EXPECT_THAT(s.encode("a <l> <r> a"), ElementsAre(3, 20, 16, 21, 3));
  EXPECT_THAT(s.encode("a [CLS] a"), ElementsAre(17, 1, 0));
  EXPECT_EQ(t.decode(Ids{1, 3, 23}), "a x");  // as tokenizers writes a normalised one
  EXPECT_EQ(t.decode(Ids{1, 3, 23}, {.skip_special_tokens = false}), "[CLS] a x");
  EXPECT_TRUE(t.is_special(1));
  EXPECT_FALSE(t.is_special(23));
  EXPECT_EQ(t.token_to_id("<l>"), 20);
  EXPECT_EQ(t.id_to_token(20), "<l>");
  EXPECT_THAT(error_of([&] { t.id_to_token(19); }), HasSubstr("19"));  // in the gap
  EXPECT_THAT(error_of([&] { t.decode(Ids{26}); }), HasSubstr("26"));
}

Tokenizer with_template() {
  Json json = words();
  json["post_processor"] = Json::parse(R"({"type":"TemplateProcessing",
    "single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],
    "pair":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}},
            {"Sequence":{"id":"B","type_id":1}},{"SpecialToken":{"id":"[SEP]","type_id":1}}],
    "special_tokens":{"[CLS]":{"id":"[CLS]","ids":[1],"tokens":["[CLS]"]},"[SEP]":{"id":"[SEP]","ids":[2],"tokens":["[SEP]"]}}})");
  return make(json);
}

TEST(PostProcessor, TemplatePutsSpecialTokensAroundOneTextOrTwo) {
  const auto t = with_template();
  EXPECT_THAT(t.encode("a b"), ElementsAre(1, 3, 4, 2));
  EXPECT_THAT(t.encode("a b", {.add_special_tokens = false}), ElementsAre(3, 4));
  EXPECT_THAT(t.encode(""), ElementsAre(1, 2));
  const auto pair = t.encode_pair("a b", "c");
  EXPECT_THAT(pair.ids, ElementsAre(1, 3, 4, 2, 5, 2));
  EXPECT_THAT(pair.type_ids, ElementsAre(0, 0, 0, 0, 1, 1));
  EXPECT_THAT(t.encode_pair("a", "b", {.add_special_tokens = false}).type_ids, ElementsAre(0, 1));
}

TEST(PostProcessor, TruncationLeavesRoomForSpecialTokens) {
  const auto t = with_template();
  EXPECT_THAT(t.encode("a b c", {.max_length = 4}), ElementsAre(1, 3, 4, 2));
  EXPECT_THAT(t.encode("a b c", {.max_length = 2}), ElementsAre(1, 2));
  EXPECT_THAT(t.encode("a b c", {.add_special_tokens = false, .max_length = 2}), ElementsAre(3, 4));
  EXPECT_THAT(error_of([&] { t.encode("a", {.max_length = 1}); }), HasSubstr("max_length 1"));
  const auto cut = [&](std::size_t n, Truncation how) {
    return t.encode_pair("a b c d e", "f g", {.max_length = n, .truncation = how}).ids;
  };
  EXPECT_THAT(cut(10, Truncation::longest_first), ElementsAre(1, 3, 4, 5, 6, 7, 2, 8, 9, 2));
  EXPECT_THAT(cut(8, Truncation::longest_first), ElementsAre(1, 3, 4, 5, 2, 8, 9, 2));
  EXPECT_THAT(cut(6, Truncation::longest_first), ElementsAre(1, 3, 4, 2, 8, 2));
  EXPECT_THAT(cut(8, Truncation::only_first), ElementsAre(1, 3, 4, 5, 2, 8, 9, 2));
  EXPECT_THAT(cut(9, Truncation::only_second), ElementsAre(1, 3, 4, 5, 6, 7, 2, 8, 2));
  EXPECT_THAT(error_of([&] { cut(7, Truncation::only_second); }), HasSubstr("2 ids"));
}

TEST(PostProcessor, OfBertRobertaAndSequencesAreRead) {
  Json json = words();
  json["post_processor"] = Json::parse(R"({"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]})");
  EXPECT_THAT(make(json).encode_pair("a", "b").type_ids, ElementsAre(0, 0, 0, 1, 1));
  json["post_processor"] = Json::parse(
      R"({"type":"RobertaProcessing","sep":["[SEP]",2],"cls":["[CLS]",1],"trim_offsets":true,"add_prefix_space":true})");
  EXPECT_THAT(make(json).encode_pair("a", "b").ids, ElementsAre(1, 3, 2, 2, 4, 2));
  EXPECT_THAT(make(json).encode_pair("a", "b").type_ids, ElementsAre(0, 0, 0, 0, 0, 0));
  const Json roberta = json["post_processor"];
  json["post_processor"] = {{"type", "Sequence"},
                            {"processors", Json::array({Json::object({{"type", "ByteLevel"}}), roberta})}};
  EXPECT_THAT(make(json).encode("a"), ElementsAre(1, 3, 2));
}

TEST(UnigramModel, TakesTheMostProbableCut) {
  const auto t = make(Json::parse(R"({"model":{"type":"Unigram","unk_id":0,
    "vocab":[["<unk>",0],["a",-2],["b",-2],["ab",-3],["abc",-9],["c",-1],["bc",-2.5]]}})"));
  EXPECT_THAT(t.encode("ab"), ElementsAre(3));
  EXPECT_THAT(t.encode("abc"), ElementsAre(3, 5));  // -4 against -4.5 (a, bc) and -9
  EXPECT_THAT(t.encode("axyb"), ElementsAre(1, 0, 2));
  EXPECT_THAT(t.encode("\u00e9"), ElementsAre(0));
  const auto bytes = make(Json::parse(R"({"model":{"type":"Unigram","unk_id":0,"byte_fallback":true,
    "vocab":[["<unk>",0],["a",-2],["<0xC3>",-9],["<0xA9>",-9]]}})"));
  EXPECT_THAT(bytes.encode("a\u00e9"
                           "b"),
              ElementsAre(1, 0));  // one run, of which not every byte is a token
  EXPECT_THAT(bytes.encode("a\u00e9"), ElementsAre(1, 2, 3));
  const auto none = make(Json::parse(R"({"model":{"type":"Unigram","vocab":[["a",-2]]}})"));
  EXPECT_THAT(error_of([&] { none.encode("b"); }), HasSubstr("unk_id"));
}

TEST(TokenizerJson, ErrorsNameWhatIsUnknownMissingOrContradictory) {
  const auto error = [](const char* pointer, const Json& value) {
    Json json = words();
    json["added_tokens"] = Json::array({added(1, "[CLS]")});
    json[Json::json_pointer(pointer)] = value;
    return error_or_none([&] { make(json); });
  };
  EXPECT_EQ(error("/version", "1.0"), "");
  EXPECT_THAT(error("/version", "2.0"), HasSubstr("2.0"));
  EXPECT_THAT(error("/surprise", 1), HasSubstr("surprise"));
  EXPECT_THAT(error("/normalizer", {{"type", "Magic"}}),
              HasSubstr("tokenizer.json.normalizer: unknown normalizer \"Magic\""));
  EXPECT_THAT(error("/normalizer", {{"type", "NFC"}, {"extra", 1}}), HasSubstr("extra"));
  EXPECT_THAT(error("/normalizer",
                    {{"type", "Sequence"}, {"normalizers", Json::array({Json::object({{"type", "X"}})})}}),
              HasSubstr("normalizers[0]"));
  EXPECT_THAT(error("/normalizer", "NFC"), HasSubstr("expected an object"));
  EXPECT_THAT(error("/normalizer", {{"type", "Replace"}, {"content", ""}}), HasSubstr("pattern"));
  EXPECT_THAT(error("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}}),
              HasSubstr("trie"));
  EXPECT_THAT(error("/pre_tokenizer", {{"type", "Magic"}}), HasSubstr("Magic"));
  EXPECT_THAT(error("/pre_tokenizer", {{"type", "Punctuation"}, {"behavior", "Odd"}}), HasSubstr("Odd"));
  EXPECT_THAT(error("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}}),
              HasSubstr("one character"));
  EXPECT_THAT(error("/post_processor", {{"type", "Magic"}}), HasSubstr("Magic"));
  EXPECT_THAT(error("/post_processor", {{"type", "BertProcessing"},
                                        {"sep", Json::array({"[SEP]", 2})},
                                        {"cls", Json::array({"x", 999})}}),
              HasSubstr("999"));
  EXPECT_THAT(error("/post_processor", {{"type", "BertProcessing"},
                                        {"sep", Json::array({"[SEP]", 2})},
                                        {"cls", Json::array({"x", -1})}}),
              HasSubstr("cls"));
  EXPECT_THAT(error("/decoder", {{"type", "CTC"}}), HasSubstr("CTC"));
  EXPECT_THAT(error("/decoder", {{"type", "BPEDecoder"}, {"suffix", ""}}), HasSubstr("\"suffix\" is empty"));
  EXPECT_THAT(error("/model/type", "Magic"), HasSubstr("Magic"));
  EXPECT_THAT(error("/model/vocab", 3), HasSubstr("model.vocab"));
  EXPECT_THAT(error("/model", nullptr), HasSubstr("model"));
  EXPECT_THAT(error("/added_tokens/0/id", 3), HasSubstr("\"[CLS]\""));
  EXPECT_THAT(error("/added_tokens/0/content", "new"), HasSubstr("[CLS]"));
  EXPECT_THAT(error("/added_tokens/0/id", 4'000'000), HasSubstr("too large"));
  EXPECT_THAT(error("/added_tokens/0/id", -4), HasSubstr("id"));
  EXPECT_THAT(error("/added_tokens/0/extra", 1), HasSubstr("extra"));
  EXPECT_THAT(error("/added_tokens", 1), HasSubstr("added_tokens"));
  Json deep = {{"type", "NFC"}};
  for (int i = 0; i < 1000; ++i) deep = {{"type", "Sequence"}, {"normalizers", Json::array({deep})}};
  EXPECT_THAT(error("/normalizer", deep), HasSubstr("nested"));
  const auto bpe = [](const char* fields) {
    return error_or_none([&] {
      make(Json::parse(std::string(R"({"model":{"type":"BPE","vocab":{"a":0},)") + fields + "}}"));
    });
  };
  EXPECT_EQ(bpe(R"("merges":[],"dropout":null)"), "");
  EXPECT_THAT(bpe(R"("merges":[],"dropout":0.1)"), HasSubstr("dropout"));
  EXPECT_THAT(bpe(R"("merges":[["a"]])"), HasSubstr("merges[0]"));
  EXPECT_THAT(bpe(R"("merges":["ab"])"), HasSubstr("merges[0]"));
  EXPECT_THAT(bpe(R"("merges":[],"what":1)"), HasSubstr("what"));
  EXPECT_THAT(bpe(R"("merges":[],"byte_fallback":true,"end_of_word_suffix":"</w>")"),
              HasSubstr("byte_fallback"));
}

TEST(TokenizerFolder, OfBertIsReadFromVocabTxt) {
  const Folder bert;
  bert.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nHello\n");
  EXPECT_THAT(Tokenizer::open(bert.path).encode("Hello [MASK]hello"), ElementsAre(2, 5, 4, 5, 3));
  EXPECT_THAT(Tokenizer::open(bert.path / "vocab.txt").encode("Hello"), ElementsAre(2, 5, 3));
  bert.write("tokenizer_config.json", R"({"do_lower_case":false})");
  EXPECT_THAT(Tokenizer::open(bert.path).encode("Hello"), ElementsAre(2, 6, 3));
  EXPECT_THAT(Tokenizer::open(bert.path).encode_pair("Hello", "hello").type_ids, ElementsAre(0, 0, 0, 1, 1));
  bert.write("tokenizer.json", words().dump());  // comes first
  EXPECT_THAT(Tokenizer::open(bert.path).encode("a"), ElementsAre(3));
}

TEST(TokenizerFolder, OfByteLevelBpeIsReadFromVocabJsonAndMerges) {
  const Folder bpe;
  bpe.write("vocab.json", R"({"<s>":0,"</s>":1,"<mask>":2,"a":3,"\u0120":4,"\u0120a":5})");
  bpe.write("merges.txt", "#version: 0.2\n\u0120 a\n");
  EXPECT_THAT(Tokenizer::open(bpe.path).encode("a a <mask>"), ElementsAre(0, 3, 5, 4, 2, 1));
  EXPECT_THAT(Tokenizer::open(bpe.path).encode_pair("a", "a").ids, ElementsAre(0, 3, 1, 1, 3, 1));
  bpe.write("tokenizer_config.json", R"({"tokenizer_class":"GPT2Tokenizer","add_prefix_space":true,
    "added_tokens_decoder":{"7":{"content":"<x>","lstrip":false,"rstrip":false,"single_word":false,"normalized":false,"special":true}}})");
  EXPECT_THAT(Tokenizer::open(bpe.path).encode("a<x>"),
              ElementsAre(5, 6));  // the next id, whatever the file says
  bpe.write("tokenizer_config.json", R"({"tokenizer_class":"OddTokenizer"})");
  EXPECT_THAT(error_of([&] { Tokenizer::open(bpe.path); }), HasSubstr("OddTokenizer"));
}

TEST(TokenizerFolder, WithoutAnyVocabularyIsAnError) {
  const Folder empty;
  EXPECT_THAT(error_of([&] { Tokenizer::open(empty.path); }), HasSubstr("no tokenizer.json"));
  EXPECT_THAT(error_of([&] { Tokenizer::open(empty.path / "absent.json"); }), HasSubstr("absent.json"));
  empty.write("tokenizer.model", "not a model");
  EXPECT_THAT(error_of([&] { Tokenizer::open(empty.path); }), HasSubstr("not a SentencePiece model"));
}

TEST(TokenizerJson, ThatIsDamagedIsRefusedOrWorks) {
  Json json = words();
  json["added_tokens"] = {added(1, "[CLS]"), added(20, "<l>", {{"lstrip", true}})};
  json["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "a+"}}}, {"content", "b"}};
  json["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}};
  json["post_processor"] = Json::parse(R"({"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]})");
  const std::string whole = json.dump();
  int loaded = 0;
  for (std::size_t i = 0; i < whole.size(); ++i)
    for (const char c : {'\0', '9', '"', '{', '\x80'}) {
      std::string bad = whole;
      bad[i] = c;
      error_or_none([&] {
        const auto t = make(attend::text::parse_json(bad, "bad.json"));
        ++loaded;
        for (std::int32_t id : t.encode("a b [CLS] <l>"))
          EXPECT_LT(static_cast<std::size_t>(id), t.vocab_size());
      });
    }
  EXPECT_GT(loaded, 0);
  for (std::size_t n = 0; n < whole.size(); ++n)
    EXPECT_THAT(error_of([&] { attend::text::parse_json(whole.substr(0, n), "cut.json"); }),
                HasSubstr("cut.json: byte "));
}

namespace {

// Feeds the ids one by one: each part must be whole characters, and all of them the decoded text.
void check_stream(const Tokenizer& t, const Ids& ids, const Strings& expected = {}) {
  StreamingDecoder stream(t);
  Strings parts;
  std::string all;
  for (std::int32_t id : ids) {
    parts.push_back(stream.push(id));
    EXPECT_EQ(attend::text::find_malformed_utf8(parts.back()), std::string::npos);
    all += parts.back();
  }
  all += stream.finish();
  EXPECT_EQ(all, t.decode(ids));
  if (!expected.empty()) {
    EXPECT_EQ(parts, expected);
  }
}

/// Bytes for what is no token, and one blank less at the beginning.
Tokenizer llama_like() {
  return make(Json::parse(R"({"model":{"type":"BPE","merges":[],"byte_fallback":true,"unk_token":"<unk>",
    "vocab":{"<unk>":0,"<0xC3>":1,"<0xA9>":2,"_a":3,"b":4,"_":5,"<0x0A>":6}},
    "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"_"},"content":" "},{"type":"ByteFallback"},
      {"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}})"));
}

// Before, ByteFallback put an empty token in front, which Metaspace then took for the first.
TEST(Tokenizer, DecodesMetaspaceBehindByteFallback) {
  const Tokenizer tokenizer = Tokenizer::from_json(
      R"({"model":{"type":"WordLevel","unk_token":"?","vocab":{"?":0,"\u2581a":1,"b":2,"\u2581c":3,"<0xC3>":4,"<0xA4>":5}},
          "decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},
                     {"type":"Metaspace","replacement":"\u2581","prepend_scheme":"always","split":true}]}})",
      "test");
  const std::vector<std::int32_t> ids{1, 2, 3, 4, 5, 3};
  EXPECT_EQ(tokenizer.decode(ids), "ab c\u00e4 c");
  attend::text::StreamingDecoder streaming(tokenizer);
  std::string pieces;
  for (std::int32_t id : ids) pieces += streaming.push(id);
  EXPECT_EQ(pieces + streaming.finish(), "ab c\u00e4 c");
}

}  // namespace

TEST(StreamingDecoder, HoldsBackBytesUntilACharacterIsWhole) {
  const auto bytes = make(Json::parse(R"({"model":{"type":"BPE","merges":[],
    "vocab":{"\u00f0":0,"\u0141":1,"\u013a":2,"\u0122":3,"a":4,"\u0120a":5,"\u00f0\u0141":6,"<e>":7,"\u0122\u00f0":8}},
    "added_tokens":[{"id":7,"content":"<e>","special":true,"normalized":false}],
    "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"}})"));
  const Ids smile = bytes.encode("\U0001F600");  // f0 9f 98 80: as characters 00f0 0141 013a 0122
  ASSERT_EQ(smile.size(), 4);
  check_stream(bytes, {4, smile[0], smile[1], smile[2], smile[3], 5}, {"a", "", "", "", "\U0001F600", " a"});
  check_stream(bytes, {6, 2, 8, 1, 2, 3, 7, 4}, {"", "", "\U0001F600", "", "", "\U0001F600", "", "a"});
  check_stream(bytes, {0, 4, 1, 4},
               {"",
                "\ufffd"
                "a",
                "\ufffd", "a"});   // malformed
  check_stream(bytes, {4, 0, 1});  // cut off: finish says so
  check_stream(bytes, {});
}

TEST(StreamingDecoder, TakesTheFirstBlankOfATextAlone) {
  const Tokenizer llama = llama_like();
  check_stream(llama, {3, 3, 1, 2, 6, 4, 5, 5, 3}, {"a", " a", "", "\u00e9", "\n", "b", " ", " ", " a"});
  check_stream(llama, {5, 3, 3}, {"", " a", " a"});  // only the first blank of the text goes
  check_stream(llama, {1, 4, 2, 1, 4, 1});
  check_stream(llama, {2, 1, 2, 4});  // a malformed run stays malformed

  // Two blanks go, but those inside the text stay, though each token alone would lose its own.
  const auto two = make(Json::parse(R"({"model":{"type":"BPE","merges":[],"vocab":{"a":0,"_":1,"_a":2}},
    "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"_"},"content":" "},
      {"type":"Fuse"},{"type":"Strip","content":" ","start":2,"stop":0}]}})"));
  check_stream(two, {1, 1, 0, 1, 2, 1, 1, 1, 2}, {"", "", "a", " ", " a", " ", " ", " ", " a"});
}

TEST(StreamingDecoder, KeepsWhatItHasShown) {
  const Tokenizer llama = llama_like();
  // A character that was shown stays, though decode takes the whole run of bytes for malformed.
  StreamingDecoder shown(llama);
  EXPECT_EQ(shown.push(1), "");
  EXPECT_EQ(shown.push(2), "\u00e9");
  EXPECT_EQ(shown.push(1), "");
  EXPECT_EQ(shown.push(4),
            "\ufffd"
            "b");
  EXPECT_EQ(shown.finish(), "");
}

// Each step looks at the newest tokens alone; a look at all of them would take an hour.
TEST(StreamingDecoder, ForgetsTokensInsideMalformedText) {
  const int n = 50'000;
  const auto count = [&](StreamingDecoder stream, std::initializer_list<std::int32_t> ids) {
    std::size_t size = 0;
    for (int i = 0; i < n; ++i)
      for (std::int32_t id : ids) size += stream.push(id).size();
    return size + stream.finish().size();
  };
  const Tokenizer llama = llama_like();
  EXPECT_EQ(count(StreamingDecoder(llama), {2}), 3u * n);     // U+FFFD for each
  EXPECT_EQ(count(StreamingDecoder(llama), {1, 2}), 2u * n);  // a text, though a run that never ends
  EXPECT_EQ(count(StreamingDecoder(llama), {1, 4}), 4u * n);
  const auto bytes = make(Json::parse(R"({"model":{"type":"BPE","merges":[],"vocab":{"a\u00c3":0}},
    "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"}})"));
  EXPECT_EQ(count(StreamingDecoder(bytes), {0}), 4u * n);  // each ends in the begin of a character
  check_stream(llama, {3, 2, 2, 1, 2, 6, 4, 2, 1, 2});
  check_stream(bytes, {0, 0, 0});
}

TEST(StreamingDecoder, PutsBlanksBetweenWords) {
  const auto pieces = make(Json::parse(
      R"({"model":{"type":"WordPiece","vocab":{"[UNK]":0,"un":1,"##able":2,"!":3}},"decoder":{"type":"WordPiece"}})"));
  check_stream(pieces, {1, 2, 1, 3}, {"un", "able", " un", "!"});
  check_stream(make(words()), {3, 4}, {"a", " b"});  // no decoder: blanks between
}

TEST(StreamingDecoder, IsAsNewAfterFinish) {
  const Tokenizer llama = llama_like();
  StreamingDecoder again(llama);
  again.push(1);
  EXPECT_EQ(again.finish(), "\ufffd");
  EXPECT_EQ(again.push(3), "a");  // as new
  EXPECT_THAT(error_of([&] { again.push(99); }), HasSubstr("99"));
}

TEST(StreamingDecoder, GivesTheTextsOfAModel) {
  const std::filesystem::path folder = model_folder("stories");
  const auto stories = Tokenizer::open(folder);
  for (const auto& c : attend::text::parse_json(bytes_of(folder / "cases.json"), "cases.json"))
    check_stream(stories, c["greedy"].get<Ids>());
  check_stream(stories, stories.encode("caf\u00e9 \u4f60\u597d \U0001F600\u2603\nzz"));
}

class TokenizerOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, TokenizerOf,
                         testing::Values("byte_fallback_bpe", "byte_level_bpe", "unigram", "wordpiece"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(TokenizerOf, GivesTheIdsAndTextsOfTokenizers) {
  const std::filesystem::path folder = model_folder("tokenizers") / GetParam();
  const Tokenizer tokenizer = Tokenizer::open(folder);
  int tokens = 0;
  for (const auto& c : attend::read_json(folder / "cases.json")) {
    SCOPED_TRACE(c["text"].get<std::string>());
    const Ids ids = tokenizer.encode(c["text"].get<std::string>());
    EXPECT_EQ(ids, c["ids"].get<Ids>());
    EXPECT_EQ(tokenizer.decode(ids), c["decoded"].get<std::string>());
    tokens += static_cast<int>(ids.size());
    check_stream(tokenizer, ids);
  }
  EXPECT_GT(tokens, 100);
}
