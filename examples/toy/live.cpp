// The toy encoder as WebAssembly inside its own page: toy_encoder --html FILE --live live.js puts it there.
// emcc makes live.js of this file: see the target toy_page.
#include <string>

#include <emscripten.h>

#include "../attention_page.hpp"
#include "toy_page.hpp"

/// What the page shows of a sentence, as JSON.
extern "C" EMSCRIPTEN_KEEPALIVE const char* read_sentence(const char* text) {
  static const toy::ToyEncoder model("/toy_encoder.safetensors");
  static std::string out;
  out = attention_page::to_json(toy::page_of(model, model.read(attend::default_context(), text)));
  return out.c_str();
}

int main() {
  // Without exceptions of C++, which are a third of the file: an error goes straight to the script.
  attend::error_handler() = [](const char* message) { EM_ASM({throw new Error(UTF8ToString($0))}, message); };
  EM_ASM({
    live(function(text) {
      const stack = stackSave(), pointer = stringToNewUTF8(text);
      try {
        return UTF8ToString(_read_sentence(pointer));
      } catch (error) {
        return JSON.stringify({error : error.message});
      } finally {
        stackRestore(stack);
        _free(pointer);
      }
    });
  });
}
