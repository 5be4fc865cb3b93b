// A progress bar on standard error, from one second on.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>

class Progress {
 public:
  explicit Progress(std::string what) : what_(std::move(what)) {}
  ~Progress() {
    if (shown_) std::fprintf(stderr, "\n");
  }
  void operator()(std::size_t done, std::size_t all) {
    if (std::chrono::steady_clock::now() - start_ < std::chrono::seconds(1) || all == 0) return;
    const std::size_t percent = done * 100 / all;
    if (shown_ && percent == percent_) return;
    std::fprintf(stderr, "\r%s [%s%s] %3zu %%", what_.c_str(), std::string(percent / 4, '#').c_str(),
                 std::string(25 - percent / 4, '.').c_str(), percent);
    shown_ = true;
    percent_ = percent;
  }

 private:
  std::string what_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  bool shown_ = false;
  std::size_t percent_ = 0;
};
