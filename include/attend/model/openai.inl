// Bodies of openai.hpp.
#pragma once

#include <algorithm>
#include <chrono>
#include <ctime>
#include <numeric>
#include <utility>

#include <attend/json/fields.hpp>
#include <attend/json/text.hpp>
#include <attend/model/openai.hpp>

namespace attend::inline ATTEND_ABI::openai {

namespace detail {
using attend::detail::json_as;
using attend::detail::json_dump;
using attend::detail::json_list;
using attend::detail::json_member;
using attend::detail::json_text;
using attend::detail::JsonMembers;
using attend::detail::JsonText;

template <class T>
void take(const JsonObject& body, const char* name, T& value) {
  if (body.has(name)) value = json_as<T>(body.at(name), body.where(name));
}
/// A text, or a list of them.
inline std::vector<std::string> texts(const JsonObject& body, const char* name) {
  if (!body.has(name)) return {};
  if (body.at(name).is_string()) return {body.string(name)};
  return json_as<std::vector<std::string>>(body.at(name), body.where(name));
}
/// Texts, or ids of texts: one, or a list of them.
inline std::vector<Input> inputs(const JsonObject& body, const char* name) {
  using Ids = std::vector<std::int32_t>;
  const Json& value = json_member(body.json(), name);
  const bool list = value.is_array() && !value.empty();
  if (list && value[0].is_number()) return {json_as<Ids>(value, body.where(name))};
  std::vector<Input> out;
  if (list && value[0].is_array())
    for (Ids& ids : json_as<std::vector<Ids>>(value, body.where(name))) out.emplace_back(std::move(ids));
  else
    for (std::string& text : texts(body, name)) out.emplace_back(std::move(text));
  return out;
}
/// Errors of fields that ask for what is not there, but for the value that says "no".
inline void refuse(const JsonObject& body, const JsonMembers& fields) {
  for (const auto& [name, no] : fields)
    if (body.has(name) && body.at(name) != *share_json(no.text, name))
      throw_error(body.where(name), " is not supported but for ", no.text, ", got ",
                  attend::detail::json_excerpt(body.at(name)));
}
inline const char* name_of(FinishReason reason) { return reason == FinishReason::length ? "length" : "stop"; }

/// A token as it stands inside a text: at the beginning some vocabularies leave its blank out.
inline std::string text_of_token(const text::Tokenizer& tokenizer, std::int32_t id) {
  if (!tokenizer.contains(id)) return {};
  const std::int32_t twice[] = {id, id};
  const std::string alone = tokenizer.decode(std::span(&id, 1)), both = tokenizer.decode(twice);
  return both.starts_with(alone) ? both.substr(alone.size()) : alone;
}
inline JsonMembers token_json(const text::Tokenizer& tokenizer, std::int32_t id, float logprob) {
  const std::string text = text_of_token(tokenizer, id);
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  return {{"token", text}, {"logprob", logprob}, {"bytes", json_list(std::span(bytes, text.size()))}};
}
/// Of one token, as the list that a chat's answer has.
inline JsonText logprobs_of_chat(const text::Tokenizer& tokenizer, const TokenLogprob& token) {
  std::vector<JsonText> top;
  for (const auto& [id, logprob] : token.top) top.push_back(token_json(tokenizer, id, logprob));
  JsonMembers one = token_json(tokenizer, token.id, token.logprob);
  one["top_logprobs"] = json_list(top);
  return one;
}
/// Tokens of a chat's answer, `tokens` with commas between them, as an answer has them: one of the older kind
/// has a list of each member. `offset` is where the first one begins, then where the next one will.
inline JsonText logprobs(bool chat, const std::string& tokens, std::size_t& offset) {
  const std::string list = '[' + tokens + ']';
  if (chat) return {{"content", json_text(list)}};
  std::vector<JsonText> texts, values, tops, offsets;
  const auto content = share_json(list, "tokens");
  for (const Json& token : *content) {
    texts.push_back(json_text(json_member(token, "token")));
    values.push_back(json_text(json_member(token, "logprob")));
    JsonMembers top;
    for (const Json& other : json_member(token, "top_logprobs"))
      top[json_as<std::string>(json_member(other, "token"), "token")] =
          json_text(json_member(other, "logprob"));
    tops.push_back(top);
    offsets.push_back(offset);
    for (const Json& byte : json_member(token, "bytes"))
      offset += (byte.get<unsigned>() & 0xc0) != 0x80;  // in characters
  }
  return {{"tokens", json_list(texts)},
          {"token_logprobs", json_list(values)},
          {"top_logprobs", json_list(tops)},
          {"text_offset", json_list(offsets)}};
}

inline std::string base64(std::span<const std::byte> bytes) {
  constexpr const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 3; ++j)
      bits = bits << 8 | (i + j < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + j]) : 0);
    for (std::size_t j = 0; j < 4; ++j)
      out += i + j > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * j) & 63];
  }
  return out;
}
}  // namespace detail

ATTEND_INLINE Completion read_completion(const TextGenerator& generator, std::string_view text, bool chat,
                                         Index most_tokens) {
  const auto json = share_json(text, "request");
  const JsonObject body(*json, "request");
  const Index n = body.has("n") ? body.integer("n") : 1;
  if (n < 1 || n > 128) throw_error(body.where("n"), " is ", n, ", expected 1 to 128");
  detail::refuse(body, {{"best_of", n},
                        {"echo", false},
                        {"suffix", ""},
                        {"presence_penalty", 0},
                        {"frequency_penalty", 0},
                        {"logit_bias", detail::JsonMembers()},
                        {"response_format", {{"type", "text"}}},
                        {"functions", detail::json_list({})},
                        {"modalities", detail::json_list({"text"})},
                        {"audio", nullptr},
                        {"web_search_options", nullptr}});
  const bool no_tools = body.has("tool_choice") && attend::detail::json_is(body.at("tool_choice"), "none");
  if (!no_tools) detail::refuse(body, {{"tool_choice", "auto"}});
  if (body.has("function_call") && !attend::detail::json_is(body.at("function_call"), "none"))
    detail::refuse(body, {{"function_call", "auto"}});
  Completion out{.n = static_cast<std::size_t>(n), .chat = chat};
  GenerationOptions o = generator.generation_options();
  o.num_beams = 1;
  detail::take(body, "max_tokens", o.max_new_tokens);
  detail::take(body, "max_completion_tokens", o.max_new_tokens);
  o.max_new_tokens = (std::min)(o.max_new_tokens, most_tokens);
  detail::take(body, "temperature", o.temperature);
  detail::take(body, "top_p", o.top_p);
  detail::take(body, "top_k", o.top_k);
  detail::take(body, "min_p", o.min_p);
  detail::take(body, "repetition_penalty", o.repetition_penalty);
  if (body.has("seed"))
    o.seed = static_cast<std::uint64_t>(detail::json_as<std::int64_t>(body.at("seed"), body.where("seed")));
  else
    o.seed = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  if (body.has("stop")) o.stop = detail::texts(body, "stop");
  if (chat && body.boolean("logprobs", false))
    o.logprobs = body.has("top_logprobs") ? body.integer("top_logprobs") : 0;
  else if (chat && body.has("top_logprobs"))
    throw_error(body.where("top_logprobs"), " goes with 'logprobs'");
  if (!chat && body.has("logprobs")) o.logprobs = body.integer("logprobs");
  if (o.logprobs.value_or(0) > 20)
    throw_error("request: log-probabilities of ", *o.logprobs, " tokens, expected 20 at most");
  out.stream = body.boolean("stream", false);
  if (body.has("stream_options"))
    out.include_usage = body.object("stream_options").boolean("include_usage", false);
  check_options(o, "request");
  const auto ask = [&](std::vector<std::int32_t> ids) {
    if (out.requests.size() + out.n > 1024) throw_error("request: more than 1024 choices");
    for (std::uint64_t i = 0; i < out.n; ++i) {
      out.requests.push_back({.ids = ids, .options = o});
      out.requests.back().options.seed += i;
    }
  };
  if (chat) {
    if (generator.chat_template().empty()) throw_error("request: the model has no chat template");
    ChatOptions options;
    if (body.has("tools") && !no_tools) options.tools = detail::json_dump(body.array("tools"));
    if (body.has("chat_template_kwargs"))
      options.variables = detail::json_dump(body.object("chat_template_kwargs").json());
    std::vector<detail::JsonText> messages;
    for (std::size_t i = 0; i < body.array("messages").size(); ++i) {
      const JsonObject message = body.element("messages", i);
      message.string("role");
      detail::JsonMembers members;
      if (message.has("content") && message.at("content").is_array()) {  // parts, taken as their text
        std::string joined;
        for (std::size_t j = 0; j < message.at("content").size(); ++j) {
          const JsonObject part = message.element("content", j);
          if (part.string("type") != "text") part.error("only parts of text are supported");
          joined += part.string("text");
        }
        members.emplace("content", joined);
      } else if (message.has("content")) {
        message.string("content");
      }
      for (const auto& [name, value] : message.json().get_ref<const Json::object_t&>())
        members.try_emplace(name, detail::json_text(value));
      messages.push_back(members);
    }
    ask(generator.tokenizer().encode(
        generator.chat_template().render(detail::json_list(messages).text, options),
        {.add_special_tokens = false}));
  } else {
    for (Input& one : detail::inputs(body, "prompt")) {
      const std::string* prompt = std::get_if<std::string>(&one);
      ask(prompt != nullptr ? generator.encode(*prompt) : std::get<1>(std::move(one)));
    }
    if (out.requests.empty()) throw_error(body.where("prompt"), ": expected a text, or a list of them");
  }
  return out;
}

ATTEND_INLINE CompletionWriter::CompletionWriter(const TextGenerator& generator, const Completion& completion,
                                                 std::string model, std::string id)
    : generator_(&generator),
      completion_(&completion),
      model_(std::move(model)),
      id_((completion.chat ? "chatcmpl-" : "cmpl-") + std::move(id)),
      created_(std::time(nullptr)),
      choices_(completion.requests.size()) {}

ATTEND_INLINE std::string CompletionWriter::usage() const {
  Index prompt = 0;
  for (std::size_t i = 0; i < choices_.size(); i += completion_->n)
    prompt += static_cast<Index>(completion_->requests[i].ids.size());
  return detail::JsonMembers{{"prompt_tokens", prompt},
                             {"completion_tokens", completion_tokens_},
                             {"total_tokens", prompt + completion_tokens_},
                             {"prompt_tokens_details", {{"cached_tokens", reused_}}}}
      .text();
}

ATTEND_INLINE void CompletionWriter::end(std::size_t choice, const TextService::Piece& piece) {
  choices_[choice].reason = piece.reason;
  ++ended_;
  completion_tokens_ += piece.completion_tokens;
  if (choice % completion_->n == 0) reused_ += piece.reused;
}

ATTEND_INLINE std::string CompletionWriter::event(const TextService::Piece& piece, std::size_t index) {
  Choice& state = choices_[index];
  const bool chat = completion_->chat;
  detail::JsonMembers chunk{{"id", id_},
                            {"object", chat ? "chat.completion.chunk" : "text_completion"},
                            {"created", created_},
                            {"model", model_}};
  const auto data = [](const detail::JsonMembers& json) { return "data: " + json.text() + "\n\n"; };
  detail::JsonMembers choice{{"index", index}, {"finish_reason", nullptr}, {"logprobs", nullptr}};
  const bool told = completion_->requests[index].options.logprobs && piece.token;
  if (told)
    choice["logprobs"] = detail::logprobs(
        chat, detail::logprobs_of_chat(generator_->tokenizer(), *piece.token).text, state.offset);
  if (piece.reason) {
    end(index, piece);
  } else if (piece.text.empty() && !told) {
    return {};
  }
  detail::JsonMembers delta{{"content", piece.text}};
  if (!std::exchange(state.begun, true)) delta["role"] = "assistant";
  chat ? choice["delta"] = delta : choice["text"] = piece.text;
  std::string out;
  if (!piece.reason || !piece.text.empty()) {
    chunk["choices"] = detail::json_list({choice});
    out = data(chunk);
  }
  if (!piece.reason) return out;
  choice["finish_reason"] = detail::name_of(*piece.reason);
  chat ? choice["delta"] = detail::JsonMembers() : choice["text"] = "";
  chunk["choices"] = detail::json_list({choice});
  out += data(chunk);
  if (ended_ < choices_.size()) return out;
  if (completion_->include_usage) {
    chunk["choices"] = detail::json_list({});
    chunk["usage"] = detail::json_text(usage());
    out += data(chunk);
  }
  return out + "data: [DONE]\n\n";
}

ATTEND_INLINE void CompletionWriter::add(const TextService::Piece& piece, std::size_t index) {
  Choice& choice = choices_[index];
  choice.text += piece.text;
  if (completion_->requests[index].options.logprobs && piece.token) {
    if (!choice.logprobs.empty()) choice.logprobs += ',';
    choice.logprobs += detail::logprobs_of_chat(generator_->tokenizer(), *piece.token).text;
  }
  if (piece.reason) end(index, piece);
}

ATTEND_INLINE std::string CompletionWriter::whole() const {
  const bool chat = completion_->chat;
  std::vector<detail::JsonText> choices;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const Choice& state = choices_[i];
    detail::JsonMembers choice{
        {"index", i},
        {"finish_reason", detail::name_of(state.reason.value_or(FinishReason::length))},
        {"logprobs", nullptr}};
    std::size_t offset = 0;
    if (completion_->requests[i].options.logprobs)
      choice["logprobs"] = detail::logprobs(chat, state.logprobs, offset);
    if (chat)
      choice["message"] = {{"role", "assistant"}, {"content", state.text}};
    else
      choice["text"] = state.text;
    choices.push_back(choice);
  }
  return detail::JsonMembers{{"id", id_},
                             {"object", chat ? "chat.completion" : "text_completion"},
                             {"created", created_},
                             {"model", model_},
                             {"choices", detail::json_list(choices)},
                             {"usage", detail::json_text(usage())}}
      .text();
}

ATTEND_INLINE Embeddings read_embeddings(std::string_view text) {
  const auto json = share_json(text, "request");
  const JsonObject body(*json, "request");
  Embeddings out{.inputs = detail::inputs(body, "input")};
  if (out.inputs.empty()) throw_error(body.where("input"), ": expected a text, its ids, or a list of them");
  if (out.inputs.size() > 2048) throw_error(body.where("input"), ": more than 2048 texts");
  if (body.has("dimensions")) {
    out.dimensions = body.integer("dimensions");
    attend::detail::check_size("request", "dimensions", out.dimensions);
  }
  const std::string format = body.string("encoding_format", "float");
  out.base64 = format == "base64";
  if (!out.base64 && format != "float")
    throw_error(body.where("encoding_format"), ": expected float or base64");
  return out;
}

ATTEND_INLINE std::string write_embeddings(const Embeddings& request, TensorView<const float, 2> vectors,
                                           Index tokens, std::string_view model) {
  std::vector<detail::JsonText> data;
  for (Index i = 0; i < vectors.size(0); ++i) {
    const std::span<const float> row = vectors[i].span();
    const detail::JsonText values =
        request.base64 ? detail::JsonText(detail::base64(std::as_bytes(row))) : detail::json_list(row);
    data.push_back({{"object", "embedding"}, {"index", i}, {"embedding", values}});
  }
  return detail::JsonMembers{{"object", "list"},
                             {"data", detail::json_list(data)},
                             {"model", model},
                             {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}}
      .text();
}

ATTEND_INLINE Rerank read_rerank(std::string_view text) {
  const auto json = share_json(text, "request");
  const JsonObject body(*json, "request");
  Rerank out{.query = body.string("query"), .documents = {}};
  if (body.array("documents").size() > 2048) throw_error(body.where("documents"), ": more than 2048");
  for (std::size_t i = 0; i < body.array("documents").size(); ++i)  // texts, or objects with a text
    out.documents.push_back(
        body.array("documents")[i].is_object()
            ? body.element("documents", i).string("text")
            : detail::json_as<std::string>(body.array("documents")[i], body.where("documents")));
  out.top = body.has("top_n") ? static_cast<std::size_t>(body.integer("top_n")) : 0;
  out.return_documents = body.boolean("return_documents", false);
  return out;
}

ATTEND_INLINE std::string write_rerank(const Rerank& request, std::span<const float> scores,
                                       std::string_view model) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  if (request.top > 0) order.resize((std::min)(order.size(), request.top));
  std::vector<detail::JsonText> results;
  for (std::size_t i : order) {
    detail::JsonMembers one{{"index", i}, {"relevance_score", scores[i]}};
    if (request.return_documents) one["document"] = {{"text", request.documents[i]}};
    results.push_back(one);
  }
  return detail::JsonMembers{{"object", "list"}, {"model", model}, {"results", detail::json_list(results)}}
      .text();
}

ATTEND_INLINE std::string write_error(std::string_view message, std::string_view type) {
  return detail::JsonMembers{
      {"error", {{"message", message}, {"type", type}, {"param", nullptr}, {"code", nullptr}}}}
      .text();
}

namespace detail {
inline JsonMembers model_json(std::string_view name) {
  return {{"id", name}, {"object", "model"}, {"created", 0}, {"owned_by", "attend"}};
}
}  // namespace detail

ATTEND_INLINE std::string write_models(std::span<const std::string> names) {
  std::vector<detail::JsonText> data;
  for (const std::string& name : names) data.push_back(detail::model_json(name));
  return detail::JsonMembers{{"object", "list"}, {"data", detail::json_list(data)}}.text();
}
ATTEND_INLINE std::string write_model(std::string_view name) { return detail::model_json(name).text(); }

}  // namespace attend::inline ATTEND_ABI::openai
