// TextGenerator: texts continued by a language model and its tokenizer.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/model/family.hpp>
#include <attend/model/generation.hpp>
#include <attend/text/chat_template.hpp>
#include <attend/text/streaming_decoder.hpp>
#include <attend/text/tokenizer.hpp>

namespace attend::inline ATTEND_ABI {

/// Text that comes in pieces, until one of some stop texts is complete; what might be the beginning of one
/// waits.
class StopFilter {
 public:
  /// Texts, any of which ends it. Error: more than 256, or one that is empty or longer than 1024 bytes.
  explicit StopFilter(std::vector<std::string> stops = {});
  bool stopped() const { return stopped_; }  // Whether one of them came.

  /// What is certain not to belong to a stop text after this piece.
  std::string push(std::string_view piece);
  /// The rest, when no more comes.
  std::string finish() { return stopped_ ? std::string() : std::exchange(held_, {}); }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

/// What follows a prompt as text: tokens go in, pieces that are certain come out.
class TextStream {
 public:
  /// All three outlive it. `eos` end the text and are no part of it.
  TextStream(const text::Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
             const std::vector<std::string>& stop, const std::vector<std::int32_t>& eos);

  bool stopped() const { return stop_.stopped(); }  // Whether a stop text or an end token came.
  std::string push(std::int32_t id);  // What is certain to be part of the text after this token.
  /// The rest, when no more comes.
  std::string finish();

 private:
  const text::Tokenizer* tokenizer_;
  const std::vector<std::int32_t>* eos_;
  text::StreamingDecoder decoder_;
  StopFilter stop_;
};

/// What a TextGenerator made of one prompt.
struct TextGeneration {
  std::string text;  // what follows the prompt, without stop text and special tokens
  /// Tokens of the prompt, and those that follow it.
  std::vector<std::int32_t> prompt_ids, ids;
  FinishReason reason = FinishReason::length;
  Index reused = 0;                         // tokens of the prompt that the call before had in common
  std::vector<TokenLogprob> logprobs = {};  // of each of ids, where the options ask for them
};

/// How likely a text is.
struct TextScore {
  std::vector<std::int32_t> ids;
  std::vector<TokenLogprob> logprobs;  // of all ids but the first, each after those before it
  double logprob = 0;                  // their sum
  double perplexity = 1;               // e^(-logprob / their number)
};

/// Called with each piece of text of prompt number `prompt` as soon as it is certain; false ends that text.
using TextCallback = std::function<bool(Index prompt, std::string_view piece)>;

/// A Hugging Face folder: config.json, model.safetensors, tokenizer.json or older vocabulary files; or a GGUF
/// file. A conversation, so for one thread at a time: TextService serves many.
class TextGenerator {
 public:
  /// `otherwise` says how long a text may be where the folder does not.
  static TextGenerator open(const Location& folder, const GenerationOptions& otherwise = {},
                            const OpenOptions& weights = {});
  static TextGenerator open(const Location& folder, const OpenOptions& weights) {
    return open(folder, GenerationOptions(), weights);
  }
  /// Of parts.
  TextGenerator(text::Tokenizer tokenizer, Generator generator, GenerationOptions options = {},
                text::ChatTemplate chat_template = {})
      : tokenizer_(std::move(tokenizer)),
        generator_(std::move(generator)),
        generation_options_(std::move(options)),
        chat_template_(std::move(chat_template)) {}

  const text::Tokenizer& tokenizer() const { return tokenizer_; }
  Generator& generator() { return generator_; }  // The conversation: what the last call left in its cache.
  /// How the folder says that texts are generated: what calls without options do.
  const GenerationOptions& generation_options() const { return generation_options_; }

  /// Ids with the tokenizer's special tokens. An empty text is the start token alone.
  std::vector<std::int32_t> encode(std::string_view prompt) const;

  /// What follows a prompt. The callback gets each piece of text as soon as it is certain; where it returns
  /// false the text ends. Errors: as of Generator::generate.
  TextGeneration generate(Context& context, std::string_view prompt, const GenerationOptions& options,
                          const std::function<bool(std::string_view)>& callback = {});
  TextGeneration generate(Context& context, std::string_view prompt) {
    return generate(context, prompt, generation_options_);
  }
  TextGeneration generate(std::string_view prompt, const GenerationOptions& options) {
    return generate(default_context(), prompt, options);
  }
  TextGeneration generate(std::string_view prompt) { return generate(prompt, generation_options_); }
  /// All prompts as one batch.
  std::vector<TextGeneration> generate(Context& context, std::span<const std::string> prompts) {
    return generate(context, prompts, generation_options_);
  }
  std::vector<TextGeneration> generate(Context& context, std::span<const std::string> prompts,
                                       const GenerationOptions& options, const TextCallback& callback = {});
  std::vector<TextGeneration> generate(std::span<const std::string> prompts,
                                       const GenerationOptions& options) {
    return generate(default_context(), prompts, options);
  }
  std::vector<TextGeneration> generate(std::span<const std::string> prompts) {
    return generate(prompts, generation_options_);
  }
  /// {"one prompt", "another"}, or {prompt}
  std::vector<TextGeneration> generate(Context& context, std::initializer_list<std::string_view> prompts,
                                       const GenerationOptions& options, const TextCallback& callback = {}) {
    return generate(context, std::vector<std::string>(prompts.begin(), prompts.end()), options, callback);
  }
  std::vector<TextGeneration> generate(Context& context, std::initializer_list<std::string_view> prompts) {
    return generate(context, prompts, generation_options_);
  }
  std::vector<TextGeneration> generate(std::initializer_list<std::string_view> prompts,
                                       const GenerationOptions& options) {
    return generate(default_context(), prompts, options);
  }
  std::vector<TextGeneration> generate(std::initializer_list<std::string_view> prompts) {
    return generate(default_context(), prompts, generation_options_);
  }

  /// The folder's, or one that is empty().
  const text::ChatTemplate& chat_template() const { return chat_template_; }

  /// Answers a conversation by the chat template, and adds the answer to it. What the messages have in common
  /// with those of the call before is not computed again. A call that fails leaves the conversation as it
  /// was.
  TextGeneration chat(Context& context, std::vector<ChatMessage>& messages, const GenerationOptions& options,
                      const ChatOptions& chat_options = {},
                      const std::function<bool(std::string_view)>& callback = {});
  TextGeneration chat(Context& context, std::vector<ChatMessage>& messages) {
    return chat(context, messages, generation_options_);
  }
  TextGeneration chat(std::vector<ChatMessage>& messages, const GenerationOptions& options,
                      const ChatOptions& chat_options = {}) {
    return chat(default_context(), messages, options, chat_options);
  }
  TextGeneration chat(std::vector<ChatMessage>& messages) { return chat(messages, generation_options_); }

  /// How likely a text is, with the tokenizer's special tokens, and of each place the `top` likeliest tokens.
  TextScore score(Context& context, std::string_view text, Index top = 0) const;
  TextScore score(std::string_view text, Index top = 0) const { return score(default_context(), text, top); }

 private:
  std::vector<TextGeneration> continue_ids(Context& context, std::vector<std::vector<std::int32_t>> prompts,
                                           const GenerationOptions& options, const TextCallback& callback);

  text::Tokenizer tokenizer_;
  Generator generator_;
  GenerationOptions generation_options_;
  text::ChatTemplate chat_template_;
};

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/text_generator.inl>
#endif
