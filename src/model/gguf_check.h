// CheckGguf: our own reading of a GGUF file before libllama's reader sees it. That one aborts or over-allocates on some
// broken files; this one returns a Status and allocates nothing that the file's real size does not cover.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "arkvale/status.h"

namespace arkvale {

class GgufView;

// Checks magic, version (2, 3), counts against the size, key types and array lengths, unique keys and tensor names,
// tensor dims, types, offsets and extents, alignment; the tokenizer's arrays (unique tokens, equal lengths, special ids
// in range, merges well formed, a token for every byte) and, for the architectures of config.h, the tensors' shapes
// against the config keys. Corrupt with the name of what is wrong; InvalidArgument for what is not supported: a part
// of a split file without the others, another tokenizer, and what ReadConfig and BindWeights refuse. Another
// architecture passes.
Status CheckGguf(std::span<const std::byte> file, const std::string& name);

// The same for bytes that have been parsed, all parts of a split file together.
Status CheckGgufView(const GgufView& file);

// The same for a path (of the first part): NotFound, Corrupt. Maps the files for the time of the call.
Status CheckGgufFile(const std::string& path);

}  // namespace arkvale
