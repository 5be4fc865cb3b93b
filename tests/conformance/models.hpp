// A model folder: config.json and weights, with inputs and outputs of transformers in expected.safetensors.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <attend/model/bert.hpp>
#include <attend/model/generation.hpp>
#include <attend/model/modernbert.hpp>
#include <attend/model/seq2seq_families.hpp>
#include <attend/model/translator.hpp>

#include "run.hpp"

namespace conformance::models {

using namespace attend;

/// Inputs of a folder. Rows are padded on the right, as attention_mask says; padding is not compared.
struct Inputs {
  SafeTensors expected;
  Tensor<std::int32_t, 2> ids;       // [B, T]
  Tensor<std::int32_t, 2> mask;      // [B, T]
  std::vector<Index> lengths;        // [B]
  std::vector<std::int32_t> packed;  // ids without padding
  std::vector<Index> offsets{0};     // of each row in them
  Tolerance tolerance{};

  explicit Inputs(const fs::path& folder)
      : expected((folder / "expected.safetensors").string()),
        ids(expected.read<std::int32_t, 2>("input_ids")),
        mask(ids.shape(), 1) {
    if (expected.contains("attention_mask")) mask = expected.read<std::int32_t, 2>("attention_mask");
    for (Index b = 0; b < ids.size(0); ++b) {
      Index n = 0;
      while (n < ids.size(1) && mask(b, n) != 0) packed.push_back(ids(b, n++));
      for (Index t = n; t < ids.size(1); ++t)
        if (mask(b, t) != 0) throw Skip{"padding that is not on the right"};
      lengths.push_back(n);
      offsets.push_back(static_cast<Index>(packed.size()));
    }
    const Json about = read_json(folder / "about.json");
    tolerance = {std::max(2e-6, 4 * about.at("float32_max_abs_difference").get<double>()), 0};
  }

  /// Compares a [B, T, N] with an expected tensor, rows of padding left out.
  std::string check(const char* name, TensorView<const float, 3> got) const {
    const Tensor<double, 3> want = expected.read<double, 3>(name);
    if (got.shape() != want.shape())
      return std::string(name) + ": expected " + to_string(want.shape()) + ", got " + to_string(got.shape());
    std::vector<float> some;
    std::vector<double> of;
    for (Index b = 0; b < got.size(0); ++b)
      for (Index t = 0; t < got.size(1); ++t) {
        if (got.size(1) == mask.size(1) && mask(b, t) == 0) continue;
        for (Index n = 0; n < got.size(2); ++n) some.push_back(got(b, t, n)), of.push_back(want(b, t, n));
      }
    return with_name(name, compare<float>(some, of, tolerance));
  }
  /// Compares rows of packed tokens [tokens, N], or one row for each text [B, N].
  std::string check_packed(const char* name, TensorView<const float, 2> got) const {
    if (expected.at(name).shape.size() == 2) {
      const Tensor<double, 2> want = expected.read<double, 2>(name);
      const Tensor<float, 2> copy(got);
      return with_name(name,
                       compare<float>(copy.span(), {want.span().begin(), want.span().end()}, tolerance));
    }
    Tensor<float, 3> padded({ids.size(0), ids.size(1), got.size(1)});
    for (std::size_t b = 0; b < lengths.size(); ++b)
      copy(got.slice(0, offsets[b], offsets[b + 1]),
           padded.view()[static_cast<Index>(b)].slice(0, 0, lengths[b]));
    return check(name, padded);
  }
  /// Compares generated ids; row 0 of `name` is what comes before, then they.
  std::string check_ids(const char* name, const std::vector<std::int32_t>& got) const {
    const Tensor<std::int32_t, 2> want = expected.read<std::int32_t, 2>(name);
    return std::equal(got.begin(), got.end(), want.span().begin(), want.span().end())
               ? ""
               : std::string(name) + ": other ids than expected";
  }

 private:
  static std::string with_name(const char* name, const std::string& problem) {
    return problem.empty() ? problem : std::string(name) + ": " + problem;
  }
};

/// Greedy and beam-searched ids, end tokens ignored.
template <class Generate>
std::string check_generation(const Inputs& inputs, std::vector<std::int32_t> before, Generate&& generate) {
  for (const auto& [name, beams] : {std::pair{"greedy", 1}, {"beam4", 4}}) {
    if (!inputs.expected.contains(name)) continue;
    GenerationOptions options{
        .max_new_tokens = inputs.expected.at(name).shape.at(1) - static_cast<Index>(before.size()),
        .num_beams = beams};
    options.eos_token_ids = std::vector<std::int32_t>{};
    std::vector<std::int32_t> ids = before;
    const std::vector<std::int32_t> more = generate(options);
    ids.insert(ids.end(), more.begin(), more.end());
    if (const std::string problem = inputs.check_ids(name, ids); !problem.empty()) return problem;
  }
  return {};
}

/// open(), or a skip where it says that the kind of model is not supported.
template <class Open>
auto opened(Open&& open) {
  try {
    return open();
  } catch (const Error& error) {
    const std::string text = error.what();
    if (text.find("model_type") != std::string::npos && text.find("supported") != std::string::npos)
      throw Skip{text};
    throw;
  }
}

inline std::string run_folder(const fs::path& folder) {
  const Inputs inputs(folder);
  Context context(2);
  const Config config(folder / "config.json");
  const std::string type = config.get<std::string>("model_type");
  const std::string kind = read_json(folder / "about.json").at("kind").get<std::string>();
  const std::vector<std::int32_t> first(inputs.ids.data(), inputs.ids.data() + inputs.lengths.at(0));
  if (kind == "decoder") {
    auto model =
        std::make_shared<const CausalLM<float>>(opened([&] { return CausalLM<float>::open(folder); }));
    if (std::string problem = inputs.check("logits", model->logits(context, inputs.ids)); !problem.empty())
      return problem;
    return check_generation(inputs, first, [&](const GenerationOptions& options) {
      return Generator(model).generate(context, first, options).ids;
    });
  }
  if (kind == "seq2seq") {
    const auto model = opened([&] { return open_seq2seq<float>(folder); });
    const Tensor<float, 3> states = model.encode(context, inputs.ids, inputs.lengths);
    if (std::string problem = inputs.check("encoder_last_hidden_state", states); !problem.empty())
      return problem;
    DecoderCache<float> cache = model.make_cache(context, states, inputs.lengths);
    const Tensor<float, 3> logits =
        model.decode(context, inputs.expected.read<std::int32_t, 2>("decoder_input_ids"), cache);
    if (std::string problem = inputs.check("logits", logits); !problem.empty()) return problem;
    return check_generation(
        inputs, {model.options().decoder_start_token_id},
        [&](const GenerationOptions& options) { return generate(context, model, first, options); });
  }
  if (kind != "encoder" && kind != "classifier") throw Skip{"models of kind '" + kind + "' are not run"};
  Tensor<float, 2> states;
  const auto run = [&](const auto& model) {
    states = Tensor<float, 2>({static_cast<Index>(inputs.packed.size()), model.options().hidden_size});
    if constexpr (requires { model.forward(context, inputs.packed, inputs.offsets, states); })
      model.forward(context, inputs.packed, inputs.offsets, states);
    else
      model.forward(context, inputs.packed, {}, inputs.offsets, states);
  };
  if (type == "modernbert") {
    const auto model = ModernBertModel<float>::open(folder);
    if (inputs.expected.contains("logits"))
      return inputs.check_packed("logits", model.logits(context, inputs.packed, inputs.offsets));
    run(model);
  } else {
    const auto model = opened([&] { return BertModel<float>::open(folder); });
    if (inputs.expected.contains("logits"))
      return inputs.check_packed("logits", model.logits(context, inputs.packed, {}, inputs.offsets));
    run(model);
  }
  return inputs.check_packed("last_hidden_state", states);
}

}  // namespace conformance::models
