// Models in a user's own program: opened from memory, put together from parts, called with what is at hand.
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/classifier.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/seq2seq_families.hpp>
#include <attend/model/text_generator.hpp>
#include <attend/model/translator.hpp>

#include "tiny_models.hpp"

namespace {

using namespace attend;
using namespace attend_test;
namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

/// The same with every second tensor in a file of its own.
Files in_shards(Files files) {
  const Folder folder;
  folder.write("model.safetensors", files.at("model.safetensors"));
  const SafeTensors whole(folder / "model.safetensors");
  Json index;
  std::vector<NamedTensor> shards[2];
  for (std::size_t i = 0; const SafeTensors::Entry& entry : whole.entries()) {
    shards[i % 2].emplace_back(entry.name, entry.dtype, entry.shape, std::span(entry.data, entry.size));
    index["weight_map"][entry.name] = i++ % 2 ? "two.safetensors" : "one.safetensors";
  }
  for (const char* name : {"one.safetensors", "two.safetensors"}) {
    save_safetensors(folder / name, shards[std::string_view(name) == "two.safetensors"]);
    files[name] = bytes_of(folder / name);
  }
  files.erase("model.safetensors");
  files["model.safetensors.index.json"] = index.dump();
  return files;
}

/// The first of a batch, as a tensor of its own.
template <int Rank>
Tensor<float, Rank - 1> first(const Tensor<float, Rank>& all) {
  return Tensor<float, Rank - 1>(all[0]);
}
std::vector<float> numbers(const auto& tensor) { return {tensor.span().begin(), tensor.span().end()}; }

/// What the model of a folder makes of some ids.
std::vector<float> output_of(const Location& folder) {
  const Ids ids{5, 9, 31, 7, 44};
  const Config config(folder / "config.json");
  const std::string type = config.get<std::string>("model_type"),
                    architecture = config.get<std::vector<std::string>>("architectures").at(0);
  const bool base = architecture.ends_with("Model") && type != "marian";
  if (is_causal_family(type)) return numbers(CausalLM<float>::open(folder).logits(ids));
  if (type == "modernbert") {
    const auto model = ModernBertModel<float>::open(folder);
    return numbers(base ? model(ids) : model.logits(ids));
  }
  if (architecture.ends_with("ForConditionalGeneration") || type == "marian") {
    Context context;
    const auto model = open_seq2seq<float>(folder);
    const TensorView<const std::int32_t, 2> view(ids.data(), {1, 5});
    auto cache = model.make_cache(context, model.encode(context, view));
    return numbers(model.decode(context, view, cache));
  }
  const auto model = BertModel<float>::open(folder);
  return numbers(base ? model(ids) : model.logits(ids));
}

TEST(OwnProgram, EveryFamilyFromMemoryAndInShardsIsThatFromDisk) {
  std::size_t folders = 0;
  for (const auto& entry : fs::directory_iterator(model_folder(""))) {
    if (!fs::exists(entry.path() / "expected.safetensors")) continue;
    SCOPED_TRACE(entry.path().string());
    const std::vector<float> want = output_of(entry.path());
    ASSERT_FALSE(want.empty());
    const Files files = files_of(entry.path()), shards = in_shards(files);
    EXPECT_EQ(output_of(files), want);
    EXPECT_EQ(output_of(shards), want);
    const Folder on_disk;
    for (const auto& [name, bytes] : shards) on_disk.write(name, bytes);
    EXPECT_EQ(output_of(on_disk.path), want);
    ++folders;
  }
  EXPECT_GT(folders, 30u);
}

/// Texts of few letters, whose ids are below 53, which the tiny models know.
std::string letters_json() {
  Json vocab{{"<unk>", 0}, {"<s>", 1}, {"</s>", 3}};
  for (char c = 'a'; c <= 'z'; ++c) vocab[std::string(1, c)] = 10 + c - 'a';
  return Json{
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}, {"unk_token", "<unk>"}}}}
      .dump();
}
text::Tokenizer letters() { return text::Tokenizer::from_json(letters_json(), "letters"); }
Files with_letters(const char* model) {
  Files files = files_of(model_folder(model));
  files["tokenizer.json"] = letters_json();
  files["tokenizer_config.json"] = R"({"tokenizer_class": "TokenizersBackend"})";  // not the model's own
  return files;
}

TEST(OwnProgram, AnswersFromMemoryAreThoseFromDisk) {
  const auto both = [](const Files& files, auto&& answer) {
    const Folder folder;
    for (const auto& [name, bytes] : files) folder.write(name, bytes);
    EXPECT_EQ(answer(Location(files)), answer(Location(folder.path)));
    EXPECT_EQ(answer(Location(in_shards(files))), answer(Location(folder.path)));
  };
  both(with_letters("bert_classifier"),
       [](const Location& folder) { return numbers(TextClassifier::open(folder).classify("abc")); });
  both(with_letters("bert_token_classifier"), [](const Location& folder) {
    const auto found = TokenClassifier::open(folder).classify("abc");
    EXPECT_FALSE(found.empty());
    return found.at(0).label + std::to_string(found.at(0).score);
  });
  Files bart = with_letters("bart");
  bart["generation_config.json"] = R"({"max_new_tokens": 6, "num_beams": 2, "eos_token_id": 96})";
  both(bart, [](const Location& folder) { return Translator::open(folder).translate("abc").ids; });
  Files chat = files_of(model_folder("stories"));
  chat["tokenizer_config.json"] = R"({"chat_template": "{{ messages[0]['content'] }} <s>"})";
  chat["generation_config.json"] = R"({"max_new_tokens": 7})";
  both(chat, [](const Location& folder) {
    auto generator = TextGenerator::open(folder);
    std::vector<ChatMessage> messages{{"user", "the cat"}};
    return generator.chat(messages).ids;
  });
}

// ---- From parts

/// Parameters of a checkpoint's file, which is in memory.
template <class Model, class Family>
Model loaded(const Family& family, const Files& files) {
  Model model(family.options);
  load(model, SafeTensors(Location(files) / "model.safetensors"), "",
       {.ignore = family.leftovers, .names = family.names});
  return model;
}

TEST(OwnProgram, BertIsPutTogetherFromConfigWeightsAndNames) {
  for (const char* name : {"bert", "bert_classifier", "distilbert", "roberta", "deberta_v2"}) {
    const Files files = files_of(model_folder(name));
    const Config config(files.at("config.json"), "my config");
    const auto model = loaded<BertModel<float>>(read_bert_family(config), files);
    const auto opened = BertModel<float>::open(model_folder(name));
    const Ids ids{5, 9, 31, 7};
    EXPECT_TRUE(same_bits(model(ids), opened(ids))) << name;
  }
}

TEST(OwnProgram, ACausalLmIsPutTogetherFromConfigWeightsAndNames) {
  for (const char* name : {"llama", "gpt2", "gemma3_text", "opt"}) {
    const Files files = files_of(model_folder(name));
    const auto model =
        loaded<CausalLM<float>>(read_causal_family(Config(files.at("config.json"), "my config")), files);
    const Ids ids{5, 9, 31, 7};
    const Tensor<float, 2> got = model.logits(ids);
    EXPECT_TRUE(same_bits(got, CausalLM<float>::open(model_folder(name)).logits(ids))) << name;
    EXPECT_TRUE(same_bits(got, first(model.logits(TensorView<const std::int32_t, 2>(ids.data(), {1, 4})))));
  }
}

TEST(OwnProgram, ASentenceEncoderIsPutTogetherFromTokenizerModelAndModules) {
  const fs::path folder = model_folder("sentence_transformers") / "dense";
  const Files files = files_of(folder);
  auto model = loaded<BertModel<float>>(read_bert_family(Config(files.at("config.json"), "config")), files);
  const Json dense = parse_json(files.at("2_Dense/config.json"), "dense");
  Dense layer{.linear = Linear<float>({.in_features = dense.at("in_features").get<Index>(),
                                       .out_features = dense.at("out_features").get<Index>(),
                                       .bias = dense.at("bias").get<bool>()}),
              .activation = dense.at("bias").get<bool>() ? Activation::tanh : Activation::identity};
  load(layer, SafeTensors(Location(files) / "2_Dense/model.safetensors"));
  const SentenceEncoder whole = SentenceEncoder::open(folder);
  std::vector<SentenceModule> modules{Pooling{}, layer};
  const Json list = parse_json(files.at("modules.json"), "modules");
  for (std::size_t i = 3; i < list.size(); ++i)
    if (list[i].at("type").get<std::string>().ends_with("Normalize")) modules.push_back(Normalize{});
  const SentenceEncoder encoder(text::Tokenizer::from_json(files.at("tokenizer.json"), "tokenizer"),
                                std::move(model), std::move(modules),
                                {.text = {.max_seq_length = whole.options().text.max_seq_length}});
  EXPECT_TRUE(same_bits(encoder.encode("The cat sat."), whole.encode("The cat sat.")));
}

// ---- What calls take

TEST(OwnProgram, TextsAreListsViewsOrOne) {
  const SentenceEncoder encoder = SentenceEncoder::open(model_folder("sentence_transformers") / "prompts");
  Context context;
  const std::string text = "the cat";
  const std::vector<std::string> texts{text, "a house"};
  const std::string name = encoder.options().text.prompts.begin()->first;
  const Tensor<float, 2> want = encoder.encode(context, texts);
  EXPECT_TRUE(same_bits(encoder.encode(context, {text, "a house"}), want));
  EXPECT_TRUE(same_bits(encoder.encode({text, "a house"}), want));
  EXPECT_TRUE(same_bits(encoder.encode({"the cat", "a house"}), want));  // no view from one to the other
  EXPECT_TRUE(same_bits(encoder.encode(texts), want));
  EXPECT_EQ(encoder.encode({text}).shape(), (Shape<2>{1, want.size(1)}));
  EXPECT_TRUE(same_bits(first(encoder.encode(context, {text})), want[0]));
  EXPECT_TRUE(same_bits(encoder.encode(context, std::string_view(text)), want[0]));
  EXPECT_TRUE(same_bits(encoder.encode(text), want[0]));
  const Tensor<float, 2> prompted = encoder.encode(context, texts, {.prompt_name = name});
  EXPECT_TRUE(same_bits(encoder.encode({text, "a house"}, {.prompt_name = name}), prompted));
  EXPECT_TRUE(same_bits(encoder.encode(context, text, {.prompt_name = name}), prompted[0]));
  EXPECT_FALSE(same_bits(prompted, want));  // or it would not show

  const CrossEncoder judge = CrossEncoder::open(model_folder("sentence_transformers") / "cross_encoder");
  const Tensor<float, 2> scores = judge.score(context, text, texts);
  EXPECT_TRUE(same_bits(judge.score(context, text, {text, "a house"}), scores));
  EXPECT_TRUE(same_bits(judge.score(text, {"the cat", "a house"}), scores));
  EXPECT_TRUE(same_bits(judge.score(text, texts), scores));
  EXPECT_TRUE(same_bits(first(judge.score(text, {text})), scores[0]));
  EXPECT_TRUE(same_bits(judge.score(text, "a house"), scores[1]));
}

TEST(OwnProgram, ClassifiersTakeListsViewsOrOne) {
  const auto model = [](const char* name) { return BertModel<float>::open(model_folder(name)); };
  const TextClassifier classifier(letters(), model("bert_classifier"), {}, ClassifierFunction::softmax);
  Context context;
  const std::string text = "abc";
  const std::vector<std::string> texts{text, "xy"};
  const Tensor<float, 2> want = classifier.classify(context, texts);
  EXPECT_TRUE(same_bits(classifier.classify(context, {text, "xy"}), want));
  EXPECT_TRUE(same_bits(classifier.classify({"abc", "xy"}), want));
  EXPECT_TRUE(same_bits(classifier.classify(texts), want));
  EXPECT_TRUE(same_bits(first(classifier.classify({text})), want[0]));
  EXPECT_TRUE(same_bits(classifier.classify(text), want[0]));

  std::map<Index, std::string> names;
  for (Index i = 0; i < 5; ++i) names[i] = std::to_string(i);
  const TokenClassifier words(letters(), model("bert_token_classifier"), Labels(names));
  const auto labels = [](const std::vector<std::vector<TextEntity>>& found) {
    std::string all;
    for (const auto& entities : found)
      for (const TextEntity& one : entities)
        all += one.label + " " + one.word + std::to_string(one.score) + " ";
    return all;
  };
  const std::string each = labels({words.classify(text), words.classify(context, "xy")});
  EXPECT_EQ(labels(words.classify(texts)), each);
  EXPECT_EQ(labels(words.classify(context, {text, "xy"})), each);
  EXPECT_EQ(labels(words.classify({"abc", "xy"})), each);
  EXPECT_EQ(labels(words.classify({text})), labels({words.classify(text)}));
}

TEST(OwnProgram, GeneratorsAndTranslatorsTakeListsViewsOrOne) {
  auto generator = TextGenerator::open(model_folder("stories"), {.max_new_tokens = 5});
  Context context;
  const std::string text = "the cat";
  const auto ids = [](const auto& generations) {
    std::vector<Ids> all;
    for (const auto& one : generations) all.push_back(one.ids);
    return all;
  };
  const std::vector<std::string> texts{text, "a house"};
  const auto want = ids(generator.generate(context, texts));
  EXPECT_EQ(ids(generator.generate(texts)), want);
  EXPECT_EQ(ids(generator.generate(context, {text, "a house"})), want);
  EXPECT_EQ(ids(generator.generate({"the cat", "a house"})), want);
  EXPECT_EQ(ids(generator.generate({text})), std::vector<Ids>{want[0]});
  EXPECT_EQ(generator.generate(text).ids, want[0]);
  EXPECT_EQ(ids(generator.generate({text, "a house"}, {.max_new_tokens = 1}))[1], Ids{want[1][0]});

  Files bart = with_letters("bart");
  bart["generation_config.json"] = R"({"max_new_tokens": 6, "eos_token_id": 96})";
  const Translator translator = Translator::open(bart);
  const std::vector<std::string> lines{"abc", "xy"};
  const std::vector<Ids> each{translator.translate("abc").ids, translator.translate(context, "xy").ids};
  EXPECT_NE(each[0], each[1]);
  EXPECT_EQ(ids(translator.translate(lines)), each);
  EXPECT_EQ(ids(translator.translate(lines, translator.generation_options())), each);
  EXPECT_EQ(ids(translator.translate(context, lines)), each);
  EXPECT_EQ(ids(translator.translate(context, {"abc", "xy"})), each);
  EXPECT_EQ(ids(translator.translate({"abc", "xy"})), each);
  EXPECT_EQ(ids(translator.translate({lines[0]})), std::vector<Ids>{each[0]});
  EXPECT_EQ(ids(translator.translate({"abc", "xy"}, {.prefix = "q"}))[1][0], 26);
}

TEST(OwnProgram, ModelsTakeIdsWithoutAContextOrOffsets) {
  const BertModel<float> bert = tiny_bert();
  const CausalLM<float> lm = tiny_causal_lm();
  const Ids ids = random_ids(7, 50);
  const std::vector<Index> offsets{0, 3, 7};
  Context context;
  Tensor<float, 2> states({7, 32});
  bert.forward(context, ids, {}, offsets, states);
  EXPECT_TRUE(same_bits(bert(ids, {}, offsets), states));
  EXPECT_TRUE(same_bits(bert(std::span(ids).first(3)), states.view().slice(0, 0, 3)));
  EXPECT_TRUE(same_bits(bert(ids), bert(ids, Ids(7, 0))));
  EXPECT_FALSE(same_bits(bert(ids), bert(ids, Ids(7, 1))));
  const TensorView<const std::int32_t, 2> batch(ids.data(), {1, 7});
  EXPECT_TRUE(same_bits(lm.logits(batch), lm.logits(context, batch)));
  EXPECT_TRUE(same_bits(lm.logits(ids), first(lm.logits(context, batch))));
  EXPECT_EQ(lm.logits(Ids{}).shape(), (Shape<2>{0, 50}));

  Generator generator(lm);
  const Ids next = generator.generate(context, ids, {.max_new_tokens = 4}).ids;
  EXPECT_EQ(generator.generate(ids, {.max_new_tokens = 4}).ids, next);
  EXPECT_EQ(generator.generate(std::vector{ids, next}, {.max_new_tokens = 4})[0].ids, next);
  EXPECT_EQ(generator.score(ids)[5].logprob, generator.score(context, ids)[5].logprob);
  EXPECT_EQ(generator.beams(ids, {.max_new_tokens = 4, .num_beams = 2})[0].ids,
            generator.beams(context, ids, {.max_new_tokens = 4, .num_beams = 2})[0].ids);
}

// ---- ModernBERT's heads

ModernBertOptions tiny_modernbert(BertHead head) {
  return {.vocab_size = 50,
          .hidden_size = 16,
          .num_attention_heads = 2,
          .intermediate_size = 24,
          .norm_bias = true,
          .local = {false, true},
          .local_attention = 4,
          .global_rotary = {.head_dim = 8, .max_position_embeddings = 64},
          .local_rotary = {.head_dim = 8, .max_position_embeddings = 64},
          .head = head,
          .num_labels = 3,
          .head_act = Activation::silu,
          .head_bias = true};
}
/// What the parts of a model's head make of states [rows, E].
Tensor<float, 2> by_parts(const ModernBertModel<float>& model, const Tensor<float, 2>& states,
                          const std::string& output, Index rows) {
  Values values = values_of(model);
  const auto dense = with_values(Linear<float>({16, 16}), values, "head.dense.");
  const auto norm = with_values(Norm<float>({16, 1e-5, NormKind::layer, true, true}), values, "head.norm.");
  if (output == "decoder.") values[output + "weight"] = values.at("embeddings.tok_embeddings.weight");
  const auto last = with_values(Linear<float>({16, rows}), values, output);
  return last(norm(activate(Activation::silu, dense(states))));
}

TEST(OwnProgram, ModernBertsHeadsAreADenseLayerANormAndAnOutput) {
  const Ids ids = random_ids(9, 50);
  const std::vector<Index> offsets{0, 4, 9};
  for (const BertHead head :
       {BertHead::sequence_classification, BertHead::token_classification, BertHead::masked_lm})
    for (const bool mean : {false, true}) {
      SCOPED_TRACE(static_cast<int>(head));
      ModernBertOptions options = tiny_modernbert(head);
      options.mean_pooling = mean;
      const auto model = filled<float>(ModernBertModel<float>(options));
      Tensor<float, 2> states = model(ids, offsets);
      if (head == BertHead::sequence_classification) {
        Tensor<float, 2> pooled({2, 16});
        for (Index b = 0; b < 2; ++b)
          for (Index e = 0; e < 16; ++e) {
            const Index begin = offsets[static_cast<std::size_t>(b)],
                        end = mean ? offsets[static_cast<std::size_t>(b) + 1] : begin + 1;
            for (Index t = begin; t < end; ++t)
              pooled(b, e) += states(t, e) / static_cast<float>(end - begin);
          }
        states = pooled;
      }
      const bool words = head == BertHead::masked_lm;
      const Tensor<float, 2> want =
                                 by_parts(model, states, words ? "decoder." : "classifier.", words ? 50 : 3),
                             got = model.logits(ids, offsets);
      ASSERT_EQ(got.shape(), want.shape());
      for (std::size_t i = 0; i < got.span().size(); ++i) EXPECT_NEAR(got.span()[i], want.span()[i], 1e-4);
    }
  EXPECT_THAT(
      error_of([&] { filled<float>(ModernBertModel<float>(tiny_modernbert(BertHead::none))).logits(ids); }),
      testing::HasSubstr("no logits"));
}

TEST(OwnProgram, ClassifiersAndCrossEncodersTakeAModernBert) {
  const auto model = [](BertHead head) {
    return filled<float>(ModernBertModel<float>(tiny_modernbert(head)));
  };
  const auto sequence = model(BertHead::sequence_classification);
  const TextClassifier classifier(letters(), sequence, {}, ClassifierFunction::none);
  const CrossEncoder judge(letters(), sequence, Activation::identity, {.max_seq_length = 20});
  EXPECT_EQ(classifier.num_labels(), 3);
  EXPECT_TRUE(same_bits(classifier.classify("abc"), first(sequence.logits(letters().encode("abc")))));
  EXPECT_TRUE(same_bits(judge.score("ab", "c"), first(sequence.logits(letters().encode("abc")))));
  const TokenClassifier words(letters(), model(BertHead::token_classification),
                              Labels({{0, "A"}, {1, "B"}, {2, "C"}}));
  EXPECT_FALSE(words.classify("abc").empty());
  EXPECT_THAT(error_of([&] { TextClassifier(letters(), model(BertHead::none), {}, {}); }),
              testing::HasSubstr("another head"));
}

TEST(OwnProgram, WithoutABiasOfTheLogitsInTheFileItIsZero) {
  Files files = files_of(model_folder("bart"));
  const auto rewritten = [&](bool zeros) {
    const Folder folder;
    folder.write("model.safetensors", files.at("model.safetensors"));
    const SafeTensors whole(folder / "model.safetensors");
    const Tensor<float, 2> none({1, 53});
    std::vector<NamedTensor> tensors;
    for (const SafeTensors::Entry& entry : whole.entries())
      if (entry.name != "final_logits_bias")
        tensors.emplace_back(entry.name, entry.dtype, entry.shape, std::span(entry.data, entry.size));
      else if (zeros)
        tensors.emplace_back(entry.name, none);
    save_safetensors(folder / "other.safetensors", tensors);
    Files out = files;
    out["model.safetensors"] = bytes_of(folder / "other.safetensors");
    return output_of(out);
  };
  EXPECT_EQ(rewritten(false), rewritten(true));
  EXPECT_NE(rewritten(false), output_of(files));
}

}  // namespace
