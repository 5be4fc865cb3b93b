// One HTML file that shows what each head of a model looks at in a text: see attention_page.hpp.
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/causal_lm.hpp>
#include <attend/text/tokenizer.hpp>

#include "attention_page.hpp"
#include "command_line.hpp"
#include "progress.hpp"
#include "text_input.hpp"

namespace {
using attend::Index;

constexpr const char* kHelp =
    R"(usage: attention_page --model DIR --html FILE [--text TEXT | < TEXT] [options]

Writes one self-contained HTML file with what each head of each layer looks at: all heads as thumbnails, ranked by
their pattern, one of them large, and the text with lines between its words. It opens offline, from disk.

  --model DIR    Hugging Face folder of an encoder (BERT and its kin) or a decoder
  --html FILE    where to write the page
  --text TEXT    the text; without it standard input is
  --top N        keys that are kept of each token and head (default: all up to 64 tokens, 8 of longer texts)
  --threads N    threads to compute with (default: 1)
  --quiet        no progress and no remarks on standard error
  --help         show this

Example:
  attention_page --model bert-base-uncased --html page.html --text 'The bread was wonderful.'

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

/// Room for what a run of a model gives: each layer's and head's entropy and strongest keys.
std::vector<attend::BlockOutputs<float>> make_room(attention_page::Page& page, std::size_t layers,
                                                   Index heads, Index top) {
  const Index T = static_cast<Index>(page.tokens.size());
  for (std::size_t i = 0; i < layers; ++i)
    page.layers.push_back({attend::Tensor<float, 3>({1, heads, T}),
                           attend::Tensor<Index, 4>({1, heads, T, top}),
                           attend::Tensor<float, 4>({1, heads, T, top})});
  std::vector<attend::BlockOutputs<float>> outputs(layers);
  for (std::size_t i = 0; i < layers; ++i)
    outputs[i].self.introspection = {.entropy = page.layers[i].entropy,
                                     .top_keys = page.layers[i].keys,
                                     .top_weights = page.layers[i].weights};
  return outputs;
}

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {}, {"--model", "--html", "--text", "--top", "--threads"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  const std::string folder = arguments.required("--model"), file = arguments.required("--html");
  std::string text = arguments.text("--text");
  if (!arguments.has("--text"))
    text.assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  checked_utf8(text, "the text");
  const auto tokenizer = attend::text::Tokenizer::open(folder);
  const std::vector<std::int32_t> ids = tokenizer.encode(text);
  const Index T = static_cast<Index>(ids.size());
  if (T == 0) attend::throw_error("the text has no tokens");
  const Index top = std::min<Index>(T, arguments.integer("--top", T <= 64 ? 64 : 8, 1, 1000));
  attend::Context context(arguments.threads());
  Progress progress("blocks", arguments.has("--quiet"));
  std::size_t done = 0, blocks = 0;
  context.set_layer_hook([&](const attend::LayerTime& layer) {
    if (layer.number >= 0) progress(++done, blocks);
  });

  const attend::Json config = attend::read_json(std::filesystem::path(folder) / "config.json");
  const std::string kind = config.value("architectures", attend::Json::array({""}))[0].get<std::string>();
  attention_page::Page page;
  for (std::int32_t id : ids) page.tokens.push_back(tokenizer.id_to_token(id));
  if (kind.ends_with("ForCausalLM") || kind.ends_with("LMHeadModel")) {
    const auto model = attend::CausalLM<float>::open(folder, {.base_only = true});
    const auto outputs =
        make_room(page, model.options().blocks.size(), model.options().blocks[0].num_heads, top);
    blocks = outputs.size();
    attend::Tensor<float, 3> logits({1, 1, model.options().vocab_size});
    auto cache = model.make_cache();
    model.forward(context, {ids.data(), {1, T}}, cache, logits.view(), outputs);
  } else {
    const auto model = attend::BertModel<float>::open(folder, {.base_only = true});
    const auto& options = model.options();
    const auto outputs =
        make_room(page,
                  options.layer_order.empty() ? static_cast<std::size_t>(options.num_hidden_layers)
                                              : options.layer_order.size(),
                  options.num_attention_heads, top);
    blocks = outputs.size();
    attend::Tensor<float, 2> states({T, options.hidden_size});
    const Index offsets[] = {0, T};
    model.forward(context, ids, {}, offsets, states.view(), outputs);
  }
  std::ofstream out(file, std::ios::binary);
  attention_page::write(
      out, std::filesystem::path(folder + "/").parent_path().filename().string() + ": what its heads look at",
      {&page, 1});
  if (!out.flush()) attend::throw_error(file, ": cannot be written");
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("attention_page", [&] { run(argc, argv); });
}
