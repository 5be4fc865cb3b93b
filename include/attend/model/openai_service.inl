// Bodies of openai_service.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <iterator>
#include <locale>
#include <sstream>
#include <thread>

#include <attend/gguf/folder.hpp>
#include <attend/io/config.hpp>
#include <attend/json/json.hpp>
#include <attend/model/openai_service.hpp>

namespace attend::inline ATTEND_ABI::openai {

/// An answer on its way, which close() waits for.
struct Service::Taking {
  std::atomic<int>& count;
  explicit Taking(std::atomic<int>& c) : count(c) { ++count; }
  Taking(const Taking&) = delete;
  Taking& operator=(const Taking&) = delete;
  ~Taking() { --count; }
};

ATTEND_INLINE void Service::open(const Location& model) {
  const Location folder = attend::detail::model_folder(model);
  const auto kinds = Config(folder / "config.json").get<std::vector<std::string>>("architectures", {});
  const std::string kind = kinds.empty() ? "" : kinds[0];
  const std::string name = attend::detail::utf8_text((model.path() / "").parent_path().filename());
  if (kind.ends_with("ForSequenceClassification")) {
    judge_ = std::make_unique<Named<CrossEncoder>>(CrossEncoder::open(model, options_.weights), name,
                                                   options_.threads);
    rank_ = std::make_unique<Gatherer<Rerank, Vector>>(
        [this](std::vector<Rerank> asked) {
          std::vector<Vector> out;
          for (const Rerank& one : asked)
            out.push_back(judge_->model.score(judge_->context, one.query, one.documents).to_vector());
          return out;
        },
        16, static_cast<std::size_t>(options_.max_waiting + options_.max_running));
  } else if (!(folder / "modules.json").exists() &&
             (kind.ends_with("ForCausalLM") || kind.ends_with("LMHeadModel"))) {
    text_ =
        std::make_unique<TextService>(TextGenerator::open(model, {.max_new_tokens = 256}, options_.weights),
                                      TextServiceOptions{.context = {.threads = options_.threads},
                                                         .batch = {.max_running = options_.max_running},
                                                         .max_waiting = options_.max_waiting});
    text_name_ = name;
  } else {
    encoder_ = std::make_unique<Named<SentenceEncoder>>(SentenceEncoder::open(model, options_.weights), name,
                                                        options_.threads);
    encode_ = std::make_unique<Gatherer<Input, Vector>>(
        [this](std::vector<Input> inputs) {
          const SentenceEncoder& encoder = encoder_->model;
          std::vector<std::string> texts;
          for (const Input& input : inputs)
            if (const auto* text = std::get_if<std::string>(&input)) texts.push_back(*text);
          const Tensor<float, 2> of_texts = encoder.encode(encoder_->context, texts);
          Tensor<float, 2> of_ids({1, encoder.embedding_dim()});
          std::vector<Vector> out;
          for (Index next = 0; const Input& input : inputs) {
            const auto* ids = std::get_if<std::vector<std::int32_t>>(&input);
            if (ids != nullptr)
              encoder.embed(encoder_->context, *ids, std::array{Index{0}, std::ssize(*ids)}, of_ids);
            const std::span<const float> row = ids != nullptr ? of_ids[0].span() : of_texts[next++].span();
            out.emplace_back(row.begin(), row.end());
          }
          return out;
        },
        256, static_cast<std::size_t>(options_.max_waiting + options_.max_running));
  }
  names_.push_back(name);
}

/// A request of many texts, which gets its vectors a group at a time: others have their turns between.
struct Service::Turns {
  const ServiceOptions& options;
  const std::function<bool()>& gone;
  Taking taking;
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
  std::vector<Vector> out = {};

  Turns(const ServiceOptions& o, const std::function<bool()>& g, std::atomic<int>& asked)
      : options(o), gone(g), taking(asked) {
    if (asked > options.max_waiting + options.max_running)
      attend::detail::throw_message<Busy>("too many requests wait");
  }
  /// false: nobody waits any more.
  template <class In>
  bool run(Gatherer<In, Vector>& gather, std::vector<In>& items) {
    if (gone && gone()) return false;
    const auto passed = std::chrono::steady_clock::now() - begin;
    if (std::chrono::duration_cast<std::chrono::seconds>(passed) >= options.deadline)
      attend::detail::throw_message<DeadlinePassed>("the deadline of the request has passed");
    for (Vector& one : gather(std::exchange(items, {}))) out.push_back(std::move(one));
    return true;
  }
};

namespace detail {
inline Answer given_up() { return {499, write_error("the client has gone")}; }
}  // namespace detail

/// A completion on its way: a stream for each choice.
struct Service::Running {
  Taking taking;
  Completion asked;
  CompletionWriter writer;
  std::vector<std::optional<TextService::Stream>> streams;  // none: it has ended
  std::size_t turn = 0, left;
  std::optional<std::string> first;  // event, of a piece that was waited for
  bool ended = false;

  Running(Service& service, Completion a)
      : taking(service.taking_),
        asked(std::move(a)),
        writer(service.text_->generator(), asked, service.text_name_, std::to_string(++service.number_)),
        left(asked.requests.size()) {
    for (TextService::Request& request : asked.requests) streams.push_back(service.text_->start(request));
  }
  /// Whether a stream whose turn it then is has something, waited for at most that long.
  bool wait_for(std::chrono::milliseconds time) {
    for (const auto each : {std::chrono::milliseconds(0), time / static_cast<int>(left)})
      for (std::size_t i = 0; i < streams.size(); ++i) {
        turn = (turn + 1) % streams.size();
        if (streams[turn] && streams[turn]->wait_for(each)) return true;
      }
    return false;
  }
  /// What it has: an error, too, of which nothing follows.
  TextService::Piece take() {
    std::optional<TextService::Piece> piece = streams[turn]->next();
    if (!piece) throw_error("a text has ended early");
    if (piece->reason) streams[turn].reset(), --left;
    return std::move(*piece);
  }
  std::optional<std::string> event() {
    if (first) return std::exchange(first, std::nullopt);
    if (ended || left == 0) return std::nullopt;
    while (!wait_for(std::chrono::milliseconds(20))) {
    }
    const TextService::Piece piece = take();
    return writer.event(piece, turn);
  }
};

ATTEND_INLINE Answer Service::complete(std::string_view body, bool chat, const std::function<bool()>& gone) {
  const auto begin = std::chrono::steady_clock::now();
  Completion asked = read_completion(text_->generator(), body, chat, options_.max_tokens);
  const auto most = (std::chrono::steady_clock::time_point::max)();
  if (options_.deadline < std::chrono::duration_cast<std::chrono::seconds>(most - begin))
    for (TextService::Request& request : asked.requests) request.deadline = begin + options_.deadline;
  const auto running = std::make_shared<Running>(*this, std::move(asked));
  const auto wait = [&] {  // false: nobody waits any more
    while (!running->wait_for(std::chrono::milliseconds(50)))
      if (gone && gone()) return false;
    return true;
  };
  if (!wait()) return detail::given_up();
  TextService::Piece piece = running->take();  // errors of the request are a status
  {
    const std::lock_guard lock(mutex_);
    seconds_to_first_token_ +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    ++first_tokens_;
  }
  if (!running->asked.stream) {
    for (;; piece = running->take()) {
      running->writer.add(piece, running->turn);
      if (running->left == 0) return {.body = running->writer.whole()};
      if ((gone && gone()) || !wait()) return detail::given_up();
    }
  }
  running->first = running->writer.event(piece, running->turn);
  return {.next = [running]() -> std::optional<std::string> {
#if defined(__cpp_exceptions)
    try {
      return running->event();
    } catch (const std::exception& error) {
      running->ended = true;
      return "data: " + write_error(error.what(), "server_error") + "\n\n";
    }
#else
    return running->event();
#endif
  }};
}

ATTEND_INLINE Answer Service::embed(std::string_view body, const std::function<bool()>& gone) {
  const Embeddings asked = read_embeddings(body);
  const SentenceEncoder& model = encoder_->model;
  const Index width = model.embedding_dim();
  if (asked.dimensions > width) throw_error("request: 'dimensions' are more than ", width);
  Turns turns(options_, gone, encoder_->asked);
  Index tokens = 0;
  std::vector<Input> group;
  for (std::size_t size = 0; const Input& input : asked.inputs) {
    const auto* text = std::get_if<std::string>(&input);
    const std::size_t n = text != nullptr ? model.encode_ids(*text).size() : std::get<1>(input).size();
    if (const Index most = model.options().text.max_seq_length;
        text == nullptr && (n < 1 || n > static_cast<std::size_t>(most)))
      throw_error("request: ", n, " ids of a text, expected 1 to ", most);
    group.push_back(input);
    tokens += static_cast<Index>(n);
    if ((size += n) < SentenceEncoder::kGroup && &input != &asked.inputs.back()) continue;
    if (!turns.run(*encode_, group)) return detail::given_up();
    size = 0;
  }
  Tensor<float, 2> out({std::ssize(turns.out), asked.dimensions > 0 ? asked.dimensions : width});
  for (Index i = 0; i < out.size(0); ++i)
    std::copy_n(turns.out[static_cast<std::size_t>(i)].begin(), out.size(1), out[i].span().begin());
  return {.body = write_embeddings(asked, out, tokens, encoder_->name)};
}

ATTEND_INLINE Answer Service::rank(std::string_view body, const std::function<bool()>& gone) {
  constexpr std::ptrdiff_t kGroup = 16;
  const Rerank asked = read_rerank(body);
  if (judge_->model.num_labels() != 1) throw_error("request: the model has several labels");
  Turns turns(options_, gone, judge_->asked);
  const auto end = asked.documents.end();
  for (auto next = asked.documents.begin(); next != end;) {
    const auto first = std::exchange(next, next + (std::min)(kGroup, end - next));
    std::vector<Rerank> group{{.query = asked.query, .documents = {first, next}}};
    if (!turns.run(*rank_, group)) return detail::given_up();
  }
  Vector scores;
  for (const Vector& group : turns.out) scores.insert(scores.end(), group.begin(), group.end());
  return {.body = write_rerank(asked, scores, judge_->name)};
}

ATTEND_INLINE Answer Service::answer(std::string_view path, std::string_view body,
                                     const std::function<bool()>& gone) {
  const bool chats = text_ != nullptr && path == "/v1/chat/completions",
             writes = text_ != nullptr && path == "/v1/completions",
             embeds = encoder_ != nullptr && path == "/v1/embeddings",
             ranks = judge_ != nullptr && path == "/v1/rerank";
  if (!chats && !writes && !embeds && !ranks) return {404, write_error("no model is for this path")};
  if (closed_) return {503, write_error("the service is closed", "server_error")};
  if (chats || writes) return complete(body, chats, gone);
  return embeds ? embed(body, gone) : rank(body, gone);
}

ATTEND_INLINE Answer Service::post(std::string_view path, std::string_view body,
                                   const std::function<bool()>& gone) {
  const Taking taking(taking_);
  Answer out;
#if defined(__cpp_exceptions)
  try {
    out = answer(path, body, gone);
  } catch (const Busy& error) {
    out = {429, write_error(error.what(), "rate_limit_exceeded")};
  } catch (const DeadlinePassed& error) {
    out = {504, write_error(error.what(), "timeout")};
  } catch (const Stopped& error) {
    out = {503, write_error(error.what(), "server_error")};
  } catch (const Error& error) {
    out = {400, write_error(error.what())};
  } catch (const std::exception& error) {
    out = {500, write_error(error.what(), "server_error")};
  }
#else
  out = answer(path, body, gone);
#endif
  const std::lock_guard lock(mutex_);
  ++answers_[{out.status == 404 ? "other" : std::string(path), out.status}];
  return out;
}

ATTEND_INLINE Answer Service::model(std::string_view name) const {
  if (std::find(names_.begin(), names_.end(), name) == names_.end())
    return {404, write_error("no such model")};
  return {.body = write_model(name)};
}

ATTEND_INLINE std::string Service::metrics() const {
  std::ostringstream out;
  out.imbue(std::locale::classic());  // whatever the program's is
  const std::lock_guard lock(mutex_);
  out << "# TYPE attend_responses_total counter\n";
  for (const auto& [which, count] : answers_)
    out << "attend_responses_total{path=\"" << which.first << "\",status=\"" << which.second << "\"} "
        << count << '\n';
  if (text_ != nullptr)
    out << "# TYPE attend_generated_tokens_total counter\nattend_generated_tokens_total "
        << text_->generated_tokens() << "\n# TYPE attend_requests_running gauge\nattend_requests_running "
        << text_->running() << "\n# TYPE attend_requests_waiting gauge\nattend_requests_waiting "
        << text_->waiting() << "\n# TYPE attend_time_to_first_token_seconds summary\n"
        << "attend_time_to_first_token_seconds_sum " << seconds_to_first_token_
        << "\nattend_time_to_first_token_seconds_count " << first_tokens_ << '\n';
  return out.str();
}

ATTEND_INLINE void Service::close() {
  closed_ = true;
  if (text_ != nullptr) text_->close();
  constexpr std::chrono::milliseconds kPause(5);
  using std::chrono::seconds;
  for (auto waited = kPause; taking_ > 0 && std::chrono::duration_cast<seconds>(waited) < options_.deadline;
       waited += kPause)
    std::this_thread::sleep_for(kPause);
}

}  // namespace attend::inline ATTEND_ABI::openai
