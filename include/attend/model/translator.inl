// Bodies of translator.hpp.
#pragma once

#include <algorithm>
#include <utility>

#include <attend/core/file.hpp>
#include <attend/model/beam_search.hpp>
#include <attend/model/generation_config.hpp>
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
  const std::vector<std::int32_t> eos = options.eos_token_ids.value_or(model.options().eos_token_ids);
  std::vector<std::int32_t> ids{
      options.decoder_start_token_id.value_or(model.options().decoder_start_token_id)};
  ids.insert(ids.end(), prefix.begin(), prefix.end());
  GenerationOptions bounded = options;
  bounded.max_new_tokens =
      detail::room("target", ids.size(), model.options().max_position_embeddings, options);
  std::vector<std::int32_t> result(prefix.begin(), prefix.end());
  if (bounded.max_new_tokens <= 0) return result;
  const Tensor<float, 3> states =
      model.encode(context, {source.data(), {1, static_cast<Index>(source.size())}});
  DecoderCache<float> cache = model.make_cache(context, states);
  const auto step = [&](std::span<const std::int32_t> next,
                        Index sequences) {  // logits after the last token of each
    const Index T = static_cast<Index>(next.size()) / sequences;
    const Tensor<float, 3> all = model.decode(context, {next.data(), {sequences, T}}, cache);
    Tensor<float, 2> last({sequences, all.size(2)});
    for (Index b = 0; b < sequences; ++b) copy(all.view()[b][T - 1], last.view()[b]);
    return last;
  };
  Tensor<float, 2> logits = step(ids, 1);
  if (options.num_beams > 1) {
    const auto found = beam_search(context, bounded, eos, ids, logits.view(),
                                   [&](std::span<const Index> parents, std::span<const std::int32_t> next) {
                                     cache.reorder(parents);
                                     logits = step(next, static_cast<Index>(parents.size()));
                                     return logits.view();
                                   });
    result.insert(result.end(), found.front().ids.begin(), found.front().ids.end());
    return result;
  }
  Sampler sampler(options, 0,
                  {ids.size(), ids.size() + static_cast<std::size_t>(bounded.max_new_tokens), eos});
  for (Index n = 1;; ++n) {
    const std::int32_t id = sampler(context, ids, logits.span());
    result.push_back(id);
    ids.push_back(id);
    if (n == bounded.max_new_tokens || std::find(eos.begin(), eos.end(), id) != eos.end()) return result;
    logits = step(std::span<const std::int32_t>(&id, 1), 1);
  }
}

ATTEND_INLINE Translator::Translator(Seq2Seq<float> model, text::Tokenizer tokenizer,
                                     GenerationOptions options)
    : model_(std::move(model)), generation_options_(std::move(options)), tokenizer_(std::move(tokenizer)) {
  find_languages();
}

ATTEND_INLINE Translator Translator::open(const Location& folder, const GenerationOptions& otherwise,
                                          const OpenOptions& weights) {
  const Config config(folder / "config.json");
  if (config.get<std::string>("model_type") != "attend")
    return {open_seq2seq<float>(folder, weights), text::Tokenizer::open(folder),
            open_generation_options(folder, otherwise)};
  Translator translator;
  translator.generation_options_ = otherwise;
  const Config tokenizer = config.object("tokenizer");
  tokenizer.allow("kind", "characters");
  const std::string unknown = tokenizer.get<std::string>("unknown", "<unk>");
  const std::string source_end = tokenizer.get<std::string>("source_end", "");
  const auto file = [&](const char* key) {
    return detail::file_in_folder(folder, tokenizer.get<std::string>(key), config.file() + ": '" + key + "'");
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
  translator.model_ = load_seq2seq<float>(folder, family, weights);
  translator.characters_ = std::make_shared<const Characters>(std::move(characters));
  return translator;
}

namespace detail {
/// Whether a special token is that of a language: __de__, de_DE or deu_Latn.
inline bool names_language(std::string_view token) {
  const auto letters = [](std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; });
  };
  if (token.size() > 4 && token.starts_with("__") && token.ends_with("__"))
    return letters(token.substr(2, token.size() - 4)) && token.size() < 8;
  const std::size_t bar = token.find('_');
  if (bar != 2 && bar != 3) return false;
  const std::string_view region = token.substr(bar + 1);
  return letters(token.substr(0, bar)) && letters(region) && (region.size() == 2 || region.size() == 4) &&
         region[0] >= 'A' && region[0] <= 'Z';
}
/// What NLLB calls a language that others give two letters.
inline std::string three_letters(std::string_view two) {
  static constexpr std::string_view kAll =
      " af:afr am:amh ar:arb as:asm az:azj be:bel bg:bul bn:ben bs:bos ca:cat cs:ces cy:cym da:dan de:deu "
      "el:ell en:eng eo:epo es:spa et:est eu:eus fa:pes fi:fin fr:fra ga:gle gl:glg gu:guj ha:hau he:heb "
      "hi:hin hr:hrv hu:hun hy:hye id:ind ig:ibo is:isl it:ita ja:jpn jv:jav ka:kat kk:kaz km:khm kn:kan "
      "ko:kor ky:kir lb:ltz lo:lao lt:lit lv:lvs mg:plt mi:mri mk:mkd ml:mal mn:khk mr:mar ms:zsm mt:mlt "
      "my:mya nb:nob ne:npi nl:nld nn:nno no:nob pa:pan pl:pol ps:pbt pt:por ro:ron ru:rus sd:snd si:sin "
      "sk:slk sl:slv so:som sq:als sr:srp su:sun sv:swe sw:swh ta:tam te:tel tg:tgk th:tha tk:tuk tl:tgl "
      "tr:tur tt:tat ug:uig uk:ukr ur:urd uz:uzn vi:vie xh:xho yi:ydd yo:yor zh:zho zu:zul ";
  const std::size_t at = two.size() == 2 ? kAll.find(" " + std::string(two) + ":") : kAll.npos;
  return std::string(at == kAll.npos ? two : kAll.substr(at + 4, 3));
}
}  // namespace detail

ATTEND_INLINE void Translator::find_languages() {
  for (std::int32_t id = 0; id < static_cast<std::int32_t>(tokenizer_->vocab_size()); ++id)
    if (tokenizer_->contains(id) && tokenizer_->is_special(id))
      if (const std::string token = tokenizer_->id_to_token(id); detail::names_language(token))
        languages_.emplace(token, id);
}

ATTEND_INLINE std::vector<std::string> Translator::languages() const {
  std::vector<std::string> out;
  for (const auto& [token, id] : languages_) out.push_back(token);
  return out;
}

ATTEND_INLINE bool Translator::is_language(std::int32_t id) const {
  return std::any_of(languages_.begin(), languages_.end(),
                     [&](const auto& entry) { return entry.second == id; });
}

ATTEND_INLINE std::int32_t Translator::language(std::string_view name) const {
  const std::string text(name);
  if (languages_.empty()) throw_error("translate: language ", text, ": the model has no tokens of languages");
  for (const std::string& token : {text, "__" + text + "__"})
    if (const auto found = languages_.find(token); found != languages_.end()) return found->second;
  const bool two = std::any_of(languages_.begin(), languages_.end(),
                               [&](const auto& entry) { return entry.first.starts_with(text + "_"); });
  const std::string begin = (two ? text : detail::three_letters(text)) + "_";
  std::string fitting, all;
  std::int32_t id = 0;
  int count = 0;
  for (const auto& [token, value] : languages_) {
    all += (all.empty() ? "" : ", ") + token;
    if (!token.starts_with(begin)) continue;
    fitting += (fitting.empty() ? "" : ", ") + token;
    id = value;
    ++count;
  }
  if (count == 1) return id;
  throw_error("translate: language '", text, "' is ", count > 1 ? "one of " + fitting : "none of " + all);
}

/// The ids of a source, no more than there are positions. The token of its language is where the tokenizer
/// puts that of its default.
ATTEND_INLINE std::vector<std::int32_t> Translator::encode(std::string_view line,
                                                           std::string_view language_name, bool& cut) const {
  const std::size_t most = static_cast<std::size_t>(model_.options().max_position_embeddings);
  if (characters_) {
    std::vector<std::int32_t> ids = characters_->source.encode(line);
    const std::size_t end = characters_->source_end ? 1 : 0;
    cut = most > 0 && ids.size() + end > most;
    if (cut) ids.resize(most - end);
    if (end != 0) ids.push_back(*characters_->source_end);
    if (!language_name.empty()) static_cast<void>(language(language_name));
    return ids;
  }
  std::vector<std::int32_t> ids = tokenizer_->encode(line);
  cut = most > 0 && ids.size() > most;
  if (cut) ids = tokenizer_->encode(line, {.max_length = most});
  if (language_name.empty()) return ids;
  const std::int32_t id = language(language_name);
  if (ids.empty() || !(is_language(ids.front()) || is_language(ids.back())))
    throw_error("translate: the tokenizer puts no token of a language around a text");
  (is_language(ids.front()) ? ids.front() : ids.back()) = id;
  return ids;
}

ATTEND_INLINE Translation Translator::translate(Context& context, std::string_view line,
                                                const GenerationOptions& options,
                                                const TranslateOptions& more) const {
  for (const std::string_view given : {line, more.prefix})
    if (const std::size_t at = text::find_malformed_utf8(given); at < given.size())
      throw_error("translate: the text is not UTF-8 at byte ", at);
  if (!characters_ && !tokenizer_) throw_error("Translator: it was moved from");
  GenerationOptions o = options;
  if (!more.target_language.empty()) o.forced_bos_token_id = language(more.target_language);
  if (!languages_.empty() && !o.forced_bos_token_id &&
      !is_language(o.decoder_start_token_id.value_or(model_.options().decoder_start_token_id)))
    throw_error("translate: the model needs a target language");
  Translation result;
  const std::vector<std::int32_t> source = encode(line, more.source_language, result.source_cut);
  if (source.empty()) return result;
  std::vector<std::int32_t> forced;
  if (!more.prefix.empty()) {
    forced = characters_ ? characters_->target.encode(more.prefix)
                         : tokenizer_->encode(more.prefix, {.add_special_tokens = false});
    if (o.forced_bos_token_id) forced.insert(forced.begin(), *o.forced_bos_token_id);
  }
  result.ids = generate(context, model_, source, o, forced);
  std::vector<std::int32_t> ids = result.ids;
  const std::vector<std::int32_t>& eos = o.eos_token_ids ? *o.eos_token_ids : model_.options().eos_token_ids;
  if (!ids.empty() && std::find(eos.begin(), eos.end(), ids.back()) != eos.end()) {
    result.reason = FinishReason::eos;
    ids.pop_back();
  }
  const Index most = model_.options().max_position_embeddings;
  result.cut = result.reason == FinishReason::length && most > 0 && std::ssize(result.ids) + 1 >= most;
  if (!characters_) {
    std::erase_if(ids,
                  [&](std::int32_t id) { return !tokenizer_->contains(id); });  // tables are often padded
    result.text = tokenizer_->decode(ids, {.skip_special_tokens = true});
    return result;
  }
  for (std::int32_t id : ids) result.text += characters_->target.token(id);
  return result;
}

ATTEND_INLINE std::vector<Translation> Translator::translate(Context& context,
                                                             std::span<const std::string> lines,
                                                             const GenerationOptions& options,
                                                             const TranslateOptions& more) const {
  std::vector<Translation> out;
  for (const std::string& line : lines)
    out.push_back(translate(context, std::string_view(line), options, more));
  return out;
}

}  // namespace attend::inline ATTEND_ABI
