// The vocabulary of synthetic models.
#pragma once

#include <cstdint>

#include "model/gguf_writer.h"

namespace arkvale {

// Ids 0..255 are the bytes; a byte-level BPE without merges spells every text with them.
enum class SyntheticToken : int32_t { kBos = 256, kEos, kTurnStart, kTurnEnd };
inline constexpr int64_t kSyntheticVocab = 260;

// Adds the keys of a vocabulary of n_vocab >= kSyntheticVocab tokens, those above unused, and a ChatML template.
void AddSyntheticVocab(GgufFileWriter& file, int64_t n_vocab);

}  // namespace arkvale
