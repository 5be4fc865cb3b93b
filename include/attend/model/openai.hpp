// The JSON that OpenAI's clients send and read, so that a server is little more than its sockets.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <attend/model/text_service.hpp>

/// Requests are parsed strictly: a field that would change the answer and is not supported is an Error that
/// names it, and so is one of the wrong type. All texts are JSON in UTF-8.
namespace attend::inline ATTEND_ABI::openai {

/// POST /v1/completions and /v1/chat/completions.
struct Completion {
  /// What the service gets: one for each choice, those of one prompt beside each other.
  std::vector<TextService::Request> requests = {};
  std::size_t n = 1;  ///< choices of a prompt
  /// A chat; the answer as events; usage behind the last.
  bool chat = false, stream = false, include_usage = false;
};
/// Of prompt (a text, ids, or a list of them) and of messages. What is not said is as the folder says, and
/// `most_tokens` at most. Taken are n (128 choices at most; each has a seed of its own), max_tokens,
/// max_completion_tokens, temperature, top_p, top_k, min_p, repetition_penalty, seed, stop, logprobs,
/// top_logprobs (20 at most), stream, stream_options, and of the chat template tools and
/// chat_template_kwargs.
Completion read_completion(const TextGenerator& generator, std::string_view body, bool chat,
                           Index most_tokens);

/// Answers of one completion: as it is whole, or piece by piece.
class CompletionWriter {
 public:
  /// `generator` and `completion` outlive it.
  CompletionWriter(const TextGenerator& generator, const Completion& completion, std::string model,
                   std::string id);

  /// The data of a server-sent event, "data: …\n\n"; of a piece without text none. The last one of all
  /// choices is followed by the usage, where that is asked for, and by [DONE].
  std::string event(const TextService::Piece& piece, std::size_t choice = 0);
  /// Takes a piece of an answer that is given whole.
  void add(const TextService::Piece& piece, std::size_t choice = 0);
  std::string whole() const;  // The answer, as JSON.

 private:
  struct Choice {
    std::string text = {}, logprobs = {};
    std::optional<FinishReason> reason = {};
    std::size_t offset = 0;  // of the next token in the text
    bool begun = false;
  };
  std::string usage() const;
  /// Counts what a choice's last piece has.
  void end(std::size_t choice, const TextService::Piece& piece);

  const TextGenerator* generator_;
  const Completion* completion_;
  std::string model_, id_;
  std::int64_t created_;
  std::vector<Choice> choices_;
  std::size_t ended_ = 0;
  Index completion_tokens_ = 0, reused_ = 0;
};

/// A text, or the ids that it has.
using Input = std::variant<std::string, std::vector<std::int32_t>>;

/// POST /v1/embeddings.
struct Embeddings {
  std::vector<Input> inputs = {};  // of which vectors are asked for, 2048 at most
  Index dimensions = 0;            // 0: all
  bool base64 = false;             // numbers as base64 of float32, not as a list
};
/// The body of a request. Error, which names the field, where it is not understood.
Embeddings read_embeddings(std::string_view body);
/// Vectors [texts, N] as an answer; `tokens` are all of the texts'.
std::string write_embeddings(const Embeddings& request, TensorView<const float, 2> vectors, Index tokens,
                             std::string_view model);

/// POST /v1/rerank, as Jina's and Cohere's clients send it: query, documents (texts, or objects with a
/// "text"; 2048 at most), top_n, return_documents.
struct Rerank {
  std::string query = {};                   // what texts are judged by
  std::vector<std::string> documents = {};  // which are judged
  std::size_t top = 0;                      // how many come back; 0: all
  bool return_documents = false;            // their texts come back, too
};
/// The body of a request. Error, which names the field, where it is not understood.
Rerank read_rerank(std::string_view body);
/// One score of each document, best first.
std::string write_rerank(const Rerank& request, std::span<const float> scores, std::string_view model);

/// {"error": {"message", "type"}}.
std::string write_error(std::string_view message, std::string_view type = "invalid_request_error");
/// {"object": "list", "data": …} of GET /v1/models, and one of them as GET /v1/models/NAME has it.
/// @{
std::string write_models(std::span<const std::string> names);
std::string write_model(std::string_view name);
/// @}

}  // namespace attend::inline ATTEND_ABI::openai

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/openai.inl>
#endif
