// The arithmetic that a prefill asks for, whoever does it.
#pragma once

#include <cstdint>

#include "model/config.h"

namespace arkvale::tools {

// Multiplications and additions of a prefill of n_tokens tokens that wants the last one's logits: 2 per weight and
// token, and attention's over the keys that each token may read. Norms, RoPE and softmax are left out.
double PrefillFlops(const ModelConfig& config, int64_t n_tokens);

}  // namespace arkvale::tools
