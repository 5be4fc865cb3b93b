// Translator: text to text by an encoder-decoder folder; and the generation of ids it is made of.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <attend/model/family.hpp>
#include <attend/model/sampling.hpp>
#include <attend/model/seq2seq.hpp>
#include <attend/text/tokenizer.hpp>

namespace attend::inline ATTEND_ABI {

/// Target ids for one source, without the start token, with the end token if one came: `prefix` first, then
/// what follows it as the options say, as far as the model has positions. Errors: a source longer than these.
std::vector<std::int32_t> generate(Context& context, const Seq2Seq<float>& model,
                                   std::span<const std::int32_t> source, const GenerationOptions& options,
                                   std::span<const std::int32_t> prefix = {});
inline std::vector<std::int32_t> generate(const Seq2Seq<float>& model, std::span<const std::int32_t> source,
                                          const GenerationOptions& options,
                                          std::span<const std::int32_t> prefix = {}) {
  return generate(default_context(), model, source, options, prefix);
}

/// What else may be said of a translation. Languages are those of models that have a token for each (M2M100,
/// NLLB, mBART): the token itself, or what it is of in short ("de" for __de__, de_DE or deu_Latn).
struct TranslateOptions {
  std::string_view prefix = {};                                 // what the translation begins with
  std::string_view source_language = {}, target_language = {};  // default: as the folder says
};

/// What a Translator made of one line.
struct Translation {
  std::string text;               // without special tokens
  std::vector<std::int32_t> ids;  // with the end token if there is one
  FinishReason reason = FinishReason::length;
  bool source_cut = false;  // the source has more tokens than the model has positions
  bool cut = false;         // the translation has as many as there are, and no end
};

/// A folder with config.json, weights and vocabularies: a Hugging Face one, or attend's own form.
class Translator {
 public:
  /// Of its parts: the tokenizer is that of source and target.
  Translator(Seq2Seq<float> model, text::Tokenizer tokenizer, GenerationOptions options = {});
  /// `otherwise` says how long a text may be where the folder does not.
  static Translator open(const Location& folder, const GenerationOptions& otherwise = {},
                         const OpenOptions& weights = {});
  static Translator open(const Location& folder, const OpenOptions& weights) {
    return open(folder, GenerationOptions(), weights);
  }

  const Seq2Seq<float>& model() const { return model_; }
  /// How the folder says that it translates.
  const GenerationOptions& generation_options() const { return generation_options_; }
  /// The tokens of languages, in the order of their letters; most models have none.
  std::vector<std::string> languages() const;

  /// The translation of one text. Errors: a language that the model does not have, or none of a target for a
  /// model that has several.
  Translation translate(Context& context, std::string_view line, const GenerationOptions& options,
                        const TranslateOptions& more = {}) const;
  /// As the folder says.
  Translation translate(Context& context, std::string_view line, const TranslateOptions& more = {}) const {
    return translate(context, line, generation_options_, more);
  }
  Translation translate(std::string_view line, const GenerationOptions& options,
                        const TranslateOptions& more = {}) const {
    return translate(default_context(), line, options, more);
  }
  Translation translate(std::string_view line, const TranslateOptions& more = {}) const {
    return translate(line, generation_options_, more);
  }
  /// Of each of several texts: {"one", "another"}, or {text}.
  std::vector<Translation> translate(Context& context, std::span<const std::string> lines,
                                     const GenerationOptions& options,
                                     const TranslateOptions& more = {}) const;
  std::vector<Translation> translate(Context& context, std::span<const std::string> lines,
                                     const TranslateOptions& more = {}) const {
    return translate(context, lines, generation_options_, more);
  }
  std::vector<Translation> translate(std::span<const std::string> lines, const GenerationOptions& options,
                                     const TranslateOptions& more = {}) const {
    return translate(default_context(), lines, options, more);
  }
  std::vector<Translation> translate(std::span<const std::string> lines,
                                     const TranslateOptions& more = {}) const {
    return translate(default_context(), lines, generation_options_, more);
  }
  std::vector<Translation> translate(Context& context, std::initializer_list<std::string_view> lines,
                                     const GenerationOptions& options,
                                     const TranslateOptions& more = {}) const {
    return translate(context, std::vector<std::string>(lines.begin(), lines.end()), options, more);
  }
  std::vector<Translation> translate(Context& context, std::initializer_list<std::string_view> lines,
                                     const TranslateOptions& more = {}) const {
    return translate(context, lines, generation_options_, more);
  }
  std::vector<Translation> translate(std::initializer_list<std::string_view> lines,
                                     const GenerationOptions& options,
                                     const TranslateOptions& more = {}) const {
    return translate(default_context(), lines, options, more);
  }
  std::vector<Translation> translate(std::initializer_list<std::string_view> lines,
                                     const TranslateOptions& more = {}) const {
    return translate(default_context(), lines, generation_options_, more);
  }

 private:
  Translator() = default;
  void find_languages();
  std::int32_t language(std::string_view name) const;
  bool is_language(std::int32_t id) const;
  std::vector<std::int32_t> encode(std::string_view line, std::string_view language, bool& cut) const;

  Seq2Seq<float> model_;
  GenerationOptions generation_options_;
  std::optional<text::Tokenizer> tokenizer_;
  std::map<std::string, std::int32_t, std::less<>> languages_;
  struct Characters;
  std::shared_ptr<const Characters> characters_;  // of attend's own form, which has no tokenizer
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/translator.inl>
#endif
