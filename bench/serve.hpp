// attend_bench --serve: one process that runs attend's benchmarks call by call, so that another program can
// alternate them with others within a second and look at their outputs (bench/compare.py).
#pragma once

#include <functional>
#include <span>
#include <string>

#include <attend/core/context.hpp>

namespace bench {

/// A problem that is ready to run again and again. `out` is what run() wrote last.
struct Job {
  std::function<void()> run;
  std::function<std::span<const float>()> out;
  attend::Context* context = nullptr;  // that it runs on, of whole models
};

/// Makes a benchmark known to serve() under its name; `make` is called when it is first asked for.
void offer(const std::string& name, std::function<Job()> make);

/// Answers lines of standard input until its end. `NAME CALLS [FILE]` runs NAME so many times, writes its
/// last output to FILE (raw floats) and answers `WALL CPU`, the seconds of a call by either clock, or `error
/// TEXT`. The last six problems are kept.
void serve();

}  // namespace bench
