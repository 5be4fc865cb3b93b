// What a program with attend::models_compiled does: all that a tokenizer needs must be in the library, and
// nothing of it in here; a scalar that the library does not have is compiled here.
#include <cstdio>

#include <attend/model/sentence_encoder.hpp>
#include <attend/text/streaming_decoder.hpp>

#if defined(NLOHMANN_JSON_VERSION_MAJOR) || defined(PCRE2_MAJOR) || defined(UTF8PROC_VERSION_MAJOR)
#error "headers of the libraries below attend::models_compiled are seen"
#endif

int main() {
  using namespace attend::text;
  const Tokenizer tokenizer = Tokenizer::from_json(
      R"({"normalizer": {"type": "NFC"},
          "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\p{L}+"}, "behavior": "Isolated"},
          "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "\u00e9": 1, ", ": 2}}})",
      "here");
  StreamingDecoder decoder(tokenizer);
  std::string text;
  for (std::int32_t id : tokenizer.encode("e\u0301, e\u0301")) text += decoder.push(id);
  if (text + decoder.finish() != "\u00e9 ,  \u00e9") return 1;

  attend::BertModel<double> model(
      {.vocab_size = 2, .hidden_size = 4, .num_hidden_layers = 1, .intermediate_size = 4});
  if (attend::count_parameters(model) == 0 || model.assigned()) return 2;
  const attend::Config config(R"({"sizes": [1, 2]})", "here");
  if (config.get<std::vector<int>>("sizes") != std::vector<int>{1, 2}) return 3;
  std::puts("models_compiled: ok");
}
