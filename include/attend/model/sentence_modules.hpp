// What sentence-transformers puts behind a model and around its texts: pooling, dense layers, norms, prompts,
// lengths.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <attend/core/location.hpp>
#include <attend/linear.hpp>
#include <attend/norm.hpp>
#include <attend/text/tokenizer.hpp>

namespace attend::inline ATTEND_ABI {

/// Names of sentence-transformers: the first token, the largest value of each dimension, the mean, the sum
/// over the root of the number of tokens, the mean weighted by 1, 2, 3, …, the last token.
enum class PoolingMode { cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken };

/// The states of a text's tokens as one vector: those of the modes, one after the other. Without
/// `include_prompt` the tokens of the prompt do not count.
struct Pooling {
  std::vector<PoolingMode> modes{PoolingMode::mean};  // one behind the other in the vector
  bool include_prompt = true;                         // the tokens of a prompt count
};

/// activation(linear(x)), plus x, or residual(x) where the sizes differ, with `use_residual`.
struct Dense {
  Linear<float> linear;                      // [out, in]
  Activation activation = Activation::tanh;  // of the linear layer
  bool use_residual = false;                 // adds x
  Linear<float> residual = {};               // where the sizes differ

  void parameters(ParameterVisitor<float> visit);
  void parameters(ParameterVisitor<const float> visit) const { detail::const_parameters(*this, visit); }
};

/// To unit length; vectors shorter than 1e-12 are divided by that.
struct Normalize {};

/// A step from the states of tokens to a vector: sentence-transformers calls it a module.
using SentenceModule = std::variant<Pooling, Dense, Norm<float>, Normalize>;

/// How texts become ids.
struct SentenceTextOptions {
  Index max_seq_length = 512;  ///< tokens of a text, special ones included; what is more is cut
  bool truncate_left = false;  ///< cut at the front
  bool pair_types = true;      ///< tokens of the second text of a pair have type 1, where the model has types
  std::map<std::string, std::string> prompts = {};  // by name: what stands in front of a text
  std::string default_prompt_name = {};             ///< empty: none
};

/// The prompt of one call: `prompt` as it is, or that called `prompt_name`, or the default.
struct SentencePrompt {
  std::string prompt_name = {};            // one of the folder's
  std::optional<std::string> prompt = {};  // any text
};

/// Error where the options have no prompt of that name.
std::string find_prompt(const SentenceTextOptions& options, const SentencePrompt& prompt);

namespace detail {

/// A folder of sentence-transformers, or one of transformers alone, as far as it concerns no weights.
struct SentenceFolder {
  struct Module {
    std::string type;  // the name of its class, without the Python modules around it
    Location folder;
  };
  Location transformer;         // where model and tokenizer are
  std::vector<Module> modules;  // behind the transformer
  bool has_modules = false;     // else what follows the transformer is up to who opens it
  SentenceTextOptions text;     // max_seq_length 0: not said
  bool do_lower_case = false;
  std::string similarity_fn_name = "cosine", activation_fn;  // empty: not said
  Index truncate_dim = 0;                                    // 0: all

  /// `kind` is the model_type, `task` the transformer_task, that the folder may have.
  SentenceFolder(const Location& folder, const char* kind, const char* task);

  text::Tokenizer open_tokenizer() const;
  /// `most` is what the model takes.
  SentenceTextOptions text_options(Index most, std::optional<Index> max_length) const;
};

/// The modules behind a transformer whose states have `width` values; width becomes that of the result.
std::vector<SentenceModule> open_modules(const std::vector<SentenceFolder::Module>& modules, Index& width);

/// From the name of a Python class: torch.nn.modules.activation.Tanh.
Activation activation_of_class(const std::string& where, const std::string& name);

/// `x` [texts, N] in place, or into `out` where their widths differ. Returns where the result is.
TensorView<float, 2> apply_module(Context& context, const SentenceModule& module, TensorView<float, 2> x,
                                  TensorView<float, 2> out);
/// states [tokens, E] -> out [texts, E * modes].
void pool(Context& context, const Pooling& pooling, TensorView<const float, 2> states,
          std::span<const Index> offsets, Index prompt_tokens, TensorView<float, 2> out);
/// Values of its result.
Index module_width(const SentenceModule& module, Index width);

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI

#if ATTEND_HAS_MODEL_BODIES
#include <attend/model/sentence_modules.inl>
#endif
