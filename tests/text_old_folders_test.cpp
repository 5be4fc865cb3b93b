// Folders from before tokenizer.json give the ids that a tokenizer.json with the same contents gives.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/text/file.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/tokenizer.hpp>

#include "support.hpp"

using attend_test::error_of;
using attend_test::Folder;
using attend_test::model_folder;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

using Ids = std::vector<std::int32_t>;
using attend::text::Json;
using attend::text::read_text;
using attend::text::Tokenizer;

/// Texts with what tokenizers treat in ways of their own: blanks, digits, contractions, other scripts,
/// special tokens.
const std::vector<std::string> kTexts = {"Hello, world! It's 12345 and they'll see.",
                                         " two  blanks\tand a tab \n\n line",
                                         "naïve café, ΑΒΓ дом 東京 🙂",
                                         "",
                                         "a",
                                         "once upon a time there was a cat",
                                         "the <s> cat</s> and <unk> <pad> [MASK] <mask> <|endoftext|> end"};

void check_same(const Tokenizer& a, const Tokenizer& b, const std::vector<std::string>& texts = kTexts) {
  for (const std::string& text : texts) {
    SCOPED_TRACE(text);
    const Ids ids = b.encode(text);
    EXPECT_EQ(a.encode(text), ids);
    EXPECT_EQ(a.decode(ids), b.decode(ids));
  }
}

Json special(const std::string& content, std::uint64_t id) {
  return {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
}

// A SentencePiece file is a protocol buffer (sentencepiece_model.proto): fields of a number and a type, 0 a
// varint, 2 bytes after their length, 5 a float.
std::string varint(std::uint64_t n) {
  std::string out;
  for (; n >= 0x80; n >>= 7) out += static_cast<char>(n | 0x80);
  return out + static_cast<char>(n);
}
std::string field(int number, std::uint64_t value) {
  return varint(static_cast<std::uint64_t>(number) << 3) + varint(value);
}
std::string field(int number, const std::string& bytes) {
  return varint((static_cast<std::uint64_t>(number) << 3) | 2) + varint(bytes.size()) + bytes;
}
std::string field(int number, float value) {
  std::string out = varint((static_cast<std::uint64_t>(number) << 3) | 5);
  const auto bits = std::bit_cast<std::uint32_t>(value);
  for (int i = 0; i < 4; ++i) out += static_cast<char>(bits >> (8 * i));
  return out;
}

enum Kind { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };
struct Piece {
  std::string text;
  float score;
  Kind kind = kNormal;
};
enum ModelType { kUnigram = 1, kBpe = 2 };

/// `pieces` holds the unknown token at `unk`; start and end token are <s> and </s> where they are there.
std::string sentencepiece_file(const std::vector<Piece>& pieces, ModelType type, bool remove_extra_blanks) {
  std::string file;
  const auto id_of = [&](const std::string& text) {
    const auto at =
        std::find_if(pieces.begin(), pieces.end(), [&](const Piece& p) { return p.text == text; });
    return at == pieces.end() ? ~std::uint64_t{0} : static_cast<std::uint64_t>(at - pieces.begin());
  };
  for (const Piece& p : pieces)
    file += field(1, field(1, p.text) + field(2, p.score) + field(3, static_cast<std::uint64_t>(p.kind)));
  const bool bytes =
      std::any_of(pieces.begin(), pieces.end(), [](const Piece& p) { return p.kind == kByte; });
  file += field(2, field(3, static_cast<std::uint64_t>(type)) + field(4, pieces.size()) +
                       field(35, std::uint64_t{bytes}) + field(40, id_of("<unk>")) + field(41, id_of("<s>")) +
                       field(42, id_of("</s>")) + field(43, id_of("<pad>")));
  file += field(3, field(1, std::string("identity")) + field(3, std::uint64_t{1}) +
                       field(4, std::uint64_t{remove_extra_blanks}) + field(5, std::uint64_t{1}));
  return file;
}

/// Words of a small language as pieces of a unigram model, with all their letters.
std::vector<Piece> words(const std::vector<std::string>& list) {
  std::vector<Piece> pieces;
  float score = -2;
  for (const std::string& word : list) pieces.push_back({word, score -= 0.25f});
  for (char c = 'a'; c <= 'z'; ++c) pieces.push_back({std::string(1, c), score -= 0.125f});
  for (const char* sign : {"▁", ",", ".", "!", "'", "<", ">", "/", "é"})
    pieces.push_back({sign, score -= 0.125f});
  return pieces;
}
const std::vector<std::string> kEnglish = {"▁the", "▁a",   "▁cat", "▁once", "▁upon", "▁time", "▁th",
                                           "ere",  "▁was", "on",   "ce",    "at",    "ime",   "▁and"};
const std::vector<std::string> kFrench = {"▁le", "▁chat", "▁une", "▁fois", "▁il", "▁était", "ait"};

/// The tokenizer.json of pieces with these ids, as transformers converts such files.
Json unigram(const std::vector<Piece>& pieces, const std::map<std::string, std::uint64_t>& ids,
             const Json& added) {
  Json vocab = Json::array();
  for (std::size_t i = 0; i < ids.size(); ++i)
    vocab.push_back(Json::array({"<unused" + std::to_string(i) + ">", -1000.0}));
  for (const auto& [text, id] : ids) vocab[id] = Json::array({text, 0.0});
  for (const Piece& p : pieces) vocab[ids.at(p.text)] = Json::array({p.text, p.score});
  const Json blanks = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}, {"split", true}};
  return {
      {"version", "1.0"},
      {"model", {{"type", "Unigram"}, {"vocab", vocab}, {"unk_id", ids.at("<unk>")}}},
      {"pre_tokenizer",
       {{"type", "Sequence"}, {"pretokenizers", Json::array({{{"type", "WhitespaceSplit"}}, blanks})}}},
      {"decoder", blanks},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single", Json::array({{{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                                {{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}}})},
        {"pair", Json::array({{{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                              {{"Sequence", {{"id", "B"}, {"type_id", 0}}}}})},
        {"special_tokens",
         {{"</s>",
           {{"id", "</s>"}, {"ids", Json::array({ids.at("</s>")})}, {"tokens", Json::array({"</s>"})}}}}}}},
      {"added_tokens", added}};
}
std::map<std::string, std::uint64_t> numbered(const std::vector<Piece>& pieces) {
  std::map<std::string, std::uint64_t> ids;
  for (const Piece& p : pieces) ids.emplace(p.text, ids.size());
  return ids;
}
const std::vector<std::string> kPlain = {
    "once upon a time there was a cat", "the cat, the  cat and the é", " a ", "", "thé!", "zebra 東京 x"};

TEST(OldFolder, OfFairseqsModelsHasOtherIdsThanItsFile) {
  // The ids are those that transformers 5.24 gives such a folder.
  std::vector<Piece> pieces = {{"<unk>", 0, kUnknown}, {"<s>", 0, kControl}, {"</s>", 0, kControl}};
  for (const Piece& p : words(kEnglish)) pieces.push_back(p);
  const Folder old;
  old.write("sentencepiece.bpe.model", sentencepiece_file(pieces, kUnigram, true));
  const Tokenizer plain = Tokenizer::open(old.path / "sentencepiece.bpe.model");
  const auto size = static_cast<std::int32_t>(pieces.size());
  const auto with = [&](const std::string& kind, const std::string& more = "") {
    old.write("tokenizer_config.json", R"({"tokenizer_class": ")" + kind + "\"" + more + "}");
    return Tokenizer::open(old.path);
  };
  const auto ids_of = [&](std::string_view text, Ids front, std::int32_t shift, const Ids& behind) {
    for (std::int32_t id : plain.encode(text)) front.push_back(id == 0 ? 3 : id + shift);
    front.insert(front.end(), behind.begin(), behind.end());
    return front;
  };
  for (const std::string text : {"the cat was once", "q日本 the", "", "  a  b "}) {
    SCOPED_TRACE(text);
    EXPECT_EQ(with("XLMRobertaTokenizer").encode(text), ids_of(text, {0}, 1, {2}));
    EXPECT_EQ(with("CamembertTokenizer").encode(text), ids_of(text, {5}, 4, {6}));
    EXPECT_EQ(with("MBartTokenizer").encode(text), ids_of(text, {}, 1, {2, size + 4}));  // en_XX
    EXPECT_EQ(with("MBartTokenizer", R"(, "src_lang": "ar_AR")").encode(text),
              ids_of(text, {}, 1, {2, size + 1}));
    EXPECT_EQ(with("MBart50Tokenizer", R"(, "src_lang": "sl_SI")").encode(text),
              ids_of(text, {size + 52}, 1, {2}));
  }
  const Tokenizer roberta = with("XLMRobertaTokenizerFast");
  EXPECT_EQ(roberta.vocab_size(), pieces.size() + 2);
  EXPECT_EQ(roberta.token_to_id("<mask>"), size + 1);
  EXPECT_EQ(roberta.token_to_id("<pad>"), 1);
  EXPECT_EQ(roberta.decode(roberta.encode("the cat")), "the cat");
  Ids pair = roberta.encode("the");
  pair.push_back(2);
  for (std::int32_t id : plain.encode("cat")) pair.push_back(id + 1);
  pair.push_back(2);
  EXPECT_EQ(roberta.encode_pair("the", "cat").ids, pair);
  // A mask takes the blank before it along.
  const Ids the = plain.encode("the"), cat = plain.encode("cat");
  EXPECT_EQ(roberta.encode("the <mask> cat"), (Ids{0, the[0] + 1, size + 1, cat[0] + 1, 2}));
  EXPECT_EQ(with("MBart50Tokenizer").vocab_size(), pieces.size() + 1 + 52 + 1);
  EXPECT_THAT(error_of([&] { with("NllbTokenizer"); }), HasSubstr("NllbTokenizer needs a tokenizer.json"));
  EXPECT_THAT(error_of([&] { with("MBartTokenizer", R"(, "src_lang": "xx")"); }), HasSubstr("no token xx"));
}

}  // namespace

TEST(OldFolder, OfBertGivesTheIdsOfItsTokenizerJson) {
  const Json vocab =
      attend::read_json(model_folder("tokenizers/wordpiece") / "tokenizer.json")["model"]["vocab"];
  std::vector<std::string> tokens(vocab.size());
  for (const auto& [token, id] : vocab.items()) tokens[id.get<std::size_t>()] = token;
  std::string text;
  for (const std::string& token : tokens) text += token + "\n";
  for (const bool cased : {false, true}) {
    Json added = Json::array();
    for (const char* token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})
      added.push_back(special(token, vocab[token]));
    const Json json = {{"model", {{"type", "WordPiece"}, {"vocab", vocab}, {"unk_token", "[UNK]"}}},
                       {"normalizer", {{"type", "BertNormalizer"}, {"lowercase", !cased}}},
                       {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                       {"decoder", {{"type", "WordPiece"}}},
                       {"post_processor",
                        {{"type", "BertProcessing"},
                         {"cls", {"[CLS]", vocab["[CLS]"]}},
                         {"sep", {"[SEP]", vocab["[SEP]"]}}}},
                       {"added_tokens", added}};
    const Folder old;
    old.write("vocab.txt", text);
    old.write("config.json", R"({"model_type":"bert"})");
    if (cased)
      old.write("tokenizer_config.json", R"({"do_lower_case":false,"tokenizer_class":"BertTokenizer"})");
    check_same(Tokenizer::open(old.path), Tokenizer::from_json(json.dump(), "json"));
  }
}

/// What vocab.json and merges.txt of GPT-2 hold, for folders and tokenizer.json of its kin.
struct ByteLevelFiles {
  std::string merges;
  Json vocab;
  std::uint64_t end_of_text = 0;  // the last id
  Json pairs = Json::array();

  ByteLevelFiles() {
    const Json model =
        attend::read_json(model_folder("tokenizers/byte_level_bpe") / "tokenizer.json")["model"];
    vocab = model["vocab"];
    merges = "#version: 0.2\n";
    for (const Json& pair : model["merges"]) {
      pairs.push_back(pair[0].get<std::string>() + " " + pair[1].get<std::string>());
      merges += pairs.back().get<std::string>() + "\n";
    }
    vocab["<|endoftext|>"] = end_of_text = vocab.size();
  }
  Json json(const Json& added) const {
    return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", pairs}}},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
            {"decoder", {{"type", "ByteLevel"}}},
            {"added_tokens", added}};
  }
};

// What class of tokenizer it is stands in config.json where there is no tokenizer_config.json.
TEST(OldFolder, OfGpt2GivesTheIdsOfItsTokenizerJson) {
  const ByteLevelFiles files;
  const Folder old;
  old.write("merges.txt", files.merges);
  old.write("vocab.json", files.vocab.dump());
  old.write("config.json", R"({"model_type":"gpt2"})");
  check_same(Tokenizer::open(old.path),
             Tokenizer::from_json(
                 files.json(Json::array({special("<|endoftext|>", files.end_of_text)})).dump(), "json"));
}

TEST(OldFolder, OfQwenGivesTheIdsOfItsTokenizerJson) {
  ByteLevelFiles files;
  files.vocab.erase("<|endoftext|>");
  const Folder old;
  old.write("merges.txt", files.merges);
  old.write("vocab.json", files.vocab.dump());
  for (const std::string& said : {std::string("qwen2"), std::string("qwen3")}) {
    old.write("config.json", R"({"model_type":")" + said + "\"}");
    Json qwen = files.json(Json::array({special("<|endoftext|>", files.end_of_text)}));
    const Json split = {
        {"type", "Split"},
        {"pattern",
         {{"Regex",
           R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
        {"behavior", "Isolated"}};
    const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
    qwen["normalizer"] = {{"type", "NFC"}};
    qwen["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array({split, bytes})}};
    check_same(Tokenizer::open(old.path), Tokenizer::from_json(qwen.dump(), "json"));
  }
  std::filesystem::remove(old.path / "config.json");
  const auto decoded = [](const char* content) {
    return Json{{"content", content}, {"lstrip", false},      {"normalized", false},
                {"rstrip", false},    {"single_word", false}, {"special", true}};
  };
  old.write("tokenizer_config.json",
            Json{{"tokenizer_class", "Qwen2Tokenizer"},
                 {"added_tokens_decoder",
                  {{std::to_string(files.end_of_text), decoded("<|endoftext|>")},
                   {std::to_string(files.end_of_text + 1), decoded("<|im_start|>")}}}}
                .dump());
  EXPECT_THAT(Tokenizer::open(old.path).encode("<|im_start|><|endoftext|>"),
              ElementsAre(files.end_of_text + 1, files.end_of_text));
}

// RoBERTa numbers the same tokens after its own.
TEST(OldFolder, OfRobertaGivesTheIdsOfItsTokenizerJson) {
  ByteLevelFiles files;
  files.vocab.erase("<|endoftext|>");
  Json shifted = {{"<s>", 0}, {"<pad>", 1}, {"</s>", 2}, {"<unk>", 3}, {"<mask>", files.vocab.size() + 4}};
  for (const auto& [token, id] : files.vocab.items()) shifted[token] = id.get<std::uint64_t>() + 4;
  files.vocab = shifted;
  const Folder old;
  old.write("merges.txt", files.merges);
  old.write("vocab.json", files.vocab.dump());
  Json added = Json::array();
  for (const char* token : {"<s>", "<pad>", "</s>", "<unk>", "<mask>"})
    added.push_back(special(token, files.vocab[token]));
  Json roberta = files.json(added);
  roberta["post_processor"] = {{"type", "RobertaProcessing"}, {"sep", {"</s>", 2}}, {"cls", {"<s>", 0}}};
  for (const char* type : {"roberta", "bart", "some_other"}) {
    old.write("config.json", Json{{"model_type", type}}.dump());
    check_same(Tokenizer::open(old.path), Tokenizer::from_json(roberta.dump(), "json"));
  }
  std::filesystem::remove(old.path / "merges.txt");
  EXPECT_THAT(error_of([&] { Tokenizer::open(old.path); }), HasSubstr("merges.txt"));
}

// As the classes of transformers make them, with what stands beside them.
TEST(OldFolder, OfPairsHasWhatItsFilesAndItsClassSay) {
  const ByteLevelFiles files;
  const auto end = static_cast<std::int32_t>(files.end_of_text);
  const Folder old;
  old.write("merges.txt", files.merges);
  old.write("vocab.json", files.vocab.dump());
  old.write("tokenizer_config.json",
            R"({"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true, "pad_token": "<p>",
                "unk_token": {"content": "<u>", "lstrip": true, "normalized": false}})");
  old.write("added_tokens.json", Json{{"<q>", end + 1}}.dump());
  const auto ids = Tokenizer::open(old.path).encode("<q><p> <u>");
  EXPECT_THAT(ids, ElementsAre(end, end + 1, end + 3, end + 2));  // the unknown token stands before the other
  const auto pair = Tokenizer::open(old.path).encode_pair("<q>", "<p>");
  EXPECT_THAT(pair.ids, ElementsAre(end, end + 1, end, end + 3));
  EXPECT_THAT(pair.type_ids, ElementsAre(0, 0, 1, 1));
  old.write("tokenizer_config.json", R"({"tokenizer_class": "GPTNeoXTokenizer"})");
  EXPECT_EQ(Tokenizer::open(old.path).encode("e\u0301"), Tokenizer::open(old.path).encode("\u00e9"));
  old.write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer"})");
  EXPECT_THAT(error_of([&] { Tokenizer::open(old.path); }),
              HasSubstr("tokenizer_class BertTokenizer needs a tokenizer.json"));
}

TEST(OldFolder, OfLlamaGivesTheIdsOfItsTokenizerJson) {
  const std::filesystem::path folder = model_folder("tokenizers/byte_fallback_bpe");
  const Json json = Json::parse(read_text(folder / "tokenizer.json"));
  // A BPE file has no merges but scores: the pair whose union has the highest is joined first.
  const Json& vocab = json["model"]["vocab"];
  std::vector<Piece> pieces(vocab.size());
  for (const auto& [text, id] : vocab.items()) {
    const bool byte = text.size() == 6 && text.starts_with("<0x");
    pieces[id.get<std::size_t>()] = {text, byte ? 0.0f : -10000.0f, byte ? kByte : kNormal};
  }
  pieces[0].kind = kUnknown;
  pieces[1].kind = pieces[2].kind = kControl;
  float score = 0;
  for (const Json& merge : json["model"]["merges"]) {
    const std::string pair = merge.is_string()
                                 ? merge.get<std::string>()
                                 : merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    const std::size_t cut = pair.find(' ', 1);
    Piece& whole = pieces[vocab.at(pair.substr(0, cut) + pair.substr(cut + 1)).get<std::size_t>()];
    if (whole.score == -10000.0f) whole.score = score -= 1;
  }
  const Folder old;
  old.write("tokenizer.model", sentencepiece_file(pieces, kBpe, false));
  old.write("config.json", R"({"model_type":"llama"})");
  const Tokenizer tokenizer = Tokenizer::open(old.path), modern = Tokenizer::open(folder);
  check_same(tokenizer, modern);
  const Json cases = Json::parse(read_text(folder / "cases.json"));
  int count = 0;
  for (const Json& c : cases) {
    SCOPED_TRACE(c["text"].get<std::string>());
    EXPECT_EQ(tokenizer.encode(c["text"].get<std::string>()), c["ids"].get<Ids>());
    ++count;
  }
  EXPECT_GT(count, 2);
  // Without a start token where the folder says so, and with tokens that were added later.
  old.write("tokenizer_config.json", R"({"tokenizer_class":"LlamaTokenizer","add_bos_token":false})");
  old.write("added_tokens.json", R"({"<pad>":)" + std::to_string(vocab.size()) + "}");
  EXPECT_EQ(Tokenizer::open(old.path).vocab_size(), vocab.size() + 1);
  EXPECT_THAT(Tokenizer::open(old.path).encode("<pad></s>"), ElementsAre(vocab.size(), 2));
}

TEST(OldFolder, OfT5GivesTheIdsOfItsTokenizerJson) {
  std::vector<Piece> pieces = {{"<pad>", 0, kControl}, {"</s>", 0, kControl}, {"<unk>", 0, kUnknown}};
  for (const Piece& p : words(kEnglish)) pieces.push_back(p);
  const Folder old;
  old.write("spiece.model", sentencepiece_file(pieces, kUnigram, true));
  const std::uint64_t size = pieces.size();
  old.write("config.json", Json{{"model_type", "t5"}, {"vocab_size", size + 128}}.dump());
  Json added = Json::array({special("<pad>", 0), special("</s>", 1), special("<unk>", 2)});
  for (std::uint64_t i = 0; i < 100; ++i)
    added.push_back(special("<extra_id_" + std::to_string(i) + ">", size + 99 - i));
  std::vector<std::string> texts = kPlain;
  texts.insert(texts.end(), {"the <extra_id_0> was <extra_id_99>", "a cat</s> the", "<pad>"});
  check_same(Tokenizer::open(old.path),
             Tokenizer::from_json(unigram(pieces, numbered(pieces), added).dump(), "json"), texts);
  EXPECT_EQ(Tokenizer::open(old.path).vocab_size(), size + 100);
  old.write("config.json", Json{{"model_type", "t5"}, {"vocab_size", size}}.dump());  // no rows for extra ids
  EXPECT_EQ(Tokenizer::open(old.path).vocab_size(), size);
  EXPECT_EQ(Tokenizer::open(old.path).encode("cat").back(), 1);
}

TEST(OldFolder, OfMarianGivesTheIdsOfItsTokenizerJson) {
  const std::vector<Piece> first = {{"<unk>", 0, kUnknown}, {"<s>", 0, kControl}, {"</s>", 0, kControl}};
  std::vector<Piece> source = first, target = first;
  for (const Piece& p : words(kEnglish)) source.push_back(p);
  for (const Piece& p : words(kFrench)) target.push_back(p);
  // One vocabulary for both, in an order of its own.
  std::map<std::string, std::uint64_t> ids = {{"</s>", 0}, {"<unk>", 1}};
  for (const auto* side : {&target, &source})
    for (const Piece& p : *side)
      if (p.kind == kNormal) ids.emplace(p.text, ids.size());
  for (const char* more : {">>fra<<", "<pad>"}) ids.emplace(more, ids.size());
  const Folder old;
  old.write("source.spm", sentencepiece_file(source, kUnigram, true));
  old.write("target.spm", sentencepiece_file(target, kUnigram, true));
  old.write("vocab.json", Json(ids).dump());
  old.write("config.json", R"({"model_type":"marian"})");
  Json added = Json::array();
  for (const char* token : {"</s>", "<unk>", "<pad>", ">>fra<<"})
    added.push_back(special(token, ids.at(token)));
  std::vector<Piece> mine;
  for (const Piece& p : source)
    if (p.kind != kControl || p.text == "</s>") mine.push_back(p);
  Json json = unigram(mine, ids, added);
  for (Json& entry : json["model"]["vocab"])  // pieces of the target alone are none of the source's
    if (std::none_of(mine.begin(), mine.end(), [&](const Piece& p) { return p.text == entry[0]; }))
      entry[1] = -1000.0;
  std::vector<std::string> texts = kPlain;
  texts.insert(texts.end(), {">>fra<< the cat", "le chat était"});
  const Tokenizer tokenizer = Tokenizer::open(old.path);
  check_same(tokenizer, Tokenizer::from_json(json.dump(), "json"), texts);
  Ids french;
  for (const char* piece : {"▁une", "▁fois", ",", "▁il", "▁était", "</s>", "<pad>"})
    french.push_back(static_cast<std::int32_t>(ids.at(piece)));
  EXPECT_EQ(tokenizer.decode(french), "une fois, il était");
  for (const char* gone : {"target.spm", "vocab.json"}) {
    std::filesystem::rename(old.path / gone, old.path / "away");
    EXPECT_THAT(error_of([&] { Tokenizer::open(old.path); }), HasSubstr(gone));
    std::filesystem::rename(old.path / "away", old.path / gone);
  }
}

TEST(OldFolder, OfM2M100HasItsLanguagesBehindThePieces) {
  std::vector<Piece> pieces = {
      {"<s>", 0, kControl}, {"<pad>", 0, kControl}, {"</s>", 0, kControl}, {"<unk>", 0, kUnknown}};
  std::map<std::string, std::uint64_t> ids = {{"<s>", 0}, {"<pad>", 1}, {"</s>", 2}, {"<unk>", 3}};
  const std::vector<Piece> english = words(kEnglish);
  for (const Piece& p : english) pieces.push_back(p);
  for (auto p = english.rbegin(); p != english.rend(); ++p) ids.emplace(p->text, ids.size());
  const Folder old;
  old.write("sentencepiece.bpe.model", sentencepiece_file(pieces, kUnigram, true));
  old.write("vocab.json", Json(ids).dump());
  old.write("config.json", R"({"model_type":"m2m_100"})");
  const auto id = [&](const char* piece) { return static_cast<std::int32_t>(ids.at(piece)); };
  const std::int32_t size = static_cast<std::int32_t>(ids.size());
  const Tokenizer tokenizer = Tokenizer::open(old.path);
  EXPECT_EQ(tokenizer.vocab_size(), ids.size() + 100);
  EXPECT_EQ(tokenizer.token_to_id("__af__"), size);
  EXPECT_EQ(tokenizer.token_to_id("__zu__"), size + 99);
  const std::int32_t english_id = *tokenizer.token_to_id("__en__");
  EXPECT_EQ(english_id, size + 18);  // its place among transformers' FAIRSEQ_LANGUAGE_CODES
  EXPECT_TRUE(tokenizer.is_special(english_id));
  EXPECT_EQ(tokenizer.encode("the cat"), (Ids{english_id, id("▁the"), id("▁cat"), 2}));
  EXPECT_EQ(tokenizer.decode(Ids{english_id, id("▁the"), id("▁cat"), 2}), "the cat");
  old.write("tokenizer_config.json", R"({"tokenizer_class":"M2M100Tokenizer","src_lang":"zu"})");
  EXPECT_EQ(Tokenizer::open(old.path).encode("the")[0], size + 99);
  old.write("tokenizer_config.json", R"({"tokenizer_class":"M2M100Tokenizer","src_lang":"tlh"})");
  EXPECT_THAT(error_of([&] { Tokenizer::open(old.path); }), HasSubstr("__tlh__"));
  old.write("tokenizer_config.json", R"({"tokenizer_class":"M2M100Tokenizer","language_codes":"wmt21"})");
  EXPECT_THAT(error_of([&] { Tokenizer::open(old.path); }), HasSubstr("language_codes"));
  std::filesystem::remove(old.path / "vocab.json");
  EXPECT_THAT(error_of([&] { Tokenizer::open(old.path); }), HasSubstr("vocab.json"));
}

TEST(OldFolder, OfControlSymbolsAloneIsAnError) {
  std::vector<Piece> pieces = {{"<unk>", 0, kUnknown}};
  for (int i = 0; i < 2000; ++i) pieces.push_back({"<" + std::to_string(i) + ">", 0, kControl});
  const Folder old;
  old.write("spiece.model", sentencepiece_file(pieces, kUnigram, true));
  EXPECT_THAT(error_of([&] { Tokenizer::open(old.path); }), HasSubstr("2000 control symbols"));
}

// Of each kind, with all that changes what a text is cut into; tests/golden/make_pieces.py has the library
// say it.
TEST(SentencePiece, GivesTheIdsAndTextsOfItsLibrary) {
  for (const Json& golden :
       attend::read_json(std::filesystem::path(ATTEND_SOURCE_DIR) / "tests/golden/pieces.json")) {
    SCOPED_TRACE(golden["name"]);
    const std::map<std::string, std::string> files = {
        {"x.model", attend::text::detail::decode_base64(golden["model"].get<std::string>(), "model")}};
    const Tokenizer tokenizer = Tokenizer::open(attend::Location(files) / "x.model");
    for (const Json& example : golden["cases"]) {
      const Ids ids = example["ids"].get<Ids>();
      if (example.contains("text")) {
        const std::string text = example["text"];
        EXPECT_EQ(tokenizer.encode(text), ids) << text;
        std::vector<std::size_t> offsets;
        for (const auto& [begin, end] : tokenizer.encode_single(text, {.offsets = true}).offsets)
          offsets.insert(offsets.end(), {begin, end});
        EXPECT_EQ(offsets, example["offsets"].get<std::vector<std::size_t>>()) << text;
      }
      EXPECT_EQ(tokenizer.decode(ids, {.skip_special_tokens = false}), example["decoded"].get<std::string>())
          << example["ids"];
    }
  }
}
