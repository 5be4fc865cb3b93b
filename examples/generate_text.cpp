// Continues a text by a language model in a Hugging Face folder.
#include <chrono>
#include <cstdio>
#include <iostream>
#include <limits>
#include <string>

#include <attend/json/json.hpp>
#include <attend/model/text_generator.hpp>

#include "command_line.hpp"
#include "text_input.hpp"

namespace {

constexpr const char* kHelp = R"(usage: generate_text --model DIR --prompt TEXT [options]

Continues TEXT and prints what follows it, as it comes. An empty TEXT is the model's start token alone.
Standard error has the tokens per second of prompt and generation.

  --model DIR               Hugging Face folder of a GPT-2, Llama, Mistral, Qwen2, Qwen3, Gemma 2, GPT-NeoX or BLOOM:
                            config.json, model.safetensors, tokenizer.json (or older vocabulary files)
  --prompt TEXT             text to continue
  --max-new-tokens N        at most so many tokens (default: 200)
  --temperature T           0: always the likeliest token (default); higher: more varied
  --top-k K                 draw from the K likeliest tokens only
  --top-p P                 draw from the likeliest tokens that together have probability P
  --min-p P                 draw from tokens of at least P times the likeliest one's probability
  --repetition-penalty X    more than 1: tokens that were there before become less likely
  --seed S                  the same seed gives the same text (default: 0)
  --beams N                 beam search with N beams (prints at the end)
  --stop TEXT               end before this text; may be repeated
  --json                    print {"prompt", "text", "ids", ...} instead
  --threads N               threads to compute with (default: 1)
  --help                    show this
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

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void run(int argc, char** argv) {
  const CommandLine arguments(
      argc, argv, {"--json"},
      {"--model", "--prompt", "--max-new-tokens", "--temperature", "--top-k", "--top-p", "--min-p",
       "--repetition-penalty", "--seed", "--beams", "--stop", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  const std::string folder = arguments.required("--model"), prompt = arguments.required("--prompt");
  attend::GenerationOptions options;
  options.max_new_tokens = arguments.integer("--max-new-tokens", 200, 0, 1000000000);
  options.temperature = arguments.number("--temperature", 0, 0, 1000);
  options.top_k = arguments.integer("--top-k", 0, 0, 1000000000);
  options.top_p = arguments.number("--top-p", 1, 0, 1);
  options.min_p = arguments.number("--min-p", 0, 0, 1);
  options.repetition_penalty = arguments.number("--repetition-penalty", 1, 0, 1000);
  options.seed =
      static_cast<std::uint64_t>(arguments.integer("--seed", 0, 0, std::numeric_limits<long>::max()));
  options.num_beams = arguments.integer("--beams", 1, 1, 1000);
  options.stop = arguments.all("--stop");
  attend::check_options(options);
  checked_utf8(prompt, "--prompt");
  for (const std::string& stop : options.stop) checked_utf8(stop, "--stop");
  attend::Context context(arguments.threads());
  const bool json = arguments.has("--json");

  auto generator = attend::TextGenerator::open(folder);
  const attend::Index prompt_tokens = static_cast<attend::Index>(generator.encode(prompt).size());

  // The first token ends the time of the prompt. A processor that changes nothing sees each of them.
  const auto start = std::chrono::steady_clock::now();
  double prompt_seconds = 0, shown = 1;
  attend::Index tokens = 0;
  options.logits_processors.push_back([&](std::span<const std::int32_t>, std::span<float>) {
    if (tokens++ == 0) prompt_seconds = seconds_since(start);
    if (!json && options.num_beams == 1) return;
    if (const double now = seconds_since(start); now > shown) {
      std::fprintf(stderr, "\r%td tokens", static_cast<std::ptrdiff_t>(tokens));
      shown = now + 1;
    }
  });
  const auto result = generator.generate(context, prompt, options, [&](std::string_view piece) {
    if (!json) std::cout << piece << std::flush;
    return static_cast<bool>(std::cout);
  });
  const double rest = seconds_since(start) - prompt_seconds;
  if (shown > 1) std::fprintf(stderr, "\r");
  if (json) {
    std::cout << attend::Json{{"prompt", prompt},
                              {"prompt_ids", result.prompt_ids},
                              {"text", result.text},
                              {"ids", result.ids},
                              {"finish_reason", to_string(result.reason)}}
                     .dump(-1, ' ', false, attend::Json::error_handler_t::replace)
              << '\n';
  }
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
