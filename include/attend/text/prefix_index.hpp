// Which of many strings does a text begin with?
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <attend/core/error.hpp>

namespace attend::inline ATTEND_ABI::text {

/// A sorted list of strings that answers like a trie: each byte of the text narrows the range of entries that
/// still agree with it, by binary search. Little memory besides the strings.
class PrefixIndex {
 public:
  PrefixIndex() = default;
  PrefixIndex(std::size_t entries, std::size_t bytes) {
    entries_.reserve(entries);
    bytes_.reserve(bytes);
  }

  /// Before the first question; finish() ends it.
  void add(std::string_view key, std::int32_t value) {
    if (key.empty()) return;  // it would match everywhere
    if (key.size() > (std::numeric_limits<std::uint32_t>::max)() - bytes_.size())
      throw_error("PrefixIndex: more than 4 GB of strings");
    entries_.push_back(
        {static_cast<std::uint32_t>(bytes_.size()), static_cast<std::uint32_t>(key.size()), value});
    bytes_.append(key);
  }
  /// Of equal strings the first counts.
  void finish() {
    std::sort(entries_.begin(), entries_.end(), [&](const Entry& a, const Entry& b) {
      const int order = key(a).compare(key(b));
      return order != 0 ? order < 0 : a.begin < b.begin;
    });
    const auto same = [&](const Entry& a, const Entry& b) { return key(a) == key(b); };
    entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
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
    auto high = entries_.begin() + static_cast<std::ptrdiff_t>(starts_[first + 1u]);
    for (std::size_t depth = 1; low != high; ++depth) {
      if (low->size == depth) {
        f(depth, low->value);
        ++low;
      }
      if (high - low == 1 && text.starts_with(key(*low))) f(low->size, low->value);
      if (high - low <= 1 || depth == text.size()) return;
      const auto c = static_cast<unsigned char>(text[depth]);
      low = std::partition_point(low, high, [&](const Entry& e) { return byte(e, depth) < c; });
      high = std::partition_point(low, high, [&](const Entry& e) { return byte(e, depth) == c; });
    }
  }

 private:
  struct Entry {
    std::uint32_t begin, size;  // of the key in bytes_
    std::int32_t value;
  };
  std::string_view key(const Entry& e) const { return std::string_view(bytes_).substr(e.begin, e.size); }
  unsigned char byte(const Entry& e, std::size_t i) const {
    return static_cast<unsigned char>(bytes_[e.begin + i]);
  }

  std::string bytes_;
  std::vector<Entry> entries_;
  std::array<std::size_t, 257> starts_{};
};

}  // namespace attend::inline ATTEND_ABI::text
