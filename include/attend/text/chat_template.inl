// Bodies of chat_template.hpp.
#pragma once

#include <utility>

#include <attend/core/error.hpp>
#include <attend/core/threads.hpp>
#include <attend/gguf/folder.hpp>
#include <attend/text/chat_template.hpp>
#include <attend/text/file.hpp>
#include <attend/text/jinja_filters.inl>

namespace attend::inline ATTEND_ABI::text {

namespace jinja {
/// What transformers hands to a template of a message: without what is null, and with the reasoning under all
/// of its names.
inline Value message(const Value& given, std::string_view where) {
  if (!given.mapping()) throw_error(where, ": a message is an object, got ", given.type());
  Mapping out;
  for (const auto& [key, value] : given.mapping()->items)
    if (!value.is_none()) out.items.emplace_back(key, value);
  const Value* reasoning = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"})
    if (!reasoning) reasoning = out.find(name);
  if (!reasoning) return out;
  const Value kept = *reasoning;
  if (!out.find("thinking")) out.items.emplace(out.items.begin(), "thinking", kept);
  for (auto& [key, value] : out.items)
    if (*key.text() == "reasoning_content") value = kept;
  if (!out.find("reasoning_content")) out.items.emplace_back("reasoning_content", kept);
  return out;
}
inline Value from_json(const std::string& text, const char* where) {
  return text.empty() ? Value() : JsonValues(where, text, 0).take();
}
}  // namespace jinja

ATTEND_INLINE ChatTemplate::ChatTemplate(std::string source, std::string where) : where_(std::move(where)) {
  sources_.emplace("default", std::move(source));
}

ATTEND_INLINE ChatTemplate ChatTemplate::open(const Location& place) {
  const Location folder = attend::detail::model_folder(place);
  ChatTemplate out;
  const Location config = folder / "tokenizer_config.json", file = folder / "chat_template.jinja",
                 more = folder / "additional_chat_templates";
  out.where_ = file.string();
  if (file.exists()) out.sources_.emplace("default", read_text(file));
  if (more.is_folder())
    for (const std::string& name : more.names())
      if (const Location one = more / name; one.extension() == ".jinja")
        out.sources_.emplace(one.path().stem().string(), read_text(one));
  for (const Location& path : {config, folder / "special_tokens_map.json"}) {
    if (!path.exists()) continue;
    const auto json = share_json(path);
    const Part part(*json, path.string());
    for (const char* name :
         {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"})
      if (part.has(name))
        out.tokens_.emplace(
            name, part.at(name).is_object() ? part.object(name).string("content") : part.string(name));
    if (path.path() != config.path() || !out.sources_.empty() || !part.has("chat_template")) continue;
    out.where_ = path.string() + ": chat_template";
    if (!part.at("chat_template").is_array()) {
      out.sources_.emplace("default", part.string("chat_template"));
      continue;
    }
    for (std::size_t i = 0; i < part.array("chat_template").size(); ++i) {
      const Part one = part.element("chat_template", i);
      out.sources_.insert_or_assign(one.string("name"), one.string("template"));
    }
  }
  return out;
}

ATTEND_INLINE std::string ChatTemplate::render(std::span<const ChatMessage> messages,
                                               const ChatOptions& options) const {
  std::string all = "[";
  for (const ChatMessage& message : messages) {
    jinja::Mapping map;
    const jinja::Value more = jinja::from_json(message.more, "a message's members");
    if (more.mapping()) map = *more.mapping();
    if (!more.mapping() && !more.is_none())
      throw_error("a message's members: expected an object, got ", more.type());
    for (const auto& [name, text] :
         {std::pair("content", &message.content), std::pair("role", &message.role)})
      if (!map.find(name)) map.items.emplace(map.items.begin(), name, *text);
    struct Any {
      void operator()(std::size_t) const {}
      [[noreturn]] void refuse(const std::string& text) const { throw_error(text); }
    };
    jinja::Writer<Any> writer{Any()};
    writer.json(std::move(map), {});
    all += (all.size() > 1 ? "," : "") + writer.take();
  }
  return render(std::string_view(all + "]"), options);
}

ATTEND_INLINE std::string ChatTemplate::render(std::string_view messages, const ChatOptions& options) const {
  if (sources_.empty()) throw_error(where_, ": the folder has no chat template");
  const std::string name = !options.tools.empty() && sources_.contains("tool_use") ? "tool_use" : "default";
  const auto found = sources_.find(name);
  if (found == sources_.end()) throw_error(where_, ": there is no template 'default'");
  const attend::detail::FloatEnvironment environment;  // of its numbers
  using jinja::Value;
  const Value given = jinja::JsonValues("messages", messages, 0).take();
  if (!given.sequence() || given.sequence()->items.empty())
    throw_error("messages: expected a list of one or more");
  jinja::Sequence list;
  for (const Value& message : given.sequence()->items)
    list.items.push_back(jinja::message(message, "messages"));

  jinja::Mapping variables;
  const auto set = [&](const std::string& key, Value value) {
    for (auto& [old, held] : variables.items)
      if (*old.text() == key) return void(held = std::move(value));
    variables.items.emplace_back(key, std::move(value));
  };
  for (const auto& [key, token] : tokens_) set(key, token);
  const Value more = jinja::from_json(options.variables, "variables");
  if (!more.mapping() && !more.is_none()) throw_error("variables: expected an object, got ", more.type());
  if (more.mapping())
    for (const auto& [key, value] : more.mapping()->items) set(*key.text(), value);
  set("messages", std::move(list));
  set("tools", jinja::from_json(options.tools, "tools"));
  set("documents", jinja::from_json(options.documents, "documents"));
  set("add_generation_prompt", options.add_generation_prompt);

  const jinja::Source source(sources_.size() > 1 ? where_ + " '" + name + "'" : where_, found->second);
  const jinja::NodePtr tree = jinja::Parser(source).run();
  const std::size_t size = messages.size() + options.tools.size() + options.documents.size() +
                           options.variables.size() + source.text.size();
  return jinja::Evaluation(source, options.now.value_or(std::chrono::system_clock::now()),
                           4000000 + 16 * size)
      .run(*tree, variables);
}

}  // namespace attend::inline ATTEND_ABI::text
