// The peer: llama.cpp's own engine on the same file, ids and threads, f16 KV cache, sliding windows kept small
// (swa_full = false), in whichever flash-attention setting is faster in the cell's warm-up.
#pragma once

#include <memory>
#include <string>

#include "tools/bench/contender.h"

namespace arkvale::tools {

class PeerLlama : public Contender {
 public:
  // The file must have passed our own checks. `max_tokens`: longest context it will hold.
  static Result<std::unique_ptr<PeerLlama>> Load(const std::string& path, int32_t threads, int64_t max_tokens);
  ~PeerLlama() override;

  std::string name() const override { return "llama.cpp"; }
  Status SetContext(std::span<const int32_t> ids) override;
  Result<DecodeSample> Decode(std::span<const int32_t> ids) override;
  Result<double> Prefill(std::span<const int32_t> ids) override;
  void SetWarmUp(bool on) override;
  Json Labels() const override;
  Json DecodeFields(double step_ms_median) const override;
  Json PrefillFields() const override;

 private:
  struct Impl;
  explicit PeerLlama(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale::tools
