// Our engine's contenders: all share one prefilled session and decode from forks of it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/session.h"
#include "tools/bench/contender.h"

namespace arkvale::tools {

// The session that holds a benchmark's context.
class OwnContext {
 public:
  explicit OwnContext(Runtime& runtime) : runtime_(runtime) {}
  Runtime& runtime() { return runtime_; }
  Status Set(std::span<const int32_t> ids);
  Result<Session> Fork(const KvOptions& options) const { return session_->Fork(options); }

 private:
  Runtime& runtime_;
  std::optional<Session> session_;
  std::vector<int32_t> ids_;
};

class OwnContender : public Contender {
 public:
  // `context` must outlive it.
  OwnContender(OwnContext& context, const KvOptions& options) : context_(context), options_(options) {}

  std::string name() const override;
  Status SetContext(std::span<const int32_t> ids) override { return context_.Set(ids); }
  Result<DecodeSample> Decode(std::span<const int32_t> ids) override;
  Result<double> Prefill(std::span<const int32_t> ids) override;
  void SetWarmUp(bool on) override;
  Json Labels() const override;
  Json DecodeFields(double step_ms_median) const override;
  Json PrefillFields() const override;

 private:
  void AddTimings(const KvTimings& before, const KvTimings& after, double step_ms);

  OwnContext& context_;
  KvOptions options_;
  KvStats stats_;      // after the last sample
  KvTimings timings_;  // sums over the timed steps
  double steps_ms_ = 0;
  int64_t n_steps_ = 0;
};

}  // namespace arkvale::tools
