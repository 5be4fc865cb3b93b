// # Your PyTorch model in C++
//
// 1. Train in PyTorch and write the state dict to a safetensors file: 03_your_pytorch_model.py, which also writes some
//    inputs and what the model makes of them.
// 2. Write a class with the same members. Layers and options have PyTorch's names; what does not matter after training
//    (dropout) is not there. `parameters` says what each member is called in the file.
// 3. attend::load fills it. What is missing, left over, or of another shape is one error that names all of it.
// 4. Compare.
//
//     PyTorch                                          attend
//     ------------------------------------------------ ------------------------------------------------
//     nn.TransformerEncoderLayer(16, 2, 32, …)         EncoderBlock, or the options `block` of an Encoder
//     activation="gelu"                                Activation::gelu (with approximate="tanh": gelu_tanh)
//     nn.TransformerEncoder(…, norm=nn.LayerNorm(16))  .final_norm = true
//     batch_first=True                                 always: [batch, tokens, width]
//     mask=…, src_key_padding_mask=…                   {.self = {.mask = …}}: page 04
//     nn.MultiheadAttention(…)(q, k, v)                attention(q, k, v, {.mask = …})
//     nn.TransformerDecoder(…)(x, memory)              decoder(x, {.self = {.mask = causal()}, .memory = memory})
//     nn.Sequential(…), its part 2                     a member of its own, by the name "head.2"
//     nn.functional.gelu(x)                            activate(Activation::gelu, x)
//     self.pos = nn.Parameter(torch.zeros(12, 16))     Tensor<float, 2> pos_{{12, 16}}, and in `parameters`
//                                                      visit("pos", attend::Parameter<float>({12, 16}, pos_.data()))
//     x = x + self.pos                                 for each b: x.matrix(b) += pos_.matrix()
//     x[:, 0]                                          x.transpose(0, 1)[0], a view of shape [B, E]; Tensor(view) copies it.
//                                                      x has a name: layer(…)[0] would leave a view of nothing
//     torch.cat([cls.expand(B, 1, 16), x], 1)          Tensor<float, 3> y({B, T + 1, 16}); copy(x, y.slice(1, 1, T + 1));
//                                                      for each b: copy(cls[0], y[b].slice(0, 0, 1))
//
// Files are read by nlohmann/json, so a program with SafeTensors links attend::models, or attend::models_compiled.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include <attend/attend.hpp>
#include <attend/io/state_dict.hpp>

class Classifier {
 public:
  void parameters(attend::ParameterVisitor<float> visit) {
    embedding_.parameters(attend::prefixed("embedding", visit));
    encoder_.parameters(attend::prefixed("encoder", visit));
    head_.parameters(attend::prefixed("head", visit));
  }

  /// ids [B, T] -> logits [B, 2].
  attend::Tensor<float, 2> operator()(const attend::Tensor<std::int64_t, 2>& ids) const {
    const attend::Tensor<float, 3> states = encoder_(embedding_(ids));
    attend::Tensor<float, 2> means({states.size(0), states.size(2)});
    for (attend::Index b = 0; b < states.size(0); ++b)
      means.matrix().row(b) = states.matrix(b).colwise().mean();  // Eigen's maps of what lies in the tensors
    return head_(means);
  }

 private:
  attend::Embedding<float> embedding_{{.num_embeddings = 2, .embedding_dim = 16}};
  attend::Encoder<float> encoder_{{.block = {.embed_dim = 16,
                                             .num_heads = 2,
                                             .dim_feedforward = 32,
                                             .activation = attend::Activation::gelu,
                                             .norm_first = true},
                                   .num_layers = 2,
                                   .final_norm = true}};
  attend::Linear<float> head_{{.in_features = 16, .out_features = 2}};
};

int main(int argc, char** argv) {
  const attend::SafeTensors file(argc > 1 ? argv[1] : ATTEND_GUIDE_DIR "/03_your_pytorch_model.safetensors");
  Classifier classifier;
  attend::load(classifier, file, "", {.ignore = {"test.ids", "test.logits"}});

  const auto ids = file.read<std::int64_t, 2>("test.ids");
  const auto expected = file.read<float, 2>("test.logits");
  const attend::Tensor<float, 2> logits = classifier(ids);
  float worst = 0;
  int right = 0;
  for (attend::Index b = 0; b < ids.size(0); ++b) {
    const auto ones = std::count(ids[b].data(), ids[b].data() + ids.size(1), 1);
    right += (logits(b, 1) > logits(b, 0)) == (ones > 5);
    for (attend::Index i = 0; i < 2; ++i) worst = std::max(worst, std::abs(logits(b, i) - expected(b, i)));
  }
  std::printf("%d of 100 right, as in PyTorch to 0.0001: %s\n", right, worst < 1e-4f ? "yes" : "no");
}
// Prints:
// 100 of 100 right, as in PyTorch to 0.0001: yes
