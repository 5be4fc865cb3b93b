// # Ragged batches, and serving with threads
//
// Sequences of different lengths run one behind the other, without padding: [1, all tokens, width], and offsets that say
// where each begins; the last is the number of tokens. Each sequence gives the bits that it gives alone.
//
// A layer is immutable once loaded, so any number of threads use one. What a call scribbles on is its Context:
//   - a context of n threads computes one call on all of them: Context({.threads = 4});
//   - a server that answers n requests at once has n threads, each with a context of one thread;
//   - an executor lends threads that the program has already: {.threads = 4, .executor = …}.
// No output depends on any of it. Two threads in one context are an error.
//
// examples/serve answers over HTTP in the words of OpenAI's clients; openai::Service (attend/model/openai_service.hpp) is all
// of it but the sockets: folders and GGUF files, one batch of all that runs, streams, limits, metrics. A request may have
// several prompts, and n choices of each: choice i is what the prompt gets alone with the seed plus i. A client that goes away
// frees its place, also while it still waits for one. --max-body holds for bodies in chunks and for what compressed ones
// unfold to; what is refused (400, 401, 404, 405, 413, 429) gets its reason in JSON. SIGTERM finishes what runs, and then
// waits at most 10 seconds for clients that do not end their requests.
//
// Beside llama.cpp's server (PyPI's xllamacpp 2026.10.11549), by bench/load.py on the machine of README's figures, two threads
// each: a Llama of random weights (width 512, 8 layers, 32000 tokens), prompts of 32 tokens and as many generated; better of
// two rounds.
//
// | file | clients | tokens/s | llama.cpp | first token, median and 99 % | llama.cpp |
// |------|--------:|---------:|----------:|-----------------------------:|----------:|
// | F32  |       1 |       86 |        50 |                    23, 30 ms |   65, 88 ms |
// | F32  |       4 |      238 |        82 |                   64, 107 ms | 166, 240 ms |
// | F32  |      16 |      448 |       181 |                  164, 420 ms | 661, 790 ms |
// | Q8_0 |       1 |      551 |       198 |                     7, 10 ms |   30, 39 ms |
// | Q8_0 |       4 |      859 |       229 |                    18, 34 ms |  78, 115 ms |
// | Q8_0 |      16 |      979 |       312 |                   60, 139 ms | 462, 524 ms |
#include <cstdio>
#include <thread>
#include <vector>

#include <attend/attend.hpp>

using namespace attend;

int main() {
  Encoder<float> encoder(
      {.block = {.embed_dim = 32, .num_heads = 4, .dim_feedforward = 64}, .num_layers = 2});
  encoder.parameters([i = 0](const std::string&, Parameter<float> p) mutable {  // or load(encoder, file)
    std::vector<float> values(static_cast<std::size_t>(p.numel()));
    for (float& v : values) v = static_cast<float>(++i % 11 - 5) / 20;
    p.assign(0, p.rows(), values.data());
  });

  const std::vector<Index> offsets{0, 3, 10, 12};  // sequences of 3, 7 and 2 tokens
  Tensor<float, 3> x({1, offsets.back(), 32});
  for (Index i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>(i % 13) / 13;
  const StackInputs<float> ragged{.self = {.query_offsets = offsets, .key_offsets = offsets}};

  Context four({.threads = 4});
  Tensor<float, 3> y(x.shape());
  encoder.forward(four, x, ragged, y);
  const Tensor<float, 2> alone = encoder(x[0].slice(0, 3, 10));  // the second sequence, on one thread
  std::printf("the second sequence, as it is alone: %s\n", y[0].slice(0, 3, 10) == alone ? "yes" : "no");

  // A server: four threads of the program's own, one layer, a context each.
  std::vector<Tensor<float, 3>> answers(4, Tensor<float, 3>(x.shape()));
  {
    std::vector<std::jthread> workers;
    for (Tensor<float, 3>& answer : answers)
      workers.emplace_back([&] {
        Context context;
        encoder.forward(context, x, ragged, answer);
      });
  }
  int same = 0;
  for (const Tensor<float, 3>& answer : answers) same += answer == y;
  std::printf("%d of 4 answers are the same bits\n", same);

  // A job system: it has to run task(0) … task(n - 1), each once, and return when all are done.
  Context lent({.threads = 4, .executor = [](Index n, auto task) {
                  std::vector<std::jthread> jobs;
                  for (Index i = 0; i < n; ++i) jobs.emplace_back([=] { task(i); });
                }});
  encoder.forward(lent, x, ragged, answers[0]);
  std::printf("by an executor: %s\n", answers[0] == y ? "the same" : "another");
}
// Prints:
// the second sequence, as it is alone: yes
// 4 of 4 answers are the same bits
// by an executor: the same
