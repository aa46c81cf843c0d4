// What fits in memory, decided before any of it is taken.
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
  int64_t packed_weight_bytes = 0;  // copies of weights; those that are mapped can be read back, and do not count
};

struct MemoryLimits {
  int64_t host_limit_bytes = 0;  // of K and V
  int64_t ram_bytes = 0;         // that this process may use
};

// ResourceExhausted where K and V are more than their limit, or all that cannot be read back from a file is more than
// the machine has.
Status CheckMemory(const MemoryNeed& need, const MemoryLimits& limits);

// Whether weights may be copied out of their mapped file for faster steps: where that leaves a quarter of the RAM to K
// and V, activations and the system.
bool ShouldPackWeights(int64_t packed_weight_bytes, int64_t ram_bytes);

// The limit of K and V where none is given: half of the RAM, or three quarters of what packed weights leave if that is
// less.
int64_t DefaultHostLimit(int64_t packed_weight_bytes, int64_t ram_bytes);

// What a forward pass over `n_rows` tokens keeps besides weights, K and V, near enough for CheckMemory.
int64_t ActivationBytes(const ModelConfig& config, int64_t n_rows);

// "1.5 GiB".
std::string ByteText(int64_t bytes);

}  // namespace arkvale
