// Bodies of text_generator.hpp.
#pragma once

#include <algorithm>
#include <cmath>

#include <attend/gguf/folder.hpp>
#include <attend/model/generation_config.hpp>
#include <attend/model/text_generator.hpp>

namespace attend::inline ATTEND_ABI {

ATTEND_INLINE StopFilter::StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {
  constexpr std::size_t kMost = 256, kLongest = 1024;  // each piece of text is compared with all of them
  if (stops_.size() > kMost)
    throw_error("generate: ", stops_.size(), " stop texts, expected at most ", kMost);
  for (const std::string& stop : stops_)
    if (stop.empty() || stop.size() > kLongest)
      throw_error("generate: a stop text of ", stop.size(), " bytes, expected 1 to ", kLongest);
}

ATTEND_INLINE std::string StopFilter::push(std::string_view piece) {
  if (stopped_) return {};
  held_ += piece;
  // The one that is complete first counts, so that the pieces make no difference.
  std::size_t end = held_.size(), complete = std::string::npos;
  for (const std::string& stop : stops_)
    if (const std::size_t at = held_.find(stop);
        at != std::string::npos && std::pair(at + stop.size(), at) < std::pair(complete, end))
      end = at, complete = at + stop.size();
  stopped_ = complete != std::string::npos;
  if (!stopped_) {
    for (const std::string& stop : stops_)
      for (std::size_t n = (std::min)(stop.size() - 1, held_.size()); n > 0; --n)
        if (std::string_view(stop).substr(0, n) == std::string_view(held_).substr(held_.size() - n)) {
          end = (std::min)(end, held_.size() - n);
          break;
        }
  }
  std::string out = held_.substr(0, end);
  held_.erase(0, end);
  return out;
}

ATTEND_INLINE TextStream::TextStream(const text::Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
                                     const std::vector<std::string>& stop,
                                     const std::vector<std::int32_t>& eos)
    : tokenizer_(&tokenizer), eos_(&eos), decoder_(tokenizer), stop_(stop) {
  for (std::int32_t id : prompt)  // the continuation's first space depends on what is before it
    if (tokenizer.contains(id)) decoder_.push(id);
}

ATTEND_INLINE std::string TextStream::push(std::int32_t id) {
  // Embeddings are often padded to more rows than there are tokens.
  if (!tokenizer_->contains(id) || std::find(eos_->begin(), eos_->end(), id) != eos_->end()) return {};
  return stop_.push(decoder_.push(id));
}

ATTEND_INLINE std::string TextStream::finish() {
  if (stopped()) return {};
  const std::string last = stop_.push(decoder_.finish());
  return last + stop_.finish();
}

ATTEND_INLINE TextGenerator TextGenerator::open(const Location& place, const GenerationOptions& otherwise,
                                                const OpenOptions& weights) {
  const Location folder = detail::model_folder(place);
  CausalLM<float> model = CausalLM<float>::open(folder, weights);
  text::Tokenizer tokenizer = text::Tokenizer::open(folder);
  return TextGenerator(std::move(tokenizer), Generator(std::move(model)),
                       open_generation_options(folder, otherwise), text::ChatTemplate::open(folder));
}

ATTEND_INLINE std::vector<std::int32_t> TextGenerator::encode(std::string_view prompt) const {
  std::vector<std::int32_t> ids = tokenizer_.encode(prompt);
  if (ids.empty() && generator_.model().options().bos_token_id)
    ids.push_back(*generator_.model().options().bos_token_id);
  if (ids.empty()) throw_error("generate: the prompt is empty, and the model has no start token");
  return ids;
}

namespace detail {
/// A callback of one text as one of several.
inline TextCallback of_all(const std::function<bool(std::string_view)>& callback) {
  if (!callback) return {};
  return [&callback](Index, std::string_view piece) { return callback(piece); };
}
}  // namespace detail

ATTEND_INLINE TextGeneration TextGenerator::generate(Context& context, std::string_view prompt,
                                                     const GenerationOptions& options,
                                                     const std::function<bool(std::string_view)>& callback) {
  return std::move(continue_ids(context, {encode(prompt)}, options, detail::of_all(callback))[0]);
}

ATTEND_INLINE std::vector<TextGeneration> TextGenerator::generate(Context& context,
                                                                  std::span<const std::string> prompts,
                                                                  const GenerationOptions& options,
                                                                  const TextCallback& callback) {
  std::vector<std::vector<std::int32_t>> ids;
  for (const std::string& prompt : prompts) ids.push_back(encode(prompt));
  return continue_ids(context, std::move(ids), options, callback);
}

ATTEND_INLINE TextGeneration TextGenerator::chat(Context& context, std::vector<ChatMessage>& messages,
                                                 const GenerationOptions& options,
                                                 const ChatOptions& chat_options,
                                                 const std::function<bool(std::string_view)>& callback) {
  const std::string prompt = chat_template_.render(messages, chat_options);
  TextGeneration answer =
      std::move(continue_ids(context, {tokenizer_.encode(prompt, {.add_special_tokens = false})}, options,
                             detail::of_all(callback))[0]);
  messages.push_back({"assistant", answer.text});
  return answer;
}

ATTEND_INLINE std::vector<TextGeneration> TextGenerator::continue_ids(
    Context& context, std::vector<std::vector<std::int32_t>> ids, const GenerationOptions& options,
    const TextCallback& callback) {
  std::vector<TextGeneration> results(ids.size());
  std::vector<TextStream> streams;
  const std::vector<std::int32_t>& eos = detail::end_tokens(generator_.model(), options);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    results[i].prompt_ids = ids[i];
    streams.emplace_back(tokenizer_, ids[i], options.stop, eos);
  }
  const auto give_piece = [&](Index i, const std::string& piece) {
    results[static_cast<std::size_t>(i)].text += piece;
    return piece.empty() || !callback || callback(i, piece);
  };
  const auto take = [&](Index i, std::int32_t id) {
    TextStream& stream = streams[static_cast<std::size_t>(i)];
    const bool more = give_piece(i, stream.push(id));
    return more && !stream.stopped();
  };
  std::vector<Generation> generations = generator_.generate(context, ids, options, take);
  for (std::size_t i = 0; i < results.size(); ++i) {
    TextStream& stream = streams[i];
    // Nothing more is said to a callback that has ended its text.
    if (!stream.stopped() && generations[i].reason != FinishReason::stopped)
      give_piece(static_cast<Index>(i), stream.finish());
    results[i].ids = std::move(generations[i].ids);
    results[i].reason = stream.stopped() ? FinishReason::stopped : generations[i].reason;
    results[i].reused = generations[i].reused;
    results[i].logprobs = std::move(generations[i].logprobs);
  }
  return results;
}

ATTEND_INLINE TextScore TextGenerator::score(Context& context, std::string_view text, Index top) const {
  TextScore out{.ids = encode(text), .logprobs = {}};
  out.logprobs = generator_.score(context, out.ids, 1, top);
  const detail::FloatEnvironment environment;
  for (const TokenLogprob& token : out.logprobs) out.logprob += static_cast<double>(token.logprob);
  if (!out.logprobs.empty())
    out.perplexity = std::exp(-out.logprob / static_cast<double>(out.logprobs.size()));
  return out;
}

}  // namespace attend::inline ATTEND_ABI
