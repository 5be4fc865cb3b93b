// Bodies of translator.hpp.
#pragma once

#include <algorithm>
#include <utility>

#include <attend/core/file.hpp>
#include <attend/model/beam_search.hpp>
#include <attend/model/seq2seq_families.hpp>
#include <attend/model/translator.hpp>
#include <attend/text/character_vocabulary.hpp>
#include <attend/text/utf8.hpp>

namespace attend::inline ATTEND_ABI {

struct Translator::Characters {
  text::CharacterVocabulary source, target;
  std::optional<std::int32_t> source_end = {};
};

ATTEND_INLINE std::vector<std::int32_t> generate(Context& context, const Seq2Seq<float>& model,
                                                 std::span<const std::int32_t> source,
                                                 const GenerationOptions& options,
                                                 std::span<const std::int32_t> prefix) {
  check_options(options);
  if (options.temperature > 0)
    throw_error("generate: an encoder-decoder is decoded greedily or by beams, not sampled");
  const std::vector<std::int32_t> eos = options.eos_token_ids.value_or(model.options().eos_token_ids);
  const Tensor<float, 3> states =
      model.encode(context, {source.data(), {1, static_cast<Index>(source.size())}});
  DecoderCache<float> cache = model.make_cache(context, states);
  std::vector<std::int32_t> ids{model.options().decoder_start_token_id};
  ids.insert(ids.end(), prefix.begin(), prefix.end());
  const auto step = [&](std::span<const std::int32_t> next,
                        Index sequences) {  // logits after the last token of each
    const Index T = static_cast<Index>(next.size()) / sequences;
    const Tensor<float, 3> all = model.decode(context, {next.data(), {sequences, T}}, cache);
    Tensor<float, 2> last({sequences, all.size(2)});
    for (Index b = 0; b < sequences; ++b) copy(all.view()[b][T - 1], last.view()[b]);
    return last;
  };
  Tensor<float, 2> logits = step(ids, 1);
  std::vector<std::int32_t> result(prefix.begin(), prefix.end());
  if (options.num_beams > 1) {
    const auto found = beam_search(context, options, eos, ids, logits.view(),
                                   [&](std::span<const Index> parents, std::span<const std::int32_t> next) {
                                     cache.reorder(parents);
                                     logits = step(next, static_cast<Index>(parents.size()));
                                     return logits.view();
                                   });
    result.insert(result.end(), found.front().ids.begin(), found.front().ids.end());
    return result;
  }
  for (Index n = 0; n < options.max_new_tokens; ++n) {
    detail::process(options, ids, logits.span());
    const std::int32_t id = static_cast<std::int32_t>(
        std::max_element(logits.span().begin(), logits.span().end()) - logits.span().begin());
    result.push_back(id);
    ids.push_back(id);
    if (std::find(eos.begin(), eos.end(), id) != eos.end()) break;
    if (n + 1 < options.max_new_tokens) logits = step(std::span<const std::int32_t>(&id, 1), 1);
  }
  return result;
}

ATTEND_INLINE Translator Translator::open(const Location& folder) {
  const Config config(folder / "config.json");
  Translator translator;
  if (config.get<std::string>("model_type") != "attend") {
    translator.model_ = open_seq2seq<float>(folder);
    translator.tokenizer_ = text::Tokenizer::open(folder);
    if (static_cast<Index>(translator.tokenizer_->vocab_size()) >
        translator.model_.options().source_vocab_size)
      throw_error(folder.string(), ": the tokenizer has ", translator.tokenizer_->vocab_size(),
                  " tokens, the model ", translator.model_.options().source_vocab_size);
    return translator;
  }
  const Config tokenizer = config.object("tokenizer");
  tokenizer.allow("kind", "characters");
  const std::string unknown = tokenizer.get<std::string>("unknown", "<unk>");
  const std::string source_end = tokenizer.get<std::string>("source_end", "");
  const auto file = [&](const char* key) {
    return file_in_folder(folder, tokenizer.get<std::string>(key), config.file() + ": '" + key + "'");
  };
  const Location target_file = file("target_vocabulary");
  Characters characters{{file("source_vocabulary"), unknown}, {target_file, unknown}};
  const text::CharacterVocabulary &source = characters.source, &target = characters.target;
  Seq2SeqFamily family =
      detail::read_native(config, static_cast<Index>(source.size()), static_cast<Index>(target.size()));
  family.options.decoder_start_token_id =
      target.at(tokenizer.get<std::string>("target_start"), target_file.string());
  family.options.eos_token_ids = {target.at(tokenizer.get<std::string>("target_end"), target_file.string())};
  if (!source_end.empty()) characters.source_end = source.at(source_end, "source_end");
  config.finish();
  translator.model_ = load_seq2seq<float>(folder, family);
  translator.characters_ = std::make_shared<const Characters>(std::move(characters));
  return translator;
}

ATTEND_INLINE std::string Translator::translate(Context& context, std::string_view line,
                                                const GenerationOptions& options,
                                                std::string_view prefix) const {
  for (const std::string_view given : {line, prefix})
    if (const std::size_t at = text::find_malformed_utf8(given); at < given.size())
      throw_error("translate: the text is not UTF-8 at byte ", at);
  if (!characters_ && !tokenizer_) throw_error("Translator: it was moved from");
  std::vector<std::int32_t> source =
      characters_ ? characters_->source.encode(line) : tokenizer_->encode(line);
  if (characters_ && characters_->source_end) source.push_back(*characters_->source_end);
  if (source.empty()) return {};
  const std::vector<std::int32_t> forced = prefix.empty() ? std::vector<std::int32_t>{}
                                           : characters_
                                               ? characters_->target.encode(prefix)
                                               : tokenizer_->encode(prefix, {.add_special_tokens = false});
  std::vector<std::int32_t> ids = generate(context, model_, source, options, forced);
  const auto& eos = model_.options().eos_token_ids;
  if (!ids.empty() && std::find(eos.begin(), eos.end(), ids.back()) != eos.end()) ids.pop_back();
  if (!characters_) {
    std::erase_if(ids,
                  [&](std::int32_t id) { return !tokenizer_->contains(id); });  // tables are often padded
    return tokenizer_->decode(ids, {.skip_special_tokens = true});
  }
  std::string result;
  for (std::int32_t id : ids) result += characters_->target.token(id);
  return result;
}

}  // namespace attend::inline ATTEND_ABI
