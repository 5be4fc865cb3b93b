// As threads_test.cpp, with models.
#include <vector>

#include <attend/attend.hpp>

#include "at_once.hpp"
#include "support.hpp"
#include "tiny_models.hpp"

namespace {
using namespace attend;
using namespace attend_test;

TEST(ModelThreads, UseOneModel) {
  const CausalLM<float> model = tiny_causal_lm();
  const BertModel<float> bert = tiny_bert(), kin = tiny_bert_kin(true);
  const Seq2Seq<float> seq2seq = tiny_seq2seq();
  const std::vector<std::int32_t> ids = random_ids(30, 40);
  const std::vector<Index> offsets{0, 10, 30};
  const TensorView<const std::int32_t, 2> batch(ids.data(), {2, 15});
  std::vector<std::vector<float>> results(4);
  at_once(4, [&](int i) {
    Context context(1 + i % 2);
    std::vector<float>& result = results[static_cast<std::size_t>(i)];
    const auto keep = [&](const auto& tensor) {
      result.insert(result.end(), tensor.span().begin(), tensor.span().end());
    };
    keep(model.logits(context, batch));
    Tensor<float, 2> states({30, 32});
    bert.forward(context, ids, {}, offsets, states);
    keep(states);
    kin.forward(context, ids, {}, offsets, states);
    keep(states);
    const Tensor<float, 3> memory = seq2seq.encode(context, batch);
    DecoderCache<float> cache = seq2seq.make_cache(context, memory);
    for (int round = 0; round < 3; ++round) keep(seq2seq.decode(context, {ids.data(), {2, 2}}, cache));
  });
  for (const std::vector<float>& result : results) EXPECT_EQ(result, results[0]);
}

TEST(ModelThreads, UseConversationsForkedFromOnePrompt) {
  const CausalLM<float> model = tiny_causal_lm();
  Context context;
  const std::vector<std::int32_t> prompt = random_ids(100, 50), next = random_ids(8, 50, 2);
  CausalCache<float> prefix = model.make_cache();
  Tensor<float, 3> logits({1, 1, 50});
  model.forward(context, {prompt.data(), {1, 100}}, prefix, logits.view());
  std::vector<CausalCache<float>> caches(4, prefix);
  std::vector<std::vector<float>> results(4);
  at_once(4, [&](int i) {
    Context own(1 + i % 2);
    Tensor<float, 3> out({1, 1, 50});
    for (const std::int32_t& id : next) {
      model.forward(own, {&id, {1, 1}}, caches[static_cast<std::size_t>(i)], out.view());
      results[static_cast<std::size_t>(i)].insert(results[static_cast<std::size_t>(i)].end(),
                                                  out.span().begin(), out.span().end());
    }
  });
  for (const std::vector<float>& result : results) EXPECT_EQ(result, results[0]);
}

}  // namespace
