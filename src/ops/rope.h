// Rotary position embedding (RoFormer, arXiv 2104.09864) with linear scaling (arXiv 2306.15595), YaRN
// (arXiv 2309.00071) and per-frequency factors.
#pragma once

#include <cstdint>
#include <span>

#include "arkvale/status.h"
#include "base/matrix_view.h"
#include "ops/context.h"

namespace arkvale {

enum class RopeKind {
  kNorm,  // rotates pairs (2i, 2i+1): llama
  kNeox,  // rotates pairs (i, i + n_rot/2): gemma, qwen
};

struct RopeParams {
  RopeKind kind = RopeKind::kNorm;
  int n_rot = 0;  // leading dimensions of a head that rotate, even
  float freq_base = 10000.0f;
  float freq_scale = 1.0f;              // linear scaling: angle = position * freq_scale * base^(-2j/n_rot)
  const float* freq_factors = nullptr;  // [n_rot/2] divisors of the angle (llama 3.x, phi3), or null
  // YaRN: pairs up to ramp_low keep the unscaled angle, pairs from ramp_high on have the scaled one, between them the
  // share of the scaled angle grows linearly with j.
  bool yarn = false;
  float ramp_low = 0.0f;
  float ramp_high = 0.0f;
  float magnitude = 1.0f;  // cos and sin are multiplied by it

  bool operator==(const RopeParams&) const = default;
};

// out[i, 2j], out[i, 2j+1] = magnitude * (cos, sin) of the j-th angle at positions[i]; computed in f64. out: [n,
// n_rot]. Made once per batch and shared by all layers with equal params.
Status RopeAngles(const OpContext& ctx, const RopeParams& params, std::span<const int64_t> positions,
                  const MatrixView& out);

// Rotates x in place: x [n, heads * head_dim], angles [n, n_rot] from RopeAngles with the same n_rot.
Status Rope(const OpContext& ctx, RopeKind kind, int n_rot, int head_dim, const MatrixView& angles,
            const MatrixView& x);

}  // namespace arkvale
