// One self-contained HTML page that shows what each head of an encoder attends to. No scripts, no fetches.
#pragma once

#include <algorithm>
#include <cmath>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <attend/tensor.hpp>

namespace attention_html {

using attend::Index;

/// One sentence on the page.
struct Picture {
  std::vector<std::string> words;                // T
  std::string answer;                            // "positive, 99.8 %"
  std::string note;                              // a line below it; may be empty
  attend::TensorView<const float, 4> attention;  // [layers, heads, T, T]: weight of word k for word q
  Index shown_layer = 0, shown_head = 0;         // the map that is drawn large
};

inline std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

inline std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

/// "soup: bland 98 %, was 1 %": the three words that a row gives most weight.
inline std::string row_tip(const std::vector<std::string>& words, attend::TensorView<const float, 1> weights,
                           Index q) {
  std::vector<Index> order(words.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<Index>(i);
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return weights[a] > weights[b]; });
  std::string tip = words[static_cast<std::size_t>(q)] + ":";
  for (std::size_t i = 0; i < std::min<std::size_t>(3, order.size()); ++i)
    tip += (i > 0 ? ", " : " ") + words[static_cast<std::size_t>(order[i])] + " " +
           std::to_string(std::lround(100 * weights[order[i]])) + " %";
  return tip;
}

/// A map is a table; the shade of a cell is one of 20 classes. Rows are the words that look, columns those
/// looked at.
inline void write_map(std::ostream& out, const Picture& picture, Index layer, Index head, const char* kind) {
  const attend::TensorView<const float, 2> weights = picture.attention[layer][head];
  const Index length = weights.size(0);
  out << "<figure class=\"" << kind << "\"><figcaption>layer " << layer << ", head " << head
      << "</figcaption><table>\n<tr><td>";
  for (const std::string& word : picture.words) out << "<th class=c><span>" << escaped(word) << "</span>";
  out << '\n';
  for (Index q = 0; q < length; ++q) {
    out << "<tr title=\"" << escaped(row_tip(picture.words, weights[q], q)) << "\"><th>"
        << escaped(picture.words[static_cast<std::size_t>(q)]);
    for (Index k = 0; k < length; ++k) {
      const long shade = std::clamp(std::lround(20 * weights(q, k)), 0L, 20L);
      if (shade == 0)
        out << "<td>";
      else
        out << "<td class=s" << shade << '>';
    }
    out << '\n';
  }
  out << "</table></figure>\n";
}

inline constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --ink: #1c2733; --faint: #66717d; --paper: #fff; --card: #f6f8fa; --grid: #e3e7eb; --shade: 16, 78, 139; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --faint: #98a3ae; --paper: #14181d; --card: #1c2229; --grid: #2c343d; --shade: 120, 190, 255; } }
body { margin: 2rem auto; max-width: 88rem; padding: 0 1.5rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 0 0 .2rem; }
p { margin: .2rem 0; max-width: 60rem; } p.note, figcaption { color: var(--faint); }
section { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 1.2rem 1.4rem; margin: 1.4rem 0; overflow-x: auto; }
.maps { display: flex; flex-wrap: wrap; gap: 1.2rem 1.6rem; }
figure { margin: .8rem 0 0; } figcaption { font-size: .85rem; margin-bottom: .3rem; }
table { border-collapse: collapse; }
td { width: var(--cell); height: var(--cell); padding: 0; border: 1px solid var(--grid); }
tr:first-child td { border: 0; }
th { font-weight: 400; font-size: var(--text); text-align: right; padding: 0 .4em 0 0; line-height: 1; white-space: nowrap; }
th.c { vertical-align: bottom; padding: 0 0 .4em; text-align: left; } th.c span { writing-mode: vertical-rl; transform: rotate(180deg); }
tr:hover th:not(.c) { font-weight: 700; }
.large { --cell: 22px; --text: 14px; } .small { --cell: 11px; --text: 10px; }
summary { cursor: pointer; margin-top: .8rem; }
)";

/// Writes the page. Each picture's map [shown_layer, shown_head] is drawn large, and below it those of all
/// heads.
inline void write_page(std::ostream& out, std::string_view title, std::string_view lead,
                       std::span<const Picture> pictures) {
  out << "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      << "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" << escaped(title)
      << "</title>\n<style>" << kStyle;
  for (int shade = 1; shade <= 20; ++shade)
    out << ".s" << shade << "{background:rgba(var(--shade)," << shade / 20.0 << ")}"
        << (shade % 5 == 0 ? "\n" : " ");
  out << "</style>\n</head>\n<body>\n<h1>" << escaped(title) << "</h1>\n<p>" << escaped(lead) << "</p>\n";
  for (const Picture& picture : pictures) {
    out << "<section>\n<h2>" << escaped(joined(picture.words)) << "</h2>\n<p><b>" << escaped(picture.answer)
        << "</b></p>\n";
    if (!picture.note.empty()) out << "<p class=note>" << escaped(picture.note) << "</p>\n";
    write_map(out, picture, picture.shown_layer, picture.shown_head, "large");
    out << "<details open><summary>All layers and heads</summary>\n";
    for (Index layer = 0; layer < picture.attention.size(0); ++layer) {
      out << "<div class=maps>\n";
      for (Index head = 0; head < picture.attention.size(1); ++head)
        write_map(out, picture, layer, head, "small");
      out << "</div>\n";
    }
    out << "</details>\n</section>\n";
  }
  out << "</body>\n</html>\n";
}

}  // namespace attention_html
