// libFuzzer targets for everything that reads files and text: the environment's ATTEND_FUZZ_TARGET names one.
// Whatever the bytes are, they load or are an attend::Error, ids stay inside the vocabulary, and text comes
// back. tests/fuzz/run builds and runs them.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include <attend/gguf/folder.hpp>
#include <attend/io/config.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/json/json.hpp>
#include <attend/model/bert_families.hpp>
#include <attend/model/causal_families.hpp>
#include <attend/model/modernbert.hpp>
#include <attend/model/seq2seq_families.hpp>
#include <attend/text/bpe.hpp>
#include <attend/text/byte_level.hpp>
#include <attend/text/chat_template.hpp>
#include <attend/text/streaming_decoder.hpp>
#include <attend/text/tokenizer.hpp>
#include <attend/text/utf8.hpp>
#include <attend/text/wordpiece.hpp>

namespace {
using namespace attend;
using text::Tokenizer;

/// A file in memory that has a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : file_(::memfd_create("fuzz", 0)) {
    if (file_ < 0 || ::write(file_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      std::abort();
  }
  ~MemoryFile() { ::close(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

void demand(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// Encodes and decodes a text; gives the decoded one.
std::string there_and_back(const Tokenizer& tokenizer, std::string_view given) {
  const std::vector<std::int32_t> ids = tokenizer.encode(given, {.add_special_tokens = false});
  demand(ids.size() <= 4096 + 64 * given.size(), "as many ids as bytes, about");
  for (std::int32_t id : ids)
    demand(id >= 0 && static_cast<std::size_t>(id) < tokenizer.vocab_size(), "ids lie inside the vocabulary");
  const std::string decoded = tokenizer.decode(ids, {.skip_special_tokens = false});
  demand(text::find_malformed_utf8(decoded) == std::string::npos, "decoded text is UTF-8");
  text::StreamingDecoder stream(tokenizer);
  for (std::int32_t id : ids)
    demand(text::find_malformed_utf8(stream.push(id)) == std::string::npos, "pieces are UTF-8");
  stream.finish();
  return decoded;
}

void use(const Tokenizer& tokenizer) {
  for (const char* given : {"", "ab a", "Hello, world!  \t\n [CLS] <s>aa",
                            "\xff\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd \xcc\x81\xf0\x9f\x98\x80"}) {
    try {
      there_and_back(tokenizer, given);
      tokenizer.encode_pair(given, "b", {.max_length = 8});
    } catch (const Error&) {  // such as an unknown character where there is no token for one
    }
  }
  for (std::int32_t id : {-1, 0, 5, 2147483647}) {
    try {
      tokenizer.decode(std::vector<std::int32_t>{id});
    } catch (const Error&) {
    }
  }
}

void read_every(const SafeTensors& tensors) {
  for (const auto& entry : tensors.entries()) {
    unsigned sum = 0;
    for (std::size_t i = 0; i < entry.size; ++i) sum += static_cast<unsigned>(entry.data[i]);
    demand(sum < 0xFFFFFFFFu, "bytes can be read");
    demand(tensors.find(entry.name) != nullptr, "a tensor is found by its name");
    if (!detail::is_readable(entry.dtype)) continue;
    std::vector<float> values(static_cast<std::size_t>(entry.numel()));
    tensors.read_elements(entry, 0, entry.numel(), values.data());
  }
}

void safetensors(std::string_view bytes) {
  const MemoryFile file(bytes);
  read_every(SafeTensors(file.path()));
}

/// A file under a name, from its header to the tokens and what its metadata say of the model.
void gguf(std::string_view bytes) {
  const std::map<std::string, std::string_view> files{{"a.gguf", bytes}};
  const Location place = Location(files) / "a.gguf";
  const auto attempt = [](auto&& read) {
    try {
      read();
    } catch (const Error&) {
    }
  };
  attempt([&] { read_every(SafeTensors(place)); });
  attempt([&] { use(Tokenizer::open(place)); });
  attempt([&] { text::ChatTemplate::open(place); });
  attempt([&] { detail::open_causal_family(detail::model_folder(place)); });
  attempt([&] { read_bert_family(Config(detail::model_folder(place) / "config.json")); });
}

void config(std::string_view bytes) {
  const Config config(bytes, "config.json");
  const auto attempt = [&](auto&& read) {
    try {
      read();
    } catch (const Error&) {
    }
  };
  attempt([&] { read_seq2seq_family(config); });
  attempt([&] { read_bert_family(config); });
  attempt([&] { read_modernbert_options(config); });
  attempt([&] { read_causal_family(config); });
  config.finish();
}

void tokenizer(std::string_view bytes) { use(Tokenizer::from_json(bytes, "tokenizer.json")); }

Tokenizer made(const Json& json, const std::string& where) {
  return Tokenizer::from_json(json.dump(), where);
}

/// vocab.json, an empty line, merges.txt.
void vocab_and_merges(std::string_view bytes) {
  const std::size_t cut = std::min(bytes.find("\n\n"), bytes.size());
  const MemoryFile vocab(bytes.substr(0, cut)), merges(bytes.substr(std::min(cut + 2, bytes.size())));
  use(Tokenizer::from_vocab_and_merges(vocab.path(), merges.path()));
}

void vocab_txt(std::string_view bytes) {
  const MemoryFile file(bytes);
  const text::WordPieceModel model(text::Vocabulary::from_lines(file.path()), {});
  std::vector<std::int32_t> ids;
  for (const char* word : {"ab", "a", "unknown", "\xef\xbf\xbd"}) model.tokenize(word, ids);
  for (std::int32_t id : ids) demand(model.vocabulary().contains(id), "ids lie inside the vocabulary");
}

void pieces(std::string_view bytes) {
  const MemoryFile file(bytes);
  const text::SentencePiece model = text::read_sentencepiece(file.path());
  std::vector<std::int32_t> ids;
  model.model.tokenize("ab a\xe2\x96\x81", ids);
  for (std::int32_t id : ids) demand(model.model.vocabulary().contains(id), "ids lie inside the vocabulary");
}

/// Text into tokenizers of each kind.
void texts(std::string_view bytes) {
  static const Tokenizer byte_level = [] {
    Json vocab = Json::object();
    for (int byte = 0; byte < 256; ++byte)
      vocab[text::bytes_to_characters(std::string(1, static_cast<char>(byte)))] = byte;
    vocab["ab"] = 256, vocab["aab"] = 257,
    vocab
        ["\xC4\xA0"
         "a"] = 258;
    const Json merges = {"a b", "a ab", "\xC4\xA0 a"};
    return made({{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}},
                 {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                 {"decoder", {{"type", "ByteLevel"}}}},
                "byte level");
  }();
  static const std::vector<Tokenizer> others = [] {
    const Json blank = {{"type", "Metaspace"}, {"replacement", "\xE2\x96\x81"}, {"prepend_scheme", "always"}};
    Json bytes = Json::object(), scored = Json::array();
    bytes["<unk>"] = 0;
    scored.push_back(Json::array({"<unk>", 0.0}));
    for (int byte = 0; byte < 256; ++byte)
      bytes[text::byte_token(static_cast<unsigned char>(byte))] = byte + 1;
    for (const char* token : {"a", "b", "ab", "\xE2\x96\x81",
                              "\xE2\x96\x81"
                              "a",
                              "aba"}) {
      bytes[token] = bytes.size();
      scored.push_back(Json::array({token, -static_cast<double>(scored.size())}));
    }
    std::vector<Tokenizer> all;
    all.push_back(
        made({{"model",
               {{"type", "BPE"},
                {"vocab", bytes},
                {"merges", {"a b", "ab a", "\xE2\x96\x81 a"}},
                {"unk_token", "<unk>"},
                {"fuse_unk", true},
                {"byte_fallback", true}}},
              {"normalizer",
               {{"type", "Sequence"},
                {"normalizers",
                 {{{"type", "Prepend"}, {"prepend", "\xE2\x96\x81"}},
                  {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\xE2\x96\x81"}}}}}},
              {"added_tokens",
               Json::array({{{"id", 0}, {"content", "<unk>"}},
                            {{"id", 300}, {"content", "<x>"}, {"lstrip", true}, {"single_word", true}}})},
              {"decoder",
               {{"type", "Sequence"},
                {"decoders",
                 {{{"type", "Replace"}, {"pattern", {{"String", "\xE2\x96\x81"}}}, {"content", " "}},
                  {{"type", "ByteFallback"}},
                  {{"type", "Fuse"}},
                  {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}}},
             "pieces"));
    all.push_back(made({{"model", {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", scored}}},
                        {"normalizer", {{"type", "NFKC"}}},
                        {"pre_tokenizer", blank},
                        {"decoder", blank}},
                       "unigram"));
    all.push_back(made({{"model",
                         {{"type", "WordPiece"},
                          {"unk_token", "[UNK]"},
                          {"vocab", {{"[UNK]", 0}, {"a", 1}, {"##b", 2}, {"##ab", 3}, {".", 4}}}}},
                        {"normalizer", {{"type", "BertNormalizer"}}},
                        {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                        {"decoder", {{"type", "WordPiece"}}}},
                       "words"));
    return all;
  }();
  demand(there_and_back(byte_level, bytes) == text::to_valid_utf8(bytes),
         "byte-level BPE gives the text back");
  for (const Tokenizer& tokenizer : others) there_and_back(tokenizer, bytes);
}

/// A template, and behind a NUL byte the messages, which else are some that have what templates look at.
void chat_template(std::string_view bytes) {
  const std::size_t cut = (std::min)(bytes.find('\0'), bytes.size());
  const std::string_view messages =
      cut < bytes.size()
          ? bytes.substr(cut + 1)
          : R"([{"role": "system", "content": "s"}, {"role": "user", "content": " \u00e9<x>'\n"},
                {"role": "assistant", "content": "<think>a</think>b", "tool_calls": [{"id": "123456789", "type": "function",
                 "function": {"name": "f", "arguments": {"a": [1, 2.5, null, true], "b": {"c": "d"}}}}]},
                {"role": "tool", "content": [{"type": "text", "text": "t"}]}])";
  const std::string text =
      text::ChatTemplate(std::string(bytes.substr(0, cut)))
          .render(messages, {.tools = R"([{"function": {"name": "f", "parameters": {"items": 1}}}])",
                             .variables = R"({"bos_token": "<s>", "n": 3, "x": -1.5})",
                             .now = std::chrono::system_clock::time_point()});
  demand(text::find_malformed_utf8(text) == std::string::npos, "a template's text is UTF-8");
}

struct Target {
  const char* name;
  void (*run)(std::string_view bytes);
};
const Target targets[] = {{"safetensors", safetensors},
                          {"gguf", gguf},
                          {"config", config},
                          {"tokenizer", tokenizer},
                          {"vocab_and_merges", vocab_and_merges},
                          {"vocab_txt", vocab_txt},
                          {"pieces", pieces},
                          {"texts", texts},
                          {"template", chat_template}};

const Target& chosen() {
  const char* name = std::getenv("ATTEND_FUZZ_TARGET");
  for (const Target& target : targets)
    if (name != nullptr && std::string_view(name) == target.name) return target;
  std::fprintf(stderr, "ATTEND_FUZZ_TARGET names no target\n");
  std::exit(2);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Target& target = chosen();
  try {
    target.run({reinterpret_cast<const char*>(data), size});
  } catch (const Error&) {
  }
  return 0;
}
