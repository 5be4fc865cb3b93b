// # The ten most likely mistakes: what it says, what it means
//
// An error is an attend::Error of one line. It is thrown before anything is computed, and a call that throws has changed
// nothing. Each one below is made on purpose; what it means stands above it.
#include <cstdio>
#include <string>
#include <vector>

#include <attend/attend.hpp>
#include <attend/io/state_dict.hpp>

using namespace attend;

template <class F>
void says(F&& mistake) {
  try {
    mistake();
    std::puts("nothing");
  } catch (const Error& error) {
    std::string text = error.what();
    if (text.starts_with(ATTEND_GUIDE_DIR "/")) text.erase(0, sizeof(ATTEND_GUIDE_DIR));
    std::printf("%s\n", text.c_str());
  }
}

template <class Layer>
Layer filled(Layer layer) {
  layer.parameters([](const std::string&, Parameter<float> p) {
    const std::vector<float> values(static_cast<std::size_t>(p.numel()), 0.1f);
    p.assign(0, p.rows(), values.data());
  });
  return layer;
}

int main() {
  Context context;
  const auto linear = filled(Linear<float>({.in_features = 8, .out_features = 8}));
  const auto attention = filled(MultiHeadAttention<float>({.embed_dim = 8, .num_heads = 2}));
  Tensor<float, 3> x({1, 4, 8}, 1.0f), y(x.shape());

  // 1. The last size of the input is not the layer's: another model's width, or a transposed input.
  says([&] { linear(Tensor<float, 2>({4, 6})); });
  // 2. A layer that was never loaded: call load(layer, file), or assign its parameters.
  says([&] { Linear<float>({.in_features = 8, .out_features = 8})(x); });
  // 3. The output has another shape than the result: make it of the shape that stands behind "expected".
  says([&] { linear.forward(context, x, y.slice(1, 0, 2)); });
  // 4. An output that is the input, where a layer reads what it has written already. Linear and attention
  //    need another tensor; norms, activations and blocks work in place, as their documentation says.
  says([&] { attention.forward(context, x, x); });
  // 5. A column-major matrix of Eigen's where no copy may be made.
  const Eigen::MatrixXf matrix = Eigen::MatrixXf::Ones(4, 8);
  says([&] { linear.forward(context, matrix, y[0]); });
  // 6. embed_dim is not a multiple of num_heads: usually they are swapped, or head_dim has to be given.
  says([&] { MultiHeadAttention<float>({.embed_dim = 8, .num_heads = 3}); });
  // 7. A cache of another number of sequences, or of another layer's heads.
  says([&] {
    KVCache<float> cache = attention.make_cache(2);
    attention.forward(context, x, cache, {}, y);
  });
  // 8. lengths({…}) has a number for each sequence of the batch.
  says([&] { attention(x, {.mask = lengths({4, 2})}); });
  // 9. Names in the file and in the layer differ: often a prefix, load(layer, file, "encoder.layers.0"), or
  //    a tensor that is not the layer's: LoadOptions{.ignore = {"position_ids"}} or {.strict = false}.
  says([&] {
    auto encoder =
        Encoder<float>({.block = {.embed_dim = 16, .num_heads = 2, .dim_feedforward = 32}, .num_layers = 2});
    load(encoder, SafeTensors(ATTEND_GUIDE_DIR "/03_your_pytorch_model.safetensors"), "encoder");
  });
  // 10. An id that the table does not have: another model's tokenizer, or a padding id of -1.
  says([&] {
    const auto embedding = filled(Embedding<float>({.num_embeddings = 5, .embedding_dim = 2}));
    embedding(Tensor<std::int32_t, 1>({2}, {1, 7}));
  });

  // And what compilers say: "use of deleted function" is a view, or a mask, of a tensor that has no name
  // (layer(x).view(), boolean(Tensor(…))): give it one. "designator order": options are set in the order in
  // which they are declared. By the linker: "all_units_or_none_define_ATTEND_COMPILED": some files link
  // attend::compiled, some attend::attend; "undefined reference to attend::…::SafeTensors": link
  // attend::models_compiled.
}
// Prints:
// Linear: expected [..., 8], got [4, 6]
// Linear: parameter weight was never assigned
// Linear (output): expected [1, 4, 8], got [1, 2, 8]
// MultiHeadAttention: out overlaps x
// Linear: in a view of shape [4, 8] the last axis must be contiguous, but the matrix is column-major: copy it, by Tensor(matrix), or pass matrix.transpose() where its columns are the rows that are meant
// MultiHeadAttention: embed_dim 8 is not divisible by num_heads 3
// MultiHeadAttention (with a cache): expected [2, 4, 8], got [1, 4, 8]
// lengths: expected [1], got [2]
// 03_your_pytorch_model.safetensors: unexpected 'encoder.norm.bias' [16], 'encoder.norm.weight' [16]
// Embedding: id 7 is not in [0, 5)
