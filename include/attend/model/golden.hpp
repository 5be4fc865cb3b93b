// Golden vectors: what a model folder's model gives for a few tokens, to be checked bit by bit where it is
// opened.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include <attend/core/context.hpp>
#include <attend/core/location.hpp>
#include <attend/core/weight_type.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// What attend_golden.safetensors of a folder keeps: ids [T], states [T, E] (of an encoder-decoder the
/// source's) and of what writes texts logits [T, V]. Its metadata say the version of the library, the type of
/// the weights, whether products were fused (FMA), and the fingerprint of the folder, which leaves the file
/// itself out.
struct Golden {
  std::vector<std::int32_t> ids = {};
  /// What the model made of them; logits may be left out.
  Tensor<float, 2> states = {}, logits = {};

  static constexpr const char* kFile = "attend_golden.safetensors";  // its name in the folder

  /// Error where the two differ in a bit, with the first place of it, and "not comparable" where there are no
  /// golden vectors, they are of other files or of another type of weights, or one of the two processors has
  /// no FMA. What is computed is given; logits may be left out.
  void check_against(const Location& folder, WeightType weights) const;
  /// Writes the file, in place of an older one.
  void save(const std::filesystem::path& folder, WeightType weights) const;
};

namespace detail {

/// `count` ids at most, spread over a vocabulary.
std::vector<std::int32_t> golden_ids(Index vocab_size, Index max_length, Index count = 24);

template <class Model>
Index state_width(const Model& model) {
  if constexpr (requires { model.state_dim(); })
    return model.state_dim();
  else
    return model.options().hidden_size;
}
/// Hidden states of one text, of a language model or an encoder.
template <class Model>
void golden_states(Context& context, const Model& model, std::span<const std::int32_t> ids,
                   std::span<const Index> offsets, TensorView<float, 2> out) requires requires {
  model.states(context, ids, offsets, out);
} || requires {
  model.forward(context, ids, ids, offsets, out);
} || requires {
  model.forward(context, ids, offsets, out);
}
{
  if constexpr (requires { model.states(context, ids, offsets, out); })
    model.states(context, ids, offsets, out);
  else if constexpr (requires { model.forward(context, ids, ids, offsets, out); })
    model.forward(context, ids, {}, offsets, out);
  else
    model.forward(context, ids, offsets, out);
}
template <class Model>
concept HasStates = requires(Context& context, const Model& model, std::span<const std::int32_t> ids,
                             std::span<const Index> offsets, TensorView<float, 2> out) {
  golden_states(context, model, ids, offsets, out);
};
/// An encoder-decoder.
template <class Model>
concept HasSource = requires(Context& context, const Model& model, Tensor<float, 3>& states,
                             TensorView<const std::int32_t, 2> ids) {
  states = model.encode(context, ids);
};
template <class Model>
concept HasGolden = HasStates<Model> || HasSource<Model>;

/// Of an encoder-decoder the states of the source, and logits of a target of the same ids.
template <HasSource Model>
Golden golden_of(Context& context, const Model& model, bool) {
  const auto& o = model.options();
  Golden out{.ids =
                 golden_ids((std::min)(o.source_vocab_size, o.target_vocab_size), o.max_position_embeddings)};
  const TensorView<const std::int32_t, 2> ids(out.ids.data(), {1, static_cast<Index>(out.ids.size())});
  const Tensor<float, 3> states = model.encode(context, ids);
  auto cache = model.make_cache(context, states);
  const Tensor<float, 3> logits = model.decode(context, ids, cache);
  out.states = states.view()[0];
  out.logits = logits.view()[0];
  return out;
}
template <HasStates Model>
Golden golden_of(Context& context, const Model& model, bool base_only) {
  Index longest = 0;
  if constexpr (requires { model.max_length(); }) longest = model.max_length();
  Golden out{.ids = golden_ids(model.options().vocab_size, longest)};
  const Index tokens = static_cast<Index>(out.ids.size()), offsets[] = {0, tokens};
  out.states = Tensor<float, 2>({tokens, state_width(model)});
  golden_states(context, model, out.ids, offsets, out.states.view());
  if constexpr (requires { model.state_dim(); })
    if (!base_only) {
      const Tensor<float, 3> logits = model.logits(context, {out.ids.data(), {1, tokens}});
      out.logits = logits.view()[0];
    }
  return out;
}

}  // namespace detail

/// Computes the golden vectors of a folder by a model that was opened from it, and writes them there.
template <detail::HasGolden Model>
void write_golden(const Model& model, const std::filesystem::path& folder) {
  Context context;
  detail::golden_of(context, model, false).save(folder, model.options().weights);
}

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/golden.inl>
#endif
