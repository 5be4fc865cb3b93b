// # Masks
//
// A mask says who sees whom: here a line for each query, a column for each key, # where the key takes part. Masks are small
// values that go by copy; & and | compose them; a callable (batch, head, query, key) -> bool is one, too. to_string draws
// what a call of these sizes sees.
//
// A query that has no key left gives 0, not NaN. What is hidden never leaks, be it NaN or infinite. Masks of the library
// know which blocks are empty, and these cost nothing; a callable is asked key by key.
//
// boolean(tensor) broadcasts from the right to [batch, heads, queries, keys], as PyTorch does: a tensor [batch, queries, keys]
// would be taken for one of heads, so it is passed as boolean(tensor.reshape(batch, 1, queries, keys)).
//
// PyTorch has two meanings. In scaled_dot_product_attention true = takes part, as in boolean(tensor). In nn.MultiheadAttention
// and nn.Transformer… (attn_mask, mask, tgt_mask) true = hidden: negate it first, for (bool& b : tensor) b = !b. Masks of
// floats are additive(tensor) in both; one of [B * H, Tq, Tk] is additive(tensor.reshape(B, H, Tq, Tk)).
//
// They are given to a call as {.mask = …}, to an encoder as {.self = {.mask = …}}, to a decoder's cross-attention as
// {.cross = {.mask = …}}. A mask refers to its tensor, which therefore has a name and lives as long as the call.
#include <iostream>

#include <attend/attend.hpp>

using namespace attend;

void show(const char* what, const Mask& mask, const AttentionSizes& sizes, Index batch = 0) {
  std::cout << what << '\n' << to_string(mask, sizes, batch) << '\n';
}

int main() {
  show("causal()", causal(), {.queries = 4, .keys = 4});

  // With fewer queries than keys, the corner says where the diagonal begins. PyTorch's is_causal is top_left.
  show("causal()", causal(), {.queries = 2, .keys = 5});
  show("causal(Corner::bottom_right): the last query is at the last key, as with a cache",
       causal(Corner::bottom_right), {.queries = 2, .keys = 5});

  show("sliding_window(1, 0): one key before, none behind", sliding_window(1, 0), {.queries = 4, .keys = 4});
  show("causal() | prefix(2): the first two see each other", causal() | prefix(2), {.queries = 4, .keys = 4});

  // A batch of sequences of different lengths, padded on the right.
  show("causal() & lengths({4, 2}), the second sequence", causal() & lengths({4, 2}),
       {.batch = 2, .queries = 4, .keys = 4}, 1);

  // A key_padding_mask is PyTorch's: true where a key is left out.
  const auto padding = Tensor<bool, 2>::of({{false, false, true}});
  show("key_padding_mask(padding)", key_padding_mask(padding), {.queries = 2, .keys = 3});

  // Texts that were packed one after the other into one sequence.
  const auto texts = Tensor<std::int32_t, 2>::of({{0, 0, 0, 1, 1}});
  show("causal() & segments(texts)", causal() & segments(texts), {.queries = 5, .keys = 5});

  // One of your own: no token sees another of the same parity before it. What the lambda captures are plain
  // values.
  const Index step = 2;
  show("visible_if(…) & causal()", causal() & visible_if([step](Index, Index, Index query, Index key) {
                                     return query == key || (query - key) % step != 0;
                                   }),
       {.queries = 5, .keys = 5});
}
// Prints:
// causal()
// #...
// ##..
// ###.
// ####
//
// causal()
// #....
// ##...
//
// causal(Corner::bottom_right): the last query is at the last key, as with a cache
// ####.
// #####
//
// sliding_window(1, 0): one key before, none behind
// #...
// ##..
// .##.
// ..##
//
// causal() | prefix(2): the first two see each other
// ##..
// ##..
// ###.
// ####
//
// causal() & lengths({4, 2}), the second sequence
// #...
// ##..
// ##..
// ##..
//
// key_padding_mask(padding)
// ##.
// ##.
//
// causal() & segments(texts)
// #....
// ##...
// ###..
// ...#.
// ...##
//
// visible_if(…) & causal()
// #....
// ##...
// .##..
// #.##.
// .#.##
//
