// A folder of sentence-transformers, with embeddings or scores in expected.json.
#pragma once

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <attend/model/sentence_encoder.hpp>

#include "models.hpp"

namespace conformance::sentences {

using namespace attend;

/// Skips a folder that asks for more than SentenceEncoder does: the mean over all tokens, at unit length, of
/// texts that are cut where the positions end.
inline void check_supported(const fs::path& folder, const Json& expected) {
  if (expected.at("kind") != "embedding") throw Skip{"scores of pairs are not supported"};
  std::vector<std::string> types;
  for (const Json& module : read_json(folder / "modules.json")) {
    const std::string type = module.at("type").get<std::string>();
    types.push_back(type.substr(type.rfind('.') + 1));
    if (types.back() != "Pooling") continue;
    const Json pooling = read_json(folder / module.at("path").get<std::string>() / "config.json");
    const Json mode = pooling.value("pooling_mode", Json());
    if (mode != "mean") throw Skip{"pooling " + mode.dump() + " is not supported"};
  }
  if (types != std::vector<std::string>{"Transformer", "Pooling", "Normalize"})
    throw Skip{"modules " + Json(types).dump() + " are not supported"};
  const Json settings = read_json(folder / "config_sentence_transformers.json");
  if (!settings.value("truncate_dim", Json()).is_null()) throw Skip{"truncate_dim is not supported"};
  for (const Json& c : expected.at("cases"))
    if (!c.at("prompt_name").is_null() || !settings.value("default_prompt_name", Json()).is_null())
      throw Skip{"prompts are not supported"};
  const Json longest = read_json(folder / "tokenizer_config.json").value("model_max_length", Json());
  if (longest.is_number() && longest < read_json(folder / "config.json").at("max_position_embeddings"))
    throw Skip{"a maximum of " + longest.dump() + " tokens is not supported"};
}

inline std::string run_folder(const fs::path& folder) {
  const Json expected = read_json(folder / "expected.json");
  check_supported(folder, expected);
  Context context(2);
  const SentenceEncoder encoder = models::opened([&] { return SentenceEncoder::open(folder); });
  std::vector<std::string> texts;
  for (const Json& c : expected.at("cases")) texts.push_back(c.at("text").get<std::string>());
  const Tensor<float, 2> got = encoder.encode(context, texts);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::vector<double> want = expected.at("cases").at(i).at("embedding").get<std::vector<double>>();
    double squares = 0;
    for (const double x : want) squares += x * x;
    const Tensor<float, 1> row(got[static_cast<Index>(i)]);
    const std::string problem = compare<float>(row.span(), want, {2e-6 * std::sqrt(squares), 0});
    if (!problem.empty()) return "text " + std::to_string(i) + ": " + problem;
  }
  return texts.empty() ? "no texts" : "";
}

}  // namespace conformance::sentences
