// The one reader of JSON: what it refuses, where it says so, and in which words.
#include "support.hpp"

#include <string>
#include <vector>

#include <attend/io/config.hpp>
#include <attend/json/fields.hpp>
#include <attend/json/json.hpp>

namespace {
using attend::Json;
using attend::JsonObject;
using attend::parse_json;
using attend_test::error_of;
using testing::HasSubstr;
using testing::StartsWith;

std::string error_in(const std::string& text) {
  return error_of([&] { parse_json(text, "x.json"); });
}

TEST(Json, NestingBeyond64IsAnErrorAtItsByteAndNoStackOverflow) {
  const std::string most = std::string(64, '[') + std::string(64, ']');
  EXPECT_EQ(parse_json(most, "x").dump(), most);
  EXPECT_THAT(error_in(std::string(65, '[')), StartsWith("x.json: byte 64: JSON nested more than 64 deep"));
  EXPECT_THAT(error_in(std::string(1'000'000, '[')), HasSubstr("nested"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_THAT(error_in(objects), HasSubstr("nested"));
}

TEST(Json, DuplicateKeysAreErrorsAlsoWhenEscaped) {
  EXPECT_THAT(error_in(R"({"a": 1, "a": 2})"), StartsWith("x.json: byte 11: duplicate key 'a'"));
  EXPECT_THAT(error_in(R"({"a": 1, "\u0061": 2})"), HasSubstr("duplicate key 'a'"));
  EXPECT_EQ(parse_json(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})", "x").size(), 2u);
}

TEST(Json, NothingMayFollowTheValue) {
  for (const std::string& text :
       {std::string("{}{}"), std::string("{} x"), std::string("{}\0", 3), std::string("{}\0{}", 5),
        std::string("{}\xEF\xBB\xBF"), std::string("[1],")})
    EXPECT_THAT(error_in(text), StartsWith("x.json: byte ")) << text;
  EXPECT_TRUE(parse_json(" {}\r\n\t ", "x").empty());
}

TEST(Json, OneByteOrderMarkAtTheBeginIsSkipped) {
  EXPECT_EQ(parse_json("\xEF\xBB\xBF[1]", "x").size(), 1u);
  error_in("\xEF\xBB\xBF\xEF\xBB\xBF[1]");
  error_in(" \xEF\xBB\xBF[1]");
  error_in("\xFE\xFF[1]");
}

TEST(Json, StringsAreUtf8AndNumbersAreInRange) {
  for (const char* text : {"\"\xff\"",
                           "\"\xc0\x80\"",
                           "\"\xed\xa0\x80\"",
                           R"("\ud800")",
                           R"("\udc00")",
                           "\"\n\"",
                           "1e999",
                           "01",
                           "+1",
                           ".5",
                           "NaN",
                           "Infinity",
                           "'a'",
                           "[1,]",
                           "{\"a\":1,}",
                           "// a\n1",
                           "tru",
                           "",
                           " ",
                           "\"",
                           "{\"a\"",
                           "-"})
    EXPECT_THAT(error_in(text), HasSubstr("x.json: byte ")) << text;
  EXPECT_EQ(parse_json(R"("\ud83d\ude00")", "x").get<std::string>(), "\U0001F600");
}

TEST(Json, ErrorsAreOneLine) {
  EXPECT_EQ(error_in("{\"a\n\": 1}").find('\n'), std::string::npos);
  const Json json = {{"a\nb", 1}};
  EXPECT_EQ(error_of([&] { JsonObject(json, "x").allow({}); }).find('\n'), std::string::npos);
}

TEST(Json, FieldsOfEveryWrongTypeFailInTheSameWords) {
  const Json json = parse_json(
      R"({"text": 5, "list": {"a": 1}, "flag": 1, "size": -1, "large": 2147483648, "huge": 18446744073709551616,
                                   "real": 1.5, "none": null, "object": [1]})",
      "x");
  const JsonObject object(json, "x.json.model");
  const auto error = [&](auto&& read) { return error_of([&] { read(); }); };
  EXPECT_EQ(error([&] { object.string("text"); }), "x.json.model: 'text' expected a string, got 5");
  EXPECT_EQ(error([&] { object.string("text", "otherwise"); }),
            "x.json.model: 'text' expected a string, got 5");
  EXPECT_EQ(error([&] { object.array("list"); }), "x.json.model: 'list' expected a list, got {\"a\":1}");
  EXPECT_EQ(error([&] { object.boolean("flag", true); }),
            "x.json.model: 'flag' expected true or false, got 1");
  for (const char* name : {"size", "large", "huge", "real", "list"})
    EXPECT_THAT(error([&] { object.integer(name); }),
                HasSubstr(std::string("'") + name + "' expected an integer from 0 to 2^31 - 1, got "));
  EXPECT_EQ(error([&] { object.at("none"); }), "x.json.model: 'none' is missing");
  EXPECT_EQ(error([&] { object.integer("absent"); }), "x.json.model: 'absent' is missing");
  EXPECT_EQ(error([&] { object.object("object"); }), "x.json.model.object: expected an object, got [1]");
  EXPECT_THAT(error([&] { object.element("object", 0); }), HasSubstr("object[0]: expected an object, got 1"));
  EXPECT_THAT(error([&] { object.element("object", 1); }), HasSubstr("no element 1"));
  EXPECT_THAT(error([&] { object.allow({"text"}); }), HasSubstr("unknown field 'flag'"));
  const attend::Config config(json.dump(), "x.json");
  EXPECT_EQ(error([&] { config.get<std::string>("text"); }), "x.json: 'text' expected a string, got 5");
  EXPECT_EQ(error([&] { config.object("list").get<bool>("a"); }),
            "x.json: 'list.a' expected true or false, got 1");
  EXPECT_EQ(error([&] { config.get<std::vector<int>>("list"); }),
            "x.json: 'list' expected a list, got {\"a\":1}");
}

TEST(Json, AnErrorDoesNotRepeatAWholeFile) {
  Json json = Json::object();
  for (int i = 0; i < 10'000; ++i) json["key" + std::to_string(i)] = std::string(1000, 'x');
  EXPECT_LT(error_of([&] { attend::Config(json.dump(), "x.json").finish(); }).size(), 5'000u);
  EXPECT_LT(error_of([&] { JsonObject(json, "x").integer("key1"); }).size(), 500u);
  EXPECT_LT(error_of([&] { JsonObject(Json::array({json, json}), "x"); }).size(), 500u);
}

TEST(Config, AnObjectLivesAsLongAsItsReader) {
  const attend::Config inner = [] {
    const attend::Config outer(R"({"a": {"b": {"c": 7}}})", "x");
    return outer.object("a").object("b");
  }();
  EXPECT_EQ(inner.get<int>("c"), 7);
}

}  // namespace
