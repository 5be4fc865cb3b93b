// Bodies of quantize.hpp.
#pragma once

#include <cmath>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <attend/core/location.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/causal_lm.hpp>
#include <attend/model/modernbert.hpp>
#include <attend/model/quantize.hpp>
#include <attend/model/seq2seq_families.hpp>

namespace attend::inline ATTEND_ABI {

namespace detail {

/// Compares the parameters of two models, one after the other, row by row.
class QuantizedComparison {
 public:
  template <class Model>
  QuantizedComparison(const Model& given, const Model& kept) {
    given.parameters([&](const std::string&, Parameter<const float> p) { given_.push_back(std::move(p)); });
    kept.parameters([&](const std::string& name, Parameter<const float> p) {
      names_.push_back(name);
      kept_.push_back(std::move(p));
    });
  }
  std::size_t size() const { return names_.size(); }
  QuantizedParameter operator[](std::size_t i) const {
    const FloatEnvironment environment;
    const Parameter<const float>&a = given_[i], &b = kept_[i];
    QuantizedParameter out{names_[i], b.shape(), b.type()};
    const std::size_t size = static_cast<std::size_t>(b.row_size());
    if (out.type != WeightType::float32)
      out.bits = 8.0 * static_cast<double>(kernels_of(out.type).row_bytes(out.type, b.row_size())) /
                 static_cast<double>(size);
    std::vector<float> x(size), y(size);
    double difference = 0, norm = 0;
    for (Index row = 0; row < b.rows() && size > 0; ++row) {
      a.copy_to(row, row + 1, x.data());
      b.copy_to(row, row + 1, y.data());
      for (std::size_t k = 0; k < size; ++k) {
        const double given = static_cast<double>(x[k]), off = static_cast<double>(y[k]) - given;
        difference += off * off, norm += given * given;
      }
    }
    out.error = norm > 0 ? std::sqrt(difference / norm) : 0;
    return out;
  }

 private:
  std::vector<Parameter<const float>> given_, kept_;
  std::vector<std::string> names_;
};

/// What lies below a folder, "a/b" behind "a". Of folders that are links the names alone.
inline void list_below(const Location& folder, const std::string& place, std::vector<std::string>& names) {
  for (const std::string& name : (folder / place).names()) {
    const std::string below = place.empty() ? name : place + '/' + name;
    names.push_back(below);
    std::error_code error;
    if (std::filesystem::is_directory(std::filesystem::symlink_status((folder / below).path(), error)))
      list_below(folder, below, names);
  }
}

template <class Open>
void quantize_with(const std::filesystem::path& file, const OpenOptions& open,
                   FunctionRef<void(const QuantizedParameter&, std::size_t, std::size_t)> report,
                   Open&& model) {
  const auto kept = model(open);
  save(kept, file, kOwnNames);
  const auto given = model(OpenOptions{.weights = WeightType::float32});
  const QuantizedComparison comparison(given, kept);
  for (std::size_t i = 0; i < comparison.size(); ++i) report(comparison[i], i + 1, comparison.size());
}

}  // namespace detail

ATTEND_INLINE void quantize_folder(
    const Location& folder, const std::filesystem::path& out, const OpenOptions& open,
    detail::FunctionRef<void(const QuantizedParameter&, std::size_t, std::size_t)> report) {
  namespace fs = std::filesystem;
  if (folder.in_memory()) throw_error("quantize_folder: ", folder.string(), " are no folder on disk");
  const Config config(folder / "config.json");
  const std::string type = config.get<std::string>("model_type", "bert");
  if (!detail::names_in(out).empty()) throw_error(detail::utf8_text(out), ": has files already");
  std::vector<std::string> names;  // before there is an `out`, which may be one of them
  detail::list_below(folder, "", names);
  std::error_code error;
  const auto throw_if_failed = [&](const fs::path& path) {
    if (error) throw_error(detail::utf8_text(path), ": ", error.message());
  };
  fs::create_directories(out, error);
  throw_if_failed(out);
  for (const std::string& name : names) {
    const fs::path from = (folder / name).path(), to = detail::below(out, name);
    if (detail::type_of(from) == fs::file_type::directory)
      fs::create_directories(to, error);
    else if (name.find('/') != name.npos || !name.starts_with("model") ||
             name.find(".safetensors") == name.npos)
      fs::copy_file(from, to, error);
    throw_if_failed(to);
  }
  const fs::path file = detail::below(out, "model.safetensors");
  if (is_causal_family(type))
    detail::quantize_with(file, open, report,
                          [&](const OpenOptions& o) { return CausalLM<float>::open(folder, o); });
  else if (type == "modernbert")
    detail::quantize_with(file, open, report,
                          [&](const OpenOptions& o) { return ModernBertModel<float>::open(folder, o); });
  else if (config.get<bool>("is_encoder_decoder", false))
    detail::quantize_with(file, open, report,
                          [&](const OpenOptions& o) { return open_seq2seq<float>(folder, o); });
  else
    detail::quantize_with(file, open, report,
                          [&](const OpenOptions& o) { return BertModel<float>::open(folder, o); });
}

}  // namespace attend::inline ATTEND_ABI
