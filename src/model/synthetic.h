// Synthetic models: GGUF files made here instead of trained. Random ones prove an architecture against llama.cpp and
// measure speed; the induction model, whose weights are set by construction, retrieves exactly over any distance.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "arkvale/status.h"

namespace arkvale {

struct SyntheticPreset {
  std::string_view name;     // tiny, smollm2-135m, llama-3.1-8b, longchat-7b, induction
  std::string_view summary;  // one line for --help
};
const std::vector<SyntheticPreset>& SyntheticPresets();

// Architectures and kinds of rope scaling that the preset `tiny` has.
const std::vector<std::string_view>& SyntheticArchitectures();
const std::vector<std::string_view>& SyntheticRopes();

// Element types that WriteSynthetic can write, by ggml's names.
std::vector<std::string> SyntheticTypes();

struct SyntheticOptions {
  std::string preset = "tiny";
  std::string architecture;    // of SyntheticArchitectures(); empty = the preset's, and other presets allow no other
  std::string type;            // element type of the matrices by ggml's name (q4_1, f16, ...); empty = the preset's
  std::string rope;            // of SyntheticRopes(); empty = the preset's
  int64_t context_tokens = 0;  // 0 = the preset's
  uint64_t seed = 42;          // of the random weights; the induction model has none
};

// Called now and then; a status that is not ok ends the writing with it.
using SyntheticProgress = std::function<Status(int64_t done_bytes, int64_t total_bytes)>;

// Writes the file, replacing `path` only once it is whole; never holds more than one piece of a tensor in memory. The
// vocabulary is the 256 bytes (ids 0..255) and a few special tokens, padded to the size of the shape with tokens that
// have no text. Random values depend on the seed alone; what they are rounded to in a quantised type is ggml's.
// InvalidArgument: an unknown name (the known ones are quoted) or a combination that does not exist.
// ResourceExhausted: no room on the disk. NotFound: the folder does not exist. Internal: the file cannot be written.
Status WriteSynthetic(const SyntheticOptions& options, const std::string& path, const SyntheticProgress& progress = {});

}  // namespace arkvale
