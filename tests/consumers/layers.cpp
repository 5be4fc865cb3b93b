// What a program with attend::attend does, with a result that is known on paper: queries and keys are zero
// and values are the inputs, so a causal attention gives each position the mean of the inputs up to it.
#include <cstdio>
#include <string>
#include <vector>

#include <attend/attend.hpp>

int main() {
  attend::MultiHeadAttention<float> attention({.embed_dim = 4, .num_heads = 2});
  attention.parameters([](const std::string& name, auto parameter) {
    std::vector<float> values(static_cast<std::size_t>(parameter.numel()));
    const std::size_t first_row =
        name == "in_proj_weight" ? 8 : 0;  // the values' rows follow the queries' and keys'
    if (name == "in_proj_weight" || name == "out_proj.weight")
      for (std::size_t i = 0; i < 4; ++i) values[(first_row + i) * 4 + i] = 1;
    parameter.assign(0, parameter.rows(), values.data());
  });

  attend::Tensor<float, 3> x({1, 3, 4}), y({1, 3, 4});
  for (attend::Index t = 0; t < 3; ++t)
    for (attend::Index e = 0; e < 4; ++e) x(0, t, e) = static_cast<float>(2 * t + e);
  attend::Context context(2);
  attention.forward(context, x, {.mask = attend::causal()}, y);
  for (attend::Index t = 0; t < 3; ++t)
    for (attend::Index e = 0; e < 4; ++e)
      if (y(0, t, e) != static_cast<float>(t + e)) return 1;
  std::puts("layers: ok");
}
