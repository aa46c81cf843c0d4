// Whether a request fits in memory, decided before any of it is taken.
#pragma once

#include <cstdint>
#include <string>

#include "arkvale/status.h"
#include "model/config.h"

namespace arkvale {

struct MemoryNeed {
  int64_t n_tokens = 0;  // prompt, question and answer
  int64_t kv_bytes = 0;
  int64_t activation_bytes = 0;
};

struct MemoryLimits {
  int64_t host_limit_bytes = 0;  // of K and V
  int64_t ram_bytes = 0;         // that this process may use
};

// ResourceExhausted where K and V are more than their limit, or all that cannot be read back from a file is more than
// the machine has. Weights are mapped from their file, so they do not count here.
Status CheckMemory(const MemoryNeed& need, const MemoryLimits& limits);

// What a forward pass over `n_rows` tokens keeps besides weights, K and V, near enough for CheckMemory.
int64_t ActivationBytes(const ModelConfig& config, int64_t n_rows);

// "1.5 GiB".
std::string ByteText(int64_t bytes);

}  // namespace arkvale
