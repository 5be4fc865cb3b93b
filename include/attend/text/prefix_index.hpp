// Which of many strings does a text begin with?
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <attend/core/error.hpp>

namespace attend::inline ATTEND_ABI::text {

/// Sorted strings that answer like a trie: each byte of the text narrows the range of those that still agree
/// with it, by binary search. The strings are kept elsewhere: key(entry) says where.
template <class Entry>
class SortedStrings {
 public:
  void reserve(std::size_t entries) { entries_.reserve(entries); }  // Makes room.
  /// Before the first question, of strings that are not empty; finish(key) ends it.
  void add(Entry entry) { entries_.push_back(entry); }
  /// Of equal strings the least entry counts.
  template <class Key>
  void finish(Key&& key) {
    std::sort(entries_.begin(), entries_.end(), [&](const Entry& a, const Entry& b) {
      const int order = key(a).compare(key(b));
      return order != 0 ? order < 0 : a < b;
    });
    const auto same = [&](const Entry& a, const Entry& b) { return key(a) == key(b); };
    entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
    for (std::size_t c = 0; c <= 256; ++c)
      starts_[c] =
          static_cast<std::size_t>(std::partition_point(entries_.begin(), entries_.end(),
                                                        [&](const Entry& e) { return byte(key(e), 0) < c; }) -
                                   entries_.begin());
  }

  bool empty() const { return entries_.empty(); }

  /// Calls f(length, entry) for each that the text begins with, shortest first.
  template <class Key, class F>
  void for_each_prefix(std::string_view text, Key&& key, F&& f) const {
    if (text.empty() || entries_.empty()) return;
    auto low = entries_.begin() + static_cast<std::ptrdiff_t>(starts_[byte(text, 0)]);
    auto high = entries_.begin() + static_cast<std::ptrdiff_t>(starts_[byte(text, 0) + 1u]);
    for (std::size_t depth = 1; low != high; ++depth) {
      if (key(*low).size() == depth) {
        f(depth, *low);
        ++low;
      }
      if (high - low == 1 && text.starts_with(key(*low))) f(key(*low).size(), *low);
      if (high - low <= 1 || depth == text.size()) return;
      const auto c = byte(text, depth);
      low = std::partition_point(low, high, [&](const Entry& e) { return byte(key(e), depth) < c; });
      high = std::partition_point(low, high, [&](const Entry& e) { return byte(key(e), depth) == c; });
    }
  }

 private:
  static unsigned char byte(std::string_view text, std::size_t i) {
    return static_cast<unsigned char>(text[i]);
  }

  std::vector<Entry> entries_;
  std::array<std::size_t, 257> starts_{};
};

/// The same with strings of its own, and a value of each.
class PrefixIndex {
 public:
  PrefixIndex() = default;
  /// Makes room for so many strings, of so many bytes together.
  PrefixIndex(std::size_t entries, std::size_t bytes) {
    strings_.reserve(entries);
    bytes_.reserve(bytes);
  }

  /// Before the first question; finish() ends it.
  void add(std::string_view key, std::int32_t value) {
    if (key.empty()) return;  // it would match everywhere
    if (key.size() > (std::numeric_limits<std::uint32_t>::max)() - bytes_.size())
      throw_error("PrefixIndex: more than 4 GB of strings");
    strings_.add({static_cast<std::uint32_t>(bytes_.size()), static_cast<std::uint32_t>(key.size()), value});
    bytes_.append(key);
  }
  /// Of equal strings the first counts.
  void finish() { strings_.finish(Key{bytes_}); }

  bool empty() const { return strings_.empty(); }

  /// Calls f(length, value) for each entry that the text begins with, shortest first.
  template <class F>
  void for_each_prefix(std::string_view text, F&& f) const {
    strings_.for_each_prefix(text, Key{bytes_}, [&](std::size_t n, const Entry& e) { f(n, e.value); });
  }

 private:
  struct Entry {
    std::uint32_t begin, size;  // of the string in bytes_
    std::int32_t value;
    auto operator<=>(const Entry&) const = default;
  };
  struct Key {
    std::string_view bytes;
    std::string_view operator()(const Entry& e) const { return {bytes.data() + e.begin, e.size}; }
  };

  std::string bytes_;
  SortedStrings<Entry> strings_;
};

}  // namespace attend::inline ATTEND_ABI::text
