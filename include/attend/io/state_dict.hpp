// Loads, saves and counts the parameters of any layer, through its `parameters(visitor)`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <attend/core/error.hpp>
#include <attend/core/parameter.hpp>
#include <attend/core/shape.hpp>
#include <attend/io/name_map.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/io/safetensors_writer.hpp>

namespace attend::inline ATTEND_ABI {

struct LoadOptions {
  /// A tensor under the prefix that no parameter takes is an error.
  bool strict = true;
  /// Tensors that may be left over all the same; a pattern matches the end of a name: "position_ids".
  std::vector<std::string> ignore = {};
  /// From the layer's name of a parameter to what it is made of, without the prefix; empty: the name itself.
  std::function<Source(const std::string&)> names = {};
};

namespace detail {

/// Rows move between file and layer in blocks of this many bytes, so that no second copy of a tensor exists.
inline constexpr std::size_t kBlockBytes = std::size_t{256} << 10;

inline Index block_rows(Index rows, Index row_size, std::size_t element_size) {
  const std::size_t row_bytes = static_cast<std::size_t>(row_size) * element_size;
  return std::clamp<Index>(static_cast<Index>(kBlockBytes / std::max<std::size_t>(row_bytes, 1)), 1,
                           std::max<Index>(rows, 1));
}

/// What one parameter is loaded from, found and checked before anything is assigned.
struct LoadPlan {
  Source source;
  std::vector<const SafeTensors::Entry*> entries;

  /// Rows that an entry contributes.
  Index rows_of(const SafeTensors::Entry& entry) const {
    return source.transpose ? entry.shape[1] : entry.rows();
  }
};

class LoadPlanner {
 public:
  LoadPlanner(const SafeTensors& file, const std::string& prefix, const LoadOptions& options)
      : file_(file), options_(options), prefix_(choose_prefix(prefix)) {}

  LoadPlan plan(const std::string& name, const std::vector<Index>& shape) {
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

  /// Throws what was found wrong, all at once.
  void finish() const {
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

 private:
  std::string choose_prefix(const std::string& prefix) const {
    std::vector<std::string> choices = expand_alternatives(prefix);
    for (std::string& choice : choices)
      if (!choice.empty() && choice.back() != '.') choice += '.';
    for (const std::string& choice : choices)
      if (std::any_of(file_.entries().begin(), file_.entries().end(),
                      [&](const auto& e) { return e.name.starts_with(choice); }))
        return choice;
    return choices.front();
  }
  bool is_ignored(const std::string& name) const {
    return std::any_of(options_.ignore.begin(), options_.ignore.end(), [&](const std::string& pattern) {
      return match_name_end(pattern, std::string_view(name).substr(prefix_.size()));
    });
  }

  void check_entry(const LoadPlan& plan, const std::string& name, const std::vector<Index>& shape) {
    const Source& source = plan.source;
    std::string sources;
    bool fits =
        source.part >= 0 && source.part < source.parts && (!shape.empty() || source.names.size() == 1);
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
      misshaped_.push_back(
          in_quotes(name) + " expected " + to_string(shape) + ", got " + sources +
          (source.transpose ? " transposed" : "") +
          (source.parts != 1 ? " part " + std::to_string(source.part) + " of " + std::to_string(source.parts)
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

  const SafeTensors& file_;
  const LoadOptions& options_;
  std::string prefix_;
  std::set<std::string, std::less<>> used_;
  std::vector<std::string> missing_, misshaped_, unreadable_;
};

/// Gives rows [begin, end) of one tensor, or of its transpose.
template <class Scalar>
void read_source_rows(const SafeTensors& file, const SafeTensors::Entry& entry, bool transpose, Index begin,
                      Index end, Scalar* out) {
  if (!transpose) return file.read_rows(entry, begin, end, out);
  const Index inputs = entry.shape[0], outputs = entry.shape[1];
  std::vector<Scalar> piece(static_cast<std::size_t>(end - begin));
  for (Index k = 0; k < inputs; ++k) {
    file.read_elements(entry, k * outputs + begin, end - begin, piece.data());
    for (std::size_t j = 0; j < piece.size(); ++j) out[static_cast<Index>(j) * inputs + k] = piece[j];
  }
}

template <class Scalar>
void assign_planned(const SafeTensors& file, const LoadPlan& plan, Parameter<Scalar> parameter) {
  if (parameter.numel() == 0) return;
  const Source& source = plan.source;
  const Index rows = parameter.rows(), row_size = parameter.row_size();
  Index block = block_rows(rows, row_size, sizeof(Scalar));
  if (source.transpose)
    block = (std::min)(rows, std::max<Index>(block, 64));  // each block walks the whole tensor
  const auto source_row = [&](Index i) {
    const Index whole = source.part * rows + i;
    return source.row ? source.row(whole) : whole;
  };
  std::vector<Scalar> values(static_cast<std::size_t>(block * row_size));
  for (Index begin = 0; begin < rows; begin += block) {
    const Index end = (std::min)(rows, begin + block);
    for (Index i = begin; i < end;) {
      // As many rows as follow each other in one tensor.
      const Index row = source_row(i);
      Index first = row;
      std::size_t e = 0;
      while (first >= plan.rows_of(*plan.entries[e])) first -= plan.rows_of(*plan.entries[e++]);
      const Index limit = (std::min)(end - i, plan.rows_of(*plan.entries[e]) - first);
      Index count = 1;
      while (count < limit && source_row(i + count) == row + count) ++count;
      read_source_rows(file, *plan.entries[e], source.transpose, first, first + count,
                       values.data() + (i - begin) * row_size);
      // As each block is read, so that a large table is never there twice.
      if (!source.transpose) file.release_rows(*plan.entries[e], first, first + count);
      i += count;
    }
    if (source.add != 0)
      for (Scalar& value : values) value += static_cast<Scalar>(source.add);
    parameter.assign(begin, end, values.data());
  }
  for (const SafeTensors::Entry* entry : plan.entries) file.release(*entry);
}

}  // namespace detail

/// Sets every parameter of a layer or model from the tensors of a file whose names begin with `prefix` and a
/// dot ("(bert|)": with "bert." where the file has such names, else without). Missing, unexpected and
/// mis-shaped tensors are all named in one error, and then nothing has been assigned. Values are converted to
/// the layer's scalar piece by piece, and the file's pages are given back.
template <class Layer>
void load(Layer& layer, const SafeTensors& file, const std::string& prefix = "",
          const LoadOptions& options = {}) {
  detail::LoadPlanner planner(file, prefix, options);
  std::vector<detail::LoadPlan> plans;
  auto plan = [&](const std::string& name, const auto& parameter) {
    plans.push_back(planner.plan(name, parameter.shape()));
  };
  layer.parameters(plan);
  planner.finish();
  std::size_t next = 0;
  auto assign = [&](const std::string&, auto parameter) {
    detail::assign_planned(file, plans[next++], std::move(parameter));
  };
  layer.parameters(assign);
}

/// Saves every parameter under its own name, in the layer's scalar. The file replaces an older one when it is
/// complete.
template <class Layer>
void save(const Layer& layer, const std::filesystem::path& path, const Metadata& metadata = {}) {
  // `parameters` hands out what can be written; only its reading half is used here.
  Layer& source = const_cast<Layer&>(layer);
  std::vector<SafeTensorsWriter::Info> infos;
  auto describe = [&]<class Scalar>(const std::string& name, const Parameter<Scalar>& parameter) {
    infos.push_back({name, dtype_of<Scalar>(), parameter.shape()});
  };
  source.parameters(describe);
  SafeTensorsWriter writer(path, infos, metadata);
  auto write = [&]<class Scalar>(const std::string&, const Parameter<Scalar>& parameter) {
    if (parameter.numel() == 0) return;
    const Index rows = parameter.rows(), row_size = parameter.row_size();
    const Index block = detail::block_rows(rows, row_size, sizeof(Scalar));
    std::vector<Scalar> values(static_cast<std::size_t>(block * row_size));
    for (Index begin = 0; begin < rows; begin += block) {
      const Index end = (std::min)(rows, begin + block);
      parameter.copy_to(begin, end, values.data());
      writer.write(
          std::as_bytes(std::span(values).first(static_cast<std::size_t>((end - begin) * row_size))));
    }
  };
  source.parameters(write);
  writer.commit();
}

/// Number of parameters; one that is handed out under several names counts each time.
template <class Layer>
Index count_parameters(const Layer& layer) {
  Index count = 0;
  auto add = [&](const std::string&, const auto& parameter) { count += parameter.numel(); };
  const_cast<Layer&>(layer).parameters(add);  // as in save
  return count;
}

}  // namespace attend::inline ATTEND_ABI
