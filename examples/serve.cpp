// Serves models over HTTP, in the words of OpenAI's clients: completions, chats, embeddings, reranking.
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <attend/core/file.hpp>
#include <attend/model/openai_service.hpp>

#include "command_line.hpp"
#include "serve_page.hpp"
#include "weights.hpp"

#include <httplib.h>  // last: a macro that it brings is a name in Eigen's

namespace {
namespace openai = attend::openai;

constexpr const char* kHelp = R"(usage: serve --model DIR [--model DIR ...] [options]

Answers POST /v1/completions and /v1/chat/completions (language models), /v1/embeddings (sentence encoders) and
/v1/rerank (cross-encoders), in the fields that OpenAI's clients send and read, and GET /v1/models, /health, /metrics, and a page at /.
Requests that wait together run as one batch; each gets the text that it gets alone. SIGTERM ends what runs, then all.

  --model DIR        Hugging Face folder or GGUF file; of several, one of each kind
  --host ADDRESS     where to listen (default: 127.0.0.1, which only this machine reaches)
  --port N           (default: 8080; 0: any that is free, which is printed)
  --weights TYPE     float32, bfloat16, float16, int8, int4, or file: as it has them
  --activations TYPE  of int8 and int4 weights: int8 or int16
  --threads N        threads to compute with (default: 1)
  --max-running N    texts that are generated at once (default: 16)
  --max-waiting N    requests that wait beside them; more get status 429 (default: 64)
  --max-tokens N     tokens that a request may have generated (default: 2048)
  --max-body N       bytes of a request, unfolded where it is compressed (default: 4194304)
  --deadline N       seconds that a request may take (default: 600)
  --api-key-file FILE  only for requests with one of the keys in its lines (Authorization: Bearer KEY)
  --quiet            no progress and no remarks on standard error
  --help             show this

Example:
  serve --model SmolLM2-135M-Instruct --model bge-small-en-v1.5 --port 8080

Exit code: 0, or 1 after an error, which is one line on standard error.
)";

/// Takes as long whatever is given.
bool same(const std::string& key, const std::string& given) {
  unsigned char differs = key.size() != given.size();
  for (std::size_t i = 0; i < key.size(); ++i)
    differs |= static_cast<unsigned char>(key[i] ^ given.c_str()[i % (given.size() + 1)]);
  return differs == 0;
}

void set_json(httplib::Response& response, const std::string& body, int status = 200) {
  response.status = status;
  response.set_content(body, "application/json");
}

/// The client of a request. Its socket, which httplib does not tell, is the one with that peer.
class Client {
 public:
  explicit Client(const httplib::Request& request) {
    const auto port = htons(static_cast<std::uint16_t>(request.remote_port));
    for (int socket = 3, closed = 0; closed < 64 && socket_ < 0; ++socket) {
      sockaddr_storage peer{};
      socklen_t size = sizeof peer;
      sockaddr* const at = reinterpret_cast<sockaddr*>(&peer);
      char host[NI_MAXHOST];
      if (getpeername(socket, at, &size) != 0)
        closed += errno == EBADF;
      else if (reinterpret_cast<sockaddr_in*>(at)->sin_port == port &&  // where that of IPv6 is, too
               getnameinfo(at, size, host, sizeof host, nullptr, 0, NI_NUMERICHOST) == 0 &&
               host == request.remote_addr)
        socket_ = socket;
    }
  }
  bool gone() const {
    char byte = 0;
    return socket_ >= 0 && recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  }
  /// Ends the connection behind an answer. What still comes is no request, but is read for a while: the
  /// system throws answers away with what nobody reads.
  void hang_up() const {
    if (socket_ < 0 || shutdown(socket_, SHUT_WR) != 0) return;
    char rest[4096];
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (std::chrono::steady_clock::now() < end && recv(socket_, rest, sizeof rest, 0) > 0) {
    }
    shutdown(socket_, SHUT_RD);
  }

 private:
  int socket_ = -1;
};

/// A thread for each connection, idle ones too; of more than there may be the next ones wait.
class Connections : public httplib::TaskQueue {
  using Taken = decltype(std::declval<httplib::TaskQueue&>().enqueue({}));  // bool in newer ones

 public:
  Taken enqueue(std::function<void()> serve) override {
    std::unique_lock lock(mutex_);
    const auto shared = std::make_shared<std::function<void()>>(std::move(serve));
    for (std::size_t most = 2000;; most = running_) {  // no more threads can be had than there are
      ended_.wait(lock, [&] { return running_ == 0 || running_ < most; });
      try {
        std::thread([this, shared] {
          (*shared)();
          const std::lock_guard end(mutex_);
          --running_;
          ended_.notify_all();
        }).detach();
        ++running_;
        return Taken(true);
      } catch (const std::system_error&) {
        if (running_ > 0) continue;
      }
      lock.unlock();
      (*shared)();
      return Taken(true);
    }
  }
  void shutdown() override {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return running_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  std::size_t running_ = 0;
};

/// The connection ends with that: the request may not be read to its end.
void refuse(int status, const std::string& message, httplib::Response& response,
            const char* type = "invalid_request_error") {
  set_json(response, openai::write_error(message, type), status);
  response.set_header("Connection", "close");
}

/// The body of a request; without a value it is refused. httplib itself bounds neither one that comes in
/// chunks nor what a compressed one unfolds to.
std::optional<std::string> read_body(const httplib::Request& request, httplib::Response& response,
                                     const httplib::ContentReader& read, std::size_t most) {
  std::string body;
  bool fits = true;
  const bool whole = !request.is_multipart_form_data() && read([&](const char* data, std::size_t n) {
    fits = n <= most - body.size();
    if (fits) body.append(data, n);
    return fits;
  });
  if (whole) return body;
  if (!fits || response.status == 413)
    refuse(413, "a request of more than " + std::to_string(most) + " bytes", response);
  else
    refuse(400, "the body of the request cannot be read", response);
  return std::nullopt;
}

void respond(openai::Answer answer, httplib::Response& response) {
  if (answer.status == 429) response.set_header("Retry-After", "1");
  if (!answer.next) return set_json(response, answer.body, answer.status);
  response.status = 200;
  response.set_chunked_content_provider(
      "text/event-stream", [next = std::move(answer.next)](std::size_t, httplib::DataSink& sink) {
        const std::optional<std::string> event = next();
        if (!event) return sink.done(), true;
        return event->empty() || sink.write(event->data(), event->size());  // false: the client has gone
      });
}

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
  const openai::ServiceOptions options{
      .weights = open_options(arguments),
      .threads = arguments.threads(),
      .max_running = arguments.integer("--max-running", 16, 1, 10000),
      .max_waiting = arguments.integer("--max-waiting", 64, 1, 100000),
      .max_tokens = arguments.integer("--max-tokens", 2048, 1, 100000000),
      .deadline = std::chrono::seconds(arguments.integer("--deadline", 600, 1, 1000000))};
  openai::Service service(options);
  for (const std::string& model : arguments.all("--model")) service.open(model);
  std::vector<std::string> keys;
  if (arguments.has("--api-key-file")) {
    std::istringstream lines(attend::read_file(arguments.text("--api-key-file")));
    for (std::string line; std::getline(lines, line);) {
      if (line.ends_with('\r')) line.pop_back();
      if (!line.empty()) keys.push_back("Bearer " + line);
    }
    if (keys.empty()) attend::throw_error(arguments.text("--api-key-file"), ": no keys");
  }

  httplib::Server http;
  const auto most_bytes = static_cast<std::size_t>(arguments.integer("--max-body", 4 << 20, 1, 1 << 30));
  http.set_payload_max_length(most_bytes);
  http.set_keep_alive_timeout(5);
  http.set_keep_alive_max_count(1000000);
  http.set_tcp_nodelay(true);  // each token goes out as soon as it is there
  http.new_task_queue = [] { return new Connections; };
  int listener = -1;
  http.set_socket_options([&](int socket) {  // httplib's own let two servers have one port
    const int yes = 1;
    setsockopt(listener = socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  http.set_error_handler([](const httplib::Request&, httplib::Response& response) {
    if (response.body.empty())
      refuse(response.status, response.status == 404 ? "nothing is here" : "not a request", response);
  });
  http.set_logger([](const httplib::Request& request, const httplib::Response& response) {  // it has gone out
    if (response.get_header_value("Connection") == "close") Client(request).hang_up();
  });
  http.set_pre_routing_handler([&](const httplib::Request& request, httplib::Response& response) {
    const std::string given = request.get_header_value("Authorization");
    bool known = keys.empty() || request.path == "/health" || request.path == "/";
    for (const std::string& key : keys) known |= same(key, given);
    if (!known) {
      refuse(401, "no such key", response, "invalid_api_key");
    } else if (request.method != "GET" && request.method != "HEAD" && request.method != "POST") {
      response.set_header("Allow", "GET, HEAD, POST");
      refuse(405, "only GET and POST are answered", response);
    } else {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    return httplib::Server::HandlerResponse::Handled;
  });
  http.Get("/health", [&](const httplib::Request&, httplib::Response& response) {
    set_json(response, R"({"status":"ok"})");
  });
  http.Get("/", [&](const httplib::Request&, httplib::Response& response) {
    response.set_content(kServePage, "text/html; charset=utf-8");
  });
  http.Get("/v1/models", [&](const httplib::Request&, httplib::Response& response) {
    set_json(response, service.models());
  });
  http.Get("/v1/models/(.+)", [&](const httplib::Request& request, httplib::Response& response) {
    respond(service.model(request.matches[1].str()), response);
  });
  http.Get("/metrics", [&](const httplib::Request&, httplib::Response& response) {
    response.set_content(service.metrics(), "text/plain; version=0.0.4");
  });
  http.Post(".*", [&](const httplib::Request& request, httplib::Response& response,
                      const httplib::ContentReader& read) {
    const std::optional<std::string> body = read_body(request, response, read, most_bytes);
    if (!body) return;
    const Client client(request);
    respond(service.post(request.path, *body, [&] { return client.gone(); }), response);
  });

  const std::string host = arguments.text("--host", "127.0.0.1");
  int port = static_cast<int>(arguments.integer("--port", 8080, 0, 65535));
  if (port == 0)
    port = http.bind_to_any_port(host.c_str());
  else if (!http.bind_to_port(host.c_str(), port))
    port = -1;
  if (port < 0) attend::throw_error("cannot listen on ", host);
  listen(listener, 1024);  // httplib's own is 5, and clients come at once
  const bool v6 = host.find(':') != std::string::npos;
  std::cout << "listening on http://" << (v6 ? '[' + host + ']' : host) << ':' << port << std::endl;
  std::thread([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    service.close();  // takes no more, and ends what runs
    http.stop();
    std::this_thread::sleep_for(std::chrono::seconds(10));
    std::_Exit(0);  // all answers are given; what is left are clients that do not end their requests
  }).detach();
  http.listen_after_bind();
}

}  // namespace

int main(int argc, char** argv) {
  return run_example("serve", [&] { run(argc, argv); });
}
