// Whole models: an encoder of sentences, and a decoder that reads a prompt and generates.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "problems.hpp"
#include "serve.hpp"

namespace bench {

struct ModelProblem {
  std::string name;
  Cost
      cost;  // of the products and the attention; bytes: of the weights, keys and values that one token reads
  double tokens;  // of a call
  std::function<Job(int threads)> make;
};

/// model/minilm/B:…/T:…, whose output are the last hidden states [B, T, E] of ids that only depend on the
/// sizes, and generate/prompt/T:… and generate/token/S:…, a token behind S others. `folder` (or "") is a
/// Hugging Face folder: what it holds, a BERT or a decoder, takes the place of random weights of MiniLM's
/// sizes, or of a small Llama's. Each also with its weights in fewer bits, as …/weights:int8.
std::vector<ModelProblem> model_problems(const std::string& folder);

}  // namespace bench
