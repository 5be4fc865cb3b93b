// Loads the files that DIR/manifest.tsv lists (file, verdict, class, origin), each by what it is, and says
// which are not met as the verdict demands: "reject" is an attend::Error, "accept" a load, "either" one of
// them. Whatever the verdict, a file of n bytes may take 32 n + 1 MB of memory (JSON) or 4 n + 1 MB (others),
// and a second where it is below 1 MB.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include <attend/gguf/folder.hpp>
#include <attend/io/config.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/json/json.hpp>
#include <attend/model/bert_families.hpp>
#include <attend/model/causal_families.hpp>
#include <attend/model/modernbert.hpp>
#include <attend/model/seq2seq_families.hpp>
#include <attend/text/byte_level.hpp>
#include <attend/text/tokenizer.hpp>
#include <attend/text/wordpiece.hpp>

// Bytes that are in use through malloc, which operator new calls, and the most there were.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(ATTEND_NO_MALLOC_COUNT)
#include <malloc.h>
namespace {
std::atomic<long> in_use{0}, peak{0};
void* count(void* p) {
  if (p == nullptr) return p;
  const long now = in_use += static_cast<long>(malloc_usable_size(p));
  if (now > peak) peak = now;
  return p;
}
void uncount(void* p) {
  if (p != nullptr) in_use -= static_cast<long>(malloc_usable_size(p));
}
}  // namespace
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
void* malloc(std::size_t n) { return count(__libc_malloc(n)); }
void* calloc(std::size_t n, std::size_t size) { return count(__libc_calloc(n, size)); }
void* realloc(void* p, std::size_t n) {
  const long before = p != nullptr ? static_cast<long>(malloc_usable_size(p)) : 0;
  void* result = __libc_realloc(p, n);
  if (result != nullptr || n == 0) in_use -= before;
  return count(result);
}
void* memalign(std::size_t alignment, std::size_t n) { return count(__libc_memalign(alignment, n)); }
void* aligned_alloc(std::size_t alignment, std::size_t n) { return count(__libc_memalign(alignment, n)); }
int posix_memalign(void** p, std::size_t alignment, std::size_t n) {
  *p = count(__libc_memalign(alignment, n));
  return *p != nullptr ? 0 : ENOMEM;
}
void free(void* p) {
  uncount(p);
  __libc_free(p);
}
}
#else
namespace {
std::atomic<long> in_use{0}, peak{0};
}
#endif

namespace {
namespace fs = std::filesystem;
using namespace attend;

/// What a verdict demands besides loading or not, such as a text that does not come back.
struct Wrong {
  std::string what;
};

void write(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

/// A folder for what a file needs beside it.
struct Scratch {
  fs::path path = fs::temp_directory_path() /
                  ("attend_malformed_" + std::to_string(std::hash<std::string>()(std::to_string(
                                             std::chrono::steady_clock::now().time_since_epoch().count()))));
  Scratch() { fs::create_directories(path); }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  /// A small tokenizer of GPT-2's kind, without one of its files.
  void add_tokenizer(const std::string& without) const {
    if (without != "vocab.json") write(path / "vocab.json", R"({"a":0,"b":1,"ab":2,"<|endoftext|>":3})");
    if (without != "merges.txt") write(path / "merges.txt", "#version: 0.2\na b\n");
  }
};

bool loaded = false;  // whatever comes behind this is no fault of a file alone

void use(const text::Tokenizer& tokenizer) {
  loaded = true;
  for (std::int32_t id : tokenizer.encode("ab a\xff\xc3\xa9 \xe4\xbd\xa0"))
    if (id < 0 || static_cast<std::size_t>(id) >= tokenizer.vocab_size())
      throw Wrong{"an id beyond the vocabulary"};
}

/// Bytes 0 to 255 as a vocabulary of GPT-2's kind with a few merges, so that any text can be encoded.
text::Tokenizer byte_level() {
  Scratch scratch;
  std::string vocab = "{";
  for (int byte = 0; byte < 256; ++byte)
    vocab += Json(text::bytes_to_characters(std::string(1, static_cast<char>(byte)))).dump() + ":" +
             std::to_string(byte) + ",";
  write(scratch.path / "vocab.json", vocab + "\"aa\":256,\"aaaa\":257}");
  write(scratch.path / "merges.txt", "a a\naa aa\n");
  return text::Tokenizer::open(scratch.path);
}

/// Text of any kind through tokenizers: it terminates, and byte-level BPE gives it back.
void load_text(const fs::path& file) {
  static const text::Tokenizer bpe = byte_level();
  const std::string bytes = attend::read_file(file);
  if (bpe.decode(bpe.encode(bytes)) != text::to_valid_utf8(bytes))
    throw Wrong{"decode(encode(text)) is another text"};
  Scratch scratch;
  write(scratch.path / "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nb\n");
  const text::Tokenizer wordpiece = text::Tokenizer::open(scratch.path);
  wordpiece.decode(wordpiece.encode(bytes));
}

void load_config(const fs::path& file) {
  const Config config(file);
  const std::string type = config.get<std::string>("model_type");
  const auto is = [&](std::initializer_list<const char*> types) {
    return std::find(types.begin(), types.end(), type) != types.end();
  };
  if (is({"t5", "mt5", "marian", "bart"})) return void(read_seq2seq_family(config));
  if (is({"bert", "roberta", "distilbert"})) return void(read_bert_family(config));
  if (is({"modernbert"})) return void(read_modernbert_options(config));
  read_causal_family(config);
}

/// Loads a file by what its folder and name say that it is.
void load(const fs::path& file) {
  const std::string name = file.filename().string(), extension = file.extension().string();
  const auto begins = [&](const char* what) { return name.starts_with(what); };
  if (extension == ".safetensors" || name.ends_with(".index.json")) {
    const SafeTensors tensors(file);
    unsigned sum = 0;
    for (const auto& entry : tensors.entries())
      for (std::size_t i = 0; i < entry.size; ++i) sum += static_cast<unsigned>(entry.data[i]);
    if (sum == 0xFFFFFFFFu) std::puts("");  // so that the bytes are read
  } else if (extension == ".gguf") {
    // Weights, tokens, and what the metadata say: a file that is broken in one of these need not have the
    // others.
    const SafeTensors tensors(file);
    if (name.starts_with("tokens")) use(text::Tokenizer::open(file));
    if (name.starts_with("model")) detail::open_causal_family(detail::model_folder(file));
  } else if (extension == ".spm" || extension == ".model") {
    use(text::Tokenizer::open(file));
  } else if (file.parent_path().filename() == "tokenizer_inputs") {
    load_text(file);
  } else if (begins("config") || begins("generation_config")) {
    load_config(file);
  } else if (begins("tokenizer_config") || begins("special_tokens_map") || begins("added_tokens")) {
    const Scratch scratch;
    scratch.add_tokenizer("");
    fs::copy_file(file, scratch.path / (begins("tokenizer_config") ? "tokenizer_config.json"
                                        : begins("special")        ? "special_tokens_map.json"
                                                                   : "added_tokens.json"));
    use(text::Tokenizer::open(scratch.path));
  } else if (begins("merges")) {
    // The vocabulary that the published ones are for lies beside them.
    const Scratch scratch;
    scratch.add_tokenizer("merges.txt");
    const fs::path beside = file.parent_path() / "vocab_ok.json";
    use(text::Tokenizer::from_vocab_and_merges(fs::exists(beside) ? beside : scratch.path / "vocab.json",
                                               file));
  } else if (begins("vocab") && extension == ".json") {
    const Scratch scratch;
    write(scratch.path / "merges.txt", "#version: 0.2\n");
    use(text::Tokenizer::from_vocab_and_merges(file, scratch.path / "merges.txt"));
  } else if (extension == ".txt") {
    const auto tokenizer = text::Tokenizer::open(file);
    loaded = true;
    try {
      tokenizer.encode("a unknown \xff");
    } catch (const Error&) {  // "no [UNK]" may come as late as here
    }
    for (std::size_t id = 0; id < std::min<std::size_t>(tokenizer.vocab_size(), 1000); ++id)
      for (const char* part : {"\r", "\xEF\xBB\xBF"})
        if (tokenizer.id_to_token(static_cast<std::int32_t>(id)).find(part) != std::string::npos)
          throw Wrong{"a token with what is no part of it"};
  } else if (extension == ".json") {
    use(text::Tokenizer::open(file));
  } else {
    throw Wrong{"cannot tell what it is"};
  }
}

/// What is wrong with how a file was met; empty: nothing.
std::string check(const fs::path& file, const std::string& verdict) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return "is missing";
  const auto size = static_cast<long>(fs::file_size(file, ignored));
  const bool text_input = file.parent_path().filename() == "tokenizer_inputs";
  if (text_input) load(file);  // what is made once is not the file's
  const long before = in_use;
  peak = before;
  const std::clock_t begin = std::clock();  // of the processor: a busy machine is not the file's fault
  std::optional<std::string> error;
  loaded = text_input;
  try {
    load(file);
  } catch (const Error& e) {
    error = e.what();
  } catch (const Wrong& wrong) {
    return wrong.what;
  } catch (const std::exception& e) {
    return "a foreign exception: " + std::string(e.what());
  }
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  const long used = peak - before;
  long bound = (file.extension() == ".json" ? 32 : 4) * size + 1'000'000;
  if (const fs::path vocab = file.parent_path() / "vocab_ok.json";
      file.filename().string().starts_with("merges") && fs::exists(vocab))
    bound += 32 * static_cast<long>(fs::file_size(vocab));  // which is read with it
  if (verdict == "reject" && !error) return "was accepted";
  if (verdict == "accept" && error) return "was refused: " + *error;
  if (error && error->find('\n') != std::string::npos) return "an error of several lines";
  // Files that are no tokenizer by themselves are copied into a folder that is.
  if (error && !loaded && error->find(file.filename().string()) == std::string::npos &&
      error->find("attend_malformed_") == std::string::npos)
    return "an error that names no file: " + *error;
  // A text's ids and pieces are no part of loading.
  if (!text_input && used > bound)
    return std::to_string(used) + " bytes of memory, at most " + std::to_string(bound);
  if (size < 1'000'000 && seconds > 1) return std::to_string(seconds) + " seconds";
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || std::string(argv[1]) == "--help") {
    std::fprintf(stderr,
                 "usage: attend_malformed DIR    DIR/manifest.tsv lists file, verdict, class and origin\n");
    return 2;
  }
  const fs::path folder = argv[1];
  std::ifstream manifest(folder / "manifest.tsv");
  if (!manifest) {
    std::fprintf(stderr, "attend_malformed: cannot open %s\n", (folder / "manifest.tsv").string().c_str());
    return 2;
  }
  int passed = 0, failed = 0;
  std::string line;
  while (std::getline(manifest, line)) {
    if (line.ends_with('\r')) line.pop_back();
    std::istringstream fields(line);
    std::string name, verdict, what;
    std::getline(fields, name, '\t');
    std::getline(fields, verdict, '\t');
    std::getline(fields, what, '\t');
    if (name.empty() || name.starts_with('#') || name == "file") continue;
    const bool known = verdict == "reject" || verdict == "accept" || verdict == "either";
    const std::string wrong = known ? check(folder / name, verdict) : "unknown verdict '" + verdict + "'";
    wrong.empty() ? ++passed : ++failed;
    if (!wrong.empty())
      std::printf("%s: %s (%s): %s\n", name.c_str(), verdict.c_str(), what.c_str(), wrong.c_str());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}
