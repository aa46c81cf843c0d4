// The peer: llama.cpp's own engine on the same file, ids, threads and type of K and V, sliding windows kept small
// (swa_full = false), in whichever setting is faster in the cell's warm-up: flash attention on or off and, where
// sequences step together, their caches in one buffer (kv_unified) or apart.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "arkvale/kv_options.h"
#include "tools/bench/contender.h"

namespace arkvale::tools {

struct PeerOptions {
  int32_t threads = 1;
  int64_t max_tokens = 0;               // longest context it will hold, steps counted
  int32_t max_batch = 1;                // most sequences that step together
  int32_t steps = 0;                    // of a decode sample
  KvType kv_type = KvType::kF16;        // of its cache: ours
  std::optional<int32_t> setting = {};  // only this one, as Contender::setting names it; default: all are tried
};

class PeerLlama : public Contender {
 public:
  // The file must have passed our own checks.
  static Result<std::unique_ptr<PeerLlama>> Load(const std::string& path, const PeerOptions& options);
  ~PeerLlama() override;

  std::string name() const override { return kPeerName; }
  Status SetContext(std::span<const int32_t> ids) override;
  Result<DecodeSample> Decode(std::span<const int32_t> ids, int32_t batch) override;
  Result<double> Prefill(std::span<const int32_t> ids) override;
  void SetWarmUp(bool on) override;
  int32_t setting() const override;
  Json Labels() const override;
  Json DecodeFields(int32_t batch) const override;
  Json PrefillFields() const override;

 private:
  struct Impl;
  explicit PeerLlama(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arkvale::tools
