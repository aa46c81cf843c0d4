// Our engine's contenders: all share one prefilled session and decode from forks of it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/session.h"
#include "tools/bench/contender.h"

namespace arkvale::tools {

// How a context comes about.
enum class Fill : uint8_t {
  kText,    // prefilled
  kRandom,  // K and V of all but its last token are random, unit normal per channel and seeded
};

// The session that holds a benchmark's context.
class OwnContext {
 public:
  OwnContext(Runtime& runtime, Fill fill) : runtime_(runtime), fill_(fill) {}
  Runtime& runtime() { return runtime_; }
  Fill fill() const { return fill_; }
  Status Set(std::span<const int32_t> ids);
  Result<Session> Fork(const KvOptions& options) const { return session_->Fork(options); }

 private:
  Status Append(std::span<const int32_t> ids);

  Runtime& runtime_;
  Fill fill_;
  std::optional<Session> session_;
  std::vector<int32_t> ids_;
};

class OwnContender : public Contender {
 public:
  // `context` must outlive it. `plan_name`: of the plan that its budgets come from; empty: none.
  OwnContender(OwnContext& context, KvOptions options, std::string plan_name)
      : context_(context), options_(std::move(options)), plan_name_(std::move(plan_name)) {}

  std::string name() const override;
  Status SetContext(std::span<const int32_t> ids) override { return context_.Set(ids); }
  Result<DecodeSample> Decode(std::span<const int32_t> ids, int32_t batch) override;
  Result<double> Prefill(std::span<const int32_t> ids) override;
  Result<std::optional<Breakdown>> DecodeParts(std::span<const int32_t> ids, int32_t batch) override;
  void SetWarmUp(bool /*on*/) override {}
  Json Labels() const override;
  Json DecodeFields(int32_t batch) const override;
  Json PrefillFields() const override;
  int64_t StepBytes(int32_t batch) const override;

 private:
  Result<std::vector<Session>> Forks(int32_t batch) const;
  Result<DecodeSample> Run(std::span<const int32_t> ids, int32_t batch, std::vector<Breakdown>* parts);

  OwnContext& context_;
  KvOptions options_;
  std::string plan_name_;
  KvStats stats_;  // of the first sequence after the last sample
};

}  // namespace arkvale::tools
