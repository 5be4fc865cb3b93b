// Progress on standard error, from one second on: how far, how many a second, how much longer. Nothing where
// that is no terminal, or --quiet.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>

#if defined(_WIN32)
#include <io.h>
inline bool is_terminal(std::FILE* file) { return ::_isatty(::_fileno(file)) != 0; }
#else
#include <unistd.h>
inline bool is_terminal(std::FILE* file) { return ::isatty(::fileno(file)) != 0; }
#endif

class Progress {
 public:
  Progress(std::string what, bool quiet) : what_(std::move(what)), shows_(!quiet && is_terminal(stderr)) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }
  /// The line is empty again: for what is printed now.
  void clear() {
    if (shown_at_ > 0) std::fprintf(stderr, "\r\033[K");
    shown_at_ = 0;
  }
  /// `all` is 0 where nobody knows.
  void operator()(std::size_t done, std::size_t all = 0) {
    if (!shows_ || done == 0) return;
    const double now = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    if (now < 1 || now < shown_at_ + 0.2) return;
    shown_at_ = now;
    const double rate = static_cast<double>(done) / now;
    if (all == 0) {
      std::fprintf(stderr, "\r%s %zu, %.1f/s\033[K", what_.c_str(), done, rate);
    } else {
      const int marks = static_cast<int>(done * 25 / all);
      std::fprintf(stderr, "\r%s [%.*s%.*s] %3zu %%, %.1f/s, %.0f s left\033[K", what_.c_str(), marks,
                   "#########################", 25 - marks, ".........................", done * 100 / all,
                   rate,
                   static_cast<double>(all - done) / rate);  // allocates nothing
    }
  }

 private:
  std::string what_;
  bool shows_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double shown_at_ = 0;
};
