// Steps as a tokenizer.json writes them.
#pragma once

#include <utility>

#include <attend/text/file.hpp>

namespace attend::inline ATTEND_ABI::text::detail {

inline Json replace(const char* kind, const char* what, const char* by) {
  return {{"type", "Replace"}, {"pattern", {{kind, what}}}, {"content", by}};
}
/// `steps`, then one blank for several.
inline Json single_blanks(Json steps) {
  steps.push_back(replace("Regex", " {2,}", " "));
  return {{"type", "Sequence"}, {"normalizers", steps}};
}
inline Json metaspace(const char* scheme, bool split = true) {
  return {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", scheme}, {"split", split}};
}

inline Json blanks_and_bytes() {
  return Json::array({{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
                      {{"type", "ByteFallback"}},
                      {{"type", "Fuse"}}});
}

}  // namespace attend::inline ATTEND_ABI::text::detail
