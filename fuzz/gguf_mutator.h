// Mutates GGUF files by their structure. Bytes changed blindly rarely leave a file that parses, so what lies behind the
// parser would hardly be reached.
#pragma once

#include <cstddef>
#include <cstdint>

namespace arkvale::fuzz {

// For LLVMFuzzerCustomMutator. A file that does not parse is changed blindly, as are some of those that do.
size_t MutateGguf(uint8_t* data, size_t size, size_t max_size, unsigned seed);

}  // namespace arkvale::fuzz
