#include "profile.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "machine.hpp"

namespace bench {
namespace {
using Clock = std::chrono::steady_clock;

struct Line {
  std::size_t order = 0;  // of the first call's end
  int depth = 0;
  double calls = 0, operations = 0, nanoseconds = 0;
  std::string shapes;
};

std::string text_of(std::span<const Index> shape) { return attend::to_string(shape); }

/// Layers end before those that they run in: what has ended is kept until what it runs in has.
class Tree {
 public:
  void add(const attend::LayerTime& t) {
    const std::size_t depth = static_cast<std::size_t>(t.depth);
    if (ended_.size() < depth + 2) ended_.resize(depth + 2);
    Node node{{std::string(t.name)},
              t.depth,
              t.operations,
              static_cast<double>(t.nanoseconds),
              text_of(t.in) + " -> " + text_of(t.out),
              std::move(ended_[depth + 1])};
    ended_[depth + 1].clear();
    if (t.operations == 0)
      for (const Node& inner : node.inner) node.operations += inner.operations;
    ended_[depth].push_back(std::move(node));
  }
  /// What has ended since the last call, into lines by the names of the layers around them. Blocks are one
  /// line.
  void into(std::map<std::string, Line>& lines) {
    for (const Node& root : ended_.at(0)) put(root, "", lines);
    ended_.clear();
  }

 private:
  struct Node {
    std::string name;
    int depth;
    double operations, nanoseconds;
    std::string shapes;
    std::vector<Node> inner;
  };
  void put(const Node& node, const std::string& around, std::map<std::string, Line>& lines) {
    const std::string path = around + "/" + node.name + " " + node.shapes;
    Line& line = lines[path];
    if (line.calls == 0)
      line.order = next_++, line.depth = node.depth, line.shapes = node.name + " " + node.shapes;
    line.calls += 1, line.operations += node.operations, line.nanoseconds += node.nanoseconds;
    for (const Node& inner : node.inner) put(inner, path, lines);
  }

  std::vector<std::vector<Node>> ended_;
  std::size_t next_ = 0;
};

/// Operations a nanosecond of so many threads.
double peak(int threads) {
  attend::Context context(threads);
  constexpr Index kSteps = 2'000'000;
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const auto begin = Clock::now();
    context.parallel(threads, threads, [](Index, int) { multiply_adds(kSteps); });
    const double ns = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
    best = std::max(best, multiply_adds(1) * static_cast<double>(kSteps * threads) / ns);
  }
  return best;
}

void profile(const ModelProblem& problem, int threads, double most) {
  const Job job = problem.make(threads);
  job.run();
  Tree tree;
  std::map<std::string, Line> lines;
  job.context->set_layer_hook([&](const attend::LayerTime& t) { tree.add(t); });
  double runs = 0, total = 0;
  for (const auto begin = Clock::now(); Clock::now() - begin < std::chrono::milliseconds(500); ++runs) {
    const auto run = Clock::now();
    job.run();
    total += std::chrono::duration<double, std::nano>(Clock::now() - run).count();
    tree.into(lines);
  }
  job.context->set_layer_hook({});
  std::vector<const Line*> ordered;
  for (const auto& [path, line] : lines) ordered.push_back(&line);
  std::sort(ordered.begin(), ordered.end(), [](const Line* a, const Line* b) { return a->order < b->order; });
  const auto label = [](const Line& line) {
    return std::string(2 * static_cast<std::size_t>(line.depth), ' ') + line.shapes;
  };
  int width = 0;
  for (const Line* line : ordered) width = std::max(width, static_cast<int>(label(*line).size()));
  std::printf("\n%s, threads: %d, %.3f ms\n", problem.name.c_str(), threads, total / runs * 1e-6);
  std::printf("%-*s %7s %10s %6s %8s %6s\n", width, "layer", "calls", "us", "time", "GFLOP/s", "peak");
  for (const Line* line : ordered) {
    const double rate = line->operations / line->nanoseconds;
    std::printf("%-*s %7.0f %10.1f %5.1f%%", width, label(*line).c_str(), line->calls / runs,
                line->nanoseconds / runs * 1e-3, 100 * line->nanoseconds / total);
    if (line->operations > 0) std::printf(" %8.1f %5.1f%%", rate, 100 * rate / most);
    std::printf("\n");
  }
}

}  // namespace

void profile(const std::vector<ModelProblem>& problems, int threads, const std::set<std::string>& names) {
  for (const std::string& name : names)
    if (std::none_of(problems.begin(), problems.end(),
                     [&](const auto& problem) { return problem.name == name; }))
      throw attend::Error("no model is called " + name);
  const double most = peak(threads);
  std::printf("peak: %.1f GFLOP/s\n", most);
  const std::set<std::string> one_of_each{"model/minilm/B:1/T:128", "generate/prompt/T:512",
                                          "generate/token/S:512"};
  const auto& shown = names.empty() ? one_of_each : names;
  for (const ModelProblem& problem : problems)
    if (shown.contains(problem.name)) profile(problem, threads, most);
}

}  // namespace bench
