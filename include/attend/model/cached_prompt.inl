// Bodies of cached_prompt.hpp.
#pragma once

#include <algorithm>
#include <utility>

#include <attend/io/fingerprint.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/model/cached_prompt.hpp>

namespace attend::inline ATTEND_ABI {

ATTEND_INLINE CachedPrompt CachedPrompt::compute(Context& context, const CausalLM<float>& model,
                                                 std::vector<std::int32_t> ids) {
  CachedPrompt out{std::move(ids), model.make_cache(1)};
  Tensor<float, 3> logits({1, 1, model.options().vocab_size});
  model.forward(context, {out.ids.data(), {1, static_cast<Index>(out.ids.size())}}, out.cache, logits.view());
  return out;
}

ATTEND_INLINE void CachedPrompt::save(const std::filesystem::path& file,
                                      const std::string& fingerprint) const {
  const Index tokens = static_cast<Index>(ids.size());
  if (cache.batch() != 1 || cache.length(0) != tokens)
    throw_error("CachedPrompt: ", cache.batch(), " sequences, of which the first has to have ", tokens,
                " tokens");
  Tensor<std::int32_t, 1> all({tokens}, ids);
  std::vector<NamedTensor> named{{"ids", all}};
  std::vector<Tensor<float, 3>> values;
  values.reserve(2 * cache.layers().size());
  for (std::size_t i = 0; i < cache.layers().size(); ++i) {
    const KVCache<float>& layer = cache.layers()[i];
    const KVCacheOptions& o = layer.options();
    const Index first = layer.first_token(0);
    auto& key = values.emplace_back(Shape<3>{o.num_kv_heads, tokens - first, o.head_dim});
    auto& value = values.emplace_back(Shape<3>{o.num_kv_heads, tokens - first, o.value_dim});
    for (Index h = 0; h < o.num_kv_heads; ++h)
      for (Index t = first; t < tokens; ++t)
        layer.read(0, h, t, key[h][t - first].span(), value[h][t - first].span());
    named.emplace_back("layers." + std::to_string(i) + ".key", key);
    named.emplace_back("layers." + std::to_string(i) + ".value", value);
  }
  save_safetensors(file, std::move(named),
                   {{"attend.cached_prompt", "1"}, {"attend.fingerprint", fingerprint}});
}

ATTEND_INLINE CachedPrompt CachedPrompt::load(const Location& file, const CausalLM<float>& model,
                                              const std::string& fingerprint) {
  const SafeTensors stored(file);
  const auto said = [&](const char* key) {
    const auto found = stored.metadata().find(key);
    return found == stored.metadata().end() ? std::string() : found->second;
  };
  if (said("attend.cached_prompt") != "1")
    throw_error(file.string(), ": not a cached prompt, or of another version");
  if (said("attend.fingerprint") != fingerprint)
    throw_error(file.string(), ": a cached prompt of another model, with the fingerprint ",
                detail::in_quotes(said("attend.fingerprint")), ", expected ", fingerprint);
  const Tensor<std::int32_t, 1> ids = stored.read<std::int32_t, 1>("ids");
  CachedPrompt out{ids.to_vector(), model.make_cache(1)};
  const Index tokens = ids.numel(), most = model.max_length();
  if (most > 0 && tokens > most)
    throw_error(file.string(), ": ", tokens, " tokens are more than the model's context of ", most);
  for (std::int32_t id : out.ids)
    if (id < 0 || id >= model.options().vocab_size)
      throw_error(file.string(), ": id ", id, " is not in [0, ", model.options().vocab_size, ")");
  for (std::size_t i = 0; tokens > 0 && i < out.cache.layers().size(); ++i) {
    const std::string name = "layers." + std::to_string(i);
    KVCache<float>& layer = out.cache.layers()[i];
    const KVCacheOptions& o = layer.options();
    const auto key = stored.view<float, 3>(name + ".key"), value = stored.view<float, 3>(name + ".value");
    const Index there = key.size(1), first = tokens - there;
    const std::string who = file.string() + ": " + name;
    detail::check_shape(who.c_str(), Shape<3>{o.num_kv_heads, there, o.head_dim}, key.shape());
    detail::check_shape(who.c_str(), Shape<3>{o.num_kv_heads, there, o.value_dim}, value.shape());
    if (there < 1 || first < 0 || first % kKeyTile != 0 ||
        (first > 0 && (o.window == 0 || first > tokens - o.window)))
      throw_error(who, " has ", there, " of ", tokens, " tokens, with a window of ", o.window);
    layer.resume(0, first, key, value);
  }
  return out;
}

ATTEND_INLINE std::string fingerprint(Context& context, const CausalLM<float>& model) {
  Fingerprint out;
  std::vector<float> values;
  model.parameters([&](const std::string& name, const Parameter<const float>& parameter) {
    out.add(name);
    out.add(std::span<const Index>(parameter.shape()));
    const Index rows = parameter.rows(), block = std::max<Index>(1, (1 << 16) / (parameter.row_size() + 1));
    for (Index begin = 0; begin < rows; begin += block) {
      const Index end = (std::min)(rows, begin + block);
      values.resize(static_cast<std::size_t>((end - begin) * parameter.row_size()));
      parameter.copy_to(begin, end, values.data());
      out.add(std::span<const float>(values));
    }
  });
  const Index V = model.options().vocab_size, most = model.max_length();
  const Index n = most > 0 ? std::min<Index>(most, 16) : 16;
  Tensor<std::int32_t, 2> ids({1, n});
  for (Index i = 0; i < n; ++i) ids(0, i) = static_cast<std::int32_t>(V / 16 * i % V);
  const Tensor<float, 3> logits = model.logits(context, ids);
  out.add(logits.span());
  return out.text();
}

}  // namespace attend::inline ATTEND_ABI
