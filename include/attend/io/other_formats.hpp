// What to say of a folder whose weights are in a format that is not read.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <attend/core/location.hpp>

namespace attend::inline ATTEND_ABI::detail {

/// Behind "… is missing": which files of other formats the folder has, and how to convert them; or nothing.
inline std::string other_formats(const Location& folder) {
  std::vector<std::string> found;
  for (const std::string& name : folder.names()) {
    for (const char* end : {".gguf", ".bin", ".onnx", ".h5", ".msgpack", ".pt", ".pth", ".ckpt"})
      if (name.ends_with(end)) found.push_back(name);
  }
  if (found.empty()) return {};
  std::sort(found.begin(), found.end());
  const auto is_gguf = [](const std::string& file) { return file.ends_with(".gguf"); };
  const auto gguf = std::find_if(found.begin(), found.end(), is_gguf);
  if (gguf != found.end()) return "; " + *gguf + " is there: open that file in place of the folder";
  return "; " + found[0] +
         " is there, which attend does not read: save the model as safetensors, by transformers' "
         "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER), with the AutoModel class of its "
         "task";
}

}  // namespace attend::inline ATTEND_ABI::detail
