// The "post_processor" of tokenizer.json: where the special tokens stand around one text or two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <attend/text/file.hpp>

namespace attend::inline ATTEND_ABI::text {

/// What a text, or a pair of them, looks like with its special tokens.
struct Template {
  /// A text, or a special token.
  struct Item {
    int sequence;          ///< 0 and 1: all ids of the first, the second text; -1: the one special id
    std::int32_t id;       ///< of a special token
    std::int32_t type_id;  ///< BERT's token_type_ids
  };
  std::vector<Item> single{{0, 0, 0}};           // of one text
  std::vector<Item> pair{{0, 0, 0}, {1, 0, 1}};  // of two
  bool trim_offsets = false;      ///< blanks that a token begins or ends with are not where it stands,
  bool add_prefix_space = false;  ///< but for one that was put before the text
};

namespace detail {

inline std::vector<Template::Item> read_template(const Part& part, const char* name, int sequences) {
  std::vector<Template::Item> out;
  std::vector<int> seen(2);
  for (std::size_t i = 0; i < part.array(name).size(); ++i) {
    const Part item = part.element(name, i);
    item.allow({"Sequence", "SpecialToken"});
    if (item.has("Sequence")) {
      const Part sequence = item.object("Sequence");
      const std::string id = sequence.string("id");
      if (id != "A" && !(id == "B" && sequences == 2)) sequence.error("unexpected sequence \"" + id + '"');
      out.push_back({id == "B", 0, sequence.integer("type_id")});
      ++seen[id == "B"];
    } else {
      const Part token = item.object("SpecialToken");
      const std::string id = token.string("id");
      const Part all = part.object("special_tokens");
      if (!all.has(id)) token.error("\"" + id + "\" is not among the special_tokens");
      const Part special = all.object(id);
      const Json& ids = special.array("ids");
      if (out.size() + ids.size() > 1000) part.error("\"" + std::string(name) + "\" has more than 1000 ids");
      for (const Json& value : ids)
        out.push_back(
            {-1, attend::detail::json_natural(value, special.where("ids")), token.integer("type_id")});
    }
  }
  for (int i = 0; i < sequences; ++i)
    if (seen[static_cast<std::size_t>(i)] != 1)
      part.error(std::string("\"") + name + "\" does not have each sequence once");
  return out;
}

/// ["[SEP]", 102], as BertProcessing and RobertaProcessing have it.
inline std::int32_t read_token_pair(const Part& part, const char* name) {
  const Json& pair = part.array(name);
  if (pair.size() != 2) part.error(std::string("\"") + name + "\" is not [token, id]");
  return attend::detail::json_natural(pair[1], part.where(name));
}

inline Template read_post_processor(const Part& part) {
  const std::string type = part.string("type");
  if (type == "Sequence") {
    part.allow({"processors"});
    Template out;
    bool found = false;
    for (std::size_t i = 0; i < part.array("processors").size(); ++i) {
      const Part step = part.element("processors", i);
      const std::string kind = step.string("type");
      if (kind == "Sequence") step.error("a Sequence inside a Sequence is not supported");
      Template read = read_post_processor(step);
      if (read.trim_offsets) out.trim_offsets = true, out.add_prefix_space = read.add_prefix_space;
      if (kind == "ByteLevel") continue;
      if (std::exchange(found, true)) step.error("more than one processor that adds tokens is not supported");
      out.single = std::move(read.single);
      out.pair = std::move(read.pair);
    }
    return out;
  }
  if (type == "ByteLevel") {  // concerns offsets into the text alone
    part.allow({"add_prefix_space", "trim_offsets", "use_regex"});
    return {.trim_offsets = part.boolean("trim_offsets", true),
            .add_prefix_space = part.boolean("add_prefix_space", true)};
  }
  if (type == "TemplateProcessing") {
    part.allow({"single", "pair", "special_tokens"});
    return {.single = read_template(part, "single", 1), .pair = read_template(part, "pair", 2)};
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    const bool bert = type == "BertProcessing";
    bert ? part.allow({"sep", "cls"}) : part.allow({"sep", "cls", "trim_offsets", "add_prefix_space"});
    const std::int32_t sep = read_token_pair(part, "sep"), cls = read_token_pair(part, "cls");
    const Template::Item begin{-1, cls, 0}, end{-1, sep, 0}, a{0, 0, 0};
    if (bert) return {.single = {begin, a, end}, .pair = {begin, a, end, {1, 0, 1}, {-1, sep, 1}}};
    return {.single = {begin, a, end},
            .pair = {begin, a, end, end, {1, 0, 0}, end},
            .trim_offsets = part.boolean("trim_offsets", true),
            .add_prefix_space = part.boolean("add_prefix_space", true)};
  }
  part.error("unknown post-processor \"" + type + '"');
}

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI::text
