// Tokens and their ids, both ways.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/file.hpp>
#include <attend/text/secret_hash.hpp>

namespace attend::inline ATTEND_ABI::text {

/// It keeps the tokens one behind the other, each after its length; of an id only where its token begins; and
/// of a token only its id, in an open hash table. So a file of short lines takes little more memory than the
/// file.
class Vocabulary {
 public:
  /// One token a line, its id the number of the line from 0 (BERT's `vocab.txt`). White space at the end of
  /// a line is no part of the token; of equal tokens the last counts.
  static Vocabulary from_lines(const Location& path) {
    const auto for_each_token = [&](auto&& f) {
      for_each_text_line(
          path, [&](std::string_view line) { f(line.substr(0, line.find_last_not_of(" \t\r") + 1)); });
    };
    std::size_t count = 0, bytes = 0;
    for_each_token([&](std::string_view token) {
      ++count;
      bytes += token.empty() ? 0 : stored_size(token);
    });
    if (count == 0) throw_error(path.string(), ": no tokens");
    if (count > max_size) throw_error(path.string(), ": more than 2^31 - 1 tokens");
    Vocabulary out;
    out.begins_.reserve(count);
    out.tokens_.reserve(1 + bytes);
    for_each_token([&](std::string_view token) {
      const auto id = static_cast<std::int32_t>(out.begins_.size());
      const std::size_t slot = out.slot_for(token);
      out.begins_.push_back(out.table_[slot] == none ? out.store(token, path.string())
                                                     : out.begin_of(out.table_[slot]));
      out.take(slot, id);
    });
    return out;
  }

  /// {"token": id, …}, as in GPT-2's `vocab.json`; `where` names it in errors.
  static Vocabulary from_json(const Json& object, const std::string& where) {
    if (!object.is_object()) attend::detail::fail_json_type(where + ":", "an object of token: id", object);
    Vocabulary out;
    // Ids may have gaps, but one far beyond the number of tokens is damage, and would cost gigabytes.
    const std::uint64_t limit = 4 * std::uint64_t{object.size()} + (1u << 16);
    const auto& members = object.get_ref<const Json::object_t&>();
    std::int32_t largest = -1;
    std::size_t bytes = 0;
    for (const auto& [token, value] : members) {
      const auto id = attend::detail::natural_number(value);
      if (!id || *id >= limit)
        throw_error(where, ": token \"", token, "\" has the id ", attend::detail::json_excerpt(value),
                    ", expected 0 to ", limit - 1);
      largest = (std::max)(largest, static_cast<std::int32_t>(*id));
      bytes += stored_size(token);
    }
    out.begins_.reserve(static_cast<std::size_t>(largest + 1));
    out.tokens_.reserve(1 + bytes);
    for (const auto& [token, value] : members) out.add(token, value.get<std::int32_t>(), where);
    return out;
  }

  /// A file of JSON: {"token": id}. Error where it is anything else.
  static Vocabulary from_json(const Location& path) { return from_json(*share_json(path), path.string()); }

  /// Room for so many tokens of so many bytes in all.
  void reserve(std::size_t tokens, std::size_t bytes) {
    begins_.reserve(tokens);
    tokens_.reserve(1 + bytes + tokens + bytes / 64);
    table_.assign(tokens + tokens / 2 + 16, none);
  }

  /// Fails if the token or the id is taken. Memory grows with the id: the caller bounds it.
  void add(std::string_view token, std::int32_t id, const std::string& where) {
    if (id < 0) throw_error(where, ": token \"", token, "\" has the id ", id);
    if (contains(id))
      throw_error(where, ": tokens \"", this->token(id), "\" and \"", token, "\" have one id, ", id);
    const std::size_t slot = slot_for(token);
    if (table_[slot] != none) throw_error(where, ": token \"", token, "\" has two ids");
    const std::uint32_t begin = store(token, where);
    if (static_cast<std::size_t>(id) >= begins_.size())
      begins_.resize(static_cast<std::size_t>(id) + 1, unused);
    begins_[static_cast<std::size_t>(id)] = begin;
    take(slot, id);
  }

  /// One more than the largest id: the rows that an embedding table needs. Ids below may be unused.
  std::size_t size() const { return begins_.size(); }
  /// Tokens, of which some may stand at several ids.
  std::size_t count() const {
    std::size_t out = 0;
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(size()); ++i)
      out += contains(i) && id(token(i)) == i;
    return out;
  }

  /// Whether a token has the id.
  bool contains(std::int32_t id) const {
    return id >= 0 && static_cast<std::size_t>(id) < begins_.size() && begin_of(id) != unused;
  }

  /// The id of a token, if there is one.
  std::optional<std::int32_t> id(std::string_view token) const {
    if (table_.empty()) return std::nullopt;
    const std::int32_t found = table_[find_slot(token)];
    return found == none ? std::nullopt : std::optional(found);
  }

  /// The longest token that is `head` and a beginning of `text`: its id and the size of that beginning, which
  /// is 0 where there is none. Time is at most the size of the longest token.
  std::pair<std::int32_t, std::size_t> longest_beginning(std::string_view head, std::string_view text) const {
    const std::size_t most = (std::min)(text.size(), longest_ - (std::min)(longest_, head.size()));
    std::vector<detail::SecretHash> hashes(most, detail::SecretHash(seed_, head));
    for (std::size_t n = 0; n < most; ++n) {
      if (n > 0) hashes[n] = hashes[n - 1];
      hashes[n].add(static_cast<unsigned char>(text[n]));
    }
    for (std::size_t n = most; n > 0; --n) {
      const std::int32_t id = table_[find_slot(hashes[n - 1], [&](std::string_view token) {
        return token.size() == head.size() + n && token.starts_with(head) &&
               token.substr(head.size()) == text.substr(0, n);
      })];
      if (id != none) return {id, n};
    }
    return {none, 0};
  }

  /// Fails on an id that no token has. The text lives as long as the vocabulary.
  std::string_view token(std::int32_t id) const {
    if (!contains(id)) throw_error("no token has the id ", id, " (the vocabulary ends before ", size(), ")");
    return stored(begin_of(id));
  }

  /// Bytes of the longest token.
  std::size_t longest() const { return longest_; }

 private:
  static constexpr std::size_t max_size = (std::numeric_limits<std::int32_t>::max)();
  static constexpr std::int32_t none = -1;
  static constexpr std::uint32_t unused = 0;  // no token begins at 0

  std::uint32_t begin_of(std::int32_t id) const { return begins_[static_cast<std::size_t>(id)]; }

  // The length of a token comes before it, 7 bits a byte, the least first.
  static std::size_t stored_size(std::string_view token) {
    std::size_t size = 1 + token.size();
    for (std::size_t rest = token.size() >> 7; rest > 0; rest >>= 7) ++size;
    return size;
  }
  std::uint32_t store(std::string_view token, const std::string& where) {
    if (tokens_.empty()) tokens_.push_back('\0');
    const std::size_t begin = tokens_.size();
    if (stored_size(token) > (std::numeric_limits<std::uint32_t>::max)() - begin)
      throw_error(where, ": more than 4 GB of tokens");
    std::size_t rest = token.size();
    for (; rest > 127; rest >>= 7) tokens_.push_back(static_cast<char>(0x80 | (rest & 127)));
    tokens_.push_back(static_cast<char>(rest));
    tokens_.append(token);
    longest_ = (std::max)(longest_, token.size());
    return static_cast<std::uint32_t>(begin);
  }
  std::string_view stored(std::size_t at) const {
    std::size_t size = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(tokens_[at++]);
      size |= static_cast<std::size_t>(byte & 127) << shift;
      if (byte < 128) return std::string_view(tokens_).substr(at, size);
    }
  }

  // Where the id of the token is, or would go, that has this hash and for which is(token) holds.
  template <class Is>
  std::size_t find_slot(const detail::SecretHash& hash, Is&& is) const {
    std::size_t slot = hash.slot(table_.size());
    while (table_[slot] != none && !is(stored(begin_of(table_[slot]))))
      if (++slot == table_.size()) slot = 0;
    return slot;
  }
  std::size_t find_slot(std::string_view token) const {
    return find_slot(detail::SecretHash(seed_, token),
                     [&](std::string_view other) { return other == token; });
  }
  // The same; makes room for one more first, by building the table anew.
  std::size_t slot_for(std::string_view token) {
    if (4 * (distinct_ + 1) > 3 * table_.size()) {
      const std::size_t size = table_.size() + table_.size() / 2 + 16;
      table_ = {};  // before the larger one
      table_.assign(size, none);
      for (std::size_t id = 0; id < begins_.size(); ++id)
        if (begins_[id] != unused) table_[find_slot(stored(begins_[id]))] = static_cast<std::int32_t>(id);
    }
    return find_slot(token);
  }
  void take(std::size_t slot, std::int32_t id) {
    distinct_ += table_[slot] == none;
    table_[slot] = id;
  }

  std::uint64_t seed_ = detail::draw_seed();
  std::string tokens_;
  std::vector<std::uint32_t> begins_;  // by id
  std::vector<std::int32_t> table_;    // ids by their token's hash; at least a quarter is `none`
  std::size_t distinct_ = 0, longest_ = 0;
};

}  // namespace attend::inline ATTEND_ABI::text
