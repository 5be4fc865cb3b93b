// Files, tokenizers and models, once for a program whose units define ATTEND_COMPILED and that has the
// kernels and layers from compiled.cpp.
#define ATTEND_MODELS_IMPLEMENTATION
#include <attend/model/classifier.hpp>
#include <attend/model/cross_encoder.hpp>
#include <attend/model/generation_batch.hpp>
#include <attend/model/modernbert.hpp>
#include <attend/model/openai_service.hpp>
#include <attend/model/quantize.hpp>
#include <attend/model/sentence_encoder.hpp>
#include <attend/model/text_generator.hpp>
#include <attend/model/translator.hpp>
#include <attend/text/streaming_decoder.hpp>
