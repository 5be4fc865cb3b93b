// Steps as a tokenizer.json writes them, and what is read of those that it has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <attend/json/fields.hpp>
#include <attend/json/text.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

using attend::detail::json_is;
using attend::detail::json_list;
using attend::detail::json_member;
using attend::detail::json_text;
using attend::detail::JsonMembers;
using attend::detail::JsonText;

inline JsonText replace(const char* kind, const char* what, const char* by) {
  return {{"type", "Replace"}, {"pattern", {{kind, what}}}, {"content", by}};
}
/// `steps`, then one blank for several.
inline JsonText single_blanks(std::vector<JsonText> steps) {
  steps.push_back(replace("Regex", " {2,}", " "));
  return {{"type", "Sequence"}, {"normalizers", json_list(steps)}};
}
inline JsonText metaspace(const char* scheme, bool split = true) {
  return {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", scheme}, {"split", split}};
}

inline std::vector<JsonText> blanks_and_bytes() {
  return {replace("String", "\u2581", " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
}

/// RoBERTa's special tokens, and others'.
inline JsonMembers fairseqs_tokens() {
  return {{"bos_token", "<s>"},   {"eos_token", "</s>"}, {"unk_token", "<unk>"},  {"sep_token", "</s>"},
          {"pad_token", "<pad>"}, {"cls_token", "<s>"},  {"mask_token", "<mask>"}};
}

/// {"token": id} of a list of [token, score].
inline JsonMembers ids_of_pieces(const Json& pieces) {
  JsonMembers tokens;
  std::int32_t next = 0;
  for (const Json& entry : pieces) {
    if (entry.is_array() && !entry.empty() && entry[0].is_string())
      tokens[entry[0].get<std::string>()] = next;
    ++next;
  }
  return tokens;
}
inline const Json& vocabulary_of(const Json& json) {
  return json["model"].contains("vocab") ? json["model"]["vocab"] : json["model"];
}
inline std::optional<std::int32_t> id_in_vocabulary(const Json& json, const std::string& content) {
  const Json& vocab = vocabulary_of(json);
  if (vocab.is_object() && vocab.contains(content) && vocab[content].is_number())
    return vocab[content].get<std::int32_t>();
  for (std::size_t i = 0; vocab.is_array() && i < vocab.size(); ++i)
    if (vocab[i].is_array() && !vocab[i].empty() && json_is(vocab[i][0], content))
      return static_cast<std::int32_t>(i);
  return {};
}
/// The table of characters of the normaliser, or nothing.
inline std::vector<JsonText> precompiled_of(const Json& json) {
  const auto is_one = [](const Json& step) { return json_is(json_member(step, "type"), "Precompiled"); };
  const Json& normalizer = json_member(json, "normalizer");
  if (is_one(normalizer)) return {json_text(normalizer)};
  if (json_is(json_member(normalizer, "type"), "Sequence"))
    for (const Json& one : json_member(normalizer, "normalizers"))
      if (is_one(one)) return {json_text(one)};
  return {};
}

}  // namespace attend::inline ATTEND_ABI::text::detail
