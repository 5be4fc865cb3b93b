// One HTML file that shows what each head of a model looks at in a text: see attention_page.hpp.
#include <fstream>
#include <iostream>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/causal_lm.hpp>
#include <attend/model/translator.hpp>
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

  --model DIR    Hugging Face folder of an encoder (BERT and its kin), a decoder, or both (T5, BART, Marian):
                 what that writes is shown, too, and what it looks at in the text meanwhile
  --html FILE    where to write the page
  --text TEXT    the text; without it standard input is
  --to LANGUAGE  in which the latter writes, where it has several
  --top N        keys that are kept of each token and head (default: all up to 64 tokens, 8 of longer texts)
  --threads N    threads to compute with (default: 1)
  --quiet        no progress and no remarks on standard error
  --help         show this

Example:
  attention_page --model bert-base-uncased --html page.html --text 'The bread was wonderful.'

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

using Outputs = attend::BlockOutputs<float>;

/// Room for what a run of a model gives: each layer's and head's entropy and strongest keys.
void make_room(attention_page::Page& page, std::vector<Outputs>& outputs, Index heads, Index top,
               attend::AttentionOutputs<float> Outputs::*which = &Outputs::self) {
  const Index T = static_cast<Index>(page.tokens.size());
  top = std::min(top, page.keys());
  for (std::size_t i = 0; i < outputs.size(); ++i)
    page.layers.push_back({attend::Tensor<float, 3>({1, heads, T}),
                           attend::Tensor<Index, 4>({1, heads, T, top}),
                           attend::Tensor<float, 4>({1, heads, T, top})});
  for (std::size_t i = 0; i < outputs.size(); ++i)
    (outputs[i].*which).introspection = {.entropy = page.layers[i].entropy,
                                         .top_keys = page.layers[i].keys,
                                         .top_weights = page.layers[i].weights};
}

/// A model that writes one text of another: what it looks at in that while it writes, and in each of the two.
std::vector<attention_page::Page> look_at_both(attend::Context& context, const attend::Translator& translator,
                                               const attend::text::Tokenizer& tokenizer,
                                               const std::string& text, std::span<const std::int32_t> ids,
                                               const std::string& language, Index top) {
  const attend::Seq2Seq<float>& model = translator.model();
  const attend::Translation made = translator.translate(context, text, {.target_language = language});
  std::vector<std::int32_t> target{model.options().decoder_start_token_id};
  target.insert(target.end(), made.ids.begin(), made.ids.end() - (made.reason == attend::FinishReason::eos));
  std::vector<std::string> read, written;
  for (std::int32_t id : ids) read.push_back(tokenizer.id_to_token(id));
  for (std::int32_t id : target) written.push_back(tokenizer.id_to_token(id));

  attention_page::Page across{.title = "The text that is written, looking at the one that is read",
                              .tokens = written,
                              .sources = read};
  attention_page::Page reader{.title = "The text that is read: " + text, .tokens = read};
  attention_page::Page writer{.title = "The text that is written: " + made.text, .tokens = written};
  const auto& encoder = model.options().encoder;
  const auto& decoder = model.options().decoder;
  std::vector<Outputs> of_reader(static_cast<std::size_t>(encoder.num_layers)),
      of_writer(static_cast<std::size_t>(decoder.num_layers));
  make_room(reader, of_reader, encoder.block.num_heads, top);
  make_room(writer, of_writer, decoder.block.num_heads, top);
  make_room(across, of_writer, decoder.block.num_heads, top, &Outputs::cross);
  const auto states = model.encode(context, {ids.data(), {1, std::ssize(ids)}}, {}, of_reader);
  auto cache = model.make_cache(context, states);
  model.decode(context, {target.data(), {1, std::ssize(target)}}, cache, of_writer);
  return {std::move(across), std::move(reader), std::move(writer)};
}

void run(int argc, char** argv) {
  const CommandLine arguments(argc, argv, {}, {"--model", "--html", "--text", "--to", "--top", "--threads"});
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
  std::vector<attention_page::Page> pages(1);
  attention_page::Page& page = pages[0];
  for (std::int32_t id : ids) page.tokens.push_back(tokenizer.id_to_token(id));
  if (kind.ends_with("ForCausalLM") || kind.ends_with("LMHeadModel")) {
    const auto model = attend::CausalLM<float>::open(folder, {.base_only = true});
    std::vector<Outputs> outputs(blocks = model.options().blocks.size());
    make_room(page, outputs, model.options().blocks[0].num_heads, top);
    attend::Tensor<float, 3> logits({1, 1, model.options().vocab_size});
    auto cache = model.make_cache();
    model.forward(context, {ids.data(), {1, T}}, cache, logits.view(), outputs);
  } else if (config.value("is_encoder_decoder", false)) {
    pages = look_at_both(context, attend::Translator::open(folder), tokenizer, text, ids,
                         arguments.text("--to"), top);
  } else {
    const auto model = attend::BertModel<float>::open(folder, {.base_only = true});
    const auto& options = model.options();
    std::vector<Outputs> outputs(blocks = options.layer_order.empty()
                                              ? static_cast<std::size_t>(options.num_hidden_layers)
                                              : options.layer_order.size());
    make_room(page, outputs, options.num_attention_heads, top);
    attend::Tensor<float, 2> states({T, options.hidden_size});
    const Index offsets[] = {0, T};
    model.forward(context, ids, {}, offsets, states.view(), outputs);
  }
  std::ofstream out(file, std::ios::binary);
  attention_page::write(
      out, std::filesystem::path(folder + "/").parent_path().filename().string() + ": what its heads look at",
      pages);
  if (!out.flush()) attend::throw_error(file, ": cannot be written");
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("attention_page", [&] { run(argc, argv); });
}
