// Bodies of sentence_modules.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include <attend/io/config.hpp>
#include <attend/json/fields.hpp>
#include <attend/model/family.hpp>
#include <attend/model/sentence_modules.hpp>

namespace attend::inline ATTEND_ABI {

ATTEND_INLINE void Dense::parameters(ParameterVisitor<float> visit) {
  linear.parameters(prefixed("linear", visit));
  if (residual.options().out_features > 0) residual.parameters(prefixed("residual", visit));
}

ATTEND_INLINE std::string find_prompt(const SentenceTextOptions& options, const SentencePrompt& prompt) {
  if (prompt.prompt) return *prompt.prompt;
  const std::string& name = prompt.prompt_name.empty() ? options.default_prompt_name : prompt.prompt_name;
  if (name.empty()) return {};
  const auto found = options.prompts.find(name);
  if (found != options.prompts.end()) return found->second;
  std::string names;
  for (const auto& [known, text] : options.prompts)
    names += (names.empty() ? "" : ", ") + detail::in_quotes(known);
  throw_error("no prompt is called ", detail::in_quotes(name), "; there are ",
              names.empty() ? "none" : names);
}

namespace detail {

/// An absent file says nothing.
inline Config optional_config(const Location& path) {
  return path.exists() ? Config(path) : Config("{}", path.string());
}

// ---- modules.json

inline std::vector<SentenceFolder::Module> read_modules(const Location& folder) {
  const Location file = folder / "modules.json";
  const auto json = share_json(file);
  if (!json->is_array()) fail_json_type(file.string(), "a list", *json);
  std::vector<SentenceFolder::Module> modules;
  for (std::size_t i = 0; i < json->size(); ++i) {
    const JsonObject entry((*json)[i], file.string() + "[" + std::to_string(i) + "]");
    entry.allow({"idx", "name", "path", "kwargs"});
    const std::string type = entry.string("type"), path = entry.string("path", "");
    if (!type.starts_with("sentence_transformers."))
      throw_error(entry.where("type"), " ", in_quotes(type), " is not supported");
    for (const auto& part : std::filesystem::path(path))
      if (part == ".." || std::filesystem::path(path).is_absolute())
        throw_error(entry.where("path"), " ", in_quotes(path), " leads out of the folder");
    modules.push_back({type.substr(type.rfind('.') + 1), folder / path});
  }
  if (modules.empty() || modules[0].type != "Transformer")
    throw_error(file.string(), ": the first module is ",
                modules.empty() ? "missing" : in_quotes(modules[0].type),
                "; supported is only 'Transformer'");
  return modules;
}

inline Index read_max_length(const Config& config, const char* key) {
  if (!config.has(key)) return config.ignore({key}), 0;
  const Index length = config.get<Index>(key);
  if (length < 1) throw_error(config.file(), ": ", in_quotes(key), " is ", length);
  return length;
}

/// What the Transformer module says of its texts.
inline void read_transformer_config(SentenceFolder& out, const char* task) {
  Location file = out.transformer;
  for (const char* kind : {"bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"}) {
    file = out.transformer / (std::string("sentence_") + kind + "_config.json");
    if (file.exists()) break;
  }
  if (!file.exists()) return;
  const Config config(file);
  out.text.max_seq_length = read_max_length(config, "max_seq_length");
  out.do_lower_case = config.get<bool>("do_lower_case", false);
  const bool scores = std::string_view(task) == "sequence-classification";
  config.allow("transformer_task", nullptr, task);
  config.allow("module_output_name", nullptr, scores ? "scores" : "token_embeddings");
  if (config.has("modality_config")) {
    const Config text = config.object("modality_config").object("text");
    text.allow("method", "forward");
    text.allow("method_output_name", scores ? "logits" : "last_hidden_state");
  }
  config.allow("query_length", nullptr);
  config.allow("document_length", nullptr);
  config.allow("query_expansion", nullptr);
  config.ignore({"unpad_inputs"});
  for (const char* key : {"tokenizer_args", "processor_kwargs", "model_args", "model_kwargs", "config_args",
                          "config_kwargs", "processing_kwargs"}) {
    config.ignore({key});
    if (!config.has(key)) continue;
    const Config more = config.object(key);
    more.ignore({"trust_remote_code"});
    if (const Index length = read_max_length(more, "model_max_length")) out.text.max_seq_length = length;
  }
  config.finish();
}

/// Whether transformers hands a model the types that the tokenizer gives: as the file says, or the class that
/// it names, or that of the model.
inline bool gives_types(const Config& tokenizer, const Location& folder) {
  if (tokenizer.is_list("model_input_names")) {
    const auto names = tokenizer.get<std::vector<std::string>>("model_input_names");
    return std::find(names.begin(), names.end(), "token_type_ids") != names.end();
  }
  std::string name = tokenizer.get<std::string>("tokenizer_class", "");
  if (name.empty())
    return optional_config(folder / "config.json").get<std::string>("model_type", "") != "albert";
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  static constexpr std::string_view without[] = {
      "AlbertTokenizer",     "CamembertTokenizer", "DistilBertTokenizer", "MPNetTokenizer",
      "PreTrainedTokenizer", "RobertaTokenizer",   "TokenizersBackend",   "XLMRobertaTokenizer"};
  return std::find(std::begin(without), std::end(without), name) == std::end(without);
}

/// The file is the tokenizer's, which reads the rest.
inline void read_truncation(SentenceFolder& out) {
  const Config config = optional_config(out.transformer / "tokenizer_config.json");
  config.allow("truncation_side", nullptr, "right", "left");
  out.text.truncate_left = config.get<std::string>("truncation_side", "right") == "left";
  out.text.pair_types = gives_types(config, out.transformer);
  if (out.text.max_seq_length > 0) return;
  // Some files have 1e30, as a number of 31 digits, for no limit.
  const double length = config.get<double>("model_max_length", 1e30);
  if (!(length >= 1)) throw_error(config.file(), ": 'model_max_length' is ", length);
  const Config model = optional_config(out.transformer / "config.json");
  const Index positions = model.get<Index>("max_position_embeddings", 0);
  out.text.max_seq_length =
      static_cast<Index>((std::min)(length, positions > 0 ? static_cast<double>(positions) : 2147483647.0));
}

ATTEND_INLINE SentenceFolder::SentenceFolder(const Location& folder, const char* kind, const char* task)
    : transformer(folder), has_modules((folder / "modules.json").exists()) {
  text.max_seq_length = 0;
  if (std::string_view(kind) == "SentenceTransformer")  // they have prompts of these names, if empty ones
    for (const char* name : {"query", "document"}) text.prompts.emplace(name, "");
  if (has_modules) {
    modules = read_modules(folder);
    transformer = modules[0].folder;
    modules.erase(modules.begin());
    const Config config = optional_config(folder / "config_sentence_transformers.json");
    config.allow("model_type", nullptr, kind);
    if (config.has("prompts")) {
      const Config prompts = config.object("prompts");
      for (const std::string& name : prompts.keys())
        text.prompts[name] = prompts.get<std::string>(name, std::string());
    }
    text.default_prompt_name = config.get<std::string>("default_prompt_name", std::string());
    config.allow("similarity_fn_name", nullptr, "cosine", "dot", "euclidean", "manhattan");
    similarity_fn_name = config.get<std::string>("similarity_fn_name", "cosine");
    activation_fn = config.get<std::string>("activation_fn", std::string());
    truncate_dim = read_max_length(config, "truncate_dim");
    config.ignore({"__version__", "prompts"});
    config.finish();
    if (!text.default_prompt_name.empty() && !text.prompts.contains(text.default_prompt_name))
      throw_error(config.file(), ": 'default_prompt_name' ", in_quotes(text.default_prompt_name),
                  " is not among the prompts");
    read_transformer_config(*this, task);
  }
  read_truncation(*this);
}

ATTEND_INLINE text::Tokenizer SentenceFolder::open_tokenizer() const {
  const text::Tokenizer tokenizer = text::Tokenizer::open(transformer);
  return do_lower_case ? tokenizer.lowercased() : tokenizer;
}

ATTEND_INLINE SentenceTextOptions SentenceFolder::text_options(Index most,
                                                               std::optional<Index> max_length) const {
  SentenceTextOptions options = text;
  if (max_length) options.max_seq_length = *max_length;
  if (options.max_seq_length == 0 || options.max_seq_length > most) options.max_seq_length = most;
  return options;
}

// ---- The modules themselves

ATTEND_INLINE Activation activation_of_class(const std::string& where, const std::string& name) {
  static constexpr std::pair<std::string_view, Activation> known[] = {
      {"Identity", Activation::identity}, {"Tanh", Activation::tanh}, {"Sigmoid", Activation::sigmoid},
      {"ReLU", Activation::relu},         {"GELU", Activation::gelu}, {"SiLU", Activation::silu}};
  if (name.starts_with("torch."))
    for (const auto& [text, activation] : known)
      if (name.substr(name.rfind('.') + 1) == text) return activation;
  throw_error(where, ": activation ", in_quotes(name), " is not supported");
}

inline constexpr std::array<std::pair<const char*, const char*>, 6> kPoolingKeys = {
    {{"cls", "pooling_mode_cls_token"},
     {"max", "pooling_mode_max_tokens"},
     {"mean", "pooling_mode_mean_tokens"},
     {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"},
     {"weightedmean", "pooling_mode_weightedmean_tokens"},
     {"lasttoken", "pooling_mode_lasttoken"}}};

inline Pooling read_pooling(const Config& config) {
  Pooling pooling;
  pooling.include_prompt = config.get<bool>("include_prompt", true);
  std::vector<std::string> names;
  if (config.is_list("pooling_mode"))
    names = config.get<std::vector<std::string>>("pooling_mode");
  else if (config.has("pooling_mode"))
    names = {config.get<std::string>("pooling_mode")};
  for (const auto& [name, key] : kPoolingKeys)
    if (const bool on = config.get<bool>(key, false); on && !config.has("pooling_mode"))
      names.push_back(name);
  if (!names.empty()) pooling.modes.clear();
  for (const std::string& name : names) {
    const auto found = std::find_if(kPoolingKeys.begin(), kPoolingKeys.end(),
                                    [&](const auto& mode) { return name == mode.first; });
    if (found == kPoolingKeys.end())
      throw_error(config.file(), ": 'pooling_mode' ", in_quotes(name), " is not supported");
    pooling.modes.push_back(static_cast<PoolingMode>(found - kPoolingKeys.begin()));
  }
  config.ignore({"embedding_dimension", "word_embedding_dimension", "pooling_mode"});
  config.finish();
  return pooling;
}

inline Dense open_dense(const Location& folder, const Config& config, Index width) {
  const Index in = config.get<Index>("in_features"), out = config.get<Index>("out_features");
  if (in != width || out < 1)
    throw_error(config.file(), ": ", in, " in_features and ", out, " out_features behind ", width, " values");
  Dense dense;
  const bool bias = config.get<bool>("bias", true);
  dense.activation = activation_of_class(
      config.file(), config.get<std::string>("activation_function", "torch.nn.modules.activation.Tanh"));
  dense.use_residual = config.get<bool>("use_residual", false);
  config.finish();
  const SafeTensors file(folder / "model.safetensors");
  check_sizes(config.file(), file, {{out, in}});
  dense.linear = Linear<float>({.in_features = in, .out_features = out, .bias = bias});
  if (dense.use_residual && in != out)
    dense.residual = Linear<float>({.in_features = in, .out_features = out, .bias = false});
  load(dense, file);
  return dense;
}

inline Norm<float> open_layer_norm(const Location& folder, const Config& config, Index width) {
  if (const Index dimension = config.get<Index>("dimension"); dimension != width)
    throw_error(config.file(), ": 'dimension' is ", dimension, " behind ", width, " values");
  config.finish();
  Norm<float> norm({width, 1e-5, NormKind::layer, true, true});
  load(norm, SafeTensors(folder / "model.safetensors"), "norm");
  return norm;
}

ATTEND_INLINE std::vector<SentenceModule> open_modules(const std::vector<SentenceFolder::Module>& modules,
                                                       Index& width) {
  std::vector<SentenceModule> out;
  const Index states = width;
  for (const SentenceFolder::Module& module : modules) {
    const bool pools = module.type == "Pooling";
    const Location file = module.folder / "config.json";
    const Config config = pools ? Config(file) : optional_config(file);
    if (out.empty() && !pools)
      throw_error(config.file(), ": module ", in_quotes(module.type), " before a 'Pooling' is not supported");
    for (const char* key : {"module_input_name", "module_output_name"})
      if (!pools) config.allow(key, nullptr, "sentence_embedding");
    if (pools) {
      out.emplace_back(read_pooling(config));
      width = states;
    } else if (module.type == "Dense") {
      out.emplace_back(open_dense(module.folder, config, width));
    } else if (module.type == "LayerNorm") {
      out.emplace_back(open_layer_norm(module.folder, config, width));
    } else if (module.type == "Normalize") {
      config.finish();
      out.emplace_back(Normalize{});
    } else if (module.type != "Dropout") {  // which does nothing outside of training
      throw_error(module.folder.string(), ": module ", in_quotes(module.type), " is not supported");
    }
    if (module.type != "Dropout") width = module_width(out.back(), width);
  }
  if (out.empty()) throw_error("modules.json: there is no 'Pooling' behind the 'Transformer'");
  return out;
}

ATTEND_INLINE Index module_width(const SentenceModule& module, Index width) {
  if (const auto* pooling = std::get_if<Pooling>(&module))
    return width * static_cast<Index>(pooling->modes.size());
  if (const auto* dense = std::get_if<Dense>(&module)) return dense->linear.options().out_features;
  return width;
}

/// One mode over tokens [first, T) of states [T, E] -> out [E]. Sums in double, so that no flag or order
/// shows in the result. Of no tokens the result is 0, but for the first token, which is then that of all.
inline void pool_one(PoolingMode mode, TensorView<const float, 2> states, Index first,
                     TensorView<float, 1> out) {
  const Index T = states.size(0), E = states.size(1), n = T - first;
  const bool one = mode == PoolingMode::cls || mode == PoolingMode::lasttoken;
  const bool weighted = mode == PoolingMode::weightedmean;
  double total = static_cast<double>(n);
  if (mode == PoolingMode::mean_sqrt_len_tokens) total = std::sqrt(total);
  if (weighted) total = static_cast<double>(n) * static_cast<double>(first + 1 + T) / 2;
  for (Index e = 0; e < E; ++e) {
    double value = 0;
    if (one) {
      const Index t = mode == PoolingMode::lasttoken ? T - 1 : n > 0 ? first : 0;
      if (n > 0 || (mode == PoolingMode::cls && T > 0)) value = static_cast<double>(states(t, e));
    } else if (mode == PoolingMode::max) {
      for (Index t = first; t < T; ++t)
        value = t == first ? static_cast<double>(states(t, e))
                           : (std::max)(value, static_cast<double>(states(t, e)));
    } else {
      for (Index t = first; t < T; ++t)
        value += static_cast<double>(states(t, e)) * (weighted ? static_cast<double>(t + 1) : 1.0);
      value = n > 0 ? value / total : 0;
    }
    out[e] = static_cast<float>(value);
  }
}

ATTEND_INLINE void pool(Context& context, const Pooling& pooling, TensorView<const float, 2> states,
                        std::span<const Index> offsets, Index prompt_tokens, TensorView<float, 2> out) {
  const Index E = states.size(1);
  context.parallel(1, 1, [&](Index, int) {
    for (Index b = 0; b < out.size(0); ++b) {
      const Index begin = offsets[static_cast<std::size_t>(b)],
                  end = offsets[static_cast<std::size_t>(b) + 1];
      const Index first = pooling.include_prompt ? 0 : (std::min)(prompt_tokens, end - begin);
      for (std::size_t i = 0; i < pooling.modes.size(); ++i)
        pool_one(pooling.modes[i], states.slice(0, begin, end), first,
                 out[b].slice(0, static_cast<Index>(i) * E, (static_cast<Index>(i) + 1) * E));
    }
  });
}

inline void to_unit_length(TensorView<float, 1> x) {
  double squares = 0;
  for (Index e = 0; e < x.size(0); ++e) squares += static_cast<double>(x[e]) * static_cast<double>(x[e]);
  const double scale = 1 / (std::max)(std::sqrt(squares), 1e-12);
  for (Index e = 0; e < x.size(0); ++e) x[e] = static_cast<float>(static_cast<double>(x[e]) * scale);
}

ATTEND_INLINE TensorView<float, 2> apply_module(Context& context, const SentenceModule& module,
                                                TensorView<float, 2> x, TensorView<float, 2> out) {
  if (const auto* dense = std::get_if<Dense>(&module)) {
    dense->linear.forward(context, x, out, {dense->activation, {}});
    if (!dense->use_residual) return out;
    Frame frame(context.workspace());
    TensorView<float, 2> more = x;
    if (dense->residual.options().out_features > 0) {
      more = frame.tensor<float>({out.size(0), out.size(1)});
      dense->residual.forward(context, x, more);
    }
    context.parallel(1, 1, [&](Index, int) {
      for (Index b = 0; b < out.size(0); ++b)
        for (Index e = 0; e < out.size(1); ++e) out(b, e) += more(b, e);
    });
    return out;
  }
  if (const auto* norm = std::get_if<Norm<float>>(&module)) norm->forward(context, x, x);
  if (std::holds_alternative<Normalize>(module))
    context.parallel(1, 1, [&](Index, int) {
      for (Index b = 0; b < x.size(0); ++b) to_unit_length(x[b]);
    });
  return x;
}

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI
