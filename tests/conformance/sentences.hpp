// A folder of sentence-transformers with what it gives, in expected.json.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/sentence_encoder.hpp>

#include "run.hpp"

namespace conformance::sentences {

using namespace attend;

inline bool is_folder(const fs::path& folder) {
  return fs::exists(folder / "config.json") && fs::exists(folder / "expected.json");
}

/// Where `got` is too far from what is expected: by `most`, which is relative to `scale`.
inline std::string compare(const std::string& what, TensorView<const float, 1> got, const Json& expected,
                           double most) {
  const std::vector<double> want =
      expected.is_array() ? expected.get<std::vector<double>>() : std::vector<double>{expected.get<double>()};
  if (got.size(0) != static_cast<Index>(want.size()))
    return what + ": " + std::to_string(want.size()) + " numbers expected, got " +
           std::to_string(got.size(0));
  for (std::size_t i = 0; i < want.size(); ++i)
    if (!(std::abs(static_cast<double>(got[static_cast<Index>(i)]) - want[i]) <= most))
      return what + ": number " + std::to_string(i) + " is " + std::to_string(got[static_cast<Index>(i)]) +
             ", expected " + std::to_string(want[i]);
  return {};
}

/// Each text alone and all of a prompt together.
inline std::string run_embeddings(const fs::path& folder, const Json& cases) {
  const SentenceEncoder encoder = SentenceEncoder::open(folder);
  Context context;
  std::map<std::string, std::vector<std::size_t>> by_prompt;
  const auto prompt_of = [&](std::size_t i) {
    return cases[i].at("prompt_name").is_null() ? std::string()
                                                : cases[i].at("prompt_name").get<std::string>();
  };
  const auto check = [&](std::size_t i, TensorView<const float, 1> got) {
    const Json& want = cases[i].at("embedding");
    double squares = 0;
    for (double x : want.get<std::vector<double>>()) squares += x * x;
    return compare("'" + cases[i].at("text").get<std::string>().substr(0, 30) + "' " + prompt_of(i), got,
                   want, 2e-6 * std::sqrt(squares));
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Tensor<float, 1> got =
        encoder.encode(context, cases[i].at("text").get<std::string>(), {.prompt_name = prompt_of(i)});
    if (std::string problem = check(i, got); !problem.empty()) return problem;
    by_prompt[prompt_of(i)].push_back(i);
  }
  for (const auto& [prompt, members] : by_prompt) {
    std::vector<std::string> texts;
    for (std::size_t i : members) texts.push_back(cases[i].at("text"));
    const Tensor<float, 2> got = encoder.encode(context, texts, {.prompt_name = prompt});
    for (std::size_t j = 0; j < members.size(); ++j)
      if (std::string problem = check(members[j], got[static_cast<Index>(j)]); !problem.empty())
        return "among others: " + problem;
  }
  return {};
}

inline std::string run_scores(const fs::path& folder, const Json& cases) {
  const CrossEncoder encoder = CrossEncoder::open(folder);
  Context context;
  std::map<std::string, std::vector<std::size_t>> by_query;
  for (std::size_t i = 0; i < cases.size(); ++i) by_query[cases[i].at("query")].push_back(i);
  for (const auto& [query, members] : by_query) {
    std::vector<std::string> texts;
    for (std::size_t i : members) texts.push_back(cases[i].at("text"));
    const Tensor<float, 2> got = encoder.score(context, query, texts);
    for (std::size_t j = 0; j < members.size(); ++j)
      if (std::string problem = compare("'" + query + "', '" + texts[j].substr(0, 30) + "'",
                                        got[static_cast<Index>(j)], cases[members[j]].at("score"), 1e-5);
          !problem.empty())
        return problem;
  }
  return {};
}

/// What is wrong with a folder, or nothing.
inline std::string run_folder(const fs::path& folder) {
  const Json expected = read_json(folder / "expected.json");
  const std::string kind = expected.at("kind");
  if (kind == "score") return run_scores(folder, expected.at("cases"));
  if (kind == "embedding") return run_embeddings(folder, expected.at("cases"));
  throw Skip{"expected.json of kind '" + kind + "'"};
}

}  // namespace conformance::sentences
