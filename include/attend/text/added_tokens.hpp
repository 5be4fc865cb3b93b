// The "added_tokens" of tokenizer.json: tokens that are found in the text before the model sees it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/file.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/prefix_index.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::inline ATTEND_ABI::text {

/// A token that is found in a text before it is split into words.
struct AddedToken {
  std::string content;       // as it is written in texts
  bool special = false;      ///< left out by decode on request
  bool single_word = false;  ///< only between characters that are not `\w`
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space behind it along
  bool normalized = true;    ///< looked for in the normalised text, else in the text as given
  std::string text = {};     ///< what it decodes to: the content, or its normal form
  /// As in tokenizers: one whose text is another than its content is not left out.
  bool is_left_out() const { return special && text == content; }
};

/// The added tokens of a tokenizer, found from left to right, the longest first.
class AddedTokens {
 public:
  /// One stretch of text: an added token, or (id −1) text between them.
  struct Stretch {
    std::string_view text;  // of the text that was split
    std::int32_t id;        // of the token, or -1
  };

  AddedTokens() = default;

  /// Reads the array "added_tokens". Of `more` those that are not in it have the model's id, or the next one
  /// that is free.
  AddedTokens(const Part& root, const Vocabulary& model, const Normalizer& normalizer,
              const std::vector<AddedToken>& more = {}) {
    const std::size_t count = root.has("added_tokens") ? root.array("added_tokens").size() : 0;
    for (std::size_t i = 0; i < count; ++i) {
      const Part part = root.element("added_tokens", i);
      part.allow({"id", "content", "special", "single_word", "lstrip", "rstrip", "normalized"});
      add(read(part), part.integer("id"), id_limit(model.size() + count), model, normalizer,
          [&] { return part.where(); });
    }
    for (const AddedToken& token : more) {
      if (token.content.empty() || ids_.contains(token.content)) continue;
      const auto id = model.id(token.content);
      add(token, id ? *id : static_cast<std::int32_t>((std::max)(model.size(), size())),
          id_limit(model.size() + count + more.size()), model, normalizer,
          [&] { return "the special token \"" + token.content + '"'; });
    }
    finish();
  }

  /// One entry of the array. Error where a field is of another type.
  static AddedToken read(const Part& part) {
    return {part.string("content"),        part.boolean("special", false), part.boolean("single_word", false),
            part.boolean("lstrip", false), part.boolean("rstrip", false),  part.boolean("normalized", true)};
  }

  /// Ids below it are believed: as in Vocabulary::from_json.
  static std::size_t id_limit(std::size_t tokens) { return 4 * tokens + (1u << 16); }

  /// Adds a token; one that the model has must have the model's id. `model` is its vocabulary, where() names
  /// the token in errors. finish() comes behind the last.
  template <class Where>
  void add(AddedToken token, std::int32_t id, std::size_t limit, const Vocabulary& model,
           const Normalizer& normalizer, Where&& where) {
    const auto model_id = model.id(token.content);
    if (id < 0 || static_cast<std::size_t>(id) >= limit)
      throw_error(where(), ": the id ", id, " is too large");
    if (model_id ? *model_id != id : model.contains(id))
      throw_error(where(), ": \"", token.content, "\" has the id ", id, ", but the model has ",
                  (model_id ? "it at " + std::to_string(*model_id)
                            : "\"" + std::string(model.token(id)) + "\" there"));
    token.text = token.content;
    const auto [known, is_new] = tokens_.try_emplace(id, token);
    if (!is_new && known->second.content == token.content) return;  // said twice
    if (!is_new || !ids_.emplace(token.content, id).second)
      throw_error(where(), ": the token or its id is given twice");
    if (!token.normalized || !normalizer)
      return (token.normalized ? normalized_ : raw_).add(token.content, id);
    // A file of many tokens and steps is done in reasonable time and memory because no token is longer than a
    // real one, nor grows much.
    if (++normalized_count_ * normalizer.patterns() > 30'000)
      throw_error(where(), ": too many added tokens for a normalizer of ", normalizer.patterns(),
                  " patterns");
    if (token.content.size() > 4096)
      throw_error(where(), ": a normalized token of ", token.content.size(), " bytes");
    normalized_.add(known->second.text = normal_form(token.content, normalizer, where), id);
  }
  /// After the last is added, before the first question.
  void finish() {
    raw_.finish();
    normalized_.finish();
  }

  bool empty() const { return tokens_.empty(); }
  /// One more than the largest id.
  std::size_t size() const {
    return tokens_.empty() ? 0 : static_cast<std::size_t>(tokens_.rbegin()->first) + 1;
  }

  /// Null where no added token has the id.
  const AddedToken* find(std::int32_t id) const {
    const auto at = tokens_.find(id);
    return at == tokens_.end() ? nullptr : &at->second;
  }
  /// -1 where there is none.
  std::int32_t id(std::string_view content) const {
    const auto at = ids_.find(content);
    return at == ids_.end() ? -1 : at->second;
  }

  /// The text as given, or normalised, in stretches: of tokens that are looked for there.
  /// @{
  std::vector<Stretch> split_raw(std::string_view text) const { return split(text, raw_); }
  std::vector<Stretch> split_normalized(std::string_view text) const { return split(text, normalized_); }
  /// @}

 private:
  template <class Where>
  static std::string normal_form(const std::string& content, const Normalizer& normalizer,
                                 [[maybe_unused]] const Where& where) {
    const auto normal = [&] {
      AlignedText text(content);
      normalizer(text, 64 + 8 * content.size());
      return std::move(text.bytes);
    };
#if defined(__cpp_exceptions)
    try {
      return normal();
    } catch (const Error& error) {  // a step of a normalizer knows no file
      throw_error(where(), ": ", error.what());
    }
#else
    return normal();
#endif
  }

  // The leftmost token, of those that begin there the longest. One that single_word rules out is skipped
  // whole.
  std::vector<Stretch> split(std::string_view text, const PrefixIndex& index) const {
    std::vector<Stretch> out;
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size() && !index.empty();) {
      std::size_t length = 0;
      std::int32_t id = -1;
      index.for_each_prefix(text.substr(at),
                            [&](std::size_t n, std::int32_t value) { length = n, id = value; });
      if (id < 0) {
        ++at;
        continue;
      }
      const AddedToken& token = tokens_.at(id);
      std::size_t begin = at, end = at + length;
      at = end;
      if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
      if (token.lstrip)
        while (begin > done && white_before(text, begin)) begin = previous(text, begin);
      if (token.rstrip)
        while (end < text.size() && is_white_space(decode_utf8(text, end).value))
          end += decode_utf8(text, end).size;
      begin = (std::max)(begin, done);
      if (done < begin) out.push_back({text.substr(done, begin - done), -1});
      out.push_back({text.substr(begin, end - begin), id});
      done = at = end;
    }
    if (done < text.size()) out.push_back({text.substr(done), -1});
    return out;
  }

  static std::size_t previous(std::string_view text, std::size_t at) {
    do --at;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
    return at;
  }
  static bool white_before(std::string_view text, std::size_t at) {
    return is_white_space(decode_utf8(text, previous(text, at)).value);
  }
  static bool word_before(std::string_view text, std::size_t at) {
    return at > 0 && is_word(decode_utf8(text, previous(text, at)).value);
  }
  static bool word_after(std::string_view text, std::size_t at) {
    return at < text.size() && is_word(decode_utf8(text, at).value);
  }

  std::map<std::int32_t, AddedToken> tokens_;
  std::map<std::string, std::int32_t, std::less<>> ids_;
  PrefixIndex raw_, normalized_;
  std::size_t normalized_count_ = 0;
};

}  // namespace attend::inline ATTEND_ABI::text
