// tokenizer.json, part by part; folders of old; the streaming decoder.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "text_test_data.hpp"

#include <attend/text/streaming_decoder.hpp>
#include <attend/text/tokenizer.hpp>

using namespace text_test;
using attend::text::DecodeOptions;
using attend::text::EncodeOptions;
using attend::text::Json;
using attend::text::StreamingDecoder;
using attend::text::Tokenizer;
using attend::text::Truncation;

namespace {

using Strings = std::vector<std::string>;

std::string normalized(const char* part, const std::string& text) {
  const Json json = Json::parse(part);
  return attend::text::detail::read_normalizer({json, "n"})(text);
}

Strings pieces(const char* part, const std::string& text, bool first = true) {
  const Json json = Json::parse(part);
  std::vector<attend::text::Piece> all{{text, first}};
  attend::text::detail::read_pre_tokenizer({json, "p"})(all);
  Strings out;
  for (const auto& p : all) out.push_back(p.text);
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

Tokenizer make(const Json& json) { return Tokenizer::from_json(json, "tokenizer.json"); }

}  // namespace

TEST_CASE("normalizers") {
  CHECK(normalized(R"({"type":"Lowercase"})", "\u00c4\u0130\u03a3") == "\u00e4i\u0307\u03c3");
  CHECK(normalized(R"({"type":"NFC"})", "e\u0301") == "\u00e9");
  CHECK(normalized(R"({"type":"NFD"})", "\u00e9") == "e\u0301");
  CHECK(normalized(R"({"type":"NFKC"})", "\uff21\ufb01") == "Afi");
  CHECK(normalized(R"({"type":"NFKD"})", "\u00bd") == "1\u20442");
  CHECK(normalized(R"({"type":"StripAccents"})", "e\u0301a\u20dd\u00e9") == "ea\u00e9");
  CHECK(normalized(R"({"type":"Strip","strip_left":true,"strip_right":false})", " \u3000a ") == "a ");
  CHECK(normalized(R"({"type":"Strip","strip_left":false,"strip_right":true})", " a \n") == " a");
  CHECK(normalized(R"({"type":"Strip"})", " \n") == "");
  CHECK(normalized(R"({"type":"Prepend","prepend":"_"})", "a") == "_a");
  CHECK(normalized(R"({"type":"Prepend","prepend":"_"})", "") == "");
  CHECK(normalized(R"({"type":"Replace","pattern":{"String":"aa"},"content":"b"})", "aaaaa") == "bba");
  CHECK(normalized(R"({"type":"Replace","pattern":{"Regex":"\\s{2,}"},"content":"-"})", "a \u3000b c") ==
        "a-b c");
  CHECK(normalized(R"({"type":"Nmt"})", "a\x01\u200b\u2581\nb") == "a   b");
  CHECK(normalized(R"({"type":"ByteLevel"})", " \u00e9") == "\u0120\u00c3\u00a9");
  CHECK(normalized(R"({"type":"BertNormalizer","lowercase":true})", "\u00c9\t\u4f60") == "e  \u4f60 ");
  CHECK(
      normalized(
          R"({"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"},{"type":"Lowercase"}]})",
          "\u00c9") == "e");
  CHECK(normalized(R"({"type":"Precompiled","precompiled_charsmap":""})", "\u00c9") == "\u00c9");
}

TEST_CASE("a precompiled character map") {
  // A double-array trie of one key, "A", whose value 0 points to "xy"; units as Darts lays them out.
  std::string map;
  const auto put = [&](std::uint32_t v) {
    for (int i = 0; i < 4; ++i) map += static_cast<char>(v >> 8 * i & 0xFF);
  };
  const std::size_t units = 256;
  put(units * 4);
  for (std::uint32_t i = 0; i < units; ++i)
    put(i == 0             ? 128u << 10                               // the children of the root: 128 ^ byte
        : i == (128 ^ 'A') ? ((128u ^ 'A' ^ 7u) << 10) | 0x100 | 'A'  // its value is at 7
        : i == 7           ? 0x80000000u
                           : 0u);
  map += std::string("xy\0", 3);
  const attend::text::detail::CharacterMap apply(map, "map");
  CHECK(apply("AbA\u4f60") == "xybxy\u4f60");
  CHECK(apply("A\u0301") == "xy");  // shortest match of the whole cluster, as tokenizers has it
  for (std::size_t cut = 0; cut < 4 + units * 4; cut += 101)
    CHECK(contains(error_of([&] { attend::text::detail::CharacterMap(map.substr(0, cut), "map"); }),
                   "map: the trie"));
  for (std::size_t i = 4; i < map.size(); ++i) {  // any damage is harmless
    std::string bad = map;
    bad[i] = '\xFF';
    attend::text::detail::CharacterMap(bad, "map")("AbA");
  }
  CHECK(attend::text::detail::decode_base64("TWFu", "x") == "Man");
  CHECK(attend::text::detail::decode_base64("TWE=", "x") == "Ma");
  CHECK(attend::text::detail::decode_base64("TQ==", "x") == "M");
  CHECK(contains(error_of([] { attend::text::detail::decode_base64("T-Q=", "x"); }), "character 1"));
}

TEST_CASE("pre-tokenizers") {
  CHECK(pieces(R"({"type":"BertPreTokenizer"})", " a,b  \u3002") == Strings{"a", ",", "b", "\u3002"});
  CHECK(pieces(R"({"type":"Whitespace"})", "a_1 b--c \u00e9!") ==
        Strings{"a_1", "b", "--", "c", "\u00e9", "!"});
  CHECK(pieces(R"({"type":"WhitespaceSplit"})", " a,b \u3000c") == Strings{"a,b", "c"});
  CHECK(pieces(R"({"type":"Digits","individual_digits":true})", "a12b") == Strings{"a", "1", "2", "b"});
  CHECK(pieces(R"({"type":"Digits","individual_digits":false})", "a12b") == Strings{"a", "12", "b"});
  CHECK(pieces(R"({"type":"CharDelimiterSplit","delimiter":"-"})", "a--b") == Strings{"a", "b"});
  CHECK(pieces(R"({"type":"Punctuation","behavior":"Isolated"})", "a!!b$") ==
        Strings{"a", "!", "!", "b", "$"});
  CHECK(pieces(R"({"type":"Punctuation","behavior":"Contiguous"})", "a!!b") == Strings{"a", "!!", "b"});
  CHECK(pieces(R"({"type":"Punctuation","behavior":"Removed"})", "a!!b") == Strings{"a", "b"});
  CHECK(pieces(R"({"type":"Punctuation","behavior":"MergedWithPrevious"})", "a!!b") ==
        Strings{"a!", "!", "b"});
  CHECK(pieces(R"({"type":"Punctuation","behavior":"MergedWithNext"})", "a!!b") == Strings{"a", "!", "!b"});
  CHECK(pieces(R"({"type":"ByteLevel","add_prefix_space":true})", "a it's") ==
        Strings{"\u0120a", "\u0120it", "'s"});
  CHECK(pieces(R"({"type":"ByteLevel","add_prefix_space":false})", "a  b ") ==
        Strings{"a", "\u0120", "\u0120b", "\u0120"});
  CHECK(pieces(R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})", "a b") ==
        Strings{"a\u0120b"});
  CHECK(pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"always"})", "a b") ==
        Strings{"_a", "_b"});
  CHECK(pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"always"})", " b") == Strings{"_b"});
  CHECK(pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"never","split":false})", "a b") ==
        Strings{"a_b"});
  CHECK(pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first"})", "a", true) ==
        Strings{"_a"});
  CHECK(pieces(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first"})", "a", false) ==
        Strings{"a"});
  CHECK(pieces(R"({"type":"Metaspace","replacement":"_","add_prefix_space":false})", "a b") ==
        Strings{"a", "_b"});
  CHECK(pieces(R"({"type":"Split","pattern":{"String":"ab"},"behavior":"Isolated"})", "xabaab") ==
        Strings{"x", "ab", "a", "ab"});
  CHECK(pieces(R"({"type":"Split","pattern":{"Regex":"\\p{N}{1,3}"},"behavior":"Isolated","invert":false})",
               "12345a") == Strings{"123", "45", "a"});
  CHECK(pieces(R"({"type":"Split","pattern":{"Regex":"\\w+"},"behavior":"Removed","invert":true})",
               "ab cd!") == Strings{"ab", "cd"});
  CHECK(
      pieces(
          R"({"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Digits","individual_digits":true}]})",
          "a1 2") == Strings{"a", "1", "2"});
  CHECK(pieces(R"({"type":"WhitespaceSplit"})", "").empty());
}

TEST_CASE("patterns are read as Oniguruma reads them") {
  const auto split = [](const std::string& regex, const std::string& text) {
    const Json json = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}};
    return pieces(json.dump().c_str(), text);
  };
  CHECK(split(R"(\s)", "a\u0085b\u180ec") == Strings{"a", "\u0085", "b\u180ec"});
  CHECK(split(R"(\w+)", "\u00bd\u0301-a") == Strings{"\u00bd\u0301", "-", "a"});
  CHECK(split(R"([\w-]+)", "\u0301-a b") == Strings{"\u0301-a", " ", "b"});
  CHECK(split(R"([\w]+)", "a\u00b2") == Strings{"a", "\u00b2"});
  CHECK(split(R"(\h+)", "xyzff0") == Strings{"xyz", "ff0"});
  CHECK(split(R"(^a)", "ab\na") == Strings{"a", "b\n", "a"});
  CHECK(split(R"([[:digit:]]+)", "a12") == Strings{"a", "12"});
  CHECK(split(R"(a*+a|b)", "aab") == Strings{"aa", "b"});
  CHECK(split(R"(x?)", "axb") == Strings{"a", "x", "b"});
  CHECK(contains(error_of([&] { split(R"([a&&b])", "a"); }), "&&"));
  CHECK(contains(error_of([&] { split(R"([a[b]])", "a"); }), "set inside"));
  CHECK(contains(error_of([&] { split(R"([\W])", "a"); }), "negated"));
  CHECK(contains(error_of([&] { split("(a", "a"); }), "p.pattern"));
  CHECK(contains(error_of([&] { split(R"(\C)", "a"); }), "p.pattern"));
  CHECK(contains(error_of([&] { split(R"((a+)+$|(a|a)*c)", std::string(5000, 'a') + "b"); }), "gave up"));
}

TEST_CASE("decoders") {
  CHECK(decoded(R"({"type":"WordPiece","prefix":"##","cleanup":true})",
                {"hel", "##lo", ",", "do", "not", "!"}) == "hello, do not!");
  CHECK(decoded(R"({"type":"WordPiece","prefix":"##","cleanup":false})", {"##a", "##b", "."}) == "##ab .");
  CHECK(decoded(R"({"type":"ByteLevel"})", {"\u0120\u00c3", "\u00a9"}) == " \u00e9");
  CHECK(decoded(R"({"type":"ByteLevel"})", {"\u4f60", "a b"}) ==
        "\u4f60"
        "a b");
  CHECK(decoded(R"({"type":"ByteFallback"})", {"a", "<0xC3>", "<0xA9>", "b"}) ==
        "a\u00e9"
        "b");
  CHECK(decoded(R"({"type":"ByteFallback"})", {"<0x41>", "<0xC3>", "b", "<0xG1>"}) ==
        "\ufffd\ufffd"
        "b<0xG1>");
  CHECK(decoded(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"always"})", {"_a", "_b_"}) ==
        "a b ");
  CHECK(decoded(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"never"})", {"_a", "_b"}) ==
        " a b");
  CHECK(decoded(R"({"type":"BPEDecoder","suffix":"</w>"})", {"a</w>", "b", "c</w>"}) == "a bc");
  CHECK(decoded(R"({"type":"Strip","content":" ","start":1,"stop":0})", {"  a ", " b"}) == " a b");
  CHECK(
      decoded(
          R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"_"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})",
          {"_a", "_b"}) == "a b");
}

TEST_CASE("added tokens: where they match, and what they take along") {
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
  CHECK(t.vocab_size() == 26);
  CHECK(t.encode("a[CLS]B") == Ids{3, 1, 4});
  CHECK(t.encode("[cls]") == Ids{11, 0, 12});  // looked for before the text is made lower case
  CHECK(t.encode("x a X") == Ids{23, 3, 23});  // normalised: "X" is looked for as "x", after it
  CHECK(t.encode("Y y") == Ids{25, 15});
  CHECK(t.encode("one oneb bone a.one") == Ids{22, 14, 0, 3, 0, 22});
  CHECK(t.encode("a <l><r> b") == Ids{3, 24, 4});  // the longest
  Json spaces = json;                              // without a pre-tokenizer that drops them, the blanks show
  spaces["pre_tokenizer"] = nullptr;
  spaces["model"]["vocab"][" "] = 16;
  spaces["model"]["vocab"]["a "] = 17;
  const auto s = make(spaces);
  CHECK(s.encode("a <l> <r> a") == Ids{3, 20, 16, 21, 3});
  CHECK(s.encode("a [CLS] a") == Ids{17, 1, 0});
  CHECK(t.decode(Ids{1, 3, 23}) == "a X");
  CHECK(t.decode(Ids{1, 3, 23}, {.skip_special_tokens = false}) == "[CLS] a X");
  CHECK(t.is_special(1));
  CHECK(!t.is_special(23));
  CHECK(t.token_to_id("<l>") == 20);
  CHECK(t.id_to_token(20) == "<l>");
  CHECK(contains(error_of([&] { t.id_to_token(19); }), "19"));  // in the gap
  CHECK(contains(error_of([&] { t.decode(Ids{26}); }), "26"));
}

TEST_CASE("templates, pairs and truncation") {
  Json json = words();
  json["post_processor"] = Json::parse(R"({"type":"TemplateProcessing",
    "single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],
    "pair":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}},
            {"Sequence":{"id":"B","type_id":1}},{"SpecialToken":{"id":"[SEP]","type_id":1}}],
    "special_tokens":{"[CLS]":{"id":"[CLS]","ids":[1],"tokens":["[CLS]"]},"[SEP]":{"id":"[SEP]","ids":[2],"tokens":["[SEP]"]}}})");
  const auto t = make(json);
  CHECK(t.encode("a b") == Ids{1, 3, 4, 2});
  CHECK(t.encode("a b", {.add_special_tokens = false}) == Ids{3, 4});
  CHECK(t.encode("") == Ids{1, 2});
  const auto pair = t.encode_pair("a b", "c");
  CHECK(pair.ids == Ids{1, 3, 4, 2, 5, 2});
  CHECK(pair.type_ids == Ids{0, 0, 0, 0, 1, 1});
  CHECK(t.encode_pair("a", "b", {.add_special_tokens = false}).type_ids == Ids{0, 1});

  CHECK(t.encode("a b c", {.max_length = 4}) == Ids{1, 3, 4, 2});
  CHECK(t.encode("a b c", {.max_length = 2}) == Ids{1, 2});
  CHECK(t.encode("a b c", {.add_special_tokens = false, .max_length = 2}) == Ids{3, 4});
  CHECK(contains(error_of([&] { t.encode("a", {.max_length = 1}); }), "max_length 1"));
  const auto cut = [&](std::size_t n, Truncation how) {
    return t.encode_pair("a b c d e", "f g", {.max_length = n, .truncation = how}).ids;
  };
  CHECK(cut(10, Truncation::longest_first) == Ids{1, 3, 4, 5, 6, 7, 2, 8, 9, 2});
  CHECK(cut(8, Truncation::longest_first) == Ids{1, 3, 4, 5, 2, 8, 9, 2});
  CHECK(cut(6, Truncation::longest_first) == Ids{1, 3, 4, 2, 8, 2});
  CHECK(cut(8, Truncation::only_first) == Ids{1, 3, 4, 5, 2, 8, 9, 2});
  CHECK(cut(9, Truncation::only_second) == Ids{1, 3, 4, 5, 6, 7, 2, 8, 2});
  CHECK(contains(error_of([&] { cut(7, Truncation::only_second); }), "2 ids"));

  json["post_processor"] = Json::parse(R"({"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]})");
  CHECK(make(json).encode_pair("a", "b").type_ids == Ids{0, 0, 0, 1, 1});
  json["post_processor"] = Json::parse(
      R"({"type":"RobertaProcessing","sep":["[SEP]",2],"cls":["[CLS]",1],"trim_offsets":true,"add_prefix_space":true})");
  CHECK(make(json).encode_pair("a", "b").ids == Ids{1, 3, 2, 2, 4, 2});
  CHECK(make(json).encode_pair("a", "b").type_ids == Ids{0, 0, 0, 0, 0, 0});
  const Json roberta = json["post_processor"];
  json["post_processor"] = {{"type", "Sequence"},
                            {"processors", Json::array({Json::object({{"type", "ByteLevel"}}), roberta})}};
  CHECK(make(json).encode("a") == Ids{1, 3, 2});
}

TEST_CASE("the unigram model takes the most probable cut") {
  const auto t = make(Json::parse(R"({"model":{"type":"Unigram","unk_id":0,
    "vocab":[["<unk>",0],["a",-2],["b",-2],["ab",-3],["abc",-9],["c",-1],["bc",-2.5]]}})"));
  CHECK(t.encode("ab") == Ids{3});
  CHECK(t.encode("abc") == Ids{3, 5});  // -4 against -4.5 (a, bc) and -9
  CHECK(t.encode("axyb") == Ids{1, 0, 2});
  CHECK(t.encode("\u00e9") == Ids{0});
  const auto bytes = make(Json::parse(R"({"model":{"type":"Unigram","unk_id":0,"byte_fallback":true,
    "vocab":[["<unk>",0],["a",-2],["<0xC3>",-9],["<0xA9>",-9]]}})"));
  CHECK(bytes.encode("a\u00e9"
                     "b") == Ids{1, 0});  // one run, of which not every byte is a token
  CHECK(bytes.encode("a\u00e9") == Ids{1, 2, 3});
  const auto none = make(Json::parse(R"({"model":{"type":"Unigram","vocab":[["a",-2]]}})"));
  CHECK(contains(error_of([&] { none.encode("b"); }), "unk_id"));
}

TEST_CASE("what is unknown, missing or contradictory is named") {
  const auto error = [](const char* pointer, const Json& value) {
    Json json = words();
    json["added_tokens"] = Json::array({added(1, "[CLS]")});
    json[Json::json_pointer(pointer)] = value;
    return error_of([&] { make(json); });
  };
  CHECK(error("/version", "1.0") == "");
  CHECK(contains(error("/version", "2.0"), "2.0"));
  CHECK(contains(error("/surprise", 1), "surprise"));
  CHECK(contains(error("/normalizer", {{"type", "Magic"}}),
                 "tokenizer.json.normalizer: unknown normalizer \"Magic\""));
  CHECK(contains(error("/normalizer", {{"type", "NFC"}, {"extra", 1}}), "extra"));
  CHECK(contains(error("/normalizer",
                       {{"type", "Sequence"}, {"normalizers", Json::array({Json::object({{"type", "X"}})})}}),
                 "normalizers[0]"));
  CHECK(contains(error("/normalizer", "NFC"), "expected an object"));
  CHECK(contains(error("/normalizer", {{"type", "Replace"}, {"content", ""}}), "pattern"));
  CHECK(contains(error("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}}), "trie"));
  CHECK(contains(error("/pre_tokenizer", {{"type", "Magic"}}), "Magic"));
  CHECK(contains(error("/pre_tokenizer", {{"type", "Punctuation"}, {"behavior", "Odd"}}), "Odd"));
  CHECK(contains(error("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}}), "one character"));
  CHECK(contains(error("/post_processor", {{"type", "Magic"}}), "Magic"));
  CHECK(contains(error("/post_processor", {{"type", "BertProcessing"},
                                           {"sep", Json::array({"[SEP]", 2})},
                                           {"cls", Json::array({"x", 999})}}),
                 "999"));
  CHECK(contains(error("/post_processor", {{"type", "BertProcessing"},
                                           {"sep", Json::array({"[SEP]", 2})},
                                           {"cls", Json::array({"x", -1})}}),
                 "cls"));
  CHECK(contains(error("/decoder", {{"type", "CTC"}}), "CTC"));
  CHECK(contains(error("/model/type", "Magic"), "Magic"));
  CHECK(contains(error("/model/vocab", 3), "model.vocab"));
  CHECK(contains(error("/model", nullptr), "model"));
  CHECK(contains(error("/added_tokens/0/id", 3), "\"[CLS]\""));
  CHECK(contains(error("/added_tokens/0/content", "new"), "[CLS]"));
  CHECK(contains(error("/added_tokens/0/id", 4'000'000), "too large"));
  CHECK(contains(error("/added_tokens/0/id", -4), "id"));
  CHECK(contains(error("/added_tokens/0/extra", 1), "extra"));
  CHECK(contains(error("/added_tokens", 1), "added_tokens"));
  Json deep = {{"type", "NFC"}};
  for (int i = 0; i < 1000; ++i) deep = {{"type", "Sequence"}, {"normalizers", Json::array({deep})}};
  CHECK(contains(error("/normalizer", deep), "nested"));
  const auto bpe = [](const char* fields) {
    return error_of([&] {
      make(Json::parse(std::string(R"({"model":{"type":"BPE","vocab":{"a":0},)") + fields + "}}"));
    });
  };
  CHECK(bpe(R"("merges":[],"dropout":null)") == "");
  CHECK(contains(bpe(R"("merges":[],"dropout":0.1)"), "dropout"));
  CHECK(contains(bpe(R"("merges":[["a"]])"), "merges[0]"));
  CHECK(contains(bpe(R"("merges":["ab"])"), "merges[0]"));
  CHECK(contains(bpe(R"("merges":[],"what":1)"), "what"));
}

TEST_CASE("folders without a tokenizer.json") {
  const Folder bert;
  bert.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nHello\n");
  CHECK(Tokenizer::open(bert.path).encode("Hello [MASK]hello") == Ids{2, 5, 4, 5, 3});
  CHECK(Tokenizer::open(bert.path / "vocab.txt").encode("Hello") == Ids{2, 5, 3});
  bert.write("tokenizer_config.json", R"({"do_lower_case":false})");
  CHECK(Tokenizer::open(bert.path).encode("Hello") == Ids{2, 6, 3});
  CHECK(Tokenizer::open(bert.path).encode_pair("Hello", "hello").type_ids == Ids{0, 0, 0, 1, 1});
  bert.write("tokenizer.json", words().dump());  // comes first
  CHECK(Tokenizer::open(bert.path).encode("a") == Ids{3});

  const Folder bpe;
  bpe.write("vocab.json", R"({"<s>":0,"</s>":1,"<mask>":2,"a":3,"\u0120":4,"\u0120a":5})");
  bpe.write("merges.txt", "#version: 0.2\n\u0120 a\n");
  CHECK(Tokenizer::open(bpe.path).encode("a a <mask>") ==
        Ids{0, 3, 5, 2, 1});  // <mask> takes the blank before it
  CHECK(Tokenizer::open(bpe.path).encode_pair("a", "a").ids == Ids{0, 3, 1, 1, 3, 1});
  bpe.write("tokenizer_config.json", R"({"tokenizer_class":"GPT2Tokenizer","add_prefix_space":true,
    "added_tokens_decoder":{"7":{"content":"<x>","lstrip":false,"rstrip":false,"single_word":false,"normalized":false,"special":true}}})");
  CHECK(Tokenizer::open(bpe.path).encode("a<x>") == Ids{5, 7});
  bpe.write("tokenizer_config.json", R"({"tokenizer_class":"OddTokenizer"})");
  CHECK(contains(error_of([&] { Tokenizer::open(bpe.path); }), "OddTokenizer"));

  const Folder empty;
  CHECK(contains(error_of([&] { Tokenizer::open(empty.path); }), "no tokenizer.json"));
  CHECK(contains(error_of([&] { Tokenizer::open(empty.path / "absent.json"); }), "absent.json"));
  empty.write("tokenizer.model", "not a model");
#ifdef ATTEND_WITH_SENTENCEPIECE
  CHECK(contains(error_of([&] { Tokenizer::open(empty.path); }), "not a SentencePiece model"));
#else
  CHECK(contains(error_of([&] { Tokenizer::open(empty.path); }), "install"));
#endif
}

TEST_CASE("a damaged tokenizer.json is refused or works, never worse") {
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
      error_of([&] {
        const auto t = make(attend::text::parse_json(bad, "bad.json"));
        ++loaded;
        for (std::int32_t id : t.encode("a b [CLS] <l>"))
          CHECK(static_cast<std::size_t>(id) < t.vocab_size());
      });
    }
  CHECK(loaded > 0);
  for (std::size_t n = 0; n < whole.size(); ++n)
    CHECK(contains(error_of([&] { attend::text::parse_json(whole.substr(0, n), "cut.json"); }),
                   "cut.json: byte "));
}

namespace {

// Feeds the ids one by one: each part must be whole characters, and all of them the decoded text.
void check_stream(const Tokenizer& t, const Ids& ids, const Strings& expected = {}) {
  StreamingDecoder stream(t);
  Strings parts;
  std::string all;
  for (std::int32_t id : ids) {
    parts.push_back(stream.push(id));
    CHECK(attend::text::find_malformed_utf8(parts.back()) == std::string::npos);
    all += parts.back();
  }
  all += stream.finish();
  CHECK(all == t.decode(ids));
  if (!expected.empty()) CHECK(parts == expected);
}

}  // namespace

TEST_CASE("streaming") {
  const auto bytes = make(Json::parse(R"({"model":{"type":"BPE","merges":[],
    "vocab":{"\u00f0":0,"\u0141":1,"\u013a":2,"\u0122":3,"a":4,"\u0120a":5,"\u00f0\u0141":6,"<e>":7,"\u0122\u00f0":8}},
    "added_tokens":[{"id":7,"content":"<e>","special":true,"normalized":false}],
    "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"}})"));
  const Ids smile = bytes.encode("\U0001F600");  // f0 9f 98 80: as characters 00f0 0141 013a 0122
  REQUIRE(smile.size() == 4);
  check_stream(bytes, {4, smile[0], smile[1], smile[2], smile[3], 5}, {"a", "", "", "", "\U0001F600", " a"});
  check_stream(bytes, {6, 2, 8, 1, 2, 3, 7, 4}, {"", "", "\U0001F600", "", "", "\U0001F600", "", "a"});
  check_stream(bytes, {0, 4, 1, 4},
               {"",
                "\ufffd"
                "a",
                "\ufffd", "a"});   // malformed
  check_stream(bytes, {4, 0, 1});  // cut off: finish says so
  check_stream(bytes, {});

  const auto llama =
      make(Json::parse(R"({"model":{"type":"BPE","merges":[],"byte_fallback":true,"unk_token":"<unk>",
    "vocab":{"<unk>":0,"<0xC3>":1,"<0xA9>":2,"_a":3,"b":4,"_":5,"<0x0A>":6}},
    "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"_"},"content":" "},{"type":"ByteFallback"},
      {"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}})"));
  check_stream(llama, {3, 3, 1, 2, 6, 4, 5, 5, 3}, {"a", " a", "", "\u00e9", "\n", "b", " ", " ", " a"});
  check_stream(llama, {5, 3, 3}, {"", " a", " a"});  // only the first blank of the text goes
  check_stream(llama, {1, 4, 2, 1, 4, 1});
  check_stream(llama, {2, 1, 2, 4});  // a malformed run stays malformed

  // Two blanks go, but those inside the text stay, though each token alone would lose its own.
  const auto two = make(Json::parse(R"({"model":{"type":"BPE","merges":[],"vocab":{"a":0,"_":1,"_a":2}},
    "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"_"},"content":" "},
      {"type":"Fuse"},{"type":"Strip","content":" ","start":2,"stop":0}]}})"));
  check_stream(two, {1, 1, 0, 1, 2, 1, 1, 1, 2}, {"", "", "a", " ", " a", " ", " ", " ", " a"});
  // A character that was shown stays, though decode takes the whole run of bytes for malformed.
  StreamingDecoder shown(llama);
  CHECK(shown.push(1) == "");
  CHECK(shown.push(2) == "\u00e9");
  CHECK(shown.push(1) == "");
  CHECK(shown.push(4) ==
        "\ufffd"
        "b");
  CHECK(shown.finish() == "");

  const auto pieces = make(Json::parse(
      R"({"model":{"type":"WordPiece","vocab":{"[UNK]":0,"un":1,"##able":2,"!":3}},"decoder":{"type":"WordPiece"}})"));
  check_stream(pieces, {1, 2, 1, 3}, {"un", "able", " un", "!"});
  check_stream(make(words()), {3, 4}, {"a", " b"});  // no decoder: blanks between

  StreamingDecoder again(llama);
  again.push(1);
  CHECK(again.finish() == "\ufffd");
  CHECK(again.push(3) == "a");  // as new
  CHECK(contains(error_of([&] { again.push(99); }), "99"));

  const fs::path folder = published("weights/stories260K");
  if (folder.empty()) return;
  const auto stories = Tokenizer::open(folder);
  for (const auto& c : attend::text::parse_json(slurp(folder / "cases.json"), "cases.json"))
    check_stream(stories, c["greedy_64"].get<Ids>());
  check_stream(stories, stories.encode("caf\u00e9 \u4f60\u597d \U0001F600\u2603\nzz"));
}
