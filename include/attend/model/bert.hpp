// BERT (arXiv:1810.04805) and the sentence encoders that are one.
#pragma once

#include <cmath>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <attend/embedding.hpp>
#include <attend/encoder.hpp>
#include <attend/io/config.hpp>
#include <attend/io/state_dict.hpp>
#include <attend/model/hugging_face.hpp>

namespace attend {

struct BertOptions {
  Index vocab_size = 0, max_position_embeddings = 512, type_vocab_size = 2;
  Index hidden_size = 0, num_hidden_layers = 0, num_attention_heads = 1, intermediate_size = 0;
  Activation hidden_act = Activation::gelu;
  double layer_norm_eps = 1e-12;
};

/// Reads what a Hugging Face config.json says of a BERT; error for a key that changes the arithmetic and is unknown.
inline BertOptions read_bert_options(const Config& config) {
  BertOptions o;
  config.allow("model_type", "bert");
  o.vocab_size = config.get<Index>("vocab_size");
  o.hidden_size = config.get<Index>("hidden_size");
  o.num_hidden_layers = config.get<Index>("num_hidden_layers");
  o.num_attention_heads = config.get<Index>("num_attention_heads");
  o.intermediate_size = config.get<Index>("intermediate_size");
  o.hidden_act = activation_from_string(config.get<std::string>("hidden_act", "gelu"));
  o.max_position_embeddings = config.get<Index>("max_position_embeddings", 512);
  o.type_vocab_size = config.get<Index>("type_vocab_size", 2);
  o.layer_norm_eps = config.get<double>("layer_norm_eps", 1e-12);
  config.allow("position_embedding_type", "absolute");
  config.allow("is_decoder", false);
  config.allow("add_cross_attention", false);
  return o;
}

/// The base model without heads. Tokens of several texts lie one after the other, without padding.
/// Parameters: embeddings.{word,position,token_type}_embeddings.weight, embeddings.LayerNorm.*, encoder.layers.N.* as
/// in EncoderBlock.
template <class Scalar>
class BertModel {
 public:
  BertModel() = default;
  explicit BertModel(const BertOptions& o)
      : options_(o),
        word_({o.vocab_size, o.hidden_size}),
        position_({o.max_position_embeddings, o.hidden_size}),
        token_type_({o.type_vocab_size, o.hidden_size}),
        norm_({o.hidden_size, o.layer_norm_eps, NormKind::layer, true, true}),
        encoder_({.block = {.embed_dim = o.hidden_size,
                            .num_heads = o.num_attention_heads,
                            .dim_feedforward = o.intermediate_size,
                            .activation = o.hidden_act,
                            .layer_norm_eps = o.layer_norm_eps},
                  .num_layers = o.num_hidden_layers,
                  .final_norm = false}) {}

  /// From a Hugging Face folder: config.json and model.safetensors (or its shards).
  static BertModel open(const std::filesystem::path& folder) {
    const Config config(folder / "config.json");
    BertModel model(read_bert_options(config));
    ignore_bookkeeping(config);
    config.finish();
    load(model, SafeTensors::open_folder(folder), "(bert.|)",
         {.ignore = {"position_ids", "pooler.dense.*", "cls.*", "classifier.*"}, .names = names()});
    return model;
  }

  /// Our names to those of Hugging Face's checkpoints, old (gamma, beta) and new.
  static NameMap names() {
    return NameMap{{"embeddings.LayerNorm.weight", "embeddings.LayerNorm.(weight|gamma)"},
                   {"embeddings.LayerNorm.bias", "embeddings.LayerNorm.(bias|beta)"},
                   {"encoder.layers.*.self_attn.in_proj_*",
                    {"encoder.layer.*.attention.self.query.*", "encoder.layer.*.attention.self.key.*",
                     "encoder.layer.*.attention.self.value.*"}},
                   {"encoder.layers.*.self_attn.out_proj.*", "encoder.layer.*.attention.output.dense.*"},
                   {"encoder.layers.*.linear1.*", "encoder.layer.*.intermediate.dense.*"},
                   {"encoder.layers.*.linear2.*", "encoder.layer.*.output.dense.*"},
                   {"encoder.layers.*.norm1.weight", "encoder.layer.*.attention.output.LayerNorm.(weight|gamma)"},
                   {"encoder.layers.*.norm1.bias", "encoder.layer.*.attention.output.LayerNorm.(bias|beta)"},
                   {"encoder.layers.*.norm2.weight", "encoder.layer.*.output.LayerNorm.(weight|gamma)"},
                   {"encoder.layers.*.norm2.bias", "encoder.layer.*.output.LayerNorm.(bias|beta)"}};
  }

  const BertOptions& options() const { return options_; }

  template <class Visitor>
  void parameters(Visitor&& visit) {
    word_.parameters(prefixed("embeddings.word_embeddings", visit));
    position_.parameters(prefixed("embeddings.position_embeddings", visit));
    token_type_.parameters(prefixed("embeddings.token_type_embeddings", visit));
    norm_.parameters(prefixed("embeddings.LayerNorm", visit));
    encoder_.parameters(prefixed("encoder", visit));
  }

  /// Text b is tokens [offsets[b], offsets[b + 1]). ids, type_ids (or empty: all 0) [tokens] -> out [tokens, E].
  void forward(Context& context, std::span<const std::int32_t> ids, std::span<const std::int32_t> type_ids,
               std::span<const Index> offsets, TensorView<Scalar, 2> out) const {
    const Index tokens = static_cast<Index>(ids.size());
    check_shape("BertModel (output)", Shape<2>{tokens, options_.hidden_size}, out.shape());
    if (!type_ids.empty() && type_ids.size() != ids.size())
      fail_shape("BertModel (type_ids)", to_string(Shape<1>{tokens}), Shape<1>{static_cast<Index>(type_ids.size())});
    Frame frame(context.workspace());
    const std::span<std::int32_t> numbers(frame.take<std::int32_t>(tokens), ids.size());
    const auto add = [&](const Embedding<Scalar>& embedding, std::span<const std::int32_t> of, bool to_sum) {
      embedding.forward(context, TensorView<const std::int32_t, 1>(of.data(), {tokens}), out, to_sum);
    };
    add(word_, ids, false);
    context.parallel(1, 1, [&](Index, int) { std::fill(numbers.begin(), numbers.end(), 0); });
    add(token_type_, type_ids.empty() ? numbers : type_ids, true);
    context.parallel(1, 1, [&](Index, int) {
      for (std::size_t b = 0; b + 1 < offsets.size(); ++b)
        for (Index t = offsets[b]; t < offsets[b + 1]; ++t)
          numbers[static_cast<std::size_t>(t)] = static_cast<std::int32_t>(t - offsets[b]);
    });
    add(position_, numbers, true);
    const TensorView<Scalar, 3> x(out.data(), {1, tokens, options_.hidden_size});
    norm_.template forward<3>(context, x, x);
    encoder_.forward(context, x, {.query_offsets = offsets, .key_offsets = offsets}, x);
  }

 private:
  BertOptions options_;
  Embedding<Scalar> word_, position_, token_type_;
  Norm<Scalar> norm_;
  Encoder<Scalar> encoder_;
};

}  // namespace attend
