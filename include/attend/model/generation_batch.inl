// Bodies of generation_batch.hpp.
#pragma once

#include <algorithm>

#include <attend/model/generation_batch.hpp>

namespace attend::inline ATTEND_ABI {

ATTEND_INLINE GenerationBatch::GenerationBatch(std::shared_ptr<const CausalLM<float>> model,
                                               GenerationBatchOptions options)
    : model_(std::move(model)), options_(options) {
  if (model_ == nullptr) throw_error("GenerationBatch: no model");
  detail::check_size("GenerationBatch", "max_running", options.max_running);
  detail::check_size("GenerationBatch", "prompt_piece", options.prompt_piece);
  detail::check_count("GenerationBatch", "kept_prompts", options.kept_prompts);
  cache_ = model_->make_cache(0);
}

ATTEND_INLINE void GenerationBatch::check_model() const {
  if (model_ == nullptr) throw_error("GenerationBatch: it was moved from");
}
ATTEND_INLINE std::span<float> GenerationBatch::row_of_logits(std::size_t i) {
  const std::size_t V = static_cast<std::size_t>(model_->options().vocab_size);
  return {logits_.data() + i * V, V};
}

ATTEND_INLINE GenerationBatch::Ticket GenerationBatch::join(std::vector<std::int32_t> prompt,
                                                            GenerationOptions options,
                                                            RequestCallback callback) {
  check_options(options);
  check_model();
  detail::check_prompt(*model_, prompt);
  for (std::int32_t id : prompt)
    if (id < 0 || id >= model_->options().vocab_size)
      throw_error("generate: id ", id, " is not in [0, ", model_->options().vocab_size, ")");
  if (options.num_beams > 1) throw_error("GenerationBatch: beam search is Generator's");
  auto request = std::make_unique<Request>(next_ticket_, *model_, std::move(prompt), std::move(options),
                                           std::move(callback));
  if (request->text.room == 0)
    ended_.push_back({.ticket = next_ticket_});
  else
    waiting_.push_back(std::move(request));
  return next_ticket_++;
}

ATTEND_INLINE void GenerationBatch::keep(CachedPrompt prompt) {
  if (prompt.cache.batch() != 1 || prompt.cache.length(0) > static_cast<Index>(prompt.ids.size()))
    throw_error("GenerationBatch: keep takes one sequence of ", prompt.ids.size(), " tokens at most");
  CausalCache<float> sibling = cache_.sibling();
  sibling.fork(prompt.cache, 0);  // an error unless it is of this model
  kept_.push_back(std::move(prompt));
  while (static_cast<Index>(kept_.size()) > options_.kept_prompts) kept_.pop_front();
}

ATTEND_INLINE bool GenerationBatch::leave(Ticket ticket) {
  for (Requests* requests : {&waiting_, &filling_, &running_})
    for (std::unique_ptr<Request>& request : *requests)
      if (request->ticket == ticket && !request->done) return request->done = request->left = true;
  return std::erase_if(ended_, [&](const Ended& ended) { return ended.ticket == ticket; }) > 0;
}

ATTEND_INLINE void GenerationBatch::share(Request& request) {
  const CausalCache<float>* best = nullptr;
  const bool begun = request.cache.batch() > 0;
  const Index done = begun ? request.cache.length(0) : 0;
  Index sequence = 0, most = done;
  const auto look = [&](std::span<const std::int32_t> ids, const CausalCache<float>& cache, Index b) {
    if (static_cast<Index>((std::max)(ids.size(), request.text.ids.size())) > model_->stable_length()) return;
    ids = ids.first(static_cast<std::size_t>(cache.length(b)));
    const auto end =
        std::mismatch(ids.begin(), ids.end(), request.text.ids.begin(), request.text.ids.end() - 1).first;
    if (end - ids.begin() > most) best = &cache, sequence = b, most = end - ids.begin();
  };
  for (std::size_t i = 0; i < running_.size(); ++i)
    look(running_[i]->text.ids, cache_, static_cast<Index>(i));
  for (const std::unique_ptr<Request>& other : filling_)
    if (other->cache.batch() > 0) look(other->text.ids, other->cache, 0);
  for (const CachedPrompt& kept : kept_) look(kept.ids, kept.cache, 0);
  if (begun && best == nullptr) return;
  CausalCache<float> cache = cache_.sibling(best == nullptr ? 1 : 0);
  if (best != nullptr) {
    cache.fork(*best, sequence);
    most = cache.rewind(0, most);
  }
  if (begun && most <= done) return;  // a window has let too much go
  request.text.result.reused += most - done;
  request.cache = std::move(cache);
}

ATTEND_INLINE void GenerationBatch::fill(Context& context) {
  const Index V = model_->options().vocab_size;
  logits_.resize(static_cast<std::size_t>(
      detail::checked_numel(Shape<2>{std::max<Index>(1, running()), V}, sizeof(float))));
  for (Index left = options_.prompt_piece; left > 0 && !filling_.empty();) {
    Request& request = *filling_.front();
    share(request);
    // Each in its turn, so that a long prompt does not hold up a short one behind it.
    const Index done = request.cache.length(0), rest = static_cast<Index>(request.text.ids.size()) - done;
    const bool whole = static_cast<Index>(request.text.ids.size()) > model_->stable_length();
    const Index n = whole ? rest : (std::min)(rest, left);
    const std::size_t row = running_.size();
    model_->forward(context, {request.text.ids.data() + done, {1, n}}, request.cache,
                    {row_of_logits(row).data(), {1, 1, V}});
    left -= n;
    if (n < rest) {
      filling_.push_back(std::move(filling_.front()));
      filling_.pop_front();
    } else {
      struct Undo {  // where it fails the last piece is computed anew, for its logits
        GenerationBatch& batch;
        CausalCache<float>* cache;
        Index length;
        ~Undo() {
          if (cache == nullptr) return;
          if (batch.running_.size() > static_cast<std::size_t>(batch.cache_.batch()))
            batch.running_.pop_back();
          cache->rewind(0, length);
        }
      } undo{*this, &request.cache, done};
      running_.emplace_back();  // all that can fail comes first
      cache_.fork(request.cache, 0);
      undo.cache = nullptr;
      running_.back() = std::move(filling_.front());
      filling_.pop_front();
      request.cache = {};
      sample(context, request, row_of_logits(row));
    }
  }
}

ATTEND_INLINE void GenerationBatch::advance(Context& context) {
  if (running_.empty()) return;
  std::vector<std::int32_t> next;
  for (const std::unique_ptr<Request>& request : running_) next.push_back(request->text.ids.back());
  logits_.resize(static_cast<std::size_t>(detail::checked_numel(
      Shape<2>{static_cast<Index>(next.size()), model_->options().vocab_size}, sizeof(float))));
  detail::advance(
      context, *model_, cache_, next,
      [&](std::size_t i) -> const std::vector<std::int32_t>& { return running_[i]->text.ids; },
      logits_.data());
  for (std::size_t i = 0; i < running_.size(); ++i) sample(context, *running_[i], row_of_logits(i));
}

ATTEND_INLINE void GenerationBatch::sample(Context& context, Request& request, std::span<float> logits) {
  // The logits are gone afterwards, so that a stop waits for the next step.
  struct Unstopped {
    Context& context;
    StopToken token = context.stop_token();
    explicit Unstopped(Context& c) : context(c) { context.set_stop_token({}); }
    ~Unstopped() { context.set_stop_token(token); }
  } unstopped(context);
  const auto choose = [&] {
    const bool more = request.text.grow(
        context, *model_, request.options, logits,
        [&](const TokenLogprob& token) { return !request.callback || request.callback(token); });
    if (!more) request.done = true;
  };
  if (request.done) return;  // it has left
#if defined(__cpp_exceptions)
  try {
    choose();
  } catch (...) {
    request.error = std::current_exception();
    request.done = true;
  }
#else
  choose();
#endif
}

ATTEND_INLINE void GenerationBatch::compact() {
  const auto over = [](const std::unique_ptr<Request>& request) { return request->done; };
  std::erase_if(waiting_, over);
  std::erase_if(filling_, over);
  std::vector<Index> live;
  Requests rest;
  std::vector<Ended> ended;
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Request& request = *running_[i];
    if (!request.done) {
      live.push_back(static_cast<Index>(i));
      continue;
    }
    if (options_.kept_prompts > 0 && request.error == nullptr) {
      CachedPrompt kept{request.text.ids, cache_.sibling()};
      kept.cache.fork(cache_, static_cast<Index>(i));
      kept_.push_back(std::move(kept));
    }
    if (!request.left) ended.push_back({request.ticket, request.text.result, request.error});
  }
  while (static_cast<Index>(kept_.size()) > options_.kept_prompts) kept_.pop_front();
  if (live.size() == running_.size()) return;
  ended_.reserve(ended_.size() + ended.size());
  rest.resize(live.size());
  cache_.reorder(live);
  for (std::size_t i = 0; i < live.size(); ++i)
    rest[i] = std::move(running_[static_cast<std::size_t>(live[i])]);
  running_.swap(rest);
  std::move(ended.begin(), ended.end(), std::back_inserter(ended_));
}

ATTEND_INLINE std::vector<GenerationBatch::Ended> GenerationBatch::step(Context& context) {
  if (stepping_) throw_error("GenerationBatch: a step within a step");
  check_model();
  struct Stepping {
    bool& yes;
    explicit Stepping(bool& y) : yes(y) { yes = true; }
    ~Stepping() { yes = false; }
  } stepping(stepping_);
  compact();
  advance(context);
  compact();
  while (!waiting_.empty() && running() < options_.max_running) {
    filling_.push_back(nullptr);
    filling_.back() = std::move(waiting_.front());
    waiting_.pop_front();
  }
  fill(context);
  compact();
  return std::exchange(ended_, {});
}

}  // namespace attend::inline ATTEND_ABI
