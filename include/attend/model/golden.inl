// Bodies of golden.hpp.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>

#include <attend/core/version.hpp>
#include <attend/detail/backend.hpp>
#include <attend/io/fingerprint.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/model/golden.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
/// Whether products are chains of fused multiply-adds, whose bits are the same on every processor that has
/// them.
inline bool fused() {
#if ATTEND_HAS_KERNELS && defined(__x86_64__)
  return isa() != Isa::baseline;
#else
  return ATTEND_HAS_KERNELS == 1;
#endif
}

ATTEND_INLINE std::vector<std::int32_t> golden_ids(Index vocab_size, Index max_length, Index count) {
  if (max_length > 0) count = (std::min)(count, max_length);
  std::vector<std::int32_t> ids;
  for (Index i = 0; i < count; ++i)
    ids.push_back(static_cast<std::int32_t>((3 + i * 7919) % std::max<Index>(1, vocab_size)));
  return ids;
}

inline std::optional<std::string> golden_difference(const char* name, TensorView<const float, 2> got,
                                                    TensorView<const float, 2> kept) {
  if (got.shape() != kept.shape())
    return std::string(name) + " of shape " + to_string(kept.shape()) + ", got " + to_string(got.shape());
  for (Index t = 0; t < got.size(0); ++t)
    for (Index e = 0; e < got.size(1); ++e)
      if (std::memcmp(&got(t, e), &kept(t, e), sizeof(float)) != 0)
        return std::string(name) + " at " + to_string(Shape<2>{t, e}) + ", expected " +
               std::to_string(kept(t, e)) + ", got " + std::to_string(got(t, e));
  return std::nullopt;
}
}  // namespace detail

ATTEND_INLINE void Golden::save(const std::filesystem::path& folder, WeightType weights) const {
  const Tensor<std::int32_t, 1> all({static_cast<Index>(ids.size())}, ids);
  std::vector<NamedTensor> named{{"ids", all}, {"states", states}};
  if (!logits.empty()) named.emplace_back("logits", logits);
  save_safetensors(folder / kFile, std::move(named),
                   {{"attend.golden", "1"},
                    {"attend.version", ATTEND_VERSION},
                    {"attend.weights", to_string(weights)},
                    {"attend.fma", detail::fused() ? "yes" : "no"},
                    {"attend.fingerprint", folder_fingerprint(folder)}});
}

ATTEND_INLINE void Golden::check_against(const Location& folder, WeightType weights) const {
  const Location file = folder / kFile;
  const std::string where = file.string() + ": not comparable: ";
  if (!file.exists()) throw_error(where, "there is no such file");
  const SafeTensors stored(file);
  const auto demand = [&](const char* key, const std::string& expected, const char* what) {
    const auto found = stored.metadata().find(key);
    const std::string said = found == stored.metadata().end() ? "" : found->second;
    if (said != expected)
      throw_error(where, what, ": expected ", detail::in_quotes(expected), ", got ", detail::in_quotes(said));
  };
  demand("attend.golden", "1", "another kind of file");
  demand("attend.weights", to_string(weights), "the type of the weights");
  demand("attend.fingerprint", folder_fingerprint(folder), "the fingerprint of the folder");
  if (!detail::fused()) throw_error(where, "this processor, or program, has no FMA");
  demand("attend.fma", "yes", "FMA");
  if (stored.read<std::int32_t, 1>("ids").to_vector() != ids) throw_error(where, "other ids");
  std::optional<std::string> differs =
      detail::golden_difference("states", states, stored.read<float, 2>("states"));
  if (!differs && !logits.empty() && stored.contains("logits"))
    differs = detail::golden_difference("logits", logits, stored.read<float, 2>("logits"));
  if (differs) throw_error(file.string(), ": the model gives other ", *differs);
}

}  // namespace attend::inline ATTEND_ABI
