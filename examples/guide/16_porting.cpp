// # Porting from libtorch, ONNX Runtime, ggml
//
//     attend                         libtorch                        ONNX                        ggml
//     ------------------------------ ------------------------------- --------------------------- ----------------------------
//     Tensor<float, 3> x({2, 5, 8})  torch::zeros({2, 5, 8})         Ort::Value::CreateTensor    ggml_new_tensor_3d
//     x.slice(1, 0, 3)               x.slice(1, 0, 3)                Slice                       ggml_view_3d
//     x.transpose(0, 1), permute     x.transpose(0, 1), permute      Transpose                   ggml_transpose, ggml_permute
//     x.transpose(0, 1)[0]           x.select(1, 0)                  Gather                      ggml_view_2d
//     copy(a, y.slice(1, 0, n))      torch::cat({a, b}, 1)           Concat                      ggml_concat
//     x.data(), x.matrix(b)          x.data_ptr<float>(), x[b]       GetTensorMutableData        tensor->data
//     Linear                         nn::Linear                      Gemm, MatMul + Add          ggml_mul_mat, ggml_add
//     Embedding                      nn::Embedding                   Gather                      ggml_get_rows
//     LayerNorm, RMSNorm             nn::LayerNorm, nn::RMSNorm      LayerNormalization          ggml_norm, ggml_rms_norm
//     Activation::gelu, gelu_tanh    gelu, gelu(…, "tanh")           Gelu                        ggml_gelu_erf, ggml_gelu
//     softmax(x, axis)               softmax(x, axis)                Softmax                     ggml_soft_max
//     scaled_dot_product_attention   scaled_dot_product_attention    Attention (opset 24)        ggml_flash_attn_ext
//     MultiHeadAttention             nn::MultiheadAttention          com.microsoft's             -
//     Rotary                         -                               RotaryEmbedding (opset 23)  ggml_rope
//     KVCache                        -                               past_key, present_key       llama's memory
//     cache.truncate, cache.fork     -                               -                           llama_memory_seq_rm, _seq_cp
//     EncoderBlock, Encoder          nn::TransformerEncoderLayer, …  a graph                     a graph
//     load(layer, SafeTensors(f))    torch::load                     Ort::Session                gguf_init_from_file
//     causal(), boolean, lengths     is_causal, attn_mask            is_causal, attn_mask        a tensor with -inf
//     Context({.threads = 4})        torch::set_num_threads(4)       SetIntraOpNumThreads(4)     n_threads
//     TextGenerator, Tokenizer       -                               -                           llama_decode, llama_tokenize
//
// What is the other way round:
//   - batch first, always: [B, T, E]. Boolean masks say who takes part, as PyTorch's scaled_dot_product_attention has it;
//     its nn.MultiheadAttention means the opposite (page 04). key_padding_mask is as PyTorch's.
//   - ggml's sizes are reversed. Weights of ONNX's MatMul are [in, out], those of Linear [out, in]: LoadOptions::names gives
//     a Source with transpose = true.
//   - No graph is built, a call computes; there are no gradients (page 03 trains in PyTorch).
//   - x.view(B, T, H, D).transpose(1, 2) is heads(x, H), of [B, T, H * D].
#include <cstdio>

#include <attend/attend.hpp>

using namespace attend;

int main() {
  Tensor<float, 3> x({2, 5, 8});
  for (Index i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>(i % 5);
  const auto q = heads(x, 2);  // [2, 2, 5, 4], a view
  const Tensor<float, 4> y = scaled_dot_product_attention(q, q, q, {.mask = causal()});
  std::printf("[%d, %d, %d, %d], the first token sees itself: %d\n", static_cast<int>(y.size(0)),
              static_cast<int>(y.size(1)), static_cast<int>(y.size(2)), static_cast<int>(y.size(3)),
              y(1, 1, 0, 3) == x(1, 0, 7));
}
// Prints:
// [2, 2, 5, 4], the first token sees itself: 1
