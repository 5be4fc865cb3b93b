// # Models and tokenizers
//
// A folder as Hugging Face has it is opened as it is; README.md lists the families. These classes do whole tasks:
//     SentenceEncoder::open(folder).encode(texts)      vectors of texts; CrossEncoder scores pairs
//     TextGenerator::open(folder).generate(prompt)     text that follows; chat(messages) holds a conversation
//     TextClassifier::open(folder)                     labels of texts; TokenClassifier's are of words
//     Translator::open(folder).translate(line)         encoder-decoders
// What a folder's generation_config.json says is what is generated, in the order that transformers applies it. Options of the
// call go before it, and a key that is not supported is an error. A conversation goes by the folder's chat template, of which
// a strict evaluator (attend/text/chat_template.hpp lists what it knows) makes what transformers makes.
//
// In place of a folder goes a GGUF file, or a folder in memory: a map of names to bytes, which may go once it is open.
//
// Below them are a tokenizer, text to ids and back, and models, ids to states or logits, for loops of your own.
//
// Here are tiny folders of attend's tests, whose weights are random. Real ones differ in size alone:
//     pip install huggingface_hub && hf download sentence-transformers/all-MiniLM-L6-v2 --local-dir all-MiniLM-L6-v2
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include <attend/model/causal_lm.hpp>
#include <attend/model/sentence_encoder.hpp>

using namespace attend;

int main(int argc, char** argv) {
  const std::string models = argc > 1 ? argv[1] : ATTEND_GUIDE_DIR "/../../tests/models";

  // Vectors of sentences.
  const auto encoder = SentenceEncoder::open(models + "/sentence_transformers/pool_mean");
  const std::vector<std::string> texts{"one text", "another one"};
  const Tensor<float, 2> vectors = encoder.encode(texts);
  const Tensor<float, 2> alike = encoder.similarity(vectors, vectors);
  std::printf("%d vectors of %d values, the first and itself: %.2f\n", static_cast<int>(vectors.size(0)),
              static_cast<int>(vectors.size(1)), static_cast<double>(alike(0, 0)));

  // A tokenizer.
  const auto tokenizer = text::Tokenizer::open(models + "/tokenizers/byte_level_bpe");
  const std::vector<std::int32_t> ids = tokenizer.encode("caf\u00e9, twice");
  std::printf("back from %s ids: %s\n", ids.size() > 3 ? "its" : "few", tokenizer.decode(ids).c_str());

  // The same from memory, say an archive or a resource of the program.
  const std::map<std::string, std::string> files{
      {"vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n"}};
  std::printf("%d ids\n", static_cast<int>(text::Tokenizer::open(files).encode("hello").size()));

  // A loop of your own over a language model: prompt, then a token at a time, with a branch and a way back.
  const auto model = CausalLM<float>::open(models + "/llama");
  Context context;
  CausalCache<float> cache = model.make_cache();
  Tensor<float, 3> logits({1, 1, model.options().vocab_size});
  const auto next = [&](const Tensor<std::int32_t, 2>& tokens, CausalCache<float>& where) {
    model.forward(context, tokens, where, logits);  // [1, 1, V]: of the token behind the last
    return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  };
  std::int32_t token = next(Tensor<std::int32_t, 2>::of({{1, 5, 9}}), cache);
  const std::int32_t first = token;
  for (int i = 0; i < 4; ++i) token = next(Tensor<std::int32_t, 2>({1, 1}, token), cache);
  CausalCache<float> branch = cache;  // shares all its memory until it goes on
  next(Tensor<std::int32_t, 2>({1, 1}, 7), branch);
  branch.rewind(0, 2);
  const std::int32_t again = next(Tensor<std::int32_t, 2>::of({{9}}), branch);
  std::printf("%d tokens, %d in the branch, which says the same again: %s\n",
              static_cast<int>(cache.length(0)), static_cast<int>(branch.length(0)),
              again == first ? "yes" : "no");
}
// Prints:
// 2 vectors of 18 values, the first and itself: 1.00
// back from its ids: café, twice
// 3 ids
// 7 tokens, 3 in the branch, which says the same again: yes
