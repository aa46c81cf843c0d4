#include "model/config_rope.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>

namespace arkvale {

namespace {

// The paper's defaults. llama.cpp reads yarn_beta_* and yarn_ext_factor for none of our architectures.
constexpr float kBetaFast = 32.0f;
constexpr float kBetaSlow = 1.0f;

constexpr int64_t kMaxContext = std::numeric_limits<int32_t>::max();

// The (fractional) pair that turns `rotations` times over the original context. In f32 because it gets rounded to an
// integer, and it must be llama.cpp's integer.
float TurningPair(int32_t n_rot, int64_t original_context, float rotations, float base) {
  const float turns = static_cast<float>(original_context) / (rotations * 2 * std::numbers::pi_v<float>);
  return static_cast<float>(n_rot) * std::log(turns) / (2 * std::log(base));
}

// YaRN's magnitude of q and k together with its scale of positions, as transformers has it.
float MagnitudeOf(float factor) { return factor <= 1.0f ? 1.0f : 0.1f * std::log(factor) + 1.0f; }

}  // namespace

RopeReader::RopeReader(KeyReader& keys, RopeKind kind, int32_t n_rot, const RopeOverride& rope_override)
    : kind_(kind), n_rot_(n_rot) {
  const auto trained = static_cast<uint32_t>(keys.Size("context_length", kMaxContext));
  original_context_ = keys.Size("rope.scaling.original_context_length", kMaxContext, trained);
  freq_base_ = keys.Positive("rope.freq_base", 10000.0f);
  attn_factor_ = keys.Positive("rope.scaling.attn_factor", 1.0f);
  // An older name of the same key; 0 means unscaled, as in llama.cpp.
  const char* factor_key = keys.Has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  if (keys.MaybeF32(factor_key).value_or(0.0f) != 0.0f) file_freq_scale_ = 1.0f / keys.Positive(factor_key);

  const std::string_view type = keys.MaybeString("rope.scaling.type").value_or("linear");
  if (type != "none" && type != "linear" && type != "yarn" && type != "longrope") {
    keys.Unsupported("rope scaling '" + std::string(type.substr(0, 32)) + "'");
  }
  longrope_ = type == "longrope";
  yarn_ =
      rope_override.scaling == RopeScaling::kYarn || (rope_override.scaling == RopeScaling::kModel && type == "yarn");
  const bool none =
      rope_override.scaling == RopeScaling::kNone || (rope_override.scaling == RopeScaling::kModel && type == "none");
  if (!std::isfinite(rope_override.factor) || rope_override.factor < 0) {
    keys.Fail(
        InvalidArgument("rope scale " + std::to_string(rope_override.factor) + ": must be > 0, or 0 for the file's"));
  }
  freq_scale_ = none ? 1.0f : rope_override.factor > 0 ? 1.0f / rope_override.factor : file_freq_scale_;
  // The file's own scale counts only where it says what it stretches: its context_length may be either.
  stretched_ = !none && (rope_override.factor > 0 || (!longrope_ && keys.Has("rope.scaling.original_context_length")));
  if (yarn_ && freq_base_ <= 1.0f) {
    keys.Fail(keys.file().Error("key " + keys.Key("rope.freq_base") + " is " + std::to_string(freq_base_) +
                                ": YaRN needs more than 1"));
  }
}

RopeParams RopeReader::Params(float freq_base, float freq_scale) const {
  RopeParams rope;
  rope.kind = kind_;
  rope.n_rot = n_rot_;
  rope.freq_base = freq_base;
  rope.freq_scale = freq_scale;
  rope.magnitude = attn_factor_;
  if (!yarn_) return rope;
  rope.yarn = true;
  rope.ramp_low = std::max(0.0f, std::floor(TurningPair(n_rot_, original_context_, kBetaFast, freq_base)));
  rope.ramp_high =
      std::min(static_cast<float>(n_rot_ - 1), std::ceil(TurningPair(n_rot_, original_context_, kBetaSlow, freq_base)));
  // llama.cpp cancels the magnitude of the global scale and puts that of the layer's scale in its place.
  const float global = 1.0f / freq_scale_;
  rope.magnitude *=
      MagnitudeOf(global) / (1.0f + 0.1f * std::log(global)) * (1.0f + 0.1f * std::log(1.0f / freq_scale));
  return rope;
}

int64_t RopeReader::Context(int64_t trained) const {
  if (!stretched_) return trained;
  const double stretched = std::round(static_cast<double>(original_context_) / freq_scale_);
  return std::clamp(static_cast<int64_t>(std::min<double>(stretched, kMaxContext)), trained, kMaxContext);
}

}  // namespace arkvale
