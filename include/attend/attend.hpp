// All layers of attend; files, tokenizers and models have headers of their own (io/, text/, model/).
#pragma once

#include <attend/activation.hpp>
#include <attend/block.hpp>
#include <attend/causal_block.hpp>
#include <attend/convolution.hpp>
#include <attend/core/version.hpp>
#include <attend/decoder.hpp>
#include <attend/disentangled.hpp>
#include <attend/embedding.hpp>
#include <attend/encoder.hpp>
#include <attend/feed_forward.hpp>
#include <attend/fwd.hpp>
#include <attend/introspection.hpp>
#include <attend/kv_cache.hpp>
#include <attend/linear.hpp>
#include <attend/mask.hpp>
#include <attend/mask_expressions.hpp>
#include <attend/multi_head_attention.hpp>
#include <attend/norm.hpp>
#include <attend/position.hpp>
#include <attend/rows.hpp>
#include <attend/scaled_dot_product_attention.hpp>
#include <attend/score_modifier.hpp>
#include <attend/softmax.hpp>
#include <attend/stack.hpp>
#include <attend/tensor.hpp>

/// What holds of all of it, where a text does not say otherwise:
///   - Shapes: B sequences, T tokens (Tq of queries, Tk of keys), E features of a token, H heads of D
///   features.
///     "x [B, T, E] -> out [B, T, E]" is what a call takes and what it writes.
///   - Errors: what does not fit is an `Error`, thrown before anything is computed, of one line that names
///   the
///     layer, what was expected and what came. A call that fails leaves caches, layers and contexts as they
///     were; what is in its outputs is not said.
///   - Aliasing: outputs share no element with an input or with each other, which is an `Error`, too.
///   - Lifetime: views, spans and pointers refer to the caller's data, for the time of the call.
///   - Threads: const members may be called on one object by any number of threads at once, with a `Context`
///     each; all others by one thread, while no other uses it.
///   - Memory: what takes a `Context` and an output allocates nothing once the context is warm; what returns
///     a tensor allocates that.
///   - Numbers: outputs of `float` have the same bits on any number of threads and any processor with FMA;
///     those of other scalars hold to a tolerance. README.md says more.
namespace attend {}
/// What masks are made of, and the base of one of your own: see masks::Expression.
namespace attend::inline ATTEND_ABI::masks {}
/// Tokenizers, and the steps that they consist of.
namespace attend::inline ATTEND_ABI::text {}
/// Requests and answers of a server in the words of OpenAI's clients.
namespace attend::inline ATTEND_ABI::openai {}
