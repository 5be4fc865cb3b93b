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

// Layers take texts in groups of 512 tokens a thread, and of 256 texts.
TEST(ModelThreads, ABatchOfManyTokensHasTheBitsOfItsTextsAndTakesTheMemoryOfAGroup) {
  std::vector<Index> offsets{0};
  for (Index i = 0; i < 100; ++i) offsets.push_back(offsets.back() + (i * i + 3) % 64);
  for (Index i = 0; i < 600; ++i) offsets.push_back(offsets.back() + i % 2);
  const Index tokens = offsets.back();
  const std::vector<std::int32_t> ids = random_ids(static_cast<std::size_t>(tokens), 40);
  for (const BertModel<float>& model : {tiny_bert(), tiny_bert_kin(false), tiny_bert_kin(true)}) {
    Tensor<float, 2> alone({tokens, 32}), states(alone.shape());
    Context one;
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
      const Index begin = offsets[b], count = offsets[b + 1] - begin, own[] = {0, count};
      model.forward(one, {ids.data() + begin, static_cast<std::size_t>(count)}, {}, own,
                    alone.slice(0, begin, begin + count));
    }
    for (int threads : {1, 2}) {
      Context context(threads);
      model.forward(context, ids, {}, offsets, states);
      EXPECT_TRUE(same_bits(states, alone)) << threads;
    }
  }
  const BertModel<float> model = tiny_bert();
  const auto bytes = [&](Index n) {
    const std::size_t texts = static_cast<std::size_t>(n / 32);
    std::vector<Index> even;
    for (std::size_t b = 0; b <= texts; ++b) even.push_back(32 * static_cast<Index>(b));
    Tensor<float, 2> states({n, 32});
    return workspace_bytes(model, 1, std::span(ids).first(static_cast<std::size_t>(n)),
                           std::span<const std::int32_t>(), even, states.view());
  };
  EXPECT_LT(bytes(2048), bytes(512) * 3 / 2);
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
