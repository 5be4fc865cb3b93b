// # Looking at attention
//
// A call gives more than its output where it is asked to, by views that it fills: all weights [B, H, Tq, Tk], their average
// over the heads, the log of the sum; or what needs no T x T matrix: entropies, what each key received, the strongest keys,
// the weights of chosen rows, of chosen heads. examples/attention_page writes one HTML file of all that a model looks at in a
// text: every head as a thumbnail, one large, lines between words.
#include <cstdio>
#include <vector>

#include <attend/attend.hpp>

using namespace attend;

int main() {
  MultiHeadAttention<float> attention({.embed_dim = 8, .num_heads = 2});
  attention.parameters([i = 0](const std::string&, Parameter<float> p) mutable {
    std::vector<float> values(static_cast<std::size_t>(p.numel()));
    for (float& v : values) v = static_cast<float>(++i * 7 % 11 - 5) / 5;
    p.assign(0, p.rows(), values.data());
  });
  Tensor<float, 3> x({1, 5, 8});
  for (Index i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>(i * 5 % 9 - 4) / 4;

  Context context;
  Tensor<float, 3> y(x.shape()), entropy({1, 2, 5});
  Tensor<float, 4> weights({1, 2, 5, 5}), strongest_weights({1, 2, 5, 1});
  Tensor<Index, 4> strongest({1, 2, 5, 1});
  attention.forward(
      context, x, {.mask = causal()}, y,
      {.weights = weights,
       .introspection = {.entropy = entropy, .top_keys = strongest, .top_weights = strongest_weights}});
  for (Index query = 0; query < 5; ++query) {
    for (Index key = 0; key < 5; ++key) std::printf("%5.2f", static_cast<double>(weights(0, 1, query, key)));
    std::printf("   looks at %d, entropy %.2f\n", static_cast<int>(strongest(0, 1, query, 0)),
                static_cast<double>(entropy(0, 1, query)));
  }

  // Of an encoder: one BlockOutputs for each layer, {.self = {.weights = …}}, behind the output.
}
// Prints:
//  1.00 0.00 0.00 0.00 0.00   looks at 0, entropy 0.00
//  0.24 0.76 0.00 0.00 0.00   looks at 1, entropy 0.55
//  0.51 0.45 0.04 0.00 0.00   looks at 0, entropy 0.82
//  0.05 0.13 0.61 0.22 0.00   looks at 2, entropy 1.04
//  0.11 0.14 0.00 0.15 0.60   looks at 4, entropy 1.11
