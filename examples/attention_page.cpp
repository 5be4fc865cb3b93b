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

/// What a run of a model gives: room for each layer's and head's entropy and strongest keys.
class Looked {
 public:
  Looked(std::size_t layers, Index heads, Index tokens, Index top) : outputs_(layers) {
    for (std::size_t i = 0; i < layers; ++i) {
      entropy.emplace_back(attend::Shape<3>{1, heads, tokens});
      keys.emplace_back(attend::Shape<4>{1, heads, tokens, top});
      weights.emplace_back(attend::Shape<4>{1, heads, tokens, top});
    }
    for (std::size_t i = 0; i < layers; ++i)
      outputs_[i].self.introspection = {
          .entropy = entropy[i], .top_keys = keys[i], .top_weights = weights[i]};
  }
  std::span<const attend::BlockOutputs<float>> outputs() const { return outputs_; }

  std::vector<attend::Tensor<float, 3>> entropy;  // [1, H, T] of each layer
  std::vector<attend::Tensor<Index, 4>> keys;     // [1, H, T, n]
  std::vector<attend::Tensor<float, 4>> weights;

 private:
  std::vector<attend::BlockOutputs<float>> outputs_;
};

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

  const attend::Json config = attend::read_json(std::filesystem::path(folder) / "config.json");
  const std::string kind = config.value("architectures", attend::Json::array({""}))[0].get<std::string>();
  attention_page::Page page{.title = std::filesystem::path(folder).filename().string(), .tokens = {}};
  for (std::int32_t id : ids) page.tokens.push_back(tokenizer.id_to_token(id));
  const auto show = [&](const Looked& looked) {
    for (std::size_t i = 0; i < looked.keys.size(); ++i)
      page.layers.push_back(
          {looked.entropy[i].view()[0], looked.keys[i].view()[0], looked.weights[i].view()[0]});
    std::ofstream out(file, std::ios::binary);
    attention_page::write(out, page);
    if (!out.flush()) attend::throw_error(file, ": cannot be written");
  };
  if (kind.ends_with("ForCausalLM") || kind.ends_with("LMHeadModel")) {
    const auto model = attend::CausalLM<float>::open(folder, {.base_only = true});
    Looked looked(model.options().blocks.size(), model.options().blocks[0].num_heads, T, top);
    attend::Tensor<float, 3> logits({1, 1, model.options().vocab_size});
    auto cache = model.make_cache();
    model.forward(context, {ids.data(), {1, T}}, cache, logits.view(), looked.outputs());
    return show(looked);
  }
  const auto model = attend::BertModel<float>::open(folder, {.base_only = true});
  const std::size_t layers = model.options().layer_order.empty()
                                 ? static_cast<std::size_t>(model.options().num_hidden_layers)
                                 : model.options().layer_order.size();
  Looked looked(layers, model.options().num_attention_heads, T, top);
  attend::Tensor<float, 2> states({T, model.options().hidden_size});
  const Index offsets[] = {0, T};
  model.forward(context, ids, {}, offsets, states.view(), looked.outputs());
  show(looked);
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("attention_page", [&] { run(argc, argv); });
}
