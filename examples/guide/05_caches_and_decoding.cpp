// # Caches and decoding
//
// A KVCache keeps the keys and values of the tokens so far. A call with a cache takes the tokens that follow, as many as
// you like; each gives the bits that it gives in one long call. A copy of a cache shares its pages until one of the two
// writes, so a branch costs what it adds. A call that fails leaves the cache as it was.
//
// Each block has a cache of its own. A Stack (Encoder and Decoder are one, too) makes them all, stack.make_caches(1), and takes
// them as {.caches = caches}; a branch copies the vector. CausalLM has a CausalCache, which is all of them: page 12.
#include <cstdio>

#include <attend/attend.hpp>

using namespace attend;

template <class Layer>
void fill(Layer& layer) {
  float next = 0;
  layer.parameters([&](const std::string&, Parameter<float> p) {
    std::vector<float> values(static_cast<std::size_t>(p.numel()));
    for (float& v : values) v = 0.3f * ((next = next > 0.9f ? next - 0.87f : next + 0.11f) - 0.5f);
    p.assign(0, p.rows(), values.data());
  });
}

int main() {
  CausalBlock<float> block({.embed_dim = 32, .num_heads = 4, .num_kv_heads = 2, .dim_feedforward = 64});
  fill(block);  // or load(block, file, "layers.0")
  Tensor<float, 3> x({1, 8, 32});
  for (Index i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>(i % 7) - 3;

  Context context;
  Tensor<float, 3> whole(x.shape()), steps(x.shape());
  block.forward(context, x, {}, whole);  // all tokens at once: a CausalBlock's mask is causal by itself

  KVCache<float> cache = block.self_attn().make_cache(1);  // for one sequence
  cache.reserve(100);                                      // so that no step allocates
  block.forward(context, x.slice(1, 0, 5), {.cache = &cache}, steps.slice(1, 0, 5));  // the prompt
  for (Index t = 5; t < 8; ++t)
    block.forward(context, x.slice(1, t, t + 1), {.cache = &cache}, steps.slice(1, t, t + 1));
  std::printf("%d tokens, the same bits: %s\n", static_cast<int>(cache.length(0)),
              steps == whole ? "yes" : "no");

  // A branch: what would follow if token 6 were another?
  KVCache<float> branch = cache;  // shares the pages
  branch.truncate(0, 6);          // and goes back to six tokens
  Tensor<float, 3> other({1, 1, 32}, 1.0f);
  block.forward(context, other, {.cache = &branch}, other);
  std::printf("branch of %d tokens, the cache still has %d\n", static_cast<int>(branch.length(0)),
              static_cast<int>(cache.length(0)));

  // Many sequences in one cache: fork adds one, reorder keeps some (beam search).
  KVCache<float> beams = cache;
  beams.fork(0);
  beams.fork(0);
  const Index parents[] = {2, 0};
  beams.reorder(parents);
  Tensor<float, 3> two({2, 1, 32}, 0.5f);
  block.forward(context, two, {.cache = &beams}, two);
  std::printf("%d beams of %d tokens\n", static_cast<int>(beams.batch()), static_cast<int>(beams.length(1)));

  // A decoder of three such blocks, as GPT's: a cache of each, and a branch of all.
  const BlockOptions layer =
      CausalBlockOptions{.embed_dim = 32, .num_heads = 4, .num_kv_heads = 2, .dim_feedforward = 64};
  Stack<float> stack(
      {.embed_dim = 32, .blocks = {layer, layer, layer}, .final_norm = NormOptions{.size = 32}});
  fill(stack);  // or load(stack, file, "transformer")
  std::vector<KVCache<float>> caches = stack.make_caches(1);
  Tensor<float, 3> prompt({1, 5, 32}, 0.5f), yes({1, 1, 32}, 1.0f), no({1, 1, 32}, -1.0f);
  stack.forward(context, prompt, {.caches = caches}, prompt);
  std::vector<KVCache<float>> branches = caches;
  stack.forward(context, yes, {.caches = caches}, yes);
  stack.forward(context, no, {.caches = branches}, no);
  std::printf("two branches of %d and %d tokens\n", static_cast<int>(caches[2].length(0)),
              static_cast<int>(branches[2].length(0)));
}
// Prints:
// 8 tokens, the same bits: yes
// branch of 7 tokens, the cache still has 8
// 2 beams of 9 tokens
// two branches of 6 and 6 tokens
