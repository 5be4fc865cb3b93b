// What an attention call may give besides its output: log-sum-exp, weights, scores, and a look into the
// weights that needs no T × T matrix.
#pragma once

#include <initializer_list>

#include <attend/attention_options.hpp>
#include <attend/core/function_ref.hpp>
#include <attend/introspection.hpp>
#include <attend/rows.hpp>
#include <attend/tensor.hpp>

namespace attend::inline ATTEND_ABI {

/// What a score has been through where it is given out: scaled; soft capped; modified and masked (-inf).
enum class ScoreStage { scaled, softcapped, masked };

/// Views that a call fills; empty ones are left out.
template <class Scalar>
struct AttentionOutputs {
  TensorView<Scalar, 3> log_sum_exp =
      {};                              // [B, H, Tq]: log of the sum of exp(score); -inf if nothing is seen
  TensorView<Scalar, 4> weights = {};  // [B, H, Tq, Tk]: the attention weights
  TensorView<Scalar, 4> scores = {};   // [B, H, Tq, Tk]: the scores at a stage
  ScoreStage scores_stage = ScoreStage::masked;  // which scores those are
  TensorView<Scalar, 3> average_weights =
      {};                                    // [B, Tq, Tk]: their average over the heads (MultiHeadAttention)
  Introspection<Scalar> introspection = {};  // sums that need no weights to be kept

  /// Whether anything is wanted.
  bool any() const {
    return log_sum_exp.data() != nullptr || weights.data() != nullptr || scores.data() != nullptr ||
           average_weights.data() != nullptr || introspection.any();
  }
};

namespace detail {

/// Of calls that give nothing besides: made once, not in every call.
template <class Scalar>
inline const AttentionOutputs<Scalar> no_outputs = {};

/// Error where what the call writes, a view or its Layout, has numbers of its mask in it, or its sinks.
template <class Scalar, class Written>
void check_apart_from_options(const Context& context, const char* who, const AttentionOptions<Scalar>& o,
                              const char* name, const Written& written) {
  if ((!o.mask.adds() && o.sinks.empty()) || context.measuring()) return;
  const Operand operand{name, Layout(written)};
  if (o.mask.overlaps(operand.layout)) fail_overlap(who, name, "the mask");
  const TensorView<const Scalar, 1> sinks(o.sinks.data(), {static_cast<Index>(o.sinks.size())});
  check_apart(context, who, operand, {{"sinks", sinks}});
}
/// f(Operand) of each output that is wanted.
template <class Scalar>
ATTEND_COLD void for_each_output(const AttentionOutputs<Scalar>& o, FunctionRef<void(const Operand&)> f) {
  const Introspection<Scalar>& look = o.introspection;
  for (const Operand& output :
       {Operand{"log_sum_exp", o.log_sum_exp}, Operand{"weights", o.weights}, Operand{"scores", o.scores},
        Operand{"average_weights", o.average_weights}, Operand{"key_totals", look.key_totals},
        Operand{"entropy", look.entropy}, Operand{"top_keys", look.top_keys},
        Operand{"top_weights", look.top_weights}, Operand{"row_weights", look.row_weights}})
    if (output.layout.data != nullptr) f(output);
}
/// Error where outputs of two attentions share an element.
template <class Scalar>
ATTEND_COLD void check_outputs_apart(const Context& context, const char* who,
                                     const AttentionOutputs<Scalar>& a, const AttentionOutputs<Scalar>& b) {
  for_each_output(a, [&](const Operand& one) {
    for_each_output(b, [&](const Operand& other) { check_apart(context, who, one, {other}); });
  });
}
/// Error where what a call gives besides its output overlaps an operand, or itself.
template <class Scalar>
ATTEND_COLD void check_outputs_apart(const Context& context, const char* who,
                                     const AttentionOptions<Scalar>& options,
                                     const AttentionOutputs<Scalar>& o,
                                     std::initializer_list<Operand> operands) {
  for_each_output(o, [&](const Operand& output) {
    check_apart(context, who, output, operands);
    check_apart_from_options(context, who, options, output.name, output.layout);
    for_each_output(o, [&](const Operand& other) {
      if (output.name != other.name) check_apart(context, who, output, {other});
    });
  });
}

}  // namespace detail
}  // namespace attend::inline ATTEND_ABI
