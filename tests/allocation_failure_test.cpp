// Each allocation fails once: no leak, no std::terminate, an exception that a caller expects, and objects
// that work on. Counted are malloc and its kin, which operator new calls; blocks that are alive are counted,
// too.
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <attend/attend.hpp>
#include <attend/model/cached_prompt.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/generation_batch.hpp>
#include <attend/model/openai.hpp>
#include <attend/model/quantize.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/text_generator.hpp>
#include <attend/model/text_service.hpp>
#include <attend/model/translator.hpp>
#include <attend/text/streaming_decoder.hpp>

#include "gguf_writer.hpp"
#include "support.hpp"
#include "tiny_models.hpp"

#if !defined(__GLIBC__) || defined(__SANITIZE_THREAD__) || ATTEND_TEST_HAS_FEATURE(thread_sanitizer) || \
    ATTEND_TEST_HAS_FEATURE(memory_sanitizer)
TEST(AllocationFailure, ChangesNothing) {
  GTEST_SKIP() << "the allocations of this build cannot be replaced";
}
#else

namespace {
std::atomic<long> countdown{-1};  // the allocation that fails; below 0: none
std::atomic<long> alive{0};       // blocks
std::atomic<bool> failed{false};
// AddressSanitizer's own start of a thread ends the program without memory: under it the testing thread alone
// fails.
#if defined(__SANITIZE_ADDRESS__) || ATTEND_TEST_HAS_FEATURE(address_sanitizer)
thread_local bool may_fail = false;
#else
thread_local bool may_fail = true;
#endif

bool fails() {
  if (!may_fail) return false;
  if (countdown.load(std::memory_order_relaxed) < 0 || countdown.fetch_sub(1) != 0) return false;
  failed = true;
  errno = ENOMEM;
  return true;
}
void* counted(void* p) {
  if (p != nullptr) ++alive;
  return p;
}
}  // namespace

#if defined(__SANITIZE_ADDRESS__) || ATTEND_TEST_HAS_FEATURE(address_sanitizer)
#define ATTEND_TEST_REAL(name) __interceptor_##name
#else
#define ATTEND_TEST_REAL(name) __libc_##name
#endif
extern "C" {
void* ATTEND_TEST_REAL(malloc)(std::size_t);
void* ATTEND_TEST_REAL(calloc)(std::size_t, std::size_t);
void* ATTEND_TEST_REAL(realloc)(void*, std::size_t);
void* ATTEND_TEST_REAL(memalign)(std::size_t, std::size_t);
void ATTEND_TEST_REAL(free)(void*);
void* malloc(std::size_t n) { return fails() ? nullptr : counted(ATTEND_TEST_REAL(malloc)(n)); }
void* calloc(std::size_t n, std::size_t size) {
  return fails() ? nullptr : counted(ATTEND_TEST_REAL(calloc)(n, size));
}
void* realloc(void* p, std::size_t n) {
  if (fails()) return nullptr;
  void* moved = ATTEND_TEST_REAL(realloc)(p, n);
  if (p == nullptr) counted(moved);
  return moved;
}
void* memalign(std::size_t alignment, std::size_t n) {
  return fails() ? nullptr : counted(ATTEND_TEST_REAL(memalign)(alignment, n));
}
void* aligned_alloc(std::size_t alignment, std::size_t n) { return memalign(alignment, n); }
int posix_memalign(void** p, std::size_t alignment, std::size_t n) {
  return (*p = memalign(alignment, n)) != nullptr ? 0 : ENOMEM;
}
void free(void* p) {
  if (p != nullptr) --alive;
  ATTEND_TEST_REAL(free)(p);
}
}
// As the standard library's, so that a sanitizer's do not come between.
void* operator new(std::size_t n) {
  if (void* p = std::malloc(n > 0 ? n : 1)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t n, std::align_val_t alignment) {
  if (void* p = memalign(static_cast<std::size_t>(alignment), n > 0 ? n : 1)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return std::malloc(n > 0 ? n : 1); }
void* operator new(std::size_t n, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return memalign(static_cast<std::size_t>(alignment), n > 0 ? n : 1);
}
void* operator new[](std::size_t n) { return ::operator new(n); }
void* operator new[](std::size_t n, std::align_val_t alignment) { return ::operator new(n, alignment); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {
using namespace attend;
using namespace attend_test;

/// call() with the n-th allocation failing, for every n there is (of those beyond `dense` for some), and then
/// again: after a failure the second time must give what a run without failures gives. `make` makes what the
/// call works on; all of it is gone at the end.
template <class Make, class Call>
void fail_each(const char* what, Make make, Call call, long dense = 100) {
  SCOPED_TRACE(what);
  may_fail = true;
  const auto expected = [&] {
    auto object = make();
    return call(object);
  }();
  for (long n = 0;; n += 1 + n / dense) {
    const long before = alive;
    bool same = true;
    {
      auto object = make();
      failed = false;
      countdown = n;
      try {
        const auto result = call(object);
        countdown = -1;
        same = result == expected;
      } catch (const std::bad_alloc&) {
        countdown = -1;
      } catch (const Error&) {  // the system's own calls failed, or threads
        countdown = -1;
      } catch (const std::exception& error) {
        countdown = -1;
        ADD_FAILURE() << "allocation " << n << " left by " << error.what();
      }
      if (failed) same = same && call(object) == expected;
    }
    ASSERT_TRUE(same) << "another result after allocation " << n << " has failed";
    ASSERT_EQ(alive, before) << "a leak after allocation " << n << " has failed";
    if (!failed) return;
  }
}
template <class T, int Rank>
std::vector<T> values(const Tensor<T, Rank>& t) {
  return {t.span().begin(), t.span().end()};
}
const auto nothing = [] { return 0; };

TEST(AllocationFailure, IsSeen) {
  may_fail = true;
  failed = false;
  countdown = 1;
  const auto first = std::make_unique<int>(1);
  EXPECT_THROW(std::make_unique<int>(2), std::bad_alloc);
  EXPECT_TRUE(failed);
  countdown = 0;
  EXPECT_THROW(detail::AlignedArray<float>(5), std::bad_alloc);
  const long before = alive;
  auto leaked = std::make_unique<int>(3);
  EXPECT_EQ(alive, before + 1);
}

TEST(AllocationFailure, OfContextsAndLayers) {
  fail_each("Context", nothing, [](int) { return Context(1).threads(); });
  fail_each("Context of 3 threads", nothing, [](int) {
    Context context(3);
    std::atomic<int> calls{0};
    context.parallel(10, 3, [&](Index, int) { ++calls; });
    return calls.load();
  });
  fail_each("Context with an executor", nothing, [](int) {
    Context context(
        ContextOptions{.threads = 3, .executor = [](Index n, detail::FunctionRef<void(Index)> task) {
                         while (n > 0) task(--n);
                       }});
    std::atomic<int> calls{0};
    context.parallel(10, 3, [&](Index, int) { ++calls; });
    return calls.load();
  });
  fail_each("Linear", nothing, [](int) {
    Linear<float> layer({.in_features = 20, .out_features = 20});
    fill_parameters<float>(layer);
    const Linear<float> copy = layer;
    return copy.options().in_features;
  });
  fail_each("Encoder", nothing, [](int) {
    const Encoder<float> layer({.block = {.embed_dim = 16, .num_heads = 2, .dim_feedforward = 20},
                                .num_layers = 2,
                                .final_norm = true});
    const Encoder<float> copy = layer;
    return copy.layers().size();
  });
  // What holds arrays says that its copies may fail; else the program ends where they do.
  EXPECT_FALSE((std::is_nothrow_copy_assignable_v<detail::AlignedArray<float>>));
  EXPECT_FALSE((std::is_nothrow_copy_assignable_v<Tensor<float, 2>>));
  EXPECT_FALSE((std::is_nothrow_copy_assignable_v<Linear<float>>));
  EXPECT_FALSE((std::is_nothrow_copy_assignable_v<Rotary<float>>));
  EXPECT_FALSE((std::is_nothrow_copy_assignable_v<KVCache<float>>));
  fail_each(
      "a copy",
      [] {
        return std::pair(Linear<float>({.in_features = 20, .out_features = 20}),
                         Linear<float>({.in_features = 5, .out_features = 5}));
      },
      [](std::pair<Linear<float>, Linear<float>>& layers) {
        layers.second = layers.first;
        return layers.second.options().in_features;
      });
  fail_each(
      "a tensor's copy",
      [] {
        return std::pair(Tensor<float, 2>({20, 20}, 1.0f), Tensor<float, 2>({2, 2}));
      },
      [](std::pair<Tensor<float, 2>, Tensor<float, 2>>& tensors) {
        const auto sound = [](const Tensor<float, 2>& t) { return t.numel() == t.size(0) * t.size(1); };
        try {
          tensors.second = tensors.first;
        } catch (const std::bad_alloc&) {
          EXPECT_TRUE(sound(tensors.second));
          throw;
        }
        return sound(tensors.second);
      });
  fail_each("Rotary", nothing, [](int) { return Rotary<float>({.head_dim = 8}).options().head_dim; });
}

TEST(AllocationFailure, OfTheFirstForward) {
  Encoder<float> encoder(
      {.block = {.embed_dim = 32, .num_heads = 4, .dim_feedforward = 64}, .num_layers = 2});
  fill_parameters<float>(encoder);
  Encoder<double> doubles({.block = {.embed_dim = 16, .num_heads = 2, .dim_feedforward = 16}});
  fill_parameters<double>(doubles);
  const auto x = random_tensor<float, 3>({2, 60, 32});
  const auto small = random_tensor<double, 3>({2, 50, 16});
  Tensor<float, 3> average({2, 60, 60}), y(x.shape());
  for (const int threads : {1, 2}) {
    const auto make = [=] { return std::make_unique<Context>(threads); };
    fail_each("Encoder", make, [&](const std::unique_ptr<Context>& context) {
      encoder.forward(*context, x, {.self = {.mask = causal()}}, y.view());
      return values(y);
    });
    fail_each("average_weights", make, [&](const std::unique_ptr<Context>& context) {
      encoder.layers()[0].forward(*context, x, {}, y.view(), {.self = {.average_weights = average.view()}});
      return values(average);
    });
    fail_each("an Encoder of doubles", make, [&](const std::unique_ptr<Context>& context) {
      Tensor<double, 3> out(small.shape());
      doubles.forward(*context, small, {}, out.view());
      return values(out);
    });
  }
  const auto default_workspace = [] { return default_context().workspace().clear(), 0; };
  fail_each("operator()", default_workspace, [&](int) {
    const auto result = values(encoder(x));
    default_context().workspace().clear();
    return result;
  });
}

TEST(AllocationFailure, OfCaches) {
  const auto some = random_tensor<float, 4>({2, 2, 100, 8}),
             more = random_tensor<float, 4>({2, 2, 250, 8}, 2);
  const auto make = [&] {
    auto cache =
        std::make_unique<KVCache<float>>(KVCacheOptions{.batch = 2, .num_kv_heads = 2, .head_dim = 8});
    cache->append(some, some);
    return cache;
  };
  const auto contents = [](const KVCache<float>& cache) {  // as a number, so that nothing is allocated
    double sum = 0;
    std::array<float, 8> key, value;
    for (Index b = 0; b < cache.batch(); ++b)
      for (Index t = 0; t < cache.length(b); ++t) {
        cache.read(b, 1, t, key, value);
        sum = sum * 0.9 + static_cast<double>(key[0] + key[7] + 2 * value[3]);
      }
    return sum;
  };
  fail_each("append", make, [&](const std::unique_ptr<KVCache<float>>& cache) {
    cache->append(more, more);
    return contents(*cache);
  });
  fail_each("reserve", make, [&](const std::unique_ptr<KVCache<float>>& cache) {
    cache->reserve(1000);
    return contents(*cache);
  });
  fail_each("reorder", make, [&](const std::unique_ptr<KVCache<float>>& cache) {
    cache->reorder(std::vector<Index>{0, 1});
    return contents(*cache);
  });
  fail_each("fork", make, [&](const std::unique_ptr<KVCache<float>>& cache) {
    KVCache<float> copy = *cache;
    copy.fork(*cache, 1);
    copy.append(2, more[0], more[0]);
    return contents(copy);
  });
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const char* name)
      : path_(std::filesystem::temp_directory_path() / (std::string("attend_allocation_failure_") + name)) {}
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST(AllocationFailure, OfFiles) {
  Encoder<float> encoder({.block = {.embed_dim = 8, .num_heads = 2, .dim_feedforward = 8}});
  fill_parameters<float>(encoder);
  const TemporaryFile file("weights.safetensors"), other("other.safetensors");
  fail_each("save", nothing, [&](int) {
    save(encoder, other.path());
    return std::filesystem::file_size(other.path());
  });
  save(encoder, file.path());
  const auto x = random_tensor<float, 3>({1, 3, 8});
  const auto expected = encoder(x);
  fail_each("load", nothing, [&](int) {
    Encoder<float> loaded(encoder.options());
    load(loaded, SafeTensors(file.path()));
    return values(loaded(x)) == values(expected);
  });
  fail_each(
      "load again into one layer", [&] { return Encoder<float>(encoder.options()); },
      [&](Encoder<float>& loaded) {
        load(loaded, SafeTensors(file.path()));
        return values(loaded(x)) == values(expected);
      });
}

const char* const kTokenizer = R"({
  "version": "1.0", "truncation": null, "padding": null,
  "added_tokens": [{"id": 5, "content": "<end>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
  "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "post_processor": null, "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u0120ab": 4, "<end>": 5}, "merges": ["a b", "\u0120 ab"]}})";

// nlohmann's destructor of a value takes memory (a stack of what is inside), and ends the program where there
// is none: no value of the library comes to it with anything inside.
TEST(AllocationFailure, OfTokenizerFiles) {
  const TemporaryFile file("tokenizer.json");
  std::ofstream(file.path()) << kTokenizer;
  fail_each("a tokenizer", nothing, [&](int) {
    const text::Tokenizer tokenizer = text::Tokenizer::open(file.path());
    return tokenizer.decode(tokenizer.encode("AB ab<end>ba"));
  });
  for (const char* bad :
       {R"({"model": {"vocab": [1, 2, {"a": [3]}]})", R"({"version": [["2.0"]], "model": {"a": 1}})"}) {
    std::ofstream(file.path(), std::ios::trunc) << bad;
    fail_each("a tokenizer that is none", nothing, [&](int) {
      try {
        text::Tokenizer::open(file.path());
      } catch (const Error& error) {
        return std::string(error.what());
      }
      return std::string();
    });
  }
}

/// Writes files into a folder of their own.
class TemporaryFolder {
 public:
  TemporaryFolder() { std::filesystem::create_directories(path_); }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  void write(const char* name, const char* text) const { std::ofstream(path_ / name) << text; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_ = std::filesystem::temp_directory_path() / "attend_allocation_failure_folder";
};

TEST(AllocationFailure, OfOldTokenizerFolders) {
  const auto use = [](const TemporaryFolder& folder) {
    fail_each("a folder", nothing, [&](int) {
      const text::Tokenizer tokenizer = text::Tokenizer::open(folder.path());
      return tokenizer.encode("ab a");
    });
  };
  {
    const TemporaryFolder folder;
    folder.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n");
    folder.write("tokenizer_config.json", R"({"do_lower_case": false, "strip_accents": true,
        "added_tokens_decoder": {"7": {"content": "<x>"}}})");
    use(folder);
  }
  for (const char* config :
       {R"({"tokenizer_class": "GPT2Tokenizer"})", R"({"tokenizer_class": "Qwen2Tokenizer"})",
        R"({"tokenizer_class": "RobertaTokenizer", "unk_token": {"content": "a"}})"}) {
    const TemporaryFolder folder;
    folder.write("vocab.json", R"({"a":0,"b":1,"ab":2,"<s>":3,"</s>":4,"\u0120":5})");
    folder.write("merges.txt", "#version: 0.2\na b\n");
    folder.write("tokenizer_config.json", config);
    use(folder);
  }
}

// What stands around a vocabulary is made anew, and nlohmann's values that are made of lists would leak.
TEST(AllocationFailure, OfTokenizersOfClasses) {
  const std::string unigram = R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
      "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
      "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1], ["\u2581", -2], ["<s>", 0], ["</s>", 0],
                                                          ["en_XX", -3]]}})";
  const std::string word_piece =
      R"({"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
      "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}}})";
  for (const auto& [name, json] : {std::pair<std::string, std::string>{"BertTokenizer", word_piece},
                                   {"MPNetTokenizer", word_piece},
                                   {"RobertaTokenizer", kTokenizer},
                                   {"Qwen2Tokenizer", kTokenizer},
                                   {"LlamaTokenizer", kTokenizer},
                                   {"GemmaTokenizer", unigram},
                                   {"LlamaTokenizer", unigram},
                                   {"T5Tokenizer\", \"extra_ids\": 2, \"unk_token\": \"<unk>", unigram},
                                   {"AlbertTokenizer", unigram},
                                   {"XLMRobertaTokenizer", unigram},
                                   {"MBart50Tokenizer", unigram},
                                   {"PegasusTokenizer\", \"offset\": 3, \"src_lang\": \"x", unigram}}) {
    const Files files{{"tokenizer.json", json},
                      {"tokenizer_config.json", R"({"tokenizer_class": ")" + name + "\"}"}};
    fail_each(
        name.c_str(), nothing,
        [&](int) {
          try {
            return text::Tokenizer::open(files).encode("a a");
          } catch (const Error& error) {
            if (!failed) ADD_FAILURE() << error.what();
            throw;
          }
        },
        25);
  }
}

// libstdc++'s own ways to go below a folder, and through one, end the program.
TEST(AllocationFailure, OfLocations) {
  for (const auto& folder : {model_folder("tokenizers"), model_folder("tokenizers") / ""}) {
    fail_each("a file", nothing, [&](int) {
      return (Location(folder) / "a_name_that_is_longer_than_what_a_string_holds_itself").string();
    });
    fail_each("names", nothing, [&](int) {
      std::vector<std::string> names = Location(folder).names();
      std::sort(names.begin(), names.end());
      return names;
    });
  }
}

TEST(AllocationFailure, OfConfigs) {
  const TemporaryFile file("config.json");
  std::ofstream(file.path()) << R"({"a": {"b": [1, [2, 3]]}, "c": [{"d": 4}]})";
  fail_each("a config", nothing, [&](int) {
    const Config config(file.path());
    const Config inner = config.object("a");
    config.ignore({"c"});
    return inner.has("b");
  });
}

TEST(AllocationFailure, OfTokenizers) {
  const TemporaryFile file("tokenizer.json");
  std::ofstream(file.path()) << kTokenizer;
  const text::Tokenizer tokenizer = text::Tokenizer::open(file.path());
  fail_each("a text", nothing,
            [&](int) { return tokenizer.encode("AB ab<end>ba, and w\u00e4rmer: \u4e16"); });
  fail_each("ids", nothing, [&](int) {
    return tokenizer.decode(std::vector<std::int32_t>{0, 1, 2, 3, 4, 5});
  });
  fail_each("ids one by one", nothing, [&](int) {
    text::StreamingDecoder decoder(tokenizer);
    std::string text;
    for (std::int32_t id = 0; id < 6; ++id) text += decoder.push(id);
    return text + decoder.finish();
  });
}

TEST(AllocationFailure, OfModels) {
  const std::vector<std::int32_t> ids = random_ids(40, 40);
  const TensorView<const std::int32_t, 2> batch(ids.data(), {2, 20});
  const std::vector<Index> offsets{0, 15, 40};
  fail_each("BertModel", nothing, [](int) { return tiny_bert().options().vocab_size; });
  fail_each("CausalLM", nothing, [](int) { return tiny_causal_lm().options().vocab_size; });
  fail_each("Seq2Seq", nothing, [](int) { return tiny_seq2seq().options().source_vocab_size; });
  const BertModel<float> bert = tiny_bert();
  const CausalLM<float> lm = tiny_causal_lm();
  const Seq2Seq<float> seq2seq = tiny_seq2seq();
  for (const int threads : {1, 2}) {
    const auto make = [=] { return std::make_unique<Context>(threads); };
    fail_each("bert.forward", make, [&](const std::unique_ptr<Context>& context) {
      Tensor<float, 2> states({40, 32});
      bert.forward(*context, ids, {}, offsets, states.view());
      return values(states);
    });
    fail_each("lm.logits", make,
              [&](const std::unique_ptr<Context>& context) { return values(lm.logits(*context, batch)); });
    fail_each("seq2seq", make, [&](const std::unique_ptr<Context>& context) {
      const Tensor<float, 3> memory = seq2seq.encode(*context, batch);
      DecoderCache<float> cache = seq2seq.make_cache(*context, memory);
      return values(seq2seq.decode(*context, batch, cache));
    });
  }
}

TEST(AllocationFailure, OfGeneration) {
  const auto model = std::make_shared<const CausalLM<float>>(tiny_causal_lm());
  const std::vector<std::vector<std::int32_t>> prompts{random_ids(10, 40), random_ids(13, 40, 2)};
  Context context;
  for (GenerationOptions options :
       {GenerationOptions{.max_new_tokens = 6},
        GenerationOptions{.max_new_tokens = 6, .temperature = 1, .top_k = 9, .top_p = 0.8},
        GenerationOptions{.max_new_tokens = 4, .num_beams = 3}}) {
    options.eos_token_ids.emplace();
    const auto ids = [&](Generator& generator, std::size_t count) {
      std::vector<std::int32_t> all;
      for (const Generation& g : generator.generate(context, std::span(prompts).first(count), options))
        all.insert(all.end(), g.ids.begin(), g.ids.end());
      return all;
    };
    fail_each(
        "one prompt", [&] { return Generator(model); },
        [&](Generator& generator) { return ids(generator, 1); });
    fail_each(
        "two prompts", [&] { return Generator(model); },
        [&](Generator& generator) { return ids(generator, 2); });
    fail_each(
        "a conversation",
        [&] {
          Generator generator(model);
          generator.generate(context, random_ids(12, 40), options);
          return generator;
        },
        [&](Generator& generator) { return ids(generator, 1); });
  }
  const Seq2Seq<float> seq2seq = tiny_seq2seq();
  for (const Index beams : {1, 3})
    fail_each("seq2seq", nothing, [&](int) {
      return generate(context, seq2seq, prompts[0], {.max_new_tokens = 5, .num_beams = beams});
    });
}

TEST(AllocationFailure, OfReducedWeightsOfFiles) {
  Context context;
  const std::vector<std::int32_t> ids{1, 2, 3, 4, 5};
  const TensorView<const std::int32_t, 2> batch(ids.data(), {1, 5});
  const auto logits = [&](const char* what, const std::filesystem::path& path, const OpenOptions& open) {
    fail_each(what, nothing,
              [&](int) { return values(CausalLM<float>::open(path, open).logits(context, batch)); });
  };
  logits("int8", model_folder("qwen3"), {.weights = WeightType::int8});
  logits("int4, 15 bits", model_folder("llama"),
         {.weights = WeightType::int4, .activations = ActivationType::int16});
}

TEST(AllocationFailure, OfOpenedFoldersOfTexts) {
  const auto open_and_use = [](const char* what, auto&& use) {
    fail_each(
        what, [] { return std::make_unique<Context>(1); },
        [&](const std::unique_ptr<Context>& context) { return use(*context); }, 15);
  };
  for (const char* folder : {"pool_mean", "dense"})
    open_and_use(folder, [&](Context& context) {
      const auto encoder = SentenceEncoder::open(model_folder("sentence_transformers") / folder);
      return values(encoder.encode(context, {"a b", "c"}));
    });
  open_and_use("CrossEncoder", [](Context& context) {
    const auto encoder = CrossEncoder::open(model_folder("sentence_transformers/cross_encoder"));
    return values(encoder.score(context, "a", {"a b", "c"}));
  });
  for (const auto& place : {model_folder("stories"), gguf("stories")})
    open_and_use("TextGenerator", [&](Context& context) {
      return TextGenerator::open(place, {.max_new_tokens = 3}).generate(context, "Once").ids;
    });
  Files translator = files_of(model_folder("bart"));
  translator["tokenizer_config.json"] = R"({"tokenizer_class": "RobertaTokenizer"})";
  translator["tokenizer.json"] = R"({"model": {"type": "BPE", "merges": [],
      "vocab": {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5, "<mask>": 6}}})";
  open_and_use("Translator", [&](Context& context) {
    return Translator::open(translator, {.max_new_tokens = 3}).translate(context, "ab").ids;
  });
}

TEST(AllocationFailure, OfGgufFiles) {
  Context context;
  const std::int32_t ids[] = {1, 2, 3};
  for (const char* name :
       {"mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3_longrope", "llama3_rope"}) {
    const auto file = gguf(name);
    fail_each(
        name, nothing,
        [&](int) {
          return values(
              CausalLM<float>::open(file).logits(context, TensorView<const std::int32_t, 2>(ids, {1, 3})));
        },
        12);
  }
  for (const char* name : {"byte_level_bpe", "pieces", "pool_cls"}) {
    const auto file = gguf(name);
    fail_each(
        name, nothing, [&](int) { return text::Tokenizer::open(file).encode("a b"); }, 25);
  }
}

TEST(AllocationFailure, OfOpenAIsJson) {
  const auto generator = TextGenerator::open(model_folder("stories"), {.max_new_tokens = 4});
  const TextService::Piece piece{.text = "x",
                                 .token = TokenLogprob{.id = 300, .logprob = -1, .top = {{301, -2.0f}}}},
      last{.reason = FinishReason::stopped};
  for (const int logprobs : {0, 2})
    fail_each("a completion", nothing, [&](int) {
      const openai::Completion completion = openai::read_completion(
          generator,
          R"({"prompt": "Once", "n": 2, "seed": 1, "stop": ["x"], "presence_penalty": 0.0,
              "response_format": {"type": "text"}, "tool_choice": "none", "stream_options": {"include_usage": true},
              "logprobs": )" +
              std::to_string(logprobs) + "}",
          false, 5);
      openai::CompletionWriter writer(generator, completion, "m", "1");
      std::string all;
      for (const std::size_t choice : {0, 1}) all += writer.event(piece, choice) + writer.event(last, choice);
      for (const std::size_t choice : {0, 1}) writer.add(piece, choice);
      all += writer.whole();
      for (std::size_t at; (at = all.find("\"created\":")) != all.npos;) all.erase(at, 21);
      return all;
    });
  fail_each("a refusal", nothing, [&](int) {
    try {
      openai::read_completion(generator, R"({"prompt": "a", "functions": [[{"a": {}}]]})", false, 5);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  });
  const Tensor<float, 2> vectors({2, 2}, {1, -2, 0.5f, 3});
  fail_each("embeddings, ranks, models and errors", nothing, [&](int) {
    const auto asked = openai::read_embeddings(R"({"input": ["a", "b"], "encoding_format": "base64"})");
    const auto rank = openai::read_rerank(R"({"query": "q", "documents": ["a", {"text": "b"}],
                                              "return_documents": true})");
    return openai::write_embeddings(asked, vectors, 5, "m") +
           openai::write_embeddings({.inputs = {"a", "b"}}, vectors, 5, "m") +
           openai::write_rerank(rank, std::vector<float>{1, 2}, "m") +
           openai::write_models(std::vector<std::string>{"a", "b"}) + openai::write_model("a") +
           openai::write_error("a", "b");
  });
}

TEST(AllocationFailure, OfQuantizedFolders) {
  const std::filesystem::path out = std::filesystem::temp_directory_path() / "attend_allocation_failure_out";
  fail_each(
      "a folder", nothing,
      [&](int) {
        const long left = countdown.exchange(-1);
        std::filesystem::remove_all(out);
        countdown = left;
        std::size_t parameters = 0;
        quantize_folder(model_folder("sentence_transformers/pool_mean"), out, {.weights = WeightType::int8},
                        [&](const QuantizedParameter&, std::size_t, std::size_t) { ++parameters; });
        return std::pair(parameters, std::filesystem::exists(out / "1_Pooling" / "config.json"));
      },
      8);
  std::filesystem::remove_all(out);
}

TEST(AllocationFailure, OfATextService) {
  const auto make = [] {
    return std::make_unique<TextService>(TextGenerator::open(model_folder("stories"), {.max_new_tokens = 4}));
  };
  fail_each("requests", make, [](const std::unique_ptr<TextService>& service) {
    std::string text;
    auto stream = service->start({.ids = {1, 2, 3}, .options = {.max_new_tokens = 4}});
    while (const auto piece = stream.next()) text += piece->text;
    return text;
  });
}

TEST(AllocationFailure, OfRequestsInABatch) {
  const auto model = std::make_shared<const CausalLM<float>>(tiny_causal_lm());
  const auto run = [](GenerationBatch& batch, Context& context) {
    std::map<GenerationBatch::Ticket, std::vector<std::int32_t>> ids;
    while (!batch.idle())
      for (const GenerationBatch::Ended& ended : batch.step(context)) {
        if (ended.error) std::rethrow_exception(ended.error);
        ids[ended.ticket] = ended.generation.ids;
      }
    return ids;
  };
  const auto join = [&](GenerationBatch& batch) {
    GenerationOptions options{.max_new_tokens = 5};
    options.eos_token_ids.emplace();
    for (std::uint64_t seed = 1; seed < 4; ++seed) {
      batch.join(random_ids(100 + 10 * static_cast<Index>(seed), 40), options);
      options.temperature = 1, options.seed = seed;
    }
  };
  for (const int threads : {1, 2}) {
    const auto make = [&] {
      return std::pair(std::make_unique<GenerationBatch>(model), std::make_unique<Context>(threads));
    };
    fail_each("requests", make, [&](auto& object) {
      GenerationBatch batch(model);
      join(batch);
      return run(batch, *object.second);
    });
    // A step that fails loses nothing: the next one goes on.
    const auto expected = [&] {
      auto object = make();
      join(*object.first);
      return run(*object.first, *object.second);
    }();
    for (long n = 0;; n += 1 + n / 20) {
      const long before = alive;
      {
        auto object = make();
        join(*object.first);
        std::map<GenerationBatch::Ticket, std::vector<std::int32_t>> got;
        failed = false;
        countdown = n;
        while (!object.first->idle()) {
          try {
            auto all = object.first->step(*object.second);
            const long left = countdown.exchange(-1);  // the test's own allocations do not fail
            for (GenerationBatch::Ended& ended : all)
              if (!ended.error) got[ended.ticket] = std::move(ended.generation.ids);
            countdown = left;
          } catch (const std::bad_alloc&) {
          } catch (const Error&) {
          }
        }
        countdown = -1;
        for (const auto& [ticket, ids] : got) EXPECT_EQ(ids, expected.at(ticket)) << n;
        if (!failed) {
          EXPECT_EQ(got.size(), expected.size());
        }
        EXPECT_GE(got.size() + 1, expected.size()) << n;  // one at most by an error of its own
      }
      ASSERT_EQ(alive, before) << "a leak after allocation " << n << " has failed";
      if (!failed) break;
    }
  }
}

TEST(AllocationFailure, OfKeptPrompts) {
  const CausalLM<float> model = tiny_causal_lm();
  Context context;
  const TemporaryFile file("prompt.safetensors");
  const std::vector<std::int32_t> ids = random_ids(120, 40);
  fail_each("compute and save", nothing, [&](int) {
    CachedPrompt::compute(context, model, ids).save(file.path(), "a model");
    return std::filesystem::file_size(file.path());
  });
  fail_each("load and go on", nothing, [&](int) {
    CachedPrompt prompt = CachedPrompt::load(file.path(), model, "a model");
    Tensor<float, 3> logits({1, 1, model.options().vocab_size});
    const std::int32_t next = 3;
    model.forward(context, TensorView<const std::int32_t, 2>(&next, {1, 1}), prompt.cache, logits);
    return values(logits);
  });
}

}  // namespace
#endif
