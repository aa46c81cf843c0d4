// The induction model: weights set by construction so that it continues a text as it went on after the last four bytes
// occurred before, over any distance. Induction heads: Olsson et al., arXiv 2209.11895.
//
// A gemma3 file (sliding and global layers, each with a rope of its own) of one head of 64 dimensions:
//   embedding   every token writes its code (16 dimensions) into the field `now`, and a constant
//   layer 0     window 8; looks one token back and copies that token's code into the field `prev1`
//   layer 1     window 8; looks two tokens back and copies its `now`, `prev1` into `prev2`, `prev3`
//   layer 2     window 8; looks three tokens back and copies its `prev1` into `prev4`
//   layer 3     global, not rotated: q = now, prev1..prev3 of the current token, k = prev1..prev4 of every token, so
//   that
//               q.k is largest where the four tokens before a token are those that end here; its `now` is copied into
//               `answer`
//   output      the token whose code `answer` holds
// The code of a byte: its high and its low nibble each as one of the 16 words +-(row of the 8 x 8 Hadamard matrix), the
// low one's half as long: equal nibbles have the dot product 8 and 2, others 0 or the negative. A wrong byte loses at
// least 2 of the 40 of four bytes, which the scale of the queries turns into e^-32 of the right one's weight, so that
// 2^18 wrong tokens do not disturb it. The low nibble's dimensions are turned by an orthogonal matrix, so that keys
// have graded values as those of real models have, and digests something to lose.
#pragma once

#include <cstdint>
#include <vector>

#include "model/gguf_writer.h"
#include "model/synthetic_tensor.h"

namespace arkvale {

struct InductionModel {
  int64_t context_tokens = 0;
  int32_t ggml_type = 0;  // f32, f16 or bf16

  static constexpr int64_t kBytesMatched = 4;

  // Every key but the vocabulary's, which must be kSyntheticVocab tokens.
  void AddKeys(GgufFileWriter& file) const;
  std::vector<SyntheticTensor> Tensors() const;
};

}  // namespace arkvale
