// Declarations alone, for headers that name attend's types and do nothing with them. (A declaration of one's
// own would be of another type: names lie in an inline namespace.)
#pragma once

#include <attend/core/config.hpp>

namespace attend::inline ATTEND_ABI {

struct Error;
struct ContextOptions;
class Context;
class Workspace;
class Mask;

template <class T, int Rank>
class Tensor;
template <class T, int Rank>
class TensorView;
template <class T>
class Rows;
template <class Scalar>
class Parameter;

template <class Scalar>
struct AttentionOptions;
template <class Scalar>
struct AttentionOutputs;
template <class Scalar>
struct Introspection;
template <class Scalar>
class ScoreModifier;
template <class Scalar>
class KVCache;
template <class Scalar>
class Linear;
template <class Scalar>
class Embedding;
template <class Scalar>
class Norm;
template <class Scalar>
class LayerNorm;
template <class Scalar>
class RMSNorm;
template <class Scalar>
class FeedForward;
template <class Scalar>
class Rotary;
template <class Scalar>
class RelativeEmbedding;
template <class Scalar>
class ScaledDotProductAttention;
template <class Scalar>
class MultiHeadAttention;
template <class Scalar>
class Block;
template <class Scalar>
class Stack;
template <class Scalar>
class EncoderBlock;
template <class Scalar>
class DecoderBlock;
template <class Scalar>
class Encoder;
template <class Scalar>
class Decoder;

}  // namespace attend::inline ATTEND_ABI
