// Translator: text to text by an encoder-decoder folder; and the generation of ids it is made of.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <attend/model/sampling.hpp>
#include <attend/model/seq2seq.hpp>
#include <attend/text/tokenizer.hpp>

namespace attend::inline ATTEND_ABI {

/// Target ids for one source, without the start token, with the end token if one came: `prefix` first, then
/// what follows it, greedily or by beam search as the options say.
std::vector<std::int32_t> generate(Context& context, const Seq2Seq<float>& model,
                                   std::span<const std::int32_t> source, const GenerationOptions& options,
                                   std::span<const std::int32_t> prefix = {});

/// A folder with config.json, weights and vocabularies: a Hugging Face one, or attend's own form.
class Translator {
 public:
  static Translator open(const Location& folder);

  const Seq2Seq<float>& model() const { return model_; }

  /// The translation of one text; it begins with `prefix`.
  std::string translate(Context& context, std::string_view line, const GenerationOptions& options,
                        std::string_view prefix = {}) const;

 private:
  Seq2Seq<float> model_;
  std::optional<text::Tokenizer> tokenizer_;
  struct Characters;
  std::shared_ptr<const Characters> characters_;  // of attend's own form, which has no tokenizer
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/translator.inl>
#endif
