// Headers that are included before attend's define macros of common words: Qt, <complex.h>, <windows.h>, test
// and assertion libraries. Whoever defined them before the standard library, Eigen or JSON would hurt these
// as well, so they come first, and what they leave is attend's to bear.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <ostream>
#include <queue>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#include <gtest/gtest.h>
#include <Eigen/Core>
#include <nlohmann/json.hpp>

// Qt
#define slots
#define signals public
#define emit
#define foreach(variable, container) for (variable : container)
#define forever for (;;)
// <complex.h>
#define I (__extension__ 1.0iF)
// <windows.h>
#define small char
#define near
#define far
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#define ERROR 0
#define IN
#define OUT
#define interface struct
#define VOID void
#define CONST const
#define OPTIONAL
#define DELETE (0x00010000L)
#define TRUE 1
#define FALSE 0
// X11
#define None 0L
#define Bool int
#define True 1
#define False 0
#define Success 0
#define Always 2
// assertions and tests
#define check(x) static_cast<void>(0)
#define fail(x) static_cast<void>(0)
#define verify(x) static_cast<void>(0)
#define require(x) static_cast<void>(0)
#define ensure(x) static_cast<void>(0)
#define expect(x) static_cast<void>(0)
#define assume(x) static_cast<void>(0)
#define CHECK(x) static_cast<void>(0)
#define REQUIRE(x) static_cast<void>(0)
#define FAIL_IF(x) static_cast<void>(0)
#define LOG(x) static_cast<void>(0)
#define UNUSED(x) static_cast<void>(x)

#include <attend/activation.hpp>
#include <attend/attend.hpp>
#include <attend/attention_options.hpp>
#include <attend/attention_outputs.hpp>
#include <attend/attention_sizes.hpp>
#include <attend/block.hpp>
#include <attend/causal_block.hpp>
#include <attend/core/aligned.hpp>
#include <attend/core/config.hpp>
#include <attend/core/context.hpp>
#include <attend/core/error.hpp>
#include <attend/core/file.hpp>
#include <attend/core/flags.hpp>
#include <attend/core/function_ref.hpp>
#include <attend/core/index_list.hpp>
#include <attend/core/overlap.hpp>
#include <attend/core/parameter.hpp>
#include <attend/core/scalar.hpp>
#include <attend/core/shape.hpp>
#include <attend/core/threads.hpp>
#include <attend/core/tiling.hpp>
#include <attend/core/version.hpp>
#include <attend/core/workspace.hpp>
#include <attend/decoder.hpp>
#include <attend/detail/attention_call.hpp>
#include <attend/detail/backend.hpp>
#include <attend/detail/cache_calls.hpp>
#include <attend/detail/cache_pages.hpp>
#include <attend/detail/generic_attention.hpp>
#include <attend/detail/kernel_call.hpp>
#include <attend/embedding.hpp>
#include <attend/encoder.hpp>
#include <attend/feed_forward.hpp>
#include <attend/fwd.hpp>
#include <attend/introspection.hpp>
#include <attend/io/config.hpp>
#include <attend/io/dtype.hpp>
#include <attend/io/name_map.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/io/safetensors_header.hpp>
#include <attend/io/safetensors_writer.hpp>
#include <attend/io/state_dict.hpp>
#include <attend/json/fields.hpp>
#include <attend/json/json.hpp>
#include <attend/kernel/calls.hpp>
#include <attend/kernel/dispatch.hpp>
#include <attend/kernel/regions.hpp>
#include <attend/kernel/run_attention.hpp>
#include <attend/kv_cache.hpp>
#include <attend/linear.hpp>
#include <attend/mask.hpp>
#include <attend/mask_expressions.hpp>
#include <attend/model/beam_search.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/bert_families.hpp>
#include <attend/model/causal_families.hpp>
#include <attend/model/causal_lm.hpp>
#include <attend/model/family.hpp>
#include <attend/model/generation.hpp>
#include <attend/model/hugging_face.hpp>
#include <attend/model/modernbert.hpp>
#include <attend/model/sampling.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/seq2seq.hpp>
#include <attend/model/seq2seq_families.hpp>
#include <attend/model/text_generator.hpp>
#include <attend/model/token_embedding.hpp>
#include <attend/model/translator.hpp>
#include <attend/multi_head_attention.hpp>
#include <attend/norm.hpp>
#include <attend/position.hpp>
#include <attend/reference/attention.hpp>
#include <attend/reference/blocks.hpp>
#include <attend/reference/exact.hpp>
#include <attend/reference/layers.hpp>
#include <attend/reference/math.hpp>
#include <attend/rotary.hpp>
#include <attend/rows.hpp>
#include <attend/scaled_dot_product_attention.hpp>
#include <attend/score_modifier.hpp>
#include <attend/softmax.hpp>
#include <attend/stack.hpp>
#include <attend/tensor.hpp>
#include <attend/tensor_view.hpp>
#include <attend/text/added_tokens.hpp>
#include <attend/text/bpe.hpp>
#include <attend/text/byte_level.hpp>
#include <attend/text/character_vocabulary.hpp>
#include <attend/text/decoder.hpp>
#include <attend/text/file.hpp>
#include <attend/text/normalizer.hpp>
#include <attend/text/post_processor.hpp>
#include <attend/text/pre_tokenizer.hpp>
#include <attend/text/prefix_index.hpp>
#include <attend/text/regex.hpp>
#include <attend/text/sentencepiece.hpp>
#include <attend/text/streaming_decoder.hpp>
#include <attend/text/subword_model.hpp>
#include <attend/text/tokenizer.hpp>
#include <attend/text/unicode.hpp>
#include <attend/text/unigram.hpp>
#include <attend/text/utf8.hpp>
#include <attend/text/vocabulary.hpp>
#include <attend/text/vocabulary_files.hpp>
#include <attend/text/wordpiece.hpp>

namespace {

// Templates are looked at again where they are used.
TEST(Macros, OfOthersDoNotReachTheLibrary) {
  attend::MultiHeadAttention<double> attention({.embed_dim = 6, .num_heads = 2});
  attention.parameters([](const std::string&, auto parameter) {
    const std::vector<double> values(static_cast<std::size_t>(parameter.numel()), 0.5);
    parameter.assign(0, parameter.rows(), values.data());
  });
  const attend::Tensor<double, 3> y =
      attention(attend::Tensor<double, 3>({1, 3, 6}, 1.0), {.mask = attend::causal()});
  EXPECT_EQ(y.numel(), 18);
  attend::KVCache<double> cache({.num_kv_heads = 2, .head_dim = 3});
  cache.append(attend::Tensor<double, 4>({1, 2, 5, 3}), attend::Tensor<double, 4>({1, 2, 5, 3}));
  EXPECT_EQ(cache.length(0), 5);
  const attend::Tensor<double, 2> ones({2, 2}, 1.0);
  EXPECT_EQ(ones.matrix()(1, 1), 1);
}

}  // namespace
