#include "models.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <utility>

#include <attend/model/bert.hpp>
#include <attend/model/causal_lm.hpp>

namespace bench {
namespace {

using attend::BertModel;
using attend::CausalLM;
using attend::Index;

/// A model that is made when it is first used, once for all problems.
template <class Model>
class Lazy {
 public:
  explicit Lazy(std::function<Model()> make) : make_(std::move(make)) {}
  const Model& get() {
    if (model_ == nullptr) model_ = std::make_unique<Model>(make_());
    return *model_;
  }

 private:
  std::function<Model()> make_;
  std::unique_ptr<Model> model_;
};

/// One whose weights are of a type.
template <class Model>
struct Typed {
  WeightType type;
  std::shared_ptr<Lazy<Model>> model;
};

template <class Model>
Model randomised(Model model) {
  model.parameters([](const std::string&, attend::Parameter<float> parameter) {
    const float scale = 1 / std::sqrt(static_cast<float>(parameter.row_size()));
    parameter.assign(0, parameter.rows(), random<1>({parameter.numel()}, scale).data());
  });
  return model;
}

/// ids [B, T], spread over the vocabulary; the first thousand of a large one are special or unused.
std::vector<std::int32_t> ids_of(Index B, Index T, Index vocab_size) {
  const Index first = vocab_size > 2000 ? 1000 : 0;
  std::vector<std::int32_t> ids;
  for (Index i = 0; i < B * T; ++i)
    ids.push_back(static_cast<std::int32_t>(first + i * 7919 % (vocab_size - first)));
  return ids;
}

std::string with_size(const std::string& name, const char* key, Index size) {
  return name + "/" + key + ":" + std::to_string(size);
}

// ---- model/minilm
// --------------------------------------------------------------------------------------------------

struct EncoderRun {
  std::shared_ptr<Lazy<BertModel<float>>> model;
  Context context;
  std::vector<std::int32_t> ids;
  std::vector<Index> offsets{0};
  Tensor<float, 3> out;

  EncoderRun(std::shared_ptr<Lazy<BertModel<float>>> lazy, Index B, Index T, int threads)
      : model(std::move(lazy)), context(threads) {
    const attend::BertOptions& o = model->get().options();
    ids = ids_of(B, T, o.vocab_size);
    for (Index b = 0; b < B; ++b) offsets.push_back((b + 1) * T);
    out = Tensor<float, 3>({B, T, o.hidden_size});
  }
  void run() { model->get().forward(context, ids, {}, offsets, out.view().rows()); }
};

void add_encoders(const std::string& folder, std::vector<ModelProblem>& problems) {
  attend::BertOptions o{.vocab_size = 8192,
                        .hidden_size = 384,
                        .num_hidden_layers = 6,
                        .num_attention_heads = 12,
                        .intermediate_size = 1536};
  const auto lazy = [&](WeightType type) {
    o.set_weights(type, attend::ActivationType::int8);
    return std::make_shared<Lazy<BertModel<float>>>([=] {
      return folder.empty() ? randomised(BertModel<float>(o))
                            : BertModel<float>::open(folder, {.weights = type, .base_only = true});
    });
  };
  std::vector<Typed<BertModel<float>>> models{{WeightType::float32, lazy(WeightType::float32)}};
  if (!folder.empty()) o = models[0].model->get().options();
  for (const WeightType type : kReduced) models.push_back({type, lazy(type)});
  const Index sizes[][2] = {{1, 8}, {1, 16}, {1, 32}, {1, 128}, {1, 512}, {8, 32}, {32, 16}, {32, 128}};
  for (const auto& [B, T] : sizes) {
    if (T > o.max_position_embeddings) continue;
    const double tokens = static_cast<double>(B * T), E = static_cast<double>(o.hidden_size),
                 F = static_cast<double>(o.intermediate_size);
    const double layer = 2 * tokens * (4 * E * E + 2 * E * F) + 4 * E * tokens * static_cast<double>(T);
    for (const auto& [type, model] : models)
      problems.push_back(
          {with_size(with_size("model/minilm", "B", B), "T", T) + suffix_of(type),
           {static_cast<double>(o.num_hidden_layers) * layer, 0},
           tokens,
           [model = model, B = B, T = T](int threads) {
             const auto run = std::make_shared<EncoderRun>(model, B, T, threads);
             return Job{[=] { run->run(); }, [=] { return std::as_const(run->out).span(); }, &run->context};
           }});
  }
}

// ---- generate
// ------------------------------------------------------------------------------------------------------

/// Behind `past` tokens, T more and the logits of what follows.
struct DecoderRun {
  std::shared_ptr<Lazy<CausalLM<float>>> model;
  Context context;
  std::vector<std::int32_t> ids;
  Index past;
  attend::CausalCache<float> cache;
  Tensor<float, 3> logits;

  DecoderRun(std::shared_ptr<Lazy<CausalLM<float>>> lazy, Index begin, Index T, int threads)
      : model(std::move(lazy)), context(threads), past(begin) {
    const Index V = model->get().options().vocab_size;
    ids = ids_of(1, past + T, V);
    cache = model->get().make_cache();
    logits = Tensor<float, 3>({1, 1, V});
    if (past > 0) forward(0, past);
  }
  void forward(Index begin, Index end) {
    model->get().forward(context, {ids.data() + begin, {1, end - begin}}, cache, logits);
  }
  void run() {
    cache.rewind(0, past);
    forward(past, static_cast<Index>(ids.size()));
  }
};

/// The sizes of a trained story model of 15 million parameters.
attend::CausalLMOptions small_llama() {
  const attend::CausalBlockOptions block{.embed_dim = 288,
                                         .num_heads = 6,
                                         .num_kv_heads = 6,
                                         .head_dim = 48,
                                         .dim_feedforward = 768,
                                         .activation = attend::Activation::silu,
                                         .gated = true,
                                         .norm = attend::NormKind::rms,
                                         .qkv_bias = false,
                                         .out_bias = false,
                                         .mlp_bias = false};
  return {.vocab_size = 32000,
          .embed_dim = 288,
          .max_position_embeddings = 2048,
          .blocks = {6, block},
          .rotary = attend::RotaryOptions{.head_dim = 48},
          .tie_word_embeddings = true};
}

/// What T tokens behind `past` others cost: all products of the layers, the head once, attention by visible
/// pairs.
Cost cost_of(const attend::CausalLMOptions& o, Index past, Index T) {
  Cost cost = Cost::of_weights(1, o.vocab_size * o.embed_dim, o.weights);
  for (const attend::CausalBlockOptions& b : o.blocks) {
    const Index in = b.embed_dim * (b.num_heads + 2 * b.num_kv_heads) * b.head_dim,
                out = b.num_heads * b.head_dim * b.embed_dim;
    const Cost products =
        Cost::of_weights(T, in + out + (b.gated ? 3 : 2) * b.embed_dim * b.dim_feedforward, o.weights);
    double pairs = 0;
    for (Index t = past; t < past + T; ++t)
      pairs += static_cast<double>(b.sliding_window > 0 ? std::min(b.sliding_window, t + 1) : t + 1);
    cost.operations += products.operations + 4 * pairs * static_cast<double>(b.num_heads * b.head_dim);
    cost.bytes += products.bytes + 8 * pairs * static_cast<double>(b.num_kv_heads * b.head_dim);
  }
  if (T > 1) cost.bytes = 0;
  return cost;
}

void add_decoders(const std::string& folder, std::vector<ModelProblem>& problems) {
  attend::CausalLMOptions o = small_llama();
  const auto lazy = [&](WeightType type) {
    o.set_weights(type, attend::ActivationType::int8);
    return std::make_shared<Lazy<CausalLM<float>>>([=] {
      return folder.empty() ? randomised(CausalLM<float>(o))
                            : CausalLM<float>::open(folder, {.weights = type});
    });
  };
  std::vector<Typed<CausalLM<float>>> models{{WeightType::float32, lazy(WeightType::float32)}};
  if (!folder.empty()) o = models[0].model->get().options();
  for (const WeightType type : kReduced) models.push_back({type, lazy(type)});
  const auto add = [&](const std::string& name, Index past, Index T) {
    if (o.max_position_embeddings > 0 && past + T > o.max_position_embeddings) return;
    for (const auto& [type, model] : models) {
      o.set_weights(type, attend::ActivationType::int8);
      problems.push_back({name + suffix_of(type), cost_of(o, past, T), static_cast<double>(T),
                          [=, model = model](int threads) {
                            const auto run = std::make_shared<DecoderRun>(model, past, T, threads);
                            return Job{[=] { run->run(); }, [=] { return std::as_const(run->logits).span(); },
                                       &run->context};
                          }});
    }
  };
  for (Index T : {16, 128, 512}) add(with_size("generate/prompt", "T", T), 0, T);
  for (Index S : {16, 128, 512}) add(with_size("generate/token", "S", S), S, 1);
}

}  // namespace

std::vector<ModelProblem> model_problems(const std::string& folder) {
  std::vector<ModelProblem> problems;
  bool encoder = false;
  if (!folder.empty()) {
    const std::string type =
        attend::Config(std::filesystem::path(folder) / "config.json").get<std::string>("model_type");
    encoder = type == "bert" || type == "roberta" || type == "distilbert";
  }
  add_encoders(encoder ? folder : "", problems);
  add_decoders(encoder ? "" : folder, problems);
  return problems;
}

}  // namespace bench
