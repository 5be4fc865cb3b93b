// --weights and --activations of the examples, and how far a model is opened.
#pragma once

#include <iostream>
#include <memory>
#include <span>
#include <string>

#include <attend/model/family.hpp>

#include "command_line.hpp"
#include "progress.hpp"

inline attend::OpenOptions open_options(const CommandLine& arguments) {
  attend::OpenOptions options;
  options.progress = [progress =
                          std::make_shared<Progress>("opening, in millions", arguments.has("--quiet"))](
                         attend::Index done, attend::Index all) {
    (*progress)(static_cast<std::size_t>(done) / 1000000, static_cast<std::size_t>(all) / 1000000);
    if (done == all) progress->clear();
  };
  if (arguments.has("--weights")) {
    const std::string name = arguments.text("--weights");
    options.weights = attend::weight_type_of(name);
    options.keep_halves = name == "file";
    if (!options.weights && !options.keep_halves)
      attend::throw_error("--weights is float32, bfloat16, float16, int8, int4 or file, got '", name, "'");
  }
  if (!options.weights)  // what nobody asked for
    options.report = [](const std::string& file, std::span<const attend::LoadedTensor> tensors) {
      const std::string rounded = attend::rounded_tensors(tensors);
      if (!rounded.empty()) std::cerr << file << ": " << rounded << '\n';
    };
  if (arguments.has("--activations")) {
    const std::string name = arguments.text("--activations");
    if (name != "int8" && name != "int16")
      attend::throw_error("--activations is int8 or int16, got '", name, "'");
    if (name == "int16") options.activations = attend::ActivationType::int16;
  }
  return options;
}
