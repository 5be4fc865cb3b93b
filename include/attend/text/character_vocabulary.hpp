// CharacterVocabulary: the tokenizer of models that read characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/json/json.hpp>
#include <attend/text/prefix_index.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::inline ATTEND_ABI::text {

/// Texts cut into the entries of a vocabulary, the longest that fits first: characters, and names such as
/// `<unk>`.
class CharacterVocabulary {
 public:
  /// A list of tokens in JSON, whose places are their ids. Error where `unknown` is none of them.
  CharacterVocabulary(const Location& file, const std::string& unknown) {
    const auto json = share_json(file);
    if (!json->is_array()) throw_error(file.string(), ": expected a list of tokens");
    for (const Json& token : *json) {
      if (!token.is_string() || token.get_ref<const std::string&>().empty())
        throw_error(file.string(), ": token ", vocabulary_.size(), " is not a text");
      const auto& text = token.get_ref<const std::string&>();
      const auto id = static_cast<std::int32_t>(vocabulary_.size());
      vocabulary_.add(text, id, file.string());
      index_.add(text, id);
    }
    index_.finish();
    unknown_ = at(unknown, file.string());
  }
  std::size_t size() const { return vocabulary_.size(); }
  /// The id of a token. Error, which begins with `where`, where there is none.
  std::int32_t at(const std::string& token, const std::string& where) const {
    const auto found = vocabulary_.id(token);
    if (!found) throw_error(where, ": there is no token '", token, "'");
    return *found;
  }
  /// The ids of a text; what is in no entry is one unknown token a character.
  std::vector<std::int32_t> encode(std::string_view text) const {
    std::vector<std::int32_t> ids;
    while (!text.empty()) {
      std::size_t n = 0;
      std::int32_t longest = unknown_;
      index_.for_each_prefix(text, [&](std::size_t size, std::int32_t id) { n = size, longest = id; });
      ids.push_back(longest);
      if (n == 0)  // one character that is not known
        do ++n;
        while (n < text.size() && (static_cast<unsigned char>(text[n]) & 0xc0u) == 0x80u);
      text.remove_prefix(n);
    }
    return ids;
  }
  /// Its text. Error where there is no such id.
  std::string_view token(std::int32_t id) const { return vocabulary_.token(id); }

 private:
  Vocabulary vocabulary_;
  PrefixIndex index_;
  std::int32_t unknown_ = 0;
};

}  // namespace attend::inline ATTEND_ABI::text
