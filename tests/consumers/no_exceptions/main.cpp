#include <every_header.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

namespace {
int failures = 0;

/// What f prints on its way to abort(); a fault where it does anything else.
template <class F>
void check_death(const char* what, const char* expected, F f) {
  int ends[2];
  if (pipe(ends) != 0) std::exit(99);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    close(ends[0]);
    f();
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char buffer[512];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && text.find(expected) != std::string::npos) return;
  ++failures;
  std::printf("%s: status %d, expected an abort with '%s', got: %s\n", what, status, expected, text.c_str());
}

std::string file(const char* name, const std::string& text) {
  std::ofstream(name, std::ios::binary) << text;
  return name;
}
}  // namespace

int main() {
  using namespace attend;
  MultiHeadAttention<float> attention({.embed_dim = 8, .num_heads = 2});
  attention.parameters([](const std::string&, auto parameter) {
    const std::vector<float> values(static_cast<std::size_t>(parameter.numel()), 0.25f);
    parameter.assign(0, parameter.rows(), values.data());
  });
  const Tensor<float, 3> y = attention(Tensor<float, 3>({1, 3, 8}, 1.0f), {.mask = causal()});
  // values of 8 / 4 + 1 / 4, of which 8 / 4 and 1 / 4 again
  if (!(std::abs(y(0, 2, 7) - 4.75f) < 1e-5f))
    ++failures, std::printf("attention gives %g\n", static_cast<double>(y(0, 2, 7)));

  check_death("shape", "Linear: expected [..., 3], got [2, 4]", [] {
    Linear<float> linear({.in_features = 3, .out_features = 2});
    linear.parameters([](const std::string&, auto parameter) {
      const std::vector<float> zeros(static_cast<std::size_t>(parameter.numel()));
      parameter.assign(0, parameter.rows(), zeros.data());
    });
    linear(Tensor<float, 2>({2, 4}));
  });
  check_death("slice", "Tensor: slice [1, 9]", [] {
    Tensor<float, 1> t({4});
    t.slice(0, 1, 9);
  });
  check_death("threads", "Context: expected 1 to 4096 threads, got 0", [] { Context(0); });
  check_death("missing file", "missing.safetensors", [] { SafeTensors("missing.safetensors"); });
  check_death("short file", "short.safetensors", [] { SafeTensors(file("short.safetensors", "abc")); });
  check_death("config", "config.json", [] { Config(file("config.json", "{\"hidden_size\": [}")); });
  check_death("config type", "hidden_size", [] {
    (void)Config(file("typed.json", "{\"hidden_size\": \"many\"}")).get<Index>("hidden_size");
  });
  check_death("vocabulary", "here",
              [] { (void)text::Vocabulary::from_json(text::parse_json("{\"one\": -1}", "here"), "here"); });
  check_death("JSON", "here", [] { (void)text::parse_json("{\"one\": ", "here"); });
  check_death("pattern", "here", [] { text::Regex("(", "here"); });
  check_death("tokenizer", "tokenizer.json",
              [] { (void)text::Tokenizer::open(file("tokenizer.json", "[1, 2")); });
  if (failures == 0) std::puts("no exceptions: ok");
  return failures;
}
