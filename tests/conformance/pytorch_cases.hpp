// Encoder and decoder layers and stacks with values that PyTorch publishes: case.json says what to build.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <attend/attend.hpp>
#include <attend/json/json.hpp>

#include "run.hpp"

namespace conformance::pytorch {

/// A case.json whose every entry must be asked for.
class Settings {
 public:
  Settings(fs::path folder, const attend::Json& json) : folder_(std::move(folder)), json_(json) {
    for (const char* remark : {"name", "note", "source", "tags"}) asked_.insert(remark);
  }
  template <class T>
  T get(const std::string& name) {
    asked_.insert(name);
    return json_.at(name).get<T>();
  }
  template <class T>
  T get(const std::string& name, const T& otherwise) {
    asked_.insert(name);
    return json_.value(name, otherwise);
  }
  void no_more() const {
    for (const auto& [key, value] : json_.items())
      if (!asked_.contains(key)) throw Skip{"entry '" + key + "' is not supported"};
  }
  const fs::path& folder() const { return folder_; }

 private:
  fs::path folder_;
  const attend::Json& json_;
  std::set<std::string> asked_;
};

/// Gives every parameter of a stack the values of the file that has its name, the same in every layer. A file
/// that no parameter takes is an error.
template <class S, class Stack>
void load_parameters(Stack& stack, const fs::path& folder) {
  std::set<fs::path> left_over;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) left_over.insert(entry.path());
  stack.parameters([&](const std::string& name, attend::Parameter<S> parameter) {
    if (name.rfind("layers.", 0) != 0) return;  // the final norm, which is the identity
    const std::string inner = name.substr(name.find('.', 7) + 1);
    fs::path file = folder / (inner + ".npy");
    if (!fs::exists(file)) {  // self_attn.out_proj_weight, as PyTorch's C++ modules name it
      std::string other = inner;
      other[other.rfind('.')] = '_';
      file = folder / (other + ".npy");
    }
    const Npy npy = read_npy(file);
    if (npy.shape != parameter.shape())
      attend::throw_error(file.string(), ": byte 10: expected ", attend::to_string(parameter.shape()),
                          ", got ", attend::to_string(npy.shape));
    std::vector<S> values(static_cast<std::size_t>(npy.numel()));
    npy.copy_to(values.data());
    parameter.assign(0, parameter.rows(), values.data());
    left_over.erase(file);
  });
  if (!left_over.empty()) attend::throw_error(left_over.begin()->string(), ": no parameter has this name");
}

/// What the masks of one attention come from: a padding mask [B, Tk], true = ignore, and a mask [Tq, Tk],
/// true = not allowed, or numbers to be added.
template <class S>
struct Masks {
  std::optional<Array<std::uint8_t>> padding, forbidden;
  std::optional<Array<S>> additive;

  bool any() const { return padding || forbidden || additive; }
  attend::AttentionOptions<S> options() const {
    attend::AttentionOptions<S> options;
    const auto allowed = [&] {
      return attend::visible_if(
          [mask = forbidden->template view<2>()](Index, Index, Index q, Index k) { return mask(q, k) == 0; });
    };
    const auto not_padding = [&] { return attend::key_padding_mask(padding->template view<2>()); };
    if (padding && forbidden)
      options.mask = not_padding() & allowed();
    else if (padding)
      options.mask = not_padding();
    else if (forbidden)
      options.mask = allowed();
    if (additive) options.mask = options.mask & attend::additive(additive->template view<2>());
    return options;
  }
};

/// The inputs of a case by name.
class Inputs {
 public:
  explicit Inputs(Settings& settings)
      : folder_(settings.folder()), files_(settings.get<std::map<std::string, std::string>>("inputs")) {}

  bool has(const std::string& name) const { return files_.contains(name); }
  Npy take(const std::string& name) {
    const auto found = files_.find(name);
    if (found == files_.end()) attend::throw_error("the case has no input ", name);
    const Npy npy = read_npy(folder_ / found->second);
    files_.erase(found);
    return npy;
  }
  template <class S>
  Masks<S> masks(const std::vector<std::string>& padding_names, const std::vector<std::string>& mask_names,
                 Index B, Index Tq, Index Tk) {
    Masks<S> masks;
    for (const std::string& name : padding_names)
      if (has(name)) {
        const Npy npy = take(name);
        if (masks.padding || npy.dtype != "bool")
          throw Skip{"padding mask '" + name + "' is doubled or not boolean"};
        attend::detail::check_shape(name.c_str(), Shape<2>{B, Tk}, npy.shape);
        masks.padding.emplace(npy);
      }
    for (const std::string& name : mask_names)
      if (has(name)) {
        const Npy npy = take(name);
        if (masks.forbidden || masks.additive) throw Skip{"mask '" + name + "' is doubled"};
        attend::detail::check_shape(name.c_str(), Shape<2>{Tq, Tk}, npy.shape);
        if (npy.dtype == "bool")
          masks.forbidden.emplace(npy);
        else
          masks.additive.emplace(npy);
      }
    return masks;
  }
  void no_more() const {
    if (!files_.empty()) throw Skip{"input '" + files_.begin()->first + "' is not supported"};
  }

 private:
  fs::path folder_;
  std::map<std::string, std::string> files_;
};

/// Sequences as [B, T, E], whichever layout the file has.
template <class S>
Tensor<S, 3> batch_first(const Npy& npy, bool sequence_first) {
  const Array<S> array(npy);
  const TensorView<const S, 3> view = array.template view<3>();
  return Tensor<S, 3>(sequence_first ? view.transpose(0, 1) : view);
}

template <class S>
std::string run_stack(Settings& settings, Inputs& inputs, bool is_decoder, bool is_stack) {
  const std::string layout = settings.get<std::string>("layout");
  if (layout != "seq,batch,dim" && layout != "batch,seq,dim")
    throw Skip{"layout '" + layout + "' is not supported"};
  const bool sequence_first = layout == "seq,batch,dim";
  const Index layers = settings.get<Index>("layers", 1);
  const bool final_norm = settings.get<bool>("final_norm_affine_identity", false);
  if (!is_stack && (layers != 1 || final_norm))
    attend::throw_error("a single layer with the options of a stack");
  if (settings.get<double>("dropout", 0) != 0) throw Skip{"dropout is not supported"};
  const std::string mask_meaning = settings.get<std::string>("mask_true_means", "ignore this key");
  if (mask_meaning != "ignore this key")
    throw Skip{"mask_true_means '" + mask_meaning + "' is not supported"};
  attend::DecoderBlockOptions block;
  block.embed_dim = settings.get<Index>("d_model");
  block.num_heads = settings.get<Index>("nhead");
  block.dim_feedforward = settings.get<Index>("dim_feedforward");
  block.activation = attend::activation_from_string(settings.get<std::string>("activation"));
  block.norm_first = settings.get<bool>("norm_first", false);
  block.layer_norm_eps = settings.get<double>("eps", 1e-5);
  block.bias = settings.get<bool>("bias", true);
  const std::string parameters = settings.get<std::string>("params"), where = "files in ";
  if (parameters.find(where) == std::string::npos) throw Skip{"params '" + parameters + "' names no folder"};
  const fs::path folder = settings.folder() / parameters.substr(parameters.find(where) + where.size());
  const auto expected = read_npy(settings.folder() / settings.get<std::string>("expected"));
  const attend::Json limits = settings.get<attend::Json>("tolerance");
  const Tolerance tolerance{limits.at("atol").get<double>(), limits.at("rtol").get<double>()};
  settings.no_more();

  const Tensor<S, 3> x = batch_first<S>(inputs.take("x"), sequence_first);
  Tensor<S, 3> memory, out(x.shape());
  if (is_decoder) memory = batch_first<S>(inputs.take("memory"), sequence_first);
  const Index B = x.size(0), T = x.size(1);
  const Masks<S> self = inputs.masks<S>({"key_padding_mask", "src_key_padding_mask", "tgt_key_padding_mask"},
                                        {"mask", "attn_mask", "src_mask", "tgt_mask"}, B, T, T);
  Masks<S> cross;
  if (is_decoder) cross = inputs.masks<S>({"memory_key_padding_mask"}, {"memory_mask"}, B, T, memory.size(1));
  inputs.no_more();

  attend::Context& context = attend::default_context();
  if (is_decoder) {
    attend::Decoder<S> decoder({.block = block, .num_layers = layers, .final_norm = final_norm});
    load_parameters<S>(decoder, folder);
    decoder.forward(context, x, {.self = self.options(), .cross = cross.options(), .memory = memory}, out);
  } else {
    attend::EncoderBlockOptions o;
    o.embed_dim = block.embed_dim, o.num_heads = block.num_heads, o.dim_feedforward = block.dim_feedforward;
    o.activation = block.activation, o.norm_first = block.norm_first;
    o.layer_norm_eps = block.layer_norm_eps, o.bias = block.bias;
    attend::Encoder<S> encoder({.block = o, .num_layers = layers, .final_norm = final_norm});
    load_parameters<S>(encoder, folder);
    encoder.forward(context, x, {.self = self.options()}, out);
  }
  const Tensor<S, 3> given(sequence_first ? out.view().transpose(0, 1) : out.view());
  attend::detail::check_shape("expected", given.shape(), expected.shape);
  std::vector<double> values(static_cast<std::size_t>(expected.numel()));
  expected.copy_to(values.data());
  // PyTorch gives NaN where a mask hides every key; here attention gives 0 there, and the layer what follows
  // from it.
  return compare<S>(given.span(), values, tolerance,
                    [&](Index) { return self.any() || cross.any() ? Nan::finite : Nan::stays; });
}

/// Runs a case; the return says what is wrong, or nothing. Throws Skip, attend::Error.
inline std::string run_case(const fs::path& folder, const attend::Json& json) {
  try {
    Settings settings(folder, json);
    const std::string op = settings.get<std::string>("op");
    const bool is_decoder = op == "TransformerDecoderLayer" || op == "TransformerDecoder";
    const bool is_stack = op == "TransformerEncoder" || op == "TransformerDecoder";
    if (!is_decoder && op != "TransformerEncoderLayer" && op != "TransformerEncoder")
      throw Skip{"operator " + op + " is not one of attend's"};
    Inputs inputs(settings);
    const std::map<std::string, std::string> files = json.at("inputs");
    const bool in_double = files.contains("x") && read_npy(folder / files.at("x")).dtype == "float64";
    return in_double ? run_stack<double>(settings, inputs, is_decoder, is_stack)
                     : run_stack<float>(settings, inputs, is_decoder, is_stack);
  } catch (const attend::Json::exception& error) {
    attend::throw_error("case.json: ", error.what());
  }
}

}  // namespace conformance::pytorch
