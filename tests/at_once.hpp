#pragma once

#include <atomic>
#include <thread>
#include <vector>

namespace attend_test {

/// f(0) … f(n - 1), each on a thread of its own, which begin together.
template <class F>
void at_once(int n, F&& f) {
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < n; ++i)
    threads.emplace_back([&, i] {
      ++ready;
      while (ready < n) std::this_thread::yield();
      f(i);
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace attend_test
