// Writes a model's folder with its weights in fewer bits.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include <attend/model/quantize.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/text_generator.hpp>

#include "command_line.hpp"
#include "progress.hpp"
#include "text_input.hpp"
#include "weights.hpp"

namespace {

constexpr const char* kHelp = R"(usage: quantize --model DIR --weights TYPE --out DIR [options]

Writes a folder that opens as DIR does, its weights kept in another type, and prints a line for each parameter: its
bits per value and its relative error.

  --model DIR         Hugging Face folder, or one of sentence-transformers
  --weights TYPE      bfloat16, float16, int8 or int4
  --out DIR           folder to make
  --text FILE         also print how much the answers change on the lines of FILE: of an encoder of sentences the
                      cosine of old and new vectors, of a language model the KL divergence of its next tokens
  --activations TYPE  with --text: what inputs of int8 and int4 weights are rounded to, int8 or int16
  --threads N         threads to compute with (default: 1)
  --quiet             no progress and no remarks on standard error
  --help              show this

Example:
  quantize --model all-MiniLM-L6-v2 --weights int8 --out minilm-int8

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream in(path);
  if (!in) attend::throw_error(path, ": cannot be read");
  std::vector<std::string> lines;
  LineReader reader(in, path);
  for (std::string line; reader.next(line);)
    if (!line.empty()) lines.push_back(line);
  if (lines.empty()) attend::throw_error(path, ": has no text");
  return lines;
}

/// log-probabilities of each next token.
std::vector<double> log_softmax(const float* logits, attend::Index n) {
  double most = -INFINITY, sum = 0;
  for (attend::Index i = 0; i < n; ++i) most = std::max(most, static_cast<double>(logits[i]));
  for (attend::Index i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i]) - most);
  std::vector<double> out(static_cast<std::size_t>(n));
  for (attend::Index i = 0; i < n; ++i)
    out[static_cast<std::size_t>(i)] = static_cast<double>(logits[i]) - most - std::log(sum);
  return out;
}

void compare_generators(attend::Context& context, const std::string& before, const std::string& after,
                        const attend::OpenOptions& open, const std::vector<std::string>& texts, bool quiet) {
  const auto tokenizer = attend::text::Tokenizer::open(before);
  const auto a = attend::CausalLM<float>::open(before, {.weights = attend::WeightType::float32}),
             b = attend::CausalLM<float>::open(after, open);
  double divergence = 0, worst = 0;
  std::size_t tokens = 0, done = 0;
  Progress progress("comparing", quiet);
  for (const std::string& text : texts) {
    progress(done++, texts.size());
    const std::vector<std::int32_t> ids = tokenizer.encode(text);
    if (ids.empty()) continue;
    const attend::Tensor<float, 2> x = a.logits(context, ids), y = b.logits(context, ids);
    for (attend::Index t = 0; t < x.size(0); ++t, ++tokens) {
      const std::vector<double> p = log_softmax(&x(t, 0), x.size(1)), q = log_softmax(&y(t, 0), x.size(1));
      double one = 0;
      for (std::size_t i = 0; i < p.size(); ++i) one += std::exp(p[i]) * (p[i] - q[i]);
      divergence += one;
      worst = std::max(worst, one);
    }
  }
  progress.clear();
  std::printf("KL divergence of %zu tokens: mean %.3g, greatest %.3g\n", tokens,
              divergence / static_cast<double>(std::max<std::size_t>(tokens, 1)), worst);
}

void compare_encoders(attend::Context& context, const std::string& before, const std::string& after,
                      const attend::OpenOptions& open, const std::vector<std::string>& texts, bool quiet) {
  const auto a = attend::SentenceEncoder::open(before, {.weights = attend::WeightType::float32}),
             b = attend::SentenceEncoder::open(after, open);
  const std::span<const std::string> all(texts);
  double sum = 0, least = 1;
  Progress progress("comparing", quiet);
  for (std::size_t done = 0; done < all.size(); progress(done, all.size())) {
    const auto some = all.subspan(done, std::min<std::size_t>(64, all.size() - done));
    const attend::Tensor<float, 2> x = a.encode(context, some), y = b.encode(context, some);
    for (attend::Index i = 0; i < x.size(0); ++i) {
      double dot = 0, xx = 0, yy = 0;
      for (attend::Index e = 0; e < x.size(1); ++e) {
        const double u = static_cast<double>(x(i, e)), v = static_cast<double>(y(i, e));
        dot += u * v, xx += u * u, yy += v * v;
      }
      const double cosine = dot / std::sqrt(xx * yy);
      sum += cosine;
      least = std::min(least, cosine);
    }
    done += some.size();
  }
  progress.clear();
  std::printf("cosine of %zu texts: mean %.6f, least %.6f\n", all.size(),
              sum / static_cast<double>(all.size()), least);
}

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {"--quiet"},
                              {"--model", "--weights", "--out", "--text", "--activations", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  const std::string model = arguments.required("--model"), out = arguments.required("--out");
  arguments.required("--weights");
  const attend::OpenOptions open = open_options(arguments);
  if (!open.weights || *open.weights == attend::WeightType::float32)
    attend::throw_error("--weights is bfloat16, float16, int8 or int4");
  {
    Progress progress("quantize", arguments.has("--quiet") || is_terminal(stdout));  // where lines show it
    double bits = 0, values = 0;
    attend::quantize_folder(
        model, out, open, [&](const attend::QuantizedParameter& p, std::size_t done, std::size_t all) {
          double size = 1;
          for (attend::Index n : p.shape) size *= static_cast<double>(n);
          bits += p.bits * size;
          values += size;
          std::printf("%-60s %-16s %-9s %6.2f bits  error %.2e\n", p.name.c_str(),
                      attend::to_string(p.shape).c_str(), to_string(p.type), p.bits, p.error);
          progress(done, all);
        });
    std::printf("%.0f values, %.2f bits each\n", values, bits / std::max(values, 1.0));
  }
  if (!arguments.has("--text")) return;
  attend::Context context(arguments.threads());
  const std::vector<std::string> texts = read_lines(arguments.text("--text"));
  const attend::Config config(attend::Location(model) / "config.json");
  const auto architectures = config.get<std::vector<std::string>>("architectures", {});
  const bool generates = !architectures.empty() && architectures[0].find("LM") != std::string::npos &&
                         attend::is_causal_family(config.get<std::string>("model_type", "bert"));
  if (generates)
    compare_generators(context, model, out, open, texts, arguments.has("--quiet"));
  else
    compare_encoders(context, model, out, open, texts, arguments.has("--quiet"));
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("quantize", [&] { run(argc, argv); });
}
