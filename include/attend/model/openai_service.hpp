// Models that answer the requests of OpenAI's clients: all of a server but its sockets.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/location.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/openai.hpp>
#include <attend/model/sentence_encoder.hpp>

namespace attend::inline ATTEND_ABI::openai {

/// Of a Service.
struct ServiceOptions {
  OpenOptions weights = {};            ///< how models keep theirs
  int threads = 1;                     ///< of each kind of model
  Index max_running = 16;              ///< texts that are generated at once
  Index max_waiting = 64;              ///< requests that wait beside them; more get status 429
  Index max_tokens = 2048;             ///< that a request may have generated
  std::chrono::seconds deadline{600};  ///< from a request to its answer's end
};

/// An answer: whole, or as events that come one by one.
struct Answer {
  int status = 200;       ///< of HTTP
  std::string body = {};  ///< JSON, where it is whole
  /// Of a stream: waits for the next event, which may be empty; nothing behind the last. Whoever lets go of
  /// it before that gives the request up.
  std::function<std::optional<std::string>()> next = {};
};

/// Any number of threads may ask at once. Texts are generated as one batch, and texts to embed or rank that
/// wait together run together; each answer is the one that a request gets alone.
class Service {
 public:
  /// Without models, until `open`.
  explicit Service(ServiceOptions options = {}) : options_(std::move(options)) {}

  /// A folder or a GGUF file: a language model, a sentence encoder or a cross-encoder, before the first
  /// question. Of two of a kind the last one answers.
  void open(const Location& model);

  /// POST /v1/completions, /v1/chat/completions, /v1/embeddings, /v1/rerank. An error is an answer, too: 400
  /// a request that is wrong, 404 a path that no model is for, 429 no room, 503 a service that is closed, 504
  /// a deadline that has passed.
  /// `gone` says whether nobody waits any more: asked while the request waits, between the tokens of a whole
  /// answer, and between groups of texts. It is given up then.
  Answer post(std::string_view path, std::string_view body, const std::function<bool()>& gone = {});
  /// GET /v1/models.
  std::string models() const { return write_models(names_); }
  /// GET /v1/models/NAME.
  Answer model(std::string_view name) const;
  /// GET /metrics, in Prometheus' text format.
  std::string metrics() const;
  /// Takes no more, and returns when all answers that are on their way have been taken, or the deadline of
  /// the last one has passed.
  void close();

 private:
  using Vector = std::vector<float>;
  template <class Model>
  struct Named {
    Model model;
    std::string name;
    Context context;
    std::atomic<int> asked{0};  // requests of which it has texts
    explicit Named(Model m, std::string n, int threads)
        : model(std::move(m)), name(std::move(n)), context(threads) {}
  };
  struct Taking;
  struct Turns;
  struct Running;

  Answer complete(std::string_view body, bool chat, const std::function<bool()>& gone);
  Answer embed(std::string_view body, const std::function<bool()>& gone);
  Answer rank(std::string_view body, const std::function<bool()>& gone);
  Answer answer(std::string_view path, std::string_view body, const std::function<bool()>& gone);

  ServiceOptions options_;
  std::vector<std::string> names_;
  std::string text_name_;
  std::unique_ptr<TextService> text_;
  std::unique_ptr<Named<SentenceEncoder>> encoder_;
  std::unique_ptr<Named<CrossEncoder>> judge_;
  std::unique_ptr<Gatherer<Input, Vector>> encode_;
  std::unique_ptr<Gatherer<Rerank, Vector>> rank_;
  std::atomic<std::uint64_t> number_{0};
  std::atomic<bool> closed_{false};
  std::atomic<int> taking_{0};  // answers that are not taken yet
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::uint64_t> answers_;  // by path and status
  double seconds_to_first_token_ = 0;
  std::uint64_t first_tokens_ = 0;
};

}  // namespace attend::inline ATTEND_ABI::openai

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/openai_service.inl>
#endif
