// Lines from standard input, translated: by Marian, T5, BART, or a folder in attend's own form.

#include <iostream>
#include <string>

#include <attend/json/json.hpp>
#include <attend/model/translator.hpp>

#include "command_line.hpp"
#include "text_input.hpp"

namespace {

constexpr const char* kHelp = R"(usage: translate --model DIR [options] < FILE

Reads a line and writes its translation, line by line.

  --model DIR           folder with config.json, model.safetensors and vocabularies
  --beams N             beams to search with (default: 1, greedy)
  --prefix TEXT         what every translation begins with
  --max-new-tokens N    longest translation (default: 256)
  --json                write {"source", "target"} for each line
  --threads N           threads to compute with (default: 1)
  --help                show this
)";

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {"--json"},
                              {"--model", "--beams", "--prefix", "--max-new-tokens", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  attend::Context context(arguments.threads());
  attend::GenerationOptions options;
  options.num_beams = arguments.integer("--beams", 1, 1, 64);
  options.max_new_tokens = arguments.integer("--max-new-tokens", 256, 1, 100000);
  const std::string prefix = checked_utf8(arguments.text("--prefix"), "--prefix");
  const auto translator = attend::Translator::open(arguments.required("--model"));
  LineReader lines(std::cin, "standard input");
  for (std::string line; lines.next(line);) {
    const std::string target = translator.translate(context, line, options, prefix);
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
