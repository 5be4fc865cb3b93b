#include "serve.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <exception>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace bench {
namespace {

std::map<std::string, std::function<Job()>>& offers() {
  static std::map<std::string, std::function<Job()>> offers;
  return offers;
}

/// The problems that are kept: the last ones, as some fill caches and more, and one is held against others.
struct Kept {
  std::string name;
  Job job;
};
using Jobs = std::array<Kept, 6>;

/// Returns the seconds of a call: by the wall clock and by the CPU's.
std::pair<double, double> answer(Jobs& jobs, const std::string& line) {
  std::istringstream words(line);
  std::string name, path;
  long calls = 0;
  if (!(words >> name >> calls) || calls < 1)
    throw std::runtime_error("expected NAME CALLS [FILE], got " + line);
  words >> path;
  const auto offer = offers().find(name);
  if (offer == offers().end()) throw std::runtime_error("no benchmark " + name);
  auto found = std::find_if(jobs.begin(), jobs.end(), [&](const Kept& kept) { return kept.name == name; });
  if (found == jobs.end()) --found;
  std::rotate(jobs.begin(), found, found + 1);
  Kept& kept = jobs[0];
  if (kept.name != name) {
    kept = {};
    kept = {name, offer->second()};
    kept.job.run();  // memory is touched, the workspace has its size
  }
  const auto wall = std::chrono::steady_clock::now();
  const std::clock_t cpu = std::clock();
  for (long i = 0; i < calls; ++i) kept.job.run();
  const double cpu_seconds = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
  const std::chrono::duration<double> wall_seconds = std::chrono::steady_clock::now() - wall;
  if (!path.empty()) {
    const std::span<const float> out = kept.job.out();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(out.data()), static_cast<std::streamsize>(out.size_bytes()));
    if (!file.flush()) throw std::runtime_error("cannot write " + path);
  }
  return {wall_seconds.count() / static_cast<double>(calls), cpu_seconds / static_cast<double>(calls)};
}

}  // namespace

void offer(const std::string& name, std::function<Job()> make) { offers()[name] = std::move(make); }

void serve() {
  Jobs jobs;
  std::cout.precision(9);
  for (std::string line; std::getline(std::cin, line);) {
    try {
      const auto [wall, cpu] = answer(jobs, line);
      std::cout << wall << ' ' << cpu << std::endl;
    } catch (const std::exception& error) {
      std::cout << "error " << error.what() << std::endl;
    }
  }
}

}  // namespace bench
