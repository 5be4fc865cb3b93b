// Serves models over HTTP, in the words of OpenAI's clients: completions, chats, embeddings, reranking.
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/openai.hpp>
#include <attend/model/sentence_encoder.hpp>

#include "command_line.hpp"
#include "serve_page.hpp"
#include "weights.hpp"

#include <httplib.h>  // last: a macro that it brings is a name in Eigen's

namespace {
using Clock = std::chrono::steady_clock;
namespace openai = attend::openai;

constexpr const char* kHelp = R"(usage: serve --model DIR [--model DIR ...] [options]

Answers POST /v1/completions and /v1/chat/completions (language models), /v1/embeddings (sentence encoders) and
/v1/rerank (cross-encoders), in the fields that OpenAI's clients send and read, and GET /v1/models, /health, /metrics, and a page at /.
Requests that wait together run as one batch; each gets the text that it gets alone. SIGTERM ends what runs, then all.

  --model DIR        Hugging Face folder; of several, one of each kind
  --host ADDRESS     where to listen (default: 127.0.0.1, which only this machine reaches)
  --port N           (default: 8080; 0: any that is free, which is printed)
  --weights TYPE     float32, bfloat16, float16, int8, int4, or file: as it has them
  --activations TYPE  of int8 and int4 weights: int8 or int16
  --threads N        threads to compute with (default: 1)
  --max-running N    texts that are generated at once (default: 16)
  --max-waiting N    requests that wait beside them; more get status 429 (default: 64)
  --max-tokens N     tokens that a request may have generated (default: 2048)
  --max-body N       bytes of a request (default: 4194304)
  --deadline N       seconds that a request may take (default: 600)
  --api-key-file F   only for requests with one of the keys in its lines (Authorization: Bearer KEY)
  --quiet            no progress and no remarks on standard error
  --help             show this

Example:
  serve --model SmolLM2-135M-Instruct --model bge-small-en-v1.5 --port 8080

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

struct Server {
  httplib::Server http;
  std::unique_ptr<attend::TextService> text;
  std::optional<attend::SentenceEncoder> encoder;
  std::optional<attend::CrossEncoder> judge;
  std::vector<std::string> names, keys;
  std::string text_name, encoder_name, judge_name;
  long max_tokens = 2048;
  std::chrono::seconds deadline{600};
  std::atomic<std::uint64_t> requests{0}, number{0};
  std::atomic<bool> ending{false};
  std::atomic<int> streams{0};  // whose ends are still to be written
  std::mutex mutex;
  std::map<std::pair<std::string, int>, std::uint64_t> answers;  // by path and status
  double seconds_to_first_token = 0;
  std::uint64_t first_tokens = 0;

  void open(const std::string& folder, const attend::OpenOptions& weights) {
    const attend::Json config = attend::read_json(std::filesystem::path(folder) / "config.json");
    const std::string kind = config.value("architectures", attend::Json::array({""}))[0].get<std::string>();
    const bool sentences = std::filesystem::exists(std::filesystem::path(folder) / "modules.json");
    names.push_back(std::filesystem::path(folder + "/").parent_path().filename().string());
    if (kind.ends_with("ForSequenceClassification"))
      judge = attend::CrossEncoder::open(folder, weights), judge_name = names.back();
    else if (!sentences && (kind.ends_with("ForCausalLM") || kind.ends_with("LMHeadModel")))
      text_name = names.back();
    else
      encoder = attend::SentenceEncoder::open(folder, weights), encoder_name = names.back();
  }

  /// What a handler throws, as a status.
  template <class Handle>
  httplib::Server::Handler guarded(Handle handle) {
    return [this, handle](const httplib::Request& request, httplib::Response& response) {
      ++requests;
      const auto fail = [&](int status, const std::string& what, const char* type) {
        response.status = status;
        response.set_content(openai::write_error(what, type), "application/json");
      };
      try {
        response.status = 200;
        handle(request, response);
      } catch (const attend::Busy& busy) {
        response.set_header("Retry-After", "1");
        fail(429, busy.what(), "rate_limit_exceeded");
      } catch (const attend::DeadlinePassed& late) {
        fail(504, late.what(), "timeout");
      } catch (const attend::Stopped& stopped) {
        fail(503, stopped.what(), "server_error");
      } catch (const attend::Error& error) {
        fail(400, error.what(), "invalid_request_error");
      } catch (const std::exception& error) {
        fail(500, error.what(), "server_error");
      }
      const std::lock_guard lock(mutex);
      ++answers[{request.path, response.status}];
    };
  }

  struct Answering {
    std::atomic<int>& count;
    explicit Answering(std::atomic<int>& c) : count(c) { ++count; }
    ~Answering() { --count; }
  };

  void complete(const httplib::Request& request, httplib::Response& response, bool chat) {
    const auto begin = Clock::now();
    const auto answering = std::make_shared<Answering>(streams);
    const auto asked = std::make_shared<openai::Completion>(
        openai::read_completion(text->generator(), request.body, chat, max_tokens));
    asked->request.deadline = begin + deadline;
    const auto writer = std::make_shared<openai::CompletionWriter>(text->generator(), *asked, text_name,
                                                                   std::to_string(++number));
    const auto stream = std::make_shared<attend::TextService::Stream>(text->start(asked->request));
    std::optional<attend::TextService::Piece> piece = stream->next();  // errors of the request are a status
    {
      const std::lock_guard lock(mutex);
      seconds_to_first_token += std::chrono::duration<double>(Clock::now() - begin).count();
      ++first_tokens;
    }
    if (!asked->stream) {
      for (; piece; piece = stream->next()) writer->add(*piece);
      return response.set_content(writer->whole(), "application/json");
    }
    response.set_chunked_content_provider(
        "text/event-stream",
        [answering, asked, writer, stream, piece](std::size_t, httplib::DataSink& sink) mutable {
          std::string event;
          bool last = true;
          try {
            if (!piece) piece = stream->next();
            event = writer->event(*piece);
            last = piece->reason.has_value();
            piece.reset();
          } catch (const std::exception& error) {
            event = "data: " + openai::write_error(error.what(), "server_error") + "\n\n";
          }
          if (!event.empty() && !sink.write(event.data(), event.size())) return false;  // the client has gone
          if (last) sink.done();
          return true;
        });
  }

  std::string metrics() {
    std::ostringstream out;
    const std::lock_guard lock(mutex);
    out << "# TYPE attend_requests_total counter\nattend_requests_total " << requests << '\n'
        << "# TYPE attend_responses_total counter\n";
    for (const auto& [which, count] : answers)
      out << "attend_responses_total{path=\"" << which.first << "\",status=\"" << which.second << "\"} "
          << count << '\n';
    if (text != nullptr)
      out << "# TYPE attend_generated_tokens_total counter\nattend_generated_tokens_total "
          << text->generated_tokens() << "\n# TYPE attend_requests_running gauge\nattend_requests_running "
          << text->running() << "\n# TYPE attend_requests_waiting gauge\nattend_requests_waiting "
          << text->waiting() << "\n# TYPE attend_time_to_first_token_seconds summary\n"
          << "attend_time_to_first_token_seconds_sum " << seconds_to_first_token
          << "\nattend_time_to_first_token_seconds_count " << first_tokens << '\n';
    return out.str();
  }
};

void run(int argc, char** argv) {
  const CommandLine arguments(
      argc, argv, {},
      {"--model", "--host", "--port", "--weights", "--activations", "--threads", "--max-running",
       "--max-waiting", "--max-tokens", "--max-body", "--deadline", "--api-key-file"});
  if (arguments.has("--help")) {
    std::cout << kHelp;
    return;
  }
  sigset_t signals;  // of all threads that come: one waits for them
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  arguments.required("--model");
  Server server;
  const auto waiting = static_cast<std::size_t>(arguments.integer("--max-waiting", 64, 1, 100000));
  for (const std::string& folder : arguments.all("--model")) {
    server.open(folder, open_options(arguments));
    if (server.text_name == server.names.back() && server.text == nullptr)
      server.text = std::make_unique<attend::TextService>(
          attend::TextGenerator::open(folder, {.max_new_tokens = 256}, open_options(arguments)),
          attend::TextServiceOptions{
              .context = {.threads = arguments.threads()},
              .batch = {.max_running = arguments.integer("--max-running", 16, 1, 10000)},
              .max_waiting = static_cast<attend::Index>(waiting)});
  }
  server.max_tokens = arguments.integer("--max-tokens", 2048, 1, 100000000);
  server.deadline = std::chrono::seconds(arguments.integer("--deadline", 600, 1, 1000000));
  if (arguments.has("--api-key-file")) {
    std::istringstream lines(attend::read_file(arguments.text("--api-key-file")));
    for (std::string line; std::getline(lines, line);)
      if (!line.empty()) server.keys.push_back("Bearer " + line);
    if (server.keys.empty()) attend::throw_error(arguments.text("--api-key-file"), ": no keys");
  }

  // Texts, and pairs, of requests that wait together run together, on a context of their own.
  attend::Context encoding(arguments.threads()), judging(arguments.threads());
  using Vector = std::vector<float>;
  attend::Gatherer<std::string, Vector> encode(
      [&](std::vector<std::string> texts) {
        const attend::Tensor<float, 2> vectors = server.encoder->encode(encoding, texts);
        std::vector<Vector> out;
        for (attend::Index i = 0; i < vectors.size(0); ++i)
          out.emplace_back(vectors[i].span().begin(), vectors[i].span().end());
        return out;
      },
      256, waiting);
  attend::Gatherer<openai::Rerank, Vector> rerank(
      [&](std::vector<openai::Rerank> asked) {
        std::vector<Vector> out;
        for (const openai::Rerank& one : asked)
          out.push_back(server.judge->score(judging, one.query, one.documents).to_vector());
        return out;
      },
      16, waiting);

  httplib::Server& http = server.http;
  const auto json = [](httplib::Response& response, const std::string& body) {
    response.set_content(body, "application/json");
  };
  http.set_payload_max_length(static_cast<std::size_t>(arguments.integer("--max-body", 4 << 20, 1, 1 << 30)));
  http.set_keep_alive_timeout(5);
  http.new_task_queue = [&] {  // a thread waits for each request
    return new httplib::ThreadPool(waiting + 16 + std::thread::hardware_concurrency());
  };
  http.set_pre_routing_handler([&](const httplib::Request& request, httplib::Response& response) {
    if (server.ending && request.method == "POST") {
      response.status = 503;
      json(response, openai::write_error("the server is ending", "server_error"));
      return httplib::Server::HandlerResponse::Handled;
    }
    const std::string given = request.get_header_value("Authorization");
    bool known = server.keys.empty() || request.path == "/health" || request.path == "/";
    for (const std::string& key : server.keys) {  // in the same time, whatever is given
      unsigned char differs = key.size() != given.size();
      for (std::size_t i = 0; i < key.size(); ++i)
        differs |= static_cast<unsigned char>(key[i] ^ given[i % (given.size() + 1)]);
      known = known || differs == 0;
    }
    if (known) return httplib::Server::HandlerResponse::Unhandled;
    response.status = 401;
    json(response, openai::write_error("no such key", "invalid_api_key"));
    return httplib::Server::HandlerResponse::Handled;
  });
  http.Get("/health", [&](const httplib::Request&, httplib::Response& response) {
    json(response, R"({"status":"ok"})");
  });
  http.Get("/", [&](const httplib::Request&, httplib::Response& response) {
    response.set_content(kServePage, "text/html; charset=utf-8");
  });
  http.Get("/v1/models", [&](const httplib::Request&, httplib::Response& response) {
    json(response, openai::write_models(server.names));
  });
  http.Get("/metrics", [&](const httplib::Request&, httplib::Response& response) {
    response.set_content(server.metrics(), "text/plain; version=0.0.4");
  });
  for (const bool chat : {false, true})
    if (server.text != nullptr)
      http.Post(chat ? "/v1/chat/completions" : "/v1/completions",
                server.guarded([&server, chat](const httplib::Request& request, httplib::Response& response) {
                  server.complete(request, response, chat);
                }));
  if (server.encoder)
    http.Post(
        "/v1/embeddings", server.guarded([&](const httplib::Request& request, httplib::Response& response) {
          const openai::Embeddings asked = openai::read_embeddings(request.body);
          attend::Index tokens = 0;
          for (const std::string& text : asked.texts)
            tokens += static_cast<attend::Index>(server.encoder->encode_ids(text).size());
          const std::vector<Vector> vectors = encode(asked.texts);
          const auto width = static_cast<attend::Index>(vectors[0].size());
          if (asked.dimensions > width) attend::throw_error("request: 'dimensions' are more than ", width);
          attend::Tensor<float, 2> out(
              {static_cast<attend::Index>(vectors.size()), asked.dimensions > 0 ? asked.dimensions : width});
          for (attend::Index i = 0; i < out.size(0); ++i)
            std::copy_n(vectors[static_cast<std::size_t>(i)].begin(), out.size(1), out[i].span().begin());
          json(response, openai::write_embeddings(asked, out, tokens, server.encoder_name));
        }));
  if (server.judge)
    http.Post("/v1/rerank", server.guarded([&](const httplib::Request& request, httplib::Response& response) {
      const openai::Rerank asked = openai::read_rerank(request.body);
      if (server.judge->num_labels() != 1) attend::throw_error("request: the model has several labels");
      json(response, openai::write_rerank(asked, rerank({asked})[0], server.judge_name));
    }));

  const std::string host = arguments.text("--host", "127.0.0.1");
  int port = static_cast<int>(arguments.integer("--port", 8080, 0, 65535));
  if (port == 0)
    port = http.bind_to_any_port(host.c_str());
  else if (!http.bind_to_port(host.c_str(), port))
    port = -1;
  if (port < 0) attend::throw_error("cannot listen on ", host);
  std::cout << "listening on http://" << host << ':' << port << std::endl;
  std::thread([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    server.ending = true;  // takes no more
    if (server.text != nullptr) server.text->close();
    while (server.streams > 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    http.stop();  // listen returns when all that run have their answers
  }).detach();
  http.listen_after_bind();
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("serve", [&] { run(argc, argv); });
}
