// The models that give labels, to one text or to each token, whatever their family.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <variant>

#include <attend/model/bert.hpp>
#include <attend/model/modernbert.hpp>

namespace attend::inline ATTEND_ABI {

/// With the head of a classifier.
using ClassifierModel = std::variant<BertModel<float>, ModernBertModel<float>>;

namespace detail {

/// What a classifier asks of its model, whichever it is.
struct ClassifierSizes {
  BertHead head;
  Index num_labels, max_length, type_vocab_size;
};
inline ClassifierSizes sizes_of(const BertModel<float>& model) {
  const BertOptions& o = model.options();
  return {o.head, o.num_labels, model.max_length(), o.type_vocab_size};
}
inline ClassifierSizes sizes_of(const ModernBertModel<float>& model) {
  const ModernBertOptions& o = model.options();
  return {o.head, o.num_labels, model.max_length(), 0};
}
inline ClassifierSizes sizes_of(const ClassifierModel& model) {
  return std::visit([](const auto& m) { return sizes_of(m); }, model);
}

/// Logits [texts, labels], or of tokens [tokens, labels]; type_ids may be empty: all 0.
inline Tensor<float, 2> logits_of(Context& context, const ClassifierModel& model,
                                  std::span<const std::int32_t> ids, std::span<const std::int32_t> type_ids,
                                  std::span<const Index> offsets) {
  const auto* bert = std::get_if<BertModel<float>>(&model);
  return bert ? bert->logits(context, ids, type_ids, offsets)
              : std::get<ModernBertModel<float>>(model).logits(context, ids, offsets);
}

/// Error where the folder's model has another head.
ClassifierModel open_classifier(const Location& folder, BertHead head, const OpenOptions& weights = {});

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
namespace attend::inline ATTEND_ABI::detail {

ATTEND_INLINE ClassifierModel open_classifier(const Location& folder, BertHead head,
                                              const OpenOptions& weights) {
  const Config config(folder / "config.json");
  ClassifierModel model;
  if (config.get<std::string>("model_type", "bert") == "modernbert")
    model = ModernBertModel<float>::open(folder, weights);
  else
    model = BertModel<float>::open(folder, weights);
  if (sizes_of(model).head != head)
    throw_error(config.file(), ": no ",
                head == BertHead::token_classification ? "token classifier" : "sequence classifier",
                " ('architectures')");
  return model;
}

}  // namespace attend::inline ATTEND_ABI::detail
#endif
