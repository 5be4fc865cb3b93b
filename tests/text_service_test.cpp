// What a server is made of: texts that stream to many threads, calls that are gathered, and OpenAI's JSON.
#include <atomic>
#include <chrono>
#include <locale>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/openai.hpp>
#include <attend/model/openai_service.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using std::chrono::milliseconds;
using testing::HasSubstr;

TextGenerator stories() {
  return TextGenerator::open(std::filesystem::path(ATTEND_SOURCE_DIR) / "tests" / "models" / "stories",
                             {.max_new_tokens = 30});
}
std::string text_of(TextService::Stream stream) {
  std::string text;
  while (const std::optional<TextService::Piece> piece = stream.next()) text += piece->text;
  return text;
}

TEST(TextService, GivesEachThreadTheTextThatItGetsAlone) {
  TextGenerator alone = stories();
  TextService service(stories(), {.context = {.threads = 2}, .batch = {.max_running = 3}});
  std::vector<std::string> prompts{"Once", "The cat", "One day", "A", "Once upon a time", "The"},
      got(prompts.size());
  std::vector<std::thread> clients;
  const auto options = [](std::size_t i) {
    GenerationOptions o{
        .max_new_tokens = 10 + static_cast<Index>(i), .temperature = i % 2 ? 0.8 : 0, .seed = i};
    if (i == 4) o.stop = {"e"};
    return o;
  };
  for (std::size_t i = 0; i < prompts.size(); ++i)
    clients.emplace_back([&, i] {
      got[i] = text_of(service.start({.ids = alone.encode(prompts[i]), .options = options(i)}));
    });
  for (std::thread& client : clients) client.join();
  for (std::size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(got[i], alone.generate(prompts[i], options(i)).text) << prompts[i];
  service.close();
  EXPECT_EQ(service.running(), 0);
  EXPECT_THROW(service.start({.ids = {1}}), Busy);
}

TEST(TextService, SaysWhatIsWrongToTheOneWhoAsked) {
  TextService service(stories());
  TextService::Stream wrong = service.start({.ids = {100000}, .options = {}});
  EXPECT_THAT(error_of([&] { static_cast<void>(wrong.next()); }), HasSubstr("100000"));
  TextService::Stream late =
      service.start({.ids = {1}, .options = {}, .deadline = std::chrono::steady_clock::now()});
  EXPECT_THROW(while (late.next()){}, DeadlinePassed);
  EXPECT_FALSE(text_of(service.start({.ids = {1}, .options = {.max_new_tokens = 5}})).empty());
}

TEST(TextService, IsBusyWhereTooManyWaitAndFreeWhereTheyHaveGone) {
  std::atomic<bool> go{false};
  TextService service(stories(), {.batch = {.max_running = 1}, .max_waiting = 2});
  GenerationOptions slow{.max_new_tokens = 200, .eos_token_ids = std::vector<std::int32_t>{}};
  slow.logits_processors.push_back([&](std::span<const std::int32_t>, std::span<float>) {
    while (!go) std::this_thread::sleep_for(milliseconds(1));
  });
  std::vector<TextService::Stream> streams;
  bool busy = false;
  for (int i = 0; i < 8 && !busy; ++i) {
    try {
      streams.push_back(service.start({.ids = {1, 2}, .options = slow}));
    } catch (const Busy&) {
      busy = true;
    }
  }
  EXPECT_TRUE(busy);
  EXPECT_EQ(streams.size(), 3u);  // one that runs, and two
  streams.clear();                // all go away
  go = true;
  for (int i = 0; i < 2000 && service.running() + service.waiting() > 0; ++i)
    std::this_thread::sleep_for(milliseconds(2));
  EXPECT_EQ(service.running(), 0);
  EXPECT_LT(service.generated_tokens(), 200u);
}

TEST(TextService, OfAContextThatCannotBeIsAnErrorOfItsConstructor) {
  EXPECT_THAT(error_of([] { TextService(stories(), {.context = {.threads = 0}}); }), HasSubstr("threads"));
}

TEST(TextService, AStreamThatWasMovedFromHasNothingMore) {
  TextService service(stories());
  TextService::Stream stream = service.start({.ids = {1, 2}, .options = {.max_new_tokens = 3}});
  const TextService::Stream moved = std::move(stream);
  EXPECT_FALSE(stream.next());
}

TEST(Gatherer, AnotherNumberOfResultsThanItemsIsAnError) {
  std::size_t results = 1;
  Gatherer<int, int> gatherer([&](std::vector<int>) { return std::vector<int>(results); });
  EXPECT_THAT(error_of([&] { gatherer({1, 2, 3}); }), HasSubstr("1 results of 3 items"));
  results = 4;
  EXPECT_THAT(error_of([&] { gatherer({1, 2, 3}); }), HasSubstr("4 results of 3 items"));
  results = 3;
  EXPECT_EQ(gatherer({1, 2, 3}).size(), 3u);
}

TEST(Gatherer, RunsCallsThatWaitTogether) {
  std::atomic<int> runs{0};
  Gatherer<int, int> twice([&](std::vector<int> items) {
    ++runs;
    std::this_thread::sleep_for(milliseconds(20));
    for (int& item : items) {
      if (item < 0) throw std::runtime_error("below 0");
      item *= 2;
    }
    return items;
  });
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 12; ++i)
    threads.emplace_back([&, i] { right += twice({i, 100 + i}) == std::vector<int>{2 * i, 200 + 2 * i}; });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 12);
  EXPECT_LT(runs, 12);
  std::atomic<int> failed{0};
  threads.clear();
  for (int i = 0; i < 12; ++i)
    threads.emplace_back([&, i] {
      try {
        right += twice({i % 4 == 0 ? -1 : i}) == std::vector<int>{2 * i};
      } catch (const std::runtime_error&) {
        ++failed;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 12 + 9) << "a call's fault is its own";
  EXPECT_EQ(failed, 3);
  EXPECT_THROW(twice({-1}), std::runtime_error);
  EXPECT_EQ(twice({4}), std::vector<int>{8});
}

TEST(OpenAI, ReadsWhatClientsSendAndNamesWhatItDoesNotKnow) {
  const TextGenerator generator = stories();
  const auto read = [&](const char* body) { return openai::read_completion(generator, body, false, 50); };
  const openai::Completion all = read(
      R"({"model": "m", "prompt": "Once", "max_tokens": 900, "temperature": 0.5, "top_p": 0.9, "seed": -3, "stop": "x",
          "logprobs": 2, "stream": true, "stream_options": {"include_usage": true}, "n": 1, "user": "u"})");
  ASSERT_EQ(all.requests.size(), 1u);
  const GenerationOptions& options = all.requests[0].options;
  EXPECT_EQ(options.max_new_tokens, 50);
  EXPECT_EQ(options.temperature, 0.5);
  EXPECT_EQ(options.seed, static_cast<std::uint64_t>(-3));
  EXPECT_EQ(options.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(options.logprobs, 2);
  EXPECT_TRUE(all.stream && all.include_usage);
  EXPECT_EQ(read(R"({"prompt": [1, 2, 3]})").requests[0].ids, (std::vector<std::int32_t>{1, 2, 3}));
  const openai::Completion four = read(R"({"prompt": [[1], [2, 3]], "n": 2, "best_of": 2, "seed": 5})");
  ASSERT_EQ(four.requests.size(), 4u);
  EXPECT_EQ(four.requests[1].ids, (std::vector<std::int32_t>{1}));
  EXPECT_EQ(four.requests[2].ids, (std::vector<std::int32_t>{2, 3}));
  EXPECT_EQ(four.requests[3].options.seed, 6u);
  EXPECT_EQ(read(R"({"prompt": ["Once", "a"]})").requests.size(), 2u);
  for (const auto& [body, name] : {std::pair{R"({"prompt": "a", "n": 129})", "'n'"},
                                   {R"({"prompt": "a", "n": 2, "best_of": 3})", "'best_of'"},
                                   {R"({"prompt": []})", "'prompt'"},
                                   {R"({"prompt": "a", "frequency_penalty": 1})", "'frequency_penalty'"},
                                   {R"({"prompt": "a", "top_p": 2})", "top_p"},
                                   {R"({"prompt": "a", "logprobs": 21})", "20 at most"},
                                   {R"({})", "'prompt'"},
                                   {R"({"prompt": "a")", "request"}})
    EXPECT_THAT(error_of([&, b = body] { read(b); }), HasSubstr(name)) << body;
  EXPECT_THAT(error_of([&] { openai::read_completion(generator, R"({"messages": []})", true, 5); }),
              HasSubstr("chat template"));
}

TEST(OpenAI, AnAnswerHasTheLogProbabilitiesOfAllItsPieces) {
  const TextGenerator generator = stories();
  const openai::Completion completion =
      openai::read_completion(generator, R"({"prompt": "a", "logprobs": 1})", false, 5);
  openai::CompletionWriter writer(generator, completion, "m", "1");
  EXPECT_EQ(Json::parse(writer.whole())["choices"][0]["logprobs"]["tokens"].size(), 0u);
  for (std::int32_t id : {300, 301, 302})
    writer.add({.text = "x", .token = TokenLogprob{.id = id, .logprob = -1, .top = {{id, -1.0f}}}});
  const Json logprobs = Json::parse(writer.whole())["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["token_logprobs"], Json::parse("[-1.0, -1.0, -1.0]"));
  EXPECT_EQ(logprobs["top_logprobs"].size(), 3u);
}

TEST(OpenAI, ChoicesOfOneRequestEndTogetherAndCountAPromptOnce) {
  const TextGenerator generator = stories();
  const openai::Completion completion = openai::read_completion(
      generator, R"({"prompt": [[5, 6], [7]], "n": 2, "stream_options": {"include_usage": true}})", false, 5);
  openai::CompletionWriter writer(generator, completion, "m", "1"), whole = writer;
  std::string all;
  for (std::size_t i : {2u, 0u, 3u, 1u}) {
    const TextService::Piece last{
        .text = std::to_string(i), .reason = FinishReason::length, .completion_tokens = 3};
    EXPECT_EQ(all.find("[DONE]"), std::string::npos);
    all += writer.event(last, i);
    whole.add(last, i);
  }
  EXPECT_TRUE(all.ends_with("data: [DONE]\n\n"));
  const Json answer = Json::parse(whole.whole());
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(answer["choices"][i]["index"], i);
    EXPECT_EQ(answer["choices"][i]["text"], std::to_string(i));
    EXPECT_THAT(all, HasSubstr("\"index\":" + std::to_string(i)));
  }
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 12);
}

TEST(OpenAI, OffsetsOfTokensCountCharacters) {
  const TextGenerator generator = stories();
  const std::vector<std::int32_t> ids =
      generator.tokenizer().encode("ßa\u00dca", {.add_special_tokens = false});
  const openai::Completion completion =
      openai::read_completion(generator, R"({"prompt": "a", "logprobs": 0})", false, 5);
  openai::CompletionWriter writer(generator, completion, "m", "1"), streamed = writer;
  Json offsets = Json::array();
  for (std::int32_t id : ids) {
    const TextService::Piece piece{.text = "x", .token = TokenLogprob{.id = id}};
    writer.add(piece);
    const std::string event = streamed.event(piece);
    offsets.push_back(Json::parse(event.substr(6))["choices"][0]["logprobs"]["text_offset"][0]);
  }
  EXPECT_EQ(Json::parse(writer.whole())["choices"][0]["logprobs"]["text_offset"], offsets);
  EXPECT_LE(offsets.back(), 4u);
}

TEST(OpenAI, WritesVectorsAsNumbersAndInBase64) {
  const Tensor<float, 2> vectors({2, 2}, {1, -2, 0.5f, 3});
  const openai::Embeddings asked =
      openai::read_embeddings(R"({"input": ["a", "b"], "encoding_format": "base64"})");
  EXPECT_EQ(asked.inputs.size(), 2u);
  const Json packed = Json::parse(openai::write_embeddings(asked, vectors, 5, "m"));
  EXPECT_EQ(packed["data"][0]["embedding"], "AACAPwAAAMA=");
  EXPECT_EQ(packed["usage"]["total_tokens"], 5);
  const Json plain = Json::parse(openai::write_embeddings({.inputs = {"a", "b"}}, vectors, 5, "m"));
  EXPECT_EQ(plain["data"][1]["embedding"], Json::parse("[0.5, 3.0]"));
  const openai::Rerank rerank =
      openai::read_rerank(R"({"query": "q", "documents": ["a", {"text": "b"}, "c"], "top_n": 2})");
  const std::vector<float> scores{0.1f, 0.9f, 0.5f};
  const Json ranked = Json::parse(openai::write_rerank(rerank, scores, "m"));
  EXPECT_EQ(ranked["results"][0]["index"], 1);
  EXPECT_EQ(ranked["results"].size(), 2u);
  const Json all =
      Json::parse(openai::write_rerank({.query = "q", .documents = {"a", "b", "c"}}, scores, "m"));
  EXPECT_EQ(all["results"].size(), 3u);
}

TEST(OpenAI, RefusesFieldsThatWouldChangeTheAnswer) {
  openai::Service service;
  service.open(std::filesystem::path(ATTEND_SOURCE_DIR) / "tests" / "models" / "stories");
  for (const std::string field :
       {R"("modalities": ["text", "audio"])", R"("audio": {"voice": "alloy"})", R"("web_search_options": {})",
        R"("function_call": {"name": "f"})", R"("top_logprobs": 2)"}) {
    const std::string name = field.substr(1, field.find('"', 1) - 1);
    const openai::Answer answer = service.post(
        "/v1/chat/completions", R"({"messages": [{"role": "user", "content": "a"}], )" + field + "}");
    EXPECT_EQ(answer.status, 400) << field;
    EXPECT_THAT(answer.body, HasSubstr("'" + name + "'")) << field;
  }
}

TEST(OpenAIService, EmbedsTextsAndIdsAGroupAtATime) {
  openai::Service service;
  const auto models = std::filesystem::path(ATTEND_SOURCE_DIR) / "tests" / "models" / "sentence_transformers";
  service.open(models / "pool_mean");
  service.open(models / "cross_encoder");
  const auto encoder = SentenceEncoder::open(models / "pool_mean");
  const std::vector<std::int32_t> ids = encoder.encode_ids("a cat");
  const auto vectors = [&](const Json& input) {
    const openai::Answer answer = service.post("/v1/embeddings", Json{{"input", input}}.dump());
    EXPECT_EQ(answer.status, 200) << answer.body;
    return Json::parse(answer.body)["data"];
  };
  const Json text = vectors("a cat")[0]["embedding"];
  EXPECT_EQ(vectors(ids)[0]["embedding"], text);
  EXPECT_EQ(vectors({ids, ids})[1]["embedding"], text);
  const Json many = vectors(std::vector<std::string>(700, "a cat"));  // some groups of tokens
  ASSERT_EQ(many.size(), 700u);
  for (const Json& one : many) EXPECT_EQ(one["embedding"], text);
  for (const char* wrong : {"[[]]", "[99999]", "[-1]", "[1.5]"})
    EXPECT_EQ(service.post("/v1/embeddings", std::string(R"({"input": )") + wrong + "}").status, 400)
        << wrong;
  // Between groups a client that has gone is seen, and time that is over.
  const std::string body = Json{{"input", std::vector<std::string>(700, "a cat")}}.dump();
  int asked = 0;
  EXPECT_EQ(service.post("/v1/embeddings", body, [&] { return ++asked == 2; }).status, 499);
  const std::string documents =
      Json{{"query", "q"}, {"documents", std::vector<std::string>(40, "a cat")}}.dump();
  EXPECT_EQ(Json::parse(service.post("/v1/rerank", documents).body)["results"].size(), 40u);
  asked = 0;
  EXPECT_EQ(service.post("/v1/rerank", documents, [&] { return ++asked == 2; }).status, 499);
  openai::Service late({.deadline = std::chrono::seconds(0)});
  late.open(models / "pool_mean");
  EXPECT_EQ(late.post("/v1/embeddings", body).status, 504);
  // More than 2048 are refused.
  EXPECT_EQ(
      service.post("/v1/embeddings", Json{{"input", std::vector<std::string>(2049, "a")}}.dump()).status,
      400);
}

TEST(OpenAIService, TakesAnyDeadlineAndCountsNoPathsOfItsClients) {
  openai::Service service({.deadline = std::chrono::seconds::max()});
  service.open(std::filesystem::path(ATTEND_SOURCE_DIR) / "tests" / "models" / "stories");
  const char* body = R"({"prompt": "Once", "max_tokens": 3, "stream": true})";
  openai::Answer answer = service.post("/v1/completions", body);
  EXPECT_EQ(answer.status, 200) << answer.body;
  std::string events;
  while (const std::optional<std::string> event = answer.next()) events += *event;
  EXPECT_TRUE(events.ends_with("[DONE]\n\n")) << events;
  EXPECT_FALSE(answer.next());
  answer = {};
  service.close();
  EXPECT_EQ(service.post("/v1/completions", body).status, 503);
  EXPECT_EQ(service.post("/a path\"}", body).status, 404);
  EXPECT_THAT(service.metrics(), testing::Not(HasSubstr("a path")));
}

TEST(OpenAIService, AnswersByPathAndSaysWhatIsWrong) {
  openai::Service service;
  EXPECT_EQ(service.post("/v1/completions", "{}").status, 404);
  service.open(std::filesystem::path(ATTEND_SOURCE_DIR) / "tests" / "models" / "stories");
  EXPECT_THAT(service.models(), HasSubstr("\"stories\""));
  EXPECT_EQ(service.post("/v1/embeddings", R"({"input": "a"})").status, 404);
  EXPECT_EQ(service.post("/v1/completions", "[").status, 400);
  const std::string body = R"({"prompt": "Once", "max_tokens": 20, "temperature": 0, "stream": )";
  const openai::Answer whole = service.post("/v1/completions", body + "false}");
  ASSERT_EQ(whole.status, 200);
  openai::Answer stream = service.post("/v1/completions", body + "true}");
  std::string text, last;
  while (const std::optional<std::string> event = stream.next()) {
    if (!event->empty()) last = *event;
    if (const std::size_t at = event->find("data: {"); at != std::string::npos)
      text += Json::parse(event->substr(at + 6, event->find("\n\n", at) - at - 6))["choices"][0]["text"];
  }
  EXPECT_EQ(Json::parse(whole.body)["choices"][0]["text"], text);
  EXPECT_TRUE(last.ends_with("data: [DONE]\n\n"));
  int asked = 0;
  EXPECT_EQ(service.post("/v1/completions", body + "false}", [&] { return ++asked == 3; }).status, 499);
  EXPECT_EQ(asked, 3);
  EXPECT_THAT(service.metrics(),
              HasSubstr(R"(attend_responses_total{path="/v1/completions",status="200"} 2)"));
  int waited = 0;  // one that goes while its request waits
  EXPECT_EQ(service.post("/v1/completions", body + "false}", [&] { return ++waited > 0; }).status, 499);
  const Json four = Json::parse(
      service.post("/v1/completions", R"({"prompt": ["Once", "A"], "n": 2, "max_tokens": 5, "seed": 1})")
          .body);
  EXPECT_EQ(four["choices"].size(), 4u);
  const Json alone =
      Json::parse(service.post("/v1/completions", R"({"prompt": "A", "max_tokens": 5, "seed": 2})").body);
  EXPECT_EQ(four["choices"][3]["text"], alone["choices"][0]["text"]);
  EXPECT_EQ(service.model("stories").status, 200);
  EXPECT_EQ(service.model("none").status, 404);
  std::thread closing([&] { service.close(); });  // waits for the stream that is not let go of
  while (service.post("/v1/completions", "{}").status != 503) std::this_thread::yield();
  stream = {};
  closing.join();
  struct Commas : std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    std::string do_grouping() const override { return "\1"; }
  };
  const std::string metrics = service.metrics();
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Commas));
  const std::string same = service.metrics();
  std::locale::global(before);
  EXPECT_EQ(same, metrics);
}

}  // namespace
