// Loads, saves and counts the parameters of any layer, through its `parameters(visitor)`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <attend/core/parameter.hpp>
#include <attend/core/shape.hpp>
#include <attend/core/threads.hpp>
#include <attend/io/name_map.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/io/safetensors_writer.hpp>

namespace attend::inline ATTEND_ABI {

/// Of load: what may be left over, and what tensors are called.
struct LoadOptions {
  /// A tensor under the prefix that no parameter takes is an error.
  bool strict = true;
  /// Tensors that may be left over all the same; a pattern matches the end of a name: "position_ids".
  std::vector<std::string> ignore = {};
  /// From the layer's name of a parameter to what it is made of, without the prefix; empty: the name itself.
  std::function<Source(const std::string&)> names = {};
  /// Called after each parameter with how many numbers of how many the layer has by now.
  std::function<void(Index done, Index all)> progress = {};
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

  LoadPlan plan(const std::string& name, const std::vector<Index>& shape);

  /// Throws what was found wrong, all at once.
  void finish() const;

 private:
  std::string choose_prefix(const std::string& prefix) const;
  bool is_ignored(const std::string& name) const;
  void check_entry(const LoadPlan& plan, const std::string& name, const std::vector<Index>& shape);

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
  // Rows that are encoded as the parameter keeps them go in as they are.
  const bool as_is =
      parameter.type() != WeightType::float32 && !source.transpose && source.add == 0 &&
      std::all_of(plan.entries.begin(), plan.entries.end(),
                  [&](const SafeTensors::Entry* entry) { return entry->type() == parameter.type(); });
  const std::size_t row_bytes =
      as_is ? kernels_of(parameter.type()).row_bytes(parameter.type(), row_size) : 0;
  std::vector<std::byte, Allocator<std::byte>> encoded(static_cast<std::size_t>(block) * row_bytes);
  std::vector<Scalar, Allocator<Scalar>> values(static_cast<std::size_t>(as_is ? 0 : block * row_size));
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
      if (as_is)
        std::copy_n(plan.entries[e]->data + static_cast<std::size_t>(first) * row_bytes,
                    static_cast<std::size_t>(count) * row_bytes,
                    encoded.data() + static_cast<std::size_t>(i - begin) * row_bytes);
      else
        read_source_rows(file, *plan.entries[e], source.transpose, first, first + count,
                         values.data() + (i - begin) * row_size);
      // As each block is read, so that a large table is never there twice; but not row by row.
      if (!source.transpose && !source.row) file.release_rows(*plan.entries[e], first, first + count);
      i += count;
    }
    if (source.add != 0)
      for (Scalar& value : values) value += static_cast<Scalar>(source.add);
    if (as_is)
      parameter.assign_encoded(begin, end, encoded.data());
    else
      parameter.assign(begin, end, values.data());
  }
  for (const SafeTensors::Entry* entry : plan.entries) file.release(*entry);
}

/// f(), whose errors name the file and the parameter.
template <class F>
void naming([[maybe_unused]] const SafeTensors& file, [[maybe_unused]] const std::string& name, F&& f) {
#if defined(__cpp_exceptions)
  try {
    return f();
  } catch (const Error& error) {
    throw_error(file.path(), ": ", in_quotes(name), ": ", error.what());
  }
#else
  f();
#endif
}

/// The type of a file of 16-bit floats.
inline DType dtype_of(WeightType type) { return type == WeightType::bfloat16 ? DType::BF16 : DType::F16; }

}  // namespace detail

/// Sets every parameter of a layer or model from the tensors of a file whose names begin with `prefix` and a
/// dot ("(bert|)": with "bert." where the file has such names, else without). Missing, unexpected and
/// mis-shaped tensors are all named in one error, and then nothing has been assigned. Values are converted to
/// the layer's scalar piece by piece, and the file's pages are given back.
template <class Layer>
void load(Layer& layer, const SafeTensors& file, const std::string& prefix = "",
          const LoadOptions& options = {}) {
  const detail::FloatEnvironment environment;
  detail::LoadPlanner planner(file, prefix, options);
  std::vector<detail::LoadPlan> plans;
  Index done = 0, all = 0;
  auto plan = [&](const std::string& name, const auto& parameter) {
    plans.push_back(planner.plan(name, parameter.shape()));
    all += parameter.numel();
  };
  layer.parameters(plan);
  planner.finish();
  std::size_t next = 0;
  auto assign = [&](const std::string& name, auto parameter) {
    done += parameter.numel();
    detail::naming(file, name, [&] { detail::assign_planned(file, plans[next++], std::move(parameter)); });
    if (options.progress) options.progress(done, all);
  };
  layer.parameters(assign);
}

/// Saves every parameter under its own name, in the layer's scalar, or as it is kept: bfloat16 and float16 as
/// BF16 and F16; int8 and int4 as rows of U8 [N, bytes], each GGUF's blocks of Q8_0 and Q4_0 (the last one
/// filled with codes of 0), of which the metadata says "encoding.NAME": "int8 [N, K]". The file replaces an
/// older one when it is complete.
template <class Layer>
void save(const Layer& layer, const std::filesystem::path& path, Metadata metadata = {}) {
  std::vector<SafeTensorsWriter::Info> infos;
  layer.parameters([&]<class Scalar>(const std::string& name, const Parameter<const Scalar>& parameter) {
    const WeightType type = parameter.type();
    if (type != WeightType::int8 && type != WeightType::int4) {
      infos.push_back({name, type == WeightType::float32 ? dtype_of<Scalar>() : detail::dtype_of(type),
                       parameter.shape()});
      return;
    }
    const std::size_t row = detail::kernels_of(type).row_bytes(type, parameter.row_size());
    infos.push_back({name, DType::U8, {parameter.rows(), static_cast<Index>(row)}});
    metadata["encoding." + name] = std::string(to_string(type)) + " " + to_string(parameter.shape());
  });
  SafeTensorsWriter writer(path, infos, metadata);
  layer.parameters([&]<class Scalar>(const std::string&, const Parameter<const Scalar>& parameter) {
    if (parameter.numel() == 0) return;
    const Index rows = parameter.rows(), row_size = parameter.row_size();
    const Index block = detail::block_rows(rows, row_size, sizeof(Scalar));
    const WeightType type = parameter.type();
    const std::size_t row_bytes =
        type == WeightType::float32 ? 0 : detail::kernels_of(type).row_bytes(type, row_size);
    std::vector<std::byte> encoded(static_cast<std::size_t>(block) * row_bytes);
    std::vector<Scalar> values(static_cast<std::size_t>(row_bytes > 0 ? 0 : block * row_size));
    for (Index begin = 0; begin < rows; begin += block) {
      const Index end = (std::min)(rows, begin + block);
      if (row_bytes > 0) {
        parameter.copy_encoded(begin, end, encoded.data());
        writer.write(std::span(encoded).first(static_cast<std::size_t>(end - begin) * row_bytes));
        continue;
      }
      parameter.copy_to(begin, end, values.data());
      writer.write(
          std::as_bytes(std::span(values).first(static_cast<std::size_t>((end - begin) * row_size))));
    }
  });
  writer.commit();
}

/// Number of parameters; one that is handed out under several names counts each time.
template <class Layer>
Index count_parameters(const Layer& layer) {
  Index count = 0;
  layer.parameters([&](const std::string&, const auto& parameter) { count += parameter.numel(); });
  return count;
}

}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/io/state_dict.inl>
#endif
