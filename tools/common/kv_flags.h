// The flags of every command that runs a model (interface: KV options).
#pragma once

#include <cstdint>
#include <string>

#include "arkvale/engine.h"
#include "arkvale/kv_options.h"
#include "tools/common/cli.h"
#include "tools/common/plan_input.h"

namespace arkvale::tools {

// -m, --device, --threads, --ctx, --kv-type, --kv-host-mem, --kv-hot-mem, --rope-scaling, --rope-scale.
class EngineFlags {
 public:
  void Add(Cli& cli);
  Result<EngineOptions> Get() const;

 private:
  std::string model_, device_ = "cpu", kv_type_ = "f16", host_mem_, hot_mem_, rope_scaling_;
  int32_t threads_ = 0;
  int64_t ctx_tokens_ = 0;
  float rope_scale_ = 0;
  const CLI::Option* rope_scale_option_ = nullptr;
};

// --kv-policy and all that shapes one sequence's cache. A command that runs many policies and budgets has its own flags
// for these two and leaves them out here.
class KvFlags {
 public:
  // --kv-plan comes with the two.
  void Add(Cli& cli, bool with_policy_and_budget);
  // --kv-plan of a command without the two.
  void AddPlan(Cli& cli, const std::string& text);
  // The budget is not rounded yet, and no plan is read.
  Result<KvOptions> Get() const;

  const std::string& plan_path() const { return plan_; }  // empty: none
  // `options` with what the plan decides; --kv-topk wins over it. InvalidArgument where another flag that was given
  // says otherwise; errors of `apply` with the file's name.
  Result<KvOptions> WithPlan(const PlanInput& plan, const KvOptions& options, const ApplyPlanText& apply) const;
  // What a command with --kv-plan runs with: Get's options, with the plan where there is one, checked and rounded.
  Result<KvOptions> Resolve(const Engine& engine, const KvOptions& options) const;

 private:
  Status CheckBeside(const PlanInput& plan, const KvOptions& given, const KvOptions& planned) const;

  KvOptions defaults_;
  std::string policy_, digest_, budget_, topk_, opts_, plan_;
  int32_t page_tokens_ = 0, sinks_ = 0, window_ = 0, dense_layers_ = 0, group_ = 0, audit_every_ = 0;
  // Of flags that a plan decides; null where the command has no such flag.
  const CLI::Option *policy_option_ = nullptr, *budget_option_ = nullptr, *page_option_ = nullptr,
                    *topk_option_ = nullptr, *dense_option_ = nullptr;
};

// Valid options with their budget rounded down to whole pages where the policy counts those, which is said on stderr.
// kAutoBudget stays.
KvOptions RoundBudget(KvOptions options);

// Checked against the model, then rounded. kAutoBudget is for the engine to check and to resolve.
Result<KvOptions> CheckBudget(KvOptions options, const ModelInfo& model);

}  // namespace arkvale::tools
