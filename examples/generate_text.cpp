// Continues a text by a language model in a Hugging Face folder.
#include <chrono>
#include <cstdio>
#include <iostream>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include <attend/json/json.hpp>
#include <attend/model/text_generator.hpp>

#include "command_line.hpp"
#include "progress.hpp"
#include "text_input.hpp"
#include "weights.hpp"

namespace {

constexpr const char* kHelp = R"(usage: generate_text --model DIR --prompt TEXT [options]
       generate_text --model DIR --chat [options] < LINES

Continues TEXT and prints what follows it, as it comes. An empty TEXT is the model's start token alone. Or holds a
conversation by the folder's chat template: each line is a message, which is answered; what was said before is kept.
Standard error has the tokens per second of prompt and generation.

  --model DIR               Hugging Face folder of a GPT-2, OPT, BLOOM, GPT-NeoX, Llama, Mistral, Qwen2, Qwen3, Gemma 2,
                            Gemma 3, Phi-3, SmolLM3, OLMo 2 or Granite: config.json, model.safetensors,
                            tokenizer.json (or older vocabulary files); or a GGUF file of a Llama, Mistral, Qwen2,
                            Qwen3, Gemma 2, Gemma 3 or Phi-3
  --prompt TEXT             text to continue; with --chat the first message
  --chat                    read messages from standard input and answer each
  --system TEXT             with --chat: what the model is told before
  --tools FILE              with --chat: JSON list of functions that the template tells the model of
  --variables JSON          with --chat: what the template reads besides, as {"enable_thinking": false}
  --score                   instead print how likely TEXT is: its log-probability and perplexity
  --write-golden            instead write the model's golden vectors into the folder, which opening it with .verify
                            checks bit by bit
  --max-new-tokens N        at most so many tokens
  --min-new-tokens N        at least so many
  --temperature T           0: always the likeliest token; higher: more varied
  --top-k K                 draw from the K likeliest tokens only
  --top-p P                 draw from the likeliest tokens that together have probability P
  --min-p P                 draw from tokens of at least P times the likeliest one's probability
  --repetition-penalty X    more than 1: tokens that were there before become less likely
  --no-repeat-ngram-size N  no N tokens in a row come twice
  --seed S                  the same seed gives the same text (default: 0)
  --beams N                 beam search with N beams (prints at the end)
  --length-penalty X        beams: more than 0 favours long texts
  --stop TEXT               end before this text; may be repeated
  --json                    print {"prompt", "text", "ids", ...} instead
  --logprobs N              in JSON: log-probabilities of each token and of the N likeliest at its place
  --weights TYPE            float32, bfloat16, float16, int8 or int4, or file: as it has them (default: float32, or
                            codes as the file has them)
  --activations TYPE        what inputs of int8 and int4 weights are rounded to, int8 or int16 (default: int8)
  --threads N               threads to compute with (default: 1)
  --quiet                   no progress and no remarks on standard error
  --help                    show this

What is not given is as the folder's generation_config.json says, or else: 200 tokens, always the likeliest.

Example:
  generate_text --model SmolLM2-135M-Instruct --prompt 'Once upon a time' --max-new-tokens 50

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

const char* to_string(attend::FinishReason reason) {
  switch (reason) {
    case attend::FinishReason::length:
      return "length";
    case attend::FinishReason::eos:
      return "eos";
    case attend::FinishReason::stopped:
      break;
  }
  return "stop";
}

/// What is given on the command line goes before what the folder says.
void read_options(const CommandLine& arguments, attend::GenerationOptions& options) {
  if (arguments.has("--max-new-tokens")) options.max_length = 0;
  options.max_new_tokens = arguments.integer("--max-new-tokens", options.max_new_tokens, 0, 1000000000);
  if (arguments.has("--min-new-tokens")) options.min_length = 0;
  options.min_new_tokens = arguments.integer("--min-new-tokens", options.min_new_tokens, 0, 1000000000);
  options.temperature = arguments.number("--temperature", options.temperature, 0, 1000);
  options.top_k = arguments.integer("--top-k", options.top_k, 0, 1000000000);
  options.top_p = arguments.number("--top-p", options.top_p, 0, 1);
  options.min_p = arguments.number("--min-p", options.min_p, 0, 1);
  options.repetition_penalty = arguments.number("--repetition-penalty", options.repetition_penalty, 0, 1000);
  options.no_repeat_ngram_size =
      arguments.integer("--no-repeat-ngram-size", options.no_repeat_ngram_size, 0, 1000000);
  options.seed =
      static_cast<std::uint64_t>(arguments.integer("--seed", 0, 0, std::numeric_limits<long>::max()));
  options.num_beams = arguments.integer("--beams", options.num_beams, 1, 1000);
  options.length_penalty = arguments.number("--length-penalty", options.length_penalty, -1000, 1000);
  options.stop = arguments.all("--stop");
  if (arguments.has("--logprobs")) options.logprobs = arguments.integer("--logprobs", 0, 0, 1000000);
  attend::check_options(options);
  for (const std::string& stop : options.stop) checked_utf8(stop, "--stop");
}

attend::Json to_json(const attend::text::Tokenizer& tokenizer,
                     const std::vector<attend::TokenLogprob>& logprobs) {
  const auto one = [&](std::int32_t id, float logprob) {
    return attend::Json{
        {"id", id}, {"token", tokenizer.contains(id) ? tokenizer.id_to_token(id) : ""}, {"logprob", logprob}};
  };
  attend::Json list = attend::Json::array();
  for (const attend::TokenLogprob& token : logprobs) {
    list.push_back(one(token.id, token.logprob));
    list.back()["top"] = attend::Json::array();
    for (const auto& [id, logprob] : token.top) list.back()["top"].push_back(one(id, logprob));
  }
  return list;
}

void print(const attend::Json& json) {
  std::cout << json.dump(-1, ' ', false, attend::Json::error_handler_t::replace) << '\n';
}

void score(attend::Context& context, const attend::TextGenerator& generator, const std::string& text,
           const attend::GenerationOptions& options, bool json) {
  const attend::TextScore score = generator.score(context, text, options.logprobs.value_or(0));
  if (json)
    print({{"prompt", text},
           {"ids", score.ids},
           {"logprob", score.logprob},
           {"perplexity", score.perplexity},
           {"logprobs", to_json(generator.tokenizer(), score.logprobs)}});
  else
    std::cout << "log-probability " << score.logprob << ", perplexity " << score.perplexity << ", "
              << score.logprobs.size() << " tokens\n";
}

attend::Json to_json(const attend::TextGenerator& generator, const std::string& prompt,
                     const attend::TextGeneration& result, bool logprobs) {
  attend::Json out{{"prompt", prompt},        {"prompt_ids", result.prompt_ids},
                   {"text", result.text},     {"ids", result.ids},
                   {"reused", result.reused}, {"finish_reason", to_string(result.reason)}};
  if (logprobs) out["logprobs"] = to_json(generator.tokenizer(), result.logprobs);
  return out;
}

/// One answer for each line, after `first` if it is given.
void chat(attend::Context& context, attend::TextGenerator& generator, const CommandLine& arguments,
          const attend::GenerationOptions& options) {
  const bool json = arguments.has("--json");
  attend::ChatOptions chat_options;
  if (arguments.has("--tools")) chat_options.tools = attend::read_file(arguments.text("--tools"));
  chat_options.variables = arguments.text("--variables");
  std::vector<attend::ChatMessage> messages;
  if (arguments.has("--system"))
    messages.push_back({"system", checked_utf8(arguments.text("--system"), "--system")});
  LineReader lines(std::cin, "standard input");
  std::string line = arguments.text("--prompt");
  for (bool more = arguments.has("--prompt") || lines.next(line); more; more = lines.next(line)) {
    messages.push_back({"user", line});
    const auto show = [&](std::string_view piece) {
      if (!json) std::cout << piece << std::flush;
      return static_cast<bool>(std::cout);
    };
    const attend::TextGeneration answer = generator.chat(context, messages, options, chat_options, show);
    if (json)
      print(to_json(generator, line, answer, options.logprobs.has_value()));
    else
      std::cout << '\n';
    std::cout.flush();
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {"--chat", "--json", "--score", "--write-golden"},
                              {"--model",
                               "--prompt",
                               "--system",
                               "--tools",
                               "--variables",
                               "--max-new-tokens",
                               "--min-new-tokens",
                               "--temperature",
                               "--top-k",
                               "--top-p",
                               "--min-p",
                               "--repetition-penalty",
                               "--no-repeat-ngram-size",
                               "--seed",
                               "--beams",
                               "--length-penalty",
                               "--stop",
                               "--logprobs",
                               "--weights",
                               "--activations",
                               "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  const std::string folder = arguments.required("--model");
  if (arguments.has("--write-golden"))
    return attend::write_golden(attend::CausalLM<float>::open(folder, open_options(arguments)), folder);
  const std::string prompt =
      arguments.has("--chat") ? arguments.text("--prompt") : arguments.required("--prompt");
  checked_utf8(prompt, "--prompt");
  attend::Context context(arguments.threads());
  const bool json = arguments.has("--json");

  if (arguments.has("--logprobs") && !json) attend::throw_error("--logprobs needs --json, see --help");

  auto generator = attend::TextGenerator::open(folder, {.max_new_tokens = 200}, open_options(arguments));
  attend::GenerationOptions options = generator.generation_options();
  read_options(arguments, options);
  if (arguments.has("--chat")) return chat(context, generator, arguments, options);
  if (arguments.has("--score")) return score(context, generator, prompt, options, json);
  const attend::Index prompt_tokens = static_cast<attend::Index>(generator.encode(prompt).size());

  // The first token ends the time of the prompt. A processor that changes nothing sees each of them.
  const auto start = std::chrono::steady_clock::now();
  double prompt_seconds = 0;
  attend::Index tokens = 0;
  std::optional<Progress> progress(std::in_place, "tokens", arguments.has("--quiet"));
  options.logits_processors.push_back([&](std::span<const std::int32_t>, std::span<float>) {
    if (tokens++ == 0) prompt_seconds = seconds_since(start);
    if (!json && options.num_beams == 1) return;
    (*progress)(static_cast<std::size_t>(tokens), static_cast<std::size_t>(options.max_new_tokens));
  });
  const auto result = generator.generate(context, prompt, options, [&](std::string_view piece) {
    if (!json) std::cout << piece << std::flush;
    return static_cast<bool>(std::cout);
  });
  const double rest = seconds_since(start) - prompt_seconds;
  progress.reset();
  if (json) print(to_json(generator, prompt, result, options.logprobs.has_value()));
  if (arguments.has("--quiet")) return;
  const auto rate = [](attend::Index n, double seconds) {
    return seconds > 0 ? static_cast<double>(n) / seconds : 0;
  };
  const attend::Index generated = static_cast<attend::Index>(result.ids.size());
  std::fprintf(stderr, "%sprompt: %td tokens, %.1f tokens/s; generation: %td tokens, %.1f tokens/s\n",
               json ? "" : "\n", static_cast<std::ptrdiff_t>(prompt_tokens),
               rate(prompt_tokens, prompt_seconds), static_cast<std::ptrdiff_t>(generated),
               rate(generated, rest));
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("generate_text", [&] { run(argc, argv); });
}
