// SentenceEncoder: texts to vectors, by a model and the modules that sentence-transformers puts behind it.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <attend/model/bert.hpp>
#include <attend/model/causal_lm.hpp>
#include <attend/model/family.hpp>
#include <attend/model/modernbert.hpp>
#include <attend/model/sentence_modules.hpp>
#include <attend/text/tokenizer.hpp>

namespace attend::inline ATTEND_ABI {

/// Models that give the states of tokens.
using SentenceModel = std::variant<BertModel<float>, ModernBertModel<float>, CausalLM<float>>;

/// As PyTorch's names say: of euclidean and manhattan the negative distance, so that more is more alike.
enum class SimilarityFunction { cosine, dot, euclidean, manhattan };

/// What a folder says of how texts become vectors.
struct SentenceEncoderOptions {
  SentenceTextOptions text = {};                               // how texts become ids
  SimilarityFunction similarity = SimilarityFunction::cosine;  // what `similarity` computes
  Index truncate_dim = 0;  ///< the first so many values of a vector; 0: all
};

/// Of one call; the prompt stands before each text.
struct SentenceEncodeOptions {
  std::string prompt_name = {};            // one of the folder's prompts; empty: its default one
  std::optional<std::string> prompt = {};  ///< instead of one that has a name
  Index dimensions = 0;                    ///< the first so many values; 0: as the encoder says
};

/// A folder as sentence-transformers writes it (all-MiniLM-L6-v2, BGE, E5, GTE and their kind): modules.json
/// and what it names, config.json, model.safetensors, a tokenizer, config_sentence_transformers.json. Without
/// modules.json the vector is the mean over the tokens, of a decoder the last one. A GGUF file is opened as
/// well: its pooling_type says which vector, of unit length.
class SentenceEncoder {
 public:
  /// Tokens that run together; the products are as fast with more.
  static constexpr std::size_t kGroup = 1024;

  /// Texts are cut at max_length tokens, special ones included, or where the folder says. A module or setting
  /// that is not supported is an error.
  static SentenceEncoder open(const Location& folder, std::optional<Index> max_length = {},
                              const OpenOptions& weights = {});
  static SentenceEncoder open(const Location& folder, const OpenOptions& weights) {
    return open(folder, std::nullopt, weights);
  }

  /// From parts. The first of the modules is a Pooling.
  SentenceEncoder(text::Tokenizer tokenizer, SentenceModel model, std::vector<SentenceModule> modules,
                  SentenceEncoderOptions options = {});

  /// Values of a vector, if a call does not say another number.
  Index embedding_dim() const;
  const text::Tokenizer& tokenizer() const { return tokenizer_; }
  const SentenceEncoderOptions& options() const { return options_; }

  /// The ids that stand for a text, those of the prompt and special ones included.
  std::vector<std::int32_t> encode_ids(std::string_view text, const SentencePrompt& prompt = {}) const;

  /// Vectors [texts, embedding_dim]. Texts run without padding in groups of at most kGroup tokens, which
  /// bounds the workspace (30 MB for MiniLM); a text's vector does not depend on the others.
  Tensor<float, 2> encode(Context& context, std::span<const std::string> texts,
                          const SentenceEncodeOptions& options = {}) const;
  Tensor<float, 2> encode(std::span<const std::string> texts,
                          const SentenceEncodeOptions& options = {}) const {
    return encode(default_context(), texts, options);
  }
  /// {"one text", "another"}, or {text}
  Tensor<float, 2> encode(Context& context, std::initializer_list<std::string_view> texts,
                          const SentenceEncodeOptions& options = {}) const {
    return encode(context, std::vector<std::string>(texts.begin(), texts.end()), options);
  }
  Tensor<float, 2> encode(std::initializer_list<std::string_view> texts,
                          const SentenceEncodeOptions& options = {}) const {
    return encode(default_context(), texts, options);
  }
  /// Of one text: [embedding_dim].
  Tensor<float, 1> encode(Context& context, std::string_view text,
                          const SentenceEncodeOptions& options = {}) const;
  Tensor<float, 1> encode(std::string_view text, const SentenceEncodeOptions& options = {}) const {
    return encode(default_context(), text, options);
  }

  /// The same from ids: text b is ids [offsets[b], offsets[b + 1]), of which the first prompt_tokens are the
  /// prompt; out [texts, N] gets the first N values of each vector, or all.
  void embed(Context& context, std::span<const std::int32_t> ids, std::span<const Index> offsets,
             TensorView<float, 2> out, Index prompt_tokens = 0) const;

  /// How alike vectors are, as the folder says: a [A, N], b [B, N] -> [A, B].
  Tensor<float, 2> similarity(TensorView<const float, 2> a, TensorView<const float, 2> b) const;

 private:
  Index prompt_tokens(const std::string& prompt) const;

  text::Tokenizer tokenizer_;
  SentenceModel model_;
  std::vector<SentenceModule> modules_;
  SentenceEncoderOptions options_;
  Index width_ = 0, widest_ = 0;  // of the last module's output, and the most of any
};

/// Golden vectors of a folder's model, see golden.hpp, in the folder that has its weights.
void write_sentence_golden(const std::filesystem::path& folder, const OpenOptions& weights = {});

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/sentence_encoder.inl>
#endif
