// The "pre_tokenizer" of tokenizer.json: cuts normalised text into words, which the model then cuts further.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/text/byte_level.hpp>
#include <attend/text/file.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/wordpiece.hpp>

namespace attend::inline ATTEND_ABI::text {

/// A piece of the text on its way to the model; `first` if it is how the user's text begins.
struct Piece {
  AlignedText text;  // what it is now
  bool first;        // whether the text begins with it
};

/// Cuts (and rewrites) pieces. An empty function leaves them as they are.
using PreTokenizer = std::function<void(std::vector<Piece>&)>;

namespace detail {

/// A stretch of text that is a separator (`match`) or lies between two.
struct Span {
  std::size_t begin, end;
  bool match;
};

/// What becomes of separators.
enum class Separator { removed, isolated, merged_with_previous, merged_with_next, contiguous };

inline Separator read_separator(const Part& part) {
  const std::string name = part.string("behavior");
  if (name == "Removed") return Separator::removed;
  if (name == "Isolated") return Separator::isolated;
  if (name == "MergedWithPrevious") return Separator::merged_with_previous;
  if (name == "MergedWithNext") return Separator::merged_with_next;
  if (name == "Contiguous") return Separator::contiguous;
  part.error("unknown behavior \"" + name + '"');
}

inline std::vector<Span> join(std::vector<Span> spans, Separator separator) {
  std::vector<Span> out;
  bool before = false;  // was the last span a match?
  if (separator == Separator::removed) {
    std::erase_if(spans, [](const Span& s) { return s.match; });
  } else if (separator == Separator::merged_with_next) {
    for (auto s = spans.rbegin(); s != spans.rend(); ++s) {
      if (s->match && !before && !out.empty())
        out.back().begin = s->begin;
      else
        out.push_back(*s);
      before = s->match;
    }
    std::reverse(out.begin(), out.end());
    return out;
  } else if (separator != Separator::isolated) {
    for (const Span& s : spans) {
      const bool merge = separator == Separator::contiguous ? s.match == before : s.match && !before;
      if (merge && !out.empty())
        out.back().end = s.end;
      else
        out.push_back(s);
      before = s.match;
    }
    return out;
  }
  return spans;
}

/// Cuts each piece at the matches that for_each_match(text, f(begin, end)) reports.
template <class Matcher>
void split(std::vector<Piece>& pieces, Matcher for_each_match, Separator separator, bool invert = false) {
  std::vector<Piece> out;
  for (Piece& piece : pieces) {
    std::vector<Span> spans;
    std::size_t done = 0;
    for_each_match(std::string_view(piece.text.bytes), [&](std::size_t begin, std::size_t end) {
      if (done < begin) spans.push_back({done, begin, invert});
      spans.push_back({begin, end, !invert});
      done = end;
    });
    if (const std::size_t size = piece.text.bytes.size(); done < size) spans.push_back({done, size, invert});
    for (const Span& s : join(std::move(spans), separator))
      if (s.begin < s.end) out.push_back({piece.text.slice(s.begin, s.end), piece.first && s.begin == 0});
  }
  pieces = std::move(out);
}

/// A matcher for each single character for which is(c) holds.
template <class Is>
auto each_character(Is is) {
  return [is](std::string_view text, auto&& f) {
    std::size_t at = 0;
    for_each_code_point(text, [&](char32_t c, std::string_view bytes) {
      if (is(c)) f(at, at + bytes.size());
      at += bytes.size();
    });
  };
}

/// The runs of `\w`, and of what is neither that nor white space.
inline constexpr auto each_word = [](std::string_view text, auto&& f) {
  enum Kind { space, word, other };
  Kind before = space;
  std::size_t begin = 0, at = 0;
  for_each_code_point(text, [&](char32_t c, std::string_view bytes) {
    const Kind kind = is_white_space(c) ? space : is_word(c) ? word : other;
    if (kind != before) {
      if (before != space) f(begin, at);
      begin = at;
      before = kind;
    }
    at += bytes.size();
  });
  if (before != space) f(begin, at);
};

struct Metaspace {
  std::string replacement;
  enum { always, never, first } prepend = always;
  bool split_words = true;

  explicit Metaspace(const Part& part) {
    part.allow({"replacement", "str_rep", "add_prefix_space", "prepend_scheme", "split"});
    replacement = part.string("replacement");
    if (count_code_points(replacement) != 1) part.error("\"replacement\" is not one character");
    const std::string scheme =
        part.string("prepend_scheme", part.boolean("add_prefix_space", true) ? "always" : "never");
    if (scheme != "always" && scheme != "never" && scheme != "first")
      part.error("unknown prepend_scheme \"" + scheme + '"');
    prepend = scheme == "always" ? always : scheme == "never" ? never : first;
    split_words = part.boolean("split", true);
  }

  void operator()(std::vector<Piece>& pieces) const {
    for (Piece& piece : pieces) {
      piece.text.replace(' ', replacement);
      const bool wanted = prepend == always || (prepend == first && piece.first);
      if (wanted && !piece.text.bytes.starts_with(replacement)) piece.text.prepend(replacement);
    }
    const auto matches = [&](std::string_view text, auto&& f) {
      for (std::size_t at = 0; (at = text.find(replacement, at)) != std::string_view::npos;
           at += replacement.size())
        f(at, at + replacement.size());
    };
    if (split_words) split(pieces, matches, Separator::merged_with_next);
  }
};

inline PreTokenizer read_byte_level(const Part& part) {
  part.allow({"add_prefix_space", "trim_offsets", "use_regex"});
  const bool prefix_space = part.boolean("add_prefix_space", true),
             use_regex = part.boolean("use_regex", true);
  static const Regex regex(gpt2_pattern, "ByteLevel");
  return [=](std::vector<Piece>& pieces) {
    if (prefix_space)
      for (Piece& piece : pieces)
        if (!piece.text.bytes.starts_with(' ')) piece.text.prepend(" ");
    if (use_regex)
      split(
          pieces, [](std::string_view text, auto&& f) { regex.for_each_match(text, f); },
          Separator::isolated);
    for (Piece& piece : pieces) byte_level(piece.text);
  };
}

inline std::size_t total_size(const std::vector<Piece>& pieces) {
  std::size_t size = 0;
  for (const Piece& piece : pieces) size += piece.text.bytes.size();
  return size;
}

inline PreTokenizer read_pre_tokenizer_step(const Part& part) {
  const std::string type = part.string("type");
  const auto cut = [](auto matcher, Separator separator, bool invert = false) -> PreTokenizer {
    return [=](std::vector<Piece>& pieces) { split(pieces, matcher, separator, invert); };
  };
  const auto plain = [&](PreTokenizer step) {
    part.allow({});
    return step;
  };
  if (type == "Sequence") {
    part.allow({"pretokenizers"});
    std::vector<PreTokenizer> steps;
    for (std::size_t i = 0; i < part.array("pretokenizers").size(); ++i)
      steps.push_back(read_pre_tokenizer_step(part.element("pretokenizers", i)));
    return [steps](std::vector<Piece>& pieces) {
      const std::size_t limit = growth_limit(total_size(pieces));
      for (const PreTokenizer& step : steps) {
        step(pieces);
        Normalizer::check_growth(total_size(pieces), limit);
      }
    };
  }
  if (type == "ByteLevel") return read_byte_level(part);
  if (type == "Metaspace") return Metaspace(part);
  if (type == "BertPreTokenizer")
    return plain([](std::vector<Piece>& pieces) {
      split(pieces, each_character(is_white_space), Separator::removed);
      split(pieces, each_character(is_punctuation), Separator::isolated);
    });
  if (type == "Whitespace") return plain(cut(each_word, Separator::removed, true));
  if (type == "WhitespaceSplit") return plain(cut(each_character(is_white_space), Separator::removed));
  if (type == "Digits") {
    part.allow({"individual_digits"});
    return cut(each_character(is_numeric),
               part.boolean("individual_digits", false) ? Separator::isolated : Separator::contiguous);
  }
  if (type == "Punctuation") {
    part.allow({"behavior"});
    return cut(each_character(is_punctuation),
               part.has("behavior") ? read_separator(part) : Separator::isolated);
  }
  if (type == "CharDelimiterSplit") {
    part.allow({"delimiter"});
    const std::string delimiter = part.string("delimiter");
    if (count_code_points(delimiter) != 1) part.error("\"delimiter\" is not one character");
    const char32_t wanted = decode_utf8(delimiter, 0).value;
    return cut(each_character([=](char32_t c) { return c == wanted; }), Separator::removed);
  }
  if (type == "Split") {
    part.allow({"pattern", "behavior", "invert"});
    return cut([pattern = Pattern(part.object("pattern"))](std::string_view text,
                                                           auto&& f) { pattern.for_each_match(text, f); },
               read_separator(part), part.boolean("invert", false));
  }
  part.error("unknown pre-tokenizer \"" + type + '"');
}

inline PreTokenizer read_pre_tokenizer(const Part& part) {
  check_steps(part, "pretokenizers");
  return read_pre_tokenizer_step(part);
}

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI::text
