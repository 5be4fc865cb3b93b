// Bodies of cross_encoder.hpp.
#pragma once

#include <algorithm>
#include <utility>

#include <attend/activation.hpp>
#include <attend/io/config.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/sequence_groups.hpp>

namespace attend::inline ATTEND_ABI {

ATTEND_INLINE CrossEncoder::CrossEncoder(text::Tokenizer tokenizer, ClassifierModel model,
                                         Activation activation, SentenceTextOptions options)
    : tokenizer_(std::move(tokenizer)),
      model_(std::move(model)),
      activation_(activation),
      options_(std::move(options)) {
  if (detail::sizes_of(model_).head != BertHead::sequence_classification)
    throw_error("CrossEncoder: the model is no sequence classifier");
  detail::check_size("CrossEncoder", "max_seq_length", options_.max_seq_length);
  options_.max_seq_length = (std::min)(options_.max_seq_length, detail::sizes_of(model_).max_length);
}

ATTEND_INLINE CrossEncoder CrossEncoder::open(const Location& folder, std::optional<Index> max_length,
                                              const OpenOptions& weights) {
  if (max_length) detail::check_size("CrossEncoder", "max_length", *max_length);
  const detail::SentenceFolder found(folder, "CrossEncoder", "sequence-classification");
  if (!found.modules.empty())
    throw_error(found.modules[0].folder.string(), ": module ", detail::in_quotes(found.modules[0].type),
                " of a cross-encoder is not supported");
  const Config config(found.transformer / "config.json");
  std::string activation = found.activation_fn;
  if (activation.empty() && config.has("sentence_transformers"))
    activation = config.object("sentence_transformers").get<std::string>("activation_fn", std::string());
  if (activation.empty())
    activation = config.get<std::string>("sbert_ce_default_activation_function", std::string());
  ClassifierModel model =
      detail::open_classifier(found.transformer, BertHead::sequence_classification, weights);
  const detail::ClassifierSizes sizes = detail::sizes_of(model);
  const bool one = sizes.num_labels == 1;
  text::Tokenizer tokenizer = found.open_tokenizer();
  SentenceTextOptions options = found.text_options(sizes.max_length, max_length);
  return {std::move(tokenizer), std::move(model),
          !activation.empty() ? detail::activation_of_class(config.file(), activation)
          : one               ? Activation::sigmoid
                              : Activation::identity,
          std::move(options)};
}

ATTEND_INLINE Tensor<float, 2> CrossEncoder::score(Context& context, std::string_view query,
                                                   std::span<const std::string> texts,
                                                   const SentencePrompt& prompt) const {
  const std::string first = find_prompt(options_, prompt) + std::string(query);
  const text::EncodeOptions encode{.max_length = static_cast<std::size_t>(options_.max_seq_length),
                                   .truncate_left = options_.truncate_left};
  Tensor<float, 2> out({static_cast<Index>(texts.size()), num_labels()});
  // A model of one type has been trained with all 0, whatever the tokenizer says.
  const bool types = detail::sizes_of(model_).type_vocab_size >= 2 && options_.pair_types;
  const auto pair = [&](std::size_t i) { return tokenizer_.encode_pair(first, texts[i], encode); };
  detail::run_in_groups(texts.size(), kGroup, pair, [&](const detail::TextGroup& group) {
    const std::span<const std::int32_t> type_ids = types ? group.type_ids : std::span<const std::int32_t>();
    const Tensor<float, 2> logits = detail::logits_of(context, model_, group.ids, type_ids, group.offsets);
    activate(context, activation_, logits, out.view().slice(0, group.begin, group.end));
  });
  return out;
}

ATTEND_INLINE Tensor<float, 1> CrossEncoder::score(Context& context, std::string_view query,
                                                   std::string_view text,
                                                   const SentencePrompt& prompt) const {
  const std::string one(text);
  return Tensor<float, 1>(const_view(score(context, query, std::span(&one, 1), prompt))[0]);
}

}  // namespace attend::inline ATTEND_ABI
