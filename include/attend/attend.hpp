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
