// What the families of encoders and encoder-decoders make of config.json and of what the file holds; their
// numbers are attend_conformance's.

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <attend/json/json.hpp>
#include <attend/model/bert.hpp>
#include <attend/model/seq2seq_families.hpp>

#include "support.hpp"

namespace {
using namespace attend;
namespace fs = std::filesystem;
using attend_test::error_or_none;
using attend_test::Folder;
using attend_test::model_folder;
using testing::HasSubstr;
using testing::Not;

/// A copy of a folder with other settings, and another tensor where one is given.
class Changed {
 public:
  Changed(const fs::path& original, const Json& changes, const std::string& name = {},
          const Tensor<float, 2>& tensor = {}) {
    Json config = read_json(original / "config.json");
    config.update(changes);
    std::ofstream(folder_ / "config.json") << config;
    const SafeTensors file = SafeTensors::open_folder(original);
    std::vector<NamedTensor> tensors;
    for (const SafeTensors::Entry& entry : file.entries())
      if (entry.name != name)
        tensors.emplace_back(entry.name, entry.dtype, entry.shape,
                             std::as_bytes(std::span(entry.data, static_cast<std::size_t>(entry.size))));
    if (!name.empty()) tensors.emplace_back(name, tensor);
    save_safetensors(folder_ / "model.safetensors", tensors);
  }
  const fs::path& folder() const { return folder_.path; }

 private:
  Folder folder_;
};

Tensor<float, 2> logits_of(const fs::path& folder) {
  const std::vector<std::int32_t> ids{5, 9, 12, 7};
  const std::vector<Index> offsets{0, 4};
  Context context;
  return BertModel<float>::open(folder).logits(context, ids, {}, offsets);
}
Tensor<float, 3> next_of(const fs::path& folder) {
  const std::vector<std::int32_t> ids{5, 9, 12, 7};
  const TensorView<const std::int32_t, 2> batch(ids.data(), {1, 4});
  Context context;
  const auto model = open_seq2seq<float>(folder);
  const Tensor<float, 3> states = model.encode(context, batch);
  DecoderCache<float> cache = model.make_cache(context, states);
  return model.decode(context, batch, cache);
}

}  // namespace

TEST(EncoderFamilies, RefuseConfigsThatTheyDoNotUnderstand) {
  const auto check_error = [](const char* family, const Json& changes, const char* part) {
    const Changed changed(model_folder(family), changes);
    const bool decodes = fs::exists(changed.folder()) && changes.value("is_encoder_decoder", false);
    const std::string error = error_or_none([&] {
      decodes ? void(open_seq2seq<float>(changed.folder())) : void(BertModel<float>::open(changed.folder()));
    });
    SCOPED_TRACE(family + changes.dump());
    EXPECT_THAT(error, HasSubstr(part));
    EXPECT_THAT(error, Not(HasSubstr("\n")));
  };
  check_error("deberta_v2", {{"conv_kernel_size", 2}}, "conv_kernel_size");
  check_error("deberta_v2", {{"conv_kernel_size", 3}, {"conv_groups", 3}}, "conv_groups");
  check_error("deberta_v2", {{"conv_kernel_size", 3}}, "conv.conv.weight");
  check_error("deberta_v2", {{"pos_att_type", "c2p|p2p"}}, "p2p");
  check_error("deberta_v2", {{"norm_rel_ebd", "batch_norm"}}, "norm_rel_ebd");
  check_error("deberta_v2", {{"attention_head_size", 5}}, "attention_head_size");
  check_error("deberta_v2", {{"pooler_hidden_size", 9}}, "pooler_hidden_size");
  check_error("deberta_v2", {{"position_buckets", 2000000000}}, "config.json");
  check_error("deberta_v2", {{"position_buckets", 7}}, "rel_embeddings");
  check_error("deberta_v2", {{"position_buckets", -1}, {"max_relative_positions", 2000000}}, "config.json");
  check_error("deberta_v2", {{"share_att_key", false}}, "pos_key_proj");
  check_error("deberta_v2", {{"position_biased_input", true}}, "position_embeddings");
  check_error("mpnet", {{"relative_attention_num_buckets", 16}}, "relative_attention_num_buckets");
  check_error("mpnet", {{"relative_attention_num_buckets", 2000000000}}, "config.json");
  check_error("mpnet", {{"max_position_embeddings", 2}}, "positions");
  check_error("albert", {{"num_hidden_groups", 2000000000}}, "2000000000");
  check_error("albert", {{"num_hidden_layers", 2000000000}}, "2000000000");
  check_error("albert", {{"num_hidden_groups", 2}}, "albert_layer_groups.1");
  check_error("albert", {{"embedding_size", 2000000000}}, "config.json");
  check_error("electra", {{"embedding_size", 11}}, "mis-shaped");
  check_error("electra", {{"is_decoder", true}}, "is_decoder");
  const auto check_seq2seq = [&](const char* family, Json changes, const char* part) {
    changes["is_encoder_decoder"] = true;
    check_error(family, changes, part);
  };
  check_seq2seq("m2m_100", {{"pad_token_id", -1}}, "pad_token_id");
  check_seq2seq("m2m_100", {{"static_position_embeddings", false}}, "static_position_embeddings");
  check_seq2seq("mbart", {{"normalize_before", false}}, "normalize_before");
  check_seq2seq("mbart", {{"max_position_embeddings", 39}}, "embed_positions");
  check_seq2seq("pegasus", {{"normalize_embedding", true}}, "normalize_embedding");
  check_seq2seq("pegasus", {{"tie_word_embeddings", false}}, "lm_head");
  check_seq2seq("mt5", {{"feed_forward_proj", "gated-tanh"}}, "feed_forward_proj");
}

// transformers ties what config.json says only where the file does not hold two different tensors.
TEST(EncoderFamilies, AnOutputLayerOfItsOwnInTheFileCountsWhateverTheConfigSays) {
  const std::pair<const char*, Index> families[] = {
      {"mt5", 18}, {"mbart", 18}, {"pegasus", 18}, {"m2m_100", 18}};
  for (const auto& [family, width] : families) {
    SCOPED_TRACE(family);
    const fs::path folder = model_folder(family);
    const auto own = attend_test::random_tensor<float, 2>({53, width});
    const Changed apart(folder, Json::object(), "lm_head.weight", own);
    const Changed untied(folder, {{"tie_word_embeddings", false}}, "lm_head.weight", own);
    const SafeTensors file = SafeTensors::open_folder(folder);
    const bool t5 = std::string(family) == "mt5";
    const Changed alike(folder, Json::object(), "lm_head.weight",
                        file.read<float, 2>(t5 ? "shared.weight" : "model.shared.weight"));
    EXPECT_TRUE(attend_test::same_bits(next_of(apart.folder()), next_of(untied.folder())));
    EXPECT_FALSE(attend_test::same_bits(next_of(apart.folder()), next_of(folder)));
    EXPECT_TRUE(attend_test::same_bits(next_of(alike.folder()), next_of(folder)));
  }
  const fs::path folder = model_folder("albert_masked_lm");
  const auto own = attend_test::random_tensor<float, 2>({53, 10});
  const Changed apart(folder, Json::object(), "predictions.decoder.weight", own);
  const Changed untied(folder, {{"tie_word_embeddings", false}}, "predictions.decoder.weight", own);
  EXPECT_TRUE(attend_test::same_bits(logits_of(apart.folder()), logits_of(untied.folder())));
  EXPECT_FALSE(attend_test::same_bits(logits_of(apart.folder()), logits_of(folder)));
}

Tensor<float, 3> states_of(const fs::path& folder) {
  const std::vector<std::int32_t> ids{5, 9, 12, 7};
  Context context;
  return open_seq2seq<float>(folder).encode(context, TensorView<const std::int32_t, 2>(ids.data(), {1, 4}));
}

// As above: the encoder's words are not the decoder's where the file has two tables.
TEST(EncoderFamilies, ATableOfWordsOfItsOwnCountsForItsSideAlone) {
  for (const std::string family : {"t5", "mt5", "bart", "mbart", "pegasus", "m2m_100"}) {
    SCOPED_TRACE(family);
    const fs::path folder = model_folder(family.c_str());
    const std::string base = family.ends_with("t5") ? "" : "model.";
    const Index width = SafeTensors::open_folder(folder).at(base + "shared.weight").shape.at(1);
    const auto own = attend_test::random_tensor<float, 2>({53, width});
    const Changed all(folder, Json::object(), base + "shared.weight", own);
    const Changed source(folder, Json::object(), base + "encoder.embed_tokens.weight", own);
    const Changed target(folder, Json::object(), base + "decoder.embed_tokens.weight", own);
    EXPECT_TRUE(attend_test::same_bits(states_of(source.folder()), states_of(all.folder())));
    EXPECT_TRUE(attend_test::same_bits(states_of(target.folder()), states_of(folder)));
    EXPECT_FALSE(attend_test::same_bits(next_of(target.folder()), next_of(folder)));
    EXPECT_FALSE(open_seq2seq<float>(target.folder()).options().tied_output);  // but to the shared table
  }
}

// transformers reads the sinusoids that Pegasus' files hold; in half precision they are others.
TEST(EncoderFamilies, ATableOfPositionsInTheFileCountsAlsoWhereTheyAreSinusoids) {
  const fs::path folder = model_folder("pegasus");
  const char* name = "model.encoder.embed_positions.weight";
  auto table = SafeTensors::open_folder(folder).read<float, 2>(name);
  const Changed same(folder, Json::object(), name, table);
  for (float& x : table.span()) x = std::round(x * 8) / 8;
  const Changed rounded(folder, Json::object(), name, table);
  EXPECT_TRUE(attend_test::same_bits(states_of(same.folder()), states_of(folder)));
  EXPECT_FALSE(attend_test::same_bits(states_of(rounded.folder()), states_of(folder)));
}

/// What a family's config.json says without a key.
Config without(const char* family, const char* key, const Json& changes = Json::object()) {
  Json config = read_json(model_folder(family) / "config.json");
  config.update(changes);
  config.erase(key);
  return Config(config.dump(), "config.json");
}

// As the configurations of transformers have it.
TEST(EncoderFamilies, WhatAConfigDoesNotSayIsAsInTheFamilysOwn) {
  for (const char* type : {"roberta", "xlm-roberta", "camembert"})  // whose positions begin behind it
    EXPECT_EQ(
        read_bert_family(without("roberta", "pad_token_id", {{"model_type", type}})).options.pad_token_id, 1);
  EXPECT_EQ(read_seq2seq_family(without("marian", "decoder_start_token_id")).options.decoder_start_token_id,
            58100);
  const Json no_more = {{"dense_act_fn", nullptr}, {"is_gated_act", nullptr}};  // which follow from it
  const EncoderBlockOptions mt5 =
      read_seq2seq_family(without("mt5", "feed_forward_proj", no_more)).options.encoder.block;
  EXPECT_TRUE(mt5.gated);
  EXPECT_EQ(mt5.activation, Activation::gelu_tanh);
  EXPECT_FALSE(read_seq2seq_family(without("t5", "feed_forward_proj", no_more)).options.encoder.block.gated);
}

TEST(EncoderFamilies, NamesAndSettingsCountAsInTransformers) {
  for (const char* type : {"bart", "mbart", "marian", "m2m_100", "pegasus"}) {  // one name sets the other
    const Seq2SeqOptions o =
        read_seq2seq_family(
            without(type, "hidden_size", {{"num_hidden_layers", 7}, {"num_attention_heads", 1}}))
            .options;
    EXPECT_EQ(o.encoder.num_layers, 7) << type;
    EXPECT_EQ(o.encoder.block.num_heads, 1) << type;
  }
  for (const char* type : {"t5", "mt5"}) {  // goes before what feed_forward_proj says
    const Json changes = {
        {"feed_forward_proj", "gated-gelu"}, {"dense_act_fn", "silu"}, {"is_gated_act", false}};
    const EncoderBlockOptions block =
        read_seq2seq_family(without(type, "n_positions", changes)).options.encoder.block;
    EXPECT_EQ(block.activation, Activation::silu) << type;
    EXPECT_FALSE(block.gated) << type;
  }
  EXPECT_EQ(
      read_bert_family(without("distilbert", "dropout", {{"layer_norm_eps", 0.3}})).options.layer_norm_eps,
      1e-12);  // of DistilBERT's own
}

// Of ALBERT's two groups the first two and a half of five layers are of the first.
TEST(EncoderFamilies, AlbertsLayersShareTheWeightsOfTheirGroup) {
  const auto model = BertModel<float>::open(model_folder("albert_masked_lm"));
  EXPECT_THAT(model.options().layer_order, testing::ElementsAre(0, 1, 0, 1, 0, 1, 2, 3, 2, 3));
  EXPECT_EQ(model.options().num_hidden_layers, 4);
}

TEST(EncoderFamilies, NamesOfDebertasPositionTermsMayBeOneText) {
  const fs::path folder = model_folder("deberta_v2");
  const Changed text(folder, {{"pos_att_type", "C2P | p2c"}}), one(folder, {{"pos_att_type", "c2p"}});
  EXPECT_TRUE(attend_test::same_bits(logits_of(text.folder()), logits_of(folder)));
  EXPECT_FALSE(attend_test::same_bits(logits_of(one.folder()), logits_of(folder)));
}
