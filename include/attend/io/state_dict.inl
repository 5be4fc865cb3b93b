// Bodies of state_dict.hpp.
#pragma once

#include <limits>
#include <string_view>

#include <attend/core/error.hpp>
#include <attend/io/state_dict.hpp>

namespace attend::inline ATTEND_ABI::detail {

ATTEND_INLINE LoadPlan LoadPlanner::plan(const std::string& name, const std::vector<Index>& shape) {
  LoadPlan plan;
  plan.source = options_.names ? options_.names(name) : Source{.names = {name}};
  for (const std::string& part : plan.source.names) {
    const SafeTensors::Entry* found = nullptr;
    const std::vector<std::string> alternatives = expand_alternatives(part);
    for (std::size_t i = 0; i < alternatives.size() && found == nullptr; ++i)
      found = file_.find(prefix_ + alternatives[i]);
    if (found == nullptr) {
      std::string text;
      for (const std::string& alternative : alternatives)
        text += (text.empty() ? "" : " or ") + in_quotes(prefix_ + alternative);
      missing_.push_back(text + " for " + in_quotes(name) + " " + to_string(shape));
      continue;
    }
    used_.insert(found->name);
    plan.entries.push_back(found);
  }
  if (plan.source.names.empty())
    missing_.push_back("a source of " + in_quotes(name) + " " + to_string(shape));
  if (plan.entries.size() == plan.source.names.size() && !plan.entries.empty())
    check_entry(plan, name, shape);
  return plan;
}

ATTEND_INLINE void LoadPlanner::finish() const {
  std::vector<std::string> unexpected;
  for (const SafeTensors::Entry& entry : file_.entries())
    if (options_.strict && entry.name.starts_with(prefix_) && !used_.contains(entry.name) &&
        !is_ignored(entry.name))
      unexpected.push_back(in_quotes(entry.name) + " " + to_string(entry.shape));
  std::string message;
  const auto list = [&](const char* what, const std::vector<std::string>& items) {
    for (std::size_t i = 0; i < items.size(); ++i)
      message += (i > 0 ? ", " : (message.empty() ? "" : "; ") + std::string(what) + " ") + items[i];
  };
  list("missing", missing_);
  list("unexpected", unexpected);
  list("mis-shaped", misshaped_);
  list("unreadable", unreadable_);
  if (!message.empty()) throw_error(file_.path(), ": ", message);
}

ATTEND_INLINE std::string LoadPlanner::choose_prefix(const std::string& prefix) const {
  std::vector<std::string> choices = expand_alternatives(prefix);
  for (std::string& choice : choices)
    if (!choice.empty() && choice.back() != '.') choice += '.';
  for (const std::string& choice : choices)
    if (std::any_of(file_.entries().begin(), file_.entries().end(),
                    [&](const auto& e) { return e.name.starts_with(choice); }))
      return choice;
  return choices.front();
}
ATTEND_INLINE bool LoadPlanner::is_ignored(const std::string& name) const {
  return std::any_of(options_.ignore.begin(), options_.ignore.end(), [&](const std::string& pattern) {
    return match_name_end(pattern, std::string_view(name).substr(prefix_.size()));
  });
}

ATTEND_INLINE void LoadPlanner::check_entry(const LoadPlan& plan, const std::string& name,
                                            const std::vector<Index>& shape) {
  const Source& source = plan.source;
  std::string sources;
  bool fits = source.part >= 0 && source.part < source.parts && (!shape.empty() || source.names.size() == 1);
  Index rows = 0;
  for (const SafeTensors::Entry* entry : plan.entries) {
    if (!is_readable(entry->dtype))
      unreadable_.push_back(in_quotes(entry->name) + " of type " + std::string(to_string(entry->dtype)));
    sources += (sources.empty() ? "" : " + ") + in_quotes(entry->name) + " " + to_string(entry->shape);
    std::vector<Index> turned = entry->shape;
    if (source.transpose) {
      if (turned.size() == 2)
        std::swap(turned[0], turned[1]);
      else
        fits = false;
    }
    fits = fits && turned.size() == shape.size();
    for (std::size_t i = 1; fits && i < shape.size(); ++i) fits = turned[i] == shape[i];
    if (!fits) break;
    const Index more = turned.empty() ? 1 : turned[0];
    fits = more <= (std::numeric_limits<Index>::max)() - rows;
    if (fits) rows += more;
  }
  const Index wanted = shape.empty() ? 1 : shape[0];
  fits = fits && rows % source.parts == 0 && rows / source.parts == wanted;
  if (!fits) {
    misshaped_.push_back(in_quotes(name) + " expected " + to_string(shape) + ", got " + sources +
                         (source.transpose ? " transposed" : "") +
                         (source.parts != 1
                              ? " part " + std::to_string(source.part) + " of " + std::to_string(source.parts)
                              : ""));
    return;
  }
  for (Index i = 0; source.row && i < wanted; ++i) {
    const Index from = source.row(source.part * wanted + i);
    if (from >= 0 && from < rows) continue;
    misshaped_.push_back(in_quotes(name) + " expected a row below " + std::to_string(rows) + ", got " +
                         std::to_string(from) + " of " + sources);
    return;
  }
}

}  // namespace attend::inline ATTEND_ABI::detail
