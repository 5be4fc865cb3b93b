// A case as its folder describes it: case.txt, or where there is none case.json.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <attend/json/json.hpp>

#include "npy.hpp"

namespace conformance {

namespace fs = std::filesystem;

/// An input or output: `dtype` is the original type, `stored` that of the file, which is empty for an absent
/// one.
struct Value {
  Index slot = 0;
  std::string name, dtype, stored, file;
  std::vector<Index> shape;
};

/// `type` is int, float, str, list or graph; `text` its value.
struct Attribute {
  std::string type, text;
};

struct Case {
  fs::path folder;
  std::string name, op, domain;
  Index opset = 0;
  std::map<std::string, Attribute> attributes;
  std::vector<Value> inputs, outputs;
};

namespace detail {

inline Index to_index(const std::string& text, const std::string& where) {
  char* end = nullptr;
  const long long n = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0')
    attend::throw_error(where, ": ", attend::detail::in_quotes(text), " is not an integer");
  return static_cast<Index>(n);
}

/// 2x3x4, or "scalar".
inline std::vector<Index> to_shape(std::string text, const std::string& where) {
  std::vector<Index> shape;
  if (text == "scalar") return shape;
  for (char& c : text)
    if (c == 'x') c = ' ';
  std::istringstream words(text);
  for (std::string word; words >> word;) shape.push_back(to_index(word, where));
  return shape;
}

inline Case read_text(const fs::path& file) {
  Case c;
  c.folder = file.parent_path();
  std::istringstream lines(attend::read_file(file));
  Index number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = file.string() + ": line " + std::to_string(++number);
    std::istringstream words(line);
    const auto word = [&] {
      std::string text;
      if (!(words >> text)) attend::throw_error(where, ": too short");
      return text;
    };
    std::string kind;
    if (!(words >> kind)) continue;
    if (kind == "case") {
      c.name = word();
    } else if (kind == "op") {
      c.op = word();
    } else if (kind == "opset") {
      c.opset = to_index(word(), where);
    } else if (kind == "attr") {
      const std::string name = word();
      Attribute& attribute = c.attributes[name];
      attribute.type = word();
      std::getline(words >> std::ws, attribute.text);
    } else if (kind == "input" || kind == "output") {
      Value value;
      value.slot = to_index(word(), where);
      value.name = word();
      value.dtype = word();
      if (value.dtype != "absent") {
        value.stored = word();
        value.file = word();
        value.shape = to_shape(word(), where);
      }
      (kind == "input" ? c.inputs : c.outputs).push_back(value);
    } else if (kind != "yardstick" && kind != "upstream" &&
               kind != "grad") {  // these are no part of the operator
      attend::throw_error(where, ": ", attend::detail::in_quotes(kind), " is not known");
    }
  }
  return c;
}

inline Attribute to_attribute(const attend::Json& value) {
  if (value.is_number_integer() || value.is_boolean())
    return {"int", std::to_string(value.is_boolean() ? static_cast<long long>(value.get<bool>())
                                                     : value.get<long long>())};
  if (value.is_number()) return {"float", value.dump()};
  if (value.is_string()) return {"str", value.get<std::string>()};
  if (value.is_array()) return {"list", value.dump()};
  if (value.is_object() && value.contains("graph")) return {"graph", "-"};
  return {"unknown", value.dump().substr(0, 40)};
}

inline Case read_json_case(const fs::path& file, const attend::Json& json) {
  const std::string where = file.string();
  Case c;
  c.folder = file.parent_path();
  try {
    c.name = json.at("name").get<std::string>();
    c.op = json.at("op").get<std::string>();
    c.domain = json.value("domain", "");
    c.opset = json.at("opset").get<Index>();
    for (const auto& [key, value] : json.at("attributes").items()) c.attributes[key] = to_attribute(value);
    for (const char* kind : {"inputs", "outputs"})
      for (const attend::Json& entry : json.at(kind)) {
        Value value;
        value.slot = entry.at("slot").get<Index>();
        value.name = entry.at("name").get<std::string>();
        value.dtype = "absent";
        if (!entry.value("absent", false)) {
          value.dtype = entry.at("dtype").get<std::string>();
          value.stored = entry.at("stored").get<std::string>();
          value.file = entry.at("file").get<std::string>();
          value.shape = entry.at("shape").get<std::vector<Index>>();
        }
        (kind == std::string("inputs") ? c.inputs : c.outputs).push_back(value);
      }
  } catch (const attend::Json::exception& error) {
    attend::throw_error(where, ": ", error.what());
  }
  return c;
}

}  // namespace detail
}  // namespace conformance
