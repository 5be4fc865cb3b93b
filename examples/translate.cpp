// Lines from standard input, translated: by Marian, T5, BART, M2M100, NLLB, mBART, or a folder in attend's
// own form.

#include <iostream>
#include <string>

#include <attend/json/json.hpp>
#include <attend/model/translator.hpp>

#include "command_line.hpp"
#include "progress.hpp"
#include "text_input.hpp"
#include "weights.hpp"

namespace {

constexpr const char* kHelp = R"(usage: translate --model DIR [options] < FILE

Reads a line and writes its translation, line by line.

  --model DIR             folder with config.json, model.safetensors and vocabularies
  --source-language NAME  of the lines, for models of several languages (M2M100, NLLB, mBART): the model's token for it,
  --target-language NAME  or what that begins with: de, de_DE, deu_Latn
  --beams N               beams to search with; 1: greedy
  --length-penalty X      beams: more than 0 favours long translations
  --prefix TEXT           what every translation begins with
  --max-new-tokens N      longest translation
  --write-golden          instead write the model's golden vectors into the folder, which opening it with .verify checks
  --json                  write {"source", "target"} for each line
  --weights TYPE          float32, bfloat16, float16, int8 or int4, or file: as it has them (default: float32, or
                          codes as the file has them)
  --activations TYPE      what inputs of int8 and int4 weights are rounded to, int8 or int16 (default: int8)
  --threads N             threads to compute with (default: 1)
  --quiet                 no progress and no remarks on standard error
  --help                  show this

What is not given is as the folder's generation_config.json says, or else: greedy, 256 tokens. A line of more tokens than
the model has positions is cut, with a warning.

Example:
  echo 'Where is the station?' | translate --model opus-mt-en-de

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

void run(int argc, char** argv) {
  const CommandLine arguments(
      argc, argv, {"--json", "--write-golden"},
      {"--model", "--source-language", "--target-language", "--beams", "--length-penalty", "--prefix",
       "--max-new-tokens", "--weights", "--activations", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  if (const std::string folder = arguments.required("--model"); arguments.has("--write-golden"))
    return attend::write_golden(attend::Translator::open(folder, open_options(arguments)).model(), folder);
  attend::Context context(arguments.threads());
  const std::string prefix = checked_utf8(arguments.text("--prefix"), "--prefix");
  const std::string from = arguments.text("--source-language"), to = arguments.text("--target-language");
  const auto translator = attend::Translator::open(arguments.required("--model"), {.max_new_tokens = 256},
                                                   open_options(arguments));
  attend::GenerationOptions options = translator.generation_options();
  options.num_beams = arguments.integer("--beams", options.num_beams, 1, 64);
  options.length_penalty = arguments.number("--length-penalty", options.length_penalty, -1000, 1000);
  if (arguments.has("--max-new-tokens")) options.max_length = 0;
  options.max_new_tokens = arguments.integer("--max-new-tokens", options.max_new_tokens, 1, 100000);
  LineReader lines(std::cin, "standard input");
  long number = 0;
  Progress progress("lines", arguments.has("--quiet") || is_terminal(stdout));
  for (std::string line; lines.next(line);) {
    const attend::Translation translation = translator.translate(context, line, options, {prefix, from, to});
    const std::string& target = translation.text;
    progress(static_cast<std::size_t>(++number));
    const auto warn = [&](const char* what) {
      if (arguments.has("--quiet")) return;
      std::cerr << "translate: line " << number << ": " << what << " the model's "
                << translator.model().options().max_position_embeddings << " positions\n";
    };
    if (translation.source_cut) warn("the text is cut at");
    if (translation.cut) warn("the translation stops at");
    if (arguments.has("--json"))
      std::cout << attend::Json{{"source", line}, {"target", target}}.dump() << std::endl;
    else
      std::cout << target << std::endl;  // a line out for a line in, at once
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("translate", [&] { run(argc, argv); });
}
