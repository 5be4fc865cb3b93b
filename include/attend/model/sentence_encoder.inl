// Bodies of sentence_encoder.hpp.
#pragma once

#include <algorithm>
#include <cmath>

#include <attend/model/sentence_encoder.hpp>
#include <attend/rows.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
/// states [tokens, E] -> out [E]. Sums in double, so that no flag or order shows in the result.
inline void mean_of_unit_length(TensorView<float, 2> states, TensorView<float, 1> out) {
  const Index tokens = states.size(0), E = states.size(1);
  double squares = 0;
  for (Index e = 0; e < E; ++e) {
    double sum = 0;
    for (Index t = 0; t < tokens; ++t) sum += static_cast<double>(states(t, e));
    out[e] = static_cast<float>(tokens > 0 ? sum / static_cast<double>(tokens) : 0.0);
    squares += static_cast<double>(out[e]) * static_cast<double>(out[e]);
  }
  const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
  for (Index e = 0; e < E; ++e) out[e] = static_cast<float>(static_cast<double>(out[e]) * scale);
}
}  // namespace detail

ATTEND_INLINE SentenceEncoder SentenceEncoder::open(const std::filesystem::path& folder, Index max_length) {
  check_size("SentenceEncoder", "max_length", max_length);
  SentenceEncoder encoder{text::Tokenizer::open(folder), BertModel<float>::open(folder, true)};
  const BertOptions& o = encoder.model_.options();
  if (static_cast<Index>(encoder.tokenizer_.vocab_size()) > o.vocab_size)
    throw_error(folder.string(), ": the tokenizer has ", encoder.tokenizer_.vocab_size(),
                " tokens, the model ", o.vocab_size);
  encoder.max_length_ = (std::min)(max_length, encoder.model_.max_length());
  return encoder;
}

ATTEND_INLINE Tensor<float, 2> SentenceEncoder::encode(Context& context,
                                                       std::span<const std::string> texts) const {
  Tensor<float, 2> out({static_cast<Index>(texts.size()), embedding_dim()});
  std::vector<std::int32_t> ids;
  std::vector<Index> offsets{0};
  Index first = 0;
  const auto run = [&](Index end) {
    embed(context, ids, offsets, out.view().slice(0, first, end));
    ids.clear();
    offsets.assign(1, 0);
    first = end;
  };
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::vector<std::int32_t> more = encode_ids(texts[i]);
    if (!ids.empty() && ids.size() + more.size() > kGroup) run(static_cast<Index>(i));
    ids.insert(ids.end(), more.begin(), more.end());
    offsets.push_back(static_cast<Index>(ids.size()));
  }
  if (offsets.size() > 1) run(static_cast<Index>(texts.size()));
  return out;
}

ATTEND_INLINE void SentenceEncoder::embed(Context& context, std::span<const std::int32_t> ids,
                                          std::span<const Index> offsets, TensorView<float, 2> out) const {
  const Index E = embedding_dim();
  detail::longest_sequence("SentenceEncoder (offsets)", offsets, static_cast<Index>(ids.size()));
  Rows<float>(out).check_output("SentenceEncoder", Shape<1>{static_cast<Index>(offsets.size()) - 1}, E);
  Frame frame(context.workspace());
  const TensorView<float, 2> states(frame.take<float>(static_cast<Index>(ids.size()) * E),
                                    {static_cast<Index>(ids.size()), E});
  model_.forward(context, ids, {}, offsets, states);
  context.parallel(1, 1, [&](Index, int) {
    for (Index b = 0; b < out.size(0); ++b)
      detail::mean_of_unit_length(
          states.slice(0, offsets[static_cast<std::size_t>(b)], offsets[static_cast<std::size_t>(b) + 1]),
          out[b]);
  });
}

}  // namespace attend::inline ATTEND_ABI
