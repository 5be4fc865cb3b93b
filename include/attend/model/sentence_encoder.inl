// Bodies of sentence_encoder.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <attend/gguf/folder.hpp>
#include <attend/io/config.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/sequence_groups.hpp>
#include <attend/rows.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {

inline Index state_width(const SentenceModel& model) {
  return std::visit([](const auto& m) { return state_width(m); }, model);
}
/// Tokens that the model takes.
inline Index longest_text(const SentenceModel& model) {
  const Index longest = std::visit([](const auto& m) { return m.max_length(); }, model);
  return longest > 0 ? longest : Index{1} << 30;
}

/// ids [tokens] -> out [tokens, E], text by text.
inline void token_states(Context& context, const SentenceModel& model, std::span<const std::int32_t> ids,
                         std::span<const Index> offsets, TensorView<float, 2> out) {
  if (const auto* bert = std::get_if<BertModel<float>>(&model))
    return bert->forward(context, ids, {}, offsets, out);
  if (const auto* modern = std::get_if<ModernBertModel<float>>(&model))
    return modern->forward(context, ids, offsets, out);
  std::get<CausalLM<float>>(model).states(context, ids, offsets, out);
}

inline SentenceModel open_sentence_model(const Location& folder, OpenOptions weights) {
  weights.base_only = true;
  const Config config(folder / "config.json");
  const std::string type = config.get<std::string>("model_type", "bert");
  if (type == "modernbert") return ModernBertModel<float>::open(folder, weights);
  if (is_causal_family(type)) return CausalLM<float>::open(folder, weights);
  return BertModel<float>::open(folder, weights);
}

/// What sentence-transformers does with a folder that is not its own.
inline std::vector<SentenceModule> default_modules(const Location& folder) {
  const Config config(folder / "config.json");
  const auto architectures = config.get<std::vector<std::string>>("architectures", {});
  const bool decoder = !architectures.empty() && architectures[0].ends_with("ForCausalLM");
  return {Pooling{.modes = {decoder ? PoolingMode::lasttoken : PoolingMode::mean}}};
}

/// The sum of f(a[i], b[i]), in four sums in double, so that no flag shows in the result.
template <class F>
double sum_over(TensorView<const float, 1> a, TensorView<const float, 1> b, F&& f) {
  std::array<double, 4> sums{};
  for (Index i = 0; i < a.size(0); ++i)
    sums[static_cast<std::size_t>(i) % 4] += f(static_cast<double>(a[i]), static_cast<double>(b[i]));
  return sums[0] + sums[1] + (sums[2] + sums[3]);
}

}  // namespace detail

ATTEND_INLINE SentenceEncoder::SentenceEncoder(text::Tokenizer tokenizer, SentenceModel model,
                                               std::vector<SentenceModule> modules,
                                               SentenceEncoderOptions options)
    : tokenizer_(std::move(tokenizer)),
      model_(std::move(model)),
      modules_(std::move(modules)),
      options_(std::move(options)) {
  const Index width = detail::state_width(model_);
  detail::check_size("SentenceEncoder", "max_seq_length", options_.text.max_seq_length);
  detail::check_count("SentenceEncoder", "truncate_dim", options_.truncate_dim);
  if (modules_.empty() || !std::holds_alternative<Pooling>(modules_[0]))
    throw_error("SentenceEncoder: the first of the modules is no Pooling");
  options_.text.max_seq_length = (std::min)(options_.text.max_seq_length, detail::longest_text(model_));
  width_ = width;
  for (const SentenceModule& module : modules_) {
    width_ = detail::module_width(module, std::holds_alternative<Pooling>(module) ? width : width_);
    widest_ = (std::max)(widest_, width_);
  }
}

ATTEND_INLINE SentenceEncoder SentenceEncoder::open(const Location& folder, std::optional<Index> max_length,
                                                    const OpenOptions& weights) {
  if (max_length) detail::check_size("SentenceEncoder", "max_length", *max_length);
  const detail::SentenceFolder found(detail::model_folder(folder), "SentenceTransformer",
                                     "feature-extraction");
  SentenceModel model = detail::open_sentence_model(found.transformer, weights);
  Index width = detail::state_width(model);
  std::vector<SentenceModule> modules = found.has_modules ? detail::open_modules(found.modules, width)
                                                          : detail::default_modules(found.transformer);
  SentenceEncoderOptions options{.text = found.text_options(detail::longest_text(model), max_length),
                                 .truncate_dim = found.truncate_dim};
  constexpr const char* names[] = {"cosine", "dot", "euclidean", "manhattan"};
  for (int i = 0; i < 4; ++i)
    if (found.similarity_fn_name == names[i]) options.similarity = static_cast<SimilarityFunction>(i);
  return {found.open_tokenizer(), std::move(model), std::move(modules), std::move(options)};
}

ATTEND_INLINE Index SentenceEncoder::embedding_dim() const {
  return options_.truncate_dim > 0 ? (std::min)(options_.truncate_dim, width_) : width_;
}

ATTEND_INLINE std::vector<std::int32_t> SentenceEncoder::encode_ids(std::string_view text,
                                                                    const SentencePrompt& prompt) const {
  const text::EncodeOptions options{.max_length = static_cast<std::size_t>(options_.text.max_seq_length),
                                    .truncate_left = options_.text.truncate_left};
  return tokenizer_.encode(find_prompt(options_.text, prompt) + std::string(text), options);
}

/// As sentence-transformers counts: what the prompt alone gives, but for a special token at its end.
ATTEND_INLINE Index SentenceEncoder::prompt_tokens(const std::string& prompt) const {
  if (prompt.empty()) return 0;
  const std::vector<std::int32_t> ids = encode_ids({}, {.prompt_name = {}, .prompt = prompt});
  return static_cast<Index>(ids.size()) - (!ids.empty() && tokenizer_.is_special(ids.back()) ? 1 : 0);
}

ATTEND_INLINE Tensor<float, 2> SentenceEncoder::encode(Context& context, std::span<const std::string> texts,
                                                       const SentenceEncodeOptions& options) const {
  const std::string prompt = find_prompt(options_.text, {options.prompt_name, options.prompt});
  const SentencePrompt given{.prompt_name = {}, .prompt = prompt};
  const Index before = prompt_tokens(prompt);
  if (options.dimensions < 0 || options.dimensions > width_)
    throw_error("SentenceEncoder: ", options.dimensions, " dimensions of ", width_);
  Tensor<float, 2> out(
      {static_cast<Index>(texts.size()), options.dimensions > 0 ? options.dimensions : embedding_dim()});
  const auto encode_one = [&](std::size_t i) {
    text::Encoding one;
    one.ids = encode_ids(texts[i], given);
    return one;
  };
  detail::run_in_groups(texts.size(), kGroup, encode_one, [&](const detail::TextGroup& group) {
    embed(context, group.ids, group.offsets, out.view().slice(0, group.begin, group.end), before);
  });
  return out;
}

ATTEND_INLINE Tensor<float, 1> SentenceEncoder::encode(Context& context, std::string_view text,
                                                       const SentenceEncodeOptions& options) const {
  const std::string one(text);
  return Tensor<float, 1>(const_view(encode(context, std::span(&one, 1), options))[0]);
}

ATTEND_INLINE void SentenceEncoder::embed(Context& context, std::span<const std::int32_t> ids,
                                          std::span<const Index> offsets, TensorView<float, 2> out,
                                          Index prompt_tokens) const {
  const Index tokens = static_cast<Index>(ids.size()), B = static_cast<Index>(offsets.size()) - 1;
  detail::longest_sequence("SentenceEncoder (offsets)", offsets, tokens);
  detail::check_count("SentenceEncoder", "prompt_tokens", prompt_tokens);
  const bool some = out.size(1) > 0 && out.size(1) < width_;
  Rows<float>(out).check_output("SentenceEncoder", Shape<1>{B}, some ? out.size(1) : width_);
  Frame frame(context.workspace());
  const TensorView<float, 2> states = frame.tensor<float>({tokens, detail::state_width(model_)});
  detail::token_states(context, model_, ids, offsets, states);
  // Two buffers: a module of another width writes from one into the other.
  std::array<float*, 2> room{frame.take<float>(B * widest_), frame.take<float>(B * widest_)};
  TensorView<float, 2> x;
  for (const SentenceModule& module : modules_) {
    const auto* pooling = std::get_if<Pooling>(&module);
    const TensorView<float, 2> next(room[1],
                                    {B, detail::module_width(module, pooling ? states.size(1) : x.size(1))});
    if (pooling)
      detail::pool(context, *pooling, states, offsets, prompt_tokens, next), x = next;
    else
      x = detail::apply_module(context, module, x, next);
    if (x.data() == room[1]) std::swap(room[0], room[1]);
  }
  context.parallel(1, 1, [&](Index, int) { copy(x.slice(1, 0, out.size(1)), out); });
}

ATTEND_INLINE Tensor<float, 2> SentenceEncoder::similarity(TensorView<const float, 2> a,
                                                           TensorView<const float, 2> b) const {
  if (a.size(1) != b.size(1))
    detail::fail_shape("SentenceEncoder (similarity)", "[..., " + std::to_string(a.size(1)) + "]", b.shape());
  using View = TensorView<const float, 1>;
  const auto product = [](View x, View y) {
    return detail::sum_over(x, y, [](double u, double v) { return u * v; });
  };
  const detail::FloatEnvironment environment;
  const SimilarityFunction kind = options_.similarity;
  const auto lengths = [&](TensorView<const float, 2> x) {
    std::vector<double> out(static_cast<std::size_t>(x.size(0)), 1.0);
    for (std::size_t i = 0; i < out.size() && kind == SimilarityFunction::cosine; ++i) {
      const View row = x[static_cast<Index>(i)];
      out[i] = (std::max)(std::sqrt(product(row, row)), 1e-12);
    }
    return out;
  };
  const std::vector<double> of_a = lengths(a), of_b = lengths(b);
  Tensor<float, 2> out({a.size(0), b.size(0)});
  for (Index i = 0; i < a.size(0); ++i)
    for (Index j = 0; j < b.size(0); ++j) {
      const View x = a[i], y = b[j];
      double value = 0;
      if (kind == SimilarityFunction::euclidean)
        value = -std::sqrt(detail::sum_over(x, y, [](double u, double v) { return (u - v) * (u - v); }));
      else if (kind == SimilarityFunction::manhattan)
        value = -detail::sum_over(x, y, [](double u, double v) { return std::abs(u - v); });
      else
        value = product(x, y) / of_a[static_cast<std::size_t>(i)] / of_b[static_cast<std::size_t>(j)];
      out(i, j) = static_cast<float>(value);
    }
  return out;
}

ATTEND_INLINE void write_sentence_golden(const std::filesystem::path& folder, const OpenOptions& weights) {
  const detail::SentenceFolder found(detail::model_folder(folder), "SentenceTransformer",
                                     "feature-extraction");
  Context context;
  std::visit(
      [&](const auto& model) {
        detail::golden_of(context, model, true).save(found.transformer.path(), model.options().weights);
      },
      detail::open_sentence_model(found.transformer, weights));
}

}  // namespace attend::inline ATTEND_ABI
