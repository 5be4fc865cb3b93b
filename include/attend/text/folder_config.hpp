// What stands in a folder beside a tokenizer: tokenizer_config.json and its companions.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/text/added_tokens.hpp>
#include <attend/text/file.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/vocabulary.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

/// tokenizer_config.json and its companions, as far as a folder has them.
class FolderConfig {
 public:
  explicit FolderConfig(const Location& folder)
      : config_(read(folder, "tokenizer_config.json")),
        specials_(read(folder, "special_tokens_map.json")),
        added_(read(folder, "added_tokens.json")),
        model_(read(folder, "config.json")),
        where_((folder / "tokenizer_config.json").string()) {}

  Part part() const { return Part(*config_, where_); }

  /// The class that the files give the tokenizer, without "Fast", or nothing.
  std::string named_class() const {
    std::string name = part().string("tokenizer_class", model_part().string("tokenizer_class", ""));
    if (name.ends_with("Fast")) name.resize(name.size() - 4);
    return name;
  }
  /// The same, but where no file says it, the first in `of_models` (model_type of config.json, class) that
  /// fits, or nothing.
  std::string tokenizer_class(
      std::initializer_list<std::pair<std::string_view, std::string_view>> of_models) const {
    const std::string name = named_class();
    if (!name.empty() && name != "PreTrainedTokenizer") return name;
    for (const auto& [model, tokenizer] : of_models)
      if (model_type() == model) return std::string(tokenizer);
    return {};
  }
  /// Empty where there is no config.json.
  std::string model_type() const { return model_part().string("model_type", ""); }
  /// The number of tokens that config.json gives the model; 0: it does not say.
  std::size_t model_vocab_size() const {
    return model_part().has("vocab_size") ? static_cast<std::size_t>(model_part().integer("vocab_size")) : 0;
  }

  /// The text of a special token such as "cls_token".
  std::string token(std::string_view name, std::string otherwise) const {
    for (const auto* source : {&specials_, &config_}) {
      const Part found(**source, where_);
      if (source == &specials_ && part().has("added_tokens_decoder")) continue;  // which replaced it
      if (!found.has(name)) continue;
      return found.at(name).is_object() ? found.object(name).string("content") : found.string(name);
    }
    return otherwise;
  }

  /// The tokens that transformers adds to those of a tokenizer.json, in its order. `usual`: those of the
  /// class that no file names.
  std::vector<AddedToken> beside_tokenizer_json(const Json& usual = Json::object()) const {
    std::vector<AddedToken> out;
    for (auto& [id, token] : listed_tokens()) out.push_back(std::move(token));
    // Where the tokens are listed, the older files are not read.
    std::vector<AddedToken> plain;
    if (!part().has("added_tokens_decoder")) plain = plain_tokens();
    const Json none = Json::object();
    const Part older(part().has("added_tokens_decoder") ? none : *specials_,
                     where_ + "'s special_tokens_map.json");
    const auto add = [&](const char* name, const Part& from, const Json& token) {
      AddedToken read{.content = {}, .normalized = false};
      if (token.is_object())
        read = AddedTokens::read(Part(token, from.where(name)));
      else
        read.content = attend::detail::json_as<std::string>(token, from.where(name));
      read.special = true;
      out.push_back(std::move(read));
    };
    const char* const newer = "extra_special_tokens";
    const Json& extra =
        attend::detail::json_member(older.json().contains(newer) ? older.json() : part().json(), newer);
    for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
                             "mask_token", "extra_special_tokens", "additional_special_tokens"}) {
      const bool is_older = older.has(name), is_named = is_older || part().json().contains(name);
      const Part from = is_older ? older : is_named ? part() : Part(usual, where_);
      if (!from.has(name)) continue;
      // The newer list takes the place of the class's own, and of an older one that it was not made of.
      if (name == std::string_view("additional_special_tokens") && extra.is_array() &&
          (is_older || !is_named || !extra.empty()))
        continue;
      const bool one = std::string_view(name).ends_with("_token");
      const std::size_t before = out.size();
      if (one) add(name, from, from.at(name));
      if (!one)
        for (const Json& token : from.at(name)) add(name, from, token);
      for (AddedToken& token : plain)  // which are special where the files, not the class, name them so
        for (std::size_t i = before; i < out.size() && is_named; ++i)
          if (out[i].content == token.content) token.special = true, token.normalized = false;
    }
    out.insert(out.begin(), plain.begin(), plain.end());
    return out;
  }

  /// Special tokens by their content; true where such a token takes the blanks before it along.
  using Specials = std::vector<std::pair<std::string, bool>>;

  /// What the files list, and those of `specials` that exist: in the model, or in `more` with an id, where a
  /// mask takes the blanks before it along.
  AddedTokens added_tokens(const Vocabulary& model, const Normalizer& normalizer, const Specials& specials,
                           const std::vector<std::pair<std::string, std::int32_t>>& more = {}) const {
    AddedTokens out;
    const Part plain(*added_, where_ + "'s added_tokens.json");
    const auto listed = listed_tokens();
    const std::size_t limit =
        AddedTokens::id_limit(model.size() + listed.size() + added_->size() + more.size());
    for (const auto& token : listed)
      out.add(token.second, token.first, limit, model, normalizer,
              [&] { return where_ + ": " + attend::detail::in_quotes(token.second.content); });
    const auto add = [&](const std::string& content, std::int32_t id, bool special, bool lstrip) {
      if (out.id(content) >= 0) return;
      out.add({.content = content, .special = special, .lstrip = lstrip, .normalized = !special}, id, limit,
              model, normalizer, [&] { return where_; });
    };
    for (const auto& [content, lstrip] : specials) {
      if (const auto id = model.id(content)) add(content, *id, true, lstrip);
      if (plain.has(content)) add(content, plain.integer(content), true, lstrip);
    }
    for (const auto& [content, id] : more) add(content, id, true, content == token("mask_token", "<mask>"));
    for (const auto& [content, value] : added_->get_ref<const Json::object_t&>())
      add(content, plain.integer(content), false, false);
    out.finish();
    return out;
  }

 private:
  /// Those of added_tokens_decoder, by their ids.
  std::map<std::int32_t, AddedToken> listed_tokens() const {
    std::map<std::int32_t, AddedToken> out;
    if (!part().has("added_tokens_decoder")) return out;
    const Part listed = part().object("added_tokens_decoder");
    for (const auto& [key, value] : listed.json().get_ref<const Json::object_t&>()) {
      if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != std::string::npos)
        listed.error("\"" + key + "\" is not an id");
      const Part token = listed.object(key);
      token.allow({"id", "content", "special", "single_word", "lstrip", "rstrip", "normalized"});
      out[static_cast<std::int32_t>(std::stol(key))] = AddedTokens::read(token);
    }
    return out;
  }

  /// Those of added_tokens.json, by their ids.
  std::vector<AddedToken> plain_tokens() const {
    const Part plain(*added_, where_ + "'s added_tokens.json");
    std::map<std::int32_t, AddedToken> out;
    for (const auto& [content, value] : added_->get_ref<const Json::object_t&>())
      out[plain.integer(content)] = {.content = content, .normalized = true};
    std::vector<AddedToken> list;
    for (auto& [id, token] : out) list.push_back(std::move(token));
    return list;
  }

  static std::shared_ptr<const Json> read(const Location& folder, const char* name) {
    const Location path = folder / name;
    if (!path.exists()) return share_json("{}", path.string());
    std::shared_ptr<const Json> out = share_json(path);
    if (!out->is_object()) attend::detail::fail_json_type(path.string() + ":", "an object", *out);
    return out;
  }

  Part model_part() const { return Part(*model_, where_ + "'s config.json"); }

  std::shared_ptr<const Json> config_, specials_, added_, model_;
  std::string where_;
};

}  // namespace attend::inline ATTEND_ABI::text::detail
