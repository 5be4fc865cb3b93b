// The caller's floating-point environment (rounding, subnormals that are flushed) changes no bit of what
// models, files and texts give; layers' own are in context_test.cpp.
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <attend/attend.hpp>
#include <attend/json/json.hpp>
#include <attend/model/classifier.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/openai.hpp>
#include <attend/model/quantize.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/text_generator.hpp>
#include <attend/model/translator.hpp>

#include "gguf_writer.hpp"
#include "support.hpp"
#include "tiny_models.hpp"

namespace {
using namespace attend;
using namespace attend_test;

using Numbers = std::vector<double>;
template <class T, int Rank>
Numbers numbers(const Tensor<T, Rank>& t) {
  return {t.span().begin(), t.span().end()};
}

/// What is asked, and by which name it fails.
struct Case {
  std::string name;
  std::function<Numbers()> run;
};

Numbers logits(const Location& folder, const OpenOptions& open = {}) {
  const std::int32_t ids[] = {3, 9, 4, 17, 25, 8};
  return numbers(CausalLM<float>::open(folder, open).logits(TensorView<const std::int32_t, 2>(ids, {1, 6})));
}
Numbers generated(const GenerationOptions& options) {
  auto generator = TextGenerator::open(model_folder("stories"), options);
  const TextGeneration out = generator.generate("Once upon");
  Numbers all(out.ids.begin(), out.ids.end());
  for (const TokenLogprob& token : out.logprobs) all.push_back(static_cast<double>(token.logprob));
  return all;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](const std::string& name, std::function<Numbers()> run) {
    all.push_back({name, std::move(run)});
  };
  add("JSON", [] {
    Numbers out;
    const auto json =
        share_json("[0.1, 0.3, 1e-40, 4.9406564584124654e-324, 1.7976931348623157e308, 1e-5]", "x");
    for (const Json& number : *json) out.push_back(number.get<double>());
    return out;
  });
  for (const char* folder : {"llama", "llama3_rope", "phi3_longrope", "gemma2", "gemma3_text", "gpt2",
                             "bloom", "granite", "gpt_neox", "olmo2"})
    add(folder, [=] { return logits(model_folder(folder)); });
  for (const WeightType type :
       {WeightType::float16, WeightType::bfloat16, WeightType::int8, WeightType::int4})
    add(std::string("llama as ") + to_string(type),
        [=] { return logits(model_folder("llama"), {.weights = type}); });
  for (const char* file : {"qwen2", "gemma2", "phi3_longrope"})
    add(std::string("GGUF ") + file, [=] { return logits(gguf(file)); });
  add("GGUF types", [] {
    const SafeTensors file(gguf("types"));
    Numbers out;
    for (const SafeTensors::Entry& entry : file.entries()) {
      std::vector<double> values(static_cast<std::size_t>(entry.numel()));
      file.read_elements(entry, 0, entry.numel(), values.data());
      out.insert(out.end(), values.begin(), values.end());
    }
    return out;
  });
  add("greedy", [] { return generated({.max_new_tokens = 8, .logprobs = 3}); });
  add("sampled", [] {
    return generated({.max_new_tokens = 12, .temperature = 0.7, .top_k = 30, .top_p = 0.9, .seed = 5});
  });
  add("beams", [] { return generated({.max_new_tokens = 8, .num_beams = 3, .length_penalty = 0.7}); });
  add("a score", [] {
    const TextScore score = TextGenerator::open(model_folder("stories")).score("Once upon a time");
    return Numbers{score.logprob, score.perplexity};
  });
  for (const char* folder : {"pool_mean", "pool_cls", "dense", "modernbert", "mpnet", "qwen3_embedding"})
    add(folder, [=] {
      const auto encoder = SentenceEncoder::open(model_folder("sentence_transformers") / folder);
      const Tensor<float, 2> vectors = encoder.encode(default_context(), {"a b", "c d e"});
      Numbers out = numbers(vectors);
      const Numbers more = numbers(encoder.similarity(vectors, vectors));
      out.insert(out.end(), more.begin(), more.end());
      return out;
    });
  add("CrossEncoder", [] {
    return numbers(CrossEncoder::open(model_folder("sentence_transformers/cross_encoder"))
                       .score(default_context(), "a", {"a b", "c"}));
  });
  add("unigram", [] {
    const auto ids =
        text::Tokenizer::open(model_folder("tokenizers/unigram")).encode("Hello to all of the worlds");
    return Numbers(ids.begin(), ids.end());
  });
  add("seq2seq", [] {
    const std::vector<std::int32_t> source = random_ids(12, 40);
    const auto ids = generate(default_context(), tiny_seq2seq(PositionKind::sinusoidal), source,
                              {.max_new_tokens = 9, .num_beams = 3});
    return Numbers(ids.begin(), ids.end());
  });
  add("a template", [] {
    const text::ChatTemplate made(
        "{{ 0.1 + 0.2 }} {{ 1 / 3 }} {{ 2 ** 0.5 }} {{ 0.3 * 3 }} {{ 2.675 | round(2) }} "
        "{{ '%.3f' % 0.1235 }} {{ 1e-320 * 1.5 }} {{ '0.3' | float }} {{ [0.1, 0.7] | sum }}");
    const std::string text = made.render(R"([{"role": "user", "content": "a"}])");
    return Numbers(text.begin(), text.end());
  });
  add("answers", [] {
    const std::string text =
        openai::write_embeddings({.inputs = {"a"}}, Tensor<float, 2>({1, 3}, {0.1f, 1e-40f, -3.3f}), 1, "m") +
        openai::write_rerank({.query = "a", .documents = {"b", "c"}, .top = 2},
                             std::vector<float>{0.7f, 0.9f}, "m");
    return Numbers(text.begin(), text.end());
  });
  add("quantized", [] {
    const Folder scratch;
    Numbers out;
    quantize_folder(model_folder("llama"), scratch / "q", {.weights = WeightType::int8},
                    [&](const QuantizedParameter& p, std::size_t, std::size_t) { out.push_back(p.error); });
    return out;
  });
  add("numbers of files", [] {
    const Folder scratch;
    const Tensor<double, 1> doubles({4}, {0.1, -1.0 / 3, 1e-30, 7e22});
    const std::uint16_t halves[] = {0, 0x8000, 1, 0x3c01};
    save_safetensors(scratch / "x.safetensors",
                     {{"doubles", doubles}, {"halves", DType::F16, {4}, std::as_bytes(std::span(halves))}});
    const SafeTensors file(scratch / "x.safetensors");
    Numbers out = numbers(file.read<float, 1>("doubles"));
    const Tensor<float, 1> read = file.read<float, 1>("halves");
    for (const float half : read.span())
      out.push_back(static_cast<double>(half)), out.push_back(std::signbit(half));
    return out;
  });
  add("parameters", [] {
    Numbers out;
    for (const WeightType type :
         {WeightType::float16, WeightType::bfloat16, WeightType::int8, WeightType::int4}) {
      const std::vector<float> row{0, 0.1f, -0.3f, 1e-6f, 1.7f};
      const auto through = [&](auto layer) {
        layer.parameters([&](const std::string&, Parameter<float> parameter) {
          std::vector<float> back(row.size());
          parameter.assign(0, 1, row.data());
          parameter.copy_to(0, 1, back.data());
          for (const float x : back) out.push_back(static_cast<double>(x)), out.push_back(std::signbit(x));
        });
      };
      through(Embedding<float>({.num_embeddings = 1, .embedding_dim = 5, .weights = type}));
      through(Linear<float>({.in_features = 5, .out_features = 1, .bias = false, .weights = type}));
    }
    return out;
  });
  return all;
}

TEST(FloatEnvironment, OfTheCallerChangesNoBitOfModelsAndTexts) {
  for (const Case& each : cases()) {
    SCOPED_TRACE(each.name);
    const Numbers expected = each.run();
    EXPECT_FALSE(expected.empty());
    for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST}) {
      std::fesetround(mode);
#if defined(__SSE2__)
      const unsigned before = _mm_getcsr();
      _mm_setcsr(before | 0x8040u);
#endif
      const Numbers got = each.run();
#if defined(__SSE2__)
      EXPECT_EQ(_mm_getcsr() & ~0x3fu, (before | 0x8040u) & ~0x3fu);
      _mm_setcsr(before);
#endif
      EXPECT_EQ(std::fegetround(), mode);
      std::fesetround(FE_TONEAREST);
      EXPECT_TRUE(got == expected) << "mode " << mode;
    }
  }
}

}  // namespace
