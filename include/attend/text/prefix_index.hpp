// Which of many strings does a text begin with?
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attend::text {

/// A sorted list of strings that answers like a trie: each byte of the text narrows the range of entries that
/// still agree with it, by binary search. No memory besides the strings.
class PrefixIndex {
 public:
  using Entry = std::pair<std::string, std::int32_t>;

  PrefixIndex() = default;

  /// Of equal strings the first counts; empty ones never match.
  explicit PrefixIndex(std::vector<Entry> entries) : entries_(std::move(entries)) {
    const auto by_key = [](const Entry& a, const Entry& b) { return a.first < b.first; };
    std::stable_sort(entries_.begin(), entries_.end(), by_key);
    const auto same = [](const Entry& a, const Entry& b) { return a.first == b.first; };
    entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
    std::erase_if(entries_, [](const Entry& e) { return e.first.empty(); });
    for (std::size_t c = 0; c <= 256; ++c)
      starts_[c] =
          static_cast<std::size_t>(std::partition_point(entries_.begin(), entries_.end(),
                                                        [&](const Entry& e) { return byte(e, 0) < c; }) -
                                   entries_.begin());
  }

  bool empty() const { return entries_.empty(); }

  /// Calls f(length, value) for each entry that the text begins with, shortest first.
  template <class F>
  void for_each_prefix(std::string_view text, F&& f) const {
    if (text.empty() || entries_.empty()) return;
    const auto first = static_cast<unsigned char>(text[0]);
    auto low = entries_.begin() + static_cast<std::ptrdiff_t>(starts_[first]);
    auto high = entries_.begin() + static_cast<std::ptrdiff_t>(starts_[first + 1]);
    for (std::size_t depth = 1; low != high; ++depth) {
      if (low->first.size() == depth) {
        f(depth, low->second);
        ++low;
      }
      if (depth == text.size()) return;
      const auto c = static_cast<unsigned char>(text[depth]);
      low = std::partition_point(low, high, [&](const Entry& e) { return byte(e, depth) < c; });
      high = std::partition_point(low, high, [&](const Entry& e) { return byte(e, depth) == c; });
    }
  }

 private:
  static unsigned char byte(const Entry& e, std::size_t i) { return static_cast<unsigned char>(e.first[i]); }

  std::vector<Entry> entries_;
  std::array<std::size_t, 257> starts_{};
};

}  // namespace attend::text
