// Rope scaling: what the file's keys and the user's override make of RopeParams. Only config.cc needs it.
#pragma once

#include <cstdint>

#include "model/config.h"
#include "model/key_reader.h"

namespace arkvale {

// The rules and the numbers are llama.cpp's (llama-context.cpp, ggml's rope), so that one file gives one answer.
class RopeReader {
 public:
  // Reads rope.* of the file. `n_rot`: rotating dimensions of a head.
  RopeReader(KeyReader& keys, RopeKind kind, int32_t n_rot, const RopeOverride& rope_override);

  // Layers with full attention.
  RopeParams Global() const { return Params(freq_base_, freq_scale_); }
  // Sliding layers have a base and a scale of their own, which the override leaves alone.
  RopeParams Sliding(float freq_base, float freq_scale) const { return Params(freq_base, freq_scale); }

  float freq_base() const { return freq_base_; }
  float file_freq_scale() const { return file_freq_scale_; }
  bool longrope() const { return longrope_; }
  // Tokens before any scaling.
  int64_t original_context() const { return original_context_; }
  // The longest context: `trained` (the file's) or what the scale stretches the original one to.
  int64_t Context(int64_t trained) const;

 private:
  RopeParams Params(float freq_base, float freq_scale) const;

  RopeKind kind_;
  int32_t n_rot_;
  float freq_base_ = 10000.0f;
  float freq_scale_ = 1.0f;
  float file_freq_scale_ = 1.0f;
  float attn_factor_ = 1.0f;
  int64_t original_context_ = 0;
  bool yarn_ = false;
  bool longrope_ = false;
  bool stretched_ = false;  // the original context times the scale may be used
};

}  // namespace arkvale
