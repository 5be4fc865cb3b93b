// Encoder, Decoder and their blocks against PyTorch (see golden/check.hpp).

#include <string>
#include <vector>

#include <attend/decoder.hpp>
#include <attend/encoder.hpp>

#include "golden/masks.hpp"
#include "golden/parameters.hpp"
#include "support.hpp"

namespace {
using namespace golden;

template <class S>
ref::EncoderBlock<S> encoder_block(Parameters<S>& parameters, const Case& c, const std::string& prefix) {
  const Index E = c.size("E"), F = c.size("F"), heads = c.size("heads");
  const bool bias = c.flag("bias", true);
  const double eps = c.has("eps") ? c.number("eps") : 1e-5;
  ref::EncoderBlock<S> block;
  block.self_attn = parameters.attention(prefix + "self_attn.", E, heads, bias, E, E, heads);
  block.linear1 = parameters.linear(prefix + "linear1", F, E, bias);
  block.linear2 = parameters.linear(prefix + "linear2", E, F, bias);
  block.norm1 = parameters.norm(prefix + "norm1", E, bias, eps);
  block.norm2 = parameters.norm(prefix + "norm2", E, bias, eps);
  block.activation = function_of<S>(attend::activation_from_string(c.text("activation")));
  block.norm_first = c.flag("norm_first");
  return block;
}

/// Options of a block, encoder's or decoder's.
template <class Options>
Options block_options(const Case& c) {
  Options o;
  o.embed_dim = c.size("E");
  o.num_heads = c.size("heads");
  o.dim_feedforward = c.size("F");
  o.activation = attend::activation_from_string(c.text("activation"));
  o.norm_first = c.flag("norm_first");
  if (c.has("eps")) o.layer_norm_eps = c.number("eps");
  o.bias = c.flag("bias", true);
  return o;
}

double composed_bound(const Case& c) {
  return kComposed * static_cast<double>(c.size("layers", 1)) *
         static_cast<double>(c.size("E") + c.size("F"));
}

std::string block_prefix(const Case& c, Index i) {
  return c.has("layers") ? "layers." + std::to_string(i) + "." : "";
}

template <class T>
class EncoderGolden : public testing::Test {};
TYPED_TEST_SUITE(EncoderGolden, attend_test::Scalars);

TYPED_TEST(EncoderGolden, GivesTheValuesOfPyTorch) {
  using S = TypeParam;
  for_each_case("encoder", [](const Case& c) {
    const Index B = c.size("B"), T = c.size("T"), E = c.size("E");
    const Tensor<S, 3> x = data<S, 3>(c.path("x"), {B, T, E});
    const Masks masks(c, "", "mask", T, T);
    const auto block = block_options<attend::EncoderBlockOptions>(c);
    Tensor<S, 3> y;
    const auto run = [&](auto layer) {
      fill<S>(c, layer);
      y = layer(x, {.self = {.mask = masks.mask()}});
    };
    if (c.has("layers"))
      run(attend::Encoder<S>(
          {.block = block, .num_layers = c.size("layers"), .final_norm = c.flag("final_norm")}));
    else
      run(attend::EncoderBlock<S>(block));

    Parameters<double> parameters(c);
    std::vector<ref::EncoderBlock<double>> blocks;
    for (Index i = 0; i < c.size("layers", 1); ++i)
      blocks.push_back(encoder_block(parameters, c, block_prefix(c, i)));
    ref::Norm<double> final_norm;
    if (c.flag("final_norm")) final_norm = parameters.norm("norm", E, true, block.layer_norm_eps);
    const Tensor<double, 3> reference =
        ref::encoder<double>(widened(x), blocks, final_norm, {.mask = masks.function()});
    check_values<S>(c, y.span(), reference.span(), of_greatest(reference.span(), composed_bound(c)));
  });
}

template <class T>
class DecoderGolden : public testing::Test {};
TYPED_TEST_SUITE(DecoderGolden, attend_test::Scalars);

TYPED_TEST(DecoderGolden, GivesTheValuesOfPyTorch) {
  using S = TypeParam;
  for_each_case("decoder", [](const Case& c) {
    const Index B = c.size("B"), T = c.size("T"), memory_T = c.size("S"), E = c.size("E");
    const Tensor<S, 3> x = data<S, 3>(c.path("x"), {B, T, E});
    const Tensor<S, 3> memory = data<S, 3>(c.path("memory"), {B, memory_T, E});
    const Masks masks(c, "", "mask", T, T), memory_masks(c, "memory_", "memory/mask", T, memory_T);
    const auto block = block_options<attend::DecoderBlockOptions>(c);
    Tensor<S, 3> y;
    const auto run = [&](auto layer) {
      fill<S>(c, layer);
      y = layer(x,
                {.self = {.mask = masks.mask()}, .cross = {.mask = memory_masks.mask()}, .memory = memory});
    };
    if (c.has("layers"))
      run(attend::Decoder<S>(
          {.block = block, .num_layers = c.size("layers"), .final_norm = c.flag("final_norm")}));
    else
      run(attend::DecoderBlock<S>(block));

    Parameters<double> parameters(c);
    std::vector<ref::DecoderBlock<double>> blocks;
    for (Index i = 0; i < c.size("layers", 1); ++i) {
      const std::string prefix = block_prefix(c, i);
      ref::DecoderBlock<double> plain;
      static_cast<ref::EncoderBlock<double>&>(plain) = encoder_block(parameters, c, prefix);
      plain.multihead_attn = parameters.attention(prefix + "multihead_attn.", E, c.size("heads"), block.bias,
                                                  E, E, c.size("heads"));
      plain.norm3 = parameters.norm(prefix + "norm3", E, block.bias, block.layer_norm_eps);
      blocks.push_back(plain);
    }
    ref::Norm<double> final_norm;
    if (c.flag("final_norm")) final_norm = parameters.norm("norm", E, true, block.layer_norm_eps);
    const Tensor<double, 3> reference =
        ref::decoder<double>(widened(x), widened(memory), blocks, final_norm, {.mask = masks.function()},
                             {.mask = memory_masks.function()});
    check_values<S>(c, y.span(), reference.span(), of_greatest(reference.span(), composed_bound(c)));
  });
}

}  // namespace
