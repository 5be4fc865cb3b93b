// Tokens and their ids, both ways.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/file.hpp>

namespace attend::text {

class Vocabulary {
 public:
  /// One token a line, its id the number of the line from 0 (BERT's `vocab.txt`). White space at the end of
  /// a line is no part of the token; of equal tokens the last counts.
  static Vocabulary from_lines(const std::filesystem::path& path) {
    const std::string text = read_text(path);
    Vocabulary out;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      std::string_view line(text.data() + at, end - at);
      line = line.substr(0, line.find_last_not_of(" \t\r") + 1);
      out.ids_[std::string(line)] = static_cast<std::int32_t>(out.tokens_.size());
      out.tokens_.emplace_back(line);
      out.used_.push_back(true);
      at = end + 1;
    }
    if (out.tokens_.empty()) fail(path.string() + ": no tokens");
    return out;
  }

  /// {"token": id, …}, as in GPT-2's `vocab.json`; `where` names it in errors.
  static Vocabulary from_json(const Json& object, const std::string& where) {
    if (!object.is_object()) fail(where + ": expected an object of token: id");
    Vocabulary out;
    // Ids may have gaps, but one far beyond the number of tokens is damage, and would cost gigabytes.
    const std::uint64_t limit = 4 * std::uint64_t{object.size()} + (1u << 16);
    for (const auto& [token, value] : object.items()) {
      const auto id = natural_number(value);
      if (!id || *id >= limit)
        fail(where + ": token \"" + token + "\" has the id " + value.dump() + ", expected 0 to " +
             std::to_string(limit - 1));
      out.add(token, static_cast<std::int32_t>(*id), where);
    }
    return out;
  }

  static Vocabulary from_json(const std::filesystem::path& path) {
    return from_json(parse_json(read_text(path), path.string()), path.string());
  }

  /// Fails if the token or the id is taken. Memory grows with the id: the caller bounds it.
  void add(std::string token, std::int32_t id, const std::string& where) {
    const auto at = static_cast<std::size_t>(id);
    if (contains(id))
      fail(where + ": tokens \"" + tokens_[at] + "\" and \"" + token + "\" have one id, " +
           std::to_string(id));
    if (!ids_.try_emplace(token, id).second) fail(where + ": token \"" + token + "\" has two ids");
    if (at >= tokens_.size()) {
      tokens_.resize(at + 1);
      used_.resize(at + 1);
    }
    tokens_[at] = std::move(token);
    used_[at] = true;
  }

  /// One more than the largest id: the rows that an embedding table needs. Ids below may be unused.
  std::size_t size() const { return tokens_.size(); }

  bool contains(std::int32_t id) const {
    return id >= 0 && static_cast<std::size_t>(id) < tokens_.size() && used_[static_cast<std::size_t>(id)];
  }

  std::optional<std::int32_t> id(std::string_view token) const {
    const auto at = ids_.find(token);
    return at == ids_.end() ? std::nullopt : std::optional(at->second);
  }

  /// Fails on an id that no token has.
  const std::string& token(std::int32_t id) const {
    if (!contains(id))
      fail("no token has the id " + std::to_string(id) + " (the vocabulary ends before " +
           std::to_string(size()) + ")");
    return tokens_[static_cast<std::size_t>(id)];
  }

  /// Bytes of the longest token.
  std::size_t longest() const {
    std::size_t most = 0;
    for (const std::string& token : tokens_) most = std::max(most, token.size());
    return most;
  }

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  std::vector<std::string> tokens_;
  std::vector<bool> used_;
  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> ids_;
};

}  // namespace attend::text
