// SentenceEncoder: texts to vectors, by a BERT-like model, the mean over its tokens and unit length.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/model/bert.hpp>
#include <attend/text/tokenizer.hpp>

namespace attend::inline ATTEND_ABI {

/// A folder as sentence-transformers writes it (all-MiniLM-L6-v2 and its kind): config.json,
/// model.safetensors, vocab.txt or tokenizer.json.
class SentenceEncoder {
 public:
  /// Tokens that run together; the products are as fast with more.
  static constexpr std::size_t kGroup = 1024;

  /// Texts are cut at max_length tokens, special ones included.
  static SentenceEncoder open(const std::filesystem::path& folder, Index max_length = 256);

  Index embedding_dim() const { return model_.options().hidden_size; }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }
  std::vector<std::int32_t> encode_ids(std::string_view text) const {
    return tokenizer_.encode(text, {.max_length = static_cast<std::size_t>(max_length_)});
  }

  /// Vectors of unit length, [texts, embedding_dim]. Texts run without padding in groups of at most kGroup
  /// tokens, which bounds the workspace (30 MB for MiniLM); a text's vector does not depend on the others.
  Tensor<float, 2> encode(Context& context, std::span<const std::string> texts) const;

  /// The same from ids: text b is ids [offsets[b], offsets[b + 1]); out [texts, embedding_dim].
  void embed(Context& context, std::span<const std::int32_t> ids, std::span<const Index> offsets,
             TensorView<float, 2> out) const;

 private:
  SentenceEncoder(text::Tokenizer tokenizer, BertModel<float> model)
      : tokenizer_(std::move(tokenizer)), model_(std::move(model)) {}

  text::Tokenizer tokenizer_;
  BertModel<float> model_;
  Index max_length_ = 0;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/sentence_encoder.inl>
#endif
