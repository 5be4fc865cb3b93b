#include <every_header.hpp>

// Templates are warned of where they are instantiated: each layer once by the kernels and once by Eigen.
template class attend::MultiHeadAttention<float>;
template class attend::MultiHeadAttention<double>;
template class attend::EncoderBlock<float>;
template class attend::KVCache<double>;
template class attend::Embedding<double>;
template class attend::BertModel<float>;
template class attend::CausalLM<double>;

int main(int argc, char** argv) {
  if (argc > 1) attend::text::Tokenizer::open(argv[1]);
}
