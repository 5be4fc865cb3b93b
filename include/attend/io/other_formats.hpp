// What to say of a folder whose weights are in a format that is not read.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <attend/core/location.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// Behind "… is missing": a file of another format that the folder has, and what to do with it; or nothing.
inline std::string other_formats(const Location& folder) {
  std::vector<std::string> names = folder.names();
  for (const std::string sub : {"onnx/", "openvino/"})
    for (const std::string& name : (folder / sub).names()) names.push_back(sub + name);
  std::sort(names.begin(), names.end());
  struct Format {
    const char *end, *advice;
  };
  static constexpr const char* by_torch =
      ", which attend does not read: save the model as safetensors, by transformers' "
      "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER), with the AutoModel class of its task";
  static constexpr const char* made_of =
      ", which attend does not read, nor is it made to be converted: it needs the folder that this was made "
      "of, with model.safetensors or pytorch_model.bin";
  static constexpr const char* merged =
      ", which changes another model: save the two as one, by peft's merge_and_unload()";
  static constexpr Format formats[] = {{".gguf", ": open that file in place of the folder"},
                                       {"adapter_model.safetensors", merged},
                                       {"adapter_model.bin", merged},
                                       {"openvino_model.bin", made_of},
                                       {".bin", by_torch},
                                       {".pt", by_torch},
                                       {".pth", by_torch},
                                       {".ckpt", by_torch},
                                       {".onnx", made_of},
                                       {".h5", made_of},
                                       {".msgpack", made_of}};
  for (const Format& format : formats)
    for (const std::string& name : names)
      if (name.ends_with(format.end)) return "; " + name + " is there" + format.advice;
  return {};
}

}  // namespace attend::inline ATTEND_ABI::detail
