// Bodies of generation.hpp.
#pragma once

#include <algorithm>

#include <attend/model/generation.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {
ATTEND_INLINE void check_prompt(const CausalLM<float>& model, std::span<const std::int32_t> prompt) {
  if (prompt.empty()) throw_error("generate: the prompt has no tokens");
  const Index most = model.max_length();
  if (most > 0 && static_cast<Index>(prompt.size()) > most)
    throw_error("generate: the prompt has ", prompt.size(), " tokens, the model's context is ", most);
}

ATTEND_INLINE const std::vector<std::int32_t>& end_tokens(const CausalLM<float>& model,
                                                          const GenerationOptions& options) {
  return options.eos_token_ids ? *options.eos_token_ids : model.options().eos_token_ids;
}

ATTEND_INLINE GrowingText::GrowingText(const CausalLM<float>& model, std::vector<std::int32_t> prompt,
                                       const GenerationOptions& options, std::uint64_t stream)
    : ids(std::move(prompt)),
      room(detail::room("prompt", ids.size(), model.max_length(), options)),
      sampler(options, stream,
              {ids.size(), ids.size() + static_cast<std::size_t>(room), end_tokens(model, options)}) {}

ATTEND_INLINE bool GrowingText::grow(Context& context, const CausalLM<float>& model,
                                     const GenerationOptions& options, std::span<float> logits,
                                     FunctionRef<bool(const TokenLogprob& token)> go_on) {
  std::vector<float> before;  // the sampler changes them
  if (options.logprobs) before.assign(logits.begin(), logits.end());
  TokenLogprob token{.id = sampler(context, ids, logits)};
  if (options.logprobs) token = log_probability(context, before, token.id, *options.logprobs);
  ids.push_back(token.id);
  result.ids.push_back(token.id);
  if (options.logprobs) result.logprobs.push_back(token);
  const std::vector<std::int32_t>& eos = end_tokens(model, options);
  const bool more = go_on(token);
  if (std::find(eos.begin(), eos.end(), token.id) != eos.end())
    result.reason = FinishReason::eos;
  else if (!more)
    result.reason = FinishReason::stopped;
  else
    return static_cast<Index>(result.ids.size()) < room;
  return false;
}

ATTEND_INLINE void advance(Context& context, const CausalLM<float>& model, CausalCache<float>& cache,
                           std::span<const std::int32_t> ids,
                           FunctionRef<const std::vector<std::int32_t>&(std::size_t)> tokens, float* logits) {
  const Index n = static_cast<Index>(ids.size()), V = model.options().vocab_size;
  model.forward(context, {ids.data(), {n, 1}}, cache, {logits, {n, 1, V}});
  const auto is_longer = [&](Index i) {
    return static_cast<Index>(tokens(static_cast<std::size_t>(i)).size()) == model.stable_length() + 1;
  };
  Index longer = 0;
  for (Index i = 0; model.options().reruns_longer && i < n; ++i) longer += is_longer(i) ? 1 : 0;
  if (longer == 0) return;
  struct Undo {  // where it fails
    CausalCache<float>* cache;
    ~Undo() {
      for (Index b = 0; cache != nullptr && b < cache->batch(); ++b) cache->rewind(b, cache->length(b) - 1);
    }
  } undo{&cache};
  CausalCache<float> anew = cache.sibling();
  for (Index i = 0; i < n; ++i) {
    if (!is_longer(i)) {
      anew.fork(cache, i);
      continue;
    }
    const std::vector<std::int32_t>& all = tokens(static_cast<std::size_t>(i));
    CausalCache<float> own = cache.sibling(1);
    model.forward(context, {all.data(), {1, static_cast<Index>(all.size())}}, own,
                  {logits + i * V, {1, 1, V}});
    anew.fork(own, 0);
  }
  undo.cache = nullptr;
  cache = std::move(anew);
}
}  // namespace detail

ATTEND_INLINE Generator::Generator(std::shared_ptr<const CausalLM<float>> model) : model_(std::move(model)) {
  if (model_ == nullptr) throw_error("Generator: no model");
  cache_ = model_->make_cache(1);
}

ATTEND_INLINE Generation Generator::generate(Context& context, std::span<const std::int32_t> prompt,
                                             const GenerationOptions& options,
                                             const TokenCallback& callback) {
  const std::vector<std::int32_t> copy(prompt.begin(), prompt.end());
  return std::move(generate(context, std::span(&copy, 1), options, callback)[0]);
}

ATTEND_INLINE std::vector<Generation> Generator::generate(Context& context,
                                                          std::span<const std::vector<std::int32_t>> prompts,
                                                          const GenerationOptions& options,
                                                          const TokenCallback& callback) {
  check_model();
  check_options(options);
  for (const auto& prompt : prompts) {
    detail::check_prompt(*model_, prompt);
    static_cast<void>(room(prompt.size(), options));
  }
  const Running at_work(running_);
  std::vector<Generation> results(prompts.size());
  if (options.num_beams > 1) {
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      results[i] = search(context, prompts[i], options);
      for (std::size_t t = 0; callback && t < results[i].ids.size(); ++t)
        if (!callback(static_cast<Index>(i), results[i].ids[t])) {
          results[i].ids.resize(t + 1);
          if (options.logprobs) results[i].logprobs.resize(t + 1);
          results[i].reason = FinishReason::stopped;
        }
    }
    return results;
  }
  struct Live {
    std::size_t prompt;  // its number
    detail::GrowingText text;
  };
  std::vector<Live> live;
  const Index V = model_->options().vocab_size;
  logits_.resize(static_cast<std::size_t>(
      detail::checked_numel(Shape<2>{static_cast<Index>(prompts.size()), V}, sizeof(float))));
  // One prompt runs in the generator's own cache, so that the next call finds its tokens; several run in a
  // cache of their own, which takes over the pages of each.
  CausalCache<float> batch = model_->make_cache(0);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    detail::GrowingText text(*model_, prompts[i], options, i);
    if (text.room == 0) continue;
    const std::size_t row = live.size();
    text.result.reused = prefill(context, prompts[i], logits_.data() + row * static_cast<std::size_t>(V));
    if (prompts.size() > 1) batch.fork(cache_, 0);
    live.push_back({i, std::move(text)});
  }
  CausalCache<float>& cache = prompts.size() > 1 ? batch : cache_;
  while (!live.empty()) {
    std::vector<Index> running;
    std::vector<std::int32_t> next;
    for (std::size_t i = 0; i < live.size(); ++i) {
      auto& [prompt, text] = live[i];
      const Index number = static_cast<Index>(prompt);
      if (text.grow(context, *model_, options, row_of_logits(i),
                    [&](const TokenLogprob& token) { return !callback || callback(number, token.id); })) {
        running.push_back(static_cast<Index>(i));
        next.push_back(text.ids.back());
      } else {
        results[prompt] = std::move(text.result);
      }
    }
    if (running.empty()) break;
    if (running.size() < live.size()) {
      cache.reorder(running);
      std::vector<Live> rest;
      for (Index i : running) rest.push_back(std::move(live[static_cast<std::size_t>(i)]));
      live = std::move(rest);
    }
    detail::advance(
        context, *model_, cache, next,
        [&](std::size_t i) -> const std::vector<std::int32_t>& { return live[i].text.ids; }, logits_.data());
    if (prompts.size() == 1) ids_.push_back(next[0]);
  }
  return results;
}

ATTEND_INLINE std::vector<Hypothesis> Generator::beams(Context& context, std::span<const std::int32_t> prompt,
                                                       const GenerationOptions& options) {
  check_model();
  check_options(options);
  detail::check_prompt(*model_, prompt);
  const Running at_work(running_);
  return beams(context, prompt, options, nullptr);
}

ATTEND_INLINE void Generator::set_cached_prompt(CachedPrompt prompt) {
  check_model();
  const Running at_work(running_);
  if (prompt.cache.batch() != 1 || prompt.cache.length(0) != static_cast<Index>(prompt.ids.size()))
    throw_error("Generator: a cached prompt takes one sequence of its ", prompt.ids.size(), " tokens");
  model_->make_cache(0).fork(prompt.cache, 0);  // an error unless it is of this model
  cache_ = std::move(prompt.cache);
  ids_ = std::move(prompt.ids);
}

ATTEND_INLINE void Generator::check_model() const {
  if (model_ == nullptr) throw_error("Generator: it was moved from");
}

ATTEND_INLINE Index Generator::room(std::size_t prompt, const GenerationOptions& options) const {
  return detail::room("prompt", prompt, model_->max_length(), options);
}

ATTEND_INLINE std::span<float> Generator::row_of_logits(std::size_t i) {
  const std::size_t V = static_cast<std::size_t>(model_->options().vocab_size);
  return {logits_.data() + i * V, V};
}

ATTEND_INLINE Index Generator::prefill(Context& context, std::span<const std::int32_t> prompt,
                                       float* logits) {
  const auto [mine, theirs] = std::mismatch(ids_.begin(), ids_.end(), prompt.begin(), prompt.end() - 1);
  const Index longest = static_cast<Index>((std::max)(ids_.size(), prompt.size()));
  const Index kept = cache_.rewind(0, longest > model_->stable_length() ? 0 : mine - ids_.begin());
  ids_.resize(static_cast<std::size_t>(kept));
  const auto rest = prompt.subspan(static_cast<std::size_t>(kept));
  const Index V = model_->options().vocab_size;
  ids_.insert(ids_.end(), rest.begin(), rest.end());
  const AsCached as_cached{*this};
  model_->forward(context, {rest.data(), {1, static_cast<Index>(rest.size())}}, cache_, {logits, {1, 1, V}});
  return kept;
}

ATTEND_INLINE std::vector<Hypothesis> Generator::beams(Context& context, std::span<const std::int32_t> prompt,
                                                       const GenerationOptions& options, Index* reused) {
  GenerationOptions bounded = options;
  bounded.max_new_tokens = room(prompt.size(), options);
  const Index V = model_->options().vocab_size;
  logits_.resize(
      static_cast<std::size_t>(detail::checked_numel(Shape<2>{options.num_beams, V}, sizeof(float))));
  const Index kept = prefill(context, prompt, logits_.data());
  if (reused != nullptr) *reused = kept;
  CausalCache<float> cache = model_->make_cache(0);
  cache.fork(cache_, 0);
  std::vector<std::vector<std::int32_t>> all(1, {prompt.begin(), prompt.end()});  // of each beam
  const auto go_on = [&](std::span<const Index> parents, std::span<const std::int32_t> ids) {
    cache.reorder(parents);
    std::vector<std::vector<std::int32_t>> next;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      next.push_back(all[static_cast<std::size_t>(parents[i])]);
      next.back().push_back(ids[i]);
    }
    all = std::move(next);
    detail::advance(
        context, *model_, cache, ids,
        [&](std::size_t i) -> const std::vector<std::int32_t>& { return all[i]; }, logits_.data());
    return TensorView<float, 2>(logits_.data(), {static_cast<Index>(ids.size()), V});
  };
  return beam_search(context, bounded, detail::end_tokens(*model_, options), prompt,
                     TensorView<float, 2>(logits_.data(), {1, V}), go_on);
}

ATTEND_INLINE Generation Generator::search(Context& context, std::span<const std::int32_t> prompt,
                                           const GenerationOptions& options) {
  Generation result;
  Hypothesis best = std::move(beams(context, prompt, options, &result.reused)[0]);
  result.ids = std::move(best.ids);
  result.reason = best.ended ? FinishReason::eos : FinishReason::length;
  result.score = best.score;
  if (options.logprobs) {
    std::vector<std::int32_t> all(prompt.begin(), prompt.end());
    all.insert(all.end(), result.ids.begin(), result.ids.end());
    result.logprobs = score(context, all, static_cast<Index>(prompt.size()), *options.logprobs);
  }
  return result;
}

ATTEND_INLINE std::vector<TokenLogprob> Generator::score(Context& context, std::span<const std::int32_t> ids,
                                                         Index given, Index top) const {
  check_model();
  detail::check_prompt(*model_, ids);
  if (given < 1 || top < 0)
    throw_error("score: given ", given, " and top ", top, ", expected 1 and 0 or more");
  const Index T = static_cast<Index>(ids.size()), V = model_->options().vocab_size;
  std::vector<TokenLogprob> out;
  CausalCache<float> cache = model_->make_cache(1);
  constexpr Index kPiece = 64;  // bounds the logits that are there at once
  for (Index begin = 0; begin < T - 1; begin += kPiece) {
    const Index n = (std::min)(kPiece, T - 1 - begin);
    Tensor<float, 3> logits({1, n, V});
    model_->forward(context, {ids.data() + begin, {1, n}}, cache, logits.view());
    for (Index t = (std::max)(Index{0}, given - 1 - begin); t < n; ++t)
      out.push_back(detail::log_probability(context, logits.view()[0][t].span(),
                                            ids[static_cast<std::size_t>(begin + t + 1)], top));
  }
  return out;
}

}  // namespace attend::inline ATTEND_ABI
