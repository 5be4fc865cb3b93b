// Golden vectors of a model folder: written once, checked bit by bit where the folder is opened.
#include <filesystem>
#include <fstream>
#include <string>

#include <attend/attend.hpp>
#include <attend/io/safetensors.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/causal_lm.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/seq2seq_families.hpp>

#include "support.hpp"

namespace {
using namespace attend;
using attend_test::error_of;
using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

fs::path copy_of(const attend_test::Folder& to, const char* model) {
  const fs::path folder = to.path / fs::path(model).filename();
  fs::copy(attend_test::model_folder(model), folder, fs::copy_options::recursive);
  return folder;
}

#if ATTEND_HAS_KERNELS
TEST(GoldenVectors, AreThoseOfTheModelThatTheyWereWrittenBy) {
  const attend_test::Folder scratch;
  const fs::path llama = copy_of(scratch, "llama"), bert = copy_of(scratch, "bert");
  EXPECT_THAT(error_of([&] { CausalLM<float>::open(llama, {.verify = true}); }),
              AllOf(HasSubstr("attend_golden.safetensors"), HasSubstr("no such file")));
  write_golden(CausalLM<float>::open(llama), llama);
  CausalLM<float>::open(llama, {.verify = true});
  CausalLM<float>::open(llama, {.base_only = true, .verify = true});
  write_golden(BertModel<float>::open(bert), bert);
  BertModel<float>::open(bert, {.verify = true});
  EXPECT_THAT(error_of([&] { CausalLM<double>::open(llama, {.verify = true}); }), HasSubstr("in float"));
}

TEST(GoldenVectors, AreOfEveryKindOfModel) {
  const attend_test::Folder scratch;
  for (const char* name : {"bart", "t5", "marian", "m2m_100"}) {
    const fs::path folder = copy_of(scratch, name);
    write_golden(open_seq2seq<float>(folder), folder);
    open_seq2seq<float>(folder, {.verify = true});
    std::ofstream(folder / "generation_config.json") << R"({"max_length": 20})";
    EXPECT_THAT(error_of([&] { open_seq2seq<float>(folder, {.verify = true}); }), HasSubstr("fingerprint"));
  }
  for (const char* name : {"pool_mean", "modernbert", "dense", "qwen3_embedding", "embedding_gemma"}) {
    const fs::path folder = copy_of(scratch, (std::string("sentence_transformers/") + name).c_str());
    for (const WeightType type : {WeightType::float32, WeightType::int8}) {
      write_sentence_golden(folder, {.weights = type});
      SentenceEncoder::open(folder, {.weights = type, .verify = true});
    }
    EXPECT_THAT(error_of([&] { SentenceEncoder::open(folder, {.verify = true}); }), HasSubstr("'int8'"));
  }
}

TEST(GoldenVectors, ThatDifferInABitAreAnError) {
  const attend_test::Folder scratch;
  const fs::path folder = copy_of(scratch, "llama"), file = folder / Golden::kFile;
  write_golden(CausalLM<float>::open(folder), folder);
  for (const char* changed : {"states", "logits"}) {
    const SafeTensors stored(file);
    Tensor<float, 2> states = stored.read<float, 2>("states"), logits = stored.read<float, 2>("logits");
    const Tensor<std::int32_t, 1> ids = stored.read<std::int32_t, 1>("ids");
    float& value = std::string(changed) == "states" ? states(3, 5) : logits(3, 5);
    const float before = value;
    value = std::nextafter(value, 10.0f);
    save_safetensors(file, {{"ids", ids}, {"states", states}, {"logits", logits}}, stored.metadata());
    EXPECT_THAT(error_of([&] { CausalLM<float>::open(folder, {.verify = true}); }),
                AllOf(HasSubstr("gives other " + std::string(changed)), HasSubstr("[3, 5]")));
    value = before;
    save_safetensors(file, {{"ids", ids}, {"states", states}, {"logits", logits}}, stored.metadata());
    CausalLM<float>::open(folder, {.verify = true});
  }
}

TEST(GoldenVectors, AreNotComparableWithoutFmaOrOfOtherFiles) {
  const attend_test::Folder scratch;
  const fs::path folder = copy_of(scratch, "llama");
  const auto verify = [&] { return error_of([&] { CausalLM<float>::open(folder, {.verify = true}); }); };
  write_golden(CausalLM<float>::open(folder), folder);
#if defined(__x86_64__) && !ATTEND_ONLY
  if (const Isa best = isa(); best != Isa::baseline) {
    set_isa(Isa::baseline);
    EXPECT_THAT(verify(), AllOf(HasSubstr("not comparable"), HasSubstr("no FMA")));
    write_golden(CausalLM<float>::open(folder), folder);
    set_isa(best);
    EXPECT_THAT(verify(), AllOf(HasSubstr("not comparable"), HasSubstr("FMA")));
    write_golden(CausalLM<float>::open(folder), folder);
    set_isa(Isa::avx2);  // the same bits
    CausalLM<float>::open(folder, {.verify = true});
    set_isa(best);
  }
#endif
  write_golden(CausalLM<float>::open(folder, {.weights = WeightType::int8}), folder);
  EXPECT_THAT(verify(), AllOf(HasSubstr("not comparable"), HasSubstr("'int8'")));
  write_golden(CausalLM<float>::open(folder), folder);
  std::ofstream(folder / "generation_config.json") << R"({"max_length": 20})";
  EXPECT_THAT(verify(), AllOf(HasSubstr("not comparable"), HasSubstr("fingerprint")));
}
#endif

}  // namespace
